//! Hex and base64, with errors that name the field.

use base64ct::{Base64, Encoding as _};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::{Error, Rejected};

pub(crate) fn hex(bytes: &[u8]) -> String {
    base16ct::lower::encode_string(bytes)
}

pub(crate) fn from_hex(text: &str, field: &str) -> Result<Vec<u8>, Error> {
    base16ct::lower::decode_vec(text)
        .map_err(|_| Rejected::WrongField { field: field.to_owned(), expected: "lower-case hex" }.into())
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Whether `text` looks like a SHA-256 digest in lower-case hex.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

pub(crate) fn base64(bytes: &[u8]) -> String {
    Base64::encode_string(bytes)
}

pub(crate) fn from_base64(text: &str, field: &str) -> Result<Vec<u8>, Error> {
    Base64::decode_vec(text)
        .map_err(|_| Rejected::WrongField { field: field.to_owned(), expected: "base64" }.into())
}

/// A member of an object by name, as `pick` reads it, or an error that names it.
pub(crate) fn member<'a, T>(
    object: &'a Value,
    name: &str,
    expected: &'static str,
    pick: impl FnOnce(&'a Value) -> Option<T>,
) -> Result<T, Error> {
    object
        .get(name)
        .and_then(pick)
        .ok_or_else(|| Rejected::WrongField { field: name.to_owned(), expected }.into())
}
