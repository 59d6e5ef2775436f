//! The hand-over to each bootloader, with the power cut within its operations. The sweep over all flashes, with more cuts,
//! is the laboratory's.

#![expect(clippy::print_stdout, reason = "how much was tried, with `--nocapture`")]

use core::num::NonZeroU64;
use std::sync::Mutex;
use std::thread;

use tuffet_tests::lab::handovers::{Count, GEOMETRIES, Loader, Plan, sweep_loader};

#[test]
fn handover_cut_anywhere_and_again_ends_for_its_reason_and_never_mixes_images() {
    let plan = Plan { seed: 1, share: NonZeroU64::new(8).expect("not zero"), second: 1 };
    println!("seed {}", plan.seed);
    let [small, middle, _, zeros] = GEOMETRIES;
    // embassy-boot takes no flash that is erased to zeros.
    let jobs = Loader::ALL.into_iter().flat_map(|loader| {
        [(loader, small), (loader, if loader == Loader::Embassy { middle } else { zeros })]
    });
    let jobs = Mutex::new(jobs);
    let all = Mutex::new(Count::default());
    let work = || {
        while let Some((loader, geometry)) = { jobs.lock().expect("no panic").next() } {
            match sweep_loader(loader, geometry, &plan) {
                Ok(Some(count)) => {
                    println!("{loader:?} {}: {count:?}", geometry.name);
                    all.lock().expect("no panic").add(&count);
                }
                Ok(None) => panic!("{loader:?} does not take {}", geometry.name),
                Err(why) => panic!("{why}"),
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(work);
        work();
    });
    let Count { once, twice, .. } = *all.lock().expect("no panic");
    println!("{once} lives cut once, {twice} cut twice");
    assert!(once > 15_000 && twice > 15_000, "the sweep has become small");
}
