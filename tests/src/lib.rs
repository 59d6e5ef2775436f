//! Support library of the cross-crate suites.
//!
//! Every fault test starts from a repository that is accepted, changes one thing, and names the exact error.

pub mod expect;
pub mod fuzz;
pub mod lab;
pub mod page;
pub mod simulator;
pub mod subject;
