//! OLPC canonical JSON: the bytes that are signed, and the bytes that are published.
//!
//! Both have sorted keys, no white space, integers only and ASCII only. They differ in one thing:
//! signed bytes escape nothing but `"` and `\`, so the newlines of a PEM key stand raw in them, while
//! published bytes escape control characters, for a JSON file must not hold raw ones.
//! Source: the TUF specification 1.0.34, section 3.1 and 4.2.1, and <https://wiki.laptop.org/go/Canonical_JSON>.

mod text;

use core::fmt;
use std::borrow::Cow;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

use crate::file::MAX_FILE;
use crate::{Error, Rejected};

/// The bytes of `value` that are signed.
///
/// # Errors
/// [`Rejected::NotCanonical`] for a fraction, an integer beyond 64 bits, or text beyond ASCII.
pub fn signed_bytes(value: &Value) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    write(value, Control::Raw, &mut out)?;
    Ok(out)
}

/// The bytes of `value` that are published: [`signed_bytes`] with control characters escaped.
///
/// # Errors
/// As [`signed_bytes`].
pub fn published_bytes(value: &Value) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    write(value, Control::Escaped, &mut out)?;
    Ok(out)
}

/// The bytes that a device hashes: [`signed_bytes`], and text beyond ASCII as it stands, which devices read and this
/// project does not write. For looking at foreign files, never for signing.
pub(crate) fn hashed_bytes(value: &Value) -> Result<Vec<u8>, Error> {
    let mut out = Vec::new();
    write(value, Control::RawAnyText, &mut out)?;
    Ok(out)
}

/// Reads JSON as strictly as a verifier must: no member twice, no more than 16 MiB.
///
/// # Errors
/// [`Rejected::TooLarge`] or [`Rejected::NotJson`].
pub fn parse(bytes: &[u8]) -> Result<Value, Error> {
    bounded(bytes)?;
    strict(bytes)
}

/// Makes sure that bytes are [`signed_bytes`] of some value, and no more than 16 MiB. Builds none: one pass, and no
/// memory but for the things that are open within each other.
///
/// # Errors
/// [`Rejected::TooLarge`], [`Rejected::NotJson`] or [`Rejected::NotCanonical`].
pub fn check_signed(bytes: &[u8]) -> Result<(), Error> {
    check(bytes, Control::Raw)
}

/// The values of these members of a file that is [`published_bytes`]; none of another, or if one is missing.
pub(crate) fn published_members<'b, const N: usize>(
    file: &'b [u8],
    wanted: [&str; N],
) -> Option<[&'b [u8]; N]> {
    check(file, Control::Escaped).ok()?;
    let member = |wanted: &str| members(file).find(|(name, _)| *name == wanted.as_bytes());
    let found: Option<Vec<_>> = wanted.into_iter().map(|wanted| Some(member(wanted)?.1)).collect();
    found?.try_into().ok()
}

/// The members of an object that was checked before: names as they stand between their quotes, and values. None of what
/// is no object.
pub(crate) fn members(checked: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    text::Members::of(checked).map(|member| (member.name(), member.value))
}

/// What only one of two objects has that were checked before: objects of the members that only `before` has, or has
/// otherwise, and of those of `after`; and how many are the same in both.
pub(crate) fn differing(before: &[u8], after: &[u8]) -> (Vec<u8>, Vec<u8>, usize) {
    let (gone, new, same) = text::differing(before, after);
    let object = |members: Vec<text::Member<'_>>| {
        let texts: Vec<&[u8]> = members.iter().map(|member| member.text).collect();
        [&b"{"[..], &texts.join(&b','), b"}"].concat()
    };
    (object(gone), object(new), same)
}

/// What of a file was signed, by the published bytes of its member `signed`, which were checked before.
pub(crate) fn signed_of_checked(published: &[u8]) -> Cow<'_, [u8]> {
    text::unescaped(published)
}

/// What a name says that checked bytes have between its quotes.
pub(crate) fn text_of_checked(name: &[u8]) -> Cow<'_, str> {
    match name.contains(&b'\\') {
        false => String::from_utf8_lossy(name),
        true => Cow::Owned(String::from_utf8_lossy(&text::decoded(name).collect::<Vec<_>>()).into_owned()),
    }
}

/// The value of signed bytes that were checked before.
pub(crate) fn value_of_checked(signed: &[u8]) -> Value {
    strict(&text::escaped(signed)).unwrap_or_default()
}

/// Reads signed bytes back, which must be canonical.
///
/// # Errors
/// As [`check_signed`].
pub fn parse_signed(bytes: &[u8]) -> Result<Value, Error> {
    check_signed(bytes)?;
    // With raw control characters they would be no JSON.
    strict(&text::escaped(bytes))
}

/// Signed bytes as they are published, without a detour by a value.
///
/// # Errors
/// As [`check_signed`].
pub fn published_of_signed(signed: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    check_signed(signed)?;
    Ok(text::escaped(signed))
}

/// [`published_of_signed`] for bytes that were checked before.
pub(crate) fn published_of_checked(signed: &[u8]) -> Cow<'_, [u8]> {
    text::escaped(signed)
}

/// What of a file was signed, without a detour by a value: `published` is the value of its member `signed`.
///
/// # Errors
/// As [`check_signed`], for bytes that are not [`published_bytes`] of some value.
pub fn signed_of_published(published: &[u8]) -> Result<Cow<'_, [u8]>, Error> {
    check(published, Control::Escaped)?;
    Ok(text::unescaped(published))
}

fn check(bytes: &[u8], form: Control) -> Result<(), Error> {
    bounded(bytes)?;
    text::walk(bytes, form).map_err(|text::Fault { at, what, is_json }| {
        let what = format!("{what}, at byte {at}");
        if is_json { not_canonical(what) } else { Rejected::NotJson { message: what }.into() }
    })
}

fn bounded(bytes: &[u8]) -> Result<(), Error> {
    match bytes.len() as u64 > MAX_FILE {
        true => Err(Rejected::TooLarge { limit: MAX_FILE }.into()),
        false => Ok(()),
    }
}

fn strict(bytes: &[u8]) -> Result<Value, Error> {
    let Strict(value) =
        serde_json::from_slice(bytes).map_err(|error| Rejected::NotJson { message: error.to_string() })?;
    Ok(value)
}

#[derive(Clone, Copy)]
enum Control {
    Raw,
    Escaped,
    RawAnyText,
}

fn write(value: &Value, control: Control, out: &mut Vec<u8>) -> Result<(), Error> {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Number(number) => {
            if !number.is_u64() && !number.is_i64() {
                return Err(not_canonical(format!("the number {number} is no 64-bit integer")));
            }
            out.extend_from_slice(number.to_string().as_bytes());
        }
        Value::String(text) => write_string(text, control, out)?,
        Value::Array(items) => {
            out.push(b'[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write(item, control, out)?;
            }
            out.push(b']');
        }
        Value::Object(members) => {
            // Another crate in the tree may turn on serde_json's `preserve_order`: sort here.
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| name.as_bytes());
            out.push(b'{');
            for (index, (name, member)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(b',');
                }
                write_string(name, control, out)?;
                out.push(b':');
                write(member, control, out)?;
            }
            out.push(b'}');
        }
    }
    Ok(())
}

fn write_string(text: &str, control: Control, out: &mut Vec<u8>) -> Result<(), Error> {
    if !text.is_ascii() && !matches!(control, Control::RawAnyText) {
        return Err(not_canonical(format!("the text \"{}\" is not ASCII", text.escape_default())));
    }
    out.push(b'"');
    for byte in text.bytes() {
        match (byte, control) {
            (b'"' | b'\\', _) => out.extend_from_slice(&[b'\\', byte]),
            (0..0x20, Control::Escaped) => escape_control(byte, out),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
    Ok(())
}

fn escape_control(byte: u8, out: &mut Vec<u8>) {
    match byte {
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
    }
}

fn not_canonical(what: impl Into<String>) -> Error {
    Rejected::NotCanonical { what: what.into() }.into()
}

/// A JSON value that had no member twice: two readers could otherwise see two different files.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Strict, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Strict)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut items = Vec::new();
        while let Some(Strict(item)) = seq.next_element()? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = map.next_key::<String>()? {
            let Strict(member) = map.next_value()?;
            if members.contains_key(&name) {
                return Err(serde::de::Error::custom(format_args!(
                    "`{}` stands twice",
                    name.escape_default()
                )));
            }
            members.insert(name, member);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn bytes_of_a_value_with_everything_are_as_published() {
        let value = json!({
            "b": [1, -2, true, false, null, u64::MAX, i64::MIN],
            "a\"\\": "line\nreturn\rtab\tbell\u{7}",
            "B": { "z": {}, "": [] },
        });
        let signed = b"{\"B\":{\"\":[],\"z\":{}},\"a\\\"\\\\\":\"line\nreturn\rtab\tbell\x07\",\
            \"b\":[1,-2,true,false,null,18446744073709551615,-9223372036854775808]}";
        assert_eq!(signed_bytes(&value).unwrap(), signed);
        let published = b"{\"B\":{\"\":[],\"z\":{}},\"a\\\"\\\\\":\"line\\nreturn\\rtab\\tbell\\u0007\",\
            \"b\":[1,-2,true,false,null,18446744073709551615,-9223372036854775808]}";
        assert_eq!(published_bytes(&value).unwrap(), published);
    }

    #[test]
    fn bytes_of_what_canonical_json_cannot_hold_are_refused() {
        for (json, named) in [
            ("{\"a\":1.5}", "1.5"),
            ("{\"a\":[1.0]}", "1.0"),
            ("{\"a\":-0}", "-0"),
            ("{\"a\":1e3}", "1000"),
            ("{\"a\":18446744073709551616}", "1.8446744073709552e+19"),
            ("{\"a\":-9223372036854775809}", "-9.223372036854776e+18"),
            ("{\"a\":\"\u{e4}\"}", "\\u{e4}"),
            ("{\"\u{e4}\":1}", "\\u{e4}"),
        ] {
            let value = parse(json.as_bytes()).unwrap();
            for bytes in [signed_bytes(&value), published_bytes(&value)] {
                let Err(Error::Rejected { why: Rejected::NotCanonical { what }, .. }) = bytes else {
                    panic!("{json} became bytes")
                };
                assert!(what.contains(named), "{json}: {what}");
            }
        }
    }

    #[test]
    fn parse_of_bad_json_is_refused() {
        let deep = "[".repeat(200) + &"]".repeat(200);
        for json in
            ["", "{", "{}{}", "{\"a\":1,\"a\":1}", "[{\"a\":{\"b\":1,\"b\":2}}]", "nul", "\u{feff}{}", &deep]
        {
            let error = parse(json.as_bytes()).unwrap_err();
            assert!(
                matches!(error, Error::Rejected { why: Rejected::NotJson { .. }, .. }),
                "{json}: {error}"
            );
        }
        let large = vec![b' '; (16 << 20) + 1];
        assert_eq!(parse(&large).unwrap_err(), Rejected::TooLarge { limit: 16 << 20 }.into());
        assert!(matches!(
            parse(&large[1..]).unwrap_err(),
            Error::Rejected { why: Rejected::NotJson { .. }, .. }
        ));
    }

    #[test]
    fn parse_signed_of_anything_but_the_canonical_form_is_refused() {
        let canonical = b"{\"a\":\"x\ny\",\"b\":[1,2]}";
        assert_eq!(signed_bytes(&parse_signed(canonical).unwrap()).unwrap(), canonical);
        for (other, why) in [
            (&b"{\"b\":[1,2],\"a\":\"x\ny\"}"[..], "order"),
            (b"{\"a\": \"x\ny\",\"b\":[1,2]}", "a space"),
            (b"{\"a\":\"x\\ny\",\"b\":[1,2]}", "an escape that is not needed"),
            (b"{\"a\":\"x\ny\",\"b\":[1,2]}\n", "a newline after it"),
            (b"{\"a\":\"x\ny\",\n\"b\":[1,2]}", "a newline within"),
            (b"{\"a\":\"\\u0078\ny\",\"b\":[1,2]}", "an escaped letter"),
            (b"{\"a\":\"x\ny\",\"a\":\"x\ny\",\"b\":[1,2]}", "a member twice"),
        ] {
            assert!(parse_signed(other).is_err(), "accepted {why}");
        }
    }

    pub(super) fn ascii_values() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            "[\\x00-\\x7f]{0,12}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 48, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::btree_map("[\\x00-\\x7f]{0,6}", inner, 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn bytes_of_any_ascii_value_read_back_as_it(value in ascii_values()) {
            prop_assert_eq!(&parse_signed(&signed_bytes(&value).unwrap()).unwrap(), &value);
            // A second reader, without this module's strictness.
            let published: Value = serde_json::from_slice(&published_bytes(&value).unwrap()).unwrap();
            prop_assert_eq!(&published, &value);
        }
    }
}
