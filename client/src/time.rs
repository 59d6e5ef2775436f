//! Dates as TUF writes them, and the time against which a cycle judges them.

use core::fmt;

use crate::Role;
use crate::error::Rejected;

/// A moment in UTC, in seconds since 1970-01-01; shown as TUF writes it, `2026-11-22T13:00:00Z`.
///
/// Moments after the year 9999 have no such form and are shown as `9999-12-31T23:59:59Z`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Date(pub u64);

/// 9999-12-31T23:59:59Z, the last moment that the format can name.
const LAST: u64 = 253_402_300_799;
/// Seconds in a day; POSIX time has no leap seconds.
const DAY: u64 = 86_400;

/// Reads `YYYY-MM-DDTHH:MM:SSZ` (TUF 4.2: UTC, no fraction, no offset) from 1970 to 9999.
///
/// Returns seconds since 1970-01-01, or `None` if the text has another form or names no real moment.
#[must_use]
pub fn parse(text: &[u8]) -> Option<u64> {
    let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1, b'T', h0, h1, b':', i0, i1, b':', s0, s1, b'Z'] = text
    else {
        return None;
    };
    let year = digits(&[y0, y1, y2, y3])?;
    let month = digits(&[m0, m1])?;
    let day = digits(&[d0, d1])?;
    let (hour, minute, second) = (digits(&[h0, h1])?, digits(&[i0, i1])?, digits(&[s0, s1])?);
    if year < 1970 || !(1..=12).contains(&month) || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    if day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let days = days_before_year(year)
        .saturating_add((1..month).fold(0, |sum: u64, m| sum.saturating_add(days_in_month(year, m))))
        .saturating_add(day.saturating_sub(1));
    let clock = hour.saturating_mul(3600).saturating_add(minute.saturating_mul(60)).saturating_add(second);
    Some(days.saturating_mul(DAY).saturating_add(clock))
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.min(LAST);
        let (mut days, clock) = (seconds / DAY, seconds % DAY);
        let mut year = 1970;
        while days >= days_in_year(year) {
            days = days.saturating_sub(days_in_year(year));
            year = year.saturating_add(1);
        }
        let mut month = 1;
        while days >= days_in_month(year, month) {
            days = days.saturating_sub(days_in_month(year, month));
            month = month.saturating_add(1);
        }
        let day = days.saturating_add(1);
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

fn digits(text: &[u8]) -> Option<u64> {
    text.iter().try_fold(0_u64, |number, byte| {
        let digit = byte.checked_sub(b'0').filter(|digit| *digit < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

fn is_leap(year: u64) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

fn days_in_year(year: u64) -> u64 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: u64, month: u64) -> u64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of January of `year`.
fn days_before_year(year: u64) -> u64 {
    let leap_days = |year: u64| (year / 4).saturating_sub(year / 100).saturating_add(year / 400);
    let passed = year.saturating_sub(1);
    // 477 leap days lie before 1970.
    year.saturating_sub(1970).saturating_mul(365).saturating_add(leap_days(passed)).saturating_sub(477)
}

/// What the device knows of the time when a cycle starts (5.1: the update start time is fixed).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Clock {
    /// No clock: the cycle judges by the floors alone, the latest `issued` that was ever verified.
    Unknown,
    /// Seconds since 1970-01-01. It need not be authenticated: it is used, never stored as a floor.
    At(u64),
}

/// The moment against which a cycle judges expiry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    /// The update start time, in seconds since 1970.
    pub(crate) start: u64,
    /// Timestamp and snapshot came with a bundle, and may have expired on the way.
    pub(crate) offline: bool,
}

impl Moment {
    /// A file that expires at the start time has expired: the specification asks for "higher than".
    pub(crate) fn fresh(self, role: Role, expires: u64) -> Result<(), Rejected> {
        let excused = self.offline && matches!(role, Role::Timestamp | Role::Snapshot);
        if expires > self.start || excused {
            Ok(())
        } else {
            Err(Rejected::Freeze { role, expires: Date(expires), start: Date(self.start) })
        }
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::string::ToString;

    #[test]
    fn date_of_known_moments_parses_and_prints() {
        // From `date -u -d TEXT +%s`.
        for (text, seconds) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29T12:34:56Z", 951_827_696),
            ("2026-11-22T13:14:15Z", 1_795_353_255),
            ("2100-03-01T00:00:00Z", 4_107_542_400),
            ("9999-12-31T23:59:59Z", LAST),
        ] {
            assert_eq!(parse(text.as_bytes()), Some(seconds), "{text}");
            assert_eq!(Date(seconds).to_string(), text);
        }
        assert_eq!(Date(u64::MAX).to_string(), "9999-12-31T23:59:59Z");
    }

    #[test]
    fn date_of_every_day_round_trips() {
        let mut seconds = 0;
        while seconds < LAST {
            assert_eq!(parse(Date(seconds).to_string().as_bytes()), Some(seconds));
            seconds += 86_399 * 41;
        }
    }

    #[test]
    fn date_in_another_form_is_refused() {
        for text in [
            "",
            "2026-11-22",
            "2026-11-22T13:14:15",
            "2026-11-22T13:14:15.0Z",
            "2026-11-22T13:14:15+00:00",
            "2026-11-22 13:14:15Z",
            "2026-11-22T13:14:15z",
            "2026-13-01T00:00:00Z",
            "2026-00-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-04-31T00:00:00Z",
            "2026-01-00T00:00:00Z",
            "2026-01-01T24:00:00Z",
            "2026-01-01T00:60:00Z",
            "2026-01-01T00:00:60Z",
            "1969-12-31T23:59:59Z",
            "+026-01-01T00:00:00Z",
        ] {
            assert_eq!(parse(text.as_bytes()), None, "{text}");
        }
    }
}
