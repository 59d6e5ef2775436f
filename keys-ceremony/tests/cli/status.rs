//! `status`: versions, dates, signers, the exit status that monitoring reads, and the calendar.

use std::collections::BTreeMap;
use std::fs;

use serde_json::{Value, json};

use crate::repository::{Holders, days};
use crate::support::*;

fn published() -> Holders {
    let holders = Holders::new();
    holders.publish(holders.clean());
    holders
}

fn states(status: &Value) -> Vec<(String, String)> {
    let text = |role: &Value, member: &str| role[member].as_str().unwrap().to_owned();
    let subjects = status["subjects"].as_array().unwrap();
    let roles = subjects.iter().flat_map(|subject| subject["roles"].as_array().unwrap());
    roles.map(|role| (text(role, "role"), text(role, "state"))).collect()
}

fn state(holders: &Holders, arguments: &[&str], role: &str) -> String {
    let status = holders.json(&[&["status"], arguments].concat());
    let found = states(&status).into_iter().find(|(name, _)| name == role);
    found.unwrap_or_else(|| panic!("{role} is not in {status}")).1
}

#[test]
fn status_of_a_healthy_repository_says_who_signed_and_when_it_is_due() {
    let holders = published();
    let (exit, shown, said) = holders.run(&["status", "public", "--names", "keys"]);
    assert_eq!((exit, said.as_str()), (0, ""), "{shown}");
    for fact in [
        "public: repository, at 2026-11-22T13:14:15Z\n  repository: root 1 is sha256 ",
        "\n  valid    root version 1  (1.root.json)\n           expires      2027-11-22T13:14:15Z (in 365 days)\n",
        // Without a period: when a third of its life is left.
        "  signing due  2027-07-23T21:14:15Z (in 243 days)\n",
        "  signed 2 of 2: root-a, root-b; enough without root-c\n",
        "  signed 2 of 2: release-a, release-b; enough without release-c\n",
        "\n  valid    timestamp version 1  (timestamp.json)\n",
        "  signed 1 of 1: timestamp\n",
        "\n  valid    extra version 1  (1.extra.json)\n",
        "  signed 1 of 1: release-a; enough without release-b\n",
    ] {
        assert!(shown.contains(fact), "{fact:?} is not in\n{shown}");
    }
    // Without names keys are the beginnings of their keyids; colours are for terminals.
    let (_, shown, _) = holders.run(&["status", "public"]);
    assert!(shown.contains(&holders.keyid("timestamp")[..16]), "{shown}");
    assert!(!shown.contains('\u{1b}'), "{shown}");
    let (exit, shown, _) = holders.run(&["status", "public/timestamp.json", "public/1.root.json"]);
    assert!(exit == 0 && shown.contains("public/timestamp.json: metadata file"), "{shown}");
}

#[test]
fn status_by_the_period_of_the_root_is_due_to_the_second() {
    let holders = Holders::new();
    let mut parts = holders.clean();
    parts.roots[0].signed["periods"] = json!({ "targets": { "expiry": 180, "signing": 60 }, "root": "odd" });
    holders.publish(parts);
    let at = |moment: &str| {
        let (exit, _, said) = holders.run(&["status", "public/1.targets.json", "--valid-at", moment]);
        (exit, state(&holders, &["public/1.targets.json", "--valid-at", moment], "targets"), said)
    };
    assert_eq!(at("2027-03-22T13:14:14Z"), (0, "valid".to_owned(), String::new()));
    let (exit, word, said) = at("2027-03-22T13:14:15Z");
    assert_eq!((exit, word.as_str()), (1, "due"));
    let says = "error[K140]: not in order at 2027-03-22T13:14:15Z: targets of public/1.targets.json is due; ";
    assert!(said.starts_with(says) && said.matches('\n').count() == 1, "{said}");
    assert_eq!(at("2027-05-21T13:14:14Z").1, "due");
    // A file that expires at a moment has expired then.
    assert_eq!(at("2027-05-21T13:14:15Z").1, "expired");
    assert_eq!(at("in 119 days").0, 0);
    assert_eq!(at("120d").0, 1);
}

#[test]
fn status_of_an_expired_file_is_expired_and_nothing_worse() {
    let holders = published();
    assert_eq!(state(&holders, &["public"], "timestamp"), "valid");
    let status = holders.json(&["status", "public", "--valid-at", "8d"]);
    assert_eq!(status["summary"]["expired"], 1, "{status}");
    assert_eq!(status["summary"]["valid"], 4, "{status}");
    holders.room.refused(&["status", "public", "--valid-at", "8d"], 140, "timestamp of public is expired");
    let role =
        &status["subjects"][0]["roles"].as_array().unwrap().iter().find(|role| role["role"] == "timestamp");
    assert_eq!(role.unwrap()["expires_days"], -1);
}

#[test]
fn status_of_what_devices_refuse_has_the_words_of_the_verifier() {
    let holders = Holders::new();
    let mut parts = holders.clean();
    parts.targets.signers = vec!["release-b", "root-a"];
    holders.publish(parts);
    let (exit, shown, _) = holders.run(&["status", "public", "--names", "keys"]);
    assert_eq!(exit, 1);
    for fact in [
        "  REFUSED  targets version 1  (1.targets.json)\n",
        "  refused      targets: signed by 1 of 2 needed keys [C106]\n",
        "  signed 1 of 2: release-b; missing release-a, release-c\n",
    ] {
        assert!(shown.contains(fact), "{fact:?} is not in\n{shown}");
    }
    let status = holders.json(&["status", "public", "--names", "keys/release-b.pub.pem"]);
    let targets =
        status["subjects"][0]["roles"].as_array().unwrap().iter().find(|role| role["role"] == "targets");
    let refused = json!({ "code": "C106", "message": "targets: signed by 1 of 2 needed keys" });
    assert_eq!(targets.unwrap()["refused"], refused);
    assert_eq!(targets.unwrap()["signatures"][0]["signed"], json!(["release-b"]));

    // A label counts for nothing, whoever it names: one key under two keyids is one signature.
    let mut parts = holders.clean();
    let twice = "0".repeat(64);
    parts.roots[0].signed["keys"][&twice] = holders.key("release-a").public().to_value();
    let keyids = json!([holders.keyid("release-a"), twice]);
    parts.roots[0].signed["roles"]["targets"]["keyids"] = keyids;
    parts.targets.signers = vec!["release-a"];
    holders.publish(parts);
    let file = holders.room.json("public/1.targets.json");
    let mut both = file.clone();
    let mut copy = file["signatures"][0].clone();
    copy["keyid"] = twice.into();
    both["signatures"].as_array_mut().unwrap().insert(0, copy);
    fs::write(holders.room.path("public/1.targets.json"), serde_json::to_vec(&both).unwrap()).unwrap();
    let (exit, shown, _) = holders.run(&["status", "public/1.targets.json", "--names", "keys"]);
    assert_eq!(exit, 1);
    assert!(
        shown.contains("signed 1 of 2: ") && shown.contains("signed by 1 of 2 needed keys [C106]"),
        "{shown}"
    );
}

#[test]
fn status_of_files_that_do_not_belong_together_is_refused() {
    let holders = Holders::new();
    let mut parts = holders.clean();
    parts.timestamp.signed["meta"]["snapshot.json"] = json!({ "hashes": { "sha256": "ab".repeat(32) } });
    holders.publish(parts);
    assert_eq!(state(&holders, &["public"], "snapshot"), "refused");
    // By itself it is well signed.
    assert_eq!(state(&holders, &["public/1.snapshot.json"], "snapshot"), "valid");
    holders.publish(holders.clean());
    assert_eq!(state(&holders, &["public"], "snapshot"), "valid");
    fs::remove_file(holders.room.path("public/1.targets.json")).unwrap();
    assert_eq!(state(&holders, &["public"], "targets"), "missing");
    assert_eq!(holders.run(&["status", "public"]).0, 1);
    // A root that the one before it did not sign is no root; the chain ends before it.
    let mut parts = holders.clean();
    parts.roots.push(holders.root(2));
    parts.roots[1].signers = vec!["root-c"];
    holders.publish(parts);
    assert_eq!(state(&holders, &["public"], "root"), "refused");
    assert_eq!(state(&holders, &["public"], "timestamp"), "valid");
    assert_eq!(state(&holders, &["public/2.root.json"], "root"), "refused");
    fs::rename(holders.room.path("public/2.root.json"), holders.room.path("public/3.root.json")).unwrap();
    assert_eq!(holders.json(&["status", "public"])["summary"]["missing"], 1);
    for bytes in [&b"{"[..], b"", b"{}", b"\x1b[2J"] {
        fs::write(holders.room.path("public/timestamp.json"), bytes).unwrap();
        assert_eq!(state(&holders, &["public"], "timestamp"), "refused", "{bytes:?}");
        assert_eq!(state(&holders, &["public/timestamp.json"], "timestamp"), "refused", "{bytes:?}");
    }
}

#[test]
fn status_of_a_request_names_who_is_missing_and_is_no_trouble() {
    let holders = Holders::new();
    holders.root_request("request", &["root-a"]);
    let (exit, shown, said) = holders.run(&["status", "request", "--names", "keys"]);
    assert_eq!((exit, said.as_str()), (0, ""), "{shown}");
    assert!(shown.contains("request: signing request, at"), "{shown}");
    assert!(shown.contains("  waiting  root version 2  (request)\n"), "{shown}");
    for root in [1, 2] {
        let says = format!("signed 1 of 2: root-a; missing root-b, root-c (keys of root {root})\n");
        assert!(shown.contains(&says), "{shown}");
    }
    holders.root_request("signed", &["root-a", "root-c"]);
    assert_eq!(state(&holders, &["signed"], "root"), "valid");
    // Signed too late it is due again, or of no use at all.
    assert_eq!(state(&holders, &["request", "--valid-at", "300d"], "root"), "due");
    assert_eq!(state(&holders, &["request", "--valid-at", "365d"], "root"), "expired");
    let request = String::from_utf8(holders.room.read("request")).unwrap();
    fs::write(holders.room.path("request"), request.replace("\"version\": 2", "\"version\": 3")).unwrap();
    let refused = &holders.json(&["status", "request"])["subjects"][0]["roles"][0]["refused"];
    assert_eq!(refused["code"], "K115");
    assert_eq!(holders.run(&["status", "request"]).0, 1);
}

#[test]
fn status_that_cannot_be_read_ends_with_usage_or_environment() {
    let holders = published();
    holders.room.refused(&["status", "keys"], 240, "no N.root.json is in this directory: keys; ");
    holders.room.refused(&["status", "nowhere"], 301, "nowhere");
    holders.room.refused(&["status", "public", "--names", "public"], 241, "public");
    holders.room.refused(&["status", "public", "--names", "public/1.root.json"], 106, "1.root.json");
    holders.room.refused(&["status", "public", "--valid-at", "soon"], 204, "--valid-at");
    for arguments in
        [&["status"][..], &["status", "public", "--output", "xml"], &["status", "public", "--ics"]]
    {
        assert_eq!(holders.run(arguments).0, 2, "{arguments:?}");
    }
    for command in ["status", "lint"] {
        assert!(holders.room.ok(&[command, "--help"]).contains("Exit status: 0"));
    }
    // A reader who has seen enough changes nothing about the verdict.
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let arguments = ["status", "public", "--valid-at", "30d"];
    let output = holders.room.keys(&arguments).stdout(writer).output().unwrap();
    refused(&output, 140, "timestamp of public is expired");
}

#[test]
fn status_of_foreign_text_does_not_steer_the_terminal() {
    let holders = Holders::new();
    let mut parts = holders.clean();
    let name = "\u{1b}[2J\r\u{9b}evil";
    parts.snapshot.signed["meta"][format!("{name}.json")] =
        json!({ "hashes": { "sha256": "ab".repeat(32) }, "length": 1, "version": 1 });
    holders.publish(parts);
    for arguments in [&["status", "public"][..], &["lint", "public"]] {
        let (_, shown, said) = holders.run(arguments);
        let shown = shown + &said;
        assert!(shown.chars().all(|c| matches!(c, ' '..='~' | '\n')), "{shown:?}");
        assert!(shown.contains("\\u{1b}[2J\\r"), "{shown}");
    }
}

#[test]
fn status_as_json_has_its_members_sorted() {
    let holders = published();
    let status = holders.json(&["status", "public", "--names", "keys"]);
    let members = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(members(&status), ["at", "subjects", "summary"]);
    let subject = &status["subjects"][0];
    assert_eq!(members(subject), ["kind", "path", "repository", "roles"]);
    assert_eq!(subject["kind"], "repository");
    let root = &subject["roles"][0];
    let all = [
        "due",
        "due_days",
        "expires",
        "expires_days",
        "file",
        "refused",
        "role",
        "signatures",
        "state",
        "version",
    ];
    assert_eq!(members(root), all);
    let expected = json!({
        "due": "2027-07-23T21:14:15Z", "due_days": 243, "expires": days(365), "expires_days": 365,
        "file": "1.root.json", "refused": null, "role": "root", "state": "valid", "version": 1,
        "signatures": [{ "have": 2, "missing": ["root-c"], "need": 2, "root": 1, "signed": ["root-a", "root-b"] }],
    });
    assert_eq!(*root, expected);
    let (_, shown, _) = holders.run(&["status", "public", "--output", "json"]);
    assert!(shown.starts_with("{\"at\":\"2026-11-22T13:14:15Z\",\"subjects\":[{\"kind\":"), "{shown}");
}

/// A component of a calendar: its name, properties, and components.
#[derive(Debug, Default)]
struct Component {
    name: String,
    properties: BTreeMap<String, String>,
    inner: Vec<Component>,
}

/// Reads a calendar as strictly as RFC 5545 has it: line ends, folds, pairs of BEGIN and END, no property twice.
fn read_calendar(bytes: &[u8]) -> Component {
    let text = str::from_utf8(bytes).unwrap();
    let text = text.strip_suffix("\r\n").expect("the last line has an end");
    assert!(text.split("\r\n").all(|line| !line.contains(['\r', '\n'])), "a line end of another form");
    assert!(text.split("\r\n").all(|line| !line.is_empty() && line.len() <= 75), "a line of another length");
    let mut open = vec![Component::default()];
    for line in text.replace("\r\n ", "").split("\r\n") {
        let (name, value) = line.split_once(':').unwrap();
        assert!(name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-'), "{line}");
        match name {
            "BEGIN" => open.push(Component { name: value.to_owned(), ..Component::default() }),
            "END" => {
                let done = open.pop().unwrap();
                assert_eq!(done.name, value);
                open.last_mut().unwrap().inner.push(done);
            }
            _ => {
                let properties = &mut open.last_mut().unwrap().properties;
                assert!(
                    properties.insert(name.to_owned(), value.to_owned()).is_none(),
                    "{line} stands twice"
                );
            }
        }
    }
    assert!(open.len() == 1 && open[0].inner.len() == 1, "not one calendar");
    open.pop().unwrap().inner.pop().unwrap()
}

/// The text of a value, with its escapes undone.
fn unescaped(value: &str) -> String {
    let mut text = String::new();
    let mut rest = value.chars();
    while let Some(c) = rest.next() {
        match c {
            '\\' => match rest.next().unwrap() {
                'n' => text.push('\n'),
                escaped @ ('\\' | ';' | ',') => text.push(escaped),
                other => panic!("\\{other} is no escape"),
            },
            ';' | ',' => panic!("{c} stands bare in {value}"),
            _ => text.push(c),
        }
    }
    text
}

#[test]
fn calendar_has_an_event_for_each_date_of_each_role() {
    let holders = published();
    fs::rename(holders.room.path("public"), holders.room.path("pub;lic, 1")).unwrap();
    holders.root_request("request", &[]);
    let arguments =
        ["status", "pub;lic, 1", "pub;lic, 1/1.root.json", "request", "--names", "keys", "--ics", "c.ics"];
    let (exit, shown, _) = holders.run(&arguments);
    assert!(exit == 0 && shown.ends_with("wrote c.ics\n"), "{shown}");
    let bytes = holders.room.read("c.ics");
    let calendar = read_calendar(&bytes);
    assert_eq!((calendar.name.as_str(), calendar.properties["VERSION"].as_str()), ("VCALENDAR", "2.0"));
    assert_eq!(calendar.inner.len(), 10, "five roles, two dates each, none twice");
    let repository = holders.json(&["status", "pub;lic, 1"])["subjects"][0]["repository"].clone();
    let event = |uid: &str| {
        let uid = format!("{}.{uid}@tuffet", repository.as_str().unwrap());
        calendar.inner.iter().find(|event| event.properties["UID"] == uid).unwrap()
    };
    let (due, expiry) = (event("targets.signing"), event("targets.expiry"));
    assert_eq!(due.properties["DTSTART"], "20270322T131415Z");
    assert_eq!(expiry.properties["DTSTART"], "20270521T131415Z");
    for event in &calendar.inner {
        assert_eq!(event.name, "VEVENT");
        assert_eq!(event.properties["DTSTAMP"], "20261122T131415Z");
        assert_eq!(event.properties["SEQUENCE"], "1");
        let is_due = event.properties["UID"].ends_with(".signing@tuffet");
        assert_eq!(event.inner.len(), usize::from(is_due), "an alarm for what people must do");
    }
    let about = unescaped(&due.properties["DESCRIPTION"]);
    let says = "pub;lic, 1: targets version 1 expires 2027-05-21T13:14:15Z. signed 2 of 2: release-a, release-b; \
                enough without release-c.\nRepository: root 1 is sha256 ";
    assert!(about.starts_with(says), "{about}");
    let alarm = &due.inner[0];
    assert_eq!((alarm.name.as_str(), alarm.properties["ACTION"].as_str()), ("VALARM", "DISPLAY"));
    assert_eq!(alarm.properties["TRIGGER"], "-P1D");
    assert_eq!(alarm.properties["DESCRIPTION"], due.properties["SUMMARY"]);
    assert!(unescaped(&expiry.properties["SUMMARY"]).contains("targets version 1 expires"));
}

#[test]
fn calendar_of_a_later_version_updates_the_same_events() {
    let holders = published();
    let uids = || {
        holders.run(&["status", "public", "--ics", "c.ics"]);
        let calendar = read_calendar(&holders.room.read("c.ics"));
        let properties = calendar.inner.into_iter().map(|event| event.properties);
        properties.map(|mut all| (all.remove("UID").unwrap(), all)).collect::<BTreeMap<_, _>>()
    };
    let before = uids();
    assert_eq!(before, uids(), "the same repository gives the same calendar");
    let mut parts = holders.clean();
    parts.timestamp.signed["version"] = 2.into();
    parts.timestamp.signed["expires"] = days(14);
    let root = holders.room.read("public/1.root.json");
    holders.publish(parts);
    fs::write(holders.room.path("public/1.root.json"), root).unwrap();
    let after = uids();
    assert!(after.keys().eq(before.keys()), "the same events");
    let changed: Vec<&String> = after.keys().filter(|uid| after[*uid] != before[*uid]).collect();
    assert!(changed.len() == 2 && changed.iter().all(|uid| uid.contains(".timestamp.")), "{changed:?}");
    assert!(changed.iter().all(|uid| after[*uid]["SEQUENCE"] == "2"));

    // Only a calendar of this tool is ever replaced.
    let pem = holders.room.read("keys/root-a.pub.pem");
    holders.room.refused(&["status", "public", "--ics", "keys/root-a.pub.pem"], 201, "keys/root-a.pub.pem");
    assert_eq!(holders.room.read("keys/root-a.pub.pem"), pem);
}

#[test]
fn delegated_role_that_too_few_signed_is_refused() {
    let holders = Holders::new();
    holders.publish(holders.clean());
    let (exit, shown, _) = holders.run(&["status", "public"]);
    assert!(exit == 0 && shown.contains("extra version 1"), "{shown}");
    let state = |arguments: &[&str]| {
        let status = holders.json(arguments);
        let roles = status["subjects"][0]["roles"].as_array().unwrap().clone();
        let extra = roles.into_iter().find(|role| role["role"] == "extra").unwrap();
        (
            extra["state"].as_str().unwrap().to_owned(),
            extra["refused"]["code"].as_str().unwrap_or("").to_owned(),
        )
    };
    assert_eq!(state(&["status", "public"]), ("valid".to_owned(), String::new()));
    assert_eq!(state(&["status", "public/1.extra.json"]), ("valid".to_owned(), String::new()));
    // By nobody, and by somebody else.
    for signers in [vec![], vec!["release-c"]] {
        let mut parts = holders.clean();
        parts.extra.signers = signers;
        holders.publish(parts);
        assert_eq!(state(&["status", "public"]), ("refused".to_owned(), "C106".to_owned()));
        assert_eq!(state(&["status", "public/1.extra.json"]), ("refused".to_owned(), "C106".to_owned()));
        assert_eq!(holders.run(&["status", "public"]).0, 1);
    }
}

#[test]
fn status_signed_by_more_than_must_counts_them_apart() {
    let holders = Holders::new();
    let mut parts = holders.clean();
    parts.targets.signers = vec!["release-a", "release-b", "release-c"];
    holders.publish(parts);
    let (exit, shown, _) = holders.run(&["status", "public", "--names", "keys", "--ics", "c.ics"]);
    let says = "signed 3, 2 needed: release-a, release-b, release-c";
    assert!(exit == 0 && shown.contains(&format!("  {says}\n")), "{shown}");
    assert!(shown.contains("  signed 2 of 2: root-a, root-b; enough without root-c\n"), "{shown}");
    let calendar = String::from_utf8(holders.room.read("c.ics")).unwrap().replace("\r\n ", "");
    assert!(calendar.contains(&says.replace(',', "\\,")), "{calendar}");
}

#[test]
fn status_days_say_what_the_words_do() {
    let holders = published();
    let expires = |moment: &str| {
        let (_, shown, _) = holders.run(&["status", "public/timestamp.json", "--valid-at", moment]);
        let words = shown.split_once("expires      ").unwrap().1.split_once(" (").unwrap().1;
        let words = words.split_once(')').unwrap().0.to_owned();
        let status = holders.json(&["status", "public/timestamp.json", "--valid-at", moment]);
        (words, status["subjects"][0]["roles"][0]["expires_days"].as_i64().unwrap())
    };
    // It expires on 2026-11-29.
    for (moment, words, days) in [
        ("2026-11-22T13:14:16Z", "in 7 days", 7),
        ("2026-11-28T17:14:15Z", "in 20 hours", 1),
        ("2026-11-29T13:08:15Z", "in 6 minutes", 0),
        ("2026-11-29T13:14:15Z", "now", -1),
        ("2026-11-29T16:14:15Z", "3 hours ago", -1),
        ("2026-12-03T13:14:15Z", "4 days ago", -4),
    ] {
        assert_eq!(expires(moment), (words.to_owned(), days), "{moment}");
    }
}

#[test]
fn status_names_of_a_directory_skip_foreign_keys_and_show_both_of_one_key() {
    let holders = published();
    let room = &holders.room;
    room.tool("openssl", &["genpkey", "-algorithm", "ED25519", "-out", "ed25519.pem"]);
    room.tool("openssl", &["pkey", "-in", "ed25519.pem", "-pubout", "-out", "keys/mail.pub.pem"]);
    fs::write(room.path("keys/note.pub.pem"), "no key").unwrap();
    let (exit, shown, said) = holders.run(&["status", "public", "--names", "keys"]);
    assert_eq!((exit, said.as_str()), (0, ""));
    assert!(shown.contains("signed 2 of 2: release-a, release-b; enough without release-c\n"), "{shown}");
    // Whoever names a file means it; and a directory without any key of ours gives no names.
    room.refused(&["status", "public", "--names", "keys/mail.pub.pem"], 107, "mail.pub.pem");
    fs::create_dir(room.path("mail")).unwrap();
    fs::copy(room.path("keys/mail.pub.pem"), room.path("mail/mail.pub.pem")).unwrap();
    room.refused(&["status", "public", "--names", "mail"], 241, "mail");

    // A backup's public half beside the key's: the same holder twice, or two holders with one key.
    fs::copy(room.path("keys/release-a.pub.pem"), room.path("keys/spare-a.pub.pem")).unwrap();
    fs::copy(room.path("keys/release-a.pub.pem"), room.path("mail/release-a.pub.pem")).unwrap();
    let (_, shown, _) = holders.run(&["status", "public", "--names", "mail", "--names", "keys"]);
    assert!(shown.contains("signed 2 of 2: release-a (also spare-a), release-b; enough"), "{shown}");
}
