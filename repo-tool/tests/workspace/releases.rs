//! What becomes of a release after it was added.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::support::{Bench, DAY, NOW, PUBLISH};

/// Three releases of `stable` with the counters 0, 1 and 1, published.
fn bench() -> Bench {
    let bench = Bench::new();
    for (version, counter) in [("1.0.0", "0"), ("1.1.0", "1"), ("1.2.0", "1")] {
        bench.image("fw.bin", version.as_bytes());
        let add =
            ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", version];
        bench.ok(&[&add[..], &["--counter", counter]].concat());
    }
    publish(&bench, NOW);
    bench
}

fn publish(bench: &Bench, now: u64) {
    bench.sign(2);
    bench.ok_at(now, &PUBLISH);
    bench.ok_at(now, &["verify"]);
}

fn on<'a>(command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["release", command, "--hardware", "rev-a", "--channel", "stable"], more].concat()
}

/// Version, sequence and state of every row of a channel.
fn rows(bench: &Bench, channel: &str) -> Vec<(String, u64, String)> {
    let said = bench.ok(&["--output", "json", "release", "list", "--channel", channel]);
    let said: Value = serde_json::from_str(&said).unwrap();
    let row = |row: &Value| {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        (text("version"), row["sequence"].as_u64().unwrap(), text("state"))
    };
    said["releases"].as_array().unwrap().iter().map(row).collect()
}

fn row(version: &str, sequence: u64, state: &str) -> (String, u64, String) {
    (version.to_owned(), sequence, state.to_owned())
}

const HALT: [&str; 4] = ["halt", "--timestamp-key", "online.pem", "--danger-unencrypted"];

#[test]
fn release_that_strands_old_devices_or_raises_the_counter_says_so() {
    let bench = bench();
    for (version, counter, minimum) in [("1.3.0", "4", "1"), ("1.4.0", "4", "3")] {
        bench.image("fw.bin", version.as_bytes());
        let said = bench
            .ok(&on("add", &["fw.bin", "--version", version, "--counter", counter, "--minimum", minimum]));
        assert_eq!(said.contains("security counter is 4, after 1"), version == "1.3.0", "{said}");
        assert!(!said.contains("find nothing"), "older releases lead there: {said}");
    }
    for version in ["1.0.0", "1.1.0", "1.2.0"] {
        bench.ok(&on("withdraw", &[version]));
    }
    bench.image("fw.bin", b"1.5.0");
    let said = bench.ok(&on("add", &["fw.bin", "--version", "1.5.0", "--minimum", "4"]));
    assert!(said.contains("devices that run a release below 1, or came without one, find nothing"), "{said}");
}

#[test]
fn promoted_release_has_the_same_bytes_and_the_same_sequence() {
    let bench = bench();
    let said = bench.ok(&on("promote", &["1.1.0", "--to", "beta", "--rollout-end", "7d"]));
    assert!(
        said.contains("staged 1.1.0 as release 2 of thermo/rev-a/beta, 0 % now, everybody in 7 days"),
        "{said}"
    );
    assert_eq!(rows(&bench, "beta"), [row("1.1.0", 2, "staged")]);
    publish(&bench, NOW);
    assert_eq!(rows(&bench, "beta"), [row("1.1.0", 2, "published")]);
    assert!(
        bench.ok(&on("promote", &["1.1.0", "--to", "beta", "--rollout-end", "7d"])).contains("nothing to do")
    );
    // An older one is no update there, and a rollback is another thing.
    let message = bench.fails(&on("promote", &["1.0.0", "--to", "beta"]), 1, "T138");
    assert!(message.contains("tuffet release rollback"), "{message}");
    let images = bench.public_files().iter().filter(|file| file.contains("versions")).count();
    assert_eq!(images, 3, "nothing was copied");
}

#[test]
fn ramp_is_signed_once_and_paused_and_resumed() {
    let bench = bench();
    let said = bench.ok(&on("rollout", &["--start", "in 1 day", "--end", "in 8 days"]));
    assert!(
        said.contains("1.2.0, release 3 of thermo/rev-a/stable, nobody yet, the first in 24 hours"),
        "{said}"
    );
    publish(&bench, NOW);
    let verified = bench.ok(&["verify"]);
    assert!(verified.contains("release 3, version 1.2.0, from 2026-11-"), "{verified}");
    let list = bench.ok_at(NOW + 5 * DAY, &["release", "list"]);
    assert!(list.contains("57 % now, everybody in 3 days"), "{list}");

    bench.ok_at(NOW + 5 * DAY, &on("pause", &["1.2.0"]));
    publish(&bench, NOW + 5 * DAY);
    assert!(bench.ok(&["release", "list"]).contains("paused"));
    let verified = bench.ok_at(NOW + 6 * DAY, &["verify"]);
    assert!(verified.contains("version 1.2.0, from 9999-12-31T23:59:59Z on"), "{verified}");
    bench.ok_at(NOW + 6 * DAY, &on("rollout", &["--everybody"]));
    publish(&bench, NOW + 6 * DAY);
    assert!(!bench.ok_at(NOW + 6 * DAY, &["verify"]).contains("from"));
    bench.fails(&on("rollout", &["--end", "2026-11-22T11:00:00Z"]), 2, "T204");
}

#[test]
fn withdrawn_release_leaves_the_list_and_its_sequence_is_never_given_again() {
    let bench = bench();
    bench.ok(&on("withdraw", &["1.2.0"]));
    assert_eq!(rows(&bench, "stable")[0], row("1.2.0", 3, "leaving"));
    publish(&bench, NOW);
    assert_eq!(rows(&bench, "stable"), [row("1.1.0", 2, "published"), row("1.0.0", 1, "published")]);
    bench.image("fw.bin", b"1.3.0");
    let said = bench.ok(&on("add", &["fw.bin", "--version", "1.3.0"]));
    assert!(said.contains("as release 4"), "{said}");
    publish(&bench, NOW);
    for version in ["1.3.0", "1.1.0"] {
        bench.ok(&on("withdraw", &[version]));
    }
    let message = bench.fails(&on("withdraw", &[]), 1, "T137");
    assert!(message.contains("1.0.0 is the only release of stable"), "{message}");
    let message = bench.fails(&on("withdraw", &["9.9.9"]), 1, "T136");
    assert!(message.contains("(it lists: 1.0.0)"), "{message}");
}

#[test]
fn counter_that_a_withdrawn_release_had_is_a_floor_for_all_that_follow() {
    let bench = Bench::new();
    for (version, counter) in [("1.0.0", "1"), ("1.1.0", "5")] {
        bench.image("fw.bin", version.as_bytes());
        bench.ok(&on("add", &["fw.bin", "--version", version, "--counter", counter]));
    }
    publish(&bench, NOW);
    bench.ok(&on("withdraw", &["1.1.0"]));
    publish(&bench, NOW);
    bench.image("fw.bin", b"1.2.0");
    let message = bench.fails(&on("add", &["fw.bin", "--version", "1.2.0", "--counter", "4"]), 1, "T108");
    assert!(message.contains("and a release of the channel 5"), "{message}");
    let said = bench.ok(&on("add", &["fw.bin", "--version", "1.2.0", "--output", "json"]));
    assert!(said.contains("\"counter\":5"), "{said}");
    publish(&bench, NOW);
}

#[test]
fn version_that_goes_backwards_is_refused_unless_it_is_meant() {
    let bench = bench();
    bench.image("fw.bin", b"older");
    let message = bench.fails(&on("add", &["fw.bin", "--version", "1.1.9", "--counter", "1"]), 1, "T158");
    assert!(message.contains("version 1.1.9 goes backwards, thermo/rev-a/stable has 1.2.0"), "{message}");
    bench.ok(&on("add", &["fw.bin", "--version", "1.1.9", "--older"]));
    bench.image("fw.bin", b"named");
    bench.ok(&on("add", &["fw.bin", "--version", "spring"]));
    bench.fails(&on("promote", &["--to", "stable"]), 2, "T205");
}

#[test]
fn release_is_held_against_the_policy_of_the_day_it_is_published() {
    let bench = bench();
    bench.image("fw.bin", &[1; 200]);
    bench.ok(&on("add", &["fw.bin", "--version", "1.3.0"]));
    bench.sign(2);
    let config = bench.repo().join("tuffet.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    for (old, new, label) in [
        ("slot-size = 4096", "slot-size = 100", "T102"),
        ("\"rev-a\"]", "\"rev-q\"]", "T105"),
        ("# channels = [\"stable\", \"beta\"]", "channels = [\"beta\"]", "T132"),
    ] {
        std::fs::write(&config, text.replacen(old, new, 1)).unwrap();
        bench.fails(&PUBLISH, 1, label);
    }
    std::fs::write(&config, text).unwrap();
    bench.publish();
}

#[test]
fn rollback_is_the_old_image_under_a_new_sequence_if_counters_allow_it() {
    let bench = bench();
    let message = bench.fails(&on("rollback", &["1.0.0"]), 1, "T108");
    assert!(message.contains("build 1.0.0 again with counter 1 or more"), "{message}");
    bench.fails(&on("rollback", &["1.2.0"]), 2, "T205");
    let said = bench.ok(&on("rollback", &["1.1.0"]));
    assert!(
        said.contains("staged the image of 1.1.0 again, as release 4 of thermo/rev-a/stable, everybody"),
        "{said}"
    );
    assert!(said.contains("release 3 leaves the list"), "{said}");
    publish(&bench, NOW);
    let left = [row("1.1.0", 4, "published"), row("1.1.0", 2, "published"), row("1.0.0", 1, "published")];
    assert_eq!(rows(&bench, "stable"), left);
    bench.ok(&["bundle", "--hardware", "rev-a", "--channel", "stable", "--out", "it.bundle"]);
    assert!(bench.ok(&["verify", "it.bundle"]).contains("release 4, version 1.1.0"));
    // The two are told apart by their sequence.
    assert!(bench.ok(&on("pause", &["#2", "--dry-run"])).contains("1.1.0, release 2 of"));
    let show = bench.ok(&["release", "show", "1.1.0"]);
    assert!(show.contains("release 4, published") && show.contains("counter  1"), "{show}");
}

#[test]
fn halt_stops_a_release_by_the_timestamp_key_and_refreshes_keep_it() {
    let bench = bench();
    let targets = bench.public_json("1.targets.json");
    let said = bench.ok(&[&HALT[..], &["1.2.0"]].concat());
    assert!(said.contains("halted: image "), "{said}");
    assert!(said.contains("no device installs 1.2.0 of thermo/rev-a/stable"), "{said}");
    assert_eq!(bench.public_json("timestamp.json")["signed"]["halt"].as_array().unwrap().len(), 1);
    assert!(bench.ok(&["verify"]).contains("release 3, version 1.2.0, halted"));
    assert!(bench.ok(&["release", "list"]).contains("everybody, halted"));
    // Nothing that holders signed has changed.
    assert_eq!(bench.public_json("1.targets.json"), targets);
    bench.ok_at(NOW + DAY, &PUBLISH);
    assert!(bench.ok_at(NOW + DAY, &["verify"]).contains("halted"));
    let lift = |what: &'static str| [&HALT[..], &[what, "--lift"]].concat();
    let message = bench.command_at(NOW + DAY, &lift("1.1.0")).output().unwrap();
    assert!(String::from_utf8(message.stderr).unwrap().contains("error[T139]"));
    bench.ok_at(NOW + DAY, &lift("1.2.0"));
    assert!(!bench.ok_at(NOW + DAY, &["verify"]).contains("halted"));
    assert!(bench.public_json("timestamp.json")["signed"].get("halt").is_none());
}

#[test]
fn refresh_that_stays_signs_again_and_goes_on_after_a_failure() {
    let bench = bench();
    let refresh = ["refresh", "--snapshot-key", "online.pem", "--timestamp-key", "online.pem"];
    let arguments = [&refresh[..], &["--danger-unencrypted", "--every", "1s"]].concat();
    let mut process =
        bench.command(&arguments).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
    for version in 2..=3 {
        let line = said.next().unwrap().unwrap();
        assert!(line.starts_with(&format!("published timestamp {version}, ")), "{line}");
        said.next().unwrap().unwrap();
    }
    // Somebody else is at work for a while.
    let lock = bench.workspace().lock();
    let mut errors = BufReader::new(process.stderr.take().unwrap()).lines();
    if lock.is_ok() {
        let line = errors.next().unwrap().unwrap();
        assert!(line.starts_with("error[T302]: another tuffet is at work"), "{line}");
    }
    drop(lock);
    let next = said.next().unwrap().unwrap();
    assert!(next.starts_with("published timestamp "), "{next}");
    process.kill().unwrap();
    process.wait().unwrap();
    bench.ok_at(NOW + 60, &["verify"]);
}

#[test]
fn dry_runs_of_all_that_changes_something_change_nothing() {
    let bench = bench();
    for arguments in [
        on("promote", &["1.1.0", "--to", "beta"]),
        on("rollout", &["--end", "7d"]),
        on("pause", &[]),
        on("withdraw", &[]),
        on("rollback", &["1.1.0"]),
        [&HALT[..], &["1.2.0"]].concat(),
        vec!["renew", "targets"],
        vec!["discard"],
        vec!["provision", "--hardware", "rev-a", "--channel", "stable", "--out", "factory"],
    ] {
        let before = bench.snapshot();
        let said = bench.ok(&[&arguments[..], &["--dry-run"]].concat());
        assert_eq!(before, bench.snapshot(), "{arguments:?}: {said}");
    }
}

/// Has the real imgtool make an image of MCUboot's.
fn imgtool(bench: &Bench, payload: &str, image: &str, options: &[&str]) {
    let python = std::env::var_os("TUFFET_TEST_PYTHON")
        .expect("TUFFET_TEST_PYTHON names a Python with imgtool; tests/run sets it");
    let program = "from imgtool.main import imgtool; imgtool()";
    let output = Command::new(python)
        .args(["-c", program, "sign", "--header-size", "0x20", "--pad-header", "--slot-size", "0x1000"])
        .args(["--align", "4"])
        .args(options)
        .args([payload, image])
        .current_dir(bench.directory.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn release_of_an_mcuboot_image_takes_version_and_counter_from_its_header() {
    let bench = Bench::new();
    bench.image("raw.bin", &[7; 600]);
    imgtool(&bench, "raw.bin", "fw.bin", &["--version", "1.2.3+4", "--security-counter", "5"]);
    let said = bench.ok(&on("add", &["fw.bin"]));
    assert!(said.contains("staged thermo/rev-a/versions/1.2.3+4/fw.bin"), "{said}");
    assert!(said.contains("note: it has no signature for MCUboot"), "{said}");
    publish(&bench, NOW);
    let show = bench.ok(&["release", "show", "1.2.3+4"]);
    assert!(show.contains("counter  5"), "{show}");
    // What is typed beside it must be the same, and what is damaged goes nowhere.
    let message = bench.fails(&on("add", &["fw.bin", "--version", "1.2.4"]), 1, "T142");
    assert!(message.contains("the image says version 1.2.3+4, and --version 1.2.4"), "{message}");
    let message = bench.fails(&on("add", &["fw.bin", "--counter", "6"]), 1, "T142");
    assert!(message.contains("leave --counter out"), "{message}");
    imgtool(&bench, "raw.bin", "old.bin", &["--version", "1.2.4", "--security-counter", "4"]);
    let message = bench.fails(&on("add", &["old.bin"]), 1, "T108");
    assert!(message.contains("1.2.4 has security counter 4, and a release of the channel 5"), "{message}");
    let mut bytes = std::fs::read(bench.path("fw.bin")).unwrap();
    bytes[100] ^= 1;
    bench.image("bad.bin", &bytes);
    bench.fails(&on("add", &["bad.bin"]), 1, "T141");
    bench.fails(&on("add", &["raw.bin"]), 2, "T205");
}
