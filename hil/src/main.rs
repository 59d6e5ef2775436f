//! The runner; see the library.

#![allow(clippy::print_stdout, clippy::print_stderr, clippy::disallowed_methods, reason = "a program")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anstream::{eprintln, println};
use clap::{Parser, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use tuffet_hil::board::Board;
use tuffet_hil::case::{Case, Outcome, Played};
use tuffet_hil::cuts::Recording;
use tuffet_hil::firmware::Firmware;
use tuffet_hil::{Failure, in_parallel, measure};

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
        /// So many at a time
        #[arg(long, default_value_t = 2)]
        jobs: usize,
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

/// How scenarios are played.
struct Options {
    only: Option<Board>,
    overwrite: bool,
    verbose: bool,
    jobs: usize,
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
        Command::Run { cases, board, overwrite, verbose, jobs } => {
            for name in cases {
                if !all.iter().any(|case| case.name == *name) {
                    return Err(format!("there is no case {name}; see tuffet-hil list").into());
                }
            }
            let wanted = all.iter().filter(|case| cases.is_empty() || cases.contains(&case.name));
            let (only, overwrite, verbose) = (*board, *overwrite, *verbose);
            // One board's outcome is the other's expectation.
            let jobs = if overwrite { 1 } else { *jobs };
            play(&wanted.collect::<Vec<_>>(), &Options { only, overwrite, verbose, jobs })
        }
    }
}

fn play(cases: &[&Case], options: &Options) -> Result<bool, Failure> {
    let Options { only, overwrite, verbose, jobs } = *options;
    let mut firmwares = Vec::new();
    for board in Board::ALL.into_iter().filter(|board| only.is_none_or(|only| only == *board)) {
        firmwares.push(Firmware::build(board, &build_directory())?);
    }
    let pairs = |firmware| cases.iter().map(move |case| (firmware, *case));
    let all: Vec<(&Firmware, &Case)> = firmwares
        .iter()
        .flat_map(pairs)
        .filter(|(firmware, case)| case.boards.contains(&firmware.board))
        .collect();
    let outcomes = in_parallel(jobs, &all, &|(firmware, case)| -> Result<(bool, u64), Failure> {
        let board = firmware.board;
        let start = Instant::now();
        let mut hear = |line: &str| {
            if verbose {
                println!("{board}: {line}");
            }
        };
        let came = case.play(firmware, &mut hear);
        let head = format!("{board:12} {:28} {:3} s ", case.name, start.elapsed().as_secs());
        let Played { outcome, stack } = match came {
            Ok(played) => played,
            Err(error) => {
                println!("{head} FAILED: {error}");
                return Ok((false, 0));
            }
        };
        let judged = case.judge(board, &outcome)?;
        if overwrite {
            case.overwrite(board, &outcome)?;
        }
        let is_well = match judged {
            Outcome::Same => {
                println!("{head} as expected");
                true
            }
            Outcome::Other(_) if overwrite => {
                println!("{head} is expected from now on:\n{outcome}");
                true
            }
            Outcome::Other(expected) => {
                let expected = expected.unwrap_or_else(|| "nothing\n".to_owned());
                println!("{head} OTHERWISE\nexpected:\n{expected}came:\n{outcome}");
                false
            }
        };
        Ok((is_well, stack))
    });
    let outcomes = outcomes.into_iter().collect::<Result<Vec<_>, _>>()?;
    let others = outcomes.iter().filter(|(is_well, _)| !is_well).count();
    let deepest = outcomes.iter().map(|(_, stack)| stack).max().unwrap_or(&0);
    println!("{} played, {others} otherwise than expected; {deepest} bytes of stack at the most", all.len());
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
            "{board}: {} of {count} cuts survived, as in the simulator, byte by byte; {} were distinct, {} tore an operation; seed {seed}, {} s",
            tally.survived,
            tally.distinct,
            tally.within,
            start.elapsed().as_secs()
        );
        well &= tally.survived == count && count > 0;
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
