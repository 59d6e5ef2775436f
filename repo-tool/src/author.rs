//! Who signs online, and what is said of a file.

use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tuffet_client::release::Hex;
use tuffet_keys::key::SigningKey;
use tuffet_keys::metadata::Role;
use tuffet_keys::root::RoleKeys;

use crate::{Error, Rejected, document};

/// When a file was drafted and until when it is good, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    /// `issued`.
    pub issued: u64,
    /// `expires`.
    pub expires: u64,
}

/// What targets metadata say about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Lower-case hex SHA-256.
    pub sha256: String,
    /// Bytes.
    pub length: u32,
}

impl Target {
    /// What is to be said about these bytes.
    ///
    /// # Errors
    /// [`Rejected::Exhausted`] for more bytes than a length can say.
    pub fn of(bytes: &[u8]) -> Result<Target, Error> {
        let (sha256, length) = summary(bytes);
        let length = length.try_into().map_err(|_| Rejected::Exhausted { what: "length" })?;
        Ok(Target { sha256, length })
    }

    /// Whether it is about these bytes.
    pub fn is(&self, bytes: &[u8]) -> bool {
        summary(bytes) == (self.sha256.clone(), self.length.into())
    }
}

/// SHA-256 in lower-case hex, and bytes.
pub(crate) fn summary(bytes: &[u8]) -> (String, u64) {
    (Hex(&Sha256::digest(bytes)).to_string(), bytes.len() as u64)
}

/// Whether a text is a SHA-256 in lower-case hex.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The keys that sign a role here and now: enough of them, and all of them the role's.
pub struct Signers<'k> {
    keys: Vec<&'k SigningKey>,
}

impl<'k> Signers<'k> {
    /// Holds the keys against those that root `root` gives the role. A key that is given twice counts once.
    ///
    /// # Errors
    /// [`Rejected::ForeignKey`] or [`Rejected::OnlineKeys`].
    pub fn new(
        role: &Role,
        given: &'k [Arc<SigningKey>],
        root: u32,
        allowed: &RoleKeys,
    ) -> Result<Signers<'k>, Error> {
        let mut keys: Vec<&SigningKey> = Vec::new();
        for key in given {
            let keyid = key.public().keyid();
            if !allowed.keys.contains_key(keyid) {
                return Err(Rejected::ForeignKey { role: role.clone(), keyid: keyid.to_owned(), root }.into());
            }
            if !keys.iter().any(|other| other.public().keyid() == keyid) {
                keys.push(key);
            }
        }
        let (given, threshold) = (u32::try_from(keys.len()).unwrap_or(u32::MAX), allowed.threshold);
        if given < threshold {
            return Err(Rejected::OnlineKeys { role: role.clone(), given, threshold }.into());
        }
        Ok(Signers { keys })
    }

    /// The published file of a `signed` text, which must be canonical.
    ///
    /// # Errors
    /// What signing says.
    pub fn sign(&self, signed: &str) -> Result<Vec<u8>, Error> {
        document::sign(signed, self.keys.iter().copied())
    }
}
