//! Who signs for the products: what the policy wants, and what signed metadata say.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tuffet_keys::Role;
use tuffet_keys::canonical;
use tuffet_keys::delegation::Delegation;
use tuffet_keys::metadata::Envelope;

use super::{Stage, State};
use crate::config::Delegate;
use crate::document::{Changes, Sheet};
use crate::repository::{Roots, Workspace};
use crate::{Error, Rejected};

impl Stage<'_> {
    /// What the policy wants a role to delegate, as the text of the member.
    pub(super) fn wanted(&mut self, role: &Role) -> Result<Option<String>, Error> {
        self.check_bins(role)?;
        let config = self.workspace.config();
        let value = match role {
            Role::Targets => delegations(self.workspace, &self.roots)?,
            _ => config
                .delegate(role)
                .filter(|delegate| delegate.name == role.name())
                .map_or(Ok(None), |delegate| {
                    delegate.bins.map(|bits| bins(self.workspace, delegate, bits)).transpose()
                })?,
        };
        let Some(value) = value else { return Ok(None) };
        Ok(Some(String::from_utf8_lossy(&canonical::published_bytes(&value)?).into_owned()))
    }

    /// Whether the newest metadata of a role, staged or published, delegate what the policy wants.
    ///
    /// # Errors
    /// As [`Stage::state`], or a public key that cannot be read.
    pub fn delegates_as_wanted(&mut self, role: &Role) -> Result<bool, Error> {
        let wanted = self.wanted(role)?;
        Ok(self.state(role)?.sheet.delegations() == wanted.as_deref())
    }

    /// What a role that was never written has from the top-level targets: the paths that the policy gives it now, which the
    /// holders of targets signed before. So a product moves with its releases.
    pub(super) fn inherited(&mut self, role: &Role) -> Result<Sheet, Error> {
        let config = self.workspace.config();
        let product = config
            .delegates()
            .find(|(_, delegate)| config.delegate(role).is_some_and(|other| other.name == delegate.name));
        let (Some((product, _)), Role::Delegated(_)) = (product, role) else { return Ok(Sheet::default()) };
        let Some(top) = &self.state(&Role::Targets)?.published else { return Ok(Sheet::default()) };
        let top = top.sheet()?;
        let paths = top.below(&format!("{product}/")).filter(|path| config.role_of(path) == *role);
        Ok(top.part(paths))
    }

    /// Takes off the top-level targets what roles of products have now.
    pub(super) fn hand_down(&mut self, changes: &mut Changes) -> Result<(), Error> {
        let config = self.workspace.config();
        let sheet = self.state(&Role::Targets)?.sheet.clone();
        for (product, _) in config.delegates() {
            sheet.below(&format!("{product}/")).for_each(|path| changes.remove(path));
        }
        Ok(())
    }

    /// The roles that would have something from the top-level targets, and were never written.
    pub(super) fn heirs(&mut self) -> Result<BTreeSet<Role>, Error> {
        let config = self.workspace.config();
        let mut heirs = BTreeSet::new();
        if config.delegates().next().is_none() {
            return Ok(heirs);
        }
        if let Some(top) = &self.state(&Role::Targets)?.published {
            let top = top.sheet()?;
            for (product, _) in config.delegates() {
                heirs.extend(top.below(&format!("{product}/")).map(|path| config.role_of(path)));
            }
        }
        Ok(heirs)
    }

    /// Whether the bins of a product are what they were: nothing moves from one to another.
    fn check_bins(&mut self, role: &Role) -> Result<(), Error> {
        let Some(delegate) =
            self.workspace.config().delegate(role).filter(|delegate| delegate.name == role.name())
        else {
            return Ok(());
        };
        let wanted = delegate.bins;
        let Some(document) = &self.state(role)?.published else { return Ok(()) };
        let sheet = document.sheet()?;
        let delegations: Value =
            sheet.delegations().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let bits = delegations["succinct_roles"]["bit_length"].as_u64();
        if bits == wanted.map(u64::from) || (bits.is_none() && sheet.is_empty()) {
            return Ok(());
        }
        let bits = bits.map_or("no `bins`".to_owned(), |bits| format!("`bins = {bits}`"));
        Err(Rejected::BinsChanged { role: role.clone(), was: bits }.into())
    }

    /// The signed targets files that lead to a role, from the top down.
    pub(super) fn way(&mut self, role: &Role) -> Result<Vec<(Role, Vec<u8>)>, Error> {
        let workspace = self.workspace;
        let mut way = Vec::new();
        for above in workspace.above(role) {
            let below = match (&above, workspace.config().delegate(role)) {
                (Role::Targets, Some(delegate)) => delegate.name.clone(),
                _ => role.name().to_owned(),
            };
            let file = self.signed_file(&above, &below)?;
            way.push((above, file));
        }
        Ok(way)
    }

    /// The newest signed file of a role that delegates to `below` as the policy wants it: the staged one if it has its
    /// signatures, else the published one.
    fn signed_file(&mut self, role: &Role, below: &str) -> Result<Vec<u8>, Error> {
        let wanted = self.wanted(role)?.unwrap_or_default();
        let wanted = delegation_of(&wanted, below)?;
        let workspace = self.workspace;
        let State { published, pending, .. } = self.state(role)?;
        let staged = pending.as_ref().and_then(|request| request.finish(request.header().issued).ok());
        let published = published.as_ref().map(|document| document.bytes().to_vec());
        for file in [staged, published].into_iter().flatten() {
            let there = Delegation::of(&Envelope::parse(&file)?.signed, below);
            if there.is_ok_and(|there| there.is_some() && there == wanted) {
                return Ok(file);
            }
        }
        let waits = pending.is_some().then(|| workspace.request_path(role));
        Err(Rejected::NotDelegated { role: Role::Delegated(below.to_owned()), by: role.clone(), waits }
            .into())
    }
}

/// What a text of `delegations` says of a role.
pub(super) fn delegation_of(delegations: &str, name: &str) -> Result<Option<Delegation>, Error> {
    let delegations =
        if delegations.is_empty() { Value::Null } else { canonical::parse(delegations.as_bytes())? };
    Ok(Delegation::of(&json!({ "delegations": delegations }), name)?)
}

/// What the top-level targets delegate: to each product with a role of its own the paths of that product.
///
/// Targets files do not name their role, so a signature for one is good for any other that the same key signs. No key is
/// in two roles.
fn delegations(workspace: &Workspace, roots: &Roots) -> Result<Option<Value>, Error> {
    let (mut keys, mut roles) = (Map::new(), Vec::new());
    let of_root = roots.newest().roles.iter();
    let mut taken: BTreeMap<String, Role> = of_root
        .flat_map(|(role, signers)| signers.keys.keys().map(|keyid| (keyid.clone(), role.clone())))
        .collect();
    for (product, delegate) in workspace.config().delegates() {
        let keyids = add_keys(workspace, delegate, &mut keys)?;
        let role = Role::Delegated(delegate.name.clone());
        for keyid in &keyids {
            if let Some(other) = taken.insert(keyid.clone(), role.clone()) {
                return Err(Rejected::KeyInTwoRoles { keyid: keyid.clone(), role, other }.into());
            }
        }
        roles.push(json!({
            "keyids": keyids,
            "name": delegate.name,
            "paths": [format!("{product}/*/*/release"), format!("{product}/*/versions/*/*")],
            "terminating": true,
            "threshold": delegate.threshold,
        }));
    }
    Ok((!roles.is_empty()).then(|| json!({ "keys": keys, "roles": roles })))
}

/// What a product's role delegates that is spread over bins.
fn bins(workspace: &Workspace, delegate: &Delegate, bits: u32) -> Result<Value, Error> {
    let mut keys = Map::new();
    let keyids = add_keys(workspace, delegate, &mut keys)?;
    Ok(json!({
        "keys": keys,
        "succinct_roles": {
            "bit_length": bits,
            "keyids": keyids,
            "name_prefix": delegate.bin_prefix(),
            "threshold": delegate.threshold,
        },
    }))
}

fn add_keys(
    workspace: &Workspace,
    delegate: &Delegate,
    keys: &mut Map<String, Value>,
) -> Result<Vec<String>, Error> {
    let mut keyids = BTreeSet::new();
    for key in delegate.public_keys(workspace.directory())? {
        keys.insert(key.keyid().to_owned(), key.to_value());
        keyids.insert(key.keyid().to_owned());
    }
    Ok(keyids.into_iter().collect())
}
