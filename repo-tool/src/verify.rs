//! A repository as its devices see it: replayed through `tuffet-client`, from the first root on.
//!
//! Nothing is verified here. The client does that, and this module feeds it, once for the metadata and once
//! for every release, as a device that is due for exactly that release. Each device comes twice: what it learns
//! about the time counts from its second turn on.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tuffet_client::Error::Rejected as Refused;
use tuffet_client::Rejected::{NoRelease, Oversize};
use tuffet_client::limits::Limits;
use tuffet_client::release::Hex;
use tuffet_client::{
    Ban, Candidate, Clock, Device, Entry as ByEntry, Goal, Plan, Refresh, SOFTWARE, Trusted, Want,
};
use tuffet_keys::Role;
use tuffet_keys::file::MAX_FILE;
use tuffet_keys::metadata::{Envelope, Header};

use crate::author::Target;
use crate::document::{Document, Listing};
use crate::release::Channel;
use crate::repository::{metadata_name, target_name};
use crate::source::{Fetched, Source};
use crate::{Error, Rejected};

/// Update cycles of each device: the first, and the one before an image is marked pending. The start of a cycle
/// is the latest date that the device has seen, so that the second judges by the dates of the first.
pub(crate) const TURNS: u32 = 2;

/// What devices find in a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// The version of the root that the devices had.
    pub first_root: u32,
    /// Version and expiry (seconds since 1970) of root, timestamp, snapshot and targets, in this order, and then of every
    /// delegated role.
    pub roles: Vec<(Role, u32, u64)>,
    /// Every release of every channel.
    pub releases: Vec<Release>,
    /// Every target: its path, and what it must be.
    pub targets: Vec<(String, Target)>,
}

/// A release, and what a device that waits for it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// Its channel.
    pub channel: Channel,
    /// The sequence.
    pub sequence: u32,
    /// The version, for people.
    pub version: String,
    /// None if devices install it now; else the time at which the rollout reaches this one.
    pub not_before: Option<u64>,
    /// Whether the timestamp halts it.
    pub halted: bool,
}

/// Replays a repository from a first root, at `now` (seconds since 1970), as devices with these limits.
///
/// # Errors
/// What a device says, or what keeps a file from being read.
pub fn replay(source: &mut dyn Source, root: &[u8], limits: &Limits, now: u64) -> Result<Report, Error> {
    let mut files = Files::new(source);
    let device = Rehearsal { root, limits, entry: ByEntry::Refresh, now };
    let Top { first_root, mut roles, listing } = device.top(&mut files)?;
    let (mut releases, mut targets) = (Vec::new(), Vec::new());
    let mut delegated: Vec<Role> = listing.roles().collect();
    // The top-level targets first.
    delegated.sort_by_key(|role| *role != Role::Targets);
    for role in delegated {
        let document = files.document(&role, listing.of(&role).map_or(0, |meta| meta.version))?;
        roles.push((role, document.header.version, document.header.expires));
        let sheet = document.sheet()?;
        let mut seen = false;
        for target in sheet.list() {
            let (path, target) = target?;
            // Devices read the entry in the metadata, and people fetch the file.
            if sheet.custom(path).is_some_and(|custom| !target.is(custom.as_bytes())) {
                let path = files.source.place(&target_name(path, &target.sha256));
                return Err(Rejected::TargetDiffers { path }.into());
            }
            if let Some(channel) = Channel::of_entry(path) {
                let candidates = sheet.entry(path)?.candidates;
                for (index, candidate) in candidates.iter().enumerate() {
                    let above = &candidates[..index];
                    releases.push(device.release(
                        &mut files,
                        &mut device.trusted()?,
                        &channel,
                        candidate,
                        above,
                        TURNS,
                    )?);
                }
                seen = true;
            }
            targets.push((path.to_owned(), target));
        }
        // A role that no release led to must be signed, and lead to what it says.
        if let (false, Some((path, _))) = (seen, targets.last()) {
            device.cycle(&mut files, &mut device.trusted()?, Goal::Target(path))?;
        }
    }
    Ok(Report { first_root, roles, releases, targets })
}

/// Replays root files from version 1 on, as a device does before anything else.
///
/// # Errors
/// What the device says.
pub fn replay_roots(files: &[Vec<u8>], limits: &Limits, now: u64) -> Result<(), Error> {
    let first = files.first().map(Vec::as_slice).unwrap_or_default();
    let device = Rehearsal { root: first, limits, entry: ByEntry::Refresh, now };
    let mut trusted = device.trusted()?;
    let mut memory = vec![0; limits.memory()];
    let mut refresh = Refresh::new(device.plan(Goal::Metadata), &mut trusted, &mut memory)?;
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

/// A device that is played: the root that it left the factory with, its limits, and the moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rehearsal<'r> {
    pub(crate) root: &'r [u8],
    pub(crate) limits: &'r Limits,
    pub(crate) entry: ByEntry,
    pub(crate) now: u64,
}

/// The roles above targets, as a device finds them.
pub(crate) struct Top {
    /// The version of the root that the device had.
    pub(crate) first_root: u32,
    /// As in a [`Report`].
    pub(crate) roles: Vec<(Role, u32, u64)>,
    /// What the snapshot lists.
    pub(crate) listing: Listing,
}

/// Images that have failed on a device that is due for a candidate below others.
pub(crate) fn banned_above(candidate: &Candidate, above: &[Candidate]) -> Vec<Ban> {
    let above = above.iter().map(|above| Ban { sha256: above.image.sha256, sequence: u32::MAX });
    above.filter(|ban| ban.sha256 != candidate.image.sha256).collect()
}

/// The device of that id that is due for a candidate.
pub(crate) fn due<'d>(
    channel: &'d Channel,
    candidate: &Candidate,
    banned: &'d [Ban],
    id: &'d [u8],
) -> Device<'d> {
    let Channel { product, hardware, name } = channel;
    // One that is due for an older release of the same bytes does not take this one.
    let (sequence, counter) = (candidate.sequence.saturating_sub(1), candidate.counter);
    Device { product, hardware, channel: name, id, sequence, counter, banned }
}

impl Rehearsal<'_> {
    /// What it trusts before its first cycle.
    pub(crate) fn trusted(&self) -> Result<Trusted, Error> {
        Ok(Trusted::from_root_file(&SOFTWARE, self.limits, &mut vec![0; self.limits.memory()], self.root)?)
    }

    fn plan<'a>(&'a self, goal: Goal<'a>) -> Plan<'a> {
        let (limits, entry, clock) = (self.limits, self.entry, Clock::At(self.now));
        Plan { crypto: &SOFTWARE, limits, goal, entry, clock, kept: None }
    }

    /// Plays the roles above targets.
    pub(crate) fn top(&self, files: &mut Files<'_>) -> Result<Top, Error> {
        let mut trusted = self.trusted()?;
        let first_root = trusted.root().version();
        for _ in 0..TURNS {
            self.cycle(files, &mut trusted, Goal::Metadata)?;
        }

        let (root_version, floors) = (trusted.root().version(), trusted.floors());
        let top_level = [
            (Role::Root, Some(root_version)),
            (Role::Timestamp, floors.timestamp_version()),
            (Role::Snapshot, floors.snapshot_version()),
        ];
        let mut roles = Vec::new();
        let mut listing = Listing::default();
        for (role, version) in top_level {
            // The first root came from outside; all the others were fetched.
            let version = version.unwrap_or(0);
            let name = metadata_name(&role, version);
            let expires = match files.known.get(&name) {
                // Roots hold PEM keys, and come from other hands.
                _ if role == Role::Root => {
                    let bytes = files.known.get(&name).map_or(self.root, |(_, bytes)| bytes);
                    let place = files.source.place(&name);
                    let envelope = Envelope::parse(bytes).map_err(|error| error.in_file(&place))?;
                    Header::from_signed(&envelope.signed).map_err(|error| error.in_file(&place))?.expires
                }
                Some((_, bytes)) => {
                    let document = Document::parse(bytes.to_vec(), &role, &files.source.place(&name))?;
                    listing = document.listing()?;
                    document.header.expires
                }
                None => 0,
            };
            roles.push((role, version, expires));
        }
        Ok(Top { first_root, roles, listing })
    }

    /// Plays the device that is due for this candidate, and on which those above it failed.
    pub(crate) fn release(
        &self,
        files: &mut Files<'_>,
        trusted: &mut Trusted,
        channel: &Channel,
        candidate: &Candidate,
        above: &[Candidate],
        turns: u32,
    ) -> Result<Release, Error> {
        let banned = banned_above(candidate, above);
        let device = due(channel, candidate, &banned, &[]);
        let not_installed = |why| {
            let (channel, version) = (channel.to_string(), candidate.version.to_string());
            Err(Rejected::NotInstalled { channel, version, why }.into())
        };
        let mut end = End::UpToDate;
        for turn in 0..turns {
            if turn > 0 && trusted.start_time(Clock::At(self.now)) == self.now {
                // It learned no later date, so that the next turn is this one again.
                break;
            }
            end = match self.cycle(files, trusted, Goal::Release(device)) {
                Err(Error::Device(Refused(NoRelease))) => {
                    return not_installed(
                        "devices of the channel look elsewhere and find nothing; see tuffet.toml",
                    );
                }
                end => end?,
            };
        }
        let turn = candidate.rollout.map_or(0, |rollout| rollout.turn(device.id));
        match &end {
            // The same image under a higher sequence, after a rollback.
            End::Install(other, _) if other.image != candidate.image => {
                return not_installed("devices find another entry of the channel; see which role has it");
            }
            End::UpToDate if turn <= self.now => {
                return not_installed("devices find an entry without it; see which role has it");
            }
            _ => {}
        }
        Ok(Release {
            channel: channel.clone(),
            sequence: candidate.sequence,
            version: candidate.version.to_string(),
            not_before: matches!(end, End::UpToDate).then_some(turn),
            halted: matches!(end, End::Halted),
        })
    }

    /// One update cycle.
    pub(crate) fn cycle(
        &self,
        files: &mut Files<'_>,
        trusted: &mut Trusted,
        goal: Goal<'_>,
    ) -> Result<End, Error> {
        let mut memory = vec![0; self.limits.memory()];
        let mut refresh = Refresh::new(self.plan(goal), trusted, &mut memory)?;
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
                Want::Install(candidate) => {
                    return Ok(End::Install(Box::new(candidate.clone()), refresh.good_until()));
                }
                Want::Halted(_) => return Ok(End::Halted),
                Want::Found(target) => return Ok(End::Found(target)),
                Want::UpToDate(_) => return Ok(End::UpToDate),
                Want::Over(why) => return Err(tuffet_client::Error::from(why).into()),
            }
        }
    }
}

/// How a cycle ended that was not refused.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// The device installs this release. Beside it whose file expires first, and when.
    Install(Box<Candidate>, (tuffet_client::Role, u64)),
    /// It would, and the timestamp halts the image.
    Halted,
    /// The target that was asked for.
    Found(tuffet_client::Target),
    /// There is nothing for it to do.
    UpToDate,
}

/// Metadata files, each fetched once, so that all replays see the same bytes.
pub(crate) struct Files<'s> {
    pub(crate) source: &'s mut dyn Source,
    known: BTreeMap<String, (Fetched, Bytes)>,
    /// What was asked for, in order, whether it is there or not.
    pub(crate) asked: Vec<String>,
}

impl<'s> Files<'s> {
    pub(crate) fn new(source: &'s mut dyn Source) -> Files<'s> {
        Files { source, known: BTreeMap::new(), asked: Vec::new() }
    }

    /// The files that were fetched so far, by their names.
    pub(crate) fn fetched(&self) -> impl Iterator<Item = (&str, &[u8])> {
        let whole = self.known.iter().filter(|(_, (fetched, _))| *fetched == Fetched::Whole);
        whole.map(|(name, (_, bytes))| (name.as_str(), &bytes[..]))
    }

    /// The file of a role.
    pub(crate) fn document(&mut self, role: &Role, version: u32) -> Result<Document, Error> {
        let name = metadata_name(role, version);
        let (fetched, bytes) = self.fetch(&name, u32::MAX)?;
        let bytes = bytes.to_vec();
        let path = self.source.place(&name);
        if fetched != Fetched::Whole {
            return Err(Rejected::TargetMissing { path }.into());
        }
        Document::parse(bytes, role, &path)
    }

    pub(crate) fn fetch(&mut self, file: &str, limit: u32) -> Result<(Fetched, &[u8]), Error> {
        self.asked.push(file.to_owned());
        let (fetched, bytes) = match self.known.entry(file.to_owned()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => {
                if let Some(bytes) = self.source.shared(unknown.key()) {
                    let (_, bytes) = unknown.insert((Fetched::Whole, bytes));
                    let fits = bytes.len() as u64 <= limit.into();
                    return Ok(if fits { (Fetched::Whole, bytes) } else { (Fetched::TooLong, &[]) });
                }
                let mut bytes = Vec::new();
                // A device streams a file of any length; here it has to fit in memory.
                let room = u32::try_from(MAX_FILE).unwrap_or(u32::MAX);
                let mut sink = |chunk: &[u8]| bytes.extend_from_slice(chunk);
                let fetched = self.source.fetch(unknown.key(), limit.min(room), &mut sink)?;
                match fetched {
                    Fetched::TooLong if limit > room => {
                        let why = tuffet_keys::Rejected::TooLarge { limit: MAX_FILE };
                        let error = tuffet_keys::Error::from(why);
                        return Err(error.in_file(&self.source.place(unknown.key())).into());
                    }
                    // For a device with other limits it may be otherwise.
                    Fetched::TooLong => return Ok((Fetched::TooLong, &[])),
                    fetched => unknown.insert((fetched, bytes.into())),
                }
            }
        };
        match *fetched {
            Fetched::Whole if bytes.len() as u64 > limit.into() => Ok((Fetched::TooLong, &[])),
            fetched => Ok((fetched, bytes)),
        }
    }
}
