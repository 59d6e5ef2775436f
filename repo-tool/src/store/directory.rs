//! A repository in a directory, which a web server serves.
//!
//! A disk has no conditional rename. Whoever writes holds a lock file beside the directory, reads what is there
//! again, and renames.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::UNIX_EPOCH;

use rustix::fs::OFlags;
use std::os::unix::fs::OpenOptionsExt;

use crate::source::Fetched;
use crate::storage::{Content, Unwatched, Witness, Writer, hash_open_file};
use crate::{Environment, Error, Misuse, Rejected};

use super::batch::Batch;
use super::tree::Tree;
use super::{Listed, Lock, Mark, Store, Stored, Tag, check_name, check_new_name, check_prefix, too_long};

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// A repository in a directory.
#[derive(Debug)]
pub struct Directory {
    top: PathBuf,
    /// The lock that [`Store::lock`] gave out, while it is held.
    held: Mutex<Weak<Held>>,
    /// One of the threads that share this store writes at a time.
    turn: Mutex<()>,
}

/// The lock file, locked.
#[derive(Debug)]
pub(super) struct Held {
    file: File,
}

impl Drop for Held {
    /// Closing the file is not enough while a process that another thread is just starting has a copy of it.
    fn drop(&mut self) {
        // Nothing to be done about a failure; the lock then lasts until this process ends.
        let _ = self.file.unlock();
    }
}

/// What keeps others from writing during one call.
struct Turn<'d> {
    _held: Arc<Held>,
    _turn: MutexGuard<'d, ()>,
}

impl Directory {
    /// The repository whose top is this directory. It need not be there yet; nothing is touched.
    pub fn new(top: &Path) -> Directory {
        Directory { top: top.to_owned(), held: Mutex::default(), turn: Mutex::default() }
    }

    /// The lock file lies beside the directory that is meant, by whatever name it was given.
    fn open_lock(&self, witness: &mut dyn Witness) -> Result<(File, PathBuf), Error> {
        let failed = |error| Error::io("open", &self.top, &error);
        let top = match fs::canonicalize(&self.top) {
            // Whoever comes second finds it made, by its other name.
            Err(error) if error.kind() == ErrorKind::NotFound => {
                Writer::new(witness).create_directories(&self.top)?;
                fs::canonicalize(&self.top).map_err(failed)?
            }
            top => top.map_err(failed)?,
        };
        let Some(name) = top.file_name() else {
            let why = "has no directory beside it for a lock file; publish into one below it".to_owned();
            return Err(Misuse::Address { url: top.display().to_string(), why }.into());
        };
        let mut lock_name = std::ffi::OsString::from(".");
        lock_name.push(name);
        lock_name.push(".lock");
        let path = top.with_file_name(lock_name);
        let mut how = File::options();
        how.create(true).truncate(false).write(true).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
        let file = how.open(&path).map_err(|error| Error::io("open", &path, &error))?;
        Ok((file, path))
    }

    fn held(&self) -> MutexGuard<'_, Weak<Held>> {
        // Nothing panics while it is held.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until nobody else writes.
    fn turn(&self, witness: &mut dyn Witness) -> Result<Turn<'_>, Error> {
        let turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let held = self.held().upgrade();
        let held = match held {
            Some(held) => held,
            None => {
                let (file, path) = self.open_lock(witness)?;
                file.lock().map_err(|error| Error::io("lock", &path, &error))?;
                Arc::new(Held { file })
            }
        };
        Ok(Turn { _held: held, _turn: turn })
    }

    fn create_in<'f>(&self, batch: &mut Batch<'f, '_>, files: &'f [(String, Content)]) -> Result<(), Error> {
        let mut seen: HashMap<&str, &Content> = HashMap::with_capacity(files.len());
        for (name, content) in files {
            let differs = || Error::from(Rejected::ImmutableDiffers { path: self.place(name) });
            if let Some(before) = seen.insert(name, content) {
                if before.digest() != content.digest() {
                    return Err(differs());
                }
                continue;
            }
            // Asking first is cheaper where most are new.
            let there = !batch.is_fresh(name) && batch.tree.exists(name)?;
            let there = if there { batch.tree.open_file(name)? } else { None };
            match there {
                None => batch.add(name, content)?,
                Some((mut file, _)) => {
                    if hash_open_file(&mut file, &self.place(name))?.sha256 != content.digest() {
                        return Err(differs());
                    }
                    batch.keep(name, file)?;
                }
            }
        }
        batch.finish()
    }

    fn list_below(&self, tree: &mut Tree, directory: &str, listed: &mut Vec<Listed>) -> Result<(), Error> {
        let place = tree.path(directory);
        let failed = |error| Error::io("list", &place, &error);
        // Refuses links on the way.
        if tree.enter(directory)?.is_none() {
            return Ok(());
        }
        for entry in fs::read_dir(&place).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            // A name that is no text is none of a repository's.
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            let name = if directory.is_empty() { file_name } else { format!("{directory}/{file_name}") };
            let kind = entry.file_type().map_err(failed)?;
            if kind.is_dir() {
                self.list_below(tree, &name, listed)?;
            } else if kind.is_file() {
                let metadata = match entry.metadata() {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    metadata => metadata.map_err(failed)?,
                };
                let modified = metadata.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
                let modified = modified.map_or(0, |since| since.as_secs());
                listed.push(Listed { name, length: metadata.len(), modified });
            }
        }
        Ok(())
    }
}

impl Store for Directory {
    fn read(&self, name: &str, limit: u64) -> Result<Option<Stored>, Error> {
        check_name(name)?;
        let path = self.place(name);
        let Some(mut tree) = Tree::open(&self.top)? else { return Ok(None) };
        let Some((file, length)) = tree.open_file(name)? else { return Ok(None) };
        if length > limit {
            return Err(too_long(&path, limit));
        }
        let mut bytes = Vec::with_capacity(length as usize);
        file.take(limit + 1).read_to_end(&mut bytes).map_err(|error| Error::io("read", &path, &error))?;
        if bytes.len() as u64 > limit {
            return Err(too_long(&path, limit));
        }
        let tag = Tag::digest(&bytes);
        Ok(Some(Stored { bytes, tag }))
    }

    fn fetch(&self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        check_name(name)?;
        let path = self.place(name);
        let Some(mut tree) = Tree::open(&self.top)? else { return Ok(Fetched::Missing) };
        let Some((file, length)) = tree.open_file(name)? else { return Ok(Fetched::Missing) };
        if length > limit.into() {
            return Ok(Fetched::TooLong);
        }
        // A file that grows meanwhile is cut off, and refused for its digest.
        let mut reader = file.take(limit.into());
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk).map_err(|error| Error::io("read", &path, &error))? {
                0 => return Ok(Fetched::Whole),
                count => sink(&chunk[..count]),
            }
        }
    }

    fn exists(&self, name: &str) -> Result<bool, Error> {
        check_name(name)?;
        Tree::open(&self.top)?.map_or(Ok(false), |mut tree| tree.exists(name))
    }

    fn create(&self, files: &[(String, Content)], witness: &mut dyn Witness) -> Result<(), Error> {
        for (name, _) in files {
            check_new_name(name)?;
        }
        let _turn = self.turn(witness)?;
        let tree = Tree::make(&self.top, &mut Writer::new(witness))?;
        let mut batch = Batch::new(tree, witness, files.len());
        let created = self.create_in(&mut batch, files);
        if created.is_err() {
            batch.discard();
        }
        created
    }

    fn swap(
        &self,
        name: &str,
        before: Option<&Tag>,
        bytes: &[u8],
        witness: &mut dyn Witness,
    ) -> Result<Tag, Error> {
        check_new_name(name)?;
        let path = self.place(name);
        let _turn = self.turn(witness)?;
        let mut tree = Tree::make(&self.top, &mut Writer::new(witness))?;
        let there = match tree.open_file(name)? {
            None => None,
            Some((mut file, _)) => {
                let tag = Tag(Mark::Digest(hash_open_file(&mut file, &path)?.sha256));
                Some((file, tag))
            }
        };
        let after = Tag::digest(bytes);
        let mut batch = Batch::new(tree, witness, 1);
        let swapped = match there {
            Some((file, tag)) if tag == after => batch.keep(name, file),
            there if there.as_ref().map(|(_, tag)| tag) == before => {
                batch.add(name, &Content::Bytes(bytes.to_owned().into()))
            }
            _ => Err(Environment::Outrun { path }.into()),
        };
        let swapped = swapped.and_then(|()| batch.finish());
        if swapped.is_err() {
            batch.discard();
        }
        swapped.map(|()| after)
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        check_prefix(prefix)?;
        let mut listed = Vec::new();
        if let Some(mut tree) = Tree::open(&self.top)? {
            self.list_below(&mut tree, prefix, &mut listed)?;
        }
        listed.sort();
        Ok(listed)
    }

    fn remove(&self, names: &[String], witness: &mut dyn Witness) -> Result<(), Error> {
        for name in names {
            check_name(name)?;
        }
        let _turn = self.turn(witness)?;
        let Some(tree) = Tree::open(&self.top)? else { return Ok(()) };
        let mut batch = Batch::new(tree, witness, 0);
        for name in names {
            batch.remove(name)?;
        }
        batch.finish()
    }

    fn lock(&self) -> Result<Lock, Error> {
        let mut held = self.held();
        let (file, path) = self.open_lock(&mut Unwatched)?;
        match file.try_lock() {
            Ok(()) => {
                let lock = Arc::new(Held { file });
                *held = Arc::downgrade(&lock);
                Ok(Lock { _held: Some(lock) })
            }
            Err(TryLockError::WouldBlock) => Err(Environment::Locked { path }.into()),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path, &error)),
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.top.clone() } else { self.top.join(name) }
    }
}
