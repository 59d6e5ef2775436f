//! A Linux device in a folder, a repository on a loopback port, and who runs the program.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tempfile::TempDir;
use tuffet_agent::Factory;
use tuffet_agent::factory_file::FactoryFile;

use crate::repository::{DAY, Files, Release, Repository};

/// A tool of this machine, for signals.
pub(super) fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status().unwrap();
    assert!(status.success());
}

pub(super) struct Setup {
    pub(super) folder: TempDir,
    pub(super) repository: Repository,
    pub(super) server: Server,
}

/// Ended with the test, come what may.
pub(super) struct Daemon(pub(super) Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The image of the release that there is at first. Longer than a block, and not of whole blocks.
pub(super) fn image() -> Vec<u8> {
    (0..1_500_000_u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

impl Setup {
    /// A device that is not set up yet, with a configuration of slots.
    pub(super) fn new() -> Self {
        let now = now();
        let release = Release { sequence: 7, counter: 3, version: "1.0.0", image: image() };
        let repository = Repository { now, timestamp_expires: now + DAY, ..Repository::new(vec![release]) };
        let server = Server::start(repository.files());
        let folder = tempfile::tempdir().unwrap();
        let root = repository.first_root();
        let (product, hardware, channel) = ("lamp", "rev-a", "stable");
        let factory = Factory { root: &root, product, hardware, channel, counter: 1, built: now - DAY };
        fs::write(folder.path().join("factory.json"), FactoryFile::new(&factory).unwrap().to_string())
            .unwrap();
        fs::write(folder.path().join("first.img"), [0x42; 5000]).unwrap();
        let setup = Self { folder, repository, server };
        setup.configure("");
        setup
    }

    /// The same, set up.
    pub(super) fn provisioned(policy: &str) -> Self {
        let setup = Self::new();
        setup.configure(policy);
        let (status, text) =
            setup.run(&["provision", "--image", "first.img", "--version", "0.9.0", "--sequence", "1"]);
        assert_eq!(status, 0, "{text}");
        setup
    }

    /// Writes the configuration, with these further lines.
    pub(super) fn configure(&self, more: &str) {
        self.configure_with(
            "[slots]\nstate = \"state\"\na = \"a.img\"\nb = \"b.img\"\nsize = \"2 MiB\"\n",
            &self.server.url,
            more,
        );
    }

    pub(super) fn configure_with(&self, storage: &str, url: &str, more: &str) {
        let text = format!(
            "[repository]\nurl = \"{url}\"\n[device]\nfactory = \"factory.json\"\nid = \"lamp-17\"\nruntime = \"run\"\n{storage}{more}"
        );
        fs::write(self.path("agent.toml"), text).unwrap();
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// An executable script.
    pub(super) fn script(&self, name: &str, body: &str) {
        let path = self.path(name);
        fs::write(&path, format!("#!/bin/sh\n{body}")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Exit status, then standard output and standard error one after the other.
    pub(super) fn run(&self, arguments: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } = self.command(arguments).output().unwrap();
        (status.code().unwrap_or(-1), String::from_utf8([stdout, stderr].concat()).unwrap())
    }

    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tuffet-agent"));
        command.args(arguments).current_dir(&self.folder).env("TUFFET_CONFIG", "agent.toml");
        command.env_remove("TUFFET_URL").env_remove("NOTIFY_SOCKET").env_remove("JOURNAL_STREAM");
        command
    }

    /// Starts the daemon; what it says goes to the file `log`.
    pub(super) fn daemon(&self) -> Daemon {
        let log = fs::File::options().create(true).append(true).open(self.path("log")).unwrap();
        Daemon(self.command(&["run"]).stderr(log).stdin(Stdio::null()).spawn().unwrap())
    }

    pub(super) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    pub(super) fn status(&self) -> Value {
        let output = self.command(&["status", "--output", "json"]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// What the initramfs does.
    pub(super) fn boot(&self) -> String {
        let (status, text) = self.run(&["boot-decision"]);
        assert_eq!(status, 0, "{text}");
        let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned();
        format!("{} {}", line("slot="), line("reason="))
    }

    /// The code of the error that keeps the initramfs of a running device from deciding.
    pub(super) fn boot_while_locked(&self) -> String {
        self.run(&["boot-decision"]).1.split(':').next().unwrap_or_default().to_owned()
    }

    /// Publishes this release before the others.
    pub(super) fn publish(&mut self, release: Release) {
        self.repository.version += 1;
        self.repository.releases.insert(0, release);
        *self.server.files.lock().unwrap() = self.repository.files();
    }
}

/// Waits until it is so, for ten seconds at the most.
pub(super) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..500 {
        if is_so() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("not within ten seconds: {what}");
}

pub(super) fn has(path: &Path, text: &str) -> bool {
    fs::read_to_string(path).is_ok_and(|found| found.contains(text))
}

#[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock")]
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A server that knows ranges, and may stall.
pub(super) struct Server {
    pub(super) url: String,
    pub(super) files: Arc<Mutex<Files>>,
    /// Path, and the first byte that was asked for.
    pub(super) requests: Arc<Mutex<Vec<(String, usize)>>>,
    /// After so many bytes of a body it says nothing any more.
    pub(super) stall: Arc<Mutex<Option<usize>>>,
}

impl Server {
    fn start(files: Files) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let (files, requests, stall) = (Arc::new(Mutex::new(files)), Arc::default(), Arc::default());
        let server = Self { url, files, requests, stall };
        let (files, requests, stall) = (server.files.clone(), server.requests.clone(), server.stall.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (files, requests, stall) = (files.clone(), requests.clone(), stall.clone());
                thread::spawn(move || answer(stream.unwrap(), &files, &requests, &stall));
            }
        });
        server
    }
}

fn answer(
    mut stream: TcpStream,
    files: &Mutex<Files>,
    requests: &Mutex<Vec<(String, usize)>>,
    stall: &Mutex<Option<usize>>,
) {
    let head: Vec<String> =
        BufReader::new(&stream).lines().map_while(Result::ok).take_while(|line| !line.is_empty()).collect();
    let Some(request) = head.first() else { return };
    let path = request.split(' ').nth(1).unwrap().trim_start_matches('/').to_owned();
    let range = head.iter().find_map(|line| {
        let line = line.to_ascii_lowercase();
        line.strip_prefix("range: bytes=")?.split('-').next()?.parse::<usize>().ok()
    });
    let from = range.unwrap_or(0);
    requests.lock().unwrap().push((path.clone(), from));
    let file = files.lock().unwrap().get(&path).cloned();
    let Some(file) = file else {
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    };
    let (length, body) = (file.len(), &file[from.min(file.len())..]);
    let status = match range {
        Some(from) => format!("206 Partial Content\r\nContent-Range: bytes {from}-{}/{length}", length - 1),
        None => "200 OK".to_owned(),
    };
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let most = stall.lock().unwrap().filter(|most| *most < body.len());
    // A client that has seen enough hangs up.
    let _ = stream
        .write_all(head.as_bytes())
        .and_then(|()| stream.write_all(&body[..most.unwrap_or(body.len())]));
    if most.is_some() {
        let _ = stream.flush();
        thread::sleep(Duration::from_secs(60));
    }
}
