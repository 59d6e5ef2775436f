//! Where a value stands in a file: the grammar of TUF's metadata as one table.
//!
//! The scanner asks for the place of each key as it ends. What no row names is [`Place::Skip`]: it is scanned,
//! hashed and held against the rules of JSON, and nobody is told of it.

use crate::Role;
use crate::error::Field;

/// A place. Those of one object stand side by side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub(crate) enum Place {
    Skip,
    /// The outermost object.
    Top,
    Signatures,
    Signature,
    SignatureKeyId,
    SignatureText,
    /// The part that is signed.
    Signed,
    Type,
    SpecVersion,
    Version,
    Expires,
    Issued,
    ConsistentSnapshot,
    Keys,
    Key,
    KeyType,
    KeyVal,
    Public,
    Scheme,
    /// A root's roles, by name.
    Roles,
    RootRole,
    KeyIds,
    KeyId,
    Threshold,
    Halt,
    Halted,
    Meta,
    MetaEntry,
    MetaHashes,
    MetaSha256,
    MetaSha512,
    MetaLength,
    MetaVersion,
    Delegations,
    /// A targets file's roles, in order.
    DelegatedRoles,
    DelegatedRole,
    Name,
    Prefixes,
    Prefix,
    Patterns,
    Pattern,
    Terminating,
    Succinct,
    BitLength,
    NamePrefix,
    Targets,
    Target,
    Hashes,
    Sha256,
    Sha512,
    Length,
    Custom,
    Candidates,
    Candidate,
    Counter,
    Image,
    ImageHashes,
    ImageSha256,
    ImageLength,
    ImagePath,
    Minimum,
    Rollout,
    RampEnd,
    Salt,
    RampStart,
    Sequence,
    VersionText,
    Format,
}

use Place as P;

/// What may stand at a place.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Object,
    Array,
    Text,
    /// A string that counts for nothing when it is too long to be held.
    AnyText,
    /// 0..=4294967295
    Number,
    /// 1..=4294967295
    Positive,
    Date,
    /// SHA-256 in hexadecimal.
    Hash,
    Bool,
    Any,
}

impl Place {
    /// The place of a member, or of an array's item under an empty key. A file of one role has no places of
    /// another's: there they are unknown members like any other.
    pub(crate) fn member(self, role: Role, key: &[u8]) -> Place {
        let own: &[(&str, Place)] = match (self, role) {
            (P::Signed, Role::Root) => {
                &[("consistent_snapshot", P::ConsistentSnapshot), ("keys", P::Keys), ("roles", P::Roles)]
            }
            (P::Signed, Role::Timestamp) => &[("halt", P::Halt), ("meta", P::Meta)],
            (P::Signed, Role::Snapshot) => &[("meta", P::Meta)],
            (P::Signed, _) => &[("delegations", P::Delegations), ("targets", P::Targets)],
            _ => &[],
        };
        let words = own.iter().chain(self.members());
        words.clone().find(|(word, _)| word.as_bytes() == key).map_or(P::Skip, |(_, place)| *place)
    }

    fn members(self) -> &'static [(&'static str, Place)] {
        match self {
            P::Top => &[("signatures", P::Signatures), ("signed", P::Signed)],
            P::Signatures => &[("", P::Signature)],
            P::Signature => &[("keyid", P::SignatureKeyId), ("sig", P::SignatureText)],
            P::Signed => &[
                ("_type", P::Type),
                ("expires", P::Expires),
                ("issued", P::Issued),
                ("spec_version", P::SpecVersion),
                ("version", P::Version),
            ],
            P::Key => &[("keytype", P::KeyType), ("keyval", P::KeyVal), ("scheme", P::Scheme)],
            P::KeyVal => &[("public", P::Public)],
            P::RootRole => &[("keyids", P::KeyIds), ("threshold", P::Threshold)],
            P::KeyIds => &[("", P::KeyId)],
            P::Halt => &[("", P::Halted)],
            P::MetaEntry => {
                &[("hashes", P::MetaHashes), ("length", P::MetaLength), ("version", P::MetaVersion)]
            }
            P::MetaHashes => &[("sha256", P::MetaSha256), ("sha512", P::MetaSha512)],
            P::Delegations => {
                &[("keys", P::Keys), ("roles", P::DelegatedRoles), ("succinct_roles", P::Succinct)]
            }
            P::DelegatedRoles => &[("", P::DelegatedRole)],
            P::DelegatedRole => &[
                ("keyids", P::KeyIds),
                ("name", P::Name),
                ("path_hash_prefixes", P::Prefixes),
                ("paths", P::Patterns),
                ("terminating", P::Terminating),
                ("threshold", P::Threshold),
            ],
            P::Prefixes => &[("", P::Prefix)],
            P::Patterns => &[("", P::Pattern)],
            P::Succinct => &[
                ("bit_length", P::BitLength),
                ("keyids", P::KeyIds),
                ("name_prefix", P::NamePrefix),
                ("threshold", P::Threshold),
            ],
            P::Target => &[("custom", P::Custom), ("hashes", P::Hashes), ("length", P::Length)],
            P::Hashes => &[("sha256", P::Sha256), ("sha512", P::Sha512)],
            P::Custom => &[("candidates", P::Candidates), ("format", P::Format)],
            P::Candidates => &[("", P::Candidate)],
            P::Candidate => &[
                ("counter", P::Counter),
                ("image", P::Image),
                ("minimum", P::Minimum),
                ("rollout", P::Rollout),
                ("sequence", P::Sequence),
                ("version", P::VersionText),
            ],
            P::Image => &[("hashes", P::ImageHashes), ("length", P::ImageLength), ("path", P::ImagePath)],
            P::ImageHashes => &[("sha256", P::ImageSha256)],
            P::Rollout => &[("end", P::RampEnd), ("salt", P::Salt), ("start", P::RampStart)],
            _ => &[],
        }
    }

    /// What may stand here, and what is wrong with the file if something else does.
    pub(crate) fn form(self) -> (Kind, Field) {
        match self {
            P::Skip | P::Top => (Kind::Any, Field::Signed),
            P::Signatures => (Kind::Array, Field::Signatures),
            P::Signature => (Kind::Object, Field::Signatures),
            P::SignatureKeyId => (Kind::Text, Field::Signatures),
            P::SignatureText => (Kind::AnyText, Field::Signatures),
            P::Signed => (Kind::Object, Field::Signed),
            P::Type => (Kind::Text, Field::Type),
            P::SpecVersion => (Kind::Text, Field::SpecVersion),
            P::Version => (Kind::Positive, Field::Version),
            P::Expires => (Kind::Date, Field::Expires),
            P::Issued => (Kind::Date, Field::Issued),
            P::ConsistentSnapshot => (Kind::Bool, Field::ConsistentSnapshot),
            P::Keys | P::Key => (Kind::Object, Field::Keys),
            P::KeyType | P::Scheme => (Kind::Text, Field::Keys),
            // A key of a type that nobody here knows may have any value.
            P::KeyVal | P::Public => (Kind::Any, Field::Keys),
            P::Roles | P::RootRole => (Kind::Object, Field::Roles),
            P::KeyIds => (Kind::Array, Field::Roles),
            P::KeyId => (Kind::Text, Field::Roles),
            P::Threshold => (Kind::Positive, Field::Threshold),
            P::Halt => (Kind::Array, Field::Halt),
            P::Halted => (Kind::Text, Field::Halt),
            P::Meta | P::MetaEntry | P::MetaHashes => (Kind::Object, Field::Meta),
            P::MetaSha256 => (Kind::Hash, Field::Meta),
            P::MetaSha512 => (Kind::Text, Field::Meta),
            P::MetaLength => (Kind::Positive, Field::Meta),
            P::MetaVersion => (Kind::Positive, Field::Meta),
            P::Delegations | P::DelegatedRole | P::Succinct => (Kind::Object, Field::Delegations),
            P::DelegatedRoles | P::Prefixes | P::Patterns => (Kind::Array, Field::Delegations),
            P::Name | P::NamePrefix | P::Prefix | P::Pattern => (Kind::Text, Field::Delegations),
            P::Terminating => (Kind::Bool, Field::Delegations),
            P::BitLength => (Kind::Positive, Field::Delegations),
            P::Targets | P::Target | P::Hashes => (Kind::Object, Field::Targets),
            P::Sha256 => (Kind::Hash, Field::Targets),
            P::Sha512 => (Kind::Text, Field::Targets),
            P::Length => (Kind::Number, Field::Targets),
            P::Custom | P::Candidate | P::Image | P::ImageHashes | P::Rollout => {
                (Kind::Object, Field::Release)
            }
            P::Candidates => (Kind::Array, Field::Release),
            P::ImageSha256 => (Kind::Hash, Field::Release),
            P::RampEnd | P::RampStart => (Kind::Date, Field::Release),
            P::ImagePath | P::Salt | P::VersionText => (Kind::Text, Field::Release),
            P::Sequence => (Kind::Positive, Field::Release),
            P::Counter | P::ImageLength | P::Minimum | P::Format => (Kind::Number, Field::Release),
        }
    }

    /// The member that is missing or wrong if something is amiss here.
    pub(crate) fn field(self) -> Field {
        self.form().1
    }
}

/// A set of places.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Places([u32; 3]);

impl Places {
    pub(crate) fn add(&mut self, place: Place) {
        let (word, bit) = place.bit();
        if let Some(word) = self.0.get_mut(word) {
            *word |= bit;
        }
    }

    pub(crate) fn has(&self, place: Place) -> bool {
        let (word, bit) = place.bit();
        self.0.get(word).is_some_and(|word| word & bit != 0)
    }

    pub(crate) fn has_all(&self, places: &[Place]) -> bool {
        places.iter().all(|place| self.has(*place))
    }

    /// Removes all from the one to the other.
    pub(crate) fn remove(&mut self, from: Place, to: Place) {
        for number in from as u8..=to as u8 {
            if let Some(word) = self.0.get_mut(usize::from(number / 32)) {
                *word &= !1_u32.wrapping_shl(u32::from(number));
            }
        }
    }
}

impl Place {
    /// Its word and bit in a set.
    fn bit(self) -> (usize, u32) {
        let number = self as u8;
        (usize::from(number / 32), 1_u32.wrapping_shl(u32::from(number)))
    }
}
