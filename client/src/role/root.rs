//! Root: which keys sign for which role.

use crate::Role;
use crate::error::Field;
use crate::key::{Algorithm, Key, KeyId, Keys};
use crate::limits::ROOT;
use crate::role::place::Place;
use crate::scan::Fault;
use crate::wire::{Reader, Stored, Writer};

/// The facts of a root file. A caller stores them and gives them back; it cannot make them up, for
/// only [`Trusted`](crate::Trusted) reads them out of signed bytes.
///
/// `B` is the memory that its keys lie in, [`ROOT`] bytes on a device.
#[derive(Clone)]
pub struct Root<B: ?Sized = [u8; ROOT]> {
    pub(crate) facts: RootFacts,
    len: u16,
    bytes: B,
}

/// What a root says, but for its keys.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RootFacts {
    pub(crate) version: u32,
    pub(crate) expires: u64,
    pub(crate) issued: u64,
    /// The version at which keys or threshold of timestamp or snapshot last changed.
    pub(crate) online_since: u32,
    /// In the order of [`Role`].
    pub(crate) roles: [RoleKeys; 4],
}

/// A role's keys, as bits over a table of keys, and its threshold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct RoleKeys {
    pub(crate) members: u32,
    pub(crate) threshold: u8,
}

/// The keys that may sign for a role, and how many distinct ones must.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Authority<'k> {
    pub(crate) keys: Keys<'k>,
    pub(crate) by: RoleKeys,
}

impl<const N: usize> Root<[u8; N]> {
    /// No root yet.
    pub(crate) const fn empty() -> Self {
        let roles = [RoleKeys { members: 0, threshold: 0 }; 4];
        let facts = RootFacts { version: 0, expires: 0, issued: 0, online_since: 0, roles };
        Root { facts, len: 0, bytes: [0; N] }
    }
}

impl<B: ?Sized + AsRef<[u8]>> Root<B> {
    /// The root's version.
    #[must_use]
    pub fn version(&self) -> u32 {
        self.facts.version
    }

    /// When the root expires, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> u64 {
        self.facts.expires
    }

    /// The same root in memory of another size; `None` if its keys do not fit there.
    #[must_use]
    pub fn to_size<const N: usize>(&self) -> Option<Root<[u8; N]>> {
        let mut root = Root::empty();
        root.replace(self.facts, self.keys())?;
        Some(root)
    }

    pub(crate) fn keys(&self) -> Keys<'_> {
        Keys(self.bytes.as_ref().get(..usize::from(self.len)).unwrap_or_default())
    }

    pub(crate) fn authority(&self, role: Role) -> Authority<'_> {
        self.facts.authority(self.keys(), role)
    }
}

impl<B: ?Sized + AsMut<[u8]>> Root<B> {
    /// Becomes another root; `None` if its keys do not fit, and nothing changed.
    pub(crate) fn replace(&mut self, facts: RootFacts, keys: Keys<'_>) -> Option<()> {
        let len = u16::try_from(keys.0.len()).ok()?;
        self.bytes.as_mut().get_mut(..keys.0.len())?.copy_from_slice(keys.0);
        (self.len, self.facts) = (len, facts);
        Some(())
    }
}

impl<B: ?Sized + AsRef<[u8]>> PartialEq for Root<B> {
    fn eq(&self, other: &Self) -> bool {
        self.facts == other.facts && self.keys().0 == other.keys().0
    }
}

impl<B: ?Sized + AsRef<[u8]>> Eq for Root<B> {}

impl<B: ?Sized + AsRef<[u8]>> core::fmt::Debug for Root<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Root").field("facts", &self.facts).field("keys", &self.keys()).finish()
    }
}

impl RootFacts {
    /// What the root says of a role, given its keys.
    pub(crate) fn authority<'k>(&self, keys: Keys<'k>, role: Role) -> Authority<'k> {
        Authority { keys, by: self.roles.get(role.index()).copied().unwrap_or_default() }
    }
}

impl<'k> Authority<'k> {
    pub(crate) fn keys(&self) -> impl Iterator<Item = (u32, Key<'k>)> + Clone {
        self.keys.members(self.by.members)
    }

    /// Whether both have the same distinct keys and thresholds, whatever the order and the labels.
    pub(crate) fn is_same(&self, other: &Authority<'_>) -> bool {
        let within = |one: &Authority<'_>, other: &Authority<'_>| {
            let mut keys = one.keys().filter(|(_, key)| key.algorithm != Algorithm::Unsupported);
            keys.all(|(_, key)| other.keys().any(|(_, other)| other.is_same(&key)))
        };
        self.by.threshold == other.by.threshold && within(self, other) && within(other, self)
    }
}

/// Reads a root's `signed`, but for its keys.
#[derive(Debug, Default)]
pub(crate) struct RootReader {
    pub(crate) facts: RootFacts,
    pub(crate) consistent: bool,
    role: usize,
}

impl RootReader {
    /// A member of `roles` begins.
    pub(crate) fn begin(&mut self, name: &[u8]) -> Place {
        match Role::TOP.into_iter().find(|role| role.name().as_bytes() == name) {
            Some(role) => {
                self.role = role.index();
                Place::RootRole
            }
            None => Place::Skip,
        }
    }

    /// The role that is being read.
    pub(crate) fn by(&mut self) -> Option<&mut RoleKeys> {
        self.facts.roles.get_mut(self.role)
    }

    /// A keyid of the role. 4.3: they are unique within it, and their keys are there.
    pub(crate) fn key_id(&mut self, keys: Keys<'_>, id: KeyId) -> Result<(), Fault> {
        let wrong = Fault::Field(Field::Roles);
        let by = self.by().ok_or(wrong)?;
        by.members |= keys.bit(id).filter(|bit| by.members & bit == 0).ok_or(wrong)?;
        Ok(())
    }

    /// The file is over: is it a root that anything could follow?
    ///
    /// A role whose threshold nobody can reach is no reason to refuse it. Refused, it would stand in the way of the
    /// next root, which mends it. For the role root itself it is no root that meets its own threshold (5.3.4).
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        // Files are named by version and digest; repositories without consistent snapshots are not ours.
        if !self.consistent {
            return Err(Fault::Field(Field::ConsistentSnapshot));
        }
        for RoleKeys { members, threshold } in self.facts.roles {
            if members == 0 {
                return Err(Fault::Field(Field::Roles));
            }
            if threshold == 0 {
                return Err(Fault::Field(Field::Threshold));
            }
        }
        Ok(())
    }
}

impl Stored for RootFacts {
    fn write(&self, to: &mut Writer<'_>) {
        to.number(self.version);
        to.long(self.expires);
        to.long(self.issued);
        to.number(self.online_since);
        for RoleKeys { members, threshold } in self.roles {
            to.number(members);
            to.byte(threshold);
        }
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let mut facts = RootFacts {
            version: from.number(),
            expires: from.long(),
            issued: from.long(),
            online_since: from.number(),
            roles: Default::default(),
        };
        for role in &mut facts.roles {
            *role = RoleKeys { members: from.number(), threshold: from.byte() };
        }
        facts
    }
}

impl<B: ?Sized + AsRef<[u8]>> Root<B> {
    /// Writes what [`Root::read`] reads: the facts, and the packed keys as a sequence of bytes.
    pub fn write(&self, to: &mut Writer<'_>) {
        self.facts.write(to);
        to.length(self.keys().0.len());
        to.bytes(self.keys().0);
    }
}

impl<const N: usize> Root<[u8; N]> {
    /// Reads a root that was stored. The store it lay in is as trusted as it is.
    pub fn read(from: &mut Reader<'_>) -> Self {
        let mut root = Root::empty();
        root.read_here(from);
        root
    }

    /// The version of a root that was stored, if there is one; it needs no room for the rest.
    pub fn read_version(from: &mut Reader<'_>) -> Option<u32> {
        let RootFacts { version, .. } = RootFacts::read(from);
        let length = from.length(N);
        let _ = from.bytes(length);
        from.is_good().then_some(version)
    }

    /// The same in the place of this one.
    pub(crate) fn read_here(&mut self, from: &mut Reader<'_>) {
        let facts = RootFacts::read(from);
        let length = from.length(N);
        if self.replace(facts, Keys(from.bytes(length))).is_none() {
            from.fail();
        }
    }
}
