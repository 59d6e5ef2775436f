//! Dates as metadata write them, and as people do.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::{Error, Misuse};

/// `YYYY-MM-DDTHH:MM:SSZ` as seconds since 1970-01-01 UTC; nothing else is a date in metadata.
pub fn parse(text: &str) -> Option<u64> {
    let seconds = u64::try_from(text.parse::<Timestamp>().ok()?.as_second()).ok()?;
    (format(seconds) == text).then_some(seconds)
}

/// Seconds since 1970-01-01 UTC as `YYYY-MM-DDTHH:MM:SSZ`. Beyond the year 9999 it stays there.
pub fn format(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).unwrap_or(i64::MAX).min(LAST_SECOND);
    Timestamp::from_second(seconds)
        .map(|time| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
        .unwrap_or_default()
}

/// 9999-12-30T22:00:00Z, the last second that `jiff` can hold in every time zone.
const LAST_SECOND: i64 = 253_402_207_200;

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
