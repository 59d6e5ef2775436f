//! What lost keys could have signed.

use std::collections::BTreeSet;

use super::{Chain, RoleKeys, Root};
use crate::metadata::Role;

/// Roots in a row that let lost keys sign for a role, under the same terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exposure {
    /// The role.
    pub role: Role,
    /// The version of the first of these roots.
    pub first: u32,
    /// The version of the last.
    pub last: u32,
    /// When the first was issued, in seconds since 1970-01-01 UTC.
    pub since: u64,
    /// When the root was issued that ended it, in seconds since 1970-01-01 UTC; none if the newest root does not.
    pub until: Option<u64>,
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
}

/// Every role that keys could sign for, under any root of the chain: a key may have come, gone and come back.
/// In the order of the roles, and in each in that of the roots.
pub fn exposures(chain: &Chain, lost: &BTreeSet<String>) -> Vec<Exposure> {
    let mut all: Vec<Exposure> = Vec::new();
    for role in Role::TOP_LEVEL {
        let mut open = false;
        for root in chain.roots() {
            let Some(found) = exposure(root, &role, lost) else {
                if let (true, Some(ended)) = (open, all.last_mut()) {
                    ended.until = Some(root.header.issued);
                }
                open = false;
                continue;
            };
            match all.last_mut().filter(|_| open) {
                Some(before) if before.is_under_the_terms_of(&found) => before.last = found.last,
                before => {
                    if let Some(ended) = before {
                        ended.until = Some(found.since);
                    }
                    all.push(found);
                }
            }
            open = true;
        }
    }
    all
}

impl Exposure {
    fn is_under_the_terms_of(&self, other: &Exposure) -> bool {
        (self.threshold, self.keys, &self.lost) == (other.threshold, other.keys, &other.lost)
    }
}

fn exposure(root: &Root, role: &Role, lost: &BTreeSet<String>) -> Option<Exposure> {
    let RoleKeys { keys, threshold } = root.roles.get(role)?;
    let lost: Vec<String> = keys.keys().filter(|keyid| lost.contains(*keyid)).cloned().collect();
    let version = root.header.version;
    (!lost.is_empty()).then(|| Exposure {
        role: role.clone(),
        first: version,
        last: version,
        since: root.header.issued,
        until: None,
        threshold: *threshold,
        keys: keys.len(),
        lost,
    })
}
