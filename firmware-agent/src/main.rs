//! The agent as a program: the daemon of a Linux device, and a simulated device whose flash is a file.

mod program;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match program::run(&program::cli::Cli::parse()) {
        Ok(report) => match io::stdout().write_all(report.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(3),
        },
        Err(failure) => {
            // Nobody is left to tell when standard error is closed; the exit status still says it.
            let _ = writeln!(io::stderr(), "error[{}]: {}", failure.label, failure.line);
            ExitCode::from(failure.status)
        }
    }
}
