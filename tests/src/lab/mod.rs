//! The power-cut laboratory: a device whose flash loses its power within any operation of an update, and again while it
//! recovers, and an oracle that reads what is left.
//!
//! Agent and bootloader are the real ones, together: [`decide_boot`](tuffet_agent::boot::decide_boot) starts an image,
//! which calls `started` and `check` of an [`Agent`](tuffet_agent::Agent), over a repository that is verified for real.
//! What is judged is read from the flash's bytes by [`raw`], and never the agent's own word.
//!
//! The hand-over to bootloaders of others is tried by itself, in [`handovers`].

pub mod device;
pub mod handovers;
pub mod mcuboot_model;
pub mod nor;
pub mod raw;
pub mod sweep;
pub mod world;

#[cfg(feature = "seeded-bugs")]
pub mod bugs;
