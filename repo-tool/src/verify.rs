//! A repository as its devices see it: replayed through `tuffet-client`, from the first root on.
//!
//! Nothing is verified here. The client does that, and this module feeds it, once for the metadata and once
//! for every release, as a device that is due for exactly that release.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tuffet_client::release::{Hex, is_path};
use tuffet_client::{Candidate, Clock, Device, Refresh, SOFTWARE, Trusted, Want};
use tuffet_keys::Role;
use tuffet_keys::file::MAX_FILE;
use tuffet_keys::metadata::{Envelope, Header};

use crate::author::{Target, Targets};
use crate::repository::{metadata_name, target_name};
use crate::{Error, Rejected};

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// A device that no release is for.
const NOBODY: Device<'_> =
    Device { product: "0", hardware: "0", channel: "0", id: &[], sequence: 0, counter: 0, banned: &[] };

/// The files of a repository.
pub trait Source {
    /// Opens a file by its name below the repository's top; none if there is no such file.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    fn open(&mut self, name: &str) -> Result<Option<Box<dyn Read + '_>>, Error>;

    /// Where a file is, for messages.
    fn place(&self, name: &str) -> PathBuf;
}

/// A repository in a directory.
#[derive(Clone, Debug)]
pub struct Directory(pub PathBuf);

impl Source for Directory {
    fn open(&mut self, name: &str) -> Result<Option<Box<dyn Read + '_>>, Error> {
        let path = self.place(name);
        match File::open(&path) {
            Ok(file) => Ok(Some(Box::new(file))),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Error::io("read", &path, &error)),
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// A source with some files that are not in it yet.
#[derive(Clone, Debug)]
pub struct Overlay<S> {
    /// What is below.
    pub below: S,
    /// What is to come, by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl<S: Source> Source for Overlay<S> {
    fn open(&mut self, name: &str) -> Result<Option<Box<dyn Read + '_>>, Error> {
        match self.files.get(name) {
            Some(bytes) => Ok(Some(Box::new(bytes.as_slice()))),
            None => self.below.open(name),
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.below.place(name)
    }
}

/// What devices find in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Version and expiry (seconds since 1970) of root, timestamp, snapshot and targets, in this order.
    pub roles: Vec<(Role, u32, u64)>,
    /// Every release of every channel.
    pub releases: Vec<Release>,
    /// Every target: its path, and what it must be.
    pub targets: Vec<(String, Target)>,
}

/// A release, and what a device that waits for it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// `PRODUCT/HARDWARE/CHANNEL`.
    pub channel: String,
    /// The sequence.
    pub sequence: u32,
    /// The version, for people.
    pub version: String,
    /// None if devices install it now; else the time at which the rollout reaches this one.
    pub not_before: Option<u64>,
}

/// Replays a repository from a first root, at `now` (seconds since 1970).
///
/// # Errors
/// What a device says, or what keeps a file from being read.
pub fn replay(source: &mut dyn Source, root: &[u8], now: u64) -> Result<Report, Error> {
    let mut files = Files { source, cache: BTreeMap::new() };
    let mut trusted = Trusted::from_root_file(&SOFTWARE, root)?;
    // It walks the whole way, and finds that there is nothing for it.
    match cycle(&mut files, &mut trusted, NOBODY, now) {
        Err(Error::Device(tuffet_client::Error::Rejected(tuffet_client::Rejected::NoRelease))) | Ok(_) => {}
        Err(error) => return Err(error),
    }

    let root_version = trusted.root().version();
    let versions = [
        (Role::Root, Some(root_version)),
        (Role::Timestamp, trusted.floors().timestamp_version()),
        (Role::Snapshot, trusted.floors().snapshot_version()),
        (Role::Targets, trusted.floors().targets_version()),
    ];
    let mut roles = Vec::new();
    let mut listed = Targets::empty();
    for (role, version) in versions {
        // The first root came from outside; all the others were fetched.
        let version = version.unwrap_or(0);
        let name = metadata_name(role.clone(), version);
        let bytes = files.fetch(&name)?.unwrap_or_else(|| root.to_owned());
        let place = files.source.place(&name);
        let envelope = Envelope::parse(&bytes).map_err(|error| error.in_file(&place))?;
        let header = Header::from_signed(&envelope.signed).map_err(|error| error.in_file(&place))?;
        roles.push((role, version, header.expires));
        listed = Targets::from_signed(&envelope.signed).unwrap_or(listed);
    }

    let mut releases = Vec::new();
    let mut targets = Vec::new();
    for (path, target) in listed.iter().unwrap_or_default() {
        if !is_path(path) {
            return Err(Rejected::TargetPath { path: path.to_owned() }.into());
        }
        if let [product, hardware, channel, "release"] = path.split('/').collect::<Vec<_>>()[..] {
            let candidates = listed.candidates(path)?;
            for (index, candidate) in candidates.iter().enumerate() {
                let device = Device { product, hardware, channel, ..NOBODY };
                releases.push(replay_release(
                    &mut files,
                    root,
                    device,
                    candidate,
                    &candidates[..index],
                    now,
                )?);
            }
        }
        targets.push((path.to_owned(), target));
    }
    Ok(Report { roles, releases, targets })
}

/// Replays root files from version 1 on, as a device does before anything else.
///
/// # Errors
/// What the device says.
pub fn replay_roots(files: &[Vec<u8>], now: u64) -> Result<(), Error> {
    let first = files.first().map(Vec::as_slice).unwrap_or_default();
    let mut trusted = Trusted::from_root_file(&SOFTWARE, first)?;
    let mut refresh = Refresh::new(&SOFTWARE, &mut trusted, NOBODY, Clock::At(now))?;
    loop {
        match refresh.want() {
            Want::Fetch { file, .. } if file.role == tuffet_client::Role::Root => {
                match file.version.and_then(|version| files.get(version as usize - 1)) {
                    Some(bytes) => {
                        refresh.feed(bytes)?;
                        refresh.end()?;
                    }
                    None => refresh.missing()?,
                }
            }
            Want::Persist(_) => refresh.persisted(),
            _ => return Ok(()),
        }
    }
}

/// Reads every target and holds it against its length and digest. `progress` is told the bytes so far.
///
/// # Errors
/// [`Rejected::TargetMissing`], [`Rejected::TargetDiffers`], or what keeps a file from being read.
pub fn hash_targets(
    source: &mut dyn Source,
    targets: &[(String, Target)],
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    let mut total = 0;
    for (path, target) in targets {
        let name = target_name(path, &target.sha256);
        let place = source.place(&name);
        let Some(mut reader) = source.open(&name)? else {
            return Err(Rejected::TargetMissing { path: place }.into());
        };
        let mut hash = Sha256::new();
        let mut length = 0_u64;
        let mut chunk = vec![0; CHUNK];
        // An endless file ends here too.
        while length <= target.length.into() {
            let count = reader.read(&mut chunk).map_err(|error| Error::io("read", &place, &error))?;
            if count == 0 {
                break;
            }
            hash.update(&chunk[..count]);
            length += count as u64;
            progress(total + length);
        }
        if length != u64::from(target.length) || Hex(&hash.finalize()).to_string() != target.sha256 {
            return Err(Rejected::TargetDiffers { path: place }.into());
        }
        total += length;
    }
    Ok(total)
}

/// Runs the device that is due for this candidate, and on which those above it failed.
fn replay_release(
    files: &mut Files<'_>,
    root: &[u8],
    device: Device<'_>,
    candidate: &Candidate,
    above: &[Candidate],
    now: u64,
) -> Result<Release, Error> {
    let Device { product, hardware, channel, .. } = device;
    let banned: Vec<[u8; 32]> = above
        .iter()
        .map(|above| above.image.sha256)
        .filter(|sha256| *sha256 != candidate.image.sha256)
        .collect();
    let device = Device {
        sequence: candidate.sequence.saturating_sub(1),
        counter: candidate.counter,
        banned: &banned,
        ..device
    };
    let mut trusted = Trusted::from_root_file(&SOFTWARE, root)?;
    let installed = cycle(files, &mut trusted, device, now)?;
    let turn = candidate.rollout.map_or(0, |rollout| rollout.turn(device.id));
    Ok(Release {
        channel: format!("{product}/{hardware}/{channel}"),
        sequence: candidate.sequence,
        version: candidate.version.to_string(),
        not_before: installed.is_none().then_some(turn),
    })
}

/// One update cycle. Gives the sequence that the device would install.
fn cycle(
    files: &mut Files<'_>,
    trusted: &mut Trusted,
    device: Device<'_>,
    now: u64,
) -> Result<Option<u32>, Error> {
    let mut refresh = Refresh::new(&SOFTWARE, trusted, device, Clock::At(now))?;
    loop {
        match refresh.want() {
            Want::Fetch { file, .. } | Want::Again { file, .. } => match files.fetch(&file.to_string())? {
                Some(bytes) => {
                    refresh.feed(&bytes)?;
                    refresh.end()?;
                }
                None => refresh.missing()?,
            },
            Want::Persist(_) => refresh.persisted(),
            Want::Install(candidate) => return Ok(Some(candidate.sequence)),
            Want::UpToDate => return Ok(None),
        }
    }
}

/// Metadata files, each read once, so that all replays see the same bytes.
struct Files<'s> {
    source: &'s mut dyn Source,
    cache: BTreeMap<String, Option<Vec<u8>>>,
}

impl Files<'_> {
    fn fetch(&mut self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        if let Some(known) = self.cache.get(name) {
            return Ok(known.clone());
        }
        let place = self.source.place(name);
        let bytes = match self.source.open(name)? {
            None => None,
            Some(reader) => {
                let mut bytes = Vec::new();
                let read = reader.take(MAX_FILE + 1).read_to_end(&mut bytes);
                read.map_err(|error| Error::io("read", &place, &error))?;
                if bytes.len() as u64 > MAX_FILE {
                    let error = tuffet_keys::Error::from(tuffet_keys::Rejected::TooLarge { limit: MAX_FILE });
                    return Err(error.in_file(&place).into());
                }
                Some(bytes)
            }
        };
        self.cache.insert(name.to_owned(), bytes.clone());
        Ok(bytes)
    }
}
