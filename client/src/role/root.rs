//! Root: which keys sign for which role.

use heapless::Vec;

use crate::Role;
use crate::error::{Bound, Field};
use crate::key::{KeyId, Point, PublicKey};
use crate::limits::{KEYS, SIGNATURES};
use crate::role::{Body, Header, number, text};
use crate::scan::{Fault, Value};

/// The facts of a root file. A caller stores them and gives them back; it cannot make them up, for
/// only [`Trusted`](crate::Trusted) reads them out of signed bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Root {
    pub(crate) version: u32,
    pub(crate) expires: u64,
    pub(crate) issued: u64,
    /// The version at which keys or threshold of timestamp or snapshot last changed.
    pub(crate) online_since: u32,
    keys: Vec<Key, KEYS>,
    root: RoleKeys,
    timestamp: RoleKeys,
    snapshot: RoleKeys,
    targets: RoleKeys,
}

/// A key under its label.
#[derive(Clone, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub(crate) struct Key {
    pub(crate) id: KeyId,
    pub(crate) public: PublicKey,
}

/// A role's keys, as bits over the root's key table, and its threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct RoleKeys {
    members: u16,
    threshold: u8,
}

impl Root {
    /// The root's version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.version
    }

    /// When the root expires, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.expires
    }

    /// The keys that may sign for a role, and how many distinct ones must.
    pub(crate) fn authority(&self, role: Role) -> (impl Iterator<Item = &Key> + Clone, u8) {
        let RoleKeys { members, threshold } = *self.role(role);
        let keys = self.keys.iter().enumerate();
        (keys.filter(move |(index, _)| members & bit(*index) != 0).map(|(_, key)| key), threshold)
    }

    /// Whether timestamp and snapshot have the same distinct keys and thresholds in both roots, whatever the
    /// order and the labels.
    pub(crate) fn has_online_keys_of(&self, other: &Root) -> bool {
        let within = |role, one: &Root, other: &Root| {
            let mut points = one.authority(role).0.filter_map(point);
            points.all(|point| other.authority(role).0.any(|key| key.public == PublicKey::P256(*point)))
        };
        [Role::Timestamp, Role::Snapshot].into_iter().all(|role| {
            self.role(role).threshold == other.role(role).threshold
                && within(role, self, other)
                && within(role, other, self)
        })
    }

    fn role(&self, role: Role) -> &RoleKeys {
        match role {
            Role::Root => &self.root,
            Role::Timestamp => &self.timestamp,
            Role::Snapshot => &self.snapshot,
            Role::Targets => &self.targets,
        }
    }

    fn distinct(&self, role: Role) -> usize {
        // A key that this device cannot verify helps nobody to reach a threshold on it.
        let points = self.authority(role).0.filter_map(point);
        let all = points.clone().enumerate();
        all.filter(|(index, point)| points.clone().take(*index).all(|other| other != *point)).count()
    }
}

fn point(key: &Key) -> Option<&Point> {
    match &key.public {
        PublicKey::P256(point) => Some(point),
        PublicKey::Unsupported => None,
    }
}

fn bit(index: usize) -> u16 {
    u32::try_from(index).ok().and_then(|index| 1_u16.checked_shl(index)).unwrap_or(0)
}

/// Reads a root's `signed`.
#[derive(Debug, Default)]
pub(crate) struct RootBody {
    root: Root,
    consistent: bool,
    point: Option<PublicKey>,
    right_type: bool,
    right_scheme: bool,
}

impl RootBody {
    /// The facts, once the file is over.
    pub(crate) fn complete(&mut self, header: Header) -> &Root {
        self.root.version = header.version;
        self.root.expires = header.expires;
        self.root.issued = header.issued;
        self.root.online_since = header.version;
        &self.root
    }

    fn key(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
        let wrong = Fault::Field(Field::Keys);
        match (path, value) {
            ([_], Value::Object) => (self.point, self.right_type, self.right_scheme) = (None, false, false),
            ([_, b"keytype"], value) => {
                // The second is the name of the type before specification 1.0.32.
                let name = text(value, Field::Keys)?;
                self.right_type = name == b"ecdsa" || name == b"ecdsa-sha2-nistp256";
            }
            ([_, b"keyval", b"public"], Value::Text(pem)) => self.point = PublicKey::from_p256_pem(pem),
            ([_, b"scheme"], value) => {
                self.right_scheme = text(value, Field::Keys)? == b"ecdsa-sha2-nistp256";
            }
            ([keyid], Value::End) => {
                let id = KeyId::from_hex(keyid).ok_or(wrong)?;
                let public = if self.right_type && self.right_scheme {
                    self.point.take().ok_or(wrong)?
                } else {
                    PublicKey::Unsupported
                };
                self.root.keys.push(Key { id, public }).map_err(|_| Fault::Limit(Bound::Keys))?;
            }
            ([] | [_], value) if !matches!(value, Value::Object | Value::End) => return Err(wrong),
            _ => {}
        }
        Ok(())
    }

    fn role(&mut self, name: &[u8], path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
        let wrong = Fault::Field(Field::Roles);
        let role = match name {
            b"root" => &mut self.root.root,
            b"timestamp" => &mut self.root.timestamp,
            b"snapshot" => &mut self.root.snapshot,
            b"targets" => &mut self.root.targets,
            _ => return Ok(()),
        };
        match (path, value) {
            ([b"keyids"], Value::Array | Value::End) => {}
            ([b"keyids"], _) => return Err(wrong),
            ([b"keyids", _], value) => {
                let id = KeyId::from_hex(text(value, Field::Roles)?).ok_or(wrong)?;
                let index = self.root.keys.iter().position(|key| key.id == id).ok_or(wrong)?;
                // 4.3: keyids are unique within a role.
                if role.members & bit(index) != 0 {
                    return Err(wrong);
                }
                role.members |= bit(index);
            }
            ([b"threshold"], value) => {
                let threshold = number(value).and_then(|threshold| u8::try_from(threshold).ok());
                role.threshold = threshold.ok_or(Fault::Field(Field::Threshold))?;
            }
            _ => {}
        }
        Ok(())
    }
}

impl Body for RootBody {
    fn value(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
        match path {
            [b"consistent_snapshot"] => self.consistent = value == Value::True,
            [b"keys", path @ ..] => self.key(path, value)?,
            [b"roles", name, path @ ..] => self.role(name, path, value)?,
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fault> {
        // Files are named by version and digest; repositories without consistent snapshots are not ours.
        if !self.consistent {
            return Err(Fault::Field(Field::ConsistentSnapshot));
        }
        for role in [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets] {
            let RoleKeys { members, threshold } = *self.root.role(role);
            if members == 0 {
                return Err(Fault::Field(Field::Roles));
            }
            // A threshold of 0 would trust anybody; one above the number of distinct keys, or of signatures in
            // a file, nobody, for ever.
            if threshold == 0 || usize::from(threshold) > self.root.distinct(role).min(SIGNATURES) {
                return Err(Fault::Field(Field::Threshold));
            }
        }
        Ok(())
    }
}
