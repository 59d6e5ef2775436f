//! What the machine did not do.

use super::{Error, Explained, explained};

/// The machine did not do its part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Environment {
    /// Reading or writing failed.
    Io {
        /// What was being done, an infinitive.
        what: &'static str,
        /// The system's message.
        message: String,
    },
    /// The environment variable that should hold a key, a passphrase or a PIN is not set, or is not text.
    NoVariable {
        /// Its name.
        name: String,
    },
    /// Standard output does not take what should be shown.
    Output {
        /// Whether its reader has gone, as the `head` of a pipeline does.
        closed: bool,
        /// The system's message.
        message: String,
        /// The files that were written before.
        written: Vec<String>,
    },
    /// There is no terminal to ask on.
    NoTerminal {
        /// What for, as "the passphrase".
        wanted: String,
        /// How it can be given otherwise.
        instead: String,
    },
    /// The system's random number generator failed.
    Random {
        /// Its message.
        message: String,
    },
    /// A signature did not verify right after it was made: a fault in memory or processor.
    SelfCheck,
    /// A key could not be encoded.
    Encoding {
        /// The encoder's message.
        message: String,
    },
    /// Nothing says which PKCS#11 module reaches the token.
    NoModule,
    /// The PKCS#11 module cannot be used.
    Module {
        /// The loader's or the module's message.
        message: String,
    },
    /// No token goes by this URI.
    NoToken {
        /// Those that are there, as parts of a URI.
        present: Vec<String>,
    },
    /// The token has no key that goes by this URI.
    NoKeyOnToken {
        /// Those that it shows, as parts of a URI.
        present: Vec<String>,
    },
    /// The token or its module failed.
    Token {
        /// What was being done, an infinitive.
        what: &'static str,
        /// The module's message.
        message: String,
    },
    /// A token's signature that does not verify under the public key of the same token.
    TokenSignature,
    /// A key was made on a token, and the file with its public half was not.
    PublicHalfMissing {
        /// The URI that finds the key.
        uri: String,
        /// Why not.
        why: Box<Error>,
    },
    /// What this holder verified before cannot be read any more.
    StateDamaged {
        /// What is wrong with it.
        message: String,
    },
}

impl Environment {
    pub(super) fn explain(&self) -> Explained {
        match self {
            Environment::Io { what, message } => {
                explained(301, format!("cannot {what}: {message}"), "check path and permissions")
            }
            Environment::NoVariable { name } => explained(
                302,
                format!("the environment variable {name} is not set, or is not text"),
                "set it; without the option that names it you are asked",
            ),
            Environment::Output { message, written, .. } => {
                let (after, next) = if written.is_empty() {
                    (String::new(), "nothing was written; give it somewhere to go, and run again")
                } else {
                    let after = format!(" after these files were written: {}", written.join(", "));
                    (after, "they exist and are whole; there is no need to run again")
                };
                explained(307, format!("standard output failed ({message}){after}"), next)
            }
            Environment::NoTerminal { wanted, instead } => {
                explained(303, format!("there is no terminal to ask on for {wanted}"), instead.clone())
            }
            Environment::Random { message } => explained(
                304,
                format!("the system's random numbers failed: {message}"),
                "do not make keys on this machine",
            ),
            Environment::SelfCheck => explained(
                305,
                "a signature did not verify right after it was made",
                "it was thrown away; do not sign on this machine before its memory is tested",
            ),
            Environment::Encoding { message } => explained(
                306,
                format!("the key could not be encoded: {message}"),
                "nothing was written; report this",
            ),
            Environment::NoModule => explained(
                308,
                "no PKCS#11 module is named",
                "add `?module-path=/PATH/TO/MODULE.so` to the URI, or set TUFFET_PKCS11_MODULE to that path",
            ),
            Environment::Module { message } => explained(
                309,
                format!("the PKCS#11 module cannot be used: {message}"),
                "install the token's software, and check `module-path` or TUFFET_PKCS11_MODULE",
            ),
            Environment::NoToken { present } => explained(
                310,
                "no such token",
                format!("plug it in, or check token, serial and module: {}", there(present, "no token")),
            ),
            Environment::NoKeyOnToken { present } => explained(
                311,
                "the token has no such key",
                format!("check object, id and type: {}", there(present, "no key")),
            ),
            Environment::Token { what, message } => explained(
                312,
                format!("the token failed to {what}: {message}"),
                "check that it is plugged in and that its own tool can use it, then try again",
            ),
            Environment::StateDamaged { message } => explained(
                314,
                format!("what was verified here before is damaged ({message})"),
                "restore it from a backup; or move it away, and `trust` and `learn` the published files anew",
            ),
            Environment::PublicHalfMissing { uri, why } => explained(
                320,
                format!(
                    "the key is on the token, as {uri}, but its public half is in no file ({})",
                    why.explain().what
                ),
                "do not make another: `tuffet-keys show` with that URI and --public-out FILE writes it",
            ),
            Environment::TokenSignature => explained(
                313,
                "the token's signature does not verify under the public key that it shows",
                "it was thrown away; the two keys are no pair, or the token is broken: do not use it",
            ),
        }
    }
}

fn there(present: &[String], nothing: &str) -> String {
    if present.is_empty() {
        format!("there is {nothing}")
    } else {
        format!("there is {}", present.join(", "))
    }
}
