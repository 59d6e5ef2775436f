//! Timestamp and snapshot: each names the next file down by version, and as a rule by length and digest.

use crate::error::Field;
use crate::key::hex_array;
use crate::role::{Body, number, text, version};
use crate::scan::{Fault, Value};

/// What a timestamp says of the snapshot, or a snapshot of a targets file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Meta {
    /// The version that the file must have.
    pub version: u32,
    /// Its length in bytes, where stated.
    pub length: Option<u32>,
    /// SHA-256 of its bytes as published, where stated.
    pub sha256: Option<[u8; 32]>,
}

/// Reads a timestamp's or snapshot's `signed`.
#[derive(Debug)]
pub(crate) struct MetaBody {
    /// The file whose entry is wanted, `snapshot.json` or `targets.json`.
    name: &'static [u8],
    version: Option<u32>,
    length: Option<u32>,
    sha256: Option<[u8; 32]>,
}

impl MetaBody {
    pub(crate) fn new(name: &'static [u8]) -> Self {
        MetaBody { name, version: None, length: None, sha256: None }
    }

    /// The entry; `None` if the file lists no such name.
    pub(crate) fn meta(&self) -> Option<Meta> {
        Some(Meta { version: self.version?, length: self.length, sha256: self.sha256 })
    }
}

impl Body for MetaBody {
    fn value(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
        let wrong = Fault::Field(Field::Meta);
        match path {
            [b"meta", name, path @ ..] if *name == self.name => match path {
                [b"version"] => self.version = Some(version(value).ok_or(wrong)?),
                [b"length"] => self.length = Some(number(value).ok_or(wrong)?),
                // Hashes that are there must match (5.5.2, 5.6.2), so they must be of a kind that can be compared.
                [b"hashes"] if value == Value::Object => {}
                [b"hashes"] if value != Value::End || self.sha256.is_none() => return Err(wrong),
                [b"hashes", b"sha256"] => {
                    self.sha256 = Some(hex_array(text(value, Field::Meta)?).ok_or(wrong)?);
                }
                [] if value == Value::End && self.version.is_none() => return Err(wrong),
                [] if !matches!(value, Value::Object | Value::End) => return Err(wrong),
                _ => {}
            },
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}
