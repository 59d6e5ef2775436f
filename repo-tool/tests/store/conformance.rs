//! What every store does, and refuses.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use tuffet::source::Fetched;
use tuffet::storage::{Content, Unwatched};
use tuffet::{Environment, Error, Rejected};

use crate::support::{Place, bytes, contents, copied, file, read};

#[test]
fn create_of_new_files_makes_them_and_of_the_same_again_keeps_them() {
    for place in Place::each() {
        let store = place.open();
        let large = "large ".repeat(50_000);
        let copy = copied(place.directory.path(), "source", large.as_bytes());
        let files =
            [file("1.root.json", "root"), ("targets/a/b/00.file".to_owned(), copy), file("targets/00.c", "")];
        store.create(&files, &mut Unwatched).unwrap();
        store.create(&files, &mut Unwatched).unwrap();
        place.open().create(&files[..1], &mut Unwatched).unwrap();
        let expected = [("1.root.json", "root"), ("targets/00.c", ""), ("targets/a/b/00.file", &large)];
        let found = contents(&*store);
        let found: Vec<_> = found.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
        assert!(found == expected, "{}", place.kind);
        assert!(store.exists("targets/a/b/00.file").unwrap() && !store.exists("targets/a/b/00").unwrap());
        assert!(!store.exists("nowhere/at/all").unwrap());
    }
}

#[test]
fn create_over_other_bytes_is_refused_and_keeps_what_is_there() {
    for place in Place::each() {
        let store = place.open();
        store.create(&[file("1.root.json", "root")], &mut Unwatched).unwrap();
        // Of the same length, shorter, and longer.
        for other in ["toor", "roo", "root of another"] {
            let refused = store.create(&[file("1.root.json", other)], &mut Unwatched);
            let path = store.place("1.root.json");
            assert_eq!(refused, Err(Rejected::ImmutableDiffers { path }.into()), "{}", place.kind);
        }
        assert_eq!(contents(&*store), [("1.root.json".to_owned(), "root".to_owned())]);
    }
}

#[test]
fn create_of_one_name_twice_is_one_file_if_the_bytes_agree_and_else_refused() {
    for place in Place::each() {
        let store = place.open();
        store.create(&[file("a", "one"), file("b", "two"), file("a", "one")], &mut Unwatched).unwrap();
        assert_eq!(contents(&*store).len(), 2, "{}", place.kind);
        let refused = store.create(&[file("c", "one"), file("c", "two")], &mut Unwatched);
        let path = store.place("c");
        assert_eq!(refused, Err(Rejected::ImmutableDiffers { path }.into()), "{}", place.kind);
    }
}

#[test]
fn create_from_a_file_that_has_changed_is_refused_and_makes_nothing() {
    for place in Place::each() {
        let store = place.open();
        let path = place.directory.path().join("source");
        let copied = copied(place.directory.path(), "source", b"signed");
        let (given, _) = Content::given(&path).unwrap();
        std::fs::write(&path, "forged").unwrap();
        for content in [copied, given] {
            let refused = store.create(&[("00.file".to_owned(), content)], &mut Unwatched);
            assert!(matches!(refused, Err(Error::Rejected(Rejected::Damaged { .. }))), "{refused:?}");
            assert!(store.list("").unwrap().is_empty(), "{}", place.kind);
        }
    }
}

#[test]
fn create_of_files_that_are_given_away_takes_a_directorys_own_and_leaves_the_others() {
    // A few are flushed one by one, and many together, in directories that are new as a whole.
    for (place, count) in Place::each().into_iter().chain(Place::each()).zip([3, 20, 20, 3]) {
        let store = place.open();
        let source = |number: usize| place.directory.path().join(format!("source-{number}"));
        let given = |number: usize| {
            std::fs::write(source(number), number.to_string()).unwrap();
            (format!("targets/{number}/00.file"), Content::given(&source(number)).unwrap().0)
        };
        let files: Vec<_> = (0..count).map(given).collect();
        store.create(&files, &mut Unwatched).unwrap();
        for number in 0..count {
            let name = format!("targets/{number}/00.file");
            assert_eq!(read(&*store, &name).unwrap(), number.to_string(), "{}", place.kind);
            assert_eq!(std::fs::read_to_string(source(number)).unwrap(), number.to_string());
            let inode = |path: &Path| std::fs::metadata(path).map(|metadata| metadata.ino()).ok();
            if let found @ Some(_) = inode(&store.place(&name)) {
                assert_eq!(found, inode(&source(number)), "it was copied");
            }
            // What is public does not go with it.
            std::fs::remove_file(source(number)).unwrap();
            assert_eq!(read(&*store, &name).unwrap(), number.to_string());
        }
    }
}

#[test]
fn swap_of_what_was_read_replaces_it_and_of_anything_else_says_who_was_faster() {
    for place in Place::each() {
        let store = place.open();
        let name = "timestamp.json";
        assert_eq!(store.read(name, 100).unwrap(), None);
        let first = store.swap(name, None, b"one", &mut Unwatched).unwrap();
        assert_eq!(store.read(name, 100).unwrap().unwrap().tag, first, "{}", place.kind);
        let outrun = Err(Environment::Outrun { path: store.place(name) }.into());
        assert_eq!(store.swap(name, None, b"two", &mut Unwatched), outrun, "{}", place.kind);

        let second = store.swap(name, Some(&first), b"two", &mut Unwatched).unwrap();
        assert_ne!(first, second);
        assert_eq!(store.swap(name, Some(&first), b"three", &mut Unwatched), outrun, "{}", place.kind);
        assert_eq!(read(&*store, name).unwrap(), "two");

        // Whoever died before the answer came, asks again.
        assert_eq!(store.swap(name, Some(&first), b"two", &mut Unwatched).unwrap(), second);
        store.remove(&[name.to_owned()], &mut Unwatched).unwrap();
        assert_eq!(store.swap(name, Some(&second), b"three", &mut Unwatched), outrun, "{}", place.kind);
        assert!(!store.exists(name).unwrap());
    }
}

#[test]
fn fetch_hands_over_whole_files_and_tells_missing_and_too_long_ones() {
    for place in Place::each() {
        let store = place.open();
        let text = "0123456789".repeat(30_000);
        store.create(&[file("targets/00.file", &text)], &mut Unwatched).unwrap();
        let mut fetched = Vec::new();
        let length = text.len() as u32;
        let mut sink = |chunk: &[u8]| fetched.extend_from_slice(chunk);
        assert_eq!(store.fetch("targets/00.file", length, &mut sink).unwrap(), Fetched::Whole);
        assert!(fetched == text.as_bytes(), "{}", place.kind);
        fetched.clear();
        let mut sink = |chunk: &[u8]| fetched.extend_from_slice(chunk);
        assert_eq!(store.fetch("targets/00.file", length - 1, &mut sink).unwrap(), Fetched::TooLong);
        assert!(fetched.len() < length as usize, "{}", place.kind);
        assert_eq!(store.fetch("targets/01.file", length, &mut |_| {}).unwrap(), Fetched::Missing);

        let refused = store.read("targets/00.file", u64::from(length) - 1);
        assert!(matches!(refused, Err(Error::Rejected(Rejected::Damaged { .. }))), "{refused:?}");
        assert_eq!(store.read("targets/00.file", length.into()).unwrap().unwrap().bytes.len(), text.len());
    }
}

#[test]
fn list_names_what_is_below_a_directory_with_length_and_time() {
    for place in Place::each() {
        let store = place.open();
        assert_eq!(store.list("").unwrap(), []);
        let files =
            [file("1.root.json", "root"), file("targets/a/00.x", "four"), file("targets/ab/00.y", "")];
        store.create(&files, &mut Unwatched).unwrap();
        // As the clock of the disk or the server has it, which is this machine's.
        let now = std::fs::metadata(tempfile::NamedTempFile::new().unwrap()).unwrap().modified().unwrap();
        let now = now.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let listed = store.list("").unwrap();
        let found: Vec<_> = listed.iter().map(|listed| (&*listed.name, listed.length)).collect();
        let expected = [("1.root.json", 4), ("targets/a/00.x", 4), ("targets/ab/00.y", 0)];
        assert_eq!(found, expected, "{}", place.kind);
        assert!(listed.iter().all(|listed| listed.modified.abs_diff(now) < 60), "{listed:?} {now}");
        assert_eq!(store.list("targets/a").unwrap(), listed[1..2], "no sibling: {}", place.kind);
        assert_eq!(store.list("targets").unwrap(), listed[1..]);
        assert_eq!(store.list("nowhere").unwrap(), []);
    }
}

#[test]
fn remove_takes_files_away_and_does_not_mind_those_that_are_gone() {
    for place in Place::each() {
        let store = place.open();
        let names: Vec<String> = (0..20).map(|number| format!("targets/{number}/00.x")).collect();
        let files: Vec<_> = names.iter().map(|name| (name.clone(), bytes("x"))).collect();
        store.create(&files, &mut Unwatched).unwrap();
        store.remove(&names[..19], &mut Unwatched).unwrap();
        store.remove(&names[..19], &mut Unwatched).unwrap();
        store.remove(&["nowhere/at/all".to_owned()], &mut Unwatched).unwrap();
        assert_eq!(contents(&*store).len(), 1, "{}", place.kind);
        assert_eq!(read(&*store, &names[19]).unwrap(), "x");
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused_by_every_method() {
    for place in Place::each() {
        let store = place.open();
        std::fs::write(place.directory.path().join("secret"), "secret").unwrap();
        for name in
            ["", "/", "/etc/passwd", "..", "../secret", "a/../../secret", "a//b", "a/", "./a", "a\nb", "a\0"]
        {
            let refused = Error::from(Rejected::TargetPath { path: name.to_owned() });
            let refused = |error: Option<Error>| assert_eq!(error.as_ref(), Some(&refused), "{}", place.kind);
            let names = [name.to_owned()];
            refused(store.read(name, 100).err());
            refused(store.fetch(name, 100, &mut |_| {}).err());
            refused(store.exists(name).err());
            // One bad name, and nothing is written.
            refused(store.create(&[file("good", ""), file(name, "")], &mut Unwatched).err());
            refused(store.swap(name, None, b"", &mut Unwatched).err());
            refused(store.remove(&names, &mut Unwatched).err());
            if !name.is_empty() {
                refused(store.list(name).err());
            }
        }
        // The store's own names.
        for name in [".x", "targets/.00.x.partial", ".targets.partial/00.x", "targets/.a.partial/b/00.x"] {
            let refused = Err(Error::from(Rejected::TargetPath { path: name.to_owned() }));
            assert_eq!(store.create(&[file(name, "")], &mut Unwatched), refused, "{}", place.kind);
        }
        assert_eq!(store.list("").unwrap(), [], "{}", place.kind);
    }
}

#[test]
fn names_with_odd_characters_come_back_as_they_were_given() {
    for place in Place::each() {
        let store = place.open();
        let mut names = ["a b", "a%20b", "a+b", "ä", "a?b#c", "{a}", "a&b=c", "..a", "targets/.well-known/a"];
        names.sort_unstable();
        let files: Vec<_> = names.iter().map(|name| file(name, name)).collect();
        let files: Vec<_> = files.into_iter().filter(|(name, _)| !name.starts_with('.')).collect();
        store.create(&files, &mut Unwatched).unwrap();
        assert_eq!(contents(&*store).len(), names.len() - 1, "{}", place.kind);
        for (name, text) in contents(&*store) {
            assert_eq!(name, text, "{}", place.kind);
        }
    }
}
