//! The values of targets, snapshot and timestamp, as `docs/format.md` describes them.

use std::sync::Arc;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tuffet_client::limits::CANDIDATES;
use tuffet_client::release::{Candidate, Entry, Hex, is_path, read_entry};
use tuffet_client::time::Date;
use tuffet_keys::key::SigningKey;
use tuffet_keys::metadata::{Envelope, Role, SPEC_VERSION};
use tuffet_keys::{canonical, root::RoleKeys};

use crate::repository::target_name;
use crate::{Error, Rejected};

/// When a file was drafted and until when it is good, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dates {
    /// `issued`.
    pub issued: u64,
    /// `expires`.
    pub expires: u64,
}

/// The `signed` value of targets metadata. Members that this version does not know stay as they are.
#[derive(Clone, Debug, PartialEq)]
pub struct Targets {
    signed: Map<String, Value>,
}

/// What targets metadata say about one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Lower-case hex SHA-256.
    pub sha256: String,
    /// Bytes.
    pub length: u32,
}

impl Target {
    /// Whether it is about these bytes.
    pub fn is(&self, bytes: &[u8]) -> bool {
        bytes.len() as u64 == u64::from(self.length) && Hex(&Sha256::digest(bytes)).to_string() == self.sha256
    }
}

impl Targets {
    /// Metadata without a target. It gets its version and dates from [`Targets::signed`].
    pub fn empty() -> Targets {
        let mut signed = Map::new();
        signed.insert("targets".to_owned(), Value::Object(Map::new()));
        Targets { signed }
    }

    /// Takes the `signed` member of a targets file; none if it has no `targets`.
    pub fn from_signed(signed: &Value) -> Option<Targets> {
        signed.get("targets")?.as_object()?;
        Some(Targets { signed: signed.as_object()?.clone() })
    }

    /// The value with a version and dates.
    pub fn signed(&self, version: u32, dates: Dates) -> Value {
        let mut signed = self.signed.clone();
        put_header(&mut signed, Role::Targets, version, dates);
        Value::Object(signed)
    }

    /// The path and target of every file, in the order of paths. Anybody can write targets, and both become file
    /// names; each is safe as one.
    ///
    /// # Errors
    /// [`Rejected::TargetPath`] for a path that no target can have or a digest that is none, or which member of
    /// a target is missing.
    pub fn list(&self) -> Result<Vec<(&str, Target)>, Error> {
        let targets = self.signed.get("targets").and_then(Value::as_object);
        let targets = targets.into_iter().flatten();
        targets.map(|(path, value)| Ok((path.as_str(), read_target(path, value)?))).collect()
    }

    /// Whether both say the same about the file at a path: its digest, its length and all else.
    pub fn agree_on(&self, other: &Targets, path: &str) -> bool {
        let at = |targets: &Targets| targets.signed.get("targets").and_then(|all| all.get(path)).cloned();
        at(self).is_some_and(|here| at(other) == Some(here))
    }

    /// Adds a target, or replaces it.
    pub fn insert(&mut self, path: &str, target: &Target) {
        self.put(path, json!({ "hashes": { "sha256": target.sha256 }, "length": target.length }));
    }

    /// The content of the file of a target with `custom`: its canonical JSON. A release entry is one.
    pub fn custom(&self, path: &str) -> Option<Vec<u8>> {
        canonical::signed_bytes(self.signed.get("targets")?.get(path)?.get("custom")?).ok()
    }

    /// The candidates of the release entry at a path, read as a device reads them; none without an entry.
    ///
    /// # Errors
    /// What a device would say.
    pub fn candidates(&self, path: &str) -> Result<Vec<Candidate>, Error> {
        match self.custom(path) {
            None => Ok(Vec::new()),
            Some(custom) => Ok(read_entry(&custom)?.into_iter().collect()),
        }
    }

    /// Writes a release entry. The highest sequence comes first; those beyond the eighth are dropped.
    ///
    /// # Errors
    /// What a device would say about it.
    pub fn put_candidates(&mut self, path: &str, candidates: &[Candidate]) -> Result<(), Error> {
        let kept = candidates.get(..CANDIDATES).unwrap_or(candidates);
        let content = Entry(kept).to_string();
        read_entry(content.as_bytes())?;
        let custom = canonical::parse(content.as_bytes())?;
        let target = summary(content.as_bytes());
        self.put(path, json!({ "custom": custom, "hashes": target["hashes"], "length": target["length"] }));
        Ok(())
    }

    fn put(&mut self, path: &str, target: Value) {
        let targets = self.signed.entry("targets").or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(targets) = targets {
            targets.insert(path.to_owned(), target);
        }
    }
}

/// The `signed` value of a snapshot over one targets file.
pub fn snapshot(version: u32, dates: Dates, targets_version: u32, targets_file: &[u8]) -> Value {
    listing(Role::Snapshot, version, dates, "targets.json", targets_version, targets_file)
}

/// The `signed` value of a timestamp over one snapshot file.
pub fn timestamp(version: u32, dates: Dates, snapshot_version: u32, snapshot_file: &[u8]) -> Value {
    listing(Role::Timestamp, version, dates, "snapshot.json", snapshot_version, snapshot_file)
}

/// The keys that sign a role here and now: enough of them, and all of them the role's.
pub struct Signers<'k> {
    keys: Vec<&'k SigningKey>,
}

impl<'k> Signers<'k> {
    /// Holds the keys against those that root `root` gives the role. A key that is given twice counts once.
    ///
    /// # Errors
    /// [`Rejected::ForeignKey`] or [`Rejected::OnlineKeys`].
    pub fn new(
        role: &Role,
        given: &'k [Arc<SigningKey>],
        root: u32,
        allowed: &RoleKeys,
    ) -> Result<Signers<'k>, Error> {
        let mut keys: Vec<&SigningKey> = Vec::new();
        for key in given {
            let keyid = key.public().keyid();
            if !allowed.keys.contains_key(keyid) {
                return Err(Rejected::ForeignKey { role: role.clone(), keyid: keyid.to_owned(), root }.into());
            }
            if !keys.iter().any(|other| other.public().keyid() == keyid) {
                keys.push(key);
            }
        }
        let (given, threshold) = (u32::try_from(keys.len()).unwrap_or(u32::MAX), allowed.threshold);
        if given < threshold {
            return Err(Rejected::OnlineKeys { role: role.clone(), given, threshold }.into());
        }
        Ok(Signers { keys })
    }

    /// The published file of a `signed` value.
    ///
    /// # Errors
    /// What signing says.
    pub fn sign(&self, signed: Value) -> Result<Vec<u8>, Error> {
        let payload = canonical::signed_bytes(&signed)?;
        let mut signatures = Vec::new();
        for key in &self.keys {
            signatures.push((key.public().keyid().to_owned(), key.sign(&payload)?));
        }
        Ok(Envelope { signed, signatures }.to_bytes()?)
    }
}

fn listing(role: Role, version: u32, dates: Dates, name: &str, listed_version: u32, listed: &[u8]) -> Value {
    let mut entry = summary(listed);
    entry["version"] = json!(listed_version);
    let mut signed = Map::new();
    put_header(&mut signed, role, version, dates);
    signed.insert("meta".to_owned(), json!({ name: entry }));
    Value::Object(signed)
}

fn put_header(signed: &mut Map<String, Value>, role: Role, version: u32, dates: Dates) {
    let mut put = |name: &str, value: Value| signed.insert(name.to_owned(), value);
    put("_type", json!(role.name()));
    put("expires", json!(Date(dates.expires).to_string()));
    put("issued", json!(Date(dates.issued).to_string()));
    put("spec_version", json!(SPEC_VERSION));
    put("version", json!(version));
}

fn summary(bytes: &[u8]) -> Value {
    json!({ "hashes": { "sha256": Hex(&Sha256::digest(bytes)).to_string() }, "length": bytes.len() })
}

fn read_target(path: &str, value: &Value) -> Result<Target, Error> {
    if !is_path(path) {
        return Err(Rejected::TargetPath { path: path.to_owned() }.into());
    }
    let missing = |name, expected| {
        let field = format!("targets.{path}.{name}");
        Error::from(tuffet_keys::Error::from(tuffet_keys::Rejected::WrongField { field, expected }))
    };
    let sha256 = value.get("hashes").and_then(|hashes| hashes.get("sha256")).and_then(Value::as_str);
    let sha256 = sha256.ok_or_else(|| missing("hashes.sha256", "a digest"))?;
    if !is_digest(sha256) {
        return Err(Rejected::TargetPath { path: target_name(path, sha256) }.into());
    }
    let length = value.get("length").and_then(Value::as_u64).and_then(|length| length.try_into().ok());
    let length = length.ok_or_else(|| missing("length", "a number of bytes from 0 to 4294967295"))?;
    Ok(Target { sha256: sha256.to_owned(), length })
}

/// Whether a text is a SHA-256 in lower-case hex.
pub(crate) fn is_digest(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
