//! The firmware in which the client is measured: its bytes, its stack, and its instructions.
//!
//! It runs under QEMU with `-icount shift=0`, in a directory with a repository's metadata files, and says numbers
//! that `tests/src/bin/footprint` makes a table of. The features of `Cargo.toml` build four programs. What
//! is measured is one of them, and is the very program that first takes an honest repository and refuses a
//! forged one.

#![no_std]
#![no_main]

mod board;
#[cfg(feature = "client")]
mod cycle;
#[cfg(not(feature = "client"))]
mod plain;

use core::panic::PanicInfo;

use cortex_m_rt::entry;
use cortex_m_semihosting::debug::{EXIT_FAILURE, EXIT_SUCCESS};
#[cfg(feature = "client")]
use cycle::run;
#[cfg(not(feature = "client"))]
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
