//! The snapshot that was trusted before, kept and read beside the new one: no role is dropped or rolled back,
//! however many there are (5.5.5).

use serde_json::{Map, Value, json};
use tuffet_client::{Error, Field, Misuse, Rejected, Role};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

/// Requests up to the new snapshot.
const TO_SNAPSHOT: [&str; 3] = ["2.root.json", "timestamp.json", "2.snapshot.json"];
const ROLES: usize = 300;

/// The name of one of so many roles. They stand before `targets` and behind it.
fn name(at: usize) -> String {
    format!("{}-{at:03}.json", if at < ROLES / 2 { "a" } else { "z" })
}

/// A repository whose snapshot lists three hundred roles beside `targets`.
fn with_roles(edit: impl Fn(&mut Map<String, Value>) + 'static) -> Repository {
    Repository::default().signed(Role::Snapshot, move |signed| {
        let meta = signed["meta"].as_object_mut().unwrap();
        for at in 0..ROLES {
            meta.insert(name(at), json!({ "length": 700, "version": 5 }));
        }
        edit(meta);
    })
}

/// The next day's.
fn next(edit: impl Fn(&mut Map<String, Value>) + 'static) -> Repository {
    let mut repository = with_roles(edit);
    repository.bump(&["timestamp", "snapshot"]);
    repository
}

/// A device that trusts the first of these snapshots, and kept it.
fn keeping() -> Subject {
    let repository = with_roles(|_| ());
    let mut subject = Subject::new(&repository);
    accepted(&mut subject, &repository, &FULL, Some(2));
    subject.kept = Some(repository.files()["1.snapshot.json"].clone());
    subject
}

#[test]
fn snapshot_that_drops_any_of_many_roles_is_refused_by_who_kept_the_last() {
    let dropped = Rejected::RoleDropped { role: Role::Delegated };
    for at in [0, 1, ROLES / 2 - 1, ROLES / 2, ROLES - 2, ROLES - 1] {
        let repository = next(move |meta| drop(meta.remove(&name(at))));
        refused_by(&mut keeping(), &repository, &TO_SNAPSHOT, dropped);
    }
    // All at the front, and all at the back.
    refused_by(
        &mut keeping(),
        &next(|meta| meta.retain(|name, _| name.as_str() >= "t")),
        &TO_SNAPSHOT,
        dropped,
    );
    refused_by(
        &mut keeping(),
        &next(|meta| meta.retain(|name, _| name.as_str() < "u")),
        &TO_SNAPSHOT,
        dropped,
    );
    let targets = Rejected::RoleDropped { role: Role::Targets };
    refused_by(&mut keeping(), &next(|meta| drop(meta.remove("targets.json"))), &TO_SNAPSHOT, targets);
}

#[test]
fn snapshot_that_rolls_back_any_of_many_roles_is_refused_by_who_kept_the_last() {
    let rollback = Rejected::Rollback { role: Role::Delegated, trusted: 5, offered: 4 };
    for at in [0, 1, ROLES / 2 - 1, ROLES / 2, ROLES - 2, ROLES - 1] {
        let repository = next(move |meta| meta[&name(at)]["version"] = json!(4));
        refused_by(&mut keeping(), &repository, &TO_SNAPSHOT, rollback);
    }
}

#[test]
fn first_of_several_faults_of_a_snapshot_is_named() {
    let repository = next(|meta| {
        meta.remove(&name(200));
        meta[&name(7)]["version"] = json!(1);
    });
    let rollback = Rejected::Rollback { role: Role::Delegated, trusted: 5, offered: 1 };
    refused_by(&mut keeping(), &repository, &TO_SNAPSHOT, rollback);
    let repository = next(|meta| {
        meta.remove(&name(7));
        meta[&name(200)]["version"] = json!(1);
    });
    refused_by(&mut keeping(), &repository, &TO_SNAPSHOT, Rejected::RoleDropped { role: Role::Delegated });
}

#[test]
fn snapshot_that_nobody_signed_is_not_blamed_for_what_it_says() {
    let repository = next(|meta| drop(meta.remove(&name(0))))
        .envelope(Role::Snapshot, |envelope| envelope["signatures"] = json!([]));
    let unmet = Rejected::ThresholdNotMet { role: Role::Snapshot, valid: 0, threshold: 1 };
    refused_by(&mut keeping(), &repository, &TO_SNAPSHOT, unmet);
}

#[test]
fn snapshot_that_adds_or_raises_roles_is_accepted_by_who_kept_the_last() {
    let requests = [&TO_SNAPSHOT, &["1.targets.json"][..]].concat();
    let edits: [fn(&mut Map<String, Value>); 4] = [
        |_| (),
        |meta| (0..ROLES).for_each(|at| meta[&name(at)]["version"] = json!(4_294_967_295_u32)),
        |meta| {
            for added in
                ["", "a", "a-000.jso", "a-000.json.json", "a-149.jsoo", "targets", "targets.json~", "zz"]
            {
                meta.insert(added.to_owned(), json!({ "version": 1 }));
            }
        },
        |meta| {
            for at in 0..ROLES {
                meta[&name(at)]["version"] = json!(6 + at);
                meta.insert(format!("{}x", name(at)), json!({ "version": 1 }));
            }
        },
    ];
    for edit in edits {
        for chunk in [1, 64, usize::MAX] {
            let mut subject = keeping();
            subject.chunk = chunk;
            accepted(&mut subject, &next(edit), &requests, Some(2));
            assert_eq!(subject.floors.snapshot_version(), Some(2));
        }
    }
}

#[test]
fn snapshot_without_a_kept_one_is_compared_by_the_roles_that_are_known() {
    let requests = [&TO_SNAPSHOT, &["1.targets.json"][..]].concat();
    let mut subject = keeping();
    subject.kept = None;
    let repository = next(|meta| {
        meta.remove(&name(0));
        meta[&name(299)]["version"] = json!(1);
    });
    accepted(&mut subject, &repository, &requests, Some(2));

    let mut subject = keeping();
    subject.kept = None;
    let targets = Rejected::RoleDropped { role: Role::Targets };
    refused_by(&mut subject, &next(|meta| drop(meta.remove("targets.json"))), &TO_SNAPSHOT, targets);
}

#[test]
fn role_that_is_known_and_kept_is_refused_once_it_is_rolled_back() {
    let mut repository = lamp();
    repository.delegated.get_mut("lamp").unwrap().version = 3;
    let mut subject = Subject::new(&repository);
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    let kept = Some(repository.files()["1.snapshot.json"].clone());
    repository.bump(&["timestamp", "snapshot"]);
    for kept in [kept, None] {
        subject.kept = kept;
        repository.delegated.get_mut("lamp").unwrap().version = 2;
        let rollback = Rejected::Rollback { role: Role::Delegated, trusted: 3, offered: 2 };
        refused_by(&mut subject, &repository, &TO_SNAPSHOT, rollback);
    }
    repository.delegated.get_mut("lamp").unwrap().version = 4;
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
}

/// A device whose kept snapshot went through this refuses the next one, and trusts what it did.
#[track_caller]
fn misused(edit: impl FnOnce(Vec<u8>) -> Vec<u8>) {
    let mut subject = keeping();
    subject.kept = subject.kept.take().map(edit);
    refused_by(&mut subject, &next(|_| ()), &TO_SNAPSHOT, Error::from(Misuse::KeptSnapshot));
}

#[test]
fn kept_snapshot_that_is_not_the_trusted_one_is_misuse() {
    misused(|_| next(|_| ()).files()["2.snapshot.json"].clone());
    misused(|_| Vec::new());
    misused(|kept| kept[..kept.len() / 2].to_vec());
    misused(|kept| kept[..kept.len() - 30].to_vec());
    misused(|_| b"not JSON".to_vec());
    misused(|mut kept| {
        let half = kept.len() / 2;
        kept[half..half + 4].copy_from_slice(b"\"\"\"\"");
        kept
    });
}

#[test]
fn kept_snapshot_with_any_content_changed_is_misuse() {
    // Its version is the right one, and it is well formed.
    let replaced = |from: &'static str, to: &'static str| {
        move |kept: Vec<u8>| {
            let text = String::from_utf8(kept).unwrap();
            assert!(text.contains(from));
            text.replacen(from, to, 1).into_bytes()
        }
    };
    // A role that never was must not stand in the way of all snapshots to come.
    misused(replaced("a-000.json", "a-00/.json"));
    misused(replaced(r#""version":5"#, r#""version":6"#));
    misused(|_| with_roles(|_| ()).files()["timestamp.json"].clone());
    // A floor that was there must not be lost.
    misused(replaced(r#""version":5"#, r#""version":4"#));
    misused(replaced(r#""a-000.json":{"length":700,"version":5},"#, ""));
}

#[test]
fn kept_snapshot_is_not_looked_at_where_no_snapshot_is_new() {
    let mut subject = keeping();
    subject.kept = Some(b"not JSON".to_vec());
    let requests = ["2.root.json", "timestamp.json", "1.targets.json"];
    accepted(&mut subject, &with_roles(|_| ()), &requests, Some(2));
    // Nor by a device that trusts none.
    let repository = with_roles(|_| ());
    let mut subject = Subject { kept: Some(b"not JSON".to_vec()), ..Subject::new(&repository) };
    accepted(&mut subject, &repository, &FULL, Some(2));
}

#[test]
fn kept_snapshot_of_online_keys_that_were_rotated_is_no_floor() {
    let mut repository = with_roles(|meta| {
        meta.remove(&name(0));
        meta[&name(299)]["version"] = json!(1);
    });
    let mut subject = keeping();
    repository.bump(&["timestamp", "snapshot"]);
    refused_by(&mut subject, &repository, &TO_SNAPSHOT, Rejected::RoleDropped { role: Role::Delegated });
    for online in [["timestamp-2", "snapshot"], ["timestamp", "snapshot-2"]] {
        let mut subject = keeping();
        let mut repository = with_roles(|meta| {
            meta.remove(&name(0));
            meta[&name(299)]["version"] = json!(1);
        });
        repository.rotate(root(2, &ROOT_KEYS, &TARGETS_KEYS, online), &ROOT_KEYS);
        repository.signers.insert("timestamp", vec![Signer::new(online[0])]);
        repository.signers.insert("snapshot", vec![Signer::new(online[1])]);
        let requests = ["2.root.json", "3.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
        accepted(&mut subject, &repository, &requests, Some(2));
    }
}

#[test]
fn kept_snapshot_with_a_refused_successor_serves_the_next_try() {
    // A mirror breaks off, another serves a forgery, a third the file.
    let mut subject = keeping();
    let repository = next(|_| ());
    let mut files = repository.files();
    let whole = files["2.snapshot.json"].clone();
    let mut forged = whole.clone();
    let at = forged.len() - 40;
    forged[at] ^= 1;
    for bad in [&whole[..whole.len() / 3], &forged] {
        files.insert("2.snapshot.json".to_owned(), bad.to_vec());
        assert!(matches!(subject.refresh_from(&files).result, Err(Error::Rejected(_))));
    }
    let requests = [&TO_SNAPSHOT, &["1.targets.json"][..]].concat();
    accepted(&mut subject, &repository, &requests, Some(2));
}

#[test]
fn entry_without_a_version_is_refused_and_has_not_the_one_of_the_entry_before() {
    let mut repository = lamp();
    let mut subject = Subject::new(&repository);
    assert_eq!(subject.refresh(&repository).result, Ok(Some(2)));
    subject.kept = Some(repository.files()["1.snapshot.json"].clone());
    repository.bump(&["timestamp", "snapshot"]);
    let repository = repository.signed(Role::Snapshot, |signed| {
        signed["meta"]["a.json"] = json!({ "version": 1 });
        signed["meta"]["b.json"] = json!({});
    });
    let wrong = field(Role::Snapshot, Field::Meta);
    assert_eq!(subject.refresh(&repository).result, Err(wrong.into()));
}
