//! Who judges a device, by its flash's bytes alone, and by what it fetched.

use core::ops::Range;
use std::collections::BTreeSet;

use sha2::{Digest as _, Sha256};
use tuffet_agent::SlotId;
use tuffet_agent::boot::SlotImage;
use tuffet_agent::flash_map::{Layout, Region};

use super::loader::Place;
use super::nor::Nor;
use super::raw::{Ended, Facts, Named, Places, end};
use super::world::{CHUNK, Release, Scenario, World};

/// Bytes that an agent writes at once.
const PAGE: usize = 256;

/// What is remembered of a device outside of it.
#[derive(Clone, Debug)]
pub(super) struct Oracle<'w> {
    world: &'w World,
    place: Place,
    /// What was on the flash when it was looked at last.
    seen: Option<Facts>,
    /// How trials ended.
    ended: BTreeSet<Ended>,
    /// Bytes of images that were downloaded.
    pub(super) downloaded: usize,
    /// What the repository has by now, which follows from what became of its release.
    pub(super) stage: usize,
}

impl<'w> Oracle<'w> {
    pub(super) fn new(world: &'w World, place: Place) -> Self {
        Self { world, place, seen: None, ended: BTreeSet::new(), downloaded: 0, stage: World::QUIET }
    }

    /// The release that starts: all of its bytes are in this slot, as somebody signed them; and it is the one of the record,
    /// if the bootloader goes by that.
    pub(super) fn judge_start<const ERASE: usize, const WRITE: usize>(
        &mut self,
        nor: &Nor<ERASE, WRITE>,
        slot: SlotId,
        named: Option<&SlotImage>,
    ) -> Result<&'w Release, String> {
        let start = self.place.map.slot(slot).offset as usize;
        let is_whole = |release: &&Release| {
            let range = start..start + release.image.len();
            nor.is_readable(&range) && nor.bytes()[range] == release.image
        };
        let found =
            self.world.releases.iter().find(is_whole).ok_or("what starts is mixed, or nobody signed it")?;
        if named.is_some_and(|named| named.digest != found.digest) {
            return Err("another image starts than the record says".to_owned());
        }
        if self.world.scenario == Scenario::Twice && found.sequence > 1 {
            self.stage = World::LATER;
        }
        Ok(found)
    }

    /// Looks at the flash, whatever the device thinks of itself; between two turns with the image that runs.
    pub(super) fn look<const ERASE: usize, const WRITE: usize>(
        &mut self,
        nor: &Nor<ERASE, WRITE>,
        running: Option<&Release>,
    ) -> Result<(), String> {
        let readable = |range: &Range<usize>| nor.is_readable(range);
        let facts = Facts::read(nor.bytes(), &readable, &self.places())?;
        let active = self.judge(nor, &facts.active, "the active image")?;
        if let Some((trial, _)) = &facts.trial {
            self.judge(nor, trial, "the image on trial")?;
        }
        if facts.counter.max(facts.active.counter) < active.counter {
            return Err("the active image's security counter is no floor".to_owned());
        }
        if self.place.loader.swaps() {
            let named = |release: &Release| {
                let trial = facts.trial.as_ref().map(|(trial, _)| trial.digest);
                facts.active.digest == release.digest || trial == Some(release.digest)
            };
            if facts.active.slot != 0 {
                return Err("the active image is said to be in slot B".to_owned());
            }
            if running.is_some_and(|release| !named(release)) {
                return Err(format!("the record does not know what runs: {facts:?}"));
            }
        }
        if let Some(before) = &self.seen {
            let since = |seen: &Release| {
                self.world.release_of(&before.active.digest).is_none_or(|it| it.sequence <= seen.sequence)
            };
            let last = |facts: &Facts| facts.ended.as_ref().map_or(0, |ended| ended.number);
            // Floors of online roles are forgotten with the keys that signed them.
            let online = facts.online_since > before.online_since || facts.online >= before.online;
            for (kept, what) in [
                (since(active), "the active image"),
                (facts.root >= before.root, "the root"),
                (online && facts.online_since >= before.online_since, "a floor of an online role"),
                (facts.issued >= before.issued, "the latest date of issue"),
                (facts.counter >= before.counter, "the security counter"),
                (facts.trials >= before.trials, "the number of trials"),
                (last(&facts) >= last(before), "the trial that ended last"),
            ] {
                if !kept {
                    return Err(format!("{what} went back: {before:?}, then {facts:?}"));
                }
            }
        }
        self.go_on(&facts);
        self.ended.extend(facts.ended.clone());
        self.seen = Some(facts);
        Ok(())
    }

    /// What the repository does about its release.
    fn go_on(&mut self, facts: &Facts) {
        let release = &self.world.releases[1];
        let is_pending = || facts.trial.as_ref().is_some_and(|(trial, _)| trial.digest == release.digest);
        let over = match self.world.scenario {
            Scenario::Update | Scenario::Twice | Scenario::Crash => false,
            Scenario::Unfit => given_up(facts).any(|digest| digest == release.digest),
            Scenario::Withdrawn => is_pending(),
        };
        if over || facts.active.digest == release.digest {
            self.stage = World::LATER;
        }
    }

    /// An image that a record names. Where the bootloader swaps, it may be anywhere.
    fn judge<const ERASE: usize, const WRITE: usize>(
        &self,
        nor: &Nor<ERASE, WRITE>,
        named: &Named,
        what: &str,
    ) -> Result<&'w Release, String> {
        let known =
            self.world.release_of(&named.digest).ok_or_else(|| format!("{what} is none that was signed"))?;
        if self.place.loader.swaps() {
            return Ok(known);
        }
        let start = self.places().slots[named.slot].start;
        let range = start..start + named.length;
        if !nor.is_readable(&range) {
            return Err(format!("{what} cannot be read"));
        }
        if Sha256::digest(&nor.bytes()[range])[..] != named.digest {
            return Err(format!("{what} is mixed: the slot does not have the bytes of the record"));
        }
        Ok(known)
    }

    /// Whether a device that has nothing left to do is where it should be, after so many cuts. Each of them may cost the
    /// part of an image that is in the unit in which it was written, and no more.
    pub(super) fn judge_end(&self, erase: usize, cuts: usize) -> Result<(), String> {
        // A cut page, and the piece that was on its way.
        let mut lost = erase + PAGE + CHUNK;
        if self.place.loader.goes_by_header() {
            // Of what was not written it is known no more; and if that was cut, all of its unit goes.
            lost += erase.max(PAGE);
        }
        self.judge_end_and(cuts, cuts * lost)
    }

    /// The same, where so many bytes of images may have come once more.
    pub(super) fn judge_end_and(&self, cuts: usize, again: usize) -> Result<(), String> {
        let Some(facts) = &self.seen else { return Ok(()) };
        let (world, last, loader) = (self.world, self.world.last(), self.place.loader);
        let second = world.releases[1].digest;
        // The one start of a trial is lost; or MCUboot does not know that it has swapped, and what runs is there to stay.
        let lost_start = loader.swaps() && cuts > 0;
        let mut ends = match world.scenario {
            Scenario::Unfit if loader.goes_back() => vec![end::REVERTED],
            Scenario::Update | Scenario::Twice | Scenario::Unfit => vec![end::CONFIRMED],
            Scenario::Crash => vec![end::SPENT],
            Scenario::Withdrawn => vec![end::WITHDRAWN],
        };
        match world.scenario {
            // It ran and was undone before the record knew that it had been asked for, and now there is a better one.
            Scenario::Twice if lost_start && cuts > 1 => ends.extend([end::SPENT, end::WITHDRAWN]),
            Scenario::Update | Scenario::Twice if lost_start => ends.push(end::SPENT),
            Scenario::Unfit if lost_start => ends.extend([end::SPENT, end::CONFIRMED]),
            // It was on its way when it was taken back.
            Scenario::Withdrawn if lost_start => ends.extend([end::SPENT, end::CONFIRMED]),
            Scenario::Withdrawn if cuts > 0 => ends.push(end::CONFIRMED),
            _ => {}
        }
        let told = || self.ended.iter().filter(|ended| ended.digest == second);
        let numbers: BTreeSet<u32> = self.ended.iter().map(|ended| ended.number).collect();
        // Reverted at once, or at last out of tries; and there is enough against it that it is not tried again.
        let refused = match world.scenario {
            Scenario::Update | Scenario::Twice | Scenario::Withdrawn => false,
            Scenario::Unfit => told().any(|ended| ended.how == end::REVERTED),
            Scenario::Crash => true,
        };
        let (releases, trials) = match world.scenario {
            Scenario::Update => (&world.releases[1..2], 1),
            Scenario::Crash => (&world.releases[1..2], 3),
            Scenario::Twice | Scenario::Unfit | Scenario::Withdrawn => (&world.releases[1..], 2),
        };
        let (root, timestamp) = world.metadata();
        let once: usize = releases.iter().map(|release| release.image.len()).sum();
        for (so, what) in [
            (facts.active.digest == last.digest, "another image is active"),
            (facts.trial.is_none(), "an image is still on trial"),
            (facts.counter == last.counter, "the security counter is another"),
            ((facts.root, facts.online[0]) == (root, timestamp), "metadata of another version are trusted"),
            (given_up(facts).eq(refused.then_some(second)), "other images are given up"),
            (told().next().is_some(), "nothing is known of the release"),
            (told().all(|ended| ends.contains(&ended.how)), "the release ended for no reason"),
            (numbers.len() == self.ended.len(), "a trial ended twice"),
            (facts.trials as usize <= trials + cuts, "there were more trials than cuts explain"),
            (self.downloaded >= once, "an image came from nowhere"),
            (self.downloaded <= once + again, "more of an image came once more than was lost"),
        ] {
            if !so {
                let Self { ended, downloaded, .. } = self;
                return Err(format!("in the end {what}: {facts:?}, {ended:?}, {downloaded} bytes of {once}"));
            }
        }
        Ok(())
    }

    fn places(&self) -> Places {
        let Layout { boot, trust, slot_a, slot_b, write_unit, erased, .. } = *self.place.map.layout();
        let range = |region: Region| region.offset as usize..region.end() as usize;
        let (unit, write_unit) = (write_unit.max(16) as usize, write_unit as usize);
        let (journals, slots) = ([boot, trust].map(range), [slot_a, slot_b].map(range));
        Places { journals, slots, unit, write_unit, erased }
    }
}

/// Images with enough against them.
fn given_up(facts: &Facts) -> impl Iterator<Item = [u8; 32]> {
    facts.failures.iter().filter(|(_, count)| *count >= 3).map(|(digest, _)| *digest)
}
