//! Keys on a token: SoftHSM's, which is one in all but the hardware.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tuffet_client::limits::{DEVICE, ROOT};
use tuffet_client::{SOFTWARE, Trusted};

use crate::support::*;

pub(crate) const PIN: &str = "481516";

/// SoftHSM's module, wherever the distribution puts it.
pub(crate) fn module() -> PathBuf {
    [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
    .expect("these tests need SoftHSM and OpenSC: apt-get install softhsm2 opensc")
}

/// Initialises a token of this label in the room.
pub(crate) fn plug_in(room: &Room, label: &str) {
    let tokens = room.path("tokens");
    fs::create_dir_all(&tokens).unwrap();
    let config = format!(
        "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\n",
        tokens.display()
    );
    fs::write(room.path("softhsm2.conf"), config).unwrap();
    room.tool(
        "softhsm2-util",
        &["--init-token", "--free", "--label", label, "--so-pin", "314159", "--pin", PIN],
    );
}

/// The tool with the module and no PIN.
pub(crate) fn without_pin(room: &Room, arguments: &[&str]) -> Command {
    let mut command = room.keys(arguments);
    command.env("TUFFET_PKCS11_MODULE", module());
    command
}

/// The tool with the module, a PIN and the passphrase of key files.
pub(crate) fn with_pin(room: &Room, pin: &str, arguments: &[&str]) -> Output {
    let mut command = without_pin(room, arguments);
    command.env("TUFFET_PIN", pin).env("TUFFET_PASSPHRASE", "correct horse").output().unwrap()
}

pub(crate) fn ok(room: &Room, arguments: &[&str]) -> String {
    succeeded(&with_pin(room, PIN, arguments), arguments)
}

/// Somebody else's PKCS#11 program, logged in.
pub(crate) fn pkcs11_tool(room: &Room, arguments: &[&str]) -> String {
    let module = module();
    let login = ["--module", module.to_str().unwrap(), "--token-label", "ceremony", "--login", "--pin", PIN];
    String::from_utf8(room.tool("pkcs11-tool", &[&login[..], arguments].concat())).unwrap()
}

pub(crate) fn make(room: &Room, object: &str, public: &str) -> String {
    ok(
        room,
        &["generate", "--out", &format!("pkcs11:token=ceremony;object={object}"), "--public-out", public],
    )
}

#[test]
fn key_made_on_a_token_is_shown_tried_and_never_leaves_it() {
    let room = Room::new();
    plug_in(&room, "ceremony");
    let made = make(&room, "root%20b", "b.pub.pem");
    assert!(made.starts_with("made a key on a token, tried it, and wrote b.pub.pem\n"), "{made}");
    assert!(made.contains("ECDSA P-256, key on a token\n"), "{made}");
    assert_eq!(room.files(), ["b.pub.pem", "softhsm2.conf", "tokens"]);
    room.tool("openssl", &["pkey", "-pubin", "-in", "b.pub.pem", "-noout"]);
    let id = keyid(&room, "b.pub.pem");

    // The URI that it printed names that key and no other.
    let uri = made.lines().nth(1).unwrap();
    assert!(
        uri.starts_with("pkcs11:token=ceremony;serial=") && uri.contains(";object=root%20b;id=%"),
        "{uri}"
    );
    // To look at it takes no PIN.
    let shown = without_pin(&room, &["show", uri, "--public-out", "again.pub.pem"]).output().unwrap();
    assert!(succeeded(&shown, &["show"]).contains(&id));
    assert_eq!(room.read("again.pub.pem"), room.read("b.pub.pem"));
    assert!(ok(&room, &["smoke-test", uri, "--expect", "b.pub.pem"]).contains("works "));
    // Half of all signatures are high-S, and one of 32 will be.
    let many = [&["smoke-test"][..], &[uri; 32]].concat();
    assert_eq!(ok(&room, &many).matches("works ").count(), 32);

    let listed = pkcs11_tool(&room, &["--list-objects", "--type", "privkey"]);
    assert!(listed.contains("sensitive, always sensitive, never extractable, local"), "{listed}");
    refused(&with_pin(&room, PIN, &["backup", uri, "--out", "copy.pem"]), 216, "root%20b");
    refused(&with_pin(&room, PIN, &["change-passphrase", uri]), 216, "root%20b");
    let other = ["smoke-test", uri, "--expect", &"0".repeat(64)];
    refused(&with_pin(&room, PIN, &other), 128, &format!("another key: {id}"));

    // A second key neither replaces the first nor goes without a public key to hand out.
    let generate =
        |uri: &str, rest: &[&str]| with_pin(&room, PIN, &[&["generate", "--out", uri][..], rest].concat());
    let out = ["--public-out", "c.pub.pem"];
    refused(&generate("pkcs11:object=root%20b", &out), 215, "root%20b");
    let taken = uri.rsplit_once(";id=").unwrap().1;
    refused(&generate(&format!("pkcs11:object=c;id={taken}"), &out), 215, "object=c");
    refused(&generate("pkcs11:token=ceremony", &out), 212, "object=LABEL");
    refused(&generate("pkcs11:object=c", &[]), 209, "--public-out FILE");
    refused(
        &generate("pkcs11:object=c", &[&out[..], &["--danger-unencrypted"]].concat()),
        209,
        "about files",
    );
    refused(&generate("pkcs11:object=c", &["--public-out", "b.pub.pem"]), 201, "b.pub.pem");
    assert!(!room.path("c.pub.pem").exists());
    assert_eq!(pkcs11_tool(&room, &["--list-objects", "--type", "privkey"]), listed);
}

#[test]
fn key_made_on_a_token_without_a_place_for_its_public_half_is_named() {
    let room = Room::new();
    plug_in(&room, "ceremony");
    let generate = ["generate", "--out", "pkcs11:object=b", "--public-out", "none/b.pub.pem"];
    let output = with_pin(&room, PIN, &generate);
    refused(
        &output,
        320,
        "is in no file (cannot write: No such file or directory): none/b.pub.pem; do not make another",
    );
    // As it is named, it is found.
    let errors = String::from_utf8(output.stderr).unwrap();
    let uri = errors.split_once("on the token, as ").unwrap().1.split_once(", but").unwrap().0;
    let shown = without_pin(&room, &["show", uri, "--public-out", "b.pub.pem"]).output().unwrap();
    succeeded(&shown, &["show"]);
    assert!(ok(&room, &["smoke-test", uri, "--expect", "b.pub.pem"]).contains("works "));
    // Neither is it lost where nobody can be told in the usual way.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let generate = ["generate", "--out", "pkcs11:object=c", "--public-out", "c.pub.pem"];
    let mut command = without_pin(&room, &generate);
    refused(&command.env("TUFFET_PIN", PIN).stdout(writer).output().unwrap(), 307, ";object=c;id=%");
}

#[test]
fn key_imported_to_a_token_is_the_key_of_its_file() {
    let room = Room::with_keys(&["a"]);
    plug_in(&room, "ceremony");
    let import = ["--token", "ceremony", "--pin", PIN, "--label", "a", "--id", "0a"];
    room.tool("softhsm2-util", &[&["--import", "a.pem"][..], &import].concat());
    let id = keyid(&room, "a.pem");
    for uri in ["pkcs11:object=a", "pkcs11:id=%0a", "pkcs11:token=ceremony;type=private;object=a;id=%0A"] {
        assert!(ok(&room, &["show", uri]).contains(&id), "{uri}");
        assert!(ok(&room, &["smoke-test", uri, "--expect", &id]).contains("works "), "{uri}");
    }
    assert!(ok(&room, &["show", "pkcs11:object=a;type=public"]).contains(&id));
    refused(&with_pin(&room, PIN, &["smoke-test", "pkcs11:object=a;type=public"]), 212, "type=public");
    // A token that hides its public keys shows them to who knows the PIN.
    pkcs11_tool(&room, &["--delete-object", "--type", "pubkey", "--id", "0a"]);
    let public = room.tool("openssl", &["pkey", "-pubin", "-in", "a.pub.pem", "-outform", "DER"]);
    fs::write(room.path("a.der"), public).unwrap();
    let write = ["--write-object", "a.der", "--type", "pubkey", "--id", "0a", "--label", "a", "--private"];
    pkcs11_tool(&room, &write);
    assert!(ok(&room, &["show", "pkcs11:object=a"]).contains(&id));
    let alone = without_pin(&room, &["show", "pkcs11:object=a"]).env("TUFFET_PIN", "").output().unwrap();
    refused(&alone, 202, "TUFFET_PIN");
}

#[test]
fn root_with_threshold_two_is_signed_by_a_file_and_a_token() {
    let room = Room::with_keys(&["c", "x", "y"]);
    plug_in(&room, "ceremony");
    room.ok_with("correct horse", &["generate", "--out", "a.pem"]);
    make(&room, "root-b", "b.pub.pem");
    room.draft("request");
    let before = room.read("request");

    // Together in one run, or each holder in his own; the same request either way.
    let key = "pkcs11:token=ceremony;object=root-b";
    let digest = room.repository("request");
    let sign = ["sign", "request", "--yes", "--digest", &digest, "--key", "a.pem", key, "--out", "of-ab"];
    let said = ok(&room, &sign);
    assert!(said.contains("root 1: 2 of 2 have signed"), "{said}");
    assert!(
        said.contains(&format!("signed root version 1 with key {}\n", keyid(&room, "b.pub.pem"))),
        "{said}"
    );
    ok(&room, &["sign", "request", "--yes", "--key", key, "--out", "of-b"]);
    refused(&with_pin(&room, PIN, &["finish", "of-b", "--out", "1.root.json"]), 117, "signed 1 of 2");
    ok(&room, &["sign", "of-b", "--yes", "--key", "a.pem"]);
    let mut signers = [keyid(&room, "a.pub.pem"), keyid(&room, "b.pub.pem")];
    signers.sort();
    for request in ["of-ab", "of-b"] {
        assert_eq!(signatures(&room, request), signers, "{request}");
        room.ok(&["finish", request, "--out", &format!("{request}.json")]);
        let file = room.read(&format!("{request}.json"));
        Trusted::<[u8; ROOT]>::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &file).unwrap();
    }
    // openssl verifies what the token signed.
    let payload = room.json("request")["payload"].as_str().unwrap().to_owned();
    fs::write(room.path("payload.b64"), payload).unwrap();
    room.tool("openssl", &["base64", "-d", "-A", "-in", "payload.b64", "-out", "payload"]);
    let of_b = room.json("of-ab.json")["signatures"].as_array().unwrap().clone();
    let of_b = of_b.iter().find(|it| it["keyid"] == keyid(&room, "b.pub.pem").as_str()).unwrap().clone();
    let hex = of_b["sig"].as_str().unwrap();
    let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap());
    fs::write(room.path("sig"), bytes.collect::<Vec<u8>>()).unwrap();
    room.tool("openssl", &["dgst", "-sha256", "-verify", "b.pub.pem", "-signature", "sig", "payload"]);

    refused(&with_pin(&room, PIN, &["sign", "of-ab", "--yes", "--key", key]), 113, "root-b");
    assert_eq!(room.read("request"), before);
}

#[test]
fn pin_from_descriptor_variable_file_or_prompt_and_never_an_argument() {
    let room = Room::with_keys(&["c", "x", "y"]);
    plug_in(&room, "ceremony");
    room.ok_with("correct horse", &["generate", "--out", "a.pem"]);
    make(&room, "root-b", "b.pub.pem");
    let key = "pkcs11:object=root-b";

    let named = ["smoke-test", key, "--pin-env", "OTHER"];
    let output = without_pin(&room, &named).env("OTHER", PIN).env("TUFFET_PIN", "no").output().unwrap();
    succeeded(&output, &named);
    fs::write(room.path("pin"), format!("{PIN}\n")).unwrap();
    let source = format!("{key}?pin-source=file:{}", room.path("pin").display());
    succeeded(&without_pin(&room, &["smoke-test", &source]).output().unwrap(), &["pin-source"]);
    let missing = format!("{key}?pin-source=file:{}", room.path("none").display());
    refused(&without_pin(&room, &["smoke-test", &missing]).output().unwrap(), 301, "none");
    // One line for each key, passphrase or PIN, in their order.
    fs::write(room.path("lines"), format!("{PIN}\ncorrect horse\n")).unwrap();
    let script = format!("exec \"$0\" smoke-test '{key}' a.pem --passphrase-fd 7 7<lines");
    let mut shell = room.command("sh");
    shell.args(["-c", &script, BINARY]).env("TUFFET_PKCS11_MODULE", module());
    succeeded(&shell.output().unwrap(), &["smoke-test"]);

    room.draft("request");
    let script = format!(
        "TUFFET_PKCS11_MODULE={} script -qec '\"{BINARY}\" --now {NOW} sign request --key \"{key}\"' /dev/null < typed",
        module().display()
    );
    fs::write(room.path("typed"), format!("{}\n{PIN}\n", room.repository("request"))).unwrap();
    let output = room.command("sh").args(["-c", &script]).output().unwrap();
    let screen = String::from_utf8_lossy(&output.stdout);
    // What stands before the prompt is the terminal's echo of what this test typed ahead.
    let after = screen.split_once("PIN of token ceremony: ").unwrap_or_else(|| panic!("{screen}")).1;
    assert!(output.status.success() && !after.contains(PIN), "{screen}");
    assert_eq!(signatures(&room, "request"), [keyid(&room, "b.pub.pem")]);

    // The passphrase of key files is no PIN, and is not tried as one.
    let mut alone = room.command("setsid");
    alone.arg("--wait").arg(BINARY).args(["smoke-test", key]).env("TUFFET_PKCS11_MODULE", module());
    refused(
        &alone.env("TUFFET_PASSPHRASE", "wrong").output().unwrap(),
        303,
        "for the PIN: token ceremony; set TUFFET_PIN, or use --passphrase-fd",
    );
    assert!(!flags(&room).contains("low"), "{}", flags(&room));
    // Where a person types, a person confirms.
    let unattended = without_pin(&room, &["sign", "request", "--yes", "--key", key]).output().unwrap();
    refused(&unattended, 209, "--yes");
    // With a PIN from a file nobody types: this gets as far as the signature that is there already.
    let from_file = without_pin(&room, &["sign", "request", "--yes", "--key", &source]).output().unwrap();
    refused(&from_file, 113, "root-b");
    // A PIN in the URI is refused, and is not repeated.
    for uri in ["pkcs11:object=root-b?pin-value=481516", "pkcs11:object=%zz?pin-value=481516"] {
        for command in ["show", "smoke-test"] {
            let output = without_pin(&room, &[command, uri]).output().unwrap();
            refused(&output, 213, "pin-value");
            assert!(!String::from_utf8_lossy(&output.stderr).contains(PIN));
        }
    }
}

/// What the token says about itself.
pub(crate) fn flags(room: &Room) -> String {
    let module = module();
    let output = room.tool("pkcs11-tool", &["--module", module.to_str().unwrap(), "--list-token-slots"]);
    let text = String::from_utf8(output).unwrap();
    text.lines().find(|line| line.contains("token flags")).unwrap().to_owned()
}

/// Takes the token out of the machine; the returned function puts it back.
pub(crate) fn pull_out(room: &Room) -> impl FnOnce() + use<> {
    let (tokens, away): (PathBuf, PathBuf) = (room.path("tokens"), room.path("away"));
    fs::rename(&tokens, &away).unwrap();
    fs::create_dir(&tokens).unwrap();
    move || {
        let back: &Path = &tokens;
        fs::remove_dir_all(back).unwrap();
        fs::rename(&away, back).unwrap();
    }
}
