//! What the devices that are out there will say of a publication, asked before there is one.
//!
//! Four devices stand for all: one as it left the factory, one that is on the last release, one that is a root behind,
//! and the smallest. Each is played through `tuffet-client` for every release that is new or changed, as one that is due
//! for exactly that. Nothing here has an opinion of its own.

use std::collections::BTreeMap;

use tuffet_client::limits::{DEVICE, Limits};
use tuffet_client::{Candidate, Goal, Trusted};

use crate::Error;
use crate::document::Listed;
use crate::release::Channel;
use crate::repository::Roots;
use crate::verify::{Directory, Files, Overlay, Rehearsal};

/// A publication that is to be tried.
pub(crate) struct Trial<'t> {
    /// The roots, those that become public among them.
    pub(crate) roots: &'t Roots,
    /// What is public.
    pub(crate) below: Directory,
    /// Whether there is a repository yet.
    pub(crate) published: bool,
    /// What is to come, by name.
    pub(crate) files: BTreeMap<String, Vec<u8>>,
    /// The bounds of the smallest device.
    pub(crate) smallest: Limits,
    /// Releases that are new or changed: their channel, its list, and which of that list.
    pub(crate) releases: Vec<(Channel, Listed, Vec<usize>)>,
}

/// A device, and what it trusts before the publication.
struct Player<'t> {
    name: String,
    rehearsal: Rehearsal<'t>,
    trusted: Trusted,
}

impl Trial<'_> {
    /// Plays all devices at `now`, in seconds since 1970.
    ///
    /// # Errors
    /// [`Error::Preflight`] with the words of the first device that refuses.
    pub(crate) fn run(&self, now: u64) -> Result<(), Error> {
        let mut players = self.players(now)?;
        let mut source = Overlay { below: self.below.clone(), files: self.files.clone() };
        let mut files = Files::new(&mut source);
        for player in &mut players {
            let Player { name, rehearsal, trusted } = player;
            let refused = |error, of: &str| match error {
                Error::Device(why) => Error::Preflight { device: format!("{name}{of}"), why },
                error => error,
            };
            rehearsal.cycle(&mut files, trusted, Goal::Metadata).map_err(|error| refused(error, ""))?;
            for (channel, listed, which) in &self.releases {
                for &index in which {
                    let candidate = &listed.candidates[index];
                    let above = &listed.candidates[..index];
                    let played =
                        rehearsal.release(&mut files, &mut trusted.clone(), channel, candidate, above);
                    let of = format!(", due for {} of {channel},", candidate.version);
                    played.map_err(|error| refused(error, &of))?;
                }
            }
        }
        Ok(())
    }

    fn players(&self, now: u64) -> Result<Vec<Player<'_>>, Error> {
        let roots = self.roots.chain.files();
        let root = |version: usize| roots.get(version.max(1) - 1).map(Vec::as_slice).unwrap_or_default();
        let device = |root, limits| Rehearsal { root, limits, now };
        let player = |name: &str, rehearsal: Rehearsal<'_>| {
            let refused = |error| match error {
                Error::Device(why) => Error::Preflight { device: name.to_owned(), why },
                error => error,
            };
            rehearsal.trusted().map_err(refused)
        };
        let mut players = Vec::new();
        let factory = device(root(1), &DEVICE);
        let name = "a device as it left the factory";
        players.push(Player { name: name.to_owned(), rehearsal: factory, trusted: player(name, factory)? });
        if roots.len() > 2 {
            let behind = roots.len() - 1;
            let name = format!("a device that holds root {behind}");
            let rehearsal = device(root(behind), &DEVICE);
            players.push(Player { trusted: player(&name, rehearsal)?, name, rehearsal });
        }
        let name = "the smallest device";
        let smallest = device(root(1), &self.smallest);
        players.push(Player { name: name.to_owned(), rehearsal: smallest, trusted: player(name, smallest)? });
        if self.published {
            let name = "a device on the last release";
            let mut trusted = player(name, factory)?;
            let mut below = self.below.clone();
            let mut files = Files::new(&mut below);
            // What is published may have expired; that device then waits for what is to come.
            match factory.cycle(&mut files, &mut trusted, Goal::Metadata) {
                Ok(_) | Err(Error::Device(_)) => {}
                Err(error) => return Err(error),
            }
            players.push(Player { name: name.to_owned(), rehearsal: factory, trusted });
        }
        Ok(players)
    }
}

/// Which candidates of a list are new, or on other terms than before.
pub(crate) fn changed(listed: &Listed, before: &Listed) -> Vec<usize> {
    let is_new = |candidate: &Candidate| !before.candidates.contains(candidate);
    let indices = listed.candidates.iter().enumerate();
    indices.filter(|(_, candidate)| is_new(candidate)).map(|(index, _)| index).collect()
}
