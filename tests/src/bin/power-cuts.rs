//! The power-cut laboratory: cuts the power of simulated devices within any operation of their flash, and again while
//! they recover, and reads what is left. See [`tuffet_tests::lab`].

#![expect(clippy::print_stdout, reason = "a program")]

use core::num::NonZeroU64;
use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use clap::Parser;
use tuffet_tests::lab::loader::{LEFT_OUT, Loader};
use tuffet_tests::lab::sweep::{
    Case, Count, Failure, GEOMETRIES, Geometry, Job, Plan, replay_case, sweep_all, sweep_servers,
};
use tuffet_tests::lab::world::Scenario;

/// Cuts the power of simulated devices within any operation of an update, and again while they recover.
#[derive(Parser)]
struct Options {
    /// Only flashes of this erase unit, write unit and erased value, as 4096/1/ff
    #[arg(long, value_name = "GEOMETRY", value_parser = geometry)]
    geometry: Vec<Geometry>,

    /// Only this bootloader: direct, embassy, mcuboot-scratch, -move, -offset or -overwrite
    #[arg(long, value_name = "LOADER")]
    loader: Vec<Loader>,

    /// Only this: update, twice, unfit, crash or withdrawn
    #[arg(long, value_name = "SCENARIO", value_parser = scenario)]
    scenario: Vec<Scenario>,

    /// Of the cuts within an operation, try one in so many; a quarter of those with erase units above 32 KiB, and with
    /// bootloaders of others
    #[arg(long, default_value = "32", value_name = "N")]
    share: NonZeroU64,

    /// Second cuts for each first one
    #[arg(long, default_value_t = 1, value_name = "N")]
    second: u64,

    /// Every first cut, and after each a second one of each kind at every operation; takes days
    #[arg(long, conflicts_with_all = ["share", "second"])]
    exhaustive: bool,

    /// Let servers misbehave in all lives, and not only in an update
    #[arg(long)]
    servers: bool,

    /// What chooses where not all is tried
    #[arg(long, default_value_t = 1, value_name = "N")]
    seed: u64,

    /// Play this one case again
    #[arg(long, value_name = "CASE")]
    case: Option<Case>,

    /// Give the device this bug, and fail unless a cut finds it
    #[cfg(feature = "seeded-bugs")]
    #[arg(long, value_name = "BUG")]
    bug: Option<tuffet_tests::lab::bugs::Bug>,
}

fn geometry(name: &str) -> Result<Geometry, String> {
    let known = || GEOMETRIES.map(|geometry| geometry.name).join(", ");
    GEOMETRIES
        .into_iter()
        .find(|geometry| geometry.name == name)
        .ok_or_else(|| format!("there are {}", known()))
}

fn scenario(name: &str) -> Result<Scenario, String> {
    let found = Scenario::ALL.into_iter().find(|scenario| scenario.to_string() == name);
    found.ok_or_else(|| "there are update, twice, unfit, crash and withdrawn".to_owned())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let plan = Plan {
        seed: options.seed,
        share: if options.exhaustive { NonZeroU64::MIN } else { options.share },
        second: (!options.exhaustive).then_some(options.second),
        #[cfg(feature = "seeded-bugs")]
        bug: options.bug,
    };
    if let Some(case) = &options.case {
        return match replay_case(case, &plan) {
            Ok(()) => {
                println!("{case}: as it should be");
                ExitCode::SUCCESS
            }
            Err(why) => {
                eprintln!("{case}: {why}");
                ExitCode::FAILURE
            }
        };
    }
    let scenarios = if options.scenario.is_empty() { Scenario::ALL.to_vec() } else { options.scenario };
    let loaders = if options.loader.is_empty() { Loader::ALL.to_vec() } else { options.loader };
    #[cfg(feature = "seeded-bugs")]
    if let Some(bug) = plan.bug {
        // Some of them do not live through the other scenarios even uncut.
        let scenarios = if scenarios == Scenario::ALL { vec![Scenario::Update] } else { scenarios };
        let jobs = Job::all(&[Loader::Direct], &options.geometry, &scenarios);
        return match sweep_all(&jobs, &plan, &|_| ()) {
            Err(Failure { case: Some(case), why }) => {
                println!("{bug} is found, by {case}: {why}");
                ExitCode::SUCCESS
            }
            // Whatever fails without any cut needs no laboratory.
            Err(Failure { case: None, why }) => {
                eprintln!("power-cuts: {bug}: {why}");
                ExitCode::FAILURE
            }
            Ok(()) => {
                eprintln!("power-cuts: no cut found the bug {bug}");
                ExitCode::FAILURE
            }
        };
    }
    let jobs = Job::all(&loaders, &options.geometry, &scenarios);
    // What servers do to one life they do to the others, whoever starts the images.
    let served = |life: &&Scenario| options.servers || **life == Scenario::Update;
    let served: Vec<Scenario> = match loaders.contains(&Loader::Direct) {
        true => scenarios.iter().filter(served).copied().collect(),
        false => Vec::new(),
    };
    run(&jobs, &served, &plan)
}

fn run(jobs: &[Job], served: &[Scenario], plan: &Plan) -> ExitCode {
    #[expect(clippy::disallowed_methods, reason = "for people, of a run that takes minutes")]
    let start = Instant::now();
    println!("seed {}; one in {} cuts within an operation", plan.seed, plan.share);
    println!("not tried, for no agent could mend it:");
    for [place, what, why] in LEFT_OUT {
        println!("  {place}: {what}; {why}");
    }
    println!(
        "{:<19}{:<14}{:<11}{:>10}{:>9}{:>9}",
        "bootloader", "geometry", "scenario", "operations", "1 cut", "2 cuts"
    );
    let totals = Mutex::new(BTreeMap::<Loader, [usize; 2]>::new());
    let done = |Count { job, operations, once, twice }: &Count| {
        let Job { loader, geometry, scenario } = job;
        println!("{loader:<19}{:<14}{scenario:<11}{operations:>10}{once:>9}{twice:>9}", geometry.name);
        let mut totals = totals.lock().expect("nobody panics with it");
        let total = totals.entry(*loader).or_default();
        *total = [total[0] + once, total[1] + twice];
    };
    let swept = sweep_all(jobs, plan, &done).and_then(|()| {
        for scenario in served {
            let count = sweep_servers(*scenario, plan).map_err(|why| Failure { case: None, why })?;
            println!("{:<33}{scenario:<11}{count:>10}", "server faults");
        }
        Ok(())
    });
    match swept {
        Ok(()) => {
            let totals = totals.into_inner().expect("nobody panics with it");
            for (loader, [once, twice]) in &totals {
                println!("{loader:<19}{:<35}{once:>9}{twice:>9}", "in all");
            }
            let [once, twice] = [0, 1].map(|cuts| totals.values().map(|total| total[cuts]).sum::<usize>());
            println!(
                "{} distinct cases: {once} with one cut, {twice} with two, in {} s",
                once + twice,
                start.elapsed().as_secs()
            );
            ExitCode::SUCCESS
        }
        Err(failure) => {
            eprintln!("power-cuts: {}", failure.why);
            if let Some(case) = failure.case {
                eprintln!("again: power-cuts --case '{case}'");
            }
            ExitCode::FAILURE
        }
    }
}
