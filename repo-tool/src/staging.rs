//! What will be published next: changes to targets files, and the requests that ask key holders to sign them.
//!
//! Several changes before a publication make one request for each role that they touch. Each new draft drops the
//! signatures that the one before it had, for they are over other bytes.
//!
//! Who signs a delegated role a targets file above it says, which must be signed first. So a policy that gives a product
//! a role of its own takes effect in two rounds: its holders sign nothing before those of targets said who they are.

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};
use tuffet_keys::Role;
use tuffet_keys::canonical;
use tuffet_keys::delegation::Delegation;
use tuffet_keys::metadata::Envelope;
use tuffet_keys::request::Request;

use crate::author::Dates;
use crate::config::Delegate;
use crate::document::{Changes, Document, Listed, Sheet, payload};
use crate::repository::{Lock, Published, Roots, Workspace, check_issued};
use crate::storage::{Content, Unwatched, Writer};
use crate::{Error, Misuse, Rejected, verify};

/// A request for signatures over metadata of a role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The role.
    pub role: Role,
    /// The request's file.
    pub path: PathBuf,
    /// The version of the metadata.
    pub version: u32,
    /// When they expire, in seconds since 1970.
    pub expires: u64,
    /// How many keys must sign.
    pub threshold: u32,
    /// Signatures that an earlier draft had, and that must be given again.
    pub dropped_signatures: usize,
}

/// A root that was staged, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedRoot {
    /// Its version.
    pub version: u32,
    /// Whether it was known before.
    pub known: bool,
    /// The requests that were drafted because the root changes who signs.
    pub drafts: Vec<Draft>,
}

/// Whether a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does what it says.
    Write,
    /// It says what it would do.
    DryRun,
}

/// The next metadata of every role, as far as somebody looked: what is published, what is staged, and changes to that.
pub struct Stage<'w> {
    workspace: &'w Workspace,
    /// The root chain, published and staged.
    pub roots: Roots,
    /// What is published.
    pub published: Option<Published>,
    known: BTreeMap<Role, State>,
    changes: BTreeMap<Role, Changes>,
    _lock: Option<Lock>,
}

/// Where a role stands.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Its published file.
    pub published: Option<Document>,
    /// Its staged request.
    pub pending: Option<Request>,
    /// What its next file starts from: the staged one, else what is published, else nothing.
    pub sheet: Sheet,
}

impl<'w> Stage<'w> {
    /// Opens it for changes: nobody else changes the workspace until it is dropped.
    ///
    /// # Errors
    /// [`Environment::Locked`](crate::Environment::Locked), what is wrong with roots, timestamp or snapshot, or an I/O
    /// failure.
    pub fn open(workspace: &'w Workspace) -> Result<Stage<'w>, Error> {
        let lock = workspace.lock()?;
        Ok(Stage { _lock: Some(lock), ..Stage::look(workspace)? })
    }

    /// Opens it to look at.
    ///
    /// # Errors
    /// As [`Stage::open`].
    pub fn look(workspace: &'w Workspace) -> Result<Stage<'w>, Error> {
        let roots = workspace.roots()?;
        let published = workspace.published(&roots)?;
        Ok(Stage {
            workspace,
            roots,
            published,
            known: BTreeMap::new(),
            changes: BTreeMap::new(),
            _lock: None,
        })
    }

    /// Where a role stands.
    ///
    /// # Errors
    /// What is wrong with its file or its request, or an I/O failure.
    pub fn state(&mut self, role: &Role) -> Result<&State, Error> {
        if !self.known.contains_key(role) {
            let published = self.published.as_ref();
            let document = published.map(|published| published.role(role)).transpose()?.flatten();
            let pending = self.workspace.pending(role, published)?;
            let sheet = match (&pending, &document) {
                (Some(request), _) => Sheet::of_payload(request.payload())?,
                (None, Some(document)) => document.sheet()?,
                (None, None) => Sheet::default(),
            };
            self.known.insert(role.clone(), State { published: document, pending, sheet });
        }
        Ok(self.known.entry(role.clone()).or_default())
    }

    /// The state of the role in whose file a target is.
    ///
    /// # Errors
    /// As [`Stage::state`].
    pub fn state_of(&mut self, path: &str) -> Result<&State, Error> {
        let role = self.workspace.config().role_of(path);
        self.state(&role)
    }

    /// The release entry at a path, before the changes.
    ///
    /// # Errors
    /// As [`Stage::state`], or what a device would say of it.
    pub fn entry(&mut self, path: &str) -> Result<Listed, Error> {
        self.state_of(path)?.sheet.entry(path)
    }

    /// The changes to the file in which a target is.
    pub fn changes_of(&mut self, path: &str) -> &mut Changes {
        let role = self.workspace.config().role_of(path);
        self.changes.entry(role).or_default()
    }

    /// Drafts a role anew, whether or not something changes in it.
    pub fn touch(&mut self, role: &Role) {
        self.changes.entry(role.clone()).or_default();
    }

    /// Drafts a request for each role that changes, at `now` (seconds since 1970). Those of images come first, so that a
    /// release entry is never staged without its image.
    ///
    /// # Errors
    /// [`Rejected::NotDelegated`] for a role of which no signed metadata say who signs it, or what keeps a file from being
    /// drafted.
    pub fn drafts(&mut self, now: u64) -> Result<Vec<(Request, Draft)>, Error> {
        let mut changes: Vec<_> = core::mem::take(&mut self.changes).into_iter().collect();
        changes.sort_by_key(|(_, changes)| changes.lists_releases());
        let mut drafts = Vec::new();
        for (role, mut changes) in changes {
            let delegations = self.wanted(&role)?;
            changes.delegations = Some(delegations);
            drafts.push(self.draft(&role, &changes, now)?);
        }
        Ok(drafts)
    }

    fn draft(&mut self, role: &Role, changes: &Changes, now: u64) -> Result<(Request, Draft), Error> {
        let version = self.workspace.next_version(role, self.published.as_ref())?;
        let term = self.workspace.config().term(role, self.roots.newest().periods.as_ref());
        let dates = Dates { issued: now, expires: term.expires.after(now)? };
        let text = self.state(role)?.sheet.edited(version, dates, changes);
        let way = self.way(role)?;
        let request = Request::from_payload(role.clone(), payload(&text)?, self.roots.chain.files(), &way)?;
        let threshold =
            request.requirements().iter().map(|requirement| requirement.threshold).max().unwrap_or(0);
        let pending = self.state(role)?.pending.iter().flat_map(Request::state);
        let given = pending.map(|progress| progress.signed.len()).max().unwrap_or(0);
        let draft = Draft {
            role: role.clone(),
            path: self.workspace.request_path(role),
            version,
            expires: dates.expires,
            threshold,
            dropped_signatures: given,
        };
        Ok((request, draft))
    }

    /// Drafts what changes, and writes it unless it is a dry run.
    ///
    /// # Errors
    /// As [`Stage::drafts`], or an I/O failure.
    pub fn finish(mut self, now: u64, mode: Mode) -> Result<Vec<Draft>, Error> {
        let drafts = self.drafts(now)?;
        if mode == Mode::Write {
            for (request, draft) in &drafts {
                request.write(&draft.path)?;
            }
        }
        Ok(drafts.into_iter().map(|(_, draft)| draft).collect())
    }

    /// What the policy wants a role to delegate, as the text of the member.
    fn wanted(&self, role: &Role) -> Result<Option<String>, Error> {
        let config = self.workspace.config();
        let value = match role {
            Role::Targets => delegations(self.workspace, &self.roots)?,
            _ => config
                .delegate(role)
                .filter(|delegate| delegate.name == role.name())
                .map_or(Ok(None), |delegate| {
                    delegate.bins.map(|bits| bins(self.workspace, delegate, bits)).transpose()
                })?,
        };
        let Some(value) = value else { return Ok(None) };
        Ok(Some(String::from_utf8_lossy(&canonical::published_bytes(&value)?).into_owned()))
    }

    /// Whether the newest metadata of a role, staged or published, delegate what the policy wants.
    ///
    /// # Errors
    /// As [`Stage::state`], or a public key that cannot be read.
    pub fn delegates_as_wanted(&mut self, role: &Role) -> Result<bool, Error> {
        let wanted = self.wanted(role)?;
        Ok(self.state(role)?.sheet.delegations() == wanted.as_deref())
    }

    /// The signed targets files that lead to a role, from the top down.
    fn way(&mut self, role: &Role) -> Result<Vec<(Role, Vec<u8>)>, Error> {
        let workspace = self.workspace;
        let mut way = Vec::new();
        for above in workspace.above(role) {
            let below = match (&above, workspace.config().delegate(role)) {
                (Role::Targets, Some(delegate)) => delegate.name.clone(),
                _ => role.name().to_owned(),
            };
            let file = self.signed_file(&above, &below)?;
            way.push((above, file));
        }
        Ok(way)
    }

    /// The newest signed file of a role that delegates to `below` as the policy wants it: the staged one if it has its
    /// signatures, else the published one.
    fn signed_file(&mut self, role: &Role, below: &str) -> Result<Vec<u8>, Error> {
        let wanted = self.wanted(role)?.unwrap_or_default();
        let wanted = delegation_of(&wanted, below)?;
        let workspace = self.workspace;
        let State { published, pending, .. } = self.state(role)?;
        let staged = pending.as_ref().and_then(|request| request.finish(request.header().issued).ok());
        let published = published.as_ref().map(|document| document.bytes().to_vec());
        for file in [staged, published].into_iter().flatten() {
            let there = Delegation::of(&Envelope::parse(&file)?.signed, below);
            if there.is_ok_and(|there| there.is_some() && there == wanted) {
                return Ok(file);
            }
        }
        let waits = pending.is_some().then(|| workspace.request_path(role));
        Err(Rejected::NotDelegated { role: Role::Delegated(below.to_owned()), by: role.clone(), waits }
            .into())
    }
}

fn delegation_of(delegations: &str, name: &str) -> Result<Option<Delegation>, Error> {
    let delegations =
        if delegations.is_empty() { Value::Null } else { canonical::parse(delegations.as_bytes())? };
    Ok(Delegation::of(&json!({ "delegations": delegations }), name)?)
}

/// What the top-level targets delegate: to each product with a role of its own the paths of that product.
///
/// Targets files do not name their role, so a signature for one is good for any other that the same key signs. No key is
/// in two roles.
fn delegations(workspace: &Workspace, roots: &Roots) -> Result<Option<Value>, Error> {
    let (mut keys, mut roles) = (Map::new(), Vec::new());
    let of_root = roots.newest().roles.iter();
    let mut taken: BTreeMap<String, Role> = of_root
        .flat_map(|(role, signers)| signers.keys.keys().map(|keyid| (keyid.clone(), role.clone())))
        .collect();
    for (product, delegate) in workspace.config().delegates() {
        let keyids = add_keys(workspace, delegate, &mut keys)?;
        let role = Role::Delegated(delegate.name.clone());
        for keyid in &keyids {
            if let Some(other) = taken.insert(keyid.clone(), role.clone()) {
                return Err(Rejected::KeyInTwoRoles { keyid: keyid.clone(), role, other }.into());
            }
        }
        roles.push(json!({
            "keyids": keyids,
            "name": delegate.name,
            "paths": [format!("{product}/*/*/release"), format!("{product}/*/versions/*/*")],
            "terminating": true,
            "threshold": delegate.threshold,
        }));
    }
    Ok((!roles.is_empty()).then(|| json!({ "keys": keys, "roles": roles })))
}

/// What a product's role delegates that is spread over bins.
fn bins(workspace: &Workspace, delegate: &Delegate, bits: u32) -> Result<Value, Error> {
    let mut keys = Map::new();
    let keyids = add_keys(workspace, delegate, &mut keys)?;
    Ok(json!({
        "keys": keys,
        "succinct_roles": {
            "bit_length": bits,
            "keyids": keyids,
            "name_prefix": delegate.bin_prefix(),
            "threshold": delegate.threshold,
        },
    }))
}

fn add_keys(
    workspace: &Workspace,
    delegate: &Delegate,
    keys: &mut Map<String, Value>,
) -> Result<Vec<String>, Error> {
    let mut keyids = BTreeSet::new();
    for key in delegate.public_keys(workspace.directory())? {
        keys.insert(key.keyid().to_owned(), key.to_value());
        keyids.insert(key.keyid().to_owned());
    }
    Ok(keyids.into_iter().collect())
}

/// What was drafted anew, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Renewed {
    /// The requests.
    pub drafts: Vec<Draft>,
    /// Roles that need it, too, and that nobody can draft before those above them are signed.
    pub later: Vec<Role>,
}

/// Drafts roles anew at `now` (seconds since 1970): those named, else those that are due, that other keys sign now, or
/// that do not delegate as the policy says.
///
/// # Errors
/// [`Rejected::NothingStaged`] if nothing has been released, [`Misuse::UnknownRole`] for one that there is not, or what
/// keeps a file from being drafted.
pub fn renew(workspace: &Workspace, named: &[Role], now: u64, mode: Mode) -> Result<Renewed, Error> {
    let mut stage = Stage::open(workspace)?;
    let all = stage.roles()?;
    if all.is_empty() {
        return Err(Rejected::NothingStaged.into());
    }
    for role in named {
        if !all.contains(role) {
            let known = all.iter().map(ToString::to_string).collect();
            return Err(Misuse::UnknownRole { role: role.to_string(), known }.into());
        }
        stage.touch(role);
    }
    let mut later = Vec::new();
    if named.is_empty() {
        for role in all {
            if stage.needs_renewal(&role, now)?.is_none() {
                continue;
            }
            match stage.way(&role) {
                Ok(_) => stage.touch(&role),
                Err(Error::Rejected(Rejected::NotDelegated { .. })) => later.push(role),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(Renewed { drafts: stage.finish(now, mode)?, later })
}

/// Why a role is to be drafted anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It is due, or has expired.
    Due,
    /// Other keys sign it now.
    Keys,
    /// It does not delegate as the policy says.
    Policy,
    /// It was never written.
    New,
}

impl fmt::Display for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Renewal::Due => "due",
            Renewal::Keys => "other keys sign it now",
            Renewal::Policy => "does not delegate as tuffet.toml says",
            Renewal::New => "not written yet",
        })
    }
}

impl Stage<'_> {
    /// Every role with targets that there is, or that the policy wants.
    ///
    /// # Errors
    /// An I/O failure.
    pub fn roles(&self) -> Result<Vec<Role>, Error> {
        let listed = self.published.iter().flat_map(|published| published.listing.roles());
        let mut roles: BTreeSet<Role> = listed.collect();
        roles.extend(self.workspace.staged_roles()?);
        let mut delegates = self.workspace.config().delegates().peekable();
        if delegates.peek().is_some() {
            roles.insert(Role::Targets);
        }
        let with_bins = delegates.filter(|(_, delegate)| delegate.bins.is_some());
        roles.extend(with_bins.map(|(_, delegate)| Role::Delegated(delegate.name.clone())));
        Ok(roles.into_iter().collect())
    }

    /// Why a role is to be drafted anew at `now`, if it is. What is staged already may be signed as it is.
    ///
    /// # Errors
    /// As [`Stage::state`].
    pub fn needs_renewal(&mut self, role: &Role, now: u64) -> Result<Option<Renewal>, Error> {
        if !self.delegates_as_wanted(role)? {
            let known = self.state(role)?;
            let is_new = known.published.is_none() && known.pending.is_none();
            return Ok(Some(if is_new { Renewal::New } else { Renewal::Policy }));
        }
        let term = self.workspace.config().term(role, self.roots.newest().periods.as_ref());
        let signers = match role {
            Role::Delegated(_) => None,
            role => Some(self.roots.keys(role).clone()),
        };
        let State { published, pending, .. } = self.state(role)?;
        let due = |expires: u64| now >= term.due(expires);
        let renewal = match (pending, published) {
            (Some(request), _) => {
                let last = request.chain().last().map(|root| &root.roles);
                let old = last
                    .is_some_and(|roles| roles.get(role).is_some_and(|keys| Some(keys) != signers.as_ref()));
                if old { Some(Renewal::Keys) } else { due(request.header().expires).then_some(Renewal::Due) }
            }
            (None, Some(document)) => match signers.is_some_and(|keys| !document.is_signed_by(&keys)) {
                true => Some(Renewal::Keys),
                false => due(document.header.expires).then_some(Renewal::Due),
            },
            // A role that nothing was released in is written with its first release.
            (None, None) => None,
        };
        if renewal.is_some() {
            return Ok(renewal);
        }
        self.has_other_signers(role)
    }

    /// Whether the keys of a delegated role changed since its file was signed or drafted.
    fn has_other_signers(&mut self, role: &Role) -> Result<Option<Renewal>, Error> {
        let Role::Delegated(name) = role else { return Ok(None) };
        let Some(above) = self.workspace.above(role).pop() else { return Ok(None) };
        let wanted = self.wanted(&above)?.unwrap_or_default();
        let Some(Delegation { signers, .. }) = delegation_of(&wanted, name)? else { return Ok(None) };
        let State { published, pending, .. } = self.state(role)?;
        let other = match (pending, published) {
            (Some(request), _) => request.requirements().iter().any(|requirement| {
                (&requirement.keys, requirement.threshold) != (&signers.keys, signers.threshold)
            }),
            (None, Some(document)) => !document.is_signed_by(&signers),
            (None, None) => false,
        };
        Ok(other.then_some(Renewal::Keys))
    }
}

/// Stages the next root. If it changes who signs targets, these are drafted anew.
///
/// # Errors
/// What is wrong with the root, [`Rejected::ImmutableDiffers`] for another root of a version that is there
/// already, or an I/O failure.
pub fn add_root(workspace: &Workspace, file: &Path, now: u64, mode: Mode) -> Result<StagedRoot, Error> {
    let root = tuffet_keys::file::read(file)?;
    let mut stage = Stage::open(workspace)?;
    let mut files = stage.roots.chain.files().to_vec();
    if let Some(index) = files.iter().position(|known| *known == root) {
        let version = u32::try_from(index + 1).unwrap_or(u32::MAX);
        return Ok(StagedRoot { version, known: true, drafts: Vec::new() });
    }
    let before = stage.roots.keys(&Role::Targets).clone();
    files.push(root.clone());
    stage.roots = Roots::verify(&files, stage.roots.published).map_err(|error| error.in_file(file))?;
    check_issued(&stage.roots.newest().header, now)?;
    verify::replay_roots(&files, &workspace.limits(&stage.roots), now)?;

    let version = stage.roots.version();
    if before != *stage.roots.keys(&Role::Targets) {
        let State { published, pending, .. } = stage.state(&Role::Targets)?;
        if published.is_some() || pending.is_some() {
            stage.touch(&Role::Targets);
        }
    }
    let drafts = stage.drafts(now)?;
    if mode == Mode::Write {
        let content = Content::Bytes(root);
        Writer::new(&mut Unwatched).create(&workspace.staged_root(version), &content)?;
        for (request, draft) in &drafts {
            request.write(&draft.path)?;
        }
    }
    let drafts = drafts.into_iter().map(|(_, draft)| draft).collect();
    Ok(StagedRoot { version, known: false, drafts })
}

/// Throws staged requests away: those of the roles named, else all. Images that no request needs any more go with them.
/// Gives the roles.
///
/// # Errors
/// [`Misuse::UnknownRole`] for a role with no staged request, or an I/O failure.
pub fn discard(workspace: &Workspace, named: &[Role], mode: Mode) -> Result<Vec<Role>, Error> {
    let _lock = workspace.lock()?;
    let staged = workspace.staged_roles()?;
    if let Some(role) = named.iter().find(|role| !staged.contains(role)) {
        let known = staged.iter().map(ToString::to_string).collect();
        return Err(Misuse::UnknownRole { role: role.to_string(), known }.into());
    }
    let gone: Vec<Role> = match named.is_empty() {
        true => staged.clone(),
        false => named.to_vec(),
    };
    if mode == Mode::DryRun {
        return Ok(gone);
    }
    let mut witness = Unwatched;
    let mut writer = Writer::new(&mut witness);
    for role in &gone {
        writer.remove(&workspace.request_path(role))?;
    }
    let mut needed = BTreeSet::new();
    for role in staged.iter().filter(|role| !gone.contains(role)) {
        let request = Request::read(&workspace.request_path(role))?;
        for target in Sheet::of_payload(request.payload())?.list() {
            needed.insert(target?.1.sha256);
        }
    }
    for image in workspace.staged_images()? {
        let digest = image.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if !needed.contains(&digest) {
            writer.remove(&image)?;
        }
    }
    Ok(gone)
}
