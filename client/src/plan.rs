//! What a cycle is to do, and with what.

use core::fmt;

use crate::crypto::Crypto;
use crate::limits::Limits;
use crate::release::Device;
use crate::role::kept::KeptSnapshot;
use crate::time::Clock;

/// What a cycle is for.
#[derive(Clone, Copy, Debug)]
pub enum Goal<'a> {
    /// The release that this device is to install, if there is one.
    Release(Device<'a>),
    /// The target at this path.
    Target(&'a str),
    /// The top-level metadata.
    Metadata,
}

/// Where a cycle begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Entry {
    /// With the next root, as the specification has it (5.3).
    Refresh,
    /// With the timestamp. Is it the trusted one, and nothing left to do under it, the cycle ends; on any
    /// difference it goes on as `Refresh`. Whoever publishes a root publishes a timestamp, so that it is heard of.
    Poll,
    /// As `Refresh`, over files that came together by other ways than a network, long ago perhaps. Timestamp and
    /// snapshot may have expired. All else holds: roots, targets, and all floors.
    Offline,
}

/// What a cycle needs to know.
pub struct Plan<'a> {
    /// Verifies signatures.
    pub crypto: &'a Crypto,
    /// The bounds of the device, by which `memory` is divided.
    pub limits: &'a Limits,
    /// What for.
    pub goal: Goal<'a>,
    /// Where it begins.
    pub entry: Entry,
    /// What is known of the time. It is frozen here (5.1).
    pub clock: Clock,
    /// The trusted snapshot, where its bytes were kept. With it no role at all may be dropped or rolled back; without,
    /// only those that the device came upon.
    pub kept: Option<&'a mut dyn KeptSnapshot>,
}

impl fmt::Debug for Plan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Plan { limits, goal, entry, clock, .. } = self;
        f.debug_struct("Plan")
            .field("limits", limits)
            .field("goal", goal)
            .field("entry", entry)
            .field("clock", clock)
            .finish_non_exhaustive()
    }
}

impl<'a> Goal<'a> {
    pub(crate) fn device(&self) -> Option<&Device<'a>> {
        match self {
            Goal::Release(device) => Some(device),
            Goal::Target(_) | Goal::Metadata => None,
        }
    }

    pub(crate) fn named(&self) -> &'a str {
        match self {
            Goal::Target(path) => path,
            Goal::Release(_) | Goal::Metadata => "",
        }
    }

    pub(crate) fn facts(&self) -> [u8; 16] {
        self.device().map(Device::facts).unwrap_or_default()
    }
}
