//! Signing requests: one file that says what to sign, who may, and who did.
//!
//! The file is JSON for people to read and mail to carry. Only the payload, the root chain, the targets files that lead to
//! a delegated role and the signatures are facts; role, version and signers follow from them, and a file in which they
//! do not is refused. (That of a delegated role says its name, for its metadata do not: it is one to which the last of
//! those files delegates.)

mod written;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;

use serde_json::Value;
use tuffet_client::limits::{DEVICE, Limits};

use crate::delegation::Way;
use crate::detached::readings;
use crate::encoding::{hex, sha256, sha256_hex};
use crate::key::{PublicKey, SigningKey};
use crate::metadata::{Header, Role, published};
use crate::names::Names;
use crate::preflight::{delegates, preflight};
use crate::root::{Chain, Devices, RoleKeys, Root, distinct};
use crate::signed::Signed;
use crate::{Error, Misuse, Rejected, canonical, file};

pub(crate) use written::{MAX_REQUEST, is_request};

/// A request for signatures over one metadata file. Everything in it is verified.
#[derive(Clone, Debug)]
pub struct Request {
    /// The payload, and what it says.
    signed: Signed,
    /// SHA-256 of the payload, which is what is signed.
    digest: [u8; 32],
    chain: Chain,
    /// Of a delegated role: the files that lead to it.
    way: Option<Way>,
    requirements: Vec<Requirement>,
    /// Verified and low-S, by keyid.
    signatures: BTreeMap<String, Vec<u8>>,
    /// SHA-256 of the file that it was read from, if it was.
    file: Option<[u8; 32]>,
}

/// Keys of which enough must sign. A root beyond the first has two of these: under the old root and the new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The role whose file names the keys: root, or the one that delegates.
    pub by: Role,
    /// The version of that file.
    pub version: u32,
    /// How many distinct keys must sign.
    pub threshold: u32,
    /// The keys by keyid.
    pub keys: BTreeMap<String, PublicKey>,
}

/// How far a requirement is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The role whose file names the keys: root, or the one that delegates.
    pub by: Role,
    /// The version of that file.
    pub version: u32,
    /// How many distinct keys must sign.
    pub need: u32,
    /// How many distinct keys have.
    pub have: u32,
    /// Keyids that have signed, sorted.
    pub signed: Vec<String>,
    /// Keyids that have not, sorted.
    pub missing: Vec<String>,
}

impl Progress {
    /// Whether enough have signed.
    pub fn met(&self) -> bool {
        self.have >= self.need
    }

    /// One line: "root 1: 1 of 2 have signed: root-a; missing root-b, 91bc44e07f3a2210".
    pub fn in_words(&self, names: &Names) -> String {
        let Progress { need, have, signed, missing, .. } = self;
        let list = |keyids: &[String]| match keyids {
            [] => "nobody".to_owned(),
            _ => keyids.iter().map(|keyid| names.of(keyid)).collect::<Vec<_>>().join(", "),
        };
        let rest = if self.met() { "enough".to_owned() } else { format!("missing {}", list(missing)) };
        format!("{}: {have} of {need} have signed: {}; {rest}", self.by(), list(signed))
    }

    /// Who names the keys, as "root 2" or "targets 7".
    pub fn by(&self) -> String {
        format!("{} {}", self.by, self.version)
    }
}

impl Request {
    /// Drafts a request for signatures over `signed`, whose signers the last root of `root_chain` names. For a delegated
    /// role there is [`Request::draft_delegated`].
    ///
    /// `root_chain` holds the root files from version 1 on. For root 1 it is empty; for root N+1 it ends
    /// with root N, and the keys of both must sign.
    ///
    /// # Errors
    /// [`Misuse::WrongChain`], [`Rejected::NotCanonical`], or what is wrong with the value or the chain.
    pub fn draft(role: Role, signed: &Value, root_chain: &[Vec<u8>]) -> Result<Request, Error> {
        Request::from_payload(role, canonical::signed_bytes(signed)?, root_chain, &[])
    }

    /// Drafts a request for signatures over `signed`, the targets metadata of the delegated role `name`. `way` has the
    /// targets files that lead to it from the top down; the last of them names the signers.
    ///
    /// # Errors
    /// [`Misuse::WrongChain`], [`Rejected::NotCanonical`], or what is wrong with the value, the chain or the way.
    pub fn draft_delegated(
        name: &str,
        signed: &Value,
        root_chain: &[Vec<u8>],
        way: &[(Role, Vec<u8>)],
    ) -> Result<Request, Error> {
        let payload = canonical::signed_bytes(signed)?;
        Request::assemble_delegated(payload, root_chain, name, way)
    }

    /// As [`Request::draft`] and [`Request::draft_delegated`], of the very bytes that are to be signed: canonical JSON
    /// as [`canonical::signed_bytes`] writes it. No value is built of them, so that those of a role with many targets
    /// cost no more memory than they have. `way` is empty for a top-level role.
    ///
    /// # Errors
    /// As those.
    pub fn from_payload(
        role: Role,
        payload: Vec<u8>,
        root_chain: &[Vec<u8>],
        way: &[(Role, Vec<u8>)],
    ) -> Result<Request, Error> {
        if let (Role::Delegated(name), [_, ..]) = (&role, way) {
            return Request::assemble_delegated(payload, root_chain, name, way);
        }
        let request = Request::assemble(payload, root_chain)?;
        if request.header().role != role {
            let expected = "the role that the request is for";
            return Err(Rejected::WrongField { field: "_type".to_owned(), expected }.into());
        }
        if !way.is_empty() {
            let why = format!("targets files that lead to {role}, to which nothing leads");
            return Err(Misuse::WrongChain { why }.into());
        }
        Ok(request)
    }

    /// A request without signatures; all else follows from the payload and the chain.
    fn assemble(payload: Vec<u8>, root_chain: &[Vec<u8>]) -> Result<Request, Error> {
        let in_payload = |error: Error| error.at("payload");
        let signed = Signed::read(payload).map_err(in_payload)?;
        let chain = Chain::verify(root_chain)?;
        let header = signed.header();
        let own = match header.role {
            // Of one all is looked at.
            Role::Root => Some(Root::from_signed(signed.value()).map_err(in_payload)?),
            _ => None,
        };
        let last = chain.last();
        let wrong_chain = |why: String| Err(Misuse::WrongChain { why }.into());
        match (&own, last.map_or(0, |root| root.header.version)) {
            (None, 0) => return wrong_chain(format!("{} needs a root that names its keys", header.role)),
            (Some(_), version) if Some(header.version) != version.checked_add(1) => {
                return wrong_chain(format!(
                    "root version {} after a chain that ends at {version}",
                    header.version
                ));
            }
            _ => {}
        }
        let requirements = last
            .into_iter()
            .chain(own.as_ref())
            .map(|root| {
                let RoleKeys { keys, threshold } = root.roles[&header.role].clone();
                Requirement { by: Role::Root, version: root.header.version, threshold, keys }
            })
            .collect();
        Ok(Request::unsigned(signed, chain, None, requirements))
    }

    /// The same for a delegated role, whose signers follow from the files that lead to it, too.
    fn assemble_delegated(
        payload: Vec<u8>,
        root_chain: &[Vec<u8>],
        name: &str,
        files: &[(Role, Vec<u8>)],
    ) -> Result<Request, Error> {
        let signed = Signed::read(payload).map_err(|error| error.at("payload"))?;
        let chain = Chain::verify(root_chain)?;
        let role = Role::named(name).filter(|role| matches!(role, Role::Delegated(_)));
        let (Some(role), Role::Targets) = (role, &signed.header().role) else {
            let why = format!("{} is not the metadata of a delegated role", signed.header().role);
            return Err(Misuse::WrongChain { why }.into());
        };
        let way = Way::verify(&chain, files.iter().map(|(role, file)| (role, &file[..])))?;
        let RoleKeys { keys, threshold } = way.delegation(name)?.signers;
        let last = way.steps().last();
        // A way that delegates has a last file.
        let (by, version) = last.map_or((Role::Targets, 0), |step| (step.role.clone(), step.version));
        let requirements = vec![Requirement { by, version, threshold, keys }];
        Ok(Request::unsigned(signed.of(&role)?, chain, Some(way), requirements))
    }

    /// One that nobody has signed yet.
    fn unsigned(signed: Signed, chain: Chain, way: Option<Way>, requirements: Vec<Requirement>) -> Request {
        let (digest, signatures) = (sha256(signed.bytes()), BTreeMap::new());
        Request { signed, digest, chain, way, requirements, signatures, file: None }
    }

    /// Reads a request, and verifies everything in it.
    ///
    /// # Errors
    /// [`Rejected`], whatever is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Request, Error> {
        Request::from_file(bytes.to_vec())
    }

    /// The same from a file's own bytes, of which no copy is made.
    pub(crate) fn from_file(bytes: Vec<u8>) -> Result<Request, Error> {
        written::read(bytes)
    }

    /// The request as a file: the same request always gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Room for all of it, so that growing leaves no copies behind.
        let mut bytes = Vec::with_capacity(self.payload().len() / 3 * 4 + 16 * 1024);
        // Serialising strings and integers into memory cannot fail.
        let _ = written::write(self, &mut bytes);
        bytes
    }

    /// [`Request::from_bytes`] from a file.
    ///
    /// # Errors
    /// As [`Request::from_bytes`], or [`Environment::Io`](crate::Environment::Io).
    pub fn read(path: &Path) -> Result<Request, Error> {
        let file = file::read_within(MAX_REQUEST, path)?;
        let digest = sha256(&file);
        let request = Request::from_file(file).map_err(|error| error.part_of(path))?;
        Ok(Request { file: Some(digest), ..request })
    }

    /// Writes a new file.
    ///
    /// # Errors
    /// [`Misuse::FileExists`] or [`Environment::Io`](crate::Environment::Io).
    pub fn create(&self, path: &Path) -> Result<(), Error> {
        file::create_with(path, file::Access::Shared, |out| written::write(self, out))
    }

    /// Writes the file, in the place of an older one whatever that holds: for who drafts. Who signs or merges
    /// calls [`Request::write_over`].
    ///
    /// # Errors
    /// [`Environment::Io`](crate::Environment::Io).
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        file::replace_with(path, file::Access::Shared, |out| written::write(self, out))
    }

    /// Writes the file in the place of a copy of the same request. The copy's signatures are taken over at the
    /// last moment, so that two holders who sign one file at once both have signed it.
    ///
    /// # Errors
    /// [`Rejected::RequestChanged`] if another request has come to lie there, and
    /// [`Environment::Io`](crate::Environment::Io). Nothing is written then.
    pub fn write_over(&mut self, path: &Path) -> Result<(), Error> {
        file::update_with(MAX_REQUEST, path, file::Access::Shared, |bytes| {
            // As a rule it is the file that was read, of which all is known.
            let merged = match self.file == Some(sha256(&bytes)) {
                true => Ok(()),
                false => Request::from_file(bytes).and_then(|there| self.merge(&there)),
            };
            // That other request may be good or bad: nobody has looked at it yet.
            merged.map_err(|_| Error::from(Rejected::RequestChanged).in_file(path))?;
            Ok(|out: &mut dyn Write| written::write(self, out))
        })
    }

    /// The role, version and dates of what is signed.
    pub fn header(&self) -> &Header {
        self.signed.header()
    }

    /// The exact bytes that are signed.
    pub fn payload(&self) -> &[u8] {
        self.signed.bytes()
    }

    /// What they say.
    pub fn signed(&self) -> &Signed {
        &self.signed
    }

    /// SHA-256 of [`Request::payload`], in hexadecimal.
    pub fn sha256(&self) -> String {
        hex(&self.digest)
    }

    /// The repository that it is for: SHA-256 of the signed bytes of root 1, in hexadecimal.
    pub fn repository(&self) -> String {
        self.chain.first_payload().map_or_else(|| self.sha256(), sha256_hex)
    }

    /// The root chain that names the signers.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Of a delegated role: the targets files that lead from the root to it, and name its signers.
    pub fn way(&self) -> Option<&Way> {
        self.way.as_ref()
    }

    /// Who must sign.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Whether these keys, and this many of them, are all that must sign.
    pub fn asks(&self, signers: &RoleKeys) -> bool {
        let asked = |by: &Requirement| (&by.keys, by.threshold) == (&signers.keys, signers.threshold);
        self.requirements.iter().all(asked)
    }

    /// Signs. Gives the keyid.
    ///
    /// # Errors
    /// [`Rejected::ForeignKey`], [`Rejected::AlreadySigned`] or
    /// [`Environment::SelfCheck`](crate::Environment::SelfCheck).
    pub fn sign(&mut self, key: &SigningKey) -> Result<String, Error> {
        // By the label that the file above gives it, which for a delegated role need not be its own.
        let keys = self.requirements.iter().flat_map(|requirement| &requirement.keys);
        let label = keys.filter(|(_, known)| *known == key.public()).map(|(keyid, _)| keyid.clone()).min();
        let keyid = key.public().keyid().to_owned();
        let Some(label) = label else { return Err(Rejected::ForeignKey { keyid }.into()) };
        if self.signatures.contains_key(&label) {
            return Err(Rejected::AlreadySigned { keyid }.into());
        }
        let signature = key.sign_digest(&self.digest)?;
        self.accept(&label, &signature)?;
        Ok(keyid)
    }

    /// Takes over a signature that another program made. It tells by itself whose it is. Gives the keyid.
    ///
    /// It is ASN.1 DER, or r and s of 32 bytes each, as tokens write them; as it stands, in hexadecimal or in base64.
    ///
    /// # Errors
    /// [`Rejected::NobodysSignature`] or [`Rejected::AlreadySigned`].
    pub fn attach(&mut self, signature: &[u8]) -> Result<String, Error> {
        let readings = readings(signature);
        let keys = self.requirements.iter().flat_map(|requirement| &requirement.keys);
        let made =
            |key: &PublicKey| readings.iter().find(|it| key.verified(&self.digest, it).is_ok()).cloned();
        let found = keys.filter_map(|(label, key)| Some((label.clone(), key.keyid(), made(key)?))).next();
        let (label, keyid, signature) = found.ok_or(Rejected::NobodysSignature)?;
        let keyid = keyid.to_owned();
        if self.signatures.contains_key(&label) {
            return Err(Rejected::AlreadySigned { keyid }.into());
        }
        self.accept(&label, &signature)?;
        Ok(keyid)
    }

    /// Takes over the signature that a metadata file has of this key.
    ///
    /// # Errors
    /// [`Rejected::ForeignKey`] and [`Rejected::BadSignature`].
    pub fn take(&mut self, keyid: &str, signature: &[u8]) -> Result<(), Error> {
        self.accept(keyid, signature)
    }

    /// Takes the other's signatures over. Any order and any repetition of merges gives the same request.
    ///
    /// # Errors
    /// [`Rejected::OtherPayload`] or [`Rejected::OtherChain`] if it is not the same request.
    pub fn merge(&mut self, other: &Request) -> Result<(), Error> {
        // The same bytes may be for two roles, and those of a delegated one do not say for which.
        if (self.payload(), &self.header().role) != (other.payload(), &other.header().role) {
            return Err(Rejected::OtherPayload { ours: self.title(), theirs: other.title() }.into());
        }
        fn files(request: &Request) -> impl Iterator<Item = (&Role, &Vec<u8>)> {
            request.way.iter().flat_map(Way::steps).map(|step| (&step.role, &step.file))
        }
        if self.chain.files() != other.chain.files() || !files(self).eq(files(other)) {
            return Err(Rejected::OtherChain.into());
        }
        for (keyid, signature) in &other.signatures {
            self.accept(keyid, signature)?;
        }
        Ok(())
    }

    /// Verifies a signature and keeps it. Of two good ones by one key the smaller stays, so that the order
    /// of merges does not matter.
    fn accept(&mut self, keyid: &str, signature: &[u8]) -> Result<(), Error> {
        let key = self.signer(keyid).ok_or_else(|| Rejected::ForeignKey { keyid: keyid.to_owned() })?;
        let signature = key.verified(&self.digest, signature)?;
        let kept = self.signatures.entry(keyid.to_owned()).or_insert_with(|| signature.clone());
        if signature < *kept {
            *kept = signature;
        }
        Ok(())
    }

    fn signer(&self, keyid: &str) -> Option<&PublicKey> {
        self.requirements.iter().find_map(|requirement| requirement.keys.get(keyid))
    }

    /// How far each requirement is met, in the order of the roots. A display of progress: whether it is enough
    /// is for the devices' verifier to say, in [`Request::finish`].
    pub fn state(&self) -> Vec<Progress> {
        self.state_with(|label| self.signatures.contains_key(label))
    }

    /// The same if those keyids have signed.
    fn state_with(&self, has_signed: impl Fn(&String) -> bool) -> Vec<Progress> {
        let progress = |Requirement { by, version, threshold, keys }: &Requirement| {
            let (labels, others): (Vec<&String>, Vec<&String>) =
                keys.keys().partition(|label| has_signed(label));
            let have = u32::try_from(distinct(keys, labels.iter().copied()).len()).unwrap_or(u32::MAX);
            // By the keyids that are their own: what a file above calls a key may be the keyid of another.
            let own = |labels: Vec<&String>| -> Vec<String> {
                let keys = labels.into_iter().filter_map(|label| keys.get(label));
                keys.map(|key| key.keyid().to_owned()).collect::<BTreeSet<_>>().into_iter().collect()
            };
            let (signed, missing) = (own(labels), own(others));
            Progress { by: by.clone(), version: *version, need: *threshold, have, signed, missing }
        };
        self.requirements.iter().map(progress).collect()
    }

    /// The published metadata file, if every device takes it at `now`, in seconds since 1970-01-01 UTC. The devices'
    /// verifier judges, with the limits of the smallest device that was ever shipped. A root is replayed as a device
    /// walks it that holds root 1, and as one does that holds the root before.
    ///
    /// # Errors
    /// [`Rejected::ThresholdNotMet`] with the names of those who have not signed; [`Rejected::DeviceRefuses`] and
    /// [`Rejected::SmallestRefuses`] with the verifier's words; or [`Rejected::Expired`].
    pub fn finish(&self, now: u64) -> Result<Vec<u8>, Error> {
        let finished = self.published(&self.sufficient())?;
        let judged = self.accepts_within(&DEVICE, &finished)?;
        judged.map_err(|refusal| self.explained(&refusal))?;
        preflight(self, &finished, now)?;
        Ok(finished)
    }

    /// What the smallest devices would say of it when it is signed; nothing, if they would take it. Asked before anybody
    /// signs, so signatures are not there yet.
    pub(crate) fn smallest_would_refuse(&self) -> Option<tuffet_client::Error> {
        let unsigned = self.published(&[]).ok()?;
        let limits = self.devices().limits();
        let judged = self.accepts_within(&limits, &unsigned).ok()?;
        let refused = judged.err().filter(|refusal| !refusal.is_unmet());
        refused.or_else(|| delegates(self, &limits, &unsigned).err())
    }

    /// The smallest device that it must do for: as the root says that it is for, or else the newest of the chain.
    pub(crate) fn devices(&self) -> Devices {
        let own = match self.header().role {
            // It was decoded when the request was made.
            Role::Root => Devices::from_root(self.signed.value()).unwrap_or_default(),
            _ => None,
        };
        own.or_else(|| self.chain.last()?.devices).unwrap_or_default()
    }

    /// Whether devices with these limits take `file` for what the request is for.
    ///
    /// # Errors
    /// As [`Way::accepts_within`]; within, what the verifier says.
    pub(crate) fn accepts_within(
        &self,
        limits: &Limits,
        file: &[u8],
    ) -> Result<Result<(), tuffet_client::Error>, Error> {
        match &self.way {
            Some(way) => way.accepts_within(limits, self.header().role.name(), file),
            None => Ok(self.chain.accepts_within(limits, &self.header().role, file)),
        }
    }

    /// The verifier's refusal in this crate's words. It counts the signatures; whose are missing is known here.
    fn explained(&self, refusal: &tuffet_client::Error) -> Rejected {
        match self.state().into_iter().find(|progress| !progress.met()) {
            Some(unmet) if refusal.is_unmet() => Rejected::ThresholdNotMet {
                what: self.title(),
                by: unmet.by().into(),
                threshold: unmet.need,
                signed: unmet.signed,
                missing: unmet.missing,
            },
            _ => Rejected::DeviceRefuses {
                what: self.title(),
                code: refusal.code(),
                message: refusal.to_string(),
            },
        }
    }

    /// All signatures, or if they are more than a device reads, only as many as leave every threshold met.
    fn sufficient(&self) -> Vec<(String, Vec<u8>)> {
        let (mut kept, most) = (self.signatures.clone(), self.devices().limits().signatures);
        for (keyid, signature) in &self.signatures {
            if kept.len() <= most {
                break;
            }
            kept.remove(keyid);
            if !self.state_with(|label| kept.contains_key(label)).iter().all(Progress::met) {
                kept.insert(keyid.clone(), signature.clone());
            }
        }
        kept.into_iter().collect()
    }

    /// The file with these signatures.
    fn published(&self, signatures: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Error> {
        published(&canonical::published_of_checked(self.payload()), signatures)
    }

    /// Role and version, as "root version 2".
    pub fn title(&self) -> String {
        format!("{} version {}", self.header().role, self.header().version)
    }
}

#[cfg(test)]
mod tests;
