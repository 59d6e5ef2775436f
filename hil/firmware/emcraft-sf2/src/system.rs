//! The chip: what is in reset, the core's interrupts and memory protection, and the ends of a program.

#![allow(unsafe_code, reason = "a function has a name for a debugger")]

use cortex_m::asm;
use cortex_m::peripheral::SCB;
use cortex_m_semihosting::debug::{self, EXIT_FAILURE, EXIT_SUCCESS};

use crate::registers::Registers;

const SYSREG: Registers<0x4003_8000> = Registers;
/// A bit keeps a peripheral in its reset.
const SOFT_RESET_CR: usize = 0x48;
const MAC: u32 = 1 << 4;
const TIMER: u32 = 1 << 6;
const MMUART_0: u32 = 1 << 7;
const SPI_0: u32 = 1 << 9;

/// ARMv7-M, B3.4: a bit for each interrupt, here of the first 32.
const NVIC: Registers<0xE000_E100> = Registers;
const NVIC_ISER: usize = 0x000;
const NVIC_ICPR: usize = 0x180;
/// ARMv7-M, B3.5: memory protection.
const MPU: Registers<0xE000_ED90> = Registers;
const MPU_CTRL: usize = 0x04;
const MPU_RNR: usize = 0x08;
const MPU_RBAR: usize = 0x0C;
const MPU_RASR: usize = 0x10;

/// Takes what is used here out of its reset.
pub fn start() {
    let held = SYSREG.read(SOFT_RESET_CR);
    SYSREG.write(SOFT_RESET_CR, held & !(MAC | TIMER | MMUART_0 | SPI_0));
}

/// Enables one of the first 32 interrupts.
pub fn enable_interrupt(number: i16) {
    if let Ok(number @ 0..32) = u32::try_from(number) {
        NVIC.write(NVIC_ISER, 1 << number);
    }
}

/// Takes back that one of the first 32 interrupts is pending.
pub fn forget_interrupt(number: i16) {
    if let Ok(number @ 0..32) = u32::try_from(number) {
        NVIC.write(NVIC_ICPR, 1 << number);
    }
}

/// Lets the core execute the first MiB of the external RAM, which is forbidden by default (ARMv7-M, B3.1), and lets nobody
/// write there from now on.
pub fn allow_execution() {
    asm::dsb();
    MPU.write(MPU_RNR, 0);
    MPU.write(MPU_RBAR, 0xA000_0000);
    // AP: read-only. TEX 1, C, B: normal memory, cached. SIZE: 2^(19 + 1) bytes. ENABLE.
    MPU.write(MPU_RASR, (0b110 << 24) | (0b001 << 19) | (0b11 << 16) | (19 << 1) | 1);
    // PRIVDEFENA: all else is as it was. ENABLE.
    MPU.write(MPU_CTRL, 0b101);
    asm::dsb();
    asm::isb();
}

/// Ends as a reset (SYSRESETREQ).
pub fn restart() -> ! {
    SCB::sys_reset()
}

/// Ends, and the emulator with it. Who reads the flash's file halts here first: an emulator that ends at once loses what it
/// was about to write there.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn tuffet_switch_off(well: bool) -> ! {
    debug::exit(if well { EXIT_SUCCESS } else { EXIT_FAILURE });
    // A debugger may let the program go on after the request.
    loop {
        asm::nop();
    }
}
