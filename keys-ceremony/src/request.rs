//! Signing requests: one file that says what to sign, who may, and who did.
//!
//! The file is JSON for people to read and mail to carry. Only the payload, the root chain, the targets files that lead to
//! a delegated role and the signatures are facts; role, version and signers follow from them, and a file in which they
//! do not is refused. (That of a delegated role says its name, for its metadata do not: it is one to which the last of
//! those files delegates.)

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tuffet_client::limits::{DEVICE, Limits};

use crate::delegation::{Step, Way};
use crate::detached::readings;
use crate::encoding::{base64, from_base64, from_hex, hex, sha256_hex};
use crate::error::short_list;
use crate::key::{PublicKey, SigningKey};
use crate::metadata::{Envelope, Header, Role};
use crate::preflight::preflight;
use crate::root::{Chain, Devices, RoleKeys, Root, distinct};
use crate::{Error, Misuse, Rejected, canonical, file};

/// A request for signatures over one metadata file. Everything in it is verified.
#[derive(Clone, Debug)]
pub struct Request {
    payload: Vec<u8>,
    signed: Value,
    header: Header,
    chain: Chain,
    /// Of a delegated role: the files that lead to it.
    way: Option<Way>,
    requirements: Vec<Requirement>,
    /// Verified and low-S, by keyid.
    signatures: BTreeMap<String, Vec<u8>>,
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

    /// Who names the keys, as "root 2" or "targets 7".
    pub fn by(&self) -> String {
        format!("{} {}", self.by, self.version)
    }
}

/// One line: "root 1: 1 of 2 have signed: 3fa2...; missing 91bc..., a04e...".
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { by, version, need, have, signed, missing } = self;
        write!(f, "{by} {version}: {have} of {need} have signed: {}", short_list(signed))?;
        if self.met() { f.write_str("; enough") } else { write!(f, "; missing {}", short_list(missing)) }
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
        let request = Request::assemble(canonical::signed_bytes(signed)?, root_chain)?;
        if request.header.role != role {
            let expected = "the role that the request is for";
            return Err(Rejected::WrongField { field: "_type".to_owned(), expected }.into());
        }
        Ok(request)
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
        Request::assemble_delegated(canonical::signed_bytes(signed)?, root_chain, name, way)
    }

    /// A request without signatures; all else follows from the payload and the chain.
    fn assemble(payload: Vec<u8>, root_chain: &[Vec<u8>]) -> Result<Request, Error> {
        let (signed, header) = decoded(&payload)?;
        let chain = Chain::verify(root_chain)?;
        let own = match header.role {
            Role::Root => Some(Root::from_signed(&signed).map_err(|error| error.at("payload"))?),
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
        let (way, signatures) = (None, BTreeMap::new());
        Ok(Request { payload, signed, header, chain, way, requirements, signatures })
    }

    /// The same for a delegated role, whose signers follow from the files that lead to it, too.
    fn assemble_delegated(
        payload: Vec<u8>,
        root_chain: &[Vec<u8>],
        name: &str,
        files: &[(Role, Vec<u8>)],
    ) -> Result<Request, Error> {
        let (signed, mut header) = decoded(&payload)?;
        let chain = Chain::verify(root_chain)?;
        let role = Role::named(name).filter(|role| matches!(role, Role::Delegated(_)));
        let (Some(role), Role::Targets) = (role, &header.role) else {
            let why = format!("{} is not the metadata of a delegated role", header.role);
            return Err(Misuse::WrongChain { why }.into());
        };
        let way = Way::verify(&chain, files.iter().map(|(role, file)| (role, &file[..])))?;
        let RoleKeys { keys, threshold } = way.delegation(name)?.signers;
        let last = way.steps().last();
        // A way that delegates has a last file.
        let (by, version) = last.map_or((Role::Targets, 0), |step| (step.role.clone(), step.version));
        header.role = role;
        let requirements = vec![Requirement { by, version, threshold, keys }];
        let (way, signatures) = (Some(way), BTreeMap::new());
        Ok(Request { payload, signed, header, chain, way, requirements, signatures })
    }

    /// Reads a request, and verifies everything in it.
    ///
    /// # Errors
    /// [`Rejected`], whatever is wrong with it.
    pub fn from_bytes(bytes: &[u8]) -> Result<Request, Error> {
        let value = canonical::parse(bytes)?;
        match (&value["_type"], &value["format"]) {
            (Value::String(kind), Value::Number(format)) if kind == KIND => {
                if format.as_u64() != Some(FORMAT) {
                    return Err(Rejected::UnknownFormat { found: format.to_string() }.into());
                }
            }
            _ => return Err(Rejected::NotARequest { message: format!("`_type` is not {KIND}") }.into()),
        }
        let written: Written = serde_json::from_value(value)
            .map_err(|error| Rejected::NotARequest { message: error.to_string() })?;

        let payload = from_base64(&written.payload, "payload")?;
        let chain: Vec<Vec<u8>> = written
            .root_chain
            .iter()
            .map(|root| from_base64(root, "root_chain"))
            .collect::<Result<_, _>>()?;
        let way: Vec<(Role, Vec<u8>)> = written
            .delegated_by
            .iter()
            .map(|WrittenStep { role, file }| {
                let expected = "the name of a role";
                let role = Role::named(role)
                    .ok_or(Rejected::WrongField { field: "delegated_by".to_owned(), expected })?;
                Ok((role, from_base64(file, "delegated_by")?))
            })
            .collect::<Result<_, Error>>()?;
        let assembled = match way.is_empty() {
            true => Request::assemble(payload, &chain),
            false => Request::assemble_delegated(payload, &chain, &written.role, &way),
        };
        let mut request = assembled.map_err(|error| match error {
            // The chain is the sender's, not the caller's: to him the request is bad.
            Error::Misuse { .. } => Rejected::Contradiction { field: "root_chain" }.into(),
            other => other,
        })?;
        let derived = request.written();
        let contradiction = |field| Err(Rejected::Contradiction { field }.into());
        if written.role != derived.role {
            return contradiction("role");
        }
        if written.version != derived.version {
            return contradiction("version");
        }
        if written.signers != derived.signers {
            return contradiction("signers");
        }
        for WrittenSignature { keyid, sig } in written.signatures {
            if request.signatures.contains_key(&keyid) {
                return Err(Rejected::DuplicateSignature { keyid }.into());
            }
            request.accept(&keyid, &from_hex(&sig, "sig")?)?;
        }
        Ok(request)
    }

    /// The request as a file: the same request always gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Serialising strings and integers into memory cannot fail.
        let mut bytes = serde_json::to_vec_pretty(&self.written()).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }

    fn written(&self) -> Written {
        let signer = |requirement: &Requirement| Signers {
            by: requirement.by.name().to_owned(),
            version: requirement.version,
            threshold: requirement.threshold,
            keyids: requirement.keys.keys().cloned().collect(),
        };
        let signature =
            |(keyid, sig): (&String, &Vec<u8>)| WrittenSignature { keyid: keyid.clone(), sig: hex(sig) };
        Written {
            kind: KIND.to_owned(),
            format: FORMAT,
            role: self.header.role.name().to_owned(),
            version: self.header.version,
            payload: base64(&self.payload),
            root_chain: self.chain.files().iter().map(|file| base64(file)).collect(),
            delegated_by: self.way.iter().flat_map(Way::steps).map(WrittenStep::of).collect(),
            signers: self.requirements.iter().map(signer).collect(),
            signatures: self.signatures.iter().map(signature).collect(),
        }
    }

    /// [`Request::from_bytes`] from a file.
    ///
    /// # Errors
    /// As [`Request::from_bytes`], or [`Environment::Io`](crate::Environment::Io).
    pub fn read(path: &Path) -> Result<Request, Error> {
        Request::from_bytes(&file::read(path)?).map_err(|error| error.in_file(path))
    }

    /// Writes a new file.
    ///
    /// # Errors
    /// [`Misuse::FileExists`] or [`Environment::Io`](crate::Environment::Io).
    pub fn create(&self, path: &Path) -> Result<(), Error> {
        file::create(path, &self.to_bytes(), file::Access::Shared)
    }

    /// Writes the file, in the place of an older one whatever that holds: for who drafts. Who signs or merges
    /// calls [`Request::write_over`].
    ///
    /// # Errors
    /// [`Environment::Io`](crate::Environment::Io).
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        file::replace(path, &self.to_bytes(), file::Access::Shared)
    }

    /// Writes the file in the place of a copy of the same request. The copy's signatures are taken over at the
    /// last moment, so that two holders who sign one file at once both have signed it.
    ///
    /// # Errors
    /// [`Rejected::RequestChanged`] if another request has come to lie there, and
    /// [`Environment::Io`](crate::Environment::Io). Nothing is written then.
    pub fn write_over(&mut self, path: &Path) -> Result<(), Error> {
        file::update(path, file::Access::Shared, |bytes| {
            let there = Request::from_bytes(bytes);
            let merged = there.and_then(|there| self.merge(&there));
            // That other request may be good or bad: nobody has looked at it yet.
            merged.map_err(|_| Error::from(Rejected::RequestChanged).in_file(path))?;
            Ok(self.to_bytes())
        })
    }

    /// The role, version and dates of what is signed.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The exact bytes that are signed.
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The value that was decoded from [`Request::payload`].
    pub fn signed(&self) -> &Value {
        &self.signed
    }

    /// The repository that it is for: SHA-256 of the signed bytes of root 1, in hexadecimal.
    pub fn repository(&self) -> String {
        sha256_hex(self.chain.first_payload().unwrap_or(&self.payload))
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

    /// Signs. Gives the keyid.
    ///
    /// # Errors
    /// [`Rejected::ForeignKey`], [`Rejected::AlreadySigned`] or
    /// [`Environment::SelfCheck`](crate::Environment::SelfCheck).
    pub fn sign(&mut self, key: &SigningKey) -> Result<String, Error> {
        let keyid = key.public().keyid().to_owned();
        if self.signer(&keyid).is_none() {
            return Err(Rejected::ForeignKey { keyid }.into());
        }
        if self.signatures.contains_key(&keyid) {
            return Err(Rejected::AlreadySigned { keyid }.into());
        }
        let signature = key.sign(&self.payload)?;
        self.accept(&keyid, &signature)?;
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
            |key: &PublicKey| readings.iter().find(|it| key.verify(&self.payload, it).is_ok()).cloned();
        let found = keys.filter_map(|(keyid, key)| Some((keyid.clone(), made(key)?))).next();
        let (keyid, signature) = found.ok_or(Rejected::NobodysSignature)?;
        if self.signatures.contains_key(&keyid) {
            return Err(Rejected::AlreadySigned { keyid }.into());
        }
        self.accept(&keyid, &signature)?;
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
        if (&self.payload, &self.header.role) != (&other.payload, &other.header.role) {
            return Err(Rejected::OtherPayload { ours: self.title(), theirs: other.title() }.into());
        }
        let files = |request: &Request| {
            let steps = request.way.iter().flat_map(Way::steps);
            steps.map(|step| (step.role.clone(), step.file.clone())).collect::<Vec<_>>()
        };
        if self.chain.files() != other.chain.files() || files(self) != files(other) {
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
        let signature = key.verified(&self.payload, signature)?;
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
        let progress = |Requirement { by, version, threshold, keys }: &Requirement| {
            let (signed, missing): (Vec<String>, Vec<String>) =
                keys.keys().cloned().partition(|keyid| self.signatures.contains_key(keyid));
            let have = u32::try_from(distinct(keys, &signed).len()).unwrap_or(u32::MAX);
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
        let finished = Envelope { signed: self.signed.clone(), signatures: self.sufficient() }.to_bytes()?;
        let judged = self.accepts_within(&DEVICE, &finished)?;
        judged.map_err(|refusal| self.explained(&refusal))?;
        preflight(self, &finished, now)?;
        Ok(finished)
    }

    /// The smallest device that it must do for: as the root says that it is for, or else the newest of the chain.
    pub(crate) fn devices(&self) -> Devices {
        let own = match self.header.role {
            // It was decoded when the request was made.
            Role::Root => Devices::from_root(&self.signed).unwrap_or_default(),
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
            Some(way) => way.accepts_within(limits, self.header.role.name(), file),
            None => Ok(self.chain.accepts_within(limits, &self.header.role, file)),
        }
    }

    /// The verifier's refusal in this crate's words. It counts the signatures; whose are missing is known here.
    fn explained(&self, refusal: &tuffet_client::Error) -> Rejected {
        let too_few = matches!(
            refusal,
            tuffet_client::Error::Rejected(tuffet_client::Rejected::ThresholdNotMet { .. })
        );
        match self.state().into_iter().find(|progress| !progress.met()) {
            Some(unmet) if too_few => Rejected::ThresholdNotMet {
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
        let (mut kept, most) = (self.clone(), self.devices().limits().signatures);
        for (keyid, signature) in &self.signatures {
            if kept.signatures.len() <= most {
                break;
            }
            kept.signatures.remove(keyid);
            if !kept.state().iter().all(Progress::met) {
                kept.signatures.insert(keyid.clone(), signature.clone());
            }
        }
        kept.signatures.into_iter().collect()
    }

    /// Role and version, as "root version 2".
    pub fn title(&self) -> String {
        format!("{} version {}", self.header.role, self.header.version)
    }
}

/// What a payload says.
fn decoded(payload: &[u8]) -> Result<(Value, Header), Error> {
    let signed = canonical::parse_signed(payload).map_err(|error| error.at("payload"))?;
    let header = Header::from_signed(&signed).map_err(|error| error.at("payload"))?;
    Ok((signed, header))
}

const KIND: &str = "tuffet-signing-request";

/// The format of the file. Raised when a reader of the old one could misunderstand the new.
const FORMAT: u64 = 2;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(rename = "_type")]
    kind: String,
    format: u64,
    role: String,
    version: u32,
    payload: String,
    root_chain: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    delegated_by: Vec<WrittenStep>,
    signers: Vec<Signers>,
    signatures: Vec<WrittenSignature>,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signers {
    by: String,
    version: u32,
    threshold: u32,
    keyids: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenStep {
    role: String,
    file: String,
}

impl WrittenStep {
    fn of(step: &Step) -> WrittenStep {
        WrittenStep { role: step.role.name().to_owned(), file: base64(&step.file) }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSignature {
    keyid: String,
    sig: String,
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tuffet_client::limits::{DEVICE, ROOT};
    use tuffet_client::{SOFTWARE, Trusted};

    use super::*;
    use crate::root::Draft;

    /// 2026-11-22T13:14:15Z, when everything here is issued.
    const NOW: u64 = 1_795_353_255;

    fn keys(count: usize) -> Vec<SigningKey> {
        (0..count).map(|_| SigningKey::generate().unwrap()).collect()
    }

    fn ids(keys: &[&SigningKey]) -> Vec<String> {
        let mut ids: Vec<String> = keys.iter().map(|key| key.public().keyid().to_owned()).collect();
        ids.sort();
        ids
    }

    /// Root 1: root and targets have 2 of these keys, snapshot and timestamp the first.
    fn first_root(holders: &[SigningKey]) -> Request {
        let mut draft = Draft::new(NOW, NOW + 365 * 86_400);
        for role in [Role::Root, Role::Targets] {
            draft.set_threshold(&role, 2);
            for key in holders {
                draft.add_key(&role, key.public()).unwrap();
            }
        }
        for role in [Role::Snapshot, Role::Timestamp] {
            draft.add_key(&role, holders[0].public()).unwrap();
        }
        Request::draft(Role::Root, &draft.signed().unwrap(), &[]).unwrap()
    }

    fn signed_by(request: &Request, signers: &[&SigningKey]) -> Request {
        let mut request = request.clone();
        for signer in signers {
            request.sign(signer).unwrap();
        }
        request
    }

    fn targets(version: u32) -> Value {
        json!({
            "_type": "targets", "version": version, "spec_version": "1.0.34", "targets": {},
            "issued": "2026-11-22T13:14:15Z", "expires": "2027-11-22T13:14:15Z",
        })
    }

    fn rejected(result: Result<Request, Error>) -> Rejected {
        match result {
            Err(Error::Rejected { why, .. }) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn request_for_a_first_root_is_finished_by_two_of_three() {
        let holders = keys(3);
        let request = first_root(&holders);
        assert_eq!(request.requirements().len(), 1);

        let one = signed_by(&request, &[&holders[1]]);
        let Err(Error::Rejected {
            why: Rejected::ThresholdNotMet { by, threshold, signed, missing, .. },
            ..
        }) = one.finish(NOW)
        else {
            panic!("finished with one")
        };
        assert_eq!((&*by, threshold), ("root 1", 2));
        assert_eq!((signed, missing), (ids(&[&holders[1]]), ids(&[&holders[0], &holders[2]])));

        let file = signed_by(&one, &[&holders[2]]).finish(NOW).unwrap();
        let trusted: Trusted =
            Trusted::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &file).unwrap();
        assert_eq!(trusted.root().version(), 1);
        let Envelope { signed, signatures } = Envelope::parse(&file).unwrap();
        assert_eq!(canonical::signed_bytes(&signed).unwrap(), request.payload());
        let keyids: Vec<String> = signatures.into_iter().map(|(keyid, _)| keyid).collect();
        assert_eq!(keyids, ids(&[&holders[1], &holders[2]]), "sorted by keyid");
    }

    #[test]
    fn request_for_a_next_root_needs_old_and_new_keys() {
        let holders = keys(3);
        let replacement = SigningKey::generate().unwrap();
        let first = signed_by(&first_root(&holders), &[&holders[0], &holders[1]]).finish(NOW).unwrap();
        let chain = Chain::verify(core::slice::from_ref(&first)).unwrap();
        let mut draft = Draft::next(&chain, NOW, NOW + 86_400).unwrap();
        draft.remove_key(&Role::Root, holders[0].public().keyid()).unwrap();
        draft.add_key(&Role::Root, replacement.public()).unwrap();
        let request =
            Request::draft(Role::Root, &draft.signed().unwrap(), core::slice::from_ref(&first)).unwrap();
        let request = Request::from_bytes(&request.to_bytes()).unwrap();

        let old_alone = signed_by(&request, &[&holders[0], &holders[1]]);
        let state = old_alone.state();
        assert_eq!(
            state.iter().map(|p| (p.version, p.have, p.need)).collect::<Vec<_>>(),
            [(1, 2, 2), (2, 1, 2)]
        );
        assert!(state[0].met() && !state[1].met());
        let Err(Error::Rejected { why: Rejected::ThresholdNotMet { by, threshold: 2, .. }, .. }) =
            old_alone.finish(NOW)
        else {
            panic!("finished by half of them")
        };
        assert_eq!(&*by, "root 2");
        let new_alone = signed_by(&request, &[&replacement, &holders[1]]);
        let Err(Error::Rejected { why: Rejected::ThresholdNotMet { by, threshold: 2, .. }, .. }) =
            new_alone.finish(NOW)
        else {
            panic!("finished by half of them")
        };
        assert_eq!(&*by, "root 1");

        let second = signed_by(&old_alone, &[&replacement]).finish(NOW).unwrap();
        let mut trusted: Trusted =
            Trusted::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &first).unwrap();
        trusted.next_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &second).unwrap();
        assert_eq!(trusted.root().version(), 2);

        // Other roles are signed under the newest root.
        let request = Request::draft(Role::Targets, &targets(1), &[first, second]).unwrap();
        assert_eq!(request.requirements()[0].version, 2);
        assert_eq!(request.requirements()[0].keys.len(), 3);
    }

    #[test]
    fn request_with_another_chain_than_its_role_needs_is_refused() {
        let holders = keys(3);
        let request = first_root(&holders);
        let first = signed_by(&request, &[&holders[0], &holders[1]]).finish(NOW).unwrap();
        let wrong = |result: Result<Request, Error>| {
            assert!(
                matches!(result, Err(Error::Misuse { why: Misuse::WrongChain { .. }, .. })),
                "{result:?}"
            );
        };
        wrong(Request::draft(Role::Targets, &targets(1), &[]));
        wrong(Request::draft(Role::Root, request.signed(), core::slice::from_ref(&first)));
        let mut second = request.signed().clone();
        second["version"] = json!(2);
        wrong(Request::draft(Role::Root, &second, &[]));
        let other_role = Request::draft(Role::Snapshot, &targets(1), &[first]);
        assert!(matches!(rejected(other_role), Rejected::WrongField { .. }));
    }

    #[test]
    fn sign_by_a_foreign_key_or_twice_is_refused_by_name() {
        let holders = keys(3);
        let mut request = first_root(&holders);
        let stranger = SigningKey::generate().unwrap();
        let keyid = stranger.public().keyid().to_owned();
        assert_eq!(request.sign(&stranger).unwrap_err(), Rejected::ForeignKey { keyid }.into());
        request.sign(&holders[0]).unwrap();
        let before = request.to_bytes();
        let keyid = holders[0].public().keyid().to_owned();
        assert_eq!(request.sign(&holders[0]).unwrap_err(), Rejected::AlreadySigned { keyid }.into());
        assert_eq!(request.to_bytes(), before);
        assert_eq!(request.state()[0].have, 1);
    }

    #[test]
    fn merge_in_any_order_and_repetition_gives_the_same_file() {
        let holders = keys(3);
        let request = first_root(&holders);
        let mut copies: Vec<Request> = holders.iter().map(|key| signed_by(&request, &[key])).collect();
        // One holder's token made another signature than his key file did; both are good.
        let mut token = request.clone();
        token.accept(holders[0].public().keyid(), &holders[0].sign_with_salt(request.payload())).unwrap();
        assert_ne!(token.signatures, copies[0].signatures);
        copies.push(token);

        let mut results = std::collections::BTreeSet::new();
        for order in 0..4usize.pow(5) {
            let picks: Vec<usize> = (0..5).map(|place| order / 4usize.pow(place) % 4).collect();
            if (0..4).any(|copy| !picks.contains(&copy)) {
                continue;
            }
            let mut merged = request.clone();
            for pick in picks {
                merged.merge(&copies[pick]).unwrap();
            }
            results.insert(merged.to_bytes());
        }
        assert_eq!(results.len(), 1);
    }

    #[test]
    fn merge_of_another_request_is_refused_and_changes_nothing() {
        let holders = keys(3);
        let mut ours = first_root(&holders);
        let before = ours.to_bytes();
        let theirs = signed_by(&first_root(&keys(3)[..]), &[]);
        let error = ours.merge(&theirs).unwrap_err();
        let title = "root version 1".to_owned();
        assert_eq!(error, Rejected::OtherPayload { ours: title.clone(), theirs: title }.into());
        assert_eq!(ours.to_bytes(), before);

        // The same targets under the same root, which other holders happened to sign.
        let by = |a: usize, b: usize| {
            signed_by(&first_root_of(&ours), &[&holders[a], &holders[b]]).finish(NOW).unwrap()
        };
        let mut left = Request::draft(Role::Targets, &targets(1), &[by(0, 1)]).unwrap();
        let right = Request::draft(Role::Targets, &targets(1), &[by(1, 2)]).unwrap();
        assert_eq!(left.merge(&right).unwrap_err(), Rejected::OtherChain.into());
    }

    fn first_root_of(request: &Request) -> Request {
        Request::draft(Role::Root, request.signed(), &[]).unwrap()
    }

    /// A request file as JSON, changed, and read again.
    fn edited(request: &Request, change: impl FnOnce(&mut Value)) -> Result<Request, Error> {
        let mut file: Value = serde_json::from_slice(&request.to_bytes()).unwrap();
        let before = file.clone();
        change(&mut file);
        assert_ne!(file, before, "nothing was changed");
        Request::from_bytes(&serde_json::to_vec(&file).unwrap())
    }

    #[test]
    fn request_that_contradicts_itself_is_refused_by_field() {
        let holders = keys(3);
        let first = signed_by(&first_root(&holders), &[&holders[0], &holders[1]]).finish(NOW).unwrap();
        let request = Request::draft(Role::Targets, &targets(7), core::slice::from_ref(&first)).unwrap();
        let request = signed_by(&request, &[&holders[0]]);
        assert_eq!(Request::from_bytes(&request.to_bytes()).unwrap().to_bytes(), request.to_bytes());

        let contradiction = |field, result| assert_eq!(rejected(result), Rejected::Contradiction { field });
        contradiction("role", edited(&request, |file| file["role"] = json!("snapshot")));
        contradiction("version", edited(&request, |file| file["version"] = json!(8)));
        contradiction("signers", edited(&request, |file| file["signers"][0]["threshold"] = json!(1)));
        contradiction("signers", edited(&request, |file| file["signers"] = json!([])));
        contradiction("root_chain", edited(&request, |file| file["root_chain"] = json!([])));

        let format = rejected(edited(&request, |file| file["format"] = json!(3)));
        assert_eq!(format, Rejected::UnknownFormat { found: "3".to_owned() });
        for change in [
            &(|file: &mut Value| file["_type"] = json!("root")) as &dyn Fn(&mut Value),
            &|file| file["format"] = json!("1"),
            &|file| file["unknown"] = json!(1),
            &|file| drop(file.as_object_mut().unwrap().remove("signatures")),
            &|file| file["version"] = json!("7"),
            &|file| file["root_chain"] = json!(1),
            &|file| *file = json!([]),
        ] {
            assert!(matches!(rejected(edited(&request, change)), Rejected::NotARequest { .. }));
        }
    }

    #[test]
    fn request_with_a_bad_signature_is_refused_by_name() {
        let holders = keys(3);
        let stranger = SigningKey::generate().unwrap();
        let request = signed_by(&first_root(&holders), &[&holders[0]]);
        let keyid = |key: &SigningKey| key.public().keyid().to_owned();

        let renamed = edited(&request, |file| file["signatures"][0]["keyid"] = json!(keyid(&holders[1])));
        assert_eq!(rejected(renamed), Rejected::BadSignature { keyid: keyid(&holders[1]) });
        let foreign = edited(&request, |file| file["signatures"][0]["keyid"] = json!(keyid(&stranger)));
        assert_eq!(rejected(foreign), Rejected::ForeignKey { keyid: keyid(&stranger) });
        let twice = edited(&request, |file| {
            let signature = file["signatures"][0].clone();
            file["signatures"].as_array_mut().unwrap().push(signature);
        });
        assert_eq!(rejected(twice), Rejected::DuplicateSignature { keyid: keyid(&holders[0]) });
        let other = first_root(&keys(3));
        let moved = edited(&request, |file| file["payload"] = json!(base64(other.payload())));
        assert!(matches!(rejected(moved), Rejected::Contradiction { field: "signers" }));
    }

    #[test]
    fn request_with_a_payload_that_is_not_canonical_is_refused() {
        let request = first_root(&keys(2));
        for payload in [
            [b" ", request.payload()].concat(),
            canonical::published_bytes(request.signed()).unwrap(),
            serde_json::to_vec_pretty(request.signed()).unwrap(),
        ] {
            let error = edited(&request, |file| file["payload"] = json!(base64(&payload)));
            assert!(matches!(rejected(error), Rejected::NotCanonical { .. } | Rejected::NotJson { .. }));
        }
    }

    #[test]
    fn request_cut_anywhere_is_refused() {
        let holders = keys(2);
        let bytes = signed_by(&first_root(&holders), &[&holders[0]]).to_bytes();
        let whole = bytes.trim_ascii_end().len();
        for length in 0..whole {
            assert!(matches!(rejected(Request::from_bytes(&bytes[..length])), Rejected::NotJson { .. }));
        }
        assert!(Request::from_bytes(&bytes[..whole]).is_ok());
    }

    #[test]
    fn request_with_any_bit_changed_is_refused() {
        let holders = keys(2);
        let bytes = signed_by(&first_root(&holders), &[&holders[0]]).to_bytes();
        for index in 0..bytes.len() {
            for bit in 0..8 {
                let mut changed = bytes.clone();
                changed[index] ^= 1 << bit;
                assert!(Request::from_bytes(&changed).is_err(), "bit {bit} of byte {index}");
            }
        }
    }

    #[test]
    fn finish_of_what_no_device_takes_is_refused_in_its_words() {
        let holders = keys(3);
        let first = signed_by(&first_root(&holders), &[&holders[0], &holders[1]]).finish(NOW).unwrap();
        let chain = core::slice::from_ref(&first);
        let finish = |role: Role, value: &Value| {
            let request = Request::draft(role, value, chain).unwrap();
            signed_by(&request, &[&holders[0], &holders[1]][..request.requirements[0].threshold as usize])
                .finish(NOW)
        };
        let value = |role: &str| {
            json!({
                "_type": role, "version": 1, "spec_version": "1.0.34",
                "issued": "2026-11-22T13:14:15Z", "expires": "2027-11-22T13:14:15Z",
            })
        };
        let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
        let with = |role: &str, added: Value| {
            let mut value = value(role);
            value["unknown"] = added;
            value
        };
        let kib = DEVICE.timestamp_file as usize / 1024;
        let long = |kib: usize| json!(vec!["x".repeat(509); 2 * kib]);
        // Each pair differs in one bound of the devices alone.
        for (role, good, bad, code, says) in [
            (
                Role::Targets,
                nested(9),
                nested(tuffet_client::limits::DEPTH),
                103,
                "targets: passes the device's bound on",
            ),
            (
                Role::Snapshot,
                nested(9),
                nested(tuffet_client::limits::DEPTH),
                103,
                "snapshot: passes the device's bound on",
            ),
            (Role::Timestamp, long(kib - 2), long(kib), 105, "timestamp: longer than 16384 bytes"),
        ] {
            let file = finish(role.clone(), &with(role.name(), good)).unwrap();
            Trusted::<[u8; ROOT]>::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &first)
                .unwrap()
                .accepts_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], role.of_device(), &file)
                .unwrap();
            let refused = finish(role.clone(), &with(role.name(), bad)).unwrap_err();
            let text = refused.to_string();
            let Error::Rejected { why: Rejected::DeviceRefuses { what, code: found, message }, .. } = refused
            else {
                panic!("{text}")
            };
            assert_eq!((what, found), (format!("{role} version 1"), code));
            assert!(message.starts_with(says) && text.contains(&format!("(C{code}: {says}")), "{text}");
        }
    }

    #[test]
    fn finish_of_targets_with_a_signature_too_few_names_who_is_missing() {
        let holders = keys(3);
        let first = signed_by(&first_root(&holders), &[&holders[0], &holders[1]]).finish(NOW).unwrap();
        let request = Request::draft(Role::Targets, &targets(1), &[first]).unwrap();
        let refused = signed_by(&request, &[&holders[2]]).finish(NOW).unwrap_err();
        let expected = Rejected::ThresholdNotMet {
            what: "targets version 1".to_owned(),
            by: "root 1".into(),
            threshold: 2,
            signed: ids(&[&holders[2]]),
            missing: ids(&[&holders[0], &holders[1]]),
        };
        assert_eq!(refused, expected.into());
        signed_by(&request, &[&holders[2], &holders[1]]).finish(NOW).unwrap();
    }

    /// Five old and five new holders are ten signatures, and a device reads eight.
    #[test]
    fn finish_of_a_root_that_no_device_takes_is_refused_in_its_words() {
        let (old, new, online) = (keys(5), keys(5), SigningKey::generate().unwrap());
        let mut draft = Draft::new(NOW, NOW + 365 * 86_400);
        old.iter().for_each(|key| draft.add_key(&Role::Root, key.public()).unwrap());
        draft.set_threshold(&Role::Root, 5);
        for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
            draft.add_key(&role, online.public()).unwrap();
        }
        let first = Request::draft(Role::Root, &draft.signed().unwrap(), &[]).unwrap();
        let first = signed_by(&first, &old.iter().collect::<Vec<_>>()).finish(NOW).unwrap();
        let chain = Chain::verify(core::slice::from_ref(&first)).unwrap();
        let mut draft = Draft::next(&chain, NOW, NOW + 365 * 86_400).unwrap();
        for (gone, come) in old.iter().zip(&new) {
            draft.remove_key(&Role::Root, gone.public().keyid()).unwrap();
            draft.add_key(&Role::Root, come.public()).unwrap();
        }
        // Nobody can draft it here; another tool may.
        draft.set_threshold(&Role::Root, 3);
        let mut signed = draft.signed().unwrap();
        signed["roles"]["root"]["threshold"] = json!(5);
        let request = Request::draft(Role::Root, &signed, &[first]).unwrap();
        let request = signed_by(&request, &old.iter().chain(&new).collect::<Vec<_>>());
        assert!(request.state().iter().all(Progress::met));
        let refused = request.finish(NOW).unwrap_err();
        assert!(
            matches!(&refused, Error::Rejected { why: Rejected::DeviceRefuses { code: 103, .. }, .. }),
            "{refused}"
        );
    }

    #[test]
    fn finish_with_more_signatures_than_a_device_reads_leaves_some_out() {
        let holders = keys(11);
        let all: Vec<&SigningKey> = holders.iter().collect();
        let file = signed_by(&first_root(&holders), &all).finish(NOW).unwrap();
        assert_eq!(Envelope::parse(&file).unwrap().signatures.len(), DEVICE.signatures);
        Trusted::<[u8; ROOT]>::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &file).unwrap();
    }
}
