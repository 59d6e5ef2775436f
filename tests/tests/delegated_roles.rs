//! The file of a delegated role: its keys, its name, what the snapshot says of it, and what is remembered.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tuffet_client::limits::DEVICE;
use tuffet_client::time::Date;
use tuffet_client::{
    Algorithm, Bound, Clock, DelegatedKey, Ended, Environment, Error, Field, Refresh, Rejected, Role,
    SOFTWARE, Want, accepts_delegated_file, accepts_delegations, path_matches,
};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

const SNAPSHOT: &str = "again 1.snapshot.json";
const TARGETS: &str = "again 1.targets.json";

/// The requests up to the file of the role `lamp`.
const TO_LAMP: [&str; 6] =
    ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", SNAPSHOT, "1.lamp.json"];

fn unmet(valid: u8, threshold: u8) -> Rejected {
    Rejected::ThresholdNotMet { role: Role::Delegated, valid, threshold }
}

#[track_caller]
fn found(repository: &Repository, requests: &[&str]) {
    accepted(&mut Subject::new(&Repository::default()), repository, requests, Some(2));
}

/// Puts so many other keys before those that a role's delegations hold, under labels that sort first.
fn crowd(repository: &mut Repository, from: &str, count: usize) {
    let keys = &mut repository.delegations.get_mut(from).unwrap()["keys"];
    (0..count).for_each(|at| keys[label(at)] = Signer::new(&format!("spare-{at}")).key());
}

fn label(at: usize) -> String {
    format!("{at:064x}")
}

/// A repository whose role `lamp` withdrew release 2 in its version 2, a device that knows that, and the file of
/// version 1.
fn withdrew() -> (Repository, Subject, Vec<u8>) {
    let old = lamp().files()["1.lamp.json"].clone();
    let mut now = lamp();
    now.candidates.remove(0);
    now.delegated.get_mut("lamp").unwrap().version = 2;
    let mut subject = Subject::new(&now);
    assert_eq!(subject.refresh(&now).result, Ok(Some(1)));
    assert_eq!(subject.floors.tracked().collect::<Vec<_>>(), [(&b"lamp"[..], 2)]);
    (now, subject, old)
}

// ---- a timestamp has no say in them

#[test]
fn timestamp_that_lists_a_delegated_role_rolls_nothing_back() {
    // The next version, and a twin of the one that is trusted.
    for version in [2, 1] {
        let (mut repository, mut subject, old) = withdrew();
        repository.versions.insert("timestamp", version);
        let repository = repository
            .signed(Role::Timestamp, |signed| signed["meta"]["lamp.json"] = json!({ "version": 1 }))
            .file("1.lamp.json", Some(old));
        assert_eq!(subject.refresh(&repository).result, Ok(Some(1)), "{version}");
        assert_eq!(subject.floors.tracked().collect::<Vec<_>>(), [(&b"lamp"[..], 2)]);
    }
}

#[test]
fn timestamp_that_broke_off_before_it_was_said_to_be_unmodified_says_nothing() {
    let (repository, subject, old) = withdrew();
    let (mut trusted, mut memory) = (subject.trusted(), [0; DEVICE.memory()]);
    let mut refresh = Refresh::new(plan(), &mut trusted, &mut memory).unwrap();
    refresh.missing().unwrap();
    // Nobody signed this.
    let part = br#"{"signatures":[],"signed":{"_type":"timestamp","meta":{"lamp.json":{"version":1}"#;
    refresh.feed(part).unwrap();
    assert_eq!(refresh.unmodified(), Ok(Ended::NotNew));
    let files = repository.file("1.lamp.json", Some(old)).files();
    let end = drive(&mut refresh, &files, 512, &mut Vec::new(), |_, _| true);
    assert_eq!(end, Ok(End::Install(1)));
    assert_eq!(trusted.floors().tracked().collect::<Vec<_>>(), [(&b"lamp"[..], 2)]);
}

// ---- keys

#[test]
fn delegated_role_with_one_signature_too_few_is_refused() {
    for (signers, valid) in [
        (vec!["lamp-a"], 1),
        (vec![], 0),
        (vec!["release-a", "release-b"], 0),
        (vec!["lamp-a", "release-b"], 1),
    ] {
        let mut repository = lamp();
        repository.delegated.get_mut("lamp").unwrap().signers =
            signers.iter().map(|name| Signer::new(name)).collect();
        refused(&repository, &TO_LAMP, unmet(valid, 2));
    }
    let mut repository = lamp();
    let signers = &mut repository.delegated.get_mut("lamp").unwrap().signers;
    signers.push(Signer::new("release-a"));
    found(&repository, &FULL_LAMP);
}

/// A host that finishes the file asks the same threshold function.
#[test]
fn file_of_a_delegated_role_is_accepted_by_a_host_as_in_a_cycle() {
    let file = lamp().files()["1.lamp.json"].clone();
    let holders = ["lamp-a", "lamp-b", "lamp-c"].map(Signer::new);
    let spelled: Vec<(String, String)> = holders
        .iter()
        .map(|holder| {
            (holder.keyid().to_owned(), holder.key()["keyval"]["public"].as_str().unwrap().to_owned())
        })
        .collect();
    let key = |(keyid, public): &(String, String)| (keyid.clone(), Algorithm::P256, public.clone());
    let accepts = |keys: &[(String, Algorithm, String)], threshold: u8, file: &[u8]| {
        let keys = keys.iter().map(|(keyid, algorithm, public)| DelegatedKey {
            keyid,
            algorithm: *algorithm,
            public,
        });
        accepts_delegated_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], keys, threshold, file)
    };
    let keys: Vec<_> = spelled.iter().map(key).collect();
    assert_eq!(accepts(&keys, 2, &file), Ok(()));

    assert_eq!(accepts(&keys, 3, &file), Err(unmet(2, 3).into()));
    // A threshold of none is met by nobody.
    assert_eq!(accepts(&[], 0, &file), Err(unmet(0, 0).into()));
    assert_eq!(accepts(&keys[1..], 2, &file), Err(unmet(1, 2).into()));
    // One key under two labels, both of which sign.
    let twin = label(7);
    let mut envelope: Value = serde_json::from_slice(&file).unwrap();
    let signatures = envelope["signatures"].as_array_mut().unwrap();
    signatures.truncate(1);
    let mut again = signatures[0].clone();
    let signer = signatures[0]["keyid"].as_str().unwrap().to_owned();
    again["keyid"] = json!(twin);
    signatures.push(again);
    let twice = tuffet_keys::canonical::published_bytes(&envelope).unwrap();
    let public = spelled.iter().find(|(keyid, _)| *keyid == signer).unwrap().1.clone();
    let mut labelled = keys.clone();
    labelled.push((twin, Algorithm::P256, public));
    assert_eq!(accepts(&labelled, 1, &twice), Ok(()));
    assert_eq!(accepts(&labelled, 2, &twice), Err(unmet(1, 2).into()));
    // A key of a kind that a device does not know may be there, and counts for nothing.
    let mut unknown = keys.clone();
    unknown[2].1 = Algorithm::Ed25519;
    assert_eq!(accepts(&unknown, 2, &file), Ok(()));
    let mut damaged = keys.clone();
    damaged[2].2.replace_range(60..64, "AAAA");
    assert_eq!(accepts(&damaged, 2, &file), Err(field(Role::Delegated, Field::Keys).into()));
    damaged[2] = ("AB".repeat(32), Algorithm::P256, spelled[2].1.clone());
    assert_eq!(accepts(&damaged, 2, &file), Err(field(Role::Delegated, Field::Keys).into()));
    // As many keys as a device has room for, and one more.
    let mut many = keys.clone();
    many.extend((3..DEVICE.keys).map(|at| (label(at), Algorithm::P256, spelled[2].1.clone())));
    assert_eq!(accepts(&many, 2, &file), Ok(()));
    many.push((label(99), Algorithm::P256, spelled[2].1.clone()));
    let full = Rejected::Limit { role: Role::Delegated, bound: Bound::Keys };
    assert_eq!(accepts(&many, 2, &file), Err(full.into()));
    // A file of another type, or none at all.
    let files = lamp().files();
    assert_eq!(accepts(&keys, 2, &files["1.snapshot.json"]), Err(field(Role::Delegated, Field::Type).into()));
    assert!(matches!(accepts(&keys, 2, &file[..file.len() - 1]), Err(Error::Rejected(_))));
}

/// Whatever is wrong with any delegation of a file, a host hears of it as a device does that searches behind it.
#[test]
fn delegations_that_a_search_refuses_are_refused_by_a_host() {
    let judge = |change: &dyn Fn(&mut Value)| {
        let mut repository = lamp();
        // One that every path matches comes first, so that another one is looked at behind it.
        repository.delegate("targets", "all", &["lamp-c"], &json!({ "paths": ["*", "", "*/*", "*/*/*/*"] }));
        let roles = repository.delegations.get_mut("targets").unwrap()["roles"].as_array_mut().unwrap();
        roles.reverse();
        change(repository.delegations.get_mut("targets").unwrap());
        let file = repository.files()["1.targets.json"].clone();
        accepts_delegations(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], Role::Targets, &file, "")
    };
    assert_eq!(judge(&|_| {}), Ok(()));
    let wrong = |wrong| Err(field(Role::Targets, wrong).into());
    for index in [0, 1] {
        let rename = |name: String| judge(&|it| it["roles"][index]["name"] = json!(name));
        assert_eq!(rename("snapshot".to_owned()), wrong(Field::Delegations), "{index}");
        assert_eq!(rename(String::new()), wrong(Field::Delegations), "{index}");
        let names = Rejected::Limit { role: Role::Targets, bound: Bound::Names };
        assert_eq!(rename("n".repeat(151)), Ok(()), "{index}");
        assert_eq!(rename("n".repeat(152)), Err(names.into()), "{index}");
        assert_eq!(
            judge(&|it| it["roles"][index]["threshold"] = json!(0)),
            wrong(Field::Threshold),
            "{index}"
        );
        assert_eq!(
            judge(&|it| it["roles"][index]["paths"] = json!([1])),
            wrong(Field::Delegations),
            "{index}"
        );
    }
    // The bins of a file stand for all paths, and come to an end.
    let bins = |bits: u32| {
        judge(&|it| {
            it.as_object_mut().unwrap().remove("roles");
            it["succinct_roles"] =
                json!({ "bit_length": bits, "keyids": [], "name_prefix": "bin", "threshold": 1 });
        })
    };
    assert_eq!(bins(32), Ok(()));
    assert_eq!(bins(33), wrong(Field::Delegations));
}

#[test]
fn pattern_covers_a_path_as_in_a_search() {
    for (pattern, path, covers) in [
        ("lamp/*/release", "lamp/rev-a/release", true),
        ("lamp/*/release", "lamp/rev-a/b/release", false),
        ("lamp/rev-?/release", "lamp/rev-a/release", true),
        ("lamp/rev?a/release", "lamp/rev/a/release", false),
        ("*", "lamp/rev-a", false),
        ("LAMP/*", "lamp/x", false),
    ] {
        assert_eq!(path_matches(pattern, path), covers, "{pattern} {path}");
    }
}

#[test]
fn key_of_a_delegation_under_two_keyids_counts_once() {
    let mut repository = lamp();
    let label = "ab".repeat(32);
    repository.delegations.get_mut("targets").unwrap()["keys"][&label] = Signer::new("lamp-a").key();
    repository.delegation("targets", 0)["keyids"].as_array_mut().unwrap().push(json!(label));
    found(&repository, &FULL_LAMP);
    repository.delegated.get_mut("lamp").unwrap().signers.truncate(1);
    let repository = repository.envelope_of("lamp", move |envelope| {
        let mut twin = envelope["signatures"][0].clone();
        twin["keyid"] = json!(label);
        envelope["signatures"].as_array_mut().unwrap().push(twin);
    });
    refused(&repository, &TO_LAMP, unmet(1, 2));
}

#[test]
fn keyid_that_stands_twice_in_a_delegation_counts_once() {
    let mut repository = lamp();
    let keyid = Signer::new("lamp-a").keyid().to_owned();
    repository.delegation("targets", 0)["keyids"] = json!([keyid, keyid]);
    refused(&repository, &TO_LAMP, unmet(1, 2));
    let twice = lamp().envelope_of("lamp", |envelope| {
        let first = envelope["signatures"][0].clone();
        envelope["signatures"][1] = first;
    });
    refused(&twice, &TO_LAMP, Rejected::DuplicateSignature { role: Role::Delegated });
}

#[test]
fn keyids_without_a_key_sign_nothing_and_stand_in_nobodys_way() {
    let mut repository = lamp();
    repository.delegation("targets", 0)["keyids"].as_array_mut().unwrap().insert(0, json!(label(7)));
    found(&repository, &FULL_LAMP);
    repository.delegation("targets", 0)["keyids"].as_array_mut().unwrap().truncate(2);
    refused(&repository, &TO_LAMP, unmet(1, 2));
    repository.delegation("targets", 0)["keyids"] = json!([]);
    refused(&repository, &TO_LAMP, unmet(0, 2));
}

#[test]
fn key_that_the_delegation_does_not_name_signs_nothing() {
    let mut repository = lamp();
    crowd(&mut repository, "targets", 1);
    repository.delegated.get_mut("lamp").unwrap().signers =
        vec![Signer::new("lamp-a"), Signer::new("spare-0")];
    let repository = repository.envelope_of("lamp", |envelope| {
        for signature in envelope["signatures"].as_array_mut().unwrap() {
            if signature["keyid"] == *Signer::new("spare-0").keyid() {
                signature["keyid"] = json!(label(0));
            }
        }
    });
    refused(&repository, &TO_LAMP, unmet(1, 2));
}

#[test]
fn keys_behind_more_than_the_profile_holds_are_read_for_again() {
    for (count, again) in [(10, false), (11, true), (12, true), (200, true)] {
        let mut repository = lamp();
        crowd(&mut repository, "targets", count);
        let mut requests = FULL.to_vec();
        if again {
            requests.push(TARGETS);
        }
        requests.extend(&TO_LAMP[4..]);
        // Whoever cannot sign for the role cannot now, either.
        let role = repository.delegated.get_mut("lamp").unwrap();
        let signers =
            core::mem::replace(&mut role.signers, vec![Signer::new("lamp-a"), Signer::new("spare-0")]);
        refused(&repository, &requests, unmet(1, 2));
        repository.delegated.get_mut("lamp").unwrap().signers = signers;
        requests.push(TARGETS);
        found(&repository, &requests);
    }
}

#[test]
fn keys_of_a_delegation_share_their_room_with_those_that_sign_its_file() {
    for (count, again) in [(9, false), (10, true), (30, true)] {
        let mut repository = lamp();
        repository.targets = core::mem::take(&mut repository.delegated.get_mut("lamp").unwrap().targets);
        repository.delegate("lamp", "rev-a", &["rev-a"], &json!({ "paths": LAMP }));
        repository.move_to("rev-a");
        crowd(&mut repository, "lamp", count);
        let mut requests = TO_LAMP.to_vec();
        if again {
            requests.push("again 1.lamp.json");
        }
        requests.extend([SNAPSHOT, "1.rev-a.json", TARGETS, "again 1.lamp.json"]);
        found(&repository, &requests);
    }
}

#[test]
fn delegation_with_more_keys_than_the_profile_holds_is_refused() {
    let limit = Rejected::Limit { role: Role::Targets, bound: Bound::Keys };
    let with = |spares: usize, members: core::ops::Range<usize>| {
        let mut repository = lamp();
        crowd(&mut repository, "targets", spares);
        let keyids = repository.delegation("targets", 0)["keyids"].as_array_mut().unwrap();
        keyids.extend(members.map(|at| json!(label(at))));
        repository
    };
    // Twelve keys of one role fit, wherever they stand.
    let again = [FULL.as_slice(), &[TARGETS], &FULL_LAMP[4..]].concat();
    found(&with(10, 0..10), &FULL_LAMP);
    found(&with(12, 0..10), &again);
    found(&with(30, 12..18), &again);
    // One more does not: known by the second reading, or by the first if it wants too many.
    refused(&with(12, 0..11), &full_and(&[TARGETS]), limit);
    refused(&with(30, 12..19), &FULL, limit);
}

// ---- the file

#[test]
fn delegated_file_that_is_not_what_the_snapshot_states_is_refused() {
    let mix = Rejected::MixAndMatch { role: Role::Delegated };
    let listed = |edit: fn(&mut Value)| {
        lamp().signed(Role::Snapshot, move |signed| edit(&mut signed["meta"]["lamp.json"]))
    };
    refused(&listed(|meta| meta["hashes"]["sha256"] = json!("00".repeat(32))), &TO_LAMP, mix);
    refused(&listed(|meta| meta["length"] = json!(meta["length"].as_u64().unwrap() + 1)), &TO_LAMP, mix);
    let length = u32::try_from(lamp().files()["1.lamp.json"].len()).unwrap();
    let oversize = Rejected::Oversize { role: Role::Delegated, limit: length - 1 };
    refused(&listed(|meta| meta["length"] = json!(meta["length"].as_u64().unwrap() - 1)), &TO_LAMP, oversize);
    let other = listed(|meta| *meta = json!({ "version": 5 }))
        .file("5.lamp.json", Some(lamp().files()["1.lamp.json"].clone()));
    let requests = [&TO_LAMP[..5], &["5.lamp.json"]].concat();
    refused(&other, &requests, mix);
    found(&listed(|meta| *meta = json!({ "version": 1 })), &FULL_LAMP);
    let missing = Environment::Missing { role: Role::Delegated };
    refused(&lamp().file("1.lamp.json", None), &TO_LAMP, missing);
}

#[test]
fn delegated_file_that_expired_or_is_malformed_is_refused() {
    let with = |edit: fn(&mut Value)| lamp().signed_by("lamp", edit);
    let freeze = Rejected::Freeze { role: Role::Delegated, expires: Date(NOW), start: Date(NOW) };
    refused(&with(|signed| signed["expires"] = json!(date(NOW))), &TO_LAMP, freeze);
    found(&with(|signed| signed["expires"] = json!(date(NOW + 1))), &FULL_LAMP);
    let wrong = |wrong| field(Role::Delegated, wrong);
    for name in ["root", "snapshot", "lamp", "delegated targets", ""] {
        let repository = lamp().signed_by("lamp", move |signed| signed["_type"] = json!(name));
        refused(&repository, &TO_LAMP, wrong(Field::Type));
    }
    refused(&with(|signed| signed["targets"] = json!([])), &TO_LAMP, wrong(Field::Targets));
    refused(&with(|signed| signed["issued"] = signed["expires"].clone()), &TO_LAMP, wrong(Field::Issued));
    let forged = lamp().envelope_of("lamp", |envelope| envelope["signed"]["odd"] = json!(1));
    refused(&forged, &TO_LAMP, unmet(0, 2));
}

#[test]
fn role_that_the_snapshot_does_not_list_is_refused() {
    let repository = lamp()
        .signed(Role::Snapshot, |signed| drop(signed["meta"].as_object_mut().unwrap().remove("lamp.json")));
    release_refused(&repository, &TO_LAMP[..5], Rejected::RoleNotListed);
}

#[test]
fn date_of_a_delegated_role_proves_no_time() {
    let repository = lamp().signed_by("lamp", |signed| signed["issued"] = json!(date(NOW + 50 * DAY)));
    let mut subject = Subject { clock: Clock::Unknown, ..Subject::new(&repository) };
    accepted(&mut subject, &repository, &FULL_LAMP, Some(2));
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
}

// ---- names

#[test]
fn name_of_a_role_is_percent_encoded_where_it_is_asked_for() {
    for (name, file) in [
        ("?", "1.%3F.json"),
        ("#", "1.%23.json"),
        ("/x", "1.%2Fx.json"),
        ("../x", "1...%2Fx.json"),
        ("..", "1....json"),
        ("%2F", "1.%252F.json"),
        ("a b", "1.a%20b.json"),
        ("ä", "1.%C3%A4.json"),
        ("\u{1}\"\\", "1.%01%22%5C.json"),
        ("1.root", "1.1.root.json"),
        ("Az09-._~", "1.Az09-._~.json"),
    ] {
        let mut repository = Repository::default();
        repository.delegate("targets", name, &["lamp-a"], &json!({ "paths": LAMP }));
        repository.move_to(name);
        let mut subject = Subject::new(&repository);
        accepted(&mut subject, &repository, &full_and(&[SNAPSHOT, file, TARGETS]), Some(2));
        assert_eq!(subject.floors.tracked().collect::<Vec<_>>(), [(name.as_bytes(), 1)]);
    }
}

#[test]
fn name_of_a_top_level_role_or_none_is_refused() {
    for name in ["root", "timestamp", "snapshot", "targets", ""] {
        for paths in [json!(LAMP), json!(["fan/*"])] {
            let mut repository = lamp();
            let role = repository.delegation("targets", 0);
            (role["name"], role["paths"]) = (json!(name), paths);
            refused(&repository, &FULL, field(Role::Targets, Field::Delegations));
        }
    }
}

#[test]
fn name_longer_than_can_be_asked_for_is_refused() {
    for (length, bound) in [(255, Bound::Names), (256, Bound::Text), (400, Bound::Text)] {
        let mut repository = lamp();
        repository.delegation("targets", 0)["name"] = json!("n".repeat(length));
        refused(&repository, &FULL, Rejected::Limit { role: Role::Targets, bound });
    }
}

// ---- what is remembered

#[test]
fn snapshot_is_read_again_for_a_role_only_until_it_is_known() {
    let mut repository = lamp();
    let mut subject = Subject::new(&repository);
    accepted(&mut subject, &repository, &FULL_LAMP, Some(2));
    assert_eq!(subject.floors.tracked().collect::<Vec<_>>(), [(&b"lamp"[..], 1)]);
    // Under the snapshot that it trusts already it has no entry at hand.
    let requests = ["2.root.json", "timestamp.json", "1.targets.json", SNAPSHOT, "1.lamp.json", TARGETS];
    accepted(&mut subject, &repository, &requests, Some(2));

    repository.bump(&["timestamp", "snapshot"]);
    repository.delegated.get_mut("lamp").unwrap().version = 2;
    let requests =
        ["2.root.json", "timestamp.json", "2.snapshot.json", "1.targets.json", "2.lamp.json", TARGETS];
    accepted(&mut subject, &repository, &requests, Some(2));
    assert_eq!(subject.floors.tracked().collect::<Vec<_>>(), [(&b"lamp"[..], 2)]);
}

#[test]
fn snapshot_that_drops_or_rolls_back_a_known_role_is_refused() {
    let mut repository = lamp();
    repository.delegated.get_mut("lamp").unwrap().version = 7;
    let mut subject = Subject::new(&repository);
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    repository.bump(&["timestamp", "snapshot"]);
    let requests = ["2.root.json", "timestamp.json", "2.snapshot.json"];
    repository.delegated.get_mut("lamp").unwrap().version = 6;
    let rollback = Rejected::Rollback { role: Role::Delegated, trusted: 7, offered: 6 };
    refused_by(&mut subject, &repository, &requests, rollback);
    repository.delegated.get_mut("lamp").unwrap().version = 7;
    assert_eq!(Subject::new(&repository).refresh(&repository).result, Ok(Some(2)));
    let lamp = repository.delegated.remove("lamp").unwrap();
    refused_by(&mut subject, &repository, &requests, Rejected::RoleDropped { role: Role::Delegated });

    // A snapshot raises the floor, even if the file behind it is not to be had.
    repository.delegated.insert("lamp".to_owned(), DelegatedRole { version: 9, ..lamp });
    let repository = repository.file("9.lamp.json", None);
    let missing = Environment::Missing { role: Role::Delegated };
    assert_eq!(subject.refresh(&repository).result, Err(missing.into()));
    assert_eq!(subject.floors.tracked().collect::<Vec<_>>(), [(&b"lamp"[..], 9)]);
}

#[test]
fn role_whose_file_was_refused_is_not_remembered() {
    let mut repository = lamp();
    repository.delegated.get_mut("lamp").unwrap().signers.clear();
    let mut subject = Subject::new(&repository);
    assert_eq!(subject.refresh(&repository).result, Err(unmet(0, 2).into()));
    assert_eq!(subject.floors.tracked().count(), 0);
}

#[test]
fn known_roles_are_forgotten_with_the_online_keys() {
    let mut repository = lamp();
    repository.delegated.get_mut("lamp").unwrap().version = 7;
    let mut subject = Subject::new(&repository);
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    repository.delegated.get_mut("lamp").unwrap().version = 1;
    repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot-2"]), &ROOT_KEYS);
    repository.signers.insert("snapshot", vec![Signer::new("snapshot-2")]);
    let requests = [&["2.root.json", "3.root.json"], &FULL_LAMP[1..]].concat();
    accepted(&mut subject, &repository, &requests, Some(2));
    assert_eq!(subject.floors.tracked().collect::<Vec<_>>(), [(&b"lamp"[..], 1)]);
}

#[test]
fn fifth_role_takes_the_place_of_the_oldest_known_one() {
    for roles in [5, 6, 7] {
        let mut repository = Repository::default();
        let name = |index: usize| format!("role-{index}");
        for index in 0..roles {
            repository.delegate("targets", &name(index), &["lamp-a"], &json!({ "paths": [LAMP[0]] }));
        }
        repository.delegation("targets", roles - 1)["paths"] = json!(LAMP);
        repository.move_to(&name(roles - 1));
        let mut subject = Subject::new(&repository);
        assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
        let known: BTreeSet<_> = subject.floors.tracked().map(|(name, _)| name.to_vec()).collect();
        assert_eq!(known, (roles - 4..roles).map(|index| name(index).into_bytes()).collect());

        repository.bump(&["timestamp", "snapshot"]);
        let requests = ["2.root.json", "timestamp.json", "2.snapshot.json"];
        for index in roles - 4..roles {
            let dropped = repository.delegated.remove(&name(index)).unwrap();
            let expected = Rejected::RoleDropped { role: Role::Delegated };
            refused_by(&mut subject, &repository, &requests, expected);
            repository.delegated.insert(name(index), dropped);
        }
        // Another is missed where it is looked for, and no sooner.
        repository.delegated.remove("role-0");
        let cycle = subject.refresh(&repository);
        assert_eq!(cycle.result, Err(Rejected::RoleNotListed.into()));
        assert_eq!(cycle.requests.last().unwrap(), "again 2.snapshot.json");
    }
}

#[test]
fn ninth_role_takes_the_place_of_the_fifth() {
    let mut repository = Repository::default();
    let name = |index: usize| format!("role-{index}");
    let nothing = json!(["nothing/*"]);
    for index in 0..9 {
        repository.delegate("targets", &name(index), &["lamp-a"], &json!({ "paths": [LAMP[0]] }));
    }
    repository.delegation("targets", 7)["paths"] = json!(LAMP);
    repository.delegation("targets", 8)["paths"] = nothing.clone();
    repository.move_to("role-7");
    let mut subject = Subject::new(&repository);
    let known =
        |subject: &Subject| subject.floors.tracked().map(|(name, _)| name.to_vec()).collect::<BTreeSet<_>>();
    let named = |roles: [usize; 4]| roles.map(|index| name(index).into_bytes()).into();
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    assert_eq!(known(&subject), named([4, 5, 6, 7]));

    for index in 0..8 {
        repository.delegation("targets", index)["paths"] = nothing.clone();
    }
    repository.delegation("targets", 8)["paths"] = json!(LAMP);
    repository.move_back("role-7");
    repository.move_to("role-8");
    repository.bump(&["timestamp", "snapshot", "targets"]);
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    assert_eq!(known(&subject), named([5, 6, 7, 8]));
}

#[test]
fn role_with_a_longer_name_than_is_remembered_is_verified_all_the_same() {
    for (length, remembered) in [(32, true), (33, false)] {
        let name = "n".repeat(length);
        let mut repository = Repository::default();
        repository.delegate("targets", &name, &["lamp-a"], &json!({ "paths": LAMP }));
        repository.move_to(&name);
        let mut subject = Subject::new(&repository);
        let file = format!("1.{name}.json");
        let requests = full_and(&[SNAPSHOT, &file, TARGETS]);
        accepted(&mut subject, &repository, &requests, Some(2));
        assert_eq!(subject.floors.tracked().count(), usize::from(remembered));
        repository.delegated.get_mut(&name).unwrap().signers.clear();
        refused(&repository, &requests[..6], unmet(0, 1));
    }
}

#[test]
fn second_reading_of_another_snapshot_or_role_is_refused() {
    let mut repository = lamp();
    repository.delegation("targets", 0)["paths"] = json!([LAMP[0], "lamp/rev-a/a.bin"]);
    repository.candidates[0].image.path = "lamp/rev-a/a.bin".try_into().unwrap();
    let role = repository.delegated.get_mut("lamp").unwrap();
    role.targets.insert("lamp/rev-a/a.bin".to_owned(), target(&image("1.1.0")));
    let files = repository.files();
    let mut trusted = Subject::new(&repository).trusted();
    let memory = &mut [0; DEVICE.memory()];
    let mut refresh = Refresh::new(plan(), &mut trusted, memory).unwrap();
    let mut again = Vec::new();
    while !matches!(refresh.want(), Want::Install(_)) {
        if let Want::Again { file, limit } = refresh.want() {
            let (name, role) = (file.to_string(), file.role);
            let bytes = &files[&name];
            assert_eq!(limit, u32::try_from(bytes.len()).unwrap());
            let before = refresh.trusted().floors().clone();
            // As long, well formed, and not what was verified; cut short; and one byte longer.
            let forged = String::from_utf8(bytes.clone()).unwrap();
            let forged = forged.replacen("2026-11-21", "2026-11-20", 1).into_bytes();
            let fed = refresh.feed(&forged).and_then(|()| refresh.end());
            assert_eq!(fed, Err(Rejected::MixAndMatch { role }.into()), "{name}");
            let fed = refresh.feed(&bytes[..bytes.len() - 1]).and_then(|()| refresh.end());
            assert_eq!(fed, Err(Rejected::Truncated { role, at: limit - 1 }.into()), "{name}");
            let fed = refresh.feed(bytes).and_then(|()| refresh.feed(b" "));
            assert_eq!(fed, Err(Rejected::Oversize { role, limit }.into()), "{name}");
            assert_eq!(refresh.missing(), Err(Environment::Missing { role }.into()), "{name}");
            assert!(matches!(refresh.want(), Want::Again { file, .. } if file.to_string() == name));
            assert_eq!(*refresh.trusted().floors(), before);
            again.push(name);
        }
        step(&mut refresh, &files).unwrap();
    }
    assert_eq!(again, ["1.snapshot.json", "1.targets.json", "1.lamp.json"]);
}
