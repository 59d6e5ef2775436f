//! What somebody may try on a holder: with requests, files, sticks and half-written directories.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tuffet_keys::Role;
use tuffet_keys::request::Request;

use crate::repository::{Holders, days};
use crate::support::*;

fn targets(version: u32) -> Value {
    json!({
        "_type": "targets", "version": version, "spec_version": "1.0.34",
        "issued": "2026-11-20T13:14:15Z", "expires": "2027-05-22T13:14:15Z", "targets": {}
    })
}

fn request(room: &Room, roots: &[&str], signed: &Value, out: &str) {
    let roots: Vec<Vec<u8>> = roots.iter().map(|root| room.read(root)).collect();
    let role = Role::from_name(signed["_type"].as_str().unwrap()).unwrap();
    Request::draft(role, signed, &roots).unwrap().write(&room.path(out)).unwrap();
}

/// Signs with anybody's state.
fn finished(room: &Room, request: &str, keys: &[&str], out: &str) {
    let state = tempfile::tempdir().unwrap();
    let root1 = room.path("1.root.json");
    let mut state_args = vec!["--state", state.path().to_str().unwrap()];
    if root1.exists() {
        let digest = digest(room);
        let mut trust = state_args.clone();
        trust.extend(["trust", "1.root.json", "--digest", &digest]);
        room.ok(&trust);
    }
    let mut review = state_args.clone();
    review.extend(["review", request, "--output", "json"]);
    let review: Value = serde_json::from_str(&room.ok(&review)).unwrap();
    let despite = review["warnings"].as_array().unwrap().len().to_string();
    let repository = review["repository"]["sha256"].as_str().unwrap();
    let copy = format!("{request}.copy");
    fs::copy(room.path(request), room.path(&copy)).unwrap();
    let mut sign = state_args.clone();
    sign.extend(["sign", &copy, "--danger-unencrypted", "--yes", "--despite", &despite]);
    sign.extend(["--digest", repository, "--key"]);
    sign.extend(keys);
    room.ok(&sign);
    let empty = tempfile::tempdir().unwrap();
    state_args = vec!["--state", empty.path().to_str().unwrap()];
    state_args.extend(["finish", &copy, "--out", out]);
    room.ok(&state_args);
}

fn digest(room: &Room) -> String {
    let signed = room.json("1.root.json")["signed"].clone();
    let bytes = tuffet_keys::canonical::signed_bytes(&signed).unwrap();
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn holders() -> Room {
    let room = Room::with_keys(&["a", "b", "c", "d", "x", "y", "z"]);
    room.first_root();
    room
}

fn warned(room: &Room, request: &str) -> Vec<String> {
    let review: Value = serde_json::from_str(&room.ok(&["review", request, "--output", "json"])).unwrap();
    review["warnings"].as_array().unwrap().iter().map(|w| w["name"].as_str().unwrap().to_owned()).collect()
}

/// Root 2 lowered the root threshold to 1, unseen by this holder; root 3 changes nothing.
#[test]
fn root_that_only_the_request_brings_is_compared_with_what_is_known() {
    let room = holders();
    room.ok(&["root", "next", "--from", "1.root.json", "--targets-threshold", "1", "--out", "2.request"]);
    finished(&room, "2.request", &["a.pem", "b.pem"], "2.root.json");
    room.ok(&["root", "next", "--from", "2.root.json", "--out", "3.request"]);
    let text = room.ok(&["review", "3.request"]);
    let names = warned(&room, "3.request");
    assert!(names.contains(&"threshold-lowered".to_owned()), "{names:?}\n{text}");
}

/// The same for targets: what root 2 says is never shown, and is remembered by signing.
#[test]
fn new_root_that_comes_with_targets_is_shown() {
    let room = holders();
    room.ok(&["root", "next", "--from", "1.root.json", "--targets-threshold", "1", "--out", "2.request"]);
    finished(&room, "2.request", &["a.pem", "b.pem"], "2.root.json");
    request(&room, &["1.root.json", "2.root.json"], &targets(1), "t.request");
    let text = room.ok(&["review", "t.request"]);
    let names = warned(&room, "t.request");
    let despite = names.len().to_string();
    room.ok(&["sign", "t.request", "--danger-unencrypted", "--yes", "--despite", &despite, "--key", "x.pem"]);
    assert!(!names.is_empty(), "root 2 lowered the threshold of targets, and nothing says so:\n{text}");
}

/// Root 2 was signed here with some bytes; another root 2 comes in the chain of root 3.
#[test]
fn root_of_the_chain_that_is_not_the_one_signed_here_is_warned_of() {
    let room = holders();
    room.ok(&["root", "next", "--from", "1.root.json", "--reason", "mine", "--out", "2.mine"]);
    room.sign("2.mine", "a", "2.mine.a");
    room.ok(&["root", "next", "--from", "1.root.json", "--reason", "theirs", "--out", "2.request"]);
    finished(&room, "2.request", &["c.pem", "b.pem"], "2.root.json");
    room.ok(&["root", "next", "--from", "2.root.json", "--out", "3.request"]);
    let names = warned(&room, "3.request");
    assert!(!names.is_empty(), "{names:?}");
}

/// Finishing for a holder who is behind by a root.
#[test]
fn finish_by_a_holder_who_is_a_root_behind_brings_him_up_to_date() {
    let room = holders();
    room.ok(&[
        "root",
        "next",
        "--from",
        "1.root.json",
        "--add-targets-key",
        "z.pub.pem",
        "--out",
        "2.request",
    ]);
    finished(&room, "2.request", &["a.pem", "b.pem"], "2.root.json");
    room.ok(&["root", "next", "--from", "2.root.json", "--out", "3.request"]);
    // Signed by others, finished here.
    let other = tempfile::tempdir().unwrap();
    let state = other.path().to_str().unwrap();
    room.ok(&["--state", state, "trust", "1.root.json", "--digest", &digest(&room)]);
    let review: Value =
        serde_json::from_str(&room.ok(&["--state", state, "review", "3.request", "--output", "json"]))
            .unwrap();
    let despite = review["warnings"].as_array().unwrap().len().to_string();
    room.ok(&[
        "--state",
        state,
        "sign",
        "3.request",
        "--danger-unencrypted",
        "--yes",
        "--despite",
        &despite,
        "--key",
        "a.pem",
        "b.pem",
    ]);
    room.ok(&["finish", "3.request", "--out", "3.root.json"]);
}

/// Targets of repository B, whose keys sign for A too, learned by a holder of both.
#[test]
fn files_of_a_repository_with_the_same_keys_are_not_taken_for_this_one_s() {
    let a = holders();
    // B: the same keys, another root 1.
    let b = Room::new();
    for name in ["a", "b", "c", "d", "x", "y", "z", "online"] {
        for end in ["pem", "pub.pem"] {
            let file = format!("{name}.{end}");
            fs::copy(a.path(&file), b.path(&file)).unwrap();
        }
    }
    b.ok(&[&DRAFT[..], &["--reason", "B", "--out", "1.request"]].concat());
    finished(&b, "1.request", &["a.pem", "b.pem"], "1.root.json");
    b.ok(&["root", "next", "--from", "1.root.json", "--reason", "B2", "--out", "2.request"]);
    finished(&b, "2.request", &["a.pem", "b.pem"], "2.root.json");
    request(&b, &["1.root.json", "2.root.json"], &targets(50), "t.request");
    finished(&b, "t.request", &["x.pem", "y.pem"], "targets.json");
    fs::create_dir(b.path("stick")).unwrap();
    for file in ["1.root.json", "2.root.json", "targets.json"] {
        fs::copy(b.path(file), b.path(&format!("stick/{file}"))).unwrap();
    }
    // A comes first when B's files are tried.
    if digest(&a) > digest(&b) {
        return files_of_a_repository_with_the_same_keys_are_not_taken_for_this_one_s();
    }
    // The holder trusts both; the stick of B is learned.
    let stick = b.path("stick");
    a.ok(&["trust", stick.join("1.root.json").to_str().unwrap(), "--digest", &digest(&b)]);
    a.ok(&["learn", stick.to_str().unwrap()]);
    // A's own next root and targets.
    a.ok(&["root", "next", "--from", "1.root.json", "--reason", "A2", "--out", "2.request"]);
    let out = a.keys(&["review", "2.request"]).output().unwrap();
    assert!(out.status.success(), "A's next root: {}", String::from_utf8_lossy(&out.stderr));
    request(&a, &["1.root.json"], &targets(1), "a.t");
    let out = a.keys(&["review", "a.t"]).output().unwrap();
    assert!(out.status.success(), "A's targets: {}", String::from_utf8_lossy(&out.stderr));
}

/// Keys were stolen and a version of 4294967294 published; the keys were replaced since.
#[test]
fn version_near_the_end_does_not_outlive_the_keys_that_signed_it() {
    let room = holders();
    request(&room, &["1.root.json"], &targets(4_294_967_294), "t.request");
    finished(&room, "t.request", &["x.pem", "y.pem"], "evil.targets.json");
    room.ok(&["learn", "evil.targets.json"]);
    room.ok(&[
        "root",
        "next",
        "--from",
        "1.root.json",
        "--replace-targets-key",
        "x.pub.pem",
        "z.pub.pem",
        "--replace-targets-key",
        "y.pub.pem",
        "d.pub.pem",
        "--out",
        "2.request",
    ]);
    finished(&room, "2.request", &["a.pem", "b.pem"], "2.root.json");
    room.ok(&["learn", "2.root.json"]);
    request(&room, &["1.root.json", "2.root.json"], &targets(2), "next");
    room.ok(&["review", "next"]);
}

/// A directory with root.json beside 1.root.json.
#[test]
fn directory_with_a_newest_root_beside_the_numbered_ones_is_learned() {
    let room = holders();
    room.ok(&["root", "next", "--from", "1.root.json", "--out", "2.request"]);
    finished(&room, "2.request", &["a.pem", "b.pem"], "2.root.json");
    room.ok(&["root", "next", "--from", "2.root.json", "--out", "3.request"]);
    finished(&room, "3.request", &["a.pem", "b.pem"], "3.root.json");
    fs::create_dir(room.path("repo")).unwrap();
    for (from, to) in [
        ("1.root.json", "1.root.json"),
        ("2.root.json", "2.root.json"),
        ("3.root.json", "3.root.json"),
        ("3.root.json", "root.json"),
    ] {
        fs::copy(room.path(from), room.path(&format!("repo/{to}"))).unwrap();
    }
    room.ok(&["learn", "repo"]);
}

/// A first root is signed; a half-made directory counts as agreed to.
#[test]
fn empty_directory_is_no_agreement() {
    let room = holders();
    request(&room, &["1.root.json"], &targets(1), "t");
    let state = tempfile::tempdir().unwrap();
    fs::create_dir(state.path().join(digest(&room))).unwrap();
    let out = room
        .keys(&[
            "--state",
            state.path().to_str().unwrap(),
            "sign",
            "t",
            "--danger-unencrypted",
            "--yes",
            "--key",
            "x.pem",
        ])
        .output()
        .unwrap();
    assert!(!out.status.success(), "signed: {}", String::from_utf8_lossy(&out.stdout));
}

/// Roots removed at the end of the state: rolled back silently.
#[test]
fn state_that_lost_a_root_is_damaged() {
    let room = holders();
    room.ok(&["root", "next", "--from", "1.root.json", "--out", "2.request"]);
    finished(&room, "2.request", &["a.pem", "b.pem"], "2.root.json");
    room.ok(&["root", "next", "--from", "2.root.json", "--out", "3.request"]);
    finished(&room, "3.request", &["a.pem", "b.pem"], "3.root.json");
    room.ok(&["learn", "2.root.json", "3.root.json"]);
    fs::remove_file(room.state().join(digest(&room)).join("2.root.json")).unwrap();
    request(&room, &["1.root.json"], &targets(1), "t");
    let out = room.keys(&["review", "t"]).output().unwrap();
    assert!(!out.status.success(), "the gap is taken for the end");
}

/// Root 1 in the directory of another repository.
#[test]
fn state_under_another_name_is_damaged() {
    let room = holders();
    let right = room.state().join(digest(&room));
    let wrong = room.state().join("00".repeat(32));
    fs::rename(&right, &wrong).unwrap();
    let out = room.keys(&["learn", "1.root.json"]).output().unwrap();
    assert_eq!(out.status.code(), Some(3), "not seen as damaged");
}

#[test]
fn pipe_in_the_place_of_a_file_is_passed_over() {
    let room = holders();
    fs::create_dir(room.path("stick")).unwrap();
    room.tool("mkfifo", &["stick/1.root.json"]);
    let mut command = room.command("timeout");
    command.args(["5", BINARY, "learn", "stick"]);
    let out = command.output().unwrap();
    assert_ne!(out.status.code(), Some(124), "it hangs");
}

#[test]
fn errors_about_a_request_do_not_steer_the_terminal() {
    let room = holders();
    request(&room, &["1.root.json"], &targets(1), "t");
    let good = room.json("t");
    let evil = "\u{1b}[2J\u{1b}]0;x\u{7}\nerror[K0]: fine";
    let mut shown = Vec::new();
    for change in 0..6 {
        let mut bad = good.clone();
        match change {
            0 => bad[evil] = json!(1),
            1 => bad["signatures"] = json!([{ "keyid": evil, "sig": "00" }]),
            2 => bad["role"] = json!(evil),
            3 => bad["version"] = json!(evil),
            4 => bad["signers"] = json!([{ "root": 1, "threshold": 1, "keyids": [], evil: 1 }]),
            _ => bad["_type"] = json!(evil),
        }
        fs::write(room.path("bad"), serde_json::to_vec(&bad).unwrap()).unwrap();
        for command in ["review", "status", "lint"] {
            let out = room.keys(&[command, "bad"]).output().unwrap();
            let text = [out.stdout, out.stderr].concat();
            if text.iter().any(|byte| *byte < 0x20 && *byte != b'\n')
                || String::from_utf8_lossy(&text).contains("\nerror[K0]")
            {
                shown.push(format!("{change} {command}: {:?}", String::from_utf8_lossy(&text)));
            }
        }
    }
    assert!(shown.is_empty(), "{shown:#?}");
}

#[test]
fn pin_in_any_spelling_is_not_repeated() {
    let room = holders();
    let mut shown = Vec::new();
    for uri in [
        "pkcs11:token=T?pin%2Dvalue=31415926",
        "pkcs11:token=T?PIN-VALUE=31415926",
        "pkcs11:token=T? pin-value=31415926",
        "pkcs11:token=T?pin=31415926",
        "pkcs11:token=T?pin-source=31415926",
        "pkcs11:token=T;pin=31415926",
        "pkcs11;token=T?pin-value=31415926",
    ] {
        let out = room.keys(&["show", uri]).output().unwrap();
        let text = String::from_utf8_lossy(&[out.stdout, out.stderr].concat()).into_owned();
        if text.contains("31415926") {
            shown.push(format!("{uri}: {text}"));
        }
    }
    assert!(shown.is_empty(), "{shown:#?}");
}

/// All files below a directory.
fn walk(path: &std::path::Path) -> Vec<String> {
    let mut all = Vec::new();
    for entry in fs::read_dir(path).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(walk(&path)) } else { all.push(path.display().to_string()) }
    }
    all
}

/// A version below what was signed here is no news.
#[test]
fn version_behind_what_was_signed_here_is_warned_of() {
    let room = holders();
    let mut seven = targets(7);
    seven["expires"] = json!("2027-06-22T13:14:15Z");
    request(&room, &["1.root.json"], &seven, "7");
    room.ok(&["sign", "7", "--danger-unencrypted", "--yes", "--despite", "1", "--key", "x.pem"]);
    request(&room, &["1.root.json"], &targets(1), "1");
    assert!(!warned(&room, "1").is_empty());
}

#[test]
fn signed_bytes_that_were_damaged_are_the_state_s_fault() {
    let room = holders();
    request(&room, &["1.root.json"], &targets(1), "t1");
    room.ok(&["sign", "t1", "--danger-unencrypted", "--yes", "--key", "x.pem"]);
    for path in walk(room.state()) {
        if path.ends_with("targets.1") {
            fs::write(path, b"").unwrap();
        }
    }
    request(&room, &["1.root.json"], &targets(2), "t2");
    let out = room.keys(&["review", "t2"]).output().unwrap();
    assert_eq!(out.status.code(), Some(3), "blames the request: {}", String::from_utf8_lossy(&out.stderr));
}

#[test]
fn damage_of_another_repository_does_not_stop_this_one() {
    let room = holders();
    let other = room.state().join("00".repeat(32));
    fs::create_dir(&other).unwrap();
    fs::write(other.join("1.root.json"), b"{").unwrap();
    request(&room, &["1.root.json"], &targets(1), "t");
    let out = room.keys(&["review", "t"]).output().unwrap();
    let learn = room.keys(&["learn", "1.root.json"]).output().unwrap();
    assert!(out.status.success() && learn.status.success());
}

/// Devices without a clock keep a timestamp's date of issue: root and targets have expired for them.
#[test]
fn timestamp_from_the_future_is_not_valid() {
    let holders = Holders::new();
    let mut parts = holders.clean();
    parts.timestamp.signed["issued"] = days(400);
    parts.timestamp.signed["expires"] = days(500);
    holders.publish(parts);
    let (exit, shown, _) = holders.run(&["status", "public"]);
    assert_eq!(exit, 1, "all is well, it says:\n{shown}");
}
