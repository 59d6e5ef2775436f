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
    let text: &[u8; 20] = text.try_into().ok()?;
    // Four digits of a year, then pairs of digits, each behind its mark.
    let mut numbers = [0_u32; 6];
    for (byte, form) in text.iter().zip(b"0000-11-22T33:44:55Z") {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if form.is_ascii_digit() && digit < 10 {
            let number = numbers.get_mut(usize::from(form.wrapping_sub(b'0')))?;
            *number = number.wrapping_mul(10).wrapping_add(digit);
        } else if byte != form || form.is_ascii_digit() {
            return None;
        }
    }
    let [year, month, day, hour, minute, second] = numbers;
    let real = year >= 1970 && (1..=12).contains(&month) && hour < 24 && minute < 60 && second < 60;
    if !real || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    let days =
        (1..month).fold(days_before_year(year), |days, month| days.wrapping_add(days_in_month(year, month)));
    let days = days.wrapping_add(day).wrapping_sub(1);
    let clock = hour.wrapping_mul(3600).wrapping_add(minute.wrapping_mul(60)).wrapping_add(second);
    Some(u64::from(days).wrapping_mul(DAY).wrapping_add(clock.into()))
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.0.min(LAST);
        let [days, clock] = [seconds / DAY, seconds % DAY];
        let [mut days, clock] = [days, clock].map(|part| u32::try_from(part).unwrap_or_default());
        let mut year = 1970;
        while days >= days_in_year(year) {
            days = days.wrapping_sub(days_in_year(year));
            year = year.wrapping_add(1);
        }
        let mut month = 1;
        while days >= days_in_month(year, month) {
            days = days.wrapping_sub(days_in_month(year, month));
            month = month.wrapping_add(1);
        }
        let day = days.wrapping_add(1);
        let (hour, minute, second) = (clock / 3600, clock / 60 % 60, clock % 60);
        write!(f, "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
    }
}

fn is_leap(year: u32) -> bool {
    (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400)
}

fn days_in_year(year: u32) -> u32 {
    if is_leap(year) { 366 } else { 365 }
}

fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 to the first of January of `year`.
fn days_before_year(year: u32) -> u32 {
    let passed = year.wrapping_sub(1);
    let leap_days = (passed / 4).wrapping_sub(passed / 100).wrapping_add(passed / 400);
    // 477 leap days lie before 1970.
    year.wrapping_sub(1970).wrapping_mul(365).wrapping_add(leap_days).wrapping_sub(477)
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
