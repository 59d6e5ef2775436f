use serde_json::json;
use tuffet_client::limits::{DEVICE, ROOT};
use tuffet_client::{SOFTWARE, Trusted};

use super::*;
use crate::encoding::AsBase64;
use crate::metadata::Envelope;
use crate::root::Draft;

/// 2026-11-22T13:14:15Z, when everything here is issued.
const NOW: u64 = 1_795_353_255;

fn keys(count: usize) -> Vec<SigningKey> {
    (0..count).map(|_| SigningKey::generate().unwrap()).collect()
}

fn ids(keys: &[&SigningKey]) -> Vec<String> {
    let mut ids: Vec<String> = keys.iter().map(|key| key.public().keyid().to_owned()).collect();
    ids.sort();
    ids
}

/// Root 1: root and targets have 2 of these keys, snapshot and timestamp the first.
fn first_root(holders: &[SigningKey]) -> Request {
    let mut draft = Draft::new(NOW, NOW + 365 * 86_400);
    for role in [Role::Root, Role::Targets] {
        draft.set_threshold(&role, 2);
        for key in holders {
            draft.add_key(&role, key.public()).unwrap();
        }
    }
    for role in [Role::Snapshot, Role::Timestamp] {
        draft.add_key(&role, holders[0].public()).unwrap();
    }
    Request::draft(Role::Root, &draft.signed().unwrap(), &[]).unwrap()
}

fn signed_by(request: &Request, signers: &[&SigningKey]) -> Request {
    let mut request = request.clone();
    for signer in signers {
        request.sign(signer).unwrap();
    }
    request
}

fn targets(version: u32) -> Value {
    json!({
        "_type": "targets", "version": version, "spec_version": "1.0.34", "targets": {},
        "issued": "2026-11-22T13:14:15Z", "expires": "2027-11-22T13:14:15Z",
    })
}

fn rejected(result: Result<Request, Error>) -> Rejected {
    match result {
        Err(Error::Rejected { why, .. }) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn request_for_a_first_root_is_finished_by_two_of_three() {
    let holders = keys(3);
    let request = first_root(&holders);
    assert_eq!(request.requirements().len(), 1);

    let one = signed_by(&request, &[&holders[1]]);
    let Err(Error::Rejected {
        why: Rejected::ThresholdNotMet { by, threshold, signed, missing, .. }, ..
    }) = one.finish(NOW)
    else {
        panic!("finished with one")
    };
    assert_eq!((&*by, threshold), ("root 1", 2));
    assert_eq!((signed, missing), (ids(&[&holders[1]]), ids(&[&holders[0], &holders[2]])));

    let file = signed_by(&one, &[&holders[2]]).finish(NOW).unwrap();
    let trusted: Trusted =
        Trusted::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &file).unwrap();
    assert_eq!(trusted.root().version(), 1);
    let Envelope { signed, signatures } = Envelope::parse(&file).unwrap();
    assert_eq!(canonical::signed_bytes(&signed).unwrap(), request.payload());
    let keyids: Vec<String> = signatures.into_iter().map(|(keyid, _)| keyid).collect();
    assert_eq!(keyids, ids(&[&holders[1], &holders[2]]), "sorted by keyid");
}

#[test]
fn request_for_a_next_root_needs_old_and_new_keys() {
    let holders = keys(3);
    let replacement = SigningKey::generate().unwrap();
    let first = signed_by(&first_root(&holders), &[&holders[0], &holders[1]]).finish(NOW).unwrap();
    let chain = Chain::verify(core::slice::from_ref(&first)).unwrap();
    let mut draft = Draft::next(&chain, NOW, NOW + 86_400).unwrap();
    draft.remove_key(&Role::Root, holders[0].public().keyid()).unwrap();
    draft.add_key(&Role::Root, replacement.public()).unwrap();
    let request =
        Request::draft(Role::Root, &draft.signed().unwrap(), core::slice::from_ref(&first)).unwrap();
    let request = Request::from_bytes(&request.to_bytes()).unwrap();

    let old_alone = signed_by(&request, &[&holders[0], &holders[1]]);
    let state = old_alone.state();
    assert_eq!(state.iter().map(|p| (p.version, p.have, p.need)).collect::<Vec<_>>(), [(1, 2, 2), (2, 1, 2)]);
    assert!(state[0].met() && !state[1].met());
    let Err(Error::Rejected { why: Rejected::ThresholdNotMet { by, threshold: 2, .. }, .. }) =
        old_alone.finish(NOW)
    else {
        panic!("finished by half of them")
    };
    assert_eq!(&*by, "root 2");
    let new_alone = signed_by(&request, &[&replacement, &holders[1]]);
    let Err(Error::Rejected { why: Rejected::ThresholdNotMet { by, threshold: 2, .. }, .. }) =
        new_alone.finish(NOW)
    else {
        panic!("finished by half of them")
    };
    assert_eq!(&*by, "root 1");

    let second = signed_by(&old_alone, &[&replacement]).finish(NOW).unwrap();
    let mut trusted: Trusted =
        Trusted::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &first).unwrap();
    trusted.next_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &second).unwrap();
    assert_eq!(trusted.root().version(), 2);

    // Other roles are signed under the newest root.
    let request = Request::draft(Role::Targets, &targets(1), &[first, second]).unwrap();
    assert_eq!(request.requirements()[0].version, 2);
    assert_eq!(request.requirements()[0].keys.len(), 3);
}

#[test]
fn request_with_another_chain_than_its_role_needs_is_refused() {
    let holders = keys(3);
    let request = first_root(&holders);
    let first = signed_by(&request, &[&holders[0], &holders[1]]).finish(NOW).unwrap();
    let wrong = |result: Result<Request, Error>| {
        assert!(matches!(result, Err(Error::Misuse { why: Misuse::WrongChain { .. }, .. })), "{result:?}");
    };
    wrong(Request::draft(Role::Targets, &targets(1), &[]));
    wrong(Request::draft(Role::Root, request.signed().value(), core::slice::from_ref(&first)));
    let mut second = request.signed().value().clone();
    second["version"] = json!(2);
    wrong(Request::draft(Role::Root, &second, &[]));
    let other_role = Request::draft(Role::Snapshot, &targets(1), &[first]);
    assert!(matches!(rejected(other_role), Rejected::WrongField { .. }));
}

#[test]
fn sign_by_a_foreign_key_or_twice_is_refused_by_name() {
    let holders = keys(3);
    let mut request = first_root(&holders);
    let stranger = SigningKey::generate().unwrap();
    let keyid = stranger.public().keyid().to_owned();
    assert_eq!(request.sign(&stranger).unwrap_err(), Rejected::ForeignKey { keyid }.into());
    request.sign(&holders[0]).unwrap();
    let before = request.to_bytes();
    let keyid = holders[0].public().keyid().to_owned();
    assert_eq!(request.sign(&holders[0]).unwrap_err(), Rejected::AlreadySigned { keyid }.into());
    assert_eq!(request.to_bytes(), before);
    assert_eq!(request.state()[0].have, 1);
}

#[test]
fn merge_in_any_order_and_repetition_gives_the_same_file() {
    let holders = keys(3);
    let request = first_root(&holders);
    let mut copies: Vec<Request> = holders.iter().map(|key| signed_by(&request, &[key])).collect();
    // One holder's token made another signature than his key file did; both are good.
    let mut token = request.clone();
    token.accept(holders[0].public().keyid(), &holders[0].sign_with_salt(request.payload())).unwrap();
    assert_ne!(token.signatures, copies[0].signatures);
    copies.push(token);

    let mut results = std::collections::BTreeSet::new();
    for order in 0..4usize.pow(5) {
        let picks: Vec<usize> = (0..5).map(|place| order / 4usize.pow(place) % 4).collect();
        if (0..4).any(|copy| !picks.contains(&copy)) {
            continue;
        }
        let mut merged = request.clone();
        for pick in picks {
            merged.merge(&copies[pick]).unwrap();
        }
        results.insert(merged.to_bytes());
    }
    assert_eq!(results.len(), 1);
}

#[test]
fn merge_of_another_request_is_refused_and_changes_nothing() {
    let holders = keys(3);
    let mut ours = first_root(&holders);
    let before = ours.to_bytes();
    let theirs = signed_by(&first_root(&keys(3)[..]), &[]);
    let error = ours.merge(&theirs).unwrap_err();
    let title = "root version 1".to_owned();
    assert_eq!(error, Rejected::OtherPayload { ours: title.clone(), theirs: title }.into());
    assert_eq!(ours.to_bytes(), before);

    // The same targets under the same root, which other holders happened to sign.
    let by = |a: usize, b: usize| {
        signed_by(&first_root_of(&ours), &[&holders[a], &holders[b]]).finish(NOW).unwrap()
    };
    let mut left = Request::draft(Role::Targets, &targets(1), &[by(0, 1)]).unwrap();
    let right = Request::draft(Role::Targets, &targets(1), &[by(1, 2)]).unwrap();
    assert_eq!(left.merge(&right).unwrap_err(), Rejected::OtherChain.into());
}

fn first_root_of(request: &Request) -> Request {
    Request::draft(Role::Root, request.signed().value(), &[]).unwrap()
}

/// A request file as JSON, changed, and read again.
fn edited(request: &Request, change: impl FnOnce(&mut Value)) -> Result<Request, Error> {
    let mut file: Value = serde_json::from_slice(&request.to_bytes()).unwrap();
    let before = file.clone();
    change(&mut file);
    assert_ne!(file, before, "nothing was changed");
    Request::from_bytes(&serde_json::to_vec(&file).unwrap())
}

#[test]
fn request_that_contradicts_itself_is_refused_by_field() {
    let holders = keys(3);
    let first = signed_by(&first_root(&holders), &[&holders[0], &holders[1]]).finish(NOW).unwrap();
    let request = Request::draft(Role::Targets, &targets(7), core::slice::from_ref(&first)).unwrap();
    let request = signed_by(&request, &[&holders[0]]);
    assert_eq!(Request::from_bytes(&request.to_bytes()).unwrap().to_bytes(), request.to_bytes());

    let contradiction = |field, result| assert_eq!(rejected(result), Rejected::Contradiction { field });
    contradiction("role", edited(&request, |file| file["role"] = json!("snapshot")));
    contradiction("version", edited(&request, |file| file["version"] = json!(8)));
    contradiction("signers", edited(&request, |file| file["signers"][0]["threshold"] = json!(1)));
    contradiction("signers", edited(&request, |file| file["signers"] = json!([])));
    contradiction("root_chain", edited(&request, |file| file["root_chain"] = json!([])));

    let format = rejected(edited(&request, |file| file["format"] = json!(3)));
    assert_eq!(format, Rejected::UnknownFormat { found: "3".to_owned() });
    for change in [
        &(|file: &mut Value| file["_type"] = json!("root")) as &dyn Fn(&mut Value),
        &|file| file["format"] = json!("1"),
        &|file| file["unknown"] = json!(1),
        &|file| drop(file.as_object_mut().unwrap().remove("signatures")),
        &|file| file["version"] = json!("7"),
        &|file| file["root_chain"] = json!(1),
        &|file| *file = json!([]),
    ] {
        assert!(matches!(rejected(edited(&request, change)), Rejected::NotARequest { .. }));
    }
}

#[test]
fn request_with_a_bad_signature_is_refused_by_name() {
    let holders = keys(3);
    let stranger = SigningKey::generate().unwrap();
    let request = signed_by(&first_root(&holders), &[&holders[0]]);
    let keyid = |key: &SigningKey| key.public().keyid().to_owned();

    let renamed = edited(&request, |file| file["signatures"][0]["keyid"] = json!(keyid(&holders[1])));
    assert_eq!(rejected(renamed), Rejected::BadSignature { keyid: keyid(&holders[1]) });
    let foreign = edited(&request, |file| file["signatures"][0]["keyid"] = json!(keyid(&stranger)));
    assert_eq!(rejected(foreign), Rejected::ForeignKey { keyid: keyid(&stranger) });
    let twice = edited(&request, |file| {
        let signature = file["signatures"][0].clone();
        file["signatures"].as_array_mut().unwrap().push(signature);
    });
    assert_eq!(rejected(twice), Rejected::DuplicateSignature { keyid: keyid(&holders[0]) });
    let other = first_root(&keys(3));
    let moved = edited(&request, |file| file["payload"] = json!(AsBase64(other.payload())));
    assert!(matches!(rejected(moved), Rejected::Contradiction { field: "signers" }));
}

#[test]
fn request_with_a_payload_that_is_not_canonical_is_refused() {
    let request = first_root(&keys(2));
    for payload in [
        [b" ", request.payload()].concat(),
        canonical::published_bytes(request.signed().value()).unwrap(),
        serde_json::to_vec_pretty(request.signed().value()).unwrap(),
    ] {
        let error = edited(&request, |file| file["payload"] = json!(AsBase64(&payload)));
        assert!(matches!(rejected(error), Rejected::NotCanonical { .. } | Rejected::NotJson { .. }));
    }
}

#[test]
fn request_cut_anywhere_is_refused() {
    let holders = keys(2);
    let bytes = signed_by(&first_root(&holders), &[&holders[0]]).to_bytes();
    let whole = bytes.trim_ascii_end().len();
    for length in 0..whole {
        assert!(matches!(rejected(Request::from_bytes(&bytes[..length])), Rejected::NotJson { .. }));
    }
    assert!(Request::from_bytes(&bytes[..whole]).is_ok());
}

#[test]
fn request_with_any_bit_changed_is_refused() {
    let holders = keys(2);
    let bytes = signed_by(&first_root(&holders), &[&holders[0]]).to_bytes();
    for index in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[index] ^= 1 << bit;
            assert!(Request::from_bytes(&changed).is_err(), "bit {bit} of byte {index}");
        }
    }
}

#[test]
fn finish_of_what_no_device_takes_is_refused_in_its_words() {
    let holders = keys(3);
    let first = signed_by(&first_root(&holders), &[&holders[0], &holders[1]]).finish(NOW).unwrap();
    let chain = core::slice::from_ref(&first);
    let finish = |role: Role, value: &Value| {
        let request = Request::draft(role, value, chain).unwrap();
        signed_by(&request, &[&holders[0], &holders[1]][..request.requirements[0].threshold as usize])
            .finish(NOW)
    };
    let value = |role: &str| {
        json!({
            "_type": role, "version": 1, "spec_version": "1.0.34",
            "issued": "2026-11-22T13:14:15Z", "expires": "2027-11-22T13:14:15Z",
        })
    };
    let nested = |depth: usize| (0..depth).fold(json!(1), |inner, _| json!([inner]));
    let with = |role: &str, added: Value| {
        let mut value = value(role);
        value["unknown"] = added;
        value
    };
    let kib = DEVICE.timestamp_file as usize / 1024;
    let long = |kib: usize| json!(vec!["x".repeat(509); 2 * kib]);
    // Each pair differs in one bound of the devices alone.
    for (role, good, bad, code, says) in [
        (
            Role::Targets,
            nested(9),
            nested(tuffet_client::limits::DEPTH),
            103,
            "targets: passes the device's bound on",
        ),
        (
            Role::Snapshot,
            nested(9),
            nested(tuffet_client::limits::DEPTH),
            103,
            "snapshot: passes the device's bound on",
        ),
        (Role::Timestamp, long(kib - 2), long(kib), 105, "timestamp: longer than 16384 bytes"),
    ] {
        let file = finish(role.clone(), &with(role.name(), good)).unwrap();
        Trusted::<[u8; ROOT]>::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &first)
            .unwrap()
            .accepts_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], role.of_device(), &file)
            .unwrap();
        let refused = finish(role.clone(), &with(role.name(), bad)).unwrap_err();
        let text = refused.to_string();
        let Error::Rejected { why: Rejected::DeviceRefuses { what, code: found, message }, .. } = refused
        else {
            panic!("{text}")
        };
        assert_eq!((what, found), (format!("{role} version 1"), code));
        assert!(message.starts_with(says) && text.contains(&format!("(C{code}: {says}")), "{text}");
    }
}

#[test]
fn finish_of_targets_with_a_signature_too_few_names_who_is_missing() {
    let holders = keys(3);
    let first = signed_by(&first_root(&holders), &[&holders[0], &holders[1]]).finish(NOW).unwrap();
    let request = Request::draft(Role::Targets, &targets(1), &[first]).unwrap();
    let refused = signed_by(&request, &[&holders[2]]).finish(NOW).unwrap_err();
    let expected = Rejected::ThresholdNotMet {
        what: "targets version 1".to_owned(),
        by: "root 1".into(),
        threshold: 2,
        signed: ids(&[&holders[2]]),
        missing: ids(&[&holders[0], &holders[1]]),
    };
    assert_eq!(refused, expected.into());
    signed_by(&request, &[&holders[2], &holders[1]]).finish(NOW).unwrap();
}

/// Five old and five new holders are ten signatures, and a device reads eight.
#[test]
fn finish_of_a_root_that_no_device_takes_is_refused_in_its_words() {
    let (old, new, online) = (keys(5), keys(5), SigningKey::generate().unwrap());
    let mut draft = Draft::new(NOW, NOW + 365 * 86_400);
    old.iter().for_each(|key| draft.add_key(&Role::Root, key.public()).unwrap());
    draft.set_threshold(&Role::Root, 5);
    for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
        draft.add_key(&role, online.public()).unwrap();
    }
    let first = Request::draft(Role::Root, &draft.signed().unwrap(), &[]).unwrap();
    let first = signed_by(&first, &old.iter().collect::<Vec<_>>()).finish(NOW).unwrap();
    let chain = Chain::verify(core::slice::from_ref(&first)).unwrap();
    let mut draft = Draft::next(&chain, NOW, NOW + 365 * 86_400).unwrap();
    for (gone, come) in old.iter().zip(&new) {
        draft.remove_key(&Role::Root, gone.public().keyid()).unwrap();
        draft.add_key(&Role::Root, come.public()).unwrap();
    }
    // Nobody can draft it here; another tool may.
    draft.set_threshold(&Role::Root, 3);
    let mut signed = draft.signed().unwrap();
    signed["roles"]["root"]["threshold"] = json!(5);
    let request = Request::draft(Role::Root, &signed, &[first]).unwrap();
    let request = signed_by(&request, &old.iter().chain(&new).collect::<Vec<_>>());
    assert!(request.state().iter().all(Progress::met));
    let refused = request.finish(NOW).unwrap_err();
    assert!(
        matches!(&refused, Error::Rejected { why: Rejected::DeviceRefuses { code: 103, .. }, .. }),
        "{refused}"
    );
}

#[test]
fn finish_with_more_signatures_than_a_device_reads_leaves_some_out() {
    let holders = keys(11);
    let all: Vec<&SigningKey> = holders.iter().collect();
    let file = signed_by(&first_root(&holders), &all).finish(NOW).unwrap();
    assert_eq!(Envelope::parse(&file).unwrap().signatures.len(), DEVICE.signatures);
    Trusted::<[u8; ROOT]>::from_root_file(&SOFTWARE, &DEVICE, &mut [0; DEVICE.memory()], &file).unwrap();
}
