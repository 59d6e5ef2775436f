//! A release team's work on a workspace: through the binary, and with the power cut in between.

mod bundle;
mod crash;
mod dates;
mod delegated;
mod gc;
mod init;
mod lists;
mod look;
mod memory;
mod origin;
mod preflight;
mod provision;
mod refusals;
mod release;
mod releases;
mod server;
mod state;
mod support;
mod targets;
mod token;
