//! Signatures that other programs made.

use std::fs;

use crate::support::*;

/// r and s of 32 bytes each, of a DER signature.
fn raw(der: &[u8]) -> Vec<u8> {
    let (mut raw, mut rest) = (Vec::new(), &der[2..]);
    for _ in 0..2 {
        let (number, behind) = rest[2..].split_at(usize::from(rest[1]));
        let digits = &number[number.len().saturating_sub(32)..];
        raw.extend(core::iter::repeat_n(0, 32 - digits.len()).chain(digits.iter().copied()));
        rest = behind;
    }
    raw
}

#[test]
fn signatures_of_openssl_are_attached_in_any_spelling_and_the_root_finishes() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    let shown = room.ok(&["payload", "request", "--out", "payload"]);
    assert!(shown.contains("  root: 2 of 3 keys must sign\n"), "{shown}");
    assert!(shown.contains("a new repository: who signs its first root agrees to it\n"), "{shown}");
    let sign = |key: &str, out: &str| {
        room.tool("openssl", &["dgst", "-sha256", "-sign", &format!("{key}.pem"), "-out", out, "payload"]);
        room.read(out)
    };
    let der = sign("a", "a.der");
    fs::write(room.path("a.raw"), raw(&der)).unwrap();
    let hex: String = der.iter().map(|byte| format!("{byte:02X}")).collect();
    fs::write(room.path("a.hex"), hex + "\n").unwrap();
    fs::write(room.path("a.base64"), room.tool("base64", &["-w20", "a.raw"])).unwrap();
    for (index, signature) in ["a.der", "a.raw", "a.hex", "a.base64"].into_iter().enumerate() {
        let out = format!("by-a-{index}");
        let said = room.ok(&["attach", "request", signature, "--out", &out]);
        assert!(said.starts_with(&format!("attached the signature of key {} to", keyid(&room, "a.pub.pem"))));
        assert_eq!(room.read(&out), room.read("by-a-0"), "{signature}");
    }
    sign("b", "b.der");
    room.ok(&["attach", "by-a-0", "b.der"]);
    room.ok(&["finish", "by-a-0", "--out", "1.root.json"]);
}

#[test]
fn signature_of_nobody_or_a_second_one_is_refused_and_changes_nothing() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    room.ok(&["payload", "request", "--out", "payload"]);
    room.refused(&["payload", "request", "--out", "payload"], 201, "payload");
    let sign = |key: &str, file: &str, out: &str| {
        room.tool("openssl", &["dgst", "-sha256", "-sign", &format!("{key}.pem"), "-out", out, file]);
    };
    sign("a", "payload", "good");
    sign("x", "payload", "foreign");
    sign("a", "a.pub.pem", "other-bytes");
    fs::write(room.path("empty"), b"").unwrap();
    fs::write(room.path("junk"), [7; 64]).unwrap();
    let before = room.read("request");
    for signature in ["foreign", "other-bytes", "empty", "junk", "payload"] {
        room.refused(&["attach", "request", signature], 135, signature);
        room.refused(&["attach", "request", "good", signature], 135, signature);
    }
    assert_eq!(room.read("request"), before);
    room.ok(&["attach", "request", "good"]);
    let once = room.read("request");
    room.refused(&["attach", "request", "good"], 113, &keyid(&room, "a.pub.pem"));
    assert_eq!(room.read("request"), once);
}

#[test]
fn signature_that_is_attached_is_in_the_transcript_as_made_elsewhere() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.ok(&[&DRAFT[..], &["--out", "request", "--transcript", "script"]].concat());
    room.ok(&["payload", "request", "--out", "payload"]);
    for key in ["a", "x"] {
        let (key, out) = (format!("{key}.pem"), format!("{key}.sig"));
        room.tool("openssl", &["dgst", "-sha256", "-sign", &key, "-out", &out, "payload"]);
    }
    let before = (room.read("request"), room.read("script"));
    // What is not attached is not recorded, and what cannot be recorded is not attached.
    room.refused(&["attach", "request", "a.sig", "x.sig", "--transcript", "script"], 135, "x.sig");
    room.refused(&["attach", "request", "a.sig", "--transcript", "a.pem"], 150, "a.pem");
    room.refused(&["attach", "request", "a.sig", "--transcript", "request"], 209, "a file of its own");
    assert_eq!((room.read("request"), room.read("script")), before);
    let attach = ["attach", "request", "a.sig"];
    let said = succeeded(&room.keys(&attach).env("TUFFET_TRANSCRIPT", "script").output().unwrap(), &attach);
    assert!(said.contains("\ntranscript script: 2 entries, head sha256 "), "{said}");
    let text = String::from_utf8(room.read("script")).unwrap();
    assert!(text.lines().last().unwrap().contains("\"source\":\"detached\""), "{text}");
    let a = &keyid(&room, "a.pub.pem")[..16];
    let shown = room.ok(&["transcript", "show", "script"]);
    assert!(shown.contains(&format!("signed by key {a}, made elsewhere  [tuffet-keys ")), "{shown}");
    room.ok(&["transcript", "verify", "script"]);
}
