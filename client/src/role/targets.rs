//! Targets: finds one device's release among any number of targets, in constant memory.
//!
//! The release entry names images by path, and each of them must be a target of its own with the same
//! length and digest. Targets stream by in order of their paths: an image that comes after its release
//! entry is checked in the same pass, one that comes before it needs a second pass over the same bytes.

use heapless::String;

use crate::error::{Field, Rejected};
use crate::key::hex_array;
use crate::limits::PATH;
use crate::release::{Candidate, Device, EntryReader, Verdict};
use crate::role::{Body, number, text};
use crate::scan::{Fault, Value};

/// Reads a targets file's `signed` for one device.
#[derive(Debug)]
pub(crate) struct TargetsBody<'a> {
    device: Device<'a>,
    /// Seconds since 1970: the cycle's start time.
    now: u64,
    release_path: String<PATH>,
    entry: EntryReader,
    found: bool,
    selected: Option<Candidate>,
    length: Option<u32>,
    sha256: Option<[u8; 32]>,
}

/// What a targets file holds for the device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Find {
    /// No release is for this device now.
    Nothing,
    /// This one is, and its image is a target with that length and digest.
    Authorised,
    /// One is, but its image was not seen behind it: the file must be read again.
    Again,
}

impl<'a> TargetsBody<'a> {
    pub(crate) fn new(device: Device<'a>, release_path: String<PATH>, now: u64) -> Self {
        TargetsBody {
            device,
            now,
            release_path,
            entry: EntryReader::default(),
            found: false,
            selected: None,
            length: None,
            sha256: None,
        }
    }

    /// A second pass over the same file, for the image of the candidate that the first one selected.
    pub(crate) fn again(self) -> Self {
        TargetsBody { length: None, sha256: None, entry: EntryReader::default(), ..self }
    }

    pub(crate) fn selected(&self) -> Option<&Candidate> {
        self.selected.as_ref()
    }

    /// What was found, once the file is over.
    pub(crate) fn find(&self) -> Result<Find, Rejected> {
        if !self.found {
            return Err(Rejected::NoRelease);
        }
        let Some(Candidate { sequence, image, .. }) = &self.selected else { return Ok(Find::Nothing) };
        match (self.length, self.sha256) {
            (None, None) => Ok(Find::Again),
            (Some(length), Some(sha256)) if length == image.length && sha256 == image.sha256 => {
                Ok(Find::Authorised)
            }
            _ => Err(Rejected::ImageNotAuthorised { sequence: *sequence }),
        }
    }

    fn candidate(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
        let Some(candidate) = self.entry.value(path, value)? else { return Ok(()) };
        // The first that the device may take is the highest: they stand in falling order.
        if self.selected.is_some() || candidate.verdict(&self.device, self.now) != Verdict::Eligible {
            return Ok(());
        }
        let rest = candidate.image.path.strip_prefix(self.device.product);
        let rest = rest.and_then(|path| path.strip_prefix('/'));
        let rest = rest.and_then(|path| path.strip_prefix(self.device.hardware));
        if !rest.is_some_and(|path| path.starts_with('/')) {
            return Err(Fault::Rejected(Rejected::OtherHardware { sequence: candidate.sequence }));
        }
        self.selected = Some(candidate.clone());
        Ok(())
    }

    fn image(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
        let wrong = Fault::Field(Field::Targets);
        match path {
            [b"length"] => self.length = Some(number(value).ok_or(wrong)?),
            [b"hashes", b"sha256"] => {
                self.sha256 = Some(hex_array(text(value, Field::Targets)?).ok_or(wrong)?);
            }
            _ => {}
        }
        Ok(())
    }
}

impl Body for TargetsBody<'_> {
    fn value(&mut self, path: &[&[u8]], value: Value<'_>) -> Result<(), Fault> {
        let [b"targets", target, path @ ..] = path else { return Ok(()) };
        if *target == self.release_path.as_bytes() {
            return match path {
                [b"custom", path @ ..] => {
                    self.found = true;
                    self.candidate(path, value)
                }
                _ => Ok(()),
            };
        }
        match &self.selected {
            Some(selected) if *target == selected.image.path.as_bytes() => self.image(path, value),
            _ => Ok(()),
        }
    }

    fn finish(&mut self) -> Result<(), Fault> {
        if self.found { self.entry.finish() } else { Ok(()) }
    }
}
