//! Files and a log over a UART.
//!
//! The device asks, the host answers; it keeps nothing in mind that the device would have to know of. A question names the
//! file and the place in it, so one that was lost, or whose answer was, is asked again word for word, and a download that broke
//! off goes on with the next question, whoever answers it.
//!
//! A frame:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | zero: what was torn before it ends here |
//! | | COBS of the message as `postcard`, and its CRC-32 (ISO-HDLC) as four bytes, little-endian |
//! | 1 | zero |
//!
//! The device sends [`ToHost`], the host [`Answer`]. An answer says to which question it is, by that question's CRC: each
//! question has a number, so it differs from the one before it, and an answer that is old, or comes twice, is to none that is
//! waiting. A frame that is damaged is passed by, which costs the device a timeout.

use postcard::ser_flavors::{Cobs, Flavor, Slice};
use serde::{Deserialize, Serialize};

use crate::CRC;

/// Most bytes of a file in one answer.
pub const PIECE_MAX: usize = 512;

/// Most bytes of a path: `tuffet_agent::transport::PATH_MAX`.
pub const PATH_MAX: usize = 553;

/// Most bytes of a frame, of either side. The longest is a question with the longest path.
pub const FRAME_MAX: usize = 1 + 1 + 16 + PATH_MAX + 4 + 3 + 1;

/// What the device sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToHost<'f> {
    /// Some of a file is wanted.
    #[serde(borrow)]
    Read(Read<'f>),
    /// More bytes of the device's log, a stream of `defmt` frames. Nobody answers.
    Log(&'f [u8]),
}

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Read<'f> {
    /// Another one than that of the question before. The same when it is asked again.
    pub number: u32,
    /// The file, relative to the repository's top, percent-encoded as it goes into a URL.
    pub path: &'f str,
    /// The first byte that is wanted.
    pub from: u32,
    /// As many bytes are wanted, at most. The host gives no more than [`PIECE_MAX`].
    pub length: u16,
}

/// An answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer<'f> {
    /// The CRC-32 of the question's frame: see [`Message::checksum`].
    pub to: u32,
    /// What the host has.
    #[serde(borrow)]
    pub reply: Reply<'f>,
}

/// What the host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Reply<'f> {
    /// Bytes of the file.
    Bytes {
        /// The first of them is this one of the file.
        from: u32,
        /// As many as are wanted, or fewer; none only at the end of the file.
        bytes: &'f [u8],
        /// The file ends behind them.
        last: bool,
    },
    /// There are none, for this reason.
    Fault(Fault),
}

/// Why there are no bytes: those of `tuffet_agent::transport::TransportFault` that a host meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Fault {
    /// There is no such file.
    NotFound,
    /// The file ends before the first byte that is wanted.
    Range,
    /// The server answers with this status.
    Status(u16),
    /// The server answers with this status, and asks to be left alone.
    Busy {
        /// The status.
        code: u16,
        /// For so many seconds.
        after: u32,
    },
    /// The server did not answer in time.
    Timeout,
    /// There is no connection to the server, or it broke.
    Connection,
    /// The server cannot prove who it is.
    Tls,
    /// What the files lie on cannot be read.
    Unreadable,
}

/// A message as a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'b> {
    /// All its bytes, the zeros among them.
    pub bytes: &'b [u8],
    /// The CRC-32 of its message.
    pub checksum: u32,
}

/// Makes a frame of a message, at the front of `buffer`.
///
/// Nothing if the buffer is too small: [`FRAME_MAX`] bytes hold every one but a long log.
#[must_use]
pub fn encode<'b>(message: &impl Serialize, buffer: &'b mut [u8]) -> Option<Frame<'b>> {
    let (start, rest) = buffer.split_first_mut()?;
    *start = 0;
    let flavor = Checked { digest: CRC.digest(), inner: Cobs::try_new(Slice::new(rest)).ok()? };
    let (length, checksum) = postcard::serialize_with_flavor(message, flavor).ok()?;
    Some(Frame { bytes: buffer.get(..length.checked_add(1)?)?, checksum })
}

/// What serialises a message, and its checksum behind it.
struct Checked<'b> {
    digest: crc::Digest<'static, u32, crc::NoTable>,
    inner: Cobs<Slice<'b>>,
}

impl Flavor for Checked<'_> {
    /// Bytes in the slice, and the checksum.
    type Output = (usize, u32);

    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.digest.update(&[byte]);
        self.inner.try_push(byte)
    }

    fn finalize(mut self) -> postcard::Result<Self::Output> {
        let checksum = self.digest.finalize();
        self.inner.try_extend(&checksum.to_le_bytes())?;
        Ok((self.inner.finalize()?.len(), checksum))
    }
}

/// A message that came whole, not yet read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'b> {
    bytes: &'b [u8],
    /// Its CRC-32. An answer to a question has that of the question.
    pub checksum: u32,
}

impl<'b> Message<'b> {
    /// Reads it: [`ToHost`] or [`Answer`]. Nothing if it is none.
    #[must_use]
    pub fn read<M: Deserialize<'b>>(&self) -> Option<M> {
        match postcard::take_from_bytes(self.bytes) {
            Ok((message, [])) => Some(message),
            _ => None,
        }
    }
}

/// Takes the bytes of a line, and finds the frames among them.
#[derive(Debug)]
pub struct Receiver<'b> {
    buffer: &'b mut [u8],
    length: usize,
    /// More came than there is room for.
    overrun: bool,
}

impl<'b> Receiver<'b> {
    /// A receiver of frames that fit in there.
    #[must_use]
    pub fn new(buffer: &'b mut [u8]) -> Self {
        Self { buffer, length: 0, overrun: false }
    }

    /// Takes the next byte. Gives the message that it ends, if that is whole; one that is damaged, or too long, is passed by.
    pub fn push(&mut self, byte: u8) -> Option<Message<'_>> {
        if byte != 0 {
            match self.buffer.get_mut(self.length) {
                Some(place) => (*place, self.length) = (byte, self.length.saturating_add(1)),
                None => self.overrun = true,
            }
            return None;
        }
        let overrun = core::mem::take(&mut self.overrun);
        let length = core::mem::take(&mut self.length);
        let frame = self.buffer.get_mut(..length).filter(|frame| !overrun && !frame.is_empty())?;
        let length = cobs::decode_in_place(frame).ok()?;
        let (bytes, checksum) = frame.get(..length)?.split_last_chunk()?;
        let checksum = u32::from_le_bytes(*checksum);
        (CRC.checksum(bytes) == checksum).then_some(Message { bytes, checksum })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: ToHost<'static> = ToHost::Read(Read {
        number: 300,
        path: "targets/lamp/microbit/0.bin",
        from: 0x1_0000,
        length: PIECE_MAX as u16,
    });

    /// What came out of these bytes: each message's answer, if it is one.
    fn answers(receiver: &mut Receiver<'_>, bytes: &[u8]) -> usize {
        bytes
            .iter()
            .filter(|byte| {
                receiver.push(**byte).is_some_and(|message| message.read::<Answer<'_>>().is_some())
            })
            .count()
    }

    fn bytes<'f>(bytes: &'f [u8]) -> Answer<'f> {
        Answer { to: 0xDEAD_BEEF, reply: Reply::Bytes { from: 7, bytes, last: false } }
    }

    #[test]
    fn messages_come_back_as_they_were() {
        let piece: [u8; PIECE_MAX] = core::array::from_fn(|at| (at % 256) as u8);
        let answers = [
            bytes(&piece),
            bytes(&[0; PIECE_MAX]),
            bytes(&[]),
            Answer { to: 0, reply: Reply::Fault(Fault::Busy { code: 503, after: u32::MAX }) },
        ];
        for answer in answers {
            let (mut there, mut here) = ([0; FRAME_MAX], [0; FRAME_MAX]);
            let frame = encode(&answer, &mut there).expect("the frame fits");
            let mut receiver = Receiver::new(&mut here);
            let (last, rest) = frame.bytes.split_last().expect("a frame has bytes");
            assert!(rest.iter().all(|byte| receiver.push(*byte).is_none()));
            let message = receiver.push(*last).expect("it is whole");
            assert_eq!(message.checksum, frame.checksum);
            assert_eq!(message.read(), Some(answer));
        }
        let (mut there, mut here) = ([0; FRAME_MAX], [0; FRAME_MAX]);
        let mut receiver = Receiver::new(&mut here);
        for sent in [QUESTION, ToHost::Log(&piece)] {
            let frame = encode(&sent, &mut there).expect("the frame fits");
            let came = frame.bytes.iter().filter(|byte| {
                receiver.push(**byte).is_some_and(|message| message.read::<ToHost<'_>>() == Some(sent))
            });
            assert_eq!(came.count(), 1);
        }
    }

    #[test]
    fn longest_question_fits_and_a_longer_one_does_not() {
        let path = [b'%'; PATH_MAX];
        let path = core::str::from_utf8(&path).expect("it is ASCII");
        let question = Read { number: u32::MAX, path, from: u32::MAX, length: u16::MAX };
        let mut buffer = [0; FRAME_MAX];
        assert!(encode(&ToHost::Read(question), &mut buffer).is_some());
        let mut small = [0; PATH_MAX];
        assert_eq!(encode(&ToHost::Read(question), &mut small), None);
        assert_eq!(encode(&ToHost::Read(question), &mut []), None);
    }

    #[test]
    fn number_makes_another_question_and_asking_again_does_not() {
        let ToHost::Read(read) = QUESTION else { unreachable!() };
        let checksum = |question: Read<'_>| {
            encode(&ToHost::Read(question), &mut [0; FRAME_MAX]).map(|frame| frame.checksum)
        };
        assert_eq!(checksum(read), checksum(read));
        let next = Read { number: read.number + 1, ..read };
        assert_ne!(checksum(read), checksum(next));
        assert_ne!(checksum(read), checksum(Read { from: 0, ..read }));
    }

    #[test]
    fn frame_with_any_one_bit_changed_is_passed_by() {
        let (mut there, mut here) = ([0; FRAME_MAX], [0; FRAME_MAX]);
        let sent = encode(&bytes(b"some \0 bytes of a file"), &mut there).expect("it fits").bytes;
        let length = sent.len();
        for at in 0..length {
            for bit in 0..8 {
                let mut damaged = [0; 80];
                damaged[..length].copy_from_slice(sent);
                damaged[at] ^= 1 << bit;
                let mut receiver = Receiver::new(&mut here);
                let whole = answers(&mut receiver, &damaged[..length]);
                // The first zero is of use only where something torn lies before it.
                assert!(whole == 0 || at == 0, "byte {at}, bit {bit}");
                // Whatever it was, the next one comes.
                assert_eq!(answers(&mut receiver, sent), 1, "after byte {at}, bit {bit}");
            }
        }
    }

    #[test]
    fn frame_that_lost_a_byte_is_passed_by() {
        let (mut there, mut here) = ([0; FRAME_MAX], [0; FRAME_MAX]);
        let sent = encode(&bytes(b"some bytes of a file"), &mut there).expect("it fits").bytes;
        for at in 1..sent.len() - 1 {
            let mut receiver = Receiver::new(&mut here);
            let whole = answers(&mut receiver, &sent[..at]) + answers(&mut receiver, &sent[at + 1..]);
            assert_eq!(whole, 0, "byte {at}");
            assert_eq!(answers(&mut receiver, sent), 1, "after byte {at}");
        }
    }

    #[test]
    fn receiver_finds_its_way_after_garbage() {
        let (mut there, mut here) = ([0; FRAME_MAX], [0; FRAME_MAX]);
        let sent = encode(&bytes(b"here"), &mut there).expect("it fits").bytes;
        let mut receiver = Receiver::new(&mut here);
        let mut number = 0x2545_F491_u32;
        for _ in 0..2000 {
            for _ in 0..number % 700 {
                // xorshift: any bytes will do, the same ones in each run.
                number ^= number << 13;
                number ^= number >> 17;
                number ^= number << 5;
                assert!(receiver.push(number as u8).is_none());
            }
            assert_eq!(answers(&mut receiver, sent), 1);
            number = number.wrapping_add(1);
        }
    }

    #[test]
    fn frame_longer_than_the_receiver_is_passed_by() {
        let (mut there, mut here) = ([0; FRAME_MAX], [0; 64]);
        let mut receiver = Receiver::new(&mut here);
        let long = encode(&bytes(&[1; 200]), &mut there).expect("it fits").bytes;
        assert_eq!(answers(&mut receiver, long), 0);
        let short = encode(&bytes(&[1; 20]), &mut there).expect("it fits").bytes;
        assert_eq!(answers(&mut receiver, short), 1);
    }

    #[test]
    fn message_with_bytes_behind_it_is_none() {
        let mut there = [0; FRAME_MAX];
        let sent = (QUESTION, 0_u8);
        let frame = encode(&sent, &mut there).expect("it fits").bytes;
        let mut here = [0; FRAME_MAX];
        let mut receiver = Receiver::new(&mut here);
        let (last, rest) = frame.split_last().expect("a frame has bytes");
        assert!(rest.iter().all(|byte| receiver.push(*byte).is_none()));
        let message = receiver.push(*last).expect("it is whole");
        assert_eq!(message.read::<ToHost<'_>>(), None);
    }
}
