//! A program installs: what it gets, when it is asked, and that its word is not enough.

use std::fs;

use sha2::{Digest as _, Sha256};

use super::setup::{Setup, image};
use crate::repository::Release;

/// Keeps the device in files: `next` is what starts next time, `runs` what runs.
const HOOK: &str = r#"
cd "$(dirname "$0")" || exit 9
echo "$1 $TUFFET_VERSION $TUFFET_SEQUENCE" >> verbs
case $1 in
running) sha256sum runs ;;
install)
    test "$#" = 1 || exit 9
    # No path leads to the image, and what is behind it is not to be seen.
    cat > next || exit 9
    test "$(stat -c %s next)" = "$TUFFET_LENGTH" || exit 8
    test "$(sha256sum next | cut -c1-64)" = "$TUFFET_SHA256" || exit 7
    # It cannot be written to.
    if echo x >&0 2>/dev/null; then exit 6; fi ;;
confirm) cp runs stays ;;
revert) rm -f next ;;
esac
"#;

fn setup(script: &str) -> Setup {
    let setup = Setup::new();
    setup.script("hook", script);
    configure(&setup, "");
    fs::write(setup.path("boot-id"), "first\n").unwrap();
    fs::write(setup.path("runs"), [0x42; 5000]).unwrap();
    let (status, text) = setup.run(&["provision", "--version", "0.9.0", "--sequence", "1"]);
    let digest: String = Sha256::digest([0x42; 5000]).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((status, text), (0, format!("set up: 0.9.0 (sequence 1) in slot A\nsha256: {digest}\n")));
    setup
}

fn configure(setup: &Setup, more: &str) {
    let storage = format!(
        "[hook]\nstate = \"state\"\nstaging = \"staging\"\nsize = \"2 MiB\"\nprogram = [\"./hook\"]\nboot-id = \"boot-id\"\n{more}"
    );
    setup.configure_with(&storage, &setup.server.url, "[policy]\nhealth = [\"./health\"]\n");
    setup.script("health", "test ! -e ill\n");
}

/// The device restarts, and starts this.
fn restart(setup: &Setup, starts: Option<&str>) {
    let boot = fs::read_to_string(setup.path("boot-id")).unwrap();
    fs::write(setup.path("boot-id"), format!("after {boot}")).unwrap();
    if let Some(starts) = starts {
        fs::copy(setup.path(starts), setup.path("runs")).unwrap();
    }
}

/// What the program was asked for since the last time.
fn verbs(setup: &Setup) -> String {
    let verbs = fs::read_to_string(setup.path("verbs")).unwrap_or_default();
    let _ = fs::remove_file(setup.path("verbs"));
    verbs.lines().map(str::trim_end).collect::<Vec<_>>().join(", ")
}

#[test]
fn hook_gets_the_image_as_a_descriptor_and_confirms_what_runs() {
    let setup = setup(HOOK);
    assert_eq!(verbs(&setup), "running");
    let (status, text) = setup.run(&["once"]);
    assert_eq!((status, text.starts_with("pending: 1.0.0")), (0, true), "{text}");
    assert_eq!(verbs(&setup), "running, install 1.0.0 7");
    assert_eq!(fs::read(setup.path("next")).unwrap(), image());
    // Asked once is enough, as long as nothing restarted.
    assert_eq!(setup.run(&["once"]).0, 0);
    assert_eq!(verbs(&setup), "running");

    restart(&setup, Some("next"));
    let (status, text) = setup.run(&["once"]);
    assert_eq!((status, text.as_str()), (0, "confirmed: 1.0.0 (sequence 7) in slot B\nup to date\n"));
    assert_eq!(verbs(&setup), "running, confirm 1.0.0 7");
    assert_eq!(setup.status()["active"]["version"], "1.0.0");
}

#[test]
fn hook_that_reports_success_and_does_nothing_is_found_out() {
    let setup = setup(HOOK);
    assert_eq!(setup.run(&["once"]).0, 0);
    restart(&setup, None);
    verbs(&setup);
    let (status, text) = setup.run(&["once"]);
    assert_eq!(status, 0, "{text}");
    let state = setup.status();
    assert_eq!(
        (&state["active"]["version"], &state["last_trial"]["end"]),
        (&"0.9.0".into(), &"TriesSpent".into())
    );
    assert_eq!(state["failures"][0]["sequence"], 7);
    assert!(!verbs(&setup).contains("confirm"));
}

#[test]
fn hook_that_fails_leaves_the_device_as_it_was() {
    let setup = setup(HOOK);
    setup.script("hook", &HOOK.replace("install)", "install) exit 5 ;;\nnever)"));
    let (status, text) = setup.run(&["once"]);
    assert_eq!(status, 3);
    let line = "error[A613]: the installer's `install`: it ended with status 5; see what it said\n";
    assert!(text.ends_with(line), "{text}");
    setup.script("hook", &HOOK.replace("install)", "install) sleep 60 ;;\nnever)"));
    configure(&setup, "deadline = \"1s\"\n");
    let (status, text) = setup.run(&["once"]);
    assert_eq!((status, text.contains("./hook install: killed after 1 s")), (3, true), "{text}");
    setup.script("hook", HOOK);
    let (status, text) = setup.run(&["once"]);
    assert_eq!((status, text.starts_with("pending: 1.0.0")), (0, true), "{text}");

    setup.script("hook", "echo yes\n");
    let (status, text) = setup.run(&["once"]);
    assert_eq!(status, 3);
    assert!(text.contains("`running`: it must write the SHA-256 of the image that runs"), "{text}");
    fs::remove_file(setup.path("hook")).unwrap();
    let (_, text) = setup.run(&["once"]);
    assert!(text.contains("`running`: it could not be started; check its path"), "{text}");
}

#[test]
fn hook_is_told_to_revert_what_is_ill_or_taken_back() {
    let mut setup = setup(HOOK);
    assert_eq!(setup.run(&["once"]).0, 0);
    restart(&setup, Some("next"));
    fs::write(setup.path("ill"), "").unwrap();
    verbs(&setup);
    let (status, text) = setup.run(&["once"]);
    assert_eq!((status, text.starts_with("reverted: 1.0.0")), (0, true), "{text}");
    assert_eq!(verbs(&setup), "running, revert 1.0.0 7");
    // It still runs.
    let (status, text) = setup.run(&["once"]);
    assert_eq!(
        (status, text.as_str()),
        (3, "error[A612]: the image that runs was given up; restart the device\n")
    );
    fs::write(setup.path("old"), [0x42; 5000]).unwrap();
    restart(&setup, Some("old"));
    fs::remove_file(setup.path("ill")).unwrap();
    setup.publish(Release { sequence: 8, counter: 3, version: "1.1.0", image: vec![9; 300_000] });
    assert_eq!(setup.run(&["once"]).0, 0);
    verbs(&setup);

    setup.repository.releases.remove(0);
    setup.repository.version += 1;
    *setup.server.files.lock().unwrap() = setup.repository.files();
    let (_, text) = setup.run(&["once"]);
    assert!(text.starts_with("the repository took the image back"), "{text}");
    assert_eq!(verbs(&setup), "running, revert 1.1.0 8");
    assert_eq!(setup.status()["trial"], serde_json::Value::Null);
}

#[test]
fn image_of_unknown_origin_that_runs_stops_everything() {
    let setup = setup(HOOK);
    fs::write(setup.path("runs"), "from a stick").unwrap();
    let (status, text) = setup.run(&["once"]);
    assert_eq!((status, text.starts_with("error[A611]")), (3, true), "{text}");
    assert!(setup.server.requests.lock().unwrap().is_empty());
}
