//! Where passphrases and PINs come from: a prompt, a file descriptor or the environment; never an argument.

use std::env;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::{Environment, Error, Misuse};

/// The variable that holds the passphrase of key files when no other source is named.
pub const VARIABLE: &str = "TUFFET_PASSPHRASE";

/// The same for the passphrase that replaces another.
pub const NEW_VARIABLE: &str = "TUFFET_NEW_PASSPHRASE";

/// The same for the PIN of tokens. A variable of its own: a passphrase that is sent to a token by mistake is a
/// wrong PIN, and a few of those lock it.
pub const PIN_VARIABLE: &str = "TUFFET_PIN";

/// A passphrase or a PIN, wiped when dropped.
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

    /// The first line of a file.
    pub(crate) fn from_file(path: &Path) -> Result<Passphrase, Error> {
        let mut file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
        Passphrase::new(line(&mut file, path)?).map_err(|error| error.in_file(path))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    fn characters(&self) -> usize {
        String::from_utf8_lossy(&self.0).chars().count()
    }
}

/// With fewer characters a new passphrase is remarked upon.
const SHORT: usize = 12;

/// How often a person may type the passphrase of one key.
pub(crate) const TRIES: u32 = 3;

/// A source of passphrases and PINs. One source may serve several keys.
///
/// A descriptor gives all of them, a line each, in the order in which they are needed. Without one each kind has
/// a variable of its own, and without that a person is asked.
pub struct Source {
    descriptor: Option<Descriptor>,
    existing: Option<String>,
    fresh: Option<String>,
    /// The variable that would have given the new passphrase.
    fresh_variable: &'static str,
    pin: Option<String>,
    renews: bool,
    given: Given,
}

/// What was given, for remarks upon it. Only who renews a passphrase has both.
#[derive(Default)]
struct Given {
    existing: Option<Passphrase>,
    fresh: Option<Passphrase>,
}

impl Source {
    /// The source that command-line options name: a descriptor, else variables for passphrases and for PINs,
    /// else [`VARIABLE`] and [`PIN_VARIABLE`] when they are set, else a prompt.
    pub fn from_options(descriptor: Option<u32>, passphrase: Option<String>, pin: Option<String>) -> Source {
        let existing = passphrase.or_else(|| if_set(VARIABLE));
        Source {
            descriptor: descriptor.map(|number| Descriptor { number, open: None }),
            fresh: existing.clone(),
            fresh_variable: VARIABLE,
            existing,
            pin: pin.or_else(|| if_set(PIN_VARIABLE)),
            renews: false,
            given: Given::default(),
        }
    }

    /// The same source for who needs an old and a new passphrase. The new one comes from the descriptor's next
    /// line, from this variable or [`NEW_VARIABLE`], or a prompt, and never from where the old one does.
    #[must_use]
    pub fn renewing(self, variable: Option<String>) -> Source {
        let fresh = variable.or_else(|| if_set(NEW_VARIABLE));
        Source { fresh, fresh_variable: NEW_VARIABLE, renews: true, ..self }
    }

    /// Whether a person is asked for the passphrase of a key.
    pub fn asks_for_passphrase(&self) -> bool {
        self.descriptor.is_none() && self.existing.is_none()
    }

    /// Whether a person is asked for the PIN of a token.
    pub fn asks_for_pin(&self) -> bool {
        self.descriptor.is_none() && self.pin.is_none()
    }

    /// The passphrase that opens an existing key; `what` names the key in the prompt.
    ///
    /// # Errors
    /// [`Environment::NoTerminal`], [`Environment::NoVariable`], [`Environment::Io`] or
    /// [`Misuse::EmptyPassphrase`].
    pub fn existing(&mut self, what: &str) -> Result<Passphrase, Error> {
        match unattended(&mut self.descriptor, self.existing.as_deref(), what) {
            Some(passphrase) => passphrase,
            None => {
                let typed = ask(&format!("Passphrase of {what}: "));
                Passphrase::new(typed.map_err(|_| nobody("the passphrase", what, VARIABLE))?)
            }
        }
    }

    /// The same from a person who has mistyped it and has `left` tries more; none if he types nothing.
    pub(crate) fn again(&mut self, what: &str, left: u32) -> Option<Passphrase> {
        let tries = if left == 1 { "1 try".to_owned() } else { format!("{left} tries") };
        let typed = ask(&format!("Wrong passphrase of {what}; again, {tries} left: ")).ok()?;
        Passphrase::new(typed).ok()
    }

    /// Keeps the passphrase that opened a key, if another one is to replace it.
    pub(crate) fn opened_with(&mut self, passphrase: Passphrase) {
        self.given.existing = Some(passphrase).filter(|_| self.renews);
    }

    /// What is to be said of the new passphrase that was given: it is taken all the same. Never says what it is.
    pub fn short(&self) -> Option<String> {
        let count = self.given.fresh.as_ref()?.characters();
        (count < SHORT).then(|| {
            let characters = if count == 1 { "character" } else { "characters" };
            format!(
                "the passphrase has {count} {characters}; five words from dice have 25: whoever gets the file can try \
                 them all"
            )
        })
    }

    /// Whether the new passphrase is the one that opened the key.
    pub fn repeats(&self) -> bool {
        let Given { existing: Some(existing), fresh: Some(fresh) } = &self.given else { return false };
        existing.0 == fresh.0
    }

    /// The passphrase of a new key; asked twice on a terminal.
    ///
    /// # Errors
    /// As [`Source::existing`], and [`Misuse::PassphrasesDiffer`].
    pub fn fresh(&mut self, what: &str) -> Result<Passphrase, Error> {
        let passphrase = self.ask_fresh(what)?;
        self.given.fresh = Some(Passphrase(passphrase.0.clone()));
        Ok(passphrase)
    }

    fn ask_fresh(&mut self, what: &str) -> Result<Passphrase, Error> {
        if let Some(passphrase) = unattended(&mut self.descriptor, self.fresh.as_deref(), what) {
            return passphrase;
        }
        let nobody = |_| nobody("the new passphrase", what, self.fresh_variable);
        let first = Passphrase::new(ask(&format!("New passphrase of {what}: ")).map_err(nobody)?)?;
        if *ask("The same again: ").map_err(nobody)? != *first.0 {
            return Err(Misuse::PassphrasesDiffer.into());
        }
        Ok(first)
    }

    /// The PIN of a token; `what` names it in the prompt.
    ///
    /// # Errors
    /// As [`Source::existing`].
    pub fn pin(&mut self, what: &str) -> Result<Passphrase, Error> {
        match unattended(&mut self.descriptor, self.pin.as_deref(), what) {
            Some(pin) => pin,
            None => {
                let typed = ask(&format!("PIN of {what}: "));
                Passphrase::new(typed.map_err(|_| nobody("the PIN", what, PIN_VARIABLE))?)
            }
        }
    }
}

fn if_set(variable: &str) -> Option<String> {
    env::var_os(variable).map(|_| variable.to_owned())
}

/// From the descriptor, else from the variable; none if a person is to be asked.
fn unattended(
    descriptor: &mut Option<Descriptor>,
    variable: Option<&str>,
    what: &str,
) -> Option<Result<Passphrase, Error>> {
    match (descriptor, variable) {
        (Some(descriptor), _) => {
            Some(descriptor.line().and_then(|line| Passphrase::new(line).map_err(|error| error.at(what))))
        }
        (None, Some(name)) => Some(
            variable_value(name).and_then(|value| Passphrase::new(value).map_err(|error| error.at(name))),
        ),
        (None, None) => None,
    }
}

/// The value of an environment variable, in memory that is wiped. The environment keeps its own copy.
pub(crate) fn variable_value(name: &str) -> Result<Zeroizing<Vec<u8>>, Error> {
    let value = env::var(name).map_err(|_| Environment::NoVariable { name: name.to_owned() })?;
    Ok(Zeroizing::new(value.into_bytes()))
}

/// An open file descriptor that gives one passphrase a line.
struct Descriptor {
    number: u32,
    open: Option<Box<dyn Read>>,
}

impl Descriptor {
    fn line(&mut self) -> Result<Zeroizing<Vec<u8>>, Error> {
        // Safe Rust cannot adopt a raw descriptor; its name under /dev/fd opens the same pipe or file.
        let path = PathBuf::from(format!("/dev/fd/{}", self.number));
        let fail = |error| Error::io("read the passphrase", &path, &error);
        let input = match &mut self.open {
            Some(input) => input,
            None if self.number == 0 => self.open.insert(Box::new(io::stdin())),
            None => self.open.insert(Box::new(File::open(&path).map_err(fail)?)),
        };
        line(input, &path)
    }
}

/// The next line without its end. Read byte by byte, for what follows belongs to the next key.
fn line(input: &mut impl Read, path: &Path) -> Result<Zeroizing<Vec<u8>>, Error> {
    let fail = |error| Error::io("read the passphrase", path, &error);
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

/// The longest passphrase that a descriptor gives, in bytes; OpenSSL's own limit.
const MAX_LINE: usize = 1024;

fn ask(prompt: &str) -> io::Result<Zeroizing<Vec<u8>>> {
    Ok(Zeroizing::new(rpassword::prompt_password(prompt)?.into_bytes()))
}

/// There is nobody to ask for a secret of `what`, and the variable does not give it.
fn nobody(secret: &str, what: &str, variable: &str) -> Error {
    let instead = format!("set {variable}, or use --passphrase-fd");
    Error::from(Environment::NoTerminal { wanted: secret.to_owned(), instead }).at(what)
}
