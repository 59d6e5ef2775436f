//! What is there, and whether it will do: `status` and `lint`.

use std::path::PathBuf;

use clap::Args;
use tuffet_keys::lint::Report;
use tuffet_keys::published::Subject;
use tuffet_keys::{Environment, Error, calendar, date, status as state};

use super::Output;
use super::args::Form;

#[derive(Args)]
#[command(after_help = "For example:
  tuffet-keys status public/ --names keys/ --valid-at 'in 30 days'

Signing is due at the expiry minus the signing period that the newest root states for the
role; without one, when a third of the file's life is left.

Exit status: 0 all is valid and nothing is due (a request that waits for signatures is fine),
1 something has expired, is refused or missing, or is due, 2 wrong usage, 3 the machine failed.")]
pub(crate) struct Status {
    /// Published repositories (directories), metadata files, or signing requests
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Judge at this moment: a date, or a duration from now such as 30d or `in 30 days`
    #[arg(long, value_name = "WHEN")]
    valid_at: Option<String>,

    /// Write the dates to this calendar (iCalendar); an older one is replaced
    #[arg(long, value_name = "FILE")]
    ics: Option<PathBuf>,

    /// How to show it
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

#[derive(Args)]
#[command(after_help = "For example:
  tuffet-keys lint public/ --strict

Every finding has a name, and says what to do; docs/status-and-lint.md lists them all.

Exit status: 0 no error (with --strict no warning either), 1 there is one, 2 wrong usage,
3 the machine failed.")]
pub(crate) struct Lint {
    /// Published repositories (directories), metadata files, or signing requests
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// Let warnings count as errors do
    #[arg(long)]
    strict: bool,

    /// How to show it
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

pub(super) fn status(command: &Status, now: u64, out: &mut Output) -> Result<(), Error> {
    let at = match &command.valid_at {
        Some(text) => date::when(text, now).map_err(|error| error.at("--valid-at"))?,
        None => now,
    };
    let status = state::Status::of(&read(&command.paths)?, &out.names, at);
    if let Some(path) = &command.ics {
        calendar::write(path, &calendar::render(&status, now))?;
        out.written(path);
    }
    match command.output {
        Form::Text => show(&status.to_string(), out)?,
        Form::Json => show(&String::from_utf8_lossy(&status.to_json()?), out)?,
    }
    if let (Some(path), Form::Text) = (&command.ics, command.output) {
        show(&format!("wrote {}\n", path.display()), out)?;
    }
    status.verdict()
}

pub(super) fn lint(command: &Lint, now: u64, out: &mut Output) -> Result<(), Error> {
    let report = Report::of(&read(&command.paths)?, now)?;
    match command.output {
        Form::Text => show(&report.to_string(), out)?,
        Form::Json => show(&String::from_utf8_lossy(&report.to_json()?), out)?,
    }
    report.verdict(command.strict)
}

fn read(paths: &[PathBuf]) -> Result<Vec<Subject>, Error> {
    paths.iter().map(|path| Subject::read(path)).collect()
}

/// Whoever reads may have seen enough, as `head` has; the exit status still says how it stands.
fn show(text: &str, out: &mut Output) -> Result<(), Error> {
    match out.put(text) {
        Err(Error::Environment { why: Environment::Output { closed: true, .. }, .. }) => Ok(()),
        other => other,
    }
}
