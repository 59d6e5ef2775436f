//! What somebody may try with delegations: on the holders' state, on what they are shown, and on devices.

use std::fs;

use serde_json::{Value, json};

use crate::delegated::*;
use crate::support::*;

fn merged_delegations(room: &Room, roles: &[(&str, &[&str], u32, &[&str])]) -> Value {
    let mut keys = serde_json::Map::new();
    let mut list = Vec::new();
    for (name, signers, threshold, paths) in roles {
        let (own, role) = delegation(room, name, signers, *threshold, paths);
        keys.extend(own.as_object().unwrap().clone());
        list.push(role);
    }
    json!({ "keys": keys, "roles": list })
}

/// Asks, signs and finishes a delegated role.
fn publish(room: &Room, name: &str, signed: &Value, by: &[&str], signers: &[&str]) {
    write(room, "it.json", signed);
    let mut ask = vec!["request", "it.json", "--role", name, "--repository", ".", "--out", "it.0"];
    if !by.is_empty() {
        ask.push("--delegated-by");
        ask.extend(by);
    }
    room.ok(&ask);
    for (index, signer) in signers.iter().enumerate() {
        room.sign(&format!("it.{index}"), signer, &format!("it.{}", index + 1));
    }
    let stem = name.replace('/', "%2F");
    room.ok(&[
        "finish",
        &format!("it.{}", signers.len()),
        "--out",
        &format!("{}.{stem}.json", signed["version"]),
    ]);
    for index in 0..=signers.len() {
        fs::remove_file(room.path(&format!("it.{index}"))).unwrap();
    }
    fs::remove_file(room.path("it.json")).unwrap();
}

/// door's one holder, whose paths are door/*, names lamp's child too.
fn subtrees() -> Room {
    let room = Room::with_keys(&["a", "b", "c", "x", "y", "l", "m", "n", "d"]);
    room.first_root();
    let mut top = header(1, json!({ "targets": {} }));
    top["delegations"] = merged_delegations(
        &room,
        &[("door", &["d"], 1, &["door/*"]), ("lamp", &["l", "m"], 2, &["lamp/*/*/*"])],
    );
    publish_targets(&room, &top);
    let mut lamp = header(1, json!({ "targets": {} }));
    lamp["delegations"] = merged_delegations(&room, &[("lamp/rev-a", &["n"], 1, &["lamp/rev-a/*/*"])]);
    publish(&room, "lamp", &lamp, &[], &["l", "m"]);
    publish(&room, "lamp/rev-a", &leaf(5), &[], &["n"]);
    room
}

fn leaf(version: u32) -> Value {
    let target = json!({ "hashes": { "sha256": "ab".repeat(32) }, "length": 9 });
    header(version, json!({ "targets": { "lamp/rev-a/stable/notes": target } }))
}

fn door(room: &Room) {
    let mut door = header(1, json!({ "targets": {} }));
    door["delegations"] = merged_delegations(room, &[("lamp/rev-a", &["d"], 1, &["door/*"])]);
    publish(room, "door", &door, &[], &["d"]);
}

#[test]
fn stranger_s_delegation_of_the_same_name_takes_no_floor_away() {
    let room = subtrees();
    // By the right way, before door says anything: 5 is known, 4 is stale.
    let mut old = leaf(4);
    old["targets"] = json!({});
    write(&room, "old.json", &old);
    let by = ["--delegated-by", "1.targets.json", "1.lamp.json"];
    let ask = |out: &'static str| {
        [&["request", "old.json", "--role", "lamp/rev-a", "--repository", ".", "--out", out][..], &by]
            .concat()
    };
    room.ok(&ask("old.1"));
    room.refused(&["review", "old.1"], 132, "lamp/rev-a 5 was verified");
    door(&room);
    room.refused(&["review", "old.1"], 132, "lamp/rev-a 5 was verified");
}

#[test]
fn stranger_s_delegation_of_the_same_name_refuses_nothing() {
    let room = subtrees();
    door(&room);
    write(&room, "it.json", &leaf(6));
    room.ok(&[
        "request",
        "it.json",
        "--role",
        "lamp/rev-a",
        "--repository",
        ".",
        "--delegated-by",
        "1.targets.json",
        "1.lamp.json",
        "--out",
        "it.0",
    ]);
    room.sign("it.0", "n", "it.1");
    let output = room.keys(&["finish", "it.1", "--out", "6.lamp%2Frev-a.json"]).output().unwrap();
    eprintln!(
        "written: {}; {}",
        room.files().contains(&"6.lamp%2Frev-a.json".to_owned()),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success());
}

#[test]
fn stranger_s_delegation_of_the_same_name_hides_no_target() {
    let room = subtrees();
    door(&room);
    // What was signed for the role below lamp was never shown for the one below door.
    write(&room, "it.json", &leaf(6));
    let ask = ["request", "it.json", "--role", "lamp/rev-a", "--repository", "."];
    let by_door = ["--delegated-by", "1.targets.json", "1.door.json", "--out", "it.door"];
    room.ok(&[&ask[..], &by_door].concat());
    let text = room.ok(&["review", "it.door"]);
    assert!(text.contains("  targets: 1\n    lamp/rev-a/stable/notes\n"), "{text}");
    assert!(text.contains("all of it is new"), "{text}");
    let by_lamp = ["--delegated-by", "1.targets.json", "1.lamp.json", "--out", "it.lamp"];
    room.ok(&[&ask[..], &by_lamp].concat());
    let text = room.ok(&["review", "it.lamp"]);
    assert!(
        text.contains("  targets: 1, 1 of them as they were in version 5, which was signed here\n"),
        "{text}"
    );
}

#[test]
fn request_for_a_role_that_two_files_delegate_to_names_its_way() {
    let room = subtrees();
    door(&room);
    write(&room, "it.json", &leaf(6));
    let ask = ["request", "it.json", "--role", "lamp/rev-a", "--repository", ".", "--out", "it.0"];
    room.refused(&ask, 209, "several targets files delegate to a role of this name; say with --delegated-by");
    let asked = room.ok(&[&ask[..], &["--delegated-by", "1.targets.json", "1.lamp.json"]].concat());
    assert!(asked.contains("by lamp 1: paths lamp/rev-a/*/*\n"), "{asked}");
    assert!(asked.contains("signatures under lamp 1: 0, needed 1\n"), "{asked}");
}

#[test]
fn order_of_delegations_that_changes_with_something_else_is_shown() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y", "l", "m", "n", "d"]);
    room.first_root();
    let one: (&str, &[&str], u32, &[&str]) = ("lamp", &["l", "m"], 2, &["lamp/*"]);
    let two: (&str, &[&str], u32, &[&str]) = ("door", &["n", "d"], 2, &["*"]);
    let mut top = header(1, json!({ "targets": {} }));
    top["delegations"] = merged_delegations(&room, &[one, two]);
    publish_targets(&room, &top);
    let review = |two| {
        let mut top = header(2, json!({ "targets": {} }));
        top["delegations"] = merged_delegations(&room, &[two, one]);
        write(&room, "t.json", &top);
        let _ = fs::remove_file(room.path("t.request"));
        room.ok(&["request", "t.json", "--repository", ".", "--out", "t.request"]);
        room.ok(&["review", "t.request"]).split_once("changes since").unwrap().1.to_owned()
    };
    let alone = review(two);
    assert!(alone.contains("order"), "{alone}");
    let with = review(("door", &["n", "d"], 2, &["*", "door/*"]));
    assert!(with.contains("order"), "{with}");
}

#[test]
fn revocation_is_ended_by_no_file_that_nobody_signed() {
    let room = holders();
    let lost = keyid(&room, "l.pub.pem");
    let revoke = |out: &str| {
        room.ok(&["root", "revoke", &lost, "--from", "1.root.json", "--reason", "gone", "--out", out])
    };
    let before = revoke("r");
    assert!(
        before.contains("to this day") && before.contains("Sign anew each file that delegates"),
        "{before}"
    );
    // Who writes into the directory of a mirror.
    write(
        &room,
        "4294967295.targets.json",
        &header(4_294_967_295, json!({ "delegations": { "keys": {}, "roles": [] }, "targets": {} })),
    );
    let after = revoke("r");
    assert!(after.contains("to this day") && after.contains("Sign anew each file that delegates"), "{after}");
}

#[test]
fn role_that_is_delegated_to_twice_is_warned_of_and_not_finished() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y", "l", "m", "n", "d"]);
    room.first_root();
    let mut top = header(1, json!({ "targets": {} }));
    let (one, two): (&[&str], &[&str]) = (&["l", "m"], &["n", "d"]);
    top["delegations"] =
        merged_delegations(&room, &[("lamp", one, 2, &["lamp/*/*/*"]), ("lamp", two, 2, &["door/*/*/*"])]);
    write(&room, "t.json", &top);
    room.ok(&["request", "t.json", "--repository", ".", "--out", "t.request"]);
    assert_eq!(warned(&room, "t.request"), ["delegation-of-no-use"]);
    room.sign("t.request", "x", "t.x");
    room.sign("t.x", "y", "t.xy");
    let says = "the delegation to lamp is not usable: it is delegated to twice";
    room.refused(&["finish", "t.xy", "--out", "1.targets.json"], 160, says);
    // More keys than a device holds for a role, whoever of them must sign.
    let keyids: Vec<String> = (0..13).map(|index| format!("{index:064x}")).collect();
    top["delegations"]["roles"][1]["name"] = json!("door");
    top["delegations"]["roles"][1]["keyids"] = json!(keyids);
    write(&room, "t.json", &top);
    fs::remove_file(room.path("t.request")).unwrap();
    room.ok(&["request", "t.json", "--repository", ".", "--out", "t.request"]);
    assert_eq!(warned(&room, "t.request")[0], "delegation-of-no-use");
    fs::remove_file(room.path("t.x")).unwrap();
    fs::remove_file(room.path("t.xy")).unwrap();
    room.sign("t.request", "x", "t.x");
    room.sign("t.x", "y", "t.xy");
    let says = "the delegation to door is not usable: it has 13 keys, and devices hold 12";
    room.refused(&["finish", "t.xy", "--out", "1.targets.json"], 160, says);
    assert!(!room.files().contains(&"1.targets.json".to_owned()));
}

#[test]
fn delegated_request_with_any_byte_flipped_is_refused_or_shows_the_same() {
    use tuffet_keys::request::Request;
    let room = subtrees();
    write(&room, "it.json", &leaf(6));
    room.ok(&["request", "it.json", "--role", "lamp/rev-a", "--repository", ".", "--out", "it.0"]);
    room.sign("it.0", "n", "it.1");
    let whole = room.read("it.1");
    let good = Request::from_bytes(&whole).unwrap();
    let shown = |request: &Request| {
        tuffet_keys::review::describe(request, None, &Default::default(), 1_795_353_255).to_string()
    };
    let mut taken = 0;
    for place in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[place] ^= 1 << (place % 7);
        if let Ok(request) = Request::from_bytes(&flipped) {
            taken += 1;
            assert_eq!(request.payload(), good.payload(), "byte {place}");
            assert_eq!(shown(&request), shown(&good), "byte {place}");
            assert_eq!(request.header(), good.header(), "byte {place}");
        }
    }
    assert!(taken < whole.len() / 100, "{taken} of {} bytes", whole.len());
}

#[test]
fn request_with_very_many_signatures_is_refused_at_once() {
    let room = holders();
    ask(&room, &lamp(1, PATH), "request");
    let mut request = room.json("request");
    let mut file = String::from("{\"signatures\":[");
    let count = 40_000;
    for index in 0..count {
        if index > 0 {
            file.push(',');
        }
        file += &format!("{{\"keyid\":\"{index:064x}\",\"sig\":\"00\"}}");
    }
    file += "],\"signed\":{}}";
    fs::write(room.path("big"), &file).unwrap();
    let big = String::from_utf8(room.tool("base64", &["-w0", "big"])).unwrap();
    request["root_chain"] = json!([big]);
    fs::write(room.path("evil"), serde_json::to_vec(&request).unwrap()).unwrap();
    // The file's length is looked at before its contents.
    room.refused(&["review", "evil"], 116, "and devices read 32768");
}

/// What a device says that looks for this path among the files of the room.
fn searched(room: &Room, path: &str) -> String {
    use tuffet_client::{Clock, Entry, Goal, Plan, Refresh, SOFTWARE, Trusted, Want, limits::DEVICE};
    let mut memory = vec![0; DEVICE.memory()];
    let mut trusted: Trusted =
        Trusted::from_root_file(&SOFTWARE, &DEVICE, &mut memory, &room.read("1.root.json")).unwrap();
    let plan = Plan {
        crypto: &SOFTWARE,
        limits: &DEVICE,
        goal: Goal::Target(path),
        entry: Entry::Offline,
        clock: Clock::Unknown,
        kept: None,
    };
    let mut refresh = Refresh::new(plan, &mut trusted, &mut memory).unwrap();
    loop {
        let step = match refresh.want() {
            Want::Fetch { file, .. } | Want::Again { file, .. } => {
                match fs::read(room.path(&file.to_string())) {
                    Ok(bytes) => refresh.feed(&bytes).and_then(|()| refresh.end().map(drop)),
                    Err(_) => refresh.missing(),
                }
            }
            Want::Persist(_) => {
                refresh.persisted();
                Ok(())
            }
            Want::Found(_) => return "found".to_owned(),
            Want::Over(why) => return why.to_string(),
            other => return format!("{other:?}"),
        };
        if let Err(error) = step {
            return error.to_string();
        }
    }
}

/// Snapshot and timestamp, by a device's own names.
fn online(room: &Room, meta: Value) {
    for (role, meta) in [("snapshot", meta), ("timestamp", json!({ "snapshot.json": { "version": 1 } }))] {
        let mut signed = header(1, json!({ "meta": meta }));
        signed["_type"] = json!(role);
        write(room, "o.json", &signed);
        room.ok(&["request", "o.json", "--repository", ".", "--out", "o.0"]);
        room.sign("o.0", "online", "o.1");
        room.ok(&[
            "finish",
            "o.1",
            "--out",
            if role == "snapshot" { "1.snapshot.json" } else { "timestamp.json" },
        ]);
        for name in ["o.json", "o.0", "o.1"] {
            fs::remove_file(room.path(name)).unwrap();
        }
    }
}

#[test]
fn targets_that_every_search_refuses_are_not_finished() {
    let long = "n".repeat(152);
    for (name, says) in [
        ("door", None),
        ("snapshot", Some("`delegations` is missing or wrong")),
        ("", Some("`delegations` is missing or wrong")),
        (&long, Some("the length of role names")),
    ] {
        let room = Room::with_keys(&["a", "b", "c", "x", "y", "l", "m", "n", "d"]);
        room.first_root();
        let mut top = header(1, json!({ "targets": {} }));
        top["delegations"] = merged_delegations(
            &room,
            &[(name, &["l", "m"], 2, &["q"]), ("lamp", &["n", "d"], 2, &["lamp/*/*/*"])],
        );
        let Some(says) = says else {
            // A device finds what is behind it.
            publish_targets(&room, &top);
            publish(&room, "lamp", &lamp(1, PATH), &[], &["n", "d"]);
            online(&room, json!({ "lamp.json": { "version": 1 }, "targets.json": { "version": 1 } }));
            assert_eq!(searched(&room, PATH), "found");
            continue;
        };
        write(&room, "t.json", &top);
        room.ok(&["request", "t.json", "--repository", ".", "--out", "t.request"]);
        assert_eq!(warned(&room, "t.request"), ["device-would-refuse"], "{name}");
        room.sign("t.request", "x", "t.x");
        room.sign("t.x", "y", "t.xy");
        room.refused(&["finish", "t.xy", "--out", "1.targets.json"], 136, says);
        // That is what a device says of it. It is finished here without the tool.
        let request = tuffet_keys::request::Request::read(&room.path("t.xy")).unwrap();
        let written = room.json("t.xy");
        let signatures = written["signatures"].as_array().unwrap().iter().map(|signature| {
            let text = |name: &str| signature[name].as_str().unwrap().to_owned();
            let sig = text("sig");
            let bytes = (0..sig.len()).step_by(2).map(|at| u8::from_str_radix(&sig[at..at + 2], 16).unwrap());
            (text("keyid"), bytes.collect())
        });
        let file = tuffet_keys::metadata::Envelope {
            signed: request.signed().value().clone(),
            signatures: signatures.collect(),
        };
        fs::write(room.path("1.targets.json"), file.to_bytes().unwrap()).unwrap();
        fs::remove_file(room.path("t.json")).unwrap();
        online(&room, json!({ "targets.json": { "version": 1 } }));
        assert!(searched(&room, PATH).contains(says), "{}", searched(&room, PATH));
    }
}

#[test]
fn key_of_no_use_in_a_delegation_takes_no_floor_away() {
    let room = holders();
    publish(&room, "lamp", &lamp(5, PATH), &[], &["l", "m"]);
    // Of three keys one is of a kind that devices skip; the two others still are enough for them.
    let mut top = targets(&room, 2);
    let n = keyid(&room, "n.pub.pem");
    top["delegations"]["keys"][&n]["keytype"] = json!("ed25519");
    publish_targets(&room, &top);
    online(&room, json!({ "lamp.json": { "version": 5 }, "targets.json": { "version": 2 } }));
    write(&room, "it.json", &lamp(6, PATH));
    // Two keys are left that count, and devices go on.
    assert_eq!(searched(&room, PATH), "found");
    let asked = room.ok(&["request", "it.json", "--role", "lamp", "--repository", ".", "--out", "it.0"]);
    assert!(asked.contains("signatures under targets 2: 0, needed 2\n"), "{asked}");
    publish_targets(&room, &targets(&room, 3));
    ask(&room, &lamp(4, "lamp/rev-z/stable/notes"), "old");
    room.refused(&["review", "old"], 132, "lamp 5");
}

#[test]
fn finish_of_what_the_state_knows_to_be_stale_writes_nothing() {
    let room = holders();
    ask(&room, &lamp(1, PATH), "request");
    room.sign("request", "l", "of-l");
    room.sign("of-l", "m", "of-lm");
    let mut newer = targets(&room, 2);
    let (keys, role) = delegation(&room, "lamp", &["n", "y"], 2, &["lamp/*/*/*"]);
    newer["delegations"] = json!({ "keys": keys, "roles": [role] });
    publish_targets(&room, &newer);
    let output = room.keys(&["finish", "of-lm", "--out", "1.lamp.json"]).output().unwrap();
    assert!(!output.status.success());
    assert!(!room.files().contains(&"1.lamp.json".to_owned()));
}

#[test]
fn bins_are_not_learned_with_a_directory() {
    let room = holders();
    let mut top = targets(&room, 2);
    let l = keyid(&room, "l.pub.pem");
    top["delegations"].as_object_mut().unwrap().remove("roles");
    top["delegations"]["succinct_roles"] =
        json!({ "bit_length": 4, "keyids": [l], "name_prefix": "bin", "threshold": 1 });
    publish_targets(&room, &top);
    let mut meta = json!({ "targets.json": { "version": 2 } });
    for bin in 0..16 {
        meta[format!("bin-{bin:x}.json")] = json!({ "version": 1 });
        fs::write(room.path(&format!("1.bin-{bin:x}.json")), b"{}").unwrap();
    }
    online(&room, meta);
    // What is in them is nothing, and nobody looks.
    let learned = room.ok(&["learn", "."]);
    assert!(learned.contains("snapshot 1 of ") && !learned.contains("bin"), "{learned}");
}

#[test]
fn smallest_limits_refuse_plainly() {
    for limit in [
        "keys",
        "names",
        "roles",
        "root-file",
        "roots",
        "signatures",
        "snapshot-file",
        "targets-file",
        "text",
        "timestamp-file",
    ] {
        let room = Room::with_keys(&["a", "b", "c", "x", "y"]);
        let mut draft = DRAFT.to_vec();
        let text = format!("{limit}=1");
        draft.extend(["--device-limit", &text, "--out", "r"]);
        let output = room.keys(&draft).output().unwrap();
        assert_ne!(output.status.code(), Some(101));
        if !output.status.success() {
            eprintln!("{limit}: draft {}", String::from_utf8_lossy(&output.stderr));
            continue;
        }
        room.sign("r", "a", "r.a");
        room.sign("r.a", "b", "r.ab");
        let output = room.keys(&["finish", "r.ab", "--out", "1.root.json"]).output().unwrap();
        assert_ne!(output.status.code(), Some(101));
    }
}

/// door's one holder delegates to a crowd in which everybody delegates to everybody.
#[test]
fn crowd_below_one_role_hides_none_beside_it() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y", "l", "m", "d"]);
    room.first_root();
    let mut top = header(1, json!({ "targets": {} }));
    top["delegations"] = merged_delegations(
        &room,
        &[("door", &["d"], 1, &["door/*"]), ("lamp", &["l", "m"], 2, &["lamp/*/*/*"])],
    );
    publish_targets(&room, &top);
    let names: Vec<String> = (0..12).map(|index| format!("c{index}")).collect();
    let mut crowd = header(1, json!({ "targets": {} }));
    let everybody: Vec<(&str, &[&str], u32, &[&str])> =
        names.iter().map(|name| (&**name, &["d"][..], 1, &["door/*"][..])).collect();
    crowd["delegations"] = merged_delegations(&room, &everybody);
    publish(&room, "door", &crowd, &["1.targets.json"], &["d"]);
    for name in &names {
        publish(&room, name, &crowd, &["1.targets.json", "1.door.json"], &["d"]);
    }
    write(&room, "it.json", &lamp(1, PATH));
    let asked = room.ok(&["request", "it.json", "--role", "lamp", "--repository", ".", "--out", "it.0"]);
    assert!(asked.contains("by targets 1: paths lamp/*/*/*\n"), "{asked}");
}

#[test]
fn file_that_nobody_signed_stands_by_itself_in_a_revocation() {
    let room = holders();
    let lost = keyid(&room, "l.pub.pem");
    let revoke = || {
        let said =
            room.ok(&["root", "revoke", &lost, "--from", "1.root.json", "--reason", "gone", "--out", "r"]);
        said.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    let true_line =
        "lamp since targets 1 of 2026-11-20, to this day: 1 of 3 lost, threshold 2: not enough alone";
    let step = "targets, now targets 1, without them in lamp. Write";
    let before = revoke();
    assert!(before.contains(true_line) && before.contains(step), "{before}");
    // Other terms in a later version, and the same ones with another date.
    let (keys, role) = delegation(&room, "lamp", &["l"], 1, &["lamp/*"]);
    let mut forged = header(9, json!({ "delegations": { "keys": keys, "roles": [role] }, "targets": {} }));
    forged["issued"] = json!("2020-01-01T00:00:00Z");
    write(&room, "9.targets.json", &forged);
    let mut earlier = targets(&room, 8);
    earlier["issued"] = json!("2019-01-01T00:00:00Z");
    write(&room, "8.targets.json", &earlier);
    let after = revoke();
    assert!(after.contains(true_line) && after.contains(step), "{after}");
    let doubt =
        "lamp since targets 9 of 2020-01-01, to this day, by a file that nobody may have signed: 1 of 1 lost";
    assert!(after.contains(doubt), "{after}");
}

#[test]
fn role_is_learned_though_it_comes_before_the_one_that_delegates_to_it() {
    let room = Room::with_keys(&["a", "b", "c", "x", "y", "l", "m", "n", "d"]);
    room.first_root();
    let mut top = header(1, json!({ "targets": {} }));
    top["delegations"] = merged_delegations(
        &room,
        &[("apple", &["d"], 1, &["door/*"]), ("lamp", &["l", "m"], 2, &["lamp/*/*/*"])],
    );
    publish_targets(&room, &top);
    let mut above = header(1, json!({ "targets": {} }));
    above["delegations"] = merged_delegations(&room, &[("apple", &["n"], 1, &["lamp/rev-a/*/*"])]);
    publish(&room, "lamp", &above, &[], &["l", "m"]);
    publish(&room, "apple", &lamp(5, PATH), &["1.targets.json", "1.lamp.json"], &["n"]);
    online(
        &room,
        json!({
            "apple.json": { "version": 5 }, "lamp.json": { "version": 1 }, "targets.json": { "version": 1 },
        }),
    );
    let state = room.path("new-holder");
    let state = state.to_str().unwrap();
    let digest = room.repository("1.request");
    room.ok(&["--state", state, "trust", "1.root.json", "--digest", &digest]);
    let learned = room.ok(&["--state", state, "learn", "."]);
    assert!(learned.contains("lamp 1 of ") && learned.contains("apple 5 of "), "{learned}");
    let again = room.ok(&["--state", state, "learn", "."]);
    assert!(!again.contains("verified") && again.contains("apple 5 of "), "{again}");
}

/// What a file calls a key may be the keyid of another: the record says who signed.
#[test]
fn signature_is_recorded_under_the_keyid_that_is_its_own() {
    let room = holders();
    let [a, l] = ["a.pub.pem", "l.pub.pem"].map(|name| keyid(&room, name));
    let mut top = targets(&room, 2);
    let keys = top["delegations"]["keys"].as_object_mut().unwrap();
    let key = keys.remove(&l).unwrap();
    keys.insert(a.clone(), key);
    let keyids = top["delegations"]["roles"][0]["keyids"].as_array_mut().unwrap();
    keyids.iter_mut().filter(|keyid| **keyid == l.as_str()).for_each(|keyid| *keyid = json!(a));
    publish_targets(&room, &top);
    ask(&room, &lamp(1, PATH), "request");
    let sign = ["sign", "request", "--danger-unencrypted", "--yes", "--key", "l.pem", "--out", "of-l"];
    let names = ["--names", "a.pub.pem", "--names", "l.pub.pem", "--transcript", "log"];
    let said = room.ok(&[&sign[..], &names].concat());
    assert!(said.contains(&format!("with key {l}\n")), "{said}");
    assert!(said.contains("targets 2: 1 of 2 have signed: l; missing "), "{said}");
    let log = String::from_utf8(room.read("log")).unwrap();
    assert!(log.contains(&l) && !log.contains(&a), "{log}");
    // In the file it has the label by which devices find it.
    assert_eq!(signatures(&room, "of-l"), [a]);
}
