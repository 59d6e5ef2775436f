//! What lost keys could have signed.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Chain, RoleKeys, Root};
use crate::date;
use crate::metadata::Role;
use crate::published::{Signers, TargetsFile, TargetsFiles};

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
    /// How many of them are lost. One key under two keyids is one.
    pub lost_keys: usize,
    /// The keyids of the lost ones, sorted.
    pub lost: Vec<String>,
    /// Whether these files are known to be signed. One that nobody may have signed is told all the same, by itself: in
    /// doubt it was good once.
    pub verified: bool,
}

impl Exposure {
    /// Whether whoever has the lost keys needed nobody else.
    pub fn alone(&self) -> bool {
        self.lost_keys >= self.threshold as usize
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

/// Every role that keys could sign for because a targets file delegates to it. Bins go by one name, `PREFIX-*`.
pub fn delegated_exposures(files: &TargetsFiles, lost: &BTreeSet<String>) -> Vec<Exposure> {
    let named =
        files.files.iter().flat_map(|file| delegated(&file.signed).map(|(name, _)| (&file.role, name)));
    let roles: BTreeSet<(&Role, String)> = named.collect();
    let of = |(by, name): &(&Role, String)| {
        let states = |verified: bool| {
            let files = files.files.iter().filter(move |file| file.role == **by && file.verified == verified);
            files.map(|file| (file.version, issued(file), delegated_exposure(file, name, lost)))
        };
        let mut found = intervals(states(true));
        // What nobody may have signed stands by itself: it ends, begins and changes nothing.
        found.extend(states(false).filter_map(|(.., exposure)| exposure));
        found
    };
    roles.iter().flat_map(of).collect()
}

/// When a file was issued, in seconds since 1970-01-01 UTC; 0 if it does not say.
fn issued(file: &TargetsFile) -> u64 {
    file.signed["issued"].as_str().and_then(date::parse).unwrap_or(0)
}

fn delegated_exposure(file: &TargetsFile, name: &str, lost: &BTreeSet<String>) -> Option<Exposure> {
    let TargetsFile { role: by, version, signed, verified, .. } = file;
    let role = delegated(signed).find(|(other, _)| other == name).map(|(_, role)| role)?;
    let signers = Signers::read(&signed["delegations"]["keys"], role)?;
    let is_lost = |keyid: &&String| {
        let key = signers.keys.get(*keyid).and_then(Option::as_ref);
        lost.contains(*keyid) || key.is_some_and(|key| lost.contains(key.keyid()))
    };
    let labels: Vec<&String> = signers.keys.keys().filter(is_lost).collect();
    // By the keyids that are known to be lost, whatever the file calls them.
    let keyid = |label: &&String| {
        let key = signers.keys.get(*label).and_then(Option::as_ref);
        key.map_or_else(|| (*label).clone(), |key| key.keyid().to_owned())
    };
    let lost: BTreeSet<String> = labels.iter().map(keyid).collect();
    (!labels.is_empty()).then(|| Exposure {
        role: Role::Delegated(name.to_owned()),
        by: by.clone(),
        first: *version,
        last: *version,
        since: issued(file),
        until: None,
        threshold: u32::try_from(signers.threshold).unwrap_or(u32::MAX),
        keys: signers.distinct(signers.keys.keys()),
        lost_keys: lost.len(),
        lost: lost.into_iter().collect(),
        verified: *verified,
    })
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
            (Some(before), Some(found)) if before.is_under_the_terms_of(&found) => {
                before.last = found.last;
            }
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
        lost_keys: lost.len(),
        lost,
        verified: true,
    })
}
