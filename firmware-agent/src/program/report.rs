//! What the program says: events, outcomes and state, for people and as JSON.

use serde_json::{Value, json};
use tracing::Level;
use tuffet_agent::boot::{BootRecord, SlotImage};
use tuffet_agent::engine::Outcome;
use tuffet_agent::ledger::Failure;
use tuffet_agent::{Error, Event, Trust};
use tuffet_client::time::Date;

use super::units;

pub(crate) fn describe(image: &SlotImage) -> String {
    let SlotImage { slot, sequence, version, .. } = image;
    format!("{version} (sequence {sequence}) in slot {slot}")
}

/// Hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What a person would want to know of an event.
pub(crate) fn event(event: &Event<'_>) -> Option<(Level, String)> {
    Some(match event {
        Event::TrustLost(_) | Event::PassedOver(_) => (Level::WARN, event.to_string()),
        Event::Selected(_) | Event::Resumed(_) => (Level::INFO, event.to_string()),
        Event::Start(decision) => (Level::WARN, format!("boot record: {}", decision.unrecorded.as_ref()?)),
        _ => return None,
    })
}

/// How a turn ended, for a log and for a person.
pub(crate) fn outcome(outcome: &Outcome) -> String {
    match outcome {
        Outcome::UpToDate => "up to date".to_owned(),
        Outcome::Staged(image) => format!("downloaded: {}; it may not be installed yet", describe(image)),
        Outcome::Pending(image) => format!("pending: {}; restart to try it", describe(image)),
        Outcome::Superseded => "the repository took the image back; check again".to_owned(),
        Outcome::Confirmed(image) => format!("confirmed: {}", describe(image)),
        Outcome::Reverted(image) => format!("reverted: {}; restart", describe(image)),
        Outcome::Undecided(image) => {
            format!("on trial: {}; it does not know yet how it does", describe(image))
        }
        Outcome::NoContact(image, error) => {
            format!("on trial: {}; no contact with the repository: {error}", describe(image))
        }
        Outcome::NotAllowed => "nothing may be done now".to_owned(),
        Outcome::TooEarly => "too early after a failure".to_owned(),
        Outcome::Spent => "as much as a day may cost was spent; the rest comes tomorrow".to_owned(),
        other => format!("{other:?}"),
    }
}

/// What the ledger counts for an image that found itself unfit.
const UNFIT: u8 = u8::MAX;

/// What a device is, as `status` shows it.
pub(crate) struct State<'s> {
    pub(crate) record: &'s BootRecord,
    pub(crate) trust: &'s Trust,
    /// What the daemon wrote, and the time now.
    pub(crate) daemon: Option<(Value, u64)>,
}

impl State<'_> {
    pub(crate) fn text(&self) -> String {
        let Self { record: BootRecord { active, trial, ended, .. }, trust, daemon } = self;
        let Trust { trusted, memory, lost } = trust;
        let mut lines = vec![format!("active: {}", describe(active))];
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
            memory.ledger.failures().map(|failure| {
                format!("failed: sequence {}, {} against it", failure.sequence, failure.count)
            }),
        );
        if let Some((said, now)) = daemon {
            let seconds = |field: &str| said[field].as_u64().unwrap_or(0);
            let ago = now.saturating_sub(seconds("at_seconds"));
            let outcome = said["outcome"].as_str().unwrap_or_default();
            lines.push(format!("daemon: {} ago: {outcome}", units::about(ago)));
            let next = seconds("next_seconds");
            lines.push(match next.checked_sub(*now) {
                Some(left) => format!("daemon: goes on in {}", units::about(left)),
                None => format!("daemon: was to go on {} ago", units::about(now - next)),
            });
        }
        lines.push(String::new());
        lines.join("\n")
    }

    pub(crate) fn json(&self) -> String {
        let Self { record: BootRecord { active, trial, ended, trials, staged }, trust, daemon } = self;
        let Trust { trusted, memory, lost } = trust;
        let (root, floors) = (trusted.root(), trusted.floors());
        let failures: Vec<Value> = memory
            .ledger
            .failures()
            .map(|failure| {
                let Failure { digest, sequence, count } = failure;
                json!({ "sequence": sequence, "sha256": hex(digest), "unfit": *count == UNFIT, "count": count })
            })
            .collect();
        let trial = trial.as_ref().map(|trial| {
            let mut value = image(&trial.image);
            value["tries_left"] = trial.tries_left.into();
            value
        });
        let ended = ended.map(|ended| {
            json!({ "sequence": ended.sequence, "sha256": hex(&ended.digest), "end": format!("{:?}", ended.end) })
        });
        let value = json!({
            "active": image(active),
            "trial": trial,
            "last_trial": ended,
            "trials": trials,
            "staged_sha256": staged.map(|digest| hex(&digest)),
            "trust_lost": lost.map(|lost| format!("{lost:?}")),
            "root": { "version": root.version(), "expires": Date(root.expires()).to_string() },
            "timestamp": floors.timestamp_version(),
            "snapshot": floors.snapshot_version(),
            "targets": floors.targets_version(),
            "security_counter": memory.counter.max(active.counter),
            "failures": failures,
            "daemon": daemon.as_ref().map(|(said, _)| said),
        });
        format!("{value:#}\n")
    }
}

/// An image as JSON.
pub(crate) fn image(image: &SlotImage) -> Value {
    let SlotImage { slot, length, digest, sequence, counter, version } = image;
    json!({
        "slot": slot.to_string(),
        "version": version.as_str(),
        "sequence": sequence,
        "security_counter": counter,
        "length": length,
        "sha256": hex(digest),
    })
}

/// An error as logs and JSON name it.
pub(crate) fn code(error: &Error) -> String {
    format!("{}{}", error.letter(), error.code())
}
