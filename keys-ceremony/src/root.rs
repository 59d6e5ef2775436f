//! Roots: drafting one, and verifying the chain of them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::key::PublicKey;
use crate::metadata::{Header, Role};
use crate::{Error, Misuse, Rejected};

/// The keys of a role and how many of them must sign.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
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
    pub fn from_signed(_signed: &Value) -> Result<Root, Error> {
        unimplemented!()
    }
}

/// Root files from version 1 on, each verified under its predecessor and itself.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    files: Vec<Vec<u8>>,
    last: Option<Root>,
}

impl Chain {
    /// Verifies root files in the order of their versions, the first of them version 1.
    ///
    /// # Errors
    /// [`Rejected::BrokenChain`], or what [`Root::from_signed`] says.
    pub fn verify(_files: &[Vec<u8>]) -> Result<Chain, Error> {
        unimplemented!()
    }

    /// The files as they came.
    pub fn files(&self) -> &[Vec<u8>] {
        &self.files
    }

    /// The newest root; none in an empty chain.
    pub fn last(&self) -> Option<&Root> {
        self.last.as_ref()
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
    pub fn new(_issued: u64, _expires: u64) -> Draft {
        unimplemented!()
    }

    /// The successor of the chain's last root: its keys and thresholds, the next version.
    ///
    /// # Errors
    /// [`Misuse::WrongChain`] if the chain is empty or has reached the last version.
    pub fn next(_chain: &Chain, _issued: u64, _expires: u64) -> Result<Draft, Error> {
        unimplemented!()
    }

    /// Gives a role a key.
    ///
    /// # Errors
    /// [`Misuse::KeyPresent`].
    pub fn add_key(&mut self, _role: &Role, _key: &PublicKey) -> Result<(), Error> {
        unimplemented!()
    }

    /// Takes a key from a role.
    ///
    /// # Errors
    /// [`Misuse::KeyAbsent`].
    pub fn remove_key(&mut self, _role: &Role, _keyid: &str) -> Result<(), Error> {
        unimplemented!()
    }

    /// Sets how many keys of a role must sign.
    pub fn set_threshold(&mut self, _role: &Role, _threshold: u32) {
        unimplemented!()
    }

    /// The `signed` value.
    ///
    /// # Errors
    /// [`Misuse::ThresholdOutOfRange`], or [`Rejected::InvalidRoot`] for dates that make no sense.
    pub fn signed(&self) -> Result<Value, Error> {
        unimplemented!()
    }
}
