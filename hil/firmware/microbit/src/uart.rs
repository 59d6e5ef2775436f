//! The line: chapter 29, UART. 115,200 baud, eight bits, no parity, on the pins that the micro:bit's interface chip has.

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use crate::register::Register;

const STARTRX: Register = Register::at(0x4000_2000);
const STARTTX: Register = Register::at(0x4000_2008);
const RXDRDY: Register = Register::at(0x4000_2108);
const TXDRDY: Register = Register::at(0x4000_211C);
const ENABLE: Register = Register::at(0x4000_2500);
const PSELTXD: Register = Register::at(0x4000_250C);
const PSELRXD: Register = Register::at(0x4000_2514);
const RXD: Register = Register::at(0x4000_2518);
const TXD: Register = Register::at(0x4000_251C);
const BAUDRATE: Register = Register::at(0x4000_2524);

/// Bytes since the start.
static RECEIVED: AtomicU32 = AtomicU32::new(0);
static SENT: AtomicU32 = AtomicU32::new(0);

/// Enables the line, to send.
pub fn start() {
    PSELTXD.write(24);
    PSELRXD.write(25);
    BAUDRATE.write(0x01D7_E000);
    ENABLE.write(4);
    STARTTX.write(1);
}

/// Enables the line to receive, too.
pub fn listen() {
    STARTRX.write(1);
}

/// Sends a byte, and waits until it is gone.
pub fn send(byte: u8) {
    TXDRDY.write(0);
    TXD.write(byte.into());
    while TXDRDY.read() == 0 {}
    one_more(&SENT);
}

/// The next byte that came. There is room for six of them; whoever expects more looks often.
pub fn receive() -> Option<u8> {
    if RXDRDY.read() == 0 {
        return None;
    }
    RXDRDY.write(0);
    one_more(&RECEIVED);
    let [byte, ..] = RXD.read().to_le_bytes();
    Some(byte)
}

/// Bytes since the start: received and sent.
pub fn counts() -> [u32; 2] {
    [&RECEIVED, &SENT].map(|count| count.load(Relaxed))
}

/// A Cortex-M0 cannot add in one step, and nothing else does.
fn one_more(count: &AtomicU32) {
    count.store(count.load(Relaxed).wrapping_add(1), Relaxed);
}
