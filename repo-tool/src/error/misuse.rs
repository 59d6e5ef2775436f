//! What makes no sense.

use core::fmt;
use std::path::PathBuf;

/// The caller asked for something that makes no sense.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Misuse {
    /// There is no `tuffet.toml`.
    NoWorkspace {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// `tuffet init` where a workspace is.
    WorkspaceExists {
        /// The file that is in the way.
        path: PathBuf,
    },
    /// A name that no target path can hold.
    BadName {
        /// What it should name: "product", "channel".
        what: &'static str,
        /// What was given.
        text: String,
        /// What is allowed.
        allowed: &'static str,
    },
    /// A rollout that does not end after it starts, or ends before now.
    BadRollout {
        /// What is wrong with it.
        why: &'static str,
    },
    /// Options that cannot go together.
    Options {
        /// Why.
        why: &'static str,
    },
    /// Several products have this hardware id.
    WhichProduct {
        /// The id.
        hardware: String,
        /// The products.
        products: String,
    },
    /// No such role can be meant here.
    UnknownRole {
        /// The name.
        role: String,
        /// The roles that can.
        known: Vec<String>,
    },
    /// A repository's address that no transport takes.
    Address {
        /// The address.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Several releases have this version.
    WhichRelease {
        /// The version.
        version: String,
        /// The sequences of two of them.
        sequences: [u32; 2],
    },
}

impl Misuse {
    /// See [`Error::code`](crate::Error::code).
    pub fn code(&self) -> u16 {
        match self {
            Misuse::NoWorkspace { .. } => 201,
            Misuse::WorkspaceExists { .. } => 202,
            Misuse::BadName { .. } => 203,
            Misuse::BadRollout { .. } => 204,
            Misuse::Options { .. } => 205,
            Misuse::Address { .. } => 206,
            Misuse::WhichProduct { .. } => 207,
            Misuse::UnknownRole { .. } => 208,
            Misuse::WhichRelease { .. } => 209,
        }
    }
}

impl fmt::Display for Misuse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Misuse::NoWorkspace { path } => write!(
                f,
                "there is no {}; name the repository with --repo, or make one with `tuffet init`",
                path.display()
            ),
            Misuse::Address { url, why } => write!(f, "{url} {why}"),
            Misuse::WorkspaceExists { path } => {
                write!(
                    f,
                    "the file exists and is not overwritten: {}; choose another directory",
                    path.display()
                )
            }
            Misuse::BadName { what, text, allowed } => {
                write!(f, "`{}` cannot be a {what}; use {allowed}", text.escape_debug())
            }
            Misuse::BadRollout { why } => {
                write!(f, "{why}; give an end after now and after the start")
            }
            Misuse::WhichProduct { hardware, products } => {
                write!(f, "{products} have hardware {hardware}; say which with --product")
            }
            Misuse::UnknownRole { role, known } => {
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                write!(f, "there is no role {role} here (there is: {known}); correct it")
            }
            Misuse::WhichRelease { version, sequences: [one, other] } => {
                write!(f, "release {one} and release {other} are version {version}; say which, as '#{one}'")
            }
            Misuse::Options { why } => write!(f, "{why}; see --help"),
        }
    }
}
