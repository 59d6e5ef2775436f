//! Reading an image in one pass.

use heapless::Vec;
use sha2::{Digest, Sha256};

use super::{
    DEPENDENCIES, Dependency, Fault, HEAD, HEADER_LENGTH, Header, Image, Signature, Version, field, kind,
};

/// First two bytes of the area of protected entries.
const PROTECTED_MAGIC: u16 = 0x6908;
/// First two bytes of the area of all others.
const UNPROTECTED_MAGIC: u16 = 0x6907;

/// Reads an image, chunk by chunk.
#[derive(Clone, Debug)]
pub struct Reader {
    expect: Expect,
    /// Bytes that still belong to what is expected.
    left: u64,
    /// The last bytes that came, if they are kept.
    held: [u8; HEADER_LENGTH],
    filled: usize,
    /// Bytes that came.
    position: u64,
    hash: Sha256,
    /// Bytes that are left of an area, without what is expected.
    area: u16,
    header: Option<Header>,
    found: Found,
    /// The first fault; every further call repeats it.
    failed: Option<Fault>,
}

/// What comes next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expect {
    Header,
    Payload,
    /// The magic and the length of an area.
    Area(Area),
    /// The type and the length of an entry.
    Entry(Area),
    /// The value of an entry that is kept.
    Value(Area, u16),
    /// The value of one that is not.
    Other(Area),
    /// What is behind the image.
    Rest,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Area {
    Protected,
    Unprotected,
}

/// What the entries said so far.
#[derive(Clone, Debug, Default)]
struct Found {
    digest: Option<[u8; 32]>,
    other_digest: Option<u16>,
    counter: Option<u32>,
    dependencies: Vec<Dependency, DEPENDENCIES>,
    names_key: bool,
    signature: Option<Signature>,
    sealed_key: bool,
    /// Where the image ends, once that is known.
    end: u64,
}

impl Default for Reader {
    fn default() -> Self {
        Self::new()
    }
}

impl Reader {
    /// A reader that has seen nothing.
    pub fn new() -> Self {
        Self {
            expect: Expect::Header,
            left: HEADER_LENGTH as u64,
            held: [0; HEADER_LENGTH],
            filled: 0,
            position: 0,
            hash: Sha256::new(),
            area: 0,
            header: None,
            found: Found::default(),
            failed: None,
        }
    }

    /// Takes the next bytes, any number of them.
    ///
    /// # Errors
    ///
    /// The first [`Fault`], as soon as it can be known; every further call repeats it.
    pub fn update(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        if let Some(fault) = self.failed {
            return Err(fault);
        }
        let outcome = self.take(chunk);
        self.failed = outcome.err();
        outcome
    }

    /// The header, as soon as it was read. Nothing vouches for it before [`Reader::finish`].
    pub fn header(&self) -> Option<Header> {
        self.header
    }

    /// There is no more.
    ///
    /// # Errors
    ///
    /// [`Fault::Cut`], a [`Fault`] of the digest, or what [`Reader::update`] said before.
    pub fn finish(self) -> Result<Image, Fault> {
        if let Some(fault) = self.failed {
            return Err(fault);
        }
        let cut = Fault::Cut { length: self.position, needed: self.position.saturating_add(self.left) };
        let Some(header) = self.header.filter(|_| self.expect == Expect::Rest) else { return Err(cut) };
        let Found { other_digest, counter, dependencies, names_key, signature, sealed_key, end, .. } =
            self.found;
        let digest = match (self.found.digest, other_digest) {
            (Some(digest), _) => digest,
            (None, Some(kind)) => return Err(Fault::OtherDigest { kind }),
            (None, None) => return Err(Fault::NoDigest),
        };
        // The digest is of the payload before encryption. Who damages the flag alone must not get around it.
        if header.flags.encrypted() && !sealed_key {
            return Err(Fault::NoSealedKey);
        }
        let checked = <[u8; 32]>::from(self.hash.finalize()) == digest;
        if !checked && !header.flags.encrypted() {
            return Err(Fault::Digest);
        }
        Ok(Image { header, counter, dependencies, digest, checked, names_key, signature, length: end })
    }

    fn take(&mut self, chunk: &[u8]) -> Result<(), Fault> {
        let mut rest = chunk;
        while !rest.is_empty() {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_checked(most).unwrap_or((rest, &[]));
            rest = later;
            if self.expect.is_hashed() {
                self.hash.update(now);
            }
            if self.expect.is_held() {
                let space = self.held.get_mut(self.filled..).unwrap_or_default();
                for (place, byte) in space.iter_mut().zip(now) {
                    *place = *byte;
                }
                self.filled = self.filled.saturating_add(now.len());
            }
            let count = u64::try_from(now.len()).unwrap_or(u64::MAX);
            self.position = self.position.saturating_add(count);
            if self.expect != Expect::Rest {
                self.left = self.left.saturating_sub(count);
            }
            // An empty payload and an empty value are over before they begin.
            while self.left == 0 {
                self.advance()?;
            }
        }
        Ok(())
    }

    /// What was expected is there.
    fn advance(&mut self) -> Result<(), Fault> {
        self.filled = 0;
        match self.expect {
            Expect::Header => {
                let header = Header::read(&self.held)?;
                self.header = Some(header);
                let payload = header.hashed_length().saturating_sub(header.protected_length.into());
                self.expect(Expect::Payload, payload.saturating_sub(self.position));
            }
            Expect::Payload => {
                let protected = self.header.is_some_and(|header| header.protected_length > 0);
                let area = if protected { Area::Protected } else { Area::Unprotected };
                self.expect(Expect::Area(area), HEAD.into());
            }
            Expect::Area(area) => self.enter(area)?,
            Expect::Entry(area) => {
                let (kind, length) = self.head();
                self.area = self.area.checked_sub(length).ok_or(self.past_area())?;
                let kept = self.found.notice(area, kind, length)?;
                let next = if kept { Expect::Value(area, kind) } else { Expect::Other(area) };
                self.expect(next, length.into());
            }
            Expect::Value(area, kind) => {
                self.found.keep(kind, &self.held)?;
                self.next_entry(area)?;
            }
            Expect::Other(area) => self.next_entry(area)?,
            Expect::Rest => self.expect(Expect::Rest, u64::MAX),
        }
        Ok(())
    }

    fn enter(&mut self, area: Area) -> Result<(), Fault> {
        let (found, length) = self.head();
        let expected = area.magic();
        if found != expected {
            let offset = self.position.saturating_sub(HEAD.into());
            return Err(Fault::AreaMagic { offset, found, expected });
        }
        let header = self.header.map_or(0, |header| header.protected_length);
        if area == Area::Protected && header != length {
            return Err(Fault::ProtectedLength { header, area: length });
        }
        self.area = length.checked_sub(HEAD).ok_or(Fault::AreaLength { length })?;
        self.next_entry(area)
    }

    fn next_entry(&mut self, area: Area) -> Result<(), Fault> {
        match (self.area.checked_sub(HEAD), area) {
            (Some(left), _) => {
                self.area = left;
                self.expect(Expect::Entry(area), HEAD.into());
            }
            (None, _) if self.area > 0 => {
                return Err(Fault::EntryPastArea { offset: self.position });
            }
            (None, Area::Protected) => self.expect(Expect::Area(Area::Unprotected), HEAD.into()),
            (None, Area::Unprotected) => {
                self.found.end = self.position;
                self.expect(Expect::Rest, u64::MAX);
            }
        }
        Ok(())
    }

    fn expect(&mut self, expect: Expect, length: u64) {
        self.expect = expect;
        self.left = length;
    }

    /// The two numbers that an area and an entry begin with.
    fn head(&self) -> (u16, u16) {
        (u16::from_le_bytes(field(&self.held, 0)), u16::from_le_bytes(field(&self.held, 2)))
    }

    fn past_area(&self) -> Fault {
        Fault::EntryPastArea { offset: self.position.saturating_sub(HEAD.into()) }
    }
}

impl Expect {
    fn is_hashed(self) -> bool {
        match self {
            Self::Header | Self::Payload => true,
            Self::Area(area) | Self::Entry(area) | Self::Value(area, _) | Self::Other(area) => {
                area == Area::Protected
            }
            Self::Rest => false,
        }
    }

    fn is_held(self) -> bool {
        matches!(self, Self::Header | Self::Area(_) | Self::Entry(_) | Self::Value(..))
    }
}

impl Area {
    const fn magic(self) -> u16 {
        match self {
            Self::Protected => PROTECTED_MAGIC,
            Self::Unprotected => UNPROTECTED_MAGIC,
        }
    }
}

impl Found {
    /// An entry begins. Says whether its value is wanted.
    fn notice(&mut self, area: Area, kind: u16, length: u16) -> Result<bool, Fault> {
        let (home, expected) = match kind {
            kind::SHA256 => (Area::Unprotected, 32),
            kind::COUNTER => (Area::Protected, 4),
            kind::DEPENDENCY => (Area::Protected, 12),
            _ => return self.pass(area, kind).map(|()| false),
        };
        if area != home {
            return Err(Fault::Misplaced { kind });
        }
        if length != expected {
            return Err(Fault::EntryLength { kind, length, expected });
        }
        let again = match kind {
            kind::SHA256 => self.digest.is_some(),
            kind::COUNTER => self.counter.is_some(),
            _ => false,
        };
        if again { Err(Fault::Repeated { kind }) } else { Ok(true) }
    }

    /// An entry that matters by being there.
    fn pass(&mut self, area: Area, kind: u16) -> Result<(), Fault> {
        let signature = Signature::of(kind);
        let digest = matches!(kind, kind::SHA384 | kind::SHA512);
        if area == Area::Protected && (signature.is_some() || digest) {
            // Nothing can be under a digest, or a signature, and be it.
            return Err(Fault::Misplaced { kind });
        }
        if digest {
            self.other_digest = Some(kind);
        }
        self.signature = self.signature.or(signature);
        self.names_key |= matches!(kind, kind::KEY_HASH | kind::PUBLIC_KEY);
        self.sealed_key |= kind::SEALED_KEY.contains(&kind);
        Ok(())
    }

    fn keep(&mut self, kind: u16, value: &[u8; HEADER_LENGTH]) -> Result<(), Fault> {
        match kind {
            kind::SHA256 => self.digest = Some(*value),
            kind::COUNTER => self.counter = Some(u32::from_le_bytes(field(value, 0))),
            _ => {
                // 1: number of the image; 3: padding; 8: version.
                let [image] = field(value, 0);
                let dependency = Dependency { image, minimum: Version::read(value, 4) };
                self.dependencies.push(dependency).map_err(|_| Fault::TooManyDependencies)?;
            }
        }
        Ok(())
    }
}
