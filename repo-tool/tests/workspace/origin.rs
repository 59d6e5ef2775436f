//! Root 1 says which repository this is; what lies in a directory or on a server does not.

use std::fs;

use tuffet_keys::metadata::Envelope;
use tuffet_keys::{canonical, review};

use crate::support::{Bench, DAY, Holders, NOW, PUBLISH, copy_tree, sha256, text};

const RELEASE: [&str; 9] =
    ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", "1.0.0"];
const PROVISION: [&str; 7] = ["provision", "--hardware", "rev-a", "--channel", "stable", "--out", "factory"];

fn published_bench() -> Bench {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.ok(&RELEASE);
    bench.sign(2);
    bench.publish();
    bench
}

fn payload_digest(root: &[u8]) -> String {
    sha256(&canonical::signed_bytes(&Envelope::parse(root).unwrap().signed).unwrap())
}

#[test]
fn workspace_takes_no_other_root_1_than_the_one_it_was_made_around() {
    let bench = published_bench();
    let first = bench.repo().join("public/1.root.json");
    let genuine = fs::read(&first).unwrap();
    let config = fs::read_to_string(bench.repo().join("tuffet.toml")).unwrap();
    assert!(config.contains(&format!("root-1-sha256 = \"{}\"\n", payload_digest(&genuine))), "{config}");

    // Well made and well signed, by others.
    let strangers = Holders::new(NOW - DAY, NOW + 400 * DAY);
    fs::write(&first, &strangers.chain[0]).unwrap();
    for arguments in [
        &RELEASE[..],
        &["renew", "targets"],
        &PUBLISH,
        &["root", "add", "1.root.json"],
        &["verify"],
        &PROVISION,
    ] {
        let message = bench.fails(arguments, 1, "T129");
        assert!(
            message.contains("repo/public/1.root.json") && message.contains(&payload_digest(&genuine)),
            "{message}"
        );
    }
    // Another signature beside the others changes the file and not the root.
    let mut envelope = Envelope::parse(&genuine).unwrap();
    let payload = canonical::signed_bytes(&envelope.signed).unwrap();
    let third = &bench.holders.root[2];
    envelope.signatures.push((third.public().keyid().to_owned(), third.sign(&payload).unwrap()));
    fs::write(&first, envelope.to_bytes().unwrap()).unwrap();
    bench.publish();
    bench.ok(&["verify"]);
}

#[test]
fn verify_of_another_place_trusts_the_workspace_s_root_and_not_the_place_s() {
    let bench = published_bench();
    let stranger = published_bench();
    copy_tree(&bench.repo().join("public"), &bench.path("copy"));
    copy_tree(&stranger.repo().join("public"), &bench.path("forged"));
    bench.ok(&["verify", "copy"]);
    bench.fails(&["verify", "forged"], 1, "C106");
    // Not even beside a genuine root 1, which no device fetches.
    fs::copy(bench.path("copy/1.root.json"), bench.path("forged/1.root.json")).unwrap();
    bench.fails(&["verify", "forged"], 1, "C106");

    let outside = ["--repo", "nowhere", "verify", "copy"];
    let message = bench.fails(&outside, 2, "T205");
    assert!(message.contains("--root must be given"), "{message}");
    bench.ok(&[&outside[..], &["--root", "1.root.json"]].concat());
}

#[test]
fn digest_of_the_root_is_shown_as_key_holders_saw_it() {
    let mut bench = Bench::bare();
    let first = bench.holders.chain[0].clone();
    let request = tuffet_keys::request::Request::draft(
        tuffet_keys::Role::Root,
        &Envelope::parse(&first).unwrap().signed,
        &[],
    );
    // A review breaks the digest in the middle.
    let seen = review::describe(&request.unwrap(), None, &Default::default(), NOW).to_string();
    let seen = seen.replace("\n                              ", " ");
    let line = |said: &str, version: u32| {
        let start = format!("root {version} is sha256 ");
        let line = said.lines().find_map(|line| Some(start.clone() + line.split_once(&start)?.1));
        line.unwrap_or_else(|| panic!("{said}"))
    };
    let init = bench.ok(&[
        "init",
        "--root",
        "1.root.json",
        "--product",
        "thermo",
        "--hardware",
        "rev-a",
        "--slot-size",
        "64",
    ]);
    assert_eq!(line(&init, 1), line(&seen, 1));
    bench.image("fw.bin", b"image");
    bench.ok(&RELEASE);
    bench.sign(2);
    bench.publish();
    assert_eq!(line(&bench.ok(&["verify"]), 1), line(&seen, 1));
    assert_eq!(line(&bench.ok(&PROVISION), 1), line(&seen, 1));
    fs::remove_dir_all(bench.path("factory")).unwrap();

    let second = bench.holders.next_root(|_| {});
    fs::write(bench.path("2.root.json"), &second).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    bench.publish();
    let digits = |line: String| line.split_once("sha256 ").unwrap().1.replace(' ', "");
    let said = bench.ok(&PROVISION);
    assert_eq!(digits(line(&said, 2)), payload_digest(&second));
    assert_eq!(line(&said, 1), line(&seen, 1), "the repository's, too");
    let said = bench.ok(&["verify", "--root", "2.root.json"]);
    assert_eq!(digits(line(&said, 2)), payload_digest(&second));

    let output = bench.command(&["--output", "json", "verify"]).output().unwrap();
    let json: serde_json::Value = serde_json::from_str(&text(&output.stdout)).unwrap();
    assert_eq!(json["trusted_root"], serde_json::json!({ "version": 1, "sha256": payload_digest(&first) }));
}
