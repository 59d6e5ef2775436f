//! Canonical bytes, judged and turned into their other form where they lie. No value is built of them: that of a role
//! with many targets takes ten times the memory of its bytes.

use core::iter;
use std::borrow::Cow;

use super::Control;

/// Objects and arrays within each other, at the most: as many as serde_json's recursion limit lets [`super::parse`] read.
const DEPTH: usize = 127;

/// Where bytes are not canonical, and why not.
pub(super) struct Fault {
    pub(super) at: usize,
    pub(super) what: &'static str,
    /// Whether they might be JSON, of another form.
    pub(super) is_json: bool,
}

/// Whether bytes are canonical in this form: of one value, nothing before and nothing after.
pub(super) fn walk(bytes: &[u8], form: Control) -> Result<(), Fault> {
    let mut walker = Walker { bytes, at: 0, form };
    walker.value(DEPTH)?;
    if walker.at == bytes.len() { Ok(()) } else { walker.broken("something behind the end") }
}

struct Walker<'b> {
    bytes: &'b [u8],
    at: usize,
    form: Control,
}

/// The name of a member between its quotes.
#[derive(Clone, Copy)]
struct Name<'b> {
    text: &'b [u8],
    has_escapes: bool,
}

impl<'b> Walker<'b> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    /// Whether this byte comes next, which is passed then.
    fn takes(&mut self, byte: u8) -> bool {
        let there = self.peek() == Some(byte);
        self.at += usize::from(there);
        there
    }

    /// JSON that another writer may have written.
    fn fault<T>(&self, what: &'static str) -> Result<T, Fault> {
        Err(Fault { at: self.at, what, is_json: true })
    }

    /// No JSON, unless that comes behind white space.
    fn broken<T>(&self, what: &'static str) -> Result<T, Fault> {
        match self.peek() {
            Some(b' ' | b'\n' | b'\r' | b'\t') => self.fault("white space"),
            _ => Err(Fault { at: self.at, what, is_json: false }),
        }
    }

    /// A value, `depth` objects and arrays deep at the most.
    fn value(&mut self, depth: usize) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string().map(drop),
            Some(b'{') => self.object(depth),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            _ => self.literal(),
        }
    }

    fn object(&mut self, depth: usize) -> Result<(), Fault> {
        let depth = self.enter(depth)?;
        if self.takes(b'}') {
            return Ok(());
        }
        let mut before: Option<Name<'b>> = None;
        loop {
            let start = self.at;
            let name = self.string()?;
            // Ascending strictly, so that none stands twice.
            if before.is_some_and(|before| !before.precedes(name)) {
                self.at = start;
                return self.fault("a member that should stand before another");
            }
            before = Some(name);
            if !self.takes(b':') {
                return self.broken("no colon behind a name");
            }
            self.value(depth)?;
            if self.takes(b'}') {
                return Ok(());
            }
            if !self.takes(b',') {
                return self.broken("neither a comma nor the end of an object");
            }
        }
    }

    fn array(&mut self, depth: usize) -> Result<(), Fault> {
        let depth = self.enter(depth)?;
        if self.takes(b']') {
            return Ok(());
        }
        loop {
            self.value(depth)?;
            if self.takes(b']') {
                return Ok(());
            }
            if !self.takes(b',') {
                return self.broken("neither a comma nor the end of an array");
            }
        }
    }

    /// Passes the bracket that opens something.
    fn enter(&mut self, depth: usize) -> Result<usize, Fault> {
        let Some(depth) = depth.checked_sub(1) else {
            return self.broken("too many things within each other");
        };
        self.at += 1;
        Ok(depth)
    }

    fn string(&mut self) -> Result<Name<'b>, Fault> {
        if !self.takes(b'"') {
            return self.broken("no text in quotes where one should be");
        }
        let (start, mut has_escapes) = (self.at, false);
        loop {
            let rest = &self.bytes[self.at..];
            let form = self.form;
            let Some(plain) = rest.iter().position(|byte| ends_run(*byte, form)) else {
                self.at = self.bytes.len();
                return self.broken("a text without an end");
            };
            self.at += plain;
            match rest[plain] {
                b'"' => {
                    let text = &self.bytes[start..self.at];
                    self.at += 1;
                    return Ok(Name { text, has_escapes });
                }
                b'\\' => {
                    has_escapes = true;
                    match escape(&rest[plain..], form) {
                        Some(length) => self.at += length,
                        None => return self.fault("an escape that is not needed"),
                    }
                }
                0..0x20 => return self.fault("a control character that is not escaped"),
                _ => return self.fault("text beyond ASCII"),
            }
        }
    }

    fn integer(&mut self) -> Result<(), Fault> {
        let rest = &self.bytes[self.at..];
        let negative = rest.first() == Some(&b'-');
        let digits = &rest[usize::from(negative)..];
        let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, length) = (&digits[..length], length + usize::from(negative));
        let written = core::str::from_utf8(&rest[..length]).unwrap_or_default();
        let fits = match negative {
            true => written.parse::<i64>().is_ok(),
            false => written.parse::<u64>().is_ok(),
        };
        // One way to write each: no zero before other digits, and none with a sign.
        let zero_first = digits.first() == Some(&b'0') && length > 1;
        if !fits || zero_first {
            return self.fault("a number that is no 64-bit integer");
        }
        self.at += length;
        Ok(())
    }

    fn literal(&mut self) -> Result<(), Fault> {
        let rest = &self.bytes[self.at..];
        let found = [&b"null"[..], b"true", b"false"].into_iter().find(|literal| rest.starts_with(literal));
        match found {
            Some(literal) => self.at += literal.len(),
            None if rest.is_empty() => return self.broken("the end before its time"),
            None => return self.broken("no value where one should be"),
        }
        Ok(())
    }
}

/// The members of an object that [`walk`] has looked at, in their order.
#[derive(Clone)]
pub(super) struct Members<'b> {
    /// From the name of the next one on.
    rest: &'b [u8],
}

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Member<'b> {
    name: Name<'b>,
    /// Its value.
    pub(super) value: &'b [u8],
    /// Name and value as they stand.
    pub(super) text: &'b [u8],
}

impl<'b> Members<'b> {
    /// Of any other value there are none.
    pub(super) fn of(object: &'b [u8]) -> Members<'b> {
        Members { rest: object.strip_prefix(b"{").unwrap_or_default() }
    }

    /// Passes the next one if it is this very text.
    fn passes(&mut self, text: &[u8]) -> bool {
        match self.rest.strip_prefix(text) {
            Some([b',' | b'}', rest @ ..]) => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }
}

impl<'b> Iterator for Members<'b> {
    type Item = Member<'b>;

    fn next(&mut self) -> Option<Member<'b>> {
        let [b'"', ..] = self.rest else { return None };
        let (quoted, has_escapes) = text_length(self.rest);
        let colon = quoted + 1;
        let end = colon + value_length(&self.rest[colon..]);
        let member = Member {
            name: Name { text: &self.rest[1..quoted - 1], has_escapes },
            value: &self.rest[colon..end],
            text: &self.rest[..end],
        };
        // A comma, or the end.
        self.rest = self.rest.get(end + 1..).unwrap_or_default();
        Some(member)
    }
}

impl<'b> Member<'b> {
    /// Its name as it stands between its quotes.
    pub(super) fn name(self) -> &'b [u8] {
        self.name.text
    }
}

/// How long the text in quotes is that checked bytes begin with, and whether it has escapes.
fn text_length(bytes: &[u8]) -> (usize, bool) {
    let (mut at, mut has_escapes) = (1, false);
    while let Some(plain) = bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\')) {
        at += plain;
        if bytes[at] == b'"' {
            return (at + 1, has_escapes);
        }
        (at, has_escapes) = (bytes.len().min(at + 2), true);
    }
    (bytes.len(), has_escapes)
}

/// How long the value is that checked bytes begin with.
fn value_length(bytes: &[u8]) -> usize {
    let (mut at, mut depth) = (0, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => at += text_length(&bytes[at..]).0,
            b'{' | b'[' => (at, depth) = (at + 1, depth + 1),
            b'}' | b']' if depth > 0 => (at, depth) = (at + 1, depth - 1),
            b',' | b'}' | b']' if depth == 0 => return at,
            // Numbers and words end where one of those comes.
            _ => {
                at += 1;
                continue;
            }
        }
        if depth == 0 {
            return at;
        }
    }
    at
}

/// What only one of two checked objects has: members of `before`, members of `after`, and how many both have.
pub(super) fn differing<'b>(before: &'b [u8], after: &'b [u8]) -> (Vec<Member<'b>>, Vec<Member<'b>>, usize) {
    let (mut gone, mut new, mut same) = (Vec::new(), Vec::new(), 0);
    let (mut old, members) = (Members::of(before), Members::of(after));
    // Of the old ones, the one that comes next, if it was looked at.
    let mut next: Option<Member<'b>> = None;
    for member in members {
        // Most are the same, and come at the same time: those are not looked at, only compared.
        let mut found = next.is_none() && old.passes(member.text);
        while !found {
            next = next.or_else(|| old.next());
            let Some(known) = next.take_if(|known| !member.name.precedes(known.name)) else { break };
            found = known.text == member.text;
            if !found {
                gone.push(known);
            }
        }
        match found {
            true => same += 1,
            false => new.push(member),
        }
    }
    gone.extend(next.into_iter().chain(old));
    (gone, new, same)
}

impl Name<'_> {
    /// In the order of what the names say, not of how they are escaped.
    fn precedes(self, other: Name<'_>) -> bool {
        match self.has_escapes || other.has_escapes {
            false => self.text < other.text,
            true => decoded(self.text).lt(decoded(other.text)),
        }
    }
}

/// Whether a byte is anything else than itself in a text of this form.
fn ends_run(byte: u8, form: Control) -> bool {
    match form {
        Control::Raw => matches!(byte, b'"' | b'\\' | 0x80..),
        Control::Escaped => matches!(byte, b'"' | b'\\' | 0x80.. | 0..0x20),
        Control::RawAnyText => matches!(byte, b'"' | b'\\'),
    }
}

/// The length of the escape that `text` begins with, if this form has it.
fn escape(text: &[u8], form: Control) -> Option<usize> {
    match (text, form) {
        ([b'\\', b'"' | b'\\', ..], _) => Some(2),
        ([b'\\', b'n' | b'r' | b't', ..], Control::Escaped) => Some(2),
        ([b'\\', b'u', b'0', b'0', high @ (b'0' | b'1'), low, ..], Control::Escaped) => {
            let hexadecimal = matches!(low, b'0'..=b'9' | b'a'..=b'f');
            // Those have shorter ones.
            let shorter = matches!([*high, *low], [b'0', b'9' | b'a' | b'd']);
            (hexadecimal && !shorter).then_some(6)
        }
        _ => None,
    }
}

/// What a text says whose escapes were looked at before.
pub(super) fn decoded(mut text: &[u8]) -> impl Iterator<Item = u8> {
    iter::from_fn(move || {
        let (byte, rest) = first(text)?;
        text = rest;
        Some(byte)
    })
}

/// The byte that a text begins with, or what its first escape stands for; and the rest.
fn first(text: &[u8]) -> Option<(u8, &[u8])> {
    Some(match text {
        [b'\\', b'n', rest @ ..] => (b'\n', rest),
        [b'\\', b'r', rest @ ..] => (b'\r', rest),
        [b'\\', b't', rest @ ..] => (b'\t', rest),
        [b'\\', b'u', _, _, high, low, rest @ ..] => {
            let digit = |byte: &u8| char::from(*byte).to_digit(16).unwrap_or_default() as u8;
            (digit(high) << 4 | digit(low), rest)
        }
        [b'\\', byte, rest @ ..] | [byte, rest @ ..] => (*byte, rest),
        [] => return None,
    })
}

/// Signed bytes as they are published. Control characters stand in texts alone: [`walk`] has seen to that.
pub(super) fn escaped(signed: &[u8]) -> Cow<'_, [u8]> {
    let controls = signed.iter().filter(|byte| **byte < 0x20).count();
    if controls == 0 {
        return Cow::Borrowed(signed);
    }
    // Newlines of PEM texts, as a rule.
    let mut out = Vec::with_capacity(signed.len() + 2 * controls);
    let mut rest = signed;
    while let Some(plain) = rest.iter().position(|byte| *byte < 0x20) {
        out.extend_from_slice(&rest[..plain]);
        super::escape_control(rest[plain], &mut out);
        rest = &rest[plain + 1..];
    }
    out.extend_from_slice(rest);
    Cow::Owned(out)
}

/// Published bytes, which [`walk`] has looked at, as they are signed.
pub(super) fn unescaped(published: &[u8]) -> Cow<'_, [u8]> {
    let mut out: Option<Vec<u8>> = None;
    let (mut copied, mut at) = (0, 0);
    while let Some(plain) = published[at..].iter().position(|byte| *byte == b'\\') {
        at += plain;
        match published[at..] {
            [b'\\', b'"' | b'\\', ..] => at += 2,
            _ => {
                let Some((byte, rest)) = first(&published[at..]) else { break };
                let out = out.get_or_insert_with(|| Vec::with_capacity(published.len()));
                out.extend_from_slice(&published[copied..at]);
                out.push(byte);
                at = published.len() - rest.len();
                copied = at;
            }
        }
    }
    match out {
        None => Cow::Borrowed(published),
        Some(mut out) => {
            out.extend_from_slice(&published[copied..]);
            Cow::Owned(out)
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::super::tests::ascii_values;
    use super::super::{
        check_signed, parse, parse_signed, published_bytes, published_of_signed, signed_bytes,
        signed_of_published,
    };
    use super::*;
    use crate::Role;
    use crate::key::SigningKey;
    use crate::root::Draft;

    /// Another way to judge signed bytes: reads a value of them with serde_json, and writes that again.
    fn read_signed(bytes: &[u8]) -> Option<Value> {
        // Raw control characters are legal inside canonical strings alone. Anywhere else the escape that replaces
        // them here is no JSON.
        let mut json = Vec::new();
        for &byte in bytes {
            match byte {
                0..0x20 => json.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
                _ => json.push(byte),
            }
        }
        parse(&json).ok().filter(|value| signed_bytes(value).is_ok_and(|written| written == bytes))
    }

    /// The same for published bytes.
    fn read_published(bytes: &[u8]) -> Option<Value> {
        parse(bytes).ok().filter(|value| published_bytes(value).is_ok_and(|written| written == bytes))
    }

    /// Holds both ways against each other. Whether the bytes are canonical signed or published ones.
    fn judged_alike(bytes: &[u8]) -> (bool, bool) {
        let shown = String::from_utf8_lossy(bytes);
        let signed = read_signed(bytes);
        assert_eq!(check_signed(bytes).is_ok(), signed.is_some(), "signed {shown:?}");
        assert_eq!(parse_signed(bytes).ok(), signed, "{shown:?}");
        let published = published_of_signed(bytes).ok().map(Cow::into_owned);
        assert_eq!(published, signed.as_ref().map(|value| published_bytes(value).unwrap()), "{shown:?}");
        if let Some(published) = &published {
            assert_eq!(signed_of_published(published).unwrap(), bytes, "{shown:?} and back");
        }

        let published = read_published(bytes);
        let back = signed_of_published(bytes).ok().map(Cow::into_owned);
        assert_eq!(back, published.as_ref().map(|value| signed_bytes(value).unwrap()), "published {shown:?}");
        if let Some(back) = &back {
            assert_eq!(published_of_signed(back).unwrap(), bytes, "{shown:?} and back");
        }
        (signed.is_some(), published.is_some())
    }

    /// What the parts of a root and of targets look like, small enough to be changed at every byte.
    fn real_values() -> [Value; 2] {
        let key = SigningKey::generate().unwrap();
        let mut draft = Draft::new(1_795_353_255, 1_795_353_255 + 365 * 86_400);
        for role in Role::TOP_LEVEL {
            draft.add_key(&role, key.public()).unwrap();
        }
        let targets = json!({
            "_type": "targets", "version": 7, "spec_version": "1.0.34",
            "issued": "2026-11-01T13:14:15Z", "expires": "2026-11-20T00:00:00Z",
            "delegations": { "keys": { "k": key.public().to_value() }, "succinct_roles": {
                "bit_length": 10, "keyids": ["k"], "name_prefix": "bin", "threshold": 1 } },
            "targets": { "a/b": { "custom": { "at\t\u{1}": [null, true, -3] }, "hashes": { "sha256": "ab" }, "length": 0 },
                "a\\\"c": { "hashes": {}, "length": u64::MAX } },
        });
        [draft.signed().unwrap(), targets]
    }

    #[test]
    fn check_of_real_files_with_any_byte_changed_agrees_with_the_other_reader() {
        for value in real_values() {
            for whole in [signed_bytes(&value).unwrap(), published_bytes(&value).unwrap()] {
                let mut refused = 0;
                for index in 0..whole.len() {
                    for byte in [0, b'\n', b' ', b'"', b'\\', b',', b'0', b'A', b'u', b'}', 0x7f, 0x80, 0xff]
                    {
                        let mut changed = whole.clone();
                        changed[index] = byte;
                        refused += usize::from(judged_alike(&changed) == (false, false));
                        changed.insert(index, whole[index]);
                        refused += usize::from(judged_alike(&changed) == (false, false));
                    }
                    let without = [&whole[..index], &whole[index + 1..]].concat();
                    judged_alike(&without);
                    assert_eq!(judged_alike(&whole[..index]), (false, false), "cut at {index}");
                }
                let (signed, published) = judged_alike(&whole);
                assert!(signed || published);
                assert!(refused > whole.len(), "{refused} of {}", whole.len());
            }
        }
    }

    #[test]
    fn check_of_numbers_takes_those_that_are_written_so() {
        let accepted = |text: &str| judged_alike(text.as_bytes()) == (true, true);
        for good in ["0", "1", "-1", "18446744073709551615", "-9223372036854775808"] {
            assert!(accepted(good), "{good}");
        }
        for bad in
            ["18446744073709551616", "-9223372036854775809", "-0", "00", "01", "-01", "-", "1.0", "1e3"]
        {
            assert!(!accepted(bad), "{bad}");
        }
        // All of four letters.
        let letters = b"-+0159.eE ,";
        for number in 0..letters.len().pow(4) {
            let text: Vec<u8> =
                (0..4).map(|place| letters[number / letters.len().pow(place) % letters.len()]).collect();
            for length in 1..=4 {
                judged_alike(&text[..length]);
            }
        }
    }

    #[test]
    fn check_of_texts_takes_the_one_escape_that_each_byte_has() {
        let (mut signed, mut published) = (0, 0);
        // In a value, in a name, and before and behind others.
        for [before, behind] in [["\"", "\""], ["{\"a", "z\":1}"], ["\"\\\\", "\\\\\""]] {
            for first in 0..=255 {
                for escape in [&[first][..], &[b'\\', first], &[b'\\', first, b'0']] {
                    let (s, p) = judged_alike(&[before.as_bytes(), escape, behind.as_bytes()].concat());
                    (signed, published) = (signed + usize::from(s), published + usize::from(p));
                }
                for format in
                    [format!("\\u{first:04x}"), format!("\\u{first:04X}"), format!("\\u{first:03x}")]
                {
                    let (s, p) =
                        judged_alike(&[before.as_bytes(), format.as_bytes(), behind.as_bytes()].concat());
                    (signed, published) = (signed + usize::from(s), published + usize::from(p));
                }
            }
        }
        assert!(signed > 3 * 126 && published > 3 * (94 + 32), "{signed} {published}");
    }

    /// Names stand in the order of what they say: an escaped newline comes before a blank, and its backslash behind.
    #[test]
    fn check_of_escaped_names_goes_by_what_they_say() {
        let names = [
            "", "\\n", "\\t", "\\u0001", "\\u001f", " ", "\\\"", "#", "[", "\\\\", "]", "\n", "\u{1}",
            "\\\\n",
        ];
        let mut accepted = 0;
        for first in names {
            for second in names {
                for (before, behind) in [("", ""), ("x", ""), ("", "x"), ("\\\\", "\\\"")] {
                    let text = format!("{{\"{before}{first}{behind}\":1,\"{before}{second}{behind}\":2}}");
                    let (signed, published) = judged_alike(text.as_bytes());
                    accepted += usize::from(signed || published);
                }
            }
        }
        assert!(accepted > 4 * 60, "{accepted}");
    }

    #[test]
    fn check_of_deep_things_ends_where_the_other_reader_does() {
        for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
            let per = open.matches(['[', '{']).count();
            let deep = |depth: usize| format!("{}1{}", open.repeat(depth / per), close.repeat(depth / per));
            for depth in [2, 124, 126, 127, 128, 130, 100_000] {
                let accepted = judged_alike(deep(depth).as_bytes()).0;
                assert_eq!(accepted, depth / per * per <= DEPTH, "{depth} of {open}");
            }
        }
    }

    /// What differs between two objects, by their values.
    fn differing_values(before: &Value, after: &Value) -> (Value, Value, usize) {
        let only = |here: &Value, there: &Value| -> Value {
            let members = here.as_object().into_iter().flatten();
            let alone = members.filter(|(name, value)| there.get(name) != Some(value));
            Value::Object(alone.map(|(name, value)| (name.clone(), value.clone())).collect())
        };
        let (gone, new) = (only(before, after), only(after, before));
        let same = after.as_object().unwrap().len() - new.as_object().unwrap().len();
        (gone, new, same)
    }

    fn assert_differing(before: &Value, after: &Value) {
        let bytes = [before, after].map(|value| signed_bytes(value).unwrap());
        let (gone, new, same) = super::super::differing(&bytes[0], &bytes[1]);
        let read = [gone, new].map(|object| parse_signed(&object).unwrap());
        let (gone, new, expected) = differing_values(before, after);
        assert_eq!((read, same), ([gone, new], expected), "{before} and {after}");
    }

    #[test]
    fn differing_members_are_the_gone_the_new_and_the_changed_ones() {
        let values =
            [json!(1), json!(12), json!("a\"}"), json!({ "x": [1, { "y": "," }] }), json!([]), json!({})];
        let names = ["a", "a\"", "a\\", "b", "ba"];
        let object = |choice: usize| -> Value {
            let member = |(index, name): (usize, &&str)| {
                let chosen = choice / 4_usize.pow(u32::try_from(index).unwrap()) % 4;
                chosen
                    .checked_sub(1)
                    .map(|chosen| ((*name).to_owned(), values[(index + 2 * chosen) % 6].clone()))
            };
            Value::Object(names.iter().enumerate().filter_map(member).collect())
        };
        let count = 4_usize.pow(5);
        for choice in 0..count {
            for other in [0, 1, choice, choice * 7 % count, (choice + 1) % count, count - 1 - choice] {
                assert_differing(&object(choice), &object(other));
            }
        }
    }

    #[test]
    fn differing_members_before_a_large_one_look_at_it_once() {
        // Looked at once for each, it would take minutes.
        let large = json!({ "z": "x".repeat(4 << 20) });
        let mut many = large.clone();
        for number in 0..20_000 {
            many[format!("a{number:05}")] = json!(number);
        }
        let [large, many] = [&large, &many].map(|value| signed_bytes(value).unwrap());
        let (gone, new, same) = super::super::differing(&large, &many);
        assert_eq!((gone.as_slice(), same), (&b"{}"[..], 1));
        assert_eq!(super::super::members(&new).count(), 20_000);
    }

    #[test]
    fn members_of_an_object_are_given_as_they_stand() {
        let bytes = b"{\"a\":{\"b\":1},\"b\":[2,\"x\ny\"],\"c\":3}";
        let found: Vec<_> = super::super::members(bytes).collect();
        assert_eq!(found, [(&b"a"[..], &b"{\"b\":1}"[..]), (b"b", b"[2,\"x\ny\"]"), (b"c", b"3")]);
        assert_eq!(super::super::members(b"[{\"a\":1}]").next(), None);
        let both = super::super::published_members(b"{\"a\":1,\"b\":[\"\\n\"]}", ["b", "a"]);
        assert_eq!(both, Some([&b"[\"\\n\"]"[..], b"1"]));
        for none in [&b"{\"a\":1}"[..], b"{\"b\":2, \"a\":1}", b"{\"a\":1,\"b\":2,}", b"[]"] {
            assert_eq!(super::super::published_members(none, ["b", "a"]), None);
        }
    }

    proptest! {
        #[test]
        fn differing_members_of_any_objects_are_those_of_their_values(
            both in prop::collection::btree_map("[\\x00-\\x7f]{0,3}", (ascii_values(), 0..4), 0..8),
        ) {
            let side = |skipped: i32| -> Value {
                let members = both.iter().filter(|(_, (_, kind))| *kind != skipped);
                let other = |value: &Value, kind: i32| if kind == 2 && skipped == 1 { json!([value]) } else { value.clone() };
                Value::Object(members.map(|(name, (value, kind))| (name.clone(), other(value, *kind))).collect())
            };
            assert_differing(&side(0), &side(1));
        }

        #[test]
        fn check_of_any_value_agrees_with_the_other_reader(value in ascii_values()) {
            prop_assert!(judged_alike(&signed_bytes(&value).unwrap()).0);
            prop_assert!(judged_alike(&published_bytes(&value).unwrap()).1);
        }

        #[test]
        fn check_of_changed_values_agrees_with_the_other_reader(
            value in ascii_values(),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 1..4),
            parts in prop::collection::vec("[{}\\[\\],:\"\\\\nrtu01a \\-\\x00-\\x1f\u{e9}]{0,3}", 4),
            escaped: bool,
        ) {
            let mut bytes = if escaped { published_bytes(&value) } else { signed_bytes(&value) }.unwrap();
            for (cut, part) in cuts.iter().zip(&parts) {
                let at = cut.index(bytes.len() + 1);
                let end = bytes.len().min(at + part.len() % 2);
                bytes.splice(at..end, part.bytes());
            }
            judged_alike(&bytes);
        }

        #[test]
        fn check_of_any_letters_agrees_with_the_other_reader(text in "[{}\\[\\],:\"\\\\nrtu0a1\\-\n ]{0,12}") {
            judged_alike(text.as_bytes());
            judged_alike(format!("\"{text}\"").as_bytes());
            judged_alike(format!("{{\"{text}\":1}}").as_bytes());
        }

        #[test]
        fn check_of_any_bytes_agrees_with_the_other_reader(bytes: Vec<u8>) {
            judged_alike(&bytes);
        }
    }
}
