//! Drivers of QEMU's `emcraft-sf2`, for its bootloader and its application.
//!
//! The board is Emcraft's module with a Microsemi SmartFusion2 M2S010: a Cortex-M3 at 142 MHz, 64 KiB of eSRAM, 256 KiB of
//! eNVM, 64 MiB of external RAM, a SPI NOR of 16 MiB, Ethernet. Names of registers are those of Microsemi's user guide UG0331,
//! *SmartFusion2 Microcontroller Subsystem*; what the emulator makes of them stands in QEMU's `hw/ssi/mss-spi.c`,
//! `hw/net/msf2-emac.c`, `hw/timer/mss-timer.c` and `hw/arm/msf2-soc.c`.
//!
//! Interrupts are the bootloader's alone: one timer has them, whose end is a reset.
#![no_std]

pub mod emac;
pub mod image;
pub mod nor;
mod registers;
mod spi;
pub mod system;
pub mod timer;
pub mod uart;
