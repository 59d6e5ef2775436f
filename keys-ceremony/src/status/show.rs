//! The state in lines for people, and as JSON for programs.

use std::fmt;

use anstyle::{AnsiColor, Style};
use serde_json::{Map, Value, json};

use super::{Described, RoleStatus, Signatures, State, Status};
use crate::key::grouped;
use crate::published::Kind;
use crate::{Error, canonical, date};

/// Lines for a terminal, with colours that a stream without one drops.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, subject) in self.subjects.iter().enumerate() {
            if index > 0 {
                writeln!(f)?;
            }
            writeln!(f, "{}: {}, at {}", subject.path, subject.kind.word(), date::format(self.at))?;
            if let Some(digest) = &subject.repository {
                writeln!(f, "  repository: root 1 is sha256 {}", grouped(digest))?;
            }
            subject.roles.iter().try_for_each(|role| role.lines(self.at, f))?;
        }
        Ok(())
    }
}

impl Kind {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Kind::Repository => "repository",
            Kind::Metadata => "metadata file",
            Kind::Request => "signing request",
        }
    }
}

impl RoleStatus {
    fn lines(&self, at: u64, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let style = self.state.style();
        let version = self.version.map_or(String::new(), |version| format!(" version {version}"));
        let state = self.state.word().to_uppercase();
        let state = if self.state == State::Valid || self.state == State::Waiting {
            self.state.word()
        } else {
            &state
        };
        write!(f, "\n  {style}{state:<8}{style:#} {}{version}", self.role)?;
        writeln!(f, "  ({})", self.file)?;
        if let State::Refused(refusal) = &self.state {
            writeln!(f, "           refused      {} [{}]", refusal.message, refusal.code)?;
        }
        if let Some(expires) = self.expires {
            writeln!(
                f,
                "           expires      {} ({})",
                date::format(expires),
                date::distance(expires, at)
            )?;
        }
        if let Some(due) = self.due {
            writeln!(f, "           signing due  {} ({})", date::format(due), date::distance(due, at))?;
        }
        let several = self.signatures.len() > 1;
        for signatures in &self.signatures {
            let by = match signatures.root {
                Some(root) if several => format!(" (keys of root {root})"),
                _ => String::new(),
            };
            writeln!(f, "           {signatures}{by}")?;
        }
        Ok(())
    }

    fn json(&self, at: u64) -> Value {
        let moment = |seconds: Option<u64>| seconds.map(date::format);
        let days = |seconds: Option<u64>| seconds.map(|seconds| date::days(seconds, at));
        let refused = match &self.state {
            State::Refused(refusal) => json!({ "code": refusal.code, "message": refusal.message }),
            _ => Value::Null,
        };
        json!({
            "due": moment(self.due),
            "due_days": days(self.due),
            "expires": moment(self.expires),
            "expires_days": days(self.expires),
            "file": self.file,
            "refused": refused,
            "role": self.role,
            "signatures": self.signatures.iter().map(Signatures::json).collect::<Vec<_>>(),
            "state": self.state.word(),
            "version": self.version,
        })
    }
}

impl State {
    fn style(&self) -> Style {
        let color = match self {
            State::Valid => AnsiColor::Green,
            State::Waiting | State::Due => AnsiColor::Yellow,
            State::Expired | State::Missing | State::Refused(_) => AnsiColor::Red,
        };
        Style::new().bold().fg_color(Some(color.into()))
    }
}

impl Signatures {
    fn json(&self) -> Value {
        let Signatures { root, need, have, signed, missing } = self;
        json!({ "have": have, "missing": missing, "need": need, "root": root, "signed": signed })
    }
}

/// "signed 1 of 2: release-a; missing release-b, release-c", or "signed 3, 2 needed: release-a, release-b, release-c".
impl fmt::Display for Signatures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Signatures { need, have, signed, missing, .. } = self;
        let list = |names: &[String]| if names.is_empty() { "nobody".to_owned() } else { names.join(", ") };
        match have > need {
            true => write!(f, "signed {have}, {need} needed: {}", list(signed))?,
            false => write!(f, "signed {have} of {need}: {}", list(signed))?,
        }
        match missing.is_empty() {
            true => Ok(()),
            false if have >= need => write!(f, "; enough without {}", list(missing)),
            false => write!(f, "; missing {}", list(missing)),
        }
    }
}

impl Described {
    fn json(&self, at: u64) -> Value {
        json!({
            "kind": match self.kind {
                Kind::Repository => "repository",
                Kind::Metadata => "metadata",
                Kind::Request => "request",
            },
            "path": self.path,
            "repository": self.repository,
            "roles": self.roles.iter().map(|role| role.json(at)).collect::<Vec<_>>(),
        })
    }
}

impl Status {
    /// One line of JSON, keys sorted, all text printable ASCII. `docs/status-and-lint.md` has the members.
    ///
    /// # Errors
    /// None: everything in it is text and integers.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let mut summary = Map::new();
        for word in ["valid", "waiting", "due", "expired", "missing", "refused"] {
            let roles = self.subjects.iter().flat_map(|subject| &subject.roles);
            summary.insert(word.to_owned(), roles.filter(|role| role.state.word() == word).count().into());
        }
        let subjects: Vec<Value> = self.subjects.iter().map(|subject| subject.json(self.at)).collect();
        let mut line = canonical::published_bytes(&json!({
            "at": date::format(self.at),
            "subjects": subjects,
            "summary": summary,
        }))?;
        line.push(b'\n');
        Ok(line)
    }
}
