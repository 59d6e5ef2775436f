//! Published repositories, metadata files and signing requests, read from disk and judged as a device judges them.
//!
//! Nothing is verified here: the devices' verifier walks the roots, counts the signatures and follows the links,
//! and what it refuses is kept with its words. What it takes and this crate cannot read is kept, too.

mod device;
mod signers;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use tuffet_client::limits::DEVICE;
use tuffet_client::{Goal, SOFTWARE, Trusted};

use crate::encoding::sha256_hex;
use crate::file::{self, MAX_FILE};
use crate::metadata::{Envelope, Header, Role};
use crate::request::{MAX_REQUEST, Request, is_request};
use crate::root::Chain;
use crate::text::plain;
use crate::{Error, Rejected, canonical, delegation};

pub(crate) use device::{Files, Outcome, is_freeze, role_of, search};
pub(crate) use signers::{Signers, read_key};

/// What one path led to.
#[derive(Debug)]
pub struct Subject {
    pub(crate) path: PathBuf,
    pub(crate) kind: Kind,
    /// Where the files beside it are.
    pub(crate) directory: PathBuf,
    pub(crate) roots: Roots,
    /// Of a repository one file a role: the newest root that a device takes (or the first that it does not),
    /// and the files that the timestamp leads to.
    pub(crate) files: Vec<Document>,
    /// Files that must be there, and are not: the role, and the file's name.
    pub(crate) absent: Vec<(Role, String)>,
    /// Of a single file of a delegated role: those beside it that may say who signs it.
    pub(crate) above: Vec<Document>,
    /// If it is one: what it holds, or what is wrong with it.
    pub(crate) request: Option<Result<Box<Request>, Error>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Repository,
    Metadata,
    Request,
}

/// A metadata file.
#[derive(Debug)]
pub(crate) struct Document {
    /// The role that it is of; none of a file that says nothing of the kind.
    pub(crate) role: Option<Role>,
    pub(crate) path: PathBuf,
    pub(crate) bytes: Vec<u8>,
    /// What this crate reads in it. Devices take some files that it does not, and the other way round.
    pub(crate) envelope: Result<Envelope, Error>,
    pub(crate) refused: Option<Refusal>,
}

/// Why a file is refused, in the words of who refuses it: `C106` is a code of the verifier, `K102` one of this crate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) code: String,
    pub(crate) message: String,
    /// What the verifier said, if it did.
    pub(crate) device: Option<tuffet_client::Error>,
    /// It is well signed, and refused where the files above it lead to it.
    pub(crate) by_link: bool,
}

impl From<tuffet_client::Error> for Refusal {
    fn from(error: tuffet_client::Error) -> Refusal {
        Refusal {
            code: format!("C{}", error.code()),
            message: error.to_string(),
            device: Some(error),
            by_link: false,
        }
    }
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Refusal {
        Refusal {
            code: format!("K{}", error.code()),
            message: plain(&error.to_string()),
            device: None,
            by_link: false,
        }
    }
}

/// The roots of a repository, as far as a device walks them.
#[derive(Debug, Default)]
pub(crate) struct Roots {
    /// From version 1 on. If a device refuses one, that is the last.
    pub(crate) files: Vec<Document>,
    /// What a device trusts that walked them.
    pub(crate) trusted: Option<Trusted>,
    /// The version that is not there, though a later one is.
    pub(crate) gap: Option<u32>,
}

impl Subject {
    /// Reads a published repository's directory, a metadata file or a signing request.
    ///
    /// # Errors
    /// [`Environment::Io`](crate::Environment::Io), and [`Misuse::NotPublished`](crate::Misuse::NotPublished) for a
    /// directory without a root. A file that is damaged is no error, but refused in the result.
    pub fn read(path: &Path) -> Result<Subject, Error> {
        if path.is_dir() {
            return Subject::repository(path);
        }
        let directory = path.parent().unwrap_or(Path::new("")).to_owned();
        let mut subject = Subject {
            path: path.to_owned(),
            kind: Kind::Metadata,
            directory,
            roots: Roots::default(),
            files: Vec::new(),
            absent: Vec::new(),
            above: Vec::new(),
            request: None,
        };
        let file = match file::read_within(MAX_REQUEST, path) {
            Ok(bytes) if is_request(&bytes) => {
                subject.kind = Kind::Request;
                subject.request = Some(Request::from_file(bytes).map(Box::new));
                return Ok(subject);
            }
            Ok(bytes) if bytes.len() as u64 > MAX_FILE => {
                Err(Error::from(Rejected::TooLarge { limit: MAX_FILE }).in_file(path))
            }
            other => other,
        };
        let mut document = Document::of(path, file)?;
        let last = match document.role {
            Some(Role::Root) => document.version().map(|version| version.saturating_sub(1)),
            _ => None,
        };
        subject.roots = Roots::walk(&subject.directory, last)?;
        match document.role {
            Some(Role::Root) => subject.roots.push(document, last.unwrap_or(0).saturating_add(1)),
            _ => {
                document.judge(subject.roots.trusted.as_ref());
                if let Some(Role::Delegated(_)) = document.role {
                    let above = subject.above()?;
                    document.judge_delegated(&above);
                    subject.above = above;
                }
                subject.files.push(document);
            }
        }
        if subject.files.is_empty() {
            subject.files.extend(subject.roots.files.last().map(Document::again));
        }
        Ok(subject)
    }

    fn repository(path: &Path) -> Result<Subject, Error> {
        let roots = Roots::walk(path, None)?;
        if roots.files.is_empty() && roots.gap.is_none() {
            return Err(Error::from(crate::Misuse::NotPublished).in_file(path));
        }
        let mut subject = Subject {
            path: path.to_owned(),
            kind: Kind::Repository,
            directory: path.to_owned(),
            files: roots.files.last().map(Document::again).into_iter().collect(),
            roots,
            absent: Vec::new(),
            above: Vec::new(),
            request: None,
        };
        subject.take(Role::Timestamp, "timestamp.json".to_owned())?;
        for (above, name) in [(Role::Timestamp, "snapshot.json"), (Role::Snapshot, "targets.json")] {
            let role = if above == Role::Timestamp { Role::Snapshot } else { Role::Targets };
            if let Some(version) = subject.named(&above, name) {
                subject.take(role, format!("{version}.{name}"))?;
            }
        }
        for (role, version) in subject.delegated() {
            let file = format!("{version}.{}.json", role.file_stem());
            subject.take(role, file)?;
        }
        for index in 0..subject.files.len() {
            let mut document = subject.files[index].again();
            document.judge_delegated(&subject.files);
            subject.files[index] = document;
        }
        subject.judge_links()?;
        Ok(subject)
    }

    /// Reads and judges one more file of the repository.
    fn take(&mut self, role: Role, name: String) -> Result<(), Error> {
        let path = self.directory.join(&name);
        if !exists(&path)? {
            self.absent.push((role, name));
            return Ok(());
        }
        let mut document = Document::read(&path)?;
        document.role = Some(role);
        document.judge(self.roots.trusted.as_ref());
        self.files.push(document);
        Ok(())
    }

    /// Walks timestamp, snapshot and targets as a device does: whether each is the file that the one above it names.
    fn judge_links(&mut self) -> Result<(), Error> {
        let Some(trusted) = &self.roots.trusted else { return Ok(()) };
        let mut files = Files::new(&self.directory);
        let Outcome::Refused(error) = search(&mut files, trusted, Goal::Metadata)? else {
            return Ok(());
        };
        // Dates are judged at a moment that is not known here.
        if is_freeze(&error) {
            return Ok(());
        }
        let role = role_of(&error);
        let mut blamed =
            self.files.iter_mut().filter(|document| document.role.as_ref().map(Role::of_device) == role);
        if let Some(document) = blamed.next().filter(|document| document.refused.is_none()) {
            document.refused = Some(Refusal { by_link: true, ..error.into() });
        }
        Ok(())
    }

    /// The file of a top-level role.
    pub(crate) fn top(&self, role: &Role) -> Option<&Document> {
        self.files.iter().find(|document| document.role.as_ref() == Some(role))
    }

    /// The version that a timestamp or snapshot names.
    fn named(&self, above: &Role, name: &str) -> Option<u32> {
        let version = self.top(above)?.signed()?.get("meta")?.get(name)?.get("version")?.as_u64()?;
        u32::try_from(version).ok()
    }

    /// The delegated roles that the snapshot names, and their versions.
    fn delegated(&self) -> Vec<(Role, u32)> {
        let meta = self.top(&Role::Snapshot).and_then(Document::signed).and_then(|signed| signed.get("meta"));
        let entries = meta.and_then(Value::as_object).into_iter().flatten();
        let entry = |(name, entry): (&String, &Value)| {
            let version = u32::try_from(entry.get("version")?.as_u64()?).ok()?;
            let role = name.strip_suffix(".json").and_then(Role::named);
            Some((role.filter(|role| matches!(role, Role::Delegated(_)))?, version))
        };
        entries.filter_map(entry).collect()
    }

    /// The newest targets file beside a file of a delegated role, and those below it that delegate further.
    fn above(&self) -> Result<Vec<Document>, Error> {
        let mut above: Vec<Document> = Vec::new();
        let mut open = vec![Role::Targets];
        while let Some(role) = open.pop() {
            if above.iter().any(|document| document.role.as_ref() == Some(&role)) {
                continue;
            }
            let Some(path) = newest_file(&self.directory, &role)? else { continue };
            let mut document = Document::read(&path)?;
            document.role = Some(role);
            document.judge(self.roots.trusted.as_ref());
            document.judge_delegated(&above);
            if let (None, Some(signed)) = (&document.refused, document.signed()) {
                open.extend(delegation::names(signed));
            }
            above.push(document);
        }
        Ok(above)
    }

    /// What the newest root signs, which says who signs and how early: of a request for a root, that root.
    pub(crate) fn newest_root(&self) -> Option<Value> {
        match &self.request {
            Some(Ok(request)) if request.header().role == Role::Root => {
                Some(request.signed().value().clone())
            }
            Some(Ok(request)) => {
                Envelope::parse(request.chain().files().last()?).ok().map(|envelope| envelope.signed)
            }
            _ => self.roots.accepted().last()?.signed().cloned(),
        }
    }

    /// The digest of root 1, which names the repository.
    pub(crate) fn repository_digest(&self) -> Option<String> {
        match &self.request {
            Some(Ok(request)) => Some(request.repository()),
            _ => {
                let first = self.roots.accepted().first()?.signed()?;
                canonical::signed_bytes(first).ok().map(|bytes| sha256_hex(&bytes))
            }
        }
    }
}

impl Roots {
    /// Walks the roots of a directory, up to a version or as far as they go.
    fn walk(directory: &Path, last: Option<u32>) -> Result<Roots, Error> {
        let mut roots = Roots::default();
        let present = root_versions(directory)?;
        let wanted = last.or(present.last().copied()).unwrap_or(0);
        for version in 1..=wanted {
            if !present.contains(&version) {
                roots.gap = Some(version);
                break;
            }
            roots.push(Document::read(&directory.join(format!("{version}.root.json")))?, version);
            if roots.files.last().is_some_and(|root| root.refused.is_some()) {
                break;
            }
        }
        Ok(roots)
    }

    /// The next root, judged. Behind a gap or a refused one no device takes another.
    fn push(&mut self, mut root: Document, version: u32) {
        root.role = Some(Role::Root);
        let place = self.gap.or_else(|| self.refused().map(|_| version));
        let misplaced = root.version().filter(|inside| *inside != version);
        root.refused = root.refused.take().or_else(|| {
            if let Some(missing) = place {
                let why = "a device never comes to it from the roots before it".to_owned();
                return Some((&Error::from(Rejected::BrokenChain { version: missing, why })).into());
            }
            if let (None, Some(inside)) = (&self.trusted, misplaced) {
                let why = format!("version {inside} stands in its place");
                return Some((&Error::from(Rejected::BrokenChain { version, why })).into());
            }
            let memory = &mut [0; DEVICE.memory()];
            let judged = match &mut self.trusted {
                None => Trusted::from_root_file(&SOFTWARE, &DEVICE, memory, &root.bytes)
                    .map(|first| self.trusted = Some(first)),
                Some(trusted) => trusted.next_root_file(&SOFTWARE, &DEVICE, memory, &root.bytes),
            };
            judged.err().map(Refusal::from)
        });
        self.files.push(root);
    }

    fn refused(&self) -> Option<&Refusal> {
        self.files.last().and_then(|root| root.refused.as_ref())
    }

    /// The roots that a device takes.
    pub(crate) fn accepted(&self) -> &[Document] {
        match self.refused() {
            Some(_) => &self.files[..self.files.len() - 1],
            None => &self.files,
        }
    }
}

impl Document {
    fn read(path: &Path) -> Result<Document, Error> {
        Document::of(path, file::read(path))
    }

    /// The file that was read there. One that is too large is refused, and no error.
    fn of(path: &Path, read: Result<Vec<u8>, Error>) -> Result<Document, Error> {
        let (bytes, too_large) = match read {
            Err(error @ Error::Rejected { .. }) => (Vec::new(), Some(error)),
            bytes => (bytes?, None),
        };
        let envelope = match too_large {
            Some(error) => Err(error),
            None => Envelope::parse(&bytes),
        };
        let refused = envelope.as_ref().err().filter(|_| bytes.is_empty()).map(Refusal::from);
        let role = role_of_file(path, envelope.as_ref().ok().map(|envelope| &envelope.signed));
        Ok(Document { role, path: path.to_owned(), bytes, envelope, refused })
    }

    /// The role's name, for a terminal.
    pub(crate) fn name(&self) -> String {
        self.role.as_ref().map_or_else(|| "unknown".to_owned(), Role::to_string)
    }

    /// Asks the verifier whether enough of the role's keys signed it. Of a delegated role this is the beginning:
    /// see [`Document::judge_delegated`].
    fn judge(&mut self, trusted: Option<&Trusted>) {
        if self.refused.is_some() {
            return;
        }
        let memory = &mut [0; DEVICE.memory()];
        self.refused = match (&self.role, trusted) {
            (Some(Role::Delegated(_)), Some(_)) => self.envelope.as_ref().err().map(Refusal::from),
            (Some(role), Some(trusted)) => {
                let judged = trusted.accepts_file(&SOFTWARE, &DEVICE, memory, role.of_device(), &self.bytes);
                judged.err().map(Refusal::from)
            }
            (None, _) => {
                let expected = "root, targets, snapshot or timestamp";
                let unknown = Rejected::WrongField { field: "_type".to_owned(), expected };
                let error = self.envelope.as_ref().err().cloned().unwrap_or_else(|| unknown.into());
                Some((&error).into())
            }
            (_, None) => {
                let why = "no root that a device takes is beside it".to_owned();
                Some((&Error::from(Rejected::BrokenChain { version: 1, why })).into())
            }
        };
    }

    /// Asks the verifier whether enough of those keys signed it that one of these files gives its delegated role. One
    /// to which nobody delegates no device looks at, so there is nothing that it would refuse.
    fn judge_delegated(&mut self, above: &[Document]) {
        let Some(Role::Delegated(name)) = &self.role else { return };
        if self.refused.is_some() {
            return;
        }
        let above = above.iter().filter(|document| document.refused.is_none()).filter_map(Document::signed);
        let signers = above.filter_map(|signed| Signers::of_delegation(signed, name));
        let mut refused = None;
        for signers in signers {
            match signers.accept_delegated(&self.bytes) {
                Ok(()) => return,
                Err(refusal) => refused = refused.or(Some(refusal)),
            }
        }
        self.refused = refused.map(Refusal::from);
    }

    pub(crate) fn signed(&self) -> Option<&Value> {
        self.envelope.as_ref().ok().map(|envelope| &envelope.signed)
    }

    pub(crate) fn header(&self) -> Result<Header, Error> {
        self.envelope
            .as_ref()
            .map_err(Error::clone)
            .and_then(|envelope| Header::from_signed(&envelope.signed))
    }

    fn version(&self) -> Option<u32> {
        u32::try_from(self.signed()?.get("version")?.as_u64()?).ok()
    }

    fn again(&self) -> Document {
        Document {
            role: self.role.clone(),
            path: self.path.clone(),
            bytes: self.bytes.clone(),
            envelope: self.envelope.clone(),
            refused: self.refused.clone(),
        }
    }
}

/// By what it says, or if it says nothing, by its name.
fn role_of_file(path: &Path, signed: Option<&Value>) -> Option<Role> {
    let file = path.file_name().unwrap_or_default().to_string_lossy();
    let name = file.strip_suffix(".json").unwrap_or(&file);
    let name = name.split_once('.').map_or(name, |(_, name)| name);
    signed.and_then(|signed| Role::of_file(path, signed)).or_else(|| Role::from_name(name))
}

/// Versions of the roots in a directory, in order.
fn root_versions(directory: &Path) -> Result<Vec<u32>, Error> {
    versions(directory, "root")
}

/// Versions of the files of a role in a directory, in order.
///
/// # Errors
/// [`Environment::Io`](crate::Environment::Io).
pub fn versions(directory: &Path, role: &str) -> Result<Vec<u32>, Error> {
    let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
    let fail = |error: std::io::Error| Error::io("read", here, &error);
    let mut versions = Vec::new();
    for entry in fs::read_dir(here).map_err(fail)? {
        let name = entry.map_err(fail)?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(&format!(".{role}.json")));
        // A device asks for `1.root.json`, and never for `01.root.json`; nor for version 0.
        let version = number.and_then(|text| {
            text.parse().ok().filter(|version: &u32| *version > 0 && version.to_string() == text)
        });
        versions.extend(version);
    }
    versions.sort_unstable();
    Ok(versions)
}

/// The newest file of a role in a repository's directory, by its number; none if there is none.
///
/// # Errors
/// [`Environment::Io`](crate::Environment::Io).
pub fn newest_file(directory: &Path, role: &Role) -> Result<Option<PathBuf>, Error> {
    let stem = role.file_stem();
    let newest = versions(directory, &stem)?.last().copied();
    Ok(newest.map(|version| directory.join(format!("{version}.{stem}.json"))))
}

/// Targets files of a directory, of every role and version.
#[derive(Debug, Default)]
pub struct TargetsFiles {
    /// Those that can be read.
    pub files: Vec<TargetsFile>,
    /// Those that cannot.
    pub damaged: Vec<PathBuf>,
}

/// One of them.
#[derive(Debug)]
pub struct TargetsFile {
    /// Whose it is, by its name.
    pub role: Role,
    /// Its version.
    pub version: u32,
    /// Its `signed` value.
    pub signed: Value,
    /// Whether enough have signed it of those whom some root of the chain names for targets, or for a delegated role
    /// some file that is verified itself.
    pub verified: bool,
    bytes: Vec<u8>,
}

impl TargetsFiles {
    /// Reads all that are named as published ones are.
    ///
    /// # Errors
    /// [`Environment::Io`](crate::Environment::Io) for the directory.
    pub fn read(directory: &Path, chain: &Chain) -> Result<TargetsFiles, Error> {
        let here = if directory.as_os_str().is_empty() { Path::new(".") } else { directory };
        let fail = |error: std::io::Error| Error::io("read", here, &error);
        let mut files = TargetsFiles::default();
        for entry in fs::read_dir(here).map_err(fail)? {
            let name = entry.map_err(fail)?.file_name().to_string_lossy().into_owned();
            let parts = name.strip_suffix(".json").and_then(|name| name.split_once('.'));
            let named = parts.and_then(|(number, stem)| {
                let version = number
                    .parse::<u32>()
                    .ok()
                    .filter(|version| *version > 0 && version.to_string() == number);
                Some((Role::from_file_stem(stem)?, version?))
            });
            let Some((role @ (Role::Targets | Role::Delegated(_)), version)) = named else { continue };
            let path = directory.join(&name);
            let read = file::read(&path).and_then(|bytes| Ok((Envelope::parse(&bytes)?.signed, bytes)));
            match read {
                // What another version stands in is no file of this one.
                Ok((signed, bytes)) if signed["version"] == version => {
                    files.files.push(TargetsFile { role, version, signed, verified: false, bytes });
                }
                _ => files.damaged.push(path),
            }
        }
        files.files.sort_by(|one, other| (&one.role, one.version).cmp(&(&other.role, other.version)));
        files.damaged.sort();
        files.verify(chain)?;
        Ok(files)
    }

    /// Who signed them: those whom a root of the chain named at its time, and below them whom the files name that are
    /// verified.
    fn verify(&mut self, chain: &Chain) -> Result<(), Error> {
        let roots = chain.files();
        let chains = (1..=roots.len()).map(|end| Chain::verify(&roots[..end]));
        let chains = chains.collect::<Result<Vec<_>, _>>()?;
        for file in self.files.iter_mut().filter(|file| file.role == Role::Targets) {
            file.verified = chains.iter().any(|chain| chain.accepts(&Role::Targets, &file.bytes).is_ok());
        }
        loop {
            let is_signed = |file: &TargetsFile| {
                let Role::Delegated(name) = &file.role else { return false };
                let above = self.files.iter().filter(|above| above.verified);
                let mut signers = above.filter_map(|above| Signers::of_delegation(&above.signed, name));
                !file.verified && signers.any(|signers| signers.accept_delegated(&file.bytes).is_ok())
            };
            let new: Vec<usize> =
                (0..self.files.len()).filter(|index| is_signed(&self.files[*index])).collect();
            if new.is_empty() {
                return Ok(());
            }
            new.into_iter().for_each(|index| self.files[index].verified = true);
        }
    }
}

fn exists(path: &Path) -> Result<bool, Error> {
    path.try_exists().map_err(|error| Error::io("read", path, &error))
}
