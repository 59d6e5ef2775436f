use tuffet_agent::boot::{self, BootRecord, EndedTrial, Reason, TRIES, TrialEnd, decide_boot};
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::journal::{Journal, Kind};
use tuffet_agent::ledger::{ENTRIES, LIMIT};
use tuffet_agent::progress::Progress;
use tuffet_agent::trust_store::store_floors;
use tuffet_agent::{
    Agent, Checked, Environment, Error, Event, Factory, FactoryImage, Flash, Rejected, SlotId, Started,
    TransportFault, Trust, TrustLost, provision,
};
use tuffet_client::limits::CANDIDATES;
use tuffet_client::{Change, Clock, Rejected as Refused, Role, SOFTWARE};

use crate::nor::{Cut, Nor, Operation, Tear};
use crate::repository::{DAY, Mirror, NOW, Release, Repository, largest_root};

pub(crate) type TestNor = Nor<256, 4>;
type TestAgent<'a> = Agent<'a, TestNor, Mirror>;

const SLOT: usize = 0x1000;

#[test]
fn release_is_installed_tried_and_confirmed() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    let mut events = Vec::new();
    let checked = agent.check(&mut now, &mut |event| events.push(name(&event))).unwrap();
    let Checked::Pending(image) = checked else { panic!("{checked:?}") };
    assert_eq!((image.slot, image.sequence, image.version.as_str()), (SlotId::B, 7, "1.0.0"));
    assert_eq!(
        events.iter().filter(|event| *event != "download").collect::<Vec<_>>(),
        [
            "fetch 2.root.json",
            "fetch timestamp.json",
            "stored floors",
            "fetch 5.snapshot.json",
            "stored floors",
            "fetch 5.targets.json",
            "stored floors",
            "selected 7",
            &format!("fetch {}", repository.releases[0].file()),
            "staged 7",
            "fetch 2.root.json",
            "fetch timestamp.json",
            "fetch 5.targets.json",
            "pending 1.0.0",
        ]
    );
    assert_eq!(events.iter().filter(|event| *event == "download").count(), 3000 / 100);
    assert_eq!(agent.trust().memory.counter, 1, "the counter waits for the confirmation");

    let mut agent = restart(&root, agent);
    assert_eq!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Confirmed(image.clone())));
    assert_eq!(agent.trust().memory.counter, 3);
    let mut agent = restart(&root, agent);
    assert_eq!(agent.trust().memory.counter, 3);
    assert_eq!(agent.trust().trusted.floors().timestamp_version(), Some(5));
    assert_eq!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Active(image)));
    // That there is nothing to do is written down once, so that next time two requests will tell.
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
    let before = agent.flash_mut().nor_mut().bytes().to_vec();
    let mut requests = Vec::new();
    let checked = agent.check(&mut now, &mut |event| requests.push(name(&event)));
    assert_eq!(checked, Ok(Checked::UpToDate));
    assert_eq!(requests, ["fetch 2.root.json", "fetch timestamp.json"]);
    assert_eq!(agent.flash_mut().nor_mut().bytes(), before, "nothing new writes nothing");

    // The next one goes to the other slot.
    let next = Repository {
        version: 6,
        releases: vec![release(8, "1.1.0", 2000), repository.releases[0].clone()],
        ..repository
    };
    agent.transport_mut().files = next.files();
    let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
    assert_eq!((image.slot, image.version.as_str()), (SlotId::A, "1.1.0"));
    let mut agent = restart(&root, agent);
    assert_eq!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Confirmed(image)));
}

/// From a repository that is accepted, one thing is changed; `stores` is what was verified before.
struct Attack {
    name: &'static str,
    change: fn(&mut Repository, &mut Mirror),
    error: Error,
    stores: bool,
}

#[test]
fn rejection_changes_nothing_and_the_honest_repository_still_installs() {
    let refused = |refused| Error::Rejected(Rejected::Metadata(refused));
    let transport = |fault| Error::Environment(Environment::Transport(fault));
    let attacks = [
        Attack {
            name: "one byte of the image flipped",
            change: |repository, mirror| {
                mirror.files.get_mut(&repository.releases[0].file()).unwrap()[2999] ^= 1;
            },
            error: Rejected::ImageDigest.into(),
            stores: true,
        },
        Attack {
            name: "an image without end",
            change: |repository, mirror| {
                mirror.files.get_mut(&repository.releases[0].file()).unwrap().extend([0; 5000]);
            },
            error: Rejected::ImageTooLong { length: 3000 }.into(),
            stores: true,
        },
        Attack {
            name: "an image cut short",
            change: |repository, mirror| {
                mirror.files.get_mut(&repository.releases[0].file()).unwrap().truncate(2000);
            },
            error: Rejected::ImageTooShort { length: 3000, received: 2000 }.into(),
            stores: true,
        },
        Attack {
            name: "a connection that breaks within the image",
            change: |repository, mirror| {
                mirror.faults.insert(repository.releases[0].file(), (1500, TransportFault::Connection));
            },
            error: transport(TransportFault::Connection),
            stores: true,
        },
        Attack {
            name: "no image",
            change: |repository, mirror| {
                mirror.files.remove(&repository.releases[0].file());
            },
            error: transport(TransportFault::NotFound),
            stores: true,
        },
        Attack {
            name: "an image larger than the slot",
            change: |repository, mirror| {
                repository.releases = vec![release(7, "1.0.0", SLOT + 1)];
                mirror.files = repository.files();
            },
            error: Rejected::ImageLargerThanSlot { length: SLOT as u32 + 1, slot: SLOT as u32 }.into(),
            stores: true,
        },
        Attack {
            name: "a timestamp from before",
            change: |repository, mirror| {
                repository.version = 3;
                mirror.files = repository.files();
            },
            error: refused(Refused::Rollback { role: Role::Timestamp, trusted: 4, offered: 3 }),
            stores: false,
        },
        Attack {
            name: "a timestamp that expired",
            change: |repository, mirror| {
                repository.timestamp_expires = NOW;
                mirror.files = repository.files();
            },
            error: refused(Refused::Freeze {
                role: Role::Timestamp,
                expires: tuffet_client::time::Date(NOW),
                start: tuffet_client::time::Date(NOW),
            }),
            stores: false,
        },
        Attack {
            name: "a timestamp without end",
            change: |_, mirror| {
                mirror.files.insert("timestamp.json".into(), vec![b' '; 17 * 1024]);
            },
            error: refused(Refused::Oversize { role: Role::Timestamp, limit: 16 * 1024 }),
            stores: false,
        },
        Attack {
            name: "a timestamp that is a log-in page",
            change: |_, mirror| {
                mirror.files.insert("timestamp.json".into(), b"<html>".to_vec());
            },
            error: refused(Refused::Syntax { role: Role::Timestamp, at: 0 }),
            stores: false,
        },
        Attack {
            name: "targets with one signature too few",
            change: |repository, mirror| {
                repository.targets_signers = vec!["targets-3"];
                mirror.files = repository.files();
            },
            error: refused(Refused::ThresholdNotMet { role: Role::Targets, valid: 1, threshold: 2 }),
            stores: true,
        },
        Attack {
            name: "snapshot and targets of different days",
            change: |repository, mirror| {
                repository.releases = vec![release(9, "1.2.0", 2500)];
                let other = repository.files().remove("5.targets.json").unwrap();
                mirror.files.insert("5.targets.json".into(), other);
            },
            error: refused(Refused::MixAndMatch { role: Role::Targets }),
            stores: true,
        },
        Attack {
            name: "a release for other hardware",
            change: |repository, mirror| {
                repository.hardware = "rev-b";
                mirror.files = repository.files();
            },
            error: refused(Refused::NoRelease),
            stores: true,
        },
        Attack {
            name: "a snapshot that is not there",
            change: |_, mirror| {
                mirror.files.remove("5.snapshot.json");
            },
            error: Error::Environment(Environment::Metadata(tuffet_client::Environment::Missing {
                role: Role::Snapshot,
            })),
            stores: true,
        },
        Attack {
            name: "a server that hangs within targets",
            change: |_, mirror| {
                mirror.faults.insert("5.targets.json".into(), (700, TransportFault::Timeout));
            },
            error: transport(TransportFault::Timeout),
            stores: true,
        },
        Attack {
            name: "a root that answers 503 is no end of the walk",
            change: |_, mirror| {
                let fault = TransportFault::Status { code: 503 };
                mirror.faults.insert("2.root.json".into(), (0, fault));
            },
            error: transport(TransportFault::Status { code: 503 }),
            stores: false,
        },
    ];

    // A device that has seen version 4 already, when there was nothing to install.
    let honest = repository();
    let root = honest.first_root();
    let empty = Repository { version: 4, releases: vec![release(1, "0.9.0", 900)], ..repository() };
    let mut seasoned = agent(&root, device(&root), Mirror::of(&empty));
    assert_eq!(seasoned.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
    // In the other slot lies what ran before.
    let slot_b = map().slot(SlotId::B);
    seasoned.flash_mut().nor_mut().forge(slot_b.offset as usize, &[0x33; SLOT]);
    let before = seasoned.flash_mut().nor_mut().clone();

    let mut names: Vec<&str> = attacks.iter().map(|attack| attack.name).collect();
    names.dedup();
    assert_eq!(names.len(), 16);
    for Attack { name, change, error, stores } in attacks {
        let mut repository = honest.clone();
        let mut mirror = Mirror::of(&repository);
        change(&mut repository, &mut mirror);
        let mut agent = agent(&root, Flash::new(before.clone(), map()).unwrap(), mirror);
        assert_eq!(agent.check(&mut now, &mut |_| ()), Err(error), "{name}");

        let after = agent.flash_mut().nor_mut().bytes().to_vec();
        let same = |region: Region| {
            let range = region.offset as usize..region.end() as usize;
            after[range.clone()] == before.bytes()[range]
        };
        let Layout { boot, slot_a, .. } = *map().layout();
        let mut sound = Flash::new(before.clone(), map()).unwrap();
        let mut same_record =
            |agent: &mut TestAgent<'_>, kind| record(agent.flash_mut(), kind) == record(&mut sound, kind);
        let first_unit = &after[slot_b.offset as usize..][..256];
        assert!(
            same(slot_b)
                || first_unit == [0xFF; 256]
                || name.ends_with("within the image")
                || name == "an image cut short",
            "{name}"
        );
        let of_image =
            matches!(error, Error::Rejected(Rejected::ImageDigest | Rejected::ImageTooLong { .. }));
        assert!(!of_image || first_unit == [0xFF; 256], "{name}");
        // What came of an image that may be the right one is kept.
        let may_be = ["no image", "an image cut short"];
        let kept = name.ends_with("within the image") || may_be.contains(&name);
        assert_eq!(Progress::load(agent.flash_mut()).download.is_some(), kept, "{name}");
        assert!(same(slot_a) && same(boot), "{name}");
        assert!(same_record(&mut agent, Kind::Root), "{name}");
        assert_eq!(same_record(&mut agent, Kind::Floors), !stores, "{name}");
        assert_eq!(boot::is_bootable(agent.flash_mut(), SlotId::A), Ok(true), "{name}");
        assert_eq!(boot::is_bootable(agent.flash_mut(), SlotId::B), Ok(false), "{name}");

        let mut agent = restart(&root, agent);
        *agent.transport_mut() = Mirror::of(&Repository { version: 6, ..honest.clone() });
        let checked = agent.check(&mut now, &mut |_| ());
        assert!(matches!(checked, Ok(Checked::Pending(_))), "{name}: {checked:?}");
    }
}

#[test]
fn release_withdrawn_during_the_download_is_not_installed() {
    let repository = repository();
    let root = repository.first_root();
    let image = repository.releases[0].file();
    let withdrawn = Repository { version: 6, releases: vec![release(1, "0.9.0", 900)], ..repository.clone() };
    let mut mirror = Mirror::of(&repository);
    mirror.after = Some((image, withdrawn.files()));
    let mut agent = agent(&root, device(&root), mirror);
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::Superseded));
    assert_eq!(boot::is_bootable(agent.flash_mut(), SlotId::B), Ok(false));
    assert_slot_b_unbootable(&mut agent);
    assert_eq!(BootRecord::load(agent.flash_mut()).unwrap().trial, None);
}

#[test]
fn release_withdrawn_while_pending_is_not_started() {
    let repository = repository();
    let root = repository.first_root();
    // Nothing for this device, nothing for its hardware, or something else.
    let mut repair = release(8, "1.0.1", 2000);
    repair.counter = 1;
    let changed = [
        Repository { releases: vec![release(1, "0.9.0", 900)], ..repository.clone() },
        Repository { hardware: "rev-b", ..repository.clone() },
        Repository { releases: vec![repair], ..repository.clone() },
        // The same image under another counter is another release.
        Repository {
            releases: vec![Release { counter: 2, ..repository.releases[0].clone() }],
            ..repository.clone()
        },
    ];
    for (number, changed) in changed.into_iter().enumerate() {
        let mut agent = agent(&root, device(&root), Mirror::of(&repository));
        let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
        let mut agent = restart(&root, agent);
        *agent.transport_mut() = Mirror::of(&Repository { version: 6, ..changed });
        let mut events = Vec::new();
        let checked = agent.check(&mut now, &mut |event| events.push(name(&event)));
        assert_eq!(checked, Ok(Checked::Superseded), "{number}");
        assert_eq!(events.last(), Some(&format!("{:?}", Event::Reverted(&image))), "{number}");
        assert_slot_b_unbootable(&mut agent);
        let record = BootRecord::load(agent.flash_mut()).unwrap();
        assert_eq!((record.trial, record.ended.unwrap().end), (None, TrialEnd::Withdrawn), "{number}");
        assert_eq!(agent.trust().memory.ledger.failures().count(), 0, "{number}");

        // It goes on with what there is now.
        let mut agent = restart(&root, agent);
        let checked = agent.check(&mut now, &mut |_| ());
        let sequence = match checked {
            Ok(Checked::Pending(image)) => Some(image.sequence),
            Ok(Checked::UpToDate) => None,
            Err(Error::Rejected(Rejected::Metadata(Refused::NoRelease))) if number == 1 => None,
            other => panic!("{number}: {other:?}"),
        };
        assert_eq!(sequence, [None, None, Some(8), Some(7)][number], "{number}");
    }
}

#[test]
fn pending_image_stays_pending_while_the_repository_wants_it_or_cannot_be_asked() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
    let record = BootRecord::load(agent.flash_mut()).unwrap();
    agent.transport_mut().requests.clear();
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::Pending(image.clone())));
    assert_eq!(agent.transport_mut().requests, ["2.root.json", "timestamp.json", "5.targets.json"]);

    let fault = TransportFault::Connection;
    agent.transport_mut().faults.insert("timestamp.json".into(), (0, fault));
    assert_eq!(agent.check(&mut now, &mut |_| ()), Err(fault.into()));
    agent.transport_mut().faults.clear();
    let honest = agent.transport_mut().files.insert("timestamp.json".into(), b"<html>".to_vec()).unwrap();
    let syntax = Rejected::Metadata(Refused::Syntax { role: Role::Timestamp, at: 0 });
    assert_eq!(agent.check(&mut now, &mut |_| ()), Err(syntax.into()));
    assert_eq!(BootRecord::load(agent.flash_mut()), Ok(record));

    // Once it was started, nothing is asked of anybody.
    decide_boot(agent.flash_mut()).unwrap();
    agent.transport_mut().requests.clear();
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::TrialUndecided(image.clone())));
    assert_eq!(agent.transport_mut().requests, Vec::<String>::new());
    agent.transport_mut().files.insert("timestamp.json".into(), honest);
    assert_eq!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Confirmed(image)));
}

#[test]
fn image_whose_last_authorisation_did_not_come_is_kept_and_not_downloaded_again() {
    let repository = repository();
    let root = repository.first_root();
    let file = repository.releases[0].file();
    let mut mirror = Mirror::of(&repository);
    let mut files = mirror.files.clone();
    files.remove("timestamp.json");
    mirror.after = Some((file.clone(), files));
    let mut agent = agent(&root, device(&root), mirror);
    let checked = agent.check(&mut now, &mut |_| ());
    let missing = tuffet_client::Environment::Missing { role: Role::Timestamp };
    assert_eq!(checked, Err(Environment::Metadata(missing).into()));
    assert_eq!(BootRecord::load(agent.flash_mut()).unwrap().trial, None);
    assert_eq!(boot::is_bootable(agent.flash_mut(), SlotId::B), Ok(false));

    // Withdrawn meanwhile, it goes the way of all withdrawn images: nothing names it.
    let withdrawn = Repository { version: 6, releases: vec![release(1, "0.9.0", 900)], ..repository.clone() };
    let mut other = clone(&root, &mut agent, &withdrawn);
    assert_eq!(other.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
    assert_eq!(boot::is_bootable(other.flash_mut(), SlotId::B), Ok(false));
    // With a bit lost it is fetched once more.
    let mut other = clone(&root, &mut agent, &repository);
    let at = map().slot(SlotId::B).offset as usize + 2999;
    other.flash_mut().nor_mut().forge(at, &[0]);
    assert!(matches!(other.check(&mut now, &mut |_| ()), Ok(Checked::Pending(_))));
    assert!(other.transport_mut().requests.contains(&file));

    let mut agent = clone(&root, &mut agent, &repository);
    agent.flash_mut().nor_mut().plan(None);
    let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
    assert!(!agent.transport_mut().requests.contains(&file));
    let slot = map().slot(SlotId::B).offset as usize;
    let touched = |operation: &Operation| operation.range().start >= slot;
    assert!(!agent.flash_mut().nor_mut().operations.iter().any(touched));
    assert_eq!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Confirmed(image)));
}

#[test]
fn release_expired_during_the_download_is_not_installed() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    // The clock is read once for each refresh.
    let mut clock = [NOW, NOW + 2 * DAY].into_iter().map(Clock::At);
    let checked = agent.check(&mut || clock.next().unwrap(), &mut |_| ());
    let Err(Error::Rejected(Rejected::Metadata(Refused::Freeze { role, .. }))) = checked else {
        panic!("{checked:?}")
    };
    assert_eq!((role, clock.next()), (Role::Timestamp, None));
    // It stays in its slot, for there may be a newer timestamp soon; and nothing names it.
    assert_eq!(boot::is_bootable(agent.flash_mut(), SlotId::B), Ok(false));
    assert_eq!(BootRecord::load(agent.flash_mut()).unwrap().trial, None);
}

#[test]
fn unfit_image_is_reverted_and_passed_over_until_a_higher_sequence() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
    assert_eq!(agent.boot(&mut now, &mut |_| false, &mut |_| ()), Ok(Started::Reverted(image)));
    let mut agent = restart(&root, agent);
    let Ok(Started::Active(active)) = agent.boot(&mut now, &mut |_| false, &mut |_| ()) else { panic!() };
    assert_eq!((active.slot, agent.trust().memory.counter), (SlotId::A, 1));

    let mut events = Vec::new();
    let checked = agent.check(&mut now, &mut |event| events.push(name(&event)));
    assert_eq!(checked, Ok(Checked::UpToDate));
    assert!(events.contains(&"passed over 7".to_owned()), "{events:?}");
    assert!(!events.contains(&"selected 7".to_owned()), "{events:?}");

    // The next candidate in line is taken instead.
    let fallback = Repository {
        version: 6,
        releases: vec![repository.releases[0].clone(), release(6, "0.9.9", 1234)],
        ..repository.clone()
    };
    let mut second = clone(&root, &mut agent, &fallback);
    let Ok(Checked::Pending(image)) = second.check(&mut now, &mut |_| ()) else { panic!() };
    assert_eq!(image.version, "0.9.9");

    // The same image, signed once more under a higher sequence.
    let again = Release { sequence: 8, ..repository.releases[0].clone() };
    let again = Repository { version: 6, releases: vec![again], ..repository };
    let mut second = clone(&root, &mut agent, &again);
    let Ok(Checked::Pending(image)) = second.check(&mut now, &mut |_| ()) else { panic!() };
    assert_eq!(image.sequence, 8);
}

#[test]
fn image_that_never_lives_to_be_confirmed_is_given_up_at_last() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    for trial in 1..=LIMIT {
        let checked = agent.check(&mut now, &mut |_| ());
        assert!(matches!(checked, Ok(Checked::Pending(_))), "trial {trial}: {checked:?}");
        for left in (0..TRIES).rev() {
            // It crashes before it can say a word.
            let reason = decide_boot(agent.flash_mut()).unwrap().reason;
            assert_eq!(reason, Reason::Trial { tries_left: left });
        }
        agent = restart(&root, agent);
        let Ok(Started::Active(active)) = agent.boot(&mut now, &mut |_| true, &mut |_| ()) else { panic!() };
        assert_eq!(active.version, "0.9.0");
    }
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
}

#[test]
fn release_of_failing_candidates_alone_is_given_up_after_one_trial_each() {
    let candidates = u32::try_from(CANDIDATES).unwrap();
    let releases = (0..candidates).rev().map(|number| release(7 + number, "1.0.0", 3000 + number as usize));
    // Each version has one image.
    let versions = ["1.7.0", "1.6.0", "1.5.0", "1.4.0", "1.3.0", "1.2.0", "1.1.0", "1.0.0"];
    let releases = releases.zip(versions).map(|(release, version)| Release { version, ..release }).collect();
    let repository = Repository { releases, ..repository() };
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    let mut tried = Vec::new();
    while let Checked::Pending(image) = agent.check(&mut now, &mut |_| ()).unwrap() {
        tried.push(image.sequence);
        assert!(tried.len() <= CANDIDATES, "tried again: {tried:?}");
        assert_eq!(agent.boot(&mut now, &mut |_| false, &mut |_| ()), Ok(Started::Reverted(image)));
        agent = restart(&root, agent);
        let started = agent.boot(&mut now, &mut |_| true, &mut |_| ());
        assert!(matches!(started, Ok(Started::Active(_))), "{started:?}");
    }
    assert_eq!(tried, (7..7 + candidates).rev().collect::<Vec<_>>());
}

#[test]
fn trial_without_contact_goes_on_and_is_confirmed_with_it() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
    agent.transport_mut().faults.insert("2.root.json".into(), (0, TransportFault::Connection));
    let before = agent.trust().clone();
    let offline = TransportFault::Connection.into();
    let started = agent.boot(&mut now, &mut |_| true, &mut |_| ());
    assert_eq!(started, Ok(Started::NoContact(image.clone(), offline)));
    let record = BootRecord::load(agent.flash_mut()).unwrap();
    assert_eq!(record.trial.unwrap().tries_left, TRIES - 1);
    assert_eq!(agent.trust(), &before);

    // A new root is no proof that anybody is alive.
    let rotated = Repository { online_keys: vec!["online", "second"], ..repository.clone() };
    agent.transport_mut().faults.clear();
    agent.transport_mut().files.insert("2.root.json".into(), rotated.files()["2.root.json"].clone());
    agent.transport_mut().files.insert("timestamp.json".into(), b"<html>".to_vec());
    let started = agent.started(&image.digest, &mut now, &mut |_| true, &mut |_| ());
    assert!(matches!(started, Ok(Started::NoContact(..))), "{started:?}");
    agent.transport_mut().files = rotated.files();
    agent.transport_mut().faults.insert("timestamp.json".into(), (0, TransportFault::Connection));

    // Without a restart no try is taken, however often it asks.
    let mut ask = || agent.started(&image.digest, &mut now, &mut |_| true, &mut |_| ());
    assert_eq!(ask(), Ok(Started::NoContact(image.clone(), offline)));
    // A timestamp that verifies is enough; what follows it need not be there.
    agent.transport_mut().faults.clear();
    agent.transport_mut().files.retain(|path, _| path == "timestamp.json");
    let mut ask = || agent.started(&image.digest, &mut now, &mut |_| true, &mut |_| ());
    assert_eq!(ask(), Ok(Started::Confirmed(image)));
}

#[test]
fn timestamp_that_does_not_verify_is_no_contact() {
    let repository = repository();
    let root = repository.first_root();
    let mut tried = agent(&root, device(&root), Mirror::of(&repository));
    let Ok(Checked::Pending(image)) = tried.check(&mut now, &mut |_| ()) else { panic!() };
    decide_boot(tried.flash_mut()).unwrap();
    let forged = repository.files()["timestamp.json"].clone();
    let at = forged.windows(3).position(|window| window == b"sig").unwrap() + 6 + 20;
    let forged =
        [&forged[..at], &[if forged[at] == b'0' { b'1' } else { b'0' }][..], &forged[at + 1..]].concat();
    let timestamp = |repository: Repository| repository.files()["timestamp.json"].clone();
    let served = [
        (
            "expired",
            timestamp(Repository { timestamp_ahead: 1, timestamp_expires: NOW, ..repository.clone() }),
        ),
        ("rolled back", timestamp(Repository { version: 4, ..repository.clone() })),
        ("forged", forged),
        ("by another key", timestamp(Repository { online_keys: vec!["thief"], ..repository.clone() })),
    ];
    for (name, file) in served {
        let mut agent = clone(&root, &mut tried, &repository);
        agent.transport_mut().files.insert("timestamp.json".into(), file);
        let started = agent.started(&image.digest, &mut now, &mut |_| true, &mut |_| ());
        let Ok(Started::NoContact(_, error)) = started else { panic!("{name}: {started:?}") };
        let refused = match (name, error) {
            ("expired", Error::Rejected(Rejected::Metadata(Refused::Freeze { .. })))
            | ("rolled back", Error::Rejected(Rejected::Metadata(Refused::Rollback { .. }))) => true,
            ("forged" | "by another key", Error::Rejected(Rejected::Metadata(refused))) => {
                matches!(refused, Refused::ThresholdNotMet { role: Role::Timestamp, .. })
            }
            _ => false,
        };
        assert!(refused, "{name}: {error}");
        assert!(BootRecord::load(agent.flash_mut()).unwrap().trial.is_some(), "{name}");
    }
    let started = tried.started(&image.digest, &mut now, &mut |_| true, &mut |_| ());
    assert_eq!(started, Ok(Started::Confirmed(image)), "the honest one is");
}

#[test]
fn trust_that_a_trial_cannot_store_is_not_kept_in_memory() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
    let mut agent = restart(&root, agent);
    let stored = agent.trust().clone();
    decide_boot(agent.flash_mut()).unwrap();
    // No byte takes a write any more.
    let Region { offset, length } = map().layout().trust;
    agent.flash_mut().nor_mut().wear_out(offset as usize..(offset + length) as usize);
    let started = agent.started(&image.digest, &mut now, &mut |_| false, &mut |_| ());
    assert!(matches!(started, Err(Error::Environment(Environment::NotWritten { .. }))), "{started:?}");
    assert_eq!(agent.trust(), &stored, "the failure is in the boot record alone");
    agent.flash_mut().nor_mut().wear_out(0..0);
    let mut agent = restart(&root, agent);
    assert!(matches!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Active(_))));
    assert_eq!(restart(&root, agent).trust().memory.ledger.failures().count(), 1);
}

#[test]
fn trial_beside_a_damaged_active_image_goes_on_until_it_is_confirmed() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
    let at = map().slot(SlotId::A).offset as usize;
    agent.flash_mut().nor_mut().forge(at + 5, &[0]);
    // It waits for the network longer than it has tries, and once finds itself unfit.
    let files = core::mem::take(&mut agent.transport_mut().files);
    agent.transport_mut().faults.insert("timestamp.json".into(), (0, TransportFault::Connection));
    for _ in 0..2 * TRIES {
        let started = agent.boot(&mut now, &mut |_| true, &mut |_| ());
        assert!(matches!(started, Ok(Started::NoContact(..))), "{started:?}");
    }
    let started = agent.boot(&mut now, &mut |_| false, &mut |_| ());
    assert_eq!(started, Err(Environment::ActiveDamaged.into()));
    agent.transport_mut().files = files;
    agent.transport_mut().faults.clear();
    assert_eq!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Confirmed(image)));
}

#[test]
fn active_image_that_runs_in_the_trial_s_stead_confirms_nothing() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    let active = BootRecord::load(agent.flash_mut()).unwrap().active;
    let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
    let started = agent.started(&active.digest, &mut now, &mut |_| true, &mut |_| ());
    assert_eq!(started, Ok(Started::Active(active)));
    assert_eq!(BootRecord::load(agent.flash_mut()).unwrap().trial.unwrap().image, image);
}

#[test]
fn new_root_with_new_online_keys_is_walked_and_kept() {
    let old = repository();
    let root = old.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&old));
    let empty = Repository { version: 40, releases: vec![release(1, "0.9.0", 900)], ..repository() };
    agent.transport_mut().files = empty.files();
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
    // The online key was stolen; after two rotations versions start anew.
    let rotated = Repository { version: 1, online_keys: vec!["online", "second", "third"], ..old };
    agent.transport_mut().files = rotated.files();
    let mut events = Vec::new();
    let checked = agent.check(&mut now, &mut |event| events.push(name(&event)));
    assert!(matches!(checked, Ok(Checked::Pending(_))), "{checked:?}");
    assert_eq!(events.iter().filter(|event| *event == "stored root").count(), 2);
    let agent = restart(&root, agent);
    assert_eq!(agent.trust().trusted.root().version(), 3);
    assert_eq!(agent.trust().trusted.floors().timestamp_version(), Some(1));
    assert_eq!(agent.trust().lost, None);
}

#[test]
fn lost_trust_is_reported_replaced_by_the_factory_s_and_mended() {
    let rotated = Repository { online_keys: vec!["online", "second"], ..repository() };
    let root = rotated.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&rotated));
    let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
    assert_eq!(agent.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Confirmed(image)));
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
    let intact = agent.trust().clone();
    let sound = agent.flash_mut().nor_mut().clone();
    for (kinds, lost) in [
        (vec![Kind::Root], TrustLost::Root),
        (vec![Kind::Floors], TrustLost::Floors),
        (vec![Kind::Root, Kind::Floors], TrustLost::All),
    ] {
        let mut nor = sound.clone();
        for kind in kinds {
            decay(&mut nor, kind);
        }
        let flash = Flash::new(nor, map()).unwrap();
        let mut agent = super::agent::agent(&root, flash, Mirror::of(&rotated));
        assert_eq!(agent.trust().lost, Some(lost));
        let version = if lost == TrustLost::Floors { 2 } else { 1 };
        assert_eq!(agent.trust().trusted.root().version(), version, "{lost:?}");
        let mut events = Vec::new();
        let checked = agent.check(&mut now, &mut |event| events.push(name(&event)));
        assert_eq!(checked, Ok(Checked::UpToDate));
        assert_eq!(events[0], format!("trust lost {lost:?}"));

        let agent = restart(&root, agent);
        assert_eq!(agent.trust().lost, None, "{lost:?}");
        assert_eq!(agent.trust().trusted, intact.trusted, "{lost:?}");
        // The boot record knows the counter of what runs.
        assert_eq!(agent.trust().memory.counter, 3, "{lost:?}");
    }
}

#[test]
fn lost_trust_is_reported_at_every_turn_until_it_is_mended() {
    let repository = repository();
    let root = repository.first_root();
    for (kind, lost) in [(Kind::Root, TrustLost::Root), (Kind::Floors, TrustLost::Floors)] {
        let mut agent = agent(&root, device(&root), Mirror::of(&repository));
        let Ok(Checked::Pending(image)) = agent.check(&mut now, &mut |_| ()) else { panic!() };
        decay(agent.flash_mut().nor_mut(), kind);
        let mut agent = restart(&root, agent);
        // The image is confirmed, and files are verified; that alone is no reason to forget.
        let mut events = Vec::new();
        let started = agent.boot(&mut now, &mut |_| true, &mut |event| events.push(name(&event)));
        assert_eq!(started, Ok(Started::Confirmed(image.clone())), "{lost:?}");
        let mut agent = restart(&root, agent);
        let started = agent.boot(&mut now, &mut |_| true, &mut |event| events.push(name(&event)));
        assert_eq!(started, Ok(Started::Active(image)), "{lost:?}");
        assert_eq!(agent.trust().memory.counter, 3);
        agent.transport_mut().faults.insert("5.targets.json".into(), (0, TransportFault::Connection));
        agent.check(&mut now, &mut |_| ()).unwrap_err();
        let agent = restart(&root, agent);
        // Floors that may read again are not replaced before all of the repository was verified.
        let stored = (lost == TrustLost::Root).then_some(5);
        assert_eq!(agent.trust().trusted.floors().timestamp_version(), stored, "{lost:?}");
        let counter = if lost == TrustLost::Root { 3 } else { 0 };
        assert_eq!((agent.trust().lost, agent.trust().memory.counter), (Some(lost), counter));
        let reported = format!("trust lost {lost:?}");
        assert_eq!(events.iter().filter(|event| **event == reported).count(), 2, "{events:?}");
        // Another part that is lost in between makes it all.
        let mut worse = restart(&root, agent);
        let other = if lost == TrustLost::Root { Kind::Floors } else { Kind::Root };
        let mut agent = clone(&root, &mut worse, &repository);
        decay(worse.flash_mut().nor_mut(), other);
        assert_eq!(restart(&root, worse).trust().lost, Some(TrustLost::All));

        assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
        assert_eq!(restart(&root, agent).trust().lost, None);
    }
}

#[test]
fn trust_that_reads_again_is_not_replaced_by_what_stood_in_for_it() {
    let seen = Repository {
        version: 40,
        online_keys: vec!["online", "online"],
        releases: vec![release(1, "0.9.0", 900)],
        ..repository()
    };
    let root = seen.first_root();
    let mut sound = agent(&root, device(&root), Mirror::of(&seen));
    assert_eq!(sound.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
    let intact = sound.trust().clone();
    assert_eq!(intact.trusted.root().version(), 2);
    let replayed = Repository { version: 5, ..seen.clone() };

    // It reads again before the check, or while files are fetched.
    for during in [false, true] {
        let mut agent = clone(&root, &mut sound, &replayed);
        for kind in [Kind::Root, Kind::Floors] {
            decay(agent.flash_mut().nor_mut(), kind);
        }
        let mut agent = restart(&root, agent);
        assert_eq!(agent.trust().lost, Some(TrustLost::All));
        let healing = agent.flash_mut().nor_mut().healing.clone();
        healing.set(!during);
        let checked = agent.check(&mut now, &mut |event| {
            if matches!(event, Event::Fetch(request) if request.path == "timestamp.json") {
                healing.set(true);
            }
        });
        let error = if during {
            Environment::RecordBack { kind: Kind::Floors }.into()
        } else {
            Rejected::Metadata(Refused::Rollback { role: Role::Timestamp, trusted: 40, offered: 5 }).into()
        };
        assert_eq!(checked, Err(error));
        assert_eq!(agent.trust(), &intact);
        assert_eq!(restart(&root, agent).trust(), &intact);
        healing.set(false);
    }
}

#[test]
fn lost_root_is_written_anew_without_a_newer_one() {
    let repository = repository();
    let root = repository.first_root();
    for damage in [
        |flash: &mut Flash<TestNor>| decay(flash.nor_mut(), Kind::Root),
        // A format from the future, which a reverted image left behind.
        |flash: &mut Flash<TestNor>| {
            let journal = Journal::new(flash.map(), Kind::Root);
            let mut buffer = [0; 2048];
            let record = journal.newest(flash, &mut buffer).unwrap().payload.to_vec();
            journal.append(flash, u8::MAX, &record).unwrap();
        },
    ] {
        let mut flash = device(&root);
        damage(&mut flash);
        let mut agent = super::agent::agent(&root, flash, Mirror::of(&repository));
        assert_eq!(agent.trust().lost, Some(TrustLost::Root));
        // It is not written before the repository was verified.
        agent.transport_mut().faults.insert("5.targets.json".into(), (0, TransportFault::Timeout));
        agent.check(&mut now, &mut |_| ()).unwrap_err();
        let mut agent = restart(&root, agent);
        assert_eq!(agent.trust().lost, Some(TrustLost::Root));
        agent.transport_mut().faults.clear();
        agent.check(&mut now, &mut |_| ()).unwrap();
        assert_eq!(restart(&root, agent).trust().lost, None);
    }
}

#[test]
fn factory_s_counter_is_a_floor() {
    let root = repository().first_root();
    let factory = Factory { counter: 4, ..factory(&root) };
    let mut agent =
        Agent::new(device(&root), Mirror::of(&repository()), &SOFTWARE, factory, b"lamp-17").unwrap();
    // The release has counter 3.
    assert_eq!(agent.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
    assert_eq!(restart(&root, agent).trust().memory.counter, 1, "what is stored was confirmed");
}

#[test]
fn trial_that_fails_leaves_the_security_counter_as_it_was() {
    let repository = repository();
    let root = repository.first_root();
    for lost in [false, true] {
        let mut old = agent(&root, device(&root), Mirror::of(&repository));
        let Ok(Checked::Pending(image)) = old.check(&mut now, &mut |_| ()) else { panic!() };
        let mut flash = Flash::new(old.flash_mut().nor_mut().clone(), map()).unwrap();
        if lost {
            decay(flash.nor_mut(), Kind::Floors);
        }
        // The image on trial has its own facts. It enters its own failure, and writes the floors record for that.
        let facts = Factory { counter: 3, ..factory(&root) };
        let mut new = Agent::new(flash, Mirror::of(&repository), &SOFTWARE, facts, b"lamp-17").unwrap();
        assert_eq!(new.boot(&mut now, &mut |_| false, &mut |_| ()), Ok(Started::Reverted(image)));
        assert_eq!(new.trust().memory.ledger.failures().count(), 1);

        let flash = Flash::new(new.flash_mut().nor_mut().clone(), map()).unwrap();
        let mut old = super::agent::agent(&root, flash, Mirror::default());
        assert!(matches!(old.boot(&mut now, &mut |_| true, &mut |_| ()), Ok(Started::Active(_))));
        assert_eq!(old.trust().memory.counter, 1);
        // What repairs it need not have the counter of what failed.
        let repair = Release { counter: 1, ..release(8, "1.0.1", 2000) };
        *old.transport_mut() =
            Mirror::of(&Repository { version: 6, releases: vec![repair], ..repository.clone() });
        let checked = old.check(&mut now, &mut |_| ());
        assert!(matches!(&checked, Ok(Checked::Pending(image)) if image.sequence == 8), "{checked:?}");
    }
}

#[test]
fn trust_that_cannot_be_stored_is_not_kept_in_memory() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    // No byte behind the factory's frames takes a write any more.
    let frames = frames(agent.flash_mut().nor_mut());
    let written = frames.iter().map(|(_, frame)| frame.end).max().unwrap();
    agent.flash_mut().nor_mut().wear_out(written..map().layout().trust.end() as usize);
    let checked = agent.check(&mut now, &mut |_| ());
    assert!(matches!(checked, Err(Error::Environment(Environment::NotWritten { .. }))), "{checked:?}");
    assert_eq!(agent.trust().trusted.floors().timestamp_version(), None);
    agent.flash_mut().nor_mut().wear_out(0..0);
    assert!(matches!(agent.check(&mut now, &mut |_| ()), Ok(Checked::Pending(_))));
    assert_eq!(restart(&root, agent).trust().trusted.floors().timestamp_version(), Some(5));
}

#[test]
fn timestamp_verified_just_before_the_check_fails_is_stored() {
    let repository = repository();
    let root = repository.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    assert!(matches!(agent.check(&mut now, &mut |_| ()), Ok(Checked::Pending(_))));
    boot::revert(agent.flash_mut(), boot::Unfit::Withdrawn).unwrap();
    // Eleven days on there is a new timestamp, but the snapshot that it names has expired.
    let later = NOW + 11 * DAY;
    let alive = Repository { timestamp_ahead: 1, timestamp_expires: later + DAY, ..repository };
    agent.transport_mut().files = alive.files();
    let checked = agent.check(&mut || Clock::At(later), &mut |_| ());
    let Err(Error::Rejected(Rejected::Metadata(Refused::Freeze { role, .. }))) = checked else {
        panic!("{checked:?}")
    };
    assert_eq!(role, Role::Snapshot);
    assert_eq!(restart(&root, agent).trust().trusted.floors().timestamp_version(), Some(6));
}

#[test]
fn lost_trust_without_a_factory_root_is_an_error_and_stays_lost() {
    let root = repository().first_root();
    let mut nor = device(&root).into_nor();
    decay(&mut nor, Kind::Root);
    let flash = Flash::new(nor, map()).unwrap();
    let error = Agent::new(flash, Mirror::default(), &SOFTWARE, factory(b"{}"), b"lamp-17").err();
    assert!(matches!(error, Some(Error::Rejected(Rejected::Metadata(_)))), "{error:?}");
}

#[test]
fn clock_behind_the_image_s_build_is_not_believed() {
    // Published a month ago, expired since.
    let (now, timestamp_expires) = (NOW - 30 * DAY, NOW - 10 * DAY);
    let late = Repository { now, timestamp_expires, ..repository() };
    let root = late.first_root();
    let mut agent = agent(&root, device(&root), Mirror::of(&late));
    for clock in [Clock::Unknown, Clock::At(0), Clock::At(NOW - 20 * DAY)] {
        let checked = agent.check(&mut || clock, &mut |_| ());
        assert!(
            matches!(checked, Err(Error::Rejected(Rejected::Metadata(Refused::Freeze { .. })))),
            "{clock:?}: {checked:?}"
        );
    }
}

#[test]
fn provision_of_what_cannot_be_is_refused_and_erases_nothing() {
    let root = repository().first_root();
    let mut flash = device(&root);
    let before = flash.nor_mut().bytes().to_vec();
    let too_large = vec![0; SLOT + 1];
    let image = |bytes, version| FactoryImage { bytes, sequence: 0, version };
    let mut refused = |factory: Factory<'_>, image| provision(&mut flash, &SOFTWARE, &factory, &image);
    let larger = Rejected::ImageLargerThanSlot { length: SLOT as u32 + 1, slot: SLOT as u32 };
    assert_eq!(refused(factory(&root), image(&too_large, "1")), Err(larger.into()));
    assert_eq!(refused(factory(&root), image(&[], "1")), Err(tuffet_agent::Misuse::ImageEmpty.into()));
    assert_eq!(refused(factory(&root), image(&[1], "")), Err(tuffet_agent::Misuse::Version.into()));
    let mut forged = root.clone();
    *forged.iter_mut().rfind(|byte| **byte == b'2').unwrap() = b'3';
    assert!(matches!(refused(factory(&forged), image(&[1], "1")), Err(Error::Rejected(_))));
    assert_eq!(flash.nor_mut().bytes(), before);
}

#[test]
fn records_at_their_largest_fit_their_journals() {
    let mut flash = device(&largest_root());
    let mut trust = Trust::load(&mut flash, &SOFTWARE, &factory(&[])).unwrap();
    assert_eq!((trust.lost, trust.trusted.root().version()), (None, u32::MAX - 1));

    // Floors as an agent leaves them that has seen the highest versions, and a ledger full of failures.
    let repository =
        Repository { version: u32::MAX, releases: vec![release(1, "0.9.0", 900)], ..repository() };
    let root = repository.first_root();
    let mut seasoned = agent(&root, device(&root), Mirror::of(&repository));
    assert_eq!(seasoned.check(&mut now, &mut |_| ()), Ok(Checked::UpToDate));
    trust.memory.counter = u32::MAX;
    for image in 0..=ENTRIES as u8 {
        let number = u32::MAX - u32::from(image);
        let (digest, sequence, end) = ([image; 32], u32::MAX, TrialEnd::Reverted);
        trust.memory.ledger.enter(&EndedTrial { number, digest, sequence, end });
    }
    assert_eq!(trust.memory.ledger.failures().count(), ENTRIES);
    // Sound floors would not be replaced by what stands in for lost ones.
    decay(flash.nor_mut(), Kind::Floors);
    let floors = seasoned.trust().trusted.floors();
    for _ in 0..20 {
        store_floors(&mut flash, floors, &trust.memory, Some(TrustLost::All)).unwrap();
    }
    let stored = Trust::load(&mut flash, &SOFTWARE, &factory(&[])).unwrap();
    assert_eq!((stored.memory, stored.lost), (trust.memory, Some(TrustLost::All)));
}

#[test]
fn boot_record_is_in_both_areas_from_the_factory_and_before_a_slot_is_erased() {
    let repository = repository();
    let root = repository.first_root();
    let Region { length, .. } = map().layout().boot;
    let areas = [0..length as usize / 2, length as usize / 2..length as usize];
    for area in areas.clone() {
        let mut flash = device(&root);
        flash.nor_mut().decay(area);
        assert_eq!(decide_boot(&mut flash).unwrap().reason, Reason::Active);
    }
    // From slot B, while the image that was active before is overwritten in slot A.
    let mut agent = agent(&root, device(&root), Mirror::of(&repository));
    agent.check(&mut now, &mut |_| ()).unwrap();
    let Ok(Started::Confirmed(image)) = agent.boot(&mut now, &mut |_| true, &mut |_| ()) else { panic!() };
    let next = Repository { version: 6, releases: vec![release(8, "1.1.0", 2000)], ..repository };
    *agent.transport_mut() = Mirror::of(&next);
    agent.transport_mut().faults.insert(next.releases[0].file(), (500, TransportFault::Connection));
    agent.check(&mut now, &mut |_| ()).unwrap_err();
    let record = BootRecord::load(agent.flash_mut()).unwrap();
    for area in areas {
        let mut agent = restart(&root, clone(&root, &mut agent, &next));
        agent.flash_mut().nor_mut().decay(area);
        assert_eq!(BootRecord::load(agent.flash_mut()), Ok(record.clone()));
        assert_eq!(decide_boot(agent.flash_mut()).unwrap().start, image);
    }
}

#[test]
fn provision_of_a_used_device_leaves_nothing_of_its_past() {
    let repository = Repository { online_keys: vec!["online", "second"], ..repository() };
    let root = repository.first_root();
    let mut used = agent(&root, device(&root), Mirror::of(&repository));
    used.check(&mut now, &mut |_| ()).unwrap();
    used.boot(&mut now, &mut |_| true, &mut |_| ()).unwrap();
    assert_eq!(used.trust().trusted.root().version(), 2, "there is a newer root to forget");
    let image = FactoryImage { bytes: &[0x42; 1700], sequence: 1, version: "0.9.0" };
    provision(used.flash_mut(), &SOFTWARE, &factory(&root), &image).unwrap();
    assert_slot_b_unbootable(&mut used);
    let mut reborn = restart(&root, used);
    assert_eq!(reborn.trust(), agent(&root, device(&root), Mirror::default()).trust());
    let record = BootRecord::load(reborn.flash_mut()).unwrap();
    assert_eq!((record.active.version.as_str(), record.trial, record.ended), ("0.9.0", None, None));
    assert_eq!(boot::is_bootable(reborn.flash_mut(), SlotId::A), Ok(true));
}

#[test]
fn update_cut_at_any_operation_starts_something_and_is_installed_in_the_end() {
    let repository = repository();
    let root = repository.first_root();
    let new = repository.releases[0].digest();
    // A whole update: check, restart, trial, confirmation.
    let update = |agent: &mut TestAgent<'_>| -> Result<(), Error> {
        agent.check(&mut now, &mut |_| ())?;
        agent.boot(&mut now, &mut |_| true, &mut |_| ())?;
        Ok(())
    };
    let mut rehearsal = agent(&root, device(&root), Mirror::of(&repository));
    rehearsal.flash_mut().nor_mut().plan(None);
    update(&mut rehearsal).unwrap();
    let operations = rehearsal.flash_mut().nor_mut().operations.clone();
    let tears = [Tear::Before, Tear::Within { done: 1 }, Tear::Unreadable { done: 3 }, Tear::After];
    let mut cases = 0;
    for operation in 0..operations.len() {
        for tear in tears {
            let cut = Cut { operation, tear };
            let mut flash = device(&root);
            flash.nor_mut().plan(Some(cut));
            let mut agent = super::agent::agent(&root, flash, Mirror::of(&repository));
            let outcome = update(&mut agent);
            let mut nor = agent.flash_mut().nor_mut().clone();
            assert!(nor.power_on(), "{cut:?} was never reached: {outcome:?}");

            let flash = Flash::new(nor, map()).unwrap();
            let mut agent = super::agent::agent(&root, flash, Mirror::of(&repository));
            assert_eq!(agent.trust().lost, None, "{cut:?}");
            let mut runs = agent.boot(&mut now, &mut |_| true, &mut |_| ()).unwrap();
            if matches!(&runs, Started::Active(image) if image.digest != new) {
                update(&mut agent).unwrap_or_else(|error| panic!("{cut:?}: {error}"));
                runs = agent.boot(&mut now, &mut |_| true, &mut |_| ()).unwrap();
            }
            let (Started::Active(image) | Started::Confirmed(image)) = runs else {
                panic!("{cut:?}: {runs:?}")
            };
            assert_eq!(image.digest, new, "{cut:?}");
            let agent = restart(&root, agent);
            assert_eq!(agent.trust().memory.counter, 3, "{cut:?}");
            cases += 1;
        }
    }
    // Twelve erases and twelve writes of the image, the rest are records.
    assert_eq!((operations.len(), cases), (138, 4 * 138));
}

/// What an event is, in words.
fn name(event: &Event<'_>) -> String {
    match event {
        Event::Fetch(request) => format!("fetch {}", request.path),
        Event::Stored(Change::Root) => "stored root".into(),
        Event::Stored(Change::Floors) => "stored floors".into(),
        Event::Selected(candidate) => format!("selected {}", candidate.sequence),
        Event::PassedOver(sequence) => format!("passed over {sequence}"),
        Event::Download { .. } => "download".into(),
        Event::Staged(candidate) => format!("staged {}", candidate.sequence),
        Event::Pending(image) => format!("pending {}", image.version),
        Event::TrustLost(lost) => format!("trust lost {lost:?}"),
        other => format!("{other:?}"),
    }
}

fn assert_slot_b_unbootable(agent: &mut TestAgent<'_>) {
    let start = map().slot(SlotId::B).offset as usize;
    assert_eq!(agent.flash_mut().nor_mut().bytes()[start..start + 256], [0xFF; 256]);
}

fn now() -> Clock {
    Clock::At(NOW)
}

pub(crate) fn release(sequence: u32, version: &'static str, length: usize) -> Release {
    let image = (0..length).map(|at| (at * 7 + sequence as usize) as u8).collect();
    Release { sequence, counter: 3, version, image }
}

pub(crate) fn repository() -> Repository {
    Repository::new(vec![release(7, "1.0.0", 3000)])
}

/// What the newest record of a kind says.
fn record(flash: &mut Flash<TestNor>, kind: Kind) -> Vec<u8> {
    let mut buffer = [0; 2048];
    Journal::new(flash.map(), kind).newest(flash, &mut buffer).unwrap().payload.to_vec()
}

/// The frames of the trust journal, each with its kind.
fn frames(nor: &TestNor) -> Vec<(u8, core::ops::Range<usize>)> {
    let Region { offset, length } = map().layout().trust;
    (offset as usize..(offset + length) as usize)
        .step_by(16)
        .filter(|at| nor.bytes()[*at..].starts_with(b"Tf"))
        .map(|at| {
            let length = u32::from_le_bytes(nor.bytes()[at + 4..at + 8].try_into().unwrap()) as usize;
            // With its seal.
            (nor.bytes()[at + 2], at..at + (16 + length).next_multiple_of(4) + 4)
        })
        .collect()
}

/// Makes every frame of a kind unreadable.
pub(crate) fn decay(nor: &mut TestNor, kind: Kind) {
    let byte = match kind {
        Kind::Root => 2,
        Kind::Floors => 3,
        _ => unreachable!(),
    };
    for (_, frame) in frames(nor).into_iter().filter(|(kind, _)| *kind == byte) {
        nor.decay(frame);
    }
}

pub(crate) fn factory(root: &[u8]) -> Factory<'_> {
    let (product, hardware, channel) = ("lamp", "rev-a", "stable");
    Factory { root, product, hardware, channel, counter: 1, built: NOW - 5 * DAY }
}

/// A device with 0.9.0 of sequence 1.
pub(crate) fn device(root: &[u8]) -> Flash<TestNor> {
    let mut flash = Flash::new(Nor::new(map().capacity(), 0xFF), map()).unwrap();
    let image = FactoryImage { bytes: &[0x42; 1700], sequence: 1, version: "0.9.0" };
    provision(&mut flash, &SOFTWARE, &factory(root), &image).unwrap();
    flash
}

fn agent<'a>(root: &'a [u8], flash: Flash<TestNor>, mirror: Mirror) -> TestAgent<'a> {
    Agent::new(flash, mirror, &SOFTWARE, factory(root), b"lamp-17").unwrap()
}

fn restart<'a>(root: &'a [u8], mut agent: TestAgent<'a>) -> TestAgent<'a> {
    let mirror = agent.transport_mut().clone();
    let flash = Flash::new(agent.flash_mut().nor_mut().clone(), map()).unwrap();
    super::agent::agent(root, flash, mirror)
}

fn clone<'a>(root: &'a [u8], agent: &mut TestAgent<'a>, repository: &Repository) -> TestAgent<'a> {
    let flash = Flash::new(agent.flash_mut().nor_mut().clone(), map()).unwrap();
    super::agent::agent(root, flash, Mirror::of(repository))
}

pub(crate) fn map() -> FlashMap {
    let region = |offset, length| Region { offset, length };
    FlashMap::new(Layout {
        erase_unit: 256,
        write_unit: 4,
        erased: 0xFF,
        boot: region(0, 0x400),
        trust: region(0x400, 0x1400),
        slot_a: region(0x2000, SLOT as u32),
        slot_b: region(0x3000, SLOT as u32),
    })
    .unwrap()
}
