//! The agent as a program, for a simulated device whose flash is a file. This file alone reads the clock.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Args, Parser, Subcommand};
use tuffet_agent::agent::{Agent, Checked, Started};
use tuffet_agent::boot::{BootRecord, SlotImage};
use tuffet_agent::factory_file::FactoryFile;
use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::http::{HttpOptions, HttpTransport};
use tuffet_agent::{
    Bundle, Environment, Error, Event, Factory, Flash, FlashMap, Rejected, Transport, TransportFault, Trust,
};
use tuffet_client::time::Date;
use tuffet_client::{Clock, SOFTWARE};

/// Updates a simulated device from a TUF repository.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Cli {
    /// The device's flash, a file
    #[arg(long, global = true, value_name = "FILE", default_value = "device.nor")]
    flash: PathBuf,
    /// What the device was born with, as `tuffet provision` wrote it
    #[arg(long, global = true, value_name = "FILE", default_value = "factory.json")]
    factory: PathBuf,
    #[command(flatten)]
    repository: Repository,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Repository {
    /// Where the repository is; once needs it, and boot without a bundle
    #[arg(long, global = true, value_name = "URL", env = "TUFFET_URL")]
    url: Option<String>,
    /// The device's place in rollouts; nothing else depends on it
    #[arg(long, global = true, value_name = "ID", default_value = "simulated-device")]
    device_id: String,
    /// Certificates (PEM) that the server must chain up to, instead of those that browsers trust
    #[arg(long, global = true, value_name = "FILE")]
    root_certificates: Option<PathBuf>,
    /// Allow plain HTTP to other machines, too
    #[arg(long, global = true)]
    danger_allow_plain_http: bool,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the repository once, and bring what it has as far as to be tried at the next start
    Once,
    /// The same with the files of a bundle, from a stick for instance. Its timestamp and snapshot may have expired
    Bundle {
        /// The bundle, as `tuffet bundle` wrote it
        file: PathBuf,
    },
    /// Start the device: what its bootloader does, then what its image does. The simulated image is healthy
    /// when it reaches its repository
    Boot {
        /// Reach this bundle instead: for devices that get their updates so
        #[arg(long, value_name = "FILE")]
        bundle: Option<PathBuf>,
    },
    /// Show what runs, what is on trial, and what is trusted
    Status,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(&cli) {
        Ok(report) => match io::stdout().write_all(report.as_bytes()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::from(3),
        },
        Err(failure) => {
            // Nobody is left to tell when standard error is closed; the exit status still says it.
            let _ = writeln!(io::stderr(), "error[{}]: {}", failure.label, failure.line);
            ExitCode::from(failure.status)
        }
    }
}

fn run(cli: &Cli) -> Result<String, Failure> {
    let file = read(&cli.factory)?;
    let file = FactoryFile::parse(&file)
        .map_err(|error| Failure::usage("A520", format!("{}: {error}", cli.factory.display())))?;
    let factory = file.factory();
    let nor = FileFlash::open(&cli.flash).map_err(|error| Failure::file(&cli.flash, &error))?;
    let mut flash = Flash::new(nor, FlashMap::DEMO).map_err(Failure::from)?;
    if matches!(cli.command, Command::Status) {
        return Ok(status(&mut flash, &factory)?);
    }

    let bundle = match &cli.command {
        Command::Bundle { file } => Some(file.as_path()),
        Command::Boot { bundle } => bundle.as_deref(),
        Command::Once | Command::Status => None,
    };
    let mut transport: Box<dyn Transport> = match bundle {
        Some(path) => Box::new(open_bundle(path)?),
        None => Box::new(cli.repository.transport()?),
    };
    let id = cli.repository.device_id.as_bytes();
    let mut agent = Agent::new(flash, &mut *transport, &SOFTWARE, factory, id)?;
    let mut file = String::new();
    let outcome = match cli.command {
        Command::Once | Command::Bundle { .. } => {
            agent.check(&mut clock, &mut |event| narrate(event, &mut file)).map(checked)
        }
        Command::Boot { .. } | Command::Status => {
            let healthy = &mut |_: &SlotImage| true;
            agent.boot(&mut clock, healthy, &mut |event| narrate(event, &mut file)).and_then(started)
        }
    };
    agent.flash_mut().nor_mut().sync().map_err(|error| Failure::file(&cli.flash, &error))?;
    outcome.map_err(|error| match bundle {
        Some(path) => Failure::of_bundle(path, &file, error),
        None => Failure::about(&file, error),
    })
}

/// Bytes of a bundle that are read at once.
const CHUNK: usize = 16 * 1024;

fn open_bundle(path: &Path) -> Result<Bundle<File, CHUNK>, Failure> {
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    Bundle::open_in_chunks(file).map_err(|error| Failure::of_bundle(path, "", error))
}

impl Repository {
    fn transport(&self) -> Result<HttpTransport, Failure> {
        let Some(url) = &self.url else {
            let line = "which repository? Say it with --url, or in TUFFET_URL".to_owned();
            return Err(Failure::usage("A521", line));
        };
        let options = HttpOptions {
            root_certificates: self.root_certificates.as_deref().map(read).transpose()?,
            danger_allow_plain_http: self.danger_allow_plain_http,
            ..HttpOptions::default()
        };
        HttpTransport::new(url, options).map_err(|error| Failure::usage("A522", format!("{url}: {error}")))
    }
}

/// Tells on standard error what a person would want to know, and remembers the file that is fetched.
fn narrate(event: Event<'_>, file: &mut String) {
    let line = match event {
        Event::Fetch(request) => {
            request.path.as_str().clone_into(file);
            return;
        }
        Event::TrustLost(lost) => {
            format!("trust lost ({lost:?}): starting from the factory's facts")
        }
        Event::Selected(candidate) => {
            format!(
                "release {} ({}), {} bytes",
                candidate.sequence, candidate.version, candidate.image.length
            )
        }
        Event::PassedOver(sequence) => {
            format!("release {sequence} is passed over: its image failed here before")
        }
        Event::Resumed(received) => format!("goes on behind {received} bytes that are there already"),
        Event::Start(decision) => match decision.unrecorded {
            Some(error) => format!("boot record: {error}"),
            None => return,
        },
        _ => return,
    };
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{line}");
}

fn checked(checked: Checked) -> String {
    match checked {
        Checked::UpToDate => "up to date\n".to_owned(),
        Checked::Pending(image) => format!("pending: {}; restart to try it\n", describe(&image)),
        Checked::TrialUndecided(image) => {
            format!("on trial: {}; nothing was asked of the repository\n", describe(&image))
        }
        Checked::Superseded => "the repository took the image back; check again\n".to_owned(),
        Checked::Spent => {
            "slots were erased as often as they may be on one day; check again tomorrow\n".to_owned()
        }
        other => format!("{other:?}\n"),
    }
}

fn started(started: Started) -> Result<String, Error> {
    Ok(match started {
        Started::Active(image) => format!("runs: {}\n", describe(&image)),
        Started::Confirmed(image) => format!("runs: {}, confirmed\n", describe(&image)),
        Started::Reverted(image) => format!("reverted: {}; restart\n", describe(&image)),
        Started::NoContact(_, error) => return Err(error),
        other => format!("{other:?}\n"),
    })
}

fn status(flash: &mut Flash<FileFlash>, factory: &Factory<'_>) -> Result<String, Error> {
    let BootRecord { active, trial, ended, .. } = BootRecord::load(flash)?;
    let Trust { trusted, memory, lost } = Trust::load(flash, &SOFTWARE, factory)?;
    let mut lines = vec![format!("active: {}", describe(&active))];
    if let Some(trial) = trial {
        lines.push(format!("trial: {}, {} tries left", describe(&trial.image), trial.tries_left));
    }
    if let Some(ended) = ended {
        lines.push(format!("last trial: sequence {}, {:?}", ended.sequence, ended.end));
    }
    if let Some(lost) = lost {
        lines.push(format!("trust lost: {lost:?}"));
    }
    let (root, floors) = (trusted.root(), trusted.floors());
    lines.push(format!("root: {}, expires {}", root.version(), Date(root.expires())));
    for (role, version) in [
        ("timestamp", floors.timestamp_version()),
        ("snapshot", floors.snapshot_version()),
        ("targets", floors.targets_version()),
    ] {
        lines.push(version.map_or(format!("{role}: none yet"), |version| format!("{role}: {version}")));
    }
    lines.push(format!("security counter: {}", memory.counter.max(active.counter)));
    lines.extend(
        memory
            .ledger
            .failures()
            .map(|failure| format!("failed: sequence {}, {} against it", failure.sequence, failure.count)),
    );
    lines.push(String::new());
    Ok(lines.join("\n"))
}

fn describe(image: &SlotImage) -> String {
    let SlotImage { slot, sequence, version, .. } = image;
    format!("{version} (sequence {sequence}) in slot {slot}")
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    fs::read(path).map_err(|error| Failure::file(path, &error))
}

/// A clock that stands before 1970 is none.
#[expect(clippy::disallowed_methods, reason = "the edge of the binary: the present enters here")]
fn clock() -> Clock {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(Clock::Unknown, |since| Clock::At(since.as_secs()))
}

/// One line for a person, and what the process says with its exit status: 1 refused, 2 usage, 3 environment.
#[derive(Debug)]
struct Failure {
    label: String,
    line: String,
    status: u8,
}

impl Failure {
    fn usage(label: &str, line: String) -> Self {
        Self { label: label.to_owned(), line, status: 2 }
    }

    fn file(path: &Path, error: &io::Error) -> Self {
        let text = error.to_string();
        let message = text.split(" (os error").next().unwrap_or_default();
        Self { label: "A650".to_owned(), line: format!("{}: {message}", path.display()), status: 3 }
    }

    /// What is wrong with a bundle, or with a file in it.
    fn of_bundle(path: &Path, file: &str, error: Error) -> Self {
        let failure = Self::from(error);
        let path = path.display();
        let line = match error {
            Error::Environment(Environment::Transport(TransportFault::NotFound)) => {
                format!("{path}: has no {file}; it is incomplete, or for other devices")
            }
            Error::Environment(Environment::Transport(_))
            | Error::Rejected(
                Rejected::NotABundle
                | Rejected::BundleFormat { .. }
                | Rejected::BundleIndex { .. }
                | Rejected::BundleCutShort { .. }
                | Rejected::BundleLacksRoot { .. },
            ) => format!("{path}: {}", failure.line),
            _ => return failure,
        };
        Self { line, ..failure }
    }

    /// A fault of the transport does not know its file.
    fn about(file: &str, error: Error) -> Self {
        let failure = Self::from(error);
        match error {
            Error::Environment(Environment::Transport(_)) => {
                Self { line: format!("{file}: {}", failure.line), ..failure }
            }
            _ => failure,
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Rejected(_) => 1,
            Error::Misuse(_) => 2,
            _ => 3,
        };
        Self { label: format!("{}{}", error.letter(), error.code()), line: error.to_string(), status }
    }
}
