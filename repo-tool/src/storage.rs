//! Files that survive a crash: each is old or new, never half of one.
//!
//! A file is written under a temporary name in its own directory, flushed, renamed, and the directory
//! flushed. The temporary name depends on the final one alone, so that a crash leaves at most one
//! leftover a file and the next attempt removes it; whoever writes holds the workspace's lock.
//!
//! Others may write in a directory that is served, and the names can be guessed. No name is followed that
//! somebody may have made a symbolic link to elsewhere: what is in the way is removed or renamed over.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::Stat;
use sha2::{Digest as _, Sha256};
use tuffet_client::release::Hex;

use crate::{Error, Rejected};

/// Bytes that are copied at a time.
const CHUNK: usize = 64 * 1024;

/// Sees every step before it is taken, and can refuse it, which leaves what a crash there would leave.
///
/// Progress is shown through it, and tests cut the power with it.
pub trait Witness {
    /// Called before each step.
    ///
    /// # Errors
    /// Whatever should take the place of the step's own failure.
    fn before(&mut self, step: Step<'_>) -> io::Result<()>;
}

/// Nobody looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct Unwatched;

impl Witness for Unwatched {
    fn before(&mut self, _: Step<'_>) -> io::Result<()> {
        Ok(())
    }
}

/// One thing that is done to a disk, or asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<'a> {
    /// A directory is made.
    CreateDirectory(&'a Path),
    /// A temporary file is made.
    Create(&'a Path),
    /// A file that is there under another name gets this temporary one, too.
    Link(&'a Path),
    /// Bytes are appended to it.
    Write(&'a Path, usize),
    /// A file's bytes are flushed.
    Sync(&'a Path),
    /// The temporary file takes its final name (this one).
    Rename(&'a Path),
    /// A directory's names are flushed.
    SyncDirectory(&'a Path),
    /// A file is removed.
    Remove(&'a Path),
    /// All that was written to the file system of this directory is flushed.
    SyncFileSystem(&'a Path),
    /// A server is asked to make an object of so many bytes, if there is none of that name.
    Put(&'a Path, u64),
    /// A server is asked to replace an object, if it is still the one that was read.
    Swap(&'a Path),
    /// A server is asked to delete an object.
    Delete(&'a Path),
}

/// What a file shall hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Content {
    /// These bytes.
    Bytes(Bytes),
    /// The bytes of another file, which must have this digest.
    File {
        /// The file.
        path: PathBuf,
        /// SHA-256 of its bytes.
        sha256: [u8; 32],
        /// How it was when it was hashed, if it may be given away: a directory on its disk takes the file itself then,
        /// and needs no second copy of a large image.
        given: Option<Stamp>,
    },
}

/// What tells whether a file is still the one that was looked at: where it is on the disk, and when it last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    device: u64,
    inode: u64,
    length: i64,
    changed: (i64, u64),
}

impl Stamp {
    pub(crate) fn of(stat: &Stat) -> Stamp {
        Stamp {
            device: stat.st_dev,
            inode: stat.st_ino,
            length: stat.st_size,
            changed: (stat.st_ctime, stat.st_ctime_nsec),
        }
    }
}

impl Content {
    /// A file that is to be removed once it is written elsewhere, and its length. It is hashed now.
    ///
    /// # Errors
    /// An I/O failure.
    pub fn given(path: &Path) -> Result<(Content, u64), Error> {
        let failed = |error| Error::io("read", path, &error);
        let mut file = File::open(path).map_err(failed)?;
        // Before it is read: what changes it from here on changes the stamp.
        let stat = rustix::fs::fstat(&file).map_err(|errno| failed(errno.into()))?;
        let Summary { sha256, length } = hash_open_file(&mut file, path)?;
        Ok((Content::File { path: path.to_owned(), sha256, given: Some(Stamp::of(&stat)) }, length))
    }

    /// SHA-256 in lower-case hex.
    pub fn sha256(&self) -> String {
        Hex(&self.digest()).to_string()
    }

    pub(crate) fn digest(&self) -> [u8; 32] {
        match self {
            Content::Bytes(bytes) => Sha256::digest(bytes).into(),
            Content::File { sha256, .. } => *sha256,
        }
    }
}

/// Writes files durably, telling a [`Witness`].
pub struct Writer<'w> {
    witness: &'w mut dyn Witness,
    /// What is copied passes through here; kept, for a batch has many small files.
    chunk: Vec<u8>,
}

impl<'w> Writer<'w> {
    /// A writer that tells `witness`.
    pub fn new(witness: &'w mut dyn Witness) -> Writer<'w> {
        Writer { witness, chunk: Vec::new() }
    }

    /// Writes a file that never changes. One that is there with the same bytes is kept, and flushed, for
    /// whoever wrote it may have died before that; a symbolic link to the same bytes is replaced by a file, for
    /// they could still change. Gives whether the file was written.
    ///
    /// # Errors
    /// [`Rejected::ImmutableDiffers`], [`Rejected::Damaged`] if the bytes to copy have another digest, or
    /// an I/O failure.
    pub fn create(&mut self, path: &Path, content: &Content) -> Result<bool, Error> {
        if exists(path)? {
            if hash_file(path)?.sha256 != content.digest() {
                return Err(Rejected::ImmutableDiffers { path: path.to_owned() }.into());
            }
            if !is_link(path) {
                self.step("flush", path, Step::Sync(path), |path| File::open(path)?.sync_all())?;
                self.sync_directory(parent(path))?;
                return Ok(false);
            }
        }
        self.replace(path, content)?;
        Ok(true)
    }

    /// Writes a file, in the place of an older one if need be.
    ///
    /// # Errors
    /// [`Rejected::Damaged`] if the bytes to copy have another digest, or an I/O failure.
    pub fn replace(&mut self, path: &Path, content: &Content) -> Result<(), Error> {
        let directory = parent(path);
        self.create_directories(directory)?;
        let partial = partial_name(path);
        let file = self.write_all(&partial, content)?;
        self.step("flush", &partial, Step::Sync(&partial), |_| file.sync_all())?;
        self.step("rename", path, Step::Rename(path), |path| fs::rename(&partial, path))?;
        self.sync_directory(directory)
    }

    /// Removes a file; one that is gone already is no error.
    ///
    /// # Errors
    /// An I/O failure.
    pub fn remove(&mut self, path: &Path) -> Result<(), Error> {
        if !exists(path)? {
            return Ok(());
        }
        self.step("remove", path, Step::Remove(path), |path| fs::remove_file(path))?;
        self.sync_directory(parent(path))
    }

    /// Makes a directory and those above it, each flushed into its parent.
    ///
    /// # Errors
    /// An I/O failure.
    pub fn create_directories(&mut self, path: &Path) -> Result<(), Error> {
        if path.is_dir() {
            return Ok(());
        }
        let above = parent(path);
        self.create_directories(above)?;
        self.step("create", path, Step::CreateDirectory(path), |path| match fs::create_dir(path) {
            // Somebody else was faster.
            Err(_) if path.is_dir() => Ok(()),
            made => made,
        })?;
        self.sync_directory(above)
    }

    /// Gives the file, so that no name is resolved again.
    fn write_all(&mut self, partial: &Path, content: &Content) -> Result<File, Error> {
        if partial.symlink_metadata().is_ok() {
            self.step("remove", partial, Step::Remove(partial), |partial| fs::remove_file(partial))?;
        }
        self.witnessed("create", partial, Step::Create(partial))?;
        let mut file = File::create_new(partial).map_err(|error| Error::io("create", partial, &error))?;
        self.fill(partial, &mut file, content)?;
        Ok(file)
    }

    /// Writes into a file that was just made under the name `partial`.
    pub(crate) fn fill(&mut self, partial: &Path, file: &mut File, content: &Content) -> Result<(), Error> {
        match content {
            Content::Bytes(bytes) => self.append(partial, file, bytes)?,
            Content::File { path, sha256, .. } => {
                let read_failed = |error| Error::io("read", path, &error);
                let mut source = File::open(path).map_err(read_failed)?;
                let mut hash = Sha256::new();
                let mut chunk = core::mem::take(&mut self.chunk);
                chunk.resize(CHUNK, 0);
                loop {
                    let count = source.read(&mut chunk).map_err(read_failed)?;
                    if count == 0 {
                        break;
                    }
                    hash.update(&chunk[..count]);
                    self.append(partial, file, &chunk[..count])?;
                }
                self.chunk = chunk;
                if <[u8; 32]>::from(hash.finalize()) != *sha256 {
                    let why = "the file does not have the SHA-256 that it was stored under".to_owned();
                    return Err(Rejected::Damaged { path: path.clone(), why }.into());
                }
            }
        }
        Ok(())
    }

    fn append(&mut self, partial: &Path, file: &mut File, bytes: &[u8]) -> Result<(), Error> {
        self.witnessed("write", partial, Step::Write(partial, bytes.len()))?;
        file.write_all(bytes).map_err(|error| Error::io("write", partial, &error))
    }

    fn sync_directory(&mut self, directory: &Path) -> Result<(), Error> {
        self.step("flush", directory, Step::SyncDirectory(directory), |path| File::open(path)?.sync_all())
    }

    /// Takes a step, unless the witness refuses it.
    pub(crate) fn step(
        &mut self,
        what: &'static str,
        path: &Path,
        step: Step<'_>,
        take: impl FnOnce(&Path) -> io::Result<()>,
    ) -> Result<(), Error> {
        self.witnessed(what, path, step)?;
        take(path).map_err(|error| Error::io(what, path, &error))
    }

    pub(crate) fn witnessed(&mut self, what: &'static str, path: &Path, step: Step<'_>) -> Result<(), Error> {
        self.witness.before(step).map_err(|error| Error::io(what, path, &error))
    }
}

/// What a file holds, without the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Summary {
    /// SHA-256.
    pub sha256: [u8; 32],
    /// Bytes.
    pub length: u64,
}

/// Reads a file through once, whatever its size.
///
/// # Errors
/// An I/O failure.
pub fn hash_file(path: &Path) -> Result<Summary, Error> {
    hash_open_file(&mut File::open(path).map_err(|error| Error::io("read", path, &error))?, path)
}

/// As [`hash_file`], of a file that is open already.
pub(crate) fn hash_open_file(file: &mut File, path: &Path) -> Result<Summary, Error> {
    let failed = |error| Error::io("read", path, &error);
    let mut hash = Sha256::new();
    let mut length = 0;
    let mut chunk = vec![0; CHUNK];
    loop {
        let count = file.read(&mut chunk).map_err(failed)?;
        if count == 0 {
            return Ok(Summary { sha256: hash.finalize().into(), length });
        }
        length += count as u64;
        hash.update(&chunk[..count]);
    }
}

/// Reads a whole file; none if there is none.
///
/// # Errors
/// An I/O failure, or a file too large for metadata.
pub fn read_optional(path: &Path) -> Result<Option<Vec<u8>>, Error> {
    if exists(path)? { Ok(Some(tuffet_keys::file::read(path)?)) } else { Ok(None) }
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|error| Error::io("find", path, &error))
}

fn is_link(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink())
}

fn partial_name(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".partial");
    path.with_file_name(name)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(text: &str) -> Content {
        Content::Bytes(text.as_bytes().to_vec().into())
    }

    #[test]
    fn create_over_the_same_bytes_keeps_the_file_and_over_others_refuses() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b/file");
        let mut witness = Unwatched;
        let mut writer = Writer::new(&mut witness);
        assert!(writer.create(&path, &bytes("one")).unwrap());
        assert!(!writer.create(&path, &bytes("one")).unwrap());
        let refused = writer.create(&path, &bytes("two"));
        assert_eq!(refused, Err(Rejected::ImmutableDiffers { path: path.clone() }.into()));
        assert_eq!(fs::read(&path).unwrap(), b"one");
        writer.replace(&path, &bytes("two")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        let names: Vec<_> =
            fs::read_dir(parent(&path)).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"], "no temporary file is left");
    }

    #[test]
    fn write_where_a_link_is_planted_replaces_the_link_and_leaves_its_target() {
        let directory = tempfile::tempdir().unwrap();
        let (target, path) = (directory.path().join("target"), directory.path().join("timestamp.json"));
        let plant = |name: &Path| std::os::unix::fs::symlink(&target, name).unwrap();
        fs::write(&target, "precious").unwrap();
        let witness = &mut Unwatched;
        let mut writer = Writer::new(witness);

        plant(&partial_name(&path));
        writer.replace(&path, &bytes("one")).unwrap();
        plant(&partial_name(&path));
        fs::remove_file(&path).unwrap();
        plant(&path);
        writer.replace(&path, &bytes("two")).unwrap();
        assert!(!is_link(&path) && !partial_name(&path).exists());
        assert_eq!(fs::read(&path).unwrap(), b"two");

        let fixed = directory.path().join("1.root.json");
        plant(&fixed);
        let refused = writer.create(&fixed, &bytes("root"));
        assert_eq!(refused, Err(Rejected::ImmutableDiffers { path: fixed.clone() }.into()));
        assert!(writer.create(&fixed, &bytes("precious")).unwrap(), "a link is not kept");
        assert!(!is_link(&fixed));
        assert_eq!(fs::read(&target).unwrap(), b"precious");

        // Links to nothing must not make something.
        fs::remove_file(&target).unwrap();
        let dangling = directory.path().join("2.root.json");
        plant(&dangling);
        plant(&partial_name(&dangling));
        assert!(writer.create(&dangling, &bytes("root")).unwrap());
        assert!(!is_link(&dangling) && !target.exists());
        assert_eq!(fs::read(&dangling).unwrap(), b"root");
    }

    #[test]
    fn create_from_a_file_with_another_digest_is_refused_and_leaves_no_file() {
        let directory = tempfile::tempdir().unwrap();
        let (source, path) = (directory.path().join("source"), directory.path().join("copy"));
        fs::write(&source, vec![1; 3 * CHUNK + 1]).unwrap();
        let Summary { sha256, length } = hash_file(&source).unwrap();
        assert_eq!(length, 3 * CHUNK as u64 + 1);
        let content = Content::File { path: source.clone(), sha256, given: None };
        fs::write(&source, vec![2; 3 * CHUNK + 1]).unwrap();
        let refused = Writer::new(&mut Unwatched).create(&path, &content);
        assert!(matches!(refused, Err(Error::Rejected(Rejected::Damaged { .. }))), "{refused:?}");
        assert!(!path.exists());
        fs::write(&source, vec![1; 3 * CHUNK + 1]).unwrap();
        assert!(Writer::new(&mut Unwatched).create(&path, &content).unwrap());
        assert_eq!(hash_file(&path).unwrap(), Summary { sha256, length });
    }

    #[test]
    fn directory_that_is_made_is_flushed_into_its_parent() {
        struct Steps(Vec<String>);
        impl Witness for Steps {
            fn before(&mut self, step: Step<'_>) -> io::Result<()> {
                self.0.push(format!("{step:?}").replace('"', ""));
                Ok(())
            }
        }
        let directory = tempfile::tempdir().unwrap();
        let mut steps = Steps(Vec::new());
        Writer::new(&mut steps).create_directories(&directory.path().join("a/b")).unwrap();
        let top = directory.path().display();
        assert_eq!(
            steps.0,
            [
                format!("CreateDirectory({top}/a)"),
                format!("SyncDirectory({top})"),
                format!("CreateDirectory({top}/a/b)"),
                format!("SyncDirectory({top}/a)"),
            ]
        );
    }
}
