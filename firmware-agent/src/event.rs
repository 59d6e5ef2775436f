//! What an agent tells of itself as it works: one list for people, who read it in words, and for a wire, over which `defmt`
//! sends numbers and leaves the words on the host.

use core::fmt;

use tuffet_client::{Candidate, Change};

use crate::boot::{Decision, Reason, SlotImage};
use crate::error::Error;
use crate::transport::Request;
use crate::trust_store::TrustLost;

/// What the agent does.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Event<'e> {
    /// The trust store is lost; the factory's facts stand in.
    TrustLost(TrustLost),
    /// A file is fetched.
    Fetch(&'e Request),
    /// A verified file is trusted now, and that is on flash.
    Stored(Change),
    /// A release was verified, and fits this device.
    Selected(&'e Candidate),
    /// The release of this sequence was verified and would fit, but its image failed here before.
    PassedOver(u32),
    /// So many bytes of the image are there already, from before a cut.
    Resumed(u32),
    /// Bytes of the image came.
    Download {
        /// So many.
        received: u32,
        /// Of so many.
        length: u32,
    },
    /// The image is in the slot, read back and hashed.
    Staged(&'e SlotImage),
    /// The image will be tried at the next start.
    Pending(&'e SlotImage),
    /// What the device starts.
    Start(&'e Decision),
    /// The image on trial is the active one now.
    Confirmed(&'e SlotImage),
    /// The image on trial, or pending, is given up.
    Reverted(&'e SlotImage),
    /// The image on trial is healthy, but has not reached its repository. The trial goes on.
    NoContact(Error),
    /// The turn ended in an error.
    Failed(Error),
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrustLost(lost) => {
                write!(f, "trust lost ({}): starting from the factory's facts", what(*lost))
            }
            Self::Fetch(Request { path, from: 0, .. }) => write!(f, "fetches {path}"),
            Self::Fetch(Request { path, from, .. }) => write!(f, "fetches {path} from byte {from} on"),
            Self::Stored(Change::Root) => f.write_str("root stored"),
            Self::Stored(Change::Floors) => f.write_str("floors stored"),
            Self::Selected(Candidate { sequence, version, image, .. }) => {
                write!(f, "release {sequence} ({version}), {} bytes", image.length)
            }
            Self::PassedOver(sequence) => {
                write!(f, "release {sequence} is passed over: its image failed here before")
            }
            Self::Resumed(received) => write!(f, "goes on behind {received} bytes that are there already"),
            Self::Download { received, length } => write!(f, "{received} of {length} bytes"),
            Self::Staged(image) => write!(f, "{} is in slot {}, read back", image.version, image.slot),
            Self::Pending(image) => write!(f, "{} will be tried at the next start", image.version),
            Self::Start(Decision { start, reason, .. }) => {
                write!(f, "starts {} from slot {}: {}", start.version, start.slot, why(*reason))
            }
            Self::Confirmed(image) => write!(f, "{} is confirmed", image.version),
            Self::Reverted(image) => write!(f, "{} is given up", image.version),
            Self::NoContact(error) => {
                write!(f, "healthy, but without its repository: [{}{}] {error}", error.letter(), error.code())
            }
            Self::Failed(error) => write!(f, "[{}{}] {error}", error.letter(), error.code()),
        }
    }
}

const fn what(lost: TrustLost) -> &'static str {
    match lost {
        TrustLost::Root => "the root",
        TrustLost::Floors => "the floors",
        TrustLost::All => "root and floors",
    }
}

const fn why(reason: Reason) -> &'static str {
    match reason {
        Reason::Active => "it is the active one",
        Reason::Trial { .. } => "it is on trial",
        Reason::TriesSpent => "the one on trial has no try left",
        Reason::TrialDamaged => "the one on trial is damaged",
        Reason::TryNotRecorded => "a try could not be taken from the one on trial",
        Reason::ActiveDamaged => "the active one is damaged",
    }
}

/// Numbers and names go over the wire, and the words stay in the host's copy of the program.
#[cfg(feature = "defmt")]
mod wire {
    use super::{Candidate, Change, Decision, Error, Event, Request, what, why};

    impl defmt::Format for Event<'_> {
        fn format(&self, f: defmt::Formatter<'_>) {
            match self {
                Self::TrustLost(lost) => {
                    defmt::write!(f, "trust lost ({=str}): starting from the factory's facts", what(*lost));
                }
                Self::Fetch(Request { path, from, .. }) => {
                    defmt::write!(f, "fetches {=str} from byte {=u32} on", path.as_str(), *from);
                }
                Self::Stored(Change::Root) => defmt::write!(f, "root stored"),
                Self::Stored(Change::Floors) => defmt::write!(f, "floors stored"),
                Self::Selected(Candidate { sequence, version, image, .. }) => defmt::write!(
                    f,
                    "release {=u32} ({=str}), {=u32} bytes",
                    *sequence,
                    version.as_str(),
                    image.length
                ),
                Self::PassedOver(sequence) => {
                    defmt::write!(
                        f,
                        "release {=u32} is passed over: its image failed here before",
                        *sequence
                    );
                }
                Self::Resumed(received) => {
                    defmt::write!(f, "goes on behind {=u32} bytes that are there already", *received);
                }
                Self::Download { received, length } => {
                    defmt::write!(f, "{=u32} of {=u32} bytes", *received, *length);
                }
                Self::Staged(image) => {
                    defmt::write!(f, "{=str} is in its slot, read back", image.version.as_str())
                }
                Self::Pending(image) => {
                    defmt::write!(f, "{=str} will be tried at the next start", image.version.as_str());
                }
                Self::Start(Decision { start, reason, .. }) => {
                    defmt::write!(f, "starts {=str}: {=str}", start.version.as_str(), why(*reason));
                }
                Self::Confirmed(image) => defmt::write!(f, "{=str} is confirmed", image.version.as_str()),
                Self::Reverted(image) => defmt::write!(f, "{=str} is given up", image.version.as_str()),
                Self::NoContact(error) => {
                    defmt::write!(f, "healthy, but without its repository: {}", *error);
                }
                Self::Failed(error) => defmt::write!(f, "{}", *error),
            }
        }
    }

    /// The letter and the number, which `tuffet` and the documents explain.
    impl defmt::Format for Error {
        fn format(&self, f: defmt::Formatter<'_>) {
            defmt::write!(f, "[{=char}{=u16}]", self.letter(), self.code());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TransportFault;

    extern crate std;
    use std::string::ToString as _;

    #[test]
    fn events_are_said_in_words() {
        for (event, words) in [
            (
                Event::TrustLost(TrustLost::Floors),
                "trust lost (the floors): starting from the factory's facts",
            ),
            (Event::Fetch(&Request::whole("timestamp.json", 9).expect("short")), "fetches timestamp.json"),
            (
                Event::Fetch(&Request { from: 4096, ..Request::whole("targets/a", 9).expect("short") }),
                "fetches targets/a from byte 4096 on",
            ),
            (Event::Resumed(4096), "goes on behind 4096 bytes that are there already"),
            (
                Event::Failed(TransportFault::Busy { code: 503, after: 60 }.into()),
                "[A628] the server is busy (status 503) and asks to be left alone for 60 s",
            ),
        ] {
            assert_eq!(event.to_string(), words);
        }
    }
}
