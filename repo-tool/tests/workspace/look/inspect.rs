use std::fs;

use serde_json::{Value, json as value};
use tuffet::demo::mirror::{Fault, Mirror};
use tuffet::look::inspect::{Manner, inspect};
use tuffet::look::place::Place;
use tuffet_agent::http::HttpOptions;
use tuffet_keys::Role;
use tuffet_keys::names::Names;

use super::{bench, json, look, name_keys, said};
use crate::support::{Bench, NOW, sha256};

#[test]
fn inspect_of_targets_shows_dates_signers_and_a_tree() {
    let bench = bench();
    name_keys(&bench);
    let path = "repo/public/1.targets.json";
    let file = fs::read(bench.path(path)).unwrap();
    let length = file.len();
    let envelope = tuffet_keys::metadata::Envelope::parse(&file).unwrap();
    let mut keys = String::new();
    for (keyid, _) in &envelope.signatures {
        let index = bench.holders.release.iter().position(|key| key.public().keyid() == keyid).unwrap();
        keys += &format!("    {}  release-{index}\n", &keyid[..16]);
    }
    let entry = envelope.signed["targets"]["thermo/rev-a/stable/release"]["length"].as_u64().unwrap();
    let bytes = tuffet::look::grouped(entry + 15);
    let digests = ["1.0.0", "1.1.0", "1.2.0"].map(|version| sha256(version.as_bytes())[..16].to_owned());
    let [one, two, three] = digests;
    let expected = format!(
        "{path}: targets version 1, {} bytes, signatures not verified
  issued     2026-11-22T12:00:00Z (now)
  expires    2027-05-21T12:00:00Z (in 180 days)
  format     TUF 1.0.34
  signatures: 2, not verified
{keys}  4 targets, {bytes} bytes
    thermo/
      rev-a/
        stable/
          release  3 releases
              3  1.2.0  counter 1, everybody
              2  1.1.0  counter 1, everybody
              1  1.0.0  counter 0, everybody
        versions/
          1.0.0/
            fw.bin  5 bytes, sha256 {one}
          1.1.0/
            fw.bin  5 bytes, sha256 {two}
          1.2.0/
            fw.bin  5 bytes, sha256 {three}
",
        tuffet::look::grouped(length as u64)
    );
    assert_eq!(said(&bench, &["inspect", path, "--names", "names"]), expected);
    let found = json(&bench, &["inspect", path]);
    assert_eq!(
        (&found["kind"], &found["role"], &found["version"]),
        (&value!("metadata"), &value!("targets"), &value!(1))
    );
    assert_eq!(found["signed"], envelope.signed);
    let late = bench.command_at(NOW + 200 * 86_400, &["inspect", path]).output().unwrap();
    assert!(String::from_utf8(late.stdout).unwrap().contains("(20 days ago), EXPIRED\n"));
}

#[test]
fn inspect_that_does_not_show_all_says_how_much_it_left_out() {
    let bench = bench();
    let names = Names::default();
    let shown = |most| {
        let place = Place::open(bench.repo().to_str().unwrap(), HttpOptions::default()).unwrap();
        inspect(place, &Manner { names: &names, most, now: NOW }).unwrap()
    };
    let (cut, whole) = (shown(2), shown(usize::MAX));
    assert_eq!(cut.json, whole.json);
    for line in ["  ... and 2 more roles (--all shows them)", "    ... and 2 more targets (--all shows them)"]
    {
        assert!(cut.lines.iter().any(|other| other == line), "{:?}", cut.lines);
        assert!(!whole.lines.iter().any(|other| other == line));
    }
}

#[test]
fn inspect_of_every_kind_says_what_it_is() {
    let bench = bench();
    bench.image("fw.bin", b"1.3.0");
    bench.ok(&[
        "release",
        "add",
        "fw.bin",
        "--hardware",
        "rev-a",
        "--channel",
        "stable",
        "--version",
        "1.3.0",
        "--counter",
        "1",
    ]);
    bench.sign(1);
    for (path, kind, words) in [
        ("repo/public/1.root.json", "metadata", "  targets: 2 of 3 keys must sign\n    key "),
        (
            "repo/public/timestamp.json",
            "metadata",
            "  names 1 file\n    snapshot.json            version 1, ",
        ),
        ("repo/public/1.snapshot.json", "metadata", "    targets.json             version 1, "),
        ("repo/staged/targets.request.json", "request", "  root 1: 1 of 2 have signed: "),
        (
            "repo/public",
            "repository",
            "  targets 1                expires 2027-05-21T12:00:00Z (in 180 days)\n",
        ),
        ("repo", "repository", "  snapshot 1               expires 2026-12-22T12:00:00Z (in 30 days)\n"),
        ("fw.bin", "image", "fw.bin: raw bytes, no metadata and no image for MCUboot, 5 bytes\n"),
    ] {
        let out = said(&bench, &["inspect", path]);
        assert!(out.contains(words), "{path}: {out}");
        let found = json(&bench, &["inspect", path]);
        assert_eq!((&found["kind"], &found["place"]), (&value!(kind), &value!(path)));
    }
    let mirror = Mirror::serve(&bench.repo().join("public")).unwrap();
    let at_url = |path: &str| said(&bench, &["inspect", &format!("{}/{path}", mirror.url())]);
    assert!(
        at_url("").contains("published repository")
            && at_url("timestamp.json").contains("timestamp version 1")
    );
    let image = bench.public_files().into_iter().find(|name| name.ends_with(".fw.bin")).unwrap();
    assert!(at_url(&image).contains(&format!(
        ", 5 bytes\n  sha256     {}",
        image.split('/').next_back().unwrap().split('.').next().unwrap()
    )));
}

/// An image for MCUboot as its documentation lays one out: header, payload, and the entries behind it.
fn mcuboot(payload: &[u8]) -> Vec<u8> {
    let mut image = Vec::new();
    for word in [0x96f3_b83d, 0, 32, payload.len() as u32, 0, 0x0003_0201, 4, 0] {
        image.extend(u32::to_le_bytes(word));
    }
    image.extend(payload);
    let digest: Vec<u8> =
        (0..64).step_by(2).map(|at| u8::from_str_radix(&sha256(&image)[at..at + 2], 16).unwrap()).collect();
    image.extend([0x07, 0x69, 40, 0, 0x10, 0, 32, 0]);
    image.extend(digest);
    image
}

#[test]
fn inspect_of_an_image_shows_what_its_header_says_or_what_is_wrong() {
    let bench = bench();
    let image = mcuboot(b"payload!");
    bench.image("fw.img", &image);
    let out = said(&bench, &["inspect", "fw.img"]);
    assert!(out.starts_with("fw.img: image for MCUboot, 80 bytes\n"), "{out}");
    assert!(out.contains("  version    1.2.3+4\n  counter    none\n"), "{out}");
    assert!(out.contains("  it has no signature for MCUboot\n"), "{out}");
    assert_eq!(json(&bench, &["inspect", "fw.img"])["format"], "mcuboot");
    let mirror = Mirror::serve(bench.directory.path()).unwrap();
    let url = format!("{}/fw.img", mirror.url());
    assert!(said(&bench, &["inspect", &url]).contains("  version    1.2.3+4\n"));
    bench.image("fw.img", &image[..70]);
    bench.fails(&["inspect", "fw.img"], 1, "T141");
    let message = bench.fails(&["inspect", &url], 1, "T141");
    assert!(message.contains(&url), "{message}");
    bench.image("empty", b"");
    bench.fails(&["inspect", "empty"], 1, "T103");
}

#[test]
fn inspect_of_foreign_metadata_shows_what_is_in_it() {
    let bench = Bench::bare();
    let file = value!({
        "signatures": [{ "keyid": "aa".repeat(32), "sig": "00" }],
        "signed": {
            "_type": "targets", "spec_version": "1.0.31", "version": 7, "expires": "2030-01-01T00:00:00Z",
            "targets": { "a.txt": { "length": 12, "hashes": { "sha512": "00" } } },
            "delegations": {
                "keys": { "bb": { "keytype": "ed25519", "scheme": "ed25519", "keyval": { "public": "00" } } },
                "roles": [{ "name": "x", "keyids": ["bb", "cc"], "threshold": 2, "terminating": false,
                            "path_hash_prefixes": ["00", "01"] }],
            },
            "x-more": { "a": { "b": 1, "c": [1, 2] } },
        },
    });
    fs::write(bench.path("7.targets.json"), serde_json::to_vec_pretty(&file).unwrap()).unwrap();
    let out = said(&bench, &["inspect", "7.targets.json"]);
    let expected = "
  issued     missing
  expires    2030-01-01T00:00:00Z (in 1136 days)
  format     TUF 1.0.31
  signatures: 1, not verified
    aaaaaaaaaaaaaaaa
  delegations: 1
    x: 2 of 2 keys must sign
      key bb  ed25519, which no device of ours knows
      key cc  which is not here
      digests from 00
      digests from 01
  1 target, 12 bytes
    a.txt  12 bytes, sha256 missing
  x-more:
    a:
      b: 1
      c: [1,2]
";
    assert!(out.ends_with(expected), "{out}");
}

/// All that may reach a terminal.
#[track_caller]
fn assert_plain(text: &str) {
    assert!(text.chars().all(|c| matches!(c, ' '..='~' | '\n')), "{text:?}");
}

#[test]
fn inspect_and_diff_of_hostile_texts_do_not_steer_the_terminal() {
    let bench = Bench::bare();
    let evil = "\u{1b}[2J\r\n\u{9b}x\u{202e}\u{7f}";
    let mut file = value!({
        "signatures": [{ "keyid": evil, "sig": evil, evil: evil }, evil],
        "signed": {
            "_type": "targets", "spec_version": evil, "version": 1, "expires": evil, "issued": evil, evil: { evil: evil },
            "targets": { evil: { "length": evil, "hashes": { "sha256": evil }, "custom": evil },
                         format!("p/h/{evil}/release"): { "custom": { "candidates": [evil] } } },
            "delegations": { "keys": { evil: { "keytype": evil, "scheme": evil, "keyval": { "public": evil } } },
                "roles": [{ "name": evil, "keyids": [evil], "threshold": evil, "paths": [evil] }],
                "succinct_roles": { "name_prefix": evil, "bit_length": evil, "keyids": [evil], "threshold": 1 } },
        },
    });
    fs::write(bench.path("1.targets.json"), file.to_string()).unwrap();
    file["signed"]["targets"] = value!({ evil: 1 });
    file["signed"]["version"] = value!(evil);
    fs::write(bench.path("2.targets.json"), file.to_string()).unwrap();
    let halts = value!({ "signatures": [], "signed": { "_type": "timestamp", "halt": [evil], "meta": { evil: evil } } });
    fs::write(bench.path("timestamp.json"), halts.to_string()).unwrap();
    let twice = format!("{{\"signed\":{{\"{0}\":1,\"{0}\":2}}}}", "\\u001b[2J\\u009b");
    fs::write(bench.path("twice.json"), twice).unwrap();
    fs::write(bench.path(&format!("{}.json", evil.trim_end())), "{}").unwrap();
    let odd = format!("{evil}.json");
    for arguments in [
        &["inspect", "1.targets.json"][..],
        &["inspect", "1.targets.json", "--all"],
        &["inspect", "2.targets.json"],
        &["inspect", "timestamp.json"],
        &["inspect", "."],
        &["inspect", "twice.json"],
        &["inspect", &odd],
        &["inspect", evil],
        &["diff", "1.targets.json", "2.targets.json"],
        &["diff", "2.targets.json", "1.targets.json"],
        &["diff", evil, "1.targets.json"],
    ] {
        for form in ["text", "json"] {
            let (_, out, error) = look(&bench, &[&["--output", form], arguments].concat());
            assert_plain(&out);
            assert_plain(&error);
            assert!(error.matches('\n').count() <= 1, "{error}");
            if form == "json" && error.is_empty() {
                let _: Value = serde_json::from_str(&out).unwrap();
            }
        }
    }
}

#[test]
fn inspect_of_what_is_deep_long_or_endless_ends() {
    let bench = Bench::bare();
    let write = |name: &str, text: String| fs::write(bench.path(name), text).unwrap();
    write("deep.json", format!("{{\"signed\":{}1{}}}", "{\"a\":".repeat(100_000), "}".repeat(100_000)));
    bench.fails(&["inspect", "deep.json"], 1, "K102");
    write("cut.json", "{\"signed\":{\"_type\":\"root\"".to_owned());
    bench.fails(&["inspect", "cut.json"], 1, "K102");
    write("large.json", format!("{{\"signed\":\"{}\"}}", "a".repeat(17 << 20)));
    bench.fails(&["inspect", "large.json"], 1, "K101");
    write("none.json", "{\"signed\":{}}".to_owned());
    bench.fails(&["inspect", "none.json"], 1, "T152");
    write("list.json", "[]".to_owned());
    bench.fails(&["inspect", "list.json"], 1, "T152");
    // One path of a hundred thousand directories, and a text of a megabyte.
    let path = "a/".repeat(100_000);
    let signed =
        value!({ "_type": "targets", "version": 1, "targets": { path: {} }, "x": "b".repeat(1 << 20) });
    write("1.targets.json", value!({ "signed": signed, "signatures": 5 }).to_string());
    assert_eq!(said(&bench, &["inspect", "1.targets.json"]).lines().count(), 4 + 2 + 16 + 1);

    // Nobody ever writes into it.
    std::process::Command::new("mkfifo").arg(bench.path("pipe.json")).status().unwrap();
    let piped = bench.command(&["inspect", "pipe.json"]).output().unwrap();
    crate::support::assert_fails(&piped, 3, "T301");
    fs::create_dir(bench.path("brought")).unwrap();
    fs::copy(bench.path("1.root.json"), bench.path("brought/1.root.json")).unwrap();
    fs::rename(bench.path("pipe.json"), bench.path("brought/timestamp.json")).unwrap();
    for arguments in [
        &["inspect", "brought"][..],
        &["diff", "brought", "brought"],
        &["verify", "brought", "--root", "1.root.json"],
    ] {
        let piped = bench.command(arguments).output().unwrap();
        crate::support::assert_fails(&piped, 3, "T301");
    }
    fs::remove_dir_all(bench.path("brought")).unwrap();
    let mirror = Mirror::serve(bench.directory.path()).unwrap();
    mirror.set_fault("/timestamp.json", Fault::Endless);
    mirror.set_fault("/x.json", Fault::Endless);
    bench.fails(&["inspect", &format!("{}/x.json", mirror.url())], 1, "K101");
    mirror.clear_faults();
    bench.fails(&["inspect", &format!("{}/nothing.bin", mirror.url())], 3, "T305");
    bench.fails(&["inspect", "http://example.com/"], 2, "T206");
    bench.fails(&["inspect", "ftp://example.com/"], 2, "T206");
}

/// Every value with one node replaced by something else.
fn mutants(value: &Value) -> Vec<Value> {
    let mut all: Vec<Value> =
        [value!(null), value!(-1), value!(1.5), value!("x"), value!([1]), value!({ "x": 1 })].into();
    let mut within =
        |place: &dyn Fn(Value) -> Value, inner: &Value| all.extend(mutants(inner).into_iter().map(place));
    match value {
        Value::Object(members) => {
            for (name, inner) in members {
                let place = |replaced: Value| {
                    let mut copy = members.clone();
                    copy.insert(name.clone(), replaced);
                    Value::Object(copy)
                };
                within(&place, inner);
            }
        }
        Value::Array(items) => {
            for (index, inner) in items.iter().enumerate() {
                let place = |replaced: Value| {
                    let mut copy = items.clone();
                    copy[index] = replaced;
                    Value::Array(copy)
                };
                within(&place, inner);
            }
        }
        _ => {}
    }
    all
}

#[test]
fn inspect_and_diff_of_metadata_of_any_other_shape_say_something_or_refuse() {
    let bench = Bench::delegated(&[]);
    bench.sign(2);
    bench.image("fw.bin", b"image");
    bench.ok(&[
        "release",
        "add",
        "fw.bin",
        "--hardware",
        "rev-a",
        "--channel",
        "stable",
        "--version",
        "1.0.0",
        "--rollout-end",
        "7d",
    ]);
    bench.sign_role(&Role::Delegated("thermo".to_owned()), &bench.holders.product[..2]);
    bench.publish();
    let names = Names::default();
    let (mut shown, mut refused) = (0, 0);
    for name in ["1.root.json", "1.targets.json", "1.thermo.json", "1.snapshot.json", "timestamp.json"] {
        let original = bench.repo().join("public").join(name);
        let changed = bench.path(name);
        let open = |path: &std::path::Path| Place::open(path.to_str().unwrap(), HttpOptions::default());
        for mutant in mutants(&bench.public_json(name)) {
            fs::write(&changed, mutant.to_string()).unwrap();
            for most in [2, usize::MAX] {
                let manner = Manner { names: &names, most, now: NOW };
                match open(&changed).and_then(|place| inspect(place, &manner)) {
                    Ok(inspection) => {
                        assert_plain(&inspection.lines.join("\n"));
                        shown += 1;
                    }
                    Err(_) => refused += 1,
                }
            }
            if let (Ok(before), Ok(after)) = (open(&original), open(&changed)) {
                // Files of another role cannot be compared, and that is all that there is to say.
                let _ = tuffet::look::diff::diff(before, after, NOW);
            }
        }
    }
    assert!(shown > 1000 && refused > 50, "{shown} {refused}");
}
