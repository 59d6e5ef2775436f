//! Hand-over to MCUboot, by the trailers of the two slots.

use embedded_storage::nor_flash::NorFlash;

use super::swap::{Swaps, handover};
use crate::boot::SlotImage;
use crate::error::{Environment, Error};
use crate::flash::Flash;
use crate::flash_map::{Region, SlotId};
use crate::mcuboot::{Mark, State, Swap, Trailer};

/// MCUboot that swaps, by whichever of its ways, or overwrites. Slot A is its primary slot, slot B its secondary one.
///
/// One that overwrites keeps no image to go back to. There is no trial then: an image that runs is the active one, and
/// [`standing`](super::Handover::standing) says so as soon as it does. The same holds after a cut in the one write
/// with which MCUboot says that it has swapped, for it goes back from nothing that it does not say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mcuboot {
    /// It was built with `MCUBOOT_SWAP_USING_OFFSET`, and looks for an image behind the secondary slot's first erase unit.
    pub using_offset: bool,
    /// Bytes at the end of a slot that are not for images: its trailer, and the erase unit by which it moves images if it
    /// swaps using move. The last erase unit is none of an image's in any case.
    pub reserved: u32,
}

handover!(Mcuboot, header last: true);

impl<F: NorFlash> Swaps<F> for Mcuboot {
    fn source(&self, flash: &Flash<F>) -> Region {
        let unit = flash.map().layout().erase_unit;
        let slot = flash.map().slot(SlotId::B);
        let before = if self.using_offset { unit } else { 0 };
        let behind = self.reserved.max(unit).checked_next_multiple_of(unit).unwrap_or(slot.length);
        // What a slot has no room for cannot run either.
        let shorter = slot.length.saturating_sub(before).min(flash.map().slot(SlotId::A).length);
        let offset = slot.offset.saturating_add(before);
        Region { offset, length: shorter.saturating_sub(behind) }
    }

    fn refuge(&self, flash: &Flash<F>) -> Region {
        flash.map().slot(SlotId::B)
    }

    fn is_idle(&self, flash: &mut Flash<F>) -> Result<bool, Error> {
        let [primary, secondary] = states(flash);
        // That a torn magic in the secondary slot keeps it from going back does not make the image confirmed.
        Ok(primary.next(&secondary) == Swap::None && !is_trial(&primary))
    }

    fn ask(&self, flash: &mut Flash<F>, image: &SlotImage) -> Result<(), Error> {
        let before = self.source(flash).offset.saturating_sub(flash.map().slot(SlotId::B).offset);
        Trailer::of(flash, SlotId::B).request_test(flash, before.saturating_add(image.length))
    }

    fn confirm(&self, flash: &mut Flash<F>, running: &SlotImage) -> Result<(), Error> {
        let [primary, secondary] = [SlotId::A, SlotId::B].map(|slot| Trailer::of(flash, slot));
        withdraw(secondary, flash)?;
        let state = primary.read(flash);
        // A flag that a cut left half-way reads as set, as unset or as neither, each time anew. So none is believed that was
        // not written here. A slot without a trailer is as good to MCUboot as a confirmed one.
        let done = state.magic == Mark::Unset || is_trial(&state) && primary.set_image_ok(flash).is_ok();
        if !done && running.length <= primary.room(flash) {
            primary.clear(flash)?;
        }
        self.expect_idle(flash)
    }

    fn calm(&self, flash: &mut Flash<F>, running: &SlotImage) -> Result<(), Error> {
        withdraw(Trailer::of(flash, SlotId::B), flash)?;
        match is_trial(&Trailer::of(flash, SlotId::A).read(flash)) {
            true => self.confirm(flash, running),
            false => self.expect_idle(flash),
        }
    }

    fn clear_the_way_back(&self, flash: &mut Flash<F>) -> Result<(), Error> {
        let secondary = Trailer::of(flash, SlotId::B);
        if secondary.read(flash).magic == Mark::Bad {
            // A cut while it prepared to go back: it needs one that is whole, or none.
            secondary.clear(flash)?;
        }
        Ok(())
    }
}

impl Mcuboot {
    fn expect_idle<F: NorFlash>(&self, flash: &mut Flash<F>) -> Result<(), Error> {
        match self.is_idle(flash)? {
            true => Ok(()),
            false => Err(Environment::Trailer { slot: SlotId::A }.into()),
        }
    }
}

/// Takes a request back.
fn withdraw<F: NorFlash>(secondary: Trailer, flash: &mut Flash<F>) -> Result<(), Error> {
    match secondary.read(flash).magic {
        Mark::Unset => Ok(()),
        Mark::Set | Mark::Bad => secondary.clear(flash),
    }
}

fn states<F: NorFlash>(flash: &mut Flash<F>) -> [State; 2] {
    [SlotId::A, SlotId::B].map(|slot| Trailer::of(flash, slot).read(flash))
}

/// What a primary slot's trailer says of an image that MCUboot takes back at the next start.
fn is_trial(State { magic, image_ok, copy_done, .. }: &State) -> bool {
    matches!((magic, image_ok, copy_done), (Mark::Set, Mark::Unset, Mark::Set))
}
