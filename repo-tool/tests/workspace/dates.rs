//! Dates of issue that have not come yet: devices never forget one that an offline role signed.

use std::fs;

use tuffet::author::{self, Dates, Signers};
use tuffet_keys::Role;
use tuffet_keys::root::Chain;

use crate::support::{Bench, DAY, Holders, NOW, PUBLISH};

const RELEASE: [&str; 8] =
    ["release", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", "1.0.0"];

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
    bench.ok(&["renew"]);
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
    let timestamp = author::timestamp(
        2,
        Dates { issued: NOW, expires: NOW + 7 * DAY },
        1,
        &fs::read(public.join("1.snapshot.json")).unwrap(),
    );
    let keys = bench.holders.online_keys();
    let chain = Chain::verify(&bench.holders.chain).unwrap();
    let allowed = &chain.last().unwrap().roles[&Role::Timestamp];
    let signers = Signers::new(&Role::Timestamp, &keys.timestamp, 1, allowed).unwrap();
    fs::write(public.join("timestamp.json"), signers.sign(timestamp).unwrap()).unwrap();
    let message = bench.fails(&["verify"], 1, "C110");
    assert!(message.contains("timestamp: expired 2026-11-29T12:00:00Z"), "{message}");
    // A refresh would publish the same again, and is refused for what a device would say the second time.
    bench.fails(&PUBLISH, 1, "C110");
}
