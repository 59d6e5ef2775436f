//! Whole cycles one after the other: polls, what is settled and what unsettles it, interruptions and halts.

use core::cell::Cell;

use serde_json::json;
use tuffet_client::limits::DEVICE;
use tuffet_client::time::Date;
use tuffet_client::{
    Age, Ban, Bound, Clock, Crypto, Device, Ended, Entry, Environment, Field, Goal, Misuse, P256, Plan,
    Refresh, Rejected, Role, SOFTWARE, Want,
};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

const REFRESH: [&str; 2] = ["2.root.json", "timestamp.json"];
const POLL: [&str; 1] = ["timestamp.json"];
/// A poll that finds a difference, up to the timestamp.
const UNSETTLED: [&str; 3] = ["timestamp.json", "2.root.json", "timestamp.json"];

thread_local!(static VERIFIED: Cell<u32> = const { Cell::new(0) });

/// The crypto of devices, which counts.
const COUNTING: Crypto = Crypto {
    p256: P256 {
        verify: |key, digest, der| {
            VERIFIED.set(VERIFIED.get() + 1);
            (SOFTWARE.p256.verify)(key, digest, der)
        },
        ..SOFTWARE.p256
    },
    ..SOFTWARE
};

/// There is nothing to do, known after these requests and so many verifications.
#[track_caller]
fn nothing_new(subject: &mut Subject, repository: &Repository, requests: &[&str], verified: u32) {
    VERIFIED.set(0);
    let cycle = subject.refresh(repository);
    assert_eq!((cycle.result, cycle.requests), (Ok(None), as_strings(requests)));
    assert_eq!((cycle.age, VERIFIED.get()), (Some(Age::Fresh), verified));
}

/// A device for which there is nothing to do, and which knows that.
fn idle_on(repository: &Repository) -> Subject {
    let mut subject = Subject::new(&Repository::default());
    let release = subject.refresh(repository).result.unwrap().unwrap();
    (subject.sequence, subject.crypto) = (release, COUNTING);
    assert_eq!(subject.refresh(repository).result, Ok(None));
    subject
}

fn idle() -> (Repository, Subject) {
    let repository = Repository::default();
    let subject = idle_on(&repository);
    (repository, subject)
}

// ---- settled

#[test]
fn poll_of_an_idle_device_costs_one_request_and_no_signature() {
    let (repository, mut subject) = idle();
    let floors = subject.floors.clone();
    subject.entry = Entry::Poll;
    for chunk in [1, 512] {
        subject.chunk = chunk;
        nothing_new(&mut subject, &repository, &POLL, 0);
    }
    subject.entry = Entry::Refresh;
    nothing_new(&mut subject, &repository, &REFRESH, 0);
    assert_eq!(subject.floors, floors);
}

#[test]
fn poll_of_a_device_that_trusts_only_a_root_is_a_refresh() {
    let repository = Repository::default();
    let mut subject = Subject { entry: Entry::Poll, ..Subject::new(&repository) };
    let requests = [&POLL, FULL.as_slice()].concat();
    accepted(&mut subject, &repository, &requests, Some(2));
    // What it is to install is not what it runs: it asks again.
    accepted(&mut subject, &repository, &[UNSETTLED.as_slice(), &["1.targets.json"]].concat(), Some(2));
}

#[test]
fn poll_goes_on_as_a_refresh_on_any_difference() {
    let (repository, mut subject) = idle();
    subject.entry = Entry::Poll;
    let bytes = repository.files()["timestamp.json"].clone();
    // One byte more, or another, is another file: of the same version, or none at all.
    let longer = [bytes.as_slice(), b"\n"].concat();
    accepted(
        &mut subject,
        &Repository::default().file("timestamp.json", Some(longer)),
        &[UNSETTLED.as_slice()].concat(),
        None,
    );
    let mut broken = bytes;
    broken[0] = b'[';
    let syntax = Rejected::Field { role: Role::Timestamp, field: Field::Signed };
    refused_by(&mut subject, &Repository::default().file("timestamp.json", Some(broken)), &UNSETTLED, syntax);

    let mut next = Repository::default();
    next.release(3, "1.2.0");
    next.bump(&["timestamp", "snapshot", "targets"]);
    let requests = [UNSETTLED.as_slice(), &["2.snapshot.json", "2.targets.json"]].concat();
    accepted(&mut subject, &next, &requests, Some(3));
}

#[test]
fn poll_of_a_timestamp_that_is_missing_or_endless_is_an_error() {
    let (_, mut subject) = idle();
    subject.entry = Entry::Poll;
    let missing = Repository::default().file("timestamp.json", None);
    refused_by(&mut subject, &missing, &POLL, Environment::Missing { role: Role::Timestamp });
    let endless = Repository::default().file("timestamp.json", Some(vec![b' '; 16_385]));
    refused_by(&mut subject, &endless, &POLL, Rejected::Oversize { role: Role::Timestamp, limit: 16_384 });
}

#[test]
fn newer_timestamp_over_the_same_snapshot_costs_its_own_signature_alone() {
    let (mut repository, mut subject) = idle();
    repository.bump(&["timestamp"]);
    nothing_new(&mut subject, &repository, &REFRESH, 1);
    assert_eq!(subject.floors.timestamp_version(), Some(2));
    nothing_new(&mut subject, &repository, &REFRESH, 0);
    subject.entry = Entry::Poll;
    repository.bump(&["timestamp"]);
    nothing_new(&mut subject, &repository, &UNSETTLED, 1);
    nothing_new(&mut subject, &repository, &POLL, 0);
}

#[test]
fn newer_snapshot_unsettles() {
    let (mut repository, mut subject) = idle();
    repository.bump(&["timestamp", "snapshot"]);
    let requests = [REFRESH.as_slice(), &["2.snapshot.json", "1.targets.json"]].concat();
    nothing_new(&mut subject, &repository, &requests, 4);
    nothing_new(&mut subject, &repository, &REFRESH, 0);
}

#[test]
fn new_root_unsettles_once_it_is_heard_of() {
    let (mut repository, mut subject) = idle();
    repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]), &ROOT_KEYS[..2]);
    // A poll hears of it by the timestamp that is published with it.
    subject.entry = Entry::Poll;
    nothing_new(&mut subject, &repository, &POLL, 0);
    repository.bump(&["timestamp"]);
    let requests = ["timestamp.json", "2.root.json", "3.root.json", "timestamp.json", "1.targets.json"];
    // Two thresholds of two, the timestamp's one, and two for targets.
    nothing_new(&mut subject, &repository, &requests, 7);
    nothing_new(&mut subject, &repository, &POLL, 0);
}

#[test]
fn targets_keys_revoked_by_a_new_root_unsettle_what_they_signed() {
    let (mut repository, mut subject) = idle();
    let others = ["release-x", "release-y", "release-z"];
    repository.rotate(root(2, &ROOT_KEYS, &others, ["timestamp", "snapshot"]), &ROOT_KEYS);
    let unmet = Rejected::ThresholdNotMet { role: Role::Targets, valid: 0, threshold: 2 };
    let requests = ["2.root.json", "3.root.json", "timestamp.json", "1.targets.json"];
    refused_by(&mut subject, &repository, &requests, unmet);
}

#[test]
fn device_that_changed_in_any_fact_looks_again() {
    type Change = fn(&mut Subject);
    let changes: [(Change, Option<u32>); 5] = [
        (|subject| subject.sequence = 1, Some(2)),
        (|subject| subject.sequence = 3, None),
        (|subject| subject.counter = 1, None),
        (|subject| subject.id = b"device-2", None),
        (|subject| subject.banned.push(Ban { sha256: [7; 32], sequence: 9 }), None),
    ];
    for (change, release) in changes {
        for (entry, requests) in [(Entry::Poll, UNSETTLED.as_slice()), (Entry::Refresh, &REFRESH)] {
            let (repository, mut subject) = idle();
            change(&mut subject);
            subject.entry = entry;
            let requests = [requests, &["1.targets.json"]].concat();
            accepted(&mut subject, &repository, &requests, release);
            if release.is_none() {
                nothing_new(
                    &mut subject,
                    &repository,
                    &requests[..if entry == Entry::Poll { 1 } else { 2 }],
                    0,
                );
            }
        }
    }
}

#[test]
fn poll_asks_for_everything_once_any_file_has_expired() {
    let cases: [(&str, Role, &[&str]); 5] = [
        ("root", Role::Root, &["timestamp.json", "2.root.json"]),
        ("timestamp", Role::Timestamp, &UNSETTLED),
        ("snapshot", Role::Snapshot, &["timestamp.json", "2.root.json", "timestamp.json", "1.snapshot.json"]),
        ("targets", Role::Targets, &["timestamp.json", "2.root.json", "timestamp.json", "1.targets.json"]),
        (
            "lamp",
            Role::Delegated,
            &[
                "timestamp.json",
                "2.root.json",
                "timestamp.json",
                "1.targets.json",
                "again 1.snapshot.json",
                "1.lamp.json",
            ],
        ),
    ];
    for (name, role, requests) in cases {
        let mut repository = lamp();
        repository.expires =
            [("timestamp", NOW + 300 * DAY), ("snapshot", NOW + 300 * DAY), ("targets", NOW + 300 * DAY)]
                .into();
        let repository = repository.signed_by(name, |signed| signed["expires"] = json!(date(NOW + DAY)));
        let mut subject = Subject::new(&repository);
        assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
        (subject.sequence, subject.crypto) = (2, COUNTING);
        assert_eq!(subject.refresh(&repository).result, Ok(None));
        subject.entry = Entry::Poll;
        subject.clock = Clock::At(NOW + DAY - 1);
        nothing_new(&mut subject, &repository, &POLL, 0);
        subject.clock = Clock::At(NOW + DAY);
        let freeze = Rejected::Freeze { role, expires: Date(NOW + DAY), start: Date(NOW + DAY) };
        refused_by(&mut subject, &repository, requests, freeze);
    }
}

#[test]
fn poll_looks_again_when_the_device_has_its_turn_in_a_rollout() {
    let mut repository = Repository::default();
    repository.expires =
        [("timestamp", NOW + 99 * DAY), ("snapshot", NOW + 99 * DAY), ("targets", NOW + 99 * DAY)].into();
    repository.release(3, "1.2.0").rollout = Some(ramp(10, 20));
    repository.release(4, "1.3.0").rollout = Some(ramp(20, 30));
    let mut subject = idle_on(&repository);
    assert_eq!(subject.sequence, 2);
    subject.entry = Entry::Poll;
    let turn = ramp(10, 20).turn(b"device-1");
    subject.clock = Clock::At(turn - 1);
    nothing_new(&mut subject, &repository, &POLL, 0);
    subject.clock = Clock::At(turn);
    let requests = [UNSETTLED.as_slice(), &["1.targets.json"]].concat();
    accepted(&mut subject, &repository, &requests, Some(3));
}

/// What the idle device asks for, without the simulator.
fn idle_plan<'a>(entry: Entry, clock: Clock) -> Plan<'a> {
    let goal = Goal::Release(Device { sequence: 2, ..DEVICE_1 });
    Plan { goal, entry, crypto: &COUNTING, clock, ..plan() }
}

#[test]
fn cycle_that_learns_nothing_asks_for_no_storage() {
    // A release waits to be installed, so that the targets are read each time.
    for repository in [Repository::default(), lamp()] {
        let mut subject = Subject::new(&repository);
        assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
        let (mut trusted, mut memory) = (subject.trusted(), [0; DEVICE.memory()]);
        let before = trusted.clone();
        let mut refresh = Refresh::new(plan(), &mut trusted, &mut memory).unwrap();
        let mut stored = 0;
        let end = drive(&mut refresh, &repository.files(), 512, &mut Vec::new(), |_, _| {
            stored += 1;
            true
        });
        assert_eq!((end, stored), (Ok(End::Install(2)), 0));
        assert_eq!(trusted, before);
    }
}

#[test]
fn timestamp_that_the_transport_knows_to_be_the_same_need_not_be_read() {
    for (entry, before) in [(Entry::Poll, 0), (Entry::Refresh, 1)] {
        let (repository, subject) = idle();
        let files = repository.files();
        let mut trusted = subject.trusted();
        let (now, late) = (Clock::At(NOW), Clock::At(NOW + DAY));
        let memory = &mut [0; DEVICE.memory()];
        let mut refresh = Refresh::new(idle_plan(entry, now), &mut trusted, memory).unwrap();
        (0..before).for_each(|_| step(&mut refresh, &files).unwrap());
        assert_eq!(refresh.unmodified(), Ok(Ended::NotNew));
        assert_eq!(refresh.want(), Want::UpToDate(Age::Fresh));

        // It is judged like one that came: here, it expired.
        let mut refresh = Refresh::new(idle_plan(entry, late), &mut trusted, memory).unwrap();
        (0..before).for_each(|_| step(&mut refresh, &files).unwrap());
        if entry == Entry::Poll {
            assert_eq!(refresh.unmodified(), Ok(Ended::NotNew));
            step(&mut refresh, &files).unwrap();
        }
        let freeze =
            Rejected::Freeze { role: Role::Timestamp, expires: Date(NOW + DAY), start: Date(NOW + DAY) };
        assert_eq!(refresh.unmodified(), Err(freeze.into()));
        assert!(matches!(refresh.want(), Want::Fetch { file, .. } if file.role == Role::Timestamp));

        // There is nothing that it could be the same as.
        let mut trusted = Subject::new(&repository).trusted();
        let mut refresh = Refresh::new(idle_plan(entry, now), &mut trusted, memory).unwrap();
        (0..before).for_each(|_| step(&mut refresh, &files).unwrap());
        assert_eq!(refresh.unmodified(), Err(Misuse::NotFetching.into()));
    }
}

#[test]
fn cycle_that_was_interrupted_goes_on_from_what_was_verified() {
    let repository = lamp();
    let files = repository.files();
    let whole = {
        let mut subject = Subject::new(&repository);
        accepted(&mut subject, &repository, &FULL_LAMP, Some(2));
        subject.floors
    };
    for done in 0..=FULL_LAMP.len() {
        let mut subject = Subject::new(&repository);
        let mut trusted = subject.trusted();
        let memory = &mut [0; DEVICE.memory()];
        let mut refresh = Refresh::new(plan(), &mut trusted, memory).unwrap();
        let mut asked = 0;
        while asked < done || matches!(refresh.want(), Want::Persist(_)) {
            asked += usize::from(!matches!(refresh.want(), Want::Persist(_)));
            step(&mut refresh, &files).unwrap();
        }
        // In the middle of the next.
        if let Want::Fetch { file, .. } | Want::Again { file, .. } = refresh.want()
            && let Some(bytes) = files.get(&file.to_string())
        {
            refresh.feed(&bytes[..bytes.len() / 2]).unwrap();
        }
        subject.floors = trusted.floors().clone();
        let mut rest = FULL_LAMP.to_vec();
        if done >= 3 {
            rest.remove(2);
        }
        accepted(&mut subject, &repository, &rest, Some(2));
        assert_eq!(subject.floors, whole);
    }
}

// ---- halts

fn halting(repository: Repository, digests: Vec<String>) -> Repository {
    repository.signed(Role::Timestamp, move |signed| signed["halt"] = json!(digests))
}

#[test]
fn halted_release_blocks_and_does_not_fall_through_to_an_older_one() {
    let halted = sha256(&image("1.1.0"));
    let repository = halting(Repository::default(), vec![halted.clone()]);
    let mut subject = Subject::new(&repository);
    for requests in [FULL.as_slice(), &["2.root.json", "timestamp.json", "1.targets.json"]] {
        let cycle = subject.refresh(&repository);
        assert_eq!((cycle.result, cycle.halted, cycle.requests), (Ok(None), Some(2), as_strings(requests)));
    }
    // A poll asks again, too.
    subject.entry = Entry::Poll;
    assert_eq!(subject.refresh(&repository).halted, Some(2));
    subject.entry = Entry::Refresh;
    // Its own twin, without the halt, is no news; a later timestamp is.
    let requests = ["2.root.json", "timestamp.json", "1.targets.json"];
    assert_eq!(subject.refresh(&Repository::default()).halted, Some(2));
    let mut later = Repository::default();
    later.bump(&["timestamp"]);
    accepted(&mut subject, &later, &requests, Some(2));
    // Halted once more, and passed by a later release.
    let mut next = Repository::default();
    next.release(3, "1.2.0");
    next.versions = [("timestamp", 3), ("snapshot", 2), ("targets", 2)].into();
    let requests = ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"];
    accepted(&mut subject, &halting(next, vec![halted]), &requests, Some(3));
}

#[test]
fn halt_of_another_image_or_of_what_runs_changes_nothing() {
    let other = sha256(b"another image");
    let repository = halting(Repository::default(), vec![other, sha256(&image("1.0.0"))]);
    accepted(&mut Subject::new(&repository), &repository, &FULL, Some(2));
    let repository = halting(Repository::default(), vec![sha256(&image("1.1.0"))]);
    let mut subject = Subject { sequence: 2, ..Subject::new(&repository) };
    accepted(&mut subject, &repository, &FULL, None);
}

#[test]
fn halts_at_the_bound_hold_and_one_more_is_refused() {
    let digests = |count: usize| {
        let mut digests: Vec<String> = (1..count).map(|at| format!("{at:064x}")).collect();
        digests.push(sha256(&image("1.1.0")));
        digests
    };
    let repository = halting(Repository::default(), digests(8));
    assert_eq!(Subject::new(&repository).refresh(&repository).halted, Some(2));
    let limit = Rejected::Limit { role: Role::Timestamp, bound: Bound::Halts };
    refused(&halting(Repository::default(), digests(9)), &FULL[..2], limit);
}

#[test]
fn halt_of_another_form_is_refused() {
    let upper = sha256(&image("1.1.0")).to_uppercase();
    for halt in [
        json!({}),
        json!("none"),
        json!(null),
        json!([1]),
        json!([[]]),
        json!(["00"]),
        json!(["x".repeat(64)]),
        json!([upper]),
        json!(["00".repeat(33)]),
    ] {
        let repository =
            Repository::default().signed(Role::Timestamp, move |signed| signed["halt"] = halt.clone());
        refused(&repository, &FULL[..2], field(Role::Timestamp, Field::Halt));
    }
}
