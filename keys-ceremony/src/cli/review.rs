//! What a holder agrees to, sees and signs.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::Value;
use tuffet_keys::delegation::Paths;
use tuffet_keys::digest::{self, DIGITS};
use tuffet_keys::metadata::{Envelope, Header};
use tuffet_keys::published::versions;
use tuffet_keys::request::Request;
use tuffet_keys::review::{Comparison, compare, to_json};
use tuffet_keys::state::{Repository, State};
use tuffet_keys::transcript::{Action, Source};
use tuffet_keys::uri::KeyUri;
use tuffet_keys::{Environment, Error, Misuse, Rejected, Role, file, key};

use super::args::{Form, KEYS, Secrets};
use super::transcript::Recording;
use super::{Output, keys, progress, refuse_existing, write_copy};

#[derive(Args)]
pub(crate) struct Trust {
    /// The first root: 1.root.json
    #[arg(value_name = "FILE")]
    root: PathBuf,

    /// Its digest as another holder or the provisioning line knows it, instead of the question: all 64 digits, in
    /// groups or not
    #[arg(long, num_args = 1..=8, value_name = "SHA256")]
    digest: Vec<String>,

    #[command(flatten)]
    recording: Recording,
}

#[derive(Args)]
pub(crate) struct Learn {
    /// Metadata files, or the directory of a repository
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The delegated role that the files are of, where their names, such as 3.lamp.json, do not say so
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
}

#[derive(Args)]
pub(crate) struct Review {
    /// The signing request
    #[arg(value_name = "REQUEST")]
    request: PathBuf,

    /// Images that you built yourself: is one of the new targets made of these bytes?
    #[arg(long, num_args = 1.., value_name = "FILE")]
    rebuilt: Vec<PathBuf>,

    /// How to write it
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

#[derive(Args)]
#[command(after_help = super::args::example("sign root.request.json --key root-a.pem --out root.a.json", KEYS))]
pub(crate) struct Sign {
    /// The signing request
    #[arg(value_name = "REQUEST")]
    request: PathBuf,

    /// Private keys to sign with
    #[arg(long, required = true, num_args = 1.., value_name = "KEY")]
    key: Vec<OsString>,

    /// Where the signed copy goes [default: in the place of REQUEST]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Images that you built yourself: is one of the new targets made of these bytes?
    #[arg(long, num_args = 1.., value_name = "FILE")]
    rebuilt: Vec<PathBuf>,

    /// Do not ask for the version number; for scripts that take passphrase and PIN from elsewhere too
    #[arg(long)]
    yes: bool,

    /// With --yes: agree to the repository whose root 1 has this digest, as a first root needs it; all 64 digits, in
    /// groups or not
    #[arg(long, num_args = 1..=8, value_name = "SHA256", requires = "yes")]
    digest: Vec<String>,

    /// With --yes: sign although there are just so many warnings, which somebody has seen in a review
    #[arg(long, value_name = "N", requires = "yes")]
    despite: Option<usize>,

    /// Accept private keys that are not encrypted
    #[arg(long)]
    danger_unencrypted: bool,

    #[command(flatten)]
    recording: Recording,

    #[command(flatten)]
    secrets: Secrets,
}

pub(super) fn trust(
    Trust { root, digest, recording }: &Trust,
    state: &State,
    now: u64,
    out: &mut Output,
) -> Result<(), Error> {
    let expected = given(digest)?;
    let bytes = file::read(root)?;
    let Envelope { signed, signatures } = Envelope::parse(&bytes).map_err(|error| error.in_file(root))?;
    let mut request = Request::draft(Role::Root, &signed, &[]).map_err(|error| error.in_file(root))?;
    for (keyid, signature) in &signatures {
        // One that is good for nothing shows as missing. Whether enough are good the devices' verifier says below.
        let _ = request.take(keyid, signature);
    }
    let found = request.repository();
    // Before the file's own digest is on the screen in any form, errors included: what is compared comes from another
    // holder, and there is nothing here that it could be copied from.
    match &expected {
        Some(expected) => is_repository(expected, &found).map_err(|error| error.in_file(root))?,
        None => {
            let question =
                "Type the digest of root 1 as another holder reads it to you, at least its first 16 digits: ";
            let instead = "give the digest as another holder knows it with --digest";
            let is = |typed: &str| digest::begins(&found, typed);
            confirm(question, "what the digest of root 1 begins with", instead, is)
                .map_err(|error| error.in_file(root))?;
        }
    }
    recording.check(&request, None)?;
    out.describe(&request, now)?;
    // What is unusual about one that was agreed to before was shown then, and newer roots may be known by now.
    if state.repository(&found)?.is_none() {
        let comparison =
            compare(&request, state, &[] as &[PathBuf], now).map_err(|error| error.in_file(root))?;
        // Its first line is for who signs.
        out.put(coloured(&comparison).split_once('\n').map_or("", |(_, warnings)| warnings))?;
    }
    state.trust(&bytes).map_err(|error| error.in_file(root))?;
    // Last, for what does not verify is not trusted; whoever must run it again loses nothing.
    let recorded = recording.append(&request, [Action::Trust], now, out)?;
    out.put(&format!("{recorded}trusted from here on: the repository whose root 1 is sha256 {found}\n"))
}

/// The value of `--digest`, of which each group may be an argument of its own.
fn given(words: &[String]) -> Result<Option<String>, Error> {
    if words.is_empty() {
        return Ok(None);
    }
    digest::parse(&words.concat()).map(Some).map_err(|error| error.at("--digest"))
}

fn is_repository(expected: &str, found: &str) -> Result<(), Error> {
    match expected == found {
        true => Ok(()),
        false => Err(Rejected::OtherRepository { expected: expected.to_owned() }.into()),
    }
}

pub(super) fn learn(Learn { paths, role }: &Learn, state: &State, out: &mut Output) -> Result<(), Error> {
    for path in paths {
        if !path.is_dir() {
            learn_file(path, role.as_deref(), None, state, out)?;
            continue;
        }
        // A directory says by its root 1 whose it is: keys may be those of several repositories.
        let (files, owner) = (published(path)?, owner(path)?);
        let mut repository = None;
        for file in files {
            repository = Some(learn_file(&file, None, owner.as_deref(), state, out)?);
        }
        if let Some(mut repository) = repository {
            learn_delegated(path, &mut repository, out)?;
        }
    }
    Ok(())
}

fn learn_file(
    path: &Path,
    delegated: Option<&str>,
    owner: Option<&str>,
    state: &State,
    out: &mut Output,
) -> Result<Repository, Error> {
    let bytes = file::read(path)?;
    let learned = || {
        let Envelope { signed, .. } = Envelope::parse(&bytes)?;
        let written = Header::from_signed(&signed)?;
        let role = match delegated {
            Some(name) => named_role(name)?,
            None => Role::of_file(path, &signed).unwrap_or(written.role.clone()),
        };
        let (repository, new) = learned(&role, &bytes, owner, state)?;
        Ok((written.of(&role)?, repository, new))
    };
    let (header, repository, new) = learned().map_err(|error: Error| error.in_file(path))?;
    said(&header, &repository, new, out)?;
    Ok(repository)
}

fn said(
    Header { role, version, .. }: &Header,
    repository: &Repository,
    new: bool,
    out: &mut Output,
) -> Result<(), Error> {
    let words = if new { "verified" } else { "known already" };
    let digest = repository.digest().get(..DIGITS).unwrap_or_default();
    out.put(&format!("{role} {version} of repository {digest}: {words}\n"))
}

/// A delegated role by the name that a person gave.
pub(super) fn named_role(name: &str) -> Result<Role, Error> {
    let role = Role::named(name).filter(|role| matches!(role, Role::Delegated(_)));
    let why = "a delegated role has a name of 1 to 255 bytes that is none of the four top-level ones";
    role.ok_or_else(|| Error::from(Misuse::Options { why }).at("--role"))
}

/// The delegated roles that the snapshot names, each once those are known that delegate to it. Not the bins, which can
/// be thousands, and which nobody signs by hand.
fn learn_delegated(directory: &Path, repository: &mut Repository, out: &mut Output) -> Result<(), Error> {
    let meta = repository.newest(&Role::Snapshot).map(|snapshot| &snapshot["meta"]);
    let entries = meta.and_then(Value::as_object).into_iter().flatten();
    let mut left: Vec<(Role, PathBuf)> = entries
        .filter_map(|(name, entry)| {
            let role = Role::named(name.strip_suffix(".json")?)?;
            let file = directory.join(format!("{}.{}.json", entry["version"], role.file_stem()));
            (matches!(role, Role::Delegated(_)) && file.is_file()).then_some((role, file))
        })
        .collect();
    // One that cannot be taken keeps no other from being.
    let mut refused = None;
    loop {
        let mut later = Vec::new();
        let before = left.len();
        for (role, path) in left {
            match learn_role(&role, &path, repository, out) {
                Ok(()) => {}
                Err(Error::Rejected { why: Rejected::NotDelegated { .. }, .. }) => later.push((role, path)),
                Err(error @ Error::Rejected { .. }) => refused = refused.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        // What is left nobody delegates to, and no device looks at.
        if later.len() == before {
            return refused.map_or(Ok(()), Err);
        }
        left = later;
    }
}

fn learn_role(role: &Role, path: &Path, repository: &mut Repository, out: &mut Output) -> Result<(), Error> {
    let mut learned = || {
        let ways = repository.ways_to(role.name())?;
        let delegations = ways.iter().map(|way| way.delegation(role.name()));
        let delegations = delegations.collect::<Result<Vec<_>, _>>()?;
        if delegations.iter().all(|delegation| matches!(delegation.paths, Paths::Bin { .. })) {
            return Ok(None);
        }
        let bytes = file::read(path)?;
        let new = repository.learn(role, &bytes)?;
        let Envelope { signed, .. } = Envelope::parse(&bytes)?;
        Ok(Some((Header::from_signed(&signed)?.of(role)?, new)))
    };
    match learned().map_err(|error: Error| error.in_file(path))? {
        Some((header, new)) => said(&header, repository, new, out),
        None => Ok(()),
    }
}

/// The repository of a directory with a root 1.
fn owner(directory: &Path) -> Result<Option<String>, Error> {
    let path = directory.join("1.root.json");
    if !path.exists() {
        return Ok(None);
    }
    let Envelope { signed, .. } =
        Envelope::parse(&file::read(&path)?).map_err(|error| error.in_file(&path))?;
    Request::draft(Role::Root, &signed, &[]).map(|request| Some(request.repository()))
}

/// The one repository that a file belongs to takes it over. One that two would take is refused: keys that sign for
/// both do not say for which they signed.
fn learned(
    role: &Role,
    bytes: &[u8],
    owner: Option<&str>,
    state: &State,
) -> Result<(Repository, bool), Error> {
    let mut refused = None;
    let mut taken: Option<Repository> = None;
    // A first root says itself whose it is: beside others that are known it is none that somebody made twice.
    let first = first_root(role, bytes)?;
    for digest in state.repositories()? {
        if owner.is_some_and(|owner| owner != digest) {
            continue;
        }
        let repository = match state.repository(&digest) {
            Ok(Some(repository)) => repository,
            Ok(None) => continue,
            Err(damaged) => {
                refused = Some(damaged);
                continue;
            }
        };
        if first.as_ref().is_some_and(|first| *first != digest) {
            continue;
        }
        match repository.would_learn(role, bytes) {
            Ok(()) if taken.is_some() => {
                let why = "two repositories that you know would take this file; learn the directory with its 1.root.json";
                return Err(Misuse::Options { why }.into());
            }
            Ok(()) => taken = Some(repository),
            Err(error) => refused = Some(error),
        }
    }
    if let Some(mut repository) = taken {
        let new = repository.learn(role, bytes)?;
        return Ok((repository, new));
    }
    let none = || {
        Misuse::Options {
            why: "this repository is not trusted yet: begin with `tuffet-keys trust 1.root.json`",
        }
        .into()
    };
    Err(refused.unwrap_or_else(none))
}

/// The repository of a file that is a first root.
fn first_root(role: &Role, bytes: &[u8]) -> Result<Option<String>, Error> {
    let Envelope { signed, .. } = Envelope::parse(bytes)?;
    if *role != Role::Root || signed["version"] != 1 {
        return Ok(None);
    }
    Request::draft(Role::Root, &signed, &[]).map(|request| Some(request.repository()))
}

/// The metadata files of a repository's directory in the order in which they verify: all roots, and the newest of each
/// other role.
fn published(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    // What is no file is no metadata.
    let numbered = |role: &str| -> Result<Vec<PathBuf>, Error> {
        let name = |version| directory.join(format!("{version}.{role}.json"));
        Ok(versions(directory, role)?.into_iter().map(name).filter(|path| path.is_file()).collect())
    };
    // A root without a number is a copy of the newest.
    let mut files = numbered("root")?;
    for role in ["targets", "snapshot", "timestamp"] {
        let plain = || Some(directory.join(format!("{role}.json"))).filter(|path| path.is_file());
        files.extend(numbered(role)?.pop().or_else(plain));
    }
    if files.is_empty() {
        let why = "there is no metadata in it, such as 1.root.json".to_owned();
        return Err(Error::from(Misuse::WrongChain { why }).in_file(directory));
    }
    Ok(files)
}

pub(super) fn review(
    Review { request: path, rebuilt, output }: &Review,
    state: &State,
    now: u64,
    out: &mut Output,
) -> Result<(), Error> {
    let request = Request::read(path)?;
    let comparison = compare(&request, state, rebuilt, now).map_err(|error| error.in_file(path))?;
    if *output == Form::Json {
        // Strings, numbers and lists in memory can be written.
        let text = serde_json::to_string_pretty(&to_json(&request, &comparison)).unwrap_or_default();
        return out.put(&format!("{text}\n"));
    }
    out.describe(&request, now)?;
    out.put(&coloured(&comparison))
}

pub(super) fn sign(command: &Sign, state: &State, now: u64, out: &mut Output) -> Result<(), Error> {
    let path = &command.request;
    let mut request = Request::read(path)?;
    let target = command.out.as_ref().unwrap_or(path);
    if target != path {
        refuse_existing(target)?;
    }
    command.recording.check(&request, Some(target))?;
    let uris = keys::uris(&command.key)?;
    let mut source = command.secrets.source();
    if command.secrets.passphrase.passphrase_fd == Some(0) && !command.yes {
        let why = "standard input cannot give both the passphrase and the confirmation; add --yes";
        return Err(Misuse::Options { why }.into());
    }
    let mut asks = false;
    for uri in &uris {
        // A token is looked at where the answer counts: without --yes it may be plugged in after the review.
        asks |= (command.yes || !matches!(uri, KeyUri::Token(_))) && key::asks(uri, &source)?;
    }
    if command.yes && asks {
        let why = "--yes goes with a passphrase or PIN from a descriptor, the environment or `pin-source`: where a \
                   person types, a person confirms";
        return Err(Misuse::Options { why }.into());
    }
    let comparison = show(&request, path, &command.rebuilt, state, now, out)?;
    agree(&request, &comparison, state, command).map_err(|error| error.in_file(path))?;
    let (mut lines, mut signed) = (String::new(), Vec::new());
    for uri in &uris {
        let key = keys::open(uri, command.danger_unencrypted, &mut source)?;
        let keyid = request.sign(&key).map_err(|error| error.at(uri))?;
        lines += &format!("signed {} with key {keyid}\n", request.title());
        signed.push(Action::Sign { keyid, source: Source::of(uri) });
    }
    // Before anybody can have the signature: whoever is asked to sign other bytes of this version hears of these.
    state.remember(&request)?;
    let recorded = command.recording.append(&request, signed, now, out)?;
    write_copy(&mut request, target, target == path, out)?;
    out.put(&lines)?;
    progress(&request, out)?;
    out.put(&format!("wrote {}\n{recorded}", target.display()))
}

/// Shows all that a holder has to see before these bytes are signed, here or elsewhere.
pub(super) fn show(
    request: &Request,
    path: &Path,
    rebuilt: &[PathBuf],
    state: &State,
    now: u64,
    out: &mut Output,
) -> Result<Comparison, Error> {
    out.describe(request, now)?;
    let dates = request.header().check_issued(now).and_then(|()| request.check_expiry(now));
    dates.map_err(|error| error.in_file(path))?;
    let comparison = compare(request, state, rebuilt, now).map_err(|error| error.in_file(path))?;
    out.put(&coloured(&comparison))?;
    Ok(comparison)
}

/// What is new and what is gone in colours, where the output has them.
fn coloured(comparison: &Comparison) -> String {
    let mut text = String::new();
    for line in comparison.to_string().lines() {
        let colour = match line.trim_start().chars().next().filter(|_| line.starts_with("  ")) {
            Some('+') => AnsiColor::Green,
            Some('-') => AnsiColor::Red,
            Some('~') => AnsiColor::Cyan,
            Some('!') => AnsiColor::Yellow,
            _ => {
                text += &format!("{line}\n");
                continue;
            }
        };
        let style = Style::new().fg_color(Some(colour.into()));
        text += &format!("{style}{line}{style:#}\n");
    }
    text
}

/// The holder has seen the review, and agrees.
fn agree(
    request: &Request,
    comparison: &Comparison,
    state: &State,
    Sign { yes, despite, digest, .. }: &Sign,
) -> Result<(), Error> {
    let found = request.repository();
    if !comparison.known && !comparison.first {
        let mut known = state.repositories()?;
        // A directory that is damaged was agreed to once.
        known.retain(|digest| !matches!(state.repository(digest), Ok(None)));
        return Err(Rejected::UnknownRepository { digest: found, known }.into());
    }
    // Who signs a first root agrees to its repository by that, and for good: a version number would not say to which.
    let agrees = !comparison.known;
    let count = comparison.warnings.len();
    if *yes {
        match given(digest)? {
            Some(expected) => is_repository(&expected, &found)?,
            None if agrees => return Err(Misuse::NoDigest.into()),
            None => {}
        }
        let despite = despite.unwrap_or(0);
        return if despite == count { Ok(()) } else { Err(Rejected::Warned { count, despite }.into()) };
    }
    let version = request.header().version.to_string();
    let (what, wanted) = match agrees {
        true => (
            "the digest of root 1 as the other holders know it, at least its first 16 digits,".to_owned(),
            "what the digest of root 1 begins with".to_owned(),
        ),
        false => (format!("the version number {version}"), version.clone()),
    };
    let begins = |typed: &str| match agrees {
        true => digest::begins(&found, typed),
        false => typed.trim() == version,
    };
    let instead = "review it at a terminal, or add --yes when a script has reviewed";
    if count == 0 {
        return confirm(&format!("Type {what} to sign: "), &wanted, instead, begins);
    }
    let (there, them) = match count {
        1 => ("is 1 warning".to_owned(), "it"),
        _ => (format!("are {count} warnings"), "them"),
    };
    let (type_, wanted) = match agrees {
        true => (format!("{what} and `despite {count}`"), format!("{wanted} and `despite {count}`")),
        false => (format!("`{version} despite {count}`"), format!("{version} despite {count}")),
    };
    let question = format!("There {there}. To sign in spite of {them}, type {type_}: ");
    confirm(&question, &wanted, instead, |typed| {
        let parts = typed.split_once("despite");
        parts.is_some_and(|(first, seen)| begins(first) && seen.trim() == count.to_string())
    })
}

/// Asks a person for what nobody types by habit. Who has no terminal is nobody who has read the review: what a pipe says
/// was written before it.
fn confirm(question: &str, wanted: &str, instead: &str, is: impl FnOnce(&str) -> bool) -> Result<(), Error> {
    if !io::stdin().is_terminal() {
        let (wanted, instead) = ("the confirmation".to_owned(), instead.to_owned());
        return Err(Environment::NoTerminal { wanted, instead }.into());
    }
    let fail = |error| Error::io("ask", Path::new("the terminal"), &error);
    let mut prompt = anstream::stderr();
    prompt.write_all(question.as_bytes()).and_then(|()| prompt.flush()).map_err(fail)?;
    let mut typed = String::new();
    io::stdin().lock().read_line(&mut typed).map_err(fail)?;
    match is(&typed) {
        true => Ok(()),
        false => Err(Rejected::NotConfirmed { words: wanted.to_owned() }.into()),
    }
}
