//! A factory's facts in a file, as `tuffet provision` writes it and the simulated device reads it:
//!
//! ```json
//! {"built":"2026-11-22T12:00:00Z","channel":"stable","counter":0,"format":1,
//!  "hardware":"rev-a","product":"lamp","root":"{\"signatures\":..."}
//! ```
//!
//! `root` is a root file's text, byte for byte.

use core::fmt;
use std::borrow::ToOwned;
use std::string::{String, ToString};

use serde::{Deserialize, Serialize};
use tuffet_client::time::{self, Date};

use crate::factory::Factory;

/// The format that this build writes and reads.
const FORMAT: u32 = 1;

/// The content of a factory file, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactoryFile {
    fields: Fields,
    built: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    built: String,
    channel: String,
    counter: u32,
    format: u32,
    hardware: String,
    product: String,
    root: String,
}

impl FactoryFile {
    /// The file of these facts.
    ///
    /// # Errors
    ///
    /// [`FactoryFileError::Root`] for a root that is no text; no root file is that.
    pub fn new(factory: &Factory<'_>) -> Result<Self, FactoryFileError> {
        let Factory { root, product, hardware, channel, counter, built } = *factory;
        let root = core::str::from_utf8(root).map_err(|_| FactoryFileError::Root)?;
        let fields = Fields {
            built: Date(built).to_string(),
            channel: channel.to_owned(),
            counter,
            format: FORMAT,
            hardware: hardware.to_owned(),
            product: product.to_owned(),
            root: root.to_owned(),
        };
        Ok(Self { fields, built })
    }

    /// Reads a file's content.
    ///
    /// # Errors
    ///
    /// [`FactoryFileError`]. Whether the root is a good one shows when it is used.
    pub fn parse(json: &[u8]) -> Result<Self, FactoryFileError> {
        let fields: Fields = serde_json::from_slice(json)
            .map_err(|error| FactoryFileError::Json { line: error.line(), column: error.column() })?;
        if fields.format != FORMAT {
            return Err(FactoryFileError::Format { found: fields.format });
        }
        let built = time::parse(fields.built.as_bytes()).ok_or(FactoryFileError::Date)?;
        Ok(Self { fields, built })
    }

    /// The facts.
    pub fn factory(&self) -> Factory<'_> {
        let Fields { channel, counter, hardware, product, root, .. } = &self.fields;
        Factory { root: root.as_bytes(), product, hardware, channel, counter: *counter, built: self.built }
    }
}

/// Shows the file's content.
impl fmt::Display for FactoryFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(&self.fields).map_err(|_| fmt::Error)?)
    }
}

/// Why a file is no factory file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FactoryFileError {
    /// No JSON, or other fields than the format has.
    Json {
        /// The line where it went wrong, from 1.
        line: usize,
        /// The column, from 1.
        column: usize,
    },
    /// A format that this build does not know.
    Format {
        /// The number found.
        found: u32,
    },
    /// `built` is no date.
    Date,
    /// The root is no text.
    Root,
}

impl fmt::Display for FactoryFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Json { line, column } => {
                write!(f, "is no factory file (line {line}, column {column}); `tuffet provision` writes one")
            }
            Self::Format { found } => {
                write!(
                    f,
                    "has format {found}, and this version reads {FORMAT}; use the version that wrote it"
                )
            }
            Self::Date => f.write_str("`built` is no date like 2026-11-22T12:00:00Z"),
            Self::Root => f.write_str("the root is no text, so it is no root file"),
        }
    }
}

impl core::error::Error for FactoryFileError {}

#[cfg(test)]
mod tests {
    use super::*;

    const FACTORY: Factory<'_> = Factory {
        root: br#"{"signatures":[],"signed":{"key":"line\nline"}}"#,
        product: "lamp",
        hardware: "rev-a",
        channel: "stable",
        counter: 3,
        built: 1_795_348_800,
    };

    #[test]
    fn file_gives_back_what_went_into_it() {
        let text = FactoryFile::new(&FACTORY).unwrap().to_string();
        let file = FactoryFile::parse(text.as_bytes()).unwrap();
        let Factory { root, product, hardware, channel, counter, built } = file.factory();
        assert_eq!(root, FACTORY.root);
        assert_eq!((product, hardware, channel), ("lamp", "rev-a", "stable"));
        assert_eq!((counter, built), (3, 1_795_348_800));
        assert!(text.contains(r#""built":"2026-11-22T12:00:00Z""#), "{text}");
    }

    #[test]
    fn file_with_one_thing_wrong_is_refused_by_name() {
        let text = FactoryFile::new(&FACTORY).unwrap().to_string();
        let refused = |from: &str, to: &str| {
            assert!(text.contains(from), "{from}");
            FactoryFile::parse(text.replace(from, to).as_bytes()).unwrap_err()
        };
        assert_eq!(refused("\"format\":1", "\"format\":2"), FactoryFileError::Format { found: 2 });
        assert_eq!(refused("2026-11-22T", "2026-13-22T"), FactoryFileError::Date);
        assert!(matches!(refused("\"counter\":3", "\"counter\":-3"), FactoryFileError::Json { line: 1, .. }));
        assert!(matches!(refused("\"counter\"", "\"count\""), FactoryFileError::Json { .. }));
        assert!(matches!(FactoryFile::parse(b""), Err(FactoryFileError::Json { .. })));
        let root = Factory { root: &[0xFF], ..FACTORY };
        assert_eq!(FactoryFile::new(&root), Err(FactoryFileError::Root));
    }
}
