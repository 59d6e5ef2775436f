//! What can go wrong, in three families, each case with a code that never changes meaning.
//!
//! An error is one line for a person: what, where, and what to do next.

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

/// Any failure of this crate. The family says whose fault it is, `at` names the file or field.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The bytes are bad, or not enough has been signed (codes 100 to 199).
    Rejected {
        /// What is wrong with them.
        why: Rejected,
        /// The file, when it is known.
        at: Option<String>,
    },
    /// The caller asked for something that makes no sense (codes 200 to 299).
    Misuse {
        /// What does not make sense.
        why: Misuse,
        /// The file or option, when it is known.
        at: Option<String>,
    },
    /// The machine did not do its part (codes 300 to 399).
    Environment {
        /// What failed.
        why: Environment,
        /// The file or variable, when it is known.
        at: Option<String>,
    },
}

impl Error {
    /// The stable code; written `K101` for people.
    pub fn code(&self) -> u16 {
        self.explain().code
    }

    /// The same error with the place named, unless it has a nearer one already.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Error {
        let (Error::Rejected { at, .. } | Error::Misuse { at, .. } | Error::Environment { at, .. }) =
            &mut self;
        if at.is_none() {
            *at = Some(place.to_string());
        }
        self
    }

    /// [`Error::at`] for a file.
    #[must_use]
    pub fn in_file(self, path: &Path) -> Error {
        self.at(path.display())
    }

    /// A failure of standard output, after these files were written.
    pub fn output(error: &std::io::Error, written: &[String]) -> Error {
        let closed = error.kind() == std::io::ErrorKind::BrokenPipe;
        Environment::Output { closed, message: plain_io(error), written: written.to_vec() }.into()
    }

    /// An I/O failure while doing `what` (an infinitive: "read", "create") to `path`.
    pub fn io(what: &'static str, path: &Path, error: &std::io::Error) -> Error {
        Error::from(Environment::Io { what, message: plain_io(error) }).in_file(path)
    }

    fn explain(&self) -> Explained {
        match self {
            Error::Rejected { why, .. } => why.explain(),
            Error::Misuse { why, .. } => why.explain(),
            Error::Environment { why, .. } => why.explain(),
        }
    }

    fn place(&self) -> Option<&str> {
        let (Error::Rejected { at, .. } | Error::Misuse { at, .. } | Error::Environment { at, .. }) = self;
        at.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Explained { what, next, .. } = self.explain();
        f.write_str(&what)?;
        if let Some(place) = self.place() {
            write!(f, ": {place}")?;
        }
        if !next.is_empty() {
            write!(f, "; {next}")?;
        }
        Ok(())
    }
}

impl core::error::Error for Error {}

impl From<Rejected> for Error {
    fn from(why: Rejected) -> Error {
        Error::Rejected { why, at: None }
    }
}

impl From<Misuse> for Error {
    fn from(why: Misuse) -> Error {
        Error::Misuse { why, at: None }
    }
}

impl From<Environment> for Error {
    fn from(why: Environment) -> Error {
        Error::Environment { why, at: None }
    }
}

/// The bytes are bad, or not enough has been signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// Larger than the limit, in bytes.
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// Not JSON, or JSON with a member twice.
    NotJson {
        /// What the parser met, with line and column.
        message: String,
    },
    /// JSON that canonical JSON cannot hold, or signed bytes that are not canonical.
    NotCanonical {
        /// What stands in the way.
        what: String,
    },
    /// A field is missing, has the wrong type or a value out of range.
    WrongField {
        /// The field's path, dots between names.
        field: String,
        /// What should stand there.
        expected: &'static str,
    },
    /// A file of a format that this version does not know.
    UnknownFormat {
        /// What it says it is.
        found: String,
    },
    /// Not a PEM key.
    NotAKey {
        /// What was found instead.
        what: String,
    },
    /// A key of another algorithm, curve, encoding or encryption scheme than this tool's.
    UnsupportedKey {
        /// What it is.
        what: String,
    },
    /// The passphrase does not open the key.
    WrongPassphrase,
    /// A private key that no passphrase protects.
    KeyNotEncrypted,
    /// The keyid is not the digest of the key it labels.
    WrongKeyid {
        /// The keyid as written.
        keyid: String,
    },
    /// The key may not sign this request.
    ForeignKey {
        /// The key's keyid.
        keyid: String,
    },
    /// A signature that the key it names did not make over these bytes.
    BadSignature {
        /// The keyid it names.
        keyid: String,
    },
    /// The key has signed this request already.
    AlreadySigned {
        /// The key's keyid.
        keyid: String,
    },
    /// Two requests that ask for signatures over different bytes.
    OtherPayload {
        /// Role and version of the first.
        ours: String,
        /// Role and version of the second.
        theirs: String,
    },
    /// A request says something else than its payload and its root chain do.
    Contradiction {
        /// The request's field.
        field: &'static str,
    },
    /// The root chain breaks at this version.
    BrokenChain {
        /// The version of the root at fault.
        version: u32,
        /// What is wrong with it.
        why: String,
    },
    /// Too few holders have signed.
    ThresholdNotMet {
        /// Role and version, as "root version 2".
        what: String,
        /// The version of the root whose keys are counted.
        root: u32,
        /// Distinct keys needed.
        threshold: u32,
        /// Keyids that have signed.
        signed: Vec<String>,
        /// Keyids that have not.
        missing: Vec<String>,
    },
    /// A root that no device could use.
    InvalidRoot {
        /// Why.
        why: String,
    },
    /// The version number was not typed.
    NotConfirmed {
        /// The number that was asked for.
        version: u32,
    },
    /// Not a signing request.
    NotARequest {
        /// What is missing or wrong.
        message: String,
    },
    /// A request that holds two signatures of one key.
    DuplicateSignature {
        /// The key's keyid.
        keyid: String,
    },
    /// Two requests for the same bytes, whose root chains differ.
    OtherChain,
    /// The file that was to be written holds another request than the one that was read from it.
    RequestChanged,
    /// Metadata that the devices' verifier does not take, for another reason than missing signatures.
    DeviceRefuses {
        /// Role and version, as "root version 2".
        what: String,
        /// The code of the verifier's error.
        code: u16,
        /// Its message.
        message: String,
    },
    /// A date of issue that is yet to come. Devices believe it for ever: signed, it would stop them all.
    IssuedInFuture {
        /// The date of issue, in seconds since 1970-01-01 UTC.
        issued: u64,
        /// The present, in seconds since 1970-01-01 UTC.
        now: u64,
    },
}

/// The caller asked for something that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// A file is in the way, and is never overwritten.
    FileExists,
    /// An empty passphrase.
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
        role: &'static str,
        /// The threshold asked for.
        threshold: u32,
        /// How many keys the role has.
        keys: usize,
    },
    /// The role has this key already.
    KeyPresent {
        /// The role.
        role: &'static str,
        /// The keyid.
        keyid: String,
    },
    /// The role has no such key.
    KeyAbsent {
        /// The role.
        role: &'static str,
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
    /// More keys in a root than a device has room for.
    TooManyKeys {
        /// How many there are.
        keys: usize,
        /// How many fit.
        limit: usize,
    },
}

/// The machine did not do its part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Environment {
    /// Reading or writing failed.
    Io {
        /// What was being done, an infinitive.
        what: &'static str,
        /// The system's message.
        message: String,
    },
    /// The environment variable that should hold a passphrase is not set, or is not text.
    NoVariable {
        /// Its name.
        name: String,
    },
    /// Standard output does not take what should be shown.
    Output {
        /// Whether its reader has gone, as the `head` of a pipeline does.
        closed: bool,
        /// The system's message.
        message: String,
        /// The files that were written before.
        written: Vec<String>,
    },
    /// There is no terminal to ask on.
    NoTerminal,
    /// The system's random number generator failed.
    Random {
        /// Its message.
        message: String,
    },
    /// A signature did not verify right after it was made: a fault in memory or processor.
    SelfCheck,
    /// A key could not be encoded.
    Encoding {
        /// The encoder's message.
        message: String,
    },
}

struct Explained {
    code: u16,
    what: String,
    next: Cow<'static, str>,
}

fn explained(code: u16, what: impl Into<String>, next: impl Into<Cow<'static, str>>) -> Explained {
    Explained { code, what: what.into(), next: next.into() }
}

impl Rejected {
    fn explain(&self) -> Explained {
        match self {
            Rejected::TooLarge { limit } => explained(
                101,
                format!("larger than the {} KiB that such a file may have", limit / 1024),
                "check that this is the right file",
            ),
            Rejected::NotJson { message } => explained(
                102,
                format!("not JSON ({message})"),
                "it may be cut short; fetch it again from its sender",
            ),
            Rejected::NotCanonical { what } => explained(
                103,
                format!("not canonical JSON: {what}"),
                "have its author write it with this project's tools",
            ),
            Rejected::WrongField { field, expected } => explained(
                104,
                format!("`{field}` is missing or is not {expected}"),
                "the file is damaged or of another kind; fetch it again from its sender",
            ),
            Rejected::UnknownFormat { found } => explained(
                105,
                format!("unknown format {found}"),
                "use the version of tuffet-keys that wrote it, or a newer one",
            ),
            Rejected::NotAKey { what } => explained(
                106,
                format!("not a PEM key: {what}"),
                "give a file that `tuffet-keys generate` or `openssl genpkey` wrote",
            ),
            Rejected::UnsupportedKey { what } => explained(
                107,
                format!("unsupported key: {what}"),
                "keys are ECDSA P-256: PKCS#8 PEM if private, an uncompressed SubjectPublicKeyInfo PEM if public",
            ),
            Rejected::WrongPassphrase => explained(108, "wrong passphrase", "try again; nothing was changed"),
            Rejected::KeyNotEncrypted => explained(
                109,
                "the private key is not encrypted",
                "encrypt it with `openssl pkcs8 -topk8 -scrypt`, or accept the risk with --danger-unencrypted",
            ),
            Rejected::WrongKeyid { keyid } => explained(
                110,
                format!("keyid {keyid} is not the digest of its key"),
                "do not use this file; ask who wrote it",
            ),
            Rejected::ForeignKey { keyid } => explained(
                111,
                format!("key {keyid} may not sign this request"),
                "`tuffet-keys review` lists the keys that may",
            ),
            Rejected::BadSignature { keyid } => explained(
                112,
                format!("the signature of key {keyid} does not verify"),
                "take the request as it was before, and have that holder sign again",
            ),
            Rejected::AlreadySigned { keyid } => explained(
                113,
                format!("key {keyid} has signed this request already"),
                "each key counts once; sign with another",
            ),
            Rejected::OtherPayload { ours, theirs } => explained(
                114,
                format!("these requests are for different bytes: {ours} and {theirs}"),
                "merge only copies of one request",
            ),
            Rejected::Contradiction { field } => explained(
                115,
                format!("`{field}` contradicts the payload and root chain of the same request"),
                "do not sign it; ask its sender for a fresh one",
            ),
            Rejected::BrokenChain { version, why } => explained(
                116,
                format!("the root chain breaks at version {version}: {why}"),
                "give every root file from 1.root.json on, in order",
            ),
            Rejected::ThresholdNotMet { what, root, threshold, signed, missing } => explained(
                117,
                format!(
                    "{what} is signed {} of {threshold} by the keys of root {root}: {}; missing {} more of {}",
                    signed.len(),
                    short_list(signed),
                    (*threshold as usize).saturating_sub(signed.len()),
                    short_list(missing)
                ),
                "have them sign, merge, and finish again",
            ),
            Rejected::InvalidRoot { why } => {
                explained(118, format!("not a usable root: {why}"), "draft it again")
            }
            Rejected::NotARequest { message } => explained(
                120,
                format!("not a signing request ({message})"),
                "give the file that a draft command wrote",
            ),
            Rejected::DuplicateSignature { keyid } => explained(
                121,
                format!("two signatures of key {keyid}"),
                "the request was edited; take it as it was before",
            ),
            Rejected::OtherChain => explained(
                122,
                "these requests are for the same bytes but carry different root chains",
                "draft one request and have everybody sign copies of that",
            ),
            Rejected::IssuedInFuture { issued, now } => explained(
                123,
                format!(
                    "issued {}, which is yet to come: it is {} here",
                    crate::date::format(*issued),
                    crate::date::format(*now)
                ),
                "check the clock of the machine that drafted it, or give --now if the clock of this one is wrong",
            ),
            Rejected::RequestChanged => {
                explained(124, "the request changed while you looked", "review it again; nothing was written")
            }
            Rejected::DeviceRefuses { what, code, message } => explained(
                125,
                format!("no device would take {what} (C{code}: {message})"),
                "nothing was written; draft it again, and have the holders sign that",
            ),
            Rejected::NotConfirmed { version } => explained(
                119,
                format!("not confirmed, nothing was signed: {version} was not typed"),
                "review it and run again",
            ),
        }
    }
}

impl Misuse {
    fn explain(&self) -> Explained {
        match self {
            Misuse::FileExists => explained(
                201,
                "the file exists and is not overwritten",
                "name another, or move it away yourself",
            ),
            Misuse::EmptyPassphrase => {
                explained(202, "the passphrase is empty", "give one that would take years to guess")
            }
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
            Misuse::ExpiresTooSoon { expires } => explained(
                210,
                format!("it would expire at {}, which is past", crate::date::format(*expires)),
                "give a later --expires",
            ),
        }
    }
}

impl Environment {
    fn explain(&self) -> Explained {
        match self {
            Environment::Io { what, message } => {
                explained(301, format!("cannot {what}: {message}"), "check path and permissions")
            }
            Environment::NoVariable { name } => explained(
                302,
                format!("the environment variable {name} is not set, or is not text"),
                "set it, or leave the option out to be asked",
            ),
            Environment::Output { message, written, .. } => {
                let (after, next) = if written.is_empty() {
                    (String::new(), "nothing was written; give it somewhere to go, and run again")
                } else {
                    let after = format!(" after these files were written: {}", written.join(", "));
                    (after, "they exist and are whole; there is no need to run again")
                };
                explained(307, format!("standard output failed ({message}){after}"), next)
            }
            Environment::NoTerminal => explained(
                303,
                "there is no terminal to ask on",
                "use --passphrase-fd or --passphrase-env, and --yes when a script has reviewed",
            ),
            Environment::Random { message } => explained(
                304,
                format!("the system's random numbers failed: {message}"),
                "do not make keys on this machine",
            ),
            Environment::SelfCheck => explained(
                305,
                "a signature did not verify right after it was made",
                "it was thrown away; do not sign on this machine before its memory is tested",
            ),
            Environment::Encoding { message } => explained(
                306,
                format!("the key could not be encoded: {message}"),
                "nothing was written; report this",
            ),
        }
    }
}

/// The first 16 digits of a keyid: enough to tell keys apart, never enough to trust one.
pub fn short(keyid: &str) -> &str {
    keyid.get(..16).unwrap_or(keyid)
}

pub(crate) fn short_list(keyids: &[String]) -> String {
    if keyids.is_empty() {
        return "nobody".to_owned();
    }
    keyids.iter().map(|keyid| short(keyid)).collect::<Vec<_>>().join(", ")
}

/// The system's words without Rust's "(os error 2)".
fn plain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes are for scripts and support: a number that once stood for an error stands for no other.
    #[test]
    fn codes_of_all_errors_are_as_ever() {
        let text = String::new;
        let listed: Vec<Error> = vec![
            Rejected::TooLarge { limit: 0 }.into(),
            Rejected::NotJson { message: text() }.into(),
            Rejected::NotCanonical { what: text() }.into(),
            Rejected::WrongField { field: text(), expected: "" }.into(),
            Rejected::UnknownFormat { found: text() }.into(),
            Rejected::NotAKey { what: text() }.into(),
            Rejected::UnsupportedKey { what: text() }.into(),
            Rejected::WrongPassphrase.into(),
            Rejected::KeyNotEncrypted.into(),
            Rejected::WrongKeyid { keyid: text() }.into(),
            Rejected::ForeignKey { keyid: text() }.into(),
            Rejected::BadSignature { keyid: text() }.into(),
            Rejected::AlreadySigned { keyid: text() }.into(),
            Rejected::OtherPayload { ours: text(), theirs: text() }.into(),
            Rejected::Contradiction { field: "" }.into(),
            Rejected::BrokenChain { version: 0, why: text() }.into(),
            Rejected::ThresholdNotMet {
                what: text(),
                root: 0,
                threshold: 0,
                signed: vec![],
                missing: vec![],
            }
            .into(),
            Rejected::InvalidRoot { why: text() }.into(),
            Rejected::NotConfirmed { version: 0 }.into(),
            Rejected::NotARequest { message: text() }.into(),
            Rejected::DuplicateSignature { keyid: text() }.into(),
            Rejected::OtherChain.into(),
            Rejected::IssuedInFuture { issued: 0, now: 0 }.into(),
            Rejected::RequestChanged.into(),
            Rejected::DeviceRefuses { what: text(), code: 0, message: text() }.into(),
            Misuse::FileExists.into(),
            Misuse::EmptyPassphrase.into(),
            Misuse::PassphrasesDiffer.into(),
            Misuse::NotADate { text: text() }.into(),
            Misuse::ThresholdOutOfRange { role: "", threshold: 0, keys: 0 }.into(),
            Misuse::KeyPresent { role: "", keyid: text() }.into(),
            Misuse::KeyAbsent { role: "", keyid: text() }.into(),
            Misuse::WrongChain { why: text() }.into(),
            Misuse::Options { why: "" }.into(),
            Misuse::ExpiresTooSoon { expires: 0 }.into(),
            Misuse::TooManyKeys { keys: 0, limit: 0 }.into(),
            Environment::Io { what: "", message: text() }.into(),
            Environment::NoVariable { name: text() }.into(),
            Environment::NoTerminal.into(),
            Environment::Random { message: text() }.into(),
            Environment::SelfCheck.into(),
            Environment::Encoding { message: text() }.into(),
            Environment::Output { closed: false, message: text(), written: vec![] }.into(),
        ];
        let golden = "101 TooLarge, 102 NotJson, 103 NotCanonical, 104 WrongField, 105 UnknownFormat, 106 NotAKey, \
            107 UnsupportedKey, 108 WrongPassphrase, 109 KeyNotEncrypted, 110 WrongKeyid, 111 ForeignKey, \
            112 BadSignature, 113 AlreadySigned, 114 OtherPayload, 115 Contradiction, 116 BrokenChain, \
            117 ThresholdNotMet, 118 InvalidRoot, 119 NotConfirmed, 120 NotARequest, 121 DuplicateSignature, \
            122 OtherChain, 123 IssuedInFuture, 124 RequestChanged, 125 DeviceRefuses, 201 FileExists, 202 EmptyPassphrase, 203 PassphrasesDiffer, 204 NotADate, \
            205 ThresholdOutOfRange, 206 KeyPresent, 207 KeyAbsent, 208 WrongChain, 209 Options, \
            210 ExpiresTooSoon, 211 TooManyKeys, 301 Io, 302 NoVariable, 303 NoTerminal, 304 Random, \
            305 SelfCheck, 306 Encoding, 307 Output";
        let codes: Vec<String> =
            listed.iter().map(|error| format!("{} {}", error.code(), name(error))).collect();
        assert_eq!(codes.join(", "), golden);
    }

    /// Has no wildcard arm: a new error does not compile before it is named here, and so listed above.
    fn name(error: &Error) -> &'static str {
        match error {
            Error::Rejected { why, .. } => match why {
                Rejected::TooLarge { .. } => "TooLarge",
                Rejected::NotJson { .. } => "NotJson",
                Rejected::NotCanonical { .. } => "NotCanonical",
                Rejected::WrongField { .. } => "WrongField",
                Rejected::UnknownFormat { .. } => "UnknownFormat",
                Rejected::NotAKey { .. } => "NotAKey",
                Rejected::UnsupportedKey { .. } => "UnsupportedKey",
                Rejected::WrongPassphrase => "WrongPassphrase",
                Rejected::KeyNotEncrypted => "KeyNotEncrypted",
                Rejected::WrongKeyid { .. } => "WrongKeyid",
                Rejected::ForeignKey { .. } => "ForeignKey",
                Rejected::BadSignature { .. } => "BadSignature",
                Rejected::AlreadySigned { .. } => "AlreadySigned",
                Rejected::OtherPayload { .. } => "OtherPayload",
                Rejected::Contradiction { .. } => "Contradiction",
                Rejected::BrokenChain { .. } => "BrokenChain",
                Rejected::ThresholdNotMet { .. } => "ThresholdNotMet",
                Rejected::InvalidRoot { .. } => "InvalidRoot",
                Rejected::NotConfirmed { .. } => "NotConfirmed",
                Rejected::NotARequest { .. } => "NotARequest",
                Rejected::DuplicateSignature { .. } => "DuplicateSignature",
                Rejected::OtherChain => "OtherChain",
                Rejected::IssuedInFuture { .. } => "IssuedInFuture",
                Rejected::RequestChanged => "RequestChanged",
                Rejected::DeviceRefuses { .. } => "DeviceRefuses",
            },
            Error::Misuse { why, .. } => match why {
                Misuse::FileExists => "FileExists",
                Misuse::EmptyPassphrase => "EmptyPassphrase",
                Misuse::PassphrasesDiffer => "PassphrasesDiffer",
                Misuse::NotADate { .. } => "NotADate",
                Misuse::ThresholdOutOfRange { .. } => "ThresholdOutOfRange",
                Misuse::KeyPresent { .. } => "KeyPresent",
                Misuse::KeyAbsent { .. } => "KeyAbsent",
                Misuse::WrongChain { .. } => "WrongChain",
                Misuse::Options { .. } => "Options",
                Misuse::ExpiresTooSoon { .. } => "ExpiresTooSoon",
                Misuse::TooManyKeys { .. } => "TooManyKeys",
            },
            Error::Environment { why, .. } => match why {
                Environment::Io { .. } => "Io",
                Environment::NoVariable { .. } => "NoVariable",
                Environment::NoTerminal => "NoTerminal",
                Environment::Random { .. } => "Random",
                Environment::SelfCheck => "SelfCheck",
                Environment::Encoding { .. } => "Encoding",
                Environment::Output { .. } => "Output",
            },
        }
    }

    #[test]
    fn error_on_one_line_says_what_where_and_what_next() {
        let error = Error::from(Rejected::WrongPassphrase).in_file(Path::new("a.pem")).at("elsewhere");
        assert_eq!(error.to_string(), "wrong passphrase: a.pem; try again; nothing was changed");
    }
}
