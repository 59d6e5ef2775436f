//! From a root to a published repository, through the binary.

use std::fs;

use serde_json::{Value, json};
use tuffet_keys::Role;
use tuffet_keys::request::Request;

use crate::support::{Bench, DAY, NOW, PUBLISH, assert_fails, sha256, text};

#[test]
fn whole_path_with_two_of_three_signatures_publishes_exactly_the_files_of_the_format() {
    let bench = Bench::new();
    let image = b"firmware 1.0.0".as_slice();
    bench.image("fw.bin", image);
    let said = bench.release("fw.bin", "1.0.0");
    assert!(said.contains("as release 1 of thermo/rev-a/stable"), "{said}");
    assert!(said.contains("waits for 2 signatures"), "{said}");
    assert_eq!(bench.public_files(), ["1.root.json"], "nothing is public before it is signed");

    bench.sign(1);
    let refused = bench.fails(&PUBLISH, 1, "T130");
    assert!(refused.contains("targets version 1 is signed by 1 of 2 keys of root 1"), "{refused}");
    assert!(
        refused.ends_with("sign repo/staged/targets.request.json`, then `tuffet publish` again\n"),
        "{refused}"
    );
    let missing = bench.holders.release[1].public().keyid();
    assert!(refused.contains(&missing[..16]), "names who is missing: {refused}");

    let mut request = Request::read(&bench.workspace().request_path(&Role::Targets)).unwrap();
    request.sign(&bench.holders.release[1]).unwrap();
    request.write(&bench.workspace().request_path(&Role::Targets)).unwrap();
    let said = bench.publish();
    assert!(said.contains("published targets 1"), "{said}");

    let digest = sha256(image);
    let entry = format!(
        r#"{{"candidates":[{{"counter":0,"image":{{"hashes":{{"sha256":"{digest}"}},"length":14,"#,
    ) + r#""path":"thermo/rev-a/versions/1.0.0/fw.bin"},"minimum":0,"sequence":1,"version":"1.0.0"}],"format":1}"#;
    let entry_digest = sha256(entry.as_bytes());
    let mut expected = vec![
        "1.root.json".to_owned(),
        "1.snapshot.json".to_owned(),
        "1.targets.json".to_owned(),
        format!("targets/thermo/rev-a/stable/{entry_digest}.release"),
        format!("targets/thermo/rev-a/versions/1.0.0/{digest}.fw.bin"),
        "timestamp.json".to_owned(),
    ];
    expected.sort();
    assert_eq!(bench.public_files(), expected);
    let public = bench.repo().join("public");
    assert_eq!(fs::read(public.join(&expected[4])).unwrap(), image);
    assert_eq!(fs::read_to_string(public.join(&expected[3])).unwrap(), entry);

    let listing = |name: &str| {
        let bytes = fs::read(public.join(format!("1.{name}"))).unwrap();
        json!({ name: { "hashes": { "sha256": sha256(&bytes) }, "length": bytes.len(), "version": 1 } })
    };
    let signed = |kind: &str, expires: &str, member: &str, value: Value| {
        json!({ "_type": kind, "expires": expires, "issued": "2026-11-22T12:00:00Z", "spec_version": "1.0.34",
                "version": 1, member: value })
    };
    assert_eq!(
        bench.public_json("timestamp.json")["signed"],
        signed("timestamp", "2026-11-29T12:00:00Z", "meta", listing("snapshot.json"))
    );
    assert_eq!(
        bench.public_json("1.snapshot.json")["signed"],
        signed("snapshot", "2026-12-22T12:00:00Z", "meta", listing("targets.json"))
    );
    let custom: Value = serde_json::from_str(&entry).unwrap();
    assert_eq!(
        bench.public_json("1.targets.json")["signed"],
        signed(
            "targets",
            "2027-05-21T12:00:00Z",
            "targets",
            json!({
                "thermo/rev-a/stable/release":
                    { "custom": custom, "hashes": { "sha256": entry_digest }, "length": entry.len() },
                "thermo/rev-a/versions/1.0.0/fw.bin": { "hashes": { "sha256": digest }, "length": 14 },
            })
        )
    );
    let staged: Vec<_> = bench.snapshot().into_keys().filter(|name| name.contains("staged/")).collect();
    assert_eq!(staged, Vec::<String>::new(), "what was staged is cleared");
    let said = bench.ok(&["verify"]);
    assert!(said.contains("thermo/rev-a/stable: release 1, version 1.0.0\n"), "{said}");
}

#[test]
fn releases_before_a_publication_accumulate_in_one_request_and_drop_its_signatures() {
    let bench = Bench::new();
    bench.image("a.bin", b"a");
    bench.image("b.bin", b"b");
    bench.release("a.bin", "1.0.0");
    bench.sign(2);
    let said = bench.release("b.bin", "1.1.0");
    assert!(said.contains("2 signatures of the draft before are void"), "{said}");
    assert!(said.contains("targets 1, "), "one version for both: {said}");
    bench.fails(&PUBLISH, 1, "T130");
    bench.sign(2);
    bench.publish();
    let targets = bench.public_json("1.targets.json");
    let custom = &targets["signed"]["targets"]["thermo/rev-a/stable/release"]["custom"];
    let sequences: Vec<_> = custom["candidates"].as_array().unwrap().iter().map(|c| &c["sequence"]).collect();
    assert_eq!(sequences, [2, 1]);
    bench.ok(&["verify"]);
}

#[test]
fn the_ninth_release_drops_the_oldest_and_keeps_its_image() {
    let bench = Bench::new();
    for number in 1..=9 {
        bench.image("fw.bin", format!("image {number}").as_bytes());
        let said = bench.release("fw.bin", &format!("1.{number}"));
        assert_eq!(said.contains("release 1 left the list"), number == 9, "{said}");
    }
    bench.sign(2);
    bench.publish();
    let targets = &bench.public_json("1.targets.json")["signed"]["targets"];
    let candidates =
        targets["thermo/rev-a/stable/release"]["custom"]["candidates"].as_array().unwrap().clone();
    let sequences: Vec<_> =
        candidates.iter().map(|candidate| candidate["sequence"].as_u64().unwrap()).collect();
    assert_eq!(sequences, [9, 8, 7, 6, 5, 4, 3, 2]);
    assert_eq!(targets.as_object().unwrap().len(), 10);
    bench.ok(&["verify"]);
}

#[test]
fn the_next_publication_numbers_itself_and_keeps_what_never_changes() {
    let bench = Bench::new();
    bench.image("fw.bin", b"one");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let first = bench.snapshot();
    bench.image("fw.bin", b"two");
    bench.release("fw.bin", "2.0.0");
    bench.sign(2);
    bench.publish();
    let second = bench.snapshot();
    for (name, digest) in
        first.iter().filter(|(name, _)| name.contains("public/") && !name.ends_with("timestamp.json"))
    {
        assert_eq!(second.get(name), Some(digest), "{name}");
    }
    for name in ["2.targets.json", "2.snapshot.json"] {
        assert!(second.contains_key(&format!("repo/public/{name}")), "{name}");
    }
    assert_eq!(bench.public_json("timestamp.json")["signed"]["version"], 2);
}

#[test]
fn release_of_the_same_image_to_another_channel_shares_its_target_and_takes_the_next_sequence() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    let to = |channel| {
        ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", channel, "--version", "1.0.0"]
    };
    bench.ok(&to("beta"));
    let said = bench.ok(&to("stable"));
    assert!(said.contains("as release 2 of thermo/rev-a/stable"), "{said}");
    bench.sign(2);
    bench.publish();
    let targets = bench.public_json("1.targets.json");
    assert_eq!(targets["signed"]["targets"].as_object().unwrap().len(), 3);
    let said = bench.ok(&["verify"]);
    assert!(said.contains("beta: release 1") && said.contains("stable: release 2"), "{said}");
}

#[test]
fn release_repeated_changes_nothing_and_keeps_signatures() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    let before = bench.snapshot();
    let said = bench.release("fw.bin", "1.0.0");
    assert!(said.contains("is release 1 of thermo/rev-a/stable already"), "{said}");
    assert_eq!(bench.snapshot(), before);
    bench.publish();
    bench.release("fw.bin", "1.0.0");
    assert!(!bench.workspace().request_path(&Role::Targets).exists());
}

#[test]
fn release_terms_reach_the_candidate() {
    let bench = Bench::new();
    bench.image("fw.bin", b"one");
    bench.release("fw.bin", "1.0.0");
    bench.image("fw.bin", b"two");
    bench.ok(&[
        "release",
        "add",
        "fw.bin",
        "--hardware",
        "rev-a",
        "--channel",
        "stable",
        "--version",
        "2.0.0",
        "--counter",
        "7",
        "--minimum",
        "1",
        "--rollout-start",
        "1d",
        "--rollout-end",
        "2026-11-30",
    ]);
    bench.image("fw.bin", b"three");
    bench.release("fw.bin", "3.0.0");
    bench.sign(2);
    bench.publish();
    let targets = bench.public_json("1.targets.json");
    let candidates = &targets["signed"]["targets"]["thermo/rev-a/stable/release"]["custom"]["candidates"];
    assert_eq!(candidates[0]["counter"], 7, "a release without a counter has that of the one before");
    assert_eq!(candidates[1]["counter"], 7);
    assert_eq!(candidates[1]["minimum"], 1);
    assert_eq!(candidates[1]["rollout"]["start"], "2026-11-23T12:00:00Z");
    assert_eq!(candidates[1]["rollout"]["end"], "2026-11-30T00:00:00Z");
    assert_eq!(candidates[1]["rollout"]["salt"].as_str().unwrap().len(), 32);
    let said = bench.ok(&["verify"]);
    assert!(said.contains("release 2, version 2.0.0, from 2026-11-"), "{said}");
}

#[test]
fn publish_with_an_encrypted_key_takes_the_passphrase_from_variable_or_descriptor() {
    let bench = Bench::new();
    let passphrase = tuffet_keys::passphrase::Passphrase::new(b"correct horse".to_vec().into()).unwrap();
    bench.holders.online.write_new(&bench.path("locked.pem"), &passphrase).unwrap();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    let publish = ["publish", "--snapshot-key", "locked.pem", "--timestamp-key", "locked.pem"];
    let with = |variable: &str| bench.command(&publish).env("TUFFET_PASSPHRASE", variable).output().unwrap();
    assert_fails(&with("wrong horse"), 1, "K108");
    bench.fails(&PUBLISH[..5], 1, "K109");
    let output = with("correct horse");
    assert!(output.status.success(), "{}", text(&output.stderr));

    // One line for one file, though both roles use it.
    fs::write(bench.path("passphrase"), "correct horse\n").unwrap();
    let mut command = bench.command(&publish);
    command.args(["--passphrase-fd", "0"]).stdin(fs::File::open(bench.path("passphrase")).unwrap());
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert_eq!(bench.public_json("timestamp.json")["signed"]["version"], 2);
}

#[test]
fn publish_with_nothing_staged_refreshes_the_timestamp_and_the_snapshot_when_due() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let versions = |bench: &Bench| {
        let timestamp = bench.public_json("timestamp.json");
        let snapshot = timestamp["signed"]["meta"]["snapshot.json"]["version"].as_u64().unwrap();
        (timestamp["signed"]["version"].as_u64().unwrap(), snapshot)
    };
    let said = bench.ok_at(NOW + 6 * DAY, &PUBLISH);
    assert!(!said.contains("published snapshot"), "{said}");
    assert_eq!(versions(&bench), (2, 1));
    bench.ok_at(NOW + 22 * DAY, &PUBLISH);
    assert_eq!(versions(&bench), (3, 1));
    bench.ok_at(NOW + 23 * DAY, &PUBLISH);
    assert_eq!(versions(&bench), (4, 2), "in the last week of its month");
    assert!(!bench.repo().join("public/2.targets.json").exists());
    // Expired for months: the repository comes back by itself.
    bench.ok_at(NOW + 120 * DAY, &PUBLISH);
    assert_eq!(versions(&bench), (5, 3));
    bench.ok_at(NOW + 120 * DAY, &["verify"]);
    let said = bench.ok_at(NOW + 160 * DAY, &PUBLISH);
    assert!(said.contains("`tuffet renew`"), "targets expire soon: {said}");
}

#[test]
fn renew_drafts_the_same_targets_for_longer() {
    let bench = Bench::new();
    bench.fails(&["renew", "targets"], 1, "T116");
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let later = NOW + 150 * DAY;
    bench.ok_at(later, &["renew", "targets"]);
    bench.sign(2);
    bench.ok_at(later, &PUBLISH);
    let (one, two) = (bench.public_json("1.targets.json"), bench.public_json("2.targets.json"));
    assert_eq!(one["signed"]["targets"], two["signed"]["targets"]);
    assert_eq!(two["signed"]["expires"], "2027-10-18T12:00:00Z");
}

#[test]
fn root_with_other_release_keys_has_targets_signed_anew() {
    let mut bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let fresh = tuffet_keys::key::SigningKey::generate().unwrap();
    let gone = bench.holders.release[0].public().keyid().to_owned();
    let root = bench.holders.next_root(|draft| {
        draft.remove_key(&Role::Targets, &gone).unwrap();
        draft.add_key(&Role::Targets, fresh.public()).unwrap();
    });
    fs::write(bench.path("2.root.json"), root).unwrap();

    let said = bench.ok(&["root", "add", "2.root.json"]);
    assert!(said.contains("staged root 2") && said.contains("drafted anew"), "{said}");
    assert_eq!(bench.ok(&["root", "add", "2.root.json"]), "root 2 is here already\n");
    bench.fails(&PUBLISH, 1, "T130");
    bench.holders.release[0] = fresh;
    bench.sign(2);
    let said = bench.publish();
    assert!(said.contains("published root 2") && said.contains("published targets 2"), "{said}");
    assert!(!bench.workspace().staged_root(2).exists());
    let said = bench.ok(&["verify"]);
    assert!(said.contains("root 2, "), "{said}");
}

#[test]
fn root_that_leaves_targets_alone_joins_the_next_publication() {
    let mut bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    let root = bench.holders.next_root(|_| {});
    fs::write(bench.path("2.root.json"), root).unwrap();
    let said = bench.ok(&["root", "add", "2.root.json"]);
    assert!(!said.contains("drafted anew"), "{said}");
    let said = bench.publish();
    assert!(
        said.contains("published root 2") && said.contains("published targets 1"),
        "signatures still count: {said}"
    );
    bench.ok(&["verify"]);
}

#[test]
fn root_with_another_online_key_has_snapshot_and_timestamp_signed_by_it() {
    let mut bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    let fresh = tuffet_keys::key::SigningKey::generate().unwrap();
    fresh.write_new_danger_unencrypted(&bench.path("fresh.pem")).unwrap();
    let gone = bench.holders.online.public().keyid().to_owned();
    let root = bench.holders.next_root(|draft| {
        for role in [Role::Snapshot, Role::Timestamp] {
            draft.remove_key(&role, &gone).unwrap();
            draft.add_key(&role, fresh.public()).unwrap();
        }
    });
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);
    let refused = bench.fails(&PUBLISH, 1, "T115");
    assert!(refused.contains(&gone), "{refused}");
    let said = bench.ok(&[
        "publish",
        "--snapshot-key",
        "fresh.pem",
        "--timestamp-key",
        "fresh.pem",
        "--danger-unencrypted",
    ]);
    assert!(said.contains("published snapshot 2"), "{said}");
    bench.ok(&["verify"]);
}

#[test]
fn dry_runs_write_nothing_and_say_the_same() {
    let bench = Bench::bare();
    bench.image("fw.bin", b"image");
    let init =
        ["init", "--root", "1.root.json", "--product", "thermo", "--hardware", "rev-a", "--slot-size", "64"];
    let release =
        ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", "1.0.0"];
    let dry = |arguments: &[&str]| {
        let before = bench.snapshot();
        let said = bench.ok(&[arguments, &["--dry-run"]].concat());
        assert_eq!(bench.snapshot(), before, "{arguments:?}");
        said
    };
    assert!(dry(&init).starts_with("would make a repository of thermo"));
    bench.ok(&init);
    assert!(dry(&release).starts_with("would stage thermo/rev-a/versions/1.0.0/fw.bin"));
    bench.ok(&release);
    bench.sign(2);
    assert!(dry(&PUBLISH).contains("would publish targets 1"));
    bench.publish();
}

#[test]
fn json_output_is_one_object_with_the_facts() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    let json = |arguments: &[&str]| -> Value {
        let said = bench.ok(&[&["--output", "json"], arguments].concat());
        assert_eq!(said.matches('\n').count(), 1);
        serde_json::from_str(&said).unwrap()
    };
    let release = json(&[
        "release",
        "add",
        "fw.bin",
        "--hardware",
        "rev-a",
        "--channel",
        "stable",
        "--version",
        "1.0.0",
    ]);
    assert_eq!(release["sequence"], 1);
    assert_eq!(release["sha256"], sha256(b"image"));
    assert_eq!(release["drafts"][0]["threshold"], 2);
    bench.sign(2);
    let published = json(&PUBLISH);
    assert_eq!(published["timestamp"], json!({ "version": 1, "expires": "2026-11-29T12:00:00Z" }));
    let files: Vec<_> =
        published["files"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
    assert_eq!(files.last(), Some(&"timestamp.json"));
    let verified = json(&["verify"]);
    assert_eq!(verified["releases"][0]["version"], "1.0.0");
    assert_eq!(verified["roles"]["targets"]["version"], 1);
    assert_eq!(verified["bytes"], files_length(&bench));
}

#[test]
fn output_that_nobody_reads_ends_quietly_and_a_full_disk_does_not() {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    let closed = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = bench.command(arguments).stdout(writer).output().unwrap();
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
    };
    closed(&PUBLISH);
    assert_eq!(bench.public_json("timestamp.json")["signed"]["version"], 1, "it was published all the same");
    for arguments in [
        &["verify"][..],
        &["--output", "json", "verify"],
        &["--help"],
        &["publish", "--help"],
        &["--version"],
    ] {
        closed(arguments);
    }
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = bench.command(&["verify"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).starts_with("error[T301]: cannot write standard output: "),
        "{}",
        text(&output.stderr)
    );
}

fn files_length(bench: &Bench) -> u64 {
    let targets = bench.public_json("1.targets.json");
    let targets = targets["signed"]["targets"].as_object().unwrap();
    targets.values().map(|target| target["length"].as_u64().unwrap()).sum()
}
