//! One file being read: scanned, hashed, and written down on the sheet of its role.

use crate::error::{Field, Rejected};
use crate::hash::FileHasher;
use crate::limits::Limits;
use crate::role::kept::KeptSnapshot;
use crate::role::place::Place;
use crate::role::reading::{Context, Reading};
use crate::role::{Role, Sheet};
use crate::scan::{Fault, Scanner};
use crate::threshold::Envelope;

/// Reads one file after the other in the same memory.
pub(crate) struct FileReader<'m> {
    pub(crate) scanner: Scanner<'m>,
    pub(crate) sheet: Sheet<'m>,
    pub(crate) hasher: FileHasher,
}

impl<'m> FileReader<'m> {
    /// `memory` has [`Limits::memory`] bytes.
    pub(crate) fn new(limits: &Limits, memory: &'m mut [u8]) -> Self {
        let [text, keys, signatures, names, message] = limits.divide(memory);
        FileReader {
            scanner: Scanner::new(text, message),
            sheet: Sheet::new(keys, signatures, names),
            hasher: FileHasher::new(),
        }
    }

    /// Begins a file of this role.
    pub(crate) fn begin(&mut self, role: Role) {
        self.hasher.restart();
        self.scanner.restart(Place::Top);
        self.sheet.restart(role);
    }

    /// Takes the next bytes of a file that has at most `limit`.
    pub(crate) fn feed<'k>(
        &mut self,
        chunk: &[u8],
        limit: u32,
        context: Context<'_>,
        kept: Option<&mut (dyn KeptSnapshot + 'k)>,
    ) -> Result<(), Rejected> {
        let Self { scanner, sheet, hasher, .. } = self;
        let role = sheet.role;
        // What lies within the limit is judged first, so that how a file is cut decides nothing.
        let within = chunk.get(..hasher.room(limit)).unwrap_or(chunk);
        hasher.update(within);
        let fed = scanner.feed(within, &mut Reading { sheet, context, kept });
        fed.map_err(|fault| fault.of(role, scanner.at(), sheet.targets.entry.sequence))?;
        if within.len() < chunk.len() { Err(Rejected::Oversize { role, limit }) } else { Ok(()) }
    }

    /// The file is over: is it whole? Then this is the SHA-256 of what is signed.
    pub(crate) fn finish(&mut self) -> Result<[u8; 32], Rejected> {
        let Self { scanner, sheet, .. } = self;
        let (role, at) = (sheet.role, scanner.at());
        let digest = scanner.finish().and_then(|digest| {
            let digest = digest.ok_or(Fault::Field(Field::Signed))?;
            sheet.finish().map(|()| digest)
        });
        digest.map_err(|fault| fault.of(role, at, 0))
    }

    /// What was read, as a threshold is counted over it.
    pub(crate) fn envelope<'e>(&'e self, digest: &'e [u8; 32]) -> Envelope<'e> {
        let Self { sheet, scanner, .. } = self;
        Envelope { role: sheet.role, signatures: sheet.signatures(), digest, message: scanner.message() }
    }
}
