//! The real binary, on real files, against the real `openssl`.

use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use tuffet_client::{SOFTWARE, Trusted};

const BINARY: &str = env!("CARGO_BIN_EXE_tuffet-keys");

/// The day on which all of this happens, whatever the clock says.
const NOW: &str = "2026-11-22T13:14:15Z";

/// A directory in which commands run.
struct Room(TempDir);

impl Room {
    fn new() -> Room {
        Room(tempfile::tempdir().unwrap())
    }

    /// With an unencrypted key pair of each name; the ceremony's own test makes encrypted ones.
    fn with_keys(names: &[&str]) -> Room {
        let room = Room::new();
        for name in names {
            room.ok(&["generate", "--danger-unencrypted", "--out", &format!("{name}.pem")]);
        }
        room
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.0.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command.current_dir(self.0.path()).env_remove("TUFFET_PASSPHRASE").stdin(Stdio::null());
        command
    }

    fn keys(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(BINARY);
        command.args(["--now", NOW]).args(arguments);
        command
    }

    /// Runs a command that must succeed, and gives what it printed.
    fn ok(&self, arguments: &[&str]) -> String {
        succeeded(&self.keys(arguments).output().unwrap(), arguments)
    }

    /// Runs a command that must be refused with this code and exit status, in one line that holds `says`.
    fn refused(&self, arguments: &[&str], code: u16, says: &str) {
        refused(&self.keys(arguments).output().unwrap(), code, says);
    }

    /// As [`Room::ok`] with a passphrase in the environment.
    fn ok_with(&self, passphrase: &str, arguments: &[&str]) -> String {
        succeeded(&self.keys(arguments).env("TUFFET_PASSPHRASE", passphrase).output().unwrap(), arguments)
    }

    /// Runs a program that must succeed, and gives its output.
    fn tool(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(program).args(arguments).env("PASS", "correct horse").output();
        let output = output.unwrap_or_else(|error| panic!("{program}, which these tests need: {error}"));
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// A request for root 1: root a, b, c with threshold 2, targets x and y, online x.
    fn draft(&self, out: &str) -> String {
        self.ok(&[
            "root",
            "draft",
            "--root-key",
            "a.pub.pem",
            "b.pub.pem",
            "c.pub.pem",
            "--targets-key",
            "x.pub.pem",
            "y.pub.pem",
            "--snapshot-key",
            "x.pub.pem",
            "--timestamp-key",
            "x.pub.pem",
            "--out",
            out,
        ])
    }

    fn sign(&self, request: &str, key: &str, out: &str) -> String {
        self.ok(&[
            "sign",
            request,
            "--danger-unencrypted",
            "--yes",
            "--key",
            &format!("{key}.pem"),
            "--out",
            out,
        ])
    }

    /// A finished root 1.
    fn first_root(&self) {
        self.draft("1.request");
        self.sign("1.request", "a", "1.a");
        self.sign("1.a", "b", "1.ab");
        self.ok(&["finish", "1.ab", "--out", "1.root.json"]);
    }
}

fn succeeded(output: &Output, arguments: &[&str]) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert_eq!(errors, "", "{arguments:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn refused(output: &Output, code: u16, says: &str) {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    // The prompt of a confirmation, and nothing else, may stand before the error.
    let line = errors.split_once("to sign: ").map_or(&*errors, |(_, error)| error);
    assert!(line.starts_with(&format!("error[K{code}]: ")), "not K{code}: {errors}");
    assert!(line.contains(says), "{says:?} is not in {line}");
    assert_eq!(line.matches('\n').count(), 1, "not one line: {line}");
    assert!(line.contains("; "), "does not say what to do next: {line}");
    let exit = match code {
        100..200 => 1,
        200..300 => 2,
        _ => 3,
    };
    assert_eq!(output.status.code(), Some(exit), "{line}");
}

fn keyid(room: &Room, file: &str) -> String {
    let shown = room.ok(&["show", file]);
    shown.lines().find_map(|line| line.trim().strip_prefix("keyid")).unwrap().trim().to_owned()
}

#[test]
fn ceremony_with_three_encrypted_root_keys_finishes_with_two() {
    let room = Room::with_keys(&["x", "y"]);
    for name in ["a", "b", "c"] {
        let out = room.ok_with("correct horse", &["generate", "--out", &format!("{name}.pem")]);
        assert!(out.contains("private key, encrypted"), "{out}");
    }

    // The private key is one for openssl, and its public half is ours.
    assert!(room.read("a.pem").starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY-----\n"));
    let public = room.tool("openssl", &["pkey", "-in", "a.pem", "-passin", "env:PASS", "-pubout"]);
    assert_eq!(public, room.read("a.pub.pem"));
    let structure = room.tool("openssl", &["asn1parse", "-in", "a.pem"]);
    let structure = String::from_utf8(structure).unwrap();
    for part in ["PBES2", "scrypt", "INTEGER           :4000", "aes-256-cbc"] {
        assert!(structure.contains(part), "{part} is not in {structure}");
    }

    let shown = room.draft("request.json");
    assert!(shown.starts_with("root version 1\n"), "{shown}");
    assert!(shown.contains("expires    2027-11-22T13:14:15Z (in 365 days)\n"), "{shown}");
    assert!(shown.contains("root: 2 of 3 keys must sign\n"), "{shown}");
    assert!(shown.contains("targets: 2 of 2 keys must sign\n"), "{shown}");
    for name in ["a", "b", "c", "x", "y"] {
        let key = room.ok(&["show", &format!("{name}.pub.pem")]);
        let fingerprint =
            key.lines().find_map(|line| line.trim().strip_prefix("fingerprint")).unwrap().trim();
        assert!(shown.contains(fingerprint), "{name} is not in {shown}");
    }

    // Each holder signs a copy of the request, in a run of his own.
    let signed = room
        .ok_with("correct horse", &["sign", "request.json", "--yes", "--key", "a.pem", "--out", "of-a.json"]);
    assert!(signed.starts_with("root version 1\n"), "not reviewed: {signed}");
    assert!(
        signed.contains(&format!("signed root version 1 with key {}\n", keyid(&room, "a.pub.pem"))),
        "{signed}"
    );
    room.ok_with("correct horse", &["sign", "request.json", "--yes", "--key", "b.pem", "--out", "of-b.json"]);

    let short = |name: &str| keyid(&room, &format!("{name}.pub.pem"))[..16].to_owned();
    let mut missing = [short("b"), short("c")];
    missing.sort();
    let says = format!(
        "signed 1 of 2 by the keys of root 1: {}; missing 1 more of {}",
        short("a"),
        missing.join(", ")
    );
    room.refused(&["finish", "of-a.json", "--out", "1.root.json"], 117, &says);
    room.refused(
        &["finish", "request.json", "--out", "1.root.json"],
        117,
        "signed 0 of 2 by the keys of root 1: nobody",
    );
    // The same copy twice is no second signature.
    room.ok(&["merge", "of-a.json", "of-a.json", "--out", "twice.json"]);
    assert_eq!(room.read("twice.json"), room.read("of-a.json"));
    assert!(!room.path("1.root.json").exists());

    let merged = room.ok(&["merge", "of-a.json", "of-b.json", "--out", "both.json"]);
    assert!(merged.contains("root 1: 2 of 2 have signed: "), "{merged}");
    room.ok(&["merge", "of-b.json", "twice.json", "of-a.json", "--out", "other-way.json"]);
    assert_eq!(room.read("both.json"), room.read("other-way.json"));
    assert!(room.ok(&["review", "both.json"]).contains("signed by 2 of 2 keys of root 1\n"));

    room.ok(&["finish", "both.json", "--out", "1.root.json"]);
    let file = room.read("1.root.json");
    Trusted::from_root_file(&SOFTWARE, &file).unwrap();

    // openssl verifies both signatures over the payload of the request.
    let payload = room.json("both.json")["payload"].as_str().unwrap().to_owned();
    fs::write(room.path("payload.b64"), payload).unwrap();
    let payload = room.tool("openssl", &["base64", "-d", "-A", "-in", "payload.b64"]);
    fs::write(room.path("payload"), &payload).unwrap();
    let signatures = room.json("1.root.json")["signatures"].as_array().unwrap().clone();
    assert_eq!(signatures.len(), 2);
    for name in ["a", "b"] {
        let keyid = keyid(&room, &format!("{name}.pub.pem"));
        let signature = signatures.iter().find(|signature| signature["keyid"] == keyid.as_str()).unwrap();
        fs::write(room.path("sig"), from_hex(signature["sig"].as_str().unwrap())).unwrap();
        let public = format!("{name}.pub.pem");
        room.tool("openssl", &["dgst", "-sha256", "-verify", &public, "-signature", "sig", "payload"]);
    }

    // Published and signed bytes differ in the newlines of the keys alone.
    let published = String::from_utf8(file).unwrap();
    let signed =
        published.split_once("\"signed\":").unwrap().1.strip_suffix('}').unwrap().replace("\\n", "\n");
    assert_eq!(signed.as_bytes(), payload);
}

fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn rotation_of_one_root_key_needs_old_and_new_holders() {
    let room = Room::with_keys(&["a", "b", "c", "d", "x", "y"]);
    room.first_root();
    let a = keyid(&room, "a.pub.pem");
    let next =
        ["root", "next", "--from", "1.root.json", "--remove-root-key", &a, "--add-root-key", "d.pub.pem"];
    let shown = room.ok(&[&next[..], &["--expires", "2028-01-01", "--out", "2.request"]].concat());
    assert!(shown.contains("root version 2\n"), "{shown}");
    assert!(shown.contains("expires    2028-01-01T00:00:00Z (in 404 days)\n"), "{shown}");
    assert!(shown.contains("signed by 0 of 2 keys of root 1\n"), "{shown}");
    assert!(shown.contains("signed by 0 of 2 keys of root 2\n"), "{shown}");

    room.sign("2.request", "a", "2.a");
    let signed = room.sign("2.a", "b", "2.ab");
    assert!(signed.contains("root 1: 2 of 2 have signed"), "{signed}");
    assert!(signed.contains("root 2: 1 of 2 have signed"), "{signed}");
    room.refused(&["finish", "2.ab", "--out", "2.root.json"], 117, "signed 1 of 2 by the keys of root 2");
    room.sign("2.request", "d", "2.d");
    room.ok(&["merge", "2.d", "2.ab", "--out", "2.abd"]);
    room.ok(&["finish", "2.abd", "--out", "2.root.json"]);

    let mut trusted = Trusted::from_root_file(&SOFTWARE, &room.read("1.root.json")).unwrap();
    trusted.next_root_file(&SOFTWARE, &room.read("2.root.json")).unwrap();

    // Root 3 finds 1.root.json beside 2.root.json; it may be named as well; without it there is no chain.
    let next =
        ["root", "next", "--from", "2.root.json", "--remove-root-key", "b.pub.pem", "--root-threshold", "1"];
    room.ok(&[&next[..], &["--out", "3.request"]].concat());
    room.ok(&[&next[..], &["--root-chain", "1.root.json", "--out", "3.same"]].concat());
    assert_eq!(room.read("3.request"), room.read("3.same"));
    room.refused(&[&next[..], &["--root-chain", "2.root.json", "--out", "3"]].concat(), 116, "at version 1");
    room.refused(&[&next[..], &["--remove-root-key", &a, "--out", "3"]].concat(), 207, &a);
    room.refused(&[&next[..], &["--add-root-key", "d.pub.pem", "--out", "3"]].concat(), 206, "d.pub.pem");
    let crowd = ["root", "next", "--from", "2.root.json", "--root-threshold", "4", "--out", "3"];
    room.refused(&crowd, 205, "root cannot have threshold 4, its number of keys is 3");
    fs::rename(room.path("1.root.json"), room.path("away")).unwrap();
    room.refused(&[&next[..], &["--out", "3"]].concat(), 301, "1.root.json");
    assert!(!room.path("3").exists());
}

#[test]
fn passphrase_from_descriptor_variable_or_nowhere() {
    let room = Room::with_keys(&["x"]);
    room.ok_with("first", &["generate", "--out", "a.pem"]);
    // The named variable, not the default one, and a line without its end.
    let mut generate = room.keys(&["generate", "--out", "b.pem", "--passphrase-env", "OTHER"]);
    succeeded(
        &generate.env("OTHER", "second").env("TUFFET_PASSPHRASE", "no").output().unwrap(),
        &["generate b"],
    );

    // One line for each key, in order, from one descriptor.
    fs::write(room.path("lines"), "first\nsecond").unwrap();
    let shell = |keys: &[&str]| {
        let script = format!("exec \"$0\" show {} --passphrase-fd 7 7<lines", keys.join(" "));
        room.command("sh").args(["-c", &script, BINARY]).output().unwrap()
    };
    succeeded(&shell(&["a.pem", "b.pem"]), &["show a b"]);
    refused(&shell(&["b.pem", "a.pem"]), 108, "b.pem");
    refused(&shell(&["a.pem", "b.pem", "a.pem"]), 202, "a.pem");

    let show = |variable: &str| {
        let mut command = room.keys(&["show", "a.pem", "--passphrase-env", variable]);
        command.env("EMPTY", "").env("WRONG", "First").output().unwrap()
    };
    refused(&show("WRONG"), 108, "wrong passphrase: a.pem");
    refused(&show("EMPTY"), 202, "EMPTY");
    refused(&show("MISSING"), 302, "MISSING");
    let closed = room.keys(&["show", "a.pem", "--passphrase-fd", "9"]).output().unwrap();
    refused(&closed, 301, "/dev/fd/9");
    // Without a terminal nobody can be asked.
    let alone = room.command("setsid").args(["--wait", BINARY, "show", "a.pem"]).output().unwrap();
    refused(&alone, 303, "no terminal");
    // An unencrypted key needs no passphrase.
    assert!(room.ok(&["show", "x.pem"]).contains("private key, NOT ENCRYPTED"));
    // Arguments are seen by every process of the machine.
    let argument = room.keys(&["show", "a.pem", "--passphrase", "first"]).output().unwrap();
    assert_eq!(argument.status.code(), Some(2));
}

/// Types `lines` on a terminal of its own, and gives exit status and screen.
fn typed(room: &Room, lines: &str, arguments: &str) -> (bool, String) {
    fs::write(room.path("typed"), lines).unwrap();
    let script = format!("script -qec '\"{BINARY}\" --now {NOW} {arguments}' /dev/null < typed");
    let output = room.command("sh").args(["-c", &script]).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
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
    let (done, screen) = typed(&room, "1\nsecret\n", "sign request --key a.pem");
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
fn sign_without_the_typed_version_changes_nothing() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    let before = room.read("request");
    let sign = |answer: &str| {
        fs::write(room.path("answer"), answer).unwrap();
        let mut command = room.keys(&["sign", "request", "--key", "a.pem", "--danger-unencrypted"]);
        command.stdin(fs::File::open(room.path("answer")).unwrap()).output().unwrap()
    };
    for answer in ["", "\n", "2\n", "yes\n", "11\n", "1 2\n"] {
        refused(&sign(answer), 119, "1 was not typed");
        assert_eq!(room.read("request"), before);
    }
    let output = sign("1\n");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(room.json("request")["signatures"].as_array().unwrap().len(), 1);
}

fn signatures(room: &Room, request: &str) -> Vec<String> {
    let signatures = room.json(request)["signatures"].as_array().unwrap().clone();
    signatures.iter().map(|signature| signature["keyid"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn sign_by_two_at_once_in_place_keeps_both_signatures() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("draft");
    let mut both = vec![keyid(&room, "a.pub.pem"), keyid(&room, "b.pub.pem")];
    both.sort();
    for round in 0..100 {
        fs::copy(room.path("draft"), room.path("request")).unwrap();
        let signers: Vec<Child> = ["a.pem", "b.pem"]
            .into_iter()
            .map(|key| {
                let mut command =
                    room.keys(&["sign", "request", "--danger-unencrypted", "--yes", "--key", key]);
                command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
            })
            .collect();
        for signer in signers {
            succeeded(&signer.wait_with_output().unwrap(), &["sign"]);
        }
        assert_eq!(signatures(&room, "request"), both, "round {round}");
    }
}

/// Starts to sign `request` with key a in its place, and waits for the prompt.
fn signer_at_the_prompt(room: &Room) -> Child {
    let mut signer = room
        .keys(&["sign", "request", "--danger-unencrypted", "--key", "a.pem"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let prompt = b"Type the version number 1 to sign: ";
    let mut read = vec![0; prompt.len()];
    signer.stderr.as_mut().unwrap().read_exact(&mut read).unwrap();
    assert_eq!(read, prompt);
    signer
}

fn typed_at_the_prompt(mut signer: Child) -> Output {
    signer.stdin.take().unwrap().write_all(b"1\n").unwrap();
    signer.wait_with_output().unwrap()
}

#[test]
fn sign_of_a_request_that_changed_at_the_prompt_writes_nothing() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("draft");
    // Another date of issue and of expiry makes another payload, of the same version.
    let next_day = room
        .command(BINARY)
        .args(["--now", "2026-11-23T13:14:15Z", "root", "draft", "--out", "other"])
        .args(["--root-key", "a.pub.pem", "b.pub.pem", "--targets-key", "x.pub.pem", "y.pub.pem"])
        .args(["--snapshot-key", "x.pub.pem", "--timestamp-key", "x.pub.pem"])
        .output();
    succeeded(&next_day.unwrap(), &["root draft"]);
    fs::write(room.path("damaged"), &room.read("other")[..100]).unwrap();
    for other in ["other", "damaged"] {
        fs::copy(room.path("draft"), room.path("request")).unwrap();
        let signer = signer_at_the_prompt(&room);
        fs::copy(room.path(other), room.path("coming")).unwrap();
        fs::rename(room.path("coming"), room.path("request")).unwrap();
        let before = room.files();
        refused(&typed_at_the_prompt(signer), 124, "changed while you looked: request; review it again");
        assert_eq!(room.read("request"), room.read(other));
        assert_eq!(room.files(), before);
    }

    // A request that another holder signed meanwhile is the same request.
    fs::copy(room.path("draft"), room.path("request")).unwrap();
    let signer = signer_at_the_prompt(&room);
    room.ok(&["sign", "request", "--danger-unencrypted", "--yes", "--key", "b.pem"]);
    let output = typed_at_the_prompt(signer);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("2 of 2 have signed"));
    assert_eq!(signatures(&room, "request").len(), 2);

    // A request that went away is not put back.
    fs::copy(room.path("draft"), room.path("request")).unwrap();
    let signer = signer_at_the_prompt(&room);
    fs::remove_file(room.path("request")).unwrap();
    refused(&typed_at_the_prompt(signer), 301, "cannot read: No such file or directory: request");
    assert!(!room.path("request").exists());
}

#[test]
fn merge_into_a_copy_that_changed_meanwhile_loses_nothing() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("draft");
    room.sign("draft", "a", "of-a");
    room.sign("draft", "b", "of-b");
    room.sign("draft", "c", "of-c");
    let other = Room::with_keys(&["a", "b", "c", "x", "y"]);
    other.draft("other");
    room.tool("mkfifo", &["pipe"]);
    // The second copy comes through a pipe: who opens it for writing knows that the first has been read.
    let merge = |meanwhile: &[u8]| {
        fs::copy(room.path("of-a"), room.path("request")).unwrap();
        let mut command = room.keys(&["merge", "request", "pipe", "--out", "request"]);
        let merge = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut pipe = fs::File::options().write(true).open(room.path("pipe")).unwrap();
        fs::write(room.path("request"), meanwhile).unwrap();
        pipe.write_all(&room.read("of-b")).unwrap();
        drop(pipe);
        merge.wait_with_output().unwrap()
    };
    let output = merge(&room.read("of-c"));
    assert!(succeeded(&output, &["merge"]).contains("3 of 2 have signed"));
    assert_eq!(signatures(&room, "request").len(), 3);
    let another = other.read("other");
    refused(&merge(&another), 124, "request; review it again; nothing was written");
    assert_eq!(room.read("request"), another);
}

#[test]
fn sign_unattended_needs_a_passphrase_from_elsewhere() {
    let room = Room::with_keys(&["b", "c", "x", "y"]);
    room.ok_with("secret", &["generate", "--out", "a.pem"]);
    room.draft("request");
    let before = room.read("request");
    room.refused(&["sign", "request", "--yes", "--key", "a.pem"], 209, "--yes");
    room.refused(&["sign", "request", "--key", "a.pem", "--passphrase-fd", "0"], 209, "--yes");
    // An unencrypted key among the others needs its flag, before anything is signed.
    let mixed = room
        .keys(&["sign", "request", "--yes", "--key", "a.pem", "b.pem"])
        .env("TUFFET_PASSPHRASE", "secret")
        .output();
    refused(&mixed.unwrap(), 109, "b.pem");
    let wrong = room
        .keys(&["sign", "request", "--yes", "--key", "a.pem"])
        .env("TUFFET_PASSPHRASE", "Secret")
        .output();
    refused(&wrong.unwrap(), 108, "a.pem");
    assert_eq!(room.read("request"), before);
}

#[test]
fn sign_by_a_foreign_key_or_a_second_time_is_refused() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    let sign = ["sign", "request", "--danger-unencrypted", "--yes", "--key"];
    room.refused(&[&sign[..], &["x.pem"]].concat(), 111, &keyid(&room, "x.pub.pem"));
    room.ok(&[&sign[..], &["a.pem"]].concat());
    let once = room.read("request");
    room.refused(&[&sign[..], &["a.pem"]].concat(), 113, &keyid(&room, "a.pub.pem"));
    room.refused(&[&sign[..], &["b.pem", "a.pem"]].concat(), 113, "a.pem");
    assert_eq!(room.read("request"), once, "all keys or none");
    room.refused(&[&sign[..], &["a.pub.pem"]].concat(), 106, "the public half");
    room.refused(&[&sign[..], &["none.pem"]].concat(), 301, "none.pem");
    room.refused(&[&sign[..], &["request"]].concat(), 106, "request");
}

#[test]
fn request_issued_in_the_future_is_shown_and_neither_signed_nor_finished() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    room.sign("request", "a", "by-a");
    room.sign("by-a", "b", "by-ab");
    let at = |now: &str, arguments: &[&str]| {
        room.command(BINARY).args(["--now", now]).args(arguments).output().unwrap()
    };
    // Drafted at 13:14:15 by one clock: an hour before is a difference of clocks, a second more is an error.
    let (hour_before, too_early) = ("2026-11-22T12:14:15Z", "2026-11-22T12:14:14Z");
    let sign = ["sign", "by-a", "--danger-unencrypted", "--yes", "--key", "c.pem", "--out", "by-ac"];
    let finish = ["finish", "by-ab", "--out", "1.root.json"];
    let next = ["root", "next", "--from", "1.root.json", "--out", "2.request"];

    let before = room.files();
    for arguments in [&sign[..], &finish[..]] {
        let output = at(too_early, arguments);
        refused(
            &output,
            123,
            "issued 2026-11-22T13:14:15Z, which is yet to come: it is 2026-11-22T12:14:14Z",
        );
        refused(&output, 123, "give --now");
    }
    assert_eq!(room.files(), before);
    let review = |now| String::from_utf8(at(now, &["review", "by-a"]).stdout).unwrap();
    assert!(review(too_early).contains("ISSUED IN THE FUTURE\n"));
    assert!(!review(hour_before).contains("FUTURE"));

    for arguments in [&sign[..], &finish[..]] {
        succeeded(&at(hour_before, arguments), arguments);
    }
    refused(&at(too_early, &next), 123, "1.root.json");
    succeeded(&at(hour_before, &next), &next);
    // The holders' clocks judge the drafter's.
    let drafted = ["root", "next", "--from", "1.root.json", "--out", "2099.request"];
    succeeded(&at("2099-01-01", &drafted), &drafted);
    let sign = ["sign", "2099.request", "--danger-unencrypted", "--yes", "--key", "a.pem"];
    refused(&at(NOW, &sign), 123, "issued 2099-01-01T00:00:00Z");
}

#[test]
fn request_that_is_damaged_is_refused_by_every_command() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.first_root();
    let good = room.read("1.a");
    let text = String::from_utf8(good.clone()).unwrap();
    let payload = room.json("1.a")["payload"].as_str().unwrap().to_owned();

    let write = |name: &str, bytes: &[u8]| fs::write(room.path(name), bytes).unwrap();
    // A threshold of 2 that becomes 1 in the bytes to sign: `threshold":2` in base64, at whatever offset.
    let decoded = room.tool("sh", &["-c", &format!("printf %s '{payload}' | base64 -d")]);
    let tampered = String::from_utf8(decoded).unwrap().replace("\"threshold\":2", "\"threshold\":1");
    write("tampered-payload", tampered.as_bytes());
    let tampered = String::from_utf8(room.tool("base64", &["-w0", "tampered-payload"])).unwrap();
    write("tampered", text.replace(&payload, &tampered).as_bytes());
    // Root 1 signed by b, under the name of a.
    let of_b = text.replace(&keyid(&room, "a.pub.pem"), &keyid(&room, "b.pub.pem"));
    let renamed = text.rsplit_once("\"signatures\"").unwrap().0.to_owned()
        + "\"signatures\""
        + of_b.rsplit_once("\"signatures\"").unwrap().1;
    write("signature", renamed.as_bytes());
    write("truncated", &good[..good.len() / 2]);
    write("empty", b"");
    write("binary", &[0xff; 64]);
    write("typed", text.replace("\"version\": 1", "\"version\": \"1\"").as_bytes());
    write("future", text.replace("\"format\": 1", "\"format\": 2").as_bytes());
    fs::File::create(room.path("huge")).unwrap().set_len(1 << 30).unwrap();
    fs::create_dir(room.path("directory")).unwrap();

    for (request, code, says) in [
        ("tampered", 115, "`signers`"),
        ("signature", 112, "does not verify"),
        ("truncated", 102, "truncated"),
        ("empty", 102, "empty"),
        ("binary", 102, "binary"),
        ("typed", 120, "typed"),
        ("future", 105, "unknown format 2"),
        ("huge", 101, "16384 KiB"),
        ("1.root.json", 120, "not a signing request"),
        ("a.pem", 102, "a.pem"),
        ("missing", 301, "missing"),
        ("directory", 301, "directory"),
    ] {
        let before = room.files();
        room.refused(&["review", request], code, says);
        room.refused(
            &["sign", request, "--danger-unencrypted", "--yes", "--key", "c.pem", "--out", "out"],
            code,
            says,
        );
        room.refused(&["merge", "1.a", request, "--out", "out"], code, says);
        room.refused(&["finish", request, "--out", "out"], code, says);
        assert_eq!(room.files(), before, "{request} left something behind");
    }
    let other = Room::with_keys(&["a", "b", "c", "x", "y"]);
    other.draft("request");
    write("other", &other.read("request"));
    room.refused(&["merge", "1.a", "other", "--out", "out"], 114, "other");
}

#[test]
fn file_that_exists_is_never_overwritten() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.first_root();
    let contents =
        |room: &Room| room.files().iter().map(|name| (name.clone(), room.read(name))).collect::<Vec<_>>();
    fs::write(room.path("only.pub.pem"), "kept").unwrap();
    let before = contents(&room);
    let draft = [
        "root",
        "draft",
        "--root-key",
        "a.pub.pem",
        "--root-threshold",
        "1",
        "--targets-key",
        "x.pub.pem",
        "--targets-threshold",
        "1",
        "--snapshot-key",
        "x.pub.pem",
        "--timestamp-key",
        "x.pub.pem",
        "--out",
        "1.a",
    ];
    room.refused(&["generate", "--danger-unencrypted", "--out", "a.pem"], 201, "a.pem");
    room.refused(&["generate", "--danger-unencrypted", "--out", "only.pem"], 201, "only.pub.pem");
    // Known before a passphrase is asked for.
    room.refused(&["generate", "--out", "a.pem"], 201, "a.pem");
    room.refused(&draft, 201, "1.a");
    room.refused(&["root", "next", "--from", "1.root.json", "--out", "1.a"], 201, "1.a");
    room.refused(&["merge", "1.a", "--out", "1.ab"], 201, "1.ab");
    room.refused(&["finish", "1.ab", "--out", "1.root.json"], 201, "1.root.json");
    room.refused(
        &["sign", "1.a", "--danger-unencrypted", "--yes", "--key", "c.pem", "--out", "1.ab"],
        201,
        "1.ab",
    );
    assert_eq!(contents(&room), before);
    // In its own place a request may grow.
    room.ok(&["merge", "1.a", "1.ab", "--out", "1.a"]);
    assert_eq!(room.read("1.a"), room.read("1.ab"));
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

/// Runs a command whose standard output nobody reads.
fn unread(room: &Room, arguments: &[&str]) -> Output {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    room.keys(arguments).stdout(writer).output().unwrap()
}

/// Runs a command whose standard output has no room.
fn on_a_full_disk(room: &Room, arguments: &[&str]) -> Output {
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    room.keys(arguments).stdout(full).output().unwrap()
}

#[test]
fn closed_pipe_ends_what_only_shows_quietly() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    for arguments in [
        &["review", "request"][..],
        &["show", "a.pub.pem", "a.pem"],
        &["--help"],
        &["--version"],
        &["sign", "--help"],
        &["root", "draft", "--help"],
    ] {
        succeeded(&unread(&room, arguments), arguments);
    }
    // A full disk is no reader who has seen enough.
    for arguments in [&["review", "request"][..], &["show", "a.pub.pem"]] {
        refused(
            &on_a_full_disk(&room, arguments),
            307,
            "standard output failed (No space left on device); nothing",
        );
    }
    // What is wrong with the request is said even when nobody reads.
    refused(&unread(&room, &["review", "a.pem"]), 102, "a.pem");
}

#[test]
fn output_that_fails_is_told_with_the_files_that_exist() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
    room.draft("request");
    let sign = ["sign", "request", "--danger-unencrypted", "--yes", "--key", "a.pem"];
    let before = room.read("request");
    for run in [unread, on_a_full_disk] {
        // What cannot be shown is not signed.
        refused(&run(&room, &sign), 307, "nothing was written");
        assert_eq!(room.read("request"), before);
    }
    // The reader goes after the review: the signature is made and kept.
    let mut signer = signer_at_the_prompt(&room);
    drop(signer.stdout.take());
    refused(&typed_at_the_prompt(signer), 307, "after these files were written: request; they exist");
    assert_eq!(signatures(&room, "request"), [keyid(&room, "a.pub.pem")]);
    fs::rename(room.path("request"), room.path("of-a")).unwrap();
    room.sign("of-a", "b", "of-ab");
    for (round, run) in [unread, on_a_full_disk].into_iter().enumerate() {
        let name = |what: &str| format!("{what}-{round}");
        let (key, public) = (name("key") + ".pem", name("key") + ".pub.pem");
        let (drafted, merged, finished) = (name("drafted"), name("merged"), name("finished"));
        let draft = [
            &["root", "draft", "--root-key", "a.pub.pem", "b.pub.pem"][..],
            &["--targets-key", "x.pub.pem", "y.pub.pem", "--snapshot-key", "x.pub.pem"],
            &["--timestamp-key", "x.pub.pem", "--out", &drafted],
        ]
        .concat();
        for (arguments, files) in [
            (&["generate", "--danger-unencrypted", "--out", &key][..], &[&key, &public][..]),
            (&draft, &[&drafted]),
            (&["merge", "of-a", "of-ab", "--out", &merged], &[&merged]),
            (&["finish", "of-ab", "--out", &finished], &[&finished]),
        ] {
            let names = files.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(", ");
            let output = run(&room, arguments);
            refused(&output, 307, &format!("after these files were written: {names}; they exist"));
            for file in files {
                assert!(!room.read(file).is_empty());
            }
        }
        assert_eq!(keyid(&room, &key), keyid(&room, &public));
        assert_eq!(room.read(&merged), room.read("of-ab"));
        Trusted::from_root_file(&SOFTWARE, &room.read(&finished)).unwrap();
    }
}

#[test]
fn help_of_every_command_is_there_and_usage_errors_are_two() {
    let room = Room::new();
    for command in
        ["generate", "show", "root", "root draft", "root next", "review", "sign", "merge", "finish"]
    {
        let arguments: Vec<&str> = command.split(' ').chain(["--help"]).collect();
        assert!(room.ok(&arguments).contains("Usage: tuffet-keys"), "{command}");
    }
    for arguments in [&["sign"][..], &["finish", "a"], &["no-such"], &["merge", "--out", "x"], &["generate"]]
    {
        let output = room.keys(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
    }
    let expires = [
        "root",
        "draft",
        "--root-key",
        "a",
        "--targets-key",
        "a",
        "--snapshot-key",
        "a",
        "--timestamp-key",
        "a",
    ];
    room.refused(&[&expires[..], &["--out", "r", "--expires", "soon"]].concat(), 204, "--expires");
    let output = room.command(BINARY).args(["--now", "today", "review", "x"]).output().unwrap();
    refused(&output, 204, "--now");
}

#[test]
fn draft_that_makes_no_sense_is_refused() {
    let room = Room::with_keys(&["a"]);
    let draft = [
        "root",
        "draft",
        "--root-key",
        "a.pub.pem",
        "--root-threshold",
        "1",
        "--targets-key",
        "a.pub.pem",
        "--targets-threshold",
        "1",
        "--snapshot-key",
        "a.pub.pem",
        "--timestamp-key",
        "a.pub.pem",
        "--out",
        "r",
    ];
    room.refused(&[&draft[..], &["--expires", "2026-11-22"]].concat(), 210, "2026-11-22T00:00:00Z");
    room.refused(&[&draft[..], &["--root-key", "a.pub.pem"]].concat(), 206, "a.pub.pem");
    room.refused(&[&draft[..], &["--targets-key", "none"]].concat(), 301, "none");
    let default =
        ["root", "draft", "--root-key", "a.pub.pem", "--targets-key", "a.pub.pem", "--snapshot-key"];
    let default = [&default[..], &["a.pub.pem", "--timestamp-key", "a.pub.pem", "--out", "r"]].concat();
    room.refused(&default, 205, "root cannot have threshold 2, its number of keys is 1");
    assert_eq!(room.files(), ["a.pem", "a.pub.pem"]);
}

/// The machine of a key holder is offline, and the tool has nothing in it that could change that.
#[test]
fn dependencies_hold_no_network_code() {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--offline",
            "--locked",
            "--package",
            "tuffet-keys",
            "--edges",
            "normal,build",
            "--target",
            "all",
        ])
        .args([
            "--prefix",
            "none",
            "--format",
            "{p}",
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let names: Vec<&str> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(names.contains(&"p256") && names.contains(&"clap"), "{tree}");
    for name in [
        "tokio",
        "mio",
        "hyper",
        "reqwest",
        "ureq",
        "rustls",
        "ring",
        "socket2",
        "native-tls",
        "openssl",
        "curl",
    ] {
        assert!(!names.contains(&name), "{name} is in the tree");
    }
}
