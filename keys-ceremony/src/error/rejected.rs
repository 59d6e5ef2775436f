//! What is wrong with the bytes.

use super::{Explained, explained, short_list};
use crate::metadata::Role;

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
        /// Who names the keys that are counted, as "root 2" or "targets 7".
        by: Box<str>,
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
    /// What a holder types to sign was not typed.
    NotConfirmed {
        /// What was asked for: a version number, or that and how many warnings there are, or digits of a digest.
        words: String,
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
    /// The file that was to be written holds something else than what was read from it: another request, or
    /// another key.
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
    /// Metadata that the smallest devices do not take, though larger ones would.
    SmallestRefuses {
        /// Role and version, as "root version 2".
        what: String,
        /// Which device, as "a device that holds root 1".
        device: String,
        /// The code of the verifier's error.
        code: u16,
        /// Its message.
        message: String,
    },
    /// Metadata that expired before they were finished.
    Expired {
        /// Role and version, as "root version 2".
        what: String,
        /// The expiry, in seconds since 1970-01-01 UTC.
        expires: u64,
        /// What time it is for a device: the present, or the date of issue of a root before. In the same unit.
        start: u64,
    },
    /// A date of issue that is yet to come. Devices believe it for ever: signed, it would stop them all.
    IssuedInFuture {
        /// The date of issue, in seconds since 1970-01-01 UTC.
        issued: u64,
        /// The present, in seconds since 1970-01-01 UTC.
        now: u64,
    },
    /// The PIN does not open the token.
    WrongPin {
        /// What the token says of the tries that are left.
        left: Tries,
    },
    /// The token takes no PIN any more.
    PinLocked,
    /// Another key than the one that was expected.
    OtherKey {
        /// The keyid that was expected.
        expected: String,
        /// The keyid of the key that is there.
        found: String,
    },
    /// The next wrong PIN locks the token, and this one would not come from a person.
    LastTry,
    /// A repository that this holder never agreed to.
    UnknownRepository {
        /// The digest of its root 1.
        digest: String,
        /// Those of the repositories that he did agree to.
        known: Vec<String>,
    },
    /// A root other than the one of that version that this holder verified.
    ForkedRoot {
        /// The version.
        version: u32,
    },
    /// A request that is behind what this holder verified, or is for other bytes of that version.
    StaleRequest {
        /// The role.
        what: String,
        /// The version that was verified.
        known: u32,
        /// The version that is offered.
        offered: u32,
    },
    /// Warnings that nobody said to have seen.
    Warned {
        /// How many there are.
        count: usize,
        /// How many were said to have been seen.
        despite: usize,
    },
    /// Another root 1 than the one whose digest was given.
    OtherRepository {
        /// The digest that was given.
        expected: String,
    },
    /// A key of another type than the one that there is here.
    OtherKeyType {
        /// Its scheme, or its type where the scheme says no more.
        name: String,
    },
    /// A signature that no key of the request made.
    NobodysSignature,
    /// A delegation under which nothing can be signed.
    InvalidDelegation {
        /// The role that it is to.
        role: Role,
        /// Why.
        why: String,
    },
    /// A role that nobody delegates to, as far as the files go that are at hand.
    NotDelegated {
        /// The role.
        role: Role,
        /// The last of the files that were looked at, as "targets 7".
        by: String,
    },
    /// The targets files that should lead to a delegated role do not.
    BrokenWay {
        /// The role whose file is at fault.
        role: Role,
        /// What is wrong with it.
        why: String,
    },
    /// Something has expired, is refused or missing, or should have been signed by now.
    OutOfOrder {
        /// The moment of which that is said, in seconds since 1970-01-01 UTC.
        at: u64,
        /// Each of those, as "timestamp of public is expired".
        trouble: Vec<String>,
    },
    /// `lint` has something to complain about.
    Findings {
        /// Errors.
        errors: usize,
        /// Warnings.
        warnings: usize,
    },
    /// A transcript whose chain breaks.
    TranscriptBroken {
        /// The first entry that is not what it should be.
        entry: usize,
        /// What is wrong with it.
        why: String,
    },
    /// A transcript with another head than the one that was given.
    OtherHead {
        /// The digest that was given.
        expected: String,
        /// That of the last entry.
        found: String,
        /// How many entries there are.
        entries: u32,
        /// The entry that has the digest that was given, if one before the last has.
        earlier: Option<usize>,
    },
    /// A transcript of another repository.
    OtherTranscript {
        /// The digest of root 1 of the repository at hand.
        expected: String,
        /// That of the transcript's.
        found: String,
    },
    /// A transcript that does not begin with what a root recorded.
    NotTheRecorded {
        /// The version of the root.
        root: u32,
        /// How many entries it recorded.
        entries: u32,
        /// How many there are.
        found: usize,
    },
}

/// What a token says of the tries that are left before it takes no PIN any more. No token tells the number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tries {
    /// It says nothing.
    Unknown,
    /// It counts, and has seen a wrong one.
    Fewer,
    /// One more wrong PIN locks it.
    One,
    /// This one has locked it.
    None,
}

impl Rejected {
    pub(super) fn explain(&self) -> Explained {
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
                "keys are ECDSA P-256: PKCS#8 PEM if private, SubjectPublicKeyInfo PEM if public, or a pair on a token",
            ),
            Rejected::WrongPassphrase => explained(108, "wrong passphrase", "try again; nothing was changed"),
            Rejected::KeyNotEncrypted => explained(
                109,
                "the private key is not encrypted",
                "encrypt it with `tuffet-keys change-passphrase`, or accept the risk with --danger-unencrypted",
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
            Rejected::OutOfOrder { at, trouble } => explained(
                140,
                format!("not in order at {}: {}", crate::date::format(*at), trouble.join(", ")),
                "draft, sign and publish a new version of what is due or expired; \
                 `tuffet-keys lint` says more about what is refused or missing",
            ),
            Rejected::Findings { errors, warnings } => explained(
                141,
                format!("devices would have trouble with this: errors: {errors}, warnings: {warnings}"),
                "do what stands below each finding",
            ),
            Rejected::ThresholdNotMet { what, by, threshold, signed, missing } => explained(
                117,
                format!(
                    "{what} is signed {} of {threshold} by the keys of {by}: {}; missing {} more of {}",
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
                explained(124, "the file changed while you looked", "review it again; nothing was written")
            }
            Rejected::DeviceRefuses { what, code, message } => explained(
                125,
                format!("no device would take {what} (C{code}: {message})"),
                "nothing was written; draft it again, and have the holders sign that",
            ),
            Rejected::WrongPin { left } => {
                let (what, next) = match left {
                    Tries::Unknown => {
                        ("wrong PIN", "try again, but not often: tokens lock after a few wrong ones")
                    }
                    Tries::Fewer => (
                        "wrong PIN, and the token counts: fewer tries are left than before",
                        "look the PIN up before you try again; a few wrong ones lock the token",
                    ),
                    Tries::One => (
                        "wrong PIN, ONE try is left",
                        "look the PIN up before you try again: the next wrong one locks the token",
                    ),
                    Tries::None => (
                        "wrong PIN, and it was the last try: the token is locked",
                        "unlock it with its own tool and the SO PIN or PUK",
                    ),
                };
                explained(126, what, next)
            }
            Rejected::PinLocked => explained(
                127,
                "the token is locked after too many wrong PINs",
                "unlock it with its own tool and the SO PIN or PUK",
            ),
            Rejected::OtherKey { expected, found } => explained(
                128,
                format!("another key: {found}, where {expected} was expected"),
                "nothing was written; look for the right key or backup",
            ),
            Rejected::LastTry => explained(
                129,
                "one wrong PIN would lock the token, and nobody is here to make sure of it",
                "run it once on a terminal and type the PIN; a right one gives all tries back",
            ),
            Rejected::UnknownRepository { digest, known } => explained(
                130,
                format!("a repository that you did not agree to: root 1 is sha256 {digest}"),
                match &known[..] {
                    [] => {
                        "compare the digest with the other holders, and run `tuffet-keys trust 1.root.json`"
                            .to_owned()
                    }
                    known => format!(
                        "you know {}: if it should be for that, do not sign; if it is a new one, compare the digest \
                         with the other holders, and run `tuffet-keys trust 1.root.json`",
                        short_list(known)
                    ),
                },
            ),
            Rejected::ForkedRoot { version } => explained(
                131,
                format!("root {version} is another one than the root {version} that was verified here"),
                "do not sign; somebody made two of them: ask the other holders which one they have",
            ),
            Rejected::StaleRequest { what, known, offered } => explained(
                132,
                if known == offered {
                    format!("it is for other bytes of {what} {offered} than those that were verified here")
                } else {
                    format!("it is for {what} {offered}, and {what} {known} was verified here")
                },
                "do not sign; have it drafted anew from what is published",
            ),
            Rejected::Warned { count: 0, despite } => explained(
                133,
                format!(
                    "not confirmed, nothing was changed: --despite {despite} was given, and there are no warnings"
                ),
                "leave it out",
            ),
            Rejected::Warned { count, .. } => explained(
                133,
                format!("not confirmed, nothing was changed: there are warnings, {count} of them"),
                format!(
                    "look at each; sign at a terminal, or say that you have seen them with --despite {count}"
                ),
            ),
            // Without the digest that it has: who saw it here could copy it.
            Rejected::OtherRepository { expected } => explained(
                134,
                format!("another repository: the digest of its root 1 is not {expected}"),
                "do not trust it; ask who gave you the file, and who the digest",
            ),
            Rejected::NobodysSignature => explained(
                135,
                "no key that may sign this request made this signature",
                "sign the bytes that `tuffet-keys payload` writes, with ECDSA P-256 over their SHA-256",
            ),
            Rejected::SmallestRefuses { what, device, code, message } => explained(
                136,
                format!(
                    "{device}, the smallest that roots name, would not get to {what} (C{code}: {message})"
                ),
                "nothing was written; draft it again within the limits of `devices`, and have the holders sign that",
            ),
            Rejected::Expired { what, expires, start } => explained(
                137,
                format!(
                    "{what} expired {}, and for devices it is {}",
                    crate::date::format(*expires),
                    crate::date::format(*start)
                ),
                "nothing was written; draft it anew, and have the holders sign that",
            ),
            Rejected::OtherKeyType { name } => explained(
                138,
                format!("holds a key of type {name}"),
                "devices and this tool know ECDSA P-256 alone, type `ecdsa` with scheme `ecdsa-sha2-nistp256`: have it \
                 drafted anew",
            ),
            Rejected::TranscriptBroken { entry, why } => explained(
                150,
                format!("the transcript breaks at entry {entry}: {why}"),
                "keep this file as it is, for the others to see, and go on with the copy of another holder",
            ),
            Rejected::OtherHead { expected, found, entries, earlier } => {
                let ends = format!("the transcript ends with entry {entries} and head {found}");
                match earlier {
                    Some(entry) => explained(
                        151,
                        format!("{ends}; the head that was given is that of entry {entry}"),
                        "up to there it is as it was; see what came after, and give the head that was read aloud last",
                    ),
                    None => explained(
                        151,
                        format!("{ends}, where {expected} was expected"),
                        "entries are missing at its end or it was written anew: take the copy of another holder",
                    ),
                }
            }
            Rejected::OtherTranscript { expected, found } => explained(
                152,
                format!(
                    "a transcript of another repository: its root 1 is sha256 {found}, and here it is {expected}"
                ),
                "name another file: each repository has a transcript of its own",
            ),
            Rejected::NotTheRecorded { root, entries, found } => {
                let next = "ask the holder who drafted that root for the transcript, and compare the two";
                let has = match found {
                    0 => "there is none here".to_owned(),
                    _ if *found < *entries as usize => format!("this one has {found}"),
                    _ => "this one begins with others".to_owned(),
                };
                explained(
                    153,
                    format!("root {root} records a transcript of {entries} entries, and {has}"),
                    next,
                )
            }
            Rejected::InvalidDelegation { role, why } => explained(
                160,
                format!("the delegation to {role} is not usable: {why}"),
                "have the file that delegates to it drafted again",
            ),
            Rejected::NotDelegated { role, by } => explained(
                161,
                format!("{by} does not delegate to {role}"),
                "give the newest targets files on the way to it: the top-level one first, each below the one before",
            ),
            Rejected::BrokenWay { role, why } => explained(
                162,
                format!("the file of {role} does not lead to the delegated role: {why}"),
                "give the targets files as they were published",
            ),
            Rejected::NotConfirmed { words } => explained(
                119,
                format!("not confirmed, nothing was changed: {words} was not typed"),
                "review it and run again",
            ),
        }
    }
}
