//! What changes for devices from one place to another. Signatures are not compared: who signed changes nothing for them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use tuffet_client::Candidate;
use tuffet_client::release::read_entry;
use tuffet_keys::Role;
use tuffet_keys::canonical;
use tuffet_keys::metadata::Envelope;
use tuffet_keys::request::Progress;
use tuffet_keys::review::{self, Change};
use tuffet_keys::text::plain;

use super::place::{Content, File, Place, Repository};
use crate::release::Channel;
use crate::repository::Workspace;
use crate::staging::Stage;
use crate::{Error, Misuse};

/// What differs.
#[derive(Clone, Debug, Default)]
pub struct Difference {
    /// Roles whose metadata are not the same, from root down.
    pub roles: Vec<RoleChange>,
    /// Releases, channel by channel, the newest first.
    pub releases: Vec<ReleaseChange>,
    /// Other targets, by their paths.
    pub targets: Vec<TargetChange>,
    /// Keys, thresholds, delegated paths, and whatever else a role's metadata say.
    pub terms: Vec<(Role, Change)>,
    /// Images that are halted (true), or no longer, by SHA-256 in lower-case hex.
    pub halts: Vec<(String, bool)>,
}

/// A role whose metadata are not the same.
#[derive(Clone, Debug)]
pub struct RoleChange {
    /// The role.
    pub role: Role,
    /// How it was; none if there was none.
    pub before: Option<Edition>,
    /// How it is; none if it is gone.
    pub after: Option<Edition>,
    /// Of a staged request: who signed it.
    pub signatures: Vec<Progress>,
}

/// Metadata of one version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edition {
    /// The version, if it has one.
    pub version: Option<u32>,
    /// When it expires, in seconds since 1970, if it says so.
    pub expires: Option<u64>,
}

/// A release that came, went, or is on other terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReleaseChange {
    /// The channel.
    pub channel: Channel,
    /// As it was.
    pub before: Option<Candidate>,
    /// As it is.
    pub after: Option<Candidate>,
}

/// A target that came, went, or has other bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetChange {
    /// The path; foreign text.
    pub path: String,
    /// What was there.
    pub before: Option<TargetFile>,
    /// What is there.
    pub after: Option<TargetFile>,
}

/// A target as some metadata have it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetFile {
    /// Whose metadata.
    pub role: Role,
    /// Bytes, if it says so.
    pub length: Option<u64>,
    /// SHA-256, if it says so; foreign text.
    pub sha256: Option<String>,
}

impl Difference {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty() && self.halts.is_empty()
    }
}

/// One side of a comparison.
enum Side {
    Repository(Repository),
    /// A single file, or the staged ones that are all that can differ.
    Files(BTreeMap<Role, File>),
}

impl Side {
    fn of(place: Place) -> Result<Side, Error> {
        Ok(match place.content {
            Content::Repository(repository) => Side::Repository(repository),
            Content::Metadata(file) => Side::Files(BTreeMap::from([(file.role.clone(), *file)])),
            Content::Request(request) => {
                let role = request.header().role.clone();
                let file = File::unsigned(role.clone(), request.signed().value().clone());
                Side::Files(BTreeMap::from([(role, file)]))
            }
            Content::Image(_) => {
                let why = "an image cannot be compared with metadata; name repositories, metadata files or requests";
                return Err(Misuse::Options { why }.into());
            }
        })
    }

    fn file(&mut self, role: &Role) -> Result<Option<&File>, Error> {
        match self {
            Side::Repository(repository) => repository.file(role),
            Side::Files(files) => Ok(files.get(role)),
        }
    }

    /// Roles of a repository, and what its snapshot says of those with targets, so that the same need not be read.
    fn listed(&mut self) -> Result<BTreeMap<Role, Value>, Error> {
        let Side::Repository(repository) = self else { return Ok(BTreeMap::new()) };
        let mut listed = repository.listed()?.clone();
        listed.extend([Role::Root, Role::Timestamp, Role::Snapshot].map(|role| (role, Value::Null)));
        Ok(listed)
    }
}

/// What the next publication changes, as far as the online keys have no part in it: what is published, against what is
/// staged. `now` is in seconds since 1970.
///
/// # Errors
/// What is wrong with what is published or staged, or an I/O failure.
pub fn staged(workspace: &Workspace, now: u64) -> Result<Difference, Error> {
    let mut stage = Stage::look(workspace)?;
    let (mut before, mut after) = (BTreeMap::new(), BTreeMap::new());
    let mut signatures = BTreeMap::new();
    let (published, files) = (stage.roots.published as usize, stage.roots.chain.files());
    if let (Some(old), Some(new)) =
        (published.checked_sub(1).and_then(|index| files.get(index)), files.last())
        && old != new
    {
        for (side, bytes) in [(&mut before, old), (&mut after, new)] {
            side.insert(Role::Root, File::unsigned(Role::Root, Envelope::parse(bytes)?.signed));
        }
    }
    for role in workspace.staged_roles()? {
        let known = stage.state(&role)?;
        let Some(request) = &known.pending else { continue };
        after.insert(role.clone(), File::unsigned(role.clone(), request.signed().value().clone()));
        signatures.insert(role.clone(), request.state());
        if let Some(document) = &known.published {
            let signed = canonical::parse(document.signed().as_bytes())?;
            before.insert(role.clone(), File::unsigned(role.clone(), signed));
        }
    }
    let roles = after.keys().cloned().collect();
    let mut difference = compare(&mut Side::Files(before), &mut Side::Files(after), roles, now)?;
    for change in &mut difference.roles {
        change.signatures = signatures.remove(&change.role).unwrap_or_default();
    }
    Ok(difference)
}

/// What differs from one place to another. `now` is in seconds since 1970.
///
/// # Errors
/// [`Misuse::Options`] for files of two roles, or an image; or what is wrong with a file, or keeps it from being read.
pub fn diff(before: Place, after: Place, now: u64) -> Result<Difference, Error> {
    let (mut before, mut after) = (Side::of(before)?, Side::of(after)?);
    let roles = match (&before, &after) {
        (Side::Files(one), Side::Files(other)) if !one.keys().eq(other.keys()) => {
            let why = "these files are of two roles; name two of one role";
            return Err(Misuse::Options { why }.into());
        }
        (Side::Files(files), _) | (_, Side::Files(files)) => files.keys().cloned().collect(),
        _ => {
            let (old, new) = (before.listed()?, after.listed()?);
            let differs =
                |role: &&Role| old.get(role).is_none_or(Value::is_null) || old.get(role) != new.get(role);
            old.keys().chain(new.keys()).filter(differs).cloned().collect()
        }
    };
    compare(&mut before, &mut after, roles, now)
}

fn compare(
    before: &mut Side,
    after: &mut Side,
    roles: BTreeSet<Role>,
    now: u64,
) -> Result<Difference, Error> {
    let mut difference = Difference::default();
    // By path, over all roles: a product that got a role of its own has the same targets.
    let (mut old_targets, mut new_targets) = (BTreeMap::new(), BTreeMap::new());
    for role in roles {
        let (old, new) = (before.file(&role)?, after.file(&role)?);
        if old.map(|file| &file.signed) == new.map(|file| &file.signed) {
            continue;
        }
        let edition = |file: &File| Edition { version: file.version, expires: file.dates[1] };
        let halts = |file: Option<&File>| file.map(File::halts).unwrap_or_default();
        let (old_halts, new_halts) = (halts(old), halts(new));
        let gone = old_halts.iter().filter(|digest| !new_halts.contains(digest));
        difference.halts.extend(gone.map(|digest| (digest.clone(), false)));
        let come = new_halts.iter().filter(|digest| !old_halts.contains(digest));
        difference.halts.extend(come.map(|digest| (digest.clone(), true)));
        difference.terms.extend(terms(old, new, now).into_iter().map(|change| (role.clone(), change)));
        for (file, targets) in [(old, &mut old_targets), (new, &mut new_targets)] {
            for (path, target) in file.into_iter().flat_map(File::targets) {
                targets.entry(path.clone()).or_insert_with(|| (role.clone(), target.clone()));
            }
        }
        let (before, after) = (old.map(edition), new.map(edition));
        difference.roles.push(RoleChange { role, before, after, signatures: Vec::new() });
    }
    difference.roles.sort_by_key(|change| match change.role {
        Role::Root => 0,
        Role::Timestamp => 1,
        Role::Snapshot => 2,
        Role::Targets => 3,
        _ => 4,
    });
    let paths: BTreeSet<&String> = old_targets.keys().chain(new_targets.keys()).collect();
    for path in paths {
        target(path, old_targets.get(path), new_targets.get(path), &mut difference);
    }
    Ok(difference)
}

fn target(path: &str, old: Option<&(Role, Value)>, new: Option<&(Role, Value)>, difference: &mut Difference) {
    if old == new {
        return;
    }
    let listed =
        |target: Option<&(Role, Value)>| target.map_or(Some(Vec::new()), |(_, target)| candidates(target));
    let channel = Channel::of_entry(path);
    if let (Some(channel), Some(before), Some(after)) = (channel, listed(old), listed(new))
        && before != after
    {
        let sequences: BTreeSet<u32> =
            before.iter().chain(&after).map(|candidate| candidate.sequence).collect();
        for sequence in sequences.into_iter().rev() {
            let of = |all: &[Candidate]| all.iter().find(|candidate| candidate.sequence == sequence).cloned();
            let (before, after) = (of(&before), of(&after));
            if before != after {
                difference.releases.push(ReleaseChange { channel: channel.clone(), before, after });
            }
        }
        return;
    }
    let file = |(role, target): &(Role, Value)| TargetFile {
        role: role.clone(),
        length: target.get("length").and_then(Value::as_u64),
        sha256: target["hashes"]["sha256"].as_str().map(plain),
    };
    let (before, after) = (old.map(file), new.map(file));
    difference.targets.push(TargetChange { path: path.to_owned(), before, after });
}

/// The candidates of a target that is a release entry, read as a device reads them; none if it is not one.
pub(crate) fn candidates(target: &Value) -> Option<Vec<Candidate>> {
    let custom = canonical::published_bytes(target.get("custom")?).ok()?;
    Some(read_entry(&custom).ok()?.into_iter().collect())
}

/// What differs in a role beside its version, dates and targets.
fn terms(old: Option<&File>, new: Option<&File>, now: u64) -> Vec<Change> {
    let rest = |file: Option<&File>| {
        let mut rest = Map::new();
        for (name, value) in file.and_then(|file| file.signed.as_object()).into_iter().flatten() {
            // Said elsewhere, or by the files that these name.
            let said =
                matches!(name.as_str(), "version" | "issued" | "expires" | "targets" | "meta" | "halt");
            if !said {
                rest.insert(name.clone(), value.clone());
            }
        }
        rest
    };
    let (mut old, mut new) = (rest(old), rest(new));
    // All of a new file is new; of this it is no news.
    for name in ["_type", "spec_version", "consistent_snapshot"] {
        if old.is_empty() || new.is_empty() || old.get(name) == new.get(name) {
            old.remove(name);
            new.remove(name);
        }
    }
    review::changes(&json!(old), &json!(new), now)
}
