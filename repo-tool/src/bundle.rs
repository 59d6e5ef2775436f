//! Bundles: what a device asks a repository for, in one file and in order. `docs/format.md` has its bytes.
//!
//! No rule of the order is known here. A device that is due for the release runs its cycle through the client, by the
//! offline entry, and what it asked for is written down. So whatever roles a repository has, a bundle has those
//! that are on the way.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crc::{CRC_32_ISO_HDLC, Crc};
use sha2::{Digest as _, Sha256};
use tuffet_agent::bundle::{CHECKSUM, ENTRY, FILES_MAX, FORMAT, HEAD, INDEX_MAX, MAGIC};
use tuffet_agent::{self as agent, Request, Transport as _, TransportFault};
use tuffet_client::limits::DEVICE;
use tuffet_client::release::{Hex, read_entry};
use tuffet_client::{Candidate, Entry, Goal, SOFTWARE, Trusted};
use tuffet_keys::Role;

use crate::author::Target;
use crate::document::Document;
use crate::release::Channel;
use crate::repository::{metadata_name, target_name};
use crate::source::{Fetched, Source};
use crate::verify::{self, End, Files, Rehearsal, Top, banned_above, due};
use crate::{Error, Rejected};

/// Bytes of a bundle that are read at once.
const CHUNK: usize = 64 * 1024;

/// Device ids that are tried to find one that a rollout reaches early: with so many it is the first thousandth of the
/// ramp, as a rule.
const IDS: u32 = 1024;

/// A kind of device, and what it shall get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Hardware and channel of the devices.
    pub channel: Channel,
    /// The release's version; without one the newest.
    pub version: Option<String>,
    /// The root that devices have at the least; without one the root that is given.
    pub from_root: Option<u32>,
}

/// What a bundle holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Hardware and channel of the devices.
    pub channel: Channel,
    /// The release.
    pub release: Candidate,
    /// Versions of those that come before it, the first first. A device that may have one of them asks for its image, which
    /// is not in the bundle.
    pub before: Vec<String>,
    /// The root that devices have at the least.
    pub from_root: u32,
    /// Whose file expires first of the root and the targets files, and when, in seconds since 1970. From then on no
    /// device takes the bundle.
    pub good_until: (tuffet_client::Role, u64),
    /// When the rollout reaches a device first, if that is to come.
    pub not_before: Option<u64>,
    /// The files, in order.
    pub files: Vec<Part>,
    /// Bytes of the bundle.
    pub length: u32,
}

/// A file in a bundle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its name, as a device asks for it.
    pub name: String,
    /// Its first byte in the bundle.
    pub offset: u32,
    /// Its bytes.
    pub length: u32,
}

/// A bundle that could be written.
#[derive(Clone, Debug)]
pub struct Draft {
    report: Report,
    /// All but the image.
    metadata: Vec<Vec<u8>>,
}

/// Writes a bundle to `out`, in the place of an older one if need be, at `now` (seconds since 1970). It appears there when
/// it is whole. `root` is a root that all devices have, and whose word is taken for what follows.
///
/// # Errors
/// Those of [`draft`] and [`Draft::write`].
pub fn write(
    source: &mut dyn Source,
    root: &[u8],
    order: &Order,
    out: &Path,
    now: u64,
) -> Result<Report, Error> {
    draft(source, root, order, now)?.write(source, out)
}

/// Finds out what a bundle must hold. The image is not read yet.
///
/// # Errors
/// [`Rejected::NoRelease`], [`Rejected::NoSuchRoot`], [`Rejected::NotInstalled`], [`Rejected::BundleTooLarge`], what a
/// device says about the repository, or what keeps a file from being read.
pub fn draft(source: &mut dyn Source, root: &[u8], order: &Order, now: u64) -> Result<Draft, Error> {
    let Order { channel, version, from_root } = order;
    let files = &mut Files::new(source);
    let (trusted, from_root) = walk(files, root, *from_root)?;

    let mut player = Rehearsal { root, limits: &DEVICE, entry: Entry::Refresh, now };
    let candidates = candidates(files, &trusted, &player, channel)?;
    let wanted =
        |candidate: &&Candidate| version.as_ref().is_none_or(|version| candidate.version.as_str() == version);
    let Some(release) = candidates.iter().find(wanted) else {
        let known = candidates.iter().map(|candidate| candidate.version.to_string()).collect();
        let channel = channel.to_string();
        return Err(Rejected::NoRelease { channel, version: version.clone(), known }.into());
    };
    let above: Vec<Candidate> =
        candidates.iter().take_while(|other| other.sequence > release.sequence).cloned().collect();
    let banned = banned_above(release, &above);
    let (id, turn) = first_in_line(release);
    let device = due(channel, release, &banned, &id);

    // What is written down, and in this order.
    files.asked.clear();
    let mut trusted = trusted;
    let not_installed = |why| {
        let (channel, version) = (channel.to_string(), release.version.to_string());
        Err(Rejected::NotInstalled { channel, version, why }.into())
    };
    (player.entry, player.now) = (Entry::Offline, now.max(turn));
    let good_until = match player.cycle(files, &mut trusted, Goal::Release(device)).map_err(too_many_roots)? {
        End::Install(installed, good_until) if *installed == *release => good_until,
        End::Halted => {
            return not_installed("the timestamp halts it; release a repair, or publish without the halt");
        }
        _ => return not_installed("its entry and the file of its entry differ; release it again"),
    };
    let mut names: Vec<String> = Vec::new();
    for name in core::mem::take(&mut files.asked) {
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let mut metadata = Vec::new();
    let mut listed = Vec::new();
    for name in names {
        if let (Fetched::Whole, bytes) = files.fetch(&name, u32::MAX)? {
            listed.push((name, bytes.len() as u64));
            metadata.push(bytes.to_vec());
        }
    }
    let image = Request::image(release).path;
    listed.push((image.as_str().to_owned(), release.image.length.into()));

    let (files, length) = lay_out(listed)?;
    let not_before = (turn > now).then_some(turn);
    let before = above.iter().map(|candidate| candidate.version.to_string()).collect();
    let (release, channel) = (release.clone(), channel.clone());
    let report = Report { channel, release, before, from_root, good_until, not_before, files, length };
    Ok(Draft { report, metadata })
}

impl Draft {
    /// What the bundle will hold.
    pub fn report(&self) -> &Report {
        &self.report
    }

    /// Reads the image, and writes nothing.
    ///
    /// # Errors
    /// [`Rejected::TargetMissing`], [`Rejected::TargetDiffers`], or what keeps it from being read.
    pub fn check(&self, source: &mut dyn Source) -> Result<(), Error> {
        self.copy_image(source, &mut io::sink(), Path::new("nowhere"))
    }

    /// Writes the bundle, and hashes the image meanwhile.
    ///
    /// # Errors
    /// Those of [`Draft::check`], or an I/O failure. Under its name there is then what was there before.
    pub fn write(self, source: &mut dyn Source, out: &Path) -> Result<Report, Error> {
        let directory = out.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
        let failed = |what| move |error: io::Error| Error::io(what, out, &error);
        let mut partial = tempfile::Builder::new()
            .prefix(".bundle-")
            .suffix(".partial")
            // As any new file, and not for its owner alone.
            .permissions(fs::Permissions::from_mode(0o666))
            .tempfile_in(directory)
            .map_err(failed("write"))?;
        partial.write_all(&self.index()).map_err(failed("write"))?;
        for bytes in &self.metadata {
            partial.write_all(bytes).map_err(failed("write"))?;
        }
        self.copy_image(source, &mut partial, out)?;
        partial.as_file().sync_all().map_err(failed("flush"))?;
        partial.persist(out).map_err(|error| failed("rename")(error.error))?;
        File::open(directory).and_then(|directory| directory.sync_all()).map_err(failed("flush"))?;
        Ok(self.report)
    }

    /// Head and index.
    fn index(&self) -> Vec<u8> {
        let files = &self.report.files;
        let start = files.first().map_or(0, |first| first.offset);
        let count = u16::try_from(files.len()).unwrap_or(u16::MAX);
        let mut bytes = MAGIC.to_vec();
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend(count.to_le_bytes());
        bytes.extend(start.to_le_bytes());
        for Part { name, offset, length } in files {
            bytes.extend(offset.to_le_bytes());
            bytes.extend(length.to_le_bytes());
            bytes.extend(u16::try_from(name.len()).unwrap_or(u16::MAX).to_le_bytes());
            bytes.extend(name.bytes());
        }
        bytes.extend(Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&bytes).to_le_bytes());
        bytes
    }

    fn copy_image(&self, source: &mut dyn Source, to: &mut dyn Write, out: &Path) -> Result<(), Error> {
        let image = &self.report.release.image;
        let name = target_name(&image.path, &Hex(&image.sha256).to_string());
        let mut hash = Sha256::new();
        let mut length = 0_u64;
        let mut written = Ok(());
        let fetched = source.fetch(&name, image.length, &mut |chunk| {
            hash.update(chunk);
            length += chunk.len() as u64;
            if written.is_ok() {
                written = to.write_all(chunk);
            }
        })?;
        written.map_err(|error| Error::io("write", out, &error))?;
        let path = source.place(&name);
        let as_signed = length == u64::from(image.length) && hash.finalize()[..] == image.sha256;
        match fetched {
            Fetched::Missing => Err(Rejected::TargetMissing { path }.into()),
            Fetched::Whole if as_signed => Ok(()),
            Fetched::Whole | Fetched::TooLong => Err(Rejected::TargetDiffers { path }.into()),
        }
    }
}

/// Walks from a root to the one that devices have at the least.
fn walk(files: &mut Files<'_>, root: &[u8], from_root: Option<u32>) -> Result<(Trusted, u32), Error> {
    let memory = &mut [0; DEVICE.memory()];
    let mut trusted: Trusted = Trusted::from_root_file(&SOFTWARE, &DEVICE, memory, root)?;
    let first = trusted.root().version();
    let wanted = from_root.unwrap_or(first);
    let no_such = |last| Err(Rejected::NoSuchRoot { version: wanted, known: (first, last) }.into());
    if wanted < first {
        return no_such(first);
    }
    for version in first..wanted {
        match files.fetch(&metadata_name(&Role::Root, version + 1), DEVICE.root_file)? {
            (Fetched::Whole, bytes) => trusted.next_root_file(&SOFTWARE, &DEVICE, memory, bytes)?,
            _ => return no_such(version),
        }
    }
    Ok((trusted, wanted))
}

/// The candidates of the channel, as the file of its release entry has them: that lies in whichever role the client finds it.
/// The repository must be fresh: what it has now is what devices are to get.
fn candidates(
    files: &mut Files<'_>,
    trusted: &Trusted,
    player: &Rehearsal<'_>,
    channel: &Channel,
) -> Result<Vec<Candidate>, Error> {
    use tuffet_client::{Error::Rejected as Refused, Rejected::NoTarget};
    let path = channel.entry();
    let none = || Rejected::NoRelease { channel: channel.to_string(), version: None, known: Vec::new() };
    let found = player.cycle(files, &mut trusted.clone(), Goal::Target(&path));
    let target = match found.map_err(too_many_roots) {
        Ok(End::Found(target)) => target,
        Ok(_) | Err(Error::Device(Refused(NoTarget))) => return Err(none().into()),
        Err(error) => return Err(error),
    };
    let sha256 = Hex(&target.sha256.unwrap_or_default()).to_string();
    let name = target_name(&path, &sha256);
    let (fetched, bytes) = files.fetch(&name, target.length)?;
    let bytes = bytes.to_vec();
    let path = files.source.place(&name);
    match fetched {
        Fetched::Missing => Err(Rejected::TargetMissing { path }.into()),
        Fetched::Whole if Target { sha256, length: target.length }.is(&bytes) => {
            Ok(read_entry(&bytes)?.into_iter().collect())
        }
        _ => Err(Rejected::TargetDiffers { path }.into()),
    }
}

/// A device id that the rollout of a release reaches early, and when; at once without a rollout.
fn first_in_line(release: &Candidate) -> ([u8; 4], u64) {
    let Some(rollout) = release.rollout else { return ([0; 4], 0) };
    let ids = (0..IDS).map(u32::to_be_bytes);
    ids.map(|id| (id, rollout.turn(&id))).min_by_key(|(_, turn)| *turn).unwrap_or(([0; 4], rollout.end))
}

/// No device walks more roots in one cycle.
fn too_many_roots(error: Error) -> Error {
    match error {
        Error::Device(tuffet_client::Error::Rejected(tuffet_client::Rejected::TooManyRoots)) => {
            Rejected::BundleTooLarge { what: "64 roots" }.into()
        }
        error => error,
    }
}

/// Where each file goes, and where the last one ends.
fn lay_out(listed: Vec<(String, u64)>) -> Result<(Vec<Part>, u32), Error> {
    let too_large = |what| Error::from(Rejected::BundleTooLarge { what });
    if listed.len() > FILES_MAX.into() {
        return Err(too_large("128 files"));
    }
    let entries = listed.iter().map(|(name, _)| u64::from(ENTRY) + name.len() as u64);
    let start = u64::from(HEAD) + entries.sum::<u64>() + u64::from(CHECKSUM);
    if start > INDEX_MAX.into() {
        return Err(too_large("names of 4,096 bytes together"));
    }
    let place = |bytes: u64| u32::try_from(bytes).map_err(|_| too_large("4 GiB"));
    let mut end = start;
    let mut files = Vec::new();
    for (name, length) in listed {
        files.push(Part { name, offset: place(end)?, length: place(length)? });
        end += length;
    }
    Ok((files, place(end)?))
}

/// A bundle as a repository: what is not in it is not there.
#[derive(Debug)]
pub struct BundleFile {
    path: PathBuf,
    bundle: Box<agent::Bundle<File, CHUNK>>,
}

impl BundleFile {
    /// Opens a bundle, and reads its index through.
    ///
    /// # Errors
    /// [`Rejected::Bundle`] or an I/O failure.
    pub fn open(path: &Path) -> Result<BundleFile, Error> {
        let file = File::open(path).map_err(|error| Error::io("read", path, &error))?;
        let bundle = agent::Bundle::open_in_chunks(file).map_err(|why| bad(path, why))?;
        Ok(BundleFile { path: path.to_owned(), bundle: Box::new(bundle) })
    }

    /// Names of the files in it.
    fn names(&mut self) -> Result<Vec<String>, Error> {
        let mut names = Vec::new();
        let listed = self.bundle.list(&mut |_, name| {
            names.push(name.to_owned());
            Ok(())
        });
        listed.map_err(|why| bad(&self.path, why))?;
        Ok(names)
    }
}

impl Source for BundleFile {
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        let name = if name.starts_with("targets/") { escaped(name) } else { name.to_owned() };
        let request = Request::whole(&name, limit).map_err(agent::Error::from);
        let fetched = request.and_then(|request| {
            self.bundle.fetch(&request, &mut |input| {
                sink(input.bytes());
                Ok(())
            })
        });
        match fetched {
            Ok(()) => Ok(Fetched::Whole),
            Err(agent::Error::Environment(agent::Environment::Transport(TransportFault::NotFound))) => {
                Ok(Fetched::Missing)
            }
            Err(agent::Error::Environment(agent::Environment::Transport(TransportFault::TooLong {
                ..
            }))) => Ok(Fetched::TooLong),
            Err(why) => Err(bad(&self.path, why)),
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }
}

fn bad(path: &Path, why: agent::Error) -> Error {
    match why {
        agent::Error::Rejected(_) => Rejected::Bundle { path: path.to_owned(), why }.into(),
        why => why.into(),
    }
}

/// Percent-encodes the name of a target's file, as devices ask for it.
fn escaped(name: &str) -> String {
    let mut escaped = String::new();
    for byte in name.bytes() {
        match byte {
            byte if byte.is_ascii_alphanumeric() => escaped.push(byte.into()),
            b'-' | b'.' | b'_' | b'~' | b'/' => escaped.push(byte.into()),
            byte => escaped.push_str(&format!("%{byte:02X}")),
        }
    }
    escaped
}

/// Replays a bundle as devices that are due for what it holds, from a root that they have, at `now` (seconds since 1970).
/// What [`verify::Report::targets`] has are the images in it; [`verify::hash_targets`] reads them.
///
/// # Errors
/// [`Rejected::Bundle`], [`Rejected::NothingInBundle`], what a device says, or what keeps it from being read.
pub fn replay(bundle: &mut BundleFile, root: &[u8], now: u64) -> Result<verify::Report, Error> {
    let names = bundle.names()?;
    let bundle_path = bundle.path.clone();
    let files = &mut Files::new(bundle);
    let player = Rehearsal { root, limits: &DEVICE, entry: Entry::Offline, now };
    let Top { first_root, mut roles, listing } = player.top(files)?;
    let (mut releases, mut targets) = (Vec::new(), Vec::new());
    for role in listing.roles() {
        let Some(meta) = listing.of(&role) else { continue };
        let name = metadata_name(&role, meta.version);
        // A bundle has the roles on the way, and no others.
        let (Fetched::Whole, bytes) = files.fetch(&name, u32::MAX)? else { continue };
        let document = Document::parse(bytes.to_vec(), &role, &bundle_path.join(&name))?;
        roles.push((role, document.header.version, document.header.expires));
        let sheet = document.sheet()?;
        for target in sheet.list() {
            let Some(channel) = Channel::of_entry(target?.0) else { continue };
            let candidates = sheet.entry(&channel.entry())?.candidates;
            for (index, candidate) in candidates.iter().enumerate() {
                // After a rollback an image is that of two releases, and devices take the newer one.
                let again = candidates[..index].iter().any(|above| above.image == candidate.image);
                if again || !names.iter().any(|name| *name == Request::image(candidate).path.as_str()) {
                    continue;
                }
                releases.push(replay_release(files, &player, &channel, candidate, &candidates[..index])?);
                let image = &candidate.image;
                let target = Target { sha256: Hex(&image.sha256).to_string(), length: image.length };
                let target = (image.path.to_string(), target);
                if !targets.contains(&target) {
                    targets.push(target);
                }
            }
        }
    }
    if releases.is_empty() {
        return Err(Rejected::NothingInBundle { path: bundle_path }.into());
    }
    Ok(verify::Report { first_root, roles, releases, targets })
}

/// Plays the device that is due for this candidate, early in its rollout.
fn replay_release(
    files: &mut Files<'_>,
    player: &Rehearsal<'_>,
    channel: &Channel,
    candidate: &Candidate,
    above: &[Candidate],
) -> Result<verify::Release, Error> {
    let version = candidate.version.to_string();
    let banned = banned_above(candidate, above);
    let (id, turn) = first_in_line(candidate);
    let not_before = (turn > player.now).then_some(turn);
    let player = Rehearsal { now: player.now.max(turn), ..*player };
    let goal = Goal::Release(due(channel, candidate, &banned, &id));
    match player.cycle(files, &mut player.trusted()?, goal)? {
        End::Install(installed, _) if *installed == *candidate => {
            let (channel, sequence) = (channel.clone(), candidate.sequence);
            Ok(verify::Release { channel, sequence, version, not_before, halted: false })
        }
        End::Halted => {
            let why = "the timestamp halts it; have a bundle written with a repair";
            Err(Rejected::NotInstalled { channel: channel.to_string(), version, why }.into())
        }
        _ => {
            let why = "another file has another entry for it; have the bundle written again";
            Err(Rejected::NotInstalled { channel: channel.to_string(), version, why }.into())
        }
    }
}
