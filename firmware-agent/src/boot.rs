//! Which image starts: the boot record, and the decision that agent and bootloader share.
//!
//! The record is a frame of kind 1, format 2, in the boot [journal](crate::journal), so that it is
//! replaced as a whole or not at all. Its payload is this, in `postcard` (a u32 is a varint of one
//! to five bytes, an option or a variant one byte before what it holds, a text its length and its
//! bytes):
//!
//! | field | type |
//! |---|---|
//! | active | image: slot (0 A, 1 B), length u32, digest 32 bytes, sequence u32, counter u32, version text |
//! | trial | option of: number u32, image, tries left u8 |
//! | ended | option of: number u32, digest 32 bytes, sequence u32, end (see [`TrialEnd`]) |
//! | trials | u32 |
//! | staged | option of: digest 32 bytes |
//!
//! A trial is started at most as often as it has tries, for [`decide_boot`] takes one away *before*
//! it names the trial image. The exception is a device whose active image is damaged: there a sound trial
//! image is started rather than nothing, and its trial is not ended. Only [`confirm`] makes the trial image the active one. Anything else
//! (a crash, a cut, a bootloader that finds the image damaged) ends with the active image, which
//! nothing here ever touches.

use embedded_storage::nor_flash::NorFlash;
use heapless::String;
use tuffet_client::wire::{Reader, Stored, Writer};

use crate::error::{Environment, Error, Misuse};
use crate::flash::Flash;
use crate::flash_map::{Region, SlotId};
use crate::journal::{Journal, Kind};

/// Format of the payload that this build writes.
const FORMAT: u8 = 2;

/// Two images of 82 bytes at most, three option bytes, a trial's 6, an ended trial's 43, a count, a digest.
pub(crate) const ENCODED_MAX: usize = 256;

/// Starts that an image gets to prove itself, unless the caller says otherwise: two may be lost to
/// a battery that is pulled.
pub const TRIES: u8 = 3;

/// What may be started, and what is tried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootRecord {
    /// The image that was confirmed last.
    pub active: SlotImage,
    /// The image that is pending or on trial.
    pub trial: Option<Trial>,
    /// How the last trial ended.
    pub ended: Option<EndedTrial>,
    /// Trials so far; the number of the newest one.
    pub trials: u32,
    /// SHA-256 of the image that was written into the slot that is not active, to its end and without a cut, and read
    /// back. Bytes that merely read right there may be those of a write that a cut left half-way.
    pub staged: Option<[u8; 32]>,
}

impl BootRecord {
    /// The record of a device that leaves the factory with `active`.
    pub const fn factory(active: SlotImage) -> Self {
        Self { active, trial: None, ended: None, trials: 0, staged: None }
    }

    /// The newest record on the flash.
    ///
    /// # Errors
    ///
    /// [`Environment::RecordLost`] when there is none, [`Environment::RecordFormat`] when a newer
    /// version of this crate wrote it.
    pub fn load<F: NorFlash>(flash: &mut Flash<F>) -> Result<Self, Error> {
        let mut buffer = [0; ENCODED_MAX];
        let record = journal(flash).newest(flash, &mut buffer)?;
        let unknown = Environment::RecordFormat { kind: Kind::Boot, format: record.format };
        if record.format != FORMAT {
            return Err(unknown.into());
        }
        let mut from = Reader::new(record.payload);
        let read = Self::read(&mut from);
        if from.is_good() { Ok(read) } else { Err(unknown.into()) }
    }

    /// Writes the record. Agents call [`mark_pending`], [`confirm`] and [`revert`] instead; this is
    /// for the factory.
    ///
    /// # Errors
    ///
    /// Those of [`Journal::append`].
    pub fn store<F: NorFlash>(&self, flash: &mut Flash<F>) -> Result<(), Error> {
        self.append(flash, false)
    }

    /// Writes the record, which is the newest one, into the other area, unless it is there already. Then no single
    /// area, and no single frame, is all that knows it.
    ///
    /// # Errors
    ///
    /// Those of [`Journal::append_apart`].
    pub fn store_apart<F: NorFlash>(&self, flash: &mut Flash<F>) -> Result<(), Error> {
        self.append(flash, true)
    }

    fn append<F: NorFlash>(&self, flash: &mut Flash<F>, apart: bool) -> Result<(), Error> {
        let mut buffer = [0; ENCODED_MAX];
        let mut to = Writer::new(&mut buffer);
        self.write(&mut to);
        let payload = to.done().ok_or(Misuse::RecordTooLong { kind: Kind::Boot })?;
        let journal = journal(flash);
        if apart {
            journal.append_apart(flash, FORMAT, payload)
        } else {
            journal.append(flash, FORMAT, payload).map(drop)
        }
    }

    /// The trial is over, and nothing of it is left to undo.
    pub(crate) fn end_trial(&mut self, end: TrialEnd) {
        self.give_up_trial(end);
        self.trial = None;
    }

    /// The trial is over, and its image runs until the bootloader puts the active one back.
    pub(crate) fn give_up_trial(&mut self, end: TrialEnd) {
        if let Some(Trial { number, image, .. }) = &self.trial {
            let (number, digest, sequence) = (*number, image.digest, image.sequence);
            self.ended = Some(EndedTrial { number, digest, sequence, end });
        }
    }

    /// The image on trial is the active one, in this slot.
    pub(crate) fn accept(&mut self, slot: SlotId) {
        if let Some(Trial { image, .. }) = &self.trial {
            self.active = SlotImage { slot, ..image.clone() };
            self.staged = None;
            self.end_trial(TrialEnd::Confirmed);
        }
    }
}

/// An image in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotImage {
    /// Where it lies.
    pub slot: SlotId,
    /// Bytes.
    pub length: u32,
    /// SHA-256 of those bytes.
    pub digest: [u8; 32],
    /// The release's sequence.
    pub sequence: u32,
    /// The release's security counter; becomes a floor when the image is confirmed.
    pub counter: u32,
    /// What people call it.
    pub version: String<32>,
}

/// An image that has to prove itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trial {
    /// Counts the trials of this device, so that an ended one is entered in the ledger once.
    pub number: u32,
    /// The image.
    pub image: SlotImage,
    /// Starts that are left to it.
    pub tries_left: u8,
}

/// A trial that is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndedTrial {
    /// [`Trial::number`].
    pub number: u32,
    /// [`SlotImage::digest`].
    pub digest: [u8; 32],
    /// [`SlotImage::sequence`].
    pub sequence: u32,
    /// How it ended.
    pub end: TrialEnd,
}

/// How a trial ended. The order is part of the record's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrialEnd {
    /// The image is the active one now.
    Confirmed,
    /// The image found itself unfit and said so.
    Reverted,
    /// The image was started as often as it may be, and never confirmed.
    TriesSpent,
    /// The slot does not hold the image any more.
    Damaged,
    /// The agent took the image back before it was ever started.
    Withdrawn,
}

impl Stored for SlotImage {
    fn write(&self, to: &mut Writer<'_>) {
        self.slot.write(to);
        to.number(self.length);
        to.bytes(&self.digest);
        to.number(self.sequence);
        to.number(self.counter);
        to.length(self.version.len());
        to.bytes(self.version.as_bytes());
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let mut image = Self {
            slot: SlotId::read(from),
            length: from.number(),
            digest: from.array(),
            sequence: from.number(),
            counter: from.number(),
            version: String::new(),
        };
        let length = from.length(image.version.capacity());
        match core::str::from_utf8(from.bytes(length)) {
            // It fits.
            Ok(version) => _ = image.version.push_str(version),
            Err(_) => from.fail(),
        }
        image
    }
}

impl Stored for Trial {
    fn write(&self, to: &mut Writer<'_>) {
        to.number(self.number);
        self.image.write(to);
        to.byte(self.tries_left);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Self { number: from.number(), image: SlotImage::read(from), tries_left: from.byte() }
    }
}

impl Stored for EndedTrial {
    fn write(&self, to: &mut Writer<'_>) {
        to.number(self.number);
        to.bytes(&self.digest);
        to.number(self.sequence);
        to.byte(match self.end {
            TrialEnd::Confirmed => 0,
            TrialEnd::Reverted => 1,
            TrialEnd::TriesSpent => 2,
            TrialEnd::Damaged => 3,
            TrialEnd::Withdrawn => 4,
        });
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            number: from.number(),
            digest: from.array(),
            sequence: from.number(),
            end: match from.variant(5) {
                0 => TrialEnd::Confirmed,
                1 => TrialEnd::Reverted,
                2 => TrialEnd::TriesSpent,
                3 => TrialEnd::Damaged,
                _ => TrialEnd::Withdrawn,
            },
        }
    }
}

impl Stored for BootRecord {
    fn write(&self, to: &mut Writer<'_>) {
        self.active.write(to);
        self.trial.write(to);
        self.ended.write(to);
        to.number(self.trials);
        self.staged.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Self {
            active: SlotImage::read(from),
            trial: Stored::read(from),
            ended: Stored::read(from),
            trials: from.number(),
            staged: Stored::read(from),
        }
    }
}

/// What a bootloader is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The image to start. Its digest was checked a moment ago.
    pub start: SlotImage,
    /// Why this one.
    pub reason: Reason,
    /// The boot record could not be brought up to date, for this reason. The decision stands all
    /// the same.
    pub unrecorded: Option<Error>,
}

/// Why [`decide_boot`] chose as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Reason {
    /// The active image; there is no trial.
    Active,
    /// The trial image, which has this many tries left after this start.
    Trial {
        /// Starts that are left to it.
        tries_left: u8,
    },
    /// The active image, because the trial image used up its tries.
    TriesSpent,
    /// The active image, because the trial image's slot does not hold it.
    TrialDamaged,
    /// The active image, because the try could not be taken away from the trial image.
    TryNotRecorded,
    /// The trial image, which has no try left or keeps one unrecorded, because the active image's slot does not hold
    /// that. The trial goes on.
    ActiveDamaged,
}

/// Decides what to start, and takes a try away from a trial image before naming it.
///
/// # Errors
///
/// [`Environment::NothingBootable`] when neither image is in its slot, and those of [`BootRecord::load`].
pub fn decide_boot<F: NorFlash>(flash: &mut Flash<F>) -> Result<Decision, Error> {
    let mut record = BootRecord::load(flash)?;
    let Some(trial) = &mut record.trial else {
        return start_active(flash, record, Reason::Active, None);
    };
    let start = trial.image.clone();
    if !holds(flash, &start) {
        return fall_back(flash, record, TrialEnd::Damaged, Reason::TrialDamaged);
    }
    let Some(tries_left) = trial.tries_left.checked_sub(1) else {
        let decision = fall_back(flash, record, TrialEnd::TriesSpent, Reason::TriesSpent);
        return or_last_resort(flash, decision, start, None);
    };
    trial.tries_left = tries_left;
    match record.store(flash) {
        Ok(()) => Ok(Decision { start, reason: Reason::Trial { tries_left }, unrecorded: None }),
        // An image that could be tried without end would be confirmed by patience.
        Err(error) => {
            let decision = start_active(flash, record, Reason::TryNotRecorded, Some(error));
            or_last_resort(flash, decision, start, Some(error))
        }
    }
}

/// Ends the trial, unless the active image is gone: then the record keeps what it knows of the other one.
fn fall_back<F: NorFlash>(
    flash: &mut Flash<F>,
    mut record: BootRecord,
    end: TrialEnd,
    reason: Reason,
) -> Result<Decision, Error> {
    if !holds(flash, &record.active) {
        return Err(Environment::NothingBootable.into());
    }
    record.end_trial(end);
    let unrecorded = record.store(flash).err();
    Ok(Decision { start: record.active, reason, unrecorded })
}

/// An image that spent its tries is better than none.
fn or_last_resort<F: NorFlash>(
    flash: &mut Flash<F>,
    decision: Result<Decision, Error>,
    start: SlotImage,
    unrecorded: Option<Error>,
) -> Result<Decision, Error> {
    match decision {
        // Hashed once more: perhaps it is the flash that does not answer any longer.
        Err(Error::Environment(Environment::NothingBootable)) if holds(flash, &start) => {
            Ok(Decision { start, reason: Reason::ActiveDamaged, unrecorded })
        }
        decision => decision,
    }
}

fn start_active<F: NorFlash>(
    flash: &mut Flash<F>,
    record: BootRecord,
    reason: Reason,
    unrecorded: Option<Error>,
) -> Result<Decision, Error> {
    if !holds(flash, &record.active) {
        return Err(Environment::NothingBootable.into());
    }
    Ok(Decision { start: record.active, reason, unrecorded })
}

/// Remembers that the slot that is not active holds this image, which was written there in one go and read back. The note
/// stays until another image is staged, or this one is written again: what else erases the slot leaves no such image there.
///
/// # Errors
///
/// Those of [`Journal::append`].
pub(crate) fn mark_staged<F: NorFlash>(flash: &mut Flash<F>, digest: [u8; 32]) -> Result<(), Error> {
    let mut record = BootRecord::load(flash)?;
    if record.staged != Some(digest) {
        record.staged = Some(digest);
        record.store(flash)?;
    }
    Ok(())
}

/// Puts an image on trial, from the next start on. Hashes the slot in this very step, however long
/// ago it was written.
///
/// # Errors
///
/// [`Misuse::SlotActive`], [`Misuse::TrialUndecided`], [`Misuse::NoTries`], [`Misuse::ImageEmpty`].
/// [`Environment::ImageNotWritten`] when the slot does not hold the image; it is made unbootable then.
/// Those of [`Journal::append`].
pub fn mark_pending<F: NorFlash>(flash: &mut Flash<F>, image: &SlotImage, tries: u8) -> Result<(), Error> {
    let place = flash.map().slot(image.slot);
    mark_pending_at(flash, place, image, tries)
}

/// The same for an image that lies there.
pub(crate) fn mark_pending_at<F: NorFlash>(
    flash: &mut Flash<F>,
    place: Region,
    image: &SlotImage,
    tries: u8,
) -> Result<(), Error> {
    let mut record = BootRecord::load(flash)?;
    if image.slot == record.active.slot {
        return Err(Misuse::SlotActive.into());
    }
    if record.trial.is_some() {
        return Err(Misuse::TrialUndecided.into());
    }
    if tries == 0 {
        return Err(Misuse::NoTries.into());
    }
    if image.length == 0 {
        return Err(Misuse::ImageEmpty.into());
    }
    if flash.digest(place, image.length)? != image.digest {
        flash.make_unbootable_at(place)?;
        return Err(Environment::ImageNotWritten { slot: image.slot }.into());
    }
    let Some(number) = record.trials.checked_add(1) else {
        return Err(Environment::SequenceExhausted { kind: Kind::Boot }.into());
    };
    record.trials = number;
    record.trial = Some(Trial { number, image: image.clone(), tries_left: tries });
    record.store(flash)
}

/// Makes the image on trial the active one. `running` is the digest of the image that calls: an
/// active image that was started in the trial's stead must not confirm it by mistake.
///
/// The record carries the image's security counter, so both rise in the same write. The floors record is
/// brought up to it by the agent's next turn.
///
/// # Errors
///
/// [`Misuse::NoTrial`], [`Misuse::NotOnTrial`], and those of [`Journal::append`].
// Out of line, and `revert`: their record is not to lie below what the caller does next.
#[inline(never)]
pub fn confirm<F: NorFlash>(flash: &mut Flash<F>, running: &[u8; 32]) -> Result<(), Error> {
    let mut record = BootRecord::load(flash)?;
    let Some(trial) = &record.trial else {
        return Err(Misuse::NoTrial.into());
    };
    if trial.image.digest != *running {
        return Err(Misuse::NotOnTrial.into());
    }
    let slot = trial.image.slot;
    record.accept(slot);
    record.store(flash)
}

/// Ends the trial in favour of the active image, from the next start on.
///
/// # Errors
///
/// [`Misuse::NoTrial`], [`Environment::ActiveDamaged`] when there would be nothing to start then, and those of
/// [`Journal::append`].
#[inline(never)]
pub fn revert<F: NorFlash>(flash: &mut Flash<F>, why: Unfit) -> Result<(), Error> {
    let mut record = BootRecord::load(flash)?;
    if record.trial.is_none() {
        return Err(Misuse::NoTrial.into());
    }
    if !holds(flash, &record.active) {
        return Err(Environment::ActiveDamaged.into());
    }
    record.end_trial(match why {
        Unfit::Health => TrialEnd::Reverted,
        Unfit::Withdrawn => TrialEnd::Withdrawn,
    });
    record.store(flash)
}

/// Why a trial is given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unfit {
    /// The image failed its health check.
    Health,
    /// It was never started, and something better has come.
    Withdrawn,
}

/// Whether [`decide_boot`] could start what lies in a slot: the record names it, its digest is right, and if it is a
/// trial it has tries left or there is nothing else.
///
/// # Errors
///
/// Those of [`BootRecord::load`].
pub fn is_bootable<F: NorFlash>(flash: &mut Flash<F>, slot: SlotId) -> Result<bool, Error> {
    let BootRecord { active, trial, .. } = BootRecord::load(flash)?;
    if active.slot == slot {
        return Ok(holds(flash, &active));
    }
    let Some(trial) = trial.filter(|trial| trial.image.slot == slot && holds(flash, &trial.image)) else {
        return Ok(false);
    };
    Ok(trial.tries_left > 0 || !holds(flash, &active))
}

/// Whether the slot holds the image, byte for byte. What cannot be read is not held.
pub(crate) fn holds<F: NorFlash>(flash: &mut Flash<F>, image: &SlotImage) -> bool {
    let place = flash.map().slot(image.slot);
    holds_at(flash, place, image)
}

/// Whether the image lies there.
pub(crate) fn holds_at<F: NorFlash>(flash: &mut Flash<F>, place: Region, image: &SlotImage) -> bool {
    image.length > 0 && flash.digest(place, image.length).is_ok_and(|found| found == image.digest)
}

fn journal<F: NorFlash>(flash: &Flash<F>) -> Journal {
    Journal::new(flash.map(), Kind::Boot)
}
