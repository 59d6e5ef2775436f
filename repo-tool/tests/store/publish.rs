//! Whole publications into a bucket: by the binary, with the power cut before every step, and by two publishers at once.

use std::fs;
use std::path::Path;

use tuffet::publish::{self, Keys, Scope};
use tuffet::repository::Workspace;
use tuffet::storage::{Unwatched, Witness};
use tuffet::{Environment, Error, verify};
use tuffet_client::limits::DEVICE;
use tuffet_keys::Role;

use crate::bench::{Bench, DAY, NOW, copy_tree, text};
use crate::seaweed::{seaweed, settings};
use crate::support::{Place, Power};

/// A workspace that publishes into a place of its own.
fn bench(place: &Place) -> Bench {
    let mut bench = Bench::bare();
    if place.kind == "bucket" {
        bench.environment = settings(&seaweed().endpoint).environment;
    }
    bench.ok(&[
        "init",
        "--root",
        "1.root.json",
        "--product",
        "thermo",
        "--hardware",
        "rev-a",
        "--slot-size",
        "4096",
        "--storage",
        place.name(),
    ]);
    bench
}

fn release(bench: &Bench, version: &str) {
    bench.image("fw.bin", version.as_bytes());
    bench.release("fw.bin", version);
    let path = workspace(&bench.repo()).request_path(&Role::Targets);
    let mut request = tuffet_keys::request::Request::read(&path).unwrap();
    for key in &bench.holders.release[..2] {
        request.sign(key).unwrap();
    }
    request.write(&path).unwrap();
}

fn workspace(directory: &Path) -> Workspace {
    Workspace::open_with(directory, settings(&seaweed().endpoint)).unwrap()
}

fn publish(directory: &Path, keys: &Keys, now: u64, witness: &mut dyn Witness) -> Result<(), Error> {
    publish::plan(&workspace(directory), keys, &Scope::Staged, now)?.apply(witness).map(drop)
}

/// Version of the targets that a device reaches, with every file that they name hashed.
fn version_seen(directory: &Path, root: &[u8]) -> u32 {
    let mut source = workspace(directory).store().clone();
    let report =
        verify::replay(&mut source, root, &DEVICE, NOW + 60).expect("devices accept what a crash left");
    verify::hash_targets(&mut source, &report.targets, &mut |_| {}).expect("every file is there and whole");
    report.roles.iter().find(|(role, ..)| *role == Role::Targets).expect("a report has all roles").1
}

#[test]
fn release_team_works_on_a_bucket_as_on_a_directory() {
    let place = Place::bucket();
    let bench = bench(&place);
    for version in ["1.0.0", "1.1.0"] {
        release(&bench, version);
        bench.publish();
    }
    let said = bench.ok(&["verify"]);
    assert!(said.starts_with("s3://") && said.contains("release 2, version 1.1.0"), "{said}");
    assert!(bench.ok(&["verify", place.name()]).contains("release 2, version 1.1.0"));
    assert!(bench.ok(&["release", "list"]).contains("1.1.0"));
    assert!(bench.ok(&["status"]).contains("timestamp"));
    assert!(bench.ok(&["inspect", place.name()]).contains("1.1.0"));
    for more in [&["which-release"][..], &["which-release", place.name()]] {
        let device =
            ["--device-id", "x", "--hardware", "rev-a", "--channel", "stable", "--installed", "1.0.0"];
        assert!(bench.ok(&[more, &device].concat()).contains("1.1.0"));
    }
    bench.ok(&["bundle", "--hardware", "rev-a", "--channel", "stable", "--out", "it.bundle"]);
    let online = ["--snapshot-key", "online.pem", "--timestamp-key", "online.pem", "--danger-unencrypted"];
    bench.ok(&[&["halt", "1.1.0"], &online[..]].concat());
    assert!(bench.ok(&["verify"]).contains("halted"));
    bench.ok_at(NOW + DAY, &[&["refresh"], &online[..]].concat());
    assert!(bench.ok_at(NOW + DAY, &["gc", "--dry-run"]).contains("would delete 0 files"));
    assert!(!bench.repo().join("public").exists(), "nothing of it is here");
}

#[test]
fn publication_into_a_bucket_cut_before_every_step_leaves_old_or_new_and_completes_when_run_again() {
    for cut in 0.. {
        let place = Place::bucket();
        let mut bench = bench(&place);
        release(&bench, "1.0.0");
        bench.publish();
        let root = bench.holders.next_root(|_| {});
        fs::write(bench.path("2.root.json"), root).unwrap();
        bench.ok(&["root", "add", "2.root.json"]);
        release(&bench, "2.0.0");
        let (repo, keys, root) = (bench.repo(), bench.holders.online_keys(), &bench.holders.chain[0]);
        let mut power = Power::cut_before(cut);
        let done = publish(&repo, &keys, NOW, &mut power);
        let swapped = power.steps.iter().any(|(step, _)| step == "Swap");
        assert_eq!(version_seen(&repo, root), if swapped { 2 } else { 1 }, "cut before {cut}");
        publish(&repo, &keys, NOW + 60, &mut Unwatched).unwrap();
        assert_eq!(version_seen(&repo, root), 2, "cut before {cut}");
        if done.is_ok() {
            assert!(cut >= 6, "{cut}");
            return;
        }
    }
}

#[test]
fn of_two_publishers_at_once_one_publishes_and_the_other_is_told() {
    for kind in ["directory", "bucket"] {
        let place = Place::of(kind);
        let bench = bench(&place);
        release(&bench, "1.0.0");
        let (one, other) = (bench.repo(), bench.path("other"));
        copy_tree(&one, &other);
        let keys = bench.holders.online_keys();
        let first = publish::plan(&workspace(&one), &keys, &Scope::Staged, NOW).unwrap();
        // Another moment makes other bytes.
        let second = publish::plan(&workspace(&other), &keys, &Scope::Staged, NOW + 1);
        match kind {
            "directory" => {
                let error = second.map(drop).unwrap_err();
                assert!(matches!(error, Error::Environment(Environment::Locked { .. })), "{error}");
                first.apply(&mut Unwatched).unwrap();
            }
            _ => {
                let second = second.unwrap();
                let ended = std::thread::scope(|scope| {
                    let run = |plan: publish::Plan| scope.spawn(move || plan.apply(&mut Unwatched).map(drop));
                    let (first, second) = (run(first), run(second));
                    [first.join().unwrap(), second.join().unwrap()]
                });
                assert!(ended.iter().filter(|ended| ended.is_ok()).count() <= 1, "{ended:?}");
                for error in ended.into_iter().filter_map(Result::err) {
                    assert!(matches!(error, Error::Environment(Environment::Outrun { .. })), "{error}");
                }
            }
        }
        // Whoever lost, or both if each had a file of the other's in its way, run again.
        publish(&other, &keys, NOW + 60, &mut Unwatched).unwrap();
        assert_eq!(version_seen(&one, &bench.holders.chain[0]), 1, "{kind}");
        let said = bench.command(&["verify"]).output().unwrap();
        assert!(said.status.success(), "{}", text(&said.stderr));
    }
}
