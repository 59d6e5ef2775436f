//! Signature verification as a plain struct of functions, so that a product can put an accelerator in.

use crate::ecdsa;
use crate::key::Algorithm;

/// The algorithms that a verifier knows, of two kinds: one that wants the digest of a message, and those that
/// want the message.
#[derive(Clone, Copy, Debug)]
pub struct Crypto {
    /// ECDSA over P-256 with SHA-256, which wants the digest.
    pub p256: P256,
    /// Without it, keys of these types count for nothing.
    pub message: Option<MessageCrypto>,
    /// Whether SHA-512 is known beside SHA-256 where files are hashed. Takes the feature `host`.
    pub sha512: bool,
}

/// ECDSA over P-256 with SHA-256.
#[derive(Clone, Copy, Debug)]
pub struct P256 {
    /// The compressed form (SEC 1, 2.3.3: 2 or 3 for an even or odd y, then x) of the point with the coordinates x
    /// and y, big-endian. Keys are kept in it. Must be `None` for a point off the curve.
    pub compress: fn(point: &[u8; 64]) -> Option<[u8; 33]>,
    /// Verifies an ASN.1 DER signature, given a key of that form and the SHA-256 digest of the message. A high `s` is
    /// accepted: tokens produce it.
    pub verify: fn(key: &[u8; 33], digest: &[u8; 32], der: &[u8]) -> bool,
}

/// Algorithms that want the whole message, which takes memory ([`Limits::message`](crate::Limits)).
#[derive(Clone, Copy, Debug)]
pub struct MessageCrypto {
    /// Verifies an Ed25519 signature.
    pub ed25519: fn(key: &[u8], message: &[u8], signature: &[u8]) -> bool,
    /// Verifies an RSASSA-PSS signature with SHA-256, see [`Algorithm::RsaPss`] for the form of the key.
    pub rsa_pss: fn(key: &[u8], message: &[u8], signature: &[u8]) -> bool,
}

/// P-256 over the arithmetic of the `p256` crate, and nothing else.
pub const SOFTWARE: Crypto = Crypto { p256: ecdsa::SOFTWARE, message: None, sha512: false };

/// P-256 as on devices; Ed25519 and RSA-PSS by `ring`; SHA-512 of files.
#[cfg(feature = "host")]
pub const HOST: Crypto = Crypto {
    p256: ecdsa::SOFTWARE,
    message: Some(MessageCrypto { ed25519: verify_ed25519, rsa_pss: verify_rsa_pss }),
    sha512: true,
};

impl Crypto {
    /// Whether keys of this algorithm can be verified with.
    pub(crate) fn knows(&self, algorithm: Algorithm) -> bool {
        match algorithm {
            Algorithm::P256 => true,
            Algorithm::Ed25519 | Algorithm::RsaPss => self.message.is_some(),
            Algorithm::Unsupported => false,
        }
    }
}

#[cfg(feature = "host")]
fn verify_ed25519(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    use ring::signature::{ED25519, UnparsedPublicKey};
    UnparsedPublicKey::new(&ED25519, key).verify(message, signature).is_ok()
}

#[cfg(feature = "host")]
fn verify_rsa_pss(key: &[u8], message: &[u8], signature: &[u8]) -> bool {
    use ring::signature::{RSA_PSS_2048_8192_SHA256, UnparsedPublicKey};
    UnparsedPublicKey::new(&RSA_PSS_2048_8192_SHA256, key).verify(message, signature).is_ok()
}
