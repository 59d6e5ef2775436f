//! The boot record, read from the flash's bytes by the tables of `docs/flash-map.md`.

use core::ops::Range;

/// What the record says that matters to a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Slot, 0 for A.
    pub(super) slot: u8,
    /// SHA-256 of the active image.
    pub(super) active: Vec<u8>,
    /// Its security counter.
    pub(super) counter: u64,
    /// The image on trial, and its number.
    pub(super) trial: Option<(u64, Vec<u8>)>,
    /// The last trial that ended: number, image, and how.
    pub(super) ended: Option<(u64, Vec<u8>, u8)>,
    /// Trials so far.
    pub(super) trials: u64,
}

impl Record {
    /// The newest one of a journal whose frames start at multiples of `unit`.
    pub(super) fn read(
        bytes: &[u8],
        readable: &dyn Fn(&Range<usize>) -> bool,
        journal: Range<usize>,
        unit: usize,
    ) -> Option<Record> {
        let area = journal.len() / 2;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let frame = |at: &usize| {
            let end = at + 16 + number(at + 4) as usize;
            let within =
                end.next_multiple_of(unit) <= journal.start + ((at - journal.start) / area + 1) * area;
            bytes[*at..].starts_with(b"Tf\x01\x02")
                && within
                && readable(&(*at..end))
                && crc(bytes[*at..at + 12].iter().chain(&bytes[at + 16..end])) == number(at + 12)
        };
        let newest = journal.clone().step_by(unit).filter(frame).max_by_key(|at| number(at + 8))?;
        let mut rest = &bytes[newest + 16..newest + 16 + number(newest + 4) as usize];
        let (slot, active, counter) = image(&mut rest)?;
        let trial = match byte(&mut rest)? {
            0 => None,
            _ => {
                let number = varint(&mut rest)?;
                let (_, digest, _) = image(&mut rest)?;
                byte(&mut rest)?;
                Some((number, digest))
            }
        };
        let ended = match byte(&mut rest)? {
            0 => None,
            _ => {
                let number = varint(&mut rest)?;
                let digest = take(&mut rest, 32)?.to_vec();
                varint(&mut rest)?;
                Some((number, digest, byte(&mut rest)?))
            }
        };
        Some(Record { slot, active, counter, trial, ended, trials: varint(&mut rest)? })
    }
}

fn crc<'b>(bytes: impl Iterator<Item = &'b u8>) -> u32 {
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn take<'b>(rest: &mut &'b [u8], count: usize) -> Option<&'b [u8]> {
    let (bytes, behind) = rest.split_at_checked(count)?;
    *rest = behind;
    Some(bytes)
}

fn byte(rest: &mut &[u8]) -> Option<u8> {
    take(rest, 1).map(|bytes| bytes[0])
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..35).step_by(7) {
        let byte = byte(rest)?;
        value |= u64::from(byte & 0x7F) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

/// Slot, digest and counter.
fn image(rest: &mut &[u8]) -> Option<(u8, Vec<u8>, u64)> {
    let slot = byte(rest)?;
    varint(rest)?;
    let digest = take(rest, 32)?.to_vec();
    varint(rest)?;
    let counter = varint(rest)?;
    let version = byte(rest)?;
    take(rest, version.into())?;
    Some((slot, digest, counter))
}
