//! Canonical text, read in one pass and without a value of anything.

use core::ops::Range;
use std::sync::Arc;

use super::{Members, Place, bounds};

/// Objects and arrays within each other, at the most; whatever has more is read by serde.
pub(super) const DEPTH: u32 = 32;

/// Reads text in which there is one way to write each thing: no white space, names in order, integers. Each function passes
/// what it is about; none if that is not there, which serde may still understand, and else says what is wrong.
pub(super) struct Reader<'t> {
    pub(super) bytes: &'t [u8],
    pub(super) at: usize,
}

impl Reader<'_> {
    /// The members of the object at `range`, and those of its member `inner`.
    pub(super) fn whole(
        text: &Arc<String>,
        range: Range<usize>,
        inner: Option<&str>,
    ) -> Option<(Members, Option<Members>)> {
        let mut reader = Reader { bytes: text.as_bytes().get(..range.end)?, at: range.start };
        let (members, inner) = reader.object(inner)?;
        let inner = inner.map(|places| Members::new(text, places));
        (reader.at == range.end).then(|| (Members::new(text, members), inner))
    }

    pub(super) fn object(&mut self, inner: Option<&str>) -> Option<(Vec<Place>, Option<Vec<Place>>)> {
        self.takes(b'{')?;
        let (mut places, mut nested) = (Vec::new(), None);
        if self.takes(b'}').is_some() {
            return Some((places, nested));
        }
        let mut before: Option<&[u8]> = None;
        loop {
            let name = self.string()?;
            let text = self.bytes.get(name.clone())?;
            if text.contains(&b'\\') || before.is_some_and(|before| before >= text) {
                return None;
            }
            before = Some(text);
            self.takes(b':')?;
            let start = self.at;
            match inner {
                Some(inner) if inner.as_bytes() == text => nested = Some(self.object(None)?.0),
                _ => self.value(DEPTH)?,
            }
            places.push(Place { name: bounds(&name), value: bounds(&(start..self.at)) });
            if self.takes(b',').is_none() {
                self.takes(b'}')?;
                return Some((places, nested));
            }
        }
    }

    pub(super) fn value(&mut self, depth: u32) -> Option<()> {
        match *self.bytes.get(self.at)? {
            b'"' => self.string().map(drop),
            b'{' => self.list(b'}', depth.checked_sub(1)?),
            b'[' => self.list(b']', depth.checked_sub(1)?),
            b't' => self.takes_all(b"true"),
            b'f' => self.takes_all(b"false"),
            b'n' => self.takes_all(b"null"),
            _ => self.integer(),
        }
    }

    /// An object or an array, by the bracket that ends it.
    fn list(&mut self, end: u8, depth: u32) -> Option<()> {
        self.at += 1;
        if self.takes(end).is_some() {
            return Some(());
        }
        loop {
            if end == b'}' {
                self.string()?;
                self.takes(b':')?;
            }
            self.value(depth)?;
            if self.takes(b',').is_none() {
                return self.takes(end);
            }
        }
    }

    /// Where a text is, between its quotes.
    fn string(&mut self) -> Option<Range<usize>> {
        self.takes(b'"')?;
        let start = self.at;
        loop {
            let rest = self.bytes.get(self.at..)?;
            self.at += rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20))?;
            match self.bytes.get(self.at..)? {
                [b'"', ..] => {
                    self.at += 1;
                    return Some(start..self.at - 1);
                }
                [b'\\', b'"' | b'\\' | b'n' | b'r' | b't', ..] => self.at += 2,
                _ => return None,
            }
        }
    }

    fn integer(&mut self) -> Option<()> {
        let _ = self.takes(b'-');
        let digits = self.bytes.get(self.at..)?.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let zero_first = self.bytes.get(self.at) == Some(&b'0') && digits > 1;
        self.at += digits;
        (digits > 0 && !zero_first).then_some(())
    }

    pub(super) fn takes(&mut self, byte: u8) -> Option<()> {
        (*self.bytes.get(self.at)? == byte).then(|| self.at += 1)
    }

    pub(super) fn takes_all(&mut self, text: &[u8]) -> Option<()> {
        self.bytes.get(self.at..)?.starts_with(text).then(|| self.at += text.len())
    }
}
