//! A flash together with its map: the only way by which this crate touches a flash.

use embedded_storage::nor_flash::{NorFlash, NorFlashError};
use sha2::{Digest, Sha256};

use crate::error::{Environment, Error, FlashOperation, Rejected};
use crate::flash_map::{FlashMap, Region, SlotId};

/// Bytes that are read or written at once where the amount is ours to choose: a page of common
/// SPI flashes, and a multiple of every write unit.
pub(crate) const PAGE: usize = 256;
/// [`PAGE`] in the type of flash offsets.
pub(crate) const PAGE_BYTES: u32 = 256;

/// A NOR flash and the map that was checked against it.
#[derive(Clone, Debug)]
pub struct Flash<F> {
    nor: F,
    map: FlashMap,
}

impl<F: NorFlash> Flash<F> {
    /// Joins a flash with a map.
    ///
    /// # Errors
    ///
    /// [`Misuse::Map`](crate::Misuse::Map) when [`FlashMap::fits`] says that they do not go
    /// together.
    pub fn new(nor: F, map: FlashMap) -> Result<Self, Error> {
        map.fits(&nor)?;
        Ok(Self { nor, map })
    }

    /// The map.
    pub fn map(&self) -> &FlashMap {
        &self.map
    }

    /// The flash itself, to look at.
    pub fn nor(&self) -> &F {
        &self.nor
    }

    /// The flash itself, for what is not ours: its owner's other regions, a host's `sync`.
    pub fn nor_mut(&mut self) -> &mut F {
        &mut self.nor
    }

    /// Gives the flash back.
    pub fn into_nor(self) -> F {
        self.nor
    }

    /// SHA-256 of the first `length` bytes of a slot, read from the flash now.
    ///
    /// # Errors
    ///
    /// Those of [`Flash::digest`].
    pub fn slot_digest(&mut self, slot: SlotId, length: u32) -> Result<[u8; 32], Error> {
        self.digest(self.map.slot(slot), length)
    }

    /// SHA-256 of the first `length` bytes of a place for an image, which begins and ends on an erase unit. Read from the
    /// flash now.
    ///
    /// # Errors
    ///
    /// [`Rejected::ImageLargerThanSlot`], or [`Environment::Flash`] when a byte cannot be read.
    pub fn digest(&mut self, region: Region, length: u32) -> Result<[u8; 32], Error> {
        if length > region.length {
            return Err(Rejected::ImageLargerThanSlot { length, slot: region.length }.into());
        }
        let mut hash = Sha256::new();
        let mut page = [0; PAGE];
        let mut offset = region.offset;
        let mut left = usize::try_from(length).unwrap_or(usize::MAX);
        while left > 0 {
            let wanted = left.min(PAGE);
            // Slots are whole erase units, so rounding up stays within.
            let rounded = wanted.checked_next_multiple_of(self.record_unit()).unwrap_or(PAGE).min(PAGE);
            let Some(bytes) = page.get_mut(..rounded) else { break };
            self.read(offset, bytes)?;
            hash.update(bytes.get(..wanted).unwrap_or_default());
            offset = offset.saturating_add(PAGE_BYTES);
            left = left.saturating_sub(wanted);
        }
        Ok(hash.finalize().into())
    }

    /// [`FlashMap::record_unit`] in the type of slice lengths.
    pub(crate) fn record_unit(&self) -> usize {
        usize::try_from(self.map.record_unit()).unwrap_or(PAGE)
    }

    /// [`Layout::write_unit`](crate::flash_map::Layout::write_unit) in the type of slice lengths.
    pub(crate) fn write_unit(&self) -> usize {
        usize::try_from(self.map.layout().write_unit).unwrap_or(PAGE)
    }

    /// What an erased byte reads as.
    pub(crate) fn erased(&self) -> u8 {
        self.map.layout().erased
    }

    pub(crate) fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Error> {
        self.nor.read(offset, bytes).map_err(|error| fault(FlashOperation::Read, offset, &error))
    }

    pub(crate) fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Error> {
        self.nor.write(offset, bytes).map_err(|error| fault(FlashOperation::Write, offset, &error))
    }

    /// Erases whole units, one at a time and from the front, so that a cut leaves at most one
    /// unit undefined.
    pub(crate) fn erase(&mut self, region: Region) -> Result<(), Error> {
        let mut from = region.offset;
        while from < region.end() {
            let to = from.saturating_add(self.map.layout().erase_unit);
            self.nor.erase(from, to).map_err(|error| fault(FlashOperation::Erase, from, &error))?;
            from = to;
        }
        Ok(())
    }

    /// Erases the first unit of a slot, so that no bootloader of any make finds an image there.
    pub(crate) fn make_unbootable(&mut self, slot: SlotId) -> Result<(), Error> {
        self.make_unbootable_at(self.map.slot(slot))
    }

    /// The same for an image that lies there.
    pub(crate) fn make_unbootable_at(&mut self, place: Region) -> Result<(), Error> {
        self.erase(Region { length: self.map.layout().erase_unit, ..place })
    }
}

/// Makes all of these bytes the same. Out of line, and one by one, which the compiler does not see: it would call `memset`,
/// of which a device has no other use that does not clear.
#[inline(never)]
pub(crate) fn fill(bytes: &mut [u8], byte: u8) {
    for place in bytes {
        *place = core::hint::black_box(byte);
    }
}

fn fault<E: NorFlashError>(operation: FlashOperation, offset: u32, error: &E) -> Error {
    Environment::Flash { operation, offset, kind: error.kind() }.into()
}
