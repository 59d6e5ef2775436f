//! What can go wrong, in three families that never mix: the bytes are bad ([`Rejected`]), the
//! caller is ([`Misuse`]), or the world around us is ([`Environment`]).

use core::fmt;

use embedded_storage::nor_flash::NorFlashErrorKind;

use crate::bundle::IndexFault;
use crate::flash_map::{MapFault, SlotId};
use crate::handover::Verb;
use crate::journal::Kind;
use crate::transport::TransportFault;

/// Everything that this crate reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// What was offered is bad; nothing of it was kept.
    Rejected(Rejected),
    /// The calling program is at fault; no input can cause this.
    Misuse(Misuse),
    /// Flash or network did not do their part; trying again may help.
    Environment(Environment),
}

/// Bytes that must not be trusted, or not be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// The client refused a metadata file.
    Metadata(tuffet_client::Rejected),
    /// The release names an image that is larger than the slot. Nothing was erased.
    ImageLargerThanSlot {
        /// Bytes that the image has.
        length: u32,
        /// Bytes that the slot has.
        slot: u32,
    },
    /// The server sent more bytes than were signed.
    ImageTooLong {
        /// Bytes that were signed.
        length: u32,
    },
    /// The server sent fewer bytes than were signed.
    ImageTooShort {
        /// Bytes that were signed.
        length: u32,
        /// Bytes that came.
        received: u32,
    },
    /// The server's bytes do not have the signed digest.
    ImageDigest,
    /// What should be a bundle does not begin as one.
    NotABundle,
    /// A bundle of a format that this build does not know.
    BundleFormat {
        /// The format found.
        format: u16,
    },
    /// The index of a bundle says what no index can say. Nothing behind it was read.
    BundleIndex {
        /// The first byte of what is wrong.
        at: u32,
        /// What is wrong there.
        fault: IndexFault,
    },
    /// A bundle ends before it holds all that its index lists.
    BundleCutShort {
        /// Where it ends.
        at: u32,
    },
    /// A bundle holds later roots, and not the one that this device needs first.
    BundleLacksRoot {
        /// The version of that root.
        version: u32,
    },
}

/// A call that was out of place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// The client was called out of order, or with names that no repository can have.
    Metadata(tuffet_client::Misuse),
    /// The flash map does not hold together, or does not fit the flash.
    Map(MapFault),
    /// The inactive slot belongs to a trial that is neither confirmed nor reverted.
    TrialUndecided,
    /// There is no trial to confirm or revert.
    NoTrial,
    /// The image that asks to be confirmed is not the one on trial.
    NotOnTrial,
    /// The active slot was offered for a trial.
    SlotActive,
    /// A trial needs at least one try.
    NoTries,
    /// An image of no bytes.
    ImageEmpty,
    /// A version for people is empty, longer than 32 bytes, or has other than printable ASCII.
    Version,
    /// A turn that is over was told of a file.
    TurnOver,
    /// A record does not fit its journal.
    RecordTooLong {
        /// The journal.
        kind: Kind,
    },
}

/// A failure around us.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Environment {
    /// The client lacks something.
    Metadata(tuffet_client::Environment),
    /// A file did not come.
    Transport(TransportFault),
    /// The flash refused an operation.
    Flash {
        /// What was asked of it.
        operation: FlashOperation,
        /// First byte of the operation.
        offset: u32,
        /// What it answered.
        kind: NorFlashErrorKind,
    },
    /// The flash took a record and gave back something else.
    NotWritten {
        /// First byte of the record.
        offset: u32,
    },
    /// The flash took an image and gave back something else. The slot was made unbootable.
    ImageNotWritten {
        /// The slot.
        slot: SlotId,
    },
    /// No valid record is left in a journal.
    RecordLost {
        /// The journal.
        kind: Kind,
    },
    /// The newest record is of a format that this build does not know.
    RecordFormat {
        /// The journal.
        kind: Kind,
        /// The format found.
        format: u8,
    },
    /// A journal's sequence number has reached its end.
    SequenceExhausted {
        /// The journal.
        kind: Kind,
    },
    /// A record that could not be read a moment ago can be read again. Nothing replaced it.
    RecordBack {
        /// The journal.
        kind: Kind,
    },
    /// MCUboot's trailer of this slot is in no state in which its image could be confirmed.
    Trailer {
        /// The slot.
        slot: SlotId,
    },
    /// The trial cannot be ended, for the active image's slot does not hold the active image.
    ActiveDamaged,
    /// Neither the trial image nor the active one has the digest that the boot record names.
    NothingBootable,
    /// What runs is neither the active image nor the one on trial, or its slot changed while it ran.
    UnknownRuns,
    /// The image that runs was given up. Until the bootloader has put the active one back, nothing may be done.
    GivenUpRuns,
    /// What installs images did not do its part; it may have said why.
    Installer {
        /// What was asked of it.
        verb: Verb,
        /// How it ended.
        fault: InstallerFault,
    },
}

/// How an [`Installer`](crate::handover::Installer) failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstallerFault {
    /// It could not be asked.
    NotAsked,
    /// It refused, with this number.
    Refused {
        /// An exit status, for a program.
        status: u8,
    },
    /// It did not answer in time, or broke off.
    NoAnswer,
    /// Its answer is none.
    Answer,
}

/// An operation on a flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlashOperation {
    /// Reading.
    Read,
    /// Writing.
    Write,
    /// Erasing.
    Erase,
}

impl Error {
    /// A number for logs and reports that never changes its meaning: 100 to 399 from the client, 400 to 499 for
    /// [`Rejected`], 500 to 599 for [`Misuse`], 600 to 699 for [`Environment`].
    pub fn code(&self) -> u16 {
        match self {
            Self::Rejected(error) => error.code(),
            Self::Misuse(error) => error.code(),
            Self::Environment(error) => error.code(),
        }
    }

    /// The letter before the code where people read it: `A` for this crate, `C` for what the client says.
    pub const fn letter(&self) -> char {
        match self {
            Self::Rejected(Rejected::Metadata(_))
            | Self::Misuse(Misuse::Metadata(_))
            | Self::Environment(Environment::Metadata(_)) => 'C',
            Self::Rejected(_) | Self::Misuse(_) | Self::Environment(_) => 'A',
        }
    }
}

impl Rejected {
    /// See [`Error::code`].
    pub fn code(&self) -> u16 {
        match self {
            Self::Metadata(rejected) => rejected.code(),
            Self::ImageLargerThanSlot { .. } => 401,
            Self::ImageTooLong { .. } => 402,
            Self::ImageTooShort { .. } => 403,
            Self::ImageDigest => 404,
            Self::NotABundle => 420,
            Self::BundleFormat { .. } => 421,
            Self::BundleIndex { .. } => 422,
            Self::BundleCutShort { .. } => 423,
            Self::BundleLacksRoot { .. } => 424,
        }
    }
}

impl Misuse {
    /// See [`Error::code`].
    pub fn code(&self) -> u16 {
        match self {
            Self::Metadata(misuse) => misuse.code(),
            Self::Map(_) => 501,
            Self::TrialUndecided => 502,
            Self::NoTrial => 503,
            Self::NotOnTrial => 504,
            Self::SlotActive => 505,
            Self::NoTries => 506,
            Self::ImageEmpty => 507,
            Self::RecordTooLong { .. } => 508,
            Self::Version => 509,
            Self::TurnOver => 510,
        }
    }
}

impl Environment {
    /// See [`Error::code`].
    pub fn code(&self) -> u16 {
        match self {
            Self::Metadata(environment) => environment.code(),
            Self::Transport(fault) => fault.code(),
            Self::Flash { .. } => 601,
            Self::NotWritten { .. } => 602,
            Self::ImageNotWritten { .. } => 603,
            Self::RecordLost { .. } => 604,
            Self::RecordFormat { .. } => 605,
            Self::SequenceExhausted { .. } => 606,
            Self::NothingBootable => 607,
            Self::RecordBack { .. } => 608,
            Self::ActiveDamaged => 609,
            Self::Trailer { .. } => 610,
            Self::UnknownRuns => 611,
            Self::GivenUpRuns => 612,
            Self::Installer { .. } => 613,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(error) => error.fmt(f),
            Self::Misuse(error) => error.fmt(f),
            Self::Environment(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(rejected) => rejected.fmt(f),
            Self::ImageLargerThanSlot { length, slot } => {
                write!(f, "the image has {length} bytes and the slot only {slot}; release a smaller image")
            }
            Self::ImageTooLong { length } => {
                write!(f, "the server sent more than the image's {length} signed bytes")
            }
            Self::ImageTooShort { length, received } => {
                write!(f, "the server sent {received} of the image's {length} signed bytes")
            }
            Self::ImageDigest => f.write_str("the image's SHA-256 is not the signed one"),
            Self::NotABundle => f.write_str("this is no bundle; `tuffet bundle` writes one"),
            Self::BundleFormat { format } => {
                write!(f, "the bundle has format {format}, which this version does not know")
            }
            Self::BundleIndex { at, fault } => {
                write!(f, "the bundle's index is damaged at byte {at}: {fault}; copy it again")
            }
            Self::BundleCutShort { at } => {
                write!(f, "the bundle ends at byte {at}, before the end of what it lists; copy it again")
            }
            Self::BundleLacksRoot { version } => write!(
                f,
                "the bundle does not have root {version}, which this device needs first; make one `--from-root {}`",
                version.saturating_sub(1)
            ),
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(misuse) => misuse.fmt(f),
            Self::Map(fault) => write!(f, "flash map: {fault}"),
            Self::TrialUndecided => {
                f.write_str("an image is on trial; confirm or revert it before the next one is written")
            }
            Self::NoTrial => f.write_str("no image is on trial"),
            Self::NotOnTrial => f.write_str("the running image is not the one on trial"),
            Self::SlotActive => f.write_str("the active slot cannot be put on trial"),
            Self::NoTries => f.write_str("a trial needs at least one try"),
            Self::ImageEmpty => f.write_str("an image needs at least one byte"),
            Self::Version => f.write_str("a version needs 1 to 32 printable ASCII characters"),
            Self::RecordTooLong { kind } => write!(f, "the {kind} does not fit its journal"),
            Self::TurnOver => f.write_str("the turn is over, and wants no file"),
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Metadata(environment) => environment.fmt(f),
            Self::Transport(fault) => fault.fmt(f),
            Self::Flash { operation, offset, kind } => write!(f, "flash: {operation} at {offset:#x}: {kind}"),
            Self::NotWritten { offset } => {
                write!(f, "flash: the record written at {offset:#x} reads back differently")
            }
            Self::ImageNotWritten { slot } => {
                write!(f, "flash: the image written to slot {slot} reads back differently")
            }
            Self::RecordLost { kind } => {
                write!(f, "no valid {kind} is left on the flash; provision the device again")
            }
            Self::RecordFormat { kind, format } => {
                write!(f, "the {kind} has format {format}, which this version does not know")
            }
            Self::SequenceExhausted { kind } => {
                write!(f, "the {kind} was written 2^32 times; provision the device again")
            }
            Self::Trailer { slot } => write!(
                f,
                "MCUboot's trailer of slot {slot} is not that of an image on trial; let the bootloader swap first"
            ),
            Self::ActiveDamaged => f.write_str(
                "the active image is damaged, so the trial image is not given up; release a repair",
            ),
            Self::RecordBack { kind } => {
                write!(f, "the {kind} could not be read and now can; try again")
            }
            Self::NothingBootable => {
                f.write_str("no slot holds the image that the boot record names; provision the device again")
            }
            Self::UnknownRuns => f.write_str(
                "neither the active image nor the one on trial is what runs; install the active one by other means",
            ),
            Self::GivenUpRuns => f.write_str("the image that runs was given up; restart the device"),
            Self::Installer { verb, fault } => write!(f, "the installer's `{verb}`: {fault}"),
        }
    }
}

impl fmt::Display for InstallerFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotAsked => {
                f.write_str("it could not be started; check its path and whether it may be executed")
            }
            Self::Refused { status } => write!(f, "it ended with status {status}; see what it said"),
            Self::NoAnswer => f.write_str("it did not end in time, or was killed; see its deadline"),
            Self::Answer => {
                f.write_str("it must write the SHA-256 of the image that runs, 64 hexadecimal digits")
            }
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Running => "running",
            Self::Install => "install",
            Self::Confirm => "confirm",
            Self::Revert => "revert",
        })
    }
}

impl fmt::Display for FlashOperation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "reading",
            Self::Write => "writing",
            Self::Erase => "erasing",
        })
    }
}

impl core::error::Error for Error {}

impl From<Rejected> for Error {
    fn from(error: Rejected) -> Self {
        Self::Rejected(error)
    }
}

impl From<Misuse> for Error {
    fn from(error: Misuse) -> Self {
        Self::Misuse(error)
    }
}

impl From<Environment> for Error {
    fn from(error: Environment) -> Self {
        Self::Environment(error)
    }
}

impl From<TransportFault> for Error {
    fn from(fault: TransportFault) -> Self {
        Self::Environment(Environment::Transport(fault))
    }
}

impl From<tuffet_client::Error> for Error {
    fn from(error: tuffet_client::Error) -> Self {
        match error {
            tuffet_client::Error::Rejected(rejected) => Self::Rejected(Rejected::Metadata(rejected)),
            tuffet_client::Error::Misuse(misuse) => Self::Misuse(Misuse::Metadata(misuse)),
            tuffet_client::Error::Environment(environment) => {
                Self::Environment(Environment::Metadata(environment))
            }
            // The enum may grow; until this crate knows the new family, it is no verdict on the bytes.
            _ => Self::Misuse(Misuse::Metadata(tuffet_client::Misuse::NotFetching)),
        }
    }
}

impl From<MapFault> for Error {
    fn from(fault: MapFault) -> Self {
        Self::Misuse(Misuse::Map(fault))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers that were given away. A new error takes a new number; nothing here is ever changed.
    #[test]
    fn codes_stay_what_they_are() {
        let kind = Kind::Boot;
        let flash =
            Environment::Flash { operation: FlashOperation::Read, offset: 0, kind: NorFlashErrorKind::Other };
        let missing = tuffet_client::Environment::Missing { role: tuffet_client::Role::Snapshot };
        let golden: [(Error, u16); 42] = [
            (Rejected::Metadata(tuffet_client::Rejected::NoRelease).into(), 114),
            (Misuse::Metadata(tuffet_client::Misuse::CycleOver).into(), 201),
            (Environment::Metadata(missing).into(), 300),
            (Rejected::ImageLargerThanSlot { length: 0, slot: 0 }.into(), 401),
            (Rejected::ImageTooLong { length: 0 }.into(), 402),
            (Rejected::ImageTooShort { length: 0, received: 0 }.into(), 403),
            (Rejected::ImageDigest.into(), 404),
            (Rejected::NotABundle.into(), 420),
            (Rejected::BundleFormat { format: 2 }.into(), 421),
            (Rejected::BundleIndex { at: 0, fault: IndexFault::Name }.into(), 422),
            (Rejected::BundleCutShort { at: 0 }.into(), 423),
            (Rejected::BundleLacksRoot { version: 2 }.into(), 424),
            (Misuse::Map(MapFault::Erased).into(), 501),
            (Misuse::TrialUndecided.into(), 502),
            (Misuse::NoTrial.into(), 503),
            (Misuse::NotOnTrial.into(), 504),
            (Misuse::SlotActive.into(), 505),
            (Misuse::NoTries.into(), 506),
            (Misuse::ImageEmpty.into(), 507),
            (Misuse::RecordTooLong { kind }.into(), 508),
            (Misuse::Version.into(), 509),
            (flash.into(), 601),
            (Environment::NotWritten { offset: 0 }.into(), 602),
            (Environment::ImageNotWritten { slot: SlotId::A }.into(), 603),
            (Environment::RecordLost { kind }.into(), 604),
            (Environment::RecordFormat { kind, format: 0 }.into(), 605),
            (Environment::SequenceExhausted { kind }.into(), 606),
            (Environment::NothingBootable.into(), 607),
            (Environment::RecordBack { kind }.into(), 608),
            (Environment::ActiveDamaged.into(), 609),
            (Environment::Trailer { slot: SlotId::A }.into(), 610),
            (Environment::UnknownRuns.into(), 611),
            (Environment::Installer { verb: Verb::Install, fault: InstallerFault::NoAnswer }.into(), 613),
            (Environment::GivenUpRuns.into(), 612),
            (TransportFault::NotFound.into(), 620),
            (TransportFault::TooLong { limit: 0 }.into(), 621),
            (TransportFault::Timeout.into(), 622),
            (TransportFault::Connection.into(), 623),
            (TransportFault::Tls.into(), 624),
            (TransportFault::Status { code: 503 }.into(), 625),
            (TransportFault::Unreadable { at: 0 }.into(), 626),
            (TransportFault::Passed { at: 0 }.into(), 627),
        ];
        for (error, code) in golden {
            assert_eq!(error.code(), code, "{error}");
        }
    }
}
