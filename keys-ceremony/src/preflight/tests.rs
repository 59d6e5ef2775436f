use serde_json::{Value, json};
use tuffet_client::limits::DEVICE;

use super::*;
use crate::encoding::sha256_hex;
use crate::key::SigningKey;
use crate::metadata::Envelope;
use crate::root::{Chain, Draft};
use crate::{Misuse, canonical};

/// 2026-11-22T13:14:15Z, and a year later.
const NOW: u64 = 1_795_353_255;
const LATER: u64 = NOW + 365 * 86_400;

struct Holders(Vec<SigningKey>);

impl Holders {
    fn new() -> Holders {
        Holders((0..8).map(|_| SigningKey::generate().unwrap()).collect())
    }

    /// Root 1: 2 of keys 0, 1, 2 for root, key 3 for all else. That is four keys.
    fn draft(&self) -> Draft {
        let mut draft = Draft::new(NOW, LATER);
        self.0[..3].iter().for_each(|key| draft.add_key(&Role::Root, key.public()).unwrap());
        draft.set_threshold(&Role::Root, 2);
        for role in [Role::Targets, Role::Snapshot, Role::Timestamp] {
            draft.add_key(&role, self.0[3].public()).unwrap();
        }
        draft
    }

    fn first(&self) -> Value {
        self.draft().signed().unwrap()
    }

    /// The root after `chain`, whose targets have these keys besides.
    fn next(&self, chain: &[Vec<u8>], more: &[usize]) -> Value {
        let mut draft = Draft::next(&Chain::verify(chain).unwrap(), NOW, LATER).unwrap();
        for key in more {
            draft.add_key(&Role::Targets, self.0[*key].public()).unwrap();
        }
        draft.signed().unwrap()
    }

    fn finish_at(
        &self,
        role: Role,
        signed: &Value,
        chain: &[Vec<u8>],
        now: u64,
    ) -> Result<Vec<u8>, crate::Error> {
        let mut request = Request::draft(role, signed, chain)?;
        let signers = request.requirements()[0].keys.clone();
        for key in self.0.iter().filter(|key| signers.contains_key(key.public().keyid())) {
            request.sign(key).unwrap();
        }
        request.finish(now)
    }

    fn finish(&self, signed: &Value, chain: &[Vec<u8>]) -> Result<Vec<u8>, crate::Error> {
        self.finish_at(Role::Root, signed, chain, NOW)
    }

    /// The published file, whatever this crate would say of it: signed by keys 0 and 1.
    fn file(&self, signed: &Value) -> Vec<u8> {
        let payload = canonical::signed_bytes(signed).unwrap();
        let sign = |key: &SigningKey| (key.public().keyid().to_owned(), key.sign(&payload).unwrap().to_vec());
        Envelope { signed: signed.clone(), signatures: self.0[..2].iter().map(sign).collect() }
            .to_bytes()
            .unwrap()
    }
}

/// As another tool writes it, which heeds no limit.
fn limited(signed: &Value, name: &str, limit: u32) -> Value {
    let mut signed = signed.clone();
    signed["devices"]["limits"][name] = json!(limit);
    signed
}

fn refused(what: &str, device: &str, code: u16, message: &str) -> crate::Error {
    let [what, device, message] = [what, device, message].map(str::to_owned);
    Rejected::SmallestRefuses { what, device, code, message }.into()
}

const AT_1: &str = "a device that holds root 1";
const TOO_MANY_KEYS: &str = "root: passes the device's bound on the number of keys";

#[test]
fn root_with_more_keys_than_the_smallest_device_holds_is_refused() {
    let holders = Holders::new();
    let mut draft = holders.draft();
    draft.set_device_limit("keys=4").unwrap();
    holders.finish(&draft.signed().unwrap(), &[]).unwrap();
    draft.set_device_limit("keys=3").unwrap();
    assert_eq!(draft.signed().unwrap_err(), Misuse::TooManyKeys { keys: 4, limit: 3 }.into());

    let other = limited(&holders.first(), "keys", 3);
    let refusal = holders.finish(&other, &[]).unwrap_err();
    assert_eq!(refusal, refused("root version 1", AT_1, 103, TOO_MANY_KEYS));
    assert_eq!(
        refusal.to_string(),
        "a device that holds root 1, the smallest that roots name, would not get to root version 1 (C103: root: passes \
        the device's bound on the number of keys); nothing was written; draft it again within the limits of \
        `devices`, and have the holders sign that"
    );
}

#[test]
fn root_with_more_signatures_than_the_smallest_device_reads_is_refused() {
    let holders = Holders::new();
    let mut draft = holders.draft();
    draft.set_device_limit("signatures=2").unwrap();
    // Three have signed, and the threshold is two.
    let file = holders.finish(&draft.signed().unwrap(), &[]).unwrap();
    assert_eq!(Envelope::parse(&file).unwrap().signatures.len(), 2);
    draft.set_device_limit("signatures=1").unwrap();
    let too_many = Misuse::TooManySignatures { what: "root".to_owned(), needed: 2, limit: 1 };
    assert_eq!(draft.signed().unwrap_err(), too_many.into());
    let other = limited(&holders.first(), "signatures", 1);
    let why = "root: passes the device's bound on the number of signatures";
    assert_eq!(holders.finish(&other, &[]).unwrap_err(), refused("root version 1", AT_1, 103, why));
}

#[test]
fn root_too_large_for_the_smallest_device_alone_is_refused() {
    let holders = Holders::new();
    let mut signed = holders.first();
    signed["note"] = json!("x".repeat(4096));
    assert!(holders.finish(&signed, &[]).unwrap().len() < DEVICE.root_file as usize);
    holders.finish(&limited(&signed, "root_file", 8192), &[]).unwrap();
    let refusal = holders.finish(&limited(&signed, "root_file", 4096), &[]).unwrap_err();
    assert_eq!(refusal, refused("root version 1", AT_1, 105, "root: longer than 4096 bytes"));
}

/// A device that was off since root 1 walks roots which one that left the factory later never sees.
#[test]
fn root_that_a_device_at_root_1_alone_does_not_reach_is_refused() {
    let holders = Holders::new();
    let mut chain = vec![holders.finish(&holders.first(), &[]).unwrap()];
    chain.push(holders.finish(&holders.next(&chain, &[4, 5]), &chain).unwrap());
    let mut third = Draft::next(&Chain::verify(&chain).unwrap(), NOW, LATER).unwrap();
    for key in [4, 5] {
        third.remove_key(&Role::Targets, holders.0[key].public().keyid()).unwrap();
    }
    chain.push(holders.finish(&third.signed().unwrap(), &chain).unwrap());

    // Roots of four keys, of six, of four and of four.
    let fourth = holders.next(&chain, &[]);
    holders.finish(&limited(&fourth, "keys", 6), &chain).unwrap();
    let small = limited(&fourth, "keys", 5);
    let request = Request::draft(Role::Root, &small, &chain).unwrap();
    assert_eq!(request.check_chain().unwrap_err(), refused("root version 4", AT_1, 103, TOO_MANY_KEYS));
    Request::draft(Role::Root, &fourth, &chain).unwrap().check_chain().unwrap();
    let refusal = holders.finish(&small, &chain).unwrap_err();
    assert_eq!(refusal, refused("root version 4", AT_1, 103, TOO_MANY_KEYS));
    let file = holders.file(&small);
    let roots: Vec<&[u8]> = chain.iter().chain([&file]).map(Vec::as_slice).collect();
    let limits = Limits { keys: 5, ..DEVICE };
    follow(&roots, 1, &limits, NOW).unwrap_err();
    follow(&roots, 3, &limits, NOW).unwrap();
}

#[test]
fn root_that_has_expired_by_what_an_earlier_root_says_of_the_time_is_refused() {
    let holders = Holders::new();
    // Issued a day after the expiry of the next, by a clock that was wrong.
    let mut first = holders.first();
    first["issued"] = crate::date::format(LATER + 86_400).into();
    first["expires"] = crate::date::format(LATER + 2 * 86_400).into();
    let chain = [holders.file(&first)];
    let refusal = holders.finish(&holders.next(&chain, &[]), &chain).unwrap_err();
    let what = "root version 2".to_owned();
    let (expires, start) = (LATER, LATER + 86_400);
    assert_eq!(refusal, Rejected::Expired { what, expires, start }.into());
    // A device that holds root 2 never heard of that date.
    let [second, third] = [2, 3].map(|version| {
        let mut root = holders.first();
        root["version"] = json!(version);
        holders.file(&root)
    });
    let roots = [chain[0].as_slice(), &second, &third];
    let freeze = follow(&roots, 1, &DEVICE, NOW).unwrap_err();
    assert_eq!(freeze.code(), 110);
    follow(&roots, 2, &DEVICE, NOW).unwrap();
}

#[test]
fn root_behind_more_roots_than_one_cycle_walks_is_reached_in_several() {
    let holders = Holders::new();
    let mut chain = vec![holders.finish(&holders.first(), &[]).unwrap()];
    for _ in 2..=5 {
        chain.push(holders.finish(&holders.next(&chain, &[]), &chain).unwrap());
    }
    holders.finish(&limited(&holders.next(&chain, &[]), "roots", 1), &chain).unwrap();
    // What is not a root behind them all is no reason to go on for ever.
    let roots: Vec<&[u8]> = chain.iter().map(Vec::as_slice).chain([&b"{}"[..]]).collect();
    let limits = Limits { roots: 1, ..DEVICE };
    assert_eq!(follow(&roots, 1, &limits, NOW).unwrap_err().code(), 104);
}

/// A device takes such a root, so that the next one can mend it, and verifies nothing of that role until then.
#[test]
fn root_that_p256_alone_cannot_meet_is_refused_before_it_is_signed() {
    let holders = Holders::new();
    let mut signed = holders.next(&[holders.finish(&holders.first(), &[]).unwrap()], &[4]);
    signed["version"] = json!(1);
    signed["roles"]["targets"]["threshold"] = json!(2);
    holders.finish(&signed, &[]).unwrap();

    let strange =
        json!({ "keytype": "ed25519", "keyval": { "public": "ab".repeat(32) }, "scheme": "ed25519" });
    let keyid = sha256_hex(&canonical::signed_bytes(&strange).unwrap());
    let gone = holders.0[4].public().keyid();
    signed["keys"].as_object_mut().unwrap().remove(gone);
    signed["keys"][&keyid] = strange;
    signed["roles"]["targets"]["keyids"] = json!([holders.0[3].public().keyid(), keyid]);
    follow(&[&holders.file(&signed)], 1, &DEVICE, NOW).unwrap();
    let refusal = Rejected::OtherKeyType { name: "ed25519".to_owned() };
    let place = format!("keys.{keyid}");
    assert_eq!(holders.finish(&signed, &[]).unwrap_err(), crate::Error::from(refusal).at(place));

    // The same without that key: what is left cannot meet the threshold.
    signed["keys"].as_object_mut().unwrap().remove(&keyid);
    signed["roles"]["targets"]["keyids"] = json!([holders.0[3].public().keyid()]);
    follow(&[&holders.file(&signed)], 1, &DEVICE, NOW).unwrap();
    let why = "targets has threshold 2, and can reach 1".to_owned();
    let refusal = crate::Error::from(Rejected::InvalidRoot { why }).at("roles.targets");
    assert_eq!(holders.finish(&signed, &[]).unwrap_err(), refusal);
}

#[test]
fn request_that_has_expired_is_not_finished() {
    let holders = Holders::new();
    let chain = [holders.finish(&holders.first(), &[]).unwrap()];
    let targets = json!({
        "_type": "targets", "version": 1, "spec_version": "1.0.34", "targets": {},
        "issued": "2026-11-22T13:14:15Z", "expires": "2027-11-22T13:14:15Z",
    });
    for (role, signed, what) in [
        (Role::Root, holders.next(&chain, &[]), "root version 2"),
        (Role::Targets, targets, "targets version 1"),
    ] {
        holders.finish_at(role.clone(), &signed, &chain, LATER - 1).unwrap();
        let refusal = holders.finish_at(role.clone(), &signed, &chain, LATER).unwrap_err();
        let expected = Rejected::Expired { what: what.to_owned(), expires: LATER, start: LATER };
        assert_eq!(refusal, expected.into());
        // Who has not signed is said first: that is to be known in any case.
        let unsigned = Request::draft(role, &signed, &chain).unwrap().finish(LATER).unwrap_err();
        assert!(
            matches!(&unsigned, crate::Error::Rejected { why: Rejected::ThresholdNotMet { .. }, .. }),
            "{unsigned}"
        );
    }
    // One that expired is what a new root is drafted for.
    let late = Draft::next(&Chain::verify(&chain).unwrap(), LATER + 1, None).unwrap().signed().unwrap();
    Request::draft(Role::Root, &late, &chain).unwrap().check_chain().unwrap();
    Request::draft(Role::Root, &holders.first(), &[]).unwrap().check_chain().unwrap();
    let first = holders.finish_at(Role::Root, &holders.first(), &[], LATER).unwrap_err();
    let what = "root version 1".to_owned();
    assert_eq!(first, Rejected::Expired { what, expires: LATER, start: LATER }.into());
}

#[test]
fn root_that_says_nothing_of_devices_is_judged_as_the_one_before() {
    let holders = Holders::new();
    let without = |mut signed: Value| {
        signed.as_object_mut().unwrap().remove("devices").unwrap();
        signed
    };
    let silent = [holders.finish(&without(holders.first()), &[]).unwrap()];
    holders.finish(&without(holders.next(&silent, &[4])), &silent).unwrap();

    let small = [holders.finish(&limited(&holders.first(), "keys", 4), &[]).unwrap()];
    holders.finish(&without(holders.next(&small, &[])), &small).unwrap();
    let mut larger = limited(&holders.next(&silent, &[4]), "keys", 12);
    // A root may raise the limits, and whoever signs it is warned.
    holders.finish(&larger, &small).unwrap();
    larger = without(larger);
    let refusal = holders.finish(&larger, &small).unwrap_err();
    assert_eq!(refusal, refused("root version 2", AT_1, 103, TOO_MANY_KEYS));
}

#[test]
fn targets_that_the_smallest_device_would_refuse_are_not_finished() {
    let holders = Holders::new();
    let chain =
        |limit: u32| [holders.finish(&limited(&holders.first(), "targets_file", limit), &[]).unwrap()];
    let targets = json!({
        "_type": "targets", "version": 1, "spec_version": "1.0.34", "targets": {},
        "issued": "2026-11-22T13:14:15Z", "expires": "2027-11-22T13:14:15Z", "note": "x".repeat(1000),
    });
    holders.finish_at(Role::Targets, &targets, &chain(2000), NOW).unwrap();
    let refusal = holders.finish_at(Role::Targets, &targets, &chain(1000), NOW).unwrap_err();
    assert_eq!(refusal, refused("targets version 1", "a device", 105, "targets: longer than 1000 bytes"));
    // Its own members are for its readers, and no policy.
    let mut sly = targets;
    sly["devices"] = holders.first()["devices"].clone();
    let refusal = holders.finish_at(Role::Targets, &sly, &chain(1000), NOW).unwrap_err();
    assert_eq!(refusal.code(), 136);
}
