//! The workspace of a release team, and what of it is published.
//!
//! ```text
//! tuffet.toml                   see `config`
//! .tuffet.lock                  held by whoever changes the workspace
//! staged/images/SHA256          images of releases that are not published yet
//! staged/targets.request.json   the next targets metadata, waiting for signatures
//! staged/N.root.json            roots that are not published yet
//! public/                       what a web server serves
//! public/N.root.json  N.targets.json  N.snapshot.json  timestamp.json
//! public/targets/DIR/SHA256.FILE
//! ```
//!
//! Published is what `timestamp.json` leads to, and nothing else: a metadata file that a publisher wrote
//! before it died is an orphan that no device sees.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tuffet_client::release::{Hex, served_path};
use tuffet_client::time::Date;
use tuffet_keys::Role;
use tuffet_keys::canonical;
use tuffet_keys::metadata::{Envelope, Header};
use tuffet_keys::request::Request;
use tuffet_keys::root::{Chain, RoleKeys, Root};

use crate::config::{self, Config};
use crate::storage::{Content, Unwatched, Writer, read_optional};
use crate::{Environment, Error, Misuse, Rejected, verify};

/// A directory with a `tuffet.toml`.
#[derive(Clone, Debug)]
pub struct Workspace {
    directory: PathBuf,
    config: Config,
}

impl Workspace {
    /// Opens a workspace.
    ///
    /// # Errors
    /// [`Misuse::NoWorkspace`], [`Rejected::Config`] or an I/O failure.
    pub fn open(directory: &Path) -> Result<Workspace, Error> {
        let path = directory.join(config::FILE);
        let Some(bytes) = read_optional(&path)? else {
            return Err(Misuse::NoWorkspace { path }.into());
        };
        let config = Config::parse(&String::from_utf8_lossy(&bytes), &path)?;
        Ok(Workspace { directory: directory.to_owned(), config })
    }

    /// Makes a workspace whose first root is `root`, a file of version 1 that its own keys have signed and that
    /// has not expired at `now` (seconds since 1970).
    ///
    /// `tuffet.toml` is written last: where it is, all the rest is.
    ///
    /// # Errors
    /// As [`Workspace::check_init`], or an I/O failure.
    pub fn init(directory: &Path, root: &[u8], config: Config, now: u64) -> Result<Workspace, Error> {
        Workspace::check_init(directory, root, now)?;
        let config = Config { root_1_sha256: Some(root_sha256(root)?), ..config };
        let workspace = Workspace { directory: directory.to_owned(), config };
        let mut witness = Unwatched;
        let mut writer = Writer::new(&mut witness);
        let first = workspace.public().join(metadata_name(Role::Root, 1));
        writer.create(&first, &Content::Bytes(root.to_owned()))?;
        writer.create_directories(&workspace.staged().join("images"))?;
        let text = workspace.config.to_text().into_bytes();
        writer.create(&directory.join(config::FILE), &Content::Bytes(text))?;
        Ok(workspace)
    }

    /// Whether [`Workspace::init`] would have its way; nothing is written.
    ///
    /// # Errors
    /// [`Misuse::WorkspaceExists`], [`Rejected::FromTheFuture`], or what a key holder or a device would say about the root.
    pub fn check_init(directory: &Path, root: &[u8], now: u64) -> Result<(), Error> {
        let path = directory.join(config::FILE);
        if read_optional(&path)?.is_some() {
            return Err(Misuse::WorkspaceExists { path }.into());
        }
        let files = [root.to_owned()];
        let roots = Roots::verify(&files, 0)?;
        check_issued(&roots.newest().header, now)?;
        verify::replay_roots(&files, now)
    }

    /// The directory that was opened.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The contents of `tuffet.toml`.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What a web server serves.
    pub fn public(&self) -> PathBuf {
        self.directory.join("public")
    }

    /// The request for signatures over the next targets metadata.
    pub fn request_path(&self) -> PathBuf {
        self.staged().join("targets.request.json")
    }

    /// Where the staged image of a digest (lower-case hex) lies.
    pub fn staged_image(&self, sha256: &str) -> PathBuf {
        self.staged().join("images").join(sha256)
    }

    /// Where a root that is not published yet lies.
    pub fn staged_root(&self, version: u32) -> PathBuf {
        self.staged().join(metadata_name(Role::Root, version))
    }

    pub(crate) fn staged(&self) -> PathBuf {
        self.directory.join("staged")
    }

    /// Keeps every other process from changing the workspace, until the lock is dropped or the process ends.
    ///
    /// # Errors
    /// [`Environment::Locked`] or an I/O failure.
    pub fn lock(&self) -> Result<Lock, Error> {
        let path = self.directory.join(".tuffet.lock");
        let file = File::options().create(true).truncate(false).write(true).open(&path);
        let file = file.map_err(|error| Error::io("open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { file }),
            Err(TryLockError::WouldBlock) => Err(Environment::Locked { path }.into()),
            Err(TryLockError::Error(error)) => Err(Error::io("lock", &path, &error)),
        }
    }

    /// The root 1 that the workspace was made around.
    ///
    /// # Errors
    /// [`Rejected::OtherRepository`] if another one lies in its place, what is wrong with it, or an I/O failure.
    pub fn first_root(&self) -> Result<Vec<u8>, Error> {
        let bytes = tuffet_keys::file::read(&self.first_root_path())?;
        self.check_first_root(&bytes)?;
        Ok(bytes)
    }

    fn first_root_path(&self) -> PathBuf {
        self.public().join(metadata_name(Role::Root, 1))
    }

    fn check_first_root(&self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.first_root_path();
        let found = root_sha256(bytes).map_err(|error| error.in_file(&path))?;
        let pinned = self.config.root_1_sha256.clone().unwrap_or_default();
        if found == pinned { Ok(()) } else { Err(Rejected::OtherRepository { path, found, pinned }.into()) }
    }

    /// The root chain, published and staged.
    ///
    /// # Errors
    /// [`Rejected::OtherRepository`], what else is wrong with it, or an I/O failure.
    pub fn roots(&self) -> Result<Roots, Error> {
        let mut files = Vec::new();
        let mut published = 0;
        for version in 1.. {
            let name = metadata_name(Role::Root, version);
            if let Some(bytes) = read_optional(&self.public().join(&name))? {
                files.push(bytes);
                published = version;
            } else if let Some(bytes) = read_optional(&self.staged().join(&name))? {
                files.push(bytes);
            } else {
                break;
            }
        }
        if let Some(first) = files.first() {
            self.check_first_root(first)?;
        }
        Ok(Roots::verify(&files, published).map_err(|error| error.in_file(&self.public()))?)
    }

    /// What is published; none before the first timestamp.
    ///
    /// # Errors
    /// [`Rejected::Damaged`] for a file that is not what the file that names it says, or an I/O failure.
    pub fn published(&self) -> Result<Option<Published>, Error> {
        Published::read(&self.public())
    }

    /// The staged request, if there is one that is not published yet.
    ///
    /// # Errors
    /// [`Rejected::StaleRequest`], what is wrong with the request, or an I/O failure.
    pub fn pending(&self, published: Option<&Published>) -> Result<Option<Request>, Error> {
        let path = self.request_path();
        if read_optional(&path)?.is_none() {
            return Ok(None);
        }
        let request = Request::read(&path)?;
        let Some(targets) = published.map(|published| &published.targets) else { return Ok(Some(request)) };
        // A publisher that died after the timestamp leaves the request behind.
        if request.signed() == targets.signed() {
            return Ok(None);
        }
        let (staged, published) = (request.header().version, targets.header.version);
        if staged <= published {
            return Err(Rejected::StaleRequest { path, staged, published }.into());
        }
        Ok(Some(request))
    }

    /// The version for new metadata of a role: one above all that was ever written, orphans included.
    ///
    /// # Errors
    /// [`Rejected::Exhausted`] or an I/O failure.
    pub fn next_version(&self, role: Role) -> Result<u32, Error> {
        let public = self.public();
        let failed = |error| Error::io("list", &public, &error);
        let mut highest = 0;
        for entry in fs::read_dir(&public).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let version = name.to_str().and_then(|name| name.strip_suffix(&format!(".{role}.json")));
            highest = highest.max(version.and_then(|version| version.parse().ok()).unwrap_or(0));
        }
        successor(highest)
    }
}

/// Held while a process changes a workspace.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Drop for Lock {
    /// Closing the file is not enough while a process that another thread is just starting has a copy of it.
    fn drop(&mut self) {
        // Nothing to be done about a failure; the lock then lasts until this process ends.
        let _ = self.file.unlock();
    }
}

/// Roots from version 1 on, each verified under its predecessor and itself.
#[derive(Clone, Debug)]
pub struct Roots {
    /// The chain, published and staged.
    pub chain: Chain,
    /// The newest version that is in the public directory.
    pub published: u32,
    newest: Root,
}

impl Roots {
    pub(crate) fn verify(files: &[Vec<u8>], published: u32) -> Result<Roots, tuffet_keys::Error> {
        let chain = Chain::verify(files)?;
        let why = || "there is no root".to_owned();
        let newest =
            chain.last().ok_or_else(|| tuffet_keys::Rejected::BrokenChain { version: 1, why: why() })?;
        Ok(Roots { published, newest: newest.clone(), chain })
    }

    /// The last root of the chain.
    pub fn newest(&self) -> &Root {
        &self.newest
    }

    /// The version of the last root.
    pub fn version(&self) -> u32 {
        self.newest.header.version
    }

    /// The keys that the last root gives a role.
    pub fn keys(&self, role: Role) -> &RoleKeys {
        // A root without one of the four does not decode.
        &self.newest.roles[&role]
    }
}

/// The metadata that the public timestamp leads to.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// `timestamp.json`.
    pub timestamp: Document,
    /// The snapshot that it names.
    pub snapshot: Document,
    /// The targets metadata that the snapshot names.
    pub targets: Document,
}

/// A published metadata file.
#[derive(Clone, Debug, PartialEq)]
pub struct Document {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// What they say. The signatures are not verified here: that is [`crate::verify`]'s.
    pub envelope: Envelope,
    /// Role, version and dates.
    pub header: Header,
}

impl Published {
    fn read(public: &Path) -> Result<Option<Published>, Error> {
        let path = public.join(metadata_name(Role::Timestamp, 0));
        let Some(bytes) = read_optional(&path)? else { return Ok(None) };
        let timestamp = Document::parse(bytes, Role::Timestamp, &path)?;
        let snapshot = timestamp.follow(public, Role::Snapshot)?;
        let targets = snapshot.follow(public, Role::Targets)?;
        Ok(Some(Published { timestamp, snapshot, targets }))
    }
}

impl Document {
    /// The `signed` member.
    pub fn signed(&self) -> &Value {
        &self.envelope.signed
    }

    /// Whether keys that `keys` names have signed it, enough of them. A statement about labels: it tells what is
    /// to be signed anew, and no more.
    pub fn is_signed_by(&self, keys: &RoleKeys) -> bool {
        let known = self.envelope.signatures.iter().filter(|(keyid, _)| keys.keys.contains_key(keyid));
        known.count() >= keys.threshold as usize
    }

    pub(crate) fn parse(bytes: Vec<u8>, role: Role, path: &Path) -> Result<Document, Error> {
        let read = || {
            let envelope = Envelope::parse(&bytes)?;
            let header = Header::from_signed(&envelope.signed)?;
            // We write one form alone; another one was touched by somebody else.
            let ours = header.role == role && envelope.to_bytes()? == bytes;
            Ok::<_, tuffet_keys::Error>((ours, envelope, header))
        };
        match read().map_err(|error| error.in_file(path))? {
            (true, envelope, header) => Ok(Document { bytes, envelope, header }),
            (false, ..) => Err(damaged(path, "the file is not as tuffet writes it")),
        }
    }

    /// The file that this one lists.
    fn follow(&self, public: &Path, role: Role) -> Result<Document, Error> {
        let entry = &self.signed()["meta"][format!("{role}.json")];
        let version = entry["version"].as_u64().and_then(|version| version.try_into().ok()).unwrap_or(0);
        let path = public.join(metadata_name(role.clone(), version));
        let bytes = read_optional(&path)?.ok_or_else(|| damaged(&path, "a published file is missing"))?;
        let sha256 = Hex(&Sha256::digest(&bytes)).to_string();
        let listed = (entry["hashes"]["sha256"].as_str(), entry["length"].as_u64());
        if listed != (Some(&sha256), Some(bytes.len() as u64)) {
            return Err(damaged(&path, "the file is not the one that the metadata above it names"));
        }
        let document = Document::parse(bytes, role, &path)?;
        if document.header.version != version {
            return Err(damaged(&path, "the file has another version than its name"));
        }
        Ok(document)
    }
}

/// SHA-256, in lower-case hex, of what the keys of a root signed: what `tuffet-keys` shows to them. It is the same
/// however many of them signed.
///
/// # Errors
/// What is wrong with the file.
pub fn root_sha256(root: &[u8]) -> Result<String, tuffet_keys::Error> {
    let payload = canonical::signed_bytes(&Envelope::parse(root)?.signed)?;
    Ok(Hex(&Sha256::digest(&payload)).to_string())
}

/// The name of a metadata file at the top of a repository; a timestamp's has no version.
pub fn metadata_name(role: Role, version: u32) -> String {
    match role {
        Role::Timestamp => "timestamp.json".to_owned(),
        role => format!("{version}.{role}.json"),
    }
}

/// The name of a target's file below a repository's top: `a/b/file` is `targets/a/b/SHA256.file`.
pub fn target_name(path: &str, sha256: &str) -> String {
    served_path(path, sha256).to_string()
}

/// The next version or sequence.
pub(crate) fn successor(number: u32) -> Result<u32, Error> {
    number.checked_add(1).ok_or_else(|| Rejected::Exhausted { what: "version" }.into())
}

/// Whether offline metadata may be believed at `now`. What they say of their date of issue is a floor of every
/// device's time, with a clock or without, and nothing ever lowers it.
///
/// # Errors
/// [`Rejected::FromTheFuture`].
pub(crate) fn check_issued(header: &Header, now: u64) -> Result<(), Error> {
    header.check_issued(now).map_err(|_| {
        let what = format!("{} {}", header.role, header.version);
        let (issued, now) = (Date(header.issued).to_string(), Date(now).to_string());
        Rejected::FromTheFuture { what, issued, now }.into()
    })
}

fn damaged(path: &Path, why: &str) -> Error {
    Rejected::Damaged { path: path.to_owned(), why: why.to_owned() }.into()
}
