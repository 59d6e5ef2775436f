//! What can be asked for.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::{ArgGroup, Args, Parser, Subcommand, ValueEnum};
use tuffet_keys::command_line::{Completions, Manual, how_to_read, where_scripts_go};
use tuffet_keys::passphrase::Source;

use super::learn::Learn;
use super::review::{Review, Trust};
use super::sign::Sign;
use super::transcript::Recording;

/// Keys, signing requests and signatures for the holders of TUF keys. Never touches a network.
///
/// A ceremony is a file that travels: somebody drafts a signing request, each holder reviews and
/// signs a copy, the copies are merged, and once enough have signed the metadata file is finished.
#[derive(Parser)]
#[command(name = "tuffet-keys", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "A first root, with two of three holders:
  tuffet-keys generate --out root-a.pem    (each holder, offline)
  tuffet-keys root draft --root-key root-?.pub.pem \\
      --targets-key release-?.pub.pem --snapshot-key online.pub.pem \\
      --timestamp-key online.pub.pem --out root.request.json
  tuffet-keys sign root.request.json --key root-a.pem --out root.a.json
  tuffet-keys sign root.request.json --key root-b.pem --out root.b.json
  tuffet-keys merge root.a.json root.b.json --out root.signed.json
  tuffet-keys finish root.signed.json --out 1.root.json

Exit status: 0 done, 1 refused, 2 wrong usage, 3 the machine failed.")]
pub(crate) struct Cli {
    /// Take DATE as the present instead of the clock's, for offline machines whose clock is wrong
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DATE")]
    pub(crate) now: Option<String>,

    /// Where this holder keeps what he has verified [default: ~/.local/state/tuffet-keys]
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR", env = "TUFFET_STATE", hide_env_values = true)]
    pub(crate) state: Option<PathBuf>,

    /// Public keys that give holders their names in what is shown: a directory, or a file as root-a.pub.pem; again for
    /// each
    #[arg(long, global = true, help_heading = GLOBAL, value_name = "DIR|PUB", env = "TUFFET_NAMES", hide_env_values = true)]
    pub(crate) names: Vec<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Under what heading options stand that every command has.
const GLOBAL: &str = "Options of every command";

#[derive(Subcommand)]
pub(crate) enum Command {
    /// Make an ECDSA P-256 key, in an encrypted file or on a token, and write the public key to hand out
    #[command(after_help = example("generate --out root-a.pem", KEYS))]
    Generate(Generate),
    /// Show type, keyid and fingerprint of keys, public or private
    #[command(after_help = example("show root-a.pub.pem", KEYS))]
    Show(Show),
    /// Sign a nonce and verify the signature, to see before a ceremony that a key works
    #[command(after_help = example("smoke-test root-a.pem --expect root-a.pub.pem", KEYS))]
    SmokeTest(SmokeTest),
    /// Give a key's file another passphrase, or an unencrypted one its first
    #[command(after_help = example("change-passphrase root-a.pem", ""))]
    ChangePassphrase(ChangePassphrase),
    /// Copy a key under a passphrase of the copy's own, and prove that the copy is that key and signs
    #[command(after_help = example("backup root-a.pem --out /media/stick/root-a.pem", ""))]
    Backup(Backup),
    /// Prove that a backup is the key that it should be and signs, and put it back if asked to
    #[command(after_help = example("restore /media/stick/root-a.pem --rehearse \\\n      --expect root-a.pub.pem", ""))]
    Restore(Restore),
    /// Draft a root: the first one, the next, or one without lost keys
    #[command(subcommand)]
    Root(super::root::Root),
    /// Agree to a repository, once: its first root, whose digest another holder reads to you
    #[command(after_help = example("trust 1.root.json", ""))]
    Trust(Trust),
    /// Take over finished metadata, so that the next review shows what is new since then
    #[command(after_help = example("learn public/", ""))]
    Learn(Learn),
    /// Ask for signatures over metadata of any role that was written elsewhere
    #[command(after_help = super::request::HELP)]
    Request(super::request::Ask),
    /// Show what signing requests sign, decoded from the bytes to sign: what is new, what is unusual, who has signed
    #[command(visible_alias = "show-request")]
    #[command(after_help = example("review targets.request.json --rebuilt lamp.bin", ""))]
    Review(Review),
    /// Review a signing request or several, confirm, and sign
    Sign(Sign),
    /// Write the bytes that a request signs, to sign them with another program
    Payload(super::detached::Payload),
    /// Add signatures that another program made; they tell by themselves whose they are
    #[command(after_help = example("attach root.request.json root-a.sig", ""))]
    Attach(super::detached::Attach),
    /// Collect the signatures of several copies of one signing request
    #[command(after_help = example("merge root.a.json root.b.json --out root.signed.json", ""))]
    Merge(Merge),
    /// Write the metadata file, if enough holders have signed
    #[command(after_help = example("finish root.signed.json --out 1.root.json", ""))]
    Finish(Finish),
    /// Show versions, expiry, when signing is due, and who has signed
    Status(super::status::Status),
    /// Look for everything that would trouble a device later
    Lint(super::status::Lint),
    /// Show or verify a transcript: who signed what, when
    #[command(subcommand)]
    Transcript(super::transcript::Transcript),
    /// Write a script that lets a shell complete commands and options
    #[command(after_help = where_scripts_go("tuffet-keys"))]
    Completions(Completions),
    /// Write the manual pages
    #[command(after_help = how_to_read("tuffet-keys"))]
    Man(Manual),
}

/// The help behind a command: how it may be called, and then the rest, if there is one.
pub(super) fn example(arguments: &str, rest: &str) -> String {
    let gap = if rest.is_empty() { "" } else { "\n\n" };
    format!("For example:\n  tuffet-keys {arguments}{gap}{rest}")
}

/// What the commands that take a private key say about naming one.
pub(super) const KEYS: &str = "KEY is one of:
  root-a.pem, file:PATH    a PEM file: PKCS#8, encrypted
  env:NAME                 a variable that holds the same, for CI
  pkcs11:token=T;object=O  a key on a token (RFC 7512), by token, serial,
                           model, manufacturer, slot-id, object, id and
                           type; ?module-path=/PATH.so or the variable
                           TUFFET_PKCS11_MODULE says which library
                           speaks to it

Passphrases and PINs are never arguments: every process of the machine reads those. They come
  from --passphrase-fd, a line for each, in the order of their need; or
  from TUFFET_PASSPHRASE, TUFFET_NEW_PASSPHRASE and TUFFET_PIN, or from
    variables that options name; or
  from a file that the token's URI names, ?pin-source=file:PATH; or
  from the terminal.";

/// How something is shown.
#[derive(Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Form {
    /// For people
    #[default]
    Text,
    /// For programs: JSON
    Json,
}

#[derive(Args)]
pub(crate) struct Passphrase {
    /// Read passphrases and PINs from this open file descriptor, one line for each
    #[arg(long, value_name = "N", conflicts_with = "passphrase_env")]
    pub(crate) passphrase_fd: Option<u32>,

    /// Read the passphrase from this environment variable [default: TUFFET_PASSPHRASE, if set]
    #[arg(long, value_name = "NAME")]
    pub(crate) passphrase_env: Option<String>,
}

/// Of commands that may need a token's PIN, too.
#[derive(Args)]
pub(crate) struct Secrets {
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,

    /// Read the PIN from this environment variable [default: TUFFET_PIN, if set]
    #[arg(long, value_name = "NAME", conflicts_with = "passphrase_fd")]
    pub(crate) pin_env: Option<String>,
}

impl Secrets {
    pub(crate) fn source(&self) -> Source {
        let Passphrase { passphrase_fd, passphrase_env } = &self.passphrase;
        Source::from_options(*passphrase_fd, passphrase_env.clone(), self.pin_env.clone())
    }
}

/// Of commands that need an old passphrase and a new one.
#[derive(Args)]
pub(crate) struct Passphrases {
    #[command(flatten)]
    old: Passphrase,

    /// Read the new passphrase from this environment variable [default: TUFFET_NEW_PASSPHRASE, if set]
    #[arg(long, value_name = "NAME", conflicts_with = "passphrase_fd")]
    new_passphrase_env: Option<String>,
}

impl Passphrases {
    pub(crate) fn source(&self) -> Source {
        let Passphrase { passphrase_fd, passphrase_env } = &self.old;
        let source = Source::from_options(*passphrase_fd, passphrase_env.clone(), None);
        source.renewing(self.new_passphrase_env.clone())
    }
}

#[derive(Args)]
pub(crate) struct Generate {
    /// Where the private key goes: a file, or on a token, where `object` is its label
    #[arg(long, value_name = "KEY")]
    pub(crate) out: OsString,

    /// Where the public key goes [default for a file: beside it, `root-a.pub.pem` for `root-a.pem`]
    #[arg(long, value_name = "FILE")]
    pub(crate) public_out: Option<PathBuf>,

    /// Do not encrypt the key: whoever reads the file can sign
    #[arg(long, conflicts_with_all = ["passphrase_fd", "passphrase_env"])]
    pub(crate) danger_unencrypted: bool,

    #[command(flatten)]
    pub(crate) secrets: Secrets,
}

#[derive(Args)]
pub(crate) struct Show {
    /// Keys, public or private
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<OsString>,

    /// Write the public half of the one KEY to this file, to hand it out
    #[arg(long, value_name = "FILE")]
    pub(crate) public_out: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) secrets: Secrets,
}

#[derive(Args)]
pub(crate) struct SmokeTest {
    /// Private keys
    #[arg(required = true, value_name = "KEY")]
    pub(crate) keys: Vec<OsString>,

    /// Make sure, too, that the one KEY is this one, as a root names it
    #[arg(long, value_name = "KEYID|PUB")]
    pub(crate) expect: Option<String>,

    /// Accept private keys that are not encrypted
    #[arg(long)]
    pub(crate) danger_unencrypted: bool,

    #[command(flatten)]
    pub(crate) secrets: Secrets,
}

#[derive(Args)]
pub(crate) struct ChangePassphrase {
    /// The private key's file. It is replaced in one step; copies and backups keep their passphrase, and where
    /// an unencrypted key lay it may still be found by who reads the raw disk
    #[arg(value_name = "FILE")]
    pub(crate) key: OsString,

    #[command(flatten)]
    pub(crate) passphrases: Passphrases,
}

#[derive(Args)]
pub(crate) struct Backup {
    /// The private key: a file or env:NAME. A token gives none away: its backup is a spare key on another
    #[arg(value_name = "KEY")]
    pub(crate) key: OsString,

    /// Where the copy goes, encrypted; its public key goes beside it
    #[arg(long, value_name = "FILE")]
    pub(crate) out: OsString,

    /// Accept a private key that is not encrypted; the copy is
    #[arg(long)]
    pub(crate) danger_unencrypted: bool,

    #[command(flatten)]
    pub(crate) passphrases: Passphrases,
}

#[derive(Args)]
#[command(group(ArgGroup::new("mode").required(true).args(["rehearse", "out"])))]
pub(crate) struct Restore {
    /// The backup
    #[arg(value_name = "FILE")]
    pub(crate) backup: OsString,

    /// The key that it must be: a keyid as a root or `show` names it, or a public key that was handed out
    #[arg(long, value_name = "KEYID|PUB")]
    pub(crate) expect: String,

    /// Prove that it could be restored, and write nothing
    #[arg(long)]
    pub(crate) rehearse: bool,

    /// Where the key goes, encrypted, under a passphrase of its own; a key that is there is not overwritten
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<OsString>,

    /// Accept a backup that is not encrypted; the restored key is
    #[arg(long)]
    pub(crate) danger_unencrypted: bool,

    #[command(flatten)]
    pub(crate) passphrases: Passphrases,
}

#[derive(Args)]
pub(crate) struct Merge {
    /// Copies of one signing request
    #[arg(required = true, value_name = "REQUEST")]
    pub(crate) requests: Vec<PathBuf>,

    /// Where the merged request goes; may be one of the copies
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,
}

#[derive(Args)]
pub(crate) struct Finish {
    /// The signing request
    #[arg(value_name = "REQUEST")]
    pub(crate) request: PathBuf,

    /// Where the metadata file goes, such as 1.root.json
    #[arg(long, value_name = "FILE")]
    pub(crate) out: PathBuf,

    #[command(flatten)]
    pub(crate) recording: Recording,
}
