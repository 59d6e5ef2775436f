//! Bugs that devices have had, for the laboratory to find: one that cannot see them sees nothing.

use core::fmt;
use core::str::FromStr;

use embedded_storage::nor_flash::NorFlash as _;
use tuffet_agent::boot::{BootRecord, EndedTrial, SlotImage, Trial, TrialEnd};
use tuffet_agent::flash_map::Region;
use tuffet_agent::trust_store::{Trust, store_floors};
use tuffet_agent::{Error, Flash, SlotId};

use super::device::{Device, in_words};
use super::world::{CRYPTO, Release};

/// What is wrong with a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// An image is confirmed first, and its security counter made a floor after that.
    ConfirmBeforeFloor,
    /// An image is named, and its beginning written, before the rest of it is there; and the bootloader believes both.
    HeaderFirst,
    /// There is one boot record, and it is erased to write the next.
    SingleCopyRecord,
}

impl Bug {
    /// All of them.
    pub const ALL: [Bug; 3] = [Bug::ConfirmBeforeFloor, Bug::HeaderFirst, Bug::SingleCopyRecord];
}

impl fmt::Display for Bug {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Bug::ConfirmBeforeFloor => "confirm-before-floor",
            Bug::HeaderFirst => "header-first",
            Bug::SingleCopyRecord => "single-copy-record",
        })
    }
}

impl FromStr for Bug {
    type Err = String;

    fn from_str(name: &str) -> Result<Bug, String> {
        let found = Bug::ALL.into_iter().find(|bug| bug.to_string() == name);
        found.ok_or_else(|| format!("there are {}", Bug::ALL.map(|bug| bug.to_string()).join(", ")))
    }
}

impl<const ERASE: usize, const WRITE: usize> Device<'_, ERASE, WRITE> {
    /// The same device with this bug.
    pub(super) fn with_bug(mut self, bug: Option<Bug>) -> Self {
        self.bug = bug;
        self
    }

    /// A bootloader that does not hash what it starts.
    pub(super) fn boot_wrongly(&mut self) -> Option<Result<SlotImage, Error>> {
        if self.bug != Some(Bug::HeaderFirst) {
            return None;
        }
        let (nor, map, _) = self.parts();
        let mut choose = || {
            let mut flash = Flash::new(&mut *nor, map)?;
            let mut record = BootRecord::load(&mut flash)?;
            let mut first = vec![0; WRITE.max(16)];
            let Some(trial) = record.trial.as_mut().filter(|trial| trial.tries_left > 0) else {
                return Ok(record.active);
            };
            let at = map.slot(trial.image.slot).offset;
            let is_there = embedded_storage::nor_flash::ReadNorFlash::read(flash.nor_mut(), at, &mut first);
            if is_there.is_err() || first.iter().all(|byte| *byte == map.layout().erased) {
                return Ok(record.active);
            }
            trial.tries_left -= 1;
            let image = trial.image.clone();
            record.store(&mut flash)?;
            Ok(image)
        };
        Some(choose())
    }

    /// What the agent does wrongly before it does what it should. Whether it goes on.
    pub(super) fn go_wrong(&mut self, image: &SlotImage, running: &Release) -> Result<bool, String> {
        match self.bug {
            None => Ok(true),
            Some(Bug::ConfirmBeforeFloor) => self.confirm_early(image, running),
            Some(Bug::HeaderFirst) => self.write_late(running),
            Some(Bug::SingleCopyRecord) => self.keep_one_copy(),
        }
    }

    fn confirm_early(&mut self, image: &SlotImage, running: &Release) -> Result<bool, String> {
        let (nor, map, world) = self.parts();
        let mut flash = Flash::new(&mut *nor, map).map_err(in_words)?;
        let mut confirm = || {
            let mut record = BootRecord::load(&mut flash)?;
            if let Some(Trial { number, .. }) = record.trial.take_if(|trial| trial.image == *image) {
                record.active = SlotImage { counter: record.active.counter, ..image.clone() };
                let SlotImage { digest, sequence, .. } = *image;
                record.ended = Some(EndedTrial { number, digest, sequence, end: TrialEnd::Confirmed });
                record.store(&mut flash)?;
                let Trust { trusted, mut memory, lost } =
                    Trust::load(&mut flash, &CRYPTO, &world.factory(running))?;
                memory.counter = running.counter;
                store_floors(&mut flash, trusted.floors(), &memory, lost)?;
            }
            Ok(())
        };
        let done: Result<(), Error> = confirm();
        self.unless_cut(done)
    }

    fn write_late(&mut self, running: &Release) -> Result<bool, String> {
        let (nor, map, world) = self.parts();
        let new = &world.releases[1];
        if running.sequence >= new.sequence {
            return Ok(true);
        }
        let mut write = || {
            let mut flash = Flash::new(&mut *nor, map)?;
            let mut record = BootRecord::load(&mut flash)?;
            if record.trial.is_none() {
                record.trial = Some(pending(&record, new));
                record.trials += 1;
                record.store(&mut flash)?;
            }
            let Region { offset, length } = map.slot(SlotId::B);
            let nor = flash.into_nor();
            let mut bytes = new.image.clone();
            bytes.resize(bytes.len().next_multiple_of(WRITE), map.layout().erased);
            // What it answers is known by whether there is power.
            let _ = nor.erase(offset, offset + length);
            for (at, word) in (offset..).step_by(WRITE).zip(bytes.chunks(WRITE)) {
                let _ = nor.write(at, word);
            }
            Ok(())
        };
        let done: Result<(), Error> = write();
        // It fetches it, too, and as often as it likes.
        self.fetched(new.image.len());
        self.unless_cut(done).map(|_| false)
    }

    fn keep_one_copy(&mut self) -> Result<bool, String> {
        let (nor, map, _) = self.parts();
        let mut rewrite = || {
            let mut flash = Flash::new(&mut *nor, map)?;
            let record = BootRecord::load(&mut flash)?;
            let Region { offset, length } = map.layout().boot;
            let _ = flash.nor_mut().erase(offset, offset + length);
            record.store(&mut flash)
        };
        let done = rewrite();
        self.unless_cut(done)
    }

    fn unless_cut(&mut self, done: Result<(), Error>) -> Result<bool, String> {
        let (nor, ..) = self.parts();
        match done {
            _ if !nor.powered() => Ok(false),
            Ok(()) => Ok(true),
            Err(error) => Err(in_words(error)),
        }
    }
}

fn pending(record: &BootRecord, new: &Release) -> Trial {
    let Release { image, digest, version, sequence, counter } = new;
    let image = SlotImage {
        slot: record.active.slot.other(),
        length: u32::try_from(image.len()).expect("a short image"),
        digest: *digest,
        sequence: *sequence,
        counter: *counter,
        version: (*version).try_into().expect("a short version"),
    };
    Trial { number: record.trials + 1, image, tries_left: 3 }
}
