//! Cycles for something else than a release, over something else than a network, or without a clock.

use serde_json::json;
use tuffet_client::limits::DEVICE;
use tuffet_client::time::Date;
use tuffet_client::{
    Age, Clock, Entry, Error, Goal, Misuse, Plan, Refresh, Rejected, Role, Target, Trusted, Want,
};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

const REFRESH: [&str; 2] = ["2.root.json", "timestamp.json"];
const POLL: [&str; 1] = ["timestamp.json"];
/// A poll that finds a difference, up to the timestamp.
const UNSETTLED: [&str; 3] = ["timestamp.json", "2.root.json", "timestamp.json"];

// ---- bundles

fn offline(repository: &Repository) -> Subject {
    Subject { entry: Entry::Offline, ..Subject::new(repository) }
}

#[test]
fn bundle_may_be_older_than_its_timestamp_and_snapshot_and_nothing_else() {
    let repository = Repository::default();
    let mut subject = offline(&repository);
    subject.clock = Clock::At(NOW + 60 * DAY);
    accepted(&mut subject, &repository, &FULL, Some(2));
    // What was believed of a bundle is not believed of a network.
    let floors = subject.floors.clone();
    subject.entry = Entry::Refresh;
    let freeze = |role, expires, start| Rejected::Freeze { role, expires: Date(expires), start: Date(start) };
    let start = NOW + 60 * DAY;
    refused_by(&mut subject, &repository, &REFRESH, freeze(Role::Timestamp, NOW + DAY, start));
    assert_eq!(subject.floors, floors);

    let mut subject = offline(&repository);
    subject.clock = Clock::At(NOW + 90 * DAY);
    let targets = freeze(Role::Targets, NOW + 90 * DAY, NOW + 90 * DAY);
    refused_by(&mut subject, &repository, &FULL, targets);
    subject.clock = Clock::At(NOW + 365 * DAY);
    let root = freeze(Role::Root, NOW + 365 * DAY, NOW + 365 * DAY);
    refused_by(&mut subject, &repository, &FULL[..1], root);

    let repository = lamp().signed_by("lamp", |signed| signed["expires"] = json!(date(NOW + DAY)));
    let mut subject = offline(&repository);
    subject.clock = Clock::At(NOW + DAY);
    refused_by(&mut subject, &repository, &FULL_LAMP[..6], freeze(Role::Delegated, NOW + DAY, NOW + DAY));
}

#[test]
fn bundle_below_any_floor_is_refused() {
    let mut newer = Repository::default();
    newer.bump(&["timestamp", "snapshot", "targets"]);
    let mut subject = Subject::new(&newer);
    assert_eq!(subject.refresh(&newer).result, Ok(Some(2)));
    subject.entry = Entry::Offline;
    let rollback = |role| Rejected::Rollback { role, trusted: 2, offered: 1 };
    refused_by(&mut subject, &Repository::default(), &REFRESH, rollback(Role::Timestamp));
    let mut older = Repository::default();
    older.versions = [("timestamp", 3), ("snapshot", 1), ("targets", 2)].into();
    refused_by(&mut subject, &older, &REFRESH, rollback(Role::Snapshot));
    older.versions = [("timestamp", 3), ("snapshot", 3), ("targets", 1)].into();
    let requests = [REFRESH.as_slice(), &["3.snapshot.json"]].concat();
    refused_by(&mut subject, &older, &requests, rollback(Role::Targets));
    let halt = json!([sha256(&image("1.1.0"))]);
    let halted = Repository::default().signed(Role::Timestamp, move |signed| signed["halt"] = halt.clone());
    assert_eq!(offline(&halted).refresh(&halted).halted, Some(2));
}

#[test]
fn idle_device_with_a_bundle_that_it_knows_has_nothing_to_do() {
    let (repository, mut subject) = settled();
    assert_eq!(subject.refresh(&repository).result, Ok(None));
    subject.entry = Entry::Offline;
    subject.clock = Clock::At(NOW + 60 * DAY);
    accepted(&mut subject, &repository, &REFRESH, None);
}

// ---- what else a cycle can be for

#[test]
fn device_without_a_clock_knows_of_no_age() {
    let (repository, mut subject) = settled();
    for entry in [Entry::Poll, Entry::Refresh, Entry::Offline] {
        (subject.entry, subject.clock) = (entry, Clock::Unknown);
        let cycle = subject.refresh(&repository);
        assert_eq!((cycle.result, cycle.age), (Ok(None), Some(Age::Unknown)));
        subject.clock = Clock::At(NOW);
        // A bundle says nothing of how long it was under way.
        let age = if entry == Entry::Offline { Age::Unknown } else { Age::Fresh };
        assert_eq!(subject.refresh(&repository).age, Some(age));
    }
}

#[test]
fn clock_that_ran_ahead_leaves_no_bound_behind() {
    let (repository, mut subject) = settled();
    let floors = subject.floors.clone();
    let ahead = NOW + 3_650 * DAY;
    subject.clock = Clock::At(ahead);
    let expired = |role, expires| Rejected::Freeze { role, expires: Date(expires), start: Date(ahead) };
    // The root is the first of what is asked for to look expired.
    let cycle = subject.refresh(&repository);
    assert_eq!(cycle.result, Err(expired(Role::Root, NOW + 365 * DAY).into()));
    assert_eq!(subject.floors, floors);
    for clock in [Clock::At(NOW), Clock::Unknown] {
        subject.clock = clock;
        assert_eq!(subject.refresh(&repository).result, Ok(None));
    }
}

#[test]
fn ramp_on_a_device_without_a_clock_follows_the_dates_of_issue() {
    let turn = ramp(0, 10).turn(b"device-1");
    for (issued, release) in [(turn - 1, Some(2)), (turn, Some(3))] {
        let mut repository = Repository::default();
        repository.release(3, "1.2.0").rollout = Some(ramp(0, 10));
        repository.issued = issued;
        for role in ["timestamp", "snapshot", "targets"] {
            repository.expires.insert(role, issued + DAY);
        }
        let mut subject = Subject { clock: Clock::Unknown, ..Subject::new(&Repository::default()) };
        // The time of a cycle is frozen at its start: what this one learns is judged by from the next one on.
        assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
        assert_eq!(subject.refresh(&repository).result, Ok(release), "issued at {issued}");
    }
}

/// A cycle for this goal, at [`NOW`].
fn cycle(
    trusted: &mut Trusted,
    files: &Files,
    goal: Goal<'_>,
    entry: Entry,
) -> (Result<End, Error>, Vec<String>) {
    let memory = &mut [0; DEVICE.memory()];
    let mut refresh = Refresh::new(Plan { goal, entry, ..plan() }, trusted, memory).unwrap();
    let mut requests = Vec::new();
    let end = drive(&mut refresh, files, 512, &mut requests, |_, _| true);
    (end, requests)
}

#[test]
fn metadata_without_a_goal_below_them_are_refreshed_to_the_top_level_targets() {
    let repository = lamp();
    let mut trusted = Subject::new(&repository).trusted();
    let (metadata, refresh) = (Goal::Metadata, Entry::Refresh);
    let fresh = Ok(End::UpToDate(Age::Fresh));
    let files = repository.files();
    assert_eq!(cycle(&mut trusted, &files, metadata, refresh), (fresh, as_strings(&FULL)));
    assert_eq!(cycle(&mut trusted, &files, metadata, refresh), (fresh, as_strings(&REFRESH)));
    assert_eq!(cycle(&mut trusted, &files, metadata, Entry::Poll), (fresh, as_strings(&POLL)));
    // A device that wants a release is not put off by that.
    let requests = [&REFRESH, &FULL_LAMP[3..]].concat();
    let release = Goal::Release(DEVICE_1);
    assert_eq!(cycle(&mut trusted, &files, release, refresh), (Ok(End::Install(2)), as_strings(&requests)));
}

fn known(bytes: &[u8]) -> Target {
    Target { length: u32::try_from(bytes.len()).unwrap(), sha256: Some(digest(bytes)), ..Target::default() }
}

#[test]
fn target_is_found_wherever_its_search_leads() {
    let image = image("1.1.0");
    let path = "lamp/rev-a/versions/1.1.0/lamp.bin";
    let (target, refresh) = (Goal::Target(path), Entry::Refresh);
    let found = Ok(End::Found(known(&image)));
    let repository = Repository::default();
    let mut trusted = Subject::new(&repository).trusted();
    assert_eq!(cycle(&mut trusted, &repository.files(), target, refresh), (found, as_strings(&FULL)));
    let requests = as_strings(&["2.root.json", "timestamp.json", "1.targets.json"]);
    assert_eq!(cycle(&mut trusted, &repository.files(), target, refresh), (found, requests));
    let repository = lamp();
    let mut trusted = Subject::new(&repository).trusted();
    assert_eq!(
        cycle(&mut trusted, &repository.files(), target, refresh),
        (found, as_strings(&FULL_LAMP[..6]))
    );
    let nowhere = Goal::Target("lamp/rev-a/versions/9/lamp.bin");
    let requests = [&FULL_LAMP[..2], &FULL_LAMP[3..]].concat();
    let no_target = Err(Rejected::NoTarget.into());
    assert_eq!(
        cycle(&mut trusted, &repository.files(), nowhere, refresh),
        (no_target, as_strings(&requests))
    );
}

#[test]
fn target_is_searched_for_even_where_there_is_nothing_new() {
    let repository = Repository::default();
    let files = repository.files();
    let mut trusted = Subject::new(&repository).trusted();
    let fresh = cycle(&mut trusted, &files, Goal::Metadata, Entry::Refresh).0;
    assert_eq!(fresh, Ok(End::UpToDate(Age::Fresh)));
    for (entry, requests) in [(Entry::Refresh, REFRESH.as_slice()), (Entry::Poll, &UNSETTLED)] {
        let goal = Goal::Target("lamp/rev-a/versions/1.1.0/lamp.bin");
        let requests = [requests, &["1.targets.json"]].concat();
        let found = Ok(End::Found(known(&image("1.1.0"))));
        assert_eq!(cycle(&mut trusted, &files, goal, entry), (found, as_strings(&requests)), "{entry:?}");
    }
}

#[test]
fn further_targets_are_found_under_the_metadata_of_one_cycle() {
    let repository = lamp();
    let files = repository.files();
    let mut trusted = Subject::new(&repository).trusted();
    let memory = &mut [0; DEVICE.memory()];
    let goal = Goal::Target("lamp/rev-a/versions/1.1.0/lamp.bin");
    let mut refresh = Refresh::new(Plan { goal, ..plan() }, &mut trusted, memory).unwrap();
    let early = refresh.find("lamp/rev-a/versions/1.0.0/lamp.bin");
    assert_eq!(early, Err(Misuse::NotFetching.into()));
    let mut requests = Vec::new();
    let mut end = |refresh: &mut Refresh<'_>| {
        requests.clear();
        (drive(refresh, &files, 512, &mut requests, |_, _| true), requests.clone())
    };
    assert_eq!(end(&mut refresh).0, Ok(End::Found(known(&image("1.1.0")))));
    let again = as_strings(&["1.targets.json", "1.lamp.json"]);
    for (path, expected) in [
        ("lamp/rev-a/versions/1.0.0/lamp.bin", Ok(End::Found(known(&image("1.0.0"))))),
        ("lamp/rev-a/versions/0/lamp.bin", Err(Rejected::NoTarget.into())),
        ("lamp/rev-a/versions/1.1.0/lamp.bin", Ok(End::Found(known(&image("1.1.0"))))),
    ] {
        refresh.find(path).unwrap();
        let (end, mut asked) = end(&mut refresh);
        asked.retain(|name| !name.starts_with("again"));
        assert_eq!((end, &asked), (expected, &again), "{path}");
    }
    // A path that is delegated to nobody.
    refresh.find("fan/x").unwrap();
    assert_eq!(end(&mut refresh), (Err(Rejected::NoTarget.into()), as_strings(&["1.targets.json"])));
    let memory = &mut [0; DEVICE.memory()];
    let mut refresh = Refresh::new(plan(), &mut trusted, memory).unwrap();
    while !matches!(refresh.want(), Want::Install(_)) {
        step(&mut refresh, &files).unwrap();
    }
    assert_eq!(refresh.find("fan/x"), Err(Misuse::NotFetching.into()), "the cycle was for a release");
}

#[test]
fn further_target_is_not_looked_for_after_a_cycle_that_was_refused() {
    let repository = Repository::default();
    let files = repository.files();
    let mut trusted = Subject::new(&repository).trusted();
    let goal = Goal::Target("lamp/rev-a/versions/1.1.0/lamp.bin");
    let today = cycle(&mut trusted, &files, goal, Entry::Refresh);
    assert_eq!(today.0, Ok(End::Found(known(&image("1.1.0")))));
    // A year later the root has expired, and nothing below it is verified any more.
    let late = Plan { goal, clock: Clock::At(NOW + 365 * DAY), ..plan() };
    let memory = &mut [0; DEVICE.memory()];
    let mut refresh = Refresh::new(late, &mut trusted, memory).unwrap();
    step(&mut refresh, &files).unwrap();
    let (expires, start) = (Date(NOW + 365 * DAY), Date(NOW + 365 * DAY));
    assert_eq!(refresh.want(), Want::Over(Rejected::Freeze { role: Role::Root, expires, start }));
    assert_eq!(
        refresh.find("lamp/rev-a/versions/1.1.0/lamp.bin"),
        Err(Misuse::NotFetching.into()),
        "it would be looked for under metadata that this cycle did not verify"
    );
}
