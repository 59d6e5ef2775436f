//! The daemon as a process: it checks, downloads, has the device restarted, and proves what came.

use std::fs;
use std::os::unix::net::UnixDatagram;

use super::setup::{Setup, has, signal, until};
use crate::repository::Release;

const POLICY: &str =
    "[schedule]\nevery = \"1h\"\n[policy]\nreboot = [\"./reboot\"]\nhealth = [\"./health\"]\n";

fn setup() -> Setup {
    let setup = Setup::provisioned(POLICY);
    setup.script("reboot", "echo once >> reboots\n");
    setup.script("health", "test ! -e ill\n");
    assert_eq!(setup.boot(), "a active");
    setup
}

#[test]
fn daemon_updates_a_device_through_a_restart() {
    let mut setup = setup();
    let mut daemon = setup.daemon();
    until("a restart", || has(&setup.path("reboots"), "once"));
    // It sleeps until the restart comes; others may look, and not touch.
    assert_eq!(setup.status()["trial"]["version"], "1.0.0");
    let (status, text) = setup.run(&["once"]);
    assert_eq!((status, text.contains("is in use; stop the daemon first")), (3, true), "{text}");
    signal(&daemon.0, "TERM");
    assert!(daemon.0.wait().unwrap().success(), "{}", setup.log());

    assert_eq!(setup.boot(), "b trial");
    let mut daemon = setup.daemon();
    until("a confirmation", || setup.status()["active"]["version"] == "1.0.0");
    until("a look after it", || setup.status()["daemon"]["outcome"] == "up to date");
    let next = setup.status()["daemon"]["next_seconds"].as_u64().unwrap() - super::setup::now();
    assert!((3000..4100).contains(&next), "{next}");
    assert_eq!(fs::read_to_string(setup.path("reboots")).unwrap(), "once\n");

    setup.publish(Release { sequence: 8, counter: 3, version: "1.1.0", image: vec![9; 300_000] });
    signal(&daemon.0, "HUP");
    until("a check because of a signal", || has(&setup.path("reboots"), "once\nonce\n"));
    assert_eq!(setup.status()["trial"]["version"], "1.1.0");
    signal(&daemon.0, "INT");
    assert!(daemon.0.wait().unwrap().success(), "{}", setup.log());
    assert_eq!(setup.status()["daemon"], serde_json::Value::Null, "it is gone");
    let log = setup.log();
    for line in [
        "INFO release 7 (1.0.0), 1500000 bytes",
        "INFO pending: 1.0.0 (sequence 7) in slot B; restart to try it",
        "INFO restarts the device: ./reboot",
        "INFO confirmed: 1.0.0 (sequence 7) in slot B",
        "INFO up to date",
        "INFO checks now: a signal asked for it",
        "INFO ends: a signal asked for it",
    ] {
        assert!(log.contains(line), "{line}\n{log}");
    }
}

#[test]
fn daemon_gives_up_an_image_that_is_ill() {
    let setup = setup();
    let daemon = setup.daemon();
    until("a restart", || has(&setup.path("reboots"), "once"));
    drop(daemon);
    fs::write(setup.path("ill"), "").unwrap();
    assert_eq!(setup.boot(), "b trial");
    // Nobody allows a restart any more; to be rid of it needs no leave.
    setup.configure(&format!("{POLICY}may-restart = [\"false\"]\n"));
    let _daemon = setup.daemon();
    until("a restart to be rid of it", || has(&setup.path("reboots"), "once\nonce\n"));
    assert_eq!(setup.boot_while_locked(), "error[A652]");
    assert_eq!(setup.status()["last_trial"]["end"], "Reverted");
}

#[test]
fn daemon_of_a_device_that_never_tries_an_image_stops_restarting_it() {
    let setup = setup();
    for restarts in 1..=4 {
        let daemon = setup.daemon();
        if restarts > 2 {
            // After a restart that led to nothing it waits first; a signal is somebody who asks.
            until("a pause", || setup.log().matches("too early after a failure").count() == restarts - 2);
            signal(&daemon.0, "USR1");
        }
        until("a restart", || has(&setup.path("reboots"), &"once\n".repeat(restarts)));
    }
    let daemon = setup.daemon();
    until("a pause", || setup.log().matches("too early after a failure").count() == 3);
    signal(&daemon.0, "USR1");
    until("a refusal", || {
        setup.log().contains("no restart now for 1.0.0: the device was restarted 4 times for it")
    });
    assert_eq!(fs::read_to_string(setup.path("reboots")).unwrap(), "once\n".repeat(4));
}

#[test]
fn daemon_is_ended_in_the_middle_of_a_download() {
    let setup = setup();
    *setup.server.stall.lock().unwrap() = Some(900_000);
    let mut daemon = setup.daemon();
    until("a download", || setup.log().contains("downloads: 60 %"));
    // The server says nothing any more. Once waits for the next bytes; twice does not.
    signal(&daemon.0, "TERM");
    std::thread::sleep(core::time::Duration::from_millis(300));
    assert!(daemon.0.try_wait().unwrap().is_none());
    signal(&daemon.0, "TERM");
    assert!(daemon.0.wait().unwrap().success());
    *setup.server.stall.lock().unwrap() = None;
    let _daemon = setup.daemon();
    until("a restart", || has(&setup.path("reboots"), "once"));
    assert!(setup.log().contains("goes on behind 524288 bytes that are there already"), "{}", setup.log());
}

#[test]
fn daemon_tells_systemd_and_writes_json() {
    let setup = setup();
    let socket = UnixDatagram::bind(setup.path("notify")).unwrap();
    let log = fs::File::create(setup.path("json")).unwrap();
    let mut command = setup.command(&["--log", "json", "run"]);
    let child = command.env("NOTIFY_SOCKET", setup.path("notify")).stderr(log).spawn().unwrap();
    let _daemon = super::setup::Daemon(child);
    let mut buffer = [0; 1000];
    let mut receive = || {
        let read = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..read]).into_owned()
    };
    assert_eq!(receive(), "READY=1");
    assert!(receive().starts_with("STATUS=pending: 1.0.0 (sequence 7) in slot B"));
    let text = fs::read_to_string(setup.path("json")).unwrap();
    let lines: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(
        lines.iter().any(|line| line["message"] == "downloads: 10 %" && line["length"] == 1_500_000),
        "{text}"
    );
}
