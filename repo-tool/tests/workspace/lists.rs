//! Many releases at once, from a list.

use std::fs;

use serde_json::Value;
use tuffet_keys::Role;
use tuffet_keys::request::Request;

use crate::support::{Bench, NOW};

/// Hardware, channel, version and bytes of each, in the order in which they are released.
const RELEASES: [(&str, &str, &str, &str); 5] = [
    ("rev-a", "stable", "1.0.0", "one"),
    ("rev-b", "stable", "1.0.0", "another"),
    ("rev-a", "beta", "1.1.0", "two"),
    ("rev-a", "stable", "1.1.0", "two"),
    ("rev-a", "stable", "1.2.0", "three"),
];

/// The images as files, and the list of them.
fn listed(bench: &Bench, releases: &[(&str, &str, &str, &str)]) -> Vec<String> {
    let mut files = Vec::new();
    let mut list = String::new();
    for (index, (hardware, channel, version, bytes)) in releases.iter().enumerate() {
        let file = format!("{index}/fw.bin");
        fs::create_dir_all(bench.path(&index.to_string())).unwrap();
        bench.image(&file, bytes.as_bytes());
        list += &format!(
            "{{\"image\":\"{file}\",\"hardware\":\"{hardware}\",\"channel\":\"{channel}\",\"version\":\"{version}\"}}\n"
        );
        files.push(file);
    }
    fs::write(bench.path("list"), list).unwrap();
    files
}

/// The targets that a role's request asks to sign.
fn targets(bench: &Bench, role: &Role) -> Value {
    let request = Request::read(&bench.workspace().request_path(role)).unwrap();
    let signed: Value = serde_json::from_slice(request.payload()).unwrap();
    signed["targets"].clone()
}

#[test]
fn list_of_releases_makes_one_draft_with_what_they_would_make_one_by_one() {
    let (one_by_one, at_once) = (Bench::new(), Bench::new());
    listed(&at_once, &RELEASES);
    let files = listed(&one_by_one, &RELEASES);
    for (file, (hardware, channel, version, _)) in files.iter().zip(RELEASES) {
        one_by_one.ok(&[
            "release",
            "add",
            file,
            "--hardware",
            hardware,
            "--channel",
            channel,
            "--version",
            version,
        ]);
    }
    let said = at_once.ok(&["release", "add", "--from", "list"]);
    assert!(said.contains("thermo/rev-a/stable: staged 3 releases, the newest 1.2.0 as release 4"), "{said}");
    assert!(said.contains("thermo/rev-a/beta: staged 1 release, the newest 1.1.0 as release 2"), "{said}");
    assert_eq!(said.matches("waits for 2 signatures").count(), 1, "{said}");
    assert_eq!(targets(&at_once, &Role::Targets), targets(&one_by_one, &Role::Targets));
    at_once.sign(2);
    at_once.publish();
    at_once.ok(&["verify"]);
    // Whoever runs it again has done nothing wrong, as far as each is its channel's newest release.
    let last = [RELEASES[1], RELEASES[4]];
    listed(&at_once, &last);
    let before = at_once.snapshot();
    let said = at_once.ok(&["release", "add", "--from", "list"]);
    assert!(said.contains("thermo/rev-a/stable: staged 0 releases; 1 release there already"), "{said}");
    assert_eq!(before, at_once.snapshot());
}

#[test]
fn list_in_which_one_release_is_wrong_stages_none_of_it() {
    let bench = Bench::new();
    let add = ["release", "add", "--from", "list"];
    let mut releases = RELEASES;
    releases[4] = ("rev-a", "beta", "1.0.0", "other bytes of the same version");
    listed(&bench, &releases);
    let message = bench.fails(&add, 1, "T106");
    assert!(message.contains("1.0.0"), "{message}");
    releases[4] = ("rev-a", "stable", "1.0.0", "one");
    listed(&bench, &releases);
    bench.fails(&add, 1, "T107");
    fs::write(bench.path("list"), "{\"image\":\"0/fw.bin\",\"hardware\":\"rev-a\"}\n").unwrap();
    let message = bench.fails(&add, 1, "T101");
    assert!(message.contains("list:1:1: it says no `channel`, and neither does --channel"), "{message}");
    // Either an image or a list, and an image needs a channel.
    for arguments in [&["release", "add", "0/fw.bin", "--from", "list"][..], &["release", "add", "0/fw.bin"]]
    {
        assert_eq!(bench.command(arguments).output().unwrap().status.code(), Some(2), "{arguments:?}");
    }
    listed(&bench, &RELEASES);
    let before = bench.snapshot();
    bench.ok(&["release", "add", "--from", "list", "--dry-run"]);
    assert_eq!(before, bench.snapshot());
}

#[test]
fn list_of_releases_in_bins_drafts_each_bin_once() {
    let bench = Bench::delegated(&["--bins", "4"]);
    bench.sign(2);
    bench.ok(&["renew", "thermo"]);
    bench.sign_product();
    let releases: Vec<_> = RELEASES.into_iter().filter(|(hardware, ..)| *hardware == "rev-a").collect();
    listed(&bench, &releases);
    let said = bench.ok(&["--output", "json", "release", "add", "--from", "list", "--rollout-end", "7d"]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let mut roles: Vec<_> =
        said["drafts"].as_array().unwrap().iter().map(|draft| draft["role"].clone()).collect();
    let count = roles.len();
    roles.dedup();
    assert_eq!(roles.len(), count, "{roles:?}");
    assert_eq!(said["releases"].as_array().unwrap().len(), 4);
    bench.sign_product();
    bench.publish();
    let verified: Value = serde_json::from_str(&bench.ok_at(NOW, &["--output", "json", "verify"])).unwrap();
    assert_eq!(verified["releases"].as_array().unwrap().len(), 4);
    assert!(verified["releases"][0]["not_before"].is_string());
}
