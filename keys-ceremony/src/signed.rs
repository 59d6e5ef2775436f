//! What of a metadata file is signed: its very bytes, and as much of what they say as somebody asks for.
//!
//! A targets file may have 16 MB, and its value takes thirty times that. So the header and the delegations are decoded
//! at once, and the rest only for who has to look at it.

use core::cell::OnceCell;
use core::ops::Range;
use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::Error;
use crate::canonical;
use crate::metadata::{Envelope, Header, Role, signatures};

/// The `signed` part of a metadata file.
#[derive(Clone, Debug)]
pub struct Signed {
    /// Canonical.
    bytes: Vec<u8>,
    /// The members that are decoded at once.
    head: Value,
    header: Header,
    /// Where the object of targets is, if there is one.
    targets: Option<Range<usize>>,
    value: OnceCell<Value>,
}

/// Those members. They are small, and the targets need not be.
const HEAD: [&str; 6] = ["_type", "delegations", "expires", "issued", "spec_version", "version"];

impl Signed {
    /// Of bytes that are to be signed, or were.
    ///
    /// # Errors
    /// As [`canonical::check_signed`] and [`Header::from_signed`].
    pub fn read(bytes: Vec<u8>) -> Result<Signed, Error> {
        canonical::check_signed(&bytes)?;
        Signed::of_checked(bytes)
    }

    /// Of a metadata file of any writer: whose signatures it has is not looked at.
    ///
    /// # Errors
    /// As [`Envelope::parse`] and [`Header::from_signed`].
    pub fn of_file(file: &[u8]) -> Result<Signed, Error> {
        // As we write it, of which no value is needed.
        if let Some([list, signed]) = canonical::published_members(file, ["signatures", "signed"])
            && let (Value::Array(list), [b'{', ..]) = (canonical::parse(list)?, signed)
        {
            signatures(&list)?;
            return Signed::of_checked(canonical::signed_of_checked(signed).into_owned());
        }
        // What a device hashes, for others write text beyond ASCII.
        Signed::of_checked(canonical::hashed_bytes(&Envelope::parse(file)?.signed)?)
    }

    fn of_checked(bytes: Vec<u8>) -> Result<Signed, Error> {
        let (mut head, mut targets) = (Map::new(), None);
        for (name, value) in canonical::members(&bytes) {
            if let Some(name) = HEAD.into_iter().find(|head| head.as_bytes() == name) {
                head.insert(name.to_owned(), canonical::value_of_checked(value));
            } else if let (b"targets", [b'{', ..]) = (name, value) {
                let start = value.as_ptr().addr() - bytes.as_ptr().addr();
                targets = Some(start..start + value.len());
            }
        }
        let head = Value::Object(head);
        let header = Header::from_signed(&head)?;
        Ok(Signed { bytes, head, header, targets, value: OnceCell::new() })
    }

    /// The same of this role. Files of delegated roles are of the type targets, and do not say of which role.
    ///
    /// # Errors
    /// As [`Header::of`].
    pub fn of(self, role: &Role) -> Result<Signed, Error> {
        Ok(Signed { header: self.header.of(role)?, ..self })
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Role, version and dates.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The header's members and `delegations`, and no others.
    pub fn head(&self) -> &Value {
        &self.head
    }

    /// All that it says, decoded when somebody first asks.
    pub fn value(&self) -> &Value {
        self.value.get_or_init(|| canonical::value_of_checked(&self.bytes))
    }

    /// The targets: paths, and what is said of each, not decoded.
    pub fn targets(&self) -> impl Iterator<Item = (Cow<'_, str>, &[u8])> {
        let listed = self.targets.iter().flat_map(|place| canonical::members(&self.bytes[place.clone()]));
        listed.map(|(name, value)| (canonical::text_of_checked(name), value))
    }

    /// What it says and what another file of its role said before, both decoded without the targets that are the same in
    /// both; and how many those are. Other roles have no targets, whatever they call a member.
    pub fn beside(&self, before: &Signed) -> (Value, Value, usize) {
        let has_targets = matches!(self.header.role, Role::Targets | Role::Delegated(_));
        let (true, Some(old), Some(new)) = (has_targets, &before.targets, &self.targets) else {
            return (before.value().clone(), self.value().clone(), 0);
        };
        let listed = (&before.bytes[old.clone()], &self.bytes[new.clone()]);
        let (gone, fresh, same) = canonical::differing(listed.0, listed.1);
        (before.with(old, &gone), self.with(new, &fresh), same)
    }

    /// The value with other targets in their place.
    fn with(&self, place: &Range<usize>, targets: &[u8]) -> Value {
        let (before, behind) = (&self.bytes[..place.start], &self.bytes[place.end..]);
        canonical::value_of_checked(&[before, targets, behind].concat())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn targets(version: u32, targets: &Value) -> Value {
        json!({
            "_type": "targets", "version": version, "spec_version": "1.0.34", "targets": targets,
            "issued": "2026-11-22T13:14:15Z", "expires": "2026-12-22T13:14:15Z",
            "delegations": { "keys": {}, "roles": [] }, "x-later": "line\nand line",
        })
    }

    fn file(signed: &Value) -> Value {
        json!({ "signatures": [{ "keyid": "ab".repeat(32), "sig": "00" }], "signed": signed })
    }

    #[test]
    fn file_of_any_writer_gives_the_bytes_that_a_device_hashes() {
        let ours = targets(1, &json!({ "a\"b": { "length": 1 } }));
        let bytes = canonical::published_bytes(&file(&ours)).unwrap();
        let pretty = serde_json::to_vec_pretty(&file(&ours)).unwrap();
        for written in [&bytes, &pretty] {
            let signed = Signed::of_file(written).unwrap();
            assert_eq!(signed.bytes(), canonical::signed_bytes(&ours).unwrap());
            assert_eq!((signed.value(), signed.header().version), (&ours, 1));
            let paths: Vec<_> = signed.targets().map(|(path, value)| (path.into_owned(), value)).collect();
            assert_eq!(paths, [("a\"b".to_owned(), &b"{\"length\":1}"[..])]);
            let mut head = ours.clone();
            head.as_object_mut().unwrap().retain(|name, _| !["targets", "x-later"].contains(&name.as_str()));
            assert_eq!(*signed.head(), head);
        }
        let accents = targets(1, &json!({ "\u{e9}": {} }));
        let signed = Signed::of_file(&serde_json::to_vec(&file(&accents)).unwrap()).unwrap();
        assert_eq!(*signed.value(), accents);
        assert_eq!(signed.targets().next().unwrap().0, "\u{e9}");
    }

    #[test]
    fn file_that_is_no_metadata_file_is_refused_however_it_is_written() {
        let good = file(&targets(1, &json!({})));
        let with = |pointer: &str, value: Value| {
            let mut changed = good.clone();
            *changed.pointer_mut(pointer).unwrap() = value;
            changed
        };
        let twice = json!([good["signatures"][0], good["signatures"][0]]);
        for bad in [
            with("/signatures", twice),
            with("/signatures", json!({})),
            with("/signatures/0/keyid", json!("ab")),
            with("/signatures/0/sig", json!("AB")),
            with("/signed", json!([])),
            with("/signed/version", json!(0)),
            with("/signed/version", json!(1.5)),
            with("/signed/x-later", json!(1.5)),
        ] {
            let pretty = serde_json::to_vec_pretty(&bad).unwrap();
            Signed::of_file(&pretty).unwrap_err();
            // What has a fraction has no canonical form.
            if let Ok(bytes) = canonical::published_bytes(&bad) {
                assert_eq!(Signed::of_file(&bytes).unwrap_err(), Signed::of_file(&pretty).unwrap_err());
            }
        }
    }

    #[test]
    fn two_files_side_by_side_are_without_what_both_have_and_count_it() {
        let read = |value: &Value| Signed::read(canonical::signed_bytes(value).unwrap()).unwrap();
        let old = targets(1, &json!({ "a": 1, "b": { "length": 2 }, "c": 3, "e": 5 }));
        let new = targets(2, &json!({ "a": 1, "b": { "length": 20 }, "d": 4, "e": 5 }));
        let (before, after, same) = read(&new).beside(&read(&old));
        assert_eq!(before, targets(1, &json!({ "b": { "length": 2 }, "c": 3 })));
        assert_eq!(after, targets(2, &json!({ "b": { "length": 20 }, "d": 4 })));
        assert_eq!(same, 2);
        // What is no object has no members that could be the same.
        let odd = targets(2, &json!([1]));
        assert_eq!(read(&odd).beside(&read(&old)), (old.clone(), odd.clone(), 0));
        assert_eq!(read(&old).beside(&read(&odd)), (odd, old.clone(), 0));
        // Nor has what another role calls so.
        let of_snapshot = |value: &Value| {
            let mut value = value.clone();
            value["_type"] = json!("snapshot");
            value
        };
        let (old, new) = (of_snapshot(&old), of_snapshot(&new));
        assert_eq!(read(&new).beside(&read(&old)), (old, new, 0));
    }
}
