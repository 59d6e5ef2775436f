//! Of delegations, and of what a delegated role says.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Found, alone, signatures};
use crate::delegation::{Paths, check};
use crate::error::short;
use crate::key::PublicKey;
use crate::metadata::Role;
use crate::published::Signers;
use crate::request::Request;
use crate::review::comparison::Versions;
use crate::text::plain;
use crate::{Error, Rejected};

impl Found {
    /// What a delegated role says of paths that are not its own: no device looks at that.
    pub(super) fn delegated(&mut self, request: &Request) {
        let name = request.header().role.name();
        let Some(Ok(delegations)) = request.way().map(|way| way.delegations(name)) else { return };
        for (path, _) in request.signed().targets() {
            if !delegations.iter().all(|delegation| delegation.paths.cover(&path)) {
                let text = format!("{} is not delegated to it: no device looks for it there", plain(&path));
                self.warn("target-not-delegated", text);
            }
        }
        // Its metadata do not say whose they are.
        let last =
            request.way().and_then(|way| way.steps().last()).map(|step| &step.signed.head()["delegations"]);
        let none = Value::Null;
        let beside = last.unwrap_or(&none);
        // All bins have one set of keys, always: what is signed for one is good for another, and speaks of none of its
        // paths.
        let of_bins = delegations.last().is_some_and(|own| matches!(own.paths, Paths::Bin { .. }));
        for (keyid, key) in request.requirements().iter().flat_map(|requirement| &requirement.keys) {
            let siblings = delegated_roles(beside).filter(|(title, role)| {
                let signers = Signers::read(&beside["keys"], role);
                let own = if of_bins { role.get("name").is_none() } else { *title == plain(name) };
                !own && signers
                    .is_some_and(|signers| signers.keys.values().flatten().any(|other| other == key))
            });
            let targets = request.chain().last().and_then(|root| root.roles.get(&Role::Targets));
            let top = targets.filter(|targets| targets.keys.values().any(|other| other == key));
            let roles = siblings.map(|(title, _)| title).chain(top.map(|_| "targets".to_owned()));
            let roles = roles.collect::<Vec<_>>();
            if !roles.is_empty() {
                let text = format!(
                    "key {} signs for {}, too: its signature over these bytes is good for that as well",
                    plain(short(keyid)),
                    roles.join(" and for ")
                );
                self.warn("signature-counts-elsewhere", text);
            }
        }
    }

    /// Of delegations that are new or changed; of the others their holders were warned before.
    pub(super) fn delegations(
        &mut self,
        request: &Request,
        Versions { before, after, .. }: &Versions,
        elsewhere: &BTreeMap<PublicKey, String>,
    ) {
        let (after, before) = (&after["delegations"], &before["delegations"]);
        for (title, _) in delegated_roles(before) {
            if !delegated_roles(after).any(|(other, _)| other == title) {
                self.warn("delegation-gone", format!("nothing is delegated to {title} any more"));
            }
        }
        if let Err(Error::Rejected { why: Rejected::InvalidDelegation { role, why }, .. }) =
            check(request.signed().head(), &request.devices().limits())
        {
            self.warn("delegation-of-no-use", format!("{role}: {why}"));
        }
        let order = |delegations: &Value, other: &Value| -> Vec<String> {
            let both = delegated_roles(delegations)
                .filter(|(title, _)| delegated_roles(other).any(|(known, _)| known == *title));
            both.map(|(title, _)| title).collect()
        };
        let titles =
            |delegations: &Value| delegated_roles(delegations).map(|(title, _)| title).collect::<Vec<_>>();
        let known = order(before, after);
        // Whoever comes first speaks first, and a terminating one speaks alone.
        if known != order(after, before) || !titles(after).starts_with(&known) {
            let text = format!("who is asked first changes: {}", titles(after).join(", "));
            self.warn("delegation-order", text);
        }
        let root = request.chain().last();
        let mut users: BTreeMap<PublicKey, BTreeSet<String>> = BTreeMap::new();
        let mut new_keys = BTreeSet::new();
        for (title, role) in delegated_roles(after) {
            let Some(signers) = Signers::read(&after["keys"], role) else { continue };
            let old = delegated_roles(before).find(|(other, _)| *other == title).map(|(_, role)| role);
            let old_signers = old.and_then(|role| Signers::read(&before["keys"], role));
            for key in signers.keys.values().flatten() {
                users.entry(key.clone()).or_default().insert(title.clone());
            }
            let same_keys = old_signers.as_ref().is_some_and(|old| old.keys == signers.keys);
            if old == Some(role) && same_keys {
                continue;
            }
            for member in ["paths", "path_hash_prefixes"] {
                let texts = |role: &Value| role[member].as_array().cloned().unwrap_or_default();
                let known = old.map_or_else(Vec::new, texts);
                let more: Vec<Value> = texts(role).into_iter().filter(|text| !known.contains(text)).collect();
                if old.is_some() && !more.is_empty() {
                    let more: Vec<String> =
                        more.iter().map(|text| plain(text.as_str().unwrap_or("?"))).collect();
                    let text = format!("{title} may speak of more than before: {}", more.join(", "));
                    self.warn("delegation-widened", text);
                }
            }
            new_keys.extend(signers.keys.values().flatten().cloned());
            let (threshold, keys) = (signers.threshold, signers.distinct(signers.keys.keys()) as u64);
            if let Some(old) = old_signers.map(|old| old.threshold).filter(|old| threshold < *old) {
                let text = format!("{title} needs {}, and needed {old}", signatures(threshold));
                self.warn("threshold-lowered", text);
            }
            // The keys of bins may be online ones, and one of those is usual.
            if threshold == 1 && role.get("name").is_some() {
                self.warn("threshold-one", alone(&title, signers.keys.len()));
            }
            if threshold == 0 || threshold > keys {
                let keys = if keys == 1 { "1 key".to_owned() } else { format!("{keys} keys") };
                let text =
                    format!("{title} needs {}, and has {keys} that devices can use", signatures(threshold));
                self.warn("threshold-out-of-reach", text);
            }
            self.labels(&title, &signers, &after["keys"]);
        }
        for (key, mut titles) in users.into_iter().filter(|(key, _)| new_keys.contains(key)) {
            let keyid = short(key.keyid()).to_owned();
            let named = root.into_iter().flat_map(|root| &root.roles);
            for (role, _) in named.filter(|(_, keys)| keys.keys.values().any(|other| *other == key)) {
                titles.insert(role.to_string());
                if matches!(role, Role::Snapshot | Role::Timestamp) {
                    let text = format!("key {keyid} is an online one: it signs for {role}");
                    self.warn("online-key-in-delegation", text);
                }
            }
            if titles.len() > 1 {
                let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
                let text = format!("key {keyid} signs for {}", titles.join(" and for "));
                self.warn("key-in-several-roles", text);
            }
        }
        self.elsewhere(&new_keys, elsewhere);
    }

    /// What the keyids of a delegation stand for.
    fn labels(&mut self, title: &str, signers: &Signers, keys: &Value) {
        let mut labels: BTreeMap<&PublicKey, Vec<&str>> = BTreeMap::new();
        for (keyid, key) in &signers.keys {
            let label = plain(short(keyid));
            match key {
                Some(key) => labels.entry(key).or_default().push(short(keyid)),
                // A device knows a keyid by a short hash, and a person by its digits: one without a key may mean another.
                None if keys.get(keyid).is_none() => {
                    self.warn("keyid-without-key", format!("{title} names key {label}, which is not there"));
                }
                None => {
                    let text = format!("key {label} of {title} is of a kind that devices cannot use");
                    self.warn("key-of-no-use", text);
                }
            }
        }
        for (key, keyids) in labels {
            let spelled = |keyid: &&str| plain(keyid);
            if keyids.len() > 1 {
                let keyids: Vec<String> = keyids.iter().map(spelled).collect();
                let text =
                    format!("{title} has one key under {} keyids: {}", keyids.len(), keyids.join(" and "));
                self.warn("key-under-two-ids", text);
            } else if keyids != [short(key.keyid())] {
                let text = format!(
                    "{title} calls key {} by another keyid: {}",
                    short(key.keyid()),
                    plain(keyids[0])
                );
                self.warn("keyid-of-its-own", text);
            }
        }
    }
}

/// The delegated roles, and what stands for bins, by what they are called.
fn delegated_roles(delegations: &Value) -> impl Iterator<Item = (String, &Value)> {
    let roles = delegations["roles"].as_array().into_iter().flatten();
    let named = roles.map(|role| (plain(role["name"].as_str().unwrap_or("a delegated role")), role));
    let bins = delegations.get("succinct_roles");
    named.chain(bins.map(|role| {
        (format!("the bins {}-…", plain(role["name_prefix"].as_str().unwrap_or_default())), role)
    }))
}
