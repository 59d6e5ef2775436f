//! The order: which file comes when (5.1 to 5.6). It knows no rule and does no I/O.
//!
//! The machine says what it wants, is fed chunks, and is told when a file ended:
//!
//! ```text
//!  poll            refresh
//!   │                 │
//! timestamp ──────> root ──404──> timestamp ──> snapshot ──> targets ──> delegated ──> …
//!   │ same, and      ^  │           │ same, and       ^         │  ^        │     ^
//!   │ settled        └──┘ next      │ settled         │         └──┘        └─────┘ again: the image's entry,
//!   v                               v                 └── again: the          keys, the way back
//! up to date                    up to date                entry of a role
//! ```

use core::fmt;

use sha2::{Digest, Sha256};

use crate::crypto::Crypto;
use crate::delegation::{Next, Walk};
use crate::error::{Environment, Error, Field, Misuse, Rejected};
use crate::file::FileReader;
use crate::hash::Verbatim;
#[cfg(feature = "host")]
use crate::key::Algorithm;
use crate::limits::Limits;
use crate::name::FileName;
use crate::plan::{Entry, Goal, Plan};
use crate::release::Candidate;
use crate::role::kept::KeptSnapshot;
use crate::role::meta::{Meta, MetaReader};
use crate::role::reading::Context;
use crate::role::root::{Authority, RoleKeys};
use crate::role::targets::{Seek, Target};
use crate::role::{Role, delegations};
use crate::scan::Fault;
use crate::threshold::{verify, verify_root};
use crate::time::{Clock, Moment};
use crate::trusted::{Change, Settled, Trusted};

/// What the machine wants its caller to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want<'a> {
    /// Fetch this file and [`feed`](Refresh::feed) its bytes, then call [`end`](Refresh::end); or
    /// [`missing`](Refresh::missing) if the repository does not have it. If it is the timestamp, and the transport
    /// knows that it is the same as last time, [`unmodified`](Refresh::unmodified) will do.
    Fetch {
        /// The file, below the repository's metadata directory.
        file: FileName<'a>,
        /// Bytes after which it is refused. A transport need not read further.
        limit: u32,
    },
    /// Feed a file once more that was fed before: a fact in it was passed by before it was known to matter. Whoever
    /// kept it need not fetch it.
    Again {
        /// The file, below the repository's metadata directory.
        file: FileName<'a>,
        /// Its length in bytes.
        limit: u32,
    },
    /// Store what changed, then call [`persisted`](Refresh::persisted).
    Persist(Change),
    /// Install this release: every signature above it was verified, and its image is a target.
    Install(&'a Candidate),
    /// This release would be next, and the timestamp halts it: there is nothing to do until it no longer does.
    Halted(&'a Candidate),
    /// There is nothing for this device to do.
    UpToDate(Age),
    /// The target that was asked for.
    Found(Target),
    /// Verified metadata do not lead to what the cycle is for, and this is why. Begin a new one later.
    Over(Rejected),
}

/// How much a device knows about the age of what it verified.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Age {
    /// By the caller's clock nothing of it has expired.
    Fresh,
    /// There is no clock, or the files came with a bundle. Nothing of it had expired when the newest of it was signed;
    /// what is newer may have been kept away for any time.
    Unknown,
}

/// What became of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It was verified and is trusted. Whoever keeps files keeps this one, in the place of an older one.
    Trusted,
    /// It is a timestamp that was trusted already, or has that one's version.
    NotNew,
}

/// One update cycle of one device.
///
/// An error of [`feed`](Refresh::feed) or [`end`](Refresh::end) is about one file, and leaves trusted state and
/// machine what they were before it: the file is still wanted, and may come from elsewhere. What becomes of the cycle
/// as a whole is told by [`want`](Refresh::want) alone.
pub struct Refresh<'a> {
    crypto: &'a Crypto,
    limits: &'a Limits,
    trusted: &'a mut Trusted<[u8]>,
    goal: Goal<'a>,
    entry: Entry,
    clock: Clock,
    moment: Moment,
    state: State,
    /// What is stated of the file that is wanted, if it is a snapshot or targets file that was not verified yet.
    meta: Meta,
    /// Why the cycle is over.
    why: Rejected,
    reader: FileReader<'a>,
    kept: Option<&'a mut dyn KeptSnapshot>,
    walk: Walk,
    /// SHA-256 of the path that is searched for.
    path_sha256: [u8; 32],
    /// When the first of the targets files expires.
    expires: u64,
    roots: u32,
    /// Bytes of names of visited roles, before the file that is wanted.
    visited: usize,
}

/// Named by what is awaited.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    ExpectRoot,
    /// By its bytes alone.
    ExpectKnownTimestamp,
    ExpectTimestamp,
    ExpectSnapshot,
    /// For the entry of the role that the search came to.
    ExpectSnapshotAgain,
    /// Of the role that the search came to.
    ExpectTargets,
    ExpectTargetsAgain,
    /// The same once more, for keys.
    ExpectKeys,
    Install,
    Halted,
    UpToDate,
    Found,
    Over,
}

impl<'a> Refresh<'a> {
    /// Begins a cycle. `memory` has [`Limits::memory`] bytes.
    ///
    /// # Errors
    /// [`Misuse::Name`] for a device whose product, hardware or channel no repository can have.
    pub fn new(plan: Plan<'a>, trusted: &'a mut Trusted<[u8]>, memory: &'a mut [u8]) -> Result<Self, Error> {
        let Plan { goal, entry, clock, .. } = plan;
        let mut refresh = Refresh::idle(plan, trusted, memory);
        refresh.again(goal, entry, clock)?;
        Ok(refresh)
    }

    /// The machine without a cycle: [`Refresh::again`] begins one, where it lies. It cannot fail, so that a device need not
    /// have it twice on its way to its place. Until then there is no release ([`Want::Over`]), and no file is taken.
    /// `memory` has [`Limits::memory`] bytes.
    #[inline(never)]
    #[must_use]
    pub fn idle(plan: Plan<'a>, trusted: &'a mut Trusted<[u8]>, memory: &'a mut [u8]) -> Self {
        let Plan { crypto, limits, goal, entry, clock, kept } = plan;
        Refresh {
            crypto,
            limits,
            trusted,
            goal,
            entry,
            clock,
            moment: Moment { start: 0, offline: false },
            state: State::Over,
            meta: Meta::default(),
            why: Rejected::NoRelease,
            reader: FileReader::new(limits, memory),
            kept,
            walk: Walk::default(),
            path_sha256: [0; 32],
            expires: u64::MAX,
            roots: 0,
            visited: 0,
        }
    }

    /// Begins another cycle in the same memory, with what is trusted by now.
    ///
    /// # Errors
    /// [`Misuse::Name`] for a device whose product, hardware or channel no repository can have.
    pub fn again(&mut self, goal: Goal<'a>, entry: Entry, clock: Clock) -> Result<(), Error> {
        if let Goal::Release(device) = goal {
            device.release_path()?;
        }
        self.moment = Moment { start: self.trusted.start_time(clock), offline: entry == Entry::Offline };
        (self.goal, self.entry, self.clock) = (goal, entry, clock);
        self.walk = Walk::default();
        self.reader.sheet.clear();
        (self.expires, self.roots, self.visited) = (u64::MAX, 0, 0);
        self.expect(if entry == Entry::Poll { State::ExpectKnownTimestamp } else { State::ExpectRoot });
        Ok(())
    }

    /// What the machine waits for.
    #[must_use]
    pub fn want(&self) -> Want<'_> {
        if let Some(change) = self.trusted.unsaved() {
            return Want::Persist(change);
        }
        let candidate = &self.reader.sheet.targets.entry.candidate;
        match self.state {
            State::Install => Want::Install(candidate),
            State::Halted => Want::Halted(candidate),
            State::UpToDate => Want::UpToDate(match self.clock {
                // A bundle was under way for any time.
                Clock::At(_) if self.entry != Entry::Offline => Age::Fresh,
                _ => Age::Unknown,
            }),
            State::Found => Want::Found(self.reader.sheet.targets.target),
            State::ExpectSnapshotAgain | State::ExpectTargetsAgain | State::ExpectKeys => {
                Want::Again { file: self.file(), limit: self.limit() }
            }
            State::Over => Want::Over(self.why),
            _ => Want::Fetch { file: self.file(), limit: self.limit() },
        }
    }

    /// What is trusted by now.
    #[must_use]
    pub fn trusted(&self) -> &Trusted<[u8]> {
        self.trusted
    }

    /// Whose file expires first of the root and of the targets files that this cycle verified, and when, in seconds
    /// since 1970. Until then no new look is needed at what came with a bundle, which cannot change.
    #[must_use]
    pub fn good_until(&self) -> (Role, u64) {
        let root = self.trusted.root().expires();
        if root <= self.expires { (Role::Root, root) } else { (Role::Targets, self.expires) }
    }

    /// The sequence of the release that the device would take if its image had not failed here, where the entry was read.
    #[must_use]
    pub fn passed_over(&self) -> Option<u32> {
        Some(self.reader.sheet.targets.passed_over).filter(|sequence| *sequence > 0)
    }

    /// Takes the next bytes of the wanted file, one or many.
    ///
    /// # Errors
    /// [`Rejected`] as soon as the bytes cannot belong to an acceptable file, which then is wanted from its first
    /// byte; [`Misuse`] if none is wanted.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), Error> {
        self.fetching()?;
        let fed = self.try_feed(chunk);
        if fed.is_err() {
            self.begin_file();
        }
        Ok(fed?)
    }

    /// The wanted file has ended: verify it, and go on.
    ///
    /// # Errors
    /// [`Rejected`]; the trusted state is what it was. [`Misuse`] if no file was wanted.
    pub fn end(&mut self) -> Result<Ended, Error> {
        self.fetching()?;
        let ended = self.try_end();
        if ended.is_err() {
            self.begin_file();
        }
        ended
    }

    /// The timestamp is the same as the one that is trusted, byte for byte, as the transport was told when it
    /// asked for it on a condition. A server that lies about that gains what it gains by serving the old one.
    ///
    /// # Errors
    /// [`Rejected::Freeze`] if it has expired; [`Misuse`] if no timestamp was wanted, or none is trusted.
    pub fn unmodified(&mut self) -> Result<Ended, Error> {
        self.fetching()?;
        // Of what came of a file before this was heard nothing counts.
        self.begin_file();
        let trusted = self.trusted.expected_snapshot().is_some();
        match self.state {
            State::ExpectKnownTimestamp if trusted => self.poll(true),
            State::ExpectTimestamp if trusted => self.known_timestamp()?,
            _ => return Err(Misuse::NotFetching.into()),
        }
        Ok(Ended::NotNew)
    }

    /// The repository does not have the wanted file. For the next root that is how the walk ends.
    ///
    /// # Errors
    /// [`Environment::Missing`] for any other file.
    pub fn missing(&mut self) -> Result<(), Error> {
        self.fetching()?;
        let role = self.role();
        self.begin_file();
        if self.state != State::ExpectRoot {
            return Err(Environment::Missing { role }.into());
        }
        // 5.3.10
        match self.trusted.check_root(self.moment) {
            Ok(()) => self.expect(State::ExpectTimestamp),
            Err(expired) => self.over(expired),
        }
        Ok(())
    }

    /// The caller stored what [`Want::Persist`] asked for.
    pub fn persisted(&mut self) {
        self.trusted.saved();
    }

    /// Looks for another target, under the metadata that were verified in this cycle.
    ///
    /// # Errors
    /// [`Misuse::NotFetching`] while the cycle is not at an end, or was not for a target.
    pub fn find(&mut self, path: &'a str) -> Result<(), Error> {
        let searched = match self.state {
            State::Found => true,
            State::Over => matches!(self.why, Rejected::NoTarget | Rejected::RoleNotListed),
            _ => false,
        };
        if !searched || !matches!(self.goal, Goal::Target(_)) {
            return Err(Misuse::NotFetching.into());
        }
        self.goal = Goal::Target(path);
        self.expect_targets();
        Ok(())
    }

    fn try_feed(&mut self, chunk: &[u8]) -> Result<(), Rejected> {
        let limit = self.limit();
        if self.state == State::ExpectRoot && self.roots >= self.limits.roots {
            return Err(Rejected::TooManyRoots);
        }
        // 5.3.3, 5.4.1, 5.5.1, 5.6.1: never more than the limit; endless data ends here.
        if self.state == State::ExpectKnownTimestamp {
            if chunk.len() > self.reader.hasher.room(limit) {
                return Err(Rejected::Oversize { role: Role::Timestamp, limit });
            }
            self.reader.hasher.update(chunk);
            return Ok(());
        }
        let context = Context {
            crypto: self.crypto,
            limits: self.limits,
            device: self.goal.device(),
            named: self.goal.named(),
            path_sha256: self.path_sha256,
            start: self.moment.start,
            tracked: self.trusted.tracked(),
            seek_role: self.state == State::ExpectSnapshotAgain,
            keys_only: self.state == State::ExpectKeys,
        };
        match &mut self.kept {
            Some(kept) if self.state == State::ExpectSnapshot => {
                self.reader.feed(chunk, limit, context, Some(&mut **kept))
            }
            _ => self.reader.feed(chunk, limit, context, None),
        }
    }

    fn try_end(&mut self) -> Result<Ended, Error> {
        let role = self.role();
        let file = self.reader.hasher.finish();
        let same = self.trusted.has_timestamp(&file);
        match self.state {
            State::ExpectKnownTimestamp => {
                self.poll(same);
                return Ok(Ended::NotNew);
            }
            State::ExpectTimestamp if same => {
                self.known_timestamp()?;
                return Ok(Ended::NotNew);
            }
            _ => {}
        }
        let digest = self.reader.finish()?;
        let as_stated = match self.state {
            // Another reading counts only if it was of the bytes that were verified.
            State::ExpectSnapshotAgain | State::ExpectTargetsAgain | State::ExpectKeys => {
                file.bytes == self.verbatim().1
            }
            // 5.5.2, 5.6.2
            _ => self.meta.describes(&file),
        };
        if !as_stated {
            return Err(Rejected::MixAndMatch { role }.into());
        }
        let Self { crypto, trusted, reader, walk, moment, meta, .. } = self;
        let envelope = reader.envelope(&digest);
        let sheet = &reader.sheet;
        let header = sheet.header;
        match self.state {
            State::ExpectRoot => {
                // 5.3.4
                let (facts, own) = sheet.root_facts();
                let new = verify_root(crypto, Some(trusted.authority(role)), own, envelope, facts)?;
                trusted.update_root(&new, own.keys)?;
                // The clock stays as it was read. What changed is what is known beside it: a stolen online
                // key may have set a date that this root just dropped, and must not be judged by.
                moment.start = trusted.start_time(self.clock);
                self.roots = self.roots.saturating_add(1);
                // 5.3.9: ask for the next.
                self.expect(State::ExpectRoot);
            }
            State::ExpectTimestamp => {
                let meta = sheet.meta.wanted().ok_or(Rejected::Field { role, field: Field::Meta })?;
                // 5.4.2
                let new = verify(crypto, trusted.authority(role), envelope, (header, meta))?;
                let is_new = trusted.update_timestamp(&new, &sheet.meta.halts, file.bytes, *moment)?;
                self.expect_snapshot();
                return Ok(if is_new { Ended::Trusted } else { Ended::NotNew });
            }
            State::ExpectSnapshot => {
                // 5.5.3
                let new = verify(crypto, trusted.authority(role), envelope, header)?;
                // 5.5.5, over all roles
                if let (Some(kept), Some((_, file))) = (&self.kept, trusted.snapshot()) {
                    kept.verdict(&file.sha256)?;
                }
                trusted.update_snapshot(&new, &sheet.meta, meta.version, file.bytes, *moment)?;
                self.expect_targets();
            }
            State::ExpectTargets => {
                // 5.6.3
                let delegated = walk.delegated(&sheet.names);
                let authority = match delegated {
                    Some(_) => {
                        let by = RoleKeys { members: u32::MAX, threshold: walk.threshold };
                        Authority { keys: sheet.chosen_keys(), by }
                    }
                    None => trusted.authority(role),
                };
                let new = verify(crypto, authority, envelope, header)?;
                if trusted.update_targets(&new, delegated, meta.version, *moment)? {
                    // What was read of the snapshot for roles that are tracked stands in the order of these.
                    reader.sheet.meta.forget_tracked();
                }
                walk.verified(header.version, file.bytes);
                self.expires = self.expires.min(header.expires);
                // The file is trusted from here on, whatever becomes of what it leads to.
                self.go_on();
            }
            _ => self.read_again(),
        }
        Ok(Ended::Trusted)
    }

    /// A file was read again that had been verified.
    fn read_again(&mut self) {
        match self.state {
            State::ExpectSnapshotAgain => match self.reader.sheet.meta.wanted() {
                Some(meta) => self.expect_file(State::ExpectTargets, meta),
                None => self.over(Rejected::RoleNotListed),
            },
            State::ExpectKeys => {
                let sheet = &mut self.reader.sheet;
                sheet.own_keys = sheet.keys.len();
                sheet.delegations.wanted.clear();
                self.go_on();
            }
            _ => self.go_on(),
        }
    }

    /// A targets file was read: is the search over?
    fn go_on(&mut self) {
        let targets = &self.reader.sheet.targets;
        match (targets.seek, targets.is_image()) {
            (Seek::Nothing, _) => self.settle(u64::MAX),
            (Seek::Release, _) if targets.found => self.release(),
            (Seek::Named, Some(_)) => self.state = State::Found,
            (Seek::Image, Some(same)) => self.found_image(same),
            _ => {
                let Self { walk, reader: FileReader { sheet, .. }, limits, .. } = self;
                let next = walk.next(&sheet.delegations, limits, &sheet.names);
                self.walk(next);
            }
        }
    }

    /// Takes the next step of a search.
    fn walk(&mut self, next: Result<Next, Fault>) {
        let sheet = &mut self.reader.sheet;
        match next {
            Ok(next @ (Next::Keys | Next::Down)) => {
                if let Some(chosen) = sheet.delegations.chosen.filter(|_| self.state != State::ExpectKeys) {
                    sheet.keys.retain_keys(sheet.own_keys, chosen.by.members);
                    sheet.own_keys = sheet.keys.len();
                }
                if next == Next::Keys {
                    self.expect(State::ExpectKeys);
                } else {
                    self.expect_delegated();
                }
            }
            Ok(Next::Again) => {
                sheet.own_keys = 0;
                self.expect(State::ExpectTargetsAgain);
            }
            Ok(Next::Seen(same)) => self.found_image(same),
            Ok(Next::Nowhere) => {
                let why = match sheet.targets.seek {
                    Seek::Named => Rejected::NoTarget,
                    Seek::Image => self.image_not_authorised(),
                    _ => Rejected::NoRelease,
                };
                self.over(why);
            }
            Err(fault) => self.over(fault.of(Role::Delegated, 0, 0)),
        }
    }

    /// The release entry was read: what of it is for this device?
    fn release(&mut self) {
        let Self { reader: FileReader { sheet, .. }, walk, trusted, .. } = self;
        let targets = &mut sheet.targets;
        if !targets.entry.taken {
            let turn = targets.turn;
            return self.settle(turn);
        }
        let image = &targets.entry.candidate.image;
        if trusted.halts(&image.sha256) {
            self.state = State::Halted;
            return;
        }
        self.path_sha256 = Sha256::digest(image.path.as_bytes()).into();
        let seen = targets.is_image();
        targets.seek_target(Seek::Image);
        let next = walk.begin_after(seen, &mut sheet.names);
        self.walk(next);
    }

    /// There is nothing to do before `turn`, in seconds since 1970.
    fn settle(&mut self, turn: u64) {
        let settled = Settled { facts: self.goal.facts(), expires: self.expires, turn, root: 0 };
        self.trusted.settle(settled);
        self.state = State::UpToDate;
    }

    /// The candidate's image is a target. Is it the one that is meant?
    fn found_image(&mut self, same: bool) {
        if same {
            self.state = State::Install;
        } else {
            self.over(self.image_not_authorised());
        }
    }

    /// What was verified does not lead to what the cycle is for.
    fn over(&mut self, why: Rejected) {
        (self.state, self.why) = (State::Over, why);
    }

    fn image_not_authorised(&self) -> Rejected {
        Rejected::ImageNotAuthorised { sequence: self.reader.sheet.targets.entry.candidate.sequence }
    }

    /// A poll came to its end: by that timestamp there is nothing new, or all must be asked for.
    fn poll(&mut self, same: bool) {
        let Self { trusted, moment, .. } = self;
        let fresh = trusted.check_root(*moment).and_then(|()| trusted.check_timestamp(*moment));
        if same && fresh.is_ok() && self.is_settled() {
            self.state = State::UpToDate;
        } else {
            self.expect(State::ExpectRoot);
        }
    }

    /// The timestamp is the trusted one. 5.4.2 and 5.4.3 were done when it came.
    fn known_timestamp(&mut self) -> Result<(), Error> {
        self.trusted.check_timestamp(self.moment)?;
        self.expect_snapshot();
        Ok(())
    }

    /// Whether there is nothing to do without another look. A target that is named is always looked for.
    fn is_settled(&self) -> bool {
        let settles = !matches!(self.goal, Goal::Target(_));
        settles && self.trusted.is_settled(self.goal.facts(), self.moment)
    }

    fn expect_snapshot(&mut self) {
        if self.is_settled() {
            self.state = State::UpToDate;
            return;
        }
        match self.trusted.expected_snapshot() {
            Some(meta) if !self.trusted.has_snapshot(meta, self.moment) => {
                self.expect_file(State::ExpectSnapshot, meta);
            }
            _ => self.expect_targets(),
        }
    }

    fn expect_targets(&mut self) {
        let Self { walk, reader: FileReader { sheet, .. }, .. } = self;
        sheet.own_keys = 0;
        let seek = match self.goal {
            Goal::Release(_) => Seek::Release,
            Goal::Target(_) => Seek::Named,
            Goal::Metadata => Seek::Nothing,
        };
        sheet.targets.seek_target(seek);
        // There is room for one name.
        let _ = walk.begin(&mut sheet.names);
        let meta = self.trusted.expected_targets().unwrap_or_default();
        self.expect_file(State::ExpectTargets, meta);
        self.path_sha256 = Sha256::digest(self.reader.sheet.targets.path(self.goal.named())).into();
    }

    /// The role that the search came to. Its entry in the snapshot may have been passed by.
    fn expect_delegated(&mut self) {
        let Self { reader: FileReader { sheet, .. }, trusted, .. } = self;
        let name = delegations::names(sheet.names.as_slice()).last().unwrap_or_default();
        let tracked = trusted.tracked().iter().position(|tracked| tracked.name == *name);
        let listed = tracked.and_then(|index| sheet.meta.tracked(index));
        match listed {
            Some(meta) => self.expect_file(State::ExpectTargets, meta),
            None => self.expect(State::ExpectSnapshotAgain),
        }
    }

    /// A file of which nothing is stated.
    fn expect(&mut self, state: State) {
        self.expect_file(state, Meta::default());
    }

    fn expect_file(&mut self, state: State, meta: Meta) {
        (self.state, self.meta) = (state, meta);
        self.visited = self.reader.sheet.names.len();
        self.begin_file();
    }

    /// Makes ready for the first byte of the wanted file. Nothing is left of an earlier try.
    fn begin_file(&mut self) {
        let role = self.role();
        let Self { reader, walk, .. } = self;
        reader.begin(role);
        let sheet = &mut reader.sheet;
        sheet.names.truncate(self.visited);
        match self.state {
            State::ExpectTimestamp => sheet.meta = MetaReader::default(),
            State::ExpectSnapshot => {
                sheet.meta = MetaReader::default();
                if let Some(kept) = &mut self.kept {
                    kept.restart();
                }
            }
            State::ExpectSnapshotAgain => sheet.meta.forget_wanted(),
            State::ExpectTargets | State::ExpectTargetsAgain => {
                match (sheet.targets.seek, self.goal) {
                    (Seek::Release, Goal::Release(device)) => {
                        sheet.targets.seek_release(&device.release_path().unwrap_or_default());
                    }
                    (seek, _) => sheet.targets.seek_target(seek),
                }
                let all = sheet.targets.seek == Seek::Nothing;
                sheet.delegations.restart(if all { u32::MAX } else { walk.followed() });
            }
            _ => {}
        }
        #[cfg(feature = "host")]
        self.prepare_for_host();
    }

    /// What only hosts can check: SHA-512 of a file, and signatures over a message.
    #[cfg(feature = "host")]
    fn prepare_for_host(&mut self) {
        let role = self.role();
        if self.meta.wants_sha512() {
            self.reader.hasher.with_sha512();
        }
        let of_message = |key: crate::key::Key<'_>| key.algorithm != Algorithm::P256;
        let keep = match role {
            // Its own keys are not known before they are read.
            Role::Root => true,
            Role::Delegated => self.reader.sheet.chosen_keys().iter().any(of_message),
            role => self.trusted.authority(role).keys().any(|(_, key)| of_message(key)),
        };
        if keep && self.crypto.message.is_some() {
            self.reader.scanner.keep_message();
        }
    }

    fn role(&self) -> Role {
        match self.state {
            State::ExpectRoot => Role::Root,
            State::ExpectKnownTimestamp | State::ExpectTimestamp => Role::Timestamp,
            State::ExpectSnapshot | State::ExpectSnapshotAgain => Role::Snapshot,
            _ if self.walk.delegated(&self.reader.sheet.names).is_some() => Role::Delegated,
            _ => Role::Targets,
        }
    }

    /// The file being fetched.
    fn file(&self) -> FileName<'_> {
        let role = self.role();
        let version = match self.state {
            State::ExpectRoot => Some(self.trusted.root().version().saturating_add(1)),
            State::ExpectSnapshot | State::ExpectTargets => Some(self.meta.version),
            State::ExpectSnapshotAgain | State::ExpectTargetsAgain | State::ExpectKeys => {
                Some(self.verbatim().0)
            }
            _ => None,
        };
        let name = self.walk.delegated(&self.reader.sheet.names).filter(|_| role == Role::Delegated);
        FileName { role, version, name: name.unwrap_or(role.name().as_bytes()) }
    }

    fn limit(&self) -> u32 {
        match self.state {
            State::ExpectSnapshotAgain | State::ExpectTargetsAgain | State::ExpectKeys => {
                self.verbatim().1.length
            }
            _ if self.meta.length > 0 => self.meta.length,
            _ => self.limits.of(self.role()),
        }
    }

    /// Version and bytes of the file that is read again.
    fn verbatim(&self) -> (u32, Verbatim) {
        match self.state {
            State::ExpectSnapshotAgain => self.trusted.snapshot().unwrap_or_default(),
            _ => self.walk.file(),
        }
    }

    /// Whether a file is wanted.
    fn fetching(&self) -> Result<(), Error> {
        match self.state {
            State::Over => Err(Misuse::CycleOver.into()),
            State::Install | State::Halted | State::UpToDate | State::Found => {
                Err(Misuse::NotFetching.into())
            }
            _ if self.trusted.unsaved().is_some() => Err(Misuse::NotFetching.into()),
            _ => Ok(()),
        }
    }
}

impl fmt::Debug for Refresh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("want", &self.want())
            .field("entry", &self.entry)
            .field("moment", &self.moment)
            .finish_non_exhaustive()
    }
}
