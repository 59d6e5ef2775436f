//! Files and those that name them, and the way of a device through all of it.

use serde_json::Value;
use tuffet_client::limits::CANDIDATES;
use tuffet_client::{Ban, Device, Goal, Trusted};

use super::file::rule_of;
use super::{Findings, Rule};
use crate::Error;
use crate::encoding::{from_hex, sha256_hex};
use crate::metadata::Role;
use crate::published::{
    Document, Files, Outcome, Refusal, Signers, Subject, is_freeze, role_of, search, versions,
};

impl Findings<'_> {
    pub(super) fn links(&mut self) -> Result<(), Error> {
        for (role, name) in &self.subject.absent {
            let why = match role {
                Role::Timestamp => "there is no timestamp, with which every device begins",
                _ => "the metadata above it name it, and it is not there",
            };
            self.add(Rule::FileMissing, &self.place(name), &role.to_string(), why);
        }
        for document in &self.subject.files {
            self.named_as_it_is(document);
        }
        self.listed();
        self.unnamed()?;
        let roots = self.subject.roots.accepted().len();
        let walked = self.limits().roots;
        if roots * 100 >= walked as usize * 80 {
            let why = format!("roots: {roots}, and a device walks {walked} in one cycle");
            let place = self.subject.path.display().to_string();
            self.add(Rule::LimitNear, &place, "root", why);
        }
        match &self.subject.roots.trusted {
            Some(trusted) => self.walk(trusted),
            None => Ok(()),
        }
    }

    /// Holds a file against the entry that names it.
    fn named_as_it_is(&mut self, document: &Document) {
        let Some(entry) = entry_of(self.subject, document.role.as_ref()) else { return };
        let (place, role) = (document.path.display().to_string(), document.name());
        let named = entry.get("version").and_then(Value::as_u64);
        let inside = document.signed().and_then(|signed| signed.get("version")).and_then(Value::as_u64);
        let mut same = true;
        if let (Some(named), Some(inside)) = (named, inside)
            && named != inside
        {
            same = false;
            self.add(
                Rule::VersionDiffers,
                &place,
                &role,
                format!("it is version {inside}, and named as {named}"),
            );
        }
        let length = entry.get("length").and_then(Value::as_u64);
        if let Some(length) = length.filter(|length| *length != document.bytes.len() as u64) {
            same = false;
            let why = format!("it has {} bytes, and {length} are named", document.bytes.len());
            self.add(Rule::LengthDiffers, &place, &role, why);
        }
        // Other bytes of another version or length have another hash, of course.
        let hash = entry.get("hashes").and_then(|hashes| hashes.get("sha256")).and_then(Value::as_str);
        let found = sha256_hex(&document.bytes);
        if let Some(hash) = hash.filter(|hash| same && *hash != found) {
            let why = format!("its SHA-256 is {found}, and {hash} is named");
            self.add(Rule::HashDiffers, &place, &role, why);
        }
    }

    /// That the snapshot lists every role that somebody delegates to, and who may sign those.
    fn listed(&mut self) {
        let Some(snapshot) = self.subject.top(&Role::Snapshot) else { return };
        let Some(meta) = snapshot.signed().and_then(|signed| signed.get("meta")) else { return };
        let place = snapshot.path.display().to_string();
        if meta.get("targets.json").is_none() {
            self.add(Rule::NotListed, &place, "targets", "the snapshot does not list targets");
        }
        for document in &self.subject.files {
            let delegations = document.signed().and_then(|signed| signed.get("delegations"));
            let roles =
                delegations.and_then(|delegations| delegations.get("roles")).and_then(Value::as_array);
            for role in roles.into_iter().flatten() {
                let Some(name) = role.get("name").and_then(Value::as_str) else { continue };
                let keys = delegations.and_then(|delegations| delegations.get("keys"));
                if let Some(signers) = keys.and_then(|keys| Signers::read(keys, role)) {
                    self.delegation_policy(&document.path.display().to_string(), name, &signers);
                }
                if meta.get(format!("{name}.json")).is_none() {
                    let why =
                        format!("{} delegates to it, and the snapshot does not list it", document.name());
                    self.add(Rule::NotListed, &place, name, why);
                }
            }
        }
    }

    /// Later versions that nothing names. Whatever else lies about is the repository tool's affair.
    fn unnamed(&mut self) -> Result<(), Error> {
        for role in [Role::Snapshot, Role::Targets] {
            let Some(entry) = entry_of(self.subject, Some(&role)) else { continue };
            let Some(named) = entry.get("version").and_then(Value::as_u64) else { continue };
            let latest = versions(&self.subject.directory, role.name())?.last().copied();
            if let Some(latest) = latest.filter(|latest| u64::from(*latest) > named) {
                let why = format!("version {latest} is there, and devices are led to version {named}");
                self.add(Rule::Unnamed, &self.place(&format!("{latest}.{role}.json")), role.name(), why);
            }
        }
        Ok(())
    }

    /// What devices meet on their way.
    fn walk(&mut self, trusted: &Trusted) -> Result<(), Error> {
        let mut files = Files::new(&self.subject.directory);
        let place = self.subject.path.display().to_string();
        if let Outcome::Refused(error) = search(&mut files, trusted, Goal::Metadata)? {
            let role = role_of(&error).map_or("repository", tuffet_client::Role::name);
            let dated = |rule| matches!(rule, Rule::Expired | Rule::IssuedInFuture);
            let by_date = is_freeze(&error) && self.all.iter().any(|finding| dated(finding.rule));
            if !by_date && !self.explained(role) {
                self.refused(&place, role, error);
            }
            // Behind this nothing is reached, and one finding says so.
            return Ok(());
        }
        for document in &self.subject.files {
            let targets =
                document.signed().and_then(|signed| signed.get("targets")).and_then(Value::as_object);
            for (path, target) in targets.into_iter().flatten() {
                if matches!(document.role, Some(Role::Delegated(_))) {
                    self.found(&mut files, trusted, document, path, target)?;
                }
                self.release(&mut files, trusted, document, path, target)?;
            }
        }
        Ok(())
    }

    /// That a device which searches for a delegated target finds this one.
    fn found(
        &mut self,
        files: &mut Files,
        trusted: &Trusted,
        document: &Document,
        path: &str,
        target: &Value,
    ) -> Result<(), Error> {
        let (place, role) = (document.path.display().to_string(), document.name());
        match search(files, trusted, Goal::Target(path))? {
            Outcome::Refused(error) if self.explained(&role) || self.is_unlisted(&error) => {}
            Outcome::Refused(error) => {
                let why = format!("{path}: {error} [C{}]", error.code());
                self.add(Rule::Unreachable, &place, &role, why);
            }
            Outcome::Found(found) => {
                let hash =
                    target.get("hashes").and_then(|hashes| hashes.get("sha256")).and_then(Value::as_str);
                let here = hash.and_then(|hash| from_hex(hash, "sha256").ok());
                if found.sha256.map(Vec::from) != here {
                    let why = format!("{path}: a role that comes before this one has another file there");
                    self.add(Rule::Unreachable, &place, &role, why);
                }
            }
            Outcome::Done | Outcome::Installs => {}
        }
        Ok(())
    }

    fn is_unlisted(&self, error: &tuffet_client::Error) -> bool {
        let unlisted = tuffet_client::Rejected::RoleNotListed.into();
        *error == unlisted && self.all.iter().any(|finding| finding.rule == Rule::NotListed)
    }

    /// If it is a release entry: that each candidate can be had by the device that is due for it.
    fn release(
        &mut self,
        files: &mut Files,
        trusted: &Trusted,
        document: &Document,
        path: &str,
        target: &Value,
    ) -> Result<(), Error> {
        let [product, hardware, channel, "release"] = path.split('/').collect::<Vec<_>>()[..] else {
            return Ok(());
        };
        let candidates = target.get("custom").and_then(|custom| custom.get("candidates"));
        let candidates = candidates.and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        // With more the whole entry is refused, whoever asks for it.
        let candidates = candidates.get(..CANDIDATES).unwrap_or(candidates);
        let number = |candidate: &Value, member| {
            candidate
                .get(member)
                .and_then(Value::as_u64)
                .and_then(|number| u32::try_from(number).ok())
                .unwrap_or(0)
        };
        let mut banned: Vec<Ban> = Vec::new();
        let devices = candidates.iter().map(|candidate| {
            let hashes = candidate.get("image").and_then(|image| image.get("hashes"));
            let hash =
                hashes.and_then(|hashes| hashes.get("sha256")).and_then(Value::as_str).unwrap_or_default();
            let digest = from_hex(hash, "sha256").ok().and_then(|digest| digest.try_into().ok());
            (number(candidate, "sequence").saturating_sub(1), number(candidate, "counter"), digest)
        });
        // An entry without candidates, or none at all, is still one that a device reads.
        let devices: Vec<(u32, u32, Option<[u8; 32]>)> = devices.chain([(0, u32::MAX, None)]).collect();
        let mut said: Option<tuffet_client::Error> = None;
        for (sequence, counter, digest) in devices {
            // The images of candidates above this one have failed on the device that is due for it.
            let others: Vec<Ban> =
                banned.iter().copied().filter(|other| Some(other.sha256) != digest).collect();
            let device = Device { product, hardware, channel, id: &[], sequence, counter, banned: &others };
            banned.extend(digest.map(|sha256| Ban { sha256, sequence: u32::MAX }));
            let outcome = search(files, trusted, Goal::Release(device))?;
            let Outcome::Refused(error) = outcome else { continue };
            if said != Some(error) && !self.is_unlisted(&error) {
                let why = format!("{path}: {error} [C{}]", error.code());
                self.add(Rule::ReleaseRefused, &document.path.display().to_string(), &document.name(), why);
            }
            said = Some(error);
        }
        Ok(())
    }

    fn refused(&mut self, place: &str, role: &str, error: tuffet_client::Error) {
        let refusal = Refusal::from(error);
        let why = format!("{} [{}]", refusal.message, refusal.code);
        self.add(rule_of(&refusal), place, role, why);
    }
}

/// What a timestamp or snapshot says of the file of a role.
fn entry_of<'s>(subject: &'s Subject, role: Option<&Role>) -> Option<&'s Value> {
    let (above, name) = match role? {
        Role::Snapshot => (Role::Timestamp, "snapshot.json".to_owned()),
        Role::Targets => (Role::Snapshot, "targets.json".to_owned()),
        Role::Delegated(name) => (Role::Snapshot, format!("{name}.json")),
        _ => return None,
    };
    subject.top(&above)?.signed()?.get("meta")?.get(&name)
}
