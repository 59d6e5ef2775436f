//! A NOR flash in memory. Its code is none of the agent's, and its time is not counted.

use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use tuffet_agent::FlashMap;
use tuffet_agent::flash_map::{Layout, Region};

use crate::board::{File, time};

/// Two areas of 4 KiB for each journal, and two slots of 64 KiB. `tests/src/bin/footprint/device.rs` has the same.
pub(crate) const MAP: FlashMap = match FlashMap::new(Layout {
    erase_unit: 0x1000,
    write_unit: 4,
    erased: 0xFF,
    boot: Region { offset: 0, length: 0x2000 },
    trust: Region { offset: 0x2000, length: 0x2000 },
    slot_a: Region { offset: 0x4000, length: 0x1_0000 },
    slot_b: Region { offset: 0x1_4000, length: 0x1_0000 },
}) {
    Ok(map) => map,
    Err(_) => panic!("the map is wrong"),
};

/// Bytes of the whole.
pub(crate) const BYTES: usize = 0x2_4000;

/// Where the host keeps it while the device is off.
pub(crate) const FILE: &[u8] = b"flash\0";

/// The flash.
pub(crate) struct Ram<'m>(pub(crate) &'m mut [u8; BYTES]);

/// Ticks spent in it.
static SPENT: AtomicU32 = AtomicU32::new(0);

/// Ticks that a call takes, without those spent in the flash.
#[inline(always)]
pub(crate) fn time_outside<T>(call: impl FnOnce() -> T) -> (T, u32) {
    let before = SPENT.load(Relaxed);
    let (result, spent) = time(call);
    (result, spent.wrapping_sub(SPENT.load(Relaxed).wrapping_sub(before)))
}

/// Power comes back: the flash is what the host kept.
#[inline(never)]
pub(crate) fn load(bytes: &mut [u8; BYTES]) -> bool {
    File::open(FILE).is_some_and(|mut file| file.read(bytes).len() == BYTES)
}

/// The host keeps it.
#[inline(never)]
pub(crate) fn keep(bytes: &[u8; BYTES]) -> bool {
    File::create(FILE).is_some_and(|mut file| file.write(bytes))
}

impl Ram<'_> {
    fn range(&mut self, from: u32, to: usize, unit: usize) -> Result<&mut [u8], NorFlashErrorKind> {
        let from = from as usize;
        if !from.is_multiple_of(unit) || !to.is_multiple_of(unit) {
            return Err(NorFlashErrorKind::NotAligned);
        }
        self.0.get_mut(from..to).ok_or(NorFlashErrorKind::OutOfBounds)
    }

    fn counted<T>(&mut self, call: impl FnOnce(&mut Self) -> T) -> T {
        let (result, spent) = time(|| call(self));
        SPENT.store(SPENT.load(Relaxed).wrapping_add(spent), Relaxed);
        result
    }
}

impl ErrorType for Ram<'_> {
    type Error = NorFlashErrorKind;
}

impl ReadNorFlash for Ram<'_> {
    const READ_SIZE: usize = 1;

    #[inline(never)]
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), NorFlashErrorKind> {
        self.counted(|flash| {
            let from = flash.range(offset, (offset as usize).saturating_add(bytes.len()), Self::READ_SIZE)?;
            bytes.copy_from_slice(from);
            Ok(())
        })
    }

    fn capacity(&self) -> usize {
        BYTES
    }
}

impl NorFlash for Ram<'_> {
    const WRITE_SIZE: usize = 4;
    const ERASE_SIZE: usize = 4096;

    #[inline(never)]
    fn erase(&mut self, from: u32, to: u32) -> Result<(), NorFlashErrorKind> {
        self.counted(|flash| {
            // Not by `memset`, which the agent may not need.
            for byte in flash.range(from, to as usize, Self::ERASE_SIZE)? {
                *byte = black_box(0xFF);
            }
            Ok(())
        })
    }

    /// Takes bytes where it is erased, and nowhere else.
    #[inline(never)]
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), NorFlashErrorKind> {
        self.counted(|flash| {
            let to = flash.range(offset, (offset as usize).saturating_add(bytes.len()), Self::WRITE_SIZE)?;
            if to.iter().any(|byte| *byte != 0xFF) {
                return Err(NorFlashErrorKind::Other);
            }
            to.copy_from_slice(bytes);
            Ok(())
        })
    }
}
