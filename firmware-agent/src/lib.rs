//! The device around [`tuffet_client`]: trust store, slots, boot hand-over, transport.
//!
//! The client decides what may be installed; this crate puts it on flash so that no power cut,
//! no torn write and no server can leave a device with nothing to start. It is `no_std`, has no
//! allocator and never panics; every function works on any [`embedded_storage::nor_flash::NorFlash`].
//!
//! From the bottom up:
//!
//! * [`flash_map`] says where everything lies, and is checked once.
//! * [`flash`] joins a map with a flash; nothing else in the crate touches a flash directly.
//! * [`journal`] keeps small records safe from power cuts: the boot record in one, and in another the trusted root, floors
//!   and what is under way.
//! * [`boot`] holds the boot record and [`boot::decide_boot`], which a bootloader links too.
//! * [`slot`] writes an image into the slot that is not active.
//! * [`trust_store`] keeps root, floors and security counter; [`ledger`] what was tried and failed;
//!   [`factory`] what a device is born with.
//! * [`mcuboot`] reads images that are made for MCUboot.
//! * [`handover`] has a bootloader try an image, and learns what became of it: one that calls [`boot::decide_boot`],
//!   MCUboot, or embassy-boot with the feature of that name.
//! * [`transport`] is how files come, [`bundle`] how they come in one file from a stick or over a line.
//! * [`product`] is what the agent asks of the product around it, [`event`] what it tells, and [`schedule`] when it asks its repository.
//! * [`report`] is what a device says of itself.
//! * [`engine`] puts all of it together, without I/O of its own; [`agent`] drives it for who may wait.
//!
//! With the feature `std` there are also a flash in a file, `file_flash`, HTTP, `http`, and a
//! factory's facts in a file, `factory_file`, for hosts.
#![no_std]
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

#[cfg(feature = "std")]
extern crate std;

pub mod agent;
pub mod boot;
pub mod bundle;
pub mod engine;
mod error;
pub mod event;
pub mod factory;
#[cfg(feature = "std")]
pub mod factory_file;
#[cfg(feature = "std")]
pub mod file_flash;
pub mod flash;
pub mod flash_map;
pub mod handover;
#[cfg(feature = "std")]
pub mod http;
pub mod journal;
pub mod ledger;
pub mod mcuboot;
pub mod product;
pub mod progress;
pub mod report;
pub mod schedule;
pub mod slot;
pub mod transport;
pub mod trust_store;

pub use agent::{Agent, Checked, Started};
pub use boot::{BootRecord, SlotImage};
pub use bundle::Bundle;
pub use error::{Environment, Error, FlashOperation, Misuse, Rejected};
pub use event::Event;
pub use factory::{Factory, FactoryImage, provision, provision_trust};
pub use flash::Flash;
pub use flash_map::{FlashMap, SlotId};
pub use handover::{Handover, Standing};
pub use product::Product;
pub use report::Report;
pub use slot::SlotWriter;
pub use transport::{Request, Transport, TransportFault};
pub use trust_store::{Trust, TrustLost};
