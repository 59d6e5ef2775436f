//! A request for targets of megabytes, in a process that may not have much memory.

use std::fs;

use serde_json::{Map, json};
use tuffet_keys::Role;
use tuffet_keys::canonical;
use tuffet_keys::key::SigningKey;
use tuffet_keys::passphrase::Source;
use tuffet_keys::request::Request;
use tuffet_keys::uri::KeyUri;

use crate::delegated::header;
use crate::support::*;

/// KiB of address space: what the program itself takes, and three times the payload. As a value it takes nine times.
const MEMORY: u32 = 80 * 1024;

#[test]
fn large_request_is_merged_and_finished_in_little_memory() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.first_root();
    let targets: Map<_, _> = (0..100_000)
        .map(|number| {
            let target = json!({ "hashes": { "sha256": format!("{number:064x}") }, "length": number });
            (format!("acme/board-{number:06}/versions/1.2.3/firmware.bin"), target)
        })
        .collect();
    let payload = canonical::signed_bytes(&header(1, json!({ "targets": targets }))).unwrap();
    assert!(payload.len() > 14_000_000, "{}", payload.len());
    let drafted =
        Request::from_payload(Role::Targets, payload.clone(), &[room.read("1.root.json")], &[]).unwrap();
    for name in ["x", "y"] {
        let uri = KeyUri::parse(room.path(&format!("{name}.pem")).as_os_str()).unwrap();
        let mut source = Source::from_options(None, None, None);
        let mut copy = drafted.clone();
        copy.sign(&SigningKey::open_danger_unencrypted(&uri, &mut source).unwrap()).unwrap();
        copy.create(&room.path(name)).unwrap();
    }
    // Of somebody who only collects signatures: a holder takes over what was finished, and reads it for that.
    let limited = |arguments: &str| {
        let script = format!("ulimit -v {MEMORY}; exec '{BINARY}' --now {NOW} --state none {arguments}");
        let output = room.command("sh").args(["-c", &script]).output().unwrap();
        succeeded(&output, &[arguments])
    };
    limited("merge x y --out y");
    limited("finish y --out 1.targets.json");
    let file = fs::read(room.path("1.targets.json")).unwrap();
    let at = file.len() - payload.len() - 1;
    assert!(file[..at].ends_with(b",\"signed\":") && file[at..file.len() - 1] == payload, "other bytes");

    // What it would take as a value it has not got: the limit is one.
    let script = format!("ulimit -v {MEMORY}; exec '{BINARY}' --now {NOW} --state none review x");
    let output = room.command("sh").args(["-c", &script]).output().unwrap();
    assert!(!output.status.success());
}
