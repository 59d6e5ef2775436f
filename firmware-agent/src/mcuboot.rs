//! The format of MCUboot's images, as `imgtool sign` writes them: header, payload, and two areas of entries of the make
//! type, length, value.
//!
//! | part | bytes | under the digest |
//! |---|---|---|
//! | header | [`Header::header_length`], of which [`HEADER_LENGTH`] have a meaning | yes |
//! | payload | [`Header::image_length`] | yes |
//! | protected entries | [`Header::protected_length`], 0 where there are none | yes |
//! | other entries: digest, key, signatures | as their first four bytes say | no |
//! | padding and trailer, if the image was padded to its slot | the rest | no |
//!
//! All integers are little-endian; `docs/flash-map.md` has every byte. The source is MCUboot's `docs/design.md` and
//! `boot/bootutil/include/bootutil/image.h`; about lengths this reader is no more lenient than `boot/bootutil/src/tlv.c`.
//!
//! A [`Reader`] takes the bytes in order, in chunks of any size, in constant memory: from a file, from a slot, or on the
//! way into one. What it says was written by whoever built the image. The digest shows that the bytes are the ones
//! that were built, and no signature of MCUboot's is verified here: releases are signed by TUF.

mod fault;
mod reader;
mod trailer;

use core::fmt;

use heapless::Vec;

pub use fault::Fault;
pub use reader::Reader;
pub use trailer::{Mark, State, Swap, Trailer};

/// What an image begins with, as it lies in the file: `0x96f3b83d`.
pub const MAGIC: [u8; 4] = 0x96f3_b83d_u32.to_le_bytes();

/// Bytes of a header that have a meaning.
pub const HEADER_LENGTH: usize = 32;

/// Dependencies that are kept of an image, so that memory is constant: one for each other image of a device is enough.
pub const DEPENDENCIES: usize = 8;

/// Bytes of an area's magic and length, and of an entry's type and length.
const HEAD: u16 = 4;

/// Types of entries. MCUboot has more; those are passed by.
mod kind {
    pub(super) const KEY_HASH: u16 = 0x01;
    pub(super) const PUBLIC_KEY: u16 = 0x02;
    pub(super) const SHA256: u16 = 0x10;
    pub(super) const SHA384: u16 = 0x11;
    pub(super) const SHA512: u16 = 0x12;
    pub(super) const RSA_2048: u16 = 0x20;
    pub(super) const ECDSA_224: u16 = 0x21;
    pub(super) const ECDSA: u16 = 0x22;
    pub(super) const RSA_3072: u16 = 0x23;
    pub(super) const ED25519: u16 = 0x24;
    /// The first and the last of the keys that the payload's own key is sealed with.
    pub(super) const SEALED_KEY: core::ops::RangeInclusive<u16> = 0x30..=0x34;
    pub(super) const DEPENDENCY: u16 = 0x40;
    pub(super) const COUNTER: u16 = 0x50;
}

/// Whether these bytes, the first of a file or a slot, are the beginning of an image.
pub fn is_image(start: &[u8]) -> bool {
    start.starts_with(&MAGIC)
}

/// An image's version. Versions of one image compare as MCUboot compares them when it is told to compare build numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// The first number.
    pub major: u8,
    /// The second.
    pub minor: u8,
    /// The third.
    pub revision: u16,
    /// The number behind the plus sign.
    pub build: u32,
}

/// As it is given to `imgtool`: `1.2.3+4`, and `1.2.3` if the build is 0. At most 24 characters, all of which a release's
/// version may have.
impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { major, minor, revision, build } = *self;
        write!(f, "{major}.{minor}.{revision}")?;
        if build > 0 {
            write!(f, "+{build}")?;
        }
        Ok(())
    }
}

impl Version {
    fn read(bytes: &[u8], at: usize) -> Self {
        let [major, minor, r0, r1, b0, b1, b2, b3] = field(bytes, at);
        let revision = u16::from_le_bytes([r0, r1]);
        Self { major, minor, revision, build: u32::from_le_bytes([b0, b1, b2, b3]) }
    }
}

/// What a header says an image is. Flags that nobody knows are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(pub u32);

impl Flags {
    /// The payload is encrypted with AES, by a key of 128 or 256 bits, or is made to be encrypted in the second slot.
    pub const fn encrypted(self) -> bool {
        self.0 & 0x0c != 0
    }

    /// It is no program that can be started by itself.
    pub const fn non_bootable(self) -> bool {
        self.0 & 0x10 != 0
    }

    /// It runs from RAM, at [`Header::load_address`].
    pub const fn ram_load(self) -> bool {
        self.0 & 0x20 != 0
    }

    /// It runs from one place in flash alone, [`Header::load_address`].
    pub const fn rom_fixed(self) -> bool {
        self.0 & 0x100 != 0
    }

    /// The payload is compressed.
    pub const fn compressed(self) -> bool {
        self.0 & 0x600 != 0
    }
}

/// An image's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Where in memory the image belongs, if [`Flags::ram_load`] or [`Flags::rom_fixed`]; else 0.
    pub load_address: u32,
    /// Bytes before the payload, [`HEADER_LENGTH`] or more.
    pub header_length: u16,
    /// Bytes of the area of protected entries.
    pub protected_length: u16,
    /// Bytes of the payload.
    pub image_length: u32,
    /// What the image is.
    pub flags: Flags,
    /// Its version.
    pub version: Version,
}

impl Header {
    /// Reads a header. Its lengths add up without overflow, see [`Header::hashed_length`]; whether so many bytes follow is
    /// for others to see.
    ///
    /// # Errors
    ///
    /// [`Fault::Magic`], [`Fault::HeaderLength`].
    pub fn read(bytes: &[u8; HEADER_LENGTH]) -> Result<Self, Fault> {
        if !is_image(bytes) {
            return Err(Fault::Magic);
        }
        let header = Self {
            load_address: u32::from_le_bytes(field(bytes, 4)),
            header_length: u16::from_le_bytes(field(bytes, 8)),
            protected_length: u16::from_le_bytes(field(bytes, 10)),
            image_length: u32::from_le_bytes(field(bytes, 12)),
            flags: Flags(u32::from_le_bytes(field(bytes, 16))),
            version: Version::read(bytes, 20),
        };
        if usize::from(header.header_length) < HEADER_LENGTH {
            return Err(Fault::HeaderLength { length: header.header_length });
        }
        Ok(header)
    }

    /// Bytes that the digest is over: header, payload and protected entries. The other entries begin there.
    pub fn hashed_length(&self) -> u64 {
        let Self { header_length, protected_length, image_length, .. } = *self;
        u64::from(header_length).saturating_add(image_length.into()).saturating_add(protected_length.into())
    }
}

/// Another image of the same device that must be there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dependency {
    /// Its number, as the bootloader counts.
    pub image: u8,
    /// The lowest version that will do.
    pub minimum: Version,
}

/// How an image is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Signature {
    /// RSA-PSS by a key of 2048 bits.
    Rsa2048,
    /// ECDSA over P-224, which MCUboot gave up.
    Ecdsa224,
    /// ECDSA over P-256 or P-384.
    Ecdsa,
    /// RSA-PSS by a key of 3072 bits.
    Rsa3072,
    /// Ed25519.
    Ed25519,
}

impl Signature {
    const fn of(kind: u16) -> Option<Self> {
        match kind {
            kind::RSA_2048 => Some(Self::Rsa2048),
            kind::ECDSA_224 => Some(Self::Ecdsa224),
            kind::ECDSA => Some(Self::Ecdsa),
            kind::RSA_3072 => Some(Self::Rsa3072),
            kind::ED25519 => Some(Self::Ed25519),
            _ => None,
        }
    }
}

/// A whole image, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The header.
    pub header: Header,
    /// The security counter, if there is one.
    pub counter: Option<u32>,
    /// What else the device must have.
    pub dependencies: Vec<Dependency, DEPENDENCIES>,
    /// The SHA-256 that the image has of itself: of header, payload and protected entries before encryption.
    pub digest: [u8; 32],
    /// Whether the bytes have that digest. They always do, unless the payload is encrypted: then no one can tell who
    /// has not the key.
    pub checked: bool,
    /// Whether it names the key that signed it. The name is not under the digest.
    pub names_key: bool,
    /// Its first signature, which was not verified; none for an image that is merely hashed. Not under the digest.
    pub signature: Option<Signature>,
    /// Bytes from the magic to the end of the last entry. What follows is padding, and the trailer of a slot.
    pub length: u64,
}

/// N bytes from an offset on; both are constants that lie within what is held.
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(<[u8]>::first_chunk).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::*;

    extern crate std;
    use std::string::ToString;

    // Whole images, `imgtool`'s and others, are read in the suite `mcuboot` of the crate tuffet-tests.

    #[test]
    fn version_is_written_as_it_is_given_to_imgtool_and_fits_a_release() {
        let version = |major, minor, revision, build| Version { major, minor, revision, build };
        assert_eq!(version(1, 2, 3, 0).to_string(), "1.2.3");
        assert_eq!(version(1, 2, 3, 4).to_string(), "1.2.3+4");
        assert_eq!(version(0, 0, 0, 0).to_string(), "0.0.0");
        let longest = version(u8::MAX, u8::MAX, u16::MAX, u32::MAX).to_string();
        assert_eq!(longest, "255.255.65535+4294967295");
        assert!(tuffet_client::release::is_version(longest));
        assert!(version(1, 2, 3, 4) > version(1, 2, 3, 0) && version(1, 10, 0, 0) > version(1, 9, 9, 9));
    }

    #[test]
    fn header_of_the_largest_lengths_is_read_without_overflow() {
        let mut bytes = [0xff; HEADER_LENGTH];
        assert_eq!(Header::read(&bytes), Err(Fault::Magic));
        bytes[..4].copy_from_slice(&MAGIC);
        let header = Header::read(&bytes).unwrap();
        assert_eq!(header.hashed_length(), 2 * 0xffff + 0xffff_ffff);
        bytes[8..10].copy_from_slice(&31_u16.to_le_bytes());
        assert_eq!(Header::read(&bytes), Err(Fault::HeaderLength { length: 31 }));
    }
}
