//! `lint`: a repository that it has nothing to say about, and for each rule the same with one thing changed.

use std::fs;

use serde_json::{Value, json};
use tuffet_keys::Role;
use tuffet_keys::key::SigningKey;
use tuffet_keys::lint::{Rule, Severity};
use tuffet_keys::request::Request;

use crate::repository::{DAY, Holders, Parts, days, now};
use crate::support::*;

/// Publishes the clean repository with one change, before it is signed and then to its files, and gives the rules
/// that `lint` names.
fn found(change: impl FnOnce(&Holders, &mut Parts), then: impl FnOnce(&Room)) -> Vec<String> {
    let holders = Holders::new();
    let mut parts = holders.clean();
    change(&holders, &mut parts);
    holders.publish(parts);
    then(&holders.room);
    rules(&holders.json(&["lint", "public"]))
}

fn rules(report: &Value) -> Vec<String> {
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["rule"].as_str().unwrap().to_owned()).collect()
}

fn untouched(_: &Room) {}

fn unchanged(_: &Holders, _: &mut Parts) {}

#[track_caller]
fn alone(rule: Rule, found: Vec<String>) {
    assert_eq!(found, [rule.name()]);
}

#[test]
fn lint_of_a_clean_repository_finds_nothing() {
    assert_eq!(found(unchanged, untouched), [""; 0]);
    let holders = Holders::new();
    holders.publish(holders.clean());
    let (exit, shown, said) = holders.run(&["lint", "--strict", "public"]);
    assert_eq!((exit, shown.as_str(), said.as_str()), (0, "public: nothing to complain about\n", ""));
    // Each of its files, and a request for its next root, are clean as well.
    holders.root_request("request", &[]);
    let files = ["public/1.root.json", "public/timestamp.json", "public/1.extra.json", "request"];
    let (exit, shown, _) = holders.run(&[&["lint", "--strict"][..], &files].concat());
    assert_eq!(exit, 0, "{shown}");
}

#[test]
fn lint_of_a_file_that_devices_refuse_names_why() {
    alone(Rule::Refused, found(|_, parts| parts.targets.signed["spec_version"] = "2.0.0".into(), untouched));
    alone(Rule::Unsigned, found(|_, parts| parts.targets.signers = vec!["release-a"], untouched));
    alone(
        Rule::KeyOrder,
        found(unchanged, |room| {
            let text = fs::read_to_string(room.path("public/timestamp.json")).unwrap();
            let (signatures, signed) = text.strip_prefix('{').unwrap().split_once(",\"signed\":").unwrap();
            let swapped = format!("{{\"signed\":{},{signatures}}}", signed.strip_suffix('}').unwrap());
            fs::write(room.path("public/timestamp.json"), swapped).unwrap();
        }),
    );
    let deep = |levels: usize| (0..levels).fold(json!(1), |value, _| json!([value]));
    alone(Rule::LimitPassed, found(|_, parts| parts.targets.signed["deep"] = deep(11), untouched));
    alone(Rule::LimitNear, found(|_, parts| parts.targets.signed["deep"] = deep(9), untouched));
    let issued_late = |_: &Holders, parts: &mut Parts| parts.timestamp.signed["issued"] = days(8);
    alone(Rule::IssuedAfterExpiry, found(issued_late, untouched));
    let without_issued = |_: &Holders, parts: &mut Parts| {
        parts.timestamp.signed.as_object_mut().unwrap().remove("issued");
    };
    alone(Rule::Unreadable, found(without_issued, untouched));
}

#[test]
fn lint_near_a_bound_of_devices_warns_before_it_is_passed() {
    let keys = |count: usize| {
        move |_: &Holders, parts: &mut Parts| {
            let keys = parts.roots[0].signed["keys"].as_object_mut().unwrap();
            while keys.len() < count {
                let key = SigningKey::generate().unwrap();
                keys.insert(key.public().keyid().to_owned(), key.public().to_value());
            }
        }
    };
    assert_eq!(found(keys(9), untouched), [""; 0]);
    alone(Rule::LimitNear, found(keys(10), untouched));
    // In a request it is passed before anybody has signed.
    let holders = Holders::new();
    let mut parts = holders.clean();
    keys(13)(&holders, &mut parts);
    let request = Request::draft(Role::Root, &parts.roots[0].signed, &[]).unwrap();
    request.create(&holders.room.path("request")).unwrap();
    alone(Rule::LimitPassed, rules(&holders.json(&["lint", "request"])));

    let note = |length: usize| {
        move |_: &Holders, parts: &mut Parts| {
            let lines = vec!["x".repeat(100); length / 100];
            parts.timestamp.signed["note"] = lines.into();
        }
    };
    assert_eq!(found(note(12_000), untouched), [""; 0]);
    alone(Rule::LimitNear, found(note(14_000), untouched));
    alone(Rule::LimitPassed, found(note(17_000), untouched));
    let signers = |count: usize| {
        move |holders: &Holders, parts: &mut Parts| {
            let all = [
                "release-a",
                "release-b",
                "release-c",
                "root-a",
                "root-b",
                "root-c",
                "snapshot",
                "timestamp",
            ];
            let keyids: Vec<String> = all[..count].iter().map(|name| holders.keyid(name)).collect();
            let delegations = &mut parts.targets.signed["delegations"];
            delegations["roles"][0]["keyids"] = keyids.into();
            let keys = all.iter().map(|name| (holders.keyid(name), holders.key(name).public().to_value()));
            delegations["keys"] = keys.collect();
            parts.extra.signers = all[..count].to_vec();
        }
    };
    assert_eq!(found(signers(6), untouched), [""; 0]);
    alone(Rule::LimitNear, found(signers(7), untouched));
    let path = |length: usize| {
        move |_: &Holders, parts: &mut Parts| {
            let target = json!({ "hashes": { "sha256": "ab".repeat(32) }, "length": 9 });
            parts.targets.signed["targets"]["a".repeat(length)] = target;
        }
    };
    assert_eq!(found(path(127), untouched), [""; 0]);
    alone(Rule::LimitNear, found(path(160), untouched));
}

/// The eight keys of the clean repository, and what the smallest device has room for.
#[test]
fn lint_of_a_root_for_smaller_devices_judges_by_these() {
    let keys = |limit: u32| {
        move |_: &Holders, parts: &mut Parts| {
            let limits = json!({
                "keys": limit, "names": 160, "roles": 8, "root_file": 32768, "roots": 64, "signatures": 8,
                "snapshot_file": 4_194_304, "targets_file": 16_777_216, "text": 320, "timestamp_file": 16384,
            });
            parts.roots[0].signed["devices"] =
                json!({ "limits": limits, "schemes": ["ecdsa-sha2-nistp256"] });
        }
    };
    assert_eq!(found(keys(11), untouched), [""; 0]);
    alone(Rule::LimitNear, found(keys(10), untouched));
    alone(Rule::LimitNear, found(keys(8), untouched));
    alone(Rule::LimitPassed, found(keys(7), untouched));
}

#[test]
fn lint_of_dates_that_end_badly_names_each() {
    let expired = |_: &Holders, parts: &mut Parts| {
        parts.targets.signed["issued"] = tuffet_keys::date::format(now() - 100 * DAY).into();
        parts.targets.signed["expires"] = NOW.into();
    };
    alone(Rule::Expired, found(expired, untouched));
    let in_the_future = |_: &Holders, parts: &mut Parts| parts.snapshot.signed["issued"] = days(2);
    alone(Rule::IssuedInFuture, found(in_the_future, untouched));
    let periods = |signing: u64| {
        move |_: &Holders, parts: &mut Parts| {
            let mut periods = json!({ "timestamp": { "expiry": 8, "signing": signing } });
            for role in ["root", "snapshot", "targets"] {
                periods[role] = json!({ "expiry": 3650, "signing": 1 });
            }
            parts.roots[0].signed["periods"] = periods;
        }
    };
    alone(Rule::ShortLife, found(periods(7), untouched));
    assert_eq!(found(periods(6), untouched), [""; 0]);
    let good_for = |targets: u64| {
        move |_: &Holders, parts: &mut Parts| {
            let mut periods = json!({ "targets": { "expiry": targets, "signing": 60 } });
            for role in ["root", "snapshot", "timestamp"] {
                periods[role] = json!({ "expiry": 3650, "signing": 1 });
            }
            parts.roots[0].signed["periods"] = periods;
        }
    };
    assert_eq!(found(good_for(180), untouched), [""; 0]);
    alone(Rule::LongerThanPeriod, found(good_for(179), untouched));
    let holders = Holders::new();
    let mut parts = holders.clean();
    good_for(179)(&holders, &mut parts);
    holders.publish(parts);
    let report = holders.json(&["lint", "public"]);
    assert_eq!(report["findings"][0]["why"], "good for 180 days, and root 1 says 179");
    assert_eq!(report["findings"][0]["severity"], "warning");
    alone(Rule::LongLife, found(|_, parts| parts.roots[0].signed["expires"] = days(732), untouched));
    assert_eq!(found(|_, parts| parts.roots[0].signed["expires"] = days(731), untouched), [""; 0]);
    alone(Rule::SameDay, found(|_, parts| parts.snapshot.signed["expires"] = days(7), untouched));
}

#[test]
fn lint_of_keys_and_thresholds_names_each_weakness() {
    let add = |role: &'static str, name: &'static str| {
        move |holders: &Holders, parts: &mut Parts| {
            let keyids = &mut parts.roots[0].signed["roles"][role]["keyids"];
            keyids.as_array_mut().unwrap().push(holders.keyid(name).into());
        }
    };
    alone(Rule::OnlineKey, found(add("timestamp", "release-a"), untouched));
    alone(Rule::SharedKey, found(add("root", "release-a"), untouched));
    // One online key for both online roles is how small teams do it.
    assert_eq!(found(add("timestamp", "snapshot"), untouched), [""; 0]);
    let twice = |holders: &Holders, parts: &mut Parts| {
        let key = holders.key("release-a").public().to_value();
        parts.roots[0].signed["keys"]["0".repeat(64)] = key;
        let keyids = &mut parts.roots[0].signed["roles"]["targets"]["keyids"];
        keyids.as_array_mut().unwrap().push("0".repeat(64).into());
    };
    alone(Rule::KeyTwice, found(twice, untouched));
    let threshold = |role: &'static str, threshold: u32| {
        move |_: &Holders, parts: &mut Parts| {
            parts.roots[0].signed["roles"][role]["threshold"] = threshold.into();
            parts.targets.signers = vec!["release-a", "release-b", "release-c"];
        }
    };
    alone(Rule::NoSpareKey, found(threshold("targets", 3), untouched));
    alone(Rule::OneSigner, found(threshold("root", 1), untouched));
    let delegated = |_: &Holders, parts: &mut Parts| {
        parts.targets.signed["delegations"]["roles"][0]["threshold"] = 3.into();
        parts.extra.signed["targets"] = json!({});
    };
    // Of the two files the one above is at fault, and the other one is not to be had.
    let both = [Rule::Unsigned, Rule::ThresholdOutOfReach].map(|rule| rule.name());
    assert_eq!(found(delegated, untouched), both);
    let foreign = |_: &Holders, parts: &mut Parts| parts.targets.signers.push("root-a");
    alone(Rule::UselessSignature, found(foreign, untouched));
}

#[test]
fn lint_of_files_and_their_names_tells_what_differs() {
    let three = |holders: &Holders, parts: &mut Parts| {
        parts.roots.extend([holders.root(2), holders.root(3)]);
    };
    assert_eq!(found(three, untouched), [""; 0]);
    let remove = |name: &'static str| move |room: &Room| fs::remove_file(room.path(name)).unwrap();
    alone(Rule::RootGap, found(three, remove("public/2.root.json")));
    for name in ["public/1.extra.json", "public/timestamp.json", "public/1.targets.json"] {
        alone(Rule::FileMissing, found(unchanged, remove(name)));
    }
    alone(Rule::VersionDiffers, found(|_, parts| parts.targets.signed["version"] = 2.into(), untouched));
    let named = |wrong: Value| {
        move |_: &Holders, parts: &mut Parts| parts.snapshot.signed["meta"]["targets.json"] = wrong
    };
    for length in [100, 100_000] {
        alone(Rule::LengthDiffers, found(named(json!({ "length": length })), untouched));
    }
    alone(Rule::HashDiffers, found(named(json!({ "hashes": { "sha256": "ab".repeat(32) } })), untouched));
    let unlisted = |_: &Holders, parts: &mut Parts| parts.snapshot.signed["meta"]["extra.json"] = Value::Null;
    alone(Rule::NotListed, found(unlisted, untouched));
    let copied = |room: &Room| {
        fs::copy(room.path("public/1.targets.json"), room.path("public/2.targets.json")).unwrap();
    };
    alone(Rule::Unnamed, found(unchanged, copied));
}

#[test]
fn lint_of_targets_that_no_device_gets_names_them() {
    let target = json!({ "hashes": { "sha256": "ab".repeat(32) }, "length": 9 });
    for path in ["lamp/a b", "lamp//a", "../lamp", "lamp/\u{1b}[2J", &"a".repeat(161)] {
        let target = target.clone();
        let change = |_: &Holders, parts: &mut Parts| parts.targets.signed["targets"][path] = target;
        alone(Rule::TargetPath, found(change, untouched));
    }
    let beside = target.clone();
    let elsewhere = |_: &Holders, parts: &mut Parts| parts.extra.signed["targets"]["other/file"] = target;
    alone(Rule::Unreachable, found(elsewhere, untouched));
    let hidden = |_: &Holders, parts: &mut Parts| {
        parts.targets.signed["targets"]["extra/file"] =
            json!({ "hashes": { "sha256": "ef".repeat(32) }, "length": 9 });
    };
    alone(Rule::Unreachable, found(hidden, untouched));
    let image = |_: &Holders, parts: &mut Parts| {
        let targets = &mut parts.targets.signed["targets"];
        targets.as_object_mut().unwrap().remove("lamp/rev-a/versions/1.0.0/lamp.bin");
        targets["lamp/rev-a/versions/1.0.0/other.bin"] = beside;
    };
    alone(Rule::ReleaseRefused, found(image, untouched));
}

#[test]
fn lint_of_an_entry_with_thousands_of_candidates_ends_soon() {
    let holders = Holders::new();
    let mut parts = holders.clean();
    let candidates =
        &mut parts.targets.signed["targets"]["lamp/rev-a/stable/release"]["custom"]["candidates"];
    let one = candidates[0].clone();
    let crowd = (1..=20_000).rev().map(|sequence| {
        let mut other = one.clone();
        other["sequence"] = sequence.into();
        other["image"]["hashes"]["sha256"] = format!("{sequence:064x}").into();
        other
    });
    *candidates = crowd.collect();
    holders.publish(parts);
    // A search for each would take most of a minute; what ends that leaves nothing to read.
    let lint = ["20", BINARY, "--now", NOW, "lint", "public", "--output", "json"];
    let shown = holders.room.command("timeout").args(lint).output().unwrap().stdout;
    alone(Rule::ReleaseRefused, rules(&serde_json::from_slice(&shown).unwrap()));
}

#[test]
fn lint_of_other_than_canonical_bytes_warns() {
    let pretty = |room: &Room| {
        let value: Value = serde_json::from_slice(&room.read("public/timestamp.json")).unwrap();
        fs::write(room.path("public/timestamp.json"), serde_json::to_vec_pretty(&value).unwrap()).unwrap();
    };
    alone(Rule::NotCanonical, found(unchanged, pretty));
    alone(Rule::NotAscii, found(|_, parts| parts.timestamp.signed["note"] = "gr\u{fc}n".into(), untouched));
}

#[test]
fn lint_ends_with_one_for_errors_and_for_warnings_if_strict() {
    let holders = Holders::new();
    let mut parts = holders.clean();
    parts.snapshot.signed["expires"] = days(7);
    holders.publish(parts);
    let (exit, shown, said) = holders.run(&["lint", "public"]);
    assert_eq!((exit, said.as_str()), (0, ""), "{shown}");
    let expected = "warning[same-day]: public (timestamp, snapshot): they all expire on 2026-11-29\n    give them \
                    different lives, so that one missed day does not stop everything\n\
                    public: errors: 0, warnings: 1\n";
    assert_eq!(shown, expected);
    holders.room.refused(&["lint", "--strict", "public"], 141, "errors: 0, warnings: 1");
    let mut parts = holders.clean();
    parts.targets.signers = vec!["release-c"];
    holders.publish(parts);
    holders.room.refused(&["lint", "public"], 141, "errors: 1, warnings: 0");
    let (_, shown, _) = holders.run(&["lint", "public"]);
    let says =
        "error[unsigned]: public/1.targets.json (targets): targets: signed by 1 of 2 needed keys [C106]\n";
    assert!(shown.starts_with(says), "{shown}");

    let report = holders.json(&["lint", "public"]);
    assert_eq!(report["summary"], json!({ "errors": 1, "warnings": 0 }));
    assert_eq!(report["paths"], json!(["public"]));
    let members: Vec<&String> = report["findings"][0].as_object().unwrap().keys().collect();
    assert_eq!(members, ["next", "path", "role", "rule", "severity", "why"]);

    // A request is looked at before anybody signs it, and refused if it is damaged.
    holders.root_request("request", &["root-a"]);
    let request = holders.room.read("request");
    fs::write(holders.room.path("request"), &request[..request.len() / 2]).unwrap();
    fs::write(holders.room.path("public/timestamp.json"), b"{").unwrap();
    for path in ["request", "public/timestamp.json"] {
        let found = rules(&holders.json(&["lint", path]));
        assert_eq!(found, ["refused"], "{path}");
    }
    holders.room.refused(&["lint", "keys"], 240, "keys");
    holders.room.refused(&["lint", "nowhere"], 301, "nowhere");
    assert_eq!(holders.run(&["lint"]).0, 2);
}

/// The page lists every rule by name and severity, and no other.
#[test]
fn lint_rules_are_those_of_the_page() {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/status-and-lint.md");
    let page = fs::read_to_string(page).unwrap();
    let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<String> = Rule::ALL
        .iter()
        .map(|rule| {
            let severity = if rule.severity() == Severity::Error { "error" } else { "warning" };
            format!("| `{}` | {severity} |", rule.name())
        })
        .collect();
    assert_eq!(rows.len(), expected.len());
    for (row, expected) in rows.iter().zip(&expected) {
        assert!(row.starts_with(expected.as_str()), "{expected} is not where {row} is");
    }
}
