//! What bootloaders have in common that run images in slot A, and swap them with slot B.

use embedded_storage::nor_flash::NorFlash;

use super::Standing;
use crate::boot::{self, BootRecord, SlotImage, Trial, TrialEnd, Unfit};
use crate::error::{Environment, Error, Misuse};
use crate::flash::Flash;
use crate::flash_map::{Region, SlotId};

/// Tries of an image that the bootloader was not asked for yet. It has none once it was.
pub(super) const NOT_ASKED: u8 = 1;

/// A bootloader that swaps.
pub(super) trait Swaps<F: NorFlash> {
    /// Where it takes images from.
    fn source(&self, flash: &Flash<F>) -> Region;

    /// Where it keeps the active image while another one is on trial.
    fn refuge(&self, flash: &Flash<F>) -> Region;

    /// Whether it starts what is in slot A next time, and does nothing else.
    fn is_idle(&self, flash: &mut Flash<F>) -> Result<bool, Error>;

    /// Asks it to try the image of slot B at the next start.
    fn ask(&self, flash: &mut Flash<F>, image: &SlotImage) -> Result<(), Error>;

    /// Makes it idle for good with the image on trial, which runs. Reports success only if nobody can see it otherwise
    /// later: what a cut left half-way may.
    fn confirm(&self, flash: &mut Flash<F>, running: &SlotImage) -> Result<(), Error>;

    /// Makes it idle, whatever it was about to do, with the active image, which runs. Writes nothing if it is.
    fn calm(&self, flash: &mut Flash<F>, running: &SlotImage) -> Result<(), Error>;

    /// Sees to it that it is able to undo the trial that it has started.
    fn clear_the_way_back(&self, flash: &mut Flash<F>) -> Result<(), Error>;
}

pub(super) fn standing<F: NorFlash>(
    bootloader: &impl Swaps<F>,
    flash: &mut Flash<F>,
) -> Result<Standing, Error> {
    let mut record = BootRecord::load(flash)?;
    let Some(Trial { image, tries_left, .. }) = record.trial.clone() else {
        if !runs(flash, &record.active) {
            return Err(Environment::UnknownRuns.into());
        }
        // Whoever asked it: it would swap in what is being written to slot B by then.
        bootloader.calm(flash, &record.active)?;
        return Ok(Standing { record, on_trial: false });
    };
    let given_up = is_given_up(&record);
    let is_trial = runs(flash, &image);
    if is_trial && !given_up {
        if bootloader.is_idle(flash)? {
            // Whatever its health: nobody would undo it.
            complete(bootloader, flash, &mut record, &image)?;
            return Ok(Standing { record, on_trial: false });
        }
        bootloader.clear_the_way_back(flash)?;
        if tries_left > 0 {
            set_tries(flash, &mut record, 0)?;
        }
        return Ok(Standing { record, on_trial: true });
    }
    if !runs(flash, &record.active) {
        if is_trial {
            if bootloader.is_idle(flash)? {
                // Given up, and nobody will undo it: a restart would bring it back again and again.
                complete(bootloader, flash, &mut record, &image)?;
                return Ok(Standing { record, on_trial: false });
            }
            bootloader.clear_the_way_back(flash)?;
            return Err(Environment::GivenUpRuns.into());
        }
        return Err(Environment::UnknownRuns.into());
    }
    if given_up {
        // It had nothing to undo for an image that ran before already, and is still asked to try it.
        bootloader.calm(flash, &record.active)?;
        record.trial = None;
        record.store(flash)?;
    } else if tries_left == 0 && bootloader.is_idle(flash)? {
        // And stays so: a request that cannot be read today may be back tomorrow.
        bootloader.calm(flash, &record.active)?;
        record.end_trial(TrialEnd::TriesSpent);
        record.store(flash)?;
    }
    Ok(Standing { record, on_trial: false })
}

pub(super) fn request<F: NorFlash>(
    bootloader: &impl Swaps<F>,
    flash: &mut Flash<F>,
    image: &SlotImage,
) -> Result<(), Error> {
    if image.slot != SlotId::B {
        return Err(Misuse::SlotActive.into());
    }
    let source = bootloader.source(flash);
    let calm = |flash: &mut Flash<F>, active: &SlotImage| bootloader.calm(flash, active);
    let Some(mut record) = put_on_trial(flash, source, image, calm)? else { return Ok(()) };
    bootloader.ask(flash, image)?;
    set_tries(flash, &mut record, 0)
}

/// Has the boot record say that the image of this place is on trial, and that the bootloader is not asked yet; none if it was.
/// One that decayed meanwhile is given up, and before that the bootloader is made `calm` about it, beside the active image.
pub(super) fn put_on_trial<F: NorFlash>(
    flash: &mut Flash<F>,
    place: Region,
    image: &SlotImage,
    calm: impl FnOnce(&mut Flash<F>, &SlotImage) -> Result<(), Error>,
) -> Result<Option<BootRecord>, Error> {
    let mut record = BootRecord::load(flash)?;
    match &record.trial {
        None => {
            boot::mark_pending_at(flash, place, image, NOT_ASKED)?;
            BootRecord::load(flash).map(Some)
        }
        Some(trial) if trial.image != *image || is_given_up(&record) => Err(Misuse::TrialUndecided.into()),
        Some(Trial { tries_left: 0, .. }) => Ok(None),
        Some(_) if boot::holds_at(flash, place, image) => Ok(Some(record)),
        Some(_) => {
            calm(flash, &record.active)?;
            flash.make_unbootable_at(place)?;
            record.end_trial(TrialEnd::Damaged);
            record.store(flash)?;
            Err(Environment::ImageNotWritten { slot: image.slot }.into())
        }
    }
}

pub(super) fn confirm<F: NorFlash>(bootloader: &impl Swaps<F>, flash: &mut Flash<F>) -> Result<(), Error> {
    let mut record = BootRecord::load(flash)?;
    let image = on_trial(flash, &record)?;
    complete(bootloader, flash, &mut record, &image)
}

pub(super) fn revert<F: NorFlash>(
    bootloader: &impl Swaps<F>,
    flash: &mut Flash<F>,
    why: Unfit,
) -> Result<(), Error> {
    let mut record = BootRecord::load(flash)?;
    match why {
        Unfit::Health => {
            let image = on_trial(flash, &record)?;
            if bootloader.is_idle(flash)? {
                complete(bootloader, flash, &mut record, &image)?;
                return Err(Misuse::NoTrial.into());
            }
            let refuge = bootloader.refuge(flash);
            if !boot::holds_at(flash, refuge, &record.active) {
                return Err(Environment::ActiveDamaged.into());
            }
            // Still on trial, so that slot B, which is all that holds the active image, is not written to.
            record.give_up_trial(TrialEnd::Reverted);
        }
        Unfit::Withdrawn => {
            if record.trial.is_none() {
                return Err(Misuse::NoTrial.into());
            }
            if !runs(flash, &record.active) || is_given_up(&record) {
                return Err(Misuse::TrialUndecided.into());
            }
            // Without this a cut would look as if the bootloader had tried the image and undone it.
            set_tries(flash, &mut record, NOT_ASKED)?;
            bootloader.calm(flash, &record.active)?;
            record.end_trial(TrialEnd::Withdrawn);
        }
    }
    record.store(flash)
}

/// The bootloader first: a record that said so before could be undone behind its back.
fn complete<F: NorFlash>(
    bootloader: &impl Swaps<F>,
    flash: &mut Flash<F>,
    record: &mut BootRecord,
    image: &SlotImage,
) -> Result<(), Error> {
    bootloader.confirm(flash, image)?;
    record.accept(SlotId::A);
    record.store(flash)
}

pub(super) fn set_tries<F: NorFlash>(
    flash: &mut Flash<F>,
    record: &mut BootRecord,
    tries: u8,
) -> Result<(), Error> {
    match &mut record.trial {
        Some(trial) if trial.tries_left != tries => {
            trial.tries_left = tries;
            record.store(flash)
        }
        _ => Ok(()),
    }
}

/// The image on trial, if that is what runs.
fn on_trial<F: NorFlash>(flash: &mut Flash<F>, record: &BootRecord) -> Result<SlotImage, Error> {
    match &record.trial {
        None => Err(Misuse::NoTrial.into()),
        Some(_) if is_given_up(record) => Err(Misuse::NoTrial.into()),
        Some(trial) if !runs(flash, &trial.image) => Err(Misuse::NotOnTrial.into()),
        Some(trial) => Ok(trial.image.clone()),
    }
}

/// The trial is over, and was not undone yet when the record was written.
pub(super) fn is_given_up(BootRecord { trial, ended, .. }: &BootRecord) -> bool {
    trial.as_ref().zip(ended.as_ref()).is_some_and(|(trial, ended)| trial.number == ended.number)
}

/// Whether slot A, from which alone such bootloaders start, holds an image, whichever slot it is of.
fn runs<F: NorFlash>(flash: &mut Flash<F>, image: &SlotImage) -> bool {
    let slot_a = flash.map().slot(SlotId::A);
    boot::holds_at(flash, slot_a, image)
}

/// What implements [`Swaps`] is a [`Handover`](super::Handover).
macro_rules! handover {
    ($bootloader:ty, header last: $header_last:literal) => {
        impl<F: NorFlash> $crate::handover::Handover<F> for $bootloader {
            const HEADER_LAST: bool = $header_last;

            fn place(&self, flash: &Flash<F>, _: &$crate::boot::BootRecord) -> Region {
                self.source(flash)
            }

            fn standing(&mut self, flash: &mut Flash<F>) -> Result<$crate::handover::Standing, Error> {
                $crate::handover::swap::standing(self, flash)
            }

            fn request(&mut self, flash: &mut Flash<F>, image: &SlotImage) -> Result<(), Error> {
                $crate::handover::swap::request(self, flash, image)
            }

            fn confirm(&mut self, flash: &mut Flash<F>) -> Result<(), Error> {
                $crate::handover::swap::confirm(self, flash)
            }

            fn revert(&mut self, flash: &mut Flash<F>, why: $crate::boot::Unfit) -> Result<(), Error> {
                $crate::handover::swap::revert(self, flash, why)
            }
        }
    };
}
pub(super) use handover;
