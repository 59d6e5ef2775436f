//! Runs a command and prints what the kernel counted for it: CPU seconds and the peak of resident KiB.
//!
//! ```text
//! measure COMMAND [ARGUMENT]...
//! ```
//!
//! The kernel's peak of a process begins with that of whoever started it, so that under Python nothing could be seen
//! to need less than Python does. This process needs 2 MiB.

use std::process::{Command, ExitCode};

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let Some(program) = words.next() else {
        eprintln!("usage: measure COMMAND [ARGUMENT]...");
        return ExitCode::from(2);
    };
    let status = match Command::new(&program).args(words).status() {
        Ok(status) => status,
        Err(error) => {
            eprintln!("{}: {error}", program.display());
            return ExitCode::from(3);
        }
    };
    let usage = getrusage(UsageWho::RUSAGE_CHILDREN).expect("the kernel counts");
    let microseconds = usage.user_time().num_microseconds() + usage.system_time().num_microseconds();
    // On stderr, after whatever the command said: its last line.
    eprintln!("{}.{:06} {}", microseconds / 1_000_000, microseconds % 1_000_000, usage.max_rss());
    if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
