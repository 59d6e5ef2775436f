//! `tuffet diff`.

use std::path::Path;

use anstyle::Style;
use clap::Args;
use serde_json::{Value, json};
use tuffet::look::diff::{
    self as look, Difference, Edition, ReleaseChange, RoleChange, TargetChange, TargetFile,
};
use tuffet::look::place::Place;
use tuffet::release::ramp_words;
use tuffet::repository::Workspace;
use tuffet::{Error, Rejected};
use tuffet_client::Candidate;
use tuffet_client::time::Date;
use tuffet_keys::date;
use tuffet_keys::text::plain;

use super::super::Facts;
use super::super::args::Output;
use super::super::release::candidate_json;
use super::{BOLD, GREEN, RED, Transport, YELLOW, most, painted, print};

#[derive(Args)]
#[command(after_help = "For example:
  tuffet diff                  what the next publication changes
  tuffet diff https://updates.example.com/
                               from what a server has to what is published here
  tuffet diff old/ new/
  tuffet diff public/3.targets.json staged/targets.request.json

A file is compared with a file, or with that role of a repository. Signatures are not compared; of other places \
than this repository they are not verified either, and it says so.

Exit status: 0, whether or not there is a difference; with --exit-code 1 if there is one; 2 wrong usage, 3 the \
machine failed. What cannot be read is refused with 1.")]
pub(crate) struct Diff {
    /// A repository, metadata file or signing request [default: what is published]
    #[arg(value_name = "A")]
    before: Option<String>,

    /// Another [default: what is published, or without A what is staged]
    #[arg(value_name = "B", requires = "before")]
    after: Option<String>,

    /// Let the exit status say whether there is a difference
    #[arg(long)]
    exit_code: bool,

    /// Show everything; on a terminal long lists are cut else
    #[arg(long)]
    all: bool,

    #[command(flatten)]
    transport: Transport,
}

/// Entries of one list that a terminal shows.
const SOME: usize = 25;

pub(crate) fn run(repo: &Path, command: &Diff, output: Output, now: u64) -> Result<(), Error> {
    let options = || command.transport.options();
    let (before, after, difference) = match (&command.before, &command.after) {
        (None, _) => {
            let difference = look::staged(&Workspace::open(repo)?, now)?;
            ("published".to_owned(), "staged".to_owned(), difference)
        }
        (Some(before), after) => {
            let after = match after {
                Some(after) => after.clone(),
                None => Workspace::open(repo)?.public().display().to_string(),
            };
            let (one, other) = (Place::open(before, options())?, Place::open(&after, options())?);
            (plain(before), plain(&after), look::diff(one, other, now)?)
        }
    };
    let verified = command.before.is_none();
    let all = most(command.all, SOME);
    print(facts(&before, &after, &difference, verified, all, now), output)?;
    match command.exit_code && !difference.is_empty() {
        true => Err(Rejected::Differs { before, after }.into()),
        false => Ok(()),
    }
}

/// New, gone, or otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mark {
    New,
    Gone,
    Changed,
}

impl Mark {
    fn of<T>(before: Option<&T>, after: Option<&T>) -> Mark {
        match (before, after) {
            (None, _) => Mark::New,
            (_, None) => Mark::Gone,
            _ => Mark::Changed,
        }
    }

    fn sign(self) -> (&'static str, Style) {
        match self {
            Mark::New => ("+", GREEN),
            Mark::Gone => ("-", RED),
            Mark::Changed => ("~", YELLOW),
        }
    }

    fn line(self, text: &str) -> String {
        let (sign, style) = self.sign();
        painted(style, &format!("  {sign} {text}"))
    }
}

fn facts(before: &str, after: &str, difference: &Difference, verified: bool, most: usize, now: u64) -> Facts {
    let Difference { roles, releases, targets, terms, halts } = difference;
    let mut lines = vec![painted(BOLD, &format!("{before} -> {after}"))];
    if difference.is_empty() {
        lines.push("no difference".to_owned());
    }
    let mut section = |title: String, entries: Vec<String>, what: &str| {
        if entries.is_empty() {
            return;
        }
        lines.push(painted(BOLD, &title));
        let left = entries.len().saturating_sub(most);
        lines.extend(entries.into_iter().take(most));
        if left > 0 {
            lines.push(format!("    ... and {} more {what} (--all shows them)", grouped(left)));
        }
    };
    section("roles".to_owned(), roles.iter().map(|role| role_line(role, now)).collect(), "roles");
    let mut channels: Vec<&[ReleaseChange]> =
        releases.chunk_by(|one, other| one.channel == other.channel).collect();
    for releases in channels.drain(..) {
        let title = releases.first().map(|release| release.channel.to_string()).unwrap_or_default();
        section(
            plain(&title),
            releases.iter().flat_map(|release| release_lines(release, now)).collect(),
            "lines",
        );
    }
    let count = |mark: Mark| {
        targets
            .iter()
            .filter(|target| Mark::of(target.before.as_ref(), target.after.as_ref()) == mark)
            .count()
    };
    let [new, gone, replaced] = [Mark::New, Mark::Gone, Mark::Changed].map(count);
    let title = [(new, "new"), (gone, "gone"), (replaced, "replaced")];
    let title = title
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, word)| format!("{} {word}", grouped(*count)));
    let title = format!("targets: {}", title.collect::<Vec<_>>().join(", "));
    section(title, targets.iter().map(target_line).collect(), "targets");
    let terms_lines = terms.iter().map(|(role, change)| {
        let mark = Mark::of(change.before.as_ref(), change.after.as_ref());
        let text = change.to_string();
        mark.line(&format!("{role}: {}", text.get(2..).unwrap_or(&text)))
    });
    section("keys, thresholds, delegations and the like".to_owned(), terms_lines.collect(), "lines");
    let halts_lines = halts.iter().map(|(digest, halted)| match halted {
        true => Mark::New.line(&format!("image {}", plain(digest))),
        false => Mark::Gone.line(&format!("image {}", plain(digest))),
    });
    section("halted".to_owned(), halts_lines.collect(), "images");
    if !verified {
        lines.push("no signatures were verified: `tuffet verify` does that".to_owned());
    }
    Facts { lines, json: json(before, after, difference, verified) }
}

fn role_line(change: &RoleChange, now: u64) -> String {
    let RoleChange { role, before, after, signatures } = change;
    let version = |edition: &Edition| edition.version.map_or("?".to_owned(), |version| version.to_string());
    let expires = |edition: &Edition| edition.expires.map_or("?".to_owned(), |date| Date(date).to_string());
    let mut text = match (before, after) {
        (Some(before), Some(after)) => {
            let (old, new) = (version(before), version(after));
            if old == new { format!("{role} {new}, other bytes") } else { format!("{role} {old} -> {new}") }
        }
        (Some(only), None) | (None, Some(only)) => format!("{role} {}", version(only)),
        (None, None) => role.to_string(),
    };
    if let Some(after) = after {
        text += &format!(", expires {}", expires(after));
        text += &after.expires.map(|date| format!(" ({})", date::distance(date, now))).unwrap_or_default();
    }
    for progress in signatures {
        text += &format!(", signed {} of {}", progress.have, progress.need);
    }
    Mark::of(before.as_ref(), after.as_ref()).line(&text)
}

fn release_lines(change: &ReleaseChange, now: u64) -> Vec<String> {
    let terms = |candidate: &Candidate| {
        let from = match candidate.minimum {
            0 => String::new(),
            minimum => format!(", from release {minimum} on"),
        };
        format!("counter {}{from}, {}", candidate.counter, ramp_words(candidate, now))
    };
    match (&change.before, &change.after) {
        (Some(before), Some(after)) => {
            let mut what = Vec::new();
            let mut differs = |name: &str, old: String, new: String| {
                if old != new {
                    what.push(format!("{name} {old} -> {new}"));
                }
            };
            differs("version", before.version.to_string(), after.version.to_string());
            differs("counter", before.counter.to_string(), after.counter.to_string());
            differs("minimum", before.minimum.to_string(), after.minimum.to_string());
            let image = |candidate: &Candidate| {
                format!("{} {}", candidate.image.path, tuffet_client::release::Hex(&candidate.image.sha256))
            };
            differs("image", image(before), image(after));
            differs("rollout:", ramp_words(before, now), ramp_words(after, now));
            if what.is_empty() {
                // In words both ramps may be the same today.
                let ramp = |candidate: &Candidate| {
                    candidate.rollout.map_or("none".to_owned(), |rollout| {
                        format!("{} to {}", Date(rollout.start), Date(rollout.end))
                    })
                };
                what.push(format!("rollout {} -> {}", ramp(before), ramp(after)));
            }
            let mut what = what.into_iter();
            let first = what.next().unwrap_or_default();
            let line = format!("{:>3}  {}  {first}", after.sequence, after.version);
            [line].into_iter().chain(what).map(|line| Mark::Changed.line(&line)).collect()
        }
        (None, Some(candidate)) => {
            vec![Mark::New.line(&format!(
                "{:>3}  {}  {}",
                candidate.sequence,
                candidate.version,
                terms(candidate)
            ))]
        }
        (Some(candidate), None) => {
            vec![Mark::Gone.line(&format!("{:>3}  {}", candidate.sequence, candidate.version))]
        }
        (None, None) => Vec::new(),
    }
}

fn target_line(change: &TargetChange) -> String {
    let TargetChange { path, before, after } = change;
    let length = |file: &TargetFile| file.length.map_or("?".to_owned(), |length| format!("{length} bytes"));
    let path = plain(path);
    let text = match (before, after) {
        (Some(before), Some(after)) if (&before.length, &before.sha256) == (&after.length, &after.sha256) => {
            match before.role == after.role {
                true => format!("{path}  the same bytes on other terms"),
                false => format!("{path}  now of {}, was of {}", after.role, before.role),
            }
        }
        (Some(before), Some(after)) => format!("{path}  {} -> {}", length(before), length(after)),
        (Some(only), None) | (None, Some(only)) => format!("{path}  {}", length(only)),
        (None, None) => path,
    };
    Mark::of(before.as_ref(), after.as_ref()).line(&text)
}

fn json(before: &str, after: &str, difference: &Difference, verified: bool) -> Value {
    let Difference { roles, releases, targets, terms, halts } = difference;
    let edition = |edition: &Edition| json!({ "version": edition.version, "expires": edition.expires.map(|date| Date(date).to_string()) });
    let role = |change: &RoleChange| {
        let signed =
            change.signatures.iter().map(|it| json!({ "by": it.by(), "have": it.have, "need": it.need }));
        json!({ "role": change.role.name(), "before": change.before.as_ref().map(edition),
                "after": change.after.as_ref().map(edition), "signatures": signed.collect::<Vec<_>>() })
    };
    let release = |change: &ReleaseChange| {
        json!({ "channel": change.channel.to_string(), "before": change.before.as_ref().map(candidate_json),
                "after": change.after.as_ref().map(candidate_json) })
    };
    let file =
        |file: &TargetFile| json!({ "role": file.role.name(), "length": file.length, "sha256": file.sha256 });
    let target = |change: &TargetChange| {
        json!({ "path": change.path, "before": change.before.as_ref().map(file),
                "after": change.after.as_ref().map(file) })
    };
    json!({
        "before": before,
        "after": after,
        "differs": !difference.is_empty(),
        "signatures_verified": verified,
        "roles": roles.iter().map(role).collect::<Vec<_>>(),
        "releases": releases.iter().map(release).collect::<Vec<_>>(),
        "targets": targets.iter().map(target).collect::<Vec<_>>(),
        "terms": terms.iter().map(|(role, change)| {
            json!({ "role": role.name(), "place": change.place, "before": change.before, "after": change.after })
        }).collect::<Vec<_>>(),
        "halts": halts.iter().map(|(digest, halted)| json!({ "sha256": digest, "halted": halted })).collect::<Vec<_>>(),
    })
}

fn grouped(number: usize) -> String {
    tuffet::look::grouped(number as u64)
}
