//! What there is: releases that devices see, and those that wait.

use tuffet_client::release::{Candidate, Hex};

use super::Channel;
use crate::Error;
use crate::document::Listed;
use crate::repository::Workspace;
use crate::staging::Stage;

/// A release of a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The channel.
    pub channel: Channel,
    /// The release: as it is staged, else as it is published.
    pub candidate: Candidate,
    /// Where it stands.
    pub state: State,
    /// Whether the published timestamp halts its image.
    pub halted: bool,
}

/// Where a release stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Devices see it as it is.
    Published,
    /// It will be seen with the next publication.
    Staged,
    /// Devices see it on other terms than those that are staged.
    Changed,
    /// The next publication takes it away.
    Leaving,
}

impl State {
    /// In a word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            State::Published => "published",
            State::Staged => "staged",
            State::Changed => "changed",
            State::Leaving => "leaving",
        }
    }
}

/// Which channels to look at; none of a part: all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Of this product.
    pub product: Option<String>,
    /// Of this hardware.
    pub hardware: Option<String>,
    /// Of this name.
    pub channel: Option<String>,
}

impl Filter {
    fn takes(&self, channel: &Channel) -> bool {
        let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
        is(&self.product, &channel.product)
            && is(&self.hardware, &channel.hardware)
            && is(&self.channel, &channel.name)
    }
}

/// All releases of these channels, the newest of each channel first.
///
/// # Errors
/// [`Rejected::UnknownHardware`](crate::Rejected::UnknownHardware) or
/// [`Rejected::UnknownProduct`](crate::Rejected::UnknownProduct) for a filter that nothing passes, or what is wrong with
/// what is published or staged.
pub fn list(workspace: &Workspace, filter: &Filter) -> Result<Vec<Row>, Error> {
    let config = workspace.config();
    if let Some(hardware) = &filter.hardware
        && let Err(error) = config.find(filter.product.as_deref(), hardware)
        && !matches!(error, Error::Misuse(_))
    {
        return Err(error);
    }
    let mut stage = Stage::look(workspace)?;
    let halts = match &stage.published {
        Some(published) => published.timestamp.listing()?.halts(),
        None => Vec::new(),
    };
    let mut channels = Vec::new();
    for (product, parts) in &config.products {
        for hardware in parts.hardware.keys() {
            let any = Channel { product: product.clone(), hardware: hardware.clone(), name: String::new() };
            let siblings = any.siblings(&mut stage, config)?;
            channels.extend(siblings.into_iter().filter(|(channel, _)| filter.takes(channel)));
        }
    }
    let mut rows = Vec::new();
    for (channel, staged) in channels {
        let entry = channel.entry();
        let published = match &stage.state_of(&entry)?.published {
            Some(document) => document.sheet()?.entry(&entry)?,
            None => Listed::default(),
        };
        rows.extend(merged(&channel, &published, &staged, &halts));
    }
    Ok(rows)
}

fn merged(channel: &Channel, published: &Listed, staged: &Listed, halts: &[String]) -> Vec<Row> {
    let row = |candidate: &Candidate, state| Row {
        channel: channel.clone(),
        candidate: candidate.clone(),
        state,
        halted: halts.contains(&Hex(&candidate.image.sha256).to_string()),
    };
    let is = |one: &Candidate, other: &Candidate| one.sequence == other.sequence;
    let mut rows: Vec<Row> = staged
        .candidates
        .iter()
        .map(|candidate| match published.candidates.iter().find(|other| is(other, candidate)) {
            None => row(candidate, State::Staged),
            Some(other) if other == candidate => row(candidate, State::Published),
            Some(_) => row(candidate, State::Changed),
        })
        .collect();
    let leaving = published.candidates.iter().filter(|old| !staged.candidates.iter().any(|new| is(old, new)));
    rows.extend(leaving.map(|candidate| row(candidate, State::Leaving)));
    rows.sort_by_key(|row| core::cmp::Reverse(row.candidate.sequence));
    rows
}
