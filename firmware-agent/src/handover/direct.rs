//! Hand-over to a bootloader that calls `decide_boot`.

use embedded_storage::nor_flash::NorFlash;

use super::{Handover, Standing};
use crate::boot::{self, BootRecord, SlotImage, TRIES, Unfit};
use crate::error::{Error, Misuse};
use crate::flash::Flash;
use crate::flash_map::Region;

/// Two slots, each of which can start: the bootloader calls [`decide_boot`](boot::decide_boot), and the boot record is all
/// that is between the two.
#[derive(Clone, Copy, Debug)]
pub struct Direct {
    /// SHA-256 of the image that calls, as its bootloader named it. Without one an image that was started for a trial is
    /// taken for the one that runs.
    pub running: Option<[u8; 32]>,
}

impl<F: NorFlash> Handover<F> for Direct {
    // The bootloader goes by the digest of the whole.
    const HEADER_LAST: bool = false;

    fn place(&self, flash: &Flash<F>, record: &BootRecord) -> Region {
        flash.map().slot(record.active.slot.other())
    }

    fn standing(&mut self, flash: &mut Flash<F>) -> Result<Standing, Error> {
        let record = BootRecord::load(flash)?;
        // Whoever started it took a try away first.
        let on_trial = record
            .trial
            .as_ref()
            .filter(|trial| trial.tries_left < TRIES)
            .is_some_and(|trial| self.running.is_none_or(|running| running == trial.image.digest));
        Ok(Standing { record, on_trial })
    }

    fn request(&mut self, flash: &mut Flash<F>, image: &SlotImage) -> Result<(), Error> {
        let pending = BootRecord::load(flash)?.trial;
        if pending.is_some_and(|trial| trial.image == *image && boot::holds(flash, image)) {
            return Ok(());
        }
        boot::mark_pending(flash, image, TRIES)
    }

    fn confirm(&mut self, flash: &mut Flash<F>) -> Result<(), Error> {
        boot::confirm(flash, &self.running.ok_or(Misuse::NotOnTrial)?)
    }

    fn revert(&mut self, flash: &mut Flash<F>, why: Unfit) -> Result<(), Error> {
        boot::revert(flash, why)
    }
}
