//! Stores of both kinds, empty and of one's own for each test, and a witness that cuts the power.

use core::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tuffet::storage::{Content, Step, Witness};
use tuffet::store::{self, Access, Settings, Store, is_own};

use crate::seaweed::{BUCKET, seaweed, settings};

/// Kinds of places.
pub(crate) const KINDS: [&str; 2] = ["directory", "bucket"];

/// A place that is a test's own.
pub(crate) struct Place {
    pub(crate) kind: &'static str,
    /// For the test, and for the repository if it is a directory.
    pub(crate) directory: TempDir,
    place: String,
}

impl Place {
    pub(crate) fn directory() -> Place {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("public").to_str().unwrap().to_owned();
        Place { kind: "directory", directory, place }
    }

    pub(crate) fn bucket() -> Place {
        static PREFIX: AtomicUsize = AtomicUsize::new(0);
        let place = format!("s3://{BUCKET}/place/{}", PREFIX.fetch_add(1, Ordering::Relaxed));
        Place { kind: "bucket", directory: tempfile::tempdir().unwrap(), place }
    }

    pub(crate) fn of(kind: &str) -> Place {
        if kind == "bucket" { Place::bucket() } else { Place::directory() }
    }

    /// One of each kind.
    pub(crate) fn each() -> [Place; 2] {
        KINDS.map(Place::of)
    }

    /// As it is given on a command line.
    pub(crate) fn name(&self) -> &str {
        &self.place
    }

    /// A publisher of its own.
    pub(crate) fn open(&self) -> Box<dyn Store> {
        let settings =
            if self.kind == "bucket" { settings(&seaweed().endpoint) } else { Settings::default() };
        store::open(&self.place, Access::Write, &settings).unwrap()
    }

    /// Where a directory's repository is.
    pub(crate) fn top(&self) -> PathBuf {
        self.directory.path().join("public")
    }
}

pub(crate) fn bytes(text: &str) -> Content {
    Content::Bytes(text.as_bytes().to_vec().into())
}

pub(crate) fn file(name: &str, text: &str) -> (String, Content) {
    (name.to_owned(), bytes(text))
}

/// Content that is copied from a file made for it.
pub(crate) fn copied(directory: &Path, name: &str, text: &[u8]) -> Content {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    Content::File { path, sha256: Sha256::digest(text).into(), given: None }
}

pub(crate) fn read(store: &dyn Store, name: &str) -> Option<String> {
    store.read(name, 1 << 20).unwrap().map(|stored| String::from_utf8(stored.bytes).unwrap())
}

/// Every name with its bytes.
pub(crate) fn contents(store: &dyn Store) -> Vec<(String, String)> {
    let listed = store.list("").unwrap();
    let names = listed.into_iter().map(|listed| listed.name);
    names.filter(|name| !is_own(name)).map(|name| (name.clone(), read(store, &name).unwrap())).collect()
}

/// Writes down every step, and cuts the power before one of them. What was not flushed by then is lost.
#[derive(Default)]
pub(crate) struct Power {
    pub(crate) cut_before: Option<usize>,
    pub(crate) steps: Vec<(String, PathBuf)>,
    unflushed: BTreeSet<PathBuf>,
}

impl Power {
    pub(crate) fn cut_before(step: usize) -> Power {
        Power { cut_before: Some(step), ..Power::default() }
    }
}

impl Witness for Power {
    fn before(&mut self, step: Step<'_>) -> io::Result<()> {
        let text = format!("{step:?}");
        let (Step::CreateDirectory(path)
        | Step::Create(path)
        | Step::Link(path)
        | Step::Write(path, _)
        | Step::Sync(path)
        | Step::Rename(path)
        | Step::SyncDirectory(path)
        | Step::Remove(path)
        | Step::SyncFileSystem(path)
        | Step::Put(path, _)
        | Step::Swap(path)
        | Step::Delete(path)) = step;
        if self.cut_before.is_some_and(|cut| cut <= self.steps.len()) {
            for path in core::mem::take(&mut self.unflushed) {
                if let Ok(file) = File::options().write(true).open(&path) {
                    file.set_len(file.metadata()?.len() / 2)?;
                }
            }
            return Err(io::Error::other("the power was cut"));
        }
        match step {
            Step::Write(path, _) => _ = self.unflushed.insert(path.to_owned()),
            Step::Sync(path) => _ = self.unflushed.remove(path),
            Step::SyncFileSystem(_) => self.unflushed.clear(),
            // A name must never stand for bytes that can still be lost.
            Step::Rename(path) => {
                let partial = format!(".{}.partial", path.file_name().unwrap().to_str().unwrap());
                let partial = path.with_file_name(partial);
                let unflushed = self.unflushed.iter().any(|path| path.starts_with(&partial));
                assert!(!unflushed, "{}", path.display());
            }
            _ => {}
        }
        self.steps.push((text.split('(').next().unwrap().to_owned(), path.to_owned()));
        Ok(())
    }
}
