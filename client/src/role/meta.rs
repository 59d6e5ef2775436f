//! Timestamp and snapshot: each names the next file down by version, and as a rule by length and digest.

use heapless::Vec;

use crate::error::{Bound, Field};
use crate::hash::FileHash;
use crate::limits::{HALTS, TRACKED, TRACKED_NAME};
use crate::role::place::{Place, Places};
use crate::scan::Fault;

/// What a timestamp says of the snapshot, or a snapshot of a targets file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Meta {
    /// The version that the file must have.
    pub version: u32,
    /// Its length in bytes, where stated.
    pub length: Option<u32>,
    /// SHA-256 of its bytes as published, where stated.
    pub sha256: Option<[u8; 32]>,
    /// The first half of the SHA-512 of its bytes, where stated. It is not stored: a file that was verified is
    /// known by its SHA-256 from then on.
    #[cfg(feature = "host")]
    #[cfg_attr(feature = "serde", serde(skip))]
    pub sha512: Option<[u8; 32]>,
}

/// A delegated role whose version is a floor. Its entry in the next snapshot is read in the first pass.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Tracked {
    pub(crate) name: Vec<u8, TRACKED_NAME>,
    pub(crate) version: u32,
}

/// Which entry of `meta` is being read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Entry {
    /// The one that every file of its role has.
    Only,
    Tracked(usize),
    /// A role that a search came to, and that is not tracked.
    Sought,
    /// Any other, of which the version is held against what a kept snapshot says.
    Other,
}

/// Reads a timestamp's or snapshot's `meta`, and a timestamp's `halt`.
#[derive(Debug)]
pub(crate) struct MetaReader {
    entry: Entry,
    pub(crate) reading: Meta,
    pub(crate) length: u32,
    pub(crate) sha256: [u8; 32],
    pub(crate) only: Option<Meta>,
    pub(crate) tracked: [Option<Meta>; TRACKED],
    pub(crate) sought: Option<Meta>,
    pub(crate) halts: Vec<u64, HALTS>,
}

impl Default for MetaReader {
    fn default() -> Self {
        MetaReader {
            entry: Entry::Other,
            reading: Meta::default(),
            length: 0,
            sha256: [0; 32],
            only: None,
            tracked: [None; TRACKED],
            sought: None,
            halts: Vec::new(),
        }
    }
}

impl MetaReader {
    /// An entry begins. `kept` says whether anybody wants to know of those that no search needs.
    pub(crate) fn begin(
        &mut self,
        only: &[u8],
        tracked: &[Tracked],
        sought: Option<&[u8]>,
        kept: bool,
        key: &[u8],
    ) -> Place {
        self.entry = if key == only {
            Entry::Only
        } else {
            let name = key.strip_suffix(b".json").unwrap_or_default();
            if sought == Some(name) {
                Entry::Sought
            } else if let Some(index) = tracked.iter().position(|tracked| tracked.name == *name) {
                Entry::Tracked(index)
            } else if kept {
                Entry::Other
            } else {
                return Place::Skip;
            }
        };
        self.reading = Meta::default();
        Place::MetaEntry
    }

    /// An entry is over; returns its version.
    pub(crate) fn end(&mut self, seen: &Places) -> Result<u32, Fault> {
        let wrong = Fault::Field(Field::Meta);
        let Self { reading, length, sha256, .. } = self;
        reading.length = seen.has(Place::MetaLength).then_some(*length);
        reading.sha256 = seen.has(Place::MetaSha256).then_some(*sha256);
        // Hashes that are there must match (5.5.2, 5.6.2), so one must be of a kind that can be compared.
        if !seen.has(Place::MetaVersion) || (seen.has(Place::MetaHashes) && !reading.has_hash()) {
            return Err(wrong);
        }
        let place = match self.entry {
            Entry::Only => Some(&mut self.only),
            Entry::Tracked(index) => self.tracked.get_mut(index),
            Entry::Sought => Some(&mut self.sought),
            Entry::Other => None,
        };
        if let Some(place) = place {
            *place = Some(self.reading);
        }
        Ok(self.reading.version)
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
        self.length.is_none_or(|length| length == file.bytes.length)
            && self.sha256.is_none_or(|sha256| sha256 == file.bytes.sha256)
    }

    /// Whether the hasher of this file must compute SHA-512, too.
    #[cfg(feature = "host")]
    pub(crate) fn wants_sha512(&self) -> bool {
        self.sha512.is_some()
    }
}
