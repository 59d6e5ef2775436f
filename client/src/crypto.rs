//! Signature verification as a plain struct of functions, so that a product can put an accelerator in.

use p256::Sec1Point;
use p256::ecdsa::signature::hazmat::PrehashVerifier;
use p256::ecdsa::{Signature, VerifyingKey};

use crate::key::{Point, PublicKey};

/// The algorithms that a verifier knows.
#[derive(Clone, Copy, Debug)]
pub struct Crypto {
    /// Verifies an ASN.1 DER ECDSA signature over P-256, given the SHA-256 digest of the message. Must be
    /// `false` for a point off the curve. A high `s` is accepted: tokens produce it.
    pub p256: fn(key: &Point, digest: &[u8; 32], der: &[u8]) -> bool,
}

/// P-256 by the `p256` crate.
pub const SOFTWARE: Crypto = Crypto { p256: verify_p256 };

impl Crypto {
    /// Whether `key` signed the message with this SHA-256 digest.
    pub(crate) fn verifies(&self, key: &PublicKey, digest: &[u8; 32], signature: &[u8]) -> bool {
        match key {
            PublicKey::P256(point) => (self.p256)(point, digest, signature),
            PublicKey::Unsupported => false,
        }
    }
}

fn verify_p256(Point { x, y }: &Point, digest: &[u8; 32], der: &[u8]) -> bool {
    let point = Sec1Point::from_affine_coordinates(x.into(), y.into(), false);
    let (Ok(key), Ok(signature)) = (VerifyingKey::from_sec1_point(&point), Signature::from_der(der)) else {
        return false;
    };
    key.verify_prehash(digest, &signature).is_ok()
}
