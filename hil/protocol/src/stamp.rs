//! The stamp: what a release's build fills in after linking, so that one build of a board's application serves all releases.
//!
//! It lies in the image on a multiple of 8 bytes, and is found by its magic:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 16 | magic, `TUFFET STAMP v1` and a zero |
//! | 16 | 32 | version, ASCII, zeros behind it |
//! | 48 | 4 | security counter |
//! | 52 | 4 | behaviour, see [`Behaviour`] |
//! | 56 | 8 | built, seconds since 1970 |
//! | 64 | 4 | length of the root |
//! | 68 | 4 | 0 |
//! | 72 | 6144 | root, a root file, zeros behind it |
//!
//! All integers are little-endian.

/// What a stamp begins with.
pub const MAGIC: [u8; 16] = *b"TUFFET STAMP v1\0";
/// Bytes of a version, at the most.
pub const VERSION_MAX: usize = 32;
/// Bytes of a root file, at the most.
pub const ROOT_MAX: usize = 6144;
/// Bytes of a stamp.
pub const LENGTH: usize = 72 + ROOT_MAX;

/// How an image behaves. For trials, which are to go wrong in each way there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Behaviour {
    /// As it should.
    Well = 0,
    /// It hangs right after its start.
    Hangs = 1,
    /// It crashes right after its start.
    Crashes = 2,
    /// It says that it is not fit for use.
    Unfit = 3,
    /// It looks for its server where there is none.
    Alone = 4,
}

impl Behaviour {
    /// That of a stamp with this number. An image that is stamped with none of them behaves.
    #[must_use]
    pub const fn of(number: u32) -> Self {
        match number {
            1 => Self::Hangs,
            2 => Self::Crashes,
            3 => Self::Unfit,
            4 => Self::Alone,
            _ => Self::Well,
        }
    }
}

/// What a release's build fills in.
#[derive(Clone, Copy, Debug)]
pub struct Stamp<'s> {
    /// The version.
    pub version: &'s str,
    /// The security counter.
    pub counter: u32,
    /// How the image behaves.
    pub behaviour: Behaviour,
    /// When it was built, in seconds since 1970.
    pub built: u64,
    /// The root file that it trusts.
    pub root: &'s [u8],
}

impl Stamp<'_> {
    /// Fills the stamp in that lies here. Nothing is written if version or root are too long for it.
    #[must_use]
    pub fn fill(&self, place: &mut [u8; LENGTH]) -> bool {
        let Self { version, counter, behaviour, built, root } = *self;
        let Some(length) = u32::try_from(root.len()).ok().filter(|_| root.len() <= ROOT_MAX) else {
            return false;
        };
        if version.len() > VERSION_MAX {
            return false;
        }
        let mut put =
            |offset: usize, bytes: &[u8]| place[offset..offset + bytes.len()].copy_from_slice(bytes);
        put(16, version.as_bytes());
        put(48, &counter.to_le_bytes());
        put(52, &(behaviour as u32).to_le_bytes());
        put(56, &built.to_le_bytes());
        put(64, &length.to_le_bytes());
        put(72, root);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn behaviour_is_known_by_its_number() {
        use Behaviour::{Alone, Crashes, Hangs, Unfit, Well};

        for behaviour in [Well, Hangs, Crashes, Unfit, Alone] {
            assert_eq!(Behaviour::of(behaviour as u32), behaviour);
        }
        assert_eq!(Behaviour::of(5), Well);
    }

    #[test]
    fn stamp_takes_what_there_is_room_for_and_nothing_else() {
        let stamp =
            Stamp { version: "1.0.0", counter: 7, behaviour: Behaviour::Unfit, built: 9, root: &[5; 3] };
        let mut place = [0; LENGTH];
        assert!(stamp.fill(&mut place));
        assert_eq!(
            (&place[16..22], &place[48..60]),
            (&b"1.0.0\0"[..], &[7, 0, 0, 0, 3, 0, 0, 0, 9, 0, 0, 0][..])
        );
        assert_eq!(place[64..76], [3, 0, 0, 0, 0, 0, 0, 0, 5, 5, 5, 0]);
        let before = place;
        assert!(!Stamp { root: &[6; ROOT_MAX + 1], ..stamp }.fill(&mut place));
        assert!(!Stamp { version: "a version that is longer than that", ..stamp }.fill(&mut place));
        assert!(Stamp { root: &[6; ROOT_MAX], ..stamp }.fill(&mut place.clone()) && place == before);
    }
}
