//! The release team's tool as a library; the binary `tuffet` is its command line.

pub mod demo;
