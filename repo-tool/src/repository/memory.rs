//! What this workspace published last.
//!
//! Whoever can write where the repository lies can put an older state back, each file of it well signed once. Devices
//! remember; so does the publisher, or it would sign that state anew, without the halts that it had.
//!
//! `last/N.snapshot.json` and `last/timestamp.json` are copies of what was published, written after it. A workspace that has
//! none, a fresh checkout, believes what the newest public root's keys signed.

use std::path::PathBuf;

use tuffet_keys::Role;
use tuffet_keys::file::MAX_FILE;

use super::{Published, Roots, Workspace, damaged, metadata_name};
use crate::document::{Document, Listing};
use crate::storage::{Content, Writer, read_optional};
use crate::store::Stored;
use crate::{Error, Rejected};

/// The copies.
struct Last {
    timestamp: Document,
    snapshot: Document,
    listing: Listing,
}

impl Workspace {
    /// What is published; none before the first timestamp.
    ///
    /// If a root that is staged replaces the online keys, whatever somebody else made of timestamp and snapshot does not
    /// count: devices forget it with those keys, and what this workspace published last is carried on.
    ///
    /// # Errors
    /// [`Rejected::Damaged`] for a file that is not what the file that names it says, [`Rejected::Unproven`] for one that
    /// the newest public root's keys did not sign, [`Rejected::RolledBack`] for one that is older than what this workspace
    /// published, or an I/O failure.
    pub fn published(&self, roots: &Roots) -> Result<Option<Published>, Error> {
        let name = metadata_name(&Role::Timestamp, 0);
        let stored = self.store.read(&name, MAX_FILE)?;
        let tag = stored.as_ref().map(|stored| stored.tag.clone());
        let last = self.last()?;
        match (self.served(roots, stored, last.as_ref()), last, tag) {
            (Ok(served), ..) => Ok(served),
            (Err(Error::Rejected(_)), Some(last), tag) if roots.replace_online_keys() => {
                let Last { timestamp, snapshot, listing } = last;
                Ok(Some(Published { workspace: self.clone(), tag, timestamp, snapshot, listing }))
            }
            (Err(error), ..) => Err(error),
        }
    }

    /// What is served, if it can be what was published.
    fn served(
        &self,
        roots: &Roots,
        stored: Option<Stored>,
        last: Option<&Last>,
    ) -> Result<Option<Published>, Error> {
        let path = self.place(&metadata_name(&Role::Timestamp, 0));
        let Some(Stored { bytes, tag }) = stored else {
            return match last {
                None => Ok(None),
                Some(_) => Err(damaged(&path, "the timestamp is missing that was published last")),
            };
        };
        let timestamp = Document::parse(bytes, &Role::Timestamp, &path)?;
        let same = last.is_some_and(|last| last.timestamp.bytes() == timestamp.bytes());
        if !same {
            roots.check_signed(&timestamp, &path)?;
        }
        let listed = timestamp.listing()?.of(&Role::Snapshot);
        let snapshot = self.listed(&Role::Snapshot, listed.as_ref())?;
        let snapshot = snapshot.ok_or_else(|| damaged(&path, "it names no snapshot"))?;
        let listing = snapshot.listing()?;
        let published = Published { workspace: self.clone(), tag: Some(tag), timestamp, snapshot, listing };
        if !same {
            let path = self.place(&metadata_name(&Role::Snapshot, published.snapshot.header.version));
            roots.check_signed(&published.snapshot, &path)?;
            last.map_or(Ok(()), |last| last.precedes(&published, self))?;
        }
        Ok(Some(published))
    }

    fn last(&self) -> Result<Option<Last>, Error> {
        let path = self.last_path("timestamp.json");
        let Some(bytes) = read_optional(&path)? else { return Ok(None) };
        let timestamp = Document::parse(bytes, &Role::Timestamp, &path)?;
        let version = timestamp.listing()?.of(&Role::Snapshot).map_or(0, |meta| meta.version);
        let path = self.last_path(&metadata_name(&Role::Snapshot, version));
        let bytes = read_optional(&path)?
            .ok_or_else(|| damaged(&path, "the copy of what was published is missing"))?;
        let snapshot = Document::parse(bytes, &Role::Snapshot, &path)?;
        let listing = snapshot.listing()?;
        Ok(Some(Last { timestamp, snapshot, listing }))
    }

    fn last_path(&self, name: &str) -> PathBuf {
        self.directory.join("last").join(name)
    }

    /// Notes what was published. The timestamp's copy comes last: what it names is there.
    pub(crate) fn remember(
        &self,
        timestamp: &[u8],
        snapshot: (u32, &[u8]),
        writer: &mut Writer<'_>,
    ) -> Result<(), Error> {
        let (version, bytes) = snapshot;
        let name = metadata_name(&Role::Snapshot, version);
        writer.replace(&self.last_path(&name), &Content::Bytes(bytes.to_vec().into()))?;
        let path = self.last_path("timestamp.json");
        writer.replace(&path, &Content::Bytes(timestamp.to_vec().into()))?;
        let failed = |error| Error::io("list", &self.last_path(""), &error);
        for entry in std::fs::read_dir(self.last_path("")).map_err(failed)? {
            let entry = entry.map_err(failed)?.file_name();
            let old = entry.to_str().is_some_and(|other| other.ends_with(".snapshot.json") && other != name);
            if old {
                writer.remove(&self.last_path(&entry.to_string_lossy()))?;
            }
        }
        Ok(())
    }
}

impl Last {
    /// Whether something else that is served can have come after this.
    fn precedes(&self, served: &Published, workspace: &Workspace) -> Result<(), Error> {
        let older = |role: &Role, known: u32, found: Option<u32>| {
            let found = found.unwrap_or(0);
            let path = workspace.place("timestamp.json");
            Rejected::RolledBack { role: role.clone(), known, found, path }.into()
        };
        let versions = [
            (Role::Timestamp, self.timestamp.header.version, served.timestamp.header.version, false),
            (Role::Snapshot, self.snapshot.header.version, served.snapshot.header.version, true),
        ];
        for (role, known, found, may_be_same) in versions {
            if found < known || (found == known && !may_be_same) {
                return Err(older(&role, known, Some(found)));
            }
        }
        for role in self.listing.roles() {
            let known = self.listing.of(&role).map_or(0, |meta| meta.version);
            let found = served.listing.of(&role).map(|meta| meta.version);
            if found.is_none_or(|found| found < known) {
                return Err(older(&role, known, found));
            }
        }
        Ok(())
    }
}
