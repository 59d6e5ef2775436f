//! A request held against what its holder has verified before.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::{Change, Warning, warnings};
use crate::encoding::sha256_hex;
use crate::key::{PublicKey, grouped};
use crate::metadata::Role;
use crate::request::{Progress, Request};
use crate::signed::Signed;
use crate::state::{Before, Repository, State};
use crate::text::plain;
use crate::{Error, canonical, file};

/// A request held against what its holder has seen before.
#[derive(Clone, Debug)]
pub struct Comparison {
    /// Whether the holder agreed to the repository, once.
    pub known: bool,
    /// Whether it is for a first root, which begins one.
    pub first: bool,
    /// What the request is compared with.
    pub before: Before,
    /// How it differs from that.
    pub changes: Vec<Change>,
    /// What is unusual about it.
    pub warnings: Vec<Warning>,
    /// Images that the holder built himself.
    pub built: Vec<Built>,
    /// What a description leaves out.
    pub(super) seen: Option<Seen>,
}

/// What is to be signed and what came before it, decoded without the targets that are the same in both: a role may have
/// a hundred thousand, of which a release touches two.
#[derive(Clone, Debug)]
pub(super) struct Versions {
    /// Nothing, if nothing came before.
    pub(super) before: Value,
    pub(super) after: Value,
    /// How many targets are the same.
    same: usize,
}

impl Versions {
    fn of(before: Option<&Signed>, after: &Signed) -> Versions {
        let (before, after, same) = match before {
            Some(before) => after.beside(before),
            None => (Value::Null, canonical::value_of_checked(after.bytes()), 0),
        };
        Versions { before, after, same }
    }
}

/// What a holder has seen before of what he is to sign, for he has signed it.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    /// In this version of it.
    pub(super) version: u32,
    /// What is to be signed, without the targets that he has seen.
    pub(super) rest: Value,
    /// How many targets he has seen.
    pub(super) targets: usize,
}

impl Comparison {
    /// Whether each target is as it was in what the holder signed here last.
    pub(super) fn all_targets_are_seen(&self) -> bool {
        let none_left = |seen: &Seen| seen.rest["targets"].as_object().is_none_or(Map::is_empty);
        self.seen.as_ref().is_some_and(none_left)
    }
}

/// An image that a holder built from the source, to see that a release is made of that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// The file.
    pub file: String,
    /// SHA-256 of its bytes, in hexadecimal.
    pub sha256: String,
    /// The target that has these bytes.
    pub target: Option<String>,
    /// Whether it did not have them before.
    pub new: bool,
    /// Whether another request of the same run has these bytes, or is warned of it if none does.
    pub elsewhere: bool,
}

/// Holds a request against what is known; `rebuilt` are images that the holder built. `now` is in seconds since
/// 1970-01-01 UTC.
///
/// # Errors
/// [`Rejected::ForkedRoot`](crate::Rejected::ForkedRoot) and [`Rejected::StaleRequest`](crate::Rejected::StaleRequest)
/// for a request that does not go on from what is known, and what the files say.
pub fn compare(
    request: &Request,
    state: &State,
    rebuilt: &[impl AsRef<Path>],
    now: u64,
) -> Result<Comparison, Error> {
    let images: Vec<Image> =
        rebuilt.iter().map(|path| Image::read(path.as_ref())).collect::<Result<_, _>>()?;
    let known = Known::of(state, &request.repository())?;
    known.compare(request, images.iter().map(|image| (image, false)), now)
}

/// The same for several requests, in their order. What is known is read once for all. An image that one of them has is
/// not missed in the others, and one that none has is missed in the first.
///
/// # Errors
/// What the images and the state say; within, as [`compare`] for each.
pub fn compare_all(
    requests: &[&Request],
    state: &State,
    rebuilt: &[impl AsRef<Path>],
    now: u64,
) -> Result<Vec<Result<Comparison, Error>>, Error> {
    let images: Vec<Image> =
        rebuilt.iter().map(|path| Image::read(path.as_ref())).collect::<Result<_, _>>()?;
    let holders: Vec<Option<usize>> = images
        .iter()
        .map(|image| requests.iter().position(|request| image.targets(request).next().is_some()))
        .collect();
    let mut known = BTreeMap::new();
    let mut all = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let digest = request.repository();
        if !known.contains_key(&digest) {
            known.insert(digest.clone(), Known::of(state, &digest)?);
        }
        let images = images.iter().zip(&holders).map(|(image, holder)| (image, holder.unwrap_or(0) != index));
        all.extend(known.get(&digest).map(|known| known.compare(request, images, now)));
    }
    Ok(all)
}

/// What a holder knows when he looks at requests of a repository.
struct Known {
    repository: Option<Repository>,
    /// Keys of other repositories, and the digests of those.
    elsewhere: BTreeMap<PublicKey, String>,
    /// Digests of other repositories that cannot be read.
    damaged: Vec<String>,
}

impl Known {
    fn of(state: &State, digest: &str) -> Result<Known, Error> {
        let repository = state.repository(digest)?;
        let (elsewhere, damaged) = state.keys_elsewhere(digest)?;
        Ok(Known { repository, elsewhere, damaged })
    }

    /// Holds a request against it; of each image is told whether it is another request that should have it.
    fn compare<'i>(
        &self,
        request: &Request,
        images: impl Iterator<Item = (&'i Image, bool)>,
        now: u64,
    ) -> Result<Comparison, Error> {
        let (mut before, mut another) = (Before::Nothing, false);
        let (mut brought, mut others, mut newest, mut signed) = (None, Vec::new(), None, None);
        let header = request.header();
        if let Some(repository) = &self.repository {
            repository.check(request)?;
            before = repository.before(request)?;
            another = repository.signed_another(request)?;
            brought = repository.root_brought(request)?;
            others = repository.other_roots(request)?;
            newest = repository.newest_signed(request)?.filter(|newest| *newest > header.version);
            signed = repository.seen(request)?;
        }
        let versions = Versions::of(before.signed(), request.signed());
        let mut changes = match &before {
            Before::Nothing => Vec::new(),
            _ => super::changes(&versions.before, &versions.after, now),
        };
        if let Some((known, new)) = &brought
            && request.header().role != Role::Root
        {
            let under = |change: Change| Change { place: format!("root: {}", change.place), ..change };
            changes.extend(super::changes(known.value(), new.value(), now).into_iter().map(under));
        }
        let ways = self.repository.as_ref().map(|repository| repository.way_brought(request)).transpose()?;
        let ways = ways.unwrap_or_default();
        for (step, known) in &ways {
            let Some(known) = known else { continue };
            let under =
                |change: Change| Change { place: format!("{}: {}", step.role, change.place), ..change };
            let found = super::changes(known.head(), step.signed.head(), now).into_iter();
            // What the role above says of targets is not what is signed here.
            changes.extend(found.filter(|change| change.place.starts_with("delegations")).map(under));
        }
        let built: Vec<Built> =
            images.map(|(image, elsewhere)| image.held_against(request, &versions, elsewhere)).collect();
        let mut warnings = warnings::warnings(request, &before, &versions, &self.elsewhere, &built, now);
        if let Some(refusal) = request.smallest_would_refuse() {
            let text = format!("the smallest devices would not take it: {refusal} [C{}]", refusal.code());
            warnings.push(Warning { name: "device-would-refuse", text });
        }
        if another {
            let text = format!("other bytes of {} were signed here before", request.title());
            warnings.push(Warning { name: "signed-another", text });
        }
        if let Some((known, new)) = &brought {
            let text = format!(
                "it brings root {}, and root {} is the newest that was verified here: signing trusts the newer one",
                new.header().version,
                known.header().version
            );
            warnings.push(Warning { name: "root-not-seen-before", text });
        }
        for (step, known) in ways {
            let known = match known {
                Some(known) => {
                    format!("{} {} is the newest that was verified here", step.role, known.header().version)
                }
                None => format!("no {} was verified here", step.role),
            };
            let text =
                format!("it brings {} {}, and {known}: that file says who signs", step.role, step.version);
            warnings.push(Warning { name: "delegation-not-seen-before", text });
        }
        if let Some(newest) = newest {
            let text =
                format!("{} {newest} was signed here before, and this is {}", header.role, header.version);
            warnings.push(Warning { name: "version-back", text });
        }
        for other in &self.damaged {
            let text = format!(
                "whether keys sign for repository {} too is not known: its state is damaged",
                grouped(other)
            );
            warnings.push(Warning { name: "other-repository-damaged", text });
        }
        for version in others {
            let text = format!("its root {version} is not the root {version} that was signed here");
            warnings.push(Warning { name: "signed-another-root", text });
        }
        let first = request.chain().files().is_empty();
        let seen = signed.map(|signed| {
            let version = signed.header().version;
            // As a rule it is what the request is compared with.
            let same = before.signed().is_some_and(|before| before.bytes() == signed.bytes());
            let other = (!same).then(|| Versions::of(Some(&signed), request.signed()));
            let Versions { after, same, .. } = other.unwrap_or(versions);
            Seen { version, rest: after, targets: same }
        });
        Ok(Comparison { known: self.repository.is_some(), first, before, changes, warnings, built, seen })
    }
}

/// An image that the holder built.
struct Image {
    file: String,
    sha256: String,
    length: usize,
}

impl Image {
    fn read(path: &Path) -> Result<Image, Error> {
        let bytes = file::read(path)?;
        Ok(Image { file: path.display().to_string(), sha256: sha256_hex(&bytes), length: bytes.len() })
    }

    /// The targets of a request that have its bytes.
    fn targets<'r>(&self, request: &'r Request) -> impl Iterator<Item = String> + use<'r, '_> {
        let named = self.sha256.as_bytes();
        // Most have another digest, and are not decoded.
        let listed = request.signed().targets();
        let likely = listed.filter(move |(_, text)| text.windows(named.len()).any(|part| part == named));
        likely.filter_map(move |(path, text)| {
            let target = canonical::value_of_checked(text);
            let is = target["hashes"]["sha256"] == self.sha256.as_str() && target["length"] == self.length;
            is.then(|| path.into_owned())
        })
    }

    fn held_against(&self, request: &Request, versions: &Versions, elsewhere: bool) -> Built {
        let is_new = |path: &String| versions.after["targets"].get(path).is_some();
        // One that is new, if there is one.
        let target = self.targets(request).map(|path| (is_new(&path), path)).max();
        let new = target.as_ref().is_some_and(|(new, _)| *new);
        let target = target.map(|(_, path)| path);
        Built { file: self.file.clone(), sha256: self.sha256.clone(), target, new, elsewhere }
    }
}

/// Lines for a terminal, to be read before the question whether to sign.
impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Comparison { known, first, before, changes, warnings, built, .. } = self;
        let version = before.version().unwrap_or(0);
        match before {
            Before::Nothing if *first => {
                writeln!(f, "a new repository: who signs its first root agrees to it")?
            }
            Before::Nothing if !known => {
                writeln!(f, "nothing to compare it with: you did not agree to this repository")?
            }
            Before::Nothing => writeln!(f, "all of it is new: nothing of this role was seen here before")?,
            Before::Verified(_) => writeln!(f, "changes since version {version}, which was verified here")?,
            Before::Signed(_) => writeln!(f, "changes since version {version}, which was signed here")?,
        }
        for change in changes {
            f.write_str(&wrapped(&format!("  {change}")))?;
        }
        for Built { file, sha256, target, new, .. } in built {
            let (file, digest) = (plain(file), grouped(sha256));
            if let Some(target) = target {
                let old = if *new { "" } else { ", and is not new" };
                let line = format!("  = {} has the bytes of {file}, sha256 {digest}{old}", plain(target));
                f.write_str(&wrapped(&line))?;
            }
        }
        match warnings.len() {
            0 => writeln!(f, "warnings: none")?,
            count => writeln!(f, "warnings: {count}")?,
        }
        warnings
            .iter()
            .try_for_each(|Warning { name, text }| f.write_str(&wrapped(&format!("  ! {text} [{name}]"))))
    }
}

/// Columns of a line, for terminals that are wider than 80 and files that are read in mail.
const WIDTH: usize = 96;

/// A line in as many as it takes, those behind the first below its words.
pub(super) fn wrapped(line: &str) -> String {
    let mut lines = String::new();
    let mut width = 0;
    for (index, word) in line.split_inclusive(' ').enumerate() {
        if index > 3 && width + word.trim_end().len() > WIDTH {
            lines.truncate(lines.trim_end().len());
            lines += "\n      ";
            width = 6;
        }
        lines += word;
        width += word.len();
    }
    lines + "\n"
}

/// The same review for programs: what is signed, what of it is new, what is unusual, and who has signed. Members come
/// sorted by name.
pub fn to_json(request: &Request, comparison: &Comparison) -> Value {
    let Comparison { known, before, changes, warnings, built, .. } = comparison;
    let (source, before) = match before {
        Before::Nothing => ("nothing", None),
        Before::Verified(signed) => ("verified", Some(signed.header().version)),
        Before::Signed(signed) => ("signed", Some(signed.header().version)),
    };
    let change = |Change { place, before, after }: &Change| json!({ "after": after, "before": before, "place": place });
    let warning = |Warning { name, text }: &Warning| json!({ "name": name, "text": text });
    let built = built
        .iter()
        .map(|Built { file, sha256, target, new, .. }| json!({ "file": file, "new": new, "sha256": sha256, "target": target }));
    let progress = |Progress { by, version, need, have, signed, missing }: &Progress| json!({ "by": by.name(), "have": have, "missing": missing, "need": need, "signed": signed, "version": version });
    let delegated: Vec<Value> = request.way().map_or_else(Vec::new, |way| {
        let delegations = way.delegations(request.header().role.name()).unwrap_or_default();
        let steps = way.steps().zip(delegations);
        steps
            .map(|(step, delegation)| {
                json!({ "by": step.role.name(), "paths": delegation.paths.to_string(), "version": step.version })
            })
            .collect()
    });
    json!({
        "delegated": delegated,
        "before": { "source": source, "version": before },
        "built": built.collect::<Vec<_>>(),
        "changes": changes.iter().map(change).collect::<Vec<_>>(),
        "payload": { "length": request.payload().len(), "sha256": request.sha256() },
        "repository": { "known": known, "sha256": request.repository() },
        "signatures": request.state().iter().map(progress).collect::<Vec<_>>(),
        "signed": request.signed().value(),
        "role": request.header().role.name(),
        "title": request.title(),
        "version": request.header().version,
        "warnings": warnings.iter().map(warning).collect::<Vec<_>>(),
    })
}
