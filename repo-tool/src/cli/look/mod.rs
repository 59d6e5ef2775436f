//! The commands that look and change nothing.

pub(crate) mod device;
pub(crate) mod diff;
pub(crate) mod inspect;
pub(crate) mod status;

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};

use anstyle::{AnsiColor, Style};
use clap::Args;
use serde_json::Value;
use tuffet::Error;
use tuffet_agent::http::HttpOptions;
use tuffet_keys::names::Names;

use super::Facts;
use super::args::Output;

/// Whose keys they are.
#[derive(Args)]
pub(crate) struct KeyNames {
    /// Public keys that give holders their names in what is shown: a directory, or a file as release-a.pub.pem; again
    /// for each
    #[arg(long, value_name = "DIR|PUB", env = "TUFFET_NAMES", hide_env_values = true)]
    names: Vec<PathBuf>,
}

impl KeyNames {
    fn read(&self) -> Result<Names, Error> {
        Ok(Names::read(&self.names)?)
    }
}

/// How a server is talked to.
#[derive(Args)]
pub(crate) struct Transport {
    /// Fetch from http:// on another machine: everybody on the way sees what is fetched
    #[arg(long)]
    danger_allow_plain_http: bool,
}

impl Transport {
    fn options(&self) -> HttpOptions {
        HttpOptions { danger_allow_plain_http: self.danger_allow_plain_http, ..HttpOptions::default() }
    }
}

const GREEN: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Green)));
const YELLOW: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Yellow)));
const RED: Style = Style::new().fg_color(Some(anstyle::Color::Ansi(AnsiColor::Red)));
const BOLD: Style = Style::new().bold();

/// A text in a colour, which a stream that is no terminal drops.
fn painted(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints facts in which there may be foreign text. For people it is escaped already; in JSON everything but printable
/// ASCII is.
fn print(facts: Facts, output: Output) -> Result<(), Error> {
    match output {
        Output::Text => facts.print(output),
        Output::Json => Facts { lines: vec![ascii(&facts.json)], json: Value::Null }.print(Output::Text),
    }
}

/// JSON that no terminal can be steered with. Outside of texts there is nothing to escape.
fn ascii(json: &Value) -> String {
    let mut escaped = String::new();
    for c in json.to_string().chars() {
        match c {
            ' '..='~' => escaped.push(c),
            _ => c
                .encode_utf16(&mut [0; 2])
                .iter()
                .for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    escaped
}

/// Entries of one list that are shown: on a terminal some, elsewhere all.
fn most(all: bool, some: usize) -> usize {
    if all || !std::io::stdout().is_terminal() { usize::MAX } else { some }
}

/// A path, as it may be shown.
fn shown(path: &Path) -> String {
    tuffet_keys::text::plain(&path.display().to_string())
}
