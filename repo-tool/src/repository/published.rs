//! What is published.

use tuffet_keys::Role;

use super::Workspace;
use crate::Error;
use crate::document::{Document, Listing, Sheet};
use crate::store::Tag;

/// The metadata that the public timestamp leads to. Timestamp and snapshot are signed by the repository's keys; all else
/// is read when it is asked for, and is what the snapshot names.
#[derive(Clone)]
pub struct Published {
    pub(super) workspace: Workspace,
    /// Of the `timestamp.json` that is served: what the next one takes the place of.
    pub(crate) tag: Option<Tag>,
    /// `timestamp.json`.
    pub timestamp: Document,
    /// The snapshot that it names.
    pub snapshot: Document,
    /// What the snapshot lists.
    pub listing: Listing,
}

impl Published {
    /// The published version of a role.
    #[must_use]
    pub fn version(&self, role: &Role) -> Option<u32> {
        match role {
            Role::Root => None,
            Role::Timestamp => Some(self.timestamp.header.version),
            Role::Snapshot => Some(self.snapshot.header.version),
            Role::Targets | Role::Delegated(_) | _ => Some(self.listing.of(role)?.version),
        }
    }

    /// The published targets file of a role; none if the snapshot lists none.
    ///
    /// # Errors
    /// [`Rejected::Damaged`](crate::Rejected::Damaged) or an I/O failure.
    pub fn role(&self, role: &Role) -> Result<Option<Document>, Error> {
        self.workspace.listed(role, self.listing.of(role).as_ref())
    }

    /// The same where perhaps nothing is published yet.
    pub(crate) fn role_of(published: Option<&Published>, role: &Role) -> Result<Option<Document>, Error> {
        published.map_or(Ok(None), |published| published.role(role))
    }

    /// What that file lists; nothing if there is none.
    pub(crate) fn sheet_of(published: Option<&Published>, role: &Role) -> Result<Sheet, Error> {
        Published::role_of(published, role)?.map_or_else(|| Ok(Sheet::default()), |found| found.sheet())
    }
}
