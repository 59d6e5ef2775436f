//! What a device says of itself: what runs, what was tried, and why something was refused. For a fleet's own channel; nothing
//! here is signed, and nothing is decided by it.
//!
//! Format 1, in `postcard`. All of it takes [`REPORT_MAX`] bytes at the most, and some hundred as a rule:
//!
//! | field | type |
//! |---|---|
//! | format | u8: 1 |
//! | running | version text of at most 32 bytes, sequence u32, slot (0 A, 1 B), digest 32 bytes (SHA-256) |
//! | trial | an option of: the same, tries left u8 |
//! | ended | an option of: number u32, digest 32 bytes, sequence u32, end (see [`TrialEnd`](crate::boot::TrialEnd)): how the last trial ended |
//! | last | outcome u16 (see [`Outcome::code`]), error u16 (see [`Error::code`](crate::Error::code)), or 0: the last turn that was allowed and not too early; after a restart the last one of those that did not merely find nothing new |
//! | failures | u8: turns that failed, one after the other |
//! | counter | u32: security counter |
//! | metadata | root, timestamp, snapshot, targets: u32 each, 0 for none |
//! | lost | an option of: 0 root, 1 floors, 2 both (see [`TrustLost`]) |
//! | ledger | sequence, at most 8, of: digest 32 bytes, sequence u32, count u8 |
//!
//! A reader of this format passes by what follows the ledger: later builds may add there.

use embedded_storage::nor_flash::NorFlash;
use heapless::{String, Vec};
use tuffet_client::limits::VERSION_TEXT;
use tuffet_client::wire::{Reader, Stored, Writer};

use crate::boot::{BootRecord, EndedTrial, SlotImage};
use crate::engine::{Engine, Outcome};
use crate::error::Error;
use crate::flash_map::SlotId;
use crate::ledger::{ENTRIES, Failure};
use crate::progress::Progress;
use crate::trust_store::{Trust, TrustLost};

/// The number of the format.
pub const FORMAT: u8 = 1;

/// Bytes of a report, at the most.
pub const REPORT_MAX: usize = 544;
const IMAGE: usize = 33 + 5 + 1 + 32;
const _: () = assert!(
    1 + IMAGE + (1 + IMAGE + 1) + (1 + 5 + 32 + 5 + 1) + 6 + 1 + 5 + 20 + 2 + (1 + 38 * ENTRIES)
        <= REPORT_MAX,
    "a full report fits"
);

/// A report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// [`FORMAT`].
    pub format: u8,
    /// The active image, or the one on trial if that is what runs.
    pub running: Image,
    /// The image that is pending or on trial, and the starts that are left to it.
    pub trial: Option<(Image, u8)>,
    /// How the last trial ended.
    pub ended: Option<EndedTrial>,
    /// The last turn that did not merely wait: [`Outcome::code`], and the code of its error. 0 for none. After a restart, and until
    /// there was such a turn, it is the last one that did more than find nothing new.
    pub last: (u16, u16),
    /// Turns that failed, one after the other.
    pub failures: u8,
    /// The security counter.
    pub counter: u32,
    /// Versions of root, timestamp, snapshot and targets.
    pub metadata: [u32; 4],
    /// What of the trust store is lost.
    pub lost: Option<TrustLost>,
    /// What there is against which images.
    pub ledger: Vec<Failure, ENTRIES>,
}

/// An image in a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What people call it.
    pub version: String<32>,
    /// The release's sequence.
    pub sequence: u32,
    /// Where it lies.
    pub slot: SlotId,
    /// SHA-256.
    pub digest: [u8; 32],
}

impl Report {
    /// Writes the report into a buffer of [`REPORT_MAX`] bytes; none if that is too small.
    pub fn encode<'b>(&self, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
        let mut to = Writer::new(buffer);
        self.write(&mut to);
        to.done()
    }

    /// Reads a report, as a gateway does. None for one of another format, or for what is no report.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader::new(bytes);
        let report = Self::read(&mut from);
        (from.is_good() && report.format == FORMAT).then_some(report)
    }
}

impl Stored for Report {
    fn write(&self, to: &mut Writer<'_>) {
        to.byte(self.format);
        self.running.write(to);
        to.option(self.trial.is_some());
        if let Some((image, tries_left)) = &self.trial {
            image.write(to);
            to.byte(*tries_left);
        }
        self.ended.write(to);
        let (outcome, error) = self.last;
        to.number(outcome.into());
        to.number(error.into());
        to.byte(self.failures);
        to.number(self.counter);
        self.metadata.iter().for_each(|version| to.number(*version));
        self.lost.write(to);
        to.length(self.ledger.len());
        self.ledger.iter().for_each(|failure| failure.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let code = |from: &mut Reader<'_>| {
            u16::try_from(from.number()).unwrap_or_else(|_| {
                from.fail();
                0
            })
        };
        Self {
            format: from.byte(),
            running: Image::read(from),
            trial: if from.option() { Some((Image::read(from), from.byte())) } else { None },
            ended: Stored::read(from),
            last: (code(from), code(from)),
            failures: from.byte(),
            counter: from.number(),
            metadata: [from.number(), from.number(), from.number(), from.number()],
            lost: Stored::read(from),
            ledger: (0..from.length(ENTRIES)).map(|_| Failure::read(from)).collect(),
        }
    }
}

impl Stored for Image {
    fn write(&self, to: &mut Writer<'_>) {
        to.length(self.version.len());
        to.bytes(self.version.as_bytes());
        to.number(self.sequence);
        self.slot.write(to);
        to.bytes(&self.digest);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let length = from.length(VERSION_TEXT);
        let version =
            core::str::from_utf8(from.bytes(length)).ok().and_then(|text| String::try_from(text).ok());
        if version.is_none() {
            from.fail();
        }
        let (version, sequence) = (version.unwrap_or_default(), from.number());
        Self { version, sequence, slot: SlotId::read(from), digest: from.array() }
    }
}

impl<F: NorFlash, H> Engine<'_, F, H> {
    /// What the device says of itself now.
    ///
    /// # Errors
    ///
    /// Those of [`BootRecord::load`] and [`Trust::load`].
    pub fn report(&mut self) -> Result<Report, Error> {
        let (last, on_trial) = self.last();
        let flash = self.flash_mut();
        let BootRecord { active, trial, ended, .. } = BootRecord::load(flash)?;
        let progress = Progress::load(flash);
        let Trust { trusted, memory, lost } = self.trust()?;
        let (root, floors) = (trusted.root(), trusted.floors());
        let online = [floors.timestamp_version(), floors.snapshot_version(), floors.targets_version()];
        let [timestamp, snapshot, targets] = online.map(Option::unwrap_or_default);
        let running = trial.as_ref().filter(|_| on_trial).map_or(&active, |trial| &trial.image);
        Ok(Report {
            format: FORMAT,
            running: running.into(),
            trial: trial.as_ref().map(|trial| ((&trial.image).into(), trial.tries_left)),
            ended,
            last: if last == (0, 0) { progress.last } else { last },
            failures: progress.failures,
            counter: memory.counter.max(active.counter),
            metadata: [root.version(), timestamp, snapshot, targets],
            lost,
            ledger: memory.ledger.failures().copied().collect(),
        })
    }
}

impl From<&SlotImage> for Image {
    fn from(SlotImage { version, sequence, slot, digest, .. }: &SlotImage) -> Self {
        Self { version: version.clone(), sequence: *sequence, slot: *slot, digest: *digest }
    }
}

impl Outcome {
    /// A number for logs and reports that never changes its meaning, 700 to 799. A turn that ended in an error is
    /// [`FAILED`].
    pub const fn code(&self) -> u16 {
        match self {
            Self::UpToDate => 701,
            Self::Staged(_) => 702,
            Self::Pending(_) => 703,
            Self::Superseded => 704,
            Self::Confirmed(_) => 705,
            Self::Reverted(_) => 706,
            Self::Undecided(_) => 707,
            Self::NoContact(..) => 708,
            Self::NotAllowed => 709,
            Self::TooEarly => 710,
            Self::Spent => 711,
        }
    }
}

/// What [`Report::last`] says of a turn that ended in an error.
pub const FAILED: u16 = 700;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TransportFault;
    use crate::boot::TrialEnd;

    fn image() -> SlotImage {
        let version = String::try_from("1.0.0").expect("a short version");
        SlotImage { slot: SlotId::B, length: 1, digest: [7; 32], sequence: 300, counter: 3, version }
    }

    /// Numbers that were given away. A new outcome takes a new number; nothing here is ever changed.
    #[test]
    fn codes_stay_what_they_are() {
        let golden = [
            (Outcome::UpToDate, 701),
            (Outcome::Staged(image()), 702),
            (Outcome::Pending(image()), 703),
            (Outcome::Superseded, 704),
            (Outcome::Confirmed(image()), 705),
            (Outcome::Reverted(image()), 706),
            (Outcome::Undecided(image()), 707),
            (Outcome::NoContact(image(), TransportFault::Timeout.into()), 708),
            (Outcome::NotAllowed, 709),
            (Outcome::TooEarly, 710),
            (Outcome::Spent, 711),
        ];
        for (outcome, code) in golden {
            assert_eq!(outcome.code(), code);
        }
        assert_eq!(FAILED, 700);
    }

    #[test]
    fn report_has_the_bytes_that_its_table_says() {
        let report = Report {
            format: FORMAT,
            running: (&image()).into(),
            trial: Some(((&image()).into(), 2)),
            ended: Some(EndedTrial { number: 5, digest: [9; 32], sequence: 6, end: TrialEnd::TriesSpent }),
            last: (FAILED, 404),
            failures: 4,
            counter: 3,
            metadata: [2, 300, 5, 0],
            lost: Some(TrustLost::Floors),
            ledger: [Failure { digest: [9; 32], sequence: 6, count: 1 }].into_iter().collect(),
        };
        let running = [&b"\x051.0.0\xAC\x02\x01"[..], &[7; 32]].concat();
        let expected = [
            &[1][..],
            &running,
            &[1],
            &running,
            &[2, 1, 5],
            &[9; 32],
            &[6, 2],
            // 700 and 404 as varints.
            &[0xBC, 0x05, 0x94, 0x03],
            &[4, 3, 2, 0xAC, 0x02, 5, 0, 1, 1],
            &[1],
            &[9; 32],
            &[6, 1],
        ]
        .concat();
        let mut buffer = [0; REPORT_MAX];
        assert_eq!(report.encode(&mut buffer), Some(&expected[..]));
        assert_eq!(Report::decode(&expected).as_ref(), Some(&report));
        // What a later build adds, another format, and half a report.
        assert_eq!(Report::decode(&[&expected[..], &[1, 2, 3]].concat()).as_ref(), Some(&report));
        assert_eq!(Report::decode(&[&[2], &expected[1..]].concat()), None);
        for length in 0..expected.len() {
            assert_eq!(Report::decode(&expected[..length]), None);
        }
        assert_eq!(report.encode(&mut [0; 20]), None);
    }

    extern crate std;
}
