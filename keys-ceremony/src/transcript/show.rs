//! A transcript for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value, json};

use super::{Act, Action, Source, Transcript};
use crate::date;
use crate::error::short;
use crate::key::grouped;
use crate::names::Names;
use crate::text::plain;

/// A transcript in words: what was done to which bytes, in order, and then by holder. `Display` gives lines for a
/// terminal, control characters escaped.
#[derive(Clone, Debug)]
pub struct Shown<'a> {
    transcript: &'a Transcript,
    names: &'a Names,
}

impl Transcript {
    /// In words; `names` are those of the keys.
    pub fn show<'a>(&'a self, names: &'a Names) -> Shown<'a> {
        Shown { transcript: self, names }
    }

    /// For programs: entries as they stand in the file, and the head.
    pub fn to_json(&self) -> Value {
        let entries: Vec<Value> = self.entries.iter().map(super::Entry::to_value).collect();
        json!({ "entries": entries, "head": self.head().to_value(), "repository": self.repository })
    }
}

impl Shown<'_> {
    /// The holder by the name of his key, and always by its keyid, for names are the reader's own.
    fn holder(&self, keyid: &str) -> String {
        let (name, key) = (self.names.of(keyid), short(keyid));
        if name == key { format!("key {key}") } else { format!("{name} (key {key})") }
    }

    fn deed(&self, action: &Action) -> String {
        match action {
            Action::Draft => "drafted".to_owned(),
            Action::Next => "drafted as the next root".to_owned(),
            Action::Revoke => "drafted as the next root, without lost keys".to_owned(),
            Action::Trust => "trusted, and its repository with it".to_owned(),
            Action::Sign { keyid, source } => format!("signed by {}, {}", self.holder(keyid), from(*source)),
            Action::Finish => "finished".to_owned(),
        }
    }
}

fn from(source: Source) -> &'static str {
    match source {
        Source::File => "from a file",
        Source::Variable => "from a variable",
        Source::Token => "on a token",
        Source::Detached => "made elsewhere",
    }
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Transcript { repository, entries, .. } = self.transcript;
        writeln!(f, "transcript of the repository whose root 1 is sha256 {}", grouped(repository))?;
        let mut last: Option<&Act> = None;
        for entry in entries {
            let act = &entry.act;
            let same = |last: &Act| {
                (&last.role, last.version, &last.sha256) == (&act.role, act.version, &act.sha256)
            };
            if !last.is_some_and(same) {
                writeln!(f, "{} version {}, sha256 {}", act.role, act.version, grouped(&act.sha256))?;
            }
            last = Some(act);
            let (time, deed, tool) = (date::format(entry.time), self.deed(&act.action), plain(&entry.tool));
            writeln!(f, "{:>5}  {time}  {deed}  [{tool}]", entry.number)?;
        }
        let mut holders: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for entry in entries {
            if let Action::Sign { keyid, .. } = &entry.act.action {
                let signed = format!("{} {} (entry {})", entry.act.role, entry.act.version, entry.number);
                holders.entry(keyid).or_default().push(signed);
            }
        }
        writeln!(f, "{}", if holders.is_empty() { "nobody has signed" } else { "by holder" })?;
        for (keyid, signed) in holders {
            writeln!(f, "  {}: {}", self.holder(keyid), signed.join(", "))?;
        }
        writeln!(f, "{}", self.transcript.head())
    }
}
