//! What a key holder needs: keys, signing requests, review, signatures. No network code.
//!
//! A ceremony is a file that travels. [`root::Draft`] (or a release tool) makes the `signed` part of
//! a metadata file, [`request::Request`] carries the exact bytes to sign from holder to holder,
//! [`review::describe`] shows each of them what those bytes say, [`key::SigningKey`] signs, and
//! [`request::Request::finish`] gives the published file once the thresholds are met.
//!
//! Nothing here reads the clock: the present is a parameter, in seconds since 1970-01-01 UTC.

pub mod calendar;
pub mod canonical;
pub mod command_line;
pub mod date;
pub mod delegation;
mod detached;
pub mod digest;
mod encoding;
pub mod error;
pub mod file;
pub mod key;
pub mod lint;
pub mod metadata;
pub mod names;
pub mod passphrase;
mod preflight;
pub mod published;
pub mod request;
pub mod review;
pub mod root;
pub mod signed;
pub mod state;
pub mod status;
pub mod text;
pub mod transcript;
pub mod uri;

pub use error::{Environment, Error, Misuse, Rejected};
pub use metadata::Role;
