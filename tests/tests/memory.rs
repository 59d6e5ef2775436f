//! A refresh takes the memory that it was given, and no other, however large the repository is.

use allocation_counter::{AllocationInfo, measure};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tuffet_client::limits::DEVICE;
use tuffet_client::{
    Clock, Entry, Error, Goal, Kept, KeptSnapshot, Plan, Refresh, Rejected, Role, SOFTWARE, Trusted, Want,
};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

/// Targets in the large repository, beside those of the simulated device.
const TARGETS: usize = 100_000;
/// Roles in its snapshot: 2^14 bins.
const ROLES: usize = 16_384;

/// A file of which most is made while it is read.
struct Large {
    signatures: Vec<Value>,
    /// `signed`, before and behind what is made.
    head: String,
    tail: String,
    entries: usize,
    entry: fn(usize) -> String,
}

impl Large {
    /// So many entries at the front of a member of `signed`, signed again.
    fn new(file: &[u8], member: &str, entries: usize, entry: fn(usize) -> String, signers: &[&str]) -> Self {
        let envelope: Value = serde_json::from_slice(file).unwrap();
        let text = canonical(&envelope["signed"]);
        let member = format!(r#""{member}":{{"#);
        let at = text.find(&member).unwrap() + member.len();
        let (head, tail) = text.split_at(at);
        let (head, tail) = (head.to_owned(), tail.to_owned());
        let mut large = Large { signatures: Vec::new(), head, tail, entries, entry };
        let mut digest = Sha256::new();
        large.signed(&mut |chunk| digest.update(chunk));
        let digest = digest.finalize().into();
        large.signatures = signers.iter().map(|name| Signer::new(name).sign_digest(&digest)).collect();
        large
    }

    /// Hands out `signed`.
    fn signed(&self, take: &mut impl FnMut(&[u8])) {
        take(self.head.as_bytes());
        let mut chunk = String::new();
        for at in 0..self.entries {
            chunk += &(self.entry)(at);
            chunk.push(',');
            if at % 10 == 9 || at + 1 == self.entries {
                take(chunk.as_bytes());
                chunk.clear();
            }
        }
        take(self.tail.as_bytes());
    }

    /// Hands out the file.
    fn file(&self, mut take: impl FnMut(&[u8])) {
        take(format!(r#"{{"signatures":{},"signed":"#, canonical(&json!(self.signatures))).as_bytes());
        self.signed(&mut take);
        take(b"}");
    }

    /// What the metadata above say of it.
    fn link(&self) -> Value {
        let (mut digest, mut length) = (Sha256::new(), 0);
        self.file(|chunk| {
            digest.update(chunk);
            length += chunk.len();
        });
        let sha256 = tuffet_client::release::Hex(&digest.finalize()).to_string();
        json!({ "hashes": { "sha256": sha256 }, "length": length, "version": 1 })
    }
}

fn fan(at: usize) -> String {
    format!(r#""fan/rev-a/{at:06}.bin":{{"hashes":{{"sha256":"{at:064x}"}},"length":{at}}}"#)
}

fn bin(at: usize) -> String {
    format!(r#""bin-{at:04x}.json":{{"length":700,"version":1}}"#)
}

/// The simulated repository, with a hundred thousand more targets and 16,384 more roles.
struct World {
    small: Files,
    snapshot: Large,
    targets: Large,
}

impl World {
    /// `bumped`: the next day's timestamp and snapshot.
    fn new(bumped: bool) -> Self {
        let targets = Repository::default().files()["1.targets.json"].clone();
        let targets = Large::new(&targets, "targets", TARGETS, fan, &TARGETS_KEYS[..2]);
        let link = targets.link();
        let mut repository = Repository::default()
            .signed(Role::Snapshot, move |signed| signed["meta"]["targets.json"] = link.clone());
        let number = if bumped {
            repository.bump(&["timestamp", "snapshot"]);
            2
        } else {
            1
        };
        let snapshot = repository.files()[&format!("{number}.snapshot.json")].clone();
        let snapshot = Large::new(&snapshot, "meta", ROLES, bin, &["snapshot"]);
        let mut link = snapshot.link();
        link["version"] = json!(number);
        let repository =
            repository.signed(Role::Timestamp, move |signed| signed["meta"]["snapshot.json"] = link.clone());
        World { small: repository.files(), snapshot, targets }
    }

    fn feed(&self, name: &str, feed: &mut impl FnMut(&[u8])) -> bool {
        match name {
            "1.targets.json" => self.targets.file(feed),
            "1.snapshot.json" | "2.snapshot.json" => self.snapshot.file(feed),
            name => match self.small.get(name) {
                Some(bytes) => feed(bytes),
                None => return false,
            },
        }
        true
    }
}

/// Runs a cycle, and counts what it allocates: release or error, allocations, and bytes that were fed.
fn run(
    world: &World,
    trusted: &mut Trusted,
    memory: &mut [u8],
    kept: Option<&mut Kept<'_>>,
) -> (Result<u32, Error>, u64, usize) {
    let (mut allocations, mut fed) = (0, 0);
    let mut counted = |info: AllocationInfo| allocations += info.count_total;
    let goal = Goal::Release(DEVICE_1);
    let (crypto, limits, entry, clock) = (&SOFTWARE, &DEVICE, Entry::Refresh, Clock::At(NOW));
    let kept = kept.map(|kept| kept as &mut dyn KeptSnapshot);
    let plan = Plan { crypto, limits, goal, entry, clock, kept };
    let mut refresh = None;
    counted(measure(|| refresh = Some(Refresh::new(plan, trusted, memory).unwrap())));
    let mut refresh = refresh.unwrap();
    loop {
        let name = match refresh.want() {
            Want::Fetch { file, .. } | Want::Again { file, .. } => file.to_string(),
            Want::Persist(_) => {
                counted(measure(|| refresh.persisted()));
                continue;
            }
            Want::Install(release) => return (Ok(release.sequence), allocations, fed),
            want => panic!("{want:?}"),
        };
        let mut result = Ok(());
        let found = world.feed(&name, &mut |chunk| {
            fed += chunk.len();
            if result.is_ok() {
                counted(measure(|| result = refresh.feed(chunk)));
            }
        });
        counted(measure(|| {
            result = result.and_then(|()| if found { refresh.end().map(drop) } else { refresh.missing() });
        }));
        if let Err(error) = result {
            return (Err(error), allocations, fed);
        }
    }
}

#[test]
fn counter_of_allocations_counts_them() {
    assert_eq!(measure(|| drop(core::hint::black_box(vec![0_u8; 100]))).count_total, 1);
    assert_eq!(measure(|| ()).count_total, 0);
}

#[test]
fn refresh_over_a_large_repository_allocates_nothing_and_needs_no_more_memory() {
    let mut memory = [0; DEVICE.memory()];
    let fresh = || Subject::new(&Repository::default()).trusted();
    // In the memory that a small repository takes.
    accepted(&mut Subject::new(&Repository::default()), &Repository::default(), &FULL, Some(2));
    let mut world = World::new(false);
    let mut trusted = fresh();
    let (release, allocations, fed) = run(&world, &mut trusted, &mut memory, None);
    assert_eq!((release, allocations), (Ok(2), 0));
    assert!(fed > 11_000_000, "{fed} bytes");

    // The next day, beside the snapshot that was kept.
    let mut kept = Vec::new();
    world.snapshot.file(|chunk| kept.extend_from_slice(chunk));
    let next = World::new(true);
    let mut kept_memory = [0; 2 * DEVICE.text];
    let mut kept = Kept::new(&kept, &mut kept_memory);
    let (release, allocations, _) = run(&next, &mut trusted, &mut memory, Some(&mut kept));
    assert_eq!((release, allocations), (Ok(2), 0));
    assert_eq!(trusted.floors().snapshot_version(), Some(2));

    // A refusal at the very end costs no more.
    world.targets.signatures.pop();
    let link = world.targets.link();
    let repository = Repository::default()
        .signed(Role::Snapshot, move |signed| signed["meta"]["targets.json"] = link.clone());
    world.snapshot = Large::new(&repository.files()["1.snapshot.json"], "meta", ROLES, bin, &["snapshot"]);
    let link = world.snapshot.link();
    let repository = Repository::default()
        .signed(Role::Timestamp, move |signed| signed["meta"]["snapshot.json"] = link.clone());
    world.small = repository.files();
    let (refused, allocations, _) = run(&world, &mut fresh(), &mut memory, None);
    let unmet = Rejected::ThresholdNotMet { role: Role::Targets, valid: 1, threshold: 2 };
    assert_eq!((refused, allocations), (Err(unmet.into()), 0));
}
