//! Where a value stands in a file: the grammar of TUF's metadata as one table.
//!
//! The scanner asks for the place of each key as it ends. What no row names is [`Place::Skip`]: it is scanned,
//! hashed and held against the rules of JSON, and nobody is told of it.

use crate::Role;
use crate::error::Field;
use crate::scan::{Fault, Value};

/// A place. Those of one object stand within 32 of each other, so that a word of bits tells which were seen.
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
enum Kind {
    Object,
    Array,
    Text,
    /// A string that counts for nothing when it is too long to be held.
    AnyText,
    Number,
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
    fn form(self) -> (Kind, Field) {
        match self {
            P::Skip | P::Top => (Kind::Any, Field::Signed),
            P::Signatures => (Kind::Array, Field::Signatures),
            P::Signature => (Kind::Object, Field::Signatures),
            P::SignatureKeyId => (Kind::Text, Field::Signatures),
            P::SignatureText => (Kind::AnyText, Field::Signatures),
            P::Signed => (Kind::Object, Field::Signed),
            P::Type => (Kind::Text, Field::Type),
            P::SpecVersion => (Kind::Text, Field::SpecVersion),
            P::Version => (Kind::Number, Field::Version),
            P::Expires => (Kind::Text, Field::Expires),
            P::Issued => (Kind::Text, Field::Issued),
            P::ConsistentSnapshot => (Kind::Bool, Field::ConsistentSnapshot),
            P::Keys | P::Key => (Kind::Object, Field::Keys),
            P::KeyType | P::Scheme => (Kind::Text, Field::Keys),
            // A key of a type that nobody here knows may have any value.
            P::KeyVal | P::Public => (Kind::Any, Field::Keys),
            P::Roles | P::RootRole => (Kind::Object, Field::Roles),
            P::KeyIds => (Kind::Array, Field::Roles),
            P::KeyId => (Kind::Text, Field::Roles),
            P::Threshold => (Kind::Number, Field::Threshold),
            P::Halt => (Kind::Array, Field::Halt),
            P::Halted => (Kind::Text, Field::Halt),
            P::Meta | P::MetaEntry | P::MetaHashes => (Kind::Object, Field::Meta),
            P::MetaSha256 | P::MetaSha512 => (Kind::Text, Field::Meta),
            P::MetaLength | P::MetaVersion => (Kind::Number, Field::Meta),
            P::Delegations | P::DelegatedRole | P::Succinct => (Kind::Object, Field::Delegations),
            P::DelegatedRoles | P::Prefixes | P::Patterns => (Kind::Array, Field::Delegations),
            P::Name | P::NamePrefix | P::Prefix | P::Pattern => (Kind::Text, Field::Delegations),
            P::Terminating => (Kind::Bool, Field::Delegations),
            P::BitLength => (Kind::Number, Field::Delegations),
            P::Targets | P::Target | P::Hashes => (Kind::Object, Field::Targets),
            P::Sha256 | P::Sha512 => (Kind::Text, Field::Targets),
            P::Length => (Kind::Number, Field::Targets),
            P::Custom | P::Candidate | P::Image | P::ImageHashes | P::Rollout => {
                (Kind::Object, Field::Release)
            }
            P::Candidates => (Kind::Array, Field::Release),
            P::ImageSha256 | P::ImagePath | P::RampEnd | P::Salt | P::RampStart | P::VersionText => {
                (Kind::Text, Field::Release)
            }
            P::Counter | P::ImageLength | P::Minimum | P::Sequence | P::Format => {
                (Kind::Number, Field::Release)
            }
        }
    }

    /// The member that is missing or wrong if something is amiss here.
    pub(crate) fn field(self) -> Field {
        self.form().1
    }

    /// Refuses a value of a kind that has no business here.
    pub(crate) fn check(self, value: Value<'_>) -> Result<(), Fault> {
        let (kind, field) = self.form();
        let fits = match kind {
            Kind::Object => matches!(value, Value::Object | Value::End),
            Kind::Array => matches!(value, Value::Array | Value::End),
            Kind::Text if value == Value::LongText => return Err(Fault::Limit(crate::Bound::Text)),
            Kind::Text => matches!(value, Value::Text(_)),
            Kind::AnyText => matches!(value, Value::Text(_) | Value::LongText),
            Kind::Number => matches!(value, Value::Number(_)),
            Kind::Bool => matches!(value, Value::True | Value::False),
            Kind::Any => true,
        };
        if fits { Ok(()) } else { Err(Fault::Field(field)) }
    }

    /// This place's bit in a word of members seen.
    pub(crate) fn bit(self) -> u32 {
        1_u32.wrapping_shl(u32::from(self as u8))
    }
}
