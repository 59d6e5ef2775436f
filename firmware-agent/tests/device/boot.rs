use std::collections::BTreeSet;

use sha2::{Digest, Sha256};
use tuffet_agent::boot::{
    BootRecord, Reason, SlotImage, Trial, TrialEnd, Unfit, confirm, decide_boot, is_bootable, mark_pending,
    revert,
};
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::journal::{Journal, Kind};
use tuffet_agent::{Environment, Error, Flash, Misuse, Rejected, SlotId};

use crate::nor::{Cut, Nor};

type TestFlash = Flash<Nor<256, 4>>;

#[test]
fn every_step_cut_anywhere_leaves_the_new_or_the_old_record_and_something_to_start() {
    let (fresh, new) = device();
    let mut pending = fresh.clone();
    mark_pending(&mut pending, &new, 2).unwrap();
    let mut on_trial = pending.clone();
    decide_boot(&mut on_trial).unwrap();
    let mut spent = on_trial.clone();
    decide_boot(&mut spent).unwrap();

    // (step, cut)
    let mut cases = BTreeSet::new();
    let mut sweep = |step: &'static str, before: &TestFlash, act: &dyn Fn(&mut TestFlash)| {
        let mut rehearsal = before.clone();
        rehearsal.nor_mut().plan(None);
        act(&mut rehearsal);
        let old = BootRecord::load(&mut before.clone()).unwrap();
        let new = BootRecord::load(&mut rehearsal).unwrap();
        assert_ne!(old, new, "{step} changes the record");
        for cut in Cut::all(&rehearsal.nor_mut().operations) {
            assert!(cases.insert((step, cut)));
            let mut flash = before.clone();
            flash.nor_mut().plan(Some(cut));
            act(&mut flash);
            assert!(flash.nor_mut().power_on(), "{step}, {cut:?} was never reached");
            let record = BootRecord::load(&mut flash).unwrap();
            assert!(record == old || record == new, "{step}, {cut:?}: {record:?}");
            assert_starts_what_its_slot_holds(&mut flash);
        }
    };
    sweep("mark pending", &fresh, &|flash| _ = mark_pending(flash, &new, 2));
    sweep("first try", &pending, &|flash| _ = decide_boot(flash));
    sweep("last try", &on_trial, &|flash| _ = decide_boot(flash));
    sweep("fall back", &spent, &|flash| _ = decide_boot(flash));
    sweep("confirm", &on_trial, &|flash| _ = confirm(flash, &new.digest));
    sweep("revert", &on_trial, &|flash| _ = revert(flash, Unfit::Health));
    // Two a write and three a byte for frames of 108 bytes (with a trial) or 100 (with an ended one) in 7 writes, and the
    // seals of four. The last of them all has no room, and erases two units.
    assert_eq!(cases.len(), 3 * (3 * 108 + 2 * 7) + 3 * (3 * 100 + 2 * 7) + 6 * (3 * 4 + 2) + 2 * 50);
}

/// Boots once and looks into the slot with fresh eyes.
fn assert_starts_what_its_slot_holds(flash: &mut TestFlash) {
    let start = decide_boot(flash).unwrap().start;
    let from = flash.map().slot(start.slot).offset as usize;
    let found = Sha256::digest(&flash.nor_mut().bytes()[from..from + start.length as usize]);
    assert_eq!(found[..], start.digest[..]);
    let version = if start.slot == SlotId::A { "0.9.0" } else { "1.0.0" };
    assert_eq!(start.version, version);
}

#[test]
fn trial_with_any_one_cut_is_started_at_most_as_often_as_it_has_tries() {
    const TRIES: u8 = 2;
    let (mut flash, new) = device();
    mark_pending(&mut flash, &new, TRIES).unwrap();
    // Boots five times, and once more for the boot that the cut took; counts how often the trial runs.
    let life = |flash: &mut TestFlash| {
        (0..6)
            .filter(|_| match decide_boot(flash) {
                Ok(decision) => decision.start == new,
                Err(_) => {
                    assert!(flash.nor_mut().power_on(), "only the cut may keep it from starting");
                    false
                }
            })
            .count()
    };
    let mut rehearsal = flash.clone();
    rehearsal.nor_mut().plan(None);
    assert_eq!(life(&mut rehearsal), usize::from(TRIES));
    let mut lost = 0;
    let cuts = Cut::all(&rehearsal.nor_mut().operations);
    for cut in &cuts {
        let mut flash = flash.clone();
        flash.nor_mut().plan(Some(*cut));
        let starts = life(&mut flash);
        assert!(starts <= usize::from(TRIES), "{cut:?}: started {starts} times");
        lost += usize::from(TRIES) - starts;
        let record = BootRecord::load(&mut flash).unwrap();
        assert_eq!((record.trial, record.active.slot), (None, SlotId::A), "{cut:?}");
    }
    // A cut costs a try only when the record that takes it away was sealed already. Two records; the third erases two
    // units first.
    let frames = 2 * (3 * 108 + 2 * 7) + (3 * 100 + 2 * 7);
    assert_eq!((cuts.len(), lost), (frames + 3 * (3 * 4 + 2) + 2 * 50, 2));
}

#[test]
fn trial_confirmed_becomes_the_active_image() {
    let (mut flash, new) = device();
    let old = BootRecord::load(&mut flash).unwrap().active;
    assert_eq!(decide_boot(&mut flash).unwrap().reason, Reason::Active);
    mark_pending(&mut flash, &new, 3).unwrap();
    let decision = decide_boot(&mut flash).unwrap();
    assert_eq!((decision.start, decision.reason), (new.clone(), Reason::Trial { tries_left: 2 }));
    confirm(&mut flash, &new.digest).unwrap();

    let record = BootRecord::load(&mut flash).unwrap();
    assert_eq!((&record.active, &record.trial), (&new, &None));
    assert_eq!(record.ended.unwrap().end, TrialEnd::Confirmed);
    let decision = decide_boot(&mut flash).unwrap();
    assert_eq!((decision.start, decision.reason), (new, Reason::Active));

    // And back again: the slots have changed their parts.
    let again = SlotImage { sequence: 9, ..old };
    mark_pending(&mut flash, &again, 3).unwrap();
    assert_eq!(BootRecord::load(&mut flash).unwrap().trial.unwrap().number, 2);
}

#[test]
fn trial_without_a_confirmation_is_never_started_again() {
    let (mut flash, new) = device();
    mark_pending(&mut flash, &new, 2).unwrap();
    let mut reasons = || decide_boot(&mut flash).unwrap().reason;
    assert_eq!(
        [reasons(), reasons(), reasons(), reasons()],
        [
            Reason::Trial { tries_left: 1 },
            Reason::Trial { tries_left: 0 },
            Reason::TriesSpent,
            Reason::Active
        ]
    );
    let ended = BootRecord::load(&mut flash).unwrap().ended.unwrap();
    assert_eq!(
        (ended.number, ended.digest, ended.sequence, ended.end),
        (1, new.digest, 7, TrialEnd::TriesSpent)
    );
    assert_eq!(confirm(&mut flash, &new.digest), Err(Misuse::NoTrial.into()));
}

#[test]
fn trial_reverted_or_withdrawn_leaves_the_active_image() {
    for (why, end) in [(Unfit::Health, TrialEnd::Reverted), (Unfit::Withdrawn, TrialEnd::Withdrawn)] {
        let (mut flash, new) = device();
        mark_pending(&mut flash, &new, 2).unwrap();
        revert(&mut flash, why).unwrap();
        assert_eq!(revert(&mut flash, why), Err(Misuse::NoTrial.into()));
        let decision = decide_boot(&mut flash).unwrap();
        assert_eq!((decision.start.slot, decision.reason), (SlotId::A, Reason::Active));
        assert_eq!(BootRecord::load(&mut flash).unwrap().ended.unwrap().end, end);
    }
}

#[test]
fn trial_whose_slot_changed_is_not_started() {
    let (mut flash, new) = device();
    mark_pending(&mut flash, &new, 2).unwrap();
    let from = flash.map().slot(SlotId::B).offset as usize;
    flash.nor_mut().forge(from + new.length as usize - 1, &[0]);
    let decision = decide_boot(&mut flash).unwrap();
    assert_eq!((decision.start.slot, decision.reason), (SlotId::A, Reason::TrialDamaged));
    assert_eq!(decide_boot(&mut flash).unwrap().reason, Reason::Active);
}

#[test]
fn trial_whose_try_cannot_be_recorded_is_not_started() {
    let (mut flash, new) = device();
    mark_pending(&mut flash, &new, 2).unwrap();
    let Region { offset, length } = flash.map().layout().boot;
    flash.nor_mut().wear_out(offset as usize..(offset + length) as usize);
    let mut damaged = flash.clone();
    let decision = decide_boot(&mut flash).unwrap();
    assert_eq!((decision.start.slot, decision.reason), (SlotId::A, Reason::TryNotRecorded));
    assert!(matches!(decision.unrecorded, Some(Error::Environment(Environment::NotWritten { .. }))));
    // Unless there is nothing else.
    let from = flash.map().slot(SlotId::A).offset as usize;
    damaged.nor_mut().forge(from, &[0xA5]);
    let decision = decide_boot(&mut damaged).unwrap();
    assert_eq!((decision.start, decision.reason), (new, Reason::ActiveDamaged));
    assert!(matches!(decision.unrecorded, Some(Error::Environment(Environment::NotWritten { .. }))));
}

#[test]
fn damaged_active_image_is_not_started_but_a_sound_trial_is() {
    let (mut flash, new) = device();
    let from = flash.map().slot(SlotId::A).offset as usize;
    let mut pending = flash.clone();
    mark_pending(&mut pending, &new, 1).unwrap();
    for flash in [&mut flash, &mut pending] {
        flash.nor_mut().forge(from, &[0xA5]);
    }
    assert_eq!(decide_boot(&mut flash), Err(Environment::NothingBootable.into()));
    // Neither its last try nor its own verdict ends the trial.
    let mut reason = || {
        let decision = decide_boot(&mut pending).unwrap();
        assert_eq!(decision.start, new);
        decision.reason
    };
    assert_eq!(
        [reason(), reason(), reason()],
        [Reason::Trial { tries_left: 0 }, Reason::ActiveDamaged, Reason::ActiveDamaged]
    );
    for why in [Unfit::Health, Unfit::Withdrawn] {
        assert_eq!(revert(&mut pending, why), Err(Environment::ActiveDamaged.into()));
    }
    assert_eq!(is_bootable(&mut pending, SlotId::B), Ok(true));
    let Trial { image, tries_left, .. } = BootRecord::load(&mut pending).unwrap().trial.unwrap();
    assert_eq!((&image, tries_left), (&new, 0));
    // Nor does its damage, which may be a word that was read badly.
    let slot_b = pending.map().slot(SlotId::B).offset as usize;
    let mut damaged = pending.clone();
    damaged.nor_mut().decay(slot_b..slot_b + 4);
    assert_eq!(decide_boot(&mut damaged), Err(Environment::NothingBootable.into()));
    damaged.nor_mut().heal();
    assert_eq!(decide_boot(&mut damaged).unwrap().start, new);
    // With the active image back, the trial is over.
    pending.nor_mut().forge(from, &[0]);
    assert_eq!(is_bootable(&mut pending, SlotId::B), Ok(false));
    assert_eq!(decide_boot(&mut pending).unwrap().reason, Reason::TriesSpent);

    let (mut flash, _) = device();
    flash.nor_mut().decay(from..from + 4);
    assert_eq!(decide_boot(&mut flash), Err(Environment::NothingBootable.into()));
}

#[test]
fn mark_pending_of_the_wrong_thing_is_refused_and_changes_nothing() {
    let (mut flash, new) = device();
    let active = BootRecord::load(&mut flash).unwrap().active;
    let before = flash.nor_mut().bytes().to_vec();
    let too_long = SlotImage { length: 0x1001, ..new.clone() };
    let larger = Rejected::ImageLargerThanSlot { length: 0x1001, slot: 0x1000 };
    let empty = SlotImage { length: 0, ..new.clone() };
    assert_eq!(mark_pending(&mut flash, &active, 2), Err(Misuse::SlotActive.into()));
    assert_eq!(mark_pending(&mut flash, &new, 0), Err(Misuse::NoTries.into()));
    assert_eq!(mark_pending(&mut flash, &too_long, 2), Err(larger.into()));
    assert_eq!(mark_pending(&mut flash, &empty, 2), Err(Misuse::ImageEmpty.into()));
    assert_eq!(flash.nor_mut().bytes(), before);

    mark_pending(&mut flash, &new, 2).unwrap();
    assert_eq!(mark_pending(&mut flash, &new, 2), Err(Misuse::TrialUndecided.into()));
    let other = &[0x55; 32];
    assert_eq!(confirm(&mut flash, other), Err(Misuse::NotOnTrial.into()));
    assert_eq!(confirm(&mut flash, &active.digest), Err(Misuse::NotOnTrial.into()));
}

#[test]
fn mark_pending_of_a_slot_that_changed_makes_it_unbootable() {
    let (mut flash, new) = device();
    let record = BootRecord::load(&mut flash).unwrap();
    let from = flash.map().slot(SlotId::B).offset as usize;
    flash.nor_mut().forge(from + 600, &[0]);
    assert_eq!(
        mark_pending(&mut flash, &new, 2),
        Err(Environment::ImageNotWritten { slot: SlotId::B }.into())
    );
    assert_eq!(flash.nor_mut().bytes()[from..from + 256], [0xFF; 256]);
    assert_eq!(BootRecord::load(&mut flash), Ok(record));
}

#[test]
fn load_of_another_format_is_refused() {
    let (mut flash, _) = device();
    let journal = Journal::new(flash.map(), Kind::Boot);
    for (format, payload) in [(3, &[0; 90][..]), (1, &[0; 90][..]), (2, &[0xFF; 90][..])] {
        journal.append(&mut flash, format, payload).unwrap();
        let unknown = Environment::RecordFormat { kind: Kind::Boot, format };
        assert_eq!(BootRecord::load(&mut flash), Err(unknown.into()));
        assert_eq!(decide_boot(&mut flash), Err(unknown.into()));
    }
}

#[test]
fn record_on_flash_has_the_bytes_that_its_table_says() {
    let (mut flash, new) = device();
    let old = BootRecord::load(&mut flash).unwrap().active;
    mark_pending(&mut flash, &new, 2).unwrap();
    let mut payload = Vec::new();
    payload.push(0); // active: slot A
    payload.extend([0xE8, 0x07]); // 1000 bytes
    payload.extend(old.digest);
    payload.extend([0, 0]); // sequence, counter
    payload.extend(b"\x050.9.0");
    payload.push(1); // a trial
    payload.push(1); // its number
    payload.push(1); // slot B
    payload.extend([0xDC, 0x0B]); // 1500 bytes
    payload.extend(new.digest);
    payload.extend([7, 3]); // sequence, counter
    payload.extend(b"\x051.0.0");
    payload.push(2); // tries
    payload.push(0); // none ended
    payload.push(1); // trials so far
    payload.push(0); // nothing was staged here

    let mut frame = b"Tf\x01\x02".to_vec();
    frame.extend((payload.len() as u32).to_le_bytes());
    frame.extend([2, 0, 0, 0]);
    let crc = crc::Crc::<u32>::new(&crc::CRC_32_ISO_HDLC).checksum(&[&frame[..], &payload].concat());
    frame.extend(crc.to_le_bytes());
    frame.extend(payload);
    frame.extend([0xFF].repeat(frame.len().next_multiple_of(4) - frame.len()));
    frame.extend([0; 4]);
    // The factory's record takes 16 + 47 bytes and its seal four, so this one starts at 80.
    assert_eq!(flash.nor_mut().bytes()[80..80 + frame.len()], frame);
}

/// A device from the factory with 0.9.0 in slot A, and 1.0.0 already written to slot B.
fn device() -> (TestFlash, SlotImage) {
    let region = |offset, length| Region { offset, length };
    let map = FlashMap::new(Layout {
        erase_unit: 256,
        write_unit: 4,
        erased: 0xFF,
        boot: region(0, 0x400),
        trust: region(0x3000, 0x1000),
        slot_a: region(0x1000, 0x1000),
        slot_b: region(0x2000, 0x1000),
    })
    .unwrap();
    let mut flash = Flash::new(Nor::new(map.capacity(), 0xFF), map).unwrap();
    let mut put = |slot, length: usize, sequence, counter, version: &str| {
        let bytes: Vec<u8> = (0..length).map(|at| (at * 13 + sequence as usize) as u8).collect();
        flash.nor_mut().forge(map.slot(slot).offset as usize, &bytes);
        let digest = Sha256::digest(&bytes).into();
        let version = version.try_into().unwrap();
        SlotImage { slot, length: length as u32, digest, sequence, counter, version }
    };
    let old = put(SlotId::A, 1000, 0, 0, "0.9.0");
    let new = put(SlotId::B, 1500, 7, 3, "1.0.0");
    BootRecord::factory(old).store(&mut flash).unwrap();
    (flash, new)
}
