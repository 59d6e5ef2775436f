//! The attacks on other TUF clients that were published, played against ours. `docs/past-advisories.md` tells what
//! each was about. Every repository here is accepted before one thing in it is changed.

use serde_json::{Value, json};
use tuffet_client::time::Date;
use tuffet_client::{Environment, Error, Field, Rejected, Role};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

/// The paths of the simulated product.
fn paths() -> Value {
    json!({ "paths": LAMP })
}

/// What a device asks for on the way to a role of which it knows nothing.
fn way_to(file: &str) -> Vec<&str> {
    [&FULL_LAMP[..5], &[file]].concat()
}

/// A search that leads nowhere under metadata that are all verified.
#[track_caller]
fn leads_nowhere(repository: &Repository, requests: &[&str]) {
    let cycle = Subject::new(repository).refresh(repository);
    assert_eq!((cycle.result, cycle.requests), (Err(Rejected::NoRelease.into()), as_strings(requests)));
}

fn next_root(version: u32) -> Value {
    root(version, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"])
}

// ---- tough

#[test]
fn root_that_jumps_over_a_version_is_refused() {
    // CVE-2025-2885
    let mut repository = Repository::default();
    repository.rotate(next_root(2), &ROOT_KEYS);
    repository.rotate(next_root(3), &ROOT_KEYS);
    assert_eq!(Subject::new(&repository).refresh(&repository).result, Ok(Some(2)));
    let third = repository.files()["3.root.json"].clone();
    let jump = Rejected::RootVersion { expected: 2, offered: 3 };
    let repository = repository.file("2.root.json", Some(third));
    refused(&repository, &FULL[..1], jump);
}

#[test]
fn target_behind_a_terminating_delegation_is_not_looked_for() {
    // CVE-2025-2886: `lamp` comes first and has no release, `other` comes second and has one.
    let with = |terminating: bool| {
        let mut repository = Repository::default();
        let images = core::mem::take(&mut repository.targets);
        let mut how = paths();
        how["terminating"] = json!(terminating);
        repository.delegate("targets", "lamp", &["lamp-a", "lamp-b"], &how);
        repository.delegate("targets", "other", &["other"], &paths()).targets = images;
        repository.release_role = "other".to_owned();
        repository
    };
    assert_eq!(Subject::new(&with(false)).refresh(&with(false)).result, Ok(Some(2)));
    leads_nowhere(&with(true), &FULL_LAMP[..6]);
}

#[test]
fn delegated_role_of_an_older_version_is_refused() {
    // CVE-2025-2887
    let mut repository = lamp();
    let mut subject = Subject::new(&repository);
    repository.delegated.get_mut("lamp").unwrap().version = 2;
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    // A snapshot that names the older file.
    repository.delegated.get_mut("lamp").unwrap().version = 1;
    repository.bump(&["timestamp", "snapshot"]);
    let rollback = Rejected::Rollback { role: Role::Delegated, trusted: 2, offered: 1 };
    refused_by(&mut subject, &repository, &["2.root.json", "timestamp.json", "2.snapshot.json"], rollback);
    // A mirror that has the older file under the newer one's name.
    let older = lamp().files()["1.lamp.json"].clone();
    let length = older.len();
    repository.delegated.get_mut("lamp").unwrap().version = 2;
    repository.bump(&["timestamp", "snapshot"]);
    let repository = repository
        .signed(Role::Snapshot, move |signed| {
            signed["meta"]["lamp.json"] = json!({ "length": length, "version": 2 });
        })
        .file("2.lamp.json", Some(older));
    let requests = ["2.root.json", "timestamp.json", "3.snapshot.json", "1.targets.json", "2.lamp.json"];
    refused_by(&mut subject, &repository, &requests, Rejected::MixAndMatch { role: Role::Delegated });
}

#[test]
fn timestamp_that_rolls_the_snapshot_back_is_not_kept() {
    // CVE-2025-2888: the refused timestamp was cached, and the next honest one was then a rollback.
    let mut repository = Repository::default();
    let mut subject = Subject::new(&repository);
    repository.bump(&["timestamp", "snapshot"]);
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    repository.versions = [("timestamp", 4_000_000), ("snapshot", 1), ("targets", 1)].into();
    let rollback = Rejected::Rollback { role: Role::Snapshot, trusted: 2, offered: 1 };
    refused_by(&mut subject, &repository, &FULL[..2], rollback);
    assert_eq!(subject.refresh(&repository).result, Err(rollback.into()));
    assert_eq!(subject.floors.timestamp_version(), Some(2));
    repository.versions = [("timestamp", 3), ("snapshot", 2), ("targets", 1)].into();
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
}

#[test]
fn cycle_of_delegations_ends_with_each_role_asked_once() {
    // GHSA-j8x2-777p-23fc: each role was loaded for each delegation to it, without an end.
    let mut repository = Repository::default();
    let images = core::mem::take(&mut repository.targets);
    repository.delegate("targets", "lamp", &["lamp-a", "lamp-b"], &paths());
    for (from, to) in [("lamp", "other"), ("other", "lamp"), ("other", "other"), ("lamp", "last")] {
        repository.delegate(from, to, &["lamp-a", "lamp-b"], &paths());
    }
    repository.release_role = "last".to_owned();
    repository.delegated.get_mut("last").unwrap().targets = images;
    let cycle = Subject::new(&repository).refresh(&repository);
    assert_eq!(cycle.result, Ok(Some(2)));
    repository.release_role = "nobody".to_owned();
    let cycle = Subject::new(&repository).refresh(&repository);
    assert_eq!(cycle.result, Err(Rejected::NoRelease.into()));
    let fetched: Vec<&str> =
        cycle.requests.iter().map(String::as_str).filter(|name| !name.starts_with("again ")).collect();
    assert_eq!(fetched, [&FULL[..], &["1.lamp.json", "1.other.json", "1.last.json"]].concat());
}

#[test]
fn delegated_role_that_one_key_signs_twice_is_refused() {
    // CVE-2026-6966, in the role that the top-level count did not reach.
    let repository = lamp().envelope_of("lamp", |envelope| {
        envelope["signatures"][1] = envelope["signatures"][0].clone();
    });
    let twice = Rejected::DuplicateSignature { role: Role::Delegated };
    refused(&repository, &FULL_LAMP[..6], twice);
    let repository = lamp().envelope_of("lamp", |envelope| {
        envelope["signatures"].as_array_mut().unwrap().pop();
    });
    let unmet = Rejected::ThresholdNotMet { role: Role::Delegated, valid: 1, threshold: 2 };
    refused(&repository, &FULL_LAMP[..6], unmet);
}

#[test]
fn delegated_role_that_is_stale_long_or_changed_is_refused() {
    // CVE-2026-6967: no expiry, no length and no hash was held against a delegated role.
    let role = Role::Delegated;
    let stale = lamp().signed_by("lamp", |signed| signed["expires"] = json!(date(NOW)));
    let freeze = Rejected::Freeze { role, expires: Date(NOW), start: Date(NOW) };
    refused(&stale, &FULL_LAMP[..6], freeze);

    let mut file = lamp().files()["1.lamp.json"].clone();
    let limit = u32::try_from(file.len()).unwrap();
    file.push(b' ');
    let long = lamp().file("1.lamp.json", Some(file));
    refused(&long, &FULL_LAMP[..6], Rejected::Oversize { role, limit });

    // Signed by the same keys, of the same version and length, and not the one that the snapshot names.
    let other = (2..).find_map(|day| {
        let mut repository = lamp();
        repository.issued = NOW - day * DAY;
        repository.files().remove("1.lamp.json").filter(|file| file.len() == usize::try_from(limit).unwrap())
    });
    let changed = lamp().file("1.lamp.json", other);
    refused(&changed, &FULL_LAMP[..6], Rejected::MixAndMatch { role });
}

#[test]
fn names_that_lead_out_of_a_directory_stay_in_it() {
    // CVE-2026-6968: names of roles and targets became paths of local files as they were.
    for (name, file) in [
        ("../../etc/x", "1...%2F..%2Fetc%2Fx.json"),
        ("/etc/x", "1.%2Fetc%2Fx.json"),
        ("..", "1....json"),
        ("a?b#c", "1.a%3Fb%23c.json"),
        ("a\\b", "1.a%5Cb.json"),
    ] {
        let mut repository = Repository::default();
        let images = core::mem::take(&mut repository.targets);
        repository.delegate("targets", name, &["lamp-a", "lamp-b"], &paths()).targets = images;
        repository.release_role = name.to_owned();
        let requests = [&way_to(file)[..], &FULL_LAMP[6..]].concat();
        accepted(&mut Subject::new(&repository), &repository, &requests, Some(2));
    }
    for path in ["/etc/passwd", "lamp/rev-a/../../x", "lamp/rev-a//x", "lamp/rev-a/.", "lamp\\rev-a\\x"] {
        let repository = Repository::default().signed(Role::Targets, move |signed| {
            signed["targets"][RELEASE]["custom"]["candidates"][0]["image"]["path"] = json!(path);
        });
        refused(&repository, &FULL, field(Role::Targets, Field::Release));
    }
}

// ---- go-tuf

#[test]
fn one_public_key_under_two_labels_counts_once_in_a_delegation() {
    // GHSA-3633-5h82-39pq
    twin_key(|key| key);
}

#[test]
fn one_public_key_in_two_spellings_counts_once_in_a_delegation() {
    // Found with the oracles: python-tuf, sigstore-tuf and tough count it twice. The keyids are honest, for the
    // texts differ: the second has other line ends.
    twin_key(|mut key| {
        let pem = key["keyval"]["public"].as_str().unwrap().replace('\n', "\r\n");
        key["keyval"]["public"] = json!(pem);
        key
    });
}

/// The role `lamp` has one key, which stands in its list a second time in another form.
#[track_caller]
fn twin_key(form: impl Fn(Value) -> Value) {
    let mut repository = Repository::default();
    repository.delegate("targets", "lamp", &["lamp-a"], &paths());
    repository.move_to("lamp");
    assert_eq!(Subject::new(&repository).refresh(&repository).result, Ok(Some(2)));

    let signer = Signer::new("lamp-a");
    let twin = form(signer.key());
    let bytes = tuffet_keys::canonical::signed_bytes(&twin).unwrap();
    let label = if twin == signer.key() { "ab".repeat(32) } else { sha256(&bytes) };
    assert_ne!(label, signer.keyid());
    let delegations = repository.delegations.get_mut("targets").unwrap();
    delegations["keys"][&label] = twin;
    delegations["roles"][0]["keyids"].as_array_mut().unwrap().push(json!(label));
    delegations["roles"][0]["threshold"] = json!(2);
    let repository = repository.envelope_of("lamp", move |envelope| {
        let mut second = envelope["signatures"][0].clone();
        second["keyid"] = json!(label);
        envelope["signatures"].as_array_mut().unwrap().push(second);
    });
    let unmet = Rejected::ThresholdNotMet { role: Role::Delegated, valid: 1, threshold: 2 };
    refused(&repository, &FULL_LAMP[..6], unmet);
}

#[test]
fn delegation_with_a_threshold_of_zero_or_less_is_refused() {
    // GHSA-fphv-w9fq-2525. The role is signed by nobody, as it then need not be.
    for threshold in [0, -1] {
        let mut repository = lamp();
        repository.delegation("targets", 0)["threshold"] = json!(threshold);
        repository.delegated.get_mut("lamp").unwrap().signers.clear();
        refused(&repository, &FULL, field(Role::Targets, Field::Threshold));
    }
}

#[test]
fn delegations_are_searched_in_the_order_of_their_list() {
    // CVE-2024-47534: the order was that of a map, another in each run. The list decides, not the names.
    for order in [["zebra", "lamp", "ant"], ["lamp", "zebra", "ant"], ["ant", "lamp", "zebra"]] {
        let mut repository = Repository::default();
        let images = core::mem::take(&mut repository.targets);
        for name in order {
            repository.delegate("targets", name, &["lamp-a", "lamp-b"], &paths()).targets = images.clone();
        }
        let roles = order.map(|name| format!("1.{name}.json"));
        repository.release_role = order[0].to_owned();
        let requests = [&way_to(&roles[0])[..], &FULL_LAMP[6..]].concat();
        accepted(&mut Subject::new(&repository), &repository, &requests, Some(2));
        // Only the last of the list has the entry: all are asked, one after the other.
        repository.release_role = order[2].to_owned();
        let cycle = Subject::new(&repository).refresh(&repository);
        let asked: Vec<String> = cycle.requests.into_iter().filter(|name| roles.contains(name)).collect();
        assert_eq!((cycle.result, &asked[..3]), (Ok(Some(2)), &roles[..]));
    }
}

#[test]
fn metadata_of_any_odd_shape_ends_in_an_error() {
    // CVE-2026-23991: valid JSON that is no metadata made the client panic before a signature was looked at.
    let texts = [
        "null",
        "1",
        "\"\"",
        "[]",
        "{}",
        "[[[[]]]]",
        r#"{"signed":null}"#,
        r#"{"signatures":null,"signed":{}}"#,
        r#"{"signatures":[],"signed":[]}"#,
        r#"{"signatures":[null],"signed":{}}"#,
        r#"{"signatures":[{}],"signed":{"_type":null}}"#,
        r#"{"signatures":{"a":{}},"signed":{}}"#,
        r#"{"signatures":[],"signed":{"_type":"timestamp"}}"#,
        r#"{"signatures":[{"keyid":"","sig":""}],"signed":{"_type":"root","keys":[],"roles":[]}}"#,
        r#"{"signatures":[],"signed":{"_type":"targets","delegations":null,"targets":null}}"#,
        r#"{"signatures":[],"signed":{"_type":"targets","delegations":{"keys":null,"roles":{}},"targets":{}}}"#,
        r#"{"signatures":[],"signed":{"_type":"snapshot","meta":{"":{},"x":null}}}"#,
    ];
    let stripped = || lamp().signed(Role::Timestamp, strip_links).signed(Role::Snapshot, strip_links);
    assert_eq!(Subject::new(&stripped()).refresh(&stripped()).result, Ok(Some(2)));
    for text in texts {
        for (name, requests) in [
            ("2.root.json", 1),
            ("timestamp.json", 2),
            ("1.snapshot.json", 3),
            ("1.targets.json", 4),
            ("1.lamp.json", 6),
        ] {
            let repository = stripped().file(name, Some(text.into()));
            let cycle = Subject::new(&repository).refresh(&repository);
            assert!(matches!(cycle.result, Err(Error::Rejected(_))), "{name} {text}: {:?}", cycle.result);
            assert_eq!(cycle.requests, as_strings(&FULL_LAMP[..requests]), "{text}");
        }
    }
}

// ---- python-tuf

#[test]
fn keyid_with_two_different_good_signatures_is_refused() {
    // GHSA-pwqf-9h7j-7mv8: an ECDSA key makes as many signatures as it likes; here the one with the other `s`.
    let repository = Repository::default().envelope(Role::Targets, |envelope| {
        let text = envelope["signatures"][0]["sig"].as_str().unwrap();
        let der: Vec<u8> = (0..text.len() / 2)
            .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        let (r, s) = p256::ecdsa::Signature::from_der(&der).unwrap().split_scalars();
        let other = p256::ecdsa::Signature::from_scalars(r, -s).unwrap();
        let other = tuffet_client::release::Hex(other.to_der().as_bytes()).to_string();
        let keyid = envelope["signatures"][0]["keyid"].clone();
        envelope["signatures"][1] = json!({ "keyid": keyid, "sig": other });
    });
    let twice = Rejected::DuplicateSignature { role: Role::Targets };
    refused(&repository, &FULL, twice);
    // The other signature is a good one.
    let repository = repository.envelope(Role::Targets, |envelope| {
        let signatures = envelope["signatures"].as_array_mut().unwrap();
        let signed = signatures.swap_remove(1);
        *signatures = vec![signed];
    });
    let unmet = Rejected::ThresholdNotMet { role: Role::Targets, valid: 1, threshold: 2 };
    refused(&repository, &FULL, unmet);
}

#[test]
fn new_root_that_one_new_key_signs_for_all_is_refused() {
    // GHSA-r7vq-6425-j94w: the old keys were counted well, and the new ones were not.
    let next = || root(2, &["root-d", "root-e", "root-f"], &TARGETS_KEYS, ["timestamp", "snapshot"]);
    let mut honest = Repository::default();
    honest.rotate(next(), &["root-a", "root-b", "root-d", "root-e"]);
    assert_eq!(Subject::new(&honest).refresh(&honest).result, Ok(Some(2)));
    let mut one = Repository::default();
    one.rotate(next(), &["root-a", "root-b", "root-d", "root-d"]);
    let twice = Rejected::DuplicateSignature { role: Role::Root };
    refused(&one, &FULL[..1], twice);
    let mut one = Repository::default();
    one.rotate(next(), &["root-a", "root-b", "root-d"]);
    let unmet = Rejected::ThresholdNotMet { role: Role::Root, valid: 1, threshold: 2 };
    refused(&one, &FULL[..1], unmet);
}

#[test]
fn root_that_was_refused_is_not_trusted_by_the_next_cycle() {
    // CVE-2020-15163: it had been written down before it was verified.
    let mut repository = Repository::default();
    repository.rotate(next_root(2), &ROOT_KEYS);
    let mut third = next_root(3);
    third["roles"]["root"] = json!({ "keyids": [Signer::new("timestamp").keyid()], "threshold": 1 });
    repository.rotate(third, &["timestamp"]);
    let mut subject = Subject::new(&repository);
    let unmet = Rejected::ThresholdNotMet { role: Role::Root, valid: 0, threshold: 2 };
    for requests in [&["2.root.json", "3.root.json"][..], &["3.root.json"]] {
        let cycle = subject.refresh(&repository);
        assert_eq!((cycle.result, cycle.requests), (Err(unmet.into()), as_strings(requests)));
        assert_eq!(subject.root.version(), 2);
    }
}

// ---- rust-tuf

#[test]
fn timestamp_that_rolls_back_a_snapshot_never_fetched_is_refused() {
    // rust-tuf #294: all that is trusted is a root and a timestamp.
    let mut repository = Repository::default();
    let mut subject = Subject::new(&repository);
    repository.bump(&["timestamp", "snapshot"]);
    let partial = repository.file("2.snapshot.json", None);
    let missing = Environment::Missing { role: Role::Snapshot };
    let requests = ["2.root.json", "timestamp.json", "2.snapshot.json"];
    refused_by(&mut subject, &partial, &requests, missing);
    assert_eq!(subject.refresh(&partial).result, Err(missing.into()));
    assert_eq!((subject.floors.timestamp_version(), subject.floors.snapshot_version()), (Some(2), None));
    let mut older = Repository::default();
    older.versions.insert("timestamp", 3);
    let rollback = Rejected::Rollback { role: Role::Snapshot, trusted: 2, offered: 1 };
    refused_by(&mut subject, &older, &FULL[..2], rollback);
}

#[test]
fn snapshot_that_drops_a_delegated_role_is_refused() {
    // rust-tuf #295
    let mut repository = lamp();
    let mut subject = Subject::new(&repository);
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    repository.bump(&["timestamp", "snapshot"]);
    let repository = repository.signed(Role::Snapshot, |signed| {
        signed["meta"].as_object_mut().unwrap().remove("lamp.json");
    });
    let dropped = Rejected::RoleDropped { role: Role::Delegated };
    refused_by(&mut subject, &repository, &["2.root.json", "timestamp.json", "2.snapshot.json"], dropped);
}

// ---- found with the oracles

#[test]
fn star_does_not_reach_across_a_slash() {
    // tough matches the whole path at once, so that a role for `lamp/*` could name any release of any hardware.
    assert_eq!(Subject::new(&lamp()).refresh(&lamp()).result, Ok(Some(2)));
    for pattern in ["lamp/*", "lamp/rev-a/*", "*", "lamp/rev-a?stable/release", "lamp/**/release"] {
        let mut repository = lamp();
        repository.delegation("targets", 0)["paths"] = json!([pattern]);
        leads_nowhere(&repository, &FULL);
    }
}

#[test]
fn member_that_stands_twice_is_refused() {
    // python-tuf and sigstore-tuf keep the last of two, so that who reads the first sees another file.
    let text = String::from_utf8(Repository::default().files()["timestamp.json"].clone()).unwrap();
    let twice = text.replacen(r#""version":1}"#, r#""version":1,"version":1}"#, 1);
    assert_ne!(twice, text);
    let repository = Repository::default().file("timestamp.json", Some(twice.into_bytes()));
    let cycle = Subject::new(&repository).refresh(&repository);
    assert!(
        matches!(cycle.result, Err(Error::Rejected(Rejected::KeyOrder { role: Role::Timestamp, .. }))),
        "{:?}",
        cycle.result
    );
}

#[test]
fn role_that_the_snapshot_does_not_list_ends_the_search() {
    // sigstore-tuf passes over it, and lets the next role of the list answer.
    let mut repository = Repository::default();
    repository.delegate("targets", "lamp", &["lamp-a", "lamp-b"], &paths());
    repository.delegate("targets", "other", &["other"], &paths());
    repository.move_to("other");
    assert_eq!(Subject::new(&repository).refresh(&repository).result, Ok(Some(2)));
    let repository = repository.signed(Role::Snapshot, |signed| {
        signed["meta"].as_object_mut().unwrap().remove("lamp.json");
    });
    let cycle = Subject::new(&repository).refresh(&repository);
    let expected = (Err(Rejected::RoleNotListed.into()), as_strings(&FULL_LAMP[..5]));
    assert_eq!((cycle.result, cycle.requests), expected);
}
