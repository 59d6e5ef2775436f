//! What the emulated boards of `hil/` and their host agree on.
//!
//! * [`board`] says where everything lies on a board's flash, and in its RAM, as plain numbers.
//! * [`page`] is the device page: what a device is told by whoever made it, before it starts.
//! * [`handoff`] is what a bootloader leaves in RAM for the image that it starts.
//! * [`stamp`] is what makes one image differ from the next.
//! * [`line`](mod@line) carries files and a log over a UART, for boards that have no network.
//!
//! Nothing here is trusted: it brings bytes to the verifier, and takes none of its decisions.
#![no_std]
#![forbid(unsafe_code)]

pub mod board;
pub mod handoff;
pub mod line;
pub mod page;
pub mod stamp;

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};

/// A device that is to wait so many seconds has nothing left to do, and is switched off.
pub const ASLEEP: u32 = 30;

/// CRC-32 as everywhere in the project. Without a table: that takes a KiB, and boards are small.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);
