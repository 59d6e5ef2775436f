//! Which releases devices are played for before a publication.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use tuffet_keys::Role;

use super::Plan;
use super::ready::New;
use crate::document::{Listed, Sheet};
use crate::preflight::{self, Trial};
use crate::release::Channel;
use crate::repository::{Published, Roots, metadata_name};
use crate::storage::Content;
use crate::{Error, Rejected};

impl Plan {
    /// What stands in the way, and what devices would say. The images are left out: they are held against their
    /// digests when copied.
    pub(super) fn preflight(
        &self,
        roots: &Roots,
        published: Option<&Published>,
        new: &[New],
        now: u64,
    ) -> Result<(), Error> {
        let mut files: BTreeMap<String, Bytes> = BTreeMap::new();
        for (name, content) in &self.files {
            if let Content::Bytes(bytes) = content {
                let there = self.workspace.read(name)?;
                if there.is_some_and(|there| there != *bytes) {
                    return Err(Rejected::ImmutableDiffers { path: self.workspace.place(name) }.into());
                }
                files.insert(name.clone(), bytes.clone());
            }
        }
        files.insert(metadata_name(&Role::Timestamp, 0), self.timestamp.clone().into());
        let mut releases = Vec::new();
        for New { sheet, before, .. } in new {
            for path in sheet.changed(before) {
                if let Some(channel) = Channel::of_entry(path) {
                    let listed = sheet.entry(path)?;
                    let which = preflight::changed(&listed, &before.entry(path)?);
                    releases.push((channel, listed, which));
                }
            }
        }
        self.add_touched(published, new, &mut releases)?;
        Trial {
            roots,
            below: Arc::clone(self.workspace.store()),
            published: published.is_some(),
            files,
            smallest: self.workspace.limits(roots),
            releases,
        }
        .run(now)
    }

    /// Releases that are as they were, and that this publication might cut off: by another delegation or root, or because
    /// an image is gone.
    fn add_touched(
        &self,
        published: Option<&Published>,
        new: &[New],
        releases: &mut Vec<(Channel, Listed, Vec<usize>)>,
    ) -> Result<(), Error> {
        let moved = !self.summary.roots.is_empty()
            || new.iter().any(|new| new.sheet.delegations() != new.before.delegations());
        let gone = new.iter().flat_map(|new| new.before.changed(&new.sheet));
        // Entries change with every release; what they list now is played.
        let gone: BTreeSet<&str> = gone.filter(|path| Channel::of_entry(path).is_none()).collect();
        if !moved && gone.is_empty() {
            return Ok(());
        }
        let mut sheets: BTreeMap<Role, Sheet> =
            new.iter().map(|new| (new.role.clone(), new.sheet.clone())).collect();
        let mut channels: BTreeSet<Channel> = self.workspace.channels().into_iter().collect();
        let listed = published.iter().flat_map(|published| published.listing.roles());
        for role in
            listed.filter(|_| moved).chain(new.iter().map(|new| new.role.clone())).collect::<BTreeSet<_>>()
        {
            let before = Published::sheet_of(published, &role)?;
            let sheet = sheets.entry(role).or_insert_with(|| before.clone());
            for sheet in [&before, sheet] {
                channels.extend(sheet.paths().filter_map(Channel::of_entry));
            }
        }
        for channel in channels {
            let path = channel.entry();
            let role = self.workspace.config().role_of(&path);
            if !sheets.contains_key(&role) {
                sheets.insert(role.clone(), Published::sheet_of(published, &role)?);
            }
            let mut listed =
                sheets.get(&role).map_or_else(|| Ok(Listed::default()), |sheet| sheet.entry(&path))?;
            if listed.candidates.is_empty() {
                // It is not where the policy looks: what devices found before they must still find.
                let before = sheets
                    .values()
                    .find_map(|sheet| sheet.entry(&path).ok().filter(|it| !it.candidates.is_empty()));
                let old = new
                    .iter()
                    .find_map(|new| new.before.entry(&path).ok().filter(|it| !it.candidates.is_empty()));
                listed = before.or(old).unwrap_or_default();
            }
            let is_touched = |index: usize| {
                let image = listed.candidates.get(index).map(|candidate| candidate.image.path.as_str());
                (moved && index == 0) || image.is_some_and(|image| gone.contains(image))
            };
            let which: Vec<usize> = (0..listed.candidates.len()).filter(|index| is_touched(*index)).collect();
            match releases.iter_mut().find(|(other, ..)| *other == channel) {
                Some((_, _, known)) => {
                    known.extend(which);
                    known.sort_unstable();
                    known.dedup();
                }
                None => releases.push((channel, listed, which)),
            }
        }
        Ok(())
    }
}
