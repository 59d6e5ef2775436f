//! Images of MCUboot's before `imgtool`, which made them, and before a small reader of our own.

mod any_bytes;
mod damaged;
mod imgtool;
mod samples;
mod trailer;

use sha2::{Digest as _, Sha256};
use tuffet_agent::mcuboot::{Fault, Image, Reader};

/// Reads an image in chunks of this many bytes.
fn read_by(chunk: usize, bytes: &[u8]) -> Result<Image, Fault> {
    let mut reader = Reader::new();
    for chunk in bytes.chunks(chunk) {
        // Said again by `finish`.
        let _ = reader.update(chunk);
    }
    reader.finish()
}

fn read(bytes: &[u8]) -> Result<Image, Fault> {
    read_by(usize::MAX, bytes)
}

fn sha256(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}
