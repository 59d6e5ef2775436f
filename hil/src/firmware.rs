//! A board's programs: built, flattened, and stamped for a release.

use std::path::Path;

use object::{Object as _, ObjectSymbol as _};
use tuffet::demo::firmware::{Build, flat_image};

use crate::Failure;
use crate::board::Board;

/// What begins a stamp; see `hil/firmware/device/src/stamp.rs`, where its table is.
const MAGIC: &[u8; 16] = b"TUFFET STAMP v1\0";

/// Bytes of a stamp's root, at the most.
const ROOT_MAX: usize = 6144;

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
    /// The device is about to be switched off.
    pub switch_off: Vec<u32>,
}

/// How an image behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// As it should.
    Well,
    /// It hangs right after its start.
    Hangs,
    /// It crashes right after its start.
    Crashes,
    /// It says that it is not fit for use.
    Unfit,
    /// It does not reach its server.
    Alone,
}

/// What a release's build fills in.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'s> {
    /// The version.
    pub version: &'s str,
    /// The security counter.
    pub counter: u32,
    /// How the image behaves.
    pub behaviour: Behaviour,
    /// When it was built, in seconds since 1970.
    pub built: u64,
    /// The root file that it trusts.
    pub root: &'s [u8],
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
        let mut stamps = image.windows(MAGIC.len()).enumerate().filter(|(_, bytes)| bytes == MAGIC);
        let (Some((stamp, _)), None) = (stamps.next(), stamps.next()) else {
            return Err(format!("{} has no stamp, or several", board.programs()[1]).into());
        };
        let places = Places::of(board, &bootloader, &application)?;
        Ok(Firmware { board, bootloader, application, image, stamp, places })
    }

    /// The image of a release.
    ///
    /// # Errors
    /// A version or a root that is too long.
    pub fn image(&self, stamp: &Stamp<'_>) -> Result<Vec<u8>, Failure> {
        let Stamp { version, counter, behaviour, built, root } = *stamp;
        if version.len() > 32 || root.len() > ROOT_MAX {
            return Err(format!("version {version} or its root of {} bytes is too long", root.len()).into());
        }
        let mut image = self.image.clone();
        let mut put = |offset: usize, bytes: &[u8]| {
            let at = self.stamp + offset;
            image[at..at + bytes.len()].copy_from_slice(bytes);
        };
        put(16, version.as_bytes());
        put(48, &counter.to_le_bytes());
        put(52, &(behaviour as u32).to_le_bytes());
        put(56, &built.to_le_bytes());
        put(64, &u32::try_from(root.len())?.to_le_bytes());
        put(72, root);
        Ok(image)
    }

    /// Bytes of an image.
    #[must_use]
    pub fn length(&self) -> usize {
        self.image.len()
    }
}

impl Places {
    fn of(board: Board, boot: &[u8], application: &[u8]) -> Result<Places, Failure> {
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
                    _ => {}
                }
            }
        }
        // Both programs change the flash, and an emulator that keeps it in memory is to be stopped before it ends.
        let found = [&places.erase, &places.program].iter().all(|places| places.len() == 2);
        if !found || places.reset == 0 || board.has_flash_file() != places.switch_off.is_empty() {
            return Err("the programs lack the functions at which a debugger halts".into());
        }
        Ok(places)
    }
}
