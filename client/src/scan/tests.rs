//! The scanner against a second opinion: `serde_json` reads, and a few lines here write canonical JSON.

extern crate std;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use serde_json::{Value as Json, json};
use std::string::{String, ToString};
use std::{format, vec::Vec};

use super::*;

const TEXT: usize = 512;

/// Writes down what it is told, so that two runs can be compared.
#[derive(Default, PartialEq, Debug)]
struct Transcript(Vec<String>);

impl Reader for Transcript {
    fn member(&mut self, place: Place, key: &[u8]) -> Result<Place, Fault> {
        self.0.push(String::from_utf8_lossy(key).into_owned());
        Ok(if place == Place::Top && key == b"signed" { Place::Signed } else { Place::Custom })
    }

    fn value(&mut self, place: Place, value: Value<'_>) -> Result<(), Fault> {
        self.0.push(format!("{place:?} {value:?}"));
        Ok(())
    }
}

/// How a run ended: what the reader was told, and the digest or the fault with its place.
#[derive(PartialEq, Debug)]
struct Run {
    told: Transcript,
    end: Result<Option<[u8; 32]>, (Fault, u32)>,
}

fn run(text: &[u8], sizes: &[usize]) -> Run {
    let (mut memory, mut copy) = ([0; TEXT], [0; 4096]);
    let mut scanner = Scanner::new(&mut memory, &mut copy);
    scanner.keep_message();
    let mut told = Transcript::default();
    let mut rest = text;
    let mut sizes = sizes.iter().copied().chain(core::iter::repeat(1));
    while !rest.is_empty() {
        let (chunk, next) = rest.split_at(sizes.next().unwrap().clamp(1, rest.len()));
        rest = next;
        if let Err(fault) = scanner.feed(chunk, &mut told) {
            return Run { told, end: Err((fault, scanner.at())) };
        }
    }
    let end = scanner.finish().map_err(|fault| (fault, scanner.at()));
    if let (Ok(Some(digest)), Some(message)) = (end, scanner.message()) {
        assert_eq!(digest, <[u8; 32]>::from(Sha256::digest(message)), "what is kept is what is hashed");
    }
    Run { told, end }
}

fn scan(text: &str) -> Result<Option<[u8; 32]>, (Fault, u32)> {
    run(text.as_bytes(), &[usize::MAX]).end
}

/// OLPC canonical JSON, written down once more.
fn canonical(value: &Json) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match value {
        Json::String(text) => quoted(text),
        Json::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Json::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{}:{}", quoted(key), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text).into()
}

#[test]
fn signed_in_canonical_form_is_hashed_as_it_stands() {
    let signed = r#"{"_type":"x","a":[1,{"b":[]},"c"],"n":null,"t":true}"#;
    assert_eq!(scan(&format!(r#"{{"signatures":[],"signed":{signed}}}"#)), Ok(Some(digest(signed))));
}

#[test]
fn signed_in_another_spelling_is_hashed_in_canonical_form() {
    let text = "\n{ \"signed\" :\t{ \"a\" : \"\\n\\u0041\\/\\\"\\\\\\u00e4\\ud83d\\ude00\" , \"b\":[ -7 , 0 ] }\r\n} \n";
    assert_eq!(scan(text), Ok(Some(digest("{\"a\":\"\nA/\\\"\\\\\u{e4}\u{1F600}\",\"b\":[-7,0]}"))));
}

#[test]
fn signed_elsewhere_than_outermost_is_not_hashed() {
    assert_eq!(scan(r#"{"a":{"signed":{"b":1}}}"#), Ok(None));
    assert_eq!(scan(r#"{"signed":{"signed":{"b":1}}}"#), Ok(Some(digest(r#"{"signed":{"b":1}}"#))));
}

#[test]
fn keys_out_of_order_are_refused_where_they_stand() {
    for (text, at) in [
        (r#"{"b":1,"a":2}"#, 8),
        (r#"{"a":1,"a":2}"#, 9),
        (r#"{"ab":1,"a":2}"#, 10),
        (r#"{"a":{"x":1,"x":2}}"#, 14),
        (r#"{"a":1,"\u0061":2}"#, 14),
        (r#"{"a":[{"c":1},{"c":1,"b":1}]}"#, 22),
    ] {
        assert_eq!(scan(text), Err((Fault::KeyOrder, at)), "{text}");
    }
    for text in [r#"{"":1,"a":{"z":1},"aa":{"a":1},"b":[{"z":1},{"a":1}]}"#, "{\"z\":1,\"\u{e4}\":1}"] {
        assert_eq!(scan(text), Ok(None), "{text}");
    }
}

#[test]
fn json_that_is_malformed_or_has_no_canonical_form_is_refused() {
    let mut counted = 0;
    for value in [
        "01",
        "-0",
        "-",
        "1.5",
        "1e3",
        "+1",
        "18446744073709551616",
        "-9223372036854775809",
        "tru",
        "trux",
        "nul",
        "NaN",
        "'a'",
        "\"\\x\"",
        "\"\\u12g4\"",
        "\"\\ud800\"",
        "\"\\udc00\"",
        "\"\\ud800\\u0041\"",
        "\"\\ud800a\"",
        "\"\\ud800\\n\"",
        "\"a\nb\"",
        "\"a\tb\"",
        "[1,]",
        "[,1]",
        "[1 2]",
        "{\"a\"}",
        "{\"a\":}",
        "{\"a\":1,}",
        "{,}",
        "{1:2}",
        "[}",
        "{]",
        "]",
        "}",
        ",",
        ":",
        "//",
        "1]",
        "\u{0}",
    ] {
        let text = format!(r#"{{"a":{value},"b":1}}"#);
        assert!(matches!(scan(&text), Err((Fault::Syntax, _))), "{text}: {:?}", scan(&text));
        counted += 1;
    }
    assert_eq!(counted, 39);
    for bytes in
        [&b"\xFF"[..], b"\xC0\x80", b"\xE0\x80\x80", b"\xED\xA0\x80", b"\xF5\x80\x80\x80", b"\xC3", b"\x80"]
    {
        let text = [b"{\"a\":\"", bytes, b"\"}"].concat();
        assert!(core::str::from_utf8(&text).is_err());
        assert!(matches!(run(&text, &[usize::MAX]).end, Err((Fault::Syntax, _))), "{bytes:x?}");
    }
    for (text, at) in [("{} {}", 3), ("{}x", 2), ("{},", 2)] {
        assert_eq!(scan(text), Err((Fault::Syntax, at)), "{text}");
    }
}

#[test]
fn text_cut_anywhere_is_truncated() {
    let text = r#"{"signatures":[{"keyid":"00"}],"signed":{"a":"\u0041\\","b":[-1,20,true]}}"#;
    assert!(scan(text).is_ok());
    for len in 0..text.len() {
        assert_eq!(scan(&text[..len]), Err((Fault::Truncated, u32::try_from(len).unwrap())));
    }
}

#[test]
fn nesting_at_the_bound_passes_and_one_more_is_refused() {
    let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
    assert_eq!(scan(&nested(DEPTH)), Ok(None));
    assert!(matches!(scan(&nested(DEPTH + 1)), Err((Fault::Limit(Bound::Depth), _))));
}

#[test]
fn text_at_the_bound_passes_and_a_longer_one_is_told_apart() {
    let value = |len: usize| run(format!(r#"{{"a":"{}"}}"#, "x".repeat(len)).as_bytes(), &[usize::MAX]);
    assert!(value(TEXT - 1).told.0[2].starts_with("Custom Text"));
    assert_eq!(value(TEXT).told.0[2], "Custom LongText");
    let key = |len: usize| scan(&format!(r#"{{"{}":1}}"#, "x".repeat(len)));
    assert_eq!(key(TEXT), Ok(None));
    assert!(matches!(key(TEXT + 1), Err((Fault::Limit(Bound::Text), _))));
    // A long string is hashed like any other.
    let signed = format!(r#"{{"a":"{}","b":1}}"#, "x".repeat(4 * TEXT));
    assert_eq!(scan(&format!(r#"{{"signed":{signed}}}"#)), Ok(Some(digest(&signed))));
}

#[test]
fn signed_that_is_no_object_is_refused() {
    assert!(matches!(scan(r#"{"signed":[]}"#), Err((Fault::Field(Field::Signed), _))));
    for text in [r#"{"signed":1}"#, r#"{"signed":"a"}"#, r#"{"signed":null}"#, "1 ", "\"a\"", "null"] {
        assert_eq!(scan(text), Ok(None), "{text}: nothing was signed");
    }
    assert!(matches!(scan("[]"), Err((Fault::Field(Field::Signed), _))));
}

/// Any JSON value of integers and any strings, not too deep.
fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<u64>().prop_map(Json::from),
        any::<i64>().prop_map(Json::from),
        "\\PC{0,12}".prop_map(Json::from),
        "[\\x00-\\x7f]{0,12}".prop_map(Json::from),
    ];
    leaf.prop_recursive(5, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Json::from),
            prop::collection::btree_map("\\PC{0,8}", inner, 0..6)
                .prop_map(|members| Json::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, rng_seed: RngSeed::Fixed(7), ..ProptestConfig::default() })]

    #[test]
    fn any_value_in_any_spelling_has_the_digest_of_its_canonical_form(
        value in any_json(),
        sizes in prop::collection::vec(1_usize..40, 0..20),
    ) {
        let signed = json!({ "a": value });
        let file = json!({ "signed": signed });
        let expected = Ok(Some(digest(&canonical(&signed))));
        for text in [file.to_string(), serde_json::to_string_pretty(&file).unwrap()] {
            prop_assert_eq!(&run(text.as_bytes(), &sizes).end, &expected);
        }
    }

    #[test]
    fn chunks_of_any_size_give_the_same_result(
        value in any_json(),
        sizes in prop::collection::vec(1_usize..200, 0..20),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let mut text = json!({ "signatures": [], "signed": { "a": value } }).to_string().into_bytes();
        let whole = run(&text, &[usize::MAX]);
        prop_assert!(whole.end.is_ok());
        prop_assert_eq!(&run(&text, &sizes), &whole);
        // A broken text breaks at the same byte, after the same values.
        let at = at.index(text.len());
        text[at] = byte;
        prop_assert_eq!(run(&text, &sizes), run(&text, &[usize::MAX]));
    }

    #[test]
    fn any_bytes_are_accepted_only_where_serde_json_accepts_them(
        bytes in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            prop::collection::vec(prop::sample::select(b"{}[]\",:\\u0123e.-+ tfnrual".to_vec()), 0..60),
        ],
    ) {
        let text = [&b"{\"a\":"[..], &bytes, b"}"].concat();
        if run(&text, &[usize::MAX]).end.is_ok() {
            prop_assert!(serde_json::from_slice::<Json>(&text).is_ok());
        }
    }
}
