//! The log: `defmt` frames, in frames of the line.

#![allow(unsafe_code, reason = "a logger is a global variable")]

use core::cell::UnsafeCell;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

use defmt::{Encoder, Logger, global_logger};
use tuffet_hil_protocol::line::{ToHost, encode};

use crate::uart;

/// Bytes that are sent at once. Most lines of the log have fewer.
const PIECE: usize = 64;

/// The logger.
#[global_logger]
struct Log;

struct State {
    encoder: Encoder,
    pieces: Pieces,
}

struct Pieces {
    bytes: [u8; PIECE],
    length: usize,
}

struct Global(UnsafeCell<State>);

// SAFETY: there is one core, and the application has no interrupts: nothing runs beside anything.
unsafe impl Sync for Global {}

static STATE: Global = Global(UnsafeCell::new(State {
    encoder: Encoder::new(),
    pieces: Pieces { bytes: [0; PIECE], length: 0 },
}));

impl Pieces {
    fn take(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if self.length == PIECE {
                self.send();
            }
            if let Some(place) = self.bytes.get_mut(self.length) {
                (*place, self.length) = (*byte, self.length + 1);
            }
        }
    }

    #[inline(never)]
    fn send(&mut self) {
        let bytes = self.bytes.get(..self.length).unwrap_or_default();
        // Kind and length, checksum, zeros, and what COBS adds.
        let mut buffer = [0; PIECE + 16];
        if let Some(frame) = encode(&ToHost::Log(bytes), &mut buffer) {
            frame.bytes.iter().copied().for_each(uart::send);
        }
        self.length = 0;
    }
}

/// A line is being written.
static WRITING: AtomicBool = AtomicBool::new(false);

/// Whether nobody is in the middle of a line. A panic there says nothing.
pub fn is_idle() -> bool {
    !WRITING.load(Relaxed)
}

// SAFETY: from `acquire` to `release` it is one log line's: none is written within another, and a panic within one asks
// `is_idle` first.
unsafe impl Logger for Log {
    fn acquire() {
        WRITING.store(true, Relaxed);
        with(|encoder, pieces| encoder.start_frame(|bytes| pieces.take(bytes)));
    }

    unsafe fn flush() {
        with(|_, pieces| pieces.send());
    }

    unsafe fn release() {
        with(|encoder, pieces| {
            encoder.end_frame(|bytes| pieces.take(bytes));
            pieces.send();
        });
        WRITING.store(false, Relaxed);
    }

    unsafe fn write(bytes: &[u8]) {
        with(|encoder, pieces| encoder.write(bytes, |bytes| pieces.take(bytes)));
    }
}

fn with(what: impl FnOnce(&mut Encoder, &mut Pieces)) {
    // SAFETY: nothing that is called from here logs, so there is no second reference.
    let State { encoder, pieces } = unsafe { &mut *STATE.0.get() };
    what(encoder, pieces);
}
