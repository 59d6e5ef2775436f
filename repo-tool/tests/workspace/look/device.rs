use std::fs;

use serde_json::{Value, json as value};
use sha2::{Digest as _, Sha256};
use tuffet::demo::mirror::{Fault, Mirror};

use super::{HALT, bench, json, look, said};
use crate::support::{Bench, DAY, NOW, text};

fn ask<'a>(id: &'a str, installed: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["which-release", "--device-id", id, "--hardware", "rev-a", "--installed", installed], more].concat()
}

/// A fourth release with a ramp of three days, published.
fn ramped() -> Bench {
    let bench = bench();
    bench.image("fw.bin", b"1.3.0");
    let add =
        ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", "1.3.0"];
    bench.ok(&[&add[..], &["--counter", "2", "--rollout-end", "3d"]].concat());
    bench.sign(2);
    bench.publish();
    bench
}

#[test]
fn device_that_may_have_the_newest_installs_it_and_the_others_are_explained() {
    let bench = bench();
    let expected = "device lamp-1 of hardware rev-a, at 2026-11-22T12:00:00Z
it runs release 2, 1.1.0, and its security counter is 1

thermo/rev-a/stable: it installs 1.2.0, release 3
    3  1.2.0       eligible: the newest that it may have
    2  1.1.0       it runs this
    1  1.0.0       not newer than what it runs
  later: nothing, until something else is published
";
    assert_eq!(said(&bench, &ask("lamp-1", "1.1.0", &[])), expected);
    for more in [&["--product", "thermo"][..], &["--channel", "stable"], &["repo/public"], &["repo"]] {
        assert_eq!(said(&bench, &ask("lamp-1", "1.1.0", more)), expected, "{more:?}");
    }
    assert_eq!(said(&bench, &ask("lamp-1", "#2", &[])), expected);
    assert_eq!(said(&bench, &ask("lamp-1", "2", &[])), expected);
    let mirror = Mirror::serve(&bench.repo().join("public")).unwrap();
    assert_eq!(said(&bench, &ask("lamp-1", "1.1.0", &[&mirror.url()])), expected);
    // Without a workspace, by a root that one has.
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tuffet"));
    command.current_dir(bench.directory.path()).args(["--now", &tuffet_keys::date::format(NOW)]);
    let output =
        command.args(ask("lamp-1", "1.1.0", &["--root", "1.root.json", &mirror.url()])).output().unwrap();
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_tuffet"));
    let output =
        command.current_dir(bench.directory.path()).args(ask("x", "1.1.0", &["repo"])).output().unwrap();
    crate::support::assert_fails(&output, 2, "T205");
}

#[test]
fn device_that_is_newer_safer_or_too_old_stays_and_is_told_why() {
    let bench = bench();
    let out = said(&bench, &ask("x", "1.2.0", &[]));
    assert!(out.contains("stable: it does nothing\n    3  1.2.0       it runs this\n"), "{out}");
    let out = said(&bench, &ask("x", "factory", &["--counter", "2"]));
    assert!(
        out.contains("it does nothing\n    3  1.2.0       counter 1 is lower than the device's, 2\n"),
        "{out}"
    );
    assert!(out.contains("it runs what it came with, and its security counter is 2\n"), "{out}");
    let out = said(&bench, &ask("x", "#9", &[]));
    assert!(out.contains("it runs release 9, which is not listed, and its security counter is 0\n"), "{out}");

    bench.image("fw.bin", b"1.3.0");
    let add =
        ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", "1.3.0"];
    bench.ok(&[&add[..], &["--counter", "1", "--minimum", "3"]].concat());
    bench.sign(2);
    bench.publish();
    // What it installs first opens the way.
    let out = said(&bench, &ask("x", "1.0.0", &[]));
    let expected = "stable: it installs 1.2.0, release 3
    4  1.3.0       only from release 3 on
    3  1.2.0       eligible: the newest that it may have
    2  1.1.0       eligible, and a newer one comes first
    1  1.0.0       it runs this
  with its next look: it installs 1.3.0, release 4
";
    assert!(out.ends_with(expected), "{out}");
}

/// The published rule, read with a reader of the test's own.
fn turn(bench: &Bench, id: &[u8]) -> (u64, u64) {
    let targets = bench.public_json("2.targets.json");
    let ramp =
        &targets["signed"]["targets"]["thermo/rev-a/stable/release"]["custom"]["candidates"][0]["rollout"];
    let salt = ramp["salt"].as_str().unwrap();
    let salt: Vec<u8> =
        (0..32).step_by(2).map(|at| u8::from_str_radix(&salt[at..at + 2], 16).unwrap()).collect();
    let digest = Sha256::digest([&salt[..], id].concat());
    let bucket = u64::from(u32::from_be_bytes(*digest.first_chunk().unwrap()));
    let moment = |name: &str| tuffet_keys::date::parse(ramp[name].as_str().unwrap()).unwrap();
    let (start, end) = (moment("start"), moment("end"));
    let turn = (start..=end).find(|t| bucket * (end - start) < (t - start) << 32).unwrap_or(end);
    (turn, ((bucket * 100) >> 32) + 1)
}

#[test]
fn device_s_turn_in_a_rollout_is_the_second_that_the_published_rule_says() {
    let bench = ramped();
    for (given, id) in [
        ("lamp-1", b"lamp-1".to_vec()),
        ("hex:00ff10", vec![0, 255, 16]),
        ("hex:6C616D702d31", b"lamp-1".to_vec()),
    ] {
        let (turn, share) = turn(&bench, &id);
        let found = json(&bench, &ask(given, "1.2.0", &[]));
        let channel = &found["channels"][0];
        assert_eq!(channel["now"], value!({ "act": "stay", "sequence": null }));
        let date = tuffet_keys::date::format(turn);
        assert_eq!(channel["later"], value!([{ "at": date, "sequence": 4 }]));
        assert_eq!(channel["candidates"][0]["verdict"], "not-yet");
        assert_eq!(channel["candidates"][0]["turn"], value!(date));
        assert_eq!(channel["candidates"][0]["among_first_percent"], share);
        // The device itself, a second before and then.
        for (at, act) in [(turn - 1, "stay"), (turn, "install")] {
            let found = json(&bench, &ask(given, "1.2.0", &["--at", &tuffet_keys::date::format(at)]));
            assert_eq!(found["channels"][0]["now"]["act"], act, "{given}");
            assert_eq!(found["played"], true);
        }
        let out = said(&bench, &ask(given, "1.2.0", &[]));
        assert!(out.contains(&format!("its turn comes {date} (")), "{out}");
        assert!(out.contains(&format!("; among the first {share} %\n")), "{out}");
        assert!(
            out.contains(&format!("\n  {date} (")) && out.contains("): it installs 1.3.0, release 4\n"),
            "{out}"
        );
    }
    // Before that it takes the one below, and then goes on.
    let (turn, _) = turn(&bench, b"lamp-1");
    let found = json(&bench, &ask("lamp-1", "1.0.0", &[]));
    assert_eq!(found["channels"][0]["now"], value!({ "act": "install", "sequence": 3 }));
    assert_eq!(
        found["channels"][0]["later"],
        value!([{ "at": tuffet_keys::date::format(turn), "sequence": 4 }])
    );
}

#[test]
fn device_asked_about_a_day_after_the_timestamp_expires_is_answered_as_if_it_were_signed_anew() {
    let bench = ramped();
    let found = json(&bench, &ask("lamp-1", "1.2.0", &["--at", "20d"]));
    assert_eq!((&found["played"], &found["channels"][0]["now"]["act"]), (&value!(false), &value!("install")));
    let out = said(&bench, &ask("lamp-1", "1.2.0", &["--at", "20d"]));
    assert!(
        out.contains("what is signed now has expired by then: this is as if it were signed anew\n"),
        "{out}"
    );
    // What has expired already a device refuses.
    let late = bench.command_at(NOW + 8 * DAY, &ask("lamp-1", "1.2.0", &[])).output().unwrap();
    let message = crate::support::assert_fails(&late, 1, "C110");
    assert!(message.contains("expired 2026-11-29"), "{message}");
}

#[test]
fn device_stops_at_a_halted_release_and_is_told_so() {
    let bench = bench();
    bench.ok(&[&HALT[..], &["1.2.0"]].concat());
    let out = said(&bench, &ask("x", "1.0.0", &[]));
    let expected = "stable: it does nothing: 1.2.0, release 3, would be next and is halted
    3  1.2.0       eligible, and halted: nothing older comes in its place
    2  1.1.0       eligible, and a newer one comes first
    1  1.0.0       it runs this
  later: nothing, until something else is published
";
    assert!(out.ends_with(expected), "{out}");
    assert_eq!(
        json(&bench, &ask("x", "1.0.0", &[]))["channels"][0]["now"],
        value!({ "act": "halted", "sequence": 3 })
    );
}

#[test]
fn device_asked_about_what_is_staged_is_answered_by_the_rule_of_choice() {
    let bench = bench();
    bench.ok(&["release", "pause", "--hardware", "rev-a", "--channel", "stable"]);
    bench.ok(&["release", "promote", "1.1.0", "--hardware", "rev-a", "--channel", "stable", "--to", "beta"]);
    let out = said(&bench, &ask("x", "1.0.0", &["--staged"]));
    assert!(
        out.contains("not all of what is staged is signed yet: this is by the rule of choice alone\n"),
        "{out}"
    );
    assert!(out.contains("stable: it installs 1.1.0, release 2\n    3  1.2.0       paused\n"), "{out}");
    assert!(out.contains("beta: it installs 1.1.0, release 2\n"), "{out}");
    let found = json(&bench, &ask("x", "1.0.0", &["--staged", "--channel", "beta"]));
    let channels: Vec<&Value> =
        found["channels"].as_array().unwrap().iter().map(|it| &it["channel"]).collect();
    assert_eq!(channels, ["thermo/rev-a/beta"]);
    // What it runs it may have from another channel.
    bench.sign(2);
    bench.publish();
    let out = said(&bench, &ask("x", "1.0.0", &["--channel", "beta"]));
    assert_eq!(said(&bench, &ask("x", "#1", &["--channel", "beta"])), out);
    assert!(out.contains("it runs release 1, 1.0.0") && !out.contains("stable"), "{out}");
    bench.fails(&ask("x", "1.0.0", &["--staged", "--channel", "gamma"]), 1, "T136");
    assert_eq!(look(&bench, &ask("x", "1.0.0", &["--staged", "repo"])).0, 2);
}

#[test]
fn device_of_a_product_with_bins_is_found_through_its_delegations() {
    let bench = Bench::delegated(&["--bins", "6"]);
    bench.sign(2);
    bench.ok(&["renew"]);
    bench.sign_product();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign_product();
    bench.publish();
    let out = said(&bench, &ask("x", "factory", &[]));
    assert!(out.contains("thermo/rev-a/stable: it installs 1.0.0, release 1\n"), "{out}");
    assert_eq!(said(&bench, &ask("x", "factory", &["--channel", "stable"])), out);
}

#[test]
fn device_that_cannot_be_meant_is_refused_by_name() {
    let bench = bench();
    for id in ["", "hex:", "hex:0", "hex:0g", "hex:+1"] {
        let (status, _, error) = look(&bench, &ask(id, "factory", &[]));
        assert_eq!(status, 2, "{id}: {error}");
    }
    bench.fails(&ask("x", "factory", &["--channel", "beta"]), 1, "T136");
    bench.fails(&ask("x", "factory", &["--channel", "beta", "repo"]), 1, "T132");
    bench.fails(&ask("x", "factory", &["--channel", "\u{1b}[2J", "--product", "thermo"]), 2, "T203");
    bench.fails(&ask("x", "factory", &["--product", "\u{1b}[2J"]), 2, "T203");
    let message = bench.fails(&ask("x", "9.9", &[]), 1, "T153");
    assert!(message.contains("(listed: 1.0.0, 1.1.0, 1.2.0)"), "{message}");
    let message = bench.fails(&ask("x", "\u{1b}[2J", &[]), 1, "T153");
    assert!(message.contains("\\u{1b}[2J"), "{message}");
    let other = |hardware: &'static str| {
        ["which-release", "--device-id", "x", "--installed", "factory", "--hardware", hardware]
    };
    bench.fails(&other("rev-c"), 1, "T105");
    bench.fails(&[&other("rev-c")[..], &["repo"]].concat(), 1, "T105");
    bench.fails(&[&other("rev-b")[..], &["repo"]].concat(), 1, "T105");

    bench.ok(&["release", "rollback", "1.1.0", "--hardware", "rev-a", "--channel", "stable"]);
    let message = bench.fails(&ask("x", "1.1.0", &["--staged"]), 2, "T209");
    assert!(message.contains("release 4 and release 2 are version 1.1.0; say which, as '#4'"), "{message}");
}

#[test]
fn device_is_not_shown_channels_that_nobody_delegated() {
    let bench = Bench::delegated(&[]);
    bench.sign(2);
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign_product();
    bench.publish();
    let expected = said(&bench, &ask("x", "factory", &[]));
    // Holders of another product sign what they like, and no device looks there.
    let workspace = bench.workspace();
    let roots = workspace.roots().unwrap();
    let published = workspace.published(&roots).unwrap().unwrap();
    let role = tuffet_keys::Role::Delegated("thermo".to_owned());
    let foreign = published.role(&role).unwrap().unwrap();
    let text = text(foreign.bytes()).replace("thermo/rev-a/stable/", "thermo/rev-a/secret/");
    let keys = bench.holders.online_keys();
    let dates = tuffet::author::Dates { issued: NOW, expires: NOW + DAY };
    let other = tuffet_keys::Role::Delegated("other".to_owned());
    let sign = |role: &tuffet_keys::Role, signed: &str| {
        let signers = tuffet::author::Signers::new(role, &keys.snapshot, 1, roots.keys(role)).unwrap();
        signers.sign(signed).unwrap()
    };
    let listing = published.listing.edited(2, dates, &[(&other, 1, text.as_bytes())]);
    let snapshot = sign(&tuffet_keys::Role::Snapshot, &listing);
    let timestamp = tuffet::document::timestamp(2, dates, 2, &snapshot, &[]);
    let timestamp = sign(&tuffet_keys::Role::Timestamp, &timestamp);
    for (name, bytes) in
        [("1.other.json", text.into_bytes()), ("2.snapshot.json", snapshot), ("timestamp.json", timestamp)]
    {
        fs::write(bench.repo().join("public").join(name), bytes).unwrap();
    }
    assert_eq!(said(&bench, &ask("x", "factory", &[])), expected);
    bench.fails(&ask("x", "factory", &["--channel", "secret", "--product", "thermo", "repo"]), 1, "T136");
}

#[test]
fn device_that_is_shown_other_files_refuses_them_as_every_device_does() {
    let bench = bench();
    let mirror = Mirror::serve(&bench.repo().join("public")).unwrap();
    let url = mirror.url();
    for (file, fault, status, label) in [
        ("/timestamp.json", Fault::Endless, 1, "C105"),
        ("/timestamp.json", Fault::Replace(b"<html>\x1b[2J".to_vec()), 1, "C100"),
        ("/1.targets.json", Fault::Replace(b"{}".to_vec()), 1, "C104"),
        ("/timestamp.json", Fault::Status(500), 3, "T305"),
    ] {
        mirror.set_fault(file, fault);
        bench.fails(&ask("x", "factory", &[&url]), status, label);
        mirror.clear_faults();
    }
    let targets = bench.repo().join("public/1.targets.json");
    let text = fs::read_to_string(&targets).unwrap();
    fs::write(&targets, text.replace("\"sequence\":3", "\"sequence\":9")).unwrap();
    bench.fails(&ask("x", "factory", &[]), 1, "C111");
}
