//! The root chain of a workspace.

use std::path::Path;

use tuffet_keys::Role;
use tuffet_keys::root::{Chain, RoleKeys, Root};

use crate::document::Document;
use crate::{Error, Rejected};

/// Roots from version 1 on, each verified under its predecessor and itself.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The chain, published and staged.
    pub chain: Chain,
    /// The newest version that is in the public directory.
    pub published: u32,
    newest: Root,
}

impl Roots {
    pub(crate) fn verify(files: &[Vec<u8>], published: u32) -> Result<Roots, tuffet_keys::Error> {
        let chain = Chain::verify(files)?;
        let why = || "there is no root".to_owned();
        let newest =
            chain.last().ok_or_else(|| tuffet_keys::Rejected::BrokenChain { version: 1, why: why() })?;
        Ok(Roots { published, newest: newest.clone(), chain })
    }

    /// The last root of the chain.
    pub fn newest(&self) -> &Root {
        &self.newest
    }

    /// The version of the last root.
    pub fn version(&self) -> u32 {
        self.newest.header.version
    }

    /// The keys that the last root gives a role.
    pub fn keys(&self, role: &Role) -> &RoleKeys {
        // A root without one of the four does not decode.
        &self.newest.roles[role]
    }

    /// The chain without what is staged.
    pub(crate) fn public(&self) -> Result<Roots, Error> {
        let files = self.chain.files().get(..self.published as usize).unwrap_or_default();
        Ok(Roots::verify(files, self.published)?)
    }

    /// Whether a root that is staged gives timestamp or snapshot other keys.
    pub(super) fn replace_online_keys(&self) -> bool {
        let public = self.chain.roots().get((self.published as usize).wrapping_sub(1));
        public.is_some_and(|public| {
            [Role::Timestamp, Role::Snapshot]
                .iter()
                .any(|role| public.roles.get(role) != Some(self.keys(role)))
        })
    }

    /// Whether the keys of the newest public root signed a timestamp or snapshot. What is carried on into new metadata is
    /// signed again, so it must have been ours; and keys that a root took away may be a thief's.
    pub(super) fn check_signed(&self, document: &Document, path: &Path) -> Result<(), Error> {
        let files = self.chain.files().get(..self.published.max(1) as usize).unwrap_or_default();
        let signed = Chain::verify(files)?.accepts(&document.header.role, document.bytes());
        signed.map_err(|refusal| {
            let (path, why) = (path.to_owned(), refusal.to_string());
            Rejected::Unproven { path, why }.into()
        })
    }
}
