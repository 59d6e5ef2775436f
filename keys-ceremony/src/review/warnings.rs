//! What is unusual about a request. None of it need be wrong; all of it wants a reason that the holder knows.

mod delegations;
mod targets;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use super::Built;
use super::comparison::Versions;
use crate::date;
use crate::error::short;
use crate::key::{PublicKey, grouped};
use crate::metadata::Role;
use crate::request::Request;
use crate::root::{Devices, Root};
use crate::signed::Signed;
use crate::state::Before;

pub use targets::salt;

/// A warning: a name that scripts may rely on, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The name, such as `threshold-lowered`.
    pub name: &'static str,
    /// What is unusual.
    pub text: String,
}

/// So many, in words.
fn signatures(count: u64) -> String {
    if count == 1 { "1 signature".to_owned() } else { format!("{count} signatures") }
}

/// That one signature is enough.
fn alone(role: impl fmt::Display, keys: usize) -> String {
    match keys {
        1 => format!("the one key of {role} signs alone"),
        _ => format!("any one of the {keys} keys of {role} signs alone"),
    }
}

/// Seconds after which an expiry is far away: two years. Somebody must be there to sign anew, and a stolen key is
/// good for as long.
const FAR: u64 = 2 * 365 * 86_400;

/// All that is unusual. `elsewhere` has the keys of other repositories, with their digests; `now` is in seconds since
/// 1970-01-01 UTC.
pub(super) fn warnings(
    request: &Request,
    before: &Before,
    versions: &Versions,
    elsewhere: &BTreeMap<PublicKey, String>,
    built: &[Built],
    now: u64,
) -> Vec<Warning> {
    let mut found = Found(Vec::new());
    found.dates(request, before.signed(), now);
    found.version(request, before);
    match request.header().role {
        Role::Root => found.root(versions, elsewhere),
        Role::Targets | Role::Delegated(_) => {
            found.targets(versions, built);
            found.delegated(request);
            found.delegations(request, versions, elsewhere);
        }
        Role::Snapshot | Role::Timestamp => {}
    }
    found.0
}

struct Found(Vec<Warning>);

impl Found {
    fn warn(&mut self, name: &'static str, text: String) {
        self.0.push(Warning { name, text });
    }

    fn dates(&mut self, request: &Request, before: Option<&Signed>, now: u64) {
        let header = request.header();
        let said = |date| format!("{} ({})", date::format(date), date::distance(date, now));
        if header.check_issued(now).is_err() {
            self.warn("issued-in-future", format!("it was issued {}", said(header.issued)));
        }
        if header.expires <= now {
            self.warn("expired", format!("it expired {}", said(header.expires)));
        }
        if header.expires > now.saturating_add(FAR) {
            self.warn(
                "expiry-far",
                format!("it expires {}, which is more than two years away", said(header.expires)),
            );
        }
        let expired = before.map(|before| before.header().expires);
        if let Some(before) = expired.filter(|before| header.expires < *before) {
            let text = format!("it expires {}, and the one before {}", said(header.expires), said(before));
            self.warn("expiry-shortened", text);
        }
    }

    fn version(&mut self, request: &Request, before: &Before) {
        let header = request.header();
        let known = before.version().unwrap_or(0);
        let next = header.version.checked_sub(1) == Some(known);
        match before {
            Before::Nothing if header.version > 1 => self.warn(
                "not-seen-before",
                format!("no {} was seen here before, so nothing tells what is new in it", header.role),
            ),
            Before::Verified(_) | Before::Signed(_) if !next => self.warn(
                "version-gap",
                format!(
                    "{} {} follows {known}: what came between was not seen here",
                    header.role, header.version
                ),
            ),
            _ => {}
        }
        if let Before::Signed(_) = before {
            self.warn(
                "before-not-verified",
                format!(
                    "it is compared with {} {known}, which was signed here and not seen with all signatures since",
                    header.role
                ),
            );
        }
    }

    fn root(&mut self, versions: &Versions, elsewhere: &BTreeMap<PublicKey, String>) {
        // It was decoded when the request was read, and the one before when it was verified, whatever it says to people.
        let Ok(root) = Root::from_signed(&versions.after) else { return };
        let before = Root::from_published(&versions.before).ok();
        if root.transcript.is_none() && before.as_ref().is_some_and(|before| before.transcript.is_some()) {
            let text = "the root before it records the transcript, and this one does not".to_owned();
            self.warn("transcript-dropped", text);
        }
        for (role, keys) in &root.roles {
            let old = before.as_ref().and_then(|before| before.roles.get(role)).map(|keys| keys.threshold);
            if let Some(old) = old.filter(|old| keys.threshold < *old) {
                let text = format!("{role} needs {}, and needed {old}", signatures(keys.threshold.into()));
                self.warn("threshold-lowered", text);
            }
            if keys.threshold == 1 && matches!(role, Role::Root | Role::Targets) {
                self.warn("threshold-one", alone(role, keys.keys.len()));
            }
        }
        if let Some(old) = before.as_ref().and_then(|before| before.devices) {
            self.devices(root.devices, &old);
        }
        // Snapshot and timestamp are signed online, and may share a key. Nobody else may share one with anybody.
        let mut roles: BTreeMap<&PublicKey, BTreeSet<&Role>> = BTreeMap::new();
        for (role, keys) in &root.roles {
            for key in keys.keys.values() {
                roles.entry(key).or_default().insert(role);
            }
        }
        for (key, roles) in &roles {
            let offline = roles.iter().any(|role| matches!(role, Role::Root | Role::Targets));
            if roles.len() > 1 && offline {
                let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
                let text = format!("key {} signs for {}", short(key.keyid()), roles.join(" and for "));
                self.warn("key-in-several-roles", text);
            }
        }
        self.elsewhere(roles.into_keys(), elsewhere);
    }

    /// Keys that sign for other repositories, too, by repository.
    fn elsewhere<'k>(
        &mut self,
        keys: impl IntoIterator<Item = &'k PublicKey>,
        elsewhere: &BTreeMap<PublicKey, String>,
    ) {
        let mut by_repository: BTreeMap<&String, Vec<&str>> = BTreeMap::new();
        for key in keys {
            if let Some(repository) = elsewhere.get(key) {
                by_repository.entry(repository).or_default().push(short(key.keyid()));
            }
        }
        for (repository, keys) in by_repository {
            let keys = match &keys[..] {
                [key] => format!("key {key} signs"),
                keys => format!("keys {} sign", keys.join(", ")),
            };
            let text =
                format!("{keys} for another repository, too: root 1 is sha256 {}", grouped(repository));
            self.warn("key-of-another-repository", text);
        }
    }

    fn devices(&mut self, devices: Option<Devices>, old: &Devices) {
        let raised = match devices {
            Some(devices) => {
                let one = |(name, was, is)| format!("{name} from {was} to {is}");
                let raised: Vec<String> = devices.raised(old).map(one).collect();
                if raised.is_empty() {
                    return;
                }
                format!("the limits of the smallest device rise: {}", raised.join(", "))
            }
            None => "it no longer says what the smallest device takes".to_owned(),
        };
        let text = format!("{raised}; devices that were shipped with less do not grow");
        self.warn("device-limits-raised", text);
    }
}
