//! A directory to work in, the binary, and what it must have said.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_tuffet-keys");

/// The day on which all of this happens, whatever the clock says.
pub(crate) const NOW: &str = "2026-11-22T13:14:15Z";

/// Drafts root 1: root a, b, c with threshold 2, targets x and y.
pub(crate) const DRAFT: [&str; 13] = [
    "root",
    "draft",
    "--root-key",
    "a.pub.pem",
    "b.pub.pem",
    "c.pub.pem",
    "--targets-key",
    "x.pub.pem",
    "y.pub.pem",
    "--snapshot-key",
    "online.pub.pem",
    "--timestamp-key",
    "online.pub.pem",
];

/// A directory in which commands run.
pub(crate) struct Room {
    desk: TempDir,
    /// What its holder has verified.
    state: TempDir,
}

impl Room {
    pub(crate) fn new() -> Room {
        Room { desk: tempfile::tempdir().unwrap(), state: tempfile::tempdir().unwrap() }
    }

    /// With an unencrypted key pair of each name; the ceremony's own test makes encrypted ones.
    pub(crate) fn with_keys(names: &[&str]) -> Room {
        let room = Room::new();
        for name in names.iter().chain(&["online"]) {
            room.ok(&["generate", "--danger-unencrypted", "--out", &format!("{name}.pem")]);
        }
        room
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.desk.path().join(name)
    }

    pub(crate) fn state(&self) -> &Path {
        self.state.path()
    }

    pub(crate) fn read(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.read(name)).unwrap()
    }

    pub(crate) fn files(&self) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.desk.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    pub(crate) fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        for variable in ["TUFFET_PASSPHRASE", "TUFFET_NEW_PASSPHRASE", "TUFFET_PIN", "TUFFET_PKCS11_MODULE"] {
            command.env_remove(variable);
        }
        // Whoever runs the tests may have tokens of his own.
        command.env("SOFTHSM2_CONF", self.path("softhsm2.conf"));
        command.env("TUFFET_STATE", self.state.path()).env_remove("TUFFET_TRANSCRIPT");
        command.current_dir(self.desk.path()).stdin(Stdio::null());
        command
    }

    pub(crate) fn keys(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(BINARY);
        command.args(["--now", NOW]).args(arguments);
        command
    }

    /// Runs a command that must succeed, and gives what it printed.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        succeeded(&self.keys(arguments).output().unwrap(), arguments)
    }

    /// Runs a command that must be refused with this code and exit status, in one line that holds `says`.
    pub(crate) fn refused(&self, arguments: &[&str], code: u16, says: &str) {
        refused(&self.keys(arguments).output().unwrap(), code, says);
    }

    /// As [`Room::ok`] with a passphrase in the environment.
    pub(crate) fn ok_with(&self, passphrase: &str, arguments: &[&str]) -> String {
        succeeded(&self.keys(arguments).env("TUFFET_PASSPHRASE", passphrase).output().unwrap(), arguments)
    }

    /// Runs a program that must succeed, and gives its output.
    pub(crate) fn tool(&self, program: &str, arguments: &[&str]) -> Vec<u8> {
        let output = self.command(program).args(arguments).env("PASS", "correct horse").output();
        let output = output.unwrap_or_else(|error| panic!("{program}, which these tests need: {error}"));
        assert!(
            output.status.success(),
            "{program} {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output.stdout
    }

    /// A request for root 1: root a, b, c with threshold 2, targets x and y.
    pub(crate) fn draft(&self, out: &str) -> String {
        self.ok(&[&DRAFT[..], &["--out", out]].concat())
    }

    pub(crate) fn sign(&self, request: &str, key: &str, out: &str) -> String {
        let despite = self.warnings(request).to_string();
        let (key, digest) = (format!("{key}.pem"), self.repository(request));
        let sign = ["sign", request, "--danger-unencrypted", "--yes", "--key", &key, "--out", out];
        self.ok(&[&sign[..], &["--despite", &despite, "--digest", &digest]].concat())
    }

    /// The digest of root 1 of the repository that a request is for.
    pub(crate) fn repository(&self, request: &str) -> String {
        let review = self.ok(&["review", request, "--output", "json"]);
        let review: Value = serde_json::from_str(&review).unwrap();
        review["repository"]["sha256"].as_str().unwrap().to_owned()
    }

    /// How many things about a request are unusual; another test's business.
    pub(crate) fn warnings(&self, request: &str) -> usize {
        let review = self.ok(&["review", request, "--output", "json"]);
        let review: Value = serde_json::from_str(&review).unwrap();
        review["warnings"].as_array().unwrap().len()
    }

    /// A finished root 1.
    pub(crate) fn first_root(&self) {
        self.draft("1.request");
        self.sign("1.request", "a", "1.a");
        self.sign("1.a", "b", "1.ab");
        self.ok(&["finish", "1.ab", "--out", "1.root.json"]);
    }
}

pub(crate) fn succeeded(output: &Output, arguments: &[&str]) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {errors}");
    assert_eq!(errors, "", "{arguments:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

pub(crate) fn refused(output: &Output, code: u16, says: &str) {
    let errors = String::from_utf8(output.stderr.clone()).unwrap();
    // The prompt of a confirmation, and nothing else, may stand before the error.
    let prompt = errors.starts_with("Type ") || errors.starts_with("There ");
    let line = errors.find("error[").filter(|_| prompt).map_or(&*errors, |at| &errors[at..]);
    assert!(line.starts_with(&format!("error[K{code}]: ")), "not K{code}: {errors}");
    assert!(line.contains(says), "{says:?} is not in {line}");
    assert_eq!(line.matches('\n').count(), 1, "not one line: {line}");
    assert!(line.contains("; "), "does not say what to do next: {line}");
    let exit = match code {
        100..200 => 1,
        200..300 => 2,
        _ => 3,
    };
    assert_eq!(output.status.code(), Some(exit), "{line}");
}

pub(crate) fn keyid(room: &Room, file: &str) -> String {
    let shown = room.ok(&["show", file]);
    shown.lines().find_map(|line| line.trim().strip_prefix("keyid")).unwrap().trim().to_owned()
}

pub(crate) fn signatures(room: &Room, request: &str) -> Vec<String> {
    let signatures = room.json(request)["signatures"].as_array().unwrap().clone();
    signatures.iter().map(|signature| signature["keyid"].as_str().unwrap().to_owned()).collect()
}

/// Types `lines` on a terminal of its own, and gives exit status and screen.
pub(crate) fn typed(room: &Room, lines: &str, arguments: &str) -> (bool, String) {
    fs::write(room.path("typed"), lines).unwrap();
    let script = format!("script -qec '\"{BINARY}\" --now {NOW} {arguments}' /dev/null < typed");
    let output = room.command("sh").args(["-c", &script]).output().unwrap();
    (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Somebody who was asked whether to sign, on a terminal of his own. Both outputs go to files, for a terminal mixes them.
pub(crate) struct Signer {
    running: Child,
    answer: String,
    outputs: TempDir,
}

/// Starts to sign the first root `request` with key a in its place, and waits for the prompt.
pub(crate) fn signer_at_the_prompt(room: &Room) -> Signer {
    let command = room.command(BINARY);
    signer(room, command, &["--danger-unencrypted", "--key", "a.pem"], "out")
}

/// The same with options and environment of one's own; `out` is where standard output goes: a path, or the name of a
/// file beside the errors.
pub(crate) fn signer(room: &Room, like: Command, options: &[&str], out: &str) -> Signer {
    let digest = room.repository("request");
    let outputs = tempfile::tempdir().unwrap();
    let errors = outputs.path().join("errors");
    let out = outputs.path().join(out);
    let line = format!(
        "exec {BINARY} --now {NOW} sign request {} > {} 2> {}",
        options.join(" "),
        out.display(),
        errors.display()
    );
    let mut script = room.command("script");
    for (name, value) in like.get_envs() {
        match value {
            Some(value) => script.env(name, value),
            None => script.env_remove(name),
        };
    }
    script.args(["-qec", &line, "/dev/null"]).stdin(Stdio::piped()).stdout(Stdio::null());
    let running = script.spawn().unwrap();
    let asked = || fs::read_to_string(&errors).ok().filter(|text| text.ends_with(" to sign: "));
    let question = loop {
        match asked() {
            Some(question) => break question,
            None => std::thread::sleep(core::time::Duration::from_millis(5)),
        }
    };
    // Who signed a first root before is asked for no more than its version.
    let known = question.starts_with("Type the version number 1");
    Signer { running, answer: if known { "1".to_owned() } else { digest }, outputs }
}

pub(crate) fn typed_at_the_prompt(mut signer: Signer) -> Output {
    let line = format!("{}\n", signer.answer);
    signer.running.stdin.take().unwrap().write_all(line.as_bytes()).unwrap();
    let status = signer.running.wait().unwrap();
    let [stdout, stderr] =
        ["out", "errors"].map(|name| fs::read(signer.outputs.path().join(name)).unwrap_or_default());
    Output { status, stdout, stderr }
}
