//! The trailer at the end of a slot, by which a program asks MCUboot to try an image, and says that it is content.
//!
//! From the slot's end backwards, where *a* is the largest write unit of the device, 8 bytes or more:
//!
//! | bytes | what |
//! |---|---|
//! | 16, rounded up to *a* | magic, in the last 16 |
//! | *a* | image ok: 1 in its first byte once the image is confirmed |
//! | *a* | copy done: 1 once the bootloader has swapped |
//! | *a* | swap info: what kind of swap, in the low half of its first byte |
//!
//! What lies before that is the bootloader's own. The source is MCUboot's `docs/design.md`, "Image trailer", and
//! `boot/bootutil/src/bootutil_public.c`.
//!
//! A magic that a cut left half-written is neither good nor unset, and a bootloader goes by neither (MCUboot #1966). It is
//! found here, and whatever is found the erase unit of the trailer is erased first; so no byte of an image may be in that
//! unit.

use embedded_storage::nor_flash::NorFlash;

use crate::error::{Environment, Error, Rejected};
use crate::flash::Flash;
use crate::flash_map::{Region, SlotId, WRITE_UNIT_MAX};

/// The magic where nothing is written in units of more than 8 bytes.
const MAGIC: [u8; 16] =
    [0x77, 0xc2, 0x95, 0xf3, 0x60, 0xd2, 0xef, 0x7f, 0x35, 0x52, 0x50, 0x0f, 0x2c, 0xb6, 0x79, 0x80];
/// The rest of it elsewhere, behind the unit as a u16.
const MAGIC_OF_UNIT: [u8; 14] =
    [0x2d, 0xe1, 0x5d, 0x29, 0x41, 0x0b, 0x8d, 0x77, 0x67, 0x9c, 0x11, 0x0f, 0x1f, 0x8a];
/// Bytes of either.
const MAGIC_LENGTH: u32 = 16;

/// A swap that is undone at the next start unless the image confirms itself.
const TEST: u8 = 2;
/// A flag that is set.
const SET: u8 = 1;

/// Where a trailer is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trailer {
    slot: SlotId,
    region: Region,
    unit: u32,
}

/// What a trailer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// Whether there is one.
    pub magic: Mark,
    /// Whether the image is confirmed.
    pub image_ok: Mark,
    /// Whether the bootloader has swapped.
    pub copy_done: Mark,
    /// What kind of swap was asked for.
    pub swap_info: Mark,
}

/// Words that are written once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// As they should be.
    Set,
    /// Erased.
    Unset,
    /// Neither, or they cannot be read: a write was cut.
    Bad,
}

/// What MCUboot does at the next start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swap {
    /// It starts what is in the primary slot.
    None,
    /// It swaps the slots, and swaps them back at the start after that unless the image confirms itself.
    Test,
    /// It swaps the slots for good.
    Permanent,
    /// It swaps them back.
    Revert,
}

impl State {
    /// What MCUboot does with a primary slot of this trailer and a secondary one of that: its table of states.
    pub fn next(&self, secondary: &State) -> Swap {
        match (secondary.magic, secondary.image_ok) {
            (Mark::Set, Mark::Unset) => Swap::Test,
            (Mark::Set, Mark::Set) => Swap::Permanent,
            (Mark::Unset, _)
                if self.magic == Mark::Set && self.image_ok == Mark::Unset && self.copy_done == Mark::Set =>
            {
                Swap::Revert
            }
            _ => Swap::None,
        }
    }
}

impl Trailer {
    /// That of a slot.
    pub fn of<F: NorFlash>(flash: &Flash<F>, slot: SlotId) -> Self {
        let map = flash.map();
        Self { slot, region: map.slot(slot), unit: map.layout().write_unit.max(8) }
    }

    /// Bytes of the slot before the erase unit that the trailer ends in: an image may have as many, and no more.
    pub fn room<F: NorFlash>(&self, flash: &Flash<F>) -> u32 {
        self.last_unit(flash).offset.saturating_sub(self.region.offset)
    }

    /// What it says.
    pub fn read<F: NorFlash>(&self, flash: &mut Flash<F>) -> State {
        let magic = self.magic(flash.erased());
        let [image_ok, copy_done, swap_info] = [1, 2, 3].map(|word| self.word(word));
        State {
            magic: mark(flash, self.word(0), |bytes| bytes == magic.get(..bytes.len()).unwrap_or_default()),
            image_ok: mark(flash, image_ok, |bytes| bytes.first() == Some(&SET)),
            copy_done: mark(flash, copy_done, |bytes| bytes.first() == Some(&SET)),
            swap_info: mark(flash, swap_info, |bytes| bytes.first() == Some(&TEST)),
        }
    }

    /// Asks the bootloader to try the image of this slot, the secondary one, which has `length` bytes.
    ///
    /// # Errors
    ///
    /// [`Rejected::ImageLargerThanSlot`] for an image that reaches into the trailer's erase unit; nothing was written.
    /// [`Environment::NotWritten`], and those of the flash: the bootloader does nothing then.
    pub fn request_test<F: NorFlash>(&self, flash: &mut Flash<F>, length: u32) -> Result<(), Error> {
        let room = self.room(flash);
        if length > room {
            return Err(Rejected::ImageLargerThanSlot { length, slot: room }.into());
        }
        let (image_ok, copy_done) = (Mark::Unset, Mark::Unset);
        let asked = State { magic: Mark::Set, image_ok, copy_done, swap_info: Mark::Set };
        if self.read(flash) == asked {
            return Ok(());
        }
        // Even where it reads as erased: words that a cut left half-way may, and take no write.
        flash.erase(self.last_unit(flash))?;
        self.ask(flash)
    }

    /// Says that the image of this slot, the primary one, is content. One that is not on trial has nothing to say.
    ///
    /// # Errors
    ///
    /// [`Environment::Trailer`] if the bootloader has not swapped, or the trailer is not whole; [`Environment::NotWritten`],
    /// and those of the flash.
    pub fn confirm<F: NorFlash>(&self, flash: &mut Flash<F>) -> Result<(), Error> {
        let State { magic, image_ok, copy_done, .. } = self.read(flash);
        match (magic, image_ok, copy_done) {
            (Mark::Unset, ..) | (Mark::Set, Mark::Set, _) => Ok(()),
            (Mark::Set, Mark::Unset, Mark::Set) => self.set_image_ok(flash),
            _ => Err(Environment::Trailer { slot: self.slot }.into()),
        }
    }

    /// Writes image ok, whatever it reads as: a word that a cut left half-way takes no write.
    pub(crate) fn set_image_ok<F: NorFlash>(&self, flash: &mut Flash<F>) -> Result<(), Error> {
        self.put(flash, 1, SET)
    }

    /// Takes back whatever it says: MCUboot swaps no slots for a trailer that is not there, in either slot. No byte of an
    /// image may be in its erase unit.
    ///
    /// # Errors
    ///
    /// [`Environment::Trailer`] if it is there still, and those of the flash.
    pub fn clear<F: NorFlash>(&self, flash: &mut Flash<F>) -> Result<(), Error> {
        flash.erase(self.last_unit(flash))?;
        match self.read(flash).magic {
            Mark::Unset => Ok(()),
            Mark::Set | Mark::Bad => Err(Environment::Trailer { slot: self.slot }.into()),
        }
    }

    /// In MCUboot's order, so that a magic that is whole always is good to go by.
    fn ask<F: NorFlash>(&self, flash: &mut Flash<F>) -> Result<(), Error> {
        let word = self.word(0);
        let magic = self.magic(flash.erased());
        flash.write(word.offset, magic.get(..length(word)).unwrap_or_default())?;
        self.put(flash, 3, TEST)?;
        match self.read(flash) {
            State { magic: Mark::Set, swap_info: Mark::Set, .. } => Ok(()),
            _ => Err(Environment::NotWritten { offset: word.offset }.into()),
        }
    }

    /// Writes a word with this first byte.
    fn put<F: NorFlash>(&self, flash: &mut Flash<F>, word: u32, byte: u8) -> Result<(), Error> {
        let word = self.word(word);
        let mut bytes = [flash.erased(); WRITE_UNIT_MAX as usize];
        if let Some(first) = bytes.first_mut() {
            *first = byte;
        }
        flash.write(word.offset, bytes.get(..length(word)).unwrap_or_default())?;
        match mark(flash, word, |bytes| bytes.first() == Some(&byte)) {
            Mark::Set => Ok(()),
            _ => Err(Environment::NotWritten { offset: word.offset }.into()),
        }
    }

    /// The magic, at the end of its word.
    fn magic(&self, erased: u8) -> [u8; WRITE_UNIT_MAX as usize] {
        let mut magic = MAGIC;
        if self.unit > 8 {
            let unit = self.unit.to_le_bytes().into_iter().take(2);
            for (place, byte) in magic.iter_mut().zip(unit.chain(MAGIC_OF_UNIT)) {
                *place = byte;
            }
        }
        let mut word = [erased; WRITE_UNIT_MAX as usize];
        let before = self.word(0).length.saturating_sub(MAGIC_LENGTH);
        let places = word.iter_mut().skip(usize::try_from(before).unwrap_or(0));
        for (place, byte) in places.zip(magic) {
            *place = byte;
        }
        word
    }

    /// A word by its number from the end: the magic is 0.
    fn word(&self, number: u32) -> Region {
        let magic = MAGIC_LENGTH.checked_next_multiple_of(self.unit).unwrap_or(MAGIC_LENGTH);
        let before = magic.saturating_add(number.saturating_mul(self.unit));
        let length = if number == 0 { magic } else { self.unit };
        Region { offset: self.region.end().saturating_sub(before), length }
    }

    fn last_unit<F: NorFlash>(&self, flash: &Flash<F>) -> Region {
        let length = flash.map().layout().erase_unit;
        Region { offset: self.region.end().saturating_sub(length), length }
    }
}

/// Bytes of a word.
fn length(word: Region) -> usize {
    usize::try_from(word.length).unwrap_or(0)
}

/// What a word says: whether it is as it should be.
fn mark<F: NorFlash>(flash: &mut Flash<F>, word: Region, is_set: impl Fn(&[u8]) -> bool) -> Mark {
    let mut buffer = [0; WRITE_UNIT_MAX as usize];
    let Some(bytes) = buffer.get_mut(..length(word)) else { return Mark::Bad };
    if flash.read(word.offset, bytes).is_err() {
        return Mark::Bad;
    }
    let erased = flash.erased();
    match bytes.iter().all(|byte| *byte == erased) {
        true => Mark::Unset,
        false if is_set(bytes) => Mark::Set,
        false => Mark::Bad,
    }
}
