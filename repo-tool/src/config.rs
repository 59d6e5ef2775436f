//! `tuffet.toml`: what the tool knows about a repository that no metadata file says.

use core::fmt;
use core::ops::Range;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use tuffet_client::release::is_name;
use tuffet_keys::root::{Period, Periods};
use tuffet_keys::{Role, date};

use crate::author::is_digest;
use crate::{Error, Misuse, Rejected};

/// The file's name in a workspace.
pub const FILE: &str = "tuffet.toml";

/// The format that is written and read.
const FORMAT: u32 = 1;

/// How names of products, hardware ids and channels are made.
pub(crate) const NAME_RULE: &str =
    "1 to 32 lower-case letters, digits, dots, underscores and hyphens, a letter or digit first";

/// The contents of `tuffet.toml`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What this repository is, whoever serves it: SHA-256, in lower-case hex, of what the keys of root 1 signed.
    /// None before there is a workspace.
    pub root_1_sha256: Option<String>,
    /// The product: the first part of every target path.
    pub product: String,
    /// Hardware ids of the product.
    pub hardware: BTreeMap<String, Hardware>,
    /// How long the metadata of each role is good for.
    pub lifetimes: Lifetimes,
}

/// What the tool needs to know about a kind of device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Bytes of the largest image that its slot takes.
    pub slot_size: u32,
    /// The name of its flash map, for provisioning.
    pub flash_map: Option<String>,
}

/// How long metadata is good for, role by role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetimes {
    /// Of targets, which key holders sign.
    pub targets: Lifetime,
    /// Of snapshot, which `publish` signs.
    pub snapshot: Lifetime,
    /// Of timestamp, which `publish` signs.
    pub timestamp: Lifetime,
}

impl Default for Lifetimes {
    /// Those of [`Periods::default`], which a root states that was drafted without others: so the roles do not expire
    /// on one day.
    fn default() -> Lifetimes {
        Lifetimes::of(&Periods::default())
    }
}

impl Lifetimes {
    /// As the holders have it who signed a root with these periods.
    #[must_use]
    pub fn of(periods: &Periods) -> Lifetimes {
        // Every one of these roles has a period; without one a day would be the cautious choice.
        let lifetime = |role| Lifetime(format!("{}d", periods.of(&role).as_ref().map_or(1, Period::expiry)));
        Lifetimes {
            targets: lifetime(Role::Targets),
            snapshot: lifetime(Role::Snapshot),
            timestamp: lifetime(Role::Timestamp),
        }
    }
}

/// A length of time as a person writes it, `30d` or `12 hours`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lifetime(String);

impl Lifetime {
    /// Reads one; none if it is no duration, or not longer than nothing.
    pub fn parse(text: &str) -> Option<Lifetime> {
        // A date is where it is whenever one looks; a duration moves along.
        let from = |start| date::when(text, start).ok();
        let (early, late) = (from(0)?, from(1_000_000)?);
        (early > 0 && early != late).then(|| Lifetime(text.to_owned()))
    }

    /// The end of it, in seconds since 1970, when it starts at `now`.
    ///
    /// # Errors
    /// [`Rejected::Exhausted`] beyond the last date that can be written.
    pub fn after(&self, now: u64) -> Result<u64, Error> {
        date::when(&self.0, now).map_err(|_| Rejected::Exhausted { what: "date" }.into())
    }
}

impl fmt::Display for Lifetime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Config {
    /// A configuration without hardware.
    ///
    /// # Errors
    /// [`Misuse::BadName`].
    pub fn new(product: &str) -> Result<Config, Error> {
        check_name("product", product)?;
        let (hardware, lifetimes) = (BTreeMap::new(), Lifetimes::default());
        Ok(Config { root_1_sha256: None, product: product.to_owned(), hardware, lifetimes })
    }

    /// Adds a hardware id.
    ///
    /// # Errors
    /// [`Misuse::BadName`], or [`Misuse::Options`] for an empty slot or an id that is there already.
    pub fn add_hardware(&mut self, id: &str, hardware: Hardware) -> Result<(), Error> {
        check_name("hardware id", id)?;
        if hardware.slot_size == 0 {
            return Err(Misuse::Options { why: "a slot of 0 bytes takes no image" }.into());
        }
        if let Some(map) = &hardware.flash_map {
            check_name("flash map", map)?;
        }
        if self.hardware.insert(id.to_owned(), hardware).is_some() {
            return Err(Misuse::Options { why: "a hardware id was given twice" }.into());
        }
        Ok(())
    }

    /// The hardware of that id.
    ///
    /// # Errors
    /// [`Rejected::UnknownHardware`].
    pub fn hardware(&self, id: &str) -> Result<&Hardware, Error> {
        self.hardware.get(id).ok_or_else(|| {
            let known = self.hardware.keys().cloned().collect();
            Rejected::UnknownHardware { hardware: id.to_owned(), known }.into()
        })
    }

    /// Reads the file's text; `path` is for messages.
    ///
    /// # Errors
    /// [`Rejected::Config`] with the position.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Error> {
        let wrong = |span: Option<Range<usize>>, message: &str| {
            let (line, column) = position(text, span.map_or(0, |span| span.start));
            Error::from(Rejected::Config { path: path.to_owned(), line, column, message: message.to_owned() })
        };
        let file: File =
            toml::from_str(text).map_err(|error| wrong(error.span(), &one_line(error.message())))?;
        if *file.format.get_ref() != FORMAT {
            return Err(wrong(
                Some(file.format.span()),
                "unknown format; this version of tuffet knows format 1",
            ));
        }
        let Some(root_1_sha256) = file.root_1_sha256 else {
            let missing = "root-1-sha256 is missing; `tuffet-keys` showed it when root 1 was signed";
            return Err(wrong(Some(file.format.span()), missing));
        };
        if !is_digest(root_1_sha256.get_ref()) {
            return Err(wrong(Some(root_1_sha256.span()), "not a SHA-256 in lower-case hex"));
        }
        let mut products = file.products.into_inner().into_iter();
        let (Some((product, parts)), None) = (products.next(), products.next()) else {
            return Err(wrong(text.find("[products").map(|at| at..at), "there must be exactly one product"));
        };
        let refused = |span, error: Error| wrong(Some(span), one_line(&error.to_string()).as_str());
        let mut config = Config::new(product.get_ref()).map_err(|error| refused(product.span(), error))?;
        config.root_1_sha256 = Some(root_1_sha256.into_inner());
        for (id, entry) in parts.hardware {
            let slot_size = *entry.slot_size.get_ref();
            if slot_size == 0 {
                return Err(wrong(Some(entry.slot_size.span()), "a slot of 0 bytes takes no image"));
            }
            let hardware = Hardware { slot_size, flash_map: entry.flash_map };
            config.add_hardware(id.get_ref(), hardware).map_err(|error| refused(id.span(), error))?;
        }
        let lifetime = |role: Option<RoleTable>, default: Lifetime| match role {
            None => Ok(default),
            Some(RoleTable { expires }) => Lifetime::parse(expires.get_ref())
                .ok_or_else(|| wrong(Some(expires.span()), "not a duration; write it as 30d or `12 hours`")),
        };
        let defaults = config.lifetimes;
        config.lifetimes = Lifetimes {
            targets: lifetime(file.roles.targets, defaults.targets)?,
            snapshot: lifetime(file.roles.snapshot, defaults.snapshot)?,
            timestamp: lifetime(file.roles.timestamp, defaults.timestamp)?,
        };
        Ok(config)
    }

    /// The file's text, with comments for whoever edits it.
    pub fn to_text(&self) -> String {
        let Config { root_1_sha256, product, hardware, lifetimes } = self;
        let mut text = format!(
            "# What tuffet knows about this repository. Keys and thresholds are not here: the root has them.\n\
             format = {FORMAT}\n\n"
        );
        if let Some(digest) = root_1_sha256 {
            text.push_str(&format!(
                "# SHA-256 of what the keys of root 1 signed, as `tuffet-keys` showed it. It names this repository; a\n\
                 # directory with another root 1 is another repository, and is refused.\n\
                 root-1-sha256 = \"{digest}\"\n\n"
            ));
        }
        text.push_str(
            "# The kinds of devices. An image larger than slot-size (bytes) is refused before anything is signed;\n\
             # flash-map names the layout that `tuffet provision` writes.\n",
        );
        if hardware.is_empty() {
            text.push_str(&format!("[products.{product:?}]\n\n"));
            text.push_str(&format!("# [products.{product:?}.hardware.\"rev-a\"]\n# slot-size = 262144\n"));
            text.push_str("# flash-map = \"demo\"\n\n");
        }
        for (id, Hardware { slot_size, flash_map }) in hardware {
            text.push_str(&format!("[products.{product:?}.hardware.{id:?}]\nslot-size = {slot_size}\n"));
            if let Some(map) = flash_map {
                text.push_str(&format!("flash-map = {map:?}\n"));
            }
            text.push('\n');
        }
        text.push_str(
            "# How long a signature is good for: `30d`, `12 hours`. After it devices refuse the file, so that nobody\n\
             # can keep them from news for longer. Key holders sign targets; `tuffet publish` signs the other two, and\n\
             # must run again before they expire.\n",
        );
        for (role, lifetime) in [
            ("targets", &lifetimes.targets),
            ("snapshot", &lifetimes.snapshot),
            ("timestamp", &lifetimes.timestamp),
        ] {
            text.push_str(&format!("[roles.{role}]\nexpires = \"{lifetime}\"\n\n"));
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }
}

/// Whether a text may stand in a target path as `what`.
///
/// # Errors
/// [`Misuse::BadName`].
pub(crate) fn check_name(what: &'static str, text: &str) -> Result<(), Error> {
    if is_name(text) {
        return Ok(());
    }
    Err(Misuse::BadName { what, text: text.to_owned(), allowed: NAME_RULE }.into())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    format: Spanned<u32>,
    #[serde(rename = "root-1-sha256")]
    root_1_sha256: Option<Spanned<String>>,
    products: Spanned<BTreeMap<Spanned<String>, ProductTable>>,
    #[serde(default)]
    roles: RolesTable,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProductTable {
    #[serde(default)]
    hardware: BTreeMap<Spanned<String>, HardwareTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct HardwareTable {
    slot_size: Spanned<u32>,
    flash_map: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RolesTable {
    targets: Option<RoleTable>,
    snapshot: Option<RoleTable>,
    timestamp: Option<RoleTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleTable {
    expires: Spanned<String>,
}

/// Line and column, counted from 1, of a byte.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn one_line(message: &str) -> String {
    message.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration of a workspace without hardware.
    fn config(product: &str) -> Config {
        Config { root_1_sha256: Some("0a".repeat(32)), ..Config::new(product).unwrap() }
    }

    fn hardware(slot_size: u32, flash_map: Option<&str>) -> Hardware {
        Hardware { slot_size, flash_map: flash_map.map(str::to_owned) }
    }

    #[test]
    fn text_of_a_configuration_reads_back_as_the_same() {
        let mut config = config("thermo-2.x");
        assert_eq!(Config::parse(&config.to_text(), Path::new("t")).unwrap(), config);
        config.add_hardware("rev-a", hardware(1, None)).unwrap();
        config.add_hardware("rev.b", hardware(u32::MAX, Some("demo"))).unwrap();
        assert_eq!(Config::parse(&config.to_text(), Path::new("t")).unwrap(), config);
    }

    #[test]
    fn configuration_without_roles_has_the_default_lifetimes() {
        let text = format!("format = 1\nroot-1-sha256 = \"{}\"\n[products.p]\n", "0a".repeat(32));
        let config = Config::parse(&text, Path::new("t")).unwrap();
        assert_eq!(config.lifetimes, Lifetimes::default());
        assert_eq!(config.lifetimes.timestamp.after(0).unwrap(), 7 * 86_400);
        assert_eq!(config.lifetimes.targets.after(0).unwrap(), 180 * 86_400);
    }

    #[test]
    fn example_in_a_configuration_without_hardware_is_valid_when_uncommented() {
        let text = config("p").to_text();
        let text = text
            .replace("# [prod", "[prod")
            .replace("# slot-", "slot-")
            .replace("# flash-map =", "flash-map =");
        let config = Config::parse(&text, Path::new("t")).unwrap();
        assert_eq!(config.hardware("rev-a").unwrap(), &hardware(262_144, Some("demo")));
    }

    #[test]
    fn lifetime_that_is_no_duration_is_refused() {
        for good in ["30d", "12 hours", "1 year", "in 2 weeks", "1d 12h"] {
            assert!(Lifetime::parse(good).is_some(), "{good}");
        }
        for bad in ["", "0d", "-3d", "2027-01-01", "2027-01-01T00:00:00Z", "soon", "30"] {
            assert!(Lifetime::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn lifetime_beyond_the_last_date_is_refused() {
        let lifetime = Lifetime::parse("8000 years").unwrap();
        assert_eq!(lifetime.after(1_795_348_800), Err(Rejected::Exhausted { what: "date" }.into()));
    }

    #[test]
    fn hardware_twice_or_without_a_slot_is_refused() {
        let mut config = Config::new("p").unwrap();
        config.add_hardware("rev-a", hardware(1, None)).unwrap();
        assert!(matches!(
            config.add_hardware("rev-a", hardware(1, None)),
            Err(Error::Misuse(Misuse::Options { .. }))
        ));
        assert!(matches!(
            config.add_hardware("rev-b", hardware(0, None)),
            Err(Error::Misuse(Misuse::Options { .. }))
        ));
        assert!(matches!(
            config.add_hardware("", hardware(1, None)),
            Err(Error::Misuse(Misuse::BadName { .. }))
        ));
    }
}
