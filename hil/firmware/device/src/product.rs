//! The product: a lamp that updates itself, says on its log what it does, and is switched off when there is nothing left to do.
//!
//! Whoever runs the emulator waits for these lines, which do not change: `start {version}`, `turn {outcome} {error}`,
//! `wait {seconds}`, `wire {received} {sent}` and `busy {microseconds}`, both since the start, `stack {bytes}`, `restart`,
//! `asleep`, `trust lost`; and, with the same microseconds as `busy`, `came` when the last byte of an image is written, and `staged`
//! when the image has been read back and hashed.

use defmt::info;
use embedded_storage::nor_flash::NorFlash;
use tuffet_agent::agent::drive_until;
use tuffet_agent::engine::{Engine, Outcome, Source, Turn, Want, Work};
use tuffet_agent::product::{Health, Now, Product};
use tuffet_agent::report::FAILED;
use tuffet_agent::schedule::Settings;
use tuffet_agent::{Error, Event, Flash, Handover, SlotImage, Transport};
use tuffet_client::limits::DEVICE;
use tuffet_client::{Clock, Refresh, SOFTWARE, Trusted};
use tuffet_hil_protocol::ASLEEP;
use tuffet_hil_protocol::page::DevicePage;

use crate::stamp::{Behaviour, Stamp};

/// What a board is asked for, besides flash and transport.
pub trait Board {
    /// Its name in the repository.
    const HARDWARE: &'static str;

    /// Seconds since it started.
    fn uptime(&mut self) -> u32;

    /// Waits so many seconds.
    fn wait(&mut self, seconds: u32);

    /// What runs has proved itself, or needs not to: nothing resets it any more.
    fn disarm(&mut self);

    /// Bytes that went over its line since it started: received and sent.
    fn wire(&self) -> [u32; 2];

    /// Microseconds since it started in which it did not wait for anything.
    fn busy(&self) -> u32;

    /// The most bytes of stack that were in use at any time since it started.
    fn stack(&self) -> u32;

    /// Fails as programs do.
    fn crash(&mut self) -> !;

    /// Starts anew.
    fn restart(&mut self) -> !;

    /// Is switched off, by somebody who wants to know whether all went well.
    fn switch_off(&mut self, well: bool) -> !;
}

/// Bytes of RAM of the client and of the agent during a turn, whether they lie in statics or on the stack.
#[must_use]
pub const fn ram<F, H>() -> [u32; 2] {
    let client = size_of::<Trusted>() + size_of::<Refresh<'_>>() + DEVICE.memory();
    let both = size_of::<Work>() + size_of::<Engine<'_, F, H>>() + size_of::<Turn<'_, F, H>>();
    [client as u32, (both - client) as u32]
}

/// The lamp on a board.
pub struct Device<'d, B> {
    /// The board.
    pub board: B,
    /// What its maker told it.
    pub page: &'d DevicePage,
    /// The image that runs.
    pub stamp: &'d Stamp,
    /// SHA-256 of that image, as its bootloader named it.
    pub running: Option<[u8; 32]>,
}

impl<'d, B: Board> Device<'d, B> {
    /// Says which image runs. One that is to fail right after its start does so here.
    pub fn greet(&mut self) {
        info!("start {=str}", self.stamp.version());
        if let Some(digest) = self.running {
            info!("runs {=[u8]:02x}", digest);
        }
        match self.stamp.behaviour() {
            Behaviour::Hangs => loop {
                core::hint::spin_loop();
            },
            Behaviour::Crashes => self.board.crash(),
            _ => {}
        }
    }

    /// The engine of this device.
    pub fn engine<F: NorFlash, H>(&self, flash: Flash<F>, handover: H) -> Engine<'d, F, H> {
        let DevicePage { id, every, retry, .. } = self.page;
        let settings = Settings { every: *every, retry: *retry, ..Settings::default() };
        Engine::new(flash, handover, &SOFTWARE, self.stamp.factory(B::HARDWARE), id).with(settings)
    }

    /// Takes turns until the device restarts or sleeps.
    pub fn run<F: NorFlash, H: Handover<F>>(
        &mut self,
        engine: &mut Engine<'_, F, H>,
        work: &mut Work,
        line: &mut dyn Transport,
    ) -> ! {
        loop {
            let want = self.turn(engine, work, line);
            self.obey(want);
        }
    }

    /// One turn. It stays where it is made: it is the largest thing on the stack, and must not be there twice.
    #[inline(never)]
    fn turn<F: NorFlash, H: Handover<F>>(
        &mut self,
        engine: &mut Engine<'_, F, H>,
        work: &mut Work,
        line: &mut dyn Transport,
    ) -> Want {
        let source = if line.is_bundle() { Source::Bundle } else { Source::Repository };
        let error = match &mut engine.turn(work, source, self) {
            Ok(turn) => return self.drive(turn, line),
            Err(error) => *error,
        };
        let want = engine.after(&error, self);
        self.say(FAILED, Some(&error));
        want
    }

    /// A turn to its end. Out of line, so that its request is not on the stack while a turn begins.
    #[inline(never)]
    fn drive<F: NorFlash, H: Handover<F>>(
        &mut self,
        turn: &mut Turn<'_, F, H>,
        line: &mut dyn Transport,
    ) -> Want {
        drive_until(turn, line, self, &|| false);
        self.ended(turn);
        turn.want()
    }

    /// A turn is over.
    fn ended<F: NorFlash, H: Handover<F>>(&mut self, turn: &Turn<'_, F, H>) {
        match turn.outcome() {
            Ok(outcome @ Outcome::NoContact(_, error)) => self.say(outcome.code(), Some(error)),
            Ok(outcome) => self.say(outcome.code(), None),
            Err(error) => self.say(FAILED, Some(error)),
        }
        let tried = turn.record().trial.as_ref().map(|trial| trial.image.digest);
        let on_trial = tried.is_some_and(|tried| self.running.is_none_or(|running| running == tried));
        if !on_trial || matches!(turn.outcome(), Ok(Outcome::Confirmed(_))) {
            self.board.disarm();
        }
    }

    /// Says how a turn ended, and what it cost.
    fn say(&self, outcome: u16, error: Option<&Error>) {
        info!("turn {=u16} {=u16}", outcome, error.map_or(0, Error::code));
        let [received, sent] = self.board.wire();
        info!("wire {=u32} {=u32}", received, sent);
        info!("busy {=u32}", self.board.busy());
    }

    fn obey(&mut self, want: Want) {
        match want {
            Want::Wait(seconds) if seconds < ASLEEP => {
                info!("wait {=u32}", seconds);
                self.board.wait(seconds);
            }
            Want::Wait(seconds) => {
                info!("wait {=u32}", seconds);
                info!("stack {=u32}", self.board.stack());
                info!("asleep");
                self.board.switch_off(true)
            }
            Want::Restart => {
                info!("stack {=u32}", self.board.stack());
                info!("restart");
                self.board.restart()
            }
            // A turn that is over wants no file.
            Want::Fetch => {}
        }
    }
}

impl<B: Board> Product for Device<'_, B> {
    fn now(&mut self) -> Now {
        let uptime = self.board.uptime();
        let clock = match self.page.now {
            0 => Clock::Unknown,
            start => Clock::At(start.saturating_add(uptime.into())),
        };
        Now { clock, uptime }
    }

    fn health(&mut self, _: &SlotImage) -> Health {
        match self.stamp.behaviour() {
            Behaviour::Unfit => Health::Bad,
            _ => Health::Good,
        }
    }

    fn observe(&mut self, event: Event<'_>) {
        match event {
            Event::TrustLost(_) => info!("trust lost"),
            Event::Download { received, length } if received == length => {
                info!("came {=u32}", self.board.busy());
            }
            Event::Staged(_) => info!("staged {=u32}", self.board.busy()),
            _ => {}
        }
        info!("{}", event);
    }
}
