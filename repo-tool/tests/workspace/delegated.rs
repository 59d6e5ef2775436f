//! Products with roles of their own, and hash bins below them.

use std::fs;

use serde_json::Value;
use tuffet_keys::Role;
use tuffet_keys::key::SigningKey;

use crate::support::{Bench, DAY, NOW, PUBLISH};

fn thermo() -> Role {
    Role::Delegated("thermo".to_owned())
}

/// A workspace in which the holders of targets have said who signs for the product.
fn delegating(more: &[&str]) -> Bench {
    let bench = Bench::delegated(more);
    bench.sign(2);
    bench.image("fw.bin", b"image");
    bench
}

fn add(version: &str) -> [&str; 9] {
    ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", version]
}

fn verified(bench: &Bench, now: u64) -> Value {
    serde_json::from_str(&bench.ok_at(now, &["--output", "json", "verify"])).unwrap()
}

#[test]
fn product_with_its_own_role_is_released_by_its_own_holders() {
    let bench = Bench::delegated(&[]);
    let image = bench.image("fw.bin", b"image");
    // Nobody has said yet who signs for it.
    let message = bench.fails(&add("1.0.0"), 1, "T134");
    assert!(message.contains("wait for signatures: repo/staged/targets.request.json"), "{message}");
    bench.ok(&["discard"]);
    let message = bench.fails(&add("1.0.0"), 1, "T134");
    assert!(message.contains("run `tuffet renew targets`"), "{message}");
    let said = bench.ok(&["renew"]);
    assert!(said.contains("targets 1, drafted"), "{said}");
    bench.sign(2);
    // A copy that a holder left beside it is nobody's role.
    let (request, copy) = ("repo/staged/targets.request.json", "repo/staged/targets-copy.request.json");
    fs::copy(bench.path(request), bench.path(copy)).unwrap();
    let said = bench.ok(&[&PUBLISH[..], &["--dry-run"]].concat());
    assert!(said.contains("left out: targets-copy: tuffet.toml has no role for this request"), "{said}");
    fs::remove_file(bench.path(copy)).unwrap();
    // Signed is enough; one publication may have both.
    let said = bench.ok(&add("1.0.0"));
    assert!(said.contains("sign repo/staged/thermo.request.json`"), "{said}");
    bench.sign_role(&thermo(), &bench.holders.product[..2]);
    let said = bench.publish();
    assert!(said.contains("published targets 1") && said.contains("published thermo 1"), "{said}");
    assert!(bench.public_files().contains(&"1.thermo.json".to_owned()));
    let verified = verified(&bench, NOW);
    assert_eq!(verified["releases"][0]["version"], "1.0.0");
    assert_eq!(verified["roles"]["thermo"]["version"], 1);
    assert_eq!(verified["files"], 2);

    // From then on nobody asks the holders of targets, and nothing of theirs changes.
    fs::write(image, b"image 2").unwrap();
    bench.ok(&add("1.1.0"));
    assert_eq!(bench.sign_product(), ["thermo"]);
    let said = bench.publish();
    assert!(!said.contains("published targets"), "{said}");
    let entry = &bench.public_json("2.snapshot.json")["signed"]["meta"];
    assert_eq!(entry["targets.json"]["version"], 1);
    assert_eq!(entry["thermo.json"]["version"], 2);
    bench.ok(&["verify"]);
}

#[test]
fn signatures_of_other_holders_are_not_enough_for_a_product() {
    let bench = delegating(&[]);
    bench.ok(&add("1.0.0"));
    let path = bench.workspace().request_path(&thermo());
    let mut request = tuffet_keys::request::Request::read(&path).unwrap();
    assert!(request.sign(&bench.holders.release[0]).is_err());
    bench.sign_role(&thermo(), &bench.holders.product[..1]);
    // What is complete is published, and what is not is named.
    let said = bench.publish();
    assert!(said.contains("published targets 1") && !said.contains("published thermo"), "{said}");
    assert!(
        said.contains("left out: thermo: thermo version 1 is signed by 1 of 2 keys of targets 1"),
        "{said}"
    );
    assert!(path.exists() && bench.repo().join("staged/images").read_dir().unwrap().count() == 1);
    bench.fails(&PUBLISH, 1, "T130");
    bench.ok(&[
        "refresh",
        "--snapshot-key",
        "online.pem",
        "--timestamp-key",
        "online.pem",
        "--danger-unencrypted",
    ]);
    bench.sign_role(&thermo(), &bench.holders.product[2..]);
    assert!(bench.publish().contains("published thermo 1"));
    bench.ok(&["verify"]);
}

#[test]
fn product_with_other_keys_is_drafted_anew_and_never_half_published() {
    let bench = delegating(&[]);
    bench.ok(&add("1.0.0"));
    bench.sign_product();
    bench.publish();
    // Two of the three holders leave, and the release team is told first.
    let config = bench.repo().join("tuffet.toml");
    let text = fs::read_to_string(&config).unwrap();
    let keys: Vec<SigningKey> = (0..3).map(|_| SigningKey::generate().unwrap()).collect();
    for (index, key) in keys.iter().enumerate() {
        let inside = bench.repo().join(format!("keys/new-{index}.pub.pem"));
        fs::write(inside, key.public().to_pem()).unwrap();
    }
    fs::write(&config, text.replace("keys/thermo-", "keys/new-")).unwrap();
    let said = bench.ok(&["renew"]);
    assert!(
        said.contains("targets 2") && !said.contains("thermo 2"),
        "the new holders are nobody yet: {said}"
    );
    bench.sign(2);
    // Devices would refuse the product's file under the new keys.
    let message = bench.fails(&PUBLISH, 1, "C106");
    assert!(message.contains("a device as it left the factory"), "{message}");
    assert!(message.contains("due for 1.0.0 of thermo/rev-a/stable"), "{message}");
    let said = bench.ok(&["renew"]);
    assert!(said.contains("thermo 2"), "{said}");
    bench.sign_role(&thermo(), &keys[..2]);
    bench.publish();
    bench.ok(&["verify"]);
    assert!(bench.ok(&["renew"]).contains("nothing is due"));
}

#[test]
fn key_that_signs_for_two_roles_is_refused_wherever_the_other_is() {
    let bench = delegating(&[]);
    let config = bench.repo().join("tuffet.toml");
    let text = fs::read_to_string(&config).unwrap();
    for (key, other) in [(&*bench.holders.online, "snapshot"), (&bench.holders.release[0], "targets")] {
        fs::write(bench.repo().join("keys/shared.pub.pem"), key.public().to_pem()).unwrap();
        fs::write(&config, text.replace("keys/thermo-0", "keys/shared")).unwrap();
        let message = bench.fails(&["renew"], 1, "T148");
        assert!(
            message.contains("of thermo is a key of ") && message.contains("generate a key"),
            "{message}"
        );
        assert!(message.contains(other) || message.contains("timestamp"), "{message}");
    }
    let second = "\n[products.lamp.role]\nkeys = [\"keys/thermo-1.pub.pem\"]\nthreshold = 1\n";
    fs::write(&config, format!("{text}{second}")).unwrap();
    let message = bench.fails(&["renew"], 1, "T148");
    assert!(message.contains("of thermo is a key of lamp, too"), "{message}");
}

#[test]
fn roles_that_are_due_are_drafted_anew_and_others_are_not() {
    let bench = delegating(&[]);
    bench.ok(&add("1.0.0"));
    bench.sign_product();
    bench.publish();
    assert!(bench.ok_at(NOW + 144 * DAY, &["renew"]).contains("nothing is due"));
    let said = bench.ok_at(NOW + 145 * DAY, &["renew"]);
    assert!(said.contains("targets 2") && said.contains("thermo 2"), "{said}");
    let said = bench.ok_at(NOW + 145 * DAY, &["discard", "targets"]);
    assert_eq!(said, "threw away the staged request of targets\n");
    bench.sign_product();
    bench.ok_at(NOW + 145 * DAY, &PUBLISH);
    bench.ok_at(NOW + 145 * DAY, &["verify"]);
}

#[test]
fn release_in_bins_touches_the_bins_of_its_two_paths_and_nothing_else() {
    let bench = delegating(&["--bins", "10"]);
    // The role that delegates to the bins must be signed before them.
    let message = bench.fails(&add("1.0.0"), 1, "T134");
    assert!(message.contains("run `tuffet renew thermo`"), "{message}");
    let said = bench.ok(&["renew", "thermo"]);
    assert!(said.contains("thermo 1"), "{said}");
    assert_eq!(bench.sign_product(), ["thermo"]);
    bench.ok(&add("1.0.0"));
    let bins = bench.sign_product();
    assert_eq!(bins.len(), 2, "{bins:?}");
    bench.publish();
    let said = verified(&bench, NOW);
    assert_eq!(said["releases"][0]["channel"], "thermo/rev-a/stable");
    assert_eq!(said["files"], 2);
    // A bundle has the roles on the way, whichever they are.
    let bundle = ["bundle", "--hardware", "rev-a", "--channel", "stable", "--out", "thermo.bundle"];
    let listed = bench.ok(&bundle);
    assert_eq!(listed.matches(".thermo.bin-").count(), 2, "{listed}");
    assert!(bench.ok(&["verify", "thermo.bundle"]).contains("release 1, version 1.0.0"));

    let before = bench.public_files();
    bench.image("fw.bin", b"image 2");
    bench.ok(&add("1.1.0"));
    bench.sign_product();
    bench.publish();
    let after = bench.public_files();
    let new: Vec<_> = after.iter().filter(|file| !before.contains(file)).collect();
    let metadata: Vec<_> = new.iter().filter(|file| file.ends_with(".json")).collect();
    assert_eq!(metadata.len(), 3, "two bins and a snapshot: {new:?}");
    assert_eq!(verified(&bench, NOW)["releases"].as_array().unwrap().len(), 2);
    // The sequence goes on over all channels, though their entries are in other bins.
    let promoted = ["release", "promote", "--hardware", "rev-a", "--channel", "stable", "--to", "beta"];
    let said = bench.ok(&promoted);
    assert!(said.contains("staged 1.1.0 as release 2 of thermo/rev-a/beta"), "{said}");
    bench.sign_product();
    bench.publish();
    bench.image("fw.bin", b"image 3");
    assert!(bench.ok(&add("1.2.0")).contains("as release 3"));
}

/// Gives the flat product of a bench a role of its own.
fn give_role(bench: &Bench, more: &str) {
    fs::create_dir_all(bench.repo().join("keys")).unwrap();
    for (index, key) in bench.holders.product.iter().enumerate() {
        fs::write(bench.repo().join(format!("keys/{index}.pub.pem")), key.public().to_pem()).unwrap();
    }
    let config = bench.repo().join("tuffet.toml");
    let text = fs::read_to_string(&config).unwrap();
    let role = "[products.thermo.role]\nkeys = [\"keys/0.pub.pem\", \"keys/1.pub.pem\"]\nthreshold = 2\n";
    let text = text.replace("# channels = [", "channels = [");
    fs::write(&config, format!("{text}\n{role}{more}")).unwrap();
}

#[test]
fn product_that_gets_a_role_of_its_own_takes_its_releases_along() {
    for more in ["", "bins = 4\n"] {
        let bench = Bench::new();
        bench.image("other.bin", b"for the other hardware");
        for version in ["1.0.0", "1.1.0"] {
            bench.image("fw.bin", version.as_bytes());
            bench.release("fw.bin", version);
        }
        bench.sign(2);
        bench.publish();
        give_role(&bench, more);
        let said = bench.ok(&["renew"]);
        assert!(said.contains("targets 2,") && said.contains("again for thermo"), "{said}");
        bench.sign(2);
        // Devices would find nothing in between.
        let refused = bench.command(&PUBLISH).output().unwrap();
        assert_eq!(refused.status.code(), Some(1), "{}", String::from_utf8_lossy(&refused.stderr));
        assert!(!bench.public_files().contains(&"2.targets.json".to_owned()));
        for _ in 0..2 {
            bench.ok(&["renew"]);
            bench.sign_product();
        }
        bench.publish();
        let verified = verified(&bench, NOW);
        assert_eq!(verified["releases"].as_array().unwrap().len(), 2, "{verified}");
        assert_eq!(bench.public_json("2.targets.json")["signed"]["targets"].as_object().unwrap().len(), 0);
        bench.image("fw.bin", b"1.2.0");
        assert!(bench.ok(&add("1.2.0")).contains("as release 3"));
        bench.sign_product();
        bench.publish();
        bench.ok(&["verify"]);
        assert!(bench.ok(&["renew"]).contains("nothing is due"));
        // From there to other bins there is no way.
        let config = bench.repo().join("tuffet.toml");
        let text = fs::read_to_string(&config).unwrap();
        fs::write(
            &config,
            if more.is_empty() { format!("{text}bins = 3\n") } else { text.replace("bins = 4", "bins = 3") },
        )
        .unwrap();
        let message = bench.fails(&["renew"], 1, "T155");
        assert!(message.contains("cannot move to other bins"), "{message}");
    }
}

#[test]
fn product_that_the_policy_forgets_is_not_cut_off() {
    let bench = delegating(&[]);
    bench.ok(&add("1.0.0"));
    bench.sign_product();
    bench.publish();
    let config = bench.repo().join("tuffet.toml");
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("thermo\"", "lamp\"")).unwrap();
    bench.ok(&["renew", "targets"]);
    bench.sign(2);
    let message = bench.fails(&PUBLISH, 1, "T146");
    assert!(message.contains("no device installs 1.0.0 of thermo/rev-a/stable"), "{message}");
}

#[test]
fn bad_request_of_one_product_keeps_no_other_back() {
    let bench = delegating(&[]);
    bench.ok(&add("1.0.0"));
    bench.sign_product();
    let staged = bench.repo().join("staged");
    fs::write(staged.join("lamp.request.json"), "{").unwrap();
    fs::write(staged.join("root.request.json"), "{").unwrap();
    let said = bench.publish();
    assert!(
        said.contains("published thermo 1") && said.contains("left out: lamp: tuffet.toml has no role"),
        "{said}"
    );
    assert_eq!(bench.ok(&["discard"]), "threw away the staged request of lamp\n");
    assert!(staged.join("root.request.json").exists(), "that is the key holders' own");
}

#[test]
fn image_of_a_published_release_is_not_pruned_by_what_is_only_staged() {
    let bench = delegating(&["--bins", "6"]);
    bench.ok(&["renew"]);
    bench.sign_product();
    for version in ["1.0.0", "1.1.0"] {
        bench.image("fw.bin", version.as_bytes());
        bench.ok(&add(version));
        bench.sign_product();
    }
    bench.publish();
    bench.ok(&["release", "withdraw", "1.0.0", "--hardware", "rev-a", "--channel", "stable"]);
    let later = NOW + 179 * DAY;
    let said = bench.ok_at(later, &["release", "prune"]);
    assert!(said.contains("every image is listed"), "{said}");
}
