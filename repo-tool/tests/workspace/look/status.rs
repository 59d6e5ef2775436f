use std::fs;

use tuffet_keys::Role;

use super::{HALT, bench, json, look, name_keys, said};
use crate::support::{Bench, DAY, NOW, text};

#[test]
fn status_of_a_published_repository_says_when_each_role_expires_and_what_is_next() {
    let bench = bench();
    assert_eq!(
        said(&bench, &["status"]),
        "repo at 2026-11-22T12:00:00Z
valid     root 1                 expires 2027-12-27T12:00:00Z (in 400 days)
valid     timestamp 1            expires 2026-11-29T12:00:00Z (in 7 days)
valid     snapshot 1             expires 2026-12-22T12:00:00Z (in 30 days)
valid     targets 1              expires 2027-05-21T12:00:00Z (in 180 days)
next: nothing before 2026-11-27T12:00:00Z (in 5 days), when timestamp is due
"
    );
}

#[test]
fn status_of_what_will_have_expired_fails_and_of_what_will_be_due_does_not() {
    let bench = bench();
    // Devices that look at the very moment find it expired.
    for (moment, status, state) in [
        ("2026-11-27T11:59:59Z", 0, "valid "),
        ("2026-11-27T12:00:00Z", 0, "DUE "),
        ("2026-11-29T11:59:59Z", 0, "DUE "),
        ("2026-11-29T12:00:00Z", 1, "EXPIRED "),
        ("in 7 days", 1, "EXPIRED "),
    ] {
        let (found, out, error) = look(&bench, &["status", "--valid-at", moment]);
        assert_eq!(found, status, "{moment}: {out}{error}");
        let line = out.lines().find(|line| line.contains("timestamp 1")).unwrap();
        assert!(line.starts_with(state), "{moment}: {line}");
        assert_eq!(error.starts_with("error[T150]: expired at "), status == 1, "{error}");
    }
    let (_, out, error) = look(&bench, &["status", "--valid-at", "31d"]);
    assert!(error.contains(": timestamp 1, snapshot 1; "), "{error}");
    assert!(out.ends_with("next: `tuffet refresh`, with the online keys\n"), "{out}");
    assert_eq!(look(&bench, &["status", "--valid-at", "soon"]).0, 2);
    let (status, _, error) = look(&bench, &["status", "--names", "nowhere"]);
    assert_eq!((status, error.contains("error[T301]")), (3, true), "{error}");
}

#[test]
fn status_leads_from_an_empty_repository_to_a_published_one() {
    let bench = Bench::new();
    name_keys(&bench);
    let names = ["status", "--names", "names"];
    let out = said(&bench, &names);
    assert!(out.contains("not yet   targets is not written yet\nnext: `tuffet release add`"), "{out}");
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    let waits = "waiting   targets 1, staged      expires 2027-05-21T12:00:00Z (in 180 days)\n";
    let out = said(&bench, &names);
    let missing = "          0 of 2 signed\n          missing: release-0, release-1, release-2\n";
    assert!(out.contains(&format!("{waits}{missing}")), "{out}");
    bench.sign(1);
    let out = said(&bench, &names);
    let missing = "          1 of 2 signed: release-0\n          missing: release-1, release-2\n";
    assert!(out.contains(&format!("{waits}{missing}")), "{out}");
    let next =
        "next: holders run `tuffet-keys sign repo/staged/targets.request.json`, then `tuffet publish`\n";
    assert!(out.ends_with(next), "{out}");
    let value = json(&bench, &names);
    assert_eq!(value["summary"]["waiting"], 1);
    assert_eq!(value["roles"][3]["signatures"][0]["missing"], serde_json::json!(["release-1", "release-2"]));
    bench.sign_role(&Role::Targets, &bench.holders.release[1..2]);
    let out = said(&bench, &names);
    assert!(
        out.contains("valid     targets 1, staged") && out.ends_with("next: `tuffet publish`\n"),
        "{out}"
    );
    bench.publish();
    assert!(!said(&bench, &names).contains("staged"));
}

#[test]
fn status_names_a_staged_root_and_targets_that_other_keys_sign() {
    let mut bench = bench();
    let key = tuffet_keys::key::SigningKey::generate().unwrap();
    let root = bench.holders.next_root(|draft| draft.add_key(&Role::Timestamp, key.public()).unwrap());
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    let out = said(&bench, &["status"]);
    assert!(out.contains("valid     root 2, staged ") && out.ends_with("next: `tuffet publish`\n"), "{out}");
    // The holders of the root are asked in time, and told where to start from.
    bench.publish();
    let (status, out, error) = look(&bench, &["status", "--valid-at", "390d"]);
    assert_eq!(status, 1, "{error}");
    assert!(out.contains("DUE       root 2"), "{out}");
}

#[test]
fn status_of_a_product_with_bins_sums_them_up() {
    let bench = Bench::delegated(&["--bins", "10"]);
    let out = said(&bench, &["status"]);
    // Its holders cannot begin before those of targets.
    assert!(out.contains("not yet   thermo is not written yet, and tuffet.toml wants it\n"), "{out}");
    assert!(out.contains("next: holders run `tuffet-keys sign repo/staged/targets.request.json`"), "{out}");
    bench.sign(2);
    assert!(
        said(&bench, &["status"]).ends_with("next: `tuffet renew`, which drafts what holders then sign\n")
    );
    bench.ok(&["renew"]);
    bench.sign_product();
    for index in 0..6 {
        bench.image("fw.bin", format!("image {index}").as_bytes());
        bench.release("fw.bin", &format!("1.{index}.0"));
    }
    let bins = bench.sign_product().len();
    bench.publish();
    let out = said(&bench, &["status"]);
    // Six images and one channel: seven bins, unless two of them share one.
    let bins_shown = out.lines().filter(|line| line.contains("thermo.bin-")).count();
    assert_eq!(bins_shown, bins, "{out}");
    for index in 6..12 {
        bench.image("fw.bin", format!("image {index}").as_bytes());
        bench.release("fw.bin", &format!("1.{index}.0"));
    }
    bench.sign_product();
    bench.publish();
    let bins = json(&bench, &["status"])["roles"].as_array().unwrap().len() - 5;
    let out = said(&bench, &["status"]);
    assert!(bins > 8, "{bins}");
    let line = format!("valid     thermo.bin-*: {bins} of 1024 bins are written: {bins} valid\n");
    assert!(out.contains(&line), "{out}");
    assert!(out.contains("          the first, thermo.bin-"), "{out}");
    let (_, out, error) = look(&bench, &["status", "--valid-at", "170d"]);
    assert!(
        out.contains(&format!("DUE       thermo.bin-*: {bins} of 1024 bins are written: {bins} due\n")),
        "{out}"
    );
    assert!(error.contains("timestamp 2, snapshot 2; "), "{error}");
}

#[test]
fn status_names_what_is_halted() {
    let bench = bench();
    bench.ok(&[&HALT[..], &["1.2.0"]].concat());
    bench.ok(&[&HALT[..], &[&"ab".repeat(32)]].concat());
    let out = said(&bench, &["status"]);
    let known = "HALTED    image ";
    assert_eq!(out.matches(known).count(), 2, "{out}");
    assert!(out.contains("\n          thermo/rev-a/stable 1.2.0\n"), "{out}");
    assert!(out.contains("image abababababababab\n          of no release that is listed\n"), "{out}");
    let value = json(&bench, &["status"]);
    assert_eq!(value["halted"][0]["releases"], serde_json::json!(["thermo/rev-a/stable 1.2.0"]));
}

#[test]
fn status_of_a_damaged_repository_is_refused_by_name() {
    let bench = bench();
    let targets = bench.repo().join("public/1.targets.json");
    let text = fs::read_to_string(&targets).unwrap();
    fs::write(&targets, text.replace("1.0.0", "1.0.1")).unwrap();
    bench.fails(&["status"], 1, "T111");
    fs::remove_file(&targets).unwrap();
    bench.fails(&["status"], 1, "T111");
    // Nobody need wait for a publisher to look.
    fs::write(&targets, text).unwrap();
    let workspace = bench.workspace();
    let _lock = workspace.lock().unwrap();
    said(&bench, &["status"]);
    assert_eq!(bench.command_at(NOW + 401 * DAY, &["status"]).output().unwrap().status.code(), Some(1));
}

#[test]
fn status_of_expired_targets_asks_their_holders_first_for_a_refresh_would_fail() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let later = bench.command_at(NOW + 190 * DAY, &["status"]).output().unwrap();
    let said = text(&later.stdout);
    assert!(said.contains("next: `tuffet renew`"), "{said}");
    assert_eq!(later.status.code(), Some(1));
}
