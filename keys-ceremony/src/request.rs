//! Signing requests: one file that says what to sign, who may, and who did.
//!
//! The file is JSON for people to read and mail to carry. Only the payload, the root chain and the
//! signatures are facts; role, version and signers follow from them, and a file in which they do not
//! is refused.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::encoding::{base64, from_base64, from_hex, hex};
use crate::error::short_list;
use crate::key::{PublicKey, SigningKey};
use crate::metadata::{Envelope, Header, Role};
use crate::root::{Chain, RoleKeys, Root, distinct};
use crate::{Error, Misuse, Rejected, canonical, file};

/// A request for signatures over one metadata file. Everything in it is verified.
#[derive(Clone, Debug)]
pub struct Request {
    payload: Vec<u8>,
    signed: Value,
    header: Header,
    chain: Chain,
    requirements: Vec<Requirement>,
    /// Verified and low-S, by keyid.
    signatures: BTreeMap<String, Vec<u8>>,
}

/// Keys of which enough must sign. A root beyond the first has two of these: under the old root and the new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    /// The version of the root that names the keys.
    pub root_version: u32,
    /// How many distinct keys must sign.
    pub threshold: u32,
    /// The keys by keyid.
    pub keys: BTreeMap<String, PublicKey>,
}

/// How far a requirement is met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The version of the root that names the keys.
    pub root_version: u32,
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
}

/// One line: "root 1: 1 of 2 have signed: 3fa2...; missing 91bc..., a04e...".
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Progress { root_version, need, have, signed, missing } = self;
        write!(f, "root {root_version}: {have} of {need} have signed: {}", short_list(signed))?;
        if self.met() { f.write_str("; enough") } else { write!(f, "; missing {}", short_list(missing)) }
    }
}

impl Request {
    /// Drafts a request for signatures over `signed`, whose signers the last root of `root_chain` names.
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

    /// A request without signatures; all else follows from the payload and the chain.
    fn assemble(payload: Vec<u8>, root_chain: &[Vec<u8>]) -> Result<Request, Error> {
        let signed = canonical::parse_signed(&payload).map_err(|error| error.at("payload"))?;
        let header = Header::from_signed(&signed).map_err(|error| error.at("payload"))?;
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
                Requirement { root_version: root.header.version, threshold, keys }
            })
            .collect();
        Ok(Request { payload, signed, header, chain, requirements, signatures: BTreeMap::new() })
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
        let mut request = Request::assemble(payload, &chain).map_err(|error| match error {
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
            root: requirement.root_version,
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

    /// Writes the file, in the place of an older one.
    ///
    /// # Errors
    /// [`Environment::Io`](crate::Environment::Io).
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        file::replace(path, &self.to_bytes(), file::Access::Shared)
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

    /// The root chain that names the signers.
    pub fn chain(&self) -> &Chain {
        &self.chain
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

    /// Takes the other's signatures over. Any order and any repetition of merges gives the same request.
    ///
    /// # Errors
    /// [`Rejected::OtherPayload`] or [`Rejected::OtherChain`] if it is not the same request.
    pub fn merge(&mut self, other: &Request) -> Result<(), Error> {
        if self.payload != other.payload {
            return Err(Rejected::OtherPayload { ours: self.title(), theirs: other.title() }.into());
        }
        if self.chain.files() != other.chain.files() {
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

    /// How far each requirement is met, in the order of the roots.
    pub fn state(&self) -> Vec<Progress> {
        let progress = |Requirement { root_version, threshold, keys }: &Requirement| {
            let (signed, missing): (Vec<String>, Vec<String>) =
                keys.keys().cloned().partition(|keyid| self.signatures.contains_key(keyid));
            let have = u32::try_from(distinct(keys, &signed).len()).unwrap_or(u32::MAX);
            Progress { root_version: *root_version, need: *threshold, have, signed, missing }
        };
        self.requirements.iter().map(progress).collect()
    }

    /// The published metadata file.
    ///
    /// # Errors
    /// [`Rejected::ThresholdNotMet`].
    pub fn finish(&self) -> Result<Vec<u8>, Error> {
        if let Some(unmet) = self.state().into_iter().find(|progress| !progress.met()) {
            return Err(Rejected::ThresholdNotMet {
                what: self.title(),
                root: unmet.root_version,
                threshold: unmet.need,
                signed: unmet.signed,
                missing: unmet.missing,
            }
            .into());
        }
        let signatures = self.signatures.clone().into_iter().collect();
        Envelope { signed: self.signed.clone(), signatures }.to_bytes()
    }

    /// Role and version, as "root version 2".
    pub fn title(&self) -> String {
        format!("{} version {}", self.header.role, self.header.version)
    }
}

const KIND: &str = "tuffet-signing-request";

/// The format of the file. Raised when a reader of the old one could misunderstand the new.
const FORMAT: u64 = 1;

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
    signers: Vec<Signers>,
    signatures: Vec<WrittenSignature>,
}

#[derive(PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signers {
    root: u32,
    threshold: u32,
    keyids: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenSignature {
    keyid: String,
    sig: String,
}
