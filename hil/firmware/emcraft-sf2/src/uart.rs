//! MMUART_0: bytes out, and nothing in. UG0331 calls it 16550-like, with registers four bytes apart.

use crate::registers::Registers;

const UART: Registers<0x4000_0000> = Registers;

/// Transmit holding register; the divisor's low byte while `DLAB` is set.
const THR: usize = 0x00;
/// The divisor's high byte while `DLAB` is set.
const DMR: usize = 0x04;
/// FIFO control.
const FCR: usize = 0x08;
/// Line control.
const LCR: usize = 0x0C;
/// Line status.
const LSR: usize = 0x14;

const LCR_8_BITS: u32 = 0b11;
const LCR_DLAB: u32 = 1 << 7;
const LSR_THRE: u32 = 1 << 5;
/// 71 MHz of the APB, by 16, by 115,200 bauds: 38.5.
const DIVISOR: u32 = 38;

/// 115,200 bauds, 8 bits, no parity, one stop bit.
pub fn start() {
    UART.write(LCR, LCR_DLAB);
    UART.write(THR, DIVISOR);
    UART.write(DMR, 0);
    UART.write(LCR, LCR_8_BITS);
    // Both FIFOs on, and empty.
    UART.write(FCR, 0b111);
}

/// Sends these bytes, and waits until the last of them is on its way.
pub fn send(bytes: &[u8]) {
    for byte in bytes {
        while UART.read(LSR) & LSR_THRE == 0 {}
        UART.write(THR, (*byte).into());
    }
}
