//! Where everything lies on the flash.
//!
//! | part | holds | size |
//! |---|---|---|
//! | boot journal | [`BootRecord`](crate::boot::BootRecord) | two areas of 320 bytes or more |
//! | trust journal | the trusted root, rollback floors and ledger, what is under way | two areas of 1,664 bytes or more |
//! | slot A, slot B | one image each, from the first byte | whole erase units |
//!
//! Areas are whole erase units. The parts may lie in any order and with gaps between them.

use core::fmt;

use embedded_storage::nor_flash::NorFlash;
use tuffet_client::wire::{Reader, Stored, Writer};

use crate::{boot, journal, progress, trust_store};

/// Largest write unit that the crate can serve, in bytes. STM32H7 programs 32 bytes at once; no
/// microcontroller flash that we know of needs more.
pub const WRITE_UNIT_MAX: u32 = 32;

/// Smallest erase unit that the crate can serve, in bytes. The SAM D21's row is this small.
pub const ERASE_UNIT_MIN: u32 = 256;

/// A checked description of a flash: its geometry and where each part lies.
///
/// Only [`FlashMap::new`] makes one, so holding one means that no two parts touch the same erase
/// unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlashMap {
    layout: Layout,
}

impl FlashMap {
    /// The map of the simulated device: erase unit 4 KiB, write unit 4 bytes, erased to `0xFF`,
    /// two slots of 256 KiB.
    ///
    /// | offset | length | part |
    /// |---|---|---|
    /// | `0x00000` | `0x02000` | boot journal |
    /// | `0x02000` | `0x02000` | trust journal |
    /// | `0x10000` | `0x40000` | slot A |
    /// | `0x50000` | `0x40000` | slot B |
    pub const DEMO: Self = match Self::new(Layout {
        erase_unit: 0x1000,
        write_unit: 4,
        erased: 0xFF,
        boot: Region { offset: 0, length: 0x2000 },
        trust: Region { offset: 0x2000, length: 0x2000 },
        slot_a: Region { offset: 0x1_0000, length: 0x4_0000 },
        slot_b: Region { offset: 0x5_0000, length: 0x4_0000 },
    }) {
        Ok(map) => map,
        // The compiler evaluates this, never a device.
        Err(_) => panic!("the built-in map is wrong"),
    };

    /// Checks a layout.
    ///
    /// # Errors
    ///
    /// The first [`MapFault`] found: geometry, then each part by itself, then overlaps.
    pub const fn new(layout: Layout) -> Result<Self, MapFault> {
        let Layout { erase_unit, write_unit, erased, .. } = layout;
        if !write_unit.is_power_of_two() || write_unit > WRITE_UNIT_MAX {
            return Err(MapFault::WriteUnit);
        }
        if erase_unit < ERASE_UNIT_MIN || !erase_unit.is_multiple_of(WRITE_UNIT_MAX) {
            return Err(MapFault::EraseUnit);
        }
        if erased != 0xFF && erased != 0x00 {
            return Err(MapFault::Erased);
        }
        let parts = layout.parts();
        let mut rest = parts.as_slice();
        while let [(part, region), others @ ..] = rest {
            if let Some(fault) = region.fault(*part, erase_unit) {
                return Err(fault);
            }
            if let Some(frames) = part.largest_frames()
                && (region.length >> 1) < frames
            {
                return Err(MapFault::TooSmall(*part));
            }
            rest = others;
        }
        let mut rest = parts.as_slice();
        while let [(part, region), others @ ..] = rest {
            let mut behind = others;
            while let [(other, theirs), more @ ..] = behind {
                if region.overlaps(*theirs) {
                    return Err(MapFault::Overlap(*part, *other));
                }
                behind = more;
            }
            rest = others;
        }
        Ok(Self { layout })
    }

    /// Checks that this flash can carry the map: units that divide the map's, and room for it.
    ///
    /// # Errors
    ///
    /// [`MapFault::FlashUnits`] or [`MapFault::FlashTooSmall`].
    pub fn fits<F: NorFlash>(&self, flash: &F) -> Result<(), MapFault> {
        let divides = |ours: u32, theirs: usize| {
            u32::try_from(theirs).is_ok_and(|theirs| theirs != 0 && ours.is_multiple_of(theirs))
        };
        let Layout { erase_unit, write_unit, .. } = self.layout;
        if !divides(erase_unit, F::ERASE_SIZE)
            || !divides(write_unit, F::WRITE_SIZE)
            || !divides(self.record_unit(), F::READ_SIZE)
        {
            return Err(MapFault::FlashUnits);
        }
        match u32::try_from(flash.capacity()) {
            Ok(capacity) if capacity < self.capacity() => Err(MapFault::FlashTooSmall),
            // A flash of 4 GiB or more holds every u32 offset.
            _ => Ok(()),
        }
    }

    /// The layout that was checked.
    pub const fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Where a slot lies.
    pub const fn slot(&self, slot: SlotId) -> Region {
        match slot {
            SlotId::A => self.layout.slot_a,
            SlotId::B => self.layout.slot_b,
        }
    }

    /// Bytes of flash that the map needs: one past the last byte of the last part.
    pub const fn capacity(&self) -> u32 {
        let mut capacity = 0;
        let parts = self.layout.parts();
        let mut rest = parts.as_slice();
        while let [(_, region), others @ ..] = rest {
            if region.end() > capacity {
                capacity = region.end();
            }
            rest = others;
        }
        capacity
    }

    /// Records start and are read at multiples of this, in bytes: 16, or the write unit where
    /// that is larger.
    pub(crate) const fn record_unit(&self) -> u32 {
        if self.layout.write_unit > 16 { self.layout.write_unit } else { 16 }
    }
}

/// What [`FlashMap::new`] checks. All sizes and offsets are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// What is erased at once; a multiple of the flash's own unit.
    pub erase_unit: u32,
    /// What is written at once, a power of two up to [`WRITE_UNIT_MAX`]; a multiple of the flash's
    /// own unit.
    pub write_unit: u32,
    /// What an erased byte reads as: `0xFF` or `0x00`.
    pub erased: u8,
    /// The boot record's journal.
    pub boot: Region,
    /// The journal of root, floors and progress.
    pub trust: Region,
    /// Slot A.
    pub slot_a: Region,
    /// Slot B.
    pub slot_b: Region,
}

impl Layout {
    pub(crate) const fn parts(&self) -> [(Part, Region); 4] {
        [
            (Part::Boot, self.boot),
            (Part::Trust, self.trust),
            (Part::SlotA, self.slot_a),
            (Part::SlotB, self.slot_b),
        ]
    }
}

/// A run of bytes on the flash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First byte, counted from the start of the flash.
    pub offset: u32,
    /// Bytes.
    pub length: u32,
}

impl Region {
    /// One past the last byte.
    pub const fn end(&self) -> u32 {
        // Never saturates inside a checked map.
        self.offset.saturating_add(self.length)
    }

    pub(crate) const fn fault(&self, part: Part, erase_unit: u32) -> Option<MapFault> {
        if !self.offset.is_multiple_of(erase_unit) || !self.length.is_multiple_of(erase_unit) {
            return Some(MapFault::Misaligned(part));
        }
        if self.offset.checked_add(self.length).is_none() {
            return Some(MapFault::OutOfReach(part));
        }
        let units = self.length.checked_div(erase_unit);
        match (part, units) {
            (_, None | Some(0)) => Some(MapFault::TooSmall(part)),
            // A journal needs one area to write while the other keeps the newest record.
            (Part::Boot | Part::Trust, Some(units)) if !units.is_multiple_of(2) => {
                Some(MapFault::OddAreas(part))
            }
            _ => None,
        }
    }

    pub(crate) const fn overlaps(&self, other: Self) -> bool {
        self.offset < other.end() && other.offset < self.end()
    }
}

/// One of the two places for an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotId {
    /// The first slot.
    A,
    /// The second slot.
    B,
}

impl SlotId {
    /// The slot that this one is not.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

impl Stored for SlotId {
    fn write(&self, to: &mut Writer<'_>) {
        to.byte(match self {
            Self::A => 0,
            Self::B => 1,
        });
    }

    fn read(from: &mut Reader<'_>) -> Self {
        if from.option() { Self::B } else { Self::A }
    }
}

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::A => "A",
            Self::B => "B",
        })
    }
}

/// A part of a [`Layout`], to name it in a [`MapFault`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// [`Layout::boot`].
    Boot,
    /// [`Layout::trust`].
    Trust,
    /// [`Layout::slot_a`].
    SlotA,
    /// [`Layout::slot_b`].
    SlotB,
    /// The page of embassy-boot's state, which is in no layout.
    State,
}

impl Part {
    /// Bytes of the largest frames of a journal, one of each kind, each rounded up to the largest unit in which frames are
    /// written and sealed. Each of its two areas must hold so much.
    const fn largest_frames(self) -> Option<u32> {
        match self {
            Self::Boot => Some(frame(boot::ENCODED_MAX)),
            Self::Trust => {
                let trust = frame(trust_store::ROOT_MAX).saturating_add(frame(trust_store::FLOORS_MAX));
                Some(trust.saturating_add(frame(progress::ENCODED_MAX)))
            }
            Self::SlotA | Self::SlotB | Self::State => None,
        }
    }
}

/// Bytes of a frame of so large a payload, at the most.
const fn frame(payload: usize) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "constants of some hundred bytes")]
    let frame = journal::HEADER.saturating_add(payload) as u32;
    let sealed = frame.next_multiple_of(WRITE_UNIT_MAX).saturating_add(WRITE_UNIT_MAX);
    assert!(sealed <= journal::FRAME_MAX, "no frame is longer");
    sealed
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boot => "the boot journal",
            Self::Trust => "the trust journal",
            Self::SlotA => "slot A",
            Self::SlotB => "slot B",
            Self::State => "embassy-boot's state",
        })
    }
}

/// What is wrong with a layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MapFault {
    /// The write unit is no power of two, or above [`WRITE_UNIT_MAX`].
    WriteUnit,
    /// The erase unit is below [`ERASE_UNIT_MIN`] or no multiple of [`WRITE_UNIT_MAX`].
    EraseUnit,
    /// The erased byte is neither `0xFF` nor `0x00`.
    Erased,
    /// A part does not start or end on an erase unit.
    Misaligned(Part),
    /// A part ends above 4 GiB.
    OutOfReach(Part),
    /// A slot has no erase unit, or an area of a journal does not hold the largest record.
    TooSmall(Part),
    /// A journal cannot be halved into two areas of whole erase units.
    OddAreas(Part),
    /// Two parts share bytes.
    Overlap(Part, Part),
    /// The flash's own units do not divide the map's.
    FlashUnits,
    /// The flash ends before the map does.
    FlashTooSmall,
    /// embassy-boot swaps through a page of slot B that slot A does not have.
    NoPageToSwap,
    /// embassy-boot was built for a flash that is erased to ones.
    ErasedToZeros,
}

impl fmt::Display for MapFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WriteUnit => {
                write!(f, "the write unit must be a power of two up to {WRITE_UNIT_MAX} bytes")
            }
            Self::EraseUnit => write!(
                f,
                "the erase unit must be a multiple of {WRITE_UNIT_MAX} and at least {ERASE_UNIT_MIN} bytes"
            ),
            Self::Erased => f.write_str("the erased byte must be 0xFF or 0x00"),
            Self::Misaligned(part) => write!(f, "{part} must start and end on an erase unit"),
            Self::OutOfReach(part) => write!(f, "{part} ends above 4 GiB"),
            Self::TooSmall(part) => match part.largest_frames() {
                Some(frames) => write!(f, "{part} needs two areas of at least {frames} bytes"),
                None if matches!(part, Part::State) => {
                    write!(f, "{part} needs two write units, and four more for each page of slot A")
                }
                None => write!(f, "{part} needs at least one erase unit"),
            },
            Self::OddAreas(part) => write!(f, "{part} needs an even number of erase units, two or more"),
            Self::Overlap(one, other) => write!(f, "{one} overlaps {other}"),
            Self::FlashUnits => {
                f.write_str("the flash's read, write and erase units must divide those of the map")
            }
            Self::FlashTooSmall => f.write_str("the flash ends before the map does"),
            Self::NoPageToSwap => {
                f.write_str("embassy-boot needs a slot B with one erase unit more than slot A")
            }
            Self::ErasedToZeros => f.write_str("embassy-boot takes flashes whose erased byte is 0xFF"),
        }
    }
}

impl core::error::Error for MapFault {}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        *FlashMap::DEMO.layout()
    }

    fn region(offset: u32, length: u32) -> Region {
        Region { offset, length }
    }

    #[test]
    fn demo_map_needs_576_kib() {
        assert_eq!(FlashMap::DEMO.capacity(), 0x9_0000);
    }

    #[test]
    fn new_with_one_thing_wrong_names_it() {
        let refused = |change: fn(&mut Layout)| {
            let mut layout = layout();
            change(&mut layout);
            FlashMap::new(layout).err()
        };
        assert_eq!(refused(|_| ()), None);
        assert_eq!(refused(|l| l.write_unit = 0), Some(MapFault::WriteUnit));
        assert_eq!(refused(|l| l.write_unit = 12), Some(MapFault::WriteUnit));
        assert_eq!(refused(|l| l.write_unit = 64), Some(MapFault::WriteUnit));
        assert_eq!(refused(|l| l.erase_unit = 128), Some(MapFault::EraseUnit));
        assert_eq!(refused(|l| l.erase_unit = 4100), Some(MapFault::EraseUnit));
        assert_eq!(refused(|l| l.erased = 0x5A), Some(MapFault::Erased));
        assert_eq!(refused(|l| l.trust.offset = 0x2010), Some(MapFault::Misaligned(Part::Trust)));
        assert_eq!(refused(|l| l.slot_b.length = 0x3_FFF0), Some(MapFault::Misaligned(Part::SlotB)));
        assert_eq!(refused(|l| l.slot_b.offset = 0xFFFF_F000), Some(MapFault::OutOfReach(Part::SlotB)));
        assert_eq!(refused(|l| l.slot_a.length = 0), Some(MapFault::TooSmall(Part::SlotA)));
        assert_eq!(refused(|l| l.boot.length = 0), Some(MapFault::TooSmall(Part::Boot)));
        assert_eq!(refused(|l| l.boot.length = 0x1000), Some(MapFault::OddAreas(Part::Boot)));
        // Areas that hold the largest frame, and areas one erase unit smaller.
        for (part, least) in [(Part::Boot, 512), (Part::Trust, 1792)] {
            let with = |area: u32| {
                let mut layout = Layout { erase_unit: 256, ..layout() };
                let journal = if part == Part::Boot { &mut layout.boot } else { &mut layout.trust };
                journal.length = 2 * area;
                FlashMap::new(layout).err()
            };
            assert_eq!((with(least), with(least - 256)), (None, Some(MapFault::TooSmall(part))));
        }
        let overlap = MapFault::Overlap(Part::Boot, Part::Trust);
        assert_eq!(refused(|l| l.trust = region(0x1000, 0x2000)), Some(overlap));
        let within = MapFault::Overlap(Part::SlotA, Part::SlotB);
        assert_eq!(refused(|l| l.slot_b = region(0x2_0000, 0x1000)), Some(within));
    }

    #[test]
    fn new_with_neighbours_in_any_order_accepts() {
        let mut layout = layout();
        layout.boot = region(0x9_0000, 0x2000);
        layout.trust = region(0, 0x4000);
        let map = FlashMap::new(layout).expect("parts may lie in any order");
        assert_eq!(map.capacity(), 0x9_2000);
    }
}
