//! A simulated device whose flash is a file.

use std::fs::File;
use std::io::{self, Write as _};
use std::path::Path;

use tuffet_agent::agent::{Agent, Checked, Started};
use tuffet_agent::boot::{BootRecord, SlotImage};
use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::http::{HttpOptions, HttpTransport};
use tuffet_agent::{Bundle, Error, Event, Factory, Flash, FlashMap, Transport, Trust};
use tuffet_client::{Clock, SOFTWARE};

use super::cli::{Command, Output, Simulated};
use super::failure::Failure;
use super::report::{self, State, describe};
use super::{clock, device, read};

/// Bytes of a bundle that are read at once.
pub(crate) const CHUNK: usize = 16 * 1024;

/// Does what the command says.
pub(crate) fn run(simulated: &Simulated, command: &Command) -> Result<String, Failure> {
    let place = simulated.flash.clone().unwrap_or("device.nor".into());
    let file = device::factory(simulated.factory.as_deref().unwrap_or(Path::new("factory.json")))?;
    let factory = file.factory();
    let nor = FileFlash::open(&place).map_err(|error| Failure::file(&place, &error))?;
    let mut flash = Flash::new(nor, FlashMap::DEMO).map_err(Failure::from)?;
    if let Command::Status { output } = command {
        return Ok(status(&mut flash, &factory, *output)?);
    }

    let bundle = match command {
        Command::Bundle { file } => Some(file.as_path()),
        Command::Boot { bundle } => bundle.as_deref(),
        _ => None,
    };
    let mut transport: Box<dyn Transport> = match bundle {
        Some(path) => Box::new(open_bundle(path)?),
        None => Box::new(simulated.transport()?),
    };
    let id = simulated.device_id.as_bytes();
    let mut agent = Agent::new(flash, &mut *transport, &SOFTWARE, factory, id)?;
    let mut file = String::new();
    let outcome = match command {
        Command::Once | Command::Bundle { .. } => {
            agent.check(&mut now, &mut |event| narrate(&event, &mut file)).map(checked)
        }
        _ => {
            let healthy = &mut |_: &SlotImage| true;
            agent.boot(&mut now, healthy, &mut |event| narrate(&event, &mut file)).and_then(started)
        }
    };
    agent.flash_mut().nor_mut().sync().map_err(|error| Failure::file(&place, &error))?;
    outcome.map_err(|error| match bundle {
        Some(path) => Failure::of_bundle(path, &file, error),
        None => Failure::about(&file, error),
    })
}

fn open_bundle(path: &Path) -> Result<Bundle<File, CHUNK>, Failure> {
    let file = File::open(path).map_err(|error| Failure::file(path, &error))?;
    Bundle::open_in_chunks(file).map_err(|error| Failure::of_bundle(path, "", error))
}

impl Simulated {
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
fn narrate(event: &Event<'_>, file: &mut String) {
    if let Event::Fetch(request) = event {
        request.path.as_str().clone_into(file);
    }
    if let Some((_, line)) = report::event(event) {
        // Nobody is left to tell when standard error is closed.
        let _ = writeln!(io::stderr(), "{line}");
    }
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

fn status(flash: &mut Flash<FileFlash>, factory: &Factory<'_>, output: Output) -> Result<String, Error> {
    let record = BootRecord::load(flash)?;
    let trust = Trust::load(flash, &SOFTWARE, factory)?;
    let state = State { record: &record, trust: &trust, daemon: None };
    Ok(match output {
        Output::Text => state.text(),
        Output::Json => state.json(),
    })
}

fn now() -> Clock {
    clock().map_or(Clock::Unknown, Clock::At)
}
