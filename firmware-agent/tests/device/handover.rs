//! The hand-over to each bootloader, uncut. Cuts are in the power-cut laboratory, with bootloaders that really swap.

use tuffet_agent::boot::{BootRecord, SlotImage, Trial, TrialEnd, Unfit, decide_boot};
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::handover::{Direct, Handover, Mcuboot, Standing};
use tuffet_agent::mcuboot::{Swap, Trailer};
use tuffet_agent::{Environment, Flash, Misuse, Rejected, SlotId};

use crate::nor::{Cut, Nor, Operation, Tear};

type TestFlash = Flash<Nor<256, 4>>;

const MCUBOOT: Mcuboot = Mcuboot { using_offset: false, reserved: 256 };

#[test]
fn direct_image_is_on_trial_once_it_was_started() {
    let (mut flash, new) = device();
    let active = BootRecord::load(&mut flash).unwrap().active;
    let mut old = Direct { running: Some(active.digest) };
    let record = BootRecord::load(&mut flash).unwrap();
    assert_eq!(Handover::place(&old, &flash, &record), flash.map().slot(SlotId::B));
    old.request(&mut flash, &new).unwrap();
    // Pending, whoever asks, and again without a write.
    flash.nor_mut().plan(None);
    old.request(&mut flash, &new).unwrap();
    assert!(flash.nor().operations.is_empty());
    let mut running = Direct { running: Some(new.digest) };
    assert!(!old.standing(&mut flash).unwrap().on_trial);
    // What runs and is neither active nor on trial is not to be written over.
    assert_eq!(running.standing(&mut flash), Err(Environment::GivenUpRuns.into()));
    let other = SlotImage { sequence: 8, ..new.clone() };
    assert_eq!(old.request(&mut flash, &other), Err(Misuse::TrialUndecided.into()));

    assert_eq!(decide_boot(&mut flash).unwrap().start, new);
    assert!(!old.standing(&mut flash).unwrap().on_trial);
    assert!(running.standing(&mut flash).unwrap().on_trial);
    assert_eq!(old.confirm(&mut flash), Err(Misuse::NotOnTrial.into()));
    running.confirm(&mut flash).unwrap();
    let Standing { record, on_trial } = running.standing(&mut flash).unwrap();
    assert_eq!(Handover::place(&running, &flash, &record), flash.map().slot(SlotId::A));
    assert_eq!((record.active, on_trial), (new, false));
}

#[test]
fn request_writes_record_trailer_and_record_and_again_nothing() {
    let (mut flash, new) = device();
    flash.nor_mut().plan(None);
    MCUBOOT.clone().request(&mut flash, &new).unwrap();
    let mut places: Vec<&str> = flash.nor().operations.iter().map(|operation| part(operation)).collect();
    places.dedup();
    assert_eq!(places, ["record", "trailer B", "record"]);
    assert_eq!(asked(&mut flash), Swap::Test);
    let Standing { record, on_trial } = MCUBOOT.clone().standing(&mut flash).unwrap();
    let trial = record.trial.unwrap();
    assert_eq!((trial.image, trial.tries_left, on_trial), (new.clone(), 0, false));
    flash.nor_mut().plan(None);
    MCUBOOT.clone().request(&mut flash, &new).unwrap();
    MCUBOOT.clone().standing(&mut flash).unwrap();
    assert!(flash.nor().operations.is_empty());
    let other = SlotImage { sequence: 8, ..new };
    assert_eq!(MCUBOOT.clone().request(&mut flash, &other), Err(Misuse::TrialUndecided.into()));
}

#[test]
fn request_of_the_wrong_thing_is_refused_and_asks_nothing() {
    let (mut flash, new) = device();
    let before = flash.nor().bytes().to_vec();
    let in_a = SlotImage { slot: SlotId::A, ..new.clone() };
    assert_eq!(MCUBOOT.clone().request(&mut flash, &in_a), Err(Misuse::SlotActive.into()));
    let large = SlotImage { length: 0xF01, ..new.clone() };
    let refused = Rejected::ImageLargerThanSlot { length: 0xF01, slot: 0xF00 };
    assert_eq!(MCUBOOT.clone().request(&mut flash, &large), Err(refused.into()));
    assert_eq!(flash.nor().bytes(), before);
    flash.nor_mut().forge(0x2000 + 600, &[0]);
    let changed = Environment::ImageNotWritten { slot: SlotId::B };
    assert_eq!(MCUBOOT.clone().request(&mut flash, &new), Err(changed.into()));
    assert_eq!((asked(&mut flash), flash.nor().bytes()[0x2000]), (Swap::None, 0xFF));
    assert_eq!(BootRecord::load(&mut flash).unwrap().trial, None);
}

#[test]
fn request_that_was_cut_before_the_bootloader_knew_is_made_again_or_ends_as_damaged() {
    let (mut flash, new) = device();
    let mut record = BootRecord::load(&mut flash).unwrap();
    record.trials = 1;
    record.trial = Some(Trial { number: 1, image: new.clone(), tries_left: 1 });
    record.store(&mut flash).unwrap();
    let standing = MCUBOOT.clone().standing(&mut flash).unwrap();
    assert_eq!(standing, Standing { record, on_trial: false });
    let mut changed = flash.clone();
    MCUBOOT.clone().request(&mut flash, &new).unwrap();
    assert_eq!(asked(&mut flash), Swap::Test);
    assert_eq!(BootRecord::load(&mut flash).unwrap().trial.unwrap().tries_left, 0);

    changed.nor_mut().forge(0x2000 + 600, &[0]);
    let not_written = Environment::ImageNotWritten { slot: SlotId::B };
    assert_eq!(MCUBOOT.clone().request(&mut changed, &new), Err(not_written.into()));
    assert_eq!((asked(&mut changed), end(&mut changed)), (Swap::None, Some(TrialEnd::Damaged)));
    assert_eq!(BootRecord::load(&mut changed).unwrap().trial, None);
}

#[test]
fn trial_is_confirmed_in_the_bootloader_and_in_the_record() {
    let (mut flash, new) = on_trial();
    let Standing { record, on_trial } = MCUBOOT.clone().standing(&mut flash).unwrap();
    assert_eq!((record.trial.map(|trial| trial.image), on_trial), (Some(new.clone()), true));
    flash.nor_mut().plan(None);
    MCUBOOT.clone().confirm(&mut flash).unwrap();
    let mut places: Vec<&str> = flash.nor().operations.iter().map(|operation| part(operation)).collect();
    places.dedup();
    assert_eq!(places, ["trailer A", "record"]);
    assert_eq!(asked(&mut flash), Swap::None);
    let Standing { record, on_trial } = MCUBOOT.clone().standing(&mut flash).unwrap();
    assert_eq!((record.active, on_trial), (SlotImage { slot: SlotId::A, ..new }, false));
    assert_eq!(end(&mut flash), Some(TrialEnd::Confirmed));
    assert_eq!(MCUBOOT.clone().confirm(&mut flash), Err(Misuse::NoTrial.into()));
}

#[test]
fn trial_that_is_given_up_stays_in_the_record_until_it_is_undone() {
    let (mut flash, new) = on_trial();
    let (mut pending, _) = device();
    MCUBOOT.clone().request(&mut pending, &new).unwrap();
    assert_eq!(MCUBOOT.clone().confirm(&mut pending), Err(Misuse::NotOnTrial.into()));
    assert_eq!(MCUBOOT.clone().revert(&mut pending, Unfit::Health), Err(Misuse::NotOnTrial.into()));
    assert_eq!(MCUBOOT.clone().revert(&mut flash, Unfit::Withdrawn), Err(Misuse::TrialUndecided.into()));

    let mut damaged = flash.clone();
    damaged.nor_mut().forge(0x2000 + 600, &[0]);
    let gone = Environment::ActiveDamaged;
    assert_eq!(MCUBOOT.clone().revert(&mut damaged, Unfit::Health), Err(gone.into()));

    MCUBOOT.clone().revert(&mut flash, Unfit::Health).unwrap();
    let record = BootRecord::load(&mut flash).unwrap();
    assert_eq!((end(&mut flash), record.trial.is_some()), (Some(TrialEnd::Reverted), true));
    let runs = Environment::GivenUpRuns;
    assert_eq!(MCUBOOT.clone().standing(&mut flash), Err(runs.into()));
    assert_eq!(MCUBOOT.clone().confirm(&mut flash), Err(Misuse::NoTrial.into()));
    assert_eq!(asked(&mut flash), Swap::Revert);
    swap(&mut flash, true);
    let Standing { record, on_trial } = MCUBOOT.clone().standing(&mut flash).unwrap();
    assert_eq!((record.active.slot, record.trial, on_trial), (SlotId::A, None, false));
    assert_eq!(end(&mut flash), Some(TrialEnd::Reverted));
}

#[test]
fn way_back_that_a_torn_magic_bars_is_cleared() {
    let (mut flash, _) = on_trial();
    // MCUboot goes back for a secondary magic that is unset, and for no bad one.
    flash.nor_mut().forge(0x3000 - 16, &[0x77]);
    assert_eq!(asked(&mut flash), Swap::None);
    let mut given_up = flash.clone();
    assert!(MCUBOOT.clone().standing(&mut flash).unwrap().on_trial);
    assert_eq!(asked(&mut flash), Swap::Revert);
    MCUBOOT.clone().revert(&mut given_up, Unfit::Health).unwrap();
    let runs = Environment::GivenUpRuns;
    assert_eq!(MCUBOOT.clone().standing(&mut given_up), Err(runs.into()));
    assert_eq!(asked(&mut given_up), Swap::Revert);
}

#[test]
fn trial_that_the_bootloader_undid_or_refused_has_spent_its_try() {
    let (mut undone, _) = on_trial();
    swap(&mut undone, true);
    let (mut refused, new) = device();
    MCUBOOT.clone().request(&mut refused, &new).unwrap();
    Trailer::of(&refused, SlotId::B).clear(&mut refused).unwrap();
    for flash in [&mut undone, &mut refused] {
        let Standing { record, on_trial } = MCUBOOT.clone().standing(flash).unwrap();
        assert_eq!((record.trial, on_trial), (None, false));
        assert_eq!(end(flash), Some(TrialEnd::TriesSpent));
    }
}

#[test]
fn trial_that_nobody_would_undo_is_the_active_image() {
    let (mut confirmed, new) = on_trial();
    // A cut between the two halves of a confirmation.
    confirmed.nor_mut().forge(0x2000 - 24, &[1]);
    let mut torn = on_trial().0;
    torn.nor_mut().forge(0x2000 - 24, &[0x55]);
    let mut overwritten = on_trial().0;
    overwritten.nor_mut().forge(0x2000 - 256, &[0xFF; 256]);
    for flash in [&mut confirmed, &mut torn, &mut overwritten] {
        let mut unfit = flash.clone();
        let Standing { record, on_trial } = MCUBOOT.clone().standing(flash).unwrap();
        assert_eq!((record.active.digest, record.active.slot, on_trial), (new.digest, SlotId::A, false));
        assert_eq!((asked(flash), end(flash)), (Swap::None, Some(TrialEnd::Confirmed)));
        // It is too late to find it unfit.
        assert_eq!(MCUBOOT.clone().revert(&mut unfit, Unfit::Health), Err(Misuse::NoTrial.into()));
        assert_eq!(end(&mut unfit), Some(TrialEnd::Confirmed));
    }
}

#[test]
fn confirmation_that_reads_as_it_pleases_after_a_cut_is_made_firm() {
    for noise in 0..=u8::MAX {
        let (mut flash, _) = on_trial();
        flash.nor_mut().disturb(noise);
        flash.nor_mut().plan(Some(Cut { operation: 0, tear: Tear::Unstable { done: 0 } }));
        MCUBOOT.clone().confirm(&mut flash).unwrap_err();
        assert!(flash.nor_mut().power_on());
        let turns = (0..20).take_while(|_| {
            let Standing { record, on_trial } = MCUBOOT.clone().standing(&mut flash).unwrap();
            if on_trial {
                // A record that was written, or the next turn.
                let _ = MCUBOOT.clone().confirm(&mut flash);
            }
            record.trial.is_some()
        });
        assert!(turns.count() < 20);
        assert_eq!(end(&mut flash), Some(TrialEnd::Confirmed));
        for _ in 0..32 {
            assert_eq!(asked(&mut flash), Swap::None, "of noise {noise:#x}");
        }
    }
}

#[test]
fn pending_image_is_withdrawn_from_the_bootloader_before_the_record() {
    let (mut flash, new) = device();
    assert_eq!(MCUBOOT.clone().revert(&mut flash, Unfit::Withdrawn), Err(Misuse::NoTrial.into()));
    MCUBOOT.clone().request(&mut flash, &new).unwrap();
    flash.nor_mut().plan(None);
    MCUBOOT.clone().revert(&mut flash, Unfit::Withdrawn).unwrap();
    let mut places: Vec<&str> = flash.nor().operations.iter().map(|operation| part(operation)).collect();
    places.dedup();
    assert_eq!(places, ["record", "trailer B", "record"]);
    assert_eq!((asked(&mut flash), end(&mut flash)), (Swap::None, Some(TrialEnd::Withdrawn)));
    assert_eq!(BootRecord::load(&mut flash).unwrap().trial, None);
}

#[test]
fn request_that_is_not_of_the_record_is_taken_back() {
    let (mut flash, new) = device();
    Trailer::of(&flash, SlotId::B).request_test(&mut flash, new.length).unwrap();
    assert_eq!(asked(&mut flash), Swap::Test);
    let mut unreadable = flash.clone();
    assert!(!MCUBOOT.clone().standing(&mut flash).unwrap().on_trial);
    assert_eq!(asked(&mut flash), Swap::None);
    // One that cannot be read today may be back tomorrow.
    unreadable.nor_mut().decay(0x2FF0..0x2FF4);
    assert!(!MCUBOOT.clone().standing(&mut unreadable).unwrap().on_trial);
    unreadable.nor_mut().heal();
    assert_eq!(asked(&mut unreadable), Swap::None);
}

#[test]
fn image_that_runs_already_is_on_trial_without_a_start() {
    let (mut flash, new) = device();
    let active = BootRecord::load(&mut flash).unwrap().active;
    let bytes = flash.nor().bytes()[0x1000..0x1000 + active.length as usize].to_vec();
    flash.nor_mut().forge(0x2000, &bytes);
    let again = SlotImage { slot: SlotId::B, sequence: new.sequence, ..active };
    MCUBOOT.clone().request(&mut flash, &again).unwrap();
    assert!(MCUBOOT.clone().standing(&mut flash).unwrap().on_trial);
    let mut given_up = flash.clone();
    MCUBOOT.clone().confirm(&mut flash).unwrap();
    assert_eq!(BootRecord::load(&mut flash).unwrap().active.sequence, new.sequence);
    MCUBOOT.clone().revert(&mut given_up, Unfit::Health).unwrap();
    let Standing { record, on_trial } = MCUBOOT.clone().standing(&mut given_up).unwrap();
    assert_eq!((record.trial, on_trial, end(&mut given_up)), (None, false, Some(TrialEnd::Reverted)));
    // Either way slot B may be written to.
    assert_eq!((asked(&mut flash), asked(&mut given_up)), (Swap::None, Swap::None));
}

#[test]
fn slot_a_that_holds_neither_image_is_named() {
    let (mut idle, new) = device();
    let mut pending = idle.clone();
    MCUBOOT.clone().request(&mut pending, &new).unwrap();
    for flash in [&mut idle, &mut pending, &mut on_trial().0] {
        flash.nor_mut().forge(0x1000 + 600, &[0]);
        assert_eq!(MCUBOOT.clone().standing(flash), Err(Environment::UnknownRuns.into()));
    }
}

#[test]
fn image_for_a_swap_using_offset_lies_behind_the_first_unit() {
    let (mut flash, new) = device();
    let mut offset = Mcuboot { using_offset: true, reserved: 300 };
    let record = BootRecord::load(&mut flash).unwrap();
    let place = Handover::place(&offset, &flash, &record);
    assert_eq!(place, Region { offset: 0x2100, length: 0x1000 - 0x100 - 0x200 });
    let missing = Environment::ImageNotWritten { slot: SlotId::B };
    assert_eq!(offset.request(&mut flash.clone(), &new), Err(missing.into()));
    let image = flash.nor().bytes()[0x2000..0x2000 + new.length as usize].to_vec();
    flash.nor_mut().forge(0x2100, &image);
    offset.request(&mut flash, &new).unwrap();
    assert_eq!(asked(&mut flash), Swap::Test);
}

/// What MCUboot would do now.
fn asked(flash: &mut TestFlash) -> Swap {
    let [primary, secondary] = [SlotId::A, SlotId::B].map(|slot| Trailer::of(flash, slot).read(flash));
    primary.next(&secondary)
}

fn end(flash: &mut TestFlash) -> Option<TrialEnd> {
    BootRecord::load(flash).unwrap().ended.map(|ended| ended.end)
}

fn part(operation: &Operation) -> &'static str {
    match operation.range().start {
        0..0x400 => "record",
        0x1F00..0x2000 => "trailer A",
        0x2F00..0x3000 => "trailer B",
        _ => "elsewhere",
    }
}

/// A device on which the new image was asked for, swapped in, and runs.
fn on_trial() -> (TestFlash, SlotImage) {
    let (mut flash, new) = device();
    MCUBOOT.clone().request(&mut flash, &new).unwrap();
    swap(&mut flash, false);
    (flash, new)
}

/// What slots and trailers look like after a swap.
fn swap(flash: &mut TestFlash, back: bool) {
    let nor = flash.nor_mut();
    let [a, b] = [0x1000, 0x2000].map(|slot| nor.bytes()[slot..slot + 0xF00].to_vec());
    nor.forge(0x1000, &b);
    nor.forge(0x2000, &a);
    let magic = b"\x77\xc2\x95\xf3\x60\xd2\xef\x7f\x35\x52\x50\x0f\x2c\xb6\x79\x80";
    for slot in [SlotId::A, SlotId::B] {
        Trailer::of(flash, slot).clear(flash).unwrap();
    }
    flash.nor_mut().forge(0x2000 - 16, magic);
    flash.nor_mut().forge(0x2000 - 32, &[1]);
    if back {
        flash.nor_mut().forge(0x2000 - 24, &[1]);
    }
}

/// A device from the factory with one image, and another one written to slot B.
fn device() -> (TestFlash, SlotImage) {
    device_with(0x1000)
}

fn device_with(slot_b: u32) -> (TestFlash, SlotImage) {
    let region = |offset, length| Region { offset, length };
    let map = FlashMap::new(Layout {
        erase_unit: 256,
        write_unit: 4,
        erased: 0xFF,
        boot: region(0, 0x400),
        trust: region(0x4000, 0xE00),
        slot_a: region(0x1000, 0x1000),
        slot_b: region(0x2000, slot_b),
    })
    .unwrap();
    // With room for embassy-boot's state at its end.
    let mut flash = Flash::new(Nor::new(0x6000, 0xFF), map).unwrap();
    let mut put = |slot, length: usize, sequence, version: &str| {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 13 + sequence as usize) as u8).collect();
        flash.nor_mut().forge(map.slot(slot).offset as usize, &bytes);
        let digest = <sha2::Sha256 as sha2::Digest>::digest(&bytes).into();
        let version = version.try_into().unwrap();
        SlotImage { slot, length: length as u32, digest, sequence, counter: 0, version }
    };
    let old = put(SlotId::A, 1000, 0, "0.9.0");
    let new = put(SlotId::B, 1500, 7, "1.0.0");
    BootRecord::factory(old).store(&mut flash).unwrap();
    (flash, new)
}

#[cfg(feature = "embassy-boot")]
mod embassy {
    use core::cell::RefCell;

    use embassy_boot::{BootLoader, BootLoaderConfig, State};
    use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
    use tuffet_agent::flash_map::{MapFault, Part};
    use tuffet_agent::handover::EmbassyBoot;

    use super::*;

    const STATE: Region = Region { offset: 0x5000, length: 0x400 };

    #[test]
    fn new_with_one_thing_wrong_names_it() {
        let (flash, _) = device_with(0x1100);
        let new =
            |flash: &TestFlash, offset, length| EmbassyBoot::new(flash, Region { offset, length }).err();
        assert_eq!(new(&flash, 0x5000, 0x400), None);
        let refused = |fault| Some(Misuse::Map(fault).into());
        // Sixteen pages, four words of four bytes for each, and two more.
        assert_eq!(new(&flash, 0x5000, 0x200), None);
        assert_eq!(new(&flash, 0x5000, 0x100), refused(MapFault::TooSmall(Part::State)));
        assert_eq!(new(&flash, 0x5010, 0x400), refused(MapFault::Misaligned(Part::State)));
        assert_eq!(new(&flash, 0x5F00, 0x400), refused(MapFault::FlashTooSmall));
        assert_eq!(new(&flash, 0x3000, 0x400), refused(MapFault::Overlap(Part::SlotB, Part::State)));
        assert_eq!(new(&device().0, 0x5000, 0x400), refused(MapFault::NoPageToSwap));
        let layout = Layout { erased: 0, ..*flash.map().layout() };
        let zeros = Flash::new(Nor::new(0x6000, 0), FlashMap::new(layout).unwrap()).unwrap();
        assert_eq!(new(&zeros, 0x5000, 0x400), refused(MapFault::ErasedToZeros));
    }

    #[test]
    fn image_is_swapped_in_confirmed_and_stays() {
        let (mut flash, new, mut handover) = on_trial();
        assert!(handover.standing(&mut flash).unwrap().on_trial);
        handover.confirm(&mut flash).unwrap();
        assert_eq!((boot(&mut flash), runs(&mut flash)), (State::Boot, new.digest));
        let Standing { record, on_trial } = handover.standing(&mut flash).unwrap();
        assert_eq!((record.active, on_trial), (SlotImage { slot: SlotId::A, ..new }, false));
        assert_eq!(end(&mut flash), Some(TrialEnd::Confirmed));
    }

    #[test]
    fn image_that_is_given_up_is_swapped_back() {
        let (mut flash, _, mut handover) = on_trial();
        handover.revert(&mut flash, Unfit::Health).unwrap();
        assert_eq!(handover.standing(&mut flash), Err(Environment::GivenUpRuns.into()));
        boot(&mut flash);
        let Standing { record, on_trial } = handover.standing(&mut flash).unwrap();
        assert_eq!((record.trial, on_trial, end(&mut flash)), (None, false, Some(TrialEnd::Reverted)));
        // Or what it would go back to is not there.
        let (mut flash, _, mut handover) = super::embassy::on_trial();
        flash.nor_mut().forge(0x2100 + 600, &[0]);
        let gone = Environment::ActiveDamaged;
        assert_eq!(handover.revert(&mut flash, Unfit::Health), Err(gone.into()));
    }

    #[test]
    fn confirmation_that_a_cut_makes_look_like_a_revert_is_one() {
        let (mut flash, new, mut handover) = on_trial();
        // Between the first of its three operations and the second.
        flash.nor_mut().plan(Some(Cut { operation: 0, tear: Tear::After }));
        handover.confirm(&mut flash).unwrap_err();
        assert!(flash.nor_mut().power_on());
        boot(&mut flash);
        assert_eq!((boot(&mut flash), runs(&mut flash)), (State::Revert, new.digest));
        let Standing { record, on_trial } = handover.standing(&mut flash).unwrap();
        assert_eq!((record.active.digest, on_trial), (new.digest, false));
        assert_eq!(end(&mut flash), Some(TrialEnd::Confirmed));
        assert_eq!(boot(&mut flash), State::Boot);
    }

    #[test]
    fn revert_that_a_cut_makes_look_like_nothing_ends_the_trial() {
        let (mut flash, new, mut handover) = on_trial();
        let mut rehearsal = flash.clone();
        rehearsal.nor_mut().plan(None);
        boot(&mut rehearsal);
        // Before the magic, which is the last operation.
        let operation = rehearsal.nor().operations.len() - 1;
        flash.nor_mut().plan(Some(Cut { operation, tear: Tear::Before }));
        try_boot(&mut flash).unwrap_err();
        assert!(flash.nor_mut().power_on());
        assert_eq!(boot(&mut flash), State::Boot);
        assert_ne!(runs(&mut flash), new.digest);
        assert!(!handover.standing(&mut flash).unwrap().on_trial);
        assert_eq!(end(&mut flash), Some(TrialEnd::TriesSpent));
    }

    #[test]
    fn pending_image_is_withdrawn() {
        let (mut flash, new, mut handover) = pending();
        assert!(!handover.standing(&mut flash).unwrap().on_trial);
        handover.revert(&mut flash, Unfit::Withdrawn).unwrap();
        boot(&mut flash);
        assert_ne!(runs(&mut flash), new.digest);
        handover.standing(&mut flash).unwrap();
        assert_eq!(end(&mut flash), Some(TrialEnd::Withdrawn));
    }

    #[test]
    fn page_behind_the_image_that_cannot_be_read_is_erased() {
        let (mut flash, new) = device_with(0x1100);
        let mut handover = EmbassyBoot::new(&flash, STATE).unwrap();
        flash.nor_mut().decay(0x2E04..0x2E08);
        let mut unaware = flash.clone();
        handover.request(&mut flash, &new).unwrap();
        boot(&mut flash);
        assert_eq!(runs(&mut flash), new.digest);
        // Asked for past the hand-over, embassy-boot starts nothing any more.
        unaware.nor_mut().forge(STATE.offset as usize, &[0xF0; 4]);
        try_boot(&mut unaware).unwrap_err();
    }

    fn pending() -> (TestFlash, SlotImage, EmbassyBoot) {
        let (mut flash, new) = device_with(0x1100);
        let mut handover = EmbassyBoot::new(&flash, STATE).unwrap();
        handover.request(&mut flash, &new).unwrap();
        (flash, new, handover)
    }

    fn on_trial() -> (TestFlash, SlotImage, EmbassyBoot) {
        let (mut flash, new, handover) = pending();
        boot(&mut flash);
        assert_eq!(runs(&mut flash), new.digest);
        (flash, new, handover)
    }

    /// The digest of what slot A holds, if it is as long as either image.
    fn runs(flash: &mut TestFlash) -> [u8; 32] {
        let record = BootRecord::load(flash).unwrap();
        let new = flash.slot_digest(SlotId::A, 1500).unwrap();
        let trial = record.trial.as_ref().map(|trial| trial.image.digest);
        if trial == Some(new) || record.active.digest == new {
            new
        } else {
            flash.slot_digest(SlotId::A, 1000).unwrap()
        }
    }

    fn boot(flash: &mut TestFlash) -> State {
        try_boot(flash).unwrap()
    }

    fn try_boot(flash: &mut TestFlash) -> Result<State, embassy_boot::BootError> {
        flash.nor_mut().takes_all_bits_again = true;
        let [active, dfu] = [SlotId::A, SlotId::B].map(|slot| flash.map().slot(slot));
        let nor = RefCell::new(flash.nor_mut());
        let [active, dfu, state] = [active, dfu, STATE].map(|region| Shared { nor: &nor, region });
        let mut loader = BootLoader::new(BootLoaderConfig { active, dfu, state });
        loader.prepare_boot(&mut [0; 256])
    }

    struct Shared<'f> {
        nor: &'f RefCell<&'f mut Nor<256, 4>>,
        region: Region,
    }

    impl ErrorType for Shared<'_> {
        type Error = NorFlashErrorKind;
    }

    impl ReadNorFlash for Shared<'_> {
        const READ_SIZE: usize = 1;

        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
            self.nor.borrow_mut().read(self.region.offset + offset, bytes)
        }

        fn capacity(&self) -> usize {
            self.region.length as usize
        }
    }

    impl NorFlash for Shared<'_> {
        const WRITE_SIZE: usize = 4;
        const ERASE_SIZE: usize = 256;

        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
            self.nor.borrow_mut().write(self.region.offset + offset, bytes)
        }

        fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
            self.nor.borrow_mut().erase(self.region.offset + from, self.region.offset + to)
        }
    }
}
