//! Findings: each rule has a name that never changes its meaning, a severity, and a way out.

use core::fmt;

use anstyle::{AnsiColor, Style};
use serde_json::{Value, json};

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Devices refuse it, or somebody can do harm with it.
    Error,
    /// It works today.
    Warning,
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Which.
    pub rule: Rule,
    /// The file. Text is printable ASCII in all of this.
    pub place: String,
    /// The role.
    pub role: String,
    /// Why it is one.
    pub why: String,
}

macro_rules! rules {
    ($($(#[$doc:meta])* $rule:ident $name:literal $severity:ident $next:literal;)*) => {
        /// What is looked for. Errors come first.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum Rule { $($(#[$doc])* $rule,)* }

        impl Rule {
            /// All of them.
            pub const ALL: &[Rule] = &[$(Rule::$rule,)*];

            /// The name, which never stands for something else.
            pub fn name(self) -> &'static str {
                match self { $(Rule::$rule => $name,)* }
            }

            /// How bad it is.
            pub fn severity(self) -> Severity {
                match self { $(Rule::$rule => Severity::$severity,)* }
            }

            /// What to do.
            pub fn next(self) -> &'static str {
                match self { $(Rule::$rule => $next,)* }
            }
        }
    };
}

rules! {
    /// The devices' verifier refuses it, for a reason without a rule of its own.
    Refused "refused" Error "make the file again with this project's tools, and have it signed";
    /// Too few distinct keys of the role have signed.
    Unsigned "unsigned" Error "have the missing holders sign; `tuffet-keys status` names them";
    /// An object's members do not ascend.
    KeyOrder "key-order" Error "have its author write canonical JSON: devices read in constant memory, and want sorted keys";
    /// More than a device has room for.
    LimitPassed "limit-passed" Error "make it smaller; docs/format.md lists the limits of devices";
    /// Something has expired.
    Expired "expired" Error "sign and publish a new version now";
    /// A date of issue that is yet to come.
    IssuedInFuture "issued-in-future" Error "do not publish it: devices believe it for ever; sign it again on a machine with the right time";
    /// A date of issue that is not before the expiry.
    IssuedAfterExpiry "issued-after-expiry" Error "sign it again with a later expiry";
    /// A life that is not longer than the role's signing period.
    ShortLife "short-life" Error "give it a later expiry, or the role a shorter signing period in the next root";
    /// One key signs for an offline and an online role.
    OnlineKey "online-key" Error "give the offline role a key of its own in the next root: online keys get stolen";
    /// One public key under two keyids.
    KeyTwice "key-twice" Error "leave one of them out in the next root: a device counts the key once";
    /// A threshold of zero, or higher than the number of distinct keys.
    ThresholdOutOfReach "threshold-out-of-reach" Error "set one in the next root that the role's keys can meet";
    /// A root is not there, though a later one is.
    RootGap "root-gap" Error "put the file back: devices walk every root, one by one";
    /// A file that other metadata name is not there.
    FileMissing "file-missing" Error "publish it, before the metadata that name it";
    /// Another version than the one that is named.
    VersionDiffers "version-differs" Error "publish the snapshot and timestamp again: `tuffet publish`";
    /// Another length than the one that is named.
    LengthDiffers "length-differs" Error "put the file back as it was signed, or publish again: `tuffet publish`";
    /// Another hash than the one that is named.
    HashDiffers "hash-differs" Error "put the file back as it was signed, or publish again: `tuffet publish`";
    /// A role that somebody delegates to, or targets itself, is not in the snapshot.
    NotListed "not-listed" Error "publish a snapshot that lists it: `tuffet publish`";
    /// A target path of a form that no device of ours asks for.
    TargetPath "target-path" Error "rename it: at most 160 printable ASCII characters, no quotes, backslashes, spaces, empty or dotted parts";
    /// A target that a device's search does not find where it lies.
    Unreachable "unreachable" Error "delegate its path to the role that holds it, within the limits of one search";
    /// A release that the device refuses for which it is due.
    ReleaseRefused "release-refused" Error "release it again with this project's tools";
    /// Several roles expire on one day.
    SameDay "same-day" Warning "give them different lives, so that one missed day does not stop everything";
    /// Every key of an offline role must sign.
    NoSpareKey "no-spare-key" Warning "add a key in the next root: one that is lost stops the role for good";
    /// One key alone signs for root or targets.
    OneSigner "one-signer" Warning "raise the threshold to two in the next root: one stolen key is enough to sign";
    /// One key signs for several offline roles.
    SharedKey "shared-key" Warning "give each offline role keys of its own in the next root";
    /// 80 % or more of what a device has room for.
    LimitNear "limit-near" Warning "plan to make it smaller before it is refused";
    /// A life of more than two years.
    LongLife "long-life" Warning "give it a nearer expiry: until then an old file may be played back to devices without news";
    /// A life that is longer than the newest root says of its role.
    LongerThanPeriod "longer-than-period" Warning "give it a nearer expiry (all but the root have it from tuffet.toml), or the role a longer period in the next root";
    /// Not the bytes that this project's tools write.
    NotCanonical "not-canonical" Warning "write it with this project's tools: devices read it, other clients may see other bytes";
    /// Text that is not ASCII.
    NotAscii "not-ascii" Warning "write ASCII: clients do not agree on how to normalise other text before they hash it";
    /// A signature that counts for nothing.
    UselessSignature "useless-signature" Warning "leave it out: it takes the room of one that counts";
    /// A device takes it, and this project's tools do not read it.
    Unreadable "unreadable" Warning "make it again with this project's tools before a ceremony needs it";
    /// A later version lies beside the one that is named.
    Unnamed "unnamed" Warning "publish it, or take it away: no device looks at it";
}

impl Rule {
    /// Whether a device that meets this refuses the file, so that nothing more need be said when it does.
    pub(super) fn explains_a_refusal(self) -> bool {
        use Rule as R;
        matches!(
            self,
            R::Refused
                | R::Unsigned
                | R::KeyOrder
                | R::LimitPassed
                | R::IssuedAfterExpiry
                | R::RootGap
                | R::FileMissing
                | R::VersionDiffers
                | R::LengthDiffers
                | R::HashDiffers
                | R::NotListed
        )
    }
}

impl Severity {
    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

impl Finding {
    pub(super) fn json(&self) -> Value {
        json!({
            "next": self.rule.next(),
            "path": self.place,
            "role": self.role,
            "rule": self.rule.name(),
            "severity": self.rule.severity().name(),
            "why": self.why,
        })
    }
}

/// Two lines: what and where, then what to do.
impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { rule, place, role, why } = self;
        let color = match rule.severity() {
            Severity::Error => AnsiColor::Red,
            Severity::Warning => AnsiColor::Yellow,
        };
        let style = Style::new().bold().fg_color(Some(color.into()));
        let severity = rule.severity().name();
        writeln!(f, "{style}{severity}[{}]{style:#}: {place} ({role}): {why}", rule.name())?;
        write!(f, "    {}", rule.next())
    }
}
