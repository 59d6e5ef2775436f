//! The bootloader: decides what starts, copies it to where it runs, and starts it.
//!
//! It keeps two interrupts for itself while an image runs, for the core's vectors stay where they are, in the eNVM: a fault
//! resets the device, and so does the deadline of a trial. Both work on nothing but registers and the room behind the
//! hand-off, since all other RAM is the image's.

#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "memory that is an image, and exceptions")]

use core::panic::PanicInfo;

use cortex_m_rt::{ExceptionFrame, entry, exception};
use embedded_storage::nor_flash::ReadNorFlash;
use sha2::{Digest, Sha256};
use tuffet_agent::Flash;
use tuffet_agent::boot::{Decision, Reason, decide_boot};
use tuffet_emcraft_sf2::nor::{MAP, Nor};
use tuffet_emcraft_sf2::{image, system, timer, uart};
use tuffet_hil_protocol::handoff::HandOff;
use tuffet_hil_protocol::page::DEADLINE;

#[entry]
fn main() -> ! {
    system::start();
    timer::disarm();
    uart::start();
    image::boot::count_start();
    let why = match load() {
        Ok(deadline) => start(deadline),
        Err(why) => why,
    };
    // Zeros around it: to who reads the log this is a frame, and none of the log's.
    uart::send(b"\0");
    uart::send(why.as_bytes());
    uart::send(b"\n\0");
    system::tuffet_switch_off(false)
}

/// Decides what starts, and brings it to where it runs. Seconds that it has to prove itself; 0 for as many as it likes.
#[inline(never)]
fn load() -> Result<u32, &'static str> {
    let nor = Nor::start();
    let mut flash = Flash::new(nor, MAP).map_err(|_| "the map does not fit the flash")?;
    let Decision { start, reason, .. } = decide_boot(&mut flash).map_err(|_| "there is nothing to start")?;
    // SAFETY: no image runs yet, and there is no other such place.
    let place = unsafe { image::boot::place(start.length) }.ok_or("the image is too long")?;
    let from = flash.map().slot(start.slot).offset;
    flash.nor_mut().read(from, place).map_err(|_| "the flash cannot be read")?;
    // What runs is what was copied. The bus may have erred since the slot was hashed.
    let digest: [u8; 32] = Sha256::digest(&*place).into();
    if digest != start.digest {
        return Err("the copy is another one than the image");
    }
    image::boot::leave(&HandOff { digest });
    Ok(match reason {
        // While the active image is damaged the trial goes on, with the only image that there is.
        Reason::Trial { .. } | Reason::ActiveDamaged => {
            flash.nor_mut().device_page().map_or(DEADLINE, |page| page.deadline)
        }
        _ => 0,
    })
}

fn start(deadline: u32) -> ! {
    system::allow_execution();
    if deadline > 0 {
        image::boot::set_deadline(deadline);
        timer::arm();
        system::enable_interrupt(timer::DEADLINE_INTERRUPT);
    }
    // SAFETY: `load` put an image there whose digest is that of the boot record, and the core may execute it.
    unsafe { image::boot::start() }
}

/// Any interrupt: there is one only, that of the timer.
#[exception]
unsafe fn DefaultHandler(_: i16) {
    timer::acknowledge();
    if image::boot::second_passed() {
        system::restart();
    }
}

/// The image crashed, or this program did.
#[exception]
unsafe fn HardFault(_: &ExceptionFrame) -> ! {
    system::restart()
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    system::restart()
}
