//! What online keys do: publish, refresh, halt.

use core::time::Duration;
use std::ffi::OsString;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use serde_json::{Value, json};
use tuffet::publish::{self, Keys, Scope, Summary, Waiting};
use tuffet::release::list::{Filter, list};
use tuffet::repository::Workspace;
use tuffet::storage::Unwatched;
use tuffet::{Error, Family, Misuse, Rejected, gc};
use tuffet_client::release::Hex;
use tuffet_client::time::Date;
use tuffet_keys::Role;
use tuffet_keys::date;
use tuffet_keys::key::SigningKey;
use tuffet_keys::uri::KeyUri;

use super::args::Output;
use super::{Facts, args};

pub(super) fn publish(repo: &Path, command: &args::Publish, now: u64) -> Result<Facts, Error> {
    let keys = read_keys(&command.keys.snapshot_key, &command.keys.timestamp)?;
    write(repo, &keys, &Scope::Staged, command.dry_run.dry_run, now)
}

pub(super) fn refresh(
    repo: &Path,
    command: &args::Refresh,
    output: Output,
    clock: &dyn Fn() -> u64,
) -> Result<Facts, Error> {
    let every = command.every.as_ref().map(|every| {
        let start = clock();
        let end = date::when(every, start).map_err(|error| error.at("--every"))?;
        match end.saturating_sub(start) {
            0 => Err(Misuse::Options { why: "--every takes a second or more" }.into()),
            seconds => Ok::<_, Error>(Duration::from_secs(seconds)),
        }
    });
    let every = every.transpose()?;
    let keys = read_keys(&command.keys.snapshot_key, &command.keys.timestamp)?;
    let Some(every) = every else {
        return write(repo, &keys, &Scope::Refresh, command.dry_run.dry_run, clock());
    };
    loop {
        let pause = match write(repo, &keys, &Scope::Refresh, false, clock()) {
            Ok(facts) => {
                facts.print(output)?;
                every
            }
            // Nobody starts it again, so it goes on; whoever watches sees each failure, and the timestamp's expiry.
            Err(error) if error.family() != Family::Misuse => {
                let _ = writeln!(anstream::stderr(), "error[{}]: {error}", error.label());
                every.min(RETRY)
            }
            Err(error) => return Err(error),
        };
        std::thread::sleep(pause);
    }
}

/// How soon it is tried again after a failure.
const RETRY: Duration = Duration::from_secs(60);

pub(super) fn halt(repo: &Path, command: &args::Halt, now: u64) -> Result<Facts, Error> {
    let workspace = Workspace::open(repo)?;
    let digests = match &command.release {
        Some(release) => digests(&workspace, release, &command.filter)?,
        None => Vec::new(),
    };
    let scope = if command.lift { Scope::Lift(digests) } else { Scope::Halt(digests) };
    let keys = read_keys(&command.snapshot_key, &command.keys)?;
    let mut facts = write(repo, &keys, &scope, command.dry_run.dry_run, now)?;
    let halted = list(&workspace, &Filter::default())?.into_iter().filter(|row| row.halted);
    facts
        .lines
        .extend(halted.map(|row| format!("no device installs {} of {}", row.candidate.version, row.channel)));
    Ok(facts)
}

pub(super) fn gc(repo: &Path, command: &args::Gc, now: u64) -> Result<Facts, Error> {
    let dry_run = command.dry_run.dry_run;
    let sweep = gc::sweep(&Workspace::open(repo)?, now)?;
    if !dry_run {
        sweep.delete(&mut Unwatched)?;
    }
    let verb = if dry_run { "would delete" } else { "deleted" };
    let bytes: u64 = sweep.files.iter().map(|file| file.length).sum();
    let mut lines: Vec<String> = sweep.files.iter().map(|file| format!("{verb} {}", file.name)).collect();
    lines.push(format!("{verb} {} files, {bytes} bytes; {} are needed", sweep.files.len(), sweep.kept));
    let files: Vec<&str> = sweep.files.iter().map(|file| file.name.as_str()).collect();
    let json = json!({ "files": files, "bytes": bytes, "kept": sweep.kept, "dry_run": dry_run });
    Ok(Facts { lines, json })
}

/// The images of a version, or the one of a digest.
fn digests(workspace: &Workspace, release: &str, filter: &args::ReleaseList) -> Result<Vec<String>, Error> {
    let args::ReleaseList { product, hardware, channel } = filter;
    let filter = Filter { product: product.clone(), hardware: hardware.clone(), channel: channel.clone() };
    if release.len() == 64 && release.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(vec![release.to_ascii_lowercase()]);
    }
    let rows = list(workspace, &filter)?;
    let mut digests: Vec<String> = rows
        .iter()
        .filter(|row| row.candidate.version == release)
        .map(|row| Hex(&row.candidate.image.sha256).to_string())
        .collect();
    digests.sort();
    digests.dedup();
    if digests.is_empty() {
        let mut known: Vec<String> = rows.iter().map(|row| row.candidate.version.to_string()).collect();
        known.sort();
        known.dedup();
        let version = Some(release.to_owned());
        return Err(Rejected::NoRelease { channel: "the repository".to_owned(), version, known }.into());
    }
    Ok(digests)
}

fn write(repo: &Path, keys: &Keys, scope: &Scope, dry_run: bool, now: u64) -> Result<Facts, Error> {
    let workspace = Workspace::open(repo)?;
    let plan = publish::plan(&workspace, keys, scope, now)?;
    let (verb, summary) = match dry_run {
        true => ("would publish", plan.summary().clone()),
        false => ("published", plan.apply(&mut Unwatched)?),
    };
    Ok(facts(verb, &summary, dry_run, now))
}

fn facts(verb: &str, summary: &Summary, dry_run: bool, now: u64) -> Facts {
    let Summary { roots, targets, snapshot, timestamp, halted, targets_expire, waiting, files } = summary;
    let mut lines: Vec<String> = roots.iter().map(|version| format!("{verb} root {version}")).collect();
    for (role, version, expires) in targets {
        lines.push(format!("{verb} {role} {version}, good until {}", Date(*expires)));
    }
    for (role, published) in [("snapshot", *snapshot), ("timestamp", Some(*timestamp))] {
        if let Some((version, expires)) = published {
            lines.push(format!("{verb} {role} {version}, good until {}", Date(expires)));
        }
    }
    for digest in halted {
        lines.push(format!("halted: image {digest}"));
    }
    for Waiting { role, why } in waiting {
        lines.push(format!("left out: {role}: {why}"));
    }
    lines.push(format!("run `tuffet refresh` before {}, or devices stop here", Date(timestamp.1)));
    if let Some((role, expires)) = targets_expire
        && *expires < now + TARGETS_WARNING
    {
        let until = Date(*expires);
        lines.push(format!("{role} is good until {until} only: `tuffet renew`, and have it signed"));
    }
    let dated =
        |version: u32, expires: u64| json!({ "version": version, "expires": Date(expires).to_string() });
    let files_of = |role: &(Role, u32, u64)| {
        let mut value = dated(role.1, role.2);
        value["role"] = json!(role.0.name());
        value
    };
    let json = json!({
        "roots": roots,
        "targets": targets.iter().map(files_of).collect::<Vec<Value>>(),
        "snapshot": snapshot.map(|(version, expires)| dated(version, expires)),
        "timestamp": dated(timestamp.0, timestamp.1),
        "halted": halted,
        "waiting": waiting.iter().map(|waiting| waiting.role.name()).collect::<Vec<_>>(),
        "targets_expire": targets_expire.as_ref().map(|(_, expires)| Date(*expires).to_string()),
        "files": files,
        "dry_run": dry_run,
    });
    Facts { lines, json }
}

/// Seconds before their expiry from which on targets are spoken of: a month, for key holders must meet.
const TARGETS_WARNING: u64 = 30 * 24 * 60 * 60;

/// Each key once, so that nobody types a passphrase or PIN twice.
fn read_keys(snapshot: &[OsString], command: &args::TimestampKeys) -> Result<Keys, Error> {
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
    Ok(Keys { snapshot: read(snapshot)?, timestamp: read(&command.timestamp_key)? })
}
