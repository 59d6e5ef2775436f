//! Tokens that are locked, missing, ambiguous or odd, and what is said about it.

use std::fs;

use crate::support::*;
use crate::token::*;

#[test]
fn wrong_pin_is_told_with_what_the_token_says_of_tries() {
    let room = Room::with_keys(&["a", "c", "x", "y"]);
    plug_in(&room, "ceremony");
    make(&room, "root-b", "b.pub.pem");
    room.draft("request");
    let before = room.read("request");
    let digest = room.repository("request");
    let key = "pkcs11:object=root-b";
    for pin in ["481517", "4", "a PIN that is far longer than any that a token would take"] {
        let output = with_pin(&room, pin, &["sign", "request", "--yes", "--digest", &digest, "--key", key]);
        refused(
            &output,
            126,
            "wrong PIN, and the token counts: fewer tries are left than before: pkcs11:object=root-b",
        );
        assert!(!String::from_utf8_lossy(&output.stderr).contains(pin) || pin == "4");
    }
    assert_eq!(room.read("request"), before);
    // All keys or none: the first one was good.
    let both =
        ["sign", "request", "--yes", "--digest", &digest, "--danger-unencrypted", "--key", "a.pem", key];
    refused(&with_pin(&room, "wrong", &both), 126, "root-b");
    assert_eq!(room.read("request"), before);
    assert!(flags(&room).contains("user PIN count low"), "{}", flags(&room));
    // The right one gives all tries back.
    ok(&room, &["sign", "request", "--yes", "--digest", &digest, "--key", key]);
    assert!(!flags(&room).contains("low"), "{}", flags(&room));
}

#[test]
fn token_that_is_not_there_is_told_with_those_that_are() {
    let room = Room::with_keys(&["a", "c", "x", "y"]);
    plug_in(&room, "ceremony");
    make(&room, "root-b", "b.pub.pem");
    for command in ["show", "smoke-test"] {
        for uri in [
            "pkcs11:token=other;object=root-b",
            "pkcs11:serial=0;object=root-b",
            "pkcs11:slot-id=1;object=root-b",
        ] {
            let output = with_pin(&room, PIN, &[command, uri]);
            refused(&output, 310, &format!("no such token: {uri}; plug it in"));
            refused(&output, 310, "there is pkcs11:token=ceremony;serial=");
        }
    }
    let key = "pkcs11:token=ceremony;object=root-b";
    let none = with_pin(&room, PIN, &["smoke-test", "pkcs11:token=ceremony;object=root-c"]);
    refused(
        &none,
        311,
        "the token has no such key: pkcs11:token=ceremony;object=root-c; check object, id and type",
    );
    refused(&none, 311, "there is pkcs11:object=root-b;id=%");

    // Pulled out while a person reads the review.
    room.draft("request");
    let before = room.read("request");
    let digest = room.repository("request");
    let mut command = without_pin(&room, &[]);
    command.env("TUFFET_PIN", PIN);
    let signer = signer(&room, command, &["--key", &format!("'{key}'")], "out");
    let plug_in_again = pull_out(&room);
    refused(&typed_at_the_prompt(signer), 310, "there is no token");
    assert_eq!(room.read("request"), before);
    plug_in_again();
    ok(&room, &["sign", "request", "--yes", "--digest", &digest, "--key", key]);
}

#[test]
fn module_that_is_missing_or_none_is_told() {
    let room = Room::new();
    plug_in(&room, "ceremony");
    make(&room, "root-b", "b.pub.pem");
    let key = "pkcs11:object=root-b";
    room.refused(&["show", key], 308, "TUFFET_PKCS11_MODULE");
    fs::write(room.path("text.so"), "no module").unwrap();
    let here = |name: &str| room.path(name).display().to_string();
    for (path, says) in [
        (here("none.so"), "No such file or directory"),
        (here("text.so"), "file too short"),
        ("text.so".to_owned(), "its path is not absolute"),
        (here("tokens"), "tokens"),
    ] {
        let output = room.keys(&["show", key]).env("TUFFET_PKCS11_MODULE", &path).output().unwrap();
        refused(&output, 309, says);
        refused(&output, 309, &path);
        room.refused(&["show", &format!("{key}?module-path={path}")], 309, &path);
    }
    // What the URI names goes before what the environment does.
    let named = format!("{key}?module-path={}", module().display());
    let output = room.keys(&["show", &named]).env("TUFFET_PKCS11_MODULE", "/none.so").output().unwrap();
    succeeded(&output, &["show"]);
}

#[test]
fn uri_that_more_than_one_key_or_token_goes_by_is_refused() {
    let room = Room::with_keys(&["a", "b"]);
    plug_in(&room, "ceremony");
    for (key, id) in [("a.pem", "0a"), ("b.pem", "0b")] {
        let import = ["--import", key, "--token", "ceremony", "--pin", PIN, "--label", "root", "--id", id];
        room.tool("softhsm2-util", &import);
    }
    for command in ["show", "smoke-test"] {
        let output = with_pin(&room, PIN, &[command, "pkcs11:object=root"]);
        refused(
            &output,
            214,
            "2 keys go by this URI: pkcs11:object=root; add the token, serial, object or id",
        );
        for id in ["%0a", "%0b"] {
            refused(&output, 214, &format!("pkcs11:object=root;id={id}"));
        }
    }
    assert!(ok(&room, &["show", "pkcs11:object=root;id=%0b"]).contains(&keyid(&room, "b.pub.pem")));
    ok(&room, &["smoke-test", "pkcs11:object=root;id=%0b", "--expect", "b.pub.pem"]);

    plug_in(&room, "ceremony");
    let output = with_pin(&room, PIN, &["smoke-test", "pkcs11:token=ceremony;id=%0a"]);
    refused(&output, 214, "2 tokens go by this URI: pkcs11:token=ceremony;id=%0a");
    let text = String::from_utf8(output.stderr).unwrap();
    let serials: Vec<&str> = text.split("serial=").skip(1).map(|rest| &rest[..16]).collect();
    assert_eq!(serials.len(), 2, "{text}");
    let found = serials.iter().filter(|serial| {
        let uri = format!("pkcs11:serial={serial};id=%0a");
        with_pin(&room, PIN, &["smoke-test", &uri, "--expect", "a.pub.pem"]).status.success()
    });
    assert_eq!(found.count(), 1);
}

#[test]
fn key_of_another_type_or_curve_on_a_token_is_refused_by_name() {
    let room = Room::new();
    plug_in(&room, "ceremony");
    for (kind, label, id) in
        [("rsa:2048", "rsa", "01"), ("EC:secp384r1", "p384", "02"), ("EC:prime256v1", "p256", "04")]
    {
        pkcs11_tool(
            &room,
            &["--keypairgen", "--key-type", kind, "--label", label, "--id", id, "--usage-sign"],
        );
    }
    room.tool("openssl", &["genpkey", "-algorithm", "ED25519", "-out", "ed25519.pem"]);
    let import = ["--token", "ceremony", "--pin", PIN, "--label", "ed25519", "--id", "03"];
    room.tool("softhsm2-util", &[&["--import", "ed25519.pem"][..], &import].concat());
    let anew =
        ["--keypairgen", "--key-type", "EC:prime256v1", "--label", "anew", "--id", "05", "--always-auth"];
    pkcs11_tool(&room, &anew);
    for (label, says) in [("rsa", "an RSA key"), ("p384", "another curve than P-256"), ("ed25519", "Ed25519")]
    {
        let uri = format!("pkcs11:object={label}");
        for command in ["show", "smoke-test"] {
            refused(&with_pin(&room, PIN, &[command, &uri]), 107, says);
        }
    }
    refused(
        &with_pin(&room, PIN, &["smoke-test", "pkcs11:object=anew"]),
        107,
        "the PIN anew for each signature",
    );
    // What another program made is as good as what this one makes.
    ok(&room, &["smoke-test", "pkcs11:object=p256"]);
    // Without its public half nobody knows what the key is.
    pkcs11_tool(&room, &["--delete-object", "--type", "pubkey", "--id", "04"]);
    refused(&with_pin(&room, PIN, &["smoke-test", "pkcs11:object=p256"]), 107, "shows no public key");
}

#[test]
fn signature_that_the_token_s_public_key_does_not_verify_is_thrown_away() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    plug_in(&room, "ceremony");
    // The private half of a under the id of b's public half, as a broken import leaves it.
    let import = ["--token", "ceremony", "--pin", PIN, "--label", "root", "--id", "0a"];
    room.tool("softhsm2-util", &[&["--import", "a.pem"][..], &import].concat());
    pkcs11_tool(&room, &["--delete-object", "--type", "pubkey", "--id", "0a"]);
    let public = room.tool("openssl", &["pkey", "-pubin", "-in", "b.pub.pem", "-outform", "DER"]);
    fs::write(room.path("b.der"), public).unwrap();
    pkcs11_tool(&room, &["--write-object", "b.der", "--type", "pubkey", "--id", "0a", "--label", "root"]);
    room.draft("request");
    let before = room.read("request");
    let digest = room.repository("request");
    let key = "pkcs11:object=root";
    for arguments in
        [&["smoke-test", key][..], &["sign", "request", "--yes", "--digest", &digest, "--key", key]]
    {
        let output = with_pin(&room, PIN, arguments);
        refused(
            &output,
            313,
            "does not verify under the public key that it shows: pkcs11:object=root; it was thrown away",
        );
    }
    assert_eq!(room.read("request"), before);
}
