//! Role readers: from the scanner's values to the facts of one file. Facts are claims until
//! [`threshold`](crate::threshold) has counted who signed them.

use core::fmt;

use crate::error::Field;
use crate::key::{Algorithm, KeyId, Keys, Pack, Signatures};
use crate::role::delegations::DelegationsReader;
use crate::role::meta::MetaReader;
use crate::role::place::{Place, Places};
use crate::role::root::{Authority, RootFacts, RootReader};
use crate::role::targets::TargetsReader;
use crate::scan::Fault;

pub(crate) mod delegations;
pub(crate) mod kept;
pub(crate) mod meta;
pub(crate) mod place;
pub(crate) mod reading;
pub(crate) mod root;
pub(crate) mod targets;

/// Whose file it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Names the keys of all top-level roles.
    Root,
    /// Names the snapshot; the only file that is ever re-read.
    Timestamp,
    /// Names the versions of all targets metadata.
    Snapshot,
    /// Names the images and releases, and the roles that may name more of them.
    Targets,
    /// A targets role under another.
    Delegated,
}

impl Role {
    /// The top-level roles.
    pub(crate) const TOP: [Role; 4] = [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets];

    /// The name that TUF gives it. Delegated roles have names of their own.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Root => "root",
            Role::Timestamp => "timestamp",
            Role::Snapshot => "snapshot",
            Role::Targets => "targets",
            Role::Delegated => "delegated targets",
        }
    }

    /// What `_type` its files have.
    fn file_type(self) -> &'static str {
        match self {
            Role::Delegated => "targets",
            role => role.name(),
        }
    }

    /// Its place among the top-level roles.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What every role's `signed` states.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Header {
    pub(crate) version: u32,
    /// Seconds since 1970.
    pub(crate) expires: u64,
    /// Seconds since 1970; 0 where the file does not say.
    pub(crate) issued: u64,
}

/// What one file says: a header, signatures, and the facts of its role. One after the other is read into the
/// same memory.
#[derive(Debug)]
pub(crate) struct Sheet<'m> {
    pub(crate) role: Role,
    pub(crate) header: Header,
    signatures: Pack<'m>,
    /// Keys in front that were chosen by the delegating role, and behind them those that this file names.
    pub(crate) keys: Pack<'m>,
    /// Where the latter begin.
    pub(crate) own_keys: usize,
    /// The names of the targets roles that a search visited.
    pub(crate) names: Pack<'m>,
    pub(crate) root: RootReader,
    pub(crate) meta: MetaReader,
    pub(crate) delegations: DelegationsReader,
    pub(crate) targets: TargetsReader,
    /// Places where something stood. Those of an entry are forgotten when the next one begins.
    seen: Places,
    /// Who made the signature being read.
    signer: KeyId,
    /// Of the key being read: its algorithm, its length once it was decoded, and whether its scheme goes with both.
    algorithm: Algorithm,
    key_length: Option<usize>,
    right_scheme: bool,
}

impl<'m> Sheet<'m> {
    pub(crate) fn new(keys: &'m mut [u8], signatures: &'m mut [u8], names: &'m mut [u8]) -> Self {
        Sheet {
            role: Role::Root,
            header: Header::default(),
            signatures: Pack::new(signatures),
            keys: Pack::new(keys),
            own_keys: 0,
            names: Pack::new(names),
            root: RootReader::default(),
            meta: MetaReader::default(),
            delegations: DelegationsReader::default(),
            targets: TargetsReader::new(),
            seen: Places::default(),
            signer: KeyId::default(),
            algorithm: Algorithm::Unsupported,
            key_length: None,
            right_scheme: false,
        }
    }

    /// Begins a cycle. What another one left is gone.
    pub(crate) fn clear(&mut self) {
        self.own_keys = 0;
        self.names.truncate(0);
        self.meta = MetaReader::default();
        self.delegations = DelegationsReader::default();
        self.targets = TargetsReader::new();
    }

    /// Begins a file of this role. What an earlier try at it left is gone.
    pub(crate) fn restart(&mut self, role: Role) {
        self.role = role;
        self.header = Header::default();
        self.signatures.truncate(0);
        self.keys.truncate(self.own_keys);
        if role == Role::Root {
            self.root = RootReader::default();
        }
        self.seen = Places::default();
    }

    pub(crate) fn signatures(&self) -> Signatures<'_> {
        Signatures(self.signatures.as_slice())
    }

    /// What a root says, and who may sign its like.
    pub(crate) fn root_facts(&self) -> (RootFacts, Authority<'_>) {
        let Header { version, expires, issued } = self.header;
        let facts = RootFacts { version, expires, issued, ..self.root.facts };
        (facts, facts.authority(self.own_keys(), Role::Root))
    }

    /// The keys that the file names.
    pub(crate) fn own_keys(&self) -> Keys<'_> {
        Keys(self.keys.as_slice().get(self.own_keys..).unwrap_or_default())
    }

    /// The keys that a delegating role chose for this file.
    pub(crate) fn chosen_keys(&self) -> Keys<'_> {
        Keys(self.keys.as_slice().get(..self.own_keys).unwrap_or_default())
    }

    /// The file is over: is anything missing that every file has, or a root?
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        let members = [Place::Signatures, Place::Type, Place::SpecVersion, Place::Version, Place::Expires];
        for place in members {
            if !self.seen.has(place) {
                return Err(Fault::Field(place.field()));
            }
        }
        let Header { version, expires, issued } = self.header;
        // A date of issue is believed for ever. One that lies behind the file's own expiry is a slip or a trap.
        if issued >= expires {
            return Err(Fault::Field(Field::Issued));
        }
        if self.role == Role::Root {
            // No root could follow such a one.
            if version == u32::MAX {
                return Err(Fault::Field(Field::Version));
            }
            self.root.finish()?;
        }
        Ok(())
    }
}
