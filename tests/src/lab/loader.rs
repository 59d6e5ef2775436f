//! Bootloaders: what each starts, how its flash is laid out, and which cuts it survives.
//!
//! [`decide_boot`] and embassy-boot's loader are the real ones. MCUboot's is a [model](super::mcuboot_model).

use core::cell::RefCell;
use core::fmt;
use core::str::FromStr;

use embassy_boot::{BootLoader, BootLoaderConfig};
use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use tuffet_agent::boot::{SlotImage, decide_boot};
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::{Flash, SlotId};

use super::mcuboot_model::{Model, Way};
use super::nor::{Nor, Operation, Tear};

/// A bootloader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Loader {
    /// `decide_boot`.
    Direct,
    /// embassy-boot.
    Embassy,
    /// The model of MCUboot.
    Mcuboot(Way),
}

/// What bootloaders of others do not survive, so that it is not tried: where, what, and why.
///
/// Cuts leave the worst that a flash's data sheet promises (see [`nor`](super::nor)) wherever the agent writes for itself,
/// and wherever a bootloader erases a page again before it goes on. In these places they leave less, for what the
/// bootloader does there is not the agent's to mend.
pub const LEFT_OUT: [[&str; 3]; 6] = [
    [
        "embassy-boot's state",
        "words that cannot be read, or read as they please",
        "it reads them all at each start and goes no further; a note of progress that is there for one step and not for the next mixes images",
    ],
    [
        "the same, of a write unit of one byte",
        "torn words",
        "D0 and C0 on their way from FF may read as F0, which asks for a swap: the test torn_confirmation_of_one_byte",
    ],
    ["MCUboot's trailer in the primary slot", "words that cannot be read", "it stops"],
    [
        "what MCUboot itself writes into trailers",
        "words that cannot be read, or read as they please",
        "as for embassy-boot",
    ],
    [
        "copy done in the primary slot, the magic in the secondary, if the new image crashes",
        "torn words",
        "MCUboot does not go back, and the image that could mend this does not run",
    ],
    ["MCUboot that overwrites", "images that only crash", "it keeps nothing to go back to"],
];

impl Loader {
    /// All of them.
    pub const ALL: [Loader; 6] = [
        Loader::Direct,
        Loader::Embassy,
        Loader::Mcuboot(Way::Scratch),
        Loader::Mcuboot(Way::Move),
        Loader::Mcuboot(Way::Offset),
        Loader::Mcuboot(Way::Overwrite),
    ];

    /// Whether it starts images from slot A alone, and swaps them there.
    #[must_use]
    pub fn swaps(self) -> bool {
        self != Loader::Direct
    }

    /// Whether it keeps the active image while another one is on trial.
    #[must_use]
    pub fn goes_back(self) -> bool {
        self != Loader::Mcuboot(Way::Overwrite)
    }

    /// Whether it goes by an image's header, which is why that is written last.
    #[must_use]
    pub fn goes_by_header(self) -> bool {
        matches!(self, Loader::Mcuboot(_))
    }

    /// Whether it works on a flash that is erased to this.
    #[must_use]
    pub fn takes(self, erased: u8) -> bool {
        self != Loader::Embassy || erased == 0xFF
    }

    pub(super) fn place<const ERASE: usize, const WRITE: usize>(self, erased: u8, longest: usize) -> Place {
        let unit = |bytes: usize| u32::try_from(bytes.next_multiple_of(ERASE)).expect("a small flash");
        let mut end = 0;
        let mut region = |length: u32| {
            let offset = end;
            end += length;
            Region { offset, length }
        };
        // Everything as small as it may be, for cuts to fall on all of it.
        let (boot, trust) = (region(2 * unit(320)), region(2 * unit(1664)));
        // For MCUboot a trailer and a page to move by; for embassy-boot a page to swap by.
        let (more_a, more_b) = match self {
            Loader::Direct => (0, 0),
            Loader::Embassy => (0, ERASE),
            Loader::Mcuboot(_) => (3 * ERASE, 3 * ERASE),
        };
        let (slot_a, slot_b) = (region(unit(longest + more_a)), region(unit(longest + more_b)));
        let extra = region(if self.swaps() { unit(1) } else { 0 });
        let (erase_unit, write_unit) = (unit(ERASE), u32::try_from(WRITE).expect("a small unit"));
        let layout = Layout { erase_unit, write_unit, erased, boot, trust, slot_a, slot_b };
        Place { loader: self, map: FlashMap::new(layout).expect("a map that can be"), extra }
    }
}

/// As `--loader` takes it.
impl fmt::Display for Loader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Loader::Direct => "direct",
            Loader::Embassy => "embassy",
            Loader::Mcuboot(Way::Scratch) => "mcuboot-scratch",
            Loader::Mcuboot(Way::Move) => "mcuboot-move",
            Loader::Mcuboot(Way::Offset) => "mcuboot-offset",
            Loader::Mcuboot(Way::Overwrite) => "mcuboot-overwrite",
        })
    }
}

impl FromStr for Loader {
    type Err = String;

    fn from_str(name: &str) -> Result<Loader, String> {
        let found = Loader::ALL.into_iter().find(|loader| loader.to_string() == name);
        found.ok_or_else(|| format!("there are {}", Loader::ALL.map(|loader| loader.to_string()).join(", ")))
    }
}

/// A bootloader, and where on its flash it finds what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) loader: Loader,
    pub(super) map: FlashMap,
    /// embassy-boot's state; MCUboot's scratch area.
    pub(super) extra: Region,
}

impl Place {
    /// A flash that holds all of it, blank.
    pub(super) fn blank<const ERASE: usize, const WRITE: usize>(&self) -> Nor<ERASE, WRITE> {
        let mut nor = Nor::new(self.map.capacity().max(self.extra.end()), self.map.layout().erased);
        nor.takes_all_bits_again = self.loader == Loader::Embassy;
        nor
    }

    /// What the bootloader does. Then the image of this slot runs, which is that of the record if the bootloader knows one.
    pub(super) fn boot<const ERASE: usize, const WRITE: usize>(
        &self,
        nor: &mut Nor<ERASE, WRITE>,
    ) -> Result<(SlotId, Option<SlotImage>), String> {
        match self.loader {
            Loader::Direct => {
                let decided = Flash::new(nor, self.map).and_then(|mut flash| decide_boot(&mut flash));
                let start = decided.map_err(|error| format!("nothing starts: {error}"))?.start;
                Ok((start.slot, Some(start)))
            }
            Loader::Embassy => {
                start_by_embassy(nor, &self.map, self.extra)?;
                Ok((SlotId::A, None))
            }
            Loader::Mcuboot(way) => {
                let started = self.model(way).boot(nor);
                started.map(|()| (SlotId::A, None)).map_err(|halt| format!("nothing starts: {halt:?}"))
            }
        }
    }

    pub(super) fn model(&self, way: Way) -> Model {
        let Layout { slot_a, slot_b, erase_unit, write_unit, erased, .. } = *self.map.layout();
        let (primary, secondary, scratch) = (slot_a, slot_b, self.extra);
        Model { way, primary, secondary, scratch, sector: erase_unit, unit: write_unit.max(8), erased }
    }

    /// Whether the bootloader survives that a cut leaves this of an operation, which is its own or the agent's; see
    /// [`LEFT_OUT`].
    pub(super) fn survives(&self, tear: Tear, operation: &Operation, is_own: bool, crashes: bool) -> bool {
        let range = operation.range();
        let within =
            |region: Region| range.start < region.end() as usize && range.end > region.offset as usize;
        let (torn, unstable) = match tear {
            Tear::Before | Tear::After => return true,
            Tear::Within { .. } => (true, false),
            Tear::Unreadable { .. } => (false, false),
            Tear::Unstable { .. } => (false, true),
        };
        match self.loader {
            Loader::Embassy if within(self.extra) => torn && self.map.layout().write_unit > 1,
            Loader::Direct | Loader::Embassy => true,
            Loader::Mcuboot(way) => {
                let model = self.model(way);
                let reserved = model.reserved();
                let trailer =
                    |slot: Region| within(Region { offset: slot.end() - reserved, length: reserved });
                let [primary, secondary] = [SlotId::A, SlotId::B].map(|slot| trailer(self.map.slot(slot)));
                let is_write = matches!(operation, Operation::Write(_));
                match (is_own, primary, secondary) {
                    (true, ..)
                        if crashes && is_write && model.points_of_no_return().into_iter().any(within) =>
                    {
                        false
                    }
                    (true, true, _) | (true, _, true) => torn,
                    (false, true, _) => torn || unstable,
                    _ => true,
                }
            }
        }
    }
}

/// What embassy-boot's bootloader does before it starts the image in slot A.
///
/// # Errors
/// That it stops, in words.
pub fn start_by_embassy<F>(flash: F, map: &FlashMap, state: Region) -> Result<(), String>
where
    F: NorFlash<Error = NorFlashErrorKind>,
{
    let nor = RefCell::new(flash);
    let Layout { slot_a, slot_b, .. } = *map.layout();
    let [active, dfu, state] = [slot_a, slot_b, state].map(|region| Partition { nor: &nor, region });
    let mut loader = BootLoader::new(BootLoaderConfig { active, dfu, state });
    let started = loader.prepare_boot(&mut vec![0; F::ERASE_SIZE]);
    started.map(drop).map_err(|error| format!("nothing starts: {error:?}"))
}

/// A part of a flash that several share, as embassy-boot's loader wants it.
struct Partition<'f, F> {
    nor: &'f RefCell<F>,
    region: Region,
}

impl<F> ErrorType for Partition<'_, F> {
    type Error = NorFlashErrorKind;
}

impl<F: NorFlash<Error = NorFlashErrorKind>> ReadNorFlash for Partition<'_, F> {
    const READ_SIZE: usize = F::READ_SIZE;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        assert!(offset as usize + bytes.len() <= self.capacity());
        self.nor.borrow_mut().read(self.region.offset + offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.region.length as usize
    }
}

impl<F: NorFlash<Error = NorFlashErrorKind>> NorFlash for Partition<'_, F> {
    const WRITE_SIZE: usize = F::WRITE_SIZE;
    const ERASE_SIZE: usize = F::ERASE_SIZE;

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        assert!(offset as usize + bytes.len() <= self.capacity());
        self.nor.borrow_mut().write(self.region.offset + offset, bytes)
    }

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        assert!(from <= to && to <= self.region.length);
        self.nor.borrow_mut().erase(self.region.offset + from, self.region.offset + to)
    }
}
