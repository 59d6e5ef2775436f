//! Support library of the cross-crate suites.
