//! The one threshold function. [`Verified`] can be made nowhere else, and the rules of
//! [`trusted`](crate::trusted) take nothing else: a forgotten check does not compile.

use core::ops::Deref;

use crate::Role;
use crate::crypto::Crypto;
use crate::error::Rejected;
use crate::key::{PublicKey, Signature};
use crate::limits::KEYS;
use crate::role::root::{Key, Root};
use heapless::Vec;

/// Facts whose signatures met their role's threshold.
#[derive(Debug)]
pub(crate) struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The signatures of one file, and the digest of what they sign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) signatures: &'a [Signature],
    pub(crate) digest: [u8; 32],
}

/// Facts of a role that `root` delegates to: 5.4.2 (timestamp), 5.5.3 (snapshot), 5.6.3 (targets).
pub(crate) fn verify<T>(
    crypto: &Crypto,
    root: &Root,
    role: Role,
    envelope: Envelope<'_>,
    facts: T,
) -> Result<Verified<T>, Rejected> {
    let (keys, threshold) = root.authority(role);
    meet(crypto, role, keys, threshold, envelope)?;
    Ok(Verified(facts))
}

/// A new root: signed by a threshold of the trusted root's keys and of its own (5.3.4). The first root has
/// no predecessor and vouches for itself alone; its trust comes from outside (5.2).
pub(crate) fn verify_root<'a>(
    crypto: &Crypto,
    trusted: Option<&Root>,
    envelope: Envelope<'_>,
    new: &'a Root,
) -> Result<Verified<&'a Root>, Rejected> {
    for root in trusted.into_iter().chain([new]) {
        let (keys, threshold) = root.authority(Role::Root);
        meet(crypto, Role::Root, keys, threshold, envelope)?;
    }
    Ok(Verified(new))
}

/// Counts distinct public keys with a valid signature. A signature of an unknown key, or a bad one, neither
/// helps nor harms; two labels of one key count once.
fn meet<'a>(
    crypto: &Crypto,
    role: Role,
    keys: impl Iterator<Item = &'a Key> + Clone,
    threshold: u8,
    envelope: Envelope<'_>,
) -> Result<(), Rejected> {
    let mut signers: Vec<&PublicKey, KEYS> = Vec::new();
    for signature in envelope.signatures {
        let Some(Key { public, .. }) = keys.clone().find(|key| key.id == signature.keyid) else { continue };
        if signers.contains(&public) || !crypto.verifies(public, &envelope.digest, &signature.der) {
            continue;
        }
        // A root holds no more keys than this has room for.
        if signers.push(public).is_err() {
            break;
        }
    }
    let valid = u8::try_from(signers.len()).unwrap_or(u8::MAX);
    if valid == 0 || valid < threshold {
        return Err(Rejected::ThresholdNotMet { role, valid, threshold });
    }
    Ok(())
}
