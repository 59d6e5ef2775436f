//! What one holder may sign, and what nobody may.

use std::fs;

use crate::support::*;

#[test]
fn sign_without_the_typed_version_changes_nothing() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    let before = room.read("request");
    let sign = |answer: &str| {
        let (done, screen) = typed(&room, answer, "sign request --key a.pem --danger-unencrypted");
        assert!(done || screen.contains("[K119]"), "{screen}");
        (done, screen)
    };
    // Who signs a first root agrees to its repository: he types the digits that the others have, too.
    let digest = room.repository("request");
    let other = "0".repeat(16);
    for answer in ["\n", "1\n", "yes\n", &format!("{}\n", &digest[..15]), &format!("{other}\n")] {
        let (done, screen) = sign(answer);
        assert!(!done && screen.contains("what the digest of root 1 begins with was not typed"), "{screen}");
        assert_eq!(room.read("request"), before);
    }
    let groups = format!("{} {}\n", &digest[..8].to_uppercase(), &digest[8..20]);
    let (done, screen) = sign(&groups);
    assert!(done, "{screen}");
    assert_eq!(signatures(&room, "request").len(), 1);

    // From there on it is known, and the version number says what is signed.
    let sign = |answer: &str| typed(&room, answer, "sign request --key b.pem --danger-unencrypted");
    for answer in ["\n", "2\n", "yes\n", "11\n", "1 2\n"] {
        let (done, screen) = sign(answer);
        assert!(!done && screen.contains("[K119]") && screen.contains("1 was not typed"), "{screen}");
    }
    assert!(sign("1\n").0);
    assert_eq!(signatures(&room, "request").len(), 2);
}

#[test]
fn confirmation_that_comes_through_a_pipe_signs_nothing() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    let before = room.read("request");
    for answer in [format!("{}\n", room.repository("request")), "1\n".to_owned(), String::new()] {
        fs::write(room.path("answer"), answer).unwrap();
        let mut command = room.keys(&["sign", "request", "--key", "a.pem", "--danger-unencrypted"]);
        let output = command.stdin(fs::File::open(room.path("answer")).unwrap()).output().unwrap();
        refused(&output, 303, "for the confirmation: request; review it at a terminal, or add --yes");
        assert_eq!(room.read("request"), before);
    }
}

#[test]
fn first_root_is_signed_unattended_for_the_repository_that_was_named() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    let (before, digest) = (room.read("request"), room.repository("request"));
    let sign = ["sign", "request", "--danger-unencrypted", "--key", "a.pem", "--yes"];
    room.refused(
        &sign,
        254,
        "agrees to its repository for good, and --yes does not say to which: request; add --digest",
    );
    fn with<'a>(sign: &[&'a str], digest: &[&'a str]) -> Vec<&'a str> {
        [sign, &["--digest"], digest].concat()
    }
    room.refused(
        &with(&sign, &[&digest[..16]]),
        252,
        "not a SHA-256 digest: 16 characters: --digest; give all 64",
    );
    room.refused(&with(&sign, &[&"0".repeat(64)]), 134, "request");
    assert_eq!(room.read("request"), before);
    assert_eq!(fs::read_dir(room.state()).unwrap().count(), 0, "nobody agreed to it");
    let capitals = digest.to_uppercase();
    let groups: Vec<&str> = (0..8).map(|group| &capitals[8 * group..8 * group + 8]).collect();
    room.ok(&with(&sign, &groups));
    // What is known needs no digest, and one that is given counts.
    room.refused(
        &["sign", "request", "--danger-unencrypted", "--key", "b.pem", "--yes", "--digest", &"0".repeat(64)],
        134,
        "request",
    );
    room.ok(&["sign", "request", "--danger-unencrypted", "--key", "b.pem", "--yes"]);
}

#[test]
fn request_that_has_expired_is_shown_and_not_signed() {
    let room = Room::with_keys(&["b", "c", "x", "y"]);
    room.ok_with("a secret of dice", &["generate", "--out", "a.pem"]);
    room.draft("request");
    let late = |arguments: &[&str]| {
        let mut command = room.command(BINARY);
        command.args(["--now", "2027-11-22T13:14:15Z"]).args(arguments).output().unwrap()
    };
    let before = room.files();
    let expired =
        "root version 1 expired 2027-11-22T13:14:15Z, and for devices it is 2027-11-22T13:14:15Z: request";
    // Before anybody types a passphrase in vain: there is no terminal to type one on.
    refused(&late(&["sign", "request", "--key", "a.pem"]), 137, expired);
    refused(&late(&["payload", "request", "--out", "payload"]), 137, expired);
    assert_eq!(room.files(), before);
    assert!(succeeded(&late(&["review", "request"]), &["review"]).contains(", EXPIRED\n"));
}

#[test]
fn sign_unattended_needs_a_passphrase_from_elsewhere() {
    let room = Room::with_keys(&["b", "c", "x", "y"]);
    room.ok_with("a secret of dice", &["generate", "--out", "a.pem"]);
    room.draft("request");
    let before = room.read("request");
    room.refused(&["sign", "request", "--yes", "--key", "a.pem"], 209, "--yes");
    room.refused(&["sign", "request", "--key", "a.pem", "--passphrase-fd", "0"], 209, "--yes");
    let digest = room.repository("request");
    // An unencrypted key among the others needs its flag, before anything is signed.
    let mixed = room
        .keys(&["sign", "request", "--yes", "--digest", &digest, "--key", "a.pem", "b.pem"])
        .env("TUFFET_PASSPHRASE", "a secret of dice")
        .output();
    refused(&mixed.unwrap(), 109, "b.pem");
    let wrong = room
        .keys(&["sign", "request", "--yes", "--digest", &digest, "--key", "a.pem"])
        .env("TUFFET_PASSPHRASE", "Secret")
        .output();
    refused(&wrong.unwrap(), 108, "a.pem");
    assert_eq!(room.read("request"), before);
}

#[test]
fn sign_by_a_foreign_key_or_a_second_time_is_refused() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    let digest = room.repository("request");
    let sign = ["sign", "request", "--danger-unencrypted", "--yes", "--digest", &digest, "--key"];
    room.refused(&[&sign[..], &["x.pem"]].concat(), 111, &keyid(&room, "x.pub.pem"));
    room.ok(&[&sign[..], &["a.pem"]].concat());
    let once = room.read("request");
    room.refused(&[&sign[..], &["a.pem"]].concat(), 113, &keyid(&room, "a.pub.pem"));
    room.refused(&[&sign[..], &["b.pem", "a.pem"]].concat(), 113, "a.pem");
    assert_eq!(room.read("request"), once, "all keys or none");
    room.refused(&[&sign[..], &["a.pub.pem"]].concat(), 106, "the public half");
    room.refused(&[&sign[..], &["none.pem"]].concat(), 301, "none.pem");
    room.refused(&[&sign[..], &["request"]].concat(), 106, "request");
}

#[test]
fn request_issued_in_the_future_is_shown_and_neither_signed_nor_finished() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    room.sign("request", "a", "by-a");
    room.sign("by-a", "b", "by-ab");
    let at = |now: &str, arguments: &[&str]| {
        room.command(BINARY).args(["--now", now]).args(arguments).output().unwrap()
    };
    // Drafted at 13:14:15 by one clock: an hour before is a difference of clocks, a second more is an error.
    let (hour_before, too_early) = ("2026-11-22T12:14:15Z", "2026-11-22T12:14:14Z");
    let sign = ["sign", "by-a", "--danger-unencrypted", "--yes", "--key", "c.pem", "--out", "by-ac"];
    let finish = ["finish", "by-ab", "--out", "1.root.json"];
    let next = ["root", "next", "--from", "1.root.json", "--out", "2.request"];

    let before = room.files();
    for arguments in [&sign[..], &finish[..]] {
        let output = at(too_early, arguments);
        refused(
            &output,
            123,
            "issued 2026-11-22T13:14:15Z, which is yet to come: it is 2026-11-22T12:14:14Z",
        );
        refused(&output, 123, "give --now");
    }
    assert_eq!(room.files(), before);
    let review = |now| String::from_utf8(at(now, &["review", "by-a"]).stdout).unwrap();
    assert!(review(too_early).contains("ISSUED IN THE FUTURE\n"));
    assert!(!review(hour_before).contains("FUTURE"));

    for arguments in [&sign[..], &finish[..]] {
        succeeded(&at(hour_before, arguments), arguments);
    }
    refused(&at(too_early, &next), 123, "1.root.json");
    succeeded(&at(hour_before, &next), &next);
    // The holders' clocks judge the drafter's.
    let drafted = ["root", "next", "--from", "1.root.json", "--out", "2099.request"];
    succeeded(&at("2099-01-01", &drafted), &drafted);
    let sign = ["sign", "2099.request", "--danger-unencrypted", "--yes", "--key", "a.pem"];
    refused(&at(NOW, &sign), 123, "issued 2099-01-01T00:00:00Z");
}

#[test]
fn request_that_is_damaged_is_refused_by_every_command() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.first_root();
    let good = room.read("1.a");
    let text = String::from_utf8(good.clone()).unwrap();
    let payload = room.json("1.a")["payload"].as_str().unwrap().to_owned();

    let write = |name: &str, bytes: &[u8]| fs::write(room.path(name), bytes).unwrap();
    // A threshold of 2 that becomes 1 in the bytes to sign: `threshold":2` in base64, at whatever offset.
    let decoded = room.tool("sh", &["-c", &format!("printf %s '{payload}' | base64 -d")]);
    let tampered = String::from_utf8(decoded).unwrap().replace("\"threshold\":2", "\"threshold\":1");
    write("tampered-payload", tampered.as_bytes());
    let tampered = String::from_utf8(room.tool("base64", &["-w0", "tampered-payload"])).unwrap();
    write("tampered", text.replace(&payload, &tampered).as_bytes());
    // Root 1 signed by b, under the name of a.
    let of_b = text.replace(&keyid(&room, "a.pub.pem"), &keyid(&room, "b.pub.pem"));
    let renamed = text.rsplit_once("\"signatures\"").unwrap().0.to_owned()
        + "\"signatures\""
        + of_b.rsplit_once("\"signatures\"").unwrap().1;
    write("signature", renamed.as_bytes());
    write("truncated", &good[..good.len() / 2]);
    write("empty", b"");
    write("binary", &[0xff; 64]);
    write("typed", text.replace("\"version\": 1", "\"version\": \"1\"").as_bytes());
    write("future", text.replace("\"format\": 2", "\"format\": 3").as_bytes());
    fs::File::create(room.path("huge")).unwrap().set_len(1 << 30).unwrap();
    fs::create_dir(room.path("directory")).unwrap();

    for (request, code, says) in [
        ("tampered", 115, "`signers`"),
        ("signature", 112, "does not verify"),
        ("truncated", 102, "truncated"),
        ("empty", 102, "empty"),
        ("binary", 102, "binary"),
        ("typed", 120, "typed"),
        ("future", 105, "unknown format 3"),
        ("huge", 101, "65536 KiB"),
        ("1.root.json", 120, "not a signing request"),
        ("a.pem", 102, "a.pem"),
        ("missing", 301, "missing"),
        ("directory", 301, "directory"),
    ] {
        let before = room.files();
        room.refused(&["review", request], code, says);
        room.refused(
            &["sign", request, "--danger-unencrypted", "--yes", "--key", "c.pem", "--out", "out"],
            code,
            says,
        );
        room.refused(&["merge", "1.a", request, "--out", "out"], code, says);
        room.refused(&["finish", request, "--out", "out"], code, says);
        assert_eq!(room.files(), before, "{request} left something behind");
    }
    let other = Room::with_keys(&["a", "b", "c", "x", "y"]);
    other.draft("request");
    write("other", &other.read("request"));
    room.refused(&["merge", "1.a", "other", "--out", "out"], 114, "other");
}

#[test]
fn finish_under_the_name_of_another_version_or_role_writes_nothing() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    room.sign("request", "a", "by-a");
    room.sign("by-a", "b", "by-ab");
    let before = room.files();
    for name in ["2.root.json", "01.root.json", "1.targets.json", "1.root-.json", "public/10.root.json"] {
        let says = format!(
            "this is root version 1, and the name is that of another file: {name}; nothing was written"
        );
        room.refused(&["finish", "by-ab", "--out", name], 253, &says);
        room.refused(&["finish", "by-ab", "--out", name], 253, "call it 1.root.json");
    }
    assert_eq!(room.files(), before);
    for name in ["1.root.json", "root.json", "targets.json", "2.root", "root.2.json", "1-root.json"] {
        room.ok(&["finish", "by-ab", "--out", name]);
    }
}
