//! What is done with keys alone: make, look, try, change, copy and put back.

use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;

use super::args::{Backup, ChangePassphrase, Generate, Restore, Show, SmokeTest};
use super::{Output, named_keyid, refuse_existing};
use tuffet_keys::file::{self, Access};
use tuffet_keys::key::{self, Kind, PublicKey, SigningKey};
use tuffet_keys::passphrase::Source;
use tuffet_keys::uri::{KeyUri, TokenUri};
use tuffet_keys::{Environment, Error, Misuse};

pub(super) fn uris(texts: &[OsString]) -> Result<Vec<KeyUri>, Error> {
    texts.iter().map(|text| KeyUri::parse(text)).collect()
}

pub(super) fn open(uri: &KeyUri, danger_unencrypted: bool, source: &mut Source) -> Result<SigningKey, Error> {
    if danger_unencrypted {
        SigningKey::open_danger_unencrypted(uri, source)
    } else {
        SigningKey::open(uri, source)
    }
}

pub(super) fn generate(command: &Generate, out: &mut Output) -> Result<(), Error> {
    let mut source = command.secrets.source();
    match KeyUri::parse(&command.out)? {
        KeyUri::Token(uri) => generate_on_token(&uri, command, &mut source, out),
        uri => generate_file(uri.file("be written")?, command, &mut source, out),
    }
}

fn generate_file(
    path: &Path,
    command: &Generate,
    source: &mut Source,
    out: &mut Output,
) -> Result<(), Error> {
    let Generate { public_out, danger_unencrypted, .. } = command;
    if public_out.is_some() {
        let why = "--public-out goes with a key on a token; a file has its public key beside it";
        return Err(Misuse::Options { why }.into());
    }
    let public = key::public_path(path);
    // Asked before the passphrase is; the write itself makes sure once more.
    for path in [path, &public] {
        refuse_existing(path)?;
    }
    let signing_key = SigningKey::generate()?;
    if *danger_unencrypted {
        signing_key.write_new_danger_unencrypted(path)?;
    } else {
        let passphrase = source.fresh(&path.display().to_string())?;
        signing_key.write_new(path, &passphrase)?;
        remark(source.short());
    }
    out.written(path);
    out.written(&public);
    let kind = if *danger_unencrypted { Kind::Private } else { Kind::EncryptedPrivate };
    out.put(&format!("wrote {} and {}\n", path.display(), public.display()))?;
    out.put(&described(&path.display().to_string(), kind, signing_key.public()))
}

fn generate_on_token(
    uri: &TokenUri,
    command: &Generate,
    source: &mut Source,
    out: &mut Output,
) -> Result<(), Error> {
    let Generate { public_out, danger_unencrypted, .. } = command;
    if *danger_unencrypted {
        let why = "--danger-unencrypted is about files; a token keeps its key to itself";
        return Err(Misuse::Options { why }.into());
    }
    let Some(public) = public_out else {
        let why = "a key on a token needs --public-out FILE for its public half";
        return Err(Misuse::Options { why }.into());
    };
    refuse_existing(public)?;
    let (key, found_by) = SigningKey::generate_on_token(uri, source)?;
    let uri = found_by.to_string();
    // Whatever fails from here on, the key is there, and its holder must learn as what.
    file::create(public, key.public().to_pem().as_bytes(), Access::Shared).map_err(|why| {
        let (uri, why) = (uri.clone(), Box::new(why));
        Error::from(Environment::PublicHalfMissing { uri, why }).in_file(public)
    })?;
    out.written.push(uri.clone());
    out.written(public);
    out.put(&format!("made a key on a token, tried it, and wrote {}\n", public.display()))?;
    out.put(&described(&uri, Kind::OnToken, key.public()))
}

pub(super) fn show(Show { keys, public_out, secrets }: &Show, out: &mut Output) -> Result<(), Error> {
    let mut source = secrets.source();
    let uris = uris(keys)?;
    if let Some(path) = public_out {
        only_one(&uris, "--public-out goes with one KEY")?;
        refuse_existing(path)?;
    }
    for uri in &uris {
        let kind = key::kind(uri)?;
        let key = PublicKey::open(uri, &mut source)?;
        if let Some(path) = public_out {
            file::create(path, key.to_pem().as_bytes(), Access::Shared)?;
            out.written(path);
            out.put(&format!("wrote {}\n", path.display()))?;
        }
        out.put(&described(&uri.to_string(), kind, &key))?;
    }
    Ok(())
}

pub(super) fn smoke_test(command: &SmokeTest, out: &mut Output) -> Result<(), Error> {
    let mut source = command.secrets.source();
    let uris = uris(&command.keys)?;
    let expected =
        command.expect.as_deref().map(named_keyid).transpose().map_err(|error| error.at("--expect"))?;
    if expected.is_some() {
        only_one(&uris, "--expect goes with one KEY")?;
    }
    for uri in &uris {
        let kind = key::kind(uri)?;
        let key = open(uri, command.danger_unencrypted, &mut source)?;
        if let Some(expected) = &expected {
            key.public().check_keyid(expected).map_err(|error| error.at(uri))?;
        }
        key.smoke_test().map_err(|error| error.at(uri))?;
        out.put(&described(&uri.to_string(), kind, key.public()))?;
        out.put("  works        it signed a nonce, and the signature verifies\n")?;
    }
    Ok(())
}

pub(super) fn change_passphrase(command: &ChangePassphrase, out: &mut Output) -> Result<(), Error> {
    let uri = KeyUri::parse(&command.key)?;
    let path = uri.file("get a passphrase")?;
    let mut source = command.passphrases.source();
    let key = SigningKey::change_passphrase(path, &mut source)?;
    remark(source.short());
    out.written(path);
    out.put(&format!("changed the passphrase of {}; copies and backups keep theirs\n", path.display()))?;
    out.put(&described(&path.display().to_string(), Kind::EncryptedPrivate, key.public()))
}

pub(super) fn backup(command: &Backup, out: &mut Output) -> Result<(), Error> {
    let (uri, target) = (KeyUri::parse(&command.key)?, KeyUri::parse(&command.out)?);
    if let KeyUri::Token(_) = uri {
        // Before it asks for a PIN in vain.
        uri.file("be copied")?;
    }
    let target = target.file("be written")?;
    let mut source = command.passphrases.source();
    let key = copy(&uri, target, command.danger_unencrypted, None, &mut source, out)?;
    remark(source.repeats().then(|| "the copy has the same passphrase: who learns one has both".to_owned()));
    out.put(&described(&target.display().to_string(), Kind::EncryptedPrivate, key.public()))?;
    out.put(&format!(
        "rehearse it now and then: tuffet-keys restore {} --rehearse --expect {}\n",
        target.display(),
        key.public().keyid()
    ))
}

pub(super) fn restore(command: &Restore, out: &mut Output) -> Result<(), Error> {
    let uri = KeyUri::parse(&command.backup)?;
    uri.file("be restored")?;
    let expected = named_keyid(&command.expect).map_err(|error| error.at("--expect"))?;
    let mut source = command.passphrases.source();
    let Some(target) = &command.out else {
        let key = open(&uri, command.danger_unencrypted, &mut source)?;
        prove(&key, Some(&expected)).map_err(|error| error.at(&uri))?;
        out.put(&described(&uri.to_string(), key::kind(&uri)?, key.public()))?;
        return out.put("rehearsed: it is the expected key, and signs; nothing was written\n");
    };
    let target = KeyUri::parse(target)?;
    let target = target.file("be written")?;
    let key = copy(&uri, target, command.danger_unencrypted, Some(&expected), &mut source, out)?;
    out.put(&described(&target.display().to_string(), Kind::EncryptedPrivate, key.public()))
}

/// Writes an encrypted copy of a key that works, under another passphrase; the copy proves itself.
fn copy(
    uri: &KeyUri,
    target: &Path,
    danger_unencrypted: bool,
    expected: Option<&str>,
    source: &mut Source,
    out: &mut Output,
) -> Result<SigningKey, Error> {
    refuse_existing(target)?;
    let key = open(uri, danger_unencrypted, source)?;
    prove(&key, expected).map_err(|error| error.at(uri))?;
    let passphrase = source.fresh(&target.display().to_string())?;
    key.write_new(target, &passphrase)?;
    remark(source.short());
    let public = key::public_path(target);
    out.written(target);
    out.written(&public);
    let (target, public) = (target.display(), public.display());
    out.put(&format!("wrote {target}, beside {public}, and read it back: it is the same key, and signs\n"))?;
    Ok(key)
}

/// On standard error, where it does not get into what a script reads; it changes nothing.
fn remark(remark: Option<String>) {
    if let Some(remark) = remark {
        // What was to be done is done, and no reader is missing for it.
        let _ = writeln!(anstream::stderr(), "note: {remark}");
    }
}

fn prove(key: &SigningKey, expected: Option<&str>) -> Result<(), Error> {
    expected.map_or(Ok(()), |expected| key.public().check_keyid(expected))?;
    key.smoke_test()
}

fn only_one(uris: &[KeyUri], why: &'static str) -> Result<(), Error> {
    if uris.len() == 1 { Ok(()) } else { Err(Misuse::Options { why }.into()) }
}

fn described(name: &str, kind: Kind, key: &PublicKey) -> String {
    let kind = match kind {
        Kind::Public => "public key",
        Kind::EncryptedPrivate => "private key, encrypted",
        Kind::Private => "private key, NOT ENCRYPTED",
        _ => "key on a token",
    };
    format!(
        "{name}\n  type         ECDSA P-256, {kind}\n  keyid        {}\n  fingerprint  {}\n",
        key.keyid(),
        key.fingerprint()
    )
}
