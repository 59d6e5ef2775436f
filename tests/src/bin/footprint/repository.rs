//! The two named repositories, the same bytes in every run: keys are digests of their names, dates are fixed, and
//! ECDSA signatures are deterministic (RFC 6979).

use std::fs;
use std::io;
use std::path::Path;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use tuffet_client::release::{Candidate, Entry, Image};
use tuffet_keys::canonical::published_bytes;
use tuffet_tests::simulator::{DAY, NOW, RELEASE, Signer, date, sha256, target};

/// Bits of a bin's number (TAP 15).
const BITS: u32 = 14;
/// Bins are called `bins-0000` to `bins-3fff`.
const PREFIX: &str = "bins";
/// Where the image is.
const IMAGE: &str = "lamp/rev-a/versions/1.1.0/lamp.bin";

/// Writes the metadata of `four-roles`: three root and three targets keys, two of which sign, one key each for
/// timestamp and snapshot; a release entry and its image in the targets file.
pub(crate) fn four_roles(directory: &Path) -> io::Result<()> {
    write(directory, [targets(release().into_iter().collect(), None)], Vec::new())
}

/// Writes the metadata of `16,384 bins`: the same keys, and every target in the bin that its path's digest names.
/// All bins are signed files, most of them empty.
pub(crate) fn bins(directory: &Path) -> io::Result<()> {
    let signer = Signer::new("bins");
    let succinct = json!({
        "bit_length": BITS, "keyids": [signer.keyid()], "name_prefix": PREFIX, "threshold": 1,
    });
    let delegations = json!({ "keys": { signer.keyid(): signer.key() }, "succinct_roles": succinct });
    let release = release();
    let bins = (0..1_u32 << BITS).map(|number| {
        let here = release.iter().filter(|(path, _)| bin(path) == number).cloned();
        let signed = signed("targets", 90, "targets", Value::Object(here.collect()));
        (format!("{PREFIX}-{number:04x}"), envelope(&signed, core::slice::from_ref(&signer)))
    });
    write(directory, [targets(Map::new(), Some(delegations))], bins.collect())
}

/// The bin of a path: the first bits of its SHA-256.
fn bin(path: &str) -> u32 {
    let digest = Sha256::digest(path);
    let first = digest.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
    first >> (32 - BITS)
}

/// The image of the release.
pub(crate) fn image() -> Vec<u8> {
    b"lamp".iter().copied().cycle().take(65_536).collect()
}

/// The candidate of the release entry.
fn candidate() -> Candidate {
    Candidate {
        sequence: 2,
        counter: 1,
        minimum: 0,
        version: "1.1.0".try_into().expect("a short version"),
        image: Image {
            path: IMAGE.try_into().expect("a short path"),
            length: 65_536,
            sha256: Sha256::digest(image()).into(),
        },
        rollout: None,
    }
}

/// The release entry, and its image.
fn release() -> [(String, Value); 2] {
    let custom = Entry(&[candidate()]).to_string();
    let mut entry = target(custom.as_bytes());
    entry["custom"] = serde_json::from_str(&custom).expect("an entry is JSON");
    [(RELEASE.to_owned(), entry), (IMAGE.to_owned(), target(&image()))]
}

fn targets(targets: Map<String, Value>, delegations: Option<Value>) -> Value {
    let mut signed = signed("targets", 90, "targets", Value::Object(targets));
    if let Some(delegations) = delegations {
        signed["delegations"] = delegations;
    }
    signed
}

/// Signs `targets`, and writes it with these bins below it, all that stands above it, and the image.
fn write(directory: &Path, [targets]: [Value; 1], bins: Vec<(String, Vec<u8>)>) -> io::Result<()> {
    let signers = |names: &[&str]| names.iter().map(|name| Signer::new(name)).collect::<Vec<_>>();
    let root_keys = signers(&["root-a", "root-b", "root-c"]);
    let targets_keys = signers(&["release-a", "release-b", "release-c"]);
    let (timestamp_key, snapshot_key) = (signers(&["timestamp"]), signers(&["snapshot"]));

    let role = |signers: &[Signer], threshold: u32| {
        let mut keyids: Vec<&str> = signers.iter().map(Signer::keyid).collect();
        keyids.sort_unstable();
        json!({ "keyids": keyids, "threshold": threshold })
    };
    let all = root_keys.iter().chain(&targets_keys).chain(&timestamp_key).chain(&snapshot_key);
    let keys: Map<String, Value> = all.map(|signer| (signer.keyid().to_owned(), signer.key())).collect();
    let roles = json!({
        "root": role(&root_keys, 2), "snapshot": role(&snapshot_key, 1),
        "targets": role(&targets_keys, 2), "timestamp": role(&timestamp_key, 1),
    });
    let mut root = signed("root", 365, "keys", Value::Object(keys));
    root["roles"] = roles;
    root["consistent_snapshot"] = json!(true);

    let mut listed = Map::new();
    let mut list = |name: &str, bytes: Vec<u8>| {
        listed.insert(format!("{name}.json"), link(&bytes));
        fs::write(directory.join(format!("1.{name}.json")), bytes)
    };
    for (name, bytes) in bins {
        list(&name, bytes)?;
    }
    list("targets", envelope(&targets, &targets_keys[..2]))?;
    let served = directory.join(candidate().image.url_path().to_string());
    fs::create_dir_all(served.parent().unwrap_or(directory)).and_then(|()| fs::write(&served, image()))?;
    let snapshot = envelope(&signed("snapshot", 7, "meta", Value::Object(listed)), &snapshot_key);
    let meta = json!({ "snapshot.json": link(&snapshot) });
    fs::write(directory.join("1.root.json"), envelope(&root, &root_keys[..2]))?;
    fs::write(directory.join("1.snapshot.json"), snapshot)?;
    fs::write(
        directory.join("timestamp.json"),
        envelope(&signed("timestamp", 1, "meta", meta), &timestamp_key),
    )
}

fn signed(role: &str, days: u64, member: &str, content: Value) -> Value {
    json!({
        "_type": role, "expires": date(NOW + days * DAY), "issued": date(NOW - DAY), member: content,
        "spec_version": "1.0.34", "version": 1,
    })
}

fn envelope(signed: &Value, signers: &[Signer]) -> Vec<u8> {
    let mut signatures: Vec<Value> = signers.iter().map(|signer| signer.sign(signed)).collect();
    signatures.sort_by_key(|signature| signature["keyid"].to_string());
    let envelope = json!({ "signatures": signatures, "signed": signed });
    published_bytes(&envelope).expect("all of it is canonical JSON")
}

fn link(bytes: &[u8]) -> Value {
    json!({ "hashes": { "sha256": sha256(bytes) }, "length": bytes.len(), "version": 1 })
}
