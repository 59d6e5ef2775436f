//! Hand-over to a bootloader that calls `decide_boot`.

use embedded_storage::nor_flash::NorFlash;

use super::{Handover, Standing};
use crate::boot::{self, BootRecord, SlotImage, TRIES, TrialEnd, Unfit};
use crate::error::{Environment, Error, Misuse};
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
        // It was given up, or never the agent's: the slot that it runs from is not to be written to.
        if !on_trial && self.running.is_some_and(|running| running != record.active.digest) {
            return Err(Environment::GivenUpRuns.into());
        }
        Ok(Standing { record, on_trial })
    }

    fn request(&mut self, flash: &mut Flash<F>, image: &SlotImage) -> Result<(), Error> {
        let mut record = BootRecord::load(flash)?;
        if record.trial.as_ref().is_none_or(|trial| trial.image != *image) {
            return boot::mark_pending(flash, image, TRIES);
        }
        if boot::holds(flash, image) {
            return Ok(());
        }
        // It decayed since, and a trial of it would be over before its start.
        record.end_trial(TrialEnd::Damaged);
        record.store(flash)?;
        flash.make_unbootable(image.slot)?;
        Err(Environment::ImageNotWritten { slot: image.slot }.into())
    }

    fn confirm(&mut self, flash: &mut Flash<F>) -> Result<(), Error> {
        boot::confirm(flash, &self.running.ok_or(Misuse::NotOnTrial)?)
    }

    fn revert(&mut self, flash: &mut Flash<F>, why: Unfit) -> Result<(), Error> {
        boot::revert(flash, why)
    }
}
