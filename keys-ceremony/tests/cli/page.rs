//! `docs/ceremony.md` can be followed: its commands are run as they stand there.

use std::fs;
use std::path::Path;

use crate::support::*;

/// The commands behind a prompt such as `A$ `, in their order.
fn commands(page: &str) -> Vec<(char, &str)> {
    let prompted = page.lines().filter_map(|line| {
        let (prompt, command) = line.split_once("$ ")?;
        let mut letters = prompt.chars();
        letters
            .next()
            .filter(|letter| letters.next().is_none() && letter.is_ascii_uppercase())
            .zip(Some(command))
    });
    prompted.collect()
}

/// What a person types: the version that is signed, or the digits of root 1 that another holder reads, where the
/// repository is new to this one.
fn answer(room: &Room, command: &str) -> Option<String> {
    let mut words = command.split(' ').skip(1);
    match (words.next(), words.next()) {
        (Some("sign"), Some(request)) if room.json(request)["version"] != 1 => {
            Some(format!("{}\n", room.json(request)["version"]))
        }
        (Some("sign" | "trust"), Some(_)) => {
            Some(format!("{}\n", &room.repository("root.request.json")[..16]))
        }
        _ => None,
    }
}

#[test]
fn ceremony_of_the_page_can_be_followed() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/ceremony.md");
    let page = fs::read_to_string(page).unwrap();
    let commands = commands(&page);
    assert!(commands.len() > 25, "{} commands", commands.len());
    let room = Room::new();
    // The holder who comes later.
    room.ok_with("five words of dice", &["generate", "--out", "root-d.pem"]);
    for (holder, command) in commands {
        let rest = command.strip_prefix("tuffet-keys ").expect(command);
        let script = format!("\"{BINARY}\" --now {NOW} {rest}");
        // Who types does so on a terminal.
        let mut shell = match answer(&room, command) {
            Some(line) => {
                fs::write(room.path("typed"), line).unwrap();
                let mut terminal = room.command("script");
                terminal.args(["-qec", &script, "/dev/null"]);
                terminal.stdin(fs::File::open(room.path("typed")).unwrap());
                terminal
            }
            None => {
                let mut shell = room.command("sh");
                shell.args(["-c", &script]);
                shell
            }
        };
        shell.env("TUFFET_STATE", room.state().join(holder.to_string()));
        shell
            .env("TUFFET_PASSPHRASE", "five words of dice")
            .env("TUFFET_NEW_PASSPHRASE", "other words of dice");
        if command.contains("spare-a.pem --") || command.contains("smoke-test") {
            shell.env("TUFFET_PASSPHRASE", "other words of dice");
        }
        let output = shell.output().unwrap();
        let [said, errors] = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        assert!(output.status.success(), "{holder}$ {command}\n{said}{errors}");
    }
    // The root without the lost key is for those who are left to sign.
    assert_eq!(room.json("root.3.request.json")["version"], 3);
}
