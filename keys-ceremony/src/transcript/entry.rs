//! One entry, and its line.

use serde_json::{Value, json};

use crate::encoding::{is_digest, member};
use crate::metadata::Role;
use crate::request::Request;
use crate::uri::KeyUri;
use crate::{Error, Rejected, canonical, date};

/// The format of an entry. Raised when a reader of the old one could misunderstand the new.
const FORMAT: u64 = 1;

/// Characters of the tool's name and version.
const TOOL: usize = 64;

/// One entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From 1 on.
    pub number: u32,
    /// SHA-256 of the bytes of the entry before; of the first, [`start`](super::start) of the repository.
    pub before: String,
    /// The digest of root 1.
    pub repository: String,
    /// When, by the clock of the machine or as its holder said with `--now`, in seconds since 1970-01-01 UTC.
    pub time: u64,
    /// The tool and its version.
    pub tool: String,
    /// What was done.
    pub act: Act,
}

/// What was done to which bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Act {
    /// What.
    pub action: Action,
    /// The role of the metadata.
    pub role: Role,
    /// Its version.
    pub version: u32,
    /// SHA-256 of the signed bytes.
    pub sha256: String,
}

/// What can be done.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// The first root was drafted.
    Draft,
    /// The next root was drafted.
    Next,
    /// The next root was drafted, without lost keys.
    Revoke,
    /// A holder agreed to the repository.
    Trust,
    /// A key signed.
    Sign {
        /// The key.
        keyid: String,
        /// Where it was.
        source: Source,
    },
    /// The metadata file was made of a request that enough keys had signed.
    Finish,
}

impl Action {
    /// As the entry writes it.
    pub fn name(&self) -> &'static str {
        match self {
            Action::Draft => "draft",
            Action::Next => "next",
            Action::Revoke => "revoke",
            Action::Trust => "trust",
            Action::Sign { .. } => "sign",
            Action::Finish => "finish",
        }
    }
}

/// The kind of place that a key was in; never which: a path says whose laptop to look for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// A file.
    File,
    /// An environment variable.
    Variable,
    /// A token.
    Token,
    /// Another program's, which made the signature elsewhere.
    Detached,
}

impl Source {
    pub(super) const ALL: [Source; 4] = [Source::File, Source::Variable, Source::Token, Source::Detached];

    /// Of a key that the URI names.
    pub fn of(uri: &KeyUri) -> Source {
        match uri {
            KeyUri::File(_) => Source::File,
            KeyUri::Variable(_) => Source::Variable,
            KeyUri::Token(_) => Source::Token,
        }
    }

    /// As the entry writes it.
    pub fn name(self) -> &'static str {
        match self {
            Source::File => "file",
            Source::Variable => "variable",
            Source::Token => "token",
            Source::Detached => "detached",
        }
    }
}

impl Act {
    /// Something that is done to what a request asks to sign.
    pub fn of(request: &Request, action: Action) -> Act {
        let header = request.header();
        let sha256 = request.sha256();
        Act { action, role: header.role.clone(), version: header.version, sha256 }
    }
}

impl Entry {
    pub(super) fn new(number: u32, before: String, repository: String, act: Act, time: u64) -> Entry {
        let tool = concat!("tuffet-keys ", env!("CARGO_PKG_VERSION")).to_owned();
        Entry { number, before, repository, time, tool, act }
    }

    /// The line, without its line feed.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        canonical::signed_bytes(&self.to_value())
    }

    pub(super) fn to_value(&self) -> Value {
        let Entry { number, before, repository, time, tool, act } = self;
        let mut value = json!({
            "action": act.action.name(),
            "before": before,
            "entry": number,
            "format": FORMAT,
            "repository": repository,
            "role": act.role.name(),
            "sha256": act.sha256,
            "time": date::format(*time),
            "tool": tool,
            "version": act.version,
        });
        if let Action::Sign { keyid, source } = &act.action {
            value["keyid"] = json!(keyid);
            value["source"] = json!(source.name());
        }
        value
    }

    /// Reads a line, or says what is wrong with it. There is one line for each entry: what reads as one and would be
    /// written otherwise is none.
    pub(super) fn from_bytes(line: &[u8]) -> Result<Entry, String> {
        let value = canonical::parse_signed(line).map_err(what_alone)?;
        match value.get("format").and_then(Value::as_u64) {
            Some(FORMAT) | None => {}
            Some(format) => {
                return Err(format!("its format {format} is for a newer tuffet-keys"));
            }
        }
        let entry = Entry::from_value(&value).map_err(what_alone)?;
        if entry.to_bytes().map_err(what_alone)? == line {
            Ok(entry)
        } else {
            Err("it has members that no entry has".to_owned())
        }
    }

    fn from_value(value: &Value) -> Result<Entry, Error> {
        let text = |name: &'static str, expected: &'static str, is: &dyn Fn(&str) -> bool| {
            member(value, name, expected, |value| value.as_str().filter(|text| is(text))).map(str::to_owned)
        };
        let digest = |name| text(name, "a SHA-256 digest in lower-case hex", &is_digest);
        let number = |name| {
            member(value, name, "an integer from 1 to 4294967295", |value| {
                u32::try_from(value.as_u64()?).ok().filter(|number| *number > 0)
            })
        };
        let action = match text("action", "an action", &|_| true)?.as_str() {
            "draft" => Action::Draft,
            "next" => Action::Next,
            "revoke" => Action::Revoke,
            "trust" => Action::Trust,
            "finish" => Action::Finish,
            "sign" => Action::Sign {
                keyid: digest("keyid")?,
                source: member(value, "source", "`file`, `variable`, `token` or `detached`", |value| {
                    Source::ALL.into_iter().find(|source| value.as_str() == Some(source.name()))
                })?,
            },
            _ => {
                let expected = "an action that is known here";
                return Err(Rejected::WrongField { field: "action".to_owned(), expected }.into());
            }
        };
        let role = member(value, "role", "a role", |value| Role::named(value.as_str()?))?;
        let act = Act { action, role, version: number("version")?, sha256: digest("sha256")? };
        Ok(Entry {
            number: number("entry")?,
            before: digest("before")?,
            repository: digest("repository")?,
            time: member(value, "time", "a date YYYY-MM-DDTHH:MM:SSZ", |value| date::parse(value.as_str()?))?,
            tool: text("tool", "1 to 64 printable ASCII characters", &|text| {
                (1..=TOOL).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
            })?,
            act,
        })
    }
}

/// What is wrong, without what to do about it: that is said once for the whole file.
fn what_alone(error: Error) -> String {
    let text = error.to_string();
    text.split_once("; ").map_or(text.clone(), |(what, _)| what.to_owned())
}
