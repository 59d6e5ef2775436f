//! The command line.

use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use super::config;

/// Updates a device from a TUF repository: a Linux device, or one that is simulated
#[derive(Debug, Parser)]
#[command(name = "tuffet-agent", version, about, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "A Linux device has a configuration, /etc/tuffet/agent.toml or --config:
  tuffet-agent provision --image rootfs.squashfs --version 1.0.0
  tuffet-agent once
  tuffet-agent status
  tuffet-agent run

A simulated device has --flash and --factory, as `tuffet provision` writes them:
  tuffet-agent --flash device.nor --factory factory.json --url https://updates.example.com/ once
  tuffet-agent --flash device.nor --factory factory.json boot

Exit status: 0 done, 1 what was offered was refused, 2 wrong usage or configuration, 3 the machine or the network failed.")]
pub(crate) struct Cli {
    /// A Linux device's configuration [default: /etc/tuffet/agent.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE", env = "TUFFET_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// The same as the command once
    #[arg(long)]
    pub(crate) once: bool,
    /// How messages are written
    #[arg(long, global = true, value_name = "FORMAT", value_enum, default_value_t = Log::Text)]
    pub(crate) log: Log,
    /// Say more: each file that is fetched
    #[arg(long, short, global = true)]
    pub(crate) verbose: bool,
    #[command(flatten)]
    pub(crate) simulated: Simulated,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// How messages are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Log {
    /// A line for people
    Text,
    /// A JSON object a line
    Json,
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "Options of a simulated device")]
pub(crate) struct Simulated {
    /// The device's flash, a file [default: device.nor]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) flash: Option<PathBuf>,
    /// What the device was born with, as `tuffet provision` wrote it [default: factory.json]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) factory: Option<PathBuf>,
    /// Where the repository is; once needs it, and boot without a bundle
    #[arg(long, global = true, value_name = "URL", env = "TUFFET_URL")]
    pub(crate) url: Option<String>,
    /// The device's place in rollouts; nothing else depends on it
    #[arg(long, global = true, value_name = "ID", default_value = "simulated-device")]
    pub(crate) device_id: String,
    /// Certificates (PEM) that the server must chain up to, instead of those that browsers trust
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) root_certificates: Option<PathBuf>,
    /// Allow plain HTTP to other machines, too
    #[arg(long, global = true)]
    pub(crate) danger_allow_plain_http: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Stay, and update a Linux device as its schedule and policy say
    #[command(
        after_help = "SIGHUP or SIGUSR1: check now. SIGTERM or SIGINT: end as soon as a file's next bytes are there; \
twice: at once. Both leave the device as a power cut may at any time."
    )]
    Run,
    /// Check the repository once, and bring what it has as far as to be tried at the next start
    #[command(
        after_help = "A Linux device goes by its policy: windows, consent and commands. An image on trial proves itself first."
    )]
    Once,
    /// The same with the files of a bundle, from a stick for instance. Its timestamp and snapshot may have expired
    Bundle {
        /// The bundle, as `tuffet bundle` wrote it
        file: PathBuf,
    },
    /// Start a simulated device: what its bootloader does, then what its image does. The simulated image is healthy
    /// when it reaches its repository
    Boot {
        /// Reach this bundle instead: for devices that get their updates so
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
    },
    /// Show what runs, what is on trial, and what is trusted
    Status {
        /// How it is written
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Say which slot of a Linux device is to be started, and take a try away from an image on trial: for an initramfs
    #[command(after_help = "Lines for a shell:
  eval \"$(tuffet-agent boot-decision)\"    # sets slot, path, length, sha256, sequence, reason, tries_left
  mount -o ro \"$path\" /sysroot

The digest of what is started goes to the file that the configuration calls `running`, below /run.

Exit status: 0 said which; 2 wrong configuration; 3 neither slot holds its image, or nothing can be read: go on with what \
the machine has besides, a recovery system for instance.")]
    BootDecision {
        /// How it is written
        #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Output::Text)]
        output: Output,
    },
    /// Set a Linux device up: its state, and the first image in slot A. With a hook, the image that runs already
    Provision(Provision),
    /// Write a script that lets a shell complete commands and options
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Write the manual pages
    Man {
        /// The directory for all pages, made if need be [default: the program's own page goes to standard output]
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Provision {
    /// The image for slot A. A hook says itself what runs
    #[arg(long, value_name = "FILE")]
    pub(crate) image: Option<PathBuf>,
    /// Its version, for people
    #[arg(long, value_name = "VERSION")]
    pub(crate) version: String,
    /// The sequence of its release; 0 if it came without one
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) sequence: u32,
    /// Begin anew where a device was set up before: its floors, ledger and security counter are gone then
    #[arg(long)]
    pub(crate) danger_forget_device: bool,
}

impl Cli {
    /// The configuration of a Linux device; none for a simulated one.
    pub(crate) fn config(&self) -> Option<PathBuf> {
        if let Some(path) = &self.config {
            return Some(path.clone());
        }
        let needs =
            matches!(self.command, Some(Command::Run | Command::BootDecision { .. } | Command::Provision(_)));
        let simulated = self.simulated.flash.is_some() || self.simulated.factory.is_some();
        (needs || (!simulated && Path::new(config::PATH).exists())).then(|| config::PATH.into())
    }
}
