//! Reading `tuffet.toml`: every fault has its line and column.

use core::ops::Range;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use tuffet_keys::Role;
use tuffet_keys::root::{Devices, Periods};

use super::{
    Config, Delegate, FORMAT, Hardware, Length, MOST_BINS, Product, Retention, Storage, Term, check_name,
};
use crate::author::is_digest;
use crate::{Error, Rejected};

impl Config {
    /// Reads the file's text; `path` is for messages.
    ///
    /// # Errors
    /// [`Rejected::Config`] with the position.
    pub fn parse(text: &str, path: &Path) -> Result<Config, Error> {
        let located = |Wrong(span, message): Wrong| {
            let (line, column) = position(text, span.start);
            Rejected::Config { path: path.to_owned(), line, column, message }.into()
        };
        let file: File = toml::from_str(text)
            .map_err(|error| Wrong(error.span().unwrap_or(0..0), one_line(error.message())))
            .map_err(located)?;
        file.check().map_err(located)
    }
}

/// What is wrong, and where: bytes of the text.
struct Wrong(Range<usize>, String);

fn wrong<T>(span: Range<usize>, message: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong(span, message.into()))
}

/// A fault that another part found in what stands here.
fn at<T>(span: Range<usize>, result: Result<T, Error>) -> Result<T, Wrong> {
    result.map_err(|error| Wrong(span, one_line(&error.to_string())))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    format: Spanned<u32>,
    #[serde(rename = "root-1-sha256")]
    root_1_sha256: Option<Spanned<String>>,
    products: Spanned<BTreeMap<Spanned<String>, ProductTable>>,
    #[serde(default)]
    roles: RolesTable,
    #[serde(default)]
    storage: StorageTable,
    #[serde(default)]
    retention: RetentionTable,
    #[serde(default)]
    devices: BTreeMap<Spanned<String>, Spanned<DeviceValue>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ProductTable {
    role: Option<Spanned<DelegateTable>>,
    #[serde(default)]
    channels: Vec<Spanned<String>>,
    #[serde(default)]
    hardware: BTreeMap<Spanned<String>, HardwareTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DelegateTable {
    name: Option<Spanned<String>>,
    keys: Spanned<Vec<PathBuf>>,
    threshold: Spanned<u32>,
    expires: Option<Spanned<String>>,
    signing: Option<Spanned<String>>,
    bins: Option<Spanned<u32>>,
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
    targets: Option<Spanned<TermTable>>,
    snapshot: Option<Spanned<TermTable>>,
    timestamp: Option<Spanned<TermTable>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TermTable {
    expires: Option<Spanned<String>>,
    signing: Option<Spanned<String>>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
struct StorageTable {
    url: Option<Spanned<String>>,
    danger_allow_plain_http: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RetentionTable {
    images: Option<Spanned<String>>,
    grace: Option<Spanned<String>>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DeviceValue {
    Limit(u32),
    Schemes(Vec<String>),
}

impl File {
    fn check(self) -> Result<Config, Wrong> {
        if *self.format.get_ref() != FORMAT {
            return wrong(self.format.span(), "unknown format; this version of tuffet knows format 1");
        }
        let Some(root_1_sha256) = self.root_1_sha256 else {
            let missing = "root-1-sha256 is missing; `tuffet-keys` showed it when root 1 was signed";
            return wrong(self.format.span(), missing);
        };
        if !is_digest(root_1_sha256.get_ref()) {
            return wrong(root_1_sha256.span(), "not a SHA-256 in lower-case hex");
        }
        let mut config = Config { root_1_sha256: Some(root_1_sha256.into_inner()), ..Config::new() };
        if self.products.get_ref().is_empty() {
            return wrong(self.products.span(), "there must be a product");
        }
        let mut roles = BTreeSet::new();
        for (name, table) in self.products.into_inner() {
            let product = at(name.span(), config.add_product(name.get_ref()))?;
            table.fill(name.get_ref(), product)?;
            if let Some(delegate) = &product.role
                && !roles.insert(delegate.name.clone())
            {
                let again =
                    format!("another product has the role {}; give this one another name", delegate.name);
                return wrong(name.span(), again);
            }
        }
        let RolesTable { targets, snapshot, timestamp } = self.roles;
        for (role, table) in
            [(Role::Targets, targets), (Role::Snapshot, snapshot), (Role::Timestamp, timestamp)]
        {
            let Some(table) = table else { continue };
            let (span, TermTable { expires, signing }) = (table.span(), table.into_inner());
            let term = term(span, &Term::of(&Periods::default(), &role), expires, signing)?;
            config.terms.insert(role, term);
        }
        config.storage = self.storage.check()?;
        config.retention = self.retention.check()?;
        config.devices = devices(self.devices)?;
        Ok(config)
    }
}

impl ProductTable {
    fn fill(self, name: &str, product: &mut Product) -> Result<(), Wrong> {
        for channel in self.channels {
            at(channel.span(), check_name("channel", channel.get_ref()))?;
            product.channels.push(channel.into_inner());
        }
        for (id, entry) in self.hardware {
            let slot_size = *entry.slot_size.get_ref();
            if slot_size == 0 {
                return wrong(entry.slot_size.span(), "a slot of 0 bytes takes no image");
            }
            let hardware = Hardware { slot_size, flash_map: entry.flash_map };
            at(id.span(), product.add_hardware(id.get_ref(), hardware))?;
        }
        let Some(table) = self.role else { return Ok(()) };
        let span = table.span();
        let bins = table.get_ref().bins.as_ref().map(Spanned::span);
        product.role = Some(table.into_inner().check(name, span)?);
        match bins {
            // A sequence is one above that of every channel, and bins cannot be searched for them.
            Some(span) if product.channels.is_empty() => wrong(span, "bins need the channels to be listed"),
            _ => Ok(()),
        }
    }
}

impl DelegateTable {
    fn check(self, product: &str, span: Range<usize>) -> Result<Delegate, Wrong> {
        let name_span = self.name.as_ref().map_or(span.clone(), Spanned::span);
        let name = self.name.map_or_else(|| product.to_owned(), Spanned::into_inner);
        at(name_span.clone(), check_name("role", &name))?;
        if Role::from_name(&name).is_some() {
            return wrong(name_span, "a top-level role has this name; give another");
        }
        let (count, threshold) = (self.keys.get_ref().len(), *self.threshold.get_ref());
        if count == 0 {
            return wrong(self.keys.span(), "a role needs keys; give the files of its holders' public keys");
        }
        if threshold == 0 || threshold as usize > count {
            return wrong(
                self.threshold.span(),
                format!("there are {count} keys, so 1 to {count} of them may be needed"),
            );
        }
        let bins = self.bins.map(|bins| match *bins.get_ref() {
            bits @ 1..=MOST_BINS => Ok(bits),
            _ => wrong(
                bins.span(),
                format!("2 to the power of 1 to {MOST_BINS} is how many bins there may be"),
            ),
        });
        let term = term(span, &Term::default(), self.expires, self.signing)?;
        let keys = self.keys.into_inner();
        Ok(Delegate { name, keys, threshold, term, bins: bins.transpose()? })
    }
}

impl StorageTable {
    fn check(self) -> Result<Storage, Wrong> {
        let mut storage =
            Storage { danger_allow_plain_http: self.danger_allow_plain_http, ..Storage::default() };
        if let Some(url) = self.url {
            if url.get_ref().is_empty() {
                return wrong(url.span(), "write a directory, or s3://BUCKET/PREFIX");
            }
            storage.url = url.into_inner();
        }
        Ok(storage)
    }
}

impl RetentionTable {
    fn check(self) -> Result<Retention, Wrong> {
        let defaults = Retention::default();
        let of =
            |written: Option<Spanned<String>>, default| written.map_or(Ok(default), |text| length(&text));
        Ok(Retention { images: of(self.images, defaults.images)?, grace: of(self.grace, defaults.grace)? })
    }
}

fn term(
    span: Range<usize>,
    default: &Term,
    expires: Option<Spanned<String>>,
    signing: Option<Spanned<String>>,
) -> Result<Term, Wrong> {
    let expires = expires.as_ref().map(length).transpose()?;
    let signing_span = signing.as_ref().map_or(span, Spanned::span);
    let signing = match (&expires, signing) {
        (_, Some(signing)) => length(&signing)?,
        (None, None) => default.signing.clone(),
        // A fifth, as the defaults have it.
        (Some(expires), None) => {
            Length::parse(&format!("{}s", (expires.seconds(0) / 5).max(1))).unwrap_or(default.signing.clone())
        }
    };
    let expires = expires.unwrap_or(default.expires.clone());
    if signing.seconds(0) >= expires.seconds(0) {
        return wrong(signing_span, format!("signing must be shorter than expires, which is {expires}"));
    }
    Ok(Term { expires, signing })
}

fn length(text: &Spanned<String>) -> Result<Length, Wrong> {
    let message = "not a duration; write it as 30d or `12 hours`";
    Length::parse(text.get_ref()).map_or_else(|| wrong(text.span(), message), Ok)
}

fn devices(written: BTreeMap<Spanned<String>, Spanned<DeviceValue>>) -> Result<Devices, Wrong> {
    let mut devices = Devices::default();
    for (name, value) in written {
        match (name.get_ref().as_str(), value.get_ref()) {
            ("schemes", DeviceValue::Schemes(schemes)) => {
                if schemes[..] != ["ecdsa-sha2-nistp256"] {
                    let known = "devices verify ecdsa-sha2-nistp256 and nothing else";
                    return wrong(value.span(), known);
                }
            }
            (limit, DeviceValue::Limit(number)) => {
                let set = devices.set(&format!("{limit}={number}"));
                at(name.span(), set.map_err(Error::from))?;
            }
            _ => return wrong(value.span(), "a limit is a number; `schemes` is a list"),
        }
    }
    Ok(devices)
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
