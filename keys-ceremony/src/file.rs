//! Files are read with a limit and written whole or not at all.

use std::fs::{File, Permissions};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::{Error, Misuse, Rejected};

/// No file that this crate reads may be larger, in bytes: a request carries a root chain and one
/// metadata file in base64, and 16 MiB is several times the largest that a device would accept.
pub const MAX_FILE: u64 = 16 << 20;

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Mode 0600: the owner alone.
    Private,
    /// Whatever the umask leaves of 0666.
    Shared,
}

/// Reads a file of at most [`MAX_FILE`] bytes.
///
/// # Errors
/// [`Rejected::TooLarge`], or [`Environment::Io`](crate::Environment::Io).
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let fail = |error| Error::io("read", path, &error);
    let file = File::open(path).map_err(fail)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(Error::from(Rejected::TooLarge { limit: MAX_FILE }).in_file(path));
    }
    Ok(bytes)
}

/// Writes a new file; one that is there already is left alone.
///
/// # Errors
/// [`Misuse::FileExists`], or [`Environment::Io`](crate::Environment::Io).
pub fn create(path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    let written = write_beside(path, bytes, access)?;
    written.persist_noclobber(path).map_err(|failed| match failed.error.kind() {
        ErrorKind::AlreadyExists => Error::from(Misuse::FileExists).in_file(path),
        _ => Error::io("create", path, &failed.error),
    })?;
    sync_directory(path)
}

/// Writes a file, in the place of an older one if need be; a reader sees the old or the new, whole.
///
/// # Errors
/// [`Environment::Io`](crate::Environment::Io).
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    let written = write_beside(path, bytes, access)?;
    written.persist(path).map_err(|failed| Error::io("replace", path, &failed.error))?;
    sync_directory(path)
}

fn write_beside(path: &Path, bytes: &[u8], access: Access) -> Result<NamedTempFile, Error> {
    let fail = |error| Error::io("write", path, &error);
    let mode = match access {
        Access::Private => 0o600,
        Access::Shared => 0o666,
    };
    let mut file = tempfile::Builder::new()
        .prefix(".tuffet-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory(path))
        .map_err(fail)?;
    file.write_all(bytes).map_err(fail)?;
    file.as_file().sync_all().map_err(fail)?;
    Ok(file)
}

/// A rename is durable only when its directory is.
fn sync_directory(path: &Path) -> Result<(), Error> {
    let directory = directory(path);
    File::open(&directory)
        .and_then(|opened| opened.sync_all())
        .map_err(|error| Error::io("flush", &directory, &error))
}

fn directory(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
