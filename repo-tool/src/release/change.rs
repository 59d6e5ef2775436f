//! What becomes of a release: promoted to another channel, rolled out, paused, withdrawn, rolled back.
//!
//! An entry never downgrades a device: what it runs it keeps until there is something newer for it. So a pause and a
//! withdrawal end what has not begun, and a rollback is a new release of an old image.

use tuffet_client::release::{Candidate, Rollout};

use super::{Channel, Ramp, Wanted};
use crate::document::Listed;
use crate::repository::{Workspace, successor};
use crate::staging::{Draft, Mode, Stage};
use crate::{Error, Misuse, Rejected};

/// When a paused rollout begins: 9999-12-31T23:59:59Z, the last moment that metadata can name.
pub const PAUSED: u64 = 253_402_300_799;

/// Whether a release waits for somebody to go on with it.
#[must_use]
pub fn is_paused(candidate: &Candidate) -> bool {
    candidate.rollout.is_some_and(|rollout| rollout.start == PAUSED)
}

/// What shall become of a release.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The same bytes in another channel, under the same sequence; the ramp there, if any.
    Promote {
        /// The other channel.
        to: String,
        /// Who gets it when; without one everybody, at once.
        rollout: Option<Ramp>,
    },
    /// Another ramp; without one everybody, at once.
    Rollout(Option<Ramp>),
    /// No device goes to it any more that has not done so.
    Pause,
    /// It leaves the channel's list.
    Withdraw,
    /// Its image becomes the channel's newest release, and those that came after it leave the list.
    Rollback(Option<Ramp>),
}

/// What was staged, or would be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// The channel whose list changes.
    pub channel: Channel,
    /// The release as it was.
    pub before: Candidate,
    /// The release as it will be; none if it leaves the list.
    pub after: Option<Candidate>,
    /// Sequences of the releases that leave the list with it.
    pub removed: Vec<u32>,
    /// The requests that were written; none if nothing changes.
    pub drafts: Vec<Draft>,
}

/// Changes a release of a channel: the newest of that version, or the newest at all. `now` is in seconds since 1970.
///
/// # Errors
/// [`Rejected::NoRelease`] if there is none, what stands in the way of the change, or an I/O failure. Nothing is staged
/// then.
pub fn change(
    workspace: &Workspace,
    place: &Wanted,
    version: Option<&str>,
    change: &Change,
    now: u64,
    mode: Mode,
) -> Result<Changed, Error> {
    let config = workspace.config();
    let channel = Channel::find(config, place)?;
    if let Change::Promote { rollout: Some(ramp), .. }
    | Change::Rollout(Some(ramp))
    | Change::Rollback(Some(ramp)) = change
    {
        ramp.check(now)?;
    }
    let mut stage = Stage::open(workspace)?;
    let siblings = channel.siblings(&mut stage, config)?;
    let of = |name: &str| {
        let found = siblings.iter().find(|(other, _)| other.name == name);
        found.map(|(_, listed)| listed.clone()).unwrap_or_default()
    };
    let mut listed = of(&channel.name);
    let index = find(&channel, &listed, version)?;
    let before = listed.candidates[index].clone();
    let mut changed =
        Changed { channel, before: before.clone(), after: None, removed: Vec::new(), drafts: Vec::new() };
    match change {
        Change::Promote { to, rollout } => {
            if *to == place.channel {
                return Err(Misuse::Options { why: "a release is promoted to another channel" }.into());
            }
            let wanted = Wanted { channel: to.clone(), ..place.clone() };
            changed.channel = Channel::find(config, &wanted)?;
            listed = of(to);
            let candidate = Candidate {
                rollout: rollout.map(|ramp| ramp.of(&changed.channel, before.sequence)),
                ..before
            };
            if !promote(&changed.channel, &mut listed, &candidate)? {
                changed.after = Some(candidate);
                return Ok(changed);
            }
            changed.removed = listed.add(candidate.clone()).into_iter().collect();
            changed.after = Some(candidate);
        }
        Change::Rollout(ramp) => {
            let rollout = ramp.map(|ramp| ramp.of(&changed.channel, before.sequence));
            listed.candidates[index].rollout = rollout;
            changed.after = Some(listed.candidates[index].clone());
        }
        Change::Pause => {
            let ramp = Ramp { start: PAUSED, end: PAUSED };
            listed.candidates[index].rollout = Some(ramp.of(&changed.channel, before.sequence));
            changed.after = Some(listed.candidates[index].clone());
        }
        Change::Withdraw => {
            if listed.candidates.len() == 1 {
                let (version, channel) = (before.version.to_string(), changed.channel.name);
                return Err(Rejected::LastRelease { version, channel }.into());
            }
            listed.candidates.remove(index);
            changed.removed = vec![before.sequence];
        }
        Change::Rollback(ramp) => {
            if index == 0 {
                let why = "it is the newest release of the channel, so there is nothing to go back from";
                return Err(Misuse::Options { why }.into());
            }
            listed.check_counter(&before.version, before.counter)?;
            let newest = siblings.iter().map(|(_, listed)| listed.newest).max().unwrap_or(0);
            let sequence = successor(newest)?;
            let rollout: Option<Rollout> = ramp.map(|ramp| ramp.of(&changed.channel, sequence));
            changed.removed = listed.candidates.drain(..index).map(|candidate| candidate.sequence).collect();
            let candidate = Candidate { sequence, minimum: 0, rollout, ..before };
            changed.removed.extend(listed.add(candidate.clone()));
            changed.after = Some(candidate);
        }
    }
    let same = matches!(change, Change::Rollout(_) | Change::Pause)
        && changed.after.as_ref() == Some(&changed.before);
    if !same {
        let entry = changed.channel.entry();
        stage.changes_of(&entry).put_entry(&entry, &listed)?;
        changed.drafts = stage.finish(now, mode)?;
    }
    Ok(changed)
}

/// The newest candidate of a version, or the one of a sequence, as `#7`, or the newest at all.
fn find(channel: &Channel, listed: &Listed, version: Option<&str>) -> Result<usize, Error> {
    let mut candidates = listed.candidates.iter();
    let is = |candidate: &Candidate, text: &str| match text.strip_prefix('#') {
        Some(sequence) => sequence.parse() == Ok(candidate.sequence),
        None => candidate.version == text,
    };
    let found = candidates.position(|candidate| version.is_none_or(|version| is(candidate, version)));
    found.ok_or_else(|| {
        let known = listed.candidates.iter().map(|candidate| candidate.version.to_string()).collect();
        let version = version.map(str::to_owned);
        Rejected::NoRelease { channel: channel.to_string(), version, known }.into()
    })
}

/// Whether a release has yet to come to this channel.
fn promote(channel: &Channel, listed: &mut Listed, candidate: &Candidate) -> Result<bool, Error> {
    let there = listed.candidates.first().filter(|there| there.sequence == candidate.sequence);
    if there.is_some_and(|there| there.image == candidate.image) {
        return Ok(there != Some(candidate) && {
            // The same release on other terms: it takes its own place.
            listed.candidates.remove(0);
            true
        });
    }
    if candidate.sequence <= listed.newest {
        let (sequence, newest, channel) = (candidate.sequence, listed.newest, channel.name.clone());
        return Err(
            Rejected::NotNewer { version: candidate.version.to_string(), sequence, newest, channel }.into()
        );
    }
    listed.check_counter(&candidate.version, candidate.counter)?;
    Ok(true)
}
