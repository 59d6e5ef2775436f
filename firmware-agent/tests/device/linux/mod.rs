//! The program on a Linux device, as a person and an init system run it.

mod commands;
mod config;
mod daemon;
mod hook;
mod setup;
