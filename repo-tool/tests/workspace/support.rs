//! A repository with its key holders, made by the real libraries and driven through the real binary.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use tuffet::publish::Keys;
use tuffet::repository::Workspace;
use tuffet_keys::Role;
use tuffet_keys::key::SigningKey;
use tuffet_keys::request::Request;
use tuffet_keys::root::{Chain, Draft};

/// 2026-11-22T12:00:00Z, the present of every test.
pub(crate) const NOW: u64 = 1_795_348_800;
pub(crate) const DAY: u64 = 86_400;

/// The holders of all keys.
pub(crate) struct Holders {
    pub(crate) root: Vec<SigningKey>,
    pub(crate) release: Vec<SigningKey>,
    /// Of the product's own role.
    pub(crate) product: Vec<SigningKey>,
    pub(crate) online: Arc<SigningKey>,
    pub(crate) chain: Vec<Vec<u8>>,
}

/// A temporary directory with a workspace in `repo/`.
pub(crate) struct Bench {
    pub(crate) directory: TempDir,
    pub(crate) holders: Holders,
    /// Variables for the binary.
    pub(crate) environment: Vec<(String, String)>,
}

impl Holders {
    /// Three root keys and three release keys, two of which must sign, and one online key.
    pub(crate) fn new(issued: u64, expires: u64) -> Holders {
        let three = || (0..3).map(|_| key()).collect::<Vec<_>>();
        let (root, release, product) = (three(), three(), three());
        let mut holders = Holders { root, release, product, online: Arc::new(key()), chain: Vec::new() };
        let draft = holders.draft(issued, expires);
        holders.sign_root(&draft);
        holders
    }

    /// Their root 1 before it is signed.
    pub(crate) fn draft(&self, issued: u64, expires: u64) -> Draft {
        let mut draft = Draft::new(issued, expires);
        for key in &self.root {
            draft.add_key(&Role::Root, key.public()).unwrap();
        }
        for key in &self.release {
            draft.add_key(&Role::Targets, key.public()).unwrap();
        }
        for role in [Role::Snapshot, Role::Timestamp] {
            draft.add_key(&role, self.online.public()).unwrap();
        }
        draft.set_threshold(&Role::Root, 2);
        draft.set_threshold(&Role::Targets, 2);
        draft
    }

    /// Appends the next root, changed by `change`.
    pub(crate) fn next_root(&mut self, change: impl FnOnce(&mut Draft)) -> Vec<u8> {
        self.next_root_at(NOW, change)
    }

    /// The same, issued at `issued`.
    pub(crate) fn next_root_at(&mut self, issued: u64, change: impl FnOnce(&mut Draft)) -> Vec<u8> {
        let chain = Chain::verify(&self.chain).unwrap();
        let mut draft = Draft::next(&chain, issued, NOW + 400 * DAY).unwrap();
        change(&mut draft);
        self.sign_root(&draft);
        self.chain.last().unwrap().clone()
    }

    pub(crate) fn sign_root(&mut self, draft: &Draft) {
        let mut request = Request::draft(Role::Root, &draft.signed().unwrap(), &self.chain).unwrap();
        for key in &self.root[..2] {
            request.sign(key).unwrap();
        }
        self.chain.push(request.finish(request.header().issued).unwrap());
    }

    pub(crate) fn online_keys(&self) -> Keys {
        Keys { snapshot: vec![self.online.clone()], timestamp: vec![self.online.clone()] }
    }
}

impl Bench {
    /// Root 1 is in `1.root.json`, the online key, unencrypted, in `online.pem`; no workspace yet.
    pub(crate) fn bare() -> Bench {
        let directory = tempfile::tempdir().unwrap();
        let holders = Holders::new(NOW - DAY, NOW + 400 * DAY);
        fs::write(directory.path().join("1.root.json"), &holders.chain[0]).unwrap();
        holders.online.write_new_danger_unencrypted(&directory.path().join("online.pem")).unwrap();
        Bench { directory, holders, environment: Vec::new() }
    }

    /// A workspace of product `thermo` with hardware `rev-a` (slot of 4096 bytes) and `rev-b` (64 bytes).
    pub(crate) fn new() -> Bench {
        let bench = Bench::bare();
        bench.ok(&[
            "init",
            "--root",
            "1.root.json",
            "--product",
            "thermo",
            "--hardware",
            "rev-a",
            "--slot-size",
            "4096",
            "--hardware",
            "rev-b",
            "--slot-size",
            "0x40",
        ]);
        bench
    }

    /// A workspace whose product `thermo` has a role of its own: two of three keys.
    pub(crate) fn delegated(more: &[&str]) -> Bench {
        let bench = Bench::bare();
        for (index, key) in bench.holders.product.iter().enumerate() {
            fs::write(bench.path(&format!("thermo-{index}.pub.pem")), key.public().to_pem()).unwrap();
        }
        let keys = ["thermo-0.pub.pem", "thermo-1.pub.pem", "thermo-2.pub.pem"];
        let keys = keys.iter().flat_map(|key| ["--product-key", *key]);
        let mut arguments =
            vec!["init", "--root", "1.root.json", "--product", "thermo", "--hardware", "rev-a"];
        arguments.extend(["--slot-size", "4096", "--channel", "stable", "--channel", "beta"]);
        arguments.extend(keys.chain(more.iter().copied()));
        bench.ok(&arguments);
        bench
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    pub(crate) fn workspace(&self) -> Workspace {
        Workspace::open(&self.repo()).unwrap()
    }

    pub(crate) fn image(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    /// The binary, run in the temporary directory at [`NOW`].
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        self.command_at(NOW, arguments)
    }

    pub(crate) fn command_at(&self, now: u64, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tuffet"));
        command.current_dir(self.directory.path());
        for variable in ["TUFFET_PASSPHRASE", "TUFFET_PIN", "TUFFET_PKCS11_MODULE"] {
            command.env_remove(variable);
        }
        command.envs(self.environment.iter().cloned());
        if !arguments.contains(&"--repo") {
            command.args(["--repo", "repo"]);
        }
        command.args(["--now", &tuffet_keys::date::format(now)]).args(arguments);
        command
    }

    /// Runs a command that must succeed, and gives its standard output.
    #[track_caller]
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        self.ok_at(NOW, arguments)
    }

    #[track_caller]
    pub(crate) fn ok_at(&self, now: u64, arguments: &[&str]) -> String {
        let output = self.command_at(now, arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// Runs a command that must fail with this exit status and code, in one line, and leave every file as it was.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], status: i32, label: &str) -> String {
        let before = self.snapshot();
        let output = self.command(arguments).output().unwrap();
        let message = assert_fails(&output, status, label);
        assert_eq!(changes(&before, &self.snapshot()), Vec::<String>::new(), "{arguments:?} changed files");
        message
    }

    #[track_caller]
    pub(crate) fn release(&self, image: &str, version: &str) -> String {
        self.ok(&[
            "release",
            "add",
            image,
            "--hardware",
            "rev-a",
            "--channel",
            "stable",
            "--version",
            version,
        ])
    }

    /// Signs the staged targets with the first `count` release keys.
    pub(crate) fn sign(&self, count: usize) {
        self.sign_role(&Role::Targets, &self.holders.release[..count]);
    }

    /// Signs the staged request of a role.
    pub(crate) fn sign_role(&self, role: &Role, keys: &[SigningKey]) {
        let path = self.workspace().request_path(role);
        let mut request = Request::read(&path).unwrap();
        for key in keys {
            request.sign(key).unwrap();
        }
        request.write(&path).unwrap();
    }

    /// Signs all that is staged for the product's own holders with the first two of their keys. Gives the roles.
    pub(crate) fn sign_product(&self) -> Vec<String> {
        let workspace = self.workspace();
        let mut roles = workspace.staged_roles().unwrap();
        roles.retain(|role| {
            let waits = || Request::read(&workspace.request_path(role)).unwrap().finish(NOW).is_err();
            *role != Role::Targets && waits()
        });
        roles.iter().for_each(|role| self.sign_role(role, &self.holders.product[..2]));
        roles.iter().map(|role| role.name().to_owned()).collect()
    }

    #[track_caller]
    pub(crate) fn publish(&self) -> String {
        self.ok(&PUBLISH)
    }

    /// Every file below the temporary directory, but the lock, with its digest.
    pub(crate) fn snapshot(&self) -> BTreeMap<String, String> {
        let mut files = BTreeMap::new();
        walk(self.directory.path(), self.directory.path(), &mut files);
        files.retain(|name, _| !name.ends_with(".tuffet.lock"));
        files
    }

    pub(crate) fn public_files(&self) -> Vec<String> {
        let mut files = BTreeMap::new();
        let public = self.repo().join("public");
        walk(&public, &public, &mut files);
        files.into_keys().collect()
    }

    pub(crate) fn public_json(&self, name: &str) -> Value {
        serde_json::from_slice(&fs::read(self.repo().join("public").join(name)).unwrap()).unwrap()
    }
}

pub(crate) const PUBLISH: [&str; 6] =
    ["publish", "--snapshot-key", "online.pem", "--timestamp-key", "online.pem", "--danger-unencrypted"];

#[track_caller]
pub(crate) fn assert_fails(output: &Output, status: i32, label: &str) -> String {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{message}");
    assert!(message.starts_with(&format!("error[{label}]: ")), "{message}");
    assert_eq!(message.matches('\n').count(), 1, "one line: {message}");
    assert_eq!(text(&output.stdout), "");
    message
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

pub(crate) fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Names of files that are new, gone or different.
pub(crate) fn changes(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>) -> Vec<String> {
    let names = before.keys().chain(after.keys()).collect::<std::collections::BTreeSet<_>>();
    names.into_iter().filter(|name| before.get(*name) != after.get(*name)).cloned().collect()
}

pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn key() -> SigningKey {
    SigningKey::generate().unwrap()
}

fn walk(top: &Path, directory: &Path, files: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            walk(top, &path, files);
        } else {
            let name = path.strip_prefix(top).unwrap().to_str().unwrap().to_owned();
            files.insert(name, sha256(&fs::read(&path).unwrap()));
        }
    }
}
