//! What lies in memory at fixed places: the image that runs, the block that a bootloader leaves to it, and the stack.
//!
//! Behind the hand-off, in the room that is kept for it, are two words of this board's:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 36 | 4 | seconds until the deadline of a trial |
//! | 40 | 4 | starts since the power came, or since what was in that memory then |

#![allow(unsafe_code, reason = "memory at fixed addresses")]

use core::ptr;

use cortex_m_rt::STACK_PAINT_VALUE;
use tuffet_hil_protocol::board::EMCRAFT_SF2;
use tuffet_hil_protocol::handoff::{self, HandOff, ROOM};

/// Where images run, and a MiB of it is theirs.
const IMAGE: *mut u8 = EMCRAFT_SF2.link as *mut u8;
/// Bytes of the largest image.
const LARGEST: usize = EMCRAFT_SF2.slot_a.length as usize;

/// The last bytes of the eSRAM. The linker's memory maps end before them.
const HAND_OFF: *mut u8 = (0x2001_0000 - ROOM) as *mut u8;
const _: () = assert!(matches!(EMCRAFT_SF2.handoff, Some(address) if address == 0x2001_0000 - ROOM));
const SECONDS_LEFT: *mut u32 = (0x2001_0000 - ROOM + 36) as *mut u32;
const STARTS: *mut u32 = (0x2001_0000 - ROOM + 40) as *mut u32;

/// What a bootloader leaves for this image.
pub fn hand_off() -> Option<HandOff> {
    // SAFETY: RAM that no program has anything else in, see above. What lies there are bytes.
    let bytes = unsafe { HAND_OFF.cast::<[u8; handoff::LENGTH]>().read_volatile() };
    HandOff::decode(&bytes)
}

/// How often this board was started since it has power: another number at each reset. There is no better source of chance.
pub fn starts() -> u32 {
    // SAFETY: as above, an aligned word of it.
    unsafe { STARTS.read_volatile() }
}

/// What the bootloader does with the memory that its image runs from, and with what it leaves there.
pub mod boot {
    use super::{HAND_OFF, HandOff, IMAGE, LARGEST, SECONDS_LEFT, STARTS, handoff, ptr};

    /// Counts this start.
    pub fn count_start() {
        let starts = super::starts().wrapping_add(1);
        // SAFETY: RAM that no program has anything else in, see above; an aligned word of it.
        unsafe { STARTS.write_volatile(starts) };
    }

    /// The place of an image of so many bytes. `None` for one that has no room.
    ///
    /// # Safety
    ///
    /// No other such place is in use, and no image runs.
    pub unsafe fn place(length: u32) -> Option<&'static mut [u8]> {
        let length = usize::try_from(length).ok().filter(|length| *length <= LARGEST)?;
        // SAFETY: external RAM that nothing else is in; the caller says that this is the only reference. It holds whatever
        // it held when the power came, which are bytes.
        unsafe { ptr::slice_from_raw_parts_mut(IMAGE, length).as_mut() }
    }

    /// Leaves word for the image.
    pub fn leave(hand_off: &HandOff) {
        let bytes: [u8; handoff::LENGTH] = hand_off.encode();
        // SAFETY: RAM that no program has anything else in, see above.
        unsafe { HAND_OFF.cast::<[u8; handoff::LENGTH]>().write_volatile(bytes) };
    }

    /// So many seconds are left of a trial.
    pub fn set_deadline(seconds: u32) {
        // SAFETY: as above, an aligned word of it.
        unsafe { SECONDS_LEFT.write_volatile(seconds) };
    }

    /// A second has passed. Whether the deadline has, too.
    pub fn second_passed() -> bool {
        // SAFETY: as above.
        let left = unsafe { SECONDS_LEFT.read_volatile() }.saturating_sub(1);
        set_deadline(left);
        left == 0
    }

    /// Starts the image, which ends the bootloader but for its interrupts.
    ///
    /// # Safety
    ///
    /// An image for this board lies there, and may be executed.
    pub unsafe fn start() -> ! {
        // SAFETY: an image begins with its stack pointer and the address of its first instruction.
        unsafe { cortex_m::asm::bootload(IMAGE.cast_const().cast()) }
    }
}

unsafe extern "C" {
    static _stack_start: u32;
    static _stack_end: u32;
}

/// The most bytes of stack that were in use at any time since the start: what is not painted any more.
pub fn stack_used() -> u32 {
    let start = &raw const _stack_start;
    let mut at = &raw const _stack_end;
    // SAFETY: the linker puts both around the stack, which was painted before the first function was called. Words below
    // the stack pointer are read, and nothing is made of them.
    while at < start && unsafe { at.read_volatile() } == STACK_PAINT_VALUE {
        at = at.wrapping_add(1);
    }
    (start as usize - at as usize) as u32
}
