//! A root being written. What a device could never take is refused here, before anybody signs.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use super::{Chain, Devices, Period, Periods, RoleKeys, is_reason};
use crate::key::PublicKey;
use crate::metadata::{Role, SPEC_VERSION};
use crate::transcript::Head;
use crate::{Error, Misuse, date};

/// A root being written.
#[derive(Clone, Debug)]
pub struct Draft {
    version: u32,
    issued: u64,
    expires: Option<u64>,
    roles: BTreeMap<Role, RoleKeys>,
    periods: Periods,
    reason: Option<String>,
    transcript: Option<Head>,
    devices: Devices,
    /// Who signs this root beside its own root keys: those of the root before.
    before: Option<RoleKeys>,
}

impl Draft {
    /// Version 1 without any key; every threshold is 1 until it is set, periods are the default ones, and the smallest
    /// device is that of today.
    /// `issued` and `expires` in seconds since 1970-01-01 UTC; without `expires` the root's period says when.
    pub fn new(issued: u64, expires: impl Into<Option<u64>>) -> Draft {
        let empty = RoleKeys { keys: BTreeMap::new(), threshold: 1 };
        let roles = Role::TOP_LEVEL.into_iter().map(|role| (role, empty.clone())).collect();
        Draft {
            version: 1,
            issued,
            expires: expires.into(),
            roles,
            periods: Periods::default(),
            reason: None,
            transcript: None,
            devices: Devices::default(),
            before: None,
        }
    }

    /// The successor of the chain's last root: its keys, thresholds, periods and smallest device, the next version.
    /// A root without periods is followed by one with the default ones, and one that says nothing of devices by one
    /// for those of today.
    ///
    /// # Errors
    /// [`Misuse::WrongChain`] if the chain is empty or has reached the last version.
    pub fn next(chain: &Chain, issued: u64, expires: impl Into<Option<u64>>) -> Result<Draft, Error> {
        let wrong = |why: &str| Misuse::WrongChain { why: why.to_owned() };
        let last = chain.last().ok_or_else(|| wrong("there is no root to follow"))?;
        // Devices refuse the very last number, for no root could follow that one.
        let version = last.header.version.checked_add(1).filter(|version| *version < u32::MAX);
        let version = version.ok_or_else(|| wrong("no version is left"))?;
        Ok(Draft {
            version,
            issued,
            expires: expires.into(),
            roles: last.roles.clone(),
            periods: last.periods.unwrap_or_default(),
            reason: None,
            transcript: None,
            devices: last.devices.unwrap_or_default(),
            before: last.roles.get(&Role::Root).cloned(),
        })
    }

    /// Gives a role a key.
    ///
    /// # Errors
    /// [`Misuse::KeyPresent`].
    pub fn add_key(&mut self, role: &Role, key: &PublicKey) -> Result<(), Error> {
        let keys = &mut self.role(role).keys;
        if keys.contains_key(key.keyid()) {
            return Err(Misuse::KeyPresent { role: role.clone(), keyid: key.keyid().to_owned() }.into());
        }
        keys.insert(key.keyid().to_owned(), key.clone());
        Ok(())
    }

    /// Takes a key from a role.
    ///
    /// # Errors
    /// [`Misuse::KeyAbsent`].
    pub fn remove_key(&mut self, role: &Role, keyid: &str) -> Result<(), Error> {
        match self.role(role).keys.remove(keyid) {
            Some(_) => Ok(()),
            None => Err(Misuse::KeyAbsent { role: role.clone(), keyid: keyid.to_owned() }.into()),
        }
    }

    /// Puts a key of a role in the place of another.
    ///
    /// # Errors
    /// [`Misuse::KeyAbsent`] and [`Misuse::KeyPresent`]; nothing has changed then.
    pub fn replace_key(&mut self, role: &Role, old: &str, new: &PublicKey) -> Result<(), Error> {
        if !self.role(role).keys.contains_key(old) {
            return Err(Misuse::KeyAbsent { role: role.clone(), keyid: old.to_owned() }.into());
        }
        self.add_key(role, new)?;
        self.remove_key(role, old)
    }

    /// Takes keys from every role that has them.
    ///
    /// # Errors
    /// [`Misuse::NotInRoot`] if no role has any of them.
    pub fn revoke(&mut self, lost: &BTreeSet<String>) -> Result<(), Error> {
        let mut removed = false;
        for role_keys in self.roles.values_mut() {
            let before = role_keys.keys.len();
            role_keys.keys.retain(|keyid, _| !lost.contains(keyid));
            removed |= role_keys.keys.len() < before;
        }
        match lost.first() {
            Some(keyid) if !removed => {
                Err(Misuse::NotInRoot { keyid: keyid.clone(), root: self.version - 1 }.into())
            }
            _ => Ok(()),
        }
    }

    /// Whether each role still has as many keys as must sign, after some were revoked.
    ///
    /// # Errors
    /// [`Misuse::TooFewKeysLeft`] names every role that has not.
    pub fn check_left(&self) -> Result<(), Error> {
        let short = |(role, role_keys): (&Role, &RoleKeys)| {
            let (left, threshold) = (role_keys.keys.len(), role_keys.threshold);
            (left < threshold as usize).then(|| (role.clone(), left, threshold))
        };
        let roles: Vec<_> = self.roles.iter().filter_map(short).collect();
        if roles.is_empty() { Ok(()) } else { Err(Misuse::TooFewKeysLeft { roles }.into()) }
    }

    /// Sets how many keys of a role must sign.
    pub fn set_threshold(&mut self, role: &Role, threshold: u32) {
        self.role(role).threshold = threshold;
    }

    /// Sets how long a role's files are good for, and when they are due.
    pub fn set_period(&mut self, role: &Role, period: Period) {
        self.periods.set(role, period);
    }

    /// Says why there is this root. Everybody who has the root can read it.
    ///
    /// # Errors
    /// [`Misuse::BadReason`].
    pub fn set_reason(&mut self, text: &str) -> Result<(), Error> {
        if !is_reason(text) {
            return Err(Misuse::BadReason { length: text.chars().count() }.into());
        }
        self.reason = Some(text.to_owned());
        Ok(())
    }

    /// Records the head of the ceremony's transcript, so that whoever has the root can see whether the transcript was
    /// shortened or rewritten since.
    pub fn set_transcript(&mut self, head: Head) {
        self.transcript = Some(head);
    }

    /// Says of a limit, as in `keys=8`, that the smallest device has no more.
    ///
    /// # Errors
    /// [`Misuse::NotADeviceLimit`].
    pub fn set_device_limit(&mut self, text: &str) -> Result<(), Error> {
        self.devices.set(text)
    }

    fn role(&mut self, role: &Role) -> &mut RoleKeys {
        let empty = || RoleKeys { keys: BTreeMap::new(), threshold: 1 };
        self.roles.entry(role.clone()).or_insert_with(empty)
    }

    /// The `signed` value.
    ///
    /// # Errors
    /// [`Misuse::ExpiresTooSoon`], or what the smallest device could never take: [`Misuse::ThresholdOutOfRange`],
    /// [`Misuse::TooManySignatures`] or [`Misuse::TooManyKeys`].
    pub fn signed(&self) -> Result<Value, Error> {
        let expires = self.expires.unwrap_or_else(|| self.periods.root_expires(self.issued));
        if expires <= self.issued {
            return Err(Misuse::ExpiresTooSoon { expires }.into());
        }
        let limits = self.devices.limits();
        let check_signatures = |what, needed| check_signatures(what, needed, limits.signatures);
        let mut keys = Map::new();
        let mut roles = Map::new();
        for (role, RoleKeys { keys: role_keys, threshold }) in &self.roles {
            if *threshold == 0 || *threshold as usize > role_keys.len() {
                let (role, threshold) = (role.clone(), *threshold);
                return Err(Misuse::ThresholdOutOfRange { role, threshold, keys: role_keys.len() }.into());
            }
            check_signatures(role.name(), *threshold as usize)?;
            let keyids: Vec<&String> = role_keys.keys().collect();
            roles.insert(role.name().to_owned(), json!({ "keyids": keyids, "threshold": threshold }));
            keys.extend(role_keys.iter().map(|(keyid, key)| (keyid.clone(), key.to_value())));
        }
        if let (Some(before), Some(own)) = (&self.before, self.roles.get(&Role::Root)) {
            check_signatures("this root, which old and new holders sign,", together(before, own))?;
        }
        if keys.len() > limits.keys {
            return Err(Misuse::TooManyKeys { keys: keys.len(), limit: limits.keys }.into());
        }
        let mut signed = json!({
            "_type": "root",
            "consistent_snapshot": true,
            "devices": self.devices.to_value(),
            "expires": date::format(expires),
            "issued": date::format(self.issued),
            "keys": keys,
            "periods": self.periods.to_value(),
            "roles": roles,
            "spec_version": SPEC_VERSION,
            "version": self.version,
        });
        if let Some(reason) = &self.reason {
            signed["reason"] = json!(reason);
        }
        if let Some(head) = &self.transcript {
            signed["transcript"] = head.to_value();
        }
        Ok(signed)
    }
}

fn check_signatures(what: &str, needed: usize, limit: usize) -> Result<(), Error> {
    if needed > limit {
        return Err(Misuse::TooManySignatures { what: what.to_owned(), needed, limit }.into());
    }
    Ok(())
}

/// The fewest signatures that meet both thresholds. One by a key of both counts for both, for as long as both
/// still need one.
fn together(old: &RoleKeys, new: &RoleKeys) -> usize {
    let shared = old.keys.keys().filter(|keyid| new.keys.contains_key(*keyid)).count();
    let (old, new) = (old.threshold as usize, new.threshold as usize);
    old + new - shared.min(old).min(new)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;

    /// How many signatures two sets of these keys need together.
    fn needed(
        keys: &[PublicKey],
        old: (core::ops::Range<usize>, u32),
        new: (core::ops::Range<usize>, u32),
    ) -> usize {
        let role = |(range, threshold): (core::ops::Range<usize>, u32)| RoleKeys {
            keys: keys[range].iter().map(|key| (key.keyid().to_owned(), key.clone())).collect(),
            threshold,
        };
        together(&role(old), &role(new))
    }

    /// By trying every set of signers.
    fn fewest(
        keys: usize,
        old: (core::ops::Range<usize>, u32),
        new: (core::ops::Range<usize>, u32),
    ) -> usize {
        let met = |signers: u32, (range, threshold): &(core::ops::Range<usize>, u32)| {
            range.clone().filter(|key| signers >> key & 1 == 1).count() >= *threshold as usize
        };
        let sets = (0u32..1 << keys).filter(|signers| met(*signers, &old) && met(*signers, &new));
        sets.map(|signers| signers.count_ones() as usize).min().unwrap()
    }

    #[test]
    fn signatures_of_old_and_new_holders_together_are_counted_as_the_fewest() {
        let keys: Vec<PublicKey> = (0..6).map(|_| SigningKey::generate().unwrap().public().clone()).collect();
        let mut counted = 0;
        for (old, new) in [(0..3, 0..3), (0..3, 1..4), (0..3, 3..6), (0..5, 4..6), (0..1, 0..6), (0..4, 2..6)]
        {
            for old_threshold in 1..=u32::try_from(old.len()).unwrap() {
                for new_threshold in 1..=u32::try_from(new.len()).unwrap() {
                    let (old, new) = ((old.clone(), old_threshold), (new.clone(), new_threshold));
                    let says = needed(&keys, old.clone(), new.clone());
                    assert_eq!(says, fewest(keys.len(), old.clone(), new.clone()), "{old:?} {new:?}");
                    counted += 1;
                }
            }
        }
        assert_eq!(counted, 9 + 9 + 9 + 10 + 6 + 16);
    }
}
