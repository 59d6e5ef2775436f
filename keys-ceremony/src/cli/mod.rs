//! What each command does.

pub(crate) mod args;
mod detached;
mod keys;
mod learn;
mod request;
mod review;
mod root;
mod runbook;
mod sign;
mod status;
mod transcript;

use std::env;
use std::io::Write;
use std::path::{Path, PathBuf};

use args::{Cli, Command, Finish, Merge};
use clap::CommandFactory as _;
use tuffet_keys::command_line::{self, Completions, Manual};
use tuffet_keys::file::{self, Access};
use tuffet_keys::key::PublicKey;
use tuffet_keys::metadata::Header;
use tuffet_keys::names::Names;
use tuffet_keys::request::Request;
use tuffet_keys::review::{Comparison, describe};
use tuffet_keys::state::State;
use tuffet_keys::transcript::Action;
use tuffet_keys::{Environment, Error, Misuse, Role, date, digest};

/// What failed, in order: one thing, or several of those that a command did with several files.
pub(crate) struct Failures(pub(crate) Vec<Error>);

impl From<Error> for Failures {
    fn from(error: Error) -> Failures {
        Failures(vec![error])
    }
}

/// Runs a command at `now`, in seconds since 1970-01-01 UTC.
pub(crate) fn run(Cli { now, state, names, command }: Cli, clock: u64) -> Result<(), Failures> {
    let now = match now {
        Some(text) => date::when(&text, clock).map_err(|error| error.at("--now"))?,
        None => clock,
    };
    let names = Names::read(&names)?;
    let mut out = Output { stream: anstream::stdout(), written: Vec::new(), names };
    let only_shows = matches!(
        command,
        Command::Show(_)
            | Command::Review(_)
            | Command::Transcript(_)
            | Command::Completions(_)
            | Command::Man(Manual { out: None })
    );
    let closed = |Failures(errors): &Failures| {
        matches!(&errors[..], [Error::Environment { why: Environment::Output { closed: true, .. }, .. }])
    };
    match perform(command, state, now, &mut out) {
        // Whoever reads has seen enough, as the `head` of `review | head` has.
        Err(failures) if only_shows && closed(&failures) => Ok(()),
        other => other,
    }
}

fn perform(command: Command, state: Option<PathBuf>, now: u64, out: &mut Output) -> Result<(), Failures> {
    match command {
        Command::Review(command) => return review::review(&command, &known(state)?, now, out),
        Command::Sign(command) => return sign::sign(&command, &known(state)?, now, out),
        Command::Generate(command) => keys::generate(&command, out),
        Command::Show(command) => keys::show(&command, out),
        Command::SmokeTest(command) => keys::smoke_test(&command, out),
        Command::ChangePassphrase(command) => keys::change_passphrase(&command, out),
        Command::Backup(command) => keys::backup(&command, out),
        Command::Restore(command) => keys::restore(&command, out),
        Command::Root(command) => root::run(&command, now, out),
        Command::Trust(command) => review::trust(&command, &known(state)?, now, out),
        Command::Learn(command) => learn::learn(&command, &known(state)?, out),
        Command::Request(command) => request::run(&command, now, out),
        Command::Payload(command) => detached::payload(&command, &known(state)?, now, out),
        Command::Attach(command) => detached::attach(&command, now, out),
        Command::Merge(command) => merge(&command, out),
        Command::Finish(command) => finish(&command, &known(state)?, now, out),
        Command::Status(command) => status::status(&command, now, out),
        Command::Lint(command) => status::lint(&command, now, out),
        Command::Transcript(command) => transcript::run(&command, out),
        Command::Completions(Completions { shell }) => {
            out.put(&command_line::completions(Cli::command(), shell))
        }
        Command::Man(command) => man(&command, out),
    }
    .map_err(Failures::from)
}

/// A keyid as it stands, or that of a public key's file.
fn named_keyid(key: &str) -> Result<String, Error> {
    let path = Path::new(key);
    if let Ok(keyid) = digest::parse(key) {
        return Ok(keyid);
    }
    // What looks like digits of a keyid is no file that somebody forgot.
    let only_digits = !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_hexdigit());
    if only_digits && !path.exists() {
        return Err(Misuse::NotAKeyid { text: key.to_owned() }.into());
    }
    Ok(PublicKey::read(path)?.keyid().to_owned())
}

fn merge(Merge { requests, out: path }: &Merge, out: &mut Output) -> Result<(), Error> {
    // clap makes sure that there is one.
    let Some((first, others)) = requests.split_first() else { return Ok(()) };
    if !requests.contains(path) {
        refuse_existing(path)?;
    }
    let mut merged = Request::read(first)?;
    for other in others {
        merged.merge(&Request::read(other)?).map_err(|error| error.in_file(other))?;
    }
    write_copy(&mut merged, path, requests.contains(path), out)?;
    progress(&merged, out)?;
    out.put(&format!("wrote {}\n", path.display()))
}

fn finish(
    Finish { request: path, out: target, recording }: &Finish,
    state: &State,
    now: u64,
    out: &mut Output,
) -> Result<(), Error> {
    let request = Request::read(path)?;
    request.header().check_issued(now).map_err(|error| error.in_file(path))?;
    let finished = request.finish(now).map_err(|error| error.in_file(path))?;
    check_name(&request, target)?;
    refuse_existing(target)?;
    recording.check(&request, Some(target))?;
    let known = state.repository(&request.repository())?;
    if let Some(repository) = &known {
        // What this holder knows to be stale is not written first and refused then.
        repository.check(&request).map_err(|error| error.in_file(path))?;
    }
    let recorded = recording.append(&request, [Action::Finish], now, out)?;
    file::create(target, &finished, Access::Shared)?;
    out.written(target);
    out.put(&format!("wrote {}: {}, {} bytes\n", target.display(), request.title(), finished.len()))?;
    out.put(&recorded)?;
    // For a holder it is what the next request is compared with. Whoever only collects signatures knows no repository.
    match known {
        Some(mut repository) => {
            for root in request.chain().files() {
                repository.learn(&Role::Root, root)?;
            }
            repository.learn_finished(&request, &finished)
        }
        None => Ok(()),
    }
}

/// A name of another version or role would be published as that. One without a number says nothing, and is free.
fn check_name(request: &Request, target: &Path) -> Result<(), Error> {
    let Header { role, version, .. } = request.header();
    let stem = target.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".json"));
    let parts = stem.and_then(|stem| stem.split_once('.'));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match parts.filter(|(number, _)| is_number(number)) {
        Some((number, of)) if number != version.to_string() || of != role.file_stem() => {
            let (what, name) = (request.title(), format!("{version}.{}.json", role.file_stem()));
            Err(Error::from(Misuse::OtherName { what, name }).in_file(target))
        }
        _ => Ok(()),
    }
}

fn man(Manual { out: directory }: &Manual, out: &mut Output) -> Result<(), Error> {
    let Some(directory) = directory else {
        // The program's own page.
        return command_line::pages(Cli::command())?.first().map_or(Ok(()), |page| out.put(&page.text));
    };
    let pages = command_line::write_pages(Cli::command(), directory)?;
    out.written(directory);
    out.put(&format!("wrote {} pages into {}\n", pages.len(), directory.display()))
}

/// What this holder has verified, in the directory that was named or the one that is usual.
fn known(directory: Option<PathBuf>) -> Result<State, Error> {
    let usual = || {
        let home = |name, rest: &str| {
            env::var_os(name).filter(|path| !path.is_empty()).map(|path| Path::new(&path).join(rest))
        };
        home("XDG_STATE_HOME", "tuffet-keys").or_else(|| home("HOME", ".local/state/tuffet-keys"))
    };
    let directory = directory.or_else(usual);
    directory.map(State::at).ok_or_else(|| Environment::NoVariable { name: "HOME".to_owned() }.into())
}

fn progress(request: &Request, out: &mut Output) -> Result<(), Error> {
    let lines: Vec<String> =
        request.state().iter().map(|progress| progress.in_words(&out.names) + "\n").collect();
    out.put(&lines.concat())
}

/// Writes a request in the place of the copy that it was read from, or as a new file.
fn write_copy(request: &mut Request, path: &Path, in_place: bool, out: &mut Output) -> Result<(), Error> {
    if in_place {
        request.write_over(path)?;
    } else {
        request.create(path)?;
    }
    out.written(path);
    Ok(())
}

fn refuse_existing(path: &Path) -> Result<(), Error> {
    match path.symlink_metadata() {
        Ok(_) => Err(Error::from(Misuse::FileExists).in_file(path)),
        Err(_) => Ok(()),
    }
}

/// Standard output, whose failures are errors like any other: what cannot be shown is not signed.
struct Output {
    stream: anstream::Stdout,
    /// Files that exist by now, so that a failure can name them.
    written: Vec<String>,
    /// What keys are called in it.
    names: Names,
}

impl Output {
    fn written(&mut self, path: &Path) {
        self.written.push(path.display().to_string());
    }

    /// What a request signs.
    fn describe(&mut self, request: &Request, compared: Option<&Comparison>, now: u64) -> Result<(), Error> {
        let text = describe(request, compared, &self.names, now).to_string();
        self.put(&text)
    }

    fn put(&mut self, text: &str) -> Result<(), Error> {
        self.stream
            .write_all(text.as_bytes())
            .and_then(|()| self.stream.flush())
            .map_err(|error| Error::output(&error, &self.written))
    }
}
