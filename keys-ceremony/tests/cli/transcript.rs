//! The transcript of a ceremony, from the first draft to the root that records it.

use std::fs;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::root_life::{finish, walk};
use crate::support::*;

const SCRIPT: &str = "lamp.transcript";

fn sign<'a>(request: &'a str, keys: &[&'a str], despite: &'a str) -> Vec<&'a str> {
    let options = ["sign", request, "--danger-unencrypted", "--yes", "--despite", despite];
    [&options[..], &["--transcript", SCRIPT, "--key"], keys].concat()
}

/// Root 1 with three holders who signed it one after another, and its transcript of six entries.
fn ceremony() -> Room {
    let room = Room::with_keys(&["a", "b", "c", "d", "x", "y"]);
    room.ok(&[&DRAFT[..], &["--transcript", SCRIPT, "--out", "1.request"]].concat());
    let digest = room.repository("1.request");
    room.ok(&[&sign("1.request", &["a.pem"], "0")[..], &["--digest", &digest]].concat());
    // One holder's key is in a variable, and so is where the transcript lies.
    let options = ["sign", "1.request", "--danger-unencrypted", "--yes", "--key", "env:THE_KEY_OF_B"];
    let pem = String::from_utf8(room.read("b.pem")).unwrap();
    let output = room.keys(&options).env("THE_KEY_OF_B", pem).env("TUFFET_TRANSCRIPT", SCRIPT).output();
    succeeded(&output.unwrap(), &options);
    room.ok(&sign("1.request", &["c.pem"], "0"));
    room.ok(&["finish", "1.request", "--out", "1.root.json", "--transcript", SCRIPT]);
    room.ok(&["trust", "1.root.json", "--digest", &digest, "--transcript", SCRIPT]);
    room
}

fn head(room: &Room, file: &str) -> String {
    let shown = room.ok(&["transcript", "head", file]);
    shown.trim_end().split_once("head sha256 ").unwrap().1.to_owned()
}

/// The successor of root 1, which records the transcript.
fn next(room: &Room) {
    let next = ["root", "next", "--from", "1.root.json", "--transcript", SCRIPT, "--out", "2.request"];
    room.ok(&next);
    let despite = room.warnings("2.request").to_string();
    room.ok(&sign("2.request", &["a.pem", "c.pem"], &despite));
    room.ok(&["finish", "2.request", "--out", "2.root.json", "--transcript", SCRIPT]);
}

#[test]
fn ceremony_of_three_holders_is_in_its_transcript_and_the_next_root_records_it() {
    let room = ceremony();
    let text = String::from_utf8(room.read(SCRIPT)).unwrap();
    let field = |name: &str| -> Vec<String> {
        let value = |line: &str| serde_json::from_str::<Value>(line).unwrap()[name].clone();
        text.lines().map(|line| value(line).as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(field("action"), ["draft", "sign", "sign", "sign", "finish", "trust"]);
    assert_eq!(field("source"), ["", "file", "variable", "file", "", ""]);
    let keyids = ["a", "b", "c"].map(|name| keyid(&room, &format!("{name}.pub.pem")));
    assert_eq!(field("keyid")[1..4], keyids);
    assert_eq!(field("time"), [NOW; 6]);
    assert_eq!(field("sha256"), vec![room.repository("1.request"); 6]);
    // Neither where the key was nor what it is called.
    for private in [".pem", "THE_KEY_OF_B", "PRIVATE", room.path("").to_str().unwrap()] {
        assert!(!text.contains(private), "{private}");
    }

    let shown = room.ok(&["transcript", "show", SCRIPT, "--names", "."]);
    let b = &keyids[1][..16];
    let line = format!("    3  {NOW}  signed by b (key {b}), from a variable  [tuffet-keys ");
    assert!(shown.contains(&line), "{shown}");
    assert!(shown.contains(&format!("\n  b (key {b}): root 1 (entry 3)\n")), "{shown}");
    let unnamed = room.ok(&["transcript", "show", SCRIPT]);
    assert!(unnamed.contains(&format!("signed by key {b}, from a variable")), "{unnamed}");

    let before = head(&room, SCRIPT);
    assert_eq!((before.len(), before.matches(' ').count()), (71, 7), "{before}");
    next(&room);
    let recorded = room.json("2.root.json")["signed"]["transcript"].clone();
    assert_eq!(recorded, serde_json::json!({ "entries": 6, "sha256": before.replace(' ', "") }));
    let reviewed = room.ok(&["review", "2.request"]);
    assert!(reviewed.contains(&format!("  transcript 6 entries, head sha256 {before}\n")), "{reviewed}");
    walk(&room, &["1.root.json", "2.root.json"]);

    let now = head(&room, SCRIPT);
    // As it was read aloud: in groups, in capitals, as one argument or as eight.
    let verify = ["transcript", "verify", SCRIPT, "--root", "2.root.json", "--head"];
    let groups: Vec<&str> = now.split(' ').collect();
    for head in [&groups[..], &[&now], &[&now.to_uppercase()], &[&now.replace(' ', "")]] {
        let verified = room.ok(&[&verify[..], head].concat());
        assert_eq!(
            verified,
            format!(
                "verified: 10 entries, head sha256 {now}\nits head is the one that was given: it is all there\n\
                root 2 records how it began: 6 entries, head sha256 {before}\n"
            )
        );
    }
    let json = room.ok(&[&verify[..], &[&now, "--output", "json"]].concat());
    let json: Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["recorded"]["root"], 2);
    assert_eq!(json["entries"].as_array().unwrap().len(), 10);
    assert_eq!((&json["head"]["entries"], &json["head_given"]), (&Value::from(10), &Value::from(true)));
    let alone = room.ok(&["transcript", "verify", SCRIPT]);
    assert!(alone.ends_with("entries that are missing at the end show by it alone\n"), "{alone}");
}

#[test]
fn transcript_that_was_shortened_or_written_anew_shows_by_head_and_by_root() {
    let room = ceremony();
    let (early, digest) = (head(&room, SCRIPT), room.repository("1.request"));
    next(&room);
    let last = head(&room, SCRIPT);
    let text = String::from_utf8(room.read(SCRIPT)).unwrap();
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let verify =
        |file: &'static str, more: &[&'static str]| [&["transcript", "verify", file][..], more].concat();

    // After the root it shows by the head, before it by the root as well.
    fs::write(room.path("short"), lines[..8].concat()).unwrap();
    room.ok(&verify("short", &["--root", "2.root.json"]));
    room.refused(
        &[&verify("short", &["--head"])[..], &[&last]].concat(),
        151,
        "the transcript ends with entry 8",
    );
    fs::write(room.path("shorter"), lines[..5].concat()).unwrap();
    let says = "root 2 records a transcript of 6 entries, and this one has 5: shorter; ask the holder";
    room.refused(&verify("shorter", &["--root", "2.root.json"]), 153, says);
    room.refused(
        &[&verify(SCRIPT, &["--head"])[..], &[&early]].concat(),
        151,
        "the head that was given is that of entry 6: lamp.transcript; up to there it is as it was",
    );

    // Whoever goes on with it would launder it.
    fs::copy(room.path(SCRIPT), room.path("whole")).unwrap();
    fs::copy(room.path("shorter"), room.path(SCRIPT)).unwrap();
    let third = ["root", "next", "--from", "2.root.json", "--transcript", SCRIPT, "--out", "3.request"];
    room.refused(&third, 153, says.split_once(':').unwrap().0);
    let despite = room.warnings("2.request").to_string();
    room.refused(&sign("2.request", &["b.pem"], &despite), 153, "this one has 5");
    // Written anew it verifies, and has as many entries.
    fs::remove_file(room.path(SCRIPT)).unwrap();
    for _ in 0..10 {
        room.ok(&["trust", "1.root.json", "--digest", &digest, "--transcript", SCRIPT]);
    }
    room.ok(&verify(SCRIPT, &[]));
    room.refused(&verify(SCRIPT, &["--root", "2.root.json"]), 153, "and this one begins with others");
    room.refused(
        &[&verify(SCRIPT, &["--head"])[..], &[&last]].concat(),
        151,
        "entries are missing at its end",
    );
    room.refused(&third, 153, "this one begins with others");

    // Who has lost it drafts one root without; then another may begin.
    fs::remove_file(room.path(SCRIPT)).unwrap();
    room.refused(&third, 153, "and there is none here");
    assert!(!room.path(SCRIPT).exists() && !room.path("3.request").exists());
    room.ok(&["root", "next", "--from", "2.root.json", "--out", "3.request"]);
    assert!(room.ok(&["review", "3.request"]).contains(" [transcript-dropped]\n"));
    finish(&room, "3.request", &["a", "b"], "3.root.json");
    room.ok(&["root", "next", "--from", "3.root.json", "--transcript", SCRIPT, "--out", "4.request"]);
    assert!(room.json("4.request")["payload"].is_string());
    room.ok(&["transcript", "verify", SCRIPT]);

    // Questions that cannot be answered.
    room.refused(
        &verify("whole", &["--root", "1.root.json"]),
        250,
        "root 1 records no transcript: 1.root.json",
    );
    room.refused(&verify("whole", &["--head", "1234"]), 251, "4 characters: --head");
    room.refused(&verify("none", &[]), 301, "none");
    let other = ceremony();
    fs::copy(other.path(SCRIPT), room.path("other")).unwrap();
    room.refused(&verify("other", &["--root", "2.root.json"]), 152, "of another repository");
}

#[test]
fn damaged_transcript_is_refused_before_anything_is_done_and_left_alone() {
    let room = ceremony();
    let good = room.read(SCRIPT);
    room.ok(&["root", "next", "--from", "1.root.json", "--out", "2.request"]);
    let despite = room.warnings("2.request").to_string();
    let digest = room.repository("1.request");
    let from = ["--from", "1.root.json", "--out", "new", "--transcript", SCRIPT];
    let lost = ["root", "revoke", "a.pub.pem", "--reason", "lost", "--add-root-key", "d.pub.pem"];
    let commands = [
        sign("2.request", &["a.pem"], &despite),
        vec!["finish", "1.request", "--out", "new", "--transcript", SCRIPT],
        vec!["trust", "1.root.json", "--digest", &digest, "--transcript", SCRIPT],
        [&["root", "next"][..], &from].concat(),
        [&lost[..], &from].concat(),
        [&DRAFT[..], &["--transcript", SCRIPT, "--out", "new"]].concat(),
    ];
    let mut flipped = good.clone();
    flipped[700] ^= 1;
    for damaged in [&good[..good.len() - 1], &flipped, b"", b"{}\n", &good[1..]] {
        fs::write(room.path(SCRIPT), damaged).unwrap();
        let (files, request) = (room.files(), room.read("2.request"));
        for command in &commands {
            room.refused(command, 150, "the transcript breaks at entry ");
            assert_eq!((room.read(SCRIPT), room.files()), (damaged.to_vec(), files.clone()), "{command:?}");
        }
        assert_eq!(room.read("2.request"), request);
        for command in [["transcript", "show", SCRIPT], ["transcript", "head", SCRIPT]] {
            room.refused(&command, 150, "go on with the copy of another holder");
        }
    }
    // Of another repository, or in the place of another file.
    fs::write(room.path(SCRIPT), &good).unwrap();
    let another = [&DRAFT[..], &["--transcript", SCRIPT, "--expires", "100d", "--out", "new"]].concat();
    room.refused(&another, 152, "name another file");
    let same = ["root", "next", "--from", "1.root.json", "--out", "new", "--transcript", "new"];
    room.refused(&same, 209, "the transcript is a file of its own: new");
    // What is not done is not in it.
    room.refused(
        &["finish", "1.request", "--out", "1.root.json", "--transcript", SCRIPT],
        201,
        "1.root.json",
    );
    room.refused(&sign("2.request", &["x.pem"], &despite), 111, "may not sign");
    assert_eq!(room.read(SCRIPT), good);
    assert!(!room.path("new").exists());
    for command in &commands[..5] {
        room.ok(command);
        let _ = fs::remove_file(room.path("new"));
    }
    let text = String::from_utf8(room.read(SCRIPT)).unwrap();
    assert_eq!(text.lines().count(), 11);
    assert!(text.lines().last().unwrap().contains("\"action\":\"revoke\""), "{text}");
}

#[test]
fn two_who_append_at_once_both_get_in() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.ok(&[&DRAFT[..], &["--transcript", SCRIPT, "--out", "request"]].concat());
    let digest = room.repository("request");
    for round in 0..20 {
        let signers: Vec<Child> = ["a", "b"]
            .into_iter()
            .map(|name| {
                let (key, out) = (format!("{name}.pem"), format!("{name}.{round}"));
                let mut command = room.keys(&sign("request", &[&key], "0"));
                let command = command
                    .args(["--digest", &digest, "--out", &out])
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped());
                command.spawn().unwrap()
            })
            .collect();
        for signer in signers {
            succeeded(&signer.wait_with_output().unwrap(), &["sign"]);
        }
    }
    let verified = room.ok(&["transcript", "verify", SCRIPT]);
    assert!(verified.starts_with("verified: 41 entries, "), "{verified}");
    let text = String::from_utf8(room.read(SCRIPT)).unwrap();
    for name in ["a", "b"] {
        assert_eq!(text.matches(&keyid(&room, &format!("{name}.pub.pem"))).count(), 20);
    }
}
