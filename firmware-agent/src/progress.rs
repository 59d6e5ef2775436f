//! What a device is in the middle of, and how much it did today: a record that changes where neither the boot record nor
//! the floors do, for what is refused leaves those as they were.
//!
//! Kind 4, format 1, in the trust [journal](crate::journal). The payload is `postcard`:
//!
//! | field | type |
//! |---|---|
//! | download | an option of: slot (0 A, 1 B), digest 32 bytes (SHA-256) |
//! | failures | u8, turns that failed, one after the other |
//! | day | u32, the day that the two below are of |
//! | spent | u32, bytes that came from the repository on that day, or may come before the next record |
//! | erased | u8, how often a slot was erased on that day |
//! | failed on | u32, the day on which the last trial failed; 0 if it was not noted yet |
//! | last | how a turn ended at last: u8, [`Outcome::code`](crate::engine::Outcome::code) less 700; u16, the code of the error, or 0 |
//! | busy | u16, how long a server asked to be left alone at last, in units of 64 seconds |
//!
//! A record that is lost, or that this build cannot read, says nothing: a download begins anew. Builds that know no `last` and
//! `busy` write none, and pass by those of others; they read records of 52 bytes, and none is longer.

use embedded_storage::nor_flash::NorFlash;

use tuffet_client::wire::{Reader, Stored, Writer};

use crate::error::{Error, Misuse};
use crate::flash::Flash;
use crate::flash_map::SlotId;
use crate::journal::{Journal, Kind};
use crate::report::FAILED;

const FORMAT: u8 = 1;

/// An option byte, a slot, a digest, and 1, 3, 5, 1, 3, 1, 2 and 2 bytes: 52.
pub(crate) const ENCODED_MAX: usize = 52;

/// The last day there is: it takes three bytes, and more than any clock needs that is right.
pub(crate) const LAST_DAY: u32 = (1 << 21) - 1;

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The image of which a slot holds the first bytes, as far as they came.
    pub download: Option<Download>,
    /// Turns that failed, one after the other.
    pub failures: u8,
    /// The day that the next two are of: since 1970, or since the device started where it does not know the time.
    pub day: u32,
    /// Bytes that came from the repository on that day, or may come before the record is written again. None where no
    /// bound is set.
    pub spent: u32,
    /// How often a slot was erased on that day, all of it or what was left of it.
    pub erased: u8,
    /// The day on which the last trial failed, from which the ledger's pauses count. 0 if it was not noted yet.
    pub failed_on: u32,
    /// How the last turn ended that did more than find nothing new, or wait: codes of its outcome and of its error. 0 for none.
    pub last: (u16, u16),
    /// How long a server asked to be left alone, and was not yet when the device started the last time, in units of 64 seconds:
    /// a day at the most.
    pub busy: u32,
}

/// A download that is under way. Before this was written, all of the slot that the image needs was erased; since then
/// nothing but bytes of the image was written there, one page after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Download {
    /// Where to.
    pub slot: SlotId,
    /// SHA-256 of the image.
    pub digest: [u8; 32],
}

impl Progress {
    /// The newest record on the flash.
    pub fn load<F: NorFlash>(flash: &mut Flash<F>) -> Self {
        let mut buffer = [0; ENCODED_MAX];
        let record = Journal::new(flash.map(), Kind::Progress).newest(flash, &mut buffer);
        let known = record.ok().filter(|record| record.format == FORMAT);
        let read = known.and_then(|record| {
            let mut from = Reader::new(record.payload);
            let progress = Self::read(&mut from);
            // An earlier build's record ends here, and what is read behind that is 0.
            from.is_good().then(|| Self { last: read_last(&mut from), busy: from.number(), ..progress })
        });
        read.unwrap_or_default()
    }

    /// Writes the record.
    ///
    /// # Errors
    ///
    /// Those of [`Journal::append`].
    pub fn store<F: NorFlash>(&self, flash: &mut Flash<F>) -> Result<(), Error> {
        let kind = Kind::Progress;
        let mut buffer = [0; ENCODED_MAX];
        let mut to = Writer::new(&mut buffer);
        self.write(&mut to);
        let payload = to.done().ok_or(Misuse::RecordTooLong { kind })?;
        Journal::new(flash.map(), kind).append(flash, FORMAT, payload)?;
        Ok(())
    }
}

fn read_last(from: &mut Reader<'_>) -> (u16, u16) {
    match (from.byte(), u16::try_from(from.number()).unwrap_or_default()) {
        (0, 0) => (0, 0),
        (outcome, error) => (FAILED.saturating_add(outcome.into()), error),
    }
}

impl Stored for Download {
    fn write(&self, to: &mut Writer<'_>) {
        self.slot.write(to);
        to.bytes(&self.digest);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Self { slot: SlotId::read(from), digest: from.array() }
    }
}

impl Stored for Progress {
    fn write(&self, to: &mut Writer<'_>) {
        self.download.write(to);
        to.byte(self.failures);
        to.number(self.day);
        to.number(self.spent);
        to.byte(self.erased);
        to.number(self.failed_on);
        let (outcome, error) = self.last;
        to.byte(outcome.saturating_sub(FAILED).to_le_bytes()[0]);
        to.number(error.into());
        to.number(self.busy);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            download: Stored::read(from),
            failures: from.byte(),
            day: from.number(),
            spent: from.number(),
            erased: from.byte(),
            failed_on: from.number(),
            last: (0, 0),
            busy: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longest_record_is_one_that_earlier_builds_read() {
        let progress = Progress {
            download: Some(Download { slot: SlotId::B, digest: [7; 32] }),
            failures: u8::MAX,
            day: LAST_DAY,
            spent: u32::MAX,
            erased: u8::MAX,
            failed_on: LAST_DAY,
            // The largest error code there may be, see the crate's golden list.
            last: (FAILED + 99, 999),
            busy: crate::schedule::DAY.div_ceil(64),
        };
        let mut buffer = [0; 100];
        let mut to = Writer::new(&mut buffer);
        progress.write(&mut to);
        let payload = to.done().expect("room");
        assert!(payload.len() <= ENCODED_MAX && ENCODED_MAX == 52, "{}", payload.len());
        let mut from = Reader::new(payload);
        let (read, last, busy) = (Progress::read(&mut from), read_last(&mut from), from.number());
        assert!(from.is_good());
        assert_eq!(Progress { last, busy, ..read }, progress);
    }
}
