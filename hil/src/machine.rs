//! An emulator: it runs a device until its power goes, and hands back its flash and its log.

use core::ops::Range;
use core::time::Duration;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use defmt_decoder::{DecodeError, Table};
use tempfile::TempDir;
use tuffet_tests::lab::nor::Operation;

use crate::Failure;
use crate::board::Board;
use crate::firmware::{Firmware, Places};
use crate::gateway::{Files, Served};
use crate::gdb::{Gdb, Stop};

/// How long an emulator may take to open its socket.
const START: Duration = Duration::from_secs(30);

/// How long a device may be on. One whose instructions are counted takes four times as long.
pub const PATIENCE: Duration = Duration::from_secs(400);

/// What memory is painted with: as `cortex-m-rt` does it, for a program that paints its stack itself.
const PAINT: u8 = 0xCC;

/// Where the flash of an nRF51 begins.
const INTERNAL_FLASH: u32 = 0;

/// A device that is switched on.
#[derive(Debug)]
pub struct Machine {
    board: Board,
    places: Places,
    child: Emulator,
    gdb: Gdb,
    log: Arc<Mutex<Vec<String>>>,
    listener: Option<JoinHandle<Served>>,
    directory: TempDir,
    /// The core stands at a breakpoint that it has to pass first.
    halted: bool,
}

/// An emulator's process, which ends with it.
#[derive(Debug)]
struct Emulator(Child);

impl Emulator {
    fn end(&mut self) -> io::Result<ExitStatus> {
        // One that has ended by itself cannot be killed, which is as good.
        let _ = self.0.kill();
        self.0.wait()
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

/// Where a device stopped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Halt {
    /// It is about to do this to its flash; what it is about to write stands beside it.
    Operation(Operation, Vec<u8>),
    /// Its bootloader starts.
    Reset,
    /// Its bootloader has ended, and an image begins.
    Entry,
    /// It switches itself off: whether all went well.
    Off(bool),
    /// It runs on, after so long.
    Late,
}

/// What came of a device that ran until it switched itself off.
#[derive(Clone, Debug)]
pub struct Asleep {
    /// What is on its flash.
    pub flash: Vec<u8>,
    /// What it said.
    pub log: Vec<String>,
    /// What its UART was fed with, if it was.
    pub served: Served,
}

/// What a device is halted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watch {
    /// Its end.
    End,
    /// Each operation of its flash, and each of its starts.
    Operations,
    /// Each start of its bootloader, and of an image.
    Starts,
    /// Its end, with one instruction each nanosecond.
    Counting,
}

impl Machine {
    /// Switches a device on, and lets it run until it switches itself off. `hear` is told all that it said.
    ///
    /// # Errors
    /// What keeps the emulator from being started, or that the device does anything else than go to sleep.
    pub fn live(
        firmware: &Firmware,
        flash: &[u8],
        files: Option<Files>,
        watch: Watch,
        hear: &mut dyn FnMut(&str),
    ) -> Result<Asleep, Failure> {
        let mut machine = Machine::start(firmware, flash, files, watch)?;
        let halt = machine.run(if watch == Watch::Counting { PATIENCE * 4 } else { PATIENCE });
        let flash = machine.flash();
        let (log, served) = machine.switch_off()?;
        log.iter().for_each(|line| hear(line));
        let halt = match (halt, flash) {
            (Ok(Halt::Off(true)), flash) => return Ok(Asleep { flash: flash?, log, served }),
            (Ok(halt), _) => format!("{halt:?}"),
            (Err(error), _) => error.to_string(),
        };
        let last = log.get(log.len().saturating_sub(12)..).unwrap_or_default().join("\n  ");
        Err(format!("the device did not go to sleep ({halt}); the last that it said:\n  {last}").into())
    }

    /// Switches a device on, with these bytes on its flash. `files` are what its UART is fed with, if it is.
    ///
    /// # Errors
    /// What keeps the emulator from being started.
    pub fn start(
        firmware: &Firmware,
        flash: &[u8],
        files: Option<Files>,
        watch: Watch,
    ) -> Result<Machine, Failure> {
        let board = firmware.board;
        let directory = tempfile::tempdir()?;
        let [bootloader, socket, nor] =
            ["boot.elf", "gdb", "nor.bin"].map(|name| directory.path().join(name));
        fs::write(&bootloader, &firmware.bootloader)?;
        if board.has_flash_file() {
            fs::write(&nor, flash)?;
        }
        let mut emulator = board.emulator(&bootloader, &socket, &nor);
        if watch == Watch::Counting {
            emulator.args(["-icount", "shift=0"]);
        }
        let log = Arc::new(Mutex::new(Vec::new()));
        let decoder = Decoder::new(&firmware.application, Arc::clone(&log))?;
        let complaint = directory.path().join("stderr");
        let mut child = emulator
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&complaint)?)
            .spawn()
            .map(Emulator)
            .map_err(|error| format!("{} cannot be started: {error}", crate::board::EMULATOR))?;
        let (input, output) = (child.0.stdin.take(), child.0.stdout.take());
        let (Some(input), Some(output)) = (input, output) else {
            return Err("the emulator has no standard input and output".into());
        };
        let listener = decoder.listen(input, output, files);
        let stream = connect(&socket, &mut child.0).map_err(|error| {
            let complaint = fs::read_to_string(&complaint).unwrap_or_default();
            format!("{error}; {}", complaint.trim())
        })?;
        let mut machine = Machine {
            board,
            places: firmware.places.clone(),
            gdb: Gdb::new(stream)?,
            child,
            log,
            listener: Some(listener),
            directory,
            halted: false,
        };
        if !board.has_flash_file() {
            // The bootloader's part is its own.
            let behind = board.layout().bootloader.map_or(0, |part| part.end());
            machine.gdb.write(INTERNAL_FLASH + behind, &flash[behind as usize..])?;
        }
        let Places { erase, program, reset, entry, switch_off } = machine.places.clone();
        let others = match watch {
            Watch::End | Watch::Counting => Vec::new(),
            Watch::Operations => [erase, program, vec![reset]].concat(),
            Watch::Starts => vec![reset, entry],
        };
        for place in switch_off.into_iter().chain(others) {
            machine.gdb.break_at(place)?;
        }
        Ok(machine)
    }

    /// Lets the device run until it halts, or so long.
    ///
    /// # Errors
    /// What the emulator's debugger does not do.
    pub fn run(&mut self, patience: Duration) -> Result<Halt, Failure> {
        if core::mem::replace(&mut self.halted, false) && self.gdb.step()? != Some(Stop::Halted) {
            return Err("the core does not step".into());
        }
        let end = Instant::now() + patience;
        match self.gdb.go(patience)? {
            None => {
                self.gdb.halt()?;
                // Once it answers, the flash's file is written; see `halt`.
                self.gdb.registers()?;
                Ok(Halt::Late)
            }
            Some(Stop::Exited(status)) => {
                self.child.0.wait()?;
                Ok(Halt::Off(status == 0))
            }
            Some(Stop::Gone) => match self.child.0.wait()?.code() {
                Some(status) => Ok(Halt::Off(status == 0)),
                None => Err("the emulator was killed".into()),
            },
            Some(Stop::Halted) => {
                self.halted = true;
                self.halt(end)
            }
        }
    }

    /// What the core halted for.
    fn halt(&mut self, end: Instant) -> Result<Halt, Failure> {
        // A function's arguments, and where the core is.
        let [offset, pointer, length, .., at] = self.gdb.registers()?;
        let at = at & !1;
        let start = offset as usize;
        if self.places.erase.contains(&at) {
            let unit = self.board.layout().erase_unit as usize;
            return Ok(Halt::Operation(Operation::Erase(start..start + unit), Vec::new()));
        }
        if self.places.program.contains(&at) {
            let mut bytes = vec![0; length as usize];
            self.gdb.read(pointer, &mut bytes)?;
            return Ok(Halt::Operation(Operation::Write(start..start + bytes.len()), bytes));
        }
        if self.places.switch_off.contains(&at) {
            // An emulator that ends loses what it was about to write to the flash's file; one that stands still has written
            // it before it answers.
            return match self.board.has_flash_file() {
                true => self.run(START),
                false => Ok(Halt::Off(offset & 0xFF != 0)),
            };
        }
        if at == self.places.reset {
            return Ok(Halt::Reset);
        }
        if at == self.places.entry {
            return Ok(Halt::Entry);
        }
        if Instant::now() >= end {
            return Ok(Halt::Late);
        }
        Err(format!("the core halts at {at:#x}, where nobody told it to").into())
    }

    /// What is on the flash while the core stands still.
    ///
    /// # Errors
    /// What keeps it from being read.
    pub fn flash(&mut self) -> Result<Vec<u8>, Failure> {
        if self.board.has_flash_file() {
            return Ok(fs::read(self.nor())?);
        }
        let mut bytes = vec![0; self.board.layout().size as usize];
        self.gdb.read(INTERNAL_FLASH, &mut bytes)?;
        Ok(bytes)
    }

    /// Paints memory while the core stands still.
    ///
    /// # Errors
    /// What keeps it from being written.
    pub fn paint(&mut self, memory: &Range<u32>) -> Result<(), Failure> {
        Ok(self.gdb.write(memory.start, &vec![PAINT; memory.len()])?)
    }

    /// Bytes from the first one of this memory that is not painted any more to its end.
    ///
    /// # Errors
    /// What keeps it from being read.
    pub fn used(&mut self, memory: &Range<u32>) -> Result<u64, Failure> {
        let mut bytes = vec![0; memory.len()];
        self.gdb.read(memory.start, &mut bytes)?;
        let first = bytes.iter().position(|byte| *byte != PAINT).unwrap_or(bytes.len());
        Ok((bytes.len() - first) as u64)
    }

    fn nor(&self) -> PathBuf {
        self.directory.path().join("nor.bin")
    }

    /// The power goes. What the device said until then, and what its UART was fed with.
    ///
    /// # Errors
    /// Those of the system.
    pub fn switch_off(mut self) -> Result<(Vec<String>, Served), Failure> {
        let served = self.end()?;
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Ok((log, served))
    }

    fn end(&mut self) -> io::Result<Served> {
        self.child.end()?;
        // It ends with the emulator's output. If it panicked, that has been said.
        Ok(self.listener.take().and_then(|listener| listener.join().ok()).unwrap_or_default())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.end();
    }
}

fn connect(socket: &std::path::Path, child: &mut Child) -> Result<UnixStream, Failure> {
    let end = Instant::now() + START;
    loop {
        match UnixStream::connect(socket) {
            Ok(stream) => return Ok(stream),
            Err(error) => {
                if let Some(status) = child.try_wait()? {
                    return Err(format!("the emulator ended at once: {status}").into());
                }
                if Instant::now() > end {
                    return Err(format!("the emulator serves no debugger: {error}").into());
                }
                thread::sleep(Duration::from_millis(5));
            }
        }
    }
}

/// Turns what comes from a board's log into lines.
struct Decoder {
    table: Table,
    log: Arc<Mutex<Vec<String>>>,
}

impl Decoder {
    fn new(application: &[u8], log: Arc<Mutex<Vec<String>>>) -> Result<Decoder, Failure> {
        let table = Table::parse(application)?.ok_or("the application has no table for its log")?;
        Ok(Decoder { table, log })
    }

    /// Listens to a UART until it is closed.
    fn listen(self, input: ChildStdin, mut output: ChildStdout, files: Option<Files>) -> JoinHandle<Served> {
        thread::spawn(move || {
            let mut stream = self.table.new_stream_decoder();
            let mut take = |bytes: &[u8]| {
                stream.received(bytes);
                loop {
                    match stream.decode() {
                        Ok(frame) => self.say(frame.display_message().to_string()),
                        Err(DecodeError::UnexpectedEof) => break,
                        // A frame that a reset cut, or a bootloader's plain words.
                        Err(DecodeError::Malformed) if self.table.encoding().can_recover() => {}
                        Err(DecodeError::Malformed) => break,
                    }
                }
            };
            match files {
                Some(mut files) => {
                    let served = files.serve(Line { input, output }, &mut take);
                    served.unwrap_or_else(|error| {
                        self.say(format!("the line broke: {error}"));
                        Served::default()
                    })
                }
                None => {
                    let mut bytes = [0; 4096];
                    while let Ok(count @ 1..) = output.read(&mut bytes) {
                        take(&bytes[..count]);
                    }
                    Served::default()
                }
            }
        })
    }

    fn say(&self, line: String) {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }
}

/// A UART that is an emulator's standard input and output.
struct Line {
    input: ChildStdin,
    output: ChildStdout,
}

impl Read for Line {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.output.read(bytes)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.input.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.input.flush()
    }
}
