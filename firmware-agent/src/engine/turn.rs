//! One turn of an engine, from one file to the next.

mod day;
mod pause;

use embedded_storage::nor_flash::NorFlash;
use tuffet_client::limits::DEVICE;
use tuffet_client::time::Date;
use tuffet_client::{
    Candidate, Change, Clock, Device, Entry, Floors, Goal, Plan, Refresh, Role, Want as Wanted,
};

use self::day::{not_before, today};
use super::{After, Engine, Input, Outcome, Source, Want};
use crate::boot::{self, BootRecord, SlotImage, Trial, TrialEnd, Unfit};
use crate::error::{Environment, Error, Misuse, Rejected};
use crate::event::Event;
use crate::factory::Factory;
use crate::flash::Flash;
use crate::flash_map::{Region, SlotId};
use crate::handover::{Handover, Standing};
use crate::product::{Ask, Health, Now, Product};
use crate::progress::{Download, Progress};
use crate::schedule::{ASK_AGAIN, ERASES_A_DAY, Settings};
use crate::slot::{SlotWriter, abandon};
use crate::transport::{Request, TransportFault};
use crate::trust_store::{Memory, Trust, TrustLost, replace_lost, store_floors, store_root};

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
        /// So much of it was in the slot before.
        before: u32,
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
        settle(flash, &mut record, trusted.floors(), memory, &mut progress, *lost)?;
        let now = product.now();
        let today = today(trusted, factory, now);
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
            Input::Passed(bytes) => self.count(bytes),
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
                return self.prove(product);
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
            return self.refresh(Purpose::Review, product);
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
        self.refresh(Purpose::Release { poll: !self.asked_for }, product)
    }

    /// The image on trial runs.
    fn prove(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        match product.health(&self.image) {
            Health::Unknown => Ok(Some(End::Undecided)),
            Health::Good => self.refresh(Purpose::Contact, product),
            Health::Bad => {
                self.handover.revert(self.flash, Unfit::Health)?;
                self.settle_again()?;
                product.observe(Event::Reverted(&self.image));
                Ok(Some(End::Reverted))
            }
        }
    }

    /// Begins to verify files.
    fn refresh(&mut self, purpose: Purpose, product: &mut dyn Product) -> Result<Option<End>, Error> {
        let clock = self.now.clock;
        self.begin_day();
        // Without a clock it is the timestamp that says what day it is.
        if self.left() == 0 && purpose != Purpose::Contact && clock != Clock::Unknown {
            return Ok(Some(End::Spent));
        }
        let clock = not_before(self.factory, clock);
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
        let ended = self.count(u32::try_from(bytes.len()).unwrap_or(u32::MAX))?;
        match &mut self.state {
            State::Refresh(_) => self.refresh.feed(bytes)?,
            State::Download { writer, .. } => {
                writer.write(self.flash, &mut self.progress, bytes)?;
                product.observe(Event::Download { received: writer.next(), length: self.image.length });
            }
            State::Over => return Err(Misuse::TurnOver.into()),
        }
        Ok(ended)
    }

    /// Counts bytes that came. The turn ends with these if a day has no more.
    fn count(&mut self, bytes: u32) -> Result<Option<End>, Error> {
        self.spend(bytes)?;
        let proves = matches!(self.state, State::Refresh(Purpose::Contact));
        let tells_the_day = self.now.clock == Clock::Unknown
            && matches!(role(&self.refresh), Some(Role::Root | Role::Timestamp));
        Ok((self.left() == 0 && !proves && !tells_the_day).then_some(End::Spent))
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
                self.begin_day();
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
                self.staged(true, product)
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
            ) if matches!(purpose, Purpose::Again | Purpose::Review) => false,
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
        self.spend(0)?;
        self.want = Want::Fetch;
        let mut request = Request::empty();
        if self.write_request(&mut request) {
            product.observe(Event::Fetch(&request));
        }
        Ok(None)
    }

    /// A release was found: has its image in the slot, from the repository unless it is there already.
    fn selected(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        if let Wanted::Install(candidate) = self.refresh.want() {
            product.observe(Event::Selected(candidate));
        }
        if self.is_staged()? { self.staged(false, product) } else { self.begin_download(product) }
    }

    /// What is erased is no longer under way, whatever the note in the boot record says.
    fn is_under_way(&self) -> bool {
        let SlotImage { slot, digest, .. } = self.image;
        self.progress.download == Some(Download { slot, digest })
    }

    /// Whether the image is in its slot. Out of line, so that its stack is not below that of asking for a trial.
    #[inline(never)]
    fn is_staged(&mut self) -> Result<bool, Error> {
        let place = self.handover.place(self.flash, &self.record);
        let staged = self.is_under_way() && BootRecord::load(self.flash)?.staged == Some(self.image.digest);
        Ok(staged && boot::holds_at(self.flash, place, &self.image))
    }

    /// Out of line for the same reason.
    #[inline(never)]
    fn begin_download(&mut self, product: &mut dyn Product) -> Result<Option<End>, Error> {
        let under_way = self.is_under_way();
        if self.progress.erased >= ERASES_A_DAY && !(under_way && self.after.written > 0) {
            return Ok(Some(End::Spent));
        }
        if !product.may(Ask::Download(&self.image)) {
            return Ok(Some(End::NotYet));
        }
        let SlotImage { length, digest, .. } = self.image;
        // Gone until this turn has come to its end.
        let intact = core::mem::take(&mut self.after.written);
        let (slot, place) = SlotWriter::inactive(self.flash, self.handover, length, digest)?;
        self.download(slot, place);
        let State::Download { writer, before, end } = &mut self.state else {
            return Err(Misuse::TurnOver.into());
        };
        if let Err(error) = writer.make_room(self.flash, &mut self.progress, intact) {
            // Nobody knows what is in the slot, and the writer knows no better.
            self.state = State::Over;
            return Err(error);
        }
        (*before, *end) = (writer.written(), writer.end());
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
        self.state = State::Download { before: 0, end: length, writer };
    }

    /// The image is in its slot. If it only just `came`, the release is authorised again; what was found a moment ago need
    /// not be.
    fn staged(&mut self, came: bool, product: &mut dyn Product) -> Result<Option<End>, Error> {
        self.state = State::Over;
        product.observe(Event::Staged(&self.image));
        let may = product.may(Ask::Install(&self.image));
        self.after.waiting = (!may).then(|| self.image.clone());
        if !may {
            return Ok(Some(End::Staged));
        }
        if came {
            self.now = product.now();
            match self.source {
                Source::Repository => return self.refresh(Purpose::Again, product),
                // A bundle says what it said, and a line may not say it twice. But it may have expired on the line.
                Source::Bundle => self.still_good()?,
            }
        }
        self.request_trial(product)
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
        let Self { record, memory, progress, lost, refresh, flash, .. } = self;
        settle(flash, record, refresh.trusted().floors(), memory, progress, **lost)
    }

    /// What is in the slot is not to be started, nor gone on with.
    fn abandon(&mut self) -> Result<(), Error> {
        let place = self.handover.place(self.flash, &self.record);
        abandon(self.flash, &mut self.progress, self.record.active.slot.other(), place)
    }

    /// Whether what a bundle said of the image is good yet.
    fn still_good(&self) -> Result<(), Error> {
        let (role, expires) = self.refresh.good_until();
        let start = self.refresh.trusted().start_time(not_before(self.factory, self.now.clock));
        if expires > start {
            return Ok(());
        }
        let freeze = tuffet_client::Rejected::Freeze { role, expires: Date(expires), start: Date(start) };
        Err(Rejected::Metadata(freeze).into())
    }
}

/// Brings ledger and counter up to what the boot record says. Done at every turn, so that a cut between the two records leaves
/// nothing undone.
fn settle<F: NorFlash>(
    flash: &mut Flash<F>,
    record: &mut BootRecord,
    floors: &Floors,
    memory: &mut Memory,
    progress: &mut Progress,
    lost: Option<TrustLost>,
) -> Result<(), Error> {
    if record.trial.is_none() {
        // Early, so that a refused image changes no byte here. Before a slot is erased it is insisted upon.
        let _ = record.store_apart(flash);
    }
    let entered = record.ended.filter(|ended| memory.ledger.enter(ended));
    let mut changed = entered.is_some();
    if memory.counter < record.active.counter {
        memory.counter = record.active.counter;
        changed = true;
    }
    // While the floors are lost nothing is in a hurry to overwrite them, for they may read again; the boot
    // record says the same at the next turn, and what is verified is stored along with this.
    let keeps = !TrustLost::has_floors(lost);
    if entered.is_some_and(|ended| !matches!(ended.end, TrialEnd::Confirmed | TrialEnd::Withdrawn)) {
        // The pauses count from the day on which the next turn begins. First, for after a cut behind this the trial is entered
        // again, and after one behind the other the pauses would count from an earlier failure.
        progress.failed_on = 0;
        if keeps {
            progress.store(flash)?;
        }
    }
    if changed && keeps {
        store_floors(flash, floors, memory, lost)?;
    }
    Ok(())
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
