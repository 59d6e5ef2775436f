//! The order: which file comes when (5.1 to 5.6). It knows no rule and does no I/O.
//!
//! The machine says what it wants, is fed chunks, and is told when a file ended:
//!
//! ```text
//! ExpectRoot ──404──> ExpectTimestamp ──> ExpectSnapshot ──> ExpectTargets ──> Install | UpToDate
//!   ^    │                     └─── snapshot unchanged ──────────^    │  ^
//!   └────┘ next root                                                  └──┘ again, for the image's entry
//! ```

use core::fmt;

use heapless::String;
use sha2::{Digest, Sha256};

use crate::crypto::Crypto;
use crate::error::{Environment, Error, Field, Misuse, Rejected};
use crate::limits::{PATH, ROOT_FILE, ROOTS, SNAPSHOT_FILE, TARGETS_FILE, TIMESTAMP_FILE};
use crate::release::{Candidate, Device};
use crate::role::meta::{Meta, MetaBody};
use crate::role::root::RootBody;
use crate::role::targets::{Find, TargetsBody};
use crate::role::{File, Role};
use crate::scan::{Fault, Scanner};
use crate::threshold::{Envelope, verify, verify_root};
use crate::time::Clock;
use crate::trusted::{Change, Trusted};

/// What the machine wants its caller to do next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Want<'a> {
    /// Fetch this file and [`feed`](Refresh::feed) its bytes, then call [`end`](Refresh::end); or
    /// [`missing`](Refresh::missing) if the repository does not have it.
    Fetch {
        /// The file, below the repository's top.
        file: FileName,
        /// Bytes after which it is refused. A transport need not read further.
        limit: u32,
    },
    /// Fetch the file that was just read once more: a fact in it was passed by before it was known to matter.
    Again {
        /// The file, below the repository's top.
        file: FileName,
        /// Its length in bytes.
        limit: u32,
    },
    /// Store what changed, then call [`persisted`](Refresh::persisted).
    Persist(Change),
    /// Install this release: every signature above it was verified, and its image is a target.
    Install(&'a Candidate),
    /// There is nothing for this device to do.
    UpToDate,
    /// An error ended the cycle. Begin a new one, now or later.
    Over,
}

/// The name of a metadata file: `3.root.json`, `timestamp.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileName {
    /// Whose file.
    pub role: Role,
    /// Its version, which the timestamp's name does not hold.
    pub version: Option<u32>,
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(version) = self.version {
            write!(f, "{version}.")?;
        }
        write!(f, "{}.json", self.role)
    }
}

/// One update cycle of one device.
///
/// Any error ends the cycle. The trusted state then is what it was before the file that was refused, and a
/// new cycle may begin at any time. Where a release is refused whose targets metadata were verified, these are
/// trusted, and [`Want::Persist`] may follow the error.
pub struct Refresh<'a> {
    crypto: &'a Crypto,
    trusted: &'a mut Trusted,
    device: Device<'a>,
    release_path: String<PATH>,
    clock: Clock,
    /// 5.1: fixed for the cycle.
    start: u64,
    state: State<'a>,
    scanner: Scanner,
    whole: Sha256,
    received: u32,
    roots: u32,
}

/// Named by what is awaited. What a state holds besides the file being read was proven before it.
#[expect(
    clippy::large_enum_variant,
    reason = "nothing is allocated: the machine is as large as its largest file"
)]
enum State<'a> {
    ExpectRoot(File<RootBody>),
    ExpectTimestamp(File<MetaBody>),
    ExpectSnapshot(File<MetaBody>, Meta),
    ExpectTargets(File<TargetsBody<'a>>, Meta),
    ExpectTargetsAgain(File<TargetsBody<'a>>, Verbatim),
    Install(File<TargetsBody<'a>>),
    UpToDate,
    Over,
}

/// A file that was verified, byte for byte.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Verbatim {
    version: u32,
    length: u32,
    sha256: [u8; 32],
}

impl<'a> Refresh<'a> {
    /// Begins a cycle. The update start time is fixed here (5.1).
    ///
    /// # Errors
    /// [`Misuse::Name`] for a device whose product, hardware or channel no repository can have.
    pub fn new(
        crypto: &'a Crypto,
        trusted: &'a mut Trusted,
        device: Device<'a>,
        clock: Clock,
    ) -> Result<Self, Error> {
        Ok(Refresh {
            crypto,
            release_path: device.release_path()?,
            clock,
            start: trusted.start_time(clock),
            trusted,
            device,
            state: State::expect_root(),
            scanner: Scanner::new(),
            whole: Sha256::new(),
            received: 0,
            roots: 0,
        })
    }

    /// What the machine waits for.
    #[must_use]
    pub fn want(&self) -> Want<'_> {
        if let Some(change) = self.trusted.unsaved() {
            return Want::Persist(change);
        }
        match &self.state {
            State::Install(file) => file.body.selected().map_or(Want::Over, Want::Install),
            State::UpToDate => Want::UpToDate,
            state => match (self.file(), self.limit()) {
                (Some(file), limit) if matches!(state, State::ExpectTargetsAgain(..)) => {
                    Want::Again { file, limit }
                }
                (Some(file), limit) => Want::Fetch { file, limit },
                (None, _) => Want::Over,
            },
        }
    }

    /// What is trusted by now.
    #[must_use]
    pub fn trusted(&self) -> &Trusted {
        self.trusted
    }

    /// Takes the next bytes of the wanted file, one or many.
    ///
    /// # Errors
    /// [`Rejected`] as soon as the bytes cannot belong to an acceptable file; [`Misuse`] if none is wanted.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), Error> {
        let role = self.fetching()?;
        if matches!(self.state, State::ExpectRoot(_)) && self.roots >= ROOTS {
            return self.refuse(Rejected::TooManyRoots);
        }
        let limit = self.limit();
        let received = u32::try_from(chunk.len()).ok().and_then(|length| self.received.checked_add(length));
        // 5.3.3, 5.4.1, 5.5.1, 5.6.1: never more than the limit; endless data ends here.
        let Some(received) = received.filter(|received| *received <= limit) else {
            return self.refuse(Rejected::Oversize { role, limit });
        };
        self.received = received;
        self.whole.update(chunk);
        let fed = match &mut self.state {
            State::ExpectRoot(file) => self.scanner.feed(chunk, file),
            State::ExpectTimestamp(file) | State::ExpectSnapshot(file, _) => self.scanner.feed(chunk, file),
            State::ExpectTargets(file, _) | State::ExpectTargetsAgain(file, _) => {
                self.scanner.feed(chunk, file)
            }
            State::Install(_) | State::UpToDate | State::Over => return Err(Misuse::NotFetching.into()),
        };
        match fed {
            Ok(()) => Ok(()),
            Err(fault) => self.refuse(fault.of(role, self.scanner.at())),
        }
    }

    /// The wanted file has ended: verify it, and go on.
    ///
    /// # Errors
    /// [`Rejected`]; the trusted state is what it was. [`Misuse`] if no file was wanted.
    pub fn end(&mut self) -> Result<(), Error> {
        let role = self.fetching()?;
        // Whatever happens next, this file is over, and a refusal leaves the cycle over.
        let state = core::mem::replace(&mut self.state, State::Over);
        let length = core::mem::take(&mut self.received);
        let sha256: [u8; 32] = self.whole.finalize_reset().into();
        let digest = self.scanner.finish().map_err(|fault| fault.of(role, self.scanner.at()))?;
        let digest = digest.ok_or(Rejected::Field { role, field: Field::Signed })?;
        let at = self.scanner.at();
        self.scanner = Scanner::new();
        let of = |fault: Fault| fault.of(role, at);
        match state {
            State::ExpectRoot(mut file) => {
                let header = file.finish().map_err(of)?;
                let envelope = Envelope { signatures: &file.head.signatures, digest };
                let new = file.body.complete(header);
                // 5.3.4
                let new = verify_root(self.crypto, Some(self.trusted.root()), envelope, new)?;
                self.trusted.update_root(new)?;
                // The clock stays as it was read. What changed is what is known beside it: a stolen online
                // key may have set a date that this root just dropped, and must not be judged by.
                self.start = self.trusted.start_time(self.clock);
                self.roots = self.roots.saturating_add(1);
                // 5.3.9: ask for the next.
                self.state = State::expect_root();
            }
            State::ExpectTimestamp(mut file) => {
                let header = file.finish().map_err(of)?;
                let meta = file.body.meta().ok_or(Rejected::Field { role, field: Field::Meta })?;
                let envelope = Envelope { signatures: &file.head.signatures, digest };
                // 5.4.2
                let new = verify(self.crypto, self.trusted.root(), role, envelope, (header, meta))?;
                self.trusted.update_timestamp(&new, self.start)?;
                self.expect_snapshot()?;
            }
            State::ExpectSnapshot(mut file, meta) => {
                // 5.5.2
                matches(role, meta, length, &sha256)?;
                let header = file.finish().map_err(of)?;
                let envelope = Envelope { signatures: &file.head.signatures, digest };
                // 5.5.3
                let facts = (header, file.body.meta());
                let new = verify(self.crypto, self.trusted.root(), role, envelope, facts)?;
                self.trusted.update_snapshot(&new, meta, self.start)?;
                self.expect_targets()?;
            }
            State::ExpectTargets(mut file, meta) => {
                // 5.6.2
                matches(role, meta, length, &sha256)?;
                let header = file.finish().map_err(of)?;
                let envelope = Envelope { signatures: &file.head.signatures, digest };
                // 5.6.3
                let new = verify(self.crypto, self.trusted.root(), role, envelope, header)?;
                self.trusted.update_targets(&new, meta, self.start)?;
                // The file is trusted from here on, whatever becomes of the release that it names.
                self.state = match file.body.find()? {
                    Find::Nothing => State::UpToDate,
                    Find::Authorised => State::Install(file),
                    Find::Again => {
                        let again = File::new(role, file.body.again());
                        State::ExpectTargetsAgain(again, Verbatim { version: meta.version, length, sha256 })
                    }
                };
            }
            State::ExpectTargetsAgain(file, verified) => {
                // The second reading counts only if it was of the bytes that were verified.
                if (length, sha256) != (verified.length, verified.sha256) {
                    return Err(Rejected::MixAndMatch { role }.into());
                }
                self.state = match (file.body.find()?, file.body.selected()) {
                    (Find::Authorised, _) => State::Install(file),
                    (_, Some(Candidate { sequence, .. })) => {
                        return Err(Rejected::ImageNotAuthorised { sequence: *sequence }.into());
                    }
                    (_, None) => State::UpToDate,
                };
            }
            State::Install(_) | State::UpToDate | State::Over => return Err(Misuse::NotFetching.into()),
        }
        Ok(())
    }

    /// The repository does not have the wanted file. For the next root that is how the walk ends.
    ///
    /// # Errors
    /// [`Environment::Missing`] for any other file; [`Rejected::Freeze`] if the last root has expired.
    pub fn missing(&mut self) -> Result<(), Error> {
        let role = self.fetching()?;
        self.received = 0;
        self.whole.reset();
        self.scanner = Scanner::new();
        match core::mem::replace(&mut self.state, State::Over) {
            State::ExpectRoot(_) => {
                // 5.3.10
                self.trusted.check_root(self.start)?;
                self.state =
                    State::ExpectTimestamp(File::new(Role::Timestamp, MetaBody::new(b"snapshot.json")));
                Ok(())
            }
            _ => Err(Environment::Missing { role }.into()),
        }
    }

    /// The caller stored what [`Want::Persist`] asked for.
    pub fn persisted(&mut self) {
        self.trusted.saved();
    }

    fn expect_snapshot(&mut self) -> Result<(), Error> {
        let role = Role::Timestamp;
        let meta = self.trusted.expected_snapshot().ok_or(Rejected::Field { role, field: Field::Meta })?;
        if self.trusted.has_snapshot(meta, self.start) {
            return self.expect_targets();
        }
        let file = File::new(Role::Snapshot, MetaBody::new(b"targets.json"));
        self.state = State::ExpectSnapshot(file, meta);
        Ok(())
    }

    fn expect_targets(&mut self) -> Result<(), Error> {
        let role = Role::Snapshot;
        let meta = self.trusted.expected_targets().ok_or(Rejected::Field { role, field: Field::Meta })?;
        let body = TargetsBody::new(self.device, self.release_path.clone(), self.start);
        self.state = State::ExpectTargets(File::new(Role::Targets, body), meta);
        Ok(())
    }

    /// The file being fetched.
    fn file(&self) -> Option<FileName> {
        let (role, version) = match &self.state {
            State::ExpectRoot(_) => (Role::Root, self.trusted.root().version().checked_add(1)),
            State::ExpectTimestamp(_) => (Role::Timestamp, None),
            State::ExpectSnapshot(_, meta) => (Role::Snapshot, Some(meta.version)),
            State::ExpectTargets(_, meta) => (Role::Targets, Some(meta.version)),
            State::ExpectTargetsAgain(_, verified) => (Role::Targets, Some(verified.version)),
            State::Install(_) | State::UpToDate | State::Over => return None,
        };
        Some(FileName { role, version })
    }

    fn limit(&self) -> u32 {
        match &self.state {
            State::ExpectRoot(_) => ROOT_FILE,
            State::ExpectTimestamp(_) => TIMESTAMP_FILE,
            State::ExpectSnapshot(_, meta) => meta.length.unwrap_or(SNAPSHOT_FILE),
            State::ExpectTargets(_, meta) => meta.length.unwrap_or(TARGETS_FILE),
            State::ExpectTargetsAgain(_, verified) => verified.length,
            State::Install(_) | State::UpToDate | State::Over => 0,
        }
    }

    /// The role of the file being fetched, if there is one.
    fn fetching(&mut self) -> Result<Role, Error> {
        if matches!(self.state, State::Over) {
            return Err(Misuse::CycleOver.into());
        }
        match self.file() {
            Some(FileName { role, .. }) if self.trusted.unsaved().is_none() => Ok(role),
            _ => Err(Misuse::NotFetching.into()),
        }
    }

    fn refuse(&mut self, rejected: Rejected) -> Result<(), Error> {
        self.state = State::Over;
        Err(rejected.into())
    }
}

impl fmt::Debug for Refresh<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refresh")
            .field("want", &self.want())
            .field("start", &self.start)
            .finish_non_exhaustive()
    }
}

impl State<'_> {
    fn expect_root() -> Self {
        State::ExpectRoot(File::new(Role::Root, RootBody::default()))
    }
}

/// 5.5.2 and 5.6.2: length and digest, where the metadata above states them.
fn matches(role: Role, meta: Meta, length: u32, sha256: &[u8; 32]) -> Result<(), Rejected> {
    let same_length = meta.length.is_none_or(|stated| stated == length);
    let same_digest = meta.sha256.is_none_or(|stated| stated == *sha256);
    if same_length && same_digest { Ok(()) } else { Err(Rejected::MixAndMatch { role }) }
}
