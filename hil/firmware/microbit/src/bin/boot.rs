//! The bootloader: embassy-boot's own, over one flash.
//!
//! It stays in the way of what it starts in one respect: the core's vectors are its own. Faults, interrupts and the deadline
//! of a trial reset the device.

#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "it jumps, and its handlers may use no memory")]

use core::arch::{asm, naked_asm};
use core::cell::RefCell;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use embassy_boot::{AlignedBuffer, BootLoader, BootLoaderConfig, State};
use embassy_embedded_hal::flash::partition::BlockingPartition;
use embassy_sync::blocking_mutex::Mutex;
use embassy_sync::blocking_mutex::raw::NoopRawMutex;
use embedded_storage::nor_flash::ReadNorFlash;
use tuffet_hil_protocol::board::{MICROBIT, Part};
use tuffet_hil_protocol::page::{self, DevicePage};
use tuffet_microbit::nvmc::Nvmc;
use tuffet_microbit::{power, timer};

/// Bytes that are copied at once: a part of a page.
const AT_ONCE: usize = 256;

#[entry]
fn main() -> ! {
    timer::start();
    let flash = Mutex::<NoopRawMutex, _>::new(RefCell::new(Nvmc));
    let part = |Part { offset, length }| BlockingPartition::new(&flash, offset, length);
    let Some(state) = MICROBIT.state else { power::reset() };
    let mut loader = BootLoader::new(BootLoaderConfig {
        active: part(MICROBIT.slot_a),
        dfu: part(MICROBIT.slot_b),
        state: part(state),
    });
    let mut buffer = AlignedBuffer([0; AT_ONCE]);
    // STATE is asked, and not what `prepare_boot` reports: that is what it did, which is `Swap` after a revert, too.
    let is_trial = match loader.prepare_boot(&mut buffer.0).and_then(|_| loader.read_state(&mut buffer.0)) {
        Ok(state) => state == State::Swap,
        // It goes on where it was.
        Err(_) => power::reset(),
    };
    match deadline() {
        seconds @ 1.. if is_trial => timer::arm(seconds),
        _ => {}
    }
    start(MICROBIT.slot_a)
}

/// Seconds that a trial has; 0 for as many as it likes.
fn deadline() -> u32 {
    let mut bytes = [0; page::LENGTH];
    let page = Nvmc.read(MICROBIT.device_page, &mut bytes).ok().and_then(|()| DevicePage::decode(&bytes));
    page.map_or(page::DEADLINE, |page| page.deadline)
}

/// Starts what lies there, by its vectors: the stack pointer, and where it begins.
fn start(active: Part) -> ! {
    let mut vectors = [[0; 4]; 2];
    for (vector, offset) in vectors.iter_mut().zip([active.offset, active.offset + 4]) {
        if Nvmc.read(offset, vector).is_err() {
            power::reset();
        }
    }
    let [stack, begin] = vectors.map(u32::from_le_bytes);
    if !(active.offset..active.end()).contains(&begin) {
        // There is nothing to start, and nobody to ask.
        power::tuffet_switch_off(false);
    }
    // SAFETY: the vectors are those of an image that was linked for this place. It takes all of the RAM anew, and nothing
    // of this program is used after it, but for its handlers.
    unsafe {
        asm!("msr MSP, {stack}", "bx {begin}", stack = in(reg) stack, begin = in(reg) begin, options(noreturn))
    }
}

/// What a fault does, in whichever program. It writes one register and no memory, for that may be another program's, and the
/// stack may be what failed.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn HardFault() -> ! {
    naked_asm!(
        "ldr r0, =0xE000ED0C", // AIRCR
        "ldr r1, =0x05FA0004", // the key, and SYSRESETREQ
        "str r1, [r0]",
        "dsb",
        "1: b 1b",
    )
}

/// The same for each interrupt, the deadline's among them.
#[unsafe(no_mangle)]
#[unsafe(naked)]
extern "C" fn DefaultHandler() -> ! {
    naked_asm!("ldr r0, =0xE000ED0C", "ldr r1, =0x05FA0004", "str r1, [r0]", "dsb", "1: b 1b")
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    power::reset()
}
