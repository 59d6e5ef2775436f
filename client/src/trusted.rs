//! The rules: what a file must satisfy, against what is trusted already, to become trusted itself.
//!
//! One `update_…` per section of the specification's client workflow. Each takes facts that met their
//! threshold, changes the trusted state only after its last check, and knows nothing of order or of I/O.

use heapless::Vec;

use crate::crypto::Crypto;
use crate::error::{Bound, Error, Field, Rejected};
use crate::file::FileReader;
use crate::hash::{FileHash, Verbatim};
use crate::key::{Algorithm, KeyId, Keys};
use crate::limits::{HALTS, Limits, ROOT, TRACKED};
use crate::role::delegations::push_name;
use crate::role::meta::{Meta, MetaReader, Tracked};
use crate::role::reading::Context;
use crate::role::root::{Authority, RoleKeys, Root, RootFacts};
use crate::role::targets::Seek;
use crate::role::{Header, Role};
use crate::threshold::{Verified, verify, verify_root};
use crate::time::{Clock, Moment};
use crate::wire::{Reader, Stored, Writer};

/// What the device trusts: a root, and the floors under everything that it verified before.
#[derive(Clone)]
pub struct Trusted<B: ?Sized = [u8; ROOT]> {
    floors: Floors,
    /// Verified, and not stored yet.
    unsaved: Unsaved,
    root: Root<B>,
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
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Floors {
    /// [`Root`]'s version at which the online keys became those that signed timestamp and snapshot below. Under
    /// a root that changed them since, both are void, so a power cut between storing that root and storing
    /// floors does no harm (5.3.11).
    online_since: u32,
    timestamp: Option<Link>,
    /// What the trusted timestamp halts.
    halts: Vec<u64, HALTS>,
    snapshot: Option<Link>,
    /// Delegated roles that were verified, and the versions that the trusted snapshot has of them.
    tracked: Vec<Tracked, TRACKED>,
    /// Which of them makes room for another.
    oldest: u8,
    /// There is nothing to do under the trusted snapshot.
    settled: Option<Settled>,
    /// The latest `issued` of targets metadata, in seconds since 1970: it is later than this. Never reset.
    issued: u64,
}

/// A trusted timestamp or snapshot: its own bytes, and the file that it names.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Link {
    version: u32,
    expires: u64,
    issued: u64,
    file: Verbatim,
    next: Meta,
}

/// All metadata under the trusted snapshot were verified, and had nothing for the device that it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Settled {
    /// What the device was: [`Device::facts`](crate::Device::facts).
    pub(crate) facts: [u8; 16],
    /// When the first of those files expires, in seconds since 1970.
    pub(crate) expires: u64,
    /// When a candidate becomes eligible, in seconds since 1970.
    pub(crate) turn: u64,
    /// The root's version. Under another root, whoever signed those files may sign no more.
    pub(crate) root: u32,
}

impl Stored for Link {
    fn write(&self, to: &mut Writer<'_>) {
        to.number(self.version);
        to.long(self.expires);
        to.long(self.issued);
        self.file.write(to);
        self.next.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Link {
            version: from.number(),
            expires: from.long(),
            issued: from.long(),
            file: Verbatim::read(from),
            next: Meta::read(from),
        }
    }
}

impl Stored for Settled {
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(&self.facts);
        to.long(self.expires);
        to.long(self.turn);
        to.number(self.root);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Settled { facts: from.array(), expires: from.long(), turn: from.long(), root: from.number() }
    }
}

impl Stored for Floors {
    fn write(&self, to: &mut Writer<'_>) {
        to.number(self.online_since);
        self.timestamp.write(to);
        to.length(self.halts.len());
        self.halts.iter().for_each(|halt| to.long(*halt));
        self.snapshot.write(to);
        to.length(self.tracked.len());
        self.tracked.iter().for_each(|tracked| tracked.write(to));
        to.byte(self.oldest);
        self.settled.write(to);
        to.long(self.issued);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let mut floors = Floors::default();
        floors.read_here(from);
        floors
    }
}

impl Floors {
    /// Reads what was stored in the place of these.
    fn read_here(&mut self, from: &mut Reader<'_>) {
        self.online_since = from.number();
        self.timestamp = Stored::read(from);
        self.halts.clear();
        for _ in 0..from.length(HALTS) {
            // There is room for so many, and below.
            let _ = self.halts.push(from.long());
        }
        self.snapshot = Stored::read(from);
        self.tracked.clear();
        for _ in 0..from.length(TRACKED) {
            let _ = self.tracked.push(Tracked::read(from));
        }
        self.oldest = from.byte();
        self.settled = Stored::read(from);
        self.issued = from.long();
    }

    /// Drops all of it but `issued`: what comes next was signed by the keys of this root.
    fn drop_online(&mut self, online_since: u32) {
        self.online_since = online_since;
        (self.timestamp, self.snapshot, self.settled) = (None, None, None);
        self.halts.clear();
        self.tracked.clear();
        self.oldest = 0;
    }
}

impl<const N: usize> Trusted<[u8; N]> {
    /// Trust that starts from a root file alone, for a device that verified nothing yet (5.2). `memory` is that
    /// of a cycle, [`Limits::memory`] bytes.
    ///
    /// The file must be signed by a threshold of its own root keys. That proves that it is whole, not that
    /// it is the right one: where it comes from is what makes it trusted.
    ///
    /// # Errors
    /// [`Rejected`], as for any root.
    pub fn from_root_file(
        crypto: &Crypto,
        limits: &Limits,
        memory: &mut [u8],
        bytes: &[u8],
    ) -> Result<Self, Error> {
        let mut trusted = Trusted::nothing();
        trusted.start_from_root_file(crypto, limits, memory, bytes)?;
        Ok(trusted)
    }

    /// Nothing that any file could be verified by: a root without keys. It is the place for what is trusted, for a device
    /// that has no room to move it.
    #[must_use]
    pub fn nothing() -> Self {
        Trusted { floors: Floors::default(), unsaved: Unsaved::default(), root: Root::empty() }
    }

    /// [`Trusted::from_root_file`] in the place of what was trusted before.
    ///
    /// # Errors
    /// [`Rejected`], as for any root. Nothing is trusted then.
    pub fn start_from_root_file(
        &mut self,
        crypto: &Crypto,
        limits: &Limits,
        memory: &mut [u8],
        bytes: &[u8],
    ) -> Result<(), Error> {
        self.forget();
        let mut file = FileReader::new(limits, memory);
        let digest = read_into(&mut file, crypto, limits, Role::Root, bytes)?;
        let (facts, own) = file.sheet.root_facts();
        let new = verify_root(crypto, None, own, file.envelope(&digest), facts)?;
        let facts = RootFacts { online_since: new.version, ..*new };
        let bound = Rejected::Limit { role: Role::Root, bound: Bound::Keys };
        self.root.replace(facts, own.keys).ok_or(bound)?;
        self.drop_floors_of_other_keys();
        Ok(())
    }

    /// Reads a root that was stored, in the place of what was trusted before. Whether it was one; if not, nothing is
    /// trusted.
    pub fn restore_root(&mut self, from: &mut Reader<'_>) -> bool {
        self.forget();
        self.root.read_here(from);
        if !from.is_good() {
            self.forget();
        }
        from.is_good()
    }

    /// Reads floors that were stored, under the root that is trusted: that comes first. Whether they were there; if not, there
    /// are none.
    pub fn restore_floors(&mut self, from: &mut Reader<'_>) -> bool {
        self.floors.read_here(from);
        if from.is_good() {
            self.drop_floors_of_other_keys();
        } else {
            self.drop_floors();
        }
        from.is_good()
    }

    /// No floors but the root.
    pub fn drop_floors(&mut self) {
        self.floors.drop_online(0);
        self.floors.issued = 0;
        self.drop_floors_of_other_keys();
    }

    fn forget(&mut self) {
        self.unsaved = Unsaved::default();
        // Without keys it fits.
        let _ = self.root.replace(RootFacts::default(), Keys(&[]));
        self.floors.drop_online(0);
        self.floors.issued = 0;
    }

    /// Trust as it was stored. Both come from [`Trusted::root`] and [`Trusted::floors`] of an earlier run;
    /// the store they lay in is as trusted as they are.
    #[must_use]
    pub fn restore(root: Root<[u8; N]>, floors: Floors) -> Self {
        let mut trusted = Trusted { root, floors, unsaved: Unsaved::default() };
        trusted.drop_floors_of_other_keys();
        trusted
    }
}

impl<B: ?Sized> Trusted<B> {
    /// The trusted root, to be stored when a cycle asks for it.
    #[must_use]
    pub fn root(&self) -> &Root<B> {
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
        clock.max(self.root.facts.issued).max(self.floors.issued).max(online)
    }

    /// 5.3.11: floors that other keys signed are dropped, so that rotating a stolen online key undoes what
    /// it did. `issued` is of offline roles, and stays. Floors of keys that a later root brought stay until the walk of
    /// roots has come there: the root was lost, and they were not.
    fn drop_floors_of_other_keys(&mut self) {
        let (online_since, version) = (self.root.facts.online_since, self.root.facts.version);
        if self.floors.online_since != online_since && self.floors.online_since <= version {
            self.floors.drop_online(online_since);
        }
    }
}

impl<B: ?Sized + AsRef<[u8]> + AsMut<[u8]>> Trusted<B> {
    /// The next root, for a host that has the file at hand and no cycle under way: a ceremony that walks a
    /// chain of roots. The checks are those of a cycle (5.3.4 to 5.3.7); expiry is not one of them.
    ///
    /// # Errors
    /// [`Rejected`], as for any root; the trusted state is what it was.
    pub fn next_root_file(
        &mut self,
        crypto: &Crypto,
        limits: &Limits,
        memory: &mut [u8],
        bytes: &[u8],
    ) -> Result<(), Error> {
        let mut file = FileReader::new(limits, memory);
        let digest = read_into(&mut file, crypto, limits, Role::Root, bytes)?;
        let (facts, own) = file.sheet.root_facts();
        let new =
            verify_root(crypto, Some(self.root.authority(Role::Root)), own, file.envelope(&digest), facts)?;
        Ok(self.update_root(&new, own.keys)?)
    }

    /// Whether a file of this role is whole, and signed by a threshold of the keys that the trusted root gives
    /// it; for a root, whether it may follow. For a host that finishes a file before anybody has published it:
    /// versions, dates and links are judged in a cycle.
    ///
    /// # Errors
    /// [`Rejected`], as in a cycle.
    pub fn accepts_file(
        &self,
        crypto: &Crypto,
        limits: &Limits,
        memory: &mut [u8],
        role: Role,
        bytes: &[u8],
    ) -> Result<(), Error>
    where
        Self: Clone,
    {
        if role == Role::Root {
            return self.clone().next_root_file(crypto, limits, memory, bytes);
        }
        let mut file = FileReader::new(limits, memory);
        let digest = read_into(&mut file, crypto, limits, role, bytes)?;
        verify(crypto, self.root.authority(role), file.envelope(&digest), ())?;
        Ok(())
    }

    /// 5.3.5 to 5.3.8: the next root.
    pub(crate) fn update_root(&mut self, new: &Verified<RootFacts>, keys: Keys<'_>) -> Result<(), Rejected> {
        let trusted = self.root.facts;
        // 5.3.5: exactly one version on.
        let expected = trusted.version.saturating_add(1);
        if new.version != expected {
            return Err(Rejected::RootVersion { expected, offered: new.version });
        }
        // 5.3.6: its expiry does not matter while there may be a newer one.
        // 5.3.7: trusted from here on; 5.3.8 is the caller's, who is asked to store it. What the new root does
        // not say is carried over with it, in one record: that time never goes back, and since when the online
        // keys are what they are.
        let same = |role| new.authority(keys, role).is_same(&self.root.authority(role));
        let same_keys = same(Role::Timestamp) && same(Role::Snapshot);
        let online_since = if same_keys { trusted.online_since } else { new.version };
        let facts = RootFacts { issued: trusted.issued.max(new.issued), online_since, ..**new };
        let bound = Rejected::Limit { role: Role::Root, bound: Bound::Keys };
        self.root.replace(facts, keys).ok_or(bound)?;
        self.unsaved.root = true;
        // 5.3.11
        self.drop_floors_of_other_keys();
        Ok(())
    }

    /// Who may sign for a top-level role.
    pub(crate) fn authority(&self, role: Role) -> Authority<'_> {
        self.root.authority(role)
    }

    /// 5.3.10: the walk ended here; the last root must be fresh.
    pub(crate) fn check_root(&self, moment: Moment) -> Result<(), Rejected> {
        moment.fresh(Role::Root, self.root.facts.expires)
    }

    /// Whether these are the bytes of the trusted timestamp. Its signatures were counted when it came.
    pub(crate) fn has_timestamp(&self, file: &FileHash) -> bool {
        self.floors.timestamp.is_some_and(|trusted| trusted.file == file.bytes)
    }

    /// 5.4.4 for the timestamp that is trusted already.
    pub(crate) fn check_timestamp(&self, moment: Moment) -> Result<(), Rejected> {
        let expires = self.floors.timestamp.map_or(0, |trusted| trusted.expires);
        moment.fresh(Role::Timestamp, expires)
    }

    /// 5.4.3 to 5.4.5: the timestamp. Whether it is a new one.
    pub(crate) fn update_timestamp(
        &mut self,
        new: &Verified<(Header, Meta)>,
        halts: &[u64],
        file: Verbatim,
        moment: Moment,
    ) -> Result<bool, Rejected> {
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
                self.check_timestamp(moment)?;
                return Ok(false);
            }
            // 5.4.3.2: rollback of the snapshot that it names.
            if next.version < trusted.next.version {
                let (trusted, offered) = (trusted.next.version, next.version);
                return Err(Rejected::Rollback { role: Role::Snapshot, trusted, offered });
            }
        }
        // 5.4.4: freeze.
        moment.fresh(role, header.expires)?;
        self.floors.timestamp = Some(Link::new(header, file, next));
        self.floors.halts.clear();
        let _ = self.floors.halts.extend_from_slice(halts);
        self.unsaved.floors = true;
        Ok(true)
    }

    /// 5.5.1: the snapshot that the trusted timestamp names; `None` before there is a timestamp.
    pub(crate) fn expected_snapshot(&self) -> Option<Meta> {
        self.floors.timestamp.map(|timestamp| timestamp.next)
    }

    /// Whether the trusted snapshot is the one that the timestamp names, so that it need not be fetched again.
    /// One that has expired is: should the repository still have no other, it is refused as itself (5.5.6).
    pub(crate) fn has_snapshot(&self, meta: Meta, moment: Moment) -> bool {
        self.floors.snapshot.is_some_and(|kept| {
            kept.version == meta.version
                && meta.describes(&kept.file.into())
                && moment.fresh(Role::Snapshot, kept.expires).is_ok()
        })
    }

    /// The bytes of the trusted snapshot, and its version.
    pub(crate) fn snapshot(&self) -> Option<(u32, Verbatim)> {
        self.floors.snapshot.map(|snapshot| (snapshot.version, snapshot.file))
    }

    /// 5.5.4 to 5.5.7: the snapshot. The caller compared length and digest (5.5.2), and the kept snapshot if there
    /// is one.
    pub(crate) fn update_snapshot(
        &mut self,
        new: &Verified<Header>,
        listed: &MetaReader,
        version: u32,
        file: Verbatim,
        moment: Moment,
    ) -> Result<(), Rejected> {
        let role = Role::Snapshot;
        // 5.5.4: the version that the timestamp names.
        if new.version != version {
            return Err(Rejected::MixAndMatch { role });
        }
        // 5.5.5: no role dropped, none rolled back. Without a kept snapshot only tracked roles are remembered.
        let targets = listed.wanted().ok_or(Rejected::RoleDropped { role: Role::Targets })?;
        if let Some(floor) = self.floors.targets_version() {
            not_older(Role::Targets, floor, targets)?;
        }
        for (index, tracked) in self.floors.tracked.iter().enumerate() {
            let role = Role::Delegated;
            let listed = listed.tracked(index).ok_or(Rejected::RoleDropped { role })?;
            not_older(role, tracked.version, listed)?;
        }
        // 5.5.6: freeze.
        moment.fresh(role, new.expires)?;
        self.floors.snapshot = Some(Link::new(**new, file, targets));
        for (index, tracked) in self.floors.tracked.iter_mut().enumerate() {
            tracked.version = listed.tracked(index).map_or(tracked.version, |listed| listed.version);
        }
        self.floors.settled = None;
        self.unsaved.floors = true;
        Ok(())
    }

    /// 5.6.1: the targets metadata that the trusted snapshot names; `None` before there is a snapshot.
    pub(crate) fn expected_targets(&self) -> Option<Meta> {
        self.floors.snapshot.map(|snapshot| snapshot.next)
    }

    /// 5.6.4 to 5.6.6: the targets metadata, and those of a delegated role, which has a name then. The caller
    /// compared length and digest (5.6.2). Whether another role is tracked from here on.
    pub(crate) fn update_targets(
        &mut self,
        new: &Verified<Header>,
        delegated: Option<&[u8]>,
        version: u32,
        moment: Moment,
    ) -> Result<bool, Rejected> {
        let role = if delegated.is_some() { Role::Delegated } else { Role::Targets };
        // 5.6.4: the version that the snapshot names, and so no rollback either.
        if new.version != version {
            return Err(Rejected::MixAndMatch { role });
        }
        // 5.6.5: freeze.
        moment.fresh(role, new.expires)?;
        if let Some(name) = delegated {
            // 5.5.5, for a role that is known, whoever named the version.
            if let Some(known) = self.floors.tracked.iter().find(|known| known.name == *name)
                && new.version < known.version
            {
                return Err(Rejected::Rollback { role, trusted: known.version, offered: new.version });
            }
            // Its date is no bound for time: the key of a bin may be an online one.
            return Ok(self.track(name, new.version));
        }
        // The version is a floor already, in the snapshot that names it; the date is new.
        if new.issued > self.floors.issued {
            self.floors.issued = new.issued;
            self.unsaved.floors = true;
        }
        Ok(false)
    }

    /// Whether the trusted timestamp halts this image.
    pub(crate) fn halts(&self, sha256: &[u8; 32]) -> bool {
        self.floors.halts.contains(&crate::role::meta::halt(sha256))
    }

    /// Roles whose entries in a snapshot are wanted before a search comes to them.
    pub(crate) fn tracked(&self) -> &[Tracked] {
        &self.floors.tracked
    }

    /// There was nothing to do.
    pub(crate) fn settle(&mut self, settled: Settled) {
        let settled = Settled { root: self.root.facts.version, ..settled };
        self.unsaved.floors |= self.floors.settled != Some(settled);
        self.floors.settled = Some(settled);
    }

    /// Whether there is nothing to do, without another look, for a device that is the same as before: all under
    /// the trusted timestamp was verified, none of it has expired, and nobody's turn has come.
    pub(crate) fn is_settled(&self, facts: [u8; 16], moment: Moment) -> bool {
        let settled = self.floors.settled.filter(|settled| {
            let same = settled.facts == facts && settled.root == self.root.facts.version;
            same && settled.expires > moment.start && settled.turn > moment.start
        });
        settled.is_some() && self.expected_snapshot().is_some_and(|meta| self.has_snapshot(meta, moment))
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

    /// Remembers a delegated role; whether it is one more, in the place of the oldest if there is no other.
    fn track(&mut self, name: &[u8], version: u32) -> bool {
        let tracked = &mut self.floors.tracked;
        // The version of one that is known came with the snapshot.
        if tracked.iter().any(|known| known.name == *name) {
            return false;
        }
        // One with a longer name is remembered by who keeps snapshots.
        let Ok(name) = Vec::from_slice(name) else { return false };
        self.unsaved.floors = true;
        let new = Tracked { name, version };
        if let Err(new) = tracked.push(new) {
            let oldest = usize::from(self.floors.oldest);
            if let Some(oldest) = tracked.get_mut(oldest) {
                *oldest = new;
            }
            self.floors.oldest =
                if oldest.wrapping_add(1) < TRACKED { self.floors.oldest.wrapping_add(1) } else { 0 };
        }
        true
    }
}

impl<B: ?Sized + AsRef<[u8]>> PartialEq for Trusted<B> {
    fn eq(&self, other: &Self) -> bool {
        (&self.root, &self.floors, self.unsaved) == (&other.root, &other.floors, other.unsaved)
    }
}

impl<B: ?Sized + AsRef<[u8]>> Eq for Trusted<B> {}

impl<B: ?Sized + AsRef<[u8]>> core::fmt::Debug for Trusted<B> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Trusted { floors, unsaved, root } = self;
        f.debug_struct("Trusted")
            .field("root", &root)
            .field("floors", floors)
            .field("unsaved", unsaved)
            .finish()
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

    /// Delegated roles whose versions are floors: their names, and the versions.
    pub fn tracked(&self) -> impl Iterator<Item = (&[u8], u32)> {
        self.tracked.iter().map(|tracked| (tracked.name.as_slice(), tracked.version))
    }
}

impl Link {
    fn new(header: Header, file: Verbatim, next: Meta) -> Self {
        Link { version: header.version, expires: header.expires, issued: header.issued, file, next }
    }
}

/// A public key of a delegated role, as a targets file spells it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DelegatedKey<'k> {
    /// Its label, 64 hexadecimal digits.
    pub keyid: &'k str,
    /// What it is good for.
    pub algorithm: Algorithm,
    /// `keyval.public`.
    pub public: &'k str,
}

/// Whether a file of a delegated role is whole, and signed by `threshold` of these keys (5.6.3). For a host that
/// finishes such a file before anybody has published it, and has read the delegation itself in a file that it
/// verified: whether a search comes to the role, and which version is the right one, are judged in a cycle.
///
/// `memory` is that of a cycle, [`Limits::memory`] bytes.
///
/// # Errors
/// [`Rejected`], as in a cycle.
pub fn accepts_delegated_file<'k>(
    crypto: &Crypto,
    limits: &Limits,
    memory: &mut [u8],
    keys: impl IntoIterator<Item = DelegatedKey<'k>>,
    threshold: u8,
    bytes: &[u8],
) -> Result<(), Error> {
    let role = Role::Delegated;
    let mut file = FileReader::new(limits, memory);
    let mut members = 0_u32;
    for (DelegatedKey { keyid, algorithm, public }, place) in keys.into_iter().zip(0_u32..) {
        let keys = &mut file.sheet.keys;
        let wrong = Rejected::Field { role, field: Field::Keys };
        let full = Rejected::Limit { role, bound: Bound::Keys };
        let within = Keys(keys.as_slice()).iter().count() < limits.keys;
        members |= 1_u32.checked_shl(place).filter(|_| within).ok_or(full)?;
        keys.push_key_id(KeyId::from_hex(keyid.as_bytes()).ok_or(wrong)?).ok_or(full)?;
        if crypto.knows(algorithm) {
            let length = keys.decode(algorithm, crypto, public.as_bytes()).ok_or(wrong)?;
            keys.complete_key(algorithm, length).ok_or(full)?;
        }
    }
    file.sheet.own_keys = file.sheet.keys.len();
    let digest = read_into(&mut file, crypto, limits, role, bytes)?;
    let authority = Authority { keys: file.sheet.chosen_keys(), by: RoleKeys { members, threshold } };
    verify(crypto, authority, file.envelope(&digest), ())?;
    Ok(())
}

/// Whether every search that comes to this targets file, of the top-level role or of a delegated one, can read what it
/// delegates: keys, names, thresholds, paths. A device meets a fault there whatever it looks for, and stops. For a host
/// that is about to publish the file; who signed it, and whether the roles are there, is not asked, nor how many keys a
/// role has, which a device counts when it goes there.
///
/// Behind a role that covers `path` the file is read once more, as in a search, and after as many of them as a search
/// visits that is the end; so give one that none covers. `memory` is that of a cycle, [`Limits::memory`] bytes.
///
/// # Errors
/// [`Rejected`], as in a cycle.
pub fn accepts_delegations(
    crypto: &Crypto,
    limits: &Limits,
    memory: &mut [u8],
    role: Role,
    bytes: &[u8],
    path: &str,
) -> Result<(), Error> {
    let mut file = FileReader::new(limits, memory);
    file.sheet.targets.seek_target(Seek::Named);
    let fault = |fault: crate::scan::Fault| fault.of(role, 0, 0);
    let mut done = 0;
    for _ in 0..=limits.roles {
        // As a search does that is done with so many of them: it reads on to the next that leads somewhere.
        file.sheet.names.truncate(0);
        push_name(&mut file.sheet.names, &[Role::Targets.name().as_bytes()]).map_err(fault)?;
        file.begin(role);
        file.sheet.delegations.restart(done);
        file.feed(bytes, limits.of(role), Context { named: path, ..Context::of(crypto, limits) }, None)?;
        file.finish()?;
        let Some(chosen) = file.sheet.delegations.chosen else { break };
        done = chosen.index.saturating_add(1);
    }
    Ok(())
}

/// Reads a whole file in one piece; what is signed of it has this SHA-256. It goes into the caller's reader, which is too
/// long to be moved.
fn read_into(
    file: &mut FileReader<'_>,
    crypto: &Crypto,
    limits: &Limits,
    role: Role,
    bytes: &[u8],
) -> Result<[u8; 32], Rejected> {
    file.begin(role);
    if crypto.message.is_some() {
        file.scanner.keep_message();
    }
    // Nothing below `signed` is looked for but a header and, in a root, keys.
    file.sheet.delegations.restart(u32::MAX);
    let keys_only = role != Role::Root;
    file.feed(bytes, limits.of(role), Context { keys_only, ..Context::of(crypto, limits) }, None)?;
    file.finish()
}

fn not_older(role: Role, trusted: u32, listed: Meta) -> Result<(), Rejected> {
    let offered = listed.version;
    if offered < trusted { Err(Rejected::Rollback { role, trusted, offered }) } else { Ok(()) }
}
