//! What can go wrong, in three families that the caller must treat differently.

use core::fmt;

use crate::Role;
use crate::time::Date;

/// Why a call failed.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// The repository's bytes are bad. Trusted state is what it was before the file.
    Rejected(Rejected),
    /// The caller broke the order of calls. No byte from outside leads here.
    Misuse(Misuse),
    /// The world around did not do its part; the same bytes may be accepted later.
    Environment(Environment),
}

/// The bytes are bad, named by the attack that they would be.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rejected {
    /// Not JSON, or JSON outside the canonical subset (a float, `-0`, a lone surrogate), at this byte.
    Syntax {
        /// The file.
        role: Role,
        /// Offset of the byte, from 0.
        at: u32,
    },
    /// An object's keys do not ascend, or one stands twice.
    KeyOrder {
        /// The file.
        role: Role,
        /// Offset of the byte, from 0.
        at: u32,
    },
    /// The file ended before its JSON did.
    Truncated {
        /// The file.
        role: Role,
        /// Bytes received.
        at: u32,
    },
    /// The file passes a bound of [`limits`](crate::limits).
    Limit {
        /// The file.
        role: Role,
        /// The bound.
        bound: Bound,
    },
    /// A member is missing, or is not what the format says.
    Field {
        /// The file.
        role: Role,
        /// The member.
        field: Field,
    },
    /// The file is longer than the bound that holds for it; endless data ends here.
    Oversize {
        /// The file.
        role: Role,
        /// Most bytes that were acceptable.
        limit: u32,
    },
    /// Too few distinct keys of the role signed these bytes.
    ThresholdNotMet {
        /// The signed file.
        role: Role,
        /// Distinct keys with a valid signature.
        valid: u8,
        /// Distinct keys needed.
        threshold: u8,
    },
    /// One keyid signs twice in one file.
    DuplicateSignature {
        /// The file.
        role: Role,
    },
    /// The next root must have exactly the next version.
    RootVersion {
        /// The version asked for.
        expected: u32,
        /// The version inside.
        offered: u32,
    },
    /// An older version than one that was trusted before.
    Rollback {
        /// Whose version.
        role: Role,
        /// The floor.
        trusted: u32,
        /// What the repository offers.
        offered: u32,
    },
    /// Expired at the cycle's start time: someone withholds newer metadata, or nobody re-signed.
    Freeze {
        /// The file.
        role: Role,
        /// When it expired.
        expires: Date,
        /// The cycle's start time.
        start: Date,
    },
    /// Length, digest or version is not what the metadata above it states.
    MixAndMatch {
        /// The file.
        role: Role,
    },
    /// The new snapshot no longer lists this role.
    RoleDropped {
        /// The role.
        role: Role,
    },
    /// More roots in one cycle than [`Limits::roots`](crate::Limits::roots). What was walked is stored;
    /// the next cycle goes on from there.
    TooManyRoots,
    /// No role that may has a release entry for this product, hardware and channel.
    NoRelease,
    /// A candidate names an image outside `PRODUCT/HARDWARE/`.
    OtherHardware {
        /// The candidate's sequence.
        sequence: u32,
    },
    /// The candidate's image is no target, or its target has another length or digest.
    ImageNotAuthorised {
        /// The candidate's sequence.
        sequence: u32,
    },
    /// Candidates must stand in falling order of sequence, none twice.
    SequenceOrder {
        /// The sequence out of order.
        sequence: u32,
    },
    /// A targets role delegates to a role that the snapshot does not list.
    RoleNotListed,
    /// No role that may name this target does.
    NoTarget,
}

/// The caller's fault.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Misuse {
    /// Bytes were fed, or a file ended, while the machine wanted something else.
    NotFetching,
    /// The cycle ended with an error; only a new one can go on.
    CycleOver,
    /// A product, hardware or channel name is empty, too long or has other than `[a-z0-9._-]`.
    Name,
    /// The snapshot that was kept is not the one that is trusted.
    KeptSnapshot,
}

/// The world around.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Environment {
    /// The repository does not have a file that its metadata names.
    Missing {
        /// The file.
        role: Role,
    },
}

/// A bound of [`limits`](crate::limits) that a file passed.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Bound {
    /// `DEPTH`: objects and arrays within each other.
    Depth,
    /// `text`: a key, or a string that had to be read.
    Text,
    /// `keys` in a root, or of a delegated role.
    Keys,
    /// `signatures` in a file.
    Signatures,
    /// `CANDIDATES` in a release entry.
    Candidates,
    /// `HALTS` in a timestamp.
    Halts,
    /// `CHAIN` of delegations, one below the other.
    Delegations,
    /// `roles` that one search visits.
    Roles,
    /// `names`: bytes of the names of those roles.
    Names,
    /// `message`: bytes of `signed`, under a key that signs no digest.
    Message,
}

/// A member of a file that is missing or wrong.
#[non_exhaustive]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Field {
    /// `signatures` of the envelope.
    Signatures,
    /// `signed` of the envelope.
    Signed,
    /// `_type`: missing, or another role's file.
    Type,
    /// `spec_version`: missing, or not 1.x.
    SpecVersion,
    /// `version`: missing, not a number, or outside 1..=4294967295.
    Version,
    /// `expires`: missing, or not a date.
    Expires,
    /// `issued`: not a date.
    Issued,
    /// `consistent_snapshot`: missing, or not true.
    ConsistentSnapshot,
    /// `keys` of a root.
    Keys,
    /// `roles` of a root: missing role, unknown keyid, keyid twice, no such number.
    Roles,
    /// A role's `threshold`: missing, 0, or more than the role has distinct keys.
    Threshold,
    /// `meta` of a timestamp or snapshot.
    Meta,
    /// `halt` of a timestamp.
    Halt,
    /// `delegations` of a targets file.
    Delegations,
    /// `targets`: a target without length or SHA-256.
    Targets,
    /// The `custom` of the release entry.
    Release,
}

impl Error {
    /// The stable number of this error: never reused, never renumbered.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Error::Rejected(rejected) => rejected.code(),
            Error::Misuse(misuse) => misuse.code(),
            Error::Environment(environment) => environment.code(),
        }
    }

    /// Whether it is too few signatures alone that is wrong: more of them, over the same bytes, may mend it.
    #[must_use]
    pub fn is_unmet(&self) -> bool {
        matches!(self, Error::Rejected(Rejected::ThresholdNotMet { .. }))
    }
}

impl Rejected {
    /// The stable number of this error, from 100.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Rejected::Syntax { .. } => 100,
            Rejected::KeyOrder { .. } => 101,
            Rejected::Truncated { .. } => 102,
            Rejected::Limit { .. } => 103,
            Rejected::Field { .. } => 104,
            Rejected::Oversize { .. } => 105,
            Rejected::ThresholdNotMet { .. } => 106,
            Rejected::DuplicateSignature { .. } => 107,
            Rejected::RootVersion { .. } => 108,
            Rejected::Rollback { .. } => 109,
            Rejected::Freeze { .. } => 110,
            Rejected::MixAndMatch { .. } => 111,
            Rejected::RoleDropped { .. } => 112,
            Rejected::TooManyRoots => 113,
            Rejected::NoRelease => 114,
            Rejected::OtherHardware { .. } => 115,
            Rejected::ImageNotAuthorised { .. } => 116,
            Rejected::SequenceOrder { .. } => 117,
            Rejected::RoleNotListed => 118,
            Rejected::NoTarget => 119,
        }
    }
}

impl Misuse {
    /// The stable number of this error, from 200.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Misuse::NotFetching => 200,
            Misuse::CycleOver => 201,
            Misuse::Name => 202,
            Misuse::KeptSnapshot => 203,
        }
    }
}

impl Environment {
    /// The stable number of this error, from 300.
    #[must_use]
    pub fn code(&self) -> u16 {
        match self {
            Environment::Missing { .. } => 300,
        }
    }
}

impl From<Rejected> for Error {
    fn from(rejected: Rejected) -> Self {
        Error::Rejected(rejected)
    }
}

impl From<Misuse> for Error {
    fn from(misuse: Misuse) -> Self {
        Error::Misuse(misuse)
    }
}

impl From<Environment> for Error {
    fn from(environment: Environment) -> Self {
        Error::Environment(environment)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Rejected(rejected) => rejected.fmt(f),
            Error::Misuse(misuse) => misuse.fmt(f),
            Error::Environment(environment) => environment.fmt(f),
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Rejected::Syntax { role, at } => write!(f, "{role}: not canonical JSON at byte {at}"),
            Rejected::KeyOrder { role, at } => write!(f, "{role}: object keys do not ascend at byte {at}"),
            Rejected::Truncated { role, at } => write!(f, "{role}: ends within its JSON after {at} bytes"),
            Rejected::Limit { role, bound } => write!(f, "{role}: passes the device's bound on {bound}"),
            Rejected::Field { role, field } => write!(f, "{role}: {field} is missing or wrong"),
            Rejected::Oversize { role, limit } => write!(f, "{role}: longer than {limit} bytes"),
            Rejected::ThresholdNotMet { role, valid, threshold } => {
                write!(f, "{role}: signed by {valid} of {threshold} needed keys")
            }
            Rejected::DuplicateSignature { role } => write!(f, "{role}: one keyid signs twice"),
            Rejected::RootVersion { expected, offered } => {
                write!(f, "root: version {offered} where {expected} must follow")
            }
            Rejected::Rollback { role, trusted, offered } => {
                write!(f, "{role}: version {offered} is older than the trusted {trusted} (rollback)")
            }
            Rejected::Freeze { role, expires, start } => {
                write!(f, "{role}: expired {expires}, it is {start} (freeze)")
            }
            Rejected::MixAndMatch { role } => {
                write!(f, "{role}: not the file that the metadata above it states (mix and match)")
            }
            Rejected::RoleDropped { role } => write!(f, "snapshot: no longer lists {role}"),
            Rejected::TooManyRoots => write!(f, "root: more new roots than one cycle walks"),
            Rejected::NoRelease => write!(f, "targets: no release for this product, hardware and channel"),
            Rejected::RoleNotListed => write!(f, "snapshot: does not list a role that is delegated to"),
            Rejected::NoTarget => write!(f, "targets: no role has this target"),
            Rejected::OtherHardware { sequence } => {
                write!(f, "targets: release {sequence} names an image of other hardware")
            }
            Rejected::ImageNotAuthorised { sequence } => {
                write!(f, "targets: the image of release {sequence} is no target with that digest")
            }
            Rejected::SequenceOrder { sequence } => {
                write!(f, "targets: release {sequence} is out of order or there twice")
            }
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Misuse::NotFetching => "bytes were fed while no file was wanted",
            Misuse::CycleOver => "the cycle is over; start another",
            Misuse::Name => {
                "a product, hardware or channel name has another form than [a-z0-9][a-z0-9._-]{0,31}"
            }
            Misuse::KeptSnapshot => "the snapshot that was kept is not the trusted one",
        })
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Environment::Missing { role } => write!(f, "{role}: the repository does not have this file"),
        }
    }
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bound::Depth => "nesting",
            Bound::Text => "the length of a text",
            Bound::Keys => "the number of keys",
            Bound::Signatures => "the number of signatures",
            Bound::Candidates => "the number of release candidates",
            Bound::Halts => "the number of halted images",
            Bound::Delegations => "delegations below each other",
            Bound::Roles => "the number of roles in one search",
            Bound::Names => "the length of role names",
            Bound::Message => "what a key signs that signs no digest",
        })
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Signatures => "`signatures`",
            Field::Signed => "`signed`",
            Field::Type => "`_type`",
            Field::SpecVersion => "`spec_version`",
            Field::Version => "`version`",
            Field::Expires => "`expires`",
            Field::Issued => "`issued`",
            Field::ConsistentSnapshot => "`consistent_snapshot`",
            Field::Keys => "a key in `keys`",
            Field::Roles => "a role in `roles`",
            Field::Threshold => "a `threshold`",
            Field::Meta => "an entry of `meta`",
            Field::Halt => "`halt`",
            Field::Delegations => "`delegations`",
            Field::Targets => "an entry of `targets`",
            Field::Release => "the release entry's `custom`",
        })
    }
}

impl core::error::Error for Error {}
impl core::error::Error for Rejected {}
impl core::error::Error for Misuse {}
impl core::error::Error for Environment {}

#[cfg(test)]
mod tests {
    use super::*;

    /// The golden list. A line may be added; none may ever change.
    #[test]
    fn code_of_every_error_is_what_it_always_was() {
        let role = Role::Root;
        let (field, bound) = (Field::Type, Bound::Depth);
        let (expires, start) = (Date(0), Date(1));
        for (error, code) in [
            (Rejected::Syntax { role, at: 0 }, 100),
            (Rejected::KeyOrder { role, at: 0 }, 101),
            (Rejected::Truncated { role, at: 0 }, 102),
            (Rejected::Limit { role, bound }, 103),
            (Rejected::Field { role, field }, 104),
            (Rejected::Oversize { role, limit: 0 }, 105),
            (Rejected::ThresholdNotMet { role, valid: 0, threshold: 1 }, 106),
            (Rejected::DuplicateSignature { role }, 107),
            (Rejected::RootVersion { expected: 2, offered: 1 }, 108),
            (Rejected::Rollback { role, trusted: 2, offered: 1 }, 109),
            (Rejected::Freeze { role, expires, start }, 110),
            (Rejected::MixAndMatch { role }, 111),
            (Rejected::RoleDropped { role }, 112),
            (Rejected::TooManyRoots, 113),
            (Rejected::NoRelease, 114),
            (Rejected::OtherHardware { sequence: 1 }, 115),
            (Rejected::ImageNotAuthorised { sequence: 1 }, 116),
            (Rejected::SequenceOrder { sequence: 1 }, 117),
            (Rejected::RoleNotListed, 118),
            (Rejected::NoTarget, 119),
        ] {
            assert_eq!(Error::from(error).code(), code, "{error}");
        }
        let misuses = [
            (Misuse::NotFetching, 200),
            (Misuse::CycleOver, 201),
            (Misuse::Name, 202),
            (Misuse::KeptSnapshot, 203),
        ];
        for (error, code) in misuses {
            assert_eq!(Error::from(error).code(), code, "{error}");
        }
        assert_eq!(Error::from(Environment::Missing { role }).code(), 300);
    }
}
