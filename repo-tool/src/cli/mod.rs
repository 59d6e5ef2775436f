//! What each command does: read the arguments, call the library, say what happened.

pub(crate) mod args;
mod demo;

use core::fmt::Display;
use std::ffi::OsString;
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::CommandFactory as _;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};
use tuffet::config::{Config, Hardware, Lifetimes};
use tuffet::publish::{self, Keys, Summary};
use tuffet::repository::{Workspace, root_sha256};
use tuffet::staging::{self, Draft, Mode, Ramp};
use tuffet::storage::Unwatched;
use tuffet::{Error, Misuse, provision, verify};
use tuffet_agent::http::HttpOptions;
use tuffet_client::time::Date;
use tuffet_keys::command_line::{self, Completions, Manual};
use tuffet_keys::date;
use tuffet_keys::key::SigningKey;
use tuffet_keys::root::Chain;
use tuffet_keys::uri::KeyUri;

use args::{Cli, Command, Output};

/// Runs a command at `clock`, in seconds since 1970-01-01 UTC.
pub(crate) fn run(Cli { repo, output, now, command }: Cli, clock: u64) -> Result<(), Error> {
    let now = match now {
        Some(text) => date::when(&text, clock).map_err(|error| error.at("--now"))?,
        None => clock,
    };
    // So that files are shown as `staged/x`, not `./staged/x`.
    let repo = repo.strip_prefix(".").map(Path::to_owned).unwrap_or(repo);
    let facts = match command {
        Command::Init(command) => init(&repo, &command, now)?,
        Command::Root(args::Root::Add(command)) => root_add(&repo, &command, now)?,
        Command::Release(command) => release(&repo, &command, now)?,
        Command::Renew(command) => renew(&repo, &command, now)?,
        Command::Publish(command) => publish(&repo, &command, now)?,
        Command::Verify(command) => verify(&repo, &command, now)?,
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

fn init(repo: &Path, command: &args::Init, now: u64) -> Result<Facts, Error> {
    let args::Init { root, product, hardware, slot_size, flash_map, dry_run } = command;
    if hardware.len() != slot_size.len() {
        return Err(Misuse::Options { why: "each --hardware needs one --slot-size" }.into());
    }
    if !flash_map.is_empty() && flash_map.len() != hardware.len() {
        return Err(Misuse::Options { why: "give one --flash-map for each --hardware, or none" }.into());
    }
    let mut config = Config::new(product)?;
    for (index, (id, slot_size)) in hardware.iter().zip(slot_size).enumerate() {
        let flash_map = flash_map.get(index).cloned();
        config.add_hardware(id, Hardware { slot_size: *slot_size, flash_map })?;
    }
    let root = tuffet_keys::file::read(root)?;
    Workspace::check_init(repo, &root, now)?;
    config.lifetimes = lifetimes(&root)?;
    let verb = match dry_run.dry_run {
        true => "would make",
        false => Workspace::init(repo, &root, config, now).map(|_| "made")?,
    };
    let sha256 = root_sha256(&root)?;
    let mut lines =
        vec![format!("{verb} a repository of {product} in {}", shown(repo)), digest_line(1, &sha256)];
    if hardware.is_empty() {
        lines.push("next: add your hardware to tuffet.toml".to_owned());
    }
    let json = json!({
        "product": product,
        "repo": repo,
        "root_1_sha256": sha256,
        "hardware": hardware,
        "dry_run": dry_run.dry_run,
    });
    Ok(Facts { lines, json })
}

/// What the root says that its holders have signed, or the usual.
fn lifetimes(root: &[u8]) -> Result<Lifetimes, Error> {
    // Read as devices read it, who skip it: one in another form says nothing.
    let chain = Chain::verify(&[root.to_owned()])?;
    let periods = chain.last().and_then(|root| root.periods).unwrap_or_default();
    Ok(Lifetimes::of(&periods))
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
    if let Some(draft) = &staged.draft {
        lines.push("it changes who signs targets, so they are drafted anew".to_owned());
        lines.extend(draft_lines(draft, now));
    }
    let draft = staged.draft.as_ref().map(draft_json);
    let json = json!({ "version": version, "known": staged.known, "draft": draft, "dry_run": command.dry_run.dry_run });
    Ok(Facts { lines, json })
}

fn release(repo: &Path, command: &args::Release, now: u64) -> Result<Facts, Error> {
    let workspace = Workspace::open(repo)?;
    let when = |text: &String, option: &str| date::when(text, now).map_err(|error| error.at(option));
    let rollout = match &command.rollout_end {
        None => None,
        Some(end) => {
            let start = command.rollout_start.as_ref().map(|start| when(start, "--rollout-start"));
            Some(Ramp { start: start.transpose()?.unwrap_or(now), end: when(end, "--rollout-end")? })
        }
    };
    let release = staging::Release {
        image: command.image.clone(),
        hardware: command.hardware.clone(),
        channel: command.channel.clone(),
        version: command.version.clone(),
        counter: command.counter,
        minimum: command.minimum,
        rollout,
    };
    let staged = staging::release(&workspace, &release, now, mode(&command.dry_run))?;
    let staging::Staged { path, image, sequence, counter, dropped, draft } = &staged;
    let channel = format!("{}/{}/{}", workspace.config().product, release.hardware, release.channel);
    let mut lines = Vec::new();
    match draft {
        None => lines.push(format!("{path} is release {sequence} of {channel} already; nothing to do")),
        Some(draft) => {
            let verb = if command.dry_run.dry_run { "would stage" } else { "staged" };
            lines.push(format!("{verb} {path}, {} bytes, as release {sequence} of {channel}", image.length));
            if let Some(Ramp { start, end }) = rollout {
                lines.push(format!("rolled out from {} to {}", Date(start), Date(end)));
            }
            if let Some(oldest) = dropped {
                lines.push(format!("release {oldest} left the list: it holds the newest eight"));
            }
            lines.extend(draft_lines(draft, now));
        }
    }
    let json = json!({
        "path": path,
        "sha256": image.sha256,
        "length": image.length,
        "channel": channel,
        "sequence": sequence,
        "counter": counter,
        "dropped": dropped,
        "draft": draft.as_ref().map(draft_json),
        "dry_run": command.dry_run.dry_run,
    });
    Ok(Facts { lines, json })
}

fn renew(repo: &Path, command: &args::Renew, now: u64) -> Result<Facts, Error> {
    let workspace = Workspace::open(repo)?;
    let draft = staging::renew(&workspace, now, mode(&command.dry_run))?;
    let json = json!({ "draft": draft_json(&draft), "dry_run": command.dry_run.dry_run });
    Ok(Facts { lines: draft_lines(&draft, now), json })
}

fn publish(repo: &Path, command: &args::Publish, now: u64) -> Result<Facts, Error> {
    let workspace = Workspace::open(repo)?;
    let keys = read_keys(command)?;
    let plan = publish::plan(&workspace, &keys, now)?;
    let dry_run = command.dry_run.dry_run;
    let (verb, summary) = match dry_run {
        true => ("would publish", plan.summary().clone()),
        false => ("published", plan.apply(&mut Unwatched)?),
    };
    let Summary { roots, targets, snapshot, timestamp, targets_expire, files } = &summary;
    let mut lines: Vec<String> = roots.iter().map(|version| format!("{verb} root {version}")).collect();
    let roles = [("targets", *targets), ("snapshot", *snapshot), ("timestamp", Some(*timestamp))];
    for (role, published) in roles {
        if let Some((version, expires)) = published {
            lines.push(format!("{verb} {role} {version}, good until {}", Date(expires)));
        }
    }
    lines.push(format!("run `tuffet publish` again before {}, or devices stop here", Date(timestamp.1)));
    if *targets_expire < now + TARGETS_WARNING {
        let until = Date(*targets_expire);
        lines.push(format!("targets are good until {until} only: `tuffet renew`, and have them signed"));
    }
    let role = |published: Option<(u32, u64)>| {
        published
            .map(|(version, expires)| json!({ "version": version, "expires": Date(expires).to_string() }))
    };
    let json = json!({
        "roots": roots,
        "targets": role(*targets),
        "snapshot": role(*snapshot),
        "timestamp": role(Some(*timestamp)),
        "targets_expire": Date(*targets_expire).to_string(),
        "files": files,
        "dry_run": dry_run,
    });
    Ok(Facts { lines, json })
}

/// Seconds before their expiry from which on targets are spoken of: a month, for key holders must meet.
const TARGETS_WARNING: u64 = 30 * 24 * 60 * 60;

/// Each key once, so that nobody types a passphrase or PIN twice.
fn read_keys(command: &args::Publish) -> Result<Keys, Error> {
    let mut source = command.source();
    let mut known: Vec<(KeyUri, Arc<SigningKey>)> = Vec::new();
    let mut read = |texts: &[OsString]| {
        let mut keys = Vec::new();
        for text in texts {
            let uri = KeyUri::parse(text)?;
            let key = match known.iter().find(|(other, _)| *other == uri) {
                Some((_, key)) => Arc::clone(key),
                None if command.danger_unencrypted => {
                    Arc::new(SigningKey::open_danger_unencrypted(&uri, &mut source)?)
                }
                None => Arc::new(SigningKey::open(&uri, &mut source)?),
            };
            known.push((uri, Arc::clone(&key)));
            keys.push(key);
        }
        Ok::<_, Error>(keys)
    };
    Ok(Keys { snapshot: read(&command.snapshot_key)?, timestamp: read(&command.timestamp_key)? })
}

fn verify(repo: &Path, command: &args::Verify, now: u64) -> Result<Facts, Error> {
    let place = match &command.repository {
        Some(place) => place.clone(),
        None => Workspace::open(repo)?.public().display().to_string(),
    };
    let is_url = place.contains("://");
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
    let mut source: Box<dyn verify::Source> = if is_url {
        let danger_allow_plain_http = command.danger_allow_plain_http;
        Box::new(verify::Server::new(
            &place,
            HttpOptions { danger_allow_plain_http, ..HttpOptions::default() },
        )?)
    } else {
        Box::new(verify::Directory(PathBuf::from(&place)))
    };
    let source = source.as_mut();
    let report = verify::replay(source, &root, now)?;
    let total = report.targets.iter().map(|(_, target)| u64::from(target.length)).sum();
    let bar = progress_bar(total);
    let bytes = verify::hash_targets(source, &report.targets, &mut |done| bar.set_position(done));
    bar.finish_and_clear();
    let bytes = bytes?;

    let (trusted, sha256) = (report.first_root, root_sha256(&root)?);
    let mut lines = vec![format!("{place}: devices accept it"), digest_line(trusted, &sha256)];
    for (role, version, expires) in &report.roles {
        lines.push(format!("{role} {version}, good until {}", Date(*expires)));
    }
    let mut releases = Vec::new();
    for release in &report.releases {
        let verify::Release { channel, sequence, version, not_before } = release;
        let when = not_before.map(|turn| format!(", from {} on", Date(turn))).unwrap_or_default();
        lines.push(format!("{channel}: release {sequence}, version {version}{when}"));
        releases.push(json!({ "channel": channel, "sequence": sequence, "version": version,
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
        hardware: command.hardware.clone(),
        channel: command.channel.clone(),
        counter: command.counter,
        image: command.image.as_ref().map(|path| provision::FirstImage {
            path: path.clone(),
            version: command.version.clone(),
            sequence: command.sequence,
        }),
        flash_map: command.flash_map.clone(),
    };
    let provision::Report { root, root_sha256, root_1_sha256, built, image, files } =
        provision::write(&workspace, &order, &command.out, now)?;
    let mut lines: Vec<String> = files.iter().map(|file| format!("wrote {}", file.display())).collect();
    let channel = format!("{}/{}/{}", workspace.config().product, order.hardware, order.channel);
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
    let Draft { path, version, expires, threshold, dropped_signatures } = draft;
    let mut lines = vec![format!(
        "targets {version}, drafted {} and good until {}, wait for {threshold} signatures in {}",
        Date(now),
        Date(*expires),
        path.display()
    )];
    let sign = format!("next: each holder runs `tuffet-keys sign {}`, then `tuffet publish`", path.display());
    lines.push(sign);
    if *dropped_signatures > 0 {
        lines.push(format!(
            "{dropped_signatures} signatures of the draft before are void: these are other bytes"
        ));
    }
    lines
}

fn draft_json(draft: &Draft) -> Value {
    let Draft { path, version, expires, threshold, dropped_signatures } = draft;
    json!({
        "request": path,
        "version": version,
        "expires": Date(*expires).to_string(),
        "threshold": threshold,
        "dropped_signatures": dropped_signatures,
    })
}
