//! A NOR flash in memory that panics when its contract is broken, counts its operations, and loses
//! its power within any of them.

use core::cell::Cell;
use core::ops::Range;
use std::collections::BTreeSet;
use std::rc::Rc;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};

/// Erase unit and write unit in bytes.
#[derive(Clone, Debug)]
pub(crate) struct Nor<const ERASE: usize, const WRITE: usize> {
    bytes: Vec<u8>,
    erased: u8,
    /// Words that were programmed since they were erased, even where they read as erased.
    programmed: BTreeSet<usize>,
    /// Words that the flash's error correction gives up on.
    unreadable: BTreeSet<usize>,
    /// Every write and erase that was begun.
    pub(crate) operations: Vec<Operation>,
    cut: Option<Cut>,
    powered: bool,
    /// Bytes that are stuck: they take no write.
    stuck: Range<usize>,
    /// Set from outside, it makes everything readable again. Clones share it.
    pub(crate) healing: Rc<Cell<bool>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Write(Range<usize>),
    Erase(Range<usize>),
}

impl Operation {
    pub(crate) fn range(&self) -> Range<usize> {
        match self {
            Self::Write(range) | Self::Erase(range) => range.clone(),
        }
    }
}

/// A power cut: which operation, counted from 0 since the last [`Nor::plan`], and what is left of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Cut {
    pub(crate) operation: usize,
    pub(crate) tear: Tear,
}

/// How far an operation comes before the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Tear {
    /// It is not begun.
    Before,
    /// Its first bytes are done; in the next one, some bits are.
    Within { done: usize },
    /// The same, and the word that it stopped in cannot be read.
    Unreadable { done: usize },
    /// It is complete, but the caller does not live to see it.
    After,
}

impl Cut {
    /// Every cut of an operation sequence, each once: before, at each byte of a write or each
    /// sixteenth of an erase (torn and unreadable), and after.
    pub(crate) fn all(operations: &[Operation]) -> Vec<Self> {
        let mut cuts = Vec::new();
        for (operation, what) in operations.iter().enumerate() {
            let length = what.range().len();
            let step = match what {
                Operation::Write(_) => 1,
                Operation::Erase(_) => length / 16,
            };
            let tears = (0..length)
                .step_by(step)
                .flat_map(|done| [Tear::Within { done }, Tear::Unreadable { done }])
                .chain([Tear::Before, Tear::After]);
            cuts.extend(tears.map(|tear| Self { operation, tear }));
        }
        cuts
    }
}

impl<const ERASE: usize, const WRITE: usize> Nor<ERASE, WRITE> {
    pub(crate) fn new(capacity: u32, erased: u8) -> Self {
        Self {
            bytes: vec![erased; capacity as usize],
            erased,
            programmed: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            operations: Vec::new(),
            cut: None,
            powered: true,
            stuck: 0..0,
            healing: Rc::default(),
        }
    }

    /// Forgets the operations so far and plans a cut among the next ones.
    pub(crate) fn plan(&mut self, cut: Option<Cut>) {
        self.operations.clear();
        self.cut = cut;
    }

    /// The power comes back. Whether it had gone.
    pub(crate) fn power_on(&mut self) -> bool {
        self.cut = None;
        !core::mem::replace(&mut self.powered, true)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Puts bytes there, past all rules: what an attacker or decay would do.
    pub(crate) fn forge(&mut self, offset: usize, bytes: &[u8]) {
        self.bytes[offset..offset + bytes.len()].copy_from_slice(bytes);
        self.programmed.extend(offset / WRITE..(offset + bytes.len()).div_ceil(WRITE));
    }

    /// Makes a range unreadable until it is erased.
    pub(crate) fn decay(&mut self, range: Range<usize>) {
        self.unreadable.extend(range.start / WRITE..range.end.div_ceil(WRITE));
    }

    /// Makes everything readable again.
    pub(crate) fn heal(&mut self) {
        self.unreadable.clear();
    }

    /// Makes a range take no writes, without a word.
    pub(crate) fn wear_out(&mut self, range: Range<usize>) {
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
        }
        self.programmed.insert(at / WRITE);
    }

    fn answer(&self) -> Result<(), NorFlashErrorKind> {
        if self.powered { Ok(()) } else { Err(NorFlashErrorKind::Other) }
    }
}

/// What a byte on its way from one value to another may look like: some bits moved, chosen by the
/// place so that every run is the same.
fn halfway(from: u8, to: u8, at: usize) -> u8 {
    let chosen = (at as u8).wrapping_mul(0x9D) ^ 0x5A;
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
        let mut words = range.start / WRITE..range.end.div_ceil(WRITE);
        if words.any(|word| self.unreadable.contains(&word)) {
            return Err(NorFlashErrorKind::Other);
        }
        bytes.copy_from_slice(&self.bytes[range]);
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
        for word in range.start / WRITE..range.end / WRITE {
            assert!(!self.programmed.contains(&word), "word {:#x} is written twice", word * WRITE);
        }
        let tear = self.begin(Operation::Write(range));
        let done = match tear {
            Tear::Before => return self.answer(),
            Tear::Within { done } | Tear::Unreadable { done } => done,
            Tear::After => bytes.len(),
        };
        for (at, byte) in bytes[..done].iter().enumerate() {
            self.program(start + at, *byte);
        }
        if let Some(byte) = bytes.get(done) {
            let torn = halfway(self.erased, *byte, start + done);
            if torn != self.erased {
                self.program(start + done, torn);
            }
            if matches!(tear, Tear::Unreadable { .. }) {
                self.unreadable.insert((start + done) / WRITE);
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
            Tear::Within { done } | Tear::Unreadable { done } => done,
            Tear::After => range.len(),
        };
        for at in range.clone() {
            self.bytes[at] =
                if at < range.start + done { self.erased } else { halfway(self.bytes[at], self.erased, at) };
        }
        let words = range.start / WRITE..range.end / WRITE;
        self.unreadable.retain(|word| !words.contains(word));
        if done == range.len() {
            self.programmed.retain(|word| !words.contains(word));
        } else {
            // Until it is erased to the end, nothing may be written anywhere in it.
            self.programmed.extend(words);
            if matches!(tear, Tear::Unreadable { .. }) {
                self.unreadable.insert((range.start + done) / WRITE);
            }
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
