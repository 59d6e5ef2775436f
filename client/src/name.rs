//! Names of metadata files.

use core::fmt;

use crate::Role;

/// The name of a metadata file: `3.root.json`, `timestamp.json`, `7.lamp.json`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileName<'a> {
    /// Whose file.
    pub role: Role,
    /// Its version, which the timestamp's name does not hold.
    pub version: Option<u32>,
    /// The name of the role. Nothing in it is safe to be used as the name of a local file.
    pub name: &'a [u8],
}

impl FileName<'_> {
    /// Hands out the name byte by byte. A role's name is percent-encoded (RFC 3986), all but unreserved characters,
    /// so that none of it can leave the directory or start a query.
    pub fn bytes(&self, mut emit: impl FnMut(u8)) {
        const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
        let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
        if let Some(version) = self.version {
            let mut place = 1_000_000_000_u32;
            let mut begun = false;
            while place > 0 {
                let value = version.checked_div(place).unwrap_or(0) % 10;
                begun |= value > 0 || place == 1;
                if begun {
                    emit(digit(value.to_le_bytes()[0]));
                }
                place /= 10;
            }
            emit(b'.');
        }
        for &byte in self.name {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
                emit(byte);
            } else {
                [b'%', digit(byte >> 4), digit(byte & 15)].into_iter().for_each(&mut emit);
            }
        }
        b".json".iter().copied().for_each(emit);
    }

    /// The same at the front of a buffer; `None` if it does not fit.
    pub fn write<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b str> {
        let mut length = Some(0_usize);
        self.bytes(|byte| {
            length = length.and_then(|at| {
                *buffer.get_mut(at)? = byte;
                at.checked_add(1)
            });
        });
        core::str::from_utf8(buffer.get(..length?)?).ok()
    }
}

impl fmt::Display for FileName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = Ok(());
        self.bytes(|byte| shown = shown.and_then(|()| fmt::Write::write_char(f, char::from(byte))));
        shown
    }
}
