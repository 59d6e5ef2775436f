//! `tuffet which-release`.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use tuffet::look::device::{self as look, Act, Answer, Considered, InChannel, Installed, Question};
use tuffet::release::change::is_paused;
use tuffet::repository::Workspace;
use tuffet::source::{self, Source};
use tuffet::{Error, Misuse};
use tuffet_client::release::{Hex, Verdict};
use tuffet_client::time::Date;
use tuffet_keys::date;
use tuffet_keys::text::plain;

use super::super::Facts;
use super::super::args::Output;
use super::super::release::candidate_json;
use super::{BOLD, GREEN, RED, Transport, YELLOW, painted, print};

#[derive(Args)]
#[command(after_help = "For example:
  tuffet which-release --device-id lamp-17 --hardware rev-a \\
      --installed 1.2.0
  tuffet which-release --device-id hex:00a1b2c3 --hardware rev-a \\
      --installed '#7' --at 'in 3 days' https://updates.example.com/

What it does now the device's own verifier says, against what is published. What it would do later goes by the same \
rule of choice, as if nothing else were published and each install succeeded. With --staged that rule alone is \
asked, for not everybody has signed that yet.")]
pub(crate) struct WhichRelease {
    /// The device's id, which gives it its place in a rollout: text, or bytes as hex:00a1b2
    #[arg(long, value_name = "ID", value_parser = device_id)]
    device_id: DeviceId,

    /// Its product; not needed where the hardware id says it
    #[arg(long, value_name = "NAME")]
    product: Option<String>,

    /// Its hardware id
    #[arg(long, value_name = "ID")]
    hardware: String,

    /// Its channel [default: all that there are]
    #[arg(long, value_name = "NAME")]
    channel: Option<String>,

    /// What it runs: a version, a sequence as '#7' (7 will do if no version is called so), or `factory`
    #[arg(long, value_name = "VERSION|#SEQUENCE|factory")]
    installed: String,

    /// Its security counter [default: that of what it runs, if a channel lists that, else 0]
    #[arg(long, value_name = "N")]
    counter: Option<u32>,

    /// Ask for this moment: a date, or a duration from now [default: now]
    #[arg(long, value_name = "WHEN")]
    at: Option<String>,

    /// A directory or URL that is served to devices [default: public/ of --repo]
    #[arg(value_name = "DIR|URL")]
    place: Option<String>,

    /// Ask what is staged instead
    #[arg(long, conflicts_with_all = ["place", "root"])]
    staged: bool,

    /// A root that devices have [default: root 1 of --repo]
    #[arg(long, value_name = "FILE")]
    root: Option<PathBuf>,

    #[command(flatten)]
    transport: Transport,
}

/// An id as it was given, and its bytes.
#[derive(Clone)]
struct DeviceId {
    given: String,
    bytes: Vec<u8>,
}

fn device_id(text: &str) -> Result<DeviceId, String> {
    let bytes = match text.strip_prefix("hex:") {
        None => text.as_bytes().to_vec(),
        Some(digits) => {
            let pairs = digits.as_bytes().chunks(2);
            let byte = |pair: &[u8]| {
                let text = core::str::from_utf8(pair)
                    .ok()
                    .filter(|text| text.len() == 2 && !text.starts_with('+'))?;
                u8::from_str_radix(text, 16).ok()
            };
            let bytes: Option<Vec<u8>> = pairs.map(byte).collect();
            bytes.ok_or_else(|| "not an even number of hexadecimal digits behind `hex:`".to_owned())?
        }
    };
    if bytes.is_empty() {
        return Err("a device id has one byte at the least".to_owned());
    }
    Ok(DeviceId { given: text.to_owned(), bytes })
}

pub(crate) fn run(repo: &Path, command: &WhichRelease, output: Output, now: u64) -> Result<(), Error> {
    let at = match &command.at {
        Some(text) => date::when(text, now).map_err(|error| error.at("--at"))?,
        None => now,
    };
    let mut question = Question {
        id: command.device_id.bytes.clone(),
        product: command.product.clone(),
        hardware: command.hardware.clone(),
        channel: command.channel.clone(),
        installed: Installed::parse(&command.installed),
        counter: command.counter,
        at,
        now,
    };
    let answer = if command.staged {
        look::staged(&Workspace::open(repo)?, &question)?
    } else {
        let workspace = workspace(repo, command)?;
        let mut source = source(command, workspace.as_ref())?;
        let root = root(command, workspace.as_ref())?;
        if let (None, None, Some(workspace)) = (&question.product, &command.place, &workspace) {
            // The policy knows; another repository is asked.
            let (product, _) = workspace.config().find(None, &question.hardware)?;
            question.product = Some(product.to_owned());
        }
        look::play(source.as_mut(), &root, &question)?
    };
    print(facts(command, &answer, at), output)
}

/// The workspace, which there need not be if a repository is named.
fn workspace(repo: &Path, command: &WhichRelease) -> Result<Option<Workspace>, Error> {
    match Workspace::open(repo) {
        Err(Error::Misuse(Misuse::NoWorkspace { .. })) if command.place.is_some() => Ok(None),
        workspace => workspace.map(Some),
    }
}

/// The root that the device has. What lies beside the files that are asked says nothing about them.
fn root(command: &WhichRelease, workspace: Option<&Workspace>) -> Result<Vec<u8>, Error> {
    match (&command.root, workspace) {
        (Some(path), _) => Ok(tuffet_keys::file::read(path)?),
        (None, Some(workspace)) => workspace.first_root(),
        (None, None) => {
            let why = "there is no workspace here whose root 1 to trust, so --root must be given";
            Err(Misuse::Options { why }.into())
        }
    }
}

/// Where the files are.
fn source(command: &WhichRelease, workspace: Option<&Workspace>) -> Result<Box<dyn Source>, Error> {
    match (&command.place, workspace) {
        (Some(place), _) => source::open(place, command.transport.options()),
        (None, Some(workspace)) => Ok(Box::new(Arc::clone(workspace.store()))),
        (None, None) => {
            Err(Misuse::Options { why: "there is no workspace here, so name a repository" }.into())
        }
    }
}

fn facts(command: &WhichRelease, answer: &Answer, at: u64) -> Facts {
    let Answer { sequence, version, counter, channels, played } = answer;
    let runs = match (sequence, version) {
        (0, _) => "what it came with".to_owned(),
        (sequence, Some(version)) => format!("release {sequence}, {}", plain(version)),
        (sequence, None) => format!("release {sequence}, which is not listed"),
    };
    let (id, date) = (plain(&command.device_id.given), Date(at));
    let mut lines = vec![
        painted(BOLD, &format!("device {id} of hardware {}, at {date}", plain(&command.hardware))),
        format!("it runs {runs}, and its security counter is {counter}"),
    ];
    if command.staged {
        lines.push("not all of what is staged is signed yet: this is by the rule of choice alone".to_owned());
    } else if !played {
        lines.push("what is signed now has expired by then: this is as if it were signed anew".to_owned());
    }
    for channel in channels {
        lines.push(String::new());
        lines.extend(channel_lines(channel, *sequence, *counter, at));
    }
    let json = json!({
        "at": date.to_string(),
        "device_id": Hex(&command.device_id.bytes).to_string(),
        "installed": { "sequence": sequence, "version": version, "counter": counter },
        "staged": command.staged,
        "played": played,
        "channels": channels.iter().map(channel_json).collect::<Vec<_>>(),
    });
    Facts { lines, json }
}

fn channel_lines(in_channel: &InChannel, runs: u32, counter: u32, at: u64) -> Vec<String> {
    let InChannel { channel, now, candidates, later } = in_channel;
    let version = |sequence: u32| {
        let found = candidates.iter().find(|considered| considered.candidate.sequence == sequence);
        found.map(|considered| considered.candidate.version.to_string()).unwrap_or_default()
    };
    let act = match now {
        Act::Install(sequence) => {
            painted(GREEN, &format!("it installs {}, release {sequence}", version(*sequence)))
        }
        Act::Halted(sequence) => painted(
            RED,
            &format!(
                "it does nothing: {}, release {sequence}, would be next and is halted",
                version(*sequence)
            ),
        ),
        Act::Stay => painted(YELLOW, "it does nothing"),
    };
    let mut lines = vec![format!("{channel}: {act}")];
    for considered in candidates {
        let candidate = &considered.candidate;
        let why = words(considered, *now, runs, counter, at);
        lines.push(format!("  {:>3}  {:<10}  {why}", candidate.sequence, candidate.version));
    }
    for (turn, sequence) in later {
        let when = match *turn > at {
            true => format!("{} ({})", Date(*turn), date::distance(*turn, at)),
            false => "with its next look".to_owned(),
        };
        lines.push(format!("  {when}: it installs {}, release {sequence}", version(*sequence)));
    }
    if later.is_empty() {
        lines.push("  later: nothing, until something else is published".to_owned());
    }
    lines
}

/// Why the device takes a candidate, or does not.
fn words(considered: &Considered, now: Act, runs: u32, counter: u32, at: u64) -> String {
    let Considered { candidate, verdict, halted, share } = considered;
    let mut why = match verdict {
        Verdict::Eligible if now == Act::Install(candidate.sequence) => {
            "eligible: the newest that it may have".to_owned()
        }
        Verdict::Eligible if now == Act::Halted(candidate.sequence) => {
            "eligible, and halted: nothing older comes in its place".to_owned()
        }
        Verdict::Eligible if *halted => "eligible, and halted".to_owned(),
        Verdict::Eligible => "eligible, and a newer one comes first".to_owned(),
        Verdict::NotNewer if candidate.sequence == runs => "it runs this".to_owned(),
        Verdict::NotNewer => "not newer than what it runs".to_owned(),
        Verdict::CounterTooLow => {
            format!("counter {} is lower than the device's, {counter}", candidate.counter)
        }
        Verdict::BelowMinimum => format!("only from release {} on", candidate.minimum),
        Verdict::Banned => "failed on this device".to_owned(),
        Verdict::NotYet(_) if is_paused(candidate) => "paused".to_owned(),
        Verdict::NotYet(turn) => format!("its turn comes {} ({})", Date(*turn), date::distance(*turn, at)),
    };
    if let Some(share) = share
        && matches!(verdict, Verdict::Eligible | Verdict::NotYet(_))
    {
        why += &format!("; among the first {share} %");
    }
    if *halted && *verdict != Verdict::Eligible {
        why += "; halted";
    }
    why
}

fn channel_json(in_channel: &InChannel) -> Value {
    let InChannel { channel, now, candidates, later } = in_channel;
    let (act, sequence) = match now {
        Act::Install(sequence) => ("install", Some(sequence)),
        Act::Halted(sequence) => ("halted", Some(sequence)),
        Act::Stay => ("stay", None),
    };
    let considered = |considered: &Considered| {
        let mut value = candidate_json(&considered.candidate);
        let (word, turn) = match considered.verdict {
            Verdict::Eligible => ("eligible", None),
            Verdict::NotNewer => ("not-newer", None),
            Verdict::CounterTooLow => ("counter-too-low", None),
            Verdict::BelowMinimum => ("below-minimum", None),
            Verdict::Banned => ("banned", None),
            Verdict::NotYet(turn) => ("not-yet", Some(Date(turn).to_string())),
        };
        value["verdict"] = json!(word);
        value["turn"] = json!(turn);
        value["halted"] = json!(considered.halted);
        value["among_first_percent"] = json!(considered.share);
        value
    };
    json!({
        "channel": channel.to_string(),
        "now": { "act": act, "sequence": sequence },
        "candidates": candidates.iter().map(considered).collect::<Vec<_>>(),
        "later": later.iter().map(|(turn, sequence)| {
            json!({ "at": Date(*turn).to_string(), "sequence": sequence })
        }).collect::<Vec<_>>(),
    })
}
