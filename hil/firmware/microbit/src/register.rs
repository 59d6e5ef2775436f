//! Registers.

#![allow(unsafe_code, reason = "registers are memory that the compiler knows nothing of")]

/// A register of 32 bits.
#[derive(Clone, Copy)]
pub(crate) struct Register(*mut u32);

impl Register {
    /// The register at this address, which is one of the nRF51822 or its core.
    pub(crate) const fn at(address: usize) -> Self {
        Self(address as *mut u32)
    }

    #[inline(always)]
    pub(crate) fn read(self) -> u32 {
        // SAFETY: the addresses given in this crate are those of registers that can be read, and no reference to them exists.
        unsafe { self.0.read_volatile() }
    }

    #[inline(always)]
    pub(crate) fn write(self, value: u32) {
        // SAFETY: as above, and of those that are written none changes memory that Rust knows of.
        unsafe { self.0.write_volatile(value) }
    }
}
