//! Where everything lies: the boards' flash and the end of their RAM.

/// A part of a flash, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its first byte.
    pub offset: u32,
    /// Its bytes, whole erase units.
    pub length: u32,
}

impl Part {
    /// The first byte behind it.
    #[must_use]
    pub const fn end(self) -> u32 {
        self.offset + self.length
    }
}

/// A board's flash. The parts are those of `tuffet_agent::flash_map::Layout`; what is not in it is [`Board::state`] and
/// [`Board::device_page`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Board {
    /// Its name, and that of its hardware in a repository.
    pub name: &'static str,
    /// All bytes of the flash.
    pub size: u32,
    /// Bytes that are erased at once.
    pub erase_unit: u32,
    /// Bytes that are written at once.
    pub write_unit: u32,
    /// The bootloader, where it lies on this flash.
    pub bootloader: Option<Part>,
    /// The boot journal: two areas.
    pub boot: Part,
    /// The trust journal: two areas.
    pub trust: Part,
    /// embassy-boot's STATE.
    pub state: Option<Part>,
    /// Slot A, which is embassy-boot's ACTIVE.
    pub slot_a: Part,
    /// Slot B, which is embassy-boot's DFU, and then one erase unit longer.
    pub slot_b: Part,
    /// Where the device page begins.
    pub device_page: u32,
    /// The address for which images are linked.
    pub link: u32,
    /// The address in RAM of the [`HandOff`](crate::handoff::HandOff), on boards that have one.
    pub handoff: Option<u32>,
}

/// QEMU's `emcraft-sf2`: a SPI NOR of 16 MiB, which reads 0xFF where it is erased. The bootloader has a ROM of its own.
pub const EMCRAFT_SF2: Board = Board {
    name: "emcraft-sf2",
    size: 0x100_0000,
    erase_unit: 0x1_0000,
    // A program takes any bytes of a page. But the board's chip, a S25FL128S, keeps an error code for each 16 bytes, and drops
    // it for those that are programmed a second time.
    write_unit: 16,
    bootloader: None,
    boot: Part { offset: 0, length: 0x2_0000 },
    trust: Part { offset: 0x2_0000, length: 0x2_0000 },
    state: None,
    slot_a: Part { offset: 0x10_0000, length: 0x10_0000 },
    slot_b: Part { offset: 0x20_0000, length: 0x10_0000 },
    device_page: 0xFF_0000,
    link: 0xA000_0000,
    handoff: Some(0x2001_0000 - crate::handoff::ROOM),
};

/// QEMU's `microbit`: an nRF51822 with 256 KiB of flash in pages of 1 KiB, and 16 KiB of RAM.
///
/// embassy-boot swaps ACTIVE and DFU, so images run where they are linked, and the bootloader hands nothing over in RAM.
///
/// | offset | KiB | part |
/// |---|---|---|
/// | `0x00000` | 16 | bootloader |
/// | `0x04000` | 2 | boot journal |
/// | `0x04800` | 4 | trust journal |
/// | `0x05800` | 2 | STATE |
/// | `0x06000` | 115 | slot A, ACTIVE |
/// | `0x22C00` | 116 | slot B, DFU |
/// | `0x3FC00` | 1 | device page |
pub const MICROBIT: Board = Board {
    name: "microbit",
    size: 0x4_0000,
    erase_unit: 0x400,
    write_unit: 4,
    bootloader: Some(Part { offset: 0, length: 0x4000 }),
    boot: Part { offset: 0x4000, length: 0x800 },
    trust: Part { offset: 0x4800, length: 0x1000 },
    // Two words, and four for each page of ACTIVE.
    state: Some(Part { offset: 0x5800, length: 0x800 }),
    slot_a: Part { offset: 0x6000, length: 0x1_CC00 },
    slot_b: Part { offset: 0x2_2C00, length: 0x1_D000 },
    device_page: 0x3_FC00,
    link: 0x6000,
    handoff: None,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_lie_apart_on_whole_units_within_the_flash() {
        for board in [EMCRAFT_SF2, MICROBIT] {
            let page = Part { offset: board.device_page, length: board.erase_unit };
            let mut parts = [
                board.bootloader,
                Some(board.boot),
                Some(board.trust),
                board.state,
                Some(board.slot_a),
                Some(board.slot_b),
                Some(page),
            ];
            parts.sort_by_key(|part| part.map(|part| part.offset));
            let mut end = 0;
            for part in parts.into_iter().flatten() {
                assert!(part.offset >= end, "{}: {part:?} overlaps what lies before it", board.name);
                assert!(part.offset.is_multiple_of(board.erase_unit), "{}: {part:?}", board.name);
                assert!(part.length.is_multiple_of(board.erase_unit), "{}: {part:?}", board.name);
                end = part.end();
            }
            assert_eq!(end, board.size, "{}: the device page is the last of the flash", board.name);
        }
    }

    #[test]
    fn microbit_has_room_to_swap() {
        let Board { slot_a, slot_b, state, erase_unit, write_unit, .. } = MICROBIT;
        assert_eq!(slot_b.length, slot_a.length + erase_unit, "DFU has one page more than ACTIVE");
        let words = 2 + 4 * (slot_a.length / erase_unit);
        assert!(state.is_some_and(|state| state.length >= words * write_unit), "STATE holds {words} words");
    }
}
