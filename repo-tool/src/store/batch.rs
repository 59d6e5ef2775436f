//! Files that are written together, and flushed together.
//!
//! Flushing file by file costs a turn of the disk for each. A batch writes all its files under temporary names,
//! flushes the file system once, renames them all, and flushes the names. No final name ever stands for bytes
//! that are not on the disk yet. Files of a directory that is not there yet are written into one with a temporary
//! name, and that one is renamed: a rename costs more than all the rest of a small file.
//!
//! A batch of a few files flushes them one by one: the file system may hold gigabytes of somebody else's.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::Error;
use crate::storage::{Content, Stamp, Step, Witness, Writer};

use super::tree::{Tree, failed, remove, stat};
use super::{partial_name, split};

/// Files, or directories, that are flushed one by one.
const FEW: usize = 8;

/// A batch, as long as it is not on the disk.
pub(super) struct Batch<'f, 'w> {
    pub(super) tree: Tree,
    writer: Writer<'w>,
    /// Files, and new directories with all that is in them, that wait for their names, in order.
    written: Vec<Cow<'f, str>>,
    /// How many of them were renamed.
    renamed: usize,
    /// Whether the files are flushed one by one.
    few: bool,
    /// Files to be flushed so.
    unflushed: Vec<(PathBuf, File)>,
    /// The new directories.
    fresh: BTreeSet<String>,
    /// Directories whose names are to be flushed.
    directories: BTreeSet<String>,
    /// One of them on each file system.
    file_systems: BTreeMap<u64, String>,
}

impl<'f, 'w> Batch<'f, 'w> {
    /// A batch of at most `count` files below `tree`.
    pub(super) fn new(tree: Tree, witness: &'w mut dyn Witness, count: usize) -> Batch<'f, 'w> {
        Batch {
            tree,
            writer: Writer::new(witness),
            written: Vec::new(),
            renamed: 0,
            few: count <= FEW,
            unflushed: Vec::new(),
            fresh: BTreeSet::new(),
            directories: BTreeSet::new(),
            file_systems: BTreeMap::new(),
        }
    }

    /// Writes a file under a temporary name, or into a directory that has one.
    pub(super) fn add(&mut self, name: &'f str, content: &Content) -> Result<(), Error> {
        let (directory, file_name) = split(name);
        let fresh = self.fresh(directory)?;
        let directory = fresh.as_deref().unwrap_or(directory);
        let Batch { tree, writer, directories, .. } = self;
        tree.enter_or_make(directory, writer, &mut |parent| {
            if fresh.is_none() {
                directories.insert(parent.to_owned());
            }
        })?;
        let partial_name = if fresh.is_some() { file_name.to_owned() } else { partial_name(file_name) };
        let partial = self.tree.path(directory).join(&partial_name);
        if fresh.is_none() {
            self.note(directory)?;
            self.written.push(name.into());
        }
        if self.link(directory, &partial, &partial_name, content)? {
            // Whoever put it where it was may not have flushed it.
            if self.few {
                let file = File::open(&partial).map_err(|error| Error::io("open", &partial, &error))?;
                self.unflushed.push((partial, file));
            }
            return Ok(());
        }
        let mut file = match self.create(directory, &partial, &partial_name)? {
            Some(file) => file,
            None => {
                // A publisher that died left it, or somebody planted it.
                self.remove_partial(directory, &partial, &partial_name)?;
                let made = self.create(directory, &partial, &partial_name)?;
                made.ok_or_else(|| failed("create", &partial, Errno::EXIST))?
            }
        };
        self.writer.fill(&partial, &mut file, content)?;
        if self.few {
            self.unflushed.push((partial, file));
        }
        Ok(())
    }

    /// Whether a file is one of a directory that is new, so that nothing can be there.
    pub(super) fn is_fresh(&self, name: &str) -> bool {
        !self.fresh.is_empty() && self.fresh_above(split(name).0).is_some()
    }

    /// Where the files of a new directory are written; none if it is there.
    fn fresh(&mut self, directory: &str) -> Result<Option<String>, Error> {
        if self.few {
            return Ok(None);
        }
        if let Some(above) = self.fresh_above(directory) {
            return Ok(Some(moved(above, directory)));
        }
        let mut above = None;
        for prefix in prefixes(directory) {
            if self.tree.enter(prefix)?.is_none() {
                above = Some(prefix);
                break;
            }
        }
        let Some(above) = above else { return Ok(None) };
        let (parent, name) = split(above);
        let partial_name = partial_name(name);
        let partial = self.tree.path(parent).join(&partial_name);
        self.note(parent)?;
        let Some(parent_fd) = self.tree.enter(parent)? else {
            return Err(failed("create", &partial, Errno::NOENT));
        };
        if stat(parent_fd, &partial_name).map_err(|errno| failed("find", &partial, errno))?.is_some() {
            self.remove_partial(parent, &partial, &partial_name)?;
        }
        self.fresh.insert(above.to_owned());
        self.written.push(above.to_owned().into());
        Ok(Some(moved(above, directory)))
    }

    /// The new directory that a directory is in, or is.
    fn fresh_above<'d>(&self, directory: &'d str) -> Option<&'d str> {
        prefixes(directory).find(|prefix| self.fresh.contains(*prefix))
    }

    /// Gives a file that may be given away its name here. Whether that was done: one that has changed since, or that lies
    /// on another disk, is copied.
    fn link(&mut self, directory: &str, path: &Path, name: &str, content: &Content) -> Result<bool, Error> {
        let Content::File { path: source, given: Some(stamp), .. } = content else { return Ok(false) };
        let Some(directory) = self.tree.enter(directory)? else {
            return Err(failed("create", path, Errno::NOENT));
        };
        if !rustix::fs::lstat(source).is_ok_and(|stat| Stamp::of(&stat) == *stamp) {
            return Ok(false);
        }
        self.writer.witnessed("create", path, Step::Link(path))?;
        Ok(rustix::fs::linkat(CWD, source, directory, name, AtFlags::empty()).is_ok())
    }

    /// Makes a file; none if something of that name is there.
    fn create(&mut self, directory: &str, path: &Path, name: &str) -> Result<Option<File>, Error> {
        let Some(directory) = self.tree.enter(directory)? else {
            return Err(failed("create", path, Errno::NOENT));
        };
        self.writer.witnessed("create", path, Step::Create(path))?;
        let how = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, name, how, Mode::from_raw_mode(0o666)) {
            Ok(file) => Ok(Some(File::from(file))),
            Err(Errno::EXIST) => Ok(None),
            Err(errno) => Err(failed("create", path, errno)),
        }
    }

    fn remove_partial(&mut self, directory: &str, path: &Path, name: &str) -> Result<(), Error> {
        let Some(directory) = self.tree.enter(directory)? else { return Ok(()) };
        self.writer.step("remove", path, Step::Remove(path), |_| Ok(remove(directory, name)?))
    }

    /// Flushes a file that is there already: whoever wrote it may have died before that.
    pub(super) fn keep(&mut self, name: &str, file: File) -> Result<(), Error> {
        self.note(split(name).0)?;
        if self.few {
            self.unflushed.push((self.tree.path(name), file));
        }
        Ok(())
    }

    /// Flushes the files, gives them their names, and flushes those.
    pub(super) fn finish(&mut self) -> Result<(), Error> {
        if self.few {
            for (path, file) in self.unflushed.drain(..) {
                self.writer.step("flush", &path, Step::Sync(&path), |_| file.sync_all())?;
            }
        } else {
            self.sync_file_systems()?;
        }
        while let Some(name) = self.written.get(self.renamed) {
            let path = self.tree.path(name);
            let (directory, file_name) = split(name);
            let partial_name = partial_name(file_name);
            let Some(directory) = self.tree.enter(directory)? else {
                return Err(failed("rename", &path, Errno::NOENT));
            };
            self.writer.step("rename", &path, Step::Rename(&path), |_| {
                Ok(rustix::fs::renameat(directory, &*partial_name, directory, file_name)?)
            })?;
            self.renamed += 1;
        }
        self.sync_directories()
    }

    /// Takes back what has no name yet, as far as the disk and the witness let it: a full disk is no place for
    /// half a batch.
    pub(super) fn discard(mut self) {
        self.unflushed.clear();
        for name in self.written.split_off(self.renamed) {
            let (directory, file_name) = split(&name);
            let partial_name = partial_name(file_name);
            let partial = self.tree.path(directory).join(&partial_name);
            if self.remove_partial(directory, &partial, &partial_name).is_err() {
                return;
            }
        }
    }

    /// Removes a file, or a link to one; its name is gone for good once [`Batch::finish`] returns.
    pub(super) fn remove(&mut self, name: &str) -> Result<(), Error> {
        let path = self.tree.path(name);
        let (directory_name, file_name) = split(name);
        let Some(directory) = self.tree.enter(directory_name)? else { return Ok(()) };
        if stat(directory, file_name).map_err(|errno| failed("find", &path, errno))?.is_none() {
            return Ok(());
        }
        self.writer.step("remove", &path, Step::Remove(&path), |_| {
            Ok(rustix::fs::unlinkat(directory, file_name, AtFlags::empty())?)
        })?;
        self.note(directory_name)
    }

    /// The names of this directory will be flushed.
    fn note(&mut self, directory: &str) -> Result<(), Error> {
        if self.directories.contains(directory) {
            return Ok(());
        }
        let path = self.tree.path(directory);
        if let Some(fd) = self.tree.enter(directory)? {
            let device = rustix::fs::fstat(fd).map_err(|errno| failed("find", &path, errno))?.st_dev;
            self.file_systems.entry(device).or_insert_with(|| directory.to_owned());
        }
        self.directories.insert(directory.to_owned());
        Ok(())
    }

    fn sync_directories(&mut self) -> Result<(), Error> {
        if self.directories.len() > FEW {
            return self.sync_file_systems();
        }
        for directory in &self.directories {
            let path = self.tree.path(directory);
            if let Some(fd) = self.tree.enter(directory)? {
                let sync = |_: &_| rustix::fs::fsync(fd).map_err(io::Error::from);
                self.writer.step("flush", &path, Step::SyncDirectory(&path), sync)?;
            }
        }
        Ok(())
    }

    fn sync_file_systems(&mut self) -> Result<(), Error> {
        for directory in self.file_systems.values() {
            let path = self.tree.path(directory);
            if let Some(fd) = self.tree.enter(directory)? {
                let sync = |_: &_| rustix::fs::syncfs(fd).map_err(io::Error::from);
                self.writer.step("flush", &path, Step::SyncFileSystem(&path), sync)?;
            }
        }
        Ok(())
    }
}

/// A directory, after each directory above it.
fn prefixes(directory: &str) -> impl Iterator<Item = &str> {
    let ends = directory.match_indices('/').map(|(end, _)| end).chain([directory.len()]);
    ends.map(|end| &directory[..end]).filter(|prefix| !prefix.is_empty())
}

/// A directory in or under `above`, as it is called while that one has its temporary name.
fn moved(above: &str, directory: &str) -> String {
    let (parent, name) = split(above);
    let slash = if parent.is_empty() { "" } else { "/" };
    format!("{parent}{slash}{}{}", partial_name(name), &directory[above.len()..])
}
