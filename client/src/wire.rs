//! How records are stored: the encoding of `postcard`, by hand.
//!
//! Integers of more than a byte are varints: seven bits a byte, the lowest first, all bytes but the last with bit 7. An
//! option is one byte, 0 or 1, before what it holds. A sequence is its length before its items. Nothing stands for itself.
//!
//! Both ends go on behind what went wrong, and say so when all is over: a look at each step is code. What `serde` derives
//! for the same records took a device with the agent 5 KiB more.

/// Writes a record into a buffer.
#[derive(Debug)]
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    /// Bytes that were written, or would have been.
    length: usize,
}

impl<'b> Writer<'b> {
    /// Writes to the front of this.
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Writer { buffer, length: 0 }
    }

    /// A byte.
    pub fn byte(&mut self, byte: u8) {
        self.bytes(&[byte]);
    }

    /// Bytes, as they are.
    pub fn bytes(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        if let Some(place) = self.buffer.get_mut(self.length..end) {
            place.copy_from_slice(bytes);
        }
        self.length = end;
    }

    /// An integer of up to 64 bits.
    pub fn long(&mut self, mut number: u64) {
        while number > 0x7f {
            self.byte(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        self.byte(number.to_le_bytes()[0]);
    }

    /// An integer of up to 32 bits.
    pub fn number(&mut self, number: u32) {
        self.long(number.into());
    }

    /// The length of a sequence.
    pub fn length(&mut self, length: usize) {
        self.number(u32::try_from(length).unwrap_or(u32::MAX));
    }

    /// Whether there is something.
    pub fn option(&mut self, some: bool) {
        self.byte(some.into());
    }

    /// All that was written; `None` if it did not fit.
    pub fn done(self) -> Option<&'b [u8]> {
        self.buffer.get(..self.length)
    }
}

/// Reads a record. What is read past its end, or is none of what was asked for, is 0 or nothing.
#[derive(Debug)]
pub struct Reader<'b> {
    /// `None` once something was not as it must be.
    rest: Option<&'b [u8]>,
}

impl<'b> Reader<'b> {
    /// Reads from the front of this.
    pub fn new(bytes: &'b [u8]) -> Self {
        Reader { rest: Some(bytes) }
    }

    /// So many bytes.
    pub fn bytes(&mut self, length: usize) -> &'b [u8] {
        let parts = self.rest.and_then(|rest| rest.split_at_checked(length));
        self.rest = parts.map(|(_, rest)| rest);
        parts.map(|(bytes, _)| bytes).unwrap_or_default()
    }

    /// A byte.
    pub fn byte(&mut self) -> u8 {
        self.bytes(1).first().copied().unwrap_or_default()
    }

    /// As many bytes as the array has.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut array = [0; N];
        self.copy(&mut array);
        array
    }

    /// As many bytes as there is room for. Out of line, for all lengths of arrays.
    #[inline(never)]
    fn copy(&mut self, place: &mut [u8]) {
        let bytes = self.bytes(place.len());
        for (place, byte) in place.iter_mut().zip(bytes) {
            *place = *byte;
        }
    }

    /// An integer of up to 64 bits.
    pub fn long(&mut self) -> u64 {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte();
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has the 64th bit, and no more.
            if shift == 63 && byte > 1 {
                break;
            }
            number |= bits.wrapping_shl(shift);
            if byte & 0x80 == 0 {
                return number;
            }
        }
        self.fail();
        0
    }

    /// An integer of up to 32 bits.
    pub fn number(&mut self) -> u32 {
        u32::try_from(self.long()).unwrap_or_else(|_| {
            self.fail();
            0
        })
    }

    /// The length of a sequence, of which there may be so many items.
    pub fn length(&mut self, most: usize) -> usize {
        match usize::try_from(self.number()) {
            Ok(length) if length <= most => length,
            _ => {
                self.fail();
                0
            }
        }
    }

    /// The number of a variant, of which there are so many.
    pub fn variant(&mut self, variants: u8) -> u8 {
        let byte = self.byte();
        if byte >= variants {
            self.fail();
        }
        byte
    }

    /// Whether there is something.
    pub fn option(&mut self) -> bool {
        self.variant(2) == 1
    }

    /// What was read so far is not what it must be.
    pub fn fail(&mut self) {
        self.rest = None;
    }

    /// Whether all that was read was there, and as it must be. What follows is no part of the record.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.rest.is_some()
    }
}

/// What a record has in it.
pub trait Stored: Sized {
    /// Writes it.
    fn write(&self, to: &mut Writer<'_>);

    /// Reads it. It means something only if [`Reader::is_good`] says so in the end.
    fn read(from: &mut Reader<'_>) -> Self;
}

impl<T: Stored> Stored for Option<T> {
    fn write(&self, to: &mut Writer<'_>) {
        to.option(self.is_some());
        if let Some(some) = self {
            some.write(to);
        }
    }

    fn read(from: &mut Reader<'_>) -> Self {
        if from.option() { Some(T::read(from)) } else { None }
    }
}

impl Stored for [u8; 32] {
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(self);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        from.array()
    }
}
