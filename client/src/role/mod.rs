//! Role readers: from the scanner's values to the facts of one file. Facts are claims until
//! [`threshold`](crate::threshold) has counted who signed them.

use core::fmt;

use crate::crypto::Crypto;
use crate::error::{Bound, Field};
use crate::key::{Algorithm, KeyId, Keys, Pack, Signatures, hex_exact};
use crate::limits::Limits;
use crate::release::{Candidate, Device};
use crate::role::delegations::{DelegationsReader, Path};
use crate::role::kept::KeptSnapshot;
use crate::role::meta::{MetaReader, Tracked};
use crate::role::place::{Datum, Place, Places};
use crate::role::root::{Authority, RootFacts, RootReader};
use crate::role::targets::TargetsReader;
use crate::scan::{Fault, Reader, Value};

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
    /// Places where something stood. Those of an entry are forgotten when the next one begins.
    seen: Places,
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

impl<'c> Context<'c> {
    /// Nothing is looked for.
    pub(crate) fn of(crypto: &'c Crypto, limits: &'c Limits) -> Self {
        Context {
            crypto,
            limits,
            device: None,
            named: "",
            path_sha256: [0; 32],
            start: 0,
            tracked: &[],
            seek_role: false,
            keys_only: false,
        }
    }
}

/// A sheet being written.
pub(crate) struct Reading<'r, 'm, 'k> {
    pub(crate) sheet: &'r mut Sheet<'m>,
    pub(crate) context: Context<'r>,
    /// The snapshot that was trusted before, where the environment kept it.
    pub(crate) kept: Option<&'r mut (dyn KeptSnapshot + 'k)>,
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

    /// The place of a number, a date or a hash of which nothing else is to be checked.
    fn number(&mut self, place: Place) -> Option<&mut u32> {
        let Self { header, meta, targets, .. } = self;
        let Candidate { counter, minimum, image, .. } = &mut targets.entry.candidate;
        Some(match place {
            Place::Version => &mut header.version,
            Place::MetaVersion => &mut meta.reading.version,
            Place::MetaLength => &mut meta.length,
            Place::Length => &mut targets.reading.length,
            Place::Counter => counter,
            Place::Minimum => minimum,
            Place::ImageLength => &mut image.length,
            Place::Format => &mut targets.entry.format,
            _ => return None,
        })
    }

    fn date(&mut self, place: Place) -> &mut u64 {
        match place {
            Place::Expires => &mut self.header.expires,
            Place::Issued => &mut self.header.issued,
            Place::RampStart => &mut self.targets.entry.ramp.start,
            _ => &mut self.targets.entry.ramp.end,
        }
    }

    fn hash(&mut self, place: Place) -> &mut [u8; 32] {
        match place {
            Place::MetaSha256 => &mut self.meta.sha256,
            Place::Sha256 => &mut self.targets.sha256,
            _ => &mut self.targets.entry.candidate.image.sha256,
        }
    }

    fn signature(&mut self, limits: &Limits, place: Place, datum: Datum<'_>) -> Result<(), Fault> {
        let wrong = Fault::Field(Field::Signatures);
        match (place, datum) {
            (Place::Signature, Datum::Container(true)) => (self.id, self.has_signature) = (None, false),
            (Place::Signature, _) if !self.has_signature => return Err(wrong),
            (Place::SignatureKeyId, Datum::Text(id)) => {
                let id = KeyId::from_hex(id).ok_or(wrong)?;
                // 4.2.1: a keyid stands once at most, or one key could be counted twice.
                if self.signatures().iter().any(|other| other.id == id) {
                    return Err(Fault::DuplicateSignature);
                }
                self.id = Some(id);
            }
            (Place::SignatureText, Datum::Text(digits)) => {
                let id = self.id.ok_or(wrong)?;
                let room = self.signatures().iter().count() < limits.signatures;
                // Longer than any that we can verify, or no signature at all: it is there, and never counts.
                let pushed = self.signatures.push_signature(id, digits, limits.signature);
                pushed.filter(|()| room).ok_or(Fault::Limit(Bound::Signatures))?;
                self.has_signature = true;
            }
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

    fn key(&mut self, crypto: &Crypto, place: Place, datum: Datum<'_>) -> Result<(), Fault> {
        match (place, datum) {
            (Place::KeyType, Datum::Text(name)) => {
                let algorithm = Algorithm::named(name);
                if crypto.knows(algorithm) {
                    self.algorithm = algorithm;
                }
            }
            (Place::Public, Datum::Text(public)) => {
                self.key_length = self.keys.decode(self.algorithm, crypto, public);
            }
            (Place::Scheme, Datum::Text(scheme)) => self.right_scheme = scheme == self.algorithm.scheme(),
            (Place::Key, Datum::Container(false))
                if self.right_scheme && self.algorithm != Algorithm::Unsupported =>
            {
                // A key of a type that we know must be one.
                let length = self.key_length.ok_or(Fault::Field(Field::Keys))?;
                self.keys.complete_key(self.algorithm, length).ok_or(Fault::Limit(Bound::Keys))?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Reader for Reading<'_, '_, '_> {
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
                // Of candidates behind the one that was taken only their order matters.
                inner
                    if place == Place::Candidate && sheet.targets.entry.taken && inner != Place::Sequence =>
                {
                    Place::Skip
                }
                Place::MetaSha512 | Place::Sha512 if !context.crypto.sha512 => Place::Skip,
                Place::DelegatedRoles | Place::Succinct | Place::Targets if context.keys_only => Place::Skip,
                // TAP 15: bins stand in the place of a list of roles, not beside one.
                Place::Succinct if sheet.seen.has(Place::DelegatedRoles) => {
                    return Err(Fault::Field(Field::Delegations));
                }
                place @ (Place::DelegatedRole | Place::Succinct) => sheet.delegations.begin(place),
                place => place,
            },
        })
    }

    fn value(&mut self, place: Place, value: Value<'_>) -> Result<(), Fault> {
        let datum = place.decode(&value)?;
        let Reading { sheet, context, kept } = self;
        sheet.seen.add(place);
        if let Datum::Container(true) = datum {
            let members = match place {
                Place::MetaEntry => Some((Place::MetaHashes, Place::MetaVersion)),
                Place::Target => Some((Place::Hashes, Place::Length)),
                Place::Candidate => Some((Place::Counter, Place::VersionText)),
                _ => None,
            };
            if let Some((from, to)) = members {
                sheet.seen.remove(from, to);
            }
        }
        let wrong = Fault::Field(place.field());
        match (place, datum) {
            (Place::Halted, Datum::Hash(digest)) => sheet.meta.halt(&digest)?,
            (_, Datum::Hash(digest)) => *sheet.hash(place) = digest,
            (_, Datum::Date(date)) => *sheet.date(place) = date,
            (Place::Sequence, Datum::Number(number)) => sheet.targets.entry.sequence(number)?,
            (Place::Threshold, Datum::Number(number)) if sheet.role == Role::Root => {
                if let Some(by) = sheet.root.by() {
                    by.threshold = u8::try_from(number).map_err(|_| wrong)?;
                }
            }
            (Place::Signature | Place::SignatureKeyId | Place::SignatureText, _) => {
                sheet.signature(context.limits, place, datum)?;
            }
            (Place::Key | Place::KeyType | Place::Public | Place::Scheme, _) => {
                sheet.key(context.crypto, place, datum)?;
            }
            (Place::SpecVersion, Datum::Text(text)) if !text.starts_with(b"1.") => return Err(wrong),
            (Place::Type, Datum::Text(text)) if text != sheet.role.file_type().as_bytes() => {
                return Err(wrong);
            }
            (Place::ConsistentSnapshot, _) => sheet.root.consistent = datum == Datum::Bool(true),
            (Place::KeyId, Datum::Text(id)) if sheet.role == Role::Root => {
                let Sheet { keys, root, .. } = &mut **sheet;
                root.key_id(Keys(keys.as_slice()), KeyId::from_hex(id).ok_or(wrong)?)?;
            }
            (Place::MetaEntry, Datum::Container(false)) => {
                let version = sheet.meta.end(&sheet.seen)?;
                if let Some(kept) = kept {
                    kept.compare(version);
                }
            }
            (Place::Meta, Datum::Container(false)) => {
                if let Some(kept) = kept {
                    kept.finish();
                }
            }
            (Place::Target, Datum::Container(false)) => sheet.targets.end(&sheet.seen)?,
            (Place::Candidate, Datum::Container(true)) if !sheet.targets.entry.taken => {
                sheet.targets.entry.candidate.rollout = None;
            }
            (Place::Candidate, Datum::Container(false)) => {
                sheet.targets.end_of_candidate(context.device, context.start, &sheet.seen)?;
            }
            (Place::Rollout, Datum::Container(false)) => sheet.targets.entry.end_of_ramp(&sheet.seen)?,
            (Place::ImagePath, Datum::Text(text)) => sheet.targets.entry.path(text)?,
            (Place::VersionText, Datum::Text(text)) => sheet.targets.entry.version(text)?,
            (Place::Salt, Datum::Text(text)) => {
                hex_exact(text, &mut sheet.targets.entry.ramp.salt).ok_or(wrong)?;
            }
            #[cfg(feature = "host")]
            (Place::MetaSha512, Datum::Text(text)) => {
                sheet.meta.reading.sha512 = Some(crate::hash::half(text).ok_or(wrong)?);
            }
            #[cfg(feature = "host")]
            (Place::Sha512, Datum::Text(text)) => {
                sheet.targets.reading.sha512 = Some(crate::key::hex_array(text).ok_or(wrong)?);
            }
            (_, datum) => {
                if let (Datum::Number(number), Some(slot)) = (datum, sheet.number(place)) {
                    *slot = number;
                } else {
                    let Sheet { keys, own_keys, names, delegations, targets, .. } = &mut **sheet;
                    let keys = Keys(keys.as_slice().get(*own_keys..).unwrap_or_default());
                    let path = Path { path: targets.path(context.named), sha256: context.path_sha256 };
                    delegations.member(keys, names, &path, place, datum)?;
                }
            }
        }
        Ok(())
    }
}
