//! Roots from the draft to the device.

use std::fs;

use tuffet_client::limits::{DEVICE, ROOT};
use tuffet_client::{SOFTWARE, Trusted};

use crate::support::*;

#[test]
fn ceremony_with_three_encrypted_root_keys_finishes_with_two() {
    let room = Room::with_keys(&["x", "y"]);
    for name in ["a", "b", "c"] {
        let out = room.ok_with("correct horse", &["generate", "--out", &format!("{name}.pem")]);
        assert!(out.contains("private key, encrypted"), "{out}");
    }

    // The private key is one for openssl, and its public half is ours.
    assert!(room.read("a.pem").starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let public = room.tool("openssl", &["pkey", "-in", "a.pem", "-passin", "env:PASS", "-pubout"]);
    assert_eq!(public, room.read("a.pub.pem"));
    let structure = room.tool("openssl", &["asn1parse", "-in", "a.pem"]);
    let structure = String::from_utf8(structure).unwrap();
    for part in ["PBES2", "scrypt", "INTEGER           :4000", "aes-256-cbc"] {
        assert!(structure.contains(part), "{part} is not in {structure}");
    }

    let shown = room.draft("request.json");
    assert!(shown.starts_with("root version 1\n"), "{shown}");
    assert!(shown.contains("expires    2027-11-22T13:14:15Z (in 365 days)\n"), "{shown}");
    assert!(shown.contains("root: 2 of 3 keys must sign\n"), "{shown}");
    assert!(shown.contains("targets: 2 of 2 keys must sign\n"), "{shown}");
    let unbroken = shown.split_whitespace().collect::<Vec<_>>().join(" ");
    for name in ["a", "b", "c", "x", "y"] {
        let key = room.ok(&["show", &format!("{name}.pub.pem")]);
        let fingerprint =
            key.lines().find_map(|line| line.trim().strip_prefix("fingerprint")).unwrap().trim();
        assert!(unbroken.contains(fingerprint), "{name} is not in {shown}");
    }

    // Each holder signs a copy of the request, in a run of his own.
    let digest = room.repository("request.json");
    let signed = room.ok_with(
        "correct horse",
        &["sign", "request.json", "--yes", "--digest", &digest, "--key", "a.pem", "--out", "of-a.json"],
    );
    assert!(signed.starts_with("root version 1\n"), "not reviewed: {signed}");
    assert!(
        signed.contains(&format!("signed root version 1 with key {}\n", keyid(&room, "a.pub.pem"))),
        "{signed}"
    );
    room.ok_with("correct horse", &["sign", "request.json", "--yes", "--key", "b.pem", "--out", "of-b.json"]);

    let short = |name: &str| keyid(&room, &format!("{name}.pub.pem"))[..16].to_owned();
    let mut missing = [short("b"), short("c")];
    missing.sort();
    let says = format!(
        "signed 1 of 2 by the keys of root 1: {}; missing 1 more of {}",
        short("a"),
        missing.join(", ")
    );
    room.refused(&["finish", "of-a.json", "--out", "1.root.json"], 117, &says);
    room.refused(
        &["finish", "request.json", "--out", "1.root.json"],
        117,
        "signed 0 of 2 by the keys of root 1: nobody",
    );
    // The same copy twice is no second signature.
    room.ok(&["merge", "of-a.json", "of-a.json", "--out", "twice.json"]);
    assert_eq!(room.read("twice.json"), room.read("of-a.json"));
    assert!(!room.path("1.root.json").exists());

    let merged = room.ok(&["merge", "of-a.json", "of-b.json", "--out", "both.json"]);
    assert!(merged.contains("root 1: 2 of 2 have signed: "), "{merged}");
    room.ok(&["merge", "of-b.json", "twice.json", "of-a.json", "--out", "other-way.json"]);
    assert_eq!(room.read("both.json"), room.read("other-way.json"));
    assert!(room.ok(&["review", "both.json"]).contains("signatures under root 1: 2, needed 2\n"));

    room.ok(&["finish", "both.json", "--out", "1.root.json"]);
    let file = room.read("1.root.json");
    Trusted::<[u8; ROOT]>::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &file).unwrap();

    // openssl verifies both signatures over the payload of the request.
    let payload = room.json("both.json")["payload"].as_str().unwrap().to_owned();
    fs::write(room.path("payload.b64"), payload).unwrap();
    let payload = room.tool("openssl", &["base64", "-d", "-A", "-in", "payload.b64"]);
    fs::write(room.path("payload"), &payload).unwrap();
    let signatures = room.json("1.root.json")["signatures"].as_array().unwrap().clone();
    assert_eq!(signatures.len(), 2);
    for name in ["a", "b"] {
        let keyid = keyid(&room, &format!("{name}.pub.pem"));
        let signature = signatures.iter().find(|signature| signature["keyid"] == keyid.as_str()).unwrap();
        fs::write(room.path("sig"), from_hex(signature["sig"].as_str().unwrap())).unwrap();
        let public = format!("{name}.pub.pem");
        room.tool("openssl", &["dgst", "-sha256", "-verify", &public, "-signature", "sig", "payload"]);
    }

    // Published and signed bytes differ in the newlines of the keys alone.
    let published = String::from_utf8(file).unwrap();
    let signed =
        published.split_once("\"signed\":").unwrap().1.strip_suffix('}').unwrap().replace("\\n", "\n");
    assert_eq!(signed.as_bytes(), payload);
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn rotation_of_one_root_key_needs_old_and_new_holders() {
    let room = Room::with_keys(&["a", "b", "c", "d", "x", "y"]);
    room.first_root();
    let a = keyid(&room, "a.pub.pem");
    let next =
        ["root", "next", "--from", "1.root.json", "--remove-root-key", &a, "--add-root-key", "d.pub.pem"];
    let shown = room.ok(&[&next[..], &["--expires", "2028-01-01", "--out", "2.request"]].concat());
    assert!(shown.contains("root version 2\n"), "{shown}");
    assert!(shown.contains("expires    2028-01-01T00:00:00Z (in 404 days)\n"), "{shown}");
    assert!(shown.contains("signatures under root 1: 0, needed 2\n"), "{shown}");
    assert!(shown.contains("signatures under root 2: 0, needed 2\n"), "{shown}");

    room.sign("2.request", "a", "2.a");
    let signed = room.sign("2.a", "b", "2.ab");
    assert!(signed.contains("root 1: 2 of 2 have signed"), "{signed}");
    assert!(signed.contains("root 2: 1 of 2 have signed"), "{signed}");
    room.refused(&["finish", "2.ab", "--out", "2.root.json"], 117, "signed 1 of 2 by the keys of root 2");
    room.sign("2.request", "d", "2.d");
    room.ok(&["merge", "2.d", "2.ab", "--out", "2.abd"]);
    room.ok(&["finish", "2.abd", "--out", "2.root.json"]);

    let mut trusted: Trusted =
        Trusted::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &room.read("1.root.json"))
            .unwrap();
    trusted.next_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &room.read("2.root.json")).unwrap();

    // Root 3 finds 1.root.json beside 2.root.json; it may be named as well; without it there is no chain.
    let next =
        ["root", "next", "--from", "2.root.json", "--remove-root-key", "b.pub.pem", "--root-threshold", "1"];
    room.ok(&[&next[..], &["--out", "3.request"]].concat());
    room.ok(&[&next[..], &["--root-chain", "1.root.json", "--out", "3.same"]].concat());
    assert_eq!(room.read("3.request"), room.read("3.same"));
    room.refused(&[&next[..], &["--root-chain", "2.root.json", "--out", "3"]].concat(), 116, "at version 1");
    room.refused(&[&next[..], &["--remove-root-key", &a, "--out", "3"]].concat(), 207, &a);
    room.refused(&[&next[..], &["--add-root-key", "d.pub.pem", "--out", "3"]].concat(), 206, "d.pub.pem");
    let crowd = ["root", "next", "--from", "2.root.json", "--root-threshold", "4", "--out", "3"];
    room.refused(&crowd, 205, "root cannot have threshold 4, its number of keys is 3");
    fs::rename(room.path("1.root.json"), room.path("away")).unwrap();
    room.refused(&[&next[..], &["--out", "3"]].concat(), 301, "1.root.json");
    assert!(!room.path("3").exists());
}

#[test]
fn draft_that_makes_no_sense_is_refused() {
    let room = Room::with_keys(&["a"]);
    let draft = [
        "root",
        "draft",
        "--root-key",
        "a.pub.pem",
        "--root-threshold",
        "1",
        "--targets-key",
        "a.pub.pem",
        "--targets-threshold",
        "1",
        "--snapshot-key",
        "a.pub.pem",
        "--timestamp-key",
        "a.pub.pem",
        "--out",
        "r",
    ];
    room.refused(&[&draft[..], &["--expires", "2026-11-22"]].concat(), 210, "2026-11-22T00:00:00Z");
    room.refused(&[&draft[..], &["--root-key", "a.pub.pem"]].concat(), 206, "a.pub.pem");
    room.refused(&[&draft[..], &["--targets-key", "none"]].concat(), 301, "none");
    let default =
        ["root", "draft", "--root-key", "a.pub.pem", "--targets-key", "a.pub.pem", "--snapshot-key"];
    let default = [&default[..], &["a.pub.pem", "--timestamp-key", "a.pub.pem", "--out", "r"]].concat();
    room.refused(&default, 205, "root cannot have threshold 2, its number of keys is 1");
    assert_eq!(room.files(), ["a.pem", "a.pub.pem", "online.pem", "online.pub.pem"]);
}
