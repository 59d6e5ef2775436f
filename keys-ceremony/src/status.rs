//! The state of repositories and requests at a moment: versions, dates, and who has signed.
//!
//! A role is *due* when its next version should be signed: its expiry minus the signing period that the newest root
//! states for it in `periods`, or without one, when a third of its life is left.

mod show;

use serde_json::Value;

use crate::metadata::Role;
use crate::names::Names;
use crate::published::{Document, Kind, Refusal, Signers, Subject};
use crate::request::Progress;
use crate::root::{Period, Periods};
use crate::{Error, Rejected};

/// Without a signing period, signing is due when one part in so many of a file's life is left.
pub const DEFAULT_SHARE: u64 = 3;

/// What was looked at, judged at one moment.
#[derive(Debug)]
pub struct Status {
    /// The moment, in seconds since 1970-01-01 UTC.
    pub(crate) at: u64,
    pub(crate) subjects: Vec<Described>,
}

/// What one path led to, role by role.
#[derive(Debug)]
pub(crate) struct Described {
    pub(crate) path: String,
    pub(crate) kind: Kind,
    /// SHA-256 of root 1.
    pub(crate) repository: Option<String>,
    pub(crate) roles: Vec<RoleStatus>,
}

/// One file of one role.
#[derive(Debug)]
pub(crate) struct RoleStatus {
    pub(crate) role: String,
    pub(crate) file: String,
    pub(crate) version: Option<u32>,
    /// Seconds since 1970-01-01 UTC, as [`RoleStatus::due`] is.
    pub(crate) expires: Option<u64>,
    pub(crate) due: Option<u64>,
    pub(crate) signatures: Vec<Signatures>,
    pub(crate) state: State,
}

/// Who has signed, of those whom one root or targets file names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signatures {
    /// The version of the root; none for a delegated role.
    pub(crate) root: Option<u32>,
    pub(crate) need: u64,
    pub(crate) have: u64,
    pub(crate) signed: Vec<String>,
    pub(crate) missing: Vec<String>,
}

/// From good to bad.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Valid,
    /// A request that lacks signatures.
    Waiting,
    Due,
    Expired,
    Missing,
    Refused(Refusal),
}

impl State {
    /// One word, as `--output json` has it.
    pub(crate) fn word(&self) -> &'static str {
        match self {
            State::Valid => "valid",
            State::Waiting => "waiting",
            State::Due => "due",
            State::Expired => "expired",
            State::Missing => "missing",
            State::Refused(_) => "refused",
        }
    }

    fn is_trouble(&self) -> bool {
        !matches!(self, State::Valid | State::Waiting)
    }
}

impl Status {
    /// Judges at `at`, in seconds since 1970-01-01 UTC.
    pub fn of(subjects: &[Subject], names: &Names, at: u64) -> Status {
        Status { at, subjects: subjects.iter().map(|subject| describe(subject, names, at)).collect() }
    }

    /// Whether nothing has expired, is refused or missing, or is due. A request that waits for signatures is fine.
    ///
    /// # Errors
    /// [`Rejected::OutOfOrder`] names what is not fine.
    pub fn verdict(&self) -> Result<(), Error> {
        let roles =
            self.subjects.iter().flat_map(|subject| subject.roles.iter().map(move |role| (subject, role)));
        let trouble: Vec<String> = roles
            .filter(|(_, role)| role.state.is_trouble())
            .map(|(subject, role)| format!("{} of {} is {}", role.role, subject.path, role.state.word()))
            .collect();
        if trouble.is_empty() { Ok(()) } else { Err(Rejected::OutOfOrder { at: self.at, trouble }.into()) }
    }
}

fn describe(subject: &Subject, names: &Names, at: u64) -> Described {
    let root = subject.newest_root();
    let path = crate::text::plain(&subject.path.display().to_string());
    let roles = match &subject.request {
        Some(Ok(request)) => {
            let header = request.header();
            let due = due(root.as_ref(), header.role.name(), header.issued, header.expires);
            let by_date = by_date(header.expires, Some(due), at);
            let state = match request.finish(at) {
                _ if by_date != State::Valid => by_date,
                Ok(_) => State::Valid,
                Err(Error::Rejected { why: Rejected::ThresholdNotMet { .. }, .. }) => State::Waiting,
                Err(Error::Rejected {
                    why:
                        Rejected::DeviceRefuses { code, message, .. }
                        | Rejected::SmallestRefuses { code, message, .. },
                    ..
                }) => State::Refused(Refusal {
                    code: format!("C{code}"),
                    message,
                    device: None,
                    by_link: false,
                }),
                Err(error) => State::Refused((&error).into()),
            };
            vec![RoleStatus {
                role: header.role.name().to_owned(),
                file: path.clone(),
                version: Some(header.version),
                expires: Some(header.expires),
                due: Some(due),
                signatures: request.state().into_iter().map(|progress| named(progress, names)).collect(),
                state,
            }]
        }
        Some(Err(error)) => vec![RoleStatus {
            role: "request".to_owned(),
            file: path.clone(),
            version: None,
            expires: None,
            due: None,
            signatures: Vec::new(),
            state: State::Refused(error.into()),
        }],
        None => {
            let files = subject.files.iter().map(|document| published(subject, document, names, at));
            let absent = subject.absent.iter().map(|(role, file)| RoleStatus {
                role: role.to_string(),
                file: crate::text::plain(file),
                version: None,
                expires: None,
                due: None,
                signatures: Vec::new(),
                state: State::Missing,
            });
            let gap =
                subject.roots.gap.filter(|_| subject.kind == Kind::Repository).map(|version| RoleStatus {
                    role: "root".to_owned(),
                    file: format!("{version}.root.json"),
                    version: Some(version),
                    expires: None,
                    due: None,
                    signatures: Vec::new(),
                    state: State::Missing,
                });
            files.chain(gap).chain(absent).collect()
        }
    };
    Described { path, kind: subject.kind, repository: subject.repository_digest(), roles }
}

fn published(subject: &Subject, document: &Document, names: &Names, at: u64) -> RoleStatus {
    let role = document.name();
    let header = document.header();
    let root = subject.newest_root();
    let due = header.as_ref().ok().map(|header| due(root.as_ref(), &role, header.issued, header.expires));
    let state = match (&document.refused, &header) {
        (Some(refusal), _) => State::Refused(refusal.clone()),
        // A device may take what this tool cannot read; its dates are unknown then, and nobody watches over them.
        (None, Err(error)) => State::Refused(error.into()),
        // A device without a clock believes the date, and finds all else expired.
        (None, Ok(header)) => match header.check_issued(at) {
            Err(early) => State::Refused((&early).into()),
            Ok(()) => by_date(header.expires, due, at),
        },
    };
    let file = document.path.file_name().unwrap_or_default().to_string_lossy();
    RoleStatus {
        role,
        file: crate::text::plain(&file),
        version: header.as_ref().ok().map(|header| header.version),
        expires: header.as_ref().ok().map(|header| header.expires),
        due,
        signatures: signatures(subject, document, names),
        state,
    }
}

/// A file that expires at a moment has expired then: devices ask for a later one.
fn by_date(expires: u64, due: Option<u64>, at: u64) -> State {
    match due {
        _ if expires <= at => State::Expired,
        Some(due) if due <= at => State::Due,
        _ => State::Valid,
    }
}

/// When the next version of a role is to be signed, in seconds since 1970-01-01 UTC.
pub(crate) fn due(root: Option<&Value>, role: &str, issued: u64, expires: u64) -> u64 {
    match root.and_then(|root| period(root, role)) {
        Some(period) => period.due(expires),
        None => expires.saturating_sub(expires.saturating_sub(issued) / DEFAULT_SHARE),
    }
}

/// The period that a root states for a role. One with periods that make no sense is read as if it had none: devices
/// take it, and somebody must be called to replace it.
pub(crate) fn period(root: &Value, role: &str) -> Option<Period> {
    let role = Role::TOP_LEVEL.into_iter().find(|top| top.name() == role)?;
    Periods::from_root(root).ok()??.of(&role)
}

/// Who signed a published file. A root is signed by the holders of the one before it, too.
fn signatures(subject: &Subject, document: &Document, names: &Names) -> Vec<Signatures> {
    let Ok(envelope) = &document.envelope else { return Vec::new() };
    let of = |root: Option<u32>, signers: Option<Signers>| {
        let signers = signers?;
        let (signed, missing) = signers.signed(envelope);
        let have = signers.distinct(&signed) as u64;
        let name = |keyids: Vec<String>| sorted(keyids.iter().map(|keyid| names.of(keyid)));
        Some(Signatures { root, need: signers.threshold, have, signed: name(signed), missing: name(missing) })
    };
    let version = |document: &Document| document.header().ok().map(|header| header.version);
    match &document.role {
        Some(Role::Root) => {
            let own = of(version(document), Signers::of_root(&envelope.signed, "root"));
            let before =
                subject.roots.files.len().checked_sub(2).and_then(|index| subject.roots.files.get(index));
            let before =
                before.and_then(|before| of(version(before), Signers::of_root(before.signed()?, "root")));
            // Where nothing changed one line says it all.
            let is_same = |before: &Signatures| {
                own.as_ref().is_some_and(|own| Signatures { root: own.root, ..before.clone() } == *own)
            };
            before.filter(|before| !is_same(before)).into_iter().chain(own.clone()).collect()
        }
        Some(Role::Delegated(name)) => {
            let mut above = subject.files.iter().chain(&subject.above).filter_map(Document::signed);
            of(None, above.find_map(|signed| Signers::of_delegation(signed, name))).into_iter().collect()
        }
        Some(role) => {
            let root = subject.roots.accepted().last();
            let signers =
                root.and_then(Document::signed).and_then(|root| Signers::of_root(root, role.name()));
            of(root.and_then(version), signers).into_iter().collect()
        }
        None => Vec::new(),
    }
}

fn named(progress: Progress, names: &Names) -> Signatures {
    let Progress { by, version, need, have, signed, missing } = progress;
    let name = |keyids: Vec<String>| sorted(keyids.iter().map(|keyid| names.of(keyid)));
    Signatures {
        root: (by == Role::Root).then_some(version),
        need: need.into(),
        have: have.into(),
        signed: name(signed),
        missing: name(missing),
    }
}

fn sorted(names: impl Iterator<Item = String>) -> Vec<String> {
    let mut names: Vec<String> = names.collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn due_is_by_the_period_of_a_root_or_without_a_sound_one_by_the_share_of_a_life() {
        const DAY: u64 = 86_400;
        let root = |signing: Value| {
            let mut periods = json!({
                "root": { "expiry": 365, "signing": 60 },
                "snapshot": { "expiry": 30, "signing": 7 },
                "targets": { "expiry": 180, "signing": 35 },
                "timestamp": { "expiry": 7, "signing": 2 },
            });
            periods["targets"]["signing"] = signing;
            json!({ "periods": periods })
        };
        let due = |root: &Value, role| due(Some(root), role, 0, 300 * DAY) / DAY;
        assert_eq!(due(&root(json!(35)), "targets"), 265);
        // A delegated role has no period of its own.
        assert_eq!(due(&root(json!(35)), "bins"), 200);
        for odd in [json!(0), json!(180), json!(-1), json!("35"), json!(u64::MAX)] {
            assert_eq!(due(&root(odd.clone()), "targets"), 200, "{odd}");
            // As everything else that reads a root has it, which then has no periods at all.
            assert_eq!(due(&root(odd.clone()), "root"), 200, "{odd}");
        }
        assert_eq!(due(&json!({}), "root"), 200);
    }
}
