//! Publishing: what is staged becomes what devices see, in one step that no crash can halve.
//!
//! Files are written in the order in which nothing refers to a file that is not there: images, roots, targets,
//! snapshot, and `timestamp.json` last. Until it is renamed, devices see the old repository; from then on the
//! new one. All other names are new for each version and never change, so a publisher that died is simply run
//! again: it keeps what is there, and numbers what it signs above every orphan.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tuffet_client::release::Hex;
use tuffet_client::time::Date;
use tuffet_keys::Rejected::ThresholdNotMet as Unmet;
use tuffet_keys::Role;
use tuffet_keys::key::SigningKey;
use tuffet_keys::metadata::{Envelope, Header};
use tuffet_keys::request::Request;

use crate::author::{self, Dates, Signers, Target, Targets};
use crate::config::Lifetime;
use crate::repository::{
    Document, Lock, Published, Roots, Workspace, check_issued, metadata_name, successor, target_name,
};
use crate::storage::{self, Content, Witness, Writer, hash_file, read_optional};
use crate::{Environment, Error, Rejected, verify};

/// The keys that are online. One key may serve both roles.
#[derive(Clone)]
pub struct Keys {
    /// Of snapshot; at least the role's threshold.
    pub snapshot: Vec<Arc<SigningKey>>,
    /// Of timestamp; at least the role's threshold.
    pub timestamp: Vec<Arc<SigningKey>>,
}

/// A publication, ready to be written. It holds the workspace's lock.
pub struct Plan {
    workspace: Workspace,
    /// In the order of writing, the timestamp excepted.
    files: Vec<(String, Content)>,
    timestamp: Vec<u8>,
    summary: Summary,
    /// All are public when the plan is done.
    roots: u32,
    _lock: Lock,
}

/// What a publication changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Versions of the roots that become public.
    pub roots: Vec<u32>,
    /// The new version and its expiry, if the role is published anew.
    pub targets: Option<(u32, u64)>,
    /// The new version and its expiry, if the role is published anew.
    pub snapshot: Option<(u32, u64)>,
    /// The new version and its expiry.
    pub timestamp: (u32, u64),
    /// When the targets that devices will see expire, in seconds since 1970.
    pub targets_expire: u64,
    /// Names of all files that are written or kept, in order.
    pub files: Vec<String>,
}

/// Works a publication out at `now` (seconds since 1970), signs what is signed online, and replays the result
/// as a device. Nothing is written.
///
/// # Errors
/// What keeps it from being published: missing signatures, keys of another role, a damaged workspace, or what a
/// device would say.
pub fn plan(workspace: &Workspace, keys: &Keys, now: u64) -> Result<Plan, Error> {
    let lock = workspace.lock()?;
    let roots = workspace.roots()?;
    let published = workspace.published()?;
    let pending = workspace.pending(published.as_ref())?;
    if let Some(Published { timestamp, .. }) = &published
        && now < timestamp.header.issued
    {
        let (issued, now) = (Date(timestamp.header.issued).to_string(), Date(now).to_string());
        return Err(Environment::ClockBehind { issued, now }.into());
    }

    let mut files = Vec::new();
    let old = published.as_ref().map(|published| &published.targets);
    let targets = match (pending, old) {
        (Some(request), _) => {
            files.extend(target_files(workspace, &request, old)?);
            check_issued(request.header(), now)?;
            Some(finish(workspace, &roots, &request, now)?)
        }
        (None, None) => return Err(Rejected::NothingStaged.into()),
        (None, Some(old)) if !old.is_signed_by(roots.keys(Role::Targets)) => {
            return Err(Rejected::TargetsOfOldRoot { newest: roots.version() }.into());
        }
        (None, Some(_)) => None,
    };
    let new_roots: Vec<u32> = (roots.published + 1..=roots.version()).collect();
    for version in &new_roots {
        let name = metadata_name(Role::Root, *version);
        let bytes = roots.chain.files()[*version as usize - 1].clone();
        check_issued(&Header::from_signed(&Envelope::parse(&bytes)?.signed)?, now)?;
        files.push((name, Content::Bytes(bytes)));
    }

    let lifetimes = &workspace.config().lifetimes;
    // Both now: a wrong snapshot key would else show weeks later, when the snapshot is due.
    let signers = |role: Role, keys| Signers::new(&role, keys, roots.version(), roots.keys(role.clone()));
    let snapshot_signers = signers(Role::Snapshot, &keys.snapshot)?;
    let timestamp_signers = signers(Role::Timestamp, &keys.timestamp)?;
    let dates = |lifetime: &Lifetime| Ok::<_, Error>(Dates { issued: now, expires: lifetime.after(now)? });

    let timestamp_dates = dates(&lifetimes.timestamp)?;
    let snapshot_dates = dates(&lifetimes.snapshot)?;
    let kept_snapshot = published.as_ref().map(|published| &published.snapshot).filter(|snapshot| {
        targets.is_none()
            && snapshot.is_signed_by(roots.keys(Role::Snapshot))
            && !is_due(snapshot, now, timestamp_dates.expires)
    });
    let mut summary = Summary {
        roots: new_roots,
        targets: targets.as_ref().map(|targets| (targets.header.version, targets.header.expires)),
        snapshot: None,
        timestamp: (1, timestamp_dates.expires),
        targets_expire: 0,
        files: Vec::new(),
    };
    if let Some(targets) = &targets {
        let name = metadata_name(Role::Targets, targets.header.version);
        files.push((name, Content::Bytes(targets.bytes.clone())));
    }
    // One of the two is there: without either there was nothing to publish.
    let Some(listed) = targets.as_ref().or(old) else { return Err(Rejected::NothingStaged.into()) };
    summary.targets_expire = listed.header.expires;
    let (snapshot_version, snapshot_bytes) = match kept_snapshot {
        Some(snapshot) => (snapshot.header.version, snapshot.bytes.clone()),
        None => {
            let version = workspace.next_version(Role::Snapshot)?;
            let signed = author::snapshot(version, snapshot_dates, listed.header.version, &listed.bytes);
            let bytes = snapshot_signers.sign(signed)?;
            files.push((metadata_name(Role::Snapshot, version), Content::Bytes(bytes.clone())));
            summary.snapshot = Some((version, snapshot_dates.expires));
            (version, bytes)
        }
    };
    let before = published.as_ref().map_or(0, |published| published.timestamp.header.version);
    summary.timestamp.0 = successor(before)?;
    let signed = author::timestamp(summary.timestamp.0, timestamp_dates, snapshot_version, &snapshot_bytes);
    let timestamp = timestamp_signers.sign(signed)?;

    summary.files = files.iter().map(|(name, _)| name.clone()).collect();
    summary.files.push(metadata_name(Role::Timestamp, 0));
    let plan =
        Plan { workspace: workspace.clone(), files, timestamp, summary, roots: roots.version(), _lock: lock };
    plan.preflight(roots.chain.files(), now)?;
    Ok(plan)
}

impl Plan {
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
        let public = self.workspace.public();
        let mut writer = Writer::new(witness);
        for (name, content) in &self.files {
            check_directories(&public, name)?;
            writer.create(&public.join(name), content)?;
        }
        let timestamp = public.join(metadata_name(Role::Timestamp, 0));
        writer.replace(&timestamp, &Content::Bytes(self.timestamp))?;

        // The request first: while it is there, its images are.
        writer.remove(&self.workspace.request_path())?;
        for version in 1..=self.roots {
            writer.remove(&self.workspace.staged_root(version))?;
        }
        for image in staged_images(&self.workspace)? {
            writer.remove(&image)?;
        }
        Ok(self.summary)
    }

    /// What stands in the way, and what a device would say. The images are left out: they are held against their
    /// digests when copied.
    fn preflight(&self, roots: &[Vec<u8>], now: u64) -> Result<(), Error> {
        for (name, content) in &self.files {
            check_directories(&self.workspace.public(), name)?;
            let path = self.workspace.public().join(name);
            if path.exists() && Hex(&hash_file(&path)?.sha256).to_string() != content.sha256() {
                return Err(Rejected::ImmutableDiffers { path }.into());
            }
        }
        let mut files: BTreeMap<String, Vec<u8>> = BTreeMap::new();
        for (name, content) in &self.files {
            if let Content::Bytes(bytes) = content {
                files.insert(name.clone(), bytes.clone());
            }
        }
        files.insert(metadata_name(Role::Timestamp, 0), self.timestamp.clone());
        let mut source = verify::Overlay { below: verify::Directory(self.workspace.public()), files };
        let first = roots.first().map(Vec::as_slice).unwrap_or_default();
        verify::replay(&mut source, first, now).map(drop)
    }
}

/// Whether the directories of a file lie below the public one, and not elsewhere behind a link that somebody
/// planted. The public one itself may be a link: who may change that owns the workspace.
fn check_directories(public: &Path, name: &str) -> Result<(), Error> {
    for (end, _) in name.match_indices('/') {
        let path = public.join(&name[..end]);
        if path.symlink_metadata().is_ok_and(|metadata| metadata.is_symlink()) {
            let why = "a directory of the repository is a symbolic link".to_owned();
            return Err(Rejected::Damaged { path, why }.into());
        }
    }
    Ok(())
}

/// The signed targets, which must not have expired `now` (seconds since 1970). If they are public already, as a publisher
/// that died left them, these very bytes.
fn finish(workspace: &Workspace, roots: &Roots, request: &Request, now: u64) -> Result<Document, Error> {
    let path = workspace.request_path();
    let asked = request.chain().last();
    if asked.map(|root| &root.roles[&Role::Targets]) != Some(roots.keys(Role::Targets)) {
        let request = asked.map_or(0, |root| root.header.version);
        return Err(Rejected::RequestOfOldRoot { path, request, newest: roots.version() }.into());
    }
    let finished = request.finish(now).map_err(|error| match error {
        tuffet_keys::Error::Rejected { why: Unmet { what, by, threshold, signed, missing }, .. } => {
            Rejected::Unsigned { path: path.clone(), what: what.into(), by, threshold, signed, missing }
                .into()
        }
        error => Error::from(error.in_file(&path)),
    })?;
    let public = workspace.public().join(metadata_name(Role::Targets, request.header().version));
    // Another signature may have come since; the file that is there has enough, or preflight says that it has not.
    let bytes = match read_optional(&public)? {
        Some(bytes) if Envelope::parse(&bytes).is_ok_and(|there| there.signed == *request.signed()) => bytes,
        _ => finished,
    };
    Document::parse(bytes, Role::Targets, &path)
}

/// The files of the targets that are new.
fn target_files(
    workspace: &Workspace,
    request: &Request,
    old: Option<&Document>,
) -> Result<Vec<(String, Content)>, Error> {
    let damaged = |why: &str| Rejected::Damaged { path: workspace.request_path(), why: why.to_owned() };
    let new = Targets::from_signed(request.signed());
    let new = new.ok_or_else(|| damaged("the request has no targets"))?;
    let old = old.and_then(|old| Targets::from_signed(old.signed())).unwrap_or_else(Targets::empty);
    let mut files = Vec::new();
    for (path, target) in new.list()? {
        if new.agree_on(&old, path) {
            continue;
        }
        let name = target_name(path, &target.sha256);
        let content = match new.custom(path) {
            Some(custom) if target.is(&custom) => Content::Bytes(custom),
            Some(_) => return Err(damaged("a release entry is not the file that it says it is").into()),
            None => image_content(workspace, &target, &name)?,
        };
        files.push((name, content));
    }
    Ok(files)
}

fn image_content(workspace: &Workspace, target: &Target, name: &str) -> Result<Content, Error> {
    let staged = workspace.staged_image(&target.sha256);
    // Public already: a publisher that died wrote it, and somebody tidied up.
    let public = workspace.public().join(name);
    for path in [staged.clone(), public] {
        if path.is_file() {
            let storage::Summary { sha256, length } = hash_file(&path)?;
            if Hex(&sha256).to_string() != target.sha256 {
                let why = "the image does not have the digest that it is stored under".to_owned();
                return Err(Rejected::Damaged { path, why }.into());
            }
            if length != u64::from(target.length) {
                return Err(Rejected::TargetDiffers { path }.into());
            }
            return Ok(Content::File { path, sha256 });
        }
    }
    Err(Rejected::TargetMissing { path: staged }.into())
}

/// A snapshot is signed anew in the second half of its life, and whenever the timestamp above it would outlive it.
fn is_due(snapshot: &Document, now: u64, timestamp_expires: u64) -> bool {
    let issued = snapshot.header.issued;
    let expires = snapshot.header.expires;
    let half = issued + expires.saturating_sub(issued) / 2;
    now >= half || expires < timestamp_expires
}

fn staged_images(workspace: &Workspace) -> Result<Vec<PathBuf>, Error> {
    let directory = workspace.staged_image("");
    if !directory.is_dir() {
        return Ok(Vec::new());
    }
    let failed = |error| Error::io("list", &directory, &error);
    let mut images = Vec::new();
    for entry in fs::read_dir(&directory).map_err(failed)? {
        images.push(entry.map_err(failed)?.path());
    }
    images.sort();
    Ok(images)
}
