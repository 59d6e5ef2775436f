//! What can be asked for.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use tuffet_keys::command_line::{Completions, Manual, how_to_read, where_scripts_go};
use tuffet_keys::passphrase::Source;

use super::bundle::Bundle;
use super::look;

/// Release firmware through a TUF repository that devices verify themselves.
///
/// A repository is a directory: `tuffet.toml` with what the tool must know, `staged/` with what waits for
/// signatures, `public/` with what any static web server serves. Roots and releases are signed offline with
/// `tuffet-keys`; this tool signs snapshot and timestamp, which can neither start nor change a release.
#[derive(Parser)]
#[command(name = "tuffet", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "From a root to a published release:
  tuffet init --root 1.root.json --product thermo \\
      --hardware rev-a --slot-size 262144
  tuffet release add fw.bin --hardware rev-a --channel stable \\
      --version 1.0.0
  tuffet-keys sign staged/targets.request.json --key release-a.pem
      (each of two holders)
  tuffet publish --snapshot-key online.pem --timestamp-key online.pem
  tuffet verify

What the factory needs, before the first image is built and after:
  tuffet provision --hardware rev-a --channel stable --out factory
  tuffet provision --hardware rev-a --channel stable --out factory \\
      --image fw.bin --version 1.0.0

Exit status: 0 done, 1 refused, 2 wrong usage, 3 the machine failed.")]
pub(crate) struct Cli {
    /// The repository's directory, the one with tuffet.toml
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", default_value = ".")]
    pub(crate) repo: PathBuf,

    /// How facts are printed
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "FORM", default_value = "text")]
    pub(crate) output: Output,

    /// Take DATE as the present instead of the clock's
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DATE")]
    pub(crate) now: Option<String>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Under what heading options stand that every command has.
const GLOBAL: &str = "Options of every command";

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// Lines for a person
    // Its name until `tuffet-keys` had one for the same; scripts may have it.
    #[value(alias = "human")]
    Text,
    /// One JSON object
    Json,
}

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make a repository around a signed first root
    Init(Init),
    /// Change the root
    #[command(subcommand)]
    Root(Root),
    /// Add releases, and say who gets them
    #[command(subcommand)]
    Release(Release),
    /// Stop a release at once, by the timestamp key alone
    Halt(Halt),
    /// Draft roles anew: those that are due, that have other keys now, or that tuffet.toml changed
    Renew(Renew),
    /// Throw away what is staged
    Discard(Discard),
    /// Publish what is staged and signed; with nothing staged, refresh timestamp and, when due, snapshot
    #[command(after_help = UNATTENDED)]
    Publish(Publish),
    /// Sign timestamp and, when due, snapshot anew, and nothing else
    Refresh(Refresh),
    /// Delete what no metadata that are good, or just were, need any more; never a root
    #[command(after_help = SWEEP)]
    Gc(Gc),
    /// Check a repository as its devices do, and hash every image
    Verify(Verify),
    /// Write a bundle: one file with all that brings a release to devices by stick, serial line or BLE
    Bundle(Bundle),
    /// What will expire, what waits for whom, and what to do next
    Status(look::status::Status),
    /// What changes for devices: by what is staged, or from one repository or file to another
    Diff(look::diff::Diff),
    /// What a metadata file, signing request, image or repository says
    Inspect(look::inspect::Inspect),
    /// What one device would do now and later, and why
    WhichRelease(look::device::WhichRelease),
    /// Write what a factory needs: facts to compile into the firmware, and the first content of the flash
    Provision(Provision),
    /// See it all: a ceremony, updates of a device, and an attacker who owns the mirror
    Demo(Demo),
    /// Write a script that lets a shell complete commands and options
    #[command(after_help = where_scripts_go("tuffet"))]
    Completions(Completions),
    /// Write the manual pages
    #[command(after_help = how_to_read("tuffet"))]
    Man(Manual),
}

const UNATTENDED: &str =
    "Unattended, daily from a timer, so that the timestamp never expires; the passphrase comes from a \
file that this user alone may read, and whatever is not 0 should reach somebody:
  tuffet --repo DIR publish --snapshot-key K --timestamp-key K \\
      --passphrase-fd 3 3< FILE
or from the variable TUFFET_PASSPHRASE, or another one with --passphrase-env. One key for both roles is \
asked for once; two keys take two lines of FILE, that of the snapshot key first.

KEY is a PEM file, env:NAME for a variable that holds one, or pkcs11:token=T;object=O for a key on a token, whose \
PIN is in TUFFET_PIN or the variable of --pin-env; `tuffet-keys sign --help` says more.

It publishes whatever is staged and has its signatures. What lacks some is refused with status 1, and \
the timestamp is not refreshed then: have it signed before the timestamp \
expires, or move staged/targets.request.json away until it is.";

const SWEEP: &str = "Look with --dry-run first. The time of grace is in tuffet.toml. Images that the metadata still name \
stay: `tuffet release prune` takes them off the metadata, its holders sign, and after the next publication \
and the time of grace they go.";

#[derive(Args, Clone)]
pub(crate) struct Init {
    /// The first root, version 1, as `tuffet-keys finish` wrote it [default: asked for at a terminal]
    #[arg(long, value_name = "FILE")]
    pub(crate) root: Option<PathBuf>,

    /// The product's name, the first part of every target path [default: asked for at a terminal]
    #[arg(long, value_name = "NAME")]
    pub(crate) product: Option<String>,

    /// A channel; give it again for each. Without any, every name is one
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Vec<String>,

    /// A public key of the product's own holders; give it again for each. Without any, the holders of targets sign
    #[arg(long, value_name = "FILE")]
    pub(crate) product_key: Vec<PathBuf>,

    /// How many of them must sign [default: 2, or 1 of 1]
    #[arg(long, value_name = "N", requires = "product_key")]
    pub(crate) product_threshold: Option<u32>,

    /// Spread the product over 2^BITS files (TAP 15), for many thousands of targets
    #[arg(long, value_name = "BITS", requires = "product_key")]
    pub(crate) bins: Option<u32>,

    /// A hardware id; give it again for each kind of device
    #[arg(long, value_name = "ID")]
    pub(crate) hardware: Vec<String>,

    /// Bytes of the hardware's slot, once for each --hardware, in the same order
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    pub(crate) slot_size: Vec<u32>,

    /// Where to publish: a directory, seen from the repository's, or s3://BUCKET/PREFIX [default: public]
    #[arg(long, value_name = "DIR|URL")]
    pub(crate) storage: Option<String>,

    /// Name of the hardware's flash map for `provision`, once for each --hardware or not at all
    #[arg(long, value_name = "NAME")]
    pub(crate) flash_map: Vec<String>,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Subcommand)]
pub(crate) enum Root {
    /// Stage the next root; the next publication makes it public
    Add(RootAdd),
}

#[derive(Args)]
pub(crate) struct RootAdd {
    /// The next root, such as 2.root.json, as `tuffet-keys finish` wrote it
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Subcommand)]
pub(crate) enum Release {
    /// Stage an image as a release, and draft the requests that its key holders sign
    Add(ReleaseAdd),
    /// List releases, published and staged
    List(ReleaseList),
    /// Show all that is known of a version
    Show(ReleaseShow),
    /// Give a release of one channel to another: the same bytes, the same sequence
    Promote(Promote),
    /// Give a release another ramp, or none: everybody at once. Ends a pause
    Rollout(Rollout),
    /// Let no device go to a release that has not done so yet
    Pause(OneRelease),
    /// Take a release off its channel's list
    Withdraw(OneRelease),
    /// Make an earlier image the newest release, and take what came after it off the list
    Rollback(Rollback),
    /// Take images off the metadata that no channel lists, and that are older than tuffet.toml keeps them
    Prune(Prune),
}

/// A channel.
#[derive(Args)]
pub(crate) struct Place {
    /// The product; not needed where the hardware id says it
    #[arg(long, value_name = "NAME")]
    pub(crate) product: Option<String>,

    /// The hardware id, one of tuffet.toml
    #[arg(long, value_name = "ID")]
    pub(crate) hardware: String,

    /// The channel
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: String,
}

/// Who gets it when.
#[derive(Args)]
pub(crate) struct Ramp {
    /// When the first device may have it: a date, or a duration from now [default with --rollout-end: now]
    #[arg(long, value_name = "WHEN", requires = "rollout_end")]
    pub(crate) rollout_start: Option<String>,

    /// When every device may have it; a growing share gets it before. Without it all may at once
    #[arg(long, value_name = "WHEN")]
    pub(crate) rollout_end: Option<String>,
}

#[derive(Args)]
#[command(after_help = "Many releases make one draft, and so one signature of each holder:
  tuffet release add --from LIST --channel stable
LIST has a JSON object a line:
  {\"image\":\"out/fw.bin\",\"hardware\":\"rev-a\",\"version\":\"1.4.0\"}
with `image` and, where the options do not say it for all, `product`, `hardware`, `channel`, `version`, `counter` and \
`minimum`.")]
pub(crate) struct ReleaseAdd {
    /// The image, the very bytes that go into the slot
    #[arg(value_name = "IMAGE", required_unless_present = "from")]
    pub(crate) image: Option<PathBuf>,

    /// A file that lists images, a JSON object a line; options hold for every line that does not say otherwise
    #[arg(long, value_name = "LIST", conflicts_with = "image")]
    pub(crate) from: Option<PathBuf>,

    /// The product; not needed where the hardware id says it
    #[arg(long, value_name = "NAME")]
    pub(crate) product: Option<String>,

    /// The hardware id, one of tuffet.toml
    #[arg(long, value_name = "ID", required_unless_present = "from")]
    pub(crate) hardware: Option<String>,

    /// The channel
    #[arg(long, value_name = "NAME", required_unless_present = "from")]
    pub(crate) channel: Option<String>,

    /// The version, for people; devices go by the sequence, which the tool raises [default: what an image of MCUboot's
    /// says]
    #[arg(long, value_name = "TEXT")]
    pub(crate) version: Option<String>,

    /// The image's security counter: once confirmed, devices never go below it [default: what an image of MCUboot's
    /// says, else as the last release]
    #[arg(long, value_name = "N")]
    pub(crate) counter: Option<u32>,

    /// Only devices that run this sequence or a later one may go to it
    #[arg(long, value_name = "SEQUENCE", default_value_t = 0)]
    pub(crate) minimum: u32,

    /// Take a version that is lower than one that the channel has
    #[arg(long)]
    pub(crate) older: bool,

    #[command(flatten)]
    pub(crate) ramp: Ramp,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct ReleaseList {
    /// Of this product alone
    #[arg(long, value_name = "NAME")]
    pub(crate) product: Option<String>,

    /// Of this hardware alone
    #[arg(long, value_name = "ID")]
    pub(crate) hardware: Option<String>,

    /// Of this channel alone
    #[arg(long, value_name = "NAME")]
    pub(crate) channel: Option<String>,
}

#[derive(Args)]
pub(crate) struct ReleaseShow {
    /// The version
    #[arg(value_name = "VERSION")]
    pub(crate) version: String,

    #[command(flatten)]
    pub(crate) filter: ReleaseList,
}

#[derive(Args)]
pub(crate) struct Promote {
    /// The version [default: the newest of the channel]
    #[arg(value_name = "VERSION")]
    pub(crate) version: Option<String>,

    #[command(flatten)]
    pub(crate) place: Place,

    /// The channel that gets it
    #[arg(long, value_name = "NAME")]
    pub(crate) to: String,

    #[command(flatten)]
    pub(crate) ramp: Ramp,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct Rollout {
    /// The version [default: the newest of the channel]
    #[arg(value_name = "VERSION")]
    pub(crate) version: Option<String>,

    #[command(flatten)]
    pub(crate) place: Place,

    /// When the first device may have it: a date, or a duration from now
    #[arg(long, value_name = "WHEN", default_value = "now", conflicts_with = "everybody")]
    pub(crate) start: String,

    /// When every device may have it; a growing share gets it before
    #[arg(long, value_name = "WHEN", required_unless_present = "everybody", conflicts_with = "everybody")]
    pub(crate) end: Option<String>,

    /// No ramp: every device at once
    #[arg(long)]
    pub(crate) everybody: bool,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct OneRelease {
    /// The version [default: the newest of the channel]
    #[arg(value_name = "VERSION")]
    pub(crate) version: Option<String>,

    #[command(flatten)]
    pub(crate) place: Place,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct Rollback {
    /// The version to go back to
    #[arg(value_name = "VERSION")]
    pub(crate) version: String,

    #[command(flatten)]
    pub(crate) place: Place,

    #[command(flatten)]
    pub(crate) ramp: Ramp,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct Gc {
    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct Halt {
    /// A version that devices must not install, or the SHA-256 of its image
    #[arg(value_name = "VERSION|DIGEST", required_unless_present = "lift")]
    pub(crate) release: Option<String>,

    /// Let devices have it again; without a version, all that is halted
    #[arg(long)]
    pub(crate) lift: bool,

    #[command(flatten)]
    pub(crate) filter: ReleaseList,

    /// A private key of the snapshot role, where the snapshot is due, too
    #[arg(long, value_name = "KEY")]
    pub(crate) snapshot_key: Vec<OsString>,

    #[command(flatten)]
    pub(crate) keys: TimestampKeys,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct Renew {
    /// The role, such as targets [default: all that need it]
    #[arg(value_name = "ROLE")]
    pub(crate) roles: Vec<String>,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct Discard {
    /// The role whose request to throw away [default: all]
    #[arg(value_name = "ROLE")]
    pub(crate) roles: Vec<String>,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct Publish {
    #[command(flatten)]
    pub(crate) keys: OnlineKeys,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args)]
pub(crate) struct Refresh {
    #[command(flatten)]
    pub(crate) keys: OnlineKeys,

    /// Stay, and do it again this often, as long as this process lives
    #[arg(long, value_name = "DURATION", conflicts_with = "dry_run")]
    pub(crate) every: Option<String>,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

/// The keys that sign snapshot and timestamp.
#[derive(Args)]
pub(crate) struct OnlineKeys {
    /// A private key of the snapshot role; give it again for each key that the root's threshold demands
    #[arg(long, required = true, value_name = "KEY")]
    pub(crate) snapshot_key: Vec<OsString>,

    #[command(flatten)]
    pub(crate) timestamp: TimestampKeys,
}

/// The keys that sign the timestamp, and how they are opened.
#[derive(Args)]
pub(crate) struct TimestampKeys {
    /// A private key of the timestamp role; may be the same one
    #[arg(long, required = true, value_name = "KEY")]
    pub(crate) timestamp_key: Vec<OsString>,

    /// Accept private keys that are not encrypted
    #[arg(long)]
    pub(crate) danger_unencrypted: bool,

    /// Read passphrases and PINs from this open file descriptor, one line for each key
    #[arg(long, value_name = "N", conflicts_with_all = ["passphrase_env", "pin_env"])]
    pub(crate) passphrase_fd: Option<u32>,

    /// Read the passphrase from this environment variable [default: TUFFET_PASSPHRASE, if set]
    #[arg(long, value_name = "NAME")]
    pub(crate) passphrase_env: Option<String>,

    /// Read the PIN of a token from this environment variable [default: TUFFET_PIN, if set]
    #[arg(long, value_name = "NAME")]
    pub(crate) pin_env: Option<String>,
}

impl TimestampKeys {
    pub(crate) fn source(&self) -> Source {
        Source::from_options(self.passphrase_fd, self.passphrase_env.clone(), self.pin_env.clone())
    }
}

#[derive(Args)]
pub(crate) struct Verify {
    /// A directory or URL that is served to devices, or a bundle [default: what --repo publishes]
    #[arg(value_name = "DIR|URL|FILE")]
    pub(crate) repository: Option<String>,

    /// A root that devices have [default: root 1 of --repo, whatever DIR or URL holds]
    #[arg(long, value_name = "FILE")]
    pub(crate) root: Option<PathBuf>,

    /// Fetch from http:// on another machine: everybody on the way sees what is fetched
    #[arg(long)]
    pub(crate) danger_allow_plain_http: bool,
}

#[derive(Args)]
pub(crate) struct Provision {
    #[command(flatten)]
    pub(crate) place: Place,

    /// The first image. It holds the facts, so write those first, without this, and build it with them
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,

    /// The image's version [default: that of the channel's release with the same bytes]
    #[arg(long, value_name = "TEXT", requires = "image")]
    pub(crate) version: Option<String>,

    /// The image's sequence [default: that of the channel's release with the same bytes, else 0]
    #[arg(long, value_name = "N", requires = "image")]
    pub(crate) sequence: Option<u32>,

    /// The image's security counter [default: 0]
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) counter: u32,

    /// Name of the flash map [default: flash-map of the hardware in tuffet.toml]
    #[arg(long, value_name = "NAME")]
    pub(crate) flash_map: Option<String>,

    /// The directory for factory.rs, factory.json and, with an image, device.nor
    #[arg(long, value_name = "DIR")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) dry_run: DryRun,
}

#[derive(Args, Clone)]
pub(crate) struct DryRun {
    /// Say what would happen, and write nothing
    #[arg(long)]
    pub(crate) dry_run: bool,
}

/// A number of bytes, decimal or after `0x`.
pub(crate) fn bytes(text: &str) -> Result<u32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u32::from_str_radix(digits, 16),
        None => text.parse(),
    };
    parsed
        .ok()
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "not a number of bytes from 1 to 4294967295".to_owned())
}

#[derive(Args)]
pub(crate) struct Demo {
    /// Leave keys, ceremony, repository and flash in DIR, which must be empty or new
    #[arg(long, value_name = "DIR")]
    pub(crate) keep: Option<PathBuf>,

    /// Release FILE in every version instead of building firmware for a Cortex-M3
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
}
