//! One check of the repository, without I/O of its own.
//!
//! [`Check`] says which file it wants, is fed its bytes, and stores what was verified in the order that the
//! client asks for. A blocking loop and an asynchronous task drive the same machine:
//!
//! ```text
//! while let Some(request) = check.request() {
//!     fetch request.path, at most request.limit bytes, and feed() each chunk
//!     end(), or failed(fault) if the file did not come
//! }
//! check.outcome()
//! ```

use core::fmt::{self, Write};

use embedded_storage::nor_flash::NorFlash;
use heapless::String;
use tuffet_client::limits::{DEVICE, PATH};
use tuffet_client::{Candidate, Change, Plan, Refresh, Role, Trusted, Want};

use crate::error::{Environment, Error, Rejected};
use crate::flash::Flash;
use crate::transport::TransportFault;
use crate::trust_store::{Memory, TrustLost, store_floors, store_root};

/// Bytes of a request's path. The longest is that of an image whose path is all escapes: `targets/`, a digest of 64
/// digits, a dot, and three bytes for each of the path's.
pub const PATH_MAX: usize = 8 + 64 + 1 + 3 * PATH;
const _: () = assert!(10 + 1 + 3 * DEVICE.names + 5 <= PATH_MAX, "the file of a delegated role fits, too");

/// Bytes of memory that a check works in.
pub const SCRATCH: usize = DEVICE.memory();

/// A file that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Relative to the repository's top, percent-encoded.
    pub path: String<PATH_MAX>,
    /// The largest length in bytes that is of use.
    pub limit: u32,
}

impl Request {
    /// The file of a candidate's image.
    pub fn image(candidate: &Candidate) -> Self {
        let mut path = Escaped(String::new());
        // Long enough for every target path; a candidate cannot hold a longer one.
        let _ = write!(path, "{}", candidate.image.url_path());
        Self { path: path.0, limit: candidate.image.length }
    }
}

/// Takes a path and percent-encodes it, but for what RFC 3986 calls unreserved and what separates its segments.
struct Escaped(String<PATH_MAX>);

impl Write for Escaped {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        text.bytes().try_for_each(|byte| match byte {
            byte if byte.is_ascii_alphanumeric() => self.0.write_char(byte.into()),
            b'-' | b'.' | b'_' | b'~' | b'/' => self.0.write_char(byte.into()),
            _ => write!(self.0, "%{byte:02X}"),
        })
    }
}

/// A check under way. Any error ends it; what was verified before stays stored.
#[derive(Debug)]
pub struct Check<'a, F> {
    refresh: Refresh<'a>,
    flash: &'a mut Flash<F>,
    memory: &'a Memory,
    lost: Option<TrustLost>,
    contact: bool,
    stored: Option<Change>,
}

impl<'a, F: NorFlash> Check<'a, F> {
    /// Begins a check. The update start time is fixed here. `scratch` has [`SCRATCH`] bytes; `memory` and `lost` are
    /// stored along with floors.
    ///
    /// # Errors
    ///
    /// [`Misuse::Metadata`](crate::Misuse::Metadata) for names that no repository can have.
    pub fn new(
        plan: Plan<'a>,
        trusted: &'a mut Trusted,
        scratch: &'a mut [u8],
        flash: &'a mut Flash<F>,
        memory: &'a Memory,
        lost: Option<TrustLost>,
    ) -> Result<Self, Error> {
        let refresh = Refresh::new(plan, trusted, scratch)?;
        Ok(Self { refresh, flash, memory, lost, contact: false, stored: None })
    }

    /// The file that is wanted now; none when the check is over.
    pub fn request(&self) -> Option<Request> {
        match self.refresh.want() {
            Want::Fetch { file, limit } | Want::Again { file, limit } => {
                let mut path = String::new();
                // Long enough for every name.
                let _ = write!(path, "{file}");
                Some(Request { path, limit })
            }
            _ => None,
        }
    }

    /// Takes the next bytes of the wanted file.
    ///
    /// # Errors
    ///
    /// [`Rejected::Metadata`].
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), Error> {
        Ok(self.refresh.feed(chunk)?)
    }

    /// The wanted file has ended. Verifies it and stores what is trusted now.
    ///
    /// # Errors
    ///
    /// [`Rejected::Metadata`], and those of the trust store.
    pub fn end(&mut self) -> Result<(), Error> {
        let role = self.role();
        let verdict = self.refresh.end();
        self.contact |= role == Some(Role::Timestamp) && verdict.is_ok();
        // Even a file that ends the check may leave something verified behind it.
        self.persist()?;
        verdict?;
        Ok(())
    }

    /// The wanted file did not come. That ends the check, unless it was the next root, which need not exist.
    ///
    /// # Errors
    ///
    /// [`Rejected::Metadata`] when the file was too long, [`Environment::Metadata`] for another file that is missing, and the fault itself for the rest.
    pub fn failed(&mut self, fault: TransportFault) -> Result<(), Error> {
        match (fault, self.role()) {
            (TransportFault::NotFound, _) => Ok(self.refresh.missing()?),
            (TransportFault::TooLong { limit }, Some(role)) => {
                Err(Rejected::Metadata(tuffet_client::Rejected::Oversize { role, limit }).into())
            }
            _ => Err(Environment::Transport(fault).into()),
        }
    }

    /// Whether a timestamp verified: the repository was reached, and its owner's keys are alive.
    pub fn contact(&self) -> bool {
        self.contact
    }

    /// What was stored last, once.
    pub fn stored(&mut self) -> Option<Change> {
        self.stored.take()
    }

    /// The release to install, if the check is over and there is one.
    ///
    /// # Errors
    ///
    /// [`Rejected::Metadata`] where verified metadata do not lead to a release.
    pub fn outcome(&self) -> Result<Option<&Candidate>, Error> {
        match self.refresh.want() {
            Want::Install(candidate) => Ok(Some(candidate)),
            Want::Over(why) => Err(Rejected::Metadata(why).into()),
            _ => Ok(None),
        }
    }

    /// Whose file of those that were verified expires first, and when: [`Refresh::good_until`].
    pub fn good_until(&self) -> (Role, u64) {
        self.refresh.good_until()
    }

    fn role(&self) -> Option<Role> {
        match self.refresh.want() {
            Want::Fetch { file, .. } | Want::Again { file, .. } => Some(file.role),
            _ => None,
        }
    }

    fn persist(&mut self) -> Result<(), Error> {
        if let Want::Persist(change) = self.refresh.want() {
            let trusted = self.refresh.trusted();
            if !TrustLost::has_floors(self.lost) {
                match change {
                    Change::Root => store_root(self.flash, trusted.root())?,
                    Change::Floors => store_floors(self.flash, trusted.floors(), self.memory, self.lost)?,
                }
                self.stored = Some(change);
            }
            self.refresh.persisted();
        }
        Ok(())
    }
}
