//! What a bootloader leaves in RAM for the image that it starts.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 4 | magic, `54 46 48 4F` ("TFHO") |
//! | 4 | 32 | SHA-256 of the image that was started |
//!
//! It is for direct A/B, where a device goes by the digest of what runs and not by what its bootloader reports.

/// Bytes at the end of RAM that neither bootloader nor image uses for anything else.
pub const ROOM: u32 = 64;

/// Bytes of it that mean something.
pub const LENGTH: usize = 36;

const MAGIC: [u8; 4] = *b"TFHO";

/// The image that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HandOff {
    /// Its SHA-256, as the bootloader found it.
    pub digest: [u8; 32],
}

impl HandOff {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let (magic, digest) = bytes.split_at_mut(MAGIC.len());
        magic.copy_from_slice(&MAGIC);
        digest.copy_from_slice(&self.digest);
        bytes
    }

    /// What these bytes say; nothing where no bootloader left any.
    #[must_use]
    pub fn decode(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (magic, digest) = bytes.split_first_chunk()?;
        (*magic == MAGIC).then_some(Self { digest: digest.try_into().ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handoff_comes_back_as_it_was() {
        let handoff = HandOff { digest: core::array::from_fn(|at| u8::try_from(at).unwrap_or(0)) };
        let mut bytes = handoff.encode();
        assert_eq!(HandOff::decode(&bytes), Some(handoff));
        bytes[0] ^= 1;
        assert_eq!(HandOff::decode(&bytes), None);
    }
}
