//! Public keys and signatures, as the verifier holds them.

use crate::limits::SIGNATURE;
use heapless::Vec;

/// The label of a key in metadata: the 32 bytes that its 64 hexadecimal digits stand for.
///
/// A label, no proof: the threshold counts public keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct KeyId(pub [u8; 32]);

/// A public key, decoded, so that two spellings of one key compare equal.

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) enum PublicKey {
    /// ECDSA over P-256 with SHA-256.
    P256(Point),
    /// A key of a type that this profile cannot verify. It may stand in a root and never counts.
    Unsupported,
}

/// A point by its affine coordinates, big-endian. Whether it lies on the curve is checked with each signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Point {
    /// The x coordinate.
    pub x: [u8; 32],
    /// The y coordinate.
    pub y: [u8; 32],
}

/// One signature of an envelope. A text that is no hexadecimal, or longer than any that this profile can
/// verify, is held as an empty one, which no key verifies.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    pub(crate) keyid: KeyId,
    pub(crate) der: Vec<u8, SIGNATURE>,
}

/// What stands before the point in the SubjectPublicKeyInfo of an uncompressed P-256 key (RFC 5480):
/// id-ecPublicKey, prime256v1, a bit string of 65 bytes, and the mark of an uncompressed point (SEC 1, 2.3.3).
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86,
    0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const SPKI: usize = 91;

impl PublicKey {
    /// Reads the PEM text of an uncompressed P-256 public key (RFC 7468, label `PUBLIC KEY`).
    ///
    /// Returns `None` for any other content; a compressed point is one, for no tool writes it unasked.
    #[must_use]
    pub(crate) fn from_p256_pem(pem: &[u8]) -> Option<PublicKey> {
        let body = pem.trim_ascii().strip_prefix(b"-----BEGIN PUBLIC KEY-----")?;
        let body = body.strip_suffix(b"-----END PUBLIC KEY-----")?;
        let spki: [u8; SPKI] = base64(body)?;
        let point: &[u8; 64] = spki.strip_prefix(&P256_SPKI)?.try_into().ok()?;
        let (x, y) = point.split_at(32);
        Some(PublicKey::P256(Point { x: x.try_into().ok()?, y: y.try_into().ok()? }))
    }
}

impl KeyId {
    /// Reads 64 hexadecimal digits, lower case.
    pub(crate) fn from_hex(text: &[u8]) -> Option<KeyId> {
        hex_array(text).map(KeyId)
    }
}

/// Reads exactly `N` bytes from `2 N` hexadecimal digits, lower case only: two spellings of one keyid would be
/// two keys to a reader that compares texts.
pub(crate) fn hex_array<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != N.checked_mul(2)? || text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(hex_bytes(text)) {
        *byte = pair?;
    }
    Some(bytes)
}

/// Reads a signature's hexadecimal digits; empty if they are none, or too many.
pub(crate) fn hex_signature(text: &[u8]) -> Vec<u8, SIGNATURE> {
    let mut der = Vec::new();
    for byte in hex_bytes(text) {
        let pushed = byte.and_then(|byte| der.push(byte).ok());
        if pushed.is_none() {
            return Vec::new();
        }
    }
    der
}

fn hex_bytes(text: &[u8]) -> impl Iterator<Item = Option<u8>> + '_ {
    let digit = |byte: u8| (byte as char).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    text.chunks(2).map(move |pair| match *pair {
        [high, low] => Some((digit(high)? << 4) | digit(low)?),
        _ => None,
    })
}

/// Reads exactly `N` bytes of base64 (RFC 4648, section 4) across line ends, padding and unused bits checked.
fn base64<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    let mut place = bytes.iter_mut();
    let (mut bits, mut count, mut padding) = (0_u32, 0_u32, 0_usize);
    for &byte in text.iter().filter(|byte| !matches!(byte, b'\r' | b'\n')) {
        let value = match byte {
            b'A'..=b'Z' => byte.wrapping_sub(b'A'),
            b'a'..=b'z' => byte.wrapping_sub(b'a').wrapping_add(26),
            b'0'..=b'9' => byte.wrapping_sub(b'0').wrapping_add(52),
            b'+' => 62,
            b'/' => 63,
            b'=' => {
                padding = padding.checked_add(1)?;
                continue;
            }
            _ => return None,
        };
        if padding > 0 {
            return None;
        }
        bits = (bits << 6) | u32::from(value);
        count = count.wrapping_add(6);
        if count >= 8 {
            count = count.wrapping_sub(8);
            *place.next()? = bits.wrapping_shr(count).to_le_bytes()[0];
            bits &= 1_u32.wrapping_shl(count).wrapping_sub(1);
        }
    }
    // N mod 3 rules how many `=` must close the text and how many bits are left over, which are zero.
    let expected = (3_usize.wrapping_sub(N % 3)) % 3;
    (place.next().is_none() && padding == expected && bits == 0).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Made with `openssl ecparam -genkey -name prime256v1 | openssl pkey -pubout`.
    const PEM: &[u8] = b"-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQbEIGaOPPCyquoPCijyGQzgNuL3w\n\
        RUBKv2vl7Ov4lJgdhP2hJ3i4ba/nxuFm5lMR/S/11M/eHPZmg1iObUMB8A==\n\
        -----END PUBLIC KEY-----\n";

    #[test]
    fn key_from_openssl_decodes_to_its_point() {
        let PublicKey::P256(Point { x, y }) = PublicKey::from_p256_pem(PEM).unwrap() else { panic!() };
        assert_eq!(
            x,
            hex_array(b"41b10819a38f3c2caaba83c28a3c8643380db8bdf045404abf6be5ecebf89498").unwrap()
        );
        assert_eq!(
            y,
            hex_array(b"1d84fda12778b86dafe7c6e166e65311fd2ff5d4cfde1cf66683588e6d4301f0").unwrap()
        );
        // Without the last line feed, and with other line ends, it is the same key.
        assert_eq!(PublicKey::from_p256_pem(PEM.trim_ascii()), Some(PublicKey::P256(Point { x, y })));
    }

    #[test]
    fn key_with_any_byte_of_its_frame_changed_is_refused_or_another() {
        let original = PublicKey::from_p256_pem(PEM);
        let mut checked = 0;
        for index in 0..PEM.trim_ascii_end().len() {
            if PEM[index] == b'\n' {
                continue;
            }
            let mut pem = [0; PEM.len()];
            pem.copy_from_slice(PEM);
            pem[index] = if pem[index] == b'A' { b'B' } else { b'A' };
            assert_ne!(PublicKey::from_p256_pem(&pem), original, "byte {index}");
            checked += 1;
        }
        assert!(checked > 170);
    }

    #[test]
    fn base64_with_wrong_padding_is_refused() {
        assert_eq!(base64::<1>(b"QQ=="), Some(*b"A"));
        assert_eq!(base64::<2>(b"QUI="), Some(*b"AB"));
        assert_eq!(base64::<3>(b"QUJD"), Some(*b"ABC"));
        for text in [&b"QQ="[..], b"QQ", b"QQ===", b"QR==", b"Q=Q=", b"QQ==QQ==", b"Q Q=="] {
            assert_eq!(base64::<1>(text), None, "{text:?}");
        }
    }

    #[test]
    fn signature_of_odd_foreign_or_long_text_is_empty() {
        assert_eq!(hex_signature(b"00ffA0"), [0, 0xFF, 0xA0]);
        assert!(hex_signature(b"00f").is_empty());
        assert!(hex_signature(b"00fg").is_empty());
        assert!(hex_signature(&[b'0'; 2 * SIGNATURE + 2]).is_empty());
    }
}
