//! The one TUF verifier of Tuffet: it runs in a microcontroller, in the Linux agent and in the repository
//! tool's own checks, and is the same code in each.
//!
//! It is `no_std`, allocates nothing, does no I/O and reads no clock. [`Refresh`] is a machine that says what
//! it wants, is fed bytes in chunks of any size, and ends in [`Want::Install`] or [`Want::UpToDate`]:
//!
//! ```
//! use tuffet_client::limits::DEVICE;
//! use tuffet_client::{Clock, Device, Entry, Error, Goal, Plan, Refresh, SOFTWARE, Trusted, Want};
//!
//! /// `fetch` returns a file of the repository, `None` if there is no such file.
//! fn cycle(
//!     trusted: &mut Trusted,
//!     device: Device<'_>,
//!     now: u64,
//!     fetch: impl Fn(&str) -> Option<Vec<u8>>,
//! ) -> Result<Option<String>, Error> {
//!     let mut memory = [0; DEVICE.memory()];
//!     let plan = Plan {
//!         crypto: &SOFTWARE,
//!         limits: &DEVICE,
//!         goal: Goal::Release(device),
//!         entry: Entry::Refresh,
//!         clock: Clock::At(now),
//!         kept: None,
//!     };
//!     let mut refresh = Refresh::new(plan, trusted, &mut memory)?;
//!     loop {
//!         match refresh.want() {
//!             Want::Fetch { file, .. } | Want::Again { file, .. } => match fetch(&file.to_string()) {
//!                 Some(bytes) => {
//!                     refresh.feed(&bytes)?;
//!                     refresh.end()?;
//!                 }
//!                 None => refresh.missing()?,
//!             },
//!             // Store `refresh.trusted().root()` or `.floors()` here.
//!             Want::Persist(_) => refresh.persisted(),
//!             Want::Install(release) => return Ok(Some(release.version.to_string())),
//!             Want::UpToDate(_) | Want::Halted(_) => return Ok(None),
//!             Want::Found(_) => unreachable!("no target was asked for"),
//!             Want::Over(why) => return Err(why.into()),
//!         }
//!     }
//! }
//! ```
//!
//! How the parts know each other, each only those below it:
//!
//! | module | knows |
//! |---|---|
//! | `workflow` | the order of files |
//! | `delegation` | the order of targets roles |
//! | `trusted` | the rules of the specification's client workflow |
//! | `threshold` | how signatures are counted |
//! | `role` | what a root, timestamp, snapshot or targets file says |
//! | `scan` | JSON, its canonical form, and its digest |

#![no_std]
#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation
    )
)]

mod crypto;
mod delegation;
mod der;
mod ecdsa;
mod error;
mod file;
mod hash;
mod key;
pub mod limits;
mod name;
mod plan;
pub mod release;
mod role;
mod scan;
mod threshold;
pub mod time;
mod trusted;
pub mod wire;
mod workflow;

#[cfg(feature = "host")]
pub use crypto::HOST;
pub use crypto::{Crypto, MessageCrypto, P256, SOFTWARE};
pub use error::{Bound, Environment, Error, Field, Misuse, Rejected};
pub use key::Algorithm;
pub use limits::Limits;
pub use name::FileName;
pub use plan::{Entry, Goal, Plan};
pub use release::{Ban, Candidate, Device};
pub use role::Role;
pub use role::delegations::path_matches;
pub use role::kept::{Kept, KeptSnapshot};
pub use role::root::Root;
pub use role::targets::Target;
pub use time::Clock;
pub use trusted::{Change, DelegatedKey, Floors, Trusted, accepts_delegated_file, accepts_delegations};
pub use workflow::{Age, Ended, Refresh, Want};
