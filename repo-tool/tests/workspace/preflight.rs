//! What some device out there would refuse is not published: one test for each class, through the binary.

use std::fs;

use serde_json::{Value, json};
use tuffet_keys::Role;
use tuffet_keys::request::Request;

use crate::support::{Bench, PUBLISH};

fn add(version: &str) -> [&str; 9] {
    ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", version]
}

/// A published release of a product with a role of its own.
fn delegated() -> Bench {
    let bench = Bench::delegated(&[]);
    bench.sign(2);
    bench.image("fw.bin", b"image");
    bench.ok(&add("1.0.0"));
    bench.sign_product();
    bench.publish();
    bench
}

/// Drafts the staged metadata of a role anew, changed by `change`, and has them signed.
fn redraft(bench: &Bench, role: &Role, change: impl FnOnce(&mut Value)) {
    let path = bench.workspace().request_path(role);
    let request = Request::read(&path).unwrap();
    let mut signed = request.signed().value().clone();
    change(&mut signed);
    let way: Vec<_> = request
        .way()
        .iter()
        .flat_map(|way| way.steps())
        .map(|step| (step.role.clone(), step.file.clone()))
        .collect();
    let payload = tuffet_keys::canonical::signed_bytes(&signed).unwrap();
    let chain = &bench.holders.chain;
    Request::from_payload(role.clone(), payload, chain, &way).unwrap().write(&path).unwrap();
    match role {
        Role::Targets => bench.sign(2),
        role => bench.sign_role(role, &bench.holders.product[..2]),
    }
}

fn limit(bench: &Bench, line: &str) {
    let path = bench.repo().join("tuffet.toml");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("{text}\n[devices]\n{line}\n")).unwrap();
}

#[test]
fn release_beyond_a_limit_of_the_smallest_device_is_refused_in_its_words() {
    // Two delegated roles on the way, and a device that visits one.
    let bench = Bench::delegated(&["--bins", "4"]);
    bench.sign(2);
    bench.ok(&["renew"]);
    bench.sign_product();
    bench.image("fw.bin", b"image");
    bench.ok(&add("1.0.0"));
    bench.sign_product();
    limit(&bench, "roles = 1");
    let message = bench.fails(&PUBLISH, 1, "C103");
    assert!(message.contains("the smallest device, due for 1.0.0 of thermo/rev-a/stable,"), "{message}");
    assert_eq!(bench.public_files(), ["1.root.json"]);

    // Seven keys in the root, and a device that holds three.
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    limit(&bench, "keys = 3");
    let message = bench.fails(&PUBLISH, 1, "C103");
    assert!(message.contains("the smallest device would refuse this"), "{message}");
}

#[test]
fn keys_of_an_algorithm_that_no_device_verifies_are_refused() {
    let bench = delegated();
    bench.ok(&["renew", "targets"]);
    redraft(&bench, &Role::Targets, |signed| {
        for (keyid, key) in signed["delegations"]["keys"].as_object_mut().unwrap() {
            *key = json!({ "keytype": "ed25519", "keyval": { "public": keyid }, "scheme": "ed25519" });
        }
    });
    let message = bench.fails(&PUBLISH, 1, "C106");
    assert!(
        message.contains("a device as it left the factory, due for 1.0.0 of thermo/rev-a/stable"),
        "{message}"
    );
    assert!(message.contains("0 of 2"), "{message}");
}

#[test]
fn release_entry_with_an_image_of_other_hardware_is_refused() {
    let bench = delegated();
    bench.image("fw.bin", b"image 2");
    bench.ok(&add("2.0.0"));
    redraft(&bench, &Role::Delegated("thermo".to_owned()), |signed| {
        let target = &mut signed["targets"]["thermo/rev-a/stable/release"];
        target["custom"]["candidates"][0]["image"]["path"] = json!("thermo/rev-b/versions/2.0.0/fw.bin");
        let custom = tuffet_keys::canonical::signed_bytes(&target["custom"]).unwrap();
        target["length"] = json!(custom.len());
        target["hashes"]["sha256"] = json!(crate::support::sha256(&custom));
    });
    let message = bench.fails(&PUBLISH, 1, "C115");
    assert!(message.contains("due for 2.0.0 of thermo/rev-a/stable"), "{message}");
}

#[test]
fn root_that_is_missing_is_noticed_before_anything_is_published() {
    let mut bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    for version in [2, 3] {
        let root = bench.holders.next_root(|_| {});
        fs::write(bench.path(&format!("{version}.root.json")), root).unwrap();
        bench.ok(&["root", "add", &format!("{version}.root.json")]);
    }
    bench.publish();
    fs::remove_file(bench.repo().join("public/2.root.json")).unwrap();
    let message = bench.fails(&PUBLISH, 1, "T111");
    assert!(
        message.contains("a root is missing, and a later one is there: repo/public/2.root.json"),
        "{message}"
    );
}
