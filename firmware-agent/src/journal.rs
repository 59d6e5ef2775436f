//! Small records that survive power cuts.
//!
//! A journal is two areas of whole erase units. Records of one kind or of several are appended, each in a frame of its
//! own:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 2 | magic, `54 66` ("Tf") |
//! | 2 | 1 | [`Kind`]: 1 boot record, 2 root, 3 floors, 4 progress |
//! | 3 | 1 | format of the payload |
//! | 4 | 4 | length of the payload in bytes, little-endian |
//! | 8 | 4 | sequence, little-endian, from 1; one count for all kinds of a journal |
//! | 12 | 4 | CRC-32 (ISO-HDLC) of bytes 0 to 11 and the payload, little-endian |
//! | 16 | length | payload |
//! | | | erased bytes up to the write unit |
//! | | a write unit | seal: the opposite of erased bytes |
//!
//! Frames start at multiples of 16 bytes, or of the write unit where that is larger. A frame is valid if its CRC holds, and
//! sealed if its seal is there, too. Of each kind, the sealed
//! frame with the highest sequence is the record; everything else on the flash is history or rubbish.
//!
//! Why no cut can lose a record:
//!
//! * A frame is written to erased words only. It is sealed once it has been read back. Until then the
//!   frame before it is the record.
//! * A cut can leave bits that read as they please. Those of a frame that was never sealed count for nothing, even on a day
//!   on which its CRC holds, while there is a sealed one. Those of a seal do no harm: what it seals is whole. So a valid
//!   frame without a seal counts where there is no sealed one of its kind.
//! * An area is erased only while the other one has the newest frame of every kind. It is erased even when it reads as
//!   erased: a cut may have left bits that read well today and badly tomorrow.
//! * Into an area that was erased go the newest frames of the other kinds first, as they are, sequence and all, and the
//!   new record last. A cut on the way leaves nothing there that the other area has not, too; so this area is the one that
//!   is erased again.
//! * A frame is appended to its area only while all else is as it should be: the rest of that area
//!   blank, the other area blank or full of older frames. After anything torn, unreadable or
//!   otherwise dirty the next frame goes to the other area. So nothing dirty
//!   is left but behind the frame before, and of that the next append erases the last trace.
//! * Such a frame also skips more sequence numbers than the journal has places for frames. Should a
//!   torn frame, or some that could not be read, read as valid one day, they are still older.
//! * When there is no valid frame at all, both areas are erased: there is no number to go on from,
//!   and what cannot be read today must not come back tomorrow.
//!
//! A reader looks at every place for a frame that may have been written to, so that one decayed frame hides no younger
//! one: to the end of the area, or until [`FRAME_MAX`] bytes in a row are blank. Frames are written one behind the other,
//! and after one that was torn none follows in its area, so that nothing lies behind so many.

use core::fmt;

use crc::{CRC_32_ISO_HDLC, Crc, NoTable};
use embedded_storage::nor_flash::NorFlash;

use crate::error::{Environment, Error, Misuse};
use crate::flash::{Flash, fill};
use crate::flash_map::{FlashMap, Region, WRITE_UNIT_MAX};

/// Largest payload in bytes. It bounds the work of a reader on a flash full of rubbish.
pub const PAYLOAD_MAX: u32 = 2048;

/// No frame that this build writes is longer, in bytes.
pub const FRAME_MAX: u32 = 1024;

const MAGIC: [u8; 2] = *b"Tf";
/// Bytes of a frame before its payload.
pub(crate) const HEADER: usize = 16;
const HEADER_BYTES: u32 = 16;
// Without a table: 1 KiB less code, for records of some hundred bytes.
const CRC: Crc<u32, NoTable> = Crc::<u32, NoTable>::new(&CRC_32_ISO_HDLC);

/// What a record is of. Boot records have a journal of their own, for bootloaders write there; the others share one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The boot record.
    Boot,
    /// The trusted root.
    Root,
    /// Floors and ledger.
    Floors,
    /// What the device is in the middle of.
    Progress,
}

/// Kinds that share a journal, at the most.
const KINDS: usize = 3;

impl Kind {
    const fn byte(self) -> u8 {
        match self {
            Self::Boot => 1,
            Self::Root => 2,
            Self::Floors => 3,
            Self::Progress => 4,
        }
    }

    /// Its place among those that share its journal.
    const fn place(self) -> usize {
        match self {
            Self::Boot | Self::Root => 0,
            Self::Floors => 1,
            Self::Progress => 2,
        }
    }

    /// Those that share its journal.
    const fn shared(self) -> &'static [Self] {
        match self {
            Self::Boot => &[Self::Boot],
            Self::Root | Self::Floors | Self::Progress => &[Self::Root, Self::Floors, Self::Progress],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boot => "boot record",
            Self::Root => "root record",
            Self::Floors => "floors record",
            Self::Progress => "progress record",
        })
    }
}

/// One kind of records in its journal.
///
/// It keeps nothing in memory: each call looks at the flash afresh, so that after a failed write
/// nothing can be out of step.
#[derive(Clone, Copy, Debug)]
pub struct Journal {
    kind: Kind,
    region: Region,
}

impl Journal {
    /// The records of this kind on this map.
    pub const fn new(map: &FlashMap, kind: Kind) -> Self {
        let layout = map.layout();
        let region = match kind {
            Kind::Boot => layout.boot,
            Kind::Root | Kind::Floors | Kind::Progress => layout.trust,
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
        let mut below = Below::default();
        // Each turn passes over one frame.
        let frame = loop {
            let Some(frame) = self.survey(flash, &below).newest(kind) else {
                return Err(Environment::RecordLost { kind }.into());
            };
            let Frame { format, length, .. } = frame;
            let payload = usize::try_from(length).ok().and_then(|length| buffer.get_mut(..length));
            let Some(payload) = payload else {
                return Err(Environment::RecordFormat { kind, format }.into());
            };
            // Read again and checked again. A frame that does not read twice was torn, and counts as never written.
            let again = self.frame_at(flash, frame.offset, frame.area, Some(payload));
            if again.is_some_and(|again| again.is_same(&frame)) {
                break frame;
            }
            below.pass_over(&frame);
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
        let survey = self.survey(flash, &Below::default());
        let other = survey.keep().and_then(|keep| survey.of(keep.other()).newest(self.kind));
        let there = other.is_some_and(|frame| {
            (frame.sealed, frame.format, frame.length) == (true, format, length)
                && frame.crc == checksum(&frame, payload)
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
        let too_long = Misuse::RecordTooLong { kind };
        let most = FRAME_MAX.min(self.area(Area::First).length);
        let span = frame_span(flash, length).filter(|span| *span <= most).ok_or(too_long)?;
        let mut below = Below::default();
        let mut survey = self.survey(flash, &below);
        let last = survey.last();
        let numbered = |step: u32| last.checked_add(step).ok_or(Environment::SequenceExhausted { kind });
        let mut frame = Frame {
            kind,
            offset: self.region.offset,
            area: Area::First,
            format,
            length,
            sequence: 1,
            crc: 0,
            sealed: true,
        };
        let Some(keep) = survey.keep() else {
            // There is no number to go on from.
            flash.erase(self.region)?;
            return self.write(flash, &mut frame, payload);
        };
        let clean = survey.clean_from(keep);
        let mut step = if clean.is_some() { 1 } else { self.places(flash) };
        let room = clean.filter(|from| !apart && self.has_room(keep, *from, span));
        if let Some(offset) = room.filter(|_| survey.covers(keep)) {
            (frame.area, frame.offset, frame.sequence) = (keep, offset, numbered(step)?);
            let written = self.write(flash, &mut frame, payload);
            if written.is_ok() {
                return written;
            }
            // Words that a cut left half-way may read as erased and take no write, and so may worn ones. What stands there
            // now is older than what comes into the other area.
            step = self.places(flash);
        } else if !survey.covers(keep) {
            self.rescue(flash, &survey, keep);
        }
        frame.sequence = numbered(step)?;
        // Each turn passes over one frame, which read once and not twice.
        loop {
            survey = self.survey(flash, &below);
            let others = || kind.shared().iter().filter(|other| **other != kind);
            let needed = others()
                .filter_map(|other| frame_span(flash, survey.newest(*other)?.length))
                .fold(span, u32::saturating_add);
            let Region { offset, length: room } = self.area(keep.other());
            if needed > room {
                return Err(too_long.into());
            }
            flash.erase(self.area(keep.other()))?;
            let (mut offset, mut torn) = (offset, None);
            for source in others().filter_map(|other| survey.of(keep).newest(*other)) {
                if !self.copy(flash, &source, keep.other(), offset)? {
                    torn = Some(source);
                    break;
                }
                offset = offset.saturating_add(frame_span(flash, source.length).unwrap_or(0));
            }
            match torn {
                Some(torn) => below.pass_over(&torn),
                None => {
                    (frame.area, frame.offset) = (keep.other(), offset);
                    return self.write(flash, &mut frame, payload);
                }
            }
        }
    }

    /// Copies what only the area has that is going to be erased, for it decayed in the other one. Where there is no room
    /// for that, it is lost, and so is no more than decayed.
    fn rescue<F: NorFlash>(&self, flash: &mut Flash<F>, survey: &Survey, keep: Area) {
        let Some(mut offset) = survey.clean_from(keep) else { return };
        let (here, other) = (survey.of(keep), survey.of(keep.other()));
        for source in self.kind.shared().iter().filter_map(|kind| other.newest(*kind)) {
            let span = frame_span(flash, source.length).unwrap_or(u32::MAX);
            if here.rank(source.kind) < source.rank() && self.has_room(keep, offset, span) {
                // Whatever becomes of it, what is there stays there.
                let _ = self.copy(flash, &source, keep, offset);
                offset = offset.saturating_add(span);
            }
        }
    }

    fn has_room(&self, area: Area, from: u32, span: u32) -> bool {
        from.checked_add(span).is_some_and(|end| end <= self.area(area).end())
    }

    /// Writes a frame, reads it back, seals it, and gives its sequence. Its checksum is filled in.
    fn write<F: NorFlash>(
        &self,
        flash: &mut Flash<F>,
        frame: &mut Frame,
        payload: &[u8],
    ) -> Result<u32, Error> {
        frame.crc = checksum(frame, payload);
        let header = frame.header();
        let (mut bytes, mut rest) = (header.as_slice(), payload);
        let mut to = frame.offset;
        while !bytes.is_empty() {
            let mut unit = [0; WRITE_UNIT_MAX as usize];
            fill(&mut unit, flash.erased());
            let mut filled: usize = 0;
            for place in unit.iter_mut().take(flash.record_unit()) {
                let Some((byte, more)) = bytes.split_first() else { break };
                *place = *byte;
                // Behind the header comes the payload.
                bytes = if more.is_empty() { core::mem::take(&mut rest) } else { more };
                filled = filled.saturating_add(1);
            }
            // Write units are powers of two up to the unit's length.
            let rounded = filled.checked_next_multiple_of(flash.write_unit()).unwrap_or(filled);
            flash.write(to, unit.get(..rounded).unwrap_or_default())?;
            to = to.saturating_add(flash.map().record_unit());
        }
        self.seal(flash, frame)?;
        Ok(frame.sequence)
    }

    /// Copies a frame to another place as it is. False if it is not what it was when it was found: then it was torn.
    fn copy<F: NorFlash>(
        &self,
        flash: &mut Flash<F>,
        frame: &Frame,
        area: Area,
        to: u32,
    ) -> Result<bool, Error> {
        let length = HEADER_BYTES.saturating_add(frame.length);
        let mut at: u32 = 0;
        while at < length {
            let mut unit = [0; WRITE_UNIT_MAX as usize];
            let unit = unit.get_mut(..flash.record_unit()).unwrap_or_default();
            if flash.read(frame.offset.saturating_add(at), unit).is_err() {
                return Ok(false);
            }
            let left = usize::try_from(length.saturating_sub(at)).unwrap_or(usize::MAX).min(unit.len());
            // What lies behind the payload may be the seal.
            fill(unit.get_mut(left..).unwrap_or_default(), flash.erased());
            let rounded = left.checked_next_multiple_of(flash.write_unit()).unwrap_or(left);
            flash.write(to.saturating_add(at), unit.get(..rounded).unwrap_or_default())?;
            at = at.saturating_add(flash.map().record_unit());
        }
        let Err(error) = self.seal(flash, &Frame { area, offset: to, ..*frame }) else { return Ok(true) };
        let source = self.frame_at(flash, frame.offset, frame.area, None);
        if source.is_some_and(|source| source.is_same(frame)) { Err(error) } else { Ok(false) }
    }

    /// Seals a frame, if it is there.
    fn seal<F: NorFlash>(&self, flash: &mut Flash<F>, frame: &Frame) -> Result<(), Error> {
        let not_written = Environment::NotWritten { offset: frame.offset };
        let there = |flash: &mut Flash<F>| {
            self.frame_at(flash, frame.offset, frame.area, None).filter(|there| there.is_same(frame))
        };
        if there(flash).is_none() {
            return Err(not_written.into());
        }
        let mut seal = [0; WRITE_UNIT_MAX as usize];
        fill(&mut seal, !flash.erased());
        let place = seal_place(flash, frame).ok_or(not_written)?;
        flash.write(place, seal.get(..flash.write_unit()).unwrap_or_default())?;
        if there(flash).is_some_and(|there| there.sealed) { Ok(()) } else { Err(not_written.into()) }
    }

    /// Looks at both areas.
    fn survey<F: NorFlash>(&self, flash: &mut Flash<F>, below: &Below) -> Survey {
        let [first, second] = [Area::First, Area::Second].map(|area| self.survey_area(flash, area, below));
        Survey { first, second }
    }

    fn survey_area<F: NorFlash>(&self, flash: &mut Flash<F>, area: Area, below: &Below) -> AreaSurvey {
        let Region { offset: start, .. } = self.area(area);
        let (newest, last) = ([None; KINDS], 0);
        let mut survey = AreaSurvey { last, newest, end: start, dirty_behind: false, dirty: false };
        // Where the next frame may be, and where what is not blank ends.
        let (mut offset, mut written) = (start, start);
        // Each turn moves on by one unit at least.
        while offset < self.area(area).end() && offset.saturating_sub(written) < FRAME_MAX {
            if let Some(frame) = self.frame_at(flash, offset, area, None) {
                offset = offset.saturating_add(frame_span(flash, frame.length).unwrap_or(u32::MAX));
                (survey.end, written) = (offset, offset);
                survey.last = survey.last.max(frame.sequence);
                survey.dirty_behind = !frame.sealed;
                survey.dirty |= !frame.sealed;
                let newer = survey.newest(frame.kind).is_none_or(|newest| frame.rank() > newest.rank());
                if let Some(newest) = survey.newest.get_mut(frame.kind.place())
                    && newer
                    && below.admits(&frame)
                {
                    *newest = Some(frame);
                }
                continue;
            }
            let blank = is_blank(flash, offset);
            offset = offset.saturating_add(flash.map().record_unit());
            if !blank {
                survey.dirty_behind = true;
                survey.dirty = true;
                written = offset;
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
        let kind = self.kind.shared().iter().copied().find(|known| known.byte() == kind)?;
        let frame = Frame {
            kind,
            offset,
            area,
            format,
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            sequence: u32::from_le_bytes([s0, s1, s2, s3]),
            crc: u32::from_le_bytes([c0, c1, c2, c3]),
            sealed: false,
        };
        if [m0, m1] != MAGIC || frame.length > PAYLOAD_MAX {
            return None;
        }
        if !self.has_room(area, offset, frame_span(flash, frame.length)?) {
            return None;
        }

        let mut crc = CRC.digest();
        crc.update(head.get(..12)?);
        let mut places = payload.unwrap_or_default();
        let mut left = usize::try_from(frame.length).ok()?;
        let mut next = offset;
        let mut unit = [0; WRITE_UNIT_MAX as usize];
        loop {
            let here = content.get(..left.min(content.len()))?;
            crc.update(here);
            for (place, byte) in places.iter_mut().zip(here) {
                *place = *byte;
            }
            places = core::mem::take(&mut places).get_mut(here.len()..).unwrap_or_default();
            left = left.saturating_sub(here.len());
            if left == 0 {
                break;
            }
            next = next.checked_add(flash.map().record_unit())?;
            let unit = unit.get_mut(..flash.record_unit())?;
            flash.read(next, unit).ok()?;
            content = unit;
        }
        if crc.finalize() != frame.crc {
            return None;
        }
        let seal = unit.get_mut(..flash.write_unit())?;
        let opposite = !flash.erased();
        let sealed =
            flash.read(seal_place(flash, &frame)?, seal).is_ok() && seal.iter().all(|byte| *byte == opposite);
        Some(Frame { sealed, ..frame })
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

#[derive(Clone, Copy)]
struct Frame {
    kind: Kind,
    offset: u32,
    area: Area,
    format: u8,
    length: u32,
    sequence: u32,
    crc: u32,
    sealed: bool,
}

impl Frame {
    /// Whether two looks at one place found the same, the seal apart.
    fn is_same(&self, other: &Self) -> bool {
        let Self { kind, offset, format, length, sequence, crc, area: _, sealed: _ } = *self;
        (kind, format) == (other.kind, other.format)
            && (offset, length, sequence, crc) == (other.offset, other.length, other.sequence, other.crc)
    }

    /// What makes one of two frames the record.
    fn rank(&self) -> (bool, u32) {
        (self.sealed, self.sequence)
    }

    fn header(&self) -> [u8; HEADER] {
        let Self { kind, format, length, sequence, crc, .. } = *self;
        let [m0, m1] = MAGIC;
        let [l0, l1, l2, l3] = length.to_le_bytes();
        let [s0, s1, s2, s3] = sequence.to_le_bytes();
        let [c0, c1, c2, c3] = crc.to_le_bytes();
        [m0, m1, kind.byte(), format, l0, l1, l2, l3, s0, s1, s2, s3, c0, c1, c2, c3]
    }
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

/// Of each kind, the frame from which on frames were passed over, for they do not read twice: its sequence, and its place,
/// for a copy in the other area has the same.
#[derive(Default)]
struct Below([Option<(u32, u32)>; KINDS]);

impl Below {
    fn pass_over(&mut self, frame: &Frame) {
        if let Some(below) = self.0.get_mut(frame.kind.place()) {
            *below = Some((frame.sequence, frame.offset));
        }
    }

    fn admits(&self, frame: &Frame) -> bool {
        self.0
            .get(frame.kind.place())
            .copied()
            .flatten()
            .is_none_or(|below| (frame.sequence, frame.offset) < below)
    }
}

struct Survey {
    first: AreaSurvey,
    second: AreaSurvey,
}

impl Survey {
    fn of(&self, area: Area) -> &AreaSurvey {
        match area {
            Area::First => &self.first,
            Area::Second => &self.second,
        }
    }

    fn newest(&self, kind: Kind) -> Option<Frame> {
        let (first, second) = (self.first.newest(kind), self.second.newest(kind));
        if second.is_none() || self.first.rank(kind) > self.second.rank(kind) { first } else { second }
    }

    /// The highest sequence, 0 if there is none.
    fn last(&self) -> u32 {
        self.first.last.max(self.second.last)
    }

    /// The area that must not be erased: the one that has all that the other one has. Decay may leave neither; then it is
    /// the one that was written last. None where nothing is valid.
    fn keep(&self) -> Option<Area> {
        if self.last() == 0 {
            return None;
        }
        Some(match [Area::First, Area::Second].map(|area| self.covers(area)) {
            [true, false] => Area::First,
            [false, true] => Area::Second,
            _ if self.second.last > self.first.last => Area::Second,
            _ => Area::First,
        })
    }

    /// Whether an area has of each kind what the other one has, or something newer.
    fn covers(&self, area: Area) -> bool {
        let (here, other) = (self.of(area), self.of(area.other()));
        other.newest.iter().flatten().all(|frame| here.rank(frame.kind) >= frame.rank())
    }

    /// Where the blank rest of this area begins; none when that is dirty, or the other area.
    fn clean_from(&self, area: Area) -> Option<u32> {
        let (here, other) = (self.of(area), self.of(area.other()));
        (!here.dirty_behind && !other.dirty).then_some(here.end)
    }
}

/// Dirty is what is neither blank nor part of a sealed frame.
struct AreaSurvey {
    /// The highest sequence of any valid frame, 0 if there is none.
    last: u32,
    newest: [Option<Frame>; KINDS],
    /// One past the last valid frame.
    end: u32,
    dirty_behind: bool,
    dirty: bool,
}

impl AreaSurvey {
    fn newest(&self, kind: Kind) -> Option<Frame> {
        self.newest.get(kind.place()).copied().flatten()
    }

    /// That of the newest frame of this kind, the lowest if there is none.
    fn rank(&self, kind: Kind) -> (bool, u32) {
        self.newest(kind).map_or((false, 0), |frame| frame.rank())
    }
}

/// Bytes from the start of one frame to where the next may start.
fn frame_span<F: NorFlash>(flash: &Flash<F>, length: u32) -> Option<u32> {
    if length > PAYLOAD_MAX {
        return None;
    }
    let unit = flash.map().layout().write_unit;
    let sealed = HEADER_BYTES.checked_add(length)?.checked_next_multiple_of(unit)?.checked_add(unit)?;
    sealed.checked_next_multiple_of(flash.map().record_unit())
}

/// Where the seal of a frame is.
fn seal_place<F: NorFlash>(flash: &Flash<F>, frame: &Frame) -> Option<u32> {
    let length = HEADER_BYTES.checked_add(frame.length)?;
    frame.offset.checked_add(length.checked_next_multiple_of(flash.map().layout().write_unit)?)
}

fn is_blank<F: NorFlash>(flash: &mut Flash<F>, offset: u32) -> bool {
    let mut buffer = [0; WRITE_UNIT_MAX as usize];
    let erased = flash.erased();
    let Some(unit) = buffer.get_mut(..flash.record_unit()) else { return false };
    flash.read(offset, unit).is_ok() && unit.iter().all(|byte| *byte == erased)
}

/// That of a frame with this payload, whatever it has there now.
fn checksum(frame: &Frame, payload: &[u8]) -> u32 {
    let header = frame.header();
    let mut crc = CRC.digest();
    crc.update(header.get(..12).unwrap_or_default());
    crc.update(payload);
    crc.finalize()
}
