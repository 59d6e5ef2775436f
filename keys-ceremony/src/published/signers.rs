//! Whose signatures a file has, for people. Whether they are enough the verifier has said before.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tuffet_client::limits::DEVICE;

use crate::canonical;
use crate::delegation;
use crate::key::PublicKey;
use crate::metadata::Envelope;

/// The keys that a root or a targets file gives a role.
#[derive(Clone, Debug)]
pub(crate) struct Signers {
    pub(crate) threshold: u64,
    /// By keyid; none for a key that no device of ours can use.
    pub(crate) keys: BTreeMap<String, Option<PublicKey>>,
}

impl Signers {
    /// Of a top-level role, by the `signed` of a root.
    pub(crate) fn of_root(root: &Value, role: &str) -> Option<Signers> {
        Signers::read(root.get("keys")?, root.get("roles")?.get(role)?)
    }

    /// Of a delegated role, by the `signed` of the targets file that delegates to it.
    pub(crate) fn of_delegation(targets: &Value, name: &str) -> Option<Signers> {
        let (role, _) = delegation::written(targets, name).ok()??;
        Signers::read(targets.get("delegations")?.get("keys")?, role)
    }

    pub(crate) fn read(keys: &Value, role: &Value) -> Option<Signers> {
        let keyids = role.get("keyids")?.as_array()?.iter().filter_map(Value::as_str);
        let keys = keyids.map(|keyid| (keyid.to_owned(), keys.get(keyid).and_then(read_key))).collect();
        Some(Signers { threshold: role.get("threshold")?.as_u64()?, keys })
    }

    /// Distinct keys behind some keyids, which are what a threshold counts.
    pub(crate) fn distinct<'s>(&'s self, keyids: impl IntoIterator<Item = &'s String>) -> usize {
        let keys = keyids.into_iter().filter_map(|keyid| self.keys.get(keyid)?.as_ref());
        keys.collect::<BTreeSet<_>>().len()
    }

    /// Whether devices take a file of a delegated role that these sign for.
    pub(crate) fn accept_delegated(&self, file: &[u8]) -> Result<(), tuffet_client::Error> {
        let keys = self.keys.iter().filter_map(|(keyid, key)| Some((keyid, key.as_ref()?)));
        delegation::accept(&DEVICE, keys, self.threshold, file)
    }

    /// Keyids of those who signed, and of those who did not.
    pub(crate) fn signed(&self, envelope: &Envelope) -> (Vec<String>, Vec<String>) {
        let payload = canonical::hashed_bytes(&envelope.signed).unwrap_or_default();
        let verifies = |keyid: &&String| {
            let key = self.keys.get(*keyid).and_then(Option::as_ref);
            let mut signatures = envelope.signatures.iter().filter(|(signer, _)| signer == *keyid);
            key.is_some_and(|key| signatures.any(|(_, sig)| key.verify(&payload, sig).is_ok()))
        };
        let (signed, missing): (Vec<&String>, Vec<&String>) = self.keys.keys().partition(verifies);
        (signed.into_iter().cloned().collect(), missing.into_iter().cloned().collect())
    }
}

/// A key object as a device reads it: more leniently than this crate writes it.
pub(crate) fn read_key(key: &Value) -> Option<PublicKey> {
    let text = |member: &str| key.get(member).and_then(Value::as_str);
    if !matches!(text("keytype")?, "ecdsa" | "ecdsa-sha2-nistp256")
        || text("scheme")? != "ecdsa-sha2-nistp256"
    {
        return None;
    }
    PublicKey::from_pem(key.get("keyval")?.get("public")?.as_str()?.as_bytes()).ok()
}
