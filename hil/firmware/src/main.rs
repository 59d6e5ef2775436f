//! The firmware of the demo: it boots, says over semihosting which release it is, and stops.
//!
//! It is a whole program, vector table, reset handler and memory set-up included, so that what the demo
//! signs and installs is what a Cortex-M3 would run. Its product is a lamp, and most of its bytes are the
//! table that makes a lamp's dimmer look even to the eye.

#![no_std]
#![no_main]

use core::{fmt::Write, panic::PanicInfo};

use cortex_m_rt::entry;
use cortex_m_semihosting::{
    debug::{self, EXIT_FAILURE, EXIT_SUCCESS},
    hio,
};

/// `PRODUCT/HARDWARE VERSION`, the names as the release entry spells them.
const IDENTITY: &str = concat!("lamp/mps2-an385 ", env!("TUFFET_FIRMWARE_VERSION"));

/// Duty cycle of the lamp, 0 to 65535, for each of 16,384 steps of the dimmer.
static DUTY: [u16; STEPS] = duty();
const STEPS: usize = 1 << 14;

/// The eye sees lightness by about the cube root of luminance (CIE 1931), so the duty is a cube of the step.
const fn duty() -> [u16; STEPS] {
    let mut table = [0; STEPS];
    let mut step = 0;
    while step < STEPS {
        let (at, last) = (step as u64, (STEPS - 1) as u64);
        table[step] = (at * at * at * 65_535 / (last * last * last)) as u16;
        step += 1;
    }
    table
}

#[entry]
fn main() -> ! {
    // The step is volatile to the compiler, or it would keep one value and drop the table.
    let half = core::hint::black_box(STEPS / 2);
    let duty = DUTY.get(half).copied().unwrap_or_default();
    let said = hio::hstdout()
        .and_then(|mut host| writeln!(host, "{IDENTITY}\nhalf-way duty {duty}").map_err(|_| ()));
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
