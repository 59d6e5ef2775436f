//! The device page: what a device is told by whoever made it.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 8 | magic, `TUFFETDP` |
//! | 8 | 16 | id |
//! | 24 | 4 | server, an IPv4 address |
//! | 28 | 2 | port |
//! | 30 | 2 | flags; bit 0: files come from a bundle |
//! | 32 | 4 | every, seconds |
//! | 36 | 4 | retry, seconds |
//! | 40 | 4 | deadline of a trial, seconds |
//! | 44 | 8 | now, seconds since 1970 |
//! | 52 | 8 | 0 |
//! | 60 | 4 | CRC-32 (ISO-HDLC) of bytes 0 to 59 |
//!
//! All integers are little-endian.

use crate::CRC;

/// Bytes of a page.
pub const LENGTH: usize = 64;

/// Seconds that a trial has on a device whose page is damaged: such a device cannot ask anybody, and its trial must end.
pub const DEADLINE: u32 = 10 * 60;

const MAGIC: [u8; 8] = *b"TUFFETDP";
const BUNDLE: u16 = 1;

/// What a device page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DevicePage {
    /// Decides the device's place in rollouts.
    pub id: [u8; 16],
    /// The repository's server, on boards with a network.
    pub server: [u8; 4],
    /// Its port.
    pub port: u16,
    /// Files come from a bundle over the line, and not from a repository.
    pub bundle: bool,
    /// Seconds between two looks at the repository.
    pub every: u32,
    /// Seconds after a first failure.
    pub retry: u32,
    /// Seconds after which an image that was started and settled nothing is reset; 0 for never.
    pub deadline: u32,
    /// The time at power-on, in seconds since 1970; 0 for a device without a clock.
    pub now: u64,
}

impl DevicePage {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            bytes[at..at + field.len()].copy_from_slice(field);
            at += field.len();
        };
        put(&MAGIC);
        put(&self.id);
        put(&self.server);
        put(&self.port.to_le_bytes());
        put(&if self.bundle { BUNDLE } else { 0 }.to_le_bytes());
        put(&self.every.to_le_bytes());
        put(&self.retry.to_le_bytes());
        put(&self.deadline.to_le_bytes());
        put(&self.now.to_le_bytes());
        let checksum = CRC.checksum(&bytes[..LENGTH - 4]);
        bytes[LENGTH - 4..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// What these bytes say; nothing if they are no page, or a damaged one.
    #[must_use]
    pub fn decode(bytes: &[u8; LENGTH]) -> Option<Self> {
        let (content, checksum) = bytes.split_last_chunk()?;
        if u32::from_le_bytes(*checksum) != CRC.checksum(content) {
            return None;
        }
        let mut fields = Fields(content);
        if fields.next()? != MAGIC {
            return None;
        }
        Some(Self {
            id: fields.next()?,
            server: fields.next()?,
            port: u16::from_le_bytes(fields.next()?),
            bundle: u16::from_le_bytes(fields.next()?) & BUNDLE != 0,
            every: u32::from_le_bytes(fields.next()?),
            retry: u32::from_le_bytes(fields.next()?),
            deadline: u32::from_le_bytes(fields.next()?),
            now: u64::from_le_bytes(fields.next()?),
        })
    }
}

/// One field after the other.
struct Fields<'b>(&'b [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: DevicePage = DevicePage {
        id: *b"lamp number 0001",
        server: [10, 0, 2, 2],
        port: 8080,
        bundle: true,
        every: 3600,
        retry: 60,
        deadline: 20,
        now: 1_795_348_800,
    };

    #[test]
    fn page_comes_back_as_it_was() {
        assert_eq!(DevicePage::decode(&PAGE.encode()), Some(PAGE));
        let other = DevicePage { bundle: false, now: 0, ..PAGE };
        assert_eq!(DevicePage::decode(&other.encode()), Some(other));
    }

    #[test]
    fn page_has_its_fields_where_the_table_says() {
        let bytes = PAGE.encode();
        assert_eq!(&bytes[..8], b"TUFFETDP");
        assert_eq!(&bytes[8..24], b"lamp number 0001");
        assert_eq!(&bytes[24..32], &[10, 0, 2, 2, 0x90, 0x1F, 1, 0]);
        assert_eq!(&bytes[32..44], &[0x10, 0x0E, 0, 0, 60, 0, 0, 0, 20, 0, 0, 0]);
        assert_eq!(&bytes[44..52], &1_795_348_800_u64.to_le_bytes());
        assert_eq!(&bytes[52..60], &[0; 8]);
    }

    #[test]
    fn page_with_one_bit_changed_is_none() {
        for at in 0..LENGTH {
            let mut bytes = PAGE.encode();
            bytes[at] ^= 0x10;
            assert_eq!(DevicePage::decode(&bytes), None, "byte {at}");
        }
        assert_eq!(DevicePage::decode(&[0xFF; LENGTH]), None);
        assert_eq!(DevicePage::decode(&[0; LENGTH]), None);
    }
}
