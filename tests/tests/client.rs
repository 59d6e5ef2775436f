//! The client against a repository that is accepted, with one thing changed.

use serde_json::{Value, json};
use tuffet_client::limits::DEVICE;
use tuffet_client::time::Date;
use tuffet_client::wire::{Reader, Stored, Writer};
use tuffet_client::{
    Ban, Bound, Clock, Device, Entry, Environment, Error, Field, Floors, Goal, Misuse, Plan, Refresh,
    Rejected, Role, SOFTWARE, Trusted, Want,
};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

// ---- accepted

#[test]
fn refresh_of_factory_device_finds_the_highest_release() {
    let repository = Repository::default();
    let mut subject = Subject::new(&repository);
    accepted(&mut subject, &repository, &FULL, Some(2));
    let floors = subject.floors.clone();
    assert_eq!(
        (floors.timestamp_version(), floors.snapshot_version(), floors.targets_version()),
        (Some(1), Some(1), Some(1))
    );
}

#[test]
fn refresh_of_device_on_the_latest_release_is_up_to_date_and_keeps_the_snapshot() {
    let (repository, mut subject) = settled();
    accepted(&mut subject, &repository, &["2.root.json", "timestamp.json", "1.targets.json"], None);
}

#[test]
fn refresh_in_chunks_of_any_size_is_the_same() {
    let repository = Repository::default();
    for chunk in [1, 2, 3, 63, 64, 65, 1_000_000] {
        let mut subject = Subject { chunk, ..Subject::new(&repository) };
        accepted(&mut subject, &repository, &FULL, Some(2));
    }
}

#[test]
fn refresh_over_pretty_printed_files_is_the_same() {
    let mut repository = Repository::default();
    repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]), &ROOT_KEYS);
    let linked = |repository: Repository| {
        repository.signed(Role::Timestamp, strip_links).signed(Role::Snapshot, strip_links)
    };
    let mut files = linked(repository).files();
    for (name, file) in &mut files {
        let value: Value = serde_json::from_slice(file).unwrap();
        let pretty = serde_json::to_vec_pretty(&value).unwrap();
        assert!(pretty.len() > file.len() + 50, "{name}");
        *file = pretty;
    }
    let mut subject = Subject::new(&Repository::default());
    assert_eq!(subject.refresh_from(&files).result, Ok(Some(2)));
    assert_eq!(subject.root.version(), 2);
}

#[test]
fn image_sorted_before_its_release_entry_costs_a_second_reading() {
    let mut repository = Repository::default();
    let image = image("1.2.0");
    repository.targets.insert("lamp/rev-a/a.bin".to_owned(), target(&image));
    let candidate = repository.release(3, "1.2.0");
    candidate.image.path = "lamp/rev-a/a.bin".try_into().unwrap();
    let requests = [FULL.as_slice(), &["again 1.targets.json"]].concat();
    accepted(&mut Subject::new(&repository), &repository, &requests, Some(3));
}

#[test]
fn root_chain_is_walked_link_by_link() {
    let mut repository = Repository::default();
    repository.rotate(
        root(2, &["root-a", "root-b", "root-d"], &TARGETS_KEYS, ["timestamp", "snapshot"]),
        &ROOT_KEYS,
    );
    repository.rotate(
        root(3, &["root-d", "root-e", "root-b"], &TARGETS_KEYS, ["timestamp", "snapshot"]),
        &["root-d", "root-b", "root-e"],
    );
    let requests =
        ["2.root.json", "3.root.json", "4.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    let mut subject = Subject::new(&Repository::default());
    accepted(&mut subject, &repository, &requests, Some(2));
    assert_eq!(subject.root.version(), 3);
}

#[test]
fn expired_root_within_the_chain_does_not_end_the_walk() {
    let mut old = root(1, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]);
    old["expires"] = json!(date(NOW - DAY));
    let mut repository = Repository::default();
    let signers = repository.roots[0].1.clone();
    repository.roots[0] = (old, signers);
    let mut subject = Subject::new(&repository);
    let freeze = Rejected::Freeze { role: Role::Root, expires: Date(NOW - DAY), start: Date(NOW) };
    refused_by(&mut subject, &repository, &["2.root.json"], freeze);

    repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]), &ROOT_KEYS);
    let requests = ["2.root.json", "3.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    accepted(&mut subject, &repository, &requests, Some(2));
}

#[test]
fn rotated_online_keys_drop_the_floors_that_a_thief_raised() {
    for (online, released) in [
        (["timestamp-2", "snapshot"], true),
        (["timestamp", "snapshot-2"], true),
        (["timestamp", "snapshot"], false),
    ] {
        let (mut repository, mut subject) = settled();
        repository.versions = [("timestamp", 4_000_000), ("snapshot", 4_000_000), ("targets", 1)].into();
        accepted(
            &mut subject,
            &repository,
            &["2.root.json", "timestamp.json", "4000000.snapshot.json", "1.targets.json"],
            None,
        );
        repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, online), &ROOT_KEYS);
        for (role, name) in [("timestamp", online[0]), ("snapshot", online[1])] {
            repository.signers.insert(role, vec![Signer::new(name)]);
            repository.versions.insert(role, 2);
        }
        if released {
            let requests =
                ["2.root.json", "3.root.json", "timestamp.json", "2.snapshot.json", "1.targets.json"];
            accepted(&mut subject, &repository, &requests, None);
        } else {
            let rollback = Rejected::Rollback { role: Role::Timestamp, trusted: 4_000_000, offered: 2 };
            refused_by(
                &mut subject,
                &repository,
                &["2.root.json", "3.root.json", "timestamp.json"],
                rollback,
            );
        }
    }
}

#[test]
fn rotated_online_keys_drop_the_date_that_a_thief_set_within_the_same_cycle() {
    let (mut repository, mut subject) = settled();
    subject.clock = Clock::Unknown;
    let far = NOW + 70 * 365 * DAY;
    let thief = Repository::default().signed(Role::Timestamp, move |signed| {
        signed["version"] = json!(2);
        signed["issued"] = json!(date(far));
        signed["expires"] = json!(date(far + DAY));
    });
    assert_eq!(subject.refresh(&thief).result, Ok(None));
    repository.bump(&["timestamp"]);
    repository.bump(&["timestamp"]);
    let freeze = Rejected::Freeze { role: Role::Root, expires: Date(NOW + 365 * DAY), start: Date(far) };
    refused_by(&mut subject, &repository, &["2.root.json"], freeze);

    repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp-2", "snapshot"]), &ROOT_KEYS);
    repository.signers.insert("timestamp", vec![Signer::new("timestamp-2")]);
    let requests = ["2.root.json", "3.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    accepted(&mut subject, &repository, &requests, None);
}

#[test]
fn power_cut_within_a_root_walk_keeps_no_floor_of_keys_that_were_away() {
    // The thief's timestamp key goes in root 2 and comes back in root 3: whoever is cut off between the two
    // writes must not take the floors that it set for floors of today.
    let online = |name| root(2, &ROOT_KEYS, &TARGETS_KEYS, [name, "snapshot"]);
    let mut counted = 0;
    for writes in 0..4 {
        let (mut repository, mut subject) = settled();
        repository.versions.insert("timestamp", 4_000_000);
        assert_eq!(subject.refresh(&repository).result, Ok(None));
        repository.versions.insert("timestamp", 2);
        repository.rotate(online("timestamp-2"), &ROOT_KEYS);
        let mut third = online("timestamp");
        third["version"] = json!(3);
        repository.rotate(third, &ROOT_KEYS);
        subject.writes = Some(writes);
        let _ = subject.refresh(&repository);
        subject.writes = None;
        assert_eq!(subject.refresh(&repository).result, Ok(None), "cut after {writes} writes");
        assert_eq!(subject.floors.timestamp_version(), Some(2));
        counted += 1;
    }
    assert_eq!(counted, 4);
}

#[test]
fn floors_are_kept_beside_a_root_that_is_read_from_its_file_again() {
    let (mut repository, mut subject) = settled();
    repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp-2", "snapshot"]), &ROOT_KEYS);
    repository.signers.insert("timestamp", vec![Signer::new("timestamp-2")]);
    assert_eq!(subject.refresh(&repository).result, Ok(None));
    // The root's record is lost, and the image that runs has root 2 inside.
    let file = &repository.files()["2.root.json"];
    let read = Trusted::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], file);
    let read: Trusted = read.expect("a root signed by its own keys");
    assert_eq!(Trusted::restore(read.root().clone(), subject.floors.clone()).floors(), &subject.floors);
}

#[test]
fn place_of_what_is_trusted_has_what_was_stored_or_nothing_of_what_it_had() {
    let (_, subject) = settled();
    let (mut root, mut floors) = ([0; 1024], [0; 1024]);
    let mut to = Writer::new(&mut root);
    subject.root.write(&mut to);
    let root = to.done().expect("room");
    let mut to = Writer::new(&mut floors);
    subject.floors.write(&mut to);
    let floors = to.done().expect("room");

    let whole = Trusted::restore(subject.root.clone(), subject.floors.clone());
    let mut place: Trusted = Trusted::nothing();
    assert!(place.restore_root(&mut Reader::new(root)));
    assert!(place.restore_floors(&mut Reader::new(floors)));
    assert_eq!(place, whole);
    for length in 0..floors.len() {
        assert!(!place.restore_floors(&mut Reader::new(&floors[..length])), "{length}");
        assert_eq!(place, Trusted::restore(subject.root.clone(), Floors::default()), "{length}");
        assert!(place.restore_floors(&mut Reader::new(floors)));
    }
    for length in 0..root.len() {
        assert!(!place.restore_root(&mut Reader::new(&root[..length])), "{length}");
        assert_eq!(place, Trusted::nothing(), "{length}");
        assert!(place.restore_root(&mut Reader::new(root)));
        assert!(place.restore_floors(&mut Reader::new(floors)));
    }
    assert_eq!(place, whole);
}

#[test]
fn machine_without_a_cycle_takes_no_file_and_looks_for_nothing() {
    let (_, subject) = settled();
    let mut trusted: Trusted = Trusted::restore(subject.root.clone(), subject.floors.clone());
    let mut memory = [0; DEVICE.memory()];
    let (goal, entry, clock) = (Goal::Target("targets/none"), Entry::Refresh, Clock::At(NOW));
    let plan = Plan { crypto: &SOFTWARE, limits: &DEVICE, goal, entry, clock, kept: None };
    let mut refresh = Refresh::idle(plan, &mut trusted, &mut memory);
    assert_eq!(refresh.want(), Want::Over(Rejected::NoRelease));
    assert_eq!(refresh.feed(b"{"), Err(Misuse::CycleOver.into()));
    assert_eq!(refresh.find("targets/none"), Err(Misuse::NotFetching.into()));
    // It begins as any other.
    assert_eq!(refresh.again(goal, entry, clock), Ok(()));
    assert!(matches!(refresh.want(), Want::Fetch { file, .. } if file.role == Role::Root));
}

#[test]
fn raised_threshold_of_an_online_role_drops_what_fewer_keys_signed() {
    let with_threshold = |version, threshold: u32| {
        let mut root = root(version, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]);
        let second = Signer::new("snapshot-2");
        root["keys"][second.keyid()] = second.key();
        root["roles"]["snapshot"]["keyids"].as_array_mut().unwrap().push(json!(second.keyid()));
        root["roles"]["snapshot"]["threshold"] = json!(threshold);
        root
    };
    let mut repository = Repository::default();
    repository.roots[0].0 = with_threshold(1, 1);
    let mut subject = Subject::new(&repository);
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    repository.rotate(with_threshold(2, 2), &ROOT_KEYS);
    repository.bump(&["timestamp"]);
    let unmet = Rejected::ThresholdNotMet { role: Role::Snapshot, valid: 1, threshold: 2 };
    let requests = ["2.root.json", "3.root.json", "timestamp.json", "1.snapshot.json"];
    refused_by(&mut subject, &repository, &requests, unmet);
}

#[test]
fn root_that_relabels_and_reorders_its_online_keys_drops_no_floor() {
    let (mut repository, mut subject) = settled();
    let mut next = root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]);
    let label = "00".repeat(32);
    next["keys"][&label] = Signer::new("timestamp").key();
    next["roles"]["timestamp"]["keyids"] = json!([label]);
    repository.rotate(next, &ROOT_KEYS);
    let relabelled = move |envelope: &mut Value| envelope["signatures"][0]["keyid"] = json!(label);
    let repository = repository.envelope(Role::Timestamp, relabelled);
    let requests = ["2.root.json", "3.root.json", "timestamp.json", "1.targets.json"];
    accepted(&mut subject, &repository, &requests, None);
    assert_eq!(subject.floors.timestamp_version(), Some(1));
}

#[test]
fn timestamp_is_stored_even_if_nothing_below_it_is_fresh() {
    let (mut repository, mut subject) = settled();
    repository.bump(&["timestamp"]);
    let later = NOW + 8 * DAY;
    subject.clock = Clock::At(later);
    repository.expires.insert("timestamp", later + DAY);
    let freeze = Rejected::Freeze { role: Role::Snapshot, expires: Date(NOW + 7 * DAY), start: Date(later) };
    let requests = ["2.root.json", "timestamp.json", "1.snapshot.json"];
    refused_by(&mut subject, &repository, &requests, freeze);
    assert!(subject.refresh(&repository).result.is_err());
    assert_eq!(subject.floors.timestamp_version(), Some(2));
}

#[test]
fn write_that_fails_is_asked_for_again() {
    let (mut repository, mut subject) = settled();
    repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]), &ROOT_KEYS);
    repository.bump(&["timestamp", "snapshot", "targets"]);
    let files = repository.files();
    for writes in 0..=2 {
        let mut device = Subject { banned: Vec::new(), ..Subject::new(&Repository::default()) };
        (device.root, device.floors, device.sequence) =
            (subject.root.clone(), subject.floors.clone(), subject.sequence);
        let mut trusted = device.trusted();
        device.writes = Some(writes);
        let _ = device.refresh_with(&mut trusted, &files);
        device.writes = None;
        // The same memory goes on; what the flash refused must reach it all the same.
        assert_eq!(device.refresh_with(&mut trusted, &files).result, Ok(None));
        assert_eq!(device.root.version(), 2);
        assert_eq!(device.floors.timestamp_version(), Some(2), "{writes}");
        assert_eq!(device.floors.targets_version(), Some(2), "{writes}");
    }
    subject.writes = None;
}

#[test]
fn time_that_an_offline_role_proved_never_goes_back() {
    let (mut repository, mut subject) = settled();
    subject.clock = Clock::Unknown;
    // Root 2 proves that it is a hundred days later; root 3 says nothing, and replaces the online keys.
    let mut second = root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]);
    second["issued"] = json!(date(NOW + 100 * DAY));
    repository.rotate(second, &ROOT_KEYS);
    let freeze =
        Rejected::Freeze { role: Role::Timestamp, expires: Date(NOW + DAY), start: Date(NOW + 100 * DAY) };
    refused_by(&mut subject, &repository, &["2.root.json", "3.root.json", "timestamp.json"], freeze);
    let mut third = root(3, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp-2", "snapshot"]);
    third.as_object_mut().unwrap().remove("issued");
    repository.rotate(third, &ROOT_KEYS);
    repository.signers.insert("timestamp", vec![Signer::new("timestamp-2")]);
    let requests = ["2.root.json", "3.root.json", "4.root.json", "timestamp.json"];
    refused_by(&mut subject, &repository, &requests, freeze);

    // The same for targets, over a rotation of online keys.
    let (mut repository, mut subject) = settled();
    subject.clock = Clock::Unknown;
    repository.issued = NOW + 100 * DAY;
    repository.expires =
        [("timestamp", NOW + 101 * DAY), ("snapshot", NOW + 107 * DAY), ("targets", NOW + 190 * DAY)].into();
    repository.bump(&["timestamp", "snapshot", "targets"]);
    assert_eq!(subject.refresh(&repository).result, Ok(None));
    repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp-2", "snapshot"]), &ROOT_KEYS);
    repository.signers.insert("timestamp", vec![Signer::new("timestamp-2")]);
    repository.issued = NOW - DAY;
    repository.expires.insert("timestamp", NOW + DAY);
    repository.bump(&["timestamp"]);
    refused_by(&mut subject, &repository, &["2.root.json", "3.root.json", "timestamp.json"], freeze);
}

#[test]
fn timestamp_of_equal_version_is_no_error_and_its_content_is_ignored() {
    let (mut repository, mut subject) = settled();
    repository.versions.insert("snapshot", 9);
    // Had the twin been believed, snapshot 9 would be asked for.
    accepted(&mut subject, &repository, &["2.root.json", "timestamp.json", "1.targets.json"], None);
}

#[test]
fn expired_local_metadata_is_a_floor_and_blocks_nothing() {
    let (mut repository, mut subject) = settled();
    let later = NOW + 60 * DAY;
    subject.clock = Clock::At(later);
    let freeze = |role, expires| Rejected::Freeze { role, expires: Date(expires), start: Date(later) };
    let requests = ["2.root.json", "timestamp.json"];
    refused_by(&mut subject, &repository, &requests, freeze(Role::Timestamp, NOW + DAY));

    repository.bump(&["timestamp", "snapshot"]);
    repository.expires = [("timestamp", later + 1), ("snapshot", later + 1), ("targets", later + 1)].into();
    repository.release(3, "1.2.0");
    repository.bump(&["targets"]);
    let requests = ["2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json"];
    accepted(&mut subject, &repository, &requests, Some(3));
}

#[test]
fn bad_extra_signature_does_not_undo_a_met_threshold() {
    let repository = Repository::default().envelope(Role::Targets, |envelope| {
        let other = Signer::new("release-a").sign(&json!({ "another": "text" }));
        envelope["signatures"].as_array_mut().unwrap().insert(0, other);
        let stranger = json!({ "keyid": "00".repeat(32), "sig": "00" });
        envelope["signatures"].as_array_mut().unwrap().push(stranger);
        envelope["signatures"].as_array_mut().unwrap().push(json!({ "keyid": "11".repeat(32), "sig": "" }));
    });
    accepted(&mut Subject::new(&repository), &repository, &FULL, Some(2));
}

#[test]
fn unknown_members_are_covered_by_the_signature_and_otherwise_ignored() {
    let odd = json!({ "a": [1, { "b": "x".repeat(2_000) }], "z": -5, "e": "\u{1}\t\\\"", "n": null });
    for role in [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets] {
        let odd = odd.clone();
        let repository = Repository::default().signed(role, move |signed| signed["odd"] = odd.clone());
        accepted(&mut Subject::new(&repository), &repository, &FULL, Some(2));
    }
    let repository =
        Repository::default().envelope(Role::Timestamp, |envelope| envelope["signed"]["odd"] = json!(1));
    let unmet = Rejected::ThresholdNotMet { role: Role::Timestamp, valid: 0, threshold: 1 };
    refused(&repository, &FULL[..2], unmet);
}

// ---- signatures

#[test]
fn role_with_one_signature_too_few_is_refused() {
    for (role, requests) in [(Role::Timestamp, 2), (Role::Snapshot, 3), (Role::Targets, 4)] {
        let repository = Repository::default().envelope(role, |envelope| {
            envelope["signatures"].as_array_mut().unwrap().pop();
        });
        let (valid, threshold) = if role == Role::Targets { (1, 2) } else { (0, 1) };
        refused(&repository, &FULL[..requests], Rejected::ThresholdNotMet { role, valid, threshold });
    }
}

#[test]
fn role_signed_by_keys_of_another_role_is_refused() {
    for (role, names, requests) in [
        (Role::Timestamp, ["snapshot", "root-a"], 2),
        (Role::Snapshot, ["timestamp", "release-a"], 3),
        (Role::Targets, ["root-a", "snapshot"], 4),
    ] {
        let mut repository = Repository::default();
        repository.signers.insert(role.name(), names.map(Signer::new).to_vec());
        let threshold = if role == Role::Targets { 2 } else { 1 };
        refused(&repository, &FULL[..requests], Rejected::ThresholdNotMet { role, valid: 0, threshold });
    }
}

#[test]
fn one_keyid_that_signs_twice_is_refused() {
    let repository = Repository::default().envelope(Role::Targets, |envelope| {
        let first = envelope["signatures"][0].clone();
        envelope["signatures"][1] = first;
    });
    refused(&repository, &FULL, Rejected::DuplicateSignature { role: Role::Targets });
}

#[test]
fn one_key_under_two_keyids_counts_once() {
    let mut repository = Repository::default();
    let (signed, _) = &mut repository.roots[0];
    // The label is a lie, and TUF lets labels lie (TAP 12): what counts is the key.
    let label = "ab".repeat(32);
    signed["keys"][&label] = Signer::new("release-a").key();
    signed["roles"]["targets"]["keyids"].as_array_mut().unwrap().push(json!(label));
    repository.signers.insert("targets", vec![Signer::new("release-a")]);
    let mut subject = Subject::new(&repository);
    let repository = repository.envelope(Role::Targets, move |envelope| {
        let mut twin = envelope["signatures"][0].clone();
        twin["keyid"] = json!(label);
        envelope["signatures"].as_array_mut().unwrap().push(twin);
    });
    let unmet = Rejected::ThresholdNotMet { role: Role::Targets, valid: 1, threshold: 2 };
    refused_by(&mut subject, &repository, &FULL, unmet);
}

#[test]
fn signature_with_any_bit_of_the_signed_bytes_flipped_is_refused() {
    let repository = Repository::default();
    let file = repository.files()["timestamp.json"].clone();
    let signed = String::from_utf8(file.clone()).unwrap().find(r#""signed""#).unwrap();
    for at in signed..file.len() {
        let mut file = file.clone();
        file[at] ^= 1 << (at % 7);
        let cycle =
            Subject::new(&repository).refresh(&Repository::default().file("timestamp.json", Some(file)));
        assert!(matches!(cycle.result, Err(Error::Rejected(_))), "byte {at}: {:?}", cycle.result);
    }
}

#[test]
fn single_file_is_accepted_under_a_root_as_in_a_cycle() {
    let trusted = Subject::new(&Repository::default()).trusted();
    let mut repository = Repository::default();
    repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]), &ROOT_KEYS);
    let files = repository.files();
    for (role, name, threshold) in [
        (Role::Root, "2.root.json", 2),
        (Role::Timestamp, "timestamp.json", 1),
        (Role::Snapshot, "1.snapshot.json", 1),
        (Role::Targets, "1.targets.json", 2),
    ] {
        let file = &files[name];
        assert_eq!(trusted.accepts_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], role, file), Ok(()));
        let mut envelope: Value = serde_json::from_slice(file).unwrap();
        envelope["signatures"].as_array_mut().unwrap().truncate(threshold - 1);
        let fewer = tuffet_keys::canonical::published_bytes(&envelope).unwrap();
        let valid = u8::try_from(threshold).unwrap() - 1;
        let unmet = Rejected::ThresholdNotMet { role, valid, threshold: valid + 1 };
        assert_eq!(
            trusted.accepts_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], role, &fewer),
            Err(unmet.into())
        );
        let other = if role == Role::Root { Role::Targets } else { Role::Root };
        assert_eq!(
            trusted.accepts_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], other, file),
            Err(field(other, Field::Type).into())
        );
    }
}

// ---- root

#[test]
fn root_not_signed_by_both_thresholds_is_refused() {
    let next = || root(2, &["root-c", "root-d", "root-e"], &TARGETS_KEYS, ["timestamp", "snapshot"]);
    for (names, valid) in [
        (vec!["root-c", "root-d"], 1),
        (vec!["root-a", "root-b"], 0),
        (vec!["root-a", "root-b", "root-c"], 1),
    ] {
        let mut repository = Repository::default();
        repository.rotate(next(), &names);
        let unmet = Rejected::ThresholdNotMet { role: Role::Root, valid, threshold: 2 };
        refused(&repository, &["2.root.json"], unmet);
    }
    let mut repository = Repository::default();
    repository.rotate(next(), &["root-a", "root-c", "root-d"]);
    assert_eq!(Subject::new(&Repository::default()).refresh(&repository).result, Ok(Some(2)));
}

#[test]
fn root_that_skips_or_repeats_a_version_is_refused() {
    for offered in [1, 3, 4_294_967_294] {
        let mut repository = Repository::default();
        repository.rotate(root(offered, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]), &ROOT_KEYS);
        refused(&repository, &["2.root.json"], Rejected::RootVersion { expected: 2, offered });
    }
}

#[test]
fn root_with_an_impossible_role_is_refused() {
    let none: fn(&mut Value) = |signed| signed["roles"]["timestamp"]["threshold"] = json!(0);
    let impossible = [
        (none, Field::Threshold),
        (|signed| signed["roles"]["targets"]["threshold"] = json!(256), Field::Threshold),
        (|signed| signed["roles"]["targets"]["threshold"] = json!("2"), Field::Threshold),
        (|signed| signed["keys"] = json!([]), Field::Keys),
        (|signed| signed["keys"]["AB".repeat(32)] = Signer::new("timestamp").key(), Field::Keys),
        (|signed| signed["keys"]["ff".repeat(32)] = json!("no key"), Field::Keys),
        (|signed| signed["keys"]["ff".repeat(32)] = json!({ "keytype": 1 }), Field::Keys),
        (
            |signed| {
                signed["roles"]["snapshot"]["keyids"] =
                    json!({ "": signed["roles"]["snapshot"]["keyids"][0] })
            },
            Field::Roles,
        ),
        (|signed| signed["version"] = json!(4_294_967_295_u32), Field::Version),
        (|signed| signed["issued"] = signed["expires"].clone(), Field::Issued),
        (|signed| signed["roles"]["snapshot"]["keyids"] = json!([]), Field::Roles),
        (|signed| signed["roles"]["snapshot"] = json!({}), Field::Roles),
        (|signed| signed["roles"]["snapshot"]["keyids"] = json!(["00".repeat(32)]), Field::Roles),
        (
            |signed| {
                let keyid = signed["roles"]["snapshot"]["keyids"][0].clone();
                signed["roles"]["snapshot"]["keyids"] = json!([keyid, keyid]);
            },
            Field::Roles,
        ),
        (|signed| signed["consistent_snapshot"] = json!(false), Field::ConsistentSnapshot),
        (
            |signed| {
                for (_, key) in signed["keys"].as_object_mut().unwrap() {
                    key["keyval"]["public"] = json!("no PEM");
                }
            },
            Field::Keys,
        ),
        (
            // Another y: off the curve.
            |signed| {
                let (_, key) = signed["keys"].as_object_mut().unwrap().iter_mut().next().unwrap();
                let mut pem = key["keyval"]["public"].as_str().unwrap().to_owned();
                let at = pem.find("\n-----END").unwrap() - 10;
                let other = if pem.as_bytes()[at] == b'A' { "B" } else { "A" };
                pem.replace_range(at..=at, other);
                key["keyval"]["public"] = json!(pem);
            },
            Field::Keys,
        ),
    ];
    for (edit, wrong) in impossible {
        let mut repository = Repository::default();
        let mut next = root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]);
        edit(&mut next);
        repository.rotate(next, &ROOT_KEYS);
        refused(&repository, &["2.root.json"], field(Role::Root, wrong));
    }
}

#[test]
fn root_with_a_threshold_that_nobody_can_reach_is_mended_by_the_next() {
    let timestamp_key = |signed: &mut Value, edit: fn(&mut Value)| {
        let keyid = signed["roles"]["timestamp"]["keyids"][0].as_str().unwrap().to_owned();
        edit(&mut signed["keys"][keyid]);
    };
    type Edit<'e> = &'e dyn Fn(&mut Value);
    let unreachable: [(Edit<'_>, u8, u8); 5] = [
        (&|signed| signed["roles"]["timestamp"]["threshold"] = json!(2), 1, 2),
        (
            // Two labels of one key do not make a threshold of two possible.
            &|signed| {
                signed["keys"]["ab".repeat(32)] = Signer::new("timestamp").key();
                signed["roles"]["timestamp"]["keyids"].as_array_mut().unwrap().push(json!("ab".repeat(32)));
                signed["roles"]["timestamp"]["threshold"] = json!(2);
            },
            1,
            2,
        ),
        (
            // Keys that this device cannot verify with do not, either.
            &|signed| {
                timestamp_key(signed, |key| {
                    *key = json!({ "keytype": "ed25519", "keyval": { "public": "00" }, "scheme": "ed25519" });
                });
            },
            0,
            1,
        ),
        (&|signed| timestamp_key(signed, |key| key["keytype"] = json!("rsa")), 0, 1),
        (&|signed| timestamp_key(signed, |key| key["scheme"] = json!("ecdsa-sha2-nistp384")), 0, 1),
    ];
    for (edit, valid, threshold) in unreachable {
        let mut repository = Repository::default();
        let mut next = root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]);
        edit(&mut next);
        repository.rotate(next, &ROOT_KEYS);
        let unmet = Rejected::ThresholdNotMet { role: Role::Timestamp, valid, threshold };
        refused(&repository, &["2.root.json", "3.root.json", "timestamp.json"], unmet);
        repository.rotate(root(3, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]), &ROOT_KEYS);
        assert_eq!(Subject::new(&Repository::default()).refresh(&repository).result, Ok(Some(2)));
    }
}

#[test]
fn root_with_more_keys_than_the_profile_holds_is_refused() {
    let mut repository = Repository::default();
    let mut next = root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]);
    for spare in 0..5 {
        let signer = Signer::new(&format!("spare-{spare}"));
        next["keys"][signer.keyid()] = signer.key();
    }
    repository.rotate(next, &ROOT_KEYS);
    refused(&repository, &["2.root.json"], Rejected::Limit { role: Role::Root, bound: Bound::Keys });
}

#[test]
fn root_chain_longer_than_a_cycle_walks_goes_on_in_the_next() {
    let mut repository = Repository::default();
    for version in 2..=70 {
        repository.rotate(root(version, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]), &ROOT_KEYS);
    }
    let mut exact = Repository::default();
    exact.roots = repository.roots[..65].to_vec();
    assert_eq!(Subject::new(&Repository::default()).refresh(&exact).result, Ok(Some(2)));

    let mut subject = Subject::new(&Repository::default());
    assert_eq!(subject.refresh(&repository).result, Err(Rejected::TooManyRoots.into()));
    assert_eq!(subject.root.version(), 65);
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    assert_eq!(subject.root.version(), 70);
}

// ---- rollback, freeze, mix and match

#[test]
fn rollback_of_any_role_is_refused() {
    let (mut newer, mut subject) = settled();
    newer.bump(&["timestamp", "snapshot", "targets"]);
    assert_eq!(subject.refresh(&newer).result, Ok(None));

    let rollback = |role| Rejected::Rollback { role, trusted: 2, offered: 1 };
    let requests = ["2.root.json", "timestamp.json", "3.snapshot.json"];
    refused_by(&mut subject, &Repository::default(), &requests[..2], rollback(Role::Timestamp));

    let mut older = Repository::default();
    older.versions = [("timestamp", 3), ("snapshot", 1), ("targets", 2)].into();
    refused_by(&mut subject, &older, &requests[..2], rollback(Role::Snapshot));

    older.versions = [("timestamp", 3), ("snapshot", 3), ("targets", 1)].into();
    refused_by(&mut subject, &older, &requests, rollback(Role::Targets));
}

#[test]
fn metadata_that_expires_at_the_start_time_is_refused() {
    for (role, requests) in [(Role::Timestamp, 2), (Role::Snapshot, 3), (Role::Targets, 4)] {
        let mut repository = Repository::default();
        repository.expires.insert(role.name(), NOW);
        let freeze = Rejected::Freeze { role, expires: Date(NOW), start: Date(NOW) };
        refused(&repository, &FULL[..requests], freeze);
        repository.expires.insert(role.name(), NOW + 1);
        assert_eq!(Subject::new(&repository).refresh(&repository).result, Ok(Some(2)));
    }
}

#[test]
fn device_without_a_clock_judges_by_the_latest_issue_date() {
    let (mut repository, mut subject) = settled();
    subject.clock = Clock::Unknown;
    assert_eq!(subject.refresh(&repository).result, Ok(None));
    // Targets issued later than the timestamp expires: that timestamp is held back from now on.
    repository.issued = NOW + 2 * DAY;
    repository.expires =
        [("timestamp", NOW + 3 * DAY), ("snapshot", NOW + 7 * DAY), ("targets", NOW + 9 * DAY)].into();
    repository.bump(&["timestamp", "snapshot", "targets"]);
    assert_eq!(subject.refresh(&repository).result, Ok(None));
    repository.bump(&["timestamp"]);
    repository.expires.insert("timestamp", NOW + 2 * DAY);
    let repository = repository.signed(Role::Timestamp, |signed| signed["issued"] = json!(date(NOW)));
    let (expires, start) = (Date(NOW + 2 * DAY), Date(NOW + 2 * DAY));
    let freeze = Rejected::Freeze { role: Role::Timestamp, expires, start };
    refused_by(&mut subject, &repository, &["2.root.json", "timestamp.json"], freeze);
    // A clock that steps back behind a floor is no error by itself, and does not lower it.
    subject.clock = Clock::At(NOW - 300 * DAY);
    refused_by(&mut subject, &repository, &["2.root.json", "timestamp.json"], freeze);
}

#[test]
fn snapshot_and_targets_of_different_days_are_refused() {
    let today = Repository::default().files();
    for (name, role, requests) in
        [("1.snapshot.json", Role::Snapshot, 3), ("1.targets.json", Role::Targets, 4)]
    {
        // Of another day, signed, and as long: DER signatures differ in length, and longer is another error.
        let other_day = (1..).find_map(|day| {
            let issued = NOW - DAY - day * DAY;
            let mut repository = Repository::default();
            repository.issued = issued;
            let file = repository.files()[name].clone();
            (file.len() == today[name].len()).then_some(file)
        });
        let repository = Repository::default().file(name, other_day);
        refused(&repository, &FULL[..requests], Rejected::MixAndMatch { role });
    }
}

#[test]
fn version_other_than_the_metadata_above_states_is_refused() {
    for (above, entry, role, requests) in [
        (Role::Timestamp, "snapshot.json", Role::Snapshot, ["timestamp.json", "5.snapshot.json", ""]),
        (
            Role::Snapshot,
            "targets.json",
            Role::Targets,
            ["timestamp.json", "1.snapshot.json", "5.targets.json"],
        ),
    ] {
        let files = Repository::default().files();
        let name = format!("1.{role}.json");
        let repository = Repository::default()
            .signed(above, move |signed| signed["meta"][entry]["version"] = json!(5))
            .file(&format!("5.{role}.json"), Some(files[&name].clone()));
        let requests: Vec<&str> =
            ["2.root.json"].into_iter().chain(requests).filter(|name| !name.is_empty()).collect();
        refused(&repository, &requests, Rejected::MixAndMatch { role });
    }
}

#[test]
fn meta_without_length_and_hashes_is_accepted() {
    let repository = Repository::default()
        .signed(Role::Timestamp, |signed| signed["meta"]["snapshot.json"] = json!({ "version": 1 }))
        .signed(Role::Snapshot, |signed| signed["meta"]["targets.json"] = json!({ "version": 1 }));
    accepted(&mut Subject::new(&repository), &repository, &FULL, Some(2));
}

#[test]
fn meta_of_another_form_is_refused() {
    let forms: [fn(&mut Value); 12] = [
        |meta| meta["hashes"] = json!({}),
        |meta| meta["hashes"] = json!(null),
        |meta| meta["hashes"] = json!("junk"),
        |meta| meta["hashes"] = json!([]),
        // A digest that cannot be compared must not pass for one that was.
        |meta| meta["hashes"] = json!({ "sha512": "00".repeat(64) }),
        |meta| meta["hashes"]["sha256"] = json!("00"),
        |meta| meta["hashes"]["sha256"] = json!(meta["hashes"]["sha256"].as_str().unwrap().to_uppercase()),
        |meta| meta["hashes"]["sha256"] = json!(1),
        |meta| meta["length"] = json!("1"),
        |meta| meta["length"] = json!(4_294_967_296_u64),
        |meta| drop(meta.as_object_mut().unwrap().remove("version")),
        |meta| *meta = json!(1),
    ];
    for form in forms {
        let timestamp = Repository::default()
            .signed(Role::Timestamp, move |signed| form(&mut signed["meta"]["snapshot.json"]));
        refused(&timestamp, &FULL[..2], field(Role::Timestamp, Field::Meta));
        let snapshot = Repository::default()
            .signed(Role::Snapshot, move |signed| form(&mut signed["meta"]["targets.json"]));
        refused(&snapshot, &FULL[..3], field(Role::Snapshot, Field::Meta));
    }
    let nothing = Repository::default().signed(Role::Timestamp, |signed| signed["meta"] = json!({}));
    refused(&nothing, &FULL[..2], field(Role::Timestamp, Field::Meta));
}

#[test]
fn file_of_another_length_than_stated_is_refused() {
    for (name, role, above, requests) in [
        ("1.snapshot.json", Role::Snapshot, Role::Timestamp, 3),
        ("1.targets.json", Role::Targets, Role::Snapshot, 4),
    ] {
        // Only the length is stated, and it is one too many.
        let length = Repository::default().files()[name].len() + 1;
        let repository = Repository::default().signed(above, move |signed| {
            for (_, meta) in signed["meta"].as_object_mut().unwrap() {
                *meta = json!({ "length": length, "version": 1 });
            }
        });
        refused(&repository, &FULL[..requests], Rejected::MixAndMatch { role });
    }
}

#[test]
fn date_of_issue_that_is_none_or_lies_behind_expiry_is_refused() {
    let dates: [fn(&mut Value); 4] = [
        |signed| signed["issued"] = json!("yesterday"),
        |signed| signed["issued"] = json!(7),
        |signed| signed["issued"] = signed["expires"].clone(),
        |signed| signed["issued"] = json!(date(NOW + 7_000 * DAY)),
    ];
    for (role, requests) in [(Role::Timestamp, 2), (Role::Snapshot, 3), (Role::Targets, 4)] {
        for edit in dates {
            let repository = Repository::default().signed(role, edit);
            refused(&repository, &FULL[..requests], field(role, Field::Issued));
        }
        let without = Repository::default()
            .signed(role, |signed| drop(signed.as_object_mut().unwrap().remove("issued")));
        accepted(&mut Subject::new(&without), &without, &FULL, Some(2));
    }
}

#[test]
fn signatures_of_another_form_are_refused() {
    let forms: [fn(&mut Value); 9] = [
        |envelope| drop(envelope.as_object_mut().unwrap().remove("signatures")),
        |envelope| envelope["signatures"] = json!({}),
        |envelope| envelope["signatures"] = json!("none"),
        |envelope| envelope["signatures"][0] = json!("none"),
        |envelope| envelope["signatures"][0] = json!({}),
        |envelope| drop(envelope["signatures"][0].as_object_mut().unwrap().remove("sig")),
        |envelope| drop(envelope["signatures"][0].as_object_mut().unwrap().remove("keyid")),
        |envelope| envelope["signatures"][0]["keyid"] = json!("short"),
        |envelope| envelope["signatures"][0]["sig"] = json!(1),
    ];
    for form in forms {
        let repository = Repository::default().envelope(Role::Timestamp, form);
        refused(&repository, &FULL[..2], field(Role::Timestamp, Field::Signatures));
    }
    // The keyid of one signature does not serve the next.
    let repository = Repository::default().envelope(Role::Timestamp, |envelope| {
        let second = json!({ "sig": "00" });
        envelope["signatures"].as_array_mut().unwrap().push(second);
    });
    refused(&repository, &FULL[..2], field(Role::Timestamp, Field::Signatures));
}

#[test]
fn snapshot_that_drops_a_role_is_refused() {
    let repository = Repository::default().signed(Role::Snapshot, |signed| {
        signed["meta"] = json!({ "other.json": { "version": 1 } });
    });
    refused(&repository, &FULL[..3], Rejected::RoleDropped { role: Role::Targets });
}

// ---- form

#[test]
fn file_of_another_type_is_refused() {
    let files = Repository::default().files();
    let snapshot = files["1.snapshot.json"].clone();
    let repository = Repository::default().file("timestamp.json", Some(snapshot));
    refused(&repository, &FULL[..2], field(Role::Timestamp, Field::Type));
    let repository = Repository::default().file("2.root.json", Some(files["timestamp.json"].clone()));
    refused(&repository, &FULL[..1], field(Role::Root, Field::Type));
}

#[test]
fn member_that_is_missing_or_of_a_wrong_type_is_refused() {
    let mut counted = 0;
    for (member, wrong) in [
        ("_type", Field::Type),
        ("spec_version", Field::SpecVersion),
        ("version", Field::Version),
        ("expires", Field::Expires),
    ] {
        for (role, requests) in [(Role::Timestamp, 2), (Role::Snapshot, 3), (Role::Targets, 4)] {
            for value in [None, Some(json!(null)), Some(json!("")), Some(json!({})), Some(json!(-1))] {
                let files = Repository::default().files();
                let repository = Repository::default().envelope(role, move |envelope| match &value {
                    Some(value) => envelope["signed"][member] = value.clone(),
                    None => drop(envelope["signed"].as_object_mut().unwrap().remove(member)),
                });
                // The version is part of a file's name: serve the broken one under the right name.
                let mut broken = repository.files();
                let name = FULL[requests - 1];
                let bytes = broken.remove(name).or_else(|| broken.remove(&format!("0.{role}.json"))).unwrap();
                assert_ne!(bytes, files[name]);
                let linked = Repository::default()
                    .signed(Role::Timestamp, strip_links)
                    .signed(Role::Snapshot, strip_links)
                    .file(name, Some(bytes));
                refused(&linked, &FULL[..requests], field(role, wrong));
                counted += 1;
            }
        }
    }
    assert_eq!(counted, 60);
}

#[test]
fn spec_version_other_than_1_is_refused() {
    for version in ["2.0.0", "0.9", "10.0.0", "1"] {
        let repository = Repository::default()
            .signed(Role::Timestamp, move |signed| signed["spec_version"] = json!(version));
        refused(&repository, &FULL[..2], field(Role::Timestamp, Field::SpecVersion));
    }
}

#[test]
fn file_that_is_truncated_anywhere_is_refused() {
    let file = Repository::default().files()["timestamp.json"].clone();
    for len in (0..file.len()).step_by(13) {
        let repository = Repository::default().file("timestamp.json", Some(file[..len].to_vec()));
        let at = u32::try_from(len).unwrap();
        refused(&repository, &FULL[..2], Rejected::Truncated { role: Role::Timestamp, at });
    }
}

#[test]
fn file_longer_than_its_bound_is_refused() {
    let padded = |name: &str, bytes: usize| {
        let mut file = Repository::default().files()[name].clone();
        file.resize(bytes, b' ');
        Repository::default().file(name, Some(file))
    };
    let limit = |role, limit| Rejected::Oversize { role, limit };
    refused(&padded("timestamp.json", 16_385), &FULL[..2], limit(Role::Timestamp, 16_384));
    accepted(&mut Subject::new(&Repository::default()), &padded("timestamp.json", 16_384), &FULL, Some(2));
    for (name, role, requests) in
        [("1.snapshot.json", Role::Snapshot, 3), ("1.targets.json", Role::Targets, 4)]
    {
        // The metadata above states the length, so one byte more is too much.
        let length = Repository::default().files()[name].len();
        let bound = limit(role, u32::try_from(length).unwrap());
        refused(&padded(name, length + 1), &FULL[..requests], bound);
    }
    let mut repository = Repository::default();
    repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, ["timestamp", "snapshot"]), &ROOT_KEYS);
    let mut file = repository.files()["2.root.json"].clone();
    file.resize(32_769, b' ');
    refused(&repository.file("2.root.json", Some(file)), &FULL[..1], limit(Role::Root, 32_768));
}

#[test]
fn file_with_more_signatures_than_the_profile_holds_is_refused() {
    let stranger = |byte: usize| json!({ "keyid": format!("{byte:064x}"), "sig": "00" });
    let with = |count: usize| {
        Repository::default().envelope(Role::Timestamp, move |envelope| {
            let signatures = envelope["signatures"].as_array_mut().unwrap();
            signatures.extend((0..count).map(stranger));
        })
    };
    accepted(&mut Subject::new(&Repository::default()), &with(7), &FULL, Some(2));
    refused(&with(8), &FULL[..2], Rejected::Limit { role: Role::Timestamp, bound: Bound::Signatures });
}

#[test]
fn file_that_the_repository_lacks_is_an_error_of_the_environment() {
    for (name, role, requests) in [
        ("timestamp.json", Role::Timestamp, 2),
        ("1.snapshot.json", Role::Snapshot, 3),
        ("1.targets.json", Role::Targets, 4),
    ] {
        let repository = Repository::default().file(name, None);
        refused(&repository, &FULL[..requests], Environment::Missing { role });
    }
}

// ---- releases

#[test]
fn release_that_a_device_may_not_take_falls_back_to_the_next() {
    let with = |edit: fn(&mut tuffet_client::Candidate)| {
        let mut repository = Repository::default();
        edit(repository.release(3, "1.2.0"));
        repository
    };
    let subject = |sequence, counter| Subject { sequence, counter, ..Subject::new(&Repository::default()) };
    // Its security counter is below the device's; so is that of all others.
    let counter = with(|candidate| candidate.counter = 5);
    accepted(&mut subject(1, 2), &counter, &FULL, Some(3));
    accepted(&mut subject(1, 6), &counter, &FULL, None);
    // It wants a later release as a stepping stone.
    let minimum = with(|candidate| candidate.minimum = 2);
    accepted(&mut subject(1, 0), &minimum, &FULL, Some(2));
    accepted(&mut subject(2, 0), &minimum, &FULL, Some(3));
    // It failed here before.
    let repository = with(|_| ());
    let mut banned = subject(1, 0);
    let sha256 = repository.candidates[0].image.sha256;
    let sequence = repository.candidates[0].sequence;
    banned.banned.push(Ban { sha256, sequence });
    accepted(&mut banned, &repository, &FULL, Some(2));
    // By an earlier release: a later one of the same image is worth another attempt.
    let mut cleared = subject(1, 0);
    cleared.banned.push(Ban { sha256, sequence: sequence - 1 });
    accepted(&mut cleared, &repository, &FULL, Some(sequence));
}

#[test]
fn rollout_reaches_each_device_at_its_own_moment() {
    let mut repository = Repository::default();
    repository.release(3, "1.2.0").rollout = Some(ramp(0, 10));
    repository.expires =
        [("timestamp", NOW + 99 * DAY), ("snapshot", NOW + 99 * DAY), ("targets", NOW + 99 * DAY)].into();
    let turn = ramp(0, 10).turn(b"device-1");
    assert!((NOW + 1..=NOW + 10 * DAY).contains(&turn));
    for (now, release) in [(NOW, 2), (turn - 1, 2), (turn, 3), (NOW + 10 * DAY, 3)] {
        let mut subject = Subject { clock: Clock::At(now), ..Subject::new(&Repository::default()) };
        accepted(&mut subject, &repository, &FULL, Some(release));
    }
    // A share of the fleet that grows evenly: a tenth of a thousand devices a day.
    let ids: Vec<String> = (0..1000).map(|id| format!("device-{id}")).collect();
    for day in 0..=10_u64 {
        let reached = ids.iter().filter(|id| ramp(0, 10).turn(id.as_bytes()) <= NOW + day * DAY).count();
        assert!(reached.abs_diff(usize::try_from(day * 100).unwrap()) < 40, "day {day}: {reached}");
    }
}

#[test]
fn release_entry_that_is_missing_is_refused() {
    let mut repository = Repository::default();
    repository.candidates.clear();
    release_refused(&repository, &FULL, Rejected::NoRelease);
}

#[test]
fn release_of_other_hardware_is_refused() {
    for path in ["lamp/rev-b/versions/1.2.0/lamp.bin", "lamp/rev-aa/x", "lamp/rev-a", "fan/rev-a/x", "lamp"] {
        let mut repository = Repository::default();
        repository.targets.insert(path.to_owned(), target(&image("1.2.0")));
        repository.release(3, "1.2.0").image.path = path.try_into().unwrap();
        refused(&repository, &FULL, Rejected::OtherHardware { sequence: 3 });
    }
}

#[test]
fn release_whose_image_is_no_target_with_that_digest_is_refused() {
    let unauthorised = Rejected::ImageNotAuthorised { sequence: 3 };
    let again = [FULL.as_slice(), &["again 1.targets.json"]].concat();
    let path = "lamp/rev-a/versions/1.2.0/lamp.bin";
    let with = |edit: fn(&mut Repository)| {
        let mut repository = Repository::default();
        repository.release(3, "1.2.0");
        edit(&mut repository);
        repository
    };
    assert!(with(|_| ()).targets.contains_key(path));
    release_refused(&with(|repository| repository.candidates[0].image.sha256[0] ^= 1), &FULL, unauthorised);
    release_refused(&with(|repository| repository.candidates[0].image.length += 1), &FULL, unauthorised);
    let missing = with(|repository| {
        repository.targets.remove("lamp/rev-a/versions/1.2.0/lamp.bin");
    });
    let mut subject = Subject::new(&missing);
    let cycle = subject.refresh(&missing);
    assert_eq!((cycle.result, cycle.requests), (Err(unauthorised.into()), as_strings(&again)));
    let half = with(|repository| {
        let target = repository.targets["lamp/rev-a/versions/1.2.0/lamp.bin"].as_object_mut().unwrap();
        target.remove("hashes");
    });
    refused(&half, &FULL, field(Role::Targets, Field::Targets));
}

#[test]
fn calls_out_of_place_are_misuse_and_change_nothing() {
    let files = Repository::default().files();
    let mut trusted = Subject::new(&Repository::default()).trusted();
    let memory = &mut [0; DEVICE.memory()];
    for name in ["", "-", "Lamp", "a/b", "a".repeat(33).as_str(), "lämp"] {
        let Goal::Release(device) = plan().goal else { unreachable!() };
        let goal = Goal::Release(Device { channel: name, ..device });
        let refused = Refresh::new(Plan { goal, ..plan() }, &mut trusted, memory).err();
        assert_eq!(refused, Some(Misuse::Name.into()), "{name}");
    }
    let before = trusted.clone();
    let mut refresh = Refresh::new(plan(), &mut trusted, memory).unwrap();
    refresh.missing().unwrap();
    refresh.feed(&files["timestamp.json"]).unwrap();
    refresh.end().unwrap();
    type Call = fn(&mut Refresh<'_>) -> Result<(), Error>;
    let calls: [Call; 4] = [
        |refresh| refresh.end().map(drop),
        |refresh| refresh.unmodified().map(drop),
        |refresh| refresh.missing(),
        |refresh| refresh.feed(b"{}"),
    ];
    // What was verified must be stored before anything else is fetched.
    assert!(matches!(refresh.want(), Want::Persist(_)));
    for call in calls {
        assert_eq!(call(&mut refresh), Err(Misuse::NotFetching.into()));
    }
    refresh.persisted();
    // A snapshot is no timestamp, of which alone it can be known that nothing changed.
    assert_eq!(refresh.unmodified(), Err(Misuse::NotFetching.into()));
    for name in ["1.snapshot.json", "1.targets.json"] {
        assert!(matches!(refresh.want(), Want::Fetch { file, .. } if file.to_string() == name));
        refresh.feed(&files[name]).unwrap();
        refresh.end().unwrap();
        assert!(matches!(refresh.want(), Want::Persist(_)));
        refresh.persisted();
    }
    assert!(matches!(refresh.want(), Want::Install(_)));
    for call in calls {
        assert_eq!(call(&mut refresh), Err(Misuse::NotFetching.into()));
    }
    assert_ne!(trusted, before);
    assert_eq!(trusted.floors().timestamp_version(), Some(1));
    assert_eq!(trusted.floors().snapshot_version(), Some(1));

    // Once verified metadata led nowhere the cycle is over.
    let mut nothing = Repository::default();
    nothing.candidates.clear();
    let files = nothing.files();
    let mut trusted = Subject::new(&nothing).trusted();
    let mut refresh = Refresh::new(plan(), &mut trusted, memory).unwrap();
    while !matches!(refresh.want(), Want::Over(Rejected::NoRelease)) {
        step(&mut refresh, &files).unwrap();
    }
    for call in calls {
        assert_eq!(call(&mut refresh), Err(Misuse::CycleOver.into()));
    }
}

#[test]
fn file_that_is_refused_is_still_wanted_and_may_come_from_elsewhere() {
    let files = Repository::default().files();
    let mut trusted = Subject::new(&Repository::default()).trusted();
    let memory = &mut [0; DEVICE.memory()];
    let mut refresh = Refresh::new(plan(), &mut trusted, memory).unwrap();
    let mut counted = 0;
    while !matches!(refresh.want(), Want::Install(_)) {
        if let Want::Fetch { file, .. } = refresh.want()
            && let Some(bytes) = files.get(&file.to_string())
        {
            let name = file.to_string();
            let before = refresh.trusted().floors().clone();
            // A mirror that breaks off, and one that changes a byte in the middle of what is signed.
            let mut flipped = bytes.clone();
            flipped[bytes.len() - 9] ^= 1;
            for (bad, len) in [(bytes, bytes.len() / 2), (&flipped, bytes.len())] {
                let fed = refresh.feed(&bad[..len]).and_then(|()| refresh.end());
                assert!(matches!(fed, Err(Error::Rejected(_))), "{name}: {fed:?}");
                assert!(matches!(refresh.want(), Want::Fetch { file, .. } if file.to_string() == name));
                assert_eq!(*refresh.trusted().floors(), before);
                counted += 1;
            }
        }
        step(&mut refresh, &files).unwrap();
    }
    assert_eq!(counted, 6);
}

#[test]
fn second_reading_of_other_bytes_is_refused() {
    let mut repository = Repository::default();
    repository.targets.insert("lamp/rev-a/a.bin".to_owned(), target(&image("1.2.0")));
    repository.release(3, "1.2.0").image.path = "lamp/rev-a/a.bin".try_into().unwrap();
    let files = repository.files();
    // The image's entry says what the candidate wants to hear, but nobody signed it.
    let forged = String::from_utf8(files["1.targets.json"].clone()).unwrap();
    let forged = forged.replacen("2026-11-21", "2026-11-20", 1).into_bytes();
    assert_eq!(forged.len(), files["1.targets.json"].len());
    let mut trusted = Subject::new(&repository).trusted();
    let memory = &mut [0; DEVICE.memory()];
    let mut refresh = Refresh::new(plan(), &mut trusted, memory).unwrap();
    while !matches!(refresh.want(), Want::Again { .. }) {
        step(&mut refresh, &files).unwrap();
    }
    let again = refresh.feed(&forged).and_then(|()| refresh.end());
    assert_eq!(again, Err(Rejected::MixAndMatch { role: Role::Targets }.into()));
    assert!(matches!(refresh.want(), Want::Again { .. }), "the right bytes may still come");
    step(&mut refresh, &files).unwrap();
    assert!(matches!(refresh.want(), Want::Install(_)));
}

#[test]
fn candidates_out_of_order_or_of_one_sequence_are_refused() {
    for sequence in [2, 1] {
        let mut repository = Repository::default();
        repository.release(sequence, "1.2.0");
        refused(&repository, &FULL, Rejected::SequenceOrder { sequence: 2 });
    }
}

#[test]
fn release_entry_of_another_form_is_refused() {
    let edits: [fn(&mut Value); 14] = [
        |custom| custom["format"] = json!(2),
        |custom| drop(custom.as_object_mut().unwrap().remove("format")),
        |custom| custom["candidates"] = json!([]),
        |custom| custom["candidates"] = json!({}),
        |custom| custom["candidates"][0] = json!(1),
        |custom| custom["candidates"][0]["sequence"] = json!(0),
        |custom| custom["candidates"][0]["counter"] = json!("1"),
        |custom| custom["candidates"][0]["image"]["path"] = json!("lamp/rev-a/../x"),
        |custom| custom["candidates"][0]["image"]["hashes"] = json!({}),
        |custom| custom["candidates"][0]["version"] = json!(""),
        |custom| custom["candidates"][0]["rollout"] = json!(null),
        |custom| custom["candidates"][0]["rollout"] = json!({ "start": date(NOW), "salt": "00".repeat(16) }),
        |custom| {
            let rollout = json!({ "start": date(NOW), "end": date(NOW - 1), "salt": "00".repeat(16) });
            custom["candidates"][0]["rollout"] = rollout;
        },
        |custom| drop(custom["candidates"][0].as_object_mut().unwrap().remove("minimum")),
    ];
    for edit in edits {
        let repository = Repository::default()
            .signed(Role::Targets, move |signed| edit(&mut signed["targets"][RELEASE]["custom"]));
        refused(&repository, &FULL, field(Role::Targets, Field::Release));
    }
    let mut repository = Repository::default();
    for sequence in 3..=9 {
        repository.release(sequence, &format!("2.{sequence}"));
    }
    refused(&repository, &FULL, Rejected::Limit { role: Role::Targets, bound: Bound::Candidates });
}
