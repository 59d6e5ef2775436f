//! How the program fails: one line for a person, and an exit status.

use std::io;
use std::path::Path;

use tuffet_agent::{Environment, Error, Rejected, TransportFault};

/// One line for a person, and what the process says with its exit status: 1 refused, 2 usage, 3 environment.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) label: String,
    pub(crate) line: String,
    pub(crate) status: u8,
}

impl Failure {
    pub(crate) fn usage(label: &str, line: String) -> Self {
        Self { label: label.to_owned(), line, status: 2 }
    }

    pub(crate) fn file(path: &Path, error: &io::Error) -> Self {
        Self { label: "A650".to_owned(), line: format!("{}: {}", path.display(), plain(error)), status: 3 }
    }

    /// What is wrong with a bundle, or with a file in it.
    pub(crate) fn of_bundle(path: &Path, file: &str, error: Error) -> Self {
        let failure = Self::from(error);
        let path = path.display();
        let line = match error {
            Error::Environment(Environment::Transport(TransportFault::NotFound)) => {
                format!("{path}: has no {file}; it is incomplete, or for other devices")
            }
            Error::Environment(Environment::Transport(_))
            | Error::Rejected(
                Rejected::NotABundle
                | Rejected::BundleFormat { .. }
                | Rejected::BundleIndex { .. }
                | Rejected::BundleCutShort { .. }
                | Rejected::BundleLacksRoot { .. },
            ) => format!("{path}: {}", failure.line),
            _ => return failure,
        };
        Self { line, ..failure }
    }

    /// A fault of the transport does not know its file.
    pub(crate) fn about(file: &str, error: Error) -> Self {
        let failure = Self::from(error);
        match error {
            Error::Environment(Environment::Transport(_)) => {
                Self { line: format!("{file}: {}", failure.line), ..failure }
            }
            _ => failure,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Rejected(_) => 1,
            Error::Misuse(_) => 2,
            _ => 3,
        };
        Self { label: format!("{}{}", error.letter(), error.code()), line: error.to_string(), status }
    }
}

/// What an error of the system says, without its number.
pub(crate) fn plain(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
