//! MSS EMAC, as a device of `smoltcp`. Frames go to and from memory by DMA: a ring of descriptors for what comes, and one for
//! what goes.
//!
//! A descriptor is three words: the address of a buffer; its size, with a bit that says that it is empty; the address of the
//! next descriptor (UG0331, *DMA descriptors*).

#![allow(unsafe_code, reason = "memory that is shared with a DMA engine")]

use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use cortex_m::asm;
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::registers::Registers;

const EMAC: Registers<0x4004_1000> = Registers;

const CFG1: usize = 0x00;
const CFG2: usize = 0x04;
const MAX_FRAME_LENGTH: usize = 0x10;
const STATION_ADDRESS_1: usize = 0x40;
const STATION_ADDRESS_2: usize = 0x44;
const FIFO_CFG0: usize = 0x48;
const DMA_TX_CTRL: usize = 0x180;
const DMA_TX_DESC: usize = 0x184;
const DMA_TX_STATUS: usize = 0x188;
const DMA_RX_CTRL: usize = 0x18C;
const DMA_RX_DESC: usize = 0x190;
const DMA_RX_STATUS: usize = 0x194;

const CFG1_TX_ENABLE: u32 = 1 << 0;
const CFG1_RX_ENABLE: u32 = 1 << 2;
const CFG1_RESET: u32 = 1 << 31;
/// Full duplex, CRC and padding by the MAC, nibble mode, a preamble of 7 bytes.
const CFG2_MODE: u32 = 0x7000 | (1 << 8) | 0b111;
/// All five modules of the FIFO on.
const FIFO_ENABLE: u32 = 0b1_1111 << 8;
const DMA_ENABLE: u32 = 1;
/// In both status registers: one frame less that was seen to.
const ONE_FRAME: u32 = 1 << 0;
/// DMA_RX_STATUS: there was no descriptor for a frame.
const OVERFLOW: u32 = 1 << 2;

/// In a descriptor: the buffer is empty.
const EMPTY: u32 = 1 << 31;
/// In a descriptor: bytes of the frame.
const LENGTH: u32 = 0x7FF;

/// Bytes of a buffer: an Ethernet frame of 1514, rounded up.
const FRAME: usize = 1536;
/// Frames that may come before the first of them is seen to: as many as a server sends in one go, of which the window lets three
/// be full.
const RING: usize = 6;

/// A descriptor.
#[repr(C)]
#[derive(Clone, Copy)]
struct Descriptor {
    address: u32,
    size: u32,
    next: u32,
}

/// Memory that the DMA engine shares.
#[repr(C, align(4))]
pub struct Dma {
    coming: [Descriptor; RING],
    going: Descriptor,
    received: [[u8; FRAME]; RING],
    sent: [u8; FRAME],
}

impl Dma {
    /// All zero.
    #[allow(clippy::new_without_default, reason = "it is for a static")]
    #[must_use]
    pub const fn new() -> Self {
        let none = Descriptor { address: 0, size: 0, next: 0 };
        Self { coming: [none; RING], going: none, received: [[0; FRAME]; RING], sent: [0; FRAME] }
    }
}

/// Bytes of frames so far.
static RECEIVED: AtomicU32 = AtomicU32::new(0);
static SENT: AtomicU32 = AtomicU32::new(0);

/// Bytes of Ethernet frames, received and sent, as the DMA engine has them: without preamble and CRC.
pub fn wire() -> [u32; 2] {
    [RECEIVED.load(Relaxed), SENT.load(Relaxed)]
}

/// The MAC.
pub struct Emac {
    dma: *mut Dma,
    /// The place in the ring of the next frame that comes.
    next: usize,
}

impl Emac {
    /// Starts it, with this address.
    pub fn start(address: [u8; 6], dma: &'static mut Dma) -> Self {
        let emac = Self { dma, next: 0 };
        EMAC.write(CFG1, CFG1_RESET);
        EMAC.write(CFG1, 0);
        for place in 0..RING {
            let next = emac.coming((place + 1) % RING);
            let empty = Descriptor { address: emac.received(place) as u32, size: EMPTY, next: next as u32 };
            // SAFETY: `coming` points into the memory that `start` was given for good, and the engine is off.
            unsafe { emac.coming(place).write_volatile(empty) };
        }
        let going = emac.going();
        let empty = Descriptor { address: emac.sent() as u32, size: EMPTY, next: going as u32 };
        // SAFETY: as above.
        unsafe { going.write_volatile(empty) };
        let [a, b, c, d, e, f] = address;
        EMAC.write(STATION_ADDRESS_1, u32::from_be_bytes([a, b, c, d]));
        EMAC.write(STATION_ADDRESS_2, u32::from_be_bytes([e, f, 0, 0]));
        EMAC.write(MAX_FRAME_LENGTH, FRAME as u32);
        EMAC.write(CFG2, CFG2_MODE);
        EMAC.write(FIFO_CFG0, FIFO_ENABLE);
        EMAC.write(CFG1, CFG1_RX_ENABLE | CFG1_TX_ENABLE);
        emac.go_on();
        emac
    }

    fn coming(&self, place: usize) -> *mut Descriptor {
        // SAFETY: a place within memory that `start` was given for good.
        unsafe { (&raw mut (*self.dma).coming).cast::<Descriptor>().add(place % RING) }
    }

    fn received(&self, place: usize) -> *mut u8 {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.dma).received).cast::<[u8; FRAME]>().add(place % RING).cast() }
    }

    fn going(&self) -> *mut Descriptor {
        // SAFETY: as above.
        unsafe { &raw mut (*self.dma).going }
    }

    fn sent(&self) -> *mut u8 {
        // SAFETY: as above.
        unsafe { (&raw mut (*self.dma).sent).cast() }
    }

    /// Lets frames come, from the next place in the ring on. The engine stops when it finds no room for one; then this is for
    /// when all of the ring is free, for else engine and driver would not mean the same place by the next one.
    fn go_on(&self) {
        if EMAC.read(DMA_RX_CTRL) & DMA_ENABLE == 0 {
            asm::dmb();
            EMAC.write(DMA_RX_STATUS, OVERFLOW);
            EMAC.write(DMA_RX_DESC, self.coming(self.next) as u32);
            EMAC.write(DMA_RX_CTRL, DMA_ENABLE);
        }
    }

    fn is_idle(&self) -> bool {
        // SAFETY: `going` points into memory that `start` was given for good; the engine writes that word, hence volatile.
        unsafe { (&raw const (*self.going()).size).read_volatile() & EMPTY != 0 }
    }
}

impl phy::Device for Emac {
    type RxToken<'a> = Coming<'a>;
    type TxToken<'a> = Going<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Coming<'_>, Going<'_>)> {
        // SAFETY: `coming` points into memory that `start` was given for good; the engine writes that word, hence volatile.
        let size = unsafe { (&raw const (*self.coming(self.next)).size).read_volatile() };
        if size & EMPTY != 0 {
            self.go_on();
            return None;
        }
        if !self.is_idle() {
            return None;
        }
        asm::dmb();
        let place = self.next;
        self.next = (place + 1) % RING;
        let length = ((size & LENGTH) as usize).min(FRAME);
        RECEIVED.fetch_add(length as u32, Relaxed);
        let emac = &*self;
        Some((Coming { emac, place, length }, Going { emac }))
    }

    fn transmit(&mut self, _: Instant) -> Option<Going<'_>> {
        self.is_idle().then_some(Going { emac: self })
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = 1514;
        capabilities
    }
}

/// A frame that came. Dropped or consumed, its place in the ring is free.
pub struct Coming<'e> {
    emac: &'e Emac,
    place: usize,
    length: usize,
}

impl phy::RxToken for Coming<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        // SAFETY: the engine filled this buffer, and keeps off it until its descriptor is marked as empty, in `drop`.
        take(unsafe { core::slice::from_raw_parts(self.emac.received(self.place), self.length) })
    }
}

impl Drop for Coming<'_> {
    fn drop(&mut self) {
        asm::dmb();
        // SAFETY: `coming` points into memory that `start` was given for good. The buffer is nobody's any more.
        unsafe { (&raw mut (*self.emac.coming(self.place)).size).write_volatile(EMPTY) };
        EMAC.write(DMA_RX_STATUS, ONE_FRAME);
    }
}

/// Leave to send a frame.
pub struct Going<'e> {
    emac: &'e Emac,
}

impl phy::TxToken for Going<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, fill: F) -> R {
        let length = length.min(FRAME);
        // SAFETY: the engine keeps off this buffer while its descriptor is marked as empty. That is so, for tokens are made
        // only then, no two of them at a time are consumed, and nothing is under way until the write below.
        let result = fill(unsafe { core::slice::from_raw_parts_mut(self.emac.sent(), length) });
        SENT.fetch_add(length as u32, Relaxed);
        asm::dmb();
        // SAFETY: `going` points into memory that `start` was given for good. From here on the buffer is the engine's.
        unsafe { (&raw mut (*self.emac.going()).size).write_volatile(length as u32) };
        EMAC.write(DMA_TX_DESC, self.emac.going() as u32);
        EMAC.write(DMA_TX_CTRL, DMA_ENABLE);
        // The count of frames that went, and that there was none behind this one.
        EMAC.write(DMA_TX_STATUS, 0b11);
        result
    }
}
