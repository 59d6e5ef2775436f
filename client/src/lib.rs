//! The one TUF verifier of Tuffet: `no_std`, no alloc, no I/O, no clock.
#![no_std]
