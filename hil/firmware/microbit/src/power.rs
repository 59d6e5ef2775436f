//! How the device ends: it resets, or is switched off.

use cortex_m_semihosting::debug;

use crate::register::Register;

/// Resets the chip: ARMv6-M, B3.2.6, AIRCR.
pub fn reset() -> ! {
    AIRCR.write(SYSRESETREQ);
    loop {
        core::hint::spin_loop();
    }
}

/// The core's application interrupt and reset control.
const AIRCR: Register = Register::at(0xE000_ED0C);
/// The key without which a write is none, and the request.
const SYSRESETREQ: u32 = 0x05FA_0004;

/// Ends the emulator, and tells it whether all went well. What is on the flash then is lost with it, so whoever wants it
/// stops here.
#[inline(never)]
#[unsafe(no_mangle)]
#[allow(unsafe_code, reason = "the name is for the host's debugger")]
pub extern "C" fn tuffet_switch_off(well: bool) -> ! {
    debug::exit(if well { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    loop {
        core::hint::spin_loop();
    }
}
