//! `verify` of a repository on a web server.

use std::fs;

use tuffet::demo::mirror::{Fault, Mirror};

use crate::support::{Bench, NOW, PUBLISH, text};

fn published_bench() -> Bench {
    let bench = Bench::new();
    bench.image("fw.bin", b"image");
    bench.release("fw.bin", "1.0.0");
    bench.sign(2);
    bench.publish();
    bench
}

#[test]
fn verify_by_url_reads_every_file_once_and_trusts_the_workspace_s_first_root() {
    let bench = published_bench();
    let mirror = Mirror::serve(&bench.repo().join("public")).unwrap();
    let said = bench.ok(&["verify", &mirror.url()]);
    assert!(said.contains("devices accept it") && said.contains("2 files, "), "{said}");
    let mut asked: Vec<String> = mirror.requests().into_iter().map(|request| request.path).collect();
    asked.sort();
    let mut expected: Vec<String> = bench.public_files().iter().map(|name| format!("/{name}")).collect();
    expected.retain(|name| name != "/1.root.json");
    expected.push("/2.root.json".to_owned());
    expected.sort();
    assert_eq!(asked, expected);

    let mut elsewhere = std::process::Command::new(env!("CARGO_BIN_EXE_tuffet"));
    elsewhere.current_dir(bench.directory.path()).args(["--now", &tuffet_keys::date::format(NOW)]);
    let output = elsewhere.args(["verify", &mirror.url(), "--root", "1.root.json"]).output().unwrap();
    assert!(output.status.success(), "{}", text(&output.stderr));
}

#[test]
fn verify_by_url_says_what_the_server_does_wrong() {
    let bench = published_bench();
    let mirror = Mirror::serve(&bench.repo().join("public")).unwrap();
    let url = mirror.url();
    let verify = ["verify", url.as_str()];
    let image = bench.public_files().into_iter().find(|name| name.ends_with(".fw.bin")).unwrap();
    let image = format!("/{image}");
    let timestamp = "/timestamp.json";
    let cases = [
        (timestamp, Fault::Status(404), 3, "C300"),
        (timestamp, Fault::Status(500), 3, "T305"),
        (timestamp, Fault::Redirect("http://127.0.0.1:1/".to_owned()), 3, "T305"),
        (timestamp, Fault::DropAfter(10), 3, "T305"),
        (timestamp, Fault::Endless, 1, "C105"),
        (timestamp, Fault::Replace(b"<html>".to_vec()), 1, "C100"),
        ("/1.targets.json", Fault::Endless, 1, "C105"),
        ("/2.root.json", Fault::Endless, 1, "C105"),
        (image.as_str(), Fault::Status(404), 1, "T119"),
        (image.as_str(), Fault::Endless, 1, "T120"),
        (image.as_str(), Fault::Replace(b"imagE".to_vec()), 1, "T120"),
        (image.as_str(), Fault::Replace(b"imag".to_vec()), 1, "T120"),
        (image.as_str(), Fault::DropAfter(2), 3, "T305"),
    ];
    for (path, fault, status, label) in cases {
        mirror.set_fault(path, fault.clone());
        let message = bench.fails(&verify, status, label);
        if label.starts_with('T') {
            assert!(
                message.contains(&format!("{}{path}", url.trim_end_matches('/'))),
                "{fault:?}: {message}"
            );
        }
        mirror.clear_faults();
    }
    bench.ok(&verify);
    drop(mirror);
    bench.fails(&verify, 3, "T305");
}

#[test]
fn verify_of_an_address_that_is_none_is_a_usage_error() {
    let bench = published_bench();
    for url in
        ["http://updates.example.com/", "ftp://updates.example.com/", "https://", "https://a.example/?x"]
    {
        bench.fails(&["verify", url], 2, "T206");
    }
    bench.fails(&["--repo", "elsewhere", "verify", "https://updates.example.com/"], 2, "T205");
    bench.fails(&["verify", "nowhere.bundle"], 3, "T301");
    fs::remove_dir_all(bench.repo().join("public")).unwrap();
    bench.fails(&["verify", "repo/public"], 1, "T111");
    bench.fails(&PUBLISH, 1, "K116");
}
