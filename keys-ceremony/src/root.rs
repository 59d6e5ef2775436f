//! Roots: drafting one, and verifying the chain of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::encoding::{is_digest, member};
use crate::key::PublicKey;
use crate::metadata::{Envelope, Header, Role, SPEC_VERSION};
use crate::{Error, Misuse, Rejected, canonical, date};

/// The keys of a role and how many of them must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleKeys {
    /// The keys by keyid.
    pub keys: BTreeMap<String, PublicKey>,
    /// How many distinct ones are needed, 1 or more.
    pub threshold: u32,
}

/// What a root says, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Version and dates.
    pub header: Header,
    /// The four top-level roles.
    pub roles: BTreeMap<Role, RoleKeys>,
}

impl Root {
    /// Decodes the `signed` value of a root.
    ///
    /// # Errors
    /// [`Rejected::WrongField`], [`Rejected::WrongKeyid`], [`Rejected::InvalidRoot`], or what its keys say.
    pub fn from_signed(signed: &Value) -> Result<Root, Error> {
        let header = Header::from_signed(signed)?;
        if header.role != Role::Root {
            return Err(Rejected::WrongField { field: "_type".to_owned(), expected: "root" }.into());
        }
        member(signed, "consistent_snapshot", "true", |value| (*value == Value::Bool(true)).then_some(()))?;

        let mut keys = BTreeMap::new();
        for (keyid, value) in member(signed, "keys", "an object", Value::as_object)? {
            let key =
                PublicKey::from_value(value).map_err(|error| error.at(format!("keys.{}", plain(keyid))))?;
            if keyid != key.keyid() {
                return Err(Rejected::WrongKeyid { keyid: plain(keyid) }.into());
            }
            keys.insert(keyid.clone(), key);
        }

        let written = member(signed, "roles", "an object", Value::as_object)?;
        if let Some(name) = written.keys().find(|name| Role::from_name(name).is_none()) {
            return Err(Rejected::InvalidRoot { why: format!("unknown role {}", plain(name)) }.into());
        }
        let mut roles = BTreeMap::new();
        for role in Role::TOP_LEVEL {
            let field = || format!("roles.{role}");
            let value = written.get(role.name());
            let value =
                value.ok_or_else(|| Rejected::WrongField { field: field(), expected: "an object" })?;
            let role_keys = RoleKeys::from_value(value, &role, &keys).map_err(|error| error.at(field()))?;
            roles.insert(role, role_keys);
        }
        Ok(Root { header, roles })
    }
}

impl RoleKeys {
    fn from_value(
        value: &Value,
        role: &Role,
        known: &BTreeMap<String, PublicKey>,
    ) -> Result<RoleKeys, Error> {
        let mut keys = BTreeMap::new();
        for keyid in member(value, "keyids", "a list", Value::as_array)? {
            let expected = "a list of keyids of this root";
            let wrong = || Rejected::WrongField { field: "keyids".to_owned(), expected };
            let keyid = keyid.as_str().filter(|text| is_digest(text)).ok_or_else(wrong)?;
            let key = known.get(keyid).ok_or_else(wrong)?;
            if keys.insert(keyid.to_owned(), key.clone()).is_some() {
                return Err(Rejected::InvalidRoot { why: format!("{role} names key {keyid} twice") }.into());
            }
        }
        let threshold =
            member(value, "threshold", "an integer", |value| u32::try_from(value.as_u64()?).ok())?;
        if threshold == 0 || threshold as usize > distinct(&keys, keys.keys()).len() {
            let why = format!("{role} has threshold {threshold} over {} keys", keys.len());
            return Err(Rejected::InvalidRoot { why }.into());
        }
        Ok(RoleKeys { keys, threshold })
    }
}

/// The distinct keys behind these keyids: what a threshold counts. A keyid is only a label.
pub(crate) fn distinct<'a>(
    keys: &'a BTreeMap<String, PublicKey>,
    keyids: impl IntoIterator<Item = &'a String>,
) -> BTreeSet<&'a PublicKey> {
    keyids.into_iter().filter_map(|keyid| keys.get(keyid)).collect()
}

/// Root files from version 1 on, each verified under its predecessor and itself.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    files: Vec<Vec<u8>>,
    first_payload: Vec<u8>,
    last: Option<Root>,
}

impl Chain {
    /// Verifies root files in the order of their versions, the first of them version 1.
    ///
    /// # Errors
    /// [`Rejected::BrokenChain`], or what [`Root::from_signed`] says.
    pub fn verify(files: &[Vec<u8>]) -> Result<Chain, Error> {
        let mut chain = Chain::default();
        for (file, version) in files.iter().zip(1..) {
            chain.push(file, version).map_err(|error| error.at(format!("root version {version}")))?;
        }
        Ok(chain)
    }

    /// TUF 5.3.4 and 5.3.5: signed by enough keys of the trusted root and of itself, and exactly its successor.
    fn push(&mut self, file: &[u8], version: u32) -> Result<(), Error> {
        let Envelope { signed, signatures } = Envelope::parse(file)?;
        let payload = canonical::signed_bytes(&signed)?;
        let root = Root::from_signed(&signed)?;
        if root.header.version != version {
            let why = format!("version {} stands in its place", root.header.version);
            return Err(Rejected::BrokenChain { version, why }.into());
        }
        for namer in self.last.iter().chain([&root]) {
            let RoleKeys { keys, threshold } = &namer.roles[&Role::Root];
            let valid: Vec<&String> = signatures
                .iter()
                .filter(|(keyid, sig)| keys.get(keyid).is_some_and(|key| key.verify(&payload, sig).is_ok()))
                .map(|(keyid, _)| keyid)
                .collect();
            let have = distinct(keys, valid).len();
            if have < *threshold as usize {
                let why =
                    format!("{have} of {threshold} signatures by the keys of root {}", namer.header.version);
                return Err(Rejected::BrokenChain { version, why }.into());
            }
        }
        if self.files.is_empty() {
            self.first_payload = payload;
        }
        self.files.push(file.to_vec());
        self.last = Some(root);
        Ok(())
    }

    /// The files as they came.
    pub fn files(&self) -> &[Vec<u8>] {
        &self.files
    }

    /// The newest root; none in an empty chain.
    pub fn last(&self) -> Option<&Root> {
        self.last.as_ref()
    }

    /// The signed bytes of root 1, whose digest names the repository; none in an empty chain.
    pub fn first_payload(&self) -> Option<&[u8]> {
        (!self.files.is_empty()).then_some(&self.first_payload)
    }
}

/// A root being written.
#[derive(Clone, Debug)]
pub struct Draft {
    version: u32,
    issued: u64,
    expires: u64,
    roles: BTreeMap<Role, RoleKeys>,
}

impl Draft {
    /// Version 1 without any key; every threshold is 1 until it is set.
    /// `issued` and `expires` in seconds since 1970-01-01 UTC.
    pub fn new(issued: u64, expires: u64) -> Draft {
        let empty = RoleKeys { keys: BTreeMap::new(), threshold: 1 };
        let roles = Role::TOP_LEVEL.into_iter().map(|role| (role, empty.clone())).collect();
        Draft { version: 1, issued, expires, roles }
    }

    /// The successor of the chain's last root: its keys and thresholds, the next version.
    ///
    /// # Errors
    /// [`Misuse::WrongChain`] if the chain is empty or has reached the last version.
    pub fn next(chain: &Chain, issued: u64, expires: u64) -> Result<Draft, Error> {
        let wrong = |why: &str| Misuse::WrongChain { why: why.to_owned() };
        let last = chain.last().ok_or_else(|| wrong("there is no root to follow"))?;
        let version = last.header.version.checked_add(1).ok_or_else(|| wrong("no version is left"))?;
        Ok(Draft { version, issued, expires, roles: last.roles.clone() })
    }

    /// Gives a role a key.
    ///
    /// # Errors
    /// [`Misuse::KeyPresent`].
    pub fn add_key(&mut self, role: &Role, key: &PublicKey) -> Result<(), Error> {
        let keys = &mut self.role(role).keys;
        if keys.contains_key(key.keyid()) {
            return Err(Misuse::KeyPresent { role: role.name(), keyid: key.keyid().to_owned() }.into());
        }
        keys.insert(key.keyid().to_owned(), key.clone());
        Ok(())
    }

    /// Takes a key from a role.
    ///
    /// # Errors
    /// [`Misuse::KeyAbsent`].
    pub fn remove_key(&mut self, role: &Role, keyid: &str) -> Result<(), Error> {
        match self.role(role).keys.remove(keyid) {
            Some(_) => Ok(()),
            None => Err(Misuse::KeyAbsent { role: role.name(), keyid: keyid.to_owned() }.into()),
        }
    }

    /// Sets how many keys of a role must sign.
    pub fn set_threshold(&mut self, role: &Role, threshold: u32) {
        self.role(role).threshold = threshold;
    }

    fn role(&mut self, role: &Role) -> &mut RoleKeys {
        let empty = || RoleKeys { keys: BTreeMap::new(), threshold: 1 };
        self.roles.entry(role.clone()).or_insert_with(empty)
    }

    /// The `signed` value.
    ///
    /// # Errors
    /// [`Misuse::ThresholdOutOfRange`], or [`Misuse::ExpiresTooSoon`].
    pub fn signed(&self) -> Result<Value, Error> {
        if self.expires <= self.issued {
            return Err(Misuse::ExpiresTooSoon { expires: self.expires }.into());
        }
        let mut keys = Map::new();
        let mut roles = Map::new();
        for (role, RoleKeys { keys: role_keys, threshold }) in &self.roles {
            if *threshold == 0 || *threshold as usize > role_keys.len() {
                let (role, threshold) = (role.name(), *threshold);
                return Err(Misuse::ThresholdOutOfRange { role, threshold, keys: role_keys.len() }.into());
            }
            let keyids: Vec<&String> = role_keys.keys().collect();
            roles.insert(role.name().to_owned(), json!({ "keyids": keyids, "threshold": threshold }));
            keys.extend(role_keys.iter().map(|(keyid, key)| (keyid.clone(), key.to_value())));
        }
        Ok(json!({
            "_type": "root",
            "consistent_snapshot": true,
            "expires": date::format(self.expires),
            "issued": date::format(self.issued),
            "keys": keys,
            "roles": roles,
            "spec_version": SPEC_VERSION,
            "version": self.version,
        }))
    }
}

/// Foreign text, safe for a terminal.
fn plain(text: &str) -> String {
    text.escape_default().to_string()
}
