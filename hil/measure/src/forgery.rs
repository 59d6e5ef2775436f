//! Forged files: each is an honest one, with one digit changed on its way.

use tuffet_client::Role;

/// The roles whose files are forged, one after the other.
pub(crate) const ROLES: [Role; 4] = [Role::Timestamp, Role::Snapshot, Role::Targets, Role::Delegated];

/// One digit of one file.
#[derive(Clone, Copy)]
pub(crate) struct Forgery {
    pub(crate) role: Role,
    pub(crate) digit: Digit,
}

/// Which one.
#[derive(Clone, Copy)]
pub(crate) enum Digit {
    /// Of the first signature.
    Signature,
    /// The last one of the date in `signed` at which the file expires: somebody gives it a second more.
    Expires,
}

/// Finds one byte in a file that comes in chunks: so many bytes behind the first place where a text stands.
pub(crate) struct Place {
    text: &'static [u8],
    matched: usize,
    /// Bytes between the text and the byte.
    between: usize,
    found: bool,
}

impl Place {
    /// The text begins with a quotation mark, and has another only at its end or before a colon.
    pub(crate) fn behind(text: &'static [u8], between: usize) -> Place {
        Place { text, matched: 0, between, found: false }
    }

    /// Where it stands in this chunk, once.
    pub(crate) fn find(&mut self, chunk: &[u8]) -> Option<usize> {
        for (at, byte) in chunk.iter().enumerate() {
            match self.text.get(self.matched) {
                Some(wanted) if wanted == byte => self.matched += 1,
                Some(_) => self.matched = usize::from(*byte == b'"'),
                None if self.found => break,
                None if self.between > 0 => self.between -= 1,
                None => {
                    self.found = true;
                    return Some(at);
                }
            }
        }
        None
    }

    /// Changes it, where it stands in this chunk.
    pub(crate) fn forge(&mut self, chunk: &mut [u8]) {
        let at = self.find(chunk);
        if let Some(digit) = at.and_then(|at| chunk.get_mut(at)) {
            *digit = if *digit == b'0' { b'1' } else { b'0' };
        }
    }
}

impl Digit {
    pub(crate) fn place(self) -> Place {
        match self {
            // Behind what DER puts before the first number.
            Digit::Signature => Place::behind(b"\"sig\":\"", 50),
            Digit::Expires => Place::behind(b"\"expires\":\"", "2026-11-23T12:00:0".len()),
        }
    }
}
