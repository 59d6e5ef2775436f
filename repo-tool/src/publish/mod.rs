//! Publishing: what is staged becomes what devices see, in one step that no crash can halve.
//!
//! Files are written in the order in which nothing refers to a file that is not there: images, targets, snapshot, roots,
//! and `timestamp.json` last, in the place of the one that was read at the start and of no other. Until then devices see
//! the old repository; from then on the new one. All other names are new for each version and never change, so a
//! publisher that died is simply run again: it keeps what is there, and numbers what it signs above every orphan.
//!
//! | module | knows |
//! |---|---|
//! | this one | what is signed online, and the order of writing |
//! | `ready` | what is staged and has its signatures, and what waits |
//! | `rehearsal` | which releases devices are played for before |

mod ready;
mod rehearsal;

use std::path::PathBuf;
use std::sync::Arc;

use tuffet_client::limits::HALTS;
use tuffet_client::time::Date;
use tuffet_keys::Role;
use tuffet_keys::key::SigningKey;
use tuffet_keys::metadata::{Envelope, Header};

use crate::author::{Dates, Signers};
use crate::document::{self, Listing};
use crate::repository::{Lock, Published, Roots, Workspace, check_issued, metadata_name, successor};
use crate::storage::{Content, Witness, Writer};
use crate::store::{self, Tag};
use crate::{Environment, Error, Rejected};

use ready::{New, clearing, signed, target_files};

/// The keys that are online. One key may serve both roles.
#[derive(Clone)]
pub struct Keys {
    /// Of snapshot; at least the role's threshold, or none where it is not due.
    pub snapshot: Vec<Arc<SigningKey>>,
    /// Of timestamp; at least the role's threshold.
    pub timestamp: Vec<Arc<SigningKey>>,
}

/// What is to be published.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Scope {
    /// All that is staged and has its signatures, and the online roles.
    #[default]
    Staged,
    /// The online roles alone.
    Refresh,
    /// These images are halted besides: SHA-256 in lower-case hex. A halt stops a release and starts none.
    Halt(Vec<String>),
    /// These are not halted any more; none named: none is.
    Lift(Vec<String>),
}

/// A publication, ready to be written. It holds the workspace's lock.
pub struct Plan {
    workspace: Workspace,
    /// In the order of writing, the timestamp excepted.
    files: Vec<(String, Content)>,
    timestamp: Vec<u8>,
    /// The snapshot under it, for the workspace to remember.
    snapshot: (u32, Vec<u8>),
    /// The timestamp that it takes the place of.
    before: Option<Tag>,
    summary: Summary,
    /// What is cleared away afterwards.
    staged: Vec<PathBuf>,
    _lock: (Lock, store::Lock),
}

/// What a publication changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Versions of the roots that become public.
    pub roots: Vec<u32>,
    /// Role, new version and its expiry of all targets files that are published anew.
    pub targets: Vec<(Role, u32, u64)>,
    /// The new version and its expiry, if the role is published anew.
    pub snapshot: Option<(u32, u64)>,
    /// The new version and its expiry.
    pub timestamp: (u32, u64),
    /// Images that are halted.
    pub halted: Vec<String>,
    /// When the first of the targets files that this publication read expires, and whose it is.
    pub targets_expire: Option<(Role, u64)>,
    /// Roles that are staged and wait for signatures.
    pub waiting: Vec<Waiting>,
    /// Names of all files that are written or kept, in order.
    pub files: Vec<String>,
}

/// A role that is staged and lacks signatures.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The role.
    pub role: Role,
    /// What is missing.
    pub why: Error,
}

/// Works a publication out at `now` (seconds since 1970), signs what is signed online, and replays the result
/// as devices. Nothing is written.
///
/// # Errors
/// What keeps it from being published: missing signatures, keys of another role, a damaged workspace, or what a
/// device would say.
pub fn plan(workspace: &Workspace, keys: &Keys, scope: &Scope, now: u64) -> Result<Plan, Error> {
    let lock = (workspace.lock()?, workspace.store().lock()?);
    let roots = match scope {
        Scope::Staged => workspace.roots()?,
        // A staged root waits for others to sign; a halt does not.
        _ => workspace.roots()?.public()?,
    };
    let published = workspace.published(&roots)?;
    let issued = published.as_ref().map_or(0, |published| published.timestamp.header.issued);
    // A halt does not wait for somebody to set a clock.
    let now = if matches!(scope, Scope::Halt(_)) { now.max(issued) } else { now };
    if now < issued {
        let (issued, now) = (Date(issued).to_string(), Date(now).to_string());
        return Err(Environment::ClockBehind { issued, now }.into());
    }
    let mut staged = Vec::new();
    let (mut new, mut waiting) = (Vec::new(), Vec::new());
    let mut roots_to_come = Vec::new();
    if *scope == Scope::Staged {
        (new, waiting) = signed(workspace, &roots, published.as_ref(), now)?;
        roots_to_come.extend(roots.published + 1..=roots.version());
        staged = clearing(workspace, &roots, &waiting)?;
    }
    let listed = match &published {
        Some(published) if !new.iter().any(|new| new.role == Role::Targets) => {
            published.role(&Role::Targets)?
        }
        _ => None,
    };
    let top = new.iter().find(|new| new.role == Role::Targets).map(|new| &new.document).or(listed.as_ref());
    match top {
        None => return Err(waiting.pop().map_or(Rejected::NothingStaged.into(), |waiting| waiting.why)),
        Some(_) if new.is_empty() && roots_to_come.is_empty() && !waiting.is_empty() => {
            return Err(waiting.swap_remove(0).why);
        }
        Some(top) if !top.is_signed_by(roots.keys(&Role::Targets)) && *scope == Scope::Staged => {
            let staged = waiting.iter().position(|waiting| waiting.role == Role::Targets);
            let old = || Rejected::TargetsOfOldRoot { newest: roots.version() }.into();
            return Err(staged.map_or_else(old, |index| waiting.swap_remove(index).why));
        }
        Some(_) => {}
    }

    let mut files = Vec::new();
    for new in &new {
        files.extend(target_files(workspace, new)?);
    }
    for version in &roots_to_come {
        let bytes = roots.chain.files()[*version as usize - 1].clone();
        check_issued(&Header::from_signed(&Envelope::parse(&bytes)?.signed)?, now)?;
        files.push((metadata_name(&Role::Root, *version), Content::Bytes(bytes.into())));
    }
    for New { role, document, .. } in &new {
        let name = metadata_name(role, document.header.version);
        files.push((name, Content::Bytes(document.shared())));
    }
    let mut plan = Plan {
        workspace: workspace.clone(),
        files,
        timestamp: Vec::new(),
        snapshot: (0, Vec::new()),
        before: published.as_ref().and_then(|published| published.tag.clone()),
        summary: Summary {
            roots: roots_to_come,
            targets: Vec::new(),
            snapshot: None,
            timestamp: (1, 0),
            halted: halted(published.as_ref(), scope)?,
            targets_expire: None,
            waiting,
            files: Vec::new(),
        },
        staged,
        _lock: lock,
    };
    plan.summary.targets = new
        .iter()
        .map(|new| (new.role.clone(), new.document.header.version, new.document.header.expires))
        .collect();
    let read = new.iter().map(|new| (new.role.clone(), new.document.header.expires));
    let read = read.chain(top.map(|top| (Role::Targets, top.header.expires)));
    plan.summary.targets_expire = read.min_by_key(|(_, expires)| *expires);
    plan.sign(&roots, published.as_ref(), keys, &new, now)?;
    plan.preflight(&roots, published.as_ref(), &new, now)?;
    Ok(plan)
}

/// The images that the next timestamp halts.
fn halted(published: Option<&Published>, scope: &Scope) -> Result<Vec<String>, Error> {
    let mut halts = published
        .map_or(Ok(Vec::new()), |published| Ok::<_, Error>(published.timestamp.listing()?.halts()))?;
    match scope {
        Scope::Staged | Scope::Refresh => {}
        Scope::Halt(more) => {
            for digest in more {
                if !halts.contains(digest) {
                    halts.push(digest.clone());
                }
            }
        }
        Scope::Lift(named) if named.is_empty() => halts.clear(),
        Scope::Lift(named) => {
            if let Some(digest) = named.iter().find(|digest| !halts.contains(digest)) {
                return Err(Rejected::NotHalted { digest: digest.clone(), halted: halts }.into());
            }
            halts.retain(|digest| !named.contains(digest));
        }
    }
    if halts.len() > HALTS {
        return Err(Rejected::TooManyHalts { most: HALTS }.into());
    }
    Ok(halts)
}

impl Plan {
    /// Signs snapshot, if need be, and timestamp.
    fn sign(
        &mut self,
        roots: &Roots,
        published: Option<&Published>,
        keys: &Keys,
        new: &[New],
        now: u64,
    ) -> Result<(), Error> {
        let config = self.workspace.config();
        let periods = roots.newest().periods.as_ref();
        // Both now: a wrong snapshot key would else show weeks later, when the snapshot is due. A halt may come without.
        let signers = |role: Role, keys| Signers::new(&role, keys, roots.version(), roots.keys(&role));
        let snapshot_signers = || signers(Role::Snapshot, &keys.snapshot);
        if !keys.snapshot.is_empty() {
            snapshot_signers()?;
        }
        let timestamp_signers = signers(Role::Timestamp, &keys.timestamp)?;
        let terms = [Role::Snapshot, Role::Timestamp].map(|role| config.term(&role, periods));
        let dates = |term: &crate::config::Term| {
            Ok::<_, Error>(Dates { issued: now, expires: term.expires.after(now)? })
        };
        let (snapshot_dates, timestamp_dates) = (dates(&terms[0])?, dates(&terms[1])?);

        let kept = published.map(|published| &published.snapshot).filter(|snapshot| {
            let expires = snapshot.header.expires;
            // It must not expire below a timestamp that says that all is well.
            let due = now >= terms[0].due(expires) || expires < timestamp_dates.expires;
            new.is_empty() && snapshot.is_signed_by(roots.keys(&Role::Snapshot)) && !due
        });
        let (version, snapshot) = match kept {
            Some(snapshot) => (snapshot.header.version, snapshot.bytes().to_vec()),
            None => {
                let version = self.workspace.next_version(&Role::Snapshot, published)?;
                let empty = Listing::default();
                let listing = published.map_or(&empty, |published| &published.listing);
                let listed: Vec<_> = new
                    .iter()
                    .map(|new| (&new.role, new.document.header.version, new.document.bytes()))
                    .collect();
                let bytes = snapshot_signers()?.sign(&listing.edited(version, snapshot_dates, &listed))?;
                let name = metadata_name(&Role::Snapshot, version);
                self.files.push((name, Content::Bytes(bytes.clone().into())));
                self.summary.snapshot = Some((version, snapshot_dates.expires));
                (version, bytes)
            }
        };
        let before = published.map_or(0, |published| published.timestamp.header.version);
        self.summary.timestamp = (successor(before)?, timestamp_dates.expires);
        let (number, halts) = (self.summary.timestamp.0, &self.summary.halted);
        let text = document::timestamp(number, timestamp_dates, version, &snapshot, halts);
        self.timestamp = timestamp_signers.sign(&text)?;
        self.snapshot = (version, snapshot);
        self.summary.files = self.files.iter().map(|(name, _)| name.clone()).collect();
        self.summary.files.push(metadata_name(&Role::Timestamp, 0));
        Ok(())
    }

    /// What will change.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// Writes it, the timestamp last, and then clears what was staged. `witness` sees every step.
    ///
    /// # Errors
    /// [`Rejected::ImmutableDiffers`], or an I/O failure. Devices see the old repository as long as the
    /// timestamp was not renamed; running again completes the work.
    pub fn apply(self, witness: &mut dyn Witness) -> Result<Summary, Error> {
        let store = self.workspace.store();
        // Devices walk roots before they look at a timestamp, so a root comes as late as it can.
        let (roots, others): (Vec<_>, Vec<_>) =
            self.files.into_iter().partition(|(name, _)| name.ends_with(".root.json"));
        for files in [others, roots] {
            if !files.is_empty() {
                store.create(&files, witness).map_err(outrun)?;
            }
        }
        let timestamp = metadata_name(&Role::Timestamp, 0);
        store.swap(&timestamp, self.before.as_ref(), &self.timestamp, witness)?;
        let mut writer = Writer::new(witness);
        let (version, snapshot) = &self.snapshot;
        self.workspace.remember(&self.timestamp, (*version, snapshot), &mut writer)?;
        for path in &self.staged {
            writer.remove(path)?;
        }
        Ok(self.summary)
    }
}

/// What was not there when the publication was planned, another publisher has written since.
fn outrun(error: Error) -> Error {
    match error {
        Error::Rejected(Rejected::ImmutableDiffers { path })
            if path.extension().is_some_and(|end| end == "json") =>
        {
            Environment::Outrun { path }.into()
        }
        error => error,
    }
}
