//! Records, slots, boot decisions and the whole agent, on a flash that keeps its contract to the letter and
//! loses its power at every operation.

mod agent;
mod boot;
mod bundle;
#[cfg(feature = "std")]
mod cli;
mod journal;
mod nor;
mod repository;
mod slot;
