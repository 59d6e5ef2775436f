//! What a device keeps: over a restart, over files that are rubbish, and of what it may spend on a day.

use tuffet_agent::boot::{BootRecord, confirm};
use tuffet_agent::engine::{Outcome, Want};
use tuffet_agent::journal::{Journal, Kind};
use tuffet_agent::progress::{Download, Progress};
use tuffet_agent::schedule::Settings;
use tuffet_agent::{Error, Rejected, SlotId, TransportFault};

use crate::agent::{device, map, release, repository};
use crate::engine::Device;
use crate::nor::{Cut, Operation, Tear};
use crate::repository::{DAY, Mirror, NOW, Repository};

/// An image that crashes was tried at noon, so often that it is passed over for two days, and found nothing else since.
fn crashed<'a>(root: &'a [u8], repository: &Repository) -> Device<'a> {
    let mut device = Device::new(root, repository);
    for _ in 0..3 {
        crash(&mut device);
    }
    assert_eq!(device.outcome(), Outcome::UpToDate);
    device
}

/// A trial of three starts, and a start of the image before it.
fn crash(device: &mut Device<'_>) {
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    (0..4).for_each(|_| device.restart());
}

#[test]
fn cut_while_a_failed_trial_is_entered_makes_no_pause_shorter() {
    let repository = Repository { timestamp_expires: NOW + 30 * DAY, ..repository() };
    let root = repository.first_root();
    let mut device = crashed(&root, &repository);
    device.later(DAY);
    crash(&mut device);
    // What the turn writes that learns of it. It is cut behind each of these operations.
    let before = device.engine.flash_mut().nor_mut().clone();
    device.engine.flash_mut().nor_mut().plan(None);
    assert_eq!(device.outcome(), Outcome::UpToDate);
    let operations = device.engine.flash_mut().nor_mut().operations.len();
    assert!(operations > 2, "{operations}");
    for operation in 0..operations {
        let mut device = Device::new(&root, &repository);
        device.later(DAY);
        *device.engine.flash_mut().nor_mut() = before.clone();
        device.engine.flash_mut().nor_mut().plan(Some(Cut { operation, tear: Tear::After }));
        device.attempt();
        device.engine.flash_mut().nor_mut().power_on();
        device.restart();
        assert_eq!(device.outcome(), Outcome::UpToDate, "{operation}");
        device.later(DAY);
        assert_eq!(device.outcome(), Outcome::UpToDate, "two days, now: {operation}");
        device.later(DAY);
        assert!(matches!(device.outcome(), Outcome::Pending(_)), "{operation}");
    }
}

#[test]
fn confirmed_trial_leaves_the_pauses_of_other_images_as_they_are() {
    let repository = Repository { timestamp_expires: NOW + 30 * DAY, ..repository() };
    let root = repository.first_root();
    for is_cut in [false, true] {
        let mut device = crashed(&root, &repository);
        device.later(DAY);
        crash(&mut device);
        assert_eq!(device.outcome(), Outcome::UpToDate);
        // A day later there is another release below it, and that is well.
        device.later(DAY);
        let releases = vec![repository.releases[0].clone(), release(6, "0.9.9", 1234)];
        device.mirror = Mirror::of(&Repository { version: 6, releases, ..repository.clone() });
        let Outcome::Pending(image) = device.outcome() else { panic!() };
        device.restart();
        if is_cut {
            confirm(device.engine.flash_mut(), &image.digest).unwrap();
            device.restart();
            assert_eq!(device.outcome(), Outcome::UpToDate);
        } else {
            assert_eq!(device.outcome(), Outcome::Confirmed(image));
        }
        device.restart();
        device.later(DAY);
        assert!(matches!(device.outcome(), Outcome::Pending(image) if image.sequence == 7));
    }
}

#[test]
fn image_is_kept_when_the_files_that_authorise_it_again_are_rubbish() {
    let repository = repository();
    let root = repository.first_root();
    let file = repository.releases[0].file();
    let newer = Repository { version: 6, ..repository.clone() }.files();
    for name in ["2.root.json", "timestamp.json", "6.snapshot.json", "6.targets.json"] {
        let mut device = Device::new(&root, &repository);
        let mut files = newer.clone();
        files.insert(name.to_owned(), b"<html>".to_vec());
        device.mirror.after = Some((file.clone(), files));
        let (outcome, _) = device.turn();
        assert!(matches!(outcome, Err(Error::Rejected(Rejected::Metadata(_)))), "{name}: {outcome:?}");
        let record = BootRecord::load(device.engine.flash_mut()).unwrap();
        assert_eq!((record.trial, record.staged), (None, Some(repository.releases[0].digest())), "{name}");
        device.restart();
        assert_eq!(device.outcome(), Outcome::TooEarly);
        device.mirror.files = newer.clone();
        assert!(matches!(device.outcome(), Outcome::Pending(_)), "{name}");
        assert!(!device.mirror.requests.contains(&file), "{name}: it is in its slot");
        assert_eq!(Progress::load(device.engine.flash_mut()).erased, 1, "{name}");
    }
    // What verifiably does not want it drops it: nothing for this device, or no image any more.
    let gone = Repository { version: 6, releases: vec![release(1, "0.9.0", 900)], ..repository.clone() };
    let bare = Repository { version: 6, without_images: true, ..repository.clone() };
    for other in [gone, bare] {
        let mut device = Device::new(&root, &repository);
        device.mirror.after = Some((file.clone(), other.files()));
        assert_eq!(device.outcome(), Outcome::Superseded);
        assert_eq!(Progress::load(device.engine.flash_mut()).download, None);
    }
}

/// What the device says of its last turn.
fn last(device: &mut Device<'_>) -> (u16, u16) {
    device.engine.report().unwrap().last
}

#[test]
fn refusal_is_still_said_after_a_restart() {
    let repository = repository();
    let root = repository.first_root();
    for asked_for in [false, true] {
        let mut device = Device::new(&root, &repository);
        assert_eq!(last(&mut device), (0, 0));
        let file = repository.releases[0].file();
        let good = device.mirror.files.insert(file.clone(), vec![0; 3000]).unwrap();
        if asked_for {
            device.engine.hurry();
        }
        assert_eq!(device.turn().0, Err(Rejected::ImageDigest.into()));
        let refused = (700, Error::from(Rejected::ImageDigest).code());
        assert_eq!(last(&mut device), refused);
        device.restart();
        assert_eq!(last(&mut device), refused);
        // A device that waits, for whatever, has nothing else to say.
        device.lamp.denied = vec!["check"];
        for _ in 0..3 {
            assert!(matches!(device.outcome(), Outcome::TooEarly | Outcome::NotAllowed));
            assert_eq!(last(&mut device), refused);
        }
        device.restart();
        assert_eq!(last(&mut device), refused);
        device.mirror.files.insert(file, good);
        device.engine.hurry();
        let Outcome::Pending(image) = device.outcome() else { panic!() };
        assert_eq!(last(&mut device), (703, 0));
        device.restart();
        assert_eq!(last(&mut device), (703, 0));
        assert_eq!(device.outcome(), Outcome::Confirmed(image));
        // To look each hour and find nothing new writes nothing.
        assert_eq!(device.outcome(), Outcome::UpToDate);
        device.engine.flash_mut().nor_mut().plan(None);
        assert_eq!(device.outcome(), Outcome::UpToDate);
        assert_eq!(device.engine.flash_mut().nor_mut().operations, []);
        assert_eq!(last(&mut device), (701, 0));
        device.restart();
        assert_eq!(last(&mut device), (705, 0));
    }
}

#[test]
fn failure_that_is_always_the_same_is_written_once() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    device.mirror.faults.insert("timestamp.json".into(), (0, TransportFault::Connection));
    for number in 0..3 {
        device.engine.flash_mut().nor_mut().plan(None);
        device.engine.hurry();
        device.turn().0.unwrap_err();
        let operations = &device.engine.flash_mut().nor_mut().operations;
        assert_eq!(operations.is_empty(), number > 0, "{operations:?}");
    }
}

#[test]
fn record_of_an_earlier_build_is_read() {
    let repository = repository();
    let root = repository.first_root();
    let mut device = Device::new(&root, &repository);
    let flash = device.engine.flash_mut();
    // Slot B, a digest, 3 failures, day 300, 1000 bytes, 2 erases, failed on day 299; and nothing behind that.
    let payload = [&[1, 1][..], &[7; 32], &[3, 0xAC, 2, 0xE8, 7, 2, 0xAB, 2]].concat();
    Journal::new(flash.map(), Kind::Progress).append(flash, 1, &payload).unwrap();
    let download = Some(Download { slot: SlotId::B, digest: [7; 32] });
    let progress =
        Progress { download, failures: 3, day: 300, spent: 1000, erased: 2, ..Progress::default() };
    assert_eq!(Progress::load(flash), Progress { failed_on: 299, ..progress });
}

#[test]
fn server_that_asks_to_be_left_alone_is_after_a_restart_too() {
    let repository = repository();
    let root = repository.first_root();
    for asked_for in [false, true] {
        let mut device = Device::new(&root, &repository);
        let busy = TransportFault::Busy { code: 503, after: 3600 };
        device.mirror.faults.insert("timestamp.json".into(), (0, busy));
        if asked_for {
            device.engine.hurry();
        }
        assert_eq!(device.turn(), (Err(busy.into()), Want::Wait(3600)));
        device.mirror.faults.clear();
        // A start that waits has waited for half of it, or more than that: it is counted in units of 64 seconds.
        let (waits, outcome) = device.restart_until_it_asks();
        assert_eq!(waits[..5], [3648, 1792, 896, 448, 192]);
        assert!(waits.len() < 8, "{waits:?}");
        assert!(matches!(outcome, Ok(Outcome::Pending(_))));
    }
    // Once that was waited, it is over.
    let mut device = Device::new(&root, &repository);
    let busy = TransportFault::Busy { code: 429, after: u32::MAX };
    device.mirror.faults.insert("timestamp.json".into(), (0, busy));
    device.turn().0.unwrap_err();
    device.restart();
    assert_eq!(device.turn(), (Ok(Outcome::TooEarly), Want::Wait(86_400)));
    device.mirror.faults.clear();
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    assert_eq!(Progress::load(device.engine.flash_mut()).busy, 0);
}

#[test]
fn restarts_without_end_spend_no_more_than_a_day_has() {
    const A_DAY: usize = 20_000;
    let repository = Repository { timestamp_expires: NOW + 9 * DAY, ..repository() };
    let root = repository.first_root();
    let settings = Settings { bytes_a_day: A_DAY as u32, ..Settings::default() };
    for steps in [3, 4, 5, 8, 12, 13, 14, 15, 16, 17, 30, 100] {
        let mut device = Device::start(&root, device(&root), Mirror::of(&repository), settings);
        for day in 0..2 {
            let (mut received, mut starts) = (0, 0);
            loop {
                device.engine.hurry();
                device.lamp.denied = vec!["download"];
                device.cut_after(steps);
                let came = device.received();
                device.restart();
                if came == 0 {
                    break;
                }
                (received, starts) = (received + came, starts + 1);
                assert!(received <= A_DAY, "{steps} steps, day {day}: {received} bytes, {starts} starts");
            }
            // A restart costs no more than came before it, and a claim of the least.
            assert!(
                2 * received + starts * 1024 + 100 >= A_DAY,
                "{steps} steps: {received}, {starts} starts"
            );
            device.later(DAY);
        }
    }
}

#[test]
fn line_that_drops_again_and_again_costs_one_erase_and_no_pause() {
    let repository = repository();
    let root = repository.first_root();
    let file = repository.releases[0].file();
    let mut device = Device::new(&root, &repository);
    // Each connection brings a page.
    for dropped in (300..3000).step_by(260) {
        device.mirror.faults.insert(file.clone(), (dropped, TransportFault::Connection));
        device.engine.flash_mut().nor_mut().plan(None);
        let (outcome, want) = device.turn();
        assert_eq!(outcome, Err(TransportFault::Connection.into()));
        assert!(matches!(want, Want::Wait(30..=60)), "{dropped}: {want:?}");
        let slot_b = map().layout().slot_b.offset as usize;
        let erases =
            |operation: &Operation| matches!(operation, Operation::Erase(range) if range.start >= slot_b);
        let operations = &device.engine.flash_mut().nor_mut().operations;
        assert_eq!(operations.iter().any(erases), dropped == 300, "{dropped}");
        let progress = Progress::load(device.engine.flash_mut());
        assert_eq!((progress.failures, progress.erased), (0, 1), "{dropped}");
    }
    device.mirror.faults.clear();
    assert!(matches!(device.outcome(), Outcome::Pending(_)));
    assert_eq!(Progress::load(device.engine.flash_mut()).erased, 1);
    // Bytes that make no page move nothing on, and the pause grows: a server cannot go on like that.
    let mut device = Device::new(&root, &repository);
    for failures in 0..=20 {
        device.mirror.faults.insert(file.clone(), (300 + failures, TransportFault::Connection));
        device.turn().0.unwrap_err();
        let progress = Progress::load(device.engine.flash_mut());
        assert_eq!((progress.failures, progress.erased), (failures as u8, 1));
    }
}

#[test]
fn bytes_that_a_server_without_ranges_sends_are_counted() {
    const A_DAY: usize = 30_000;
    let repository = Repository { releases: vec![release(7, "1.0.0", 4000)], ..repository() };
    let root = repository.first_root();
    let file = repository.releases[0].file();
    let settings = Settings { bytes_a_day: A_DAY as u32, ..Settings::default() };
    let mut device = Device::start(&root, device(&root), Mirror::of(&repository), settings);
    device.mirror.knows_no_ranges = true;
    let (mut came, mut passed) = (0, 0);
    for dropped in (300..4000).step_by(260) {
        device.mirror.faults.insert(file.clone(), (dropped, TransportFault::Connection));
        let (outcome, _) = device.turn();
        came += device.received();
        passed += device.mirror.sent.get(&file).copied().unwrap_or(0);
        if outcome == Ok(Outcome::Spent) {
            break;
        }
        assert_eq!(outcome, Err(TransportFault::Connection.into()));
    }
    assert!(passed > 5000, "{passed}");
    // One chunk may be above it.
    assert!((A_DAY..A_DAY + 100).contains(&came), "{came}");
}
