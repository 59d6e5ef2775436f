//! A small repository that signs what it is told to, and a mirror that serves it, or does not.

use std::collections::BTreeMap;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::{Signature, SigningKey};
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tuffet_agent::engine::Input;
use tuffet_agent::{Error, Request, Transport, TransportFault};
use tuffet_client::time::Date;

/// 2026-11-22T12:00:00Z, the present of these tests, in seconds since 1970.
pub(crate) const NOW: u64 = 1_795_348_800;
pub(crate) const DAY: u64 = 86_400;

/// Files by their path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// A repository for the product `lamp`, hardware `rev-a`, channel `stable`.
#[derive(Clone)]
pub(crate) struct Repository {
    /// When it is published, in seconds since 1970.
    pub(crate) now: u64,
    /// Version of timestamp, snapshot and targets.
    pub(crate) version: u32,
    /// How far the timestamp's version is ahead.
    pub(crate) timestamp_ahead: u32,
    /// When the timestamp expires, in seconds since 1970.
    pub(crate) timestamp_expires: u64,
    /// Who signs targets; two of three are needed.
    pub(crate) targets_signers: Vec<&'static str>,
    /// The hardware below which the release stands.
    pub(crate) hardware: &'static str,
    pub(crate) releases: Vec<Release>,
    /// Keys of the timestamp, root after root.
    pub(crate) online_keys: Vec<&'static str>,
    /// The images of the releases are no targets.
    pub(crate) without_images: bool,
}

#[derive(Clone)]
pub(crate) struct Release {
    pub(crate) sequence: u32,
    pub(crate) counter: u32,
    pub(crate) version: &'static str,
    pub(crate) image: Vec<u8>,
}

impl Release {
    pub(crate) fn digest(&self) -> [u8; 32] {
        Sha256::digest(&self.image).into()
    }

    fn path(&self) -> String {
        format!("lamp/rev-a/versions/{}/lamp.bin", self.version)
    }

    /// Where a mirror has the image.
    pub(crate) fn file(&self) -> String {
        let (folder, name) = self.path().rsplit_once('/').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        format!("targets/{folder}/{}.{name}", hex(&self.digest()))
    }
}

impl Repository {
    pub(crate) fn new(releases: Vec<Release>) -> Self {
        Self {
            now: NOW,
            version: 5,
            timestamp_ahead: 0,
            timestamp_expires: NOW + DAY,
            targets_signers: vec!["targets-1", "targets-2"],
            hardware: "rev-a",
            releases,
            online_keys: vec!["online"],
            without_images: false,
        }
    }

    /// The first root's file, for the factory.
    pub(crate) fn first_root(&self) -> Vec<u8> {
        self.files()["1.root.json"].clone()
    }

    pub(crate) fn files(&self) -> Files {
        let mut files = Files::new();
        for (number, online) in (1..).zip(&self.online_keys) {
            let root = sign(&self.root(number, online), &["root-1", "root-2"]);
            files.insert(format!("{number}.root.json"), root);
        }
        let version = self.version;
        let mut targets = Map::new();
        for release in &self.releases {
            if !self.without_images {
                targets.insert(release.path(), target(&release.image));
            }
            files.insert(release.file(), release.image.clone());
        }
        let custom = self.release_entry();
        let mut entry = target(custom.to_string().as_bytes());
        entry["custom"] = custom;
        targets.insert(format!("lamp/{}/stable/release", self.hardware), entry);
        let mut signed = header("targets", version, self.now, self.now + 100 * DAY);
        signed["targets"] = targets.into();
        let targets = sign(&signed, &self.targets_signers);

        let mut signed = header("snapshot", version, self.now, self.now + 10 * DAY);
        signed["meta"] = json!({ "targets.json": meta(&targets, version) });
        let online = self.online_keys.last().unwrap();
        let snapshot = sign(&signed, &[online]);
        let mut signed =
            header("timestamp", version + self.timestamp_ahead, self.now, self.timestamp_expires);
        signed["meta"] = json!({ "snapshot.json": meta(&snapshot, version) });
        files.insert("timestamp.json".to_owned(), sign(&signed, &[online]));
        files.insert(format!("{version}.snapshot.json"), snapshot);
        files.insert(format!("{version}.targets.json"), targets);
        files
    }

    fn release_entry(&self) -> Value {
        let candidates = self.releases.iter().map(|release| {
            let mut image = target(&release.image);
            image["path"] = release.path().into();
            let Release { sequence, counter, version, .. } = release;
            json!({ "counter": counter, "image": image, "minimum": 0, "sequence": sequence, "version": version })
        });
        json!({ "candidates": candidates.collect::<Vec<_>>(), "format": 1 })
    }

    fn root(&self, version: u32, online: &str) -> Value {
        let mut keys = Map::new();
        let mut role = |names: &[&str], threshold: u32| {
            let mut ids: Vec<String> = names
                .iter()
                .map(|name| {
                    let (id, key) = public(name);
                    keys.insert(id.clone(), key);
                    id
                })
                .collect();
            ids.sort();
            json!({ "keyids": ids, "threshold": threshold })
        };
        let roles = json!({
            "root": role(&["root-1", "root-2", "root-3"], 2),
            "snapshot": role(&[online], 1),
            "targets": role(&["targets-1", "targets-2", "targets-3"], 2),
            "timestamp": role(&[online], 1),
        });
        let mut signed = header("root", version, self.now, self.now + 1000 * DAY);
        signed["consistent_snapshot"] = true.into();
        signed["keys"] = keys.into();
        signed["roles"] = roles;
        signed
    }
}

/// A root with as many keys as the client takes, each in as many roles as it may be, and the largest numbers.
pub(crate) fn largest_root() -> Vec<u8> {
    let names: Vec<String> =
        (0..tuffet_client::limits::DEVICE.keys).map(|number| format!("key-{number}")).collect();
    let keys: Map<String, Value> = names.iter().map(|name| public(name)).collect();
    let mut ids: Vec<&String> = keys.keys().collect();
    ids.sort();
    let role = json!({ "keyids": ids, "threshold": 1 });
    let mut signed = header("root", u32::MAX - 1, NOW, 253_402_300_799);
    signed["consistent_snapshot"] = true.into();
    signed["roles"] = json!({ "root": role, "snapshot": role, "targets": role, "timestamp": role });
    signed["keys"] = keys.into();
    sign(&signed, &["key-3"])
}

fn header(role: &str, version: u32, now: u64, expires: u64) -> Value {
    let (expires, issued) = (Date(expires).to_string(), Date((now - DAY).min(expires - DAY)).to_string());
    json!({ "_type": role, "expires": expires, "issued": issued, "spec_version": "1.0.34", "version": version })
}

fn target(bytes: &[u8]) -> Value {
    json!({ "hashes": { "sha256": hex(&Sha256::digest(bytes)) }, "length": bytes.len() })
}

fn meta(bytes: &[u8], version: u32) -> Value {
    let mut meta = target(bytes);
    meta["version"] = version.into();
    meta
}

/// A key whose secret is the digest of its name.
fn secret(name: &str) -> SigningKey {
    SigningKey::from_slice(&Sha256::digest(name)).unwrap()
}

fn public(name: &str) -> (String, Value) {
    let pem = p256::PublicKey::from(secret(name).verifying_key()).to_public_key_pem(LineEnding::LF).unwrap();
    let key = json!({ "keytype": "ecdsa", "keyval": { "public": pem }, "scheme": "ecdsa-sha2-nistp256" });
    (hex(&Sha256::digest(signed_form(&key))), key)
}

pub(crate) fn sign(signed: &Value, signers: &[&str]) -> Vec<u8> {
    let mut signatures: Vec<Value> = signers
        .iter()
        .map(|name| {
            let signature: Signature = secret(name).sign(signed_form(signed).as_bytes());
            json!({ "keyid": public(name).0, "sig": hex(signature.to_der().as_bytes()) })
        })
        .collect();
    signatures.sort_by_key(|signature| signature["keyid"].to_string());
    json!({ "signatures": signatures, "signed": signed }).to_string().into_bytes()
}

/// Canonical JSON differs from what `serde_json` writes in the newlines of a PEM alone: they stand raw.
fn signed_form(value: &Value) -> String {
    value.to_string().replace("\\n", "\n")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Serves files in small chunks, until it is told otherwise.
#[derive(Clone, Default)]
pub(crate) struct Mirror {
    pub(crate) files: Files,
    /// Faults by path: what happens after the file's first bytes, how many they may be.
    pub(crate) faults: BTreeMap<String, (usize, TransportFault)>,
    /// What is served from the moment on that this file was fetched.
    pub(crate) after: Option<(String, Files)>,
    /// It sends a file from its first byte on, whatever is wanted of it.
    pub(crate) knows_no_ranges: bool,
    /// What was asked for.
    pub(crate) requests: Vec<String>,
    /// Bytes that were sent, by path.
    pub(crate) sent: BTreeMap<String, usize>,
}

impl Mirror {
    pub(crate) fn of(repository: &Repository) -> Self {
        Self { files: repository.files(), ..Self::default() }
    }
}

impl Transport for Mirror {
    fn fetch(
        &mut self,
        request: &Request,
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Request { path, from, limit, part } = request;
        let (path, from, limit) = (path.as_str(), *from as usize, *limit as usize);
        self.requests.push(path.to_owned());
        let fault = self.faults.get(path).copied();
        let file = match (self.files.get(path), fault) {
            (Some(file), _) => file.clone(),
            (None, Some((_, fault))) => return Err(fault.into()),
            (None, None) => return Err(TransportFault::NotFound.into()),
        };
        if let Some((_, files)) = self.after.take_if(|(trigger, _)| trigger == path) {
            self.files = files;
        }
        let sent = fault.map_or(file.len(), |(after, _)| after).min(limit);
        if sent < from {
            return Err(fault.map_or(TransportFault::Range { from: from as u32 }, |(_, fault)| fault).into());
        }
        if self.knows_no_ranges {
            for passed in file[..from].chunks(100) {
                *self.sent.entry(path.to_owned()).or_default() += passed.len();
                sink(Input::Passed(passed.len() as u32))?;
            }
        }
        for chunk in file[from..sent].chunks(100) {
            *self.sent.entry(path.to_owned()).or_default() += chunk.len();
            sink(Input::Chunk(chunk))?;
        }
        match fault {
            Some((_, fault)) => Err(fault.into()),
            None if file.len() > sent && !part => Err(TransportFault::TooLong { limit: limit as u32 }.into()),
            None => Ok(()),
        }
    }
}
