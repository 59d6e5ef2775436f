//! Whoever owns the mirror: every byte that a device fetches is his to choose, but no key is his.

use std::collections::BTreeMap;

use serde_json::Value;

use super::mirror::{Fault, Mirror};

/// What he tries. Each is one change to a mirror that a device would otherwise accept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attack {
    /// One bit of the image is another.
    FlippedImageByte,
    /// An older timestamp, honestly signed on its day.
    ReplayedTimestamp,
    /// The targets metadata with one of its signatures taken away.
    SignatureMissing,
    /// Yesterday's targets under today's snapshot.
    DifferentDays,
    /// A timestamp that never ends.
    EndlessFile,
    /// The image that was released, and signed, for other hardware.
    OtherHardware,
    /// A repository of his own, whose keys he has, with a release of his own.
    OwnRepository,
}

/// What he knows: all that was ever public, and what he made himself.
pub struct Loot<'a> {
    /// The metadata files after each publication, the oldest first; two at least.
    pub history: &'a [BTreeMap<String, Vec<u8>>],
    /// The request path of the image that the device wants, with its leading slash, and the image.
    pub image: (String, &'a [u8]),
    /// The image for other hardware.
    pub other_image: &'a [u8],
    /// The metadata files of his own repository.
    pub own: &'a BTreeMap<String, Vec<u8>>,
}

impl Attack {
    /// All of them.
    pub const ALL: [Attack; 7] = [
        Attack::FlippedImageByte,
        Attack::ReplayedTimestamp,
        Attack::SignatureMissing,
        Attack::DifferentDays,
        Attack::EndlessFile,
        Attack::OtherHardware,
        Attack::OwnRepository,
    ];

    /// What he does, for a person to read.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Attack::FlippedImageByte => "flips one bit in the image",
            Attack::ReplayedTimestamp => "serves the timestamp of an earlier day again",
            Attack::SignatureMissing => "takes one of two signatures from the targets metadata",
            Attack::DifferentDays => "serves the targets of one day under the snapshot of another",
            Attack::EndlessFile => "sends a timestamp that never ends",
            Attack::OtherHardware => "serves the signed image of other hardware",
            Attack::OwnRepository => "serves a repository of his own, signed with keys of his own",
        }
    }

    /// Makes the mirror do it.
    ///
    /// # Panics
    /// If the loot lacks what the attack needs.
    pub fn mount(self, mirror: &Mirror, loot: &Loot<'_>) {
        let (today, before) = match loot.history {
            [.., before, today] => (today, before),
            _ => panic!("there was no earlier day"),
        };
        let targets = newest(today, "targets");
        let (image_path, image) = &loot.image;
        let path = |name: &str| format!("/{name}");
        match self {
            Attack::FlippedImageByte => {
                let mut image = image.to_vec();
                let middle = image.len() / 2;
                image[middle] ^= 1;
                mirror.set_fault(image_path, Fault::Replace(image));
            }
            Attack::ReplayedTimestamp => {
                mirror.set_fault("/timestamp.json", Fault::Replace(before["timestamp.json"].clone()));
            }
            Attack::SignatureMissing => {
                let file = without_a_signature(&today[&targets]);
                mirror.set_fault(&path(&targets), Fault::Replace(file));
            }
            Attack::DifferentDays => {
                let file = before[&newest(before, "targets")].clone();
                mirror.set_fault(&path(&targets), Fault::Replace(file));
            }
            Attack::EndlessFile => mirror.set_fault("/timestamp.json", Fault::Endless),
            Attack::OtherHardware => {
                mirror.set_fault(image_path, Fault::Replace(loot.other_image.to_vec()));
            }
            Attack::OwnRepository => {
                for (name, file) in loot.own {
                    mirror.set_fault(&path(name), Fault::Replace(file.clone()));
                }
            }
        }
    }
}

/// The name of a role's file with the highest version.
pub(super) fn newest(files: &BTreeMap<String, Vec<u8>>, role: &str) -> String {
    let version = |name: &String| name.strip_suffix(&format!(".{role}.json"))?.parse::<u32>().ok();
    let newest = files.keys().filter_map(version).max();
    format!("{}.{role}.json", newest.expect("every publication has one"))
}

/// The file with one signature fewer, published as canonically as before.
fn without_a_signature(file: &[u8]) -> Vec<u8> {
    let mut envelope: Value = serde_json::from_slice(file).expect("what was published is JSON");
    envelope["signatures"].as_array_mut().expect("an envelope has signatures").pop();
    tuffet_keys::canonical::published_bytes(&envelope).expect("what was canonical still is")
}
