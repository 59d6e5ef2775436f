//! The agent: from a check of the repository to a confirmed image.
//!
//! ```text
//! check():   settle -> refresh -> select -> download -> read back -> refresh again -> pending
//!            the same over a bundle, which does not change: … -> read back -> not expired yet -> pending
//!            settle -> refresh -> select -> still pending | withdrawn
//! restart:   decide_boot
//! started(): health -> contact -> confirmed | reverted | still on trial
//! ```
//!
//! What is on flash leads. After an error the agent reads its trust store again, so that it never goes on from
//! something that was verified but not stored.

use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;
use tuffet_client::time::Date;
use tuffet_client::{Candidate, Change, Clock, Crypto, Device, Entry, Plan, Role, limits};

use crate::boot::{self, BootRecord, Decision, SlotImage, TRIES, Trial, Unfit};
use crate::engine::{Check, Request, SCRATCH};
use crate::error::{Environment, Error, Rejected};
use crate::factory::Factory;
use crate::flash::Flash;
use crate::flash_map::SlotId;
use crate::slot::SlotWriter;
use crate::transport::{Transport, TransportFault};
use crate::trust_store::{Trust, TrustLost, replace_lost, store_floors};

/// A device: its flash, its way to the repository, and what it knows.
#[derive(Debug)]
pub struct Agent<'a, F, T> {
    flash: Flash<F>,
    transport: T,
    crypto: &'a Crypto,
    factory: Factory<'a>,
    id: &'a [u8],
    trust: Trust,
}

/// What the agent does, as it does it: for a progress bar, a log, a demonstration.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// The trust store is lost; the factory's facts stand in.
    TrustLost(TrustLost),
    /// A file is fetched.
    Fetch {
        /// Relative to the repository's top.
        path: &'e str,
        /// The largest length in bytes that is of use.
        limit: u32,
    },
    /// A verified file is trusted now, and that is on flash.
    Stored(Change),
    /// A release was verified, and fits this device.
    Selected(&'e Candidate),
    /// A release was verified and would fit, but its image failed here before.
    PassedOver(&'e Candidate),
    /// Bytes of the image are on flash.
    Download {
        /// So many.
        received: u32,
        /// Of so many.
        length: u32,
    },
    /// The image is in the slot, read back and hashed. The release is verified once more.
    Staged(&'e Candidate),
    /// The image will be tried at the next start.
    Pending(&'e SlotImage),
    /// What the device starts.
    Start(&'e Decision),
    /// The image on trial is the active one now.
    Confirmed(&'e SlotImage),
    /// The image on trial, or pending, is given up.
    Reverted(&'e SlotImage),
    /// The image on trial is healthy, but has not reached its repository. The trial goes on.
    NoContact(Error),
}

/// Where a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checked {
    /// The repository has nothing for this device.
    UpToDate,
    /// This image will be tried at the next start. If it was pending already, the repository still wants it.
    Pending(SlotImage),
    /// Nothing was asked of the repository, for this image is on trial.
    TrialUndecided(SlotImage),
    /// The repository changed its mind, while the image came down or was pending. The image will not be tried;
    /// the next check sees what the repository wants now.
    Superseded,
}

/// Where a start ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Started {
    /// The active image runs, and nothing is on trial.
    Active(SlotImage),
    /// The image on trial runs, and is the active one from now on.
    Confirmed(SlotImage),
    /// The image on trial was given up. A restart brings back the active one.
    Reverted(SlotImage),
    /// The image on trial runs, and reached no repository yet. Its start took one try; waiting takes no further one.
    /// The caller calls [`Agent::started`] again, without a restart.
    NoContact(SlotImage, Error),
}

/// A release to install.
struct Selected {
    candidate: Candidate,
    /// Whose file of those that lead to it expires first, and when.
    good_until: (Role, u64),
}

/// What a refresh is for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Goal {
    /// To find the release to install.
    Release,
    /// To see a timestamp that verifies.
    Contact,
}

impl<'a, F: NorFlash, T: Transport> Agent<'a, F, T> {
    /// Reads the trust store of a device. `id` decides its place in rollouts, nothing else.
    ///
    /// # Errors
    ///
    /// Those of [`Trust::load`].
    pub fn new(
        mut flash: Flash<F>,
        transport: T,
        crypto: &'a Crypto,
        factory: Factory<'a>,
        id: &'a [u8],
    ) -> Result<Self, Error> {
        let trust = Trust::load(&mut flash, crypto, &factory)?;
        Ok(Self { flash, transport, crypto, factory, id, trust })
    }

    /// What the device trusts and remembers.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The flash.
    pub fn flash_mut(&mut self) -> &mut Flash<F> {
        &mut self.flash
    }

    /// The way to the repository.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Asks the repository, and brings what it has for this device as far as to be tried at the next start.
    ///
    /// An image that is pending, and was not started yet, is authorised once more. The repository may take it back;
    /// as long as the repository cannot be asked, it stays pending.
    ///
    /// `now` is read at the start of each refresh, of which there are two when there is something to install:
    /// a download may take days, and what expired meanwhile is not installed. Over a bundle there is one refresh, and
    /// the second reading is held against its dates.
    ///
    /// # Errors
    ///
    /// Any. Active slot, boot record and, but for what was newly verified, the trust store are what they were;
    /// the inactive slot starts on no account. When nothing but the last look at the repository is missing, it keeps
    /// the image, and the next check need not download it again.
    pub fn check(
        &mut self,
        now: &mut dyn FnMut() -> Clock,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Checked, Error> {
        let checked = self.try_check(now, observe);
        self.restore_trust(checked)
    }

    /// Starts the device as a bootloader would, then goes on as [`Agent::started`] does. For devices that
    /// are simulated, or that boot by this very program.
    ///
    /// # Errors
    ///
    /// Those of [`boot::decide_boot`] and [`Agent::started`].
    pub fn boot(
        &mut self,
        now: &mut dyn FnMut() -> Clock,
        healthy: &mut dyn FnMut(&SlotImage) -> bool,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Started, Error> {
        let decision = boot::decide_boot(&mut self.flash)?;
        observe(Event::Start(&decision));
        self.started(&decision.start.digest, now, healthy, observe)
    }

    /// What an image does once it runs: enter what became of the last trial, and if it is on trial itself,
    /// prove its worth. `running` is the digest of the image that calls, whatever the bootloader reports.
    ///
    /// `healthy` is the product's own check. On top of it comes ours: the image must reach its repository and
    /// see a timestamp that verifies, for one that cannot update can never be repaired.
    ///
    /// # Errors
    ///
    /// Those of the flash. No contact is no error, see [`Started::NoContact`].
    pub fn started(
        &mut self,
        running: &[u8; 32],
        now: &mut dyn FnMut() -> Clock,
        healthy: &mut dyn FnMut(&SlotImage) -> bool,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Started, Error> {
        let started = self.try_started(running, now, healthy, observe);
        self.restore_trust(started)
    }

    fn try_check(
        &mut self,
        now: &mut dyn FnMut() -> Clock,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Checked, Error> {
        let record = self.take_stock(observe)?;
        if let Some(Trial { image, tries_left, .. }) = &record.trial {
            // Whoever started it took a try away first.
            return if *tries_left < TRIES {
                Ok(Checked::TrialUndecided(image.clone()))
            } else {
                self.review(&record, image, now(), observe)
            };
        }
        let Some(Selected { candidate, good_until }) = self.select(&record, now(), observe)? else {
            return Ok(Checked::UpToDate);
        };
        observe(Event::Selected(&candidate));
        let image = self.download(record.active.slot.other(), &candidate, observe)?;
        observe(Event::Staged(&candidate));

        // Rule: authorised again, against what the repository says now.
        let again = if self.transport.is_bundle() {
            // A bundle says what it said, and a line may not say it twice. But it may have expired on the line.
            self.still_good(good_until, now()).map(|()| true)
        } else {
            let again = self.select(&record, now(), observe);
            again.map(|again| again.is_some_and(|again| again.candidate == candidate))
        };
        if again == Ok(true) {
            boot::mark_pending(&mut self.flash, &image, TRIES)?;
            observe(Event::Pending(&image));
            return Ok(Checked::Pending(image));
        }
        // A repository that cannot be asked has not changed its mind: what was downloaded may wait in the slot, which
        // no boot record names.
        if !matches!(again, Err(Error::Environment(_))) {
            self.flash.make_unbootable(image.slot)?;
        }
        again.map(|_| Checked::Superseded)
    }

    /// Whether the repository still wants what is pending. Only what it verifiably says takes the image back:
    /// a mirror that fails or serves rubbish does not.
    fn review(
        &mut self,
        record: &BootRecord,
        pending: &SlotImage,
        clock: Clock,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Checked, Error> {
        let wanted = match self.select(record, clock, observe) {
            Err(Error::Rejected(Rejected::Metadata(tuffet_client::Rejected::NoRelease))) => None,
            other => other?,
        };
        let same = |wanted: Selected| slot_image(pending.slot, &wanted.candidate) == *pending;
        if wanted.is_some_and(same) {
            return Ok(Checked::Pending(pending.clone()));
        }
        boot::revert(&mut self.flash, Unfit::Withdrawn)?;
        self.flash.make_unbootable(pending.slot)?;
        self.settle()?;
        observe(Event::Reverted(pending));
        Ok(Checked::Superseded)
    }

    fn try_started(
        &mut self,
        running: &[u8; 32],
        now: &mut dyn FnMut() -> Clock,
        healthy: &mut dyn FnMut(&SlotImage) -> bool,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Started, Error> {
        let record = self.take_stock(observe)?;
        let Some(trial) = record.trial.filter(|trial| trial.image.digest == *running) else {
            return Ok(Started::Active(record.active));
        };
        let image = trial.image;
        if !healthy(&image) {
            boot::revert(&mut self.flash, Unfit::Health)?;
            self.settle()?;
            observe(Event::Reverted(&image));
            return Ok(Started::Reverted(image));
        }
        // Whatever comes after a timestamp that verifies, the repository can be reached.
        if let Err(error) = self.refresh(Goal::Contact, image.sequence, &[], now(), observe) {
            observe(Event::NoContact(error));
            return Ok(Started::NoContact(image, error));
        }
        // The record carries the image's security counter, so that it rises in the same write.
        boot::confirm(&mut self.flash, running)?;
        self.settle()?;
        observe(Event::Confirmed(&image));
        Ok(Started::Confirmed(image))
    }

    /// Where every turn begins: reports what is lost, if it really is, and settles.
    fn take_stock(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<BootRecord, Error> {
        if self.trust.lost.is_some() {
            self.trust = Trust::load(&mut self.flash, self.crypto, &self.factory)?;
        }
        if let Some(lost) = self.trust.lost {
            observe(Event::TrustLost(lost));
        }
        self.settle()
    }

    /// Brings ledger and counter up to what the boot record says. Done at every turn, so that a cut between
    /// the two records leaves nothing undone.
    fn settle(&mut self) -> Result<BootRecord, Error> {
        let record = BootRecord::load(&mut self.flash)?;
        if record.trial.is_none() {
            // Early, so that a refused image changes no byte here. Before a slot is erased it is insisted upon.
            let _ = record.store_apart(&mut self.flash);
        }
        let Trust { trusted, memory, lost } = &mut self.trust;
        let mut changed = record.ended.is_some_and(|ended| memory.ledger.enter(&ended));
        if memory.counter < record.active.counter {
            memory.counter = record.active.counter;
            changed = true;
        }
        // While the floors are lost nothing is in a hurry to overwrite them, for they may read again; the boot
        // record says the same at the next turn, and what is verified is stored along with this.
        if changed && !TrustLost::has_floors(*lost) {
            store_floors(&mut self.flash, trusted.floors(), memory, *lost)?;
        }
        Ok(record)
    }

    /// Whether metadata that are good until then are good yet.
    fn still_good(&self, (role, expires): (Role, u64), clock: Clock) -> Result<(), Error> {
        let start = self.trust.trusted.start_time(self.not_before_built(clock));
        if expires > start {
            return Ok(());
        }
        let freeze = tuffet_client::Rejected::Freeze { role, expires: Date(expires), start: Date(start) };
        Err(Rejected::Metadata(freeze).into())
    }

    /// It is later than the image was built, whatever the clock says.
    fn not_before_built(&self, clock: Clock) -> Clock {
        let built = self.factory.built;
        Clock::At(match clock {
            Clock::At(now) => now.max(built),
            Clock::Unknown => built,
        })
    }

    /// The release to install, if there is one whose image did not fail here before.
    fn select(
        &mut self,
        record: &BootRecord,
        clock: Clock,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Selected>, Error> {
        let mut passed_over: Vec<[u8; 32], { limits::CANDIDATES }> = Vec::new();
        loop {
            let sequence = record.active.sequence;
            let found = self.refresh(Goal::Release, sequence, &passed_over, clock, observe)?;
            let Some(selected) = found else {
                return Ok(None);
            };
            let candidate = &selected.candidate;
            let digest = candidate.image.sha256;
            if !self.trust.memory.ledger.bans(&digest, candidate.sequence) {
                return Ok(Some(selected));
            }
            observe(Event::PassedOver(candidate));
            // Each turn bans one more of at most so many candidates.
            if passed_over.push(digest).is_err() {
                return Ok(None);
            }
        }
    }

    /// Walks the metadata, as far as the goal needs.
    fn refresh(
        &mut self,
        goal: Goal,
        sequence: u32,
        banned: &[[u8; 32]],
        clock: Clock,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Option<Selected>, Error> {
        let clock = self.not_before_built(clock);
        let Self { flash, transport, crypto, factory, id, trust } = self;
        let Factory { product, hardware, channel, counter, .. } = *factory;
        let Trust { trusted, memory, lost } = trust;
        // The running image's own counter binds what it installs. It is not stored, for this may be a trial.
        let counter = memory.counter.max(counter);
        let device = Device { product, hardware, channel, id, sequence, counter, banned };
        let mut scratch = [0; SCRATCH];
        let plan = Plan {
            crypto,
            limits: &limits::DEVICE,
            goal: tuffet_client::Goal::Release(device),
            entry: if transport.is_bundle() { Entry::Offline } else { Entry::Refresh },
            clock,
            kept: None,
        };
        let mut check = Check::new(plan, trusted, &mut scratch, flash, memory, *lost)?;
        while let Some(Request { path, limit }) = check.request() {
            if goal == Goal::Contact && check.contact() {
                return Ok(None);
            }
            observe(Event::Fetch { path: &path, limit });
            match transport.fetch(&path, limit, &mut |chunk| check.feed(chunk)) {
                Ok(()) => check.end()?,
                Err(Error::Environment(Environment::Transport(fault))) => check.failed(fault)?,
                Err(error) => return Err(error),
            }
            if let Some(change) = check.stored() {
                observe(Event::Stored(change));
            }
        }
        let good_until = check.good_until();
        let selected =
            check.outcome()?.map(|candidate| Selected { candidate: candidate.clone(), good_until });
        self.mend(observe)?;
        Ok(selected)
    }

    /// Writes a lost trust store anew, once the repository was verified from the factory's facts on.
    fn mend(&mut self, observe: &mut dyn FnMut(Event<'_>)) -> Result<(), Error> {
        if self.trust.lost.is_some() {
            replace_lost(&mut self.flash, &self.trust)?;
            observe(Event::Stored(Change::Root));
            observe(Event::Stored(Change::Floors));
            self.trust.lost = None;
        }
        Ok(())
    }

    /// Has the image in the inactive slot: from the repository, unless it is there already.
    fn download(
        &mut self,
        slot: SlotId,
        candidate: &Candidate,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<SlotImage, Error> {
        let image = slot_image(slot, candidate);
        let staged = BootRecord::load(&mut self.flash)?.staged == Some(image.digest);
        if staged && boot::holds(&mut self.flash, &image) {
            return Ok(image);
        }
        let (length, digest) = (candidate.image.length, candidate.image.sha256);
        let Request { path, limit } = Request::image(candidate);
        let mut writer = SlotWriter::open(&mut self.flash, length, digest)?;
        observe(Event::Fetch { path: &path, limit });
        let fetched = self.transport.fetch(&path, limit, &mut |chunk| {
            writer.write(chunk)?;
            observe(Event::Download { received: writer.received(), length });
            Ok(())
        });
        if let Err(error) = fetched {
            writer.abandon()?;
            return Err(match error {
                Error::Environment(Environment::Transport(TransportFault::TooLong { .. })) => {
                    Rejected::ImageTooLong { length }.into()
                }
                error => error,
            });
        }
        writer.finish()?;
        boot::mark_staged(&mut self.flash, image.digest)?;
        Ok(image)
    }

    /// After an error, memory is what flash is.
    fn restore_trust<O>(&mut self, outcome: Result<O, Error>) -> Result<O, Error> {
        if outcome.is_err() {
            self.trust = Trust::load(&mut self.flash, self.crypto, &self.factory)?;
        }
        outcome
    }
}

/// What the boot record says of a candidate whose image lies in this slot.
fn slot_image(slot: SlotId, candidate: &Candidate) -> SlotImage {
    let Candidate { sequence, counter, version, image, .. } = candidate;
    let (length, digest) = (image.length, image.sha256);
    SlotImage { slot, length, digest, sequence: *sequence, counter: *counter, version: version.clone() }
}
