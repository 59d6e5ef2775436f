//! Published repositories made with the crate, each value open to one change before it is signed.

use std::fs;
use std::process::Output;

use serde_json::{Value, json};
use tuffet_keys::key::SigningKey;
use tuffet_keys::request::Request;
use tuffet_keys::{Role, canonical, date};

use crate::support::*;

pub(crate) const DAY: u64 = 86_400;

/// Who signs a role by itself in the clean repository.
const KEYS: [&str; 8] =
    ["root-a", "root-b", "root-c", "release-a", "release-b", "release-c", "snapshot", "timestamp"];

/// The key holders, with a room to work in: their public keys are in `keys/`.
pub(crate) struct Holders {
    pub(crate) room: Room,
    keys: Vec<(&'static str, SigningKey)>,
}

/// What is signed, and by whom.
pub(crate) struct Part {
    pub(crate) signed: Value,
    pub(crate) signers: Vec<&'static str>,
}

/// A repository before it is signed. Entries of `meta` that are not there yet are filled in by
/// [`Holders::publish`].
pub(crate) struct Parts {
    pub(crate) roots: Vec<Part>,
    pub(crate) targets: Part,
    /// The delegated role `extra`.
    pub(crate) extra: Part,
    pub(crate) snapshot: Part,
    pub(crate) timestamp: Part,
}

pub(crate) fn now() -> u64 {
    date::parse(NOW).unwrap()
}

pub(crate) fn days(days: u64) -> Value {
    date::format(now() + days * DAY).into()
}

fn part(role: &str, expires: u64, members: Value, signers: &[&'static str]) -> Part {
    let mut signed = json!({
        "_type": role, "expires": days(expires), "issued": NOW, "spec_version": "1.0.34", "version": 1,
    });
    signed.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
    Part { signed, signers: signers.to_vec() }
}

impl Holders {
    pub(crate) fn new() -> Holders {
        let room = Room::new();
        fs::create_dir(room.path("keys")).unwrap();
        let keys = KEYS.map(|name| (name, SigningKey::generate().unwrap()));
        for (name, key) in &keys {
            fs::write(room.path(&format!("keys/{name}.pub.pem")), key.public().to_pem()).unwrap();
        }
        Holders { room, keys: keys.into() }
    }

    pub(crate) fn key(&self, name: &str) -> &SigningKey {
        &self.keys.iter().find(|(other, _)| *other == name).unwrap().1
    }

    pub(crate) fn keyid(&self, name: &str) -> String {
        self.key(name).public().keyid().to_owned()
    }

    fn role(&self, names: &[&str], threshold: u32) -> Value {
        let mut keyids: Vec<String> = names.iter().map(|name| self.keyid(name)).collect();
        keyids.sort();
        json!({ "keyids": keyids, "threshold": threshold })
    }

    fn key_objects(&self, names: &[&str]) -> Value {
        names.iter().map(|name| (self.keyid(name), self.key(name).public().to_value())).collect()
    }

    /// A root of this version, signed by holders a and b.
    pub(crate) fn root(&self, version: u32) -> Part {
        let members = json!({
            "consistent_snapshot": true,
            "keys": self.key_objects(&KEYS),
            "roles": {
                "root": self.role(&KEYS[..3], 2),
                "snapshot": self.role(&["snapshot"], 1),
                "targets": self.role(&KEYS[3..6], 2),
                "timestamp": self.role(&["timestamp"], 1),
            },
            "version": version,
        });
        part("root", 365, members, &["root-a", "root-b"])
    }

    /// Nothing is wrong with this one: a release in the top-level targets, and a file in a delegated role.
    pub(crate) fn clean(&self) -> Parts {
        let (entry, image) = ("lamp/rev-a/stable/release", "lamp/rev-a/versions/1.0.0/lamp.bin");
        let hashes = json!({ "sha256": "ab".repeat(32) });
        let candidate = json!({
            "counter": 0, "image": { "hashes": hashes, "length": 9, "path": image }, "minimum": 0, "sequence": 1,
            "version": "1.0.0",
        });
        let mut delegation = self.role(&["release-a", "release-b"], 1);
        delegation["name"] = "extra".into();
        delegation["paths"] = json!(["extra/*"]);
        delegation["terminating"] = true.into();
        let targets = json!({
            "delegations": { "keys": self.key_objects(&["release-a", "release-b"]), "roles": [delegation] },
            "targets": {
                entry: {
                    "custom": { "candidates": [candidate], "format": 1 },
                    "hashes": { "sha256": "cd".repeat(32) }, "length": 300,
                },
                image: { "hashes": hashes, "length": 9 },
            },
        });
        let extra = json!({ "targets": { "extra/file": { "hashes": hashes, "length": 9 } } });
        Parts {
            roots: vec![self.root(1)],
            targets: part("targets", 180, targets, &["release-a", "release-b"]),
            extra: part("targets", 170, extra, &["release-a"]),
            snapshot: part("snapshot", 30, json!({ "meta": {} }), &["snapshot"]),
            timestamp: part("timestamp", 7, json!({ "meta": {} }), &["timestamp"]),
        }
    }

    /// The published file. Text beyond ASCII, which the crate does not write, is signed as devices hash it.
    pub(crate) fn file(&self, Part { signed, signers }: &Part) -> Vec<u8> {
        let ascii = canonical::signed_bytes(signed);
        let payload = ascii.clone().unwrap_or_else(|_| serde_json::to_vec(signed).unwrap());
        let mut signatures: Vec<(String, String)> = signers
            .iter()
            .map(|name| {
                let signature = self.key(name).sign(&payload).unwrap();
                (self.keyid(name), signature.iter().map(|byte| format!("{byte:02x}")).collect())
            })
            .collect();
        signatures.sort();
        let signatures: Vec<Value> =
            signatures.into_iter().map(|(keyid, sig)| json!({ "keyid": keyid, "sig": sig })).collect();
        let envelope = json!({ "signatures": signatures, "signed": signed });
        match ascii {
            Ok(_) => canonical::published_bytes(&envelope).unwrap(),
            Err(_) => serde_json::to_vec(&envelope).unwrap(),
        }
    }

    /// Signs everything and writes it to `public/`.
    pub(crate) fn publish(&self, mut parts: Parts) {
        let public = self.room.path("public");
        fs::create_dir_all(&public).unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(public.join(name), bytes).unwrap();
        for (root, version) in parts.roots.iter().zip(1..) {
            write(&format!("{version}.root.json"), &self.file(root));
        }
        for (name, part) in [("targets", &parts.targets), ("extra", &parts.extra)] {
            let bytes = self.file(part);
            write(&format!("1.{name}.json"), &bytes);
            list(&mut parts.snapshot.signed, &format!("{name}.json"), &bytes);
        }
        let bytes = self.file(&parts.snapshot);
        write("1.snapshot.json", &bytes);
        list(&mut parts.timestamp.signed, "snapshot.json", &bytes);
        write("timestamp.json", &self.file(&parts.timestamp));
    }

    /// A request for the next root, signed by these.
    pub(crate) fn root_request(&self, name: &str, signers: &[&str]) {
        let first = self.file(&self.root(1));
        let mut request = Request::draft(Role::Root, &self.root(2).signed, &[first]).unwrap();
        for signer in signers {
            request.sign(self.key(signer)).unwrap();
        }
        request.create(&self.room.path(name)).unwrap();
    }

    /// Runs a command, and gives its exit status, what it showed, and what it said.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let Output { status, stdout, stderr } = self.room.keys(arguments).output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (status.code().unwrap(), text(stdout), text(stderr))
    }

    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let (_, shown, _) = self.run(&[arguments, &["--output", "json"]].concat());
        assert_eq!(shown.matches('\n').count(), 1, "one line: {shown}");
        assert!(shown.bytes().all(|byte| matches!(byte, b' '..=b'~' | b'\n')), "{shown}");
        serde_json::from_str(&shown).unwrap()
    }
}

/// Names a file in `meta`; what a test has put there stays.
fn list(signed: &mut Value, name: &str, bytes: &[u8]) {
    let meta = signed["meta"].as_object_mut().unwrap();
    let entry = json!({ "hashes": { "sha256": sha256(bytes) }, "length": bytes.len(), "version": 1 });
    match meta.get(name).cloned() {
        None => {
            meta.insert(name.to_owned(), entry);
        }
        // `null` leaves it out; an object has members that win over the true ones.
        Some(Value::Object(wrong)) => {
            let mut entry = entry;
            entry.as_object_mut().unwrap().extend(wrong);
            meta.insert(name.to_owned(), entry);
        }
        Some(_) => {
            meta.remove(name);
        }
    }
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::{Digest as _, Sha256};
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}
