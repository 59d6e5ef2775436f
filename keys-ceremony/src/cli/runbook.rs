//! What to read when keys were lost: what they could have signed, and what to do now, step by step.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use tuffet_keys::error::short;
use tuffet_keys::request::{Request, Requirement};
use tuffet_keys::root::{Chain, Exposure};
use tuffet_keys::{Role, date};

/// Columns of a line.
const WIDTH: usize = 100;

/// A revocation that was drafted.
pub(super) struct Case<'a> {
    /// For the root without the lost keys; none if no role of the newest root has them.
    pub(super) request: Option<&'a Request>,
    /// The roots up to the newest.
    pub(super) chain: &'a Chain,
    /// Where the request lies.
    pub(super) path: &'a Path,
    /// What each command is given so that the transcript has it, with a space before; nothing without one.
    pub(super) recording: &'a str,
    /// Keyids.
    pub(super) lost: &'a BTreeSet<String>,
    /// All that they could have signed.
    pub(super) exposures: &'a [Exposure],
    /// Targets files that could not be read, whatever they delegate.
    pub(super) damaged: &'a [PathBuf],
}

/// The text, for a terminal.
pub(super) fn text(case: &Case<'_>) -> String {
    let mut text = String::from("\nWHAT THE LOST KEYS COULD HAVE SIGNED\n");
    for keyid in case.lost {
        text += &format!("  lost  key {keyid}\n");
    }
    for exposure in case.exposures {
        text += &wrapped(&format!("  {:<10}", named(&exposure.role)), &reach(exposure));
    }
    for file in case.damaged {
        let words = format!("{} cannot be read: what it delegates is not listed", file.display());
        text += &wrapped(&format!("  {:<10}", "unknown"), &words);
    }
    text += "\nWHAT WHOEVER HAS THEM COULD HAVE PUBLISHED\n";
    for (role, sentence) in case.published() {
        text += &wrapped(&format!("  {:<10}", named(&role)), &sentence);
    }
    text += "\nWHAT TO DO NOW, IN THIS ORDER\n";
    for (step, number) in case.steps().iter().zip(1..) {
        text += &wrapped(&format!("  {number:>2}. "), step);
    }
    text
}

/// Since when, until when, and whether it was enough.
fn reach(exposure: &Exposure) -> String {
    let Exposure { by, first, since, until, threshold, keys, lost_keys, verified, .. } = exposure;
    let day = |date: u64| date::format(date)[..10].to_owned();
    let until = match until {
        Some((version, ended)) => format!("until {} {version} of {}", named(by), day(*ended)),
        None => "to this day".to_owned(),
    };
    let short_of = (*threshold as usize).saturating_sub(*lost_keys);
    let enough = match short_of {
        0 => "ENOUGH ALONE".to_owned(),
        1 => "not enough alone, 1 more key was needed".to_owned(),
        _ => format!("not enough alone, {short_of} more keys were needed"),
    };
    let doubt = if *verified { "" } else { ", by a file that nobody may have signed" };
    format!(
        "since {} {first} of {}, {until}{doubt}: {lost_keys} of {keys} lost, threshold {threshold}: {enough}",
        named(by),
        day(*since),
    )
}

/// A role's name, which its author chose: no part of it is to be copied as a command.
fn named(role: &Role) -> String {
    role.to_string().replace('`', "'")
}

impl Case<'_> {
    /// The version of the root to come, if there is one, or the one that there would be.
    fn version(&self) -> u32 {
        self.chain.last().map_or(0, |root| root.header.version).saturating_add(1)
    }

    /// The delegated roles that the lost keys may sign for now.
    fn delegated(&self) -> impl Iterator<Item = &Exposure> {
        let here = self.exposures.iter().filter(|it| it.by != Role::Root && it.until.is_none());
        // A file that nobody may have signed says what to do only where no other one speaks of the role.
        here.filter(|it| {
            let same = |other: &&Exposure| (&other.role, &other.by) == (&it.role, &it.by) && other.verified;
            it.verified || !self.exposures.iter().any(|other| same(&other))
        })
    }

    /// Whether the newest root lets the lost keys sign for one of these roles.
    fn has_lost(&self, roles: &[Role]) -> bool {
        self.exposures.iter().any(|it| it.until.is_none() && roles.contains(&it.role))
    }

    fn alone(&self, role: Role) -> impl Iterator<Item = &Exposure> {
        self.exposures.iter().filter(move |it| it.role == role && it.alone())
    }

    /// Whether some root let the lost keys sign alone for targets and all that leads devices there.
    fn is_a_release(&self) -> bool {
        let at =
            |role: Role, version: u32| self.alone(role).any(|it| it.first <= version && version <= it.last);
        (1..self.version()).any(|version| {
            [Role::Targets, Role::Snapshot, Role::Timestamp].into_iter().all(|role| at(role, version))
        })
    }

    /// By role, what the lost keys are good for.
    fn published(&self) -> Vec<(Role, String)> {
        let mut all = Vec::new();
        for role in Role::TOP_LEVEL {
            if self.alone(role.clone()).next().is_some() {
                let sentence = match role {
                    Role::Root => self.published_roots(),
                    Role::Targets => self.published_targets(),
                    Role::Snapshot => "a list of versions of his choice: an older targets file that has not expired yet, \
                        or a version so high that honest files look old. Devices read it once a timestamp names it."
                        .to_owned(),
                    _ => "the same old state again and again, for as long as its snapshot is good; a halt of any \
                        image; a version or a date so far ahead that honest files look old. It starts no release."
                        .to_owned(),
                };
                all.push((role, sentence));
            } else if self.exposures.iter().any(|it| it.role == role) {
                let sentence =
                    "nothing alone. With as many other keys of the role as are missing above, all that the \
                    role can say: revoke before he has them."
                        .to_owned();
                all.push((role, sentence));
            }
        }
        let delegated: BTreeSet<&Role> =
            self.exposures.iter().filter(|it| it.by != Role::Root).map(|it| &it.role).collect();
        for role in delegated {
            let alone = self.exposures.iter().any(|it| it.role == *role && it.by != Role::Root && it.alone());
            let sentence = match alone {
                true => {
                    "a release of any image under the paths that are delegated to the role. Devices read it once a \
                         snapshot and a timestamp name it."
                }
                false => {
                    "nothing alone. With as many other keys of the role as are missing above, a release of any \
                          image under its paths."
                }
            };
            all.push((role.clone(), sentence.to_owned()));
        }
        all
    }

    fn published_roots(&self) -> String {
        let places: Vec<String> = self
            .alone(Role::Root)
            .map(|it| match it.first == it.last {
                true => format!("root {}", it.last + 1),
                false => format!("roots {} to {}", it.first + 1, it.last + 1),
            })
            .collect();
        format!(
            "roots of his own in the place of {}, with his keys for every role. A device that took one follows him \
             for good: no root of yours reaches it any more, and somebody must go there.",
            places.join(" and ")
        )
    }

    fn published_targets(&self) -> String {
        let way = if self.is_a_release() {
            "The lost keys sign the snapshot and the timestamp that lead there, too: he needs nobody else."
        } else {
            "Devices read it once a snapshot and a timestamp name it: he needs those keys as well, or a publisher \
             who publishes what he finds signed."
        };
        format!("a release of any image, for every device and channel. {way}")
    }

    fn steps(&self) -> Vec<String> {
        let (version, before) = (self.version(), self.version() - 1);
        let (root, targets) = (self.has_lost(&[Role::Root]), self.has_lost(&[Role::Targets]));
        let online = self.has_lost(&[Role::Snapshot, Role::Timestamp]);
        let mut steps = Vec::new();

        if self.alone(Role::Root).any(|it| it.until.is_none()) {
            steps.push(format!(
                "The lost keys alone could sign root {version}. Ask every mirror for {version}.root.json first. If there \
                 is one that you did not sign, devices that took it are lost to you: take the repository off the \
                 network, and plan visits. If there is none, be faster than he is."
            ));
        }
        if online {
            steps.push(
                "Stop the timer that publishes, and find out how the online key got out before a new one lies on that \
                 machine. Its other secrets (access to the mirror, passphrases) went the same way: change them."
                    .to_owned(),
            );
        }
        if let Some(request) = self.request {
            steps.push(self.signing(request));
            steps.push(format!(
                "Finish it:\n`tuffet-keys finish root.{version}.signed.json --out {version}.root.json{}`\n\
                 Then stage it, without publishing yet:\n`tuffet root add {version}.root.json`",
                self.recording
            ));
        }
        if targets {
            steps.push(format!(
                "Sign the targets anew, before root {version} is out: under it a targets file that counts on a lost \
                 key is refused. `tuffet root add` has drafted them; the release holders that are left compare every \
                 release in the review with what they know of, and sign staged/targets.request.json."
            ));
        }
        steps.extend(self.delegations());
        let keys = match online {
            true => format!(" with the --snapshot-key and --timestamp-key that root {version} names"),
            false => String::new(),
        };
        let publish = match (self.request, targets) {
            (None, _) if self.delegated().next().is_none() => None,
            (None, _) => Some(
                "Publish the new targets files with a new snapshot and timestamp. Write them first, then the snapshot, \
                 and"
                    .to_owned(),
            ),
            (Some(_), targets) => Some(format!(
                "Publish root and timestamp together: `tuffet publish`{keys}. A new root always goes with a new \
                 timestamp, for devices that poll look at nothing else. It writes {version}.root.json, {}a snapshot if \
                 it must, and",
                if targets { "the targets, " } else { "" }
            )),
        };
        steps.extend(publish.map(|publish| {
            format!(
                "{publish} timestamp.json last; whoever copies to mirrors by hand keeps that order. Then `tuffet \
                 verify`, at each mirror."
            )
        }));
        steps.push(self.search());
        steps.extend(self.found());
        if online {
            steps.push(format!(
                "That the online keys change undoes what they did: a device that takes root {version} drops every \
                 version and date that the old ones set (TUF 5.3.11), be it a version of 4294967295 or the year 2099. \
                 Nothing need be done on devices."
            ));
        }
        if self.request.is_some() {
            steps.push(self.sleepers(before));
            steps.push(format!(
                "Give new devices root {version}: run `tuffet provision` again, and build it into the next firmware. A \
                 device that loses its trust starts from the root in its image."
            ));
        }
        if root || targets || self.delegated().next().is_some() {
            steps.push(
                "Destroy what is left of the lost keys, backups too. Replace what is missing at the next quiet \
                 ceremony: until then one more lost key weighs more than this one."
                    .to_owned(),
            );
        }
        steps
    }

    /// What to do about delegations that name the lost keys.
    fn delegations(&self) -> Option<String> {
        let mut words = Vec::new();
        for Exposure { role, by, last, threshold, keys, lost_keys, .. } in self.delegated() {
            let (role, by) = (named(role), named(by));
            let left = keys.saturating_sub(*lost_keys);
            let needs = match (*threshold as usize).saturating_sub(left) {
                0 => String::new(),
                1 => ", with 1 new key".to_owned(),
                missing => format!(", with {missing} new keys"),
            };
            words.push(format!("{by}, now {by} {last}, without them in {role}{needs}"));
        }
        if words.is_empty() {
            return None;
        }
        Some(format!(
            "Sign anew each file that delegates to the lost keys: {}. Write the next version, ask for signatures with \
             `tuffet-keys request`, and have the holders of that role sign it. The delegated role's own file loses the \
             signatures of the lost keys with that: where too few are left, sign it anew in the same publication, or \
             devices find no release there.",
            words.join("; ")
        ))
    }

    /// Who signs, under the root before and the new one.
    fn signing(&self, request: &Request) -> String {
        let mut words = Vec::new();
        let mut stuck = String::new();
        for Requirement { version, threshold, keys, .. } in request.requirements() {
            let left = keys.keys().filter(|keyid| !self.lost.contains(*keyid));
            let left: Vec<&str> = left.map(|keyid| short(keyid)).collect();
            words.push(format!("{threshold} of root {version}'s keys {}", left.join(", ")));
            let missing = (*threshold as usize).saturating_sub(left.len());
            if missing > 0 {
                let signers =
                    if missing == 1 { "a lost key".to_owned() } else { format!("{missing} lost keys") };
                stuck = format!(
                    " BUT root {version} wants {threshold} signatures, and has {} of its keys left: {signers} must \
                     sign this one root after all, from a copy that you still have or a backup. If there is none, \
                     no root can follow root {version}, and every device must get another one by hand.",
                    left.len()
                );
            }
        }
        let (version, recording) = (self.version(), self.recording);
        let sign = format!(
            "tuffet-keys sign {} --key KEY --out root.{version}.by-NAME.json{recording}",
            quoted(self.path)
        );
        format!(
            "Have {} signed today, by {}; one signature counts for both. A lost key does not sign.{stuck} Each holder, \
             with his KEY and his NAME:\n`{sign}`\nThen, where all their copies are:\n\
             `tuffet-keys merge root.{version}.by-*.json --out root.{version}.signed.json`",
            self.path.display(),
            words.join(" and by ")
        )
    }

    /// How to find what the lost keys signed.
    fn search(&self) -> String {
        let roles: BTreeSet<&Role> = self.exposures.iter().map(|it| &it.role).collect();
        let files: Vec<String> = roles
            .iter()
            .map(|role| match role {
                Role::Timestamp => "timestamp.json (in logs and backups, too: it is overwritten)".to_owned(),
                // Bins go by one name.
                role => format!("N.{}.json", role.file_stem().replace("%2A", "*")),
            })
            .collect();
        let commands: Vec<String> =
            self.lost.iter().map(|keyid| format!("`grep -l '\"keyid\":\"{keyid}\"' *.json`")).collect();
        format!(
            "Look for what the lost keys signed, in a fresh copy of what each mirror serves: {}. Files to look at: {}. \
             Each that your own records do not have is his.",
            commands.join("; "),
            files.join(", ")
        )
    }

    /// What it means if there is something.
    fn found(&self) -> Vec<String> {
        let mut steps = Vec::new();
        if self.exposures.iter().any(|it| it.role == Role::Targets) {
            steps.push(
                "If there are targets of his: the next targets need a version above his, unless snapshot and timestamp \
                 keys change in this root as well, which drops the versions that devices remember. Devices that \
                 installed a release of his run his image: publish one with a higher sequence, and do not believe \
                 what they report. A date of issue ahead of time stays with devices for ever."
                    .to_owned(),
            );
        }
        if self.exposures.iter().any(|it| it.role == Role::Root) {
            steps.push(
                "If there is a root of his, with a version that you never signed or with other bytes than yours: the \
                 devices that took it are his. Keep the file, and list who may have fetched it."
                    .to_owned(),
            );
        }
        steps
    }

    /// What devices go on accepting that have been asleep, or are kept from the new root.
    fn sleepers(&self, before: u32) -> String {
        let version = self.version();
        let expires = self.chain.last().map_or(0, |root| root.header.expires);
        let mut text = format!(
            "Devices that sleep go on trusting the lost keys until they have seen root {version}. From an honest mirror \
             they take it first of all, at their next refresh. Who has the keys and stands between can keep it from \
             them: from devices with a clock until root {before} expires, {}, and from others for as long as he \
             stands there.",
            date::format(expires)
        );
        if self.alone(Role::Root).next().is_some() {
            text += " Since the lost keys alone could sign roots, a device that still is at one of those roots takes his \
                next one as well as yours, whenever it wakes up: get those devices online from where you own the way.";
        }
        text
    }
}

/// A path as a shell takes it for one word.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:@%".contains(c);
    match text.chars().all(plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Lines of at most [`WIDTH`] columns, the first behind `head` and the others below its end. What stands between
/// back quotes is to be copied, and is not broken; a line feed begins a line.
fn wrapped(head: &str, text: &str) -> String {
    let below = " ".repeat(head.len());
    let heads = core::iter::once(head).chain(core::iter::repeat(&*below));
    text.lines().zip(heads).map(|(part, head)| wrapped_line(head, part)).collect()
}

fn wrapped_line(head: &str, text: &str) -> String {
    let mut lines = String::new();
    let mut line = head.to_owned();
    let mut empty = true;
    for word in words(text) {
        if !empty && line.len() + 1 + word.len() > WIDTH {
            lines += &format!("{line}\n");
            line = " ".repeat(head.len());
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line += word;
        empty = false;
    }
    lines + &line + "\n"
}

/// Words, of which a command between back quotes is one.
fn words(text: &str) -> Vec<&str> {
    let mut quoted = false;
    let between = move |c: char| {
        quoted ^= c == '`';
        c == ' ' && !quoted
    };
    text.split(between).filter(|word| !word.is_empty()).collect()
}
