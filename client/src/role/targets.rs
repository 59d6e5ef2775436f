//! Targets: finds a release entry and its image, or any one target, among any number of them.
//!
//! The release entry names images by path, and each of them must be a target of its own with the same
//! length and digest. Targets stream by in order of their paths: an image that comes after its release
//! entry in the same file is seen in the same pass.

use heapless::String;

use crate::error::Field;
use crate::limits::PATH;
use crate::release::{Device, EntryReader, Image, Verdict};
use crate::role::place::{Place, Places};
use crate::scan::Fault;

/// A target: what its bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Target {
    /// Bytes.
    pub length: u32,
    /// SHA-256 of those bytes, where stated.
    pub sha256: Option<[u8; 32]>,
    /// SHA-512 of those bytes, where stated.
    #[cfg(feature = "host")]
    pub sha512: Option<[u8; 64]>,
}

/// What is looked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Seek {
    /// Nothing.
    #[default]
    Nothing,
    /// The release entry. Its path stands where the image's will: in the candidate.
    Release,
    /// The image of the candidate.
    Image,
    /// The target at the path that the caller named.
    Named,
}

/// Reads a targets file's `targets`.
#[derive(Debug)]
pub(crate) struct TargetsReader {
    pub(crate) seek: Seek,
    pub(crate) entry: EntryReader,
    /// The release entry was found. What is looked for from then on is the image.
    pub(crate) found: bool,
    /// The target that is looked for, as far as it was read.
    pub(crate) target: Target,
    /// All of it was.
    complete: bool,
    /// When the next candidate becomes eligible that is not yet, in seconds since 1970.
    pub(crate) turn: u64,
    /// The highest sequence whose image failed on this device before; 0 if there is none.
    pub(crate) passed_over: u32,
    in_release: bool,
}

impl TargetsReader {
    pub(crate) fn new() -> Self {
        TargetsReader {
            seek: Seek::Nothing,
            entry: EntryReader::default(),
            found: false,
            target: Target::default(),
            complete: false,
            turn: u64::MAX,
            passed_over: 0,
            in_release: false,
        }
    }

    /// Looks for the release entry at this path.
    pub(crate) fn seek_release(&mut self, path: &String<PATH>) {
        self.entry.restart();
        self.entry.candidate.image.path.clone_from(path);
        (self.seek, self.found, self.complete) = (Seek::Release, false, false);
        (self.turn, self.passed_over) = (u64::MAX, 0);
    }

    /// Looks for another target, the candidate's image or the one that the caller named.
    pub(crate) fn seek_target(&mut self, seek: Seek) {
        (self.seek, self.complete) = (seek, false);
    }

    /// The target that was looked for, if it was found.
    pub(crate) fn target(&self) -> Option<Target> {
        self.complete.then_some(self.target)
    }

    /// The path that is looked for.
    pub(crate) fn path<'p>(&'p self, named: &'p str) -> &'p [u8] {
        match self.seek {
            Seek::Named => named.as_bytes(),
            _ => self.entry.candidate.image.path.as_bytes(),
        }
    }

    /// A target's entry begins.
    pub(crate) fn begin(&mut self, named: &str, key: &[u8]) -> Place {
        self.in_release = false;
        let wanted = match self.seek {
            Seek::Nothing => false,
            // Behind the entry comes its image, if a candidate was taken and its path sorts later.
            Seek::Release => !self.found || self.entry.taken,
            Seek::Image | Seek::Named => true,
        };
        if !wanted || key != self.path(named) {
            return Place::Skip;
        }
        self.target = Target::default();
        if self.seek == Seek::Release && !self.found {
            (self.found, self.in_release) = (true, true);
        }
        Place::Target
    }

    /// The `custom` of a target's entry begins.
    pub(crate) fn custom(&self) -> Place {
        if self.in_release { Place::Custom } else { Place::Skip }
    }

    /// A target's entry is over.
    pub(crate) fn end(&mut self, seen: &Places) -> Result<(), Fault> {
        if self.in_release {
            return self.entry.finish();
        }
        if !seen.has(Place::Length) || !self.target.has_hash() {
            return Err(Fault::Field(Field::Targets));
        }
        self.complete = true;
        Ok(())
    }

    /// A candidate is over.
    pub(crate) fn end_of_candidate(
        &mut self,
        device: Option<&Device<'_>>,
        start: u64,
        seen: &Places,
    ) -> Result<(), Fault> {
        self.entry.end_of_candidate(seen)?;
        if self.entry.taken { Ok(()) } else { self.judge(device, start) }
    }

    /// Takes the candidate if the device may. The first is the highest, for they stand in falling order.
    fn judge(&mut self, device: Option<&Device<'_>>, start: u64) -> Result<(), Fault> {
        let Some(device) = device else { return Ok(()) };
        let candidate = &self.entry.candidate;
        match candidate.verdict(device, start) {
            Verdict::Eligible => {}
            Verdict::NotYet(turn) => {
                self.turn = self.turn.min(turn);
                return Ok(());
            }
            Verdict::Banned => {
                self.passed_over = self.passed_over.max(candidate.sequence);
                return Ok(());
            }
            _ => return Ok(()),
        }
        let rest = candidate.image.path.strip_prefix(device.product);
        let rest = rest.and_then(|path| path.strip_prefix('/'));
        let rest = rest.and_then(|path| path.strip_prefix(device.hardware));
        if !rest.is_some_and(|path| path.starts_with('/')) {
            return Err(Fault::OtherHardware);
        }
        self.entry.taken = true;
        Ok(())
    }

    /// Whether the target that was found is the image that the candidate names; `None` if none was found.
    pub(crate) fn is_image(&self) -> Option<bool> {
        let Image { length, sha256, .. } = &self.entry.candidate.image;
        self.target().map(|target| target.length == *length && target.sha256 == Some(*sha256))
    }
}

impl Target {
    fn has_hash(&self) -> bool {
        #[cfg(feature = "host")]
        if self.sha512.is_some() {
            return true;
        }
        self.sha256.is_some()
    }
}
