//! The hand-over of images to bootloaders, with cuts within any operation of agent and bootloader, and again while both
//! recover.
//!
//! A device leaves the factory with one image. It is to get a second one, which is good, unfit, crashes at each start, or
//! is withdrawn before its first start; and then a third one, which is good, so that what the second one left behind
//! must not be in its way. Bootloaders are `decide_boot`, embassy-boot's own, and a [model](super::mcuboot_model) of
//! MCUboot's.
//!
//! # What bootloaders of others do not survive
//!
//! Cuts leave the worst that a flash's data sheet promises (see [`nor`](super::nor)) wherever the agent writes for
//! itself, and wherever a bootloader erases a page again before it goes on. They leave less in these places, for what
//! the bootloader does there is not the agent's to mend:
//!
//! | where | left out | because |
//! |---|---|---|
//! | embassy-boot's state | words that cannot be read, or read as they please | it reads them all at each start and goes no further; a note of progress that is there for one step and not for the next mixes images |
//! | the same, of a write unit of one byte | torn words | `D0` and `C0` on their way from `FF` may read as `F0`, which asks for a swap: the test `torn_confirmation_of_one_byte` |
//! | MCUboot's trailer in the primary slot | words that cannot be read | it stops |
//! | what MCUboot itself writes into trailers | words that read as they please | as for embassy-boot |
//! | two of those words, if the new image crashes | torn | it does not go back, and the image that could mend this does not run |

mod record;

use core::cell::RefCell;
use core::fmt;
use core::num::NonZeroU64;
use core::ops::Range;
use std::collections::BTreeSet;

use embassy_boot::{BootLoader, BootLoaderConfig};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use sha2::{Digest as _, Sha256};
use tuffet_agent::boot::{BootRecord, SlotImage, Unfit, decide_boot};
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::handover::{Direct, EmbassyBoot, Handover, Mcuboot, Standing};
use tuffet_agent::{Environment, Error, Flash, SlotId};

use super::mcuboot_model::{Model, Way, image};
use super::nor::{Cut, Nor, Operation, Tear};
use super::raw::Places;
use record::Record;

/// Starts that are more than any life takes.
const STARTS: usize = 20;

/// A bootloader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loader {
    /// `decide_boot`.
    Direct,
    /// embassy-boot.
    Embassy,
    /// The model of MCUboot.
    Mcuboot(Way),
}

impl Loader {
    /// All of them.
    pub const ALL: [Loader; 6] = [
        Loader::Direct,
        Loader::Embassy,
        Loader::Mcuboot(Way::Scratch),
        Loader::Mcuboot(Way::Move),
        Loader::Mcuboot(Way::Offset),
        Loader::Mcuboot(Way::Overwrite),
    ];
}

/// What becomes of the second image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It is confirmed.
    Good,
    /// It finds itself unfit.
    Unfit,
    /// It never comes to say anything.
    Crash,
    /// It is taken back before it was started.
    Withdrawn,
}

impl Fate {
    /// All of them.
    pub const ALL: [Fate; 4] = [Fate::Good, Fate::Unfit, Fate::Crash, Fate::Withdrawn];
}

/// A kind of flash.
#[derive(Clone, Copy, Debug)]
pub struct Geometry {
    /// Erase unit, write unit and erased value.
    pub name: &'static str,
    sweep: fn(&Life, u8, &Plan) -> Result<Count, String>,
    erased: u8,
    /// Bytes of the three images.
    lengths: [usize; 3],
}

/// The flashes of the sweep. The images are a few pages each, and never as many.
pub const GEOMETRIES: [Geometry; 4] = [
    Geometry { name: "256/4/ff", sweep: sweep::<256, 4>, erased: 0xFF, lengths: [400, 700, 500] },
    Geometry { name: "2048/8/ff", sweep: sweep::<2048, 8>, erased: 0xFF, lengths: [900, 2300, 700] },
    Geometry { name: "256/1/ff", sweep: sweep::<256, 1>, erased: 0xFF, lengths: [700, 300, 500] },
    Geometry { name: "512/16/00", sweep: sweep::<512, 16>, erased: 0x00, lengths: [600, 1100, 500] },
];

/// How much is tried.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What chooses.
    pub seed: u64,
    /// Of the places within an operation, for each thing that a cut may leave there, one is tried at one operation in so
    /// many. Cuts before and after each are tried always.
    pub share: NonZeroU64,
    /// Second cuts for each first one.
    pub second: u64,
}

/// What was tried.
#[derive(Clone, Copy, Debug, Default)]
pub struct Count {
    /// Operations of a life without a cut.
    pub operations: usize,
    /// Cases with one cut, no two of them the same.
    pub once: usize,
    /// Cases with two.
    pub twice: usize,
}

impl Count {
    /// Both of them.
    pub fn add(&mut self, Count { operations, once, twice }: &Count) {
        self.operations += operations;
        self.once += once;
        self.twice += twice;
    }
}

/// A life that is cut.
#[derive(Clone, Copy, Debug)]
struct Life {
    loader: Loader,
    fate: Fate,
    lengths: [usize; 3],
}

/// Tries all of it for one bootloader on one kind of flash. None if they do not go together.
///
/// # Errors
/// The first case in which something happened that must not, in words.
pub fn sweep_loader(loader: Loader, geometry: Geometry, plan: &Plan) -> Result<Option<Count>, String> {
    if loader == Loader::Embassy && geometry.erased == 0 {
        return Ok(None);
    }
    let mut all = Count::default();
    for fate in Fate::ALL {
        // Without a way back an image that crashes is the end.
        if (loader, fate) == (Loader::Mcuboot(Way::Overwrite), Fate::Crash) {
            continue;
        }
        let life = Life { loader, fate, lengths: geometry.lengths };
        let count = (geometry.sweep)(&life, geometry.erased, plan);
        all.add(&count.map_err(|why| format!("{loader:?}, {fate:?}, {}: {why}", geometry.name))?);
    }
    Ok(Some(all))
}

fn sweep<const ERASE: usize, const WRITE: usize>(
    life: &Life,
    erased: u8,
    plan: &Plan,
) -> Result<Count, String> {
    let factory = Device::<ERASE, WRITE>::new(*life, erased)?;
    let mut whole = factory.clone();
    whole.live().and_then(|_| whole.judge_end(0)).map_err(|why| format!("uncut: {why}"))?;
    let mut count = Count { operations: whole.nor().operations.len(), ..Count::default() };
    let mut tried = BTreeSet::new();
    for first in whole.cuts(plan) {
        assert!(tried.insert((first, None)), "{first:?} is tried twice");
        let failed = |why| format!("{first:?}: {why}");
        let cut = factory.cut(first).map_err(failed)?;
        let mut recovered = cut.clone();
        recovered.live().and_then(|_| recovered.judge_end(1)).map_err(failed)?;
        count.once += 1;
        for number in 0..plan.second {
            let Some(second) = recovered.pick(mix(plan.seed, &(first, number))) else { break };
            if !tried.insert((first, Some(second))) {
                continue;
            }
            let failed = |why| format!("{first:?}, then {second:?}: {why}");
            let mut again = cut.cut(second).map_err(failed)?;
            again.live().and_then(|_| again.judge_end(2)).map_err(failed)?;
            count.twice += 1;
        }
    }
    Ok(count)
}

/// How a life went on until it ended, or was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stop {
    Cut,
    Settled,
}

/// A device, and what is remembered of it outside.
#[derive(Clone, Debug)]
struct Device<const ERASE: usize, const WRITE: usize> {
    life: Life,
    images: [Vec<u8>; 3],
    flash: Flash<Nor<ERASE, WRITE>>,
    /// embassy-boot's state; MCUboot's scratch area.
    extra: Region,
    /// The boot record when it was looked at last.
    seen: Option<Record>,
    /// How trials of the second image ended, by their number.
    ended: BTreeSet<(u32, u8)>,
    /// The image that ran last.
    ran: usize,
    /// How often the second image ran after another one.
    installed: usize,
    /// Numbers of operations that were the bootloader's.
    loaders: BTreeSet<usize>,
}

impl<const ERASE: usize, const WRITE: usize> Device<ERASE, WRITE> {
    fn new(life: Life, erased: u8) -> Result<Self, String> {
        let (map, extra) = map::<ERASE, WRITE>(life, erased);
        let images = [0, 1, 2].map(|number| image(life.lengths[number], number.to_le_bytes()[0]));
        let mut nor = Nor::new(map.capacity().max(extra.end()), erased);
        nor.takes_all_bits_again = life.loader == Loader::Embassy;
        nor.forge(map.slot(SlotId::A).offset as usize, &images[0]);
        let flash = Flash::new(nor, map).map_err(|error| error.to_string())?;
        let (seen, ended, loaders) = (None, BTreeSet::new(), BTreeSet::new());
        let mut device = Device { life, images, flash, extra, seen, ended, ran: 0, installed: 0, loaders };
        let factory = BootRecord::factory(device.slot_image(0, SlotId::A));
        let stored = factory.store(&mut device.flash).and_then(|()| factory.store_apart(&mut device.flash));
        stored.map_err(|error| error.to_string())?;
        device.look()?;
        device.plan(None);
        Ok(device)
    }

    fn plan(&mut self, cut: Option<Cut>) {
        self.flash.nor_mut().plan(cut);
        self.loaders.clear();
    }

    fn nor(&mut self) -> &mut Nor<ERASE, WRITE> {
        self.flash.nor_mut()
    }

    /// This device after a cut, with its power back.
    fn cut(&self, cut: Cut) -> Result<Self, String> {
        let mut device = self.clone();
        device.nor().disturb(mix(0, &cut).to_le_bytes()[0]);
        device.plan(Some(cut));
        if device.live()? == Stop::Settled {
            return Err("the cut was never reached".to_owned());
        }
        device.nor().power_on();
        device.plan(None);
        device.look()?;
        Ok(device)
    }

    /// Lives until there is nothing left to do, or the power is gone.
    fn live(&mut self) -> Result<Stop, String> {
        for _ in 0..STARTS {
            let stop = self.start();
            if !self.nor().powered() {
                return Ok(Stop::Cut);
            }
            if let Some(stop) = stop? {
                return Ok(stop);
            }
            self.look()?;
        }
        Err(format!("after {STARTS} starts there is still something to do"))
    }

    /// One start, to the next restart. What it says counts only if there is power.
    fn start(&mut self) -> Result<Option<Stop>, String> {
        let before = self.nor().operations.len();
        let started = self.boot();
        let after = self.nor().operations.len();
        self.loaders.extend(before..after);
        let slot = started?;
        let running = self.running(slot)?;
        if running == 1 && self.ran != 1 {
            self.installed += 1;
        }
        self.ran = running;
        if running == 1 && self.life.fate == Fate::Crash {
            return Ok(None);
        }
        match self.life.loader {
            Loader::Direct => {
                let running = Some(Sha256::digest(&self.images[running]).into());
                self.turn(Direct { running })
            }
            Loader::Embassy => {
                let handover = EmbassyBoot::new(&self.flash, self.extra);
                self.turn(handover.map_err(|error| error.to_string())?)
            }
            Loader::Mcuboot(way) => {
                let reserved = self.model(way).reserved();
                self.turn(Mcuboot { using_offset: way == Way::Offset, reserved })
            }
        }
    }

    /// What the bootloader does; then the image of this slot runs.
    fn boot(&mut self) -> Result<SlotId, String> {
        match self.life.loader {
            Loader::Direct => match decide_boot(&mut self.flash) {
                Ok(decision) => Ok(decision.start.slot),
                Err(error) => Err(format!("nothing starts: {error}")),
            },
            Loader::Embassy => {
                let [active, dfu] = [SlotId::A, SlotId::B].map(|slot| self.flash.map().slot(slot));
                let state = self.extra;
                let nor = RefCell::new(self.flash.nor_mut());
                let [active, dfu, state] = [active, dfu, state].map(|region| Partition { nor: &nor, region });
                let mut loader = BootLoader::new(BootLoaderConfig { active, dfu, state });
                let mut buffer = [0; ERASE];
                match loader.prepare_boot(&mut buffer) {
                    Ok(_) => Ok(SlotId::A),
                    Err(error) => Err(format!("nothing starts: {error:?}")),
                }
            }
            Loader::Mcuboot(way) => match self.model(way).boot(self.flash.nor_mut()) {
                Ok(()) => Ok(SlotId::A),
                Err(halt) => Err(format!("nothing starts: {halt:?}")),
            },
        }
    }

    /// What an agent does in its turn.
    fn turn<H: Handover<Nor<ERASE, WRITE>>>(&mut self, mut handover: H) -> Result<Option<Stop>, String> {
        let done = self.try_turn(&mut handover)?;
        match done {
            Ok(stop) => Ok(stop),
            // It restarts, and the bootloader goes back.
            Err(Error::Environment(Environment::GivenUpRuns)) => Ok(None),
            // It says so, and tries again.
            Err(_) if self.nor().take_refusal() => Ok(None),
            // The record reads otherwise than a moment ago.
            Err(Error::Misuse(_)) if !self.nor().is_stable(&(0..usize::MAX)) => Ok(None),
            Err(error) => Err(format!("with power: {error}")),
        }
    }

    fn try_turn<H: Handover<Nor<ERASE, WRITE>>>(
        &mut self,
        handover: &mut H,
    ) -> Result<Result<Option<Stop>, Error>, String> {
        let standing = match handover.standing(&mut self.flash) {
            Ok(standing) => standing,
            Err(error) => return Ok(Err(error)),
        };
        self.look()?;
        self.judge(&standing)?;
        let Standing { record, on_trial } = standing;
        let is_second = self.ran == 1;
        if on_trial {
            let done = match self.life.fate {
                Fate::Unfit if is_second => handover.revert(&mut self.flash, Unfit::Health),
                _ => handover.confirm(&mut self.flash),
            };
            return Ok(done.map(|()| None));
        }
        if let Some(trial) = record.trial {
            let second = trial.image.digest == *Sha256::digest(&self.images[1]);
            let done = match self.life.fate {
                Fate::Withdrawn if second => handover.revert(&mut self.flash, Unfit::Withdrawn),
                _ => handover.request(&mut self.flash, &trial.image),
            };
            return Ok(done.map(|()| None));
        }
        let next = match self.ran {
            0 if self.ended.is_empty() => 1,
            0 | 1 => 2,
            _ => return Ok(Ok(Some(Stop::Settled))),
        };
        let installed = self.install(handover, &record, next);
        if installed.is_err() || (self.life.fate, next) != (Fate::Withdrawn, 1) {
            return Ok(installed);
        }
        // Something better has come before the restart.
        self.look()?;
        match handover.standing(&mut self.flash) {
            Ok(standing) => self.judge(&standing)?,
            Err(error) => return Ok(Err(error)),
        }
        Ok(handover.revert(&mut self.flash, Unfit::Withdrawn).map(|()| None))
    }

    /// Writes an image and hands it over.
    fn install<H: Handover<Nor<ERASE, WRITE>>>(
        &mut self,
        handover: &mut H,
        record: &BootRecord,
        number: usize,
    ) -> Result<Option<Stop>, Error> {
        let image = self.slot_image(number, record.active.slot.other());
        let place = handover.place(&self.flash, record);
        let is_there = record.staged == Some(image.digest)
            && self.flash.digest(place, image.length).is_ok_and(|found| found == image.digest);
        if !is_there {
            let mut record = BootRecord { staged: None, ..record.clone() };
            record.store(&mut self.flash)?;
            record.store_apart(&mut self.flash)?;
            self.write(place, number, H::HEADER_LAST)?;
            if self.flash.digest(place, image.length)? != image.digest {
                return Err(Environment::ImageNotWritten { slot: image.slot }.into());
            }
            record.staged = Some(image.digest);
            record.store(&mut self.flash)?;
        }
        handover.request(&mut self.flash, &image)?;
        Ok(None)
    }

    fn write(&mut self, place: Region, number: usize, header_last: bool) -> Result<(), Error> {
        let mut bytes = self.images[number].clone();
        bytes.resize(bytes.len().next_multiple_of(WRITE), self.flash.map().layout().erased);
        let nor = self.flash.nor_mut();
        let failed = |kind| Environment::Flash {
            operation: tuffet_agent::FlashOperation::Write,
            offset: place.offset,
            kind,
        };
        let erase = u32::try_from(ERASE).expect("a small unit");
        for at in 0..u32::try_from(bytes.len().div_ceil(ERASE)).expect("a short image") {
            nor.erase(place.offset + at * erase, place.offset + (at + 1) * erase).map_err(failed)?;
        }
        let mut pages: Vec<(u32, &[u8])> = (place.offset..).step_by(256).zip(bytes.chunks(256)).collect();
        if header_last {
            pages.rotate_left(1);
        }
        for (offset, page) in pages {
            nor.write(offset, page).map_err(failed)?;
        }
        Ok(())
    }

    fn slot_image(&self, number: usize, slot: SlotId) -> SlotImage {
        let image = &self.images[number];
        let sequence = u32::try_from(number).expect("three images");
        let version = ["1.0.0", "2.0.0", "3.0.0"][number].try_into().expect("a short version");
        let length = u32::try_from(image.len()).expect("a short image");
        SlotImage { slot, length, digest: Sha256::digest(image).into(), sequence, counter: sequence, version }
    }

    /// Which image runs: all of it, and no other.
    fn running(&self, slot: SlotId) -> Result<usize, String> {
        let start = self.flash.map().slot(slot).offset as usize;
        let whole = |image: &&Vec<u8>| {
            let range = start..start + image.len();
            self.flash.nor().is_readable(&range) && self.flash.nor().bytes()[range] == ***image
        };
        let found = self.images.iter().position(|image| whole(&image));
        found.ok_or_else(|| "what runs is mixed".to_owned())
    }

    /// Whether what the hand-over says is so.
    fn judge(&self, Standing { record, on_trial }: &Standing) -> Result<(), String> {
        let running = Sha256::digest(&self.images[self.ran]);
        let trial = record.trial.as_ref().map(|trial| trial.image.digest);
        let is_active = record.active.digest == *running;
        match on_trial {
            true if trial != Some(running.into()) => Err(format!("another image is on trial: {record:?}")),
            false if !is_active => Err(format!("another image is active: {record:?}")),
            _ => Ok(()),
        }
    }

    /// The boot record's bytes. A frame of which a cut left bits that read as they please counts or does not.
    fn record(&self, unstable_too: bool) -> Result<Record, String> {
        let Layout { boot, trust, write_unit, erased, .. } = *self.flash.map().layout();
        let journals = [boot, trust].map(|region| region.offset as usize..region.end() as usize);
        let (unit, write_unit) = (write_unit.max(16) as usize, write_unit as usize);
        let places = Places { journals, slots: [0..0, 0..0], unit, write_unit, erased };
        let nor = self.flash.nor();
        let readable =
            |range: &Range<usize>| nor.is_readable(range) && (unstable_too || nor.is_stable(range));
        Record::read(nor.bytes(), &readable, &places).ok_or("no boot record is left".to_owned())
    }

    /// Looks at the boot record.
    fn look(&mut self) -> Result<(), String> {
        let record = self.record(false)?;
        let digests: Vec<[u8; 32]> = self.images.iter().map(|image| Sha256::digest(image).into()).collect();
        if !digests.contains(&record.active) {
            return Err("the active image is none of the three".to_owned());
        }
        if self.life.loader != Loader::Direct && record.slot != 0 {
            return Err("the active image is said to be in slot B".to_owned());
        }
        if let Some(seen) = &self.seen {
            let number = |of: &Record| of.ended.as_ref().map_or(0, |ended| ended.0);
            for (kept, what) in [
                (record.counter >= seen.counter, "the security counter"),
                (record.trials >= seen.trials, "the number of trials"),
                (number(&record) >= number(seen), "the trial that ended last"),
            ] {
                if !kept {
                    return Err(format!("{what} went back: {seen:?}, then {record:?}"));
                }
            }
        }
        if let Some((number, digest, end)) = &record.ended
            && *digest == digests[1]
        {
            self.ended.insert((*number, *end));
        }
        self.seen = Some(record);
        Ok(())
    }

    /// Whether a device that has nothing left to do is where it should be.
    fn judge_end(&mut self, cuts: usize) -> Result<(), String> {
        self.look()?;
        let seen = self.record(true)?;
        let (confirmed, reverted, spent, withdrawn) = (0, 1, 2, 4);
        let Life { loader, fate, .. } = self.life;
        let overwrites = loader == Loader::Mcuboot(Way::Overwrite);
        let mut ends = match fate {
            Fate::Unfit if !overwrites => vec![reverted],
            Fate::Crash => vec![spent],
            Fate::Withdrawn => vec![withdrawn],
            Fate::Good | Fate::Unfit => vec![confirmed],
        };
        let swaps = loader != Loader::Direct;
        match fate {
            // The one start is lost; or MCUboot does not know that it has swapped, and what runs is there to stay.
            Fate::Good | Fate::Unfit if swaps && cuts > 0 => ends.extend([spent, confirmed]),
            // It was on its way when it was taken back.
            Fate::Withdrawn if swaps && cuts > 1 => ends.extend([spent, confirmed]),
            Fate::Withdrawn if cuts > 0 => ends.push(confirmed),
            _ => {}
        }
        let told = &self.ended;
        let numbers: BTreeSet<u32> = told.iter().map(|(number, _)| *number).collect();
        for (so, what) in [
            (self.ran == 2, "another image runs"),
            (seen.active == Sha256::digest(&self.images[2])[..], "another image is active"),
            (seen.trial.is_none(), "an image is still on trial"),
            (!told.is_empty(), "nothing is known of the second image"),
            (told.iter().all(|(_, end)| ends.contains(end)), "the second image ended for no reason"),
            (numbers.len() == told.len(), "a trial ended twice"),
            (self.installed <= 1 + cuts, "the second image was installed again and again"),
            (seen.trials as usize <= 2 + cuts, "there were more trials than cuts explain"),
        ] {
            if !so {
                return Err(format!("in the end {what}: {seen:?}, {told:?}, {} times", self.installed));
            }
        }
        Ok(())
    }

    /// Cuts of this life.
    fn cuts(&self, plan: &Plan) -> Vec<Cut> {
        let mut cuts = Vec::new();
        for (number, operation) in self.flash.nor().operations.iter().enumerate() {
            let at = |tear| Cut { operation: number, tear };
            cuts.extend([at(Tear::Before), at(Tear::After)]);
            for (kind, tear) in self.tears(number, operation).into_iter().enumerate() {
                let chance = mix(plan.seed, &(number, kind));
                if chance.is_multiple_of(plan.share.get()) {
                    let done = (chance / plan.share) % operation.range().len() as u64;
                    cuts.push(at(tear(usize::try_from(done).unwrap_or(0))));
                }
            }
        }
        cuts
    }

    /// One cut of this life.
    fn pick(&self, chance: u64) -> Option<Cut> {
        let pick = |of: &str, count: usize| usize::try_from(mix(chance, &of) % count as u64).unwrap_or(0);
        let operations = &self.flash.nor().operations;
        let operation = pick("operation", operations.len().max(1));
        let what = operations.get(operation)?;
        let tears = self.tears(operation, what);
        let tear = match pick("tear", tears.len() + 2) {
            0 => Tear::Before,
            1 => Tear::After,
            other => tears[other - 2](pick("done", what.range().len())),
        };
        Some(Cut { operation, tear })
    }

    /// What a cut may leave of an operation, if the bootloader is to survive it.
    fn tears(&self, number: usize, operation: &Operation) -> Vec<fn(usize) -> Tear> {
        let torn: fn(usize) -> Tear = |done| Tear::Within { done };
        let unreadable: fn(usize) -> Tear = |done| Tear::Unreadable { done };
        let unstable: fn(usize) -> Tear = |done| Tear::Unstable { done };
        let range = operation.range();
        let within =
            |region: Region| range.start < region.end() as usize && range.end > region.offset as usize;
        let slot = |slot| self.flash.map().slot(slot);
        let loader = self.loaders.contains(&number);
        match self.life.loader {
            Loader::Embassy if within(self.extra) && WRITE == 1 => vec![],
            Loader::Embassy if within(self.extra) => vec![torn],
            Loader::Mcuboot(way) => {
                let model = self.model(way);
                let is_write = matches!(operation, Operation::Write(_));
                let points = model.points_of_no_return();
                let reserved = model.reserved();
                let trailer = |slot: Region| Region { offset: slot.end() - reserved, length: reserved };
                let [primary, secondary] = [SlotId::A, SlotId::B].map(|id| within(trailer(slot(id))));
                let crash = self.life.fate == Fate::Crash;
                match (loader, primary, secondary) {
                    (true, ..) if crash && is_write && points.into_iter().any(within) => vec![],
                    (true, true, _) | (true, _, true) => vec![torn],
                    (false, true, _) => vec![torn, unstable],
                    _ => vec![torn, unreadable, unstable],
                }
            }
            Loader::Direct | Loader::Embassy => vec![torn, unreadable, unstable],
        }
    }

    fn model(&self, way: Way) -> Model {
        let layout = self.flash.map().layout();
        let [primary, secondary] = [layout.slot_a, layout.slot_b];
        let (sector, unit, erased) = (layout.erase_unit, layout.write_unit.max(8), layout.erased);
        Model { way, primary, secondary, scratch: self.extra, sector, unit, erased }
    }
}

fn map<const ERASE: usize, const WRITE: usize>(life: Life, erased: u8) -> (FlashMap, Region) {
    let unit = |bytes: usize| u32::try_from(bytes.next_multiple_of(ERASE)).expect("a small flash");
    let mut end = 0;
    let mut region = |length: u32| {
        let offset = end;
        end += length;
        Region { offset, length }
    };
    let (boot, trust) = (region(2 * unit(320)), region(2 * unit(1664)));
    let longest = life.lengths.into_iter().max().unwrap_or(0);
    // For MCUboot a trailer and a page to move by; for embassy-boot a page to swap by.
    let (more_a, more_b) = match life.loader {
        Loader::Direct => (0, 0),
        Loader::Embassy => (0, ERASE),
        Loader::Mcuboot(_) => (3 * ERASE, 3 * ERASE),
    };
    let slot_a = region(unit(longest + more_a));
    let slot_b = region(unit(longest + more_b));
    let extra = region(unit(1));
    let (erase_unit, write_unit) = (unit(ERASE), u32::try_from(WRITE).expect("a small unit"));
    let layout = Layout { erase_unit, write_unit, erased, boot, trust, slot_a, slot_b };
    (FlashMap::new(layout).expect("a map that can be"), extra)
}

/// A part of a flash that several share, as embassy-boot's loader wants it.
struct Partition<'f, F> {
    nor: &'f RefCell<F>,
    region: Region,
}

impl<F> ErrorType for Partition<'_, F> {
    type Error = NorFlashErrorKind;
}

impl<F: NorFlash<Error = NorFlashErrorKind>> ReadNorFlash for Partition<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        assert!(offset as usize + bytes.len() <= self.capacity());
        self.nor.borrow_mut().read(self.region.offset + offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.region.length as usize
    }
}

impl<F: NorFlash<Error = NorFlashErrorKind>> NorFlash for Partition<'_, F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        assert!(offset as usize + bytes.len() <= self.capacity());
        self.nor.borrow_mut().write(self.region.offset + offset, bytes)
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        assert!(from <= to && to <= self.region.length);
        self.nor.borrow_mut().erase(self.region.offset + from, self.region.offset + to)
    }
}

/// A number that follows from a seed and a thing, and looks like any (SplitMix64 over what is shown of it).
fn mix(seed: u64, of: &dyn fmt::Debug) -> u64 {
    format!("{of:?}").bytes().fold(seed, |state, byte| {
        let mut z = (state ^ u64::from(byte)).wrapping_add(0x9E37_79B9_7F4A_7C15);
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    })
}

/// Why torn words of one byte are left out for embassy-boot: its own confirmation asks for a swap then, of slots that were
/// swapped already.
#[test]
fn torn_confirmation_of_one_byte() {
    let life = Life { loader: Loader::Embassy, fate: Fate::Good, lengths: GEOMETRIES[2].lengths };
    let factory = Device::<256, 1>::new(life, 0xFF).unwrap();
    let mut whole = factory.clone();
    whole.live().unwrap();
    // The first is the request's, the next the confirmation's.
    let magic = |operation: &Operation| matches!(operation, Operation::Write(range) if range.start == factory.extra.offset as usize);
    let operations = whole.flash.nor().operations.iter().enumerate();
    let (confirmation, _) = operations.filter(|(_, operation)| magic(operation)).nth(1).unwrap();
    let mixed = (0..=u8::MAX).filter(|noise| {
        let mut device = factory.clone();
        device.nor().disturb(*noise);
        device.plan(Some(Cut { operation: confirmation, tear: Tear::Within { done: 0 } }));
        device.live().unwrap();
        device.nor().power_on();
        device.start().is_err_and(|why| why == "what runs is mixed")
    });
    // Four bits must be written, one must not be yet, and three may be as they like.
    assert_eq!(mixed.count(), 8);
}
