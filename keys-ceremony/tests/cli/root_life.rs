//! What a root can be made to say, from the first to the next.

use serde_json::json;
use tuffet_client::limits::{DEVICE, ROOT};
use tuffet_client::{SOFTWARE, Trusted};

use crate::support::*;

/// Signs a request and finishes it.
pub(crate) fn finish(room: &Room, request: &str, signers: &[&str], out: &str) {
    for (index, key) in signers.iter().enumerate() {
        let from = if index == 0 { request.to_owned() } else { format!("{request}.{index}") };
        room.sign(&from, key, &format!("{request}.{}", index + 1));
    }
    room.ok(&["finish", &format!("{request}.{}", signers.len()), "--out", out]);
}

/// Walks these roots as a device does.
pub(crate) fn walk(room: &Room, roots: &[&str]) {
    let memory = &mut [0; DEVICE.memory()];
    let mut trusted =
        Trusted::<[u8; ROOT]>::from_root_file(&SOFTWARE, &DEVICE, memory, &room.read(roots[0])).unwrap();
    for root in &roots[1..] {
        trusted.next_root_file(&SOFTWARE, &DEVICE, memory, &room.read(root)).unwrap();
    }
}

/// The `signed` value of a finished root.
fn signed(room: &Room, root: &str) -> serde_json::Value {
    room.json(root)["signed"].clone()
}

/// Root a, b, c; targets x, y, z; snapshot o and p; timestamp o.
fn draft<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let keys = [
        &["root", "draft", "--root-key", "a.pub.pem", "b.pub.pem", "c.pub.pem"][..],
        &["--targets-key", "x.pub.pem", "y.pub.pem", "z.pub.pem"],
        &["--snapshot-key", "o.pub.pem", "p.pub.pem", "--timestamp-key", "o.pub.pem"],
    ];
    [&keys.concat(), more].concat()
}

const NAMES: [&str; 9] = ["a", "b", "c", "d", "x", "y", "z", "o", "p"];

#[test]
fn root_of_any_thresholds_and_periods_is_drafted_and_changed_and_followed() {
    let room = Room::with_keys(&NAMES);
    let said = room.ok(&draft(&[
        "--root-threshold",
        "3",
        "--targets-threshold",
        "1",
        "--snapshot-threshold",
        "2",
        "--timestamp-threshold",
        "1",
        "--root-period",
        "400/50",
        "--targets-period",
        "200/40",
        "--snapshot-period",
        "20/5",
        "--timestamp-period",
        "3/1",
        "--reason",
        "The first root of lamp",
        "--out",
        "1.request",
    ]));
    assert!(said.contains("(in 400 days)\n"), "{said}");
    assert!(
        said.contains("the root after it is due from 2027-11-07T13:14:15Z on (in 350 days)\nwrote 1.request"),
        "{said}"
    );
    finish(&room, "1.request", &["a", "b", "c"], "1.root.json");
    let root = signed(&room, "1.root.json");
    let thresholds =
        ["root", "targets", "snapshot", "timestamp"].map(|role| root["roles"][role]["threshold"].clone());
    assert_eq!(thresholds, [3, 1, 2, 1]);
    let periods = json!({
        "root": { "expiry": 400, "signing": 50 },
        "targets": { "expiry": 200, "signing": 40 },
        "snapshot": { "expiry": 20, "signing": 5 },
        "timestamp": { "expiry": 3, "signing": 1 },
    });
    assert_eq!(root["periods"], periods);
    assert_eq!(root["reason"], "The first root of lamp");
    assert!(room.ok(&["review", "1.request"]).contains("The first root of lamp"));

    // The next root keeps the periods but for the one that is set, and has no reason unless one is given.
    let a = keyid(&room, "a.pub.pem");
    let next = [
        &["root", "next", "--from", "1.root.json", "--replace-root-key", &a, "d.pub.pem"][..],
        &[
            "--replace-snapshot-key",
            "o.pub.pem",
            "a.pub.pem",
            "--replace-snapshot-key",
            "p.pub.pem",
            "b.pub.pem",
        ],
        &["--add-timestamp-key", "p.pub.pem", "--root-threshold", "2", "--targets-threshold", "3"],
        &["--snapshot-threshold", "1", "--timestamp-threshold", "2", "--targets-period", "365/30"],
        &["--out", "2.request"],
    ]
    .concat();
    room.ok(&next);
    finish(&room, "2.request", &["a", "b", "c", "d"], "2.root.json");
    let root = signed(&room, "2.root.json");
    let mut kept = periods;
    kept["targets"] = json!({ "expiry": 365, "signing": 30 });
    assert_eq!(root["periods"], kept);
    assert!(root.get("reason").is_none());
    let of = |names: &[&str]| {
        let mut ids: Vec<String> =
            names.iter().map(|name| keyid(&room, &format!("{name}.pub.pem"))).collect();
        ids.sort();
        json!(ids)
    };
    for (role, keys, threshold) in [
        ("root", of(&["b", "c", "d"]), 2),
        ("targets", of(&["x", "y", "z"]), 3),
        ("snapshot", of(&["a", "b"]), 1),
        ("timestamp", of(&["o", "p"]), 2),
    ] {
        assert_eq!(root["roles"][role], json!({ "keyids": keys, "threshold": threshold }), "{role}");
    }
    walk(&room, &["1.root.json", "2.root.json"]);
    // What a root says of itself does not bind a date that is typed.
    let early = ["root", "next", "--from", "2.root.json", "--expires", "40d", "--out", "3.request"];
    let said = room.ok(&early);
    assert!(said.contains("(in 40 days)\n"), "{said}");
    assert!(
        said.contains("it expires within its own signing period: the root after it is due at once\n"),
        "{said}"
    );
}

#[test]
fn root_option_that_makes_no_sense_is_refused_and_nothing_is_written() {
    let room = Room::with_keys(&NAMES);
    let before = room.files();
    let long = "x".repeat(501);
    for (options, code, says) in [
        (
            ["--root-period", "60/365"],
            231,
            "not a period: `60/365`: --root-period; write days as EXPIRY/SIGNING",
        ),
        (["--targets-period", "365"], 231, "--targets-period"),
        (["--snapshot-period", "3651/7"], 231, "--snapshot-period"),
        (["--timestamp-period", "7d/2d"], 231, "--timestamp-period"),
        (["--reason", ""], 232, "0 characters long: --reason; write 1 to 500 characters"),
        (["--reason", &long], 232, "501 characters long"),
        (["--reason", "zwei\nZeilen"], 232, "--reason"),
        (["--reason", "\u{fc}ber"], 232, "4 characters long"),
        (["--root-threshold", "0"], 205, "root cannot have threshold 0"),
        (["--targets-threshold", "4"], 205, "targets cannot have threshold 4"),
        (["--snapshot-threshold", "3"], 205, "snapshot cannot have threshold 3"),
        (["--timestamp-threshold", "2"], 205, "timestamp cannot have threshold 2"),
    ] {
        room.refused(&draft(&[&options[..], &["--out", "request"]].concat()), code, says);
    }
    assert_eq!(room.files(), before);

    room.ok(&draft(&["--out", "1.request"]));
    finish(&room, "1.request", &["a", "b"], "1.root.json");
    let before = room.files();
    let next = |options: &[&'static str]| {
        [&["root", "next", "--from", "1.root.json", "--out", "2"], options].concat()
    };
    for (options, code, says) in [
        (&["--replace-root-key", "d.pub.pem", "x.pub.pem"][..], 207, "d.pub.pem by x.pub.pem"),
        (&["--replace-root-key", "a.pub.pem", "b.pub.pem"], 206, "a.pub.pem by b.pub.pem"),
        (&["--replace-root-key", "a.pub.pem", "a.pub.pem"], 206, "a.pub.pem by a.pub.pem"),
        (&["--replace-targets-key", "x.pub.pem", "none"], 301, "none"),
        (&["--replace-timestamp-key", "p.pub.pem", "d.pub.pem"], 207, "timestamp has no key"),
        (&["--snapshot-threshold", "3"], 205, "snapshot cannot have threshold 3"),
        (&["--timestamp-period", "2/2"], 231, "--timestamp-period"),
        (&["--reason", "\t"], 232, "--reason"),
    ] {
        room.refused(&next(options), code, says);
    }
    let half = room.keys(&next(&["--replace-root-key", "a.pub.pem"])).output().unwrap();
    assert_eq!(half.status.code(), Some(2));
    assert_eq!(room.files(), before);
}

/// A draft of root 1 with these root keys, the first of them for everything else.
fn crowd<'a>(root: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let others = [
        &["root", "draft", "--out", "1.request", "--targets-threshold", "1", "--targets-key", root[0]][..],
        &["--snapshot-key", root[0], "--timestamp-key", root[0], "--root-key"],
    ];
    [&others.concat(), root, more].concat()
}

#[test]
fn root_that_no_device_could_take_is_refused_before_anybody_signs() {
    let names: Vec<String> = (0..14).map(|index| format!("k{index}")).collect();
    let room = Room::with_keys(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let public: Vec<String> = names.iter().map(|name| format!("{name}.pub.pem")).collect();
    let public: Vec<&str> = public.iter().map(String::as_str).collect();
    room.refused(&crowd(&public[..13], &[]), 211, "13 keys does not fit into a device, which holds 12");
    room.refused(
        &crowd(&public[..9], &["--root-threshold", "9"]),
        233,
        "root would need 9 signatures, and a device reads 8 in a file; lower a threshold",
    );
    room.ok(&crowd(&public[..5], &["--root-threshold", "5"]));
    finish(&room, "1.request", &["k0", "k1", "k2", "k3", "k4"], "1.root.json");
    let next = [
        &["root", "next", "--from", "1.root.json", "--out", "2.request", "--replace-root-key"][..],
        &["k1.pub.pem", "k5.pub.pem", "k2.pub.pem", "k6.pub.pem", "k3.pub.pem", "k7.pub.pem"],
    ]
    .concat();
    // Each pair has an option of its own.
    assert_eq!(room.keys(&next).output().unwrap().status.code(), Some(2));
    let pair = |old: &'static str, new: &'static str| ["--replace-root-key", old, new];
    let three = [
        &["root", "next", "--from", "1.root.json", "--out", "2.request"][..],
        &pair("k1.pub.pem", "k5.pub.pem"),
        &pair("k2.pub.pem", "k6.pub.pem"),
        &pair("k3.pub.pem", "k7.pub.pem"),
    ]
    .concat();
    room.refused(
        &[&three[..], &pair("k4.pub.pem", "k8.pub.pem")].concat(),
        233,
        "this root, which old and new holders sign, would need 9 signatures",
    );
    assert!(!room.path("2.request").exists());
    room.ok(&three);
    finish(&room, "2.request", &["k0", "k1", "k2", "k3", "k4", "k5", "k6", "k7"], "2.root.json");
    walk(&room, &["1.root.json", "2.root.json"]);
}
