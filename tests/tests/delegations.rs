//! The search through delegated roles: which are asked for, in which order, and what is found there.

use serde_json::json;
use tuffet_client::{Bound, Error, Field, Rejected, Role};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

const SNAPSHOT: &str = "again 1.snapshot.json";
const TARGETS: &str = "again 1.targets.json";
/// The path of the image of the latest release.
const IMAGE: &str = "lamp/rev-a/versions/1.1.0/lamp.bin";

/// The device finds the latest release after these requests, the first four apart.
#[track_caller]
fn found(repository: &Repository, requests: &[&str]) {
    accepted(&mut Subject::new(&Repository::default()), repository, &full_and(requests), Some(2));
}

/// It verifies all of them, and finds no release.
#[track_caller]
fn not_found(repository: &Repository, requests: &[&str]) {
    release_refused(repository, &full_and(requests), Rejected::NoRelease);
}

/// It finds the release, and not its image.
#[track_caller]
fn no_image(repository: &Repository, requests: &[&str]) {
    let unauthorised = Rejected::ImageNotAuthorised { sequence: 2 };
    release_refused(repository, &full_and(requests), unauthorised);
}

/// Delegates the device's paths to a role that one key signs.
fn delegate(repository: &mut Repository, from: &str, name: &str) {
    repository.delegate(from, name, &[name], &json!({ "paths": LAMP }));
}

// ---- order

#[test]
fn release_and_image_in_a_product_role_are_found_there() {
    let repository = lamp();
    accepted(&mut Subject::new(&repository), &repository, &FULL_LAMP, Some(2));
}

#[test]
fn release_two_levels_down_is_found_and_its_image_on_the_same_way() {
    let mut repository = Repository::default();
    delegate(&mut repository, "targets", "lamp");
    delegate(&mut repository, "lamp", "rev-a");
    repository.move_to("rev-a");
    found(&repository, &[SNAPSHOT, "1.lamp.json", SNAPSHOT, "1.rev-a.json", TARGETS, "again 1.lamp.json"]);
}

#[test]
fn image_that_sorts_before_its_entry_costs_a_second_reading_of_the_role() {
    let mut repository = lamp();
    repository.delegation("targets", 0)["paths"] = json!(["lamp/*/*/release", "lamp/rev-a/a.bin"]);
    repository.candidates[0].image.path = "lamp/rev-a/a.bin".try_into().unwrap();
    let target = target(&image("1.1.0"));
    repository.delegated.get_mut("lamp").unwrap().targets.insert("lamp/rev-a/a.bin".to_owned(), target);
    found(&repository, &[SNAPSHOT, "1.lamp.json", TARGETS, "again 1.lamp.json"]);
}

#[test]
fn release_four_levels_down_is_found_and_five_are_refused() {
    let mut repository = Repository::default();
    for (from, name) in [("targets", "a"), ("a", "b"), ("b", "c"), ("c", "d")] {
        delegate(&mut repository, from, name);
    }
    let down =
        [[SNAPSHOT, "1.a.json"], [SNAPSHOT, "1.b.json"], [SNAPSHOT, "1.c.json"], [SNAPSHOT, "1.d.json"]]
            .concat();
    let again = ["again 1.a.json", "again 1.b.json", "again 1.c.json"];
    repository.move_to("d");
    found(&repository, &[down.as_slice(), &[TARGETS], &again].concat());

    repository.targets = core::mem::take(&mut repository.delegated.get_mut("d").unwrap().targets);
    delegate(&mut repository, "d", "e");
    repository.move_to("e");
    let limit = Rejected::Limit { role: Role::Delegated, bound: Bound::Delegations };
    release_refused(&repository, &full_and(&down), limit);
}

#[test]
fn roles_are_searched_in_pre_order() {
    let mut repository = Repository::default();
    for (from, name) in [("targets", "a"), ("a", "b"), ("a", "c"), ("targets", "d")] {
        delegate(&mut repository, from, name);
    }
    repository.delegation("targets", 0)["paths"] = json!([LAMP[0]]);
    repository.move_to("d");
    let requests = [
        [SNAPSHOT, "1.a.json"],
        [SNAPSHOT, "1.b.json"],
        ["again 1.a.json", SNAPSHOT],
        ["1.c.json", "again 1.a.json"],
        [TARGETS, SNAPSHOT],
        ["1.d.json", TARGETS],
    ];
    found(&repository, &requests.concat());
}

#[test]
fn more_roles_in_one_search_than_the_profile_visits_are_refused() {
    let with = |roles: usize| {
        let mut repository = Repository::default();
        (0..roles).for_each(|role| delegate(&mut repository, "targets", &format!("role-{role}")));
        for role in 0..roles - 1 {
            repository.delegation("targets", role)["paths"] = json!([LAMP[0]]);
        }
        repository.move_to(&format!("role-{}", roles - 1));
        repository
    };
    assert_eq!(Subject::new(&with(8)).refresh(&with(8)).result, Ok(Some(2)));
    let limit = Error::from(Rejected::Limit { role: Role::Delegated, bound: Bound::Roles });
    let cycle = Subject::new(&with(9)).refresh(&with(9));
    assert_eq!(cycle.result, Err(limit));
    assert_eq!(cycle.requests.iter().filter(|name| name.starts_with("1.role-")).count(), 8);
}

#[test]
fn names_of_roles_longer_than_the_profile_holds_are_refused() {
    // 160 bytes hold `targets`, another name, and one for the length of each.
    let with = |length: usize| {
        let mut repository = Repository::default();
        delegate(&mut repository, "targets", &"n".repeat(length));
        repository.move_to(&"n".repeat(length));
        repository
    };
    let name = format!("1.{}.json", "n".repeat(151));
    found(&with(151), &[SNAPSHOT, &name, TARGETS]);
    refused(&with(152), &FULL, Rejected::Limit { role: Role::Targets, bound: Bound::Names });
}

#[test]
fn terminating_delegation_ends_the_search_and_another_does_not() {
    let with = |terminating: bool| {
        let mut repository = Repository::default();
        delegate(&mut repository, "targets", "a");
        delegate(&mut repository, "targets", "lamp");
        let first = repository.delegation("targets", 0);
        (first["paths"], first["terminating"]) = (json!([LAMP[0]]), json!(terminating));
        repository.move_to("lamp");
        repository
    };
    let first = [SNAPSHOT, "1.a.json"];
    not_found(&with(true), &first);
    found(&with(false), &[first.as_slice(), &[TARGETS, SNAPSHOT, "1.lamp.json", TARGETS]].concat());
}

#[test]
fn terminating_delegation_ends_the_search_on_every_level_above_it() {
    let mut repository = Repository::default();
    for (from, name) in [("targets", "a"), ("a", "b"), ("b", "c"), ("targets", "lamp")] {
        delegate(&mut repository, from, name);
    }
    repository.move_to("lamp");
    repository.delegation("a", 0)["terminating"] = json!(true);
    let down = [SNAPSHOT, "1.a.json", SNAPSHOT, "1.b.json", SNAPSHOT, "1.c.json"];
    // What the terminating delegation leads to is searched to its end, and nothing else.
    not_found(&repository, &[down.as_slice(), &["again 1.b.json"]].concat());
}

#[test]
fn terminating_delegation_to_a_visited_role_ends_the_search() {
    let mut repository = Repository::default();
    for (from, name) in [("targets", "a"), ("a", "b"), ("b", "a"), ("targets", "lamp")] {
        delegate(&mut repository, from, name);
    }
    repository.move_to("lamp");
    repository.delegation("b", 0)["terminating"] = json!(true);
    not_found(&repository, &[SNAPSHOT, "1.a.json", SNAPSHOT, "1.b.json"]);
}

#[test]
fn cycle_of_delegations_is_walked_once() {
    for (delegations, requests) in [
        (vec![("targets", "a"), ("a", "a")], vec![SNAPSHOT, "1.a.json", TARGETS]),
        (
            vec![("targets", "a"), ("a", "b"), ("b", "a"), ("b", "b")],
            vec![SNAPSHOT, "1.a.json", SNAPSHOT, "1.b.json", "again 1.a.json", TARGETS],
        ),
        (vec![("targets", "a"), ("targets", "a")], vec![SNAPSHOT, "1.a.json", TARGETS]),
    ] {
        let mut repository = Repository::default();
        delegations.iter().for_each(|(from, name)| delegate(&mut repository, from, name));
        repository.candidates.clear();
        not_found(&repository, &requests);
    }
}

#[test]
fn diamond_of_delegations_is_walked_once() {
    let mut repository = Repository::default();
    for (from, name) in [("targets", "a"), ("a", "c"), ("targets", "b"), ("b", "c"), ("targets", "lamp")] {
        delegate(&mut repository, from, name);
    }
    repository.move_to("lamp");
    for index in [0, 1] {
        repository.delegation("targets", index)["paths"] = json!([LAMP[0]]);
    }
    let requests = [
        [SNAPSHOT, "1.a.json"],
        [SNAPSHOT, "1.c.json"],
        ["again 1.a.json", TARGETS],
        [SNAPSHOT, "1.b.json"],
        [TARGETS, SNAPSHOT],
        ["1.lamp.json", TARGETS],
    ];
    found(&repository, &requests.concat());
}

// ---- who may say what

#[test]
fn target_of_a_role_outside_its_paths_is_not_found() {
    let mut repository = lamp();
    repository.delegation("targets", 0)["paths"] = json!(["lamp/rev-b/*/release", LAMP[1]]);
    not_found(&repository, &[]);
    repository.delegation("targets", 0)["paths"] = json!([LAMP[0], "lamp/rev-b/*/*/*"]);
    no_image(&repository, &FULL_LAMP[4..]);
    repository.delegation("targets", 0)["paths"] = json!(LAMP);
    found(&repository, &FULL_LAMP[4..]);
}

#[test]
fn target_of_a_role_outside_the_paths_of_the_role_above_is_not_found() {
    let mut repository = Repository::default();
    repository.delegate("targets", "fan", &["fan"], &json!({ "paths": ["fan/*/*/release"] }));
    delegate(&mut repository, "fan", "lamp");
    repository.move_to("lamp");
    not_found(&repository, &[]);
}

#[test]
fn image_in_another_role_than_its_entry_is_found_there() {
    let mut repository = Repository::default();
    repository.delegate("targets", "images", &["images"], &json!({ "paths": [LAMP[1]] }));
    repository.delegate("targets", "entries", &["entries"], &json!({ "paths": [LAMP[0]] }));
    repository.move_to("images");
    repository.release_role = "entries".to_owned();
    found(&repository, &[SNAPSHOT, "1.entries.json", TARGETS, SNAPSHOT, "1.images.json"]);
    // It is not enough that the role of the entry knows it.
    let (entries, images) = ("entries".to_owned(), "images");
    let targets = core::mem::take(&mut repository.delegated.get_mut(images).unwrap().targets);
    repository.delegated.get_mut(&entries).unwrap().targets = targets;
    let requests = [SNAPSHOT, "1.entries.json", TARGETS, SNAPSHOT, "1.images.json", TARGETS];
    no_image(&repository, &requests);
}

#[test]
fn image_whose_own_search_ends_at_another_target_is_refused() {
    // The role before that of the entry may speak of images, and does.
    let with = |bytes: &[u8]| {
        let mut repository = Repository::default();
        let shadow = repository.delegate("targets", "shadow", &["shadow"], &json!({ "paths": [LAMP[1]] }));
        shadow.targets.insert(IMAGE.to_owned(), target(bytes));
        delegate(&mut repository, "targets", "lamp");
        repository.move_to("lamp");
        repository
    };
    let requests = [SNAPSHOT, "1.lamp.json", TARGETS, SNAPSHOT, "1.shadow.json"];
    no_image(&with(b"another image"), &requests);
    found(&with(&image("1.1.0")), &requests);
    // So may the role above.
    let mut repository = lamp();
    repository.targets.insert(IMAGE.to_owned(), target(b"another image"));
    no_image(&repository, &FULL_LAMP[4..]);
    repository.targets.insert(IMAGE.to_owned(), target(&image("1.1.0")));
    found(&repository, &FULL_LAMP[4..]);
}

#[test]
fn role_reached_from_two_sides_is_verified_against_each_delegator() {
    let with = |signers: &[&str]| {
        let mut repository = Repository::default();
        repository.delegate("targets", "lamp", &["lamp-a"], &json!({ "paths": [LAMP[0]] }));
        repository.delegate("targets", "images", &["images"], &json!({ "paths": [LAMP[1]] }));
        repository.delegate("images", "lamp", &["lamp-b"], &json!({ "paths": [LAMP[1]] }));
        repository.move_to("lamp");
        repository.delegated.get_mut("lamp").unwrap().signers =
            signers.iter().map(|name| Signer::new(name)).collect();
        repository
    };
    // Both were tracked when the snapshot was read for the first of them.
    let requests = [SNAPSHOT, "1.lamp.json", TARGETS, SNAPSHOT, "1.images.json", SNAPSHOT, "1.lamp.json"];
    found(&with(&["lamp-a", "lamp-b"]), &requests);
    let cycle = Subject::new(&Repository::default()).refresh(&with(&["lamp-a"]));
    let unmet = Rejected::ThresholdNotMet { role: Role::Delegated, valid: 0, threshold: 1 };
    assert_eq!((cycle.result, cycle.requests), (Err(unmet.into()), as_strings(&full_and(&requests))));
    let unmet = Rejected::ThresholdNotMet { role: Role::Delegated, valid: 0, threshold: 1 };
    refused(&with(&["lamp-b"]), &full_and(&requests[..2]), unmet);
}

// ---- paths

#[test]
fn pattern_matches_within_a_segment_and_by_case() {
    let with = |pattern: &str| {
        // The image is anybody's; the entry alone is searched for.
        let mut repository = Repository::default();
        repository.delegate("targets", "lamp", &["lamp-a"], &json!({ "paths": ["fan/*", pattern] }));
        repository.release_role = "lamp".to_owned();
        repository
    };
    let (mut matched, mut others) = (0, 0);
    for pattern in [
        RELEASE,
        "lamp/*/*/*",
        "*/*/*/release",
        "*/rev-a/*/rel*",
        "lamp/rev-?/stable/release",
        "????/?????/??????/???????",
        "lamp/rev-a/st*le/re*a*e",
        "lamp/rev-a/**/release*",
        "*l*a*m*p*/*-*/*/*",
    ] {
        found(&with(pattern), &FULL_LAMP[4..]);
        matched += 1;
    }
    for pattern in [
        "*",
        "**",
        "lamp/*",
        "lamp/**",
        "lamp/*/release",
        "lamp/rev-a/*",
        "lamp/rev-a/stable/releas",
        "lamp/rev-a/stable/release/",
        "lamp/rev-a/stable/release?",
        "/lamp/rev-a/stable/release",
        "amp/rev-a/stable/release",
        "lamp?rev-a/stable/release",
        "lamp/rev-??/stable/release",
        "LAMP/rev-a/stable/release",
        "lamp/rev-A/stable/*",
        "lamp/rev-[ab]/stable/release",
        "lamp/rev-a/stable/\\release",
        "",
    ] {
        not_found(&with(pattern), &[]);
        others += 1;
    }
    assert_eq!((matched, others), (9, 18));
}

#[test]
fn hash_prefix_matches_what_the_digest_of_the_path_begins_with() {
    let digest = sha256(RELEASE.as_bytes());
    let other = if digest.starts_with('0') { "1" } else { "0" };
    let with = |prefixes: &[&str]| {
        let mut repository = Repository::default();
        let how = json!({ "path_hash_prefixes": prefixes });
        repository.delegate("targets", "lamp", &["lamp-a"], &how);
        repository.release_role = "lamp".to_owned();
        repository
    };
    for length in [1, 2, 3, 8, 64] {
        found(&with(&[other, &digest[..length]]), &FULL_LAMP[4..]);
    }
    for prefix in [
        other,
        &digest[1..],
        &digest[..63].to_uppercase(),
        &format!("{digest}0"),
        "x",
        &digest[..3].replace(&digest[2..3], "*"),
    ] {
        not_found(&with(&[prefix]), &[]);
    }
    not_found(&with(&[]), &[]);
}

#[test]
fn delegation_of_no_path_at_all_leads_nowhere() {
    let mut repository = lamp();
    repository.delegation("targets", 0).as_object_mut().unwrap().remove("paths");
    not_found(&repository, &[]);
}

#[test]
fn delegation_of_another_form_is_refused() {
    let forms: [(&str, serde_json::Value, Field); 14] = [
        ("paths", json!("lamp/*"), Field::Delegations),
        ("paths", json!([1]), Field::Delegations),
        ("paths", json!({}), Field::Delegations),
        ("path_hash_prefixes", json!([null]), Field::Delegations),
        ("terminating", json!(1), Field::Delegations),
        ("terminating", json!("true"), Field::Delegations),
        ("name", json!(7), Field::Delegations),
        ("threshold", json!(0), Field::Threshold),
        ("threshold", json!(-1), Field::Threshold),
        ("threshold", json!(256), Field::Threshold),
        ("threshold", json!("1"), Field::Threshold),
        ("keyids", json!({}), Field::Roles),
        ("keyids", json!(["short"]), Field::Roles),
        ("keyids", json!([Signer::new("lamp-a").keyid().to_uppercase()]), Field::Roles),
    ];
    for (member, value, wrong) in forms {
        let mut repository = lamp();
        repository.delegation("targets", 0)[member] = value;
        refused(&repository, &FULL, field(Role::Targets, wrong));
    }
    for member in ["name", "threshold"] {
        let mut repository = lamp();
        repository.delegation("targets", 0).as_object_mut().unwrap().remove(member);
        let wrong = if member == "name" { Field::Delegations } else { Field::Threshold };
        refused(&repository, &FULL, field(Role::Targets, wrong));
    }
    for delegations in [json!([]), json!({ "roles": {} }), json!({ "roles": [[]] })] {
        let mut repository = lamp();
        repository.delegations.insert("targets".to_owned(), delegations);
        refused(&repository, &FULL, field(Role::Targets, Field::Delegations));
    }
}
