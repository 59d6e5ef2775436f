//! What this device tried, so that an image which fails is not installed for ever.
//!
//! The ledger knows images by digest. An image that found itself unfit is passed over from then on. One that
//! merely used up its tries, or whose slot lost it, gets [`LIMIT`] trials, for from here a crash
//! cannot be told from a battery that was pulled; then one more after a day, after two more, after four, and so on to
//! [`FOR_GOOD`]. So power that fails again and again delays an honest image, and an image that crashes costs a few starts
//! and no flash. A release of a higher sequence clears the account, even if
//! it is of the same image: then somebody signed that it is worth another attempt.

use heapless::{Deque, Vec};
use tuffet_client::Ban;
use tuffet_client::wire::{Reader, Stored, Writer};

use crate::boot::{EndedTrial, TrialEnd};

/// Failed trials after which an image is passed over for a day. With three tries a trial that makes nine starts, more
/// than anybody loses power in a row.
pub const LIMIT: u8 = 3;

/// Failed trials after which an image is passed over without end: the last pause was of 64 days.
pub const FOR_GOOD: u8 = LIMIT + 7;

/// What stands in the place of a count for an image that found itself unfit.
const UNFIT: u8 = u8::MAX;

/// Images in the ledger: as many as a release entry may offer, so that none of them is forgotten, and tried again,
/// while the others fail. A device that failed more in a row forgets the oldest.
pub const ENTRIES: usize = tuffet_client::limits::CANDIDATES;

/// The failed trials of this device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    /// The number of the last trial that was entered.
    entered: u32,
    failures: Deque<Failure, ENTRIES>,
}

/// An image that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// SHA-256 of the image.
    pub digest: [u8; 32],
    /// The sequence of the release by which it came.
    pub sequence: u32,
    /// Failed trials, or 255 if it found itself unfit; [`LIMIT`] is enough.
    pub count: u8,
}

impl Ledger {
    /// Enters the end of a trial, once, however often it is called. Tells whether anything changed.
    pub fn enter(&mut self, ended: &EndedTrial) -> bool {
        let EndedTrial { number, digest, sequence, end } = *ended;
        if number == self.entered {
            return false;
        }
        self.entered = number;
        let before = self.failures.iter().find(|failure| failure.digest == digest).copied();
        // An account that a higher sequence cleared starts from nothing.
        let before = before.filter(|failure| failure.sequence >= sequence);
        let count = before.map_or(0, |failure| failure.count);
        let count = match end {
            TrialEnd::Confirmed => 0,
            TrialEnd::Withdrawn => count,
            TrialEnd::Reverted => UNFIT,
            TrialEnd::TriesSpent | TrialEnd::Damaged if count == UNFIT => UNFIT,
            TrialEnd::TriesSpent | TrialEnd::Damaged => count.saturating_add(1).min(FOR_GOOD),
        };
        let sequence = before.map_or(sequence, |failure| failure.sequence);
        self.replace(Failure { digest, sequence, count });
        true
    }

    /// The images that are passed over so many days after the last trial that failed.
    pub fn bans(&self, days: u32) -> impl Iterator<Item = Ban> {
        let enough = move |failure: &&Failure| match failure.count.checked_sub(LIMIT) {
            None => false,
            Some(more) => {
                failure.count >= FOR_GOOD || days < 1_u32.checked_shl(more.into()).unwrap_or(u32::MAX)
            }
        };
        let ban = |failure: &Failure| Ban { sha256: failure.digest, sequence: failure.sequence };
        self.failures.iter().filter(enough).map(ban)
    }

    /// Makes these the images that are passed over. Out of line, where the compiler knows the two apart, and does not
    /// take `memmove` for a copy: 1.6 KB of code that a device has no other use for.
    #[inline(never)]
    pub(crate) fn ban(&self, bans: &mut Vec<Ban, ENTRIES>, days: u32) {
        bans.clear();
        for ban in self.bans(days) {
            // There is room for as many as the ledger has.
            let _ = bans.push(ban);
        }
    }

    /// What there is against which images, oldest first.
    pub fn failures(&self) -> impl Iterator<Item = &Failure> {
        self.failures.iter()
    }

    fn replace(&mut self, failure: Failure) {
        // Once around: all others keep their order.
        for _ in 0..self.failures.len() {
            match self.failures.pop_front() {
                Some(other) if other.digest != failure.digest => _ = self.failures.push_back(other),
                _ => {}
            }
        }
        if failure.count == 0 {
            return;
        }
        if self.failures.is_full() {
            self.failures.pop_front();
        }
        // There is room now.
        let _ = self.failures.push_back(failure);
    }
}

impl Stored for Failure {
    fn write(&self, to: &mut Writer<'_>) {
        to.bytes(&self.digest);
        to.number(self.sequence);
        to.byte(self.count);
    }

    fn read(from: &mut Reader<'_>) -> Self {
        Self { digest: from.array(), sequence: from.number(), count: from.byte() }
    }
}

impl Stored for Ledger {
    fn write(&self, to: &mut Writer<'_>) {
        to.number(self.entered);
        to.length(self.failures.len());
        self.failures.iter().for_each(|failure| failure.write(to));
    }

    fn read(from: &mut Reader<'_>) -> Self {
        let mut ledger = Self::default();
        ledger.read_here(from);
        ledger
    }
}

impl Ledger {
    /// Reads what was stored in the place of this.
    pub(crate) fn read_here(&mut self, from: &mut Reader<'_>) {
        self.entered = from.number();
        self.failures.clear();
        for _ in 0..from.length(ENTRIES) {
            // There is room for so many.
            let _ = self.failures.push_back(Failure::read(from));
        }
    }

    /// Forgets all of it.
    pub(crate) fn clear(&mut self) {
        self.entered = 0;
        self.failures.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bans(ledger: &Ledger, digest: [u8; 32], sequence: u32) -> bool {
        ledger.bans(0).any(|ban| ban.sha256 == digest && sequence <= ban.sequence)
    }

    fn ended(number: u32, image: u8, sequence: u32, end: TrialEnd) -> EndedTrial {
        EndedTrial { number, digest: [image; 32], sequence, end }
    }

    #[test]
    fn image_that_found_itself_unfit_is_banned_until_a_higher_sequence() {
        let mut ledger = Ledger::default();
        assert!(ledger.enter(&ended(1, 7, 5, TrialEnd::Reverted)));
        assert!(bans(&ledger, [7; 32], 5) && bans(&ledger, [7; 32], 4));
        assert!(!bans(&ledger, [7; 32], 6), "a higher sequence clears it");
        assert!(!bans(&ledger, [8; 32], 5), "another image is another matter");
        // The same image under the higher sequence has a clean account.
        assert!(ledger.enter(&ended(2, 7, 6, TrialEnd::TriesSpent)));
        assert!(!bans(&ledger, [7; 32], 6));
        assert_eq!(ledger.failures().count(), 1);
    }

    #[test]
    fn image_that_spends_its_tries_is_banned_at_the_limit() {
        let mut ledger = Ledger::default();
        for number in 1..=u32::from(LIMIT) {
            assert!(!bans(&ledger, [7; 32], 5), "trial {number}");
            ledger.enter(&ended(number, 7, 5, TrialEnd::TriesSpent));
        }
        assert!(bans(&ledger, [7; 32], 5));
    }

    #[test]
    fn image_that_spends_its_tries_gets_another_trial_after_ever_longer_pauses() {
        let mut ledger = Ledger::default();
        let mut number = 0;
        let mut fail = |ledger: &mut Ledger, end| {
            number += 1;
            ledger.enter(&ended(number, 7, 5, end))
        };
        for _ in 1..LIMIT {
            fail(&mut ledger, TrialEnd::TriesSpent);
        }
        assert_eq!(ledger.bans(0).count(), 0);
        for doublings in 0..7 {
            fail(&mut ledger, TrialEnd::TriesSpent);
            assert_eq!(ledger.bans((1 << doublings) - 1).count(), 1, "{doublings}");
            assert_eq!(ledger.bans(1 << doublings).count(), 0, "{doublings}");
        }
        fail(&mut ledger, TrialEnd::Damaged);
        assert_eq!(ledger.bans(u32::MAX).count(), 1, "at last it is given up");
        // What found itself unfit has no second chance by waiting.
        let mut ledger = Ledger::default();
        fail(&mut ledger, TrialEnd::Reverted);
        assert_eq!(ledger.bans(u32::MAX).count(), 1);
        fail(&mut ledger, TrialEnd::TriesSpent);
        assert_eq!(ledger.bans(u32::MAX).count(), 1);
    }

    #[test]
    fn trial_entered_twice_counts_once() {
        let mut ledger = Ledger::default();
        assert!(ledger.enter(&ended(1, 7, 5, TrialEnd::TriesSpent)));
        for _ in 0..5 {
            assert!(!ledger.enter(&ended(1, 7, 5, TrialEnd::TriesSpent)));
        }
        assert_eq!(ledger.failures().next().map(|failure| failure.count), Some(1));
    }

    #[test]
    fn confirmed_trial_clears_the_account_and_a_withdrawn_one_leaves_it() {
        let mut ledger = Ledger::default();
        ledger.enter(&ended(1, 7, 5, TrialEnd::TriesSpent));
        ledger.enter(&ended(2, 7, 5, TrialEnd::Withdrawn));
        assert_eq!(ledger.failures().next().map(|failure| failure.count), Some(1));
        ledger.enter(&ended(3, 7, 5, TrialEnd::Confirmed));
        assert_eq!(ledger.failures().count(), 0);
        ledger.enter(&ended(4, 8, 6, TrialEnd::Withdrawn));
        assert_eq!(ledger.failures().count(), 0);
    }

    #[test]
    fn full_ledger_forgets_the_oldest() {
        let mut ledger = Ledger::default();
        for image in 1..=9 {
            ledger.enter(&ended(image.into(), image, 5, TrialEnd::Reverted));
        }
        let digests =
            |ledger: &Ledger| ledger.failures().map(|failure| failure.digest[0]).collect::<Vec<_>>();
        assert_eq!(digests(&ledger), [2, 3, 4, 5, 6, 7, 8, 9]);
        // An old acquaintance moves to the end and pushes nobody out.
        ledger.enter(&ended(10, 3, 5, TrialEnd::TriesSpent));
        assert_eq!(digests(&ledger), [2, 4, 5, 6, 7, 8, 9, 3]);
    }

    extern crate std;
    use std::vec::Vec;
}
