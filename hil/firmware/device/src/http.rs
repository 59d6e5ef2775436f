//! A file over HTTP/1.1: what is sent for it, and what comes back, without I/O.
//!
//! It gives the same faults as the transport of hosts, `tuffet_agent::http`, with one exception: a `Retry-After` that names a
//! moment instead of seconds is not read. No redirect is followed, no byte is changed, and a head has a bound.

use tuffet_agent::engine::Input;
use tuffet_agent::{Error, Request, TransportFault};

/// Bytes of a line of a head, or of a chunk's, that are kept. Those that matter are short; what is longer is passed by.
const LINE: usize = 128;

/// Bytes of all that is no content: more than any server sends, and an end to what one may send.
const HEAD: u32 = 16 * 1024;

/// Hands the text of a request to `put`, piece by piece.
pub fn ask(request: &Request, server: [u8; 4], port: u16, put: &mut dyn FnMut(&[u8])) {
    put(b"GET /");
    put(request.path.as_bytes());
    put(b" HTTP/1.1\r\nHost: ");
    for (place, part) in server.into_iter().enumerate() {
        if place > 0 {
            put(b".");
        }
        decimal(part.into(), put);
    }
    put(b":");
    decimal(port.into(), put);
    if is_range(request) {
        put(b"\r\nRange: bytes=");
        decimal(request.from, put);
        put(b"-");
        decimal(request.limit.saturating_sub(1), put);
    }
    put(b"\r\nUser-Agent: tuffet-device\r\nConnection: close\r\n\r\n");
}

/// Whether a request is for less than the file.
fn is_range(request: &Request) -> bool {
    request.part || request.from > 0
}

fn decimal(number: u32, put: &mut dyn FnMut(&[u8])) {
    // 4294967295 is the longest.
    let mut digits = [0; 10];
    let mut first = digits.len();
    let mut rest = number;
    for (place, digit) in digits.iter_mut().enumerate().rev() {
        let [low, ..] = (rest % 10).to_le_bytes();
        *digit = b'0' | low;
        first = place;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    put(digits.get(first..).unwrap_or_default());
}

/// Whether more is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// More is wanted.
    More,
    /// The file is there, or as much of it as was wanted.
    Done,
}

/// An answer on its way.
#[derive(Debug)]
pub struct Answer {
    from: u32,
    is_range: bool,
    part: bool,
    limit: u32,
    place: Place,
    line: [u8; LINE],
    /// Bytes of the line so far, kept or not.
    length: usize,
    /// Bytes so far that are no content.
    head: u32,
    fields: Fields,
    /// Bytes of content that come before the first one that is wanted.
    before: u32,
    /// Bytes of content that are wanted.
    left: u32,
}

/// Where in an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Status,
    Field,
    /// Content of so many bytes more, or of as many as come.
    Content(Option<u64>),
    ChunkSize,
    /// A chunk of so many bytes more.
    Chunk(u64),
    /// The line that ends a chunk.
    ChunkEnd,
    Trailer,
    Over,
}

/// What a head says.
#[derive(Debug, Default)]
struct Fields {
    status: u16,
    length: Option<u64>,
    range_from: Option<u32>,
    retry_after: Option<u32>,
    chunked: bool,
}

impl Answer {
    /// The answer to this request.
    #[must_use]
    pub fn to(request: &Request) -> Self {
        Self {
            from: request.from,
            is_range: is_range(request),
            part: request.part,
            limit: request.limit,
            place: Place::Status,
            line: [0; LINE],
            length: 0,
            head: 0,
            fields: Fields::default(),
            before: 0,
            left: request.limit.saturating_sub(request.from),
        }
    }

    /// Takes the next bytes, and hands those that are wanted to `sink`, and how many passed before them.
    ///
    /// # Errors
    ///
    /// That of the sink, as it is, and [`TransportFault`].
    pub fn feed(
        &mut self,
        mut bytes: &[u8],
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<Progress, Error> {
        loop {
            if self.place == Place::Over {
                return Ok(Progress::Done);
            }
            let content = match self.place {
                Place::Content(left) => Some(left.unwrap_or(u64::MAX)),
                Place::Chunk(left) => Some(left),
                _ => None,
            };
            if let Some(left) = content {
                if left == 0 {
                    match self.place {
                        Place::Chunk(_) => self.place = Place::ChunkEnd,
                        _ => self.over()?,
                    }
                    continue;
                }
                if bytes.is_empty() {
                    return Ok(Progress::More);
                }
                let length = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
                let (now, later) = bytes.split_at(length);
                bytes = later;
                let left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
                self.place = match self.place {
                    Place::Content(known) => Place::Content(known.map(|_| left)),
                    _ => Place::Chunk(left),
                };
                self.deliver(now, sink)?;
                continue;
            }
            let Some((byte, later)) = bytes.split_first() else { return Ok(Progress::More) };
            bytes = later;
            self.head = self.head.saturating_add(1);
            if self.head > HEAD {
                return Err(TransportFault::Connection.into());
            }
            if *byte == b'\n' {
                self.line()?;
                self.length = 0;
            } else {
                if let Some(place) = self.line.get_mut(self.length) {
                    *place = *byte;
                }
                self.length = self.length.saturating_add(1);
            }
        }
    }

    /// The server has closed the connection.
    ///
    /// # Errors
    ///
    /// [`TransportFault::Connection`] if something is missing, [`TransportFault::Range`] if the file ended too early.
    pub fn closed(&mut self) -> Result<(), Error> {
        match self.place {
            Place::Content(None) => self.over(),
            Place::Over => Ok(()),
            _ => Err(TransportFault::Connection.into()),
        }
    }

    fn over(&mut self) -> Result<(), Error> {
        self.place = Place::Over;
        // The file ended before what is wanted began.
        if self.before > 0 { Err(TransportFault::Range { from: self.from }.into()) } else { Ok(()) }
    }

    fn deliver(
        &mut self,
        bytes: &[u8],
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let passed = usize::try_from(self.before).unwrap_or(usize::MAX).min(bytes.len());
        let (before, bytes) = bytes.split_at(passed);
        if !before.is_empty() {
            let passed = u32::try_from(passed).unwrap_or(u32::MAX);
            self.before = self.before.saturating_sub(passed);
            sink(Input::Passed(passed))?;
        }
        let wanted = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len());
        let (wanted, rest) = bytes.split_at(wanted);
        if !self.part && !rest.is_empty() {
            return Err(TransportFault::TooLong { limit: self.limit }.into());
        }
        self.left = self.left.saturating_sub(u32::try_from(wanted.len()).unwrap_or(u32::MAX));
        if !wanted.is_empty() {
            sink(Input::Chunk(wanted))?;
        }
        if self.part && self.left == 0 && self.before == 0 {
            self.place = Place::Over;
        }
        Ok(())
    }

    /// A line is complete.
    fn line(&mut self) -> Result<(), Error> {
        let kept = self.line.get(..self.length.min(LINE)).unwrap_or_default();
        // One that was not kept whole says nothing, but for its beginning.
        let line = if self.length > LINE { &[] } else { kept.strip_suffix(b"\r").unwrap_or(kept) };
        let is_last = line.is_empty() && self.length <= 1;
        match self.place {
            Place::Status => {
                self.fields = Fields { status: status(kept)?, ..Fields::default() };
                self.place = Place::Field;
            }
            Place::Field if !is_last => self.fields.take(line)?,
            // RFC 9110, 15.2: what is informational comes before the answer.
            Place::Field if (100..200).contains(&self.fields.status) => self.place = Place::Status,
            Place::Field => self.begin()?,
            Place::ChunkSize => {
                let size = chunk_size(line).ok_or(TransportFault::Connection)?;
                self.place = if size == 0 { Place::Trailer } else { Place::Chunk(size) };
            }
            Place::ChunkEnd if is_last => self.place = Place::ChunkSize,
            Place::ChunkEnd => return Err(TransportFault::Connection.into()),
            Place::Trailer if is_last => self.over()?,
            _ => {}
        }
        Ok(())
    }

    /// The head is complete.
    fn begin(&mut self) -> Result<(), Error> {
        let Fields { status, length, range_from, retry_after, chunked } = self.fields;
        let from = self.from;
        self.before = match status {
            // A server need not know ranges.
            200 => from,
            206 if self.is_range && range_from == Some(from) => 0,
            206 | 416 if self.is_range => return Err(TransportFault::Range { from }.into()),
            404 => return Err(TransportFault::NotFound.into()),
            code => {
                return Err(match retry_after {
                    Some(after) if matches!(code, 429 | 503) => TransportFault::Busy { code, after },
                    _ => TransportFault::Status { code },
                }
                .into());
            }
        };
        // RFC 9112, 6.3: chunks win over a length.
        self.place = if chunked { Place::ChunkSize } else { Place::Content(length) };
        let end = u64::from(self.left).saturating_add(self.before.into());
        if !self.part && !chunked && length.is_some_and(|length| length > end) {
            return Err(TransportFault::TooLong { limit: self.limit }.into());
        }
        Ok(())
    }
}

impl Fields {
    fn take(&mut self, line: &[u8]) -> Result<(), Error> {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return Ok(()) };
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let length = number(value).ok_or(TransportFault::Connection)?;
            // RFC 9112, 6.3: two lengths are none.
            if self.length.is_some_and(|before| before != length) {
                return Err(TransportFault::Connection.into());
            }
            self.length = Some(length);
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if !value.eq_ignore_ascii_case(b"chunked") {
                return Err(TransportFault::Connection.into());
            }
            self.chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-range") {
            // RFC 9110, 14.4: `bytes 100-199/1000`.
            let range = value.strip_prefix(b"bytes ").unwrap_or_default();
            let dash = range.iter().position(|byte| *byte == b'-').unwrap_or(0);
            let from = number(range.get(..dash).unwrap_or_default().trim_ascii());
            self.range_from = from.and_then(|from| u32::try_from(from).ok());
        } else if name.eq_ignore_ascii_case(b"retry-after") {
            self.retry_after = number(value).map(|seconds| u32::try_from(seconds).unwrap_or(u32::MAX));
        }
        Ok(())
    }
}

/// The code of a status line, `HTTP/1.1 200 OK`.
fn status(line: &[u8]) -> Result<u16, Error> {
    let code = line.strip_prefix(b"HTTP/1.").and_then(|rest| match rest.trim_ascii_end() {
        [minor, b' ', code @ ..] if minor.is_ascii_digit() => code.split(|byte| *byte == b' ').next(),
        _ => None,
    });
    let code = code.filter(|code| code.len() == 3).and_then(number);
    code.and_then(|code| u16::try_from(code).ok()).ok_or_else(|| TransportFault::Connection.into())
}

/// Decimal digits and nothing else.
fn number(digits: &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for digit in digits {
        let value = digit.checked_sub(b'0').filter(|value| *value < 10)?;
        number = number.checked_mul(10)?.checked_add(value.into())?;
    }
    (!digits.is_empty()).then_some(number)
}

/// RFC 9112, 7.1: hexadecimal digits, and perhaps an extension behind a semicolon.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let digits = line.split(|byte| *byte == b';').next()?.trim_ascii();
    let mut size = 0_u64;
    for digit in digits {
        let value = char::from(*digit).to_digit(16)?;
        size = size.checked_mul(16)?.checked_add(value.into())?;
    }
    (!digits.is_empty()).then_some(size)
}

#[cfg(test)]
mod tests;
