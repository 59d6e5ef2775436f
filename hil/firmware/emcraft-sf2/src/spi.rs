//! MSS SPI_0 as a master, one command at a time.

use crate::registers::Registers;

const SPI: Registers<0x4000_1000> = Registers;

const CONTROL: usize = 0x00;
/// Bits of a frame.
const TXRXDF_SIZE: usize = 0x04;
const STATUS: usize = 0x08;
const RX_DATA: usize = 0x10;
const TX_DATA: usize = 0x14;
const CLK_GEN: usize = 0x18;
const SLAVE_SELECT: usize = 0x1C;

const ENABLE: u32 = 1 << 0;
const MASTER: u32 = 1 << 1;
/// Frames of a transfer: 16 bits from here on.
const FRAMES: u32 = 8;
/// The chip stays selected for as many frames.
const SPS: u32 = 1 << 26;
/// FIFOs of 32 frames of a byte, instead of 4.
const BIGFIFO: u32 = 1 << 29;

const RX_FIFO_EMPTY: u32 = 1 << 6;

/// Bytes of a transfer, at the most.
pub(crate) const TRANSFER: usize = 0xFFFF;

/// Out of reset, and set up for chip 0.
pub(crate) fn start() {
    SPI.write(CONTROL, MASTER);
    SPI.write(TXRXDF_SIZE, 8);
    // 71 MHz of the APB, by 2 * (1 + 1).
    SPI.write(CLK_GEN, 1);
    SPI.write(SLAVE_SELECT, 1);
}

/// A command to the chip, and what it answers: all of it, [`TRANSFER`] bytes at the most, while the chip is selected.
pub(crate) fn transfer(command: &[u8], out: &[u8], into: &mut [u8]) {
    let frames = u32::try_from(command.len() + out.len() + into.len()).unwrap_or(0);
    // The count can be set while the controller is off.
    SPI.write(CONTROL, MASTER | BIGFIFO);
    SPI.write(CONTROL, MASTER | BIGFIFO | SPS | (frames << FRAMES) | ENABLE);
    for byte in command.iter().chain(out) {
        exchange(*byte);
    }
    for place in into {
        *place = exchange(0);
    }
}

fn exchange(byte: u8) -> u8 {
    SPI.write(TX_DATA, byte.into());
    while SPI.read(STATUS) & RX_FIFO_EMPTY != 0 {}
    let [byte, ..] = SPI.read(RX_DATA).to_le_bytes();
    byte
}
