//! What a holder agrees to, and what he sees before he signs.

use std::fmt;
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::Value;
use tuffet_keys::digest;
use tuffet_keys::metadata::Envelope;
use tuffet_keys::request::Request;
use tuffet_keys::review::{Comparison, Several, compare, compare_all, to_json};
use tuffet_keys::state::State;
use tuffet_keys::transcript::Action;
use tuffet_keys::{Environment, Error, Rejected, Role, file};

use super::args::Form;
use super::transcript::Recording;
use super::{Failures, Output};

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
    /// The signing requests. Of several, those that only renew what was seen here before are listed, the others shown
    #[arg(required = true, value_name = "REQUEST")]
    requests: Vec<PathBuf>,

    /// Images that you built yourself: is one of the new targets made of these bytes?
    #[arg(long, num_args = 1.., value_name = "FILE")]
    rebuilt: Vec<PathBuf>,

    /// How to write it
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
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
    out.describe(&request, None, now)?;
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
pub(super) fn given(words: &[String]) -> Result<Option<String>, Error> {
    if words.is_empty() {
        return Ok(None);
    }
    digest::parse(&words.concat()).map(Some).map_err(|error| error.at("--digest"))
}

pub(super) fn is_repository(expected: &str, found: &str) -> Result<(), Error> {
    match expected == found {
        true => Ok(()),
        false => Err(Rejected::OtherRepository { expected: expected.to_owned() }.into()),
    }
}

pub(super) fn review(
    Review { requests: paths, rebuilt, output }: &Review,
    state: &State,
    now: u64,
    out: &mut Output,
) -> Result<(), Failures> {
    let (read, mut refused) = read_all(paths);
    let requests: Vec<(&Path, &Request)> = read.iter().map(|(path, request)| (*path, request)).collect();
    match (&requests[..], output) {
        // Nothing but what is wrong with it.
        ([], _) => {}
        ([(path, request)], Form::Text) if paths.len() == 1 => {
            let comparison = compare(request, state, rebuilt, now).map_err(|error| error.in_file(path))?;
            out.describe(request, Some(&comparison), now)?;
            out.put(&coloured(&comparison))?;
        }
        (_, Form::Text) => refused.extend(show_several(&requests, rebuilt, state, now, out)?.1),
        (_, Form::Json) => {
            let Compared { requests: compared, refused: others } =
                Compared::read(&requests, rebuilt, state, now)?;
            refused.extend(others);
            let values: Vec<Value> =
                compared.iter().map(|(request, comparison)| to_json(request, comparison)).collect();
            // Strings, numbers and lists in memory can be written.
            let text = match (paths.len(), &values[..]) {
                (1, values) => values.iter().map(serde_json::to_string_pretty).collect(),
                (_, values) => serde_json::to_string_pretty(values),
            };
            let text: String = text.unwrap_or_default();
            if !values.is_empty() {
                out.put(&format!("{text}\n"))?;
            }
        }
    }
    if refused.is_empty() { Ok(()) } else { Err(Failures(refused)) }
}

/// Reads requests, and says of each that cannot be read why not.
pub(super) fn read_all(paths: &[PathBuf]) -> (Vec<(&Path, Request)>, Vec<Error>) {
    let (mut requests, mut refused) = (Vec::new(), Vec::new());
    for path in paths {
        match Request::read(path) {
            Ok(request) => requests.push((path.as_path(), request)),
            Err(error) => refused.push(error),
        }
    }
    (requests, refused)
}

/// Requests and what each was held against; and what is wrong with those that do not go on from what is known.
struct Compared<'r> {
    requests: Vec<(&'r Request, Comparison)>,
    refused: Vec<Error>,
}

impl<'r> Compared<'r> {
    fn read(
        requests: &[(&Path, &'r Request)],
        rebuilt: &[PathBuf],
        state: &State,
        now: u64,
    ) -> Result<Compared<'r>, Error> {
        let alone: Vec<&Request> = requests.iter().map(|(_, request)| *request).collect();
        let mut compared = Compared { requests: Vec::new(), refused: Vec::new() };
        for ((path, request), comparison) in requests.iter().zip(compare_all(&alone, state, rebuilt, now)?) {
            match comparison {
                Ok(comparison) => compared.requests.push((*request, comparison)),
                Err(error) => compared.refused.push(error.in_file(path)),
            }
        }
        Ok(compared)
    }
}

/// Shows of several requests all that a holder has to see before he signs them: each that says something new or unusual
/// in full, and then the list of all.
pub(super) fn show_several(
    requests: &[(&Path, &Request)],
    rebuilt: &[PathBuf],
    state: &State,
    now: u64,
    out: &mut Output,
) -> Result<(Vec<Comparison>, Vec<Error>), Error> {
    let Compared { requests: compared, refused } = Compared::read(requests, rebuilt, state, now)?;
    let several = Several::of(compared.iter().map(|(request, comparison)| (*request, comparison)));
    for (request, comparison) in several.to_show() {
        out.describe(request, Some(comparison), now)?;
        out.put(&format!("{}\n", coloured(comparison)))?;
    }
    out.put(&coloured(&several))?;
    Ok((compared.into_iter().map(|(_, comparison)| comparison).collect(), refused))
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
    let comparison = compare(request, state, rebuilt, now).map_err(|error| error.in_file(path))?;
    out.describe(request, Some(&comparison), now)?;
    let dates = request.header().check_issued(now).and_then(|()| request.check_expiry(now));
    dates.map_err(|error| error.in_file(path))?;
    out.put(&coloured(&comparison))?;
    Ok(comparison)
}

/// What is new and what is gone in colours, where the output has them.
fn coloured(comparison: &impl fmt::Display) -> String {
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

/// Asks a person for what nobody types by habit. Who has no terminal is nobody who has read the review: what a pipe says
/// was written before it.
pub(super) fn confirm(
    question: &str,
    wanted: &str,
    instead: &str,
    is: impl FnOnce(&str) -> bool,
) -> Result<(), Error> {
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
