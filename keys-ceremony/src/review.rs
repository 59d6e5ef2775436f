//! What a holder sees before signing, decoded from the very bytes that are signed.

use std::fmt;

use crate::request::Request;

/// A request in words. `Display` gives lines for a terminal, control characters escaped.
#[derive(Clone, Debug)]
pub struct Review {
    lines: Vec<String>,
}

/// Describes a request; `now` in seconds since 1970-01-01 UTC.
pub fn describe(_request: &Request, _now: u64) -> Review {
    Review { lines: Vec::new() }
}

impl fmt::Display for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}
