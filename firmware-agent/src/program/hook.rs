//! A program that installs images: it gets each verified one as an open descriptor, and knows what runs.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};

use tuffet_agent::flash_map::Region;
use tuffet_agent::handover::{Installer, Verb};
use tuffet_agent::{Environment, Error, Flash, InstallerFault, SlotImage};

use super::child::{Call, Ended};
use super::failure::plain;
use super::files;
use super::report::hex;
use super::storage::SlotFiles;

/// The program of `[hook]`.
#[derive(Debug)]
pub(crate) struct Hook {
    command: Vec<String>,
    deadline: Duration,
    boot_id: PathBuf,
    /// Says for which image the program was asked, and in which boot.
    asked: PathBuf,
    /// What runs does not change while it runs.
    running: Option<[u8; 32]>,
}

impl Hook {
    pub(crate) fn new(command: &[String], deadline: Duration, boot_id: &Path, state: &Path) -> Self {
        let asked = files::beside(state, "asked");
        Self { command: command.to_vec(), deadline, boot_id: boot_id.to_owned(), asked, running: None }
    }

    /// What is written before an image is handed over, and compared at the next start.
    fn mark(&self, image: &SlotImage, verb: Verb) -> Result<String, Error> {
        let boot = fs::read_to_string(&self.boot_id).map_err(|error| {
            tracing::error!("{}: {}", self.boot_id.display(), plain(&error));
            fault(verb, InstallerFault::NotAsked)
        })?;
        Ok(format!("{} {}\n", hex(&image.digest), boot.trim()))
    }

    fn call(&self, verb: Verb, image: &SlotImage, input: Option<fs::File>) -> Result<(), Error> {
        let name = verb.to_string();
        let environment = [
            ("TUFFET_VERSION", image.version.as_str().to_owned()),
            ("TUFFET_SEQUENCE", image.sequence.to_string()),
            ("TUFFET_SHA256", hex(&image.digest)),
            ("TUFFET_LENGTH", image.length.to_string()),
        ];
        let Self { command, deadline, .. } = self;
        let call =
            Call { command, argument: Some(&name), input, environment: &environment, deadline: *deadline };
        self.verdict(verb, call.run())
    }

    fn verdict(&self, verb: Verb, ended: Ended) -> Result<(), Error> {
        let program = self.command.first().map(String::as_str).unwrap_or_default();
        let because = match ended {
            Ended::Exit(0) => return Ok(()),
            Ended::Exit(status) => InstallerFault::Refused { status },
            Ended::Killed(signal) => {
                tracing::error!("{program} {verb}: ended by signal {signal}");
                InstallerFault::NoAnswer
            }
            Ended::Late => {
                tracing::error!("{program} {verb}: killed after {} s", self.deadline.as_secs());
                InstallerFault::NoAnswer
            }
            Ended::NotStarted(error) => {
                tracing::error!("{program}: {}", plain(&error));
                InstallerFault::NotAsked
            }
        };
        Err(fault(verb, because))
    }
}

impl Installer<SlotFiles> for Hook {
    fn running(&mut self) -> Result<[u8; 32], Error> {
        if let Some(running) = self.running {
            return Ok(running);
        }
        let Self { command, deadline, .. } = &*self;
        let verb = Verb::Running;
        let name = verb.to_string();
        let call =
            Call { command, argument: Some(&name), input: None, environment: &[], deadline: *deadline };
        let (ended, answer) = call.ask();
        self.verdict(verb, ended)?;
        // As `sha256sum` writes it, with a name behind it, will do.
        let digest = answer.split_whitespace().next().and_then(files::parse_digest);
        self.running = digest;
        digest.ok_or(fault(verb, InstallerFault::Answer))
    }

    fn has_restarted(&mut self, image: &SlotImage) -> Result<bool, Error> {
        // Without a mark nobody knows of an image that was handed over since the start.
        Ok(fs::read_to_string(&self.asked).ok() != Some(self.mark(image, Verb::Install)?))
    }

    fn install(
        &mut self,
        flash: &mut Flash<SlotFiles>,
        place: Region,
        image: &SlotImage,
    ) -> Result<(), Error> {
        let verb = Verb::Install;
        let not_asked = |path: &Path, error: &std::io::Error| {
            tracing::error!("{}: {}", path.display(), plain(error));
            fault(verb, InstallerFault::NotAsked)
        };
        // First: an image that was handed over without a mark would look as if it had been started and had not lasted.
        let mark = self.mark(image, verb)?;
        files::replace(&self.asked, mark.as_bytes()).map_err(|error| not_asked(&self.asked, &error))?;
        let staging = flash.nor_mut().path_at(place.offset).to_owned();
        let input = flash.nor_mut().lend(place.offset, image.length);
        let called = match input {
            Ok(input) => self.call(verb, image, Some(input)),
            Err(error) => Err(not_asked(&staging, &error)),
        };
        flash.nor_mut().take_back(place.offset).map_err(|error| not_asked(&staging, &error))?;
        called
    }

    fn confirm(&mut self, image: &SlotImage) -> Result<(), Error> {
        self.call(Verb::Confirm, image, None)
    }

    fn revert(&mut self, image: &SlotImage) -> Result<(), Error> {
        self.call(Verb::Revert, image, None)
    }
}

fn fault(verb: Verb, fault: InstallerFault) -> Error {
    Environment::Installer { verb, fault }.into()
}
