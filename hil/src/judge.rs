//! What is on a device's flash, read from its bytes: by the laboratory's own reader, which links none of the agent's code.

use core::fmt;
use core::ops::Range;

use tuffet_hil_protocol::board::Part;
use tuffet_tests::lab::raw::{Ended, Facts, Named, Places, end};
use tuffet_tests::simulator::digest;

use crate::board::Board;
use crate::world::World;

/// What a flash says, with names for its images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The active image, all of whose bytes are in its slot.
    pub active: String,
    /// The image on trial.
    pub trial: Option<String>,
    /// The last trial that ended: its image, and how.
    pub ended: Option<(String, &'static str)>,
    /// Images with something against them, and how much.
    pub failures: Vec<(String, u8)>,
    /// Versions of root, timestamp and snapshot.
    pub versions: [u32; 3],
    /// The security counter.
    pub counter: u32,
}

impl Verdict {
    /// Reads a flash.
    ///
    /// # Errors
    /// What must not be on any flash, in words.
    pub fn read(world: &World<'_>, flash: &[u8]) -> Result<Verdict, String> {
        let board = world.firmware.board;
        let facts = facts(board, flash)?;
        let name = |digest: &[u8; 32]| match world.image(digest) {
            Some(image) => Ok(image.version.clone()),
            None => Err("the record names an image that nobody built".to_owned()),
        };
        let trial = facts.trial.as_ref().map(|(trial, _)| name(&trial.digest)).transpose()?;
        let active = name(&facts.active.digest)?;
        // A swapping bootloader has the active image in slot B while another one is on trial.
        if trial.is_none() || !board.swaps() {
            whole(board, flash, &facts.active)?;
        }
        let ended = match &facts.ended {
            None => None,
            Some(Ended { digest, how, .. }) => Some((name(digest)?, how_it_ended(*how)?)),
        };
        let failures: Result<_, String> =
            facts.failures.iter().map(|(digest, count)| Ok((name(digest)?, *count))).collect();
        let [timestamp, snapshot] = facts.online;
        let versions = [facts.root, timestamp, snapshot];
        Ok(Verdict { active, trial, ended, failures: failures?, versions, counter: facts.counter })
    }
}

/// What is the same on both flashes, of what a device that refuses a release leaves alone: lines for an outcome.
#[must_use]
pub fn untouched(board: Board, before: &[u8], after: &[u8]) -> String {
    let layout = board.layout();
    let same = |parts: &[Part]| {
        let mut ranges = parts.iter().map(|part| part.offset as usize..part.end() as usize);
        ranges.all(|range| before[range.clone()] == after[range])
    };
    let mut lines = String::new();
    if same(&[layout.boot]) {
        lines += "= boot record as it was\n";
    }
    let slots = [Some(layout.slot_a), Some(layout.slot_b), layout.state];
    if same(&slots.into_iter().flatten().collect::<Vec<_>>()) {
        lines += "= slots as they were\n";
    }
    lines
}

/// What a flash says, number by number.
///
/// # Errors
/// What is missing, in words.
pub fn facts(board: Board, flash: &[u8]) -> Result<Facts, String> {
    Facts::read(flash, &|_| true, &places(board))
}

/// Whether all bytes of an image are in its slot.
fn whole(board: Board, flash: &[u8], image: &Named) -> Result<(), String> {
    let layout = board.layout();
    let slot = [layout.slot_a, layout.slot_b][image.slot];
    let start = slot.offset as usize;
    let bytes = flash.get(start..start + image.length).ok_or("the active image is beyond the flash")?;
    if digest(bytes) != image.digest {
        return Err("the active slot has other bytes than its image".to_owned());
    }
    Ok(())
}

fn how_it_ended(how: u8) -> Result<&'static str, String> {
    match how {
        end::CONFIRMED => Ok("confirmed"),
        end::REVERTED => Ok("reverted"),
        end::SPENT => Ok("out of tries"),
        end::DAMAGED => Ok("damaged"),
        end::WITHDRAWN => Ok("withdrawn"),
        other => Err(format!("a trial ended in a way that is none: {other}")),
    }
}

fn places(board: Board) -> Places {
    let layout = board.layout();
    let range =
        |Part { offset, length }: Part| -> Range<usize> { offset as usize..(offset + length) as usize };
    let write_unit = layout.write_unit as usize;
    Places {
        journals: [layout.boot, layout.trust].map(range),
        slots: [layout.slot_a, layout.slot_b].map(range),
        unit: write_unit.max(16),
        write_unit,
        erased: 0xFF,
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Verdict { active, trial, ended, failures, versions: [root, timestamp, snapshot], counter } = self;
        writeln!(
            f,
            "= active {active}, root {root}, timestamp {timestamp}, snapshot {snapshot}, counter {counter}"
        )?;
        if let Some(trial) = trial {
            writeln!(f, "= on trial {trial}")?;
        }
        if let Some((image, how)) = ended {
            writeln!(f, "= last trial {image} {how}")?;
        }
        for (image, count) in failures {
            writeln!(f, "= against {image}: {count}")?;
        }
        Ok(())
    }
}
