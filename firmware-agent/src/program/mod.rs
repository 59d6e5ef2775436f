//! The program: a Linux device's agent, and a simulated device.

pub(crate) mod cli;

mod child;
mod commands;
mod config;
mod daemon;
mod device;
mod failure;
mod files;
mod hook;
mod log;
mod pages;
mod policy;
mod report;
mod signals;
mod simulated;
mod storage;
mod units;
mod windows;

use std::fs;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use cli::{Cli, Command};
use config::Config;
pub(crate) use failure::Failure;
use log::Reader;

/// Does what the command line says, and gives what goes to standard output.
pub(crate) fn run(cli: &Cli) -> Result<String, Failure> {
    let command = match (&cli.command, cli.once) {
        (Some(command), false) => command,
        (None, true) => &Command::Once,
        (Some(_), true) => {
            return Err(Failure::usage("A529", "--once is a command, and so there are two".to_owned()));
        }
        (None, false) => {
            return Err(Failure::usage(
                "A529",
                "what is to be done? `tuffet-agent --help` lists the commands".to_owned(),
            ));
        }
    };
    let reader = if matches!(command, Command::Run) { Reader::Daemon } else { Reader::Person };
    log::start(cli.log, cli.verbose, reader);
    match command {
        Command::Completions { shell } => return Ok(pages::completions(*shell)),
        Command::Man { out } => return pages::write(out.as_deref()),
        _ => {}
    }
    let Some(path) = cli.config() else { return simulated::run(&cli.simulated, command) };
    let config = Config::load(&path)?;
    match command {
        Command::Run => daemon::run(&config).map(|()| String::new()),
        Command::Once => commands::once(&config, None),
        Command::Bundle { file } => commands::once(&config, Some(file)),
        Command::Status { output } => commands::status(&config, *output),
        Command::BootDecision { output } => commands::boot_decision(&config, *output),
        Command::Provision(arguments) => commands::provision(&config, arguments),
        Command::Boot { .. } | Command::Completions { .. } | Command::Man { .. } => {
            let line =
                "a Linux device is started by its own bootloader; boot is for a simulated one, with --flash";
            Err(Failure::usage("A526", line.to_owned()))
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::file(path, &error))
}

/// Seconds since 1970. A clock that stands before that is none.
#[expect(clippy::disallowed_methods, reason = "the edge of the binary: the present enters here")]
fn clock() -> Option<u64> {
    SystemTime::now().duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}
