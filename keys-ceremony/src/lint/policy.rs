//! What the newest root, and each list of delegations, makes of keys and thresholds.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{Findings, Rule};
use crate::date;
use crate::error::short;
use crate::key::PublicKey;
use crate::metadata::Role;
use crate::published::{Document, Signers};

impl Findings<'_> {
    pub(super) fn root_policy(&mut self, place: &str, root: &Value) {
        let mut users: BTreeMap<PublicKey, Vec<Role>> = BTreeMap::new();
        let mut labels: BTreeMap<PublicKey, Vec<&String>> = BTreeMap::new();
        let keys = root.get("keys").and_then(Value::as_object).into_iter().flatten();
        for (keyid, key) in keys {
            if let Some(key) = crate::published::read_key(key) {
                labels.entry(key).or_default().push(keyid);
            }
        }
        for keyids in labels.values().filter(|keyids| keyids.len() > 1) {
            let keyids: Vec<&str> = keyids.iter().map(|keyid| short(keyid)).collect();
            self.add(
                Rule::KeyTwice,
                place,
                "root",
                format!("one key goes by the keyids {}", keyids.join(" and ")),
            );
        }
        for role in Role::TOP_LEVEL {
            let Some(signers) = Signers::of_root(root, role.name()) else { continue };
            self.threshold(place, role.name(), &signers, is_offline(&role));
            for key in signers.keys.values().flatten() {
                let roles = users.entry(key.clone()).or_default();
                if !roles.contains(&role) {
                    roles.push(role.clone());
                }
            }
        }
        for (key, roles) in users {
            let offline = roles.iter().filter(|role| is_offline(role)).count();
            let rule = match (offline, roles.len() - offline) {
                (0, _) | (1, 0) => continue,
                (_, 0) => Rule::SharedKey,
                _ => Rule::OnlineKey,
            };
            let names: Vec<&str> = roles.iter().map(Role::name).collect();
            self.add(
                rule,
                place,
                "root",
                format!("key {} signs for {}", short(key.keyid()), names.join(" and ")),
            );
        }
    }

    /// Nothing in metadata says where the keys of a delegated role are, and those of bins may be online: one signer is
    /// no finding there.
    pub(super) fn delegation_policy(&mut self, place: &str, name: &str, signers: &Signers) {
        self.threshold(place, name, signers, false);
    }

    fn threshold(&mut self, place: &str, role: &str, signers: &Signers, offline: bool) {
        let (threshold, keys) = (signers.threshold, signers.distinct(signers.keys.keys()) as u64);
        if threshold == 0 || threshold > keys {
            let why = format!("its threshold is {threshold}, and it has {keys} keys that devices can use");
            self.add(Rule::ThresholdOutOfReach, place, role, why);
        } else if offline && threshold == 1 {
            let why = match keys {
                1 => "its one key signs alone".to_owned(),
                _ => format!("one of its {keys} keys is enough to sign"),
            };
            self.add(Rule::OneSigner, place, role, why);
        } else if offline && threshold == keys {
            self.add(Rule::NoSpareKey, place, role, format!("all of its {keys} keys must sign"));
        }
    }

    /// Roles that expire on one day.
    pub(super) fn expiries(&mut self) {
        let mut days: BTreeMap<String, Vec<&Document>> = BTreeMap::new();
        for document in &self.subject.files {
            if let Ok(header) = document.header() {
                let day = date::format(header.expires)[..10].to_owned();
                days.entry(day).or_default().push(document);
            }
        }
        for (day, documents) in days.into_iter().filter(|(_, documents)| documents.len() > 1) {
            let names: Vec<String> = documents.iter().map(|document| document.name()).collect();
            let place = self.subject.path.display().to_string();
            self.add(Rule::SameDay, &place, &names.join(", "), format!("they all expire on {day}"));
        }
    }
}

fn is_offline(role: &Role) -> bool {
    matches!(role, Role::Root | Role::Targets)
}
