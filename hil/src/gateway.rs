//! The host's end of a UART: it answers a device's questions for files, and takes its log.
//!
//! Files come from a repository on a web server, as it answers, or from a bundle. The gateway verifies nothing and mends
//! nothing: what a server does wrong reaches the device.

use core::time::Duration;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::time::Instant;

use tuffet_agent::bundle::Bundle;
use tuffet_agent::{Environment, Error, Request, Transport, TransportFault};
use tuffet_hil_protocol::line::{self, Answer, FRAME_MAX, Fault, PIECE_MAX, Receiver, Reply, ToHost, encode};
use ureq::http::Response;
use ureq::{Body, BodyReader};

/// How long a server may be silent: before it takes a connection, before its head, and at each read. A device that asks again
/// meanwhile is answered twice, and passes over the answer to a question that it does not ask any more.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a piece may take.
const WHOLE: Duration = Duration::from_secs(6);

/// Where files come from.
pub enum Files {
    /// A web server.
    Repository(Box<Repository>),
    /// A bundle.
    Bundle(Bundle<File>),
}

/// What went over the line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Served {
    /// Questions that came, repeated ones among them.
    pub questions: u64,
    /// Bytes that came.
    pub received: u64,
    /// Bytes that were sent.
    pub sent: u64,
    /// Files that were asked for from a later byte on when nothing of them had come, or after they had failed.
    pub resumed: u64,
}

impl Files {
    /// Files below this address, which is plain HTTP to a server of one's own.
    #[must_use]
    pub fn repository(url: &str) -> Self {
        Self::Repository(Box::new(Repository::new(url)))
    }

    /// Files in this bundle.
    ///
    /// # Errors
    ///
    /// Those of [`Bundle::open`].
    pub fn bundle(file: File) -> Result<Self, Error> {
        Bundle::open(file).map(Self::Bundle)
    }

    /// Serves a line until it is closed at the other end. The bytes of the device's log go to `log`, as they come.
    ///
    /// # Errors
    ///
    /// Those of the line. A line whose other end was killed counts as closed.
    pub fn serve(&mut self, mut line: impl Read + Write, log: &mut dyn FnMut(&[u8])) -> io::Result<Served> {
        let mut served = Served::default();
        let (mut frame, mut answer, mut bytes) = ([0; FRAME_MAX], [0; FRAME_MAX], [0; 1024]);
        let mut receiver = Receiver::new(&mut frame);
        let mut begun = BTreeSet::new();
        loop {
            let count = match line.read(&mut bytes) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.or_else(closed)?,
            };
            if count == 0 {
                return Ok(served);
            }
            served.received += count as u64;
            for byte in &bytes[..count] {
                let Some(message) = receiver.push(*byte) else { continue };
                match message.read() {
                    Some(ToHost::Log(bytes)) => log(bytes),
                    Some(ToHost::Read(question)) => {
                        served.questions += 1;
                        if begun.insert(question.path.to_owned()) && question.from > 0 {
                            served.resumed += 1;
                        }
                        let piece = self.piece(&question);
                        if piece.is_err() {
                            begun.remove(question.path);
                        }
                        let Some(frame) = reply(message.checksum, question.from, &piece, &mut answer) else {
                            continue;
                        };
                        if let Err(error) = line.write_all(frame) {
                            return closed(error).map(|_| served);
                        }
                        served.sent += frame.len() as u64;
                    }
                    None => {}
                }
            }
        }
    }

    fn piece(&mut self, question: &line::Read<'_>) -> Result<Piece, Fault> {
        let line::Read { path, from, length, .. } = *question;
        let length = usize::from(length).min(PIECE_MAX);
        match self {
            Self::Repository(repository) => repository.read(path, from, length),
            Self::Bundle(bundle) => read(bundle, path, from, length),
        }
    }
}

/// The frame of an answer.
fn reply<'b>(to: u32, from: u32, piece: &Result<Piece, Fault>, buffer: &'b mut [u8]) -> Option<&'b [u8]> {
    let reply = match piece {
        Ok(Piece { bytes, last }) => Reply::Bytes { from, bytes, last: *last },
        Err(fault) => Reply::Fault(*fault),
    };
    encode(&Answer { to, reply }, buffer).map(|frame| frame.bytes)
}

/// A line whose other end is gone.
fn closed(error: io::Error) -> io::Result<usize> {
    match error.kind() {
        ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => Ok(0),
        _ => Err(error),
    }
}

/// Some bytes of a file.
struct Piece {
    bytes: Vec<u8>,
    /// The file ends behind them.
    last: bool,
}

/// A piece of a file in a bundle.
fn read(bundle: &mut dyn Transport, path: &str, from: u32, length: usize) -> Result<Piece, Fault> {
    // One byte more than is wanted, to see whether the file goes on.
    let limit = u32::try_from(length).ok().and_then(|length| from.checked_add(length)?.checked_add(1));
    let mut request = Request::whole(path, limit.unwrap_or(u32::MAX)).map_err(|_| Fault::NotFound)?;
    (request.from, request.part) = (from, true);
    let mut bytes = Vec::with_capacity(length + 1);
    let fetched = bundle.fetch(&request, &mut |input| {
        bytes.extend_from_slice(input.bytes());
        Ok(())
    });
    fetched.map_err(|error| match error {
        Error::Environment(Environment::Transport(TransportFault::NotFound)) => Fault::NotFound,
        Error::Environment(Environment::Transport(TransportFault::Range { .. })) => Fault::Range,
        // A root that is missing before others among these: not to find it would end the walk of roots.
        _ => Fault::Unreadable,
    })?;
    let last = bytes.len() <= length;
    bytes.truncate(length);
    Ok(Piece { bytes, last })
}

/// A repository on a web server.
pub struct Repository {
    agent: ureq::Agent,
    /// Ends in a slash.
    base: String,
    /// The answer that is being read.
    open: Option<Open>,
}

/// An answer of the server.
struct Open {
    path: String,
    /// The byte of the file that comes next.
    at: u32,
    body: BufReader<BodyReader<'static>>,
}

impl Repository {
    fn new(url: &str) -> Self {
        let config = ureq::Agent::config_builder()
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_connect(Some(SILENCE))
            .timeout_recv_response(Some(SILENCE))
            .timeout_per_read(Some(SILENCE))
            .proxy(None)
            .user_agent("tuffet-hil")
            .build();
        let base = format!("{}/", url.trim_end_matches('/'));
        Self { agent: config.new_agent(), base, open: None }
    }

    /// A piece of a file. A file whose beginning is wanted is asked for, and so is one that is not being read from there on.
    fn read(&mut self, path: &str, from: u32, length: usize) -> Result<Piece, Fault> {
        let open = self.open.take().filter(|open| from > 0 && open.path == path && open.at == from);
        let mut open = match open {
            Some(open) => open,
            None => self.ask(path, from)?,
        };
        let mut bytes = vec![0; length];
        let count = open.fill(&mut bytes)?;
        bytes.truncate(count);
        let last = count < length || open.has_ended()?;
        if !last {
            open.at = from.saturating_add(u32::try_from(count).unwrap_or(u32::MAX));
            self.open = Some(open);
        }
        Ok(Piece { bytes, last })
    }

    fn ask(&self, path: &str, from: u32) -> Result<Open, Fault> {
        let mut get = self.agent.get(format!("{}{path}", self.base));
        if from > 0 {
            get = get.header("Range", format!("bytes={from}-"));
        }
        let response = get.call().map_err(|error| fault(&error))?;
        // How many bytes come before the first one that is wanted.
        let before = match response.status().as_u16() {
            // A server need not know ranges.
            200 => from,
            206 if from > 0 && range_from(&response) == Some(from) => 0,
            206 | 416 if from > 0 => return Err(Fault::Range),
            404 => return Err(Fault::NotFound),
            code => {
                return Err(match header(&response, "Retry-After").and_then(|after| after.parse().ok()) {
                    Some(after) if matches!(code, 429 | 503) => Fault::Busy { code, after },
                    _ => Fault::Status(code),
                });
            }
        };
        let body = BufReader::new(response.into_body().into_reader());
        let mut open = Open { path: path.to_owned(), at: from, body };
        let mut passed = vec![0; usize::try_from(before).map_err(|_| Fault::Range)?];
        match open.fill(&mut passed)? {
            count if count < passed.len() => Err(Fault::Range),
            _ => Ok(open),
        }
    }
}

impl Open {
    /// Reads so many bytes, or fewer where the file ends.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, Fault> {
        let (mut count, begin) = (0, Instant::now());
        while count < bytes.len() {
            // A server that sends a byte now and then is never silent.
            if begin.elapsed() > WHOLE {
                return Err(Fault::Timeout);
            }
            match self.body.read(&mut bytes[count..]) {
                Ok(0) => break,
                Ok(read) => count += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(fault(&error.into())),
            }
        }
        Ok(count)
    }

    fn has_ended(&mut self) -> Result<bool, Fault> {
        self.body.fill_buf().map(<[u8]>::is_empty).map_err(|error| fault(&error.into()))
    }
}

fn header<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name)?.to_str().ok().map(str::trim)
}

/// The first byte that a partial answer has: RFC 9110, 14.4.
fn range_from(response: &Response<Body>) -> Option<u32> {
    let (from, _) = header(response, "Content-Range")?.strip_prefix("bytes ")?.split_once('-')?;
    from.trim().parse().ok()
}

fn fault(error: &ureq::Error) -> Fault {
    match error {
        ureq::Error::Timeout(_) => Fault::Timeout,
        ureq::Error::Io(error) if error.kind() == ErrorKind::TimedOut => Fault::Timeout,
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => Fault::Tls,
        _ => Fault::Connection,
    }
}

#[cfg(test)]
mod tests;
