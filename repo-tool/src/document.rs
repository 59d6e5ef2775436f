//! Metadata files, published or staged, as text that is cut up and put together again.
//!
//! Signatures are not verified here: that is [`crate::verify`]'s, and of those that are to be carried on
//! [`crate::repository`]'s.

use core::ops::Range;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tuffet_client::limits::CANDIDATES;
use tuffet_client::release::{Candidate, Entry, Hex, is_path, read_entry};
use tuffet_keys::key::SigningKey;
use tuffet_keys::metadata::{Header, Role, SPEC_VERSION};
use tuffet_keys::root::RoleKeys;
use tuffet_keys::{canonical, date};

use crate::author::{Dates, Target, is_digest, summary};
use crate::members::{Cut, Edits, Members};
use crate::repository::target_name;
use crate::{Error, Rejected};

/// A published metadata file, as we write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    text: Arc<String>,
    /// Role, version and dates.
    pub header: Header,
    /// Whose signatures it has, by their labels.
    keyids: Vec<String>,
    /// Where the `signed` member is.
    signed: Range<usize>,
    /// Its members, and those of `targets` or `meta`; none if they are not as canonical JSON has them.
    cut: Option<(Members, Members)>,
}

#[derive(Deserialize)]
struct File<'f> {
    signatures: Vec<Signature<'f>>,
    #[serde(borrow)]
    signed: &'f RawValue,
}

#[derive(Deserialize)]
struct Signature<'f> {
    keyid: &'f str,
}

impl Document {
    /// Reads a file of this role. `path` is for messages.
    ///
    /// # Errors
    /// [`Rejected::Damaged`] for one that is not of the form that we write.
    pub fn parse(bytes: Vec<u8>, role: &Role, path: &Path) -> Result<Document, Error> {
        // What signed text goes into is canonical, or it is not signed; this is to say early that something is odd.
        let foreign = || damaged(path, "the file is not as tuffet writes it");
        let text = Arc::new(String::from_utf8(bytes).map_err(|_| foreign())?);
        let inner = if is_listing(role) { "meta" } else { "targets" };
        let (signatures, signed, cut) = match Cut::of(&text, inner) {
            Some(Cut { signatures, signed, members, inner }) => {
                let signatures = text.get(signatures).unwrap_or_default();
                (serde_json::from_str(signatures).map_err(|_| foreign())?, signed, Some((members, inner)))
            }
            None => {
                let File { signatures, signed } = serde_json::from_str(&text).map_err(|_| foreign())?;
                let start = (signed.get().as_ptr() as usize).saturating_sub(text.as_ptr() as usize);
                let signed = start..start + signed.get().len();
                let (head, tail) = (text.get(..signed.start), text.get(signed.end..));
                if !head.is_some_and(|head| {
                    head.starts_with("{\"signatures\":[") && head.ends_with("],\"signed\":")
                }) || tail != Some("}")
                    || text.bytes().any(|byte| byte < b' ')
                {
                    return Err(foreign());
                }
                (signatures, signed, None)
            }
        };
        let keyids = signatures.iter().map(|signature: &Signature<'_>| signature.keyid.to_owned()).collect();
        let head = cut.as_ref().and_then(|(members, _)| head(members));
        let header = header(head.as_deref().or(text.get(signed.clone())).unwrap_or_default(), role)
            .map_err(|error| Error::from(error.in_file(path)))?;
        Ok(Document { text, header, keyids, signed, cut })
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// Its bytes, of which no copy is made.
    pub fn shared(&self) -> Bytes {
        Bytes::from_owner(Shared(Arc::clone(&self.text)))
    }

    /// The text of the `signed` member.
    pub fn signed(&self) -> &str {
        self.text.get(self.signed.clone()).unwrap_or_default()
    }

    /// Whether keys that `keys` names have signed it, enough of them. A statement about labels: it tells what is
    /// to be signed anew, and no more.
    pub fn is_signed_by(&self, keys: &RoleKeys) -> bool {
        let known = self.keyids.iter().filter(|keyid| keys.keys.contains_key(*keyid));
        known.count() >= keys.threshold as usize
    }

    /// What a targets file says.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn sheet(&self) -> Result<Sheet, Error> {
        if let (Some((members, targets)), false) = (&self.cut, is_listing(&self.header.role)) {
            return Ok(Sheet { members: members.clone(), targets: targets.clone() });
        }
        Sheet::parse(&self.text, self.signed.clone())
    }

    /// What a snapshot or timestamp lists.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn listing(&self) -> Result<Listing, Error> {
        if let (Some((members, meta)), true) = (&self.cut, is_listing(&self.header.role)) {
            return Ok(Listing { members: members.clone(), meta: meta.clone() });
        }
        let not_one = |error| not_json("meta", error);
        let members = Members::parse(&self.text, self.signed.clone()).map_err(not_one)?;
        let meta = Members::parse(&self.text, members.place("meta").unwrap_or_default()).map_err(not_one)?;
        Ok(Listing { members, meta })
    }
}

struct Shared(Arc<String>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

/// Whether a role's file lists others by their names.
fn is_listing(role: &Role) -> bool {
    matches!(role, Role::Snapshot | Role::Timestamp)
}

/// As much of a `signed` text as its header needs; none if a member is missing.
fn head(members: &Members) -> Option<String> {
    let member = |name| Some(format!("\"{name}\":{}", members.get(name)?));
    let head = ["_type", "expires", "issued", "spec_version", "version"].map(member);
    Some(format!("{{{}}}", head.into_iter().collect::<Option<Vec<_>>>()?.join(",")))
}

/// Role, version and dates of a `signed` text, without reading the rest.
fn header(signed: &str, role: &Role) -> Result<Header, tuffet_keys::Error> {
    #[derive(Deserialize)]
    struct Head {
        #[serde(rename = "_type")]
        kind: Value,
        expires: Value,
        issued: Value,
        spec_version: Value,
        version: Value,
    }
    let not_json = |error: serde_json::Error| tuffet_keys::Rejected::NotJson { message: error.to_string() };
    let Head { kind, expires, issued, spec_version, version } =
        serde_json::from_str(signed).map_err(not_json)?;
    let head = json!({ "_type": kind, "expires": expires, "issued": issued, "spec_version": spec_version,
                       "version": version });
    Header::from_signed(&head)?.of(role)
}

/// The `signed` text of a targets file, cut up. Members that this version does not know stay as they are.
#[derive(Clone, Debug, Default)]
pub struct Sheet {
    members: Members,
    targets: Members,
}

/// Changes to a targets file.
#[derive(Clone, Debug, Default)]
pub struct Changes {
    pub(crate) targets: Edits,
    /// The text of `delegations`, or that there shall be none; without it they stay.
    pub(crate) delegations: Option<Option<String>>,
}

impl Changes {
    /// Adds a target about a file alone, or replaces one.
    pub fn put_file(&mut self, path: &str, target: &Target) {
        self.targets.insert(path.to_owned(), Some(target.to_text()));
    }

    /// Adds a release entry, or replaces one.
    ///
    /// # Errors
    /// What a device would say about it.
    pub fn put_entry(&mut self, path: &str, listed: &Listed) -> Result<(), Error> {
        self.targets.insert(path.to_owned(), Some(listed.to_target()?));
        Ok(())
    }

    /// Takes a target away.
    pub fn remove(&mut self, path: &str) {
        self.targets.insert(path.to_owned(), None);
    }

    pub(crate) fn lists_releases(&self) -> bool {
        self.targets.keys().any(|path| path.ends_with("/release"))
    }
}

/// A release entry as it is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listed {
    /// The candidates, the highest sequence first.
    pub candidates: Vec<Candidate>,
    /// The highest sequence that the entry ever had; that of a withdrawn release is never given again.
    pub newest: u32,
    /// The highest security counter that it ever had: devices may have confirmed it.
    pub counter: u32,
}

impl Sheet {
    /// Cuts the `signed` text up that is at `range` of a text.
    fn parse(text: &Arc<String>, range: Range<usize>) -> Result<Sheet, Error> {
        if let Some((members, targets)) = Members::parse_two(text, range.clone(), "targets") {
            return Ok(Sheet { members, targets });
        }
        let not_one = |error| not_json("targets", error);
        let members = Members::parse(text, range).map_err(not_one)?;
        let place = members.place("targets").unwrap_or_default();
        match Members::parse(text, place.clone()) {
            Ok(targets) => Ok(Sheet { members, targets }),
            // What needs an escape is no path, and the message shall say which.
            Err(error) => match impossible_path(text.get(place).unwrap_or_default()) {
                Some(path) => Err(Rejected::TargetPath { path }.into()),
                None => Err(not_one(error)),
            },
        }
    }

    /// Cuts the bytes up that are to be signed.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn of_payload(payload: &[u8]) -> Result<Sheet, Error> {
        let text = Arc::new(text_of(payload)?);
        let whole = 0..text.len();
        Sheet::parse(&text, whole)
    }

    /// What it delegates.
    pub fn delegations(&self) -> Option<&str> {
        self.members.get("delegations")
    }

    /// All paths, in their order.
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.targets.iter().map(|(path, _)| path)
    }

    /// How many targets there are.
    pub fn len(&self) -> usize {
        self.targets.len()
    }

    /// Whether there is no target.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What it says of the file at a path.
    ///
    /// # Errors
    /// As [`Sheet::list`].
    pub fn target(&self, path: &str) -> Result<Option<Target>, Error> {
        self.targets.get(path).map(|text| read_target(path, text)).transpose()
    }

    /// The path and target of every file, in the order of paths. Anybody can write targets, and both become file
    /// names; each is safe as one.
    ///
    /// # Errors
    /// [`Rejected::TargetPath`] for a path that no target can have or a digest that is none, or which member of
    /// a target is missing.
    pub fn list(&self) -> impl Iterator<Item = Result<(&str, Target), Error>> {
        self.targets.iter().map(|(path, text)| Ok((path, read_target(path, text)?)))
    }

    /// A sheet with these targets and nothing else.
    pub(crate) fn part<'p>(&self, paths: impl Iterator<Item = &'p str>) -> Sheet {
        let text = |path| (str::to_owned(path), self.targets.get(path).map(str::to_owned));
        let targets = Members::default().edited(&paths.map(text).collect());
        let text = Arc::new(format!("{{\"targets\":{targets}}}"));
        let whole = 0..text.len();
        Sheet::parse(&text, whole).unwrap_or_default()
    }

    /// Paths that begin with a prefix.
    pub fn below<'s>(&'s self, prefix: &str) -> impl Iterator<Item = &'s str> + use<'s> {
        let owned = prefix.to_owned();
        self.targets.from(prefix).take_while(move |path| path.starts_with(&owned))
    }

    /// Paths of targets that are new, or otherwise, in comparison with another sheet.
    pub fn changed<'s>(&'s self, before: &'s Sheet) -> impl Iterator<Item = &'s str> {
        self.targets.changed(&before.targets)
    }

    /// The content of the file of a target with `custom`: its text. A release entry is one.
    pub fn custom(&self, path: &str) -> Option<&str> {
        let target = Members::parse(&self.targets.text, self.targets.place(path)?).ok()?;
        self.targets.text.get(target.place("custom")?)
    }

    /// The release entry at a path, read as a device reads it; empty without one.
    ///
    /// # Errors
    /// What a device would say.
    pub fn entry(&self, path: &str) -> Result<Listed, Error> {
        let Some(custom) = self.custom(path) else { return Ok(Listed::default()) };
        let candidates: Vec<Candidate> = read_entry(custom.as_bytes())?.into_iter().collect();
        let highest = candidates.first().map_or(0, |candidate| candidate.sequence);
        let kept = Members::of(custom).unwrap_or_default();
        let kept = |name| kept.get(name).and_then(|text| text.parse().ok()).unwrap_or(0);
        let counter = candidates.iter().map(|candidate| candidate.counter).max().unwrap_or(0);
        Ok(Listed {
            newest: highest.max(kept("newest")),
            counter: counter.max(kept("newest_counter")),
            candidates,
        })
    }

    /// The text with a version, dates and changes.
    pub fn edited(&self, version: u32, dates: Dates, changes: &Changes) -> String {
        let mut edits = header_edits(&Role::Targets, version, dates);
        if let Some(delegations) = &changes.delegations {
            edits.insert("delegations".to_owned(), delegations.clone());
        }
        self.members.edited_with(&edits, "targets", &self.targets, &changes.targets)
    }
}

impl Listed {
    /// The text of the target whose file is this entry: its `custom`, and digest and length of that. The highest
    /// sequence comes first; candidates beyond the eighth are dropped.
    ///
    /// # Errors
    /// What a device would say about it.
    pub(crate) fn to_target(&self) -> Result<String, Error> {
        let kept = self.candidates.get(..CANDIDATES).unwrap_or(&self.candidates);
        let mut custom = Entry(kept).to_string();
        // Devices skip these, and the tool goes by them.
        let members = [
            ("newest", self.newest, kept.first().map_or(0, |first| first.sequence)),
            (
                "newest_counter",
                self.counter,
                kept.iter().map(|candidate| candidate.counter).max().unwrap_or(0),
            ),
        ];
        for (name, ever, now) in members {
            if ever > now {
                custom.pop();
                custom.push_str(&format!(",\"{name}\":{ever}}}"));
            }
        }
        read_entry(custom.as_bytes())?;
        let Target { sha256, length } = Target::of(custom.as_bytes())?;
        Ok(format!("{{\"custom\":{custom},{}", &target_text(&sha256, length)[1..]))
    }
}

impl Target {
    /// The text of a target that is about a file alone.
    pub(crate) fn to_text(&self) -> String {
        target_text(&self.sha256, self.length)
    }
}

fn target_text(sha256: &str, length: u32) -> String {
    format!("{{\"hashes\":{{\"sha256\":\"{sha256}\"}},\"length\":{length}}}")
}

fn read_target(path: &str, text: &str) -> Result<Target, Error> {
    #[derive(Deserialize)]
    struct Written {
        hashes: Option<Hashes>,
        length: Option<Value>,
    }
    #[derive(Deserialize)]
    struct Hashes {
        sha256: Option<String>,
    }
    if !is_path(path) {
        return Err(Rejected::TargetPath { path: path.to_owned() }.into());
    }
    let wrong = |name, expected| {
        let field = format!("targets.{path}.{name}");
        Error::from(tuffet_keys::Error::from(tuffet_keys::Rejected::WrongField { field, expected }))
    };
    let Written { hashes, length } =
        serde_json::from_str(text).map_err(|_| wrong("hashes", "an object with `sha256`"))?;
    let sha256 = hashes.and_then(|hashes| hashes.sha256).ok_or_else(|| wrong("hashes.sha256", "a digest"))?;
    if !is_digest(&sha256) {
        return Err(Rejected::TargetPath { path: target_name(path, &sha256) }.into());
    }
    let length = length.and_then(|length| length.as_u64()?.try_into().ok());
    let length = length.ok_or_else(|| wrong("length", "a number of bytes from 0 to 4294967295"))?;
    Ok(Target { sha256, length })
}

/// The first path of these targets that none can have.
fn impossible_path(targets: &str) -> Option<String> {
    let targets: BTreeMap<String, Value> = serde_json::from_str(targets).ok()?;
    targets.into_keys().find(|path| !is_path(path))
}

/// What a snapshot or timestamp lists, by names such as `targets.json`.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    members: Members,
    meta: Members,
}

/// What is said of a listed file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Its version.
    pub version: u32,
    /// Its length in bytes.
    pub length: u64,
    /// Its SHA-256 in lower-case hex.
    pub sha256: String,
}

impl Listing {
    /// What it says of a role's file; none if it does not list it, or not as we do.
    pub fn of(&self, role: &Role) -> Option<Meta> {
        #[derive(Deserialize)]
        struct Written<'t> {
            #[serde(borrow)]
            hashes: Hashes<'t>,
            length: u64,
            version: u32,
        }
        #[derive(Deserialize)]
        struct Hashes<'t> {
            sha256: &'t str,
        }
        let text = self.meta.get(&listed_name(role))?;
        let Written { hashes, length, version } = serde_json::from_str(text).ok()?;
        Some(Meta { version, length, sha256: hashes.sha256.to_owned() })
    }

    /// All roles that it lists, by their names.
    pub fn roles(&self) -> impl Iterator<Item = Role> + '_ {
        self.meta.iter().filter_map(|(name, _)| Role::named(name.strip_suffix(".json")?))
    }

    /// The images that a timestamp halts: SHA-256 in lower-case hex.
    pub fn halts(&self) -> Vec<String> {
        self.members.get("halt").and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The text of a snapshot with some files listed anew: role, version and bytes of each.
    pub fn edited(&self, version: u32, dates: Dates, files: &[(&Role, u32, &[u8])]) -> String {
        let mut meta = Edits::new();
        for (role, version, bytes) in files {
            meta.insert(listed_name(role), Some(meta_text(*version, bytes)));
        }
        let edits = header_edits(&Role::Snapshot, version, dates);
        self.members.edited_with(&edits, "meta", &self.meta, &meta)
    }
}

fn not_json(field: &str, error: serde_json::Error) -> Error {
    let why = tuffet_keys::Rejected::NotJson { message: format!("`{field}`: {error}") };
    tuffet_keys::Error::from(why).into()
}

/// The text of a timestamp over one snapshot file, which halts some images.
pub fn timestamp(
    version: u32,
    dates: Dates,
    snapshot_version: u32,
    snapshot: &[u8],
    halts: &[String],
) -> String {
    let mut edits = header_edits(&Role::Timestamp, version, dates);
    let meta = format!("{{\"snapshot.json\":{}}}", meta_text(snapshot_version, snapshot));
    edits.insert("meta".to_owned(), Some(meta));
    if !halts.is_empty() {
        edits.insert("halt".to_owned(), Some(format!("[\"{}\"]", halts.join("\",\""))));
    }
    Members::default().edited(&edits)
}

fn listed_name(role: &Role) -> String {
    format!("{}.json", role.name())
}

fn meta_text(version: u32, bytes: &[u8]) -> String {
    let (sha256, length) = summary(bytes);
    format!("{{\"hashes\":{{\"sha256\":\"{sha256}\"}},\"length\":{length},\"version\":{version}}}")
}

fn header_edits(role: &Role, version: u32, dates: Dates) -> Edits {
    let mut edits = Edits::new();
    let mut put = |name: &str, text: String| edits.insert(name.to_owned(), Some(text));
    put("_type", format!("\"{}\"", role.name()));
    put("expires", format!("\"{}\"", date::format(dates.expires)));
    put("issued", format!("\"{}\"", date::format(dates.issued)));
    put("spec_version", format!("\"{SPEC_VERSION}\""));
    put("version", version.to_string());
    edits
}

/// The bytes that are signed of a `signed` text.
///
/// # Errors
/// What is not canonical about it.
pub fn payload(signed: &str) -> Result<Vec<u8>, tuffet_keys::Error> {
    Ok(canonical::signed_of_published(signed.as_bytes())?.into_owned())
}

/// The published file of a `signed` text.
///
/// # Errors
/// What is not canonical about it, or what signing says.
pub fn sign<'k>(signed: &str, keys: impl IntoIterator<Item = &'k SigningKey>) -> Result<Vec<u8>, Error> {
    let payload = canonical::signed_of_published(signed.as_bytes())?;
    let mut signatures = Vec::new();
    for key in keys {
        let signature = key.sign(&payload)?;
        signatures.push(format!(r#"{{"keyid":"{}","sig":"{}"}}"#, key.public().keyid(), Hex(&signature)));
    }
    signatures.sort();
    Ok(format!(r#"{{"signatures":[{}],"signed":{signed}}}"#, signatures.join(",")).into_bytes())
}

/// The `signed` text of bytes that are to be signed.
pub(crate) fn text_of(payload: &[u8]) -> Result<String, tuffet_keys::Error> {
    let published = canonical::published_of_signed(payload)?.into_owned();
    // What is canonical is ASCII.
    Ok(String::from_utf8(published).unwrap_or_default())
}

fn damaged(path: &Path, why: &str) -> Error {
    Rejected::Damaged { path: path.to_owned(), why: why.to_owned() }.into()
}
