//! Keys and passphrases.

use std::fs;

use crate::support::*;

#[test]
fn passphrase_from_descriptor_variable_or_nowhere() {
    let room = Room::with_keys(&["x"]);
    room.ok_with("first of the dice", &["generate", "--out", "a.pem"]);
    // The named variable, not the default one, and a line without its end.
    let mut generate = room.keys(&["generate", "--out", "b.pem", "--passphrase-env", "OTHER"]);
    succeeded(
        &generate.env("OTHER", "second of the dice").env("TUFFET_PASSPHRASE", "no").output().unwrap(),
        &["generate b"],
    );

    // One line for each key, in order, from one descriptor.
    fs::write(room.path("lines"), "first of the dice\nsecond of the dice").unwrap();
    let shell = |keys: &[&str]| {
        let script = format!("exec \"$0\" show {} --passphrase-fd 7 7<lines", keys.join(" "));
        room.command("sh").args(["-c", &script, BINARY]).output().unwrap()
    };
    succeeded(&shell(&["a.pem", "b.pem"]), &["show a b"]);
    refused(&shell(&["b.pem", "a.pem"]), 108, "b.pem");
    refused(&shell(&["a.pem", "b.pem", "a.pem"]), 202, "a.pem");

    let show = |variable: &str| {
        let mut command = room.keys(&["show", "a.pem", "--passphrase-env", variable]);
        command.env("EMPTY", "").env("WRONG", "First of the dice").output().unwrap()
    };
    refused(&show("WRONG"), 108, "wrong passphrase: a.pem");
    refused(&show("EMPTY"), 202, "EMPTY");
    refused(&show("MISSING"), 302, "MISSING");
    let closed = room.keys(&["show", "a.pem", "--passphrase-fd", "9"]).output().unwrap();
    refused(&closed, 301, "/dev/fd/9");
    // Without a terminal nobody can be asked.
    let alone = room.command("setsid").args(["--wait", BINARY, "show", "a.pem"]).output().unwrap();
    refused(&alone, 303, "on for the passphrase: a.pem; set TUFFET_PASSPHRASE, or use --passphrase-fd");
    // Which of several secrets is missing, and what would give it.
    for (command, says) in [
        (&["generate", "--out", "n.pem"][..], "on for the new passphrase: n.pem; set TUFFET_PASSPHRASE,"),
        (
            &["backup", "a.pem", "--out", "n.pem"],
            "on for the new passphrase: n.pem; set TUFFET_NEW_PASSPHRASE,",
        ),
        (
            &["restore", "a.pem", "--expect", "a.pub.pem", "--out", "n.pem"],
            "on for the new passphrase: n.pem; set TUFFET_NEW_PASSPHRASE,",
        ),
    ] {
        let mut alone = room.command("setsid");
        alone.args(["--wait", BINARY]).args(command);
        if command[0] != "generate" {
            alone.env("TUFFET_PASSPHRASE", "first of the dice");
        }
        refused(&alone.output().unwrap(), 303, says);
    }
    // An unencrypted key needs no passphrase.
    assert!(room.ok(&["show", "x.pem"]).contains("private key, NOT ENCRYPTED"));
    // Arguments are seen by every process of the machine.
    let argument = room.keys(&["show", "a.pem", "--passphrase", "first of the dice"]).output().unwrap();
    assert_eq!(argument.status.code(), Some(2));
}

#[test]
fn passphrase_typed_on_a_terminal_is_asked_for_twice_when_new() {
    let room = Room::with_keys(&["b", "c", "x", "y"]);
    let (done, screen) = typed(&room, "secret\nsecrets\n", "generate --out a.pem");
    assert!(!done && screen.contains("error[K203]"), "{screen}");
    assert!(!room.path("a.pem").exists() && !room.path("a.pub.pem").exists());
    let (done, screen) = typed(&room, "secret\nsecret\n", "generate --out a.pem");
    assert!(done, "{screen}");
    assert!(room.ok_with("secret", &["show", "a.pem"]).contains("private key, encrypted"));

    room.draft("request");
    let lines = format!("{}\nsecret\n", &room.repository("request")[..16]);
    let (done, screen) = typed(&room, &lines, "sign request --key a.pem");
    assert!(done, "{screen}");
    assert!(screen.contains("root: 2 of 3 keys must sign"), "{screen}");
    assert_eq!(room.json("request")["signatures"].as_array().unwrap().len(), 1);
    // Colours belong on a terminal, unless NO_COLOR asks for none.
    let (_, screen) = typed(&room, "1\nsecret\n", "sign request --key a.pem");
    assert!(screen.contains("\u{1b}[") && screen.contains("K113"), "{screen}");
    let script = format!("NO_COLOR=1 script -qec '\"{BINARY}\" sign none --key a.pem' /dev/null");
    let output = room.command("sh").args(["-c", &script]).output().unwrap();
    let screen = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(screen.contains("error[K301]") && !screen.contains('\u{1b}'), "{screen}");
}

#[test]
fn key_of_openssl_is_read_or_refused_by_kind() {
    let room = Room::new();
    let curve = |name: &str| format!("ec_paramgen_curve:{name}");
    let openssl = |arguments: &[&str]| drop(room.tool("openssl", arguments));
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &curve("P-256"), "-out", "plain.pem"]);
    openssl(&["pkey", "-in", "plain.pem", "-pubout", "-out", "plain.pub.pem"]);
    let topk8 = ["pkcs8", "-topk8", "-in", "plain.pem", "-passout", "env:PASS"];
    openssl(&[&topk8[..], &["-scrypt", "-out", "scrypt.pem"]].concat());
    openssl(&[&topk8[..], &["-v2", "aes-256-cbc", "-iter", "100000", "-out", "pbkdf2.pem"]].concat());
    openssl(&["ec", "-in", "plain.pem", "-out", "sec1.pem"]);
    openssl(&["ec", "-in", "plain.pem", "-pubout", "-conv_form", "compressed", "-out", "compressed.pem"]);
    openssl(&["pkey", "-in", "plain.pem", "-outform", "DER", "-out", "plain.der"]);
    openssl(&["genpkey", "-algorithm", "EC", "-pkeyopt", &curve("P-384"), "-out", "p384.pem"]);
    openssl(&["pkey", "-in", "p384.pem", "-pubout", "-out", "p384.pub.pem"]);
    openssl(&["genpkey", "-algorithm", "ED25519", "-out", "ed25519.pem"]);
    openssl(&[
        "genpkey",
        "-algorithm",
        "ED25519",
        "-aes-256-cbc",
        "-pass",
        "env:PASS",
        "-out",
        "sealed-ed25519.pem",
    ]);

    let plain = keyid(&room, "plain.pub.pem");
    assert_eq!(keyid(&room, "plain.pem"), plain);
    for file in ["scrypt.pem", "pbkdf2.pem"] {
        assert!(room.ok_with("correct horse", &["show", file]).contains(&plain), "{file}");
    }
    for (file, code, says) in [
        ("sec1.pem", 107, "EC PRIVATE KEY"),
        ("plain.der", 106, "plain.der"),
        ("p384.pem", 107, "P-256"),
        ("p384.pub.pem", 107, "p384.pub.pem"),
        ("ed25519.pem", 107, "P-256"),
    ] {
        room.refused(&["show", file], code, says);
    }
    let sealed = room
        .keys(&["show", "sealed-ed25519.pem"])
        .env("TUFFET_PASSPHRASE", "correct horse")
        .output()
        .unwrap();
    refused(&sealed, 107, "P-256");
    // A compressed point is the same key: equal by its point, and written as metadata need it.
    assert_eq!(keyid(&room, "compressed.pem"), plain);
}

#[test]
fn expected_key_that_is_neither_a_keyid_nor_a_file_is_told() {
    let room = Room::with_keys(&["a"]);
    let a = keyid(&room, "a.pub.pem");
    let test = ["smoke-test", "a.pem", "--danger-unencrypted", "--expect"];
    for short in ["16af7bd2", &a[..63]] {
        let says = format!(
            "neither the 64 digits of a keyid nor a file: `{short}`: --expect; `tuffet-keys show` prints"
        );
        room.refused(&[&test[..], &[short]].concat(), 256, &says);
        let restore = ["restore", "a.pem", "--rehearse", "--danger-unencrypted", "--expect", short];
        room.refused(&restore, 256, &says);
    }
    room.refused(&[&test[..], &["none.pub.pem"]].concat(), 301, "none.pub.pem");
    room.ok(&[&test[..], &[&a.to_uppercase()]].concat());
    // Such a file is one.
    fs::copy(room.path("a.pub.pem"), room.path("16af7bd2")).unwrap();
    room.ok(&[&test[..], &["16af7bd2"]].concat());
}
