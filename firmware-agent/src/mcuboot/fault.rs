//! What can be wrong with an image.

use core::fmt;

use super::{DEPENDENCIES, HEAD, HEADER_LENGTH};

/// Why bytes are no sound image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// They do not begin as an image does.
    Magic,
    /// They end too early.
    Cut {
        /// Bytes that there are.
        length: u64,
        /// Bytes that there must be at least.
        needed: u64,
    },
    /// The header says that it is shorter than a header is.
    HeaderLength {
        /// Bytes, as it says.
        length: u16,
    },
    /// Where an area of entries must begin, something else does.
    AreaMagic {
        /// Where, in bytes from the beginning.
        offset: u64,
        /// What stands there.
        found: u16,
        /// What must.
        expected: u16,
    },
    /// The header and the area of protected entries differ about that area's length.
    ProtectedLength {
        /// Bytes, as the header says.
        header: u16,
        /// Bytes, as the area says.
        area: u16,
    },
    /// An area of entries is shorter than its own beginning.
    AreaLength {
        /// Bytes, as it says.
        length: u16,
    },
    /// An entry does not end within its area.
    EntryPastArea {
        /// Where the entry begins, in bytes from the beginning of the image.
        offset: u64,
    },
    /// An entry of a known type has not that type's length.
    EntryLength {
        /// The type.
        kind: u16,
        /// Bytes, as the entry says.
        length: u16,
        /// Bytes that such an entry has.
        expected: u16,
    },
    /// An entry stands in the area where it must not: what has to be under the digest outside of it, or the reverse.
    Misplaced {
        /// Its type.
        kind: u16,
    },
    /// An entry of which there can be only one is there again.
    Repeated {
        /// Its type.
        kind: u16,
    },
    /// More dependencies than are kept.
    TooManyDependencies,
    /// There is no digest.
    NoDigest,
    /// There is a digest, and none by SHA-256.
    OtherDigest {
        /// The type of the entry that there is: `0x11` for SHA-384, `0x12` for SHA-512.
        kind: u16,
    },
    /// The bytes do not have the digest that the image has of itself.
    Digest,
    /// The header says that the image is encrypted, and there is no key that it could be encrypted with.
    NoSealedKey,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Magic => f.write_str("it does not begin with the magic of MCUboot"),
            Self::Cut { length, needed } => {
                write!(f, "it is cut off: it has {length} bytes and needs {needed} or more")
            }
            Self::HeaderLength { length } => {
                write!(f, "its header says that it has {length} bytes, fewer than {HEADER_LENGTH}")
            }
            Self::AreaMagic { offset, found, expected } => {
                write!(
                    f,
                    "at {offset:#x} stands {found:#06x}, and an area of entries begins with {expected:#06x}"
                )
            }
            Self::ProtectedLength { header, area } => {
                write!(f, "its protected entries have {header} bytes by the header and {area} by themselves")
            }
            Self::AreaLength { length } => {
                write!(f, "an area of entries says that it has {length} bytes, fewer than {HEAD}")
            }
            Self::EntryPastArea { offset } => write!(f, "the entry at {offset:#x} ends past its area"),
            Self::EntryLength { kind, length, expected } => {
                write!(f, "an entry of type {kind:#06x} has {length} bytes instead of {expected}")
            }
            Self::Misplaced { kind } => write!(f, "an entry of type {kind:#06x} stands in the wrong area"),
            Self::Repeated { kind } => write!(f, "there are two entries of type {kind:#06x}"),
            Self::TooManyDependencies => {
                write!(f, "it depends on more than {DEPENDENCIES} other images")
            }
            Self::NoDigest => f.write_str("it has no digest"),
            Self::OtherDigest { kind } => {
                write!(f, "it has a digest of type {kind:#06x} and none by SHA-256")
            }
            Self::Digest => f.write_str("its bytes do not have its own SHA-256"),
            Self::NoSealedKey => f.write_str("it says that it is encrypted, and has no entry for the key"),
        }
    }
}

impl core::error::Error for Fault {}
