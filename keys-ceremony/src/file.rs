//! Files are read with a limit and written whole or not at all.
//!
//! Who writes in the place of a file holds a lock on its directory meanwhile. The file itself cannot carry
//! the lock, for each write puts another file in its place. `flock` on a directory that is open for reading
//! works on the file systems of Linux; some network file systems refuse it, and then nothing is written.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, ErrorKind, Read as _, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;
use zeroize::Zeroizing;

use crate::{Error, Misuse, Rejected};

/// No file that this crate reads may be larger, in bytes, save a request: it is the largest metadata file that the
/// smallest devices of today read.
pub const MAX_FILE: u64 = 16 << 20;

/// Who may read a file that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Mode 0600: the owner alone.
    Private,
    /// Whatever the umask leaves of 0666.
    Shared,
}

/// Reads a file of at most [`MAX_FILE`] bytes: a regular one, or whatever a descriptor of this process is open on.
///
/// A pipe with a name, on a stick or among files that were sent, would be waited for until somebody writes, and a
/// terminal until somebody types; so would a link that leads to one. What a shell hands over by `<(…)` or
/// `/dev/stdin` has its writer already, and is what the caller asked for. Whoever swaps a file for a pipe between the
/// look and the opening makes this wait and no more; opening without waiting is not portable.
///
/// # Errors
/// [`Rejected::TooLarge`], or [`Environment::Io`](crate::Environment::Io).
pub fn read(path: &Path) -> Result<Vec<u8>, Error> {
    read_within(MAX_FILE, path)
}

/// As [`read`], for a file of at most `limit` bytes.
pub(crate) fn read_within(limit: u64, path: &Path) -> Result<Vec<u8>, Error> {
    let fail = |error| Error::io("read", path, &error);
    let kind = fs::metadata(path).map_err(fail)?.file_type();
    // Of a directory the system itself says what it is.
    if !kind.is_file() && !kind.is_dir() && !is_descriptor(path) {
        return Err(fail(std::io::Error::other("it is a pipe or a device, not a file")));
    }
    let file = File::open(path).map_err(fail)?;
    // Room for all of it, so that growing leaves no copies behind: the file may be a key.
    let length = file.metadata().map_err(fail)?.len().min(limit) as usize;
    let mut bytes = Vec::with_capacity(length + 1);
    file.take(limit + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > limit {
        return Err(Error::from(Rejected::TooLarge { limit }).in_file(path));
    }
    Ok(bytes)
}

/// Whether a path names a descriptor, by its letters: a link to one does not.
fn is_descriptor(path: &Path) -> bool {
    path == Path::new("/dev/stdin") || path.starts_with("/dev/fd") || path.starts_with("/proc/self/fd")
}

/// Writes a new file; one that is there already is left alone. If it fails there is none.
///
/// # Errors
/// [`Misuse::FileExists`], or [`Environment::Io`](crate::Environment::Io).
pub fn create(path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    create_with(path, access, |out| out.write_all(bytes))
}

/// As [`create`], of what `write` writes piece by piece.
pub(crate) fn create_with(path: &Path, access: Access, write: impl Contents) -> Result<(), Error> {
    let written = write_beside(path, access, write)?;
    written.persist_noclobber(path).map_err(|failed| match failed.error.kind() {
        ErrorKind::AlreadyExists => Error::from(Misuse::FileExists).in_file(path),
        _ => Error::io("create", path, &failed.error),
    })?;
    // From here on it is ours to take away.
    sync_directory(path).inspect_err(|_| drop(fs::remove_file(path)))
}

/// Writes a file, in the place of an older one if need be; a reader sees the old or the new, whole.
///
/// # Errors
/// [`Environment::Io`](crate::Environment::Io).
pub fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), Error> {
    replace_with(path, access, |out| out.write_all(bytes))
}

/// As [`replace`], by what `write` writes piece by piece.
pub(crate) fn replace_with(path: &Path, access: Access, write: impl Contents) -> Result<(), Error> {
    let _lock = lock_directory(path)?;
    swap(path, access, write)
}

/// Replaces a file by what `change` makes of the bytes that it holds. Nobody else who writes through
/// [`update`], [`update_or_create`] or [`replace`] comes in between, on any thread or in any process; so `change` must do neither.
///
/// # Errors
/// [`Rejected::TooLarge`], [`Environment::Io`](crate::Environment::Io), or what `change` says; the file is
/// as it was then.
pub fn update(
    path: &Path,
    access: Access,
    change: impl FnOnce(&[u8]) -> Result<Vec<u8>, Error>,
) -> Result<(), Error> {
    update_with(MAX_FILE, path, access, |there| {
        // It may be a key.
        let new = change(&Zeroizing::new(there))?;
        Ok(move |out: &mut dyn Write| out.write_all(&new))
    })
}

/// As [`update`], for a file of at most `limit` bytes, which `change` is given to keep; what it gives writes the new one
/// piece by piece.
pub(crate) fn update_with<C: Contents>(
    limit: u64,
    path: &Path,
    access: Access,
    change: impl FnOnce(Vec<u8>) -> Result<C, Error>,
) -> Result<(), Error> {
    let _lock = lock_directory(path)?;
    let there = read_within(limit, path)?;
    swap(path, access, change(there)?)
}

/// What writes a file's bytes. A large file need not be in memory at once for it.
pub(crate) trait Contents: FnOnce(&mut dyn Write) -> io::Result<()> {}

impl<T: FnOnce(&mut dyn Write) -> io::Result<()>> Contents for T {}

/// As [`update`], for a file that need not be there yet: `change` gets nothing then.
///
/// # Errors
/// As [`update`].
pub fn update_or_create(
    path: &Path,
    access: Access,
    change: impl FnOnce(Option<&[u8]>) -> Result<Vec<u8>, Error>,
) -> Result<(), Error> {
    let _lock = lock_directory(path)?;
    // A link that leads nowhere is there: reading it fails, and it is not replaced.
    let there = match path.symlink_metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        _ => Some(read(path)?),
    };
    let new = change(there.as_deref())?;
    swap(path, access, |out| out.write_all(&new))
}

/// Waits for the others who write into the directory of `path`. The lock ends with the value, or the process.
fn lock_directory(path: &Path) -> Result<File, Error> {
    let directory = directory(path);
    let fail = |error| Error::io("lock", &directory, &error);
    let opened = File::open(&directory).map_err(|error| Error::io("write", path, &error))?;
    opened.lock().map_err(fail)?;
    Ok(opened)
}

fn swap(path: &Path, access: Access, write: impl Contents) -> Result<(), Error> {
    let written = write_beside(path, access, write)?;
    written.persist(path).map_err(|failed| Error::io("replace", path, &failed.error))?;
    sync_directory(path)
}

fn write_beside(path: &Path, access: Access, write: impl Contents) -> Result<NamedTempFile, Error> {
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
    let mut out = BufWriter::new(file.as_file_mut());
    write(&mut out).and_then(|()| out.flush()).map_err(fail)?;
    drop(out);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Environment;

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect()
    }

    #[test]
    fn create_of_a_private_file_leaves_it_to_its_owner() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        create(&path, b"secret", Access::Private).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        assert_eq!(read(&path).unwrap(), b"secret");
        assert_eq!(names(directory.path()), ["key.pem"]);
    }

    #[test]
    fn create_over_a_file_or_a_dangling_link_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let (old, link) = (directory.path().join("old"), directory.path().join("link"));
        fs::write(&old, b"old").unwrap();
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        for path in [&old, &link] {
            let error = create(path, b"new", Access::Shared).unwrap_err();
            assert_eq!(error, Error::from(Misuse::FileExists).in_file(path));
        }
        assert_eq!(fs::read(&old).unwrap(), b"old");
        assert_eq!(names(directory.path()).len(), 2, "a temporary file stayed");
    }

    #[test]
    fn replace_of_a_file_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("request");
        fs::write(&path, b"a longer old text").unwrap();
        replace(&path, b"new", Access::Shared).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(names(directory.path()), ["request"]);
    }

    #[test]
    fn update_by_many_at_once_loses_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("request");
        fs::write(&path, b"").unwrap();
        std::thread::scope(|scope| {
            for writer in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for _ in 0..50 {
                        update(path, Access::Shared, |bytes| Ok([bytes, &[writer]].concat())).unwrap();
                    }
                });
            }
        });
        let mut writers = fs::read(&path).unwrap();
        writers.sort_unstable();
        assert_eq!(writers, [[0; 50], [1; 50], [2; 50], [3; 50]].concat());
        assert_eq!(names(directory.path()), ["request"]);
    }

    #[test]
    fn update_that_is_refused_leaves_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("request");
        fs::write(&path, b"old").unwrap();
        let refused = update(&path, Access::Shared, |_| Err(Rejected::RequestChanged.into()));
        assert_eq!(refused.unwrap_err(), Rejected::RequestChanged.into());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(names(directory.path()), ["request"]);
        let missing = update(&directory.path().join("none"), Access::Shared, |_| Ok(Vec::new()));
        assert!(matches!(missing, Err(Error::Environment { .. })));
        assert_eq!(names(directory.path()), ["request"]);
    }

    #[test]
    fn update_or_create_of_what_is_not_there_begins_it_once() {
        let directory = tempfile::tempdir().unwrap();
        let (path, link) = (directory.path().join("transcript"), directory.path().join("link"));
        std::thread::scope(|scope| {
            for writer in 0..8 {
                let path = &path;
                scope.spawn(move || {
                    update_or_create(path, Access::Shared, |there| {
                        Ok([there.unwrap_or(b"begun"), &[writer]].concat())
                    })
                });
            }
        });
        let mut bytes = read(&path).unwrap();
        bytes[5..].sort_unstable();
        assert_eq!(bytes, [&b"begun"[..], &[0, 1, 2, 3, 4, 5, 6, 7]].concat());
        let refused = update_or_create(&path, Access::Shared, |_| Err(Rejected::RequestChanged.into()));
        assert_eq!(refused.unwrap_err(), Rejected::RequestChanged.into());
        std::os::unix::fs::symlink("nowhere", &link).unwrap();
        let dangling = update_or_create(&link, Access::Shared, |_| Ok(Vec::new())).unwrap_err();
        assert!(dangling.to_string().starts_with("cannot read: "), "{dangling}");
        assert_eq!(names(directory.path()).len(), 2);
    }

    #[test]
    fn write_into_a_missing_directory_is_refused_with_the_file_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("none/file");
        for error in [create(&path, b"", Access::Shared), replace(&path, b"", Access::Shared)] {
            let error = error.unwrap_err();
            assert!(
                matches!(&error, Error::Environment { why: Environment::Io { .. }, at } if *at == Some(path.display().to_string())),
                "{error}"
            );
            assert!(error.to_string().starts_with("cannot write: No such file or directory: "), "{error}");
        }
    }

    #[test]
    fn read_of_a_file_above_the_limit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("large");
        File::create(&path).unwrap().set_len(MAX_FILE).unwrap();
        assert_eq!(read(&path).unwrap().len() as u64, MAX_FILE);
        File::options().write(true).open(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
        assert_eq!(
            read(&path).unwrap_err(),
            Error::from(Rejected::TooLarge { limit: MAX_FILE }).in_file(&path)
        );
    }
}
