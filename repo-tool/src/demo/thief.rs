//! Whoever stole the online keys, and one release key on top: what a device then believes, and what not.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tuffet_client::release::{Candidate, Hex, Image};
use tuffet_keys::canonical;
use tuffet_keys::key::SigningKey;
use tuffet_keys::metadata::Envelope;

use super::attacker::newest;
use super::team::{CHANNEL, HARDWARE, PRODUCT};
use crate::Error;
use crate::author::{self, Dates, Target, Targets};

/// The version that he gives to snapshot and timestamp: so far ahead that no honest one follows.
pub const FAR: u32 = 4_000_000_000;

/// His keys.
pub struct Thief {
    pub(super) snapshot: Arc<SigningKey>,
    pub(super) timestamp: Arc<SigningKey>,
    pub(super) release: Arc<SigningKey>,
}

impl Thief {
    /// Metadata that release an image of his, `firmware`, on top of `today`'s: targets under one signature of
    /// two, the rest signed as it must be. `now` in seconds since 1970.
    ///
    /// # Errors
    /// What signing says.
    ///
    /// # Panics
    /// If today's metadata are none.
    pub fn forge(
        &self,
        today: &BTreeMap<String, Vec<u8>>,
        firmware: &[u8],
        now: u64,
    ) -> Result<BTreeMap<String, Vec<u8>>, Error> {
        let dates = Dates { issued: now, expires: now + 30 * 24 * 60 * 60 };
        let honest = Envelope::parse(&today[&newest(today, "targets")])?;
        let mut targets = Targets::from_signed(&honest.signed).expect("what was published are targets");
        let sha256: [u8; 32] = Sha256::digest(firmware).into();
        let length = u32::try_from(firmware.len()).expect("an image is short");
        let path = format!("{PRODUCT}/{HARDWARE}/versions/6.6.6/lamp.bin");
        targets.insert(&path, &Target { sha256: Hex(&sha256).to_string(), length });
        let entry = format!("{PRODUCT}/{HARDWARE}/{CHANNEL}/release");
        let mut candidates = targets.candidates(&entry)?;
        let fixed = "the path and the version are short";
        candidates.insert(
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
        targets.put_candidates(&entry, &candidates)?;

        let version = u32::try_from(honest.signed["version"].as_u64().unwrap_or(0)).unwrap_or(0) + 1;
        let targets = sign(&targets.signed(version, dates), &self.release)?;
        let snapshot = sign(&author::snapshot(FAR, dates, version, &targets), &self.snapshot)?;
        let timestamp = sign(&author::timestamp(FAR, dates, FAR, &snapshot), &self.timestamp)?;
        Ok(BTreeMap::from([
            (format!("{version}.targets.json"), targets),
            (format!("{FAR}.snapshot.json"), snapshot),
            ("timestamp.json".to_owned(), timestamp),
        ]))
    }
}

fn sign(signed: &Value, key: &SigningKey) -> Result<Vec<u8>, Error> {
    let signature = key.sign(&canonical::signed_bytes(signed)?)?;
    let signatures = vec![(key.public().keyid().to_owned(), signature)];
    Ok(Envelope { signed: signed.clone(), signatures }.to_bytes()?)
}
