//! The demo, and what it is made of: the firmware it ships and the mirror it ships it by.

pub mod firmware;
pub mod mirror;
