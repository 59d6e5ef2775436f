//! What must hold of any bytes at all, as plain functions that a fuzzer can call, and the seeds to start it from.
//!
//! Each takes its input apart itself, and panics if the client does, if it trusts what it should not, if a refusal
//! leaves a trace, or if it does not come to an end.

use std::sync::OnceLock;

use serde_json::{Value, json};
use tuffet_client::limits::DEVICE;
use tuffet_client::{
    Clock, Crypto, Ended, Entry, Error, Floors, Goal, P256, Plan, Refresh, Role, Root, SOFTWARE, Trusted,
    Want,
};

use crate::expect::{DEVICE_1, LAMP, lamp, plan, step, strip_links};
use crate::simulator::{
    DAY, Files, NOW, RELEASE, ROOT_KEYS, Repository, Subject, TARGETS_KEYS, drive, image, ramp, root, sha256,
};

/// Takes any signature for a good one, so that what lies behind the check is reached by files that nobody signed.
const CREDULOUS: Crypto = Crypto { p256: P256 { verify: |_, _, _| true, ..SOFTWARE.p256 }, ..SOFTWARE };

/// Files that one cycle asks for at the most: 64 roots and the one that is not there, a timestamp twice, a snapshot,
/// and in each of two searches eight roles, each with the snapshot again, its file, its keys and the way back.
const MOST_REQUESTS: usize = 64 + 1 + 2 + 1 + 2 * 4 * (8 + 1);

/// A repository, and a device that trusts its first root.
struct World {
    files: Files,
    trusted: Trusted,
}

/// The worlds of these functions. No link states a length or a hash, so that files are read to the end.
fn worlds() -> &'static [World; 4] {
    static WORLDS: OnceLock<[World; 4]> = OnceLock::new();
    WORLDS.get_or_init(|| {
        let mut flat = Repository::default();
        flat.release(3, "1.2.0").rollout = Some(ramp(0, 10));
        let mut chain = lamp();
        chain.move_back("lamp");
        chain.delegate("lamp", "rev-a", &["rev-a"], &json!({ "paths": LAMP, "terminating": true }));
        chain.delegate("lamp", "rev-b", &["rev-b"], &json!({ "paths": LAMP }));
        chain.move_to("rev-a");
        let mut bins = Repository::default();
        bins.delegate_to_bins(4, "bin", "bins");
        bins.sort_into_bins(4, "bin");
        [flat, lamp(), chain, bins].map(|mut repository| {
            let trusted = Subject::new(&repository).trusted();
            let next = root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]);
            repository.rotate(next, &ROOT_KEYS[..2]);
            let repository =
                repository.signed(Role::Timestamp, strip_links).signed(Role::Snapshot, strip_links);
            World { files: repository.files(), trusted }
        })
    })
}

/// What is trusted, to be compared.
fn state(trusted: &Trusted<[u8]>) -> (Option<Root>, Floors) {
    (trusted.root().to_size(), trusted.floors().clone())
}

/// The name of the wanted file, if one is wanted.
fn wanted(refresh: &Refresh<'_>) -> Option<String> {
    match refresh.want() {
        Want::Fetch { file, .. } | Want::Again { file, .. } => Some(file.to_string()),
        _ => None,
    }
}

/// Feeds a file. If it is refused, nothing came of it, and it is still wanted.
fn feed(refresh: &mut Refresh<'_>, bytes: &[u8], chunk: usize) -> Result<Ended, Error> {
    let (before, name) = (state(refresh.trusted()), wanted(refresh));
    let fed = bytes.chunks(chunk).try_for_each(|chunk| refresh.feed(chunk)).and_then(|()| refresh.end());
    if fed.is_err() {
        assert_eq!(state(refresh.trusted()), before, "a refused file left a trace");
        assert_eq!(wanted(refresh), name, "a refused file is no longer wanted");
    }
    fed
}

/// Any bytes in the place of one file, of which all before it were good.
///
/// The first byte says whose: one of `rtsgd` for root, timestamp, snapshot, targets and a delegated role; as a
/// capital, of a device that believes any signature. The second is the size of chunks.
pub fn one_role_file(data: &[u8]) {
    let _ = role_file_ended(data);
}

/// The same, and what became of the file; `None` if nobody's file was meant.
#[must_use]
pub fn role_file_ended(data: &[u8]) -> Option<Result<Ended, Error>> {
    let (&[letter, chunk], file) = data.split_first_chunk::<2>()?;
    let role = match letter.to_ascii_lowercase() {
        b'r' => Role::Root,
        b't' => Role::Timestamp,
        b's' => Role::Snapshot,
        b'g' => Role::Targets,
        b'd' => Role::Delegated,
        _ => return None,
    };
    let crypto = if letter.is_ascii_uppercase() { &CREDULOUS } else { &SOFTWARE };
    let world = &worlds()[1];
    let read = |chunk| {
        let mut trusted = world.trusted.clone();
        let mut memory = [0; DEVICE.memory()];
        let mut refresh =
            Refresh::new(Plan { crypto, ..plan() }, &mut trusted, &mut memory).expect("good names");
        while !matches!(refresh.want(), Want::Fetch { file, .. } if file.role == role) {
            step(&mut refresh, &world.files).expect("the world is good");
        }
        let before: Root = refresh.trusted().root().to_size().expect("room as large as before");
        let ended = feed(&mut refresh, file, chunk);
        let after = (wanted(&refresh), state(refresh.trusted()));
        if let (Err(_), Some(name)) = (ended, &after.0) {
            assert_eq!(feed(&mut refresh, &world.files[name], chunk), Ok(Ended::Trusted), "the right file");
        }
        (ended, after, before)
    };
    let (ended, after, before) = read(usize::MAX);
    // A file that is too long may have another fault in a part that was read, or may not.
    if file.len() <= 16 * 1024 {
        let cut = read(usize::from(chunk).max(1));
        assert_eq!(cut, (ended, after, before.clone()), "chunks make a difference");
    }
    // Read in one piece, with less in mind, it is good if it was.
    if role != Role::Delegated {
        let trusted = Trusted::restore(before, Floors::default());
        let accepted = trusted.accepts_file(crypto, &DEVICE, &mut [0; DEVICE.memory()], role, file);
        assert!(accepted.is_ok() || ended != Ok(Ended::Trusted), "{accepted:?}");
    }
    Some(ended)
}

/// One change to the files of a repository, of the five bytes that say which.
fn mutate(files: &mut Files, &[file, high, low, kind, byte]: &[u8; 5]) {
    let names: Vec<String> = files.keys().cloned().collect();
    let name = &names[usize::from(file) % names.len()];
    let bytes = files.get_mut(name).expect("one of the names");
    if bytes.is_empty() {
        return;
    }
    let at = usize::from(u16::from_be_bytes([high, low])) % bytes.len();
    match kind % 8 {
        0 => bytes[at] = byte,
        1 => bytes.insert(at, byte),
        2 => drop(bytes.remove(at)),
        3 => bytes.truncate(at),
        4 => {
            let end = (at + usize::from(byte)).min(bytes.len());
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        5 => {
            let other = files[&names[usize::from(byte) % names.len()]].clone();
            files.insert(name.clone(), other);
        }
        6 => drop(files.remove(name)),
        // A digit for a digit: versions, thresholds, dates and lengths.
        _ => {
            if let Some(digit) = bytes[at..].iter_mut().find(|digit| digit.is_ascii_digit()) {
                *digit = b'0' + byte % 10;
            }
        }
    }
}

/// A whole cycle over a repository with any changes.
///
/// The first byte says which repository, goal, entry and crypto; the second is the size of chunks; the third how
/// many files come before the power fails. Five more for each change.
pub fn whole_refresh(data: &[u8]) {
    let Some((&[how, chunk, fuel], changes)) = data.split_first_chunk::<3>() else { return };
    let world = &worlds()[usize::from(how & 3)];
    let entry = [Entry::Refresh, Entry::Poll, Entry::Offline, Entry::Refresh][usize::from(how >> 2 & 3)];
    let release = Goal::Release(DEVICE_1);
    let goal = [release, release, Goal::Target(RELEASE), Goal::Metadata][usize::from(how >> 4 & 3)];
    let clock = if how & 0x40 == 0 { Clock::At(NOW) } else { Clock::Unknown };
    let crypto = if how & 0x80 == 0 { &SOFTWARE } else { &CREDULOUS };
    let mut files = world.files.clone();
    changes.as_chunks().0.iter().for_each(|change| mutate(&mut files, change));

    let mut trusted = world.trusted.clone();
    let mut memory = [0; DEVICE.memory()];
    let plan = Plan { crypto, limits: &DEVICE, goal, entry, clock, kept: None };
    let mut refresh = Refresh::new(plan, &mut trusted, &mut memory).expect("good names");
    let mut requests = 0;
    while requests < usize::from(fuel) {
        if matches!(refresh.want(), Want::Persist(_)) {
            refresh.persisted();
            continue;
        }
        let Some(name) = wanted(&refresh) else { break };
        requests += 1;
        assert!(requests <= MOST_REQUESTS, "the cycle does not end");
        let fed = match files.get(&name) {
            Some(bytes) => feed(&mut refresh, bytes, usize::from(chunk).max(1)).map(drop),
            None => refresh.missing(),
        };
        if fed.is_err() {
            // Another mirror has the right file, or nobody has.
            let Some(good) = world.files.get(&name) else { break };
            let fed = feed(&mut refresh, good, usize::MAX);
            // It is right, unless files that nobody signed were believed before.
            assert!(fed.is_ok() || how & 0x80 != 0, "{name}: {fed:?}");
            if fed.is_err() {
                break;
            }
        }
    }
    // Whatever it was, who checks signatures is none the worse.
    if how & 0x80 == 0 {
        let mut requests = Vec::new();
        let cycle = |trusted: &mut Trusted, requests: &mut Vec<String>| {
            let mut memory = [0; DEVICE.memory()];
            let mut refresh = Refresh::new(self::plan(), trusted, &mut memory).expect("good names");
            drive(&mut refresh, &world.files, usize::MAX, requests, |_, _| true)
        };
        let untouched = cycle(&mut world.trusted.clone(), &mut Vec::new());
        assert_eq!(cycle(&mut trusted, &mut requests), untouched, "{requests:?}");
    }
}

/// Seeds of [`one_role_file`]: a file of each role and form, behind the two bytes that say which.
#[must_use]
pub fn role_file_seeds() -> Files {
    let mut seeds = Files::new();
    let mut seed = |name: &str, head: &[u8; 2], file: &[u8]| {
        seeds.insert(name.to_owned(), [head.as_slice(), file].concat());
    };
    let [flat, product, chain, bins] = worlds();
    seed("root", b"r9", &product.files["2.root.json"]);
    seed("timestamp", b"t9", &product.files["timestamp.json"]);
    seed("snapshot", b"s9", &product.files["1.snapshot.json"]);
    seed("snapshot-of-bins", b"S9", &bins.files["1.snapshot.json"]);
    seed("targets", b"G9", &flat.files["1.targets.json"]);
    seed("targets-with-delegations", b"g9", &product.files["1.targets.json"]);
    seed("targets-with-bins", b"G9", &bins.files["1.targets.json"]);
    seed("delegated", b"d9", &product.files["1.lamp.json"]);
    seed("delegated-with-delegations", b"D9", &chain.files["1.lamp.json"]);
    let halts = json!([sha256(&image("1.1.0")), sha256(&image("1.0.0"))]);
    let with_halts = Repository::default()
        .signed(Role::Timestamp, strip_links)
        .signed(Role::Timestamp, move |signed| signed["halt"] = halts.clone());
    seed("timestamp-with-halts", b"t9", &with_halts.files()["timestamp.json"]);
    let pretty: Value = serde_json::from_slice(&product.files["timestamp.json"]).expect("a file is JSON");
    seed("timestamp-pretty", b"t9", &serde_json::to_vec_pretty(&pretty).expect("JSON is JSON"));
    let odd = json!({ "a": [1, { "b": "x\u{1}\\\"\u{e4}" }], "n": null, "t": true, "z": -5 });
    let odd = Repository::default()
        .signed(Role::Timestamp, strip_links)
        .signed(Role::Timestamp, move |signed| signed["odd"] = odd.clone());
    seed("timestamp-odd", b"t9", &odd.files()["timestamp.json"]);
    let mut late = lamp();
    late.expires.insert("targets", NOW + DAY);
    seed("delegated-of-another-day", b"D9", &late.files()["1.lamp.json"]);
    seeds
}

/// Seeds of [`whole_refresh`].
#[must_use]
pub fn refresh_seeds() -> Files {
    let seeds: [(&str, &[u8]); 8] = [
        ("flat", &[0x00, 64, 255]),
        ("product", &[0x01, 1, 255]),
        ("chain-by-poll", &[0x06, 255, 255]),
        ("bins-offline", &[0x0B, 7, 255]),
        ("target-cut-short", &[0x23, 64, 4]),
        ("metadata-without-a-clock", &[0x70, 64, 255]),
        ("credulous-with-a-digit-changed", &[0x81, 64, 255, 4, 1, 0, 7, 9]),
        ("files-exchanged", &[0x02, 64, 255, 3, 0, 0, 5, 2, 5, 0, 9, 0, 7]),
    ];
    seeds.into_iter().map(|(name, seed)| (name.to_owned(), seed.to_vec())).collect()
}
