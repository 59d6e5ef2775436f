//! One file by itself: what the verifier says of it, its form, its dates, and how far the bounds of devices are.

use serde_json::Value;
use tuffet_client::limits::{DEPTH, PATH};
use tuffet_client::{Field, Rejected as Device};

use super::{Findings, Rule};
use crate::metadata::{Header, Role};
use crate::published::{Document, Refusal, Signers};
use crate::request::Request;
use crate::status::period;
use crate::{canonical, date};

const DAY: u64 = 86_400;

/// Two years, one of them a leap year: what is signed for longer outlives those who signed it.
const LONG_LIFE: u64 = 731 * DAY;

/// From this share of a bound on it is said to be near, in hundredths.
const NEAR: usize = 80;

impl Findings<'_> {
    pub(super) fn document(&mut self, document: &Document, now: u64) {
        let place = document.path.display().to_string();
        let role = document.name();
        if let Some(refusal) = &document.refused {
            // Why the files above do not lead to it is said where they are.
            if !refusal.by_link {
                self.add(rule_of(refusal), &place, &role, format!("{} [{}]", refusal.message, refusal.code));
            }
        }
        let Ok(envelope) = &document.envelope else { return };
        match document.header() {
            Ok(header) => self.header(&place, &role, &header, now),
            Err(error) if document.refused.is_none() => {
                self.add(Rule::Unreadable, &place, &role, format!("{error} [K{}]", error.code()));
            }
            Err(_) => {}
        }
        if !self.explained(&role) {
            self.form(&place, &role, &document.bytes);
        }
        self.size(&place, &role, &document.bytes, &envelope.signed);
        self.near(&place, &role, "signatures", envelope.signatures.len(), self.limits().signatures);
        self.useless_signatures(document);
    }

    /// A request as the file that it will be.
    pub(super) fn request(&mut self, request: &Request, now: u64) {
        let place = self.subject.path.display().to_string();
        let role = request.header().role.name();
        self.header(&place, role, request.header(), now);
        self.size(&place, role, request.payload(), request.signed().value());
        if request.header().role == Role::Root {
            self.root_policy(&place, request.signed().value());
        }
    }

    fn header(&mut self, place: &str, role: &str, header: &Header, now: u64) {
        let Header { issued, expires, .. } = *header;
        if expires <= now {
            self.add(Rule::Expired, place, role, format!("expired {}", date::format(expires)));
        }
        if header.check_issued(now).is_err() {
            let why = format!("issued {}, and it is {}", date::format(issued), date::format(now));
            self.add(Rule::IssuedInFuture, place, role, why);
        }
        let life = expires.saturating_sub(issued);
        if life > LONG_LIFE {
            let why = format!("good for {} days, until {}", life / DAY, date::format(expires));
            self.add(Rule::LongLife, place, role, why);
        }
        let root = self.subject.newest_root();
        let Some((root, period)) = root.and_then(|root| period(&root, role).map(|period| (root, period)))
        else {
            return;
        };
        if life > u64::from(period.expiry()) * DAY {
            let version = root.get("version").and_then(Value::as_u64).unwrap_or_default();
            // Rounded up, so that a second more does not look like nothing more.
            let (days, says) = (life.div_ceil(DAY), period.expiry());
            let why = format!("good for {days} days, and root {version} says {says}");
            self.add(Rule::LongerThanPeriod, place, role, why);
        }
        if life <= u64::from(period.signing()) * DAY {
            let why = format!(
                "good for {} days, and to be signed anew {} days before the end: it is due from the start",
                life / DAY,
                period.signing()
            );
            self.add(Rule::ShortLife, place, role, why);
        }
    }

    fn form(&mut self, place: &str, role: &str, bytes: &[u8]) {
        let Ok(value) = canonical::parse(bytes) else { return };
        if let Some(text) = not_ascii(&value) {
            self.add(Rule::NotAscii, place, role, format!("the text \"{text}\" is not ASCII"));
        } else if canonical::published_bytes(&value).is_ok_and(|canonical| canonical != bytes) {
            let why = "it is not the canonical form of what it says (white space, or escapes)";
            self.add(Rule::NotCanonical, place, role, why);
        }
    }

    fn size(&mut self, place: &str, role: &str, bytes: &[u8], signed: &Value) {
        let limits = self.limits();
        let limit = match Role::from_name(role) {
            Some(Role::Root) => limits.root_file,
            Some(Role::Timestamp) => limits.timestamp_file,
            Some(Role::Snapshot) => limits.snapshot_file,
            _ => limits.targets_file,
        };
        self.near(place, role, "bytes", bytes.len(), limit as usize);
        // The envelope is one object around what is signed.
        self.near(place, role, "objects and arrays within each other", depth(signed) + 1, DEPTH);
        let keys = "signed".len() + longest_way(signed);
        self.near(place, role, "bytes of member names on the way to a value", keys, limits.text);
        if role == "root" {
            let keys = signed.get("keys").and_then(Value::as_object).map_or(0, |keys| keys.len());
            self.near(place, role, "keys", keys, limits.keys);
        }
        self.target_paths(place, role, signed);
    }

    fn target_paths(&mut self, place: &str, role: &str, signed: &Value) {
        let targets = signed.get("targets").and_then(Value::as_object);
        for path in targets.into_iter().flatten().map(|(path, _)| path) {
            if !is_target_path(path) {
                self.add(
                    Rule::TargetPath,
                    place,
                    role,
                    format!("no device asks for a target named `{path}`"),
                );
            } else {
                self.near(place, role, &format!("characters of the path {path}"), path.len(), PATH);
            }
        }
    }

    /// Near a bound, but within it. Passed, the verifier has refused it, or will once it is signed, or a smaller device
    /// than the one that judged does.
    fn near(&mut self, place: &str, role: &str, what: &str, count: usize, limit: usize) {
        let why = format!("{what}: {count}, and a device takes {limit}");
        if count > limit {
            // A request was not seen by the verifier yet, and a published file by the largest device alone.
            if !self.explained(role) {
                self.add(Rule::LimitPassed, place, role, why);
            }
        } else if count * 100 >= limit * NEAR {
            self.add(Rule::LimitNear, place, role, why);
        }
    }

    fn useless_signatures(&mut self, document: &Document) {
        let Some(role) = document.role.as_ref().filter(|role| !matches!(role, Role::Delegated(_))) else {
            return;
        };
        let Ok(envelope) = &document.envelope else { return };
        let mut roots: Vec<&Value> = Vec::new();
        if *role == Role::Root {
            // The one before it, whose holders sign it too, and itself.
            roots.extend(self.subject.roots.files.iter().rev().take(2).filter_map(Document::signed));
        } else {
            roots.extend(self.subject.roots.accepted().last().and_then(Document::signed));
        }
        let signers: Vec<Signers> =
            roots.iter().filter_map(|root| Signers::of_root(root, role.name())).collect();
        let useful: Vec<String> = signers.iter().flat_map(|signers| signers.signed(envelope).0).collect();
        let useless = envelope.signatures.iter().filter(|(keyid, _)| !useful.contains(keyid));
        let place = document.path.display().to_string();
        for (keyid, _) in useless {
            let known = signers.iter().any(|signers| signers.keys.contains_key(keyid));
            let why = if known { "does not verify" } else { "is of a key that may not sign this role" };
            let why = format!("the signature of key {} {why}", crate::error::short(keyid));
            self.add(Rule::UselessSignature, &place, role.name(), why);
        }
    }
}

/// The rule that a refusal of the verifier falls under.
pub(super) fn rule_of(refusal: &Refusal) -> Rule {
    match refusal.device {
        Some(tuffet_client::Error::Rejected(why)) => match why {
            Device::KeyOrder { .. } => Rule::KeyOrder,
            Device::Limit { .. } | Device::Oversize { .. } => Rule::LimitPassed,
            Device::Field { field: Field::Issued, .. } => Rule::IssuedAfterExpiry,
            Device::ThresholdNotMet { .. } => Rule::Unsigned,
            Device::RoleDropped { .. } | Device::RoleNotListed => Rule::NotListed,
            _ => Rule::Refused,
        },
        Some(tuffet_client::Error::Environment(_)) => Rule::FileMissing,
        _ => Rule::Refused,
    }
}

/// The first text in it that is not ASCII, name or value.
fn not_ascii(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => (!text.is_ascii()).then(|| text.clone()),
        Value::Array(items) => items.iter().find_map(not_ascii),
        Value::Object(members) => members
            .iter()
            .find_map(|(name, member)| if name.is_ascii() { not_ascii(member) } else { Some(name.clone()) }),
        _ => None,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Bytes of the longest chain of names.
fn longest_way(value: &Value) -> usize {
    match value {
        Value::Array(items) => items.iter().map(longest_way).max().unwrap_or(0),
        Value::Object(members) => {
            members.iter().map(|(name, member)| name.len() + longest_way(member)).max().unwrap_or(0)
        }
        _ => 0,
    }
}

/// The form of a target's path, as docs/format.md has it.
fn is_target_path(path: &str) -> bool {
    let printable = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'`');
    path.len() <= PATH
        && path.bytes().all(printable)
        && path.split('/').all(|part| !matches!(part, "" | "." | ".."))
}
