//! What a file says, in lines for people. Foreign text is escaped, and what is very long is cut unless all is asked for.

use core::fmt;

use serde_json::{Value, json};
use tuffet_client::release::{Candidate, Hex};
use tuffet_client::time::Date;
use tuffet_keys::key::PublicKey;
use tuffet_keys::names::Names;
use tuffet_keys::request::Request;
use tuffet_keys::text::plain;
use tuffet_keys::{Role, date};

use super::diff::candidates;
use super::grouped;
use super::place::{Content, File, Place, Repository};
use crate::Error;
use crate::image::{Image, Kind};
use crate::release::{Channel, ramp_words};

/// How it is shown.
#[derive(Clone, Debug)]
pub struct Manner<'n> {
    /// Names of keys.
    pub names: &'n Names,
    /// Entries of one list, at the most.
    pub most: usize,
    /// The present, in seconds since 1970.
    pub now: u64,
}

/// What is said.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// For people.
    pub lines: Vec<String>,
    /// For programs: everything, whatever was cut for people.
    pub json: Value,
}

/// Characters of a foreign text that are shown where not all is asked for.
const LONGEST: usize = 200;

/// Characters of an object's members that stand on one line.
const ONE_LINE: usize = 60;

/// Directories above a target that are shown as such; a path with more is a hoax.
const DEPTH: usize = 16;

/// Says what is at a place.
///
/// # Errors
/// What is wrong with a file of a repository, or keeps it from being read.
pub fn inspect(place: Place, manner: &Manner<'_>) -> Result<Inspection, Error> {
    let mut sheet = Sheet { manner, lines: Vec::new() };
    let name = plain(&place.name);
    let json = match place.content {
        Content::Repository(mut repository) => {
            sheet.line(0, format!("{name}: published repository, signatures not verified"));
            sheet.repository(&mut repository)?
        }
        Content::Metadata(file) => {
            sheet.line(
                0,
                format!("{name}: {}, {} bytes, signatures not verified", title(&file), grouped(file.length)),
            );
            sheet.metadata(&file);
            json!({
                "kind": "metadata",
                "role": file.role.name(),
                "version": file.version,
                "length": file.length,
                "signatures": sheet.signatures_json(&file),
                "signed": file.signed,
            })
        }
        Content::Request(request) => sheet.request(&name, &request),
        Content::Image(image) => sheet.image(&name, &image),
    };
    let mut json = json;
    json["place"] = json!(place.name);
    Ok(Inspection { lines: sheet.lines, json })
}

/// Lines in the making.
struct Sheet<'m> {
    manner: &'m Manner<'m>,
    lines: Vec<String>,
}

impl Sheet<'_> {
    fn line(&mut self, indent: usize, text: impl fmt::Display) {
        self.lines.push(format!("{:1$}{text}", "", 2 * indent));
    }

    fn field(&mut self, indent: usize, name: &str, text: impl fmt::Display) {
        self.line(indent, format!("{name:<10} {text}"));
    }

    /// Says how many of a list were left out.
    fn rest(&mut self, indent: usize, all: usize, what: &str) {
        let left = all.saturating_sub(self.manner.most);
        if left > 0 {
            self.line(indent, format!("... and {} more {what} (--all shows them)", grouped(left as u64)));
        }
    }

    /// Foreign text or another value, on one line.
    fn text(&self, value: &Value) -> String {
        let whole = match value {
            Value::String(text) => plain(text),
            Value::Null => "missing".to_owned(),
            other => plain(&other.to_string()),
        };
        // All of it is ASCII.
        match whole.get(..LONGEST) {
            Some(start) if self.manner.most < usize::MAX && whole.len() > LONGEST => {
                format!("{start}... ({} characters)", grouped(whole.len() as u64))
            }
            _ => whole,
        }
    }

    fn date(&self, file: &File, index: usize, name: &str) -> String {
        match file.dates[index] {
            Some(date) => {
                let is_over = name == "expires" && date <= self.manner.now;
                let over = if is_over { ", EXPIRED" } else { "" };
                format!("{} ({}){over}", Date(date), date::distance(date, self.manner.now))
            }
            None => self.text(&file.signed[name]),
        }
    }

    fn metadata(&mut self, file: &File) {
        let signed = &file.signed;
        let (issued, expires) = (self.date(file, 0, "issued"), self.date(file, 1, "expires"));
        self.field(1, "issued", issued);
        self.field(1, "expires", expires);
        let format = self.text(&signed["spec_version"]);
        self.field(1, "format", format!("TUF {format}"));
        if !file.signatures.is_null() {
            self.signatures(file);
        }
        match file.role {
            Role::Root => self.root(signed),
            Role::Snapshot | Role::Timestamp => self.listing(file),
            _ => {
                self.delegations(&signed["delegations"]);
                self.targets(1, file.targets().map(|(path, target)| (path.as_str(), target)));
            }
        }
        let known = [
            "_type",
            "version",
            "issued",
            "expires",
            "spec_version",
            "keys",
            "roles",
            "meta",
            "halt",
            "targets",
            "delegations",
        ];
        let others =
            signed.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(&name.as_str()));
        others.for_each(|(name, value)| self.member(1, name, value));
    }

    /// A member that has no form of its own here: objects by their members, as far as people still read that.
    fn member(&mut self, indent: usize, name: &str, value: &Value) {
        let name = self.text(&json!(name));
        let Some(members) = value.as_object().filter(|members| !members.is_empty()) else {
            let value = self.text(value);
            return self.line(indent, format!("{name}: {value}"));
        };
        if members.values().all(|value| value.is_string() || value.is_number()) {
            let words = members
                .iter()
                .map(|(name, value)| format!("{} {}", self.text(&json!(name)), self.text(value)));
            let words = words.collect::<Vec<_>>().join(", ");
            if words.len() <= ONE_LINE {
                return self.line(indent, format!("{name}: {words}"));
            }
        }
        if indent == 3 {
            let value = self.text(value);
            return self.line(indent, format!("{name}: {value}"));
        }
        self.line(indent, format!("{name}:"));
        members.iter().take(self.manner.most).for_each(|(name, value)| self.member(indent + 1, name, value));
        self.rest(indent + 1, members.len(), "members");
    }

    fn signatures(&mut self, file: &File) {
        let listed = file.signatures.as_array().map_or(0, Vec::len);
        self.line(1, format!("signatures: {listed}, not verified"));
        let keyids: Vec<String> = file.keyids().map(|keyid| self.key_name(keyid)).collect();
        keyids.iter().take(self.manner.most).for_each(|keyid| self.line(2, keyid));
        self.rest(2, keyids.len(), "signatures");
    }

    fn signatures_json(&self, file: &File) -> Vec<Value> {
        let one = |keyid: &str| json!({ "keyid": keyid, "name": self.manner.names.known(keyid) });
        file.keyids().map(one).collect()
    }

    /// A keyid, and the name of its key.
    fn key_name(&self, keyid: &str) -> String {
        let short = tuffet_keys::error::short(keyid);
        let name = self.manner.names.known(keyid).map(|name| format!("  {name}")).unwrap_or_default();
        format!("{}{name}", self.text(&json!(short)))
    }

    fn root(&mut self, signed: &Value) {
        let roles = signed["roles"].as_object();
        for (role, keys) in roles.into_iter().flatten() {
            let role = self.text(&json!(role));
            self.signers(1, &role, keys, &signed["keys"], "");
        }
    }

    /// "NAME: 2 of 3 keys must sign", and the keys.
    fn signers(&mut self, indent: usize, name: &str, role: &Value, keys: &Value, more: &str) {
        let keyids: Vec<&str> =
            role["keyids"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let threshold = self.text(&role["threshold"]);
        self.line(indent, format!("{name}: {threshold} of {} keys must sign{more}", keyids.len()));
        for keyid in keyids.iter().take(self.manner.most) {
            let (name, key) = (self.key_name(keyid), keys.get(*keyid).unwrap_or(&Value::Null));
            let kind = match PublicKey::from_value(key) {
                Ok(_) => String::new(),
                Err(_) if key.is_null() => "  which is not here".to_owned(),
                Err(_) => format!("  {}, which no device of ours knows", self.text(&key["scheme"])),
            };
            self.line(indent + 1, format!("key {name}{kind}"));
        }
        self.rest(indent + 1, keyids.len(), "keys");
    }

    fn delegations(&mut self, delegations: &Value) {
        if delegations.is_null() {
            return;
        }
        let roles: Vec<&Value> = delegations["roles"].as_array().into_iter().flatten().collect();
        let bins = &delegations["succinct_roles"];
        self.line(1, format!("delegations: {}", roles.len() + usize::from(bins.is_object())));
        for role in roles.iter().take(self.manner.most) {
            let name = self.text(&role["name"]);
            let more = if role["terminating"] == true { ", terminating" } else { "" };
            self.signers(2, &name, role, &delegations["keys"], more);
            for kind in ["paths", "path_hash_prefixes"] {
                let paths: Vec<&Value> = role[kind].as_array().into_iter().flatten().collect();
                let what = if kind == "paths" { "path" } else { "digests from" };
                for path in paths.iter().take(self.manner.most) {
                    let path = self.text(path);
                    self.line(3, format!("{what} {path}"));
                }
                self.rest(3, paths.len(), "paths");
            }
        }
        self.rest(2, roles.len(), "roles");
        if bins.is_object() {
            let [prefix, bits] = ["name_prefix", "bit_length"].map(|member| self.text(&bins[member]));
            self.signers(
                2,
                &format!("{prefix}-*"),
                bins,
                &delegations["keys"],
                &format!(", 2^{bits} hash bins"),
            );
        }
    }

    fn listing(&mut self, file: &File) {
        let listed = file.signed["meta"].as_object();
        let count = listed.map_or(0, serde_json::Map::len);
        self.line(1, format!("names {}", counted(count, "file", "files")));
        for (name, said) in listed.into_iter().flatten().take(self.manner.most) {
            let [version, length] = [self.text(&said["version"]), self.text(&said["length"])];
            let name = self.text(&json!(name));
            self.line(2, format!("{name:<24} version {version}, {length} bytes"));
        }
        self.rest(2, count, "files");
        for digest in file.halts() {
            let digest = self.text(&json!(digest));
            self.line(1, format!("halted: image {digest}"));
        }
    }

    /// Targets as a tree of directories, those of the list that has the room.
    fn targets<'t>(&mut self, indent: usize, targets: impl Iterator<Item = (&'t str, &'t Value)>) {
        let targets: Vec<(&str, &Value)> = targets.collect();
        let bytes = targets.iter().filter_map(|(_, target)| target["length"].as_u64());
        let bytes = bytes.fold(0_u64, u64::saturating_add);
        self.line(
            indent,
            format!("{}, {} bytes", counted(targets.len(), "target", "targets"), grouped(bytes)),
        );
        let mut above: Vec<&str> = Vec::new();
        for (path, target) in targets.iter().take(self.manner.most) {
            let mut directories: Vec<&str> = path.splitn(DEPTH, '/').collect();
            let file = directories.pop().unwrap_or_default();
            let same = above.iter().zip(&directories).take_while(|(one, other)| one == other).count();
            for (depth, directory) in directories.iter().enumerate().skip(same) {
                let directory = self.text(&json!(directory));
                self.line(indent + 1 + depth, format!("{directory}/"));
            }
            let depth = indent + 1 + directories.len();
            let file = self.text(&json!(file));
            let length = target["length"].as_u64().map_or("?".to_owned(), grouped);
            let released = candidates(target).filter(|_| Channel::of_entry(path).is_some());
            match released {
                Some(candidates) => {
                    self.line(depth, format!("{file}  {}", counted(candidates.len(), "release", "releases")));
                    candidates.iter().for_each(|candidate| self.candidate(depth + 1, candidate));
                }
                None if file == "release" && target["custom"].is_object() => {
                    self.line(depth, format!("{file}  {length} bytes, a release entry that devices refuse"));
                }
                None => {
                    let sha256 = self.text(&target["hashes"]["sha256"]);
                    let sha256 = sha256.get(..16).unwrap_or(&sha256);
                    self.line(depth, format!("{file}  {length} bytes, sha256 {sha256}"));
                }
            }
            above = directories;
        }
        self.rest(indent + 1, targets.len(), "targets");
    }

    fn candidate(&mut self, indent: usize, candidate: &Candidate) {
        let Candidate { sequence, counter, minimum, version, .. } = candidate;
        let from = if *minimum == 0 { String::new() } else { format!(", from release {minimum} on") };
        let ramp = ramp_words(candidate, self.manner.now);
        self.line(indent, format!("{sequence:>3}  {version}  counter {counter}{from}, {ramp}"));
    }

    fn request(&mut self, name: &str, request: &Request) -> Value {
        let (header, bytes) = (request.header(), request.payload().len() as u64);
        self.line(
            0,
            format!("{name}: signing request for {}, {} bytes to sign", request.title(), grouped(bytes)),
        );
        for progress in request.state() {
            let words = progress.in_words(self.manner.names);
            self.line(1, words);
        }
        self.metadata(&File::unsigned(header.role.clone(), request.signed().value().clone()));
        let progress = request.state();
        let progress = progress.iter().map(|progress| {
            json!({ "by": progress.by(), "need": progress.need, "have": progress.have, "signed": progress.signed,
                    "missing": progress.missing })
        });
        json!({
            "kind": "request",
            "role": header.role.name(),
            "version": header.version,
            "repository": request.repository(),
            "signatures": progress.collect::<Vec<_>>(),
            "signed": request.signed().value(),
        })
    }

    fn image(&mut self, name: &str, image: &Image) -> Value {
        let kind = if image.kind == Kind::Raw {
            "raw bytes, no metadata and no image for MCUboot"
        } else {
            "image for MCUboot"
        };
        self.line(0, format!("{name}: {kind}, {} bytes", grouped(image.length)));
        self.field(1, "sha256", Hex(&image.sha256));
        let mut json = json!({
            "kind": "image",
            "format": if image.kind == Kind::Raw { "raw" } else { "mcuboot" },
            "length": image.length,
            "sha256": Hex(&image.sha256).to_string(),
            "version": image.version,
            "counter": image.counter,
            "remarks": image.remarks(),
        });
        if let Kind::Mcuboot(found) = &image.kind {
            let counter = found.counter.map_or("none".to_owned(), |counter| counter.to_string());
            self.field(1, "version", found.header.version);
            self.field(1, "counter", counter);
            self.field(1, "digest", Hex(&found.digest));
            let signature = found.signature.map(|signature| format!("{signature:?}"));
            if let Some(signature) = &signature {
                self.field(1, "signature", format!("{signature}, not verified"));
            }
            json["digest"] = json!(Hex(&found.digest).to_string());
            json["signature"] = json!(signature);
        }
        for remark in image.remarks() {
            self.line(1, remark);
        }
        json
    }

    fn repository(&mut self, repository: &mut Repository) -> Result<Value, Error> {
        let mut roles: Vec<Role> = vec![Role::Root, Role::Timestamp, Role::Snapshot];
        let listed = repository.listed()?;
        let mut below: Vec<Role> = listed.keys().cloned().collect();
        below.sort_by_key(|role| *role != Role::Targets);
        roles.extend(below);
        let (mut json, mut halts) = (Vec::new(), Vec::new());
        let mut targets: Vec<(String, Value)> = Vec::new();
        for (index, role) in roles.iter().enumerate() {
            let Some(file) = repository.file(role)? else {
                self.line(1, format!("{role:<12} is not there"));
                continue;
            };
            let version = file.version.map_or("?".to_owned(), |version| version.to_string());
            if index < self.manner.most {
                let expires = self.date(file, 1, "expires");
                self.line(1, format!("{:<24} expires {expires}", format!("{role} {version}")));
            }
            halts.extend(if *role == Role::Timestamp { file.halts() } else { Vec::new() });
            targets.extend(file.targets().map(|(path, target)| (path.clone(), target.clone())));
            json.push(json!({
                "role": role.name(),
                "version": file.version,
                "issued": file.dates[0].map(|date| Date(date).to_string()),
                "expires": file.dates[1].map(|date| Date(date).to_string()),
                "length": file.length,
                "signatures": self.signatures_json(file),
            }));
        }
        self.rest(1, roles.len(), "roles");
        for digest in &halts {
            let digest = self.text(&json!(digest));
            self.line(1, format!("halted: image {digest}"));
        }
        targets.sort_by(|one, other| one.0.cmp(&other.0));
        self.targets(1, targets.iter().map(|(path, target)| (path.as_str(), target)));
        let targets: serde_json::Map<String, Value> = targets.into_iter().collect();
        Ok(json!({ "kind": "repository", "roles": json, "halted": halts, "targets": targets }))
    }
}

/// Role and version, as "targets version 3".
fn title(file: &File) -> String {
    match file.version {
        Some(version) => format!("{} version {version}", file.role),
        None => format!("{} without a version", file.role),
    }
}

fn counted(count: usize, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count as u64), if count == 1 { one } else { many })
}
