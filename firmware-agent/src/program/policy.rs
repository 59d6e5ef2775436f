//! What the device allows, and when; and how it does.

use std::fs;
use std::io;
use std::path::PathBuf;

use tracing::Level;
use tuffet_agent::boot::SlotImage;
use tuffet_agent::product::{Ask, Health, Now};
use tuffet_agent::{Event, Product};
use tuffet_client::Clock;

use super::child::{Call, Ended};
use super::config::{Config, Policy};
use super::failure::plain;
use super::report::hex;
use super::{clock, files, report, units};

/// Restarts for one image, one soon after the other. A trial takes one, and one more to be rid of its image.
const RESTARTS: u32 = 4;

/// Seconds until such a count begins anew.
const DAY: u64 = 24 * 60 * 60;

/// What a restart is counted for that no image was named for.
const GIVEN_UP: &str = "given-up";

/// Of an image, every so many percent of it are told.
const STEP: u32 = 10;

/// A health command says by this status that it is too early to say: `EX_TEMPFAIL` of `sysexits.h`.
const TOO_EARLY: u8 = 75;

/// A Linux device.
pub(crate) struct Local<'c> {
    policy: &'c Policy,
    /// Which images the device was restarted for; none for who does not restart it.
    restarts: Option<PathBuf>,
    /// The file that is fetched, for messages.
    pub(crate) file: String,
    /// What was refused last, and why, so that it is told once.
    refused: String,
    /// Tens of percent that were told.
    told: u32,
    /// The image that runs was given up: to be rid of it needs no window, and nobody's leave.
    given_up: bool,
}

impl<'c> Local<'c> {
    /// The device of this configuration. One that the caller restarts counts its restarts.
    pub(crate) fn new(config: &'c Config, restarts: bool) -> Self {
        let restarts = restarts.then(|| files::beside(config.storage.state(), "restarts"));
        Self {
            policy: &config.policy,
            restarts,
            file: String::new(),
            refused: String::new(),
            told: 0,
            given_up: false,
        }
    }

    /// Notes a restart for this image, before it is made; or for the one that is being got rid of.
    pub(crate) fn note_restart(&self, image: Option<&SlotImage>) -> io::Result<()> {
        let Some(path) = &self.restarts else { return Ok(()) };
        let name = image.map_or(GIVEN_UP.to_owned(), key);
        let count = self.restarts_for(&name) + 1;
        files::replace(path, format!("{name} {count} {}\n", clock().unwrap_or(0)).as_bytes())
    }

    /// Whether restarts do not get rid of an image that was given up.
    pub(crate) fn restarted_too_often(&self) -> bool {
        self.restarts_for(GIVEN_UP) >= RESTARTS
    }

    /// How often the device was restarted for this, within a day.
    fn restarts_for(&self, name: &str) -> u32 {
        let noted = || {
            let text = fs::read_to_string(self.restarts.as_ref()?).ok()?;
            let mut words = text.strip_prefix(name)?.split_whitespace();
            let (count, at): (u32, u64) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            // A count of a day that has not come says nothing of today, either.
            let today = clock().is_none_or(|now| now.checked_sub(at).is_some_and(|ago| ago < DAY));
            today.then_some(count)
        };
        noted().unwrap_or(0)
    }

    /// Why this may not happen now.
    fn obstacle(&self, what: &Ask<'_>) -> Option<String> {
        let Policy { windows, consent, may_check, may_download, may_install, may_restart, reboot, .. } =
            self.policy;
        let in_window = || (!windows.is_open(clock())).then(|| "no maintenance window is open".to_owned());
        match what {
            Ask::Check => self.refusal(may_check.as_ref(), None),
            Ask::Download(image) => self.refusal(may_download.as_ref(), Some(image)),
            Ask::Install(image) => in_window()
                .or_else(|| {
                    let file = consent.as_ref().filter(|file| !file.exists())?;
                    Some(format!("there is no consent: {} is not there", file.display()))
                })
                .or_else(|| self.refusal(may_install.as_ref(), Some(image))),
            Ask::Restart(image) => {
                // Who restarts the device himself needs no leave for it.
                self.restarts.as_ref()?;
                if reboot.is_none() {
                    return Some("no `reboot` command is configured; restart the device".to_owned());
                }
                let leave = || in_window().or_else(|| self.refusal(may_restart.as_ref(), Some(image)));
                (if self.given_up { None } else { leave() })
                    .or_else(|| {
                        let count = self.restarts_for(&key(image));
                        (count >= RESTARTS).then(|| format!(
                            "the device was restarted {count} times for it, and did not try it; does its boot call \
                             `tuffet-agent boot-decision`, or its hook have the image started? Once more in a day"
                        ))
                    })
            }
        }
    }

    /// What a command of the product says.
    fn refusal(&self, command: Option<&Vec<String>>, image: Option<&SlotImage>) -> Option<String> {
        let command = command?;
        match self.run(command, image) {
            Ended::Exit(0) => None,
            Ended::Exit(status) => Some(format!("{} says no (status {status})", program(command))),
            ended => Some(self.failure(command, &ended)),
        }
    }

    fn run(&self, command: &[String], image: Option<&SlotImage>) -> Ended {
        let environment = image.map_or(Vec::new(), |image| {
            vec![
                ("TUFFET_VERSION", image.version.as_str().to_owned()),
                ("TUFFET_SEQUENCE", image.sequence.to_string()),
                ("TUFFET_SHA256", hex(&image.digest)),
                ("TUFFET_LENGTH", image.length.to_string()),
            ]
        });
        let deadline = self.policy.deadline;
        Call { command, argument: None, input: None, environment: &environment, deadline }.run()
    }

    fn failure(&self, command: &[String], ended: &Ended) -> String {
        let program = program(command);
        match ended {
            Ended::Exit(status) => format!("{program} ended with status {status}"),
            Ended::Killed(signal) => format!("{program} was ended by signal {signal}"),
            Ended::Late => format!("{program} did not end in {} s", self.policy.deadline.as_secs()),
            Ended::NotStarted(error) => format!("{program}: {}", plain(error)),
        }
    }
}

impl Product for Local<'_> {
    fn now(&mut self) -> Now {
        Now { clock: clock().map_or(Clock::Unknown, Clock::At), uptime: uptime() }
    }

    fn may(&mut self, what: Ask<'_>) -> bool {
        let Some(obstacle) = self.obstacle(&what) else { return true };
        let line = match &what {
            Ask::Check => format!("no check now: {obstacle}"),
            Ask::Download(image) => format!("{} is not downloaded now: {obstacle}", image.version),
            Ask::Install(image) => format!("{} is not installed now: {obstacle}", image.version),
            Ask::Restart(image) => format!("no restart now for {}: {obstacle}", image.version),
        };
        if line != self.refused {
            tracing::info!("{line}");
            self.refused = line;
        }
        false
    }

    fn health(&mut self, image: &SlotImage) -> Health {
        let Some(command) = &self.policy.health else { return Health::Good };
        match self.run(command, Some(image)) {
            Ended::Exit(0) => Health::Good,
            Ended::Exit(TOO_EARLY) => Health::Unknown,
            ended => {
                tracing::error!("{} is not healthy: {}", image.version, self.failure(command, &ended));
                Health::Bad
            }
        }
    }

    fn observe(&mut self, event: Event<'_>) {
        match &event {
            Event::Fetch(request) => {
                request.path.as_str().clone_into(&mut self.file);
                tracing::debug!("fetches {}", request.path);
            }
            Event::Selected(_) => (self.told, self.given_up) = (0, false),
            Event::Reverted(_) => self.given_up = true,
            Event::Download { received, length } => {
                let percent = u64::from(*received) * 100 / u64::from((*length).max(1));
                let step = u32::try_from(percent).unwrap_or(100) / STEP;
                if step > self.told {
                    self.told = step;
                    tracing::info!(received, length, "downloads: {percent} %");
                }
            }
            _ => {}
        }
        match report::event(&event) {
            Some((Level::WARN, line)) => tracing::warn!("{line}"),
            Some((_, line)) => tracing::info!("{line}"),
            None => {}
        }
    }
}

/// What a count of restarts is of.
fn key(image: &SlotImage) -> String {
    format!("{}-{}", image.sequence, hex(&image.digest))
}

fn program(command: &[String]) -> &str {
    command.first().map_or("", String::as_str)
}

/// Seconds since the machine started.
fn uptime() -> u32 {
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    text.split('.').next().and_then(|seconds| seconds.parse().ok()).unwrap_or(0)
}

/// For a person: how long until something happens again.
pub(crate) fn pause(seconds: u32) -> String {
    units::about(seconds.into())
}
