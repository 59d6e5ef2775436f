//! The power is cut before every step of a publication. Devices then see the old repository or the new one,
//! and running the publisher again completes the work.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use tuffet::publish::{self, Keys, Scope};
use tuffet::repository::Workspace;
use tuffet::source::Directory;
use tuffet::storage::{Step, Unwatched, Witness};
use tuffet::verify;
use tuffet::{Environment, Error};
use tuffet_client::limits::DEVICE;
use tuffet_keys::Role;

use crate::support::{Bench, NOW, copy_tree};

/// Writes down every step, and cuts the power before one of them.
#[derive(Default)]
struct Power {
    cut_before: Option<usize>,
    steps: Vec<(String, PathBuf)>,
}

impl Witness for Power {
    fn before(&mut self, step: Step<'_>) -> io::Result<()> {
        let (name, path) = match step {
            Step::CreateDirectory(path) => ("create directory", path),
            Step::Create(path) => ("create", path),
            Step::Link(path) => ("link", path),
            Step::Write(path, _) => ("write", path),
            Step::Sync(path) => ("sync", path),
            Step::Rename(path) => ("rename", path),
            Step::SyncDirectory(path) => ("sync directory", path),
            Step::Remove(path) => ("remove", path),
            other => unreachable!("{other:?} is a store's"),
        };
        if self.cut_before == Some(self.steps.len()) {
            // What was not flushed is lost, half of it here. A file that got another name was there before.
            let was_written = |(name, other): &(String, PathBuf)| name == "write" && other == path;
            if name == "sync" && self.steps.iter().any(was_written) {
                let length = fs::metadata(path)?.len();
                File::options().write(true).open(path)?.set_len(length / 2)?;
            }
            return Err(io::Error::other("the power was cut"));
        }
        self.steps.push((name.to_owned(), path.to_owned()));
        Ok(())
    }
}

/// A workspace with one release published, and a root, an image and a release staged and signed.
fn staged_bench() -> Bench {
    let mut bench = Bench::new();
    bench.image("fw.bin", b"one");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let root = bench.holders.next_root(|_| {});
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    // More than one chunk of copying.
    let large = [7; 3000].repeat(50);
    let text = fs::read_to_string(bench.repo().join("tuffet.toml")).unwrap();
    fs::write(bench.repo().join("tuffet.toml"), text.replace("4096", "400000")).unwrap();
    bench.image("fw.bin", &large);
    bench.release("fw.bin", "2.0.0");
    bench.sign(2);
    bench
}

fn publish(workspace: &Path, keys: &Keys, now: u64, witness: &mut dyn Witness) -> Result<(), Error> {
    let workspace = Workspace::open(workspace)?;
    publish::plan(&workspace, keys, &Scope::Staged, now)?.apply(witness).map(drop)
}

/// Version of the targets that a device reaches, with every file that they name hashed.
fn version_seen(workspace: &Path, root: &[u8]) -> u32 {
    let mut public = Directory(workspace.join("public"));
    let report =
        verify::replay(&mut public, root, &DEVICE, NOW + 60).expect("devices accept what a crash left");
    verify::hash_targets(&mut public, &report.targets, &mut |_| {}).expect("every file is there and whole");
    let targets = report.roles.iter().find(|(role, ..)| *role == Role::Targets);
    targets.expect("a report has all roles").1
}

#[test]
fn publish_cut_before_every_step_leaves_old_or_new_and_completes_when_run_again() {
    let bench = staged_bench();
    let keys = bench.holders.online_keys();
    let root = &bench.holders.chain[0];
    let mut whole = Power::default();
    let copy = bench.path("whole");
    copy_tree(&bench.repo(), &copy);
    publish(&copy, &keys, NOW, &mut whole).unwrap();
    let published_at =
        whole.steps.iter().position(|(name, path)| name == "rename" && path.ends_with("timestamp.json"));
    let published_at = published_at.expect("the timestamp is renamed");
    assert!(whole.steps.len() >= 38, "{}", whole.steps.len());

    for cut in 0..whole.steps.len() {
        let copy = bench.path(&format!("cut-{cut}"));
        copy_tree(&bench.repo(), &copy);
        let mut power = Power { cut_before: Some(cut), ..Power::default() };
        let error = publish(&copy, &keys, NOW, &mut power).expect_err("the power was cut");
        assert!(matches!(error, Error::Environment(Environment::Io { .. })), "{error}");
        let expected = if cut <= published_at { 1 } else { 2 };
        assert_eq!(version_seen(&copy, root), expected, "cut before step {cut}: {:?}", whole.steps[cut]);

        // The same again, a minute later: nothing that was signed meanwhile may stand in the way.
        publish(&copy, &keys, NOW + 60, &mut Unwatched).unwrap();
        assert_eq!(version_seen(&copy, root), 2, "after the cut before step {cut}");
        let workspace = Workspace::open(&copy).unwrap();
        assert!(!workspace.request_path(&Role::Targets).exists() && !workspace.staged_root(2).exists());
        assert_eq!(fs::read_dir(workspace.staged_image("")).unwrap().count(), 0);
        fs::remove_dir_all(&copy).unwrap();
    }
}

#[test]
fn publish_cut_before_every_step_and_again_during_recovery_completes() {
    let bench = staged_bench();
    let keys = bench.holders.online_keys();
    let root = &bench.holders.chain[0];
    // Every fourth step by every ninth of its recovery; single cuts are all tried above.
    for first in (0..40).step_by(4) {
        for second in (0..40).step_by(9) {
            let copy = bench.path(&format!("cut-{first}-{second}"));
            copy_tree(&bench.repo(), &copy);
            for (now, cut) in [(NOW, first), (NOW + 20, second)] {
                let mut power = Power { cut_before: Some(cut), ..Power::default() };
                let _ = publish(&copy, &keys, now, &mut power);
                version_seen(&copy, root);
            }
            publish(&copy, &keys, NOW + 40, &mut Unwatched).unwrap();
            assert_eq!(version_seen(&copy, root), 2);
            fs::remove_dir_all(&copy).unwrap();
        }
    }
}

#[test]
fn first_publication_cut_before_every_step_completes_when_run_again() {
    let bench = Bench::new();
    bench.image("fw.bin", b"one");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    let keys = bench.holders.online_keys();
    for cut in 0.. {
        let copy = bench.path(&format!("cut-{cut}"));
        copy_tree(&bench.repo(), &copy);
        let mut power = Power { cut_before: Some(cut), ..Power::default() };
        let published = publish(&copy, &keys, NOW, &mut power);
        publish(&copy, &keys, NOW + 60, &mut Unwatched).unwrap();
        assert_eq!(version_seen(&copy, &bench.holders.chain[0]), 1);
        if published.is_ok() {
            assert!(cut > 20, "{cut}");
            return;
        }
    }
}

#[test]
fn release_after_a_cut_publication_takes_a_number_above_the_orphan() {
    let bench = staged_bench();
    let keys = bench.holders.online_keys();
    let mut whole = Power::default();
    let copy = bench.path("whole");
    copy_tree(&bench.repo(), &copy);
    publish(&copy, &keys, NOW, &mut whole).unwrap();
    let timestamp =
        whole.steps.iter().position(|(name, path)| name == "rename" && path.ends_with("timestamp.json"));
    let mut power = Power { cut_before: timestamp, ..Power::default() };
    publish(&bench.repo(), &keys, NOW, &mut power).expect_err("the power was cut");
    assert!(bench.repo().join("public/2.targets.json").exists(), "an orphan");

    bench.image("fw.bin", b"three");
    let said = bench.release("fw.bin", "3.0.0");
    assert!(said.contains("targets 3, "), "{said}");
    bench.sign(2);
    bench.publish();
    assert_eq!(version_seen(&bench.repo(), &bench.holders.chain[0]), 3);
    assert_eq!(bench.public_json("3.targets.json")["signed"]["targets"].as_object().unwrap().len(), 4);
}

#[test]
fn publish_flushes_each_file_and_its_name_before_the_timestamp_takes_its_own() {
    let bench = staged_bench();
    let mut power = Power::default();
    publish(&bench.repo(), &bench.holders.online_keys(), NOW, &mut power).unwrap();
    let public = bench.repo().join("public");
    let steps = &power.steps;
    let first_removal = steps.iter().position(|(name, _)| name == "remove").unwrap();
    let timestamp =
        steps.iter().position(|(name, path)| name == "rename" && path.ends_with("timestamp.json")).unwrap();
    let mut renamed = Vec::new();
    for (index, (name, path)) in steps.iter().enumerate() {
        if name != "rename" || !path.starts_with(&public) {
            continue;
        }
        let partial =
            path.with_file_name(format!(".{}.partial", path.file_name().unwrap().to_str().unwrap()));
        let of_partial = |wanted: &str| {
            let found = steps[..index].iter().rposition(|(name, path)| name == wanted && *path == partial);
            found.unwrap_or_else(|| panic!("no {wanted} of {}", partial.display()))
        };
        // The image lay in the workspace, and is given away.
        let is_image = path.extension() == Some("bin".as_ref());
        let last = of_partial(if is_image { "link" } else { "write" });
        assert!(of_partial("sync") > last, "flushed after its last byte");
        let directory = path.parent().unwrap();
        let named =
            steps[index..].iter().position(|(name, path)| name == "sync directory" && path == directory);
        let before = if index == timestamp { first_removal } else { timestamp };
        assert!(index + named.unwrap() < before, "and its name before what comes after");
        renamed.push(path.strip_prefix(&public).unwrap().to_str().unwrap().to_owned());
    }
    let kinds: Vec<&str> = renamed
        .iter()
        .map(|name| match name.as_str() {
            name if name.starts_with("targets/") => "target",
            "2.root.json" => "root",
            "2.targets.json" => "targets",
            "2.snapshot.json" => "snapshot",
            "timestamp.json" => "timestamp",
            other => panic!("{other}"),
        })
        .collect();
    assert_eq!(kinds, ["target", "target", "targets", "snapshot", "root", "timestamp"]);
    assert!(first_removal > timestamp, "what was staged is cleared last");
}
