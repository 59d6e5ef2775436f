//! The vectors that `docs/format.md` publishes, and that the page does not lag behind the code.

use tuffet_client::limits::{self, DEVICE};
use tuffet_client::release::{Candidate, Entry, Image, Rollout, read_entry};
use tuffet_client::time::{Date, parse};
use tuffet_tests::simulator::{RELEASE, Repository, sha256};

const PAGE: &str = include_str!("../../docs/format.md");

/// The cells of a table row, without the code marks.
fn cells(row: &str) -> Vec<String> {
    row.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect()
}

fn hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn rollout_vectors_of_the_page_are_what_the_client_computes() {
    let rows = PAGE.lines().skip_while(|line| !line.starts_with("| salt |")).skip(2);
    let mut counted = 0;
    for row in rows.take_while(|line| line.starts_with('|')) {
        let [salt, id, start, end, bucket, turn] = cells(row).try_into().unwrap();
        let date = |text: &str| parse(text.as_bytes()).unwrap();
        let rollout = Rollout { start: date(&start), end: date(&end), salt: hex(&salt).try_into().unwrap() };
        assert_eq!(format!("{:08x}", rollout.bucket(&hex(&id))), bucket, "{row}");
        assert_eq!(Date(rollout.turn(&hex(&id))).to_string(), turn, "{row}");
        counted += 1;
    }
    assert_eq!(counted, 5);
}

#[test]
fn turn_is_the_first_second_at_which_the_formula_holds() {
    for (start, end) in [(1_000, 1_000), (1_000, 1_001), (1_000, 1_007), (1_000, 5_000)] {
        for id in 0..50_u8 {
            let rollout = Rollout { start, end, salt: [7; 16] };
            let bucket = u64::from(rollout.bucket(&[id]));
            let eligible = |t: u64| t >= end || (t >= start && bucket * (end - start) < (t - start) << 32);
            assert_eq!((0..).find(|t| eligible(*t)), Some(rollout.turn(&[id])), "{start} {end} {id}");
        }
    }
}

#[test]
fn limits_of_the_page_are_those_of_the_client() {
    let kib = |bytes: u32| format!("{} KiB", bytes / 1024);
    let mib = |bytes: u32| format!("{} MiB", bytes / 1024 / 1024);
    for (row, limit) in [
        ("keys in a root; keys that are held of a role's delegations", DEVICE.keys.to_string()),
        ("signatures in a file", DEVICE.signatures.to_string()),
        ("objects and arrays within each other", limits::DEPTH.to_string()),
        (
            "a key, or a string that must be read, with the keys on the way to it",
            format!("{} bytes", DEVICE.text),
        ),
        ("delegations below each other", (limits::CHAIN - 1).to_string()),
        ("delegated roles that one search visits", DEVICE.roles.to_string()),
        (
            "their names together, with one byte for each and eight for `targets`",
            format!("{} bytes", DEVICE.names),
        ),
        (
            &format!(
                "delegated roles that are tracked, each by a name of at most {} bytes",
                limits::TRACKED_NAME
            ),
            limits::TRACKED.to_string(),
        ),
        ("images that a timestamp halts", limits::HALTS.to_string()),
        ("candidates in a release entry", limits::CANDIDATES.to_string()),
        ("root file", kib(DEVICE.root_file)),
        ("timestamp file", kib(DEVICE.timestamp_file)),
        (
            "snapshot, targets file whose length is not stated",
            format!("{}, {}", mib(DEVICE.snapshot_file), mib(DEVICE.targets_file)),
        ),
        ("roots walked in one cycle", DEVICE.roots.to_string()),
    ] {
        assert!(PAGE.contains(&format!("| {row} | {limit} |")), "{row}: {limit}");
    }
    assert!(PAGE.contains(&format!("at most {} printable ASCII", limits::PATH)));
    assert!(PAGE.contains(&format!("1 to {} printable ASCII", limits::VERSION_TEXT)));
    assert!(PAGE.contains(&format!("[a-z0-9][a-z0-9._-]{{0,{}}}", limits::NAME - 1)));
}

#[test]
fn bin_of_the_page_is_that_of_the_path() {
    let (digest, bin) = (sha256(RELEASE.as_bytes()), Repository::bin(10, "bin", RELEASE));
    assert!(PAGE.contains(&format!("`{RELEASE}` (SHA-256 `{}…`) lies in `{bin}`", &digest[..8])), "{bin}");
}

#[test]
fn release_entry_that_is_written_is_read_back() {
    let candidate = |sequence, rollout| Candidate {
        sequence,
        counter: 3,
        minimum: 1,
        version: "1.4.0 (spring)".try_into().unwrap(),
        image: Image {
            path: "lamp/rev-a/versions/1.4.0/lamp.bin".try_into().unwrap(),
            length: 9,
            sha256: [0xA5; 32],
        },
        rollout,
    };
    let ramp = Rollout { start: 1_795_348_800, end: 1_796_212_800, salt: [0x0F; 16] };
    let candidates = [candidate(7, Some(ramp)), candidate(2, None)];
    let text = Entry(&candidates).to_string();
    assert_eq!(read_entry(text.as_bytes()).unwrap(), candidates);
    // It is canonical: a JSON library that sorts keys writes the same text.
    let value: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value.to_string(), text);
}

#[test]
fn image_is_served_under_its_digest() {
    let image = |path: &str| Image { path: path.try_into().unwrap(), length: 1, sha256: [0xAB; 32] };
    let hash = "ab".repeat(32);
    assert_eq!(image("a/b/file.bin").url_path().to_string(), format!("targets/a/b/{hash}.file.bin"));
    assert_eq!(image("file").url_path().to_string(), format!("targets/{hash}.file"));
}
