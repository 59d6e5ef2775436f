//! The application: a lamp that updates itself over HTTP.

#![no_std]
#![no_main]

mod log;
mod network;

use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use defmt::{error, info};
use smoltcp::iface::SocketStorage;
use tuffet_agent::Flash;
use tuffet_agent::engine::{Engine, Work};
use tuffet_agent::handover::Direct;
use tuffet_device::{Behaviour, Board, Device, Stamp};
use tuffet_emcraft_sf2::emac::{self, Dma, Emac};
use tuffet_emcraft_sf2::nor::{MAP, Nor};
use tuffet_emcraft_sf2::{image, system, timer, uart};
use tuffet_hil_protocol::board::EMCRAFT_SF2;
use tuffet_hil_protocol::page::DevicePage;

use network::{Buffers, Network};

/// RAM of the client and of the agent, for who measures.
#[used]
static RAM_OF_BOTH: [u32; 2] = tuffet_device::ram::<Nor, Direct>();

#[entry]
fn main() -> ! {
    // What is large lies in statics, so that the stack is a stack, and the linker adds all of it up.
    static mut DMA: Dma = Dma::new();
    static mut BUFFERS: Buffers = Buffers::new();
    static mut SOCKETS: [SocketStorage<'static>; 1] = [SocketStorage::EMPTY];
    static mut NETWORK: MaybeUninit<Network> = MaybeUninit::uninit();
    static mut PAGE: MaybeUninit<DevicePage> = MaybeUninit::uninit();
    static mut WORK: MaybeUninit<Work> = MaybeUninit::uninit();
    static mut ENGINE: MaybeUninit<Engine<'static, Nor, Direct>> = MaybeUninit::uninit();

    system::start();
    uart::start();
    timer::start();
    let mut nor = Nor::start();
    let Some(page) = nor.device_page() else {
        error!("there is no device page");
        system::tuffet_switch_off(false)
    };
    let page = &*PAGE.write(page);
    let stamp = Stamp::own();
    let running = image::hand_off().map(|hand_off| hand_off.digest);
    let mut device = Device { board: Sf2, page, stamp, running };
    device.greet();

    let flash = match Flash::new(nor, MAP) {
        Ok(flash) => flash,
        Err(error) => {
            error!("the map does not fit the flash: {}", error);
            system::tuffet_switch_off(false)
        }
    };
    let [a, b, c, d, e, ..] = page.id;
    let mac = Emac::start([0x02, a, b, c, d, e], DMA);
    let server = match stamp.behaviour() {
        // Nobody has this address.
        Behaviour::Alone => [10, 0, 2, 200],
        _ => page.server,
    };
    let network = put(NETWORK, || Network::start(mac, BUFFERS, SOCKETS, server, page));
    let work = put(WORK, Work::default);
    let engine = put(ENGINE, || device.engine(flash, Direct { running }));
    device.run(engine, work, network)
}

/// Makes something and puts it there. Out of line, for what is made may lie on the stack before it is moved, and should lie there
/// no longer.
#[inline(never)]
fn put<T>(place: &'static mut MaybeUninit<T>, make: impl FnOnce() -> T) -> &'static mut T {
    place.write(make())
}

/// The board.
struct Sf2;

impl Board for Sf2 {
    const HARDWARE: &'static str = EMCRAFT_SF2.name;

    fn uptime(&mut self) -> u32 {
        timer::seconds()
    }

    fn wait(&mut self, seconds: u32) {
        let end = timer::milliseconds().saturating_add(u64::from(seconds) * 1000);
        while timer::milliseconds() < end {
            timer::pause();
        }
    }

    fn disarm(&mut self) {
        timer::disarm();
    }

    fn wire(&self) -> [u32; 2] {
        emac::wire()
    }

    fn busy(&self) -> u32 {
        timer::busy()
    }

    fn stack(&self) -> u32 {
        image::stack_used()
    }

    fn crash(&mut self) -> ! {
        cortex_m::asm::udf()
    }

    fn restart(&mut self) -> ! {
        system::restart()
    }

    fn switch_off(&mut self, well: bool) -> ! {
        system::tuffet_switch_off(well)
    }
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    if log::is_idle() {
        info!("panicked");
    }
    system::restart()
}
