//! The equation of ECDSA over P-256, by vectors made to break it, and before `ring` and `p256::ecdsa` as judges.

use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::elliptic_curve::Curve as _;
use p256::elliptic_curve::bigint::ArrayEncoding as _;
use p256::elliptic_curve::ff::PrimeField as _;
use p256::elliptic_curve::point::AffineCoordinates as _;
use p256::elliptic_curve::sec1::ToSec1Point as _;
use p256::{AffinePoint, NistP256, ProjectivePoint, Scalar, U256};
use proptest::prelude::*;
use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tuffet_client::SOFTWARE;

/// The verdict of the client's code on a signature, under a key given as an uncompressed point with its mark.
fn verdict(point: &[u8], message: &[u8], der: &[u8]) -> bool {
    let coordinates = point[1..].try_into().expect("an uncompressed point has two coordinates");
    let key = (SOFTWARE.p256.compress)(coordinates);
    key.is_some_and(|key| (SOFTWARE.p256.verify)(&key, &Sha256::digest(message).into(), der))
}

/// The same by two others, who agree.
#[track_caller]
fn judges(point: &[u8], message: &[u8], der: &[u8]) -> bool {
    let ring = UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(message, der).is_ok();
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(point);
    let signature = p256::ecdsa::Signature::from_der(der);
    let p256 = key.and_then(|key| key.verify(message, &signature?)).is_ok();
    assert_eq!(ring, p256, "the judges disagree on {der:02x?}");
    ring
}

fn hex(value: &Value) -> Vec<u8> {
    let text = value.as_str().expect("a text");
    let byte = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hexadecimal");
    (0..text.len()).step_by(2).map(byte).collect()
}

#[test]
fn signature_of_each_wycheproof_vector_is_judged_as_it_says() {
    let vectors = include_str!("../data/wycheproof/ecdsa_secp256r1_sha256_test.json");
    let vectors: Value = serde_json::from_str(vectors).expect("the vectors are JSON");
    let (mut valid, mut invalid) = (0, 0);
    for group in vectors["testGroups"].as_array().expect("groups") {
        let point = hex(&group["publicKey"]["uncompressed"]);
        for test in group["tests"].as_array().expect("tests") {
            let expected = match test["result"].as_str() {
                Some("valid") => true,
                Some("invalid") => false,
                other => panic!("a result of {other:?}"),
            };
            let judged = verdict(&point, &hex(&test["msg"]), &hex(&test["sig"]));
            assert_eq!(judged, expected, "{test}");
            *(if expected { &mut valid } else { &mut invalid }) += 1;
        }
    }
    assert_eq!(Value::from(valid + invalid), vectors["numberOfTests"]);
    assert!(valid > 100 && invalid > 100, "{valid} valid, {invalid} invalid");
}

#[test]
fn point_off_the_curve_is_no_key() {
    let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a scalar");
    let point = secret.verifying_key().to_sec1_point(false);
    let coordinates: [u8; 64] = point.as_bytes()[1..].try_into().expect("64 bytes");
    let key = (SOFTWARE.p256.compress)(&coordinates).expect("a point of the curve");
    assert_eq!(key, *secret.verifying_key().to_sec1_point(true).as_bytes());
    for bit in 0..512 {
        let mut off = coordinates;
        off[bit / 8] ^= 1 << (bit % 8);
        assert_eq!((SOFTWARE.p256.compress)(&off), None, "bit {bit}");
    }
    assert_eq!((SOFTWARE.p256.compress)(&[0; 64]), None);
    assert_eq!((SOFTWARE.p256.compress)(&[0xFF; 64]), None);
}

/// A scalar, big-endian.
fn bytes(scalar: Scalar) -> [u8; 32] {
    scalar.to_repr().into()
}

/// A signature of these numbers, whatever they are.
fn der(numbers: [[u8; 32]; 2]) -> Vec<u8> {
    let mut inside = Vec::new();
    for number in numbers {
        let digits = number.iter().position(|byte| *byte > 0).map_or(&[0][..], |first| &number[first..]);
        let zero: &[u8] = if digits[0] < 0x80 { &[] } else { &[0] };
        let length = u8::try_from(zero.len() + digits.len()).expect("33 bytes at most");
        inside.extend([&[2, length][..], zero, digits].concat());
    }
    [&[0x30, u8::try_from(inside.len()).expect("70 bytes at most")][..], &inside].concat()
}

/// Whatever makes an edge: 0, 1, n - 1, n, n + 1, the field's modulus, and all ones.
fn edges() -> Vec<[u8; 32]> {
    let shifted = |from: U256, by: u8, up: bool| {
        let by = U256::from_u8(by);
        if up { from.wrapping_add(&by) } else { from.wrapping_sub(&by) }
    };
    let n = *NistP256::ORDER.as_ref();
    let modulus = U256::from_be_hex("ffffffff00000001000000000000000000000000ffffffffffffffffffffffff");
    let numbers = [U256::ZERO, U256::ONE, shifted(n, 1, false), n, shifted(n, 1, true), modulus, U256::MAX];
    numbers.map(|number| number.to_be_byte_array().into()).to_vec()
}

#[test]
fn numbers_at_every_edge_are_judged_as_others_judge_them() {
    let (mut good, mut bad) = (0, 0);
    // The key that is the generator, its negative, and another.
    for secret in [Scalar::ONE, -Scalar::ONE, Scalar::from(7_u64)] {
        let secret = p256::ecdsa::SigningKey::from_slice(&bytes(secret)).expect("a scalar");
        let point = secret.verifying_key().to_sec1_point(true);
        let key: &[u8; 33] = point.as_bytes().try_into().expect("a compressed point");
        for digest in edges() {
            let signature: p256::ecdsa::Signature = secret.sign_prehash(&digest).expect("a signature");
            let (r, s) = (bytes(*signature.r()), bytes(*signature.s()));
            let numbers = || edges().into_iter().chain([r, s, bytes(-*signature.s())]);
            for pair in numbers().flat_map(|r| numbers().map(move |s| [r, s])) {
                let ours = (SOFTWARE.p256.verify)(key, &digest, &der(pair));
                let theirs = p256::ecdsa::Signature::from_der(&der(pair)).is_ok_and(|signature| {
                    secret.verifying_key().verify_prehash(&digest, &signature).is_ok()
                });
                assert_eq!(ours, theirs, "{pair:02x?} over {digest:02x?}");
                *(if ours { &mut good } else { &mut bad }) += 1;
            }
        }
    }
    assert!(good >= 42 && bad > 2000, "{good} good, {bad} bad");
}

#[test]
fn s_of_n_minus_1_is_a_good_one() {
    // Under the key 1, s = (e + r) / k, so that e = -k - r.
    let k = Scalar::from(7_u64);
    let r = Scalar::from_repr((ProjectivePoint::GENERATOR * k).to_affine().x()).expect("below n");
    let key: [u8; 33] = AffinePoint::GENERATOR.to_sec1_point(true).as_bytes().try_into().expect("33 bytes");
    let verdict = |s| (SOFTWARE.p256.verify)(&key, &bytes(-k - r), &der([bytes(r), bytes(s)]));
    assert!(verdict(-Scalar::ONE));
    assert!(!verdict(-Scalar::ONE - Scalar::ONE));
}

#[test]
fn key_with_another_mark_is_no_key() {
    let secret = p256::ecdsa::SigningKey::from_slice(&[7; 32]).expect("a scalar");
    let signature: p256::ecdsa::Signature = secret.sign_prehash(&[9; 32]).expect("a signature");
    let point = secret.verifying_key().to_sec1_point(true);
    let mut key: [u8; 33] = point.as_bytes().try_into().expect("a compressed point");
    let mark = key[0];
    for other in 0..=255 {
        key[0] = other;
        let good = (SOFTWARE.p256.verify)(&key, &[9; 32], signature.to_der().as_bytes());
        assert_eq!(good, other == mark, "{other}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn signature_is_judged_as_others_judge_it(
        secret in any::<[u8; 32]>(),
        message in any::<[u8; 8]>(),
        change in prop::option::weighted(0.8, (any::<prop::sample::Index>(), 1_u8..)),
    ) {
        let Ok(secret) = p256::ecdsa::SigningKey::from_slice(&secret) else { return Ok(()) };
        let signature: p256::ecdsa::Signature = secret.sign(&message);
        let mut der = signature.to_der().as_bytes().to_vec();
        if let Some((at, flip)) = change {
            let at = at.index(der.len());
            der[at] ^= flip;
        }
        let point = secret.verifying_key().to_sec1_point(false);
        let judged = judges(point.as_bytes(), &message, &der);
        prop_assert_eq!(verdict(point.as_bytes(), &message, &der), judged);
        prop_assert!(change.is_some() || judged);
    }
}
