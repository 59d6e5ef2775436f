//! Where a repository is published: a directory, or a bucket of a server that speaks S3.
//!
//! A repository has files of two kinds. Those that never change are created, and only where there is none of
//! that name. The one that changes, `timestamp.json`, is swapped: the new bytes take the place of those that
//! the publisher has seen, and of no others. So two publishers never interleave: the slower one is told, and
//! has done nothing that a device can see.
//!
//! Names are relative and made of components between slashes; none is empty, `.` or `..`. Files whose last
//! component starts with a dot, and all below a directory that is called as `.NAME.partial`, are the store's own:
//! what a publisher that died left behind.

mod batch;
mod client;
mod connection;
mod directory;
mod failure;
mod probe;
mod s3;
mod tree;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use crate::source::Fetched;
use crate::storage::{Content, Witness};
use crate::{Error, Misuse, Rejected};

pub use directory::Directory;

/// A place for the files of a repository. All methods block.
pub trait Store: Send + Sync {
    /// Reads a file of at most `limit` bytes; none if there is none.
    ///
    /// # Errors
    /// [`Rejected::Damaged`] if it is longer, or what keeps it from being read.
    fn read(&self, name: &str, limit: u64) -> Result<Option<Stored>, Error>;

    /// Hands the bytes of a file to `sink`, never more than `limit`.
    ///
    /// # Errors
    /// What keeps it from being read.
    fn fetch(&self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error>;

    /// Whether there is such a file.
    ///
    /// # Errors
    /// What keeps it from being found out.
    fn exists(&self, name: &str) -> Result<bool, Error>;

    /// Creates files that never change. One that is there with the same bytes is kept. When this returns, all
    /// of them will survive a power cut; if it fails, some may be there, each of them whole.
    ///
    /// A directory gives them their names in the order of `files`, and those in a directory that is new all at
    /// once. A server may see them in any order: where the order counts, call this twice.
    ///
    /// # Errors
    /// [`Rejected::ImmutableDiffers`] if one is there with other bytes, [`Rejected::Damaged`] if the bytes to
    /// copy have another digest, or what the disk or the server says.
    fn create(&self, files: &[(String, Content)], witness: &mut dyn Witness) -> Result<(), Error>;

    /// Puts `bytes` in the place of the file that was read with the tag `before`, or where there was none. It
    /// is done when this returns, and survives a power cut. That these very bytes are there is success, too,
    /// whoever put them there.
    ///
    /// # Errors
    /// [`Environment::Outrun`](crate::Environment::Outrun) if something else is there by now, or what the disk
    /// or the server says. After any other failure it may have been done.
    fn swap(
        &self,
        name: &str,
        before: Option<&Tag>,
        bytes: &[u8],
        witness: &mut dyn Witness,
    ) -> Result<Tag, Error>;

    /// All files below the directory `prefix`, which is empty for the whole repository, by name. What is not a
    /// regular file is left out.
    ///
    /// # Errors
    /// What keeps them from being listed.
    fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error>;

    /// Removes files; that one is gone already is no error.
    ///
    /// # Errors
    /// What the disk or the server says. Some may be gone.
    fn remove(&self, names: &[String], witness: &mut dyn Witness) -> Result<(), Error>;

    /// Keeps other publishers on this machine from writing, until the lock is dropped or the process ends.
    /// Whoever does without waits for those who have it. A server has no locks, and needs none.
    ///
    /// # Errors
    /// [`Environment::Locked`](crate::Environment::Locked), or an I/O failure.
    fn lock(&self) -> Result<Lock, Error>;

    /// Where a file is, for messages.
    fn place(&self, name: &str) -> PathBuf;
}

/// What a store is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// To look at it.
    Read,
    /// To publish. A server is probed first: a small object is written and removed.
    Write,
}

/// What is said about servers.
#[derive(Clone, Default)]
pub struct Settings {
    /// Variables `AWS_*` and their values: credentials, endpoint, region.
    pub environment: Vec<(String, String)>,
    /// Whether to speak plain http to other machines. Whoever is on the way can then change what is written.
    pub danger_plain_http: bool,
}

impl Settings {
    /// What this process was given.
    pub fn from_env() -> Settings {
        let environment = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
            .filter(|(name, _)| name.starts_with("AWS_"));
        Settings { environment: environment.collect(), danger_plain_http: false }
    }
}

/// Opens a directory, or `s3://BUCKET/PREFIX`.
///
/// # Errors
/// [`Misuse::Address`]; for [`Access::Write`] also what a probe of the server finds, as
/// [`Environment::Unconditional`](crate::Environment::Unconditional). A directory is not touched.
pub fn open(place: &str, access: Access, settings: &Settings) -> Result<Box<dyn Store>, Error> {
    match place.split_once("://") {
        None => Ok(Box::new(Directory::new(Path::new(place)))),
        Some(("s3", _)) => Ok(Box::new(s3::Bucket::open(place, access, settings)?)),
        Some(_) => {
            let why = "is no place to publish to; give a directory or s3://BUCKET/PREFIX".to_owned();
            Err(Misuse::Address { url: place.to_owned(), why }.into())
        }
    }
}

/// A file as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What tells it from what another publisher puts in its place.
    pub tag: Tag,
}

/// What tells the bytes of a name from others that come later; see [`Store::swap`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag(Mark);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Mark {
    /// SHA-256 of the bytes.
    Digest([u8; 32]),
    /// The server's ETag, if it gives any.
    Version(Option<String>),
}

impl Tag {
    fn digest(bytes: &[u8]) -> Tag {
        Tag(Mark::Digest(Sha256::digest(bytes).into()))
    }
}

/// A file in a list.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name below the repository's top.
    pub name: String,
    /// Bytes.
    pub length: u64,
    /// When it was written, in seconds since 1970 by the clock of the disk or the server.
    pub modified: u64,
}

/// Held while a process publishes.
#[derive(Debug)]
pub struct Lock {
    /// None where there is nothing to lock.
    _held: Option<Arc<directory::Held>>,
}

/// What a name must be, whoever is asked for it.
fn check_name(name: &str) -> Result<(), Error> {
    let component = |part: &str| !matches!(part, "" | "." | "..") && !part.contains(char::is_control);
    if name.split('/').all(component) {
        Ok(())
    } else {
        Err(Rejected::TargetPath { path: name.to_owned() }.into())
    }
}

/// What the name of a file that is written must be, too.
fn check_new_name(name: &str) -> Result<(), Error> {
    check_name(name)?;
    // Others keep such files beside a repository, and web servers serve none of them.
    let hidden = split(name).1.starts_with('.');
    if hidden || is_own(name) { Err(Rejected::TargetPath { path: name.to_owned() }.into()) } else { Ok(()) }
}

/// Whether a file in a list is the store's own, and none of the repository: what a publisher that died left behind,
/// or what one that is alive is just writing.
pub fn is_own(name: &str) -> bool {
    let is_partial = |part: &str| part.starts_with('.') && part.ends_with(".partial");
    split(name).1.starts_with(probe::NAME) || name.split('/').any(is_partial)
}

/// What a file or directory is called until it is whole.
fn partial_name(name: &str) -> String {
    format!(".{name}.partial")
}

/// What the name of a directory that is listed must be; the top's is empty.
fn check_prefix(prefix: &str) -> Result<(), Error> {
    if prefix.is_empty() { Ok(()) } else { check_name(prefix) }
}

/// The directory of a name, empty for the top, and the last component.
fn split(name: &str) -> (&str, &str) {
    name.rsplit_once('/').unwrap_or(("", name))
}

/// A file that is larger than any of its kind.
fn too_long(path: &Path, limit: u64) -> Error {
    Rejected::Damaged { path: path.to_owned(), why: format!("the file has more than {limit} bytes") }.into()
}
