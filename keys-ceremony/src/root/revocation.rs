//! What lost keys could have signed.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Chain, RoleKeys, Root};
use crate::date;
use crate::metadata::Role;
use crate::published::Signers;

/// Files in a row that let lost keys sign for a role, under the same terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The role.
    pub role: Role,
    /// The role whose files let them: root, or the one that delegates.
    pub by: Role,
    /// The version of the first of these files.
    pub first: u32,
    /// The version of the last.
    pub last: u32,
    /// When the first was issued, in seconds since 1970-01-01 UTC.
    pub since: u64,
    /// The version of the file that ended it, and when that was issued, in seconds since 1970-01-01 UTC; none if the
    /// newest does not.
    pub until: Option<(u32, u64)>,
    /// How many keys must sign.
    pub threshold: u32,
    /// How many keys the role has, lost ones included.
    pub keys: usize,
    /// The keyids of the lost ones, sorted.
    pub lost: Vec<String>,
}

impl Exposure {
    /// Whether whoever has the lost keys needed nobody else.
    pub fn alone(&self) -> bool {
        self.lost.len() >= self.threshold as usize
    }

    fn is_under_the_terms_of(&self, other: &Exposure) -> bool {
        (self.threshold, self.keys, &self.lost) == (other.threshold, other.keys, &other.lost)
    }
}

/// Every role that keys could sign for, under any root of the chain: a key may have come, gone and come back.
/// In the order of the roles, and in each in that of the roots.
pub fn exposures(chain: &Chain, lost: &BTreeSet<String>) -> Vec<Exposure> {
    let of = |role: &Role| {
        let files = chain.roots().iter().map(|root| {
            let Root { header, .. } = root;
            (header.version, header.issued, exposure(root, role, lost))
        });
        intervals(files)
    };
    Role::TOP_LEVEL.iter().flat_map(of).collect()
}

/// Every role that keys could sign for because a targets file delegates to it. `files` are targets files of any role and
/// version; each counts as it stands, for a file that is not good any more was good once. Bins go by one name, `PREFIX-*`.
pub fn delegated_exposures(files: &[(Role, u32, Value)], lost: &BTreeSet<String>) -> Vec<Exposure> {
    let mut files: Vec<&(Role, u32, Value)> = files.iter().collect();
    files.sort_by_key(|(role, version, _)| (role, *version));
    let mut all = BTreeMap::new();
    for (by, _, signed) in &files {
        for (name, _) in delegated(signed) {
            all.entry((by, name)).or_insert_with(Vec::new);
        }
    }
    for ((by, name), found) in &mut all {
        let states = files.iter().filter(|(role, ..)| role == *by).map(|(_, version, signed)| {
            let issued = signed["issued"].as_str().and_then(date::parse).unwrap_or(0);
            let role = delegated(signed).find(|(other, _)| other == name).map(|(_, role)| role);
            let signers = role.and_then(|role| Signers::read(&signed["delegations"]["keys"], role));
            let exposure = signers.and_then(|signers| {
                let is_lost = |keyid: &String| {
                    let key = signers.keys.get(keyid).and_then(Option::as_ref);
                    lost.contains(keyid) || key.is_some_and(|key| lost.contains(key.keyid()))
                };
                let lost: Vec<String> = signers.keys.keys().filter(|keyid| is_lost(keyid)).cloned().collect();
                (!lost.is_empty()).then(|| Exposure {
                    role: Role::Delegated(name.clone()),
                    by: (*by).clone(),
                    first: *version,
                    last: *version,
                    since: issued,
                    until: None,
                    threshold: u32::try_from(signers.threshold).unwrap_or(u32::MAX),
                    keys: signers.keys.len(),
                    lost,
                })
            });
            (*version, issued, exposure)
        });
        *found = intervals(states);
    }
    all.into_values().flatten().collect()
}

/// The roles that a targets file delegates to, and what stands for all bins, by name.
fn delegated(signed: &Value) -> impl Iterator<Item = (String, &Value)> {
    let delegations = &signed["delegations"];
    let roles = delegations["roles"].as_array().into_iter().flatten();
    let named = roles.filter_map(|role| Some((role["name"].as_str()?.to_owned(), role)));
    let bins = delegations.get("succinct_roles");
    named.chain(bins.and_then(|bins| Some((format!("{}-*", bins["name_prefix"].as_str()?), bins))))
}

/// Joins what files in a row say: version, date of issue, and what the lost keys are good for under that one.
fn intervals(files: impl Iterator<Item = (u32, u64, Option<Exposure>)>) -> Vec<Exposure> {
    let mut all: Vec<Exposure> = Vec::new();
    let mut open = false;
    for (version, issued, found) in files {
        let last = all.last_mut().filter(|_| open);
        open = found.is_some();
        match (last, found) {
            (Some(before), Some(found)) if before.is_under_the_terms_of(&found) => before.last = found.last,
            (before, found) => {
                if let Some(ended) = before {
                    ended.until = Some((version, issued));
                }
                all.extend(found);
            }
        }
    }
    all
}

fn exposure(root: &Root, role: &Role, lost: &BTreeSet<String>) -> Option<Exposure> {
    let RoleKeys { keys, threshold } = root.roles.get(role)?;
    let lost: Vec<String> = keys.keys().filter(|keyid| lost.contains(*keyid)).cloned().collect();
    let version = root.header.version;
    (!lost.is_empty()).then(|| Exposure {
        role: role.clone(),
        by: Role::Root,
        first: version,
        last: version,
        since: root.header.issued,
        until: None,
        threshold: *threshold,
        keys: keys.len(),
        lost,
    })
}
