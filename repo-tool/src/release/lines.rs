//! Many releases at once, from a file that a build wrote: a JSON object a line.

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::{Ramp, Release, Wanted};
use crate::{Error, Rejected};

/// What holds for every line that does not say otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Defaults {
    /// The product.
    pub product: Option<String>,
    /// The hardware id.
    pub hardware: Option<String>,
    /// The channel.
    pub channel: Option<String>,
    /// The version.
    pub version: Option<String>,
    /// The security counter.
    pub counter: Option<u32>,
    /// The lowest installed sequence.
    pub minimum: u32,
    /// Who gets it when; of all lines the same.
    pub rollout: Option<Ramp>,
    /// See [`Release::older`].
    pub older: bool,
}

impl Defaults {
    /// The release of an image of which there is no more to say.
    #[must_use]
    pub fn release(self, image: PathBuf) -> Release {
        let Defaults { product, hardware, channel, version, counter, minimum, rollout, older } = self;
        let (hardware, channel) = (hardware.unwrap_or_default(), channel.unwrap_or_default());
        Release {
            image,
            place: Wanted { product, hardware, channel },
            version,
            counter,
            minimum,
            rollout,
            older,
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    image: PathBuf,
    product: Option<String>,
    hardware: Option<String>,
    channel: Option<String>,
    version: Option<String>,
    counter: Option<u32>,
    minimum: Option<u32>,
}

/// Reads the releases in a file. `image` of each line is seen from the current directory.
///
/// # Errors
/// [`Rejected::Config`] with the position, or an I/O failure.
pub fn read(path: &Path, defaults: &Defaults) -> Result<Vec<Release>, Error> {
    let failed = |error| Error::io("read", path, &error);
    let mut releases = Vec::new();
    for (index, text) in BufReader::new(File::open(path).map_err(failed)?).lines().enumerate() {
        let wrong = |column, message: String| {
            Error::from(Rejected::Config { path: path.to_owned(), line: index + 1, column, message })
        };
        let text = text.map_err(failed)?;
        if text.trim().is_empty() {
            continue;
        }
        let Line { image, product, hardware, channel, version, counter, minimum } =
            serde_json::from_str(&text).map_err(|error| {
                let message = error.to_string();
                // It counts lines in this one.
                let message = message.split(" at line ").next().unwrap_or_default();
                wrong(error.column().max(1), message.to_owned())
            })?;
        let all = defaults.clone();
        let of_line = Defaults {
            product: product.or(all.product),
            hardware: hardware.or(all.hardware),
            channel: channel.or(all.channel),
            version: version.or(all.version),
            counter: counter.or(all.counter),
            minimum: minimum.unwrap_or(all.minimum),
            rollout: all.rollout,
            older: all.older,
        };
        for (name, value) in [("hardware", &of_line.hardware), ("channel", &of_line.channel)] {
            if value.is_none() {
                return Err(wrong(1, format!("it says no `{name}`, and neither does --{name}")));
            }
        }
        releases.push(of_line.release(image));
    }
    if releases.is_empty() {
        let message = "there is no release in it".to_owned();
        return Err(Rejected::Config { path: path.to_owned(), line: 1, column: 1, message }.into());
    }
    Ok(releases)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str, defaults: &Defaults) -> Result<Vec<Release>, (usize, usize, String)> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        std::fs::write(&path, text).unwrap();
        read(&path, defaults).map_err(|error| match error {
            Error::Rejected(Rejected::Config { line, column, message, .. }) => (line, column, message),
            other => panic!("{other}"),
        })
    }

    #[test]
    fn line_says_what_it_says_and_the_rest_is_as_the_options_have_it() {
        let defaults = Defaults {
            hardware: Some("rev-a".to_owned()),
            channel: Some("stable".to_owned()),
            counter: Some(3),
            ..Defaults::default()
        };
        let text = "{\"image\":\"a.bin\",\"version\":\"1\"}\n\n\
                    {\"image\":\"b.bin\",\"hardware\":\"rev-b\",\"product\":\"lamp\",\"counter\":4,\"minimum\":2}\n";
        let releases = read_text(text, &defaults).unwrap();
        let wanted = |product: Option<&str>, hardware: &str| Wanted {
            product: product.map(str::to_owned),
            hardware: hardware.to_owned(),
            channel: "stable".to_owned(),
        };
        let first = Release {
            image: "a.bin".into(),
            place: wanted(None, "rev-a"),
            version: Some("1".to_owned()),
            counter: Some(3),
            minimum: 0,
            rollout: None,
            older: false,
        };
        let second = Release {
            image: "b.bin".into(),
            place: wanted(Some("lamp"), "rev-b"),
            version: None,
            counter: Some(4),
            minimum: 2,
            rollout: None,
            older: false,
        };
        assert_eq!(releases, [first, second]);
    }

    #[test]
    fn line_that_is_wrong_is_refused_with_its_position() {
        let good = "{\"image\":\"a.bin\",\"hardware\":\"rev-a\",\"channel\":\"stable\"}\n";
        for (text, line, message) in [
            ("", 1, "there is no release in it"),
            (
                &format!("{good}{{\"image\":\"b.bin\"}}"),
                2,
                "it says no `hardware`, and neither does --hardware",
            ),
            (&format!("{good}{good}{{\"imag\":\"b.bin\"}}"), 3, "unknown field `imag`, expected one of"),
            ("{}", 1, "missing field `image`"),
            ("fw.bin", 1, "expected ident"),
        ] {
            let (at, column, found) = read_text(text, &Defaults::default()).unwrap_err();
            assert!(
                at == line && column >= 1 && found.starts_with(message),
                "{text}: {at}:{column}: {found}"
            );
        }
    }
}
