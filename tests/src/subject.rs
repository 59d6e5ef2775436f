//! A device of the simulated world, and how it is driven.

use tuffet_client::limits::DEVICE;
use tuffet_client::{
    Age, Ban, Change, Clock, Crypto, Device, Entry, Error, Floors, Goal, Kept, KeptSnapshot, Plan, Refresh,
    Root, SOFTWARE, Target, Trusted, Want,
};

use crate::simulator::{Files, NOW, Repository};

/// What one cycle did.
#[derive(Debug)]
pub struct Cycle {
    /// The release to install, by sequence; `None` when there is nothing to do.
    pub result: Result<Option<u32>, Error>,
    /// The release that would be installed, were it not halted, by sequence.
    pub halted: Option<u32>,
    /// How fresh it is that there is nothing to do.
    pub age: Option<Age>,
    /// Files asked for, in order; `again` stands before a second reading.
    pub requests: Vec<String>,
}

/// How a cycle ended that no error ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// A release is to be installed: its sequence.
    Install(u32),
    /// The same, were it not halted.
    Halted(u32),
    /// There is nothing to do.
    UpToDate(Age),
    /// The target that was asked for.
    Found(Target),
    /// What changed could not be stored.
    Cut,
}

/// Gives the machine what it wants of these files, in chunks of so many bytes, to the end of its cycle, and
/// writes down what it asked for. `store` says whether it could.
///
/// # Errors
/// The first error of the machine.
pub fn drive(
    refresh: &mut Refresh<'_>,
    files: &Files,
    chunk: usize,
    requests: &mut Vec<String>,
    mut store: impl FnMut(&Refresh<'_>, Change) -> bool,
) -> Result<End, Error> {
    loop {
        let file = match refresh.want() {
            Want::Fetch { file, .. } => {
                requests.push(file.to_string());
                file.to_string()
            }
            Want::Again { file, .. } => {
                requests.push(format!("again {file}"));
                file.to_string()
            }
            Want::Persist(change) => {
                if !store(refresh, change) {
                    return Ok(End::Cut);
                }
                refresh.persisted();
                continue;
            }
            Want::Install(release) => return Ok(End::Install(release.sequence)),
            Want::UpToDate(age) => return Ok(End::UpToDate(age)),
            Want::Halted(release) => return Ok(End::Halted(release.sequence)),
            Want::Found(target) => return Ok(End::Found(target)),
            Want::Over(why) => return Err(why.into()),
        };
        match files.get(&file) {
            Some(bytes) => {
                bytes.chunks(chunk).try_for_each(|chunk| refresh.feed(chunk))?;
                refresh.end()?;
            }
            None => refresh.missing()?,
        }
    }
}

/// A device of hardware `rev-a` of product `lamp`. Between cycles it has only what it stored when it was asked to.
pub struct Subject {
    /// The stored root.
    pub root: Root,
    /// The stored floors.
    pub floors: Floors,
    /// Its clock.
    pub clock: Clock,
    /// The release that it runs.
    pub sequence: u32,
    /// Its security counter.
    pub counter: u32,
    /// Images that failed on it.
    pub banned: Vec<Ban>,
    /// Its id.
    pub id: &'static [u8],
    /// Where its cycles begin.
    pub entry: Entry,
    /// What verifies its signatures.
    pub crypto: Crypto,
    /// The snapshot that it kept.
    pub kept: Option<Vec<u8>>,
    /// Bytes a chunk.
    pub chunk: usize,
    /// Writes that work before the power fails; none if it never does.
    pub writes: Option<usize>,
}

impl Subject {
    /// A factory-new device of this repository, at [`NOW`].
    #[must_use]
    pub fn new(repository: &Repository) -> Self {
        let trusted: Result<Trusted, Error> = Trusted::from_root_file(
            &SOFTWARE,
            &DEVICE,
            &mut [0; DEVICE.memory()],
            &repository.files()["1.root.json"],
        );
        let trusted = trusted.expect("the simulator's first root");
        Subject {
            root: trusted.root().clone(),
            floors: trusted.floors().clone(),
            clock: Clock::At(NOW),
            sequence: 0,
            counter: 0,
            banned: Vec::new(),
            id: b"device-1",
            entry: Entry::Refresh,
            crypto: SOFTWARE,
            kept: None,
            chunk: 512,
            writes: None,
        }
    }

    /// What it trusts when it starts.
    #[must_use]
    pub fn trusted(&self) -> Trusted {
        Trusted::restore(self.root.clone(), self.floors.clone())
    }

    /// Runs one cycle.
    pub fn refresh(&mut self, repository: &Repository) -> Cycle {
        self.refresh_from(&repository.files())
    }

    /// Runs one cycle over these files.
    pub fn refresh_from(&mut self, files: &Files) -> Cycle {
        let mut trusted = self.trusted();
        self.refresh_with(&mut trusted, files)
    }

    /// Runs one cycle over these files, from what is trusted in memory.
    ///
    /// # Panics
    /// If the client refuses the device's names.
    pub fn refresh_with(&mut self, trusted: &mut Trusted, files: &Files) -> Cycle {
        let (banned, kept, crypto) = (self.banned.clone(), self.kept.clone(), self.crypto);
        let mut kept_memory = [0; 2 * DEVICE.text];
        let mut kept = kept.as_deref().map(|bytes| Kept::new(bytes, &mut kept_memory));
        let device = Device {
            product: "lamp",
            hardware: "rev-a",
            channel: "stable",
            id: self.id,
            sequence: self.sequence,
            counter: self.counter,
            banned: &banned,
        };
        let plan = Plan {
            crypto: &crypto,
            limits: &DEVICE,
            goal: Goal::Release(device),
            entry: self.entry,
            clock: self.clock,
            kept: kept.as_mut().map(|kept| kept as &mut dyn KeptSnapshot),
        };
        let mut memory = [0; DEVICE.memory()];
        let mut refresh = Refresh::new(plan, trusted, &mut memory).expect("good names");
        let mut requests = Vec::new();
        let end = drive(&mut refresh, files, self.chunk, &mut requests, |refresh, change| {
            self.store(refresh, change)
        });
        // A refused release may stand behind targets that were verified.
        while let Want::Persist(change) = refresh.want() {
            if !self.store(&refresh, change) {
                break;
            }
            refresh.persisted();
        }
        let (mut halted, mut age) = (None, None);
        let result = end.map(|end| match end {
            End::Install(sequence) => Some(sequence),
            End::Halted(sequence) => {
                halted = Some(sequence);
                None
            }
            End::UpToDate(known) => {
                age = Some(known);
                None
            }
            End::Cut => None,
            End::Found(_) => unreachable!("a release was asked for"),
        });
        Cycle { result, halted, age, requests }
    }

    fn store(&mut self, refresh: &Refresh<'_>, change: Change) -> bool {
        if self.writes == Some(0) {
            return false;
        }
        self.writes = self.writes.map(|writes| writes - 1);
        match change {
            Change::Root => self.root = refresh.trusted().root().to_size().expect("room as large as before"),
            Change::Floors => self.floors = refresh.trusted().floors().clone(),
        }
        true
    }
}
