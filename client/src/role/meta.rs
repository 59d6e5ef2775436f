//! Timestamp and snapshot: each names the next file down by version, and as a rule by length and digest.

use heapless::Vec;

use crate::error::{Bound, Field};
use crate::hash::FileHash;
use crate::limits::{HALTS, TRACKED, TRACKED_NAME};
use crate::role::place::{Place, Places};
use crate::scan::Fault;
use crate::wire::{Reader, Stored, Writer};

/// What a timestamp says of the snapshot, or a snapshot of a targets file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Meta {
    /// The version that the file must have.
    pub(crate) version: u32,
    /// Its length in bytes; 0 where it is not stated, for no file is empty.
    pub(crate) length: u32,
    /// SHA-256 of its bytes as published, where stated.
    pub(crate) sha256: Option<[u8; 32]>,
    /// The first half of the SHA-512 of its bytes, where stated. It is not stored: a file that was verified is
    /// known by its SHA-256 from then on.
    #[cfg(feature = "host")]
    pub(crate) sha512: Option<[u8; 32]>,
}

/// A delegated role whose version is a floor. Its entry in the next snapshot is read in the first pass.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Tracked {
    pub(crate) name: Vec<u8, TRACKED_NAME>,
    pub(crate) version: u32,
}

impl Stored for Meta {
    fn write(&self, to: &mut Writer<'_>) {
        to.number(self.version);
        to.number(self.length);
        self.sha256.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Meta {
            version: from.number(),
            length: from.number(),
            sha256: Stored::read(from),
            #[cfg(feature = "host")]
            sha512: None,
        }
    }
}

impl Stored for Tracked {
    fn write(&self, to: &mut Writer<'_>) {
        to.length(self.name.len());
        to.bytes(&self.name);
        to.number(self.version);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let length = from.length(TRACKED_NAME);
        let name = Vec::from_slice(from.bytes(length)).unwrap_or_default();
        Tracked { name, version: from.number() }
    }
}

/// Reads a timestamp's or snapshot's `meta`, and a timestamp's `halt`.
#[derive(Debug, Default)]
pub(crate) struct MetaReader {
    /// What the file says of the role that it is read for, and then of the tracked ones. Nothing, where the version
    /// is 0. A snapshot that is read again writes these once more before it is known to be the same: the trusted one
    /// lists every tracked role, so what a forged reading left is overwritten by the one that counts.
    entries: [Meta; ENTRIES],
    /// What it says of any other, of which the version is held against what a kept snapshot says.
    other: Meta,
    /// Which of those is being read.
    entry: usize,
    pub(crate) halts: Vec<u64, HALTS>,
}

/// The role that a file is read for, and the tracked ones.
const ENTRIES: usize = TRACKED + 1;

impl MetaReader {
    /// Begins a pass for another role.
    pub(crate) fn forget_wanted(&mut self) {
        self.entry = 0;
        *self.reading() = Meta::default();
    }

    /// Other roles are tracked from here on.
    pub(crate) fn forget_tracked(&mut self) {
        self.entries.iter_mut().skip(1).for_each(|entry| *entry = Meta::default());
    }

    /// What the file says of the role that it was read for.
    pub(crate) fn wanted(&self) -> Option<Meta> {
        self.listed(0)
    }

    /// What it says of a tracked role.
    pub(crate) fn tracked(&self, index: usize) -> Option<Meta> {
        self.listed(index.saturating_add(1))
    }

    fn listed(&self, entry: usize) -> Option<Meta> {
        self.entries.get(entry).copied().filter(|meta| meta.version > 0)
    }

    /// The entry being read.
    pub(crate) fn reading(&mut self) -> &mut Meta {
        self.entries.get_mut(self.entry).unwrap_or(&mut self.other)
    }

    /// An entry begins. `all` says whether anybody wants to know of those that no search needs.
    pub(crate) fn begin(&mut self, wanted: &[u8], tracked: &[Tracked], all: bool, key: &[u8]) -> Place {
        let name = key.strip_suffix(b".json").unwrap_or_default();
        self.entry = if name == wanted {
            0
        } else if let Some(index) = tracked.iter().position(|tracked| tracked.name == *name) {
            index.saturating_add(1)
        } else if all {
            ENTRIES
        } else {
            return Place::Skip;
        };
        *self.reading() = Meta::default();
        Place::MetaEntry
    }

    /// An entry is over; returns its version.
    pub(crate) fn end(&mut self, seen: &Places) -> Result<u32, Fault> {
        let reading = self.reading();
        // Hashes that are there must match (5.5.2, 5.6.2), so one must be of a kind that can be compared.
        if reading.version == 0 || (seen.has(Place::MetaHashes) && !reading.has_hash()) {
            return Err(Fault::Field(Field::Meta));
        }
        Ok(reading.version)
    }

    /// An image is halted.
    pub(crate) fn halt(&mut self, digest: &[u8; 32]) -> Result<(), Fault> {
        self.halts.push(halt(digest)).map_err(|_| Fault::Limit(Bound::Halts))
    }
}

/// What a device remembers of a halted image: the first eight bytes of its digest, big-endian. A chance of one in
/// 2^64 that another image stands still, for a quarter of the memory.
pub(crate) fn halt(digest: &[u8; 32]) -> u64 {
    u64::from_be_bytes(digest.first_chunk().copied().unwrap_or_default())
}

impl Meta {
    fn has_hash(&self) -> bool {
        #[cfg(feature = "host")]
        if self.sha512.is_some() {
            return true;
        }
        self.sha256.is_some()
    }

    /// 5.5.2 and 5.6.2: whether a file is the one that is meant: length and hashes, where they are stated.
    pub(crate) fn describes(&self, file: &FileHash) -> bool {
        #[cfg(feature = "host")]
        if self.sha512.is_some() && self.sha512 != file.sha512 {
            return false;
        }
        (self.length == 0 || self.length == file.bytes.length)
            && self.sha256.is_none_or(|sha256| sha256 == file.bytes.sha256)
    }

    /// Whether the hasher of this file must compute SHA-512, too.
    #[cfg(feature = "host")]
    pub(crate) fn wants_sha512(&self) -> bool {
        self.sha512.is_some()
    }
}
