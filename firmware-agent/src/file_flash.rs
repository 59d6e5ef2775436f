//! A NOR flash in a file, for hosts: simulated devices, provisioning, tests.
//!
//! It is stricter than many a chip: it writes only to words that read as erased, and refuses what is not
//! aligned. What it does not know is whether such a word was written before, with what an erased one reads as.

use core::fmt;
use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::vec::Vec;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};

use crate::flash_map::FlashMap;

/// A flash in a file, locked while it is open. `ERASE` and `WRITE` are its units in bytes; as they stand
/// they fit [`FlashMap::DEMO`].
#[derive(Debug)]
pub struct FileFlash<const ERASE: usize = 4096, const WRITE: usize = 4> {
    file: File,
    capacity: usize,
    erased: u8,
}

/// The simulated device's flash, for [`FlashMap::DEMO`].
impl FileFlash {
    /// Creates a blank flash for the simulated device; see [`FileFlash::create_with`].
    ///
    /// # Errors
    ///
    /// Those of [`FileFlash::create_with`].
    pub fn create(path: &Path) -> io::Result<Self> {
        Self::create_with(path, &FlashMap::DEMO)
    }

    /// Opens the simulated device's flash; see [`FileFlash::open_with`].
    ///
    /// # Errors
    ///
    /// Those of [`FileFlash::open_with`].
    pub fn open(path: &Path) -> io::Result<Self> {
        Self::open_with(path, &FlashMap::DEMO)
    }
}

impl<const ERASE: usize, const WRITE: usize> FileFlash<ERASE, WRITE> {
    /// Creates a blank flash that is as large as the map needs.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AlreadyExists`] when there is such a file, and those of the file system.
    pub fn create_with(path: &Path, map: &FlashMap) -> io::Result<Self> {
        let capacity = usize::try_from(map.capacity()).map_err(io::Error::other)?.next_multiple_of(ERASE);
        let erased = map.layout().erased;
        let mut file = File::options().read(true).write(true).create_new(true).open(path)?;
        lock(&file)?;
        file.write_all(&std::vec![erased; capacity])?;
        file.sync_all()?;
        Ok(Self { file, capacity, erased })
    }

    /// Opens a flash that [`FileFlash::create_with`] made.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::ResourceBusy`] when another process has it open, [`io::ErrorKind::InvalidData`] when
    /// its size is not what the map needs, and those of the file system.
    pub fn open_with(path: &Path, map: &FlashMap) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(path)?;
        lock(&file)?;
        let capacity = usize::try_from(map.capacity()).map_err(io::Error::other)?.next_multiple_of(ERASE);
        let found = file.metadata()?.len();
        if u64::try_from(capacity).is_ok_and(|capacity| capacity == found) {
            return Ok(Self { file, capacity, erased: map.layout().erased });
        }
        let message = std::format!("is no flash of this map: it has {found} bytes, not {capacity}");
        Err(io::Error::new(io::ErrorKind::InvalidData, message))
    }

    /// Has the operating system put everything on the disk. Without it a write survives the end of the
    /// process, but perhaps not that of the machine.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    /// The bytes as they are now.
    ///
    /// # Errors
    ///
    /// Those of the file system.
    pub fn snapshot(&mut self) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::with_capacity(self.capacity);
        self.file.seek(SeekFrom::Start(0))?;
        self.file.read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn put(&mut self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset.into()))?;
        self.file.write_all(bytes)
    }
}

impl<const ERASE: usize, const WRITE: usize> Drop for FileFlash<ERASE, WRITE> {
    /// Closing the file would not be enough: a process that another thread is just starting has a copy of it.
    fn drop(&mut self) {
        // Nothing can be done about a failure; the lock then lasts until this process ends.
        let _ = self.file.unlock();
    }
}

fn lock(file: &File) -> io::Result<()> {
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => {
            io::Error::new(io::ErrorKind::ResourceBusy, "is in use by another process")
        }
        TryLockError::Error(error) => error,
    })
}

/// Why the file did not do as it was told.
#[derive(Debug)]
#[non_exhaustive]
pub enum FileFlashError {
    /// Offset or length is no multiple of the unit.
    NotAligned,
    /// Past the end.
    OutOfBounds,
    /// The word at this offset was written since it was erased.
    NotErased {
        /// First byte of the word.
        offset: u32,
    },
    /// The file system.
    Io(io::Error),
}

impl fmt::Display for FileFlashError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAligned => f.write_str("offset or length is no multiple of the flash's unit"),
            Self::OutOfBounds => f.write_str("past the end of the flash"),
            Self::NotErased { offset } => write!(f, "the word at {offset:#x} is not erased"),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for FileFlashError {}

impl NorFlashError for FileFlashError {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::NotAligned => NorFlashErrorKind::NotAligned,
            Self::OutOfBounds => NorFlashErrorKind::OutOfBounds,
            Self::NotErased { .. } | Self::Io(_) => NorFlashErrorKind::Other,
        }
    }
}

impl From<NorFlashErrorKind> for FileFlashError {
    fn from(kind: NorFlashErrorKind) -> Self {
        match kind {
            NorFlashErrorKind::NotAligned => Self::NotAligned,
            _ => Self::OutOfBounds,
        }
    }
}

impl From<io::Error> for FileFlashError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl<const ERASE: usize, const WRITE: usize> ErrorType for FileFlash<ERASE, WRITE> {
    type Error = FileFlashError;
}

impl<const ERASE: usize, const WRITE: usize> ReadNorFlash for FileFlash<ERASE, WRITE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        check_read(self, offset, bytes.len())?;
        self.file.seek(SeekFrom::Start(offset.into()))?;
        Ok(self.file.read_exact(bytes)?)
    }

    fn capacity(&self) -> usize {
        self.capacity
    }
}

impl<const ERASE: usize, const WRITE: usize> NorFlash for FileFlash<ERASE, WRITE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        check_erase(self, from, to)?;
        let unit = [self.erased; ERASE];
        for offset in (from..to).step_by(ERASE) {
            self.put(offset, &unit)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        check_write(self, offset, bytes.len())?;
        let mut word = [0; WRITE];
        for at in (offset..).step_by(WRITE).take(bytes.len().div_ceil(WRITE)) {
            self.read(at, &mut word)?;
            if word.iter().any(|byte| *byte != self.erased) {
                return Err(FileFlashError::NotErased { offset: at });
            }
        }
        Ok(self.put(offset, bytes)?)
    }
}
