//! The firmware in which client and agent are measured: their bytes, their stack, and their instructions.
//!
//! It runs under QEMU with `-icount shift=0`, in a directory with a repository's metadata files, and says numbers
//! that `tests/src/bin/footprint` makes a table of. The features of `Cargo.toml` build six programs. What
//! is measured is one of them, and is the very program that first takes an honest repository and refuses a
//! forged one.

#![no_std]
#![no_main]

#[cfg(feature = "agent")]
mod agent;
mod board;
#[cfg(feature = "boot")]
mod boot;
#[cfg(all(feature = "client", not(feature = "agent")))]
mod cycle;
#[cfg(feature = "client")]
mod forgery;
#[cfg(any(feature = "agent", feature = "boot"))]
mod nor;
#[cfg(not(any(feature = "client", feature = "boot")))]
mod plain;

use core::panic::PanicInfo;

#[cfg(feature = "agent")]
use agent::run;
#[cfg(feature = "boot")]
use boot::run;
use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS};
#[cfg(all(feature = "client", not(feature = "agent")))]
use cycle::run;
#[cfg(not(any(feature = "client", feature = "boot")))]
use plain::run;

#[entry]
fn main() -> ! {
    board::start_timer();
    board::exit(if run() { EXIT_SUCCESS } else { EXIT_FAILURE })
}

/// The message is dropped on purpose: formatting it would be most of the image.
#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    board::exit(EXIT_FAILURE)
}
