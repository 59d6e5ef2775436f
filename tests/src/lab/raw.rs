//! What is on a flash, read byte by byte from the tables in `docs/flash-map.md` and in the agent's documentation. Links
//! none of the code that wrote it, so that both cannot be wrong in the same way.

use core::ops::Range;

/// Where the parts of a device lie on its flash.
#[derive(Clone, Debug)]
pub struct Places {
    /// The journal of the boot record, and that of root and floors.
    pub journals: [Range<usize>; 2],
    /// Slot A and slot B.
    pub slots: [Range<usize>; 2],
    /// Frames start at multiples of this.
    pub unit: usize,
    /// What is written at once.
    pub write_unit: usize,
    /// What an erased byte reads as.
    pub erased: u8,
}

/// An image that the boot record names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// 0 for slot A, 1 for slot B.
    pub slot: usize,
    /// Bytes.
    pub length: usize,
    /// SHA-256.
    pub digest: [u8; 32],
    /// Security counter.
    pub counter: u32,
}

/// A trial that is over.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ended {
    /// Its number.
    pub number: u32,
    /// The image's SHA-256.
    pub digest: [u8; 32],
    /// How: see [`end`].
    pub how: u8,
}

/// How trials end.
pub mod end {
    /// The image is the active one.
    pub const CONFIRMED: u8 = 0;
    /// It found itself unfit.
    pub const REVERTED: u8 = 1;
    /// It did not say anything in time.
    pub const SPENT: u8 = 2;
    /// Its slot did not hold it when it was to be started.
    pub const DAMAGED: u8 = 3;
    /// It was taken back before it was started.
    pub const WITHDRAWN: u8 = 4;
}

/// What a device remembers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The active image.
    pub active: Named,
    /// The image on trial, and the tries that are left to it.
    pub trial: Option<(Named, u8)>,
    /// The last trial that ended.
    pub ended: Option<Ended>,
    /// Trials so far.
    pub trials: u32,
    /// The version of the trusted root.
    pub root: u32,
    /// The root since which the online keys are what they are: below it, floors of online roles are forgotten.
    pub online_since: u32,
    /// Versions of timestamp and snapshot, 0 for none.
    pub online: [u32; 2],
    /// The latest date of issue of an offline role.
    pub issued: u64,
    /// The security counter.
    pub counter: u32,
    /// Images that failed, and how much there is against each.
    pub failures: Vec<([u8; 32], u8)>,
}

impl Facts {
    /// Reads a flash of which words may be unreadable.
    ///
    /// # Errors
    /// What is missing, in words.
    pub fn read(
        bytes: &[u8],
        readable: &dyn Fn(&Range<usize>) -> bool,
        places: &Places,
    ) -> Result<Facts, String> {
        let [boot, root, floors] = [(1, 2, "boot record"), (2, 3, "root"), (3, 3, "floors")].map(|of| {
            let (kind, format, name) = of;
            newest(bytes, readable, places, kind)
                .filter(|frame| frame[3] == format)
                .map(|frame| Reader(&frame[16..]))
                .ok_or_else(|| format!("no {name} is left"))
        });
        let mut facts = read_boot(boot?).ok_or("the boot record is not as documented")?;
        facts.root = root?.u32().ok_or("the root record is not as documented")?;
        read_floors(floors?, &mut facts).ok_or("the floors record is not as documented")?;
        Ok(facts)
    }
}

/// The sealed frame of the highest sequence, or if there is none the valid one: header and payload.
fn newest<'b>(
    bytes: &'b [u8],
    readable: &dyn Fn(&Range<usize>) -> bool,
    places: &Places,
    kind: u8,
) -> Option<&'b [u8]> {
    let Places { journals, unit, write_unit, erased, .. } = places;
    let journal = journals[usize::from(kind > 1)].clone();
    let area = journal.len() / 2;
    let number = |bytes: &[u8]| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let frame = |start: usize| {
        let end_of_area = journal.start + ((start - journal.start) / area + 1) * area;
        let head = bytes.get(start..start + 16)?;
        let end = start + 16 + usize::try_from(number(&head[4..])).ok()?;
        let written = start..end.checked_next_multiple_of(*write_unit)?;
        let seal = written.end..written.end.checked_add(*write_unit)?;
        let valid = head[..3] == [b'T', b'f', kind]
            && seal.end <= end_of_area
            && readable(&written)
            && crc(head[..12].iter().chain(&bytes[start + 16..end])) == number(&head[12..]);
        let sealed = valid && readable(&seal) && bytes[seal].iter().all(|byte| *byte == !erased);
        valid.then(|| (sealed, &bytes[start..end]))
    };
    let valid = journal.clone().step_by(*unit).filter_map(frame);
    valid.max_by_key(|(sealed, frame)| (*sealed, number(&frame[8..]))).map(|(_, frame)| frame)
}

/// CRC-32 as in ISO-HDLC: reflected, all ones before and after.
fn crc<'b>(bytes: impl Iterator<Item = &'b u8>) -> u32 {
    !bytes.fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| (crc >> 1) ^ (0xEDB8_8320 & (crc & 1).wrapping_neg()))
    })
}

fn read_boot(mut reader: Reader<'_>) -> Option<Facts> {
    let active = reader.image()?;
    let trial = match reader.u8()? {
        0 => None,
        _ => {
            reader.u32()?;
            Some((reader.image()?, reader.u8()?))
        }
    };
    let ended = match reader.u8()? {
        0 => None,
        _ => {
            let (number, digest) = (reader.u32()?, reader.digest()?);
            reader.u32()?;
            Some(Ended { number, digest, how: reader.u8()? })
        }
    };
    let trials = reader.u32()?;
    // What is staged.
    if reader.u8()? != 0 {
        reader.digest()?;
    }
    if !reader.0.is_empty() {
        return None;
    }
    let (root, online_since, online, issued, counter, failures) = (0, 0, [0; 2], 0, 0, Vec::new());
    Some(Facts { active, trial, ended, trials, root, online_since, online, issued, counter, failures })
}

fn read_floors(mut reader: Reader<'_>, facts: &mut Facts) -> Option<()> {
    facts.online_since = reader.u32()?;
    facts.online[0] = reader.online()?;
    for _ in 0..reader.u32()? {
        // Halted images.
        reader.varint()?;
    }
    facts.online[1] = reader.online()?;
    for _ in 0..reader.u32()? {
        // Delegated roles.
        let name = reader.u32()?;
        reader.skip(usize::try_from(name).ok()?)?;
        reader.u32()?;
    }
    reader.u8()?;
    if reader.u8()? != 0 {
        reader.skip(16)?;
        reader.varints(3)?;
    }
    facts.issued = reader.varint()?;
    facts.counter = reader.u32()?;
    reader.u32()?;
    for _ in 0..reader.u32()? {
        let digest = reader.digest()?;
        reader.u32()?;
        facts.failures.push((digest, reader.u8()?));
    }
    // Nothing was lost.
    (reader.u8()? == 0 && reader.0.is_empty()).then_some(())
}

/// Reads `postcard`: integers of more than a byte are varints, an option is a byte before what it holds, a sequence its
/// length before its items.
struct Reader<'b>(&'b [u8]);

impl Reader<'_> {
    fn skip(&mut self, count: usize) -> Option<&[u8]> {
        let (bytes, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.skip(1).map(|bytes| bytes[0])
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7F) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    /// Passes so many.
    fn varints(&mut self, count: usize) -> Option<()> {
        (0..count).try_for_each(|_| self.varint().map(drop))
    }

    fn u32(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    fn digest(&mut self) -> Option<[u8; 32]> {
        self.skip(32)?.try_into().ok()
    }

    fn image(&mut self) -> Option<Named> {
        let slot = usize::from(self.u8()?);
        let length = usize::try_from(self.u32()?).ok()?;
        let digest = self.digest()?;
        self.u32()?;
        let counter = self.u32()?;
        let version = usize::from(self.u8()?);
        self.skip(version)?;
        Some(Named { slot, length, digest, counter })
    }

    /// The version of an online role's file, 0 if none was ever seen.
    fn online(&mut self) -> Option<u32> {
        if self.u8()? == 0 {
            return Some(0);
        }
        let version = self.u32()?;
        // Expiry, issue, length.
        self.varints(3)?;
        self.digest()?;
        // The file that it names: version, length.
        self.varints(2)?;
        if self.u8()? != 0 {
            self.digest()?;
        }
        Some(version)
    }
}

#[test]
fn crc_of_the_check_string_is_that_of_iso_hdlc() {
    assert_eq!(crc(b"123456789".iter()), 0xCBF4_3926);
}
