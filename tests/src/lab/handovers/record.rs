//! The boot record, read from the flash's bytes by the tables of `docs/flash-map.md`.

use core::ops::Range;

use crate::lab::raw::{Places, Reader, newest};

/// What the record says that matters to a trial.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Slot, 0 for A.
    pub(super) slot: usize,
    /// SHA-256 of the active image.
    pub(super) active: [u8; 32],
    /// Its security counter.
    pub(super) counter: u32,
    /// The image on trial, and its number.
    pub(super) trial: Option<(u32, [u8; 32])>,
    /// The last trial that ended: number, image, and how.
    pub(super) ended: Option<(u32, [u8; 32], u8)>,
    /// Trials so far.
    pub(super) trials: u32,
}

impl Record {
    /// The newest one.
    pub(super) fn read(
        bytes: &[u8],
        readable: &dyn Fn(&Range<usize>) -> bool,
        places: &Places,
    ) -> Option<Record> {
        let frame = newest(bytes, readable, places, 1).filter(|frame| frame[3] == 2)?;
        let mut reader = Reader(&frame[16..]);
        let active = reader.image()?;
        let trial = match reader.u8()? {
            0 => None,
            _ => {
                let number = reader.u32()?;
                let image = reader.image()?;
                reader.u8()?;
                Some((number, image.digest))
            }
        };
        let ended = match reader.u8()? {
            0 => None,
            _ => {
                let number = reader.u32()?;
                let digest = reader.digest()?;
                reader.u32()?;
                Some((number, digest, reader.u8()?))
            }
        };
        let trials = reader.u32()?;
        Some(Record {
            slot: active.slot,
            active: active.digest,
            counter: active.counter,
            trial,
            ended,
            trials,
        })
    }
}
