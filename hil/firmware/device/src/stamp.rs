//! The stamp of this image, which its build fills in after linking; `tuffet_hil_protocol::stamp` has its table.

use core::hint::black_box;

use tuffet_agent::Factory;
use tuffet_hil_protocol::stamp::{LENGTH, MAGIC, ROOT_MAX, VERSION_MAX};

pub use tuffet_hil_protocol::stamp::Behaviour;

/// What an image knows of itself.
#[repr(C, align(8))]
#[derive(Debug)]
pub struct Stamp {
    magic: [u8; MAGIC.len()],
    version: [u8; VERSION_MAX],
    counter: u32,
    behaviour: u32,
    built: u64,
    root_length: u32,
    reserved: u32,
    root: [u8; ROOT_MAX],
}

const _: () = assert!(size_of::<Stamp>() == LENGTH, "no padding");

/// The stamp of this image. Empty as it is linked: such an image trusts nobody.
#[used]
static STAMP: Stamp = Stamp {
    magic: MAGIC,
    version: [0; VERSION_MAX],
    counter: 0,
    behaviour: 0,
    built: 0,
    root_length: 0,
    reserved: 0,
    root: [0; ROOT_MAX],
};

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
        Behaviour::of(self.behaviour)
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
