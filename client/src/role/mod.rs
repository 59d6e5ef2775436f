//! Role readers: from the scanner's values to the facts of one file. Facts are claims until
//! [`threshold`](crate::threshold) has counted who signed them.

use core::fmt;

use crate::crypto::Crypto;
use crate::error::{Bound, Field, Rejected};
use crate::key::{Algorithm, KeyId, Keys, Pack, Signatures};
use crate::limits::Limits;
use crate::release::Device;
use crate::role::delegations::{DelegationsReader, Path};
use crate::role::kept::Kept;
use crate::role::meta::{MetaReader, Tracked};
use crate::role::place::Place;
use crate::role::root::{Authority, RootFacts, RootReader};
use crate::role::targets::TargetsReader;
use crate::scan::{Fault, Reader, Value};
use crate::threshold::Envelope;
use crate::time;

pub(crate) mod delegations;
pub(crate) mod kept;
pub(crate) mod meta;
pub(crate) mod place;
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
    /// Members of `signed` that were seen.
    seen: u32,
    /// The signature or key being read.
    id: Option<KeyId>,
    has_signature: bool,
    algorithm: Algorithm,
    key_length: Option<usize>,
    right_scheme: bool,
}

/// What a reader has to know besides the file.
pub(crate) struct Context<'c> {
    pub(crate) crypto: &'c Crypto,
    pub(crate) limits: &'c Limits,
    pub(crate) device: Option<&'c Device<'c>>,
    /// The target that the caller named.
    pub(crate) named: &'c str,
    /// SHA-256 of the path that is looked for.
    pub(crate) path_sha256: [u8; 32],
    /// Seconds since 1970: the cycle's start time.
    pub(crate) start: u64,
    /// Roles whose entries in a snapshot are wanted.
    pub(crate) tracked: &'c [Tracked],
    /// The role that a search came to is the last of the visited names; is its entry wanted?
    pub(crate) seek_role: bool,
    /// Keys are all that is wanted of this pass.
    pub(crate) keys_only: bool,
}

/// A sheet being written.
pub(crate) struct Reading<'r, 'm> {
    pub(crate) sheet: &'r mut Sheet<'m>,
    pub(crate) context: Context<'r>,
    /// The snapshot that was trusted before, where the environment kept it.
    pub(crate) kept: Option<&'r mut Kept<'m>>,
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
            seen: 0,
            id: None,
            has_signature: false,
            algorithm: Algorithm::Unsupported,
            key_length: None,
            right_scheme: false,
        }
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
        self.seen = 0;
    }

    pub(crate) fn signatures(&self) -> Signatures<'_> {
        Signatures(self.signatures.as_slice())
    }

    /// What was read, as a threshold is counted over it.
    pub(crate) fn envelope<'e>(&'e self, digest: &'e [u8; 32], message: Option<&'e [u8]>) -> Envelope<'e> {
        Envelope { role: self.role, signatures: self.signatures(), digest, message }
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
            if self.seen & place.bit() == 0 {
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

    fn head(&mut self, place: Place, value: Value<'_>) -> Result<(), Fault> {
        let wrong = Fault::Field(place.field());
        match (place, value) {
            (Place::SpecVersion, value) if !text(value).starts_with(b"1.") => return Err(wrong),
            (Place::Version, value) => self.header.version = version(value).ok_or(wrong)?,
            (Place::Expires, value) => self.header.expires = time::parse(text(value)).ok_or(wrong)?,
            (Place::Issued, value) => self.header.issued = time::parse(text(value)).ok_or(wrong)?,
            (Place::Type, value) if text(value) != self.role.file_type().as_bytes() => return Err(wrong),
            _ => {}
        }
        self.seen |= place.bit();
        Ok(())
    }

    fn signature(&mut self, limits: &Limits, place: Place, value: Value<'_>) -> Result<(), Fault> {
        let wrong = Fault::Field(Field::Signatures);
        match (place, value) {
            (Place::Signature, Value::Object) => (self.id, self.has_signature) = (None, false),
            (Place::SignatureKeyId, value) => {
                let id = KeyId::from_hex(text(value)).ok_or(wrong)?;
                // 4.2.1: a keyid stands once at most, or one key could be counted twice.
                if self.signatures().iter().any(|other| other.id == id) {
                    return Err(Fault::Rejected(Rejected::DuplicateSignature { role: self.role }));
                }
                self.id = Some(id);
            }
            (Place::SignatureText, value) => {
                if self.signatures().iter().count() >= limits.signatures {
                    return Err(Fault::Limit(Bound::Signatures));
                }
                let id = self.id.ok_or(wrong)?;
                // Longer than any that we can verify, or no signature at all: it is there, and never counts.
                self.signatures
                    .push_signature(id, text(value), limits.signature)
                    .ok_or(Fault::Limit(Bound::Signatures))?;
                self.has_signature = true;
            }
            (Place::Signature, _) if !self.has_signature => return Err(wrong),
            _ => {}
        }
        Ok(())
    }

    /// A key of `keys` begins.
    fn begin_key(&mut self, id: &[u8], limits: &Limits, keys_only: bool) -> Result<Place, Fault> {
        let id = KeyId::from_hex(id).ok_or(Fault::Field(Field::Keys))?;
        if keys_only && !self.delegations.wanted.contains(&id) {
            return Ok(Place::Skip);
        }
        let taken = self.own_keys().bit(id).is_some();
        let full = self.keys_held() >= limits.keys || self.keys.push_key_id(id).is_none();
        match (taken, full) {
            (true, _) => Err(Fault::Field(Field::Keys)),
            // For a delegated role the file can be read once more.
            (_, true) if self.role != Role::Root && !keys_only => {
                self.delegations.overflow = true;
                Ok(Place::Skip)
            }
            (_, true) => Err(Fault::Limit(Bound::Keys)),
            (false, false) => {
                (self.algorithm, self.key_length, self.right_scheme) = (Algorithm::Unsupported, None, false);
                Ok(Place::Key)
            }
        }
    }

    fn keys_held(&self) -> usize {
        Keys(self.keys.as_slice()).iter().count()
    }

    fn key(&mut self, crypto: &Crypto, place: Place, value: Value<'_>) -> Result<(), Fault> {
        match (place, value) {
            (Place::KeyType, value) => {
                let algorithm = Algorithm::named(text(value));
                if crypto.knows(algorithm) {
                    self.algorithm = algorithm;
                }
            }
            (Place::Public, Value::Text(public)) => {
                self.key_length = self.keys.decode(self.algorithm, public);
            }
            (Place::Scheme, value) => self.right_scheme = text(value) == self.algorithm.scheme(),
            (Place::Key, Value::End) if self.right_scheme && self.algorithm != Algorithm::Unsupported => {
                // A key of a type that we know must be one.
                let length = self.key_length.ok_or(Fault::Field(Field::Keys))?;
                self.keys.complete_key(self.algorithm, length).ok_or(Fault::Limit(Bound::Keys))?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Reader for Reading<'_, '_> {
    fn member(&mut self, place: Place, key: &[u8]) -> Result<Place, Fault> {
        let Reading { sheet, context, kept } = self;
        Ok(match place {
            Place::Keys => sheet.begin_key(key, context.limits, context.keys_only)?,
            Place::Roles => sheet.root.begin(key),
            Place::Meta => {
                if let Some(kept) = kept {
                    kept.meet(key);
                }
                let only: &[u8] =
                    if sheet.role == Role::Timestamp { b"snapshot.json" } else { b"targets.json" };
                let sought = delegations::names(sheet.names.as_slice()).last().filter(|_| context.seek_role);
                sheet.meta.begin(only, context.tracked, sought, kept.is_some(), key)
            }
            Place::Targets => sheet.targets.begin(context.named, key),
            _ => match place.member(sheet.role, key) {
                Place::Custom => sheet.targets.custom(),
                Place::MetaSha512 | Place::Sha512 if !context.crypto.sha512 => Place::Skip,
                Place::DelegatedRoles | Place::Succinct | Place::Targets if context.keys_only => Place::Skip,
                place @ (Place::DelegatedRole | Place::Succinct) => sheet.delegations.begin(place),
                place => place,
            },
        })
    }

    fn value(&mut self, place: Place, value: Value<'_>) -> Result<(), Fault> {
        place.check(value)?;
        let Reading { sheet, context, kept } = self;
        let number = place as u8;
        match place {
            Place::Signatures if value == Value::Array => sheet.seen |= place.bit(),
            Place::Signature | Place::SignatureKeyId | Place::SignatureText => {
                sheet.signature(context.limits, place, value)?;
            }
            Place::Type | Place::SpecVersion | Place::Version | Place::Expires | Place::Issued => {
                sheet.head(place, value)?;
            }
            Place::Key | Place::KeyType | Place::KeyVal | Place::Public | Place::Scheme => {
                sheet.key(context.crypto, place, value)?;
            }
            _ if number >= Place::Targets as u8 => {
                sheet.targets.value(context.device, context.start, place, value)?;
            }
            Place::Meta if value == Value::End => {
                if let Some(kept) = kept {
                    kept.finish();
                }
            }
            _ if number >= Place::Halt as u8 && number <= Place::MetaVersion as u8 => {
                if let (Some(version), Some(kept)) = (sheet.meta.value(place, value)?, kept) {
                    kept.compare(version);
                }
            }
            _ if sheet.role == Role::Root => {
                let keys = Keys(sheet.keys.as_slice());
                sheet.root.value(keys, place, value)?;
            }
            _ => {
                let Sheet { keys, own_keys, names, delegations, targets, .. } = &mut **sheet;
                let keys = Keys(keys.as_slice().get(*own_keys..).unwrap_or_default());
                let path = Path { path: targets.path(context.named), sha256: context.path_sha256 };
                delegations.value(keys, names, &path, place, value)?;
            }
        }
        Ok(())
    }
}

/// A version, sequence or other number that must be 1..=4294967295.
pub(crate) fn version(value: Value<'_>) -> Option<u32> {
    number(value).filter(|version| *version > 0)
}

/// A number that must fit 32 bits.
pub(crate) fn number(value: Value<'_>) -> Option<u32> {
    match value {
        Value::Number(number) => u32::try_from(number).ok(),
        _ => None,
    }
}

/// The text at a place where nothing but a text may stand.
pub(crate) fn text(value: Value<'_>) -> &[u8] {
    match value {
        Value::Text(text) => text,
        _ => &[],
    }
}
