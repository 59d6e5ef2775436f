//! Roots: drafting one, and verifying the chain of them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tuffet_client::limits::{DEVICE, ROOT};
use tuffet_client::{SOFTWARE, Trusted};

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
        // Devices read no more signatures than this in one file.
        let most = distinct(&keys, keys.keys()).len().min(DEVICE.signatures);
        if threshold == 0 || threshold as usize > most {
            let why = format!("{role} has threshold {threshold}, and can reach {most}");
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
    trusted: Option<Trusted>,
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

    /// The verifier of the devices judges (TUF 5.3.4 and 5.3.5); here the file is only decoded.
    fn push(&mut self, file: &[u8], version: u32) -> Result<(), Error> {
        let Envelope { signed, .. } = Envelope::parse(file)?;
        let root = Root::from_signed(&signed)?;
        if root.header.version != version {
            let why = format!("version {} stands in its place", root.header.version);
            return Err(Rejected::BrokenChain { version, why }.into());
        }
        let memory = &mut [0; DEVICE.memory()];
        let judged = match &mut self.trusted {
            None => Trusted::from_root_file(&SOFTWARE, &DEVICE, memory, file)
                .map(|first| self.trusted = Some(first)),
            Some(trusted) => trusted.next_root_file(&SOFTWARE, &DEVICE, memory, file),
        };
        judged.map_err(|error| Rejected::BrokenChain { version, why: error.to_string() })?;
        if self.files.is_empty() {
            self.first_payload = canonical::signed_bytes(&signed)?;
        }
        self.files.push(file.to_vec());
        self.last = Some(root);
        Ok(())
    }

    /// Whether a device that trusts this chain takes `file` for metadata of `role`; for a root, as its next
    /// one. The devices' verifier judges, and it alone counts signatures. Dates are not judged.
    ///
    /// # Errors
    /// What the verifier says.
    pub fn accepts(&self, role: &Role, file: &[u8]) -> Result<(), tuffet_client::Error> {
        let memory = &mut [0; DEVICE.memory()];
        match &self.trusted {
            // A file of another role is no first root.
            None => Trusted::<[u8; ROOT]>::from_root_file(&SOFTWARE, &DEVICE, memory, file).map(drop),
            Some(trusted) => trusted.accepts_file(&SOFTWARE, &DEVICE, memory, role.of_device(), file),
        }
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
    /// [`Misuse::ThresholdOutOfRange`], [`Misuse::TooManyKeys`] or [`Misuse::ExpiresTooSoon`].
    pub fn signed(&self) -> Result<Value, Error> {
        if self.expires <= self.issued {
            return Err(Misuse::ExpiresTooSoon { expires: self.expires }.into());
        }
        let mut keys = Map::new();
        let mut roles = Map::new();
        for (role, RoleKeys { keys: role_keys, threshold }) in &self.roles {
            let most = role_keys.len().min(DEVICE.signatures);
            if *threshold == 0 || *threshold as usize > most {
                let (role, threshold) = (role.name(), *threshold);
                return Err(Misuse::ThresholdOutOfRange { role, threshold, keys: role_keys.len() }.into());
            }
            let keyids: Vec<&String> = role_keys.keys().collect();
            roles.insert(role.name().to_owned(), json!({ "keyids": keyids, "threshold": threshold }));
            keys.extend(role_keys.iter().map(|(keyid, key)| (keyid.clone(), key.to_value())));
        }
        if keys.len() > DEVICE.keys {
            return Err(Misuse::TooManyKeys { keys: keys.len(), limit: DEVICE.keys }.into());
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::key::SigningKey;
    use crate::request::Request;

    /// 2026-11-22T13:14:15Z, and a year later.
    const NOW: u64 = 1_795_353_255;
    const LATER: u64 = NOW + 365 * 86_400;

    struct Holders {
        keys: Vec<SigningKey>,
    }

    impl Holders {
        fn new() -> Holders {
            Holders { keys: (0..5).map(|_| SigningKey::generate().unwrap()).collect() }
        }

        /// Root: 2 of keys 0, 1, 2. All else: key 4.
        fn draft(&self) -> Draft {
            let mut draft = Draft::new(NOW, LATER);
            for key in &self.keys[..3] {
                draft.add_key(&Role::Root, key.public()).unwrap();
            }
            draft.set_threshold(&Role::Root, 2);
            for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
                draft.add_key(&role, self.keys[4].public()).unwrap();
            }
            draft
        }

        fn file(&self, signed: &Value, signers: &[usize]) -> Vec<u8> {
            let payload = canonical::signed_bytes(signed).unwrap();
            let signature = |&signer: &usize| {
                let key = &self.keys[signer];
                (key.public().keyid().to_owned(), key.sign(&payload).unwrap())
            };
            let signatures = signers.iter().map(signature).collect();
            Envelope { signed: signed.clone(), signatures }.to_bytes().unwrap()
        }

        /// Replaces key 0 by key 3.
        fn next(&self, chain: &Chain) -> Value {
            let mut draft = Draft::next(chain, NOW, LATER).unwrap();
            draft.remove_key(&Role::Root, self.keys[0].public().keyid()).unwrap();
            draft.add_key(&Role::Root, self.keys[3].public()).unwrap();
            draft.signed().unwrap()
        }
    }

    fn broken(files: &[Vec<u8>]) -> (u32, String) {
        match Chain::verify(files).unwrap_err() {
            Error::Rejected { why: Rejected::BrokenChain { version, why }, .. } => (version, why),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn root_of_a_draft_reads_back_as_drafted() {
        let holders = Holders::new();
        let signed = holders.draft().signed().unwrap();
        let root = Root::from_signed(&signed).unwrap();
        assert_eq!(root.header, Header { role: Role::Root, version: 1, issued: NOW, expires: LATER });
        assert_eq!(root.roles[&Role::Root].threshold, 2);
        let mut keyids: Vec<&str> = holders.keys[..3].iter().map(|key| key.public().keyid()).collect();
        keyids.sort_unstable();
        assert_eq!(root.roles[&Role::Root].keys.keys().collect::<Vec<_>>(), keyids);
        assert_eq!(signed["roles"]["root"]["keyids"], json!(keyids));
        assert_eq!(root.roles[&Role::Timestamp].keys.len(), 1);
    }

    #[test]
    fn draft_that_no_device_could_use_is_refused() {
        let holders = Holders::new();
        for (threshold, keys) in [(0, 3), (4, 3), (u32::MAX, 3)] {
            let mut draft = holders.draft();
            draft.set_threshold(&Role::Root, threshold);
            let refused = Misuse::ThresholdOutOfRange { role: "root", threshold, keys };
            assert_eq!(draft.signed().unwrap_err(), refused.into());
        }
        let empty = Draft::new(NOW, LATER).signed().unwrap_err();
        assert_eq!(empty, Misuse::ThresholdOutOfRange { role: "root", threshold: 1, keys: 0 }.into());

        let expired = Draft::new(NOW, NOW).signed().unwrap_err();
        assert_eq!(expired, Misuse::ExpiresTooSoon { expires: NOW }.into());

        let key = holders.keys[0].public();
        let keyid = key.keyid().to_owned();
        let again = holders.draft().add_key(&Role::Root, key).unwrap_err();
        assert_eq!(again, Misuse::KeyPresent { role: "root", keyid: keyid.clone() }.into());
        let absent = holders.draft().remove_key(&Role::Targets, &keyid).unwrap_err();
        assert_eq!(absent, Misuse::KeyAbsent { role: "targets", keyid }.into());

        let mut crowd = holders.draft();
        for _ in 0..9 {
            crowd.add_key(&Role::Root, SigningKey::generate().unwrap().public()).unwrap();
        }
        assert_eq!(crowd.signed().unwrap_err(), Misuse::TooManyKeys { keys: 13, limit: 12 }.into());
        crowd.set_threshold(&Role::Root, 9);
        let many = crowd.signed().unwrap_err();
        assert_eq!(many, Misuse::ThresholdOutOfRange { role: "root", threshold: 9, keys: 12 }.into());
    }

    #[test]
    fn root_with_one_fact_wrong_is_refused() {
        let holders = Holders::new();
        let signed = holders.draft().signed().unwrap();
        let keyid = holders.keys[0].public().keyid().to_owned();
        let other = holders.keys[1].public().keyid().to_owned();
        assert!(Root::from_signed(&signed).is_ok());
        type Change<'a> = &'a dyn Fn(&mut Value);
        let changes: [(&str, Change<'_>); 16] = [
            ("another role", &|root| root["_type"] = json!("targets")),
            ("version 0", &|root| root["version"] = json!(0)),
            ("a version beyond 32 bits", &|root| root["version"] = json!(1u64 << 32)),
            ("a version as text", &|root| root["version"] = json!("1")),
            ("specification 2", &|root| root["spec_version"] = json!("2.0.0")),
            ("a date with a fraction", &|root| root["expires"] = json!("2027-01-01T00:00:00.5Z")),
            ("issued behind expiry", &|root| root["issued"] = root["expires"].clone()),
            ("no issued", &|root| drop(root.as_object_mut().unwrap().remove("issued"))),
            ("inconsistent snapshots", &|root| root["consistent_snapshot"] = json!(false)),
            ("a key under another's keyid", &|root| root["keys"][&keyid] = root["keys"][&other].clone()),
            ("a role missing", &|root| drop(root["roles"].as_object_mut().unwrap().remove("snapshot"))),
            ("a role too many", &|root| root["roles"]["mirrors"] = root["roles"]["snapshot"].clone()),
            ("threshold 0", &|root| root["roles"]["root"]["threshold"] = json!(0)),
            ("threshold above the keys", &|root| root["roles"]["root"]["threshold"] = json!(4)),
            ("a keyid twice", &|root| root["roles"]["root"]["keyids"] = json!([keyid, keyid, other])),
            ("a keyid without a key", &|root| root["roles"]["root"]["keyids"][0] = json!("0".repeat(64))),
        ];
        for (what, change) in changes {
            let mut root = signed.clone();
            change(&mut root);
            assert_ne!(root, signed, "{what} changes nothing");
            assert!(Root::from_signed(&root).is_err(), "accepted {what}");
        }
    }

    #[test]
    fn chain_of_a_rotation_is_followed() {
        let holders = Holders::new();
        let first = holders.file(&holders.draft().signed().unwrap(), &[0, 1]);
        let chain = Chain::verify(core::slice::from_ref(&first)).unwrap();
        let second = holders.file(&holders.next(&chain), &[0, 1, 3]);
        chain.accepts(&Role::Root, &second).unwrap();
        let chain = Chain::verify(&[first.clone(), second]).unwrap();
        assert_eq!(chain.last().unwrap().header.version, 2);
        assert_eq!(chain.last().unwrap().roles[&Role::Root].threshold, 2);
        let Envelope { signed, .. } = Envelope::parse(&first).unwrap();
        assert_eq!(chain.first_payload().unwrap(), canonical::signed_bytes(&signed).unwrap());
    }

    #[test]
    fn chain_with_one_link_wrong_is_refused_at_its_version() {
        let holders = Holders::new();
        let draft = holders.draft().signed().unwrap();
        let first = holders.file(&draft, &[0, 1]);
        let chain = Chain::verify(core::slice::from_ref(&first)).unwrap();
        let next = holders.next(&chain);
        let second = holders.file(&next, &[1, 2, 3]);
        assert!(Chain::verify(&[first.clone(), second.clone()]).is_ok());

        let lonely = "root: signed by 1 of 2 needed keys".to_owned();
        assert_eq!(broken(&[holders.file(&draft, &[0])]), (1, lonely.clone()), "one signature");
        assert_eq!(broken(&[holders.file(&draft, &[0, 4])]), (1, lonely.clone()), "a key of another role");
        assert_eq!(
            broken(&[first.clone(), holders.file(&next, &[1, 3])]),
            (2, lonely.clone()),
            "too few of the old keys"
        );
        assert_eq!(
            broken(&[first.clone(), holders.file(&next, &[0, 1])]),
            (2, lonely),
            "too few of the new keys"
        );
        assert_eq!(broken(&[second]).0, 1, "no first root");
        assert_eq!(broken(&[first.clone(), first.clone()]).0, 2, "the first root twice");
        let third = {
            let mut skipped = next.clone();
            skipped["version"] = json!(3);
            holders.file(&skipped, &[0, 1, 3])
        };
        assert_eq!(broken(&[first, third]), (2, "version 3 stands in its place".to_owned()));
    }

    #[test]
    fn next_of_an_empty_chain_is_refused() {
        let error = Draft::next(&Chain::default(), NOW, LATER).unwrap_err();
        assert!(matches!(error, Error::Misuse { why: Misuse::WrongChain { .. }, .. }));
        assert!(Request::draft(Role::Targets, &json!({}), &[]).is_err());
    }
}
