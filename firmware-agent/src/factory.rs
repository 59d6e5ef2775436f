//! What a device is born with: facts compiled into its image, and the first content of its flash.

use embedded_storage::nor_flash::NorFlash;
use heapless::String;
use sha2::{Digest, Sha256};
use tuffet_client::limits::DEVICE;
use tuffet_client::{Crypto, Trusted};

use crate::boot::{BootRecord, SlotImage};
use crate::error::{Error, Misuse, Rejected};
use crate::flash::Flash;
use crate::flash_map::{Layout, SlotId};
use crate::progress::Progress;
use crate::slot::SlotWriter;
use crate::trust_store::{Memory, store_floors, store_root};

/// Facts compiled into a device's image. The agent falls back to them when its trust store is lost, and
/// never to less.
#[derive(Clone, Copy, Debug)]
pub struct Factory<'a> {
    /// A root file, byte for byte as it was published.
    pub root: &'a [u8],
    /// The product's name in the repository.
    pub product: &'a str,
    /// The hardware's name in the repository.
    pub hardware: &'a str,
    /// The channel that the device follows.
    pub channel: &'a str,
    /// The security counter of the image that these facts are compiled into.
    pub counter: u32,
    /// When that image was built, in seconds since 1970: it is later than this.
    pub built: u64,
}

/// The image that a device leaves the factory with.
#[derive(Clone, Copy, Debug)]
pub struct FactoryImage<'a> {
    /// The image.
    pub bytes: &'a [u8],
    /// The sequence of its release; 0 for one that came without a release.
    pub sequence: u32,
    /// Its version, for people.
    pub version: &'a str,
}

/// Writes what a device has when it leaves the factory: the image in slot A, the boot record in both areas, the trusted
/// root, and floors that are empty but for the security counter.
///
/// It erases all journals and both slots' images first. To a device in the field that would mean that floors,
/// ledger and counter are gone, so it has no place in an agent.
///
/// # Errors
///
/// [`Rejected::Metadata`] for a root file that its own keys did not sign, [`Rejected::ImageLargerThanSlot`],
/// [`Misuse::ImageEmpty`], [`Misuse::Version`]: nothing was erased. And those of the flash.
pub fn provision<F: NorFlash>(
    flash: &mut Flash<F>,
    crypto: &Crypto,
    factory: &Factory<'_>,
    image: &FactoryImage<'_>,
) -> Result<(), Error> {
    let FactoryImage { bytes, sequence, version } = *image;
    let trusted = Trusted::from_root_file(crypto, &DEVICE, &mut [0; DEVICE.memory()], factory.root)?;
    let version = String::try_from(version).map_err(|_| Misuse::Version)?;
    if !tuffet_client::release::is_version(&version) {
        return Err(Misuse::Version.into());
    }
    let slot = SlotId::A;
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let region = flash.map().slot(slot);
    if length == 0 {
        return Err(Misuse::ImageEmpty.into());
    }
    if length > region.length {
        return Err(Rejected::ImageLargerThanSlot { length, slot: region.length }.into());
    }

    // The boot record goes first and comes last: what was written half boots nothing.
    let Layout { boot, .. } = *flash.map().layout();
    flash.erase(boot)?;
    flash.make_unbootable(slot.other())?;
    let digest = Sha256::digest(bytes).into();
    let mut writer = SlotWriter::begin(flash, slot, length, digest)?;
    writer.write(flash, &mut Progress::default(), bytes)?;
    writer.complete(flash)?;
    write_trust(flash, factory, &trusted)?;
    let active = SlotImage { slot, length, digest, sequence, counter: factory.counter, version };
    let record = BootRecord::factory(active);
    record.store(flash)?;
    record.store_apart(flash)
}

/// Writes the first content of the trust store alone: the trusted root, and floors that are empty but for the
/// security counter. For factories that program image and boot record by other means.
///
/// It erases the journal first; see [`provision`].
///
/// # Errors
///
/// [`Rejected::Metadata`] for a root file that its own keys did not sign: nothing was erased. And those of the
/// flash.
pub fn provision_trust<F: NorFlash>(
    flash: &mut Flash<F>,
    crypto: &Crypto,
    factory: &Factory<'_>,
) -> Result<(), Error> {
    let trusted = Trusted::from_root_file(crypto, &DEVICE, &mut [0; DEVICE.memory()], factory.root)?;
    write_trust(flash, factory, &trusted)
}

fn write_trust<F: NorFlash>(
    flash: &mut Flash<F>,
    factory: &Factory<'_>,
    trusted: &Trusted,
) -> Result<(), Error> {
    let Layout { trust, .. } = *flash.map().layout();
    flash.erase(trust)?;
    store_root(flash, trusted.root())?;
    store_floors(flash, trusted.floors(), &Memory::new(factory.counter), None)
}
