//! The rules: what a file must satisfy, against what is trusted already, to become trusted itself.
//!
//! One `update_…` per section of the specification's client workflow. Each takes facts that met their
//! threshold, changes the trusted state only after its last check, and knows nothing of order or of I/O.

use crate::crypto::Crypto;
use crate::error::{Error, Field, Rejected};
use crate::limits::{ROOT_FILE, SNAPSHOT_FILE, TARGETS_FILE, TIMESTAMP_FILE};
use crate::role::meta::Meta;
use crate::role::root::{Root, RootBody};
use crate::role::{Body, File, Header, Role};
use crate::scan::{Fault, Scanner, Value};
use crate::threshold::{Envelope, Verified, verify, verify_root};
use crate::time::{Clock, Date};

/// What the device trusts: a root, and the floors under everything that it verified before.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Trusted {
    root: Root,
    floors: Floors,
    /// Verified, and not stored yet.
    unsaved: Unsaved,
}

/// What of the trusted state differs from what the caller stored. It lives beside the facts, so that a write
/// that failed is asked for again by the next cycle.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Unsaved {
    root: bool,
    floors: bool,
}

/// Which part of [`Trusted`] changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// [`Trusted::root`].
    Root,
    /// [`Trusted::floors`].
    Floors,
}

/// What was verified last. It bounds what may come next, and outlives its own expiry: expired metadata is
/// still a floor, and never blocks an update.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Floors {
    /// [`Root`]'s version at which the online keys became those that signed timestamp and snapshot below. Under
    /// a root that changed them since, both are void, so a power cut between storing that root and storing
    /// floors does no harm (5.3.11).
    online_since: u32,
    timestamp: Option<Link>,
    snapshot: Option<Link>,
    /// The latest `issued` of targets metadata, in seconds since 1970: it is later than this. Never reset.
    issued: u64,
}

/// A trusted timestamp or snapshot: its own version, and the file that it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
struct Link {
    version: u32,
    expires: u64,
    issued: u64,
    next: Meta,
}

impl Trusted {
    /// Trust that starts from a root file alone, for a device that verified nothing yet (5.2).
    ///
    /// The file must be signed by a threshold of its own root keys. That proves that it is whole, not that
    /// it is the right one: where it comes from is what makes it trusted.
    ///
    /// # Errors
    /// [`Rejected`], as for any root.
    pub fn from_root_file(crypto: &Crypto, bytes: &[u8]) -> Result<Self, Error> {
        let (mut file, header, digest) = read_root(bytes)?;
        let envelope = Envelope { signatures: &file.head.signatures, digest };
        let root = verify_root(crypto, None, envelope, file.body.complete(header))?;
        Ok(Trusted::restore((*root).clone(), Floors::default()))
    }

    /// The next root, for a host that has the file at hand and no cycle under way: a ceremony that walks a
    /// chain of roots. The checks are those of a cycle (5.3.4 to 5.3.7); expiry is not one of them.
    ///
    /// # Errors
    /// [`Rejected`], as for any root; the trusted state is what it was.
    pub fn next_root_file(&mut self, crypto: &Crypto, bytes: &[u8]) -> Result<(), Error> {
        let (mut file, header, digest) = read_root(bytes)?;
        let envelope = Envelope { signatures: &file.head.signatures, digest };
        let root = verify_root(crypto, Some(&self.root), envelope, file.body.complete(header))?;
        Ok(self.update_root(root)?)
    }

    /// Whether a file of this role is whole, and signed by a threshold of the keys that the trusted root gives
    /// it; for a root, whether it may follow. For a host that finishes a file before anybody has published it:
    /// versions, dates and links are judged in a cycle.
    ///
    /// # Errors
    /// [`Rejected`], as in a cycle.
    pub fn accepts_file(&self, crypto: &Crypto, role: Role, bytes: &[u8]) -> Result<(), Error> {
        let limit = match role {
            Role::Root => return self.clone().next_root_file(crypto, bytes),
            Role::Timestamp => TIMESTAMP_FILE,
            Role::Snapshot => SNAPSHOT_FILE,
            Role::Targets => TARGETS_FILE,
        };
        let (file, header, digest) = read(role, Bare, limit, bytes)?;
        let envelope = Envelope { signatures: &file.head.signatures, digest };
        verify(crypto, &self.root, role, envelope, header)?;
        Ok(())
    }

    /// Trust as it was stored. Both come from [`Trusted::root`] and [`Trusted::floors`] of an earlier run;
    /// the store they lay in is as trusted as they are.
    #[must_use]
    pub fn restore(root: Root, floors: Floors) -> Self {
        let mut trusted = Trusted { root, floors, unsaved: Unsaved::default() };
        trusted.drop_floors_of_other_keys();
        trusted
    }

    /// The trusted root, to be stored when a cycle asks for it.
    #[must_use]
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// The floors, to be stored when a cycle asks for it.
    #[must_use]
    pub fn floors(&self) -> &Floors {
        &self.floors
    }

    /// The update start time (5.1), in seconds since 1970: the clock, but never before a date at which
    /// somebody trusted is known to have signed.
    #[must_use]
    pub fn start_time(&self, clock: Clock) -> u64 {
        let clock = match clock {
            Clock::At(now) => now,
            Clock::Unknown => 0,
        };
        let online = self.floors.timestamp.map_or(0, |timestamp| timestamp.issued);
        clock.max(self.root.issued).max(self.floors.issued).max(online)
    }

    /// 5.3.5 to 5.3.8: the next root.
    pub(crate) fn update_root(&mut self, new: Verified<&Root>) -> Result<(), Rejected> {
        // 5.3.5: exactly one version on.
        let expected = self.root.version.saturating_add(1);
        if new.version != expected {
            return Err(Rejected::RootVersion { expected, offered: new.version });
        }
        // 5.3.6: its expiry does not matter while there may be a newer one.
        // 5.3.7: trusted from here on; 5.3.8 is the caller's, who is asked to store it. What the new root does
        // not say is carried over with it, in one record: that time never goes back, and since when the online
        // keys are what they are.
        let issued = self.root.issued.max(new.issued);
        let same_keys = new.has_online_keys_of(&self.root);
        let online_since = if same_keys { self.root.online_since } else { new.version };
        self.root.clone_from(*new);
        self.root.issued = issued;
        self.root.online_since = online_since;
        self.unsaved.root = true;
        // 5.3.11
        self.drop_floors_of_other_keys();
        Ok(())
    }

    /// 5.3.10: the walk ended here; the last root must be fresh.
    pub(crate) fn check_root(&self, start: u64) -> Result<(), Rejected> {
        fresh(Role::Root, self.root.expires, start)
    }

    /// 5.4.3 to 5.4.5: the timestamp.
    pub(crate) fn update_timestamp(
        &mut self,
        new: &Verified<(Header, Meta)>,
        start: u64,
    ) -> Result<(), Rejected> {
        let (header, next) = **new;
        let role = Role::Timestamp;
        if let Some(trusted) = self.floors.timestamp {
            // 5.4.3.1: rollback of the timestamp. An equal version is not new: the trusted one stays, its
            // twin's content is ignored.
            if header.version < trusted.version {
                let (trusted, offered) = (trusted.version, header.version);
                return Err(Rejected::Rollback { role, trusted, offered });
            }
            if header.version == trusted.version {
                return fresh(role, trusted.expires, start);
            }
            // 5.4.3.2: rollback of the snapshot that it names.
            if next.version < trusted.next.version {
                let (trusted, offered) = (trusted.next.version, next.version);
                return Err(Rejected::Rollback { role: Role::Snapshot, trusted, offered });
            }
        }
        // 5.4.4: freeze.
        fresh(role, header.expires, start)?;
        self.floors.timestamp = Some(Link::new(header, next));
        self.unsaved.floors = true;
        Ok(())
    }

    /// 5.5.1: the snapshot that the trusted timestamp names; `None` before there is a timestamp.
    pub(crate) fn expected_snapshot(&self) -> Option<Meta> {
        self.floors.timestamp.map(|timestamp| timestamp.next)
    }

    /// Whether the trusted snapshot is the one that the timestamp names, so that it need not be fetched again.
    /// One that has expired is: should the repository still have no other, it is refused as itself (5.5.6).
    pub(crate) fn has_snapshot(&self, meta: Meta, start: u64) -> bool {
        self.floors.snapshot.is_some_and(|kept| kept.version == meta.version && kept.expires > start)
    }

    /// 5.5.4 to 5.5.7: the snapshot. The caller compared length and digest with `meta` (5.5.2). `targets` is
    /// `None` where the snapshot does not list the role.
    pub(crate) fn update_snapshot(
        &mut self,
        new: &Verified<(Header, Option<Meta>)>,
        meta: Meta,
        start: u64,
    ) -> Result<(), Rejected> {
        let (header, targets) = **new;
        let role = Role::Snapshot;
        // 5.5.4: the version that the timestamp names.
        if header.version != meta.version {
            return Err(Rejected::MixAndMatch { role });
        }
        // 5.5.5: no role dropped, none rolled back. Only tracked roles are remembered on a device.
        let targets = targets.ok_or(Rejected::RoleDropped { role: Role::Targets })?;
        if let Some(floor) = self.floors.targets_version().filter(|floor| targets.version < *floor) {
            let (trusted, offered) = (floor, targets.version);
            return Err(Rejected::Rollback { role: Role::Targets, trusted, offered });
        }
        // 5.5.6: freeze.
        fresh(role, header.expires, start)?;
        self.floors.snapshot = Some(Link::new(header, targets));
        self.unsaved.floors = true;
        Ok(())
    }

    /// 5.6.1: the targets metadata that the trusted snapshot names; `None` before there is a snapshot.
    pub(crate) fn expected_targets(&self) -> Option<Meta> {
        self.floors.snapshot.map(|snapshot| snapshot.next)
    }

    /// 5.6.4 to 5.6.6: the targets metadata. The caller compared length and digest with `meta` (5.6.2).
    pub(crate) fn update_targets(
        &mut self,
        new: &Verified<Header>,
        meta: Meta,
        start: u64,
    ) -> Result<(), Rejected> {
        let role = Role::Targets;
        // 5.6.4: the version that the snapshot names, and so no rollback either.
        if new.version != meta.version {
            return Err(Rejected::MixAndMatch { role });
        }
        // 5.6.5: freeze.
        fresh(role, new.expires, start)?;
        // The version is a floor already, in the snapshot that names it; the date is new.
        if new.issued > self.floors.issued {
            self.floors.issued = new.issued;
            self.unsaved.floors = true;
        }
        Ok(())
    }

    /// What the caller must store next: the root first, for floors are void or not by what it says.
    pub(crate) fn unsaved(&self) -> Option<Change> {
        match self.unsaved {
            Unsaved { root: true, .. } => Some(Change::Root),
            Unsaved { floors: true, .. } => Some(Change::Floors),
            _ => None,
        }
    }

    /// The caller stored what [`Trusted::unsaved`] named.
    pub(crate) fn saved(&mut self) {
        match self.unsaved() {
            Some(Change::Root) => self.unsaved.root = false,
            Some(Change::Floors) => self.unsaved.floors = false,
            None => {}
        }
    }

    /// 5.3.11: floors that other keys signed are dropped, so that rotating a stolen online key undoes what
    /// it did. `issued` is of offline roles, and stays.
    fn drop_floors_of_other_keys(&mut self) {
        let online_since = self.root.online_since;
        if self.floors.online_since != online_since {
            let issued = self.floors.issued;
            self.floors = Floors { online_since, issued, timestamp: None, snapshot: None };
        }
    }
}

impl Floors {
    /// The trusted timestamp's version; `None` before the first.
    #[must_use]
    pub fn timestamp_version(&self) -> Option<u32> {
        self.timestamp.map(|timestamp| timestamp.version)
    }

    /// The trusted snapshot's version; `None` before the first.
    #[must_use]
    pub fn snapshot_version(&self) -> Option<u32> {
        self.snapshot.map(|snapshot| snapshot.version)
    }

    /// The version of targets that the trusted snapshot names; `None` before the first.
    #[must_use]
    pub fn targets_version(&self) -> Option<u32> {
        self.snapshot.map(|snapshot| snapshot.next.version)
    }
}

impl Link {
    fn new(header: Header, next: Meta) -> Self {
        Link { version: header.version, expires: header.expires, issued: header.issued, next }
    }
}

fn read_root(bytes: &[u8]) -> Result<(File<RootBody>, Header, [u8; 32]), Rejected> {
    read(Role::Root, RootBody::default(), ROOT_FILE, bytes)
}

/// Reads a whole file at once.
fn read<B: Body>(
    role: Role,
    body: B,
    limit: u32,
    bytes: &[u8],
) -> Result<(File<B>, Header, [u8; 32]), Rejected> {
    if u32::try_from(bytes.len()).map_or(true, |length| length > limit) {
        return Err(Rejected::Oversize { role, limit });
    }
    let mut scanner = Scanner::new();
    let mut file = File::new(role, body);
    let read = scanner.feed(bytes, &mut file).and_then(|()| scanner.finish());
    let digest = read.map_err(|fault| fault.of(role, scanner.at()))?;
    let digest = digest.ok_or(Rejected::Field { role, field: Field::Signed })?;
    let header = file.finish().map_err(|fault| fault.of(role, scanner.at()))?;
    Ok((file, header, digest))
}

/// A body of which nothing is wanted.
struct Bare;

impl Body for Bare {
    fn value(&mut self, _: &[&[u8]], _: Value<'_>) -> Result<(), Fault> {
        Ok(())
    }

    fn finish(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// A file that expires at the start time has expired: the specification asks for "higher than".
fn fresh(role: Role, expires: u64, start: u64) -> Result<(), Rejected> {
    if expires > start {
        Ok(())
    } else {
        Err(Rejected::Freeze { role, expires: Date(expires), start: Date(start) })
    }
}
