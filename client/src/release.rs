//! The release entry: what a device may install, defined once for those who write it and those who read it.
//!
//! A device asks TUF for one target path, `PRODUCT/HARDWARE/CHANNEL/release`. That target's `custom` lists up
//! to eight candidates in falling order of sequence:
//!
//! ```json
//! {"candidates":[{"counter":3,"image":{"hashes":{"sha256":"…"},"length":65536,"path":"…"},"minimum":0,
//!   "rollout":{"end":"…","salt":"…","start":"…"},"sequence":7,"version":"1.4.0"}],"format":1}
//! ```
//!
//! The device takes the first that it is eligible for: [`Candidate::verdict`].

use core::fmt;

use heapless::{String, Vec};
use sha2::{Digest, Sha256};

use crate::crypto::SOFTWARE;
use crate::error::{Bound, Error, Field, Misuse};
use crate::file::FileReader;
use crate::limits::{self, CANDIDATES, NAME, PATH, VERSION_TEXT};
use crate::role::Role;
use crate::role::place::{Place, Places};
use crate::role::reading::{Context, Reading};
use crate::scan::Fault;
use crate::time::Date;

/// The number of the entry's format. A device refuses an entry of another one.
pub const FORMAT: u32 = 1;

/// One release that a device may go to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Candidate {
    /// The order of releases; the repository tool raises it.
    pub sequence: u32,
    /// The security counter of the image: a device whose counter is higher never takes it.
    pub counter: u32,
    /// The lowest installed sequence from which a device may go here; 0 for any.
    pub minimum: u32,
    /// The version, for people: 1 to 32 printable ASCII characters without quotes and backslashes.
    pub version: String<VERSION_TEXT>,
    /// The image.
    pub image: Image,
    /// Who gets it when; without one everybody, at once.
    pub rollout: Option<Rollout>,
}

/// An image as a target: its path, and what is to be found there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Image {
    /// The target path, below `PRODUCT/HARDWARE/`.
    pub path: String<PATH>,
    /// Bytes.
    pub length: u32,
    /// SHA-256 of those bytes.
    pub sha256: [u8; 32],
}

/// A signed ramp: at `start` no device is eligible, at `end` all are, and between the two a share that
/// grows evenly. A device's place in it is its bucket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rollout {
    /// Seconds since 1970.
    pub start: u64,
    /// Seconds since 1970, not before `start`.
    pub end: u64,
    /// Makes buckets of different releases independent of each other.
    pub salt: [u8; 16],
}

/// The device that asks: what it is, and what it runs.
#[derive(Clone, Copy, Debug)]
pub struct Device<'a> {
    /// Product, as in the target path.
    pub product: &'a str,
    /// Hardware, as in the target path.
    pub hardware: &'a str,
    /// Channel, as in the target path.
    pub channel: &'a str,
    /// Decides its place in a rollout, and nothing else: no security rests on it.
    pub id: &'a [u8],
    /// The sequence of the confirmed image; 0 for one that came without a release.
    pub sequence: u32,
    /// The security counter of the device.
    pub counter: u32,
    /// Images that failed here.
    pub banned: &'a [Ban],
}

/// An image that is passed over, because it failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ban {
    /// SHA-256 of the image.
    pub sha256: [u8; 32],
    /// Releases up to this sequence are. If a later one has the same image, somebody signed that it is worth another attempt.
    pub sequence: u32,
}

/// Why a device takes a candidate, or does not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It does.
    Eligible,
    /// It runs this release, or a later one.
    NotNewer,
    /// Its security counter is higher than the image's.
    CounterTooLow,
    /// What it runs is older than the candidate's minimum.
    BelowMinimum,
    /// The image failed on this device before.
    Banned,
    /// Its turn in the rollout comes at this moment, in seconds since 1970.
    NotYet(u64),
}

impl Candidate {
    /// What `device` does with this candidate at `now` (seconds since 1970).
    #[must_use]
    pub fn verdict(&self, device: &Device<'_>, now: u64) -> Verdict {
        if self.sequence <= device.sequence {
            return Verdict::NotNewer;
        }
        if self.counter < device.counter {
            return Verdict::CounterTooLow;
        }
        if device.sequence < self.minimum {
            return Verdict::BelowMinimum;
        }
        let is_of = |ban: &Ban| ban.sha256 == self.image.sha256 && self.sequence <= ban.sequence;
        if device.banned.iter().any(is_of) {
            return Verdict::Banned;
        }
        match self.rollout.map(|rollout| rollout.turn(device.id)) {
            Some(turn) if now < turn => Verdict::NotYet(turn),
            _ => Verdict::Eligible,
        }
    }
}

impl Rollout {
    /// The device's place in the ramp: the first four bytes of SHA-256 over salt and device id, big-endian.
    #[must_use]
    pub fn bucket(&self, device_id: &[u8]) -> u32 {
        let digest: [u8; 32] =
            Sha256::new().chain_update(self.salt).chain_update(device_id).finalize().into();
        u32::from_be_bytes(*digest.first_chunk().unwrap_or(&[0; 4]))
    }

    /// The first moment, in seconds since 1970, at which the device is eligible: the least `t` from `start`
    /// on with `bucket * (end - start) < (t - start) * 2^32`, and `end` at the latest.
    #[must_use]
    pub fn turn(&self, device_id: &[u8]) -> u64 {
        let ramp = self.end.saturating_sub(self.start);
        let bucket = u64::from(self.bucket(device_id));
        // bucket * ramp / 2^32 in two halves, for the product needs 96 bits.
        let (high, low) = (ramp >> 32, ramp & u64::from(u32::MAX));
        let share = bucket.saturating_mul(high).saturating_add(bucket.saturating_mul(low) >> 32);
        self.start.saturating_add(share).saturating_add(1).min(self.end)
    }
}

impl Device<'_> {
    /// A digest of all that decides what the device takes from a repository, time apart.
    pub(crate) fn facts(&self) -> [u8; 16] {
        let Device { product, hardware, channel, id, sequence, counter, banned } = self;
        let mut hash = Sha256::new();
        for part in [product.as_bytes(), hardware.as_bytes(), channel.as_bytes(), *id] {
            hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hash.update(part);
        }
        hash.update(sequence.to_le_bytes());
        hash.update(counter.to_le_bytes());
        for Ban { sha256, sequence } in *banned {
            hash.update(sha256);
            hash.update(sequence.to_le_bytes());
        }
        hash.finalize().first_chunk().copied().unwrap_or_default()
    }

    /// The target path of the device's release entry.
    ///
    /// # Errors
    /// [`Misuse::Name`] for a name that no repository can have.
    pub fn release_path(&self) -> Result<String<PATH>, Error> {
        let names = [self.product, self.hardware, self.channel];
        let mut path = String::new();
        for name in names {
            if !is_name(name) {
                return Err(Misuse::Name.into());
            }
            path.push_str(name).and_then(|()| path.push('/')).map_err(|_| Misuse::Name)?;
        }
        path.push_str("release").map_err(|_| Misuse::Name)?;
        Ok(path)
    }
}

/// Whether a text may name a product, hardware or channel: `[a-z0-9][a-z0-9._-]{0,31}`.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let plain = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    text.len() <= NAME
        && text.as_bytes().first().is_some_and(plain)
        && text.bytes().all(|byte| plain(&byte) || matches!(byte, b'.' | b'_' | b'-'))
}

/// Whether a text may be a release's version: 1 to 32 printable ASCII characters, no quote, no backslash.
#[must_use]
pub fn is_version(text: impl AsRef<[u8]>) -> bool {
    let text = text.as_ref();
    (1..=VERSION_TEXT).contains(&text.len()) && text.iter().all(|byte| *byte == b' ' || is_plain(*byte))
}

/// Printable ASCII, and nothing that JSON escapes.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')
}

/// Whether a text may be a target path: at most 160 bytes of printable ASCII in segments that are neither
/// empty nor `.` nor `..`, without white space, quotes and backslashes.
#[must_use]
pub fn is_path(text: impl AsRef<[u8]>) -> bool {
    let text = text.as_ref();
    text.len() <= PATH
        && text.iter().all(|byte| is_plain(*byte))
        && text.split(|byte| *byte == b'/').all(|segment| !matches!(segment, b"" | b"." | b".."))
}

impl Image {
    /// The path from which a repository serves the image, see [`served_path`].
    #[must_use]
    pub fn url_path(&self) -> impl fmt::Display + '_ {
        served_path(&self.path, Hex(&self.sha256))
    }

    /// Hands out the same byte by byte, for devices, which have no room for what `Display` needs.
    pub fn served(&self, mut emit: impl FnMut(u8)) {
        let path = self.path.as_bytes();
        let file = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash.saturating_add(1));
        let (directory, file) = path.split_at_checked(file).unwrap_or_default();
        b"targets/".iter().chain(directory).copied().for_each(&mut emit);
        self.sha256.iter().flat_map(|byte| digits(*byte)).for_each(&mut emit);
        b".".iter().chain(file).copied().for_each(emit);
    }
}

/// A byte as two lower-case hexadecimal digits.
#[must_use]
pub fn digits(byte: u8) -> [u8; 2] {
    [byte >> 4, byte & 15].map(|digit| {
        let first = if digit < 10 { b'0' } else { b'a' - 10 };
        first.wrapping_add(digit)
    })
}

/// The path from which a repository with consistent snapshots serves a target: `targets/`, then the target
/// path with the digest, in hexadecimal, before the file's name (specification, section 7).
#[must_use]
pub fn served_path<'a>(path: &'a str, digest: impl fmt::Display + 'a) -> impl fmt::Display + 'a {
    fmt::from_fn(move |f| match path.rsplit_once('/') {
        Some((directory, file)) => write!(f, "targets/{directory}/{digest}.{file}"),
        None => write!(f, "targets/{digest}.{path}"),
    })
}

/// Shows bytes as lower-case hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Hex<'a>(pub &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Shows a release entry's `custom` in canonical JSON, the very bytes that are signed.
///
/// The texts of the candidates must satisfy [`is_path`] and [`is_version`], which have nothing to escape.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a>(pub &'a [Candidate]);

impl fmt::Display for Entry<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(r#"{"candidates":["#)?;
        for (index, candidate) in self.0.iter().enumerate() {
            let Candidate { sequence, counter, minimum, version, image, rollout } = candidate;
            let Image { path, length, sha256 } = image;
            let comma = if index == 0 { "" } else { "," };
            write!(f, r#"{comma}{{"counter":{counter},"image":{{"hashes":{{"sha256":"{}"}},"#, Hex(sha256))?;
            write!(f, r#""length":{length},"path":"{path}"}},"minimum":{minimum},"#)?;
            if let Some(Rollout { start, end, salt }) = rollout {
                let (start, end, salt) = (Date(*start), Date(*end), Hex(salt));
                write!(f, r#""rollout":{{"end":"{end}","salt":"{salt}","start":"{start}"}},"#)?;
            }
            write!(f, r#""sequence":{sequence},"version":"{version}"}}"#)?;
        }
        write!(f, r#"],"format":{FORMAT}}}"#)
    }
}

/// Reads a release entry's `custom` back, by the reader that devices use.
///
/// # Errors
/// What a device would say: [`Rejected::Field`](crate::Rejected::Field) and its like, for the role targets.
pub fn read_entry(custom: &[u8]) -> Result<Vec<Candidate, CANDIDATES>, Error> {
    let (mut memory, role) = ([0; limits::DEVICE.memory()], Role::Targets);
    let FileReader { mut scanner, mut sheet, .. } = FileReader::new(&limits::DEVICE, &mut memory);
    scanner.restart(Place::Custom);
    sheet.restart(role);
    let mut all = Vec::new();
    for byte in custom {
        let context = Context::of(&SOFTWARE, &limits::DEVICE);
        let fed = scanner.feed(&[*byte], &mut Reading { sheet: &mut sheet, context, kept: None });
        let entry = &sheet.targets.entry;
        fed.map_err(|fault| fault.of(role, scanner.at(), entry.sequence))?;
        if entry.count > all.len() && all.push(entry.candidate.clone()).is_err() {
            break;
        }
    }
    let end = scanner.finish().and_then(|_| sheet.targets.entry.finish());
    end.map_err(|fault| fault.of(role, scanner.at(), 0))?;
    Ok(all)
}

/// Reads a release entry's `custom` as it streams by, one candidate in memory at a time.
#[derive(Debug, Default)]
pub(crate) struct EntryReader {
    /// The candidate being read; once one is taken, that one.
    pub(crate) candidate: Candidate,
    /// Of those that follow only the sequence is read.
    pub(crate) taken: bool,
    pub(crate) sequence: u32,
    pub(crate) count: usize,
    pub(crate) format: u32,
}

/// What every candidate has.
const MEMBERS: [Place; 7] = [
    Place::Counter,
    Place::ImageSha256,
    Place::ImageLength,
    Place::ImagePath,
    Place::Minimum,
    Place::Sequence,
    Place::VersionText,
];

impl EntryReader {
    /// Begins another entry.
    pub(crate) fn restart(&mut self) {
        (self.taken, self.sequence, self.count, self.format) = (false, 0, 0, 0);
    }

    /// A candidate has this sequence. They fall, so that the first that fits is the highest, and no two are one.
    pub(crate) fn sequence(&mut self, sequence: u32) -> Result<(), Fault> {
        let before = core::mem::replace(&mut self.sequence, sequence);
        if self.count > 0 && sequence >= before { Err(Fault::SequenceOrder) } else { Ok(()) }
    }

    /// The image is at this path.
    pub(crate) fn path(&mut self, text: &[u8]) -> Result<(), Fault> {
        keep(&mut self.candidate.image.path, text, is_path)
    }

    /// The candidate has this version.
    pub(crate) fn version(&mut self, text: &[u8]) -> Result<(), Fault> {
        keep(&mut self.candidate.version, text, is_version)
    }

    /// The rollout of the candidate.
    pub(crate) fn ramp(&mut self) -> &mut Rollout {
        self.candidate.rollout.get_or_insert_default()
    }

    /// The rollout is over. A ramp that cannot be read must not become "everybody, at once".
    pub(crate) fn end_of_ramp(&mut self, seen: &Places) -> Result<(), Fault> {
        let Rollout { start, end, .. } = self.ramp();
        let rises = *end >= *start;
        let whole = seen.has_all(&[Place::RampEnd, Place::Salt, Place::RampStart]);
        if whole && rises { Ok(()) } else { Err(Fault::Field(Field::Release)) }
    }

    /// The candidate is over.
    pub(crate) fn end_of_candidate(&mut self, seen: &Places) -> Result<(), Fault> {
        if !self.taken {
            if !seen.has_all(&MEMBERS) {
                return Err(Fault::Field(Field::Release));
            }
            self.candidate.sequence = self.sequence;
        }
        self.count = self.count.wrapping_add(1);
        if self.count > CANDIDATES { Err(Fault::Limit(Bound::Candidates)) } else { Ok(()) }
    }

    /// The entry is over: is it one, of a format that we know?
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        if self.format == FORMAT && self.count > 0 { Ok(()) } else { Err(Fault::Field(Field::Release)) }
    }
}

/// Keeps a text of a form that is all ASCII, and that knows its own length.
fn keep<'t, const N: usize>(
    place: &mut String<N>,
    text: &'t [u8],
    is: fn(&'t [u8]) -> bool,
) -> Result<(), Fault> {
    if !is(text) {
        return Err(Fault::Field(Field::Release));
    }
    place.clear();
    for byte in text {
        let _ = place.push(char::from(*byte));
    }
    Ok(())
}
