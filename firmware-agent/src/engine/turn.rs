//! One turn of an engine, from one file to the next.

use embedded_storage::nor_flash::NorFlash;
use tuffet_client::limits::DEVICE;
use tuffet_client::time::Date;
use tuffet_client::{
    Candidate, Change, Clock, Device, Entry, Floors, Goal, Plan, Refresh, Role, Want as Wanted,
};

use super::{After, Engine, Input, Outcome, Source, Want};
use crate::boot::{self, BootRecord, SlotImage, Trial, Unfit};
use crate::error::{Environment, Error, Misuse, Rejected};
use crate::event::Event;
use crate::factory::Factory;
use crate::flash::Flash;
use crate::flash_map::{Region, SlotId};
use crate::handover::{Handover, Standing};
use crate::product::{Ask, Health, Now, Product};
use crate::progress::{Download, Progress};
use crate::report::FAILED;
use crate::schedule::{ASK_AGAIN, DAY, ERASES_A_DAY, HEALTH_AGAIN, Settings, one_more};
use crate::slot::{SlotWriter, abandon};
use crate::transport::{Request, TransportFault};
use crate::trust_store::{Memory, Trust, TrustLost, replace_lost, store_floors, store_root};

/// Bytes of metadata that may come on every day, however few its settings allow.
const LEAST: u32 = 8 * 1024;

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
    /// The image that is pending was authorised in this turn.
    authorised: bool,
    /// When the turn began, or its last refresh.
    now: Now,
    /// What it is about: the image that is on trial, pending, found or waiting. Until there is one, the active one. It is
    /// here, once, for each copy on its way through the functions below is code.
    image: SlotImage,
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
        /// Whose file of those that lead to it expires first, and when.
        good_until: (Role, u64),
        /// What of it is fetched now ends here.
        end: u32,
        writer: SlotWriter,
    },
    Over,
}

/// What a refresh is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To find the release to install. A poll looks no further than at the timestamp if that is the trusted one.
    Release { poll: bool },
    /// To see whether that is still the release, whose image came meanwhile.
    Again,
    /// To see whether the pending image is still wanted.
    Review,
    /// To see a timestamp that verifies.
    Contact,
}

/// How a turn ends: its [`Outcome`], without the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    UpToDate,
    Staged,
    Pending,
    Superseded,
    Confirmed,
    Reverted,
    Undecided,
    NotAllowed,
    /// Not allowed, after it was found out what it is about.
    NotYet,
    TooEarly,
    Spent,
}

impl<'t, F: NorFlash, H: Handover<F>> Turn<'t, F, H> {
    /// A turn that has begun. It is moved once, to its place; so what it is made of is made before, and on another stack.
    #[inline(never)]
    pub(super) fn begun(
        engine: &'t mut Engine<'_, F, H>,
        trust: &'t mut Trust,
        scratch: &'t mut [u8],
        source: Source,
        standing: (BootRecord, Progress, Now),
        product: &mut dyn Product,
    ) -> Self {
        let mut turn = Self::new(engine, trust, scratch, source, standing);
        let begun = turn.begin(product);
        turn.settle_for(begun, product);
        turn
    }

    /// How things are, which is not known if this fails: then there is no turn.
    #[inline(never)]
    pub(super) fn look(
        engine: &mut Engine<'_, F, H>,
        trust: &mut Trust,
        product: &mut dyn Product,
    ) -> Result<(BootRecord, Progress, Now), Error> {
        let Engine { flash, handover, factory, id, bans, after, .. } = engine;
        let Trust { trusted, memory, lost } = trust;
        if let Some(lost) = *lost {
            product.observe(Event::TrustLost(lost));
        }
        let Standing { mut record, on_trial } = handover.standing(flash)?;
        (after.on_trial, after.errors) = (on_trial, 0);
        let mut progress = Progress::load(flash);
        if settle(flash, &mut record, trusted.floors(), memory, *lost)? {
            progress.failed_on = 0;
        }
        let now = product.now();
        let today = today(trusted.start_time(not_before(factory, now.clock)), now);
        // A clock that went back does not make a pause longer.
        let failed_on = Some(progress.failed_on).filter(|day| (1..=today).contains(day)).unwrap_or(today);
        memory.ledger.ban(bans, today.saturating_sub(failed_on));
        if !bans.is_empty() && progress.failed_on != failed_on {
            progress.failed_on = failed_on;
            if !TrustLost::has_floors(*lost) {
                // Later will do, too.
                let _ = progress.store(flash);
            }
        }
        // With other names it has no repository.
        let Factory { product: name, hardware, channel, .. } = *factory;
        Device { product: name, hardware, channel, id, sequence: 0, counter: 0, banned: &[] }
            .release_path()?;
        Ok((record, progress, now))
    }

    #[inline(never)]
    fn new(
        engine: &'t mut Engine<'_, F, H>,
        trust: &'t mut Trust,
        scratch: &'t mut [u8],
        source: Source,
        (record, progress, now): (BootRecord, Progress, Now),
    ) -> Self {
        let Engine { flash, handover, crypto, factory, id, settings, bans, after } = engine;
        let Trust { trusted, memory, lost } = trust;
        let Factory { product: name, hardware, channel, counter, .. } = *factory;
        // The running image's own counter binds what it installs. It is not stored, for this may be a trial.
        let counter = memory.counter.max(counter);
        let sequence = record.active.sequence;
        let device = Device { product: name, hardware, channel, id, sequence, counter, banned: bans };
        let goal = Goal::Release(device);
        let (entry, clock) = (Entry::Refresh, Clock::Unknown);
        let plan = Plan { crypto, limits: &DEVICE, goal, entry, clock, kept: None };
        let (state, want, outcome) = (State::Over, Want::Wait(0), Ok(Outcome::NotAllowed));
        let asked_for = core::mem::take(&mut after.hurry);
        let image = record.active.clone();
        Turn {
            flash,
            handover,
            refresh: Refresh::idle(plan, trusted, scratch),
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
            authorised: false,
            now,
            image,
            state,
            want,
            outcome,
        }
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
        let mut request = Request::empty();
        self.write_request(&mut request).then_some(request)
    }

    /// The same in the place of an empty one; whether a file is wanted.
    fn write_request(&self, request: &mut Request) -> bool {
        match (&self.state, self.refresh.want()) {
            (State::Download { writer, end, .. }, Wanted::Install(candidate)) => {
                request.be_image(candidate);
                (request.from, request.limit, request.part) = (writer.next(), *end, *end < self.image.length);
            }
            (State::Refresh(_), Wanted::Fetch { file, limit } | Wanted::Again { file, limit }) => {
                request.be_metadata(&file, limit);
            }
            _ => return false,
        }
        true
    }

    /// Takes what happened, and says what to do. A turn that is over takes nothing, and says so again.
    pub fn step(&mut self, input: Input<'_>, product: &mut dyn Product) -> Want {
        if matches!(self.state, State::Over) {
            return self.want;
        }
        let went = match input {
            Input::Chunk(bytes) => self.chunk(bytes, product),
            Input::End => self.end(product),
            Input::Failed(error) => self.failed(error, product),
        };
        self.settle_for(went, product);
        self.want
    }

    /// Where a turn begins.
    fn begin(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        let first = !core::mem::replace(&mut self.after.started, true);
        if let Some(Trial { image, .. }) = &self.record.trial {
            self.image.clone_from(image);
            if self.after.on_trial {
                return self.prove(self.now, product);
            }
            if first && self.waits_first() {
                return Ok(Some(End::TooEarly));
            }
            // Authorised once more before the restart; and while there is none in sight as often as the repository is looked
            // at, for whoever pulls the battery restarts, too.
            let is_due = self.after.denied.saturating_mul(ASK_AGAIN) >= self.settings.every;
            if (!is_due && !product.may(Ask::Restart(image))) || !product.may(Ask::Check) {
                self.after.denied = self.after.denied.saturating_add(1);
                return Ok(Some(End::Pending));
            }
            self.after.denied = 0;
            return self.refresh(Purpose::Review, self.now, product);
        }
        if first && self.waits_first() {
            return Ok(Some(End::TooEarly));
        }
        if let Some(image) = &self.after.waiting
            && !product.may(Ask::Install(image))
        {
            self.image.clone_from(image);
            return Ok(Some(End::Staged));
        }
        if !product.may(Ask::Check) {
            return Ok(Some(End::NotAllowed));
        }
        self.refresh(Purpose::Release { poll: !self.asked_for }, self.now, product)
    }

    /// Whether the first turn after a start waits, for the last ones before it failed.
    fn waits_first(&self) -> bool {
        !self.asked_for && self.progress.failures > 0
    }

    /// The image on trial runs.
    fn prove(&mut self, now: Now, product: &mut dyn Product) -> Result<Option<End>, Error> {
        match product.health(&self.image) {
            Health::Unknown => Ok(Some(End::Undecided)),
            Health::Good => self.refresh(Purpose::Contact, now, product),
            Health::Bad => {
                self.handover.revert(self.flash, Unfit::Health)?;
                self.settle_again()?;
                product.observe(Event::Reverted(&self.image));
                Ok(Some(End::Reverted))
            }
        }
    }

    /// Begins to verify files.
    fn refresh(
        &mut self,
        purpose: Purpose,
        now: Now,
        product: &mut dyn Product,
    ) -> Result<Option<End>, Error> {
        let clock = not_before(self.factory, now.clock);
        self.begin_day(now);
        // Without a clock it is the timestamp that says what day it is.
        if self.left() == 0 && purpose != Purpose::Contact && now.clock != Clock::Unknown {
            return Ok(Some(End::Spent));
        }
        self.now = now;
        let entry = match (self.source, purpose) {
            (Source::Bundle, _) => Entry::Offline,
            (Source::Repository, Purpose::Release { poll: true }) => Entry::Poll,
            (Source::Repository, _) => Entry::Refresh,
        };
        let running = if purpose == Purpose::Contact { &self.image } else { &self.record.active };
        let sequence = running.sequence;
        self.refresh.again(Goal::Release(Device { sequence, ..self.device }), entry, clock)?;
        self.state = State::Refresh(purpose);
        // It begins with a file in any case.
        self.fetch(product)
    }

    fn chunk(&mut self, bytes: &[u8], product: &mut dyn Product) -> Result<Option<End>, Error> {
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        if self.source == Source::Repository {
            self.after.unnoted = self.after.unnoted.saturating_add(length);
        }
        match &mut self.state {
            State::Refresh(_) => self.refresh.feed(bytes)?,
            State::Download { writer, .. } => {
                writer.write(self.flash, &mut self.progress, bytes)?;
                product.observe(Event::Download { received: writer.next(), length: self.image.length });
            }
            State::Over => return Err(Misuse::TurnOver.into()),
        }
        let proves = matches!(self.state, State::Refresh(Purpose::Contact));
        let tells_the_day = self.now.clock == Clock::Unknown
            && matches!(role(&self.refresh), Some(Role::Root | Role::Timestamp));
        let spent = self.left() == 0 && !proves && !tells_the_day;
        if self.after.unnoted >= UNNOTED.max(self.settings.bytes_a_day >> 4) || spent {
            self.note()?;
        }
        Ok(spent.then_some(End::Spent))
    }

    fn end(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        match &mut self.state {
            State::Refresh(purpose) => {
                let purpose = *purpose;
                let is_timestamp = role(&self.refresh) == Some(Role::Timestamp);
                let verdict = self.refresh.end();
                let contact = is_timestamp && verdict.is_ok() && purpose == Purpose::Contact;
                // Even a file that ends the turn may leave something verified behind it.
                self.persist(product)?;
                verdict?;
                if contact {
                    return self.confirm(product);
                }
                self.begin_day(self.now);
                if is_timestamp && self.left() == 0 && purpose != Purpose::Contact {
                    return Ok(Some(End::Spent));
                }
                self.go_on(product)
            }
            State::Download { writer, end, .. } => {
                // The first page came once more, and there is what followed it.
                if *end < self.image.length && writer.next() >= *end {
                    *end = self.image.length;
                    product.observe(Event::Resumed(writer.next()));
                    return self.fetch(product);
                }
                // What came stays. A server whose file ends here has nothing to offer from here on, and says so next time.
                let (length, received) = (self.image.length, writer.next());
                if received < length {
                    return Err(Rejected::ImageTooShort { length, received }.into());
                }
                writer.finish(self.flash, &mut self.progress)?;
                self.staged(product)
            }
            State::Over => Err(Misuse::TurnOver.into()),
        }
    }

    fn failed(&mut self, error: Error, product: &mut dyn Product) -> Result<Option<End>, Error> {
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
            State::Download { writer, .. } => match fault {
                TransportFault::TooLong { .. } => {
                    let length = self.image.length;
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
    fn go_on(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        let State::Refresh(purpose) = self.state else { return Err(Misuse::TurnOver.into()) };
        let is_found = match self.refresh.want() {
            Wanted::Fetch { .. } | Wanted::Again { .. } | Wanted::Persist(_) => return self.fetch(product),
            Wanted::Install(candidate) if matches!(purpose, Purpose::Release { .. }) => {
                self.image = slot_image(self.record.active.slot.other(), candidate);
                true
            }
            // Whether that is still the one.
            Wanted::Install(candidate) => is_of(&self.image, candidate),
            // All that verifiably says that it is not wanted any more.
            Wanted::Over(
                tuffet_client::Rejected::NoRelease
                | tuffet_client::Rejected::ImageNotAuthorised { .. }
                | tuffet_client::Rejected::RoleNotListed,
            ) if purpose == Purpose::Review => false,
            Wanted::Over(why) => return Err(Rejected::Metadata(why).into()),
            _ => false,
        };
        self.mend(product)?;
        match purpose {
            Purpose::Release { .. } => {
                self.after.waiting = None;
                if let Some(sequence) = self.refresh.passed_over() {
                    product.observe(Event::PassedOver(sequence));
                }
                if is_found { self.selected(product) } else { Ok(Some(End::UpToDate)) }
            }
            Purpose::Again if is_found => self.request_trial(product),
            Purpose::Again => {
                self.abandon()?;
                Ok(Some(End::Superseded))
            }
            Purpose::Review => self.reviewed(is_found, product),
            // A refresh without a timestamp that verifies does not come to an end.
            Purpose::Contact => self.confirm(product),
        }
    }

    #[inline(never)]
    fn fetch(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        self.want = Want::Fetch;
        let mut request = Request::empty();
        if self.write_request(&mut request) {
            product.observe(Event::Fetch(&request));
        }
        Ok(None)
    }

    /// A release was found: has its image in the slot, from the repository unless it is there already.
    #[inline(never)]
    fn selected(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        if let Wanted::Install(candidate) = self.refresh.want() {
            product.observe(Event::Selected(candidate));
        }
        let place = self.handover.place(self.flash, &self.record);
        let SlotImage { slot, digest, .. } = self.image;
        // What is erased is no longer under way, whatever the note in the boot record says.
        let staged = BootRecord::load(self.flash)?.staged == Some(digest)
            && self.progress.download == Some(Download { slot, digest });
        if staged && boot::holds_at(self.flash, place, &self.image) {
            product.observe(Event::Staged(&self.image));
            // What was found a moment ago need not be found again.
            return if self.may_install(product) {
                self.request_trial(product)
            } else {
                Ok(Some(End::Staged))
            };
        }
        if self.progress.erased >= ERASES_A_DAY {
            return Ok(Some(End::Spent));
        }
        if !product.may(Ask::Download(&self.image)) {
            return Ok(Some(End::NotYet));
        }
        let SlotImage { length, digest, .. } = self.image;
        let (slot, place) = SlotWriter::inactive(self.flash, self.handover, length, digest)?;
        self.download(slot, place);
        let State::Download { writer, end, .. } = &mut self.state else {
            return Err(Misuse::TurnOver.into());
        };
        writer.make_room(self.flash, &mut self.progress)?;
        *end = writer.end();
        if writer.next() > 0 {
            product.observe(Event::Resumed(writer.next()));
        }
        self.fetch(product)
    }

    /// The image is what comes next, into this slot. Out of line, for the writer is on the stack on its way to its place.
    #[inline(never)]
    fn download(&mut self, slot: SlotId, place: Region) {
        let SlotImage { length, digest, .. } = self.image;
        let writer = SlotWriter::new(self.flash, slot, place, length, digest, H::HEADER_LAST);
        self.state = State::Download { good_until: self.refresh.good_until(), end: length, writer };
    }

    /// The image is in its slot. Between that and a restart the release is authorised again.
    fn staged(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        let State::Download { good_until, .. } = self.state else { return Err(Misuse::TurnOver.into()) };
        self.state = State::Over;
        product.observe(Event::Staged(&self.image));
        if !self.may_install(product) {
            return Ok(Some(End::Staged));
        }
        let now = product.now();
        match self.source {
            Source::Repository => self.refresh(Purpose::Again, now, product),
            // A bundle says what it said, and a line may not say it twice. But it may have expired on the line.
            Source::Bundle => {
                if let Err(expired) = self.still_good(good_until, now.clock) {
                    self.abandon()?;
                    return Err(expired);
                }
                self.request_trial(product)
            }
        }
    }

    fn may_install(&mut self, product: &mut dyn Product) -> bool {
        let may = product.may(Ask::Install(&self.image));
        self.after.waiting = (!may).then(|| self.image.clone());
        may
    }

    fn request_trial(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        let requested = self.handover.request(self.flash, &self.image);
        if let Err(Error::Environment(Environment::ImageNotWritten { .. })) = requested {
            // It is not what it was when it was read back, and comes anew.
            self.abandon()?;
        }
        requested?;
        self.authorised = true;
        product.observe(Event::Pending(&self.image));
        Ok(Some(End::Pending))
    }

    /// Whether the repository still wants what is pending. Only what it verifiably says takes the image back:
    /// a mirror that fails or serves rubbish does not.
    fn reviewed(&mut self, wanted: bool, product: &mut dyn Product) -> Result<Option<End>, Error> {
        if wanted {
            // A bootloader that was not asked yet is asked now.
            self.handover.request(self.flash, &self.image)?;
            self.authorised = true;
            return Ok(Some(End::Pending));
        }
        self.handover.revert(self.flash, Unfit::Withdrawn)?;
        self.abandon()?;
        self.settle_again()?;
        product.observe(Event::Reverted(&self.image));
        Ok(Some(End::Superseded))
    }

    /// The image on trial has reached its repository.
    fn confirm(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        let State::Refresh(Purpose::Contact) = self.state else { return Err(Misuse::TurnOver.into()) };
        self.state = State::Over;
        self.after.contacts = 0;
        // The record carries the image's security counter, so that it rises in the same write.
        self.handover.confirm(self.flash)?;
        self.settle_again()?;
        product.observe(Event::Confirmed(&self.image));
        Ok(Some(End::Confirmed))
    }

    /// Ends the turn, unless it goes on. Out of line, so that its stack is not below that of a verification.
    #[inline(never)]
    fn settle_for(&mut self, went: Result<Option<End>, Error>, product: &mut dyn Product) {
        let mut went = match went {
            Ok(None) => return,
            Ok(Some(end)) => Ok(end),
            Err(error) => Err(error),
        };
        let purpose = match self.state {
            State::Refresh(purpose) => Some(purpose),
            _ => None,
        };
        // A repository that cannot be asked has not changed its mind: what was downloaded may wait in the slot, which
        // no boot record names.
        if let (Some(Purpose::Again), Err(Error::Rejected(_))) = (purpose, went)
            && let Err(error) = self.abandon()
        {
            went = Err(error);
        }
        self.state = State::Over;
        self.after.on_trial &= went != Ok(End::Confirmed);
        if let (Some(Purpose::Contact), Err(error)) = (purpose, went) {
            self.after.contacts = one_more(self.after.contacts);
            product.observe(Event::NoContact(error));
            self.want = Want::Wait(self.settings.pause_after(self.after.contacts, self.device.id));
            self.outcome = Ok(Outcome::NoContact(self.image.clone(), error));
        } else {
            self.want = self.pause(went, product);
            self.outcome = went.map(|end| self.ended(end));
        }
        self.after.last = match &self.outcome {
            Ok(outcome @ Outcome::NoContact(_, error)) => (outcome.code(), error.code()),
            Ok(outcome) => (outcome.code(), 0),
            Err(error) => (FAILED, error.code()),
        };
    }

    fn ended(&self, end: End) -> Outcome {
        let image = self.image.clone();
        match end {
            End::UpToDate => Outcome::UpToDate,
            End::Superseded => Outcome::Superseded,
            End::NotAllowed | End::NotYet => Outcome::NotAllowed,
            End::TooEarly => Outcome::TooEarly,
            End::Spent => Outcome::Spent,
            End::Staged => Outcome::Staged(image),
            End::Pending => Outcome::Pending(image),
            End::Confirmed => Outcome::Confirmed(image),
            End::Reverted => Outcome::Reverted(image),
            End::Undecided => Outcome::Undecided(image),
        }
    }

    /// What to do after the turn. Notes what has to be known after a restart.
    fn pause(&mut self, went: Result<End, Error>, product: &mut dyn Product) -> Want {
        let (settings, id) = (*self.settings, self.device.id);
        let failures = match went {
            Err(_) if !self.asked_for => one_more(self.progress.failures),
            // A bootloader that was asked before this turn has not tried it yet.
            Ok(End::Pending) if self.authorised && self.record.trial.is_some() => {
                one_more(self.progress.failures)
            }
            Ok(End::Pending) if !self.authorised => self.progress.failures,
            Ok(End::UpToDate | End::Staged | End::Pending | End::Superseded | End::Confirmed) => 0,
            // A device that is switched off before the pause is over has waited, too.
            Ok(End::TooEarly) => self.progress.failures >> 1,
            _ => self.progress.failures,
        };
        let paused = self.progress.failures;
        if failures != self.progress.failures {
            self.progress.failures = failures;
            // What cannot be noted is counted again after a restart.
            let _ = self.note();
        }
        let seconds = match went {
            Err(error) => {
                product.observe(Event::Failed(error));
                let pause = settings.pause_after(failures, id);
                match error {
                    Error::Environment(Environment::Transport(TransportFault::Busy { after, .. })) => {
                        pause.max(after.min(DAY))
                    }
                    // What the server says it does not have, or does not give to us, it will not have in a minute.
                    Error::Environment(Environment::Transport(
                        TransportFault::Status { code: 400..=499 } | TransportFault::NotFound,
                    ))
                    | Error::Environment(Environment::Metadata(tuffet_client::Environment::Missing {
                        ..
                    })) => pause.max(settings.pause(id)),
                    _ => pause,
                }
            }
            Ok(End::TooEarly) => settings.pause_after(paused, id),
            // Whoever asks a product each minute need not ask the repository each time.
            Ok(End::UpToDate | End::NotYet) => settings.pause(id),
            Ok(End::Spent) => settings.pause(id).max(60 * 60),
            Ok(End::Superseded) => settings.retry,
            Ok(End::Confirmed) => 1,
            Ok(End::Undecided) => HEALTH_AGAIN,
            Ok(End::Staged | End::NotAllowed) => ASK_AGAIN,
            // Not if it was refused a moment ago: what is pending is authorised before a restart, and not after it was asked.
            Ok(End::Pending) if !self.authorised => ASK_AGAIN,
            Ok(End::Pending | End::Reverted) => {
                if product.may(Ask::Restart(&self.image)) {
                    return Want::Restart;
                }
                ASK_AGAIN
            }
        };
        Want::Wait(seconds)
    }

    /// Another day has other bounds. A clock that goes back gives nothing back.
    fn begin_day(&mut self, now: Now) {
        let start = self.refresh.trusted().start_time(not_before(self.factory, now.clock));
        let day = today(start, now);
        if day > self.progress.day {
            (self.progress.spent, self.progress.erased) = (0, 0);
        }
        self.progress.day = day;
    }

    /// Bytes that may still come today.
    fn left(&self) -> u32 {
        if self.source == Source::Bundle {
            return u32::MAX;
        }
        let spent = self.progress.spent.saturating_add(self.after.unnoted);
        // What came of an erase unit that is not full is fetched once more: with less than this an image would never be whole.
        let least = self.flash.map().layout().erase_unit.saturating_mul(2).saturating_add(LEAST);
        self.settings.bytes_a_day.max(least).saturating_sub(spent)
    }

    /// Not while the floors are lost: what is written there erases, in time, and they may read again.
    fn note(&mut self) -> Result<(), Error> {
        if TrustLost::has_floors(*self.lost) {
            return Ok(());
        }
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
    // In two steps, for devices that divide 64 bits by 900 bytes of code.
    let shifts = DAY.trailing_zeros();
    let start = start.saturating_add(since.into()).checked_shr(shifts).unwrap_or(0);
    let day = DAY.checked_shr(shifts).unwrap_or(DAY);
    u32::try_from(start).unwrap_or(u32::MAX).checked_div(day).unwrap_or(0)
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

/// Whether this is the candidate's image, wherever it lies.
fn is_of(image: &SlotImage, candidate: &Candidate) -> bool {
    *image == slot_image(image.slot, candidate)
}
