//! Every bound of the verifier, with its unit and its reason. To reach one is a typed error.
//!
//! These are the numbers of the device profile. The repository tool replays what it publishes through
//! this very profile, so that nothing is published which a device would refuse.

/// Keys in one root. Three to five holders for root and targets, one online key each for snapshot and
/// timestamp, and room for a rotation that adds before it removes. Bound by the 16 bits of a key set.
pub const KEYS: usize = 12;

/// Signatures in one file: thresholds of old and new root together, and a few to spare.
pub const SIGNATURES: usize = 8;

/// Bytes of the longest signature: an ASN.1 DER ECDSA signature over P-256 has at most 72.
pub const SIGNATURE: usize = 72;

/// Open objects and arrays at one moment. A release entry's image hash, the deepest that we read, is
/// nine deep; three are left for members that we skip.
pub const DEPTH: usize = 12;

/// Bytes of the scanner's only buffer: the keys on the way to a value, and the value if it is a string.
/// A P-256 key in PEM has 178 bytes under 80 bytes of keys; a target path 160.
pub const TEXT: usize = 512;

/// Bytes of a target path.
pub const PATH: usize = 160;

/// Bytes of a product, hardware or channel name.
pub const NAME: usize = 32;

/// Bytes of a release's version, which is for people.
pub const VERSION_TEXT: usize = 32;

/// Candidates in a release entry.
pub const CANDIDATES: usize = 8;

/// Bytes of a root file (5.3.3). Twelve keys and eight signatures take 6 KiB.
pub const ROOT_FILE: u32 = 32 * 1024;

/// Bytes of a timestamp file (5.4.1). One takes 600 bytes; hashes, halts and signatures may come.
pub const TIMESTAMP_FILE: u32 = 16 * 1024;

/// Bytes of a snapshot file whose length the timestamp does not state (5.5.1). The size costs a device
/// time, not memory: this is a few minutes of a slow link.
pub const SNAPSHOT_FILE: u32 = 4 * 1024 * 1024;

/// Bytes of a targets file whose length the snapshot does not state (5.6.1).
pub const TARGETS_FILE: u32 = 16 * 1024 * 1024;

/// Roots walked in one cycle (5.3.3, the specification's Y). A root a month for five years; a longer chain
/// takes another cycle, which goes on where this one stored its last root.
pub const ROOTS: u32 = 64;
