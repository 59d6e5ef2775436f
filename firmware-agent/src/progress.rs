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
//! | spent | u32, bytes that came from the repository on that day |
//! | erased | u8, how often a slot was erased on that day |
//! | failed on | u32, the day on which the last trial failed; 0 if it was not noted yet |
//!
//! A record that is lost, or that this build cannot read, says nothing: a download begins anew.

use embedded_storage::nor_flash::NorFlash;

use tuffet_client::wire::{Reader, Stored, Writer};

use crate::error::{Error, Misuse};
use crate::flash::Flash;
use crate::flash_map::SlotId;
use crate::journal::{Journal, Kind};

const FORMAT: u8 = 1;

/// An option byte, a slot, a digest, and 1, 5, 5, 1 and 5 bytes: 51.
pub(crate) const ENCODED_MAX: usize = 52;

/// The record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// The image of which a slot holds the first bytes, as far as they came.
    pub download: Option<Download>,
    /// Turns that failed, one after the other.
    pub failures: u8,
    /// The day that the next two are of: since 1970, or since the device started where it does not know the time.
    pub day: u32,
    /// Bytes that came from the repository on that day.
    pub spent: u32,
    /// How often a slot was erased on that day, all of it or what was left of it.
    pub erased: u8,
    /// The day on which the last trial failed, from which the ledger's pauses count. 0 if it was not noted yet.
    pub failed_on: u32,
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
            from.is_good().then_some(progress)
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
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            download: Stored::read(from),
            failures: from.byte(),
            day: from.number(),
            spent: from.number(),
            erased: from.byte(),
            failed_on: from.number(),
        }
    }
}
