//! Publishing: what is staged becomes what devices see, in one step that no crash can halve.
//!
//! Files are written in the order in which nothing refers to a file that is not there: images, targets, snapshot, roots,
//! and `timestamp.json` last, in the place of the one that was read at the start and of no other. Until then devices see
//! the old repository; from then on the new one. All other names are new for each version and never change, so a publisher that died is simply run
//! again: it keeps what is there, and numbers what it signs above every orphan.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tuffet_client::limits::HALTS;
use tuffet_client::release::Hex;
use tuffet_client::time::Date;
use tuffet_keys::Rejected::ThresholdNotMet as Unmet;
use tuffet_keys::Role;
use tuffet_keys::delegation::Delegation;
use tuffet_keys::key::SigningKey;
use tuffet_keys::metadata::{Envelope, Header};
use tuffet_keys::request::Request;

use crate::author::{Dates, Signers, Target};
use crate::document::{self, Document, Listed, Listing, Sheet};
use crate::preflight::{self, Trial};
use crate::release::Channel;
use crate::repository::{
    Lock, Published, Roots, Workspace, check_issued, metadata_name, successor, target_name,
};
use crate::source::Fetched;
use crate::storage::{self, Content, Witness, Writer, hash_file};
use crate::store::{self, Tag};
use crate::{Environment, Error, Family, Rejected};

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

/// A role's file that becomes public, and what it replaces.
struct New {
    role: Role,
    document: Document,
    sheet: Sheet,
    before: Sheet,
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

/// The staged roles that have their signatures, and those that have not, with what is missing.
fn signed(
    workspace: &Workspace,
    roots: &Roots,
    published: Option<&Published>,
    now: u64,
) -> Result<(Vec<New>, Vec<Waiting>), Error> {
    let (mut new, mut waiting): (Vec<New>, Vec<_>) = (Vec::new(), Vec::new());
    let mut staged = workspace.staged_roles()?;
    // What delegates comes before what is delegated to, so that it is known who signs that.
    staged.sort_by_key(|role| workspace.depth(role));
    for role in staged {
        // What is wrong with one request keeps no other back.
        let refused = |why: Error| match why.family() {
            Family::Rejected => Ok(why),
            _ => Err(why),
        };
        match ready(workspace, roots, published, &new, &role, now) {
            Ok(found) => new.extend(found),
            Err(why) => waiting.push(Waiting { role, why: refused(why)? }),
        }
    }
    // Devices come to the top last, so it is written last.
    new.reverse();
    Ok((new, waiting))
}

/// The file of a staged role, if it has its signatures; none if it is public already.
fn ready(
    workspace: &Workspace,
    roots: &Roots,
    published: Option<&Published>,
    new: &[New],
    role: &Role,
    now: u64,
) -> Result<Option<New>, Error> {
    let config = workspace.config();
    if *role != Role::Targets && config.delegate(role).is_none() {
        let known = config.delegates().map(|(_, delegate)| delegate.name.clone()).collect();
        return Err(Rejected::UnknownStaged { path: workspace.request_path(role), known }.into());
    }
    let Some(request) = workspace.pending(role, published)? else { return Ok(None) };
    check_issued(request.header(), now)?;
    let document = finish(workspace, roots, &request, now)?;
    if let Role::Delegated(name) = role {
        check_signers(workspace, published, new, name, &request)?;
    }
    let before = published.map(|published| published.role(role)).transpose()?.flatten();
    let before = before.map_or_else(|| Ok(Sheet::default()), |before| before.sheet())?;
    let sheet = document.sheet()?;
    if let Some(path) = sheet.changed(&before).find(|path| config.role_of(path) != *role) {
        let (path, role) = (path.to_owned(), role.clone());
        return Err(Rejected::ForeignPath { path, role }.into());
    }
    let new = New { role: role.clone(), document, sheet, before };
    check_releases(workspace, &new)?;
    Ok(Some(new))
}

/// Holds releases that are new or changed against the policy of today: it may have changed since they were staged.
fn check_releases(workspace: &Workspace, new: &New) -> Result<(), Error> {
    let config = workspace.config();
    for path in new.sheet.changed(&new.before) {
        let Some(channel) = Channel::of_entry(path) else { continue };
        let Channel { product, hardware, name } = &channel;
        let listed = new.sheet.entry(path)?;
        let (_, known) = config.find(Some(product), hardware)?;
        config.check_channel(product, name)?;
        for index in preflight::changed(&listed, &new.before.entry(path)?) {
            let image = &listed.candidates[index].image;
            if image.length > known.slot_size {
                let (length, hardware, slot_size) = (image.length.into(), hardware.clone(), known.slot_size);
                let image = PathBuf::from(image.path.as_str());
                return Err(Rejected::ImageTooLarge { image, length, hardware, slot_size }.into());
            }
        }
    }
    Ok(())
}

/// Whether the keys that a delegated role's request asks are those that will sign it when it is public.
fn check_signers(
    workspace: &Workspace,
    published: Option<&Published>,
    new: &[New],
    name: &str,
    request: &Request,
) -> Result<(), Error> {
    let role = Role::Delegated(name.to_owned());
    let Some(above) = workspace.above(&role).pop() else { return Ok(()) };
    let listed = || published.map_or(Ok(None), |published| published.role(&above));
    let document = match new.iter().find(|new| new.role == above) {
        Some(new) => Some(new.document.clone()),
        None => listed()?,
    };
    let delegation = match &document {
        Some(document) => Delegation::of(&Envelope::parse(document.bytes())?.signed, name)?,
        None => None,
    };
    let path = workspace.request_path(&role);
    let by = above.to_string();
    let Some(Delegation { signers, .. }) = delegation else {
        let (role, waits) = (role, workspace.request_path(&above));
        return Err(
            Rejected::NotDelegated { role, by: above, waits: waits.is_file().then_some(waits) }.into()
        );
    };
    let asked = |requirement: &tuffet_keys::request::Requirement| {
        (&requirement.keys, requirement.threshold) == (&signers.keys, signers.threshold)
    };
    match request.requirements().iter().all(asked) {
        true => Ok(()),
        false => Err(Rejected::RequestOfOldKeys { path, role, by }.into()),
    }
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

    /// Releases that are as they were, and that this publication might cut off: by another delegation or root, or because
    /// an image is gone.
    fn add_touched(
        &self,
        published: Option<&Published>,
        new: &[New],
        releases: &mut Vec<(Channel, Listed, Vec<usize>)>,
    ) -> Result<(), Error> {
        let moved = !self.summary.roots.is_empty()
            || new.iter().any(|new| new.sheet.delegations() != new.before.delegations());
        let gone: BTreeSet<&str> = new.iter().flat_map(|new| new.before.changed(&new.sheet)).collect();
        if !moved && gone.is_empty() {
            return Ok(());
        }
        let mut sheets: BTreeMap<Role, Sheet> =
            new.iter().map(|new| (new.role.clone(), new.sheet.clone())).collect();
        let mut channels: BTreeSet<Channel> = self.workspace.channels().into_iter().collect();
        let listed = published.iter().flat_map(|published| published.listing.roles());
        for role in
            listed.filter(|_| moved).chain(new.iter().map(|new| new.role.clone())).collect::<BTreeSet<_>>()
        {
            let document = published.map(|published| published.role(&role)).transpose()?.flatten();
            let before = document.map(|document| document.sheet()).transpose()?.unwrap_or_default();
            let sheet = sheets.entry(role).or_insert_with(|| before.clone());
            for sheet in [&before, sheet] {
                channels.extend(sheet.paths().filter_map(Channel::of_entry));
            }
        }
        for channel in channels {
            let path = channel.entry();
            let role = self.workspace.config().role_of(&path);
            if !sheets.contains_key(&role) {
                let document = published.map(|published| published.role(&role)).transpose()?.flatten();
                let sheet = document.map(|document| document.sheet()).transpose()?.unwrap_or_default();
                sheets.insert(role.clone(), sheet);
            }
            let mut listed =
                sheets.get(&role).map_or_else(|| Ok(Listed::default()), |sheet| sheet.entry(&path))?;
            if listed.candidates.is_empty() {
                // It is not where the policy looks: what devices found before they must still find.
                let before = sheets
                    .values()
                    .find_map(|sheet| sheet.entry(&path).ok().filter(|it| !it.candidates.is_empty()));
                let old = new
                    .iter()
                    .find_map(|new| new.before.entry(&path).ok().filter(|it| !it.candidates.is_empty()));
                listed = before.or(old).unwrap_or_default();
            }
            let is_touched = |index: usize| {
                let image = listed.candidates.get(index).map(|candidate| candidate.image.path.as_str());
                (moved && index == 0) || image.is_some_and(|image| gone.contains(image))
            };
            let which: Vec<usize> = (0..listed.candidates.len()).filter(|index| is_touched(*index)).collect();
            match releases.iter_mut().find(|(other, ..)| *other == channel) {
                Some((_, _, known)) => {
                    known.extend(which);
                    known.sort_unstable();
                    known.dedup();
                }
                None => releases.push((channel, listed, which)),
            }
        }
        Ok(())
    }

    /// What stands in the way, and what devices would say. The images are left out: they are held against their
    /// digests when copied.
    fn preflight(
        &self,
        roots: &Roots,
        published: Option<&Published>,
        new: &[New],
        now: u64,
    ) -> Result<(), Error> {
        let mut files: BTreeMap<String, Bytes> = BTreeMap::new();
        for (name, content) in &self.files {
            if let Content::Bytes(bytes) = content {
                let there = self.workspace.read(name)?;
                if there.is_some_and(|there| there != *bytes) {
                    return Err(Rejected::ImmutableDiffers { path: self.workspace.place(name) }.into());
                }
                files.insert(name.clone(), bytes.clone());
            }
        }
        files.insert(metadata_name(&Role::Timestamp, 0), self.timestamp.clone().into());
        let mut releases = Vec::new();
        for New { sheet, before, .. } in new {
            for path in sheet.changed(before) {
                if let Some(channel) = Channel::of_entry(path) {
                    let listed = sheet.entry(path)?;
                    let which = preflight::changed(&listed, &before.entry(path)?);
                    releases.push((channel, listed, which));
                }
            }
        }
        self.add_touched(published, new, &mut releases)?;
        Trial {
            roots,
            below: Arc::clone(self.workspace.store()),
            published: published.is_some(),
            files,
            smallest: self.workspace.limits(roots),
            releases,
        }
        .run(now)
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

/// The signed file of a request, which must not have expired `now` (seconds since 1970). If it is public already, as a
/// publisher that died left it, these very bytes.
fn finish(workspace: &Workspace, roots: &Roots, request: &Request, now: u64) -> Result<Document, Error> {
    let role = &request.header().role;
    let path = workspace.request_path(role);
    let asked = request.chain().last();
    if *role == Role::Targets && asked.map(|root| &root.roles[role]) != Some(roots.keys(role)) {
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
    let public = metadata_name(role, request.header().version);
    let finished = Document::parse(finished, role, &path)?;
    // Another signature may have come since; the file that is there has enough, or preflight says that it has not.
    let there = workspace
        .read(&public)?
        .and_then(|bytes| Document::parse(bytes, role, &workspace.place(&public)).ok());
    Ok(there.filter(|there| there.signed() == finished.signed()).unwrap_or(finished))
}

/// The files of the targets that are new.
fn target_files(workspace: &Workspace, new: &New) -> Result<Vec<(String, Content)>, Error> {
    let mut files = Vec::new();
    for path in new.sheet.changed(&new.before) {
        let Some(target) = new.sheet.target(path)? else { continue };
        let name = target_name(path, &target.sha256);
        let content = match new.sheet.custom(path) {
            Some(custom) if target.is(custom.as_bytes()) => {
                Some(Content::Bytes(custom.as_bytes().to_vec().into()))
            }
            Some(_) => {
                let path = workspace.request_path(&new.role);
                let why = "a release entry is not the file that it says it is".to_owned();
                return Err(Rejected::Damaged { path, why }.into());
            }
            None => image_content(workspace, &target, &name)?,
        };
        files.extend(content.map(|content| (name, content)));
    }
    Ok(files)
}

/// The staged image; none if it is public already, as a publisher that died left it.
fn image_content(workspace: &Workspace, target: &Target, name: &str) -> Result<Option<Content>, Error> {
    let path = workspace.staged_image(&target.sha256);
    let differs = |sha256: [u8; 32], length: u64, path: PathBuf| {
        if Hex(&sha256).to_string() != target.sha256 {
            let why = "the image does not have the digest that it is stored under".to_owned();
            return Err(Rejected::Damaged { path, why }.into());
        }
        match length == u64::from(target.length) {
            true => Ok(()),
            false => Err(Error::from(Rejected::TargetDiffers { path })),
        }
    };
    if path.is_file() {
        let storage::Summary { sha256, length } = hash_file(&path)?;
        differs(sha256, length, path.clone())?;
        return Ok(Some(Content::File { path, sha256 }));
    }
    let (mut hash, mut length) = (Sha256::new(), 0);
    let fetched = workspace.store().fetch(name, u32::MAX, &mut |chunk| {
        hash.update(chunk);
        length += chunk.len() as u64;
    })?;
    if fetched == Fetched::Missing {
        return Err(Rejected::TargetMissing { path }.into());
    }
    differs(hash.finalize().into(), length, workspace.place(name))?;
    Ok(None)
}

/// What is staged and will be public: requests first, for while they are there their images are.
fn clearing(workspace: &Workspace, roots: &Roots, waiting: &[Waiting]) -> Result<Vec<PathBuf>, Error> {
    let waits = |role: &Role| waiting.iter().any(|waiting| waiting.role == *role);
    let (left, gone): (Vec<Role>, Vec<Role>) = workspace.staged_roles()?.into_iter().partition(waits);
    let mut paths: Vec<PathBuf> = gone.iter().map(|role| workspace.request_path(role)).collect();
    paths.extend((1..=roots.version()).map(|version| workspace.staged_root(version)));
    paths.extend(workspace.images_without(&left)?);
    Ok(paths)
}
