//! What will be published next: changes to targets files, and the requests that ask key holders to sign them.
//!
//! Several changes before a publication make one request for each role that they touch. Each new draft drops the
//! signatures that the one before it had, for they are over other bytes.
//!
//! | module | knows |
//! |---|---|
//! | this one | where a role stands, and how its next metadata are drafted |
//! | `delegations` | who signs for the products: what the policy wants, and what signed metadata say |
//! | `renewal` | roles that are to be drafted anew |
//!
//! Who signs a delegated role a targets file above it says, which must be signed first. So a policy that gives a product
//! a role of its own takes effect in two rounds: its holders sign nothing before those of targets said who they are.

mod delegations;
mod renewal;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tuffet_keys::request::Request;
use tuffet_keys::{Role, date};

use crate::author::Dates;
use crate::document::{Changes, Document, Listed, Sheet, payload};
use crate::repository::{Lock, Published, Roots, Workspace, check_issued};
use crate::storage::{Content, Unwatched, Writer};
use crate::{Environment, Error, Misuse, verify};

pub use renewal::{Renewal, Renewed, renew};

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
    /// [`Environment::Locked`], what is wrong with roots, timestamp or snapshot, or an I/O
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
        Stage::under(workspace, workspace.roots()?)
    }

    fn under(workspace: &'w Workspace, roots: Roots) -> Result<Stage<'w>, Error> {
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
            let document = Published::role_of(published, role)?;
            let pending = self.workspace.pending(role, published)?;
            let sheet = match (&pending, &document) {
                (Some(request), _) => Sheet::of_payload(request.payload())?,
                (None, Some(document)) => document.sheet()?,
                (None, None) => self.inherited(role)?,
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
    /// [`Rejected::NotDelegated`](crate::Rejected::NotDelegated) for a role of which no signed metadata say who signs it, or
    /// what keeps a file from being drafted.
    pub fn drafts(&mut self, now: u64) -> Result<Vec<(Request, Draft)>, Error> {
        let issued = self.published.as_ref().map_or(0, |published| published.timestamp.header.issued);
        if now < issued && !self.changes.is_empty() {
            let (issued, now) = (date::format(issued), date::format(now));
            return Err(Environment::ClockBehind { issued, now }.into());
        }
        let mut changes: Vec<_> = core::mem::take(&mut self.changes).into_iter().collect();
        changes.sort_by_key(|(_, changes)| changes.lists_releases());
        let mut drafts = Vec::new();
        for (role, mut changes) in changes {
            if role == Role::Targets {
                self.hand_down(&mut changes)?;
            }
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
}

/// Stages the next root. If it changes who signs targets, these are drafted anew.
///
/// # Errors
/// What is wrong with the root, [`Rejected::ImmutableDiffers`](crate::Rejected::ImmutableDiffers) for another root of a version that is there
/// already, or an I/O failure.
pub fn add_root(workspace: &Workspace, file: &Path, now: u64, mode: Mode) -> Result<StagedRoot, Error> {
    let root = tuffet_keys::file::read(file)?;
    let lock = workspace.lock()?;
    let known = workspace.roots()?;
    let mut files = known.chain.files().to_vec();
    if let Some(index) = files.iter().position(|known| *known == root) {
        let version = u32::try_from(index + 1).unwrap_or(u32::MAX);
        let mut stage = Stage { _lock: Some(lock), ..Stage::under(workspace, known)? };
        // Whoever staged it may have died before targets were drafted for it.
        if stage.needs_renewal(&Role::Targets, now)? == Some(Renewal::Keys) {
            stage.touch(&Role::Targets);
        }
        return Ok(StagedRoot { version, known: true, drafts: stage.finish(now, mode)? });
    }
    let before = known.keys(&Role::Targets).clone();
    files.push(root.clone());
    let roots = Roots::verify(&files, known.published).map_err(|error| error.in_file(file))?;
    let mut stage = Stage { _lock: Some(lock), ..Stage::under(workspace, roots)? };
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
        let content = Content::Bytes(root.into());
        Writer::new(&mut Unwatched).create(&workspace.staged_root(version), &content)?;
        for (request, draft) in &drafts {
            request.write(&draft.path)?;
        }
    }
    let drafts = drafts.into_iter().map(|(_, draft)| draft).collect();
    Ok(StagedRoot { version, known: false, drafts })
}

/// Throws staged requests away: those of the roles named, else all. Images that no request needs any more go with them.
/// Roots that are not public go if root is named. Gives the roles.
///
/// # Errors
/// [`Misuse::UnknownRole`] for a role with no staged request, or an I/O failure.
pub fn discard(workspace: &Workspace, named: &[Role], mode: Mode) -> Result<Vec<Role>, Error> {
    let _lock = workspace.lock()?;
    let staged = workspace.staged_roles()?;
    let roots = workspace.staged_roots()?;
    let is_there = |role: &&Role| staged.contains(role) || (**role == Role::Root && !roots.is_empty());
    if let Some(role) = named.iter().find(|role| !is_there(role)) {
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
    let left: Vec<Role> = staged.into_iter().filter(|role| !gone.contains(role)).collect();
    let images = workspace.images_without(&left)?;
    let mut witness = Unwatched;
    let mut writer = Writer::new(&mut witness);
    for role in &gone {
        match role {
            Role::Root => roots.iter().try_for_each(|path| writer.remove(path))?,
            role => writer.remove(&workspace.request_path(role))?,
        }
    }
    for image in images {
        writer.remove(&image)?;
    }
    Ok(gone)
}
