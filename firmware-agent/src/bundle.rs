//! Files that come together in one: a bundle, on a stick, in a flash chip, or over a line.
//!
//! A bundle is only a way for files to come. Nothing in it is trusted, its index no more than the rest: whoever
//! changes it chooses which bytes are offered under which name, as a mirror does. `docs/format.md` has the bytes:
//!
//! ```text
//! head     8  "TUFFET", 0x1A, 0x0A
//!          2  format: 1
//!          2  files, 1 to 128
//!          4  bytes of head and index, at most 4,096; the first content follows
//! index       for each file, in the order in which a device asks for them:
//!          4    its first byte in the bundle: where the content before it ends
//!          4    its bytes
//!          2    bytes of its name, 1 to 553
//!               its name, as a repository has it
//!          4  CRC-32 of all bytes before these
//! content     of each file
//! ```
//!
//! [`Bundle`] reads it from a [`Medium`], any place whose bytes have numbers, and is a [`Transport`]. [`Stream`] makes a
//! medium of a line, over which the bytes come once and in order.

use core::cmp::Ordering;
use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

use crate::engine::Input;
use crate::error::{Error, Rejected};
use crate::transport::{PATH_MAX, Request, Transport, TransportFault};

/// The first bytes. What is sent as text loses 0x1A or changes 0x0A on many a way.
pub const MAGIC: [u8; 8] = *b"TUFFET\x1a\n";

/// The format that this module reads.
pub const FORMAT: u16 = 1;

/// Bytes of the head.
pub const HEAD: u32 = 16;

/// Bytes of an index entry, without the name.
pub const ENTRY: u32 = 10;

/// Bytes of the checksum behind the entries.
pub const CHECKSUM: u32 = 4;

/// Most bytes of head and index. What one cycle of a device can ask for, 64 roots among it, takes less than 3 KiB; and a
/// device that gets a bundle over a line must hold the index in memory.
pub const INDEX_MAX: u32 = 4096;

/// Most files.
pub const FILES_MAX: u16 = 128;

/// Bytes of a name that are compared at once.
const PIECE: usize = 32;

/// Where a bundle is: a file, a part of a flash chip, a line. A closure will do.
pub trait Medium {
    /// Reads bytes from byte `at` of the bundle on into the front of `buffer`, which has room for one at least. Gives how
    /// many; 0 where the bundle has ended.
    ///
    /// # Errors
    ///
    /// Above all [`TransportFault::Unreadable`].
    fn read(&mut self, at: u32, buffer: &mut [u8]) -> Result<usize, Error>;
}

impl<F: FnMut(u32, &mut [u8]) -> Result<usize, Error>> Medium for F {
    fn read(&mut self, at: u32, buffer: &mut [u8]) -> Result<usize, Error> {
        self(at, buffer)
    }
}

/// A bundle in memory, or in a flash that is mapped there.
impl Medium for &[u8] {
    fn read(&mut self, at: u32, buffer: &mut [u8]) -> Result<usize, Error> {
        let rest = usize::try_from(at).ok().and_then(|at| self.get(at..)).unwrap_or_default();
        Ok(copy(rest, buffer))
    }
}

#[cfg(feature = "std")]
impl Medium for std::fs::File {
    fn read(&mut self, at: u32, buffer: &mut [u8]) -> Result<usize, Error> {
        use std::io::{ErrorKind, Read, Seek, SeekFrom};
        let failed = |_| TransportFault::Unreadable { at };
        self.seek(SeekFrom::Start(at.into())).map_err(failed)?;
        loop {
            match Read::read(self, buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => return Ok(read.map_err(failed)?),
            }
        }
    }
}

/// A file in a bundle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its first byte in the bundle.
    pub offset: u32,
    /// Its bytes.
    pub length: u32,
    /// Bytes of its name, 1 to [`PATH_MAX`].
    pub name_length: u16,
    /// The first byte of its name in the bundle.
    name_at: u32,
}

impl Entry {
    /// Where the next entry is.
    fn end(&self) -> u32 {
        self.name_at.saturating_add(self.name_length.into())
    }
}

/// A bundle whose index is sound. Contents go to the sink in chunks of at most `CHUNK` bytes, from the stack.
#[derive(Clone, Debug)]
pub struct Bundle<M, const CHUNK: usize = 256> {
    medium: M,
    files: u16,
    /// Where the contents begin.
    content: u32,
}

impl<M: Medium> Bundle<M> {
    /// Reads the index through, once and forwards.
    ///
    /// # Errors
    ///
    /// [`Rejected::NotABundle`], [`Rejected::BundleFormat`], [`Rejected::BundleIndex`], [`Rejected::BundleCutShort`], and
    /// those of the medium.
    pub fn open(medium: M) -> Result<Self, Error> {
        Self::open_in_chunks(medium)
    }
}

impl<M: Medium, const CHUNK: usize> Bundle<M, CHUNK> {
    /// The same, with chunks of another size.
    ///
    /// # Errors
    ///
    /// Those of [`Bundle::open`].
    pub fn open_in_chunks(medium: M) -> Result<Self, Error> {
        const { assert!(CHUNK > 0, "a chunk has a byte") };
        let mut bundle = Self { medium, files: 0, content: HEAD };
        let mut head = [0; HEAD as usize];
        match bundle.read_exact(0, &mut head) {
            Err(Error::Rejected(Rejected::BundleCutShort { .. })) if !head.starts_with(&MAGIC) => {
                return Err(Rejected::NotABundle.into());
            }
            read => read?,
        }
        let [magic @ .., f0, f1, n0, n1, l0, l1, l2, l3] = head;
        let (format, files) = (u16::from_le_bytes([f0, f1]), u16::from_le_bytes([n0, n1]));
        let content = u32::from_le_bytes([l0, l1, l2, l3]);
        if magic != MAGIC {
            return Err(Rejected::NotABundle.into());
        }
        if format != FORMAT {
            return Err(Rejected::BundleFormat { format }.into());
        }
        if !(1..=FILES_MAX).contains(&files) {
            return Err(Rejected::BundleIndex { at: 10, fault: IndexFault::Files }.into());
        }
        if !(HEAD..=INDEX_MAX).contains(&content) {
            return Err(Rejected::BundleIndex { at: 12, fault: IndexFault::Length }.into());
        }
        (bundle.files, bundle.content) = (files, content);
        bundle.check_index(&head)?;
        Ok(bundle)
    }

    /// The entries, and what stands behind them.
    fn check_index(&mut self, head: &[u8]) -> Result<(), Error> {
        const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
        let mut crc = CRC.digest();
        crc.update(head);
        let wrong = |at, fault| Err(Rejected::BundleIndex { at, fault }.into());
        let end = self.content.saturating_sub(CHECKSUM);
        let (mut at, mut offset) = (HEAD, self.content);
        for _ in 0..self.files {
            if at.saturating_add(ENTRY) > end {
                return wrong(at, IndexFault::Length);
            }
            let mut fixed = [0; ENTRY as usize];
            self.read_exact(at, &mut fixed)?;
            crc.update(&fixed);
            let entry = decode(at, fixed);
            if entry.offset != offset {
                return wrong(at, IndexFault::Offset);
            }
            offset = match offset.checked_add(entry.length) {
                Some(offset) => offset,
                None => return wrong(at.saturating_add(4), IndexFault::Offset),
            };
            if !(1..=PATH_MAX).contains(&entry.name_length.into()) || entry.end() > end {
                return wrong(at.saturating_add(8), IndexFault::Name);
            }
            at = entry.name_at;
            while at < entry.end() {
                let mut piece = [0; PIECE];
                let piece = self.piece(&entry, at, &mut piece)?;
                crc.update(piece);
                if let Some(bad) = piece.iter().position(|byte| !is_of_name(*byte)) {
                    return wrong(at.saturating_add(length(bad)), IndexFault::Name);
                }
                at = at.saturating_add(length(piece.len()));
            }
        }
        if at != end {
            return wrong(at, IndexFault::Length);
        }
        let mut stored = [0; CHECKSUM as usize];
        self.read_exact(end, &mut stored)?;
        if crc.finalize() == u32::from_le_bytes(stored) { Ok(()) } else { wrong(end, IndexFault::Checksum) }
    }

    /// The files, in order, each with its name: for whoever shows what is in a bundle. The name is that of a file below
    /// a repository's top, and not safe as that of a local one.
    ///
    /// # Errors
    ///
    /// Those of `each` and of the medium.
    pub fn list(&mut self, each: &mut dyn FnMut(Entry, &str) -> Result<(), Error>) -> Result<(), Error> {
        let mut at = HEAD;
        for _ in 0..self.files {
            let entry = self.entry(at)?;
            let mut name = [0; PATH_MAX];
            let name = name.get_mut(..entry.name_length.into()).unwrap_or_default();
            self.read_exact(entry.name_at, name)?;
            each(entry, core::str::from_utf8(name).unwrap_or_default())?;
            at = entry.end();
        }
        Ok(())
    }

    /// The medium.
    pub fn medium_mut(&mut self) -> &mut M {
        &mut self.medium
    }

    /// The first file of this name.
    fn find(&mut self, path: &str) -> Result<Entry, Error> {
        let wanted_root = root_version(path.as_bytes());
        let mut at = HEAD;
        let mut later_root = false;
        for _ in 0..self.files {
            let entry = self.entry(at)?;
            let (mut rest, mut same) = (path.as_bytes(), path.len() == usize::from(entry.name_length));
            at = entry.name_at;
            // A name of another length is looked at for its first piece: a root's has no more.
            loop {
                let mut piece = [0; PIECE];
                let piece = self.piece(&entry, at, &mut piece)?;
                if at == entry.name_at && entry.end() == at.saturating_add(length(piece.len())) {
                    let root = root_version(piece);
                    later_root |= root.is_some() && root > wanted_root;
                }
                let (front, behind) = rest.split_at_checked(piece.len()).unwrap_or_default();
                same &= front == piece;
                at = at.saturating_add(length(piece.len()));
                rest = behind;
                if !same || at >= entry.end() {
                    break;
                }
            }
            if same {
                return Ok(entry);
            }
            at = entry.end();
        }
        match wanted_root {
            // Not to find a root ends the walk of roots, and must not where the walk would go on behind a gap.
            Some(version) if later_root => Err(Rejected::BundleLacksRoot { version }.into()),
            _ => Err(TransportFault::NotFound.into()),
        }
    }

    fn entry(&mut self, at: u32) -> Result<Entry, Error> {
        let mut fixed = [0; ENTRY as usize];
        self.read_exact(at, &mut fixed)?;
        let entry = decode(at, fixed);
        // The medium may say something else than when the index was checked.
        if entry.name_length == 0 || entry.end() > self.content {
            return Err(Rejected::BundleIndex { at, fault: IndexFault::Name }.into());
        }
        Ok(entry)
    }

    /// What of an entry's name is at `at`: a piece, or what is left of it.
    fn piece<'p>(&mut self, entry: &Entry, at: u32, buffer: &'p mut [u8; PIECE]) -> Result<&'p [u8], Error> {
        let left = usize::try_from(entry.end().saturating_sub(at)).unwrap_or(PIECE);
        let piece = buffer.get_mut(..left.min(PIECE)).unwrap_or_default();
        self.read_exact(at, piece)?;
        Ok(piece)
    }

    fn read_exact(&mut self, mut at: u32, mut buffer: &mut [u8]) -> Result<(), Error> {
        while !buffer.is_empty() {
            let read = self.medium.read(at, buffer)?;
            buffer = match read {
                0 => return Err(Rejected::BundleCutShort { at }.into()),
                read => buffer.get_mut(read..).unwrap_or_default(),
            };
            at = at.saturating_add(length(read));
        }
        Ok(())
    }
}

impl<M: Medium, const CHUNK: usize> Transport for Bundle<M, CHUNK> {
    fn fetch(
        &mut self,
        request: &Request,
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Request { path, from, limit, part } = request;
        let Entry { offset, length: size, .. } = self.find(path)?;
        if size > *limit && !part {
            return Err(TransportFault::TooLong { limit: *limit }.into());
        }
        let Some(mut left) = size.min(*limit).checked_sub(*from) else {
            return Err(TransportFault::Range { from: *from }.into());
        };
        let mut at = offset.saturating_add(*from);
        while left > 0 {
            let mut chunk = [0; CHUNK];
            let room = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
            let read = self.medium.read(at, chunk.get_mut(..room).unwrap_or_default())?.min(room);
            if read == 0 {
                return Err(Rejected::BundleCutShort { at }.into());
            }
            sink(Input::Chunk(chunk.get(..read).unwrap_or_default()))?;
            at = at.saturating_add(length(read));
            left = left.saturating_sub(length(read));
        }
        Ok(())
    }

    fn is_bundle(&self) -> bool {
        true
    }
}

/// The version of the root whose file has this name.
fn root_version(name: &[u8]) -> Option<u32> {
    name.strip_suffix(b".root.json")?.iter().try_fold(0_u32, |version, digit| {
        version.checked_mul(10)?.checked_add(char::from(*digit).to_digit(10)?)
    })
}

fn decode(at: u32, [o0, o1, o2, o3, l0, l1, l2, l3, n0, n1]: [u8; ENTRY as usize]) -> Entry {
    Entry {
        offset: u32::from_le_bytes([o0, o1, o2, o3]),
        length: u32::from_le_bytes([l0, l1, l2, l3]),
        name_length: u16::from_le_bytes([n0, n1]),
        name_at: at.saturating_add(ENTRY),
    }
}

/// What a name in a URL is made of: what RFC 3986 calls unreserved, escapes, and what separates segments.
fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'%' | b'/')
}

/// No buffer here has more bytes.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// Copies as much as there is and as fits.
fn copy(from: &[u8], to: &mut [u8]) -> usize {
    let count = from.len().min(to.len());
    if let (Some(to), Some(from)) = (to.get_mut(..count), from.get(..count)) {
        to.copy_from_slice(from);
    }
    count
}

/// A line over which a bundle comes: serial, BLE, a pipe.
pub trait Line {
    /// Waits for the next bytes, and puts them at the front of `buffer`, which has room for one at least. Gives how many;
    /// 0 where the bundle has ended.
    ///
    /// # Errors
    ///
    /// [`TransportFault::Timeout`], [`TransportFault::Connection`].
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, TransportFault>;

    /// Asks the host to go on with byte `at` of the bundle. What was under way before that must not be received
    /// any more. Lines that go one way cannot ask.
    ///
    /// # Errors
    ///
    /// [`TransportFault::Passed`] where nobody can be asked.
    fn send_from(&mut self, at: u32) -> Result<(), TransportFault> {
        Err(TransportFault::Passed { at })
    }
}

/// A line as a [`Medium`]. It holds the first `INDEX` bytes, so that the index is there when its content comes by, and
/// asks the line for anything else that has passed.
#[derive(Clone, Debug)]
pub struct Stream<L, const INDEX: usize> {
    line: L,
    /// The next byte that the line gives.
    next: u32,
    first: [u8; INDEX],
    /// How many of them are there.
    held: usize,
}

impl<L: Line, const INDEX: usize> Stream<L, INDEX> {
    /// A medium of a line that is about to give the bundle's first byte. [`INDEX_MAX`] bytes hold every index; that of
    /// a bundle of a few files takes 300.
    pub fn new(line: L) -> Self {
        Self { line, next: 0, first: [0; INDEX], held: 0 }
    }

    /// The line.
    pub fn line_mut(&mut self) -> &mut L {
        &mut self.line
    }

    /// Takes the next bytes off the line.
    fn receive(&mut self, buffer: &mut [u8]) -> Result<usize, Error> {
        let read = self.line.receive(buffer)?.min(buffer.len());
        if usize::try_from(self.next) == Ok(self.held) {
            let room = self.first.get_mut(self.held..).unwrap_or_default();
            let held = copy(buffer.get(..read).unwrap_or_default(), room);
            self.held = self.held.saturating_add(held);
        }
        self.next = self.next.saturating_add(length(read));
        Ok(read)
    }
}

impl<L: Line, const INDEX: usize> Medium for Stream<L, INDEX> {
    fn read(&mut self, at: u32, buffer: &mut [u8]) -> Result<usize, Error> {
        let held = self.first.get(..self.held).unwrap_or_default();
        if let Some(here) =
            usize::try_from(at).ok().and_then(|at| held.get(at..)).filter(|here| !here.is_empty())
        {
            return Ok(copy(here, buffer));
        }
        loop {
            match self.next.cmp(&at) {
                Ordering::Equal => return self.receive(buffer),
                Ordering::Less => {
                    // What is not wanted goes by.
                    let mut by = [0; PIECE];
                    let left = usize::try_from(at.saturating_sub(self.next)).unwrap_or(PIECE).min(PIECE);
                    if self.receive(by.get_mut(..left).unwrap_or_default())? == 0 {
                        return Ok(0);
                    }
                }
                Ordering::Greater => {
                    self.line.send_from(at)?;
                    self.next = at;
                }
            }
        }
    }
}

/// What is wrong with an index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IndexFault {
    /// No file, or more than [`FILES_MAX`].
    Files,
    /// More than [`INDEX_MAX`] bytes, or another length than its entries have.
    Length,
    /// A content that does not begin where the one before it ends, or ends beyond 4 GiB.
    Offset,
    /// An empty name, one longer than [`PATH_MAX`] bytes, or one that no file of a repository has.
    Name,
    /// The checksum is another one.
    Checksum,
}

impl fmt::Display for IndexFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Files => "so many files are not possible",
            Self::Length => "its length and its entries differ",
            Self::Offset => "a file does not lie behind the one before it",
            Self::Name => "no file has such a name",
            Self::Checksum => "its checksum is another one",
        })
    }
}
