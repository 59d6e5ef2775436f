//! What differs between two versions of one role's metadata, in words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::{Map, Value, json};

use super::show;
use crate::date;
use crate::encoding::is_digest;
use crate::error::short;
use crate::key::{PublicKey, grouped};
use crate::text::plain;

/// One difference. A value that is only before is gone, one that is only after is new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where: the names of the members on the way there.
    pub place: String,
    /// What stood there.
    pub before: Option<String>,
    /// What stands there.
    pub after: Option<String>,
}

/// In words: "~ root threshold: 2 -> 1", "- targets a/b: 5 bytes", "+ root: key c473e655c98f610b".
impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Change { place, before, after } = self;
        let place = in_words(place);
        match (before, after) {
            (Some(before), Some(after)) => write!(f, "~ {place}: {before} -> {after}"),
            (Some(before), None) => write!(f, "- {place}: {before}"),
            (None, after) => write!(f, "+ {place}: {}", after.as_deref().unwrap_or_default()),
        }
    }
}

/// A place as people say it.
fn in_words(place: &str) -> String {
    if let Some(target) = place.strip_prefix("targets ") {
        return target.replace(" custom candidates sequence ", ": sequence ");
    }
    let (root, place) = place.strip_prefix("root: ").map_or(("", place), |place| ("root: ", place));
    let place = place.strip_suffix(" keyids").unwrap_or(place).replace("delegations roles ", "delegated ");
    format!("{root}{}", place.strip_prefix("roles ").unwrap_or(&place))
}

/// Every difference between what was signed before and what is to be signed. Nothing that differs is left out: what is
/// not known here is compared member by member. `now` in seconds since 1970-01-01 UTC.
pub fn changes(before: &Value, after: &Value, now: u64) -> Vec<Change> {
    let mut comparison = Comparison { found: Vec::new(), now };
    // Of a root, or of what a targets file delegates.
    let keys = |value: &Value| {
        let keys = [&value["keys"], &value["delegations"]["keys"]].map(Value::as_object);
        let keys = keys.into_iter().flatten().flatten();
        keys.map(|(keyid, key)| (keyid.clone(), key.clone())).collect::<Map<_, _>>()
    };
    let named = [keys(before), keys(after)];
    comparison.object("", before, after, &named);
    comparison.found
}

struct Comparison {
    found: Vec<Change>,
    now: u64,
}

impl Comparison {
    /// Two objects, member by member. `keys` are those of both roots, which keyids are shown by.
    fn object(&mut self, place: &str, before: &Value, after: &Value, keys: &[Map<String, Value>; 2]) {
        let members = |value: &Value| value.as_object().cloned().unwrap_or_default();
        let (before, after) = (members(before), members(after));
        let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
        names.sort();
        names.dedup();
        for name in names {
            let place = join(place, &plain(name));
            let (old, new) = (before.get(name), after.get(name));
            if (place == "keys" && after.get("_type").is_some_and(|role| role == "root"))
                || place == "delegations keys"
            {
                let (old, new) = shown_alone(old, new, &before, &after);
                self.value(&place, old.as_ref(), new.as_ref(), keys);
            } else {
                self.value(&place, old, new, keys);
            }
        }
    }

    fn value(
        &mut self,
        place: &str,
        before: Option<&Value>,
        after: Option<&Value>,
        keys: &[Map<String, Value>; 2],
    ) {
        match (before, after) {
            (before, after) if before == after => {}
            (Some(before @ Value::Object(_)), Some(after @ Value::Object(_))) => {
                self.object(place, before, after, keys);
            }
            (Some(Value::Array(before)), Some(Value::Array(after))) => self.items(place, before, after, keys),
            // Delegations that come or go are taken apart, too, for their keys and paths to be read.
            (None, Some(Value::Object(members))) if apart(place, members.len()) => {
                self.object(place, &Value::Null, &json!(members), keys);
            }
            (Some(Value::Object(members)), None) if apart(place, members.len()) => {
                self.object(place, &json!(members), &Value::Null, keys);
            }
            (None, Some(Value::Array(items))) if apart(place, items.len()) => {
                self.items(place, &[], items, keys)
            }
            (Some(Value::Array(items)), None) if apart(place, items.len()) => {
                self.items(place, items, &[], keys)
            }
            (before, after) => {
                let words = |value: Option<&Value>| value.map(|value| self.words(place, value));
                let (before, after) = (words(before), words(after));
                self.found.push(Change { place: place.to_owned(), before, after });
            }
        }
    }

    /// Two lists. Items that have names of their own are compared by those, whatever their order; others by place.
    fn items(&mut self, place: &str, before: &[Value], after: &[Value], keys: &[Map<String, Value>; 2]) {
        let by_name = |items: &[Value]| {
            let named = items.iter().map(|item| Some((name_of(item)?, item.clone())));
            let named: Option<BTreeMap<String, Value>> = named.collect();
            named.filter(|named| named.len() == items.len())
        };
        let (Some(old), Some(new)) = (by_name(before), by_name(after)) else {
            for index in 0..before.len().max(after.len()) {
                let place = join(place, &format!("{}", index + 1));
                self.value(&place, before.get(index), after.get(index), keys);
            }
            return;
        };
        let mut names: Vec<&String> = old.keys().chain(new.keys()).collect();
        names.sort_by_key(|name| (name.len(), *name));
        names.dedup();
        for name in names {
            match (old.get(name), new.get(name)) {
                // A list of texts is a set of them.
                (Some(Value::String(_)), None) => self.text(place, Some(name), None, keys),
                (None, Some(Value::String(_))) => self.text(place, None, Some(name), keys),
                (before, after) => self.value(&join(place, &plain(name)), before, after, keys),
            }
        }
        // Those that are in both; of delegations all, for their order says who speaks first.
        let order = |items: &[Value]| -> Vec<String> {
            let named = items.iter().filter_map(name_of);
            let both = named.filter(|name| {
                place == "delegations roles" || (old.contains_key(name) && new.contains_key(name))
            });
            both.map(|name| plain(&name)).collect()
        };
        let (before, after) = (order(before), order(after));
        if before != after && !(before.is_empty() || after.is_empty()) {
            let (before, after) = (Some(before.join(", ")), Some(after.join(", ")));
            self.found.push(Change { place: join(place, "order"), before, after });
        }
    }

    fn text(
        &mut self,
        place: &str,
        before: Option<&String>,
        after: Option<&String>,
        [old, new]: &[Map<String, Value>; 2],
    ) {
        let is_keyid = place.ends_with("keyids");
        let words = |text: Option<&String>, keys: &Map<String, Value>| {
            text.map(|text| match keys.get(text).filter(|_| is_keyid).map(PublicKey::from_value) {
                Some(Ok(key)) => format!("key {}  fingerprint {}", short(text), key.fingerprint()),
                _ => plain(text),
            })
        };
        let (before, after) = (words(before, old), words(after, new));
        self.found.push(Change { place: place.to_owned(), before, after });
    }

    /// A value on one line: an object by its members, a date with how far it is.
    fn words(&self, place: &str, value: &Value) -> String {
        match value {
            Value::Object(members) if place.contains(" candidates sequence ") => {
                let mut rest = members.clone();
                let mut words = self.candidate(&mut rest);
                if !rest.is_empty() {
                    words += &format!(", {}", self.words("", &Value::Object(rest)));
                }
                words
            }
            Value::Object(members) => {
                let words = members.iter().map(|(name, value)| match value {
                    Value::Object(_) => format!("{} ({})", plain(name), self.words(name, value)),
                    _ => format!("{} {}", plain(name), self.words(name, value)),
                });
                words.collect::<Vec<_>>().join(", ")
            }
            Value::String(text) => match date::parse(text) {
                Some(date) if !place.ends_with("salt") => {
                    format!("{} ({})", plain(text), date::distance(date, self.now))
                }
                _ if place.ends_with("sha256") && is_digest(text) => grouped(text),
                _ => plain(text),
            },
            other => show(other),
        }
    }
}

impl Comparison {
    /// A release as people say it. What it names is taken from the members; what is of another form stays there.
    fn candidate(&self, members: &mut Map<String, Value>) -> String {
        let mut words = Vec::new();
        let take = |members: &mut Map<String, Value>, name: &str| {
            let fits = members.get(name).is_some_and(|value| value.is_string() || value.is_number());
            if fits { members.remove(name).map(|value| show(&value)) } else { None }
        };
        // Its place says it.
        take(members, "sequence");
        words.extend(take(members, "version").map(|version| format!("version {version}")));
        words.extend(take(members, "counter").map(|counter| format!("security counter {counter}")));
        words.extend(
            take(members, "minimum").map(|minimum| format!("for devices from sequence {minimum} on")),
        );
        match members.remove("rollout") {
            None => words.push("every device at once".to_owned()),
            Some(rollout) => words.push(format!("rollout ({})", self.words("rollout", &rollout))),
        }
        if let Some(Value::Object(mut image)) = members.get("image").cloned() {
            let path = take(&mut image, "path").unwrap_or_else(|| "missing".to_owned());
            let length = take(&mut image, "length").unwrap_or_else(|| "missing".to_owned());
            let rest = self.words("image", &Value::Object(image));
            words.push(format!("image {path} of {length} bytes, {rest}"));
            members.remove("image");
        }
        words.join(", ")
    }
}

/// Whether something so long is shown by its parts, though there is nothing on the other side.
fn apart(place: &str, length: usize) -> bool {
    length > 0 && place.split(' ').next() == Some("delegations")
}

/// The keys without those that roles are shown to have gained or lost: each is on one side alone, under the keyid that
/// is its own, and roles of that side alone name it.
fn shown_alone(
    old: Option<&Value>,
    new: Option<&Value>,
    before: &Map<String, Value>,
    after: &Map<String, Value>,
) -> (Option<Value>, Option<Value>) {
    let (old_named, new_named) = (named(before), named(after));
    let left =
        |keys: Option<&Value>, other: Option<&Value>, here: &BTreeSet<&str>, there: &BTreeSet<&str>| {
            let Some(Value::Object(keys)) = keys else { return keys.cloned() };
            let mut keys = keys.clone();
            let shown = |keyid: &str, key: &Value| {
                let alone = other.and_then(|other| other.get(keyid)).is_none();
                let own = || PublicKey::from_value(key).is_ok_and(|key| key.keyid() == keyid);
                alone && here.contains(keyid) && !there.contains(keyid) && own()
            };
            let all = keys.len();
            keys.retain(|keyid, key| !shown(keyid, key));
            // Where there was nothing, there is nothing: all that came is shown.
            (other.is_some() || keys.len() == all || !keys.is_empty()).then_some(Value::Object(keys))
        };
    (left(old, new, &old_named, &new_named), left(new, old, &new_named, &old_named))
}

/// The keyids that the roles beside some keys name.
fn named(beside: &Map<String, Value>) -> BTreeSet<&str> {
    let roles = beside.get("roles").into_iter().flat_map(|roles| match roles {
        Value::Object(roles) => roles.values().collect::<Vec<_>>(),
        Value::Array(roles) => roles.iter().collect(),
        _ => Vec::new(),
    });
    let keyids = roles.chain(beside.get("succinct_roles")).map(|role| role["keyids"].as_array());
    keyids.flatten().flatten().filter_map(Value::as_str).collect()
}

/// What an item of a list goes by.
fn name_of(item: &Value) -> Option<String> {
    match item {
        Value::String(text) => Some(text.clone()),
        Value::Object(members) => match (members.get("sequence"), members.get("name")) {
            (Some(Value::Number(sequence)), _) => Some(format!("sequence {sequence}")),
            (_, Some(Value::String(name))) => Some(name.clone()),
            _ => None,
        },
        _ => None,
    }
}

fn join(place: &str, name: &str) -> String {
    if place.is_empty() { name.to_owned() } else { format!("{place} {name}") }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::key::SigningKey;

    /// 2026-11-22T13:14:15Z.
    const NOW: u64 = 1_795_353_255;

    fn candidate(sequence: u32, version: &str) -> Value {
        json!({
            "sequence": sequence, "version": version, "counter": 3, "minimum": 0,
            "image": { "path": format!("acme/board/versions/{version}/fw.bin"), "length": 65_000,
                "hashes": { "sha256": "cd".repeat(32) } }
        })
    }

    fn targets(candidates: &[Value]) -> Value {
        json!({
            "_type": "targets", "version": 7, "spec_version": "1.0.34",
            "issued": "2026-11-01T13:14:15Z", "expires": "2026-12-22T13:14:15Z",
            "targets": { "acme/board/stable/release": {
                "length": 412, "hashes": { "sha256": "ab".repeat(32) },
                "custom": { "format": 1, "candidates": candidates }
            } },
            "delegations": { "keys": {}, "roles": [
                { "name": "one", "keyids": ["11"], "threshold": 1, "paths": ["one/*"], "terminating": true },
                { "name": "two", "keyids": ["11", "22"], "threshold": 2, "paths": ["two/*"], "terminating": true },
            ] }
        })
    }

    /// In lines: place, before, after.
    fn lines(before: &Value, after: &Value) -> Vec<String> {
        let nothing = || "nothing".to_owned();
        let line = |Change { place, before, after }: Change| {
            format!("{place}: {} -> {}", before.unwrap_or_else(nothing), after.unwrap_or_else(nothing))
        };
        changes(before, after, NOW).into_iter().map(line).collect()
    }

    #[test]
    fn candidates_are_compared_by_their_sequence() {
        let before = targets(&[candidate(12, "1.2.0"), candidate(11, "1.1.0")]);
        assert_eq!(lines(&before, &before), [""; 0]);
        let mut changed = candidate(12, "1.2.0");
        changed["counter"] = json!(4);
        let after = targets(&[candidate(13, "1.3.0"), changed]);
        let place = "targets acme/board/stable/release custom candidates sequence";
        let all = |version: &str| {
            format!(
                "version {version}, security counter 3, for devices from sequence 0 on, every device at once, image \
                acme/board/versions/{version}/fw.bin of 65000 bytes, hashes (sha256 {})",
                ["cdcdcdcd"; 8].join(" ")
            )
        };
        let expected = [
            format!("{place} 11: {} -> nothing", all("1.1.0")),
            format!("{place} 12 counter: 3 -> 4"),
            format!("{place} 13: nothing -> {}", all("1.3.0")),
        ];
        assert_eq!(lines(&before, &after), expected);
    }

    #[test]
    fn dates_say_how_far_they_are_and_lists_of_names_are_sets() {
        let before = targets(&[candidate(12, "1.2.0")]);
        let mut after = before.clone();
        after["expires"] = json!("2027-11-22T13:14:15Z");
        after["delegations"]["roles"][1]["keyids"] = json!(["33", "22"]);
        let expected = [
            "delegations roles two keyids: 11 -> nothing",
            "delegations roles two keyids: nothing -> 33",
            "expires: 2026-12-22T13:14:15Z (in 30 days) -> 2027-11-22T13:14:15Z (in 365 days)",
        ];
        assert_eq!(lines(&before, &after), expected);
        let mut turned = before.clone();
        turned["delegations"]["roles"].as_array_mut().unwrap().reverse();
        assert_eq!(lines(&before, &turned), ["delegations roles order: one, two -> two, one"]);
    }

    /// The value with one thing changed, at each of its places in turn.
    fn changed(value: &Value) -> Vec<Value> {
        let mut all = vec![json!("OTHER"), json!(["OTHER"]), json!({ "OTHER": 1 })];
        let (count, member): (usize, fn(&mut Value, usize) -> &mut Value) = match value {
            Value::Object(members) => {
                let mut more = value.clone();
                more["OTHER"] = json!(1);
                all.push(more);
                (members.len(), |value, index| {
                    value.as_object_mut().unwrap().values_mut().nth(index).unwrap()
                })
            }
            Value::Array(items) => {
                for index in 0..items.len() {
                    let mut fewer = items.clone();
                    fewer.remove(index);
                    all.push(Value::Array(fewer));
                }
                all.push(Value::Array([&items[..], &items[..]].concat()));
                (items.len(), |value, index| &mut value[index])
            }
            _ => return all,
        };
        for index in 0..count {
            for inner in changed(member(&mut value.clone(), index)) {
                let mut copy = value.clone();
                *member(&mut copy, index) = inner;
                all.push(copy);
            }
        }
        all
    }

    #[test]
    fn any_change_is_shown_in_both_directions() {
        let mut value = targets(&[candidate(12, "1.2.0"), candidate(11, "1.1.0")]);
        // One that a role names, and one that none does.
        let [named, alone] = [(); 2].map(|()| SigningKey::generate().unwrap().public().clone());
        value["delegations"]["keys"] =
            json!({ named.keyid(): named.to_value(), alone.keyid(): alone.to_value() });
        value["delegations"]["roles"][0]["keyids"] = json!([named.keyid()]);
        let (mut shown, none) = (0, Vec::<String>::new());
        for other in changed(&value) {
            if other == value || !other.is_object() {
                continue;
            }
            assert_ne!(lines(&value, &other), none, "{other}");
            assert_ne!(lines(&other, &value), none, "{other}");
            shown += 1;
        }
        assert!(shown > 180, "{shown}");
    }
}
