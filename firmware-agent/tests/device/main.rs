//! Records, slots, boot decisions and the whole agent, on a flash that keeps its contract to the letter and
//! loses its power at every operation.

mod agent;
#[cfg(feature = "linux")]
#[path = "../authority/mod.rs"]
mod authority;
mod boot;
mod bundle;
#[cfg(feature = "linux")]
mod cli;
mod engine;
mod external;
mod handover;
mod journal;
mod kept;
#[cfg(feature = "linux")]
mod linux;
#[allow(dead_code, unreachable_pub, reason = "the power-cut laboratory uses more of it")]
#[path = "../../../tests/src/lab/nor.rs"]
mod nor;
mod repository;
mod slot;
mod trailer;
