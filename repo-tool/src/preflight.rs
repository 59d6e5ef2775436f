//! What the devices that are out there will say of a publication, asked before there is one.
//!
//! Four devices stand for all: one as it left the factory, one that is on the last release, one that is a root behind,
//! and the smallest. Each is played through `tuffet-client` for every release that is new or changed, as one that is due
//! for exactly that. Nothing here has an opinion of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use tuffet_client::limits::{DEVICE, Limits};
use tuffet_client::{Candidate, Entry, Goal, Trusted};

use crate::Error;
use crate::document::Listed;
use crate::release::Channel;
use crate::repository::Roots;
use crate::source::Overlay;
use crate::store::Store;
use crate::verify::{Files, Rehearsal, TURNS};

/// A publication that is to be tried.
pub(crate) struct Trial<'t> {
    /// The roots, those that become public among them.
    pub(crate) roots: &'t Roots,
    /// What is public.
    pub(crate) below: Arc<dyn Store>,
    /// Whether there is a repository yet.
    pub(crate) published: bool,
    /// What is to come, by name.
    pub(crate) files: BTreeMap<String, Bytes>,
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
        // What a date that was learned does to the next turn is the same for all, so one of them comes twice.
        let turns = core::iter::once(TURNS).chain(core::iter::repeat(1));
        for (player, turns) in players.iter_mut().zip(turns) {
            let Player { name, rehearsal, trusted } = player;
            let refused = |error, of: &str| match error {
                Error::Device(why) => Error::Preflight { device: format!("{name}{of}"), why },
                error => error,
            };
            if self.releases.iter().all(|(.., which)| which.is_empty()) {
                rehearsal.cycle(&mut files, trusted, Goal::Metadata).map_err(|error| refused(error, ""))?;
            }
            for (channel, listed, which) in &self.releases {
                for &index in which {
                    let candidate = &listed.candidates[index];
                    let above = &listed.candidates[..index];
                    let of = format!(", due for {} of {channel},", candidate.version);
                    rehearsal
                        .release(&mut files, &mut trusted.clone(), channel, candidate, above, turns)
                        .map_err(|error| refused(error, &of))?;
                }
            }
        }
        Ok(())
    }

    fn players(&self, now: u64) -> Result<Vec<Player<'_>>, Error> {
        let roots = self.roots.chain.files();
        let root = |version: usize| roots.get(version.max(1) - 1).map(Vec::as_slice).unwrap_or_default();
        let device = |root, limits| Rehearsal { root, limits, entry: Entry::Refresh, now };
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
        // Where nothing smaller was ever shipped, the one from the factory is the smallest.
        if self.smallest != DEVICE {
            let name = "the smallest device";
            let smallest = device(root(1), &self.smallest);
            players.push(Player {
                name: name.to_owned(),
                rehearsal: smallest,
                trusted: player(name, smallest)?,
            });
        }
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

#[cfg(test)]
mod tests {
    use tuffet_client::Rejected;
    use tuffet_keys::Role;
    use tuffet_keys::key::SigningKey;
    use tuffet_keys::request::Request;
    use tuffet_keys::root::{Chain, Draft};

    use super::*;
    use crate::author::Dates;
    use crate::document::{self, Changes, Listing, Sheet};
    use crate::repository::metadata_name;

    const NOW: u64 = 1_795_348_800;
    const DATES: Dates = Dates { issued: NOW, expires: NOW + 1_000_000 };

    /// Roots 1 to `count`, each with online keys of its own, and a repository without targets under the last.
    fn repository(count: u32) -> (Roots, BTreeMap<String, Bytes>) {
        let key = || SigningKey::generate().unwrap();
        let (root, targets, mut online) = (key(), key(), Arc::new(key()));
        let mut chain: Vec<Vec<u8>> = Vec::new();
        for version in 1..=count {
            let before = Arc::clone(&online);
            online = Arc::new(key());
            let mut draft = match version {
                1 => {
                    let mut draft = Draft::new(NOW, NOW + 1_000_000);
                    draft.add_key(&Role::Root, root.public()).unwrap();
                    draft.add_key(&Role::Targets, targets.public()).unwrap();
                    draft
                }
                _ => Draft::next(&Chain::verify(&chain).unwrap(), NOW, NOW + 1_000_000).unwrap(),
            };
            for role in [Role::Snapshot, Role::Timestamp] {
                draft.add_key(&role, online.public()).unwrap();
                if version > 1 {
                    draft.remove_key(&role, before.public().keyid()).unwrap();
                }
            }
            let mut request = Request::draft(Role::Root, &draft.signed().unwrap(), &chain).unwrap();
            request.sign(&root).unwrap();
            chain.push(request.finish(NOW).unwrap());
        }
        let text = Sheet::default().edited(1, DATES, &Changes::default());
        let file = document::sign(&text, [&targets]).unwrap();
        let listed = Listing::default().edited(1, DATES, &[(&Role::Targets, 1, &file)]);
        let snapshot = document::sign(&listed, [&*online]).unwrap();
        let timestamp =
            document::sign(&document::timestamp(1, DATES, 1, &snapshot, &[]), [&*online]).unwrap();
        let mut files: BTreeMap<String, Bytes> = (1..)
            .zip(&chain)
            .map(|(version, root)| (metadata_name(&Role::Root, version), root.clone().into()))
            .collect();
        files.insert("1.targets.json".to_owned(), file.into());
        files.insert("1.snapshot.json".to_owned(), snapshot.into());
        files.insert("timestamp.json".to_owned(), timestamp.into());
        (Roots::verify(&chain, 1).unwrap(), files)
    }

    fn run(roots: &Roots, files: BTreeMap<String, Bytes>) -> Result<(), Error> {
        let directory = tempfile::tempdir().unwrap();
        let below: Arc<dyn Store> = Arc::new(crate::store::Directory::new(directory.path()));
        Trial { roots, below, published: false, files, smallest: DEVICE, releases: Vec::new() }.run(NOW)
    }

    #[test]
    fn root_that_is_missing_strands_the_device_before_it_and_not_the_one_behind() {
        let (roots, mut files) = repository(4);
        run(&roots, files.clone()).unwrap();
        files.remove("2.root.json");
        let refused = run(&roots, files.clone()).unwrap_err();
        let unmet = |error: &Error| match error {
            Error::Preflight {
                device,
                why: tuffet_client::Error::Rejected(Rejected::ThresholdNotMet { role, .. }),
            } => {
                assert_eq!(*role, tuffet_client::Role::Timestamp);
                device.clone()
            }
            other => panic!("{other}"),
        };
        assert_eq!(unmet(&refused), "a device as it left the factory");
        assert_eq!(refused.label(), "C106");

        let (roots, mut files) = repository(4);
        files.remove("4.root.json");
        assert_eq!(unmet(&run(&roots, files).unwrap_err()), "a device as it left the factory");
    }
}
