//! Hand-over to embassy-boot 0.7, by its own crate.

use embassy_boot::{AlignedBuffer, BlockingFirmwareState, FirmwareUpdaterError, State};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashError, NorFlashErrorKind, ReadNorFlash};

use super::swap::{Swaps, handover};
use crate::boot::SlotImage;
use crate::error::{Environment, Error, FlashOperation};
use crate::flash::Flash;
use crate::flash_map::{MapFault, Part, Region, SlotId, WRITE_UNIT_MAX};

/// embassy-boot 0.7. Slot A is its ACTIVE partition, slot B its DFU partition, and both lie on one flash with its STATE.
///
/// It swaps all of ACTIVE with DFU page by page, and verifies nothing. Images are written past it, by
/// [`SlotWriter`](crate::SlotWriter); its crate reads and writes the state alone, which is its own format.
///
/// Its report is not enough to go by: a cut in `mark_booted` leaves the new image running and a revert reported, and a cut
/// at the end of a revert leaves `Boot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbassyBoot {
    state: Region,
}

impl EmbassyBoot {
    /// With its STATE partition there. The map's erase unit is taken for the bootloader's page, and the flash's write size
    /// for that of its state.
    ///
    /// # Errors
    ///
    /// [`Misuse::Map`](crate::Misuse::Map): the state is misaligned, too small for what embassy-boot notes of a swap,
    /// beyond the flash, or overlaps a part of the map; slot B does not have one page more than slot A; the flash is
    /// erased to zeros.
    pub fn new<F: NorFlash>(flash: &Flash<F>, state: Region) -> Result<Self, Error> {
        let layout = *flash.map().layout();
        if layout.erased != 0xFF {
            return Err(MapFault::ErasedToZeros.into());
        }
        if let Some(fault) = state.fault(Part::State, layout.erase_unit) {
            return Err(fault.into());
        }
        for (part, region) in layout.parts() {
            if region.overlaps(state) {
                return Err(MapFault::Overlap(part, Part::State).into());
            }
        }
        if u32::try_from(flash.nor().capacity()).is_ok_and(|capacity| capacity < state.end()) {
            return Err(MapFault::FlashTooSmall.into());
        }
        let spare = layout.slot_b.length.checked_sub(layout.slot_a.length);
        if spare.is_none_or(|spare| spare < layout.erase_unit) {
            return Err(MapFault::NoPageToSwap.into());
        }
        // Magic, validity, and for each page two steps of the swap and two of the revert.
        let pages = layout.slot_a.length.checked_div(layout.erase_unit).unwrap_or(u32::MAX);
        let words = u32::try_from(F::WRITE_SIZE).ok().and_then(|word| state.length.checked_div(word));
        if words.is_none_or(|words| words < pages.saturating_mul(4).saturating_add(2)) {
            return Err(MapFault::TooSmall(Part::State).into());
        }
        Ok(Self { state })
    }

    fn reported<F: NorFlash>(self, flash: &mut Flash<F>) -> Result<State, Error> {
        self.tell(flash, FlashOperation::Read, |state| state.get_state())
    }

    /// Has the crate do something with the state.
    fn tell<F: NorFlash, O>(
        self,
        flash: &mut Flash<F>,
        operation: FlashOperation,
        what: impl FnOnce(&mut BlockingFirmwareState<'_, Partition<'_, F>>) -> Result<O, FirmwareUpdaterError>,
    ) -> Result<O, Error> {
        let Region { offset, .. } = self.state;
        let failed = |kind| Environment::Flash { operation, offset, kind };
        let mut word = AlignedBuffer([0; WRITE_UNIT_MAX as usize]);
        let word = word.0.get_mut(..F::WRITE_SIZE).ok_or(failed(NorFlashErrorKind::NotAligned))?;
        let mut state =
            BlockingFirmwareState::new(Partition { nor: flash.nor_mut(), region: self.state }, word);
        what(&mut state).map_err(|error| match error {
            FirmwareUpdaterError::Flash(kind) => failed(kind).into(),
            // Neither is asked of it here.
            FirmwareUpdaterError::Signature(_) | FirmwareUpdaterError::BadState => {
                failed(NorFlashErrorKind::Other).into()
            }
        })
    }
}

handover!(EmbassyBoot, header last: false);

impl<F: NorFlash> Swaps<F> for EmbassyBoot {
    fn source(&self, flash: &Flash<F>) -> Region {
        let length = flash.map().slot(SlotId::A).length;
        Region { length, ..flash.map().slot(SlotId::B) }
    }

    fn refuge(&self, flash: &Flash<F>) -> Region {
        let Region { offset, length } = self.source(flash);
        Region { offset: offset.saturating_add(flash.map().layout().erase_unit), length }
    }

    fn is_idle(&self, flash: &mut Flash<F>) -> Result<bool, Error> {
        // Before a trial and during it.
        Ok(self.reported(flash)? != State::Swap)
    }

    fn ask(&self, flash: &mut Flash<F>, image: &SlotImage) -> Result<(), Error> {
        make_readable_behind(flash, self.source(flash), image.length)?;
        if self.reported(flash)? == State::Swap {
            // A request that was being taken back, of which it would make a revert.
            self.tell(flash, FlashOperation::Write, |state| state.mark_booted())?;
        }
        self.tell(flash, FlashOperation::Write, |state| state.mark_updated())?;
        match self.reported(flash)? {
            State::Swap => Ok(()),
            _ => Err(Environment::NotWritten { offset: self.state.offset }.into()),
        }
    }

    fn confirm(&self, flash: &mut Flash<F>, _: &SlotImage) -> Result<(), Error> {
        // Of a magic that is whole already it writes nothing, and a torn one, which looks the same to it, anew.
        self.tell(flash, FlashOperation::Write, |state| state.mark_booted())?;
        match self.reported(flash)? {
            State::Boot => Ok(()),
            _ => Err(Environment::NotWritten { offset: self.state.offset }.into()),
        }
    }

    fn calm(&self, flash: &mut Flash<F>, running: &SlotImage) -> Result<(), Error> {
        match self.is_idle(flash)? {
            true => Ok(()),
            false => self.confirm(flash, running),
        }
    }

    fn clear_the_way_back(&self, _: &mut Flash<F>) -> Result<(), Error> {
        Ok(())
    }
}

/// Erases what cannot be read in the pages behind an image. embassy-boot copies them all, and one that a cut left
/// unreadable would end every start from then on.
fn make_readable_behind<F: NorFlash>(flash: &mut Flash<F>, source: Region, length: u32) -> Result<(), Error> {
    let unit = flash.map().layout().erase_unit;
    let behind = source.offset.saturating_add(length.checked_next_multiple_of(unit).unwrap_or(source.length));
    let mut from = behind;
    while from < source.end() {
        let page = Region { offset: from, length: unit };
        if !is_readable(flash, page) {
            flash.erase(page)?;
        }
        from = page.end();
    }
    Ok(())
}

fn is_readable<F: NorFlash>(flash: &mut Flash<F>, page: Region) -> bool {
    // Erase units are multiples of 32 bytes.
    let mut bytes = [0; 32];
    (page.offset..page.end()).step_by(bytes.len()).all(|offset| flash.read(offset, &mut bytes).is_ok())
}

/// A part of a flash, as a flash of its own.
struct Partition<'f, F> {
    nor: &'f mut F,
    region: Region,
}

impl<F: NorFlash> Partition<'_, F> {
    /// Where something of so many bytes is on the whole flash.
    fn place(&self, offset: u32, length: usize) -> Result<u32, NorFlashErrorKind> {
        let length = u32::try_from(length).ok();
        let end = length.and_then(|length| offset.checked_add(length));
        match end {
            Some(end) if end <= self.region.length => Ok(self.region.offset.saturating_add(offset)),
            _ => Err(NorFlashErrorKind::OutOfBounds),
        }
    }
}

impl<F> ErrorType for Partition<'_, F> {
    type Error = NorFlashErrorKind;
}

impl<F: NorFlash> ReadNorFlash for Partition<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let offset = self.place(offset, bytes.len())?;
        self.nor.read(offset, bytes).map_err(|error| error.kind())
    }

    fn capacity(&self) -> usize {
        usize::try_from(self.region.length).unwrap_or(usize::MAX)
    }
}

impl<F: NorFlash> NorFlash for Partition<'_, F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let offset = self.place(offset, bytes.len())?;
        self.nor.write(offset, bytes).map_err(|error| error.kind())
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let length = usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX);
        let from = self.place(from, length)?;
        let to = from.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        self.nor.erase(from, to).map_err(|error| error.kind())
    }
}
