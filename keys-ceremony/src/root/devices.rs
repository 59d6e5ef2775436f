//! The smallest device that a root must do for.

use std::fmt;

use serde_json::{Map, Value, json};
use tuffet_client::limits::{DEVICE, Limits};

use crate::encoding::member;
use crate::{Error, Misuse, Rejected};

/// What every device verifies.
const SCHEME: &str = "ecdsa-sha2-nistp256";

/// The bounds that may be less in an older or smaller client, as a root writes them, in its order. A key, a signature
/// and what a message takes are fixed by the scheme.
const NAMES: [&str; 10] = [
    "keys",
    "names",
    "roles",
    "root_file",
    "roots",
    "signatures",
    "snapshot_file",
    "targets_file",
    "text",
    "timestamp_file",
];

/// What the client of today takes, in the order of [`NAMES`]. Nothing larger was ever shipped.
const MOST: [u32; 10] = [
    DEVICE.keys as u32,
    DEVICE.names as u32,
    DEVICE.roles as u32,
    DEVICE.root_file,
    DEVICE.roots,
    DEVICE.signatures as u32,
    DEVICE.snapshot_file,
    DEVICE.targets_file,
    DEVICE.text as u32,
    DEVICE.timestamp_file,
];

/// The smallest profile of any client that was ever shipped for a repository, as its roots state it in `devices`.
///
/// Devices do not grow. What one of these would refuse strands those that are out there, whatever the client of today
/// takes. By default it is the client of today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Devices([u32; 10]);

impl Default for Devices {
    fn default() -> Devices {
        Devices(MOST)
    }
}

impl Devices {
    /// The same for the devices' verifier.
    pub fn limits(&self) -> Limits {
        let [
            keys,
            names,
            roles,
            root_file,
            roots,
            signatures,
            snapshot_file,
            targets_file,
            text,
            timestamp_file,
        ] = self.0;
        Limits {
            keys: keys as usize,
            names: names as usize,
            roles: roles as usize,
            root_file,
            roots,
            signatures: signatures as usize,
            snapshot_file,
            targets_file,
            text: text as usize,
            timestamp_file,
            ..DEVICE
        }
    }

    /// Sets one limit, as a person writes it: `keys=8`, `root-file=8192`.
    ///
    /// # Errors
    /// [`Misuse::NotADeviceLimit`]; nothing has changed then.
    pub fn set(&mut self, text: &str) -> Result<(), Error> {
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u32>().ok()).flatten()
        };
        let found = text.split_once('=').and_then(|(name, value)| {
            let index = NAMES.iter().position(|other| typed(other) == name)?;
            let value = number(value).filter(|value| (1..=MOST[index]).contains(value))?;
            Some((index, value))
        });
        let (index, value) = found.ok_or_else(|| Misuse::NotADeviceLimit { text: text.to_owned() })?;
        self.0[index] = value;
        Ok(())
    }

    /// The smaller of both in each limit.
    #[must_use]
    pub fn and(self, other: Devices) -> Devices {
        let mut both = self;
        for (one, other) in both.0.iter_mut().zip(other.0) {
            *one = other.min(*one);
        }
        both
    }

    /// Each limit that is higher than it was, with what it was and is.
    pub(crate) fn raised(&self, before: &Devices) -> impl Iterator<Item = (String, u32, u32)> {
        let (before, after) = (before.0, self.0);
        (0..NAMES.len())
            .filter(move |&index| after[index] > before[index])
            .map(move |index| (typed(NAMES[index]), before[index], after[index]))
    }

    /// Reads the member `devices` of a root's `signed` value, if there is one.
    ///
    /// # Errors
    /// [`Rejected::WrongField`].
    pub(crate) fn from_root(signed: &Value) -> Result<Option<Devices>, Error> {
        let Some(written) = signed.get("devices") else { return Ok(None) };
        let mut devices = Devices::default();
        let none = Value::Null;
        let limits = written.get("limits").unwrap_or(&none);
        for (name, kept) in NAMES.iter().zip(&mut devices.0) {
            let most = *kept;
            let expected = "an integer from 1 to what the client of today takes";
            *kept = member(limits, name, expected, |value| {
                u32::try_from(value.as_u64()?).ok().filter(|value| (1..=most).contains(value))
            })
            .map_err(|_| Rejected::WrongField { field: format!("devices.limits.{name}"), expected })?;
        }
        if written.get("schemes") != Some(&json!([SCHEME])) {
            let expected = "a list of ecdsa-sha2-nistp256 alone";
            return Err(Rejected::WrongField { field: "devices.schemes".to_owned(), expected }.into());
        }
        Ok(Some(devices))
    }

    /// The member `devices`.
    pub(crate) fn to_value(self) -> Value {
        let limits = NAMES.iter().zip(self.0).map(|(name, value)| ((*name).to_owned(), value.into()));
        json!({ "limits": limits.collect::<Map<_, _>>(), "schemes": [SCHEME] })
    }

    /// The scheme of the keys that it verifies with.
    pub(crate) fn scheme(&self) -> &'static str {
        SCHEME
    }
}

/// As "keys 12, names 160" and so on, each by the name that [`Devices::set`] reads.
impl fmt::Display for Devices {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let limits: Vec<String> =
            NAMES.iter().zip(self.0).map(|(name, value)| format!("{} {value}", typed(name))).collect();
        f.write_str(&limits.join(", "))
    }
}

/// A limit's name as people type it.
fn typed(name: &str) -> String {
    name.replace('_', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_a_root_read_back_as_written() {
        let mut devices = Devices::default();
        assert_eq!(devices.limits(), DEVICE);
        assert_eq!(
            devices.to_value().to_string(),
            "{\"limits\":{\"keys\":12,\"names\":160,\"roles\":8,\"root_file\":32768,\"roots\":64,\"signatures\":8,\
            \"snapshot_file\":4194304,\"targets_file\":16777216,\"text\":320,\"timestamp_file\":16384},\
            \"schemes\":[\"ecdsa-sha2-nistp256\"]}"
        );
        for (text, number) in NAMES.iter().zip(1..).map(|(name, number)| (typed(name), number)) {
            devices.set(&format!("{text}={number}")).unwrap();
        }
        let expected = Limits {
            keys: 1,
            names: 2,
            roles: 3,
            root_file: 4,
            roots: 5,
            signatures: 6,
            snapshot_file: 7,
            targets_file: 8,
            text: 9,
            timestamp_file: 10,
            ..DEVICE
        };
        assert_eq!(devices.limits(), expected);
        let signed = json!({ "devices": devices.to_value() });
        assert_eq!(Devices::from_root(&signed).unwrap(), Some(devices));
        assert_eq!(Devices::from_root(&json!({})).unwrap(), None);
        // What a later version adds is skipped.
        let mut later = signed;
        later["devices"]["since"] = json!("1.0");
        later["devices"]["limits"]["depth"] = json!(12);
        assert_eq!(Devices::from_root(&later).unwrap(), Some(devices));
    }

    #[test]
    fn device_limit_at_its_bounds_is_taken_and_beyond_them_refused() {
        let mut devices = Devices::default();
        for (name, most) in NAMES.iter().zip(MOST) {
            for value in [1, most] {
                devices.set(&format!("{}={value}", typed(name))).unwrap();
            }
        }
        assert_eq!(devices, Devices::default());
        for text in [
            "",
            "keys",
            "keys=",
            "=8",
            "keys=0",
            "keys=13",
            "keys=+8",
            "keys=8=8",
            "Keys=8",
            "root_file=8192",
            "key=33",
            "signature=72",
            "message=0",
            "keys=4294967297",
        ] {
            let refused = Misuse::NotADeviceLimit { text: text.to_owned() }.into();
            assert_eq!(devices.set(text).unwrap_err(), refused);
            assert_eq!(devices, Devices::default(), "{text}");
        }
    }

    #[test]
    fn raised_limits_are_told_and_lowered_ones_are_not() {
        let with = |limits: &[&str]| {
            let mut devices = Devices::default();
            limits.iter().for_each(|limit| devices.set(limit).unwrap());
            devices
        };
        let before = with(&["keys=8", "root-file=8192"]);
        let raised: Vec<_> = with(&["keys=9", "root-file=8192", "text=300"]).raised(&before).collect();
        assert_eq!(raised, [("keys".to_owned(), 8, 9)]);
        assert_eq!(before.raised(&before).count(), 0);
        assert_eq!(Devices::default().raised(&before).count(), 2);
    }
}
