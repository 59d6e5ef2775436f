//! A lamp on a micro:bit: an nRF51822, which is a Cortex-M0 with 256 KiB of flash and 16 KiB of RAM.
//!
//! The drivers are written from the *nRF51 Series Reference Manual* 3.0, whose chapters they name, and are as small as
//! what is needed of them: [`nvmc`] is the flash, [`uart`] the only line, [`timer`] uptime and the deadline of a trial,
//! [`power`] how the device ends. [`line`](mod@line) brings files over the line, [`log`] takes the log away over it, and
//! [`stack`] knows how much of that was used.
//!
//! Two programs share the core. A Cortex-M0 has its vectors at address 0 and nowhere else, so they are the bootloader's
//! for good: the application runs without interrupts of its own, and what interrupts it, a fault or the deadline of its
//! trial, resets the device by a handler in the bootloader, which touches no memory.
#![no_std]

pub mod line;
pub mod log;
pub mod nvmc;
pub mod power;
mod register;
pub mod stack;
pub mod timer;
pub mod uart;
