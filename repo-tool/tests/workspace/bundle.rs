//! Bundles of a real repository: what is in them, who takes them, and what is never left behind.

use std::fs::{self, File};

use serde_json::Value;
use tuffet_agent::agent::{Agent, Checked, Started};
use tuffet_agent::factory_file::FactoryFile;
use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::{Flash, FlashMap};
use tuffet_client::{Clock, SOFTWARE};

use crate::support::{Bench, DAY, NOW, PUBLISH, assert_fails, sha256, text};

const BUNDLE: [&str; 7] = ["bundle", "--hardware", "rev-a", "--channel", "stable", "--out", "rev-a.bundle"];

fn with<'a>(options: &[&'a str]) -> Vec<&'a str> {
    [&BUNDLE, options].concat()
}

/// A device made from root 1 with 1.0.0, then releases 1.1.0 and 1.2.0, each under a root of its own.
fn rotated_bench() -> Bench {
    let mut bench = Bench::new();
    let path = bench.repo().join("tuffet.toml");
    let config = fs::read_to_string(&path).unwrap();
    fs::write(&path, config.replacen("slot-size = 4096\n", "slot-size = 4096\nflash-map = \"demo\"\n", 1))
        .unwrap();
    bench.image("fw.bin", b"firmware 1.0.0");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    bench.ok(&[
        "provision",
        "--hardware",
        "rev-a",
        "--channel",
        "stable",
        "--out",
        "factory",
        "--image",
        "fw.bin",
    ]);
    for (root, version) in [("2.root.json", "1.1.0"), ("3.root.json", "1.2.0")] {
        let bytes = bench.holders.next_root(|_| {});
        fs::write(bench.path(root), bytes).unwrap();
        bench.ok(&["root", "add", root]);
        bench.image("fw.bin", format!("firmware {version}").as_bytes());
        bench.release("fw.bin", version);
        bench.sign(2);
        bench.publish();
    }
    bench
}

/// The name of the newest image's file.
fn image(version: &str) -> String {
    let sha256 = sha256(format!("firmware {version}").as_bytes());
    format!("targets/thermo/rev-a/versions/{version}/{sha256}.fw.bin")
}

/// Runs the device that the factory made, with this bundle and nothing else.
fn apply(bench: &Bench, bundle: &str, now: u64) -> Result<Checked, tuffet_agent::Error> {
    device(bench, bundle, |agent| agent.check(&mut || Clock::At(now), &mut |_| ()))
}

type Device<'a> = Agent<'a, FileFlash, tuffet_agent::Bundle<File>>;

fn device<R>(bench: &Bench, bundle: &str, act: impl FnOnce(&mut Device<'_>) -> R) -> R {
    let factory = FactoryFile::parse(&fs::read(bench.path("factory/factory.json")).unwrap()).unwrap();
    let nor = FileFlash::open(&bench.path("factory/device.nor")).unwrap();
    let flash = Flash::new(nor, FlashMap::DEMO).unwrap();
    let bundle = tuffet_agent::Bundle::open(File::open(bench.path(bundle)).unwrap()).unwrap();
    let mut agent = Agent::new(flash, bundle, &SOFTWARE, factory.factory(), b"thermo-1").unwrap();
    let result = act(&mut agent);
    agent.flash_mut().nor_mut().sync().unwrap();
    result
}

#[test]
fn bundle_updates_a_device_from_the_factory_across_two_roots_without_a_server() {
    let bench = rotated_bench();
    let said = bench.ok(&BUNDLE);
    assert!(said.contains("it brings release 3 of thermo/rev-a/stable, version 1.2.0\n"), "{said}");
    assert!(said.contains("to devices that have root 1 or a later one\n"), "{said}");
    // Nothing of the repository is left.
    fs::rename(bench.repo(), bench.path("elsewhere")).unwrap();
    let checked = apply(&bench, "rev-a.bundle", NOW);
    let Ok(Checked::Pending(image)) = checked else { panic!("{checked:?}") };
    assert_eq!((image.sequence, image.version.as_str()), (3, "1.2.0"));
    let started = device(&bench, "rev-a.bundle", |agent| {
        agent.boot(&mut || Clock::At(NOW), &mut |_| true, &mut |_| ())
    });
    assert_eq!(started, Ok(Started::Confirmed(image)));
    assert_eq!(apply(&bench, "rev-a.bundle", NOW), Ok(Checked::UpToDate));
}

#[test]
fn bundle_holds_what_a_device_asks_for_in_that_order_and_in_the_format_s_bytes() {
    let bench = rotated_bench();
    let json: Value = serde_json::from_str(&bench.ok(&with(&["--output", "json"]))).unwrap();
    let bytes = fs::read(bench.path("rev-a.bundle")).unwrap();
    let image = image("1.2.0");
    let expected =
        ["2.root.json", "3.root.json", "timestamp.json", "3.snapshot.json", "3.targets.json", &image];
    // Read by the table of docs/format.md, not by the reader under test.
    let number = |at: usize, size: usize| {
        bytes[at..at + size].iter().rev().fold(0, |number, byte| number << 8 | usize::from(*byte))
    };
    assert_eq!(&bytes[..8], b"TUFFET\x1a\n");
    assert_eq!((number(8, 2), number(10, 2)), (1, expected.len()));
    let (mut at, mut offset) = (16, number(12, 4));
    for (index, name) in expected.iter().enumerate() {
        let (start, length, name_length) = (number(at, 4), number(at + 4, 4), number(at + 8, 2));
        assert_eq!((start, &bytes[at + 10..][..name_length]), (offset, name.as_bytes()));
        let file = fs::read(bench.repo().join("public").join(name)).unwrap();
        assert!(bytes[start..][..length] == file, "{name}");
        assert_eq!(
            json["files"][index],
            serde_json::json!({ "name": name, "offset": start, "length": length })
        );
        at += 10 + name_length;
        offset += length;
    }
    assert_eq!(at + 4, number(12, 4), "then comes the checksum");
    assert_eq!(offset, bytes.len(), "the image is the last");
    assert_eq!((json["length"].as_u64(), json["from_root"].as_u64()), (Some(bytes.len() as u64), Some(1)));
    assert_eq!(json["good_until"], bench.public_json("3.targets.json")["signed"]["expires"]);
    assert_eq!(json["not_before"], Value::Null);

    // An older one under the same name is replaced, and a dry run writes nothing.
    let before = bench.snapshot();
    let said = bench.ok(&with(&["--from-root", "2", "--dry-run"]));
    assert!(said.starts_with("would write rev-a.bundle, "), "{said}");
    assert_eq!(bench.snapshot(), before);
    let said = bench.ok(&with(&["--from-root", "2"]));
    assert!(said.contains("to devices that have root 2 or a later one\n"), "{said}");
    assert!(!said.contains("2.root.json") && said.contains("3.root.json"), "{said}");
    assert!(!bench.ok(&with(&["--from-root", "3"])).contains("root.json"));
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(bench.path("rev-a.bundle")).unwrap().permissions(),
    );
    let usual =
        std::os::unix::fs::PermissionsExt::mode(&fs::metadata(bench.path("fw.bin")).unwrap().permissions());
    assert_eq!(mode, usual);
}

#[test]
fn bundle_of_an_older_release_serves_devices_below_it_until_they_know_better() {
    let bench = rotated_bench();
    let said = bench.ok(&with(&["--version", "1.1.0"]));
    assert!(said.contains("if they may not have 1.2.0: that comes first, and is not in it\n"), "{said}");
    // The metadata are today's, so a device that is due for the newest release finds no image.
    let missing = tuffet_agent::TransportFault::NotFound;
    assert_eq!(apply(&bench, "rev-a.bundle", NOW), Err(missing.into()));
    let said = bench.ok(&["verify", "rev-a.bundle"]);
    assert!(said.contains("thermo/rev-a/stable: release 2, version 1.1.0\n"), "{said}");
}

#[test]
fn bundle_that_cannot_be_written_leaves_no_file_and_says_why() {
    let bench = rotated_bench();
    bench.fails(&["bundle", "--hardware", "rev-c", "--channel", "stable", "--out", "x"], 1, "T105");
    bench.fails(&["bundle", "--hardware", "rev-a", "--channel", "a/b", "--out", "x"], 2, "T203");
    let none = bench.fails(&["bundle", "--hardware", "rev-a", "--channel", "beta", "--out", "x"], 1, "T136");
    assert!(none.contains("thermo/rev-a/beta has no release; add one"), "{none}");
    let none = bench.fails(&with(&["--version", "2.0.0"]), 1, "T136");
    assert!(none.contains("does not list version 2.0.0 (it lists: 1.2.0, 1.1.0, 1.0.0)"), "{none}");
    bench.fails(&with(&["--from-root", "0"]), 1, "T147");
    let none = bench.fails(&with(&["--from-root", "4"]), 1, "T147");
    assert!(
        none.contains("no way from root 4: devices begin with 1 or later, and 3 is the newest"),
        "{none}"
    );
    bench.fails(&["bundle", "--hardware", "rev-a", "--channel", "stable", "--out", "no/such/x"], 3, "T301");
    // A bundle from yesterday stays while today's cannot be made.
    bench.ok(&BUNDLE);
    let image = bench.repo().join("public").join(image("1.2.0"));
    let bytes = fs::read(&image).unwrap();
    fs::write(&image, b"firmware 1.2.1").unwrap();
    bench.fails(&BUNDLE, 1, "T120");
    bench.fails(&with(&["--dry-run"]), 1, "T120");
    fs::write(&image, [&bytes[..], b"and more"].concat()).unwrap();
    bench.fails(&BUNDLE, 1, "T120");
    fs::remove_file(&image).unwrap();
    bench.fails(&BUNDLE, 1, "T119");
    fs::write(&image, bytes).unwrap();
    bench.ok(&BUNDLE);
    // A repository whose timestamp has expired is not what devices are to get.
    let stale = bench.command_at(NOW + 30 * DAY, &BUNDLE).output().unwrap();
    let freeze = assert_fails(&stale, 1, "C110");
    assert!(freeze.contains("timestamp"), "{freeze}");
}

#[test]
fn verify_of_a_bundle_follows_the_offline_rules_and_hashes_the_image() {
    let bench = rotated_bench();
    bench.ok(&BUNDLE);
    let verify = ["verify", "rev-a.bundle"];
    let said = bench.ok(&verify);
    assert!(said.starts_with("rev-a.bundle: devices accept it\nroot 1 is sha256 "), "{said}");
    assert!(
        said.contains("root 3, good until") && said.contains("1 files, 14 bytes, each as signed"),
        "{said}"
    );
    assert!(said.contains("thermo/rev-a/stable: release 3, version 1.2.0\n"), "{said}");
    let json: Value =
        serde_json::from_str(&bench.ok(&["verify", "rev-a.bundle", "--output", "json"])).unwrap();
    assert_eq!((json["files"].as_u64(), json["releases"][0]["sequence"].as_u64()), (Some(1), Some(3)));
    // Weeks later the timestamp has expired, and months later all has.
    bench.ok_at(NOW + 60 * DAY, &verify);
    assert!(matches!(apply(&bench, "rev-a.bundle", NOW + 60 * DAY), Ok(Checked::Pending(_))));
    let late = bench.command_at(NOW + 390 * DAY, &verify).output().unwrap();
    assert!(assert_fails(&late, 1, "C110").contains("targets"));

    let good = fs::read(bench.path("rev-a.bundle")).unwrap();
    let end = good.len();
    for (at, label) in [(0, "T143"), (8, "T143"), (30, "T143"), (end - 1, "T120"), (end - 14 - 300, "C")] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(bench.path("rev-a.bundle"), &bytes).unwrap();
        let output = bench.command(&verify).output().unwrap();
        let message = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "byte {at}: {message}");
        assert!(message.starts_with(&format!("error[{label}")), "byte {at}: {message}");
    }
    fs::write(bench.path("rev-a.bundle"), &good[..end - 1]).unwrap();
    let short = bench.fails(&verify, 1, "T143");
    assert!(short.contains(&format!("rev-a.bundle: the bundle ends at byte {}, ", end - 1)), "{short}");
    fs::write(bench.path("rev-a.bundle"), b"{}").unwrap();
    bench.fails(&verify, 1, "T143");

    bench.ok(&with(&["--from-root", "2"]));
    let lacks = bench.fails(&verify, 1, "T143");
    assert!(lacks.contains("does not have root 2") && lacks.contains("--from-root 1"), "{lacks}");
    bench.ok(&["verify", "rev-a.bundle", "--root", "2.root.json"]);
    bench.ok(&["verify", "rev-a.bundle", "--root", "3.root.json"]);
}

#[test]
fn bundle_of_a_release_whose_rollout_is_to_come_says_from_when_on_it_is_taken() {
    let bench = rotated_bench();
    bench.image("fw.bin", b"firmware 1.3.0");
    bench.ok(&[
        "release",
        "add",
        "fw.bin",
        "--hardware",
        "rev-a",
        "--channel",
        "stable",
        "--version",
        "1.3.0",
        "--rollout-start",
        "2d",
        "--rollout-end",
        "12d",
    ]);
    bench.sign(2);
    bench.publish();
    let json: Value = serde_json::from_str(&bench.ok(&with(&["--output", "json"]))).unwrap();
    let turn = json["not_before"].as_str().unwrap().to_owned();
    assert!(turn.starts_with("2026-11-24T12:"), "{turn}");
    assert!(bench.ok(&["verify", "rev-a.bundle"]).contains(&format!("version 1.3.0, from {turn} on\n")));
    // Before, the device takes what it may; the bundle has no image of that.
    let missing = tuffet_agent::TransportFault::NotFound;
    assert_eq!(apply(&bench, "rev-a.bundle", NOW), Err(missing.into()));
    let checked = apply(&bench, "rev-a.bundle", NOW + 12 * DAY);
    assert!(matches!(&checked, Ok(Checked::Pending(image)) if image.sequence == 4), "{checked:?}");
}

#[test]
fn bundle_beside_a_publication_holds_one_state_of_the_repository() {
    let bench = rotated_bench();
    bench.ok(&BUNDLE);
    // The next publication makes a bundle of today a rollback to whoever has seen it.
    bench.image("fw.bin", b"firmware 1.3.0");
    bench.release("fw.bin", "1.3.0");
    bench.sign(2);
    bench.ok(&PUBLISH);
    bench.ok(&["bundle", "--hardware", "rev-a", "--channel", "stable", "--out", "new.bundle"]);
    assert!(matches!(apply(&bench, "new.bundle", NOW), Ok(Checked::Pending(_))));
    let started =
        device(&bench, "new.bundle", |agent| agent.boot(&mut || Clock::At(NOW), &mut |_| true, &mut |_| ()));
    assert!(matches!(started, Ok(Started::Confirmed(_))), "{started:?}");
    let refused = apply(&bench, "rev-a.bundle", NOW).unwrap_err();
    let rollback =
        tuffet_client::Rejected::Rollback { role: tuffet_client::Role::Timestamp, trusted: 4, offered: 3 };
    assert_eq!(refused, tuffet_agent::Rejected::Metadata(rollback).into());
}
