//! What is read of `imgtool`'s images when a byte is changed, or the end is cut off.

use tuffet_agent::mcuboot::{Fault, Image};

use crate::read;
use crate::samples::{Sample, samples};

/// What the digest vouches for.
fn under_the_digest(found: &Image) -> impl PartialEq + core::fmt::Debug {
    (found.header, found.counter, found.dependencies.clone(), found.digest, found.checked)
}

/// Where types and lengths of the entries stand that are not under the digest, and of their area.
fn heads(bytes: &[u8], found: &Image) -> Vec<usize> {
    let start = usize::try_from(found.header.hashed_length()).unwrap();
    let mut heads: Vec<usize> = (start..start + 4).collect();
    let mut at = start + 4;
    while at < usize::try_from(found.length).unwrap() {
        heads.extend(at..at + 4);
        at += 4 + usize::from(u16::from_le_bytes([bytes[at + 2], bytes[at + 3]]));
    }
    heads
}

#[test]
fn image_with_any_byte_changed_is_refused_unless_the_digest_is_not_over_it() {
    for Sample { asked, bytes, .. } in samples().all.iter().filter(|sample| sample.asked.flags & 0x0c == 0) {
        let found = read(bytes).unwrap();
        let heads = heads(bytes, &found);
        let (mut bytes, mut unseen) = (bytes.clone(), 0);
        for at in 0..bytes.len() {
            for change in [0x01, 0x02, 0x04, 0x10, 0x80, 0xff] {
                bytes[at] ^= change;
                let changed = read(&bytes);
                bytes[at] ^= change;
                let place = format!("{}, byte {at:#x} by {change:#x}", asked.name);
                let offset = at as u64;
                if at < 4 {
                    // Another file: raw.
                    assert_eq!(changed, Err(Fault::Magic), "{place}");
                } else if offset < found.header.hashed_length() {
                    assert!(changed.is_err(), "{place}: {changed:?}");
                } else if heads.contains(&at) {
                    // A type or a length of what is not under the digest: at worst key and signature are missed.
                    if let Ok(changed) = changed {
                        assert_eq!(under_the_digest(&changed), under_the_digest(&found), "{place}");
                        unseen += 1;
                    }
                } else if is_digest(&bytes, &found, at) {
                    assert_eq!(changed, Err(Fault::Digest), "{place}");
                } else {
                    // Bytes of a key's name or of a signature, which MCUboot verifies; or padding behind the image.
                    assert_eq!(changed.as_ref(), Ok(&found), "{place}");
                }
            }
        }
        assert!((unseen > 0) == (found.signature.is_some()), "{}: {unseen}", asked.name);
    }
}

/// Whether this byte belongs to the digest, which `imgtool` puts first.
fn is_digest(bytes: &[u8], found: &Image, at: usize) -> bool {
    let start = usize::try_from(found.header.hashed_length()).unwrap() + 8;
    assert_eq!(bytes[start..start + 32], found.digest);
    (start..start + 32).contains(&at)
}

#[test]
fn encrypted_image_with_a_byte_changed_is_never_taken_for_a_checked_one() {
    for name in ["encrypted", "encrypted-256", "encrypted-clear"] {
        let bytes = &samples().find(name).bytes;
        let found = read(bytes).unwrap();
        let (mut taken, hashed) = (0, usize::try_from(found.header.hashed_length()).unwrap());
        for at in 4..hashed {
            let mut changed = bytes.clone();
            changed[at] ^= 0x03;
            if let Ok(changed) = read(&changed) {
                assert!(!changed.checked, "{name}, byte {at:#x}");
                taken += 1;
            }
        }
        assert!(taken > 1000, "{name}: {taken}");
    }
}

#[test]
fn image_whose_encryption_flag_is_changed_does_not_get_around_its_digest() {
    for name in ["encrypted", "encrypted-256"] {
        let mut bytes = samples().find(name).bytes.clone();
        bytes[16] = 0;
        assert_eq!(read(&bytes), Err(Fault::Digest), "{name}");
    }
    for flag in [0x04, 0x08, 0x0c] {
        let mut bytes = samples().find("rsa-3072").bytes.clone();
        bytes[16] = flag;
        assert_eq!(read(&bytes), Err(Fault::NoSealedKey), "{flag}");
    }
}

#[test]
fn image_cut_off_anywhere_is_refused_and_without_its_padding_it_is_the_same() {
    for Sample { asked, bytes, .. } in &samples().all {
        let found = read(bytes).unwrap();
        for length in 0..bytes.len() {
            let cut = read(&bytes[..length]);
            let place = format!("{} cut to {length}", asked.name);
            if (length as u64) < found.length {
                let Err(Fault::Cut { length: said, needed }) = cut else { panic!("{place}: {cut:?}") };
                assert!(said == length as u64 && needed > said && needed <= found.length, "{place}");
            } else {
                assert_eq!(cut.as_ref(), Ok(&found), "{place}");
            }
        }
    }
}
