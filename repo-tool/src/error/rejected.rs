//! What is refused.

use core::fmt;
use std::path::PathBuf;

use tuffet_agent::mcuboot::Fault;
use tuffet_keys::Role;
use tuffet_keys::error::short;

/// What was offered is bad, or not enough was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// `tuffet.toml` does not say what it should.
    Config {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// Column in characters, counted from 1.
        column: usize,
        /// What is wrong there.
        message: String,
    },
    /// The image does not fit the slot of its hardware.
    ImageTooLarge {
        /// The image file.
        image: PathBuf,
        /// Bytes that it has.
        length: u64,
        /// The hardware id.
        hardware: String,
        /// Bytes that the slot has.
        slot_size: u32,
    },
    /// The image file is empty.
    ImageEmpty {
        /// The image file.
        image: PathBuf,
    },
    /// The image file changed while it was read.
    ImageChanged {
        /// The image file.
        image: PathBuf,
    },
    /// The policy does not know this hardware id.
    UnknownHardware {
        /// The id that was asked for.
        hardware: String,
        /// The ids that `tuffet.toml` has.
        known: Vec<String>,
    },
    /// The version is taken by other bytes.
    VersionTaken {
        /// The version.
        version: String,
        /// The target path that has it.
        path: String,
    },
    /// The version is in this channel already, under other terms.
    VersionReleased {
        /// The version.
        version: String,
        /// The channel.
        channel: String,
        /// Its sequence there.
        sequence: u32,
    },
    /// The security counter would drop below that of a release before.
    CounterDrops {
        /// The version.
        version: String,
        /// The counter that was asked for.
        offered: u32,
        /// The highest that the channel has.
        newest: u32,
    },
    /// The candidate could not be installed by any device.
    MinimumTooHigh {
        /// The lowest installed sequence that was asked for.
        minimum: u32,
        /// The sequence that the release gets.
        sequence: u32,
    },
    /// A file that never changes once it is published is there with other bytes.
    ImmutableDiffers {
        /// The file.
        path: PathBuf,
    },
    /// A file of the workspace is not what the file that names it says.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The staged targets request is older than what is published.
    StaleRequest {
        /// The request.
        path: PathBuf,
        /// The version that it asks to sign.
        staged: u32,
        /// The version that is published.
        published: u32,
    },
    /// The targets request does not ask the keys of the newest root.
    RequestOfOldRoot {
        /// The request.
        path: PathBuf,
        /// The newest root that the request knows.
        request: u32,
        /// The newest root.
        newest: u32,
    },
    /// Too few keys of a role that is signed online.
    OnlineKeys {
        /// The role.
        role: Role,
        /// Distinct keys of the role that were given.
        given: u32,
        /// Distinct keys that the root demands.
        threshold: u32,
    },
    /// A key that the newest root does not name for the role.
    ForeignKey {
        /// The role.
        role: Role,
        /// The key's keyid.
        keyid: String,
        /// The newest root.
        root: u32,
    },
    /// Targets metadata name a file by a path that no repository can have.
    TargetPath {
        /// The path as written.
        path: String,
    },
    /// A target's file is not there.
    TargetMissing {
        /// The file.
        path: PathBuf,
    },
    /// A target's file has not the length and digest that the metadata state.
    TargetDiffers {
        /// The file.
        path: PathBuf,
    },
    /// The published targets are not signed by the keys of the newest root, and no new ones are staged.
    TargetsOfOldRoot {
        /// The newest root.
        newest: u32,
    },
    /// Something in the demo came out otherwise than it must.
    Demo {
        /// What.
        what: String,
    },
    /// No flash map of that name is built in.
    UnknownFlashMap {
        /// The name.
        name: String,
        /// The names that there are.
        known: &'static str,
    },
    /// An image that `tuffet.toml` allows might not fit the slots of the flash map.
    SlotSize {
        /// The hardware id.
        hardware: String,
        /// Bytes that `tuffet.toml` says.
        slot_size: u32,
        /// Bytes of the flash map's slots.
        slot: u32,
    },
    /// The directory holds the facts of another device.
    OtherFacts {
        /// The file with the facts.
        path: PathBuf,
        /// The first member that differs.
        member: &'static str,
    },
    /// A file that should hold a device's facts does not.
    FactoryFile {
        /// The file.
        path: PathBuf,
        /// Why not, as a sentence about the file.
        why: String,
    },
    /// The image was released with another security counter than the facts that it holds.
    CounterDiffers {
        /// The counter of the facts.
        given: u32,
        /// The counter of the release.
        released: u32,
    },
    /// Metadata of an offline role with a date of issue that has not come yet.
    FromTheFuture {
        /// Role and version.
        what: String,
        /// When it was issued, as it says.
        issued: String,
        /// What the clock says.
        now: String,
    },
    /// Another root 1 than the one that the workspace was made around.
    OtherRepository {
        /// The file.
        path: PathBuf,
        /// SHA-256 of its signed bytes.
        found: String,
        /// The same of the workspace's root 1.
        pinned: String,
    },
    /// Too few holders have signed the staged targets.
    Unsigned {
        /// The request.
        path: PathBuf,
        /// Role and version.
        what: Box<str>,
        /// Who names the keys that are counted, as "root 2".
        by: Box<str>,
        /// Distinct keys that must sign.
        threshold: u32,
        /// Keyids that have.
        signed: Vec<String>,
        /// Keyids that have not.
        missing: Vec<String>,
    },
    /// The policy does not know this product.
    UnknownProduct {
        /// The name that was asked for.
        product: String,
        /// The names that `tuffet.toml` has.
        known: Vec<String>,
    },
    /// The policy does not know this channel.
    UnknownChannel {
        /// The name that was asked for.
        channel: String,
        /// The names that `tuffet.toml` has.
        known: Vec<String>,
    },
    /// A timestamp or snapshot that the repository's keys did not sign.
    Unproven {
        /// The file.
        path: PathBuf,
        /// What a device says of it.
        why: String,
    },
    /// No signed metadata say who signs a role as the policy wants it.
    NotDelegated {
        /// The role.
        role: Role,
        /// The role whose metadata should say it.
        by: Role,
        /// The request that would, and lacks signatures.
        waits: Option<PathBuf>,
    },
    /// The request asks other keys than those that the metadata above it name.
    RequestOfOldKeys {
        /// The request.
        path: PathBuf,
        /// The role that it is for.
        role: Role,
        /// The role that names the keys.
        by: String,
    },
    /// The channel does not list such a release.
    NoRelease {
        /// The channel.
        channel: String,
        /// The version, if one was asked for.
        version: Option<String>,
        /// The versions that it lists.
        known: Vec<String>,
    },
    /// A channel would be left without any release.
    LastRelease {
        /// The version.
        version: String,
        /// The channel.
        channel: String,
    },
    /// A release that devices of the channel would not take for an update.
    NotNewer {
        /// The version.
        version: String,
        /// Its sequence.
        sequence: u32,
        /// The highest that the channel ever had.
        newest: u32,
        /// The channel.
        channel: String,
    },
    /// An image whose halt should be lifted is not halted.
    NotHalted {
        /// Its digest.
        digest: String,
        /// The digests that are.
        halted: Vec<String>,
    },
    /// More images would be halted than a timestamp may halt.
    TooManyHalts {
        /// As many as there may be.
        most: usize,
    },
    /// An image file begins as one of MCUboot's does, and is none.
    ImageDamaged {
        /// The image file.
        image: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The image says one thing of itself, and the command another.
    ImageSays {
        /// The image file.
        image: PathBuf,
        /// What it is about: "version".
        what: &'static str,
        /// What the image says.
        says: String,
        /// What was given.
        given: String,
    },
    /// A file should be a bundle, and is none or is damaged.
    Bundle {
        /// The file.
        path: PathBuf,
        /// What a device says to it.
        why: tuffet_agent::Error,
    },
    /// No image in a bundle is one that its metadata release.
    NothingInBundle {
        /// The file.
        path: PathBuf,
    },
    /// More than a bundle can hold.
    BundleTooLarge {
        /// What is too much, with the most that there may be.
        what: &'static str,
    },
    /// No device installs the release.
    NotInstalled {
        /// The channel, `PRODUCT/HARDWARE/CHANNEL`.
        channel: String,
        /// The version.
        version: String,
        /// Why not, and what to do next.
        why: &'static str,
    },
    /// A root to begin with that is not published, or comes before the one that devices have.
    NoSuchRoot {
        /// Its version.
        version: u32,
        /// The first and the last that there are.
        known: (u32, u32),
    },
    /// The policy gives a role a key that signs for another one.
    KeyInTwoRoles {
        /// The key's keyid.
        keyid: String,
        /// The role.
        role: Role,
        /// The other one.
        other: Role,
    },
    /// A staged request is for another role than its name says.
    StrayRequest {
        /// The request.
        path: PathBuf,
        /// The role that it is for.
        role: Role,
    },
    /// What is served is older than what this workspace published.
    RolledBack {
        /// The role that went back.
        role: Role,
        /// The version that was published.
        known: u32,
        /// The version that is served; 0 for none.
        found: u32,
        /// The timestamp.
        path: PathBuf,
    },
    /// The policy spreads a product's role over other bins than those that it has.
    BinsChanged {
        /// The role.
        role: Role,
        /// What it has, as the policy writes it.
        was: String,
    },
    /// A request is staged for a role that the policy does not know.
    UnknownStaged {
        /// The request.
        path: PathBuf,
        /// The names of roles that `tuffet.toml` has.
        known: Vec<String>,
    },
    /// Metadata of a role name a path that another role has.
    ForeignPath {
        /// The path.
        path: String,
        /// The role.
        role: Role,
    },
    /// The version is lower than one that the channel has.
    VersionBackwards {
        /// The version.
        version: String,
        /// The one that it has.
        newest: String,
        /// The channel.
        channel: String,
    },
    /// There is nothing to publish and nothing to refresh.
    NothingStaged,
    /// Version, sequence or date has no successor.
    Exhausted {
        /// Which.
        what: &'static str,
    },
    /// Something has expired.
    Expired {
        /// The moment of which that is said, in seconds since 1970.
        at: u64,
        /// What has expired, as "timestamp 7".
        what: Vec<String>,
    },
    /// There is a difference, and it was asked whether there is one.
    Differs {
        /// One side.
        before: String,
        /// The other.
        after: String,
    },
    /// A file is JSON, and no metadata file.
    Unreadable {
        /// The file.
        path: PathBuf,
    },
    /// No channel of a device lists what it is said to run.
    NotListed {
        /// The version.
        version: String,
        /// The versions that are listed.
        known: Vec<String>,
    },
}

impl Rejected {
    /// See [`Error::code`](crate::Error::code).
    pub fn code(&self) -> u16 {
        match self {
            Rejected::Config { .. } => 101,
            Rejected::ImageTooLarge { .. } => 102,
            Rejected::ImageEmpty { .. } => 103,
            Rejected::ImageChanged { .. } => 104,
            Rejected::UnknownHardware { .. } => 105,
            Rejected::VersionTaken { .. } => 106,
            Rejected::VersionReleased { .. } => 107,
            Rejected::CounterDrops { .. } => 108,
            Rejected::MinimumTooHigh { .. } => 109,
            Rejected::ImmutableDiffers { .. } => 110,
            Rejected::Damaged { .. } => 111,
            Rejected::StaleRequest { .. } => 112,
            Rejected::RequestOfOldRoot { .. } => 113,
            Rejected::OnlineKeys { .. } => 114,
            Rejected::ForeignKey { .. } => 115,
            Rejected::NothingStaged => 116,
            Rejected::Exhausted { .. } => 117,
            Rejected::TargetPath { .. } => 118,
            Rejected::TargetMissing { .. } => 119,
            Rejected::TargetDiffers { .. } => 120,
            Rejected::TargetsOfOldRoot { .. } => 121,
            Rejected::Demo { .. } => 122,
            Rejected::UnknownFlashMap { .. } => 123,
            Rejected::SlotSize { .. } => 124,
            Rejected::OtherFacts { .. } => 125,
            Rejected::CounterDiffers { .. } => 126,
            Rejected::FactoryFile { .. } => 127,
            Rejected::FromTheFuture { .. } => 128,
            Rejected::OtherRepository { .. } => 129,
            Rejected::Unsigned { .. } => 130,
            Rejected::UnknownProduct { .. } => 131,
            Rejected::UnknownChannel { .. } => 132,
            Rejected::Unproven { .. } => 133,
            Rejected::NotDelegated { .. } => 134,
            Rejected::RequestOfOldKeys { .. } => 135,
            Rejected::NoRelease { .. } => 136,
            Rejected::LastRelease { .. } => 137,
            Rejected::NotNewer { .. } => 138,
            Rejected::NotHalted { .. } => 139,
            Rejected::TooManyHalts { .. } => 140,
            Rejected::ImageDamaged { .. } => 141,
            Rejected::ImageSays { .. } => 142,
            Rejected::Bundle { .. } => 143,
            Rejected::NothingInBundle { .. } => 144,
            Rejected::BundleTooLarge { .. } => 145,
            Rejected::NotInstalled { .. } => 146,
            Rejected::NoSuchRoot { .. } => 147,
            Rejected::KeyInTwoRoles { .. } => 148,
            Rejected::StrayRequest { .. } => 149,
            Rejected::Expired { .. } => 150,
            Rejected::Differs { .. } => 151,
            Rejected::Unreadable { .. } => 152,
            Rejected::NotListed { .. } => 153,
            Rejected::RolledBack { .. } => 154,
            Rejected::BinsChanged { .. } => 155,
            Rejected::UnknownStaged { .. } => 156,
            Rejected::ForeignPath { .. } => 157,
            Rejected::VersionBackwards { .. } => 158,
        }
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rejected::Config { path, line, column, message } => {
                write!(f, "{}:{line}:{column}: {message}; correct the file", path.display())
            }
            Rejected::ImageTooLarge { image, length, hardware, slot_size } => write!(
                f,
                "the image has {length} bytes and the slot of {hardware} {slot_size}: {}; make it smaller, \
                 or correct slot-size in tuffet.toml if the devices have more",
                image.display()
            ),
            Rejected::ImageEmpty { image } => {
                write!(f, "the image is empty: {}; build it again", image.display())
            }
            Rejected::ImageChanged { image } => {
                write!(
                    f,
                    "the image changed while it was read: {}; wait for the build to end",
                    image.display()
                )
            }
            Rejected::UnknownHardware { hardware, known } => {
                write!(
                    f,
                    "unknown hardware {hardware} (known: {}); correct it, or add it to tuffet.toml",
                    list(known)
                )
            }
            Rejected::VersionTaken { version, path } => {
                write!(
                    f,
                    "version {version} was released with other bytes: {path}; give this build a new version"
                )
            }
            Rejected::VersionReleased { version, channel, sequence } => write!(
                f,
                "version {version} is release {sequence} of {channel} already, on other terms or not the newest; \
                 give this build a new version"
            ),
            Rejected::CounterDrops { version, offered, newest } => write!(
                f,
                "{version} has security counter {offered}, and a release of the channel {newest}: devices that confirmed \
                 that never go back below it; build {version} again with counter {newest} or more"
            ),
            Rejected::UnknownProduct { product, known } => {
                write!(
                    f,
                    "unknown product {product} (known: {}); correct it, or add it to tuffet.toml",
                    list(known)
                )
            }
            Rejected::UnknownChannel { channel, known } => {
                write!(
                    f,
                    "unknown channel {channel} (known: {}); correct it, or add it to tuffet.toml",
                    list(known)
                )
            }
            Rejected::Unproven { path, why } => write!(
                f,
                "it is not signed by this repository's keys ({why}): {}; find out who wrote it, and restore it from a \
                 copy of the repository",
                path.display()
            ),
            Rejected::NotDelegated { role, by, waits: Some(path) } => write!(
                f,
                "tuffet.toml gives {role} its keys, and {by} that say so wait for signatures: {}; have them signed, and \
                 run this again",
                path.display()
            ),
            Rejected::NotDelegated { role, by, waits: None } => write!(
                f,
                "tuffet.toml gives {role} its keys, and {by} do not say so yet; run `tuffet renew {by}`, and have that \
                 signed first"
            ),
            Rejected::RequestOfOldKeys { path, role, by } => write!(
                f,
                "the request asks other keys than {by} name: {}; run `tuffet renew {role}` and sign the new request",
                path.display()
            ),
            Rejected::NoRelease { channel, version: Some(version), known } => write!(
                f,
                "{channel} does not list version {version} (it lists: {}); correct it, or see `tuffet release list`",
                list(known)
            ),
            Rejected::NoRelease { channel, version: None, .. } => {
                write!(f, "{channel} has no release; add one with `tuffet release add`")
            }
            Rejected::LastRelease { version, channel } => write!(
                f,
                "{version} is the only release of {channel}, and a channel without any is an error to its devices; \
                 pause it, or add another first"
            ),
            Rejected::NotNewer { version, sequence, newest, channel } => write!(
                f,
                "{version} is release {sequence} and {channel} had {newest}: its devices would not take it for an \
                 update; use `tuffet release rollback` there, or give the build a new version"
            ),
            Rejected::NotHalted { digest, halted } => write!(
                f,
                "image {digest} is not halted (halted: {}); correct it, or see `tuffet release list`",
                list(halted)
            ),
            Rejected::TooManyHalts { most } => write!(
                f,
                "a timestamp halts {most} images at most; lift a halt, or withdraw the release instead"
            ),
            Rejected::MinimumTooHigh { minimum, sequence } => write!(
                f,
                "no device can have release {minimum} before release {sequence} reaches it; give a minimum \
                 below {sequence}"
            ),
            Rejected::ImmutableDiffers { path } => write!(
                f,
                "a published file is there with other bytes: {}; it never changes: find out who wrote it, and \
                 move it away if no device can have seen it",
                path.display()
            ),
            Rejected::Damaged { path, why } => {
                write!(f, "{why}: {}; restore it from a copy of the repository", path.display())
            }
            Rejected::StaleRequest { path, staged, published } => write!(
                f,
                "the staged request is for targets {staged}, and {published} is published: {}; remove it and \
                 release again",
                path.display()
            ),
            Rejected::RequestOfOldRoot { path, request, newest } => write!(
                f,
                "the request asks the keys of root {request}, and {newest} is the newest: {}; run `tuffet renew` \
                 and sign the new request",
                path.display()
            ),
            Rejected::OnlineKeys { role, given, threshold } => write!(
                f,
                "{given} of {threshold} {role} keys were given; give --{role}-key once for each key"
            ),
            Rejected::ForeignKey { role, keyid, root } => write!(
                f,
                "key {keyid} is no {role} key of root {root}; give the key that the root ceremony chose for it"
            ),
            Rejected::TargetPath { path } => write!(
                f,
                "`{}` cannot be a target path; do not publish this, and ask who wrote it",
                path.escape_debug()
            ),
            Rejected::TargetMissing { path } => write!(
                f,
                "the file of a target is missing: {}; release the image again, or restore the file",
                path.display()
            ),
            Rejected::TargetDiffers { path } => write!(
                f,
                "the file of a target is not the one that was signed: {}; restore it from a good copy",
                path.display()
            ),
            Rejected::TargetsOfOldRoot { newest } => write!(
                f,
                "root {newest} changes the keys of targets, and the published targets have the old ones; run \
                 `tuffet renew` and have the new request signed"
            ),
            Rejected::Demo { what } => {
                write!(f, "the demo failed: {what}; please report it, with the line above")
            }
            Rejected::UnknownFlashMap { name, known } => write!(
                f,
                "unknown flash map {name} (known: {known}); correct flash-map in tuffet.toml, or give --flash-map"
            ),
            Rejected::SlotSize { hardware, slot_size, slot } => write!(
                f,
                "tuffet.toml lets images of {hardware} have {slot_size} bytes, and a slot of its flash map has \
                 {slot}; correct slot-size or flash-map"
            ),
            Rejected::OtherFacts { path, member } => write!(
                f,
                "another `{member}` stands in {}; give another --out, or remove the old files and build the \
                 firmware with the new ones",
                path.display()
            ),
            Rejected::FactoryFile { path, why } => {
                write!(f, "{} {why}; give another --out, or remove the file", path.display())
            }
            Rejected::CounterDiffers { given, released } => write!(
                f,
                "the image is released with security counter {released}, and the facts say {given}; give --counter \
                 {released}, and build the firmware with those facts"
            ),
            Rejected::FromTheFuture { what, issued, now } => write!(
                f,
                "{what} was issued {issued}, the clock says {now}, and devices would believe that date for ever; \
                 set the clock if it is wrong, else have it drafted anew and signed again (targets: `tuffet renew`)"
            ),
            Rejected::OtherRepository { path, found, pinned } => write!(
                f,
                "this is the root 1 of another repository (sha256 {found}, tuffet.toml says {pinned}): {}; restore \
                 it from a good copy, and find out who wrote it",
                path.display()
            ),
            Rejected::Unsigned { path, what, by, threshold, signed, missing } => {
                let missing: Vec<&str> = missing.iter().map(|keyid| short(keyid)).collect();
                let (path, signed) = (path.display(), signed.len());
                let more = (*threshold as usize).saturating_sub(signed);
                write!(
                    f,
                    "{what} is signed by {signed} of {threshold} keys of {by}: {path}; have {more} more of \
                     {} run `tuffet-keys sign {path}`, then `tuffet publish` again",
                    missing.join(", ")
                )
            }
            Rejected::ImageDamaged { image, fault } => {
                let next = match fault {
                    Fault::OtherDigest { .. } => "sign it by `imgtool sign --sha 256`",
                    _ => "build and sign it again",
                };
                write!(f, "this MCUboot image is not sound, for {fault}: {}; {next}", image.display())
            }
            Rejected::ImageSays { image, what, says, given } => write!(
                f,
                "the image says {what} {says}, and --{what} {given}: {}; leave --{what} out, or build the image anew",
                image.display()
            ),
            Rejected::Bundle { path, why } => {
                write!(f, "{}: {why}", path.display())?;
                let says = why.to_string().contains("; ");
                if says { Ok(()) } else { f.write_str("; have the bundle written again, or copy it again") }
            }
            Rejected::NothingInBundle { path } => write!(
                f,
                "{}: no image in this bundle is one that its metadata release; have it written again",
                path.display()
            ),
            Rejected::BundleTooLarge { what } => {
                write!(
                    f,
                    "this does not fit into a bundle, which holds {what}; begin later, with --from-root"
                )
            }
            Rejected::NotInstalled { channel, version, why } => {
                write!(f, "no device installs {version} of {channel}: {why}")
            }
            Rejected::NoSuchRoot { version, known: (first, last) } => write!(
                f,
                "there is no way from root {version}: devices begin with {first} or later, and {last} is the newest; \
                 give --from-root a version among these"
            ),
            Rejected::KeyInTwoRoles { keyid, role, other } => write!(
                f,
                "key {} of {role} is a key of {other}, too, and what it signs for one would be good for the other; \
                 generate a key for {role}, and name that in tuffet.toml",
                short(keyid)
            ),
            Rejected::StrayRequest { path, role } => write!(
                f,
                "this request is for {role}, and its name says another role: {}; copies lie elsewhere: move it away, or \
                 merge it into that of {role} with `tuffet-keys merge`",
                path.display()
            ),
            Rejected::Expired { at, what } => write!(
                f,
                "expired at {}: {}; see `next:` in what `tuffet status` says",
                tuffet_client::time::Date(*at),
                what.join(", ")
            ),
            Rejected::Differs { before, after } => {
                write!(f, "{after} is not as {before}; this is for scripts, leave --exit-code out to look")
            }
            Rejected::Unreadable { path } => write!(
                f,
                "this JSON is no metadata file of root, targets, snapshot or timestamp, and no signing request: {}; \
                 name another",
                path.display()
            ),
            Rejected::NotListed { version, known } => write!(
                f,
                "no channel of the device lists version {} (listed: {}); correct it, or say which release it runs by \
                 its sequence, as '#7'",
                tuffet_keys::text::plain(version),
                list(known)
            ),
            Rejected::RolledBack { role, known, found, path } => write!(
                f,
                "{role} {known} was published from here, and {found} is served: {}; somebody put an older state back: \
                 restore the files, with last/timestamp.json as the timestamp",
                path.display()
            ),
            Rejected::BinsChanged { role, was } => write!(
                f,
                "{role} was published with {was}, and its targets cannot move to other bins; write that in tuffet.toml again"
            ),
            Rejected::UnknownStaged { path, known } => write!(
                f,
                "tuffet.toml has no role for this request (it has: {}): {}; add the role, or discard the request",
                list(known),
                path.display()
            ),
            Rejected::ForeignPath { path, role } => write!(
                f,
                "{role} names `{}`, which tuffet.toml gives another role, and where no device looks for it; discard the \
                 request, and draft it anew",
                path.escape_debug()
            ),
            Rejected::VersionBackwards { version, newest, channel } => write!(
                f,
                "version {version} goes backwards, {channel} has {newest}; use `tuffet release rollback` for an image that it \
                 had, or --older if this is meant"
            ),
            Rejected::NothingStaged => f.write_str(
                "nothing is staged and nothing is published yet; stage an image with `tuffet release add`",
            ),
            Rejected::Exhausted { what } => {
                write!(f, "the last {what} is taken; this repository has reached its end, start a new one")
            }
        }
    }
}

fn list(known: &[String]) -> String {
    if known.is_empty() { "none".to_owned() } else { known.join(", ") }
}
