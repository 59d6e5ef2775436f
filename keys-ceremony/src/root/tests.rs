use serde_json::json;

use super::*;
use crate::key::SigningKey;
use crate::metadata::Envelope;
use crate::request::Request;
use crate::transcript::Head;
use crate::{Misuse, canonical};

/// 2026-11-22T13:14:15Z, and a year later.
const NOW: u64 = 1_795_353_255;
const LATER: u64 = NOW + 365 * 86_400;

struct Holders {
    keys: Vec<SigningKey>,
}

impl Holders {
    fn new() -> Holders {
        Holders { keys: (0..5).map(|_| SigningKey::generate().unwrap()).collect() }
    }

    /// Root: 2 of keys 0, 1, 2. All else: key 4.
    fn draft(&self) -> Draft {
        let mut draft = Draft::new(NOW, LATER);
        for key in &self.keys[..3] {
            draft.add_key(&Role::Root, key.public()).unwrap();
        }
        draft.set_threshold(&Role::Root, 2);
        for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
            draft.add_key(&role, self.keys[4].public()).unwrap();
        }
        draft
    }

    fn file(&self, signed: &Value, signers: &[usize]) -> Vec<u8> {
        let payload = canonical::signed_bytes(signed).unwrap();
        let signature = |&signer: &usize| {
            let key = &self.keys[signer];
            (key.public().keyid().to_owned(), key.sign(&payload).unwrap())
        };
        let signatures = signers.iter().map(signature).collect();
        Envelope { signed: signed.clone(), signatures }.to_bytes().unwrap()
    }

    /// Replaces key 0 by key 3.
    fn next(&self, chain: &Chain) -> Value {
        let mut draft = Draft::next(chain, NOW, LATER).unwrap();
        draft.remove_key(&Role::Root, self.keys[0].public().keyid()).unwrap();
        draft.add_key(&Role::Root, self.keys[3].public()).unwrap();
        draft.signed().unwrap()
    }
}

fn broken(files: &[Vec<u8>]) -> (u32, String) {
    match Chain::verify(files).unwrap_err() {
        Error::Rejected { why: Rejected::BrokenChain { version, why }, .. } => (version, why),
        other => panic!("{other}"),
    }
}

#[test]
fn root_of_a_draft_reads_back_as_drafted() {
    let holders = Holders::new();
    let signed = holders.draft().signed().unwrap();
    let root = Root::from_signed(&signed).unwrap();
    assert_eq!(root.header, Header { role: Role::Root, version: 1, issued: NOW, expires: LATER });
    assert_eq!(root.roles[&Role::Root].threshold, 2);
    let mut keyids: Vec<&str> = holders.keys[..3].iter().map(|key| key.public().keyid()).collect();
    keyids.sort_unstable();
    assert_eq!(root.roles[&Role::Root].keys.keys().collect::<Vec<_>>(), keyids);
    assert_eq!(signed["roles"]["root"]["keyids"], json!(keyids));
    assert_eq!(root.roles[&Role::Timestamp].keys.len(), 1);
    assert_eq!((root.periods, root.reason), (Some(Periods::default()), None));
}

#[test]
fn reason_is_recorded_in_its_root_alone_and_periods_are_handed_on() {
    let holders = Holders::new();
    let mut draft = holders.draft();
    let most = "~".repeat(REASON);
    for reason in ["!", "Root holder c has left.", &most] {
        draft.set_reason(reason).unwrap();
        let root = Root::from_signed(&draft.signed().unwrap()).unwrap();
        assert_eq!(root.reason.as_deref(), Some(reason));
    }
    for (reason, length) in
        [("", 0), (&*"~".repeat(501), 501), ("two\nlines", 9), ("\u{e4}", 1), ("\u{7f}", 1)]
    {
        assert_eq!(draft.set_reason(reason).unwrap_err(), Misuse::BadReason { length }.into());
    }
    let targets = Period::new(200, 40).unwrap();
    draft.set_period(&Role::Targets, targets);
    let signed = draft.signed().unwrap();
    assert_eq!(signed["reason"], json!(most), "a refused reason changes nothing");
    // Devices skip what is for people.
    let chain = Chain::verify(&[holders.file(&signed, &[0, 1])]).unwrap();
    let next = Root::from_signed(&holders.next(&chain)).unwrap();
    assert_eq!(next.reason, None);
    assert_eq!(next.periods.unwrap().of(&Role::Targets), Some(targets));
}

#[test]
fn smallest_device_is_recorded_and_handed_on() {
    let holders = Holders::new();
    let mut draft = holders.draft();
    let signed = |draft: &Draft| Root::from_signed(&draft.signed().unwrap()).unwrap().devices;
    assert_eq!(signed(&draft), Some(Devices::default()));
    for limit in ["keys=8", "root-file=8192"] {
        draft.set_device_limit(limit).unwrap();
    }
    let text = "keys=99".to_owned();
    assert_eq!(draft.set_device_limit(&text).unwrap_err(), Misuse::NotADeviceLimit { text }.into());
    let limits = signed(&draft).unwrap().limits();
    assert_eq!((limits.keys, limits.root_file, limits.text), (8, 8192, DEVICE.text));
    let chain = Chain::verify(&[holders.file(&draft.signed().unwrap(), &[0, 1])]).unwrap();
    let next = Root::from_signed(&holders.next(&chain)).unwrap();
    assert_eq!(next.devices.unwrap().limits(), limits);
}

#[test]
fn root_without_an_expiry_has_that_of_its_period() {
    let holders = Holders::new();
    let chain = Chain::verify(&[holders.file(&holders.draft().signed().unwrap(), &[0, 1])]).unwrap();
    let expires = |draft: &Draft| Root::from_signed(&draft.signed().unwrap()).unwrap().header.expires;
    let mut draft = Draft::next(&chain, NOW, None).unwrap();
    assert_eq!(expires(&draft), NOW + 365 * 86_400);
    draft.set_period(&Role::Root, Period::new(100, 20).unwrap());
    assert_eq!(expires(&draft), NOW + 100 * 86_400);
    draft.set_period(&Role::Targets, Period::new(100, 20).unwrap());
    assert_eq!(expires(&draft), NOW + 86 * 86_400);
}

/// Members for people, of another form than ours: whoever is to sign them is told, and whoever has trusted them
/// already is not cut off.
#[test]
fn odd_members_for_people_are_refused_in_what_is_signed_and_skipped_in_what_was() {
    let holders = Holders::new();
    let draft = holders.draft().signed().unwrap();
    let changed = |change: &dyn Fn(&mut Value)| {
        let mut devices = draft["devices"].clone();
        change(&mut devices);
        devices
    };
    let devices = |limit: &str, value: Value| changed(&|devices| devices["limits"][limit] = value.clone());
    let with_schemes = |schemes: Value| changed(&|devices| devices["schemes"] = schemes.clone());
    for (member, odd, field) in [
        ("periods", json!("yearly"), "periods.root"),
        ("periods", json!({}), "periods.root"),
        ("reason", json!(1), "reason"),
        ("reason", json!(""), "reason"),
        ("reason", json!("two\nlines"), "reason"),
        ("transcript", json!("5"), "transcript.entries"),
        ("transcript", json!({ "entries": 0, "sha256": "ab".repeat(32) }), "transcript.entries"),
        ("transcript", json!({ "entries": 1_u64 << 32, "sha256": "ab".repeat(32) }), "transcript.entries"),
        ("transcript", json!({ "entries": 5 }), "transcript.sha256"),
        ("transcript", json!({ "entries": 5, "sha256": "AB".repeat(32) }), "transcript.sha256"),
        ("devices", json!("small"), "devices.limits.keys"),
        ("devices", json!({ "schemes": ["ecdsa-sha2-nistp256"] }), "devices.limits.keys"),
        ("devices", devices("keys", json!(0)), "devices.limits.keys"),
        ("devices", devices("keys", json!(13)), "devices.limits.keys"),
        ("devices", devices("root_file", json!("8192")), "devices.limits.root_file"),
        ("devices", devices("timestamp_file", Value::Null), "devices.limits.timestamp_file"),
        ("devices", with_schemes(json!(["ed25519"])), "devices.schemes"),
        ("devices", with_schemes(json!(["ecdsa-sha2-nistp256", "ed25519"])), "devices.schemes"),
        ("devices", with_schemes(json!([])), "devices.schemes"),
        ("devices", with_schemes(Value::Null), "devices.schemes"),
    ] {
        let mut signed = draft.clone();
        signed[member] = odd;
        for refused in
            [Root::from_signed(&signed).unwrap_err(), Request::draft(Role::Root, &signed, &[]).unwrap_err()]
        {
            let Error::Rejected { why: Rejected::WrongField { field: named, .. }, .. } = refused else {
                panic!("{refused}")
            };
            assert_eq!(named, field);
        }
        let chain = Chain::verify(&[holders.file(&signed, &[0, 1])]).unwrap();
        let root = chain.last().unwrap();
        assert_eq!(root.periods.is_none(), member == "periods");
        assert_eq!(root.devices.is_none(), member == "devices");
        assert_eq!((&root.reason, &root.transcript), (&None, &None));
        let next = Root::from_signed(&holders.next(&chain)).unwrap();
        assert_eq!(next.periods, Some(Periods::default()), "the next root has what it should");
        assert_eq!(next.devices, Some(Devices::default()), "the next root has what it should");
    }
}

#[test]
fn head_of_a_transcript_is_recorded_in_its_root_alone_and_taken_by_devices() {
    let holders = Holders::new();
    let mut draft = holders.draft();
    let head = Head { entries: u32::MAX, sha256: "ab".repeat(32) };
    draft.set_transcript(head.clone());
    let mut signed = draft.signed().unwrap();
    assert_eq!(signed["transcript"], json!({ "entries": 4_294_967_295_u32, "sha256": "ab".repeat(32) }));
    // What a later version adds is skipped, and shown all the same.
    signed["transcript"]["later"] = json!(1);
    let request = Request::draft(Role::Root, &signed, &[]).unwrap();
    assert!(
        crate::review::describe(&request, None, &Default::default(), NOW).to_string().contains("\"later\":1")
    );
    let chain = Chain::verify(&[holders.file(&signed, &[0, 1])]).unwrap();
    assert_eq!(chain.last().unwrap().transcript, Some(head));
    assert_eq!(Root::from_signed(&holders.next(&chain)).unwrap().transcript, None);
}

#[test]
fn draft_that_needs_more_signatures_than_a_device_reads_is_refused() {
    let keys: Vec<SigningKey> = (0..10).map(|_| SigningKey::generate().unwrap()).collect();
    let mut draft = Draft::new(NOW, None);
    for role in Role::TOP_LEVEL {
        for key in &keys[..if role == Role::Root { 5 } else { 1 }] {
            draft.add_key(&role, key.public()).unwrap();
        }
    }
    draft.set_threshold(&Role::Root, 5);
    let mut request = Request::draft(Role::Root, &draft.signed().unwrap(), &[]).unwrap();
    keys[..5].iter().for_each(|key| drop(request.sign(key).unwrap()));
    let chain = Chain::verify(&[request.finish(NOW).unwrap()]).unwrap();

    // Five of the old keys and, for each one replaced, one of the new: three fit, four do not.
    let mut draft = Draft::next(&chain, NOW, None).unwrap();
    for (old, new) in (0..3).zip(5..) {
        draft.replace_key(&Role::Root, keys[old].public().keyid(), keys[new].public()).unwrap();
    }
    let mut request = Request::draft(Role::Root, &draft.signed().unwrap(), chain.files()).unwrap();
    keys[..8].iter().for_each(|key| drop(request.sign(key).unwrap()));
    request.finish(NOW).unwrap();
    draft.replace_key(&Role::Root, keys[3].public().keyid(), keys[8].public()).unwrap();
    let what = "this root, which old and new holders sign,";
    let refused = Misuse::TooManySignatures { what: what.to_owned(), needed: 9, limit: 8 };
    assert_eq!(draft.signed().unwrap_err(), refused.into());
    draft.set_threshold(&Role::Root, 4);
    draft.signed().unwrap();
}

#[test]
fn exposure_of_a_key_that_left_and_came_back_is_told_for_each_time() {
    let holders = Holders::new();
    let id = |key: usize| holders.keys[key].public().keyid().to_owned();
    let mut files = vec![holders.file(&holders.draft().signed().unwrap(), &[0, 1])];
    let mut next = |day: u64, change: &dyn Fn(&mut Draft)| {
        let chain = Chain::verify(&files).unwrap();
        let mut draft = Draft::next(&chain, NOW + day * 86_400, None).unwrap();
        change(&mut draft);
        files.push(holders.file(&draft.signed().unwrap(), &[0, 1, 2]));
    };
    let key = |key: usize| holders.keys[key].public();
    next(1, &|_| {});
    next(2, &|draft| draft.replace_key(&Role::Targets, &id(4), key(3)).unwrap());
    next(3, &|draft| draft.add_key(&Role::Targets, key(4)).unwrap());
    next(4, &|draft| draft.set_threshold(&Role::Targets, 2));
    next(5, &|draft| draft.replace_key(&Role::Snapshot, &id(4), key(3)).unwrap());

    let chain = Chain::verify(&files).unwrap();
    let found = exposures(&chain, &[id(4)].into());
    let told: Vec<_> = found
        .iter()
        .map(|it| {
            let day = |date: u64| (date - NOW) / 86_400;
            let terms = (it.threshold, it.keys, it.alone());
            (it.role.name(), (it.first, it.last), (day(it.since), it.until.map(|(_, date)| day(date))), terms)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("targets", (1, 2), (0, Some(2)), (1, 1, true)),
            ("targets", (4, 4), (3, Some(4)), (1, 2, true)),
            ("targets", (5, 6), (4, None), (2, 2, false)),
            ("snapshot", (1, 5), (0, Some(5)), (1, 1, true)),
            ("timestamp", (1, 6), (0, None), (1, 1, true)),
        ]
    );
    assert!(found.iter().all(|it| it.lost == [id(4)]));
    // Two keys that were lost together count together.
    let both = exposures(&chain, &[id(3), id(4)].into());
    assert!(both.iter().filter(|it| it.role == Role::Targets).all(Exposure::alone));
    assert_eq!(exposures(&chain, &["0".repeat(64)].into()), []);

    let mut draft = Draft::next(&chain, NOW, None).unwrap();
    draft.revoke(&[id(4)].into()).unwrap();
    let roles = vec![(Role::Targets, 1, 2), (Role::Timestamp, 0, 1)];
    assert_eq!(draft.check_left().unwrap_err(), Misuse::TooFewKeysLeft { roles }.into());
    let again = draft.revoke(&[id(4)].into()).unwrap_err();
    assert_eq!(again, Misuse::NotInRoot { keyid: id(4), root: 6 }.into());
}

#[test]
fn draft_that_no_device_could_use_is_refused() {
    let holders = Holders::new();
    for (threshold, keys) in [(0, 3), (4, 3), (u32::MAX, 3)] {
        let mut draft = holders.draft();
        draft.set_threshold(&Role::Root, threshold);
        let refused = Misuse::ThresholdOutOfRange { role: Role::Root, threshold, keys };
        assert_eq!(draft.signed().unwrap_err(), refused.into());
    }
    let empty = Draft::new(NOW, LATER).signed().unwrap_err();
    assert_eq!(empty, Misuse::ThresholdOutOfRange { role: Role::Root, threshold: 1, keys: 0 }.into());

    let expired = Draft::new(NOW, NOW).signed().unwrap_err();
    assert_eq!(expired, Misuse::ExpiresTooSoon { expires: NOW }.into());

    let key = holders.keys[0].public();
    let keyid = key.keyid().to_owned();
    let again = holders.draft().add_key(&Role::Root, key).unwrap_err();
    assert_eq!(again, Misuse::KeyPresent { role: Role::Root, keyid: keyid.clone() }.into());
    let absent = holders.draft().remove_key(&Role::Targets, &keyid).unwrap_err();
    assert_eq!(absent, Misuse::KeyAbsent { role: Role::Targets, keyid }.into());

    let mut crowd = holders.draft();
    for _ in 0..9 {
        crowd.add_key(&Role::Root, SigningKey::generate().unwrap().public()).unwrap();
    }
    assert_eq!(crowd.signed().unwrap_err(), Misuse::TooManyKeys { keys: 13, limit: 12 }.into());
    crowd.set_threshold(&Role::Root, 9);
    let many = crowd.signed().unwrap_err();
    assert_eq!(many, Misuse::TooManySignatures { what: "root".to_owned(), needed: 9, limit: 8 }.into());
}

#[test]
fn root_with_one_fact_wrong_is_refused() {
    let holders = Holders::new();
    let signed = holders.draft().signed().unwrap();
    let keyid = holders.keys[0].public().keyid().to_owned();
    let other = holders.keys[1].public().keyid().to_owned();
    assert!(Root::from_signed(&signed).is_ok());
    type Change<'a> = &'a dyn Fn(&mut Value);
    let changes: [(&str, Change<'_>); 16] = [
        ("another role", &|root| root["_type"] = json!("targets")),
        ("version 0", &|root| root["version"] = json!(0)),
        ("a version beyond 32 bits", &|root| root["version"] = json!(1u64 << 32)),
        ("a version as text", &|root| root["version"] = json!("1")),
        ("specification 2", &|root| root["spec_version"] = json!("2.0.0")),
        ("a date with a fraction", &|root| root["expires"] = json!("2027-01-01T00:00:00.5Z")),
        ("issued behind expiry", &|root| root["issued"] = root["expires"].clone()),
        ("no issued", &|root| drop(root.as_object_mut().unwrap().remove("issued"))),
        ("inconsistent snapshots", &|root| root["consistent_snapshot"] = json!(false)),
        ("a key under another's keyid", &|root| root["keys"][&keyid] = root["keys"][&other].clone()),
        ("a role missing", &|root| drop(root["roles"].as_object_mut().unwrap().remove("snapshot"))),
        ("a role too many", &|root| root["roles"]["mirrors"] = root["roles"]["snapshot"].clone()),
        ("threshold 0", &|root| root["roles"]["root"]["threshold"] = json!(0)),
        ("threshold above the keys", &|root| root["roles"]["root"]["threshold"] = json!(4)),
        ("a keyid twice", &|root| root["roles"]["root"]["keyids"] = json!([keyid, keyid, other])),
        ("a keyid without a key", &|root| root["roles"]["root"]["keyids"][0] = json!("0".repeat(64))),
    ];
    for (what, change) in changes {
        let mut root = signed.clone();
        change(&mut root);
        assert_ne!(root, signed, "{what} changes nothing");
        assert!(Root::from_signed(&root).is_err(), "accepted {what}");
    }
}

#[test]
fn chain_of_a_rotation_is_followed() {
    let holders = Holders::new();
    let first = holders.file(&holders.draft().signed().unwrap(), &[0, 1]);
    let chain = Chain::verify(core::slice::from_ref(&first)).unwrap();
    let second = holders.file(&holders.next(&chain), &[0, 1, 3]);
    chain.accepts(&Role::Root, &second).unwrap();
    let chain = Chain::verify(&[first.clone(), second]).unwrap();
    assert_eq!(chain.last().unwrap().header.version, 2);
    assert_eq!(chain.last().unwrap().roles[&Role::Root].threshold, 2);
    let Envelope { signed, .. } = Envelope::parse(&first).unwrap();
    assert_eq!(chain.first_payload().unwrap(), canonical::signed_bytes(&signed).unwrap());
}

#[test]
fn chain_with_one_link_wrong_is_refused_at_its_version() {
    let holders = Holders::new();
    let draft = holders.draft().signed().unwrap();
    let first = holders.file(&draft, &[0, 1]);
    let chain = Chain::verify(core::slice::from_ref(&first)).unwrap();
    let next = holders.next(&chain);
    let second = holders.file(&next, &[1, 2, 3]);
    assert!(Chain::verify(&[first.clone(), second.clone()]).is_ok());

    let lonely = "root: signed by 1 of 2 needed keys".to_owned();
    assert_eq!(broken(&[holders.file(&draft, &[0])]), (1, lonely.clone()), "one signature");
    assert_eq!(broken(&[holders.file(&draft, &[0, 4])]), (1, lonely.clone()), "a key of another role");
    assert_eq!(
        broken(&[first.clone(), holders.file(&next, &[1, 3])]),
        (2, lonely.clone()),
        "too few of the old keys"
    );
    assert_eq!(
        broken(&[first.clone(), holders.file(&next, &[0, 1])]),
        (2, lonely),
        "too few of the new keys"
    );
    assert_eq!(broken(&[second]).0, 1, "no first root");
    assert_eq!(broken(&[first.clone(), first.clone()]).0, 2, "the first root twice");
    let third = {
        let mut skipped = next.clone();
        skipped["version"] = json!(3);
        holders.file(&skipped, &[0, 1, 3])
    };
    assert_eq!(broken(&[first, third]), (2, "version 3 stands in its place".to_owned()));
}

#[test]
fn next_of_an_empty_chain_is_refused() {
    let error = Draft::next(&Chain::default(), NOW, LATER).unwrap_err();
    assert!(matches!(error, Error::Misuse { why: Misuse::WrongChain { .. }, .. }));
    assert!(Request::draft(Role::Targets, &json!({}), &[]).is_err());
}
