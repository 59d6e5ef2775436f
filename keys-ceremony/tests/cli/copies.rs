//! A key's other sources, its backup, and its passphrase.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::process::{Command, Output};

use crate::support::*;

/// Runs a command with an old and a new passphrase in the environment.
fn with(room: &Room, old: &str, new: &str, arguments: &[&str]) -> Output {
    let mut command = room.keys(arguments);
    command.env("TUFFET_PASSPHRASE", old).env("TUFFET_NEW_PASSPHRASE", new).output().unwrap()
}

/// What openssl reads from a private key with this passphrase: the public half.
fn openssl(room: &Room, key: &str, passphrase: &str) -> Result<Vec<u8>, String> {
    let arguments = ["pkey", "-in", key, "-passin", "env:PASSPHRASE", "-pubout"];
    let output = room.command("openssl").args(arguments).env("PASSPHRASE", passphrase).output().unwrap();
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

#[test]
fn key_of_each_source_is_the_same_and_needs_the_same_flag() {
    let room = Room::with_keys(&["plain", "x", "y"]);
    room.ok_with("a secret of dice", &["generate", "--out", "file:a.pem"]);
    let id = keyid(&room, "a.pub.pem");
    let absolute = format!("file://{}", room.path("a.pem").display());
    let text = |file: &str| String::from_utf8(room.read(file)).unwrap();
    let run = |arguments: &[&str]| -> Output {
        let mut command = room.keys(arguments);
        command.env("SEALED", text("a.pem")).env("PLAIN", text("plain.pem")).env("JUNK", "no key");
        command.env("TUFFET_PASSPHRASE", "a secret of dice").output().unwrap()
    };
    for uri in ["a.pem", "file:a.pem", &absolute, "env:SEALED"] {
        for command in ["show", "smoke-test"] {
            assert!(succeeded(&run(&[command, uri]), &[command, uri]).contains(&id), "{command} {uri}");
        }
        assert!(succeeded(&run(&["smoke-test", uri]), &[uri]).contains("works "), "{uri}");
    }
    for uri in ["plain.pem", "file:plain.pem", "env:PLAIN"] {
        refused(&run(&["smoke-test", uri]), 109, uri.trim_start_matches("file:"));
        let allowed = run(&["smoke-test", uri, "--danger-unencrypted", "--expect", "plain.pub.pem"]);
        assert!(succeeded(&allowed, &[uri]).contains("NOT ENCRYPTED"), "{uri}");
    }
    // The public half can be written anew from wherever the key is.
    succeeded(&run(&["show", "env:SEALED", "--public-out", "again.pub.pem"]), &["show"]);
    assert_eq!(room.read("again.pub.pem"), room.read("a.pub.pem"));
    refused(&run(&["show", "env:SEALED", "--public-out", "again.pub.pem"]), 201, "again.pub.pem");
    refused(&run(&["show", "a.pem", "plain.pem", "--public-out", "b.pub.pem"]), 209, "one KEY");

    refused(&run(&["show", "env:NONE"]), 302, "NONE");
    refused(&run(&["show", "env:JUNK"]), 106, "env:JUNK");
    refused(&run(&["show", "env:"]), 212, "env:");
    refused(&run(&["show", "file://server/a.pem"]), 212, "file://server/a.pem");
    refused(&run(&["smoke-test", "a.pub.pem"]), 106, "the public half");
    let other = ["smoke-test", "a.pem", "--expect", "plain.pub.pem"];
    refused(&run(&other), 128, &format!("another key: {id}"));
    refused(&run(&["smoke-test", "a.pem", "a.pem", "--expect", &id]), 209, "one KEY");
    // Nothing is made or changed in the environment.
    refused(&run(&["generate", "--out", "env:NEW"]), 216, "env:NEW");
    refused(&run(&["change-passphrase", "env:SEALED"]), 216, "env:SEALED");
    refused(&run(&["generate", "--out", "b.pem", "--public-out", "c"]), 209, "--public-out");

    // A request is signed with a key from a variable.
    let (root, online) = (["a.pub.pem", "plain.pub.pem"], "online.pub.pem");
    let draft = ["root", "draft", "--root-key", root[0], root[1], "--targets-key", "x.pub.pem", "y.pub.pem"];
    room.ok(
        &[&draft[..], &["--snapshot-key", online, "--timestamp-key", online, "--out", "request"]].concat()
    );
    let digest = room.repository("request");
    let sign = ["sign", "request", "--yes", "--digest", &digest, "--key", "env:SEALED", "env:PLAIN"];
    let sign = [&sign[..], &["--danger-unencrypted"]].concat();
    assert!(succeeded(&run(&sign), &sign).contains("2 of 2 have signed"));
}

#[test]
fn backup_is_rehearsed_and_restored_and_overwrites_nothing() {
    let room = Room::with_keys(&["plain"]);
    room.ok_with("first of the dice", &["generate", "--out", "a.pem"]);
    let (id, public) = (keyid(&room, "a.pub.pem"), room.read("a.pub.pem"));

    let output =
        with(&room, "first of the dice", "second of the dice", &["backup", "a.pem", "--out", "spare.pem"]);
    let said = succeeded(&output, &["backup"]);
    assert!(
        said.starts_with("wrote spare.pem, beside spare.pub.pem, and read it back: it is the same key"),
        "{said}"
    );
    assert!(said.contains(&format!("tuffet-keys restore spare.pem --rehearse --expect {id}\n")), "{said}");
    assert_ne!(room.read("spare.pem"), room.read("a.pem"));
    assert_eq!(room.read("spare.pub.pem"), public);
    assert_eq!(fs::metadata(room.path("spare.pem")).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(openssl(&room, "spare.pem", "second of the dice").unwrap(), public);
    assert!(openssl(&room, "spare.pem", "first of the dice").is_err(), "the copy has the old passphrase");

    // A rehearsal writes nothing, whether it succeeds or not.
    let before = room.files();
    let rehearse = |expect: &str, passphrase: &str, backup: &str| {
        let arguments = ["restore", backup, "--rehearse", "--expect", expect];
        room.keys(&arguments).env("TUFFET_PASSPHRASE", passphrase).output().unwrap()
    };
    for expect in [&*id, &id.to_uppercase(), "a.pub.pem"] {
        let said = succeeded(&rehearse(expect, "second of the dice", "spare.pem"), &["rehearse"]);
        assert!(said.ends_with("it is the expected key, and signs; nothing was written\n"), "{said}");
    }
    refused(&rehearse(&id, "first of the dice", "spare.pem"), 108, "spare.pem");
    refused(&rehearse("plain.pub.pem", "second of the dice", "spare.pem"), 128, "spare.pem");
    refused(&rehearse(&id, "second of the dice", "spare.pub.pem"), 106, "the public half");
    refused(&rehearse(&id, "second of the dice", "none.pem"), 301, "none.pem");
    let damaged = room.read("spare.pem").iter().map(|byte| byte.to_ascii_uppercase()).collect::<Vec<u8>>();
    fs::write(room.path("damaged.pem"), damaged).unwrap();
    let code = String::from_utf8(rehearse(&id, "second of the dice", "damaged.pem").stderr).unwrap();
    assert!(code.starts_with("error[K1"), "{code}");
    fs::remove_file(room.path("damaged.pem")).unwrap();
    assert_eq!(room.files(), before);

    // The key is lost, and comes back under a passphrase of its own.
    fs::remove_file(room.path("a.pem")).unwrap();
    let restore = ["restore", "spare.pem", "--expect", "a.pub.pem", "--out"];
    // Beside another's public key it does not go; its own is still there, and stays.
    fs::copy(room.path("plain.pub.pem"), room.path("other.pub.pem")).unwrap();
    refused(
        &with(&room, "second of the dice", "third of the dice", &[&restore[..], &["other.pem"]].concat()),
        201,
        "other.pub.pem",
    );
    assert!(!room.path("other.pem").exists());
    for back in ["a", "back"] {
        let (key, beside) = (format!("{back}.pem"), format!("{back}.pub.pem"));
        let said = with(&room, "second of the dice", "third of the dice", &[&restore[..], &[&key]].concat());
        assert!(succeeded(&said, &["restore"]).contains(&id));
        assert_eq!(openssl(&room, &key, "third of the dice").unwrap(), public);
        assert_eq!(room.read(&beside), public);
    }
    let wrong = ["restore", "spare.pem", "--expect", "plain.pub.pem", "--out", "wrong.pem"];
    refused(&with(&room, "second of the dice", "third of the dice", &wrong), 128, "spare.pem");
    assert!(!room.path("wrong.pem").exists());
    let before = room.read("back.pem");
    refused(
        &with(&room, "second of the dice", "third of the dice", &[&restore[..], &["back.pem"]].concat()),
        201,
        "back.pem",
    );
    assert_eq!(room.read("back.pem"), before);

    // An unencrypted key needs its flag, and its copy is encrypted all the same.
    let backup = ["backup", "plain.pem", "--out", "sealed.pem"];
    refused(&with(&room, "", "second of the dice", &backup), 109, "plain.pem");
    assert!(!room.path("sealed.pem").exists());
    succeeded(
        &with(&room, "", "second of the dice", &[&backup[..], &["--danger-unencrypted"]].concat()),
        &backup,
    );
    assert_eq!(openssl(&room, "sealed.pem", "second of the dice").unwrap(), room.read("plain.pub.pem"));
    assert!(room.read("sealed.pem").starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let restore =
        ["restore", "plain.pem", "--expect", "plain.pub.pem", "--danger-unencrypted", "--out", "r.pem"];
    succeeded(&with(&room, "", "second of the dice", &restore), &restore);
    assert_eq!(openssl(&room, "r.pem", "second of the dice").unwrap(), room.read("plain.pub.pem"));
}

#[test]
fn unencrypted_key_is_one_for_openssl_too() {
    let room = Room::with_keys(&["plain"]);
    assert!(room.read("plain.pem").starts_with(b"-----BEGIN PRIVATE KEY-----\n"));
    assert_eq!(fs::metadata(room.path("plain.pem")).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(openssl(&room, "plain.pem", "").unwrap(), room.read("plain.pub.pem"));
    fs::write(room.path("message"), "message").unwrap();
    let sign = ["dgst", "-sha256", "-sign", "plain.pem", "-out", "sig", "message"];
    room.tool("openssl", &sign);
    room.tool("openssl", &["dgst", "-sha256", "-verify", "plain.pub.pem", "-signature", "sig", "message"]);
}

#[test]
fn passphrase_that_was_changed_opens_and_the_old_one_does_not() {
    let room = Room::with_keys(&["plain"]);
    room.ok_with("first of the dice", &["generate", "--out", "a.pem"]);
    let public = room.read("a.pub.pem");
    let opens = |passphrase: &str| {
        let output = room.keys(&["smoke-test", "a.pem", "--expect", "a.pub.pem"]);
        let output: Output = { output }.env("TUFFET_PASSPHRASE", passphrase).output().unwrap();
        output.status.success()
    };
    let before = room.read("a.pem");
    refused(&with(&room, "wrong", "second of the dice", &["change-passphrase", "a.pem"]), 108, "a.pem");
    refused(
        &with(&room, "first of the dice", "", &["change-passphrase", "a.pem"]),
        202,
        "TUFFET_NEW_PASSPHRASE",
    );
    assert_eq!(room.read("a.pem"), before);
    // The old passphrase is never taken for the new one: there is nobody to ask for that.
    let setsid = |arguments: &[&str]| -> Command {
        let mut command = room.command("setsid");
        command.arg("--wait").arg(BINARY).args(arguments).env("TUFFET_PASSPHRASE", "first of the dice");
        command
    };
    refused(&setsid(&["change-passphrase", "a.pem"]).output().unwrap(), 303, "no terminal");
    assert_eq!(room.read("a.pem"), before);

    let said = with(&room, "first of the dice", "second of the dice", &["change-passphrase", "a.pem"]);
    let said = succeeded(&said, &["change-passphrase"]);
    assert!(said.starts_with("changed the passphrase of a.pem; copies and backups keep theirs\n"), "{said}");
    assert!(opens("second of the dice") && !opens("first of the dice"));
    assert_eq!(openssl(&room, "a.pem", "second of the dice").unwrap(), public);
    assert!(openssl(&room, "a.pem", "first of the dice").is_err());
    assert_eq!(fs::metadata(room.path("a.pem")).unwrap().permissions().mode() & 0o7777, 0o600);

    // From one descriptor, the old one first; from a variable of another name; typed, the new one twice.
    let script = "printf 'second of the dice\\nthird of the dice\\n' | \"$0\" change-passphrase a.pem --passphrase-fd 0";
    let output = room.command("sh").args(["-c", script, BINARY]).output().unwrap();
    succeeded(&output, &["change-passphrase"]);
    assert!(opens("third of the dice") && !opens("second of the dice"));
    let named = ["change-passphrase", "a.pem", "--passphrase-env", "OLD", "--new-passphrase-env", "NEW"];
    succeeded(
        &room.keys(&named).env("OLD", "third of the dice").env("NEW", "fourth of the dice").output().unwrap(),
        &named,
    );
    assert!(opens("fourth of the dice"));
    let (done, screen) =
        typed(&room, "fourth of the dice\nfifth of the dice\nfith\n", "change-passphrase a.pem");
    assert!(!done && screen.contains("error[K203]"), "{screen}");
    assert!(opens("fourth of the dice"));
    let (done, screen) =
        typed(&room, "fourth of the dice\nfifth of the dice\nfifth of the dice\n", "change-passphrase a.pem");
    assert!(done && opens("fifth of the dice"), "{screen}");

    // Through a link the file behind it changes, and the link stays.
    fs::create_dir(room.path("stick")).unwrap();
    fs::rename(room.path("a.pem"), room.path("stick/a.pem")).unwrap();
    symlink("stick/a.pem", room.path("a.pem")).unwrap();
    succeeded(
        &with(&room, "fifth of the dice", "sixth of the dice", &["change-passphrase", "a.pem"]),
        &["change-passphrase"],
    );
    assert!(room.path("a.pem").symlink_metadata().unwrap().is_symlink());
    assert!(opens("sixth of the dice"));
    assert_eq!(openssl(&room, "stick/a.pem", "sixth of the dice").unwrap(), public);

    // An unencrypted key gets its first one.
    succeeded(
        &with(&room, "", "first of the dice", &["change-passphrase", "plain.pem"]),
        &["change-passphrase"],
    );
    assert!(room.read("plain.pem").starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    assert_eq!(openssl(&room, "plain.pem", "first of the dice").unwrap(), room.read("plain.pub.pem"));
}

#[test]
fn key_whose_public_half_cannot_be_written_leaves_nothing_and_can_be_made_again() {
    let room = Room::with_keys(&["a"]);
    let before = room.files();
    // Short enough for a file, until `.pub` comes into it.
    let long = format!("{}.pem", "a".repeat(248));
    for _ in 0..2 {
        let encrypted =
            room.keys(&["generate", "--out", &long]).env("TUFFET_PASSPHRASE", "five words of dice").output();
        refused(&encrypted.unwrap(), 301, "File name too long");
        room.refused(&["generate", "--danger-unencrypted", "--out", &long], 301, "File name too long");
        let backup = ["backup", "a.pem", "--danger-unencrypted", "--out", &long];
        let backup = room.keys(&backup).env("TUFFET_NEW_PASSPHRASE", "five words of dice").output().unwrap();
        refused(&backup, 301, "File name too long");
        assert_eq!(room.files(), before);
    }
}

#[test]
fn passphrase_that_is_short_or_the_same_again_is_taken_with_a_note() {
    let room = Room::with_keys(&["plain"]);
    let noted = |old: &str, new: &str, arguments: &[&str]| {
        let output = with(&room, old, new, arguments);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{said}");
        let shown = String::from_utf8(output.stdout).unwrap();
        for secret in [old, new] {
            assert!(secret.is_empty() || !format!("{shown}{said}").contains(secret), "{shown}{said}");
        }
        said
    };
    let short = |count: &str| {
        format!(
            "note: the passphrase has {count}; five words from dice have 25: whoever gets the file can try them all\n"
        )
    };
    let same = "note: the copy has the same passphrase: who learns one has both\n";
    assert_eq!(noted("zyxwv", "", &["generate", "--out", "a.pem"]), short("5 characters"));
    assert_eq!(noted("zyxwv", "q~q~q~q~q~q~", &["change-passphrase", "a.pem"]), "");
    // Characters are counted, and not bytes.
    assert_eq!(
        noted(
            "q~q~q~q~q~q~",
            "\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}\u{e4}",
            &["change-passphrase", "a.pem"]
        ),
        short("11 characters")
    );
    assert_eq!(
        noted("zyxwv", "%", &["backup", "plain.pem", "--danger-unencrypted", "--out", "b.pem"]),
        short("1 character")
    );
    assert_eq!(noted("zyxwv", "q~q~q~q~q~q~", &["generate", "--out", "c.pem"]), short("5 characters"));
    assert_eq!(noted("zyxwv", "zyxwv", &["backup", "c.pem", "--out", "d.pem"]), short("5 characters") + same);
    assert_eq!(noted("zyxwv", "q~q~q~q~q~q~", &["backup", "c.pem", "--out", "e.pem"]), "");
    assert_eq!(noted("q~q~q~q~q~q~", "q~q~q~q~q~q~", &["backup", "e.pem", "--out", "f.pem"]), same);
}

#[test]
fn passphrase_mistyped_on_a_terminal_may_be_typed_three_times_and_elsewhere_once() {
    let room = Room::with_keys(&["b", "c", "x", "y"]);
    room.ok_with("first of the dice", &["generate", "--out", "a.pem"]);
    room.draft("request");
    let lines = format!("{}\nwrong\nfirst of teh dice\nfirst of the dice\n", room.repository("request"));
    let (done, screen) = typed(&room, &lines, "sign request --key a.pem");
    assert!(done, "{screen}");
    for fact in
        ["Passphrase of a.pem: ", "Wrong passphrase of a.pem; again, 2 tries left: ", "again, 1 try left: "]
    {
        assert!(screen.contains(fact), "{screen}");
    }
    assert_eq!(screen.matches("to sign: ").count(), 1, "the review began anew: {screen}");
    assert_eq!(signatures(&room, "request").len(), 1);
    let lines = "wrong\nwrong\nwrong\nfirst of the dice\n";
    let (done, screen) = typed(&room, lines, "smoke-test a.pem");
    assert!(!done && screen.contains("error[K108]") && screen.matches("again").count() == 3, "{screen}");
    // Who types nothing has given up.
    let (done, screen) = typed(&room, "wrong\n\nfirst of the dice\n", "smoke-test a.pem");
    assert!(!done && screen.contains("error[K108]"), "{screen}");
    let (done, screen) = typed(
        &room,
        "wrong\nfirst of the dice\nsecond of the dice\nsecond of the dice\n",
        "change-passphrase a.pem",
    );
    assert!(done, "{screen}");
    // A descriptor's next line is for the next key.
    fs::write(room.path("lines"), "wrong\nsecond of the dice\n").unwrap();
    let script = "exec \"$0\" show a.pem --passphrase-fd 7 7<lines";
    refused(&room.command("sh").args(["-c", script, BINARY]).output().unwrap(), 108, "a.pem");
}
