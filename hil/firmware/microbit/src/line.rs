//! Files over the line, by the protocol of `hil/protocol`.
//!
//! Each question says where it begins, so that no byte comes over the line that was not asked for: none
//! [pass](tuffet_agent::engine::Input::Passed). Those of a server without ranges pass at the gateway.

use tuffet_agent::engine::Input;
use tuffet_agent::{Error, Request, Transport, TransportFault};
use tuffet_hil_protocol::line::{Answer, FRAME_MAX, Fault, PIECE_MAX, Read, Receiver, Reply, ToHost, encode};

use crate::{timer, uart};

/// Ticks after which a question that has no answer is asked again, whatever else came.
const PATIENCE: u32 = 3 * timer::SECOND;

/// How often a question is asked.
const TRIES: u32 = 4;

/// Seconds for a whole file, on top of what [`SLOWEST`] gives.
const WHOLE: u32 = 30;
/// Bytes a second. A host that answers with a byte at a time comes to an end, too.
const SLOWEST: u32 = 1024;

/// The way to the host.
#[derive(Debug)]
pub struct Line {
    /// One frame: first the question, then what comes.
    frame: [u8; FRAME_MAX],
    number: u32,
    /// The host has a bundle, and no repository.
    pub is_bundle: bool,
}

impl Default for Line {
    fn default() -> Self {
        Self::new()
    }
}

impl Line {
    /// The line to a host with a repository.
    pub const fn new() -> Self {
        Self { frame: [0; FRAME_MAX], number: 0, is_bundle: false }
    }

    /// Asks until there is an answer, and gives it to `take`.
    fn ask<T>(
        &mut self,
        path: &str,
        from: u32,
        length: u16,
        take: &mut dyn FnMut(&Reply<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.number = self.number.wrapping_add(1);
        for _ in 0..TRIES {
            let question = ToHost::Read(Read { number: self.number, path, from, length });
            let frame = encode(&question, &mut self.frame).ok_or(TransportFault::NotFound)?;
            frame.bytes.iter().copied().for_each(uart::send);
            let to = frame.checksum;
            let mut receiver = Receiver::new(&mut self.frame);
            let asked = timer::ticks();
            let mut heard = asked;
            loop {
                let byte = uart::receive();
                let now = timer::ticks();
                if now.wrapping_sub(asked) >= PATIENCE {
                    timer::waited(now.wrapping_sub(heard));
                    break;
                }
                let Some(byte) = byte else { continue };
                timer::waited(now.wrapping_sub(heard));
                let message = receiver.push(byte);
                // What taking a byte takes is no waiting for the next one.
                heard = timer::ticks();
                match message.and_then(|message| message.read::<Answer<'_>>()) {
                    Some(answer) if answer.to == to => return take(&answer.reply),
                    _ => {}
                }
            }
        }
        Err(TransportFault::Timeout.into())
    }
}

impl Transport for Line {
    fn fetch(
        &mut self,
        request: &Request,
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Request { path, from, limit, part } = request;
        let mut at = *from;
        let begin = timer::seconds();
        let patience = WHOLE.saturating_add(limit / SLOWEST);
        loop {
            if timer::seconds().saturating_sub(begin) > patience {
                return Err(TransportFault::Timeout.into());
            }
            let room = usize::try_from(limit.saturating_sub(at)).unwrap_or(usize::MAX);
            if room == 0 && *part {
                return Ok(());
            }
            // Where there is no room, one byte shows that the file goes on.
            let length = room.clamp(1, PIECE_MAX);
            let wanted = u16::try_from(length).unwrap_or(u16::MAX);
            let (came, last) = self.ask(path, at, wanted, &mut |reply| match *reply {
                Reply::Bytes { from, bytes, .. } if from != at || bytes.len() > length => {
                    Err(TransportFault::Range { from: at }.into())
                }
                Reply::Bytes { bytes, .. } if bytes.len() > room => {
                    Err(TransportFault::TooLong { limit: *limit }.into())
                }
                Reply::Bytes { bytes, last, .. } => {
                    if !bytes.is_empty() {
                        sink(Input::Chunk(bytes))?;
                    }
                    Ok((u32::try_from(bytes.len()).unwrap_or(u32::MAX), last))
                }
                Reply::Fault(fault) => Err(reason(fault, at).into()),
            })?;
            at = at.saturating_add(came);
            match (last, came) {
                (true, _) => return Ok(()),
                // Nothing, and not the end: no host says so.
                (false, 0) => return Err(TransportFault::Connection.into()),
                (false, _) if at >= *limit && !part => {
                    return Err(TransportFault::TooLong { limit: *limit }.into());
                }
                _ => {}
            }
        }
    }

    fn is_bundle(&self) -> bool {
        self.is_bundle
    }
}

fn reason(fault: Fault, at: u32) -> TransportFault {
    match fault {
        Fault::NotFound => TransportFault::NotFound,
        Fault::Range => TransportFault::Range { from: at },
        Fault::Status(code) => TransportFault::Status { code },
        Fault::Busy { code, after } => TransportFault::Busy { code, after },
        Fault::Timeout => TransportFault::Timeout,
        Fault::Connection => TransportFault::Connection,
        Fault::Tls => TransportFault::Tls,
        Fault::Unreadable => TransportFault::Unreadable { at },
    }
}
