//! Keys that were lost: the next root without them, and what the tool says about it.

use crate::root_life::{finish, walk};
use crate::support::*;

/// Three root holders, three release holders, one online key: a finished root 1.
fn room() -> Room {
    let room = Room::with_keys(&["a", "b", "c", "d", "x", "y", "z", "o", "p"]);
    let draft = [
        &["root", "draft", "--root-key", "a.pub.pem", "b.pub.pem", "c.pub.pem"][..],
        &["--targets-key", "x.pub.pem", "y.pub.pem", "z.pub.pem", "--snapshot-key", "o.pub.pem"],
        &["--timestamp-key", "o.pub.pem", "--targets-period", "200/40", "--out", "1.request"],
    ];
    room.ok(&draft.concat());
    finish(&room, "1.request", &["a", "b"], "1.root.json");
    room
}

/// `root revoke` at a date, which must succeed; gives what stands below the review, on one line.
fn revoked(room: &Room, arguments: &[&str], now: &str) -> String {
    let mut command = room.command(BINARY);
    let output = command.args(["--now", now, "root", "revoke"]).args(arguments).output().unwrap();
    let said = succeeded(&output, arguments);
    for line in said.split_once("WHAT THE LOST KEYS").unwrap().1.lines() {
        assert!(line.len() <= 100 || line.contains("grep"), "too wide: {line}");
    }
    let (review, rest) = said.split_once("\nWHAT THE LOST KEYS COULD HAVE SIGNED\n").unwrap();
    assert!(review.contains("wrote "), "{review}");
    rest.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn assert_says(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest
            .find(part)
            .unwrap_or_else(|| panic!("{part:?} is not there, or not in its turn, in\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

/// A month after the first root.
const DAY_30: &str = "2026-12-22T13:14:15Z";

#[test]
fn revoke_of_a_root_key_is_signed_by_those_that_are_left() {
    let room = room();
    let reason = "Holder a lost her bag";
    let said = revoked(
        &room,
        &[
            "a.pub.pem",
            "--from",
            "1.root.json",
            "--reason",
            reason,
            "--add-root-key",
            "d.pub.pem",
            "--out",
            "2.request",
        ],
        NOW,
    );
    let a = keyid(&room, "a.pub.pem");
    assert_says(
        &said,
        &[
            &format!("lost key {a}"),
            "root since root 1 of 2026-11-22, to this day: 1 of 3 lost, threshold 2: not enough alone, 1 more key was needed",
            "WHAT WHOEVER HAS THEM COULD HAVE PUBLISHED root nothing alone.",
            "WHAT TO DO NOW, IN THIS ORDER 1. Have 2.request signed today, by 2 of root 1's keys ",
            " and by 2 of root 2's keys ",
            "A lost key does not sign. Each holder, with his KEY and his NAME: `tuffet-keys sign 2.request --key KEY",
            "2. Finish it: `tuffet-keys finish root.2.signed.json --out 2.root.json`",
            "`tuffet root add 2.root.json`",
            "3. Publish root and timestamp together: `tuffet publish`. A new root always goes with a new timestamp",
            &format!("`grep -l '\"keyid\":\"{a}\"' *.json`. Files to look at: N.root.json."),
            "If there is a root of his",
            "until root 1 expires, 2027-11-03T13:14:15Z",
            "`tuffet provision`",
            "Destroy what is left of the lost keys",
        ],
    );
    for wrong in ["Sign the targets anew", "5.3.11", "BUT root", "alone could sign", "staged/targets"] {
        assert!(!said.contains(wrong), "{wrong} in {said}");
    }
    finish(&room, "2.request", &["b", "c"], "2.root.json");
    walk(&room, &["1.root.json", "2.root.json"]);
    let root = room.json("2.root.json")["signed"].clone();
    assert_eq!(root["reason"], reason);
    assert_eq!(root["periods"]["targets"], room.json("1.root.json")["signed"]["periods"]["targets"]);
    assert!(root["keys"].get(&a).is_none());
    // What was found is what is published: the search of the runbook finds the root that a signed.
    let search = format!("grep -l '\"keyid\":\"{a}\"' *.json");
    assert_eq!(room.tool("sh", &["-c", &search]), b"1.root.json\n");
}

#[test]
fn runbook_is_followed_as_it_is_printed() {
    let room = room();
    let out = "of today/2.request";
    std::fs::create_dir(room.path("of today")).unwrap();
    let revoke = ["root", "revoke", "a.pub.pem", "--from", "1.root.json", "--reason", "lost", "--out", out];
    let copy = ["--runbook", "runbook.txt", "--transcript", "script"];
    room.refused(&[&revoke[..], &["--runbook", out]].concat(), 209, "the runbook is a file of its own");
    room.refused(&[&revoke[..], &["--runbook", "a.pem"]].concat(), 201, "a.pem");
    assert!(!room.path(out).exists());
    let said = room.ok(&[&revoke[..], &copy].concat());
    // What is printed is what lies in the file.
    let runbook = String::from_utf8(room.read("runbook.txt")).unwrap();
    assert!(runbook.starts_with("WHAT THE LOST KEYS"), "{runbook}");
    assert!(said.ends_with(&format!("\n{runbook}wrote runbook.txt\n")), "{said}");

    let command = |name: &str| {
        let begins = format!("`tuffet-keys {name} ");
        let lines = runbook.lines().map(str::trim);
        let line =
            lines.clone().find(|line| line.starts_with(&begins)).unwrap_or_else(|| panic!("no {name}"));
        line.trim_matches('`').replace("tuffet-keys", &format!("'{BINARY}' --now {NOW}"))
    };
    let run = |script: &str| drop(room.tool("sh", &["-c", script]));
    let unasked = format!("--yes --danger-unencrypted --despite {}", room.warnings(out));
    for name in ["b", "c"] {
        let sign = command("sign").replace("KEY", &format!("{name}.pem")).replace("NAME", name);
        run(&format!("{sign} {unasked}"));
    }
    run(&command("merge"));
    run(&command("finish"));
    walk(&room, &["1.root.json", "2.root.json"]);
    assert!(room.ok(&["transcript", "verify", "script"]).starts_with("verified: 4 entries, "));
}

#[test]
fn revoke_of_a_root_quorum_says_what_cannot_be_mended() {
    let room = room();
    let lost =
        ["a.pub.pem", "b.pub.pem", "--from", "1.root.json", "--reason", "stolen", "--out", "2.request"];
    room.refused(
        &[&["root", "revoke"], &lost[..]].concat(),
        235,
        "root would have 1 key where 2 must sign; give --add-root-key with 1 new key or --root-threshold 1",
    );
    let said = revoked(&room, &[&lost[..], &["--root-threshold", "1"]].concat(), NOW);
    assert_says(
        &said,
        &[
            "2 of 3 lost, threshold 2: ENOUGH ALONE",
            "roots of his own in the place of root 2, with his keys for every role.",
            "1. The lost keys alone could sign root 2. Ask every mirror for 2.root.json first.",
            "BUT root 1 wants 2 signatures, and has 1 of its keys left: a lost key must sign this one root",
            "takes his next one as well as yours",
        ],
    );
    finish(&room, "2.request", &["a", "c"], "2.root.json");
    walk(&room, &["1.root.json", "2.root.json"]);
}

#[test]
fn revoke_of_a_targets_key_has_the_targets_signed_before_the_root_is_out() {
    let room = room();
    let x = keyid(&room, "x.pub.pem");
    let said =
        revoked(&room, &[&x, "--from", "1.root.json", "--reason", "x left us", "--out", "2.request"], NOW);
    assert_says(
        &said,
        &[
            "targets since root 1 of 2026-11-22, to this day: 1 of 3 lost, threshold 2: not enough alone",
            "targets nothing alone.",
            "Finish it:",
            "3. Sign the targets anew, before root 2 is out",
            "sign staged/targets.request.json",
            "4. Publish root and timestamp together",
            "It writes 2.root.json, the targets, a snapshot",
            "Files to look at: N.targets.json.",
            "If there are targets of his: the next targets need a version above his",
        ],
    );
    assert!(!said.contains("5.3.11") && !said.contains("root of his"), "{said}");
    finish(&room, "2.request", &["a", "c"], "2.root.json");
    walk(&room, &["1.root.json", "2.root.json"]);

    // Two of three are a quorum, which still needs the way to devices.
    let both =
        [&x, "y.pub.pem", "--from", "1.root.json", "--reason", "both left", "--targets-threshold", "1"];
    let said = revoked(&room, &[&both[..], &["--out", "other.request"]].concat(), NOW);
    assert_says(
        &said,
        &[
            "2 of 3 lost, threshold 2: ENOUGH ALONE",
            "a release of any image, for every device and channel.",
            "he needs those keys as well",
        ],
    );
}

#[test]
fn revoke_of_an_online_key_drops_what_it_set() {
    let room = room();
    let revoke =
        ["o.pub.pem", "--from", "1.root.json", "--reason", "The server was taken", "--out", "2.request"];
    room.refused(
        &[&["root", "revoke"], &revoke[..]].concat(),
        235,
        "snapshot would have no key where 1 must sign, and timestamp would have no key where 1 must sign; give \
         --add-snapshot-key with 1 new key, and --add-timestamp-key with 1 new key",
    );
    assert!(!room.path("2.request").exists());
    let added = ["--add-snapshot-key", "p.pub.pem", "--add-timestamp-key", "p.pub.pem"];
    let said = revoked(&room, &[&revoke[..], &added].concat(), NOW);
    assert_says(
        &said,
        &[
            "snapshot since root 1 of 2026-11-22, to this day: 1 of 1 lost, threshold 1: ENOUGH ALONE",
            "timestamp since root 1 of 2026-11-22, to this day: 1 of 1 lost, threshold 1: ENOUGH ALONE",
            "snapshot a list of versions of his choice",
            "timestamp the same old state again and again",
            "It starts no release.",
            "1. Stop the timer that publishes",
            "2. Have 2.request signed today",
            "with the --snapshot-key and --timestamp-key that root 2 names.",
            "Files to look at: N.snapshot.json, timestamp.json",
            "drops every version and date that the old ones set (TUF 5.3.11)",
        ],
    );
    for wrong in ["Sign the targets anew", "of his:", "Destroy", "visits"] {
        assert!(!said.contains(wrong), "{wrong} in {said}");
    }
    finish(&room, "2.request", &["a", "b"], "2.root.json");
    walk(&room, &["1.root.json", "2.root.json"]);
}

#[test]
fn revoke_of_a_key_in_several_roles_takes_it_from_all_of_them() {
    // Key x signs targets, snapshot and timestamp; targets need y as well.
    let room = Room::with_keys(&["a", "b", "c", "x", "y", "z", "o"]);
    let draft = [
        &["root", "draft", "--root-key", "a.pub.pem", "b.pub.pem", "c.pub.pem", "--targets-key"][..],
        &["x.pub.pem", "y.pub.pem", "--snapshot-key", "x.pub.pem", "--timestamp-key", "x.pub.pem"],
        &["--out", "1.request"],
    ];
    room.ok(&draft.concat());
    finish(&room, "1.request", &["a", "b"], "1.root.json");
    let revoke = [
        &[
            "x.pub.pem",
            "y.pub.pem",
            "--from",
            "1.root.json",
            "--reason",
            "one safe for all",
            "--out",
            "2.request",
        ][..],
        &["--add-targets-key", "z.pub.pem", "--targets-threshold", "1"],
        &["--add-snapshot-key", "o.pub.pem", "--add-timestamp-key", "o.pub.pem"],
    ]
    .concat();
    let said = revoked(&room, &revoke, NOW);
    assert_says(
        &said,
        &[
            "targets since root 1 of 2026-11-22, to this day: 2 of 2 lost, threshold 2: ENOUGH ALONE",
            "snapshot since root 1",
            "timestamp since root 1",
            "The lost keys sign the snapshot and the timestamp that lead there, too: he needs nobody else.",
            "1. Stop the timer",
            "Sign the targets anew",
            "5.3.11",
            "Destroy",
        ],
    );
    finish(&room, "2.request", &["a", "b"], "2.root.json");
    walk(&room, &["1.root.json", "2.root.json"]);
    let x = keyid(&room, "x.pub.pem");
    assert!(!String::from_utf8(room.read("2.root.json")).unwrap().contains(&x));
}

#[test]
fn revoke_of_a_key_that_left_and_came_back_tells_both_times() {
    let room = room();
    let next = |date: &str, from: &str, options: &[&str], request: &str| {
        let mut command = room.command(BINARY);
        command.args(["--now", date, "root", "next", "--from", from, "--out", request]).args(options);
        succeeded(&command.output().unwrap(), options);
    };
    let sign = |request: &str, signers: &[&str], despite: &str, out: &str| {
        for (index, key) in signers.iter().enumerate() {
            let from = if index == 0 { request.to_owned() } else { format!("{request}.{index}") };
            let to = format!("{request}.{}", index + 1);
            let mut command = room.command(BINARY);
            command.args(["--now", DAY_30, "sign", &from, "--danger-unencrypted", "--yes", "--out", &to]);
            command.args(["--despite", despite]);
            succeeded(&command.args(["--key", &format!("{key}.pem")]).output().unwrap(), signers);
        }
        let mut command = room.command(BINARY);
        command.args(["--now", DAY_30, "finish", &format!("{request}.{}", signers.len()), "--out", out]);
        succeeded(&command.output().unwrap(), signers);
    };
    next("2026-12-01", "1.root.json", &["--remove-root-key", "a.pub.pem"], "2.request");
    sign("2.request", &["b", "c"], "0", "2.root.json");
    next("2026-12-10", "2.root.json", &["--add-root-key", "a.pub.pem", "--root-threshold", "1"], "3.request");
    // A threshold that was lowered, to one.
    sign("3.request", &["b", "c"], "2", "3.root.json");

    let revoke = ["a.pub.pem", "--from", "3.root.json", "--reason", "lost again", "--out", "4.request"];
    let said = revoked(&room, &revoke, DAY_30);
    assert_says(
        &said,
        &[
            "root since root 1 of 2026-11-22, until root 2 of 2026-12-01: 1 of 3 lost, threshold 2: not enough alone",
            "root since root 3 of 2026-12-10, to this day: 1 of 3 lost, threshold 1: ENOUGH ALONE",
            "roots of his own in the place of root 4,",
            "1. The lost keys alone could sign root 4.",
            "by 1 of root 3's keys",
        ],
    );
    // One key alone, as before.
    sign("4.request", &["b"], "1", "4.root.json");
    walk(&room, &["1.root.json", "2.root.json", "3.root.json", "4.root.json"]);

    // Under root 2 there is nothing to revoke, and still something to know.
    let gone = ["root", "revoke", "a.pub.pem", "--from", "2.root.json", "--reason", "again", "--out", "n"];
    let output = room.command(BINARY).args(["--now", DAY_30]).args(gone).output().unwrap();
    let said = succeeded(&output, &gone).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_says(
        &said,
        &[
            "no role of root 2 has any of these keys: no new root is drafted WHAT THE LOST KEYS",
            "until root 2 of ",
            "WHAT TO DO NOW, IN THIS ORDER 1. Look for what the lost keys signed",
        ],
    );
    assert!(!said.contains("Publish") && !room.files().contains(&"n".to_owned()), "{said}");
}

#[test]
fn revoke_that_makes_no_sense_is_refused_and_nothing_is_written() {
    let room = room();
    let before = room.files();
    let revoke = ["root", "revoke", "--from", "1.root.json", "--out", "2.request", "--reason"];
    let with = |reason: &'static str, rest: &[&'static str]| [&revoke[..], &[reason], rest].concat();
    room.refused(&with("lost", &["p.pub.pem"]), 234, "no role of root 1 has key");
    room.refused(&with("lost", &["none.pub.pem"]), 301, "none.pub.pem");
    room.refused(&with("", &["a.pub.pem"]), 232, "--reason");
    room.refused(
        &with("lost", &["a.pub.pem", "--add-root-key", "a.pub.pem"]),
        209,
        "a key cannot be revoked and added at once: a.pub.pem",
    );
    room.refused(
        &with("lost", &["a.pub.pem", "--root-threshold", "3"]),
        235,
        "root would have 2 keys where 3 must sign",
    );
    room.refused(&with("lost", &["a.pub.pem", "--expires", "2026-11-22"]), 210, "2026-11-22T00:00:00Z");
    let from = ["root", "revoke", "a.pub.pem", "--from", "a.pem", "--reason", "lost", "--out", "2.request"];
    room.refused(&from, 102, "a.pem");
    for usage in [
        &["root", "revoke", "--from", "1.root.json", "--reason", "lost", "--out", "2.request"][..],
        &["root", "revoke", "a.pub.pem", "--from", "1.root.json", "--out", "2.request"],
    ] {
        assert_eq!(room.keys(usage).output().unwrap().status.code(), Some(2), "{usage:?}");
    }
    assert_eq!(room.files(), before);
}

/// Targets metadata, signed by x and y, that delegate `lamp` to these keys, two of whom must sign.
fn publish_targets(room: &Room, version: u32, keys: &[&str]) {
    use serde_json::{Map, Value, json};
    use tuffet_keys::{canonical, key::PublicKey};
    let keys = keys.iter().map(|name| PublicKey::read(&room.path(&format!("{name}.pub.pem"))).unwrap());
    let keys: Map<String, Value> = keys.map(|key| (key.keyid().to_owned(), key.to_value())).collect();
    let role = json!({ "keyids": keys.keys().collect::<Vec<_>>(), "name": "lamp", "paths": ["lamp/*"],
        "terminating": true, "threshold": 2 });
    let signed = json!({
        "_type": "targets", "delegations": { "keys": keys, "roles": [role] }, "targets": {}, "version": version,
        "expires": "2027-05-22T13:14:15Z", "issued": format!("2026-11-{:02}T13:14:15Z", 10 + version),
        "spec_version": "1.0.34",
    });
    let file = canonical::published_bytes(&json!({ "signatures": [], "signed": signed })).unwrap();
    std::fs::write(room.path("targets.json"), file).unwrap();
    let request = format!("targets.{version}.request");
    room.ok(&["request", "targets.json", "--repository", ".", "--out", &request]);
    finish(room, &request, &["x", "y"], &format!("{version}.targets.json"));
}

#[test]
fn revoke_of_a_key_of_a_delegated_role_says_which_targets_to_sign_anew() {
    let room = room();
    publish_targets(&room, 1, &["p"]);
    publish_targets(&room, 2, &["d", "p"]);
    publish_targets(&room, 3, &["d", "p"]);
    let before = room.files();
    let revoke =
        ["root", "revoke", "d.pub.pem", "--from", "1.root.json", "--reason", "lost", "--out", "2.request"];
    let said = room.ok(&revoke).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_says(
        &said,
        &[
            "no role of root 1 has any of these keys: no new root is drafted",
            "lamp since targets 2 of 2026-11-12, to this day: 1 of 2 lost, threshold 2: not enough alone, 1 more key",
            "WHAT WHOEVER HAS THEM COULD HAVE PUBLISHED lamp nothing alone.",
            "1. Sign anew each file that delegates to the lost keys: targets, now targets 3, without them in lamp, with 1 new \
             key.",
            "2. Publish the new targets files with a new snapshot and timestamp. Write them first, then the snapshot, and \
             timestamp.json last;",
            "Files to look at: N.lamp.json.",
            "Destroy what is left of the lost keys",
        ],
    );
    assert_eq!(room.files(), before, "there is no root to draft");

    // One that signs for the root as well: both are told, and a root is drafted.
    publish_targets(&room, 4, &["a", "p", "d"]);
    let revoke =
        ["root", "revoke", "a.pub.pem", "--from", "1.root.json", "--reason", "lost", "--out", "2.request"];
    let said = room.ok(&revoke).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_says(
        &said,
        &[
            "root since root 1 of 2026-11-22, to this day: 1 of 3 lost",
            "lamp since targets 4 of 2026-11-14, to this day: 1 of 3 lost",
            "Finish it: `tuffet-keys finish root.2.signed.json",
            "Sign anew each file that delegates to the lost keys: targets, now targets 4, without them in lamp. Write",
            "Publish root and timestamp together",
        ],
    );
    // A file that cannot be read is named, and stops nothing.
    std::fs::write(room.path("5.targets.json"), "{").unwrap();
    std::fs::remove_file(room.path("2.request")).unwrap();
    let said = room.ok(&revoke).split_whitespace().collect::<Vec<_>>().join(" ");
    assert_says(&said, &["unknown 5.targets.json cannot be read: what it delegates is not listed"]);
}
