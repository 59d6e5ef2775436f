//! Hand-over to whatever installs images on its own: a program, another update system.
//!
//! The image is written to slot B, and installed from there to a place that this crate does not see. Slot A is never read:
//! what runs is what the device itself says.
//!
//! `tries_left` of the record's [`Trial`] is 1 until the installer has taken the image, and 0 from then on. The writes of each
//! step, in order; one that a cut ended is begun again:
//!
//! | step | writes |
//! |---|---|
//! | request | record: on trial, 1 try; the installer's; record: 0 tries |
//! | confirm | the installer's; record: active, ended: confirmed |
//! | revert of the image that runs | record: ended: reverted, and on trial until it runs no more; the installer's |
//! | revert of one that is pending | record: 1 try; the installer's; record: ended: withdrawn |
//!
//! What [`Handover::standing`] makes of record and device:
//!
//! | record | runs | restarted since | so |
//! |---|---|---|---|
//! | no trial | active | | nothing is to do |
//! | trial, 1 try | active | | pending, and to be requested once more |
//! | trial, 0 tries | active | no | pending |
//! | trial, 0 tries | active | yes | it was never started, or it was and did not last. Ended: tries spent |
//! | trial | the trial's | | on trial; 0 tries, if it was 1 |
//! | trial, given up | the trial's | | reverted once more, then [`GivenUpRuns`](Environment::GivenUpRuns) |
//! | trial, given up | active | | no trial |
//! | | another | | [`UnknownRuns`](Environment::UnknownRuns) |
//!
//! So an installer that reports success and does nothing is found out at the next start.

use embedded_storage::nor_flash::NorFlash;

use super::swap::{NOT_ASKED, is_given_up, put_on_trial, set_tries};
use super::{Handover, Standing};
use crate::boot::{BootRecord, SlotImage, Trial, TrialEnd, Unfit};
use crate::error::{Environment, Error, Misuse};
use crate::flash::Flash;
use crate::flash_map::{Region, SlotId};

/// What installs images. Each call may come more than once, for a cut may have hidden that it was made.
pub trait Installer<F> {
    /// SHA-256 of the image that runs, as a release names it. It must come from the device, not from what was installed.
    ///
    /// # Errors
    ///
    /// [`Environment::Installer`]: no turn can begin then.
    fn running(&mut self) -> Result<[u8; 32], Error>;

    /// Whether the device has restarted since [`Installer::install`] took this image.
    ///
    /// # Errors
    ///
    /// [`Environment::Installer`].
    fn has_restarted(&mut self, image: &SlotImage) -> Result<bool, Error>;

    /// Takes the image, which was hashed a moment ago at this place, and has it started at the next start.
    ///
    /// # Errors
    ///
    /// [`Environment::Installer`]: the image is not pending, or is asked for once more.
    fn install(&mut self, flash: &mut Flash<F>, place: Region, image: &SlotImage) -> Result<(), Error>;

    /// The image that runs stays. When this returns, no cut may undo it.
    ///
    /// # Errors
    ///
    /// [`Environment::Installer`]: the trial goes on.
    fn confirm(&mut self, image: &SlotImage) -> Result<(), Error>;

    /// The image is not to be started any more.
    ///
    /// # Errors
    ///
    /// [`Environment::Installer`].
    fn revert(&mut self, image: &SlotImage) -> Result<(), Error>;
}

/// What an [`Installer`] is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    /// [`Installer::running`].
    Running,
    /// [`Installer::install`].
    Install,
    /// [`Installer::confirm`].
    Confirm,
    /// [`Installer::revert`].
    Revert,
}

/// Hand-over to an [`Installer`].
#[derive(Clone, Copy, Debug)]
pub struct External<I>(
    /// What installs.
    pub I,
);

impl<F: NorFlash, I: Installer<F>> Handover<F> for External<I> {
    // The installer takes it as a whole.
    const HEADER_LAST: bool = false;

    fn place(&self, flash: &Flash<F>, _: &BootRecord) -> Region {
        flash.map().slot(SlotId::B)
    }

    fn standing(&mut self, flash: &mut Flash<F>) -> Result<Standing, Error> {
        let mut record = BootRecord::load(flash)?;
        let running = self.0.running()?;
        let runs_active = running == record.active.digest;
        let Some(Trial { image, tries_left, .. }) = record.trial.clone() else {
            let standing = Standing { record, on_trial: false };
            return if runs_active { Ok(standing) } else { Err(Environment::UnknownRuns.into()) };
        };
        let given_up = is_given_up(&record);
        if running == image.digest {
            if given_up {
                self.0.revert(&image)?;
                return Err(Environment::GivenUpRuns.into());
            }
            set_tries(flash, &mut record, 0)?;
            return Ok(Standing { record, on_trial: true });
        }
        if !runs_active {
            return Err(Environment::UnknownRuns.into());
        }
        if given_up {
            record.trial = None;
            record.store(flash)?;
        } else if tries_left == 0 && self.0.has_restarted(&image)? {
            record.end_trial(TrialEnd::TriesSpent);
            record.store(flash)?;
        }
        Ok(Standing { record, on_trial: false })
    }

    fn request(&mut self, flash: &mut Flash<F>, image: &SlotImage) -> Result<(), Error> {
        let place = flash.map().slot(SlotId::B);
        // An installer that was not asked yet knows of nothing.
        let Some(mut record) = put_on_trial(flash, place, image, |_, _| Ok(()))? else { return Ok(()) };
        self.0.install(flash, place, image)?;
        set_tries(flash, &mut record, 0)
    }

    /// The installer first: a record that said so before could be undone behind its back.
    fn confirm(&mut self, flash: &mut Flash<F>) -> Result<(), Error> {
        let mut record = BootRecord::load(flash)?;
        let image = self.on_trial(&record)?;
        self.0.confirm(&image)?;
        record.accept(SlotId::A);
        record.store(flash)
    }

    fn revert(&mut self, flash: &mut Flash<F>, why: Unfit) -> Result<(), Error> {
        let mut record = BootRecord::load(flash)?;
        match why {
            Unfit::Health => {
                let image = self.on_trial(&record)?;
                record.give_up_trial(TrialEnd::Reverted);
                record.store(flash)?;
                self.0.revert(&image)
            }
            Unfit::Withdrawn => {
                let Some(Trial { image, .. }) = record.trial.clone() else {
                    return Err(Misuse::NoTrial.into());
                };
                if is_given_up(&record) || self.0.running()? == image.digest {
                    return Err(Misuse::TrialUndecided.into());
                }
                // Without this a cut would look as if the image had been started, and had not lasted.
                set_tries(flash, &mut record, NOT_ASKED)?;
                self.0.revert(&image)?;
                record.end_trial(TrialEnd::Withdrawn);
                record.store(flash)
            }
        }
    }
}

impl<I> External<I> {
    /// The image on trial, if that is what runs.
    fn on_trial<F>(&mut self, record: &BootRecord) -> Result<SlotImage, Error>
    where
        I: Installer<F>,
    {
        match &record.trial {
            Some(trial) if !is_given_up(record) => {
                if self.0.running()? == trial.image.digest {
                    Ok(trial.image.clone())
                } else {
                    Err(Misuse::NotOnTrial.into())
                }
            }
            _ => Err(Misuse::NoTrial.into()),
        }
    }
}
