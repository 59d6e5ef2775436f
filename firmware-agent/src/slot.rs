//! Writing an image into the slot that is not active.

use embedded_storage::nor_flash::NorFlash;
use sha2::{Digest, Sha256};

use crate::boot::{BootRecord, mark_staged};
use crate::error::{Environment, Error, Misuse, Rejected};
use crate::flash::{Flash, PAGE, PAGE_BYTES, fill};
use crate::flash_map::{Region, SlotId};
use crate::handover::Handover;
use crate::progress::{Download, Progress};

/// Streams one image into the slot that is not active, and goes on where it was when the power failed.
///
/// All that the image needs is erased before its first byte is written, and that is noted in the
/// [progress record](crate::progress). What is given is hashed, and in [`SlotWriter::finish`] everything is read back and
/// hashed again. A writer that is opened for the same image after a cut finds how far the other one came, erases from the
/// beginning of the unit in which that ends, hashes what lies before, and wants the rest.
///
/// After any error the slot is unbootable, its first unit is erased, and what came is not gone on with. A writer that is
/// dropped half-way leaves the slot as it is: a part of an image that no boot record names, and without its first page where
/// the bootloader goes by that.
///
/// The active slot cannot be reached: which one that is comes from the boot record on the flash,
/// not from the caller.
#[derive(Clone, Debug)]
pub struct SlotWriter {
    slot: SlotId,
    place: Region,
    length: u32,
    digest: [u8; 32],
    hash: Sha256,
    /// The next byte that is wanted.
    next: u32,
    /// Where what came before a cut begins again and where it ends, while what is before that is fetched once more: the
    /// first page, which was not written, or all of the first unit, for that page was cut.
    resumed: Option<(u32, u32)>,
    /// The first page, if it is written last.
    first: Option<[u8; PAGE]>,
    page: [u8; PAGE],
    filled: usize,
    /// What ended the writing early; every further call repeats it.
    failed: Option<Error>,
}

impl SlotWriter {
    /// Opens the inactive slot for an image of `length` bytes with this SHA-256. It sees to it that both areas of the boot
    /// journal hold the boot record, then erases the slot, or what is left of it: from here on nothing there can be started.
    ///
    /// `intact` is what [`SlotWriter::written`] said of a writer of the same image before this one, if the power did not fail
    /// since: then nothing is erased. 0 if it did, or if there was none.
    ///
    /// # Errors
    ///
    /// [`Rejected::ImageLargerThanSlot`], [`Misuse::ImageEmpty`], [`Misuse::TrialUndecided`], those
    /// of [`BootRecord::load`]: nothing was erased. Those of [`BootRecord::store_apart`] and [`Progress::store`]: the slot is
    /// as it was. [`Environment::Flash`] when erasing failed.
    pub fn open<F: NorFlash, H: Handover<F>>(
        flash: &mut Flash<F>,
        handover: &H,
        progress: &mut Progress,
        length: u32,
        digest: [u8; 32],
        intact: u32,
    ) -> Result<Self, Error> {
        let (slot, place) = Self::inactive(flash, handover, length, digest)?;
        let mut writer = Self::new(flash, slot, place, length, digest, H::HEADER_LAST);
        writer.make_room(flash, progress, intact)?;
        Ok(writer)
    }

    /// The slot that may be written to, and where the image goes. With [`SlotWriter::new`] and [`SlotWriter::make_room`] it is
    /// what opening does, for callers with a place for the writer.
    #[inline(never)]
    pub(crate) fn inactive<F: NorFlash, H: Handover<F>>(
        flash: &mut Flash<F>,
        handover: &H,
        length: u32,
        digest: [u8; 32],
    ) -> Result<(SlotId, Region), Error> {
        let mut record = BootRecord::load(flash)?;
        if record.trial.is_some() {
            return Err(Misuse::TrialUndecided.into());
        }
        let place = handover.place(flash, &record);
        fits(place, length)?;
        if record.staged.take_if(|staged| *staged == digest).is_some() {
            // It was whole once. From here on it is not, until it is again.
            record.store(flash)?;
        }
        // Should the newest frame decay, an older one would be the record; and it may name what is erased now.
        record.store_apart(flash)?;
        Ok((record.active.slot.other(), place))
    }

    /// Opens a slot whether it is active or not: for [`provision`](crate::factory::provision), which has no
    /// boot record yet.
    pub(crate) fn begin<F: NorFlash>(
        flash: &mut Flash<F>,
        slot: SlotId,
        length: u32,
        digest: [u8; 32],
    ) -> Result<Self, Error> {
        let place = flash.map().slot(slot);
        fits(place, length)?;
        let writer = Self::new(flash, slot, place, length, digest, false);
        flash.erase(writer.needed(flash))?;
        Ok(writer)
    }

    pub(crate) fn new<F: NorFlash>(
        flash: &Flash<F>,
        slot: SlotId,
        place: Region,
        length: u32,
        digest: [u8; 32],
        first_last: bool,
    ) -> Self {
        let mut blank = [0; PAGE];
        fill(&mut blank, flash.erased());
        Self {
            slot,
            place,
            length,
            digest,
            hash: Sha256::new(),
            next: 0,
            resumed: None,
            first: first_last.then_some(blank),
            page: blank,
            filled: 0,
            failed: None,
        }
    }

    /// The next byte that is wanted, counted from the image's first one.
    pub fn next(&self) -> u32 {
        self.next
    }

    /// One past the last byte that is wanted now. When the image is longer, [`SlotWriter::next`] goes on somewhere else.
    pub fn end(&self) -> u32 {
        self.resumed.map_or(self.length, |(begin, _)| begin.min(self.length))
    }

    /// Up to where the image is in the slot, but for what is fetched once more; 0 if that is all of it, and was not read back.
    pub fn written(&self) -> u32 {
        let filled = u32::try_from(self.filled).unwrap_or(u32::MAX);
        let written = self.resumed.map_or(self.next.saturating_sub(filled), |(_, end)| end);
        if written < self.length { written } else { 0 }
    }

    /// Takes the next bytes of the image, any number of them.
    ///
    /// # Errors
    ///
    /// [`Rejected::ImageTooLong`] before a byte too many is written, [`Environment::Flash`]. The
    /// slot is unbootable then.
    pub fn write<F: NorFlash>(
        &mut self,
        flash: &mut Flash<F>,
        progress: &mut Progress,
        chunk: &[u8],
    ) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.take(flash, chunk);
        outcome.map_err(|error| self.fail(flash, progress, error))
    }

    /// Writes what is left, reads the whole image back, and remembers that it is there.
    ///
    /// # Errors
    ///
    /// [`Rejected::ImageTooShort`], [`Rejected::ImageDigest`] when the server's bytes are not the
    /// signed ones, [`Environment::ImageNotWritten`] when the flash did not keep them,
    /// [`Environment::Flash`], or what ended the writing before. The slot is unbootable then.
    pub fn finish<F: NorFlash>(
        &mut self,
        flash: &mut Flash<F>,
        progress: &mut Progress,
    ) -> Result<(), Error> {
        if let Some(error) = self.failed {
            return Err(error);
        }
        let outcome = self.complete(flash);
        outcome.map_err(|error| self.fail(flash, progress, error))?;
        mark_staged(flash, self.digest)
    }

    /// Makes the slot unbootable, and does not go on with what came: other bytes are wanted, or bytes from elsewhere.
    ///
    /// # Errors
    ///
    /// [`Environment::Flash`], and those of [`Progress::store`].
    pub fn abandon<F: NorFlash>(&self, flash: &mut Flash<F>, progress: &mut Progress) -> Result<(), Error> {
        abandon(flash, progress, self.slot, self.place)
    }

    /// Erases what must be, and hashes what need not come once more.
    pub(crate) fn make_room<F: NorFlash>(
        &mut self,
        flash: &mut Flash<F>,
        progress: &mut Progress,
        intact: u32,
    ) -> Result<(), Error> {
        let Self { slot, digest, .. } = *self;
        let needed = self.needed(flash);
        let download = Download { slot, digest };
        if progress.download == Some(download) {
            let kept = if intact > 0 { intact } else { self.kept(flash) };
            if kept > 0 {
                let unit = flash.map().layout().erase_unit;
                let from = needed.offset.saturating_add(kept);
                // What lies behind bytes that no cut ended is blank.
                let mut end = if intact > 0 { from } else { needed.end() };
                if end > from {
                    progress.erased = progress.erased.saturating_add(1);
                    progress.store(flash)?;
                }
                // Backwards, so that after a cut what is left still begins at the front.
                while end > from {
                    let offset = end.saturating_sub(unit);
                    flash.erase(Region { offset, length: unit })?;
                    end = offset;
                }
                if self.first.is_some() {
                    let first = self.first_blank(flash)?;
                    self.resumed = (kept > first).then_some((first, kept));
                    return Ok(());
                }
                if self.go_on_from(flash, 0, kept).is_ok() {
                    return Ok(());
                }
                // It can no longer be read.
                self.hash = Sha256::new();
            }
        }
        // Before the erase, so that a cut within it counts as one; and so that nothing there is taken for a download.
        progress.erased = progress.erased.saturating_add(1);
        progress.download = progress.download.filter(|download| download.slot != slot);
        progress.store(flash)?;
        flash.erase(needed)?;
        progress.download = Some(download);
        progress.store(flash)
    }

    /// How many bytes of a download that was cut are to be kept: the units before the one in which it ends. Words of that
    /// one may have been left half-way, and so may blank ones behind it. What cannot be read says nothing about where it
    /// ends, for an erase may have left that, too.
    fn kept<F: NorFlash>(&self, flash: &mut Flash<F>) -> u32 {
        let Region { offset: start, length } = self.needed(flash);
        let mut page = [0; PAGE];
        let mut end = length;
        while let Some(at) = end.checked_sub(PAGE_BYTES) {
            let read = flash.read(start.saturating_add(at), &mut page);
            let erased = flash.erased();
            if read.is_ok() && page.iter().any(|byte| *byte != erased) {
                let unit = flash.map().layout().erase_unit;
                return at.checked_div(unit).unwrap_or(0).saturating_mul(unit);
            }
            end = at;
        }
        0
    }

    /// Sees to it that the first page is blank, as it is until it is written at last: where that was cut, its unit is erased.
    /// How many bytes are missing then.
    fn first_blank<F: NorFlash>(&self, flash: &mut Flash<F>) -> Result<u32, Error> {
        let unit = flash.map().layout().erase_unit;
        let mut page = [0; PAGE];
        let read = flash.read(self.place.offset, &mut page);
        let erased = flash.erased();
        if read.is_ok() && page.iter().all(|byte| *byte == erased) {
            return Ok(PAGE_BYTES);
        }
        flash.erase(Region { length: unit, ..self.place })?;
        Ok(unit)
    }

    /// Hashes what the slot holds, and wants what comes behind it.
    fn go_on_from<F: NorFlash>(&mut self, flash: &mut Flash<F>, from: u32, to: u32) -> Result<(), Error> {
        let mut at = from;
        while at < to {
            let mut page = [0; PAGE];
            let left = usize::try_from(to.saturating_sub(at)).unwrap_or(PAGE).min(PAGE);
            let page = page.get_mut(..left).unwrap_or_default();
            flash.read(self.place.offset.saturating_add(at), page)?;
            self.hash.update(page);
            at = at.saturating_add(PAGE_BYTES);
        }
        self.next = to;
        Ok(())
    }

    /// The erase units that the image needs.
    fn needed<F: NorFlash>(&self, flash: &Flash<F>) -> Region {
        let unit = flash.map().layout().erase_unit;
        // Places are whole erase units, so rounding up stays within.
        let length = self.length.checked_next_multiple_of(unit).unwrap_or(self.place.length);
        Region { length, ..self.place }
    }

    fn take<F: NorFlash>(&mut self, flash: &mut Flash<F>, chunk: &[u8]) -> Result<(), Error> {
        let more = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
        if more > self.end().saturating_sub(self.next) {
            return Err(Rejected::ImageTooLong { length: self.length }.into());
        }
        self.hash.update(chunk);
        let mut rest = chunk;
        while !rest.is_empty() {
            let space = self.page.get_mut(self.filled..).unwrap_or_default();
            let (now, later) = rest.split_at_checked(space.len()).unwrap_or((rest, &[]));
            for (place, byte) in space.iter_mut().zip(now) {
                *place = *byte;
            }
            self.filled = self.filled.saturating_add(now.len());
            self.next = self.next.saturating_add(u32::try_from(now.len()).unwrap_or(u32::MAX));
            rest = later;
            if self.filled == PAGE {
                self.flush(flash)?;
            }
        }
        Ok(())
    }

    fn flush<F: NorFlash>(&mut self, flash: &mut Flash<F>) -> Result<(), Error> {
        let at = self.next.saturating_sub(u32::try_from(self.filled).unwrap_or(u32::MAX));
        match &mut self.first {
            Some(first) if at == 0 => *first = self.page,
            _ => put(flash, self.place.offset.saturating_add(at), &self.page, self.filled)?,
        }
        fill(&mut self.page, flash.erased());
        self.filled = 0;
        let next = self.next;
        if let Some((begin, end)) = self.resumed.take_if(|(begin, _)| *begin == next) {
            self.go_on_from(flash, begin, end)?;
        }
        Ok(())
    }

    /// Checks, writes what is left, reads back.
    pub(crate) fn complete<F: NorFlash>(&mut self, flash: &mut Flash<F>) -> Result<(), Error> {
        let Self { slot, length, next, .. } = *self;
        if next < length {
            return Err(Rejected::ImageTooShort { length, received: next }.into());
        }
        if <[u8; 32]>::from(self.hash.finalize_reset()) != self.digest {
            return Err(Rejected::ImageDigest.into());
        }
        if self.filled > 0 {
            self.flush(flash)?;
        }
        if let Some(first) = &self.first {
            let filled = usize::try_from(length).unwrap_or(PAGE).min(PAGE);
            put(flash, self.place.offset, first, filled)?;
        }
        if flash.digest(self.place, length)? != self.digest {
            return Err(Environment::ImageNotWritten { slot }.into());
        }
        Ok(())
    }

    /// Makes the slot unbootable and keeps the error; a slot that cannot be erased is the graver
    /// news.
    fn fail<F: NorFlash>(&mut self, flash: &mut Flash<F>, progress: &mut Progress, error: Error) -> Error {
        let error = self.abandon(flash, progress).err().unwrap_or(error);
        self.failed = Some(error);
        error
    }
}

/// Makes a slot unbootable, and forgets what came of a download there.
pub(crate) fn abandon<F: NorFlash>(
    flash: &mut Flash<F>,
    progress: &mut Progress,
    slot: SlotId,
    place: Region,
) -> Result<(), Error> {
    let mut stored = Ok(());
    // First, for a download is not to be gone on with that lacks its first unit.
    if progress.download.is_some_and(|download| download.slot == slot) {
        progress.download = None;
        stored = progress.store(flash);
    }
    flash.make_unbootable_at(place).and(stored)
}

/// Writes a page. One that is blank is written already.
fn put<F: NorFlash>(
    flash: &mut Flash<F>,
    offset: u32,
    page: &[u8; PAGE],
    filled: usize,
) -> Result<(), Error> {
    let erased = flash.erased();
    if page.iter().all(|byte| *byte == erased) {
        return Ok(());
    }
    // Write units divide the page.
    let rounded = filled.checked_next_multiple_of(flash.write_unit()).unwrap_or(PAGE);
    flash.write(offset, page.get(..rounded).unwrap_or_default())
}

fn fits(place: Region, length: u32) -> Result<(), Error> {
    if length == 0 {
        return Err(Misuse::ImageEmpty.into());
    }
    if length > place.length {
        return Err(Rejected::ImageLargerThanSlot { length, slot: place.length }.into());
    }
    Ok(())
}
