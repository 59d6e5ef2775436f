//! Completions and manual pages, as a shell and `man` meet them.

use std::fs;
use std::process::Command;

use crate::support::*;

/// What bash offers for the last of these words, once it has read the script.
fn offered(room: &Room, words: &str) -> Vec<String> {
    // As bash calls it, with the program, the word and the one before it.
    let script = "source ./script; function=$(complete -p tuffet-keys); function=${function##*-F }; \
        COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); \
        ${function% *} tuffet-keys \"${COMP_WORDS[-1]}\" \"${COMP_WORDS[-2]}\"; \
        printf '%s\\n' \"${COMPREPLY[@]}\"";
    let words: Vec<&str> = words.split(' ').collect();
    let shell = [&["--norc", "-c", script, "bash"][..], &words].concat();
    let offered = String::from_utf8(room.tool("bash", &shell)).unwrap();
    offered.lines().map(str::to_owned).collect()
}

/// Each command and each below it, as its words, by what the help lists.
fn commands(room: &Room, above: &[String], all: &mut Vec<Vec<String>>) {
    let words: Vec<&str> = above.iter().map(String::as_str).chain(["--help"]).collect();
    let help = room.ok(&words);
    let listed = help.split_once("\nCommands:\n").map_or("", |(_, rest)| rest.split_once("\n\n").unwrap().0);
    for line in listed.lines() {
        // Further lines of a long description are indented more.
        let Some(name) = line.strip_prefix("  ").filter(|line| !line.starts_with(' ')) else { continue };
        let name = name.split(' ').next().unwrap();
        if name != "help" {
            let command = [above, &[name.to_owned()]].concat();
            all.push(command.clone());
            commands(room, &command, all);
        }
    }
}

#[test]
fn bash_completes_commands_options_and_values_by_the_script() {
    let room = Room::new();
    fs::write(room.path("script"), room.ok(&["completions", "bash"])).unwrap();
    assert_eq!(offered(&room, "tuffet-keys ro"), ["root"]);
    assert_eq!(offered(&room, "tuffet-keys root n"), ["next"]);
    assert_eq!(offered(&room, "tuffet-keys smoke-test --exp"), ["--expect"]);
    let keys = offered(&room, "tuffet-keys root next --replace-");
    assert_eq!(
        keys,
        ["root", "targets", "snapshot", "timestamp"].map(|role| format!("--replace-{role}-key")).to_vec()
    );
    assert_eq!(offered(&room, "tuffet-keys review x --output "), ["text", "json"]);
    // What it does not know is a file, which is bash's affair.
    assert_eq!(offered(&room, "tuffet-keys sign root.req"), [""; 1]);
}

#[test]
fn completions_of_every_shell_know_every_command() {
    let room = Room::new();
    let mut all = Vec::new();
    commands(&room, &[], &mut all);
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = room.ok(&["completions", shell]);
        for command in &all {
            assert!(script.contains(command.last().unwrap()), "{shell}: {command:?}");
        }
        let help = room.ok(&["completions", "--help"]);
        assert!(help.contains(&format!("tuffet-keys completions {shell} ")), "{help}");
    }
    assert_eq!(room.keys(&["completions", "csh"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn manual_has_a_page_for_every_command_and_names_no_path_of_this_machine() {
    let room = Room::new();
    let mut all = vec![Vec::new()];
    commands(&room, &[], &mut all);
    assert!(all.len() > 20, "{all:?}");
    let said = room.ok(&["man", "--out", "share/man1"]);
    assert_eq!(said, format!("wrote {} pages into share/man1\n", all.len()));
    // What lies there is replaced, and so an older version's pages are.
    fs::write(room.path("share/man1/tuffet-keys.1"), "old").unwrap();
    assert_eq!(room.ok(&["man", "--out", "share/man1"]), said);
    assert_eq!(fs::read_dir(room.path("share/man1")).unwrap().count(), all.len());
    assert_eq!(room.ok(&["man"]).as_bytes(), room.read("share/man1/tuffet-keys.1"));
    for words in all {
        let name = ["tuffet-keys".to_owned()].into_iter().chain(words.clone()).collect::<Vec<_>>().join("-");
        let file = format!("share/man1/{name}.1");
        let page = String::from_utf8(room.read(&file)).unwrap();
        check(&page, &name);
        assert_eq!(page.matches(".SH \"EXIT STATUS\"\n").count(), 1, "{name}");
        // Each says how it may be called, save those that have commands below them.
        let help = room.ok(&words.iter().map(String::as_str).chain(["--help"]).collect::<Vec<_>>());
        let called = help.matches(&format!(" tuffet-keys {} ", words.join(" "))).count();
        // The usage is one.
        assert!(called > 1 || help.contains("\nCommands:\n"), "{name} has no example: {help}");
        assert_eq!(page.contains(".SH \"SEE ALSO\"\n"), !words.is_empty(), "{name}");
        for path in [env!("CARGO_MANIFEST_DIR"), room.state().to_str().unwrap(), "/tmp"] {
            assert!(!page.contains(path), "{name} has {path}");
        }
        // Where there is a `man`, it has nothing to complain about.
        if let Ok(output) = Command::new("man").args(["--warnings", "-l"]).arg(room.path(&file)).output() {
            let complaints = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && complaints.is_empty(), "{name}: {complaints}");
        }
    }
}

/// A page that roff sets as it is meant: it begins with its title, says what the command is, and holds no line that
/// roff would take for a request of another kind.
fn check(page: &str, name: &str) {
    let escaped = name.replace('-', "\\-");
    assert!(page.contains(&format!(".TH {name} 1 \" \" \"tuffet-keys 0.")), "{name}: {page}");
    let what = page.split_once(&format!(".SH NAME\n{escaped} \\- ")).expect(name).1;
    assert!(what.lines().next().unwrap().len() > 10, "{name}: {page}");
    let known = ["TH", "SH", "PP", "TP", "RS", "RE", "IP", "nf", "fi", "br", "ie", "el"];
    let mut section = None;
    let mut verbatim = false;
    for line in page.lines() {
        let request = line.strip_prefix('.').map(|request| request.split(' ').next().unwrap());
        assert!(request.is_none_or(|request| known.contains(&request)), "{name}: {line}");
        verbatim = (verbatim || request == Some("nf")) && request != Some("fi");
        // Set in seven columns from the left, on a terminal of 80.
        assert!(!verbatim || line.replace('\\', "").len() <= 73, "{name}: {line}");
        let empty = section.filter(|_| request == Some("SH"));
        assert_eq!(empty, None, "{name}: nothing below this");
        section = Some(line).filter(|_| request == Some("SH"));
    }
    assert_eq!(section, None, "{name}: nothing below this");
}
