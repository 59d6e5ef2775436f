//! The equation of ECDSA over P-256, by vectors made to break it, and before `ring` and `p256::ecdsa` as judges.

use p256::ecdsa::signature::{Signer as _, Verifier as _};
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
