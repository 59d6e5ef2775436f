//! What the machine did not do.

use core::fmt;
use std::path::PathBuf;

use tuffet_agent::TransportFault;

/// The machine did not do its part.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Environment {
    /// Reading or writing failed.
    Io {
        /// What was being done, an infinitive.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's message.
        message: String,
    },
    /// Another process is at work in the workspace.
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The clock is behind a signature that this repository has published.
    ClockBehind {
        /// When the newest timestamp was issued.
        issued: String,
        /// What the clock says.
        now: String,
    },
    /// A file did not come from a web server.
    Fetch {
        /// The file.
        url: String,
        /// Why.
        fault: TransportFault,
    },
    /// Another publisher was faster.
    Outrun {
        /// The file that it has replaced.
        path: PathBuf,
    },
    /// A server did not do what it was asked.
    Server {
        /// What was being done, an infinitive.
        what: &'static str,
        /// The object.
        place: PathBuf,
        /// Why not, and what to do next.
        why: String,
    },
    /// A server cannot keep two publishers apart.
    Unconditional {
        /// The repository.
        place: PathBuf,
        /// What the server does.
        fault: &'static str,
    },
    /// The demo's firmware could not be built.
    Firmware {
        /// What was missing, and what to do next.
        message: String,
    },
}

impl Environment {
    /// See [`Error::code`](crate::Error::code).
    pub fn code(&self) -> u16 {
        match self {
            Environment::Io { .. } => 301,
            Environment::Locked { .. } => 302,
            Environment::ClockBehind { .. } => 303,
            Environment::Firmware { .. } => 304,
            Environment::Fetch { .. } => 305,
            Environment::Outrun { .. } => 306,
            Environment::Server { .. } => 307,
            Environment::Unconditional { .. } => 308,
        }
    }
}

impl fmt::Display for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Environment::Io { what, path, message } => {
                write!(
                    f,
                    "cannot {what} {}: {message}; check path, permissions and free space",
                    path.display()
                )
            }
            Environment::Locked { path } => {
                write!(f, "another tuffet is at work here: {}; wait for it to end", path.display())
            }
            Environment::Outrun { path } => {
                write!(f, "another publisher was faster, and has replaced {}; run again", path.display())
            }
            Environment::Server { what, place, why } => write!(f, "cannot {what} {}: {why}", place.display()),
            Environment::Unconditional { place, fault } => write!(
                f,
                "the server of {} {fault}, so that two publishers would overwrite each other; use a server that \
                 honours conditional writes, or publish into a directory",
                place.display()
            ),
            Environment::Firmware { message } => f.write_str(message),
            Environment::Fetch { url, fault } => {
                write!(f, "cannot fetch {url}: ")?;
                match fault {
                    // These say what to do next themselves.
                    TransportFault::Timeout
                    | TransportFault::Connection
                    | TransportFault::Status { code: 300..=399 } => write!(f, "{fault}"),
                    TransportFault::Tls => f.write_str(
                        "no secure connection; check the server's certificate, its name, and this machine's clock",
                    ),
                    fault => write!(f, "{fault}; look into the server's log"),
                }
            }
            Environment::ClockBehind { issued, now } => write!(
                f,
                "the clock says {now}, and the published timestamp was issued {issued}; set the clock and run again"
            ),
        }
    }
}
