//! The streaming scanner: one pass that parses JSON, canonicalises it and hashes it.
//!
//! Design:
//!
//! * The bytes that are hashed are the bytes that are parsed. What a role reader sees and what goes into
//!   the digest come out of the same step, so no second reading of a file can disagree with the signed one.
//! * Memory is one buffer. It holds, end to end, the current key of every open object and behind them the
//!   string being read; a key is compared with its predecessor while it overwrites it.
//! * Every object's keys must strictly ascend. That makes the canonical form a matter of dropping white
//!   space and re-encoding strings, and refuses duplicate keys, which parsers are known to disagree on.
//! * Only the member `signed` of the outermost object is hashed, in the OLPC canonical form that TUF signs:
//!   strings escape `"` and `\` alone, so a PEM key's `\n` goes into the digest as a raw line feed.

use heapless::Vec;
use sha2::{Digest, Sha256};

use crate::Role;
use crate::error::{Bound, Field, Rejected};
use crate::limits::{DEPTH, TEXT};

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

/// A role reader. The path holds the key at each open object, and an empty slice at each open array.
pub(crate) trait Reader {
    fn value(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault>;
}

/// A refusal without its file and place, which the caller knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    Syntax,
    KeyOrder,
    Truncated,
    Limit(Bound),
    Field(Field),
    Rejected(Rejected),
}

impl Fault {
    /// The refusal of a file, at this byte.
    pub(crate) fn of(self, role: Role, at: u32) -> Rejected {
        match self {
            Fault::Syntax => Rejected::Syntax { role, at },
            Fault::KeyOrder => Rejected::KeyOrder { role, at },
            Fault::Truncated => Rejected::Truncated { role, at },
            Fault::Limit(bound) => Rejected::Limit { role, bound },
            Fault::Field(field) => Rejected::Field { role, field },
            Fault::Rejected(rejected) => rejected,
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
    object: bool,
    /// The current key's place in the buffer. An array has an empty one.
    start: usize,
    len: usize,
    /// No key was read yet, so the next one has no predecessor.
    fresh: bool,
}

/// How the key being read compares with its predecessor so far.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Equal,
    Greater,
}

pub(crate) struct Scanner {
    state: State,
    levels: Vec<Level, DEPTH>,
    text: [u8; TEXT],
    /// Bytes of the string being read that are in the buffer.
    len: usize,
    is_key: bool,
    order: Order,
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
    literal: (&'static [u8], usize),
    hashing: bool,
    signed: Sha256,
    saw_signed: bool,
    at: u32,
}

impl Scanner {
    pub(crate) fn new() -> Self {
        Scanner {
            state: State::Value,
            levels: Vec::new(),
            text: [0; TEXT],
            len: 0,
            is_key: false,
            order: Order::Greater,
            long: false,
            digits: 0,
            unit: 0,
            high: None,
            owed: 0,
            range: CONTINUATION,
            number: 0,
            number_len: 0,
            negative: false,
            literal: (b"", 0),
            hashing: false,
            signed: Sha256::new(),
            saw_signed: false,
            at: 0,
        }
    }

    /// Offset of the byte that the last call stopped at, from 0.
    pub(crate) fn at(&self) -> u32 {
        self.at
    }

    /// Reads on. Chunks may end anywhere; how a file is cut never changes the result.
    pub(crate) fn feed(&mut self, chunk: &[u8], reader: &mut dyn Reader) -> Result<(), Fault> {
        // Runs of bytes that are canonical as they stand go into the digest in one piece.
        let mut from = 0;
        for (index, &byte) in chunk.iter().enumerate() {
            let hashed = self.hashing;
            let echo = self.step(byte, reader)?;
            self.at = self.at.saturating_add(1);
            if !hashed {
                // If this byte opened `signed`, the digest starts with it.
                from = index;
                continue;
            }
            let next = index.saturating_add(1);
            if echo != Echo::Keep {
                self.signed.update(chunk.get(from..index).unwrap_or_default());
                if let Echo::Replace(len, bytes) = echo {
                    self.signed.update(bytes.get(..len).unwrap_or_default());
                }
                from = next;
            }
            if !self.hashing {
                self.signed.update(chunk.get(from..next).unwrap_or_default());
            }
        }
        if self.hashing {
            self.signed.update(chunk.get(from..).unwrap_or_default());
        }
        Ok(())
    }

    /// The text is over: the digest of the canonical form of its member `signed`, if it has one.
    pub(crate) fn finish(&mut self) -> Result<Option<[u8; 32]>, Fault> {
        if self.state != State::Done {
            return Err(Fault::Truncated);
        }
        Ok(self.saw_signed.then(|| self.signed.finalize_reset().into()))
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
            (State::After, b',') => {
                let object = self.levels.last().is_some_and(|level| level.object);
                self.state = if object { State::Key } else { State::Value };
            }
            (State::FirstKey, b'}') => self.close(true, reader)?,
            (State::FirstValue, b']') => self.close(false, reader)?,
            (State::After, b'}') => self.close(true, reader)?,
            (State::After, b']') => self.close(false, reader)?,
            (State::Value | State::FirstValue, _) => self.start_of_value(byte, reader)?,
            _ => return Err(Fault::Syntax),
        }
        Ok(Echo::Keep)
    }

    fn start_of_value(&mut self, byte: u8, reader: &mut dyn Reader) -> Result<(), Fault> {
        match byte {
            b'"' => self.start_of_text(false),
            b'{' => self.open(true, reader)?,
            b'[' => self.open(false, reader)?,
            b'-' | b'0'..=b'9' => {
                self.negative = byte == b'-';
                self.number = u64::from(byte.saturating_sub(b'0'));
                self.number_len = u8::from(!self.negative);
                self.state = State::Number;
            }
            b't' => self.start_of_literal(b"true"),
            b'f' => self.start_of_literal(b"false"),
            b'n' => self.start_of_literal(b"null"),
            _ => return Err(Fault::Syntax),
        }
        Ok(())
    }

    fn open(&mut self, object: bool, reader: &mut dyn Reader) -> Result<(), Fault> {
        if self.is_signed() {
            if !object {
                return Err(Fault::Field(Field::Signed));
            }
            self.hashing = true;
            self.saw_signed = true;
        }
        if self.levels.is_empty() && !object {
            return Err(Fault::Field(Field::Signed));
        }
        self.tell(reader, if object { Value::Object } else { Value::Array })?;
        let level = Level { object, start: self.top(), len: 0, fresh: true };
        self.levels.push(level).map_err(|_| Fault::Limit(Bound::Depth))?;
        self.state = if object { State::FirstKey } else { State::FirstValue };
        Ok(())
    }

    fn close(&mut self, object: bool, reader: &mut dyn Reader) -> Result<(), Fault> {
        match self.levels.pop() {
            Some(level) if level.object == object => {}
            _ => return Err(Fault::Syntax),
        }
        if self.is_signed() {
            self.hashing = false;
        }
        self.tell(reader, Value::End)?;
        self.end_of_value();
        Ok(())
    }

    fn end_of_value(&mut self) {
        self.state = if self.levels.is_empty() { State::Done } else { State::After };
    }

    /// Whether the value at hand is the member `signed` of the outermost object.
    fn is_signed(&self) -> bool {
        match self.levels.as_slice() {
            [outermost] => self.key(outermost) == b"signed",
            _ => false,
        }
    }

    fn start_of_literal(&mut self, literal: &'static [u8]) {
        self.literal = (literal, 1);
        self.state = State::Literal;
    }

    fn literal_byte(&mut self, byte: u8, reader: &mut dyn Reader) -> Result<Echo, Fault> {
        let (literal, read) = self.literal;
        if literal.get(read) != Some(&byte) {
            return Err(Fault::Syntax);
        }
        let read = read.saturating_add(1);
        self.literal = (literal, read);
        if read == literal.len() {
            let value = match literal.first() {
                Some(b't') => Value::True,
                Some(b'f') => Value::False,
                _ => Value::Null,
            };
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
        self.order = match self.levels.last() {
            Some(level) if is_key && !level.fresh => Order::Equal,
            _ => Order::Greater,
        };
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
        if !self.is_key {
            let start = self.top();
            let end = start.saturating_add(self.len);
            if self.long {
                self.tell(reader, Value::LongText)?;
            } else {
                let text = self.text.get(start..end).unwrap_or_default();
                reader.value(&self.path(), Value::Text(text))?;
            }
            self.end_of_value();
            return Ok(());
        }
        let len = self.len;
        let order = self.order;
        let level = self.levels.last_mut().ok_or(Fault::Syntax)?;
        // Equal so far and not longer than its predecessor: the same key, or a prefix of it.
        if order == Order::Equal && len <= level.len {
            return Err(Fault::KeyOrder);
        }
        level.len = len;
        level.fresh = false;
        self.state = State::Colon;
        Ok(())
    }

    /// Takes a decoded byte of a key or string into the buffer.
    fn push(&mut self, byte: u8) -> Result<(), Fault> {
        let (start, previous) = match self.levels.last() {
            Some(level) if self.is_key => (level.start, level.len),
            _ => (self.top(), 0),
        };
        let place = start.checked_add(self.len).and_then(|place| self.text.get_mut(place));
        let Some(place) = place else {
            if self.is_key {
                return Err(Fault::Limit(Bound::Text));
            }
            self.long = true;
            return Ok(());
        };
        if self.order == Order::Equal {
            if self.len >= previous || byte > *place {
                self.order = Order::Greater;
            } else if byte < *place {
                return Err(Fault::KeyOrder);
            }
        }
        *place = byte;
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// First free byte of the buffer.
    fn top(&self) -> usize {
        self.levels.last().map_or(0, |level| level.start.saturating_add(level.len))
    }

    fn key(&self, level: &Level) -> &[u8] {
        self.text.get(level.start..level.start.saturating_add(level.len)).unwrap_or_default()
    }

    fn path(&self) -> Vec<&[u8], DEPTH> {
        self.levels.iter().map(|level| self.key(level)).collect()
    }

    fn tell(&self, reader: &mut dyn Reader, value: Value<'_>) -> Result<(), Fault> {
        reader.value(&self.path(), value)
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
