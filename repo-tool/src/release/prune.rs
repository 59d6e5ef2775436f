//! Images that no channel lists any more.
//!
//! A targets file says which images there are, so one goes in two steps: the holders sign a file without it, and `gc` then
//! deletes it, when no device can be on its way to it any more.

use std::collections::{BTreeMap, BTreeSet};

use super::{Channel, VERSIONS};
use crate::Error;
use crate::repository::{Workspace, target_name};
use crate::staging::{Draft, Mode, Stage};

/// What was taken away, or would be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    /// Target paths of images, and their bytes.
    pub images: Vec<(String, u32)>,
    /// The requests that were written.
    pub drafts: Vec<Draft>,
}

/// Takes images off the targets files that no channel lists, and that were published longer ago than the policy keeps
/// them. `now` is in seconds since 1970.
///
/// # Errors
/// What is wrong with what is published or staged, or what keeps it from being read.
pub fn prune(workspace: &Workspace, now: u64, mode: Mode) -> Result<Pruned, Error> {
    let mut stage = Stage::open(workspace)?;
    let keep = workspace.config().retention.images.seconds(now);
    let mut listed = BTreeSet::new();
    let mut images = BTreeMap::new();
    for role in stage.roles()? {
        let state = stage.state(&role)?.clone();
        // What is published lists images until what is staged is published, and the two may be in different roles.
        let published = state.published.as_ref().map(|document| document.sheet()).transpose()?;
        for (sheet, is_staged) in published.iter().map(|sheet| (sheet, false)).chain([(&state.sheet, true)]) {
            for target in sheet.list() {
                let (path, target) = target?;
                if Channel::of_entry(path).is_some() {
                    let candidates = sheet.entry(path)?.candidates;
                    listed.extend(candidates.into_iter().map(|candidate| candidate.image.path.to_string()));
                } else if is_staged && is_image(path) {
                    images.insert(path.to_owned(), target);
                }
            }
        }
    }
    images.retain(|path, _| !listed.contains(path));
    let written: BTreeMap<String, u64> =
        workspace.store().list("targets")?.into_iter().map(|file| (file.name, file.modified)).collect();
    let mut pruned = Pruned::default();
    for (path, target) in images {
        // What was never published is not old.
        let modified = written.get(&target_name(&path, &target.sha256));
        if modified.is_some_and(|modified| modified.saturating_add(keep) <= now) {
            stage.changes_of(&path).remove(&path);
            pruned.images.push((path, target.length));
        }
    }
    pruned.drafts = stage.finish(now, mode)?;
    Ok(pruned)
}

/// Whether a path is that of a release's image, and of nothing else that somebody may have put there.
fn is_image(path: &str) -> bool {
    matches!(path.split('/').collect::<Vec<_>>()[..], [_, _, VERSIONS, _, _])
}
