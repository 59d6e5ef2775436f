//! Requests that are reviewed and signed in one run.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use tuffet_keys::Role;
use tuffet_keys::canonical;
use tuffet_keys::request::Request;

use crate::delegated::{delegation, header, publish_targets, write};
use crate::support::*;

/// So many bins, for a screen that nobody would read to the end.
const BINS: usize = 64;

/// What the tests call the present, in seconds since 1970-01-01 UTC: 2026-11-22T13:14:15Z.
const PRESENT: u64 = 1_795_353_255;

/// A repository whose targets delegate to the bins, which l, m and n sign for: two of them.
fn holders() -> Room {
    bins_of(&["l", "m", "n"])
}

/// The same with other holders.
fn bins_of(holders: &[&str]) -> Room {
    let room = Room::with_keys(&["a", "b", "c", "x", "y", "l", "m", "n"]);
    room.first_root();
    let (keys, role) = delegation(&room, "bins", holders, 2, &[]);
    let bins = json!({
        "bit_length": 6, "keyids": role["keyids"], "name_prefix": "bins", "threshold": 2,
    });
    let delegations = json!({ "keys": keys, "succinct_roles": bins });
    publish_targets(&room, &header(1, json!({ "delegations": delegations, "targets": {} })));
    room
}

/// A request for a bin with these targets, in a directory of its version.
fn ask(room: &Room, bin: usize, version: u32, targets: &Value) -> String {
    let name = format!("bins-{bin:02x}");
    let signed = header(version, json!({ "targets": targets }));
    let role = Role::named(&name).unwrap();
    let (root, way) = (room.read("1.root.json"), [(Role::Targets, room.read("1.targets.json"))]);
    let payload = canonical::signed_bytes(&signed).unwrap();
    let request = Request::from_payload(role, payload, &[root], &way).unwrap();
    fs::create_dir_all(room.path(&version.to_string())).unwrap();
    let path = format!("{version}/{name}");
    request.create(&room.path(&path)).unwrap();
    path
}

fn ask_all(room: &Room, bins: usize, version: u32) -> Vec<String> {
    (0..bins).map(|bin| ask(room, bin, version, &json!({}))).collect()
}

fn sign<'a>(requests: &'a [String], options: &[&'a str]) -> Vec<&'a str> {
    let requests = requests.iter().map(String::as_str);
    ["sign", "--danger-unencrypted"].into_iter().chain(requests).chain(options.iter().copied()).collect()
}

/// The target of one bin alone: the first path of many that falls into it.
fn target_of(bin: usize) -> Value {
    let path = (0..).map(|number| format!("lamp/{number}")).find(|path| {
        let digest: [u8; 32] = Sha256::digest(path).into();
        usize::from(digest[0] >> 2) == bin
    });
    let mut targets = Map::new();
    targets.insert(path.unwrap(), json!({ "hashes": { "sha256": "ab".repeat(32) }, "length": 9 }));
    Value::Object(targets)
}

#[test]
fn several_requests_are_listed_with_their_digests_and_the_new_ones_shown() {
    let room = holders();
    let first = ask_all(&room, BINS, 1);
    room.ok(&sign(&first, &["--yes", "--key", "l.pem", "m.pem"]));
    // They are finished elsewhere and published, and learned as a whole.
    let mut meta = json!({ "targets.json": { "version": 1 } });
    fs::create_dir(room.path("public")).unwrap();
    for (bin, request) in first.iter().enumerate() {
        let file = Request::read(&room.path(request)).unwrap().finish(PRESENT).unwrap();
        fs::write(room.path(&format!("public/1.bins-{bin:02x}.json")), file).unwrap();
        meta[format!("bins-{bin:02x}.json")] = json!({ "version": 1 });
    }
    let mut snapshot = header(1, json!({ "meta": meta }));
    snapshot["_type"] = json!("snapshot");
    write(&room, "snapshot.json", &snapshot);
    room.ok(&["request", "snapshot.json", "--repository", ".", "--out", "s.request"]);
    room.sign("s.request", "online", "s.signed");
    room.ok(&["finish", "s.signed", "--out", "public/1.snapshot.json"]);
    for file in ["1.root.json", "1.targets.json"] {
        fs::copy(room.path(file), room.path(&format!("public/{file}"))).unwrap();
    }
    let learned = room.ok(&["learn", "public"]);
    assert_eq!(learned.matches(": verified\n").count(), BINS, "{learned}");

    // The next release touches two of them.
    let second: Vec<String> = (0..BINS)
        .map(|bin| {
            let targets = if bin == 3 || bin == 0x20 { target_of(bin) } else { json!({}) };
            ask(&room, bin, 2, &targets)
        })
        .collect();
    let review: Vec<&str> = ["review"].into_iter().chain(second.iter().map(String::as_str)).collect();
    let text = room.ok(&review);
    for request in &second {
        let request = Request::read(&room.path(request)).unwrap();
        let digest = request.sha256();
        let groups: Vec<&str> = (0..8).map(|group| &digest[8 * group..8 * group + 8]).collect();
        let title = format!("\nbins-{} version 2: ", &request.header().role.name()[5..]);
        let at = text.find(&title).unwrap_or_else(|| panic!("{title} is not in {text}"));
        let line = text[at + 1..].lines().nth(1).unwrap();
        assert_eq!(line, format!("  sha256 {}", groups.join(" ")), "{title}");
        assert!(line.len() <= 80, "{line}");
    }
    for shown in ["bins-03", "bins-20"] {
        assert!(text.contains(&format!("{shown} version 2\n  to sign    ")), "{text}");
        assert!(text.contains(&format!("{shown} version 2: 2 changes since version 1; ")), "{text}");
    }
    assert_eq!(text.matches("\n  to sign    ").count(), 2, "{text}");
    assert_eq!(text.matches(" version 2: renews version 1; ").count(), BINS - 2);
    assert!(text.contains("requests: 64; 2 are shown above, 62 renew what was seen here before\n"), "{text}");
    assert!(text.ends_with("warnings in all: none\n"), "{text}");
    assert!(text.lines().count() < 2 * BINS + 60, "{} lines", text.lines().count());

    // The same for programs.
    let json: Value = serde_json::from_str(&room.ok(&[&review[..], &["--output", "json"]].concat())).unwrap();
    let changed = json.as_array().unwrap().iter().filter(|it| it["changes"].as_array().unwrap().len() > 1);
    let titles: Vec<&str> = changed.map(|it| it["title"].as_str().unwrap()).collect();
    assert_eq!(
        (titles, json.as_array().unwrap().len()),
        (vec!["bins-03 version 2", "bins-20 version 2"], BINS)
    );

    // One passphrase, one answer: the descriptor has a line, and no second one.
    let mut backup = room.keys(&["backup", "m.pem", "--out", "sealed.pem", "--danger-unencrypted"]);
    let backup = backup.env("TUFFET_NEW_PASSPHRASE", "a secret of dice").output().unwrap();
    succeeded(&backup, &["backup"]);
    fs::write(room.path("passphrase"), "a secret of dice\n").unwrap();
    let (done, screen) = typed(
        &room,
        "64\n",
        "sign 2/* --key sealed.pem --passphrase-fd 3 --transcript transcript 3< passphrase",
    );
    assert!(done, "{screen}");
    assert!(screen.contains("Type the number of requests 64 to sign: "), "{screen}");
    assert_eq!(screen.matches("wrote 2/bins-").count(), BINS, "{screen}");
    let m = keyid(&room, "m.pub.pem");
    for request in &second {
        assert_eq!(signatures(&room, request), core::slice::from_ref(&m), "{request}");
    }
    let transcript = String::from_utf8(room.read("transcript")).unwrap();
    assert_eq!(transcript.lines().count(), BINS);
}

/// Every file of the room, and what the holder knows.
fn everything(room: &Room) -> (Vec<(PathBuf, Vec<u8>)>, usize) {
    let files = room.files().into_iter().map(|name| {
        let path = room.path(&name);
        let bytes = if path.is_file() { fs::read(&path).unwrap() } else { Vec::new() };
        (path, bytes)
    });
    let signed = room.state().join(room.repository("1.ab")).join("signed");
    (files.collect(), fs::read_dir(signed).unwrap().count())
}

#[test]
fn several_requests_of_which_one_cannot_be_agreed_to_are_all_left_alone() {
    let room = holders();
    let requests = ask_all(&room, 3, 1);
    let late = ask_all(&room, 1, 2);
    let before = |room: &Room| {
        let bytes: Vec<Vec<u8>> = requests.iter().chain(&late).map(|path| room.read(path)).collect();
        (bytes, everything(room).1)
    };
    let there = before(&room);
    let yes = ["--yes", "--key", "l.pem"];
    let with = |more: &[&str]| {
        let more: Vec<String> = more.iter().map(|path| (*path).to_owned()).collect();
        [&requests[..], &more].concat()
    };
    fs::write(room.path("cut"), &room.read(&requests[0])[..900]).unwrap();

    // Each that is bad is named, on a line of its own, and the first says the status.
    let output = room.keys(&sign(&with(&["cut", "none"]), &yes)).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!((output.status.code(), lines.len(), output.stdout.len()), (Some(1), 2, 0), "{errors}");
    assert!(lines[0].contains("[K102]") && lines[0].contains("cut"), "{errors}");
    assert!(lines[1].contains("[K301]") && lines[1].contains("none"), "{errors}");

    let refused_with = |more: &[&str], options: &[&str], code, says| {
        room.refused(&sign(&with(more), &[&yes[..], options].concat()), code, says);
        assert_eq!(before(&room), there, "{more:?} {options:?}");
    };
    refused_with(&["1.ab"], &[], 209, "sign it by itself: 1.ab");
    refused_with(&[&late[0]], &[], 209, "two requests for one role");
    refused_with(&[&requests[1]], &[], 209, "two requests for one role");
    refused_with(&[], &["--out", "copy"], 209, "--out goes with one REQUEST");
    refused_with(&[], &["--despite", "1"], 133, "there are no warnings");
    refused_with(&[], &["--digest", &"0".repeat(64)], 134, "another repository");
    for answer in ["\n", "1\n", "yes\n", "2\n", "33\n"] {
        let (done, screen) = typed(&room, answer, "sign 1/* --danger-unencrypted --key l.pem");
        assert!(!done && screen.contains("[K119]") && screen.contains("3 was not typed"), "{screen}");
        assert_eq!(before(&room), there);
    }

    // An hour before it was issued, and after it expired.
    for (now, code) in [("2026-11-20T12:00:00Z", "K123"), ("2027-05-23T00:00:00Z", "K137")] {
        let mut command = room.command(BINARY);
        let output = command.args(["--now", now]).args(sign(&requests, &yes)).output().unwrap();
        let errors = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        assert_eq!((errors.lines().count(), errors.matches(code).count()), (3, 3), "{errors}");
        assert_eq!(before(&room), there);
    }
    room.ok(&sign(&requests, &yes));
}

#[test]
fn several_requests_of_which_some_are_not_for_the_key_are_signed_without_those() {
    let room = holders();
    let requests = ask_all(&room, 4, 1);
    let one = room.ok(&sign(&requests[1..2], &["--yes", "--key", "l.pem"]));
    assert!(one.contains("\nsigned bins-01 version 1 with key "), "{one}");
    // Targets have other holders.
    let targets = header(2, json!({ "targets": {} }));
    write(&room, "targets.json", &targets);
    room.ok(&["request", "targets.json", "--repository", ".", "--out", "targets"]);
    let (signed, foreign) = (room.read(&requests[1]), room.read("targets"));

    let warnings = room.warnings("targets").to_string();
    let all = [&requests[..], &["targets".to_owned()]].concat();
    let output =
        room.keys(&sign(&all, &["--yes", "--despite", &warnings, "--key", "l.pem"])).output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    let lines: Vec<&str> = errors.lines().collect();
    assert_eq!((output.status.code(), lines.len()), (Some(1), 2), "{errors}");
    assert!(lines[0].contains("[K113]") && lines[0].contains(": 1/bins-01 with l.pem; "), "{errors}");
    assert!(lines[1].contains("[K111]") && lines[1].contains(": targets with l.pem; "), "{errors}");
    assert_eq!((room.read(&requests[1]), room.read("targets")), (signed, foreign));
    let l = keyid(&room, "l.pub.pem");
    for request in &requests {
        assert_eq!(signatures(&room, request), core::slice::from_ref(&l), "{request}");
    }

    // A key that cannot be opened signs nothing, even if the one before it could.
    let before: Vec<Vec<u8>> = requests.iter().map(|path| room.read(path)).collect();
    room.refused(&sign(&requests, &["--yes", "--key", "m.pem", "none.pem"]), 301, "none.pem");
    assert_eq!(requests.iter().map(|path| room.read(path)).collect::<Vec<_>>(), before);
}

/// Release holders who sign for the bins, too, are told so of every bin, in the same words.
#[test]
fn several_requests_with_the_same_warning_are_agreed_to_once() {
    let room = bins_of(&["x", "y"]);
    let first = ask_all(&room, 3, 1);
    room.refused(&sign(&first, &["--yes", "--key", "x.pem", "y.pem"]), 133, "there are warnings, 2 of them");
    room.ok(&sign(&first, &["--yes", "--despite", "2", "--key", "x.pem", "y.pem"]));
    for (bin, request) in first.iter().enumerate() {
        let file = format!("1.bins-{bin:02x}.json");
        fs::write(room.path(&file), Request::read(&room.path(request)).unwrap().finish(PRESENT).unwrap())
            .unwrap();
        room.ok(&["learn", &file]);
    }

    let second =
        [ask(&room, 0, 2, &json!({})), ask(&room, 1, 2, &target_of(1)), ask(&room, 2, 2, &json!({}))];
    let text = room.ok(&["review", &second[0], &second[1], &second[2]]);
    assert_eq!(text.matches("\n  to sign    ").count(), 1, "{text}");
    assert!(text.contains("\nbins-00 version 2: renews version 1, 2 warnings; "), "{text}");
    assert!(
        text.contains("1 is shown above, 2 renew what was seen here before\nwarnings in all: 2\n"),
        "{text}"
    );
    assert_eq!(text.matches("\n  ! 3 requests: key ").count(), 2, "{text}");
    // One that only one of them has is told there, and counted.
    fs::write(room.path("other.bin"), b"another").unwrap();
    let text = room.ok(&["review", &second[0], &second[1], &second[2], "--rebuilt", "other.bin"]);
    assert!(text.contains("\nbins-00 version 2: 1 change since version 1, 3 warnings; "), "{text}");
    assert!(text.contains("2 are shown above, 1 renews"), "{text}");
    assert!(text.contains("\nwarnings in all: 4\n"), "{text}");
    let (done, screen) = typed(&room, "3 despite 2\n", "sign 2/* --danger-unencrypted --key x.pem");
    assert!(done && screen.contains("There are 2 warnings. "), "{screen}");
}

#[test]
fn several_requests_of_which_one_changes_at_the_prompt_are_signed_without_it() {
    let room = holders();
    let requests = ask_all(&room, 3, 1);
    let line = format!(
        "exec {BINARY} --now {NOW} sign 1/bins-00 1/bins-01 1/bins-02 --danger-unencrypted --key l.pem > out 2> errors"
    );
    let mut script = room.command("script");
    let running = script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut running = running.spawn().unwrap();
    let asked = || fs::read_to_string(room.path("errors")).is_ok_and(|text| text.ends_with(" to sign: "));
    while !asked() {
        std::thread::sleep(core::time::Duration::from_millis(5));
    }
    // The same bin, with a target that nobody has looked at.
    fs::remove_file(room.path(&requests[1])).unwrap();
    ask(&room, 1, 1, &target_of(1));
    let other = room.read(&requests[1]);
    running.stdin.take().unwrap().write_all(b"3\n").unwrap();
    assert_eq!(running.wait().unwrap().code(), Some(1));
    let errors = String::from_utf8(room.read("errors")).unwrap();
    assert!(errors.contains("error[K124]") && errors.contains(": 1/bins-01; "), "{errors}");
    assert_eq!(errors.matches("error[").count(), 1, "{errors}");
    assert_eq!(room.read(&requests[1]), other);
    let signed: Vec<usize> = requests.iter().map(|request| signatures(&room, request).len()).collect();
    assert_eq!(signed, [1, 0, 1]);
}

/// An image is in one of the bins: the others do not lack it.
#[test]
fn several_requests_are_searched_together_for_an_image() {
    let room = holders();
    let mut targets = target_of(2);
    let image = b"an image";
    let digest: [u8; 32] = Sha256::digest(image).into();
    let digest: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    let target = targets.as_object_mut().unwrap().values_mut().next().unwrap();
    *target = json!({ "hashes": { "sha256": digest }, "length": image.len() });
    let requests = [ask(&room, 1, 1, &json!({})), ask(&room, 2, 1, &targets), ask(&room, 3, 1, &json!({}))];
    fs::write(room.path("lamp.bin"), image).unwrap();
    fs::write(room.path("other.bin"), b"another").unwrap();
    let review = |images: &[&str]| {
        let requests = requests.iter().map(String::as_str);
        let arguments =
            ["review"].into_iter().chain(requests).chain(["--rebuilt"]).chain(images.iter().copied());
        room.ok(&arguments.collect::<Vec<_>>())
    };
    let text = review(&["lamp.bin"]);
    assert!(
        text.contains("has the bytes of lamp.bin") && text.ends_with("warnings in all: none\n"),
        "{text}"
    );
    let text = review(&["lamp.bin", "other.bin"]);
    assert_eq!(text.matches("has the bytes of other.bin").count(), 1, "{text}");
    assert!(text.contains("\nbins-01 version 1: all of it is new, 1 warning; "), "{text}");
    assert!(text.ends_with("warnings in all: 1\n"), "{text}");
}
