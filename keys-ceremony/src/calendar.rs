//! Dates of a repository as a calendar (RFC 5545): for each role when signing is due, and when it expires.

use crate::published::Kind;
use crate::status::{Described, RoleStatus, State, Status};
use crate::{Error, Misuse, date, file};

/// Octets of a line without its end, at the most (RFC 5545, 3.1).
const LINE: usize = 75;

/// Who wrote it: by this line a file is known as one that may be replaced.
const PRODUCT: &str = "PRODID:-//Tuffet//tuffet-keys//EN";

/// How long before signing is due the alarm goes off (RFC 5545, 3.8.6.3): a day, for a timestamp has but a few.
const ALARM: &str = "TRIGGER:-P1D";

/// The events of all published files; `now` in seconds since 1970-01-01 UTC.
///
/// An event is known by the repository's digest, the role and what is due, so that the next calendar updates it
/// where this one was imported. Requests have none, for their dates are no facts yet; neither have refused files.
pub fn render(status: &Status, now: u64) -> Vec<u8> {
    let mut calendar = Calendar { text: String::new(), known: Vec::new() };
    calendar.line("BEGIN:VCALENDAR");
    calendar.line("VERSION:2.0");
    calendar.line(PRODUCT);
    calendar.line("CALSCALE:GREGORIAN");
    for subject in status.subjects.iter().filter(|subject| subject.kind != Kind::Request) {
        for role in &subject.roles {
            calendar.events(subject, role, now);
        }
    }
    calendar.line("END:VCALENDAR");
    calendar.text.into_bytes()
}

/// Writes a calendar, in the place of an older one.
///
/// # Errors
/// [`Misuse::FileExists`] if the file that is there is no calendar of this tool, or
/// [`Environment::Io`](crate::Environment::Io).
pub fn write(path: &std::path::Path, calendar: &[u8]) -> Result<(), Error> {
    if path.symlink_metadata().is_err() {
        return file::create(path, calendar, file::Access::Shared);
    }
    let there = file::read(path)?;
    let head = there.get(..256).unwrap_or(&there);
    let is_ours = head.starts_with(b"BEGIN:VCALENDAR\r\n")
        && head.windows(PRODUCT.len()).any(|part| part == PRODUCT.as_bytes());
    if !is_ours {
        return Err(Error::from(Misuse::FileExists).in_file(path));
    }
    file::replace(path, calendar, file::Access::Shared)
}

struct Calendar {
    text: String,
    /// Events that are there: a repository may be named twice.
    known: Vec<String>,
}

impl Calendar {
    fn events(&mut self, subject: &Described, role: &RoleStatus, now: u64) {
        let RoleStatus { role: name, version, expires, due, state, .. } = role;
        let (Some(repository), Some(version), Some(expires), Some(due)) =
            (&subject.repository, version, *expires, *due)
        else {
            return;
        };
        if matches!(state, State::Refused(_)) {
            return;
        }
        let signatures: Vec<String> = role.signatures.iter().map(ToString::to_string).collect();
        let about = format!(
            "{}: {name} version {version} expires {}. {}.\nRepository: root 1 is sha256 {repository}",
            subject.path,
            date::format(expires),
            signatures.join("; "),
        );
        for (what, moment, summary, alarm) in [
            ("signing", due, format!("Sign the next {name} (version {version} expires soon)"), true),
            (
                "expiry",
                expires,
                format!("{name} version {version} expires: devices refuse it from now on"),
                false,
            ),
        ] {
            let uid = format!("{repository}.{}.{what}@tuffet", uid_part(name));
            if self.known.contains(&uid) {
                continue;
            }
            self.line("BEGIN:VEVENT");
            self.line(&format!("UID:{uid}"));
            self.line(&format!("DTSTAMP:{}", stamp(now)));
            // A later version of the same event wins.
            self.line(&format!("SEQUENCE:{version}"));
            self.line(&format!("DTSTART:{}", stamp(moment)));
            self.line(&format!("SUMMARY:{}", escaped(&summary)));
            self.line(&format!("DESCRIPTION:{}", escaped(&about)));
            self.line("TRANSP:TRANSPARENT");
            if alarm {
                self.line("BEGIN:VALARM");
                self.line("ACTION:DISPLAY");
                self.line(&format!("DESCRIPTION:{}", escaped(&summary)));
                self.line(ALARM);
                self.line("END:VALARM");
            }
            self.line("END:VEVENT");
            self.known.push(uid);
        }
    }

    /// A line, folded. All text is ASCII, so that no character is torn.
    fn line(&mut self, line: &str) {
        let mut room = LINE;
        for (index, c) in line.chars().enumerate() {
            if room == 0 && index > 0 {
                self.text.push_str("\r\n ");
                // The space counts.
                room = LINE - 1;
            }
            self.text.push(c);
            room -= 1;
        }
        self.text.push_str("\r\n");
    }
}

/// RFC 5545, 3.3.5, form 2: UTC.
fn stamp(seconds: u64) -> String {
    date::format(seconds).replace(['-', ':'], "")
}

/// RFC 5545, 3.3.11.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace(';', "\\;").replace(',', "\\,").replace('\n', "\\n")
}

/// A role's name of any characters, as a part of an identifier that has few.
fn uid_part(role: &str) -> String {
    let part = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    role.bytes().map(part).collect()
}
