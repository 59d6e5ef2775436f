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

/// How far `date` lies from `now`, in whole days, in words: "in 365 days", "3 days ago", "today".
pub fn distance(date: u64, now: u64) -> String {
    let days = date.abs_diff(now) / 86_400;
    match days {
        0 => "within a day".to_owned(),
        _ => {
            let unit = if days == 1 { "day" } else { "days" };
            if date > now { format!("in {days} {unit}") } else { format!("{days} {unit} ago") }
        }
    }
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
    fn distance_counts_whole_days() {
        assert_eq!(distance(NOW + 86_400, NOW), "in 1 day");
        assert_eq!(distance(NOW + 365 * 86_400 + 5, NOW), "in 365 days");
        assert_eq!(distance(NOW - 3 * 86_400, NOW), "3 days ago");
        assert_eq!(distance(NOW + 80_000, NOW), "within a day");
    }
}
