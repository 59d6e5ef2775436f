//! Of targets: releases, images, rollouts.

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tuffet_client::limits::CANDIDATES;

use super::Found;
use crate::encoding::hex;
use crate::review::Built;
use crate::review::comparison::Versions;
use crate::text::plain;

impl Found {
    pub(super) fn targets(&mut self, versions: &Versions, built: &[Built]) {
        let Versions { before, after: signed, .. } = versions;
        for (path, target) in signed["targets"].as_object().into_iter().flatten() {
            let old = &before["targets"][path];
            self.salts(path, target, old);
            self.rewritten(path, target, old);
            // A path whose candidates nobody knows before has none to jump from.
            if old.is_null() {
                continue;
            }
            let place = plain(path);
            let highest = |target: &Value, member: &str| {
                let candidates = target["custom"]["candidates"].as_array();
                candidates.into_iter().flatten().filter_map(|candidate| candidate[member].as_u64()).max()
            };
            for (member, words) in [("sequence", "sequence"), ("counter", "security counter")] {
                let (Some(was), Some(is)) = (highest(old, member), highest(target, member)) else { continue };
                if is > was.saturating_add(1) {
                    let text = format!("{place}: the highest {words} goes from {was} to {is}");
                    self.warn(if member == "sequence" { "sequence-jump" } else { "counter-jump" }, text);
                }
                if is < was {
                    let text = format!("{place}: the highest {words} goes back from {was} to {is}");
                    self.warn(if member == "sequence" { "sequence-back" } else { "counter-back" }, text);
                }
            }
        }
        for (path, old) in before["targets"].as_object().into_iter().flatten() {
            if signed["targets"].get(path).is_none() && !candidates(old).is_empty() {
                self.warn("release-gone", format!("{} is gone, with all its releases", plain(path)));
            }
        }
        self.rebuilt(signed, before, built);
    }

    /// What was verified under a name and is something else under it now.
    fn rewritten(&mut self, path: &str, target: &Value, old: &Value) {
        let (place, known, now) = (plain(path), candidates(old), candidates(target));
        if known.is_empty() && !old.is_null() && old["hashes"] != target["hashes"] {
            self.warn("target-rewritten", format!("{place} had other bytes before"));
        }
        let sequence = |candidate: &Value| candidate["sequence"].as_u64();
        let lowest = now.iter().filter_map(sequence).min();
        for old in &known {
            let number = sequence(old).map_or_else(|| "?".to_owned(), |number| number.to_string());
            let version = plain(old["version"].as_str().unwrap_or("?"));
            match now.iter().find(|new| new["sequence"] == old["sequence"]) {
                // A ramp may change; what is installed may not.
                Some(new) => {
                    for member in ["version", "image", "counter", "minimum"] {
                        if new[member] != old[member] {
                            let text = format!(
                                "{place}: release {version}, sequence {number}, had another {member} before"
                            );
                            self.warn("release-rewritten", text);
                        }
                    }
                }
                // One falls off the end of a full list.
                None if now.len() == CANDIDATES && sequence(old) < lowest => {}
                None => {
                    let text = format!("{place}: release {version}, sequence {number}, is gone");
                    self.warn("release-gone", text);
                }
            }
        }
    }

    /// Images that the holder built, held against those that are new, and the other way round.
    fn rebuilt(&mut self, signed: &Value, before: &Value, built: &[Built]) {
        for Built { file, target, elsewhere, .. } in built {
            if target.is_none() && !elsewhere {
                let text = format!("no target that is to be signed has the bytes of {}", plain(file));
                self.warn("rebuild-differs", text);
            }
        }
        if built.is_empty() {
            return;
        }
        for (path, target) in signed["targets"].as_object().into_iter().flatten() {
            let new = before["targets"][path] != *target && candidates(target).is_empty();
            let seen = built.iter().any(|built| target["hashes"]["sha256"] == built.sha256.as_str());
            if new && !seen {
                self.warn(
                    "not-rebuilt",
                    format!("{} is new, and none of the files has its bytes", plain(path)),
                );
            }
        }
    }

    /// Rollouts whose drafter chose who goes first: of 2^128 salts one puts any device first.
    fn salts(&mut self, path: &str, target: &Value, old: &Value) {
        let candidates =
            |target: &Value| target["custom"]["candidates"].as_array().cloned().unwrap_or_default();
        let known = candidates(old);
        for candidate in candidates(target) {
            let Some(written) = candidate["rollout"]["salt"].as_str() else { continue };
            let sequence = candidate["sequence"].as_u64().and_then(|number| u32::try_from(number).ok());
            let derived = sequence.map(|sequence| hex(&salt(path, sequence)));
            let seen = known.iter().any(|other| {
                other["sequence"] == candidate["sequence"]
                    && other["rollout"]["salt"] == candidate["rollout"]["salt"]
            });
            if !seen && derived.as_deref() != Some(written) {
                let (place, version) = (plain(path), plain(candidate["version"].as_str().unwrap_or("?")));
                let text = format!(
                    "{place}: the salt of {version}'s rollout is not the one that follows from its path and sequence: \
                     somebody chose which devices go first"
                );
                self.warn("salt-of-its-own", text);
            }
        }
    }
}

/// The candidates of a release entry; none of another target.
fn candidates(target: &Value) -> Vec<Value> {
    target["custom"]["candidates"].as_array().cloned().unwrap_or_default()
}

/// The salt of a release's rollout, by the path of its entry and its sequence: different for each, so that not the same
/// devices are always the first, and nobody's choice. It need not be secret, and the same draft gives the same bytes.
pub fn salt(entry: &str, sequence: u32) -> [u8; 16] {
    let digest = Sha256::new().chain_update(entry).chain_update(sequence.to_be_bytes()).finalize();
    let mut salt = [0; 16];
    salt.copy_from_slice(&digest[..16]);
    salt
}
