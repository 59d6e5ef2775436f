//! The transcript of a ceremony: what other commands write into it, and what can be done with it.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde_json::json;
use tuffet_keys::request::Request;
use tuffet_keys::root::Chain;
use tuffet_keys::transcript::{self as script, Act, Action, Head, Terms, Transcript as Script};
use tuffet_keys::{Error, Misuse, canonical};

use super::Output;
use super::args::Form;
use super::root::chain_to;
use super::runbook::quoted;

#[derive(Subcommand)]
pub(crate) enum Transcript {
    /// Show who did what, in order and by holder
    #[command(after_help = super::args::example("transcript show ceremony.transcript --names keys/", ""))]
    Show(Show),
    /// Make sure that no entry was changed or dropped; at the end that takes the head, or a root that records it
    #[command(after_help = super::args::example("transcript verify ceremony.transcript --root 2.root.json", VERIFY))]
    Verify(Verify),
    /// Show the digest of the last entry in groups, to be read aloud
    #[command(after_help = super::args::example("transcript head ceremony.transcript", ""))]
    Head(One),
}

const VERIFY: &str = "Each entry names the digest of the one before it, so a change within breaks the chain. Entries \
that are missing at the end break nothing, and neither does a file that somebody wrote anew: both show when the head \
is compared with the one that was read aloud (--head), and with the one that a root records (--root).

Exit status: 0 as it was, 1 not, 2 wrong usage, 3 the machine failed.";

#[derive(Args)]
pub(crate) struct One {
    /// The transcript
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Show {
    /// The transcript
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Verify {
    /// The transcript
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// The head that was read aloud or printed: all 64 digits, in groups or not
    #[arg(long, num_args = 1..=8, value_name = "DIGEST")]
    head: Vec<String>,

    /// A root that was drafted with --transcript, such as 2.root.json; those before it lie beside it
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,

    /// All roots before it, from 1.root.json on [default: N.root.json beside FILE]
    #[arg(long, num_args = 1.., value_name = "FILE", requires = "root")]
    root_chain: Vec<PathBuf>,

    /// How to write it
    #[arg(long, value_enum, default_value_t, value_name = "FORM")]
    output: Form,
}

/// Of commands that a transcript records.
#[derive(Args)]
pub(crate) struct Recording {
    /// Append what is done to this transcript, which begins if it is not there
    #[arg(long, value_name = "FILE", env = "TUFFET_TRANSCRIPT", hide_env_values = true)]
    transcript: Option<PathBuf>,
}

impl Recording {
    /// Whether something could be appended, asked before anybody types a passphrase. `written` is the other file that
    /// the command writes.
    pub(super) fn check(&self, request: &Request, written: Option<&Path>) -> Result<(), Error> {
        let Some(path) = &self.transcript else { return Ok(()) };
        if written == Some(path) {
            let why = "the transcript is a file of its own";
            return Err(Error::from(Misuse::Options { why }).in_file(path));
        }
        script::head(path, &Terms::of_request(request)?).map(drop)
    }

    /// As the commands that follow are given it, with a space before; nothing without a transcript.
    pub(super) fn option(&self) -> String {
        let path = self.transcript.as_deref();
        path.map_or_else(String::new, |path| format!(" --transcript {}", quoted(path)))
    }

    /// The head that the root after this chain records.
    pub(super) fn head(&self, chain: &Chain) -> Result<Option<Head>, Error> {
        match (&self.transcript, Terms::after(chain)) {
            (Some(path), Some(terms)) => script::head(path, &terms),
            _ => Ok(None),
        }
    }

    /// Appends what is about to be done. It comes first, so that nothing gets out that the transcript does not have.
    /// Gives the line to be shown at the end.
    pub(super) fn append(
        &self,
        request: &Request,
        actions: impl IntoIterator<Item = Action>,
        now: u64,
        out: &mut Output,
    ) -> Result<String, Error> {
        let Some(path) = &self.transcript else { return Ok(String::new()) };
        let acts: Vec<Act> = actions.into_iter().map(|action| Act::of(request, action)).collect();
        let head = script::append(path, &Terms::of_request(request)?, &acts, now)?;
        out.written(path);
        Ok(format!("transcript {}: {head}\n", path.display()))
    }
}

pub(super) fn run(command: &Transcript, out: &mut Output) -> Result<(), Error> {
    match command {
        Transcript::Show(Show { file }) => {
            let text = Script::read(file)?.show(&out.names).to_string();
            out.put(&text)
        }
        Transcript::Verify(command) => verify(command, out),
        Transcript::Head(One { file }) => out.put(&format!("{}\n", Script::read(file)?.head())),
    }
}

fn verify(command: &Verify, out: &mut Output) -> Result<(), Error> {
    let Verify { file, head, root, root_chain, output } = command;
    let given = match head.concat() {
        text if head.is_empty() && text.is_empty() => None,
        text => Some(script::parse_head(&text).map_err(|error| error.at("--head"))?),
    };
    let transcript = Script::read(file)?;
    if let Some(digest) = &given {
        transcript.check_head(digest).map_err(|error| error.in_file(file))?;
    }
    let recorded = match root {
        Some(root) => {
            let chain = chain_to(root, root_chain)?;
            let checked = transcript.check_root(&chain).map_err(|error| match error {
                // About the root; the others are about the transcript.
                Error::Misuse { .. } => error.in_file(root),
                _ => error.in_file(file),
            });
            Some(checked?)
        }
        None => None,
    };
    if let Form::Json = output {
        let mut value = transcript.to_json();
        value["head_given"] = json!(given.is_some());
        if let Some((version, Head { entries, sha256 })) = recorded {
            value["recorded"] = json!({ "entries": entries, "root": version, "sha256": sha256 });
        }
        let text = canonical::published_bytes(&value)?;
        return out.put(&format!("{}\n", String::from_utf8_lossy(&text)));
    }
    out.put(&format!("verified: {}\n", transcript.head()))?;
    if given.is_some() {
        out.put("its head is the one that was given: it is all there\n")?;
    }
    if let Some((version, head)) = &recorded {
        out.put(&format!("root {version} records how it began: {head}\n"))?;
    }
    if given.is_none() {
        out.put("compare the head with the one that was read aloud: entries that are missing at the end show by it alone\n")?;
    }
    Ok(())
}
