//! The two MSS timers: uptime, and the deadline of a trial.
//!
//! QEMU does not stop them at a reset, so what starts them sets them up anew.

#![allow(unsafe_code, reason = "interrupts are enabled")]

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use cortex_m::{asm, interrupt};

use crate::registers::Registers;
use crate::system;

const TIMER_1: Registers<0x4000_4000> = Registers;
const TIMER_2: Registers<0x4000_4018> = Registers;

const VALUE: usize = 0x00;
const LOAD: usize = 0x04;
const CONTROL: usize = 0x0C;
/// Raw interrupt status; a one takes it back.
const STATUS: usize = 0x10;

const ENABLE: u32 = 1 << 0;
const INTERRUPT: u32 = 1 << 2;

/// ARMv7-M, B3.3: the core's own timer.
const SYSTICK: Registers<0xE000_E010> = Registers;
const SYST_CSR: usize = 0x0;
const SYST_RVR: usize = 0x4;
const SYST_CVR: usize = 0x8;
const SYST_ENABLE: u32 = 1 << 0;
const TICK_INTERRUPT: u32 = 1 << 1;
const CORE_CLOCK: u32 = 1 << 2;
/// ARMv7-M, B3.2: system control.
const SCB: Registers<0xE000_ED00> = Registers;
const ICSR: usize = 0x04;
/// The tick is not pending any more.
const PENDSTCLR: u32 = 1 << 25;
/// Ticks of the core.
const MILLISECOND: u32 = 142_000;

/// Ticks of a second. On the board these timers have the APB's clock, half of the core's 142 MHz; QEMU 7.2 takes its timer's
/// default instead, before the board can say otherwise.
const SECOND: u32 = 100_000_000;
const MICROSECOND: u32 = SECOND / 1_000_000;

/// The number of the first timer's interrupt.
pub const DEADLINE_INTERRUPT: i16 = 14;

/// What the second timer said when the last whole second was over. It counts down from 2^32 - 1, for 42 seconds.
static MARK: AtomicU32 = AtomicU32::new(0);
static SECONDS: AtomicU32 = AtomicU32::new(0);
/// Microseconds in [`pause`], and ticks that are less than one.
static ASLEEP: AtomicU32 = AtomicU32::new(0);
static ASLEEP_REST: AtomicU32 = AtomicU32::new(0);

/// Time begins.
pub fn start() {
    TIMER_2.write(CONTROL, 0);
    TIMER_2.write(LOAD, u32::MAX);
    TIMER_2.write(CONTROL, ENABLE);
    MARK.store(TIMER_2.read(VALUE), Relaxed);
    SECONDS.store(0, Relaxed);
}

/// Milliseconds since [`start`]. To be asked for at least every 40 seconds: nothing else counts how often the timer ended.
pub fn milliseconds() -> u64 {
    microseconds() / 1000
}

fn microseconds() -> u64 {
    let mut passed = MARK.load(Relaxed).wrapping_sub(TIMER_2.read(VALUE));
    let whole = passed / SECOND;
    if whole > 0 {
        MARK.store(MARK.load(Relaxed).wrapping_sub(whole * SECOND), Relaxed);
        SECONDS.store(SECONDS.load(Relaxed).saturating_add(whole), Relaxed);
        passed -= whole * SECOND;
    }
    u64::from(SECONDS.load(Relaxed)) * 1_000_000 + u64::from(passed / MICROSECOND)
}

/// Microseconds since [`start`] in which the core did not [`pause`]. Where the emulator counts an instruction as a nanosecond
/// (`-icount shift=0`), these are thousands of instructions.
pub fn busy() -> u32 {
    let busy = microseconds().saturating_sub(ASLEEP.load(Relaxed).into());
    u32::try_from(busy).unwrap_or(u32::MAX)
}

/// Seconds since [`start`].
pub fn seconds() -> u32 {
    u32::try_from(milliseconds() / 1000).unwrap_or(u32::MAX)
}

/// Sleeps for a millisecond, or until something else wakes the core.
///
/// Whoever waits for something looks at it this often, and not always: while the core sleeps the emulator sees to its
/// network, which it does not by itself when a connection begins.
pub fn pause() {
    // Pending interrupts wake the core, and none is taken until the tick is no longer one of them: whatever stands in the
    // bootloader's vectors for it is not called, and what stands there for the deadline is called below.
    interrupt::disable();
    SYSTICK.write(SYST_RVR, MILLISECOND - 1);
    SYSTICK.write(SYST_CVR, 0);
    SYSTICK.write(SYST_CSR, CORE_CLOCK | TICK_INTERRUPT | SYST_ENABLE);
    let before = TIMER_2.read(VALUE);
    asm::dsb();
    asm::wfi();
    let asleep = before.wrapping_sub(TIMER_2.read(VALUE)) + ASLEEP_REST.load(Relaxed);
    ASLEEP.store(ASLEEP.load(Relaxed).saturating_add(asleep / MICROSECOND), Relaxed);
    ASLEEP_REST.store(asleep % MICROSECOND, Relaxed);
    SYSTICK.write(SYST_CSR, 0);
    SCB.write(ICSR, PENDSTCLR);
    asm::isb();
    // SAFETY: there is no critical section that this would end.
    unsafe { interrupt::enable() };
}

/// From now on there is an interrupt each second.
pub fn arm() {
    disarm();
    TIMER_1.write(LOAD, SECOND);
    TIMER_1.write(CONTROL, ENABLE | INTERRUPT);
}

/// There is one no more, not even one that came while interrupts were off.
pub fn disarm() {
    TIMER_1.write(CONTROL, 0);
    acknowledge();
    system::forget_interrupt(DEADLINE_INTERRUPT);
}

/// An interrupt was seen.
pub fn acknowledge() {
    TIMER_1.write(STATUS, 1);
}
