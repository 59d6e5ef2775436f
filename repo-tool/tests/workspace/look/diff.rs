use std::fs;

use serde_json::json as value;
use tuffet::demo::mirror::Mirror;
use tuffet_keys::Role;

use super::{HALT, bench, json, look, said};
use crate::support::{Bench, DAY, NOW, PUBLISH, copy_tree};

fn on<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["release", command, "--hardware", "rev-a", "--channel", "stable"], more].concat()
}

#[test]
fn diff_of_what_is_staged_says_what_changes_for_devices() {
    let bench = bench();
    assert_eq!(said(&bench, &["diff"]), "published -> staged\nno difference\n");
    assert_eq!(said(&bench, &["diff", "--exit-code"]), "published -> staged\nno difference\n");
    bench.image("fw.bin", b"1.3.0");
    bench.ok(&[
        &on("add", &["fw.bin", "--version", "1.3.0", "--counter", "2", "--minimum", "2"])[..],
        &["--rollout-end", "10d"],
    ]
    .concat());
    bench.ok(&on("pause", &["1.2.0"]));
    bench.ok(&on("withdraw", &["1.0.0"]));
    bench.sign(1);
    let expected = "published -> staged
roles
  ~ targets 1 -> 2, expires 2027-05-21T12:00:00Z (in 180 days), signed 1 of 2
thermo/rev-a/stable
  +   4  1.3.0  counter 2, from release 2 on, 0 % now, everybody in 10 days
  ~   3  1.2.0  rollout: everybody -> paused
  -   1  1.0.0
targets: 1 new
  + thermo/rev-a/versions/1.3.0/fw.bin  5 bytes
";
    assert_eq!(said(&bench, &["diff"]), expected);
    let (status, out, error) = look(&bench, &["diff", "--exit-code"]);
    assert_eq!((status, out.as_str()), (1, expected));
    assert!(error.starts_with("error[T151]: staged is not as published; "), "{error}");
    let found = json(&bench, &["diff"]);
    assert_eq!(found["differs"], true);
    assert_eq!(found["signatures_verified"], true);
    assert_eq!(found["roles"][0]["signatures"], value!([{ "by": "root 1", "have": 1, "need": 2 }]));
    assert_eq!(found["releases"][1]["before"]["paused"], false);
    assert_eq!(found["releases"][1]["after"]["paused"], true);
    assert_eq!(found["releases"][2]["after"], value!(null));
    assert_eq!(found["targets"][0]["path"], "thermo/rev-a/versions/1.3.0/fw.bin");
}

#[test]
fn diff_of_a_first_release_is_all_new() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    let out = said(&bench, &["diff"]);
    assert!(
        out.contains("  + targets 1, expires ") && out.contains("  +   1  1.0.0  counter 0, everybody\n"),
        "{out}"
    );
    // What every file says of itself is no news.
    assert!(!out.contains("spec_version") && !out.contains("keys, thresholds"), "{out}");
}

#[test]
fn diff_of_a_staged_root_and_of_delegations_names_keys_thresholds_and_paths() {
    let mut bench = bench();
    let root = bench.holders.next_root(|draft| draft.set_threshold(&Role::Targets, 3));
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    let out = said(&bench, &["diff"]);
    assert!(out.contains("  ~ root 1 -> 2, expires 2027-12-27T12:00:00Z (in 400 days)\n"), "{out}");
    assert!(out.contains("  ~ root: targets threshold: 2 -> 3\n"), "{out}");

    let bench = Bench::delegated(&[]);
    let out = said(&bench, &["diff"]);
    assert!(out.contains("  + targets: delegated thermo paths: thermo/*/*/release\n"), "{out}");
    assert!(out.contains("  + targets: delegated thermo threshold: 2\n"), "{out}");
    let key = bench.holders.product[0].public();
    assert!(out.contains(&format!("fingerprint {}", key.fingerprint())), "{out}");
}

#[test]
fn diff_of_two_places_reads_directories_servers_files_and_requests() {
    let bench = bench();
    copy_tree(&bench.repo().join("public"), &bench.path("old"));
    let mirror = Mirror::serve(&bench.path("old")).unwrap();
    bench.image("fw.bin", b"1.3.0");
    bench.ok(&on("add", &["fw.bin", "--version", "1.3.0", "--counter", "1"]));
    bench.sign(2);
    copy_tree(&bench.repo().join("staged"), &bench.path("asked"));
    bench.ok_at(NOW + DAY, &PUBLISH);
    bench.ok_at(NOW + DAY, &[&HALT[..], &["1.2.0"]].concat());
    let changes = "thermo/rev-a/stable
  +   4  1.3.0  counter 1, everybody
targets: 1 new
  + thermo/rev-a/versions/1.3.0/fw.bin  5 bytes
";
    let roles = "roles
  ~ timestamp 1 -> 3, expires 2026-11-30T12:00:00Z (in 8 days)
  ~ snapshot 1 -> 2, expires 2026-12-23T12:00:00Z (in 31 days)
  ~ targets 1 -> 2, expires 2027-05-21T12:00:00Z (in 180 days)
";
    let unverified = "no signatures were verified: `tuffet verify` does that\n";
    let halted = crate::support::sha256(b"1.2.0");
    let whole = format!("{roles}{changes}halted\n  + image {halted}\n{unverified}");
    assert_eq!(said(&bench, &["diff", "old", "repo"]), format!("old -> repo\n{whole}"));
    let url = mirror.url();
    assert_eq!(said(&bench, &["diff", &url]), format!("{url} -> repo/public\n{whole}"));
    assert_eq!(json(&bench, &["diff", &url])["signatures_verified"], false);
    // A file is compared with a file, a request, or that role of a repository.
    for after in ["repo/public/2.targets.json", "asked/targets.request.json", "repo/public"] {
        let out = said(&bench, &["diff", "old/1.targets.json", after]);
        assert!(
            out.ends_with(&format!(
                "targets 1 -> 2, expires 2027-05-21T12:00:00Z (in 180 days)\n{changes}{unverified}"
            )),
            "{out}"
        );
    }
    // The other way round it all goes.
    let out = said(&bench, &["diff", "repo", "old"]);
    assert!(out.contains("  -   4  1.3.0\n") && out.contains(&format!("  - image {halted}\n")), "{out}");
    let out = said(&bench, &["diff", "old", &url]);
    assert!(out.contains("no difference"), "{out}");
}

#[test]
fn diff_of_things_that_cannot_be_compared_is_misuse() {
    let bench = bench();
    let timestamp = "repo/public/timestamp.json";
    bench.fails(&["diff", "repo/public/1.targets.json", timestamp], 2, "T205");
    bench.fails(&["diff", "fw.bin", timestamp], 2, "T205");
    bench.fails(&["diff", "repo/staged", "repo"], 2, "T206");
    bench.fails(&["diff", "nowhere", "repo"], 3, "T301");
    bench.fails(&["diff", "online.pem", "tuffet.toml"], 3, "T301");
    fs::write(bench.path("other.json"), "{}").unwrap();
    bench.fails(&["diff", "other.json", "repo"], 1, "T152");
    copy_tree(&bench.repo().join("public"), &bench.path("torn"));
    fs::remove_file(bench.path("torn/1.targets.json")).unwrap();
    let message = bench.fails(&["diff", "torn", "old"], 3, "T301");
    assert!(message.contains("old"), "{message}");
    copy_tree(&bench.repo().join("public"), &bench.path("other"));
    let text = fs::read_to_string(bench.path("other/1.snapshot.json")).unwrap();
    fs::write(
        bench.path("other/1.snapshot.json"),
        text.replace("\"version\":1}}", "\"version\":1},\"x.json\":{\"version\":7}}"),
    )
    .unwrap();
    let message = bench.fails(&["diff", "torn", "other"], 1, "T111");
    assert!(message.contains("other/7.x.json"), "{message}");
}

#[test]
fn diff_of_a_role_that_moved_its_targets_says_whose_they_are_now() {
    let bench = bench();
    copy_tree(&bench.repo().join("public"), &bench.path("new"));
    let edit = |name: &str, from: &str, to: &str| {
        let path = bench.path("new").join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{name}: {text}");
        fs::write(path, text.replace(from, to)).unwrap();
    };
    // As another tool might write it: nothing here is verified.
    fs::copy(bench.path("new/1.targets.json"), bench.path("new/1.thermo.json")).unwrap();
    let signed = bench.public_json("1.targets.json")["signed"]["targets"].to_string();
    edit("1.targets.json", &signed, "{}");
    edit("1.snapshot.json", "\"targets.json\"", "\"targets.json\":{\"version\":1},\"thermo.json\"");
    let out = said(&bench, &["diff", "repo", "new"]);
    assert!(out.contains("  + thermo 1, expires"), "{out}");
    assert!(out.contains("\ntargets: 4 replaced\n"), "{out}");
    assert!(out.contains("thermo/rev-a/versions/1.0.0/fw.bin  now of thermo, was of targets"), "{out}");
    assert!(!out.contains("counter"), "no release changed: {out}");
}
