//! The smallest device that a root must do for: drafted, handed on, reviewed, and rehearsed when the root is finished.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tuffet_keys::canonical;
use tuffet_keys::request::Request;
use tuffet_keys::{Role, date};

use crate::repository::Holders;
use crate::root_life::finish;
use crate::support::*;

fn room() -> Room {
    Room::with_keys(&["a", "b", "c", "d", "x", "y"])
}

/// Drafts root 1, five keys and the online one, with these limits of the smallest device.
fn draft<'a>(limits: &[&'a str], out: &'a str) -> Vec<&'a str> {
    let limits = limits.iter().flat_map(|limit| ["--device-limit", *limit]);
    DRAFT.into_iter().chain(limits).chain(["--out", out]).collect()
}

fn limits(room: &Room, root: &str) -> Value {
    room.json(root)["signed"]["devices"]["limits"].clone()
}

fn warnings(room: &Room, request: &str) -> Vec<(String, String)> {
    let review: Value = serde_json::from_str(&room.ok(&["review", request, "--output", "json"])).unwrap();
    let text = |warning: &Value, member: &str| warning[member].as_str().unwrap().to_owned();
    let all = review["warnings"].as_array().unwrap().iter();
    all.map(|warning| (text(warning, "name"), text(warning, "text"))).collect()
}

/// The request for another root, as another tool drafts it from one of ours.
fn redrafted(room: &Room, request: &str, change: impl FnOnce(&mut Value), out: &str) {
    let ours = Request::read(&room.path(request)).unwrap();
    let mut signed = ours.signed().value().clone();
    change(&mut signed);
    assert_ne!(signed, *ours.signed().value(), "nothing was changed");
    let theirs = Request::draft(Role::Root, &signed, ours.chain().files()).unwrap();
    theirs.create(&room.path(out)).unwrap();
}

#[test]
fn smallest_device_is_stated_by_each_root_and_changed_on_demand() {
    let room = room();
    let said = room.ok(&draft(&["keys=8", "root-file=8192"], "1.request"));
    let expected = "  devices    the smallest knows ecdsa-sha2-nistp256 alone, and takes at the most\n             keys 8, names 160, \
                    roles 8, root-file 8192, roots 64\n             signatures 8, snapshot-file 4194304, \
                    targets-file 16777216, text 320, timestamp-file 16384\n";
    assert!(said.contains(expected) && !said.contains("also"), "{said}");
    finish(&room, "1.request", &["a", "b"], "1.root.json");
    let mut known = json!({
        "keys": 8, "names": 160, "roles": 8, "root_file": 8192, "roots": 64, "signatures": 8,
        "snapshot_file": 4_194_304, "targets_file": 16_777_216, "text": 320, "timestamp_file": 16384,
    });
    assert_eq!(limits(&room, "1.root.json"), known);

    // Revoked or not, the next root does for the same devices unless it says less.
    let revoke = ["root", "revoke", "c.pub.pem", "--from", "1.root.json", "--reason", "lost"];
    room.ok(&[&revoke[..], &["--add-root-key", "d.pub.pem", "--out", "lost.request"]].concat());
    let revoking = Request::read(&room.path("lost.request")).unwrap();
    assert_eq!(revoking.signed().value()["devices"]["limits"], known);
    let next =
        ["root", "next", "--from", "1.root.json", "--device-limit", "signatures=4", "--out", "2.request"];
    room.ok(&next);
    assert_eq!(warnings(&room, "2.request"), []);
    let review = room.ok(&["review", "2.request"]);
    assert!(review.contains("  ~ devices limits signatures: 8 -> 4\n"), "{review}");
    finish(&room, "2.request", &["a", "b"], "2.root.json");
    known["signatures"] = json!(4);
    assert_eq!(limits(&room, "2.root.json"), known);

    // A root that states nothing is followed by one that does.
    redrafted(&room, "2.request", |root| drop(root.as_object_mut().unwrap().remove("devices")), "silent");
    fs::rename(room.path("2.root.json"), room.path("stated.json")).unwrap();
    let other = Room::with_keys(&[]);
    fs::write(other.path("silent"), room.read("silent")).unwrap();
    for name in ["a.pem", "b.pem", "1.root.json"] {
        fs::write(other.path(name), room.read(name)).unwrap();
    }
    let digest = hex(&other.json("1.root.json")["signed"]);
    other.ok(&["trust", "1.root.json", "--digest", &digest]);
    finish(&other, "silent", &["a", "b"], "2.root.json");
    other.ok(&["root", "next", "--from", "2.root.json", "--out", "3.request"]);
    let third = Request::read(&other.path("3.request")).unwrap();
    assert_eq!(third.signed().value()["devices"]["limits"]["keys"], 12);
}

fn hex(signed: &Value) -> String {
    let payload = canonical::signed_bytes(signed).unwrap();
    Sha256::digest(payload).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn device_limit_that_makes_no_sense_is_refused_and_nothing_is_written() {
    let room = room();
    let before = room.files();
    let all = "write NAME=N with N from 1 to: keys 12, names 160, roles 8, root-file 32768, roots 64, signatures 8, \
               snapshot-file 4194304, targets-file 16777216, text 320, timestamp-file 16384";
    for wrong in ["keys", "keys=0", "keys=13", "keys=+8", "key=33", "root_file=8192", "message=1"] {
        let says = format!("not a limit of devices: `{wrong}`: --device-limit; {all}");
        room.refused(&draft(&[wrong], "request"), 236, &says);
    }
    room.refused(
        &draft(&["keys=5"], "request"),
        211,
        "a root with 6 keys does not fit into a device, which holds 5",
    );
    room.refused(
        &draft(&["signatures=1"], "request"),
        233,
        "root would need 2 signatures, and a device reads 1 in a file",
    );
    assert_eq!(room.files(), before);
    room.ok(&draft(&["keys=6", "signatures=2"], "1.request"));
    finish(&room, "1.request", &["a", "b", "c"], "1.root.json");
    let next = ["root", "next", "--from", "1.root.json", "--add-root-key", "d.pub.pem", "--out", "2.request"];
    room.refused(&next, 211, "a root with 7 keys does not fit into a device, which holds 6");
    // Nor does one that has no room for the roots before: it would never hear of this one.
    let smaller = ["--remove-root-key", "c.pub.pem", "--device-limit", "keys=5", "--out", "2.request"];
    room.refused(
        &[&["root", "next", "--from", "1.root.json"], &smaller[..]].concat(),
        136,
        "a device that holds root 1, the smallest that roots name, would not get to root version 2 (C103: ",
    );
    assert!(!room.path("2.request").exists());
    room.ok(&[&next[..], &["--device-limit", "keys=7"]].concat());
}

#[test]
fn root_that_raises_or_drops_the_limits_of_devices_is_warned_of() {
    let room = room();
    room.ok(&draft(&["keys=8", "text=300"], "1.request"));
    finish(&room, "1.request", &["a", "b"], "1.root.json");
    let next = ["root", "next", "--from", "1.root.json", "--out", "2.request"];
    room.ok(&[&next[..], &["--device-limit", "keys=9", "--device-limit", "text=299"]].concat());
    let text = "the limits of the smallest device rise: keys from 8 to 9; devices that were shipped with less do not grow";
    let raised = |text: &str| ("device-limits-raised".to_owned(), text.to_owned());
    assert_eq!(warnings(&room, "2.request"), [raised(text)]);
    redrafted(&room, "2.request", |root| drop(root.as_object_mut().unwrap().remove("devices")), "dropped");
    let text =
        "it no longer says what the smallest device takes; devices that were shipped with less do not grow";
    assert_eq!(warnings(&room, "dropped"), [raised(text)]);
    redrafted(&room, "2.request", |root| root["devices"]["limits"]["keys"] = json!(8), "same");
    assert_eq!(warnings(&room, "same"), []);
    // One that it passes itself: nobody need sign to learn that.
    redrafted(&room, "2.request", |root| root["devices"]["limits"]["keys"] = json!(4), "small");
    let text = "the smallest devices would not take it: root: passes the device's bound on the number of keys [C103]";
    assert_eq!(warnings(&room, "small"), [("device-would-refuse".to_owned(), text.to_owned())]);
}

#[test]
fn devices_in_another_form_are_shown_as_they_stand() {
    let room = room();
    room.ok(&draft(&[], "1.request"));
    redrafted(&room, "1.request", |root| root["devices"]["limits"]["depth"] = json!(9), "more");
    let review = room.ok(&["review", "more"]);
    assert!(review.contains("  also devices {\"limits\":{\"depth\":9,\"keys\":12,"), "{review}");
    assert!(!review.contains("the smallest knows"), "{review}");
}

/// Another tool wrote a root that no holder of ours would sign. What it says to people is not worth less warnings.
#[test]
fn root_after_one_with_odd_members_for_people_is_still_compared_with_it() {
    let holders = Holders::new();
    let first = holders.root(1);
    let mut second = holders.root(2);
    second.signed["devices"] = json!("small");
    second.signed["periods"] = json!("yearly");
    let files = [holders.file(&first), holders.file(&second)];
    for (name, file) in ["1.root.json", "2.root.json"].iter().zip(&files) {
        fs::write(holders.room.path(name), file).unwrap();
    }
    holders.room.ok(&["trust", "1.root.json", "--digest", &hex(&first.signed)]);
    holders.room.ok(&["learn", "2.root.json"]);
    let mut third = holders.root(3).signed;
    third["roles"]["targets"]["threshold"] = json!(1);
    let request = Request::draft(Role::Root, &third, &files).unwrap();
    request.create(&holders.room.path("3.request")).unwrap();
    let names: Vec<String> = warnings(&holders.room, "3.request").into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["threshold-lowered", "threshold-one"]);
}

#[test]
fn root_that_strands_the_smallest_device_is_not_finished() {
    let room = room();
    room.ok(&draft(&["keys=8"], "ours"));
    redrafted(&room, "ours", |root| root["devices"]["limits"]["keys"] = json!(5), "1.request");
    room.sign("1.request", "a", "1.a");
    room.refused(&["finish", "1.a", "--out", "1.root.json"], 117, "signed 1 of 2");
    room.sign("1.a", "b", "1.ab");
    room.refused(
        &["finish", "1.ab", "--out", "1.root.json"],
        136,
        "a device that holds root 1, the smallest that roots name, would not get to root version 1 (C103: root: passes \
         the device's bound on the number of keys): 1.ab; nothing was written",
    );
    assert!(!room.path("1.root.json").exists());
    // It is refused before, too, for whoever looks at the request.
    let status = room.keys(&["status", "1.ab", "--output", "json"]).output().unwrap();
    let status: Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(status["subjects"][0]["roles"][0]["state"], "refused");
    assert_eq!(status["subjects"][0]["roles"][0]["refused"]["code"], "C103");
    let lint = room.keys(&["lint", "1.ab", "--output", "json"]).output().unwrap();
    let lint: Value = serde_json::from_slice(&lint.stdout).unwrap();
    let passed =
        lint["findings"].as_array().unwrap().iter().find(|finding| finding["rule"] == "limit-passed");
    assert_eq!(passed.unwrap()["why"], "keys: 6, and a device takes 5");
}

#[test]
fn request_that_expired_while_it_waited_is_not_finished() {
    let room = room();
    room.ok(&draft(&["keys=8"], "1.request"));
    room.sign("1.request", "a", "1.a");
    room.sign("1.a", "b", "1.ab");
    let expires = Request::read(&room.path("1.ab")).unwrap().header().expires;
    let finish = |now: u64, out: &str| {
        let finish = ["--now", &date::format(now), "finish", "1.ab", "--out", out];
        room.command(BINARY).args(finish).output().unwrap()
    };
    let day = date::format(expires);
    let says = format!(
        "root version 1 expired {day}, and for devices it is {day}: 1.ab; nothing was written; draft it anew"
    );
    refused(&finish(expires, "1.root.json"), 137, &says);
    assert!(!room.path("1.root.json").exists());
    succeeded(&finish(expires - 1, "1.root.json"), &["finish"]);
}
