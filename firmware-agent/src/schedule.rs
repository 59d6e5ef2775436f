//! When to ask again, and how much a day may cost. Numbers in, numbers out: nothing here reads a clock.

use sha2::{Digest, Sha256};

/// Seconds of a day.
pub(crate) const DAY: u32 = 24 * 60 * 60;

/// How often a slot is erased on one day. A server that serves rubbish, or a line that breaks again and again, wears
/// a flash by this much and no more.
pub const ERASES_A_DAY: u8 = 8;

/// Failures in a row that are counted; the pause has grown to a day long before.
const FAILURES: u8 = 32;

/// Seconds until the product is asked once more for what it did not allow.
pub(crate) const ASK_AGAIN: u32 = 60;

/// Seconds until it is asked for its health once more.
pub(crate) const HEALTH_AGAIN: u32 = 5;

/// How patient an agent is, and how much it may fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Seconds from one look at the repository to the next. Each device stretches or shortens it by up to an eighth, by its
    /// id, so that a fleet does not ask in one moment.
    pub every: u32,
    /// Seconds after the first failure. They double with each further one in a row, to a day at the most, and each device
    /// waits for half of that and a share of the other half.
    pub retry: u32,
    /// Bytes of files that may come on a day; what is left of an image comes on the next one. There are two erase units
    /// and 8 KiB a day at the least. Bytes are counted before they come, so that a restart may cost as many as came before
    /// it, and 1 KiB at the least. `u32::MAX` is no bound, and counts nothing.
    pub bytes_a_day: u32,
}

impl Default for Settings {
    /// Once an hour, a minute after the first failure, and as many bytes as it takes.
    fn default() -> Self {
        Self { every: 60 * 60, retry: 60, bytes_a_day: u32::MAX }
    }
}

impl Settings {
    /// Seconds until the next look, when all is well.
    pub fn pause(&self, id: &[u8]) -> u32 {
        let shortest = self.every.saturating_sub(self.every >> 3);
        shortest.saturating_add(share(self.every >> 2, id, 0))
    }

    /// Seconds until the next look after so many failures in a row.
    pub fn pause_after(&self, failures: u8, id: &[u8]) -> u32 {
        let doublings = u32::from(failures.saturating_sub(1).min(FAILURES));
        let longest = 1_u64.checked_shl(doublings).unwrap_or(u64::MAX).saturating_mul(self.retry.into());
        let longest = u32::try_from(longest).unwrap_or(DAY).min(DAY);
        let half = longest >> 1;
        half.saturating_add(share(longest.saturating_sub(half), id, failures))
    }
}

/// One failure more.
pub(crate) fn one_more(failures: u8) -> u8 {
    failures.saturating_add(1).min(FAILURES)
}

/// A device's own share of so many seconds: the same each time, and another one for each device and number.
fn share(seconds: u32, id: &[u8], number: u8) -> u32 {
    let digest: [u8; 32] = Sha256::new().chain_update([number]).chain_update(id).finalize().into();
    let [b0, b1, b2, b3, ..] = digest;
    let chosen = u64::from(u32::from_be_bytes([b0, b1, b2, b3]));
    u32::try_from(chosen.saturating_mul(seconds.into()) >> 32).unwrap_or(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_grows_to_a_day_and_differs_between_devices() {
        let settings = Settings::default();
        let pauses: [u32; 40] =
            core::array::from_fn(|failures| settings.pause_after(failures as u8, b"lamp-1"));
        for (failures, pause) in pauses.into_iter().enumerate().skip(1) {
            let longest = (60_u64 << (failures - 1).min(20)).min(DAY.into()) as u32;
            assert!(longest / 2 <= pause && pause <= longest, "{failures}: {pause} of {longest}");
        }
        assert!(pauses[39] > DAY / 2);
        let of = |id: &[u8]| (settings.pause_after(3, id), settings.pause(id));
        assert_ne!(of(b"lamp-1"), of(b"lamp-2"));
        assert_eq!(of(b"lamp-1"), of(b"lamp-1"));
    }

    #[test]
    fn pause_when_all_is_well_is_within_an_eighth() {
        let mut sum = 0_u64;
        for number in 0..1000_u32 {
            let pause = Settings::default().pause(&number.to_le_bytes());
            assert!((3150..=4050).contains(&pause), "{pause}");
            sum += u64::from(pause);
        }
        assert!((3550..3650).contains(&(sum / 1000)), "{}", sum / 1000);
    }
}
