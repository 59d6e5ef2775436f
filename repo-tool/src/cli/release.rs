//! Releases, as a person asks for them and sees them.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};
use tuffet::Error;
use tuffet::release::change::{Change, Changed, change, is_paused};
use tuffet::release::lines::{self, Defaults};
use tuffet::release::list::{Filter, Row, list};
use tuffet::release::prune::prune;
use tuffet::release::{self, Added, Channel, Ramp, Staged, Wanted, ramp_words};
use tuffet::repository::Workspace;
use tuffet::staging::Draft;
use tuffet_client::Candidate;
use tuffet_client::release::Hex;
use tuffet_client::time::Date;
use tuffet_keys::date;

use super::{Facts, args, draft_lines, drafts_json, mode};

pub(super) fn run(repo: &Path, command: &args::Release, now: u64) -> Result<Facts, Error> {
    let workspace = Workspace::open(repo)?;
    let changed = |place: &args::Place, version: Option<&str>, wanted: &Change, dry_run: &args::DryRun| {
        let changed = change(&workspace, &place.wanted(), version, wanted, now, mode(dry_run))?;
        Ok(changed_facts(&changed, wanted, dry_run.dry_run, now))
    };
    match command {
        args::Release::Add(command) => add(&workspace, command, now),
        args::Release::List(filter) => Ok(list_facts(&list(&workspace, &filter.filter())?, now)),
        args::Release::Show(command) => show(&workspace, command, now),
        args::Release::Promote(args::Promote { version, place, to, ramp, dry_run }) => {
            let wanted = Change::Promote { to: to.clone(), rollout: ramp.read(now)? };
            changed(place, version.as_deref(), &wanted, dry_run)
        }
        args::Release::Rollout(args::Rollout { version, place, start, end, dry_run, .. }) => {
            let ramp = end.as_ref().map(|end| {
                let start = when(start, "--start", now)?;
                Ok::<_, Error>(Ramp { start, end: when(end, "--end", now)? })
            });
            changed(place, version.as_deref(), &Change::Rollout(ramp.transpose()?), dry_run)
        }
        args::Release::Pause(args::OneRelease { version, place, dry_run }) => {
            changed(place, version.as_deref(), &Change::Pause, dry_run)
        }
        args::Release::Withdraw(args::OneRelease { version, place, dry_run }) => {
            changed(place, version.as_deref(), &Change::Withdraw, dry_run)
        }
        args::Release::Prune(args::Prune { dry_run }) => {
            let pruned = prune(&workspace, now, mode(dry_run))?;
            let verb = if dry_run.dry_run { "would take off" } else { "took off" };
            let mut lines: Vec<String> =
                pruned.images.iter().map(|(path, length)| format!("{verb} {path}, {length} bytes")).collect();
            if lines.is_empty() {
                lines.push(
                    "every image is listed by a channel, or younger than tuffet.toml keeps them".to_owned(),
                );
            }
            lines.extend(next_lines(&pruned.drafts, now));
            let paths: Vec<&str> = pruned.images.iter().map(|(path, _)| path.as_str()).collect();
            let drafts = drafts_json(&pruned.drafts);
            Ok(Facts {
                lines,
                json: json!({ "images": paths, "drafts": drafts, "dry_run": dry_run.dry_run }),
            })
        }
        args::Release::Rollback(args::Rollback { version, place, ramp, dry_run }) => {
            changed(place, Some(version), &Change::Rollback(ramp.read(now)?), dry_run)
        }
    }
}

impl args::Place {
    pub(super) fn wanted(&self) -> Wanted {
        let args::Place { product, hardware, channel } = self;
        Wanted { product: product.clone(), hardware: hardware.clone(), channel: channel.clone() }
    }
}

impl args::ReleaseList {
    pub(super) fn filter(&self) -> Filter {
        let args::ReleaseList { product, hardware, channel } = self;
        Filter { product: product.clone(), hardware: hardware.clone(), channel: channel.clone() }
    }
}

impl args::Ramp {
    fn read(&self, now: u64) -> Result<Option<Ramp>, Error> {
        let Some(end) = &self.rollout_end else { return Ok(None) };
        let start = self.rollout_start.as_ref().map(|start| when(start, "--rollout-start", now));
        Ok(Some(Ramp { start: start.transpose()?.unwrap_or(now), end: when(end, "--rollout-end", now)? }))
    }
}

fn when(text: &str, option: &str, now: u64) -> Result<u64, Error> {
    if text == "now" {
        return Ok(now);
    }
    Ok(date::when(text, now).map_err(|error| error.at(option))?)
}

fn add(workspace: &Workspace, command: &args::ReleaseAdd, now: u64) -> Result<Facts, Error> {
    let args::ReleaseAdd {
        image,
        from,
        product,
        hardware,
        channel,
        version,
        counter,
        minimum,
        older,
        ramp,
        dry_run,
    } = command;
    let rollout = ramp.read(now)?;
    let defaults = Defaults {
        product: product.clone(),
        hardware: hardware.clone(),
        channel: channel.clone(),
        version: version.clone(),
        counter: *counter,
        minimum: *minimum,
        rollout,
        older: *older,
    };
    let releases = match (image, from) {
        (_, Some(list)) => lines::read(list, &defaults)?,
        (image, None) => vec![defaults.release(image.clone().unwrap_or_default())],
    };
    let added = release::add_all(workspace, &releases, now, mode(dry_run))?;
    Ok(match (&from, &added.releases[..]) {
        (None, [staged]) => add_facts(staged, rollout, &added.drafts, dry_run.dry_run, now),
        _ => list_added_facts(&added, rollout, dry_run.dry_run, now),
    })
}

fn add_facts(staged: &Staged, rollout: Option<Ramp>, drafts: &[Draft], dry_run: bool, now: u64) -> Facts {
    let Staged { channel, path, image, sequence, dropped, remarks, known, .. } = staged;
    let mut lines = Vec::new();
    if *known {
        lines.push(format!("{path} is release {sequence} of {channel} already; nothing to do"));
    } else {
        let verb = if dry_run { "would stage" } else { "staged" };
        lines.push(format!("{verb} {path}, {} bytes, as release {sequence} of {channel}", image.length));
        lines.extend(rollout_line(rollout));
        if let Some(oldest) = dropped {
            lines.push(format!("release {oldest} left the list: it holds the newest eight"));
        }
        lines.extend(remarks.iter().map(|remark| format!("note: {remark}")));
        lines.extend(next_lines(drafts, now));
    }
    let mut json = staged_json(staged);
    json["drafts"] = json!(drafts_json(drafts));
    json["dry_run"] = json!(dry_run);
    Facts { lines, json }
}

/// A line for each channel: nobody reads ten thousand.
fn list_added_facts(added: &Added, rollout: Option<Ramp>, dry_run: bool, now: u64) -> Facts {
    let verb = if dry_run { "would stage" } else { "staged" };
    let mut channels: BTreeMap<&Channel, Vec<&Staged>> = BTreeMap::new();
    for staged in &added.releases {
        channels.entry(&staged.channel).or_default().push(staged);
    }
    let mut lines = Vec::new();
    for (channel, releases) in channels {
        let (known, new): (Vec<&Staged>, Vec<&Staged>) =
            releases.into_iter().partition(|staged| staged.known);
        let mut line = format!("{channel}: {verb} {}", count(new.len(), "release"));
        if let Some(newest) = new.last() {
            line.push_str(&format!(", the newest {} as release {}", newest.version, newest.sequence));
        }
        if !known.is_empty() {
            line.push_str(&format!("; {} there already", count(known.len(), "release")));
        }
        lines.push(line);
        for staged in new {
            lines.extend(staged.remarks.iter().map(|remark| format!("of {}: {remark}", staged.path)));
        }
    }
    lines.extend(rollout_line(rollout));
    lines.extend(next_lines(&added.drafts, now));
    let json = json!({
        "releases": added.releases.iter().map(staged_json).collect::<Vec<_>>(),
        "drafts": drafts_json(&added.drafts),
        "dry_run": dry_run,
    });
    Facts { lines, json }
}

fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn rollout_line(rollout: Option<Ramp>) -> Option<String> {
    let Ramp { start, end } = rollout?;
    Some(format!("rolled out from {} to {}", Date(start), Date(end)))
}

fn staged_json(staged: &Staged) -> Value {
    let Staged { channel, path, image, sequence, version, counter, remarks, dropped, .. } = staged;
    json!({
        "remarks": remarks,
        "path": path,
        "sha256": image.sha256,
        "length": image.length,
        "channel": channel.to_string(),
        "sequence": sequence,
        "version": version,
        "counter": counter,
        "dropped": dropped,
    })
}

fn changed_facts(changed: &Changed, wanted: &Change, dry_run: bool, now: u64) -> Facts {
    let Changed { channel, before, after, removed, drafts } = changed;
    let mut lines = Vec::new();
    let version = &before.version;
    if drafts.is_empty() {
        lines.push(format!("{version} is so already in {channel}; nothing to do"));
    } else {
        let verb = if dry_run { "would stage" } else { "staged" };
        let after = after.as_ref();
        let sequence = after.map_or(before.sequence, |after| after.sequence);
        let ramp = after.map(|after| ramp_words(after, now)).unwrap_or_default();
        lines.push(match wanted {
            Change::Promote { .. } => format!("{verb} {version} as release {sequence} of {channel}, {ramp}"),
            Change::Rollout(_) => format!("{verb}: {version}, release {sequence} of {channel}, {ramp}"),
            Change::Pause => format!("{verb}: {version}, release {sequence} of {channel}, paused"),
            Change::Withdraw => {
                format!("{verb}: {version}, release {sequence}, leaves the list of {channel}")
            }
            Change::Rollback(_) => {
                format!("{verb} the image of {version} again, as release {sequence} of {channel}, {ramp}")
            }
        });
        for other in removed.iter().filter(|other| **other != before.sequence) {
            lines.push(format!("release {other} leaves the list"));
        }
        if matches!(wanted, Change::Pause | Change::Withdraw) {
            let words = "devices that have it keep it; to stop it before holders sign, run `tuffet halt`";
            lines.push(words.to_owned());
        }
        lines.extend(next_lines(drafts, now));
    }
    let json = json!({
        "channel": channel.to_string(),
        "before": candidate_json(before),
        "after": after.as_ref().map(candidate_json),
        "removed": removed,
        "drafts": drafts_json(drafts),
        "dry_run": dry_run,
    });
    Facts { lines, json }
}

/// What is drafted, and what to do with it.
pub(super) fn next_lines(drafts: &[Draft], now: u64) -> Vec<String> {
    let mut lines: Vec<String> = drafts.iter().flat_map(|draft| draft_lines(draft, now)).collect();
    let paths: Vec<String> = drafts.iter().map(|draft| draft.path.display().to_string()).collect();
    if !paths.is_empty() {
        lines.push(format!(
            "next: each holder runs `tuffet-keys sign {}`, then `tuffet publish`",
            paths.join(" ")
        ));
    }
    lines
}

fn show(workspace: &Workspace, command: &args::ReleaseShow, now: u64) -> Result<Facts, Error> {
    let filter = command.filter.filter();
    let all = list(workspace, &filter)?;
    let (rows, others): (Vec<Row>, Vec<Row>) =
        all.into_iter().partition(|row| row.candidate.version == command.version.as_str());
    if rows.is_empty() {
        let mut known: Vec<String> = others.iter().map(|row| row.candidate.version.to_string()).collect();
        known.sort();
        known.dedup();
        let (channel, version) = ("the repository".to_owned(), Some(command.version.clone()));
        return Err(tuffet::Rejected::NoRelease { channel, version, known }.into());
    }
    let mut lines = Vec::new();
    for row in &rows {
        let Row { channel, candidate, state, halted } = row;
        let halted = if *halted { ", halted by the timestamp" } else { "" };
        lines.push(format!("{channel}: release {}, {}{halted}", candidate.sequence, state.word()));
        lines.push(format!("  version  {}", candidate.version));
        lines.push(format!("  counter  {}", candidate.counter));
        lines.push(match candidate.minimum {
            0 => "  from     any release".to_owned(),
            minimum => format!("  from     release {minimum} or later"),
        });
        lines.push(format!("  rollout  {}", ramp_words(candidate, now)));
        lines.push(format!("  image    {}, {} bytes", candidate.image.path, candidate.image.length));
        lines.push(format!("  sha256   {}", Hex(&candidate.image.sha256)));
    }
    Ok(Facts { lines, json: json!({ "releases": rows.iter().map(row_json).collect::<Vec<_>>() }) })
}

fn list_facts(rows: &[Row], now: u64) -> Facts {
    let mut lines = Vec::new();
    let mut before = None;
    for row in rows {
        if before != Some(&row.channel) {
            lines.push(format!("{}:", row.channel));
            before = Some(&row.channel);
        }
        let Candidate { sequence, counter, version, .. } = &row.candidate;
        let halted = if row.halted { ", halted" } else { "" };
        let (state, ramp) = (row.state.word(), ramp_words(&row.candidate, now));
        lines.push(format!(
            "  {sequence:>5}  {version:<16}  counter {counter:<4}  {state:<9}  {ramp}{halted}"
        ));
    }
    if rows.is_empty() {
        lines.push("no releases; add one with `tuffet release add`".to_owned());
    }
    Facts { lines, json: json!({ "releases": rows.iter().map(row_json).collect::<Vec<_>>() }) }
}

fn row_json(row: &Row) -> Value {
    let Row { channel, candidate, state, halted } = row;
    let mut value = candidate_json(candidate);
    value["channel"] = json!(channel.to_string());
    value["state"] = json!(state.word());
    value["halted"] = json!(halted);
    value
}

pub(super) fn candidate_json(candidate: &Candidate) -> Value {
    let Candidate { sequence, counter, minimum, version, image, rollout } = candidate;
    json!({
        "sequence": sequence,
        "counter": counter,
        "minimum": minimum,
        "version": version.as_str(),
        "path": image.path.as_str(),
        "length": image.length,
        "sha256": Hex(&image.sha256).to_string(),
        "paused": is_paused(candidate),
        "rollout": rollout.map(|rollout| json!({
            "start": Date(rollout.start).to_string(), "end": Date(rollout.end).to_string(),
        })),
    })
}
