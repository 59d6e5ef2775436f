//! Small records that survive power cuts.
//!
//! A journal is two areas of whole erase units. Records are appended, each in a frame of its own:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | magic, `54 66` ("Tf") |
//! | 2 | 1 | [`Kind`]: 1 boot record, 2 root, 3 floors |
//! | 3 | 1 | format of the payload |
//! | 4 | 4 | length of the payload in bytes, little-endian |
//! | 8 | 4 | sequence, little-endian, from 1 |
//! | 12 | 4 | CRC-32 (ISO-HDLC) of bytes 0 to 11 and the payload, little-endian |
//! | 16 | length | payload |
//! | | | erased bytes up to the write unit |
//!
//! Frames start at multiples of 16 bytes, or of the write unit where that is larger. The valid
//! frame with the highest sequence is the record; everything else on the flash is history or
//! rubbish.
//!
//! Why no cut can lose a record:
//!
//! * A frame is written to erased words only, and counts only when its CRC holds. Until then the
//!   frame before it is the record.
//! * An area is erased only just before a frame goes to its start, and only while the newest frame
//!   is in the other area. It is erased even when it reads as erased: a cut may have left bits
//!   that read well today and badly tomorrow.
//! * A frame is appended to its area only while all else is as it should be: the rest of that area
//!   blank, the other area blank or full of older frames. After anything torn, unreadable or
//!   otherwise dirty the next frame goes to the other area, which is erased for it. So nothing dirty
//!   is left but behind the frame before, and of that the next append erases the last trace.
//! * Such a frame also skips more sequence numbers than the journal has places for frames. Should a
//!   torn frame, or some that could not be read, read as valid one day, they are still older.
//! * When there is no valid frame at all, both areas are erased: there is no number to go on from,
//!   and what cannot be read today must not come back tomorrow.
//!
//! A reader looks at every possible place for a frame, so that one decayed frame hides no younger
//! one. Its work is bounded by area size times [`PAYLOAD_MAX`], whatever the flash holds.

use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use embedded_storage::nor_flash::NorFlash;

use crate::error::{Environment, Error, Misuse};
use crate::flash::Flash;
use crate::flash_map::{FlashMap, Region, WRITE_UNIT_MAX};

/// Largest payload in bytes. It bounds the work of a reader on a flash full of rubbish; the largest
/// record that we have is a root of some 1 KiB.
pub const PAYLOAD_MAX: u32 = 2048;

const MAGIC: [u8; 2] = *b"Tf";
/// Bytes of a frame before its payload.
pub(crate) const HEADER: usize = 16;
const HEADER_BYTES: u32 = 16;
// Without a table: 1 KiB less code, for records of some hundred bytes.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// Which of the journals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The boot record.
    Boot,
    /// The trusted root.
    Root,
    /// Floors and ledger.
    Floors,
}

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Boot => 1,
            Self::Root => 2,
            Self::Floors => 3,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boot => "boot record",
            Self::Root => "root record",
            Self::Floors => "floors record",
        })
    }
}

/// One of the three journals of a flash.
///
/// It keeps nothing in memory: each call looks at the flash afresh, so that after a failed write
/// nothing can be out of step.
#[derive(Clone, Copy, Debug)]
pub struct Journal {
    kind: Kind,
    region: Region,
}

impl Journal {
    /// The journal of this kind on this map.
    pub const fn new(map: &FlashMap, kind: Kind) -> Self {
        let layout = map.layout();
        let region = match kind {
            Kind::Boot => layout.boot,
            Kind::Root => layout.root,
            Kind::Floors => layout.floors,
        };
        Self { kind, region }
    }

    /// Reads the newest record into `buffer`.
    ///
    /// # Errors
    ///
    /// [`Environment::RecordLost`] when no valid frame is left (or was ever written),
    /// [`Environment::RecordFormat`] when the record is larger than `buffer`.
    pub fn newest<'b, F: NorFlash>(
        &self,
        flash: &mut Flash<F>,
        buffer: &'b mut [u8],
    ) -> Result<Record<'b>, Error> {
        let kind = self.kind;
        let mut below = None;
        // Each turn passes over one frame.
        let frame = loop {
            let Some(frame) = self.survey_below(flash, below).newest else {
                return Err(Environment::RecordLost { kind }.into());
            };
            let Frame { format, length, .. } = frame;
            let payload = usize::try_from(length).ok().and_then(|length| buffer.get_mut(..length));
            let Some(payload) = payload else {
                return Err(Environment::RecordFormat { kind, format }.into());
            };
            // Read again and checked again. A frame that does not read twice was torn, and counts as never written.
            if self.frame_at(flash, frame.offset, frame.area, Some(payload)) == Some(frame) {
                break frame;
            }
            below = Some(frame.sequence);
        };
        let Frame { format, sequence, length, .. } = frame;
        let payload =
            usize::try_from(length).ok().and_then(|length| buffer.get(..length)).unwrap_or_default();
        Ok(Record { format, sequence, payload })
    }

    /// Makes `payload` the newest record and returns its sequence. Until this returns, the record
    /// before it may still be the newest; it is never lost.
    ///
    /// # Errors
    ///
    /// [`Misuse::RecordTooLong`], [`Environment::SequenceExhausted`], [`Environment::Flash`], or
    /// [`Environment::NotWritten`] when the frame does not read back.
    pub fn append<F: NorFlash>(
        &self,
        flash: &mut Flash<F>,
        format: u8,
        payload: &[u8],
    ) -> Result<u32, Error> {
        self.append_where(flash, format, payload, false)
    }

    /// Makes the area that does not hold the newest record hold `payload`, as the newest record, unless it has that
    /// already. Done with the newest record itself, it leaves one in each area.
    ///
    /// # Errors
    ///
    /// Those of [`Journal::append`].
    pub fn append_apart<F: NorFlash>(
        &self,
        flash: &mut Flash<F>,
        format: u8,
        payload: &[u8],
    ) -> Result<(), Error> {
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let there = self.survey(flash).other.is_some_and(|frame| {
            (frame.format, frame.length) == (format, length)
                && frame.crc == checksum(self.kind, format, length, frame.sequence, payload)
        });
        if !there {
            self.append_where(flash, format, payload, true)?;
        }
        Ok(())
    }

    fn append_where<F: NorFlash>(
        &self,
        flash: &mut Flash<F>,
        format: u8,
        payload: &[u8],
        apart: bool,
    ) -> Result<u32, Error> {
        let kind = self.kind;
        let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
        let span = frame_span(flash, length).filter(|span| *span <= self.area(Area::First).length);
        let Some(span) = span else {
            return Err(Misuse::RecordTooLong { kind }.into());
        };

        let Survey { newest, clean_from, .. } = self.survey(flash);
        let numbered = |step: u32| {
            let last = newest.map_or(0, |frame| frame.sequence);
            last.checked_add(step).ok_or(Environment::SequenceExhausted { kind })
        };
        let mut step = if newest.is_none() || clean_from.is_some() { 1 } else { self.places(flash) };
        let end = newest.map(|frame| self.area(frame.area).end());
        let room =
            clean_from.filter(|from| !apart && end.is_some_and(|end| from.saturating_add(span) <= end));
        if let (Some(Frame { area, .. }), Some(offset)) = (newest, room) {
            let frame = Frame { offset, area, format, length, sequence: numbered(step)?, crc: 0 };
            let written = self.write(flash, frame, payload);
            if written.is_ok() {
                return written;
            }
            // Words that a cut left half-way may read as erased and take no write, and so may worn ones. What stands there
            // now is older than what comes into the other area.
            step = self.places(flash);
        }
        let sequence = numbered(step)?;
        let area = newest.map_or(Area::First, |frame| frame.area.other());
        flash.erase(if newest.is_some() { self.area(area) } else { self.region })?;
        let offset = self.area(area).offset;
        self.write(flash, Frame { offset, area, format, length, sequence, crc: 0 }, payload)
    }

    /// Writes a frame, reads it back, and gives its sequence.
    fn write<F: NorFlash>(&self, flash: &mut Flash<F>, frame: Frame, payload: &[u8]) -> Result<u32, Error> {
        let Frame { offset, area, format, length, sequence, .. } = frame;
        let crc = checksum(self.kind, format, length, sequence, payload);
        self.program(flash, offset, &header(self.kind, format, length, sequence, crc), payload)?;
        match self.frame_at(flash, offset, area, None) {
            Some(written) if written == (Frame { crc, ..frame }) => Ok(sequence),
            _ => Err(Environment::NotWritten { offset }.into()),
        }
    }

    fn program<F: NorFlash>(
        &self,
        flash: &mut Flash<F>,
        mut offset: u32,
        header: &[u8],
        payload: &[u8],
    ) -> Result<(), Error> {
        let mut bytes = header.iter().chain(payload).copied().peekable();
        while bytes.peek().is_some() {
            let mut unit = [flash.erased(); WRITE_UNIT_MAX as usize];
            let mut filled: usize = 0;
            for (place, byte) in unit.iter_mut().take(flash.record_unit()).zip(&mut bytes) {
                *place = byte;
                filled = filled.saturating_add(1);
            }
            // Write units are powers of two up to the unit's length.
            let rounded = filled.checked_next_multiple_of(flash.write_unit()).unwrap_or(filled);
            flash.write(offset, unit.get(..rounded).unwrap_or_default())?;
            offset = offset.saturating_add(flash.map().record_unit());
        }
        Ok(())
    }

    /// Looks at every place of both areas.
    fn survey<F: NorFlash>(&self, flash: &mut Flash<F>) -> Survey {
        self.survey_below(flash, None)
    }

    /// The same, where frames of this sequence or a higher one are not the newest.
    fn survey_below<F: NorFlash>(&self, flash: &mut Flash<F>, below: Option<u32>) -> Survey {
        let first = self.survey_area(flash, Area::First, below);
        let second = self.survey_area(flash, Area::Second, below);
        let sequence = |area: &AreaSurvey| area.newest.map(|frame| frame.sequence);
        let (here, other) =
            if sequence(&second) > sequence(&first) { (second, first) } else { (first, second) };
        let clean = !here.dirty_behind && !other.dirty;
        let clean_from = here.newest.and(clean.then_some(here.end));
        Survey { newest: here.newest, other: other.newest, clean_from }
    }

    fn survey_area<F: NorFlash>(&self, flash: &mut Flash<F>, area: Area, below: Option<u32>) -> AreaSurvey {
        let Region { mut offset, .. } = self.area(area);
        let mut survey = AreaSurvey { newest: None, end: offset, dirty_behind: false, dirty: false };
        // Each turn moves on by one unit at least.
        while offset < self.area(area).end() {
            if let Some(frame) = self.frame_at(flash, offset, area, None) {
                offset = offset.saturating_add(frame_span(flash, frame.length).unwrap_or(u32::MAX));
                survey.end = offset;
                survey.dirty_behind = false;
                if below.is_none_or(|below| frame.sequence < below)
                    && survey.newest.is_none_or(|newest| frame.sequence > newest.sequence)
                {
                    survey.newest = Some(frame);
                }
            } else {
                if !is_blank(flash, offset) {
                    survey.dirty_behind = true;
                    survey.dirty = true;
                }
                offset = offset.saturating_add(flash.map().record_unit());
            }
        }
        survey
    }

    /// More than the frames that both areas can hold.
    fn places<F: NorFlash>(&self, flash: &Flash<F>) -> u32 {
        self.region
            .length
            .checked_div(flash.map().record_unit())
            .unwrap_or(self.region.length)
            .saturating_add(1)
    }

    /// The valid frame at `offset`, if there is one; `payload` takes what it holds. Words that
    /// cannot be read make no valid frame.
    fn frame_at<F: NorFlash>(
        &self,
        flash: &mut Flash<F>,
        offset: u32,
        area: Area,
        payload: Option<&mut [u8]>,
    ) -> Option<Frame> {
        let mut buffer = [0; WRITE_UNIT_MAX as usize];
        let unit = buffer.get_mut(..flash.record_unit())?;
        flash.read(offset, unit).ok()?;
        let (head, mut content) = unit.split_first_chunk::<HEADER>()?;
        let [m0, m1, kind, format, l0, l1, l2, l3, s0, s1, s2, s3, c0, c1, c2, c3] = *head;
        let frame = Frame {
            offset,
            area,
            format,
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
        };
        if [m0, m1] != MAGIC || kind != self.kind.byte() || frame.length > PAYLOAD_MAX {
            return None;
        }
        let end = offset.checked_add(frame_span(flash, frame.length)?)?;
        if end > self.area(area).end() {
            return None;
        }

        let mut crc = CRC.digest();
        crc.update(head.get(..12)?);
        let mut places = payload.into_iter().flatten();
        let mut left = usize::try_from(frame.length).ok()?;
        let mut next = offset;
        let mut unit = [0; WRITE_UNIT_MAX as usize];
        loop {
            let here = content.get(..left.min(content.len()))?;
            crc.update(here);
            // `here` first: a zip that ends takes one item too many from its left side.
            for (byte, place) in here.iter().zip(places.by_ref()) {
                *place = *byte;
            }
            left = left.saturating_sub(here.len());
            if left == 0 {
                break;
            }
            next = next.checked_add(flash.map().record_unit())?;
            let unit = unit.get_mut(..flash.record_unit())?;
            flash.read(next, unit).ok()?;
            content = unit;
        }
        (crc.finalize() == frame.crc).then_some(frame)
    }

    const fn area(&self, area: Area) -> Region {
        let Region { offset, length } = self.region;
        // A checked map gives every journal an even number of erase units.
        let half = length >> 1;
        match area {
            Area::First => Region { offset, length: half },
            Area::Second => Region { offset: offset.saturating_add(half), length: half },
        }
    }
}

/// The newest record of a journal.
#[derive(Debug)]
pub struct Record<'b> {
    /// Format of the payload.
    pub format: u8,
    /// How often the journal was written, roughly: numbers may be skipped, never used twice.
    pub sequence: u32,
    /// What was appended.
    pub payload: &'b [u8],
}

#[derive(Clone, Copy, PartialEq, Eq)]
struct Frame {
    offset: u32,
    area: Area,
    format: u8,
    length: u32,
    sequence: u32,
    crc: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    First,
    Second,
}

impl Area {
    const fn other(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

struct Survey {
    newest: Option<Frame>,
    /// The newest frame of the other area.
    other: Option<Frame>,
    /// Where the blank rest of the newest frame's area begins; none when that is dirty, or the other area.
    clean_from: Option<u32>,
}

/// Dirty is what is neither blank nor part of a valid frame.
struct AreaSurvey {
    newest: Option<Frame>,
    /// One past the last valid frame.
    end: u32,
    dirty_behind: bool,
    dirty: bool,
}

/// Bytes from the start of one frame to where the next may start.
fn frame_span<F: NorFlash>(flash: &Flash<F>, length: u32) -> Option<u32> {
    if length > PAYLOAD_MAX {
        return None;
    }
    HEADER_BYTES.checked_add(length)?.checked_next_multiple_of(flash.map().record_unit())
}

fn is_blank<F: NorFlash>(flash: &mut Flash<F>, offset: u32) -> bool {
    let mut buffer = [0; WRITE_UNIT_MAX as usize];
    let erased = flash.erased();
    let Some(unit) = buffer.get_mut(..flash.record_unit()) else { return false };
    flash.read(offset, unit).is_ok() && unit.iter().all(|byte| *byte == erased)
}

fn header(kind: Kind, format: u8, length: u32, sequence: u32, crc: u32) -> [u8; HEADER] {
    let [m0, m1] = MAGIC;
    let [l0, l1, l2, l3] = length.to_le_bytes();
    let [s0, s1, s2, s3] = sequence.to_le_bytes();
    let [c0, c1, c2, c3] = crc.to_le_bytes();
    [m0, m1, kind.byte(), format, l0, l1, l2, l3, s0, s1, s2, s3, c0, c1, c2, c3]
}

fn checksum(kind: Kind, format: u8, length: u32, sequence: u32, payload: &[u8]) -> u32 {
    let header = header(kind, format, length, sequence, 0);
    let mut crc = CRC.digest();
    crc.update(header.get(..12).unwrap_or_default());
    crc.update(payload);
    crc.finalize()
}
