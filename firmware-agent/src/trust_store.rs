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

const ROOT_FORMAT: u8 = 3;
const FLOORS_FORMAT: u8 = 3;

/// Twelve keys, all fields at their longest.
pub(crate) const ROOT_MAX: usize = 592;
const _: () = assert!(5 + 10 + 10 + 5 + 4 * 6 + 2 + limits::ROOT <= ROOT_MAX, "a full root fits its record");
/// Floors, counter and number, failures and their count, what was lost, all at their longest.
pub(crate) const FLOORS_MAX: usize = 832;
const FLOORS: usize = {
    let link = 1 + 5 + 10 + 10 + (5 + 32) + (5 + 5 + 33);
    let tracked = 1 + limits::TRACKED * (1 + limits::TRACKED_NAME + 5);
    5 + 2 * link + (1 + 10 * limits::HALTS) + tracked + 1 + (1 + 16 + 10 + 10 + 5) + 10
};
const _: () = assert!(FLOORS + 10 + (1 + 38 * ENTRIES) + 2 <= FLOORS_MAX, "a full ledger fits its record");

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

/// The payload of the floors record.
type FloorsRecord = (Floors, Memory, Option<TrustLost>);

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
        let (root, floors) = (load_root(flash), load_floors(flash));
        let lost = match (root.is_some(), floors.is_some()) {
            (true, true) => None,
            (false, true) => Some(TrustLost::Root),
            (true, false) => Some(TrustLost::Floors),
            (false, false) => Some(TrustLost::All),
        };
        let root = match root {
            Some(root) => root,
            None => factory_root(crypto, factory)?,
        };
        // Not the factory's counter, which may be that of an image on trial: it counts beside this one.
        let (floors, memory, before) = floors.unwrap_or_else(|| (Floors::default(), Memory::new(0), None));
        let lost = lost.map_or(before, |lost| Some(lost.and(before)));
        Ok(Self { trusted: Trusted::restore(root, floors), memory, lost })
    }
}

/// Apart, for it needs a stack of its own, which a device whose store is sound should not have to reserve.
#[inline(never)]
fn factory_root(crypto: &Crypto, factory: &Factory<'_>) -> Result<Root, Error> {
    let mut memory = [0; DEVICE.memory()];
    Ok(Trusted::from_root_file(crypto, &DEVICE, &mut memory, factory.root)?.root().clone())
}

/// Makes this the stored root.
///
/// # Errors
///
/// [`Environment::RecordBack`] when the stored root is newer, and those of [`Journal::append`].
pub fn store_root<F: NorFlash>(flash: &mut Flash<F>, root: &Root<[u8]>) -> Result<(), Error> {
    let kind = Kind::Root;
    // An agent that had read it would have gone on from there.
    let stored: Option<Root> = load_root(flash);
    if stored.is_some_and(|stored| stored.version() > root.version()) {
        return Err(Environment::RecordBack { kind }.into());
    }
    let mut buffer = [0; ROOT_MAX];
    let mut to = Writer::new(&mut buffer);
    root.write(&mut to);
    store(flash, (kind, ROOT_FORMAT), to)
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
    let mut buffer = [0; FLOORS_MAX];
    let mut to = Writer::new(&mut buffer);
    floors.write(&mut to);
    memory.write(&mut to);
    lost.write(&mut to);
    store(flash, (Kind::Floors, FLOORS_FORMAT), to)
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
    store_floors(flash, floors, memory, None)
}

fn check_lost<F: NorFlash>(flash: &mut Flash<F>) -> Result<(), Error> {
    let kind = Kind::Floors;
    let stored: Option<FloorsRecord> = load_floors(flash);
    match stored {
        Some((_, _, before)) if !TrustLost::has_floors(before) => {
            Err(Environment::RecordBack { kind }.into())
        }
        _ => Ok(()),
    }
}

/// Reads the newest record of a kind, of which this is the format, by this.
fn load<F: NorFlash, T>(
    flash: &mut Flash<F>,
    (kind, format): (Kind, u8),
    buffer: &mut [u8],
    read: impl FnOnce(&mut Reader<'_>) -> T,
) -> Option<T> {
    let record = Journal::new(flash.map(), kind).newest(flash, buffer).ok()?;
    if record.format != format {
        return None;
    }
    let mut from = Reader::new(record.payload);
    let read = read(&mut from);
    from.is_good().then_some(read)
}

#[inline(never)]
fn load_root<F: NorFlash>(flash: &mut Flash<F>) -> Option<Root> {
    load(flash, (Kind::Root, ROOT_FORMAT), &mut [0; ROOT_MAX], Root::read)
}

#[inline(never)]
fn load_floors<F: NorFlash>(flash: &mut Flash<F>) -> Option<FloorsRecord> {
    load(flash, (Kind::Floors, FLOORS_FORMAT), &mut [0; FLOORS_MAX], |from| {
        (Floors::read(from), Memory::read(from), Option::read(from))
    })
}

fn store<F: NorFlash>(
    flash: &mut Flash<F>,
    (kind, format): (Kind, u8),
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
        Self { counter: from.number(), ledger: Ledger::read(from) }
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
