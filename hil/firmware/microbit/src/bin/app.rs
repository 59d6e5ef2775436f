//! The application: the lamp of `tuffet-device`, with embassy-boot's hand-over and files over the UART.

#![no_std]
#![no_main]
#![allow(unsafe_code, reason = "one instruction that crashes")]

use core::arch::asm;
use core::mem::MaybeUninit;
use core::panic::PanicInfo;

use cortex_m_rt::entry;
use defmt::{error, info};
use embedded_storage::nor_flash::ReadNorFlash;
use tuffet_agent::Flash;
use tuffet_agent::engine::{Engine, Work};
use tuffet_agent::flash_map::{FlashMap, Layout, Region};
use tuffet_agent::handover::EmbassyBoot;
use tuffet_device::{Behaviour, Board, Device, Stamp};
use tuffet_hil_protocol::board::{MICROBIT, Part};
use tuffet_hil_protocol::page::{self, DevicePage};
use tuffet_microbit::line::Line;
use tuffet_microbit::nvmc::Nvmc;
use tuffet_microbit::{log, power, stack, timer, uart};

const fn region(Part { offset, length }: Part) -> Region {
    Region { offset, length }
}

const MAP: FlashMap = match FlashMap::new(Layout {
    erase_unit: MICROBIT.erase_unit,
    write_unit: MICROBIT.write_unit,
    erased: 0xFF,
    boot: region(MICROBIT.boot),
    trust: region(MICROBIT.trust),
    slot_a: region(MICROBIT.slot_a),
    slot_b: region(MICROBIT.slot_b),
}) {
    Ok(map) => map,
    Err(_) => panic!("the board's map is wrong"),
};

const STATE: Region = match MICROBIT.state {
    Some(state) => region(state),
    None => panic!("the board has embassy-boot"),
};

/// RAM of the client and of the agent, for who measures.
#[used]
static RAM_OF_BOTH: [u32; 2] = tuffet_device::ram::<Nvmc, EmbassyBoot>();

#[entry]
fn main() -> ! {
    // What is large lies in statics, so that the stack is a stack, and the linker adds all of it up.
    static mut PAGE: MaybeUninit<DevicePage> = MaybeUninit::uninit();
    static mut WORK: MaybeUninit<Work> = MaybeUninit::uninit();
    static mut ENGINE: MaybeUninit<Engine<'static, Nvmc, EmbassyBoot>> = MaybeUninit::uninit();
    static mut LINE: Line = Line::new();

    stack::paint();
    uart::start();
    let Some(page) = page() else {
        error!("there is no device page");
        power::tuffet_switch_off(false)
    };
    let page = &*PAGE.write(page);
    let stamp = Stamp::own();
    let mut device = Device { board: Microbit, page, stamp, running: None };
    device.greet();

    let flash = Flash::new(Nvmc, MAP);
    let joined = flash.and_then(|flash| EmbassyBoot::new(&flash, STATE).map(|handover| (flash, handover)));
    let (flash, handover) = match joined {
        Ok(joined) => joined,
        Err(error) => {
            error!("the map does not fit the flash: {}", error);
            power::tuffet_switch_off(false)
        }
    };
    // An image that is to be alone asks, and hears nothing.
    if stamp.behaviour() != Behaviour::Alone {
        uart::listen();
    }
    LINE.is_bundle = page.bundle;
    let work = put(WORK, Work::default);
    let engine = put(ENGINE, || device.engine(flash, handover));
    device.run(engine, work, LINE)
}

fn page() -> Option<DevicePage> {
    let mut bytes = [0; page::LENGTH];
    Nvmc.read(MICROBIT.device_page, &mut bytes).ok()?;
    DevicePage::decode(&bytes)
}

/// Makes something and puts it there. Out of line, for what is made may lie on the stack before it is moved, and should lie there
/// no longer.
#[inline(never)]
fn put<T>(place: &'static mut MaybeUninit<T>, make: impl FnOnce() -> T) -> &'static mut T {
    place.write(make())
}

/// The board.
struct Microbit;

impl Board for Microbit {
    const HARDWARE: &'static str = MICROBIT.name;

    fn uptime(&mut self) -> u32 {
        timer::seconds()
    }

    fn wait(&mut self, seconds: u32) {
        timer::wait(seconds);
    }

    fn disarm(&mut self) {
        timer::disarm();
    }

    fn wire(&self) -> [u32; 2] {
        uart::counts()
    }

    fn busy(&self) -> u32 {
        timer::busy()
    }

    fn stack(&self) -> u32 {
        stack::used()
    }

    fn crash(&mut self) -> ! {
        // SAFETY: it ends in the bootloader's handler.
        unsafe { asm!("udf #0", options(noreturn)) }
    }

    fn restart(&mut self) -> ! {
        power::reset()
    }

    fn switch_off(&mut self, well: bool) -> ! {
        power::tuffet_switch_off(well)
    }
}

#[panic_handler]
fn panic(_: &PanicInfo) -> ! {
    if log::is_idle() {
        info!("panicked");
    }
    power::reset()
}
