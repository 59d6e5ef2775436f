//! Whoever stole the online keys, and a release key on top or two: what a device then believes, and what not.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tuffet_client::release::{Candidate, Hex, Image};
use tuffet_keys::Role;
use tuffet_keys::key::SigningKey;

use super::attacker::newest;
use super::team::{CHANNEL, PRODUCT};
use crate::Error;
use crate::author::{Dates, Target};
use crate::document::{self, Changes, Document, Listing};

/// The version that he gives to snapshot and timestamp: so far ahead that no honest one follows.
pub const FAR: u32 = 4_000_000_000;

/// His keys.
pub struct Thief {
    pub(super) snapshot: Arc<SigningKey>,
    pub(super) timestamp: Arc<SigningKey>,
    pub(super) releases: Vec<Arc<SigningKey>>,
}

impl Thief {
    /// Metadata that release an image of his, `firmware`, for `hardware`, on top of `today`'s: targets under the signatures
    /// that he can make, the rest signed as it must be. `now` in seconds since 1970.
    ///
    /// # Errors
    /// What signing says.
    ///
    /// # Panics
    /// If today's metadata are none.
    pub fn forge(
        &self,
        today: &BTreeMap<String, Vec<u8>>,
        hardware: &str,
        firmware: &[u8],
        now: u64,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let dates = Dates { issued: now, expires: now + 30 * 24 * 60 * 60 };
        let honest = today[&newest(today, "targets")].clone();
        let honest = Document::parse(honest, &Role::Targets, Path::new("targets.json"))?;
        let sheet = honest.sheet()?;
        let mut changes = Changes::default();
        let sha256: [u8; 32] = Sha256::digest(firmware).into();
        let length = u32::try_from(firmware.len()).expect("an image is short");
        let path = format!("{PRODUCT}/{hardware}/versions/6.6.6/lamp.bin");
        changes.put_file(&path, &Target { sha256: Hex(&sha256).to_string(), length });
        let entry = format!("{PRODUCT}/{hardware}/{CHANNEL}/release");
        let mut listed = sheet.entry(&entry)?;
        let fixed = "the path and the version are short";
        listed.candidates.insert(
            0,
            Candidate {
                sequence: 666,
                counter: 0,
                minimum: 0,
                version: "6.6.6".try_into().expect(fixed),
                image: Image { path: path.as_str().try_into().expect(fixed), length, sha256 },
                rollout: None,
            },
        );
        changes.put_entry(&entry, &listed)?;

        let version = honest.header.version + 1;
        let keys = self.releases.iter().map(|key| &**key);
        let targets = document::sign(&sheet.edited(version, dates, &changes), keys)?;
        let mut files = self.list(version, &targets, dates)?;
        files.insert(format!("{version}.targets.json"), targets);
        Ok(files)
    }

    /// Metadata that give devices the targets of an earlier day again, which two release holders signed then. `now` in seconds
    /// since 1970.
    ///
    /// # Errors
    /// What signing says.
    ///
    /// # Panics
    /// If that day's metadata are none.
    pub fn roll_back(
        &self,
        day: &BTreeMap<String, Vec<u8>>,
        now: u64,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let dates = Dates { issued: now, expires: now + 30 * 24 * 60 * 60 };
        let name = newest(day, "targets");
        let honest = Document::parse(day[&name].clone(), &Role::Targets, Path::new("targets.json"))?;
        self.list(honest.header.version, &day[&name], dates)
    }

    /// Snapshot and timestamp that list this version of targets.
    fn list(&self, version: u32, targets: &[u8], dates: Dates) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let sign = |text: &str, key: &SigningKey| document::sign(text, [key]);
        let listed = [(&Role::Targets, version, targets)];
        let snapshot = sign(&Listing::default().edited(FAR, dates, &listed), &self.snapshot)?;
        let timestamp = sign(&document::timestamp(FAR, dates, FAR, &snapshot, &[]), &self.timestamp)?;
        Ok(BTreeMap::from([
            (format!("{FAR}.snapshot.json"), snapshot),
            ("timestamp.json".to_owned(), timestamp),
        ]))
    }
}
