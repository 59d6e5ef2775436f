//! What every program needs that reads files, and what hashing them adds: nothing in here is the client's.

use core::hint::black_box;

#[cfg(feature = "sha256")]
use sha2::{Digest, Sha256};

use crate::board::{File, paint, say, ticks};

/// Reads, and hashes, the files of a repository that a cycle would read.
pub(crate) fn run() -> bool {
    let stack = paint();
    let all =
        black_box([&b"1.root.json\0"[..], b"timestamp.json\0", b"1.snapshot.json\0", b"1.targets.json\0"]);
    let read = all.into_iter().all(read);
    say("stack", &[stack.used()]);
    read
}

#[inline(never)]
fn read(name: &[u8]) -> bool {
    let Some(mut file) = File::open(name) else { return false };
    let mut buffer = [0; 512];
    #[cfg(feature = "sha256")]
    let mut hash = Sha256::new();
    let mut length = 0;
    let mut spent = 0_u32;
    loop {
        let chunk = file.read(&mut buffer);
        let before = ticks();
        #[cfg(feature = "sha256")]
        hash.update(&*chunk);
        length += black_box(&*chunk).len();
        spent = spent.wrapping_add(ticks().wrapping_sub(before));
        if chunk.len() < 512 {
            break;
        }
    }
    #[cfg(feature = "sha256")]
    black_box(hash.finalize());
    say("read", &[length as u32, spent]);
    true
}
