//! Roots: what one says, verifying the chain of them, drafting the next, and taking lost keys out.

mod chain;
mod devices;
mod draft;
mod periods;
mod revocation;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tuffet_client::limits::DEVICE;

use crate::encoding::{is_digest, member};
use crate::key::PublicKey;
use crate::metadata::{Header, Role};
use crate::text::plain;
use crate::transcript::Head;
use crate::{Error, Rejected};

pub use chain::Chain;
pub use devices::Devices;
pub use draft::Draft;
pub use periods::{Period, Periods};
pub use revocation::{Exposure, delegated_exposures, exposures};

/// Characters of a root's `reason`: a few sentences, which every device fetches once.
pub const REASON: usize = 500;

/// The keys of a role and how many of them must sign.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleKeys {
    /// The keys by keyid.
    pub keys: BTreeMap<String, PublicKey>,
    /// How many distinct ones are needed, 1 or more.
    pub threshold: u32,
}

/// What a root says, decoded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Version and dates.
    pub header: Header,
    /// The four top-level roles.
    pub roles: BTreeMap<Role, RoleKeys>,
    /// How long the files of each role are good for, and when they are due; many roots do not say.
    pub periods: Option<Periods>,
    /// Why there is this root, in the words of its drafter, if he gave any.
    pub reason: Option<String>,
    /// The head of the ceremony's transcript when it was drafted, if there was one.
    pub transcript: Option<Head>,
    /// The smallest device that it must do for, if it says.
    pub devices: Option<Devices>,
}

impl Root {
    /// Decodes the `signed` value of a root.
    ///
    /// # Errors
    /// [`Rejected::WrongField`], [`Rejected::WrongKeyid`], [`Rejected::InvalidRoot`], or what its keys say.
    pub fn from_signed(signed: &Value) -> Result<Root, Error> {
        let root = Root::from_published(signed)?;
        Periods::from_root(signed)?;
        reason(signed)?;
        Head::from_root(signed)?;
        Devices::from_root(signed)?;
        Ok(root)
    }

    /// The same for a root that devices have taken. They skip the members that are for people, so one of
    /// another form there is no fault any more: it says nothing.
    pub(crate) fn from_published(signed: &Value) -> Result<Root, Error> {
        let header = Header::from_signed(signed)?;
        if header.role != Role::Root {
            return Err(Rejected::WrongField { field: "_type".to_owned(), expected: "root" }.into());
        }
        member(signed, "consistent_snapshot", "true", |value| (*value == Value::Bool(true)).then_some(()))?;

        let mut keys = BTreeMap::new();
        for (keyid, value) in member(signed, "keys", "an object", Value::as_object)? {
            let key =
                PublicKey::from_value(value).map_err(|error| error.at(format!("keys.{}", plain(keyid))))?;
            if keyid != key.keyid() {
                return Err(Rejected::WrongKeyid { keyid: plain(keyid) }.into());
            }
            keys.insert(keyid.clone(), key);
        }

        let written = member(signed, "roles", "an object", Value::as_object)?;
        if let Some(name) = written.keys().find(|name| Role::from_name(name).is_none()) {
            return Err(Rejected::InvalidRoot { why: format!("unknown role {}", plain(name)) }.into());
        }
        let mut roles = BTreeMap::new();
        for role in Role::TOP_LEVEL {
            let field = || format!("roles.{role}");
            let value = written.get(role.name());
            let value =
                value.ok_or_else(|| Rejected::WrongField { field: field(), expected: "an object" })?;
            let role_keys = RoleKeys::from_value(value, &role, &keys).map_err(|error| error.at(field()))?;
            roles.insert(role, role_keys);
        }
        let periods = Periods::from_root(signed).unwrap_or_default();
        let reason = reason(signed).unwrap_or_default();
        let transcript = Head::from_root(signed).unwrap_or_default();
        let devices = Devices::from_root(signed).unwrap_or_default();
        Ok(Root { header, roles, periods, reason, transcript, devices })
    }
}

fn reason(signed: &Value) -> Result<Option<String>, Error> {
    if signed.get("reason").is_none() {
        return Ok(None);
    }
    let expected = "a text of 1 to 500 printable ASCII characters";
    let text = member(signed, "reason", expected, |value| value.as_str().filter(|text| is_reason(text)))?;
    Ok(Some(text.to_owned()))
}

/// Whether a root can have this `reason`.
fn is_reason(text: &str) -> bool {
    (1..=REASON).contains(&text.len()) && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}

impl RoleKeys {
    /// Decodes the keyids and the threshold of a role; `known` has the keys beside it.
    pub(crate) fn from_value(
        value: &Value,
        role: &Role,
        known: &BTreeMap<String, PublicKey>,
    ) -> Result<RoleKeys, Error> {
        let mut keys = BTreeMap::new();
        for keyid in member(value, "keyids", "a list", Value::as_array)? {
            let expected = "a list of keyids whose keys are there";
            let wrong = || Rejected::WrongField { field: "keyids".to_owned(), expected };
            let keyid = keyid.as_str().filter(|text| is_digest(text)).ok_or_else(wrong)?;
            let key = known.get(keyid).ok_or_else(wrong)?;
            if keys.insert(keyid.to_owned(), key.clone()).is_some() {
                return Err(Rejected::InvalidRoot { why: format!("{role} names key {keyid} twice") }.into());
            }
        }
        let threshold =
            member(value, "threshold", "an integer", |value| u32::try_from(value.as_u64()?).ok())?;
        // Devices read no more signatures than this in one file.
        let most = distinct(&keys, keys.keys()).len().min(DEVICE.signatures);
        if threshold == 0 || threshold as usize > most {
            let why = format!("{role} has threshold {threshold}, and can reach {most}");
            return Err(Rejected::InvalidRoot { why }.into());
        }
        Ok(RoleKeys { keys, threshold })
    }
}

/// The distinct keys behind these keyids: what a threshold counts. A keyid is only a label.
pub(crate) fn distinct<'a>(
    keys: &'a BTreeMap<String, PublicKey>,
    keyids: impl IntoIterator<Item = &'a String>,
) -> BTreeSet<&'a PublicKey> {
    keyids.into_iter().filter_map(|keyid| keys.get(keyid)).collect()
}
