//! Completions and manual pages of the real binary. `tuffet-keys`, which makes them with the same code, tests them
//! further.

use std::fs;
use std::path::Path;
use std::process::Command;

/// Runs a program that must succeed in this directory, and gives what it printed.
fn run(program: &str, arguments: &[&str], directory: &Path) -> String {
    let output = Command::new(program).args(arguments).current_dir(directory).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn tuffet(arguments: &[&str], directory: &Path) -> String {
    run(env!("CARGO_BIN_EXE_tuffet"), arguments, directory)
}

#[test]
fn bash_completes_a_command_and_an_option_by_the_script() {
    let directory = tempfile::tempdir().unwrap();
    let script = tuffet(&["completions", "bash"], directory.path());
    fs::write(directory.path().join("script"), &script).unwrap();
    for (words, offered) in [
        ("tuffet re", "release renew refresh\n"),
        ("tuffet release ro", "rollout rollback\n"),
        ("tuffet root a", "add\n"),
        ("tuffet publish --snap", "--snapshot-key\n"),
    ] {
        let complete = format!(
            "source ./script; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _tuffet tuffet \"${{COMP_WORDS[-1]}}\" \"${{COMP_WORDS[-2]}}\"; echo \"${{COMPREPLY[*]}}\""
        );
        assert_eq!(run("bash", &["--norc", "-c", &complete], directory.path()), offered);
    }
    let json = tuffet(&["completions", "bash", "--output", "json"], directory.path());
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["script"], script);
}

#[test]
fn output_for_people_is_text_and_its_older_name_still_does() {
    let directory = tempfile::tempdir().unwrap();
    let plain = tuffet(&["completions", "fish"], directory.path());
    for form in ["text", "human"] {
        assert_eq!(tuffet(&["completions", "fish", "--output", form], directory.path()), plain);
    }
    let help = tuffet(&["completions", "--help"], directory.path());
    assert!(help.contains("[default: text]") && !help.contains("human"), "{help}");
}

#[test]
fn manual_has_a_page_for_every_command() {
    let directory = tempfile::tempdir().unwrap();
    let said = tuffet(&["man", "--out", "pages"], directory.path());
    let help = tuffet(&["--help"], directory.path());
    let listed = help.split_once("\nCommands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let named = |line: &str| {
        line.strip_prefix("  ")
            .and_then(|line| line.split(' ').next())
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
    };
    let mut names: Vec<String> = listed.lines().filter_map(named).filter(|name| name != "help").collect();
    assert!(names.len() > 9, "{names:?}");
    let releases = ["add", "list", "show", "promote", "rollout", "pause", "withdraw", "rollback", "prune"];
    names.extend(releases.map(|name| format!("release-{name}")));
    names.push("root-add".to_owned());
    for name in &names {
        let page = fs::read_to_string(directory.path().join(format!("pages/tuffet-{name}.1"))).unwrap();
        assert!(page.contains(&format!(".SH NAME\ntuffet\\-{} \\- ", name.replace('-', "\\-"))), "{page}");
        assert!(!page.contains(env!("CARGO_MANIFEST_DIR")), "{page}");
    }
    assert_eq!(said, format!("wrote {} pages into pages\n", names.len() + 1));
    let own = fs::read_to_string(directory.path().join("pages/tuffet.1")).unwrap();
    assert_eq!(tuffet(&["man"], directory.path()), own);
    // A line that stays as it is must fit beside the margin of a terminal with 80 columns.
    let blocks = own.split("\n.nf\n").skip(1).map(|block| block.split("\n.fi\n").next().unwrap());
    for line in blocks.flat_map(str::lines) {
        assert!(line.replace('\\', "").len() <= 73, "{line}");
    }
}
