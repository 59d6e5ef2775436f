//! Hex and base64, with errors that name the field.

use std::fmt;

use base64::display::Base64Display;
use base64::engine::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Serialize, Serializer};
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

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    hex(&sha256(bytes))
}

/// Whether `text` looks like a SHA-256 digest in lower-case hex.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// Bytes that are written as base64, and of which no copy is made for that.
pub(crate) struct AsBase64<'b>(pub(crate) &'b [u8]);

impl fmt::Display for AsBase64<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Base64Display::new(self.0, &STANDARD).fmt(f)
    }
}

impl Serialize for AsBase64<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

pub(crate) fn from_base64(text: &str, field: &str) -> Result<Vec<u8>, Error> {
    STANDARD.decode(text).map_err(|_| not_base64(field))
}

/// Bytes that are decoded at once, and their letters: a whole number of groups, so that padding stands at the end alone.
const PIECE: usize = 3072;
const LETTERS: usize = PIECE / 3 * 4;

/// [`from_base64`] without a second place for the bytes: they lie where the letters did.
pub(crate) fn from_base64_in_place(mut text: Vec<u8>, field: &str) -> Result<Vec<u8>, Error> {
    let mut piece = [0; PIECE];
    let (mut read, mut written) = (0, 0);
    while read < text.len() {
        let end = text.len().min(read + LETTERS);
        let length = STANDARD.decode_slice(&text[read..end], &mut piece).map_err(|_| not_base64(field))?;
        if end < text.len() && length < PIECE {
            return Err(not_base64(field));
        }
        text[written..written + length].copy_from_slice(&piece[..length]);
        (read, written) = (end, written + length);
    }
    text.truncate(written);
    text.shrink_to_fit();
    Ok(text)
}

fn not_base64(field: &str) -> Error {
    Rejected::WrongField { field: field.to_owned(), expected: "base64" }.into()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_in_pieces_and_in_place_is_that_of_the_whole() {
        for length in [0, 1, 2, 3, 4, PIECE - 1, PIECE, PIECE + 1, 2 * PIECE, 2 * PIECE + 2, 9000] {
            let bytes: Vec<u8> = (0..length).map(|index| (index * 7 % 251) as u8).collect();
            let text = AsBase64(&bytes).to_string();
            assert_eq!(text, STANDARD.encode(&bytes));
            assert_eq!(serde_json::to_string(&AsBase64(&bytes)).unwrap(), format!("\"{text}\""));
            assert_eq!(from_base64_in_place(text.into_bytes(), "payload").unwrap(), bytes);
        }
    }

    #[test]
    fn base64_with_a_letter_changed_gets_the_verdict_of_the_whole() {
        for length in [1, 5, PIECE - 2, PIECE, PIECE + 1, 2 * PIECE] {
            let text = AsBase64(&vec![0xa5; length]).to_string();
            let ends = [0, 1, LETTERS - 2, LETTERS - 1, LETTERS, LETTERS + 1, text.len() - 2, text.len() - 1];
            for index in ends.into_iter().filter(|index| *index < text.len()) {
                for letter in ['=', 'A', 'B', 'l', ' ', '-', '\n'] {
                    let mut changed = text.clone();
                    changed.replace_range(index..=index, letter.encode_utf8(&mut [0; 4]));
                    let whole = from_base64(&changed, "payload");
                    assert_eq!(
                        from_base64_in_place(changed.into_bytes(), "payload"),
                        whole,
                        "{letter:?} at {index}"
                    );
                }
                let cut = &text[..index];
                assert_eq!(
                    from_base64_in_place(cut.as_bytes().to_vec(), "payload"),
                    from_base64(cut, "payload")
                );
            }
        }
    }
}
