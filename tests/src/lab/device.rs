//! A device that lives through a scenario, and may lose its power at any operation of its flash.

use std::collections::BTreeSet;

use tuffet_agent::agent::drive;
use tuffet_agent::boot::SlotImage;
use tuffet_agent::engine::{Engine, Outcome, Source, Want, Work};
use tuffet_agent::handover::{Direct, EmbassyBoot, Handover, Mcuboot};
use tuffet_agent::product::{Ask, Health, Now};
use tuffet_agent::{Error, Event, Flash, Product, SlotId, provision};
use tuffet_client::Clock;

use super::loader::{Loader, Place};
use super::mcuboot_model::Way;
use super::nor::{Cut, Nor, Operation};
use super::oracle::Oracle;
use super::world::{CRYPTO, Release, Scenario, ServerFault, World};
use crate::simulator::NOW;

/// Starts that are more than any life takes: an image that crashes gets three trials of three tries each.
const STARTS: usize = 30;

/// Turns that are more than any start takes.
const TURNS: usize = 20;

/// The device's name in rollouts.
const ID: &[u8] = b"lamp-17";

/// How a life went on until it ended, or was interrupted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// The power is gone.
    Cut,
    /// There is nothing left to do.
    Settled,
}

/// A device with a flash of this geometry.
#[derive(Clone, Debug)]
pub struct Device<'w, const ERASE: usize, const WRITE: usize> {
    world: &'w World,
    place: Place,
    nor: Nor<ERASE, WRITE>,
    oracle: Oracle<'w>,
    /// Operations that were the bootloader's.
    booting: BTreeSet<usize>,
    /// What happens to a fetch, counted from here on.
    fault: Option<(usize, ServerFault)>,
    /// What was asked for, and how long that is.
    fetches: Vec<(String, usize)>,
    #[cfg(feature = "seeded-bugs")]
    pub(super) bug: Option<super::bugs::Bug>,
}

impl<'w, const ERASE: usize, const WRITE: usize> Device<'w, ERASE, WRITE> {
    /// A device that has left the factory, and has seen the repository once.
    ///
    /// # Errors
    /// What should not happen without any cut, in words.
    pub fn new(world: &'w World, loader: Loader, erased: u8) -> Result<Self, String> {
        let longest = world.releases.iter().map(|release| release.image.len()).max().unwrap_or(0);
        let place = loader.place::<ERASE, WRITE>(erased, longest);
        let mut nor = place.blank();
        let mut flash = Flash::new(&mut nor, place.map).map_err(in_words)?;
        let factory = world.factory(&world.releases[0]);
        provision(&mut flash, &CRYPTO, &factory, &world.factory_image()).map_err(in_words)?;
        let mut device = Device {
            world,
            place,
            nor,
            oracle: Oracle::new(world, place),
            booting: BTreeSet::new(),
            fault: None,
            fetches: Vec::new(),
            #[cfg(feature = "seeded-bugs")]
            bug: None,
        };
        device.oracle.look(&device.nor, None)?;
        device.live()?;
        device.oracle.stage = World::RELEASED;
        device.fetches.clear();
        device.plan(None);
        Ok(device)
    }

    /// Forgets the flash's operations so far, and plans a cut among the next.
    pub fn plan(&mut self, cut: Option<Cut>) {
        self.nor.plan(cut);
        self.booting.clear();
    }

    /// Chooses the bits that a cut leaves half-way.
    pub fn disturb(&mut self, noise: u8) {
        self.nor.disturb(noise);
    }

    /// What was done to the flash since [`Device::plan`].
    #[must_use]
    pub fn operations(&self) -> &[Operation] {
        &self.nor.operations
    }

    /// Whether the bootloader survives such a cut in what was done since [`Device::plan`]; see
    /// [`LEFT_OUT`](super::loader::LEFT_OUT).
    #[must_use]
    pub fn survives(&self, cut: Cut) -> bool {
        let (is_own, crashes) =
            (self.booting.contains(&cut.operation), self.world.scenario == Scenario::Crash);
        self.place.survives(cut.tear, &self.nor.operations[cut.operation], is_own, crashes)
    }

    /// The power comes back.
    ///
    /// # Errors
    /// What must not be on the flash, whatever the moment of the cut.
    pub fn power_on(&mut self) -> Result<(), String> {
        self.nor.power_on();
        self.plan(None);
        self.oracle.look(&self.nor, None)
    }

    /// Lives until there is nothing left to do, or the power is gone.
    ///
    /// # Errors
    /// What no device may do, in words.
    pub fn live(&mut self) -> Result<Stop, String> {
        for _ in 0..STARTS {
            let stop = self.start();
            if !self.nor.powered() {
                return Ok(Stop::Cut);
            }
            if let Some(stop) = stop? {
                return Ok(stop);
            }
            self.oracle.look(&self.nor, None)?;
        }
        Err(format!("after {STARTS} starts there is still something to do"))
    }

    /// One start, to the next restart. What it says counts only if there is power.
    fn start(&mut self) -> Result<Option<Stop>, String> {
        let before = self.nor.operations.len();
        let started = self.boot();
        self.booting.extend(before..self.nor.operations.len());
        let (slot, named) = started?;
        let running = self.oracle.judge_start(&self.nor, slot, named.as_ref())?;
        if running.sequence > 1 && self.world.scenario == Scenario::Crash {
            return Ok(None);
        }
        #[cfg(feature = "seeded-bugs")]
        if let Some(image) = &named
            && !self.go_wrong(image, running)?
        {
            return Ok(None);
        }
        match self.place.loader {
            Loader::Direct => self.run(Direct { running: Some(running.digest) }, running),
            Loader::Embassy => {
                let flash = Flash::new(&mut self.nor, self.place.map).map_err(in_words)?;
                let handover = EmbassyBoot::new(&flash, self.place.extra).map_err(in_words)?;
                self.run(handover, running)
            }
            Loader::Mcuboot(way) => {
                let reserved = self.place.model(way).reserved();
                self.run(Mcuboot { using_offset: way == Way::Offset, reserved }, running)
            }
        }
    }

    /// What the bootloader starts.
    fn boot(&mut self) -> Result<(SlotId, Option<SlotImage>), String> {
        #[cfg(feature = "seeded-bugs")]
        if let Some(started) = self.boot_wrongly() {
            return started.map(|image| (image.slot, Some(image))).map_err(in_words);
        }
        self.place.boot(&mut self.nor)
    }

    /// What an image does once it runs: turn after turn, until it wants a restart or there is nothing to do.
    fn run<H>(&mut self, handover: H, running: &Release) -> Result<Option<Stop>, String>
    where
        H: for<'n> Handover<&'n mut Nor<ERASE, WRITE>>,
    {
        let Self { world, place, nor, oracle, fault, fetches, .. } = self;
        let second = running.sequence == 2;
        let mut lamp = Lamp {
            health: if second && world.scenario == Scenario::Unfit { Health::Bad } else { Health::Good },
            busy: false,
            lost: false,
        };
        let flash = Flash::new(nor, place.map).map_err(in_words)?;
        let mut engine = Engine::new(flash, handover, &CRYPTO, world.factory(running), ID);
        let mut work = Work::default();
        for _ in 0..TURNS {
            let stage = oracle.stage;
            lamp.busy = world.scenario == Scenario::Withdrawn && stage < World::LATER;
            let mut mirror = world.mirror(stage);
            mirror.fault = *fault;
            let (outcome, want) = match engine.turn(&mut work, Source::Repository, &mut lamp) {
                Ok(mut turn) => {
                    let outcome = drive(&mut turn, &mut mirror, &mut lamp);
                    (outcome, turn.want())
                }
                Err(error) => (Err(error), engine.after(&error, &mut lamp)),
            };
            oracle.downloaded += mirror.image_bytes;
            // Those of the turns to come are counted on.
            let met = fault.is_some_and(|(at, _)| at < mirror.fetches.len());
            *fault = fault.map(|(at, fault)| (at.wrapping_sub(mirror.fetches.len()), fault));
            fetches.append(&mut mirror.fetches);
            let nor = engine.flash_mut().nor_mut();
            if !nor.powered() {
                return Ok(Some(Stop::Cut));
            }
            if lamp.lost {
                return Err("trust was lost".to_owned());
            }
            oracle.look(nor, Some(running))?;
            match (outcome, want) {
                (_, Want::Restart) => return Ok(None),
                (Ok(Outcome::UpToDate), _) if oracle.stage == stage => return Ok(Some(Stop::Settled)),
                (
                    Ok(Outcome::Spent | Outcome::NotAllowed | Outcome::Undecided(_) | Outcome::Staged(_)),
                    _,
                ) => {
                    return Err("it waits for nothing".to_owned());
                }
                (Ok(Outcome::NoContact(_, error)) | Err(error), _) if !met && !explained(&error, nor) => {
                    return Err(format!("with power: {error}"));
                }
                // It waits, and goes on.
                _ => {}
            }
        }
        Err(format!("after {TURNS} turns there is still something to do"))
    }

    /// What was asked for until now, and how long that is.
    #[must_use]
    pub fn fetches(&self) -> &[(String, usize)] {
        &self.fetches
    }

    /// Something happens to this fetch, counted from 0.
    pub fn meet(&mut self, fetch: usize, fault: ServerFault) {
        self.fault = Some((fetch, fault));
    }

    /// Whether a device that has nothing left to do is where it should be, after so many cuts.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge_end(&mut self, cuts: usize) -> Result<(), String> {
        self.oracle.look(&self.nor, None)?;
        self.oracle.judge_end(ERASE, cuts)
    }

    /// The same without a cut, where so many bytes of images may have come once more.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge_end_and(&mut self, again: usize) -> Result<(), String> {
        self.oracle.look(&self.nor, None)?;
        self.oracle.judge_end_and(0, again)
    }

    #[cfg(feature = "seeded-bugs")]
    pub(super) fn fetched(&mut self, bytes: usize) {
        self.oracle.downloaded = self.oracle.downloaded.max(bytes);
    }

    #[cfg(feature = "seeded-bugs")]
    pub(super) fn parts(&mut self) -> (&mut Nor<ERASE, WRITE>, tuffet_agent::FlashMap, &'w World) {
        (&mut self.nor, self.place.map, self.world)
    }
}

/// Whether a cut that is over explains an error: a word that it left half-way refused a write, or the record reads
/// otherwise than a moment ago.
fn explained<const ERASE: usize, const WRITE: usize>(error: &Error, nor: &mut Nor<ERASE, WRITE>) -> bool {
    nor.take_refusal() || matches!(error, Error::Misuse(_)) && !nor.is_stable(&(0..usize::MAX))
}

/// The product around the agent.
struct Lamp {
    health: Health,
    /// This is no time for a restart.
    busy: bool,
    /// The agent lost its trust.
    lost: bool,
}

impl Product for Lamp {
    fn now(&mut self) -> Now {
        Clock::At(NOW).into()
    }

    fn may(&mut self, what: Ask<'_>) -> bool {
        !(self.busy && matches!(what, Ask::Restart(_)))
    }

    fn health(&mut self, _: &SlotImage) -> Health {
        self.health
    }

    fn observe(&mut self, event: Event<'_>) {
        self.lost |= matches!(event, Event::TrustLost(_));
    }
}

pub(super) fn in_words(error: impl core::fmt::Display) -> String {
    error.to_string()
}

/// Why torn words of one byte are left out for embassy-boot: its own confirmation asks for a swap then, of slots that were
/// swapped already.
#[test]
fn torn_confirmation_of_one_byte() {
    use super::nor::Tear;

    let world = World::new(Scenario::Update, 700);
    let factory = Device::<256, 1>::new(&world, Loader::Embassy, 0xFF).unwrap();
    let mut whole = factory.clone();
    whole.live().unwrap();
    let state = factory.place.extra.offset as usize;
    // The first is the request's, the next the confirmation's.
    let magic = |operation: &Operation| matches!(operation, Operation::Write(range) if range.start == state);
    let operations = whole.operations().iter().enumerate();
    let (confirmation, _) = operations.filter(|(_, operation)| magic(operation)).nth(1).unwrap();
    let mixed = (0..=u8::MAX).filter(|noise| {
        let mut device = factory.clone();
        device.disturb(*noise);
        device.plan(Some(Cut { operation: confirmation, tear: Tear::Within { done: 0 } }));
        device.live().unwrap();
        device.power_on().unwrap();
        device.start().is_err_and(|why| why.contains("mixed"))
    });
    // Four bits must be written, one must not be yet, and three may be as they like.
    assert_eq!(mixed.count(), 8);
}
