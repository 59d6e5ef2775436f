//! What the firmware takes of its boards: bytes by their linker's output, stack and instructions by the boards themselves.
//!
//! The emulator executes one instruction each nanosecond, and the firmware counts the time in which it does not wait. So a
//! microsecond is a thousand instructions. Real cores take 1.3 to 1.8 cycles for each, and their flash takes time, too: what
//! follows from the instructions is a lower bound.

use std::fs;
use std::path::Path;
use std::thread;

use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind};

use tuffet::look::grouped;
use tuffet_hil_protocol::stamp::Behaviour;
use tuffet_tests::page;

use crate::Failure;
use crate::board::Board;
use crate::firmware::Firmware;
use crate::machine::{Asleep, Halt, Machine, PATIENCE, Watch};
use crate::world::{Wanted, World};

/// Instructions in a microsecond of the emulator's.
const A_MICROSECOND: u64 = 1000;

/// The row of the application's stack, whose budget holds for scenarios, too.
const STACK: &str = "RAM: stack, at the most";

/// The name of the table in `docs/budgets.md`.
const NAME: &str = "boards";

/// A row: what was measured on each board, and what it may be at the most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    what: String,
    /// In the order of [`Board::ALL`].
    measured: [u64; 2],
    budget: [Option<u64>; 2],
    /// How far it may be off from what the page says, in hundredths: a network is not the same twice.
    tolerance: u64,
    /// And by how much on each board beside that.
    slack: [u64; 2],
}

/// Bytes that may go more or less, by the host's moods: acknowledgements alone or with data, which are 54 bytes of TCP's and lower
/// headers; and one question more for a file that has a piece more, for a signature is not always as long, of about 30 bytes.
const SLACK: [u64; 2] = [4 * 54, 2 * 30];

/// What one board takes.
#[derive(Clone, Debug, Default)]
struct Taken {
    /// Bytes of code and constants by their owners, in the order of [`OWNERS`].
    code: [u64; 6],
    image: u64,
    bootloader: u64,
    statics: u64,
    /// RAM of the client and of the agent, on the stack or in statics, and statics of the network or line.
    client: u64,
    agent: u64,
    network: u64,
    /// The bootloader's, all of it.
    boot_memory: u64,
    stack: u64,
    /// Instructions between the last byte of an image and its having been read back and hashed.
    verification: u64,
    /// Instructions, and bytes received and sent.
    refresh: Turn,
    poll: Turn,
    rotation: Turn,
    update: Turn,
    confirm: Turn,
}

/// One turn, as the log tells it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Turn {
    outcome: u64,
    instructions: u64,
    received: u64,
    sent: u64,
}

/// Whose code it is, and by which crates that is told; the first that fits has it.
const OWNERS: [(&str, &[&str]); 6] = [
    ("agent", &["tuffet_agent", "embassy_boot", "3crc"]),
    ("client", &["tuffet_client"]),
    (
        "cryptography",
        &[
            "p256",
            "ecdsa",
            "elliptic_curve",
            "prime",
            "crypto_bigint",
            "wnaf",
            "sha2",
            "digest",
            "block_buffer",
        ],
    ),
    (
        "network, or line",
        &["smoltcp", "4http", "7network", "4emac", "4line", "hil_protocol", "cobs", "postcard"],
    ),
    (
        "drivers, product and log",
        &["tuffet_device", "tuffet_emcraft", "tuffet_microbit", "sf2_app", "microbit_app", "defmt"],
    ),
    ("core, and what has no name", &[""]),
];

/// Statics of the applications' `main` that are the network's or line's.
const NETWORK: [&str; 5] = ["3DMA", "7BUFFERS", "7SOCKETS", "7NETWORK", "4LINE"];

/// The applications' static that says what client and agent take of their RAM.
const RAM: &str = "RAM_OF_BOTH";

/// Measures both boards.
///
/// # Errors
/// What keeps it from being measured.
pub fn measure(directory: &Path) -> Result<Vec<Row>, Failure> {
    let mut firmwares = Vec::new();
    for board in Board::ALL {
        firmwares.push(Firmware::build(board, directory)?);
    }
    let [main, small] = [&firmwares[0], &firmwares[1]];
    // Instructions are counted, and take as many however busy the host is.
    let (main, small) = thread::scope(|scope| {
        let main = scope.spawn(|| Taken::by(main));
        (main.join(), Taken::by(small))
    });
    Ok(rows([&main.map_err(|_| "measuring panicked")??, &small?]))
}

impl Taken {
    fn by(firmware: &Firmware) -> Result<Taken, Failure> {
        let mut taken = Taken { image: firmware.length() as u64, ..Taken::default() };
        taken.weigh(&firmware.application)?;
        let mut boot = Taken::default();
        boot.weigh(&firmware.bootloader)?;
        taken.bootloader = boot.code.iter().sum();
        [taken.client, taken.agent] = ram(&firmware.application)?;

        let mut world = World::new(firmware)?;
        taken.refresh = only(taken.turns(&mut world)?, 701)?;
        taken.poll = only(taken.turns(&mut world)?, 701)?;
        world.team.replace_online_keys()?;
        taken.rotation = only(taken.turns(&mut world)?, 701)?;
        let wanted = Wanted { version: "1.0.0", behaviour: Behaviour::Well, counter: 0, rollout: None };
        world.release(&wanted)?;
        let turns = taken.turns(&mut world)?;
        let of = |outcome| turns.iter().copied().find(|turn| turn.outcome == outcome);
        taken.update = of(703).ok_or("the release was not installed")?;
        taken.confirm = of(705).ok_or_else(|| format!("the release was not confirmed: {turns:?}"))?;

        // Once more for the bootloader: it starts what is active, and what is on trial.
        world.release(&Wanted { version: "1.1.0", ..wanted })?;
        taken.boot_memory = boot.statics + boot_stack(&world)?;
        Ok(taken)
    }

    /// Adds up what is linked into a program.
    fn weigh(&mut self, elf: &[u8]) -> Result<(), Failure> {
        let file = object::File::parse(elf)?;
        let (mut texts, mut memories) = (Vec::new(), Vec::new());
        for section in file.sections() {
            match section.kind() {
                SectionKind::Text => texts.push(section.index()),
                SectionKind::ReadOnlyData | SectionKind::ReadOnlyString if section.name()? != ".defmt" => {
                    // Tables and words are everybody's.
                    self.code[5] += section.size();
                }
                kind @ (SectionKind::Data | SectionKind::UninitializedData) => {
                    memories.push(section.index());
                    self.statics += section.size();
                    if kind == SectionKind::Data {
                        self.code[5] += section.size();
                    }
                }
                _ => {}
            }
        }
        let mut places = std::collections::BTreeMap::new();
        for symbol in file.symbols() {
            let Some(index) = symbol.section_index().filter(|_| symbol.size() > 0) else { continue };
            if texts.contains(&index) {
                places.insert(symbol.address(), (symbol.name()?, symbol.size()));
            }
            if memories.contains(&index) {
                let name = symbol.name()?;
                if NETWORK.iter().any(|word| name.contains(word)) {
                    self.network += symbol.size();
                }
            }
        }
        for (name, size) in places.into_values() {
            let owner = OWNERS.iter().position(|(_, crates)| crates.iter().any(|word| name.contains(word)));
            self.code[owner.unwrap_or(5)] += size;
        }
        Ok(())
    }

    /// What of this is for a KiB of the image.
    fn a_kib(&self, instructions: u64) -> u64 {
        instructions * 1024 / self.image.max(1)
    }

    /// One time that the device is on: its turns.
    fn turns(&mut self, world: &mut World<'_>) -> Result<Vec<Turn>, Failure> {
        let (at_start, files) = (world.flash_at_start(), world.files()?);
        let Asleep { flash, log, .. } =
            Machine::live(world.firmware, &at_start, files, Watch::Counting, &mut |_| ())?;
        world.flash = flash;
        // All of them are counted from a start on.
        let (mut turns, mut wire, mut busy): (Vec<Turn>, _, _) = (Vec::new(), [0; 2], 0);
        let mut came = 0;
        for line in &log {
            let words: Vec<&str> = line.split(' ').collect();
            match words.as_slice() {
                ["start", _] => (wire, busy) = ([0; 2], 0),
                ["turn", outcome, _] => turns.push(Turn { outcome: outcome.parse()?, ..Turn::default() }),
                ["wire", received, sent] => {
                    let now = [received.parse::<u64>()?, sent.parse::<u64>()?];
                    if let Some(turn) = turns.last_mut() {
                        (turn.received, turn.sent) = (now[0] - wire[0], now[1] - wire[1]);
                    }
                    wire = now;
                }
                ["busy", microseconds] => {
                    let now = microseconds.parse::<u64>()?;
                    if let Some(turn) = turns.last_mut() {
                        turn.instructions = (now - busy) * A_MICROSECOND;
                    }
                    busy = now;
                }
                ["came", microseconds] => came = microseconds.parse()?,
                ["staged", microseconds] => {
                    self.verification = (microseconds.parse::<u64>()? - came) * A_MICROSECOND;
                }
                ["stack", bytes] => self.stack = self.stack.max(bytes.parse()?),
                _ => {}
            }
        }
        Ok(turns)
    }
}

/// What an application says that client and agent take of its RAM.
fn ram(application: &[u8]) -> Result<[u64; 2], Failure> {
    let file = object::File::parse(application)?;
    let symbol = file.symbols().find(|symbol| symbol.name().is_ok_and(|name| name.contains(RAM)));
    let bytes = symbol.and_then(|symbol| {
        let section = file.section_by_index(symbol.section_index()?).ok()?;
        section.data_range(symbol.address(), symbol.size()).ok()?
    });
    match bytes {
        Some(&[a, b, c, d, e, f, g, h]) => {
            Ok([[a, b, c, d], [e, f, g, h]].map(|word| u32::from_le_bytes(word).into()))
        }
        _ => Err(format!("the application has no {RAM} of two words").into()),
    }
}

/// The most bytes of stack that the bootloader uses while the device lives through an update.
fn boot_stack(world: &World<'_>) -> Result<u64, Failure> {
    let file = object::File::parse(world.firmware.bootloader.as_slice())?;
    let place = |name| -> Result<u32, Failure> {
        let symbol = file.symbols().find(|symbol| symbol.name() == Ok(name));
        Ok(u32::try_from(symbol.ok_or_else(|| format!("the bootloader has no {name}"))?.address())?)
    };
    // It grows downwards.
    let memory = place("_stack_end")?..place("_stack_start")?;
    let mut machine = Machine::start(world.firmware, &world.flash_at_start(), world.files()?, Watch::Starts)?;
    let (mut most, mut images) = (0, 0);
    loop {
        match machine.run(PATIENCE)? {
            Halt::Reset => machine.paint(&memory)?,
            Halt::Entry => {
                images += 1;
                most = most.max(machine.used(&memory)?);
            }
            Halt::Off(true) if images > 1 => return Ok(most),
            halt => return Err(format!("an update came to {halt:?} after {images} starts").into()),
        }
    }
}

/// The one turn that there was.
fn only(turns: Vec<Turn>, outcome: u64) -> Result<Turn, Failure> {
    match turns.as_slice() {
        [turn] if turn.outcome == outcome => Ok(*turn),
        turns => Err(format!("there should be one turn that ends with {outcome}: {turns:?}").into()),
    }
}

/// What it may be at the most, in the order of [`Board::ALL`]: bytes, then instructions and bytes on the wire.
const BUDGETS: [(&str, [u64; 2]); 10] = [
    (STACK, [11_264, 11_264]),
    ("image", [102_400, 88_064]),
    ("bootloader", [13_440, 3_072]),
    // What the small board's linker has beside 11,968 bytes of stack.
    ("RAM: statics", [20_992, 4_416]),
    // The small board has 16,384.
    ("RAM: both", [32_256, 15_744]),
    ("poll: instructions", [1_500_000, 13_500_000]),
    ("first refresh: instructions", [90_000_000, 240_000_000]),
    ("refresh with a new root: instructions", [180_000_000, 475_000_000]),
    ("update: instructions", [170_000_000, 420_000_000]),
    ("poll: bytes received", [1_200, 600]),
];

/// Bytes of stack that the application of this board may use.
#[must_use]
pub fn stack_budget(board: Board) -> u64 {
    budget(STACK, board).unwrap_or_default()
}

/// What a row may be on this board, if it has a budget.
fn budget(what: &str, board: Board) -> Option<u64> {
    let (_, [main, small]) = BUDGETS.iter().find(|(name, _)| *name == what)?;
    Some(match board {
        Board::EmcraftSf2 => *main,
        Board::Microbit => *small,
    })
}

fn rows(taken: [&Taken; 2]) -> Vec<Row> {
    let mut rows = Vec::new();
    let mut row = |what: &str, of: &dyn Fn(&Taken) -> u64, tolerance: u64| {
        rows.push(Row {
            what: what.to_owned(),
            measured: taken.map(of),
            budget: Board::ALL.map(|board| budget(what, board)),
            tolerance,
            slack: if what.contains(": bytes ") { SLACK } else { [0; 2] },
        });
    };
    row("image", &|taken| taken.image, 2);
    for (number, (owner, _)) in OWNERS.iter().enumerate() {
        row(&format!("of it, {owner}"), &|taken| taken.code[number], 2);
    }
    row("bootloader", &|taken| taken.bootloader, 2);
    row("RAM: statics", &|taken| taken.statics, 2);
    row(STACK, &|taken| taken.stack, 2);
    row("RAM: both", &|taken| taken.statics + taken.stack, 2);
    row("of both, client", &|taken| taken.client, 2);
    row("of both, agent", &|taken| taken.agent, 2);
    row("of both, network, or line", &|taken| taken.network, 2);
    row("RAM: bootloader, statics and stack", &|taken| taken.boot_memory, 2);
    for (what, turn) in [
        ("poll", (|taken| taken.poll) as fn(&Taken) -> Turn),
        ("first refresh", |taken| taken.refresh),
        ("refresh with a new root", |taken| taken.rotation),
        ("update", |taken| taken.update),
        ("confirmation", |taken| taken.confirm),
    ] {
        row(&format!("{what}: instructions"), &|taken| turn(taken).instructions, 10);
        row(&format!("{what}: bytes received"), &|taken| turn(taken).received, 5);
        row(&format!("{what}: bytes sent"), &|taken| turn(taken).sent, 10);
    }
    row("image verification: instructions a KiB", &|taken| taken.a_kib(taken.verification), 10);
    row(
        "update without a refresh: instructions a KiB of the image",
        &|taken| taken.a_kib(taken.update.instructions.saturating_sub(taken.refresh.instructions)),
        10,
    );
    for megahertz in [16, 64, 120] {
        for (what, instructions) in [
            ("poll", (|taken| taken.poll.instructions) as fn(&Taken) -> u64),
            ("first refresh", |taken| taken.refresh.instructions),
            ("refresh with a new root", |taken| taken.rotation.instructions),
            ("image verification", |taken| taken.verification),
            ("update", |taken| taken.update.instructions),
        ] {
            let what = format!("{what} at {megahertz} MHz: ms, at the least");
            row(&what, &|taken| instructions(taken) / (megahertz * 1000), 10);
        }
    }
    rows
}

impl Row {
    /// What is over its budget, in words.
    #[must_use]
    pub fn over(&self) -> Vec<String> {
        let each = Board::ALL.iter().zip(self.measured).zip(self.budget);
        each.filter_map(|((board, measured), budget)| {
            let budget = budget.filter(|budget| measured > *budget)?;
            Some(format!("{board}, {}: {measured} is over {budget}", self.what))
        })
        .collect()
    }
}

/// The table.
#[must_use]
pub fn table(rows: &[Row]) -> String {
    let mut lines = vec![vec!["what".to_owned()]];
    for board in Board::ALL {
        lines[0].extend([board.to_string(), "budget".to_owned()]);
    }
    for row in rows {
        let mut line = vec![row.what.clone()];
        for (measured, budget) in row.measured.into_iter().zip(row.budget) {
            line.extend([grouped(measured), budget.map_or_else(|| "-".to_owned(), grouped)]);
        }
        lines.push(line);
    }
    page::table(&lines, 1..5)
}

/// Writes the table into the page.
///
/// # Errors
/// A page without a place for it, or the system's.
pub fn update(path: &Path, rows: &[Row]) -> Result<(), Failure> {
    Ok(fs::write(path, page::replaced(&fs::read_to_string(path)?, NAME, &table(rows))?)?)
}

/// What the page says otherwise than it was measured.
///
/// # Errors
/// A page without a table, or the system's.
pub fn differences(path: &Path, rows: &[Row]) -> Result<Vec<String>, Failure> {
    let text = fs::read_to_string(path)?;
    let recorded = page::cells(&text, NAME)?;
    let mut differences = Vec::new();
    if recorded.len() > rows.len() {
        differences.push("docs/budgets.md has more rows than were measured; see --update".to_owned());
    }
    let number = |cell: &str| cell.replace(',', "").parse::<u64>().ok();
    for (index, row) in rows.iter().enumerate() {
        let cells = recorded.get(index).map(Vec::as_slice).unwrap_or_default();
        let is_near = |recorded: Option<u64>, measured: u64, slack: u64| {
            recorded.is_some_and(|recorded| {
                recorded.abs_diff(measured) * 100 <= recorded.max(1) * row.tolerance + slack * 100
            })
        };
        let is_true = match cells {
            [what, cells @ ..] if *what == row.what && cells.len() == 2 * Board::ALL.len() => {
                let pairs = cells.chunks(2).zip(row.measured).zip(row.budget).zip(row.slack);
                let mut each = pairs.map(|(((cells, measured), budget), slack)| {
                    is_near(number(cells[0]), measured, slack) && number(cells[1]) == budget
                });
                each.all(|is_true| is_true)
            }
            _ => false,
        };
        if !is_true {
            differences
                .push(format!("docs/budgets.md says {cells:?}, and {row:?} was measured; see --update"));
        }
    }
    Ok(differences)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn page_that_says_something_else_is_told() {
        let row = |measured| Row {
            what: "image".to_owned(),
            measured: [measured, 0],
            budget: [Some(100_000), None],
            tolerance: 2,
            slack: [0; 2],
        };
        let directory = tempfile::tempdir().unwrap();
        let page = directory.path().join("budgets.md");
        fs::write(&page, "# Budgets\n").unwrap();
        assert!(update(&page, &[row(1)]).is_err(), "the page has no place for a table");
        fs::write(&page, "# Budgets\n<!-- boards -->\n<!-- /boards -->\nmore\n").unwrap();
        update(&page, &[row(99_000)]).unwrap();
        let text = fs::read_to_string(&page).unwrap();
        assert!(
            text.contains("| image |      99,000 | 100,000 |        0 |      - |")
                && text.ends_with("more\n"),
            "{text}"
        );
        for (measured, told) in [(99_000, 0), (100_900, 0), (97_100, 0), (101_000, 1), (96_900, 1)] {
            assert_eq!(differences(&page, &[row(measured)]).unwrap().len(), told, "{measured}");
        }
        let slack = Row { slack: [20, 0], ..row(101_000) };
        assert!(differences(&page, &[slack]).unwrap().is_empty());
        let other = Row { budget: [Some(1), None], ..row(99_000) };
        assert_eq!(
            (differences(&page, core::slice::from_ref(&other)).unwrap().len(), other.over().len()),
            (1, 1)
        );
        assert_eq!(row(100_000).over().len() + row(100_001).over().len(), 1);
    }
}
