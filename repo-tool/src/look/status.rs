//! What expires when, what waits for whom, and what is to be done next.
//!
//! The words are those of `tuffet-keys status`. What is due is told, and is no failure here: that is for the holders, who
//! have their own `status`; devices notice nothing before it has expired.

use std::collections::BTreeMap;

use tuffet_client::release::Hex;
use tuffet_keys::Role;
use tuffet_keys::delegation::bin_number;
use tuffet_keys::request::Progress;

use crate::release::list::{Filter, list};
use crate::repository::Workspace;
use crate::staging::{Renewal, Stage};
use crate::{Error, Rejected};

/// A workspace, judged at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// The moment, in seconds since 1970.
    pub at: u64,
    /// The roles, from root down, published before staged.
    pub roles: Vec<RoleStatus>,
    /// The images that are halted, and which releases those are.
    pub halted: Vec<Halted>,
    /// What to do next, a command as a rule.
    pub next: Next,
}

/// A file of a role, or that there is none yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleStatus {
    /// The role.
    pub role: Role,
    /// Whether devices have it, or it is staged.
    pub staged: bool,
    /// Its version; none if it was never written.
    pub version: Option<u32>,
    /// When it expires, in seconds since 1970.
    pub expires: Option<u64>,
    /// When its next version is to be signed, in seconds since 1970.
    pub due: Option<u64>,
    /// How it stands.
    pub state: State,
    /// Who signed what is staged.
    pub signatures: Vec<Progress>,
    /// Why it is to be drafted anew, if it is.
    pub renewal: Option<Renewal>,
    /// The bins that it is one of: their prefix, and how many bits number them.
    pub bin: Option<(String, u32)>,
}

/// How a file stands, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// Nothing is to be done about it.
    Valid,
    /// It was never written.
    Unwritten,
    /// It is staged and lacks signatures.
    Waiting,
    /// Its next version should be signed.
    Due,
    /// It has expired.
    Expired,
}

impl State {
    /// In a word, or three.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            State::Valid => "valid",
            State::Unwritten => "not written yet",
            State::Waiting => "waiting",
            State::Due => "due",
            State::Expired => "expired",
        }
    }
}

/// A halted image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Halted {
    /// Its SHA-256 in lower-case hex.
    pub sha256: String,
    /// The releases that have it, as "thermo/rev-a/stable 1.4.0".
    pub releases: Vec<String>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing before this moment (seconds since 1970), at which this role is due.
    Wait(Option<(u64, Role)>),
    /// The online keys sign anew.
    Refresh,
    /// Roles are to be drafted anew.
    Renew,
    /// Holders sign these roles.
    Sign(Vec<Role>),
    /// What is staged is complete.
    Publish,
    /// The holders of the root draft its successor; the version of the newest.
    Root(u32),
    /// There is nothing to publish yet.
    Add,
}

impl Status {
    /// Judges a workspace at `at`, in seconds since 1970.
    ///
    /// # Errors
    /// What is wrong with what is published or staged, or an I/O failure.
    pub fn of(workspace: &Workspace, at: u64) -> Result<Status, Error> {
        let mut stage = Stage::look(workspace)?;
        let mut roles = Vec::new();
        let term = |role: &Role, stage: &Stage<'_>| {
            workspace.config().term(role, stage.roots.newest().periods.as_ref())
        };
        for root in stage.roots.chain.roots() {
            let (version, expires) = (root.header.version, root.header.expires);
            if version < stage.roots.published {
                continue;
            }
            let due = term(&Role::Root, &stage).due(expires);
            let staged = version > stage.roots.published;
            roles.push(RoleStatus::of(&Role::Root, staged, version, expires, due, at));
        }
        for role in [Role::Timestamp, Role::Snapshot] {
            let document = stage.published.as_ref().map(|published| match role {
                Role::Timestamp => &published.timestamp.header,
                _ => &published.snapshot.header,
            });
            roles.push(match document {
                None => RoleStatus::unwritten(&role),
                Some(header) => {
                    let due = term(&role, &stage).due(header.expires);
                    RoleStatus::of(&role, false, header.version, header.expires, due, at)
                }
            });
        }
        let mut listed = stage.roles()?;
        if !listed.contains(&Role::Targets) {
            listed.insert(0, Role::Targets);
        }
        // Targets first; those that it delegates to behind it, by name.
        listed.sort_by_key(|role| matches!(role, Role::Delegated(_)));
        for role in &listed {
            roles.extend(of_targets(workspace, &mut stage, role, at)?);
        }
        let halted = halted(workspace, &stage)?;
        let next = next(workspace, &roles, stage.roots.version());
        Ok(Status { at, roles, halted, next })
    }

    /// Whether nothing has expired.
    ///
    /// # Errors
    /// [`Rejected::Expired`] names what has.
    pub fn verdict(&self) -> Result<(), Error> {
        let expired = self.roles.iter().filter(|role| role.state == State::Expired);
        let what: Vec<String> = expired
            .map(|role| {
                let staged = if role.staged { ", staged" } else { "" };
                format!("{} {}{staged}", role.role, role.version.unwrap_or(0))
            })
            .collect();
        if what.is_empty() { Ok(()) } else { Err(Rejected::Expired { at: self.at, what }.into()) }
    }
}

/// What is published of a role with targets, and what is staged.
fn of_targets(
    workspace: &Workspace,
    stage: &mut Stage<'_>,
    role: &Role,
    at: u64,
) -> Result<Vec<RoleStatus>, Error> {
    let term = workspace.config().term(role, stage.roots.newest().periods.as_ref());
    let bin = workspace.config().delegate(role).and_then(|delegate| {
        let (prefix, bits) = (delegate.bin_prefix(), delegate.bins?);
        bin_number(&prefix, bits, role.name()).map(|_| (prefix, bits))
    });
    let renewal = stage.needs_renewal(role, at)?;
    let known = stage.state(role)?;
    let mut rows = Vec::new();
    if let Some(document) = &known.published {
        let header = &document.header;
        rows.push(RoleStatus::of(role, false, header.version, header.expires, term.due(header.expires), at));
    }
    if let Some(request) = &known.pending {
        let header = request.header();
        let mut row =
            RoleStatus::of(role, true, header.version, header.expires, term.due(header.expires), at);
        row.signatures = request.state();
        if row.state == State::Valid && !row.signatures.iter().all(Progress::met) {
            row.state = State::Waiting;
        }
        // It is being replaced.
        for published in rows.iter_mut().filter(|published| published.state == State::Due) {
            published.state = State::Valid;
        }
        rows.push(row);
    }
    if rows.is_empty() {
        rows.push(RoleStatus::unwritten(role));
    }
    if let Some(last) = rows.last_mut() {
        last.renewal = renewal;
        if renewal.is_some() && last.version.is_some() {
            last.state = last.state.max(State::Due);
        }
    }
    rows.iter_mut().for_each(|row| row.bin.clone_from(&bin));
    Ok(rows)
}

impl RoleStatus {
    fn of(role: &Role, staged: bool, version: u32, expires: u64, due: u64, at: u64) -> RoleStatus {
        // A file that expires at a moment has expired then: devices ask for a later one.
        let state = match () {
            () if expires <= at => State::Expired,
            () if due <= at => State::Due,
            () => State::Valid,
        };
        let (version, expires, due) = (Some(version), Some(expires), Some(due));
        RoleStatus { staged, version, expires, due, state, ..RoleStatus::unwritten(role) }
    }

    fn unwritten(role: &Role) -> RoleStatus {
        RoleStatus {
            role: role.clone(),
            staged: false,
            version: None,
            expires: None,
            due: None,
            state: State::Unwritten,
            signatures: Vec::new(),
            renewal: None,
            bin: None,
        }
    }

    /// Whether the online keys sign it.
    fn is_online(&self) -> bool {
        matches!(self.role, Role::Timestamp | Role::Snapshot)
    }
}

fn halted(workspace: &Workspace, stage: &Stage<'_>) -> Result<Vec<Halted>, Error> {
    let Some(published) = &stage.published else { return Ok(Vec::new()) };
    let halts = published.timestamp.listing()?.halts();
    if halts.is_empty() {
        return Ok(Vec::new());
    }
    let mut releases: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in list(workspace, &Filter::default())? {
        let digest = Hex(&row.candidate.image.sha256).to_string();
        releases.entry(digest).or_default().push(format!("{} {}", row.channel, row.candidate.version));
    }
    let halted = halts.into_iter().map(|sha256| {
        let releases = releases.remove(&sha256).unwrap_or_default();
        Halted { sha256, releases }
    });
    Ok(halted.collect())
}

/// What devices feel first comes first.
fn next(workspace: &Workspace, roles: &[RoleStatus], root: u32) -> Next {
    let waiting = roles.iter().filter(|role| role.staged && !role.signatures.iter().all(Progress::met));
    let waiting: Vec<Role> = waiting.map(|role| role.role.clone()).collect();
    let staged = roles.iter().any(|role| role.staged);
    let pressing = |role: &&RoleStatus| matches!(role.state, State::Due | State::Expired);
    let mut roots = roles.iter().filter(|role| role.role == Role::Root);
    let newest_root = roots.next_back();
    if newest_root.is_some_and(|root| root.state == State::Expired) {
        return Next::Root(root);
    }
    // Under what has expired nothing can be signed anew: holders come first then.
    let stuck =
        roles.iter().any(|role| !role.is_online() && role.role != Role::Root && role.state == State::Expired);
    if !stuck && roles.iter().filter(|role| role.is_online()).any(|role| pressing(&role)) {
        // A publication signs them anew, too.
        return if staged && waiting.is_empty() { Next::Publish } else { Next::Refresh };
    }
    // Nobody can draft a role before those above it are signed, who say who its holders are.
    let blocked = |role: &Role| workspace.above(role).iter().any(|above| waiting.contains(above));
    if roles.iter().any(|role| role.renewal.is_some() && !blocked(&role.role)) {
        return Next::Renew;
    }
    if !waiting.is_empty() {
        return Next::Sign(waiting);
    }
    if staged {
        return Next::Publish;
    }
    if newest_root.is_some_and(|root| pressing(&root)) {
        return Next::Root(root);
    }
    if roles.iter().any(|role| role.role == Role::Timestamp && role.version.is_none()) {
        return Next::Add;
    }
    Next::Wait(roles.iter().filter_map(|role| Some((role.due?, role.role.clone()))).min())
}
