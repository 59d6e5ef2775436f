use std::collections::BTreeSet;

use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::journal::{FRAME_MAX, Journal, Kind, PAYLOAD_MAX};
use tuffet_agent::{Environment, Error, Flash, Misuse};

use crate::nor::{Cut, Nor, Operation, Tear};

/// The smallest area of the boot record, in bytes.
const AREA: usize = 512;

/// Lengths that end on, just before and just after words and frames; the largest fills most of the
/// smallest area by itself.
const LENGTHS: [usize; 12] = [3, 16, 47, 48, 49, 0, 1, 111, 64, 5, 440, 33];

#[test]
fn append_cut_anywhere_leaves_the_newest_or_the_previous_record() {
    // Every cut of every append on every geometry, each once.
    let mut cases = BTreeSet::new();
    sweep::<256, 1>(0xFF, &mut cases);
    sweep::<256, 4>(0xFF, &mut cases);
    sweep::<256, 4>(0x00, &mut cases);
    sweep::<512, 8>(0xFF, &mut cases);
    sweep::<1024, 32>(0xFF, &mut cases);
    let intended: usize = [(256, 1), (256, 4), (256, 4), (512, 8), (1024, 32)]
        .map(|(erase, write)| cuts(erase, write))
        .iter()
        .sum();
    assert_eq!((cases.len(), intended), (39_544, 39_544));
}

/// How many cuts there are in the appends of [`sweep`]: two, and three a byte, for each write of a frame's unit and for its
/// seal; two, and three a sixteenth, for each erase.
fn cuts(erase: usize, write: usize) -> usize {
    let unit = write.max(16);
    let area = AREA.next_multiple_of(erase);
    let cuts_of_erase = area / erase * (3 * 16 + 2);
    // The first append erases both areas.
    let (mut cuts, mut used) = (cuts_of_erase, area);
    for length in LENGTHS.iter().cycle().take(2 * LENGTHS.len()) {
        let frame = (16 + length).next_multiple_of(write);
        let span = (frame + write).next_multiple_of(unit);
        cuts += 3 * frame + 2 * frame.div_ceil(unit) + 3 * write + 2;
        if used + span > area {
            cuts += cuts_of_erase;
            used = 0;
        }
        used += span;
    }
    cuts
}

fn sweep<const ERASE: usize, const WRITE: usize>(
    erased: u8,
    cases: &mut BTreeSet<(usize, usize, u8, usize, Cut)>,
) {
    let mut flash = blank::<ERASE, WRITE>(erased);
    let journal = Journal::new(flash.map(), Kind::Boot);
    let mut previous = None;
    // Twice round, so that each area is erased with old frames in it.
    for (number, length) in LENGTHS.iter().cycle().take(2 * LENGTHS.len()).enumerate() {
        let payload = payload(number, *length);
        let mut rehearsal = flash.clone();
        rehearsal.nor_mut().plan(None);
        journal.append(&mut rehearsal, 1, &payload).unwrap();

        for cut in Cut::all(&rehearsal.nor_mut().operations) {
            assert!(cases.insert((ERASE, WRITE, erased, number, cut)), "{cut:?} comes twice");
            let mut flash = flash.clone();
            flash.nor_mut().plan(Some(cut));
            let answer = journal.append(&mut flash, 1, &payload);
            assert!(answer.is_err(), "{cut:?}: no power, yet {answer:?}");
            assert!(flash.nor_mut().power_on(), "{cut:?} was never reached");

            let found = newest(&journal, &mut flash);
            assert!(
                found == previous || found.as_ref() == Some(&payload),
                "append {number}, {cut:?}: found {found:?}"
            );
            // What was lost is written again, and one more after it.
            for payload in [&payload, &vec![0xA5; 20]] {
                journal.append(&mut flash, 1, payload).unwrap();
                assert_eq!(newest(&journal, &mut flash).as_ref(), Some(payload), "{cut:?}");
            }
        }
        flash = rehearsal;
        previous = Some(payload);
    }
}

#[test]
fn append_cut_anywhere_during_the_recovery_leaves_a_valid_record() {
    let mut flash = blank::<256, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    // 64 bytes are left in the first area, so that one append stays and the other one moves on.
    journal.append(&mut flash, 1, &[1; 430]).unwrap();
    let (second, mut cases) = ([8; 20].to_vec(), BTreeSet::new());
    for first in [vec![7; 20], vec![7; 60]] {
        let mut rehearsal = flash.clone();
        rehearsal.nor_mut().plan(None);
        journal.append(&mut rehearsal, 1, &first).unwrap();
        for cut in Cut::all(&rehearsal.nor_mut().operations) {
            let mut after = flash.clone();
            after.nor_mut().plan(Some(cut));
            journal.append(&mut after, 1, &first).unwrap_err();
            after.nor_mut().power_on();
            let survivor = newest(&journal, &mut after);
            assert!(survivor == Some(vec![1; 430]) || survivor.as_ref() == Some(&first), "{cut:?}");

            let mut rehearsal = after.clone();
            rehearsal.nor_mut().plan(None);
            journal.append(&mut rehearsal, 1, &second).unwrap();
            for again in Cut::all(&rehearsal.nor_mut().operations) {
                assert!(cases.insert((first.len(), cut, again)));
                let mut flash = after.clone();
                flash.nor_mut().plan(Some(again));
                journal.append(&mut flash, 1, &second).unwrap_err();
                flash.nor_mut().power_on();
                let found = newest(&journal, &mut flash);
                assert!(
                    found == survivor || found.as_ref() == Some(&second),
                    "{cut:?}, {again:?}: {found:?}"
                );
                journal.append(&mut flash, 1, &[3]).unwrap();
                assert_eq!(newest(&journal, &mut flash), Some(vec![3]));
            }
        }
    }
    // The short append has 36 bytes in 3 writes and a seal of four: 128 cuts. After all but the first of them it (or, once
    // it is complete, its successor) leaves no clean room, and the recovery erases two units: 228 cuts. The
    // long one erases two units first. It leaves the second area reading as blank, or complete, in 34 cuts of
    // each erase and 2 of the 252 of its writes: the recovery appends. Otherwise it erases.
    let (short, long) = (127 * 228 + 128, (2 * 34 + 2) * 128 + (2 * 16 + 250) * 228);
    assert_eq!(cases.len(), short + long);
}

#[test]
fn append_of_one_kind_cut_twice_anywhere_leaves_the_others_as_they_were() {
    let kinds = [Kind::Root, Kind::Floors, Kind::Progress];
    // Areas of 1,792 bytes: each is filled twice, and its other kinds are copied.
    let appends = [0, 1, 1, 2, 1, 1, 1, 2, 1, 1, 1, 1, 0, 1, 2, 1, 1, 1, 1, 1, 2, 2, 1, 1, 1, 1, 1, 1];
    let lengths = [400, 216, 40];
    let mut flash = blank::<256, 4>(0xFF);
    let mut kept = [None, None, None];
    let (mut cases, mut copied) = (BTreeSet::new(), 0);
    for (number, kind) in appends.into_iter().enumerate() {
        let journal = Journal::new(flash.map(), kinds[kind]);
        let payload = payload(number, lengths[kind]);
        let mut rehearsal = flash.clone();
        rehearsal.nor_mut().plan(None);
        journal.append(&mut rehearsal, 1, &payload).unwrap();
        let operations = rehearsal.nor_mut().operations.clone();
        copied += usize::from(operations.len() > 40);
        let cuts = Cut::all(&operations);
        for (at, first) in cuts.iter().enumerate().filter(|(at, _)| at % 29 == number % 29) {
            let mut after = flash.clone();
            after.nor_mut().disturb(at as u8);
            after.nor_mut().plan(Some(*first));
            journal.append(&mut after, 1, &payload).unwrap_err();
            after.nor_mut().power_on();
            let check = |flash: &mut Flash<Nor<256, 4>>, cuts: &dyn core::fmt::Debug| {
                for (other, kept) in kept.iter().enumerate() {
                    let found = newest(&Journal::new(flash.map(), kinds[other]), flash);
                    let new = other == kind && found.as_ref() == Some(&payload);
                    assert!(
                        new || found == *kept,
                        "append {number} of {kind}, {cuts:?}: {other} is {found:?}"
                    );
                }
            };
            check(&mut after, first);
            // Another kind is next, and is cut, too.
            let next = (kind + 1 + at % 2) % 3;
            let (journal, length) = (Journal::new(flash.map(), kinds[next]), lengths[next]);
            let mut rehearsal = after.clone();
            rehearsal.nor_mut().plan(None);
            let appended = journal.append(&mut rehearsal, 1, &vec![0xA5; length]);
            // A word that reads as erased and is not takes no write.
            assert!(appended.is_ok() || rehearsal.nor_mut().take_refusal(), "{first:?}: {appended:?}");
            let again = Cut::all(&rehearsal.nor_mut().operations);
            for second in again.iter().skip(at % 211).step_by(211) {
                assert!(cases.insert((number, *first, *second)));
                let mut flash = after.clone();
                flash.nor_mut().plan(Some(*second));
                let _ = journal.append(&mut flash, 1, &vec![0xA5; length]);
                flash.nor_mut().power_on();
                for (other, kept) in kept.iter().enumerate().filter(|(other, _)| *other != next) {
                    let found = newest(&Journal::new(flash.map(), kinds[other]), &mut flash);
                    let new = other == kind && found.as_ref() == Some(&payload);
                    assert!(
                        new || found == *kept,
                        "append {number}, {first:?}, {second:?}: {other} is {found:?}"
                    );
                }
                journal.append(&mut flash, 1, &[3]).unwrap();
                assert_eq!(newest(&journal, &mut flash), Some(vec![3]), "{first:?}, {second:?}");
            }
        }
        flash = rehearsal;
        kept[kind] = Some(payload);
    }
    assert!(copied >= 3, "{copied} areas were begun");
    assert!(cases.len() > 1_000, "{}", cases.len());
}

#[test]
fn newest_on_a_blank_flash_is_lost() {
    let mut flash = blank::<256, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    let lost = Environment::RecordLost { kind: Kind::Boot };
    assert_eq!(journal.newest(&mut flash, &mut [0; 64]).unwrap_err(), Error::Environment(lost));
}

#[test]
fn newest_with_a_buffer_too_small_says_so() {
    let mut flash = blank::<256, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    journal.append(&mut flash, 9, &[1; 65]).unwrap();
    let unknown = Environment::RecordFormat { kind: Kind::Boot, format: 9 };
    assert_eq!(journal.newest(&mut flash, &mut [0; 64]).unwrap_err(), Error::Environment(unknown));
}

#[test]
fn newest_behind_a_decayed_frame_is_found() {
    let mut flash = blank::<1024, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    for number in 0..5 {
        journal.append(&mut flash, 1, &[number; 30]).unwrap();
    }
    // Frames have 48 bytes. The first is forged, the second unreadable.
    let start = flash.map().layout().boot.offset as usize;
    flash.nor_mut().forge(start, &[0; 8]);
    flash.nor_mut().decay(start + 48..start + 96);
    assert_eq!(newest(&journal, &mut flash), Some(vec![4; 30]));
}

#[test]
fn newest_with_any_bit_of_its_frame_flipped_falls_back() {
    let mut flash = blank::<256, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    journal.append(&mut flash, 1, &[1; 20]).unwrap();
    journal.append(&mut flash, 1, &[2; 20]).unwrap();
    let start = flash.map().layout().boot.offset as usize + 48;
    for bit in 0..(16 + 20) * 8 {
        let mut flash = flash.clone();
        let at = start + bit / 8;
        let flipped = flash.nor_mut().bytes()[at] ^ (1 << (bit % 8));
        flash.nor_mut().forge(at, &[flipped]);
        assert_eq!(newest(&journal, &mut flash), Some(vec![1; 20]), "bit {bit}");
        journal.append(&mut flash, 1, &[3; 20]).unwrap();
        assert_eq!(newest(&journal, &mut flash), Some(vec![3; 20]), "bit {bit}");
    }
}

#[test]
fn newest_of_one_kind_is_no_record_of_another() {
    let mut flash = blank::<256, 4>(0xFF);
    let boot = Journal::new(flash.map(), Kind::Boot);
    boot.append(&mut flash, 1, &[1; 20]).unwrap();
    let Layout { boot: from, trust: to, .. } = *flash.map().layout();
    let frame = flash.nor_mut().bytes()[from.offset as usize..][..48].to_vec();
    flash.nor_mut().forge(to.offset as usize, &frame);
    let root = Journal::new(flash.map(), Kind::Root);
    assert_eq!(newest(&root, &mut flash), None);
}

#[test]
fn append_of_a_record_as_large_as_the_area_fits_and_one_byte_more_does_not() {
    let mut flash = blank::<256, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    for round in 1..=4 {
        journal.append(&mut flash, 1, &[round; AREA - 20]).unwrap();
    }
    let too_long = Error::Misuse(Misuse::RecordTooLong { kind: Kind::Boot });
    assert_eq!(journal.append(&mut flash, 1, &[9; AREA - 19]), Err(too_long));
    assert_eq!(newest(&journal, &mut flash), Some(vec![4; AREA - 20]));

    let mut flash = blank::<4096, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    journal.append(&mut flash, 1, &[1; FRAME_MAX as usize - 20]).unwrap();
    assert_eq!(journal.append(&mut flash, 1, &[1; FRAME_MAX as usize - 19]), Err(too_long));
}

#[test]
fn append_at_the_last_sequence_is_refused_and_keeps_the_record() {
    let mut flash = blank::<256, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    let mut frame = b"Tf\x01\x01\x04\0\0\0\xFF\xFF\xFF\xFF".to_vec();
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&[&frame[..], b"last"].concat());
    frame.extend(crc.to_le_bytes());
    frame.extend(b"last");
    let start = flash.map().layout().boot.offset as usize;
    flash.nor_mut().forge(start, &frame);
    assert_eq!(newest(&journal, &mut flash), Some(b"last".to_vec()));

    let exhausted = Environment::SequenceExhausted { kind: Kind::Boot };
    assert_eq!(journal.append(&mut flash, 1, b"more"), Err(Error::Environment(exhausted)));
    assert_eq!(newest(&journal, &mut flash), Some(b"last".to_vec()));
}

#[test]
fn append_onto_worn_out_words_moves_on_or_keeps_the_record() {
    let mut flash = blank::<256, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    let places = 2 * AREA as u32 / 16 + 1;
    assert_eq!(journal.append(&mut flash, 1, &[1; 20]), Ok(1));
    let boot = flash.map().layout().boot;
    let (first, second) = (boot.offset as usize, (boot.offset + boot.length / 2) as usize);
    flash.nor_mut().wear_out(first + 48 + 20..first + 48 + 21);
    assert_eq!(journal.append(&mut flash, 1, &[2; 20]), Ok(1 + places), "above all that may be left there");
    assert_eq!(newest(&journal, &mut flash), Some(vec![2; 20]));
    // And where the other area is worn, too, nothing is lost.
    let mut flash = blank::<256, 4>(0xFF);
    journal.append(&mut flash, 1, &[1; 20]).unwrap();
    flash.nor_mut().wear_out(first + 48 + 20..second + 20 + 1);
    let not_written = Environment::NotWritten { offset: second as u32 };
    assert_eq!(journal.append(&mut flash, 1, &[2; 20]), Err(Error::Environment(not_written)));
    assert_eq!(newest(&journal, &mut flash), Some(vec![1; 20]));
}

#[test]
fn survey_of_any_rubbish_ends_and_appends() {
    // Every word the start of a frame that claims to be long; then pseudo-random words.
    let header = *b"Tf\x01\x01\xC0\x07\0\0\x05\0\0\0\x01\x02\x03\x04";
    let mut state = 0x2545_F491_u32;
    let random = core::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state.to_le_bytes()
    });
    let rubbish: [Vec<u8>; 4] = [
        header.iter().copied().cycle().take(8192).collect(),
        random.flatten().take(8192).collect(),
        vec![0x00; 8192],
        b"Tf\x01\x01\xFF\xFF\xFF\xFF".iter().copied().cycle().take(8192).collect(),
    ];
    for rubbish in rubbish {
        let mut flash = blank::<4096, 4>(0xFF);
        let journal = Journal::new(flash.map(), Kind::Boot);
        let start = flash.map().layout().boot.offset as usize;
        flash.nor_mut().forge(start, &rubbish);
        assert_eq!(newest(&journal, &mut flash), None);
        journal.append(&mut flash, 1, b"new").unwrap();
        assert_eq!(newest(&journal, &mut flash), Some(b"new".to_vec()));
    }
}

#[test]
fn append_after_a_tear_is_newer_than_the_torn_frame_should_it_come_to_life() {
    let mut flash = blank::<256, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    let mut lives = 0;
    // The frame that tears goes behind the newest one, or to the start of the other area.
    for (first, torn) in [(100, 150), (300, 250)] {
        let payload = |byte, length| vec![byte; length];
        journal.append(&mut flash, 1, &payload(1, 400)).unwrap();
        journal.append(&mut flash, 1, &payload(2, first)).unwrap();
        let mut whole = flash.clone();
        whole.nor_mut().plan(None);
        journal.append(&mut whole, 1, &payload(3, torn)).unwrap();
        let Some(Operation::Write(last)) = whole.nor_mut().operations.last().cloned() else { panic!() };
        let operation = whole.nor_mut().operations.len() - 1;
        for tear in [Tear::Before, Tear::Within { done: 3 }, Tear::Unreadable { done: 3 }] {
            let mut flash = flash.clone();
            flash.nor_mut().plan(Some(Cut { operation, tear }));
            journal.append(&mut flash, 1, &payload(3, torn)).unwrap_err();
            flash.nor_mut().power_on();
            assert_eq!(newest(&journal, &mut flash), Some(payload(2, first)));
            // A smaller one would fit behind the newest frame. Whatever follows, the torn one stays dead.
            for (number, length) in [20, 5, 90, 400, 1].into_iter().enumerate() {
                let next = payload(10 + number as u8, length);
                journal.append(&mut flash, 1, &next).unwrap();
                let mut flash = flash.clone();
                let start = last.end - (16 + torn).next_multiple_of(4);
                if flash.nor_mut().bytes()[start..last.start] == whole.nor_mut().bytes()[start..last.start] {
                    let meant = whole.nor_mut().bytes()[last.clone()].to_vec();
                    flash.nor_mut().heal();
                    flash.nor_mut().forge(last.start, &meant);
                    lives += 1;
                }
                assert_eq!(newest(&journal, &mut flash), Some(next), "{tear:?}, append {number}");
            }
        }
    }
    assert!(lives >= 3, "the torn frame comes to life {lives} times");
}

#[test]
fn append_over_frames_that_cannot_be_read_is_newer_than_all_of_them() {
    let mut flash = blank::<256, 4>(0xFF);
    let journal = Journal::new(flash.map(), Kind::Boot);
    // Frames of 32 bytes: sixteen to an area.
    for number in 0..40 {
        journal.append(&mut flash, 1, &[number; 5]).unwrap();
    }
    // The newest eight are in the first area. One or more of them cannot be read, nor all but
    // one frame, nor any.
    let mut unreadable: Vec<_> = (0..8).map(|from| (from * 32..8 * 32, 0..0)).collect();
    unreadable.push((0..AREA, AREA..2 * AREA - 32));
    unreadable.push((0..AREA, AREA..2 * AREA));
    for ranges in unreadable {
        let mut flash = flash.clone();
        flash.nor_mut().decay(ranges.0.clone());
        flash.nor_mut().decay(ranges.1.clone());
        assert_ne!(newest(&journal, &mut flash), Some(vec![39; 5]), "{ranges:?}");
        for next in 100..104 {
            journal.append(&mut flash, 1, &[next; 5]).unwrap();
            let mut healed = flash.clone();
            healed.nor_mut().heal();
            assert_eq!(newest(&journal, &mut healed), Some(vec![next; 5]), "{ranges:?}");
        }
    }
}

fn newest<const ERASE: usize, const WRITE: usize>(
    journal: &Journal,
    flash: &mut Flash<Nor<ERASE, WRITE>>,
) -> Option<Vec<u8>> {
    let mut buffer = [0; PAYLOAD_MAX as usize];
    match journal.newest(flash, &mut buffer) {
        Ok(record) => Some(record.payload.to_vec()),
        Err(Error::Environment(Environment::RecordLost { .. })) => None,
        Err(other) => panic!("{other}"),
    }
}

fn payload(number: usize, length: usize) -> Vec<u8> {
    // Ends in 0xFF now and then, which a torn flash cannot tell from nothing.
    (0..length)
        .map(|at| (number * 31 + at * 7) as u8 | if number.is_multiple_of(3) { 0xF0 } else { 0 })
        .collect()
}

fn blank<const ERASE: usize, const WRITE: usize>(erased: u8) -> Flash<Nor<ERASE, WRITE>> {
    let unit = ERASE as u32;
    let region = |offset, area: u32| Region { offset, length: 2 * area.next_multiple_of(unit) };
    let map = FlashMap::new(Layout {
        erase_unit: unit,
        write_unit: WRITE as u32,
        erased,
        boot: region(0, AREA as u32),
        trust: region(0x2000, 1792),
        slot_a: region(0x6000, unit),
        slot_b: region(0x8000, unit),
    })
    .unwrap();
    Flash::new(Nor::new(map.capacity(), erased), map).unwrap()
}
