//! What can go wrong, in three families, each case with a code that never changes meaning.
//!
//! An error is one line for a person: what, where, and what to do next. Codes of this crate are
//! written `T101`; errors of the libraries below pass through with their own letter.

use std::fmt;
use std::path::{Path, PathBuf};

use tuffet_agent::TransportFault;

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
            Error::Device(error) => error.code(),
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
            Error::Device(_) => 'C',
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
            | Error::Agent(Agent::Rejected(_)) => Family::Rejected,
            Error::Misuse(_)
            | Error::Keys(Keys::Misuse { .. })
            | Error::Device(Device::Misuse(_))
            | Error::Agent(Agent::Misuse(_)) => Family::Misuse,
            // A family that is added below is the machine's fault until this line says otherwise.
            Error::Environment(_) | Error::Keys(_) | Error::Device(_) | Error::Agent(_) => {
                Family::Environment
            }
        }
    }

    /// An I/O failure while doing `what` (an infinitive: "read", "rename") to `path`.
    pub(crate) fn io(what: &'static str, path: &Path, error: &std::io::Error) -> Error {
        let text = error.to_string();
        let message = text.split(" (os error").next().unwrap_or_default().to_owned();
        Environment::Io { what, path: path.to_owned(), message }.into()
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
    fn from(error: tuffet_keys::Error) -> Error {
        Error::Keys(error)
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

/// What was offered is bad, or not enough was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// `tuffet.toml` does not say what it should.
    Config {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column in characters, counted from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// The image does not fit the slot of its hardware.
    ImageTooLarge {
        /// The image file.
        image: PathBuf,
        /// Bytes that it has.
        length: u64,
        /// The hardware id.
        hardware: String,
        /// Bytes that the slot has.
        slot_size: u32,
    },
    /// The image file is empty.
    ImageEmpty {
        /// The image file.
        image: PathBuf,
    },
    /// The image file changed while it was read.
    ImageChanged {
        /// The image file.
        image: PathBuf,
    },
    /// The policy does not know this hardware id.
    UnknownHardware {
        /// The id that was asked for.
        hardware: String,
        /// The ids that `tuffet.toml` has.
        known: Vec<String>,
    },
    /// The version is taken by other bytes.
    VersionTaken {
        /// The version.
        version: String,
        /// The target path that has it.
        path: String,
    },
    /// The version is in this channel already, under other terms.
    VersionReleased {
        /// The version.
        version: String,
        /// The channel.
        channel: String,
        /// Its sequence there.
        sequence: u32,
    },
    /// The security counter would drop below that of a release before.
    CounterDrops {
        /// The counter that was asked for.
        offered: u32,
        /// The highest that the channel has.
        newest: u32,
    },
    /// The candidate could not be installed by any device.
    MinimumTooHigh {
        /// The lowest installed sequence that was asked for.
        minimum: u32,
        /// The sequence that the release gets.
        sequence: u32,
    },
    /// A file that never changes once it is published is there with other bytes.
    ImmutableDiffers {
        /// The file.
        path: PathBuf,
    },
    /// A file of the workspace is not what the file that names it says.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The staged targets request is older than what is published.
    StaleRequest {
        /// The request.
        path: PathBuf,
        /// The version that it asks to sign.
        staged: u32,
        /// The version that is published.
        published: u32,
    },
    /// The targets request does not ask the keys of the newest root.
    RequestOfOldRoot {
        /// The request.
        path: PathBuf,
        /// The newest root that the request knows.
        request: u32,
        /// The newest root.
        newest: u32,
    },
    /// Too few keys of a role that is signed online.
    OnlineKeys {
        /// The role.
        role: &'static str,
        /// Distinct keys of the role that were given.
        given: u32,
        /// Distinct keys that the root demands.
        threshold: u32,
    },
    /// A key that the newest root does not name for the role.
    ForeignKey {
        /// The role.
        role: &'static str,
        /// The key's keyid.
        keyid: String,
        /// The newest root.
        root: u32,
    },
    /// Targets metadata name a file by a path that no repository can have.
    TargetPath {
        /// The path as written.
        path: String,
    },
    /// A target's file is not there.
    TargetMissing {
        /// The file.
        path: PathBuf,
    },
    /// A target's file has not the length and digest that the metadata state.
    TargetDiffers {
        /// The file.
        path: PathBuf,
    },
    /// The published targets are not signed by the keys of the newest root, and no new ones are staged.
    TargetsOfOldRoot {
        /// The newest root.
        newest: u32,
    },
    /// Something in the demo came out otherwise than it must.
    Demo {
        /// What.
        what: String,
    },
    /// No flash map of that name is built in.
    UnknownFlashMap {
        /// The name.
        name: String,
        /// The names that there are.
        known: &'static str,
    },
    /// An image that `tuffet.toml` allows might not fit the slots of the flash map.
    SlotSize {
        /// The hardware id.
        hardware: String,
        /// Bytes that `tuffet.toml` says.
        slot_size: u32,
        /// Bytes of the flash map's slots.
        slot: u32,
    },
    /// The directory holds the facts of another device.
    OtherFacts {
        /// The file with the facts.
        path: PathBuf,
        /// The first member that differs.
        member: String,
    },
    /// The image was released with another security counter than the facts that it holds.
    CounterDiffers {
        /// The counter of the facts.
        given: u32,
        /// The counter of the release.
        released: u32,
    },
    /// There is nothing to publish and nothing to refresh.
    NothingStaged,
    /// Version, sequence or date has no successor.
    Exhausted {
        /// Which.
        what: &'static str,
    },
}

/// The caller asked for something that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// There is no `tuffet.toml`.
    NoWorkspace {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// `tuffet init` where a workspace is.
    WorkspaceExists {
        /// The file that is in the way.
        path: PathBuf,
    },
    /// A name that no target path can hold.
    BadName {
        /// What it should name: "product", "channel".
        what: &'static str,
        /// What was given.
        text: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A rollout that does not end after it starts, or ends before now.
    BadRollout {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Options that cannot go together.
    Options {
        /// Why.
        why: &'static str,
    },
    /// A repository's address that no transport takes.
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: String,
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
        /// The file.
        path: PathBuf,
        /// The system's message.
        message: String,
    },
    /// Another process is at work in the workspace.
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The clock is behind a signature that this repository has published.
    ClockBehind {
        /// When the newest timestamp was issued.
        issued: String,
        /// What the clock says.
        now: String,
    },
    /// A file did not come from a web server.
    Fetch {
        /// The file.
        url: String,
        /// Why.
        fault: TransportFault,
    },
    /// The demo's firmware could not be built.
    Firmware {
        /// What was missing, and what to do next.
        message: String,
    },
}

impl Rejected {
    /// See [`Error::code`].
    pub fn code(&self) -> u16 {
        match self {
            Rejected::Config { .. } => 101,
            Rejected::ImageTooLarge { .. } => 102,
            Rejected::ImageEmpty { .. } => 103,
            Rejected::ImageChanged { .. } => 104,
            Rejected::UnknownHardware { .. } => 105,
            Rejected::VersionTaken { .. } => 106,
            Rejected::VersionReleased { .. } => 107,
            Rejected::CounterDrops { .. } => 108,
            Rejected::MinimumTooHigh { .. } => 109,
            Rejected::ImmutableDiffers { .. } => 110,
            Rejected::Damaged { .. } => 111,
            Rejected::StaleRequest { .. } => 112,
            Rejected::RequestOfOldRoot { .. } => 113,
            Rejected::OnlineKeys { .. } => 114,
            Rejected::ForeignKey { .. } => 115,
            Rejected::NothingStaged => 116,
            Rejected::Exhausted { .. } => 117,
            Rejected::TargetPath { .. } => 118,
            Rejected::TargetMissing { .. } => 119,
            Rejected::TargetDiffers { .. } => 120,
            Rejected::TargetsOfOldRoot { .. } => 121,
            Rejected::Demo { .. } => 122,
            Rejected::UnknownFlashMap { .. } => 123,
            Rejected::SlotSize { .. } => 124,
            Rejected::OtherFacts { .. } => 125,
            Rejected::CounterDiffers { .. } => 126,
        }
    }
}

impl Misuse {
    /// See [`Error::code`].
    pub fn code(&self) -> u16 {
        match self {
            Misuse::NoWorkspace { .. } => 201,
            Misuse::WorkspaceExists { .. } => 202,
            Misuse::BadName { .. } => 203,
            Misuse::BadRollout { .. } => 204,
            Misuse::Options { .. } => 205,
            Misuse::Address { .. } => 206,
        }
    }
}

impl Environment {
    /// See [`Error::code`].
    pub fn code(&self) -> u16 {
        match self {
            Environment::Io { .. } => 301,
            Environment::Locked { .. } => 302,
            Environment::ClockBehind { .. } => 303,
            Environment::Firmware { .. } => 304,
            Environment::Fetch { .. } => 305,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::Config { path, line, column, message } => {
                write!(f, "{}:{line}:{column}: {message}; correct the file", path.display())
            }
            Rejected::ImageTooLarge { image, length, hardware, slot_size } => write!(
                f,
                "the image has {length} bytes and the slot of {hardware} {slot_size}: {}; make it smaller, \
                 or correct slot-size in tuffet.toml if the devices have more",
                image.display()
            ),
            Rejected::ImageEmpty { image } => {
                write!(f, "the image is empty: {}; build it again", image.display())
            }
            Rejected::ImageChanged { image } => {
                write!(
                    f,
                    "the image changed while it was read: {}; wait for the build to end",
                    image.display()
                )
            }
            Rejected::UnknownHardware { hardware, known } => {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                write!(
                    f,
                    "unknown hardware {hardware} (known: {known}); correct it, or add it to tuffet.toml"
                )
            }
            Rejected::VersionTaken { version, path } => {
                write!(
                    f,
                    "version {version} was released with other bytes: {path}; give this build a new version"
                )
            }
            Rejected::VersionReleased { version, channel, sequence } => write!(
                f,
                "version {version} is release {sequence} of {channel} already, on other terms or not the newest; \
                 give this build a new version"
            ),
            Rejected::CounterDrops { offered, newest } => write!(
                f,
                "security counter {offered} is below the {newest} of a release before, and devices would refuse \
                 it; give {newest} or more"
            ),
            Rejected::MinimumTooHigh { minimum, sequence } => write!(
                f,
                "no device can have release {minimum} before release {sequence} reaches it; give a minimum \
                 below {sequence}"
            ),
            Rejected::ImmutableDiffers { path } => write!(
                f,
                "a published file is there with other bytes: {}; it never changes: find out who wrote it, and \
                 move it away if no device can have seen it",
                path.display()
            ),
            Rejected::Damaged { path, why } => {
                write!(f, "{why}: {}; restore it from a copy of the repository", path.display())
            }
            Rejected::StaleRequest { path, staged, published } => write!(
                f,
                "the staged request is for targets {staged}, and {published} is published: {}; remove it and \
                 release again",
                path.display()
            ),
            Rejected::RequestOfOldRoot { path, request, newest } => write!(
                f,
                "the request asks the keys of root {request}, and {newest} is the newest: {}; run `tuffet renew` \
                 and sign the new request",
                path.display()
            ),
            Rejected::OnlineKeys { role, given, threshold } => write!(
                f,
                "{given} of {threshold} {role} keys were given; give --{role}-key once for each key"
            ),
            Rejected::ForeignKey { role, keyid, root } => write!(
                f,
                "key {keyid} is no {role} key of root {root}; give the key that the root ceremony chose for it"
            ),
            Rejected::TargetPath { path } => write!(
                f,
                "`{}` cannot be a target path; do not publish this, and ask who wrote it",
                path.escape_debug()
            ),
            Rejected::TargetMissing { path } => write!(
                f,
                "the file of a target is missing: {}; release the image again, or restore the file",
                path.display()
            ),
            Rejected::TargetDiffers { path } => write!(
                f,
                "the file of a target is not the one that was signed: {}; restore it from a good copy",
                path.display()
            ),
            Rejected::TargetsOfOldRoot { newest } => write!(
                f,
                "root {newest} changes the keys of targets, and the published targets have the old ones; run \
                 `tuffet renew` and have the new request signed"
            ),
            Rejected::Demo { what } => {
                write!(f, "the demo failed: {what}; please report it, with the line above")
            }
            Rejected::UnknownFlashMap { name, known } => write!(
                f,
                "unknown flash map {name} (known: {known}); correct flash-map in tuffet.toml, or give --flash-map"
            ),
            Rejected::SlotSize { hardware, slot_size, slot } => write!(
                f,
                "tuffet.toml lets images of {hardware} have {slot_size} bytes, and a slot of its flash map has \
                 {slot}; correct slot-size or flash-map"
            ),
            Rejected::OtherFacts { path, member } => write!(
                f,
                "another `{member}` stands in {}; give another --out, or remove the old files and build the \
                 firmware with the new ones",
                path.display()
            ),
            Rejected::CounterDiffers { given, released } => write!(
                f,
                "the image is released with security counter {released}, and the facts say {given}; give --counter \
                 {released}, and build the firmware with those facts"
            ),
            Rejected::NothingStaged => f.write_str(
                "nothing is staged and nothing is published yet; stage an image with `tuffet release`",
            ),
            Rejected::Exhausted { what } => {
                write!(f, "the last {what} is taken; this repository has reached its end, start a new one")
            }
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::NoWorkspace { path } => write!(
                f,
                "there is no {}; name the repository with --repo, or make one with `tuffet init`",
                path.display()
            ),
            Misuse::Address { url, why } => write!(f, "{url} {why}"),
            Misuse::WorkspaceExists { path } => {
                write!(
                    f,
                    "the file exists and is not overwritten: {}; choose another directory",
                    path.display()
                )
            }
            Misuse::BadName { what, text, allowed } => {
                write!(f, "`{}` cannot be a {what}; use {allowed}", text.escape_debug())
            }
            Misuse::BadRollout { why } => {
                write!(f, "{why}; give --rollout-end a time after now and after --rollout-start")
            }
            Misuse::Options { why } => write!(f, "{why}; see --help"),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Environment::Io { what, path, message } => {
                write!(
                    f,
                    "cannot {what} {}: {message}; check path, permissions and free space",
                    path.display()
                )
            }
            Environment::Locked { path } => {
                write!(f, "another tuffet is at work here: {}; wait for it to end", path.display())
            }
            Environment::Firmware { message } => f.write_str(message),
            Environment::Fetch { url, fault } => write!(f, "{fault}: {url}; see whether a browser gets it"),
            Environment::ClockBehind { issued, now } => write!(
                f,
                "the clock says {now}, and the published timestamp was issued {issued}; set the clock and run again"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
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
            Rejected::CounterDrops { offered: 1, newest: 2 }.into(),
            Rejected::MinimumTooHigh { minimum: 2, sequence: 1 }.into(),
            Rejected::ImmutableDiffers { path: path() }.into(),
            Rejected::Damaged { path: path(), why: text() }.into(),
            Rejected::StaleRequest { path: path(), staged: 1, published: 2 }.into(),
            Rejected::RequestOfOldRoot { path: path(), request: 1, newest: 2 }.into(),
            Rejected::OnlineKeys { role: "snapshot", given: 1, threshold: 2 }.into(),
            Rejected::ForeignKey { role: "snapshot", keyid: text(), root: 1 }.into(),
            Rejected::NothingStaged.into(),
            Rejected::Exhausted { what: "version" }.into(),
            Rejected::TargetPath { path: text() }.into(),
            Rejected::TargetMissing { path: path() }.into(),
            Rejected::TargetDiffers { path: path() }.into(),
            Rejected::TargetsOfOldRoot { newest: 2 }.into(),
            Rejected::Demo { what: text() }.into(),
            Rejected::UnknownFlashMap { name: text(), known: "demo" }.into(),
            Rejected::SlotSize { hardware: text(), slot_size: 2, slot: 1 }.into(),
            Rejected::OtherFacts { path: path(), member: text() }.into(),
            Rejected::CounterDiffers { given: 1, released: 2 }.into(),
            Misuse::NoWorkspace { path: path() }.into(),
            Misuse::WorkspaceExists { path: path() }.into(),
            Misuse::BadName { what: "channel", text: text(), allowed: "letters" }.into(),
            Misuse::BadRollout { why: "why" }.into(),
            Misuse::Options { why: "why" }.into(),
            Misuse::Address { url: text(), why: "is no address; write another".to_owned() }.into(),
            Environment::Io { what: "read", path: path(), message: text() }.into(),
            Environment::Locked { path: path() }.into(),
            Environment::ClockBehind { issued: text(), now: text() }.into(),
            Environment::Firmware { message: "why; what next".to_owned() }.into(),
            Environment::Fetch { url: text(), fault: TransportFault::Timeout }.into(),
        ]
    }

    /// Scripts and monitoring go by these numbers: append, never change.
    #[test]
    fn codes_never_change() {
        let codes: Vec<u16> = all().iter().map(Error::code).collect();
        let golden: Vec<u16> = (101..=126).chain(201..=206).chain(301..=305).collect();
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
    fn family_of_every_error_fits_its_code_and_its_exit_status() {
        for error in all() {
            let status = u16::from(error.family().exit_status());
            assert_eq!(status, error.code() / 100, "{error}");
            assert_eq!(error.label(), format!("T{}", error.code()));
        }
    }
}
