//! Where a passphrase comes from: a prompt, a file descriptor or the environment; never an argument.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::{Environment, Error, Misuse};

/// The variable that is read when no other source is named.
pub const VARIABLE: &str = "TUFFET_PASSPHRASE";

/// A passphrase, wiped when dropped.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes as they are: no trimming, no normalisation.
    ///
    /// # Errors
    /// [`Misuse::EmptyPassphrase`].
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Passphrase, Error> {
        if bytes.is_empty() {
            return Err(Misuse::EmptyPassphrase.into());
        }
        Ok(Passphrase(bytes))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// A source of passphrases. One source may serve several keys.
#[non_exhaustive]
pub enum Source {
    /// Ask on the terminal.
    Prompt,
    /// One line for each key from an open file descriptor.
    Descriptor(Descriptor),
    /// The value of an environment variable, the same for each key.
    Variable(String),
}

impl Source {
    /// The source that command-line options name: a descriptor, else a variable, else
    /// [`VARIABLE`] when it is set, else a prompt.
    pub fn from_options(descriptor: Option<u32>, variable: Option<String>) -> Source {
        match (descriptor, variable) {
            (Some(number), _) => Source::Descriptor(Descriptor { number, open: None }),
            (None, Some(name)) => Source::Variable(name),
            (None, None) if std::env::var_os(VARIABLE).is_some() => Source::Variable(VARIABLE.to_owned()),
            (None, None) => Source::Prompt,
        }
    }

    /// Whether a person is asked.
    pub fn is_interactive(&self) -> bool {
        matches!(self, Source::Prompt)
    }

    /// The passphrase that opens an existing key; `what` names the key in the prompt.
    ///
    /// # Errors
    /// [`Environment::NoTerminal`], [`Environment::NoVariable`], [`Environment::Io`] or
    /// [`Misuse::EmptyPassphrase`].
    pub fn existing(&mut self, what: &str) -> Result<Passphrase, Error> {
        match self {
            Source::Prompt => Passphrase::new(ask(&format!("Passphrase of {what}: "))?),
            Source::Descriptor(descriptor) => {
                Passphrase::new(descriptor.line()?).map_err(|error| error.at(what))
            }
            Source::Variable(name) => {
                let value =
                    std::env::var(&*name).map_err(|_| Environment::NoVariable { name: name.clone() })?;
                Passphrase::new(Zeroizing::new(value.into_bytes())).map_err(|error| error.at(&*name))
            }
        }
    }

    /// The passphrase of a new key; asked twice on a terminal.
    ///
    /// # Errors
    /// As [`Source::existing`], and [`Misuse::PassphrasesDiffer`].
    pub fn fresh(&mut self, what: &str) -> Result<Passphrase, Error> {
        let first = match self {
            Source::Prompt => Passphrase::new(ask(&format!("New passphrase of {what}: "))?)?,
            _ => return self.existing(what),
        };
        if *ask("The same again: ")? != *first.0 {
            return Err(Misuse::PassphrasesDiffer.into());
        }
        Ok(first)
    }
}

/// An open file descriptor that gives one passphrase a line.
pub struct Descriptor {
    number: u32,
    open: Option<Box<dyn Read>>,
}

impl Descriptor {
    /// The next line without its end. Read byte by byte, for what follows belongs to the next key.
    fn line(&mut self) -> Result<Zeroizing<Vec<u8>>, Error> {
        // Safe Rust cannot adopt a raw descriptor; its name under /dev/fd opens the same pipe or file.
        let path = PathBuf::from(format!("/dev/fd/{}", self.number));
        let fail = |error| Error::io("read the passphrase", &path, &error);
        let input = match &mut self.open {
            Some(input) => input,
            None if self.number == 0 => self.open.insert(Box::new(io::stdin())),
            None => self.open.insert(Box::new(File::open(&path).map_err(fail)?)),
        };
        // Room for any line, so that growing leaves no copy of a secret behind.
        let mut line = Zeroizing::new(Vec::with_capacity(MAX_LINE));
        let mut byte = Zeroizing::new([0u8; 1]);
        while line.len() < MAX_LINE && input.read(&mut *byte).map_err(fail)? == 1 && byte[0] != b'\n' {
            line.push(byte[0]);
        }
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Ok(line)
    }
}

/// The longest passphrase that a descriptor gives, in bytes; OpenSSL's own limit.
const MAX_LINE: usize = 1024;

fn ask(prompt: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let typed = rpassword::prompt_password(prompt).map_err(|_| Environment::NoTerminal)?;
    Ok(Zeroizing::new(typed.into_bytes()))
}
