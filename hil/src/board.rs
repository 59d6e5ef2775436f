//! The boards.

use core::fmt;
use core::str::FromStr;
use std::path::Path;
use std::process::Command;

use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_hil_protocol::board::{self, EMCRAFT_SF2, MICROBIT, Part};

/// An emulated board.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Board {
    /// A SmartFusion2 with a SPI NOR and a network; `decide_boot` starts one of two slots.
    EmcraftSf2,
    /// An nRF51 with 16 KiB of RAM and a UART; embassy-boot swaps two slots.
    Microbit,
}

/// What emulates them.
pub const EMULATOR: &str = "qemu-system-arm";

impl Board {
    /// All of them.
    pub const ALL: [Board; 2] = [Board::EmcraftSf2, Board::Microbit];

    /// Where everything lies on its flash.
    #[must_use]
    pub const fn layout(self) -> &'static board::Board {
        match self {
            Board::EmcraftSf2 => &EMCRAFT_SF2,
            Board::Microbit => &MICROBIT,
        }
    }

    /// Its name, and that of its hardware in a repository.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.layout().name
    }

    /// The target for which its programs are compiled.
    #[must_use]
    pub const fn target(self) -> &'static str {
        match self {
            Board::EmcraftSf2 => "thumbv7m-none-eabi",
            Board::Microbit => "thumbv6m-none-eabi",
        }
    }

    /// Its programs: bootloader and application.
    #[must_use]
    pub const fn programs(self) -> [&'static str; 2] {
        match self {
            Board::EmcraftSf2 => ["sf2-boot", "sf2-app"],
            Board::Microbit => ["microbit-boot", "microbit-app"],
        }
    }

    /// Whether files come over its UART, and not over a network of its own.
    #[must_use]
    pub const fn is_fed(self) -> bool {
        matches!(self, Board::Microbit)
    }

    /// Whether its flash is a file of the host's. If not, it is memory of the emulator's, and goes with it.
    #[must_use]
    pub const fn has_flash_file(self) -> bool {
        matches!(self, Board::EmcraftSf2)
    }

    /// Whether images swap their slots before they start.
    #[must_use]
    pub const fn swaps(self) -> bool {
        self.layout().state.is_some()
    }

    /// The agent's flash map.
    ///
    /// # Panics
    /// Never: the board's map is tested.
    #[must_use]
    pub fn map(self) -> FlashMap {
        let board::Board { erase_unit, write_unit, boot, trust, slot_a, slot_b, .. } = *self.layout();
        let region = |Part { offset, length }: Part| Region { offset, length };
        FlashMap::new(Layout {
            erase_unit,
            write_unit,
            erased: 0xFF,
            boot: region(boot),
            trust: region(trust),
            slot_a: region(slot_a),
            slot_b: region(slot_b),
        })
        .expect("a board's map is sound")
    }

    /// The emulator, halted before its first instruction: the UART is its standard input and output, a debugger is
    /// served on this socket, and the flash is this file if it is one.
    #[must_use]
    pub fn emulator(self, bootloader: &Path, socket: &Path, flash: &Path) -> Command {
        let mut command = Command::new(EMULATOR);
        command.args(["-M", self.name(), "-display", "none", "-monitor", "none", "-serial", "stdio", "-S"]);
        command.args(["-semihosting-config", "enable=on,target=native"]);
        command.arg("-kernel").arg(bootloader);
        command.arg("-gdb").arg(format!("unix:{},server=on,wait=off", socket.display()));
        if let Board::EmcraftSf2 = self {
            // Nothing is to be kept from a crash of the host: without that each halt waits for the host's disk.
            command.arg("-drive");
            command.arg(format!("if=mtd,format=raw,cache=unsafe,file={}", flash.display()));
            command.args(["-nic", "user,model=msf2-emac"]);
        }
        command
    }
}

impl fmt::Display for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Board {
    type Err = String;

    fn from_str(name: &str) -> Result<Board, String> {
        let found = Board::ALL.into_iter().find(|board| board.name() == name);
        found.ok_or_else(|| format!("there are {}", Board::ALL.map(Board::name).join(" and ")))
    }
}
