//! A repository that is signed when it is fetched, so that a test can change any one thing in it.

use std::collections::BTreeMap;

use p256::ecdsa::signature::Signer as _;
use p256::ecdsa::signature::hazmat::PrehashSigner as _;
use p256::pkcs8::{EncodePublicKey as _, LineEnding};
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tuffet_client::release::{Candidate, Entry, Hex, Image, Rollout};
use tuffet_client::time::Date;
use tuffet_client::{FileName, Role};

pub use crate::subject::{Cycle, End, Subject, drive};

/// 2026-11-22T12:00:00Z, the present of the simulated world.
pub const NOW: u64 = 1_795_348_800;
/// A day in seconds.
pub const DAY: u64 = 86_400;
/// The release entry of the simulated device.
pub const RELEASE: &str = "lamp/rev-a/stable/release";

/// A key that is the same in every run: its secret is the digest of its name.
#[derive(Clone)]
pub struct Signer {
    secret: p256::ecdsa::SigningKey,
    key: Value,
    keyid: String,
}

impl Signer {
    /// The signer of this name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let secret =
            p256::ecdsa::SigningKey::from_slice(&Sha256::digest(name)).expect("a digest is a scalar");
        let pem = secret.verifying_key().to_public_key_pem(LineEnding::LF).expect("a key has a PEM form");
        let scheme = "ecdsa-sha2-nistp256";
        let key = json!({ "keytype": "ecdsa", "keyval": { "public": pem }, "scheme": scheme });
        let keyid = sha256(canonical(&key).as_bytes());
        Signer { secret, key, keyid }
    }

    /// The key object, as a root holds it.
    #[must_use]
    pub fn key(&self) -> Value {
        self.key.clone()
    }

    /// The keyid by the specification.
    #[must_use]
    pub fn keyid(&self) -> &str {
        &self.keyid
    }

    /// An entry of `signatures` over a role's `signed`.
    #[must_use]
    pub fn sign(&self, signed: &Value) -> Value {
        let signature: p256::ecdsa::Signature = self.secret.sign(canonical(signed).as_bytes());
        self.signature(&signature)
    }

    /// The same, given the SHA-256 of canonical bytes that nobody holds at once.
    #[must_use]
    pub fn sign_digest(&self, digest: &[u8; 32]) -> Value {
        let signature = self.secret.sign_prehash(digest).expect("a digest can be signed");
        self.signature(&signature)
    }

    fn signature(&self, signature: &p256::ecdsa::Signature) -> Value {
        json!({ "keyid": self.keyid, "sig": Hex(signature.to_der().as_bytes()).to_string() })
    }
}

/// What a test does to a role's `signed` before it is signed, or to its envelope after.
type Edit = Box<dyn Fn(&mut Value)>;

/// A targets role under another.
pub struct DelegatedRole {
    /// Its version.
    pub version: u32,
    /// Who signs it.
    pub signers: Vec<Signer>,
    /// Targets by path.
    pub targets: Map<String, Value>,
}

/// A repository whose files are made, linked and signed when they are asked for.
pub struct Repository {
    /// `signed` of each root, the first at index 0, and who signs it.
    pub roots: Vec<(Value, Vec<Signer>)>,
    /// Who signs timestamp, snapshot and targets.
    pub signers: BTreeMap<&'static str, Vec<Signer>>,
    /// The version of each of them.
    pub versions: BTreeMap<&'static str, u32>,
    /// When each of them expires, in seconds since 1970.
    pub expires: BTreeMap<&'static str, u64>,
    /// When each of them was issued.
    pub issued: u64,
    /// Targets by path.
    pub targets: Map<String, Value>,
    /// Candidates of the simulated device's release entry.
    pub candidates: Vec<Candidate>,
    /// The role that has the release entry: `targets`, or a delegated one.
    pub release_role: String,
    /// Targets roles below others, by name.
    pub delegated: BTreeMap<String, DelegatedRole>,
    /// `delegations` by the name of the role that delegates.
    pub delegations: BTreeMap<String, Value>,
    signed_edits: Vec<(String, Edit)>,
    envelope_edits: Vec<(String, Edit)>,
    file_edits: BTreeMap<String, Option<Vec<u8>>>,
}

/// Names of signers: `root-a` and so on.
fn signers(names: &[&str]) -> Vec<Signer> {
    names.iter().map(|name| Signer::new(name)).collect()
}

/// `signed` of a root with two of three root and targets keys, and one key each for the online roles.
#[must_use]
pub fn root(version: u32, root: &[&str], targets: &[&str], online: [&str; 2]) -> Value {
    let role = |names: &[&str], threshold: u32| {
        let mut keyids: Vec<String> = signers(names).iter().map(|signer| signer.keyid.clone()).collect();
        keyids.sort();
        json!({ "keyids": keyids, "threshold": threshold })
    };
    let [timestamp, snapshot] = online;
    let all = root.iter().chain(targets).chain(&online);
    let keys: Map<String, Value> =
        all.map(|name| Signer::new(name)).map(|signer| (signer.keyid.clone(), signer.key())).collect();
    json!({
        "_type": "root", "consistent_snapshot": true, "expires": date(NOW + 365 * DAY), "issued": date(NOW - 9 * DAY),
        "keys": keys, "spec_version": "1.0.34", "version": version,
        "roles": {
            "root": role(root, 2), "snapshot": role(&[snapshot], 1),
            "targets": role(targets, 2), "timestamp": role(&[timestamp], 1),
        },
    })
}

/// The root keys of the first root.
pub const ROOT_KEYS: [&str; 3] = ["root-a", "root-b", "root-c"];
/// The targets keys of the first root.
pub const TARGETS_KEYS: [&str; 3] = ["release-a", "release-b", "release-c"];

impl Default for Repository {
    /// One root, and release 1.1.0 (sequence 2) over 1.0.0 (sequence 1) for the simulated device.
    fn default() -> Self {
        let mut repository = Repository {
            roots: vec![(
                root(1, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]),
                signers(&ROOT_KEYS[..2]),
            )],
            signers: BTreeMap::from([
                ("timestamp", signers(&["timestamp"])),
                ("snapshot", signers(&["snapshot"])),
                ("targets", signers(&TARGETS_KEYS[1..])),
            ]),
            versions: BTreeMap::from([("timestamp", 1), ("snapshot", 1), ("targets", 1)]),
            expires: BTreeMap::from([
                ("timestamp", NOW + DAY),
                ("snapshot", NOW + 7 * DAY),
                ("targets", NOW + 90 * DAY),
            ]),
            issued: NOW - DAY,
            targets: Map::new(),
            candidates: Vec::new(),
            release_role: "targets".to_owned(),
            delegated: BTreeMap::new(),
            delegations: BTreeMap::new(),
            signed_edits: Vec::new(),
            envelope_edits: Vec::new(),
            file_edits: BTreeMap::new(),
        };
        repository.release(1, "1.0.0");
        repository.release(2, "1.1.0");
        repository
    }
}

impl Repository {
    /// Adds a release: its image becomes a target, its candidate the first of the entry.
    pub fn release(&mut self, sequence: u32, version: &str) -> &mut Candidate {
        let image = image(version);
        let path = format!("lamp/rev-a/versions/{version}/lamp.bin");
        self.targets.insert(path.clone(), target(&image));
        let candidate = Candidate {
            sequence,
            counter: 1,
            minimum: 0,
            version: version.try_into().expect("a short version"),
            image: Image {
                path: path.as_str().try_into().expect("a short path"),
                length: u32::try_from(image.len()).expect("a short image"),
                sha256: Sha256::digest(&image).into(),
            },
            rollout: None,
        };
        self.candidates.insert(0, candidate);
        &mut self.candidates[0]
    }

    /// Adds a root, signed by these.
    pub fn rotate(&mut self, root: Value, names: &[&str]) {
        self.roots.push((root, signers(names)));
    }

    /// Raises the versions of these roles.
    pub fn bump(&mut self, roles: &[&'static str]) {
        for role in roles {
            *self.versions.get_mut(role).expect("one of the three roles") += 1;
        }
    }

    /// Changes a role's `signed` (the last root's, for root) before it is signed.
    #[must_use]
    pub fn signed(self, role: Role, edit: impl Fn(&mut Value) + 'static) -> Self {
        self.signed_by(role.name(), edit)
    }

    /// The same for a role by its name.
    #[must_use]
    pub fn signed_by(mut self, name: &str, edit: impl Fn(&mut Value) + 'static) -> Self {
        self.signed_edits.push((name.to_owned(), Box::new(edit)));
        self
    }

    /// Changes a role's envelope after it was signed; metadata above it is linked to what comes out.
    #[must_use]
    pub fn envelope(self, role: Role, edit: impl Fn(&mut Value) + 'static) -> Self {
        self.envelope_of(role.name(), edit)
    }

    /// The same for a role by its name.
    #[must_use]
    pub fn envelope_of(mut self, name: &str, edit: impl Fn(&mut Value) + 'static) -> Self {
        self.envelope_edits.push((name.to_owned(), Box::new(edit)));
        self
    }

    /// Delegates paths to a new role, which these sign with a threshold of all of them; `how` is the rest of the
    /// delegation, its `paths` for example. The role has no targets yet.
    pub fn delegate(&mut self, from: &str, name: &str, signers: &[&str], how: &Value) -> &mut DelegatedRole {
        let signers: Vec<Signer> = signers.iter().map(|signer| Signer::new(signer)).collect();
        let delegations =
            self.delegations.entry(from.to_owned()).or_insert(json!({ "keys": {}, "roles": [] }));
        for signer in &signers {
            delegations["keys"][signer.keyid()] = signer.key();
        }
        let keyids: Vec<&str> = signers.iter().map(Signer::keyid).collect();
        let mut role =
            json!({ "keyids": keyids, "name": name, "terminating": false, "threshold": signers.len() });
        for (member, value) in how.as_object().expect("members of a delegation") {
            role[member] = value.clone();
        }
        delegations["roles"].as_array_mut().expect("a list of roles").push(role);
        let role = DelegatedRole { version: 1, signers, targets: Map::new() };
        self.delegated.entry(name.to_owned()).or_insert(role)
    }

    /// Moves all targets, and the release entry, from the top-level targets into this delegated role.
    ///
    /// # Panics
    /// If there is no such role.
    pub fn move_to(&mut self, name: &str) {
        let role = self.delegated.get_mut(name).expect("a delegated role");
        role.targets.append(&mut self.targets);
        self.release_role = name.to_owned();
    }

    /// Moves them back from there.
    ///
    /// # Panics
    /// If there is no such role.
    pub fn move_back(&mut self, name: &str) {
        let role = self.delegated.get_mut(name).expect("a delegated role");
        self.targets.append(&mut role.targets);
        "targets".clone_into(&mut self.release_role);
    }

    /// The delegation of this place in a role's list.
    ///
    /// # Panics
    /// If the role delegates nothing.
    pub fn delegation(&mut self, from: &str, index: usize) -> &mut Value {
        &mut self.delegations.get_mut(from).expect("a role that delegates")["roles"][index]
    }

    /// Delegates all paths to 2^`bits` bins, which this signer signs. They are empty until
    /// [`sort_into_bins`](Self::sort_into_bins) was called.
    pub fn delegate_to_bins(&mut self, bits: u32, prefix: &str, signer: &str) {
        let signer = Signer::new(signer);
        let succinct =
            json!({ "bit_length": bits, "keyids": [signer.keyid()], "name_prefix": prefix, "threshold": 1 });
        let keys = json!({ signer.keyid(): signer.key() });
        self.delegations.insert("targets".to_owned(), json!({ "keys": keys, "succinct_roles": succinct }));
        let digits = usize::try_from(bits.div_ceil(4)).expect("a few digits");
        for bin in 0..1_u32 << bits {
            let role = DelegatedRole { version: 1, signers: vec![signer.clone()], targets: Map::new() };
            self.delegated.insert(format!("{prefix}-{bin:0digits$x}"), role);
        }
    }

    /// Moves the targets, and the release entry, from the top-level targets into their bins.
    ///
    /// # Panics
    /// If there are no such bins.
    pub fn sort_into_bins(&mut self, bits: u32, prefix: &str) {
        for (path, target) in core::mem::take(&mut self.targets) {
            let bin = self.delegated.get_mut(&Self::bin(bits, prefix, &path)).expect("a bin for each path");
            bin.targets.insert(path, target);
        }
        self.release_role = Self::bin(bits, prefix, RELEASE);
    }

    /// The bin, of so many bits, of a path (TAP 15).
    #[must_use]
    pub fn bin(bits: u32, prefix: &str, path: &str) -> String {
        let number =
            u32::from_str_radix(&sha256(path.as_bytes())[..8], 16).expect("eight digits") >> (32 - bits);
        let digits = usize::try_from(bits.div_ceil(4)).expect("a few digits");
        format!("{prefix}-{number:0digits$x}")
    }

    /// Serves these bytes under a name, or nothing, whatever the metadata above says.
    #[must_use]
    pub fn file(mut self, name: &str, bytes: Option<Vec<u8>>) -> Self {
        self.file_edits.insert(name.to_owned(), bytes);
        self
    }

    /// All metadata files by name.
    #[must_use]
    pub fn files(&self) -> Files {
        let mut files = BTreeMap::new();
        for (index, (signed, signers)) in self.roots.iter().enumerate() {
            let last = index + 1 == self.roots.len();
            let (_, bytes) = self.sign("root", signed.clone(), signers, last);
            files.insert(format!("{}.root.json", index + 1), bytes);
        }
        let targets =
            self.targets_file("targets", self.versions["targets"], &self.targets, &self.signers["targets"]);
        let mut meta = json!({ "targets.json": link(&targets) });
        for (name, DelegatedRole { version, signers, targets }) in &self.delegated {
            let file = self.targets_file(name, *version, targets, signers);
            meta[format!("{name}.json")] = link(&file);
            let name = FileName {
                role: Role::Delegated,
                version: u32::try_from(file.0).ok(),
                name: name.as_bytes(),
            };
            files.insert(name.to_string(), file.1);
        }
        let snapshot = self.metadata(Role::Snapshot, "meta", meta);
        let meta = json!({ "snapshot.json": link(&snapshot) });
        let (_, timestamp) = self.metadata(Role::Timestamp, "meta", meta);
        files.insert(format!("{}.targets.json", targets.0), targets.1);
        files.insert(format!("{}.snapshot.json", snapshot.0), snapshot.1);
        files.insert("timestamp.json".to_owned(), timestamp);
        for (name, bytes) in &self.file_edits {
            match bytes {
                Some(bytes) => files.insert(name.clone(), bytes.clone()),
                None => files.remove(name),
            };
        }
        files
    }

    fn targets_file(
        &self,
        name: &str,
        version: u32,
        targets: &Map<String, Value>,
        signers: &[Signer],
    ) -> (u64, Vec<u8>) {
        let mut targets = targets.clone();
        if name == self.release_role && !self.candidates.is_empty() {
            let custom = Entry(&self.candidates).to_string();
            let mut entry = target(custom.as_bytes());
            entry["custom"] = serde_json::from_str(&custom).expect("an entry is JSON");
            targets.insert(RELEASE.to_owned(), entry);
        }
        let mut signed = json!({
            "_type": "targets", "expires": date(self.expires["targets"]), "issued": date(self.issued),
            "spec_version": "1.0.34", "targets": targets, "version": version,
        });
        if let Some(delegations) = self.delegations.get(name) {
            signed["delegations"] = delegations.clone();
        }
        self.sign(name, signed, signers, true)
    }

    fn metadata(&self, role: Role, member: &str, content: Value) -> (u64, Vec<u8>) {
        let name = role.name();
        let signed = json!({
            "_type": name, "expires": date(self.expires[name]), "issued": date(self.issued), member: content,
            "spec_version": "1.0.34", "version": self.versions[name],
        });
        self.sign(name, signed, &self.signers[name], true)
    }

    fn sign(&self, name: &str, mut signed: Value, signers: &[Signer], edited: bool) -> (u64, Vec<u8>) {
        let edits = |edits: &[(String, Edit)], value: &mut Value| {
            edits.iter().filter(|(of, _)| edited && *of == name).for_each(|(_, edit)| edit(value));
        };
        edits(&self.signed_edits, &mut signed);
        let mut signatures: Vec<Value> = signers.iter().map(|signer| signer.sign(&signed)).collect();
        signatures.sort_by_key(|signature| signature["keyid"].to_string());
        let version = signed["version"].as_u64().unwrap_or(0);
        let mut envelope = json!({ "signatures": signatures, "signed": signed });
        edits(&self.envelope_edits, &mut envelope);
        (version, envelope.to_string().into_bytes())
    }
}

/// OLPC canonical JSON, which is what is signed.
#[must_use]
pub fn canonical(value: &Value) -> String {
    let quoted = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match value {
        Value::String(text) => quoted(text),
        Value::Array(items) => format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(",")),
        Value::Object(members) => {
            let members = members.iter().map(|(key, value)| format!("{}:{}", quoted(key), canonical(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        other => other.to_string(),
    }
}

/// The image of a version: any bytes that differ from version to version.
#[must_use]
pub fn image(version: &str) -> Vec<u8> {
    version.bytes().cycle().take(5_000).collect()
}

/// A target entry for these bytes.
#[must_use]
pub fn target(bytes: &[u8]) -> Value {
    json!({ "hashes": { "sha256": sha256(bytes) }, "length": bytes.len() })
}

/// A ramp over these days, counted from [`NOW`].
#[must_use]
pub fn ramp(start: u64, end: u64) -> Rollout {
    Rollout { start: NOW + start * DAY, end: NOW + end * DAY, salt: *b"sixteen salt byt" }
}

/// SHA-256.
#[must_use]
pub fn digest(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// SHA-256 in hexadecimal.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    Hex(&digest(bytes)).to_string()
}

/// A date as TUF writes it.
#[must_use]
pub fn date(seconds: u64) -> String {
    Date(seconds).to_string()
}

fn link((version, bytes): &(u64, Vec<u8>)) -> Value {
    json!({ "hashes": { "sha256": sha256(bytes) }, "length": bytes.len(), "version": version })
}

/// Files of a repository by name.
pub type Files = BTreeMap<String, Vec<u8>>;
