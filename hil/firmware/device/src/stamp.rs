//! The stamp: what a release's build fills in after linking, so that one build of a board's application serves all releases.
//!
//! It lies in the image on a multiple of 8 bytes, and is found by its magic:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 16 | magic, `TUFFET STAMP v1` and a zero |
//! | 16 | 32 | version, ASCII, zeros behind it |
//! | 48 | 4 | security counter |
//! | 52 | 4 | behaviour, see [`Behaviour`] |
//! | 56 | 8 | built, seconds since 1970 |
//! | 64 | 4 | length of the root |
//! | 68 | 4 | 0 |
//! | 72 | 6144 | root, a root file, zeros behind it |
//!
//! All integers are little-endian.

use core::hint::black_box;

use tuffet_agent::Factory;

/// Bytes of a root file, at the most.
pub const ROOT_MAX: usize = 6144;

/// What an image knows of itself.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Stamp {
    magic: [u8; 16],
    version: [u8; 32],
    counter: u32,
    behaviour: u32,
    built: u64,
    root_length: u32,
    reserved: u32,
    root: [u8; ROOT_MAX],
}

const _: () = assert!(size_of::<Stamp>() == 72 + ROOT_MAX, "no padding");

/// The stamp of this image. Empty as it is linked: such an image trusts nobody.
#[used]
static STAMP: Stamp = Stamp {
    magic: *b"TUFFET STAMP v1\0",
    version: [0; 32],
    counter: 0,
    behaviour: 0,
    built: 0,
    root_length: 0,
    reserved: 0,
    root: [0; ROOT_MAX],
};

/// How an image behaves. For trials, which are to go wrong in each way there is.
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
    /// It looks for its server where there is none.
    Alone,
}

impl Stamp {
    /// The stamp of the image that runs.
    #[must_use]
    pub fn own() -> &'static Self {
        // What was linked is not what runs, and the compiler must not go by it.
        black_box(&STAMP)
    }

    /// What people call this image.
    #[must_use]
    pub fn version(&self) -> &str {
        let end = self.version.iter().position(|byte| *byte == 0).unwrap_or(self.version.len());
        core::str::from_utf8(self.version.get(..end).unwrap_or_default()).unwrap_or_default()
    }

    /// How it behaves.
    #[must_use]
    pub fn behaviour(&self) -> Behaviour {
        match self.behaviour {
            1 => Behaviour::Hangs,
            2 => Behaviour::Crashes,
            3 => Behaviour::Unfit,
            4 => Behaviour::Alone,
            _ => Behaviour::Well,
        }
    }

    /// What a device with this image is born with, on this hardware.
    #[must_use]
    pub fn factory(&self, hardware: &'static str) -> Factory<'_> {
        let length = usize::try_from(self.root_length).unwrap_or(usize::MAX);
        let root = self.root.get(..length).unwrap_or_default();
        let (product, channel) = ("lamp", "stable");
        Factory { root, product, hardware, channel, counter: self.counter, built: self.built }
    }
}
