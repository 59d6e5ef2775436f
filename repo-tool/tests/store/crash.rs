//! The power is cut before every step of a publication, and it is run again.

use std::env;
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

use tuffet::storage::{Content, Step, Unwatched, Witness};
use tuffet::store::{Access, Store, open};
use tuffet::{Environment, Error};

use crate::seaweed::{seaweed, settings};
use crate::support::{KINDS, Place, Power, bytes, contents, copied, file};

/// Images, metadata, and a timestamp that names them all.
fn files(directory: &Path, count: usize) -> Vec<(String, Content)> {
    let image = copied(directory, "image", &[b'x'; 150_000]);
    let mut files = vec![("targets/a/b/00.image".to_owned(), image)];
    files.extend((0..count).map(|number| file(&format!("targets/{}/{number}.x", number % 3), "target")));
    files.extend([file("2.targets.json", "targets"), file("2.snapshot.json", "snapshot")]);
    files
}

/// What a publisher does: it reads the timestamp, creates all the rest, and swaps it.
fn publish(store: &dyn Store, files: &[(String, Content)], power: &mut dyn Witness) -> Result<(), Error> {
    let before = store.read("timestamp.json", 100)?;
    store.create(files, power)?;
    store.swap("timestamp.json", before.map(|stored| stored.tag).as_ref(), b"2", power).map(drop)
}

/// A store in which version 1 is published.
fn published(place: &Place) -> Box<dyn Store> {
    let store = place.open();
    store.create(&[file("1.targets.json", "targets")], &mut Unwatched).unwrap();
    store.swap("timestamp.json", None, b"1", &mut Unwatched).unwrap();
    store
}

/// Every file is whole or absent, and the timestamp is the old one, or the new one with all that it names.
fn check(store: &dyn Store, files: &[(String, Content)], context: &str) -> bool {
    let found = contents(store);
    let whole = |name: &str, content: &Content| {
        let there = found.iter().find(|(found, _)| found == name);
        there.map(|(_, text)| bytes(text).sha256() == content.sha256())
    };
    let whole: Vec<_> = files.iter().map(|(name, content)| whole(name, content)).collect();
    assert!(!whole.contains(&Some(false)), "half a file: {context}");
    let timestamp = found.iter().find(|(name, _)| name == "timestamp.json").expect("a timestamp");
    match timestamp.1.as_str() {
        "1" => false,
        "2" => {
            assert!(!whole.contains(&None), "a file is missing: {context}");
            true
        }
        other => panic!("{other}: {context}"),
    }
}

#[test]
fn publication_cut_before_every_step_leaves_old_or_new_and_completes_when_run_again() {
    for (kind, count) in KINDS.into_iter().flat_map(|kind| [(kind, 3), (kind, 12)]) {
        let mut cuts = 0;
        for cut in 0.. {
            let place = Place::of(kind);
            let store = published(&place);
            let files = files(place.directory.path(), count);
            let mut power = Power::cut_before(cut);
            let done = publish(&*store, &files, &mut power);
            // Another process comes after it.
            drop(store);
            let store = place.open();
            let context = format!("{kind} of {count}, cut before {cut} after {:?}", power.steps.last());
            let new = check(&*store, &files, &context);
            match done {
                Ok(()) => {
                    assert!(new, "{context}");
                    break;
                }
                Err(error) => assert!(matches!(error, Error::Environment(Environment::Io { .. })), "{error}"),
            }
            publish(&*store, &files, &mut Power::default()).unwrap();
            assert!(check(&*store, &files, &context), "{context}");
            let listed = store.list("").unwrap();
            assert_eq!(listed.len(), files.len() + 2, "nothing is left: {context}: {listed:?}");
            cuts += 1;
        }
        assert!(cuts > count, "{cuts} cuts");
    }
}

/// Kills this process before a step: nothing that is under way is waited for.
struct Killer {
    left: usize,
}

impl Witness for Killer {
    fn before(&mut self, _: Step<'_>) -> io::Result<()> {
        match self.left.checked_sub(1) {
            Some(left) => self.left = left,
            None => {
                // By the signal that no process can prepare itself for.
                let pid = std::process::id().to_string();
                Command::new("kill").args(["-KILL", &pid]).status()?;
                unreachable!("this process is dead");
            }
        }
        Ok(())
    }
}

#[test]
fn publisher_killed_before_every_step_leaves_old_or_new_and_the_next_one_completes() {
    // Which step, where, and on which server: this is the process that is killed.
    if let Ok(order) = env::var(ORDER) {
        let [left, place, endpoint] = order.split(' ').collect::<Vec<_>>()[..] else { unreachable!() };
        let store = open(place, Access::Write, &settings(endpoint)).unwrap();
        let files = files(env::temp_dir().as_path(), COUNT);
        publish(&*store, &files, &mut Killer { left: left.parse().unwrap() }).unwrap();
        return;
    }
    const COUNT: usize = 10;
    const ORDER: &str = "TUFFET_TEST_KILL";
    for kind in KINDS {
        let mut kills = 0;
        loop {
            let place = Place::of(kind);
            let store = published(&place);
            let endpoint = if kind == "bucket" { seaweed().endpoint.as_str() } else { "-" };
            let output = Command::new(env::current_exe().unwrap())
                .args([
                    "--exact",
                    "crash::publisher_killed_before_every_step_leaves_old_or_new_and_the_next_one_completes",
                ])
                .env(ORDER, format!("{kills} {} {endpoint}", place.name()))
                .env("TMPDIR", place.directory.path())
                .output()
                .unwrap();
            let files = files(place.directory.path(), COUNT);
            let context = format!("{kind}, killed before step {kills}");
            let new = check(&*store, &files, &context);
            publish(&*store, &files, &mut Unwatched).unwrap();
            assert!(check(&*store, &files, &context), "{context}");
            if output.status.success() {
                assert!(new, "{context}");
                break;
            }
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.signal(), Some(9), "{context}: {said}");
            kills += 1;
        }
        assert!(kills > COUNT, "{kills}");
    }
}

#[test]
fn publication_cut_and_cut_again_during_recovery_completes() {
    for kind in KINDS {
        for (first, second) in
            (0..60).step_by(7).flat_map(|first| [1, 4, 9, 16, 25, 36].map(|second| (first, second)))
        {
            let place = Place::of(kind);
            let store = published(&place);
            let files = files(place.directory.path(), 12);
            for cut in [first, second] {
                let _ = publish(&*store, &files, &mut Power::cut_before(cut));
                check(&*store, &files, &format!("{kind}, cut before {first}, then {second}"));
            }
            publish(&*store, &files, &mut Power::default()).unwrap();
            assert!(check(&*store, &files, kind));
        }
    }
}

#[test]
fn removal_cut_before_every_step_completes_when_run_again() {
    for kind in KINDS {
        for cut in 0.. {
            let place = Place::of(kind);
            let store = place.open();
            let names: Vec<String> = (0..5).map(|number| format!("targets/{number}/00.x")).collect();
            let files: Vec<_> = names.iter().map(|name| (name.clone(), bytes("x"))).collect();
            store.create(&files, &mut Unwatched).unwrap();
            let removed = store.remove(&names, &mut Power::cut_before(cut));
            store.remove(&names, &mut Unwatched).unwrap();
            assert_eq!(store.list("").unwrap(), [], "{kind}, cut before {cut}");
            if removed.is_ok() {
                assert!(cut > 1, "{cut}");
                break;
            }
        }
    }
}

#[test]
fn large_batch_in_a_directory_is_flushed_as_a_whole_and_a_small_one_file_by_file() {
    let count = |steps: &[(String, std::path::PathBuf)], kind: &str| {
        steps.iter().filter(|(step, _)| step == kind).count()
    };
    let place = Place::directory();
    let store = place.open();
    let mut power = Power::default();
    let files: Vec<_> = (0..1000).map(|number| file(&format!("targets/a/{number}.x"), "target")).collect();
    store.create(&files, &mut power).unwrap();
    assert_eq!(count(&power.steps, "Rename"), 1, "the new directory");
    assert_eq!(count(&power.steps, "Sync"), 0, "no file alone");
    assert_eq!(count(&power.steps, "SyncFileSystem"), 1);
    // One for the top into the one above it.
    assert!(count(&power.steps, "SyncDirectory") < 5);
    assert_eq!(store.list("").unwrap().len(), 1000);

    let mut power = Power::default();
    let files: Vec<_> = (0..1001).map(|number| file(&format!("targets/a/{number}.y"), "target")).collect();
    store.create(&files, &mut power).unwrap();
    assert_eq!((count(&power.steps, "Rename"), count(&power.steps, "Sync")), (1001, 0));
    assert_eq!((count(&power.steps, "SyncFileSystem"), count(&power.steps, "SyncDirectory")), (1, 1));

    let mut power = Power::default();
    store.create(&[file("1.root.json", "root"), file("2.root.json", "root")], &mut power).unwrap();
    assert_eq!((count(&power.steps, "Sync"), count(&power.steps, "SyncFileSystem")), (2, 0));
}
