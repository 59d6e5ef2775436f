//! The hash of a file as it was received.

use sha2::{Digest, Sha256};

use crate::wire::{Reader, Stored, Writer};

/// The very bytes of a file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Verbatim {
    pub(crate) length: u32,
    pub(crate) sha256: [u8; 32],
}

impl Stored for Verbatim {
    fn write(&self, to: &mut Writer<'_>) {
        to.number(self.length);
        to.bytes(&self.sha256);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Verbatim { length: from.number(), sha256: from.array() }
    }
}

/// What a file that was received is compared by.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct FileHash {
    pub(crate) bytes: Verbatim,
    /// The first half of the SHA-512, if that was asked for.
    #[cfg(feature = "host")]
    pub(crate) sha512: Option<[u8; 32]>,
}

impl From<Verbatim> for FileHash {
    fn from(bytes: Verbatim) -> Self {
        FileHash {
            bytes,
            #[cfg(feature = "host")]
            sha512: None,
        }
    }
}

/// Hashes a file as it comes.
#[derive(Debug)]
pub(crate) struct FileHasher {
    length: u32,
    sha256: Sha256,
    #[cfg(feature = "host")]
    sha512: Option<sha2::Sha512>,
}

impl FileHasher {
    pub(crate) fn new() -> Self {
        FileHasher {
            length: 0,
            sha256: Sha256::new(),
            #[cfg(feature = "host")]
            sha512: None,
        }
    }

    /// Begins another file.
    pub(crate) fn restart(&mut self) {
        self.length = 0;
        self.sha256.reset();
        #[cfg(feature = "host")]
        {
            self.sha512 = None;
        }
    }

    /// Computes SHA-512, too, of a file that has not begun.
    #[cfg(feature = "host")]
    pub(crate) fn with_sha512(&mut self) {
        self.sha512 = Some(sha2::Sha512::new());
    }

    /// Bytes that a file of at most `limit` still may have.
    pub(crate) fn room(&self, limit: u32) -> usize {
        usize::try_from(limit.saturating_sub(self.length)).unwrap_or(usize::MAX)
    }

    /// Takes a chunk, for which there is room.
    pub(crate) fn update(&mut self, chunk: &[u8]) {
        self.length = self.length.saturating_add(u32::try_from(chunk.len()).unwrap_or(u32::MAX));
        self.sha256.update(chunk);
        #[cfg(feature = "host")]
        if let Some(sha512) = &mut self.sha512 {
            sha512.update(chunk);
        }
    }

    /// The file is over.
    pub(crate) fn finish(&mut self) -> FileHash {
        FileHash {
            bytes: Verbatim {
                length: core::mem::take(&mut self.length),
                sha256: self.sha256.finalize_reset().into(),
            },
            #[cfg(feature = "host")]
            sha512: self.sha512.take().map(|sha512| first_half(&sha512.finalize().into())),
        }
    }
}

/// The first half of a SHA-512 in hexadecimal, all of which must be there.
#[cfg(feature = "host")]
pub(crate) fn half(hex: &[u8]) -> Option<[u8; 32]> {
    crate::key::hex_array(hex).map(|digest| first_half(&digest))
}

/// 256 bits of a digest are as hard to hit as those of SHA-256.
#[cfg(feature = "host")]
fn first_half(digest: &[u8; 64]) -> [u8; 32] {
    digest.first_chunk().copied().unwrap_or_default()
}
