//! What a holder takes over of what was published.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::Value;
use tuffet_keys::delegation::Paths;
use tuffet_keys::digest::DIGITS;
use tuffet_keys::metadata::{Envelope, Header};
use tuffet_keys::published::versions;
use tuffet_keys::request::Request;
use tuffet_keys::signed::Signed;
use tuffet_keys::state::{Repository, State};
use tuffet_keys::{Error, Misuse, Rejected, Role, file};

use super::Output;

#[derive(Args)]
pub(crate) struct Learn {
    /// Metadata files, or the directory of a repository
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<PathBuf>,

    /// The delegated role that the files are of, where their names, such as 3.lamp.json, do not say so
    #[arg(long, value_name = "NAME")]
    role: Option<String>,
}

pub(super) fn learn(Learn { paths, role }: &Learn, state: &State, out: &mut Output) -> Result<(), Error> {
    for path in paths {
        if !path.is_dir() {
            learn_file(path, role.as_deref(), None, state, out)?;
            continue;
        }
        // A directory says by its root 1 whose it is: keys may be those of several repositories.
        let (files, owner) = (published(path)?, owner(path)?);
        let mut repository = None;
        for file in files {
            repository = Some(learn_file(&file, None, owner.as_deref(), state, out)?);
        }
        if let Some(mut repository) = repository {
            learn_delegated(path, &mut repository, out)?;
        }
    }
    Ok(())
}

fn learn_file(
    path: &Path,
    delegated: Option<&str>,
    owner: Option<&str>,
    state: &State,
    out: &mut Output,
) -> Result<Repository, Error> {
    let bytes = file::read(path)?;
    let learned = || {
        let signed = Signed::of_file(&bytes)?;
        let role = match delegated {
            Some(name) => named_role(name)?,
            None => Role::of_file(path, signed.head()).unwrap_or(signed.header().role.clone()),
        };
        let (repository, new) = learned(&role, &bytes, owner, state)?;
        Ok((signed.of(&role)?.header().clone(), repository, new))
    };
    let (header, repository, new) = learned().map_err(|error: Error| error.in_file(path))?;
    said(&header, &repository, new, out)?;
    Ok(repository)
}

fn said(
    Header { role, version, .. }: &Header,
    repository: &Repository,
    new: bool,
    out: &mut Output,
) -> Result<(), Error> {
    let words = if new { "verified" } else { "known already" };
    let digest = repository.digest().get(..DIGITS).unwrap_or_default();
    out.put(&format!("{role} {version} of repository {digest}: {words}\n"))
}

/// A delegated role by the name that a person gave.
pub(super) fn named_role(name: &str) -> Result<Role, Error> {
    let role = Role::named(name).filter(|role| matches!(role, Role::Delegated(_)));
    let why = "a delegated role has a name of 1 to 255 bytes that is none of the four top-level ones";
    role.ok_or_else(|| Error::from(Misuse::Options { why }).at("--role"))
}

/// The delegated roles that the snapshot names, each once those are known that delegate to it. Of the bins, which can be
/// thousands, those that were signed here.
fn learn_delegated(directory: &Path, repository: &mut Repository, out: &mut Output) -> Result<(), Error> {
    let meta = repository.newest(&Role::Snapshot)?.map(|snapshot| &snapshot.value()["meta"]);
    let entries = meta.and_then(Value::as_object).into_iter().flatten();
    let left: Vec<(Role, PathBuf)> = entries
        .filter_map(|(name, entry)| {
            let role = Role::named(name.strip_suffix(".json")?)?;
            let file = directory.join(format!("{}.{}.json", entry["version"], role.file_stem()));
            (matches!(role, Role::Delegated(_)) && file.is_file()).then_some((role, file))
        })
        .collect();
    let signed_here = repository.signed_roles()?;
    let (mut new, mut known) = (BTreeSet::new(), BTreeMap::new());
    loop {
        // One that cannot be taken keeps no other from being, and may be once that one is.
        let (mut learned, mut refused) = (false, None);
        for (role, path) in &left {
            match learn_role(role, path, &signed_here, repository) {
                Ok(Some((header, true))) => {
                    if new.insert(role) {
                        said(&header, repository, true, out)?;
                    }
                    learned = true;
                }
                Ok(Some((header, false))) if !new.contains(role) => drop(known.insert(role, header)),
                Ok(_) => {}
                // What nobody delegates to no device looks at.
                Err(Error::Rejected { why: Rejected::NotDelegated { .. }, .. }) => {}
                Err(error @ Error::Rejected { .. }) => refused = refused.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        if learned {
            continue;
        }
        known.retain(|role, _| !new.contains(role));
        known.values().try_for_each(|header| said(header, repository, false, out))?;
        return refused.map_or(Ok(()), Err);
    }
}

/// Takes over the file of one of them: its header, and whether it was new. None of a bin that others sign.
fn learn_role(
    role: &Role,
    path: &Path,
    signed_here: &BTreeSet<Role>,
    repository: &mut Repository,
) -> Result<Option<(Header, bool)>, Error> {
    let mut learned = || {
        let ways = repository.ways_to(role.name())?;
        let delegations = ways.iter().map(|way| way.delegation(role.name()));
        let delegations = delegations.collect::<Result<Vec<_>, _>>()?;
        let is_bin = delegations.iter().all(|delegation| matches!(delegation.paths, Paths::Bin { .. }));
        if is_bin && !signed_here.contains(role) {
            return Ok(None);
        }
        let bytes = file::read(path)?;
        let new = repository.learn(role, &bytes)?;
        Ok(Some((Signed::of_file(&bytes)?.of(role)?.header().clone(), new)))
    };
    learned().map_err(|error: Error| error.in_file(path))
}

/// The repository of a directory with a root 1.
fn owner(directory: &Path) -> Result<Option<String>, Error> {
    let path = directory.join("1.root.json");
    if !path.exists() {
        return Ok(None);
    }
    let Envelope { signed, .. } =
        Envelope::parse(&file::read(&path)?).map_err(|error| error.in_file(&path))?;
    Request::draft(Role::Root, &signed, &[]).map(|request| Some(request.repository()))
}

/// The one repository that a file belongs to takes it over. One that two would take is refused: keys that sign for
/// both do not say for which they signed.
fn learned(
    role: &Role,
    bytes: &[u8],
    owner: Option<&str>,
    state: &State,
) -> Result<(Repository, bool), Error> {
    let mut refused = None;
    let mut taken: Option<Repository> = None;
    // A first root says itself whose it is: beside others that are known it is none that somebody made twice.
    let first = first_root(role, bytes)?;
    for digest in state.repositories()? {
        if owner.is_some_and(|owner| owner != digest) {
            continue;
        }
        let repository = match state.repository(&digest) {
            Ok(Some(repository)) => repository,
            Ok(None) => continue,
            Err(damaged) => {
                refused = Some(damaged);
                continue;
            }
        };
        if first.as_ref().is_some_and(|first| *first != digest) {
            continue;
        }
        match repository.would_learn(role, bytes) {
            Ok(()) if taken.is_some() => {
                let why = "two repositories that you know would take this file; learn the directory with its 1.root.json";
                return Err(Misuse::Options { why }.into());
            }
            Ok(()) => taken = Some(repository),
            Err(error) => refused = Some(error),
        }
    }
    if let Some(mut repository) = taken {
        let new = repository.learn(role, bytes)?;
        return Ok((repository, new));
    }
    let none = || {
        Misuse::Options {
            why: "this repository is not trusted yet: begin with `tuffet-keys trust 1.root.json`",
        }
        .into()
    };
    Err(refused.unwrap_or_else(none))
}

/// The repository of a file that is a first root.
fn first_root(role: &Role, bytes: &[u8]) -> Result<Option<String>, Error> {
    if *role != Role::Root {
        return Ok(None);
    }
    let Envelope { signed, .. } = Envelope::parse(bytes)?;
    if signed["version"] != 1 {
        return Ok(None);
    }
    Request::draft(Role::Root, &signed, &[]).map(|request| Some(request.repository()))
}

/// The metadata files of a repository's directory in the order in which they verify: all roots, and the newest of each
/// other role.
fn published(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    // What is no file is no metadata.
    let numbered = |role: &str| -> Result<Vec<PathBuf>, Error> {
        let name = |version| directory.join(format!("{version}.{role}.json"));
        Ok(versions(directory, role)?.into_iter().map(name).filter(|path| path.is_file()).collect())
    };
    // A root without a number is a copy of the newest.
    let mut files = numbered("root")?;
    for role in ["targets", "snapshot", "timestamp"] {
        let plain = || Some(directory.join(format!("{role}.json"))).filter(|path| path.is_file());
        files.extend(numbered(role)?.pop().or_else(plain));
    }
    if files.is_empty() {
        let why = "there is no metadata in it, such as 1.root.json".to_owned();
        return Err(Error::from(Misuse::WrongChain { why }).in_file(directory));
    }
    Ok(files)
}
