//! Maintenance windows: days of the week and times of the day.

use jiff::Timestamp;
use jiff::tz::TimeZone;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// When an installation and a restart may begin.
#[derive(Clone, Debug)]
pub(crate) struct Windows {
    windows: Vec<Window>,
    zone: TimeZone,
}

/// One window. It belongs to the day on which it opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Window {
    days: [bool; 7],
    /// Minutes since midnight.
    from: u16,
    /// Minutes since midnight; of the next day, if that is not after `from`.
    to: u16,
}

impl Windows {
    /// Windows of this time zone; always open if there is none.
    pub(crate) fn new(windows: Vec<Window>, zone: TimeZone) -> Self {
        Self { windows, zone }
    }

    /// Whether one is open. Nobody knows that of an unknown time, so it is not.
    pub(crate) fn is_open(&self, now: Option<u64>) -> bool {
        if self.windows.is_empty() {
            return true;
        }
        let time = now.and_then(|now| Timestamp::from_second(i64::try_from(now).ok()?).ok());
        let Some(time) = time.map(|time| time.to_zoned(self.zone.clone())) else { return false };
        let day = usize::try_from(time.weekday().to_monday_zero_offset()).unwrap_or(0);
        let minute = u16::try_from(i32::from(time.hour()) * 60 + i32::from(time.minute())).unwrap_or(0);
        self.windows.iter().any(|window| window.is_open(day, minute))
    }
}

impl Window {
    /// Reads `Mon-Fri 01:00-05:00`, `Sat,Sun 22:00-04:00`, `daily 02:00-03:30`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut words = text.split_whitespace();
        let (days, times, None) = (words.next()?, words.next()?, words.next()) else { return None };
        let (from, to) = times.split_once('-')?;
        Some(Self { days: parse_days(&days.to_ascii_lowercase())?, from: minute(from)?, to: minute(to)? })
    }

    fn is_open(&self, day: usize, minute: u16) -> bool {
        let on = |day: usize| self.days.get(day % 7).copied().unwrap_or(false);
        if self.from < self.to {
            return on(day) && (self.from..self.to).contains(&minute);
        }
        (on(day) && minute >= self.from) || (on(day + 6) && minute < self.to)
    }
}

fn parse_days(text: &str) -> Option<[bool; 7]> {
    let day = |name: &str| DAYS.iter().position(|day| *day == name);
    let mut days = [text == "daily"; 7];
    if text == "daily" {
        return Some(days);
    }
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        for step in 0..=(last + 7 - first) % 7 {
            *days.get_mut((first + step) % 7)? = true;
        }
    }
    Some(days)
}

/// Minutes since midnight, of which 24:00 is one.
fn minute(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two_digits = |text: &str| (text.len() == 2).then(|| text.parse::<u16>().ok()).flatten();
    let minutes = two_digits(hour)? * 60 + two_digits(minute).filter(|minute| *minute < 60)?;
    (minutes <= 24 * 60).then_some(minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2026-11-22T00:00:00Z, a Sunday.
    const SUNDAY: u64 = 1_795_305_600;
    const HOUR: u64 = 3600;

    #[test]
    fn window_is_open_on_its_days_and_over_midnight() {
        let open = |text: &str, at: u64| {
            Windows::new(vec![Window::parse(text).unwrap()], TimeZone::UTC).is_open(Some(at))
        };
        for (text, at, expected) in [
            ("daily 01:00-05:00", SUNDAY + HOUR, true),
            ("daily 01:00-05:00", SUNDAY + HOUR - 1, false),
            ("daily 01:00-05:00", SUNDAY + 5 * HOUR, false),
            ("Mon-Fri 01:00-05:00", SUNDAY + 2 * HOUR, false),
            ("Sat,Sun 01:00-05:00", SUNDAY + 2 * HOUR, true),
            // From Saturday evening into Sunday, which is not named.
            ("Sat 22:00-04:00", SUNDAY + 3 * HOUR, true),
            ("Sun 22:00-04:00", SUNDAY + 3 * HOUR, false),
            ("Sun 22:00-04:00", SUNDAY + 23 * HOUR, true),
            ("Fri-Mon 00:00-24:00", SUNDAY + 12 * HOUR, true),
            ("Fri-Mon 00:00-24:00", SUNDAY + 60 * HOUR, false),
        ] {
            assert_eq!(open(text, at), expected, "{text} at {at}");
        }
        let window = vec![Window::parse("daily 00:00-24:00").unwrap()];
        assert!(!Windows::new(window, TimeZone::UTC).is_open(None), "an unknown time is in no window");
        assert!(Windows::new(Vec::new(), TimeZone::UTC).is_open(None), "no window, no bound");
    }

    #[test]
    fn window_in_another_zone_follows_its_clock() {
        let zone = TimeZone::fixed(jiff::tz::offset(2));
        let windows = Windows::new(vec![Window::parse("daily 03:00-04:00").unwrap()], zone);
        assert!(windows.is_open(Some(SUNDAY + HOUR)));
        assert!(!windows.is_open(Some(SUNDAY + 3 * HOUR)));
    }

    #[test]
    fn window_that_is_none_is_refused() {
        for text in [
            "",
            "daily",
            "01:00-05:00",
            "Mon 1:00-05:00",
            "Mon 01:00-24:01",
            "Mon 01:60-02:00",
            "Moon 01:00-02:00",
            "Mon 01:00-02:00 UTC",
        ] {
            assert_eq!(Window::parse(text), None, "{text}");
        }
    }
}
