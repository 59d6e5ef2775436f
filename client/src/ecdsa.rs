//! ECDSA over P-256: the equation of FIPS 186-5, section 6.4.2, over the arithmetic of the `p256` crate.
//!
//! That crate has a verification of its own, a fifth faster, which takes twice the flash and 2 KB of stack more: it
//! keeps tables of multiples, has a general DER reader, and arithmetic for secrets. What is verified here is public, so
//! this one may be plain. The curve is the crate's; numbers modulo n are those of the crate that it computes with.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "the operations of a field and of a group always have a result"
)]

use core::cmp::Ordering;

use p256::elliptic_curve::Curve;
use p256::elliptic_curve::bigint::modular::ConstMontyForm;
use p256::elliptic_curve::bigint::{ArrayEncoding, const_monty_params};
use p256::elliptic_curve::group::Group;
use p256::elliptic_curve::point::{AffineCoordinates, DecompressPoint};
use p256::{AffinePoint, FieldBytes, NistP256, ProjectivePoint, U256};

use crate::crypto::P256;
use crate::der;

const LIMBS: usize = U256::LIMBS;
const_monty_params!(
    Order,
    U256,
    "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551",
    "Modulo n, the number of the curve's points."
);
const ORDER: U256 = *ConstMontyForm::<Order, LIMBS>::MODULUS.as_ref();
const _: () = assert!(matches!(ORDER.cmp_vartime(NistP256::ORDER.as_ref()), Ordering::Equal));

/// Without hardware.
pub(crate) const SOFTWARE: P256 = P256 { compress, verify };

fn compress(point: &[u8; 64]) -> Option<[u8; 33]> {
    let (x, y) = point.split_first_chunk::<32>()?;
    let point = AffinePoint::from_coordinates(&FieldBytes::from(*x), &FieldBytes::from(*y.first_chunk()?));
    let _: AffinePoint = Option::from(point)?;
    let mut key = [2 | (y.last()? & 1); 33];
    key.last_chunk_mut::<32>()?.copy_from_slice(x);
    Some(key)
}

// Out of line: most of the stack of a verification is in here, and it must not add to the caller's.
#[inline(never)]
fn verify(key: &[u8; 33], digest: &[u8; 32], der: &[u8]) -> bool {
    holds(key, digest, der).unwrap_or(false)
}

/// Whether the equation holds; `None` if this is no key or no signature.
fn holds(key: &[u8; 33], digest: &[u8; 32], der: &[u8]) -> Option<bool> {
    let (inside, []) = der::element(der, 0x30)? else { return None };
    let (r, rest) = der::unsigned(inside)?;
    let (s, []) = der::unsigned(rest)? else { return None };
    let (r, s) = (scalar(r)?, scalar(s)?);
    let (parity @ (2 | 3), x) = key.split_first()? else { return None };
    let key = ProjectivePoint::from(point(*x.first_chunk()?, *parity)?);
    let [generator_times, key_times] = quotients([&U256::from_be_slice(digest), &r], &s);
    let sum = sum(&key, &generator_times, &key_times);

    // The sum's x must be r modulo n. Rather than to divide for it, compare the sum with the points of that x. There
    // are two numbers below the field's modulus that are r modulo n if r is small.
    let same = |x: U256| {
        let found = point(x.to_be_byte_array().into(), 0).map(ProjectivePoint::from);
        found.is_some_and(|found| sum == found || sum == -found)
    };
    let above = r.wrapping_add(&ORDER);
    Some(same(r) || (above > r && same(above)))
}

/// Numbers over another one, modulo n. Out of line as what comes before and after it, so that the stack of each of them is
/// below none of the others.
#[inline(never)]
fn quotients(numbers: [&U256; 2], divisor: &U256) -> [FieldBytes; 2] {
    let modulo_n = |number| ConstMontyForm::<Order, LIMBS>::new(number);
    // Fermat: the inverse is the power n - 2.
    let inverse = modulo_n(divisor).pow_vartime(&ORDER.wrapping_sub(&U256::from_u8(2)));
    numbers.map(|number| modulo_n(number).mul(&inverse).retrieve().to_be_byte_array())
}

/// A number from 1 to n - 1.
fn scalar(digits: &[u8]) -> Option<U256> {
    let mut bytes = [0; 32];
    bytes.get_mut(32_usize.checked_sub(digits.len())?..)?.copy_from_slice(digits);
    Some(U256::from_be_slice(&bytes)).filter(|number| (U256::ONE..ORDER).contains(number))
}

/// The point with this x, and a y that is odd or even.
#[inline(never)]
fn point(x: [u8; 32], parity: u8) -> Option<AffinePoint> {
    AffinePoint::decompress(&x.into(), (parity & 1).into()).into()
}

/// The generator so many times, and the key so many times: bit by bit of both, from the highest.
#[inline(never)]
fn sum(key: &ProjectivePoint, generator_times: &FieldBytes, key_times: &FieldBytes) -> ProjectivePoint {
    let generator = ProjectivePoint::GENERATOR;
    let terms = [generator, *key, generator + key];
    let mut sum = ProjectivePoint::IDENTITY;
    for (generator, key) in generator_times.iter().zip(key_times) {
        for bit in (0..8).rev() {
            sum = sum.double();
            let term = ((generator >> bit) & 1) | (((key >> bit) & 1) << 1);
            if let Some(term) = terms.get(usize::from(term).wrapping_sub(1)) {
                sum += term;
            }
        }
    }
    sum
}
