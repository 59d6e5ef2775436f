//! What the applications of the emulated boards share.
//!
//! * [`stamp`] is what makes one image differ from the next: version, root, and how it behaves.
//! * [`product`] is the lamp around the agent, and its main loop; a board brings what [`Board`] asks for, a flash, a
//!   hand-over and a transport.
//! * [`http`] is a file over HTTP/1.1, without I/O, for boards with a network.
#![no_std]

pub mod http;
pub mod product;
pub mod stamp;

pub use product::{Board, Device, ram};
pub use stamp::{Behaviour, Stamp};
