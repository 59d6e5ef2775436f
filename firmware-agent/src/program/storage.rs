//! The state file and the slots of a Linux device, as one flash.
//!
//! | offset | part |
//! |---|---|
//! | 0 | boot journal, two areas of [`BLOCK`] |
//! | 2 blocks | trust journal, two areas |
//! | 4 blocks | in state, a block that stands for slot A where a hook installs; else nothing |
//! | | slot A, then slot B |
//!
//! An erased byte reads 0x00, so that a hole in a file, and a block device's own zeroing, erase hundreds of MiB in no time.
//! Nothing here wears or needs bits to fall from 1 to 0; it is the order of what reaches the disk that counts:
//!
//! * Writes that follow each other are gathered, and go to the disk together when a block ends, when anything is read, and
//!   before anything else is written. A block of a slot is on the disk before the next one begins, so that what was
//!   downloaded before a cut is whole but for its last block.
//! * The state is written after what was done to the slots is on the disk, and never before.
//! * A record is read back between its body and its seal, and after it; so each of the two is on the disk before what follows.

use core::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, FileTypeExt as _};
use std::path::{Path, PathBuf};

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use rustix::fs::FallocateFlags;
use rustix::io::Errno;
use tuffet_agent::flash_map::{Layout, Region};
use tuffet_agent::{Flash, FlashMap};

use super::config;
use super::failure::{Failure, plain};

/// What is erased at once, in bytes: large enough that a download goes to the disk in few pieces, small enough that a
/// journal of four is soon read.
pub(crate) const BLOCK: u32 = 256 * 1024;

/// Blocks of the two journals.
const JOURNALS: u32 = 4;

/// Who opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// To update. Nobody else may at the same time.
    Exclusive,
    /// To look, which others may at any time: a journal is sound at every moment.
    Look,
    /// As exclusive, and what is missing is made.
    Create,
}

/// The joined files.
#[derive(Debug)]
pub(crate) struct SlotFiles {
    parts: Vec<Part>,
    capacity: u32,
    /// Bytes that are to be written from this offset on, within one block.
    pending: (u32, Vec<u8>),
    /// A block that was read, and where it lies.
    cached: Option<u32>,
    cache: Vec<u8>,
}

#[derive(Debug)]
struct Part {
    path: PathBuf,
    file: File,
    start: u32,
    length: u32,
    is_state: bool,
    /// Erased, and perhaps not on the disk yet.
    dirty: bool,
}

impl SlotFiles {
    /// Opens what the configuration names, and derives the map from how large it is.
    pub(crate) fn open(storage: &config::Storage, access: Access) -> Result<Flash<Self>, Failure> {
        let journals = u64::from(JOURNALS * BLOCK);
        let mut places = Vec::new();
        match storage {
            config::Storage::Slots { state, a, b, size, .. } => {
                places.push((state, open(state, access, Some(journals))?, journals));
                for slot in [a, b] {
                    let file = open(slot, access, *size)?;
                    let found = length(&file).map_err(|error| Failure::file(slot, &error))?;
                    let used = size.unwrap_or(found);
                    if used > found {
                        let line = format!("{}: has {found} bytes, and `size` says {used}", slot.display());
                        return Err(Failure::usage("A524", line));
                    }
                    places.push((slot, file, used));
                }
            }
            config::Storage::Hook { state, staging, size, .. } => {
                let length = journals + u64::from(BLOCK);
                places.push((state, open(state, access, Some(length))?, length));
                // Holes as long as nothing is written; and what a hook was given ends where its image does.
                let file = open(
                    staging,
                    if access == Access::Exclusive { Access::Create } else { access },
                    Some(*size),
                )?;
                places.push((staging, file, *size));
            }
        }
        let (state, file, length) = &places[0];
        let found = file.metadata().map_err(|error| Failure::file(state, &error))?.len();
        if found < *length {
            let line = format!(
                "{}: has {found} bytes, not {length}; it is no state file, or provisioning was cut short",
                state.display()
            );
            return Err(Failure { label: "A651".to_owned(), line, status: 3 });
        }
        let this = Self::join(places)?;
        let map = this.map(matches!(storage, config::Storage::Hook { .. }))?;
        Flash::new(this, map).map_err(Failure::from)
    }

    fn join(places: Vec<(&PathBuf, File, u64)>) -> Result<Self, Failure> {
        let (mut start, mut parts) = (0_u64, Vec::new());
        for (path, file, length) in places {
            let length = length - length % u64::from(BLOCK);
            if length == 0 {
                let line =
                    format!("{}: has less than {} KiB, the smallest slot", path.display(), BLOCK / 1024);
                return Err(Failure::usage("A524", line));
            }
            let end = start + length;
            let (Ok(offset), Ok(used)) = (u32::try_from(start), u32::try_from(length)) else {
                return Err(too_large(path));
            };
            if u32::try_from(end).is_err() {
                return Err(too_large(path));
            }
            let is_state = parts.is_empty();
            parts.push(Part {
                path: path.clone(),
                file,
                start: offset,
                length: used,
                is_state,
                dirty: false,
            });
            start = end;
        }
        let capacity = u32::try_from(start).unwrap_or(u32::MAX);
        Ok(Self { parts, capacity, pending: (0, Vec::new()), cached: None, cache: Vec::new() })
    }

    fn map(&self, hooked: bool) -> Result<FlashMap, Failure> {
        let region = |part: &Part| Region { offset: part.start, length: part.length };
        let stand_in = Region { offset: JOURNALS * BLOCK, length: BLOCK };
        let (slot_a, slot_b) = match &self.parts[..] {
            [_, staging] if hooked => (stand_in, region(staging)),
            [_, a, b, ..] => (region(a), region(b)),
            _ => (stand_in, stand_in),
        };
        FlashMap::new(Layout {
            erase_unit: BLOCK,
            write_unit: 16,
            erased: 0,
            boot: Region { offset: 0, length: 2 * BLOCK },
            trust: Region { offset: 2 * BLOCK, length: 2 * BLOCK },
            slot_a,
            slot_b,
        })
        .map_err(|fault| Failure::from(tuffet_agent::Error::from(fault)))
    }

    /// What of a part begins at this offset, in its file.
    pub(crate) fn path_at(&self, offset: u32) -> &Path {
        self.parts.iter().find(|part| part.start == offset).map_or(Path::new(""), |part| &part.path)
    }

    /// Has everything on the disk.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        self.flush()?;
        for part in &mut self.parts {
            if part.dirty {
                part.file.sync_data()?;
                part.dirty = false;
            }
        }
        Ok(())
    }

    /// The first `length` bytes at this offset, where a part begins, to read and nothing else. A file ends there, until
    /// [`SlotFiles::take_back`]; a block device cannot.
    pub(crate) fn lend(&mut self, offset: u32, length: u32) -> io::Result<File> {
        self.sync()?;
        self.cached = None;
        let part = self.parts.iter().find(|part| part.start == offset).ok_or(ErrorKind::InvalidInput)?;
        if part.file.metadata()?.is_file() {
            part.file.set_len(length.into())?;
        }
        // Another description of the same file, so that neither its offset nor the right to write is shared.
        File::open(format!("/proc/self/fd/{}", part.file.as_raw_fd()))
    }

    /// Ends [`SlotFiles::lend`].
    pub(crate) fn take_back(&mut self, offset: u32) -> io::Result<()> {
        let part = self.parts.iter().find(|part| part.start == offset).ok_or(ErrorKind::InvalidInput)?;
        if part.file.metadata()?.is_file() {
            part.file.set_len(part.length.into())?;
        }
        Ok(())
    }

    fn part(&self, offset: u32) -> io::Result<usize> {
        let within = |part: &Part| part.start <= offset && offset - part.start < part.length;
        self.parts.iter().position(within).ok_or(ErrorKind::InvalidInput.into())
    }

    /// Puts what was gathered on the disk.
    fn flush(&mut self) -> io::Result<()> {
        if self.pending.1.is_empty() {
            return Ok(());
        }
        let (offset, bytes) = core::mem::take(&mut self.pending);
        self.cached = None;
        let index = self.part(offset)?;
        if self.parts[index].is_state {
            for part in self.parts.iter_mut().filter(|part| part.dirty) {
                part.file.sync_data()?;
                part.dirty = false;
            }
        }
        let Part { file, start, dirty, .. } = &mut self.parts[index];
        file.write_all_at(&bytes, (offset - *start).into())?;
        file.sync_data()?;
        *dirty = false;
        Ok(())
    }

    fn read_block(&mut self, offset: u32) -> io::Result<()> {
        let start = offset - offset % BLOCK;
        if self.cached == Some(start) {
            return Ok(());
        }
        self.cached = None;
        let part = &self.parts[self.part(start)?];
        self.cache.resize(BLOCK as usize, 0);
        let (mut filled, from) = (0, u64::from(start - part.start));
        while filled < self.cache.len() {
            match part.file.read_at(&mut self.cache[filled..], from + filled as u64) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        // Behind the end of a file that was lent there is nothing, which is what an erased byte is.
        self.cache[filled..].fill(0);
        self.cached = Some(start);
        Ok(())
    }

    fn read_bytes(&mut self, offset: u32, bytes: &mut [u8]) -> io::Result<()> {
        self.flush()?;
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            self.read_block(at)?;
            let within = (at % BLOCK) as usize;
            let count = rest.len().min(BLOCK as usize - within);
            let (now, later) = rest.split_at_mut(count);
            now.copy_from_slice(&self.cache[within..within + count]);
            at += count as u32;
            rest = later;
        }
        Ok(())
    }

    fn write_bytes(&mut self, offset: u32, bytes: &[u8]) -> io::Result<()> {
        let (mut at, mut rest) = (offset, bytes);
        while !rest.is_empty() {
            let (start, gathered) = &self.pending;
            if !gathered.is_empty() && start + gathered.len() as u32 != at {
                self.flush()?;
            }
            if self.pending.1.is_empty() {
                self.pending.0 = at;
            }
            let count = rest.len().min((BLOCK - at % BLOCK) as usize);
            self.pending.1.extend_from_slice(&rest[..count]);
            at += count as u32;
            rest = &rest[count..];
            if at.is_multiple_of(BLOCK) {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn erase_bytes(&mut self, from: u32, to: u32) -> io::Result<()> {
        self.flush()?;
        self.cached = None;
        let mut at = from;
        while at < to {
            let index = self.part(at)?;
            let part = &mut self.parts[index];
            let end = to.min(part.start + part.length);
            zero(&part.file, (at - part.start).into(), (end - at).into())?;
            part.dirty = true;
            if part.is_state {
                part.file.sync_data()?;
                part.dirty = false;
            }
            at = end;
        }
        Ok(())
    }

    /// An operation's fault knows its kind alone; what the system said is told here.
    fn tell(&self, offset: u32, result: io::Result<()>) -> Result<(), SlotFault> {
        result.map_err(|error| {
            let path = self.part(offset).map_or(Path::new("storage"), |index| &self.parts[index].path);
            tracing::error!("{}: {}", path.display(), plain(&error));
            SlotFault::Io
        })
    }
}

impl Drop for SlotFiles {
    fn drop(&mut self) {
        // Who needs to know calls `sync`.
        let _ = self.sync();
    }
}

/// Makes bytes read 0x00, by the cheapest way that the file or device has.
fn zero(file: &File, offset: u64, length: u64) -> io::Result<()> {
    let ways = [FallocateFlags::PUNCH_HOLE, FallocateFlags::ZERO_RANGE];
    for way in ways {
        match rustix::fs::fallocate(file, way | FallocateFlags::KEEP_SIZE, offset, length) {
            Ok(()) => return Ok(()),
            Err(Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL | Errno::NODEV) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let zeros = vec![0; BLOCK as usize];
    let mut at = offset;
    while at < offset + length {
        let count = (offset + length - at).min(zeros.len() as u64) as usize;
        file.write_all_at(&zeros[..count], at)?;
        at += count as u64;
    }
    Ok(())
}

fn open(path: &Path, access: Access, make: Option<u64>) -> Result<File, Failure> {
    let failed = |error: io::Error| Failure::file(path, &error);
    let create = access == Access::Create && make.is_some();
    let mut options = OpenOptions::new();
    options.read(true).write(access != Access::Look).create(create);
    let opened = match options.open(path) {
        // A slot that is mounted, where the kernel keeps others from writing to it. It is the one that runs.
        Err(error) if matches!(error.kind(), ErrorKind::ResourceBusy | ErrorKind::ReadOnlyFilesystem) => {
            File::open(path)
        }
        opened => opened,
    };
    let file = opened.map_err(|error| match (error.kind(), access) {
        (ErrorKind::NotFound, Access::Exclusive | Access::Look) => {
            let line = format!("{}: is not there; `tuffet-agent provision` sets a device up", path.display());
            Failure { label: "A650".to_owned(), line, status: 3 }
        }
        (ErrorKind::NotFound, Access::Create) => {
            let line = format!(
                "{}: is not there; make it, or say how large it is to be with `size`",
                path.display()
            );
            Failure { label: "A650".to_owned(), line, status: 3 }
        }
        _ => failed(error),
    })?;
    let kind = file.metadata().map_err(failed)?.file_type();
    if !kind.is_file() && !kind.is_block_device() {
        let line = format!("{}: is neither a file nor a block device", path.display());
        return Err(Failure::usage("A524", line));
    }
    if access != Access::Look {
        file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                let line = format!(
                    "{}: is in use; stop the daemon first (`systemctl stop tuffet-agent`)",
                    path.display()
                );
                Failure { label: "A652".to_owned(), line, status: 3 }
            }
            TryLockError::Error(error) => failed(error),
        })?;
    }
    if let (true, Some(size)) = (create && kind.is_file(), make) {
        let found = file.metadata().map_err(failed)?.len();
        if found < size {
            file.set_len(size).map_err(failed)?;
        }
    }
    Ok(file)
}

/// Bytes of a file or a block device: of the latter only its end knows.
fn length(file: &File) -> io::Result<u64> {
    Ok(rustix::fs::seek(file, rustix::fs::SeekFrom::End(0))?)
}

fn too_large(path: &Path) -> Failure {
    let line = format!(
        "{}: state and slots have more than 4 GiB together, which is all that can be addressed; bound them with `size`",
        path.display()
    );
    Failure::usage("A524", line)
}

/// Why a file did not do as it was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotFault {
    /// Offset or length is no multiple of the unit, or past the end.
    Place(NorFlashErrorKind),
    /// The file system.
    Io,
}

impl fmt::Display for SlotFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Place(kind) => kind.fmt(f),
            Self::Io => f.write_str("the file system failed"),
        }
    }
}

impl core::error::Error for SlotFault {}

impl NorFlashError for SlotFault {
    fn kind(&self) -> NorFlashErrorKind {
        match self {
            Self::Place(kind) => *kind,
            Self::Io => NorFlashErrorKind::Other,
        }
    }
}

impl ErrorType for SlotFiles {
    type Error = SlotFault;
}

impl ReadNorFlash for SlotFiles {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        check_read(self, offset, bytes.len()).map_err(SlotFault::Place)?;
        let read = self.read_bytes(offset, bytes);
        self.tell(offset, read)
    }

    fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

impl NorFlash for SlotFiles {
    const WRITE_SIZE: usize = 1;
    const ERASE_SIZE: usize = BLOCK as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        check_erase(self, from, to).map_err(SlotFault::Place)?;
        let erased = self.erase_bytes(from, to);
        self.tell(from, erased)
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        check_write(self, offset, bytes.len()).map_err(SlotFault::Place)?;
        let written = self.write_bytes(offset, bytes);
        self.tell(offset, written)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    const SLOT: u32 = 4 * BLOCK;
    const A: u32 = JOURNALS * BLOCK;
    const B: u32 = A + SLOT;

    fn storage(folder: &TempDir, size: Option<u64>) -> config::Storage {
        let path = |name: &str| folder.path().join(name);
        config::Storage::Slots {
            state: path("state"),
            a: path("a"),
            b: path("b"),
            size,
            running: path("running"),
        }
    }

    fn create(folder: &TempDir) -> SlotFiles {
        SlotFiles::open(&storage(folder, Some(SLOT.into())), Access::Create).unwrap().into_nor()
    }

    fn open(folder: &TempDir, access: Access) -> Result<Flash<SlotFiles>, String> {
        SlotFiles::open(&storage(folder, None), access).map_err(|failure| failure.line)
    }

    #[test]
    fn parts_follow_each_other_and_land_in_their_files() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = create(&folder);
        assert_eq!(files.capacity(), (B + SLOT) as usize);
        files.write(A, b"first of a").unwrap();
        files.write(B + SLOT - 4, b"last").unwrap();
        files.write(A - 4, b"last").unwrap();
        files.sync().unwrap();
        let at = |name: &str, from: usize, length: usize| {
            fs::read(folder.path().join(name)).unwrap()[from..from + length].to_vec()
        };
        assert_eq!(at("a", 0, 10), b"first of a");
        assert_eq!(at("b", SLOT as usize - 4, 4), b"last");
        assert_eq!(at("state", A as usize - 4, 4), b"last");
        // Over a border.
        let mut bytes = [0; 8];
        files.read(A - 4, &mut bytes).unwrap();
        assert_eq!(&bytes, b"lastfirs");
    }

    #[test]
    fn erased_bytes_read_zero_in_whole_blocks_alone() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = create(&folder);
        let full = vec![0x5A; SLOT as usize];
        files.write(A, &full).unwrap();
        files.write(B, &full).unwrap();
        assert_eq!(files.erase(A + 1, A + BLOCK), Err(SlotFault::Place(NorFlashErrorKind::NotAligned)));
        assert_eq!(files.erase(B, B + SLOT + BLOCK), Err(SlotFault::Place(NorFlashErrorKind::OutOfBounds)));
        assert_eq!(files.write(B + SLOT, &[1]), Err(SlotFault::Place(NorFlashErrorKind::OutOfBounds)));
        assert_eq!(files.read(B + SLOT, &mut [0]), Err(SlotFault::Place(NorFlashErrorKind::OutOfBounds)));
        files.erase(A + BLOCK, A + 2 * BLOCK).unwrap();
        let mut bytes = vec![1; SLOT as usize];
        files.read(A, &mut bytes).unwrap();
        let erased = BLOCK as usize..2 * BLOCK as usize;
        assert!(bytes[erased.clone()].iter().all(|byte| *byte == 0));
        assert!(bytes[..erased.start].iter().chain(&bytes[erased.end..]).all(|byte| *byte == 0x5A));
        files.read(B, &mut bytes).unwrap();
        assert_eq!(bytes, full, "the other slot");
        files.erase(B, B + SLOT).unwrap();
        files.read(B, &mut bytes).unwrap();
        assert!(bytes.iter().all(|byte| *byte == 0));
    }

    #[test]
    fn state_comes_to_the_file_after_what_was_written_to_a_slot() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = create(&folder);
        let slot = || fs::read(folder.path().join("b")).unwrap()[..4].to_vec();
        files.write(B, b"slot").unwrap();
        assert_eq!(slot(), [0; 4], "gathered");
        files.write(0, b"record").unwrap();
        assert_eq!(slot(), b"slot");
        let mut bytes = [0; 6];
        files.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"record");
        assert_eq!(
            &fs::read(folder.path().join("state")).unwrap()[..6],
            b"record",
            "what was read is in the file"
        );
    }

    #[test]
    fn whole_block_is_in_its_file_before_the_next_one_begins() {
        let folder = tempfile::tempdir().unwrap();
        let mut files = create(&folder);
        for page in 0..BLOCK / 256 + 1 {
            files.write(B + page * 256, &[page as u8 | 1; 256]).unwrap();
        }
        // Without what a process does when it ends in peace.
        core::mem::forget(files);
        let file = fs::read(folder.path().join("b")).unwrap();
        assert!(file[..BLOCK as usize].iter().all(|byte| *byte != 0));
        assert!(file[BLOCK as usize..].iter().all(|byte| *byte == 0));
    }

    #[test]
    fn one_may_write_and_others_look() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            open(&folder, Access::Look)
                .unwrap_err()
                .ends_with("is not there; `tuffet-agent provision` sets a device up")
        );
        let first = create(&folder);
        assert!(open(&folder, Access::Exclusive).unwrap_err().contains("is in use; stop the daemon first"));
        let mut look = open(&folder, Access::Look).unwrap();
        assert!(
            look.nor_mut().write(0, &[1]).is_ok() && look.nor_mut().sync().is_err(),
            "a look writes nothing"
        );
        drop((look, first));
        drop(open(&folder, Access::Exclusive).unwrap());
        fs::File::options().write(true).open(folder.path().join("state")).unwrap().set_len(1000).unwrap();
        assert!(open(&folder, Access::Exclusive).unwrap_err().contains("has 1000 bytes, not 1048576"));
    }

    #[test]
    fn sizes_that_will_not_do_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |size: u64| {
            let folder = tempfile::tempdir().unwrap();
            SlotFiles::open(&storage(&folder, Some(size)), Access::Create).err().map(|failure| failure.line)
        };
        assert!(refused(1000).unwrap().ends_with("has less than 256 KiB, the smallest slot"));
        assert!(refused(2 << 30).unwrap().contains("more than 4 GiB together"));
        assert_eq!(refused((2 << 30) - (1 << 20)), None, "sparse, so that it costs nothing");
        drop(create(&folder));
        let more = SlotFiles::open(&storage(&folder, Some(u64::from(SLOT) + 1)), Access::Exclusive);
        assert!(more.unwrap_err().line.contains("has 1048576 bytes, and `size` says 1048577"));
        // What is no whole block is not used.
        fs::File::options()
            .write(true)
            .open(folder.path().join("a"))
            .unwrap()
            .set_len(u64::from(SLOT) + 5)
            .unwrap();
        let flash = open(&folder, Access::Exclusive).unwrap();
        assert_eq!((flash.map().layout().slot_a.length, flash.map().layout().slot_b.offset), (SLOT, B));
        drop(flash);
        fs::remove_file(folder.path().join("b")).unwrap();
        fs::create_dir(folder.path().join("b")).unwrap();
        assert!(open(&folder, Access::Look).unwrap_err().ends_with("is neither a file nor a block device"));
    }

    #[test]
    fn what_is_lent_ends_with_the_image_and_cannot_be_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let hook = config::Storage::Hook {
            state: path("state"),
            staging: path("staging"),
            size: SLOT.into(),
            program: vec!["x".into()],
            deadline: core::time::Duration::from_secs(1),
            boot_id: path("boot-id"),
        };
        let mut flash = SlotFiles::open(&hook, Access::Create).unwrap();
        let place = flash.map().layout().slot_b;
        let files = flash.nor_mut();
        files.write(place.offset, b"an image and more").unwrap();
        let lent = files.lend(place.offset, 8).unwrap();
        assert_eq!(std::io::read_to_string(&lent).unwrap(), "an image");
        assert!(lent.write_at(b"x", 0).is_err());
        let mut bytes = [1; 32];
        files.read(place.offset, &mut bytes).unwrap();
        assert_eq!(&bytes[..9], b"an image\0", "behind it reads as erased");
        files.take_back(place.offset).unwrap();
        assert_eq!(fs::metadata(path("staging")).unwrap().len(), u64::from(SLOT));
    }
}
