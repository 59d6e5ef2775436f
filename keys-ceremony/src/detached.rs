//! Signatures as other programs write them.

use base64::engine::Engine as _;
use base64::engine::general_purpose::STANDARD;
use p256::ecdsa::Signature;

/// What the bytes of a file may mean, each as ASN.1 DER; which of them it is shows when it verifies.
pub(crate) fn readings(file: &[u8]) -> Vec<Vec<u8>> {
    let text: String =
        file.iter().filter(|byte| !byte.is_ascii_whitespace()).map(|byte| char::from(*byte)).collect();
    let decoded = [base16ct::mixed::decode_vec(&text).ok(), STANDARD.decode(&text).ok()];
    let mut readings = Vec::new();
    for bytes in decoded.into_iter().flatten().chain([file.to_vec()]) {
        // r and s, as PKCS#11 has them.
        if let Ok(signature) = Signature::from_slice(&bytes) {
            readings.push(signature.to_der().as_bytes().to_vec());
        }
        readings.push(bytes);
    }
    readings
}
