//! A device that looks into a directory: it feeds the verifier's own cycle, and decides nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tuffet_client::limits::DEVICE;
use tuffet_client::{Clock, Entry, Goal, Plan, Refresh, Rejected, Role, SOFTWARE, Target, Trusted, Want};

use crate::{Error, file};

/// Files of a directory, each read once, so that every search sees the same bytes.
pub(crate) struct Files {
    directory: PathBuf,
    known: BTreeMap<String, Option<Vec<u8>>>,
}

impl Files {
    pub(crate) fn new(directory: &Path) -> Files {
        Files { directory: directory.to_owned(), known: BTreeMap::new() }
    }

    /// A file; none if it is not there.
    fn fetch(&mut self, name: &str) -> Result<Option<&[u8]>, Error> {
        if !self.known.contains_key(name) {
            let path = self.directory.join(name);
            let bytes = match super::exists(&path)?.then(|| file::read(&path)).transpose() {
                // Larger than any device takes: of what is none of it the verifier says that it is cut short.
                Err(Error::Rejected { .. }) => Some(Vec::new()),
                bytes => bytes?,
            };
            self.known.insert(name.to_owned(), bytes);
        }
        Ok(self.known.get(name).and_then(Option::as_deref))
    }
}

/// How a device's cycle ended.
pub(crate) enum Outcome {
    /// There is nothing wrong, and nothing to do.
    Done,
    /// The target that was asked for.
    Found(Target),
    /// It would install a release.
    Installs,
    Refused(tuffet_client::Error),
}

/// One cycle of a device that trusts this much, has no clock, and got the files by hand: dates do not end it, so that
/// what else is wrong is found behind them. Roots and targets alone must not have expired when others were issued.
pub(crate) fn search(files: &mut Files, trusted: &Trusted, goal: Goal<'_>) -> Result<Outcome, Error> {
    let mut trusted = trusted.clone();
    let mut memory = [0; DEVICE.memory()];
    let plan = Plan {
        crypto: &SOFTWARE,
        limits: &DEVICE,
        goal,
        entry: Entry::Offline,
        clock: Clock::Unknown,
        kept: None,
    };
    let mut refresh = match Refresh::new(plan, &mut trusted, &mut memory) {
        Ok(refresh) => refresh,
        Err(error) => return Ok(Outcome::Refused(error)),
    };
    loop {
        let step = match refresh.want() {
            Want::Fetch { file, .. } | Want::Again { file, .. } => match files.fetch(&file.to_string())? {
                Some(bytes) => refresh.feed(bytes).and_then(|()| refresh.end().map(drop)),
                None => refresh.missing(),
            },
            Want::Persist(_) => {
                refresh.persisted();
                Ok(())
            }
            Want::Found(target) => return Ok(Outcome::Found(target)),
            Want::Install(_) => return Ok(Outcome::Installs),
            // A halt is somebody's decision, and no fault of the repository.
            Want::Halted(_) | Want::UpToDate(_) => return Ok(Outcome::Done),
            Want::Over(why) => return Ok(Outcome::Refused(why.into())),
        };
        if let Err(error) = step {
            return Ok(Outcome::Refused(error));
        }
    }
}

/// Whose file an error of the verifier is about.
pub(crate) fn role_of(error: &tuffet_client::Error) -> Option<Role> {
    match error {
        tuffet_client::Error::Rejected(rejected) => Some(match *rejected {
            Rejected::Syntax { role, .. }
            | Rejected::KeyOrder { role, .. }
            | Rejected::Truncated { role, .. }
            | Rejected::Limit { role, .. }
            | Rejected::Field { role, .. }
            | Rejected::Oversize { role, .. }
            | Rejected::ThresholdNotMet { role, .. }
            | Rejected::DuplicateSignature { role }
            | Rejected::Rollback { role, .. }
            | Rejected::Freeze { role, .. }
            | Rejected::MixAndMatch { role } => role,
            Rejected::RootVersion { .. } | Rejected::TooManyRoots => Role::Root,
            Rejected::RoleDropped { .. } | Rejected::RoleNotListed => Role::Snapshot,
            _ => Role::Targets,
        }),
        tuffet_client::Error::Environment(tuffet_client::Environment::Missing { role }) => Some(*role),
        _ => None,
    }
}

/// Whether it is about a date alone.
pub(crate) fn is_freeze(error: &tuffet_client::Error) -> bool {
    matches!(error, tuffet_client::Error::Rejected(Rejected::Freeze { .. }))
}
