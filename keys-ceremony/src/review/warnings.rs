//! What is unusual about a request. None of it need be wrong; all of it wants a reason that the holder knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tuffet_client::limits::CANDIDATES;

use super::Built;
use crate::delegation::check;
use crate::encoding::hex;
use crate::error::short;
use crate::key::{PublicKey, grouped};
use crate::metadata::Role;
use crate::published::Signers;
use crate::request::Request;
use crate::root::{Devices, Root};
use crate::state::Before;
use crate::text::plain;
use crate::{Error, Rejected, date};

/// A warning: a name that scripts may rely on, and a sentence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// The name, such as `threshold-lowered`.
    pub name: &'static str,
    /// What is unusual.
    pub text: String,
}

/// So many, in words.
fn signatures(count: u64) -> String {
    if count == 1 { "1 signature".to_owned() } else { format!("{count} signatures") }
}

/// That one signature is enough.
fn alone(role: impl fmt::Display, keys: usize) -> String {
    match keys {
        1 => format!("the one key of {role} signs alone"),
        _ => format!("any one of the {keys} keys of {role} signs alone"),
    }
}

/// The salt of a release's rollout, by the path of its entry and its sequence: different for each, so that not the same
/// devices are always the first, and nobody's choice. It need not be secret, and the same draft gives the same bytes.
pub fn salt(entry: &str, sequence: u32) -> [u8; 16] {
    let digest = Sha256::new().chain_update(entry).chain_update(sequence.to_be_bytes()).finalize();
    let mut salt = [0; 16];
    salt.copy_from_slice(&digest[..16]);
    salt
}

/// Seconds after which an expiry is far away: two years. Somebody must be there to sign anew, and a stolen key is
/// good for as long.
const FAR: u64 = 2 * 365 * 86_400;

/// All that is unusual. `elsewhere` has the keys of other repositories, with their digests; `now` is in seconds since
/// 1970-01-01 UTC.
pub(super) fn warnings(
    request: &Request,
    before: &Before,
    elsewhere: &BTreeMap<PublicKey, String>,
    built: &[Built],
    now: u64,
) -> Vec<Warning> {
    let mut found = Found(Vec::new());
    found.dates(request, before.value(), now);
    found.version(request, before);
    match request.header().role {
        Role::Root => found.root(request.signed(), before.value(), elsewhere),
        Role::Targets | Role::Delegated(_) => {
            found.targets(request.signed(), before.value(), built);
            found.delegated(request);
            found.delegations(request, before.value(), elsewhere);
        }
        Role::Snapshot | Role::Timestamp => {}
    }
    found.0
}

struct Found(Vec<Warning>);

impl Found {
    fn warn(&mut self, name: &'static str, text: String) {
        self.0.push(Warning { name, text });
    }

    fn dates(&mut self, request: &Request, before: Option<&Value>, now: u64) {
        let header = request.header();
        let said = |date| format!("{} ({})", date::format(date), date::distance(date, now));
        if header.check_issued(now).is_err() {
            self.warn("issued-in-future", format!("it was issued {}", said(header.issued)));
        }
        if header.expires <= now {
            self.warn("expired", format!("it expired {}", said(header.expires)));
        }
        if header.expires > now.saturating_add(FAR) {
            self.warn(
                "expiry-far",
                format!("it expires {}, which is more than two years away", said(header.expires)),
            );
        }
        let expired = before.and_then(|before| date::parse(before["expires"].as_str()?));
        if let Some(before) = expired.filter(|before| header.expires < *before) {
            let text = format!("it expires {}, and the one before {}", said(header.expires), said(before));
            self.warn("expiry-shortened", text);
        }
    }

    fn version(&mut self, request: &Request, before: &Before) {
        let header = request.header();
        let known = before.value().and_then(|before| before["version"].as_u64()).unwrap_or(0);
        let next = u64::from(header.version) == known + 1;
        match before {
            Before::Nothing if header.version > 1 => self.warn(
                "not-seen-before",
                format!("no {} was seen here before, so nothing tells what is new in it", header.role),
            ),
            Before::Verified(_) | Before::Signed(_) if !next => self.warn(
                "version-gap",
                format!(
                    "{} {} follows {known}: what came between was not seen here",
                    header.role, header.version
                ),
            ),
            _ => {}
        }
        if let Before::Signed(_) = before {
            self.warn(
                "before-not-verified",
                format!(
                    "it is compared with {} {known}, which was signed here and not seen with all signatures since",
                    header.role
                ),
            );
        }
    }

    fn root(&mut self, signed: &Value, before: Option<&Value>, elsewhere: &BTreeMap<PublicKey, String>) {
        // It was decoded when the request was read, and the one before when it was verified, whatever it says to people.
        let Ok(root) = Root::from_signed(signed) else { return };
        let before = before.and_then(|before| Root::from_published(before).ok());
        if root.transcript.is_none() && before.as_ref().is_some_and(|before| before.transcript.is_some()) {
            let text = "the root before it records the transcript, and this one does not".to_owned();
            self.warn("transcript-dropped", text);
        }
        for (role, keys) in &root.roles {
            let old = before.as_ref().and_then(|before| before.roles.get(role)).map(|keys| keys.threshold);
            if let Some(old) = old.filter(|old| keys.threshold < *old) {
                let text = format!("{role} needs {}, and needed {old}", signatures(keys.threshold.into()));
                self.warn("threshold-lowered", text);
            }
            if keys.threshold == 1 && matches!(role, Role::Root | Role::Targets) {
                self.warn("threshold-one", alone(role, keys.keys.len()));
            }
        }
        if let Some(old) = before.as_ref().and_then(|before| before.devices) {
            self.devices(root.devices, &old);
        }
        // Snapshot and timestamp are signed online, and may share a key. Nobody else may share one with anybody.
        let mut roles: BTreeMap<&PublicKey, BTreeSet<&Role>> = BTreeMap::new();
        for (role, keys) in &root.roles {
            for key in keys.keys.values() {
                roles.entry(key).or_default().insert(role);
            }
        }
        for (key, roles) in &roles {
            let offline = roles.iter().any(|role| matches!(role, Role::Root | Role::Targets));
            if roles.len() > 1 && offline {
                let roles: Vec<&str> = roles.iter().map(|role| role.name()).collect();
                let text = format!("key {} signs for {}", short(key.keyid()), roles.join(" and for "));
                self.warn("key-in-several-roles", text);
            }
        }
        self.elsewhere(roles.into_keys(), elsewhere);
    }

    /// Keys that sign for other repositories, too, by repository.
    fn elsewhere<'k>(
        &mut self,
        keys: impl IntoIterator<Item = &'k PublicKey>,
        elsewhere: &BTreeMap<PublicKey, String>,
    ) {
        let mut by_repository: BTreeMap<&String, Vec<&str>> = BTreeMap::new();
        for key in keys {
            if let Some(repository) = elsewhere.get(key) {
                by_repository.entry(repository).or_default().push(short(key.keyid()));
            }
        }
        for (repository, keys) in by_repository {
            let keys = match &keys[..] {
                [key] => format!("key {key} signs"),
                keys => format!("keys {} sign", keys.join(", ")),
            };
            let text =
                format!("{keys} for another repository, too: root 1 is sha256 {}", grouped(repository));
            self.warn("key-of-another-repository", text);
        }
    }

    fn devices(&mut self, devices: Option<Devices>, old: &Devices) {
        let raised = match devices {
            Some(devices) => {
                let one = |(name, was, is)| format!("{name} from {was} to {is}");
                let raised: Vec<String> = devices.raised(old).map(one).collect();
                if raised.is_empty() {
                    return;
                }
                format!("the limits of the smallest device rise: {}", raised.join(", "))
            }
            None => "it no longer says what the smallest device takes".to_owned(),
        };
        let text = format!("{raised}; devices that were shipped with less do not grow");
        self.warn("device-limits-raised", text);
    }

    fn targets(&mut self, signed: &Value, before: Option<&Value>, built: &[Built]) {
        let none = Value::Null;
        let before = before.unwrap_or(&none);
        for (path, target) in signed["targets"].as_object().into_iter().flatten() {
            let old = &before["targets"][path];
            self.salts(path, target, old);
            self.rewritten(path, target, old);
            // A path whose candidates nobody knows before has none to jump from.
            if old.is_null() {
                continue;
            }
            let place = plain(path);
            let highest = |target: &Value, member: &str| {
                let candidates = target["custom"]["candidates"].as_array();
                candidates.into_iter().flatten().filter_map(|candidate| candidate[member].as_u64()).max()
            };
            for (member, words) in [("sequence", "sequence"), ("counter", "security counter")] {
                let (Some(was), Some(is)) = (highest(old, member), highest(target, member)) else { continue };
                if is > was.saturating_add(1) {
                    let text = format!("{place}: the highest {words} goes from {was} to {is}");
                    self.warn(if member == "sequence" { "sequence-jump" } else { "counter-jump" }, text);
                }
                if is < was {
                    let text = format!("{place}: the highest {words} goes back from {was} to {is}");
                    self.warn(if member == "sequence" { "sequence-back" } else { "counter-back" }, text);
                }
            }
        }
        for (path, old) in before["targets"].as_object().into_iter().flatten() {
            if signed["targets"].get(path).is_none() && !candidates(old).is_empty() {
                self.warn("release-gone", format!("{} is gone, with all its releases", plain(path)));
            }
        }
        self.rebuilt(signed, before, built);
    }

    /// What was verified under a name and is something else under it now.
    fn rewritten(&mut self, path: &str, target: &Value, old: &Value) {
        let (place, known, now) = (plain(path), candidates(old), candidates(target));
        if known.is_empty() && !old.is_null() && old["hashes"] != target["hashes"] {
            self.warn("target-rewritten", format!("{place} had other bytes before"));
        }
        let sequence = |candidate: &Value| candidate["sequence"].as_u64();
        let lowest = now.iter().filter_map(sequence).min();
        for old in &known {
            let number = sequence(old).map_or_else(|| "?".to_owned(), |number| number.to_string());
            let version = plain(old["version"].as_str().unwrap_or("?"));
            match now.iter().find(|new| new["sequence"] == old["sequence"]) {
                // A ramp may change; what is installed may not.
                Some(new) => {
                    for member in ["version", "image", "counter", "minimum"] {
                        if new[member] != old[member] {
                            let text = format!(
                                "{place}: release {version}, sequence {number}, had another {member} before"
                            );
                            self.warn("release-rewritten", text);
                        }
                    }
                }
                // One falls off the end of a full list.
                None if now.len() == CANDIDATES && sequence(old) < lowest => {}
                None => {
                    let text = format!("{place}: release {version}, sequence {number}, is gone");
                    self.warn("release-gone", text);
                }
            }
        }
    }

    /// Images that the holder built, held against those that are new, and the other way round.
    fn rebuilt(&mut self, signed: &Value, before: &Value, built: &[Built]) {
        for Built { file, target, .. } in built {
            if target.is_none() {
                self.warn("rebuild-differs", format!("no target in it has the bytes of {}", plain(file)));
            }
        }
        if built.is_empty() {
            return;
        }
        for (path, target) in signed["targets"].as_object().into_iter().flatten() {
            let new = before["targets"][path] != *target && candidates(target).is_empty();
            let seen = built.iter().any(|built| target["hashes"]["sha256"] == built.sha256.as_str());
            if new && !seen {
                self.warn(
                    "not-rebuilt",
                    format!("{} is new, and none of the files has its bytes", plain(path)),
                );
            }
        }
    }

    /// Rollouts whose drafter chose who goes first: of 2^128 salts one puts any device first.
    fn salts(&mut self, path: &str, target: &Value, old: &Value) {
        let candidates =
            |target: &Value| target["custom"]["candidates"].as_array().cloned().unwrap_or_default();
        let known = candidates(old);
        for candidate in candidates(target) {
            let Some(written) = candidate["rollout"]["salt"].as_str() else { continue };
            let sequence = candidate["sequence"].as_u64().and_then(|number| u32::try_from(number).ok());
            let derived = sequence.map(|sequence| hex(&salt(path, sequence)));
            let seen = known.iter().any(|other| {
                other["sequence"] == candidate["sequence"]
                    && other["rollout"]["salt"] == candidate["rollout"]["salt"]
            });
            if !seen && derived.as_deref() != Some(written) {
                let (place, version) = (plain(path), plain(candidate["version"].as_str().unwrap_or("?")));
                let text = format!(
                    "{place}: the salt of {version}'s rollout is not the one that follows from its path and sequence: \
                     somebody chose which devices go first"
                );
                self.warn("salt-of-its-own", text);
            }
        }
    }

    /// What a delegated role says of paths that are not its own: no device looks at that.
    fn delegated(&mut self, request: &Request) {
        let name = request.header().role.name();
        let Some(Ok(delegations)) = request.way().map(|way| way.delegations(name)) else { return };
        for path in request.signed()["targets"].as_object().into_iter().flat_map(|targets| targets.keys()) {
            if !delegations.iter().all(|delegation| delegation.paths.cover(path)) {
                let text = format!("{} is not delegated to it: no device looks for it there", plain(path));
                self.warn("target-not-delegated", text);
            }
        }
        // Its metadata do not say whose they are.
        let last = request.way().and_then(|way| way.steps().last()).map(|step| &step.signed["delegations"]);
        let none = Value::Null;
        let beside = last.unwrap_or(&none);
        for (keyid, key) in request.requirements().iter().flat_map(|requirement| &requirement.keys) {
            let siblings = delegated_roles(beside).filter(|(title, role)| {
                let signers = Signers::read(&beside["keys"], role);
                *title != plain(name)
                    && signers
                        .is_some_and(|signers| signers.keys.values().flatten().any(|other| other == key))
            });
            let targets = request.chain().last().and_then(|root| root.roles.get(&Role::Targets));
            let top = targets.filter(|targets| targets.keys.values().any(|other| other == key));
            let roles = siblings.map(|(title, _)| title).chain(top.map(|_| "targets".to_owned()));
            let roles = roles.collect::<Vec<_>>();
            if !roles.is_empty() {
                let text = format!(
                    "key {} signs for {}, too: its signature over these bytes is good for that as well",
                    plain(short(keyid)),
                    roles.join(" and for ")
                );
                self.warn("signature-counts-elsewhere", text);
            }
        }
    }

    /// Of delegations that are new or changed; of the others their holders were warned before.
    fn delegations(
        &mut self,
        request: &Request,
        before: Option<&Value>,
        elsewhere: &BTreeMap<PublicKey, String>,
    ) {
        let none = Value::Null;
        let (after, before) = (&request.signed()["delegations"], &before.unwrap_or(&none)["delegations"]);
        for (title, _) in delegated_roles(before) {
            if !delegated_roles(after).any(|(other, _)| other == title) {
                self.warn("delegation-gone", format!("nothing is delegated to {title} any more"));
            }
        }
        if let Err(Error::Rejected { why: Rejected::InvalidDelegation { role, why }, .. }) =
            check(request.signed(), &request.devices().limits())
        {
            self.warn("delegation-of-no-use", format!("{role}: {why}"));
        }
        let order = |delegations: &Value, other: &Value| -> Vec<String> {
            let both = delegated_roles(delegations)
                .filter(|(title, _)| delegated_roles(other).any(|(known, _)| known == *title));
            both.map(|(title, _)| title).collect()
        };
        let titles =
            |delegations: &Value| delegated_roles(delegations).map(|(title, _)| title).collect::<Vec<_>>();
        let known = order(before, after);
        // Whoever comes first speaks first, and a terminating one speaks alone.
        if known != order(after, before) || !titles(after).starts_with(&known) {
            let text = format!("who is asked first changes: {}", titles(after).join(", "));
            self.warn("delegation-order", text);
        }
        let root = request.chain().last();
        let mut users: BTreeMap<PublicKey, BTreeSet<String>> = BTreeMap::new();
        let mut new_keys = BTreeSet::new();
        for (title, role) in delegated_roles(after) {
            let Some(signers) = Signers::read(&after["keys"], role) else { continue };
            let old = delegated_roles(before).find(|(other, _)| *other == title).map(|(_, role)| role);
            let old_signers = old.and_then(|role| Signers::read(&before["keys"], role));
            for key in signers.keys.values().flatten() {
                users.entry(key.clone()).or_default().insert(title.clone());
            }
            let same_keys = old_signers.as_ref().is_some_and(|old| old.keys == signers.keys);
            if old == Some(role) && same_keys {
                continue;
            }
            for member in ["paths", "path_hash_prefixes"] {
                let texts = |role: &Value| role[member].as_array().cloned().unwrap_or_default();
                let known = old.map_or_else(Vec::new, texts);
                let more: Vec<Value> = texts(role).into_iter().filter(|text| !known.contains(text)).collect();
                if old.is_some() && !more.is_empty() {
                    let more: Vec<String> =
                        more.iter().map(|text| plain(text.as_str().unwrap_or("?"))).collect();
                    let text = format!("{title} may speak of more than before: {}", more.join(", "));
                    self.warn("delegation-widened", text);
                }
            }
            new_keys.extend(signers.keys.values().flatten().cloned());
            let (threshold, keys) = (signers.threshold, signers.distinct(signers.keys.keys()) as u64);
            if let Some(old) = old_signers.map(|old| old.threshold).filter(|old| threshold < *old) {
                let text = format!("{title} needs {}, and needed {old}", signatures(threshold));
                self.warn("threshold-lowered", text);
            }
            // The keys of bins may be online ones, and one of those is usual.
            if threshold == 1 && role.get("name").is_some() {
                self.warn("threshold-one", alone(&title, signers.keys.len()));
            }
            if threshold == 0 || threshold > keys {
                let keys = if keys == 1 { "1 key".to_owned() } else { format!("{keys} keys") };
                let text =
                    format!("{title} needs {}, and has {keys} that devices can use", signatures(threshold));
                self.warn("threshold-out-of-reach", text);
            }
            self.labels(&title, &signers, &after["keys"]);
        }
        for (key, mut titles) in users.into_iter().filter(|(key, _)| new_keys.contains(key)) {
            let keyid = short(key.keyid()).to_owned();
            let named = root.into_iter().flat_map(|root| &root.roles);
            for (role, _) in named.filter(|(_, keys)| keys.keys.values().any(|other| *other == key)) {
                titles.insert(role.to_string());
                if matches!(role, Role::Snapshot | Role::Timestamp) {
                    let text = format!("key {keyid} is an online one: it signs for {role}");
                    self.warn("online-key-in-delegation", text);
                }
            }
            if titles.len() > 1 {
                let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
                let text = format!("key {keyid} signs for {}", titles.join(" and for "));
                self.warn("key-in-several-roles", text);
            }
        }
        self.elsewhere(&new_keys, elsewhere);
    }

    /// What the keyids of a delegation stand for.
    fn labels(&mut self, title: &str, signers: &Signers, keys: &Value) {
        let mut labels: BTreeMap<&PublicKey, Vec<&str>> = BTreeMap::new();
        for (keyid, key) in &signers.keys {
            let label = plain(short(keyid));
            match key {
                Some(key) => labels.entry(key).or_default().push(short(keyid)),
                // A device knows a keyid by a short hash, and a person by its digits: one without a key may mean another.
                None if keys.get(keyid).is_none() => {
                    self.warn("keyid-without-key", format!("{title} names key {label}, which is not there"));
                }
                None => {
                    let text = format!("key {label} of {title} is of a kind that devices cannot use");
                    self.warn("key-of-no-use", text);
                }
            }
        }
        for (key, keyids) in labels {
            let spelled = |keyid: &&str| plain(keyid);
            if keyids.len() > 1 {
                let keyids: Vec<String> = keyids.iter().map(spelled).collect();
                let text =
                    format!("{title} has one key under {} keyids: {}", keyids.len(), keyids.join(" and "));
                self.warn("key-under-two-ids", text);
            } else if keyids != [short(key.keyid())] {
                let text = format!(
                    "{title} calls key {} by another keyid: {}",
                    short(key.keyid()),
                    plain(keyids[0])
                );
                self.warn("keyid-of-its-own", text);
            }
        }
    }
}

/// The candidates of a release entry; none of another target.
fn candidates(target: &Value) -> Vec<Value> {
    target["custom"]["candidates"].as_array().cloned().unwrap_or_default()
}

/// The delegated roles, and what stands for bins, by what they are called.
fn delegated_roles(delegations: &Value) -> impl Iterator<Item = (String, &Value)> {
    let roles = delegations["roles"].as_array().into_iter().flatten();
    let named = roles.map(|role| (plain(role["name"].as_str().unwrap_or("a delegated role")), role));
    let bins = delegations.get("succinct_roles");
    named.chain(bins.map(|role| {
        (format!("the bins {}-…", plain(role["name_prefix"].as_str().unwrap_or_default())), role)
    }))
}
