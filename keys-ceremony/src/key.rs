//! ECDSA P-256 keys, wherever they are: in files that `openssl` reads, in the environment, or on a token.

mod pem;
mod token;

use core::cmp::Ordering;
use std::path::Path;

use getrandom::SysRng;
use p256::ecdsa::signature::hazmat::{PrehashSigner as _, PrehashVerifier as _};
use p256::ecdsa::{Signature, SigningKey as EcdsaKey, VerifyingKey};
use p256::elliptic_curve::Generate as _;
use pkcs8::{DecodePublicKey as _, EncodePublicKey as _, LineEnding};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::encoding::{member, sha256, sha256_hex};
use crate::passphrase::{self, Source};
use crate::text::plain;
use crate::uri::{KeyUri, TokenUri};
use crate::{Environment, Error, Misuse, Rejected, canonical, file};
use token::TokenKey;

pub use pem::public_path;

/// A public key. Two are equal when their points are, whatever text they came from.
#[derive(Clone, Debug)]
pub struct PublicKey {
    point: VerifyingKey,
    pem: String,
    keyid: String,
    fingerprint: String,
}

impl PublicKey {
    /// Reads a SubjectPublicKeyInfo PEM.
    ///
    /// # Errors
    /// [`Rejected::NotAKey`] or [`Rejected::UnsupportedKey`].
    pub fn from_pem(pem: &[u8]) -> Result<PublicKey, Error> {
        let text = pem::public_text(pem)?;
        let point = VerifyingKey::from_public_key_pem(text)
            .map_err(|error| Rejected::UnsupportedKey { what: error.to_string() })?;
        PublicKey::from_point(point)
    }

    fn from_point(point: VerifyingKey) -> Result<PublicKey, Error> {
        let unsupported = |error: pkcs8::spki::Error| Rejected::UnsupportedKey { what: error.to_string() };
        let der = point.to_public_key_der().map_err(unsupported)?;
        let pem = point.to_public_key_pem(LineEnding::LF).map_err(unsupported)?;
        let mut key = PublicKey { point, fingerprint: sha256_hex(der.as_bytes()), pem, keyid: String::new() };
        key.keyid = sha256_hex(&canonical::signed_bytes(&key.to_value())?);
        Ok(key)
    }

    /// Reads a public key's file.
    ///
    /// # Errors
    /// As [`PublicKey::from_pem`], or [`Environment::Io`].
    pub fn read(path: &Path) -> Result<PublicKey, Error> {
        PublicKey::from_pem(&file::read(path)?).map_err(|error| error.in_file(path))
    }

    /// The public half of the key that the URI names. A private one in a file is opened for it; a token is asked
    /// for the PIN only if it hides the public half.
    ///
    /// # Errors
    /// As [`SigningKey::open_danger_unencrypted`].
    pub fn open(uri: &KeyUri, source: &mut Source) -> Result<PublicKey, Error> {
        match (kind(uri)?, uri) {
            (Kind::Public, _) => PublicKey::from_pem(&pem_at(uri)?).map_err(|error| error.at(uri)),
            (_, KeyUri::Token(uri)) => token::public(uri, source),
            // To look at a key is no danger.
            _ => Ok(SigningKey::open_danger_unencrypted(uri, source)?.public),
        }
    }

    /// Makes sure that this is the key of that keyid.
    ///
    /// # Errors
    /// [`Rejected::OtherKey`].
    pub fn check_keyid(&self, expected: &str) -> Result<(), Error> {
        if self.keyid != expected {
            let (expected, found) = (expected.to_owned(), self.keyid.clone());
            return Err(Rejected::OtherKey { expected, found }.into());
        }
        Ok(())
    }

    /// Reads the key object of a root.
    ///
    /// # Errors
    /// [`Rejected::OtherKeyType`], [`Rejected::WrongField`], [`Rejected::NotAKey`] or [`Rejected::UnsupportedKey`].
    pub fn from_value(value: &Value) -> Result<PublicKey, Error> {
        // A key that is good elsewhere is not damaged: it is named.
        let keytype = member(value, "keytype", "`ecdsa`", Value::as_str)?;
        let scheme = member(value, "scheme", "`ecdsa-sha2-nistp256`", Value::as_str)?;
        if keytype != "ecdsa" || scheme != "ecdsa-sha2-nistp256" {
            let name = plain(if keytype == "ecdsa" { scheme } else { keytype });
            return Err(Rejected::OtherKeyType { name }.into());
        }
        let keyval = member(value, "keyval", "an object", |value| value.is_object().then_some(value))?;
        let pem = member(keyval, "public", "a PEM text", Value::as_str)?;
        let key = PublicKey::from_pem(pem.as_bytes())?;
        // One point, one text, one keyid: another spelling of the key would be another keyid for it.
        if key.to_value() != *value {
            let what = "the key object is not spelled as this tool spells it".to_owned();
            return Err(Rejected::UnsupportedKey { what }.into());
        }
        Ok(key)
    }

    /// The key object as a root holds it.
    pub fn to_value(&self) -> Value {
        json!({ "keytype": "ecdsa", "keyval": { "public": self.pem }, "scheme": "ecdsa-sha2-nistp256" })
    }

    /// The PEM text, trailing newline included.
    pub fn to_pem(&self) -> &str {
        &self.pem
    }

    /// Lower-case hex SHA-256 of the canonical JSON of [`PublicKey::to_value`].
    pub fn keyid(&self) -> &str {
        &self.keyid
    }

    /// What people compare: SHA-256 of the key's DER in eight groups of eight digits.
    ///
    /// `openssl pkey -pubin -in KEY.pub.pem -outform DER | sha256sum` gives the same digits.
    pub fn fingerprint(&self) -> String {
        grouped(&self.fingerprint)
    }

    /// Verifies a DER signature over `message`, high-S or low-S.
    ///
    /// # Errors
    /// [`Rejected::BadSignature`].
    pub fn verify(&self, message: &[u8], signature: &[u8]) -> Result<(), Error> {
        self.verified(&sha256(message), signature).map(drop)
    }

    /// Verifies a DER signature over the message of this SHA-256 digest, and gives it in its low-S form. A message of
    /// megabytes is hashed once that way, however many keys may have signed it.
    pub(crate) fn verified(&self, digest: &[u8; 32], signature: &[u8]) -> Result<Vec<u8>, Error> {
        let bad = |_| Error::from(Rejected::BadSignature { keyid: self.keyid.clone() });
        let signature = Signature::from_der(signature).map_err(bad)?;
        self.point.verify_prehash(digest, &signature).map_err(bad)?;
        Ok(signature.normalize_s().to_der().as_bytes().to_vec())
    }
}

impl PartialEq for PublicKey {
    fn eq(&self, other: &PublicKey) -> bool {
        self.point == other.point
    }
}

impl Eq for PublicKey {}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &PublicKey) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &PublicKey) -> Ordering {
        self.point.to_sec1_point(true).as_bytes().cmp(other.point.to_sec1_point(true).as_bytes())
    }
}

/// A private key: in memory, wiped when dropped, or on a token, where it stays.
///
/// [`SigningKey::open`] finds one by its URI.
pub struct SigningKey {
    secret: Secret,
    public: PublicKey,
}

enum Secret {
    Here(EcdsaKey),
    OnToken(TokenKey),
}

impl SigningKey {
    /// A new key from the system's random numbers.
    ///
    /// # Errors
    /// [`Environment::Random`].
    pub fn generate() -> Result<SigningKey, Error> {
        let secret = EcdsaKey::try_generate_from_rng(&mut SysRng).map_err(random)?;
        SigningKey::from_secret(secret)
    }

    /// A new key on the token that the URI names, made there and never to leave it, and tried; `object` is its
    /// label. Gives the URI that finds it again, too.
    ///
    /// # Errors
    /// [`Misuse::KeyExists`], or what the token says.
    pub fn generate_on_token(uri: &TokenUri, source: &mut Source) -> Result<(SigningKey, TokenUri), Error> {
        let (key, public, found_by) = token::generate(uri, source)?;
        let key = SigningKey { secret: Secret::OnToken(key), public };
        key.smoke_test()?;
        Ok((key, found_by))
    }

    /// Opens the key that the URI names. In a file or a variable it must be encrypted.
    ///
    /// # Errors
    /// [`Rejected::KeyNotEncrypted`], [`Rejected::WrongPassphrase`], [`Rejected::WrongPin`],
    /// [`Rejected::NotAKey`], [`Rejected::UnsupportedKey`], or what the source, the file system or the token say.
    pub fn open(uri: &KeyUri, source: &mut Source) -> Result<SigningKey, Error> {
        SigningKey::open_if(uri, source, |kind| kind != Kind::Private)
    }

    /// As [`SigningKey::open`] for a key that may be unencrypted; the source is asked only if it is not.
    ///
    /// # Errors
    /// As [`SigningKey::open`], save that no encryption is needed.
    pub fn open_danger_unencrypted(uri: &KeyUri, source: &mut Source) -> Result<SigningKey, Error> {
        SigningKey::open_if(uri, source, |_| true)
    }

    fn open_if(
        uri: &KeyUri,
        source: &mut Source,
        accepts: impl FnOnce(Kind) -> bool,
    ) -> Result<SigningKey, Error> {
        match uri {
            KeyUri::Token(uri) => {
                let (key, public) = token::open(uri, source)?;
                Ok(SigningKey { secret: Secret::OnToken(key), public })
            }
            _ => {
                let pem = pem_at(uri)?;
                let opened = pem::kind(&pem).and_then(|kind| match accepts(kind) {
                    true => pem::open(&pem, &uri.to_string(), source),
                    false => Err(Rejected::KeyNotEncrypted.into()),
                });
                opened.and_then(SigningKey::from_secret).map_err(|error| error.at(uri))
            }
        }
    }

    fn from_secret(secret: EcdsaKey) -> Result<SigningKey, Error> {
        let public = PublicKey::from_point(*secret.verifying_key())?;
        Ok(SigningKey { secret: Secret::Here(secret), public })
    }

    /// The secret, for what is done with keys that a file can hold; `what` is an infinitive.
    fn here(&self, what: &'static str) -> Result<&EcdsaKey, Error> {
        match &self.secret {
            Secret::Here(secret) => Ok(secret),
            Secret::OnToken(key) => Err(Error::from(Misuse::NotAFile { what }).at(key.name())),
        }
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// An ECDSA signature over SHA-256 of `message`: ASN.1 DER, low-S, verified before it is returned.
    ///
    /// # Errors
    /// [`Environment::SelfCheck`], [`Environment::TokenSignature`] or [`Environment::Token`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        self.sign_digest(&sha256(message))
    }

    /// The same for the message of this SHA-256 digest.
    pub(crate) fn sign_digest(&self, digest: &[u8; 32]) -> Result<Vec<u8>, Error> {
        let fault = || match &self.secret {
            Secret::Here(_) => Error::from(Environment::SelfCheck),
            Secret::OnToken(key) => Error::from(Environment::TokenSignature).at(key.name()),
        };
        let signature: Signature = match &self.secret {
            // RFC 6979 with SHA-256, which gives the same signature as signing the message does.
            Secret::Here(secret) => secret.sign_prehash(digest).map_err(|_| fault())?,
            Secret::OnToken(key) => key.sign(digest)?,
        };
        // A fault while signing can give the key away, and a token may hold another key than the one that it
        // shows: nothing leaves that does not verify.
        self.public.verified(digest, signature.to_der().as_bytes()).map_err(|_| fault())
    }

    /// Signs a nonce, and verifies the signature. No metadata can begin as what is signed here does.
    ///
    /// # Errors
    /// As [`SigningKey::sign`], and [`Environment::Random`].
    pub fn smoke_test(&self) -> Result<(), Error> {
        let mut nonce = [0u8; 32];
        getrandom::fill(&mut nonce).map_err(random)?;
        // Which verifies.
        self.sign(&[&b"tuffet-keys smoke-test\n"[..], &nonce].concat()).map(drop)
    }

    /// As [`SigningKey::sign`] with a random nonce, as tokens do it.
    #[cfg(test)]
    pub(crate) fn sign_with_salt(&self, message: &[u8]) -> Vec<u8> {
        use p256::ecdsa::signature::RandomizedSigner as _;
        let Secret::Here(secret) = &self.secret else { panic!("on a token") };
        let signature: Signature = secret.try_sign_with_rng(&mut SysRng, message).unwrap();
        signature.to_der().as_bytes().to_vec()
    }
}

/// What is found at a URI, without using it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A public key.
    Public,
    /// A private key that whoever reads the file can use.
    Private,
    /// A private key behind a passphrase.
    EncryptedPrivate,
    /// A key on a token. Nobody has looked whether it is there.
    OnToken,
}

/// What the URI says, or the label of the PEM that it names.
///
/// # Errors
/// [`Rejected::NotAKey`], [`Rejected::UnsupportedKey`], [`Environment::NoVariable`] or [`Environment::Io`].
pub fn kind(uri: &KeyUri) -> Result<Kind, Error> {
    match uri {
        KeyUri::Token(_) => Ok(Kind::OnToken),
        _ => pem::kind(&pem_at(uri)?).map_err(|error| error.at(uri)),
    }
}

/// Whether a person will type something when this key is opened: at a prompt, or on a token's own keys, which take the
/// PIN from nowhere else.
///
/// # Errors
/// As [`kind`], or what the token says.
pub fn asks(uri: &KeyUri, source: &Source) -> Result<bool, Error> {
    Ok(match (kind(uri)?, uri) {
        (Kind::EncryptedPrivate, _) => source.asks_for_passphrase(),
        (Kind::OnToken, KeyUri::Token(uri)) => token::asks(uri, source)?,
        _ => false,
    })
}

fn pem_at(uri: &KeyUri) -> Result<Zeroizing<Vec<u8>>, Error> {
    match uri {
        KeyUri::File(path) => Ok(Zeroizing::new(file::read(path)?)),
        KeyUri::Variable(name) => passphrase::variable_value(name).map_err(|error| error.at(uri)),
        KeyUri::Token(_) => Err(Error::from(Misuse::NotAFile { what: "be read" }).at(uri)),
    }
}

fn random(error: getrandom::Error) -> Error {
    Environment::Random { message: error.to_string() }.into()
}

/// A digest in groups of eight digits, as people read and compare it.
pub(crate) fn grouped(digest: &str) -> String {
    let mut groups = String::with_capacity(digest.len() + digest.len() / 8);
    for (index, digit) in digest.chars().enumerate() {
        if index > 0 && index % 8 == 0 {
            groups.push(' ');
        }
        groups.push(digit);
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Keyid and fingerprint were computed apart from this code: SHA-256 over the text of the key object, put
    /// together by hand, and `openssl pkey -pubin -outform DER | sha256sum`.
    const PEM: &str = "-----BEGIN PUBLIC KEY-----\n\
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEQbEIGaOPPCyquoPCijyGQzgNuL3w\n\
        RUBKv2vl7Ov4lJgdhP2hJ3i4ba/nxuFm5lMR/S/11M/eHPZmg1iObUMB8A==\n\
        -----END PUBLIC KEY-----\n";
    const KEYID: &str = "be88409ed7aaac105bc09dad7e237c6cd537f972bcffa8ff95e9131895e9ff4f";
    const FINGERPRINT: &str = "0cdee7f3 05e84b04 7d546e60 f6d970a8 f568f1b2 8e4e6304 cde4a676 ac190ece";

    #[test]
    fn public_key_of_openssl_has_the_keyid_that_others_compute() {
        let key = PublicKey::from_pem(PEM.as_bytes()).unwrap();
        assert_eq!(key.to_pem(), PEM);
        assert_eq!(key.keyid(), KEYID);
        assert_eq!(key.fingerprint(), FINGERPRINT);
        assert_eq!(PublicKey::from_value(&key.to_value()).unwrap(), key);
        let crlf = PublicKey::from_pem(PEM.replace('\n', "\r\n").as_bytes()).unwrap();
        assert_eq!((crlf.keyid(), &crlf), (KEYID, &key));
    }

    #[test]
    fn public_key_of_another_spelling_is_no_key_object() {
        let key = PublicKey::from_pem(PEM.as_bytes()).unwrap();
        let mut other = key.to_value();
        other["keyval"]["public"] = Value::from(PEM.trim_end());
        let error = PublicKey::from_value(&other).unwrap_err();
        assert!(matches!(error, Error::Rejected { why: Rejected::UnsupportedKey { .. }, .. }), "{error}");
        for (member, wrong) in [("keytype", "rsa"), ("scheme", "ed25519"), ("keyval", "x"), ("x", "y")] {
            let mut other = key.to_value();
            other[member] = Value::from(wrong);
            let error = PublicKey::from_value(&other).unwrap_err();
            // A key of another kind is no damage: it is said which it is.
            match member {
                "keytype" | "scheme" => {
                    assert_eq!(error, Rejected::OtherKeyType { name: wrong.to_owned() }.into());
                    let says =
                        format!("holds a key of type {wrong}; devices and this tool know ECDSA P-256 alone");
                    assert!(error.to_string().starts_with(&says), "{error}");
                }
                _ => assert_ne!(error.code(), 138, "{error}"),
            }
        }
    }

    #[test]
    fn public_key_with_any_letter_changed_is_refused_or_another() {
        let key = PublicKey::from_pem(PEM.as_bytes()).unwrap();
        let mut accepted = 0;
        for index in 0..PEM.trim_end().len() {
            let mut pem = PEM.as_bytes().to_vec();
            pem[index] = if pem[index] == b'A' { b'B' } else { b'A' };
            if let Ok(other) = PublicKey::from_pem(&pem) {
                assert_ne!(other, key, "byte {index}");
                assert_ne!(other.keyid(), KEYID, "byte {index}");
                accepted += 1;
            }
        }
        assert_eq!(accepted, 0, "a point beside the curve was taken");
    }

    #[test]
    fn signature_is_low_s_and_both_forms_verify() {
        let key = SigningKey::generate().unwrap();
        for number in 0..64u32 {
            let message = number.to_be_bytes();
            let low = key.sign(&message).unwrap();
            let signature = Signature::from_der(&low).unwrap();
            assert_eq!(signature.normalize_s(), signature, "message {number} is signed with high S");
            let (r, s) = signature.split_scalars();
            let high = Signature::from_scalars(r, -s).unwrap();
            assert_ne!(high.normalize_s(), high);
            let high = high.to_der().as_bytes().to_vec();
            key.public().verify(&message, &high).unwrap();
            assert_eq!(key.public().verified(&sha256(&message), &high).unwrap(), low);
            let error = key.public().verify(b"another", &low).unwrap_err();
            assert_eq!(error, Rejected::BadSignature { keyid: key.public().keyid().to_owned() }.into());
        }
    }

    #[test]
    fn signature_cut_or_lengthened_does_not_verify() {
        let key = SigningKey::generate().unwrap();
        let good = key.sign(b"message").unwrap();
        for length in 0..good.len() {
            assert!(key.public().verify(b"message", &good[..length]).is_err(), "{length} bytes");
        }
        assert!(key.public().verify(b"message", &[&good[..], b"\0"].concat()).is_err());
    }
}
