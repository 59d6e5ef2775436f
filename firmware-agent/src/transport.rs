//! How files come to the device.

use core::fmt;

use heapless::String;
use tuffet_client::limits::{DEVICE, PATH};
use tuffet_client::release::digits;
use tuffet_client::{Candidate, FileName};

use crate::engine::Input;
use crate::error::Error;

/// Bytes of a request's path. The longest is that of an image whose path is all escapes: `targets/`, a digest of 64
/// digits, a dot, and three bytes for each of the path's.
pub const PATH_MAX: usize = 8 + 64 + 1 + 3 * PATH;
const _: () = assert!(10 + 1 + 3 * DEVICE.names + 5 <= PATH_MAX, "the file of a delegated role fits, too");

/// A file that is wanted, or what is still wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Relative to the repository's top, percent-encoded as it goes into a URL.
    pub path: String<PATH_MAX>,
    /// The first byte that is wanted.
    pub from: u32,
    /// No byte from this one on is of use.
    pub limit: u32,
    /// Whether the file may go on behind that. If not, one that does is none of this repository's.
    pub part: bool,
}

impl Request {
    /// All of a file that has at most `limit` bytes.
    ///
    /// # Errors
    ///
    /// [`TransportFault::NotFound`] for a path that is longer than any of a repository's.
    pub fn whole(path: &str, limit: u32) -> Result<Self, TransportFault> {
        let path = String::try_from(path).map_err(|_| TransportFault::NotFound)?;
        Ok(Self { path, from: 0, limit, part: false })
    }

    /// All of a candidate's image.
    pub fn image(candidate: &Candidate) -> Self {
        let mut request = Self::empty();
        request.be_image(candidate);
        request
    }

    /// The place for one.
    pub(crate) const fn empty() -> Self {
        Self { path: String::new(), from: 0, limit: 0, part: false }
    }

    /// Becomes that of a candidate's image. It was empty.
    pub(crate) fn be_image(&mut self, candidate: &Candidate) {
        self.limit = candidate.image.length;
        // Percent-encoded, but for what RFC 3986 calls unreserved and what separates segments.
        candidate.image.served(|byte| {
            if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'/') {
                self.add(byte);
            } else {
                let [high, low] = digits(byte);
                [b'%', high, low].into_iter().for_each(|byte| self.add(byte.to_ascii_uppercase()));
            }
        });
    }

    /// Becomes that of a file of metadata. It was empty.
    pub(crate) fn be_metadata(&mut self, file: &FileName<'_>, limit: u32) {
        self.limit = limit;
        // Escaped already.
        file.bytes(|byte| self.add(byte));
    }

    /// One byte of ASCII more of the path, which is long enough for every target path and every name.
    fn add(&mut self, byte: u8) {
        let _ = self.path.push(byte.into());
    }
}

/// Fetches files of one repository.
///
/// Implementations follow no redirect, change no byte (no decompression), and end every fetch in finite time.
pub trait Transport {
    /// Fetches a file and hands the bytes that are wanted of it to `sink`, in [chunks](Input::Chunk) of any size, in order, each
    /// once. A transport that can only begin with the first byte passes by those before [`Request::from`], and says so as they
    /// [pass](Input::Passed).
    ///
    /// # Errors
    ///
    /// The sink's error, as it is, as soon as it gives one. [`TransportFault`] otherwise: above all
    /// [`TransportFault::NotFound`], which ends the walk of roots, [`TransportFault::TooLong`] if the file goes on
    /// where it must not, and [`TransportFault::Range`] if it ends before what is wanted begins.
    fn fetch(
        &mut self,
        request: &Request,
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<(), Error>;

    /// Whether the files come together with a bundle, by other ways than a network. Its timestamp and snapshot may have
    /// expired on the way, and it does not change while it is used. Over a network `true` would let a mirror hold a
    /// device on an old state for as long as the targets files of that state are good.
    fn is_bundle(&self) -> bool {
        false
    }
}

impl<T: Transport + ?Sized> Transport for &mut T {
    fn fetch(
        &mut self,
        request: &Request,
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        (**self).fetch(request, sink)
    }

    fn is_bundle(&self) -> bool {
        (**self).is_bundle()
    }
}

/// Why a file did not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TransportFault {
    /// The server says that there is no such file (404).
    NotFound,
    /// The file goes on after as many bytes as are of use.
    TooLong {
        /// That many.
        limit: u32,
    },
    /// The server did not answer in time, or not to the end.
    Timeout,
    /// There is no connection, or it broke.
    Connection,
    /// The server cannot prove who it is.
    Tls,
    /// The server answers with another status than 200 and 404. Redirects are among these: whoever follows
    /// one lets the server choose the next server.
    Status {
        /// The status code.
        code: u16,
    },
    /// The server asks to be left alone for a while (429 or 503 with `Retry-After`).
    Busy {
        /// The status code.
        code: u16,
        /// Seconds.
        after: u32,
    },
    /// The file ends before what is wanted of it begins (416), or other bytes came than were asked for.
    Range {
        /// The first byte that is wanted.
        from: u32,
    },
    /// What a bundle lies on cannot be read.
    Unreadable {
        /// From this byte of the bundle on.
        at: u32,
    },
    /// A byte of a bundle is wanted that has passed, on a line that cannot go back.
    Passed {
        /// That byte.
        at: u32,
    },
}

impl TransportFault {
    /// See [`Error::code`].
    pub const fn code(&self) -> u16 {
        match self {
            Self::NotFound => 620,
            Self::TooLong { .. } => 621,
            Self::Timeout => 622,
            Self::Connection => 623,
            Self::Tls => 624,
            Self::Status { .. } => 625,
            Self::Unreadable { .. } => 626,
            Self::Passed { .. } => 627,
            Self::Busy { .. } => 628,
            Self::Range { .. } => 629,
        }
    }
}

impl fmt::Display for TransportFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("the server does not have this file"),
            Self::TooLong { limit } => write!(f, "the file goes on after {limit} bytes"),
            Self::Timeout => f.write_str("the server did not answer in time; try again later"),
            Self::Connection => f.write_str("no connection, or it broke; try again later"),
            Self::Tls => f.write_str(
                "no secure connection: check the server's certificate, its name, and the device's clock",
            ),
            Self::Status { code: code @ 300..=399 } => {
                write!(
                    f,
                    "the server redirects (status {code}), which is not followed; name its final address"
                )
            }
            Self::Status { code } => write!(f, "the server answers with status {code}"),
            Self::Busy { code, after } => {
                write!(f, "the server is busy (status {code}) and asks to be left alone for {after} s")
            }
            Self::Range { from } => {
                write!(f, "the server does not have the file from byte {from} on; it is fetched anew")
            }
            Self::Unreadable { at } => write!(f, "cannot be read from byte {at} on; try again"),
            Self::Passed { at } => {
                write!(f, "byte {at} of the bundle has passed; send the bundle once more from its first byte")
            }
        }
    }
}
