//! Roles that are to be drafted anew, and why.

use core::fmt;
use std::collections::BTreeSet;

use tuffet_keys::Role;
use tuffet_keys::delegation::Delegation;

use super::delegations::delegation_of;
use super::{Draft, Mode, Stage, State};
use crate::repository::Workspace;
use crate::{Error, Misuse, Rejected};

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
    pub fn roles(&mut self) -> Result<Vec<Role>, Error> {
        let listed = self.published.iter().flat_map(|published| published.listing.roles());
        let mut roles: BTreeSet<Role> = listed.collect();
        roles.extend(self.workspace.staged_roles()?);
        let mut delegates = self.workspace.config().delegates().peekable();
        if delegates.peek().is_some() {
            roles.insert(Role::Targets);
        }
        let with_bins = delegates.filter(|(_, delegate)| delegate.bins.is_some());
        roles.extend(with_bins.map(|(_, delegate)| Role::Delegated(delegate.name.clone())));
        roles.extend(self.heirs()?);
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
        let State { published, pending, sheet } = self.state(role)?;
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
            (None, None) => (!sheet.is_empty()).then_some(Renewal::New),
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
            (Some(request), _) => !request.asks(&signers),
            (None, Some(document)) => !document.is_signed_by(&signers),
            (None, None) => false,
        };
        Ok(other.then_some(Renewal::Keys))
    }
}
