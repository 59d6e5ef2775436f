//! Somebody else writes where the repository lies: what the publisher remembers, and what it never signs again.

use std::fs;

use tuffet::author::Dates;
use tuffet::document::{self, Listing};
use tuffet_keys::Role;
use tuffet_keys::key::SigningKey;

use crate::support::{Bench, DAY, NOW, PUBLISH};

const REFRESH: [&str; 6] =
    ["refresh", "--snapshot-key", "online.pem", "--timestamp-key", "online.pem", "--danger-unencrypted"];
const HALT: [&str; 5] = ["halt", "1.1.0", "--timestamp-key", "online.pem", "--danger-unencrypted"];

fn published() -> Bench {
    let bench = Bench::new();
    for version in ["1.0.0", "1.1.0"] {
        bench.image("fw.bin", version.as_bytes());
        bench.release("fw.bin", version);
        bench.sign(2);
        bench.publish();
    }
    bench
}

/// What a thief of the online keys makes of timestamp and snapshot.
fn forge(bench: &Bench, key: &SigningKey, version: u32, roles: &[(&Role, u32, &[u8])]) {
    let public = bench.repo().join("public");
    let dates = Dates { issued: NOW, expires: NOW + DAY };
    let snapshot = document::sign(&Listing::default().edited(version, dates, roles), [key]).unwrap();
    let text = document::timestamp(version, dates, version, &snapshot, &[]);
    fs::write(public.join(format!("{version}.snapshot.json")), snapshot).unwrap();
    fs::write(public.join("timestamp.json"), document::sign(&text, [key]).unwrap()).unwrap();
}

/// The next root, with online keys of its own, which are in `new.pem`.
fn replace_online_keys(bench: &mut Bench) {
    let key = SigningKey::generate().unwrap();
    key.write_new_danger_unencrypted(&bench.path("new.pem")).unwrap();
    let old = bench.holders.online.public().keyid().to_owned();
    let root = bench.holders.next_root(|draft| {
        for role in [Role::Snapshot, Role::Timestamp] {
            draft.add_key(&role, key.public()).unwrap();
            draft.remove_key(&role, &old).unwrap();
        }
    });
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
}

fn with_new(arguments: &[&'static str]) -> Vec<&'static str> {
    arguments.iter().map(|word| if *word == "online.pem" { "new.pem" } else { word }).collect()
}

#[test]
fn older_timestamp_that_somebody_put_back_is_not_signed_anew_and_no_halt_is_lost() {
    let bench = published();
    let timestamp = bench.repo().join("public/timestamp.json");
    let before = fs::read(&timestamp).unwrap();
    bench.ok(&HALT);
    fs::write(&timestamp, &before).unwrap();
    let message = bench.fails(&REFRESH, 1, "T154");
    assert!(message.contains("timestamp 3 was published from here, and 2 is served"), "{message}");
    bench.fails(&["release", "list"], 1, "T154");
    fs::copy(bench.repo().join("last/timestamp.json"), &timestamp).unwrap();
    bench.ok(&REFRESH);
    assert!(bench.ok(&["verify"]).contains("halted"));
    fs::remove_file(&timestamp).unwrap();
    bench.fails(&REFRESH, 1, "T111");
}

#[test]
fn snapshot_of_the_right_keys_that_drops_a_role_or_takes_it_back_is_not_carried_on() {
    let bench = published();
    let targets = fs::read(bench.repo().join("public/1.targets.json")).unwrap();
    forge(&bench, &bench.holders.online, 9, &[(&Role::Targets, 1, &targets)]);
    let message = bench.fails(&REFRESH, 1, "T154");
    assert!(message.contains("targets 2 was published from here, and 1 is served"), "{message}");
    forge(&bench, &bench.holders.online, 10, &[]);
    let message = bench.fails(&REFRESH, 1, "T154");
    assert!(message.contains("targets 2 was published from here, and 0 is served"), "{message}");
}

#[test]
fn keys_that_a_root_took_away_count_for_nothing_any_more() {
    let mut bench = published();
    replace_online_keys(&mut bench);
    bench.ok(&with_new(&PUBLISH));
    let targets = fs::read(bench.repo().join("public/2.targets.json")).unwrap();
    forge(&bench, &bench.holders.online, 4_294_967_294, &[(&Role::Targets, 2, &targets)]);
    bench.fails(&with_new(&REFRESH), 1, "T133");
}

#[test]
fn root_with_new_online_keys_goes_on_from_what_was_published_and_not_from_what_a_thief_made_of_it() {
    let mut bench = published();
    forge(&bench, &bench.holders.online, u32::MAX, &[]);
    bench.fails(&REFRESH, 1, "T154");
    replace_online_keys(&mut bench);
    let said = bench.ok(&with_new(&PUBLISH));
    assert!(said.contains("published root 2") && said.contains("published timestamp 3,"), "{said}");
    let verified = bench.ok(&["verify"]);
    assert!(verified.contains("release 2, version 1.1.0"), "{verified}");
}

#[test]
fn halt_and_refresh_do_not_wait_for_a_staged_root_and_discard_throws_that_away() {
    let mut bench = published();
    replace_online_keys(&mut bench);
    bench.ok(&HALT);
    bench.ok(&REFRESH);
    assert!(!bench.public_files().contains(&"2.root.json".to_owned()));
    assert!(bench.ok(&["verify"]).contains("halted"));
    bench.fails(&PUBLISH, 1, "T115");
    assert_eq!(bench.ok(&["discard", "root"]), "threw away the staged request of root\n");
    bench.publish();
    bench.ok(&["verify"]);
}

#[test]
fn halt_does_not_wait_for_a_clock_and_drafts_do() {
    let bench = published();
    bench.ok_at(NOW - DAY, &HALT);
    let message = bench.command_at(NOW - DAY, &["renew", "targets"]).output().unwrap();
    crate::support::assert_fails(&message, 3, "T303");
    bench.ok(&["verify"]);
}
