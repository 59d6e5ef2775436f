//! Bad input: one line with a code, the right exit status, and every file as it was.

use core::sync::atomic::{AtomicBool, Ordering};
use std::fs;
use std::process::{Command, Stdio};

use tuffet_keys::Role;
use tuffet_keys::key::SigningKey;
use tuffet_keys::request::Request;

use crate::support::{Bench, DAY, Holders, NOW, PUBLISH, assert_fails, sha256, text};

fn release<'a>(image: &'a str, options: &[&'a str]) -> Vec<&'a str> {
    let defaults = [("--hardware", "rev-a"), ("--channel", "stable"), ("--version", "2.0.0")];
    let mut arguments = vec!["release", "add", image];
    for (option, value) in defaults {
        if !options.contains(&option) {
            arguments.extend([option, value]);
        }
    }
    arguments.extend(options);
    arguments
}

#[test]
fn release_of_something_no_device_could_take_is_refused_by_its_code() {
    let bench = Bench::new();
    bench.image("fw.bin", b"one");
    bench.ok(&release("fw.bin", &["--version", "1.0.0", "--counter", "5"]));
    bench.image("other.bin", b"other bytes");
    bench.image("large.bin", &[0; 4097]);
    bench.image("exact.bin", &[0; 4096]);
    bench.image("empty.bin", b"");
    bench.image("has space.bin", b"x");
    bench.image(&format!("{}.bin", "x".repeat(150)), b"x");
    let long = format!("{}.bin", "x".repeat(150));
    let cases: [(Vec<&str>, i32, &str, &str); 23] = [
        (release("large.bin", &[]), 1, "T102", "has 4097 bytes and the slot of rev-a 4096: large.bin"),
        (release("exact.bin", &["--hardware", "rev-b"]), 1, "T102", "the slot of rev-b 64"),
        (release("empty.bin", &[]), 1, "T103", "empty.bin"),
        (release("missing.bin", &[]), 3, "T301", "missing.bin"),
        (release(".", &[]), 2, "T203", "file name"),
        (release("repo", &[]), 3, "T301", "no regular file"),
        (release("other.bin", &["--hardware", "rev-c"]), 1, "T105", "(known: thermo/rev-a, thermo/rev-b)"),
        (release("other.bin", &["--hardware", "Rev A"]), 2, "T203", "hardware id"),
        (release("other.bin", &["--version", "1.0.0"]), 1, "T106", "thermo/rev-a/versions/1.0.0/fw.bin"),
        (release("fw.bin", &["--version", "1.0.0", "--counter", "6"]), 1, "T107", "release 1 of stable"),
        (
            release("other.bin", &["--counter", "4"]),
            1,
            "T108",
            "has security counter 4, and a release of the channel 5",
        ),
        (release("other.bin", &["--minimum", "2"]), 1, "T109", "below 2"),
        (release("other.bin", &["--channel", "a/b"]), 2, "T203", "`a/b` cannot be a channel"),
        (release("other.bin", &["--channel", ""]), 2, "T203", "channel"),
        (release("other.bin", &["--channel", "versions"]), 2, "T203", "channel"),
        (release("other.bin", &["--channel", "a\nb"]), 2, "T203", "`a\\nb`"),
        (release("other.bin", &["--version", "../1"]), 2, "T203", "version"),
        (release("other.bin", &["--version", &long]), 2, "T203", "version"),
        (release("has space.bin", &[]), 2, "T203", "file name"),
        (release(&long, &[]), 2, "T203", "file name"),
        (
            release("other.bin", &["--rollout-start", "2d", "--rollout-end", "1d"]),
            2,
            "T204",
            "after its start",
        ),
        (
            release("other.bin", &["--rollout-start", "2026-11-01", "--rollout-end", "2026-11-02"]),
            2,
            "T204",
            "over already",
        ),
        (release("other.bin", &["--rollout-end", "soon"]), 2, "K204", "--rollout-end"),
    ];
    for (arguments, status, label, part) in cases {
        let message = bench.fails(&arguments, status, label);
        assert!(message.contains(part), "{arguments:?}: {message}");
    }
    bench.ok(&release("exact.bin", &[]));
}

#[test]
fn version_that_is_published_cannot_be_released_with_other_bytes() {
    let bench = Bench::new();
    bench.image("fw.bin", b"one");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    bench.image("fw.bin", b"other");
    for channel in ["stable", "beta"] {
        bench.fails(&release("fw.bin", &["--version", "1.0.0", "--channel", channel]), 1, "T106");
    }
}

#[test]
fn usage_errors_of_the_command_line_end_with_status_2() {
    let bench = Bench::new();
    let wrong: [&[&str]; 7] = [
        &["release", "add"],
        &["release", "rollout", "--hardware", "a", "--channel", "b"],
        &[
            "release",
            "add",
            "fw.bin",
            "--hardware",
            "rev-a",
            "--channel",
            "stable",
            "--version",
            "1",
            "--counter",
            "-1",
        ],
        &[
            "release",
            "add",
            "fw.bin",
            "--hardware",
            "a",
            "--channel",
            "b",
            "--version",
            "1",
            "--rollout-start",
            "1d",
        ],
        &["publish"],
        &["--output", "xml", "verify"],
        &["init", "--root", "1.root.json", "--product", "p", "--hardware", "h", "--slot-size", "0"],
    ];
    for arguments in wrong {
        let output = bench.command(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(text(&output.stderr).starts_with("error: "), "{arguments:?}");
    }
}

#[test]
fn init_with_a_bad_root_or_where_a_workspace_is_is_refused() {
    let bench = Bench::bare();
    let init = |root| ["init", "--root", root, "--product", "thermo"];
    let genuine = text(&bench.holders.chain[0]);
    fs::write(bench.path("cut.json"), &genuine[..genuine.len() / 2]).unwrap();
    fs::write(bench.path("changed.json"), genuine.replacen("\"threshold\":2", "\"threshold\":1", 1)).unwrap();
    let expired = Holders::new(NOW - 100 * DAY, NOW - DAY);
    fs::write(bench.path("expired.json"), &expired.chain[0]).unwrap();
    let mut rotated = Holders::new(NOW - DAY, NOW + DAY);
    fs::write(bench.path("second.json"), rotated.next_root(|_| {})).unwrap();

    bench.fails(&init("cut.json"), 1, "K102");
    bench.fails(&init("changed.json"), 1, "K116");
    bench.fails(&init("second.json"), 1, "K116");
    bench.fails(&init("missing.json"), 3, "T301");
    let message = bench.fails(&init("expired.json"), 1, "C110");
    assert!(message.contains("expired"), "{message}");
    bench.fails(&["init", "--root", "1.root.json", "--product", "Thermo!"], 2, "T203");
    bench.fails(&["init", "--root", "1.root.json", "--product", "thermo", "--hardware", "rev-a"], 2, "T205");
    bench.fails(&["release", "add", "x", "--hardware", "a", "--channel", "b", "--version", "1"], 2, "T201");

    bench.ok(&init("1.root.json"));
    bench.fails(&init("1.root.json"), 2, "T202");
}

#[test]
fn root_that_does_not_follow_is_refused() {
    let mut bench = Bench::new();
    let second = bench.holders.next_root(|_| {});
    let third = bench.holders.next_root(|_| {});
    let mut strangers = Holders::new(NOW - DAY, NOW + 365 * DAY);
    let forged = strangers.next_root(|_| {});
    for (name, bytes) in [("2.root.json", &second), ("3.root.json", &third), ("forged.json", &forged)] {
        fs::write(bench.path(name), bytes).unwrap();
    }
    bench.fails(&["root", "add", "3.root.json"], 1, "K116");
    bench.fails(&["root", "add", "forged.json"], 1, "K116");
    bench.ok(&["root", "add", "2.root.json"]);
    bench.fails(&["root", "add", "forged.json"], 1, "K116");
    bench.ok(&["root", "add", "3.root.json"]);
}

#[test]
fn configuration_that_is_wrong_is_refused_with_its_position() {
    let bench = Bench::new();
    let path = bench.repo().join("tuffet.toml");
    let good = fs::read_to_string(&path).unwrap();
    let cases = [
        ("format = 1", "format = 2", "tuffet.toml:3:10: unknown format"),
        ("format = 1", "format = ", "tuffet.toml:3:"),
        ("root-1-sha256 = ", "# ", "tuffet.toml:3:10: root-1-sha256 is missing"),
        ("root-1-sha256 = \"", "root-1-sha256 = \"0", "tuffet.toml:7:17: not a SHA-256"),
        ("slot-size = 4096", "slot-size = 0", ": a slot of 0 bytes takes no image; correct the file"),
        ("slot-size = 4096", "slot-size = 4294967296", "tuffet.toml:25:13: "),
        ("slot-size = 4096", "slot-sise = 4096", "tuffet.toml:25:1: unknown field `slot-sise`"),
        ("\"rev-b\"", "\"Rev B\"", "tuffet.toml:27:29: `Rev B` cannot be a hardware id"),
        (
            "# [roles.targets]\n# expires = \"180d\"",
            "[roles.targets]\nexpires = \"soon\"",
            ":11: not a duration",
        ),
        ("# [roles.targets]", "[roles.target]", "unknown field `target`"),
        ("[products.\"thermo\"]", "[products.\"Thermo\"]\n[products.thermo]", "`Thermo` cannot be a product"),
    ];
    for (old, new, part) in cases {
        let changed = good.replacen(old, new, 1);
        assert_ne!(changed, good, "{old}");
        fs::write(&path, changed).unwrap();
        let message = bench.fails(&PUBLISH, 1, "T101");
        assert!(message.contains(part), "{message}");
    }
}

#[test]
fn publish_that_cannot_end_well_is_refused() {
    let mut bench = Bench::new();
    bench.fails(&PUBLISH, 1, "T116");
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    SigningKey::generate().unwrap().write_new_danger_unencrypted(&bench.path("foreign.pem")).unwrap();
    let publish = |snapshot, timestamp| {
        ["publish", "--danger-unencrypted", "--snapshot-key", snapshot, "--timestamp-key", timestamp]
    };
    let message = bench.fails(&publish("foreign.pem", "online.pem"), 1, "T115");
    assert!(message.contains("no snapshot key of root 1"), "{message}");
    let message = bench.fails(&publish("online.pem", "foreign.pem"), 1, "T115");
    assert!(message.contains("no timestamp key of root 1"), "{message}");
    bench.fails(&publish("online.pem", "missing.pem"), 3, "T301");
    bench.fails(&publish("online.pem", "fw.bin"), 1, "K106");

    let staged = bench.workspace().staged_image(&sha256(b"image"));
    fs::write(&staged, b"imagE").unwrap();
    bench.fails(&PUBLISH, 1, "T111");
    fs::remove_file(&staged).unwrap();
    bench.fails(&PUBLISH, 1, "T119");
    bench.release("fw.bin", "1.0.0");

    // The request asks the keys of root 1; root 2 has others.
    let gone = bench.holders.release[2].public().keyid().to_owned();
    let fresh = SigningKey::generate().unwrap();
    let root = bench.holders.next_root(|draft| {
        draft.remove_key(&Role::Targets, &gone).unwrap();
        draft.add_key(&Role::Targets, fresh.public()).unwrap();
    });
    let request = Request::read(&bench.workspace().request_path(&Role::Targets)).unwrap();
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    request.write(&bench.workspace().request_path(&Role::Targets)).unwrap();
    bench.fails(&PUBLISH, 1, "T113");
    bench.ok(&["renew", "targets"]);
    bench.sign(2);
    bench.publish();
    // Not even where there is nothing for the key to sign.
    bench.fails(&publish("foreign.pem", "online.pem"), 1, "T115");
}

#[test]
fn publish_of_a_request_that_is_damaged_or_stale_is_refused() {
    let bench = Bench::new();
    let request = bench.workspace().request_path(&Role::Targets);
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    let first = fs::read(&request).unwrap();
    fs::write(&request, &first[..first.len() / 2]).unwrap();
    let message = bench.fails(&PUBLISH, 1, "K102");
    assert!(message.contains("repo/staged/targets.request.json"), "{message}");
    fs::write(&request, &first).unwrap();
    bench.publish();
    bench.image("fw.bin", b"new image");
    bench.release("fw.bin", "2.0.0");
    bench.sign(2);
    bench.publish();
    fs::write(&request, &first).unwrap();
    let message = bench.fails(&PUBLISH, 1, "T112");
    assert!(message.contains("for targets 1, and 2 is published"), "{message}");
    bench.fails(&release("fw.bin", &["--version", "3.0.0"]), 1, "T112");
}

#[test]
fn publish_when_a_root_asks_for_keys_that_were_not_given_is_refused() {
    let mut bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let (gone, fresh) =
        (bench.holders.release[2].public().keyid().to_owned(), SigningKey::generate().unwrap());
    let second = SigningKey::generate().unwrap();
    second.write_new_danger_unencrypted(&bench.path("second.pem")).unwrap();
    let root = bench.holders.next_root(|draft| {
        draft.remove_key(&Role::Targets, &gone).unwrap();
        draft.add_key(&Role::Targets, fresh.public()).unwrap();
        draft.add_key(&Role::Snapshot, second.public()).unwrap();
        draft.set_threshold(&Role::Snapshot, 2);
    });
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    bench.sign(2);

    let message = bench.fails(&PUBLISH, 1, "T114");
    assert!(message.contains("1 of 2 snapshot keys"), "{message}");
    let mut twice = PUBLISH.to_vec();
    twice.extend(["--snapshot-key", "online.pem"]);
    bench.fails(&twice, 1, "T114");
    let mut both = PUBLISH.to_vec();
    both.extend(["--snapshot-key", "second.pem"]);

    let request = fs::read(bench.workspace().request_path(&Role::Targets)).unwrap();
    fs::remove_file(bench.workspace().request_path(&Role::Targets)).unwrap();
    // The two that signed before still are release keys, so the published targets would do.
    bench.ok(&[&both[..], &["--dry-run"]].concat());
    fs::write(bench.workspace().request_path(&Role::Targets), request).unwrap();
    bench.ok(&both);
    bench.ok(&["verify"]);
}

#[test]
fn publish_of_a_root_without_the_new_signatures_that_it_demands_is_refused() {
    let mut bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let root = bench.holders.next_root(|draft| draft.set_threshold(&Role::Targets, 3));
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    fs::remove_file(bench.workspace().request_path(&Role::Targets)).unwrap();
    let message = bench.fails(&PUBLISH, 1, "T121");
    assert!(message.contains("`tuffet renew`"), "{message}");
    bench.ok(&["renew", "targets"]);
    bench.sign(3);
    bench.publish();
}

#[test]
fn publish_over_published_files_that_somebody_changed_is_refused() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    bench.image("fw.bin", b"new image");
    bench.release("fw.bin", "2.0.0");
    bench.sign(2);
    let public = bench.repo().join("public");

    let orphan = public.join("2.targets.json");
    fs::write(&orphan, "{}").unwrap();
    let message = bench.fails(&PUBLISH, 1, "T110");
    assert!(message.contains("public/2.targets.json"), "{message}");
    fs::remove_file(&orphan).unwrap();

    for (name, label) in [("1.targets.json", "T111"), ("1.snapshot.json", "T111"), ("timestamp.json", "T111")]
    {
        let genuine = fs::read(public.join(name)).unwrap();
        let mut changed = genuine.clone();
        changed.truncate(genuine.len() - 1);
        fs::write(public.join(name), &changed).unwrap();
        bench.fails(&PUBLISH, 1, label);
        if name != "timestamp.json" {
            fs::remove_file(public.join(name)).unwrap();
            bench.fails(&PUBLISH, 1, "T111");
        }
        fs::write(public.join(name), &genuine).unwrap();
    }
    bench.publish();
}

#[test]
fn publish_into_a_directory_that_is_a_link_is_refused_and_writes_nothing_behind_it() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    let elsewhere = bench.path("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let public = bench.repo().join("public");
    for planted in ["targets", "targets/thermo", "targets/thermo/rev-a/versions/1.0.0"] {
        let planted = public.join(planted);
        fs::create_dir_all(planted.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &planted).unwrap();
        let message = bench.fails(&PUBLISH, 1, "T111");
        assert!(message.contains("is a symbolic link: repo/public/targets"), "{message}");
        fs::remove_file(&planted).unwrap();
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
    // The whole public directory may lie on another disk.
    fs::rename(&public, elsewhere.join("www")).unwrap();
    std::os::unix::fs::symlink(elsewhere.join("www"), &public).unwrap();
    bench.publish();
    bench.ok(&["verify"]);
}

#[test]
fn publish_with_a_clock_behind_the_last_publication_is_refused() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let output = bench.command_at(NOW - 60, &PUBLISH).output().unwrap();
    let message = assert_fails(&output, 3, "T303");
    assert!(
        message.contains("2026-11-22T11:59:00Z") && message.contains("2026-11-22T12:00:00Z"),
        "{message}"
    );
}

#[test]
fn publish_of_targets_that_expired_while_they_waited_is_refused() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    let message = assert_fails(&bench.command_at(NOW + 180 * DAY, &PUBLISH).output().unwrap(), 1, "K137");
    assert!(message.contains("targets version 1 expired 2027-05-21T12:00:00Z"), "{message}");
    assert_eq!(bench.public_files(), ["1.root.json"]);
}

#[test]
fn two_publishers_at_once_never_mix() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    let lock = bench.workspace().lock().unwrap();
    for arguments in
        [&PUBLISH[..], &["renew", "targets"], &["root", "add", "1.root.json"], &release("fw.bin", &[])]
    {
        let message = bench.fails(arguments, 3, "T302");
        assert!(message.contains(".tuffet.lock"), "{message}");
    }
    drop(lock);
    let start = || {
        let mut command: Command = bench.command(&PUBLISH);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    };
    let racers: Vec<_> = (0..6).map(|_| start()).collect();
    let mut published = 0;
    for racer in racers {
        let output = racer.wait_with_output().unwrap();
        if output.status.success() {
            published += 1;
        } else {
            assert_fails(&output, 3, "T302");
        }
    }
    assert!(published > 0);
    assert_eq!(bench.public_json("timestamp.json")["signed"]["version"], published);
    bench.ok(&["verify"]);
}

#[derive(Clone, Copy)]
enum Damage {
    Flip,
    Cut,
    Grow,
    Version,
    Replace(&'static str),
}

impl Damage {
    fn done_to(self, genuine: &[u8]) -> Vec<u8> {
        let mut bytes = genuine.to_vec();
        match self {
            Damage::Flip => *bytes.last_mut().unwrap() ^= 1,
            Damage::Cut => bytes.truncate(bytes.len() / 2),
            Damage::Grow => bytes.extend([b' '; 70_000]),
            Damage::Version => {
                // What a targets file ends with.
                let at = bytes.len() - 3;
                assert_eq!(bytes[at], b'1');
                bytes[at] = b'2';
            }
            Damage::Replace(text) => bytes = text.as_bytes().to_vec(),
        }
        bytes
    }
}

#[test]
fn verify_of_a_repository_that_somebody_changed_is_refused() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let public = bench.repo().join("public");
    let files = bench.public_files();
    let image = files.iter().find(|name| name.ends_with(".fw.bin")).unwrap();
    let entry = files.iter().find(|name| name.ends_with(".release")).unwrap();
    let cases: [(&str, Damage, &str); 13] = [
        (image, Damage::Flip, "T120"),
        (image, Damage::Cut, "T120"),
        (image, Damage::Grow, "T120"),
        (entry, Damage::Flip, "T120"),
        ("1.targets.json", Damage::Cut, "C102"),
        ("1.targets.json", Damage::Grow, "C105"),
        ("1.targets.json", Damage::Version, "C111"),
        ("1.snapshot.json", Damage::Cut, "C102"),
        ("timestamp.json", Damage::Cut, "C102"),
        ("timestamp.json", Damage::Grow, "C105"),
        ("timestamp.json", Damage::Replace(""), "C102"),
        ("timestamp.json", Damage::Replace("<html>"), "C100"),
        ("1.root.json", Damage::Cut, "K102"),
    ];
    for (name, damage, label) in cases {
        let genuine = fs::read(public.join(name)).unwrap();
        fs::write(public.join(name), damage.done_to(&genuine)).unwrap();
        bench.fails(&["verify"], 1, label);
        fs::write(public.join(name), genuine).unwrap();
    }
    for (name, status, label) in
        [(image.as_str(), 1, "T119"), ("timestamp.json", 3, "C300"), ("1.root.json", 1, "T111")]
    {
        let genuine = fs::read(public.join(name)).unwrap();
        fs::remove_file(public.join(name)).unwrap();
        bench.fails(&["verify"], status, label);
        fs::write(public.join(name), genuine).unwrap();
    }
    let strangers = Holders::new(NOW - DAY, NOW + 365 * DAY);
    fs::write(bench.path("stranger.json"), &strangers.chain[0]).unwrap();
    bench.fails(&["verify", "--root", "stranger.json"], 1, "C106");
    let message = assert_fails(&bench.command_at(NOW + 8 * DAY, &["verify"]).output().unwrap(), 1, "C110");
    assert!(message.contains("timestamp: expired 2026-11-29T12:00:00Z"), "{message}");
    bench.ok(&["verify", "--root", "1.root.json", "repo/public"]);
}

#[test]
fn lock_that_is_dropped_is_free_though_processes_are_being_started() {
    let bench = Bench::new();
    let workspace = bench.workspace();
    // A child that was forked and has not executed its program yet holds copies of all files.
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(Ordering::Relaxed) {
                    let _ = Command::new("/nonexistent").spawn();
                }
            });
        }
        let taken: Result<Vec<_>, _> = (0..3000).map(|_| workspace.lock().map(drop)).collect();
        stop.store(true, Ordering::Relaxed);
        taken.unwrap();
    });
}
