//! What gdb says to an emulator, as far as is needed: memory, breakpoints, go and stop.
//!
//! The protocol is gdb's own (*Debugging with gdb*, appendix E): packets of text between `$` and `#`, each with a checksum and
//! acknowledged.

use core::time::Duration;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;

/// Bytes of memory in one packet. QEMU's have 4,096 characters, of which a byte takes two.
const CHUNK: usize = 1024;

/// How long an emulator may take to answer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Why the emulated core stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// A breakpoint, or it was told to.
    Halted,
    /// The program ended the emulator, with this status.
    Exited(u8),
    /// The emulator ended without a word.
    Gone,
}

/// A connection to an emulator's debugger.
#[derive(Debug)]
pub struct Gdb {
    stream: UnixStream,
    /// What came and was not read yet.
    came: VecDeque<u8>,
}

impl Gdb {
    /// Speaks to an emulator over this socket. The core halts.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { stream, came: VecDeque::new() })
    }

    /// Reads memory.
    ///
    /// # Errors
    ///
    /// Those of the socket, and [`ErrorKind::InvalidData`] where there is no memory.
    pub fn read(&mut self, address: u32, bytes: &mut [u8]) -> io::Result<()> {
        let mut at = address;
        for piece in bytes.chunks_mut(CHUNK) {
            let answer = self.ask(&format!("m{at:x},{:x}", piece.len()))?;
            let digits = answer.as_bytes().chunks_exact(2).map(|pair| {
                core::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok())
            });
            let came: Option<Vec<u8>> = digits.collect();
            match came {
                Some(came) if came.len() == piece.len() => piece.copy_from_slice(&came),
                _ => return Err(refused(&answer)),
            }
            at = at.wrapping_add(piece.len() as u32);
        }
        Ok(())
    }

    /// Writes memory, a flash too.
    ///
    /// # Errors
    ///
    /// As [`Gdb::read`].
    pub fn write(&mut self, address: u32, bytes: &[u8]) -> io::Result<()> {
        let mut at = address;
        for piece in bytes.chunks(CHUNK) {
            let digits: String = piece.iter().map(|byte| format!("{byte:02x}")).collect();
            self.command(&format!("M{at:x},{:x}:{digits}", piece.len()))?;
            at = at.wrapping_add(piece.len() as u32);
        }
        Ok(())
    }

    /// Reads the core's registers: 0 to 12, 13 the stack pointer, 15 where it is.
    ///
    /// # Errors
    ///
    /// As [`Gdb::read`].
    pub fn registers(&mut self) -> io::Result<[u32; 16]> {
        let answer = self.ask("g")?;
        let mut registers = [0; 16];
        for (register, digits) in registers.iter_mut().zip(answer.as_bytes().chunks_exact(8)) {
            let number =
                core::str::from_utf8(digits).ok().and_then(|digits| u32::from_str_radix(digits, 16).ok());
            // As they lie in memory.
            *register = number.ok_or_else(|| refused(&answer))?.swap_bytes();
        }
        Ok(registers)
    }

    /// Halts the core before it executes what is there.
    ///
    /// # Errors
    ///
    /// As [`Gdb::read`].
    pub fn break_at(&mut self, address: u32) -> io::Result<()> {
        self.command(&format!("Z1,{:x},2", address & !1))
    }

    /// Lets the core go, until it stops; nothing if it still runs after so long.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn go(&mut self, patience: Duration) -> io::Result<Option<Stop>> {
        self.send("c")?;
        self.stop(patience)
    }

    /// Lets the core execute one instruction, even one that it was to halt at.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn step(&mut self) -> io::Result<Option<Stop>> {
        self.send("s")?;
        self.stop(PATIENCE)
    }

    /// Waits for a core that runs.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn stop(&mut self, patience: Duration) -> io::Result<Option<Stop>> {
        self.stream.set_read_timeout(Some(patience))?;
        let stop = match self.receive() {
            Ok(packet) if packet.starts_with('W') => {
                Some(Stop::Exited(u8::from_str_radix(&packet[1..], 16).unwrap_or(u8::MAX)))
            }
            Ok(_) => Some(Stop::Halted),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => None,
            Err(error) if matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset) => {
                Some(Stop::Gone)
            }
            Err(error) => return Err(error),
        };
        self.stream.set_read_timeout(Some(PATIENCE))?;
        Ok(stop)
    }

    /// Halts a core that runs.
    ///
    /// # Errors
    ///
    /// Those of the socket.
    pub fn halt(&mut self) -> io::Result<Option<Stop>> {
        self.stream.write_all(&[3])?;
        self.stop(PATIENCE)
    }

    fn command(&mut self, packet: &str) -> io::Result<()> {
        match self.ask(packet)?.as_str() {
            "OK" => Ok(()),
            answer => Err(refused(answer)),
        }
    }

    fn ask(&mut self, packet: &str) -> io::Result<String> {
        self.send(packet)?;
        self.receive()
    }

    fn send(&mut self, packet: &str) -> io::Result<()> {
        let sum = packet.bytes().fold(0_u8, u8::wrapping_add);
        self.stream.write_all(format!("${packet}#{sum:02x}").as_bytes())
    }

    /// The next packet. Acknowledgements between them are passed by: a socket loses nothing.
    fn receive(&mut self) -> io::Result<String> {
        while self.byte()? != b'$' {}
        let mut packet = String::new();
        loop {
            match self.byte()? {
                b'#' => break,
                byte => packet.push(byte.into()),
            }
        }
        let _sum = [self.byte()?, self.byte()?];
        // The last packet is that of an emulator that has ended, and waits for no answer.
        let _ = self.stream.write_all(b"+");
        Ok(packet)
    }

    fn byte(&mut self) -> io::Result<u8> {
        if self.came.is_empty() {
            let mut bytes = [0; 4096];
            let count = self.stream.read(&mut bytes)?;
            self.came.extend(&bytes[..count]);
        }
        self.came.pop_front().ok_or_else(|| ErrorKind::UnexpectedEof.into())
    }
}

fn refused(answer: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, format!("the emulator says {answer:?}"))
}
