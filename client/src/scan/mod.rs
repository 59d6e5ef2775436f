//! The streaming scanner: one pass that parses JSON, canonicalises it and hashes it.
//!
//! Design:
//!
//! * The bytes that are hashed are the bytes that are parsed. What a role reader sees and what goes into
//!   the digest come out of the same step, so no second reading of a file can disagree with the signed one.
//! * Memory is one buffer, the caller's. It holds, end to end, the current key of every open object and behind
//!   them the string being read; a key is compared with its predecessor while it overwrites it.
//! * Every object's keys must strictly ascend. That makes the canonical form a matter of dropping white
//!   space and re-encoding strings, and refuses duplicate keys, which parsers are known to disagree on.
//! * Only the member `signed` of the outermost object is hashed, in the OLPC canonical form that TUF signs:
//!   strings escape `"` and `\` alone, so a PEM key's `\n` goes into the digest as a raw line feed.
//! * Where a value stands is a [`Place`], looked up once for each key. Values that stand nowhere of interest
//!   cost the reader nothing.

use heapless::Vec;
use sha2::{Digest, Sha256};

use crate::Role;
use crate::error::{Bound, Field, Rejected};
use crate::limits::DEPTH;
use crate::role::place::Place;

/// What a reader is told. Containers are announced when they open and when they close.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Value<'a> {
    Object,
    Array,
    End,
    Text(&'a [u8]),
    /// A string that did not fit the buffer: fine in a member that nobody reads.
    LongText,
    Number(u64),
    /// A number below zero, which no member that we read may be.
    Negative,
    True,
    False,
    Null,
}

/// A role reader.
pub(crate) trait Reader {
    /// A key of the object at this place has ended, or, with an empty key, an array's item begins: where does
    /// its value stand?
    fn member(&mut self, place: Place, key: &[u8]) -> Result<Place, Fault>;
    /// A value at this place, which is not [`Place::Skip`].
    fn value(&mut self, place: Place, value: Value<'_>) -> Result<(), Fault>;
}

/// A refusal without its file and place, which the caller knows. Two bytes, for most of the verifier's code hands
/// it on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Syntax,
    KeyOrder,
    Truncated,
    Limit(Bound),
    Field(Field),
    DuplicateSignature,
    OtherHardware,
    SequenceOrder,
}

impl Fault {
    /// The refusal of a file, at this byte, and at the candidate of this sequence.
    pub(crate) fn of(self, role: Role, at: u32, sequence: u32) -> Rejected {
        match self {
            Fault::Syntax => Rejected::Syntax { role, at },
            Fault::KeyOrder => Rejected::KeyOrder { role, at },
            Fault::Truncated => Rejected::Truncated { role, at },
            Fault::Limit(bound) => Rejected::Limit { role, bound },
            Fault::Field(field) => Rejected::Field { role, field },
            Fault::DuplicateSignature => Rejected::DuplicateSignature { role },
            Fault::OtherHardware => Rejected::OtherHardware { sequence },
            Fault::SequenceOrder => Rejected::SequenceOrder { sequence },
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// A value must follow.
    Value,
    /// An array was opened: a value or its end.
    FirstValue,
    /// An object was opened: a key or its end.
    FirstKey,
    /// After a comma in an object.
    Key,
    Colon,
    /// After a value: a comma, or the end of the container.
    After,
    Text,
    Escape,
    Unicode,
    Number,
    Literal,
    /// The outermost value is complete.
    Done,
}

/// What becomes of a byte in the canonical form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Echo {
    Keep,
    Drop,
    /// These bytes (the length first) stand in its place.
    Replace(usize, [u8; 4]),
}

#[derive(Clone, Copy)]
struct Level {
    place: Place,
    object: bool,
    /// No key was read yet, so the next one has no predecessor.
    fresh: bool,
    /// The current key's place in the buffer: it ends where the next level's begins. An array has an empty one.
    start: u16,
}

/// Where the canonical form of `signed` goes: into a digest, and where a role's keys need the message itself,
/// into a buffer.
struct Signed<'m> {
    on: bool,
    seen: bool,
    digest: Sha256,
    copy: &'m mut [u8],
    copied: usize,
    copying: bool,
}

pub(crate) struct Scanner<'m> {
    state: State,
    levels: Vec<Level, DEPTH>,
    text: &'m mut [u8],
    /// First byte behind the keys of all open objects: where a string goes.
    top: usize,
    /// Bytes of the string being read that are in the buffer.
    len: usize,
    /// Where the value that comes next stands.
    place: Place,
    is_key: bool,
    /// Length of the predecessor of the key being read.
    previous: usize,
    /// The key being read is, so far, the same as its predecessor.
    equal: bool,
    long: bool,
    /// Code units of a `\u` escape: digits read, the unit, and a high surrogate that waits for its pair.
    digits: u8,
    unit: u16,
    high: Option<u16>,
    /// Continuation bytes that raw UTF-8 still owes, and the range that the next one must lie in.
    owed: u8,
    range: (u8, u8),
    number: u64,
    number_len: u8,
    negative: bool,
    /// First letter of a literal, of which `len` bytes were read.
    literal: u8,
    signed: Signed<'m>,
    at: u32,
}

impl<'m> Scanner<'m> {
    /// `text` holds keys and strings, `copy` the canonical form of `signed` where that is asked for.
    pub(crate) fn new(text: &'m mut [u8], copy: &'m mut [u8]) -> Self {
        Scanner {
            state: State::Value,
            levels: Vec::new(),
            text,
            top: 0,
            len: 0,
            place: Place::Top,
            is_key: false,
            previous: 0,
            equal: false,
            long: false,
            digits: 0,
            unit: 0,
            high: None,
            owed: 0,
            range: CONTINUATION,
            number: 0,
            number_len: 0,
            negative: false,
            literal: 0,
            signed: Signed { on: false, seen: false, digest: Sha256::new(), copy, copied: 0, copying: false },
            at: 0,
        }
    }

    /// Begins another text, whose outermost value stands at this place.
    pub(crate) fn restart(&mut self, place: Place) {
        self.state = State::Value;
        self.levels.clear();
        self.top = 0;
        self.place = place;
        self.high = None;
        self.owed = 0;
        self.range = CONTINUATION;
        self.signed.digest.reset();
        (self.signed.on, self.signed.seen, self.signed.copying) = (false, false, false);
        self.signed.copied = 0;
        self.at = 0;
    }

    /// Keeps the canonical form of `signed`, which has not begun.
    pub(crate) fn keep_message(&mut self) {
        self.signed.copying = true;
    }

    /// The canonical form of `signed`, if it was to be kept and there was room for all of it.
    pub(crate) fn message(&self) -> Option<&[u8]> {
        if self.signed.copying { self.signed.copy.get(..self.signed.copied) } else { None }
    }

    /// Offset of the byte that the last call stopped at, from 0.
    pub(crate) fn at(&self) -> u32 {
        self.at
    }

    /// Reads on. Chunks may end anywhere; how a file is cut never changes the result.
    pub(crate) fn feed(&mut self, chunk: &[u8], reader: &mut dyn Reader) -> Result<(), Fault> {
        // Runs of bytes that are canonical as they stand go into the digest in one piece.
        let (mut from, mut index) = (0_usize, 0_usize);
        while let Some(&byte) = chunk.get(index) {
            let hashed = self.signed.on;
            let (echo, length) = match self.run(chunk.get(index..).unwrap_or_default())? {
                0 => (self.step(byte, reader)?, 1),
                length => (Echo::Keep, length),
            };
            let next = index.saturating_add(length);
            self.advance(length);
            if !hashed {
                // If this byte opened `signed`, the digest starts with it.
                from = index;
            } else {
                if echo != Echo::Keep {
                    self.signed.update(chunk.get(from..index).unwrap_or_default());
                    if let Echo::Replace(len, bytes) = echo {
                        self.signed.update(bytes.get(..len).unwrap_or_default());
                    }
                    from = next;
                }
                if !self.signed.on {
                    self.signed.update(chunk.get(from..next).unwrap_or_default());
                }
            }
            index = next;
        }
        if self.signed.on {
            self.signed.update(chunk.get(from..).unwrap_or_default());
        }
        Ok(())
    }

    /// The text is over: the digest of the canonical form of its member `signed`, if it has one.
    pub(crate) fn finish(&mut self) -> Result<Option<[u8; 32]>, Fault> {
        if self.state != State::Done {
            return Err(Fault::Truncated);
        }
        Ok(self.signed.seen.then(|| self.signed.digest.finalize_reset().into()))
    }

    /// Takes the bytes within a string that stand for themselves, in one piece; returns how many. Most of a
    /// file is such bytes.
    fn run(&mut self, rest: &[u8]) -> Result<usize, Fault> {
        if self.state != State::Text || self.owed > 0 || self.high.is_some() {
            return Ok(0);
        }
        let mut length = 0_usize;
        for &byte in rest {
            if !(0x20..0x80).contains(&byte) || byte == b'"' || byte == b'\\' {
                break;
            }
            length = length.wrapping_add(1);
        }
        let run = rest.get(..length).unwrap_or_default();
        let behind = if self.equal { self.run_of_key(run)? } else { run };
        if self.is_key || self.place != Place::Skip {
            let from = self.top.saturating_add(self.len);
            match self.text.get_mut(from..from.saturating_add(behind.len())) {
                Some(place) => {
                    place.copy_from_slice(behind);
                    self.len = self.len.saturating_add(behind.len());
                }
                None => {
                    let before = run.len().saturating_sub(behind.len());
                    let left = self.text.len().saturating_sub(from).saturating_add(before);
                    self.overflow().inspect_err(|_| self.advance(left))?;
                }
            }
        }
        Ok(length)
    }

    /// Takes of a key what is the same as in its predecessor, and the byte that tells them apart; returns the rest.
    fn run_of_key<'r>(&mut self, run: &'r [u8]) -> Result<&'r [u8], Fault> {
        let from = self.top.saturating_add(self.len);
        let known = self.text.get(from..self.top.saturating_add(self.previous)).unwrap_or_default();
        let same = known.iter().zip(run).take_while(|(known, byte)| known == byte).count();
        self.len = self.len.saturating_add(same);
        let Some((&byte, behind)) = run.get(same..).and_then(<[u8]>::split_first) else { return Ok(&[]) };
        self.push(byte).inspect_err(|_| self.advance(same))?;
        Ok(behind)
    }

    fn advance(&mut self, bytes: usize) {
        self.at = self.at.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    fn step(&mut self, byte: u8, reader: &mut dyn Reader) -> Result<Echo, Fault> {
        match self.state {
            State::Text => self.text_byte(byte, reader),
            State::Escape => self.escape(byte),
            State::Unicode => self.unicode(byte),
            State::Number if byte.is_ascii_digit() => self.digit(byte),
            State::Number => {
                // A number has no end of its own: the byte after it is the next thing.
                self.end_of_number(reader)?;
                self.structure(byte, reader)
            }
            State::Literal => self.literal_byte(byte, reader),
            _ => self.structure(byte, reader),
        }
    }

    fn structure(&mut self, byte: u8, reader: &mut dyn Reader) -> Result<Echo, Fault> {
        if matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
            return Ok(Echo::Drop);
        }
        match (self.state, byte) {
            (State::FirstKey | State::Key, b'"') => self.start_of_text(true),
            (State::Colon, b':') => self.state = State::Value,
            (State::After, b',') => match self.levels.last() {
                Some(Level { object: true, .. }) => self.state = State::Key,
                _ => {
                    self.item(reader)?;
                    self.state = State::Value;
                }
            },
            (State::FirstKey | State::After, b'}') => self.close(true, reader)?,
            (State::FirstValue | State::After, b']') => self.close(false, reader)?,
            (State::Value | State::FirstValue, _) => self.start_of_value(byte, reader)?,
            _ => return Err(Fault::Syntax),
        }
        Ok(Echo::Keep)
    }

    fn start_of_value(&mut self, byte: u8, reader: &mut dyn Reader) -> Result<(), Fault> {
        match byte {
            b'"' => self.start_of_text(false),
            b'{' | b'[' => self.open(byte == b'{', reader)?,
            b'-' | b'0'..=b'9' => {
                self.negative = byte == b'-';
                self.number = u64::from(byte.saturating_sub(b'0'));
                self.number_len = u8::from(!self.negative);
                self.state = State::Number;
            }
            b't' | b'f' | b'n' => {
                (self.literal, self.len) = (byte, 1);
                self.state = State::Literal;
            }
            _ => return Err(Fault::Syntax),
        }
        Ok(())
    }

    fn open(&mut self, object: bool, reader: &mut dyn Reader) -> Result<(), Fault> {
        if !object && matches!(self.place, Place::Top | Place::Signed) {
            return Err(Fault::Field(Field::Signed));
        }
        if self.place == Place::Signed {
            self.signed.on = true;
            self.signed.seen = true;
        }
        self.tell(reader, if object { Value::Object } else { Value::Array })?;
        let start = u16::try_from(self.top).map_err(|_| Fault::Limit(Bound::Text))?;
        let level = Level { place: self.place, object, start, fresh: true };
        self.levels.push(level).map_err(|_| Fault::Limit(Bound::Depth))?;
        self.state = State::FirstKey;
        if !object {
            self.item(reader)?;
            self.state = State::FirstValue;
        }
        Ok(())
    }

    fn close(&mut self, object: bool, reader: &mut dyn Reader) -> Result<(), Fault> {
        match self.levels.pop() {
            Some(level) if level.object == object => {
                self.place = level.place;
                self.top = usize::from(level.start);
            }
            _ => return Err(Fault::Syntax),
        }
        if self.place == Place::Signed {
            self.signed.on = false;
        }
        self.tell(reader, Value::End)?;
        self.end_of_value();
        Ok(())
    }

    fn end_of_value(&mut self) {
        self.state = if self.levels.is_empty() { State::Done } else { State::After };
    }

    /// An array's next item.
    fn item(&mut self, reader: &mut dyn Reader) -> Result<(), Fault> {
        self.place = match self.levels.last() {
            Some(level) if level.place != Place::Skip => reader.member(level.place, b"")?,
            _ => Place::Skip,
        };
        Ok(())
    }

    fn literal_byte(&mut self, byte: u8, reader: &mut dyn Reader) -> Result<Echo, Fault> {
        let (word, value): (&[u8], _) = match self.literal {
            b't' => (b"true", Value::True),
            b'f' => (b"false", Value::False),
            _ => (b"null", Value::Null),
        };
        if word.get(self.len) != Some(&byte) {
            return Err(Fault::Syntax);
        }
        self.len = self.len.saturating_add(1);
        if self.len == word.len() {
            self.tell(reader, value)?;
            self.end_of_value();
        }
        Ok(Echo::Keep)
    }

    fn digit(&mut self, byte: u8) -> Result<Echo, Fault> {
        // `-0` has a second spelling and leading zeros are no JSON: canonical numbers have one form only.
        if self.number == 0 && (self.number_len > 0 || (self.negative && byte == b'0')) {
            return Err(Fault::Syntax);
        }
        let digit = u64::from(byte.saturating_sub(b'0'));
        let number = self.number.checked_mul(10).and_then(|number| number.checked_add(digit));
        // Above 2^64-1 canonicalisers start to disagree.
        self.number = number.ok_or(Fault::Syntax)?;
        self.number_len = self.number_len.saturating_add(1);
        Ok(Echo::Keep)
    }

    fn end_of_number(&mut self, reader: &mut dyn Reader) -> Result<(), Fault> {
        // 2^63 is as far below zero as canonicalisers agree.
        if self.number_len == 0 || (self.negative && self.number > 1 << 63) {
            return Err(Fault::Syntax);
        }
        let value = if self.negative { Value::Negative } else { Value::Number(self.number) };
        self.tell(reader, value)?;
        self.end_of_value();
        Ok(())
    }

    fn start_of_text(&mut self, is_key: bool) {
        self.is_key = is_key;
        self.len = 0;
        self.long = false;
        self.equal = false;
        if let Some(level) = self.levels.last_mut().filter(|_| is_key) {
            // The new key takes the place of its predecessor, byte by byte.
            let start = usize::from(level.start);
            self.previous = self.top.saturating_sub(start);
            self.top = start;
            self.equal = !core::mem::take(&mut level.fresh);
        }
        self.state = State::Text;
    }

    fn text_byte(&mut self, byte: u8, reader: &mut dyn Reader) -> Result<Echo, Fault> {
        if self.high.is_some() && byte != b'\\' {
            return Err(Fault::Syntax);
        }
        if self.owed > 0 {
            if byte < self.range.0 || byte > self.range.1 {
                return Err(Fault::Syntax);
            }
            self.owed = self.owed.saturating_sub(1);
            self.range = CONTINUATION;
            self.push(byte)?;
            return Ok(Echo::Keep);
        }
        match byte {
            b'"' => self.end_of_text(reader)?,
            b'\\' => {
                self.state = State::Escape;
                return Ok(Echo::Drop);
            }
            0..=0x1F => return Err(Fault::Syntax),
            0x20..=0x7F => self.push(byte)?,
            _ => {
                (self.owed, self.range) = utf8_lead(byte).ok_or(Fault::Syntax)?;
                self.push(byte)?;
            }
        }
        Ok(Echo::Keep)
    }

    fn escape(&mut self, byte: u8) -> Result<Echo, Fault> {
        if byte == b'u' {
            self.digits = 0;
            self.unit = 0;
            self.state = State::Unicode;
            return Ok(Echo::Drop);
        }
        let meant = match byte {
            b'"' | b'\\' | b'/' => byte,
            b'b' => 0x08,
            b'f' => 0x0C,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            _ => return Err(Fault::Syntax),
        };
        if self.high.is_some() {
            return Err(Fault::Syntax);
        }
        self.state = State::Text;
        self.push(meant)?;
        Ok(canonical(meant))
    }

    fn unicode(&mut self, byte: u8) -> Result<Echo, Fault> {
        let digit = (byte as char).to_digit(16).and_then(|digit| u16::try_from(digit).ok());
        self.unit = (self.unit << 4) | digit.ok_or(Fault::Syntax)?;
        self.digits = self.digits.saturating_add(1);
        if self.digits < 4 {
            return Ok(Echo::Drop);
        }
        self.state = State::Text;
        let units = match (self.high.take(), self.unit) {
            (None, unit @ 0xD800..=0xDBFF) => {
                self.high = Some(unit);
                return Ok(Echo::Drop);
            }
            (None, unit) => [unit, 0],
            (Some(high), low) => [high, low],
        };
        let count = if matches!(units, [0xD800..=0xDBFF, _]) { 2 } else { 1 };
        let character = char::decode_utf16(units.into_iter().take(count)).next();
        let Some(Ok(character)) = character else { return Err(Fault::Syntax) };
        let mut bytes = [0; 4];
        let len = character.encode_utf8(&mut bytes).len();
        for &byte in bytes.get(..len).unwrap_or_default() {
            self.push(byte)?;
        }
        Ok(if let [byte] = bytes.get(..len).unwrap_or_default() {
            canonical(*byte)
        } else {
            Echo::Replace(len, bytes)
        })
    }

    fn end_of_text(&mut self, reader: &mut dyn Reader) -> Result<(), Fault> {
        let end = self.top.saturating_add(self.len);
        let text = self.text.get(self.top..end).unwrap_or_default();
        if !self.is_key {
            if self.place != Place::Skip {
                reader.value(self.place, if self.long { Value::LongText } else { Value::Text(text) })?;
            }
            self.end_of_value();
            return Ok(());
        }
        // Equal so far and not longer than its predecessor: the same key, or a prefix of it.
        if self.equal && self.len <= self.previous {
            return Err(Fault::KeyOrder);
        }
        self.place = match self.levels.last() {
            Some(level) if level.place != Place::Skip => reader.member(level.place, text)?,
            _ => Place::Skip,
        };
        self.top = end;
        self.state = State::Colon;
        Ok(())
    }

    /// Takes a decoded byte of a key or string into the buffer.
    fn push(&mut self, byte: u8) -> Result<(), Fault> {
        let Some(place) = self.text.get_mut(self.top.saturating_add(self.len)) else {
            return self.overflow();
        };
        if self.equal {
            if self.len >= self.previous || byte > *place {
                self.equal = false;
            } else if byte < *place {
                return Err(Fault::KeyOrder);
            }
        }
        *place = byte;
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// The buffer is full: a key must be held, a string need not.
    fn overflow(&mut self) -> Result<(), Fault> {
        if self.is_key {
            return Err(Fault::Limit(Bound::Text));
        }
        self.long = true;
        Ok(())
    }

    fn tell(&self, reader: &mut dyn Reader, value: Value<'_>) -> Result<(), Fault> {
        if self.place == Place::Skip { Ok(()) } else { reader.value(self.place, value) }
    }
}

impl Signed<'_> {
    fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
        if self.copying {
            let end = self.copied.saturating_add(bytes.len());
            match self.copy.get_mut(self.copied..end) {
                Some(place) => {
                    place.copy_from_slice(bytes);
                    self.copied = end;
                }
                // Behind the buffer's end there is nothing: a message that does not fit is none.
                None => self.copied = usize::MAX,
            }
        }
    }
}

const CONTINUATION: (u8, u8) = (0x80, 0xBF);

/// Continuation bytes after a lead byte, and the range of the first (Unicode, table 3-7).
fn utf8_lead(byte: u8) -> Option<(u8, (u8, u8))> {
    Some(match byte {
        0xC2..=0xDF => (1, CONTINUATION),
        0xE0 => (2, (0xA0, 0xBF)),
        0xE1..=0xEC | 0xEE..=0xEF => (2, CONTINUATION),
        0xED => (2, (0x80, 0x9F)),
        0xF0 => (3, (0x90, 0xBF)),
        0xF1..=0xF3 => (3, CONTINUATION),
        0xF4 => (3, (0x80, 0x8F)),
        _ => return None,
    })
}

/// How a decoded byte stands in a canonical string.
fn canonical(byte: u8) -> Echo {
    match byte {
        b'"' | b'\\' => Echo::Replace(2, [b'\\', byte, 0, 0]),
        _ => Echo::Replace(1, [byte, 0, 0, 0]),
    }
}

#[cfg(test)]
mod tests;
