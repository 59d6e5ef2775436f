//! Timestamp and snapshot: each names the next file down by version, and as a rule by length and digest.

use heapless::Vec;

use crate::error::{Bound, Field};
use crate::hash::FileHash;
use crate::key::hex_array;
use crate::limits::{HALTS, TRACKED, TRACKED_NAME};
use crate::role::place::Place;
use crate::role::{number, text, version};
use crate::scan::{Fault, Value};

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
    reading: Meta,
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

    /// Takes a value; returns the version of an entry that is over.
    pub(crate) fn value(&mut self, place: Place, value: Value<'_>) -> Result<Option<u32>, Fault> {
        let wrong = Fault::Field(place.field());
        match (place, value) {
            (Place::MetaVersion, value) => self.reading.version = version(value).ok_or(wrong)?,
            (Place::MetaLength, value) => self.reading.length = Some(number(value).ok_or(wrong)?),
            (Place::MetaSha256, value) => {
                self.reading.sha256 = Some(hex_array(text(value)).ok_or(wrong)?);
            }
            #[cfg(feature = "host")]
            (Place::MetaSha512, value) => {
                self.reading.sha512 = Some(crate::hash::half(text(value)).ok_or(wrong)?);
            }
            // Hashes that are there must match (5.5.2, 5.6.2), so one must be of a kind that can be compared.
            (Place::MetaHashes, Value::End) if !self.reading.has_hash() => return Err(wrong),
            (Place::Halted, value) => {
                let digest: [u8; 32] = hex_array(text(value)).ok_or(wrong)?;
                self.halts.push(halt(&digest)).map_err(|_| Fault::Limit(Bound::Halts))?;
            }
            (Place::MetaEntry, Value::End) => {
                if self.reading.version == 0 {
                    return Err(Fault::Field(Field::Meta));
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
                return Ok(Some(self.reading.version));
            }
            _ => {}
        }
        Ok(None)
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
