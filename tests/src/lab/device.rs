//! A device that lives through a scenario, and may lose its power at any operation of its flash.

use core::ops::Range;

use sha2::{Digest as _, Sha256};
use tuffet_agent::boot::{SlotImage, decide_boot};
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::{Agent, Checked, Flash, Started, provision};
use tuffet_client::Clock;

use super::nor::{Cut, Nor, Operation};
use super::raw::{Facts, Named, Places};
use super::world::{CHUNK, CRYPTO, Mirror, Release, Scenario, ServerFault, World};
use crate::simulator::NOW;

/// Starts that are more than any life takes: an image that crashes gets three trials of three tries each.
const STARTS: usize = 30;

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
    map: FlashMap,
    nor: Nor<ERASE, WRITE>,
    /// What was on the flash when it was looked at last.
    seen: Option<Facts>,
    /// Bytes of images that were downloaded.
    downloaded: usize,
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
    pub fn new(world: &'w World, erased: u8) -> Result<Self, String> {
        let longest = world.releases.iter().map(|release| release.image.len()).max().unwrap_or(0);
        let map = map::<ERASE, WRITE>(erased, longest);
        let mut nor = Nor::new(map.capacity(), erased);
        let first = &world.releases[0];
        let mut flash = Flash::new(&mut nor, map).map_err(in_words)?;
        provision(&mut flash, &CRYPTO, &world.factory(first), &world.factory_image()).map_err(in_words)?;
        let mut agent =
            Agent::new(flash, world.quiet(), &CRYPTO, world.factory(first), ID).map_err(in_words)?;
        match agent.check(&mut now, &mut |_| ()).map_err(in_words)? {
            Checked::UpToDate => {}
            other => return Err(format!("a device that is up to date: {other:?}")),
        }
        drop(agent);
        let mut device = Device {
            world,
            map,
            nor,
            seen: None,
            downloaded: 0,
            fault: None,
            fetches: Vec::new(),
            #[cfg(feature = "seeded-bugs")]
            bug: None,
        };
        device.look()?;
        device.plan(None);
        Ok(device)
    }

    /// Forgets the flash's operations so far, and plans a cut among the next.
    pub fn plan(&mut self, cut: Option<Cut>) {
        self.nor.plan(cut);
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

    /// The power comes back.
    ///
    /// # Errors
    /// What must not be on the flash, whatever the moment of the cut.
    pub fn power_on(&mut self) -> Result<(), String> {
        self.nor.power_on();
        self.plan(None);
        self.look()
    }

    /// Lives until there is nothing left to do, or the power is gone.
    ///
    /// # Errors
    /// What no device may do, in words.
    pub fn live(&mut self) -> Result<Stop, String> {
        for _ in 0..STARTS {
            match self.start()? {
                Some(stop) => return Ok(stop),
                None => self.look()?,
            }
        }
        Err(format!("after {STARTS} starts there is still something to do"))
    }

    /// One start, to the next restart.
    fn start(&mut self) -> Result<Option<Stop>, String> {
        let world = self.world;
        let decision = self.boot();
        if !self.nor.powered() {
            return Ok(Some(Stop::Cut));
        }
        let image = decision.map_err(|error| format!("nothing starts: {error}"))?;
        let running = self.judge_start(&image)?;
        let is_new = running.sequence > 1;
        if is_new && world.scenario == Scenario::Crash {
            return Ok(None);
        }
        let mut healthy = |_: &SlotImage| !is_new || world.scenario != Scenario::Unfit;
        #[cfg(feature = "seeded-bugs")]
        if !self.go_wrong(&image, running)? {
            return Ok(if self.nor.powered() { None } else { Some(Stop::Cut) });
        }
        let flash = Flash::new(&mut self.nor, self.map).map_err(in_words)?;
        let (mut mirror, factory) = (world.mirror(running), world.factory(running));
        mirror.fault = self.fault;
        let mut agent = match Agent::new(flash, mirror, &CRYPTO, factory, ID) {
            Ok(agent) => agent,
            Err(error) => return self.stopped(&error),
        };
        let mut lost = false;
        let mut observe =
            |event: tuffet_agent::Event<'_>| lost |= matches!(event, tuffet_agent::Event::TrustLost(_));
        let started = agent.started(&image.digest, &mut now, &mut healthy, &mut observe);
        let checked = match started {
            Ok(Started::Active(_) | Started::Confirmed(_)) => Some(agent.check(&mut now, &mut observe)),
            Ok(Started::Reverted(_)) => None,
            Err(error) => Some(Err(error)),
            Ok(Started::NoContact(_, error)) => Some(Err(error)),
            Ok(other) => return Err(format!("{other:?}")),
        };
        let Mirror { image_bytes, fetches, .. } = agent.transport_mut();
        self.downloaded += *image_bytes;
        // Those of the starts to come are counted on.
        let met = self.fault.is_some_and(|(at, _)| at < fetches.len());
        self.fault = self.fault.map(|(at, fault)| (at.wrapping_sub(fetches.len()), fault));
        self.fetches.append(fetches);
        drop(agent);
        if lost && self.nor.powered() {
            return Err("trust was lost".to_owned());
        }
        match checked {
            Some(Ok(Checked::UpToDate)) if self.nor.powered() => Ok(Some(Stop::Settled)),
            // A record that reads otherwise now than a moment ago may say that the trial is not over.
            None | Some(Ok(Checked::Pending(_) | Checked::UpToDate | Checked::TrialUndecided(_))) => {
                Ok(if self.nor.powered() { None } else { Some(Stop::Cut) })
            }
            Some(Ok(other)) => Err(format!("with nothing on trial: {other:?}")),
            // It says so, and tries again.
            Some(Err(_)) if met && self.nor.powered() => Ok(None),
            Some(Err(error)) => self.stopped(&error),
        }
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

    /// An error that a cut explains, or else none may.
    fn stopped(&mut self, error: &tuffet_agent::Error) -> Result<Option<Stop>, String> {
        match self.nor.powered() {
            false => Ok(Some(Stop::Cut)),
            // It says so, and tries again.
            true if self.nor.take_refusal() => Ok(None),
            true => Err(format!("with power: {error}")),
        }
    }

    /// What the bootloader starts.
    fn boot(&mut self) -> Result<SlotImage, tuffet_agent::Error> {
        #[cfg(feature = "seeded-bugs")]
        if let Some(started) = self.boot_wrongly() {
            return started;
        }
        let mut flash = Flash::new(&mut self.nor, self.map)?;
        decide_boot(&mut flash).map(|decision| decision.start)
    }

    /// Whether what starts is an image that somebody signed, all of it.
    fn judge_start(&self, image: &SlotImage) -> Result<&'w Release, String> {
        let slot = usize::from(image.slot == tuffet_agent::SlotId::B);
        let named =
            Named { slot, length: image.length as usize, digest: image.digest, counter: image.counter };
        self.judge(&named, "the image that starts")
    }

    fn judge(&self, named: &Named, what: &str) -> Result<&'w Release, String> {
        let start = self.places().slots[named.slot].start;
        let range = start..start + named.length;
        if !self.nor.is_readable(&range) {
            return Err(format!("{what} cannot be read"));
        }
        let found: [u8; 32] = Sha256::digest(&self.nor.bytes()[range]).into();
        if found != named.digest {
            return Err(format!("{what} is mixed: the slot does not have the bytes of the record"));
        }
        self.world.release_of(&found).ok_or_else(|| format!("{what} is none that was signed"))
    }

    /// Looks at the flash, whatever the device thinks of itself.
    fn look(&mut self) -> Result<(), String> {
        let readable = |range: &Range<usize>| self.nor.is_readable(range);
        let facts = Facts::read(self.nor.bytes(), &readable, &self.places())?;
        let active = self.judge(&facts.active, "the active image")?;
        if let Some((trial, _)) = &facts.trial {
            self.judge(trial, "the image on trial")?;
        }
        if facts.counter.max(facts.active.counter) < active.counter {
            return Err("the active image's security counter is no floor".to_owned());
        }
        if let Some(before) = &self.seen {
            let since = |seen: &Release| {
                self.world.release_of(&before.active.digest).is_none_or(|it| it.sequence <= seen.sequence)
            };
            // Floors of online roles are forgotten with the keys that signed them.
            let online = facts.online_since > before.online_since || facts.online >= before.online;
            for (kept, what) in [
                (since(active), "the active image"),
                (facts.root >= before.root, "the root"),
                (online && facts.online_since >= before.online_since, "a floor of an online role"),
                (facts.issued >= before.issued, "the latest date of issue"),
                (facts.counter >= before.counter, "the security counter"),
            ] {
                if !kept {
                    return Err(format!("{what} went back: {before:?}, then {facts:?}"));
                }
            }
        }
        self.seen = Some(facts);
        Ok(())
    }

    /// Whether a device that has nothing left to do is where it should be, after so many cuts. Each of them may cost the
    /// part of an image that is in the unit in which it was written, and no more.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge_end(&mut self, cuts: usize) -> Result<(), String> {
        // A cut page, and the piece that was on its way.
        self.judge_end_and(cuts * (ERASE + 256 + CHUNK))
    }

    /// The same, where so many bytes of images may have come once more.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub fn judge_end_and(&mut self, again: usize) -> Result<(), String> {
        self.look()?;
        let Some(facts) = &self.seen else { return Ok(()) };
        let (world, last) = (self.world, self.world.last());
        let refused = match world.scenario {
            Scenario::Update | Scenario::Twice => None,
            // Reverted at once, or at last out of tries; and there is enough against it that it is not tried again.
            Scenario::Unfit | Scenario::Crash => Some(world.releases[1].digest),
        };
        let (root, timestamp) = world.metadata();
        let releases =
            if world.scenario == Scenario::Twice { &world.releases[1..] } else { &world.releases[1..2] };
        let once: usize = releases.iter().map(|release| release.image.len()).sum();
        let banned: Vec<[u8; 32]> =
            facts.failures.iter().filter(|(_, count)| *count >= 3).map(|(digest, _)| *digest).collect();
        for (so, what) in [
            (facts.active.digest == last.digest, "another image is active"),
            (facts.trial.is_none(), "an image is still on trial"),
            (facts.counter == last.counter, "the security counter is another"),
            ((facts.root, facts.online[0]) == (root, timestamp), "metadata of another version are trusted"),
            (banned == Vec::from_iter(refused), "other images are given up"),
            (self.downloaded >= once, "an image came from nowhere"),
            (self.downloaded <= once + again, "more of an image came once more than was lost"),
        ] {
            if !so {
                return Err(format!("in the end {what}: {facts:?}, {} bytes of {once}", self.downloaded));
            }
        }
        Ok(())
    }

    fn places(&self) -> Places {
        let Layout { boot, trust, slot_a, slot_b, write_unit, erased, .. } = *self.map.layout();
        let range = |region: Region| region.offset as usize..region.end() as usize;
        let (unit, write_unit) = (write_unit.max(16) as usize, write_unit as usize);
        let (journals, slots) = ([boot, trust].map(range), [slot_a, slot_b].map(range));
        Places { journals, slots, unit, write_unit, erased }
    }

    #[cfg(feature = "seeded-bugs")]
    pub(super) fn parts(&mut self) -> (&mut Nor<ERASE, WRITE>, FlashMap, &'w World) {
        (&mut self.nor, self.map, self.world)
    }
}

/// The present.
pub(super) fn now() -> Clock {
    Clock::At(NOW)
}

pub(super) fn in_words(error: impl core::fmt::Display) -> String {
    error.to_string()
}

/// Everything as small as it may be, for cuts to fall on all of it.
fn map<const ERASE: usize, const WRITE: usize>(erased: u8, image_length: usize) -> FlashMap {
    let unit = |bytes: usize| u32::try_from(bytes.next_multiple_of(ERASE)).expect("a small flash");
    let mut end = 0;
    let mut region = |length: u32| {
        let offset = end;
        end += length;
        Region { offset, length }
    };
    let (boot, trust) = (region(2 * unit(320)), region(2 * unit(1664)));
    let (slot_a, slot_b) = (region(unit(image_length)), region(unit(image_length)));
    let (erase_unit, write_unit) = (unit(ERASE), u32::try_from(WRITE).expect("a small unit"));
    FlashMap::new(Layout { erase_unit, write_unit, erased, boot, trust, slot_a, slot_b })
        .expect("a map that can be")
}
