//! A NOR flash in memory that panics when its contract is broken, counts its operations, and loses
//! its power within any of them.
//!
//! The contract is that of `embedded-storage`, and what datasheets add: whole units, nothing beyond the end, and
//! each word is written once until it is erased, for flashes with error correction keep a code beside it. What a cut
//! leaves is the worst that they promise: a write in which any number of bytes are done and some bits of the next,
//! an erase that changed some bits of what is left, words that error correction gives up on.

use core::cell::Cell;
use core::ops::Range;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// A flash whose erase unit and write unit have so many bytes.
#[derive(Clone, Debug)]
pub struct Nor<const ERASE: usize, const WRITE: usize> {
    bytes: Vec<u8>,
    erased: u8,
    /// Of each word, whether it was programmed since it was erased, even where it reads as erased.
    programmed: Vec<bool>,
    /// Of each word, whether the flash's error correction gives up on it.
    unreadable: Vec<bool>,
    /// False if it gives up on none, as a rule.
    any_unreadable: bool,
    /// Bytes that read as they please, and in which bits.
    unstable: Vec<(usize, u8)>,
    /// Whether a write to one of them was refused.
    refused: bool,
    /// How often such bytes were read.
    reads: u32,
    /// Chooses the bits that a cut leaves half-way.
    noise: u8,
    /// Every write and erase that was begun.
    pub operations: Vec<Operation>,
    cut: Option<Cut>,
    powered: bool,
    /// Bytes that are stuck: they take no write.
    stuck: Range<usize>,
    /// Set from outside, it makes everything readable again. Clones share it.
    pub healing: Rc<Cell<bool>>,
    /// A word that is written already takes all bits once more, as on flashes of STM32 and nRF: embassy-boot relies on it.
    pub takes_all_bits_again: bool,
}

/// What was asked of a flash, over these bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// A write.
    Write(Range<usize>),
    /// An erase.
    Erase(Range<usize>),
}

impl Operation {
    /// The bytes.
    #[must_use]
    pub fn range(&self) -> Range<usize> {
        match self {
            Self::Write(range) | Self::Erase(range) => range.clone(),
        }
    }
}

/// A power cut: which operation, counted from 0 since the last [`Nor::plan`], and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cut {
    /// Which operation.
    pub operation: usize,
    /// What is left of it.
    pub tear: Tear,
}

/// How far an operation comes before the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tear {
    /// It is not begun.
    Before,
    /// Its first bytes are done; in the next one, some bits are.
    Within {
        /// How many bytes are done.
        done: usize,
    },
    /// The same, and the word that it stopped in cannot be read.
    Unreadable {
        /// How many bytes are done.
        done: usize,
    },
    /// The same, and the bits that it stopped in read as they please, each time anew.
    Unstable {
        /// How many bytes are done.
        done: usize,
    },
    /// It is complete, but the caller does not live to see it.
    After,
}

impl Cut {
    /// Every cut of an operation sequence, each once: before, at each byte of a write or each
    /// sixteenth of an erase (torn, unreadable and unstable), and after.
    #[must_use]
    pub fn all(operations: &[Operation]) -> Vec<Self> {
        let mut cuts = Vec::new();
        for (operation, what) in operations.iter().enumerate() {
            let length = what.range().len();
            let step = match what {
                Operation::Write(_) => 1,
                Operation::Erase(_) => length / 16,
            };
            let tears = (0..length)
                .step_by(step)
                .flat_map(|done| [Tear::Within { done }, Tear::Unreadable { done }, Tear::Unstable { done }])
                .chain([Tear::Before, Tear::After]);
            cuts.extend(tears.map(|tear| Self { operation, tear }));
        }
        cuts
    }
}

impl<const ERASE: usize, const WRITE: usize> Nor<ERASE, WRITE> {
    /// A flash of so many bytes, all of them erased.
    #[must_use]
    pub fn new(capacity: u32, erased: u8) -> Self {
        let words = capacity as usize / WRITE;
        Self {
            bytes: vec![erased; capacity as usize],
            erased,
            programmed: vec![false; words],
            unreadable: vec![false; words],
            any_unreadable: false,
            unstable: Vec::new(),
            refused: false,
            reads: 0,
            noise: 0,
            operations: Vec::new(),
            cut: None,
            powered: true,
            stuck: 0..0,
            healing: Rc::default(),
            takes_all_bits_again: false,
        }
    }

    /// A flash that holds these bytes. A word that does not read as erased was written.
    #[must_use]
    pub fn holding(bytes: Vec<u8>, erased: u8) -> Self {
        let mut nor = Self::new(0, erased);
        nor.programmed = bytes.chunks(WRITE).map(|word| word.iter().any(|byte| *byte != erased)).collect();
        nor.unreadable = vec![false; nor.programmed.len()];
        nor.bytes = bytes;
        nor
    }

    /// Forgets the operations so far and plans a cut among the next ones.
    pub fn plan(&mut self, cut: Option<Cut>) {
        self.operations.clear();
        self.cut = cut;
    }

    /// Chooses other bits to be those that a cut leaves half-way.
    pub fn disturb(&mut self, noise: u8) {
        self.noise = noise;
    }

    /// Whether a write was refused, since this was asked last, for a word that was not erased and read as if it were.
    pub fn take_refusal(&mut self) -> bool {
        core::mem::take(&mut self.refused)
    }

    /// Whether the power is there.
    #[must_use]
    pub fn powered(&self) -> bool {
        self.powered
    }

    /// The power comes back. Whether it had gone.
    pub fn power_on(&mut self) -> bool {
        self.cut = None;
        !core::mem::replace(&mut self.powered, true)
    }

    /// What is there, read past all rules.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether all of a range can be read.
    #[must_use]
    pub fn is_readable(&self, range: &Range<usize>) -> bool {
        !self.any_unreadable || !self.unreadable[words::<WRITE>(range)].contains(&true)
    }

    /// Whether no byte of a range reads as it pleases.
    #[must_use]
    pub fn is_stable(&self, range: &Range<usize>) -> bool {
        !self.unstable.iter().any(|(at, _)| range.contains(at))
    }

    /// Puts bytes there, past all rules: what an attacker or decay would do.
    pub fn forge(&mut self, offset: usize, bytes: &[u8]) {
        let range = offset..offset + bytes.len();
        self.programmed[words::<WRITE>(&range)].fill(true);
        self.bytes[range].copy_from_slice(bytes);
    }

    /// Makes a range unreadable until it is erased.
    pub fn decay(&mut self, range: Range<usize>) {
        self.unreadable[words::<WRITE>(&range)].fill(true);
        self.any_unreadable = true;
    }

    /// Makes everything readable again.
    pub fn heal(&mut self) {
        self.unreadable.fill(false);
        self.any_unreadable = false;
    }

    /// Makes a range take no writes, without a word.
    pub fn wear_out(&mut self, range: Range<usize>) {
        self.stuck = range;
    }

    fn check(&self, range: &Range<usize>, unit: usize) -> Result<(), NorFlashErrorKind> {
        assert!(range.end <= self.bytes.len(), "{range:x?} is out of bounds");
        assert!(
            range.start.is_multiple_of(unit) && range.end.is_multiple_of(unit),
            "{range:x?} is not aligned to {unit}"
        );
        if self.powered { Ok(()) } else { Err(NorFlashErrorKind::Other) }
    }

    /// Counts an operation and says how much of it is to be done.
    fn begin(&mut self, operation: Operation) -> Tear {
        let number = self.operations.len();
        self.operations.push(operation);
        match self.cut {
            Some(cut) if cut.operation == number => {
                self.powered = false;
                cut.tear
            }
            _ => Tear::After,
        }
    }

    fn program(&mut self, at: usize, byte: u8) {
        if !self.stuck.contains(&at) {
            self.bytes[at] = byte;
            self.programmed[at / WRITE] = true;
        }
    }

    fn give_up(&mut self, word: usize) {
        self.unreadable[word] = true;
        self.any_unreadable = true;
    }

    fn answer(&self) -> Result<(), NorFlashErrorKind> {
        if self.powered { Ok(()) } else { Err(NorFlashErrorKind::Other) }
    }
}

/// The words that a range is in.
fn words<const WRITE: usize>(range: &Range<usize>) -> Range<usize> {
    range.start / WRITE..range.end.div_ceil(WRITE)
}

/// What a byte on its way from one value to another may look like: some bits moved, chosen by the
/// place and by what [`Nor::disturb`] was told, so that every run is the same.
#[expect(clippy::cast_possible_truncation, reason = "any byte will do")]
#[must_use]
pub fn halfway(from: u8, to: u8, at: usize, noise: u8) -> u8 {
    let chosen = (at as u8).wrapping_mul(0x9D) ^ 0x5A ^ noise;
    (from & !chosen) | (to & chosen)
}

impl<const ERASE: usize, const WRITE: usize> ErrorType for Nor<ERASE, WRITE> {
    type Error = NorFlashErrorKind;
}

impl<const ERASE: usize, const WRITE: usize> ReadNorFlash for Nor<ERASE, WRITE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let range = offset as usize..offset as usize + bytes.len();
        self.check(&range, 1)?;
        if self.healing.get() {
            self.heal();
        }
        if !self.is_readable(&range) {
            return Err(NorFlashErrorKind::Other);
        }
        bytes.copy_from_slice(&self.bytes[range.clone()]);
        for (at, bits) in self.unstable.iter().filter(|(at, _)| range.contains(at)) {
            self.reads = self.reads.wrapping_add(1);
            // In two of five reads or so, and never in a simple rhythm.
            if self.reads.wrapping_mul(0x9E37_79B9).rotate_left(7) % 5 < 2 {
                bytes[at - range.start] ^= bits;
            }
        }
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.bytes.len()
    }
}

impl<const ERASE: usize, const WRITE: usize> NorFlash for Nor<ERASE, WRITE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        let start = offset as usize;
        let range = start..start + bytes.len();
        self.check(&range, WRITE)?;
        for word in words::<WRITE>(&range) {
            let at = word * WRITE;
            // One that a cut left half-way may read as erased. The flash knows better.
            if self.unstable.iter().any(|(byte, _)| byte / WRITE == word) {
                self.refused = true;
                return Err(NorFlashErrorKind::Other);
            }
            let all_bits = || bytes[at - start..at - start + WRITE].iter().all(|byte| *byte == !self.erased);
            assert!(
                !self.programmed[word] || self.takes_all_bits_again && all_bits(),
                "word {at:#x} is written twice"
            );
        }
        let tear = self.begin(Operation::Write(range));
        let done = match tear {
            Tear::Before => return self.answer(),
            Tear::Within { done } | Tear::Unreadable { done } | Tear::Unstable { done } => done,
            Tear::After => bytes.len(),
        };
        for (at, byte) in bytes[..done].iter().enumerate() {
            self.program(start + at, *byte);
        }
        if let Some(byte) = bytes.get(done) {
            let torn = halfway(self.erased, *byte, start + done, self.noise);
            if torn != self.erased {
                self.program(start + done, torn);
            }
            match tear {
                Tear::Unreadable { .. } => self.give_up((start + done) / WRITE),
                Tear::Unstable { .. } => self.unstable.push((start + done, torn ^ self.erased)),
                _ => {}
            }
        }
        self.answer()
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        let range = from as usize..to as usize;
        self.check(&range, ERASE)?;
        let tear = self.begin(Operation::Erase(range.clone()));
        let done = match tear {
            Tear::Before => return self.answer(),
            Tear::Within { done } | Tear::Unreadable { done } | Tear::Unstable { done } => done,
            Tear::After => range.len(),
        };
        self.unstable.retain(|(at, _)| !range.contains(at));
        if matches!(tear, Tear::Unstable { .. }) {
            let at = range.start + done;
            self.unstable.push((at, self.bytes[at] ^ self.erased));
        }
        self.bytes[range.start..range.start + done].fill(self.erased);
        for at in range.start + done..range.end {
            self.bytes[at] = halfway(self.bytes[at], self.erased, at, self.noise);
        }
        let words = words::<WRITE>(&range);
        self.unreadable[words.clone()].fill(false);
        // Until it is erased to the end, nothing may be written anywhere in it.
        self.programmed[words].fill(done < range.len());
        if matches!(tear, Tear::Unreadable { .. }) {
            self.give_up((range.start + done) / WRITE);
        }
        self.answer()
    }
}

#[test]
#[should_panic(expected = "written twice")]
fn write_to_a_written_word_panics() {
    let mut nor = Nor::<256, 4>::new(512, 0xFF);
    nor.write(8, &[0xFF; 4]).unwrap();
    let _ = nor.write(8, &[0x00; 4]);
}

#[test]
fn cut_within_a_write_leaves_a_prefix_and_a_torn_byte() {
    let mut nor = Nor::<256, 4>::new(512, 0xFF);
    nor.plan(Some(Cut { operation: 1, tear: Tear::Within { done: 2 } }));
    nor.write(0, &[1; 4]).unwrap();
    nor.write(4, &[0; 4]).unwrap_err();
    nor.write(8, &[3; 4]).unwrap_err();
    nor.read(0, &mut [0; 4]).unwrap_err();
    assert!(nor.power_on());
    assert_eq!(nor.bytes()[..6], [1, 1, 1, 1, 0, 0]);
    assert!(![0x00, 0xFF].contains(&nor.bytes()[6]), "the third byte is torn");
    assert_eq!(nor.bytes()[7..12], [0xFF; 5]);
}
