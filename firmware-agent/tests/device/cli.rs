//! The program, as a person runs it.

use core::net::Ipv4Addr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use tempfile::TempDir;
use tuffet_agent::factory_file::FactoryFile;
use tuffet_agent::file_flash::FileFlash;
use tuffet_agent::{Factory, FactoryImage, Flash, FlashMap, provision};
use tuffet_client::SOFTWARE;

use crate::bundle::{contents, encode};
use crate::repository::{DAY, Files, Release, Repository};

/// A simulated device in a folder of its own, and a repository on a loopback port.
struct Setup {
    folder: TempDir,
    repository: Repository,
    files: Arc<Mutex<Files>>,
    url: String,
}

#[test]
fn update_from_release_to_release() {
    let setup = Setup::new();
    assert_eq!(
        setup.run(&["status"]),
        (
            0,
            "active: 0.9.0 (sequence 1) in slot A\nroot: 1, expires DATE\ntimestamp: none yet\n\
             snapshot: none yet\ntargets: none yet\nsecurity counter: 1\n"
                .into()
        )
    );
    let (status, pending) = setup.run(&["once"]);
    assert_eq!(status, 0);
    assert_eq!(
        pending,
        "pending: 1.0.0 (sequence 7) in slot B; restart to try it\nrelease 7 (1.0.0), 9000 bytes\n"
    );
    let (status, again) = setup.run(&["once"]);
    assert_eq!((status, again.starts_with("pending: 1.0.0")), (0, true), "{again}");
    assert_eq!(setup.run(&["boot"]), (0, "runs: 1.0.0 (sequence 7) in slot B, confirmed\n".into()));
    assert_eq!(setup.run(&["once"]), (0, "up to date\n".into()));
    assert_eq!(
        setup.run(&["status"]),
        (
            0,
            "active: 1.0.0 (sequence 7) in slot B\nlast trial: sequence 7, Confirmed\nroot: 1, expires DATE\n\
             timestamp: 5\nsnapshot: 5\ntargets: 5\nsecurity counter: 3\n"
                .into()
        )
    );
}

#[test]
fn bundle_updates_a_device_without_a_server() {
    let setup = Setup::new();
    fs::write(setup.folder.path().join("lamp.bundle"), encode(&contents(&setup.repository, 1))).unwrap();
    let (status, pending) = setup.run_without_url(&["bundle", "lamp.bundle"]);
    assert_eq!(status, 0, "{pending}");
    assert_eq!(
        pending,
        "pending: 1.0.0 (sequence 7) in slot B; restart to try it\nrelease 7 (1.0.0), 9000 bytes\n"
    );
    let (status, no_url) = setup.run_without_url(&["boot"]);
    assert_eq!((status, no_url.starts_with("error[A521]")), (2, true), "{no_url}");
    assert_eq!(
        setup.run_without_url(&["boot", "--bundle", "lamp.bundle"]),
        (0, "runs: 1.0.0 (sequence 7) in slot B, confirmed\n".into())
    );
    assert_eq!(setup.run_without_url(&["bundle", "lamp.bundle"]), (0, "up to date\n".into()));
    let (_, status) = setup.run_without_url(&["status"]);
    assert!(status.contains("active: 1.0.0 (sequence 7) in slot B\n"), "{status}");
}

#[test]
fn bundle_that_will_not_do_is_named_with_what_is_wrong() {
    let setup = Setup::new();
    let files = contents(&setup.repository, 1);
    let write = |name: &str, bytes: &[u8]| fs::write(setup.folder.path().join(name), bytes).unwrap();
    let said = |status, line: &str| (status, line.to_owned());
    let whole = encode(&files);
    write("short", &whole[..whole.len() - 1]);
    let line = "release 7 (1.0.0), 9000 bytes\nerror[A423]: short: the bundle ends at byte";
    let (status, text) = setup.run_without_url(&["bundle", "short"]);
    assert_eq!((status, text.starts_with(line)), (1, true), "{text}");
    write("text", b"{}");
    let line = "error[A420]: text: this is no bundle; `tuffet bundle` writes one\n";
    assert_eq!(setup.run_without_url(&["bundle", "text"]), said(1, line));
    let line = "error[A650]: none: No such file or directory\n";
    assert_eq!(setup.run_without_url(&["bundle", "none"]), said(3, line));
    write("headless", &encode(&files[..files.len() - 1]));
    let image = setup.repository.releases[0].file();
    let line = format!(
        "release 7 (1.0.0), 9000 bytes\ngoes on behind 8192 bytes that are there already\nerror[A620]: headless: has no {image}; it is incomplete, or for other devices\n"
    );
    assert_eq!(setup.run_without_url(&["bundle", "headless"]), said(3, &line));
    write("later", &encode(&[("3.root.json".to_owned(), vec![0])]));
    let line = "error[A424]: later: the bundle does not have root 2, which this device needs first; make one \
                `--from-root 1`\n";
    assert_eq!(setup.run_without_url(&["bundle", "later"]), said(1, line));
}

#[test]
fn failure_is_one_line_with_a_code_and_an_exit_status() {
    let setup = Setup::new();
    let image = setup.repository.releases[0].file();
    setup.files.lock().unwrap().get_mut(&image).unwrap()[17] ^= 1;
    assert_eq!(
        setup.run(&["once"]),
        (1, "release 7 (1.0.0), 9000 bytes\nerror[A404]: the image's SHA-256 is not the signed one\n".into())
    );
    setup.files.lock().unwrap().remove(&image);
    let (status, text) = setup.run(&["once"]);
    assert_eq!(status, 3);
    assert!(text.ends_with(&format!("error[A620]: {image}: the server does not have this file\n")), "{text}");
    setup.files.lock().unwrap().insert("timestamp.json".into(), b"<html>".to_vec());
    let syntax = "error[C100]: timestamp: not canonical JSON at byte 0\n";
    assert_eq!(setup.run(&["once"]), (1, syntax.into()));

    let unreachable = ["--url", "http://127.0.0.1:1/", "once"];
    assert_eq!(
        setup.run(&unreachable),
        (3, "error[A623]: 2.root.json: no connection, or it broke; try again later\n".into())
    );
    let plain = ["--url", "http://example.com/", "once"];
    assert_eq!(
        setup.run(&plain),
        (2, "error[A522]: http://example.com/: is plain HTTP to another machine; use https://\n".into())
    );
    assert_eq!(
        setup.run_without_url(&["once"]),
        (2, "error[A521]: which repository? Say it with --url, or in TUFFET_URL\n".into())
    );
    assert_eq!(
        setup.run(&["--flash", "none.nor", "status"]),
        (3, "error[A650]: none.nor: No such file or directory\n".into())
    );
    fs::write(setup.folder.path().join("short.nor"), [0xFF; 100]).unwrap();
    assert_eq!(
        setup.run(&["--flash", "short.nor", "status"]),
        (3, "error[A650]: short.nor: is no flash of this map: it has 100 bytes, not 589824\n".into())
    );
    assert_eq!(
        setup.run(&["--factory", "short.nor", "status"]),
        (
            2,
            "error[A520]: short.nor: is no factory file (line 1, column 1); `tuffet provision` writes one\n"
                .into()
        )
    );
    drop(FileFlash::create(&setup.folder.path().join("blank.nor")).unwrap());
    let lost = "error[A604]: no valid boot record is left on the flash; provision the device again\n";
    for command in ["status", "once", "boot"] {
        assert_eq!(setup.run(&["--flash", "blank.nor", command]), (3, lost_line(command, lost)));
    }
    let (status, _) = setup.run(&["install"]);
    assert_eq!(status, 2);
}

/// A check says first that the trust is lost, too.
fn lost_line(command: &str, line: &str) -> String {
    let first = "trust lost (root and floors): starting from the factory's facts\n";
    if command == "once" { format!("{first}{line}") } else { line.to_owned() }
}

impl Setup {
    fn new() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the program under test reads the real clock")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let image = (0..9000).map(|at| (at * 3) as u8).collect();
        let release = Release { sequence: 7, counter: 3, version: "1.0.0", image };
        let timestamp_expires = now + DAY;
        let repository = Repository { now, timestamp_expires, ..Repository::new(vec![release]) };
        let files = Arc::new(Mutex::new(repository.files()));
        let url = serve(files.clone());

        let folder = tempfile::tempdir().unwrap();
        let root = repository.first_root();
        let (product, hardware, channel) = ("lamp", "rev-a", "stable");
        let factory = Factory { root: &root, product, hardware, channel, counter: 1, built: now - DAY };
        let file = FactoryFile::new(&factory).unwrap().to_string();
        fs::write(folder.path().join("factory.json"), file).unwrap();
        let nor = FileFlash::create(&folder.path().join("device.nor")).unwrap();
        let mut flash = Flash::new(nor, FlashMap::DEMO).unwrap();
        let image = FactoryImage { bytes: &[0x42; 5000], sequence: 1, version: "0.9.0" };
        provision(&mut flash, &SOFTWARE, &factory, &image).unwrap();
        Self { folder, repository, files, url }
    }

    /// Exit status, then standard output and standard error one after the other.
    fn run(&self, arguments: &[&str]) -> (i32, String) {
        self.finish(self.command(arguments).env("TUFFET_URL", &self.url).output().unwrap())
    }

    fn run_without_url(&self, arguments: &[&str]) -> (i32, String) {
        self.finish(self.command(arguments).env_remove("TUFFET_URL").output().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tuffet-agent"));
        command.args(arguments).current_dir(&self.folder);
        command
    }

    fn finish(&self, Output { status, stdout, stderr }: Output) -> (i32, String) {
        let text = String::from_utf8([stdout, stderr].concat()).unwrap();
        let expires = tuffet_client::time::Date(self.repository.now + 1000 * DAY).to_string();
        (status.code().unwrap(), text.replace(&expires, "DATE"))
    }
}

fn serve(files: Arc<Mutex<Files>>) -> String {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut lines = BufReader::new(&stream).lines().map(|line| line.unwrap());
            let Some(request) = lines.next() else { continue };
            lines.find(|line| line.is_empty());
            let path = request.split(' ').nth(1).unwrap().trim_start_matches('/');
            let file = files.lock().unwrap().get(path).cloned();
            let status = if file.is_some() { "200 OK" } else { "404 Not Found" };
            let body = file.unwrap_or_default();
            let length = body.len();
            let head = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            // A client that has seen enough hangs up.
            let _ = stream.write_all(&[head.as_bytes(), &body].concat());
        }
    });
    url
}
