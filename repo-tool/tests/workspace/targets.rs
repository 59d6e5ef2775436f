//! What a request says about files: anybody can write one, and two holders may sign it.

use std::fs;

use serde_json::{Value, json};
use tuffet::author::{Dates, Signers};
use tuffet::document::{self, Listing};
use tuffet_keys::Role;
use tuffet_keys::request::Request;
use tuffet_keys::root::Chain;

use crate::support::{Bench, DAY, NOW, PUBLISH, sha256};

const EXTRA: &str = "thermo/rev-a/versions/1.0.0/extra.bin";
const ENTRY: &str = "thermo/rev-a/stable/release";

/// A release of `image` that is staged, changed by `change`, and signed by two.
fn signed_bench(change: impl FnOnce(&mut Value)) -> Bench {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    redraft(&bench, change);
    bench
}

fn redraft(bench: &Bench, change: impl FnOnce(&mut Value)) {
    let path = bench.workspace().request_path(&Role::Targets);
    let mut signed = Request::read(&path).unwrap().signed().value().clone();
    change(&mut signed["targets"]);
    let request = Request::draft(Role::Targets, &signed, &bench.holders.chain).unwrap();
    request.write(&path).unwrap();
    bench.sign(2);
}

fn target(sha256: &str, length: u64) -> Value {
    json!({ "hashes": { "sha256": sha256 }, "length": length })
}

/// Makes public what is staged and signed, without a look at it, as another tool might.
fn force(bench: &Bench) {
    let public = bench.repo().join("public");
    let targets =
        Request::read(&bench.workspace().request_path(&Role::Targets)).unwrap().finish(NOW).unwrap();
    let chain = Chain::verify(&bench.holders.chain).unwrap();
    let keys = bench.holders.online_keys();
    let sign = |role: Role, signed: String| {
        let allowed = &chain.last().unwrap().roles[&role];
        Signers::new(&role, &keys.snapshot, 1, allowed).unwrap().sign(&signed).unwrap()
    };
    let dates = Dates { issued: NOW, expires: NOW + DAY };
    let snapshot =
        sign(Role::Snapshot, Listing::default().edited(1, dates, &[(&Role::Targets, 1, &targets)]));
    let timestamp = sign(Role::Timestamp, document::timestamp(1, dates, 1, &snapshot, &[]));
    for (name, bytes) in
        [("1.targets.json", targets), ("1.snapshot.json", snapshot), ("timestamp.json", timestamp)]
    {
        fs::write(public.join(name), bytes).unwrap();
    }
}

#[test]
fn publish_of_a_request_with_paths_that_lead_outside_is_refused() {
    for path in ["../outside", "thermo/../../outside", "/outside", "thermo//file", "thermo\\file"] {
        let bench = signed_bench(|targets| targets[path] = target(&sha256(b"image"), 5));
        bench.fails(&PUBLISH, 1, "T118");
    }
}

#[test]
fn digest_that_would_lead_outside_is_refused_by_publish_and_verify() {
    let genuine = sha256(b"image");
    let upper = genuine.to_uppercase();
    let (short, long) = (&genuine[..63], format!("{genuine}0"));
    let up = format!("../../{}", &genuine[6..]);
    for digest in ["../../../secret", "", "/etc/hostname", up.as_str(), upper.as_str(), short, long.as_str()]
    {
        let bench = signed_bench(|targets| targets[EXTRA] = target(digest, 5));
        let message = bench.fails(&PUBLISH, 1, "T118");
        assert!(message.contains(&format!("{digest}.extra.bin` cannot be a target path")), "{message}");
        force(&bench);
        bench.fails(&["verify"], 1, "T118");
    }
    let bench = signed_bench(|targets| targets[EXTRA] = target(&genuine, 5));
    bench.publish();
    bench.ok(&["verify"]);
}

#[test]
fn target_without_digest_or_length_is_refused_by_publish_and_verify() {
    let genuine = sha256(b"image");
    let cases = [
        (json!({ "length": 5 }), "hashes.sha256"),
        (json!({ "hashes": {}, "length": 5 }), "hashes.sha256"),
        (json!({ "hashes": { "sha256": genuine } }), "length"),
        (target(&genuine, 1 << 32), "length"),
    ];
    for (value, member) in cases {
        let bench = signed_bench(|targets| targets[EXTRA] = value);
        let message = bench.fails(&PUBLISH, 1, "K104");
        assert!(message.contains(&format!("`targets.{EXTRA}.{member}` is missing")), "{message}");
        force(&bench);
        bench.fails(&["verify"], 1, "K104");
    }
}

#[test]
fn length_that_is_not_the_file_s_is_refused_by_publish() {
    for length in [0, 4, 6] {
        let bench = signed_bench(|targets| targets[EXTRA] = target(&sha256(b"image"), length));
        bench.fails(&PUBLISH, 1, "T120");
        let bench = signed_bench(|targets| targets[ENTRY]["length"] = json!(length));
        bench.fails(&PUBLISH, 1, "T111");
    }
}

#[test]
fn release_entry_that_is_not_its_file_is_refused_by_publish_and_verify() {
    let change = |targets: &mut Value| targets[ENTRY]["custom"]["candidates"][0]["version"] = json!("9.9.9");
    let bench = signed_bench(change);
    bench.fails(&PUBLISH, 1, "T111");
    force(&bench);
    let message = bench.fails(&["verify"], 1, "T120");
    assert!(message.contains(".release"), "{message}");

    // Under the digest and length of an entry that is public already, too.
    let bench = signed_bench(|_| ());
    bench.publish();
    bench.ok(&["renew", "targets"]);
    redraft(&bench, change);
    bench.fails(&PUBLISH, 1, "T111");
}
