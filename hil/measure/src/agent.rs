//! The whole agent over the files of a repository, and over a flash that outlives it, counted.
//!
//! It is a device between two starts: what it does, its boot record says. With nothing on trial it is first shown forged
//! files, each time as it was when it started, and then honest ones, which it must install; those once more when it has lost
//! its trust store. On trial it must confirm itself, and from then on find nothing new.
//!
//! Instructions are those of the calls of the agent, without what the flash takes: reading files and saying numbers lie
//! between them.

use core::hint::black_box;

use tuffet_agent::engine::{Engine, Input, Outcome, Source, Turn, Want, Work};
use tuffet_agent::event::Event;
use tuffet_agent::flash_map::Region;
use tuffet_agent::handover::Direct;
use tuffet_agent::product::{Health, Now, Product};
use tuffet_agent::schedule::Settings;
use tuffet_agent::{Error, Factory, Flash, FlashMap, SlotImage, TransportFault};
use tuffet_client::limits::DEVICE;
use tuffet_client::{Change, Clock, Refresh, Role, SOFTWARE, Trusted};

use crate::board::{File, paint, say};
use crate::forgery::{Digit, Forgery, Place, ROLES};
use crate::nor::{BYTES, FILE, MAP, Ram, keep, load, time_outside};

/// 2026-11-22T12:00:00Z, the present of the repositories.
const NOW: u64 = 1_795_348_800;
/// Bytes of a chunk: what a radio or a file system hands out at once.
const CHUNK: usize = 512;
/// Bytes of the longest file name here, and the zero that ends it.
const NAME: usize = 160;
/// The number of an image among roles.
const IMAGE: u32 = 5;
/// Appends to a journal, of which the mean is said: as many as fill both areas, and more.
const APPENDS: u32 = 64;

/// The agent's calls, each out of line: what is inlined into them is the agent's, and the rest of this program is not.
mod calls {
    use tuffet_agent::trust_store::store_floors;
    use tuffet_agent::{Flash, Request, Trust};

    use super::{
        Direct, Engine, Error, Factory, Input, Outcome, Product, Ram, SOFTWARE, Settings, Source, Turn, Want,
        Work,
    };

    #[inline(never)]
    pub(super) fn new<'a, 'm>(
        flash: Flash<Ram<'m>>,
        running: Option<[u8; 32]>,
        factory: Factory<'a>,
        settings: Settings,
    ) -> Engine<'a, Ram<'m>, Direct> {
        Engine::new(flash, Direct { running }, &SOFTWARE, factory, b"device-1").with(settings)
    }

    #[inline(never)]
    pub(super) fn turn<'t, 'm>(
        engine: &'t mut Engine<'_, Ram<'m>, Direct>,
        work: &'t mut Work,
        source: Source,
        product: &mut dyn Product,
    ) -> Result<Turn<'t, Ram<'m>, Direct>, Error> {
        engine.turn(work, source, product)
    }

    #[inline(never)]
    pub(super) fn after(
        engine: &mut Engine<'_, Ram<'_>, Direct>,
        error: Error,
        product: &mut dyn Product,
    ) -> Want {
        engine.after(&error, product)
    }

    #[inline(never)]
    pub(super) fn request(turn: &Turn<'_, Ram<'_>, Direct>) -> Option<Request> {
        turn.request()
    }

    #[inline(never)]
    pub(super) fn step(
        turn: &mut Turn<'_, Ram<'_>, Direct>,
        input: Input<'_>,
        product: &mut dyn Product,
    ) -> Want {
        turn.step(input, product)
    }

    #[inline(never)]
    pub(super) fn outcome(turn: &Turn<'_, Ram<'_>, Direct>) -> Result<Outcome, Error> {
        turn.outcome().clone()
    }

    #[inline(never)]
    pub(super) fn code(error: Error) -> u16 {
        error.code()
    }

    #[inline(never)]
    pub(super) fn store(engine: &mut Engine<'_, Ram<'_>, Direct>, trust: &Trust) -> Result<(), Error> {
        store_floors(engine.flash_mut(), trust.trusted.floors(), &trust.memory, trust.lost)
    }
}

/// The product around the agent: it allows everything, is healthy, and knows the time.
#[derive(Default)]
struct Lamp {
    /// What was put on flash.
    stored: u32,
}

impl Product for Lamp {
    fn now(&mut self) -> Now {
        black_box(Now { clock: Clock::At(NOW), uptime: 60 })
    }

    fn health(&mut self, _: &SlotImage) -> Health {
        black_box(Health::Good)
    }

    fn observe(&mut self, event: Event<'_>) {
        if let Event::Stored(Change::Root | Change::Floors) = black_box(event) {
            self.stored = self.stored.wrapping_add(1);
        }
    }
}

/// The way of a file to the agent, and what is counted on it.
struct Transport {
    buffer: [u8; CHUNK],
    name: [u8; NAME],
    forgery: Option<Forged>,
    files: u32,
    /// The role of the last one.
    role: u32,
    /// Bytes of images.
    bytes: u32,
    /// Ticks of all calls, and of those that took an image.
    calls: u32,
    installing: u32,
}

/// What is changed on its way.
#[derive(Clone, Copy)]
enum Forged {
    Metadata(Forgery),
    /// A byte in the middle of the image.
    Image,
}

/// How a turn ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Pending(u32),
    UpToDate,
    Confirmed(u32),
    /// With this code.
    Refused(u16),
    Other,
}

/// What the device does between two starts.
pub(crate) fn run() -> bool {
    let mut bytes = [0; BYTES];
    let mut root = [0; 8192];
    let Some(mut file) = File::open(b"1.root.json\0") else { return false };
    let root = file.read(&mut root);
    if !load(&mut bytes) {
        return false;
    }
    let ended = first_turn("turn", root, None, &mut bytes);
    let went_well = match ended {
        Ended::Pending(_) => {
            say_sizes();
            // The update was first, with nothing before it. Now the same device once more, but for what comes to it.
            forgeries(root)
        }
        Ended::Confirmed(_) => true,
        _ => false,
    };
    went_well && keep(&bytes)
}

/// Bytes of memory: the agent's, and of these what is not its own.
fn say_sizes() {
    let [engine, flash] = [size_of::<Engine<'_, Ram<'_>, Direct>>(), size_of::<Ram<'_>>()];
    let [turn, refresh] = [size_of::<Turn<'_, Ram<'_>, Direct>>(), size_of::<Refresh<'_>>()];
    let [work, trusted] = [size_of::<Work>(), size_of::<Trusted>()];
    let all = [engine, flash, turn, refresh, work, trusted, DEVICE.memory()];
    say("sizes", &all.map(|bytes| bytes as u32));
}

/// Each of them begins like the turn that was accepted. Which code each must end with is for the host to say.
#[inline(never)]
fn forgeries(root: &[u8]) -> bool {
    let mut bytes = [0; BYTES];
    for role in ROLES {
        // Nobody delegates in `four-roles`.
        if role == Role::Delegated && File::open(b"1.bins-0000.json\0").is_none() {
            break;
        }
        for digit in [Digit::Signature, Digit::Expires] {
            if !load(&mut bytes) {
                return false;
            }
            first_turn("forged", root, Some(Forged::Metadata(Forgery { role, digit })), &mut bytes);
            untouched(&bytes);
        }
    }
    let loaded = load(&mut bytes);
    first_turn("forged", root, Some(Forged::Image), &mut bytes);
    untouched(&bytes);
    // And a device that lost its trust store: it begins with what it was born with, which it has to verify first.
    let restored = load(&mut bytes);
    let Region { offset, length } = MAP.layout().trust;
    let lost = bytes.get_mut(offset as usize..).and_then(|bytes| bytes.get_mut(..length as usize));
    lost.unwrap_or_default().fill(0xFF);
    first_turn("lost", root, None, &mut bytes);
    loaded && restored
}

/// Says how many bytes of the boot journal and of the active slot, which is A, are other ones than before the device
/// started, and how many of the other slot's first unit are not blank.
#[inline(never)]
fn untouched(bytes: &[u8; BYTES]) {
    let Some(mut file) = File::open(FILE) else { return };
    let layout = *MAP.layout();
    let inside = |region: Region, at: usize| (region.offset..region.end()).contains(&(at as u32));
    let begin = Region { length: layout.erase_unit, ..layout.slot_b };
    let mut buffer = [0; CHUNK];
    let (mut changed, mut bootable) = (0_u32, 0_u32);
    for (number, now) in bytes.chunks(CHUNK).enumerate() {
        let before = file.read(&mut buffer);
        for (place, (before, now)) in before.iter().zip(now).enumerate() {
            let at = number * CHUNK + place;
            let kept = inside(layout.boot, at) || inside(layout.slot_a, at);
            changed += u32::from(kept && before != now);
            bootable += u32::from(inside(begin, at) && *now != 0xFF);
        }
    }
    say("untouched", &[changed, bootable]);
}

/// The device starts, and has its first turn; and if that confirms what runs, some more.
#[inline(never)]
fn first_turn(what: &str, root: &[u8], forgery: Option<Forged>, bytes: &mut [u8; BYTES]) -> Ended {
    let map: FlashMap = black_box(MAP);
    let Ok(flash) = Flash::new(Ram(bytes), map) else { return Ended::Other };
    let factory = Factory {
        root,
        product: "lamp",
        hardware: "rev-a",
        channel: "stable",
        counter: 0,
        built: NOW - 24 * 60 * 60,
    };
    let mut engine = calls::new(flash, running(), black_box(factory), black_box(Settings::default()));
    let mut work = Work::default();
    let ended = turn(what, &mut engine, &mut work, forgery);
    if let Ended::Confirmed(_) = ended {
        // Nothing new, which is settled by one more look at all files; then nothing new at all.
        turn("settle", &mut engine, &mut work, None);
        turn("poll", &mut engine, &mut work, None);
        appends(&mut engine, &work);
    }
    ended
}

/// The digest that the bootloader gave to what it started.
fn running() -> Option<[u8; 32]> {
    let mut digest = [0; 32];
    let read = File::open(b"running\0")?.read(&mut digest).len();
    (read == digest.len()).then_some(digest)
}

/// Appends the floors, again and again, and says what one takes: in the mean, and at the most.
#[inline(never)]
fn appends(engine: &mut Engine<'_, Ram<'_>, Direct>, work: &Work) {
    let Some(trust) = work.trust() else { return };
    let (mut all, mut most) = (0_u32, 0);
    for _ in 0..APPENDS {
        let (stored, spent) = time_outside(|| calls::store(engine, trust));
        if stored.is_err() {
            return;
        }
        all = all.wrapping_add(spent);
        most = most.max(spent);
    }
    say("append", &[APPENDS, all, most]);
}

/// A turn, counted.
#[inline(never)]
fn turn(
    what: &str,
    engine: &mut Engine<'_, Ram<'_>, Direct>,
    work: &mut Work,
    forgery: Option<Forged>,
) -> Ended {
    let mut transport = Transport::new(forgery);
    let mut lamp = Lamp::default();
    // What lies above the mark is not counted: engine, turn and memory, which are counted by their sizes, and the chunk,
    // which is the transport's.
    let (outcome, used) = in_stack(engine, work, &mut transport, &mut lamp);
    let (ended, [how, number]) = match outcome {
        Ok(Outcome::Pending(image)) => (Ended::Pending(image.sequence), [1, image.sequence]),
        Ok(Outcome::UpToDate) => (Ended::UpToDate, [2, 0]),
        Ok(Outcome::Confirmed(image)) => (Ended::Confirmed(image.sequence), [4, image.sequence]),
        Ok(_) => (Ended::Other, [5, 0]),
        Err(error) => {
            let code = calls::code(error);
            (Ended::Refused(code), [3, code.into()])
        }
    };
    let (role, digit) = match forgery {
        None => (0, 0),
        Some(Forged::Metadata(forgery)) => (forgery.role as u32, forgery.digit as u32),
        Some(Forged::Image) => (IMAGE, 0),
    };
    // What is trusted when it is over.
    let [timestamp, snapshot, targets] = work.trust().map_or([0; 3], |trust| {
        let floors = trust.trusted.floors();
        [floors.timestamp_version(), floors.snapshot_version(), floors.targets_version()]
            .map(Option::unwrap_or_default)
    });
    let Transport { files, role: at, bytes, calls, installing, .. } = transport;
    say(what, &[role, digit, how, number, at, files, timestamp, snapshot, targets, used]);
    say("spent", &[bytes, calls, installing, lamp.stored]);
    ended
}

#[inline(never)]
fn in_stack(
    engine: &mut Engine<'_, Ram<'_>, Direct>,
    work: &mut Work,
    transport: &mut Transport,
    lamp: &mut Lamp,
) -> (Result<Outcome, Error>, u32) {
    let source = black_box(Source::Repository);
    let stack = paint();
    // Through a black box, for the agent does not know its product.
    let (turn, spent) =
        time_outside(|| calls::turn(engine, work, source, black_box::<&mut dyn Product>(lamp)));
    transport.calls = spent;
    let mut turn = match turn {
        Ok(turn) => turn,
        Err(error) => return (Err(error), stack.used()),
    };
    transport.drive(&mut turn, lamp);
    let outcome = calls::outcome(&turn);
    drop(turn);
    if let Err(error) = outcome {
        black_box(calls::after(engine, error, black_box::<&mut dyn Product>(lamp)));
    }
    (outcome, stack.used())
}

impl Transport {
    fn new(forgery: Option<Forged>) -> Transport {
        let (buffer, name) = ([0; CHUNK], [0; NAME]);
        Transport { buffer, name, forgery, files: 0, role: 0, bytes: 0, calls: 0, installing: 0 }
    }

    /// Runs a turn to its end.
    #[inline(never)]
    fn drive(&mut self, turn: &mut Turn<'_, Ram<'_>, Direct>, lamp: &mut Lamp) {
        while let Some(length) = self.next(turn) {
            self.files = self.files.wrapping_add(1);
            match File::open(self.name.get(..length).unwrap_or_default()) {
                None => self.step(turn, Input::Failed(TransportFault::NotFound.into()), lamp),
                Some(file) => self.file(file, turn, lamp),
            }
        }
    }

    /// The name of the file that is wanted, with a zero behind it: so many bytes.
    fn next(&mut self, turn: &Turn<'_, Ram<'_>, Direct>) -> Option<usize> {
        if turn.want() != Want::Fetch {
            return None;
        }
        let (request, spent) = time_outside(|| calls::request(turn));
        self.calls = self.calls.wrapping_add(spent);
        let request = request?;
        let path = request.path.as_bytes();
        self.name.get_mut(..path.len())?.copy_from_slice(path);
        *self.name.get_mut(path.len())? = 0;
        self.role = role(&request.path);
        Some(path.len() + 1)
    }

    /// A file, chunk by chunk, and its end.
    fn file(&mut self, mut file: File, turn: &mut Turn<'_, Ram<'_>, Direct>, lamp: &mut Lamp) {
        let mut forged = match self.forgery {
            Some(Forged::Metadata(Forgery { role, digit })) if role as u32 == self.role => {
                Some(digit.place())
            }
            Some(Forged::Image) if self.role == IMAGE => Some(Place::behind(b"", 40_000)),
            _ => None,
        };
        loop {
            let chunk = file.read(&mut self.buffer);
            let (length, last) = (chunk.len(), chunk.len() < CHUNK);
            if let Some(place) = &mut forged {
                place.forge(chunk);
            }
            if self.role == IMAGE {
                self.bytes = self.bytes.wrapping_add(length as u32);
            }
            if length > 0 {
                let chunk = Input::Chunk(chunk);
                let (_, spent) =
                    time_outside(|| calls::step(turn, chunk, black_box::<&mut dyn Product>(lamp)));
                self.add(spent);
            }
            if turn.want() != Want::Fetch {
                return;
            }
            if last {
                return self.step(turn, Input::End, lamp);
            }
        }
    }

    #[inline(never)]
    fn step(&mut self, turn: &mut Turn<'_, Ram<'_>, Direct>, input: Input<'_>, lamp: &mut Lamp) {
        let (_, spent) = time_outside(|| calls::step(turn, input, black_box::<&mut dyn Product>(lamp)));
        self.add(spent);
    }

    fn add(&mut self, spent: u32) {
        self.calls = self.calls.wrapping_add(spent);
        if self.role == IMAGE {
            self.installing = self.installing.wrapping_add(spent);
        }
    }
}

/// Whose file this is, by its name.
fn role(path: &str) -> u32 {
    // By bytes, for a search in texts is code of `core` that the agent does not need.
    let is = |what: &str| path.as_bytes().windows(what.len()).any(|part| part == what.as_bytes());
    if path.starts_with("targets/") {
        IMAGE
    } else if is("timestamp.json") {
        Role::Timestamp as u32
    } else if is("snapshot.json") {
        Role::Snapshot as u32
    } else if is("targets.json") {
        Role::Targets as u32
    } else if is("root.json") {
        Role::Root as u32
    } else {
        Role::Delegated as u32
    }
}
