//! ECDSA P-256 keys in the files that `openssl` reads.

use core::cmp::Ordering;
use std::path::{Path, PathBuf};

use getrandom::SysRng;
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use p256::ecdsa::{Signature, SigningKey as EcdsaKey, VerifyingKey};
use p256::elliptic_curve::Generate as _;
use pkcs8::der::pem;
use pkcs8::pkcs5::{self, pbes2};
use pkcs8::{
    DecodePrivateKey as _, DecodePublicKey as _, EncodePrivateKey as _, EncodePublicKey as _,
    EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef, SecretDocument,
};
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::encoding::{member, sha256_hex};
use crate::file::{self, Access};
use crate::passphrase::{Passphrase, Source};
use crate::{Environment, Error, Misuse, Rejected, canonical};

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
        let (kind, text) = labelled(pem)?;
        if kind != Kind::Public {
            return Err(not_a_key("the private half, where the public one is needed"));
        }
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

    /// Reads the key object of a root.
    ///
    /// # Errors
    /// [`Rejected::WrongField`], [`Rejected::NotAKey`] or [`Rejected::UnsupportedKey`].
    pub fn from_value(value: &Value) -> Result<PublicKey, Error> {
        member(value, "keytype", "`ecdsa`", |value| (value == "ecdsa").then_some(()))?;
        member(value, "scheme", "`ecdsa-sha2-nistp256`", |value| {
            (value == "ecdsa-sha2-nistp256").then_some(())
        })?;
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
        self.verified(message, signature).map(drop)
    }

    /// Verifies a DER signature and gives it in its low-S form.
    pub(crate) fn verified(&self, message: &[u8], signature: &[u8]) -> Result<Vec<u8>, Error> {
        let bad = |_| Error::from(Rejected::BadSignature { keyid: self.keyid.clone() });
        let signature = Signature::from_der(signature).map_err(bad)?;
        self.point.verify(message, &signature).map_err(bad)?;
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

/// A private key, wiped when dropped.
pub struct SigningKey {
    secret: EcdsaKey,
    public: PublicKey,
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

    fn from_secret(secret: EcdsaKey) -> Result<SigningKey, Error> {
        let public = PublicKey::from_point(*secret.verifying_key())?;
        Ok(SigningKey { secret, public })
    }

    /// Reads an encrypted PKCS#8 PEM file.
    ///
    /// # Errors
    /// [`Rejected::KeyNotEncrypted`], [`Rejected::WrongPassphrase`], [`Rejected::NotAKey`],
    /// [`Rejected::UnsupportedKey`], or what the source and the file system say.
    pub fn read(path: &Path, source: &mut Source) -> Result<SigningKey, Error> {
        let pem = Zeroizing::new(file::read(path)?);
        let read = labelled(&pem).and_then(|(kind, text)| match kind {
            Kind::Private => Err(Rejected::KeyNotEncrypted.into()),
            _ => SigningKey::from_text(kind, text, path, source),
        });
        read.map_err(|error| error.in_file(path))
    }

    /// Reads a PKCS#8 PEM file that may be unencrypted; the source is asked only if it is not.
    ///
    /// # Errors
    /// As [`SigningKey::read`], save that no encryption is needed.
    pub fn read_danger_unencrypted(path: &Path, source: &mut Source) -> Result<SigningKey, Error> {
        let pem = Zeroizing::new(file::read(path)?);
        let read = labelled(&pem).and_then(|(kind, text)| SigningKey::from_text(kind, text, path, source));
        read.map_err(|error| error.in_file(path))
    }

    fn from_text(kind: Kind, text: &str, path: &Path, source: &mut Source) -> Result<SigningKey, Error> {
        match kind {
            Kind::EncryptedPrivate => SigningKey::decrypt(text, path, source),
            Kind::Private => {
                let (_, der) = SecretDocument::from_pem(text).map_err(damaged)?;
                SigningKey::from_der(der.as_bytes())
            }
            Kind::Public => Err(not_a_key("the public half, where the private one is needed")),
        }
    }

    fn decrypt(text: &str, path: &Path, source: &mut Source) -> Result<SigningKey, Error> {
        let (_, der) = SecretDocument::from_pem(text).map_err(damaged)?;
        let sealed = EncryptedPrivateKeyInfoRef::try_from(der.as_bytes()).map_err(|error| {
            Rejected::UnsupportedKey { what: format!("its encryption is unknown ({error})") }
        })?;
        refuse_endless_work(&sealed)?;
        let passphrase = source.existing(&path.display().to_string())?;
        let opened = sealed.decrypt(passphrase.as_bytes()).map_err(|error| match error {
            pkcs8::Error::EncryptedPrivateKey(pkcs5::Error::DecryptFailed) | pkcs8::Error::Asn1(_) => {
                Rejected::WrongPassphrase
            }
            other => Rejected::UnsupportedKey { what: other.to_string() },
        })?;
        // One wrong passphrase in 256 leaves what looks like padding, but never a key.
        if PrivateKeyInfoRef::try_from(opened.as_bytes()).is_err() {
            return Err(Rejected::WrongPassphrase.into());
        }
        SigningKey::from_der(opened.as_bytes())
    }

    fn from_der(der: &[u8]) -> Result<SigningKey, Error> {
        let secret = EcdsaKey::from_pkcs8_der(der).map_err(|error| Rejected::UnsupportedKey {
            what: format!("not an ECDSA P-256 key ({error})"),
        })?;
        SigningKey::from_secret(secret)
    }

    /// The public half.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// An ECDSA signature over SHA-256 of `message`: ASN.1 DER, low-S, verified before it is returned.
    ///
    /// # Errors
    /// [`Environment::SelfCheck`].
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        let signature: Signature = self.secret.sign(message);
        // A fault while signing can give the key away: nothing leaves that does not verify.
        self.public
            .verified(message, signature.to_der().as_bytes())
            .map_err(|_| Environment::SelfCheck.into())
    }

    /// As [`SigningKey::sign`] with a random nonce, as tokens do it.
    #[cfg(test)]
    pub(crate) fn sign_with_salt(&self, message: &[u8]) -> Vec<u8> {
        use p256::ecdsa::signature::RandomizedSigner as _;
        let signature: Signature = self.secret.try_sign_with_rng(&mut SysRng, message).unwrap();
        signature.to_der().as_bytes().to_vec()
    }

    /// Writes `path` encrypted (PKCS#8 PEM, PBES2 with scrypt and AES-256-CBC, mode 0600) and the public key
    /// beside it ([`public_path`]). Neither may exist.
    ///
    /// # Errors
    /// [`Misuse::FileExists`] or [`Environment::Io`].
    pub fn write_new(&self, path: &Path, passphrase: &Passphrase) -> Result<(), Error> {
        let mut salt = [0u8; 16];
        let mut iv = [0u8; 16];
        getrandom::fill(&mut salt).map_err(random)?;
        getrandom::fill(&mut iv).map_err(random)?;
        let encoding = |error: pkcs8::Error| Environment::Encoding { message: error.to_string() };
        let cost = pkcs5::scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P)
            .map_err(|error| Environment::Encoding { message: error.to_string() })?;
        let scheme = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv)
            .map_err(|error| encoding(error.into()))?;
        let plain = self.secret.to_pkcs8_der().map_err(encoding)?;
        let sealed = PrivateKeyInfoRef::try_from(plain.as_bytes())
            .and_then(|info| info.encrypt_with_params(scheme, passphrase.as_bytes()))
            .map_err(encoding)?;
        let pem = sealed.to_pem(ENCRYPTED, LineEnding::LF).map_err(|error| encoding(error.into()))?;
        self.write_both(path, &pem)
    }

    /// As [`SigningKey::write_new`] without encryption.
    ///
    /// # Errors
    /// As [`SigningKey::write_new`].
    pub fn write_new_danger_unencrypted(&self, path: &Path) -> Result<(), Error> {
        let pem = self
            .secret
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| Environment::Encoding { message: error.to_string() })?;
        self.write_both(path, &pem)
    }

    fn write_both(&self, path: &Path, pem: &str) -> Result<(), Error> {
        let public = public_path(path);
        if public.symlink_metadata().is_ok() {
            return Err(Error::from(Misuse::FileExists).in_file(&public));
        }
        file::create(path, pem.as_bytes(), Access::Private)?;
        file::create(&public, self.public.to_pem().as_bytes(), Access::Shared)
    }
}

/// The scrypt cost: 16 MiB and five rounds, one of OWASP's equivalent settings. OpenSSL 3 refuses to
/// open a key that needs more than 32 MiB, which excludes the next power of two.
const SCRYPT_LOG_N: u8 = 14;
const SCRYPT_R: u32 = 8;
const SCRYPT_P: u32 = 5;

/// What opening a foreign key may cost at most, in bytes: scrypt's memory, and that memory once for each
/// round, of which a laptop does a few hundred million a second.
const MAX_SCRYPT_MEMORY: u64 = 256 << 20;
const MAX_SCRYPT_WORK: u64 = 4 << 30;
/// PBKDF2's, at which a laptop works for about ten seconds.
const MAX_PBKDF2_ITERATIONS: u32 = 20_000_000;

const PUBLIC: &str = "PUBLIC KEY";
const PLAIN: &str = "PRIVATE KEY";
const ENCRYPTED: &str = "ENCRYPTED PRIVATE KEY";

/// A key file that would take hours or all memory to open is refused before the attempt.
fn refuse_endless_work(sealed: &EncryptedPrivateKeyInfoRef<'_>) -> Result<(), Error> {
    let kdf = match &sealed.encryption_algorithm {
        pkcs5::EncryptionScheme::Pbes2(parameters) => &parameters.kdf,
        _ => {
            return Err(Rejected::UnsupportedKey {
                what: "its encryption is PBES1, which is broken".to_owned(),
            }
            .into());
        }
    };
    let endless = match kdf {
        pbes2::Kdf::Scrypt(cost) => {
            let memory = cost.cost_parameter.saturating_mul(u64::from(cost.block_size)).saturating_mul(128);
            memory > MAX_SCRYPT_MEMORY
                || memory.saturating_mul(u64::from(cost.parallelization)) > MAX_SCRYPT_WORK
        }
        pbes2::Kdf::Pbkdf2(cost) => cost.iteration_count > MAX_PBKDF2_ITERATIONS,
        _ => true,
    };
    if endless {
        let what = "opening it would take more memory or time than this tool spends".to_owned();
        return Err(Rejected::UnsupportedKey { what }.into());
    }
    Ok(())
}

/// What a PEM file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A public key.
    Public,
    /// A private key that whoever reads the file can use.
    Private,
    /// A private key behind a passphrase.
    EncryptedPrivate,
}

/// What the PEM label says that a file holds.
///
/// # Errors
/// [`Rejected::NotAKey`] or [`Rejected::UnsupportedKey`].
pub fn kind(pem: &[u8]) -> Result<Kind, Error> {
    labelled(pem).map(|(kind, _)| kind)
}

fn labelled(pem: &[u8]) -> Result<(Kind, &str), Error> {
    let text = str::from_utf8(pem).map_err(|_| not_a_key("not text"))?;
    match pem::decode_label(pem).map_err(not_a_key)? {
        PUBLIC => Ok((Kind::Public, text)),
        PLAIN => Ok((Kind::Private, text)),
        ENCRYPTED => Ok((Kind::EncryptedPrivate, text)),
        other => {
            Err(Rejected::UnsupportedKey { what: format!("PEM of type `{}`", other.escape_default()) }.into())
        }
    }
}

fn not_a_key(what: impl ToString) -> Error {
    Rejected::NotAKey { what: what.to_string() }.into()
}

fn damaged(error: pkcs8::der::Error) -> Error {
    not_a_key(format!("damaged ({error})"))
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

/// Where the public half of `private` lies: `root-a.pem` has `root-a.pub.pem`.
pub fn public_path(private: &Path) -> PathBuf {
    let stem = match private.extension() {
        Some(extension) if extension == "pem" => private.with_extension(""),
        _ => private.to_owned(),
    };
    let mut name = stem.into_os_string();
    name.push(".pub.pem");
    PathBuf::from(name)
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
            assert!(PublicKey::from_value(&other).is_err(), "{member}");
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
            assert_eq!(key.public().verified(&message, &high).unwrap(), low);
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

    #[test]
    fn key_file_that_would_cost_hours_is_refused_unopened() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let key = SigningKey::generate().unwrap();
        let passphrase = || Passphrase::new(Zeroizing::new(b"secret".to_vec())).unwrap();
        key.write_new(&path, &passphrase()).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let (_, der) = SecretDocument::from_pem(&text).unwrap();
        // The three INTEGERs are N = 16384, r = 8 and p = 5: two bytes, one and one.
        let place = der.as_bytes().windows(4).position(|bytes| bytes == [2, 2, 0x40, 0]).unwrap();
        for (cost, parallelization) in [([2, 2, 0x40, 0], 127), ([2, 2, 0x7f, 0xff], 1)] {
            let mut bytes = der.as_bytes().to_vec();
            bytes[place..place + 4].copy_from_slice(&cost);
            bytes[place + 6] = 0x7f;
            bytes[place + 9] = parallelization;
            let pem = SecretDocument::try_from(bytes).unwrap().to_pem(ENCRYPTED, LineEnding::LF).unwrap();
            std::fs::write(&path, pem.as_bytes()).unwrap();
            // No passphrase is asked for: this variable does not exist.
            let mut source = Source::Variable("TUFFET_NO_SUCH_VARIABLE".to_owned());
            let Err(error) = SigningKey::read(&path, &mut source) else { panic!("opened") };
            let refused = Rejected::UnsupportedKey {
                what: "opening it would take more memory or time than this tool spends".to_owned(),
            };
            assert_eq!(error, Error::from(refused).in_file(&path), "{parallelization}");
        }
    }

    #[test]
    fn public_path_of_a_private_key_is_beside_it() {
        for (private, public) in [
            ("root-a.pem", "root-a.pub.pem"),
            ("keys/root-a", "keys/root-a.pub.pem"),
            ("a.b.key", "a.b.key.pub.pem"),
        ] {
            assert_eq!(public_path(Path::new(private)), Path::new(public));
        }
    }
}
