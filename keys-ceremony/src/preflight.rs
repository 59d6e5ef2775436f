//! What the devices that are out there will say of a file, asked before anybody publishes it.
//!
//! A root that a device refuses strands it: no later root reaches it either, over any mirror. So a root is replayed
//! through the devices' own cycle, as the smallest client that was ever shipped would walk it. Two devices stand for
//! all: one that has been off since root 1 and walks every root, and one that holds the root before the new one and
//! nothing else, as it left the factory.
//!
//! That devices know no other scheme than ECDSA P-256 needs no device to say it. Keys of other schemes are refused
//! when the request is read, for a device takes a root whose roles it cannot verify, so that the next one can mend
//! it (`docs/adr/0016-unreachable-thresholds.md`): it would not be stranded at that root, but blind behind it.

use std::collections::BTreeSet;

use tuffet_client::limits::{DEVICE, Limits};
use tuffet_client::{
    Clock, Entry, Error, FileName, Goal, Plan, Refresh, SOFTWARE, Trusted, Want, accepts_delegations,
};

use crate::metadata::Role;
use crate::request::Request;
use crate::{Rejected, delegation};

/// Whether the smallest devices take a finished file at `now`, in seconds since 1970-01-01 UTC. What those of today
/// would not take was refused before.
///
/// # Errors
/// [`Rejected::Expired`] and [`Rejected::SmallestRefuses`]; of a delegated role what is wrong with its delegation.
pub(crate) fn preflight(request: &Request, file: &[u8], now: u64) -> Result<(), crate::Error> {
    if request.header().role == Role::Root {
        return Ok(rehearse(request, &[file], now)?);
    }
    request.check_expiry(now)?;
    let limits = request.devices().limits();
    // Those of today were asked before.
    let judged = if limits == DEVICE { Ok(()) } else { request.accepts_within(&limits, file)? };
    let judged = judged.and_then(|()| delegates(request, &limits, file));
    judged.map_err(|refusal| refused(request, "a device".to_owned(), &refusal))?;
    delegation::check(request.signed().head(), &limits)
}

/// Whether devices can read what a targets file delegates, whatever they search for.
pub(crate) fn delegates(request: &Request, limits: &Limits, file: &[u8]) -> Result<(), Error> {
    match &request.header().role {
        // What is not there can be read.
        _ if request.signed().head().get("delegations").is_none() => Ok(()),
        role @ (Role::Targets | Role::Delegated(_)) => {
            // Of more parts than any pattern has, so that none covers it and one reading is enough.
            let listed = request.signed().head()["delegations"]["roles"].as_array();
            let patterns = listed.into_iter().flatten().filter_map(|role| role["paths"].as_array());
            let parts = patterns.flatten().filter_map(|pattern| pattern.as_str());
            let most = parts.map(|pattern| pattern.matches('/').count()).max().unwrap_or(0);
            let (path, memory) = ("/".repeat(most + 1), &mut vec![0; limits.memory()]);
            accepts_delegations(&SOFTWARE, limits, memory, role.of_device(), file, &path)
        }
        _ => Ok(()),
    }
}

impl Request {
    /// Whether devices that know the chain would take it for expired at `now`, in seconds since 1970-01-01 UTC. To be
    /// asked before anybody signs: what has expired is not finished.
    ///
    /// # Errors
    /// [`Rejected::Expired`].
    pub fn check_expiry(&self, now: u64) -> Result<(), crate::Error> {
        let (expires, start) = (self.header().expires, self.chain().start_time(now));
        if expires <= start {
            return Err(Rejected::Expired { what: self.title(), expires, start }.into());
        }
        Ok(())
    }

    /// Whether the smallest devices, as this root states them, get as far as to hear of it. To be asked before anybody
    /// signs: a limit may be stated that an earlier root passes. Dates are not judged, for this root renews them.
    ///
    /// # Errors
    /// [`Rejected::SmallestRefuses`].
    pub fn check_chain(&self) -> Result<(), crate::Error> {
        match rehearse(self, &[], 0) {
            Ok(()) | Err(Rejected::Expired { .. }) => Ok(()),
            Err(refusal) => Err(refusal.into()),
        }
    }
}

/// Replays the chain of a request for a root, and what comes behind it.
fn rehearse(request: &Request, behind: &[&[u8]], now: u64) -> Result<(), Rejected> {
    let (chain, limits) = (request.chain().files(), request.devices().limits());
    let roots: Vec<&[u8]> = chain.iter().map(Vec::as_slice).chain(behind.iter().copied()).collect();
    // Before the first root there is nothing to hold but that root.
    let holds = if roots.is_empty() { BTreeSet::new() } else { BTreeSet::from([1, chain.len().max(1)]) };
    for held in holds {
        match follow(&roots, held, &limits, now) {
            Ok(()) => {}
            Err(Error::Rejected(tuffet_client::Rejected::Freeze { expires, start, .. })) => {
                let (what, expires, start) = (request.title(), expires.0, start.0);
                return Err(Rejected::Expired { what, expires, start });
            }
            Err(refusal) => {
                return Err(refused(request, format!("a device that holds root {held}"), &refusal));
            }
        }
    }
    Ok(())
}

fn refused(request: &Request, device: String, refusal: &Error) -> Rejected {
    let (code, message) = (refusal.code(), refusal.to_string());
    Rejected::SmallestRefuses { what: request.title(), device, code, message }
}

/// Whether a device that holds root `held` of `roots`, and knows nothing else, follows to the last of them.
fn follow(roots: &[&[u8]], held: usize, limits: &Limits, now: u64) -> Result<(), Error> {
    let mut memory = vec![0; limits.memory()];
    let first = roots.get(held - 1).copied().unwrap_or_default();
    let mut trusted = Trusted::from_root_file(&SOFTWARE, limits, &mut memory, first)?;
    loop {
        let before = trusted.root().version();
        match cycle(&mut trusted, roots, limits, &mut memory, now) {
            // What it walked is stored, and the next cycle goes on from there.
            Err(Error::Rejected(tuffet_client::Rejected::TooManyRoots))
                if trusted.root().version() > before => {}
            ended => return ended,
        }
    }
}

/// One cycle of that device, up to where it wants something else than a root.
fn cycle(
    trusted: &mut Trusted,
    roots: &[&[u8]],
    limits: &Limits,
    memory: &mut [u8],
    now: u64,
) -> Result<(), Error> {
    let plan = Plan {
        crypto: &SOFTWARE,
        limits,
        goal: Goal::Metadata,
        entry: Entry::Refresh,
        clock: Clock::At(now),
        kept: None,
    };
    let mut refresh = Refresh::new(plan, trusted, memory)?;
    loop {
        match refresh.want() {
            Want::Fetch {
                file: FileName { role: tuffet_client::Role::Root, version: Some(version), .. },
                ..
            } => match roots.get(version as usize - 1) {
                Some(root) => {
                    refresh.feed(root)?;
                    refresh.end()?;
                }
                None => refresh.missing()?,
            },
            Want::Persist(_) => refresh.persisted(),
            Want::Over(why) => return Err(why.into()),
            _ => return Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
