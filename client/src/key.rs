//! Public keys and signatures, packed one behind the other into memory of the caller.

use crate::crypto::Crypto;
use crate::limits::{KEY_HEAD, SIGNATURE_HEAD};

/// The label of a key in metadata, in a quarter of the room: the 64-bit FNV-1a hash of the 32 bytes that its
/// hexadecimal digits stand for.
///
/// A label, no proof: the threshold counts public keys. Whoever makes two labels agree, and that is easy, makes one
/// signature stand for a key that did not make it, and it does not verify.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct KeyId(pub(crate) [u8; 8]);

/// What a public key is good for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Algorithm {
    /// A key that nobody here can verify with. It may stand in a file and never counts.
    Unsupported = 0,
    /// ECDSA over P-256 with SHA-256. The key is a point of the curve, compressed to 33 bytes, see
    /// [`P256`](crate::P256). A
    /// signature is ASN.1 DER.
    P256 = 1,
    /// Ed25519 (RFC 8032). The key has 32 bytes.
    Ed25519 = 2,
    /// RSASSA-PSS with SHA-256 for everything, the salt as long as the digest. The key is an RSAPublicKey
    /// (RFC 8017, A.1.1).
    RsaPss = 3,
}

/// A public key, decoded, so that two spellings of one key compare equal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key<'k> {
    pub(crate) id: KeyId,
    pub(crate) algorithm: Algorithm,
    pub(crate) bytes: &'k [u8],
}

/// Packed keys. Each is a [`KeyId`] of eight bytes, one of [`Algorithm`], two of length (little-endian), and its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Keys<'k>(pub(crate) &'k [u8]);

/// One signature of an envelope. A text that is no hexadecimal, or longer than any that this profile can
/// verify, is held as an empty one, which no key verifies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signature<'s> {
    pub(crate) id: KeyId,
    pub(crate) bytes: &'s [u8],
}

/// Packed signatures. Each is a [`KeyId`] of eight bytes, two of length (little-endian), and its bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Signatures<'s>(pub(crate) &'s [u8]);

/// Writes one behind the other.
#[derive(Debug)]
pub(crate) struct Pack<'m> {
    bytes: &'m mut [u8],
    len: usize,
}

/// What stands before the point in the SubjectPublicKeyInfo of an uncompressed P-256 key (RFC 5480):
/// id-ecPublicKey, prime256v1, a bit string of 65 bytes, and the mark of an uncompressed point (SEC 1, 2.3.3).
const P256_SPKI: [u8; 27] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01, 0x06, 0x08, 0x2A, 0x86,
    0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00, 0x04,
];
const P256_SPKI_LENGTH: usize = 91;

impl KeyId {
    /// Reads 64 hexadecimal digits, lower case.
    #[inline(never)]
    pub(crate) fn from_hex(text: &[u8]) -> Option<KeyId> {
        const BASIS: u64 = 0xCBF2_9CE4_8422_2325;
        const PRIME: u64 = 0x0000_0100_0000_01B3;
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(PRIME);
        let whole: [u8; 32] = hex_array(text)?;
        Some(KeyId(whole.into_iter().fold(BASIS, step).to_le_bytes()))
    }
}

impl Algorithm {
    /// By the name of a `keytype`, and the `scheme` that goes with it.
    pub(crate) fn named(keytype: &[u8]) -> Algorithm {
        let names: [(&str, Algorithm); 4] = [
            ("ecdsa", Algorithm::P256),
            // Its name before specification 1.0.32.
            ("ecdsa-sha2-nistp256", Algorithm::P256),
            ("ed25519", Algorithm::Ed25519),
            ("rsa", Algorithm::RsaPss),
        ];
        let known = names.into_iter().find(|(name, _)| name.as_bytes() == keytype);
        known.map_or(Algorithm::Unsupported, |(_, algorithm)| algorithm)
    }

    /// The scheme, and no other, that a key of this type may be for.
    pub(crate) fn scheme(self) -> &'static [u8] {
        match self {
            Algorithm::P256 => b"ecdsa-sha2-nistp256",
            Algorithm::Ed25519 => b"ed25519",
            Algorithm::RsaPss => b"rsassa-pss-sha256",
            Algorithm::Unsupported => b"",
        }
    }

    fn from_byte(byte: u8) -> Algorithm {
        match byte {
            1 => Algorithm::P256,
            2 => Algorithm::Ed25519,
            3 => Algorithm::RsaPss,
            _ => Algorithm::Unsupported,
        }
    }

    /// Decodes `keyval.public` to the front of `out`; returns its length, `None` if it is no such key.
    pub(crate) fn decode(self, crypto: &Crypto, public: &[u8], out: &mut [u8]) -> Option<usize> {
        match self {
            Algorithm::P256 => {
                // A compressed point is refused, for no tool writes it unasked.
                let mut spki = [0; P256_SPKI_LENGTH];
                let length = pem(public, &mut spki)?;
                let point: &[u8; 64] = spki.get(..length)?.strip_prefix(&P256_SPKI)?.try_into().ok()?;
                let key = (crypto.p256.compress)(point)?;
                out.get_mut(..key.len())?.copy_from_slice(&key);
                Some(key.len())
            }
            Algorithm::Ed25519 => {
                let key: [u8; 32] = hex_array(public)?;
                out.get_mut(..32)?.copy_from_slice(&key);
                Some(32)
            }
            #[cfg(feature = "host")]
            Algorithm::RsaPss => {
                let length = pem(public, out)?;
                let (from, length) = rsa::public_key(out.get(..length)?)?;
                out.copy_within(from..from.checked_add(length)?, 0);
                Some(length)
            }
            #[cfg(not(feature = "host"))]
            Algorithm::RsaPss => None,
            Algorithm::Unsupported => None,
        }
    }
}

impl Key<'_> {
    /// Whether both are the same public key, whatever their labels.
    pub(crate) fn is_same(&self, other: &Key<'_>) -> bool {
        self.algorithm == other.algorithm && self.identity() == other.identity()
    }

    /// The point, the bytes or, for RSA, the modulus: who knows its factors signs under any exponent.
    fn identity(&self) -> &[u8] {
        match self.algorithm {
            #[cfg(feature = "host")]
            Algorithm::RsaPss => rsa::modulus(self.bytes).unwrap_or_default(),
            _ => self.bytes,
        }
    }
}

impl<'k> Keys<'k> {
    pub(crate) fn iter(self) -> impl Iterator<Item = Key<'k>> + Clone {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (head, behind) = rest.split_at_checked(KEY_HEAD)?;
            let (&[algorithm, low, high], id) = head.split_last_chunk::<3>().map(|(id, tail)| (tail, id))?;
            let (bytes, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes([low, high])))?;
            rest = behind;
            Some(Key { id: KeyId(first(id)), algorithm: Algorithm::from_byte(algorithm), bytes })
        })
    }

    /// Those whose bit is set.
    pub(crate) fn members(self, members: u32) -> impl Iterator<Item = (u32, Key<'k>)> + Clone {
        (0..32)
            .map(|index| 1_u32.wrapping_shl(index))
            .zip(self.iter())
            .filter(move |(bit, _)| members & bit != 0)
    }

    /// The bit of the key with this label.
    #[inline(never)]
    pub(crate) fn bit(self, id: KeyId) -> Option<u32> {
        self.members(u32::MAX).find(|(_, key)| key.id == id).map(|(bit, _)| bit)
    }
}

impl<'s> Signatures<'s> {
    pub(crate) fn iter(self) -> impl Iterator<Item = Signature<'s>> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (head, behind) = rest.split_at_checked(SIGNATURE_HEAD)?;
            let (id, length) = head.split_last_chunk::<2>()?;
            let (bytes, behind) = behind.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            rest = behind;
            Some(Signature { id: KeyId(first(id)), bytes })
        })
    }
}

impl<'m> Pack<'m> {
    pub(crate) fn new(bytes: &'m mut [u8]) -> Self {
        Pack { bytes, len: 0 }
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Appends a key of which only the label is known yet.
    pub(crate) fn push_key_id(&mut self, id: KeyId) -> Option<()> {
        self.push([&id.0[..], &[Algorithm::Unsupported as u8, 0, 0]])
    }

    /// Decodes a public key into the free room; returns its length.
    pub(crate) fn decode(&mut self, algorithm: Algorithm, crypto: &Crypto, public: &[u8]) -> Option<usize> {
        algorithm.decode(crypto, public, self.bytes.get_mut(self.len..)?)
    }

    /// Completes the key whose label was pushed last, and whose bytes were decoded behind it.
    pub(crate) fn complete_key(&mut self, algorithm: Algorithm, length: usize) -> Option<()> {
        let [low, high] = u16::try_from(length).ok()?.to_le_bytes();
        let head = self.bytes.get_mut(..self.len)?.last_chunk_mut::<3>()?;
        *head = [algorithm as u8, low, high];
        self.len = self.len.checked_add(length)?;
        Some(())
    }

    /// Appends a signature, given in hexadecimal; one that is longer than `most`, or none at all, as an empty one.
    pub(crate) fn push_signature(&mut self, id: KeyId, digits: &[u8], most: usize) -> Option<()> {
        let start = self.len;
        self.push([&id.0[..], &[0, 0]])?;
        let room = self.bytes.get_mut(self.len..)?;
        let room = if room.len() > most { room.get_mut(..most)? } else { room };
        let length = hex(digits, room).unwrap_or(0);
        let place = self.bytes.get_mut(start..self.len)?.last_chunk_mut::<2>()?;
        *place = u16::try_from(length).ok()?.to_le_bytes();
        self.len = self.len.checked_add(length)?;
        Some(())
    }

    /// Appends all of these, or nothing.
    pub(crate) fn push<const N: usize>(&mut self, parts: [&[u8]; N]) -> Option<()> {
        let mut end = self.len;
        for part in parts {
            let next = end.checked_add(part.len())?;
            self.bytes.get_mut(end..next)?.copy_from_slice(part);
            end = next;
        }
        self.len = end;
        Some(())
    }

    /// Of the keys from `from` on keeps those whose bit is set, and nothing else.
    pub(crate) fn retain_keys(&mut self, from: usize, members: u32) {
        let (mut at, mut to, mut bit) = (from, 0_usize, 1_u32);
        let length = |pack: &Self, at: usize| {
            Keys(pack.as_slice().get(at..)?).iter().next().map(|key| KEY_HEAD.saturating_add(key.bytes.len()))
        };
        while let Some(length) = length(self, at) {
            let end = at.saturating_add(length);
            if members & bit != 0 {
                for from in at..end {
                    let byte = self.bytes.get(from).copied().unwrap_or_default();
                    if let Some(place) = self.bytes.get_mut(to) {
                        *place = byte;
                    }
                    to = to.wrapping_add(1);
                }
            }
            (at, bit) = (end, bit.wrapping_shl(1));
        }
        self.len = to;
    }
}

fn first(bytes: &[u8]) -> [u8; 8] {
    bytes.first_chunk().copied().unwrap_or_default()
}

/// Reads exactly `N` bytes from `2 N` hexadecimal digits, lower case only: two spellings of one keyid would be
/// two keys to a reader that compares texts.
pub(crate) fn hex_array<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    hex_exact(text, &mut bytes)?;
    Some(bytes)
}

/// The same, into a place of that many bytes.
pub(crate) fn hex_exact(text: &[u8], out: &mut [u8]) -> Option<()> {
    if text.iter().any(u8::is_ascii_uppercase) {
        return None;
    }
    (hex(text, out)? == out.len()).then_some(())
}

/// Reads hexadecimal digits to the front of `out`; returns how many bytes, `None` if the text is something else
/// or does not fit.
#[inline(never)]
pub(crate) fn hex(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let (pairs, []) = text.as_chunks::<2>() else { return None };
    let mut places = out.iter_mut();
    for [high, low] in pairs {
        *places.next()? = (digit(*high)? << 4) | digit(*low)?;
    }
    Some(pairs.len())
}

/// A tenth of a small file are such digits, so this is no place for `char::to_digit`, which knows any base.
fn digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a' - 10)),
        b'A'..=b'F' => Some(byte.wrapping_sub(b'A' - 10)),
        _ => None,
    }
}

/// Reads the PEM text of a public key (RFC 7468, label `PUBLIC KEY`) to the front of `out`; returns its length.
fn pem(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let body = text.trim_ascii().strip_prefix(b"-----BEGIN PUBLIC KEY-----")?;
    base64(body.strip_suffix(b"-----END PUBLIC KEY-----")?, out)
}

/// Reads base64 (RFC 4648, section 4) across line ends, padding and unused bits checked.
fn base64(text: &[u8], out: &mut [u8]) -> Option<usize> {
    let mut places = out.iter_mut();
    let (mut bits, mut count, mut padding, mut length) = (0_u32, 0_u32, 0_usize, 0_usize);
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
            *places.next()? = bits.wrapping_shr(count).to_le_bytes()[0];
            length = length.wrapping_add(1);
            bits &= 1_u32.wrapping_shl(count).wrapping_sub(1);
        }
    }
    // The length mod 3 rules how many `=` must close the text and how many bits are left over, which are zero.
    let expected = (3_usize.wrapping_sub(length % 3)) % 3;
    (padding == expected && bits == 0 && count < 6).then_some(length)
}

/// RSA keys (RFC 8017).
#[cfg(feature = "host")]
mod rsa {
    use crate::der::{element, unsigned};

    /// SubjectPublicKeyInfo up to the bit string: the algorithm rsaEncryption without parameters (RFC 3279, 2.3.1).
    const ALGORITHM: [u8; 15] =
        [0x30, 0x0D, 0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01, 0x05, 0x00];

    /// Place and length of the RSAPublicKey in a SubjectPublicKeyInfo.
    pub(super) fn public_key(spki: &[u8]) -> Option<(usize, usize)> {
        let (inside, []) = element(spki, 0x30)? else { return None };
        let (bits, []) = element(inside.strip_prefix(&ALGORITHM)?, 0x03)? else { return None };
        let key = bits.strip_prefix(&[0])?;
        modulus(key)?;
        Some((spki.len().checked_sub(key.len())?, key.len()))
    }

    /// The modulus of an RSAPublicKey.
    pub(super) fn modulus(key: &[u8]) -> Option<&[u8]> {
        let (inside, []) = element(key, 0x30)? else { return None };
        let (modulus, exponent) = unsigned(inside)?;
        let (_, []) = unsigned(exponent)? else { return None };
        Some(modulus)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SOFTWARE;

    /// Made with `openssl ecparam -genkey -name prime256v1 | openssl pkey -pubout`.
    const PEM: &[u8] = b"-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQbEIGaOPPCyquoPCijyGQzgNuL3w\n\
        RUBKv2vl7Ov4lJgdhP2hJ3i4ba/nxuFm5lMR/S/11M/eHPZmg1iObUMB8A==\n\
        -----END PUBLIC KEY-----\n";

    fn p256(pem: &[u8]) -> Option<[u8; 33]> {
        let mut point = [0; 33];
        Algorithm::P256.decode(&SOFTWARE, pem, &mut point).map(|_| point)
    }

    #[test]
    fn key_from_openssl_decodes_to_its_point() {
        let point = p256(PEM).unwrap();
        let x = b"41b10819a38f3c2caaba83c28a3c8643380db8bdf045404abf6be5ecebf89498";
        // y ends in f0.
        assert_eq!(point[0], 2);
        assert_eq!(point[1..], hex_array::<32>(x).unwrap());
        // Without the last line feed it is the same key.
        assert_eq!(p256(PEM.trim_ascii()), Some(point));
        assert_eq!(Algorithm::P256.decode(&SOFTWARE, PEM, &mut [0; 32]), None);
    }

    #[test]
    fn key_with_any_byte_of_its_frame_changed_is_refused_or_another() {
        let original = p256(PEM);
        let mut checked = 0;
        for index in 0..PEM.trim_ascii_end().len() {
            if PEM[index] == b'\n' {
                continue;
            }
            let mut pem = [0; PEM.len()];
            pem.copy_from_slice(PEM);
            pem[index] = if pem[index] == b'A' { b'B' } else { b'A' };
            assert_ne!(p256(&pem), original, "byte {index}");
            checked += 1;
        }
        assert!(checked > 170);
    }

    #[test]
    fn base64_with_wrong_padding_is_refused() {
        let decoded = |text: &[u8]| {
            let mut out = [0; 4];
            base64(text, &mut out).map(|length| (length, out))
        };
        assert_eq!(decoded(b"QQ=="), Some((1, *b"A\0\0\0")));
        assert_eq!(decoded(b"QUI="), Some((2, *b"AB\0\0")));
        assert_eq!(decoded(b"QUJD"), Some((3, *b"ABC\0")));
        for text in [
            &b"QQ="[..],
            b"QQ",
            b"QQ===",
            b"QR==",
            b"Q=Q=",
            b"QQ==QQ==",
            b"Q Q==",
            b"A",
            b"QUJDA",
            b"QUJDQUJD",
        ] {
            assert_eq!(decoded(text), None, "{text:?}");
        }
    }

    #[test]
    fn hexadecimal_of_odd_foreign_or_long_text_is_none() {
        let mut out = [9; 3];
        assert_eq!(hex(b"00ffA0", &mut out), Some(3));
        assert_eq!(out, [0, 0xFF, 0xA0]);
        for text in [&b"00f"[..], b"00fg", b"00000000", b"+0"] {
            assert_eq!(hex(text, &mut out), None, "{text:?}");
        }
        assert_eq!(hex_array::<1>(b"aB"), None);
    }

    #[test]
    fn keys_of_one_public_key_are_the_same_whatever_their_labels() {
        let mut memory = [0; 400];
        let mut pack = Pack::new(&mut memory);
        let id = |label: u8| KeyId::from_hex(&[label; 64]).unwrap();
        let key = |pack: &mut Pack<'_>, label, algorithm, byte| {
            pack.push_key_id(id(label)).unwrap();
            let length = pack.decode(Algorithm::Ed25519, &SOFTWARE, &[byte; 64]).unwrap();
            pack.complete_key(algorithm, length).unwrap();
        };
        key(&mut pack, b'1', Algorithm::Ed25519, b'a');
        key(&mut pack, b'2', Algorithm::Ed25519, b'a');
        key(&mut pack, b'3', Algorithm::Ed25519, b'b');
        key(&mut pack, b'4', Algorithm::Unsupported, b'c');
        let keys = Keys(pack.as_slice());
        assert_eq!(keys.iter().count(), 4);
        assert_eq!(keys.bit(id(b'3')), Some(4));
        assert_eq!(keys.bit(id(b'5')), None);
        let mut keys = keys.iter();
        let [one, two, three] = [(); 3].map(|()| keys.next().unwrap());
        assert!(one.is_same(&two) && !one.is_same(&three));
    }

    #[cfg(feature = "host")]
    #[test]
    fn rsa_keys_of_one_modulus_are_the_same() {
        // Modulus 0x00C1D2, exponents 3 and 65537; then lengths that DER has a shorter form for.
        let three = [0x30, 8, 2, 3, 0, 0xC1, 0xD2, 2, 1, 3];
        let other = [0x30, 10, 2, 3, 0, 0xC1, 0xD2, 2, 3, 1, 0, 1];
        assert_eq!(rsa::modulus(&three), Some(&[0xC1, 0xD2][..]));
        assert_eq!(rsa::modulus(&other), rsa::modulus(&three));
        assert_eq!(rsa::modulus(&[0x30, 9, 2, 4, 0, 0, 0xC1, 0xD2, 2, 1, 3]), None);
        assert_eq!(rsa::modulus(&[0x30, 0x81, 8, 2, 3, 0, 0xC1, 0xD2, 2, 1, 3]), None);
        assert_eq!(rsa::modulus(&[0x30, 8, 2, 3, 0, 0xC1, 0xD2, 2, 1, 3, 0]), None);
    }
}
