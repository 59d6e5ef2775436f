//! The runner; see the library.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anstream::{eprintln, println};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tuffet_hil::Failure;
use tuffet_hil::board::Board;
use tuffet_hil::case::{Case, Outcome};
use tuffet_hil::cuts::Recording;
use tuffet_hil::firmware::Firmware;
use tuffet_hil::measure;

/// Runs real firmware on emulated boards, and cuts its power.
#[derive(Parser)]
#[command(
    name = "tuffet-hil",
    after_help = "Exit status: 0 all is well, 1 something came out otherwise, 3 the machine lacks something."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Plays scenarios, and holds what comes out against what is expected
    Run {
        /// The scenarios, by name; all without one
        cases: Vec<String>,
        /// On this board alone
        #[arg(long)]
        board: Option<Board>,
        /// Expects from now on what comes out
        #[arg(long)]
        overwrite: bool,
        /// Shows all that the device says
        #[arg(long, short)]
        verbose: bool,
    },
    /// Cuts the power during an update, and holds what is left against the simulator
    Cuts {
        /// On this board alone
        #[arg(long)]
        board: Option<Board>,
        /// So many cuts on each board; without it 200 on emcraft-sf2 and 50 on microbit
        #[arg(long)]
        count: Option<usize>,
        /// Other moments with another number
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// So many at a time
        #[arg(long, default_value_t = 2)]
        jobs: usize,
    },
    /// Measures what the firmware takes of its boards, and holds it against budgets and docs/budgets.md
    Measure {
        /// Writes the table into docs/budgets.md
        #[arg(long)]
        update: bool,
    },
    /// Lists the scenarios
    List,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tuffet-hil: {error}");
            ExitCode::from(3)
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool, Failure> {
    let all = Case::all(&Path::new(env!("CARGO_MANIFEST_DIR")).join("cases"))?;
    match &arguments.command {
        Command::List => {
            for case in all {
                println!("{:24} {}", case.name, case.about);
            }
            Ok(true)
        }
        Command::Measure { update } => weigh(*update),
        Command::Cuts { board, count, seed, jobs } => cut(*board, *count, *seed, *jobs),
        Command::Run { cases, board, overwrite, verbose } => {
            for name in cases {
                if !all.iter().any(|case| case.name == *name) {
                    return Err(format!("there is no case {name}; see tuffet-hil list").into());
                }
            }
            let wanted = all.iter().filter(|case| cases.is_empty() || cases.contains(&case.name));
            play(&wanted.collect::<Vec<_>>(), *board, *overwrite, *verbose)
        }
    }
}

fn play(cases: &[&Case], only: Option<Board>, overwrite: bool, verbose: bool) -> Result<bool, Failure> {
    let (mut played, mut others) = (0, 0);
    for board in Board::ALL.into_iter().filter(|board| only.is_none_or(|only| only == *board)) {
        let firmware = Firmware::build(board, &build_directory())?;
        for case in cases.iter().filter(|case| case.boards.contains(&board)) {
            let start = Instant::now();
            let mut hear = |line: &str| {
                if verbose {
                    println!("{board}: {line}");
                }
            };
            let came = match case.play(&firmware, &mut hear) {
                Ok(came) => came,
                Err(error) => {
                    println!("{board:12} {:24} FAILED: {error}", case.name);
                    others += 1;
                    continue;
                }
            };
            played += 1;
            let took = start.elapsed().as_secs();
            match case.judge(board, came)? {
                Outcome::Same => println!("{board:12} {:24} as expected, {took} s", case.name),
                Outcome::Other { came, .. } if overwrite => {
                    case.overwrite(board, &came)?;
                    println!("{board:12} {:24} is expected from now on, {took} s:\n{came}", case.name);
                }
                Outcome::Other { came, expected } => {
                    others += 1;
                    let expected = expected.unwrap_or_else(|| "nothing\n".to_owned());
                    println!(
                        "{board:12} {:24} OTHERWISE, {took} s\nexpected:\n{expected}came:\n{came}",
                        case.name
                    );
                }
            }
        }
    }
    println!("{played} played, {others} otherwise than expected");
    Ok(others == 0)
}

fn cut(only: Option<Board>, count: Option<usize>, seed: u64, jobs: usize) -> Result<bool, Failure> {
    let mut well = true;
    for board in Board::ALL.into_iter().filter(|board| only.is_none_or(|only| only == *board)) {
        let firmware = Firmware::build(board, &build_directory())?;
        let recording = Recording::new(&firmware)?;
        println!("{board}: an update has {:?} operations, one start after the other", recording.operations());
        recording.compare()?;
        let count = count.unwrap_or(match board {
            Board::EmcraftSf2 => 200,
            Board::Microbit => 50,
        });
        let moments = recording.moments(count, seed);
        let distinct = moments.iter().collect::<BTreeSet<_>>().len();
        let bar = ProgressBar::new(count as u64)
            .with_style(ProgressStyle::with_template("{prefix} {wide_bar} {pos}/{len} cuts, {eta} to go")?)
            .with_prefix(board.name());
        let start = Instant::now();
        let tally = recording.cut(&moments, jobs, &|| bar.inc(1));
        bar.finish_and_clear();
        for failure in &tally.failed {
            println!("{board}: {failure}");
        }
        println!(
            "{board}: {} of {count} cuts survived, {distinct} of them distinct, {} held against the simulator byte by byte; seed {seed}, {} s",
            tally.survived,
            tally.compared,
            start.elapsed().as_secs()
        );
        well &= tally.failed.is_empty();
    }
    Ok(well)
}

fn weigh(update: bool) -> Result<bool, Failure> {
    let rows = measure::measure(&build_directory())?;
    println!("{}", measure::table(&rows));
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/budgets.md");
    if update {
        measure::update(&page, &rows)?;
    }
    let mut wrong: Vec<String> = rows.iter().flat_map(measure::Row::over).collect();
    wrong.extend(measure::differences(&page, &rows)?);
    for line in &wrong {
        println!("{line}");
    }
    Ok(wrong.is_empty())
}

/// What the compiler makes of the boards' programs lasts.
fn build_directory() -> PathBuf {
    tuffet::demo::firmware::build_directory()
}
