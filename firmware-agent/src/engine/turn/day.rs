//! What day it is, and what may come of files on one.

use embedded_storage::nor_flash::NorFlash;
use tuffet_client::{Clock, Trusted};

use super::Turn;
use crate::engine::Source;
use crate::error::Error;
use crate::factory::Factory;
use crate::handover::Handover;
use crate::product::Now;
use crate::progress::LAST_DAY;
use crate::schedule::DAY;
use crate::trust_store::TrustLost;

/// Bytes of metadata that may come on every day, however few its settings allow.
const LEAST: u32 = 8 * 1024;

/// Bytes that are claimed at once, at the least. Half of them are to be there before anything is asked for.
const CLAIM: u32 = 1024;

impl<F: NorFlash, H: Handover<F>> Turn<'_, F, H> {
    /// Another day has other bounds. A clock that goes back gives nothing back.
    pub(super) fn begin_day(&mut self) {
        let day = today(self.refresh.trusted(), self.factory, self.now);
        if day > self.progress.day {
            (self.progress.spent, self.progress.erased, self.after.claimed) = (0, 0, 0);
        }
        self.progress.day = day;
    }

    /// Bytes that may still come today.
    pub(super) fn left(&self) -> u32 {
        if !self.is_bounded() {
            return u32::MAX;
        }
        let spent = self.progress.spent.saturating_sub(self.after.claimed);
        // What came of an erase unit that is not full is fetched once more: with less than this an image would never be whole.
        let least = self.flash.map().layout().erase_unit.saturating_mul(2).saturating_add(LEAST);
        self.settings.bytes_a_day.max(least).saturating_sub(spent)
    }

    fn is_bounded(&self) -> bool {
        self.source == Source::Repository && self.settings.bytes_a_day < u32::MAX
    }

    /// Counts bytes that came, and sees to it that some of those to come are counted already: claimed in the record, in which
    /// no restart gives them back. A claim is twice the one before it since the start, so that a restart costs no more than came
    /// before it, or the least; and a sixteenth of a day at the most.
    pub(super) fn spend(&mut self, bytes: u32) -> Result<(), Error> {
        if !self.is_bounded() {
            return Ok(());
        }
        let over = bytes.saturating_sub(self.after.claimed);
        self.after.claimed = self.after.claimed.saturating_sub(bytes);
        // The next chunk may be as long as this one.
        if self.after.claimed > bytes.max(CLAIM >> 1) {
            return Ok(());
        }
        let claim = self.after.claim.saturating_mul(2).min(self.settings.bytes_a_day >> 4).max(CLAIM);
        self.after.claim = claim;
        self.after.claimed = self.after.claimed.saturating_add(claim);
        self.progress.spent = self.progress.spent.saturating_add(over).saturating_add(claim);
        self.note()
    }

    /// Not while the floors are lost: what is written there erases, in time, and they may read again.
    pub(super) fn note(&mut self) -> Result<(), Error> {
        if TrustLost::has_floors(*self.lost) {
            return Ok(());
        }
        self.progress.store(self.flash)
    }
}

/// It is later than the image was built, whatever the clock says.
pub(super) fn not_before(factory: &Factory<'_>, clock: Clock) -> Clock {
    Clock::At(match clock {
        Clock::At(now) => now.max(factory.built),
        Clock::Unknown => factory.built,
    })
}

/// Days since 1970. Without a clock it is the day of the newest date that was signed, and then some.
pub(super) fn today(trusted: &Trusted<[u8]>, factory: &Factory<'_>, now: Now) -> u32 {
    let start = trusted.start_time(not_before(factory, now.clock));
    let since = if now.clock == Clock::Unknown { now.uptime } else { 0 };
    // In two steps, for devices that divide 64 bits by 900 bytes of code.
    let shifts = DAY.trailing_zeros();
    let start = start.saturating_add(since.into()).checked_shr(shifts).unwrap_or(0);
    let day = DAY.checked_shr(shifts).unwrap_or(DAY);
    u32::try_from(start).unwrap_or(u32::MAX).checked_div(day).unwrap_or(0).min(LAST_DAY)
}
