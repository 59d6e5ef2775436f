//! A repository as its devices see it: replayed through `tuffet-client`, from the first root on.
//!
//! Nothing is verified here. The client does that, and this module feeds it, once for the metadata and once
//! for every release, as a device that is due for exactly that release. Each device comes twice: what it learns
//! about the time counts from its second turn on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tuffet_agent::http::{HttpOptions, HttpTransport};
use tuffet_agent::{self as agent, Transport as _, TransportFault};
use tuffet_client::Rejected::Oversize;
use tuffet_client::limits::DEVICE;
use tuffet_client::release::Hex;
use tuffet_client::{Candidate, Clock, Device, Goal, Plan, Refresh, SOFTWARE, Trusted, Want};
use tuffet_keys::Role;
use tuffet_keys::file::MAX_FILE;
use tuffet_keys::metadata::{Envelope, Header};

use crate::author::{Target, Targets};
use crate::repository::{metadata_name, target_name};
use crate::{Environment, Error, Misuse, Rejected};

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// Update cycles of each device: the first, and the one before an image is marked pending. The start of a cycle
/// is the latest date that the device has seen, so that the second judges by the dates of the first.
const TURNS: u32 = 2;

/// A device that no release is for.
const NOBODY: Device<'_> =
    Device { product: "0", hardware: "0", channel: "0", id: &[], sequence: 0, counter: 0, banned: &[] };

/// The files of a repository.
pub trait Source {
    /// Fetches a file by its name below the repository's top, and hands its bytes to `sink`, never more than
    /// `limit`.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error>;

    /// Where a file is, for messages.
    fn place(&self, name: &str) -> PathBuf;
}

/// What became of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The whole file was handed over.
    Whole,
    /// There is no such file.
    Missing,
    /// The file goes on after the limit.
    TooLong,
}

/// A repository in a directory.
#[derive(Clone, Debug)]
pub struct Directory(pub PathBuf);

impl Source for Directory {
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        let path = self.place(name);
        let failed = |error| Error::io("read", &path, &error);
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Fetched::Missing),
            file => file.map_err(failed)?,
        };
        if file.metadata().map_err(failed)?.len() > limit.into() {
            return Ok(Fetched::TooLong);
        }
        // A file that grows meanwhile is cut off, and refused for its digest.
        let mut reader = file.take(limit.into());
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk).map_err(failed)? {
                0 => return Ok(Fetched::Whole),
                count => sink(&chunk[..count]),
            }
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// A repository on a web server, fetched by the transport of devices.
#[derive(Debug)]
pub struct Server {
    url: String,
    transport: HttpTransport,
}

impl Server {
    /// The repository whose top is at `url`.
    ///
    /// # Errors
    /// [`Misuse::Address`]. Nothing is sent.
    pub fn new(url: &str, options: HttpOptions) -> Result<Server, Error> {
        let transport = HttpTransport::new(url, options)
            .map_err(|why| Misuse::Address { url: url.to_owned(), why: why.to_string() })?;
        Ok(Server { url: url.trim_end_matches('/').to_owned(), transport })
    }
}

impl Source for Server {
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        let fetched = self.transport.fetch(name, limit, &mut |chunk| {
            sink(chunk);
            Ok(())
        });
        match fetched {
            Ok(()) => Ok(Fetched::Whole),
            Err(agent::Error::Environment(agent::Environment::Transport(fault))) => match fault {
                TransportFault::NotFound => Ok(Fetched::Missing),
                TransportFault::TooLong { .. } => Ok(Fetched::TooLong),
                fault => {
                    let url = self.place(name).display().to_string();
                    Err(Environment::Fetch { url, fault }.into())
                }
            },
            Err(error) => Err(error.into()),
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        format!("{}/{name}", self.url).into()
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
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        match self.files.get(name) {
            None => self.below.fetch(name, limit, sink),
            Some(bytes) if bytes.len() as u64 > limit.into() => Ok(Fetched::TooLong),
            Some(bytes) => {
                sink(bytes);
                Ok(Fetched::Whole)
            }
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.below.place(name)
    }
}

/// What devices find in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The version of the root that the devices had.
    pub first_root: u32,
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
    let mut files = Files { source, known: BTreeMap::new() };
    let mut trusted: Trusted = Trusted::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], root)?;
    let first_root = trusted.root().version();
    for _ in 0..TURNS {
        // It walks the whole way, and finds that there is nothing for it.
        match cycle(&mut files, &mut trusted, NOBODY, now) {
            Err(Error::Device(tuffet_client::Error::Rejected(tuffet_client::Rejected::NoRelease)))
            | Ok(_) => {}
            Err(error) => return Err(error),
        }
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
        let bytes = match files.known.get(&name) {
            Some((_, bytes)) => bytes.clone(),
            None => root.to_owned(),
        };
        let place = files.source.place(&name);
        let envelope = Envelope::parse(&bytes).map_err(|error| error.in_file(&place))?;
        let header = Header::from_signed(&envelope.signed).map_err(|error| error.in_file(&place))?;
        roles.push((role, version, header.expires));
        listed = Targets::from_signed(&envelope.signed).unwrap_or(listed);
    }

    let mut releases = Vec::new();
    let mut targets = Vec::new();
    for (path, target) in listed.list()? {
        // Devices read the entry in the metadata, and people fetch the file.
        if listed.custom(path).is_some_and(|custom| !target.is(&custom)) {
            let path = files.source.place(&target_name(path, &target.sha256));
            return Err(Rejected::TargetDiffers { path }.into());
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
    Ok(Report { first_root, roles, releases, targets })
}

/// Replays root files from version 1 on, as a device does before anything else.
///
/// # Errors
/// What the device says.
pub fn replay_roots(files: &[Vec<u8>], now: u64) -> Result<(), Error> {
    let first = files.first().map(Vec::as_slice).unwrap_or_default();
    let mut trusted: Trusted = Trusted::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], first)?;
    let mut memory = [0; DEVICE.memory()];
    let mut refresh = Refresh::new(plan(NOBODY, now), &mut trusted, &mut memory)?;
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
            Want::Over(why) => return Err(tuffet_client::Error::from(why).into()),
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
        let mut hash = Sha256::new();
        let mut length = 0_u64;
        let fetched = source.fetch(&name, target.length, &mut |chunk| {
            hash.update(chunk);
            length += chunk.len() as u64;
            progress(total + length);
        })?;
        let path = source.place(&name);
        let as_signed =
            length == u64::from(target.length) && Hex(&hash.finalize()).to_string() == target.sha256;
        match fetched {
            Fetched::Missing => return Err(Rejected::TargetMissing { path }.into()),
            Fetched::Whole if as_signed => total += length,
            Fetched::Whole | Fetched::TooLong => return Err(Rejected::TargetDiffers { path }.into()),
        }
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
    let mut trusted: Trusted = Trusted::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], root)?;
    let mut installed = None;
    for _ in 0..TURNS {
        installed = cycle(files, &mut trusted, device, now)?;
    }
    let turn = candidate.rollout.map_or(0, |rollout| rollout.turn(device.id));
    Ok(Release {
        channel: format!("{product}/{hardware}/{channel}"),
        sequence: candidate.sequence,
        version: candidate.version.to_string(),
        not_before: installed.is_none().then_some(turn),
    })
}

/// What a cycle of the smallest device does at this moment.
fn plan(device: Device<'_>, now: u64) -> Plan<'_> {
    let goal = Goal::Release(device);
    let (entry, clock) = (tuffet_client::Entry::Refresh, Clock::At(now));
    Plan { crypto: &SOFTWARE, limits: &DEVICE, goal, entry, clock, kept: None }
}

/// One update cycle. Gives the sequence that the device would install.
fn cycle(
    files: &mut Files<'_>,
    trusted: &mut Trusted,
    device: Device<'_>,
    now: u64,
) -> Result<Option<u32>, Error> {
    let mut memory = [0; DEVICE.memory()];
    let mut refresh = Refresh::new(plan(device, now), trusted, &mut memory)?;
    loop {
        match refresh.want() {
            Want::Fetch { file, limit } | Want::Again { file, limit } => {
                match files.fetch(&file.to_string(), limit)? {
                    (Fetched::Whole, bytes) => {
                        refresh.feed(bytes)?;
                        refresh.end()?;
                    }
                    (Fetched::Missing, _) => refresh.missing()?,
                    (Fetched::TooLong, _) => {
                        let role = file.role;
                        return Err(tuffet_client::Error::from(Oversize { role, limit }).into());
                    }
                }
            }
            Want::Persist(_) => refresh.persisted(),
            Want::Install(candidate) => return Ok(Some(candidate.sequence)),
            // What a timestamp halts, no device installs.
            Want::UpToDate(_) | Want::Halted(_) | Want::Found(_) => return Ok(None),
            Want::Over(why) => return Err(tuffet_client::Error::from(why).into()),
        }
    }
}

/// Metadata files, each fetched once, so that all replays see the same bytes.
struct Files<'s> {
    source: &'s mut dyn Source,
    known: BTreeMap<String, (Fetched, Vec<u8>)>,
}

impl Files<'_> {
    fn fetch(&mut self, file: &str, limit: u32) -> Result<&(Fetched, Vec<u8>), Error> {
        match self.known.entry(file.to_owned()) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => {
                let mut bytes = Vec::new();
                // A device streams a file of any length; here it has to fit in memory.
                let room = u32::try_from(MAX_FILE).unwrap_or(u32::MAX);
                let mut sink = |chunk: &[u8]| bytes.extend_from_slice(chunk);
                let fetched = self.source.fetch(unknown.key(), limit.min(room), &mut sink)?;
                if fetched == Fetched::TooLong && limit > room {
                    let error = tuffet_keys::Error::from(tuffet_keys::Rejected::TooLarge { limit: MAX_FILE });
                    return Err(error.in_file(&self.source.place(unknown.key())).into());
                }
                Ok(unknown.insert((fetched, bytes)))
            }
        }
    }
}
