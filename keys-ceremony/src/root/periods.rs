//! How long the files of each role are good for, and when they are to be signed anew.

use std::fmt;

use serde_json::{Map, Value, json};

use crate::encoding::member;
use crate::metadata::Role;
use crate::{Error, Misuse, Rejected};

const DAY: u64 = 86_400;

/// The longest period, in days: ten years. What is good for longer is good for ever, and then nobody hears of it
/// when a repository dies.
const LONGEST: u32 = 3650;

/// How far apart people are to be called together, in days: a ceremony that slips by a week, and another week
/// for the next one.
const APART: u32 = 14;

/// One role's files: for how many days they are good, and for how many of these they are due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Period {
    expiry: u32,
    signing: u32,
}

impl Period {
    /// In days: 1 to 3650, and `signing` less than `expiry`.
    pub const fn new(expiry: u32, signing: u32) -> Option<Period> {
        if 0 < signing && signing < expiry && expiry <= LONGEST {
            Some(Period { expiry, signing })
        } else {
            None
        }
    }

    /// What a person means by `365/60`: good for 365 days, due in the last 60 of them.
    ///
    /// # Errors
    /// [`Misuse::NotAPeriod`].
    pub fn parse(text: &str) -> Result<Period, Error> {
        let days = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten()
        };
        text.split_once('/')
            .and_then(|(expiry, signing)| Period::new(days(expiry)?, days(signing)?))
            .ok_or_else(|| Misuse::NotAPeriod { text: text.to_owned() }.into())
    }

    /// Days from the date of issue to the expiry.
    pub fn expiry(&self) -> u32 {
        self.expiry
    }

    /// Days before the expiry from which on the role is to be signed anew.
    pub fn signing(&self) -> u32 {
        self.signing
    }

    /// When a file that expires then is due; both in seconds since 1970-01-01 UTC.
    pub fn due(&self, expires: u64) -> u64 {
        expires.saturating_sub(u64::from(self.signing) * DAY)
    }

    /// Days from one signature to the next, if each is made on the day on which it is due.
    fn round(&self) -> u32 {
        self.expiry - self.signing
    }

    fn from_value(value: &Value) -> Option<Period> {
        let days = |name: &str| u32::try_from(value.get(name)?.as_u64()?).ok();
        Period::new(days("expiry")?, days("signing")?)
    }

    fn to_value(self) -> Value {
        json!({ "expiry": self.expiry, "signing": self.signing })
    }
}

/// As [`Period::parse`] reads it.
impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.expiry, self.signing)
    }
}

/// The period of each top-level role, in the order of [`Role::TOP_LEVEL`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Periods([Period; 4]);

/// Root 365/60, targets 180/35, snapshot 30/7, timestamp 7/2.
///
/// People sign the first two, and should not be called for both at once. Signed anew whenever it is due, a root
/// comes round every 305 days and targets every 145; so the days on which they fall due, and those on which they
/// would expire, stay 15 days apart or more for the first seven roots, which is almost six years. By then a
/// release or a lost key will have moved them. A year and half a year, due two months and one month before, would
/// have met within five days in the first year.
///
/// Machines sign the last two, each day if they like. What they miss shows after days and not after a month.
impl Default for Periods {
    fn default() -> Periods {
        const fn period(expiry: u32, signing: u32) -> Period {
            // Evaluated when a constant is made, where it would not compile.
            Period::new(expiry, signing).unwrap()
        }
        const DEFAULT: Periods = Periods([period(365, 60), period(180, 35), period(30, 7), period(7, 2)]);
        DEFAULT
    }
}

impl Periods {
    /// That of a role; none if a root does not name the role.
    pub fn of(&self, role: &Role) -> Option<Period> {
        let index = Role::TOP_LEVEL.iter().position(|other| other == role)?;
        self.0.get(index).copied()
    }

    /// Sets that of a role that a root names.
    pub(super) fn set(&mut self, role: &Role, period: Period) {
        for (other, kept) in Role::TOP_LEVEL.iter().zip(&mut self.0) {
            if other == role {
                *kept = period;
            }
        }
    }

    /// When a root that is issued then expires; both in seconds since 1970-01-01 UTC.
    ///
    /// That is after its period, or up to a quarter of it earlier if the root would otherwise fall due, or expire,
    /// within two weeks of when another role does that is signed on the same day and from then on whenever it is
    /// due. If no day is far enough from all, the period stands. Roles that come round more often than every eight
    /// weeks do not count: no day is far from theirs, and machines sign them.
    pub fn root_expires(&self, issued: u64) -> u64 {
        let [Period { expiry, signing }, ..] = self.0;
        let soonest = (expiry - expiry / 4).max(signing + 1);
        let days = (soonest..=expiry).rev().find(|days| self.stands_apart(*days)).unwrap_or(expiry);
        issued.saturating_add(u64::from(days) * DAY)
    }

    /// Whether a root that is good for so many days falls due and expires apart from the others.
    fn stands_apart(&self, days: u32) -> bool {
        let [root, others @ ..] = self.0;
        others.into_iter().filter(|other| other.round() >= 4 * APART).all(|other| {
            let due_apart = distance(days - root.signing, other.round(), other.round()) >= APART;
            due_apart && distance(days, other.expiry, other.round()) >= APART
        })
    }

    /// Reads the member `periods` of a root's `signed` value, if there is one.
    ///
    /// # Errors
    /// [`Rejected::WrongField`].
    pub(crate) fn from_root(signed: &Value) -> Result<Option<Periods>, Error> {
        let Some(written) = signed.get("periods") else { return Ok(None) };
        let mut periods = Periods::default();
        for role in Role::TOP_LEVEL {
            let expected = "whole days, `expiry` at most 3650 and `signing` from 1 to less than `expiry`";
            let period = member(written, role.name(), expected, Period::from_value)
                .map_err(|_| Rejected::WrongField { field: format!("periods.{role}"), expected })?;
            periods.set(&role, period);
        }
        Ok(Some(periods))
    }

    /// The member `periods`.
    pub(super) fn to_value(self) -> Value {
        let period = |role: Role| Some((role.name().to_owned(), self.of(&role)?.to_value()));
        Value::Object(Role::TOP_LEVEL.into_iter().filter_map(period).collect::<Map<_, _>>())
    }
}

/// Days from `day` to the nearest of `first`, `first + round`, `first + 2 * round`, ….
fn distance(day: u32, first: u32, round: u32) -> u32 {
    match day.checked_sub(first) {
        None => first - day,
        Some(beyond) => (beyond % round).min(round - beyond % round),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn period(text: &str) -> Period {
        Period::parse(text).unwrap()
    }

    fn periods(root: &str, targets: &str) -> Periods {
        let mut periods = Periods::default();
        periods.set(&Role::Root, period(root));
        periods.set(&Role::Targets, period(targets));
        periods
    }

    #[test]
    fn period_at_its_bounds_is_read_and_beyond_them_refused() {
        for text in ["2/1", "365/60", "3650/3649"] {
            assert_eq!(period(text).to_string(), text);
        }
        let (expires, due) = (400 * DAY, 340 * DAY);
        assert_eq!(period("365/60").due(expires), due);
        for text in
            ["", "365", "365/", "/60", "1/1", "60/60", "60/365", "365/0", "3651/60", "+365/60", "365/60/1"]
        {
            let refused = Misuse::NotAPeriod { text: text.to_owned() }.into();
            assert_eq!(Period::parse(text).unwrap_err(), refused);
        }
    }

    #[test]
    fn default_periods_call_nobody_for_root_and_targets_at_once() {
        let Periods([root, targets, ..]) = Periods::default();
        let days = |period: Period, last: u32| {
            (1..=last).map(move |time| (time * period.round(), time * period.round() + period.signing))
        };
        for (root_due, root_expires) in days(root, 7) {
            for (due, expires) in days(targets, 20) {
                assert!(root_due.abs_diff(due) > APART, "due on days {root_due} and {due}");
                assert!(
                    root_expires.abs_diff(expires) > APART,
                    "expire on days {root_expires} and {expires}"
                );
            }
        }
        assert_eq!(Periods::default().root_expires(0), 365 * DAY);
    }

    #[test]
    fn root_that_would_fall_due_with_another_role_expires_earlier() {
        for (root, targets, days) in [
            // The same period: two weeks earlier than the targets, in both.
            ("365/60", "365/60", 351),
            // Due on days 150 and 300, five before the root.
            ("365/60", "180/30", 350 - 4),
            ("365/30", "365/60", 351),
            ("365/60", "3650/60", 365),
            // Nothing is two weeks from each of these; or they are a machine's.
            ("40/10", "80/20", 40),
            ("365/60", "30/7", 365),
            ("2/1", "365/60", 2),
        ] {
            let expires = periods(root, targets).root_expires(7);
            assert_eq!(expires, 7 + days * DAY, "{root} beside {targets}: {}", expires / DAY);
        }
    }

    #[test]
    fn periods_of_a_root_read_back_as_written() {
        let written = periods("400/50", "200/40");
        let signed = json!({ "periods": written.to_value() });
        assert_eq!(
            signed["periods"].to_string(),
            "{\"root\":{\"expiry\":400,\"signing\":50},\"snapshot\":{\"expiry\":30,\"signing\":7},\
            \"targets\":{\"expiry\":200,\"signing\":40},\"timestamp\":{\"expiry\":7,\"signing\":2}}"
        );
        assert_eq!(Periods::from_root(&signed).unwrap(), Some(written));
        assert_eq!(Periods::from_root(&json!({})).unwrap(), None);
        // What a later version adds is skipped.
        let mut later = signed.clone();
        later["periods"]["bins"] = json!({ "expiry": 1 });
        later["periods"]["root"]["rehearsal"] = json!(3);
        assert_eq!(Periods::from_root(&later).unwrap(), Some(written));
        for (field, wrong) in [
            ("root", json!({ "expiry": 60, "signing": 60 })),
            ("root", json!({ "expiry": 60 })),
            ("targets", json!({ "expiry": 3651, "signing": 60 })),
            ("snapshot", json!({ "expiry": "30", "signing": 7 })),
            ("timestamp", json!([7, 2])),
            ("timestamp", Value::Null),
        ] {
            let mut other = signed.clone();
            other["periods"][field] = wrong;
            match Periods::from_root(&other).unwrap_err() {
                Error::Rejected { why: Rejected::WrongField { field: named, .. }, .. } => {
                    assert_eq!(named, format!("periods.{field}"));
                }
                error => panic!("{error}"),
            }
        }
    }
}
