//! `tuffet status`.

use std::path::Path;

use clap::Args;
use serde_json::{Value, json};
use tuffet::Error;
use tuffet::look::status::{self as look, Halted, Next, RoleStatus, State};
use tuffet::repository::Workspace;
use tuffet_client::time::Date;
use tuffet_keys::names::Names;
use tuffet_keys::request::Progress;
use tuffet_keys::{Role, date};

use super::super::Facts;
use super::super::args::Output;
use super::{BOLD, GREEN, KeyNames, RED, YELLOW, painted, print, shown};

#[derive(Args)]
#[command(after_help = "For monitoring, daily; whatever is not 0 should reach somebody:
  tuffet --repo DIR status --valid-at 'in 14 days'

Exit status: 0 nothing has expired at that moment (what is due, or waits for signatures, is told and is no \
failure), 1 something has, or a file is missing or damaged, 2 wrong usage, 3 the machine failed.")]
pub(crate) struct Status {
    /// Judge at this moment: a date, or a duration from now such as 30d or `in 30 days` [default: now]
    #[arg(long, value_name = "WHEN")]
    valid_at: Option<String>,

    #[command(flatten)]
    names: KeyNames,
}

/// Bins of one role that are shown one by one, at the most.
const FEW: usize = 8;

pub(crate) fn run(repo: &Path, command: &Status, output: Output, now: u64) -> Result<(), Error> {
    let at = match &command.valid_at {
        Some(text) => date::when(text, now).map_err(|error| error.at("--valid-at"))?,
        None => now,
    };
    let names = command.names.read()?;
    let workspace = Workspace::open(repo)?;
    let status = look::Status::of(&workspace, at)?;
    print(facts(&workspace, &status, &names), output)?;
    status.verdict()
}

fn facts(workspace: &Workspace, status: &look::Status, names: &Names) -> Facts {
    let at = status.at;
    let directory =
        if workspace.directory().as_os_str().is_empty() { Path::new(".") } else { workspace.directory() };
    let mut lines = vec![format!("{} at {}", shown(directory), Date(at))];
    let mut index = 0;
    while let Some(role) = status.roles.get(index) {
        let bins: Vec<&RoleStatus> = status.roles[index..]
            .iter()
            .take_while(|other| role.bin.is_some() && other.bin == role.bin)
            .collect();
        let files: std::collections::BTreeSet<&Role> = bins.iter().map(|bin| &bin.role).collect();
        if files.len() > FEW {
            index += bins.len();
            lines.extend(bins_lines(&bins, files.len(), at));
        } else {
            index += 1;
            lines.extend(role_lines(role, names, at));
        }
    }
    for Halted { sha256, releases } in &status.halted {
        let short = sha256.get(..16).unwrap_or(sha256);
        lines.push(format!("{} image {short}", painted(RED.bold(), "HALTED   ")));
        match &releases[..] {
            [] => lines.push(format!("{:10}of no release that is listed", "")),
            releases => lines.extend(releases.iter().map(|release| format!("{:10}{release}", ""))),
        }
    }
    let next = next_words(workspace, &status.next, at);
    lines.push(format!("{} {next}", painted(BOLD, "next:")));
    let roles: Vec<Value> = status.roles.iter().map(|role| role_json(role, names, at)).collect();
    let halted =
        status.halted.iter().map(|halted| json!({ "sha256": halted.sha256, "releases": halted.releases }));
    let count = |state| status.roles.iter().filter(|role| role.state == state).count();
    let states = [State::Valid, State::Waiting, State::Due, State::Expired, State::Unwritten];
    let summary = states.map(|state| (json_word(state).to_owned(), json!(count(state))));
    let json = json!({
        "at": Date(at).to_string(),
        "roles": roles,
        "halted": halted.collect::<Vec<_>>(),
        "next": next,
        "summary": summary.into_iter().collect::<serde_json::Map<_, _>>(),
    });
    Facts { lines, json }
}

fn state_word(state: State) -> String {
    match state {
        State::Valid => painted(GREEN.bold(), "valid    "),
        State::Unwritten => painted(YELLOW.bold(), "not yet  "),
        State::Waiting => painted(YELLOW.bold(), "waiting  "),
        State::Due => painted(YELLOW.bold(), "DUE      "),
        State::Expired => painted(RED.bold(), "EXPIRED  "),
    }
}

fn json_word(state: State) -> &'static str {
    if state == State::Unwritten { "unwritten" } else { state.word() }
}

fn role_lines(role: &RoleStatus, names: &Names, at: u64) -> Vec<String> {
    let word = state_word(role.state);
    let Some((version, expires)) = role.version.zip(role.expires) else {
        let why = if role.renewal.is_some() { ", and tuffet.toml wants it" } else { "" };
        return vec![format!("{word} {} is not written yet{why}", role.role)];
    };
    let name = format!("{} {version}{}", role.role, if role.staged { ", staged" } else { "" });
    let tense = if expires <= at { "expired" } else { "expires" };
    let mut lines =
        vec![format!("{word} {name:<22} {tense} {} ({})", Date(expires), date::distance(expires, at))];
    if let Some(due) = role.due.filter(|due| *due <= at && expires > at) {
        lines.push(format!("{:10}signing was due {} ({})", "", Date(due), date::distance(due, at)));
    }
    if let Some(renewal) = role.renewal.filter(|renewal| *renewal != tuffet::staging::Renewal::Due) {
        lines.push(format!("{:10}{renewal}", ""));
    }
    lines.extend(role.signatures.iter().flat_map(|progress| progress_lines(progress, names)));
    lines
}

/// Names of keys, sorted.
fn named(keyids: &[String], names: &Names) -> Vec<String> {
    let mut named: Vec<String> = keyids.iter().map(|keyid| names.of(keyid)).collect();
    named.sort();
    named
}

/// "1 of 2 signed: release-a", and who is missing.
fn progress_lines(progress: &Progress, names: &Names) -> Vec<String> {
    let Progress { need, have, signed, missing, .. } = progress;
    let list = |keyids: &[String]| named(keyids, names).join(", ");
    let by = if signed.is_empty() { String::new() } else { format!(": {}", list(signed)) };
    let mut lines = vec![format!("{:10}{have} of {need} signed{by}", "")];
    if !progress.met() {
        lines.push(format!("{:10}missing: {}", "", list(missing)));
    }
    lines
}

/// Many bins in a few lines: how many there are of each state, and which of them expires first.
fn bins_lines(bins: &[&RoleStatus], files: usize, at: u64) -> Vec<String> {
    let worst = bins.iter().map(|bin| bin.state).max().unwrap_or(State::Valid);
    let (prefix, bits) = bins.first().and_then(|bin| bin.bin.clone()).unwrap_or_default();
    let mut counts = Vec::new();
    for state in [State::Expired, State::Due, State::Waiting, State::Valid] {
        match bins.iter().filter(|bin| bin.state == state).count() {
            0 => {}
            count => counts.push(format!("{count} {}", state.word())),
        }
    }
    let all = 1_u64 << bits.min(32);
    let mut lines = vec![format!(
        "{} {prefix}-*: {files} of {all} bins are written: {}",
        state_word(worst),
        counts.join(", ")
    )];
    let first = bins.iter().filter_map(|bin| Some((bin.expires?, bin))).min_by_key(|(expires, _)| *expires);
    if let Some((expires, bin)) = first {
        let tense = if expires <= at { "expired" } else { "expires" };
        let date = format!("{} ({})", Date(expires), date::distance(expires, at));
        lines.push(format!("{:10}the first, {}, {tense} {date}", "", bin.role));
    }
    lines
}

fn next_words(workspace: &Workspace, next: &Next, at: u64) -> String {
    match next {
        Next::Wait(Some((due, role))) => {
            format!("nothing before {} ({}), when {role} is due", Date(*due), date::distance(*due, at))
        }
        Next::Wait(None) => "nothing".to_owned(),
        Next::Refresh => "`tuffet refresh`, with the online keys".to_owned(),
        Next::Renew => "`tuffet renew`, which drafts what holders then sign".to_owned(),
        Next::Sign(roles) => {
            let paths: Vec<String> = roles.iter().map(|role| shown(&workspace.request_path(role))).collect();
            let paths = match &paths[..] {
                [first, .., last] if paths.len() > 4 => format!("{first} ... {last}"),
                _ => paths.join(" "),
            };
            format!("holders run `tuffet-keys sign {paths}`, then `tuffet publish`")
        }
        Next::Publish => "`tuffet publish`".to_owned(),
        Next::Root(version) => {
            let path = workspace.public().join(format!("{version}.root.json"));
            format!(
                "holders of the root run `tuffet-keys root next --from {}`, then `tuffet root add`",
                shown(&path)
            )
        }
        Next::Add => "`tuffet release add`, for nothing is published yet".to_owned(),
    }
}

fn role_json(role: &RoleStatus, names: &Names, at: u64) -> Value {
    let moment = |seconds: Option<u64>| seconds.map(|seconds| Date(seconds).to_string());
    let days = |seconds: Option<u64>| seconds.map(|seconds| date::days(seconds, at));
    let signatures = role.signatures.iter().map(|progress| {
        json!({ "by": progress.by(), "have": progress.have, "need": progress.need,
                "signed": named(&progress.signed, names), "missing": named(&progress.missing, names) })
    });
    json!({
        "role": role.role.name(),
        "staged": role.staged,
        "version": role.version,
        "expires": moment(role.expires),
        "expires_days": days(role.expires),
        "due": moment(role.due),
        "due_days": days(role.due),
        "state": json_word(role.state),
        "renewal": role.renewal.map(|renewal| renewal.to_string()),
        "signatures": signatures.collect::<Vec<_>>(),
    })
}
