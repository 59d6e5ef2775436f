//! How files come to the device.

use core::fmt;

use crate::error::Error;

/// Fetches files of one repository.
///
/// Implementations follow no redirect, change no byte (no decompression), and end every fetch in finite time.
pub trait Transport {
    /// Fetches a file and hands its bytes to `sink` in chunks of any size, in order, each once.
    ///
    /// `path` is relative to the repository's top, percent-encoded as it goes into a URL. `limit` is the largest
    /// length in bytes that is of use. Not more than `limit` bytes reach the sink.
    ///
    /// # Errors
    ///
    /// The sink's error, as it is, as soon as it gives one. [`TransportFault`] otherwise: above all
    /// [`TransportFault::NotFound`], which ends the walk of roots, and [`TransportFault::TooLong`].
    fn fetch(
        &mut self,
        path: &str,
        limit: u32,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
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
        path: &str,
        limit: u32,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        (**self).fetch(path, limit, sink)
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
            Self::Unreadable { at } => write!(f, "cannot be read from byte {at} on; try again"),
            Self::Passed { at } => {
                write!(f, "byte {at} of the bundle has passed; send the bundle once more from its first byte")
            }
        }
    }
}
