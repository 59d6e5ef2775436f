//! What the suites expect of a device and a repository, said once.

use serde_json::{Value, json};
use tuffet_client::limits::DEVICE;
use tuffet_client::{
    Clock, Device, Entry, Error, Field, Goal, Plan, Refresh, Rejected, Role, SOFTWARE, Want,
};

use crate::simulator::{Files, NOW, Repository, Subject};

/// What a device asks for that trusts a root and nothing else.
pub const FULL: [&str; 4] = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];

/// The same, and more.
#[must_use]
pub fn full_and<'n>(more: &[&'n str]) -> Vec<&'n str> {
    [FULL.as_slice(), more].concat()
}

/// Patterns of the device's release entry, and of its images.
pub const LAMP: [&str; 2] = ["lamp/*/*/release", "lamp/*/versions/*/*"];

/// The repository with all that a device needs in the delegated role `lamp`, of two keys and a threshold of two.
#[must_use]
pub fn lamp() -> Repository {
    let mut repository = Repository::default();
    repository.delegate("targets", "lamp", &["lamp-a", "lamp-b"], &json!({ "paths": LAMP }));
    repository.move_to("lamp");
    repository
}

/// What a device asks for that trusts a root, and whose release is in the role `lamp`.
pub const FULL_LAMP: [&str; 7] = [
    "2.root.json",
    "timestamp.json",
    "1.snapshot.json",
    "1.targets.json",
    "again 1.snapshot.json",
    "1.lamp.json",
    "again 1.targets.json",
];

/// Texts as the simulator writes them down.
#[must_use]
pub fn as_strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

/// The device accepts the repository after these requests, and finds this release to install.
///
/// # Panics
/// If it does not.
#[track_caller]
pub fn accepted(subject: &mut Subject, repository: &Repository, requests: &[&str], release: Option<u32>) {
    let cycle = subject.refresh(repository);
    assert_eq!((&cycle.result, cycle.requests), (&Ok(release), as_strings(requests)));
}

/// A factory-new device refuses the repository with this error after these requests, however the files are
/// cut into chunks, and trusts no more than it would had the last file not been there.
///
/// # Panics
/// If it does not.
#[track_caller]
pub fn refused(repository: &Repository, requests: &[&str], expected: impl Into<Error>) {
    refused_by(&mut Subject::new(&Repository::default()), repository, requests, expected);
}

/// The same for another device, which is left as it was.
///
/// # Panics
/// If it does not.
#[track_caller]
pub fn refused_by(
    subject: &mut Subject,
    repository: &Repository,
    requests: &[&str],
    expected: impl Into<Error>,
) {
    let (last, accepted) = requests.split_last().expect("a refusal is of a file");
    let files = repository.files();
    let before = (subject.root.clone(), subject.floors.clone());

    let fewer =
        files.clone().into_iter().filter(|(name, _)| accepted.contains(&name.as_str()) && name != last);
    let _ = subject.refresh_from(&fewer.collect());
    let without = (subject.root.clone(), subject.floors.clone());

    let expected = Err(expected.into());
    for chunk in [1, 7, usize::MAX] {
        (subject.root, subject.floors) = before.clone();
        subject.chunk = chunk;
        let cycle = subject.refresh_from(&files);
        assert_eq!((&cycle.result, cycle.requests.as_slice()), (&expected, as_strings(requests).as_slice()));
        assert_eq!((&subject.root, &subject.floors), (&without.0, &without.1), "what is stored changed");
    }
    (subject.root, subject.floors) = before;
}

/// The metadata are verified and stored, and the release in them is refused.
///
/// # Panics
/// If it is not so.
#[track_caller]
pub fn release_refused(repository: &Repository, requests: &[&str], expected: Rejected) {
    let mut subject = Subject::new(&Repository::default());
    let cycle = subject.refresh(repository);
    assert_eq!((cycle.result, cycle.requests), (Err(expected.into()), as_strings(requests)));
    // The next cycle has the same floors to start from, and comes to the same end.
    let floors = subject.floors.clone();
    assert_eq!(floors.targets_version(), Some(1));
    assert_eq!(subject.refresh(repository).result, Err(expected.into()));
    assert_eq!(subject.floors, floors);
}

/// The simulated repository, and a device that saw all of it and runs its latest release.
///
/// # Panics
/// If the client does not find that release.
#[must_use]
pub fn settled() -> (Repository, Subject) {
    let repository = Repository::default();
    let mut subject = Subject::new(&repository);
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    subject.sequence = 2;
    (repository, subject)
}

/// A member of a role's file is missing or wrong.
#[must_use]
pub fn field(role: Role, field: Field) -> Rejected {
    Rejected::Field { role, field }
}

/// Takes length and hashes from what a timestamp or snapshot says, so that a broken file is read to its fault.
///
/// # Panics
/// If it has no `meta`.
pub fn strip_links(signed: &mut Value) {
    for (_, meta) in signed["meta"].as_object_mut().expect("a timestamp or snapshot") {
        *meta = json!({ "version": meta["version"] });
    }
}

/// The device that the suites simulate, as it comes from the factory.
pub const DEVICE_1: Device<'static> = Device {
    product: "lamp",
    hardware: "rev-a",
    channel: "stable",
    id: b"device-1",
    sequence: 0,
    counter: 0,
    banned: &[],
};

/// What it asks for, without the simulator.
#[must_use]
pub fn plan<'p>() -> Plan<'p> {
    let (goal, entry, clock) = (Goal::Release(DEVICE_1), Entry::Refresh, Clock::At(NOW));
    Plan { crypto: &SOFTWARE, limits: &DEVICE, goal, entry, clock, kept: None }
}

/// Gives the machine what it wants, once.
///
/// # Errors
/// That of the machine.
///
/// # Panics
/// If its cycle is at an end.
pub fn step(refresh: &mut Refresh<'_>, files: &Files) -> Result<(), Error> {
    match refresh.want() {
        Want::Fetch { file, .. } | Want::Again { file, .. } => match files.get(&file.to_string()) {
            Some(bytes) => refresh.feed(bytes).and_then(|()| refresh.end().map(drop)),
            None => refresh.missing(),
        },
        Want::Persist(_) => {
            refresh.persisted();
            Ok(())
        }
        want => panic!("{want:?}"),
    }
}
