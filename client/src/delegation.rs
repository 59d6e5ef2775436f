//! The one delegation walk: the pre-order search of section 5.6.7, one role in memory at a time.
//!
//! The way from `targets` to the role being read is a chain of frames. A frame knows the bytes of its role's
//! file and which of its delegations was followed, so that a search which comes back reads the file once more
//! and takes up the next. Roles that were visited are known by name.
//!
//! An image is searched for like any target, from the top, after the release entry that names it. While its
//! search goes the same way as the entry's the files are those that were verified on that way, and what was
//! seen of the image in passing still holds.

use heapless::Vec;

use crate::error::{Bound, Field};
use crate::hash::Verbatim;
use crate::key::Pack;
use crate::limits::{CHAIN, Limits};
use crate::role::delegations::{Chosen, DelegationsReader, names, push_name};
use crate::scan::Fault;

/// A role on the way.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// Where its name begins among the visited ones.
    name: usize,
    version: u32,
    file: Verbatim,
    /// Delegations of its list up to the one that was followed, that one included.
    followed: u32,
}

/// A search under way.
#[derive(Debug, Default)]
pub(crate) struct Walk {
    frames: Vec<Frame, CHAIN>,
    /// The frame whose file is read.
    at: usize,
    /// The search does not come back to frames above this one: a terminating delegation was followed there.
    bottom: usize,
    /// The threshold of the role being read, if it is a delegated one.
    pub(crate) threshold: u8,
    /// The way so far is that of the search before; this is where that one ended, and whether the target that is
    /// searched for now, which it saw there, is the right one.
    before: Option<(usize, Option<bool>)>,
}

/// How a search goes on from a file in which the target is not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Next {
    /// Read the same file again, for the keys of the role that it delegates to.
    Keys,
    /// Read the file of a role that this one delegates to.
    Down,
    /// Read a file once more that was read before: of a role on the way back, or on the way of the search before.
    Again,
    /// The target is where the search before saw it; is it the right one?
    Seen(bool),
    /// The target is nowhere.
    Nowhere,
}

impl Walk {
    /// Begins a search at the top.
    pub(crate) fn begin(&mut self, visited: &mut Pack<'_>) -> Result<(), Fault> {
        self.frames.clear();
        self.before = None;
        self.restart(visited)?;
        self.frames.push(Frame::default()).map_err(|_| Fault::Limit(Bound::Delegations))
    }

    /// Begins another one at the top, which may find `seen` where the search before ended.
    pub(crate) fn begin_after(&mut self, seen: Option<bool>, visited: &mut Pack<'_>) -> Result<Next, Fault> {
        self.before = Some((self.at, seen));
        self.restart(visited)?;
        Ok(self.known())
    }

    fn restart(&mut self, visited: &mut Pack<'_>) -> Result<(), Fault> {
        (self.at, self.bottom, self.threshold) = (0, 0, 0);
        visited.truncate(0);
        push_name(visited, &[b"targets"])
    }

    /// The file of the role at hand was verified.
    pub(crate) fn verified(&mut self, version: u32, file: Verbatim) {
        if let Some(frame) = self.frames.get_mut(self.at) {
            (frame.version, frame.file) = (version, file);
        }
    }

    /// Version and bytes of the role at hand.
    pub(crate) fn file(&self) -> (u32, Verbatim) {
        self.frames.get(self.at).map_or((0, Verbatim::default()), |frame| (frame.version, frame.file))
    }

    /// The name of the role at hand, if it is a delegated one.
    pub(crate) fn delegated<'n>(&self, visited: &'n Pack<'_>) -> Option<&'n [u8]> {
        let frame = self.frames.get(self.at).filter(|_| self.at > 0)?;
        names(visited.as_slice().get(frame.name..)?).next()
    }

    /// Delegations of the role at hand that are done with.
    pub(crate) fn followed(&self) -> u32 {
        match self.before {
            Some(_) => 0,
            None => self.frames.get(self.at).map_or(0, |frame| frame.followed),
        }
    }

    /// Where to go on: the target is not in the file that was read.
    pub(crate) fn next(
        &mut self,
        read: &DelegationsReader,
        limits: &Limits,
        visited: &Pack<'_>,
    ) -> Result<Next, Fault> {
        if let Some(chosen) = read.chosen {
            return if read.wanted.is_empty() || self.goes_before(chosen) {
                self.follow(chosen, limits, visited)
            } else {
                Ok(Next::Keys)
            };
        }
        self.before = None;
        // Back to a role that has delegations left.
        if read.closed || self.at <= self.bottom {
            return Ok(Next::Nowhere);
        }
        self.at = self.at.saturating_sub(1);
        self.frames.truncate(self.at.saturating_add(1));
        Ok(Next::Again)
    }

    /// Down to the role that was chosen, whose name is the last of the visited ones.
    pub(crate) fn follow(
        &mut self,
        chosen: Chosen,
        limits: &Limits,
        visited: &Pack<'_>,
    ) -> Result<Next, Fault> {
        let known = self.goes_before(chosen);
        let count = names(visited.as_slice()).count();
        // `targets` is among the names.
        if count > limits.roles.saturating_add(1) {
            return Err(Fault::Limit(Bound::Roles));
        }
        let last = names(visited.as_slice()).last().map_or(0, <[u8]>::len);
        let name =
            visited.len().checked_sub(last.saturating_add(1)).ok_or(Fault::Field(Field::Delegations))?;
        let below = self.at.saturating_add(1);
        if let Some(frame) = self.frames.get_mut(self.at) {
            frame.followed = chosen.index.saturating_add(1);
        }
        // 5.6.7.2.1: nothing behind a terminating delegation is looked at.
        if chosen.terminating {
            self.bottom = below;
        }
        if known {
            self.at = below;
            if let Some(frame) = self.frames.get_mut(below) {
                frame.name = name;
            }
            return Ok(self.known());
        }
        self.before = None;
        self.frames.truncate(below);
        let frame = Frame { name, ..Frame::default() };
        self.frames.push(frame).map_err(|_| Fault::Limit(Bound::Delegations))?;
        (self.at, self.threshold) = (below, chosen.by.threshold);
        Ok(Next::Down)
    }

    /// Whether the search before went the same way from here.
    fn goes_before(&self, chosen: Chosen) -> bool {
        let followed = self.frames.get(self.at).map_or(0, |frame| frame.followed);
        self.before.is_some_and(|(end, _)| self.at < end) && followed == chosen.index.saturating_add(1)
    }

    /// On the way of the search before: its files are known, and at its end what it saw.
    fn known(&self) -> Next {
        match self.before {
            Some((end, Some(seen))) if end == self.at => Next::Seen(seen),
            _ => Next::Again,
        }
    }
}
