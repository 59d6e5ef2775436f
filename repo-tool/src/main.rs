//! The command line of the release team's tool. This file alone reads the clock.

mod cli;

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anstyle::{AnsiColor, Style};
use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = cli::args::Cli::parse();
    match cli::run(arguments, clock) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let red = Style::new().bold().fg_color(Some(AnsiColor::Red.into()));
            // Nobody is left to tell when standard error is closed; the exit status still says it.
            // What it names may come from a stick or a server, and must not steer the terminal.
            let message = tuffet_keys::text::plain(&error.to_string());
            let _ = writeln!(anstream::stderr(), "{red}error[{}]{red:#}: {message}", error.label());
            ExitCode::from(error.family().exit_status())
        }
    }
}

/// Seconds since 1970-01-01 UTC; 0 on a machine whose clock stands before that.
#[expect(clippy::disallowed_methods, reason = "the edge of the binary: the present enters here")]
fn clock() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
