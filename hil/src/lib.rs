//! Real firmware on emulated boards: what builds it, releases for it, runs it, cuts its power, and judges what is left.
//!
//! ```text
//! board -> firmware -> world (team, mirror, device) -> machine (emulator) -> case | cuts
//! ```
//!
//! * [`board`] is where everything lies, and how an emulator is told so.
//! * [`firmware`] builds a board's programs, and stamps images.
//! * [`world`] is the release team with its repository and web server, and the device with its flash.
//! * [`machine`] is an emulator: it runs a device until its power goes, and hands back its flash and its log.
//! * [`judge`] reads a flash's bytes. The firmware's own word is not asked.
//! * [`case`](mod@case) plays a scenario, and [`cuts`] cuts the power in the middle of one.
//! * [`measure`](mod@measure) counts what all of it takes.
//! * [`simulate`] is the same device in the simulator, for a board to be held against.

#![allow(clippy::disallowed_methods, reason = "emulators run in real time, and have to be given up on")]

use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::thread;

pub mod board;
pub mod case;
pub mod cuts;
pub mod firmware;
pub mod gateway;
pub mod gdb;
pub mod judge;
pub mod machine;
pub mod measure;
pub mod simulate;
pub mod world;

/// Why something could not be done, in words.
pub type Failure = Box<dyn core::error::Error + Send + Sync>;

/// Works through items, so many at a time. What came of each, in no order.
///
/// # Panics
/// If the work does.
pub fn in_parallel<I: Sync, O: Send>(jobs: usize, items: &[I], work: &(dyn Fn(&I) -> O + Sync)) -> Vec<O> {
    let next = AtomicUsize::new(0);
    let some = || -> Vec<O> {
        let mine = core::iter::from_fn(|| items.get(next.fetch_add(1, Relaxed)));
        mine.map(work).collect()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..jobs.max(1)).map(|_| scope.spawn(some)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("the work does not panic")).collect()
    })
}
