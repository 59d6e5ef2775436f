//! Time: chapter 18, TIMER. TIMER0 counts from the start of the bootloader on, with 32 bits at 31,250 Hz, for 38 hours.

use crate::register::Register;

/// TIMER0, the only one with 32 bits.
const fn register(offset: usize) -> Register {
    Register::at(0x4000_8000 + offset)
}

const START: Register = register(0);
const CLEAR: Register = register(0x00C);
const CAPTURE_1: Register = register(0x044);
const COMPARE_0: Register = register(0x140);
const INTENSET: Register = register(0x304);
const INTENCLR: Register = register(0x308);
const MODE: Register = register(0x504);
const BITMODE: Register = register(0x508);
const PRESCALER: Register = register(0x510);
const CC_0: Register = register(0x540);
const CC_1: Register = register(0x544);
/// The core's: enables interrupts by their number.
const ISER: Register = Register::at(0xE000_E100);

/// The number of TIMER0's interrupt.
const NUMBER: u32 = 8;
/// The event of CC_0 in the interrupt's registers.
const EVENT: u32 = 1 << 16;

/// Ticks of a second: 16 MHz, by 2^9.
pub const SECOND: u32 = 31_250;

/// Starts it, from zero.
pub fn start() {
    MODE.write(0);
    BITMODE.write(3);
    PRESCALER.write(9);
    CLEAR.write(1);
    START.write(1);
}

/// Ticks since it was started.
pub fn ticks() -> u32 {
    CAPTURE_1.write(1);
    CC_1.read()
}

/// Interrupts after so many seconds, from the start on. Whose handler that is, is the bootloader's to say: it resets.
pub fn arm(seconds: u32) {
    CC_0.write(seconds.saturating_mul(SECOND));
    COMPARE_0.write(0);
    INTENSET.write(EVENT);
    ISER.write(1 << NUMBER);
}

/// Does not interrupt any more.
pub fn disarm() {
    INTENCLR.write(EVENT);
}
