//! The flash, by its controller: chapter 6, NVMC.
//!
//! It lies at address 0, so it is read as memory. A word that was erased is written once; bits go from one to zero. The
//! core waits while the controller is at work.

#![allow(unsafe_code, reason = "the flash is memory that changes by its controller")]

use core::ptr;

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use tuffet_hil_protocol::board::MICROBIT;

use crate::register::Register;

const READY: Register = Register::at(0x4001_E400);
const CONFIG: Register = Register::at(0x4001_E504);
const ERASEPAGE: Register = Register::at(0x4001_E508);

const READ_ONLY: u32 = 0;
const WRITE: u32 = 1;
const ERASE: u32 = 2;

/// Bytes of a page.
const PAGE: u32 = MICROBIT.erase_unit;

/// Most bytes of one call of [`tuffet_flash_program`].
const AT_ONCE: usize = 256;

/// All of the flash, but for the bootloader, which is neither written nor erased.
#[derive(Debug)]
pub struct Nvmc;

impl ErrorType for Nvmc {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Nvmc {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        check_read(self, offset, bytes.len())?;
        let from = offset as *const u8;
        for (at, byte) in bytes.iter_mut().enumerate() {
            // SAFETY: the place is within the flash, which can be read. It begins at address 0, where Rust has no object: whoever
            // asks for that byte, the first one of the bootloader's vectors, has a volatile read of it and no reference.
            *byte = unsafe { from.wrapping_add(at).read_volatile() };
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        MICROBIT.size as usize
    }
}

impl NorFlash for Nvmc {
    const WRITE_SIZE: usize = MICROBIT.write_unit as usize;
    const ERASE_SIZE: usize = PAGE as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        check_erase(self, from, to)?;
        if from < first() {
            return Err(NorFlashErrorKind::OutOfBounds);
        }
        (from..to).step_by(PAGE as usize).for_each(|page| tuffet_flash_erase(page));
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        check_write(self, offset, bytes.len())?;
        if offset < first() {
            return Err(NorFlashErrorKind::OutOfBounds);
        }
        let mut at = offset;
        for piece in bytes.chunks(AT_ONCE) {
            // SAFETY: these are bytes of a slice, whole words of them, and their place is within the flash.
            unsafe { tuffet_flash_program(at, piece.as_ptr(), piece.len() as u32) };
            at = at.wrapping_add(piece.len() as u32);
        }
        Ok(())
    }
}

/// The first byte that may change.
const fn first() -> u32 {
    match MICROBIT.bootloader {
        Some(bootloader) => bootloader.end(),
        None => 0,
    }
}

/// Erases a page. Each erase of this flash goes through here, for those who watch it, or cut the power.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn tuffet_flash_erase(offset: u32) {
    CONFIG.write(ERASE);
    ERASEPAGE.write(offset);
    wait();
    CONFIG.write(READ_ONLY);
}

/// Writes so many bytes, whole words and 256 bytes at the most. Each write of this flash goes through here.
///
/// # Safety
///
/// There are so many bytes, and their place is within the flash.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn tuffet_flash_program(offset: u32, bytes: *const u8, length: u32) {
    CONFIG.write(WRITE);
    for at in (0..length).step_by(4) {
        // SAFETY: the caller's promise. The bytes may lie anywhere, so they are read as such.
        let word = unsafe { ptr::read_unaligned(bytes.wrapping_add(at as usize).cast::<[u8; 4]>()) };
        let place = offset.wrapping_add(at) as *mut u32;
        // SAFETY: the caller's promise again: an aligned word of the flash, which changes by the controller's leave, and in
        // which no reference is held that outlives this call.
        unsafe { place.write_volatile(u32::from_le_bytes(word)) };
        wait();
    }
    CONFIG.write(READ_ONLY);
}

fn wait() {
    while READY.read() == 0 {}
}
