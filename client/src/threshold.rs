//! The one threshold function. [`Verified`] can be made nowhere else, and the rules of
//! [`trusted`](crate::trusted) take nothing else: a forgotten check does not compile.

use core::ops::Deref;

use crate::Role;
use crate::crypto::Crypto;
use crate::error::{Bound, Rejected};
use crate::key::{Algorithm, Key, Signatures};
use crate::role::root::Authority;

/// Facts whose signatures met their role's threshold.
#[derive(Debug)]
pub(crate) struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

/// The signatures of one file, and what they sign.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Envelope<'a> {
    pub(crate) role: Role,
    pub(crate) signatures: Signatures<'a>,
    /// SHA-256 of the canonical form of `signed`.
    pub(crate) digest: &'a [u8; 32],
    /// That form, if it was kept.
    pub(crate) message: Option<&'a [u8]>,
}

/// Facts of a role that `authority` delegates to: 5.4.2 (timestamp), 5.5.3 (snapshot), 5.6.3 (targets).
pub(crate) fn verify<T>(
    crypto: &Crypto,
    authority: Authority<'_>,
    envelope: Envelope<'_>,
    facts: T,
) -> Result<Verified<T>, Rejected> {
    meet(crypto, authority, envelope)?;
    Ok(Verified(facts))
}

/// A new root: signed by a threshold of the trusted root's keys and of its own (5.3.4). The first root has
/// no predecessor and vouches for itself alone; its trust comes from outside (5.2).
pub(crate) fn verify_root<T>(
    crypto: &Crypto,
    trusted: Option<Authority<'_>>,
    own: Authority<'_>,
    envelope: Envelope<'_>,
    facts: T,
) -> Result<Verified<T>, Rejected> {
    for authority in trusted.into_iter().chain([own]) {
        meet(crypto, authority, envelope)?;
    }
    Ok(Verified(facts))
}

/// Counts distinct public keys with a valid signature. A signature of an unknown key, or a bad one, neither
/// helps nor harms; two labels of one key count once.
fn meet(crypto: &Crypto, authority: Authority<'_>, envelope: Envelope<'_>) -> Result<(), Rejected> {
    let Envelope { role, .. } = envelope;
    let threshold = authority.by.threshold;
    // Bits of the keys that signed.
    let mut signers = 0_u32;
    let mut valid = 0_u8;
    for signature in envelope.signatures.iter() {
        let Some((bit, key)) = authority.keys().find(|(_, key)| key.id == signature.id) else { continue };
        let counted = authority.keys.members(signers).any(|(_, signer)| signer.is_same(&key));
        if !counted && verifies(crypto, &key, &envelope, signature.bytes)? {
            signers |= bit;
            valid = valid.saturating_add(1);
        }
    }
    if valid == 0 || valid < threshold {
        return Err(Rejected::ThresholdNotMet { role, valid, threshold });
    }
    Ok(())
}

fn verifies(
    crypto: &Crypto,
    key: &Key<'_>,
    envelope: &Envelope<'_>,
    signature: &[u8],
) -> Result<bool, Rejected> {
    let message = envelope.message.ok_or(Rejected::Limit { role: envelope.role, bound: Bound::Message });
    Ok(match (key.algorithm, crypto.message) {
        (Algorithm::P256, _) => {
            key.bytes.try_into().is_ok_and(|key| (crypto.p256.verify)(key, envelope.digest, signature))
        }
        (Algorithm::Ed25519, Some(crypto)) => (crypto.ed25519)(key.bytes, message?, signature),
        (Algorithm::RsaPss, Some(crypto)) => (crypto.rsa_pss)(key.bytes, message?, signature),
        _ => false,
    })
}
