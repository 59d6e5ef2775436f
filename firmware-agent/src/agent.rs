//! An agent that waits for its files: the [`Engine`] driven by a blocking [`Transport`].
//!
//! For programs that do one thing at a time, step by step: [`Agent::check`], a restart, [`Agent::started`]. What runs all the
//! time, and keeps its own hours, drives the engine itself.

use embedded_storage::nor_flash::NorFlash;
use tuffet_client::{Clock, Crypto};

use crate::boot::{self, SlotImage};
use crate::engine::{Engine, Input, Outcome, Source, Turn, Want, Work};
use crate::error::{Error, Misuse};
use crate::event::Event;
use crate::factory::Factory;
use crate::flash::Flash;
use crate::handover::{Direct, Handover};
use crate::product::{Ask, Health, Now, Product};
use crate::transport::Transport;
use crate::trust_store::Trust;

/// A device whose bootloader calls [`boot::decide_boot`], and its way to the repository.
#[derive(Debug)]
pub struct Agent<'a, F, T> {
    engine: Engine<'a, F, Direct>,
    transport: T,
    work: Work,
    trust: Trust,
}

/// Where a check ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Checked {
    /// The repository has nothing for this device.
    UpToDate,
    /// This image will be tried at the next start. If it was pending already, the repository still wants it.
    Pending(SlotImage),
    /// Nothing was asked of the repository, for this image is on trial.
    TrialUndecided(SlotImage),
    /// The repository changed its mind, while the image came down or was pending. The image will not be tried;
    /// the next check sees what the repository wants now.
    Superseded,
    /// A slot was erased as often as it may be on one day. What is missing comes tomorrow.
    Spent,
}

/// Where a start ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Started {
    /// The active image runs, and nothing is on trial.
    Active(SlotImage),
    /// The image on trial runs, and is the active one from now on.
    Confirmed(SlotImage),
    /// The image on trial was given up. A restart brings back the active one.
    Reverted(SlotImage),
    /// The image on trial runs, and reached no repository yet. Its start took one try; waiting takes no further one.
    /// The caller calls [`Agent::started`] again, without a restart.
    NoContact(SlotImage, Error),
}

impl<'a, F: NorFlash, T: Transport> Agent<'a, F, T> {
    /// Reads the trust store of a device. `id` decides its place in rollouts, nothing else.
    ///
    /// # Errors
    ///
    /// Those of [`Trust::load`].
    pub fn new(
        flash: Flash<F>,
        transport: T,
        crypto: &'a Crypto,
        factory: Factory<'a>,
        id: &'a [u8],
    ) -> Result<Self, Error> {
        let mut engine = Engine::new(flash, Direct { running: None }, crypto, factory, id);
        let trust = engine.trust()?;
        Ok(Self { engine, transport, work: Work::default(), trust })
    }

    /// What the device trusts and remembers.
    pub fn trust(&self) -> &Trust {
        &self.trust
    }

    /// The flash.
    pub fn flash_mut(&mut self) -> &mut Flash<F> {
        self.engine.flash_mut()
    }

    /// The way to the repository.
    pub fn transport_mut(&mut self) -> &mut T {
        &mut self.transport
    }

    /// Asks the repository, and brings what it has for this device as far as to be tried at the next start.
    ///
    /// An image that is pending, and was not started yet, is authorised once more. The repository may take it back;
    /// as long as the repository cannot be asked, it stays pending.
    ///
    /// `now` is read at the start of each refresh, of which there are two when there is something to download:
    /// that may take days, and what expired meanwhile is not installed. Over a bundle there is one refresh, and
    /// the second reading is held against its dates.
    ///
    /// # Errors
    ///
    /// Any. Active slot, boot record and, but for what was newly verified, the trust store are what they were;
    /// the inactive slot starts on no account. It keeps what came of an image, unless that is found to be another one, and
    /// the next check goes on from there.
    pub fn check(
        &mut self,
        now: &mut dyn FnMut() -> Clock,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Checked, Error> {
        let outcome = self.turn(&mut Caller { now, observe, healthy: None })?;
        Ok(match outcome {
            Outcome::Pending(image) => Checked::Pending(image),
            Outcome::Undecided(image) => Checked::TrialUndecided(image),
            Outcome::Superseded => Checked::Superseded,
            Outcome::Spent => Checked::Spent,
            // Everything is allowed, and nobody is sent away.
            _ => Checked::UpToDate,
        })
    }

    /// Starts the device as a bootloader would, then goes on as [`Agent::started`] does. For devices that
    /// are simulated, or that boot by this very program.
    ///
    /// # Errors
    ///
    /// Those of [`boot::decide_boot`] and [`Agent::started`].
    pub fn boot(
        &mut self,
        now: &mut dyn FnMut() -> Clock,
        healthy: &mut dyn FnMut(&SlotImage) -> bool,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Started, Error> {
        let decision = boot::decide_boot(self.engine.flash_mut())?;
        observe(Event::Start(&decision));
        self.started(&decision.start.digest, now, healthy, observe)
    }

    /// What an image does once it runs: enter what became of the last trial, and if it is on trial itself,
    /// prove its worth. `running` is the digest of the image that calls, whatever the bootloader reports.
    ///
    /// `healthy` is the product's own check. On top of it comes ours: the image must reach its repository and
    /// see a timestamp that verifies, for one that cannot update can never be repaired.
    ///
    /// # Errors
    ///
    /// Those of the flash. No contact is no error, see [`Started::NoContact`].
    pub fn started(
        &mut self,
        running: &[u8; 32],
        now: &mut dyn FnMut() -> Clock,
        healthy: &mut dyn FnMut(&SlotImage) -> bool,
        observe: &mut dyn FnMut(Event<'_>),
    ) -> Result<Started, Error> {
        self.engine.handover_mut().running = Some(*running);
        let outcome = self.turn(&mut Caller { now, observe, healthy: Some(healthy) });
        self.engine.handover_mut().running = None;
        Ok(match outcome? {
            Outcome::Confirmed(image) => Started::Confirmed(image),
            Outcome::Reverted(image) => Started::Reverted(image),
            Outcome::NoContact(image, error) => Started::NoContact(image, error),
            // Nothing else is allowed.
            _ => Started::Active(boot::BootRecord::load(self.engine.flash_mut())?.active),
        })
    }

    /// One turn. After an error, memory is what flash is.
    fn turn(&mut self, product: &mut dyn Product) -> Result<Outcome, Error> {
        let source = if self.transport.is_bundle() { Source::Bundle } else { Source::Repository };
        self.engine.hurry();
        let outcome = match self.engine.turn(&mut self.work, source, product) {
            Ok(mut turn) => drive(&mut turn, &mut self.transport, product),
            Err(error) => Err(error),
        };
        self.trust = match self.work.trust() {
            Some(trust) if outcome.is_ok() => trust.clone(),
            _ => self.engine.trust()?,
        };
        outcome
    }
}

/// Drives a turn to its end.
///
/// # Errors
///
/// What the turn ended in.
pub fn drive<F: NorFlash, H: Handover<F>>(
    turn: &mut Turn<'_, F, H>,
    transport: &mut dyn Transport,
    product: &mut dyn Product,
) -> Result<Outcome, Error> {
    drive_until(turn, transport, product, &|| false);
    turn.outcome().clone()
}

/// The same until `stop` says so. Whether the turn came to its end; one that did not is to be dropped, which is as if the power
/// had failed.
pub fn drive_until<F: NorFlash, H: Handover<F>>(
    turn: &mut Turn<'_, F, H>,
    transport: &mut dyn Transport,
    product: &mut dyn Product,
    stop: &dyn Fn() -> bool,
) -> bool {
    while let (Want::Fetch, Some(request)) = (turn.want(), turn.request()) {
        if stop() {
            return false;
        }
        let fetched = transport.fetch(&request, &mut |input| {
            if stop() {
                return Err(Misuse::TurnOver.into());
            }
            match turn.step(input, product) {
                Want::Fetch => Ok(()),
                // What is behind this is not of use, or must not be.
                _ => Err(Misuse::TurnOver.into()),
            }
        });
        match fetched {
            _ if stop() => return false,
            Ok(()) => turn.step(Input::End, product),
            Err(_) if turn.want() != Want::Fetch => break,
            Err(error) => turn.step(Input::Failed(error), product),
        };
    }
    true
}

/// Who calls an [`Agent`].
struct Caller<'c> {
    now: &'c mut dyn FnMut() -> Clock,
    observe: &'c mut dyn FnMut(Event<'_>),
    /// There is one for who just started, and wants to know about the trial alone.
    healthy: Option<&'c mut dyn FnMut(&SlotImage) -> bool>,
}

impl Product for Caller<'_> {
    fn now(&mut self) -> Now {
        (self.now)().into()
    }

    fn may(&mut self, _: Ask<'_>) -> bool {
        self.healthy.is_none()
    }

    fn health(&mut self, image: &SlotImage) -> Health {
        match &mut self.healthy {
            None => Health::Unknown,
            Some(healthy) => {
                if healthy(image) {
                    Health::Good
                } else {
                    Health::Bad
                }
            }
        }
    }

    fn observe(&mut self, event: Event<'_>) {
        (self.observe)(event);
    }
}
