//! A workspace from a few questions, or from none.

use std::fs;
use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::support::{Bench, text};

/// Runs `tuffet init` at a terminal of its own, and types these lines. Gives what was to be seen there.
fn at_a_terminal(bench: &Bench, lines: &str) -> String {
    let command = format!("{} --repo repo --now 2026-11-22T12:00:00Z init", env!("CARGO_BIN_EXE_tuffet"));
    let mut script = Command::new("script")
        .args(["--quiet", "--return", "--command", &command, "/dev/null"])
        .current_dir(bench.directory.path())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    script.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    text(&script.wait_with_output().unwrap().stdout)
}

#[test]
fn init_without_options_asks_and_takes_the_answers() {
    let bench = Bench::bare();
    for (index, key) in bench.holders.product.iter().enumerate() {
        fs::write(bench.path(&format!("{index}.pub.pem")), key.public().to_pem()).unwrap();
    }
    let said = at_a_terminal(
        &bench,
        "\nThermo\nthermo\n\nrev-a rev-b\n\n4096\n0.pub.pem 1.pub.pem 9.pub.pem\n0.pub.pem,1.pub.pem\n\n",
    );
    assert!(said.contains("`Thermo` cannot be a product"), "{said}");
    assert!(said.contains("there is no file 9.pub.pem"), "{said}");
    assert!(said.contains("made a repository of thermo in repo"), "{said}");
    let written = fs::read_to_string(bench.repo().join("tuffet.toml")).unwrap();
    let config = bench.workspace().config().clone();
    let product = &config.products["thermo"];
    assert_eq!(product.channels, ["stable", "beta"]);
    assert_eq!(product.hardware["rev-a"].slot_size, 262_144);
    assert_eq!(product.hardware["rev-b"].slot_size, 4096);
    assert_eq!(product.role.as_ref().unwrap().threshold, 2, "{written}");
    assert!(bench.repo().join("keys/0.pub.pem").is_file());
}

#[test]
fn init_without_a_directory_makes_the_current_one_a_workspace() {
    let bench = Bench::bare();
    let init = ["--repo", ".", "init", "--root", "1.root.json", "--product", "thermo"];
    let said = bench.ok(&init);
    assert!(said.contains("made a repository of thermo in this directory"), "{said}");
    for file in ["tuffet.toml", "public/1.root.json", "staged/images"] {
        assert!(bench.path(file).exists(), "{file}");
    }
    bench.fails(&init, 2, "T202");
}

#[test]
fn init_writes_nothing_that_it_could_not_read() {
    let bench = Bench::bare();
    fs::write(bench.path("a.pub.pem"), bench.holders.product[0].public().to_pem()).unwrap();
    let init = ["init", "--root", "1.root.json", "--product", "thermo"];
    for more in [
        &["--channel", "st/able"][..],
        &["--product-key", "a.pub.pem", "--bins", "4"],
        &["--channel", "stable", "--product-key", "a.pub.pem", "--bins", "15"],
        &["--product-key", "a.pub.pem", "--product-threshold", "2"],
    ] {
        bench.fails(&[&init, more].concat(), 1, "T101");
        assert!(!bench.repo().exists(), "{more:?}");
    }
}

#[test]
fn init_where_there_is_no_terminal_says_what_is_missing() {
    let bench = Bench::bare();
    let message = bench.fails(&["init", "--product", "thermo"], 2, "T205");
    assert!(message.contains("--root and --product are needed"), "{message}");
    assert!(!bench.repo().exists());
}
