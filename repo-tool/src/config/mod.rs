//! `tuffet.toml`, the policy: what the tool knows about a repository that no metadata file says.

mod file;
mod text;

use core::fmt;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use tuffet_client::release::is_name;
use tuffet_keys::delegation::{bin_number, bin_of};
use tuffet_keys::key::PublicKey;
use tuffet_keys::root::{Devices, Periods};
use tuffet_keys::{Role, date};

use crate::{Error, Misuse, Rejected};

/// The file's name in a workspace.
pub const FILE: &str = "tuffet.toml";

/// The format that is written and read.
const FORMAT: u32 = 1;

/// How names of products, hardware ids, channels and roles are made.
pub(crate) const NAME_RULE: &str =
    "1 to 32 lower-case letters, digits, dots, underscores and hyphens, a letter or digit first";

/// The contents of `tuffet.toml`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// What this repository is, whoever serves it: SHA-256, in lower-case hex, of what the keys of root 1 signed.
    /// None before there is a workspace.
    pub root_1_sha256: Option<String>,
    /// Products by name, the first part of every target path.
    pub products: BTreeMap<String, Product>,
    /// How long the metadata of each top-level role are good for, where that is not what the newest root says.
    pub terms: BTreeMap<Role, Term>,
    /// Where what is published goes.
    pub storage: Storage,
    /// What `gc` keeps.
    pub retention: Retention,
    /// The oldest and smallest device, where it is smaller than the root says.
    pub devices: Devices,
}

/// A product: who signs for it, and the devices that it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Product {
    /// Its own role. None: the holders of targets sign for it.
    pub role: Option<Delegate>,
    /// The channels that there are; empty: any.
    pub channels: Vec<String>,
    /// Hardware ids.
    pub hardware: BTreeMap<String, Hardware>,
}

/// A delegated role of a product.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delegate {
    /// The role's name.
    pub name: String,
    /// Public keys of its holders: PEM files, seen from the workspace.
    pub keys: Vec<PathBuf>,
    /// How many of them must sign.
    pub threshold: u32,
    /// How long its metadata are good for.
    pub term: Term,
    /// Spread over 2^bits hash bins (TAP 15), which the same keys sign; none: the role itself has the targets.
    pub bins: Option<u32>,
}

/// What the tool needs to know about a kind of device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hardware {
    /// Bytes of the largest image that its slot takes.
    pub slot_size: u32,
    /// The name of its flash map, for provisioning.
    pub flash_map: Option<String>,
}

/// Where what is published goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Storage {
    /// A directory, seen from the workspace, or the URL of an S3 store.
    pub url: String,
    /// Talk http:// to another machine.
    pub danger_allow_plain_http: bool,
}

/// What `gc` keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Images that no channel lists are kept for this long after they were published.
    pub images: Length,
    /// What nothing needs any more is kept for this long, for devices that are under way.
    pub grace: Length,
}

/// How long metadata is good for, and for how long before that they are due to be signed anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Good for this long.
    pub expires: Length,
    /// Due in the last part of it.
    pub signing: Length,
}

impl Default for Storage {
    fn default() -> Storage {
        Storage { url: "public".to_owned(), danger_allow_plain_http: false }
    }
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { images: Length("180d".to_owned()), grace: Length("7d".to_owned()) }
    }
}

impl Default for Term {
    /// That of targets, of [`Periods::default`].
    fn default() -> Term {
        Term::of(&Periods::default(), &Role::Targets)
    }
}

impl Term {
    /// As the holders have it who signed a root with these periods.
    #[must_use]
    pub fn of(periods: &Periods, role: &Role) -> Term {
        // Every top-level role has a period; without one a day would be the cautious choice.
        let (expires, signing) =
            periods.of(role).map_or((24, 12), |period| (24 * period.expiry(), 24 * period.signing()));
        let length = |hours: u32| match hours % 24 {
            0 => Length(format!("{}d", hours / 24)),
            _ => Length(format!("{hours}h")),
        };
        Term { expires: length(expires), signing: length(signing) }
    }

    /// From when on, in seconds since 1970, a file is due that expires at `expires`.
    #[must_use]
    pub fn due(&self, expires: u64) -> u64 {
        expires.saturating_sub(self.signing.seconds(expires))
    }
}

/// A length of time as a person writes it, `30d` or `12 hours`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Length(String);

impl Length {
    /// Reads one; none if it is no duration, or not longer than nothing.
    pub fn parse(text: &str) -> Option<Length> {
        // A date is where it is whenever one looks; a duration moves along.
        let from = |start| date::when(text, start).ok();
        let (early, late) = (from(0)?, from(1_000_000)?);
        (early > 0 && early != late).then(|| Length(text.to_owned()))
    }

    /// The end of it, in seconds since 1970, when it starts at `now`.
    ///
    /// # Errors
    /// [`Rejected::Exhausted`] beyond the last date that can be written.
    pub fn after(&self, now: u64) -> Result<u64, Error> {
        date::when(&self.0, now).map_err(|_| Rejected::Exhausted { what: "date" }.into())
    }

    /// Seconds of it when it starts at `from`: a month has 28 to 31 days.
    #[must_use]
    pub fn seconds(&self, from: u64) -> u64 {
        self.after(from).map_or(u64::MAX, |end| end.saturating_sub(from))
    }
}

impl fmt::Display for Length {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Bits of the most hash bins: device limits hold a snapshot of 2^14 of them.
pub const MOST_BINS: u32 = 14;

impl Product {
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
}

impl Delegate {
    /// The prefix of the names of its bins.
    #[must_use]
    pub fn bin_prefix(&self) -> String {
        format!("{}.bin", self.name)
    }

    /// The keys, read.
    ///
    /// # Errors
    /// A file that is not there, or that is no public key.
    pub fn public_keys(&self, workspace: &Path) -> Result<Vec<PublicKey>, Error> {
        self.keys.iter().map(|path| Ok(PublicKey::read(&workspace.join(path))?)).collect()
    }
}

impl Config {
    /// A policy without products.
    #[must_use]
    pub fn new() -> Config {
        Config {
            root_1_sha256: None,
            products: BTreeMap::new(),
            terms: BTreeMap::new(),
            storage: Storage::default(),
            retention: Retention::default(),
            devices: Devices::default(),
        }
    }

    /// Adds a product without hardware.
    ///
    /// # Errors
    /// [`Misuse::BadName`], or [`Misuse::Options`] for one that is there already.
    pub fn add_product(&mut self, name: &str) -> Result<&mut Product, Error> {
        check_name("product", name)?;
        if self.products.contains_key(name) {
            return Err(Misuse::Options { why: "a product was given twice" }.into());
        }
        Ok(self.products.entry(name.to_owned()).or_default())
    }

    /// Changes the paths of public keys, which are seen from the current directory, to those that they will have in a
    /// workspace. Gives those paths and what is to be there.
    pub(crate) fn adopt_keys(&mut self) -> Result<BTreeMap<PathBuf, Vec<u8>>, Error> {
        let mut adopted = BTreeMap::new();
        for delegate in self.products.values_mut().filter_map(|product| product.role.as_mut()) {
            for path in &mut delegate.keys {
                let pem = PublicKey::read(path)?.to_pem().as_bytes().to_vec();
                let inside = Path::new("keys").join(path.file_name().unwrap_or_default());
                if adopted.insert(inside.clone(), pem.clone()).is_some_and(|other| other != pem) {
                    let why = "two public keys are in files of one name; rename one of them";
                    return Err(Misuse::Options { why }.into());
                }
                *path = inside;
            }
        }
        Ok(adopted)
    }

    /// The product of that name; without a name the only one that has this hardware id.
    ///
    /// # Errors
    /// [`Rejected::UnknownHardware`], [`Rejected::UnknownProduct`], or [`Misuse::WhichProduct`] where several have it.
    pub fn find(&self, product: Option<&str>, hardware: &str) -> Result<(&str, &Hardware), Error> {
        let named = self.products.iter().filter(|(name, _)| product.is_none_or(|product| product == *name));
        let mut named = named.peekable();
        if let (None, Some(product)) = (named.peek(), product) {
            let known = self.products.keys().cloned().collect();
            return Err(Rejected::UnknownProduct { product: product.to_owned(), known }.into());
        }
        let mut found =
            named.filter_map(|(name, product)| Some((name.as_str(), product.hardware.get(hardware)?)));
        match (found.next(), found.next()) {
            (Some(one), None) => Ok(one),
            (Some((one, _)), Some((other, _))) => {
                let (hardware, products) = (hardware.to_owned(), format!("{one} and {other}"));
                Err(Misuse::WhichProduct { hardware, products }.into())
            }
            (None, _) => {
                let of = |(name, product): (&String, &Product)| {
                    let ids: Vec<_> = product.hardware.keys().map(|id| format!("{name}/{id}")).collect();
                    ids
                };
                let known = self.products.iter().flat_map(of).collect();
                Err(Rejected::UnknownHardware { hardware: hardware.to_owned(), known }.into())
            }
        }
    }

    /// Whether the product may have this channel.
    ///
    /// # Errors
    /// [`Misuse::BadName`] or [`Rejected::UnknownChannel`].
    pub fn check_channel(&self, product: &str, channel: &str) -> Result<(), Error> {
        check_name("channel", channel)?;
        let known = self.products.get(product).map_or(&[][..], |product| &product.channels);
        if known.is_empty() || known.iter().any(|known| known == channel) {
            return Ok(());
        }
        Err(Rejected::UnknownChannel { channel: channel.to_owned(), known: known.to_vec() }.into())
    }

    /// Every delegated role, with its product's name.
    pub fn delegates(&self) -> impl Iterator<Item = (&str, &Delegate)> {
        self.products.iter().filter_map(|(name, product)| Some((name.as_str(), product.role.as_ref()?)))
    }

    /// The delegate whose role, or one of whose bins, this is.
    pub fn delegate(&self, role: &Role) -> Option<&Delegate> {
        let Role::Delegated(name) = role else { return None };
        self.delegates().map(|(_, delegate)| delegate).find(|delegate| {
            let bin = delegate.bins.and_then(|bits| bin_number(&delegate.bin_prefix(), bits, name));
            delegate.name == *name || bin.is_some()
        })
    }

    /// The role in whose file a target is, by its path.
    #[must_use]
    pub fn role_of(&self, path: &str) -> Role {
        let product = path.split('/').next().and_then(|product| self.products.get(product));
        let Some(delegate) = product.and_then(|product| product.role.as_ref()) else { return Role::Targets };
        match delegate.bins {
            None => Role::Delegated(delegate.name.clone()),
            Some(bits) => Role::Delegated(bin_of(&delegate.bin_prefix(), bits, path)),
        }
    }

    /// How long the metadata of a role are good for: as it stands here, else as the root says.
    #[must_use]
    pub fn term(&self, role: &Role, root: Option<&Periods>) -> Term {
        match self.delegate(role) {
            Some(delegate) => delegate.term.clone(),
            None => {
                let of_root =
                    || root.map_or_else(|| Term::of(&Periods::default(), role), |it| Term::of(it, role));
                self.terms.get(role).cloned().unwrap_or_else(of_root)
            }
        }
    }
}

impl Default for Config {
    fn default() -> Config {
        Config::new()
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

#[cfg(test)]
mod tests;
