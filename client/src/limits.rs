//! Every bound of the verifier, with its unit and its reason. To reach one is a typed error.
//!
//! A profile is a value, so that the repository tool can rehearse on a host what its smallest device will say.
//! Nothing here loosens a check: with larger bounds more honest files are read, and no other ones.

use crate::Role;

/// Open objects and arrays at one moment. A release entry's image hash, the deepest that we read, is
/// nine deep; the rest is left for members that we skip.
pub const DEPTH: usize = 12;

/// Roles from `targets` down to one that holds a target: four delegations, one below the other, and `targets`.
pub const CHAIN: usize = 5;

/// Keys in one root, or in one role's delegations, at the most: their places are the bits of a word.
pub const KEYS: usize = 32;

/// Delegated roles whose versions the device keeps as floors, and asks a snapshot for before it knows that
/// it needs them: those on the way to its release and its image.
pub const TRACKED: usize = 4;

/// Bytes of a tracked role's name. A role with a longer one is verified like any other, and not tracked.
pub const TRACKED_NAME: usize = 32;

/// Images that a timestamp may halt at one moment.
pub const HALTS: usize = 8;

/// Bytes of a target path of ours.
pub const PATH: usize = 160;

/// Bytes of a product, hardware or channel name.
pub const NAME: usize = 32;

/// Bytes of a release's version, which is for people.
pub const VERSION_TEXT: usize = 32;

/// Candidates in a release entry.
pub const CANDIDATES: usize = 8;

/// Bytes that a device keeps a root's keys in.
pub const ROOT: usize = DEVICE.key_bytes();

/// What a kept key takes beside itself: eight bytes for its keyid, its kind, and its length.
pub(crate) const KEY_HEAD: usize = 11;

/// What a kept signature takes beside itself: eight bytes for its keyid, and its length.
pub(crate) const SIGNATURE_HEAD: usize = 10;

/// The bounds of one kind of device.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Keys in one root, 1 to [`KEYS`].
    pub keys: usize,
    /// Bytes of a public key.
    pub key: usize,
    /// Signatures in one file.
    pub signatures: usize,
    /// Bytes of a signature. A longer one is there, and never counts.
    pub signature: usize,
    /// Bytes of the scanner's buffer: the keys on the way to a value, and the value if it is a string.
    pub text: usize,
    /// Delegated roles that one search visits.
    pub roles: usize,
    /// Bytes of their names, with one byte for each.
    pub names: usize,
    /// Bytes of `signed` that are kept for keys which sign a message rather than its digest.
    pub message: usize,
    /// Bytes of a root file (5.3.3).
    pub root_file: u32,
    /// Bytes of a timestamp file (5.4.1).
    pub timestamp_file: u32,
    /// Bytes of a snapshot file whose length the timestamp does not state (5.5.1).
    pub snapshot_file: u32,
    /// Bytes of a targets file whose length the snapshot does not state (5.6.1).
    pub targets_file: u32,
    /// Roots walked in one cycle (5.3.3, the specification's Y). A longer chain takes another cycle, which goes
    /// on where this one stored its last root.
    pub roots: u32,
}

/// A device with a few KiB of RAM.
pub const DEVICE: Limits = Limits {
    // Three to five holders for root and targets, one online key each for snapshot and timestamp, and room
    // for a rotation that adds before it removes.
    keys: 12,
    // A compressed P-256 point.
    key: 33,
    // Thresholds of old and new root together, and a few to spare.
    signatures: 8,
    // An ASN.1 DER ECDSA signature over P-256.
    signature: 72,
    // A P-256 key in PEM has 178 bytes under 80 bytes of keys; a target path 160 under 20.
    text: 320,
    roles: 8,
    names: 160,
    // P-256 signs digests.
    message: 0,
    // Twelve keys and eight signatures take 6 KiB.
    root_file: 32 * 1024,
    // One takes 600 bytes; hashes, halts and signatures may come.
    timestamp_file: 16 * 1024,
    // The size costs a device time, not memory: this is a few minutes of a slow link.
    snapshot_file: 4 * 1024 * 1024,
    targets_file: 16 * 1024 * 1024,
    // A root a month for five years.
    roots: 64,
};

/// A host: whatever other TUF repositories have, RSA keys of 4096 bits included.
pub const HOST: Limits = Limits {
    keys: KEYS,
    // RSAPublicKey of RFC 8017 with a modulus of 4096 bits.
    key: 526,
    signatures: 64,
    signature: 512,
    text: 16 * 1024,
    roles: 32,
    names: 4096,
    message: 1024 * 1024,
    root_file: 512 * 1024,
    timestamp_file: 64 * 1024,
    snapshot_file: 64 * 1024 * 1024,
    targets_file: 256 * 1024 * 1024,
    roots: 256,
};

impl Limits {
    /// Bytes that a root's keys take.
    #[must_use]
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "evaluated when a constant is made, where it would not compile"
    )]
    pub const fn key_bytes(&self) -> usize {
        self.keys * (KEY_HEAD + self.key)
    }

    /// Bytes that all signatures of a file take.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "evaluated when a constant is made, where it would not compile"
    )]
    const fn signature_bytes(&self) -> usize {
        self.signatures * (SIGNATURE_HEAD + self.signature)
    }

    /// Bytes of memory that a cycle needs beside the trusted state.
    #[must_use]
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "evaluated when a constant is made, where it would not compile"
    )]
    pub const fn memory(&self) -> usize {
        self.text + self.key_bytes() + self.signature_bytes() + self.names + self.message
    }

    /// Bytes of a file of this role whose length nobody stated.
    pub(crate) fn of(&self, role: Role) -> u32 {
        match role {
            Role::Root => self.root_file,
            Role::Timestamp => self.timestamp_file,
            Role::Snapshot => self.snapshot_file,
            Role::Targets | Role::Delegated => self.targets_file,
        }
    }

    /// Divides a cycle's memory: text, keys, signatures, names, message. A part that there is no room for is empty,
    /// and its bound is reached at once.
    pub(crate) fn divide<'m>(&self, memory: &'m mut [u8]) -> [&'m mut [u8]; 5] {
        let mut rest = memory;
        [self.text, self.key_bytes(), self.signature_bytes(), self.names, self.message].map(|length| {
            let whole = core::mem::take(&mut rest);
            let length = if length <= whole.len() { length } else { 0 };
            let (part, behind) = whole.split_at_mut_checked(length).unwrap_or_default();
            rest = behind;
            part
        })
    }
}
