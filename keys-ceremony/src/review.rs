//! What a holder sees before signing, decoded from the very bytes that are signed: all that they say, what of it is
//! new, and what is unusual.
//!
//! Nothing that is signed is left out: each object is taken apart member by member, and what no line
//! has named, or is not of the shape that a line expects, is printed as it stands. Only targets that are
//! what they were in the version that their holder signed last are counted.

mod changes;
mod comparison;
mod several;
mod warnings;

use std::fmt;

use serde_json::{Map, Value};

use crate::encoding::is_digest;
use crate::error::short;
use crate::key::{PublicKey, grouped};
use crate::metadata::Role;
use crate::names::Names;
use crate::request::{Progress, Request};
use crate::root::Devices;
use crate::text::plain;
use crate::transcript::Head;
use crate::{canonical, date};

pub use changes::{Change, changes};
use comparison::Seen;
pub use comparison::{Built, Comparison, compare, compare_all, to_json};
pub use several::Several;
pub use warnings::{Warning, salt};

/// A request in words. `Display` gives lines for a terminal, control characters escaped.
#[derive(Clone, Debug)]
pub struct Review {
    lines: Vec<String>,
    names: Names,
    /// The present, in seconds since 1970-01-01 UTC.
    now: u64,
}

/// Describes a request: all that it says, or if it was `compared`, all but the targets that its holder has signed before.
/// Keys get their `names`; `now` in seconds since 1970-01-01 UTC.
pub fn describe(request: &Request, compared: Option<&Comparison>, names: &Names, now: u64) -> Review {
    let mut review = Review { lines: Vec::new(), names: names.clone(), now };
    review.line(0, &request.title());

    let (digest, repository) = (request.sha256(), request.repository());
    review.digest(1, &format!("to sign    {} bytes, sha256 ", request.payload().len()), "", &digest);
    review.digest(1, "repository root 1 is sha256 ", "", &repository);
    review.delegated(request);

    let seen = compared.and_then(|compared| compared.seen.as_ref());
    let says = seen.map_or_else(|| request.signed().value(), |seen| &seen.rest);
    let mut signed = review.open(1, "signed", says.clone());
    for titled in ["_type", "version"] {
        signed.remove(titled);
    }
    for name in ["issued", "expires"] {
        let date = review.date(signed.remove(name).as_ref());
        let warning = match name {
            "issued" if request.header().check_issued(now).is_err() => ", ISSUED IN THE FUTURE",
            "expires" if request.header().expires <= now => ", EXPIRED",
            _ => "",
        };
        review.field(1, name, &format!("{date}{warning}"));
    }
    review.field(1, "format", &format!("TUF {}", shown(signed.remove("spec_version").as_ref())));
    match request.header().role {
        Role::Root => review.root(&mut signed),
        Role::Targets | Role::Delegated(_) => {
            review.targets(&mut signed, seen);
            review.delegations(&mut signed);
        }
        Role::Snapshot | Role::Timestamp => review.meta(&mut signed),
    }
    review.rest(1, signed);
    review.signatures(&request.state());
    review
}

impl Review {
    fn root(&mut self, signed: &mut Map<String, Value>) {
        let consistent = shown(signed.remove("consistent_snapshot").as_ref());
        self.field(1, "files", &format!("named by version and digest: {consistent}"));
        // In another form than ours it is shown with what nobody knows.
        if let Some(head) = Head::from_root(&Value::Object(signed.clone())).unwrap_or_default()
            && signed.get("transcript") == Some(&head.to_value())
        {
            signed.remove("transcript");
            self.field(1, "transcript", &head.to_string());
        }
        if let Some(devices) = Devices::from_root(&Value::Object(signed.clone())).unwrap_or_default()
            && signed.get("devices") == Some(&devices.to_value())
        {
            signed.remove("devices");
            let words = format!("the smallest knows {} alone, and takes at the most", devices.scheme());
            self.field(1, "devices", &words);
            // Of lines that end where those of the digests above do.
            let limits = devices.to_string();
            let limits: Vec<&str> = limits.split(", ").collect();
            limits.chunks(5).for_each(|limits| self.field(1, "", &limits.join(", ")));
        }
        let keys = self.open_member(1, "keys", signed);
        let mut unused = keys.clone();
        for (role, value) in self.open_member(1, "roles", signed) {
            let mut role_keys = self.open(1, &role, value);
            let keyids = role_keys.remove("keyids").unwrap_or_default();
            let keyids = keyids.as_array().cloned().unwrap_or_default();
            let threshold = shown(role_keys.remove("threshold").as_ref());
            self.line(1, &format!("{}: {threshold} of {} keys must sign", plain(&role), keyids.len()));
            for keyid in keyids.iter().filter_map(Value::as_str) {
                unused.remove(keyid);
                self.key(2, keyid, keys.get(keyid));
            }
            self.rest(2, role_keys);
        }
        for (keyid, key) in &unused {
            self.line(1, "a key that no role names");
            self.key(2, keyid, Some(key));
        }
        for (role, period) in self.open_member(1, "periods", signed) {
            let mut period = self.open(1, &role, period);
            let [expiry, signing] = ["expiry", "signing"].map(|name| shown(period.remove(name).as_ref()));
            let words =
                format!("{}: good for {expiry} days, to be signed anew in the last {signing}", plain(&role));
            self.field(1, "period", &words);
            self.rest(2, period);
        }
        if let Some(reason) = signed.remove("reason") {
            self.field(1, "reason", &show(&reason));
        }
    }

    fn key(&mut self, indent: usize, keyid: &str, key: Option<&Value>) {
        let (label, name) = (plain(short(keyid)), self.names.known(keyid).unwrap_or_default());
        match key.map(PublicKey::from_value) {
            Some(Ok(key)) => {
                let fingerprint = key.fingerprint().replace(' ', "");
                self.digest(
                    indent,
                    &format!("key {label}  fingerprint "),
                    &format!("    {name}"),
                    &fingerprint,
                );
            }
            _ => self.line(indent, &format!("key {label}  {name}{}", shown(key))),
        }
    }

    /// A digest, in two lines of four groups, so that nobody loses his place and no terminal breaks it; `under` stands
    /// below what is before it.
    fn digest(&mut self, indent: usize, before: &str, under: &str, digest: &str) {
        let groups = grouped(digest);
        let (first, second) = match groups.match_indices(' ').nth(3) {
            Some((middle, _)) => (&groups[..middle], groups[middle..].trim_start()),
            None => (&groups[..], ""),
        };
        self.line(indent, &format!("{before}{first}"));
        if !(second.is_empty() && under.trim().is_empty()) {
            self.line(indent, &format!("{under:<width$}{second}", width = before.len()));
        }
    }

    /// What the role may speak of, if it is a delegated one: paths that each file on the way to it covers.
    fn delegated(&mut self, request: &Request) {
        let Some(way) = request.way() else { return };
        // They were decoded when the request was read.
        let delegations = way.delegations(request.header().role.name()).unwrap_or_default();
        for (step, delegation) in way.steps().zip(delegations) {
            let words = format!("by {} {}: {}", step.role, step.version, delegation.paths);
            self.field(1, "delegated", &words);
        }
    }

    fn delegations(&mut self, signed: &mut Map<String, Value>) {
        let mut delegations = self.open_member(1, "delegations", signed);
        let keys = self.open_member(1, "keys", &mut delegations);
        let mut unused = keys.clone();
        if let Some(Value::Array(roles)) = delegations.get_mut("roles") {
            let roles = core::mem::take(roles);
            delegations.remove("roles");
            for role in roles {
                let mut role = self.open(1, "a delegation", role);
                let name = shown(role.remove("name").as_ref());
                self.delegation(&format!("delegated role {name}"), role, &keys, &mut unused);
            }
        }
        if let Some(bins) = delegations.remove("succinct_roles") {
            let mut bins = self.open(1, "succinct_roles", bins);
            let [prefix, bits] = ["name_prefix", "bit_length"].map(|name| shown(bins.remove(name).as_ref()));
            let title = format!("delegated roles {prefix}-…, 2^{bits} bins");
            self.delegation(&title, bins, &keys, &mut unused);
        }
        for (keyid, key) in &unused {
            self.line(1, "a key that no delegation names");
            self.key(2, keyid, Some(key));
        }
        self.rest(1, delegations);
    }

    fn delegation(
        &mut self,
        title: &str,
        mut role: Map<String, Value>,
        keys: &Map<String, Value>,
        unused: &mut Map<String, Value>,
    ) {
        let threshold = shown(role.remove("threshold").as_ref());
        let keyids = role.get("keyids").and_then(Value::as_array).cloned().unwrap_or_default();
        let texts = |value: &Value| -> Option<Vec<String>> {
            value.as_array()?.iter().map(|text| text.as_str().map(plain)).collect()
        };
        let keyids_known = role.get("keyids").and_then(texts).is_some();
        self.line(1, &format!("{title}: {threshold} of {} keys must sign", keyids.len()));
        if keyids_known {
            role.remove("keyids");
        }
        for keyid in keyids.iter().filter(|_| keyids_known).filter_map(Value::as_str) {
            unused.remove(keyid);
            self.key(2, keyid, keys.get(keyid));
        }
        for (member, words) in [("paths", "paths"), ("path_hash_prefixes", "SHA-256")] {
            if let Some(list) = role.get(member).and_then(texts) {
                role.remove(member);
                self.field(2, words, &list.join(", "));
            }
        }
        if let Some(Value::Bool(terminating)) = role.get("terminating") {
            let words =
                if *terminating { "nobody else speaks of these paths" } else { "others may, if it does not" };
            role.remove("terminating");
            self.field(2, "search", words);
        }
        self.rest(2, role);
    }

    /// Those that the holder has seen are not there.
    fn targets(&mut self, signed: &mut Map<String, Value>, seen: Option<&Seen>) {
        let targets = self.open_member(1, "targets", signed);
        match seen {
            Some(Seen { version, targets: same @ 1.., .. }) => {
                let count = targets.len() + same;
                let words =
                    format!("{same} of them as they were in version {version}, which was signed here");
                self.line(1, &format!("targets: {count}, {words}"));
            }
            _ => self.line(1, &format!("targets: {}", targets.len())),
        }
        for (path, value) in targets {
            self.line(2, &plain(&path));
            let mut target = self.open(3, "target", value);
            self.length_and_hashes(3, &mut target);
            if let Some(custom) = target.remove("custom") {
                self.custom(3, custom);
            }
            self.rest(3, target);
        }
    }

    /// The release entry, if `custom` is one.
    fn custom(&mut self, indent: usize, custom: Value) {
        let mut entry = self.open(indent, "custom", custom);
        if let Some(Value::Array(candidates)) = entry.get_mut("candidates") {
            let candidates = core::mem::take(candidates);
            entry.remove("candidates");
            let format = shown(entry.remove("format").as_ref());
            self.line(indent, &format!("release entry, format {format}, candidates: {}", candidates.len()));
            for candidate in candidates {
                self.candidate(indent + 1, candidate);
            }
        }
        self.rest(indent, entry);
    }

    fn candidate(&mut self, indent: usize, candidate: Value) {
        let mut candidate = self.open(indent, "candidate", candidate);
        let mut take = |name| shown(candidate.remove(name).as_ref());
        let words = format!(
            "candidate {}: sequence {}, security counter {}, for devices from sequence {} on",
            take("version"),
            take("sequence"),
            take("counter"),
            take("minimum")
        );
        self.line(indent, &words);
        let mut image = self.open_member(indent + 1, "image", &mut candidate);
        self.field(indent + 1, "image", &shown(image.remove("path").as_ref()));
        self.length_and_hashes(indent + 1, &mut image);
        self.rest(indent + 1, image);
        match candidate.remove("rollout") {
            None => self.field(indent + 1, "rollout", "every device at once"),
            Some(rollout) => {
                let mut rollout = self.open(indent + 1, "rollout", rollout);
                let (start, end) = (rollout.remove("start"), rollout.remove("end"));
                let (start, end) = (self.date(start.as_ref()), self.date(end.as_ref()));
                let salt = shown(rollout.remove("salt").as_ref());
                self.field(indent + 1, "rollout", &format!("from {start}, to {end}, salt {salt}"));
                self.rest(indent + 1, rollout);
            }
        }
        self.rest(indent + 1, candidate);
    }

    fn meta(&mut self, signed: &mut Map<String, Value>) {
        for (name, value) in self.open_member(1, "meta", signed) {
            let mut entry = self.open(1, &name, value);
            let version = shown(entry.remove("version").as_ref());
            self.line(1, &format!("{} version {version}", plain(&name)));
            self.length_and_hashes(2, &mut entry);
            self.rest(2, entry);
        }
    }

    /// What targets, images and metadata entries share.
    fn length_and_hashes(&mut self, indent: usize, entry: &mut Map<String, Value>) {
        let length = shown(entry.remove("length").as_ref());
        self.field(indent, "length", &format!("{length} bytes"));
        for (algorithm, digest) in self.open_member(indent, "hashes", entry) {
            match digest.as_str().filter(|text| is_digest(text)) {
                Some(digest) => self.digest(indent, &format!("{:<10} ", plain(&algorithm)), "", digest),
                None => self.field(indent, &plain(&algorithm), &show(&digest)),
            }
        }
    }

    fn signatures(&mut self, state: &[Progress]) {
        for Progress { by, version, need, have, signed, missing } in state {
            self.line(0, &format!("signatures under {by} {version}: {have}, needed {need}"));
            for (keyids, word) in [(signed, "signed "), (missing, "missing")] {
                for keyid in keyids {
                    let name = self.names.known(keyid).map_or(String::new(), |name| format!("  {name}"));
                    self.line(1, &format!("{word}  key {}{name}", short(keyid)));
                }
            }
        }
    }

    fn date(&self, written: Option<&Value>) -> String {
        let known = written.and_then(Value::as_str).and_then(date::parse);
        match known {
            Some(date) => format!("{} ({})", shown(written), date::distance(date, self.now)),
            None => shown(written),
        }
    }

    /// The members of an object. Anything else is printed, for the lines to come cannot show it.
    fn open(&mut self, indent: usize, name: &str, value: Value) -> Map<String, Value> {
        match value {
            Value::Object(members) => members,
            other => {
                self.field(indent, &format!("also {}", plain(name)), &show(&other));
                Map::new()
            }
        }
    }

    fn open_member(
        &mut self,
        indent: usize,
        name: &str,
        members: &mut Map<String, Value>,
    ) -> Map<String, Value> {
        match members.remove(name) {
            Some(value) => self.open(indent, name, value),
            None => Map::new(),
        }
    }

    /// Everything that no line has named.
    fn rest(&mut self, indent: usize, members: Map<String, Value>) {
        for (name, value) in members {
            self.field(indent, &format!("also {}", plain(&name)), &show(&value));
        }
    }

    fn field(&mut self, indent: usize, name: &str, value: &str) {
        self.line(indent, &format!("{name:<10} {value}"));
    }

    fn line(&mut self, indent: usize, text: &str) {
        self.lines.push(format!("{:width$}{text}", "", width = 2 * indent));
    }
}

impl fmt::Display for Review {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn shown(value: Option<&Value>) -> String {
    value.map_or_else(|| "missing".to_owned(), show)
}

/// A value on one line; text without quotes.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) => plain(text),
        // Every value here was decoded from canonical bytes, so it can be encoded.
        other => plain(&String::from_utf8_lossy(&canonical::published_bytes(other).unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::key::SigningKey;
    use crate::root::Draft;

    /// 2026-11-22T13:14:15Z.
    const NOW: u64 = 1_795_353_255;

    fn finished_root(key: &SigningKey) -> Vec<u8> {
        let mut draft = Draft::new(NOW, NOW + 365 * 86_400);
        for role in Role::TOP_LEVEL {
            draft.add_key(&role, key.public()).unwrap();
        }
        let mut request = Request::draft(Role::Root, &draft.signed().unwrap(), &[]).unwrap();
        request.sign(key).unwrap();
        request.finish(NOW).unwrap()
    }

    fn targets() -> Value {
        json!({
            "_type": "targets", "version": 7, "spec_version": "1.0.34",
            "issued": "2026-11-01T13:14:15Z", "expires": "2026-11-20T00:00:00Z",
            "targets": {
                "acme/board/stable/release": {
                    "length": 412, "hashes": { "sha256": "ab".repeat(32) },
                    "custom": { "format": 1, "candidates": [{
                        "version": "1.1.0", "sequence": 12, "counter": 3, "minimum": 4,
                        "image": { "path": "acme/board/versions/1.1.0/fw.bin", "length": 65_000, "hashes": { "sha256": "cd".repeat(32) } },
                        "rollout": { "start": "2026-11-23T13:14:15Z", "end": "2026-12-02T13:14:15Z", "salt": "00112233445566778899aabbccddeeff" }
                    }] }
                }
            }
        })
    }

    #[test]
    fn review_of_targets_shows_every_fact() {
        let root = finished_root(&SigningKey::generate().unwrap());
        let request = Request::draft(Role::Targets, &targets(), &[root]).unwrap();
        let text = describe(&request, None, &Names::default(), NOW).to_string();
        for fact in [
            "targets version 7\n",
            "issued     2026-11-01T13:14:15Z (21 days ago)\n",
            "expires    2026-11-20T00:00:00Z (3 days ago), EXPIRED\n",
            "    acme/board/stable/release\n",
            "length     412 bytes\n",
            "sha256     abababab abababab",
            "release entry, format 1, candidates: 1\n",
            "candidate 1.1.0: sequence 12, security counter 3, for devices from sequence 4 on\n",
            "image      acme/board/versions/1.1.0/fw.bin\n",
            "length     65000 bytes\n",
            "sha256     cdcdcdcd cdcdcdcd",
            "rollout    from 2026-11-23T13:14:15Z (in 24 hours), to 2026-12-02T13:14:15Z (in 10 days), salt 00112233445566778899aabbccddeeff\n",
            "signatures under root 1: 0, needed 1\n",
        ] {
            assert!(text.contains(fact), "{fact:?} is not in\n{text}");
        }
        assert!(!text.contains("also") && !text.contains("FUTURE"), "{text}");

        // An hour before the date of issue clocks may differ; a second earlier one of them is wrong.
        let issued = request.header().issued;
        assert!(!describe(&request, None, &Names::default(), issued - 3600).to_string().contains("FUTURE"));
        let text = describe(&request, None, &Names::default(), issued - 3601).to_string();
        let warned = "issued     2026-11-01T13:14:15Z (in 60 minutes), ISSUED IN THE FUTURE\n";
        assert!(text.contains(warned), "{text}");
    }

    /// Puts a mark at every place of a value in turn: as a new member of each object, and instead of each value.
    fn marked(value: &Value) -> Vec<Value> {
        let mut all = vec![json!("MARK")];
        match value {
            Value::Object(members) => {
                for (name, member) in members {
                    for replaced in marked(member) {
                        let mut copy = members.clone();
                        copy.insert(name.clone(), replaced);
                        all.push(Value::Object(copy));
                    }
                }
                let mut copy = members.clone();
                copy.insert("unknown".to_owned(), json!({ "deep": ["MARK"] }));
                all.push(Value::Object(copy));
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    for replaced in marked(item) {
                        let mut copy = items.clone();
                        copy[index] = replaced;
                        all.push(Value::Array(copy));
                    }
                }
            }
            _ => {}
        }
        all
    }

    #[test]
    fn review_of_anything_unexpected_shows_it() {
        let root = finished_root(&SigningKey::generate().unwrap());
        let mut shown = 0;
        for value in marked(&targets()) {
            // Places that every role has are checked when the request is drafted.
            let Ok(request) = Request::draft(Role::Targets, &value, core::slice::from_ref(&root)) else {
                continue;
            };
            let text = describe(&request, None, &Names::default(), NOW).to_string();
            assert!(text.contains("MARK"), "{value} shows as\n{text}");
            shown += 1;
        }
        assert_eq!(shown, 31);
    }

    #[test]
    fn review_of_control_characters_does_not_steer_the_terminal() {
        let root = finished_root(&SigningKey::generate().unwrap());
        let mut value = targets();
        value["targets"]["acme/\u{1b}[2J\r\n"] = json!({ "length": "\u{7f}\u{8}", "\u{9b}x": 1 });
        assert!(Request::draft(Role::Targets, &value, core::slice::from_ref(&root)).is_err(), "not ASCII");
        value["targets"]["acme/\u{1b}[2J\r\n"] = json!({ "length": "\u{7f}\u{8}", "\u{1b}": "\u{1b}]0;" });
        let request = Request::draft(Role::Targets, &value, &[root]).unwrap();
        let text = describe(&request, None, &Names::default(), NOW).to_string();
        assert!(text.chars().all(|c| matches!(c, ' '..='~' | '\n')), "{text:?}");
        assert!(text.contains("acme/\\u{1b}[2J\\r\\n"), "{text}");
    }
}
