//! `tuffet demo`: finds a directory and images, and tells the story.

use std::fs;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use tuffet::demo::{self, Audience, Images, Refusal, Report};
use tuffet::{Error, Misuse, Rejected};

use super::Facts;
use super::args::{Demo, Output};

/// Runs the demo at `now`, in seconds since 1970-01-01 UTC. The story goes to standard output as it happens;
/// where a program listens, only the facts at its end.
pub(super) fn run(command: &Demo, output: Output, now: u64) -> Result<Facts, Error> {
    let images = match &command.image {
        Some(path) => match tuffet_keys::file::read(path)? {
            image if image.is_empty() => return Err(Rejected::ImageEmpty { image: path.clone() }.into()),
            image => Images::same(&image),
        },
        None => build()?,
    };
    let temporary;
    let directory = match &command.keep {
        Some(directory) => {
            empty(directory)?;
            directory.as_path()
        }
        None => {
            temporary = tempfile::tempdir()
                .map_err(|error| failed("create", Path::new("a temporary directory"), &error))?;
            temporary.path()
        }
    };
    let mut out = Listener(anstream::stdout());
    let mut silence = io::sink();
    let story: &mut dyn Write = if output == Output::Json { &mut silence } else { &mut out };
    let mut progress = Progress { bar: None };
    let Report { installed, refusals } = demo::run(directory, images, now, story, &mut progress)?;
    out.flush().map_err(|error| failed("write", Path::new("standard output"), &error))?;

    let mut lines = vec![
        String::new(),
        format!("{} updates installed, {} attacks refused.", installed.len(), refusals.len()),
    ];
    if let Some(directory) = &command.keep {
        lines.push(format!(
            "keys (passphrase \"{}\"), ceremony, repository and flash are in {}; look with tuffet-keys, tuffet and tuffet-agent",
            demo::team::PASSPHRASE,
            directory.display()
        ));
    }
    let refusals = refusals.iter().map(
        |Refusal { attack, code, message }| json!({ "attack": attack, "code": code, "message": message }),
    );
    let refusals: Vec<_> = refusals.collect();
    let json = json!({ "installed": installed, "refusals": refusals, "kept": command.keep });
    Ok(Facts { lines, json })
}

/// Builds the firmware, with a bar for it takes a few seconds the first time.
fn build() -> Result<Images, Error> {
    let style = ProgressStyle::with_template("building firmware {msg} {bar:30} {pos}/{len}");
    let bar = ProgressBar::new(0).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let images = Images::build(&mut |version, of| {
        if bar.length() == Some(0) {
            bar.set_length(of as u64);
        } else {
            bar.inc(1);
        }
        bar.set_message(version.to_owned());
    });
    bar.finish_and_clear();
    images
}

/// Makes the directory. Nothing that is there already is mixed with a demo's keys.
fn empty(directory: &Path) -> Result<(), Error> {
    fs::create_dir_all(directory).map_err(|error| failed("create", directory, &error))?;
    let mut entries = fs::read_dir(directory).map_err(|error| failed("read", directory, &error))?;
    match entries.next() {
        None => Ok(()),
        Some(_) => {
            Err(Misuse::Options { why: "the directory of --keep must be empty, or not there yet" }.into())
        }
    }
}

fn failed(what: &'static str, path: &Path, error: &io::Error) -> Error {
    tuffet_keys::Error::io(what, path, error).into()
}

/// A stream whose reader may go away, as `head` does. The demo goes on without him: its exit status is for
/// whoever started it.
struct Listener<W>(W);

impl<W: Write> Write for Listener<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.0.write(bytes) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(bytes.len()),
            written => written,
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self.0.flush() {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
            flushed => flushed,
        }
    }
}

/// A bar on standard error while an image comes down, on a terminal only.
struct Progress {
    bar: Option<ProgressBar>,
}

impl Audience for Progress {
    fn downloaded(&mut self, received: u32, length: u32) {
        let bar = self.bar.get_or_insert_with(|| {
            let style = ProgressStyle::with_template("  lamp          {bar:30} {bytes}/{total_bytes}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(length.into()).with_style(style)
        });
        bar.set_position(received.into());
        if received == length {
            bar.finish_and_clear();
            self.bar = None;
        }
    }
}
