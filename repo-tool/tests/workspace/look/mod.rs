//! The commands that look and change nothing: `status`, `diff`, `inspect`, `which-release`.

mod device;
mod diff;
mod inspect;
mod status;

use serde_json::Value;

use crate::support::{Bench, NOW, text};

const HALT: [&str; 6] =
    ["halt", "--snapshot-key", "online.pem", "--timestamp-key", "online.pem", "--danger-unencrypted"];

/// Three releases of `rev-a`, published at [`NOW`]: 1.0.0 with counter 0, 1.1.0 and 1.2.0 with counter 1.
fn bench() -> Bench {
    let bench = Bench::new();
    for (version, counter) in [("1.0.0", "0"), ("1.1.0", "1"), ("1.2.0", "1")] {
        bench.image("fw.bin", version.as_bytes());
        let add =
            ["release", "add", "fw.bin", "--hardware", "rev-a", "--channel", "stable", "--version", version];
        bench.ok(&[&add[..], &["--counter", counter]].concat());
    }
    bench.sign(2);
    bench.publish();
    bench
}

/// Exit status, standard output and standard error at [`NOW`]. A look changes no file.
#[track_caller]
fn look(bench: &Bench, arguments: &[&str]) -> (i32, String, String) {
    let before = bench.snapshot();
    let output = bench.command_at(NOW, arguments).output().unwrap();
    assert_eq!(before, bench.snapshot(), "{arguments:?} changed files");
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

/// What a look says that is all well.
#[track_caller]
fn said(bench: &Bench, arguments: &[&str]) -> String {
    let (status, out, error) = look(bench, arguments);
    assert_eq!((status, error.as_str()), (0, ""), "{arguments:?}: {out}");
    out
}

#[track_caller]
fn json(bench: &Bench, arguments: &[&str]) -> Value {
    let (_, out, _) = look(bench, &[&["--output", "json"], arguments].concat());
    serde_json::from_str(&out).unwrap()
}

/// The names of these holders' keys in the directory `names`.
fn name_keys(bench: &Bench) {
    std::fs::create_dir(bench.path("names")).unwrap();
    for (kind, keys) in [("release", &bench.holders.release), ("thermo", &bench.holders.product)] {
        for (index, key) in keys.iter().enumerate() {
            std::fs::write(bench.path(&format!("names/{kind}-{index}.pub.pem")), key.public().to_pem())
                .unwrap();
        }
    }
}
