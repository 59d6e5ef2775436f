//! Tuffet's client behind the command line of the TUF project's client conformance suite.
//!
//! It is the verifier that devices link, and around it a cache of files: the metadata directory holds the
//! received bytes of each role under an unversioned name, and beside them, in `trusted`, what the verifier asked
//! to be stored. It exits with 0 or 1.

#![expect(clippy::print_stderr, reason = "the one line that says what went wrong")]

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use sha2::{Digest, Sha256, Sha512};
use tuffet_agent::http::{HttpOptions, HttpTransport};
use tuffet_agent::{Request, Transport, TransportFault};
use tuffet_client::limits::HOST;
use tuffet_client::release::{Hex, served_path};
use tuffet_client::wire::{Reader, Stored as _, Writer};
use tuffet_client::{
    Clock, Ended, Entry, FileName, Floors, Goal, Kept, KeptSnapshot, Plan, Refresh, Role, Root, Target,
    Trusted, Want,
};

/// Bytes for the keys of a root, RSA keys among them.
const KEYS: usize = HOST.key_bytes();
/// Bytes of root and floors as they are stored, at the most: floors take less than 1 KiB.
const STORED: usize = KEYS + 1024;
/// Bytes that are read at once from a file that was kept.
const CHUNK: usize = 64 * 1024;

/// The command line that the suite calls.
#[derive(Parser)]
struct Arguments {
    #[arg(long)]
    metadata_dir: PathBuf,
    #[arg(long)]
    metadata_url: Option<String>,
    #[arg(long)]
    target_name: Vec<String>,
    #[arg(long)]
    target_base_url: Option<String>,
    #[arg(long)]
    target_dir: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Trust this root.
    Init { root: PathBuf },
    /// Update the top-level metadata.
    Refresh,
    /// Find targets, and fetch those that are not there yet.
    Download,
}

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // The suite knows no other exit status than 0 and 1.
            let _ = error.print();
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    match run(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("tuffet-conformance: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), String> {
    let Arguments { metadata_dir, metadata_url, target_name, target_base_url, target_dir, command } =
        arguments;
    let store = Store { directory: metadata_dir };
    let metadata = || transport(&metadata_url.ok_or("--metadata-url is missing")?);
    match command {
        Command::Init { root } => {
            let bytes = fs::read(&root).map_err(|error| format!("{}: {error}", root.display()))?;
            let _ = store.trust(&bytes)?;
            store.keep("root.json", &bytes)
        }
        Command::Refresh => walk(&store, metadata()?, Goal::Metadata, |_| Ok(None)),
        Command::Download => {
            let mut targets = Targets {
                transport: transport(&target_base_url.ok_or("--target-base-url is missing")?)?,
                directory: target_dir.ok_or("--target-dir is missing")?,
            };
            let mut names = target_name.iter().map(String::as_str);
            let mut name = names.next().ok_or("--target-name is missing")?;
            walk(&store, metadata()?, Goal::Target(name), |target| {
                targets.download(name, &target)?;
                Ok(names.next().inspect(|next| name = next))
            })
        }
    }
}

fn transport(url: &str) -> Result<HttpTransport, String> {
    HttpTransport::new(url, HttpOptions::default()).map_err(|error| format!("{url}: {error}"))
}

/// Updates the metadata, and hands each target that is found to `found`, which names the next one.
fn walk<'n>(
    store: &Store,
    mut transport: HttpTransport,
    goal: Goal<'n>,
    mut found: impl FnMut(Target) -> Result<Option<&'n str>, String>,
) -> Result<(), String> {
    let mut trusted = store.trusted()?;
    let kept = trusted.floors().snapshot_version().and_then(|_| fs::read(store.path("snapshot.json")).ok());
    let mut memory = vec![0; HOST.memory()];
    #[expect(clippy::disallowed_methods, reason = "the edge of the program: read once, frozen for the cycle")]
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(|_| "the clock stands before 1970")?;
    let clock = Clock::At(now.as_secs());
    let mut kept_memory = vec![0; 2 * HOST.text];
    let mut kept = kept.as_deref().map(|bytes| Kept::new(bytes, &mut kept_memory));
    let kept = kept.as_mut().map(|kept| kept as &mut dyn KeptSnapshot);
    let plan = Plan { crypto: &tuffet_client::HOST, limits: &HOST, goal, entry: Entry::Refresh, clock, kept };
    let mut refresh = Refresh::new(plan, &mut trusted, &mut memory).map_err(|error| error.to_string())?;
    loop {
        let (file, limit, again) = match refresh.want() {
            Want::Fetch { file, limit } => (file, limit, false),
            Want::Again { file, limit } => (file, limit, true),
            Want::Persist(_) => {
                store.save(refresh.trusted())?;
                refresh.persisted();
                continue;
            }
            Want::UpToDate(_) => return Ok(()),
            Want::Found(target) => match found(target)? {
                Some(next) => {
                    refresh.find(next).map_err(|error| error.to_string())?;
                    continue;
                }
                None => return Ok(()),
            },
            Want::Over(why) => return Err(why.to_string()),
            want => unreachable!("no release was asked for: {want:?}"),
        };
        // Roots and timestamps that are there are trusted already: what is wanted is a newer one.
        let may_be_kept = again || !matches!(file.role, Role::Root | Role::Timestamp);
        let (name, path) = (store.name(&file), file.to_string());
        if may_be_kept && from_store(&mut refresh, &store.path(&name)) {
            continue;
        }
        match fetch(&mut refresh, &mut transport, &path, limit, &store.path(".fetched")) {
            Ok(Some(Ended::Trusted)) => store.keep_fetched(&name)?,
            Ok(_) => {}
            Err(why) => return Err(format!("{path}: {why}")),
        }
    }
}

/// Offers a file that was kept; whether it is the one that is wanted.
fn from_store(refresh: &mut Refresh<'_>, path: &Path) -> bool {
    let Ok(mut file) = File::open(path) else { return false };
    let mut chunk = vec![0; CHUNK];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => return refresh.end().is_ok(),
            Ok(length) if refresh.feed(&chunk[..length]).is_ok() => {}
            Ok(_) => return false,
            Err(_) => {
                // Half a file is none; the machine wants it from its first byte again.
                let _ = refresh.end();
                return false;
            }
        }
    }
}

/// Fetches a file, verifies it as it comes, and writes it down as it came; `None` if there is none, and none is
/// needed.
fn fetch(
    refresh: &mut Refresh<'_>,
    transport: &mut HttpTransport,
    path: &str,
    limit: u32,
    copy: &Path,
) -> Result<Option<Ended>, String> {
    let mut written = File::create(copy);
    let request = Request::whole(path, limit).map_err(|fault| fault.to_string())?;
    let fetched = transport.fetch(&request, &mut |input| {
        let chunk = input.bytes();
        if let Ok(file) = &mut written
            && let Err(error) = file.write_all(chunk)
        {
            written = Err(error);
        }
        Ok(refresh.feed(chunk)?)
    });
    let missing = tuffet_agent::Error::from(TransportFault::NotFound);
    match fetched {
        Ok(()) => {
            written.map_err(|error| format!("{}: {error}", copy.display()))?;
            refresh.end().map(Some).map_err(|error| error.to_string())
        }
        Err(error) if error == missing => refresh.missing().map(|()| None).map_err(|error| error.to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The metadata directory.
struct Store {
    directory: PathBuf,
}

impl Store {
    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// A role's file, by an unversioned name that is safe whatever the role is called.
    fn name(&self, file: &FileName<'_>) -> String {
        let name = FileName { version: None, ..*file }.to_string();
        // As much as file systems take.
        if name.len() > 200 { format!("{}.json", Hex(&Sha256::digest(&name))) } else { name }
    }

    /// Trust in a root file alone.
    fn trust(&self, root: &[u8]) -> Result<Trusted<[u8; KEYS]>, String> {
        let mut memory = vec![0; HOST.memory()];
        Trusted::from_root_file(&tuffet_client::HOST, &HOST, &mut memory, root)
            .map_err(|error| format!("the root to start from: {error}"))
    }

    /// What was stored, or, before anything was, the root to start from.
    fn trusted(&self) -> Result<Trusted<[u8; KEYS]>, String> {
        match fs::read(self.path("trusted")) {
            Ok(stored) => {
                let mut from = Reader::new(&stored);
                let (root, floors): (Root<[u8; KEYS]>, _) = (Root::read(&mut from), Floors::read(&mut from));
                if !from.is_good() {
                    return Err(format!("{} is damaged", self.path("trusted").display()));
                }
                Ok(Trusted::restore(root, floors))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = self.path("root.json");
                self.trust(&fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?)
            }
            Err(error) => Err(format!("{}: {error}", self.path("trusted").display())),
        }
    }

    fn save(&self, trusted: &Trusted<[u8]>) -> Result<(), String> {
        let mut buffer = vec![0; STORED];
        let mut to = Writer::new(&mut buffer);
        trusted.root().write(&mut to);
        trusted.floors().write(&mut to);
        self.keep("trusted", to.done().ok_or("what is trusted is too long to be stored")?)
    }

    fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let fetched = self.path(".fetched");
        fs::write(&fetched, bytes).map_err(|error| format!("{}: {error}", fetched.display()))?;
        self.keep_fetched(name)
    }

    /// Makes what was fetched the file of this name, at once.
    fn keep_fetched(&self, name: &str) -> Result<(), String> {
        let path = self.path(name);
        fs::rename(self.path(".fetched"), &path).map_err(|error| format!("{}: {error}", path.display()))
    }
}

/// The directory of targets, and where they come from.
struct Targets {
    transport: HttpTransport,
    directory: PathBuf,
}

impl Targets {
    /// Fetches a target, unless it is there already.
    fn download(&mut self, path: &str, target: &Target) -> Result<(), String> {
        let file = self.directory.join(escaped(path, ""));
        let failed = |error: io::Error| format!("{}: {error}", file.display());
        let mut hashing = Hashing::default();
        if let Ok(mut kept) = File::open(&file) {
            io::copy(&mut kept, &mut hashing).map_err(failed)?;
            if hashing.is(target) {
                return Ok(());
            }
        }
        let digest = match (target.sha256, target.sha512) {
            (Some(sha256), _) => Hex(&sha256).to_string(),
            (None, Some(sha512)) => Hex(&sha512).to_string(),
            (None, None) => return Err(format!("{path}: no hash that can be compared")),
        };
        let served = served_path(path, digest).to_string();
        // The base URL is that of `targets/`.
        let served = escaped(served.strip_prefix("targets/").unwrap_or(&served), "/");
        let part = self.directory.join(".fetched");
        let mut copy = File::create(&part).map_err(failed)?;
        let (mut hashing, mut written) = (Hashing::default(), Ok(()));
        let request = Request::whole(&served, target.length).map_err(|fault| format!("{path}: {fault}"))?;
        let fetched = self.transport.fetch(&request, &mut |input| {
            let chunk = input.bytes();
            hashing.update(chunk);
            if written.is_ok() {
                written = copy.write_all(chunk);
            }
            Ok(())
        });
        let done = fetched.map_err(|error| error.to_string()).and_then(|()| written.map_err(failed));
        let done = done.and_then(|()| {
            if !hashing.is(target) {
                return Err("other bytes than the metadata state".to_owned());
            }
            fs::rename(&part, &file).map_err(failed)
        });
        done.map_err(|why| {
            let _ = fs::remove_file(&part);
            format!("{path}: {why}")
        })
    }
}

/// Length and digests of bytes that go by.
#[derive(Default)]
struct Hashing {
    length: u64,
    sha256: Sha256,
    sha512: Sha512,
}

impl Hashing {
    fn update(&mut self, bytes: &[u8]) {
        self.length += bytes.len() as u64;
        self.sha256.update(bytes);
        self.sha512.update(bytes);
    }

    /// Whether it is this target that went by.
    fn is(&mut self, target: &Target) -> bool {
        let (sha256, sha512) = (self.sha256.finalize_reset(), self.sha512.finalize_reset());
        core::mem::take(&mut self.length) == u64::from(target.length)
            && target.sha256.is_none_or(|expected| sha256.as_slice() == expected)
            && target.sha512.is_none_or(|expected| sha512.as_slice() == expected)
    }
}

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Percent-encodes all but what RFC 3986 calls unreserved, and these.
fn escaped(text: &str, keep: &str) -> String {
    text.bytes()
        .map(|byte| {
            let plain =
                byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.as_bytes().contains(&byte);
            if plain { char::from(byte).to_string() } else { format!("%{byte:02X}") }
        })
        .collect()
}
