//! Private keys as PEM text that `openssl` reads: PKCS#8, encrypted unless somebody asked for danger.

use std::fs;
use std::path::{Path, PathBuf};

use p256::ecdsa::SigningKey as EcdsaKey;
use pkcs8::der::pem;
use pkcs8::pkcs5::{self, pbes2};
use pkcs8::{
    DecodePrivateKey as _, EncodePrivateKey as _, EncryptedPrivateKeyInfoRef, LineEnding, PrivateKeyInfoRef,
    SecretDocument,
};
use zeroize::Zeroizing;

use super::{Kind, PublicKey, SigningKey, random};
use crate::file::{self, Access};
use crate::passphrase::{Passphrase, Source, TRIES};
use crate::{Environment, Error, Misuse, Rejected};

impl SigningKey {
    /// Writes `path` encrypted (PKCS#8 PEM, PBES2 with scrypt and AES-256-CBC, mode 0600) and the public key
    /// beside it ([`public_path`]). The first may not exist, the second may if it is this key's. The file is read
    /// back: it opens with this passphrase, is this key, and signs.
    ///
    /// # Errors
    /// [`Misuse::FileExists`], [`Misuse::NotAFile`] for a key on a token, [`Environment::Io`], or what is wrong
    /// with the file as read back.
    pub fn write_new(&self, path: &Path, passphrase: &Passphrase) -> Result<(), Error> {
        let pem = seal(self.here("be copied")?, passphrase)?;
        self.write_both(path, &pem, || {
            let back = Zeroizing::new(file::read(path)?);
            self.prove(&back, passphrase).map_err(|error| error.in_file(path))
        })
    }

    /// As [`SigningKey::write_new`] without encryption.
    ///
    /// # Errors
    /// As [`SigningKey::write_new`].
    pub fn write_new_danger_unencrypted(&self, path: &Path) -> Result<(), Error> {
        let pem = self
            .here("be copied")?
            .to_pkcs8_pem(LineEnding::LF)
            .map_err(|error| Environment::Encoding { message: error.to_string() })?;
        self.write_both(path, &pem, || Ok(()))
    }

    /// Writes both files, or neither: if one fails, or `proof` does after them, what was written goes again. Nobody has
    /// the key yet, and a private half that is left behind would refuse the next try.
    fn write_both(
        &self,
        path: &Path,
        pem: &str,
        proof: impl FnOnce() -> Result<(), Error>,
    ) -> Result<(), Error> {
        let public = public_path(path);
        let there = public.symlink_metadata().is_ok();
        // The public half outlives the private one, and is no reason to refuse it when it comes back.
        if there && !PublicKey::read(&public).is_ok_and(|key| key == self.public) {
            return Err(Error::from(Misuse::FileExists).in_file(&public));
        }
        file::create(path, pem.as_bytes(), Access::Private)?;
        let mut written = vec![path];
        let rest = || {
            if !there {
                file::create(&public, self.public.to_pem().as_bytes(), Access::Shared)?;
                written.push(&public);
            }
            proof()
        };
        rest().inspect_err(|_| {
            // What cannot be taken away the next try names.
            written.iter().for_each(|path| drop(fs::remove_file(path)));
        })
    }

    /// That this text opens with this passphrase, and is this key.
    fn prove(&self, pem: &[u8], passphrase: &Passphrase) -> Result<(), Error> {
        let (_, der) = SecretDocument::from_pem(text(pem)?).map_err(damaged)?;
        let again = SigningKey::from_secret(unseal(&sealed(&der)?, passphrase)?)?;
        again.public.check_keyid(&self.public.keyid)?;
        again.smoke_test()
    }

    /// Gives the key in this file another passphrase, or its first one. The file is replaced in one step, after
    /// what it will hold was opened with the new passphrase. Gives the key.
    ///
    /// # Errors
    /// As [`SigningKey::open`], or [`Environment::Io`]. The file is as it was then.
    pub fn change_passphrase(path: &Path, source: &mut Source) -> Result<SigningKey, Error> {
        // Behind a link lies the file that matters: a link that is replaced leaves the old one where it is.
        let place = fs::canonicalize(path).map_err(|error| Error::io("read", path, &error))?;
        let what = path.display().to_string();
        let pem = Zeroizing::new(file::read(&place)?);
        let key = open(&pem, &what, source).and_then(SigningKey::from_secret);
        let key = key.map_err(|error| error.in_file(path))?;
        // The passphrases are there before the lock is taken, for a person may take his time.
        let passphrase = source.fresh(&what)?;
        let new = seal(key.here("be encrypted")?, &passphrase)?;
        key.prove(new.as_bytes(), &passphrase).map_err(|error| error.in_file(path))?;
        file::update(&place, Access::Private, |there| match there == pem.as_slice() {
            true => Ok(new.as_bytes().to_vec()),
            false => Err(Error::from(Rejected::RequestChanged).in_file(path)),
        })?;
        Ok(key)
    }
}

/// Opens a private key; `what` names it where its passphrase is asked for.
pub(super) fn open(pem: &[u8], what: &str, source: &mut Source) -> Result<EcdsaKey, Error> {
    let (kind, text) = labelled(pem)?;
    if kind == Kind::Public {
        return Err(not_a_key("the public half, where the private one is needed"));
    }
    let (_, der) = SecretDocument::from_pem(text).map_err(damaged)?;
    if kind == Kind::Private {
        return from_der(der.as_bytes());
    }
    let sealed = sealed(&der)?;
    let mut passphrase = source.existing(what)?;
    // Whoever types may mistype, and should not read a review again for it. A file has no lock to run into.
    let mut left = if source.asks_for_passphrase() { TRIES - 1 } else { 0 };
    loop {
        match unseal(&sealed, &passphrase) {
            Err(Error::Rejected { why: Rejected::WrongPassphrase, .. }) if left > 0 => {
                passphrase = source.again(what, left).ok_or(Rejected::WrongPassphrase)?;
                left -= 1;
            }
            opened => {
                source.opened_with(passphrase);
                return opened;
            }
        }
    }
}

/// The text of a public key's PEM.
pub(super) fn public_text(pem: &[u8]) -> Result<&str, Error> {
    match labelled(pem)? {
        (Kind::Public, text) => Ok(text),
        _ => Err(not_a_key("the private half, where the public one is needed")),
    }
}

fn sealed(der: &SecretDocument) -> Result<EncryptedPrivateKeyInfoRef<'_>, Error> {
    let sealed = EncryptedPrivateKeyInfoRef::try_from(der.as_bytes())
        .map_err(|error| Rejected::UnsupportedKey { what: format!("its encryption is unknown ({error})") })?;
    refuse_endless_work(&sealed)?;
    Ok(sealed)
}

fn unseal(sealed: &EncryptedPrivateKeyInfoRef<'_>, passphrase: &Passphrase) -> Result<EcdsaKey, Error> {
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
    from_der(opened.as_bytes())
}

fn from_der(der: &[u8]) -> Result<EcdsaKey, Error> {
    EcdsaKey::from_pkcs8_der(der).map_err(|error| {
        Rejected::UnsupportedKey { what: format!("not an ECDSA P-256 key ({error})") }.into()
    })
}

fn seal(secret: &EcdsaKey, passphrase: &Passphrase) -> Result<Zeroizing<String>, Error> {
    let mut salt = [0u8; 16];
    let mut iv = [0u8; 16];
    getrandom::fill(&mut salt).map_err(random)?;
    getrandom::fill(&mut iv).map_err(random)?;
    let encoding = |error: pkcs8::Error| Environment::Encoding { message: error.to_string() };
    let cost = pkcs5::scrypt::Params::new(SCRYPT_LOG_N, SCRYPT_R, SCRYPT_P)
        .map_err(|error| Environment::Encoding { message: error.to_string() })?;
    let scheme = pbes2::Parameters::generate_scrypt_aes256cbc(cost, &salt, iv)
        .map_err(|error| encoding(error.into()))?;
    let plain = secret.to_pkcs8_der().map_err(encoding)?;
    let sealed = PrivateKeyInfoRef::try_from(plain.as_bytes())
        .and_then(|info| info.encrypt_with_params(scheme, passphrase.as_bytes()))
        .map_err(encoding)?;
    Ok(sealed.to_pem(ENCRYPTED, LineEnding::LF).map_err(|error| encoding(error.into()))?)
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

/// What the PEM label says that a file holds.
///
/// # Errors
/// [`Rejected::NotAKey`] or [`Rejected::UnsupportedKey`].
pub(super) fn kind(pem: &[u8]) -> Result<Kind, Error> {
    labelled(pem).map(|(kind, _)| kind)
}

fn labelled(pem: &[u8]) -> Result<(Kind, &str), Error> {
    let text = text(pem)?;
    if !text.contains("-----BEGIN ") {
        return Err(not_a_key("there is no `-----BEGIN` in it"));
    }
    match pem::decode_label(pem).map_err(not_a_key)? {
        PUBLIC => Ok((Kind::Public, text)),
        PLAIN => Ok((Kind::Private, text)),
        ENCRYPTED => Ok((Kind::EncryptedPrivate, text)),
        other => {
            Err(Rejected::UnsupportedKey { what: format!("PEM of type `{}`", other.escape_default()) }.into())
        }
    }
}

fn text(pem: &[u8]) -> Result<&str, Error> {
    str::from_utf8(pem).map_err(|_| not_a_key("not text"))
}

fn not_a_key(what: impl ToString) -> Error {
    Rejected::NotAKey { what: what.to_string() }.into()
}

fn damaged(error: pkcs8::der::Error) -> Error {
    not_a_key(format!("damaged ({error})"))
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
    use crate::uri::KeyUri;

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
            let variable = Some("TUFFET_NO_SUCH_VARIABLE".to_owned());
            let mut source = Source::from_options(None, variable, None);
            let Err(error) = SigningKey::open(&KeyUri::File(path.clone()), &mut source) else {
                panic!("opened")
            };
            let refused = Rejected::UnsupportedKey {
                what: "opening it would take more memory or time than this tool spends".to_owned(),
            };
            assert_eq!(error, Error::from(refused).in_file(&path), "{parallelization}");
        }
    }

    #[test]
    fn key_that_does_not_prove_itself_leaves_no_file_behind() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key.pem");
        let key = SigningKey::generate().unwrap();
        let fails = || Err(Rejected::WrongPassphrase.into());
        assert_eq!(key.write_both(&path, "text", fails).unwrap_err(), Rejected::WrongPassphrase.into());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
        // A public key that lay there stays.
        fs::write(directory.path().join("key.pub.pem"), key.public.to_pem()).unwrap();
        key.write_both(&path, "text", fails).unwrap_err();
        let left = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert_eq!(left.collect::<Vec<_>>(), ["key.pub.pem"]);
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
