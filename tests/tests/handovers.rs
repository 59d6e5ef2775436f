//! The hand-over to each bootloader, with the power cut within its operations.

use std::thread;

use tuffet_tests::lab::handovers::{GEOMETRIES, Loader, Plan, sweep_loader};

#[test]
fn handover_cut_anywhere_and_again_ends_with_the_reason_and_never_mixes_images() {
    let plan = Plan { seed: 1, within: 1, second: 1 };
    println!("seed {}", plan.seed);
    let jobs = Loader::ALL.map(|loader| GEOMETRIES.map(|geometry| (loader, geometry)));
    let (even, odd): (Vec<_>, Vec<_>) =
        jobs.into_iter().flatten().enumerate().partition(|(number, _)| number % 2 == 0);
    let work = |jobs: Vec<(usize, (Loader, _))>| {
        for (_, (loader, geometry)) in jobs {
            match sweep_loader(loader, geometry, &plan) {
                Ok(Some(count)) => println!("{loader:?} {}: {count:?}", geometry.name),
                Ok(None) => println!("{loader:?} {}: not for this bootloader", geometry.name),
                Err(why) => panic!("{why}"),
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| work(even));
        work(odd);
    });
}
