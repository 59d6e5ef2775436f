//! Dates of issue that have not come yet: devices never forget one that an offline role signed.

use std::fs;

use tuffet::author::{Dates, Signers};
use tuffet::document;
use tuffet_keys::Role;
use tuffet_keys::lint::Report;
use tuffet_keys::published::Subject;
use tuffet_keys::root::{Chain, Period};

use crate::support::{Bench, DAY, Holders, NOW, PUBLISH};

const RELEASE: [&str; 9] =
    ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", "1.0.0"];

#[test]
fn publish_of_targets_with_a_date_of_issue_to_come_is_refused_and_renew_heals_it() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    // A wrong clock at release time, and two holders who sign all the same.
    bench.ok_at(NOW + 3601, &RELEASE);
    bench.sign(2);
    let message = bench.fails(&PUBLISH, 1, "T128");
    assert!(
        message.contains("targets 1 was issued 2026-11-22T13:00:01Z, the clock says 2026-11-22T12:00:00Z"),
        "{message}"
    );
    assert_eq!(bench.public_files(), ["1.root.json"]);
    assert!(
        bench
            .command_at(NOW + 1, &[&PUBLISH[..], &["--dry-run"]].concat())
            .output()
            .unwrap()
            .status
            .success()
    );
    bench.ok(&["renew", "targets"]);
    bench.sign(2);
    bench.publish();
    bench.ok(&["verify"]);
}

#[test]
fn root_with_a_date_of_issue_to_come_is_refused_wherever_it_enters() {
    let mut bench = Bench::bare();
    let early = Holders::new(NOW + 3601, NOW + 400 * DAY);
    fs::write(bench.path("early.json"), &early.chain[0]).unwrap();
    let init =
        |root| ["init", "--root", root, "--product", "thermo", "--hardware", "rev-a", "--slot-size", "64"];
    let message = bench.fails(&init("early.json"), 1, "T128");
    assert!(message.contains("root 1 was issued 2026-11-22T13:00:01Z"), "{message}");
    bench.ok(&init("1.root.json"));

    let root = bench.holders.next_root_at(NOW + 3601, |_| {});
    fs::write(bench.path("2.root.json"), &root).unwrap();
    let message = bench.fails(&["root", "add", "2.root.json"], 1, "T128");
    assert!(message.contains("root 2 was issued"), "{message}");
    // Put there by hand, or by a machine whose clock was wrong, too.
    fs::write(bench.workspace().staged_root(2), &root).unwrap();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.fails(&PUBLISH, 1, "T128");
    assert!(bench.command_at(NOW + 1, &PUBLISH).output().unwrap().status.success());
}

#[test]
fn repository_that_devices_take_once_and_never_again_is_refused() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.ok_at(NOW + 30 * DAY, &RELEASE);
    bench.sign(2);
    // The publisher's clock is as wrong as the drafter's; nobody else's is.
    bench.ok_at(NOW + 30 * DAY, &PUBLISH);
    bench.ok_at(NOW + 30 * DAY, &["verify"]);
    let public = bench.repo().join("public");
    let timestamp = document::timestamp(
        2,
        Dates { issued: NOW, expires: NOW + 7 * DAY },
        1,
        &fs::read(public.join("1.snapshot.json")).unwrap(),
        &[],
    );
    let keys = bench.holders.online_keys();
    let chain = Chain::verify(&bench.holders.chain).unwrap();
    let allowed = &chain.last().unwrap().roles[&Role::Timestamp];
    let signers = Signers::new(&Role::Timestamp, &keys.timestamp, 1, allowed).unwrap();
    fs::write(public.join("timestamp.json"), signers.sign(&timestamp).unwrap()).unwrap();
    let message = bench.fails(&["verify"], 1, "C110");
    assert!(message.contains("timestamp: expired 2026-11-29T12:00:00Z"), "{message}");
    // A refresh would publish the same again, and is refused for what a device would say the second time.
    bench.fails(&PUBLISH, 1, "C110");
}

/// Root 1 with the default periods, in the bench's own place.
fn staggered() -> Bench {
    let mut bench = Bench::bare();
    bench.holders = Holders::new(NOW, NOW + 365 * DAY);
    fs::write(bench.path("1.root.json"), &bench.holders.chain[0]).unwrap();
    bench.holders.online.write_new_danger_unencrypted(&bench.path("staggered.pem")).unwrap();
    fs::rename(bench.path("staggered.pem"), bench.path("online.pem")).unwrap();
    bench
}

const INIT: [&str; 9] =
    ["init", "--root", "1.root.json", "--product", "thermo", "--hardware", "rev-a", "--slot-size", "4096"];

#[test]
fn repository_by_the_defaults_is_staggered_and_lint_has_nothing_to_say() {
    let bench = staggered();
    bench.ok(&INIT);
    bench.image("fw.bin", b"image");
    bench.ok(&RELEASE);
    bench.sign(2);
    bench.publish();
    let lint = || {
        let report = Report::of(&[Subject::read(&bench.repo().join("public")).unwrap()], NOW).unwrap();
        (report.verdict(true).is_ok(), report.to_string())
    };
    let (clean, said) = lint();
    assert!(clean, "{said}");
    // What holders of root 1 did not agree to is found.
    let path = bench.repo().join("tuffet.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("# [roles.targets]\n# expires = \"180d\"\n"), "{text}");
    fs::write(&path, format!("{text}\n[roles.targets]\nexpires = \"364d\"\n")).unwrap();
    bench.ok(&["renew", "targets"]);
    bench.sign(2);
    bench.publish();
    let (clean, said) = lint();
    assert!(!clean && said.contains("warning[longer-than-period]"), "{said}");
    assert!(said.contains("(targets): good for 364 days, and root 1 says 180\n"), "{said}");
}

#[test]
fn files_are_good_for_as_long_as_the_newest_root_states() {
    let mut bench = staggered();
    let mut draft = bench.holders.draft(NOW, NOW + 365 * DAY);
    draft.set_period(&Role::Targets, Period::new(90, 20).unwrap());
    draft.set_period(&Role::Timestamp, Period::new(3, 1).unwrap());
    bench.holders.chain.clear();
    bench.holders.sign_root(&draft);
    fs::write(bench.path("1.root.json"), &bench.holders.chain[0]).unwrap();
    bench.ok(&INIT);
    bench.image("fw.bin", b"image");
    bench.ok(&RELEASE);
    bench.sign(2);
    bench.publish();
    let expires = |file: &str| bench.public_json(file)["signed"]["expires"].as_str().unwrap().to_owned();
    assert_eq!(expires("1.targets.json"), "2027-02-20T12:00:00Z");
    assert_eq!(expires("1.snapshot.json"), "2026-12-22T12:00:00Z");
    assert_eq!(expires("timestamp.json"), "2026-11-25T12:00:00Z");

    let root = bench.holders.next_root_at(NOW, |draft| {
        draft.set_period(&Role::Timestamp, Period::new(5, 1).unwrap());
    });
    fs::write(bench.path("2.root.json"), &root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    bench.publish();
    assert_eq!(bench.public_json("timestamp.json")["signed"]["expires"], "2026-11-27T12:00:00Z");
}
