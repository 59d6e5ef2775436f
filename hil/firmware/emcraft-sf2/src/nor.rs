//! The SPI NOR: a Spansion S25FL128S, 16 MiB in sectors of 64 KiB and pages of 256 bytes.
//!
//! Whoever counts its operations, or cuts the power within one, breaks on `tuffet_flash_erase` and `tuffet_flash_program`:
//! there is no other way by which anything here changes the flash.

#![allow(unsafe_code, reason = "two functions have names and arguments for a debugger")]

use embedded_storage::nor_flash::{
    ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash, check_erase, check_read, check_write,
};
use tuffet_agent::FlashMap;
use tuffet_agent::flash_map::{Layout, Region};
use tuffet_hil_protocol::board::{EMCRAFT_SF2, Part};
use tuffet_hil_protocol::page::{self, DevicePage};

use crate::spi;

/// Where everything lies.
pub const MAP: FlashMap = match FlashMap::new(Layout {
    erase_unit: EMCRAFT_SF2.erase_unit,
    write_unit: EMCRAFT_SF2.write_unit,
    erased: 0xFF,
    boot: region(EMCRAFT_SF2.boot),
    trust: region(EMCRAFT_SF2.trust),
    slot_a: region(EMCRAFT_SF2.slot_a),
    slot_b: region(EMCRAFT_SF2.slot_b),
}) {
    Ok(map) => map,
    // The compiler evaluates this, never a device.
    Err(_) => panic!("the map is wrong"),
};

const fn region(part: Part) -> Region {
    Region { offset: part.offset, length: part.length }
}

/// Bytes of the chip.
const SIZE: u32 = EMCRAFT_SF2.size;
/// Bytes of a page: a program command goes on at the page's beginning where it ends.
const PAGE: u32 = 256;
const SECTOR: u32 = 0x1_0000;

// Commands of the data sheet, S25FL128S, chapter 9.
const WRITE_ENABLE: u8 = 0x06;
const READ_STATUS: u8 = 0x05;
const READ: u8 = 0x03;
const PAGE_PROGRAM: u8 = 0x02;
const SECTOR_ERASE: u8 = 0xD8;
const CLEAR_STATUS: u8 = 0x30;

/// Status: an operation is under way.
const BUSY: u8 = 1 << 0;
/// Status: the last erase, or the last program, failed.
const FAILED: u8 = 0b11 << 5;
/// How often the status is asked for. A sector takes 2.6 s at the most, and asking a microsecond.
const PATIENCE: u32 = 5_000_000;

/// The flash.
#[derive(Debug)]
pub struct Nor(());

impl Nor {
    /// Takes the controller out of its reset. There is one flash, and one that uses it.
    #[must_use]
    pub fn start() -> Self {
        spi::start();
        Self(())
    }

    /// What this device was told by its maker.
    pub fn device_page(&mut self) -> Option<DevicePage> {
        let mut bytes = [0; page::LENGTH];
        self.read(EMCRAFT_SF2.device_page, &mut bytes).ok()?;
        DevicePage::decode(&bytes)
    }
}

impl ErrorType for Nor {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Nor {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        check_read(self, offset, bytes.len())?;
        let mut from = offset;
        for piece in bytes.chunks_mut(spi::TRANSFER - 4) {
            spi::transfer(&addressed(READ, from), &[], piece);
            from += piece.len() as u32;
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        SIZE as usize
    }
}

impl NorFlash for Nor {
    /// The chip keeps an error code for each 16 bytes, and drops it for those that are programmed a second time (data sheet,
    /// 5.3.1, *automatic ECC*).
    const WRITE_SIZE: usize = 16;
    const ERASE_SIZE: usize = SECTOR as usize;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        check_erase(self, from, to)?;
        let mut offset = from;
        while offset < to {
            tuffet_flash_erase(offset);
            done()?;
            offset += SECTOR;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        check_write(self, offset, bytes.len())?;
        let (mut offset, mut bytes) = (offset, bytes);
        while !bytes.is_empty() {
            let room = (PAGE - offset % PAGE) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            // SAFETY: the pointer and the length are those of a slice.
            unsafe { tuffet_flash_program(offset, now.as_ptr(), now.len() as u32) };
            done()?;
            offset += now.len() as u32;
            bytes = later;
        }
        Ok(())
    }
}

/// Erases the sector that begins there.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn tuffet_flash_erase(offset: u32) {
    spi::transfer(&[WRITE_ENABLE], &[], &mut []);
    spi::transfer(&addressed(SECTOR_ERASE, offset), &[], &mut []);
}

/// Programs bytes of one page.
///
/// # Safety
///
/// So many bytes can be read from there.
#[inline(never)]
#[unsafe(no_mangle)]
unsafe extern "C" fn tuffet_flash_program(offset: u32, bytes: *const u8, length: u32) {
    // SAFETY: the caller says so.
    let bytes = unsafe { core::slice::from_raw_parts(bytes, length as usize) };
    spi::transfer(&[WRITE_ENABLE], &[], &mut []);
    spi::transfer(&addressed(PAGE_PROGRAM, offset), bytes, &mut []);
}

/// A command with an address of 24 bits.
fn addressed(command: u8, offset: u32) -> [u8; 4] {
    let [_, high, middle, low] = offset.to_be_bytes();
    [command, high, middle, low]
}

/// Waits for the end of an operation.
fn done() -> Result<(), NorFlashErrorKind> {
    for _ in 0..PATIENCE {
        let mut status = [0];
        spi::transfer(&[READ_STATUS], &[], &mut status);
        let [status] = status;
        if status & FAILED != 0 {
            // Until this is said the chip takes nothing else.
            spi::transfer(&[CLEAR_STATUS], &[], &mut []);
            break;
        }
        if status & BUSY == 0 {
            return Ok(());
        }
    }
    Err(NorFlashErrorKind::Other)
}
