//! Power cuts: the emulator is killed within an operation of the flash, or at any moment; what was under way is left
//! half-done, as by a real cut; and the device is switched on again.
//!
//! An update is recorded once, operation by operation, with the flash as it was at each start of the device. A cut is made by
//! running the start in which it falls up to that operation, killing the emulator, and tearing the operation in the flash's
//! bytes. Then the device runs until it sleeps, and must have installed the release.
//!
//! The same cut is made in the laboratory's simulator: for any moment, at the operation that was begun last, as far as it had come.
//! Its flash must be the board's, byte for byte, at the cut, and say the same in the end.

use core::time::Duration;
use std::collections::BTreeSet;
use std::time::Instant;

use tuffet_hil_protocol::stamp::Behaviour;
use tuffet_tests::lab::nor::{Cut, Operation, Tear};

use crate::firmware::Firmware;
use crate::judge::{Verdict, facts};
use crate::machine::{Halt, Machine, PATIENCE, Watch};
use crate::simulate::{live, tear};
use crate::world::{Wanted, World};
use crate::{Failure, in_parallel};

/// The release that is installed.
const RELEASE: &str = "1.0.0";

/// Starts that a device may need to have waited long enough after a cut: each halves its pause.
const STARTS: usize = 8;

/// One start of an update.
#[derive(Debug)]
struct Start {
    /// The flash when it began.
    flash: Vec<u8>,
    /// What it did to the flash, with what it wrote.
    operations: Vec<(Operation, Vec<u8>)>,
    /// How long it took, with a debugger that looks on.
    took: Duration,
}

/// An update without a cut.
pub struct Recording<'f> {
    world: World<'f>,
    starts: Vec<Start>,
    end: Verdict,
}

/// Where the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Moment {
    /// At an operation of a start.
    Operation(Cut, u8),
    /// So many milliseconds after a start; what is under way then is torn by this noise.
    Time(u64, u8),
}

impl Moment {
    /// Chooses the bits that change half-way.
    fn noise(self) -> u8 {
        match self {
            Moment::Operation(_, noise) | Moment::Time(_, noise) => noise,
        }
    }
}

/// What a round of cuts came to.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Cuts after which all was well, on the board and as the simulator has it.
    pub survived: usize,
    /// Of them, those that left an operation half-done.
    pub within: usize,
    /// Different ones: of what, and how far it had come.
    pub distinct: usize,
    /// What was not well: where, and what.
    pub failed: Vec<String>,
}

impl<'f> Recording<'f> {
    /// Lets a device install its first release, and looks on.
    ///
    /// # Errors
    /// What keeps it from doing so.
    pub fn new(firmware: &'f Firmware) -> Result<Recording<'f>, Failure> {
        let mut world = World::new(firmware)?;
        // It is the cuts that fail here. A failed turn is to be tried again soon.
        world.page.retry = 4;
        let wanted = Wanted { version: RELEASE, behaviour: Behaviour::Well, counter: 1, rollout: None };
        world.release(&wanted)?;
        let mut flash = world.flash_at_start();
        let mut machine = Machine::start(firmware, &flash, world.files()?, Watch::Operations)?;
        let (mut starts, mut operations, mut began) = (Vec::new(), Vec::new(), Instant::now());
        let mut is_first = true;
        loop {
            match machine.run(PATIENCE)? {
                Halt::Operation(operation, bytes) => operations.push((operation, bytes)),
                Halt::Reset if core::mem::replace(&mut is_first, false) => {}
                Halt::Reset => {
                    let next = machine.flash()?;
                    starts.push(Start { flash, operations, took: began.elapsed() });
                    (flash, operations, began) = (next, Vec::new(), Instant::now());
                }
                Halt::Off(true) => break,
                halt => return Err(format!("an update without a cut came to {halt:?}").into()),
            }
        }
        let last = machine.flash()?;
        machine.switch_off()?;
        starts.push(Start { flash, operations, took: began.elapsed() });
        let end = Verdict::read(&world, &last)?;
        if end.active != RELEASE {
            return Err(format!("an update without a cut ended like this:\n{end}").into());
        }
        Ok(Recording { world, starts, end })
    }

    /// Operations of the flash, one start after the other.
    #[must_use]
    pub fn operations(&self) -> Vec<usize> {
        self.starts.iter().map(|start| start.operations.len()).collect()
    }

    /// Whether the simulated device does to its flash what the board did.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn compare(&self) -> Result<(), Failure> {
        let simulated = live(&self.world, self.starts[0].flash.clone(), None)?.operations;
        let board = self.starts.iter().flat_map(|start| &start.operations).map(|(operation, _)| operation);
        let board: Vec<&Operation> = board.collect();
        for number in 0..board.len().max(simulated.len()) {
            let (board, simulator) = (board.get(number).copied(), simulated.get(number));
            if board != simulator {
                return Err(format!(
                    "operation {number}: the board does {board:x?}, the simulator {simulator:x?}"
                )
                .into());
            }
        }
        Ok(())
    }

    /// So many moments, spread over the update: most at an operation, one in five at any time.
    #[must_use]
    pub fn moments(&self, count: usize, seed: u64) -> Vec<(usize, Moment)> {
        let mut random = Random(seed);
        let all: Vec<(usize, usize)> = self
            .starts
            .iter()
            .enumerate()
            .flat_map(|(start, recorded)| {
                (0..recorded.operations.len()).map(move |operation| (start, operation))
            })
            .collect();
        let mut moments = Vec::new();
        for number in 0..count {
            if number % 5 == 4 {
                let start = random.below(self.starts.len() as u64) as usize;
                let took = self.starts[start].took.as_millis() as u64;
                moments.push((start, Moment::Time(random.below(took.max(1)), random.below(256) as u8)));
                continue;
            }
            // Spread evenly over those that are at an operation, and by chance within each share.
            let (nth, of) = ((number - number / 5) as u64, (count - count / 5) as u64);
            let share = (all.len() as u64).div_ceil(of).max(1);
            let at = (nth * all.len() as u64 / of + random.below(share)) as usize;
            let (start, operation) = all[at % all.len()];
            let length = self.starts[start].operations[operation].0.range().len();
            let tear = match random.below(8) {
                0 => Tear::Before,
                1 => Tear::After,
                _ => Tear::Within { done: random.below(length as u64) as usize },
            };
            moments.push((start, Moment::Operation(Cut { operation, tear }, random.below(256) as u8)));
        }
        moments
    }

    /// Makes these cuts, so many at a time. `watch` hears of each that is over.
    pub fn cut(&self, moments: &[(usize, Moment)], jobs: usize, watch: &(dyn Fn() + Sync)) -> Tally {
        let outcomes = in_parallel(jobs, moments, &|(start, moment)| {
            let cut = self.cut_at(*start, *moment);
            watch();
            cut.map(|cut| (*start, cut)).map_err(|error| format!("start {start}, {moment:?}: {error}"))
        });
        let (mut tally, mut cuts) = (Tally::default(), BTreeSet::new());
        for outcome in outcomes {
            match outcome {
                Ok((start, cut)) => {
                    tally.survived += 1;
                    tally.within += usize::from(matches!(cut.tear, Tear::Within { .. }));
                    cuts.insert((start, cut));
                }
                Err(error) => tally.failed.push(error),
            }
        }
        tally.distinct = cuts.len();
        tally
    }

    /// The cut that it came to.
    fn cut_at(&self, start: usize, moment: Moment) -> Result<Cut, Failure> {
        let (torn, cut) = self.torn(start, moment)?;
        let simulated = live(&self.world, self.starts[start].flash.clone(), Some((cut, moment.noise())))?;
        let behind = self.world.firmware.board.layout().bootloader.map_or(0, |part| part.end() as usize);
        if let Some(at) = (behind..torn.len()).find(|at| torn[*at] != simulated.flash[*at]) {
            let (board, simulator) = (torn[at], simulated.flash[at]);
            return Err(format!(
                "at {cut:?}, byte {at:#x} is {board:#04x} on the board, {simulator:#04x} in the simulator"
            )
            .into());
        }
        let board = self.recover(torn.clone(), &|flash| {
            let (firmware, files) = (self.world.firmware, self.world.files()?);
            Ok(Machine::live(firmware, &flash, files, Watch::End, &mut |_| ())?.flash)
        })?;
        let end = Verdict::read(&self.world, &board)?;
        if !self.is_end(&end) {
            return Err(format!("it ended like this:\n{end}").into());
        }
        let simulated = self.recover(torn, &|flash| Ok(live(&self.world, flash, None)?.flash))?;
        let both = [&board, &simulated].map(|flash| facts(self.world.firmware.board, flash));
        match both {
            [Ok(board), Ok(simulator)] if board == simulator => Ok(cut),
            [board, simulator] => {
                Err(format!("in the end the board has {board:?}\nand the simulator {simulator:?}").into())
            }
        }
    }

    /// The flash after a cut, and which cut that was.
    fn torn(&self, start: usize, moment: Moment) -> Result<(Vec<u8>, Cut), Failure> {
        let recorded = &self.starts[start];
        let mut machine =
            Machine::start(self.world.firmware, &recorded.flash, self.world.files()?, Watch::Operations)?;
        let (began, mut count, mut last) = (Instant::now(), 0, None);
        let patience = match moment {
            Moment::Operation(..) => PATIENCE,
            Moment::Time(milliseconds, _) => Duration::from_millis(milliseconds),
        };
        let mut is_first = true;
        loop {
            // A core that only stands still for its debugger lives on a little.
            match machine.run(patience.saturating_sub(began.elapsed()).max(Duration::from_micros(100)))? {
                Halt::Reset if core::mem::replace(&mut is_first, false) => {}
                Halt::Operation(operation, bytes) => {
                    if let Moment::Operation(cut, noise) = moment
                        && cut.operation == count
                    {
                        let mut flash = machine.flash()?;
                        machine.switch_off()?;
                        tear(&mut flash, &operation, &bytes, cut.tear, noise);
                        return Ok((flash, cut));
                    }
                    count += 1;
                    last = Some((operation, bytes));
                }
                Halt::Late if matches!(moment, Moment::Time(..)) => break,
                halt => match moment {
                    // It was faster than when it was recorded, and is cut earlier.
                    Moment::Time(milliseconds @ 1.., noise) if halt != Halt::Off(false) => {
                        return self.torn(start, Moment::Time(milliseconds / 2, noise));
                    }
                    _ => {
                        return Err(
                            format!("before the cut it came to {halt:?}, after {count} operations").into()
                        );
                    }
                },
            }
        }
        // Any moment: what was begun last is over, or under way.
        let mut flash = machine.flash()?;
        machine.switch_off()?;
        let Some((operation, bytes)) = last else {
            return Ok((flash, Cut { operation: 0, tear: Tear::Before }));
        };
        let tear_at = under_way(&flash, &operation, &bytes, moment.noise());
        if tear_at != Tear::After {
            tear(&mut flash, &operation, &bytes, tear_at, moment.noise());
        }
        Ok((flash, Cut { operation: count - 1, tear: tear_at }))
    }

    /// Lives, start after start, until the release is installed; `start` says what is on the flash after one.
    fn recover(
        &self,
        mut flash: Vec<u8>,
        start: &dyn Fn(Vec<u8>) -> Result<Vec<u8>, Failure>,
    ) -> Result<Vec<u8>, Failure> {
        for _ in 0..STARTS {
            flash = start(flash)?;
            if self.is_end(&Verdict::read(&self.world, &flash)?) {
                break;
            }
        }
        Ok(flash)
    }

    /// Whether the release is installed, and everything is as without a cut; but a cut during a trial is a start that it
    /// lost.
    fn is_end(&self, verdict: &Verdict) -> bool {
        let Verdict { active, trial, versions, counter, .. } = verdict;
        let end = &self.end;
        (active, trial, versions, counter) == (&end.active, &end.trial, &end.versions, &end.counter)
    }
}

/// How far an operation is that was begun. The emulated flash does it at once, or a byte after the other; a real one takes its
/// time, so that noise says how far one is of which the emulator did nothing.
fn under_way(flash: &[u8], operation: &Operation, bytes: &[u8], noise: u8) -> Tear {
    let now = &flash[operation.range()];
    let (is_complete, done) = match operation {
        Operation::Write(_) => {
            (now == bytes, now.iter().rposition(|byte| *byte != 0xFF).map_or(0, |last| last + 1))
        }
        Operation::Erase(_) => (now.iter().all(|byte| *byte == 0xFF), 0),
    };
    match is_complete {
        true => Tear::After,
        false => Tear::Within { done: done.max(usize::from(noise) * now.len() / 256).min(now.len() - 1) },
    }
}

/// Numbers that are the same for the same seed (SplitMix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_an_operation_is_follows_from_the_bytes() {
        let bytes = [0x11, 0xFF, 0x22, 0x33];
        let write = Operation::Write(4..8);
        for (now, noise, expected) in [
            ([0x11, 0xFF, 0x22, 0x33], 0, Tear::After),
            ([0x11, 0xFF, 0xFF, 0xFF], 0, Tear::Within { done: 1 }),
            ([0x11, 0xFF, 0x22, 0xFF], 0, Tear::Within { done: 3 }),
            ([0x11, 0xFF, 0xFF, 0xFF], 128, Tear::Within { done: 2 }),
            ([0xFF; 4], 0, Tear::Within { done: 0 }),
            ([0xFF; 4], 255, Tear::Within { done: 3 }),
        ] {
            let flash = [[0; 4], now].concat();
            assert_eq!(under_way(&flash, &write, &bytes, noise), expected, "{now:x?} {noise}");
        }
        let erase = Operation::Erase(0..4);
        assert_eq!(under_way(&[0xFF; 4], &erase, &[], 9), Tear::After);
        assert_eq!(under_way(&[0; 4], &erase, &[], 64), Tear::Within { done: 1 });
    }
}
