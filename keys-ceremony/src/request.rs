//! Signing requests: one file that says what to sign, who may, and who did.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::key::{PublicKey, SigningKey};
use crate::metadata::{Header, Role};
use crate::root::Chain;
use crate::{Error, Rejected, file};

/// A request for signatures over one metadata file. Everything in it is verified.
#[derive(Clone, Debug)]
pub struct Request {
    payload: Vec<u8>,
    signed: Value,
    header: Header,
    chain: Chain,
    requirements: Vec<Requirement>,
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

impl Request {
    /// Drafts a request for signatures over `signed`, whose signers the last root of `root_chain` names.
    ///
    /// `root_chain` holds the root files from version 1 on. For root 1 it is empty; for root N+1 it ends
    /// with root N, and the keys of both must sign.
    ///
    /// # Errors
    /// [`Misuse::WrongChain`](crate::Misuse::WrongChain), [`Rejected::NotCanonical`], or what is wrong with the value or the chain.
    pub fn draft(_role: Role, _signed: &Value, _root_chain: &[Vec<u8>]) -> Result<Request, Error> {
        unimplemented!()
    }

    /// Reads a request, and verifies everything in it.
    ///
    /// # Errors
    /// [`Rejected`], whatever is wrong with it.
    pub fn from_bytes(_bytes: &[u8]) -> Result<Request, Error> {
        unimplemented!()
    }

    /// The request as a file: the same request always gives the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        unimplemented!()
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
    /// [`Misuse::FileExists`](crate::Misuse::FileExists) or [`Environment::Io`](crate::Environment::Io).
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
    pub fn sign(&mut self, _key: &SigningKey) -> Result<String, Error> {
        unimplemented!()
    }

    /// Takes the other's signatures over. Any order and any repetition of merges gives the same request.
    ///
    /// # Errors
    /// [`Rejected::OtherPayload`] if it is not the same request.
    pub fn merge(&mut self, _other: &Request) -> Result<(), Error> {
        unimplemented!()
    }

    /// How far each requirement is met, in the order of the roots.
    pub fn state(&self) -> Vec<Progress> {
        unimplemented!()
    }

    /// The published metadata file.
    ///
    /// # Errors
    /// [`Rejected::ThresholdNotMet`].
    pub fn finish(&self) -> Result<Vec<u8>, Error> {
        unimplemented!()
    }
}
