//! Several requests that are signed in one run: a list that names them all, whatever they say.
//!
//! A release in hash bins asks for hundreds of signatures. Most of those files say what they said before, with other
//! dates, and their holder has seen that; shown one after the other they would hide the few that do not.

use core::fmt;
use std::collections::BTreeMap;

use super::comparison::wrapped;
use super::{Change, Comparison, Warning};
use crate::date;
use crate::key::grouped;
use crate::request::{Progress, Request};
use crate::state::Before;

/// Requests with what each was held against.
pub struct Several<'r> {
    requests: Vec<(&'r Request, &'r Comparison)>,
    /// How many of them have a warning of this name and this text.
    warnings: BTreeMap<(&'static str, &'r str), usize>,
}

impl<'r> Several<'r> {
    /// All requests of a run, in their order.
    pub fn of(requests: impl IntoIterator<Item = (&'r Request, &'r Comparison)>) -> Several<'r> {
        let requests: Vec<_> = requests.into_iter().collect();
        let mut warnings = BTreeMap::new();
        for Warning { name, text } in requests.iter().flat_map(|(_, comparison)| &comparison.warnings) {
            *warnings.entry((*name, &**text)).or_insert(0) += 1;
        }
        Several { requests, warnings }
    }

    /// How many different warnings they have. One that is the same of several, word for word, is one.
    pub fn warnings(&self) -> usize {
        self.warnings.len()
    }

    /// Those that have to be shown in full. The others ask for nothing but another version and other dates of what was
    /// signed here before, and for each warning that one of them has so has another: the list tells it.
    pub fn to_show(&self) -> impl Iterator<Item = (&'r Request, &'r Comparison)> {
        self.requests.iter().copied().filter(|(_, comparison)| !self.is_renewal(comparison))
    }

    fn is_renewal(&self, comparison: &Comparison) -> bool {
        let of_every_renewal = |change: &Change| matches!(&*change.place, "version" | "issued" | "expires");
        comparison.before.signed().is_some()
            && comparison.all_targets_are_seen()
            && comparison.warnings.iter().all(|warning| self.count(warning) > 1)
            && comparison.changes.iter().all(of_every_renewal)
            && comparison.built.iter().all(|built| built.target.is_none())
    }

    fn count(&self, Warning { name, text }: &Warning) -> usize {
        self.warnings.get(&(*name, &**text)).copied().unwrap_or(0)
    }

    fn line(&self, request: &Request, comparison: &Comparison, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = comparison.before.version().unwrap_or(0);
        let changes = match comparison.changes.len() {
            1 => "1 change".to_owned(),
            count => format!("{count} changes"),
        };
        let says = match &comparison.before {
            _ if self.is_renewal(comparison) => format!("renews version {version}"),
            Before::Nothing => "all of it is new".to_owned(),
            _ => format!("{changes} since version {version}"),
        };
        let warnings = match comparison.warnings.len() {
            0 => String::new(),
            1 => ", 1 warning".to_owned(),
            count => format!(", {count} warnings"),
        };
        let signed: Vec<String> =
            request.state().iter().map(|Progress { have, need, .. }| format!("{have} of {need}")).collect();
        let expires = date::format(request.header().expires);
        write!(f, "{}: {says}{warnings}; expires {expires}; signed {}", request.title(), signed.join(", "))?;
        // Of 80 columns.
        writeln!(f, "\n  sha256 {}", grouped(&request.sha256()))
    }
}

/// The list: two lines for each, the second its digest; how many there are; and what several of them are warned of.
impl fmt::Display for Several<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (request, comparison) in &self.requests {
            self.line(request, comparison, f)?;
        }
        let (count, shown) = (self.requests.len(), self.to_show().count());
        let shown_above = match shown {
            1 => "1 is shown above".to_owned(),
            shown => format!("{shown} are shown above"),
        };
        let renew = match count - shown {
            1 => "1 renews".to_owned(),
            renewals => format!("{renewals} renew"),
        };
        writeln!(f, "requests: {count}; {shown_above}, {renew} what was seen here before")?;
        match self.warnings() {
            0 => writeln!(f, "warnings in all: none")?,
            warnings => writeln!(f, "warnings in all: {warnings}")?,
        }
        for ((name, text), of) in self.warnings.iter().filter(|(_, of)| **of > 1) {
            f.write_str(&wrapped(&format!("  ! {of} requests: {text} [{name}]")))?;
        }
        Ok(())
    }
}
