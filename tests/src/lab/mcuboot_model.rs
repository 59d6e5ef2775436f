//! A model of MCUboot's bootloader, made from its design document (`docs/design.md`: image trailer, swap status, reset
//! recovery) and from what it says in `swap_offset.c` of its own order of writes. It is no MCUboot: it has one image, one
//! flash, and no signatures, and where a slot has fewer used sectors it swaps all of them.
//!
//! It reads and writes a trailer's raw bytes with code of its own, and links none of the agent's.
//!
//! What is as in MCUboot: the table of states; an image is checked before it is swapped in and before it starts; one that
//! is bad is erased; a swap notes each of its steps in the primary slot's trailer, one write each, and goes on from the
//! last one that is noted; the primary trailer is begun anew before the first step, with its magic last, and the secondary
//! one erased after that; a revert first asks for itself in the secondary slot, so that a cut can lose it no more;
//! copy done is written last.
//!
//! What is the model's own: which entries of the status stand for which step; how a revert using offset knows its
//! direction again after a cut before its first step (copy done in the secondary slot); that a swap using scratch never
//! has to keep its status in the scratch area, for no image reaches into the trailer's sectors.

use embedded_storage::nor_flash::NorFlash;
use sha2::{Digest as _, Sha256};
use tuffet_agent::flash_map::Region;

/// How it brings an image into the primary slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Way {
    /// Sectors change places through a third one.
    Scratch,
    /// The primary slot's sectors move up by one, then each changes places with the one below.
    Move,
    /// The new image begins at the second sector of the secondary slot, so that sectors change places through the gap.
    Offset,
    /// The new image is copied, and nothing is kept.
    Overwrite,
}

/// Why nothing starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Halt {
    /// The flash did not do its part.
    Flash,
    /// The primary slot holds no image that is whole.
    NoImage,
}

/// A bootloader, and where it finds things.
#[derive(Clone, Copy, Debug)]
pub struct Model {
    /// How it was built.
    pub way: Way,
    /// The primary slot.
    pub primary: Region,
    /// The secondary slot, of as many sectors.
    pub secondary: Region,
    /// One sector, of no use to any way but scratch.
    pub scratch: Region,
    /// Bytes of a sector.
    pub sector: u32,
    /// The largest write unit, 8 bytes or more.
    pub unit: u32,
    /// What an erased byte reads as.
    pub erased: u8,
}

/// A word of a trailer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Good,
    Unset,
    Bad,
}

/// What a trailer says.
#[derive(Clone, Copy, Debug)]
struct Trailer {
    magic: Word,
    image_ok: Word,
    copy_done: Word,
    swap: u8,
}

const TEST: u8 = 2;
const PERMANENT: u8 = 3;
const REVERT: u8 = 4;

/// Words of a trailer, counted from the magic.
const IMAGE_OK: u32 = 1;
const COPY_DONE: u32 = 2;
const SWAP: u32 = 3;

/// A step of a swap: this sector is erased, and that one copied there.
struct Step {
    from: u32,
    to: u32,
}

impl Model {
    /// Bytes at a slot's end that are no image's.
    #[must_use]
    pub fn reserved(&self) -> u32 {
        let spare = if self.way == Way::Move { 1 } else { 0 };
        (self.trailer_sectors() + spare) * self.sector
    }

    /// One start: what is in the primary slot afterwards runs.
    ///
    /// # Errors
    /// Nothing runs.
    pub fn boot<F: NorFlash>(&self, nor: &mut F) -> Result<(), Halt> {
        if self.way == Way::Overwrite {
            self.overwrite(nor)?;
        } else {
            self.swap(nor)?;
        }
        if self.is_image(nor, self.primary.offset)? { Ok(()) } else { Err(Halt::NoImage) }
    }

    /// The words whose torn write MCUboot does not survive if the image in the primary slot does not run: copy done there,
    /// and the magic in the secondary slot. Either way it does not go back to the other image, ever.
    #[must_use]
    pub fn points_of_no_return(&self) -> [Region; 2] {
        [self.word(self.primary, COPY_DONE), self.word(self.secondary, 0)]
    }

    fn overwrite<F: NorFlash>(&self, nor: &mut F) -> Result<(), Halt> {
        if self.trailer(nor, self.secondary).map_or(Word::Unset, |trailer| trailer.magic) != Word::Good {
            return Ok(());
        }
        if !self.is_image(nor, self.secondary.offset).unwrap_or(false) {
            return self.refuse(nor);
        }
        let sectors = self.primary.length / self.sector;
        for at in 0..sectors {
            self.erase(nor, self.primary.offset + at * self.sector)?;
            if at < sectors - self.trailer_sectors() {
                self.copy(
                    nor,
                    self.secondary.offset + at * self.sector,
                    self.primary.offset + at * self.sector,
                )?;
            }
        }
        self.erase(nor, self.secondary.offset)?;
        self.erase_trailer(nor, self.secondary)
    }

    fn swap<F: NorFlash>(&self, nor: &mut F) -> Result<(), Halt> {
        let primary = self.trailer(nor, self.primary)?;
        let none = Trailer { magic: Word::Unset, image_ok: Word::Unset, copy_done: Word::Unset, swap: 0 };
        // One that cannot be read counts as empty.
        let secondary = self.trailer(nor, self.secondary).unwrap_or(none);
        if (primary.magic, primary.copy_done) == (Word::Good, Word::Unset) {
            return self.run(nor, primary.swap);
        }
        let is_trial =
            (primary.magic, primary.image_ok, primary.copy_done) == (Word::Good, Word::Unset, Word::Good);
        let kind = match (secondary.magic, secondary.image_ok) {
            (Word::Good, Word::Unset) => TEST,
            (Word::Good, Word::Good) if secondary.copy_done == Word::Good => REVERT,
            (Word::Good, Word::Good) => PERMANENT,
            (Word::Unset, _) if is_trial => REVERT,
            _ => return Ok(()),
        };
        let before = if self.way == Way::Offset && kind != REVERT { self.sector } else { 0 };
        if !self.is_image(nor, self.secondary.offset + before).unwrap_or(false) {
            return self.refuse(nor);
        }
        if kind == REVERT && secondary.magic == Word::Unset {
            self.erase_trailer(nor, self.secondary)?;
            if self.way == Way::Offset {
                self.flag(nor, self.secondary, COPY_DONE, 1)?;
            }
            self.flag(nor, self.secondary, IMAGE_OK, 1)?;
            self.write_magic(nor, self.secondary)?;
        }
        self.erase_trailer(nor, self.primary)?;
        self.flag(nor, self.primary, SWAP, kind)?;
        if kind == PERMANENT {
            self.flag(nor, self.primary, IMAGE_OK, 1)?;
        }
        self.write_magic(nor, self.primary)?;
        self.run(nor, kind)
    }

    /// A swap, from the step on that is not noted as done.
    fn run<F: NorFlash>(&self, nor: &mut F, kind: u8) -> Result<(), Halt> {
        let done = self.noted(nor)?;
        if done == 0 {
            self.erase_trailer(nor, self.secondary)?;
        }
        for (number, Step { from, to }) in (0..).zip(self.steps(kind)).skip(done) {
            self.erase(nor, to)?;
            self.copy(nor, from, to)?;
            self.write_word(nor, self.status(number), 1)?;
        }
        if kind == REVERT && self.way == Way::Offset {
            // What is left there of a header would be taken for an image.
            self.erase(nor, self.secondary.offset)?;
        }
        if kind == REVERT && self.trailer(nor, self.primary)?.image_ok == Word::Unset {
            self.flag(nor, self.primary, IMAGE_OK, 1)?;
        }
        self.flag(nor, self.primary, COPY_DONE, 1)
    }

    /// An image that was asked for and is none: it is erased, and the one that runs stays.
    fn refuse<F: NorFlash>(&self, nor: &mut F) -> Result<(), Halt> {
        for at in 0..self.secondary.length / self.sector {
            self.erase(nor, self.secondary.offset + at * self.sector)?;
        }
        if self.trailer(nor, self.primary)?.image_ok == Word::Unset {
            self.flag(nor, self.primary, IMAGE_OK, 1)?;
        }
        Ok(())
    }

    fn steps(&self, kind: u8) -> Vec<Step> {
        let sectors = self.image_sectors();
        let a = |number: u32| self.primary.offset + number * self.sector;
        let b = |number: u32| self.secondary.offset + number * self.sector;
        let s = self.scratch.offset;
        let step = |from, to| Step { from, to };
        match self.way {
            Way::Scratch => {
                (0..sectors).rev().flat_map(|n| [step(b(n), s), step(a(n), b(n)), step(s, a(n))]).collect()
            }
            Way::Move => {
                let up = (0..sectors).rev().map(|n| step(a(n), a(n + 1)));
                up.chain((0..sectors).flat_map(|n| [step(b(n), a(n)), step(a(n + 1), b(n))])).collect()
            }
            Way::Offset if kind == REVERT => {
                (0..sectors).rev().flat_map(|n| [step(a(n), b(n + 1)), step(b(n), a(n))]).collect()
            }
            Way::Offset => (0..sectors).flat_map(|n| [step(a(n), b(n)), step(b(n + 1), a(n))]).collect(),
            Way::Overwrite => Vec::new(),
        }
    }

    /// Sectors that an image may have.
    fn image_sectors(&self) -> u32 {
        let gap = if self.way == Way::Offset { self.sector } else { 0 };
        (self.primary.length - self.reserved() - gap) / self.sector
    }

    /// Steps that are noted: up to the last note that is there, whatever is before it.
    fn noted<F: NorFlash>(&self, nor: &mut F) -> Result<usize, Halt> {
        let mut last = 0;
        for number in 0..self.entries() {
            if self.read_word(nor, self.status(number))?.iter().any(|byte| *byte != self.erased) {
                last = number as usize + 1;
            }
        }
        Ok(last)
    }

    fn entries(&self) -> u32 {
        3 * self.primary.length / self.sector
    }

    fn status(&self, number: u32) -> Region {
        let words = self.word(self.primary, 4).offset;
        Region { offset: words - (self.entries() - number) * self.unit, length: self.unit }
    }

    fn trailer_sectors(&self) -> u32 {
        let length = self.primary.end() - self.status(0).offset;
        length.div_ceil(self.sector)
    }

    fn erase_trailer<F: NorFlash>(&self, nor: &mut F, slot: Region) -> Result<(), Halt> {
        (1..=self.trailer_sectors()).rev().try_for_each(|n| self.erase(nor, slot.end() - n * self.sector))
    }

    fn trailer<F: NorFlash>(&self, nor: &mut F, slot: Region) -> Result<Trailer, Halt> {
        let magic = self.read_word(nor, self.word(slot, 0))?;
        let magic = match magic {
            magic if magic.iter().all(|byte| *byte == self.erased) => Word::Unset,
            magic if magic == self.magic() => Word::Good,
            _ => Word::Bad,
        };
        let [image_ok, copy_done] =
            [IMAGE_OK, COPY_DONE].map(|word| self.read_word(nor, self.word(slot, word)));
        let flag = |word: Vec<u8>| match word.first() {
            Some(1) => Word::Good,
            _ if word.iter().all(|byte| *byte == self.erased) => Word::Unset,
            _ => Word::Bad,
        };
        let swap = self.read_word(nor, self.word(slot, SWAP))?[0] & 0x0F;
        Ok(Trailer { magic, image_ok: flag(image_ok?), copy_done: flag(copy_done?), swap })
    }

    fn word(&self, slot: Region, number: u32) -> Region {
        let magic = 16_u32.next_multiple_of(self.unit);
        let length = if number == 0 { magic } else { self.unit };
        Region { offset: slot.end() - magic - number * self.unit, length }
    }

    fn magic(&self) -> Vec<u8> {
        let mut magic = vec![self.erased; 16_usize.next_multiple_of(self.unit as usize) - 16];
        if self.unit == 8 {
            magic.extend(b"\x77\xc2\x95\xf3\x60\xd2\xef\x7f\x35\x52\x50\x0f\x2c\xb6\x79\x80");
        } else {
            magic.extend(&self.unit.to_le_bytes()[..2]);
            magic.extend(b"\x2d\xe1\x5d\x29\x41\x0b\x8d\x77\x67\x9c\x11\x0f\x1f\x8a");
        }
        magic
    }

    fn write_magic<F: NorFlash>(&self, nor: &mut F, slot: Region) -> Result<(), Halt> {
        nor.write(self.word(slot, 0).offset, &self.magic()).map_err(|_| Halt::Flash)
    }

    fn flag<F: NorFlash>(&self, nor: &mut F, slot: Region, word: u32, value: u8) -> Result<(), Halt> {
        self.write_word(nor, self.word(slot, word), value)
    }

    fn write_word<F: NorFlash>(&self, nor: &mut F, word: Region, value: u8) -> Result<(), Halt> {
        let mut bytes = vec![self.erased; word.length as usize];
        bytes[0] = value;
        nor.write(word.offset, &bytes).map_err(|_| Halt::Flash)
    }

    fn read_word<F: NorFlash>(&self, nor: &mut F, word: Region) -> Result<Vec<u8>, Halt> {
        let mut bytes = vec![0; word.length as usize];
        nor.read(word.offset, &mut bytes).map_err(|_| Halt::Flash)?;
        Ok(bytes)
    }

    fn erase<F: NorFlash>(&self, nor: &mut F, sector: u32) -> Result<(), Halt> {
        nor.erase(sector, sector + self.sector).map_err(|_| Halt::Flash)
    }

    fn copy<F: NorFlash>(&self, nor: &mut F, from: u32, to: u32) -> Result<(), Halt> {
        let mut bytes = vec![0; self.sector.min(1024) as usize];
        for at in (0..self.sector).step_by(bytes.len()) {
            nor.read(from + at, &mut bytes).map_err(|_| Halt::Flash)?;
            nor.write(to + at, &bytes).map_err(|_| Halt::Flash)?;
        }
        Ok(())
    }

    /// Whether a whole image is there: header, payload, and one entry with the SHA-256 of both.
    fn is_image<F: NorFlash>(&self, nor: &mut F, offset: u32) -> Result<bool, Halt> {
        let mut header = [0; 32];
        nor.read(offset, &mut header).map_err(|_| Halt::Flash)?;
        let payload = u32::from_le_bytes([header[12], header[13], header[14], header[15]]);
        let length = payload.saturating_add(32 + 40);
        if header[..4] != *b"\x3d\xb8\xf3\x96"
            || header[8] != 32
            || length > self.image_sectors() * self.sector
        {
            return Ok(false);
        }
        let mut image = vec![0; length as usize];
        nor.read(offset, &mut image).map_err(|_| Halt::Flash)?;
        let (hashed, entry) = image.split_at(image.len() - 40);
        let digest = Sha256::digest(hashed);
        Ok(entry[..8] == ENTRY && entry[8..] == digest[..])
    }
}

/// Magic and length of the area, type and length of its one entry.
const ENTRY: [u8; 8] = *b"\x07\x69\x28\x00\x10\x00\x20\x00";

/// An image that [`Model`] takes, of so many bytes, which differ by `salt`.
///
/// # Panics
/// If it would have fewer than 72 bytes.
#[must_use]
pub fn image(length: usize, salt: u8) -> Vec<u8> {
    let mut image = vec![0; 32];
    image[..4].copy_from_slice(b"\x3d\xb8\xf3\x96");
    image[8] = 32;
    let payload = length - 72;
    image[12..16].copy_from_slice(&u32::try_from(payload).expect("a short image").to_le_bytes());
    image.extend((0..payload).map(|at| (at % 251).to_le_bytes()[0].wrapping_mul(7) ^ salt));
    let digest = Sha256::digest(&image);
    image.extend(ENTRY);
    image.extend(digest);
    image
}
