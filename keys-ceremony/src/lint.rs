//! Everything that would trouble a device later, found before it does.
//!
//! What a device refuses today the devices' verifier says here, too. The rest are habits that end badly: roles that
//! expire on one day, a role that one lost key stops, a file that grows towards a bound.

mod file;
mod finding;
mod links;
mod policy;

use serde_json::{Value, json};
use tuffet_client::Limits;

use crate::metadata::Role;
use crate::published::{Kind, Subject};
use crate::root::Devices;
use crate::{Error, Rejected, canonical, date};

pub use finding::{Finding, Rule, Severity};

/// What was found in repositories, files and requests.
#[derive(Debug)]
pub struct Report {
    at: u64,
    looked_at: Vec<String>,
    findings: Vec<Finding>,
}

impl Report {
    /// Looks at everything, at `now`, in seconds since 1970-01-01 UTC.
    ///
    /// # Errors
    /// [`Environment::Io`](crate::Environment::Io).
    pub fn of(subjects: &[Subject], now: u64) -> Result<Report, Error> {
        let mut findings = Vec::new();
        for subject in subjects {
            let mut found = Findings { subject, all: Vec::new() };
            found.look(now)?;
            findings.append(&mut found.all);
        }
        // What must be mended first comes first; a repository named twice has each fault once.
        findings.sort();
        findings.dedup();
        let name = |subject: &Subject| crate::text::plain(&subject.path.display().to_string());
        Ok(Report { at: now, looked_at: subjects.iter().map(name).collect(), findings })
    }

    /// What was found, errors first.
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.rule.severity() == severity).count()
    }

    /// Whether there is no error; and with `strict` no warning.
    ///
    /// # Errors
    /// [`Rejected::Findings`].
    pub fn verdict(&self, strict: bool) -> Result<(), Error> {
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        if errors == 0 && (warnings == 0 || !strict) {
            return Ok(());
        }
        Err(Rejected::Findings { errors, warnings }.into())
    }

    /// One line of JSON, keys sorted, all text printable ASCII. `docs/status-and-lint.md` has the members.
    ///
    /// # Errors
    /// None: everything in it is text and integers.
    pub fn to_json(&self) -> Result<Vec<u8>, Error> {
        let findings: Vec<Value> = self.findings.iter().map(Finding::json).collect();
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let mut line = canonical::published_bytes(&json!({
            "at": date::format(self.at),
            "findings": findings,
            "paths": self.looked_at,
            "summary": { "errors": errors, "warnings": warnings },
        }))?;
        line.push(b'\n');
        Ok(line)
    }
}

/// Lines for a terminal, with colours that a stream without one drops.
impl core::fmt::Display for Report {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        self.findings.iter().try_for_each(|finding| writeln!(f, "{finding}"))?;
        let (errors, warnings) = (self.count(Severity::Error), self.count(Severity::Warning));
        let paths = self.looked_at.join(", ");
        match errors + warnings {
            0 => writeln!(f, "{paths}: nothing to complain about"),
            _ => writeln!(f, "{paths}: errors: {errors}, warnings: {warnings}"),
        }
    }
}

/// Findings of one subject as they come.
struct Findings<'s> {
    subject: &'s Subject,
    all: Vec<Finding>,
}

impl Findings<'_> {
    fn look(&mut self, now: u64) -> Result<(), Error> {
        let subject = self.subject;
        if let Some(request) = &subject.request {
            match request {
                Ok(request) => self.request(request, now),
                Err(error) => {
                    let why = format!("{error} [K{}]", error.code());
                    self.add(Rule::Refused, &subject.path.display().to_string(), "request", why);
                }
            }
            return Ok(());
        }
        if let Some(version) = subject.roots.gap {
            let why =
                format!("{version}.root.json is not there, though a later root is: devices stop before it");
            self.add(Rule::RootGap, &self.place(&format!("{version}.root.json")), "root", why);
        }
        for document in &subject.files {
            self.document(document, now);
        }
        if subject.kind == Kind::Repository {
            self.links()?;
            self.expiries();
        }
        let root = subject.top(&Role::Root);
        if let (Some(root), Some(signed)) = (root, root.and_then(|root| root.signed())) {
            self.root_policy(&root.path.display().to_string(), signed);
        }
        Ok(())
    }

    /// The limits of the smallest device, as the newest root states them.
    fn limits(&self) -> Limits {
        let root = self.subject.newest_root();
        let devices = root.and_then(|root| Devices::from_root(&root).unwrap_or_default());
        devices.unwrap_or_default().limits()
    }

    fn place(&self, name: &str) -> String {
        self.subject.directory.join(name).display().to_string()
    }

    fn add(&mut self, rule: Rule, place: &str, role: &str, why: impl Into<String>) {
        let plain = crate::text::plain;
        let finding = Finding { rule, place: plain(place), role: plain(role), why: plain(&why.into()) };
        self.all.push(finding);
    }

    /// Whether it is known by a name of its own why devices refuse a role's file.
    fn explained(&self, role: &str) -> bool {
        self.all.iter().any(|finding| finding.role == role && finding.rule.explains_a_refusal())
    }
}
