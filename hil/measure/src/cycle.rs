//! Cycles of the client over the files of a repository, counted.
//!
//! Instructions are those of the calls of the client: reading files and saying numbers lie between them. Three
//! parts of them are told apart:
//!
//! * **P-256**: time within [`Crypto::p256`], which the client calls through a pointer.
//! * **SHA-256**: hashing is inside of the client, so it is done once more, outside: the same chunks through one
//!   hasher, and the part of them that is signed through another, is what the client does.
//! * **Scanning**: [`Refresh::feed`] without SHA-256.
//!
//! What is left is the fixed part.

use core::hint::black_box;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};

use sha2::{Digest, Sha256};
use tuffet_client::limits::DEVICE;
use tuffet_client::{
    Age, Clock, Crypto, Device, Entry, Error, FileName, Goal, P256, Plan, Refresh, Role, Root, SOFTWARE,
    Trusted, Want,
};

use crate::board::{File, paint, say, time};
use crate::forgery::{Digit, Forgery, Place, ROLES};

/// 2026-11-22T12:00:00Z, the present of the repositories.
const NOW: u64 = 1_795_348_800;
/// Bytes of a chunk: what a radio or a file system hands out at once.
const CHUNK: usize = 512;
/// Bytes of the longest file name here, and the zero that ends it.
const NAME: usize = 96;

#[cfg(feature = "p256")]
const CRYPTO: Crypto = SOFTWARE;
/// Every signature is good.
#[cfg(not(feature = "p256"))]
const CRYPTO: Crypto = {
    let p256 = P256 { compress: |_| black_box(Some([2; 33])), verify: |_, _, _| black_box(true) };
    Crypto { p256, ..SOFTWARE }
};

/// The same, counted. [`Crypto`] has plain functions, so what they count is outside of them.
const COUNTED: Crypto = Crypto { p256: P256 { compress, verify }, ..SOFTWARE };
static VERIFICATIONS: AtomicU32 = AtomicU32::new(0);
static VERIFYING: AtomicU32 = AtomicU32::new(0);

fn compress(point: &[u8; 64]) -> Option<[u8; 33]> {
    let (key, spent) = time(|| (CRYPTO.p256.compress)(point));
    VERIFYING.store(VERIFYING.load(Relaxed).wrapping_add(spent), Relaxed);
    key
}

fn verify(key: &[u8; 33], digest: &[u8; 32], der: &[u8]) -> bool {
    let (good, spent) = time(|| (CRYPTO.p256.verify)(key, digest, der));
    VERIFICATIONS.store(VERIFICATIONS.load(Relaxed).wrapping_add(1), Relaxed);
    VERIFYING.store(VERIFYING.load(Relaxed).wrapping_add(spent), Relaxed);
    good
}

/// The client's calls, each out of line: what is inlined into them is the client's, and the rest of this program is
/// not. That is how the table tells the two apart.
mod calls {
    use super::{Crypto, DEVICE, Error, FileName, Plan, Refresh, Root, Trusted, Want};

    #[inline(never)]
    pub(super) fn from_root_file(crypto: &Crypto, memory: &mut [u8], bytes: &[u8]) -> Result<Trusted, Error> {
        Trusted::from_root_file(crypto, &DEVICE, memory, bytes)
    }

    #[inline(never)]
    pub(super) fn restore(root: &Root) -> Trusted {
        Trusted::restore(root.clone(), Default::default())
    }

    #[inline(never)]
    pub(super) fn new<'a>(
        plan: Plan<'a>,
        trusted: &'a mut Trusted,
        memory: &'a mut [u8],
    ) -> Result<Refresh<'a>, Error> {
        Refresh::new(plan, trusted, memory)
    }

    #[inline(never)]
    pub(super) fn want<'r>(refresh: &'r Refresh<'_>) -> Want<'r> {
        refresh.want()
    }

    #[inline(never)]
    pub(super) fn write(file: &FileName<'_>, name: &mut [u8]) -> Option<usize> {
        file.write(name).map(str::len)
    }

    #[inline(never)]
    pub(super) fn feed(refresh: &mut Refresh<'_>, chunk: &[u8]) -> Result<(), Error> {
        refresh.feed(chunk)
    }

    #[inline(never)]
    pub(super) fn end(refresh: &mut Refresh<'_>) -> Result<(), Error> {
        refresh.end().map(|_| ())
    }

    #[inline(never)]
    pub(super) fn missing(refresh: &mut Refresh<'_>) -> Result<(), Error> {
        refresh.missing()
    }

    #[inline(never)]
    pub(super) fn persisted(refresh: &mut Refresh<'_>) {
        refresh.persisted();
    }

    #[inline(never)]
    pub(super) fn code(error: Error) -> u16 {
        error.code()
    }
}

/// The way of a file to the client, and what is counted on it.
struct Transport {
    buffer: [u8; CHUNK],
    name: [u8; NAME],
    forgery: Option<Forgery>,
    /// Hash each file once more, for its time. It takes stack.
    counts: bool,
    files: u32,
    bytes: u32,
    calls: u32,
    feeding: u32,
    hashing: u32,
}

/// How a cycle ended.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Install(u32),
    UpToDate,
    /// With this code, while a file of this role was read.
    Refused(u16, Role),
    Other,
}

/// Everything that is counted, over the repository in the host's directory.
pub(crate) fn run() -> bool {
    say("trusted", &[size_of::<Trusted>() as u32]);
    say("refresh", &[size_of::<Refresh<'_>>() as u32]);
    say("memory", &[DEVICE.memory() as u32]);

    let mut memory = [0; DEVICE.memory()];
    let Some(root) = factory(&mut memory) else {
        say("no root", &[]);
        return false;
    };

    // The stack first, with nothing of ours in the way. What lies above the mark is not counted: trusted state,
    // memory, refresh and the chunk, which is the transport's.
    let outcome = cycle("honest", &root, None, &mut memory);
    let Outcome::Install(sequence) = outcome else { return false };

    // Each of these begins like the one that was accepted. Which code each must end with is for the host to say.
    for role in ROLES {
        // Nobody delegates in `four-roles`.
        if role == Role::Delegated && File::open(b"1.bins-0000.json\0").is_none() {
            break;
        }
        for digit in [Digit::Signature, Digit::Expires] {
            cycle("forged", &root, Some(Forgery { role, digit }), &mut memory);
        }
    }

    // Full; then nothing new, which is settled by one more look at the targets; then nothing new at all.
    let mut trusted = calls::restore(&root);
    let full = count("full", &mut trusted, Entry::Refresh, 0, &mut memory);
    let settle = count("settle", &mut trusted, Entry::Refresh, sequence, &mut memory);
    let nothing_new = count("nothing-new", &mut trusted, Entry::Refresh, sequence, &mut memory);
    let poll = count("poll", &mut trusted, Entry::Poll, sequence, &mut memory);
    full == outcome && [settle, nothing_new, poll] == [Outcome::UpToDate; 3]
}

/// The root that a factory would have compiled in.
#[inline(never)]
fn factory(memory: &mut [u8]) -> Option<Root> {
    let mut file = File::open(b"1.root.json\0")?;
    let mut bytes = [0; 8192];
    let trusted = calls::from_root_file(&CRYPTO, memory, file.read(&mut bytes)).ok()?;
    Some(trusted.root().clone())
}

fn plan<'a>(crypto: &'a Crypto, entry: Entry, sequence: u32) -> Plan<'a> {
    let device = Device {
        product: "lamp",
        hardware: "rev-a",
        channel: "stable",
        id: b"device-1",
        sequence,
        counter: 0,
        banned: &[],
    };
    // Through a black box, for a device would decide at run time, too.
    Plan {
        crypto,
        limits: &DEVICE,
        goal: Goal::Release(black_box(device)),
        entry: black_box(entry),
        clock: black_box(Clock::At(NOW)),
        kept: None,
    }
}

/// A cycle from the factory's root, in as much stack as it takes.
#[inline(never)]
fn cycle(what: &str, root: &Root, forgery: Option<Forgery>, memory: &mut [u8]) -> Outcome {
    let mut trusted = calls::restore(root);
    let mut transport = Transport::new(forgery, false);
    let stack = paint();
    let Ok(mut refresh) = calls::new(plan(&CRYPTO, Entry::Refresh, 0), &mut trusted, memory) else {
        return Outcome::Other;
    };
    let outcome = transport.drive(&mut refresh);
    let used = stack.used();
    let [how, number, at] = outcome.numbers();
    let (role, digit) = forgery.map_or((0, 0), |forgery| (forgery.role as u32, forgery.digit as u32));
    // What is trusted when it is over.
    let floors = refresh.trusted().floors();
    let [timestamp, snapshot, targets] =
        [floors.timestamp_version(), floors.snapshot_version(), floors.targets_version()]
            .map(Option::unwrap_or_default);
    say(what, &[role, digit, how, number, at, transport.files, timestamp, snapshot, targets, used]);
    outcome
}

/// A cycle, counted.
#[inline(never)]
fn count(what: &str, trusted: &mut Trusted, entry: Entry, sequence: u32, memory: &mut [u8]) -> Outcome {
    let mut transport = Transport::new(None, true);
    VERIFICATIONS.store(0, Relaxed);
    VERIFYING.store(0, Relaxed);
    let (refresh, spent) = time(|| calls::new(plan(&COUNTED, entry, sequence), trusted, memory));
    let Ok(mut refresh) = refresh else { return Outcome::Other };
    transport.calls = spent;
    let outcome = transport.drive(&mut refresh);
    let [how, number, _] = outcome.numbers();
    let Transport { bytes, calls, feeding, hashing, .. } = transport;
    let (verifications, verifying) = (VERIFICATIONS.load(Relaxed), VERIFYING.load(Relaxed));
    say(what, &[how, number, bytes, calls, feeding, hashing, verifications, verifying]);
    outcome
}

impl Transport {
    fn new(forgery: Option<Forgery>, counts: bool) -> Transport {
        let (buffer, name) = ([0; CHUNK], [0; NAME]);
        Transport { buffer, name, forgery, counts, files: 0, bytes: 0, calls: 0, feeding: 0, hashing: 0 }
    }

    /// Runs a cycle to its end.
    #[inline(never)]
    fn drive(&mut self, refresh: &mut Refresh<'_>) -> Outcome {
        loop {
            let ((next, role), spent) = time(|| next(refresh, &mut self.name));
            self.calls = self.calls.wrapping_add(spent);
            let (result, spent) = match next {
                Next::Over(outcome) => return outcome,
                Next::Store => time(|| {
                    calls::persisted(refresh);
                    Ok(())
                }),
                Next::Fetch(length) => {
                    self.files = self.files.wrapping_add(1);
                    match File::open(self.name.get(..length).unwrap_or_default()) {
                        None => time(|| calls::missing(refresh)),
                        Some(file) => self.file(file, length, role, refresh),
                    }
                }
            };
            self.calls = self.calls.wrapping_add(spent);
            if let Err(error) = result {
                return Outcome::Refused(calls::code(error), role);
            }
        }
    }

    /// A file and its end. The ticks are those of the end alone, for the others are added here.
    fn file(
        &mut self,
        file: File,
        length: usize,
        role: Role,
        refresh: &mut Refresh<'_>,
    ) -> (Result<(), Error>, u32) {
        let before = self.feeding;
        if let Err(error) = self.feed(file, role, refresh) {
            return (Err(error), 0);
        }
        let ended = time(|| calls::end(refresh));
        if self.counts {
            self.hash(length, role, self.feeding.wrapping_sub(before));
        }
        ended
    }

    /// A file, chunk by chunk.
    fn feed(&mut self, mut file: File, role: Role, refresh: &mut Refresh<'_>) -> Result<(), Error> {
        let mut forged =
            self.forgery.filter(|forgery| forgery.role == role).map(|forgery| forgery.digit.place());
        loop {
            let chunk = file.read(&mut self.buffer);
            let last = chunk.len() < CHUNK;
            if let Some(place) = &mut forged {
                place.forge(chunk);
            }
            let (fed, spent) = time(|| calls::feed(refresh, chunk));
            self.calls = self.calls.wrapping_add(spent);
            self.feeding = self.feeding.wrapping_add(spent);
            self.bytes = self.bytes.wrapping_add(chunk.len() as u32);
            if last || fed.is_err() {
                return fed;
            }
        }
    }

    /// The same file once more, through two hashers.
    #[inline(never)]
    fn hash(&mut self, length: usize, role: Role, feeding: u32) {
        let Some(mut file) = File::open(self.name.get(..length).unwrap_or_default()) else { return };
        let (mut whole, mut part) = (Sha256::new(), Sha256::new());
        let mut signed = Place::behind(b"\"signed\":", 0);
        let mut inside = false;
        let (mut bytes, mut spent) = (0, 0_u32);
        loop {
            let chunk = file.read(&mut self.buffer);
            let last = chunk.len() < CHUNK;
            bytes += chunk.len();
            let begin = if inside { Some(0) } else { signed.find(chunk) };
            inside = begin.is_some();
            let begin = begin.unwrap_or(chunk.len());
            // The envelope's closing brace is not of it.
            let end = chunk.len() - usize::from(last && begin < chunk.len());
            let (_, both) = time(|| {
                whole.update(&*chunk);
                if let Some(chunk) = chunk.get(begin..end).filter(|chunk| !chunk.is_empty()) {
                    part.update(chunk);
                }
            });
            spent = spent.wrapping_add(both);
            if last {
                break;
            }
        }
        self.hashing = self.hashing.wrapping_add(spent);
        say("file", &[role as u32, bytes as u32, feeding, spent]);
        black_box((whole.finalize(), part.finalize()));
    }
}

/// What a cycle wants, without borrowing it.
enum Next {
    /// The file whose name, with a zero behind it, has so many bytes.
    Fetch(usize),
    Store,
    Over(Outcome),
}

fn next(refresh: &Refresh<'_>, name: &mut [u8; NAME]) -> (Next, Role) {
    let file = match calls::want(refresh) {
        Want::Fetch { file, .. } | Want::Again { file, .. } => file,
        Want::Persist(_) => return (Next::Store, Role::Root),
        Want::Install(release) => return (Next::Over(Outcome::Install(release.sequence)), Role::Root),
        Want::UpToDate(Age::Fresh) => return (Next::Over(Outcome::UpToDate), Role::Root),
        _ => return (Next::Over(Outcome::Other), Role::Root),
    };
    let Some(length) = calls::write(&file, name) else {
        return (Next::Over(Outcome::Other), Role::Root);
    };
    match name.get_mut(length) {
        Some(end) => {
            *end = 0;
            (Next::Fetch(length + 1), file.role)
        }
        None => (Next::Over(Outcome::Other), Role::Root),
    }
}

impl Outcome {
    fn numbers(self) -> [u32; 3] {
        match self {
            Outcome::Install(sequence) => [1, sequence, 0],
            Outcome::UpToDate => [2, 0, 0],
            Outcome::Refused(code, role) => [3, u32::from(code), role as u32],
            Outcome::Other => [4, 0, 0],
        }
    }
}
