//! What can go wrong, in three families, each case with a code that never changes meaning.
//!
//! An error is one line for a person: what, where, and what to do next.

mod environment;
mod misuse;
mod rejected;

use std::borrow::Cow;
use std::fmt;
use std::path::Path;

pub use environment::Environment;
pub use misuse::Misuse;
pub use rejected::{Rejected, Tries};

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

    /// The same error in a file, of which it may name a part already: "payload of root.request".
    #[must_use]
    pub fn part_of(mut self, path: &Path) -> Error {
        let (Error::Rejected { at, .. } | Error::Misuse { at, .. } | Error::Environment { at, .. }) =
            &mut self;
        let path = path.display();
        *at = Some(at.take().map_or_else(|| path.to_string(), |part| format!("{part} of {path}")));
        self
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
        // Both may hold text from a file that means harm.
        f.write_str(&crate::text::plain(&what))?;
        if let Some(place) = self.place() {
            write!(f, ": {}", crate::text::plain(place))?;
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

struct Explained {
    code: u16,
    what: String,
    next: Cow<'static, str>,
}

fn explained(code: u16, what: impl Into<String>, next: impl Into<Cow<'static, str>>) -> Explained {
    Explained { code, what: what.into(), next: next.into() }
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
pub(crate) fn plain_io(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.find(" (os error") {
        Some(end) => text[..end].to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::Role;

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
                by: text().into(),
                threshold: 0,
                signed: vec![],
                missing: vec![],
            }
            .into(),
            Rejected::InvalidRoot { why: text() }.into(),
            Rejected::NotConfirmed { words: text() }.into(),
            Rejected::NotARequest { message: text() }.into(),
            Rejected::DuplicateSignature { keyid: text() }.into(),
            Rejected::OtherChain.into(),
            Rejected::IssuedInFuture { issued: 0, now: 0 }.into(),
            Rejected::RequestChanged.into(),
            Rejected::DeviceRefuses { what: text(), code: 0, message: text() }.into(),
            Rejected::WrongPin { left: Tries::Unknown }.into(),
            Rejected::PinLocked.into(),
            Rejected::OtherKey { expected: text(), found: text() }.into(),
            Rejected::LastTry.into(),
            Rejected::UnknownRepository { digest: text(), known: vec![] }.into(),
            Rejected::ForkedRoot { version: 0 }.into(),
            Rejected::StaleRequest { what: text(), known: 0, offered: 0 }.into(),
            Rejected::Warned { count: 0, despite: 0 }.into(),
            Rejected::OtherRepository { expected: text() }.into(),
            Rejected::NobodysSignature.into(),
            Rejected::SmallestRefuses { what: text(), device: text(), code: 0, message: text() }.into(),
            Rejected::Expired { what: text(), expires: 0, start: 0 }.into(),
            Rejected::OtherKeyType { name: text() }.into(),
            Rejected::OutOfOrder { at: 0, trouble: vec![] }.into(),
            Rejected::Findings { errors: 0, warnings: 0 }.into(),
            Rejected::TranscriptBroken { entry: 0, why: text() }.into(),
            Rejected::OtherHead { expected: text(), found: text(), entries: 0, earlier: None }.into(),
            Rejected::OtherTranscript { expected: text(), found: text() }.into(),
            Rejected::NotTheRecorded { root: 0, entries: 0, found: 0 }.into(),
            Rejected::InvalidDelegation { role: Role::Root, why: text() }.into(),
            Rejected::NotDelegated { role: Role::Root, by: text() }.into(),
            Rejected::BrokenWay { role: Role::Root, why: text() }.into(),
            Misuse::FileExists.into(),
            Misuse::EmptyPassphrase.into(),
            Misuse::PassphrasesDiffer.into(),
            Misuse::NotADate { text: text() }.into(),
            Misuse::ThresholdOutOfRange { role: Role::Root, threshold: 0, keys: 0 }.into(),
            Misuse::KeyPresent { role: Role::Root, keyid: text() }.into(),
            Misuse::KeyAbsent { role: Role::Root, keyid: text() }.into(),
            Misuse::WrongChain { why: text() }.into(),
            Misuse::Options { why: "" }.into(),
            Misuse::ExpiresTooSoon { expires: 0 }.into(),
            Misuse::TooManyKeys { keys: 0, limit: 0 }.into(),
            Misuse::BadKeyUri { why: text() }.into(),
            Misuse::PinInUri.into(),
            Misuse::Ambiguous { what: "", found: vec![] }.into(),
            Misuse::KeyExists.into(),
            Misuse::NotAFile { what: "" }.into(),
            Misuse::NotAPeriod { text: text() }.into(),
            Misuse::BadReason { length: 0 }.into(),
            Misuse::TooManySignatures { what: text(), needed: 0, limit: 0 }.into(),
            Misuse::NotInRoot { keyid: text(), root: 0 }.into(),
            Misuse::TooFewKeysLeft { roles: vec![] }.into(),
            Misuse::NotADeviceLimit { text: text() }.into(),
            Misuse::NotPublished.into(),
            Misuse::NoNames.into(),
            Misuse::NothingRecorded { root: 0 }.into(),
            Misuse::NotAHead { length: 0 }.into(),
            Misuse::NotADigest { length: 0 }.into(),
            Misuse::OtherName { what: text(), name: text() }.into(),
            Misuse::NoDigest.into(),
            Misuse::RootsMissing { version: 0, known: 0 }.into(),
            Misuse::NotAKeyid { text: text() }.into(),
            Environment::Io { what: "", message: text() }.into(),
            Environment::NoVariable { name: text() }.into(),
            Environment::NoTerminal { wanted: text(), instead: text() }.into(),
            Environment::Random { message: text() }.into(),
            Environment::SelfCheck.into(),
            Environment::Encoding { message: text() }.into(),
            Environment::Output { closed: false, message: text(), written: vec![] }.into(),
            Environment::NoModule.into(),
            Environment::Module { message: text() }.into(),
            Environment::NoToken { present: vec![] }.into(),
            Environment::NoKeyOnToken { present: vec![] }.into(),
            Environment::Token { what: "", message: text() }.into(),
            Environment::TokenSignature.into(),
            Environment::StateDamaged { message: text() }.into(),
            Environment::PublicHalfMissing { uri: text(), why: Box::new(Misuse::FileExists.into()) }.into(),
        ];
        let golden = "101 TooLarge, 102 NotJson, 103 NotCanonical, 104 WrongField, 105 UnknownFormat, 106 NotAKey, \
            107 UnsupportedKey, 108 WrongPassphrase, 109 KeyNotEncrypted, 110 WrongKeyid, 111 ForeignKey, \
            112 BadSignature, 113 AlreadySigned, 114 OtherPayload, 115 Contradiction, 116 BrokenChain, \
            117 ThresholdNotMet, 118 InvalidRoot, 119 NotConfirmed, 120 NotARequest, 121 DuplicateSignature, \
            122 OtherChain, 123 IssuedInFuture, 124 RequestChanged, 125 DeviceRefuses, \
            126 WrongPin, 127 PinLocked, 128 OtherKey, 129 LastTry, 130 UnknownRepository, \
            131 ForkedRoot, 132 StaleRequest, 133 Warned, 134 OtherRepository, 135 NobodysSignature, \
            136 SmallestRefuses, 137 Expired, 138 OtherKeyType, \
            140 OutOfOrder, 141 Findings, \
            150 TranscriptBroken, 151 OtherHead, 152 OtherTranscript, 153 NotTheRecorded, \
            160 InvalidDelegation, 161 NotDelegated, 162 BrokenWay, \
            201 FileExists, 202 EmptyPassphrase, 203 PassphrasesDiffer, 204 NotADate, \
            205 ThresholdOutOfRange, 206 KeyPresent, 207 KeyAbsent, 208 WrongChain, 209 Options, \
            210 ExpiresTooSoon, 211 TooManyKeys, 212 BadKeyUri, 213 PinInUri, 214 Ambiguous, \
            215 KeyExists, 216 NotAFile, 231 NotAPeriod, 232 BadReason, 233 TooManySignatures, \
            234 NotInRoot, 235 TooFewKeysLeft, 236 NotADeviceLimit, 240 NotPublished, 241 NoNames, \
            250 NothingRecorded, 251 NotAHead, 252 NotADigest, 253 OtherName, 254 NoDigest, \
            255 RootsMissing, 256 NotAKeyid, \
            301 Io, 302 NoVariable, 303 NoTerminal, 304 Random, \
            305 SelfCheck, 306 Encoding, 307 Output, 308 NoModule, 309 Module, 310 NoToken, \
            311 NoKeyOnToken, 312 Token, 313 TokenSignature, 314 StateDamaged, \
            320 PublicHalfMissing";
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
                Rejected::WrongPin { .. } => "WrongPin",
                Rejected::PinLocked => "PinLocked",
                Rejected::OtherKey { .. } => "OtherKey",
                Rejected::LastTry => "LastTry",
                Rejected::UnknownRepository { .. } => "UnknownRepository",
                Rejected::ForkedRoot { .. } => "ForkedRoot",
                Rejected::StaleRequest { .. } => "StaleRequest",
                Rejected::Warned { .. } => "Warned",
                Rejected::OtherRepository { .. } => "OtherRepository",
                Rejected::NobodysSignature => "NobodysSignature",
                Rejected::InvalidDelegation { .. } => "InvalidDelegation",
                Rejected::NotDelegated { .. } => "NotDelegated",
                Rejected::BrokenWay { .. } => "BrokenWay",
                Rejected::SmallestRefuses { .. } => "SmallestRefuses",
                Rejected::Expired { .. } => "Expired",
                Rejected::OtherKeyType { .. } => "OtherKeyType",
                Rejected::OutOfOrder { .. } => "OutOfOrder",
                Rejected::Findings { .. } => "Findings",
                Rejected::TranscriptBroken { .. } => "TranscriptBroken",
                Rejected::OtherHead { .. } => "OtherHead",
                Rejected::OtherTranscript { .. } => "OtherTranscript",
                Rejected::NotTheRecorded { .. } => "NotTheRecorded",
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
                Misuse::BadKeyUri { .. } => "BadKeyUri",
                Misuse::PinInUri => "PinInUri",
                Misuse::Ambiguous { .. } => "Ambiguous",
                Misuse::KeyExists => "KeyExists",
                Misuse::NotAFile { .. } => "NotAFile",
                Misuse::NotAPeriod { .. } => "NotAPeriod",
                Misuse::BadReason { .. } => "BadReason",
                Misuse::TooManySignatures { .. } => "TooManySignatures",
                Misuse::NotInRoot { .. } => "NotInRoot",
                Misuse::TooFewKeysLeft { .. } => "TooFewKeysLeft",
                Misuse::NotADeviceLimit { .. } => "NotADeviceLimit",
                Misuse::NotPublished => "NotPublished",
                Misuse::NoNames => "NoNames",
                Misuse::NothingRecorded { .. } => "NothingRecorded",
                Misuse::NotAHead { .. } => "NotAHead",
                Misuse::NotADigest { .. } => "NotADigest",
                Misuse::OtherName { .. } => "OtherName",
                Misuse::RootsMissing { .. } => "RootsMissing",
                Misuse::NotAKeyid { .. } => "NotAKeyid",
                Misuse::NoDigest => "NoDigest",
            },
            Error::Environment { why, .. } => match why {
                Environment::Io { .. } => "Io",
                Environment::NoVariable { .. } => "NoVariable",
                Environment::NoTerminal { .. } => "NoTerminal",
                Environment::Random { .. } => "Random",
                Environment::SelfCheck => "SelfCheck",
                Environment::Encoding { .. } => "Encoding",
                Environment::Output { .. } => "Output",
                Environment::NoModule => "NoModule",
                Environment::Module { .. } => "Module",
                Environment::NoToken { .. } => "NoToken",
                Environment::NoKeyOnToken { .. } => "NoKeyOnToken",
                Environment::Token { .. } => "Token",
                Environment::TokenSignature => "TokenSignature",
                Environment::StateDamaged { .. } => "StateDamaged",
                Environment::PublicHalfMissing { .. } => "PublicHalfMissing",
            },
        }
    }

    #[test]
    fn error_on_one_line_says_what_where_and_what_next() {
        let error = Error::from(Rejected::WrongPassphrase).in_file(Path::new("a.pem")).at("elsewhere");
        assert_eq!(error.to_string(), "wrong passphrase: a.pem; try again; nothing was changed");
    }
}
