//! `root draft`, `root next` and `root revoke`.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use tuffet_keys::file::Access;
use tuffet_keys::key::PublicKey;
use tuffet_keys::metadata::Envelope;
use tuffet_keys::published::TargetsFiles;
use tuffet_keys::request::Request;
use tuffet_keys::root::{Chain, Draft, Period, Root as Decoded, delegated_exposures, exposures};
use tuffet_keys::transcript::Action;
use tuffet_keys::{Error, Misuse, Role, date, file};

use super::transcript::Recording;
use super::{Output, named_keyid, refuse_existing, runbook};

#[derive(Subcommand)]
pub(crate) enum Root {
    /// Draft root version 1 from public keys
    #[command(after_help = super::args::example("root draft --root-key root-?.pub.pem \\\n      --targets-key release-?.pub.pem \\\n      --snapshot-key online.pub.pem --timestamp-key online.pub.pem \\\n      --out root.request.json", PERIODS))]
    Draft(RootDraft),
    /// Draft the successor of a trusted root: keys of any role come and go, old and new holders sign
    #[command(after_help = super::args::example("root next --from 1.root.json --out root.request.json \\\n      --replace-root-key root-c.pub.pem root-d.pub.pem", PERIODS))]
    Next(Box<RootNext>),
    /// Keys were lost or stolen: draft a root without them, list what they could have signed, say what to do
    #[command(after_help = super::args::example("root revoke root-c.pub.pem --from 1.root.json \\\n      --add-root-key root-d.pub.pem --reason 'c is lost' \\\n      --out root.request.json", ""))]
    Revoke(RootRevoke),
}

const PERIODS: &str = "A period is EXPIRY/SIGNING in days, recorded in the root. 365/60: the role's files are good \
for 365 days, and are to be signed anew in the last 60. Unless they are set, root has 365/60, targets 180/35, \
snapshot 30/7 and timestamp 7/2, so that no two sets of holders are called at once. A root expires after its \
period, or a little earlier so as not to fall due together with another role.";

#[derive(Args)]
pub(crate) struct RootDraft {
    /// Public keys of the root holders, offline
    #[arg(long, required = true, num_args = 1.., value_name = "PUB")]
    root_key: Vec<PathBuf>,

    /// How many root holders must sign
    #[arg(long, default_value_t = 2, value_name = "N")]
    root_threshold: u32,

    /// Public keys of the release holders, offline: they say what may be installed
    #[arg(long, required = true, num_args = 1.., value_name = "PUB")]
    targets_key: Vec<PathBuf>,

    /// How many release holders must sign
    #[arg(long, default_value_t = 2, value_name = "N")]
    targets_threshold: u32,

    /// Public keys for snapshots, online, on the repository's machine
    #[arg(long, required = true, num_args = 1.., value_name = "PUB")]
    snapshot_key: Vec<PathBuf>,

    /// How many snapshot keys must sign
    #[arg(long, default_value_t = 1, value_name = "N")]
    snapshot_threshold: u32,

    /// Public keys for timestamps, online, on the repository's machine
    #[arg(long, required = true, num_args = 1.., value_name = "PUB")]
    timestamp_key: Vec<PathBuf>,

    /// How many timestamp keys must sign
    #[arg(long, default_value_t = 1, value_name = "N")]
    timestamp_threshold: u32,

    #[command(flatten)]
    periods: Periods,

    #[command(flatten)]
    devices: Devices,

    /// Why, for everybody to read in the root: 1 to 500 characters of printable ASCII
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    end: End,
}

#[derive(Args)]
pub(crate) struct RootNext {
    #[command(flatten)]
    trusted: Trusted,

    #[command(flatten)]
    added: Added,

    #[command(flatten)]
    removed: Removed,

    #[command(flatten)]
    replaced: Replaced,

    #[command(flatten)]
    thresholds: Thresholds,

    #[command(flatten)]
    periods: Periods,

    #[command(flatten)]
    devices: Devices,

    /// Why, for everybody to read in the root: 1 to 500 characters of printable ASCII
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,

    #[command(flatten)]
    end: End,
}

#[derive(Args)]
pub(crate) struct RootRevoke {
    /// The lost keys, as keyid or public key file; they go from every role
    #[arg(required = true, value_name = "KEYID|PUB")]
    keys: Vec<String>,

    #[command(flatten)]
    trusted: Trusted,

    /// Where the targets files lie: their delegations may name the keys, too [default: beside the root]
    #[arg(long, value_name = "DIR")]
    repository: Option<PathBuf>,

    /// Why, for everybody to read in the root: 1 to 500 characters of printable ASCII
    #[arg(long, required = true, value_name = "TEXT")]
    reason: String,

    /// Write what to do now, which is printed, to this new file as well
    #[arg(long, value_name = "FILE")]
    runbook: Option<PathBuf>,

    #[command(flatten)]
    added: Added,

    #[command(flatten)]
    thresholds: Thresholds,

    #[command(flatten)]
    end: End,
}

/// The root that a new one follows.
#[derive(Args)]
struct Trusted {
    /// The newest trusted root, such as 3.root.json
    #[arg(long, value_name = "FILE")]
    from: PathBuf,

    /// All roots before it, from 1.root.json on [default: N.root.json beside FILE]
    #[arg(long, num_args = 1.., value_name = "FILE")]
    root_chain: Vec<PathBuf>,
}

#[derive(Args)]
struct Added {
    /// Public keys to add to the root role
    #[arg(long, num_args = 1.., value_name = "PUB")]
    add_root_key: Vec<PathBuf>,

    /// Public keys to add to the targets role
    #[arg(long, num_args = 1.., value_name = "PUB")]
    add_targets_key: Vec<PathBuf>,

    /// Public keys to add to the snapshot role
    #[arg(long, num_args = 1.., value_name = "PUB")]
    add_snapshot_key: Vec<PathBuf>,

    /// Public keys to add to the timestamp role
    #[arg(long, num_args = 1.., value_name = "PUB")]
    add_timestamp_key: Vec<PathBuf>,
}

#[derive(Args)]
struct Removed {
    /// Keys to take from the root role, as keyid or public key file
    #[arg(long, num_args = 1.., value_name = "KEYID|PUB")]
    remove_root_key: Vec<String>,

    /// Keys to take from the targets role
    #[arg(long, num_args = 1.., value_name = "KEYID|PUB")]
    remove_targets_key: Vec<String>,

    /// Keys to take from the snapshot role
    #[arg(long, num_args = 1.., value_name = "KEYID|PUB")]
    remove_snapshot_key: Vec<String>,

    /// Keys to take from the timestamp role
    #[arg(long, num_args = 1.., value_name = "KEYID|PUB")]
    remove_timestamp_key: Vec<String>,
}

#[derive(Args)]
struct Replaced {
    /// Put NEW, a public key file, in the place of OLD in the root role; give it again for each pair
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    replace_root_key: Vec<String>,

    /// The same in the targets role
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    replace_targets_key: Vec<String>,

    /// The same in the snapshot role
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    replace_snapshot_key: Vec<String>,

    /// The same in the timestamp role
    #[arg(long, num_args = 2, value_names = ["OLD", "NEW"])]
    replace_timestamp_key: Vec<String>,
}

#[derive(Args)]
struct Thresholds {
    /// How many root holders must sign [default: as before]
    #[arg(long, value_name = "N")]
    root_threshold: Option<u32>,

    /// How many release holders must sign [default: as before]
    #[arg(long, value_name = "N")]
    targets_threshold: Option<u32>,

    /// How many snapshot keys must sign [default: as before]
    #[arg(long, value_name = "N")]
    snapshot_threshold: Option<u32>,

    /// How many timestamp keys must sign [default: as before]
    #[arg(long, value_name = "N")]
    timestamp_threshold: Option<u32>,
}

#[derive(Args)]
struct Periods {
    /// For how many days roots are good, and in how many of the last they are due
    #[arg(long, value_name = "EXPIRY/SIGNING")]
    root_period: Option<String>,

    /// The same for targets
    #[arg(long, value_name = "EXPIRY/SIGNING")]
    targets_period: Option<String>,

    /// The same for snapshots
    #[arg(long, value_name = "EXPIRY/SIGNING")]
    snapshot_period: Option<String>,

    /// The same for timestamps
    #[arg(long, value_name = "EXPIRY/SIGNING")]
    timestamp_period: Option<String>,
}

#[derive(Args)]
struct Devices {
    /// The smallest device ever shipped takes no more than N of something, such as keys=8 or root-file=8192; give it
    /// again for each limit [default: as before, at first those of the client of today]
    #[arg(long, value_name = "NAME=N")]
    device_limit: Vec<String>,
}

#[derive(Args)]
struct End {
    /// When this root expires: a date, or a duration from now such as 365d or `1 year` [default: by its period]
    #[arg(long, value_name = "WHEN")]
    expires: Option<String>,

    /// Where the signing request goes
    #[arg(long, value_name = "REQUEST")]
    out: PathBuf,

    #[command(flatten)]
    recording: Recording,
}

/// Runs a command at `now`, in seconds since 1970-01-01 UTC.
pub(super) fn run(command: &Root, now: u64, out: &mut Output) -> Result<(), Error> {
    match command {
        Root::Draft(command) => draft(command, now, out),
        Root::Next(command) => next(command, now, out),
        Root::Revoke(command) => revoke(command, now, out),
    }
}

fn draft(command: &RootDraft, now: u64, out: &mut Output) -> Result<(), Error> {
    let mut draft = Draft::new(now, command.end.expires(now)?);
    for (role, keys, threshold) in [
        (Role::Root, &command.root_key, command.root_threshold),
        (Role::Targets, &command.targets_key, command.targets_threshold),
        (Role::Snapshot, &command.snapshot_key, command.snapshot_threshold),
        (Role::Timestamp, &command.timestamp_key, command.timestamp_threshold),
    ] {
        add_keys(&mut draft, &role, keys)?;
        draft.set_threshold(&role, threshold);
    }
    command.periods.set(&mut draft)?;
    command.devices.set(&mut draft)?;
    set_reason(&mut draft, command.reason.as_deref())?;
    let (request, recorded) =
        requested(&mut draft, &Chain::default(), &command.end, Action::Draft, now, out)?;
    shown(&request, &command.end.out, now, out)?;
    out.put(&recorded)
}

fn next(command: &RootNext, now: u64, out: &mut Output) -> Result<(), Error> {
    let RootNext { trusted, added, removed, replaced, thresholds, periods, devices, reason, end } = command;
    let chain = trusted.chain(now)?;
    let mut draft = Draft::next(&chain, now, end.expires(now)?)?;
    for (role, pairs) in replaced.by_role() {
        for pair in pairs.chunks_exact(2) {
            let (old, new) = (&pair[0], Path::new(&pair[1]));
            let new_key = PublicKey::read(new)?;
            draft
                .replace_key(&role, &named_keyid(old)?, &new_key)
                .map_err(|error| error.at(format!("{old} by {}", new.display())))?;
        }
    }
    for (role, keys) in removed.by_role() {
        for key in keys {
            draft.remove_key(&role, &named_keyid(key)?)?;
        }
    }
    added.add(&mut draft)?;
    thresholds.set(&mut draft);
    periods.set(&mut draft)?;
    devices.set(&mut draft)?;
    set_reason(&mut draft, reason.as_deref())?;
    let (request, recorded) = requested(&mut draft, &chain, end, Action::Next, now, out)?;
    shown(&request, &end.out, now, out)?;
    out.put(&recorded)
}

fn revoke(command: &RootRevoke, now: u64, out: &mut Output) -> Result<(), Error> {
    let RootRevoke { keys, trusted, repository, reason, runbook: copy, added, thresholds, end } = command;
    let chain = trusted.chain(now)?;
    let lost = keys.iter().map(|key| named_keyid(key)).collect::<Result<BTreeSet<String>, _>>()?;
    let beside = trusted.from.parent().unwrap_or(Path::new(""));
    let files = TargetsFiles::read(repository.as_deref().unwrap_or(beside), &chain)?;
    let mut exposures = exposures(&chain, &lost);
    exposures.extend(delegated_exposures(&files, &lost));
    for keyid in &lost {
        if !exposures.iter().any(|exposure| exposure.lost.contains(keyid)) {
            let root = chain.last().map_or(0, |root| root.header.version);
            return Err(Misuse::NotInRoot { keyid: keyid.clone(), root }.into());
        }
    }
    added.refuse(&lost)?;
    if let Some(copy) = copy {
        if *copy == end.out {
            let why = "the runbook is a file of its own";
            return Err(Error::from(Misuse::Options { why }).in_file(copy));
        }
        refuse_existing(copy)?;
    }
    let in_root = exposures.iter().any(|exposure| exposure.by == Role::Root && exposure.until.is_none());
    let request = match in_root {
        true => {
            let mut draft = Draft::next(&chain, now, end.expires(now)?)?;
            draft.revoke(&lost)?;
            added.add(&mut draft)?;
            thresholds.set(&mut draft);
            draft.check_left()?;
            set_reason(&mut draft, Some(reason))?;
            let (request, recorded) = requested(&mut draft, &chain, end, Action::Revoke, now, out)?;
            shown(&request, &end.out, now, out)?;
            out.put(&recorded)?;
            Some(request)
        }
        false => {
            let root = chain.last().map_or(0, |root| root.header.version);
            out.put(&format!("no role of root {root} has any of these keys: no new root is drafted\n"))?;
            None
        }
    };
    let case = runbook::Case {
        request: request.as_ref(),
        chain: &chain,
        path: &end.out,
        recording: &end.recording.option(),
        lost: &lost,
        exposures: &exposures,
        damaged: &files.damaged,
    };
    let text = runbook::text(&case);
    let Some(copy) = copy else { return out.put(&text) };
    file::create(copy, text.trim_start().as_bytes(), Access::Shared)?;
    out.written(copy);
    out.put(&format!("{text}wrote {}\n", copy.display()))
}

/// Writes the request of a draft, and gives what is to be said of the transcript, whose head before it the root records.
fn requested(
    draft: &mut Draft,
    chain: &Chain,
    End { out: path, recording, .. }: &End,
    action: Action,
    now: u64,
    out: &mut Output,
) -> Result<(Request, String), Error> {
    if let Some(head) = recording.head(chain)? {
        draft.set_transcript(head);
    }
    let request = Request::draft(Role::Root, &draft.signed()?, chain.files())?;
    request.header().check_issued(now)?;
    request.check_chain()?;
    refuse_existing(path)?;
    recording.check(&request, Some(path))?;
    let recorded = recording.append(&request, [action], now, out)?;
    request.create(path)?;
    Ok((request, recorded))
}

fn shown(request: &Request, path: &Path, now: u64, out: &mut Output) -> Result<(), Error> {
    out.written(path);
    out.describe(request, None, now)?;
    let root = Decoded::from_signed(request.signed().value())?;
    if let Some(period) = root.periods.and_then(|periods| periods.of(&Role::Root)) {
        let due = period.due(root.header.expires);
        let text = match due > now {
            true => format!(
                "the root after it is due from {} on ({})",
                date::format(due),
                date::distance(due, now)
            ),
            false => "it expires within its own signing period: the root after it is due at once".to_owned(),
        };
        out.put(&format!("{text}\n"))?;
    }
    out.put(&format!("wrote {}; let each holder run `tuffet-keys sign` on a copy\n", path.display()))
}

impl End {
    fn expires(&self, now: u64) -> Result<Option<u64>, Error> {
        let expires = self.expires.as_ref().map(|text| date::when(text, now));
        expires.transpose().map_err(|error| error.at("--expires"))
    }
}

impl Trusted {
    /// The roots up to the one that is trusted, verified.
    fn chain(&self, now: u64) -> Result<Chain, Error> {
        let chain = chain_to(&self.from, &self.root_chain)?;
        // A root from the future means that this clock is behind, and would date the new root before the old.
        if let Some(last) = chain.last() {
            last.header.check_issued(now).map_err(|error| error.in_file(&self.from))?;
        }
        Ok(chain)
    }
}

/// The root files from version 1 to this one, verified; without `root_chain` the others lie beside it.
pub(super) fn chain_to(newest: &Path, root_chain: &[PathBuf]) -> Result<Chain, Error> {
    let last = file::read(newest)?;
    let mut files: Vec<Vec<u8>> = root_chain.iter().map(|path| file::read(path)).collect::<Result<_, _>>()?;
    if root_chain.is_empty() {
        let Envelope { signed, .. } = Envelope::parse(&last).map_err(|error| error.in_file(newest))?;
        let version = signed["version"].as_u64().unwrap_or(1);
        for earlier in 1..version {
            files.push(file::read(&newest.with_file_name(format!("{earlier}.root.json")))?);
        }
    }
    files.push(last);
    Chain::verify(&files)
}

impl Added {
    fn by_role(&self) -> [(Role, &[PathBuf]); 4] {
        [
            (Role::Root, &self.add_root_key),
            (Role::Targets, &self.add_targets_key),
            (Role::Snapshot, &self.add_snapshot_key),
            (Role::Timestamp, &self.add_timestamp_key),
        ]
    }

    fn add(&self, draft: &mut Draft) -> Result<(), Error> {
        self.by_role().into_iter().try_for_each(|(role, paths)| add_keys(draft, &role, paths))
    }

    /// Whoever takes a lost key for a new one has mixed up his files.
    fn refuse(&self, lost: &BTreeSet<String>) -> Result<(), Error> {
        for path in self.by_role().into_iter().flat_map(|(_, paths)| paths) {
            if lost.contains(PublicKey::read(path)?.keyid()) {
                let why = "a key cannot be revoked and added at once";
                return Err(Error::from(Misuse::Options { why }).in_file(path));
            }
        }
        Ok(())
    }
}

impl Removed {
    fn by_role(&self) -> [(Role, &[String]); 4] {
        [
            (Role::Root, &self.remove_root_key),
            (Role::Targets, &self.remove_targets_key),
            (Role::Snapshot, &self.remove_snapshot_key),
            (Role::Timestamp, &self.remove_timestamp_key),
        ]
    }
}

impl Replaced {
    /// OLD and NEW in turn.
    fn by_role(&self) -> [(Role, &[String]); 4] {
        [
            (Role::Root, &self.replace_root_key),
            (Role::Targets, &self.replace_targets_key),
            (Role::Snapshot, &self.replace_snapshot_key),
            (Role::Timestamp, &self.replace_timestamp_key),
        ]
    }
}

impl Thresholds {
    fn set(&self, draft: &mut Draft) {
        for (role, threshold) in [
            (Role::Root, self.root_threshold),
            (Role::Targets, self.targets_threshold),
            (Role::Snapshot, self.snapshot_threshold),
            (Role::Timestamp, self.timestamp_threshold),
        ] {
            if let Some(threshold) = threshold {
                draft.set_threshold(&role, threshold);
            }
        }
    }
}

impl Periods {
    fn set(&self, draft: &mut Draft) -> Result<(), Error> {
        for (role, period) in [
            (Role::Root, &self.root_period),
            (Role::Targets, &self.targets_period),
            (Role::Snapshot, &self.snapshot_period),
            (Role::Timestamp, &self.timestamp_period),
        ] {
            if let Some(text) = period {
                let period = Period::parse(text).map_err(|error| error.at(format!("--{role}-period")))?;
                draft.set_period(&role, period);
            }
        }
        Ok(())
    }
}

impl Devices {
    fn set(&self, draft: &mut Draft) -> Result<(), Error> {
        let mut limits = self.device_limit.iter();
        limits.try_for_each(|text| draft.set_device_limit(text).map_err(|error| error.at("--device-limit")))
    }
}

fn set_reason(draft: &mut Draft, reason: Option<&str>) -> Result<(), Error> {
    reason.map_or(Ok(()), |text| draft.set_reason(text).map_err(|error| error.at("--reason")))
}

fn add_keys(draft: &mut Draft, role: &Role, paths: &[PathBuf]) -> Result<(), Error> {
    for path in paths {
        draft.add_key(role, &PublicKey::read(path)?).map_err(|error| error.in_file(path))?;
    }
    Ok(())
}
