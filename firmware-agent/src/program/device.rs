//! A Linux device, put together from its configuration.

use core::fmt;
use std::fs;
use std::path::Path;

use tuffet_agent::boot::{BootRecord, Unfit};
use tuffet_agent::factory_file::FactoryFile;
use tuffet_agent::flash_map::Region;
use tuffet_agent::handover::{Direct, External};
use tuffet_agent::http::{HttpOptions, HttpTransport};
use tuffet_agent::{Environment, Error, Flash, Handover, SlotImage, Standing};

use super::config::{Config, Id, Storage};
use super::failure::Failure;
use super::hook::Hook;
use super::storage::SlotFiles;
use super::{files, read};

/// How images are started.
#[derive(Debug)]
pub(crate) enum Starter {
    /// Either slot starts, by `tuffet-agent boot-decision`.
    Slots(Direct),
    /// A program sees to it.
    Hook(External<Hook>),
}

impl Starter {
    pub(crate) fn of(storage: &Storage) -> Self {
        match storage {
            Storage::Slots { running, .. } => Self::Slots(Direct { running: read_running(running) }),
            Storage::Hook { state, program, deadline, boot_id, .. } => {
                Self::Hook(External(Hook::new(program, *deadline, boot_id, state)))
            }
        }
    }
}

/// The image that was started: a digest alone, as `boot-decision` writes it, or a word of a kernel's command line.
fn read_running(path: &Path) -> Option<[u8; 32]> {
    let text = fs::read_to_string(path).ok()?;
    let mut words = text.split_whitespace();
    words.find_map(|word| files::parse_digest(word.strip_prefix("tuffet.running=").unwrap_or(word)))
}

impl Handover<SlotFiles> for Starter {
    const HEADER_LAST: bool = false;

    fn place(&self, flash: &Flash<SlotFiles>, record: &BootRecord) -> Region {
        match self {
            Self::Slots(direct) => direct.place(flash, record),
            Self::Hook(hook) => hook.place(flash, record),
        }
    }

    fn standing(&mut self, flash: &mut Flash<SlotFiles>) -> Result<Standing, Error> {
        match self {
            Self::Slots(direct) => {
                let standing = direct.standing(flash)?;
                let Standing { record, .. } = &standing;
                // The other slot is the next to be written, and it is the one that runs.
                if record.trial.is_none()
                    && direct.running.is_some_and(|running| running != record.active.digest)
                {
                    return Err(Environment::GivenUpRuns.into());
                }
                Ok(standing)
            }
            Self::Hook(hook) => hook.standing(flash),
        }
    }

    fn request(&mut self, flash: &mut Flash<SlotFiles>, image: &SlotImage) -> Result<(), Error> {
        match self {
            Self::Slots(direct) => direct.request(flash, image),
            Self::Hook(hook) => hook.request(flash, image),
        }
    }

    fn confirm(&mut self, flash: &mut Flash<SlotFiles>) -> Result<(), Error> {
        match self {
            Self::Slots(direct) => direct.confirm(flash),
            Self::Hook(hook) => hook.confirm(flash),
        }
    }

    fn revert(&mut self, flash: &mut Flash<SlotFiles>, why: Unfit) -> Result<(), Error> {
        match self {
            Self::Slots(direct) => direct.revert(flash, why),
            Self::Hook(hook) => hook.revert(flash, why),
        }
    }
}

/// What `tuffet provision` wrote.
pub(crate) fn factory(path: &Path) -> Result<FactoryFile, Failure> {
    let file = read(path)?;
    FactoryFile::parse(&file).map_err(|error| Failure::usage("A520", format!("{}: {error}", path.display())))
}

/// The device's place in rollouts.
pub(crate) fn id(id: &Id) -> Result<Vec<u8>, Failure> {
    match id {
        Id::Literal(id) => Ok(id.clone().into_bytes()),
        Id::File(path) => {
            let id = read(path)?.trim_ascii().to_vec();
            if id.is_empty() {
                let line = format!("{}: is empty, and the device's id is in it", path.display());
                return Err(Failure::usage("A525", line));
            }
            Ok(id)
        }
    }
}

/// The way to the repository.
pub(crate) fn transport(config: &Config) -> Result<HttpTransport, Failure> {
    let options = HttpOptions {
        root_certificates: config.root_certificates.as_deref().map(read).transpose()?,
        danger_allow_plain_http: config.danger_allow_plain_http,
        ..HttpOptions::default()
    };
    let url = &config.url;
    HttpTransport::new(url, options).map_err(|error| Failure::usage("A522", format!("{url}: {error}")))
}

/// The path of a slot, quoted for a shell.
pub(crate) struct Quoted<'p>(pub(crate) &'p Path);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "'{}'", self.0.display().to_string().replace('\'', r"'\''"))
    }
}
