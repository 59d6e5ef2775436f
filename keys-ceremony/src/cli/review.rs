//! What a holder agrees to, sees and signs.

use std::ffi::OsString;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use clap::Args;
use tuffet_keys::digest;
use tuffet_keys::metadata::Envelope;
use tuffet_keys::request::Request;
use tuffet_keys::review::{Comparison, compare, to_json};
use tuffet_keys::state::State;
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
