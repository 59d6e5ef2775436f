//! What the caller should not have asked for.

use super::{Explained, explained};
use crate::metadata::Role;

/// The caller asked for something that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A file is in the way, and is never overwritten.
    FileExists,
    /// An empty passphrase or PIN.
    EmptyPassphrase,
    /// Two different passphrases were typed.
    PassphrasesDiffer,
    /// Neither a date nor a duration.
    NotADate {
        /// What was given.
        text: String,
    },
    /// A threshold that the role's keys cannot meet.
    ThresholdOutOfRange {
        /// The role.
        role: Role,
        /// The threshold asked for.
        threshold: u32,
        /// How many keys the role has.
        keys: usize,
    },
    /// The role has this key already.
    KeyPresent {
        /// The role.
        role: Role,
        /// The keyid.
        keyid: String,
    },
    /// The role has no such key.
    KeyAbsent {
        /// The role.
        role: Role,
        /// What was asked for.
        keyid: String,
    },
    /// A root chain that does not fit the request.
    WrongChain {
        /// What is wrong.
        why: String,
    },
    /// Options that cannot go together.
    Options {
        /// Why.
        why: &'static str,
    },
    /// An expiry that is not after the date of issue.
    ExpiresTooSoon {
        /// The expiry, in seconds since 1970-01-01 UTC.
        expires: u64,
    },
    /// No period of a role.
    NotAPeriod {
        /// What was given.
        text: String,
    },
    /// A reason that a root cannot hold.
    BadReason {
        /// Its length in characters.
        length: usize,
    },
    /// More signatures needed in a file than a device reads.
    TooManySignatures {
        /// Whose they would be: a role, or a root under old and new thresholds.
        what: String,
        /// How many are needed at the least.
        needed: usize,
        /// How many a device reads.
        limit: usize,
    },
    /// A key to be revoked that there is nothing to take from.
    NotInRoot {
        /// The keyid.
        keyid: String,
        /// The version of the newest root.
        root: u32,
    },
    /// Revocation would leave roles with fewer keys than must sign.
    TooFewKeysLeft {
        /// Each such role, how many keys it would have, and its threshold.
        roles: Vec<(Role, usize, u32)>,
    },
    /// More keys in a root than a device has room for.
    TooManyKeys {
        /// How many there are.
        keys: usize,
        /// How many fit.
        limit: usize,
    },
    /// No limit of a device, or more than any device has.
    NotADeviceLimit {
        /// What was given.
        text: String,
    },
    /// A key's URI that cannot be understood.
    BadKeyUri {
        /// What is wrong with it.
        why: String,
    },
    /// A PIN in a URI, where every process of the machine can read it.
    PinInUri,
    /// More than one token or key goes by this URI.
    Ambiguous {
        /// Tokens or keys.
        what: &'static str,
        /// Those that do, as parts of a URI.
        found: Vec<String>,
    },
    /// A key in the way on a token, where none is ever overwritten.
    KeyExists,
    /// Only a key in a file can be treated so.
    NotAFile {
        /// What was to be done, an infinitive.
        what: &'static str,
    },
    /// A directory that holds no root, and so is no published repository.
    NotPublished,
    /// A directory that should give keys their names, and holds no public key.
    NoNames,
    /// A root that says nothing of a transcript.
    NothingRecorded {
        /// Its version.
        root: u32,
    },
    /// No digest of a transcript's head.
    NotAHead {
        /// How many characters there are, other than white space.
        length: usize,
    },
    /// No SHA-256 digest.
    NotADigest {
        /// How many characters there are, other than white space.
        length: usize,
    },
    /// A finished file under the name of another version or role.
    OtherName {
        /// What it is, as "root version 3".
        what: String,
        /// The name by which devices ask for it.
        name: String,
    },
    /// Nobody is asked whether he agrees to a repository, and its digest was not given.
    NoDigest,
    /// A root that does not follow the newest one that is known.
    RootsMissing {
        /// Its version.
        version: u32,
        /// The newest version that is known; 0 if there is none.
        known: u32,
    },
    /// A key that goes by neither a keyid nor a file.
    NotAKeyid {
        /// What was given.
        text: String,
    },
}

impl Misuse {
    pub(super) fn explain(&self) -> Explained {
        match self {
            Misuse::FileExists => explained(
                201,
                "the file exists and is not overwritten",
                "name another, or move it away yourself",
            ),
            Misuse::EmptyPassphrase => explained(
                202,
                "the passphrase or PIN is empty",
                "check where it comes from: an empty one protects nothing",
            ),
            Misuse::PassphrasesDiffer => {
                explained(203, "the two passphrases differ", "run again; nothing was written")
            }
            Misuse::NotADate { text } => explained(
                204,
                format!("neither a date nor a duration: `{text}`"),
                "write 2027-12-31, 2027-12-31T12:00:00Z, 365d or `1 year`",
            ),
            Misuse::ThresholdOutOfRange { role, threshold, keys } => explained(
                205,
                format!("{role} cannot have threshold {threshold}, its number of keys is {keys}"),
                "set one from 1 to the number of keys, 8 at most",
            ),
            Misuse::KeyPresent { role, keyid } => {
                explained(206, format!("{role} has key {keyid} already"), "name each key once")
            }
            Misuse::KeyAbsent { role, keyid } => explained(
                207,
                format!("{role} has no key {keyid}"),
                "`tuffet-keys show` prints a key's keyid; give it whole, or the public key's file",
            ),
            Misuse::WrongChain { why } => explained(
                208,
                format!("the root chain does not fit: {why}"),
                "give every root file from 1.root.json on, in order",
            ),
            Misuse::Options { why } => explained(209, *why, "see --help"),
            Misuse::TooManyKeys { keys, limit } => explained(
                211,
                format!("a root with {keys} keys does not fit into a device, which holds {limit}"),
                "leave some out; one online key may serve snapshot and timestamp",
            ),
            Misuse::BadKeyUri { why } => explained(
                212,
                format!("not the URI of a key: {why}"),
                "write a file's path, `file:PATH`, `env:NAME` or `pkcs11:token=LABEL;object=LABEL`",
            ),
            Misuse::PinInUri => explained(
                213,
                "a URI with `pin-value` shows the PIN to every process of this machine",
                "leave it out and change that PIN; give PINs at the prompt, by --passphrase-fd, --pin-env or `pin-source`",
            ),
            Misuse::Ambiguous { what, found } => explained(
                214,
                format!("{} {what} go by this URI", found.len()),
                format!("add the token, serial, object or id that tells them apart: {}", found.join(", ")),
            ),
            Misuse::KeyExists => explained(
                215,
                "the token has a key of this label or id, and it is not overwritten",
                "use it as it is (`show --public-out`), choose another label, or delete it with the token's own tool",
            ),
            Misuse::NotAFile { what } => explained(
                216,
                format!("only a key in a file can {what}"),
                "name a file; a key on a token stays there, and a spare key on another token is its backup",
            ),
            Misuse::NotAPeriod { text } => explained(
                231,
                format!("not a period: `{}`", text.escape_default()),
                "write days as EXPIRY/SIGNING, such as 365/60: good for 365 days, due in the last 60; 3650 at most, the \
                 second less than the first",
            ),
            Misuse::BadReason { length } => explained(
                232,
                format!("a root cannot hold this reason, {length} characters long"),
                "write 1 to 500 characters of printable ASCII, on one line",
            ),
            Misuse::TooManySignatures { what, needed, limit } => explained(
                233,
                format!("{what} would need {needed} signatures, and a device reads {limit} in a file"),
                "lower a threshold, or change fewer keys at once: holders of old and new keys sign for both",
            ),
            Misuse::NotInRoot { keyid, root } => explained(
                234,
                format!(
                    "no role of root {root} has key {keyid}, nor had one before it, and no targets file delegates to it"
                ),
                "check the keyid; --repository says where the targets files lie",
            ),
            Misuse::TooFewKeysLeft { roles } => {
                let left: Vec<String> = roles.iter().map(too_few).collect();
                let mends: Vec<String> = roles.iter().map(mend).collect();
                explained(
                    235,
                    format!("without the revoked keys {}", left.join(", and ")),
                    format!("give {}", mends.join(", and ")),
                )
            }
            Misuse::NotADeviceLimit { text } => explained(
                236,
                format!("not a limit of devices: `{}`", text.escape_default()),
                format!("write NAME=N with N from 1 to: {}", crate::root::Devices::default()),
            ),
            Misuse::NotPublished => explained(
                240,
                "no N.root.json is in this directory",
                "name the directory that is published, such as public/, or a metadata file or signing request",
            ),
            Misuse::NoNames => explained(
                241,
                "no public key is in this directory",
                "name one that holds NAME.pub.pem, or the files themselves",
            ),
            Misuse::NothingRecorded { root } => explained(
                250,
                format!("root {root} records no transcript"),
                "name a later root, or give the head that was read aloud with --head",
            ),
            Misuse::NotAHead { length } => explained(
                251,
                format!("not the head of a transcript: {length} characters"),
                "give all 64 hexadecimal digits, in groups or not",
            ),
            Misuse::NotADigest { length } => explained(
                252,
                format!("not a SHA-256 digest: {length} characters"),
                "give all 64 hexadecimal digits, in groups or not",
            ),
            Misuse::OtherName { what, name } => explained(
                253,
                format!("this is {what}, and the name is that of another file"),
                format!("nothing was written; call it {name}, the name by which devices ask for it"),
            ),
            Misuse::NoDigest => explained(
                254,
                "who signs a first root agrees to its repository for good, and --yes does not say to which",
                "add --digest with all 64 digits of root 1's digest, as the other holders know it; or sign at a terminal",
            ),
            Misuse::RootsMissing { version, known } => {
                let before = version.saturating_sub(1);
                let newest = match known {
                    0 => "no root is known here".to_owned(),
                    _ => format!("root {known} is the newest that is known here"),
                };
                let all = known.saturating_add(1);
                explained(
                    255,
                    format!("root {version} is verified under root {before}, and {newest}"),
                    format!("learn root {all} first, or the directory that has all of them"),
                )
            }
            Misuse::NotAKeyid { text } => explained(
                256,
                format!("neither the 64 digits of a keyid nor a file: `{}`", text.escape_default()),
                "`tuffet-keys show` prints a key's keyid; give it whole, or the public key's file",
            ),
            Misuse::ExpiresTooSoon { expires } => explained(
                210,
                format!("it would expire at {}, which is past", crate::date::format(*expires)),
                "give a later --expires",
            ),
        }
    }
}

fn too_few((role, left, threshold): &(Role, usize, u32)) -> String {
    let keys = match left {
        0 => "no key".to_owned(),
        1 => "1 key".to_owned(),
        _ => format!("{left} keys"),
    };
    format!("{role} would have {keys} where {threshold} must sign")
}

/// The options that give a role what it lacks.
fn mend((role, left, threshold): &(Role, usize, u32)) -> String {
    let missing = (*threshold as usize).saturating_sub(*left);
    let keys = if missing == 1 { "1 new key".to_owned() } else { format!("{missing} new keys") };
    match left {
        0 => format!("--add-{role}-key with {keys}"),
        _ => format!("--add-{role}-key with {keys} or --{role}-threshold {left}"),
    }
}
