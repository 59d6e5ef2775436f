//! What a holder has verified before, and what a request is held against.

use std::fs;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tuffet_keys::Role;
use tuffet_keys::request::Request;

use crate::support::*;

/// A candidate of a release, and its image as a target.
fn with_release(mut targets: Value, sequence: u32, counter: u32, image: &[u8]) -> Value {
    let path = format!("acme/board/versions/{sequence}/fw.bin");
    let hashes = json!({ "sha256": hex(image) });
    targets["targets"][&path] = json!({ "length": image.len(), "hashes": hashes });
    let candidate = json!({
        "sequence": sequence, "version": format!("1.{sequence}.0"), "counter": counter, "minimum": 0,
        "image": { "path": path, "length": image.len(), "hashes": hashes }
    });
    let release = &mut targets["targets"]["acme/board/stable/release"];
    if release.is_null() {
        *release = json!({ "length": 1, "hashes": { "sha256": "ab".repeat(32) },
            "custom": { "format": 1, "candidates": [] } });
    }
    release["custom"]["candidates"].as_array_mut().unwrap().insert(0, candidate);
    targets
}

fn targets(version: u32) -> Value {
    json!({
        "_type": "targets", "version": version, "spec_version": "1.0.34",
        "issued": "2026-11-20T13:14:15Z", "expires": "2027-05-22T13:14:15Z", "targets": {}
    })
}

fn hex(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A request for targets under root 1.
fn request(room: &Room, signed: &Value, out: &str) {
    let root = room.read("1.root.json");
    Request::draft(Role::Targets, signed, &[root]).unwrap().write(&room.path(out)).unwrap();
}

/// The same, signed by both holders and finished.
fn published(room: &Room, signed: &Value, out: &str) {
    request(room, signed, "published");
    let sign = ["sign", "published", "--danger-unencrypted", "--yes", "--key", "x.pem", "y.pem"];
    room.ok(&sign);
    room.ok(&["finish", "published", "--out", out]);
    fs::remove_file(room.path("published")).unwrap();
}

fn holders() -> Room {
    let room = Room::with_keys(&["a", "b", "c", "d", "x", "y"]);
    room.first_root();
    room
}

fn warnings(room: &Room, arguments: &[&str]) -> Vec<String> {
    let review: Value = serde_json::from_str(&room.ok(arguments)).unwrap();
    let names = review["warnings"].as_array().unwrap();
    names.iter().map(|warning| warning["name"].as_str().unwrap().to_owned()).collect()
}

/// What is warned of in this request, by the text and the JSON alike.
#[track_caller]
fn warned(room: &Room, request: &str, names: &[&str]) {
    let review = ["review", request, "--output", "json"];
    assert_eq!(warnings(room, &review), names);
    let text = room.ok(&["review", request]);
    assert_eq!(text.matches("\n  ! ").count(), names.len(), "{text}");
    assert!(names.iter().all(|name| text.contains(&format!(" [{name}]\n"))), "{text}");
}

#[test]
fn repository_that_a_holder_did_not_agree_to_is_not_signed_for() {
    let room = holders();
    request(&room, &targets(1), "request");
    let other = Room::with_keys(&[]);
    for file in ["request", "1.root.json", "x.pem"] {
        fs::copy(room.path(file), other.path(file)).unwrap();
    }
    let digest = other.ok(&["review", "request", "--output", "json"]);
    let digest: Value = serde_json::from_str(&digest).unwrap();
    assert_eq!(digest["repository"]["known"], false);
    let digest = digest["repository"]["sha256"].as_str().unwrap().to_owned();
    let sign = ["sign", "request", "--danger-unencrypted", "--yes", "--key", "x.pem"];
    let before = other.read("request");
    other.refused(&sign, 130, &digest);
    assert_eq!(other.read("request"), before);
    other.refused(&["learn", "1.root.json"], 209, "tuffet-keys trust 1.root.json");

    // The digest comes from another holder, not from the file.
    other.refused(&["trust", "1.root.json", "--digest", &"0".repeat(64)], 134, "0000: 1.root.json");
    other.refused(&["trust", "request"], 104, "request");
    other.refused(&sign, 130, &digest);
    let trusted = other.ok(&["trust", "1.root.json", "--digest", &digest]);
    assert!(trusted.ends_with(&format!("the repository whose root 1 is sha256 {digest}\n")), "{trusted}");
    other.ok(&sign);

    // Typed at a terminal: the first digits of the digest, and no other word.
    let third = Room::with_keys(&[]);
    fs::copy(room.path("1.root.json"), third.path("1.root.json")).unwrap();
    for wrong in ["yes", &digest[..15], &"0".repeat(64), &format!("{}0", &digest)] {
        let (done, screen) = typed(&third, &format!("{wrong}\n"), "trust 1.root.json");
        assert!(!done && screen.contains("[K119]"), "{screen}");
        // There is nothing on the screen that it could be copied from, but for what was typed.
        let groups = |text: &str| text.replace(' ', "").matches(&digest[..8]).count();
        assert_eq!(groups(&screen), groups(wrong), "{screen}");
    }
    let groups = format!("{} {} {}\n", &digest[..8].to_uppercase(), &digest[8..16], &digest[16..20]);
    let (done, screen) = typed(&third, &groups, "trust 1.root.json");
    assert!(done, "{screen}");
    // Without a terminal there is nobody to ask.
    let fourth = Room::with_keys(&[]);
    fs::copy(room.path("1.root.json"), fourth.path("1.root.json")).unwrap();
    fourth.refused(
        &["trust", "1.root.json"],
        303,
        "give the digest as another holder knows it with --digest",
    );
    assert_eq!(fs::read_dir(fourth.state()).unwrap().count(), 0);
}

#[test]
fn review_shows_what_is_new_since_what_was_verified() {
    let room = holders();
    let first = with_release(targets(1), 11, 3, b"image 11");
    request(&room, &first, "1.request");
    let text = room.ok(&["review", "1.request"]);
    assert!(text.contains("\nall of it is new: nothing of this role was seen here before\n"), "{text}");
    published(&room, &first, "1.targets.json");

    let mut second = with_release(targets(2), 11, 3, b"image 11");
    second = with_release(second, 12, 3, b"image 12");
    request(&room, &second, "2.request");
    let text = room.ok(&["review", "2.request", "--rebuilt", "1.targets.json", "a.pem"]);
    for line in [
        "changes since version 1, which was verified here\n",
        "  + acme/board/stable/release: sequence 12: version 1.12.0, security counter 3, ",
        "  + acme/board/versions/12/fw.bin: hashes (sha256 ",
        "  ~ version: 1 -> 2\n",
        "warnings: 3\n  ! no target that is to be signed has the bytes of 1.targets.json [rebuild-differs]\n",
        "  ! acme/board/versions/12/fw.bin is new, and none of the files has its bytes [not-rebuilt]\n",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert_eq!(text.matches("\n  + ").count() + text.matches("\n  - ").count(), 2, "{text}");

    // An image that a holder built himself is the one in the release; the one before is not new.
    fs::write(room.path("12.bin"), b"image 12").unwrap();
    fs::write(room.path("11.bin"), b"image 11").unwrap();
    let review = ["review", "2.request", "--output", "json", "--rebuilt", "12.bin"];
    assert_eq!(warnings(&room, &review), [""; 0]);
    let built: Value = serde_json::from_str(&room.ok(&review)).unwrap();
    assert_eq!(built["built"][0]["target"], "acme/board/versions/12/fw.bin");
    assert_eq!(built["before"], json!({ "source": "verified", "version": 1 }));
    assert_eq!(built["signed"], second);
    assert_eq!(
        warnings(&room, &["review", "2.request", "--output", "json", "--rebuilt", "11.bin"]),
        ["not-rebuilt"]
    );
    let text = room.ok(&["review", "2.request", "--rebuilt", "11.bin"]);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains("= acme/board/versions/11/fw.bin has the bytes of 11.bin, "), "{text}");
    assert!(text.contains(", and is not new "), "{text}");

    // Another holder of the same repository brings his own state up to date with the published files.
    let other = Room::with_keys(&[]);
    fs::create_dir(other.path("public")).unwrap();
    for file in ["1.root.json", "1.targets.json"] {
        fs::copy(room.path(file), other.path("public").join(file)).unwrap();
    }
    let digest: Value = serde_json::from_str(&room.ok(&review)).unwrap();
    let digest = digest["repository"]["sha256"].as_str().unwrap();
    other.ok(&["trust", "public/1.root.json", "--digest", digest]);
    let said = other.ok(&["learn", "public"]);
    let known = &digest[..16];
    assert_eq!(
        said,
        format!("root 1 of repository {known}: known already\ntargets 1 of repository {known}: verified\n")
    );
    fs::copy(room.path("2.request"), other.path("2.request")).unwrap();
    assert!(
        other.ok(&["review", "2.request"]).contains("changes since version 1, which was verified here\n")
    );
}

#[test]
fn learn_takes_nothing_that_the_known_roots_do_not_sign() {
    let room = holders();
    published(&room, &targets(1), "1.targets.json");
    let mut file = room.json("1.targets.json");
    file["signatures"].as_array_mut().unwrap().pop();
    fs::write(room.path("unsigned.json"), serde_json::to_vec(&file).unwrap()).unwrap();
    room.refused(&["learn", "unsigned.json"], 125, "C106");
    let stranger = holders();
    fs::copy(stranger.path("1.root.json"), room.path("theirs.json")).unwrap();
    // Of another repository, and not somebody's second root 1 of this one.
    room.refused(
        &["learn", "theirs.json"],
        209,
        "not trusted yet: begin with `tuffet-keys trust 1.root.json`",
    );
    room.refused(&["learn", "missing.json"], 301, "missing.json");
    fs::create_dir(room.path("empty")).unwrap();
    room.refused(&["learn", "empty"], 208, "no metadata");
}

#[test]
fn each_unusual_thing_about_targets_is_warned_of() {
    let room = holders();
    let first = with_release(targets(1), 11, 3, b"image 11");
    published(&room, &first, "1.targets.json");
    let mut next = first.clone();
    next["version"] = json!(2);
    let usual = with_release(next, 12, 4, b"image 12");
    let draft = |signed: &Value| request(&room, signed, "request");
    draft(&usual);
    warned(&room, "request", &[]);

    let with = |change: fn(&mut Value)| {
        let mut signed = usual.clone();
        change(&mut signed);
        draft(&signed);
    };
    let release = "acme/board/stable/release";
    for (change, name) in [
        ((|signed| signed["expires"] = json!("2027-05-22T13:14:14Z")) as fn(&mut Value), "expiry-shortened"),
        (|signed| signed["expires"] = json!("2028-11-22T13:14:15Z"), "expiry-far"),
        (|signed| signed["version"] = json!(3), "version-gap"),
    ] {
        with(change);
        warned(&room, "request", &[name]);
    }
    for (member, value, name) in [("sequence", 13, "sequence-jump"), ("counter", 5, "counter-jump")] {
        let mut signed = usual.clone();
        signed["targets"][release]["custom"]["candidates"][0][member] = json!(value);
        draft(&signed);
        warned(&room, "request", &[name]);
    }
    for (member, names) in
        [("sequence", ["release-gone", "sequence-back"]), ("counter", ["release-rewritten", "counter-back"])]
    {
        let mut signed = usual.clone();
        let candidates = signed["targets"][release]["custom"]["candidates"].as_array_mut().unwrap();
        candidates.remove(0);
        candidates[0][member] = json!(2);
        draft(&signed);
        warned(&room, "request", &names);
    }
    // What was verified before and is something else now: an image, a release by its parts, a release that is gone, all
    // of them.
    let image = "acme/board/versions/11/fw.bin";
    for (change, names) in [
        (
            (|signed, _| {
                signed["targets"]["acme/board/versions/11/fw.bin"]["hashes"]["sha256"] =
                    json!("00".repeat(32))
            }) as fn(&mut Value, &str),
            &["target-rewritten"][..],
        ),
        (
            |signed, entry| signed["targets"][entry]["custom"]["candidates"][1]["minimum"] = json!(5),
            &["release-rewritten"],
        ),
        (
            |signed, entry| signed["targets"][entry]["custom"]["candidates"][1]["version"] = json!("9"),
            &["release-rewritten"],
        ),
        (
            |signed, entry| {
                let candidate = &mut signed["targets"][entry]["custom"]["candidates"][1];
                candidate["image"]["hashes"]["sha256"] = json!("00".repeat(32));
            },
            &["release-rewritten"],
        ),
        (
            |signed, entry| {
                drop(signed["targets"][entry]["custom"]["candidates"].as_array_mut().unwrap().remove(1))
            },
            &["release-gone"],
        ),
        (|signed, entry| drop(signed["targets"].as_object_mut().unwrap().remove(entry)), &["release-gone"]),
    ] {
        let mut signed = usual.clone();
        change(&mut signed, release);
        draft(&signed);
        warned(&room, "request", names);
    }
    assert!(usual["targets"].get(image).is_some());
    // A list that is full loses its oldest without a word, and another one with one.
    let many = |version: u32, range: core::ops::RangeInclusive<u32>| {
        range.fold(targets(version), |signed, sequence| with_release(signed, sequence, 3, b"image"))
    };
    let full = holders();
    published(&full, &many(1, 1..=8), "1.targets.json");
    let mut signed = many(2, 2..=9);
    request(&full, &signed, "request");
    warned(&full, "request", &[]);
    let candidates = signed["targets"][release]["custom"]["candidates"].as_array_mut().unwrap();
    candidates.remove(3);
    request(&full, &signed, "request");
    warned(&full, "request", &["release-gone", "release-gone"]);

    // Behind the version that is known there is nothing to review.
    published(&room, &usual, "2.targets.json");
    room.refused(&["review", "request"], 132, "other bytes of targets 2");
    request(&room, &first, "old");
    room.refused(&["sign", "old", "--key", "x.pem"], 132, "targets 1, and targets 2 was verified");
}

#[test]
fn each_unusual_thing_about_a_root_is_warned_of() {
    let room = holders();
    let next = |arguments: &[&str]| {
        let _ = fs::remove_file(room.path("2.request"));
        let draft = ["root", "next", "--from", "1.root.json", "--out", "2.request"];
        room.ok(&[&draft[..], arguments].concat());
    };
    next(&["--remove-root-key", "a.pub.pem", "--add-root-key", "d.pub.pem"]);
    warned(&room, "2.request", &[]);
    next(&["--targets-threshold", "1"]);
    warned(&room, "2.request", &["threshold-lowered", "threshold-one"]);
    next(&["--expires", "300d"]);
    warned(&room, "2.request", &["expiry-shortened"]);
    next(&["--expires", "3 years"]);
    warned(&room, "2.request", &["expiry-far"]);
    next(&["--add-targets-key", "a.pub.pem"]);
    warned(&room, "2.request", &["key-in-several-roles"]);

    // The same online key for a second repository of the same holder.
    let second = ["root", "draft", "--root-key", "c.pub.pem", "d.pub.pem", "--targets-key", "x.pub.pem"];
    let rest = ["--targets-threshold", "1", "--snapshot-key", "online.pub.pem", "--timestamp-key"];
    room.ok(&[&second[..], &rest, &["online.pub.pem", "--out", "other.request"]].concat());
    warned(&room, "other.request", &["threshold-one", "key-of-another-repository"]);
    let text = room.ok(&["review", "other.request"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(" sign for another repository, too: "), "{text}");
}

#[test]
fn warnings_are_agreed_to_by_their_number() {
    let room = holders();
    room.ok(&["root", "next", "--from", "1.root.json", "--targets-threshold", "1", "--out", "request"]);
    let sign = ["sign", "request", "--danger-unencrypted", "--key", "a.pem"];
    let before = room.read("request");
    room.refused(&[&sign[..], &["--yes"]].concat(), 133, "2 of them");
    room.refused(&[&sign[..], &["--yes", "--despite", "1"]].concat(), 133, "--despite 2");
    for wrong in ["2\n", "2 despite 1\n", "1 despite 2\n", "despite 2\n"] {
        let (done, screen) = typed(&room, wrong, &sign.join(" "));
        assert!(!done && screen.contains("[K119]"), "{screen}");
        let question = "There are 2 warnings. To sign in spite of them, type `2 despite 2`: ";
        assert!(screen.contains(question), "{screen}");
    }
    assert_eq!(room.read("request"), before);
    let (done, screen) = typed(&room, "2 despite 2\n", &sign.join(" "));
    assert!(done, "{screen}");
    room.ok(&["sign", "request", "--danger-unencrypted", "--key", "b.pem", "--yes", "--despite", "2"]);
    // Of none nobody can have seen any.
    request(&room, &targets(1), "usual");
    let sign = ["sign", "usual", "--danger-unencrypted", "--key", "x.pem", "--yes", "--despite"];
    room.refused(
        &[&sign[..], &["1"]].concat(),
        133,
        "--despite 1 was given, and there are no warnings: usual; leave it out",
    );
    room.ok(&[&sign[..], &["0"]].concat());
}

#[test]
fn first_root_with_warnings_is_agreed_to_by_digest_and_number() {
    let room = Room::with_keys(&["a", "x"]);
    let draft =
        ["root", "draft", "--root-key", "a.pub.pem", "--root-threshold", "1", "--targets-key", "x.pub.pem"];
    let online = ["--targets-threshold", "1", "--snapshot-key", "online.pub.pem", "--timestamp-key"];
    room.ok(&[&draft[..], &online, &["online.pub.pem", "--out", "request"]].concat());
    let (count, digest) = (room.warnings("request"), room.repository("request"));
    assert!(count > 1);
    let before = room.read("request");
    for wrong in ["1", &format!("1 despite {count}"), &digest, &format!("{digest} despite 1")] {
        let (done, screen) =
            typed(&room, &format!("{wrong}\n"), "sign request --danger-unencrypted --key a.pem");
        assert!(!done && screen.contains("[K119]"), "{screen}");
        let question =
            format!("There are {count} warnings. To sign in spite of them, type the digest of root 1");
        assert!(screen.contains(&question), "{screen}");
    }
    assert_eq!(room.read("request"), before);
    let right = format!("{} {} despite {count}\n", &digest[..8], &digest[8..16]);
    let (done, screen) = typed(&room, &right, "sign request --danger-unencrypted --key a.pem");
    assert!(done, "{screen}");
    room.ok(&["finish", "request", "--out", "1.root.json"]);

    // Who agrees to it later is shown the same, and who has signed it.
    let other = Room::with_keys(&[]);
    fs::copy(room.path("1.root.json"), other.path("1.root.json")).unwrap();
    let said = other.ok(&["trust", "1.root.json", "--digest", &digest]);
    assert!(said.contains(&format!("\nwarnings: {count}\n  ! ")), "{said}");
    let signed = format!(
        "signatures under root 1: 1, needed 1\n  signed   key {}\n",
        &keyid(&room, "a.pub.pem")[..16]
    );
    assert!(said.contains(&signed), "{said}");
    // Once more it is no news.
    assert!(other.ok(&["trust", "1.root.json", "--digest", &digest]).contains("trusted from here on"));
}

#[test]
fn digest_of_a_repository_is_given_in_groups_and_capitals_and_counted() {
    let room = holders();
    let digest = room.repository("1.request");
    let capitals = digest.to_uppercase();
    let groups: Vec<&str> = (0..8).map(|group| &capitals[8 * group..8 * group + 8]).collect();
    let trust = ["trust", "1.root.json", "--digest"];
    for given in [&groups[..], &[&groups.join(" ")], &[&capitals]] {
        let other = Room::with_keys(&[]);
        fs::copy(room.path("1.root.json"), other.path("1.root.json")).unwrap();
        other.ok(&[&trust[..], given].concat());
    }
    let says = "not a SHA-256 digest: 16 characters: --digest; give all 64 hexadecimal digits";
    room.refused(&[&trust[..], &groups[..2]].concat(), 252, says);
}

#[test]
fn learn_says_which_root_is_missing() {
    let room = holders();
    let digest = room.repository("1.request");
    for version in [2, 3] {
        let (from, request) = (format!("{}.root.json", version - 1), format!("{version}.request"));
        room.ok(&["root", "next", "--from", &from, "--out", &request]);
        crate::root_life::finish(&room, &request, &["a", "b"], &format!("{version}.root.json"));
    }
    let other = Room::with_keys(&[]);
    for version in 1..=3 {
        let file = format!("{version}.root.json");
        fs::copy(room.path(&file), other.path(&file)).unwrap();
    }
    other.ok(&["trust", "1.root.json", "--digest", &digest]);
    let says = "root 3 is verified under root 2, and root 1 is the newest that is known here: 3.root.json; learn root 2 first";
    other.refused(&["learn", "3.root.json"], 255, says);
    other.ok(&["learn", "2.root.json", "3.root.json"]);
}

#[test]
fn holder_of_another_repository_is_told_which_he_knows() {
    let (room, stranger) = (holders(), holders());
    request(&stranger, &targets(1), "request");
    fs::copy(stranger.path("request"), room.path("request")).unwrap();
    let sign = ["sign", "request", "--danger-unencrypted", "--yes", "--key", "x.pem"];
    let says =
        format!("you know {}: if it should be for that, do not sign", &room.repository("1.request")[..16]);
    room.refused(&sign, 130, &says);
}

#[test]
fn other_bytes_of_a_version_that_was_signed_are_warned_of() {
    let room = holders();
    request(&room, &targets(1), "one");
    let sign = |request: &'static str| ["sign", request, "--danger-unencrypted", "--yes", "--key", "x.pem"];
    room.ok(&sign("one"));
    warned(&room, "one", &[]);
    let mut other = targets(1);
    other["targets"]["a"] = json!({ "length": 1, "hashes": { "sha256": "ab".repeat(32) } });
    request(&room, &other, "two");
    warned(&room, "two", &["signed-another"]);
    room.refused(&sign("two"), 133, "1 of them");
    // It was signed here, and nobody has seen it with all signatures.
    request(&room, &targets(2), "next");
    warned(&room, "next", &["before-not-verified"]);
    assert!(room.ok(&["review", "next"]).contains("changes since version 1, which was signed here\n"));
}

#[test]
fn root_that_forks_or_falls_back_is_not_signed() {
    let room = holders();
    let next = |out: &str, arguments: &[&str]| {
        room.ok(&[&["root", "next", "--from", "1.root.json", "--out", out][..], arguments].concat());
    };
    next("2.request", &[]);
    next("fork.request", &["--expires", "400d"]);
    let sign =
        |request: &'static str| ["sign", request, "--danger-unencrypted", "--yes", "--key", "a.pem", "b.pem"];
    room.ok(&sign("2.request"));
    room.ok(&["finish", "2.request", "--out", "2.root.json"]);
    room.refused(&sign("fork.request"), 131, "root 2");
    // Targets under root 1, when root 2 is known.
    request(&room, &targets(1), "targets");
    room.refused(&["sign", "targets", "--key", "x.pem"], 132, "root 1, and root 2 was verified");
    // The finished root itself may gather more signatures.
    room.ok(&["sign", "2.request", "--danger-unencrypted", "--yes", "--key", "c.pem"]);
}

#[test]
fn state_that_was_damaged_is_named_and_not_passed_over() {
    let room = holders();
    request(&room, &targets(1), "request");
    let repository = fs::read_dir(room.state()).unwrap().next().unwrap().unwrap().path();
    let root = repository.join("1.root.json");
    let whole = fs::read(&root).unwrap();
    fs::write(&root, &whole[..whole.len() / 2]).unwrap();
    room.refused(&["review", "request"], 314, &repository.display().to_string());
    room.refused(&["sign", "request", "--key", "x.pem"], 314, "root version 1");
    fs::write(&root, &whole).unwrap();
    room.ok(&["review", "request"]);
}

/// The digests were computed by `printf 'acme/board/stable/release\0\0\0\14' | sha256sum`.
#[test]
fn salt_that_somebody_chose_is_warned_of() {
    use tuffet_keys::review::salt;
    assert_eq!(salt("acme/board/stable/release", 12)[..4], [0xc3, 0x98, 0x4c, 0x87]);
    let room = holders();
    published(&room, &with_release(targets(1), 11, 3, b"image 11"), "1.targets.json");
    let mut signed = with_release(with_release(targets(2), 11, 3, b"image 11"), 12, 3, b"image 12");
    let rollout =
        |salt: &str| json!({ "start": "2026-11-23T13:14:15Z", "end": "2026-12-02T13:14:15Z", "salt": salt });
    let entry = "acme/board/stable/release";
    let derived: String = salt(entry, 12).iter().map(|byte| format!("{byte:02x}")).collect();
    for (salt, names) in [(derived, &[][..]), ("00".repeat(16), &["salt-of-its-own"])] {
        signed["targets"][entry]["custom"]["candidates"][0]["rollout"] = rollout(&salt);
        request(&room, &signed, "request");
        warned(&room, "request", names);
    }
    // What was verified with it is not warned of again.
    let sign =
        ["sign", "request", "--danger-unencrypted", "--yes", "--despite", "1", "--key", "x.pem", "y.pem"];
    room.ok(&sign);
    room.ok(&["finish", "request", "--out", "2.targets.json"]);
    signed["version"] = json!(3);
    request(&room, &signed, "request");
    warned(&room, "request", &[]);
}

/// Targets with these files, all alike.
fn with_files(version: u32, paths: &[&str]) -> Value {
    let mut signed = targets(version);
    for path in paths {
        signed["targets"][path] = json!({ "length": 1, "hashes": { "sha256": "ab".repeat(32) } });
    }
    signed
}

#[test]
fn targets_that_a_holder_signed_are_counted_and_those_that_he_merely_learned_are_shown() {
    let room = holders();
    published(&room, &with_files(1, &["a", "b"]), "1.targets.json");
    request(&room, &with_files(2, &["a", "b", "c"]), "two");
    let text = room.ok(&["review", "two"]);
    assert!(
        text.contains("  targets: 3, 2 of them as they were in version 1, which was signed here\n"),
        "{text}"
    );
    assert!(text.contains("\n    c\n") && !text.contains("\n    a\n"), "{text}");
    assert_eq!(room.ok(&["review", "two", "--output", "json"]).matches("\"length\": 1").count(), 3);

    // Others signed version 2, elsewhere, and this holder learns it.
    let elsewhere = Room::with_keys(&[]);
    for file in ["1.root.json", "1.targets.json", "two", "x.pem", "y.pem"] {
        fs::copy(room.path(file), elsewhere.path(file)).unwrap();
    }
    let digest = room.repository("two");
    elsewhere.ok(&["trust", "1.root.json", "--digest", &digest]);
    elsewhere.ok(&["learn", "1.targets.json"]);
    elsewhere.ok(&["sign", "two", "--danger-unencrypted", "--yes", "--key", "x.pem", "y.pem"]);
    elsewhere.ok(&["finish", "two", "--out", "2.targets.json"]);
    fs::copy(elsewhere.path("2.targets.json"), room.path("2.targets.json")).unwrap();
    room.ok(&["learn", "2.targets.json"]);
    // Of several, too, one that only renews what nobody showed him is shown.
    request(&room, &with_files(3, &["a", "b", "c"]), "renewal");
    fs::copy(room.path("renewal"), room.path("renewal.2")).unwrap();
    let text = room.ok(&["review", "renewal", "renewal.2"]);
    assert!(text.contains("requests: 2; 2 are shown above") && text.contains("\n    c\n"), "{text}");
    request(&room, &with_files(3, &["a", "b", "c", "d"]), "three");
    let text = room.ok(&["review", "three"]);
    assert!(text.contains("changes since version 2, which was verified here\n"), "{text}");
    assert!(
        text.contains("  targets: 4, 2 of them as they were in version 1, which was signed here\n"),
        "{text}"
    );
    assert!(
        text.contains("\n    c\n") && text.contains("\n    d\n") && !text.contains("\n    b\n"),
        "{text}"
    );
    // Who has signed nothing sees all.
    fs::remove_file(elsewhere.path("two")).unwrap();
    let newcomer = Room::with_keys(&[]);
    for file in ["1.root.json", "2.targets.json", "three"] {
        fs::copy(room.path(file), newcomer.path(file)).unwrap();
    }
    newcomer.ok(&["trust", "1.root.json", "--digest", &digest]);
    newcomer.ok(&["learn", "2.targets.json"]);
    let text = newcomer.ok(&["review", "three"]);
    assert!(text.contains("  targets: 4\n    a\n"), "{text}");
}

#[test]
fn root_that_no_next_one_could_follow_is_not_learned() {
    let room = holders();
    room.ok(&["root", "next", "--from", "1.root.json", "--out", "2.request"]);
    let mut signed = Request::read(&room.path("2.request")).unwrap().signed().value().clone();
    signed["x-note"] = json!("gr\u{fc}\u{df}");
    let keys = ["a", "b"].map(|name| {
        let secret = fs::read_to_string(room.path(&format!("{name}.pem"))).unwrap();
        let secret =
            <p256::ecdsa::SigningKey as p256::pkcs8::DecodePrivateKey>::from_pkcs8_pem(&secret).unwrap();
        (keyid(&room, &format!("{name}.pub.pem")), secret)
    });
    // Raw newlines of PEM keys, and the text as it stands, as a device hashes it.
    let message = signed.to_string().replace("\\n", "\n");
    let mut signatures: Vec<Value> = keys
        .iter()
        .map(|(keyid, secret)| {
            let signature: p256::ecdsa::Signature =
                p256::ecdsa::signature::Signer::sign(secret, message.as_bytes());
            let sig: String =
                signature.to_der().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
            json!({ "keyid": keyid, "sig": sig })
        })
        .collect();
    signatures.sort_by_key(|signature| signature["keyid"].to_string());
    let file = json!({ "signatures": signatures, "signed": signed }).to_string();
    fs::write(room.path("2.root.json"), file).unwrap();
    room.refused(&["learn", "2.root.json"], 103, "ASCII");
    request(&room, &targets(1), "request");
    room.ok(&["review", "request"]);
}

#[test]
fn damage_of_a_verified_file_is_named_keeps_it_and_stops_no_other_repository() {
    let room = holders();
    published(&room, &with_files(1, &["a"]), "1.targets.json");
    let repository = fs::read_dir(room.state()).unwrap().next().unwrap().unwrap().path();
    let kept = repository.join("targets.json");
    let whole = fs::read(&kept).unwrap();
    request(&room, &with_files(2, &["a"]), "request");
    room.ok(&["root", "next", "--from", "1.root.json", "--out", "2.request"]);
    room.ok(&["sign", "2.request", "--danger-unencrypted", "--yes", "--key", "a.pem", "b.pem"]);

    // Another repository of the same holder: what is wrong with this one is told, and no more.
    let other = Room::with_keys(&["a", "b", "c", "d", "x", "y"]);
    other.first_root();
    let elsewhere = fs::read_dir(other.state()).unwrap().next().unwrap().unwrap();
    let copied = room.state().join(elsewhere.file_name());
    fs::create_dir(&copied).unwrap();
    fs::copy(elsewhere.path().join("1.root.json"), copied.join("1.root.json")).unwrap();
    request(&other, &with_files(1, &["a"]), "request");
    fs::copy(other.path("request"), room.path("other")).unwrap();
    for (damage, bytes) in [
        ("garbage", b"garbage".to_vec()),
        ("cut short", whole[..whole.len() / 2].to_vec()),
        (
            "a signature that is none",
            String::from_utf8(whole.clone())
                .unwrap()
                .replacen("\"sig\":\"30", "\"sig\":\"3x", 1)
                .into_bytes(),
        ),
        ("too large", vec![b' '; (16 << 20) + 1]),
    ] {
        fs::write(&kept, &bytes).unwrap();
        room.refused(&["review", "request"], 314, "targets.json");
        assert!(room.ok(&["review", "other"]).contains("[other-repository-damaged]"), "{damage}");
    }
    // A new root takes no floor away that cannot be read, and all others that nobody signs any more.
    let mut signed = targets(9);
    signed["_type"] = json!("timestamp");
    signed["meta"] = json!({ "snapshot.json": { "version": 1 } });
    signed.as_object_mut().unwrap().remove("targets");
    let unsigned = json!({ "signatures": [], "signed": signed }).to_string();
    let timestamp = repository.join("timestamp.json");
    fs::write(&timestamp, &unsigned).unwrap();
    room.ok(&["finish", "2.request", "--out", "2.root.json"]);
    assert!(kept.exists() && !timestamp.exists());
    // Whoever was stopped before that does it again with the same root.
    fs::write(&timestamp, &unsigned).unwrap();
    assert!(room.ok(&["learn", "2.root.json"]).contains("known already"));
    assert!(kept.exists() && !timestamp.exists());
    fs::write(&kept, &whole).unwrap();
    let two = Request::draft(
        Role::Targets,
        &with_files(2, &["a"]),
        &[room.read("1.root.json"), room.read("2.root.json")],
    );
    two.unwrap().write(&room.path("request")).unwrap();
    room.ok(&["review", "request"]);
    // A name that no version has is nobody's.
    for odd in ["targets.+1", "targets.01", "targets.x"] {
        fs::write(repository.join("signed").join(odd), "odd").unwrap();
    }
    room.ok(&["review", "request"]);
}
