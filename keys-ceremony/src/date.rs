//! Dates as metadata write them, and as people do.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};
use tuffet_client::time;

use crate::{Error, Misuse};

/// `YYYY-MM-DDTHH:MM:SSZ` as seconds since 1970-01-01 UTC; nothing else is a date in metadata.
pub fn parse(text: &str) -> Option<u64> {
    time::parse(text.as_bytes())
}

/// Seconds since 1970-01-01 UTC as `YYYY-MM-DDTHH:MM:SSZ`.
pub fn format(seconds: u64) -> String {
    time::Date(seconds).to_string()
}

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// How far `date` lies from `now`, in words: "in 365 days", "3 hours ago", "in 6 minutes", "now".
///
/// The nearest day from 36 hours on, the nearest hour from 90 minutes on. Two people who read the same file aloud, one
/// a moment after the other, say the same.
pub fn distance(date: u64, now: u64) -> String {
    let apart = date.abs_diff(now);
    let (count, unit) = match apart {
        0..MINUTE => return "now".to_owned(),
        MINUTE..5400 => (nearest(apart, MINUTE), "minute"),
        5400..129_600 => (nearest(apart, HOUR), "hour"),
        _ => (nearest(apart, DAY), "day"),
    };
    let plural = if count == 1 { "" } else { "s" };
    if date > now { format!("in {count} {unit}{plural}") } else { format!("{count} {unit}{plural} ago") }
}

/// The nearest day from `now` to `date`, as [`distance`] has it; once the date has come it is negative, -1 for the
/// first day and a half.
pub fn days(date: u64, now: u64) -> i64 {
    let days = i64::try_from(nearest(date.abs_diff(now), DAY)).unwrap_or(i64::MAX);
    if date > now { days } else { -days.max(1) }
}

fn nearest(seconds: u64, unit: u64) -> u64 {
    seconds.saturating_add(unit / 2) / unit
}

/// What a person means by `365d`, `1 year`, `in 90 days`, `2027-12-31` or a whole date, seen from `now`.
///
/// # Errors
/// [`Misuse::NotADate`].
pub fn when(text: &str, now: u64) -> Result<u64, Error> {
    let error = || Error::from(Misuse::NotADate { text: text.to_owned() });
    let trimmed = text.trim();
    if let Some(date) = parse(trimmed) {
        return Ok(date);
    }
    let time = if let Ok(date) = trimmed.parse::<Date>() {
        date.to_zoned(TimeZone::UTC).map_err(|_| error())?.timestamp()
    } else {
        let span: Span = trimmed.strip_prefix("in ").unwrap_or(trimmed).parse().map_err(|_| error())?;
        let now = Timestamp::from_second(i64::try_from(now).map_err(|_| error())?).map_err(|_| error())?;
        now.to_zoned(TimeZone::UTC).checked_add(span).map_err(|_| error())?.timestamp()
    };
    u64::try_from(time.as_second()).map_err(|_| error())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T13:14:15Z.
    const NOW: u64 = 1_795_353_255;

    #[test]
    fn when_as_people_write_it_is_understood() {
        for (text, date) in [
            ("365d", "2027-11-22T13:14:15Z"),
            ("1 year", "2027-11-22T13:14:15Z"),
            ("in 90 days", "2027-02-20T13:14:15Z"),
            ("1mo", "2026-12-22T13:14:15Z"),
            ("12h", "2026-11-23T01:14:15Z"),
            ("2027-12-31", "2027-12-31T00:00:00Z"),
            ("2028-02-29T23:59:59Z", "2028-02-29T23:59:59Z"),
        ] {
            assert_eq!(format(when(text, NOW).unwrap()), date, "{text}");
        }
    }

    #[test]
    fn when_that_is_no_date_is_refused_by_name() {
        for text in ["", "365", "soon", "2027-02-30", "1969-12-31", "in", "9999999999y", "3000000h 2"] {
            let error = when(text, NOW).unwrap_err();
            assert_eq!(error, Misuse::NotADate { text: text.to_owned() }.into());
        }
    }

    #[test]
    fn distance_is_the_nearest_day_hour_or_minute_and_days_agree() {
        for (seconds, future, past, to_come, gone) in [
            (0, "now", "now", -1, -1),
            (59, "now", "now", 0, -1),
            (60, "in 1 minute", "1 minute ago", 0, -1),
            (6 * MINUTE + 29, "in 6 minutes", "6 minutes ago", 0, -1),
            (90 * MINUTE - 1, "in 90 minutes", "90 minutes ago", 0, -1),
            (90 * MINUTE, "in 2 hours", "2 hours ago", 0, -1),
            (20 * HOUR + 5, "in 20 hours", "20 hours ago", 1, -1),
            (36 * HOUR - 1, "in 36 hours", "36 hours ago", 1, -1),
            (36 * HOUR, "in 2 days", "2 days ago", 2, -2),
            (36 * DAY - 1, "in 36 days", "36 days ago", 36, -36),
            (365 * DAY - 1, "in 365 days", "365 days ago", 365, -365),
            (365 * DAY + 5, "in 365 days", "365 days ago", 365, -365),
        ] {
            assert_eq!(distance(NOW + seconds, NOW), future);
            assert_eq!(distance(NOW - seconds, NOW), past);
            assert_eq!((days(NOW + seconds, NOW), days(NOW - seconds, NOW)), (to_come, gone), "{future}");
        }
        assert_eq!(distance(u64::MAX, 0), "in 213503982334601 days");
    }
}
