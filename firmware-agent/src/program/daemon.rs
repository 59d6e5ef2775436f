//! The daemon: one turn of the engine after the other, and sleep between them.

use std::fs;

use serde_json::{Value, json};
use tuffet_agent::agent::drive_until;
use tuffet_agent::boot::SlotImage;
use tuffet_agent::engine::{Engine, Outcome, Source, Turn, Want, Work};
use tuffet_agent::{Environment, Error, Product, Transport};
use tuffet_client::SOFTWARE;
use tuffet_client::time::Date;

use super::child::{Call, Ended};
use super::config::Config;
use super::device::{self, Starter};
use super::failure::{Failure, plain};
use super::policy::{Local, pause};
use super::signals::{Inbox, Woken, notify};
use super::storage::{Access, SlotFiles};
use super::{clock, files, report};

/// The file below the runtime directory that says what the daemon does.
pub(crate) const STATUS: &str = "status.json";

/// Seconds that a restart may take once its command has ended.
const RESTART: u32 = 10 * 60;

/// A device that updates itself.
type Device<'d> = Engine<'d, SlotFiles, Starter>;

/// Stays until a signal ends it.
pub(crate) fn run(config: &Config) -> Result<(), Failure> {
    let factory = device::factory(&config.factory)?;
    let id = device::id(&config.id)?;
    let inbox = Inbox::open()?;
    let mut transport = device::transport(config)?;
    let flash = SlotFiles::open(&config.storage, Access::Exclusive)?;
    let starter = Starter::of(&config.storage);
    if let Starter::Slots(direct) = &starter
        && direct.running.is_none()
    {
        tracing::warn!(
            "nothing says which image was started, so none can be confirmed: have the initramfs call `tuffet-agent boot-decision`"
        );
    }
    let mut engine = Engine::new(flash, starter, &SOFTWARE, factory.factory(), &id).with(config.settings);
    let (mut work, mut product) = (Work::default(), Local::new(config, true));
    // Made by systemd, as a rule.
    let _ = fs::create_dir_all(&config.runtime);
    tracing::info!("checks {} every {}", config.url, pause(config.settings.every));
    notify("READY=1");
    let mut last = String::new();
    loop {
        let Some((want, outcome)) = turn(&mut engine, &mut work, &mut transport, &mut product, &inbox) else {
            break;
        };
        if let Err(error) = engine.flash_mut().nor_mut().sync() {
            tracing::error!("{}: {}", config.storage.state().display(), plain(&error));
        }
        tell(&outcome, &product.file, &mut last);
        let seconds = match want {
            Want::Restart => restart(config, &product, image(&outcome)),
            Want::Wait(seconds) => seconds,
            Want::Fetch => 1,
        };
        write_status(config, &outcome, seconds);
        notify(&format!("STATUS={}; goes on in {}", said(&outcome), pause(seconds)));
        match inbox.wait(seconds) {
            Woken::Stop => break,
            Woken::Hurry => {
                tracing::info!("checks now: a signal asked for it");
                // Whatever is the same is told again to who asked.
                last.clear();
                engine.hurry();
            }
            Woken::Time => {}
        }
    }
    notify("STOPPING=1");
    // What it says is of a daemon that runs, or that ended otherwise than it should.
    let _ = fs::remove_file(config.runtime.join(STATUS));
    tracing::info!("ends: a signal asked for it");
    Ok(())
}

/// One turn; none if a signal ended it.
fn turn(
    engine: &mut Device<'_>,
    work: &mut Work,
    transport: &mut dyn Transport,
    product: &mut Local<'_>,
    inbox: &Inbox,
) -> Option<(Want, Result<Outcome, Error>)> {
    let error = match engine.turn(work, Source::Repository, product) {
        Ok(turn) => return drive(turn, transport, product, &|| inbox.stopped()),
        Err(error) => error,
    };
    let mut want = engine.after(&error, product);
    // Such a restart needs no leave, but a device that does not come out of it is not to restart for ever.
    if want == Want::Restart && product.restarted_too_often() {
        want = Want::Wait(60 * 60);
    }
    Some((want, Err(error)))
}

/// Drives a turn to its end, or until `stop` says so: then it is dropped, as a power cut would end it.
pub(crate) fn drive(
    mut turn: Turn<'_, SlotFiles, Starter>,
    transport: &mut dyn Transport,
    product: &mut dyn Product,
    stop: &dyn Fn() -> bool,
) -> Option<(Want, Result<Outcome, Error>)> {
    let is_over = drive_until(&mut turn, transport, product, stop);
    is_over.then(|| (turn.want(), turn.outcome().clone()))
}

/// Restarts the device, and says how long that may take; or how long to wait until the next try.
fn restart(config: &Config, product: &Local<'_>, image: Option<&SlotImage>) -> u32 {
    const NOT_NOW: u32 = 60;
    let Some(command) = &config.policy.reboot else {
        tracing::warn!("the device is to be restarted, and no `reboot` command is configured");
        return NOT_NOW;
    };
    // A restart that is not counted could come for ever.
    if let Err(error) = product.note_restart(image) {
        tracing::error!(
            "no restart: it could not be noted beside {}: {}",
            config.storage.state().display(),
            plain(&error)
        );
        return NOT_NOW;
    }
    tracing::info!("restarts the device: {}", command.join(" "));
    let deadline = config.policy.deadline;
    match (Call { command, argument: None, input: None, environment: &[], deadline }).run() {
        Ended::Exit(0) => RESTART,
        ended => {
            tracing::error!("the reboot command failed: {ended:?}");
            NOT_NOW
        }
    }
}

/// Tells how a turn ended, unless it ended as the one before.
fn tell(outcome: &Result<Outcome, Error>, file: &str, last: &mut String) {
    let line = match outcome {
        Ok(outcome) => report::outcome(outcome),
        Err(error @ Error::Environment(Environment::Transport(_))) => format!("{file}: {error}"),
        Err(error) => error.to_string(),
    };
    if line == *last {
        return;
    }
    match outcome {
        Ok(Outcome::NoContact(..) | Outcome::Reverted(_)) => tracing::warn!("{line}"),
        Ok(_) => tracing::info!("{line}"),
        Err(error) => tracing::error!(code = report::code(error), "[{}] {line}", report::code(error)),
    }
    *last = line;
}

fn said(outcome: &Result<Outcome, Error>) -> String {
    match outcome {
        Ok(outcome) => report::outcome(outcome),
        Err(error) => error.to_string(),
    }
}

fn image(outcome: &Result<Outcome, Error>) -> Option<&SlotImage> {
    match outcome {
        Ok(Outcome::Pending(image) | Outcome::Reverted(image)) => Some(image),
        _ => None,
    }
}

/// For `tuffet-agent status`. Who cannot write it tells so once.
fn write_status(config: &Config, outcome: &Result<Outcome, Error>, seconds: u32) {
    let Some(now) = clock() else { return };
    let next = now.saturating_add(seconds.into());
    let value = json!({
        "pid": std::process::id(),
        "outcome": said(outcome),
        "error": outcome.as_ref().err().map_or(Value::Null, |error| report::code(error).into()),
        "at": Date(now).to_string(),
        "at_seconds": now,
        "next": Date(next).to_string(),
        "next_seconds": next,
    });
    let path = config.runtime.join(STATUS);
    if let Err(error) = files::replace(&path, value.to_string().as_bytes()) {
        tracing::debug!("{}: {}", path.display(), plain(&error));
    }
}
