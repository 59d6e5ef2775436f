//! Several requests that are signed in one run: a list that names them all, whatever they say.
//!
//! A release in hash bins asks for hundreds of signatures. Most of those files say what they said before, with other
//! dates, and their holder has seen that; shown one after the other they would hide the few that do not.

use core::fmt::{self, Write as _};

use super::{Change, Comparison};
use crate::date;
use crate::key::grouped;
use crate::request::{Progress, Request};
use crate::state::Before;

impl Comparison {
    /// Whether a request asks for nothing but another version and other dates of what was seen here before, and nothing
    /// about it is unusual.
    pub fn is_renewal(&self) -> bool {
        let of_every_renewal = |change: &Change| matches!(&*change.place, "version" | "issued" | "expires");
        self.before.value().is_some() && self.warnings.is_empty() && self.changes.iter().all(of_every_renewal)
    }
}

/// The list of several requests, each with what it was held against: two lines for each, the second its digest, and how
/// many there are.
pub fn list<'r>(requests: impl IntoIterator<Item = (&'r Request, &'r Comparison)>) -> String {
    let mut text = String::new();
    let (mut count, mut renewals, mut warnings) = (0, 0, 0);
    for (request, comparison) in requests {
        // Writing into memory cannot fail.
        let _ = line(request, comparison, &mut text);
        count += 1;
        renewals += usize::from(comparison.is_renewal());
        warnings += comparison.warnings.len();
    }
    let shown = match count - renewals {
        1 => "1 is shown above".to_owned(),
        shown => format!("{shown} are shown above"),
    };
    let renew = if renewals == 1 { "1 renews".to_owned() } else { format!("{renewals} renew") };
    let warnings = if warnings == 0 { "none".to_owned() } else { warnings.to_string() };
    text + &format!(
        "requests: {count}; {shown}, {renew} what was seen here before\nwarnings in all: {warnings}\n"
    )
}

fn line(request: &Request, comparison: &Comparison, text: &mut String) -> fmt::Result {
    let version = comparison.before.value().map_or(0, |before| before["version"].as_u64().unwrap_or(0));
    let changes = match comparison.changes.len() {
        1 => "1 change".to_owned(),
        count => format!("{count} changes"),
    };
    let says = match &comparison.before {
        _ if comparison.is_renewal() => format!("renews version {version}"),
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
    write!(text, "{}: {says}{warnings}; expires {expires}; signed {}", request.title(), signed.join(", "))?;
    // Of 80 columns.
    writeln!(text, "\n  sha256 {}", grouped(&request.sha256()))
}
