//! The commands of a Linux device, but for the daemon.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use serde_json::json;
use sha2::{Digest as _, Sha256};
use tuffet_agent::boot::{self, BootRecord, Reason, SlotImage};
use tuffet_agent::engine::{Engine, Outcome, Source, Work};
use tuffet_agent::handover::Installer as _;
use tuffet_agent::{
    Bundle, Error, Factory, FactoryImage, Flash, SlotId, Transport, Trust, provision as provision_slots,
    provision_trust,
};
use tuffet_client::SOFTWARE;

use super::cli::{Output, Provision};
use super::config::{Config, Storage};
use super::daemon::{self, STATUS};
use super::device::{self, Quoted, Starter};
use super::failure::{Failure, plain};
use super::hook::Hook;
use super::policy::Local;
use super::report::{State, describe, hex};
use super::simulated::CHUNK;
use super::storage::{Access, SlotFiles};
use super::{clock, files, read, report};

/// Turns of one check: a trial that is proved, and an image that is taken back, lead to one more.
const TURNS: usize = 3;

/// Checks the repository, or a bundle, once.
pub(crate) fn once(config: &Config, bundle: Option<&Path>) -> Result<String, Failure> {
    let factory = device::factory(&config.factory)?;
    let id = device::id(&config.id)?;
    let mut transport: Box<dyn Transport> = match bundle {
        Some(path) => {
            let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
            let opened = Bundle::<File, CHUNK>::open_in_chunks(file);
            Box::new(opened.map_err(|error| Failure::of_bundle(path, "", error))?)
        }
        None => Box::new(device::transport(config)?),
    };
    let source = if bundle.is_some() { Source::Bundle } else { Source::Repository };
    let flash = SlotFiles::open(&config.storage, Access::Exclusive)?;
    let starter = Starter::of(&config.storage);
    let mut engine = Engine::new(flash, starter, &SOFTWARE, factory.factory(), &id).with(config.settings);
    let (mut work, mut product) = (Work::default(), Local::new(config, false));
    let mut lines = String::new();
    for _ in 0..TURNS {
        engine.hurry();
        let outcome = match engine.turn(&mut work, source, &mut product) {
            // Nobody stops it but by ending the process.
            Ok(turn) => daemon::drive(turn, &mut *transport, &mut product, &|| false)
                .map_or(Ok(Outcome::NotAllowed), |(_, outcome)| outcome),
            Err(error) => Err(error),
        };
        engine.flash_mut().nor_mut().sync().map_err(|error| Failure::file(config.storage.state(), &error))?;
        let outcome = outcome.map_err(|error| match bundle {
            Some(path) => Failure::of_bundle(path, &product.file, error),
            None => Failure::about(&product.file, error),
        })?;
        if let Outcome::NoContact(_, error) = &outcome {
            return Err(Failure::about(&product.file, *error));
        }
        lines.push_str(&report::outcome(&outcome));
        lines.push('\n');
        if !matches!(outcome, Outcome::Confirmed(_) | Outcome::Superseded) {
            break;
        }
    }
    Ok(lines)
}

/// What the device is. Works while the daemon does.
pub(crate) fn status(config: &Config, output: Output) -> Result<String, Failure> {
    let factory = device::factory(&config.factory)?;
    let mut flash = SlotFiles::open(&config.storage, Access::Look)?;
    let record = BootRecord::load(&mut flash)?;
    let trust = Trust::load(&mut flash, &SOFTWARE, &factory.factory())?;
    let said = fs::read(config.runtime.join(STATUS)).ok();
    let said = said.and_then(|said| serde_json::from_slice(&said).ok());
    let state = State { record: &record, trust: &trust, daemon: said.zip(clock()) };
    Ok(match output {
        Output::Text => state.text(),
        Output::Json => state.json(),
    })
}

/// Which slot starts.
pub(crate) fn boot_decision(config: &Config, output: Output) -> Result<String, Failure> {
    let Storage::Slots { running, .. } = &config.storage else {
        let line = "the configuration has a [hook], which decides what starts; boot-decision is for [slots]";
        return Err(Failure::usage("A526", line.to_owned()));
    };
    let mut flash = SlotFiles::open(&config.storage, Access::Exclusive)?;
    let decision = boot::decide_boot(&mut flash)?;
    flash.nor_mut().sync().map_err(|error| Failure::file(config.storage.state(), &error))?;
    if let Some(error) = decision.unrecorded {
        tracing::warn!("boot record: {error}");
    }
    let SlotImage { slot, length, digest, sequence, .. } = decision.start;
    let offset = flash.map().slot(slot).offset;
    let path = flash.nor_mut().path_at(offset).to_owned();
    // What starts, starts; it then cannot confirm itself, and says so.
    if let Err(error) = write_running(running, &digest) {
        tracing::warn!("{}: {}", running.display(), plain(&error));
    }
    let (reason, tries_left) = match decision.reason {
        Reason::Active => ("active", None),
        Reason::Trial { tries_left } => ("trial", Some(tries_left)),
        Reason::TriesSpent => ("tries-spent", None),
        Reason::TrialDamaged => ("trial-damaged", None),
        Reason::TryNotRecorded => ("try-not-recorded", None),
        _ => ("active-damaged", None),
    };
    let slot = slot.to_string().to_lowercase();
    Ok(match output {
        Output::Json => {
            let value = json!({
                "slot": slot, "path": path, "length": length, "sha256": hex(&digest), "sequence": sequence,
                "reason": reason, "tries_left": tries_left,
            });
            format!("{value:#}\n")
        }
        Output::Text => format!(
            "slot={slot}\npath={}\nlength={length}\nsha256={}\nsequence={sequence}\nreason={reason}\ntries_left={}\n",
            Quoted(&path),
            hex(&digest),
            tries_left.map_or(String::new(), |tries| tries.to_string())
        ),
    })
}

fn write_running(path: &Path, digest: &[u8; 32]) -> std::io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    files::replace(path, format!("{}\n", hex(digest)).as_bytes())
}

/// Sets a device up.
pub(crate) fn provision(config: &Config, arguments: &Provision) -> Result<String, Failure> {
    let Provision { image, version, sequence, danger_forget_device } = arguments;
    let factory = device::factory(&config.factory)?;
    let factory = factory.factory();
    let state = config.storage.state();
    match fs::metadata(state) {
        Ok(_) if !danger_forget_device => {
            let line = format!(
                "{}: is there already; a device is set up once, for its floors and its security counter are in it",
                state.display()
            );
            return Err(Failure { label: "A527".to_owned(), line, status: 1 });
        }
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(Failure::file(state, &error)),
        _ => {}
    }
    let image = match (&config.storage, image) {
        (Storage::Slots { .. }, Some(image)) => Some(read(image)?),
        (Storage::Slots { .. }, None) => {
            return Err(Failure::usage("A528", "which image starts first? Say it with --image".to_owned()));
        }
        (Storage::Hook { .. }, None) => None,
        (Storage::Hook { .. }, Some(_)) => {
            let line = "with a [hook] the image that runs is the first one; leave --image out";
            return Err(Failure::usage("A528", line.to_owned()));
        }
    };
    // Slots before the state, so that a fault of theirs leaves no state behind.
    let existed = state.exists();
    let made = SlotFiles::open(&config.storage, Access::Create)
        .and_then(|mut flash| fill(&mut flash, config, &factory, image.as_deref(), version, *sequence));
    made.inspect_err(|_| {
        if !existed {
            // It says nothing, and would keep the next attempt from beginning.
            let _ = fs::remove_file(state);
        }
    })
}

fn fill(
    flash: &mut Flash<SlotFiles>,
    config: &Config,
    factory: &Factory<'_>,
    image: Option<&[u8]>,
    version: &str,
    sequence: u32,
) -> Result<String, Failure> {
    match (&config.storage, image) {
        (Storage::Hook { state, program, deadline, boot_id, .. }, _) => {
            let digest = Hook::new(program, *deadline, boot_id, state).running()?;
            let version = version.parse().map_err(|_| Error::from(tuffet_agent::Misuse::Version))?;
            let active =
                SlotImage { slot: SlotId::A, length: 0, digest, sequence, counter: factory.counter, version };
            provision_trust(flash, &SOFTWARE, factory)?;
            let record = BootRecord::factory(active);
            record.store(flash)?;
            record.store_apart(flash)?;
        }
        (Storage::Slots { .. }, bytes) => {
            let image = FactoryImage { bytes: bytes.unwrap_or_default(), sequence, version };
            provision_slots(flash, &SOFTWARE, factory, &image)?;
            debug_assert_eq!(
                BootRecord::load(flash)?.active.digest,
                <[u8; 32]>::from(Sha256::digest(bytes.unwrap_or_default()))
            );
        }
    }
    flash.nor_mut().sync().map_err(|error| Failure::file(config.storage.state(), &error))?;
    let active = BootRecord::load(flash)?.active;
    Ok(format!("set up: {}\nsha256: {}\n", describe(&active), hex(&active.digest)))
}
