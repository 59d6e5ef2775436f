//! What the device trusts and remembers, on flash.
//!
//! Two records in one [journal](crate::journal): a root, which changes once a year and is copied when an area is full, and
//! floors, of which there is one more with each timestamp. Payloads are `postcard`: integers are varints, an option is one byte before what it holds, a
//! sequence its length before its items.
//!
//! Kind 2, format 3, the trusted root ([`tuffet_client::Root`]):
//!
//! | field | type |
//! |---|---|
//! | version, expires, issued, online since | u32, u64, u64, u32 |
//! | root, timestamp, snapshot, targets | each: members u32 (bits over the keys), threshold u8 |
//! | keys | byte string, one key behind the other: the FNV-1a hash of the keyid, 64 bits, little-endian; 1 for P-256, 0 for a key that counts for nothing; length u16, little-endian; then the point, compressed to 33 bytes, or nothing |
//!
//! Kind 3, format 3, floors and memory:
//!
//! | field | type |
//! |---|---|
//! | online since | u32, the root since which the online keys are what they are |
//! | timestamp | an option of: version u32, expires u64, issued u64, its file (length u32, digest 32 bytes), the file that it names (version u32, length u32 or 0, option of digest 32 bytes) |
//! | halts | sequence of: first eight bytes of a digest, as u64 |
//! | snapshot | as timestamp |
//! | tracked | sequence of: name of a delegated role, byte sequence; version u32 |
//! | oldest | u8, which of these makes room for another |
//! | settled | an option of: device facts 16 bytes, expires u64, next turn u64, root version u32 |
//! | issued | u64 |
//! | counter | u32 |
//! | entered | u32, the last trial in the ledger |
//! | failures | sequence of: digest 32 bytes, sequence u32, count u8 |
//! | lost | option of: 0 root, 1 floors, 2 all; see [`TrustLost`] |
//!
//! A record that is lost, or that this build cannot read, is replaced by the facts compiled into the image
//! ([`Factory`]), and [`TrustLost`] is reported until the agent has verified the repository and written both
//! records anew. While the floors are lost nothing else writes there.
//!
//! What cannot be read is not always gone. A record that reads again is never replaced by what stood in for it.

use embedded_storage::nor_flash::NorFlash;
use tuffet_client::limits::{self, DEVICE};
use tuffet_client::wire::{Reader, Stored, Writer};
use tuffet_client::{Crypto, Floors, Root, Trusted};

use crate::error::{Environment, Error, Misuse};
use crate::factory::Factory;
use crate::flash::Flash;
use crate::journal::{Journal, Kind};
use crate::ledger::{ENTRIES, Ledger};

/// What is known of a record before it is read.
#[derive(Clone, Copy)]
struct Form {
    kind: Kind,
    format: u8,
    /// Bytes of its payload at the most.
    longest: usize,
}

const ROOT: Form = Form { kind: Kind::Root, format: 3, longest: ROOT_MAX };
const FLOORS: Form = Form { kind: Kind::Floors, format: 3, longest: FLOORS_MAX };

/// Twelve keys, all fields at their longest.
pub(crate) const ROOT_MAX: usize = 592;
const _: () = assert!(5 + 10 + 10 + 5 + 4 * 6 + 2 + limits::ROOT <= ROOT_MAX, "a full root fits its record");
/// Floors, counter and number, failures and their count, what was lost, all at their longest.
pub(crate) const FLOORS_MAX: usize = 832;
const FLOORS_FULL: usize = {
    let link = 1 + 5 + 10 + 10 + (5 + 32) + (5 + 5 + 33);
    let tracked = 1 + limits::TRACKED * (1 + limits::TRACKED_NAME + 5);
    5 + 2 * link + (1 + 10 * limits::HALTS) + tracked + 1 + (1 + 16 + 10 + 10 + 5) + 10
};
const _: () =
    assert!(FLOORS_FULL + 10 + (1 + 38 * ENTRIES) + 2 <= FLOORS_MAX, "a full ledger fits its record");
const _: () = assert!(
    ROOT_MAX <= DEVICE.memory() && FLOORS_MAX <= DEVICE.memory(),
    "records are read in a cycle's memory"
);

/// What the device remembers besides metadata. None of it is ever reset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// The security counter: the highest of an image that was confirmed here. No image with a lower one is
    /// installed, nor one with a lower one than [`Factory::counter`].
    pub counter: u32,
    /// Failed trials.
    pub ledger: Ledger,
}

impl Memory {
    /// A device that has not lived yet.
    pub fn new(counter: u32) -> Self {
        Self { counter, ledger: Ledger::default() }
    }
}

/// What the trust store had, or what stands in for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// Root and floors.
    pub trusted: Trusted,
    /// Counter and ledger.
    pub memory: Memory,
    /// What was gone, and has not been verified since.
    pub lost: Option<TrustLost>,
}

/// A record of the trust store is gone, and the facts of the factory stand in for it. The device cannot be
/// led further back than the day its image was built; what it learned since then, it has to learn again.
///
/// The order is part of the floors record's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrustLost {
    /// The root.
    Root,
    /// Floors and ledger.
    Floors,
    /// Both.
    All,
}

impl TrustLost {
    /// Whether floors are among what was lost. Nothing is written then until the repository was verified from the
    /// factory's facts on: what is written erases, in time, and what cannot be read today may read tomorrow.
    pub(crate) fn has_floors(lost: Option<Self>) -> bool {
        matches!(lost, Some(Self::Floors | Self::All))
    }

    fn and(self, other: Option<Self>) -> Self {
        match other {
            Some(other) if other != self => Self::All,
            _ => self,
        }
    }
}

impl Trust {
    /// Reads the trust store.
    ///
    /// # Errors
    ///
    /// [`Rejected::Metadata`](crate::Rejected::Metadata) when the root is lost and the factory's root is none.
    pub fn load<F: NorFlash>(
        flash: &mut Flash<F>,
        crypto: &Crypto,
        factory: &Factory<'_>,
    ) -> Result<Self, Error> {
        let mut trust = Self::nothing();
        trust.load_here(flash, &mut [0; DEVICE.memory()], crypto, factory)?;
        Ok(trust)
    }

    /// The place for it.
    pub(crate) fn nothing() -> Self {
        Self { trusted: Trusted::nothing(), memory: Memory::new(0), lost: None }
    }

    /// Reads the trust store in the place of what was there before, which is too long to be moved on a small device. It works
    /// in the memory of a cycle, that nobody uses yet. After an error nothing is trusted.
    #[inline(never)]
    pub(crate) fn load_here<F: NorFlash>(
        &mut self,
        flash: &mut Flash<F>,
        scratch: &mut [u8],
        crypto: &Crypto,
        factory: &Factory<'_>,
    ) -> Result<(), Error> {
        let Self { trusted, memory, lost } = self;
        // The root first, for it says which floors are void.
        let root = newest(flash, ROOT, scratch).is_some_and(|mut from| trusted.restore_root(&mut from));
        if !root {
            trusted.start_from_root_file(crypto, &DEVICE, scratch, factory.root)?;
        }
        let mut before = None;
        let floors = newest(flash, FLOORS, scratch).is_some_and(|mut from| {
            trusted.restore_floors(&mut from);
            memory.read_here(&mut from);
            before = Option::read(&mut from);
            from.is_good()
        });
        if !floors {
            trusted.drop_floors();
            // Not the factory's counter, which may be that of an image on trial: it counts beside this one.
            memory.counter = 0;
            memory.ledger.clear();
            before = None;
        }
        *lost = match (root, floors) {
            (true, true) => before,
            (false, true) => Some(TrustLost::Root.and(before)),
            (true, false) => Some(TrustLost::Floors),
            (false, false) => Some(TrustLost::All),
        };
        Ok(())
    }
}

/// Makes this the stored root.
///
/// # Errors
///
/// [`Environment::RecordBack`] when the stored root is newer, and those of [`Journal::append`].
pub fn store_root<F: NorFlash>(flash: &mut Flash<F>, root: &Root<[u8]>) -> Result<(), Error> {
    let mut buffer = [0; ROOT_MAX];
    // An agent that had read it would have gone on from there.
    let stored = newest(flash, ROOT, &mut buffer).and_then(|mut from| <Root>::read_version(&mut from));
    if stored.is_some_and(|stored| stored > root.version()) {
        return Err(Environment::RecordBack { kind: ROOT.kind }.into());
    }
    let mut to = Writer::new(&mut buffer);
    root.write(&mut to);
    store(flash, ROOT, to)
}

/// Makes these the stored floors and memory. `lost` is what they stand in for.
///
/// # Errors
///
/// [`Environment::RecordBack`] when they stand in for floors that were never lost, and those of
/// [`Journal::append`].
pub fn store_floors<F: NorFlash>(
    flash: &mut Flash<F>,
    floors: &Floors,
    memory: &Memory,
    lost: Option<TrustLost>,
) -> Result<(), Error> {
    if TrustLost::has_floors(lost) {
        check_lost(flash)?;
    }
    write_floors(flash, floors, memory, lost)
}

// Out of line: its stack is not to lie below that of the check.
#[inline(never)]
fn write_floors<F: NorFlash>(
    flash: &mut Flash<F>,
    floors: &Floors,
    memory: &Memory,
    lost: Option<TrustLost>,
) -> Result<(), Error> {
    let mut buffer = [0; FLOORS_MAX];
    let mut to = Writer::new(&mut buffer);
    floors.write(&mut to);
    memory.write(&mut to);
    lost.write(&mut to);
    store(flash, FLOORS, to)
}

/// Writes a lost trust store anew, once the repository was verified from the factory's facts on.
///
/// # Errors
///
/// [`Environment::RecordBack`] when what was lost can be read again, and those of [`Journal::append`].
pub fn replace_lost<F: NorFlash>(
    flash: &mut Flash<F>,
    root: &Root<[u8]>,
    floors: &Floors,
    memory: &Memory,
    lost: TrustLost,
) -> Result<(), Error> {
    // Before the root is written, which may erase what could not be read.
    if TrustLost::has_floors(Some(lost)) {
        check_lost(flash)?;
    }
    store_root(flash, root)?;
    write_floors(flash, floors, memory, None)
}

#[inline(never)]
fn check_lost<F: NorFlash>(flash: &mut Flash<F>) -> Result<(), Error> {
    let mut buffer = [0; FLOORS_MAX];
    let Some(mut from) = newest(flash, FLOORS, &mut buffer) else { return Ok(()) };
    // For what comes behind.
    drop(Floors::read(&mut from));
    drop(Memory::read(&mut from));
    let before = Option::read(&mut from);
    if from.is_good() && !TrustLost::has_floors(before) {
        return Err(Environment::RecordBack { kind: FLOORS.kind }.into());
    }
    Ok(())
}

/// Reads the newest record, if it is of this format.
fn newest<'b, F: NorFlash>(
    flash: &mut Flash<F>,
    Form { kind, format, longest }: Form,
    buffer: &'b mut [u8],
) -> Option<Reader<'b>> {
    let buffer = buffer.get_mut(..longest)?;
    let record = Journal::new(flash.map(), kind).newest(flash, buffer).ok()?;
    (record.format == format).then(|| Reader::new(record.payload))
}

fn store<F: NorFlash>(
    flash: &mut Flash<F>,
    Form { kind, format, .. }: Form,
    record: Writer<'_>,
) -> Result<(), Error> {
    let payload = record.done().ok_or(Misuse::RecordTooLong { kind })?;
    Journal::new(flash.map(), kind).append(flash, format, payload)?;
    Ok(())
}

impl Stored for Memory {
    fn write(&self, to: &mut Writer<'_>) {
        to.number(self.counter);
        self.ledger.write(to);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let mut memory = Self::new(0);
        memory.read_here(from);
        memory
    }
}

impl Memory {
    /// Reads what was stored in the place of this.
    fn read_here(&mut self, from: &mut Reader<'_>) {
        self.counter = from.number();
        self.ledger.read_here(from);
    }
}

impl Stored for TrustLost {
    fn write(&self, to: &mut Writer<'_>) {
        to.byte(match self {
            Self::Root => 0,
            Self::Floors => 1,
            Self::All => 2,
        });
    }

    fn read(from: &mut Reader<'_>) -> Self {
        match from.variant(3) {
            0 => Self::Root,
            1 => Self::Floors,
            _ => Self::All,
        }
    }
}
