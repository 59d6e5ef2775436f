//! Registers of a peripheral.

#![allow(unsafe_code, reason = "registers")]

/// The registers from this address on, which is that of one of this chip's peripherals, or of its core's.
pub(crate) struct Registers<const BASE: usize>;

impl<const BASE: usize> Registers<BASE> {
    /// Reads the register at this offset, in bytes.
    #[inline(always)]
    pub(crate) fn read(&self, offset: usize) -> u32 {
        // SAFETY: an aligned word of a peripheral, for `BASE` begins one, and offsets are constants of the drivers here.
        // Nothing else in this program takes that address for memory.
        unsafe { ((BASE + offset) as *const u32).read_volatile() }
    }

    /// Writes the register at this offset, in bytes.
    #[inline(always)]
    pub(crate) fn write(&self, offset: usize, value: u32) {
        // SAFETY: as above. What a write lets a peripheral do to memory is each driver's to answer for.
        unsafe { ((BASE + offset) as *mut u32).write_volatile(value) }
    }
}
