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

    /// Whether this repository's keys signed a timestamp or snapshot: those of the newest root, or of one that was public
    /// when it was. What is carried on into new metadata is signed again, so it must have been ours.
    pub(super) fn check_signed(&self, document: &Document, path: &Path) -> Result<(), Error> {
        let role = &document.header.role;
        let mut refused = self.chain.accepts(role, document.bytes());
        // A publisher that died may have left a root that is public, or staged, and has other keys.
        let public = self.published as usize;
        for count in [public, public.saturating_sub(1)] {
            if refused.is_ok() || count == 0 {
                break;
            }
            let files = self.chain.files().get(..count).unwrap_or_default();
            refused = Chain::verify(files)?.accepts(role, document.bytes());
        }
        refused.map_err(|refusal| {
            let (path, why) = (path.to_owned(), refusal.to_string());
            Rejected::Unproven { path, why }.into()
        })
    }
}
