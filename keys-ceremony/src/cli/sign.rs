//! What a holder signs: a request, or several in one run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use clap::Args;
use tuffet_keys::digest;
use tuffet_keys::error::short;
use tuffet_keys::request::Request;
use tuffet_keys::review::{Comparison, Several};
use tuffet_keys::state::{Repository, State};
use tuffet_keys::transcript::{Action, Source};
use tuffet_keys::uri::KeyUri;
use tuffet_keys::{Error, Misuse, Rejected, key, passphrase};

use super::args::{KEYS, Secrets};
use super::review::{confirm, given, is_repository, read_all, show, show_several};
use super::transcript::Recording;
use super::{Failures, Output, keys, progress, refuse_existing, write_copy};

const HELP: &str = "With several requests, all are read and reviewed before the one question, which is for how many they \
are: if anything about one of them is refused, none is signed. Keys are opened once. Then each request is signed and \
written by itself, whole or not at all: what is refused of one (a key that may not sign it or has, a file that changed \
meanwhile) leaves it untouched, and the others go on. The exit status is that of the first failure.";

#[derive(Args)]
#[command(after_help = super::args::example(
    "sign root.request.json --key root-a.pem --out root.a.json\n  tuffet-keys sign requests/*.json --key bins-a.pem",
    &format!("{HELP}\n\n{KEYS}")
))]
pub(crate) struct Sign {
    /// The signing requests; several are of one repository, and each for another role
    #[arg(required = true, value_name = "REQUEST")]
    requests: Vec<PathBuf>,

    /// Private keys to sign with, each of them every request
    #[arg(long, required = true, num_args = 1.., value_name = "KEY")]
    key: Vec<OsString>,

    /// Where the signed copy of the one REQUEST goes [default: in its place]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Images that you built yourself: is one of the new targets made of these bytes?
    #[arg(long, num_args = 1.., value_name = "FILE")]
    rebuilt: Vec<PathBuf>,

    /// Do not ask for the version number, or how many requests there are; for scripts that take passphrase and PIN from
    /// elsewhere too
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

/// A request on its way to being signed.
struct Signing<'c> {
    path: &'c Path,
    target: &'c Path,
    request: Request,
    /// Who has signed it in this run, for the transcript.
    signed: Vec<Action>,
    refused: Option<Error>,
}

pub(super) fn sign(command: &Sign, state: &State, now: u64, out: &mut Output) -> Result<(), Failures> {
    let (read, refused) = read_all(&command.requests);
    if !refused.is_empty() {
        return Err(Failures(refused));
    }
    let target = |path| command.out.as_deref().unwrap_or(path);
    let signing =
        |(path, request)| Signing { path, target: target(path), request, signed: Vec::new(), refused: None };
    let mut signing: Vec<Signing<'_>> = read.into_iter().map(signing).collect();
    let several = signing.len() > 1;
    if several {
        check_together(&signing, command.out.as_deref())?;
    }
    for Signing { path, target, request, .. } in &signing {
        if target != path {
            refuse_existing(target)?;
        }
        command.recording.check(request, Some(target))?;
    }
    let uris = keys::uris(&command.key)?;
    let mut source = command.secrets.source();
    check_questions(command, &uris, &source)?;

    let comparisons = match &signing[..] {
        [one] => vec![show(&one.request, one.path, &command.rebuilt, state, now, out)?],
        _ => {
            let requests: Vec<(&Path, &Request)> = signing.iter().map(|it| (it.path, &it.request)).collect();
            let (comparisons, mut refused) = show_several(&requests, &command.rebuilt, state, now, out)?;
            for (path, request) in requests {
                let dates = request.header().check_issued(now).and_then(|()| request.check_expiry(now));
                refused.extend(dates.err().map(|error| error.in_file(path)));
            }
            if !refused.is_empty() {
                return Err(Failures(refused));
            }
            comparisons
        }
    };
    let agreed = agree(&signing, &comparisons, state, command);
    agreed.map_err(|error| match &signing[..] {
        [one] => error.in_file(one.path),
        _ => error,
    })?;

    // They hold what came before, which may be large.
    drop(comparisons);
    sign_each(&mut signing, &uris, command, &mut source)?;
    write_each(&mut signing, command, state, now, out)?;
    let refused: Vec<Error> = signing.into_iter().filter_map(|it| it.refused).collect();
    if refused.is_empty() { Ok(()) } else { Err(Failures(refused)) }
}

/// Whether requests can be agreed to with one answer.
fn check_together(signing: &[Signing<'_>], out: Option<&Path>) -> Result<(), Error> {
    let misuse = |why, path| Err(Error::from(Misuse::Options { why }).in_file(path));
    if let Some(out) = out {
        return misuse("--out goes with one REQUEST: several are signed in their places", out);
    }
    let mut seen: Vec<&Signing<'_>> = Vec::new();
    for it in signing {
        if it.request.chain().files().is_empty() {
            return misuse("a first root begins a repository: sign it by itself", it.path);
        }
        if seen.first().is_some_and(|first| first.request.repository() != it.request.repository()) {
            return misuse("requests of different repositories are signed in different runs", it.path);
        }
        // The second is held against the first, which must be signed for that.
        if seen.iter().any(|other| other.request.header().role == it.request.header().role) {
            return misuse("two requests for one role are signed one after the other", it.path);
        }
        seen.push(it);
    }
    Ok(())
}

/// Whether somebody is there for all that will be asked.
fn check_questions(command: &Sign, uris: &[KeyUri], source: &passphrase::Source) -> Result<(), Error> {
    if command.secrets.passphrase.passphrase_fd == Some(0) && !command.yes {
        let why = "standard input cannot give both the passphrase and the confirmation; add --yes";
        return Err(Misuse::Options { why }.into());
    }
    let mut asks = false;
    for uri in uris {
        // A token is looked at where the answer counts: without --yes it may be plugged in after the review.
        asks |= (command.yes || !matches!(uri, KeyUri::Token(_))) && key::asks(uri, source)?;
    }
    if command.yes && asks {
        let why = "--yes goes with a passphrase or PIN from a descriptor, the environment or `pin-source`: where a \
                   person types, a person confirms";
        return Err(Misuse::Options { why }.into());
    }
    Ok(())
}

/// The holder has seen the review, and agrees.
fn agree(
    signing: &[Signing<'_>],
    comparisons: &[Comparison],
    state: &State,
    Sign { yes, despite, digest, .. }: &Sign,
) -> Result<(), Error> {
    // All are of one repository, and none is a first root if there are several.
    let (Some(first), Some(comparison)) = (signing.first(), comparisons.first()) else { return Ok(()) };
    let found = first.request.repository();
    if !comparison.known && !comparison.first {
        let mut known = state.repositories()?;
        // A directory that is damaged was agreed to once.
        known.retain(|digest| !matches!(state.repository(digest), Ok(None)));
        return Err(Rejected::UnknownRepository { digest: found, known }.into());
    }
    // Who signs a first root agrees to its repository by that, and for good: a version number would not say to which.
    let agrees = !comparison.known;
    let count = match comparisons {
        [one] => one.warnings.len(),
        _ => Several::of(signing.iter().map(|it| &it.request).zip(comparisons)).warnings(),
    };
    if *yes {
        match given(digest)? {
            Some(expected) => is_repository(&expected, &found)?,
            None if agrees => return Err(Misuse::NoDigest.into()),
            None => {}
        }
        let despite = despite.unwrap_or(0);
        return if despite == count { Ok(()) } else { Err(Rejected::Warned { count, despite }.into()) };
    }
    let (number, what) = match signing {
        [one] => {
            let version = one.request.header().version.to_string();
            (version.clone(), format!("the version number {version}"))
        }
        several => (several.len().to_string(), format!("the number of requests {}", several.len())),
    };
    let (what, wanted) = match agrees {
        true => (
            "the digest of root 1 as the other holders know it, at least its first 16 digits,".to_owned(),
            "what the digest of root 1 begins with".to_owned(),
        ),
        false => (what, number.clone()),
    };
    let begins = |typed: &str| match agrees {
        true => digest::begins(&found, typed),
        false => typed.trim() == number,
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
        false => (format!("`{number} despite {count}`"), format!("{number} despite {count}")),
    };
    let question = format!("There {there}. To sign in spite of {them}, type {type_}: ");
    confirm(&question, &wanted, instead, |typed| {
        let parts = typed.split_once("despite");
        parts.is_some_and(|(first, seen)| begins(first) && seen.trim() == count.to_string())
    })
}

/// Signs what may be signed, in memory. A key that cannot be opened or does not sign is none of a request's faults: then
/// nothing is signed.
fn sign_each(
    signing: &mut [Signing<'_>],
    uris: &[KeyUri],
    command: &Sign,
    source: &mut passphrase::Source,
) -> Result<(), Error> {
    let several = signing.len() > 1;
    for uri in uris {
        let mut left = signing.iter_mut().filter(|it| it.refused.is_none()).peekable();
        if left.peek().is_none() {
            break;
        }
        let key = keys::open(uri, command.danger_unencrypted, source)?;
        for it in left {
            match it.request.sign(&key) {
                Ok(keyid) => it.signed.push(Action::Sign { keyid, source: Source::of(uri) }),
                Err(error @ Error::Rejected { .. }) if several => {
                    it.refused = Some(error.at(format!("{} with {uri}", it.path.display())));
                }
                Err(error @ Error::Rejected { .. }) => it.refused = Some(error.at(uri)),
                Err(error) => return Err(error.at(uri)),
            }
        }
    }
    Ok(())
}

/// Writes each that was signed.
fn write_each(
    signing: &mut [Signing<'_>],
    command: &Sign,
    state: &State,
    now: u64,
    out: &mut Output,
) -> Result<(), Error> {
    let several = signing.len() > 1;
    let (mut repository, mut transcript) = (None, String::new());
    for it in signing.iter_mut().filter(|it| it.refused.is_none()) {
        let known = match &mut repository {
            Some(known) => known,
            none => none.insert(state.begin(&it.request.repository())?),
        };
        match write(it, known, command, now, out) {
            Ok(recorded) => transcript = recorded,
            Err(error) => {
                it.refused = Some(error);
                continue;
            }
        }
        let title = it.request.title();
        let keyids = it.signed.iter().filter_map(|action| match action {
            Action::Sign { keyid, .. } => Some(keyid),
            _ => None,
        });
        if several {
            let keyids: Vec<&str> = keyids.map(|keyid| short(keyid)).collect();
            let keys = if keyids.len() == 1 { "key" } else { "keys" };
            let state: Vec<String> =
                it.request.state().iter().map(|progress| progress.in_words(&out.names)).collect();
            let path = it.target.display();
            out.put(&format!(
                "wrote {path}: {title} signed with {keys} {}; {}\n",
                keyids.join(", "),
                state.join("; ")
            ))?;
        } else {
            let lines: String = keyids.map(|keyid| format!("signed {title} with key {keyid}\n")).collect();
            out.put(&lines)?;
            progress(&it.request, out)?;
            out.put(&format!("wrote {}\n", it.target.display()))?;
        }
    }
    out.put(&transcript)
}

/// Gives the line that tells the transcript's head.
fn write(
    it: &mut Signing<'_>,
    known: &mut Repository,
    command: &Sign,
    now: u64,
    out: &mut Output,
) -> Result<String, Error> {
    // Before anybody can have the signature: whoever is asked to sign other bytes of this version hears of these.
    known.remember(&it.request)?;
    let recorded = command.recording.append(&it.request, it.signed.clone(), now, out)?;
    write_copy(&mut it.request, it.target, it.target == it.path, out)?;
    Ok(recorded)
}
