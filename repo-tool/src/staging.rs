//! What will be published next: images, and the targets metadata that key holders are asked to sign.
//!
//! Several releases before a publication make one request. Each new draft drops the signatures that the one
//! before it had, for they are over other bytes.

use std::path::{Path, PathBuf};

use tuffet_client::limits::CANDIDATES;
use tuffet_client::release::{Candidate, Hex, Image, Rollout, is_path, is_version};
use tuffet_keys::Role;
use tuffet_keys::request::Request;
use tuffet_keys::review::salt;
use tuffet_keys::root::RoleKeys;

use crate::author::{Dates, Target, Targets};
use crate::config::{Config, check_name};
use crate::repository::{Published, Roots, Workspace, check_issued, successor};
use crate::storage::{Content, Summary, Unwatched, Writer, hash_file};
use crate::{Environment, Error, Misuse, Rejected, verify};

/// A release as a person asks for it. What can be derived is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The image file; its name becomes the last part of the target path.
    pub image: PathBuf,
    /// The hardware id, one of `tuffet.toml`.
    pub hardware: String,
    /// The channel.
    pub channel: String,
    /// The version, for people; the directory of the image's target path.
    pub version: String,
    /// The image's security counter; without one that of the channel's newest release.
    pub counter: Option<u32>,
    /// The lowest installed sequence from which a device may go to it; 0 for any.
    pub minimum: u32,
    /// Who gets it when; without one everybody, at once.
    pub rollout: Option<Ramp>,
}

/// A rollout's start and end, in seconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ramp {
    /// The first device may have it from here on.
    pub start: u64,
    /// Every device may have it from here on.
    pub end: u64,
}

/// A release that was staged, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Staged {
    /// The target path of the image.
    pub path: String,
    /// Its digest and length.
    pub image: Target,
    /// The release's place in the order of releases.
    pub sequence: u32,
    /// The security counter.
    pub counter: u32,
    /// The release that fell off the end of the channel's list.
    pub dropped: Option<u32>,
    /// The request that was written; none if the channel's newest release is this very one already.
    pub draft: Option<Draft>,
}

/// A request for signatures over targets metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The request's file.
    pub path: PathBuf,
    /// The version of the targets metadata.
    pub version: u32,
    /// When they expire, in seconds since 1970.
    pub expires: u64,
    /// How many keys must sign.
    pub threshold: u32,
    /// Signatures that an earlier draft had, and that must be given again.
    pub dropped_signatures: usize,
}

/// A root that was staged, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StagedRoot {
    /// Its version.
    pub version: u32,
    /// Whether it was known before.
    pub known: bool,
    /// The targets request that was drafted because the root changes who signs them.
    pub draft: Option<Draft>,
}

/// Whether a command writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It does what it says.
    Write,
    /// It says what it would do.
    DryRun,
}

/// Stages a release at `now` (seconds since 1970).
///
/// # Errors
/// What is wrong with the release, or an I/O failure. Nothing is staged then.
pub fn release(workspace: &Workspace, release: &Release, now: u64, mode: Mode) -> Result<Staged, Error> {
    let names = Names::of(workspace, release)?;
    let found = examine(workspace.config(), &release.hardware, &release.image)?;
    let _lock = workspace.lock()?;
    let state = State::read(workspace)?;
    let mut targets = state.targets()?;

    let sha256 = Hex(&found.sha256).to_string();
    let length = found.length.try_into().unwrap_or(u32::MAX);
    let image = Target { sha256, length };
    let path = image_path(&targets, &names, release, &image)?;
    let mut candidates = targets.candidates(&names.entry)?;
    let sequence = successor(newest_sequence(&targets, &names)?)?;
    let newest_counter = candidates.iter().map(|candidate| candidate.counter).max().unwrap_or(0);
    let counter = release.counter.unwrap_or(newest_counter);
    let candidate = Candidate {
        sequence,
        counter,
        minimum: release.minimum,
        version: fixed(&release.version)?,
        image: Image { path: fixed(&path)?, length, sha256: found.sha256 },
        rollout: release.rollout.map(|Ramp { start, end }| Rollout {
            start,
            end,
            salt: salt(&names.entry, sequence),
        }),
    };

    let taken = candidates.iter().position(|other| other.version == candidate.version);
    if let Some(index) = taken {
        let other = &candidates[index];
        if index > 0 || !same_terms(other, &candidate) {
            let (version, channel) = (release.version.clone(), release.channel.clone());
            return Err(Rejected::VersionReleased { version, channel, sequence: other.sequence }.into());
        }
        let sequence = other.sequence;
        // What was staged may have been lost since.
        if mode == Mode::Write && state.pending.is_some() {
            stage_image(&workspace.staged_image(&image.sha256), &release.image, found.sha256)?;
        }
        return Ok(Staged { path, image, sequence, counter, dropped: None, draft: None });
    }
    if counter < newest_counter {
        return Err(Rejected::CounterDrops { offered: counter, newest: newest_counter }.into());
    }
    if release.minimum >= sequence {
        return Err(Rejected::MinimumTooHigh { minimum: release.minimum, sequence }.into());
    }
    check_ramp(release.rollout, now)?;

    candidates.insert(0, candidate);
    let dropped = candidates.get(CANDIDATES).map(|oldest| oldest.sequence);
    targets.insert(&path, &image);
    targets.put_candidates(&names.entry, &candidates)?;
    let (request, draft) = state.draft(workspace, &targets, now)?;
    if mode == Mode::Write {
        // The image first: a request never names an image that is not staged.
        stage_image(&workspace.staged_image(&image.sha256), &release.image, found.sha256)?;
        request.write(&workspace.request_path())?;
    }
    Ok(Staged { path, image, sequence, counter, dropped, draft: Some(draft) })
}

/// Drafts the next targets metadata without a new release: a later expiry, the keys of the newest root.
///
/// # Errors
/// [`Rejected::NothingStaged`] if there are no targets yet, or an I/O failure.
pub fn renew(workspace: &Workspace, now: u64, mode: Mode) -> Result<Draft, Error> {
    let _lock = workspace.lock()?;
    let state = State::read(workspace)?;
    if state.published.is_none() && state.pending.is_none() {
        return Err(Rejected::NothingStaged.into());
    }
    let (request, draft) = state.draft(workspace, &state.targets()?, now)?;
    if mode == Mode::Write {
        request.write(&workspace.request_path())?;
    }
    Ok(draft)
}

/// Stages the next root. If it changes who signs targets, these are drafted anew.
///
/// # Errors
/// What is wrong with the root, [`Rejected::ImmutableDiffers`] for another root of a version that is there
/// already, or an I/O failure.
pub fn add_root(workspace: &Workspace, file: &Path, now: u64, mode: Mode) -> Result<StagedRoot, Error> {
    let root = tuffet_keys::file::read(file)?;
    let _lock = workspace.lock()?;
    let mut state = State::read(workspace)?;
    let mut files = state.roots.chain.files().to_vec();
    if let Some(index) = files.iter().position(|known| *known == root) {
        let version = u32::try_from(index + 1).unwrap_or(u32::MAX);
        return Ok(StagedRoot { version, known: true, draft: None });
    }
    let before = state.roots.keys(Role::Targets).clone();
    files.push(root.clone());
    state.roots = Roots::verify(&files, state.roots.published).map_err(|error| error.in_file(file))?;
    check_issued(&state.roots.newest().header, now)?;
    verify::replay_roots(&files, now)?;

    let version = state.roots.version();
    let signed_anew =
        before != *state.roots.keys(Role::Targets) && (state.published.is_some() || state.pending.is_some());
    let drafted = match signed_anew {
        true => Some(state.draft(workspace, &state.targets()?, now)?),
        false => None,
    };
    if mode == Mode::Write {
        let content = Content::Bytes(root);
        Writer::new(&mut Unwatched).create(&workspace.staged_root(version), &content)?;
        if let Some((request, _)) = &drafted {
            request.write(&workspace.request_path())?;
        }
    }
    Ok(StagedRoot { version, known: false, draft: drafted.map(|(_, draft)| draft) })
}

/// What is published and staged when a command starts.
struct State {
    roots: Roots,
    published: Option<Published>,
    pending: Option<Request>,
}

impl State {
    fn read(workspace: &Workspace) -> Result<State, Error> {
        let roots = workspace.roots()?;
        let published = workspace.published()?;
        let pending = workspace.pending(published.as_ref())?;
        Ok(State { roots, published, pending })
    }

    /// What the next draft starts from: the staged one, else what is published, else nothing.
    fn targets(&self) -> Result<Targets, Error> {
        let pending = self.pending.as_ref().map(Request::signed);
        let published = self.published.as_ref().map(|published| published.targets.signed());
        let Some(signed) = pending.or(published) else { return Ok(Targets::empty()) };
        let damaged =
            || tuffet_keys::Rejected::WrongField { field: "targets".to_owned(), expected: "an object" };
        Ok(Targets::from_signed(signed).ok_or_else(|| tuffet_keys::Error::from(damaged()))?)
    }

    fn draft(&self, workspace: &Workspace, targets: &Targets, now: u64) -> Result<(Request, Draft), Error> {
        let version = workspace.next_version(Role::Targets)?;
        let expires = workspace.config().lifetimes.targets.after(now)?;
        let signed = targets.signed(version, Dates { issued: now, expires });
        let request = Request::draft(Role::Targets, &signed, self.roots.chain.files())?;
        let RoleKeys { threshold, .. } = *self.roots.keys(Role::Targets);
        let given = self.pending.iter().flat_map(Request::state).map(|progress| progress.signed.len());
        let draft = Draft {
            path: workspace.request_path(),
            version,
            expires,
            threshold,
            dropped_signatures: given.max().unwrap_or(0),
        };
        Ok((request, draft))
    }
}

/// Where a release lies among the targets.
struct Names {
    /// `PRODUCT/HARDWARE/`, which all targets of that hardware share.
    hardware: String,
    /// `PRODUCT/HARDWARE/versions/VERSION/`.
    version: String,
    /// `PRODUCT/HARDWARE/CHANNEL/release`.
    entry: String,
    /// The image's file name.
    file: String,
}

impl Names {
    fn of(workspace: &Workspace, release: &Release) -> Result<Names, Error> {
        check_name("hardware id", &release.hardware)?;
        check_name("channel", &release.channel)?;
        if release.channel == VERSIONS {
            let allowed = "another name, for this is the directory of images";
            return Err(Misuse::BadName { what: "channel", text: VERSIONS.to_owned(), allowed }.into());
        }
        let allowed = "1 to 32 letters, digits, dots, underscores, hyphens and plus signs, no dot first";
        check_segment("version", &release.version, allowed)?;
        if !is_version(&release.version) {
            return Err(Misuse::BadName { what: "version", text: release.version.clone(), allowed }.into());
        }
        let file =
            release.image.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let allowed =
            "letters, digits, dots, underscores, hyphens and plus signs, no dot first, 160 bytes of path";
        check_segment("image's file name", &file, allowed)?;
        let hardware = format!("{}/{}/", workspace.config().product, release.hardware);
        let version = format!("{hardware}{VERSIONS}/{}/", release.version);
        let entry = format!("{hardware}{}/release", release.channel);
        if !is_path(format!("{version}{file}")) {
            return Err(Misuse::BadName { what: "image's file name", text: file, allowed }.into());
        }
        Ok(Names { hardware, version, entry, file })
    }
}

/// The directory of images beside those of channels.
const VERSIONS: &str = "versions";

/// Characters that need no escape in a URL, a shell or a file name.
fn check_segment(what: &'static str, text: &str, allowed: &'static str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+');
    if !text.is_empty() && !text.starts_with('.') && text.bytes().all(plain) {
        return Ok(());
    }
    Err(Misuse::BadName { what, text: text.to_owned(), allowed }.into())
}

/// Reads an image through, and holds it against the slot of its hardware.
pub(crate) fn examine(config: &Config, hardware: &str, image: &Path) -> Result<Summary, Error> {
    let slot_size = config.hardware(hardware)?.slot_size;
    let image = image.to_owned();
    let metadata = std::fs::metadata(&image).map_err(|error| Error::io("read", &image, &error))?;
    if !metadata.is_file() {
        // A pipe or a device could not be read twice, and may never end.
        let message = "it is no regular file".to_owned();
        return Err(Environment::Io { what: "read", path: image, message }.into());
    }
    match metadata.len() {
        0 => Err(Rejected::ImageEmpty { image }.into()),
        length if length > slot_size.into() => {
            let hardware = hardware.to_owned();
            Err(Rejected::ImageTooLarge { image, length, hardware, slot_size }.into())
        }
        length => {
            let summary = hash_file(&image)?;
            if summary.length == length { Ok(summary) } else { Err(Rejected::ImageChanged { image }.into()) }
        }
    }
}

/// The path under which these bytes are, or will be, a target.
fn image_path(targets: &Targets, names: &Names, release: &Release, image: &Target) -> Result<String, Error> {
    let listed = targets.list()?;
    match listed.iter().find(|(path, _)| path.starts_with(&names.version)) {
        None => Ok(format!("{}{}", names.version, names.file)),
        Some((path, target)) if target == image => Ok((*path).to_owned()),
        Some((path, _)) => {
            let (version, path) = (release.version.clone(), (*path).to_owned());
            Err(Rejected::VersionTaken { version, path }.into())
        }
    }
}

/// The highest sequence of the hardware, in any channel: a device that moves from one channel to another must
/// not meet a number twice.
fn newest_sequence(targets: &Targets, names: &Names) -> Result<u32, Error> {
    let mut newest = 0;
    for (path, _) in targets.list()? {
        let channel = path.strip_prefix(&names.hardware).and_then(|rest| rest.strip_suffix("/release"));
        if channel.is_some_and(|channel| !channel.contains('/')) {
            let candidates = targets.candidates(path)?;
            newest = candidates.iter().map(|candidate| candidate.sequence).fold(newest, u32::max);
        }
    }
    Ok(newest)
}

fn same_terms(one: &Candidate, other: &Candidate) -> bool {
    let ramp = |candidate: &Candidate| candidate.rollout.map(|rollout| (rollout.start, rollout.end));
    one.image == other.image
        && (one.counter, one.minimum) == (other.counter, other.minimum)
        && ramp(one) == ramp(other)
}

fn check_ramp(ramp: Option<Ramp>, now: u64) -> Result<(), Error> {
    match ramp {
        Some(Ramp { start, end }) if end <= start => {
            Err(Misuse::BadRollout { why: "the rollout does not end after its start" }.into())
        }
        Some(Ramp { end, .. }) if end <= now => {
            Err(Misuse::BadRollout { why: "the rollout is over already" }.into())
        }
        _ => Ok(()),
    }
}

/// A text in the fixed room that devices have for it.
fn fixed<'a, T: TryFrom<&'a str>>(text: &'a str) -> Result<T, Error> {
    // Lengths were checked with the names.
    T::try_from(text).map_err(|_| tuffet_client::Error::from(tuffet_client::Misuse::Name).into())
}

fn stage_image(staged: &Path, image: &Path, sha256: [u8; 32]) -> Result<(), Error> {
    let content = Content::File { path: image.to_owned(), sha256 };
    let stored = Writer::new(&mut Unwatched).create(staged, &content);
    stored.map(drop).map_err(|error| match error {
        Error::Rejected(Rejected::Damaged { path, .. }) if path == image => {
            Rejected::ImageChanged { image: path }.into()
        }
        error => error,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn image_that_changes_while_it_is_read_is_refused_and_not_staged() {
        let directory = tempfile::tempdir().unwrap();
        let (image, staged) = (directory.path().join("fw.bin"), directory.path().join("images/digest"));
        fs::write(&image, "one").unwrap();
        let found = hash_file(&image).unwrap();
        fs::write(&image, "two").unwrap();
        let refused = stage_image(&staged, &image, found.sha256);
        assert_eq!(refused, Err(Rejected::ImageChanged { image: image.clone() }.into()));
        assert!(!staged.exists());
        fs::write(&image, "one").unwrap();
        stage_image(&staged, &image, found.sha256).unwrap();
        assert_eq!(fs::read(&staged).unwrap(), b"one");
    }
}
