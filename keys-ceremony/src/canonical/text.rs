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

/// Whether bytes are canonical in this form: of one value, nothing before and nothing after. Gives each member of the
/// object that it is, if it is one, to `each`: its name as it stands between its quotes, and its value.
pub(super) fn walk<'b>(
    bytes: &'b [u8],
    form: Control,
    mut each: impl FnMut(&'b [u8], &'b [u8]),
) -> Result<(), Fault> {
    let mut walker = Walker { bytes, at: 0, form };
    match walker.peek() {
        Some(b'{') => walker.object(DEPTH, &mut each)?,
        _ => walker.value(DEPTH)?,
    }
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
            Some(b'{') => self.object(depth, &mut |_, _| ()),
            Some(b'[') => self.array(depth),
            Some(b'-' | b'0'..=b'9') => self.integer(),
            _ => self.literal(),
        }
    }

    fn object(&mut self, depth: usize, each: &mut impl FnMut(&'b [u8], &'b [u8])) -> Result<(), Fault> {
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
            let start = self.at;
            self.value(depth)?;
            each(name.text, &self.bytes[start..self.at]);
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
fn decoded(mut text: &[u8]) -> impl Iterator<Item = u8> {
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

    #[test]
    fn members_of_an_object_are_given_as_they_stand() {
        let bytes = b"{\"a\":{\"b\":1},\"b\":[2,\"x\ny\"],\"c\":3}";
        let found = super::super::signed_members(bytes, &["c", "b", "none"]).unwrap();
        assert_eq!(found, [("b", &b"[2,\"x\ny\"]"[..]), ("c", b"3")]);
        assert_eq!(super::super::signed_members(b"[{\"a\":1}]", &["a"]).unwrap(), []);
        assert!(super::super::signed_members(b"{\"a\":1,}", &["a"]).is_err());
    }

    proptest! {
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
