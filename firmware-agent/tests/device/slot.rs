use sha2::{Digest, Sha256};
use tuffet_agent::boot::{BootRecord, SlotImage, Unfit, mark_pending, revert};
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::handover::{Direct, Handover, Mcuboot};
use tuffet_agent::progress::Progress;
use tuffet_agent::{Environment, Error, Flash, Misuse, Rejected, SlotId, SlotWriter};

use crate::nor::{Cut, Nor, Operation, Tear};

const SLOT: usize = 0x2000;

#[test]
fn image_in_chunks_of_any_size_is_on_the_flash_and_nothing_else_changed() {
    fn geometry<const ERASE: usize, const WRITE: usize>(erased: u8, cases: &mut usize) {
        for length in [1, 31, 255, 256, 257, 1024, 1025, SLOT - 1, SLOT] {
            let image = image(length);
            for chunk in [1, 3, 255, 256, 257, 1000, SLOT] {
                let mut flash = device::<ERASE, WRITE>(erased);
                let before = flash.nor_mut().bytes().to_vec();
                let mut writer = open(&mut flash, length as u32, digest(&image)).unwrap();
                for bytes in image.chunks(chunk) {
                    writer.write(bytes).unwrap();
                }
                writer.write(&[]).unwrap();
                assert_eq!(writer.writer.next(), length as u32);
                assert_eq!(writer.finish(), Ok(()));
                assert_only_slot_b_changed(&mut flash, &before);
                let start = flash.map().slot(SlotId::B).offset as usize;
                assert_eq!(flash.nor_mut().bytes()[start..start + length], image[..]);
                let behind = start + length..start + length.next_multiple_of(ERASE);
                assert!(flash.nor_mut().bytes()[behind].iter().all(|byte| *byte == erased));
                assert_eq!(flash.slot_digest(SlotId::B, length as u32), Ok(digest(&image)));
                *cases += 1;
            }
        }
    }
    let mut cases = 0;
    geometry::<256, 1>(0xFF, &mut cases);
    geometry::<1024, 4>(0x00, &mut cases);
    geometry::<4096, 32>(0xFF, &mut cases);
    assert_eq!(cases, 3 * 9 * 7);
}

#[test]
fn write_of_one_byte_too_many_is_refused_at_every_boundary() {
    for length in [1, 256, 4096, SLOT] {
        let image = image(length + 1);
        for chunk in [1, 256, 1000, length + 1] {
            let mut flash = device::<1024, 4>(0xFF);
            let before = flash.nor_mut().bytes().to_vec();
            let mut writer = open(&mut flash, length as u32, digest(&image[..length])).unwrap();
            let refused = Error::from(Rejected::ImageTooLong { length: length as u32 });
            let last = image.chunks(chunk).map(|bytes| writer.write(bytes)).last();
            assert_eq!(last, Some(Err(refused)));
            // Once refused, always refused, though the right bytes may be there.
            assert_eq!(writer.write(&[]), Err(refused));
            assert_eq!(writer.finish(), Err(refused));
            assert_refused(&mut flash, &before);
        }
    }
}

#[test]
fn finish_of_a_wrong_image_makes_the_slot_unbootable() {
    let image = image(5000);
    let mut flipped = image.clone();
    flipped[4321] ^= 1;
    let short = Rejected::ImageTooShort { length: 5000, received: 4999 };
    let cases = [
        (&flipped[..], Error::from(Rejected::ImageDigest)),
        (&image[..4999], short.into()),
        (&[], Rejected::ImageTooShort { length: 5000, received: 0 }.into()),
    ];
    for (bytes, error) in cases {
        let mut flash = device::<1024, 4>(0xFF);
        let before = flash.nor_mut().bytes().to_vec();
        let mut writer = open(&mut flash, 5000, digest(&image)).unwrap();
        writer.write(bytes).unwrap();
        assert_eq!(writer.finish(), Err(error));
        assert_refused(&mut flash, &before);
    }
}

#[test]
fn finish_on_a_flash_that_lost_a_bit_is_the_flash_s_fault() {
    let image = image(5000);
    let mut flash = device::<1024, 4>(0xFF);
    let before = flash.nor_mut().bytes().to_vec();
    let start = flash.map().slot(SlotId::B).offset as usize;
    flash.nor_mut().wear_out(start + 3000..start + 3001);
    let mut writer = open(&mut flash, 5000, digest(&image)).unwrap();
    writer.write(&image).unwrap();
    let slot = SlotId::B;
    assert_eq!(writer.finish(), Err(Environment::ImageNotWritten { slot }.into()));
    assert_refused(&mut flash, &before);
}

#[test]
fn abandon_makes_the_slot_unbootable() {
    let image = image(5000);
    let mut flash = device::<1024, 4>(0xFF);
    let before = flash.nor_mut().bytes().to_vec();
    let mut writer = open(&mut flash, 5000, digest(&image)).unwrap();
    writer.write(&image[..3000]).unwrap();
    writer.abandon().unwrap();
    assert_refused(&mut flash, &before);
}

#[test]
fn open_of_what_cannot_be_written_touches_nothing() {
    let image = image(5000);
    let mut flash = device::<1024, 4>(0xFF);
    let length = SLOT as u32 + 1;
    let larger = Rejected::ImageLargerThanSlot { length, slot: SLOT as u32 };
    let mut on_trial = flash.clone();
    let mut writer = open(&mut on_trial, 5000, digest(&image)).unwrap();
    writer.write(&image).unwrap();
    writer.finish().unwrap();
    let pending = SlotImage {
        slot: SlotId::B,
        length: 5000,
        digest: digest(&image),
        sequence: 1,
        counter: 0,
        version: "1.0.0".try_into().unwrap(),
    };
    mark_pending(&mut on_trial, &pending, 1).unwrap();
    let mut lost = flash.clone();
    lost.nor_mut().decay(0..0x2000);

    for (flash, length, error) in [
        (&mut flash.clone(), length, Error::from(larger)),
        (&mut flash, 0, Misuse::ImageEmpty.into()),
        (&mut on_trial, 5000, Misuse::TrialUndecided.into()),
        (&mut lost, 5000, Environment::RecordLost { kind: tuffet_agent::journal::Kind::Boot }.into()),
    ] {
        flash.nor_mut().plan(None);
        assert_eq!(open(flash, length, digest(&image)).map(drop).unwrap_err(), error);
        assert_eq!(flash.nor_mut().operations, [], "{error}");
    }
    revert(&mut on_trial, Unfit::Withdrawn).unwrap();
    open(&mut on_trial, 5000, digest(&image)).unwrap();
}

#[test]
fn image_cut_anywhere_leaves_all_else_and_can_be_written_again() {
    let image = image(3000);
    let mut flash = device::<1024, 32>(0xFF);
    let before = flash.nor_mut().bytes().to_vec();
    let write = |flash: &mut Flash<Nor<1024, 32>>| {
        let mut writer = open(flash, 3000, digest(&image))?;
        let from = writer.writer.next() as usize;
        image[from..].chunks(700).try_for_each(|bytes| writer.write(bytes))?;
        writer.finish()
    };
    let mut rehearsal = flash.clone();
    rehearsal.nor_mut().plan(None);
    write(&mut rehearsal).unwrap();
    let cuts = Cut::all(&rehearsal.nor_mut().operations);
    for cut in &cuts {
        let mut flash = flash.clone();
        flash.nor_mut().plan(Some(*cut));
        write(&mut flash).unwrap_err();
        assert!(flash.nor_mut().power_on(), "{cut:?} was never reached");
        assert_only_slot_b_changed(&mut flash, &before);
        assert_eq!(write(&mut flash), Ok(()), "{cut:?}");
    }
    // The boot record's 64 bytes in two writes and its seal of 32, after four erases; the same for what is under way, after
    // eight, for nothing was in that journal, and before it 32 and a seal for what no longer is. Twelve writes of the image, the last of 184 bytes rounded up to 192, and three
    // erases. Then the boot record once more, with a digest.
    let records = 3 * 96 + 2 * 3 + 4 * 50 + 3 * 96 + 2 * 3 + 8 * 50 + 3 * 64 + 2 * 2 + 3 * 128 + 2 * 4;
    assert_eq!(cuts.len(), records + 3 * (11 * 256 + 192) + 2 * 12 + 3 * 50);
}

/// A download breaks off at each byte, and the device loses its power before it goes on.
#[test]
fn image_broken_off_anywhere_goes_on_from_the_unit_in_which_it_ended() {
    fn geometry<const ERASE: usize, const WRITE: usize>(
        erased: u8,
        handover: &impl Handover<Nor<ERASE, WRITE>>,
        length: usize,
        header_last: bool,
    ) {
        let mut image = image(length);
        // A blank run of some units, and one at the end: neither can be told from what was never written.
        image[700..700 + 2 * ERASE].fill(erased);
        image[length - 300..].fill(erased);
        for broken in (0..length).step_by(if ERASE > 512 { 97 } else { 13 }) {
            let mut flash = device::<ERASE, WRITE>(erased);
            let mut writer = open_by(&mut flash, handover, length as u32, digest(&image)).unwrap();
            writer.write(&image[..broken]).unwrap();
            drop(writer);
            // Another slot's writer knows nothing of this one, and neither does one for another image.
            let before = flash.clone();
            let other = open_by(&mut flash, handover, length as u32, [7; 32]).unwrap();
            assert_eq!(other.writer.next(), 0);
            let mut flash = before;
            flash.nor_mut().plan(None);
            let mut writer = open_by(&mut flash, handover, length as u32, digest(&image)).unwrap();
            let from = writer.writer.next() as usize;
            if header_last && writer.writer.end() < length as u32 {
                assert_eq!((from, writer.writer.end()), (0, 256), "{broken}: the first page comes once more");
                writer.write(&image[..256]).unwrap();
            }
            let from = writer.writer.next() as usize;
            // What is blank at the end of what came counts as not written, and the unit before that is written again.
            let blank = image[..broken / 256 * 256].iter().rev().take_while(|byte| **byte == erased).count();
            assert!(from.is_multiple_of(ERASE) && from <= broken, "{broken}: {from}");
            assert!(
                broken - from < ERASE + 256 + blank + if header_last { 256 } else { 0 },
                "{broken}: {from}"
            );
            writer.write(&image[from..]).unwrap();
            assert_eq!(writer.finish(), Ok(()), "{broken}");
            let record = BootRecord::load(&mut flash).unwrap();
            let place = handover.place(&flash, &record);
            assert_eq!(flash.digest(place, length as u32), Ok(digest(&image)), "{broken}");
        }
    }
    let direct = Direct { running: None };
    geometry::<256, 1>(0xFF, &direct, 4000, false);
    geometry::<512, 8>(0x00, &direct, 4000, false);
    geometry::<1024, 32>(0xFF, &direct, 7000, false);
    // Not a multiple of the page.
    geometry::<384, 4>(0xFF, &direct, 4000, false);
    let mcuboot = Mcuboot { using_offset: false, reserved: 0 };
    geometry::<256, 4>(0xFF, &mcuboot, 4000, true);
    geometry::<1024, 8>(0xFF, &mcuboot, 6000, true);
}

/// A cut in any operation of a download, the header's included, and another one in an erase of what goes on: what that leaves
/// unreadable says nothing about how far the download came, and a header that was begun is none to write over.
#[test]
fn image_cut_anywhere_and_again_while_it_goes_on_is_whole_in_the_end() {
    fn write<const ERASE: usize, const WRITE: usize>(
        flash: &mut Flash<Nor<ERASE, WRITE>>,
        handover: &impl Handover<Nor<ERASE, WRITE>>,
        image: &[u8],
    ) -> Result<(), Error> {
        let mut writer = open_by(flash, handover, image.len() as u32, digest(image))?;
        loop {
            let (from, end) = (writer.writer.next() as usize, writer.writer.end() as usize);
            writer.write(&image[from..end])?;
            if writer.writer.next() as usize == end {
                return writer.finish();
            }
        }
    }
    fn geometry<const ERASE: usize, const WRITE: usize>(
        handover: &impl Handover<Nor<ERASE, WRITE>>,
        length: usize,
    ) -> usize {
        let image = image(length);
        let fresh = device::<ERASE, WRITE>(0xFF);
        let mut rehearsal = fresh.clone();
        rehearsal.nor_mut().plan(None);
        write(&mut rehearsal, handover, &image).unwrap();
        let mut cases = 0;
        for first in Cut::all(&rehearsal.nor_mut().operations).into_iter().step_by(151) {
            let mut cut = fresh.clone();
            cut.nor_mut().plan(Some(first));
            write(&mut cut, handover, &image).unwrap_err();
            cut.nor_mut().power_on();
            let mut rehearsal = cut.clone();
            rehearsal.nor_mut().plan(None);
            let went = write(&mut rehearsal, handover, &image);
            // Of the header's unit it is not known whether it may be written, if that was cut and reads as blank.
            assert!(went.is_ok() || rehearsal.nor_mut().take_refusal(), "{first:?}: {went:?}");
            for (operation, what) in rehearsal.nor_mut().operations.clone().into_iter().enumerate() {
                if let Operation::Erase(_) = what {
                    let second = Cut { operation, tear: Tear::Unreadable { done: ERASE / 3 } };
                    let mut again = cut.clone();
                    again.nor_mut().plan(Some(second));
                    write(&mut again, handover, &image).unwrap_err();
                    again.nor_mut().power_on();
                    let went = write(&mut again, handover, &image);
                    assert!(
                        went.is_ok() || again.nor_mut().take_refusal(),
                        "{first:?}, {second:?}: {went:?}"
                    );
                    cases += 1;
                }
            }
        }
        cases
    }
    let direct = Direct { running: None };
    let mcuboot = Mcuboot { using_offset: false, reserved: 0 };
    let cases = geometry::<256, 4>(&direct, 700)
        + geometry::<512, 8>(&direct, 1200)
        + geometry::<256, 4>(&mcuboot, 700)
        + geometry::<512, 8>(&mcuboot, 1200);
    assert!(cases > 100, "{cases}");
}

#[test]
fn header_is_written_last_and_never_for_another_image() {
    let image = image(5000);
    let mcuboot = Mcuboot { using_offset: false, reserved: 0 };
    let mut flash = device::<1024, 4>(0xFF);
    let start = flash.map().slot(SlotId::B).offset as usize;
    let blank = |flash: &mut Flash<Nor<1024, 4>>| {
        flash.nor_mut().bytes()[start..start + 256].iter().all(|byte| *byte == 0xFF)
    };
    let mut writer = open_by(&mut flash, &mcuboot, 5000, digest(&image)).unwrap();
    writer.write(&image).unwrap();
    assert!(blank(writer.flash));
    writer.finish().unwrap();
    assert_eq!(flash.nor_mut().bytes()[start..start + 5000], image);

    let mut flash = device::<1024, 4>(0xFF);
    flash.nor_mut().plan(None);
    let mut writer = open_by(&mut flash, &mcuboot, 5000, [7; 32]).unwrap();
    writer.write(&image).unwrap();
    assert_eq!(writer.finish(), Err(Rejected::ImageDigest.into()));
    let first = start..start + 256;
    let wrote = |operation: &Operation| matches!(operation, Operation::Write(range) if range.start < first.end && range.end > first.start);
    assert!(!flash.nor_mut().operations.iter().any(wrote));
}

#[test]
fn poisoned_prefix_is_dropped_as_a_whole() {
    let image = image(5000);
    let mut poisoned = image.clone();
    poisoned[100] ^= 1;
    let mut flash = device::<1024, 4>(0xFF);
    let mut writer = open(&mut flash, 5000, digest(&image)).unwrap();
    writer.write(&poisoned[..3000]).unwrap();
    drop(writer);
    // An honest server from here on cannot make it right.
    let mut writer = open(&mut flash, 5000, digest(&image)).unwrap();
    assert_eq!(writer.writer.next(), 2048);
    writer.write(&image[2048..]).unwrap();
    assert_eq!(writer.finish(), Err(Rejected::ImageDigest.into()));
    let mut writer = open(&mut flash, 5000, digest(&image)).unwrap();
    assert_eq!(writer.writer.next(), 0, "nothing is left of it");
    writer.write(&image).unwrap();
    assert_eq!(writer.finish(), Ok(()));
}

#[test]
fn writer_behind_intact_bytes_erases_nothing_and_writes_each_word_once() {
    let image = image(5000);
    let mcuboot = Mcuboot { using_offset: false, reserved: 0 };
    goes_on_behind_intact_bytes(&image, &Direct { running: None });
    goes_on_behind_intact_bytes(&image, &mcuboot);
}

fn goes_on_behind_intact_bytes(image: &[u8], handover: &impl Handover<Nor<1024, 4>>) {
    for came in (0..=image.len()).step_by(250) {
        let mut flash = device::<1024, 4>(0xFF);
        let mut writer = open_by(&mut flash, handover, 5000, digest(image)).unwrap();
        writer.write(&image[..came]).unwrap();
        let (intact, mut progress) = (writer.writer.written(), writer.progress.clone());
        flash.nor_mut().plan(None);
        let mut writer =
            SlotWriter::open(&mut flash, handover, &mut progress, 5000, digest(image), intact).unwrap();
        let erases = |operation: &Operation| matches!(operation, Operation::Erase(_));
        let erased = flash.nor_mut().operations.iter().any(erases);
        assert_eq!((intact > 0, erased), (came >= 256, came < 256), "{came}");
        while writer.next() < 5000 {
            let wanted = writer.next() as usize..writer.end() as usize;
            writer.write(&mut flash, &mut progress, &image[wanted]).unwrap();
        }
        writer.finish(&mut flash, &mut progress).unwrap();
        let start = flash.map().slot(SlotId::B).offset as usize;
        assert_eq!(flash.nor_mut().bytes()[start..start + 5000], *image, "{came}");
    }
}

/// A writer with what it writes to.
struct Writing<'f, const ERASE: usize, const WRITE: usize> {
    flash: &'f mut Flash<Nor<ERASE, WRITE>>,
    progress: Progress,
    writer: SlotWriter,
}

fn open<const ERASE: usize, const WRITE: usize>(
    flash: &mut Flash<Nor<ERASE, WRITE>>,
    length: u32,
    digest: [u8; 32],
) -> Result<Writing<'_, ERASE, WRITE>, Error> {
    open_by(flash, &Direct { running: None }, length, digest)
}

fn open_by<'f, const ERASE: usize, const WRITE: usize>(
    flash: &'f mut Flash<Nor<ERASE, WRITE>>,
    handover: &impl Handover<Nor<ERASE, WRITE>>,
    length: u32,
    digest: [u8; 32],
) -> Result<Writing<'f, ERASE, WRITE>, Error> {
    let mut progress = Progress::load(flash);
    let writer = SlotWriter::open(flash, handover, &mut progress, length, digest, 0)?;
    Ok(Writing { flash, progress, writer })
}

impl<const ERASE: usize, const WRITE: usize> Writing<'_, ERASE, WRITE> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.writer.write(self.flash, &mut self.progress, bytes)
    }

    fn finish(&mut self) -> Result<(), Error> {
        self.writer.finish(self.flash, &mut self.progress)
    }

    fn abandon(&mut self) -> Result<(), Error> {
        self.writer.abandon(self.flash, &mut self.progress)
    }
}

fn assert_refused<const ERASE: usize, const WRITE: usize>(
    flash: &mut Flash<Nor<ERASE, WRITE>>,
    before: &[u8],
) {
    assert_only_slot_b_changed(flash, before);
    let start = flash.map().slot(SlotId::B).offset as usize;
    assert!(flash.nor_mut().bytes()[start..start + ERASE].iter().all(|byte| *byte == 0xFF));
}

fn assert_only_slot_b_changed<const ERASE: usize, const WRITE: usize>(
    flash: &mut Flash<Nor<ERASE, WRITE>>,
    before: &[u8],
) {
    let journals = flash.map().layout().trust.end() as usize;
    let Region { offset, length } = flash.map().slot(SlotId::B);
    let (start, end) = (offset as usize, (offset + length) as usize);
    let now = flash.nor_mut().bytes();
    // The journals, at the very beginning, are written, but the boot record says what it said.
    assert!(now[journals..start] == before[journals..start], "bytes before the slot changed");
    assert!(now[end..] == before[end..], "bytes behind the slot changed");
    let record = BootRecord::load(flash).unwrap();
    assert_eq!(
        (record.active.slot, record.active.length, record.trial, record.trials),
        (SlotId::A, 4000, None, 0)
    );
}

/// A device that runs from slot A. Slot B lies between the two, so that a byte too far on either
/// side shows.
fn device<const ERASE: usize, const WRITE: usize>(erased: u8) -> Flash<Nor<ERASE, WRITE>> {
    let unit = ERASE as u32;
    let length = (SLOT as u32).next_multiple_of(2 * unit);
    let part = |number: u32| Region { offset: number * length, length };
    let map = FlashMap::new(Layout {
        erase_unit: unit,
        write_unit: WRITE as u32,
        erased,
        boot: part(0),
        trust: part(1),
        slot_b: part(4),
        slot_a: part(5),
    })
    .unwrap();
    let mut flash = Flash::new(Nor::new(map.capacity(), erased), map).unwrap();
    let old = image(4000);
    flash.nor_mut().forge(map.slot(SlotId::A).offset as usize, &old);
    flash.nor_mut().forge(map.slot(SlotId::B).offset as usize, &[0x42; SLOT]);
    let active = SlotImage {
        slot: SlotId::A,
        length: 4000,
        digest: digest(&old),
        sequence: 0,
        counter: 0,
        version: "0.9.0".try_into().unwrap(),
    };
    BootRecord::factory(active).store(&mut flash).unwrap();
    flash
}

fn image(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 31 + at / 251) as u8).collect()
}

fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
