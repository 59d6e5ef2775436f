//! Time: chapter 18, TIMER. TIMER0 counts microseconds from the start of the bootloader on, with 32 bits.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

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

/// Ticks of a second: 16 MHz, by 2^4.
pub const SECOND: u32 = 1_000_000;

/// Whole seconds, and the tick at which the last of them was full.
static SECONDS: AtomicU32 = AtomicU32::new(0);
static FULL: AtomicU32 = AtomicU32::new(0);
/// Ticks that were spent on waiting.
static WAITED: AtomicU32 = AtomicU32::new(0);

/// Starts it, from zero.
pub fn start() {
    MODE.write(0);
    BITMODE.write(3);
    PRESCALER.write(4);
    CLEAR.write(1);
    START.write(1);
}

/// Ticks since it was started. There are no more than 71 minutes of them.
pub fn ticks() -> u32 {
    CAPTURE_1.write(1);
    CC_1.read()
}

/// Seconds since it was started, for one who asks every hour at least.
pub fn seconds() -> u32 {
    let now = ticks();
    let mut full = FULL.load(Relaxed);
    while now.wrapping_sub(full) >= SECOND {
        full = full.wrapping_add(SECOND);
        SECONDS.store(SECONDS.load(Relaxed).wrapping_add(1), Relaxed);
    }
    FULL.store(full, Relaxed);
    SECONDS.load(Relaxed)
}

/// Waits so many seconds.
pub fn wait(seconds: u32) {
    for _ in 0..seconds {
        let begin = ticks();
        while ticks().wrapping_sub(begin) < SECOND {}
        waited(SECOND);
    }
}

/// So many ticks were spent on waiting.
pub fn waited(ticks: u32) {
    WAITED.store(WAITED.load(Relaxed).wrapping_add(ticks), Relaxed);
}

/// Microseconds that were not.
pub fn busy() -> u32 {
    ticks().wrapping_sub(WAITED.load(Relaxed))
}

/// Interrupts after so many seconds from now on, 4,294 at the most. Whose handler that is, is the bootloader's to say: it resets.
pub fn arm(seconds: u32) {
    CC_0.write(ticks().wrapping_add(seconds.saturating_mul(SECOND)));
    // What it was compared with before may have been reached meanwhile.
    COMPARE_0.write(0);
    INTENSET.write(EVENT);
    ISER.write(1 << NUMBER);
}

/// Does not interrupt any more.
pub fn disarm() {
    INTENCLR.write(EVENT);
}
