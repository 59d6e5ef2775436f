//! One turn of an engine, from one file to the next.

use embedded_storage::nor_flash::NorFlash;
use tuffet_client::limits::DEVICE;
use tuffet_client::time::Date;
use tuffet_client::{
    Candidate, Change, Clock, Device, Entry, Floors, Goal, Plan, Refresh, Role, Want as Wanted,
};

use super::{After, Engine, Input, Outcome, Source, Want, Work};
use crate::boot::{self, BootRecord, SlotImage, Trial, Unfit};
use crate::error::{Environment, Error, Misuse, Rejected};
use crate::event::Event;
use crate::factory::Factory;
use crate::flash::Flash;
use crate::flash_map::SlotId;
use crate::handover::{Handover, Standing};
use crate::product::{Ask, Health, Now, Product};
use crate::progress::Progress;
use crate::report::FAILED;
use crate::schedule::{ASK_AGAIN, DAY, ERASES_A_DAY, HEALTH_AGAIN, Settings, one_more};
use crate::slot::{SlotWriter, abandon};
use crate::transport::{Request, TransportFault};
use crate::trust_store::{Memory, Trust, TrustLost, replace_lost, store_floors, store_root};

/// Bytes that come before they are noted in the progress record, or a sixteenth of what may come on a day. What was not noted
/// is forgotten at a restart.
const UNNOTED: u32 = 1024;

/// A turn under way.
#[derive(Debug)]
pub struct Turn<'t, F, H> {
    flash: &'t mut Flash<F>,
    handover: &'t mut H,
    refresh: Refresh<'t>,
    memory: &'t mut Memory,
    lost: &'t mut Option<TrustLost>,
    factory: &'t Factory<'t>,
    device: Device<'t>,
    settings: &'t Settings,
    after: &'t mut After,
    record: BootRecord,
    progress: Progress,
    source: Source,
    /// Somebody asked for this turn. How it fails says nothing about when to look again.
    asked_for: bool,
    state: State,
    want: Want,
    outcome: Result<Outcome, Error>,
}

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one at a time, and nowhere to put it")]
enum State {
    /// Files are verified, for this.
    Refresh(Purpose),
    /// The image comes.
    Download {
        image: SlotImage,
        /// Whose file of those that lead to it expires first, and when.
        good_until: (Role, u64),
        /// What of it is fetched now ends here.
        end: u32,
        writer: SlotWriter,
    },
    Over,
}

/// What a refresh is for.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Purpose {
    /// To find the release to install. A poll looks no further than at the timestamp if that is the trusted one.
    Release { poll: bool },
    /// To see whether that is still the release, whose image came meanwhile.
    Again(SlotImage),
    /// To see whether the pending image is still wanted.
    Review(SlotImage),
    /// To see a timestamp that verifies.
    Contact(SlotImage),
}

impl<'t, F: NorFlash, H: Handover<F>> Turn<'t, F, H> {
    pub(super) fn new(
        engine: &'t mut Engine<'_, F, H>,
        work: &'t mut Work,
        source: Source,
        product: &mut dyn Product,
    ) -> Result<Self, Error> {
        let Engine { flash, handover, crypto, factory, id, settings, bans, after } = engine;
        let Work { trust, scratch } = work;
        let trust = trust.insert(Trust::load(flash, crypto, factory)?);
        if let Some(lost) = trust.lost {
            product.observe(Event::TrustLost(lost));
        }
        let Standing { mut record, on_trial } = handover.standing(flash)?;
        after.on_trial = on_trial;
        let Trust { trusted, memory, lost } = trust;
        let mut progress = Progress::load(flash);
        if settle(flash, &mut record, trusted.floors(), memory, *lost)? {
            progress.failed_on = 0;
        }
        let now = product.now();
        let today = today(trusted.start_time(not_before(factory, now.clock)), now);
        let failed_on = if progress.failed_on == 0 { today } else { progress.failed_on };
        bans.clear();
        bans.extend(memory.ledger.bans(today.saturating_sub(failed_on)));
        if !bans.is_empty() && progress.failed_on == 0 {
            progress.failed_on = failed_on;
            progress.store(flash)?;
        }
        let Factory { product: name, hardware, channel, counter, .. } = *factory;
        // The running image's own counter binds what it installs. It is not stored, for this may be a trial.
        let counter = memory.counter.max(counter);
        let sequence = record.active.sequence;
        let device = Device { product: name, hardware, channel, id, sequence, counter, banned: bans };
        let goal = Goal::Release(device);
        let (entry, clock) = (Entry::Refresh, Clock::Unknown);
        let plan = Plan { crypto, limits: &DEVICE, goal, entry, clock, kept: None };
        let refresh = Refresh::new(plan, trusted, scratch)?;
        let (state, want, outcome) = (State::Over, Want::Wait(0), Ok(Outcome::NotAllowed));
        let asked_for = core::mem::take(&mut after.hurry);
        let mut turn = Turn {
            flash,
            handover,
            refresh,
            memory,
            lost,
            factory,
            device,
            settings,
            after,
            record,
            progress,
            source,
            asked_for,
            state,
            want,
            outcome,
        };
        let begun = turn.begin(on_trial, now, product);
        turn.settle_for(begun, product);
        Ok(turn)
    }
}

impl<F: NorFlash, H: Handover<F>> Turn<'_, F, H> {
    /// What to do.
    pub fn want(&self) -> Want {
        self.want
    }

    /// How the turn ended, or would if it went no further.
    ///
    /// # Errors
    ///
    /// Any. Active slot, boot record and, but for what was newly verified, the trust store are what they were;
    /// the inactive slot starts on no account.
    pub fn outcome(&self) -> &Result<Outcome, Error> {
        &self.outcome
    }

    /// The boot record, as it was when the turn began.
    pub fn record(&self) -> &BootRecord {
        &self.record
    }

    /// The file that is wanted.
    pub fn request(&self) -> Option<Request> {
        match (&self.state, self.refresh.want()) {
            (State::Download { writer, end, image, .. }, Wanted::Install(candidate)) => {
                let (from, limit, part) = (writer.next(), *end, *end < image.length);
                Some(Request { from, limit, part, ..Request::image(candidate) })
            }
            (State::Refresh(_), Wanted::Fetch { file, limit } | Wanted::Again { file, limit }) => {
                Some(Request::metadata(&file, limit))
            }
            _ => None,
        }
    }

    /// Takes what happened, and says what to do.
    pub fn step(&mut self, input: Input<'_>, product: &mut dyn Product) -> Want {
        let went = match input {
            Input::Chunk(bytes) => self.chunk(bytes, product),
            Input::End => self.end(product),
            Input::Failed(error) => self.failed(error, product),
        };
        self.settle_for(went, product);
        self.want
    }

    /// Where a turn begins.
    fn begin(
        &mut self,
        on_trial: bool,
        now: Now,
        product: &mut dyn Product,
    ) -> Result<Option<Outcome>, Error> {
        let first = !core::mem::replace(&mut self.after.started, true);
        match self.record.trial.clone() {
            Some(Trial { image, .. }) if on_trial => self.prove(image, now, product),
            Some(Trial { image, .. }) => {
                // Authorised once more before the restart, and not while there is none in sight.
                if !product.may(Ask::Restart(&image)) {
                    return Ok(Some(Outcome::Pending(image)));
                }
                self.refresh(Purpose::Review(image), now, product)
            }
            None => {
                if first && !self.asked_for && self.progress.failures > 0 {
                    return Ok(Some(Outcome::TooEarly));
                }
                if let Some(image) = self.after.waiting.take_if(|image| !product.may(Ask::Install(image))) {
                    self.after.waiting = Some(image.clone());
                    return Ok(Some(Outcome::Staged(image)));
                }
                if !product.may(Ask::Check) {
                    return Ok(Some(Outcome::NotAllowed));
                }
                self.refresh(Purpose::Release { poll: !self.asked_for }, now, product)
            }
        }
    }

    /// The image on trial runs.
    fn prove(
        &mut self,
        image: SlotImage,
        now: Now,
        product: &mut dyn Product,
    ) -> Result<Option<Outcome>, Error> {
        match product.health(&image) {
            Health::Unknown => Ok(Some(Outcome::Undecided(image))),
            Health::Good => self.refresh(Purpose::Contact(image), now, product),
            Health::Bad => {
                self.handover.revert(self.flash, Unfit::Health)?;
                self.settle_again()?;
                product.observe(Event::Reverted(&image));
                Ok(Some(Outcome::Reverted(image)))
            }
        }
    }

    /// Begins to verify files.
    fn refresh(
        &mut self,
        purpose: Purpose,
        now: Now,
        product: &mut dyn Product,
    ) -> Result<Option<Outcome>, Error> {
        let clock = not_before(self.factory, now.clock);
        self.begin_day(now);
        if self.left() == 0 && !matches!(purpose, Purpose::Contact(_)) {
            return Ok(Some(Outcome::Spent));
        }
        let entry = match (self.source, &purpose) {
            (Source::Bundle, _) => Entry::Offline,
            (Source::Repository, Purpose::Release { poll: true }) => Entry::Poll,
            (Source::Repository, _) => Entry::Refresh,
        };
        let sequence = match &purpose {
            Purpose::Contact(image) => image.sequence,
            _ => self.record.active.sequence,
        };
        self.refresh.again(Goal::Release(Device { sequence, ..self.device }), entry, clock)?;
        self.state = State::Refresh(purpose);
        self.go_on(product)
    }

    fn chunk(&mut self, bytes: &[u8], product: &mut dyn Product) -> Result<Option<Outcome>, Error> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.after.unnoted = self.after.unnoted.saturating_add(length);
        match &mut self.state {
            State::Refresh(_) => self.refresh.feed(bytes)?,
            State::Download { image, writer, .. } => {
                writer.write(self.flash, &mut self.progress, bytes)?;
                product.observe(Event::Download { received: writer.next(), length: image.length });
            }
            State::Over => return Err(Misuse::TurnOver.into()),
        }
        let proves = matches!(self.state, State::Refresh(Purpose::Contact(_)));
        let spent = self.left() == 0 && !proves;
        if self.after.unnoted >= UNNOTED.max(self.settings.bytes_a_day >> 4) || spent {
            self.note()?;
        }
        Ok(spent.then_some(Outcome::Spent))
    }

    fn end(&mut self, product: &mut dyn Product) -> Result<Option<Outcome>, Error> {
        match &mut self.state {
            State::Refresh(purpose) => {
                let is_timestamp = role(&self.refresh) == Some(Role::Timestamp);
                let verdict = self.refresh.end();
                let contact = is_timestamp && verdict.is_ok() && matches!(purpose, Purpose::Contact(_));
                // Even a file that ends the turn may leave something verified behind it.
                self.persist(product)?;
                verdict?;
                if contact { self.confirm(product) } else { self.go_on(product) }
            }
            State::Download { image, writer, end, .. } => {
                // The first page came once more, and there is what followed it.
                if writer.next() > *end {
                    *end = image.length;
                    product.observe(Event::Resumed(writer.next()));
                    return self.fetch(product);
                }
                writer.finish(self.flash, &mut self.progress)?;
                self.staged(product)
            }
            State::Over => Err(Misuse::TurnOver.into()),
        }
    }

    fn failed(&mut self, error: Error, product: &mut dyn Product) -> Result<Option<Outcome>, Error> {
        let Error::Environment(Environment::Transport(fault)) = error else { return Err(error) };
        match &self.state {
            State::Refresh(_) => match (fault, role(&self.refresh)) {
                (TransportFault::NotFound, _) => {
                    self.refresh.missing()?;
                    self.go_on(product)
                }
                (TransportFault::TooLong { limit }, Some(role)) => {
                    Err(Rejected::Metadata(tuffet_client::Rejected::Oversize { role, limit }).into())
                }
                _ => Err(error),
            },
            // What came stays, for the next turn goes on behind it; unless it is too long or too short for that.
            State::Download { image, writer, .. } => match fault {
                TransportFault::TooLong { .. } => {
                    let length = image.length;
                    writer.abandon(self.flash, &mut self.progress)?;
                    Err(Rejected::ImageTooLong { length }.into())
                }
                TransportFault::Range { .. } => {
                    writer.abandon(self.flash, &mut self.progress)?;
                    Err(error)
                }
                _ => Err(error),
            },
            State::Over => Err(Misuse::TurnOver.into()),
        }
    }

    /// Goes on after a file: to the next one, or to what all of them are for.
    fn go_on(&mut self, product: &mut dyn Product) -> Result<Option<Outcome>, Error> {
        let State::Refresh(purpose) = &self.state else { return Err(Misuse::TurnOver.into()) };
        let purpose = purpose.clone();
        let found = match self.refresh.want() {
            Wanted::Fetch { .. } | Wanted::Again { .. } | Wanted::Persist(_) => return self.fetch(product),
            Wanted::Install(candidate) => Some(candidate),
            Wanted::Over(tuffet_client::Rejected::NoRelease) if matches!(purpose, Purpose::Review(_)) => None,
            Wanted::Over(why) => return Err(Rejected::Metadata(why).into()),
            _ => None,
        };
        let slot = self.record.active.slot.other();
        let found = found.map(|candidate| slot_image(slot, candidate));
        self.mend(product)?;
        match (purpose, found) {
            (Purpose::Release { .. }, None) => {
                if let Some(sequence) = self.refresh.passed_over() {
                    product.observe(Event::PassedOver(sequence));
                }
                Ok(Some(Outcome::UpToDate))
            }
            (Purpose::Release { .. }, Some(image)) => self.selected(image, product),
            (Purpose::Again(image), found) => {
                if found.as_ref() == Some(&image) {
                    return self.request_trial(image, product);
                }
                self.abandon()?;
                Ok(Some(Outcome::Superseded))
            }
            (Purpose::Review(image), found) => self.reviewed(image, found, product),
            // A refresh without a timestamp that verifies does not come to an end.
            (Purpose::Contact(_), _) => self.confirm(product),
        }
    }

    fn fetch(&mut self, product: &mut dyn Product) -> Result<Option<Outcome>, Error> {
        self.want = Want::Fetch;
        if let Some(request) = self.request() {
            product.observe(Event::Fetch(&request));
        }
        Ok(None)
    }

    /// A release was found: has its image in the slot, from the repository unless it is there already.
    fn selected(&mut self, image: SlotImage, product: &mut dyn Product) -> Result<Option<Outcome>, Error> {
        if let Some(sequence) = self.refresh.passed_over() {
            product.observe(Event::PassedOver(sequence));
        }
        if let Wanted::Install(candidate) = self.refresh.want() {
            product.observe(Event::Selected(candidate));
        }
        let place = self.handover.place(self.flash, &self.record);
        let staged = BootRecord::load(self.flash)?.staged == Some(image.digest);
        if staged && boot::holds_at(self.flash, place, &image) {
            product.observe(Event::Staged(&image));
            // What was found a moment ago need not be found again.
            return if self.may_install(&image, product) {
                self.request_trial(image, product)
            } else {
                Ok(Some(Outcome::Staged(image)))
            };
        }
        if self.progress.erased >= ERASES_A_DAY {
            return Ok(Some(Outcome::Spent));
        }
        if !product.may(Ask::Download(&image, image.length)) {
            return Ok(Some(Outcome::NotAllowed));
        }
        let SlotImage { length, digest, .. } = image;
        let writer = SlotWriter::open(self.flash, self.handover, &mut self.progress, length, digest)?;
        if writer.next() > 0 {
            product.observe(Event::Resumed(writer.next()));
        }
        let (good_until, end) = (self.refresh.good_until(), writer.end());
        self.state = State::Download { image, good_until, end, writer };
        self.fetch(product)
    }

    /// The image is in its slot. Between that and a restart the release is authorised again.
    fn staged(&mut self, product: &mut dyn Product) -> Result<Option<Outcome>, Error> {
        let State::Download { image, good_until, .. } = core::mem::replace(&mut self.state, State::Over)
        else {
            return Err(Misuse::TurnOver.into());
        };
        product.observe(Event::Staged(&image));
        if !self.may_install(&image, product) {
            return Ok(Some(Outcome::Staged(image)));
        }
        let now = product.now();
        match self.source {
            Source::Repository => self.refresh(Purpose::Again(image), now, product),
            // A bundle says what it said, and a line may not say it twice. But it may have expired on the line.
            Source::Bundle => {
                if let Err(expired) = self.still_good(good_until, now.clock) {
                    self.abandon()?;
                    return Err(expired);
                }
                self.request_trial(image, product)
            }
        }
    }

    fn may_install(&mut self, image: &SlotImage, product: &mut dyn Product) -> bool {
        let may = product.may(Ask::Install(image));
        self.after.waiting = (!may).then(|| image.clone());
        may
    }

    fn request_trial(
        &mut self,
        image: SlotImage,
        product: &mut dyn Product,
    ) -> Result<Option<Outcome>, Error> {
        self.handover.request(self.flash, &image)?;
        product.observe(Event::Pending(&image));
        Ok(Some(Outcome::Pending(image)))
    }

    /// Whether the repository still wants what is pending. Only what it verifiably says takes the image back:
    /// a mirror that fails or serves rubbish does not.
    fn reviewed(
        &mut self,
        pending: SlotImage,
        found: Option<SlotImage>,
        product: &mut dyn Product,
    ) -> Result<Option<Outcome>, Error> {
        let wanted = found.is_some_and(|found| SlotImage { slot: pending.slot, ..found } == pending);
        if wanted {
            // A bootloader that was not asked yet is asked now.
            self.handover.request(self.flash, &pending)?;
            return Ok(Some(Outcome::Pending(pending)));
        }
        self.handover.revert(self.flash, Unfit::Withdrawn)?;
        self.abandon()?;
        self.settle_again()?;
        product.observe(Event::Reverted(&pending));
        Ok(Some(Outcome::Superseded))
    }

    /// The image on trial has reached its repository.
    fn confirm(&mut self, product: &mut dyn Product) -> Result<Option<Outcome>, Error> {
        let State::Refresh(Purpose::Contact(image)) = core::mem::replace(&mut self.state, State::Over) else {
            return Err(Misuse::TurnOver.into());
        };
        self.after.contacts = 0;
        // The record carries the image's security counter, so that it rises in the same write.
        self.handover.confirm(self.flash)?;
        self.settle_again()?;
        product.observe(Event::Confirmed(&image));
        Ok(Some(Outcome::Confirmed(image)))
    }

    /// Ends the turn, unless it goes on.
    fn settle_for(&mut self, went: Result<Option<Outcome>, Error>, product: &mut dyn Product) {
        let mut outcome = match went {
            Ok(None) => return,
            Ok(Some(outcome)) => Ok(outcome),
            Err(error) => Err(error),
        };
        match (&self.state, &outcome) {
            (State::Refresh(Purpose::Contact(image)), Err(error)) => {
                outcome = Ok(Outcome::NoContact(image.clone(), *error));
            }
            // A repository that cannot be asked has not changed its mind: what was downloaded may wait in the slot, which
            // no boot record names.
            (State::Refresh(Purpose::Again(_)), Err(Error::Rejected(_))) => {
                if let Err(error) = self.abandon() {
                    outcome = Err(error);
                }
            }
            _ => {}
        }
        self.state = State::Over;
        self.after.last = match &outcome {
            Ok(outcome @ Outcome::NoContact(_, error)) => (outcome.code(), error.code()),
            Ok(outcome) => (outcome.code(), 0),
            Err(error) => (FAILED, error.code()),
        };
        self.after.on_trial &= !matches!(outcome, Ok(Outcome::Confirmed(_)));
        self.want = self.pause(&outcome, product);
        self.outcome = outcome;
    }

    /// What to do after the turn. Notes what has to be known after a restart.
    fn pause(&mut self, outcome: &Result<Outcome, Error>, product: &mut dyn Product) -> Want {
        let (settings, id) = (*self.settings, self.device.id);
        let fault = match outcome {
            Err(Error::Environment(Environment::Transport(fault))) => Some(*fault),
            _ => None,
        };
        let failures = match outcome {
            Err(_) if !self.asked_for => one_more(self.progress.failures),
            Ok(Outcome::UpToDate | Outcome::Staged(_) | Outcome::Pending(_) | Outcome::Superseded) => 0,
            _ => self.progress.failures,
        };
        if failures != self.progress.failures {
            self.progress.failures = failures;
            // What cannot be noted is counted again after a restart.
            let _ = self.note();
        }
        let seconds = match outcome {
            Err(error) => {
                product.observe(Event::Failed(*error));
                let pause = settings.pause_after(failures, id);
                match fault {
                    Some(TransportFault::Busy { after, .. }) => pause.max(after.min(DAY)),
                    // What the server says it does not have, or does not give to us, it will not have in a minute.
                    Some(TransportFault::Status { code: 400..=499 } | TransportFault::NotFound) => {
                        pause.max(settings.pause(id))
                    }
                    _ => pause,
                }
            }
            Ok(Outcome::TooEarly) => settings.pause_after(failures, id),
            Ok(Outcome::UpToDate) => settings.pause(id),
            Ok(Outcome::Spent) => settings.pause(id).max(60 * 60),
            Ok(Outcome::Superseded) => settings.retry,
            Ok(Outcome::Confirmed(_)) => 1,
            Ok(Outcome::Undecided(_)) => HEALTH_AGAIN,
            Ok(Outcome::NoContact(_, error)) => {
                product.observe(Event::NoContact(*error));
                self.after.contacts = one_more(self.after.contacts);
                settings.pause_after(self.after.contacts, id)
            }
            Ok(Outcome::Staged(_) | Outcome::NotAllowed) => ASK_AGAIN,
            Ok(Outcome::Pending(image) | Outcome::Reverted(image)) => {
                if product.may(Ask::Restart(image)) {
                    return Want::Restart;
                }
                ASK_AGAIN
            }
        };
        Want::Wait(seconds)
    }

    /// Another day has other bounds.
    fn begin_day(&mut self, now: Now) {
        let start = self.refresh.trusted().start_time(not_before(self.factory, now.clock));
        let day = today(start, now);
        if day != self.progress.day {
            (self.progress.day, self.progress.spent, self.progress.erased) = (day, 0, 0);
        }
    }

    /// Bytes that may still come today.
    fn left(&self) -> u32 {
        let spent = self.progress.spent.saturating_add(self.after.unnoted);
        self.settings.bytes_a_day.saturating_sub(spent)
    }

    fn note(&mut self) -> Result<(), Error> {
        self.progress.spent = self.progress.spent.saturating_add(core::mem::take(&mut self.after.unnoted));
        self.progress.store(self.flash)
    }

    fn persist(&mut self, product: &mut dyn Product) -> Result<(), Error> {
        let Wanted::Persist(change) = self.refresh.want() else { return Ok(()) };
        if !TrustLost::has_floors(*self.lost) {
            let trusted = self.refresh.trusted();
            match change {
                Change::Root => store_root(self.flash, trusted.root())?,
                Change::Floors => store_floors(self.flash, trusted.floors(), self.memory, *self.lost)?,
            }
            product.observe(Event::Stored(change));
        }
        self.refresh.persisted();
        Ok(())
    }

    /// Writes a lost trust store anew, once the repository was verified from the factory's facts on.
    fn mend(&mut self, product: &mut dyn Product) -> Result<(), Error> {
        if let Some(lost) = *self.lost {
            let trusted = self.refresh.trusted();
            replace_lost(self.flash, trusted.root(), trusted.floors(), self.memory, lost)?;
            product.observe(Event::Stored(Change::Root));
            product.observe(Event::Stored(Change::Floors));
            *self.lost = None;
        }
        Ok(())
    }

    /// The boot record changed: so do ledger and counter.
    fn settle_again(&mut self) -> Result<(), Error> {
        self.record = BootRecord::load(self.flash)?;
        let Self { record, memory, lost, refresh, flash, .. } = self;
        if settle(flash, record, refresh.trusted().floors(), memory, **lost)? {
            // It counts from the day on which the next turn begins.
            self.progress.failed_on = 0;
        }
        Ok(())
    }

    /// What is in the slot is not to be started, nor gone on with.
    fn abandon(&mut self) -> Result<(), Error> {
        let place = self.handover.place(self.flash, &self.record);
        abandon(self.flash, &mut self.progress, self.record.active.slot.other(), place)
    }

    /// Whether metadata that are good until then are good yet.
    fn still_good(&self, (role, expires): (Role, u64), clock: Clock) -> Result<(), Error> {
        let start = self.refresh.trusted().start_time(not_before(self.factory, clock));
        if expires > start {
            return Ok(());
        }
        let freeze = tuffet_client::Rejected::Freeze { role, expires: Date(expires), start: Date(start) };
        Err(Rejected::Metadata(freeze).into())
    }
}

/// It is later than the image was built, whatever the clock says.
fn not_before(factory: &Factory<'_>, clock: Clock) -> Clock {
    Clock::At(match clock {
        Clock::At(now) => now.max(factory.built),
        Clock::Unknown => factory.built,
    })
}

/// Days since 1970. Without a clock it is the day of the newest date that was signed, and then some.
fn today(start: u64, now: Now) -> u32 {
    let since = if now.clock == Clock::Unknown { now.uptime } else { 0 };
    let days = start.saturating_add(since.into()).checked_div(DAY.into()).unwrap_or(0);
    u32::try_from(days).unwrap_or(u32::MAX)
}

/// Brings ledger and counter up to what the boot record says, and tells whether a trial was entered. Done at every turn, so that a cut between
/// the two records leaves nothing undone.
fn settle<F: NorFlash>(
    flash: &mut Flash<F>,
    record: &mut BootRecord,
    floors: &Floors,
    memory: &mut Memory,
    lost: Option<TrustLost>,
) -> Result<bool, Error> {
    if record.trial.is_none() {
        // Early, so that a refused image changes no byte here. Before a slot is erased it is insisted upon.
        let _ = record.store_apart(flash);
    }
    let entered = record.ended.is_some_and(|ended| memory.ledger.enter(&ended));
    let mut changed = entered;
    if memory.counter < record.active.counter {
        memory.counter = record.active.counter;
        changed = true;
    }
    // While the floors are lost nothing is in a hurry to overwrite them, for they may read again; the boot
    // record says the same at the next turn, and what is verified is stored along with this.
    if changed && !TrustLost::has_floors(lost) {
        store_floors(flash, floors, memory, lost)?;
    }
    Ok(entered)
}

fn role(refresh: &Refresh<'_>) -> Option<Role> {
    match refresh.want() {
        Wanted::Fetch { file, .. } | Wanted::Again { file, .. } => Some(file.role),
        _ => None,
    }
}

/// What the boot record says of a candidate whose image lies in this slot.
fn slot_image(slot: SlotId, candidate: &Candidate) -> SlotImage {
    let Candidate { sequence, counter, version, image, .. } = candidate;
    let (length, digest) = (image.length, image.sha256);
    SlotImage { slot, length, digest, sequence: *sequence, counter: *counter, version: version.clone() }
}
