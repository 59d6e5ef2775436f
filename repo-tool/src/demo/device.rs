//! The demo's device: the real agent over a flash that is a file, started anew for every step, so that
//! whatever it remembers it remembers on flash.

use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};

use tuffet_agent::Event;
use tuffet_agent::agent::{Agent, Checked, Started};
use tuffet_agent::boot::{self, BootRecord, Decision};
use tuffet_agent::factory::{Factory, FactoryImage, provision};
use tuffet_agent::factory_file::FactoryFile;
use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::flash_map::{FlashMap, Region};
use tuffet_agent::http::{HttpOptions, HttpTransport};
use tuffet_agent::journal::{Journal, Kind, PAYLOAD_MAX};
use tuffet_agent::{Error, Flash};
use tuffet_client::{Clock, SOFTWARE, Trusted};

use super::team::{CHANNEL, HARDWARE, PRODUCT};

/// How long the device waits for a server that says nothing. The mirror is on the same machine.
const PATIENCE: Duration = Duration::from_secs(2);

/// A lamp.
pub struct Lamp {
    flash: PathBuf,
    root: Vec<u8>,
    url: String,
    now: u64,
}

/// What must be as it was after a refusal, byte for byte.
#[derive(Clone, PartialEq, Eq)]
pub struct Evidence {
    /// The active slot.
    pub active_slot: Vec<u8>,
    /// The journal of boot records.
    pub boot_record: Vec<u8>,
    /// The records of root and floors. What is under way stands beside them, and changes.
    pub trust: [Vec<u8>; 2],
}

impl Lamp {
    /// Makes a lamp that trusts `root`, runs `image` and asks the repository at `url`.
    ///
    /// # Errors
    /// [`provision`]'s, or the file system's.
    pub fn manufacture(
        flash: &Path,
        root: Vec<u8>,
        image: &FactoryImage<'_>,
        url: String,
        now: u64,
    ) -> Result<Lamp, crate::Error> {
        let nor = FileFlash::create(flash).map_err(|error| crate::Error::io("create", flash, &error))?;
        let lamp = Lamp { flash: flash.to_owned(), root, url, now };
        let facts = lamp.flash.with_file_name("factory.json");
        let file = FactoryFile::new(&lamp.factory())
            .map_err(|error| crate::Error::io("write", &facts, &std::io::Error::other(error)))?;
        fs::write(&facts, file.to_string()).map_err(|error| crate::Error::io("write", &facts, &error))?;
        let mut flash = Flash::new(nor, FlashMap::DEMO)?;
        provision(&mut flash, &SOFTWARE, &lamp.factory(), image)?;
        Ok(lamp)
    }

    /// Asks the repository for news.
    ///
    /// # Errors
    /// What the device refuses, and why.
    pub fn check(&self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Checked, crate::Error> {
        let now = self.now;
        let factory = self.factory();
        let mut agent = self.agent(&factory)?;
        Ok(agent.check(&mut || Clock::At(now), observe)?)
    }

    /// Switches the lamp off and on again.
    ///
    /// # Errors
    /// That nothing boots.
    pub fn restart(&self, observe: &mut dyn FnMut(Event<'_>)) -> Result<Started, crate::Error> {
        let now = self.now;
        let factory = self.factory();
        let mut agent = self.agent(&factory)?;
        Ok(agent.boot(&mut || Clock::At(now), &mut |_| true, observe)?)
    }

    /// The bytes on flash.
    ///
    /// # Errors
    /// The file system's, or that there is no boot record.
    pub fn evidence(&self) -> Result<Evidence, crate::Error> {
        let active = self.boot_record()?.active.slot;
        let bytes = self.bytes()?;
        let layout = FlashMap::DEMO.layout();
        let part = |Region { offset, length }: Region| {
            let start = offset as usize;
            bytes[start..start + length as usize].to_vec()
        };
        Ok(Evidence {
            active_slot: part(FlashMap::DEMO.slot(active)),
            boot_record: part(layout.boot),
            trust: [self.record(Kind::Root)?, self.record(Kind::Floors)?],
        })
    }

    /// Whether the inactive slot could start if the active one were gone: what a bootloader decides on a copy
    /// of the flash whose active slot is overwritten.
    ///
    /// # Errors
    /// The file system's.
    pub fn inactive_slot_boots(&self) -> Result<bool, crate::Error> {
        let Region { offset, length } = FlashMap::DEMO.slot(self.boot_record()?.active.slot);
        let mut bytes = self.bytes()?;
        bytes[offset as usize..][..length as usize].fill(0);
        let copy = self.flash.with_extension("copy.nor");
        let io = |error: &std::io::Error| crate::Error::io("copy", &copy, error);
        fs::write(&copy, bytes).map_err(|error| io(&error))?;
        let nor = FileFlash::open(&copy).map_err(|error| io(&error))?;
        let decision: Result<Decision, Error> = boot::decide_boot(&mut Flash::new(nor, FlashMap::DEMO)?);
        fs::remove_file(&copy).map_err(|error| io(&error))?;
        match decision {
            Ok(_) => Ok(true),
            Err(Error::Environment(tuffet_agent::Environment::NothingBootable)) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// What the lamp trusts.
    ///
    /// # Errors
    /// That its flash cannot be read.
    pub fn trusted(&self) -> Result<Trusted, crate::Error> {
        let factory = self.factory();
        Ok(self.agent(&factory)?.trust().trusted.clone())
    }

    /// The boot record.
    ///
    /// # Errors
    /// That there is none.
    pub fn boot_record(&self) -> Result<BootRecord, crate::Error> {
        Ok(BootRecord::load(&mut self.open()?)?)
    }

    fn agent<'a>(
        &'a self,
        factory: &Factory<'a>,
    ) -> Result<Agent<'a, FileFlash, HttpTransport>, crate::Error> {
        let options = HttpOptions { silence: PATIENCE, patience: PATIENCE, ..HttpOptions::default() };
        let transport = HttpTransport::new(&self.url, options)
            .map_err(|why| crate::Misuse::Address { url: self.url.clone(), why: why.to_string() })?;
        Ok(Agent::new(self.open()?, transport, &SOFTWARE, *factory, b"lamp-000001")?)
    }

    /// What the newest record of a kind says.
    fn record(&self, kind: Kind) -> Result<Vec<u8>, crate::Error> {
        let mut buffer = vec![0; PAYLOAD_MAX as usize];
        let record = Journal::new(&FlashMap::DEMO, kind).newest(&mut self.open()?, &mut buffer)?;
        Ok(record.payload.to_vec())
    }

    fn open(&self) -> Result<Flash<FileFlash>, crate::Error> {
        let nor =
            FileFlash::open(&self.flash).map_err(|error| crate::Error::io("open", &self.flash, &error))?;
        Ok(Flash::new(nor, FlashMap::DEMO)?)
    }

    fn bytes(&self) -> Result<Vec<u8>, crate::Error> {
        fs::read(&self.flash).map_err(|error| crate::Error::io("read", &self.flash, &error))
    }

    fn factory(&self) -> Factory<'_> {
        Factory {
            root: &self.root,
            product: PRODUCT,
            hardware: HARDWARE,
            channel: CHANNEL,
            counter: 0,
            built: self.now,
        }
    }
}
