//! The snapshot that was trusted before, streamed beside the new one: with it no role at all may be dropped or
//! rolled back (5.5.5), however many there are. Both are sorted, so that neither is held.

use core::cmp::Ordering;

use sha2::{Digest, Sha256};

use crate::Role;
use crate::error::{Error, Misuse, Rejected};
use crate::role::place::Place;
use crate::scan::{Fault, Reader, Scanner, Value};
use sealed::Sealed;

/// Compares a new snapshot with one that was kept. [`Kept`] does, and nobody else; behind a reference it is code that
/// devices without one do not link.
pub trait KeptSnapshot: Sealed {}

impl KeptSnapshot for Kept<'_> {}

mod sealed {
    use crate::error::Error;

    /// What the verifier asks of a kept snapshot.
    pub trait Sealed {
        /// A new snapshot begins.
        fn restart(&mut self);
        /// An entry of the new snapshot begins. Those of the kept one that sort before it are no more.
        fn meet(&mut self, name: &[u8]);
        /// The version of the entry that began last is known.
        fn compare(&mut self, offered: u32);
        /// The new snapshot has no further entries.
        fn finish(&mut self);
        /// What is wrong with the new snapshot, or with the kept one if it is not the trusted one, which has this
        /// SHA-256. Asked once signatures were counted, and not before.
        fn verdict(&self, sha256: &[u8; 32]) -> Result<(), Error>;
    }
}

/// The bytes of the trusted snapshot, and how far they were read.
pub struct Kept<'m> {
    bytes: &'m [u8],
    rest: &'m [u8],
    scanner: Scanner<'m>,
    entry: Entry<'m>,
    /// The new snapshot has an entry of the same name as the one at hand.
    met: bool,
    fault: Option<Error>,
}

/// The entry of `meta` at hand.
struct Entry<'m> {
    name: &'m mut [u8],
    len: usize,
    version: u32,
    /// There is no further one.
    over: bool,
    complete: bool,
}

impl<'m> Kept<'m> {
    /// `memory` holds keys and strings, and in a second half one name: twice [`Limits::text`](crate::Limits) will do.
    #[must_use]
    pub fn new(bytes: &'m [u8], memory: &'m mut [u8]) -> Self {
        let half = memory.len() / 2;
        let (text, name) = memory.split_at_mut_checked(half).unwrap_or_default();
        let entry = Entry { name, len: 0, version: 0, over: false, complete: false };
        let scanner = Scanner::new(text, &mut []);
        Kept { bytes, rest: bytes, scanner, entry, met: false, fault: None }
    }

    fn dropped(&mut self) {
        let role = self.entry.role();
        self.blame(Rejected::RoleDropped { role }.into());
    }

    /// The first thing that is wrong is reported.
    fn blame(&mut self, error: Error) {
        self.fault = self.fault.or(Some(error));
    }

    /// Reads on to the end of the next entry.
    fn advance(&mut self) {
        self.entry.complete = false;
        while !self.entry.complete && !self.rest.is_empty() {
            // An entry ends with a brace.
            let brace = self.rest.iter().position(|byte| *byte == b'}');
            let length = brace.map_or(self.rest.len(), |brace| brace.saturating_add(1));
            let (chunk, behind) = self.rest.split_at_checked(length).unwrap_or_default();
            self.rest = behind;
            if self.scanner.feed(chunk, &mut self.entry).is_err() {
                break;
            }
        }
        self.entry.over |= !self.entry.complete;
    }
}

impl Sealed for Kept<'_> {
    fn restart(&mut self) {
        self.rest = self.bytes;
        self.scanner.restart(Place::Top);
        (self.entry.over, self.fault) = (false, None);
        self.advance();
    }

    fn meet(&mut self, name: &[u8]) {
        self.met = false;
        while !self.entry.over {
            match self.entry.name().cmp(name) {
                Ordering::Less => {
                    self.dropped();
                    self.advance();
                }
                Ordering::Equal => {
                    self.met = true;
                    return;
                }
                Ordering::Greater => return,
            }
        }
    }

    fn compare(&mut self, offered: u32) {
        if core::mem::take(&mut self.met) {
            let trusted = self.entry.version;
            if offered < trusted {
                let role = self.entry.role();
                self.blame(Rejected::Rollback { role, trusted, offered }.into());
            }
            self.advance();
        }
    }

    fn finish(&mut self) {
        while !self.entry.over {
            self.dropped();
            self.advance();
        }
    }

    fn verdict(&self, sha256: &[u8; 32]) -> Result<(), Error> {
        if Sha256::digest(self.bytes).as_slice() != sha256 {
            return Err(Misuse::KeptSnapshot.into());
        }
        self.fault.map_or(Ok(()), Err)
    }
}

impl Entry<'_> {
    fn name(&self) -> &[u8] {
        self.name.get(..self.len).unwrap_or_default()
    }

    fn role(&self) -> Role {
        if self.name() == b"targets.json" { Role::Targets } else { Role::Delegated }
    }
}

impl Reader for Entry<'_> {
    fn member(&mut self, place: Place, key: &[u8]) -> Result<Place, Fault> {
        if place != Place::Meta {
            return Ok(place.member(Role::Snapshot, key));
        }
        self.len = key.len();
        self.version = 0;
        self.name.get_mut(..key.len()).ok_or(Fault::Syntax)?.copy_from_slice(key);
        Ok(Place::MetaEntry)
    }

    fn value(&mut self, place: Place, value: Value<'_>) -> Result<(), Fault> {
        // What may stand here was settled when this file was verified.
        match (place, value) {
            (Place::MetaVersion, Value::Number(version)) => {
                self.version = u32::try_from(version).map_err(|_| Fault::Syntax)?;
            }
            (Place::MetaEntry, Value::End) => self.complete = true,
            _ => {}
        }
        Ok(())
    }
}

impl core::fmt::Debug for Kept<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Kept").field("bytes", &self.bytes.len()).finish_non_exhaustive()
    }
}
