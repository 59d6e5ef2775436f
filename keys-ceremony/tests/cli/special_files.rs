//! What is no file: pipes that somebody left behind, and those that a shell hands over.

use std::fs;
use std::os::unix::fs::symlink;

use crate::support::*;

#[test]
fn pipe_on_disk_is_refused_and_not_waited_for() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.first_root();
    room.ok(&["trust", "1.root.json", "--digest", &digest(&room)]);
    room.tool("mkfifo", &["pipe"]);
    symlink("pipe", room.path("link")).unwrap();
    // A link to a descriptor is no descriptor: it may lie on a stick, too.
    symlink("/dev/stdin", room.path("input")).unwrap();
    fs::create_dir(room.path("public")).unwrap();
    fs::copy(room.path("1.root.json"), room.path("public/1.root.json")).unwrap();
    room.tool("mkfifo", &["public/timestamp.json"]);
    for arguments in [
        &["status", "pipe"][..],
        &["status", "public"],
        &["lint", "pipe"],
        &["lint", "link"],
        &["lint", "public"],
        &["review", "pipe"],
        &["review", "/dev/tty"],
        &["sign", "pipe", "--key", "a.pem"],
        &["merge", "1.a", "pipe", "--out", "merged"],
        &["merge", "1.a", "input", "--out", "merged"],
        &["attach", "1.a", "pipe"],
        &["learn", "pipe"],
        &["trust", "link"],
        &["show", "pipe"],
        &["smoke-test", "link"],
        &["root", "next", "--from", "pipe", "--out", "next"],
        &["transcript", "show", "pipe"],
    ] {
        // Waiting would end with 124 and no words.
        let mut command = room.command("timeout");
        command.args(["20", BINARY, "--now", NOW]).args(arguments);
        refused(&command.output().unwrap(), 301, "cannot read: it is a pipe or a device, not a file: ");
    }
}

#[test]
fn pipe_that_a_shell_hands_over_is_read() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    let expected = room.ok(&["review", "request"]);
    for script in
        ["cat request | $0 review /dev/stdin", "$0 review <(cat request)", "$0 review /dev/fd/5 5<request"]
    {
        let script = script.replace("$0", &format!("\"$0\" --now {NOW}"));
        let shown = room.tool("bash", &["-c", &script, BINARY]);
        assert_eq!(String::from_utf8(shown).unwrap(), expected, "{script}");
    }
}

/// Of root 1.
fn digest(room: &Room) -> String {
    let review = room.ok(&["review", "1.request", "--output", "json"]);
    let review: serde_json::Value = serde_json::from_str(&review).unwrap();
    review["repository"]["sha256"].as_str().unwrap().to_owned()
}
