//! Several holders and one file.

use std::fs;
use std::io::Write as _;
use std::process::{Child, Stdio};

use crate::support::*;

#[test]
fn sign_by_two_at_once_in_place_keeps_both_signatures() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("draft");
    let mut both = vec![keyid(&room, "a.pub.pem"), keyid(&room, "b.pub.pem")];
    both.sort();
    let digest = room.repository("draft");
    for round in 0..100 {
        fs::copy(room.path("draft"), room.path("request")).unwrap();
        let signers: Vec<Child> = ["a.pem", "b.pem"]
            .into_iter()
            .map(|key| {
                let sign =
                    ["sign", "request", "--danger-unencrypted", "--yes", "--digest", &digest, "--key", key];
                let mut command = room.keys(&sign);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for signer in signers {
            succeeded(&signer.wait_with_output().unwrap(), &["sign"]);
        }
        assert_eq!(signatures(&room, "request"), both, "round {round}");
    }
}

#[test]
fn sign_of_a_request_that_changed_at_the_prompt_writes_nothing() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("draft");
    // Another date of issue and of expiry makes another payload, of the same version.
    let next_day = room
        .command(BINARY)
        .args(["--now", "2026-11-23T13:14:15Z", "root", "draft", "--out", "other"])
        .args(["--root-key", "a.pub.pem", "b.pub.pem", "--targets-key", "x.pub.pem", "y.pub.pem"])
        .args(["--snapshot-key", "x.pub.pem", "--timestamp-key", "x.pub.pem"])
        .output();
    succeeded(&next_day.unwrap(), &["root draft"]);
    fs::write(room.path("damaged"), &room.read("other")[..100]).unwrap();
    for other in ["other", "damaged"] {
        fs::copy(room.path("draft"), room.path("request")).unwrap();
        let signer = signer_at_the_prompt(&room);
        fs::copy(room.path(other), room.path("coming")).unwrap();
        fs::rename(room.path("coming"), room.path("request")).unwrap();
        let before = room.files();
        refused(&typed_at_the_prompt(signer), 124, "changed while you looked: request; review it again");
        assert_eq!(room.read("request"), room.read(other));
        assert_eq!(room.files(), before);
    }

    // A request that another holder signed meanwhile is the same request.
    fs::copy(room.path("draft"), room.path("request")).unwrap();
    let signer = signer_at_the_prompt(&room);
    let digest = room.repository("request");
    room.ok(&["sign", "request", "--danger-unencrypted", "--yes", "--digest", &digest, "--key", "b.pem"]);
    let output = typed_at_the_prompt(signer);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("2 of 2 have signed"));
    assert_eq!(signatures(&room, "request").len(), 2);

    // A request that went away is not put back.
    fs::copy(room.path("draft"), room.path("request")).unwrap();
    let signer = signer_at_the_prompt(&room);
    fs::remove_file(room.path("request")).unwrap();
    refused(&typed_at_the_prompt(signer), 301, "cannot read: No such file or directory: request");
    assert!(!room.path("request").exists());
}

#[test]
fn merge_into_a_copy_that_changed_meanwhile_loses_nothing() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("draft");
    room.sign("draft", "a", "of-a");
    room.sign("draft", "b", "of-b");
    room.sign("draft", "c", "of-c");
    let other = Room::with_keys(&["a", "b", "c", "x", "y"]);
    other.draft("other");
    room.tool("mkfifo", &["pipe"]);
    // The second copy comes through a pipe: who opens it for writing knows that the first has been read.
    let merge = |meanwhile: &[u8]| {
        fs::copy(room.path("of-a"), room.path("request")).unwrap();
        // Spelled as a descriptor, for a pipe on disk is not waited for.
        let pipe = "/proc/self/fd/../cwd/pipe";
        let mut command = room.keys(&["merge", "request", pipe, "--out", "request"]);
        let merge = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = fs::File::options().write(true).open(room.path("pipe")).unwrap();
        fs::write(room.path("request"), meanwhile).unwrap();
        pipe.write_all(&room.read("of-b")).unwrap();
        drop(pipe);
        merge.wait_with_output().unwrap()
    };
    let output = merge(&room.read("of-c"));
    assert!(succeeded(&output, &["merge"]).contains("3 of 2 have signed"));
    assert_eq!(signatures(&room, "request").len(), 3);
    let another = other.read("other");
    refused(&merge(&another), 124, "request; review it again; nothing was written");
    assert_eq!(room.read("request"), another);
}

#[test]
fn file_that_exists_is_never_overwritten() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.first_root();
    let contents =
        |room: &Room| room.files().iter().map(|name| (name.clone(), room.read(name))).collect::<Vec<_>>();
    fs::write(room.path("only.pub.pem"), "kept").unwrap();
    let before = contents(&room);
    let draft = [
        "root",
        "draft",
        "--root-key",
        "a.pub.pem",
        "--root-threshold",
        "1",
        "--targets-key",
        "x.pub.pem",
        "--targets-threshold",
        "1",
        "--snapshot-key",
        "x.pub.pem",
        "--timestamp-key",
        "x.pub.pem",
        "--out",
        "1.a",
    ];
    room.refused(&["generate", "--danger-unencrypted", "--out", "a.pem"], 201, "a.pem");
    room.refused(&["generate", "--danger-unencrypted", "--out", "only.pem"], 201, "only.pub.pem");
    // Known before a passphrase is asked for.
    room.refused(&["generate", "--out", "a.pem"], 201, "a.pem");
    room.refused(&draft, 201, "1.a");
    room.refused(&["root", "next", "--from", "1.root.json", "--out", "1.a"], 201, "1.a");
    room.refused(&["merge", "1.a", "--out", "1.ab"], 201, "1.ab");
    room.refused(&["finish", "1.ab", "--out", "1.root.json"], 201, "1.root.json");
    room.refused(
        &["sign", "1.a", "--danger-unencrypted", "--yes", "--key", "c.pem", "--out", "1.ab"],
        201,
        "1.ab",
    );
    assert_eq!(contents(&room), before);
    // In its own place a request may grow.
    room.ok(&["merge", "1.a", "1.ab", "--out", "1.a"]);
    assert_eq!(room.read("1.a"), room.read("1.ab"));
}
