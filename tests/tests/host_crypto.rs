//! What hosts verify beside P-256: Ed25519 and RSA-PSS signatures, and SHA-512 of files.
//!
//! The RSA keys in `tests/data/` are for tests only. `rsa-a.pem` and `rsa-b.pem` were made by
//! `openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 -out FILE`; `rsa-a-other-exponent.pem` has the primes
//! of the first under the least greater exponent that they admit; each `.pub.pem` by `openssl pkey -pubout`.

use p256::pkcs8::SecretDocument;
use ring::rand::SystemRandom;
use ring::rsa::KeyPair as RsaKeyPair;
use ring::signature::{self, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RSA_PSS_SHA512};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha512};
use tuffet_client::limits::{self, DEVICE};
use tuffet_client::release::Hex;
use tuffet_client::{
    Bound, Crypto, Error, Field, Floors, Goal, HOST, Limits, Plan, Refresh, Rejected, Role, SOFTWARE, Trusted,
};
use tuffet_tests::expect::*;
use tuffet_tests::simulator::*;

/// A key of a type that only hosts know.
enum HostKey {
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair, &'static str),
}

impl HostKey {
    /// Its secret is the digest of this name.
    fn ed25519(name: &str) -> Self {
        HostKey::Ed25519(Ed25519KeyPair::from_seed_unchecked(&digest(name.as_bytes())).unwrap())
    }

    fn rsa(secret: &str, public: &'static str) -> Self {
        let (label, secret) = SecretDocument::from_pem(secret).unwrap();
        assert_eq!(label, "PRIVATE KEY");
        HostKey::Rsa(RsaKeyPair::from_pkcs8(secret.as_bytes()).unwrap(), public)
    }

    fn rsa_a() -> Self {
        Self::rsa(include_str!("../data/rsa-a.pem"), include_str!("../data/rsa-a.pub.pem"))
    }

    fn rsa_b() -> Self {
        Self::rsa(include_str!("../data/rsa-b.pem"), include_str!("../data/rsa-b.pub.pem"))
    }

    fn rsa_a_other_exponent() -> Self {
        let public = include_str!("../data/rsa-a-other-exponent.pub.pem");
        Self::rsa(include_str!("../data/rsa-a-other-exponent.pem"), public)
    }

    fn key(&self) -> Value {
        let (keytype, scheme, public) = match self {
            HostKey::Ed25519(pair) => ("ed25519", "ed25519", Hex(pair.public_key().as_ref()).to_string()),
            HostKey::Rsa(_, public) => ("rsa", "rsassa-pss-sha256", (*public).to_owned()),
        };
        json!({ "keytype": keytype, "keyval": { "public": public }, "scheme": scheme })
    }

    fn keyid(&self) -> String {
        sha256(canonical(&self.key()).as_bytes())
    }

    fn sign(&self, signed: &Value) -> Value {
        self.sign_with(&RSA_PSS_SHA256, canonical(signed).as_bytes())
    }

    /// The same, for RSA keys by any scheme.
    fn sign_with(&self, scheme: &'static dyn signature::RsaEncoding, message: &[u8]) -> Value {
        let signature = match self {
            HostKey::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            HostKey::Rsa(pair, _) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(scheme, &SystemRandom::new(), message, &mut signature).unwrap();
                signature
            }
        };
        json!({ "keyid": self.keyid(), "sig": Hex(&signature).to_string() })
    }
}

/// One of each type.
fn keys() -> [HostKey; 2] {
    [HostKey::ed25519("host"), HostKey::rsa_a()]
}

/// Gives a role of the first root these keys beside its own, and this threshold.
fn admit(repository: &mut Repository, role: &str, keys: &[HostKey], threshold: usize) {
    let root = &mut repository.roots[0].0;
    for key in keys {
        root["keys"][key.keyid()] = key.key();
        root["roles"][role]["keyids"].as_array_mut().unwrap().push(json!(key.keyid()));
    }
    root["roles"][role]["threshold"] = json!(threshold);
}

/// Puts signatures of these keys in the place of all others.
fn signed_by_host(repository: Repository, role: &str, keys: Vec<HostKey>) -> Repository {
    repository.envelope_of(role, move |envelope| {
        let signatures: Vec<Value> = keys.iter().map(|key| key.sign(&envelope["signed"])).collect();
        envelope["signatures"] = json!(signatures);
    })
}

/// What a cycle of a host comes to that trusts the first root: its end, its requests, and its floors.
fn outcome(
    files: &Files,
    crypto: &Crypto,
    limits: &Limits,
    goal: Goal<'_>,
    chunk: usize,
) -> (Result<End, Error>, Vec<String>, Floors) {
    let mut memory = vec![0; limits.memory()];
    let mut trusted: Trusted<[u8; limits::HOST.key_bytes()]> =
        Trusted::from_root_file(crypto, limits, &mut memory, &files["1.root.json"]).unwrap();
    let plan = Plan { crypto, limits, goal, ..plan() };
    let mut refresh = Refresh::new(plan, &mut trusted, &mut memory).unwrap();
    let mut requests = Vec::new();
    let end = drive(&mut refresh, files, chunk, &mut requests, |_, _| true);
    (end, requests, trusted.floors().clone())
}

fn on_a_host(files: &Files) -> (Result<End, Error>, Vec<String>, Floors) {
    outcome(files, &HOST, &limits::HOST, Goal::Release(DEVICE_1), 512)
}

#[track_caller]
fn host_accepts(repository: &Repository, requests: &[&str]) {
    let (end, asked, _) = on_a_host(&repository.files());
    assert_eq!((end, asked), (Ok(End::Install(2)), as_strings(requests)));
}

/// A host refuses the last of these files with this error, in chunks of any size, and trusts what it would without it.
#[track_caller]
fn host_refuses(repository: &Repository, requests: &[&str], expected: Rejected) {
    let files = repository.files();
    let (last, accepted) = requests.split_last().unwrap();
    let mut fewer = files.clone();
    fewer.retain(|name, _| name == "1.root.json" || accepted.contains(&name.as_str()) && name != last);
    let (_, _, floors) = on_a_host(&fewer);
    for chunk in [1, 100, usize::MAX] {
        let refused = outcome(&files, &HOST, &limits::HOST, Goal::Release(DEVICE_1), chunk);
        assert_eq!(refused, (Err(expected.into()), as_strings(requests), floors.clone()));
    }
}

fn unmet(role: Role, valid: u8, threshold: u8) -> Rejected {
    Rejected::ThresholdNotMet { role, valid, threshold }
}

// ---- signatures

#[test]
fn role_signed_by_a_key_of_any_type_is_accepted_on_a_host() {
    for role in ["timestamp", "snapshot", "targets"] {
        for key in keys() {
            let mut repository = Repository::default();
            admit(&mut repository, role, core::slice::from_ref(&key), 1);
            host_accepts(&signed_by_host(repository, role, vec![key]), &FULL);
        }
    }
    for key in keys() {
        let mut repository = lamp();
        let keyid = key.keyid();
        repository.delegations.get_mut("targets").unwrap()["keys"][&keyid] = key.key();
        let delegation = repository.delegation("targets", 0);
        (delegation["keyids"], delegation["threshold"]) = (json!([keyid]), json!(1));
        host_accepts(&signed_by_host(repository, "lamp", vec![key]), &FULL_LAMP);
    }
}

#[test]
fn keys_of_all_types_meet_a_threshold_together() {
    let with = |signers: Vec<HostKey>, own: usize| {
        let mut repository = Repository::default();
        admit(&mut repository, "targets", &keys(), 3);
        repository.signers.get_mut("targets").unwrap().truncate(own);
        repository.envelope(Role::Targets, move |envelope| {
            let more: Vec<Value> = signers.iter().map(|key| key.sign(&envelope["signed"])).collect();
            envelope["signatures"].as_array_mut().unwrap().extend(more);
        })
    };
    host_accepts(&with(keys().into(), 1), &FULL);
    host_accepts(&with(vec![HostKey::rsa_a()], 2), &FULL);
    host_refuses(&with(keys().into(), 0), &FULL, unmet(Role::Targets, 2, 3));
    host_refuses(&with(vec![HostKey::ed25519("host")], 1), &FULL, unmet(Role::Targets, 2, 3));
    // Of keys of the same types that nobody admitted.
    let strangers = vec![HostKey::ed25519("stranger"), HostKey::rsa_b()];
    host_refuses(&with(strangers, 2), &FULL, unmet(Role::Targets, 2, 3));
}

#[test]
fn root_chain_of_keys_of_all_types_is_walked() {
    let mut repository = Repository::default();
    admit(&mut repository, "root", &keys(), 2);
    let mut second = root(2, &["root-d", "root-e"], &TARGETS_KEYS, ["timestamp", "snapshot"]);
    for key in [HostKey::rsa_b(), HostKey::ed25519("next")] {
        second["keys"][key.keyid()] = key.key();
        second["roles"]["root"]["keyids"].as_array_mut().unwrap().push(json!(key.keyid()));
    }
    let first = repository.files()["1.root.json"].clone();
    let with = |signers| {
        let mut repository = Repository::default();
        repository.rotate(second.clone(), &[]);
        signed_by_host(repository, "root", signers).file("1.root.json", Some(first.clone()))
    };
    let both =
        || vec![HostKey::ed25519("host"), HostKey::rsa_a(), HostKey::rsa_b(), HostKey::ed25519("next")];
    let requests = ["2.root.json", "3.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    host_accepts(&with(both()), &requests);
    for missing in 0..4 {
        let mut some = both();
        some.remove(missing);
        host_refuses(&with(some), &requests[..1], unmet(Role::Root, 1, 2));
    }
}

#[test]
fn bad_signature_of_any_key_type_counts_for_nothing() {
    type Forge = fn(&HostKey, &Value) -> Value;
    let flipped: Forge = |key, signed| {
        let mut signature = key.sign(signed);
        let text = signature["sig"].as_str().unwrap();
        let last = if text.ends_with('0') { "1" } else { "0" };
        signature["sig"] = json!(format!("{}{last}", &text[..text.len() - 1]));
        signature
    };
    let forgeries: [Forge; 8] = [
        flipped,
        |key, signed| json!({ "keyid": key.keyid(), "sig": &key.sign(signed)["sig"].as_str().unwrap()[2..] }),
        |key, signed| json!({ "keyid": key.keyid(), "sig": format!("{}00", key.sign(signed)["sig"].as_str().unwrap()) }),
        |key, _| json!({ "keyid": key.keyid(), "sig": "" }),
        |key, _| json!({ "keyid": key.keyid(), "sig": "no hexadecimal" }),
        // Of a digest, where the message is signed; of another message; of another key.
        |key, signed| key.sign_with(&RSA_PSS_SHA256, &digest(canonical(signed).as_bytes())),
        |key, signed| key.sign(&json!({ "another": signed })),
        |key, signed| {
            let other = if let HostKey::Rsa(..) = key { HostKey::rsa_b() } else { HostKey::ed25519("other") };
            json!({ "keyid": key.keyid(), "sig": other.sign(signed)["sig"] })
        },
    ];
    let refused_with = |key: HostKey, forge: Forge| {
        let mut repository = Repository::default();
        admit(&mut repository, "snapshot", core::slice::from_ref(&key), 1);
        let repository = repository.envelope(Role::Snapshot, move |envelope| {
            envelope["signatures"] = json!([forge(&key, &envelope["signed"])]);
        });
        host_refuses(&repository, &FULL[..3], unmet(Role::Snapshot, 0, 1));
    };
    for forge in forgeries {
        keys().into_iter().for_each(|key| refused_with(key, forge));
    }
    // Other schemes of RSA are not the one that the key is for.
    let schemes: [Forge; 2] = [
        |key, signed| key.sign_with(&RSA_PKCS1_SHA256, canonical(signed).as_bytes()),
        |key, signed| key.sign_with(&RSA_PSS_SHA512, canonical(signed).as_bytes()),
    ];
    schemes.into_iter().for_each(|forge| refused_with(HostKey::rsa_a(), forge));
    // The same message under a key of another type.
    refused_with(
        HostKey::ed25519("host"),
        |key, signed| json!({ "keyid": key.keyid(), "sig": HostKey::rsa_a().sign(signed)["sig"] }),
    );
}

#[test]
fn one_rsa_modulus_under_two_exponents_counts_once() {
    let with = |second: HostKey, signers: Vec<HostKey>| {
        let mut repository = Repository::default();
        admit(&mut repository, "timestamp", &[HostKey::rsa_a(), second], 2);
        signed_by_host(repository, "timestamp", signers)
    };
    host_accepts(&with(HostKey::rsa_b(), vec![HostKey::rsa_a(), HostKey::rsa_b()]), &FULL);
    let one = vec![HostKey::rsa_a(), HostKey::rsa_a_other_exponent()];
    assert_ne!(one[0].keyid(), one[1].keyid());
    let repository = with(HostKey::rsa_a_other_exponent(), one);
    host_refuses(&repository, &FULL[..2], unmet(Role::Timestamp, 1, 2));
    // Either alone is as good as the other.
    let mut repository = Repository::default();
    admit(&mut repository, "timestamp", &[HostKey::rsa_a_other_exponent()], 1);
    host_accepts(&signed_by_host(repository, "timestamp", vec![HostKey::rsa_a_other_exponent()]), &FULL);
}

#[test]
fn key_of_another_form_is_refused_and_one_for_another_scheme_counts_for_nothing() {
    type Edit = fn(&mut Value);
    let with = |key: HostKey, edit: Edit| {
        let mut repository = Repository::default();
        admit(&mut repository, "timestamp", core::slice::from_ref(&key), 1);
        edit(&mut repository.roots[0].0["keys"][key.keyid()]);
        signed_by_host(repository, "timestamp", vec![key])
    };
    let wrong = Error::from(Rejected::Field { role: Role::Root, field: Field::Keys });
    let forms: [Edit; 5] = [
        |key| key["keyval"]["public"] = json!("no key"),
        |key| key["keyval"]["public"] = json!(key["keyval"]["public"].as_str().unwrap()[2..]),
        |key| key["keyval"]["public"] = json!(key["keyval"]["public"].as_str().unwrap().to_uppercase()),
        |key| key["keyval"] = json!({}),
        |key| key["keyval"]["public"] = json!(7),
    ];
    for key in [|| HostKey::ed25519("host"), HostKey::rsa_a] {
        for edit in forms {
            let file = with(key(), edit).files()["1.root.json"].clone();
            let memory = &mut vec![0; limits::HOST.memory()];
            let refused: Result<Trusted<[u8; limits::HOST.key_bytes()]>, _> =
                Trusted::from_root_file(&HOST, &limits::HOST, memory, &file);
            assert_eq!(refused.unwrap_err(), wrong);
        }
        for scheme in ["rsassa-pss-sha512", "rsa-pkcs1v15-sha256", "ed25519ph", "ecdsa-sha2-nistp256", ""] {
            let mut repository = Repository::default();
            admit(&mut repository, "timestamp", &[key()], 1);
            repository.roots[0].0["keys"][key().keyid()]["scheme"] = json!(scheme);
            let repository = signed_by_host(repository, "timestamp", vec![key()]);
            host_refuses(&repository, &FULL[..2], unmet(Role::Timestamp, 0, 1));
        }
    }
}

#[test]
fn message_longer_than_the_profile_keeps_is_refused_where_a_key_wants_it() {
    let mut repository = Repository::default();
    admit(&mut repository, "targets", &keys(), 2);
    let own = repository.files();
    let signed: Value = serde_json::from_slice(&own["1.targets.json"]).unwrap();
    let length = canonical(&signed["signed"]).len();
    let files = signed_by_host(repository, "targets", keys().into()).files();
    let of = |files, message| {
        let limits = Limits { message, ..limits::HOST };
        outcome(files, &HOST, &limits, Goal::Release(DEVICE_1), 512).0
    };
    assert_eq!(of(&files, length), Ok(End::Install(2)));
    let limit = Rejected::Limit { role: Role::Targets, bound: Bound::Message };
    assert_eq!(of(&files, length - 1), Err(limit.into()));
    // A key that signs digests asks for no message, nor does a role that has no other.
    for message in [length - 1, 0] {
        assert_eq!(of(&own, message), Ok(End::Install(2)));
    }
}

#[test]
fn device_ignores_keys_that_it_cannot_verify_with() {
    let mut repository = Repository::default();
    admit(&mut repository, "timestamp", &keys(), 1);
    // The RSA key's text is longer than any that the device has room for.
    assert!(include_str!("../data/rsa-a.pub.pem").len() > DEVICE.text);
    accepted(&mut Subject::new(&repository), &repository, &FULL, Some(2));
    let mut subject = Subject::new(&repository);
    let repository = signed_by_host(repository, "timestamp", keys().into());
    host_accepts(&repository, &FULL);
    refused_by(&mut subject, &repository, &FULL[..2], unmet(Role::Timestamp, 0, 1));
    // A host without their crypto is no better off.
    let goal = Goal::Release(DEVICE_1);
    let (end, ..) = outcome(&repository.files(), &SOFTWARE, &limits::HOST, goal, 512);
    assert_eq!(end, Err(unmet(Role::Timestamp, 0, 1).into()));
}

// ---- hashes

fn sha512(bytes: &[u8]) -> String {
    Hex(&Sha512::digest(bytes)).to_string()
}

/// Replaces the hashes of the file that a timestamp or snapshot names.
fn hashed(repository: Repository, above: Role, entry: &'static str, hashes: Value) -> Repository {
    repository.signed(above, move |signed| signed["meta"][entry]["hashes"] = hashes.clone())
}

#[test]
fn file_is_compared_by_all_hashes_that_are_stated() {
    for (above, entry, role, requests) in [
        (Role::Timestamp, "snapshot.json", Role::Snapshot, &FULL_LAMP[..3]),
        (Role::Snapshot, "targets.json", Role::Targets, &FULL_LAMP[..4]),
        (Role::Snapshot, "lamp.json", Role::Delegated, &FULL_LAMP[..6]),
    ] {
        let files = lamp().files();
        let file = &files[&format!("1.{entry}")];
        let (short, long, wrong) = (sha256(file), sha512(file), "0".repeat(128));
        let with = |hashes| hashed(lamp(), above, entry, hashes);
        for hashes in [
            json!({ "sha512": long }),
            json!({ "sha256": short, "sha512": long }),
            json!({ "sha256": short, "sha3": "00" }),
        ] {
            host_accepts(&with(hashes), &FULL_LAMP);
        }
        let mix = Rejected::MixAndMatch { role };
        // Only the first half is kept, so that half alone may differ in what is compared.
        let half = format!("{}{}", &wrong[..64], &long[64..]);
        for hashes in [
            json!({ "sha512": wrong }),
            json!({ "sha512": half }),
            json!({ "sha256": short, "sha512": wrong }),
            json!({ "sha256": &wrong[..64], "sha512": long }),
        ] {
            host_refuses(&with(hashes), requests, mix);
        }
        for hashes in [json!({ "sha512": short }), json!({ "sha512": 1 }), json!({ "sha3": "00" })] {
            let requests = if above == Role::Timestamp { &FULL[..2] } else { &FULL[..3] };
            if entry == "lamp.json" {
                // Read when the search comes to it.
                let files = with(hashes).files();
                assert_eq!(on_a_host(&files).0, Err(field(above, Field::Meta).into()));
            } else {
                host_refuses(&with(hashes), requests, field(above, Field::Meta));
            }
        }
    }
}

#[test]
fn target_is_told_with_all_of_its_hashes() {
    let path = "lamp/rev-a/versions/1.1.0/lamp.bin";
    let bytes = image("1.1.0");
    for (sha256, sha512) in [(true, true), (false, true), (true, false)] {
        let mut hashes = json!({});
        if sha256 {
            hashes["sha256"] = json!(tuffet_tests::simulator::sha256(&bytes));
        }
        if sha512 {
            hashes["sha512"] = json!(self::sha512(&bytes));
        }
        let mut repository = Repository::default();
        repository.targets[path]["hashes"] = hashes;
        let (end, ..) = outcome(&repository.files(), &HOST, &limits::HOST, Goal::Target(path), 7);
        let Ok(End::Found(target)) = end else { panic!("{end:?}") };
        assert_eq!(target.sha256, sha256.then(|| digest(&bytes)));
        assert_eq!(target.sha512, sha512.then(|| Sha512::digest(&bytes).into()));
    }
}
