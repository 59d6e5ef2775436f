//! Delegations: finds the next role to which a path is delegated, and the keys that may sign for it.
//!
//! In a sorted file keys come before roles, and a role's keyids before its paths. So keys are gathered as they
//! come while there is room; for a role whose keys came after the room was used up, the file is read again.

use heapless::Vec;

use crate::error::{Bound, Field};
use crate::key::{KeyId, Keys, Pack};
use crate::role::Role;
use crate::role::place::Place;
use crate::role::root::RoleKeys;
use crate::scan::Fault;

/// Keyids of one role whose keys are still to be found.
const WANTED: usize = 8;

/// The delegation that leads on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Chosen {
    /// Its place in the list, from 0; of bins, which stand for a list, the number of the bin.
    pub(crate) index: u32,
    /// Its keys among those gathered, and its threshold.
    pub(crate) by: RoleKeys,
    /// If the path is not found there, it is nowhere.
    pub(crate) terminating: bool,
}

/// Reads a targets file's `delegations`.
#[derive(Debug, Default)]
pub(crate) struct DelegationsReader {
    /// Delegations of the list that were followed, or passed by, in an earlier pass.
    pub(crate) skip: u32,
    /// The first of the others that leads on.
    pub(crate) chosen: Option<Chosen>,
    /// A terminating delegation of the path leads to a role that was visited before: the search is over.
    pub(crate) closed: bool,
    /// Keyids of the chosen role whose keys were not gathered.
    pub(crate) wanted: Vec<KeyId, WANTED>,
    /// There were more keys than there is room for.
    pub(crate) overflow: bool,
    index: u32,
    pub(crate) role: RoleKeys,
    /// One of its paths is the one that is looked for.
    pub(crate) matched: bool,
    pub(crate) terminating: bool,
    /// TAP 15: the first so many bits of a path's digest, 1 to 32, number its bin.
    pub(crate) bits: u32,
    /// Length of the visited names before the role being read.
    names: usize,
}

impl DelegationsReader {
    /// Begins a pass over a file of which so many delegations are done with.
    pub(crate) fn restart(&mut self, skip: u32) {
        *self = DelegationsReader { skip, ..DelegationsReader::default() };
    }

    /// A role begins, of a list or the one that stands for all bins.
    pub(crate) fn begin(&mut self, place: Place) -> Place {
        let index = self.index;
        self.index = index.saturating_add(1);
        if index < self.skip || self.chosen.is_some() || self.closed {
            return Place::Skip;
        }
        place
    }

    /// The role's object was opened, after so many bytes of visited names.
    pub(crate) fn open(&mut self, place: Place, names: usize) {
        (self.role, self.matched, self.bits) = (RoleKeys::default(), false, 0);
        // Every bin but the one leads elsewhere, so there is nothing behind it.
        self.terminating = place == Place::Succinct;
        self.wanted.clear();
        self.names = names;
    }

    /// A keyid of the role.
    pub(crate) fn key_id(&mut self, keys: Keys<'_>, id: KeyId) -> Result<(), Fault> {
        match keys.bit(id) {
            Some(bit) => self.role.members |= bit,
            None if self.overflow => self.wanted.push(id).map_err(|_| Fault::Limit(Bound::Keys))?,
            // A keyid without a key signs nothing.
            None => {}
        }
        Ok(())
    }

    /// TAP 15: the role stands for bins whose names begin with this.
    pub(crate) fn bins(
        &mut self,
        names: &mut Pack<'_>,
        path_sha256: &[u8; 32],
        prefix: &[u8],
    ) -> Result<(), Fault> {
        let mut digits = [0; 8];
        let wrong = Fault::Field(Field::Delegations);
        let (number, bin) = bin(path_sha256, self.bits, &mut digits).ok_or(wrong)?;
        push_name(names, &[prefix, b"-", bin])?;
        // The other bins are passed over.
        self.index = number.saturating_add(1);
        self.matched = true;
        Ok(())
    }

    /// The role is over.
    pub(crate) fn close(&mut self, names: &mut Pack<'_>) -> Result<(), Fault> {
        let name = names.as_slice().get(self.names..).and_then(<[u8]>::split_first).map(|(_, name)| name);
        let name = name.ok_or(Fault::Field(Field::Delegations))?;
        // The names of top-level roles name their files.
        if name.is_empty() || Role::TOP.into_iter().any(|role| role.name().as_bytes() == name) {
            return Err(Fault::Field(Field::Delegations));
        }
        if self.role.threshold == 0 {
            return Err(Fault::Field(Field::Threshold));
        }
        // 5.6.7.1: a role is visited once.
        let visited =
            self::names(names.as_slice().get(..self.names).unwrap_or_default()).any(|other| other == name);
        if self.matched && !visited {
            let index = self.index.saturating_sub(1);
            self.chosen = Some(Chosen { index, by: self.role, terminating: self.terminating });
            return Ok(());
        }
        self.closed = self.matched && self.terminating;
        names.truncate(self.names);
        self.wanted.clear();
        Ok(())
    }
}

/// The names in a pack, each behind its length.
pub(crate) fn names(pack: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = pack;
    core::iter::from_fn(move || {
        let (&length, behind) = rest.split_first()?;
        let (name, behind) = behind.split_at_checked(usize::from(length))?;
        rest = behind;
        Some(name)
    })
}

/// Appends a name that consists of these parts.
pub(crate) fn push_name(names: &mut Pack<'_>, parts: &[&[u8]]) -> Result<(), Fault> {
    let length = parts.iter().fold(0_usize, |length, part| length.saturating_add(part.len()));
    let length = u8::try_from(length).map_err(|_| Fault::Limit(Bound::Text))?;
    let before = names.len();
    let pushed = names.push([&[length]]).is_some() && parts.iter().all(|part| names.push([part]).is_some());
    if !pushed {
        names.truncate(before);
        return Err(Fault::Limit(Bound::Names));
    }
    Ok(())
}

/// Whether a delegation's pattern covers a target path (specification, 4.5): `*` stands for any characters but `/`, and
/// `?` for one of them. For a host that shows what a role may speak of; a search asks the same function.
#[must_use]
pub fn path_matches(pattern: &str, path: &str) -> bool {
    matches(pattern.as_bytes(), path.as_bytes())
}

/// Whether a path matches a pattern in which `*` stands for any characters but `/`, and `?` for one of them
/// (specification, 4.5).
pub(crate) fn matches(pattern: &[u8], path: &[u8]) -> bool {
    let (mut pattern, mut path) = (pattern, path);
    // Where to go on if what follows the last `*` does not match: it then stands for one character more.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        match (pattern.split_first(), path.split_first()) {
            (None, None) => return true,
            (Some((b'*', behind)), _) => {
                retry = Some((behind, path));
                pattern = behind;
                continue;
            }
            (Some((wanted, behind)), Some((character, rest)))
                if wanted == character || (*wanted == b'?' && *character != b'/') =>
            {
                (pattern, path) = (behind, rest);
                continue;
            }
            _ => {}
        }
        match retry
            .and_then(|(behind, from)| from.split_first().map(|(character, rest)| (behind, character, rest)))
        {
            Some((behind, character, rest)) if *character != b'/' => {
                retry = Some((behind, rest));
                (pattern, path) = (behind, rest);
            }
            _ => return false,
        }
    }
}

/// Whether a digest, in hexadecimal, begins with this text.
pub(crate) fn has_prefix(digest: &[u8; 32], prefix: &[u8]) -> bool {
    let digits = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut digits = digits.map(|digit| b"0123456789abcdef".get(usize::from(digit)));
    prefix.iter().all(|digit| digits.next() == Some(Some(digit)))
}

/// TAP 15: the number of the bin is the first so many bits of the path's digest, in hexadecimal digits, as many as
/// the highest number has.
fn bin<'d>(digest: &[u8; 32], bits: u32, digits: &'d mut [u8; 8]) -> Option<(u32, &'d [u8])> {
    let first = u32::from_be_bytes(*digest.first_chunk()?);
    let number = first.checked_shr(32_u32.checked_sub(bits)?)?;
    let count = usize::try_from(bits.div_ceil(4)).ok()?;
    for (place, digit) in digits.iter_mut().rev().zip(0_u32..) {
        *place = *b"0123456789abcdef"
            .get(usize::try_from(number.checked_shr(digit.checked_mul(4)?)? & 15).ok()?)?;
    }
    Some((number, digits.get(8_usize.checked_sub(count)?..)?))
}
