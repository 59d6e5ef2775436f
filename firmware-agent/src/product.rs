//! What an agent asks of the product around it, and what it tells.

use tuffet_client::Clock;

use crate::boot::SlotImage;
use crate::event::Event;

/// What only the product knows. Left as they are, the answers let everything happen as soon as it can.
pub trait Product {
    /// What is known of the time. Asked at the beginning of a turn, and once more when an image is about to be authorised.
    fn now(&mut self) -> Now;

    /// Whether this may happen now. A product that says no is asked again, a minute later or at the next turn.
    fn may(&mut self, _what: Ask<'_>) -> bool {
        true
    }

    /// Whether the image on trial, which is the one that runs, does what it is there for. On top of it comes the agent's
    /// own check: the image must reach its repository and see a timestamp that verifies.
    fn health(&mut self, image: &SlotImage) -> Health;

    /// What the agent does, as it does it: for a log, a progress bar, a lamp.
    fn observe(&mut self, _event: Event<'_>) {}
}

/// What is known of the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// The time.
    pub clock: Clock,
    /// Seconds since the device started.
    pub uptime: u32,
}

impl From<Clock> for Now {
    /// A moment right after the start.
    fn from(clock: Clock) -> Self {
        Self { clock, uptime: 0 }
    }
}

/// What a product is asked to allow.
#[derive(Clone, Copy, Debug)]
pub enum Ask<'a> {
    /// A look at the repository. The one timestamp by which an image on trial proves that it reaches it is not asked for.
    Check,
    /// An image that is to come. Its slot is erased then.
    Download(&'a SlotImage),
    /// An image that is in its slot, and verified: is it to be tried at the next start? Here belong maintenance windows and
    /// consent.
    Install(&'a SlotImage),
    /// A restart, now, to try this image; or to be rid of it.
    Restart(&'a SlotImage),
}

/// How an image does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// All is well.
    Good,
    /// It is not fit for use. The image before it comes back.
    Bad,
    /// It is too early to say.
    Unknown,
}
