//! The directories of a repository, entered one component at a time and never through a link.
//!
//! Others may write below the top of a repository that is served. Every file is opened, renamed and removed
//! relative to its open directory, so that no link that is planted meanwhile leads anywhere else. The top itself
//! may be a link: who may change that owns the repository.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use crate::storage::{Step, Writer};
use crate::{Error, Rejected};

use super::split;

/// How a directory is opened.
const ENTER: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// An open repository.
pub(super) struct Tree {
    top: PathBuf,
    top_fd: OwnedFd,
    /// The directory that was entered last, and its name: files come in groups.
    current: Option<(String, OwnedFd)>,
}

impl Tree {
    /// Opens the top; none if there is none.
    pub(super) fn open(top: &Path) -> Result<Option<Tree>, Error> {
        match rustix::fs::openat(CWD, top, ENTER.difference(OFlags::NOFOLLOW), Mode::empty()) {
            Ok(top_fd) => Ok(Some(Tree { top: top.to_owned(), top_fd, current: None })),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(failed("open", top, errno)),
        }
    }

    /// Opens the top, and makes it if need be.
    pub(super) fn make(top: &Path, writer: &mut Writer<'_>) -> Result<Tree, Error> {
        writer.create_directories(top)?;
        match Tree::open(top)? {
            Some(tree) => Ok(tree),
            None => Err(failed("open", top, Errno::NOENT)),
        }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.top.clone() } else { self.top.join(name) }
    }

    /// A directory, empty for the top; none if there is none.
    pub(super) fn enter(&mut self, directory: &str) -> Result<Option<&OwnedFd>, Error> {
        self.walk(directory, &mut |_, _, _| Ok(false))
    }

    /// A directory, which is made if need be. `made` is told the name of each parent that got a new entry.
    pub(super) fn enter_or_make(
        &mut self,
        directory: &str,
        writer: &mut Writer<'_>,
        made: &mut dyn FnMut(&str),
    ) -> Result<&OwnedFd, Error> {
        let top = self.top.clone();
        let entered = self.walk(directory, &mut |parent, parent_fd, path| {
            made(parent);
            let path = top.join(path);
            writer.step("create", &path, Step::CreateDirectory(&path), |path| {
                let name = path.file_name().unwrap_or_default();
                match rustix::fs::mkdirat(parent_fd, name, Mode::from_raw_mode(0o777)) {
                    // Somebody else was faster.
                    Err(Errno::EXIST) => Ok(()),
                    made => made.map_err(io::Error::from),
                }
            })?;
            Ok(true)
        })?;
        entered.ok_or_else(|| failed("open", &top.join(directory), Errno::NOENT))
    }

    /// `missing` is asked to make a directory that is not there, by its parent and its own name.
    fn walk(
        &mut self,
        directory: &str,
        missing: &mut dyn FnMut(&str, &OwnedFd, &str) -> Result<bool, Error>,
    ) -> Result<Option<&OwnedFd>, Error> {
        if directory.is_empty() {
            return Ok(Some(&self.top_fd));
        }
        if self.current.as_ref().is_none_or(|(name, _)| name != directory) {
            let mut entered: Option<OwnedFd> = None;
            let ends = directory.match_indices('/').map(|(end, _)| end).chain([directory.len()]);
            for path in ends.map(|end| &directory[..end]) {
                let (parent, component) = split(path);
                let parent_fd = entered.as_ref().unwrap_or(&self.top_fd);
                let mut opened = rustix::fs::openat(parent_fd, component, ENTER, Mode::empty());
                if matches!(opened, Err(Errno::NOENT)) {
                    if !missing(parent, parent_fd, path)? {
                        return Ok(None);
                    }
                    opened = rustix::fs::openat(parent_fd, component, ENTER, Mode::empty());
                }
                let opened = opened.map_err(|errno| match stat(parent_fd, component) {
                    Ok(Some(stat)) if is(&stat, FileType::Symlink) => {
                        let why = "a directory of the repository is a symbolic link".to_owned();
                        Rejected::Damaged { path: self.top.join(path), why }.into()
                    }
                    _ => failed("open", &self.top.join(path), errno),
                });
                entered = Some(opened?);
            }
            self.current = entered.map(|fd| (directory.to_owned(), fd));
        }
        Ok(self.current.as_ref().map(|(_, fd)| fd))
    }

    /// Opens a file to read it; none if there is none.
    pub(super) fn open_file(&mut self, name: &str) -> Result<Option<(File, u64)>, Error> {
        let path = self.path(name);
        let (directory, file_name) = split(name);
        let Some(directory) = self.enter(directory)? else { return Ok(None) };
        // A pipe must not make it wait.
        let how = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, file_name, how, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Ok(None),
            Err(Errno::LOOP) => return Err(is_link(path)),
            Err(errno) => return Err(failed("read", &path, errno)),
        };
        let metadata = file.metadata().map_err(|error| Error::io("read", &path, &error))?;
        if metadata.is_file() { Ok(Some((file, metadata.len()))) } else { Err(is_no_file(path)) }
    }

    /// Whether there is a file of that name; what is there and no file is refused.
    pub(super) fn exists(&mut self, name: &str) -> Result<bool, Error> {
        let path = self.path(name);
        let (directory, file_name) = split(name);
        let Some(directory) = self.enter(directory)? else { return Ok(false) };
        match stat(directory, file_name).map_err(|errno| failed("find", &path, errno))? {
            None => Ok(false),
            Some(stat) if is(&stat, FileType::RegularFile) => Ok(true),
            Some(stat) if is(&stat, FileType::Symlink) => Err(is_link(path)),
            Some(_) => Err(is_no_file(path)),
        }
    }
}

/// What a name is, links not followed; none if it is nothing.
pub(super) fn stat(directory: &OwnedFd, name: &str) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Removes whatever is there, with all that is below it; links are not followed.
pub(super) fn remove(directory: &OwnedFd, name: &str) -> Result<(), Errno> {
    match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
        // Which of the two is up to the file system.
        Err(Errno::ISDIR | Errno::PERM) => {}
        removed => return removed,
    }
    let below = rustix::fs::openat(directory, name, ENTER, Mode::empty())?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&below)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    for name in names.iter().filter(|name| !matches!(name.as_str(), "." | "..")) {
        remove(&below, name)?;
    }
    rustix::fs::unlinkat(directory, name, AtFlags::REMOVEDIR)
}

pub(super) fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

pub(super) fn failed(what: &'static str, path: &Path, errno: Errno) -> Error {
    Error::io(what, path, &errno.into())
}

fn is_link(path: PathBuf) -> Error {
    Rejected::Damaged { path, why: "a file of the repository is a symbolic link".to_owned() }.into()
}

fn is_no_file(path: PathBuf) -> Error {
    Rejected::Damaged { path, why: "a file of the repository is a directory, a pipe or a device".to_owned() }
        .into()
}
