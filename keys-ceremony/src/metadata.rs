//! The parts that every metadata file has, read strictly.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use serde_json::{Value, json};
use tuffet_client::FileName;

use crate::encoding::{from_hex, hex, is_digest, member};
use crate::text::plain;
use crate::{Error, Rejected, canonical, date};

/// The `spec_version` that is written. Any 1.x is read.
pub const SPEC_VERSION: &str = "1.0.34";

/// How far a date of issue may lie ahead of the present, in seconds. Clocks of two machines differ; a device
/// that believes it is an hour later than it is does no harm, and is right again an hour on.
pub const ISSUED_LEEWAY: u64 = 3600;

/// A role whose metadata can be signed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Role {
    /// Names the keys and thresholds of all the others.
    Root,
    /// Says what may be installed.
    Targets,
    /// Says which targets metadata belong together.
    Snapshot,
    /// Says which snapshot is the newest.
    Timestamp,
    /// Says what may be installed under some paths. A targets file gives it its name and its keys.
    Delegated(String),
}

/// Bytes of a delegated role's name, at the most: devices keep its length in one byte.
const NAME: usize = 255;

impl Role {
    /// The roles that a root must define.
    pub const TOP_LEVEL: [Role; 4] = [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp];

    /// The name as metadata writes it. That of a delegated role is its author's choice: for a terminal there is
    /// `Display`.
    pub fn name(&self) -> &str {
        match self {
            Role::Delegated(name) => name,
            Role::Root => "root",
            Role::Targets => "targets",
            Role::Snapshot => "snapshot",
            Role::Timestamp => "timestamp",
        }
    }

    /// The same role in the words of the devices' verifier.
    pub(crate) fn of_device(&self) -> tuffet_client::Role {
        match self {
            Role::Root => tuffet_client::Role::Root,
            Role::Targets => tuffet_client::Role::Targets,
            Role::Snapshot => tuffet_client::Role::Snapshot,
            Role::Timestamp => tuffet_client::Role::Timestamp,
            Role::Delegated(_) => tuffet_client::Role::Delegated,
        }
    }

    /// The role of that name: a top-level one, or else a delegated one if any can be called so.
    pub fn named(name: &str) -> Option<Role> {
        let delegated = || (1..=NAME).contains(&name.len()).then(|| Role::Delegated(name.to_owned()));
        Role::from_name(name).or_else(delegated)
    }

    /// The top-level role of that name.
    pub fn from_name(name: &str) -> Option<Role> {
        Role::TOP_LEVEL.into_iter().find(|role| role.name() == name)
    }

    /// The name as a file has it, so that no name leaves its directory: percent-encoded (RFC 3986).
    pub fn file_stem(&self) -> String {
        let unversioned = FileName { role: self.of_device(), version: None, name: self.name().as_bytes() };
        let file = unversioned.to_string();
        file.strip_suffix(".json").unwrap_or(&file).to_owned()
    }

    /// The role of a metadata file: by its `_type`, and of a delegated role by the file's name, `3.lamp.json`, for
    /// nothing in the file says that. None, if it is of no type that is known.
    pub fn of_file(path: &Path, signed: &Value) -> Option<Role> {
        let written = Role::from_name(signed["_type"].as_str()?)?;
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        let numbered = file.strip_suffix(".json").and_then(|file| file.split_once('.'));
        let stem = numbered.filter(|(version, _)| version.parse::<u32>().is_ok()).map(|(_, stem)| stem);
        let delegated = stem.and_then(Role::from_file_stem).filter(|role| matches!(role, Role::Delegated(_)));
        match written {
            Role::Targets => delegated.or(Some(Role::Targets)),
            other => Some(other),
        }
    }

    /// The role of a file, by its name without `.json` and version.
    pub fn from_file_stem(stem: &str) -> Option<Role> {
        let mut name = Vec::new();
        let mut rest = stem.as_bytes();
        while let [first, behind @ ..] = rest {
            let (byte, behind) = match (first, behind) {
                (b'%', [high, low, behind @ ..]) => {
                    let digits = [*high, *low];
                    (u8::from_str_radix(core::str::from_utf8(&digits).ok()?, 16).ok()?, behind)
                }
                (byte, behind) => (*byte, behind),
            };
            name.push(byte);
            rest = behind;
        }
        let role = Role::named(core::str::from_utf8(&name).ok()?)?;
        // One role has one file name.
        (role.file_stem() == stem).then_some(role)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&plain(self.name()))
    }
}

/// What the `signed` part of every role says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// `_type`, and of a delegated role, whose type is targets, its name: that of a file or of a request.
    pub role: Role,
    /// `version`, 1 or more.
    pub version: u32,
    /// `issued`, seconds since 1970-01-01 UTC.
    pub issued: u64,
    /// `expires`, seconds since 1970-01-01 UTC.
    pub expires: u64,
}

impl Header {
    /// Reads the header of a `signed` value.
    ///
    /// # Errors
    /// [`Rejected::WrongField`] names the first field that is not as the format says.
    pub fn from_signed(signed: &Value) -> Result<Header, Error> {
        let role = member(signed, "_type", "root, targets, snapshot or timestamp", |value| {
            Role::from_name(value.as_str()?)
        })?;
        member(signed, "spec_version", "1.x.y", |value| value.as_str()?.strip_prefix("1."))?;
        let version = member(signed, "version", "an integer from 1 to 4294967295", |value| {
            u32::try_from(value.as_u64()?).ok().filter(|&version| version > 0)
        })?;
        let issued =
            member(signed, "issued", "a date YYYY-MM-DDTHH:MM:SSZ", |value| date::parse(value.as_str()?))?;
        let expires =
            member(signed, "expires", "a date YYYY-MM-DDTHH:MM:SSZ", |value| date::parse(value.as_str()?))?;
        // Devices believe a date of issue for ever, and refuse one that lies behind the file's own expiry.
        if issued >= expires {
            let expected = "a date before `expires`";
            return Err(Rejected::WrongField { field: "issued".to_owned(), expected }.into());
        }
        Ok(Header { role, version, issued, expires })
    }

    /// The header of a file of this role. Those of delegated roles are of the type targets, and do not say of which role.
    ///
    /// # Errors
    /// [`Rejected::WrongField`] for a file of another type.
    pub fn of(self, role: &Role) -> Result<Header, Error> {
        let written = match role {
            Role::Delegated(_) => &Role::Targets,
            top_level => top_level,
        };
        if self.role != *written {
            let expected = "the role whose file it should be";
            return Err(Rejected::WrongField { field: "_type".to_owned(), expected }.into());
        }
        Ok(Header { role: role.clone(), ..self })
    }

    /// Refuses a date of issue that lies more than [`ISSUED_LEEWAY`] after `now`, in seconds since
    /// 1970-01-01 UTC. To be asked before anything is signed or published: devices believe the date of issue
    /// of offline roles for ever, so one in the year 2099 makes all that comes before it look expired.
    ///
    /// # Errors
    /// [`Rejected::IssuedInFuture`].
    pub fn check_issued(&self, now: u64) -> Result<(), Error> {
        let issued = self.issued;
        if issued > now.saturating_add(ISSUED_LEEWAY) {
            return Err(Rejected::IssuedInFuture { issued, now }.into());
        }
        Ok(())
    }
}

/// A metadata file: the signed value and the signatures over it, not verified.
#[derive(Clone, Debug, PartialEq)]
pub struct Envelope {
    /// The `signed` member.
    pub signed: Value,
    /// Keyid and signature bytes, in the file's order, no keyid twice.
    pub signatures: Vec<(String, Vec<u8>)>,
}

impl Envelope {
    /// Reads a metadata file.
    ///
    /// # Errors
    /// [`Rejected::TooLarge`], [`Rejected::NotJson`] or [`Rejected::WrongField`].
    pub fn parse(file: &[u8]) -> Result<Envelope, Error> {
        let value = canonical::parse(file)?;
        let signed =
            member(&value, "signed", "an object", |value| value.is_object().then_some(value))?.clone();
        let signatures = signatures(member(&value, "signatures", "a list", Value::as_array)?)?;
        Ok(Envelope { signed, signatures })
    }

    /// The published bytes, signatures sorted by keyid.
    ///
    /// # Errors
    /// [`Rejected::NotCanonical`].
    pub fn to_bytes(&self) -> Result<Vec<u8>, Error> {
        published(&canonical::published_bytes(&self.signed)?, &self.signatures)
    }
}

/// Keyids and signatures of a file's list.
///
/// # Errors
/// [`Rejected::WrongField`].
pub(crate) fn signatures(list: &[Value]) -> Result<Vec<(String, Vec<u8>)>, Error> {
    let mut signatures: Vec<(String, Vec<u8>)> = Vec::new();
    let mut seen = BTreeSet::new();
    for entry in list {
        let keyid = member(entry, "keyid", "a keyid", |value| value.as_str().filter(|text| is_digest(text)))?;
        let sig = from_hex(member(entry, "sig", "hex", Value::as_str)?, "sig")?;
        if !seen.insert(keyid) {
            let expected = "a list that names each keyid once";
            return Err(Rejected::WrongField { field: "signatures".to_owned(), expected }.into());
        }
        signatures.push((keyid.to_owned(), sig));
    }
    Ok(signatures)
}

/// The published bytes of a file: `signed` has those of its member, and the signatures are sorted by keyid.
pub(crate) fn published(signed: &[u8], signatures: &[(String, Vec<u8>)]) -> Result<Vec<u8>, Error> {
    let mut signatures = signatures.to_vec();
    signatures.sort();
    let signature = |(keyid, sig): &(String, Vec<u8>)| json!({ "keyid": keyid, "sig": hex(sig) });
    let signatures: Vec<Value> = signatures.iter().map(signature).collect();
    let before = canonical::published_bytes(&signatures.into())?;
    Ok([&b"{\"signatures\":"[..], &before, b",\"signed\":", signed, b"}"].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn role_has_one_file_name_and_no_other() {
        for (name, stem) in [
            ("targets", "targets"),
            ("lamp", "lamp"),
            ("a/b.c", "a%2Fb.c"),
            ("..", ".."),
            ("50% \u{e9}", "50%25%20%C3%A9"),
        ] {
            let role = Role::named(name).unwrap();
            assert_eq!(role.file_stem(), stem);
            assert_eq!(Role::from_file_stem(stem), Some(role));
        }
        assert_eq!(Role::named("root"), Some(Role::Root));
        for stem in ["", "%6camp", "%2f", "%", "%2", "%FF", "a/b", "a b"] {
            assert_eq!(Role::from_file_stem(stem), None, "{stem}");
        }
        assert_eq!(Role::named(&"n".repeat(256)), None);
    }

    #[test]
    fn check_issued_allows_an_hour_and_no_second_more() {
        /// 2026-11-22T13:14:15Z.
        const NOW: u64 = 1_795_353_255;
        let header = |issued| Header { role: Role::Targets, version: 1, issued, expires: u64::MAX };
        for issued in [0, NOW, NOW + 3600] {
            header(issued).check_issued(NOW).unwrap();
        }
        for issued in [NOW + 3601, u64::MAX] {
            let refused = Rejected::IssuedInFuture { issued, now: NOW }.into();
            assert_eq!(header(issued).check_issued(NOW).unwrap_err(), refused);
        }
        header(u64::MAX).check_issued(u64::MAX).unwrap();
        let error = header(NOW + 3601).check_issued(NOW).unwrap_err().to_string();
        assert!(error.contains("2026-11-22T14:14:16Z") && error.contains("2026-11-22T13:14:15Z"), "{error}");
    }
}
