//! The release team's tool as a library; the binary `tuffet` is its command line.
//!
//! | module | knows |
//! |---|---|
//! | [`config`] | `tuffet.toml` |
//! | [`repository`] | the workspace's layout, and what of it is published |
//! | [`document`] | what targets, snapshot and timestamp look like, and how little of them changes |
//! | [`author`] | who signs online |
//! | [`staging`] | the next metadata of each role, and the requests that ask key holders to sign them |
//! | [`release`] | releases: where one lies, and what becomes of it |
//! | [`image`] | what an image file says of itself |
//! | [`publish`] | the order of writing |
//! | [`gc`] | what of it nothing needs any more |
//! | [`storage`] | how one file is written so that a crash leaves the old or the new one |
//! | [`store`] | where a repository is published: a directory, or a bucket |
//! | [`bundle`] | all that brings a release to devices, in one file |
//! | [`provision`] | what a factory puts into a device |
//! | [`look`] | what there is, and what devices would do with it |
//! | [`source`] | where its files come from, for whoever looks at them |
//! | [`verify`] | how devices see a repository: the client, fed from a directory or a server |
//!
//! Nothing here reads the clock: the present is a parameter, in seconds since 1970-01-01 UTC.

pub mod author;
pub mod bundle;
pub mod config;
pub mod demo;
pub mod document;
mod error;
pub mod gc;
pub mod image;
pub mod look;
mod members;
mod preflight;
pub mod provision;
pub mod publish;
pub mod release;
pub mod repository;
pub mod source;
pub mod staging;
pub mod storage;
pub mod store;
pub mod verify;

pub use error::{Environment, Error, Family, Misuse, Rejected};
