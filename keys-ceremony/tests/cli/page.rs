//! `docs/ceremony.md` can be followed: its commands are run as they stand there.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

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

/// What a person types: the version that is signed, or the digits of root 1 that another holder reads.
fn answer(room: &Room, command: &str) -> String {
    let mut words = command.split(' ').skip(1);
    match (words.next(), words.next()) {
        (Some("sign"), Some(request)) => format!("{}\n", room.json(request)["version"]),
        (Some("trust"), Some(_)) => {
            let review = room.ok(&["review", "root.request.json", "--output", "json"]);
            let review: serde_json::Value = serde_json::from_str(&review).unwrap();
            format!("{}\n", &review["repository"]["sha256"].as_str().unwrap()[..16])
        }
        _ => String::new(),
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
        let mut shell = room.command("sh");
        shell.args(["-c", &script]).env("TUFFET_STATE", room.state().join(holder.to_string()));
        shell
            .env("TUFFET_PASSPHRASE", "five words of dice")
            .env("TUFFET_NEW_PASSPHRASE", "other words of dice");
        if command.contains("spare-a.pem --") || command.contains("smoke-test") {
            shell.env("TUFFET_PASSPHRASE", "other words of dice");
        }
        let mut running =
            shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        running.stdin.take().unwrap().write_all(answer(&room, command).as_bytes()).unwrap();
        let output = running.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{holder}$ {command}\n{errors}");
    }
    // The root without the lost key is for those who are left to sign.
    assert_eq!(room.json("root.3.request.json")["version"], 3);
}
