//! A new workspace.

use std::io::{BufRead as _, IsTerminal as _, Write as _, stdin};
use std::path::{Path, PathBuf};

use serde_json::json;
use tuffet::config::{Config, Delegate, FILE, Hardware, Term};
use tuffet::repository::{Workspace, root_sha256};
use tuffet::staging::{self, Mode};
use tuffet::{Error, Misuse};

use super::{Facts, args, digest_line, drafts_json, release, shown};

/// Makes a workspace: from options, or from a few questions where the two that it cannot do without are missing.
pub(super) fn init(repo: &Path, command: &args::Init, now: u64) -> Result<Facts, Error> {
    match (&command.root, &command.product) {
        (Some(root), Some(product)) => make(repo, command, root, product, now),
        _ => {
            let asked = ask(command, &mut Terminal::open()?)?;
            let (root, product) =
                (asked.root.clone().unwrap_or_default(), asked.product.clone().unwrap_or_default());
            make(repo, &asked, &root, &product, now)
        }
    }
}

fn make(repo: &Path, command: &args::Init, root: &Path, product: &str, now: u64) -> Result<Facts, Error> {
    let args::Init { channel, hardware, slot_size, flash_map, dry_run, .. } = command;
    if hardware.len() != slot_size.len() {
        return Err(Misuse::Options { why: "each --hardware needs one --slot-size" }.into());
    }
    if !flash_map.is_empty() && flash_map.len() != hardware.len() {
        return Err(Misuse::Options { why: "give one --flash-map for each --hardware, or none" }.into());
    }
    let mut config = Config::new();
    if let Some(url) = &command.storage {
        config.storage.url.clone_from(url);
    }
    let parts = config.add_product(product)?;
    parts.channels = channel.clone();
    parts.role = delegate(product, command)?;
    for (index, (id, slot_size)) in hardware.iter().zip(slot_size).enumerate() {
        let flash_map = flash_map.get(index).cloned();
        parts.add_hardware(id, Hardware { slot_size: *slot_size, flash_map })?;
    }
    let root = tuffet_keys::file::read(root)?;
    Workspace::check_init(repo, &root, now)?;
    let mut drafts = Vec::new();
    // What this writes, it must be able to read.
    let sha256 = root_sha256(&root)?;
    let text = Config { root_1_sha256: Some(sha256.clone()), ..config.clone() }.to_text();
    Config::parse(&text, &repo.join(FILE))?;
    let verb = match dry_run.dry_run {
        true => "would make",
        false => {
            let workspace = Workspace::init(repo, &root, config, now)?;
            // Holders of a product sign nothing before those of targets said who they are.
            if workspace.config().delegates().next().is_some() {
                drafts = staging::renew(&workspace, &[], now, Mode::Write)?.drafts;
            }
            "made"
        }
    };
    let mut lines =
        vec![format!("{verb} a repository of {product} in {}", shown(repo)), digest_line(1, &sha256)];
    if hardware.is_empty() {
        lines.push("next: add your hardware to tuffet.toml".to_owned());
    }
    lines.extend(release::next_lines(&drafts, now));
    let json = json!({
        "drafts": drafts_json(&drafts),
        "product": product,
        "repo": repo,
        "root_1_sha256": sha256,
        "hardware": hardware,
        "dry_run": dry_run.dry_run,
    });
    Ok(Facts { lines, json })
}

/// The role of the product, if it has keys of its own.
fn delegate(product: &str, command: &args::Init) -> Result<Option<Delegate>, Error> {
    let args::Init { product_key, product_threshold, bins, .. } = command;
    if product_key.is_empty() {
        return Ok(None);
    }
    let threshold = product_threshold.unwrap_or(if product_key.len() == 1 { 1 } else { 2 });
    let (name, keys, term) = (product.to_owned(), product_key.clone(), Term::default());
    Ok(Some(Delegate { name, keys, threshold, term, bins: *bins }))
}

/// Where questions are asked: on standard error, so that standard output is the facts alone.
struct Terminal;

impl Terminal {
    fn open() -> Result<Terminal, Error> {
        match stdin().is_terminal() {
            true => Ok(Terminal),
            false => {
                let why = "--root and --product are needed where there is no terminal to ask at";
                Err(Misuse::Options { why }.into())
            }
        }
    }

    /// Asks until the answer will do. An empty one is the default, if there is one.
    fn ask<T>(
        &mut self,
        question: &str,
        default: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Error> {
        let shown = if default.is_empty() { String::new() } else { format!(" [{default}]") };
        loop {
            let mut err = anstream::stderr();
            // Whoever closed standard error answers in the dark.
            let _ = write!(err, "{question}{shown}: ").and_then(|()| err.flush());
            let mut line = String::new();
            let read_failed = |error| tuffet_keys::Error::io("read", Path::new("standard input"), &error);
            if stdin().lock().read_line(&mut line).map_err(read_failed)? == 0 {
                return Err(Misuse::Options { why: "the questions were not answered" }.into());
            }
            let line = line.trim();
            match read(if line.is_empty() { default } else { line }) {
                Ok(answer) => return Ok(answer),
                Err(why) => {
                    let _ = writeln!(err, "  {why}");
                }
            }
        }
    }
}

/// What the options do not say.
fn ask(command: &args::Init, terminal: &mut Terminal) -> Result<args::Init, Error> {
    let mut asked = command.clone();
    let words = |text: &str| {
        text.split([',', ' ']).filter(|word| !word.is_empty()).map(str::to_owned).collect::<Vec<_>>()
    };
    if asked.root.is_none() {
        let exists = |text: &str| match Path::new(text).is_file() {
            true => Ok(PathBuf::from(text)),
            false => Err(format!("there is no file {text}; `tuffet-keys finish` wrote it")),
        };
        asked.root = Some(terminal.ask("The signed first root", "1.root.json", exists)?);
    }
    if asked.product.is_none() {
        let name = |text: &str| {
            let mut scratch = Config::new();
            scratch.add_product(text).map(|_| text.to_owned()).map_err(|error| error.to_string())
        };
        asked.product = Some(terminal.ask("The product's name", "", name)?);
    }
    if asked.channel.is_empty() {
        asked.channel = terminal.ask("Its channels, or - for any", "stable, beta", |text| match text {
            "-" => Ok(Vec::new()),
            text => Ok(words(text)),
        })?;
    }
    if asked.hardware.is_empty() {
        asked.hardware = terminal.ask("Its hardware ids, or - for none yet", "rev-a", |text| match text {
            "-" => Ok(Vec::new()),
            text => Ok(words(text)),
        })?;
        asked.slot_size.clear();
        for id in &asked.hardware {
            let size = terminal.ask(&format!("Bytes of the slot of {id}"), "262144", args::bytes)?;
            asked.slot_size.push(size);
        }
    }
    if asked.product_key.is_empty() {
        let question = "Public keys of its own holders (files), or - if the holders of targets sign for it";
        asked.product_key = terminal.ask(question, "-", |text| match text {
            "-" => Ok(Vec::new()),
            text => {
                let files: Vec<PathBuf> = words(text).into_iter().map(PathBuf::from).collect();
                match files.iter().find(|file| !file.is_file()) {
                    Some(missing) => Err(format!("there is no file {}", missing.display())),
                    None => Ok(files),
                }
            }
        })?;
        let count = asked.product_key.len();
        if count > 1 {
            let threshold = |text: &str| match text.parse() {
                Ok(threshold) if (1..=count).contains(&threshold) => {
                    u32::try_from(threshold).map_err(|_| String::new())
                }
                _ => Err(format!("1 to {count}")),
            };
            asked.product_threshold = Some(terminal.ask("How many of them must sign", "2", threshold)?);
        }
    }
    Ok(asked)
}
