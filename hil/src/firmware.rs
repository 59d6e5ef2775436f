//! A board's programs: built, flattened, and stamped for a release.

use std::path::Path;

use object::{Object as _, ObjectSymbol as _};
use tuffet::demo::firmware::{Build, flat_image};

use tuffet_hil_protocol::stamp::{MAGIC, Stamp};

use crate::Failure;
use crate::board::Board;

/// The programs of a board.
#[derive(Debug)]
pub struct Firmware {
    /// The board.
    pub board: Board,
    /// The bootloader as its linker left it, for the emulator.
    pub bootloader: Vec<u8>,
    /// The application as its linker left it, for its log.
    pub application: Vec<u8>,
    /// Its bytes from the first one of a slot on, with an empty stamp.
    image: Vec<u8>,
    /// Where its stamp is.
    stamp: usize,
    /// Places in the programs that a debugger is to halt at.
    pub places: Places,
}

/// Addresses of functions, in the bootloader and in the application.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    /// An erase unit is about to be erased.
    pub erase: Vec<u32>,
    /// Bytes are about to be programmed.
    pub program: Vec<u32>,
    /// The bootloader starts.
    pub reset: u32,
    /// It has started an image.
    pub entry: u32,
    /// The device is about to be switched off.
    pub switch_off: Vec<u32>,
}

impl Firmware {
    /// Builds a board's programs below this directory, which keeps what the compiler made.
    ///
    /// # Errors
    /// What keeps them from being built, or is wrong with them.
    pub fn build(board: Board, directory: &Path) -> Result<Firmware, Failure> {
        let [boot, application] = board.programs().map(|name| format!("board/{name}"));
        let build = Build {
            target: board.target(),
            arguments: &["--profile", "board", "--package", &format!("tuffet-{board}")],
            environment: &[],
            programs: [&boot, &application],
        };
        let [bootloader, application] = build.run(directory)?;
        let slot = board.layout().slot_a.length;
        let link = board.layout().link;
        let image = flat_image(&application, link..link + slot)
            .map_err(|flaw| format!("{}: {flaw}", board.programs()[1]))?;
        let mut stamps = image.windows(MAGIC.len()).enumerate().filter(|(_, bytes)| *bytes == MAGIC);
        let (Some((stamp, _)), None) = (stamps.next(), stamps.next()) else {
            return Err(format!("{} has no stamp, or several", board.programs()[1]).into());
        };
        let places = Places::of(&bootloader, &application)?;
        Ok(Firmware { board, bootloader, application, image, stamp, places })
    }

    /// The image of a release.
    ///
    /// # Errors
    /// A version or a root that is too long.
    pub fn image(&self, stamp: &Stamp<'_>) -> Result<Vec<u8>, Failure> {
        let mut image = self.image.clone();
        let place = image.get_mut(self.stamp..).and_then(|rest| rest.first_chunk_mut());
        match place.is_some_and(|place| stamp.fill(place)) {
            true => Ok(image),
            false => Err(format!(
                "version {} or its root of {} bytes is too long",
                stamp.version,
                stamp.root.len()
            )
            .into()),
        }
    }

    /// Bytes of an image.
    #[must_use]
    pub fn length(&self) -> usize {
        self.image.len()
    }
}

impl Places {
    fn of(boot: &[u8], application: &[u8]) -> Result<Places, Failure> {
        let mut places = Places::default();
        for elf in [boot, application] {
            let file = object::File::parse(elf)?;
            for symbol in file.symbols() {
                // Bit 0 says Thumb.
                let address = u32::try_from(symbol.address())? & !1;
                match symbol.name() {
                    Ok("tuffet_flash_erase") => places.erase.push(address),
                    Ok("tuffet_flash_program") => places.program.push(address),
                    Ok("tuffet_switch_off") => places.switch_off.push(address),
                    Ok("Reset") if core::ptr::eq(elf, boot) => places.reset = address,
                    Ok("Reset") => places.entry = address,
                    _ => {}
                }
            }
        }
        // Both programs change the flash, and end.
        let each = [&places.erase, &places.program, &places.switch_off];
        if each.iter().any(|places| places.len() != 2) || [places.reset, places.entry].contains(&0) {
            return Err("the programs lack the functions at which a debugger halts".into());
        }
        Ok(places)
    }
}
