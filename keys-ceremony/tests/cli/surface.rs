//! The command line as scripts meet it: output, exit status, help, and what is linked.

use std::fs;
use std::process::{Command, Output};

use tuffet_client::limits::{DEVICE, ROOT};
use tuffet_client::{SOFTWARE, Trusted};

use crate::support::*;

/// Runs a command whose standard output nobody reads.
fn unread(room: &Room, arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    room.keys(arguments).stdout(writer).output().unwrap()
}

/// Runs a command whose standard output has no room.
fn on_a_full_disk(room: &Room, arguments: &[&str]) -> Output {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    room.keys(arguments).stdout(full).output().unwrap()
}

#[test]
fn closed_pipe_ends_what_only_shows_quietly() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    for arguments in [
        &["review", "request"][..],
        &["show", "a.pub.pem", "a.pem"],
        &["completions", "bash"],
        &["man"],
        &["--help"],
        &["--version"],
        &["sign", "--help"],
        &["root", "draft", "--help"],
    ] {
        succeeded(&unread(&room, arguments), arguments);
    }
    // A full disk is no reader who has seen enough.
    for arguments in [&["review", "request"][..], &["show", "a.pub.pem"]] {
        refused(
            &on_a_full_disk(&room, arguments),
            307,
            "standard output failed (No space left on device); nothing",
        );
    }
    // What is wrong with the request is said even when nobody reads.
    refused(&unread(&room, &["review", "a.pem"]), 102, "a.pem");
}

#[test]
fn output_that_fails_is_told_with_the_files_that_exist() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    let digest = room.repository("request");
    let sign = ["sign", "request", "--danger-unencrypted", "--yes", "--digest", &digest, "--key", "a.pem"];
    let before = room.read("request");
    for run in [unread, on_a_full_disk] {
        // What cannot be shown is not signed.
        refused(&run(&room, &sign), 307, "nothing was written");
        assert_eq!(room.read("request"), before);
    }
    // The reader goes after the review: the signature is made and kept.
    room.tool("mkfifo", &["pipe"]);
    let pipe = room.path("pipe");
    let path = pipe.clone();
    let reader = std::thread::spawn(move || fs::File::open(path).unwrap());
    let options = ["--danger-unencrypted", "--key", "a.pem"];
    let signer = signer(&room, room.command(BINARY), &options, pipe.to_str().unwrap());
    drop(reader.join().unwrap());
    refused(&typed_at_the_prompt(signer), 307, "after these files were written: request; they exist");
    assert_eq!(signatures(&room, "request"), [keyid(&room, "a.pub.pem")]);
    fs::rename(room.path("request"), room.path("of-a")).unwrap();
    room.sign("of-a", "b", "of-ab");
    for (round, run) in [unread, on_a_full_disk].into_iter().enumerate() {
        let name = |what: &str| format!("{what}-{round}");
        let (key, public) = (name("key") + ".pem", name("key") + ".pub.pem");
        let (drafted, merged, finished) = (name("drafted"), name("merged"), name("finished"));
        let draft = [
            &["root", "draft", "--root-key", "a.pub.pem", "b.pub.pem"][..],
            &["--targets-key", "x.pub.pem", "y.pub.pem", "--snapshot-key", "x.pub.pem"],
            &["--timestamp-key", "x.pub.pem", "--out", &drafted],
        ]
        .concat();
        for (arguments, files) in [
            (&["generate", "--danger-unencrypted", "--out", &key][..], &[&key, &public][..]),
            (&draft, &[&drafted]),
            (&["merge", "of-a", "of-ab", "--out", &merged], &[&merged]),
            (&["finish", "of-ab", "--out", &finished], &[&finished]),
        ] {
            let names = files.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            let output = run(&room, arguments);
            refused(&output, 307, &format!("after these files were written: {names}; they exist"));
            for file in files {
                assert!(!room.read(file).is_empty());
            }
        }
        assert_eq!(keyid(&room, &key), keyid(&room, &public));
        assert_eq!(room.read(&merged), room.read("of-ab"));
        Trusted::<[u8; ROOT]>::from_root_file(
            &SOFTWARE,
            &DEVICE,
            &mut [0; DEVICE.memory()],
            &room.read(&finished),
        )
        .unwrap();
    }
}

#[test]
fn help_of_every_command_is_there_and_usage_errors_are_two() {
    let room = Room::new();
    for command in [
        "generate",
        "show",
        "smoke-test",
        "change-passphrase",
        "backup",
        "restore",
        "root",
        "root draft",
        "root next",
        "root revoke",
        "review",
        "sign",
        "merge",
        "finish",
        "transcript",
        "transcript show",
        "transcript verify",
        "transcript head",
    ] {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        assert!(room.ok(&arguments).contains("Usage: tuffet-keys"), "{command}");
    }
    for arguments in [
        &["sign"][..],
        &["finish", "a"],
        &["no-such"],
        &["merge", "--out", "x"],
        &["generate"],
        &["smoke-test"],
        &["backup", "a"],
        &["restore", "a", "--rehearse"],
        &["restore", "a", "--expect", "b"],
        &["restore", "a", "--expect", "b", "--rehearse", "--out", "c"],
        &["smoke-test", "a", "--pin", "1234"],
    ] {
        let output = room.keys(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let expires = [
        "root",
        "draft",
        "--root-key",
        "a",
        "--targets-key",
        "a",
        "--snapshot-key",
        "a",
        "--timestamp-key",
        "a",
    ];
    room.refused(&[&expires[..], &["--out", "r", "--expires", "soon"]].concat(), 204, "--expires");
    let output = room.command(BINARY).args(["--now", "today", "review", "x"]).output().unwrap();
    refused(&output, 204, "--now");
}

/// The machine of a key holder is offline, and the tool has nothing in it that could change that.
#[test]
fn dependencies_hold_no_network_code() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--package",
            "tuffet-keys",
            "--edges",
            "normal,build",
            "--target",
            "all",
        ])
        .args([
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    for name in ["p256", "clap", "cryptoki"] {
        assert!(names.contains(&name), "{tree}");
    }
    for name in [
        "tokio",
        "mio",
        "hyper",
        "reqwest",
        "ureq",
        "rustls",
        "ring",
        "socket2",
        "native-tls",
        "openssl",
        "curl",
    ] {
        assert!(!names.contains(&name), "{name} is in the tree");
    }
}
