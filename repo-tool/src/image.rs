//! An image file as a build leaves it: raw bytes, or an image of MCUboot's that says its own version and counter.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use sha2::{Digest as _, Sha256};
use tuffet_agent::mcuboot;

use crate::{Environment, Error, Rejected};

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// What an image file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Bytes that say nothing of themselves.
    Raw,
    /// An image for MCUboot, whole, and not damaged as far as can be seen ([`mcuboot::Image::checked`]).
    Mcuboot(mcuboot::Image),
}

/// An image file, without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// What it is.
    pub kind: Kind,
    /// Bytes of the file, padding included.
    pub length: u64,
    /// SHA-256 of the file, padding included. Not [`mcuboot::Image::digest`], which is of a part.
    pub sha256: [u8; 32],
    /// The version that it says it has, as `imgtool` was told it: fit for a release.
    pub version: Option<String>,
    /// The security counter that it says it has.
    pub counter: Option<u32>,
}

/// Reads an image file through once, whatever its size.
///
/// # Errors
/// [`Environment::Io`], also for what is no regular file; [`Rejected::ImageEmpty`]; [`Rejected::ImageChanged`] if another
/// number of bytes came than the file had; [`Rejected::ImageDamaged`] if it begins as an image of MCUboot's does and is
/// none.
pub fn read(path: &Path) -> Result<Image, Error> {
    let failed = |error| Error::io("read", path, &error);
    let expected = std::fs::metadata(path).map_err(failed)?;
    if !expected.is_file() {
        // A pipe or a device could not be read twice, and may never end.
        let message = "it is no regular file".to_owned();
        return Err(Environment::Io { what: "read", path: path.to_owned(), message }.into());
    }
    let mut file = File::open(path).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut length = 0;
    let mut chunk = Vec::with_capacity(CHUNK);
    let mut reader = None;
    loop {
        chunk.clear();
        // Filled to the end of the file, so that the magic is never cut in two.
        let count = file.by_ref().take(CHUNK as u64).read_to_end(&mut chunk).map_err(failed)?;
        if count == 0 {
            break;
        }
        if length == 0 && mcuboot::is_image(&chunk) {
            reader = Some(mcuboot::Reader::new());
        }
        if let Some(reader) = &mut reader {
            // What is wrong is said again at the end, unless somebody is still writing: that is said first.
            let _ = reader.update(&chunk);
        }
        hash.update(&chunk);
        length += count as u64;
    }
    if length != expected.len() {
        return Err(Rejected::ImageChanged { image: path.to_owned() }.into());
    }
    if length == 0 {
        return Err(Rejected::ImageEmpty { image: path.to_owned() }.into());
    }
    let damaged = |fault| Rejected::ImageDamaged { image: path.to_owned(), fault };
    let sha256 = hash.finalize().into();
    let Some(reader) = reader else {
        return Ok(Image { kind: Kind::Raw, length, sha256, version: None, counter: None });
    };
    let found = reader.finish().map_err(damaged)?;
    let (version, counter) = (Some(found.header.version.to_string()), found.counter);
    Ok(Image { kind: Kind::Mcuboot(found), length, sha256, version, counter })
}

impl Image {
    /// What whoever releases it should know, each a sentence about the image.
    pub fn remarks(&self) -> Vec<String> {
        let Kind::Mcuboot(found) = &self.kind else { return Vec::new() };
        let flags = found.header.flags;
        let padding = self.length.saturating_sub(found.length);
        let address = found.header.load_address;
        let mut remarks = Vec::new();
        let mut remark = |holds: bool, text: String| remarks.extend(holds.then_some(text));
        remark(
            !found.checked,
            "it is encrypted, so that nobody can tell here whether it is damaged".to_owned(),
        );
        remark(
            found.checked && flags.encrypted(),
            "it is made for encryption, and its payload is in clear".to_owned(),
        );
        remark(found.signature.is_none(), "it has no signature for MCUboot".to_owned());
        remark(flags.non_bootable(), "it is marked as not bootable".to_owned());
        remark(flags.ram_load(), format!("it runs from RAM, at {address:#x}"));
        remark(flags.rom_fixed(), format!("it runs from flash at {address:#x} alone"));
        remark(flags.compressed(), "its payload is compressed".to_owned());
        remark(padding > 0, format!("its last {padding} bytes are padding, which nothing in it vouches for"));
        for mcuboot::Dependency { image, minimum } in &found.dependencies {
            remark(true, format!("it needs version {minimum} or later of image {image}"));
        }
        remarks
    }
}
