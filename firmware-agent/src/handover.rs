//! The hand-over of an image to the bootloader, and what became of it.
//!
//! Bootloaders differ in where an image has to lie, in how they are asked to try it, and in who undoes a trial. The
//! agent's memory is the same over all of them: the [`BootRecord`], which says what is active, what is on trial, and how
//! the last trial ended. No bootloader's report is believed alone. What is known of a trial is what the record says and
//! what a digest shows to run; a report decides only between the two things that the two leave open: whether a request
//! still stands, and whether a trial can still be undone.
//!
//! | | [`Direct`] | [`Mcuboot`] | `EmbassyBoot` |
//! |---|---|---|---|
//! | the bootloader | any that calls [`decide_boot`](crate::boot::decide_boot) | MCUboot that swaps or overwrites | embassy-boot 0.7 |
//! | an image runs | in the slot that it was written to | in slot A | in slot A |
//! | an image is written | to the slot that is not active | to slot B | to slot B |
//! | the request | the boot record | trailer of slot B | a magic in the state partition |
//! | starts of a trial | [`TRIES`](crate::boot::TRIES) | one | one |
//! | verified before it starts | digest of the record | its own signature | nothing |
//!
//! # Bootloaders that swap
//!
//! `tries_left` of the record's [`Trial`](crate::boot::Trial) is 1 until the bootloader was asked, and 0 from then on.
//! The writes of each step, in order; a step that a cut ended is begun again, or completed by
//! [`Handover::standing`]:
//!
//! | step | writes |
//! |---|---|
//! | request | record: on trial, 1 try; the bootloader's request; record: 0 tries |
//! | confirm | the bootloader's confirmation; record: active, ended: confirmed |
//! | revert of the image that runs | record: ended: reverted, and on trial until the bootloader has swapped back |
//! | revert of one that is pending | record: 1 try; the bootloader's request is taken back; record: ended: withdrawn |
//!
//! What [`Handover::standing`] makes of record, slot A and bootloader:
//!
//! | record | slot A | bootloader | so |
//! |---|---|---|---|
//! | no trial | active | is idle | nothing is to do |
//! | no trial | active | will do something | its request is taken back: what is written to slot B next is not to be swapped in |
//! | trial, 1 try | active | | pending, and to be requested once more |
//! | trial, 0 tries | active | will do something | pending |
//! | trial, 0 tries | active | is idle | it started the image and undid that, or refused it. Ended: tries spent |
//! | trial | the trial's | will undo it | on trial; 0 tries, if it was 1 |
//! | trial | the trial's | is idle | nobody will undo it. Confirmed in the bootloader, then in the record |
//! | trial, given up | the trial's | | [`GivenUpRuns`](crate::Environment::GivenUpRuns): nothing may be done before a restart, for slot B is all that holds the active image |
//! | trial, given up | active | | no trial; a request is taken back |
//! | | neither | | [`UnknownRuns`](crate::Environment::UnknownRuns) |
//!
//! Such a bootloader undoes a trial at the next start, whatever that start was for. So a cut during a trial ends it, as
//! *tries spent*: it costs an attempt, which a ledger forgives. And a cut between the request and the record of it costs at
//! most one more installation. A release whose image is the one that runs already is on trial at once, without a start.

mod direct;
#[cfg(feature = "embassy-boot")]
mod embassy;
mod mcuboot;
mod swap;

use embedded_storage::nor_flash::NorFlash;

use crate::boot::{BootRecord, SlotImage, Unfit};
use crate::error::Error;
use crate::flash::Flash;
use crate::flash_map::Region;

pub use direct::Direct;
#[cfg(feature = "embassy-boot")]
pub use embassy::EmbassyBoot;
pub use mcuboot::Mcuboot;

/// What differs between bootloaders.
pub trait Handover<F: NorFlash> {
    /// Whether the first page of an image is to be written last, for a bootloader that goes by an image's header.
    const HEADER_LAST: bool;

    /// Where the next image is to be written: from the first byte on, and it may have as many bytes.
    fn place(&self, flash: &Flash<F>, record: &BootRecord) -> Region;

    /// Brings the boot record up to date with what the bootloader did, and says what runs. To be called at the start of
    /// every turn; nothing may be written to any slot before it succeeded.
    ///
    /// # Errors
    ///
    /// [`UnknownRuns`](crate::Environment::UnknownRuns), [`GivenUpRuns`](crate::Environment::GivenUpRuns), those of
    /// [`BootRecord::load`] and of the flash.
    fn standing(&mut self, flash: &mut Flash<F>) -> Result<Standing, Error>;

    /// Has the bootloader try this image, of [`Handover::place`], at the next start. Hashes it in this very step, however
    /// long ago it was written. For the image that is pending already this is no error, and makes sure that it is.
    ///
    /// # Errors
    ///
    /// Those of [`mark_pending`](crate::boot::mark_pending), and of the flash.
    fn request(&mut self, flash: &mut Flash<F>, image: &SlotImage) -> Result<(), Error>;

    /// The image that runs, which is on trial, is the active one from now on.
    ///
    /// # Errors
    ///
    /// Those of [`confirm`](crate::boot::confirm), and of the flash.
    fn confirm(&mut self, flash: &mut Flash<F>) -> Result<(), Error>;

    /// Gives up the image on trial ([`Unfit::Health`]), which is to restart the device after that, or the one that is
    /// pending ([`Unfit::Withdrawn`]).
    ///
    /// # Errors
    ///
    /// Those of [`revert`](crate::boot::revert), and of the flash.
    fn revert(&mut self, flash: &mut Flash<F>, why: Unfit) -> Result<(), Error>;
}

/// How things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The boot record, up to date.
    pub record: BootRecord,
    /// The image on trial is the one that runs.
    pub on_trial: bool,
}
