//! Disks that are full or read-only, and links that somebody planted.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use tuffet::storage::Unwatched;
use tuffet::store::{Directory, Store};
use tuffet::{Error, Rejected};

use crate::support::{Place, bytes, file, read};

fn assert_is_link(error: Option<Error>, place: &Path) {
    let Some(Error::Rejected(Rejected::Damaged { path, why })) = &error else { panic!("{error:?}") };
    assert!(path == place && why.ends_with("of the repository is a symbolic link"), "{error:?}");
}

#[test]
fn link_in_the_place_of_a_file_is_refused_and_its_target_left_alone() {
    let place = Place::directory();
    let store = place.open();
    let target = place.directory.path().join("precious");
    fs::create_dir_all(place.top().join("targets")).unwrap();
    for name in ["timestamp.json", "targets/00.x"] {
        for there in [true, false] {
            let path = place.top().join(name);
            if there {
                fs::write(&target, "precious").unwrap();
            }
            symlink(&target, &path).unwrap();
            assert_is_link(store.read(name, 100).err(), &path);
            assert_is_link(store.fetch(name, 100, &mut |_| {}).err(), &path);
            assert_is_link(store.exists(name).err(), &path);
            assert_is_link(store.create(&[file(name, "precious")], &mut Unwatched).err(), &path);
            assert_is_link(store.swap(name, None, b"precious", &mut Unwatched).err(), &path);
            assert_eq!(store.list("").unwrap(), []);
            if there {
                assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
                fs::remove_file(&target).unwrap();
            }
            assert!(!target.exists(), "a link to nothing makes nothing");
            store.remove(&[name.to_owned()], &mut Unwatched).unwrap();
            assert!(path.symlink_metadata().is_err(), "the link goes");
        }
    }
}

#[test]
fn link_in_the_place_of_a_directory_is_refused_and_nothing_written_behind_it() {
    let place = Place::directory();
    let store = place.open();
    let elsewhere = place.directory.path().join("elsewhere");
    fs::create_dir_all(elsewhere.join("b")).unwrap();
    fs::write(elsewhere.join("b/00.x"), "precious").unwrap();
    fs::create_dir_all(place.top().join("targets")).unwrap();
    let path = place.top().join("targets/a");
    symlink(&elsewhere, &path).unwrap();
    let name = "targets/a/b/00.x";
    assert_is_link(store.read(name, 100).err(), &path);
    assert_is_link(store.exists(name).err(), &path);
    assert_is_link(store.create(&[file(name, "precious")], &mut Unwatched).err(), &path);
    assert_is_link(store.create(&[file("targets/a/00.y", "")], &mut Unwatched).err(), &path);
    assert_is_link(store.swap(name, None, b"", &mut Unwatched).err(), &path);
    assert_is_link(store.remove(&[name.to_owned()], &mut Unwatched).err(), &path);
    assert_is_link(store.list("targets/a/b").err(), &path);
    assert_eq!(store.list("").unwrap(), []);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    assert_eq!(fs::read_to_string(elsewhere.join("b/00.x")).unwrap(), "precious");
}

#[test]
fn link_in_the_place_of_a_temporary_file_or_of_the_top_does_no_harm() {
    let place = Place::directory();
    let target = place.directory.path().join("precious");
    fs::write(&target, "precious").unwrap();
    fs::create_dir(place.directory.path().join("disk")).unwrap();
    symlink("disk", place.top()).unwrap();
    symlink(&target, place.top().join(".timestamp.json.partial")).unwrap();
    symlink("nothing", place.top().join(".1.root.json.partial")).unwrap();
    let store = place.open();
    store.create(&[file("1.root.json", "root")], &mut Unwatched).unwrap();
    store.swap("timestamp.json", None, b"1", &mut Unwatched).unwrap();
    assert_eq!(fs::read_to_string(&target).unwrap(), "precious");
    assert_eq!(store.list("").unwrap().len(), 2);
    assert!(place.top().symlink_metadata().unwrap().is_symlink());
    assert!(!place.top().join("nothing").exists());
}

#[test]
fn what_lies_where_a_new_directory_is_written_is_removed_and_no_link_in_it_followed() {
    let place = Place::directory();
    let store = place.open();
    let elsewhere = place.directory.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("precious"), "precious").unwrap();
    let files: Vec<_> = (0..20).map(|number| file(&format!("targets/a/{number}.x"), "x")).collect();
    let partial = place.top().join(".targets.partial");
    // A link, a file, and what a publisher that died left there, with links that somebody planted.
    let plants: [&dyn Fn(); 3] =
        [&|| symlink(&elsewhere, &partial).unwrap(), &|| fs::write(&partial, "x").unwrap(), &|| {
            fs::create_dir_all(partial.join("a/b")).unwrap();
            fs::write(partial.join("a/0.x"), "half").unwrap();
            fs::write(partial.join("a/b/other"), "x").unwrap();
            symlink(&elsewhere, partial.join("a/link")).unwrap();
            symlink(elsewhere.join("precious"), partial.join("a/1.x")).unwrap();
        }];
    for plant in plants {
        fs::create_dir_all(place.top()).unwrap();
        plant();
        store.create(&files, &mut Unwatched).unwrap();
        let listed = store.list("").unwrap();
        assert_eq!(listed.len(), files.len(), "{listed:?}");
        assert!(listed.iter().all(|listed| listed.length == 1), "{listed:?}");
        assert!(partial.symlink_metadata().is_err());
        assert_eq!(fs::read_to_string(elsewhere.join("precious")).unwrap(), "precious");
        fs::remove_dir_all(place.top().join("targets")).unwrap();
    }
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
}

#[test]
fn pipe_in_the_place_of_a_file_is_refused_at_once() {
    let place = Place::directory();
    let store = place.open();
    fs::create_dir(place.top()).unwrap();
    assert!(Command::new("mkfifo").arg(place.top().join("1.root.json")).status().unwrap().success());
    for refused in
        [store.read("1.root.json", 1).err(), store.create(&[file("1.root.json", "")], &mut Unwatched).err()]
    {
        assert!(matches!(refused, Some(Error::Rejected(Rejected::Damaged { .. }))), "{refused:?}");
    }
}

/// Where the disk that this test makes for itself is mounted, in the process that has it.
const DISK: &str = "TUFFET_TEST_DISK";

/// How to become somebody who may mount a disk that nobody else sees: as root, as root of a namespace, or by `sudo`
/// where namespaces are for root alone.
const WAYS: [&[&str]; 3] = [
    &["unshare", "--mount"],
    &["unshare", "--user", "--map-root-user", "--mount"],
    &["sudo", "-n", "unshare", "--mount"],
];

/// Runs a test of this program once more, where a disk of 256 KiB is mounted.
fn on_a_small_disk(test: &str, act: impl FnOnce(&Path)) {
    if let Some(disk) = std::env::var_os(DISK) {
        return act(Path::new(&disk));
    }
    let directory = tempfile::tempdir().unwrap();
    let run = |way: &[&str], script: &str| {
        let mut command = Command::new(way[0]);
        command.args(&way[1..]).args(["sh", "-c", script, "sh"]).arg(directory.path());
        command.arg(std::env::current_exe().unwrap()).arg(test).output()
    };
    let mount = r#"mount -t tmpfs -o size=256k none "$1""#;
    let way = WAYS.into_iter().find(|way| run(way, mount).is_ok_and(|output| output.status.success()));
    let way = way.expect("a disk can be mounted as root, in a user namespace, or by sudo");
    let script = format!(r#"{mount} && {DISK}=$1 exec "$2" --exact --nocapture "$3""#);
    let output = run(way, &script).unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let complained = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}\n{complained}");
}

#[test]
fn full_disk_is_an_error_that_says_so_and_leaves_what_was_published() {
    on_a_small_disk("disk::full_disk_is_an_error_that_says_so_and_leaves_what_was_published", |disk| {
        for count in [2, 20] {
            let store = Directory::new(&disk.join("public"));
            let old = store.read("timestamp.json", 100).unwrap();
            let old = match old {
                Some(stored) => stored.tag,
                None => store.swap("timestamp.json", None, b"1", &mut Unwatched).unwrap(),
            };
            let files: Vec<_> = (0..count)
                .map(|number| (format!("targets/{number}.x"), bytes(&"x".repeat(400_000 / count))))
                .collect();
            let error = store.create(&files, &mut Unwatched).unwrap_err();
            assert_eq!((error.label().as_str(), error.family().exit_status()), ("T301", 3));
            assert!(error.to_string().contains("No space left on device"), "{error}");
            assert!(error.to_string().contains("; check path, permissions and free space"), "{error}");
            let listed = store.list("").unwrap();
            assert_eq!(listed.len(), 1, "nothing is left of it: {listed:?}");
            assert_eq!(read(&store, "timestamp.json").unwrap(), "1");
            // And so it has room again.
            let files = [file("targets/small.x", "x")];
            store.create(&files, &mut Unwatched).unwrap();
            store.swap("timestamp.json", Some(&old), b"1", &mut Unwatched).unwrap();
            store.remove(&["targets/small.x".to_owned()], &mut Unwatched).unwrap();
        }
    });
}

#[test]
fn read_only_disk_is_read_and_every_change_is_an_error_that_says_so() {
    on_a_small_disk("disk::read_only_disk_is_read_and_every_change_is_an_error_that_says_so", |disk| {
        let store = Directory::new(&disk.join("public"));
        let tag = store.swap("timestamp.json", None, b"1", &mut Unwatched).unwrap();
        let remounted = Command::new("mount").args(["-o", "remount,bind,ro"]).arg(disk).status().unwrap();
        assert!(remounted.success());
        let store = Directory::new(&disk.join("public"));
        assert_eq!(read(&store, "timestamp.json").unwrap(), "1");
        assert_eq!(store.list("").unwrap().len(), 1);
        for error in [
            store.create(&[file("1.root.json", "root")], &mut Unwatched).unwrap_err(),
            store.swap("timestamp.json", Some(&tag), b"2", &mut Unwatched).unwrap_err(),
            store.remove(&["timestamp.json".to_owned()], &mut Unwatched).unwrap_err(),
            store.lock().unwrap_err(),
        ] {
            assert_eq!(error.label(), "T301", "{error}");
            assert!(error.to_string().contains("Read-only file system"), "{error}");
        }
    });
}
