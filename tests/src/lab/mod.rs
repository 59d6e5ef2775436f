//! The power-cut laboratory: a device whose flash loses its power within any operation of an update, and again while it
//! recovers, and an oracle that reads what is left.
//!
//! Agent and bootloader are the real ones, together: a [`loader`] starts an image, which drives an
//! [`Engine`](tuffet_agent::engine::Engine) turn by turn over a repository that is verified for real. Of MCUboot there is a
//! [model](mcuboot_model). What is judged is read from the flash's bytes by [`raw`], and never the agent's own word.

pub mod device;
pub mod loader;
pub mod mcuboot_model;
pub mod nor;
mod oracle;
pub mod raw;
pub mod sweep;
pub mod world;

#[cfg(feature = "seeded-bugs")]
pub mod bugs;
