//! Online keys that are not in a file: on a token (SoftHSM's), and in the environment of a CI job.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tuffet_keys::key::PublicKey;
use tuffet_keys::metadata::Role;

use crate::support::*;

const PIN: &str = "481516";

fn module() -> PathBuf {
    [
        "/usr/lib/softhsm/libsofthsm2.so",
        "/usr/lib64/softhsm/libsofthsm2.so",
        "/usr/local/lib/softhsm/libsofthsm2.so",
    ]
    .into_iter()
    .map(PathBuf::from)
    .find(|path| path.exists())
    .expect("this test needs SoftHSM: apt-get install softhsm2")
}

/// A token with a key `online` on it; gives the key's public half.
fn plug_in(bench: &Bench) -> PublicKey {
    let (tokens, config) = (bench.path("tokens"), bench.path("softhsm2.conf"));
    fs::create_dir(&tokens).unwrap();
    fs::write(&config, format!("directories.tokendir = {}\nobjectstore.backend = file\n", tokens.display()))
        .unwrap();
    let softhsm = |arguments: &[&str]| {
        let output =
            Command::new("softhsm2-util").env("SOFTHSM2_CONF", &config).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
    };
    softhsm(&["--init-token", "--free", "--label", "online", "--so-pin", "314159", "--pin", PIN]);
    let key = tuffet_keys::key::SigningKey::generate().unwrap();
    key.write_new_danger_unencrypted(&bench.path("imported.pem")).unwrap();
    let path: &Path = &bench.path("imported.pem");
    softhsm(&[
        "--import",
        path.to_str().unwrap(),
        "--token",
        "online",
        "--pin",
        PIN,
        "--label",
        "online",
        "--id",
        "01",
    ]);
    fs::remove_file(path).unwrap();
    key.public().clone()
}

#[test]
fn publish_signs_with_a_key_on_a_token_or_in_the_environment() {
    let mut bench = Bench::new();
    bench.image("fw.bin", b"firmware");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();

    // The next root moves both online roles to the token.
    let on_token = plug_in(&bench);
    let old = bench.holders.online.public().keyid().to_owned();
    let root = bench.holders.next_root(|draft| {
        for role in [Role::Snapshot, Role::Timestamp] {
            draft.remove_key(&role, &old).unwrap();
            draft.add_key(&role, &on_token).unwrap();
        }
    });
    fs::write(bench.path("2.root.json"), root).unwrap();
    bench.ok(&["root", "add", "2.root.json"]);

    let uri = "pkcs11:token=online;object=online";
    let publish = |pin: &str, rest: &[&str]| -> Output {
        let arguments = [&["publish", "--snapshot-key", uri, "--timestamp-key", uri][..], rest].concat();
        let mut command = bench.command(&arguments);
        command.env("SOFTHSM2_CONF", bench.path("softhsm2.conf")).env("TUFFET_PKCS11_MODULE", module());
        command.env("TUFFET_PIN", pin).output().unwrap()
    };
    let before = bench.snapshot();
    assert_fails(&publish("481517", &[]), 1, "K126");
    assert_eq!(bench.public_json("timestamp.json")["signed"]["version"], 1);
    assert!(changes(&before, &bench.snapshot()).iter().all(|name| name.contains("tokens/")));
    let output = publish(PIN, &[]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    let timestamp = bench.public_json("timestamp.json");
    assert_eq!(timestamp["signatures"][0]["keyid"], on_token.keyid());
    bench.ok(&["verify"]);

    // Without the token nothing is signed.
    let missing =
        ["publish", "--snapshot-key", "pkcs11:token=other", "--timestamp-key", "pkcs11:token=other"];
    let mut command = bench.command(&missing);
    command.env("SOFTHSM2_CONF", bench.path("softhsm2.conf")).env("TUFFET_PKCS11_MODULE", module());
    assert_fails(&command.output().unwrap(), 3, "K310");
    bench.fails(&["publish", "--snapshot-key", "pkcs11:?pin-value=1", "--timestamp-key", "x"], 2, "K213");

    // A CI job has its key, unencrypted or not, in a variable.
    let bench = Bench::new();
    bench.image("fw.bin", b"firmware");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    let arguments = ["publish", "--snapshot-key", "env:ONLINE", "--timestamp-key", "env:ONLINE"];
    let publish = |rest: &[&str]| -> Output {
        let pem = fs::read_to_string(bench.path("online.pem")).unwrap();
        bench.command(&[&arguments[..], rest].concat()).env("ONLINE", pem).output().unwrap()
    };
    assert_fails(&publish(&[]), 1, "K109");
    assert!(publish(&["--danger-unencrypted"]).status.success());
    bench.ok(&["verify"]);
}
