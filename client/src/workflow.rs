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
use crate::hash::{FileHasher, Verbatim};
#[cfg(feature = "host")]
use crate::key::Algorithm;
use crate::limits::Limits;
use crate::release::{Candidate, Device};
use crate::role::kept::Kept;
use crate::role::meta::{Meta, MetaReader};
use crate::role::place::Place;
use crate::role::root::{Authority, RoleKeys};
use crate::role::targets::{Seek, Target};
use crate::role::{Context, Reading, Role, Sheet, delegations};
use crate::scan::{Fault, Scanner};
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
    /// There is no clock. Nothing of it had expired when the newest of it was signed; somebody may have kept what
    /// is newer away for any time.
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

/// The name of a metadata file: `3.root.json`, `timestamp.json`, `7.lamp.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileName<'a> {
    /// Whose file.
    pub role: Role,
    /// Its version, which the timestamp's name does not hold.
    pub version: Option<u32>,
    /// The name of the role. Nothing in it is safe to be used as the name of a local file.
    pub name: &'a [u8],
}

/// What a cycle is for.
#[derive(Clone, Copy, Debug)]
pub enum Goal<'a> {
    /// The release that this device is to install, if there is one.
    Release(Device<'a>),
    /// The target at this path.
    Target(&'a str),
    /// The top-level metadata.
    Metadata,
}

/// Where a cycle begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// With the next root, as the specification has it (5.3).
    Refresh,
    /// With the timestamp. Is it the trusted one, and nothing left to do under it, the cycle ends; on any
    /// difference it goes on as `Refresh`. Whoever publishes a root publishes a timestamp, so that it is heard of.
    Poll,
    /// As `Refresh`, over files that came together by other ways than a network, long ago perhaps. Timestamp and
    /// snapshot may have expired. All else holds: roots, targets, and all floors.
    Offline,
}

/// What a cycle needs to know.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Verifies signatures.
    pub crypto: &'a Crypto,
    /// The bounds of the device, by which `memory` is divided.
    pub limits: &'a Limits,
    /// What for.
    pub goal: Goal<'a>,
    /// Where it begins.
    pub entry: Entry,
    /// What is known of the time. It is frozen here (5.1).
    pub clock: Clock,
    /// The bytes of the trusted snapshot, where they were kept. With them no role at all may be dropped or rolled
    /// back; without, only those that the device came upon.
    pub kept: Option<&'a [u8]>,
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
    scanner: Scanner<'a>,
    sheet: Sheet<'a>,
    kept: Option<Kept<'a>>,
    hasher: FileHasher,
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
    ExpectSnapshot(Meta),
    /// For the entry of the role that the search came to.
    ExpectSnapshotAgain,
    /// Of the role that the search came to.
    ExpectTargets(Meta),
    ExpectTargetsAgain,
    /// The same once more, for keys.
    ExpectKeys,
    Install,
    Halted,
    UpToDate,
    Found(Target),
    Over(Rejected),
}

impl<'a> Refresh<'a> {
    /// Begins a cycle. `memory` has [`Limits::memory`] bytes, and [`Limits::kept_memory`] more for a kept snapshot.
    ///
    /// # Errors
    /// [`Misuse::Name`] for a device whose product, hardware or channel no repository can have.
    pub fn new(plan: Plan<'a>, trusted: &'a mut Trusted<[u8]>, memory: &'a mut [u8]) -> Result<Self, Error> {
        let Plan { crypto, limits, goal, entry, clock, kept } = plan;
        let [text, keys, signatures, names, message, rest] = limits.divide(memory);
        if let Goal::Release(device) = goal {
            device.release_path()?;
        }
        let moment = Moment { start: trusted.start_time(clock), offline: entry == Entry::Offline };
        // What was kept of a snapshot that is trusted no more is no floor (5.3.11).
        let kept = kept.map(|bytes| Kept::new(bytes, rest));
        let state = if entry == Entry::Poll { State::ExpectKnownTimestamp } else { State::ExpectRoot };
        let mut refresh = Refresh {
            crypto,
            limits,
            trusted,
            goal,
            entry,
            clock,
            moment,
            state,
            scanner: Scanner::new(text, message),
            sheet: Sheet::new(keys, signatures, names),
            kept,
            hasher: FileHasher::new(),
            walk: Walk::default(),
            path_sha256: [0; 32],
            expires: u64::MAX,
            roots: 0,
            visited: 0,
        };
        refresh.expect(state);
        Ok(refresh)
    }

    /// What the machine waits for.
    #[must_use]
    pub fn want(&self) -> Want<'_> {
        if let Some(change) = self.trusted.unsaved() {
            return Want::Persist(change);
        }
        let candidate = &self.sheet.targets.entry.candidate;
        match self.state {
            State::Install => Want::Install(candidate),
            State::Halted => Want::Halted(candidate),
            State::UpToDate => Want::UpToDate(match self.clock {
                Clock::At(_) => Age::Fresh,
                Clock::Unknown => Age::Unknown,
            }),
            State::Found(target) => Want::Found(target),
            State::ExpectSnapshotAgain | State::ExpectTargetsAgain | State::ExpectKeys => {
                Want::Again { file: self.file(), limit: self.limit() }
            }
            State::Over(why) => Want::Over(why),
            _ => Want::Fetch { file: self.file(), limit: self.limit() },
        }
    }

    /// What is trusted by now.
    #[must_use]
    pub fn trusted(&self) -> &Trusted<[u8]> {
        self.trusted
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
            Err(expired) => self.state = State::Over(expired),
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
        match (self.state, self.goal) {
            (State::Found(_) | State::Over(_), Goal::Target(_)) if self.trusted.snapshot().is_some() => {}
            _ => return Err(Misuse::NotFetching.into()),
        }
        self.goal = Goal::Target(path);
        self.expect_targets();
        Ok(())
    }

    fn try_feed(&mut self, chunk: &[u8]) -> Result<(), Rejected> {
        let (role, limit) = (self.role(), self.limit());
        if self.state == State::ExpectRoot && self.roots >= self.limits.roots {
            return Err(Rejected::TooManyRoots);
        }
        // 5.3.3, 5.4.1, 5.5.1, 5.6.1: never more than the limit; endless data ends here.
        self.hasher.update(chunk, limit).ok_or(Rejected::Oversize { role, limit })?;
        if self.state == State::ExpectKnownTimestamp {
            return Ok(());
        }
        let Self { crypto, limits, trusted, goal, moment, scanner, sheet, kept, .. } = self;
        let context = Context {
            crypto,
            limits,
            device: goal.device(),
            named: goal.named(),
            path_sha256: self.path_sha256,
            start: moment.start,
            tracked: trusted.tracked(),
            seek_role: self.state == State::ExpectSnapshotAgain,
            keys_only: self.state == State::ExpectKeys,
        };
        let kept = if matches!(self.state, State::ExpectSnapshot(_)) { kept.as_mut() } else { None };
        let fed = scanner.feed(chunk, &mut Reading { sheet, context, kept });
        fed.map_err(|fault| fault.of(role, scanner.at()))
    }

    fn try_end(&mut self) -> Result<Ended, Error> {
        let role = self.role();
        let file = self.hasher.finish();
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
        let at = self.scanner.at();
        let of = |fault: Fault| fault.of(role, at);
        let digest =
            self.scanner.finish().map_err(of)?.ok_or(Rejected::Field { role, field: Field::Signed })?;
        match self.state {
            State::ExpectSnapshotAgain | State::ExpectTargetsAgain | State::ExpectKeys => {
                // Another reading counts only if it was of the bytes that were verified.
                if file.bytes != self.verbatim().1 {
                    return Err(Rejected::MixAndMatch { role }.into());
                }
                self.read_again();
                return Ok(Ended::Trusted);
            }
            // 5.5.2, 5.6.2
            State::ExpectSnapshot(meta) | State::ExpectTargets(meta) if !meta.describes(&file) => {
                return Err(Rejected::MixAndMatch { role }.into());
            }
            _ => {}
        }
        self.sheet.finish().map_err(of)?;
        let Self { crypto, trusted, sheet, scanner, walk, moment, .. } = self;
        let envelope = sheet.envelope(&digest, scanner.message());
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
                let meta = sheet.meta.only.ok_or(Rejected::Field { role, field: Field::Meta })?;
                // 5.4.2
                let new = verify(crypto, trusted.authority(role), envelope, (header, meta))?;
                let is_new = trusted.update_timestamp(&new, &sheet.meta.halts, file.bytes, *moment)?;
                self.expect_snapshot();
                return Ok(if is_new { Ended::Trusted } else { Ended::NotNew });
            }
            State::ExpectSnapshot(meta) => {
                // 5.5.3
                let new = verify(crypto, trusted.authority(role), envelope, header)?;
                // 5.5.5, over all roles
                if let (Some(kept), Some((version, _))) = (&self.kept, trusted.snapshot()) {
                    kept.verdict(version)?;
                }
                trusted.update_snapshot(&new, &sheet.meta, meta, file.bytes, *moment)?;
                self.expect_targets();
            }
            State::ExpectTargets(meta) => {
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
                if trusted.update_targets(&new, delegated, meta, *moment)? {
                    // What was read of the snapshot for roles that are tracked stands in the order of these.
                    sheet.meta.tracked = Default::default();
                }
                walk.verified(header.version, file.bytes);
                self.expires = self.expires.min(header.expires);
                // The file is trusted from here on, whatever becomes of what it leads to.
                self.go_on();
            }
            _ => return Err(Misuse::NotFetching.into()),
        }
        Ok(Ended::Trusted)
    }

    /// A file was read again that had been verified.
    fn read_again(&mut self) {
        match self.state {
            State::ExpectSnapshotAgain => match self.sheet.meta.sought {
                Some(meta) => self.expect(State::ExpectTargets(meta)),
                None => self.state = State::Over(Rejected::RoleNotListed),
            },
            State::ExpectKeys => {
                self.sheet.own_keys = self.sheet.keys.len();
                self.sheet.delegations.wanted.clear();
                self.go_on();
            }
            _ => self.go_on(),
        }
    }

    /// A targets file was read: is the search over?
    fn go_on(&mut self) {
        match (self.sheet.targets.seek, self.sheet.targets.target) {
            (Seek::Nothing, _) => self.settle(u64::MAX),
            (Seek::Release, _) if self.sheet.targets.found => self.release(),
            (Seek::Image | Seek::Named, Some(target)) => self.found(target),
            _ => {
                let Self { walk, sheet, limits, .. } = self;
                let next = walk.next(&sheet.delegations, limits, &sheet.names);
                self.walk(next);
            }
        }
    }

    /// Takes the next step of a search.
    fn walk(&mut self, next: Result<Next, Fault>) {
        let sheet = &mut self.sheet;
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
            Ok(Next::Seen(target)) => self.found(target),
            Ok(Next::Nowhere) => {
                self.state = State::Over(match sheet.targets.seek {
                    Seek::Named => Rejected::NoTarget,
                    Seek::Image => self.image_not_authorised(),
                    _ => Rejected::NoRelease,
                });
            }
            Err(fault) => self.state = State::Over(fault.of(Role::Delegated, 0)),
        }
    }

    /// The release entry was read: what of it is for this device?
    fn release(&mut self) {
        let Self { sheet, walk, trusted, .. } = self;
        let reader = &mut sheet.targets;
        if !reader.entry.taken {
            let turn = reader.turn;
            return self.settle(turn);
        }
        let image = &reader.entry.candidate.image;
        if trusted.halts(&image.sha256) {
            self.state = State::Halted;
            return;
        }
        self.path_sha256 = Sha256::digest(image.path.as_bytes()).into();
        let seen = reader.target.take();
        reader.seek_target(Seek::Image);
        let next = walk.begin_after(seen, &mut sheet.names);
        self.walk(next);
    }

    /// There is nothing to do before `turn`, in seconds since 1970.
    fn settle(&mut self, turn: u64) {
        let settled = Settled { facts: self.goal.facts(), expires: self.expires, turn, root: 0 };
        self.trusted.settle(settled);
        self.state = State::UpToDate;
    }

    /// The target that was searched for is found.
    fn found(&mut self, target: Target) {
        let reader = &self.sheet.targets;
        self.state = match reader.seek {
            Seek::Named => State::Found(target),
            _ if reader.is_image(&target) => State::Install,
            _ => State::Over(self.image_not_authorised()),
        };
    }

    fn image_not_authorised(&self) -> Rejected {
        Rejected::ImageNotAuthorised { sequence: self.sheet.targets.entry.candidate.sequence }
    }

    /// A poll came to its end: by that timestamp there is nothing new, or all must be asked for.
    fn poll(&mut self, same: bool) {
        let Self { trusted, moment, goal, .. } = self;
        let fresh = trusted.check_root(*moment).and_then(|()| trusted.check_timestamp(*moment));
        if same && fresh.is_ok() && trusted.is_settled(goal.facts(), *moment) {
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

    fn expect_snapshot(&mut self) {
        let settles = !matches!(self.goal, Goal::Target(_));
        if settles && self.trusted.is_settled(self.goal.facts(), self.moment) {
            self.state = State::UpToDate;
            return;
        }
        match self.trusted.expected_snapshot() {
            Some(meta) if !self.trusted.has_snapshot(meta, self.moment) => {
                self.expect(State::ExpectSnapshot(meta));
            }
            _ => self.expect_targets(),
        }
    }

    fn expect_targets(&mut self) {
        let Self { walk, sheet, .. } = self;
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
        self.expect(State::ExpectTargets(meta));
        self.path_sha256 = Sha256::digest(self.sheet.targets.path(self.goal.named())).into();
    }

    /// The role that the search came to. Its entry in the snapshot may have been passed by.
    fn expect_delegated(&mut self) {
        let Self { sheet, trusted, .. } = self;
        let name = delegations::names(sheet.names.as_slice()).last().unwrap_or_default();
        let tracked = trusted.tracked().iter().position(|tracked| tracked.name == *name);
        let listed = tracked.and_then(|index| sheet.meta.tracked.get(index).copied().flatten());
        self.expect(match listed {
            Some(meta) => State::ExpectTargets(meta),
            None => State::ExpectSnapshotAgain,
        });
    }

    fn expect(&mut self, state: State) {
        self.state = state;
        self.visited = self.sheet.names.len();
        self.begin_file();
    }

    /// Makes ready for the first byte of the wanted file. Nothing is left of an earlier try.
    fn begin_file(&mut self) {
        let role = self.role();
        let Self { sheet, scanner, hasher, walk, .. } = self;
        hasher.restart();
        scanner.restart(Place::Top);
        sheet.restart(role);
        sheet.names.truncate(self.visited);
        match self.state {
            State::ExpectTimestamp => sheet.meta = MetaReader::default(),
            State::ExpectSnapshot(_) => {
                sheet.meta = MetaReader::default();
                if let Some(kept) = &mut self.kept {
                    kept.restart();
                }
            }
            State::ExpectSnapshotAgain => sheet.meta.sought = None,
            State::ExpectTargets(_) | State::ExpectTargetsAgain => {
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
        if let State::ExpectSnapshot(meta) | State::ExpectTargets(meta) = self.state
            && meta.wants_sha512()
        {
            self.hasher.with_sha512();
        }
        let of_message = |key: crate::key::Key<'_>| key.algorithm != Algorithm::P256;
        let keep = match role {
            // Its own keys are not known before they are read.
            Role::Root => true,
            Role::Delegated => self.sheet.chosen_keys().iter().any(of_message),
            role => self.trusted.authority(role).keys().any(|(_, key)| of_message(key)),
        };
        if keep && self.crypto.message.is_some() {
            self.scanner.keep_message();
        }
    }

    fn role(&self) -> Role {
        match self.state {
            State::ExpectRoot => Role::Root,
            State::ExpectKnownTimestamp | State::ExpectTimestamp => Role::Timestamp,
            State::ExpectSnapshot(_) | State::ExpectSnapshotAgain => Role::Snapshot,
            _ if self.walk.delegated(&self.sheet.names).is_some() => Role::Delegated,
            _ => Role::Targets,
        }
    }

    /// The file being fetched.
    fn file(&self) -> FileName<'_> {
        let role = self.role();
        let version = match self.state {
            State::ExpectRoot => Some(self.trusted.root().version().saturating_add(1)),
            State::ExpectSnapshot(meta) | State::ExpectTargets(meta) => Some(meta.version),
            State::ExpectSnapshotAgain | State::ExpectTargetsAgain | State::ExpectKeys => {
                Some(self.verbatim().0)
            }
            _ => None,
        };
        let name = self.walk.delegated(&self.sheet.names).filter(|_| role == Role::Delegated);
        FileName { role, version, name: name.unwrap_or(role.name().as_bytes()) }
    }

    fn limit(&self) -> u32 {
        match self.state {
            State::ExpectSnapshot(meta) | State::ExpectTargets(meta) => {
                meta.length.unwrap_or(self.limits.of(self.role()))
            }
            State::ExpectSnapshotAgain | State::ExpectTargetsAgain | State::ExpectKeys => {
                self.verbatim().1.length
            }
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
            State::Over(_) => Err(Misuse::CycleOver.into()),
            State::Install | State::Halted | State::UpToDate | State::Found(_) => {
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

impl<'a> Goal<'a> {
    fn device(&self) -> Option<&Device<'a>> {
        match self {
            Goal::Release(device) => Some(device),
            Goal::Target(_) | Goal::Metadata => None,
        }
    }

    fn named(&self) -> &'a str {
        match self {
            Goal::Target(path) => path,
            Goal::Release(_) | Goal::Metadata => "",
        }
    }

    fn facts(&self) -> [u8; 16] {
        self.device().map(Device::facts).unwrap_or_default()
    }
}

impl FileName<'_> {
    /// Hands out the name byte by byte. A role's name is percent-encoded (RFC 3986), all but unreserved characters,
    /// so that none of it can leave the directory or start a query.
    pub fn bytes(&self, mut emit: impl FnMut(u8)) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
        if let Some(version) = self.version {
            let mut place = 1_000_000_000_u32;
            let mut begun = false;
            while place > 0 {
                let value = version.checked_div(place).unwrap_or(0) % 10;
                begun |= value > 0 || place == 1;
                if begun {
                    emit(digit(value.to_le_bytes()[0]));
                }
                place /= 10;
            }
            emit(b'.');
        }
        for &byte in self.name {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                emit(byte);
            } else {
                [b'%', digit(byte >> 4), digit(byte & 15)].into_iter().for_each(&mut emit);
            }
        }
        b".json".iter().copied().for_each(emit);
    }

    /// The same at the front of a buffer; `None` if it does not fit.
    pub fn write<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b str> {
        let mut length = Some(0_usize);
        self.bytes(|byte| {
            length = length.and_then(|at| {
                *buffer.get_mut(at)? = byte;
                at.checked_add(1)
            });
        });
        core::str::from_utf8(buffer.get(..length?)?).ok()
    }
}

impl fmt::Display for FileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = Ok(());
        self.bytes(|byte| shown = shown.and_then(|()| fmt::Write::write_char(f, char::from(byte))));
        shown
    }
}
