//! What each command does: read the arguments, call the library, say what happened.

pub(crate) mod args;
pub(crate) mod bundle;
mod demo;
mod init;
mod look;
mod publish;
mod release;

use core::fmt::Display;
use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::sync::Arc;

use clap::CommandFactory as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tuffet::bundle::BundleFile;
use tuffet::repository::{Workspace, root_sha256};
use tuffet::staging::{self, Draft, Mode};
use tuffet::{Error, Misuse, provision, source, verify};
use tuffet_agent::http::HttpOptions;
use tuffet_client::limits::DEVICE;
use tuffet_client::time::Date;
use tuffet_keys::command_line::{self, Completions, Manual};
use tuffet_keys::{Role, date};

use args::{Cli, Command, Output};

/// Runs a command at the moment that `clock` tells, in seconds since 1970-01-01 UTC.
pub(crate) fn run(Cli { repo, output, now, command }: Cli, clock: fn() -> u64) -> Result<(), Error> {
    let start = clock();
    let now = match now {
        Some(text) => date::when(&text, start).map_err(|error| error.at("--now"))?,
        None => start,
    };
    // The present of a command that stays moves on, wherever it began.
    let present = || now.saturating_add(clock().saturating_sub(start));
    // So that files are shown as `staged/x`, not `./staged/x`.
    let repo = repo.strip_prefix(".").map(Path::to_owned).unwrap_or(repo);
    let facts = match command {
        Command::Init(command) => init::init(&repo, &command, now)?,
        Command::Root(args::Root::Add(command)) => root_add(&repo, &command, now)?,
        Command::Release(command) => release::run(&repo, &command, now)?,
        Command::Halt(command) => publish::halt(&repo, &command, now)?,
        Command::Renew(command) => renew(&repo, &command, now)?,
        Command::Discard(command) => discard(&repo, &command)?,
        Command::Publish(command) => publish::publish(&repo, &command, now)?,
        Command::Refresh(command) => publish::refresh(&repo, &command, output, &present)?,
        Command::Gc(command) => publish::gc(&repo, &command, now)?,
        Command::Verify(command) => verify(&repo, &command, now)?,
        Command::Bundle(command) => bundle::run(&repo, &command, now)?,
        Command::Status(command) => return look::status::run(&repo, &command, output, now),
        Command::Diff(command) => return look::diff::run(&repo, &command, output, now),
        Command::Inspect(command) => return look::inspect::run(&command, output, now),
        Command::WhichRelease(command) => return look::device::run(&repo, &command, output, now),
        Command::Provision(command) => provision(&repo, &command, now)?,
        Command::Demo(command) => demo::run(&command, output, now)?,
        Command::Completions(Completions { shell }) => {
            text("script", &command_line::completions(Cli::command(), shell))
        }
        Command::Man(command) => man(&command)?,
    };
    facts.print(output)
}

/// What a command has to say, for people and for programs.
struct Facts {
    lines: Vec<String>,
    json: Value,
}

impl Facts {
    fn print(&self, output: Output) -> Result<(), Error> {
        let text = match output {
            Output::Text => self.lines.iter().map(|line| format!("{line}\n")).collect(),
            Output::Json => format!("{}\n", self.json),
        };
        let mut out = anstream::stdout();
        match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
            // Whoever listened, `head` or `grep -q`, has heard enough; and what was to be done is done.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            written => written.map_err(|error| {
                tuffet_keys::Error::io("write", Path::new("standard output"), &error).into()
            }),
        }
    }
}

/// The program's own page, or all of them in files.
fn man(Manual { out }: &Manual) -> Result<Facts, Error> {
    let Some(directory) = out else {
        let pages = command_line::pages(Cli::command())?;
        return Ok(text("page", pages.first().map_or("", |page| &page.text)));
    };
    let files = command_line::write_pages(Cli::command(), directory)?;
    let lines = vec![format!("wrote {} pages into {}", files.len(), shown(directory))];
    Ok(Facts { lines, json: json!({ "files": files }) })
}

/// A text that is all that there is to say; `name` is its member in JSON.
fn text(name: &str, text: &str) -> Facts {
    Facts { lines: text.lines().map(str::to_owned).collect(), json: json!({ name: text }) }
}

fn root_add(repo: &Path, command: &args::RootAdd, now: u64) -> Result<Facts, Error> {
    let workspace = Workspace::open(repo)?;
    let staged = staging::add_root(&workspace, &command.file, now, mode(&command.dry_run))?;
    let version = staged.version;
    let mut lines = vec![match (staged.known, command.dry_run.dry_run) {
        (true, _) => format!("root {version} is here already"),
        (false, true) => format!("would stage root {version}; the next publication would make it public"),
        (false, false) => format!("staged root {version}; the next `tuffet publish` makes it public"),
    }];
    if !staged.drafts.is_empty() {
        lines.push("it changes who signs targets, so they are drafted anew".to_owned());
        lines.extend(release::next_lines(&staged.drafts, now));
    }
    let (known, drafts, dry_run) = (staged.known, drafts_json(&staged.drafts), command.dry_run.dry_run);
    let json = json!({ "version": version, "known": known, "drafts": drafts, "dry_run": dry_run });
    Ok(Facts { lines, json })
}

fn renew(repo: &Path, command: &args::Renew, now: u64) -> Result<Facts, Error> {
    let workspace = Workspace::open(repo)?;
    let staging::Renewed { drafts, later } =
        staging::renew(&workspace, &roles(&command.roles)?, now, mode(&command.dry_run))?;
    let mut lines = release::next_lines(&drafts, now);
    for role in &later {
        lines.push(format!(
            "then: `tuffet renew` again for {role}, whose keys the metadata above it must name first"
        ));
    }
    if drafts.is_empty() && later.is_empty() {
        lines.push("nothing is due; name a role to draft it all the same, such as targets".to_owned());
    }
    let later: Vec<_> = later.iter().map(Role::name).collect();
    let json = json!({ "drafts": drafts_json(&drafts), "later": later, "dry_run": command.dry_run.dry_run });
    Ok(Facts { lines, json })
}

fn discard(repo: &Path, command: &args::Discard) -> Result<Facts, Error> {
    let workspace = Workspace::open(repo)?;
    let gone = staging::discard(&workspace, &roles(&command.roles)?, mode(&command.dry_run))?;
    let verb = if command.dry_run.dry_run { "would throw away" } else { "threw away" };
    let mut lines: Vec<String> =
        gone.iter().map(|role| format!("{verb} the staged request of {role}")).collect();
    if lines.is_empty() {
        lines.push("nothing is staged".to_owned());
    }
    let roles: Vec<_> = gone.iter().map(Role::name).collect();
    Ok(Facts { lines, json: json!({ "roles": roles, "dry_run": command.dry_run.dry_run }) })
}

fn roles(names: &[String]) -> Result<Vec<Role>, Error> {
    let role = |name: &String| {
        let known = || vec!["targets and delegated roles".to_owned()];
        Role::named(name).ok_or_else(|| Misuse::UnknownRole { role: name.clone(), known: known() }.into())
    };
    names.iter().map(role).collect()
}

fn verify(repo: &Path, command: &args::Verify, now: u64) -> Result<Facts, Error> {
    let root = match &command.root {
        Some(path) => tuffet_keys::file::read(path)?,
        // What lies beside the files that are to be verified says nothing about them.
        None => match Workspace::open(repo) {
            Ok(workspace) => workspace.first_root()?,
            Err(Error::Misuse(Misuse::NoWorkspace { .. })) => {
                let why = "there is no workspace here whose root 1 to trust, so --root must be given";
                return Err(Misuse::Options { why }.into());
            }
            Err(error) => return Err(error),
        },
    };
    if let Some(place) = command.repository.as_ref().filter(|place| Path::new(place).is_file()) {
        let mut bundle = BundleFile::open(Path::new(place))?;
        let report = tuffet::bundle::replay(&mut bundle, &root, now)?;
        return verified(place, &root, &mut bundle, &report);
    }
    let (place, mut source) = repository(repo, command)?;
    let report = verify::replay(source.as_mut(), &root, &DEVICE, now)?;
    verified(&place, &root, source.as_mut(), &report)
}

/// Hashes the images, and says what devices found.
fn verified(
    place: &str,
    root: &[u8],
    source: &mut dyn source::Source,
    report: &verify::Report,
) -> Result<Facts, Error> {
    let total = report.targets.iter().map(|(_, target)| u64::from(target.length)).sum();
    let bar = progress_bar(total);
    let bytes = verify::hash_targets(source, &report.targets, &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let bytes = bytes?;

    let (trusted, sha256) = (report.first_root, root_sha256(root)?);
    let mut lines = vec![format!("{place}: devices accept it"), digest_line(trusted, &sha256)];
    for (role, version, expires) in &report.roles {
        lines.push(format!("{role} {version}, good until {}", Date(*expires)));
    }
    let mut releases = Vec::new();
    for release in &report.releases {
        let verify::Release { channel, sequence, version, not_before, halted } = release;
        let mut when = not_before.map(|turn| format!(", from {} on", Date(turn))).unwrap_or_default();
        when.push_str(if *halted { ", halted" } else { "" });
        lines.push(format!("{channel}: release {sequence}, version {version}{when}"));
        releases.push(json!({ "channel": channel.to_string(), "sequence": sequence, "version": version,
                              "halted": halted,
                              "not_before": not_before.map(|turn| Date(turn).to_string()) }));
    }
    lines.push(format!("{} files, {bytes} bytes, each as signed", report.targets.len()));
    let roles = report.roles.iter().map(|(role, version, expires)| {
        (role.name().to_owned(), json!({ "version": version, "expires": Date(*expires).to_string() }))
    });
    let roles: serde_json::Map<String, Value> = roles.collect();
    let files = report.targets.len();
    let json = json!({
        "repository": place,
        "trusted_root": { "version": trusted, "sha256": sha256 },
        "roles": roles,
        "releases": releases,
        "files": files,
        "bytes": bytes,
    });
    Ok(Facts { lines, json })
}

fn provision(repo: &Path, command: &args::Provision, now: u64) -> Result<Facts, Error> {
    let workspace = Workspace::open(repo)?;
    let order = provision::Order {
        place: command.place.wanted(),
        counter: command.counter,
        image: command.image.as_ref().map(|path| provision::FirstImage {
            path: path.clone(),
            version: command.version.clone(),
            sequence: command.sequence,
        }),
        flash_map: command.flash_map.clone(),
    };
    let provision::Report { channel, root, root_sha256, root_1_sha256, built, image, files } =
        provision::write(&workspace, &order, &command.out, now, mode(&command.dry_run))?;
    let verb = if command.dry_run.dry_run { "would write" } else { "wrote" };
    let mut lines: Vec<String> = files.iter().map(|file| format!("{verb} {}", file.display())).collect();
    lines.push(format!(
        "devices of {channel} that trust root {root} and know that it is later than {}",
        Date(built)
    ));
    lines.push(digest_line(root, &root_sha256));
    if root > 1 {
        lines.push(digest_line(1, &root_1_sha256));
    }
    match &image {
        Some((sequence, version)) => {
            lines.push(format!("slot A holds version {version}, sequence {sequence}"))
        }
        None => {
            lines.push("next: build the firmware with factory.rs, and run this again with --image".to_owned())
        }
    }
    let json = json!({
        "files": files,
        "root": root,
        "root_sha256": root_sha256,
        "root_1_sha256": root_1_sha256,
        "built": Date(built).to_string(),
        "image": image.map(|(sequence, version)| json!({ "sequence": sequence, "version": version })),
    });
    Ok(Facts { lines, json })
}

/// What is to be verified, and what to call it.
fn repository(repo: &Path, command: &args::Verify) -> Result<(String, Box<dyn source::Source>), Error> {
    let danger_allow_plain_http = command.danger_allow_plain_http;
    let Some(place) = &command.repository else {
        let workspace = Workspace::open(repo)?;
        let place = workspace.public().display().to_string();
        return Ok((place, Box::new(Arc::clone(workspace.store()))));
    };
    let options = HttpOptions { danger_allow_plain_http, ..HttpOptions::default() };
    Ok((place.clone(), source::open(place, options)?))
}

/// A root's digest as `tuffet-keys` shows it to those who sign: people compare groups.
fn digest_line(version: u32, sha256: &str) -> String {
    let mut line = format!("root {version} is sha256");
    for (index, digit) in sha256.chars().enumerate() {
        if index % 8 == 0 {
            line.push(' ');
        }
        line.push(digit);
    }
    line
}

/// A directory's name; the current one has none.
fn shown(directory: &Path) -> impl Display {
    let here = directory.as_os_str().is_empty();
    if here { Path::new("this directory").display() } else { directory.display() }
}

/// Shown on standard error while bytes are hashed, on a terminal only.
fn progress_bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("hashing {bar:30} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn mode(args::DryRun { dry_run }: &args::DryRun) -> Mode {
    if *dry_run { Mode::DryRun } else { Mode::Write }
}

fn draft_lines(draft: &Draft, now: u64) -> Vec<String> {
    let Draft { role, path, version, expires, threshold, dropped_signatures } = draft;
    let plural = if *threshold == 1 { "signature" } else { "signatures" };
    let mut lines = vec![format!(
        "{role} {version}, drafted {} and good until {}, waits for {threshold} {plural} in {}",
        Date(now),
        Date(*expires),
        path.display()
    )];
    if *dropped_signatures > 0 {
        lines.push(format!(
            "{dropped_signatures} signatures of the draft before are void: these are other bytes"
        ));
    }
    lines
}

fn drafts_json(drafts: &[Draft]) -> Vec<Value> {
    let json = |draft: &Draft| {
        let Draft { role, path, version, expires, threshold, dropped_signatures } = draft;
        json!({
            "role": role.name(),
            "request": path,
            "version": version,
            "expires": Date(*expires).to_string(),
            "threshold": threshold,
            "dropped_signatures": dropped_signatures,
        })
    };
    drafts.iter().map(json).collect()
}
