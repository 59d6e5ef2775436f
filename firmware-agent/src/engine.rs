//! The agent's engine: what to do next, without I/O of its own but for the flash.
//!
//! An [`Engine`] takes one [`Turn`] after the other. A turn says which file it wants, is fed its bytes, and ends by saying
//! how long there is nothing to do, or that the device is to restart. A blocking loop, an asynchronous task and a daemon
//! drive the same machine:
//!
//! ```text
//! loop {
//!     turn = engine.turn(&mut work, Source::Repository, &mut product)?
//!     while turn.want() is Fetch {
//!         fetch turn.request(), step(Input::Chunk) each piece as long as Fetch is wanted
//!         step(Input::End), or step(Input::Failed(fault)) if the file did not come
//!     }
//!     Wait(seconds) | Restart
//! }
//! ```
//!
//! What a turn does:
//!
//! ```text
//! nothing on trial:  refresh -> select -> download -> read back -> refresh again -> pending -> restart
//!                    over a bundle, which does not change: … -> read back -> not expired yet -> pending -> restart
//! pending:           refresh -> still wanted -> restart | taken back
//! on trial:          health -> a timestamp that verifies -> confirmed | reverted | once more, later
//! ```
//!
//! A look at the repository begins with its timestamp alone, and ends there if that is the trusted one; unless somebody
//! asked for it ([`Engine::hurry`]), or it authorises.
//!
//! What is on flash leads. Each turn begins by reading it, so that nothing goes on from something that was verified and not
//! stored.

mod turn;

use embedded_storage::nor_flash::NorFlash;
use heapless::Vec;
use tuffet_client::limits::DEVICE;
use tuffet_client::{Ban, Crypto};

use crate::boot::{BootRecord, SlotImage};
use crate::error::{Environment, Error};
use crate::event::Event;
use crate::factory::Factory;
use crate::flash::Flash;
use crate::handover::Handover;
use crate::ledger::ENTRIES;
use crate::product::{Ask, Product};
use crate::report::FAILED;
use crate::schedule::{ASK_AGAIN, Settings, one_more};
use crate::trust_store::Trust;

pub use turn::Turn;

/// A device that updates itself: its flash, its bootloader, and what it was born with.
#[derive(Debug)]
pub struct Engine<'a, F, H> {
    flash: Flash<F>,
    handover: H,
    crypto: &'a Crypto,
    factory: Factory<'a>,
    id: &'a [u8],
    settings: Settings,
    bans: Vec<Ban, ENTRIES>,
    after: After,
}

/// What one turn leaves for the next in memory.
#[derive(Debug, Default)]
struct After {
    /// There was a turn since the device started.
    started: bool,
    /// Somebody asked for the next look.
    hurry: bool,
    /// An image that waits for the product's leave to be installed.
    waiting: Option<SlotImage>,
    /// Bytes that the progress record counts, and that did not come yet.
    claimed: u32,
    /// How many were claimed at once the last time.
    claim: u32,
    /// Up to where the download that is under way is in its slot, if it ended without a cut. See [`SlotWriter::written`].
    written: u32,
    /// How often the image on trial did not reach its repository.
    contacts: u8,
    /// Turns in a row that could not begin.
    errors: u8,
    /// How often a restart to the pending image was not allowed since that was authorised.
    denied: u32,
    /// How the last turn ended that did not merely wait: codes of its outcome and of its error. 0 if there was none.
    last: (u16, u16),
    /// The image on trial is the one that runs.
    on_trial: bool,
}

/// Memory that a turn works in: what is trusted, and what the client needs.
#[derive(Debug)]
pub struct Work {
    trust: Trust,
    /// Something was read there.
    is_read: bool,
    scratch: [u8; DEVICE.memory()],
}

impl Default for Work {
    fn default() -> Self {
        Self { trust: Trust::nothing(), is_read: false, scratch: [0; DEVICE.memory()] }
    }
}

impl Work {
    /// What the device trusts and remembers, as the last turn left it. After an error that may be more than is on flash.
    pub fn trust(&self) -> Option<&Trust> {
        self.is_read.then_some(&self.trust)
    }
}

/// Where files come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// A repository, over a network.
    Repository,
    /// A bundle; see [`Transport::is_bundle`](crate::Transport::is_bundle).
    Bundle,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'i> {
    /// Bytes of the wanted file, the next ones.
    Chunk(&'i [u8]),
    /// So many bytes came that were not asked for: those before [`Request::from`](crate::Request), of a server that knows no
    /// ranges. They count among those of the day, and for nothing else.
    Passed(u32),
    /// The wanted file has ended.
    End,
    /// The wanted file did not come, or not to its end. Usually a [`TransportFault`](crate::TransportFault).
    Failed(Error),
}

impl<'i> Input<'i> {
    /// The bytes of a chunk, or none. For who fetches files for himself, whole ones.
    pub fn bytes(&self) -> &'i [u8] {
        if let Self::Chunk(bytes) = self { bytes } else { &[] }
    }
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Fetch [`Turn::request`], or go on with it.
    Fetch,
    /// The turn is over. For so many seconds there is nothing to do.
    Wait(u32),
    /// The turn is over. Restart the device.
    Restart,
}

/// How a turn ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The repository has nothing for this device.
    UpToDate,
    /// This image is in its slot, and may not be installed yet.
    Staged(SlotImage),
    /// This image will be tried at the next start. If it was pending already, the repository still wants it.
    Pending(SlotImage),
    /// The repository changed its mind, while the image came down or was pending. The image will not be tried;
    /// the next turn sees what the repository wants now.
    Superseded,
    /// The image on trial is the active one from now on.
    Confirmed(SlotImage),
    /// The image on trial was given up. A restart brings back the active one.
    Reverted(SlotImage),
    /// The image on trial does not know yet how it does.
    Undecided(SlotImage),
    /// The image on trial is healthy, and has not reached its repository.
    NoContact(SlotImage, Error),
    /// The product did not allow it.
    NotAllowed,
    /// It is too early after a failure.
    TooEarly,
    /// As much as a day may cost was spent: bytes, or erases.
    Spent,
}

impl<'a, F: NorFlash, H> Engine<'a, F, H> {
    /// A device. `id` decides its place in rollouts and the moment of its next look, nothing else.
    pub fn new(flash: Flash<F>, handover: H, crypto: &'a Crypto, factory: Factory<'a>, id: &'a [u8]) -> Self {
        let (settings, bans, after) = (Settings::default(), Vec::new(), After::default());
        Self { flash, handover, crypto, factory, id, settings, bans, after }
    }

    /// The same, less patient or more.
    #[must_use]
    pub fn with(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// The flash.
    pub fn flash_mut(&mut self) -> &mut Flash<F> {
        &mut self.flash
    }

    /// The way to the bootloader.
    pub fn handover_mut(&mut self) -> &mut H {
        &mut self.handover
    }

    /// What the device trusts and remembers, read from its flash.
    ///
    /// # Errors
    ///
    /// Those of [`Trust::load`].
    pub fn trust(&mut self) -> Result<Trust, Error> {
        Trust::load(&mut self.flash, self.crypto, &self.factory)
    }

    /// The next turn looks at the repository even if it is early after a failure, and at all of it: somebody asked for it.
    pub fn hurry(&mut self) {
        self.after.hurry = true;
    }

    /// How the last turn of this start ended that did not merely wait, and whether what runs is on trial.
    pub(crate) fn last(&self) -> ((u16, u16), bool) {
        (self.after.last, self.after.on_trial)
    }

    /// Begins a turn.
    ///
    /// # Errors
    ///
    /// Those of [`Trust::load`], [`Handover::standing`] and of the flash: there is nothing to go on from. For what to do then
    /// see [`Engine::after`].
    pub fn turn<'t>(
        &'t mut self,
        work: &'t mut Work,
        source: Source,
        product: &mut dyn Product,
    ) -> Result<Turn<'t, F, H>, Error>
    where
        H: Handover<F>,
    {
        let Work { trust, is_read, scratch } = work;
        *is_read = false;
        trust.load_here(&mut self.flash, scratch, self.crypto, &self.factory)?;
        *is_read = true;
        // No `?` here, nor above: each would have another copy of what it passes on.
        match Turn::look(self, trust, product) {
            Ok(standing) => Ok(Turn::begun(self, trust, scratch, source, standing, product)),
            Err(error) => Err(error),
        }
    }

    /// What to do when no turn could begin, for this reason.
    pub fn after(&mut self, error: &Error, product: &mut dyn Product) -> Want {
        product.observe(Event::Failed(*error));
        self.after.last = (FAILED, error.code());
        if matches!(error, Error::Environment(Environment::GivenUpRuns)) {
            let record = BootRecord::load(&mut self.flash);
            return match record {
                Ok(record) if !product.may(Ask::Restart(&record.active)) => Want::Wait(ASK_AGAIN),
                _ => Want::Restart,
            };
        }
        self.after.errors = one_more(self.after.errors);
        Want::Wait(self.settings.pause_after(self.after.errors, self.id))
    }
}
