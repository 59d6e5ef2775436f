//! What can go wrong, in three families, each case with a code that never changes meaning.
//!
//! An error is one line for a person: what, where, and what to do next. Codes of this crate are
//! written `T101`; errors of the libraries below pass through with their own letter.

mod environment;
mod misuse;
mod rejected;

use core::fmt;
use std::path::Path;

pub use environment::Environment;
pub use misuse::Misuse;
pub use rejected::Rejected;

/// Any failure of this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// What was offered is bad, or not enough was signed (codes 100 to 199).
    Rejected(Rejected),
    /// The caller asked for something that makes no sense (codes 200 to 299).
    Misuse(Misuse),
    /// The machine did not do its part (codes 300 to 399).
    Environment(Environment),
    /// Keys, signing requests and metadata files as key holders see them.
    Keys(tuffet_keys::Error),
    /// What a device says about a repository.
    Device(tuffet_client::Error),
    /// What a device would say about what is to be published.
    Preflight {
        /// Which device.
        device: String,
        /// What it says.
        why: tuffet_client::Error,
    },
    /// What a device's agent says: about a repository, an image, its flash or its way to the server.
    Agent(tuffet_agent::Error),
}

/// Whose fault an error is, which is also what a process says with its exit status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The bytes: exit status 1.
    Rejected,
    /// The caller: exit status 2.
    Misuse,
    /// The machine: exit status 3.
    Environment,
}

impl Family {
    /// The exit status of a process that failed so.
    pub fn exit_status(self) -> u8 {
        match self {
            Family::Rejected => 1,
            Family::Misuse => 2,
            Family::Environment => 3,
        }
    }
}

impl Error {
    /// The stable number, unique among the errors of one letter (see [`Error::label`]).
    pub fn code(&self) -> u16 {
        match self {
            Error::Rejected(why) => why.code(),
            Error::Misuse(why) => why.code(),
            Error::Environment(why) => why.code(),
            Error::Keys(error) => error.code(),
            Error::Device(error) | Error::Preflight { why: error, .. } => error.code(),
            Error::Agent(error) => error.code(),
        }
    }

    /// The code with the letter of the crate that it belongs to: `T101` is ours, `K101` is
    /// `tuffet-keys`', `C101` is `tuffet-client`', `A401` is `tuffet-agent`'s.
    pub fn label(&self) -> String {
        use tuffet_agent::Error as Agent;
        let letter = match self {
            Error::Rejected(_) | Error::Misuse(_) | Error::Environment(_) => 'T',
            Error::Keys(_) => 'K',
            Error::Device(_) | Error::Preflight { .. } => 'C',
            Error::Agent(Agent::Rejected(tuffet_agent::Rejected::Metadata(_))) => 'C',
            Error::Agent(Agent::Environment(tuffet_agent::Environment::Metadata(_))) => 'C',
            Error::Agent(_) => 'A',
        };
        format!("{letter}{}", self.code())
    }

    /// Whose fault it is.
    pub fn family(&self) -> Family {
        use tuffet_agent::Error as Agent;
        use tuffet_client::Error as Device;
        use tuffet_keys::Error as Keys;
        match self {
            Error::Rejected(_)
            | Error::Keys(Keys::Rejected { .. })
            | Error::Device(Device::Rejected(_))
            | Error::Preflight { why: Device::Rejected(_), .. }
            | Error::Agent(Agent::Rejected(_)) => Family::Rejected,
            Error::Misuse(_)
            | Error::Keys(Keys::Misuse { .. })
            | Error::Device(Device::Misuse(_))
            | Error::Preflight { why: Device::Misuse(_), .. }
            | Error::Agent(Agent::Misuse(_)) => Family::Misuse,
            // A family that is added below is the machine's fault until this line says otherwise.
            Error::Environment(_)
            | Error::Keys(_)
            | Error::Device(_)
            | Error::Preflight { .. }
            | Error::Agent(_) => Family::Environment,
        }
    }

    /// An I/O failure while doing `what` (an infinitive: "read", "rename") to `path`.
    pub(crate) fn io(what: &'static str, path: &Path, error: &std::io::Error) -> Error {
        tuffet_keys::Error::io(what, path, error).into()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Rejected(why) => why.fmt(f),
            Error::Misuse(why) => why.fmt(f),
            Error::Environment(why) => why.fmt(f),
            Error::Keys(error) => error.fmt(f),
            Error::Device(error) => {
                write!(f, "a device would refuse this: {error}; restore the file, or publish a newer one")
            }
            Error::Preflight { device, why } => {
                write!(
                    f,
                    "{device} would refuse this: {why}; nothing was published: `tuffet status` says what is staged, and `tuffet renew` drafts what other keys sign now"
                )
            }
            Error::Agent(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for Error {}

impl From<Rejected> for Error {
    fn from(why: Rejected) -> Error {
        Error::Rejected(why)
    }
}

impl From<Misuse> for Error {
    fn from(why: Misuse) -> Error {
        Error::Misuse(why)
    }
}

impl From<Environment> for Error {
    fn from(why: Environment) -> Error {
        Error::Environment(why)
    }
}

impl From<tuffet_keys::Error> for Error {
    /// A file that cannot be read is the same failure whoever opened it.
    fn from(error: tuffet_keys::Error) -> Error {
        use tuffet_keys::Environment::Io;
        match error {
            tuffet_keys::Error::Environment { why: Io { what, message }, at: Some(at) } => {
                Environment::Io { what, path: at.into(), message }.into()
            }
            error => Error::Keys(error),
        }
    }
}

impl From<tuffet_client::Error> for Error {
    fn from(error: tuffet_client::Error) -> Error {
        Error::Device(error)
    }
}

impl From<tuffet_agent::Error> for Error {
    fn from(error: tuffet_agent::Error) -> Error {
        Error::Agent(error)
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use tuffet_agent::TransportFault;
    use tuffet_agent::mcuboot::Fault;
    use tuffet_keys::Role;

    use super::*;

    /// One of each, in the order of codes.
    fn all() -> Vec<Error> {
        let path = || PathBuf::from("file");
        let text = || "text".to_owned();
        vec![
            Rejected::Config { path: path(), line: 1, column: 2, message: text() }.into(),
            Rejected::ImageTooLarge { image: path(), length: 2, hardware: text(), slot_size: 1 }.into(),
            Rejected::ImageEmpty { image: path() }.into(),
            Rejected::ImageChanged { image: path() }.into(),
            Rejected::UnknownHardware { hardware: text(), known: Vec::new() }.into(),
            Rejected::VersionTaken { version: text(), path: text() }.into(),
            Rejected::VersionReleased { version: text(), channel: text(), sequence: 1 }.into(),
            Rejected::CounterDrops { version: text(), offered: 1, newest: 2 }.into(),
            Rejected::MinimumTooHigh { minimum: 2, sequence: 1 }.into(),
            Rejected::ImmutableDiffers { path: path() }.into(),
            Rejected::Damaged { path: path(), why: text() }.into(),
            Rejected::StaleRequest { path: path(), staged: 1, published: 2 }.into(),
            Rejected::RequestOfOldRoot { path: path(), request: 1, newest: 2 }.into(),
            Rejected::OnlineKeys { role: Role::Snapshot, given: 1, threshold: 2 }.into(),
            Rejected::ForeignKey { role: Role::Snapshot, keyid: text(), root: 1 }.into(),
            Rejected::NothingStaged.into(),
            Rejected::Exhausted { what: "version" }.into(),
            Rejected::TargetPath { path: text() }.into(),
            Rejected::TargetMissing { path: path() }.into(),
            Rejected::TargetDiffers { path: path() }.into(),
            Rejected::TargetsOfOldRoot { newest: 2 }.into(),
            Rejected::Demo { what: text() }.into(),
            Rejected::UnknownFlashMap { name: text(), known: "demo" }.into(),
            Rejected::SlotSize { hardware: text(), slot_size: 2, slot: 1 }.into(),
            Rejected::OtherFacts { path: path(), member: "root" }.into(),
            Rejected::CounterDiffers { given: 1, released: 2 }.into(),
            Rejected::FactoryFile { path: path(), why: text() }.into(),
            Rejected::FromTheFuture { what: text(), issued: text(), now: text() }.into(),
            Rejected::OtherRepository { path: path(), found: text(), pinned: text() }.into(),
            Rejected::Unsigned {
                path: path(),
                what: text().into(),
                by: text().into(),
                threshold: 2,
                signed: Vec::new(),
                missing: Vec::new(),
            }
            .into(),
            Rejected::UnknownProduct { product: text(), known: Vec::new() }.into(),
            Rejected::UnknownChannel { channel: text(), known: Vec::new() }.into(),
            Rejected::Unproven { path: path(), why: text() }.into(),
            Rejected::NotDelegated { role: Role::Targets, by: Role::Targets, waits: None }.into(),
            Rejected::RequestOfOldKeys { path: path(), role: Role::Targets, by: text() }.into(),
            Rejected::NoRelease { channel: text(), version: None, known: Vec::new() }.into(),
            Rejected::LastRelease { version: text(), channel: text() }.into(),
            Rejected::NotNewer { version: text(), sequence: 1, newest: 2, channel: text() }.into(),
            Rejected::NotHalted { digest: text(), halted: Vec::new() }.into(),
            Rejected::TooManyHalts { most: 8 }.into(),
            Rejected::ImageDamaged { image: path(), fault: Fault::Digest }.into(),
            Rejected::ImageSays { image: path(), what: "version", says: text(), given: text() }.into(),
            Rejected::Bundle { path: path(), why: tuffet_agent::Rejected::NotABundle.into() }.into(),
            Rejected::NothingInBundle { path: path() }.into(),
            Rejected::BundleTooLarge { what: "64 roots" }.into(),
            Rejected::NotInstalled { channel: text(), version: text(), why: "it is halted; publish another" }
                .into(),
            Rejected::NoSuchRoot { version: 9, known: (1, 3) }.into(),
            Rejected::KeyInTwoRoles { keyid: text(), role: Role::Targets, other: Role::Root }.into(),
            Rejected::StrayRequest { path: path(), role: Role::Targets }.into(),
            Rejected::Expired { at: 1, what: vec![text()] }.into(),
            Rejected::Differs { before: text(), after: text() }.into(),
            Rejected::Unreadable { path: path() }.into(),
            Rejected::NotListed { version: text(), known: Vec::new() }.into(),
            Rejected::RolledBack { role: Role::Timestamp, known: 2, found: 1, path: path() }.into(),
            Rejected::BinsChanged { role: Role::Targets, was: text() }.into(),
            Rejected::UnknownStaged { path: path(), known: Vec::new() }.into(),
            Rejected::ForeignPath { path: text(), role: Role::Targets }.into(),
            Rejected::VersionBackwards { version: text(), newest: text(), channel: text() }.into(),
            Misuse::NoWorkspace { path: path() }.into(),
            Misuse::WorkspaceExists { path: path() }.into(),
            Misuse::BadName { what: "channel", text: text(), allowed: "letters" }.into(),
            Misuse::BadRollout { why: "why" }.into(),
            Misuse::Options { why: "why" }.into(),
            Misuse::Address { url: text(), why: "is no address; write another".to_owned() }.into(),
            Misuse::WhichProduct { hardware: text(), products: text() }.into(),
            Misuse::UnknownRole { role: text(), known: Vec::new() }.into(),
            Misuse::WhichRelease { version: text(), sequences: [2, 1] }.into(),
            Environment::Io { what: "read", path: path(), message: text() }.into(),
            Environment::Locked { path: path() }.into(),
            Environment::ClockBehind { issued: text(), now: text() }.into(),
            Environment::Firmware { message: "why; what next".to_owned() }.into(),
            Environment::Fetch { url: text(), fault: TransportFault::Timeout }.into(),
            Environment::Outrun { path: path() }.into(),
            Environment::Server { what: "read", place: path(), why: "why; what next".to_owned() }.into(),
            Environment::Unconditional { place: path(), fault: "ignores If-Match" }.into(),
        ]
    }

    /// Scripts and monitoring go by these numbers: append, never change.
    #[test]
    fn codes_never_change() {
        let codes: Vec<u16> = all().iter().map(Error::code).collect();
        let golden: Vec<u16> = (101..=158).chain(201..=209).chain(301..=308).collect();
        assert_eq!(codes, golden);
    }

    #[test]
    fn every_message_is_one_line_that_says_what_to_do_next() {
        for error in all() {
            let line = error.to_string();
            assert!(!line.contains('\n') && line.contains("; "), "{line}");
        }
    }

    #[test]
    fn fetch_that_failed_says_one_thing_to_do_next() {
        let faults = [
            TransportFault::NotFound,
            TransportFault::TooLong { limit: 1 },
            TransportFault::Timeout,
            TransportFault::Connection,
            TransportFault::Tls,
            TransportFault::Status { code: 302 },
            TransportFault::Status { code: 500 },
        ];
        for fault in faults {
            let line = Error::from(Environment::Fetch { url: "https://a/b".to_owned(), fault }).to_string();
            assert!(line.starts_with("cannot fetch https://a/b: "), "{line}");
            assert_eq!(line.matches("; ").count(), 1, "{line}");
        }
    }

    #[test]
    fn file_that_a_library_could_not_read_is_our_own_failure() {
        let missing = std::path::Path::new("nowhere/file");
        let ours = Error::io("read", missing, &std::fs::File::open(missing).unwrap_err());
        assert_eq!(ours.label(), "T301");
        assert_eq!(Error::from(tuffet_keys::file::read(missing).unwrap_err()), ours);
        assert!(
            ours.to_string().starts_with("cannot read nowhere/file: No such file or directory; "),
            "{ours}"
        );
    }

    #[test]
    fn family_of_every_error_fits_its_code_and_its_exit_status() {
        for error in all() {
            let status = u16::from(error.family().exit_status());
            assert_eq!(status, error.code() / 100, "{error}");
            assert_eq!(error.label(), format!("T{}", error.code()));
        }
    }
}
