//! Requests for delegated roles, from metadata that nobody signed to files that devices take.

use std::fs;

use serde_json::{Value, json};
use tuffet_keys::canonical;
use tuffet_keys::key::PublicKey;

use crate::support::*;

pub(crate) const PATH: &str = "lamp/rev-a/stable/notes";

pub(crate) fn header(version: u32, members: Value) -> Value {
    let mut signed = json!({
        "_type": "targets", "expires": "2027-05-22T13:14:15Z", "issued": "2026-11-20T13:14:15Z",
        "spec_version": "1.0.34", "version": version,
    });
    signed.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    signed
}

/// One delegation: its keys by the names of their files.
pub(crate) fn delegation(
    room: &Room,
    name: &str,
    keys: &[&str],
    threshold: u32,
    paths: &[&str],
) -> (Value, Value) {
    let keys = keys.iter().map(|key| PublicKey::read(&room.path(&format!("{key}.pub.pem"))).unwrap());
    let keys: serde_json::Map<String, Value> =
        keys.map(|key| (key.keyid().to_owned(), key.to_value())).collect();
    let keyids: Vec<&String> = keys.keys().collect();
    let role = json!({
        "keyids": keyids, "name": name, "paths": paths, "terminating": true, "threshold": threshold,
    });
    (json!(keys), role)
}

/// Top-level targets that delegate `lamp` to l, m and n, two of whom must sign.
pub(crate) fn targets(room: &Room, version: u32) -> Value {
    let (keys, role) = delegation(room, "lamp", &["l", "m", "n"], 2, &["lamp/*/*/*"]);
    header(version, json!({ "delegations": { "keys": keys, "roles": [role] }, "targets": {} }))
}

pub(crate) fn lamp(version: u32, path: &str) -> Value {
    let target = json!({ "hashes": { "sha256": "ab".repeat(32) }, "length": 9 });
    header(version, json!({ "targets": { path: target } }))
}

/// Writes metadata that nobody signed.
pub(crate) fn write(room: &Room, name: &str, signed: &Value) {
    let file = canonical::published_bytes(&json!({ "signatures": [], "signed": signed })).unwrap();
    fs::write(room.path(name), file).unwrap();
}

/// A repository in the room's directory, whose holder has verified root 1 and targets 1.
pub(crate) fn holders() -> Room {
    let room = Room::with_keys(&["a", "b", "c", "x", "y", "l", "m", "n"]);
    room.first_root();
    publish_targets(&room, &targets(&room, 1));
    room
}

pub(crate) fn publish_targets(room: &Room, signed: &Value) {
    write(room, "targets.json", signed);
    let version = signed["version"].clone();
    room.ok(&["request", "targets.json", "--repository", ".", "--out", "t.request"]);
    room.sign("t.request", "x", "t.x");
    room.sign("t.x", "y", "t.xy");
    room.ok(&["finish", "t.xy", "--out", &format!("{version}.targets.json")]);
    for name in ["targets.json", "t.request", "t.x", "t.xy"] {
        fs::remove_file(room.path(name)).unwrap();
    }
}

/// A request for `lamp`.
pub(crate) fn ask(room: &Room, signed: &Value, out: &str) -> String {
    write(room, "lamp.json", signed);
    room.ok(&["request", "lamp.json", "--role", "lamp", "--repository", ".", "--out", out])
}

pub(crate) fn warned(room: &Room, request: &str) -> Vec<String> {
    let review: Value = serde_json::from_str(&room.ok(&["review", request, "--output", "json"])).unwrap();
    review["warnings"].as_array().unwrap().iter().map(|it| it["name"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn delegated_role_is_asked_for_reviewed_signed_merged_and_finished() {
    let room = holders();
    let asked = ask(&room, &lamp(1, PATH), "request");
    assert!(asked.contains("\nlamp version 1\n") || asked.starts_with("lamp version 1\n"), "{asked}");
    assert!(asked.contains("delegated  by targets 1: paths lamp/*/*/*\n"), "{asked}");
    assert!(asked.contains("signatures under targets 1: 0, needed 2\n"), "{asked}");
    assert_eq!(warned(&room, "request"), [""; 0]);

    room.sign("request", "l", "of-l");
    room.sign("request", "n", "of-n");
    room.refused(
        &["finish", "of-l", "--out", "1.lamp.json"],
        117,
        "lamp version 1 is signed 1 of 2 by the keys of targets 1",
    );
    room.ok(&["merge", "of-l", "of-n", "--out", "both"]);
    room.ok(&["merge", "of-n", "of-l", "of-n", "--out", "other-way"]);
    assert_eq!(room.read("both"), room.read("other-way"));
    room.ok(&["finish", "both", "--out", "1.lamp.json"]);
    // A key of the role above is none of this one.
    room.refused(
        &["sign", "request", "--danger-unencrypted", "--yes", "--key", "x.pem"],
        111,
        &keyid(&room, "x.pub.pem"),
    );

    // The next version is compared with this one.
    ask(&room, &lamp(2, "lamp/rev-b/stable/notes"), "request.2");
    let text = room.ok(&["review", "request.2"]);
    assert!(text.contains("changes since version 1, which was verified here\n"), "{text}");
    assert!(
        text.contains("  - lamp/rev-a/stable/notes: ") && text.contains("  + lamp/rev-b/stable/notes: "),
        "{text}"
    );
    assert_eq!(warned(&room, "request.2"), [""; 0]);
    // An older one is not signed any more.
    ask(&room, &lamp(1, "lamp/rev-c/stable/notes"), "request.old");
    room.refused(&["review", "request.old"], 132, "other bytes of lamp 1");
}

#[test]
fn role_that_nobody_delegates_to_has_no_request() {
    let room = holders();
    write(&room, "door.json", &lamp(1, PATH));
    let ask = ["request", "door.json", "--repository", ".", "--out", "request"];
    room.refused(&[&ask[..], &["--role", "door"]].concat(), 161, "targets 1 does not delegate to door");
    room.refused(&[&ask[..], &["--role", "root"]].concat(), 209, "--role");
    // Without a name it is the top-level role, whose request says so.
    room.refused(&[&ask[..], &["--delegated-by", "1.targets.json"]].concat(), 209, "--role");
    // Of several files on the way the one at fault is named.
    let ask =
        ["request", "door.json", "--role", "lamp", "--repository", ".", "--out", "request", "--delegated-by"];
    let twice = [&ask[..], &["1.targets.json", "1.root.json"]].concat();
    room.refused(&twice, 162, "it is a file of root: 1.root.json");
    write(&room, "unsigned.json", &targets(&room, 1));
    room.refused(&[&ask[..], &["unsigned.json"]].concat(), 162, ": unsigned.json; give the targets files");
    assert!(!room.files().contains(&"request".to_owned()));
    // By the name of the file.
    fs::rename(room.path("door.json"), room.path("1.lamp.json")).unwrap();
    let shown = room.ok(&["request", "1.lamp.json", "--repository", ".", "--out", "request"]);
    assert!(shown.contains("lamp version 1\n"), "{shown}");
}

/// What a sender may put into a request that his victim is to sign for another role or under other keys.
#[test]
fn request_that_is_led_elsewhere_is_refused() {
    let room = holders();
    ask(&room, &lamp(1, PATH), "request");
    room.sign("request", "l", "of-l");
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut request = room.json("of-l");
        let before = request.clone();
        change(&mut request);
        assert_ne!(request, before);
        fs::write(room.path("changed"), serde_json::to_vec(&request).unwrap()).unwrap();
    };
    let refused = |code, says| room.refused(&["review", "changed"], code, says);
    changed(&|request| request["role"] = json!("door"));
    refused(161, "targets 1 does not delegate to door");
    changed(&|request| request["role"] = json!("targets"));
    refused(115, "`root_chain` contradicts");
    changed(&|request| request["delegated_by"] = json!([]));
    refused(115, "`role` contradicts");
    changed(&|request| request["delegated_by"][0]["role"] = json!("lamp"));
    refused(162, "the file of lamp does not lead");
    changed(&|request| request["signers"][0]["by"] = json!("root"));
    refused(115, "`signers` contradicts");
    // Targets that nobody signed, and delegate to whom the sender likes.
    let (keys, role) = delegation(&room, "lamp", &["c"], 1, &["*"]);
    write(
        &room,
        "forged.json",
        &header(2, json!({ "delegations": { "keys": keys, "roles": [role] }, "targets": {} })),
    );
    room.refused(
        &[
            "request",
            "lamp.json",
            "--role",
            "lamp",
            "--repository",
            ".",
            "--delegated-by",
            "forged.json",
            "--out",
            "r",
        ],
        162,
        "the file of targets does not lead to the delegated role",
    );
    let request = ["request", "1.targets.json", "--role", "lamp", "--repository", ".", "--out", "r"];
    room.refused(&request, 111, "may not sign this request");
}

#[test]
fn newer_delegation_that_a_request_brings_is_shown_and_warned_of() {
    let room = holders();
    let known = room.path("known");
    let known = known.to_str().unwrap();
    // This holder has seen targets 1; targets 2 come with the request alone, and let one key sign.
    let mut newer = targets(&room, 2);
    newer["delegations"]["roles"][0]["threshold"] = json!(1);
    room.tool("cp", &["-r", room.state().to_str().unwrap(), known]);
    publish_targets(&room, &newer);
    ask(&room, &lamp(1, PATH), "request");
    let review = room.ok(&["--state", known, "review", "request"]);
    assert!(review.contains("  ~ targets: delegated lamp threshold: 2 -> 1\n"), "{review}");
    assert!(
        review.contains("it brings targets 2, and targets 1 is the newest that was verified here"),
        "{review}"
    );
    assert!(review.contains("[delegation-not-seen-before]"), "{review}");
    // And the other way round: whoever has seen targets 2 signs nothing that is led there by targets 1.
    fs::rename(room.path("2.targets.json"), room.path("aside")).unwrap();
    fs::remove_file(room.path("lamp.json")).unwrap();
    ask(&room, &lamp(1, PATH), "request.old");
    room.refused(&["review", "request.old"], 132, "it is for targets 1, and targets 2 was verified here");
}

#[test]
fn each_unusual_thing_about_a_delegation_is_warned_of() {
    let room = holders();
    let usual = targets(&room, 2);
    let warns = |signed: &Value, expected: &[&str]| {
        write(&room, "targets.json", signed);
        let _ = fs::remove_file(room.path("t.request"));
        room.ok(&["request", "targets.json", "--repository", ".", "--out", "t.request"]);
        assert_eq!(warned(&room, "t.request"), expected, "{signed}");
    };
    warns(&usual, &[]);
    let with = |keys: &[&str], threshold: u32| {
        let mut signed = usual.clone();
        let (keys, role) = delegation(&room, "lamp", keys, threshold, &["lamp/*/*/*"]);
        signed["delegations"] = json!({ "keys": keys, "roles": [role] });
        signed
    };
    warns(&with(&["l", "m", "n"], 1), &["threshold-lowered", "threshold-one"]);
    warns(&with(&["l"], 2), &["threshold-out-of-reach"]);
    warns(
        &with(&["l", "m", "online"], 2),
        &["online-key-in-delegation", "online-key-in-delegation", "key-in-several-roles"],
    );
    warns(&with(&["l", "m", "x"], 2), &["key-in-several-roles"]);
    let mut two = usual.clone();
    let (_, role) = delegation(&room, "door", &["l", "m"], 2, &["door/*"]);
    two["delegations"]["roles"].as_array_mut().unwrap().push(role);
    warns(&two, &["key-in-several-roles", "key-in-several-roles"]);
    let keyid = usual["delegations"]["roles"][0]["keyids"][0].as_str().unwrap().to_owned();
    let mut gone = usual.clone();
    gone["delegations"]["keys"].as_object_mut().unwrap().remove(&keyid);
    warns(&gone, &["keyid-without-key"]);
    let mut useless = usual.clone();
    useless["delegations"]["keys"][&keyid]["keytype"] = json!("ed25519");
    warns(&useless, &["key-of-no-use"]);
    let mut twice = usual.clone();
    let label = "1".repeat(64);
    twice["delegations"]["keys"][&label] = usual["delegations"]["keys"][&keyid].clone();
    twice["delegations"]["roles"][0]["keyids"].as_array_mut().unwrap().push(json!(label));
    warns(&twice, &["key-under-two-ids"]);
    let mut renamed = usual.clone();
    let key = renamed["delegations"]["keys"].as_object_mut().unwrap().remove(&keyid).unwrap();
    renamed["delegations"]["keys"][&label] = key;
    renamed["delegations"]["roles"][0]["keyids"][0] = json!(label);
    warns(&renamed, &["keyid-of-its-own"]);

    // Bins, whose keys may be online: one is enough, and it must be there.
    let mut bins = usual.clone();
    let (keys, _) = delegation(&room, "", &["l"], 1, &[]);
    let keyid = keys.as_object().unwrap().keys().next().unwrap().clone();
    bins["delegations"] = json!({
        "keys": keys, "succinct_roles": { "bit_length": 2, "keyids": [keyid], "name_prefix": "bin", "threshold": 1 },
    });
    warns(&bins, &["delegation-gone"]);
    bins["delegations"]["keys"] = json!({});
    warns(&bins, &["delegation-gone", "threshold-out-of-reach", "keyid-without-key"]);
    let mut wide = usual.clone();
    wide["delegations"]["roles"][0]["paths"] = json!(["lamp/*/*/*", "*/*/*/*"]);
    warns(&wide, &["delegation-widened"]);
    wide["delegations"]["roles"][0]["paths"] = json!(["lamp/rev-a/*/*"]);
    warns(&wide, &["delegation-widened"]);

    // A delegated role that speaks of what is not its own.
    ask(&room, &lamp(1, "door/rev-a/stable/notes"), "request");
    assert_eq!(warned(&room, "request"), ["target-not-delegated"]);
}

#[test]
fn delegated_roles_are_learned_with_the_directory_and_dropped_with_their_keys() {
    let room = holders();
    ask(&room, &lamp(1, PATH), "request");
    room.sign("request", "l", "of-l");
    room.sign("of-l", "m", "of-lm");
    room.ok(&["finish", "of-lm", "--out", "1.lamp.json"]);
    let meta = json!({ "lamp.json": { "version": 1 }, "targets.json": { "version": 1 }, "nobody.json": { "version": 1 } });
    let mut snapshot = header(1, json!({ "meta": meta }));
    snapshot["_type"] = json!("snapshot");
    write(&room, "snapshot.json", &snapshot);
    room.ok(&["request", "snapshot.json", "--repository", ".", "--out", "s.request"]);
    room.sign("s.request", "online", "s.signed");
    room.ok(&["finish", "s.signed", "--out", "1.snapshot.json"]);
    fs::create_dir(room.path("public")).unwrap();
    for file in ["1.root.json", "1.targets.json", "1.snapshot.json", "1.lamp.json"] {
        fs::copy(room.path(file), room.path(&format!("public/{file}"))).unwrap();
    }
    // Nobody delegates to it, and no device looks at it.
    fs::copy(room.path("1.lamp.json"), room.path("public/1.nobody.json")).unwrap();
    let state = room.path("new-holder");
    let state = state.to_str().unwrap();
    let review: Value = serde_json::from_str(&room.ok(&["review", "request", "--output", "json"])).unwrap();
    let digest = review["repository"]["sha256"].as_str().unwrap();
    room.ok(&["--state", state, "trust", "1.root.json", "--digest", digest]);
    let learned = room.ok(&["--state", state, "learn", "public"]);
    assert!(learned.ends_with(&format!("lamp 1 of repository {}: verified\n", &digest[..16])), "{learned}");
    assert!(!learned.contains("nobody"), "{learned}");
    let again = room.ok(&["--state", state, "learn", "--role", "lamp", "1.lamp.json"]);
    assert_eq!(again, format!("lamp 1 of repository {}: known already\n", &digest[..16]));

    // Targets 2 give the role to others: what the old keys signed is no floor for them.
    let mut newer = targets(&room, 2);
    let (keys, role) = delegation(&room, "lamp", &["n", "y"], 1, &["lamp/*/*/*"]);
    newer["delegations"] = json!({ "keys": keys, "roles": [role] });
    publish_targets(&room, &newer);
    room.ok(&["--state", state, "learn", "2.targets.json"]);
    ask(&room, &lamp(1, "lamp/rev-z/stable/notes"), "request.new");
    let text = room.ok(&["--state", state, "review", "request.new"]);
    assert!(text.contains("all of it is new: nothing of this role was seen here before\n"), "{text}");
}
