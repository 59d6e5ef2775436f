//! The same engine in an Embassy task, which gives way to others while it waits for bytes. Runs on a host, for a simulated
//! device that `tuffet provision` made, over a repository in a folder: `embassy_task device.nor factory.json public`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program")]

use std::{env, fs, process};

use embassy_executor::Spawner;
use embassy_time::{Instant, Timer};
use tuffet_agent::boot::{SlotImage, decide_boot};
use tuffet_agent::engine::{Engine, Input, Source, Want, Work};
use tuffet_agent::factory_file::FactoryFile;
use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::handover::Direct;
use tuffet_agent::product::{Health, Now, Product};
use tuffet_agent::{Flash, FlashMap, Request, TransportFault};
use tuffet_client::{Clock, SOFTWARE};

struct Lamp;

impl Product for Lamp {
    fn now(&mut self) -> Now {
        let uptime = Instant::now().as_secs().try_into().unwrap_or(u32::MAX);
        Now { clock: Clock::Unknown, uptime }
    }

    fn health(&mut self, _: &SlotImage) -> Health {
        Health::Good
    }
}

/// Stands for a network: the bytes that are wanted of a file, if there is one.
fn read(folder: &str, Request { path, from, limit, .. }: &Request) -> Option<Vec<u8>> {
    let bytes = fs::read(format!("{folder}/{path}")).ok()?;
    Some(bytes.get(*from as usize..bytes.len().min(*limit as usize))?.to_vec())
}

#[embassy_executor::task]
async fn update(mut engine: Engine<'static, FileFlash, Direct>, folder: String) {
    let mut work = Work::default();
    loop {
        let want = match &mut engine.turn(&mut work, Source::Repository, &mut Lamp) {
            Err(error) => engine.after(error, &mut Lamp),
            Ok(turn) => {
                while let Some(request) = turn.request() {
                    let bytes = read(&folder, &request);
                    for piece in bytes.iter().flat_map(|bytes| bytes.chunks(256)) {
                        if turn.step(Input::Chunk(piece), &mut Lamp) != Want::Fetch {
                            break;
                        }
                        embassy_futures::yield_now().await;
                    }
                    if turn.want() == Want::Fetch {
                        let missing = || Input::Failed(TransportFault::NotFound.into());
                        turn.step(bytes.map_or_else(missing, |_| Input::End), &mut Lamp);
                    }
                }
                println!("{:?}", turn.outcome());
                turn.want()
            }
        };
        match want {
            Want::Wait(seconds) => Timer::after_secs(seconds.into()).await,
            // On a microcontroller this is a reset, after which the bootloader decides.
            _ => process::exit(0),
        }
    }
}

fn engine() -> Result<(Engine<'static, FileFlash, Direct>, String), Box<dyn core::error::Error>> {
    let arguments: Vec<String> = env::args().collect();
    let [_, flash, facts, folder] = arguments.as_slice() else {
        return Err("which flash, facts, folder?".into());
    };
    let facts = Box::leak(Box::new(FactoryFile::parse(&fs::read(facts)?)?));
    let mut flash = Flash::new(FileFlash::open(flash.as_ref())?, FlashMap::DEMO)?;
    let running = Some(decide_boot(&mut flash)?.start.digest);
    let engine = Engine::new(flash, Direct { running }, &SOFTWARE, facts.factory(), b"lamp-1");
    Ok((engine, folder.clone()))
}

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    match engine() {
        Ok((engine, folder)) => spawner.spawn(update(engine, folder).expect("it is spawned once")),
        Err(error) => eprintln!("{error}"),
    }
}
