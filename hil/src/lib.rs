//! Real firmware on emulated boards: the host's side.

pub mod gateway;
pub mod gdb;
