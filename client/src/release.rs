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

use crate::error::{Bound, Error, Field, Misuse, Rejected};
use crate::key::hex_array;
use crate::limits::{CANDIDATES, NAME, PATH, VERSION_TEXT};
use crate::role::{number, text, version};
use crate::scan::{Fault, Reader, Scanner, Value};
use crate::time::{self, Date};

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
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
    /// SHA-256 of images that failed here and are passed over for now.
    pub banned: &'a [[u8; 32]],
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
        if device.banned.contains(&self.image.sha256) {
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
        let ramp = u128::from(self.end.saturating_sub(self.start));
        let share = u128::from(self.bucket(device_id)).saturating_mul(ramp) >> 32;
        let after = u64::try_from(share).unwrap_or(u64::MAX).saturating_add(1);
        self.start.saturating_add(after).min(self.end)
    }
}

impl Device<'_> {
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
pub fn is_version(text: &str) -> bool {
    (1..=VERSION_TEXT).contains(&text.len())
        && text.bytes().all(|byte| matches!(byte, b' '..=b'~') && !matches!(byte, b'"' | b'\\'))
}

/// Whether a text may be a target path: at most 160 bytes of printable ASCII in segments that are neither
/// empty nor `.` nor `..`, without white space, quotes and backslashes.
#[must_use]
pub fn is_path(text: &str) -> bool {
    text.len() <= PATH
        && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\'))
        && text.split('/').all(|segment| !matches!(segment, "" | "." | ".."))
}

impl Image {
    /// The path from which a repository serves the image, see [`served_path`].
    #[must_use]
    pub fn url_path(&self) -> impl fmt::Display + '_ {
        served_path(&self.path, Hex(&self.sha256))
    }
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
/// What a device would say: [`Rejected::Field`] and its like, for the role targets.
pub fn read_entry(custom: &[u8]) -> Result<Vec<Candidate, CANDIDATES>, Error> {
    struct All(EntryReader, Vec<Candidate, CANDIDATES>);
    impl Reader for All {
        fn value(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
            match self.0.value(path, value)? {
                Some(candidate) => {
                    self.1.push(candidate.clone()).map_err(|_| Fault::Limit(Bound::Candidates))
                }
                None => Ok(()),
            }
        }
    }
    let mut all = All(EntryReader::default(), Vec::new());
    let mut scanner = Scanner::new();
    scanner
        .feed(custom, &mut all)
        .and_then(|()| scanner.finish())
        .and_then(|_| all.0.finish())
        .map_err(|fault| fault.of(crate::Role::Targets, scanner.at()))?;
    Ok(all.1)
}

/// Reads a release entry's `custom` as it streams by, one candidate in memory at a time.
#[derive(Debug, Default)]
pub(crate) struct EntryReader {
    candidate: Candidate,
    /// Members of the candidate that were read: each must be there.
    seen: Seen,
    start: Option<u64>,
    end: Option<u64>,
    salt: Option<[u8; 16]>,
    count: usize,
    last: Option<u32>,
    format: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Seen {
    counter: bool,
    sha256: bool,
    length: bool,
    path: bool,
    minimum: bool,
    rollout: bool,
    sequence: bool,
    version: bool,
}

impl EntryReader {
    /// Takes a value; returns a candidate when it is complete. The path starts below `custom`.
    pub(crate) fn value(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<Option<&Candidate>, Fault> {
        let wrong = Fault::Field(Field::Release);
        match (path, value) {
            ([b"candidates", _], Value::Object) => {
                (self.candidate, self.seen) = (Candidate::default(), Seen::default());
                (self.start, self.end, self.salt) = (None, None, None);
            }
            ([b"candidates", _], Value::End) => return self.end_of_candidate().map(Some),
            ([b"candidates", _], _) => return Err(wrong),
            ([b"candidates"], value) if !matches!(value, Value::Array | Value::End) => return Err(wrong),
            ([b"candidates", _, path @ ..], value) => self.member(path, value)?,
            ([b"format"], value) => {
                self.format = number(value) == Some(FORMAT);
                if !self.format {
                    return Err(wrong);
                }
            }
            _ => {}
        }
        Ok(None)
    }

    /// The entry is over: is it one, of a format that we know?
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        if self.format && self.count > 0 { Ok(()) } else { Err(Fault::Field(Field::Release)) }
    }

    fn member(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
        let wrong = Fault::Field(Field::Release);
        let Candidate { sequence, counter, minimum, version: name, image, .. } = &mut self.candidate;
        match path {
            [b"counter"] => (*counter, self.seen.counter) = (number(value).ok_or(wrong)?, true),
            [b"image", b"hashes", b"sha256"] => {
                let hex = text(value, Field::Release)?;
                (image.sha256, self.seen.sha256) = (hex_array(hex).ok_or(wrong)?, true);
            }
            [b"image", b"length"] => (image.length, self.seen.length) = (number(value).ok_or(wrong)?, true),
            [b"image", b"path"] => {
                let path = string(text(value, Field::Release)?).filter(|path| is_path(path));
                (image.path, self.seen.path) = (path.ok_or(wrong)?, true);
            }
            [b"minimum"] => (*minimum, self.seen.minimum) = (number(value).ok_or(wrong)?, true),
            [b"rollout"] if value == Value::Object => self.seen.rollout = true,
            [b"rollout"] if value != Value::End => return Err(wrong),
            [b"rollout", b"end"] => self.end = time::parse(text(value, Field::Release)?),
            [b"rollout", b"salt"] => self.salt = hex_array(text(value, Field::Release)?),
            [b"rollout", b"start"] => self.start = time::parse(text(value, Field::Release)?),
            [b"sequence"] => (*sequence, self.seen.sequence) = (version(value).ok_or(wrong)?, true),
            [b"version"] => {
                let text = string(text(value, Field::Release)?).filter(|text| is_version(text));
                (*name, self.seen.version) = (text.ok_or(wrong)?, true);
            }
            _ => {}
        }
        Ok(())
    }

    fn end_of_candidate(&mut self) -> Result<&Candidate, Fault> {
        let wrong = Fault::Field(Field::Release);
        let Seen { counter, sha256, length, path, minimum, rollout, sequence, version } = self.seen;
        if !(counter && sha256 && length && path && minimum && sequence && version) {
            return Err(wrong);
        }
        // A ramp that cannot be read must not become "everybody, at once".
        if rollout {
            let (Some(start), Some(end), Some(salt)) = (self.start, self.end, self.salt) else {
                return Err(wrong);
            };
            if end < start {
                return Err(wrong);
            }
            self.candidate.rollout = Some(Rollout { start, end, salt });
        }
        self.count = self.count.saturating_add(1);
        if self.count > CANDIDATES {
            return Err(Fault::Limit(Bound::Candidates));
        }
        let sequence = self.candidate.sequence;
        if self.last.is_some_and(|last| sequence >= last) {
            return Err(Fault::Rejected(Rejected::SequenceOrder { sequence }));
        }
        self.last = Some(sequence);
        Ok(&self.candidate)
    }
}

fn string<const N: usize>(text: &[u8]) -> Option<String<N>> {
    String::try_from(core::str::from_utf8(text).ok()?).ok()
}
