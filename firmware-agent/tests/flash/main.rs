//! Records, boot decisions and slots on a flash that keeps its contract to the letter and loses
//! its power at every operation.

mod boot;
mod journal;
mod nor;
mod slot;
