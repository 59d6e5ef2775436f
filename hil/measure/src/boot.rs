//! A bootloader: it decides what starts, and says so.

use tuffet_agent::boot::Reason;
use tuffet_agent::{Flash, FlashMap};

use crate::board::{File, paint, say};
use crate::nor::{BYTES, MAP, Ram, keep, load, time_outside};

/// The agent's calls, each out of line: what is inlined into them is the agent's.
mod calls {
    use tuffet_agent::boot::{Decision, decide_boot};
    use tuffet_agent::{Error, Flash};

    use crate::nor::Ram;

    #[inline(never)]
    pub(super) fn decide(flash: &mut Flash<Ram<'_>>) -> Result<Decision, Error> {
        decide_boot(flash)
    }
}

/// Decides over the flash that the host keeps, and tells the image that starts which one it is.
pub(crate) fn run() -> bool {
    let mut bytes = [0; BYTES];
    decided(&mut bytes).unwrap_or(false) && keep(&bytes)
}

#[inline(never)]
fn decided(bytes: &mut [u8; BYTES]) -> Option<bool> {
    if !load(bytes) {
        return None;
    }
    let map: FlashMap = core::hint::black_box(MAP);
    let mut flash = Flash::new(Ram(bytes), map).ok()?;
    let stack = paint();
    let (decision, spent) = time_outside(|| calls::decide(&mut flash));
    let used = stack.used();
    let decision = decision.ok()?;
    let (reason, tries) = match decision.reason {
        Reason::Active => (1, 0),
        Reason::Trial { tries_left } => (2, tries_left),
        _ => (3, 0),
    };
    let recorded = u32::from(decision.unrecorded.is_none());
    say(
        "start",
        &[reason, tries.into(), recorded, decision.start.sequence, decision.start.length, spent, used],
    );
    File::create(b"running\0").map(|mut file| file.write(&decision.start.digest))
}
