//! The engine in a main loop, as a product without an operating system has it. Runs on a host, for a simulated device that
//! `tuffet provision` made: `main_loop device.nor factory.json http://127.0.0.1:8000/`.

#![expect(clippy::print_stdout, reason = "a program")]

use std::{env, fs, thread, time};

use embedded_storage::nor_flash::NorFlash;
use tuffet_agent::boot::{SlotImage, decide_boot};
use tuffet_agent::engine::{Engine, Input, Source, Want, Work};
use tuffet_agent::factory_file::FactoryFile;
use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::handover::Direct;
use tuffet_agent::http::{HttpOptions, HttpTransport};
use tuffet_agent::product::{Health, Now, Product};
use tuffet_agent::{Flash, FlashMap, Misuse, Transport};
use tuffet_client::{Clock, SOFTWARE};

/// A lamp that has no clock, and is well as long as this runs.
struct Lamp(time::Instant);

impl Product for Lamp {
    fn now(&mut self) -> Now {
        Now { clock: Clock::Unknown, uptime: self.0.elapsed().as_secs().try_into().unwrap_or(u32::MAX) }
    }

    fn health(&mut self, _: &SlotImage) -> Health {
        Health::Good
    }
}

/// Until the device is to restart.
fn run<F: NorFlash>(engine: &mut Engine<'_, F, Direct>, line: &mut dyn Transport, lamp: &mut Lamp) {
    let mut work = Work::default();
    loop {
        let want = match &mut engine.turn(&mut work, Source::Repository, lamp) {
            Err(error) => engine.after(error, lamp),
            Ok(turn) => {
                while let Some(request) = turn.request() {
                    let fetched = line.fetch(&request, &mut |input| match turn.step(input, lamp) {
                        Want::Fetch => Ok(()),
                        _ => Err(Misuse::TurnOver.into()),
                    });
                    turn.step(fetched.map_or_else(Input::Failed, |()| Input::End), lamp);
                }
                println!("{:?}", turn.outcome());
                turn.want()
            }
        };
        match want {
            // A product does its work meanwhile.
            Want::Wait(seconds) => thread::sleep(time::Duration::from_secs(seconds.into())),
            _ => return,
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a program: the uptime enters here")]
fn main() -> Result<(), Box<dyn core::error::Error>> {
    let arguments: Vec<String> = env::args().collect();
    let [_, flash, facts, url] = arguments.as_slice() else {
        return Err("which flash, facts and URL?".into());
    };
    let facts = FactoryFile::parse(&fs::read(facts)?)?;
    let mut line = HttpTransport::new(url, HttpOptions::default())?;
    loop {
        let mut flash = Flash::new(FileFlash::open(flash.as_ref())?, FlashMap::DEMO)?;
        // What the bootloader does.
        let running = Some(decide_boot(&mut flash)?.start.digest);
        let mut engine = Engine::new(flash, Direct { running }, &SOFTWARE, facts.factory(), b"lamp-1");
        run(&mut engine, &mut line, &mut Lamp(time::Instant::now()));
    }
}
