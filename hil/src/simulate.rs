//! The same device in the laboratory's simulator: agent and bootloader from the same sources over a simulated flash, for what
//! a board does to be held against.

use core::ops::Range;

use embedded_storage::nor_flash::{ErrorType, NorFlash, NorFlashErrorKind, ReadNorFlash};
use tuffet_agent::Flash;
use tuffet_agent::agent::drive;
use tuffet_agent::boot::{SlotImage, decide_boot};
use tuffet_agent::engine::{Engine, Source, Want, Work};
use tuffet_agent::flash_map::Region;
use tuffet_agent::handover::{Direct, EmbassyBoot, Handover};
use tuffet_agent::http::{HttpOptions, HttpTransport};
use tuffet_agent::product::{Health, Now, Product};
use tuffet_agent::schedule::Settings;
use tuffet_client::Clock;
use tuffet_hil_protocol::ASLEEP;
use tuffet_hil_protocol::board::{EMCRAFT_SF2, MICROBIT, Part};
use tuffet_tests::lab::loader::start_by_embassy;
use tuffet_tests::lab::nor::{Cut, Nor, Operation, Tear, halfway};
use tuffet_tests::lab::world::CRYPTO;
use tuffet_tests::simulator::digest;

use crate::board::Board;
use crate::world::World;

/// Starts until a device sleeps, at the most.
const STARTS: usize = 30;

/// What a flash driver programs at once, at the most.
const PAGE: usize = 256;

/// What became of a device.
#[derive(Clone, Debug)]
pub struct Life {
    /// What is on its flash.
    pub flash: Vec<u8>,
    /// What was done to it until then.
    pub operations: Vec<Operation>,
}

/// Switches a device on, and lets it run until it sleeps, or until this operation, which is torn.
///
/// # Errors
/// That it does not come to an end, or does what no device may.
pub fn live(world: &World<'_>, flash: Vec<u8>, cut: Option<(Cut, u8)>) -> Result<Life, String> {
    match world.firmware.board {
        Board::EmcraftSf2 => {
            run::<{ EMCRAFT_SF2.erase_unit as usize }, { EMCRAFT_SF2.write_unit as usize }>(world, flash, cut)
        }
        Board::Microbit => {
            run::<{ MICROBIT.erase_unit as usize }, { MICROBIT.write_unit as usize }>(world, flash, cut)
        }
    }
}

fn run<const ERASE: usize, const WRITE: usize>(
    world: &World<'_>,
    flash: Vec<u8>,
    cut: Option<(Cut, u8)>,
) -> Result<Life, String> {
    let mut nor = Nor::<ERASE, WRITE>::holding(flash, 0xFF);
    nor.takes_all_bits_again = world.firmware.board.swaps();
    if let Some((cut, noise)) = cut {
        nor.plan(Some(cut));
        nor.disturb(noise);
    }
    for _ in 0..STARTS {
        let over = start(world, &mut nor);
        if !nor.powered() || over? {
            return Ok(Life { flash: nor.bytes().to_vec(), operations: nor.operations });
        }
    }
    Err(format!("after {STARTS} starts the simulated device still has something to do"))
}

/// One start. Whether the device sleeps now.
fn start<const ERASE: usize, const WRITE: usize>(
    world: &World<'_>,
    nor: &mut Nor<ERASE, WRITE>,
) -> Result<bool, String> {
    let board = world.firmware.board;
    let map = board.map();
    match board.layout().state {
        None => {
            let mut flash = Flash::new(Driver(nor), map).map_err(words)?;
            let running = decide_boot(&mut flash).map_err(words)?.start.digest;
            turns(world, Direct { running: Some(running) }, flash, &running)
        }
        Some(Part { offset, length }) => {
            let state = Region { offset, length };
            start_by_embassy(Driver(&mut *nor), &map, state)?;
            let slot = map.layout().slot_a.offset as usize;
            let running = world
                .images()
                .find(|image| nor.bytes()[slot..].starts_with(&image.bytes))
                .ok_or("what starts is mixed, or nobody built it")?;
            let running = digest(&running.bytes);
            let flash = Flash::new(Driver(nor), map).map_err(words)?;
            let handover = EmbassyBoot::new(&flash, state).map_err(words)?;
            turns(world, handover, flash, &running)
        }
    }
}

/// What the image does that runs, as `hil/firmware/device` does it.
fn turns<F: NorFlash, H: Handover<F>>(
    world: &World<'_>,
    handover: H,
    flash: Flash<F>,
    running: &[u8; 32],
) -> Result<bool, String> {
    let image = world.image(running).ok_or("nobody built what runs")?;
    let (id, every, retry) = (world.page.id, world.page.every, world.page.retry);
    let settings = Settings { every, retry, ..Settings::default() };
    let mut engine = Engine::new(flash, handover, &CRYPTO, world.factory(image.counter), &id).with(settings);
    let mut line = HttpTransport::new(
        &world.mirror.url(),
        HttpOptions { danger_allow_plain_http: true, ..HttpOptions::default() },
    )
    .map_err(words)?;
    let mut lamp = Lamp { uptime: 0 };
    let mut work = Work::default();
    loop {
        let want = match engine.turn(&mut work, Source::Repository, &mut lamp) {
            Err(error) => engine.after(&error, &mut lamp),
            Ok(mut turn) => {
                // What it ended in is seen in what it wants.
                let _ = drive(&mut turn, &mut line, &mut lamp);
                turn.want()
            }
        };
        match want {
            Want::Restart => return Ok(false),
            Want::Wait(seconds) if seconds < ASLEEP => lamp.uptime += seconds.max(1),
            _ => return Ok(true),
        }
    }
}

/// A lamp that is well and has no clock.
struct Lamp {
    uptime: u32,
}

impl Product for Lamp {
    fn now(&mut self) -> Now {
        Now { clock: Clock::Unknown, uptime: self.uptime }
    }

    fn health(&mut self, _: &SlotImage) -> Health {
        Health::Good
    }
}

/// What a driver does between an agent and a flash: one erase unit at a time, and one page.
struct Driver<'n, const ERASE: usize, const WRITE: usize>(&'n mut Nor<ERASE, WRITE>);

impl<const ERASE: usize, const WRITE: usize> ErrorType for Driver<'_, ERASE, WRITE> {
    type Error = NorFlashErrorKind;
}

impl<const ERASE: usize, const WRITE: usize> ReadNorFlash for Driver<'_, ERASE, WRITE> {
    const READ_SIZE: usize = 1;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.read(offset, bytes)
    }

    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}

impl<const ERASE: usize, const WRITE: usize> NorFlash for Driver<'_, ERASE, WRITE> {
    const WRITE_SIZE: usize = WRITE;
    const ERASE_SIZE: usize = ERASE;

    fn erase(&mut self, from: u32, to: u32) -> Result<(), Self::Error> {
        for unit in (from..to).step_by(ERASE) {
            self.0.erase(unit, unit + ERASE as u32)?;
        }
        Ok(())
    }

    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        // A SPI NOR's pages are where they are; an nRF51 takes any words.
        let first = if ERASE > PAGE * 16 { PAGE - offset as usize % PAGE } else { PAGE };
        let (first, rest) = bytes.split_at(first.min(bytes.len()));
        self.0.write(offset, first)?;
        for (number, piece) in rest.chunks(PAGE).enumerate() {
            self.0.write(offset + (first.len() + number * PAGE) as u32, piece)?;
        }
        Ok(())
    }
}

/// What a cut leaves of an operation: `flash` is as it was before, or as it is when the operation is complete.
///
/// As the simulated flash does it; see [`tuffet_tests::lab::nor`].
pub fn tear(flash: &mut [u8], operation: &Operation, bytes: &[u8], tear: Tear, noise: u8) {
    let Range { start, end } = operation.range();
    let done = match tear {
        Tear::Before => return,
        Tear::Within { done } | Tear::Unreadable { done } | Tear::Unstable { done } => done,
        Tear::After => end - start,
    };
    match operation {
        Operation::Write(_) => {
            flash[start..start + done].copy_from_slice(&bytes[..done]);
            if let Some(byte) = bytes.get(done) {
                flash[start + done] = halfway(0xFF, *byte, start + done, noise);
            }
        }
        Operation::Erase(_) => {
            flash[start..start + done].fill(0xFF);
            for (at, byte) in flash.iter_mut().enumerate().take(end).skip(start + done) {
                *byte = halfway(*byte, 0xFF, at, noise);
            }
        }
    }
}

fn words(error: impl core::fmt::Display) -> String {
    error.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A flash on which something stands already.
    fn flash() -> Nor<256, 4> {
        let mut nor = Nor::new(512, 0xFF);
        nor.write(0, &[0x5A; 64]).unwrap();
        nor
    }

    #[test]
    fn cut_tears_the_board_s_flash_as_the_simulator_s() {
        let bytes: Vec<u8> = (0..32).map(|byte: u8| byte.wrapping_mul(37)).collect();
        for operation in [Operation::Write(64..96), Operation::Erase(0..256)] {
            let cuts = Cut::all(core::slice::from_ref(&operation));
            let cuts: Vec<Cut> = cuts
                .into_iter()
                .filter(|cut| !matches!(cut.tear, Tear::Unreadable { .. } | Tear::Unstable { .. }))
                .collect();
            assert!(cuts.len() > 16, "{} cuts", cuts.len());
            for (cut, noise) in cuts.into_iter().zip((0..u8::MAX).cycle()) {
                let mut nor = flash();
                let mut torn = nor.bytes().to_vec();
                nor.disturb(noise);
                nor.plan(Some(cut));
                let done = match operation {
                    Operation::Write(_) => nor.write(64, &bytes),
                    Operation::Erase(_) => nor.erase(0, 256),
                };
                assert!(done.is_err(), "the power is gone");
                tear(&mut torn, &operation, &bytes, cut.tear, noise);
                assert_eq!(torn, nor.bytes(), "{cut:?}");
            }
        }
    }
}
