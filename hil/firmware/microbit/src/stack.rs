//! How much of the stack was used.

#![allow(unsafe_code, reason = "memory below the stack pointer")]

use core::arch::asm;

/// What unused stack holds.
const PAINT: u32 = 0x5AFE_57AC;

unsafe extern "C" {
    /// The first word of the stack's memory, and the first one behind it: `app.x`.
    static mut _stack_end: u32;
    static _stack_start: u32;
}

/// Paints what is not in use. To be called first of all.
#[inline(always)]
pub fn paint() {
    let top: *mut u32;
    // SAFETY: copies a register.
    unsafe { asm!("mov {}, sp", out(reg) top, options(nomem, nostack, preserves_flags)) };
    let mut at = &raw mut _stack_end;
    // What the loop itself may push lies in the first words below the stack pointer.
    while at < top.wrapping_sub(16) {
        // SAFETY: the word is below the stack pointer, in the stack's own memory: nothing is there.
        unsafe { at.write_volatile(PAINT) };
        at = at.wrapping_add(1);
    }
}

/// The most bytes that were in use at any time since it was painted.
pub fn used() -> u32 {
    let top = (&raw const _stack_start).cast_mut();
    let mut at = &raw mut _stack_end;
    // SAFETY: the stack's own memory, from its end up to where it is in use.
    while at < top && unsafe { at.read_volatile() } == PAINT {
        at = at.wrapping_add(1);
    }
    top as u32 - at as u32
}
