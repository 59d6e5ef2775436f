//! What one device does, now and later, and why.
//!
//! Now is no opinion: that very device is played through `tuffet-client` against the repository. What it does later is by
//! the same rule of choice, [`Candidate::verdict`], as if the metadata were signed again in time and nothing else were
//! published; each install is taken to succeed.

use std::collections::BTreeSet;

use tuffet_client::limits::DEVICE;
use tuffet_client::release::{Candidate, Hex, Verdict, is_path, read_entry};
use tuffet_client::{Device, Entry, Goal, Target, Trusted};
use tuffet_keys::Role;

use crate::config::check_name;
use crate::document::{Document, Listing};
use crate::release::{Channel, change::is_paused};
use crate::repository::{Workspace, target_name};
use crate::source::Source;
use crate::staging::Stage;
use crate::verify::{End, Files, Rehearsal};
use crate::{Error, Misuse, Rejected};

/// The device that is asked about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    /// The bytes of its id.
    pub id: Vec<u8>,
    /// Its product; none if the hardware id says it.
    pub product: Option<String>,
    /// Its hardware id.
    pub hardware: String,
    /// Its channel; none: all that there are.
    pub channel: Option<String>,
    /// What it runs.
    pub installed: Installed,
    /// Its security counter; none: that of what it runs.
    pub counter: Option<u32>,
    /// The moment that is asked about, in seconds since 1970.
    pub at: u64,
    /// The present, in seconds since 1970.
    pub now: u64,
}

impl Question {
    fn check_names(&self) -> Result<(), Error> {
        let names = [
            ("hardware id", Some(&self.hardware)),
            ("product", self.product.as_ref()),
            ("channel", self.channel.as_ref()),
        ];
        names.into_iter().filter_map(|(what, name)| Some(check_name(what, name?))).collect()
    }
}

/// What a device runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Installed {
    /// What it came with: sequence 0.
    Factory,
    /// The release of this sequence.
    Sequence(u32),
    /// The release of this version, or if there is none and it is a number, of that sequence.
    Version(String),
}

impl Installed {
    /// `factory`, `#7` for a sequence, else a version.
    #[must_use]
    pub fn parse(text: &str) -> Installed {
        let sequence = text.strip_prefix('#').and_then(|digits| digits.parse().ok());
        match (text, sequence) {
            ("factory", _) => Installed::Factory,
            (_, Some(sequence)) => Installed::Sequence(sequence),
            _ => Installed::Version(text.to_owned()),
        }
    }
}

/// What it does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The sequence that it runs.
    pub sequence: u32,
    /// The version of that, if a channel lists it.
    pub version: Option<String>,
    /// Its security counter.
    pub counter: u32,
    /// What it does in each channel.
    pub channels: Vec<InChannel>,
    /// Whether the device was played at that moment. Else the rule of choice alone was asked: nobody has signed what is
    /// staged, or what is signed will have expired by then.
    pub played: bool,
}

/// What it does in a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InChannel {
    /// The channel.
    pub channel: Channel,
    /// What it does now.
    pub now: Act,
    /// Each candidate, the newest first, and what keeps the device from it.
    pub candidates: Vec<Considered>,
    /// What it does later, in the order of time (seconds since 1970); the sequence that it then installs.
    pub later: Vec<(u64, u32)>,
}

/// What a device does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// It installs the release of this sequence.
    Install(u32),
    /// It would install the release of this sequence, and the timestamp halts that.
    Halted(u32),
    /// Nothing.
    Stay,
}

/// A candidate as this device sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Considered {
    /// The candidate.
    pub candidate: Candidate,
    /// What keeps the device from it, or that nothing does.
    pub verdict: Verdict,
    /// Whether the timestamp halts it.
    pub halted: bool,
    /// Of those with a ramp: the device is among the first so many percent, 1 to 100.
    pub share: Option<u64>,
}

/// Plays the device against a repository, from a root that it trusts.
///
/// # Errors
/// What the device says, [`Rejected::NoRelease`] and its like for what there is not, or whatever keeps a file from being
/// read.
pub fn play(source: &mut dyn Source, root: &[u8], question: &Question) -> Result<Answer, Error> {
    let mut files = Files::new(source);
    question.check_names()?;
    // What there is, is asked in the present: by another moment it may have expired.
    let rehearsal =
        Rehearsal { root, limits: &DEVICE, entry: Entry::Refresh, now: question.now.min(question.at) };
    let mut trusted = rehearsal.trusted()?;
    rehearsal.cycle(&mut files, &mut trusted, Goal::Metadata)?;
    let timestamp = files.document(&Role::Timestamp, 0)?.listing()?;
    let channels = entries(&rehearsal, &trusted, &mut files, &timestamp, question)?;
    let mut runs = Runs::of(question, &channels);
    let unknown = match &runs {
        Ok(runs) => runs.sequence > 0 && runs.version.is_none(),
        Err(error) => matches!(error, Error::Rejected(Rejected::NotListed { .. })),
    };
    if unknown && question.channel.is_some() {
        // It may have come by another channel.
        let all = Question { channel: None, ..question.clone() };
        runs = Runs::of(question, &entries(&rehearsal, &trusted, &mut files, &timestamp, &all)?);
    }
    let runs = runs?;
    let halts = timestamp.halts();
    let mut answer = runs.answer(question, channels, &halts);
    let then = Rehearsal { now: question.at, ..rehearsal };
    for InChannel { channel, now, .. } in &mut answer.channels {
        match turn(then, &mut files, runs.device(question, channel)) {
            Ok(End::Install(candidate, _)) => *now = Act::Install(candidate.sequence),
            Ok(End::Halted) => {}
            Ok(_) => *now = Act::Stay,
            Err(Error::Device(tuffet_client::Error::Rejected(tuffet_client::Rejected::Freeze {
                ..
            }))) if question.at > question.now => {
                answer.played = false;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(answer)
}

/// What the channels that are asked about list. It is by signatures that the entries are found, and then it does not
/// matter which file they are in.
fn entries(
    rehearsal: &Rehearsal<'_>,
    trusted: &Trusted,
    files: &mut Files<'_>,
    timestamp: &Listing,
    question: &Question,
) -> Result<Vec<(Channel, Vec<Candidate>)>, Error> {
    let mut channels = Vec::new();
    for channel in channels_of(files, timestamp, question)? {
        let path = channel.entry();
        let found = rehearsal.cycle(files, &mut trusted.clone(), Goal::Target(&path));
        let sha256 = match found {
            Ok(End::Found(Target { sha256: Some(sha256), .. })) => sha256,
            Ok(_) | Err(Error::Device(tuffet_client::Error::Rejected(tuffet_client::Rejected::NoTarget))) => {
                // Anybody who signs anything can write such a path. It is no channel, unless it was asked about.
                if question.channel.is_none() {
                    continue;
                }
                return Err(no_release(channel.to_string()));
            }
            Err(error) => return Err(error),
        };
        let digest = Hex(&sha256).to_string();
        let custom = files.documents().find_map(|document| {
            let sheet = document.sheet().ok()?;
            let same = sheet.target(&path).ok()?.is_some_and(|target| target.sha256 == digest);
            sheet.custom(&path).filter(|_| same).map(str::to_owned)
        });
        let differs = || Rejected::TargetDiffers { path: target_name(&path, &digest).into() };
        let custom = custom.ok_or_else(differs)?;
        channels.push((channel, read_entry(custom.as_bytes())?.into_iter().collect()));
    }
    if channels.is_empty() {
        return Err(no_release(question.hardware.clone()));
    }
    Ok(channels)
}

/// What the device does. As `verify` has it: what it learns about the time counts from its second turn on.
fn turn(rehearsal: Rehearsal<'_>, files: &mut Files<'_>, device: Device<'_>) -> Result<End, Error> {
    let mut trusted = rehearsal.trusted()?;
    rehearsal.cycle(files, &mut trusted, Goal::Release(device))?;
    rehearsal.cycle(files, &mut trusted, Goal::Release(device))
}

fn no_release(channel: String) -> Error {
    Rejected::NoRelease { channel, version: None, known: Vec::new() }.into()
}

/// What the device would do with what is staged. Nobody has signed that yet, so only the rule of choice is asked.
///
/// # Errors
/// As [`play`].
pub fn staged(workspace: &Workspace, question: &Question) -> Result<Answer, Error> {
    question.check_names()?;
    let mut stage = Stage::look(workspace)?;
    let (product, _) = workspace.config().find(question.product.as_deref(), &question.hardware)?;
    let any = Channel {
        product: product.to_owned(),
        hardware: question.hardware.clone(),
        name: question.channel.clone().unwrap_or_default(),
    };
    let siblings = any.siblings(&mut stage, workspace.config())?;
    let all: Vec<_> = siblings.into_iter().map(|(channel, listed)| (channel, listed.candidates)).collect();
    let asked = |channel: &Channel| question.channel.as_ref().is_none_or(|name| *name == channel.name);
    let asked = all.iter().filter(|(channel, candidates)| asked(channel) && !candidates.is_empty());
    let channels: Vec<_> = asked.cloned().collect();
    if channels.is_empty() {
        let channel =
            question.channel.as_ref().map_or(format!("{product}/{}", question.hardware), |_| any.to_string());
        return Err(no_release(channel));
    }
    let halts = match &stage.published {
        Some(published) => published.timestamp.listing()?.halts(),
        None => Vec::new(),
    };
    let answer = Runs::of(question, &all)?.answer(question, channels, &halts);
    Ok(Answer { played: false, ..answer })
}

/// The channels that are asked about.
fn channels_of(
    files: &mut Files<'_>,
    timestamp: &Listing,
    question: &Question,
) -> Result<Vec<Channel>, Error> {
    let Question { product, hardware, channel, .. } = question;
    if let (Some(product), Some(name)) = (product, channel) {
        let (product, hardware, name) = (product.clone(), hardware.clone(), name.clone());
        return Ok(vec![Channel { product, hardware, name }]);
    }
    let version = timestamp.of(&Role::Snapshot).map_or(0, |meta| meta.version);
    let listing = files.document(&Role::Snapshot, version)?.listing()?;
    let mut all = BTreeSet::new();
    for role in listing.roles() {
        let document = files.document(&role, listing.of(&role).map_or(0, |meta| meta.version))?;
        all.extend(document.sheet()?.below("").filter(|path| is_path(path)).filter_map(Channel::of_entry));
    }
    let known = all.iter().map(|it| format!("{}/{}", it.product, it.hardware)).collect::<BTreeSet<_>>();
    let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    all.retain(|it| is(product, &it.product) && it.hardware == *hardware);
    let products: BTreeSet<&String> = all.iter().map(|it| &it.product).collect();
    match products.len() {
        0 => {
            let (hardware, known) = (hardware.clone(), known.into_iter().collect());
            return Err(Rejected::UnknownHardware { hardware, known }.into());
        }
        1 => {}
        _ => {
            let products = products.into_iter().cloned().collect::<Vec<_>>().join(" and ");
            return Err(Misuse::WhichProduct { hardware: hardware.clone(), products }.into());
        }
    }
    let names = all.iter().map(|it| it.name.clone()).collect();
    all.retain(|it| is(channel, &it.name));
    match (all.is_empty(), channel) {
        (true, Some(channel)) => {
            Err(Rejected::UnknownChannel { channel: channel.clone(), known: names }.into())
        }
        _ => Ok(all.into_iter().collect()),
    }
}

/// What the device runs.
#[derive(Clone, Debug)]
struct Runs {
    sequence: u32,
    counter: u32,
    version: Option<String>,
}

impl Runs {
    fn of(question: &Question, channels: &[(Channel, Vec<Candidate>)]) -> Result<Runs, Error> {
        let all = || channels.iter().flat_map(|(_, candidates)| candidates);
        let sequence = match &question.installed {
            Installed::Factory => 0,
            Installed::Sequence(sequence) => *sequence,
            Installed::Version(version) => {
                let same = all().filter(|candidate| candidate.version == version.as_str());
                let sequences: BTreeSet<u32> = same.map(|candidate| candidate.sequence).collect();
                let mut sequences = sequences.into_iter().rev();
                match (sequences.next(), sequences.next(), version.parse()) {
                    (Some(sequence), None, _) => sequence,
                    (Some(one), Some(other), _) => {
                        let version = version.clone();
                        return Err(Misuse::WhichRelease { version, sequences: [one, other] }.into());
                    }
                    (None, _, Ok(sequence)) => sequence,
                    (None, _, Err(_)) => {
                        let known: BTreeSet<String> =
                            all().map(|candidate| candidate.version.to_string()).collect();
                        let known = known.into_iter().collect();
                        return Err(Rejected::NotListed { version: version.clone(), known }.into());
                    }
                }
            }
        };
        let known = all().find(|candidate| candidate.sequence == sequence);
        Ok(Runs {
            sequence,
            counter: question.counter.or(known.map(|candidate| candidate.counter)).unwrap_or(0),
            version: known.map(|candidate| candidate.version.to_string()),
        })
    }

    fn device<'a>(&self, question: &'a Question, channel: &'a Channel) -> Device<'a> {
        Device {
            product: &channel.product,
            hardware: &channel.hardware,
            channel: &channel.name,
            id: &question.id,
            sequence: self.sequence,
            counter: self.counter,
            banned: &[],
        }
    }

    /// By the rule of choice alone.
    fn answer(
        &self,
        question: &Question,
        channels: Vec<(Channel, Vec<Candidate>)>,
        halts: &[String],
    ) -> Answer {
        let halted = |candidate: &Candidate| halts.contains(&Hex(&candidate.image.sha256).to_string());
        let mut all = Vec::new();
        for (channel, candidates) in channels {
            let mut device = self.device(question, &channel);
            let considered = candidates.iter().map(|candidate| Considered {
                candidate: candidate.clone(),
                verdict: candidate.verdict(&device, question.at),
                halted: halted(candidate),
                share: candidate.rollout.filter(|_| !is_paused(candidate)).map(|rollout| {
                    // Of 2^32 places, rounded up: the first is in the first percent.
                    ((u64::from(rollout.bucket(device.id)) * 100) >> 32) + 1
                }),
            });
            let considered: Vec<Considered> = considered.collect();
            let turns = candidates.iter().filter(|candidate| !is_paused(candidate));
            let turns = turns.filter_map(|candidate| Some(candidate.rollout?.turn(device.id)));
            let mut turns: Vec<u64> = turns.filter(|turn| *turn > question.at).collect();
            turns.push(question.at);
            turns.sort_unstable();
            let (mut now, mut later) = (Act::Stay, Vec::new());
            for turn in turns {
                // What it has installed may open the way to another.
                while let Some(next) =
                    candidates.iter().find(|next| next.verdict(&device, turn) == Verdict::Eligible)
                {
                    if halted(next) {
                        if device.sequence == self.sequence && turn == question.at {
                            now = Act::Halted(next.sequence);
                        }
                        break;
                    }
                    match now {
                        Act::Stay if turn == question.at && later.is_empty() => {
                            now = Act::Install(next.sequence)
                        }
                        _ => later.push((turn, next.sequence)),
                    }
                    (device.sequence, device.counter) = (next.sequence, device.counter.max(next.counter));
                }
            }
            all.push(InChannel { channel, now, candidates: considered, later });
        }
        Answer {
            sequence: self.sequence,
            version: self.version.clone(),
            counter: self.counter,
            channels: all,
            played: true,
        }
    }
}

impl Files<'_> {
    /// The targets files that were fetched so far.
    fn documents(&self) -> impl Iterator<Item = Document> {
        self.fetched().filter_map(|(name, bytes)| {
            let stem = name.strip_suffix(".json")?.split_once('.')?.1;
            let role = Role::from_file_stem(stem)
                .filter(|role| matches!(role, Role::Targets | Role::Delegated(_)))?;
            Document::parse(bytes.to_vec(), &role, name.as_ref()).ok()
        })
    }
}
