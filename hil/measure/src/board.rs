//! The board and the host behind it: files, lines of text, a timer, and the stack. All `unsafe` is in here.

#![allow(unsafe_code, reason = "registers, semihosting calls, and memory below the stack pointer")]

use core::arch::asm;
use core::ptr;

use cortex_m_semihosting::debug::{self, ExitStatus};
use cortex_m_semihosting::{nr, syscall, syscall1};

/// A file on the host, below the directory in which the emulator was started.
pub(crate) struct File(usize);

impl File {
    /// Opens the file of this name, which ends with a zero byte; `None` if there is none.
    pub(crate) fn open(name: &[u8]) -> Option<File> {
        let length = name.len().checked_sub(1).filter(|last| name.get(*last) == Some(&0))?;
        let block = [name.as_ptr() as usize, nr::open::R_BINARY, length];
        // SAFETY: the block is what SYS_OPEN takes: a text that ends with zero, a mode, and the text's length.
        let handle = unsafe { syscall(nr::OPEN, &block) };
        (handle != usize::MAX).then_some(File(handle))
    }

    /// A new file of this name, which ends with a zero byte.
    #[cfg(any(feature = "agent", feature = "boot"))]
    pub(crate) fn create(name: &[u8]) -> Option<File> {
        let length = name.len().checked_sub(1).filter(|last| name.get(*last) == Some(&0))?;
        let block = [name.as_ptr() as usize, nr::open::W_TRUNC_BINARY, length];
        // SAFETY: as above.
        let handle = unsafe { syscall(nr::OPEN, &block) };
        (handle != usize::MAX).then_some(File(handle))
    }

    /// Writes these bytes; whether that could be done.
    #[cfg(any(feature = "agent", feature = "boot"))]
    pub(crate) fn write(&mut self, bytes: &[u8]) -> bool {
        let block = [self.0, bytes.as_ptr() as usize, bytes.len()];
        // SAFETY: the block is what SYS_WRITE takes: an open file, and memory of so many bytes.
        unsafe { syscall(nr::WRITE, &block) == 0 }
    }

    /// Reads the next bytes; fewer than there is room for are the last ones.
    pub(crate) fn read<'b>(&mut self, buffer: &'b mut [u8]) -> &'b mut [u8] {
        let block = [self.0, buffer.as_mut_ptr() as usize, buffer.len()];
        // SAFETY: the block is what SYS_READ takes: an open file, and memory of so many bytes that is ours.
        let missing = unsafe { syscall(nr::READ, &block) };
        let length = buffer.len().saturating_sub(missing);
        buffer.get_mut(..length).unwrap_or_default()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        // SAFETY: the block is what SYS_CLOSE takes, and nobody uses the file any more.
        unsafe { syscall(nr::CLOSE, &[self.0]) };
    }
}

/// Writes a line: words, and numbers between them.
pub(crate) fn say(name: &str, numbers: &[u32]) {
    write(name.as_bytes());
    for &number in numbers {
        // ` 4294967295` is the longest. `core::fmt` would be more code than what is measured.
        let mut digits = [b' '; 11];
        let mut at = digits.len();
        let mut rest = number;
        while let Some(place) = at.checked_sub(1).filter(|at| rest > 0 || *at == 10) {
            if let Some(digit) = digits.get_mut(place) {
                *digit = b'0' + (rest % 10) as u8;
            }
            (at, rest) = (place, rest / 10);
        }
        write(digits.get(at.saturating_sub(1)..).unwrap_or_default());
    }
    write(b"\n");
}

fn write(text: &[u8]) {
    for byte in text {
        // SAFETY: SYS_WRITEC takes the address of one byte.
        unsafe { syscall1(nr::WRITEC, ptr::from_ref(byte) as usize) };
    }
}

/// Ends the program, and the emulator.
pub(crate) fn exit(status: ExitStatus) -> ! {
    debug::exit(status);
    // A debugger may let the program go on after the request.
    loop {
        core::hint::spin_loop();
    }
}

/// The first of the board's CMSDK dual timers, which counts 25 MHz down.
const TIMER: *mut u32 = 0x4000_2000 as *mut u32;

/// Lets the timer run freely over 32 bits, which take it 171 seconds.
pub(crate) fn start_timer() {
    // TIMER1LOAD, then TIMER1CONTROL: enabled, free-running, no interrupt, no prescaler, 32 bits.
    // SAFETY: registers of this board (Application Note AN385, table 3-1), which nothing else uses.
    unsafe {
        TIMER.write_volatile(u32::MAX);
        TIMER.add(2).write_volatile(0b1000_0010);
    }
}

/// Ticks of 40 ns. At one instruction a nanosecond these are 40 instructions.
#[inline(always)]
pub(crate) fn ticks() -> u32 {
    // SAFETY: reading TIMER1VALUE changes nothing.
    let left = unsafe { TIMER.add(1).read_volatile() };
    !left
}

/// Ticks that a call takes.
#[cfg(any(feature = "client", feature = "boot"))]
#[inline(always)]
pub(crate) fn time<T>(call: impl FnOnce() -> T) -> (T, u32) {
    let before = ticks();
    let result = call();
    (result, ticks().wrapping_sub(before))
}

/// What the stack is painted with.
const PAINT: u32 = 0x5AFE_57AC;
/// Bytes of stack that are painted, far more than anything here should take.
const PAINTED: usize = 64 * 1024;

/// A place in the stack, and paint below it.
#[derive(Clone, Copy)]
pub(crate) struct Stack(*mut u32);

/// Paints the stack below the caller's frame.
#[inline(always)]
pub(crate) fn paint() -> Stack {
    let mark: usize;
    // SAFETY: copies a register.
    unsafe { asm!("mov {}, sp", out(reg) mark, options(nomem, nostack, preserves_flags)) };
    let mark = mark as *mut u32;
    // Leaves out what the loop itself may have pushed.
    for word in 1..PAINTED / 4 {
        // SAFETY: below the stack pointer there are megabytes of RAM that nothing uses: this program has no
        // heap, no interrupt and one stack. The loop is inlined, so that nothing of its own lies there.
        unsafe { mark.wrapping_sub(word).write_volatile(PAINT) };
    }
    Stack(mark)
}

impl Stack {
    /// Bytes below the mark that were in use at any time since.
    #[inline(always)]
    pub(crate) fn used(self) -> u32 {
        let mut untouched = PAINTED / 4 - 1;
        // SAFETY: as above.
        while untouched > 0 && unsafe { self.0.wrapping_sub(untouched).read_volatile() } == PAINT {
            untouched -= 1;
        }
        (untouched * 4) as u32
    }
}
