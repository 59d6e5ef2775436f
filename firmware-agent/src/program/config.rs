//! `agent.toml`: what a Linux device is told. Every fault has its line and column.

use core::ops::Range;
use core::time::Duration;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde::Deserialize;
use toml::Spanned;
use tuffet_agent::schedule::Settings;

use super::failure::Failure;
use super::units;
use super::windows::{Window, Windows};

/// Where the file is, unless somebody says otherwise.
pub(crate) const PATH: &str = "/etc/tuffet/agent.toml";

/// The file's contents, checked. Paths are seen from the file's directory.
#[derive(Clone, Debug)]
pub(crate) struct Config {
    pub(crate) url: String,
    pub(crate) root_certificates: Option<PathBuf>,
    pub(crate) danger_allow_plain_http: bool,
    pub(crate) factory: PathBuf,
    pub(crate) id: Id,
    /// A directory that need not outlive a restart: what the daemon does, what was started.
    pub(crate) runtime: PathBuf,
    pub(crate) storage: Storage,
    pub(crate) settings: Settings,
    pub(crate) policy: Policy,
}

/// Where the device's id comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Id {
    Literal(String),
    File(PathBuf),
}

/// Where images go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Storage {
    /// Two slots, of which either can start.
    Slots {
        state: PathBuf,
        a: PathBuf,
        b: PathBuf,
        /// As many bytes of each are used; all of them otherwise.
        size: Option<u64>,
        /// Says which image was started.
        running: PathBuf,
    },
    /// A program that installs what was staged.
    Hook {
        state: PathBuf,
        staging: PathBuf,
        size: u64,
        program: Vec<String>,
        deadline: Duration,
        /// A file that says something else after each start.
        boot_id: PathBuf,
    },
}

impl Storage {
    pub(crate) fn state(&self) -> &Path {
        match self {
            Self::Slots { state, .. } | Self::Hook { state, .. } => state,
        }
    }
}

/// What may happen when, and how the device does.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) windows: Windows,
    /// An image is installed only while there is such a file.
    pub(crate) consent: Option<PathBuf>,
    pub(crate) may_check: Option<Vec<String>>,
    pub(crate) may_download: Option<Vec<String>>,
    pub(crate) may_install: Option<Vec<String>>,
    pub(crate) may_restart: Option<Vec<String>>,
    pub(crate) health: Option<Vec<String>>,
    pub(crate) deadline: Duration,
    pub(crate) reboot: Option<Vec<String>>,
}

impl Config {
    /// Reads the file.
    pub(crate) fn load(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(|error| Failure::file(path, &error))?;
        Self::parse(&text, path).map_err(|Wrong(span, message)| {
            let (line, column) = position(&text, span.start);
            Failure::usage("A523", format!("{}:{line}:{column}: {message}", path.display()))
        })
    }

    fn parse(text: &str, path: &Path) -> Result<Self, Wrong> {
        let file: File = toml::from_str(text)
            .map_err(|error| Wrong(error.span().unwrap_or(0..0), one_line(error.message())))?;
        file.check(path.parent().unwrap_or(Path::new("")))
    }
}

/// What is wrong, and where: bytes of the text.
#[derive(Debug)]
struct Wrong(Range<usize>, String);

fn wrong<T>(span: Range<usize>, message: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(span, message.into()))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    repository: RepositoryTable,
    device: Spanned<DeviceTable>,
    slots: Option<Spanned<SlotsTable>>,
    hook: Option<Spanned<HookTable>>,
    #[serde(default)]
    schedule: ScheduleTable,
    #[serde(default)]
    policy: PolicyTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RepositoryTable {
    url: Spanned<String>,
    root_certificates: Option<PathBuf>,
    #[serde(default)]
    danger_allow_plain_http: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct DeviceTable {
    factory: PathBuf,
    id: Option<Spanned<String>>,
    id_file: Option<Spanned<PathBuf>>,
    runtime: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SlotsTable {
    state: PathBuf,
    a: Spanned<PathBuf>,
    b: Spanned<PathBuf>,
    size: Option<Spanned<String>>,
    running: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HookTable {
    state: PathBuf,
    staging: PathBuf,
    size: Spanned<String>,
    program: Spanned<Vec<String>>,
    deadline: Option<Spanned<String>>,
    boot_id: Option<PathBuf>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct ScheduleTable {
    every: Option<Spanned<String>>,
    retry: Option<Spanned<String>>,
    bytes_a_day: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct PolicyTable {
    windows: Vec<Spanned<String>>,
    time: Option<Spanned<String>>,
    consent: Option<PathBuf>,
    may_check: Option<Spanned<Vec<String>>>,
    may_download: Option<Spanned<Vec<String>>>,
    may_install: Option<Spanned<Vec<String>>>,
    may_restart: Option<Spanned<Vec<String>>>,
    health: Option<Spanned<Vec<String>>>,
    deadline: Option<Spanned<String>>,
    reboot: Option<Spanned<Vec<String>>>,
}

impl File {
    fn check(self, folder: &Path) -> Result<Config, Wrong> {
        let RepositoryTable { url, root_certificates, danger_allow_plain_http } = self.repository;
        if url.get_ref().is_empty() {
            return wrong(url.span(), "an address like https://updates.example.com/");
        }
        let device_span = self.device.span();
        let DeviceTable { factory, id, id_file, runtime } = self.device.into_inner();
        let id = match (id, id_file) {
            (Some(_), Some(file)) => {
                return wrong(file.span(), "the device has an `id` already; leave one of the two");
            }
            (Some(id), None) if id.get_ref().is_empty() => {
                return wrong(id.span(), "an empty id is that of every device; name this one");
            }
            (Some(id), None) => Id::Literal(id.into_inner()),
            (None, Some(file)) => Id::File(folder.join(file.into_inner())),
            (None, None) => Id::File("/etc/machine-id".into()),
        };
        let runtime = runtime.map_or("/run/tuffet-agent".into(), |runtime| folder.join(runtime));
        let storage = match (self.slots, self.hook) {
            (Some(slots), None) => slots.into_inner().check(folder, &runtime)?,
            (None, Some(hook)) => hook.into_inner().check(folder)?,
            (Some(_), Some(hook)) => {
                return wrong(hook.span(), "images go to [slots] or through a [hook]; leave one of the two");
            }
            (None, None) => return wrong(device_span, "where do images go? Add [slots] or [hook]"),
        };
        Ok(Config {
            url: url.into_inner(),
            root_certificates: root_certificates.map(|file| folder.join(file)),
            danger_allow_plain_http,
            factory: folder.join(factory),
            id,
            runtime,
            storage,
            settings: self.schedule.check()?,
            policy: self.policy.check(folder)?,
        })
    }
}

impl SlotsTable {
    fn check(self, folder: &Path, runtime: &Path) -> Result<Storage, Wrong> {
        let Self { state, a, b, size, running } = self;
        if a.get_ref() == b.get_ref() {
            return wrong(b.span(), "both slots are the same; an image would overwrite the one that runs");
        }
        Ok(Storage::Slots {
            state: folder.join(state),
            a: folder.join(a.into_inner()),
            b: folder.join(b.into_inner()),
            size: size.as_ref().map(bytes).transpose()?,
            running: running.map_or_else(|| runtime.join("running"), |file| folder.join(file)),
        })
    }
}

impl HookTable {
    fn check(self, folder: &Path) -> Result<Storage, Wrong> {
        let Self { state, staging, size, program, deadline, boot_id } = self;
        Ok(Storage::Hook {
            state: folder.join(state),
            staging: folder.join(staging),
            size: bytes(&size)?,
            program: command(program)?,
            deadline: deadline.as_ref().map_or(Ok(Duration::from_secs(600)), duration)?,
            boot_id: boot_id.map_or("/proc/sys/kernel/random/boot_id".into(), |file| folder.join(file)),
        })
    }
}

impl ScheduleTable {
    fn check(self) -> Result<Settings, Wrong> {
        let mut settings = Settings::default();
        if let Some(every) = &self.every {
            settings.every = seconds(every)?;
        }
        if let Some(retry) = &self.retry {
            settings.retry = seconds(retry)?;
        }
        if let Some(budget) = &self.bytes_a_day {
            // More than the engine counts is no bound.
            settings.bytes_a_day = u32::try_from(bytes(budget)?).unwrap_or(u32::MAX);
        }
        Ok(settings)
    }
}

impl PolicyTable {
    fn check(self, folder: &Path) -> Result<Policy, Wrong> {
        let zone = match &self.time {
            None => zone("local", 0..0)?,
            Some(time) => zone(time.get_ref(), time.span())?,
        };
        let windows = self.windows.iter().map(|text| {
            let message = "no window; write it as \"Mon-Fri 01:00-05:00\", \"Sat,Sun 22:00-04:00\" or \"daily 02:00-03:30\"";
            Window::parse(text.get_ref()).map_or_else(|| wrong(text.span(), message), Ok)
        });
        let optional = |words: Option<Spanned<Vec<String>>>| words.map(command).transpose();
        Ok(Policy {
            windows: Windows::new(windows.collect::<Result<_, _>>()?, zone),
            consent: self.consent.map(|file| folder.join(file)),
            may_check: optional(self.may_check)?,
            may_download: optional(self.may_download)?,
            may_install: optional(self.may_install)?,
            may_restart: optional(self.may_restart)?,
            health: optional(self.health)?,
            deadline: self.deadline.as_ref().map_or(Ok(Duration::from_secs(60)), duration)?,
            reboot: optional(self.reboot)?,
        })
    }
}

fn zone(name: &str, span: Range<usize>) -> Result<TimeZone, Wrong> {
    match name {
        "UTC" => Ok(TimeZone::UTC),
        // A machine that names no zone keeps UTC.
        "local" => Ok(TimeZone::try_system().unwrap_or(TimeZone::UTC)),
        name => TimeZone::get(name).map_or_else(
            |_| {
                wrong(
                    span,
                    "no such zone on this device; write \"UTC\", \"local\" or a name like \"Europe/Paris\"",
                )
            },
            Ok,
        ),
    }
}

fn command(words: Spanned<Vec<String>>) -> Result<Vec<String>, Wrong> {
    if words.get_ref().first().is_none_or(String::is_empty) {
        return wrong(words.span(), "a command is a list: the program, then its arguments");
    }
    Ok(words.into_inner())
}

fn seconds(text: &Spanned<String>) -> Result<u32, Wrong> {
    let message = "no duration; write it as \"90s\", \"5m\", \"1h 30m\" or \"1d\"";
    units::seconds(text.get_ref())
        .filter(|seconds| *seconds > 0)
        .map_or_else(|| wrong(text.span(), message), Ok)
}

fn duration(text: &Spanned<String>) -> Result<Duration, Wrong> {
    seconds(text).map(|seconds| Duration::from_secs(seconds.into()))
}

fn bytes(text: &Spanned<String>) -> Result<u64, Wrong> {
    let message = "no size; write it as \"500 kB\", \"20 MiB\" or \"1 GiB\"";
    units::bytes(text.get_ref()).filter(|bytes| *bytes > 0).map_or_else(|| wrong(text.span(), message), Ok)
}

/// Line and column, counted from 1, of a byte.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count();
    (before.matches('\n').count() + 1, column + 1)
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}
