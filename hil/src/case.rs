//! Scenarios: what happens to a device, line by line, and what it said and has on its flash afterwards.
//!
//! A case is a file in `hil/cases`, its expected outcome stands beside it. Lines of a case are commands, and `#` begins a
//! remark:
//!
//! | command | what happens |
//! |---|---|
//! | `boards NAME…` | it is for these boards alone |
//! | `retry SECONDS`, `deadline SECONDS` | the device's patience; without them a failure ends a start |
//! | `clock DAYS` | the device has one, which is so many days ahead; else it has none |
//! | `release VERSION [BEHAVIOUR] [counter N] [rollout now\|later]` | a release is built, signed by two and published |
//! | `rotate` | a new root has other online keys |
//! | `revoke` | a new root has another key for one release holder |
//! | `withdraw`, `pause` | the newest release is taken back, or no longer handed out |
//! | `steal COUNT` | a thief has both online keys and so many release keys |
//! | `attack NAME` | the mirror is somebody else's: one of the demo's, or `thief` or `old-targets` of who stole |
//! | `fault FILE FAULT` | the mirror fails for `image` or a file: `status CODE`, `busy SECONDS`, `drop PERCENT`, `hang`, `endless`, `redirect`; with `once` behind it for one request |
//! | `honest` | the mirror is honest again |
//! | `bundle` | files come from a bundle of what is published now |
//! | `cut-before-trial` | the device is switched on, and its power goes when it starts anew to try an image |
//! | `damage-trial` | a bit of the image to be tried changes while the device is off |
//! | `start` | the device is switched on, and runs until it sleeps |
//!
//! Behaviours are `well`, `hangs`, `crashes`, `unfit` and `alone`.

use core::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use tuffet::demo::attacker::Attack;
use tuffet::demo::mirror::Fault;
use tuffet::release::Ramp;
use tuffet::release::change::Change;
use tuffet_hil_protocol::stamp::Behaviour;
use tuffet_tests::simulator::{DAY, NOW};

use crate::Failure;
use crate::board::Board;
use crate::firmware::Firmware;
use crate::judge::{Verdict, untouched};
use crate::machine::{Asleep, Halt, Machine, PATIENCE, Watch};
use crate::measure::stack_budget;
use crate::world::{Wanted, World};

/// The first words of lines that a device says the same each time.
const STABLE: [&str; 7] = ["start", "turn", "wait", "restart", "asleep", "trust", "panicked"];

/// A scenario.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its name.
    pub name: String,
    /// What it is about: its first remark.
    pub about: String,
    /// The boards that it is for.
    pub boards: Vec<Board>,
    /// Its commands, and their line numbers.
    commands: Vec<(usize, Vec<String>)>,
    /// Where its outcome stands.
    expected: PathBuf,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct Played {
    /// What the device said and had on its flash.
    pub outcome: String,
    /// The most bytes of stack that it used.
    pub stack: u64,
}

/// Whether a case came out as expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did.
    Same,
    /// It did not come out like this, if anything was expected.
    Other(Option<String>),
}

impl Case {
    /// All cases below a directory, by name.
    ///
    /// # Errors
    /// What is wrong with a file.
    pub fn all(directory: &Path) -> Result<Vec<Case>, Failure> {
        let mut cases = Vec::new();
        let entries = fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        for entry in entries {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "case") {
                cases.push(Case::read(&path)?);
            }
        }
        cases.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(cases)
    }

    fn read(path: &Path) -> Result<Case, Failure> {
        let text = fs::read_to_string(path)?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let about =
            text.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default().to_owned();
        let mut case = Case {
            name,
            about,
            boards: Board::ALL.to_vec(),
            commands: Vec::new(),
            expected: path.with_extension("expected"),
        };
        for (index, line) in text.lines().enumerate() {
            let words: Vec<String> =
                line.split('#').next().unwrap_or_default().split_whitespace().map(str::to_owned).collect();
            match words.split_first() {
                None => {}
                Some((first, boards)) if first == "boards" => {
                    case.boards = boards.iter().map(|name| name.parse()).collect::<Result<_, _>>()?;
                }
                Some(_) => case.commands.push((index + 1, words)),
            }
        }
        Ok(case)
    }

    /// Plays it, and says what came out. `hear` is told all that the device said, after each start.
    ///
    /// # Errors
    /// What keeps it from being played, or a stack that is over its budget.
    pub fn play(&self, firmware: &Firmware, hear: &mut dyn FnMut(&str)) -> Result<Played, Failure> {
        let mut world = World::new(firmware)?;
        let (mut outcome, mut stack) = (String::new(), 0);
        let mut listen = |line: &str| {
            hear(line);
            if let Some(bytes) = line.strip_prefix("stack ").and_then(|bytes| bytes.parse().ok()) {
                stack = u64::max(stack, bytes);
            }
        };
        for (line, words) in &self.commands {
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            if words == ["start"] {
                outcome +=
                    &start(&mut world, &mut listen).map_err(|error| format!("line {line}: {error}"))?;
            } else {
                obey(&mut world, &words)
                    .map_err(|error| format!("line {line}: {}: {error}", words.join(" ")))?;
                writeln!(outcome, "> {}", words.join(" "))?;
            }
        }
        match stack_budget(firmware.board) {
            budget if stack > budget => {
                Err(format!("the device used {stack} bytes of stack, of {budget}").into())
            }
            _ => Ok(Played { outcome, stack }),
        }
    }

    /// Holds an outcome against the expected one of this board. Boards are expected to come out alike, unless the file says
    /// otherwise.
    ///
    /// # Errors
    /// The system's.
    pub fn judge(&self, board: Board, came: &str) -> Result<Outcome, Failure> {
        let expected =
            [self.expected_for(board), self.expected.clone()].iter().find_map(|path| read(path).transpose());
        Ok(match expected.transpose()? {
            Some(expected) if expected == came => Outcome::Same,
            expected => Outcome::Other(expected),
        })
    }

    /// Expects this from now on.
    ///
    /// # Errors
    /// The system's.
    pub fn overwrite(&self, board: Board, came: &str) -> Result<(), Failure> {
        let own = self.expected_for(board);
        // The first board's outcome is everybody's; one that differs has its own.
        if board == self.boards[0] || read(&self.expected)?.is_none() {
            fs::write(&self.expected, came)?;
        }
        if read(&self.expected)?.is_none_or(|expected| expected != came) {
            return Ok(fs::write(own, came)?);
        }
        match fs::remove_file(own) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }

    fn expected_for(&self, board: Board) -> PathBuf {
        self.expected.with_extension(format!("{board}.expected"))
    }
}

fn read(path: &Path) -> Result<Option<String>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(format!("{}: {error}", path.display()).into()),
    }
}

/// The device is switched on, and runs until it sleeps. What it said, and what its flash says.
fn start(world: &mut World<'_>, hear: &mut dyn FnMut(&str)) -> Result<String, Failure> {
    let before = world.flash_at_start();
    let Asleep { flash, log, served } =
        Machine::live(world.firmware, &before, world.files()?, Watch::End, hear)?;
    let verdict = Verdict::read(world, &flash)?;
    world.flash = flash;
    let mut outcome = String::from("> start\n");
    for line in log.iter().filter(|line| is_stable(line)) {
        writeln!(outcome, "{line}")?;
    }
    write!(outcome, "{verdict}{}", untouched(world.firmware.board, &before, &world.flash))?;
    // A device that is fed asks its gateway, which asks the mirror in its own way.
    let mut asked = world.mirror.requests();
    asked.retain(|request| request.path.contains(".bin"));
    let has_gone_on = match world.firmware.board.is_fed() {
        true => served.resumed > 0,
        false => asked.iter().any(|request| request.from.is_some_and(|from| from > 0)),
    };
    if !asked.is_empty() {
        writeln!(outcome, "= the image was asked for")?;
    }
    if has_gone_on {
        writeln!(outcome, "= the image went on where it had ended")?;
    }
    world.mirror.clear_requests();
    Ok(outcome)
}

/// The flash of a device that was switched off when it was about to try an image.
fn flash_before_trial(world: &World<'_>) -> Result<Vec<u8>, Failure> {
    let files = world.files()?;
    let mut machine = Machine::start(world.firmware, &world.flash_at_start(), files, Watch::Starts)?;
    let mut images = 0;
    loop {
        match machine.run(PATIENCE)? {
            Halt::Reset if images > 0 => return machine.flash(),
            Halt::Reset => {}
            Halt::Entry => images += 1,
            halt => return Err(format!("the device came to {halt:?}, and tries nothing").into()),
        }
    }
}

/// Whether a device says this line the same each time.
fn is_stable(line: &str) -> bool {
    line.split(' ').next().is_some_and(|first| STABLE.contains(&first))
}

/// What happens to the world.
fn obey(world: &mut World<'_>, words: &[&str]) -> Result<(), Failure> {
    match words {
        ["retry", seconds] => world.page.retry = seconds.parse()?,
        ["deadline", seconds] => world.page.deadline = seconds.parse()?,
        ["clock", days] => world.page.now = NOW + DAY * days.parse::<u64>()?,
        ["release", version, rest @ ..] => release(world, version, rest)?,
        ["rotate"] => {
            world.team.replace_online_keys()?;
        }
        ["revoke"] => {
            world.team.replace_release_key()?;
        }
        ["withdraw"] => world.change(&Change::Withdraw)?,
        ["pause"] => world.change(&Change::Pause)?,
        ["steal", drawers] => world.rob(drawers.parse()?),
        ["attack", "thief"] => world.forge()?,
        ["attack", "old-targets"] => world.roll_back()?,
        ["attack", name] => {
            let attack = Attack::ALL.into_iter().find(|attack| attack_name(*attack) == *name);
            world.attack(attack.ok_or_else(|| {
                format!("there are thief, old-targets, {}", Attack::ALL.map(attack_name).join(", "))
            })?)?;
        }
        ["fault", file, fault @ ..] => {
            let path = match *file {
                "image" => world.image_path()?,
                name => format!("/{name}"),
            };
            let (fault, once) = match fault {
                [fault @ .., "once"] => (fault, true),
                fault => (fault, false),
            };
            let fault = match fault {
                ["status", code] => Fault::Status(code.parse()?),
                ["busy", seconds] => Fault::Busy(seconds.parse()?),
                ["drop", percent] if *file == "image" => {
                    Fault::DropAfter(world.image_length() * percent.parse::<u64>()? / 100)
                }
                ["hang"] => Fault::Hang,
                ["endless"] => Fault::Endless,
                ["redirect"] => Fault::Redirect(format!("{}/elsewhere.json", world.mirror.url())),
                _ => return Err("no such fault".into()),
            };
            match once {
                true => world.mirror.set_fault_once(&path, fault),
                false => world.mirror.set_fault(&path, fault),
            }
        }
        ["honest"] => world.mirror.clear_faults(),
        ["bundle"] => world.pack()?,
        ["cut-before-trial"] => {
            world.flash = flash_before_trial(world)?;
            // What a start asks for is its own.
            world.mirror.clear_requests();
        }
        ["damage-trial"] => world.damage_trial()?,
        _ => return Err("no such command".into()),
    }
    Ok(())
}

fn release(world: &mut World<'_>, version: &str, words: &[&str]) -> Result<(), Failure> {
    let mut wanted = Wanted { version, behaviour: Behaviour::Well, counter: 0, rollout: None };
    let mut words = words;
    loop {
        words = match words {
            [] => return world.release(&wanted),
            ["counter", number, rest @ ..] => {
                wanted.counter = number.parse()?;
                rest
            }
            ["rollout", when, rest @ ..] => {
                // The images' dates, and not those of the people who play this.
                let start = match *when {
                    "now" => NOW - DAY / 4,
                    "later" => NOW + 30 * DAY,
                    _ => return Err("a rollout is now or later".into()),
                };
                wanted.rollout = Some(Ramp { start, end: start + DAY / 2 });
                rest
            }
            [behaviour, rest @ ..] => {
                wanted.behaviour = match *behaviour {
                    "well" => Behaviour::Well,
                    "hangs" => Behaviour::Hangs,
                    "crashes" => Behaviour::Crashes,
                    "unfit" => Behaviour::Unfit,
                    "alone" => Behaviour::Alone,
                    _ => return Err("no such behaviour".into()),
                };
                rest
            }
        }
    }
}

fn attack_name(attack: Attack) -> &'static str {
    match attack {
        Attack::FlippedImageByte => "flipped-image",
        Attack::ReplayedTimestamp => "replayed-timestamp",
        Attack::SignatureMissing => "signature-missing",
        Attack::DifferentDays => "different-days",
        Attack::EndlessFile => "endless-file",
        Attack::OtherHardware => "other-hardware",
        Attack::OwnRepository => "own-repository",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_says_what_it_is_about_and_what_is_expected() {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases");
        let cases = Case::all(&directory).unwrap();
        assert!(cases.len() > 20, "{} cases", cases.len());
        for entry in fs::read_dir(&directory).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let Some(name) = name.strip_suffix(".expected") else { continue };
            let of = |case: &Case| {
                name.strip_prefix(&case.name).is_some_and(|rest| {
                    rest.is_empty() || case.boards.iter().any(|board| rest == format!(".{board}"))
                })
            };
            assert!(cases.iter().any(of), "{name}.expected: there is no such case");
        }
        for case in cases {
            assert!(case.about.ends_with('.'), "{}: its first line is a remark", case.name);
            assert!(case.commands.iter().any(|(_, words)| words == &["start"]), "{}", case.name);
            let expected = fs::read_to_string(&case.expected).unwrap();
            let commands = case.commands.iter().map(|(_, words)| format!("> {}", words.join(" ")));
            let said = expected.lines().filter(|line| line.starts_with('>'));
            assert!(commands.eq(said), "{}: other commands are expected than it has", case.name);
        }
    }

    #[test]
    fn outcome_is_held_against_the_board_s_own_file_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("some.case");
        fs::write(&path, "# Some case.\nboards microbit emcraft-sf2\nstart # on\n").unwrap();
        let [case] = &Case::all(directory.path()).unwrap()[..] else { panic!("one case") };
        assert_eq!(case.boards, [Board::Microbit, Board::EmcraftSf2]);
        let [first, second] = [Board::Microbit, Board::EmcraftSf2];
        let judge = |board, came: &str| case.judge(board, came).unwrap() == Outcome::Same;
        assert!(!judge(first, "one"), "nothing is expected yet");
        case.overwrite(first, "one").unwrap();
        case.overwrite(second, "one").unwrap();
        assert!(judge(first, "one") && judge(second, "one") && !judge(second, "two"));
        case.overwrite(second, "two").unwrap();
        assert!(judge(first, "one") && judge(second, "two") && !judge(second, "one"));
        case.overwrite(second, "one").unwrap();
        assert!(judge(second, "one") && !judge(second, "two"), "its own file is gone");
    }

    #[test]
    fn case_for_a_board_that_there_is_not_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("some.case"), "# Some case.\nboards z80\n").unwrap();
        let error = Case::all(directory.path()).unwrap_err().to_string();
        assert!(error.contains("emcraft-sf2 and microbit"), "{error}");
    }
}
