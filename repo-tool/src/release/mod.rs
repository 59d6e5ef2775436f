//! Releases: which images there are, and which of them the devices of a channel may go to.
//!
//! | module | knows |
//! |---|---|
//! | this one | where a release lies among the targets, and how a new one comes there |
//! | [`change`] | what becomes of it: promoted, rolled out, paused, withdrawn, rolled back |
//! | [`list`](mod@list) | what there is, published and staged |
//! | [`prune`](mod@prune) | images that no channel lists any more |
//! | [`lines`] | many new ones at once |

pub mod change;
pub mod lines;
pub mod list;
pub mod prune;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use tuffet_client::limits::CANDIDATES;
use tuffet_client::release::{Candidate, Hex, Image, Rollout, is_path, is_version};
use tuffet_keys::date;
use tuffet_keys::review::salt;

use crate::author::Target;
use crate::config::{Config, check_name};
use crate::document::Listed;
use crate::repository::{Workspace, successor};
use crate::staging::{Draft, Mode, Stage};
use crate::storage::{Content, Unwatched};
use crate::store::{Directory, Store as _};
use crate::{Error, Misuse, Rejected, image};

/// A release as a person asks for it. What can be derived is not here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Release {
    /// The image file; its name becomes the last part of the target path.
    pub image: PathBuf,
    /// Whose devices get it.
    pub place: Wanted,
    /// The version, for people; the directory of the image's target path. None: what an image of MCUboot's says.
    pub version: Option<String>,
    /// The image's security counter; without one what it says itself, else that of the channel's newest release.
    pub counter: Option<u32>,
    /// The lowest installed sequence from which a device may go to it; 0 for any.
    pub minimum: u32,
    /// Who gets it when; without one everybody, at once.
    pub rollout: Option<Ramp>,
    /// Its version may be lower than one that the channel has.
    pub older: bool,
}

/// A channel as a person names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The product; none if the hardware id says it.
    pub product: Option<String>,
    /// The hardware id, one of `tuffet.toml`.
    pub hardware: String,
    /// The channel.
    pub channel: String,
}

/// A channel of a product's hardware: `PRODUCT/HARDWARE/CHANNEL`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Channel {
    /// The product.
    pub product: String,
    /// The hardware id.
    pub hardware: String,
    /// The channel's name.
    pub name: String,
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
    /// Its channel.
    pub channel: Channel,
    /// The target path of the image.
    pub path: String,
    /// Its digest and length.
    pub image: Target,
    /// The release's place in the order of releases.
    pub sequence: u32,
    /// The version.
    pub version: String,
    /// The security counter.
    pub counter: u32,
    /// What whoever releases the image should know, each a sentence.
    pub remarks: Vec<String>,
    /// The release that fell off the end of the channel's list.
    pub dropped: Option<u32>,
    /// Whether the channel's newest release was this very one already.
    pub known: bool,
}

impl core::fmt::Display for Channel {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let Channel { product, hardware, name } = self;
        write!(f, "{product}/{hardware}/{name}")
    }
}

impl Channel {
    /// The channel that somebody means.
    ///
    /// # Errors
    /// A product, hardware id or channel that the policy does not know, or a name that none can have.
    pub fn find(config: &Config, Wanted { product, hardware, channel }: &Wanted) -> Result<Channel, Error> {
        check_name("hardware id", hardware)?;
        let (product, _) = config.find(product.as_deref(), hardware)?;
        if channel == VERSIONS {
            let allowed = "another name, for this is the directory of images";
            return Err(Misuse::BadName { what: "channel", text: VERSIONS.to_owned(), allowed }.into());
        }
        config.check_channel(product, channel)?;
        Ok(Channel { product: product.to_owned(), hardware: hardware.clone(), name: channel.clone() })
    }

    /// The target path of the channel's release entry.
    #[must_use]
    pub fn entry(&self) -> String {
        format!("{self}/release")
    }

    /// The path of a release entry, taken apart.
    #[must_use]
    pub fn of_entry(path: &str) -> Option<Channel> {
        let [product, hardware, name, "release"] = path.split('/').collect::<Vec<_>>()[..] else {
            return None;
        };
        let text = str::to_owned;
        Some(Channel { product: text(product), hardware: text(hardware), name: text(name) })
    }

    /// `PRODUCT/HARDWARE/versions/VERSION/`, where the image of a version is.
    fn versions(&self, version: &str) -> String {
        let Channel { product, hardware, .. } = self;
        format!("{product}/{hardware}/{VERSIONS}/{version}/")
    }

    /// Every channel of the same hardware that has releases or that the policy names, and its entry: a device that moves
    /// from one to another must not meet a sequence twice.
    pub(crate) fn siblings(
        &self,
        stage: &mut Stage<'_>,
        config: &Config,
    ) -> Result<Vec<(Channel, Listed)>, Error> {
        let Channel { product, hardware, .. } = self;
        let known = config.products.get(product);
        let mut names: Vec<String> = known.map(|product| product.channels.clone()).unwrap_or_default();
        let prefix = format!("{product}/{hardware}/");
        // One that the policy no longer names has given sequences, too. Of bins only one is looked into: with them the
        // policy must name the channels.
        let sheet = &stage.state_of(&self.entry())?.sheet;
        for channel in sheet.below(&prefix).filter_map(Channel::of_entry) {
            if !names.contains(&channel.name) {
                names.push(channel.name);
            }
        }
        if !self.name.is_empty() && !names.contains(&self.name) {
            names.push(self.name.clone());
        }
        let mut siblings = Vec::new();
        for name in names {
            let channel = Channel { name, ..self.clone() };
            let listed = stage.entry(&channel.entry())?;
            siblings.push((channel, listed));
        }
        Ok(siblings)
    }
}

/// What was staged together, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Added {
    /// The releases, in the order in which they were given.
    pub releases: Vec<Staged>,
    /// The requests that were written; none if every release was there already.
    pub drafts: Vec<Draft>,
}

/// Stages a release at `now` (seconds since 1970).
///
/// # Errors
/// What is wrong with the release, or an I/O failure. Nothing is staged then.
pub fn add(workspace: &Workspace, release: &Release, now: u64, mode: Mode) -> Result<Staged, Error> {
    // As many as were given.
    Ok(add_all(workspace, core::slice::from_ref(release), now, mode)?.releases.swap_remove(0))
}

/// Stages releases at `now` (seconds since 1970), one after the other, and drafts each role that they change once.
///
/// # Errors
/// What is wrong with the first release with which something is wrong, or an I/O failure. Nothing is staged then.
pub fn add_all(workspace: &Workspace, releases: &[Release], now: u64, mode: Mode) -> Result<Added, Error> {
    let config = workspace.config();
    let mut batch = Batch {
        stage: Stage::open(workspace)?,
        config,
        lists: BTreeMap::new(),
        images: BTreeMap::new(),
        changed: BTreeSet::new(),
        copies: Vec::new(),
    };
    let added = releases.iter().map(|release| batch.add(release, now)).collect::<Result<_, _>>()?;
    let mut added = Added { releases: added, drafts: Vec::new() };
    for (channel, listed) in batch.lists.values().flatten() {
        if batch.changed.contains(channel) {
            batch.stage.changes_of(&channel.entry()).put_entry(&channel.entry(), listed)?;
        }
    }
    if mode == Mode::DryRun {
        added.drafts = batch.stage.finish(now, mode)?;
        return Ok(added);
    }
    // The images first: a request never names an image that is not staged. One that no request comes to name is thrown
    // away with the next publication.
    let drafts = batch.stage.drafts(now)?;
    stage_images(&workspace.staged(), batch.copies)?;
    for (request, draft) in drafts {
        request.write(&draft.path)?;
        added.drafts.push(draft);
    }
    Ok(added)
}

/// Releases that are staged together: each sees what those before it change.
struct Batch<'w> {
    stage: Stage<'w>,
    config: &'w Config,
    /// The channels of a product's hardware, and their lists with what was added.
    lists: BTreeMap<(String, String), Vec<(Channel, Listed)>>,
    /// New images by their target paths.
    images: BTreeMap<String, Target>,
    /// Channels whose lists were changed.
    changed: BTreeSet<Channel>,
    /// Image files to stage, and their digests.
    copies: Vec<(PathBuf, [u8; 32])>,
}

impl Batch<'_> {
    fn add(&mut self, release: &Release, now: u64) -> Result<Staged, Error> {
        let channel = Channel::find(self.config, &release.place)?;
        // Names first: to look at them costs nothing.
        image_path(&channel, release.version.as_deref().unwrap_or("0"), &release.image)?;
        let found = examine(self.config, &channel.product, &channel.hardware, &release.image)?;
        let says = agreed(&release.image, "version", found.version.as_ref(), release.version.as_ref())?;
        let Some(version) = says else {
            let why = "the image does not say its version, so that --version must be given";
            return Err(Misuse::Options { why }.into());
        };
        let given = agreed(&release.image, "counter", found.counter.as_ref(), release.counter.as_ref())?;
        let new_path = image_path(&channel, &version, &release.image)?;

        let length = found.length.try_into().unwrap_or(u32::MAX);
        let image = Target { sha256: Hex(&found.sha256).to_string(), length };
        let (newest, mut listed) = self.listed(&channel)?;
        let path = self.taken_path(&channel, &version, &new_path, &image)?.unwrap_or(new_path);
        let counter = given.unwrap_or(listed.counter);
        let candidate = Candidate {
            sequence: successor(newest)?,
            counter,
            minimum: release.minimum,
            version: fixed(&version)?,
            image: Image { path: fixed(&path)?, length, sha256: found.sha256 },
            rollout: release.rollout.map(|ramp| ramp.of(&channel, newest.saturating_add(1))),
        };
        let sequence = candidate.sequence;
        let mut staged = Staged {
            channel: channel.clone(),
            path: path.clone(),
            image: image.clone(),
            sequence,
            version: version.clone(),
            counter,
            remarks: found.remarks(),
            dropped: None,
            known: false,
        };

        let taken = listed.candidates.iter().position(|other| other.version == candidate.version);
        if let Some(index) = taken {
            let other = &listed.candidates[index];
            if index > 0 || !same_terms(other, &candidate) {
                let channel = channel.name;
                return Err(Rejected::VersionReleased { version, channel, sequence: other.sequence }.into());
            }
            // What was staged may have been lost since.
            if self.stage.state_of(&path)?.pending.is_some() {
                self.copies.push((release.image.clone(), found.sha256));
            }
            return Ok(Staged { sequence: other.sequence, known: true, ..staged });
        }
        listed.check_counter(&version, counter)?;
        let newest =
            listed.candidates.iter().find(|other| !release.older && is_older(&version, &other.version));
        if let Some(newest) = newest {
            let (newest, channel) = (newest.version.to_string(), channel.to_string());
            return Err(Rejected::VersionBackwards { version, newest, channel }.into());
        }
        if release.minimum >= sequence {
            return Err(Rejected::MinimumTooHigh { minimum: release.minimum, sequence }.into());
        }
        release.rollout.map_or(Ok(()), |ramp| ramp.check(now))?;

        let before = listed.counter;
        if counter > before && !listed.candidates.is_empty() {
            staged.remarks.push(format!(
                "its security counter is {counter}, after {before}: once confirmed, no device goes below it again"
            ));
        }
        staged.dropped = listed.add(candidate);
        let minimum = listed.candidates.iter().map(|candidate| candidate.minimum).min().unwrap_or(0);
        if minimum > 0 {
            staged.remarks.push(format!(
                "devices that run a release below {minimum}, or came without one, find nothing for them in {channel}"
            ));
        }
        self.stage.changes_of(&path).put_file(&path, &image);
        self.images.insert(path, image);
        self.copies.push((release.image.clone(), found.sha256));
        if let Some((_, list)) = self.siblings(&channel)?.iter_mut().find(|(other, _)| *other == channel) {
            *list = listed;
        }
        self.changed.insert(channel);
        Ok(staged)
    }

    /// The highest sequence that any channel of the hardware ever had, and the list of this channel.
    fn listed(&mut self, channel: &Channel) -> Result<(u32, Listed), Error> {
        let siblings = self.siblings(channel)?;
        let newest = siblings.iter().map(|(_, listed)| listed.newest).max().unwrap_or(0);
        let listed = siblings.iter().find(|(other, _)| other == channel);
        Ok((newest, listed.map(|(_, listed)| listed.clone()).unwrap_or_default()))
    }

    /// The channels of the same hardware, this one among them, read once.
    fn siblings(&mut self, channel: &Channel) -> Result<&mut Vec<(Channel, Listed)>, Error> {
        let hardware = (channel.product.clone(), channel.hardware.clone());
        if !self.lists.contains_key(&hardware) {
            let siblings = channel.siblings(&mut self.stage, self.config)?;
            self.lists.insert(hardware.clone(), siblings);
        }
        let siblings = self.lists.entry(hardware).or_default();
        if !siblings.iter().any(|(other, _)| other == channel) {
            siblings.push((channel.clone(), self.stage.entry(&channel.entry())?));
        }
        Ok(siblings)
    }

    /// The path under which the version is a target already: it is for these bytes alone.
    fn taken_path(
        &mut self,
        channel: &Channel,
        version: &str,
        new_path: &str,
        image: &Target,
    ) -> Result<Option<String>, Error> {
        let directory = channel.versions(version);
        let listed = self.siblings(channel)?.iter().flat_map(|(_, listed)| &listed.candidates);
        let mut paths: Vec<String> = listed.map(|candidate| candidate.image.path.to_string()).collect();
        paths.retain(|path| path.starts_with(&directory));
        // In bins another file name would be elsewhere, and is not looked for.
        paths.extend(self.stage.state_of(new_path)?.sheet.below(&directory).map(str::to_owned));
        let new = self.images.range(directory.clone()..).map(|(path, _)| path);
        paths.extend(new.take_while(|path| path.starts_with(&directory)).cloned());
        for path in paths {
            let target = match self.images.get(&path) {
                Some(target) => Some(target.clone()),
                None => self.stage.state_of(&path)?.sheet.target(&path)?,
            };
            match target {
                Some(target) if target == *image => return Ok(Some(path)),
                Some(_) => return Err(Rejected::VersionTaken { version: version.to_owned(), path }.into()),
                None => {}
            }
        }
        Ok(None)
    }
}

impl Listed {
    /// Whether an image with this counter can follow.
    fn check_counter(&self, version: &str, offered: u32) -> Result<(), Error> {
        match self.counter {
            newest if offered < newest => {
                Err(Rejected::CounterDrops { version: version.to_owned(), offered, newest }.into())
            }
            _ => Ok(()),
        }
    }

    /// Puts a candidate before all others. Gives the sequence of the one that no longer has room.
    fn add(&mut self, candidate: Candidate) -> Option<u32> {
        self.newest = self.newest.max(candidate.sequence);
        self.counter = self.counter.max(candidate.counter);
        self.candidates.insert(0, candidate);
        let dropped = self.candidates.get(CANDIDATES).map(|oldest| oldest.sequence);
        self.candidates.truncate(CANDIDATES);
        dropped
    }
}

impl Ramp {
    /// The ramp of a channel's release.
    fn of(self, channel: &Channel, sequence: u32) -> Rollout {
        let Ramp { start, end } = self;
        Rollout { start, end, salt: salt(&channel.entry(), sequence) }
    }

    fn check(self, now: u64) -> Result<(), Error> {
        let Ramp { start, end } = self;
        if end <= start {
            return Err(Misuse::BadRollout { why: "the rollout does not end after its start" }.into());
        }
        if end <= now {
            return Err(Misuse::BadRollout { why: "the rollout is over already" }.into());
        }
        Ok(())
    }
}

/// Who gets a release, as "everybody", "37 % now, everybody in 5 days", "paused". `now` is in seconds since 1970.
#[must_use]
pub fn ramp_words(candidate: &Candidate, now: u64) -> String {
    let Some(rollout) = candidate.rollout else { return "everybody".to_owned() };
    if change::is_paused(candidate) {
        return "paused".to_owned();
    }
    let (start, end) = (rollout.start, rollout.end);
    if now >= end {
        return "everybody".to_owned();
    }
    if now < start {
        let (first, last) = (date::distance(start, now), date::distance(end, now));
        return format!("nobody yet, the first {first}, everybody {last}");
    }
    let share = (now - start).saturating_mul(100) / (end - start).max(1);
    format!("{share} % now, everybody {}", date::distance(end, now))
}

/// The directory of images beside those of channels.
const VERSIONS: &str = "versions";

/// The target path of a new image.
fn image_path(channel: &Channel, version: &str, image: &Path) -> Result<String, Error> {
    let allowed = "1 to 32 letters, digits, dots, underscores, hyphens and plus signs, no dot first";
    check_segment("version", version, allowed)?;
    if !is_version(version) {
        return Err(Misuse::BadName { what: "version", text: version.to_owned(), allowed }.into());
    }
    let file = image.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let allowed =
        "letters, digits, dots, underscores, hyphens and plus signs, no dot first, 160 bytes of path";
    check_segment("image's file name", &file, allowed)?;
    let path = format!("{}{file}", channel.versions(version));
    if !is_path(&path) {
        return Err(Misuse::BadName { what: "image's file name", text: file, allowed }.into());
    }
    Ok(path)
}

/// Characters that need no escape in a URL, a shell or a file name.
fn check_segment(what: &'static str, text: &str, allowed: &'static str) -> Result<(), Error> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-' | b'+');
    if !text.is_empty() && !text.starts_with('.') && text.bytes().all(plain) {
        return Ok(());
    }
    Err(Misuse::BadName { what, text: text.to_owned(), allowed }.into())
}

/// Reads an image through, and holds it against the slot of its hardware.
pub(crate) fn examine(
    config: &Config,
    product: &str,
    hardware: &str,
    path: &Path,
) -> Result<image::Image, Error> {
    let slot_size = config.find(Some(product), hardware)?.1.slot_size;
    let length = std::fs::metadata(path).map_err(|error| Error::io("read", path, &error))?.len();
    if length > slot_size.into() {
        let (image, hardware) = (path.to_owned(), hardware.to_owned());
        return Err(Rejected::ImageTooLarge { image, length, hardware, slot_size }.into());
    }
    image::read(path)
}

/// What the image says, unless the command says otherwise; none if neither says anything.
fn agreed<T: PartialEq + ToString + Clone>(
    image: &Path,
    what: &'static str,
    says: Option<&T>,
    given: Option<&T>,
) -> Result<Option<T>, Error> {
    match (says, given) {
        (Some(says), Some(given)) if says != given => {
            let (says, given) = (says.to_string(), given.to_string());
            Err(Rejected::ImageSays { image: image.to_owned(), what, says, given }.into())
        }
        (says, given) => Ok(says.or(given).cloned()),
    }
}

fn same_terms(one: &Candidate, other: &Candidate) -> bool {
    let ramp = |candidate: &Candidate| candidate.rollout.map(|rollout| (rollout.start, rollout.end));
    one.image == other.image
        && (one.counter, one.minimum) == (other.counter, other.minimum)
        && ramp(one) == ramp(other)
}

/// Whether one version is below another, where both are numbers between dots: what follows them says nothing of order.
fn is_older(version: &str, other: &str) -> bool {
    let numbers = |version: &str| {
        let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
        version.get(..end)?.split('.').map(|part| part.parse::<u64>().ok()).collect::<Option<Vec<_>>>()
    };
    numbers(version).zip(numbers(other)).is_some_and(|(one, other)| one < other)
}

/// A text in the fixed room that devices have for it.
fn fixed<'a, T: TryFrom<&'a str>>(text: &'a str) -> Result<T, Error> {
    // Lengths were checked with the names.
    T::try_from(text).map_err(|_| tuffet_client::Error::from(tuffet_client::Misuse::Name).into())
}

/// Copies images to where they wait, flushed together.
fn stage_images(staged: &Path, copies: Vec<(PathBuf, [u8; 32])>) -> Result<(), Error> {
    if copies.is_empty() {
        return Ok(());
    }
    let content = |(path, sha256): (PathBuf, [u8; 32])| {
        (format!("images/{}", Hex(&sha256)), Content::File { path, sha256, given: None })
    };
    let files: Vec<(String, Content)> = copies.into_iter().map(content).collect();
    Directory::new(staged).create(&files, &mut Unwatched).map_err(|error| match error {
        Error::Rejected(Rejected::Damaged { path, .. })
            if files.iter().any(
                |(_, content)| matches!(content, Content::File { path: image, .. } if *image == path),
            ) =>
        {
            Rejected::ImageChanged { image: path }.into()
        }
        error => error,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::storage::hash_file;

    #[test]
    fn image_that_changes_while_it_is_read_is_refused_and_not_staged() {
        let directory = tempfile::tempdir().unwrap();
        let (image, waiting) = (directory.path().join("fw.bin"), directory.path().join("staged"));
        fs::write(&image, "one").unwrap();
        let found = hash_file(&image).unwrap();
        fs::write(&image, "two").unwrap();
        let staged = waiting.join(format!("images/{}", Hex(&found.sha256)));
        let stage = || stage_images(&waiting, vec![(image.clone(), found.sha256)]);
        let refused = stage();
        assert_eq!(refused, Err(Rejected::ImageChanged { image: image.clone() }.into()));
        assert!(!staged.exists());
        fs::write(&image, "one").unwrap();
        stage().unwrap();
        assert_eq!(fs::read(&staged).unwrap(), b"one");
    }
}
