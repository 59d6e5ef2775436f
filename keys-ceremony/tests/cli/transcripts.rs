//! The command line as people meet it: `tests/transcripts/*.txt` hold commands and what they print, word for word.
//!
//! Behind `$ ` stands a command for a shell, behind it what it writes to both outputs, and if it fails `[STATUS]`. What
//! begins with `#` is for readers. With `UPDATE_TRANSCRIPTS=1` the files are written anew, for their changes to be
//! read.
//!
//! In the room lie the keys of `KEYS`, images `lamp-1.bin` and `lamp-2.bin`, and metadata that another tool wrote and
//! nobody signed: `targets.json` delegates to `lamp`, `lamp-1.json` and `lamp-2.json` are its first two versions, and
//! `later.json` is the targets' second version, which is unusual in several ways. `bins.json` delegates to four hash bins,
//! of which `bins-0-1.json` to `bins-3-2.json` are the first two versions.
//!
//! Nothing in them is left to chance: the keys follow from their names, signatures from the key and the bytes (RFC
//! 6979), and the present is a date. Version numbers are replaced by `VERSION`.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use p256::SecretKey;
use p256::pkcs8::{EncodePrivateKey as _, EncodePublicKey as _, LineEnding};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tuffet_keys::canonical;
use tuffet_keys::key::PublicKey;

use crate::support::*;

/// Whose keys lie in each room. They sign nothing but this.
const KEYS: [&str; 12] = [
    "root-a",
    "root-b",
    "root-c",
    "root-d",
    "release-a",
    "release-b",
    "release-c",
    "lamp-a",
    "lamp-b",
    "lamp-c",
    "snapshot",
    "timestamp",
];

/// Metadata of targets roles, with these members.
fn unsigned(room: &Room, name: &str, version: u32, members: Value) {
    let mut signed = json!({
        "_type": "targets", "expires": "2027-05-21T13:14:15Z", "issued": "2026-11-22T13:00:00Z",
        "spec_version": "1.0.34", "version": version,
    });
    signed.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    let file = canonical::published_bytes(&json!({ "signatures": [], "signed": signed })).unwrap();
    fs::write(room.path(name), file).unwrap();
}

/// One delegation, to `lamp`.
fn delegating(room: &Room, keys: &[&str], threshold: u32) -> Value {
    let keys = keys.iter().map(|name| PublicKey::read(&room.path(&format!("{name}.pub.pem"))).unwrap());
    let keys: Map<String, Value> = keys.map(|key| (key.keyid().to_owned(), key.to_value())).collect();
    let role = json!({
        "keyids": keys.keys().collect::<Vec<_>>(), "name": "lamp", "paths": ["lamp/*/*/release", "lamp/*/versions/*/*"],
        "terminating": true, "threshold": threshold,
    });
    json!({ "delegations": { "keys": keys, "roles": [role] }, "targets": {} })
}

/// The releases up to this one, whose images are one line each.
fn releases(room: &Room, last: u32) -> Value {
    let mut targets = json!({});
    let mut candidates = Vec::new();
    for sequence in 1..=last {
        let (image, version) = (format!("lamp {sequence}\n"), format!("1.{sequence}.0"));
        fs::write(room.path(&format!("lamp-{sequence}.bin")), &image).unwrap();
        let path = format!("lamp/rev-a/versions/{version}/lamp.bin");
        let sha256: String = Sha256::digest(&image).iter().map(|byte| format!("{byte:02x}")).collect();
        let target = json!({ "hashes": { "sha256": sha256 }, "length": image.len() });
        let image = json!({ "hashes": target["hashes"], "length": target["length"], "path": path });
        targets[path] = target;
        candidates.insert(
            0,
            json!({ "counter": 1, "image": image, "minimum": 0, "sequence": sequence, "version": version }),
        );
    }
    let custom = json!({ "candidates": candidates, "format": 1 });
    let entry = canonical::published_bytes(&custom).unwrap();
    let sha256: String = Sha256::digest(&entry).iter().map(|byte| format!("{byte:02x}")).collect();
    targets["lamp/rev-a/stable/release"] =
        json!({ "custom": custom, "hashes": { "sha256": sha256 }, "length": entry.len() });
    json!({ "targets": targets })
}

/// A room with all that the files speak of.
fn room() -> Room {
    let room = Room::new();
    for name in KEYS {
        let secret = SecretKey::from_slice(&Sha256::digest(name)).unwrap();
        let private = secret.to_pkcs8_pem(LineEnding::LF).unwrap();
        let public = secret.public_key().to_public_key_pem(LineEnding::LF).unwrap();
        fs::write(room.path(&format!("{name}.pem")), private.as_bytes()).unwrap();
        fs::write(room.path(&format!("{name}.pub.pem")), public).unwrap();
    }
    unsigned(&room, "targets.json", 1, delegating(&room, &["lamp-a", "lamp-b", "lamp-c"], 2));
    unsigned(&room, "later.json", 2, delegating(&room, &["lamp-a", "timestamp"], 1));
    for version in [1, 2] {
        unsigned(&room, &format!("lamp-{version}.json"), version, releases(&room, version));
    }
    let mut bins = delegating(&room, &["lamp-a", "lamp-b", "lamp-c"], 2);
    let keyids = bins["delegations"]["roles"][0]["keyids"].take();
    bins["delegations"] = json!({ "keys": bins["delegations"]["keys"], "succinct_roles": {
        "bit_length": 2, "keyids": keyids, "name_prefix": "bins", "threshold": 2,
    } });
    unsigned(&room, "bins.json", 1, bins);
    for (bin, version) in [0, 1, 2, 3].into_iter().flat_map(|bin| [(bin, 1), (bin, 2)]) {
        let mut targets = releases(&room, version);
        let targets = targets["targets"].as_object_mut().unwrap();
        targets.retain(|path, _| Sha256::digest(path)[0] >> 6 == bin);
        unsigned(&room, &format!("bins-{bin}-{version}.json"), version, json!({ "targets": targets }));
    }
    // The tool by its name, on the day of all tests unless another is given.
    let tool = format!(
        "#!/bin/sh\ncase \" $* \" in *' --now '*) exec '{BINARY}' \"$@\";; esac\nexec '{BINARY}' --now {NOW} \"$@\"\n"
    );
    fs::create_dir(room.path(".bin")).unwrap();
    fs::write(room.path(".bin/tuffet-keys"), tool).unwrap();
    room.tool("chmod", &["+x", ".bin/tuffet-keys"]);
    room
}

/// What a command prints, and its status if that is not 0.
fn run(room: &Room, command: &str) -> String {
    let mut shell: Command = room.command("sh");
    // Both outputs in the order in which they are written.
    let script = format!("PATH=$PWD/.bin:$PATH\n{{ {command}\n}} 2>&1");
    let shell =
        shell.args(["-c", &script]).env("TUFFET_PASSPHRASE", "five words of the dice").stdin(Stdio::null());
    let output = shell.env("LC_ALL", "C").output().unwrap();
    let mut text = String::from_utf8(output.stdout).unwrap().replace(env!("CARGO_PKG_VERSION"), "VERSION");
    assert_eq!(output.stderr, b"", "{command}");
    if !text.is_empty() && !text.ends_with('\n') {
        text.push_str("\n[no line feed]\n");
    }
    match output.status.code() {
        Some(0) => text,
        Some(status) => format!("{text}[{status}]\n"),
        None => panic!("{command}: {}", output.status),
    }
}

/// Plays a file, and gives it as it should be.
fn played(file: &str) -> String {
    let room = room();
    let mut text = String::new();
    let mut lines = file.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(first) = line.strip_prefix("$ ") else {
            // What a command printed before.
            if line.is_empty() || line.starts_with('#') {
                text += &format!("{line}\n");
            }
            continue;
        };
        text += &format!("{line}\n");
        let mut command = first.to_owned();
        while command.ends_with('\\') || lines.peek().is_some_and(|line| line.starts_with("> ")) {
            let more = lines.next().unwrap();
            text += &format!("{more}\n");
            command +=
                &format!("\n{}", more.strip_prefix("> ").expect("a line of a command goes on behind `> `"));
        }
        text += &run(&room, &command);
        // Empty lines of what was printed are no readers' lines.
        while lines.peek().is_some_and(|line| !line.starts_with("$ ") && !line.starts_with('#')) {
            lines.next();
        }
        if lines.peek().is_some() {
            text.push('\n');
        }
    }
    text
}

#[test]
fn commands_print_what_the_transcripts_say() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let update = std::env::var_os("UPDATE_TRANSCRIPTS").is_some();
    let mut count = 0;
    let mut differ = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let file = fs::read_to_string(&path).unwrap();
        count += file.lines().filter(|line| line.starts_with("$ ")).count();
        let played = played(&file);
        if played == file {
            continue;
        }
        if update {
            fs::write(&path, &played).unwrap();
            continue;
        }
        let pairs = played.lines().zip(file.lines()).zip(1..);
        let mut first = pairs.filter(|((is, should), _)| is != should).map(|((is, should), line)| {
            format!("{name}, line {line}:\n  it should be  {should}\n  and is now    {is}")
        });
        differ.push(first.next().unwrap_or_else(|| format!("{name}: not as long as it was")));
    }
    assert!(count > 60, "{count} commands");
    assert!(differ.is_empty(), "{}\nUPDATE_TRANSCRIPTS=1 writes the files anew", differ.join("\n"));
}
