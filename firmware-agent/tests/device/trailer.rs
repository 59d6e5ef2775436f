//! MCUboot's trailer under cuts. What `imgtool` says of it is asked in the suite `mcuboot` of the crate tuffet-tests.

use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::mcuboot::{Mark, State, Swap, Trailer};
use tuffet_agent::{Environment, Flash, Rejected, SlotId};

use crate::nor::{Cut, Nor};

const SLOT: u32 = 0x1000;

type TestFlash<const ERASE: usize, const WRITE: usize> = Flash<Nor<ERASE, WRITE>>;

#[test]
fn request_cut_anywhere_asks_or_does_not_and_asks_when_it_is_made_again() {
    let mut cases = 0;
    requests::<256, 1>(0xFF, &mut cases);
    requests::<256, 4>(0x00, &mut cases);
    requests::<1024, 16>(0xFF, &mut cases);
    requests::<4096, 32>(0xFF, &mut cases);
    // An erase; then two a write and three a byte of a magic and a word: of 8 bytes, of 16, of 32.
    assert_eq!(cases, 4 * 50 + 2 * (2 * 2 + 3 * 24) + (2 * 2 + 3 * 32) + (2 * 2 + 3 * 64));
}

fn requests<const ERASE: usize, const WRITE: usize>(erased: u8, cases: &mut usize) {
    let fresh = device::<ERASE, WRITE>(erased);
    let trailer = Trailer::of(&fresh, SlotId::B);
    let length = trailer.room(&fresh);
    assert_eq!(length, SLOT - ERASE as u32);
    let ask = |flash: &mut TestFlash<ERASE, WRITE>| trailer.request_test(flash, length);
    let mut rehearsal = fresh.clone();
    ask(&mut rehearsal).unwrap();
    let blank = trailer.read(&mut fresh.clone());
    assert_eq!(trailer.read(&mut rehearsal).next(&blank), Swap::None, "only the secondary slot asks");
    for cut in Cut::all(&rehearsal.nor_mut().operations) {
        let mut flash = fresh.clone();
        flash.nor_mut().plan(Some(cut));
        ask(&mut flash).unwrap_err();
        assert!(flash.nor_mut().power_on(), "{cut:?} was never reached");
        // What comes after is not held against MCUboot's words alone: a bootloader may look many times.
        let swaps: Vec<Swap> = (0..8).map(|_| blank.next(&trailer.read(&mut flash))).collect();
        assert!(swaps.iter().all(|swap| matches!(swap, Swap::None | Swap::Test)), "{cut:?}: {swaps:?}");
        ask(&mut flash).unwrap_or_else(|error| panic!("{cut:?}: {error}"));
        let asked = State { magic: Mark::Set, swap_info: Mark::Set, ..blank };
        assert_eq!(trailer.read(&mut flash), asked, "{cut:?}");
        assert_eq!(blank.next(&asked), Swap::Test);
        // And once more changes nothing.
        flash.nor_mut().plan(None);
        ask(&mut flash).unwrap();
        assert!(flash.nor_mut().operations.is_empty());
        let start = flash.map().slot(SlotId::B).offset as usize;
        let image = &flash.nor_mut().bytes()[start..start + length as usize];
        assert!(image.iter().all(|byte| *byte == 0x42), "{cut:?}: the image was touched");
        *cases += 1;
    }
}

#[test]
fn request_for_an_image_that_reaches_into_the_trailer_s_unit_writes_nothing() {
    let mut flash = device::<256, 4>(0xFF);
    let trailer = Trailer::of(&flash, SlotId::B);
    let room = trailer.room(&flash);
    flash.nor_mut().plan(None);
    let refused = Rejected::ImageLargerThanSlot { length: room + 1, slot: room };
    assert_eq!(trailer.request_test(&mut flash, room + 1), Err(refused.into()));
    assert!(flash.nor_mut().operations.is_empty());
}

#[test]
fn confirmation_is_for_an_image_on_trial_and_survives_every_cut() {
    let trailer = Trailer::of(&device::<256, 4>(0xFF), SlotId::A);
    let slot_end = device::<256, 4>(0xFF).map().slot(SlotId::A).end() as usize;
    // Nothing is on trial.
    let mut flash = device::<256, 4>(0xFF);
    flash.nor_mut().plan(None);
    assert_eq!(trailer.confirm(&mut flash), Ok(()));
    assert!(flash.nor_mut().operations.is_empty());
    // The bootloader has not swapped yet.
    trailer.request_test(&mut flash, 100).unwrap();
    let early = Environment::Trailer { slot: SlotId::A };
    assert_eq!(trailer.confirm(&mut flash), Err(early.into()));

    let mut on_trial = flash.clone();
    on_trial.nor_mut().forge(slot_end - 32, &[1]);
    let blank = trailer.read(&mut device::<256, 4>(0xFF));
    assert_eq!(trailer.read(&mut on_trial).next(&blank), Swap::Revert);
    let mut rehearsal = on_trial.clone();
    rehearsal.nor_mut().plan(None);
    trailer.confirm(&mut rehearsal).unwrap();
    assert_eq!(trailer.read(&mut rehearsal).next(&blank), Swap::None);
    assert_eq!(trailer.confirm(&mut rehearsal), Ok(()), "again");
    let mut cuts = 0;
    for cut in Cut::all(&rehearsal.nor_mut().operations) {
        let mut flash = on_trial.clone();
        flash.nor_mut().plan(Some(cut));
        trailer.confirm(&mut flash).unwrap_err();
        flash.nor_mut().power_on();
        // Reverted, or not: never swapped for good with another.
        for _ in 0..8 {
            let swap = trailer.read(&mut flash).next(&blank);
            assert!(matches!(swap, Swap::Revert | Swap::None), "{cut:?}: {swap:?}");
        }
        cuts += 1;
    }
    assert_eq!(cuts, 2 + 3 * 8);
}

/// A device whose slots hold an image up to the last erase unit.
fn device<const ERASE: usize, const WRITE: usize>(erased: u8) -> TestFlash<ERASE, WRITE> {
    let area = 2 * 2048_u32.next_multiple_of(ERASE as u32);
    let region = |number: u32, length| Region { offset: number * area, length };
    let slot = |number: u32| Region { offset: 3 * area + number * 2 * SLOT, length: SLOT };
    let map = FlashMap::new(Layout {
        erase_unit: ERASE as u32,
        write_unit: WRITE as u32,
        erased,
        boot: region(0, area),
        trust: region(1, area),
        slot_a: slot(0),
        slot_b: slot(1),
    })
    .unwrap();
    let mut flash = Flash::new(Nor::new(map.capacity(), erased), map).unwrap();
    for slot in [SlotId::A, SlotId::B] {
        let Region { offset, length } = map.slot(slot);
        flash.nor_mut().forge(offset as usize, &vec![0x42; length as usize - ERASE]);
    }
    flash
}
