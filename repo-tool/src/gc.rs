//! What a repository no longer needs, and what may go.
//!
//! A snapshot that has not expired may be on its way to a device, or in its memory, and all that it leads to is needed.
//! So is what an expired one leads to, for the time of grace after it, since a device that began an update goes on with
//! it. A file that nothing leads to may be a publisher's that is at work: it goes when it is older than that time.
//!
//! Roots are never deleted: a device that was off for years walks every one of them.

use std::collections::BTreeSet;

use tuffet_keys::Role;
use tuffet_keys::file::MAX_FILE;

use crate::author::Target;
use crate::document::Document;
use crate::repository::{Lock, Workspace, metadata_name, target_name};
use crate::storage::Witness;
use crate::store::{self, Listed, Tag, is_own};
use crate::{Environment, Error, Rejected};

/// What would be deleted.
pub struct Sweep {
    workspace: Workspace,
    /// The files, by name.
    pub files: Vec<Listed>,
    /// How many files are kept.
    pub kept: usize,
    before: Option<Tag>,
    _lock: (Lock, store::Lock),
}

/// Finds out what nothing needs at `now` (seconds since 1970).
///
/// # Errors
/// [`Rejected::NothingStaged`] if nothing is published, what is wrong with what is, or what keeps it from being read.
pub fn sweep(workspace: &Workspace, now: u64) -> Result<Sweep, Error> {
    let lock = (workspace.lock()?, workspace.store().lock()?);
    let roots = workspace.roots()?;
    let published = workspace.published(&roots)?.ok_or(Rejected::NothingStaged)?;
    let timestamp = &published.timestamp.header;
    if timestamp.expires <= now {
        // Or the clock is wrong, and then everything looks old.
        let what = vec![format!("timestamp {}", timestamp.version)];
        return Err(Rejected::Expired { at: now, what }.into());
    }
    let grace = workspace.config().retention.grace.seconds(now);
    let listed = workspace.store().list("")?;

    let mut needed = BTreeSet::from([metadata_name(&Role::Timestamp, 0)]);
    let mut read = BTreeSet::new();
    let current = metadata_name(&Role::Snapshot, published.snapshot.header.version);
    follow(workspace, &published.snapshot, &mut needed, &mut read)?;
    needed.insert(current.clone());
    for Listed { name, .. } in &listed {
        if name.contains('/') || !name.ends_with(".snapshot.json") || *name == current {
            continue;
        }
        let Some(bytes) = workspace.read(name)? else { continue };
        // One that is damaged leads nowhere, and goes as any other file that nothing leads to.
        let Ok(snapshot) = Document::parse(bytes, &Role::Snapshot, &workspace.place(name)) else { continue };
        if snapshot.header.expires.saturating_add(grace) > now {
            // What somebody else put there may lead to anything.
            let _ = follow(workspace, &snapshot, &mut needed, &mut read);
            needed.insert(name.clone());
        }
    }
    let is_root = |name: &str| !name.contains('/') && name.ends_with(".root.json");
    let goes = |file: &Listed| {
        let is_ours = is_own(&file.name) || is_metadata(&file.name) || file.name.starts_with("targets/");
        let old = file.modified.saturating_add(grace) <= now;
        is_ours && old && !is_root(&file.name) && !needed.contains(&file.name)
    };
    let count = listed.len();
    let files: Vec<Listed> = listed.into_iter().filter(goes).collect();
    Ok(Sweep {
        before: published.tag,
        workspace: workspace.clone(),
        kept: count - files.len(),
        files,
        _lock: lock,
    })
}

/// What somebody else keeps beside a repository is not looked at.
fn is_metadata(name: &str) -> bool {
    let numbered = name.strip_suffix(".json").and_then(|name| name.split_once('.'));
    let role = numbered.filter(|(version, _)| version.parse::<u32>().is_ok());
    !name.contains('/') && role.is_some_and(|(_, stem)| Role::from_file_stem(stem).is_some())
}

/// Notes what a snapshot leads to. Each targets file is read once, whatever lists it.
fn follow(
    workspace: &Workspace,
    snapshot: &Document,
    needed: &mut BTreeSet<String>,
    read: &mut BTreeSet<String>,
) -> Result<(), Error> {
    let listing = snapshot.listing()?;
    for role in listing.roles() {
        let Some(meta) = listing.of(&role) else { continue };
        let name = metadata_name(&role, meta.version);
        if !read.insert(name.clone()) {
            continue;
        }
        let place = workspace.place(&name);
        let Some(bytes) = workspace.read(&name)? else {
            // An older snapshot may list what an earlier sweep took; the current one was verified before.
            continue;
        };
        needed.insert(name);
        for target in Document::parse(bytes, &role, &place)?.sheet()?.list() {
            let (path, Target { sha256, .. }) = target?;
            needed.insert(target_name(path, &sha256));
        }
    }
    Ok(())
}

impl Sweep {
    /// Deletes the files. `witness` sees every step. A bucket has no lock: if somebody published meanwhile, nothing is
    /// deleted.
    ///
    /// # Errors
    /// [`Environment::Outrun`], or what the disk or the server says. Some may be gone then; running again takes the rest.
    pub fn delete(&self, witness: &mut dyn Witness) -> Result<(), Error> {
        let timestamp = metadata_name(&Role::Timestamp, 0);
        if self.workspace.store().read(&timestamp, MAX_FILE)?.map(|stored| stored.tag) != self.before {
            return Err(Environment::Outrun { path: self.workspace.place(&timestamp) }.into());
        }
        let names: Vec<String> = self.files.iter().map(|file| file.name.clone()).collect();
        self.workspace.store().remove(&names, witness)
    }
}
