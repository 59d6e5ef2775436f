//! The log: `defmt` frames over the UART.

#![allow(unsafe_code, reason = "the trait of a logger is unsafe to implement")]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use tuffet_emcraft_sf2::uart;

/// One program, which nothing interrupts that has something to say: all that could is a reset.
#[defmt::global_logger]
struct Uart;

struct Shared(UnsafeCell<defmt::Encoder>);

// SAFETY: there is one thread, and no interrupt here logs.
unsafe impl Sync for Shared {}

static ENCODER: Shared = Shared(UnsafeCell::new(defmt::Encoder::new()));
/// A frame is being written.
static WRITING: AtomicBool = AtomicBool::new(false);

/// Whether nobody is in the middle of a line.
pub(crate) fn is_idle() -> bool {
    !WRITING.load(Relaxed)
}

// SAFETY: frames are written by one thread, one after the other: a second one within a frame would be a panic of a `Format`
// that logs, and panics ask `is_idle` first.
unsafe impl defmt::Logger for Uart {
    fn acquire() {
        WRITING.store(true, Relaxed);
        // SAFETY: nobody else uses the encoder between `acquire` and `release`.
        unsafe { (*ENCODER.0.get()).start_frame(uart::send) }
    }

    unsafe fn flush() {}

    unsafe fn release() {
        // SAFETY: as above.
        unsafe { (*ENCODER.0.get()).end_frame(uart::send) }
        WRITING.store(false, Relaxed);
    }

    unsafe fn write(bytes: &[u8]) {
        // SAFETY: as above.
        unsafe { (*ENCODER.0.get()).write(bytes, uart::send) }
    }
}
