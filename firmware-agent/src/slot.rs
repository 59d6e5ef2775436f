//! Writing an image into the slot that is not active.

use embedded_storage::nor_flash::NorFlash;
use sha2::{Digest, Sha256};

use crate::boot::BootRecord;
use crate::error::{Environment, Error, Misuse, Rejected};
use crate::flash::{Flash, PAGE, PAGE_BYTES};
use crate::flash_map::{Region, SlotId};

/// Streams one image into the inactive slot.
///
/// It erases each unit just before the first byte goes there, hashes what it is given, and in
/// [`SlotWriter::finish`] reads everything back and hashes it again. After any error the slot is
/// unbootable: its first unit is erased.
///
/// A writer that is dropped half-way leaves the slot as it is: a part of an image, without its last page and named by
/// no boot record, so that [`decide_boot`](crate::boot::decide_boot) never starts it. Call [`SlotWriter::abandon`]
/// where another bootloader might.
///
/// The active slot cannot be reached: which one that is comes from the boot record on the flash,
/// not from the caller.
#[derive(Debug)]
pub struct SlotWriter<'f, F> {
    flash: &'f mut Flash<F>,
    slot: SlotId,
    length: u32,
    digest: [u8; 32],
    hash: Sha256,
    received: u32,
    /// One past the last byte erased.
    erased_to: u32,
    /// Where the page goes.
    page_offset: u32,
    page: [u8; PAGE],
    filled: usize,
    /// What ended the writing early; every further call repeats it.
    failed: Option<Error>,
}

impl<'f, F: NorFlash> SlotWriter<'f, F> {
    /// Opens the inactive slot for an image of `length` bytes with this SHA-256. It sees to it that both areas of the boot
    /// journal hold the boot record, then erases the slot's first unit, so that from here on nothing there can be started.
    ///
    /// # Errors
    ///
    /// [`Rejected::ImageLargerThanSlot`], [`Misuse::ImageEmpty`], [`Misuse::TrialUndecided`], those
    /// of [`BootRecord::load`]: nothing was erased. Those of [`BootRecord::store_apart`]: the slot is as it was.
    /// [`Environment::Flash`] when erasing failed.
    pub fn open(flash: &'f mut Flash<F>, length: u32, digest: [u8; 32]) -> Result<Self, Error> {
        let mut record = BootRecord::load(flash)?;
        if record.trial.is_some() {
            return Err(Misuse::TrialUndecided.into());
        }
        let slot = record.active.slot.other();
        fits(flash, slot, length)?;
        if record.staged.take_if(|staged| *staged == digest).is_some() {
            // It was whole once. From here on it is not, until it is again.
            record.store(flash)?;
        }
        // Should the newest frame decay, an older one would be the record; and it may name what is erased now.
        record.store_apart(flash)?;
        Self::begin(flash, slot, length, digest)
    }

    /// Opens a slot whether it is active or not: for [`provision`](crate::factory::provision), which has no
    /// boot record yet.
    pub(crate) fn begin(
        flash: &'f mut Flash<F>,
        slot: SlotId,
        length: u32,
        digest: [u8; 32],
    ) -> Result<Self, Error> {
        fits(flash, slot, length)?;
        let region = flash.map().slot(slot);
        flash.make_unbootable(slot)?;
        let erase_unit = flash.map().layout().erase_unit;
        let page = [flash.erased(); PAGE];
        Ok(Self {
            flash,
            slot,
            length,
            digest,
            hash: Sha256::new(),
            received: 0,
            erased_to: region.offset.saturating_add(erase_unit),
            page_offset: region.offset,
            page,
            filled: 0,
            failed: None,
        })
    }

    /// The slot that is being written.
    pub fn slot(&self) -> SlotId {
        self.slot
    }

    /// Bytes taken so far.
    pub fn received(&self) -> u32 {
        self.received
    }

    /// Takes the next bytes of the image, any number of them.
    ///
    /// # Errors
    ///
    /// [`Rejected::ImageTooLong`] before a byte too many is written, [`Environment::Flash`]. The
    /// slot is unbootable then.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.take(chunk);
        outcome.map_err(|error| self.fail(error))
    }

    /// Writes what is left, reads the whole image back and says that it is there.
    ///
    /// # Errors
    ///
    /// [`Rejected::ImageTooShort`], [`Rejected::ImageDigest`] when the server's bytes are not the
    /// signed ones, [`Environment::ImageNotWritten`] when the flash did not keep them,
    /// [`Environment::Flash`], or what ended the writing before. The slot is unbootable then.
    pub fn finish(mut self) -> Result<SlotId, Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.complete();
        outcome.map_err(|error| self.fail(error))
    }

    /// Gives up and makes the slot unbootable.
    ///
    /// # Errors
    ///
    /// [`Environment::Flash`].
    pub fn abandon(self) -> Result<(), Error> {
        self.flash.make_unbootable(self.slot)
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let more = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        self.received = self
            .received
            .checked_add(more)
            .filter(|received| *received <= self.length)
            .ok_or(Rejected::ImageTooLong { length: self.length })?;
        self.hash.update(chunk);
        let mut rest = chunk;
        while !rest.is_empty() {
            let space = self.page.get_mut(self.filled..).unwrap_or_default();
            let (now, later) = rest.split_at_checked(space.len()).unwrap_or((rest, &[]));
            for (place, byte) in space.iter_mut().zip(now) {
                *place = *byte;
            }
            self.filled = self.filled.saturating_add(now.len());
            rest = later;
            if self.filled == PAGE {
                self.flush()?;
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), Error> {
        // Write units divide the page.
        let rounded = self.filled.checked_next_multiple_of(self.flash.write_unit()).unwrap_or(PAGE);
        let bytes = self.page.get(..rounded).unwrap_or_default();
        let end = self.page_offset.saturating_add(u32::try_from(rounded).unwrap_or(u32::MAX));
        while self.erased_to < end {
            let unit = Region { offset: self.erased_to, length: self.flash.map().layout().erase_unit };
            self.flash.erase(unit)?;
            self.erased_to = unit.end();
        }
        self.flash.write(self.page_offset, bytes)?;
        self.page_offset = self.page_offset.saturating_add(PAGE_BYTES);
        self.page = [self.flash.erased(); PAGE];
        self.filled = 0;
        Ok(())
    }

    fn complete(&mut self) -> Result<SlotId, Error> {
        let Self { slot, length, received, .. } = *self;
        if received < length {
            return Err(Rejected::ImageTooShort { length, received }.into());
        }
        if <[u8; 32]>::from(self.hash.finalize_reset()) != self.digest {
            return Err(Rejected::ImageDigest.into());
        }
        if self.filled > 0 {
            self.flush()?;
        }
        if self.flash.slot_digest(slot, length)? != self.digest {
            return Err(Environment::ImageNotWritten { slot }.into());
        }
        Ok(slot)
    }

    /// Makes the slot unbootable and keeps the error; a slot that cannot be erased is the graver
    /// news.
    fn fail(&mut self, error: Error) -> Error {
        let error = self.flash.make_unbootable(self.slot).err().unwrap_or(error);
        self.failed = Some(error);
        error
    }
}

fn fits<F: NorFlash>(flash: &Flash<F>, slot: SlotId, length: u32) -> Result<(), Error> {
    let region = flash.map().slot(slot);
    if length == 0 {
        return Err(Misuse::ImageEmpty.into());
    }
    if length > region.length {
        return Err(Rejected::ImageLargerThanSlot { length, slot: region.length }.into());
    }
    Ok(())
}
