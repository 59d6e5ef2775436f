//! Role readers: from the scanner's values to the facts of one file. Facts are claims until
//! [`threshold`](crate::threshold) has counted who signed them.

use core::fmt;

use heapless::Vec;

use crate::error::{Bound, Field, Rejected};
use crate::key::{KeyId, Signature, hex_signature};
use crate::limits::{SIGNATURES, TEXT};
use crate::scan::{Fault, Reader, Value};
use crate::time;

pub(crate) mod meta;
pub(crate) mod root;
pub(crate) mod targets;

/// The four top-level roles.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Names the keys of all top-level roles.
    Root,
    /// Names the snapshot; the only file that is ever re-read.
    Timestamp,
    /// Names the versions of all targets metadata.
    Snapshot,
    /// Names the images and releases.
    Targets,
}

impl Role {
    /// The name that TUF gives it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Role::Root => "root",
            Role::Timestamp => "timestamp",
            Role::Snapshot => "snapshot",
            Role::Targets => "targets",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What every role's `signed` states.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) version: u32,
    /// Seconds since 1970.
    pub(crate) expires: u64,
    /// Seconds since 1970; 0 where the file does not say.
    pub(crate) issued: u64,
}

/// What a file of one role says besides header and signatures.
pub(crate) trait Body {
    /// Takes a value below `signed` that is no part of the header. The path starts below `signed`.
    fn value(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault>;
    /// The file is over: is anything missing?
    fn finish(&mut self) -> Result<(), Fault>;
}

/// Reads one file: what all roles share, and the role's own body.
#[derive(Debug)]
pub(crate) struct File<B> {
    pub(crate) head: Head,
    pub(crate) body: B,
}

impl<B: Body> File<B> {
    pub(crate) fn new(role: Role, body: B) -> Self {
        File { head: Head::new(role), body }
    }

    /// The file is over: its header, if nothing is missing.
    pub(crate) fn finish(&mut self) -> Result<Header, Fault> {
        let header = self.head.finish()?;
        self.body.finish()?;
        Ok(header)
    }
}

impl<B: Body> Reader for File<B> {
    fn value(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
        if self.head.takes(path, value)? {
            return Ok(());
        }
        self.body.value(path.get(1..).unwrap_or_default(), value)
    }
}

/// Reads what files of all roles share: the envelope's signatures and the header. It knows no role's body, so
/// that its code is there once.
#[derive(Debug)]
pub(crate) struct Head {
    role: Role,
    pub(crate) signatures: Vec<Signature, SIGNATURES>,
    saw_signatures: bool,
    keyid: Option<KeyId>,
    der: Option<Signature>,
    right_type: bool,
    right_spec: bool,
    version: Option<u32>,
    expires: Option<u64>,
    issued: u64,
}

impl Head {
    fn new(role: Role) -> Self {
        Head {
            role,
            signatures: Vec::new(),
            saw_signatures: false,
            keyid: None,
            der: None,
            right_type: false,
            right_spec: false,
            version: None,
            expires: None,
            issued: 0,
        }
    }

    fn finish(&self) -> Result<Header, Fault> {
        let missing = |field| Fault::Field(field);
        if !self.saw_signatures {
            return Err(missing(Field::Signatures));
        }
        if !self.right_type {
            return Err(missing(Field::Type));
        }
        if !self.right_spec {
            return Err(missing(Field::SpecVersion));
        }
        let version = self.version.ok_or(missing(Field::Version))?;
        let expires = self.expires.ok_or(missing(Field::Expires))?;
        // A date of issue is believed for ever. One that lies behind the file's own expiry is a slip or a trap.
        if self.issued >= expires {
            return Err(missing(Field::Issued));
        }
        // No root could follow such a one.
        if self.role == Role::Root && version == u32::MAX {
            return Err(missing(Field::Version));
        }
        Ok(Header { version, expires, issued: self.issued })
    }

    /// Takes a value, if it is one that all roles share.
    fn takes(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<bool, Fault> {
        match path {
            [b"signatures", path @ ..] => self.signature(path, value).map(|()| true),
            [b"signed", path @ ..] => self.member(path, value),
            _ => Ok(true),
        }
    }

    fn signature(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
        let wrong = Fault::Field(Field::Signatures);
        match (path, value) {
            ([], Value::Array) => self.saw_signatures = true,
            ([] | [_], Value::End) | ([_], Value::Object) => {}
            ([] | [_], _) => return Err(wrong),
            ([_, b"keyid"], Value::Text(hex)) => self.keyid = Some(KeyId::from_hex(hex).ok_or(wrong)?),
            ([_, b"sig"], Value::Text(hex)) => {
                let keyid = self.keyid.ok_or(wrong)?;
                self.der = Some(Signature { keyid, der: hex_signature(hex) });
            }
            // Longer than any signature that we can verify: it is there, and never counts.
            ([_, b"sig"], Value::LongText) => {
                let keyid = self.keyid.ok_or(wrong)?;
                self.der = Some(Signature { keyid, der: Vec::new() });
            }
            ([_, b"keyid" | b"sig"], _) => return Err(wrong),
            _ => {}
        }
        if path.len() == 1 && value == Value::End {
            self.keyid = None;
            let signature = self.der.take().ok_or(wrong)?;
            // 4.2.1: a keyid stands once at most, or one key could be counted twice.
            if self.signatures.iter().any(|other| other.keyid == signature.keyid) {
                return Err(Fault::Rejected(Rejected::DuplicateSignature { role: self.role }));
            }
            self.signatures.push(signature).map_err(|_| Fault::Limit(Bound::Signatures))?;
        }
        Ok(())
    }

    fn member(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<bool, Fault> {
        match (path, value) {
            ([b"_type"], Value::Text(name)) => self.right_type = name == self.role.name().as_bytes(),
            ([b"spec_version"], Value::Text(version)) => self.right_spec = version.starts_with(b"1."),
            ([b"version"], value) => self.version = Some(version(value).ok_or(Fault::Field(Field::Version))?),
            ([b"expires"], Value::Text(date)) => self.expires = time::parse(date),
            ([b"issued"], Value::Text(date)) => {
                self.issued = time::parse(date).ok_or(Fault::Field(Field::Issued))?;
            }
            ([b"issued"], _) => return Err(Fault::Field(Field::Issued)),
            _ => return Ok(false),
        }
        Ok(true)
    }
}

/// A version, sequence or other number that must be 1..=4294967295.
pub(crate) fn version(value: Value<'_>) -> Option<u32> {
    number(value).filter(|version| *version > 0)
}

/// A number that must fit 32 bits.
pub(crate) fn number(value: Value<'_>) -> Option<u32> {
    match value {
        Value::Number(number) => u32::try_from(number).ok(),
        _ => None,
    }
}

/// A string that a reader needs whole.
pub(crate) fn text(value: Value<'_>, field: Field) -> Result<&[u8], Fault> {
    match value {
        Value::Text(text) => Ok(text),
        Value::LongText => Err(Fault::Limit(Bound::Text)),
        _ => Err(Fault::Field(field)),
    }
}

// The longest string that must be read whole is a signature, in hexadecimal, behind two short keys.
const _: () = assert!(TEXT >= 2 * crate::limits::SIGNATURE + 32);
