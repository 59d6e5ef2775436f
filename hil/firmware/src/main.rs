//! The firmware of the demo: it boots, says over semihosting which release it is, and stops.
//!
//! It is a whole program, vector table, reset handler and memory set-up included, so that what the demo
//! signs and installs is what a Cortex-M3 would run.

#![no_std]
#![no_main]

use core::{fmt::Write, panic::PanicInfo};

use cortex_m_rt::entry;
use cortex_m_semihosting::{
    debug::{self, EXIT_FAILURE, EXIT_SUCCESS},
    hio,
};

/// `PRODUCT/HARDWARE VERSION`, the names as the release entry spells them.
const IDENTITY: &str = concat!("tuffet-demo/mps2-an385 ", env!("TUFFET_FIRMWARE_VERSION"));

#[entry]
fn main() -> ! {
    let said = hio::hstdout().and_then(|mut host| writeln!(host, "{IDENTITY}").map_err(|_| ()));
    exit(if said.is_ok() { EXIT_SUCCESS } else { EXIT_FAILURE })
}

/// The message is dropped on purpose: formatting it would be most of the image.
#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    exit(EXIT_FAILURE)
}

fn exit(status: debug::ExitStatus) -> ! {
    debug::exit(status);
    // A debugger may let the program go on after the request.
    loop {
        core::hint::spin_loop();
    }
}
