//! The workspace of a release team, and what of it is published.
//!
//! ```text
//! tuffet.toml                   see `config`
//! .tuffet.lock                  held by whoever changes the workspace
//! keys/                         public keys of products' own holders
//! last/                         copies of timestamp and snapshot as they were published last
//! staged/images/SHA256          images of releases that are not published yet
//! staged/ROLE.request.json      the next metadata of a role, waiting for signatures
//! staged/N.root.json            roots that are not published yet
//! public/                       what a web server serves, unless the policy says otherwise
//! public/N.root.json  N.ROLE.json  N.snapshot.json  timestamp.json
//! public/targets/DIR/SHA256.FILE
//! ```
//!
//! Published is what `timestamp.json` leads to, and nothing else: a metadata file that a publisher wrote
//! before it died is an orphan that no device sees.

mod memory;
mod published;
mod roots;

use std::collections::BTreeSet;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use tuffet_client::limits::{DEVICE, Limits};
use tuffet_client::release::{Hex, served_path};
use tuffet_client::time::Date;
use tuffet_keys::Role;
use tuffet_keys::canonical;
use tuffet_keys::file::MAX_FILE;
use tuffet_keys::metadata::{Envelope, Header};
use tuffet_keys::request::Request;

use crate::author::summary;
use crate::config::{self, Config, Storage};
use crate::document::{self, Document, Meta, Sheet};
use crate::release::Channel;
use crate::storage::{Content, Unwatched, Writer, read_optional};
use crate::store::{self, Access, Settings, Store};
use crate::{Environment, Error, Misuse, Rejected, verify};

pub use published::Published;
pub use roots::Roots;

/// How the names of staged requests end.
const REQUEST: &str = ".request.json";

/// A directory with a `tuffet.toml`.
#[derive(Clone)]
pub struct Workspace {
    directory: PathBuf,
    config: Config,
    /// Where what is published is. A server is probed before its first write.
    store: Arc<dyn Store>,
}

impl Workspace {
    /// Opens a workspace.
    ///
    /// # Errors
    /// [`Misuse::NoWorkspace`], [`Rejected::Config`] or an I/O failure.
    pub fn open(directory: &Path) -> Result<Workspace, Error> {
        Workspace::open_with(directory, Settings::from_env())
    }

    /// The same, with other settings for servers than this process was given.
    ///
    /// # Errors
    /// As [`Workspace::open`].
    pub fn open_with(directory: &Path, settings: Settings) -> Result<Workspace, Error> {
        let path = directory.join(config::FILE);
        let Some(bytes) = read_optional(&path)? else {
            return Err(Misuse::NoWorkspace { path }.into());
        };
        let config = Config::parse(&String::from_utf8_lossy(&bytes), &path)?;
        Workspace::with(directory, config, settings)
    }

    fn with(directory: &Path, config: Config, mut settings: Settings) -> Result<Workspace, Error> {
        let Storage { url, danger_allow_plain_http } = &config.storage;
        let place = match url.contains("://") {
            true => url.clone(),
            false => directory.join(url).display().to_string(),
        };
        settings.danger_plain_http |= *danger_allow_plain_http;
        let store = store::open(&place, Access::Read, &settings)?.into();
        Ok(Workspace { directory: directory.to_owned(), config, store })
    }

    /// Where what is published is.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    /// Makes a workspace whose first root is `root`, a file of version 1 that its own keys have signed and that
    /// has not expired at `now` (seconds since 1970).
    ///
    /// Public keys that the policy names are copied into the workspace, below `keys/`. `tuffet.toml` is written last: where
    /// it is, all the rest is.
    ///
    /// # Errors
    /// As [`Workspace::check_init`], or an I/O failure.
    pub fn init(directory: &Path, root: &[u8], config: Config, now: u64) -> Result<Workspace, Error> {
        Workspace::check_init(directory, root, now)?;
        let mut config = Config { root_1_sha256: Some(root_sha256(root)?), ..config };
        let keys = config.adopt_keys()?;
        let workspace = Workspace::with(directory, config, Settings::from_env())?;
        let mut writer_witness = Unwatched;
        let mut writer = Writer::new(&mut writer_witness);
        writer.create_directories(&workspace.staged().join("images"))?;
        for (path, pem) in keys {
            writer.create(&directory.join(path), &Content::Bytes(pem.into()))?;
        }
        let first = (metadata_name(&Role::Root, 1), Content::Bytes(root.to_owned().into()));
        workspace.store.create(&[first], &mut Unwatched)?;
        let text = workspace.config.to_text().into_bytes();
        writer.create(&directory.join(config::FILE), &Content::Bytes(text.into()))?;
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
        verify::replay_roots(&files, &DEVICE, now)
    }

    /// The directory that was opened.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The contents of `tuffet.toml`.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What a web server serves: the directory, or the address of the store.
    pub fn public(&self) -> PathBuf {
        match self.config.storage.url.contains("://") {
            true => self.config.storage.url.clone().into(),
            false => self.directory.join(&self.config.storage.url),
        }
    }

    /// The request for signatures over the next metadata of a role.
    pub fn request_path(&self, role: &Role) -> PathBuf {
        self.staged().join(format!("{}{REQUEST}", role.file_stem()))
    }

    /// Where the staged image of a digest (lower-case hex) lies.
    pub fn staged_image(&self, sha256: &str) -> PathBuf {
        self.staged().join("images").join(sha256)
    }

    /// Where a root that is not published yet lies.
    pub fn staged_root(&self, version: u32) -> PathBuf {
        self.staged().join(metadata_name(&Role::Root, version))
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
        let name = metadata_name(&Role::Root, 1);
        let bytes =
            self.read(&name)?.ok_or_else(|| damaged(&self.place(&name), "the first root is missing"))?;
        self.check_first_root(&bytes)?;
        Ok(bytes)
    }

    fn check_first_root(&self, bytes: &[u8]) -> Result<(), Error> {
        let path = self.place(&metadata_name(&Role::Root, 1));
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
            let name = metadata_name(&Role::Root, version);
            if let Some(bytes) = self.read(&name)? {
                files.push(bytes);
                published = version;
            } else if let Some(bytes) = read_optional(&self.staged().join(&name))? {
                files.push(bytes);
            } else {
                let next = metadata_name(&Role::Root, version.saturating_add(1));
                if self.read(&next)?.is_some() {
                    let path = self.place(&name);
                    return Err(damaged(&path, "a root is missing, and a later one is there"));
                }
                break;
            }
        }
        if let Some(first) = files.first() {
            self.check_first_root(first)?;
        }
        Ok(Roots::verify(&files, published).map_err(|error| error.in_file(&self.public()))?)
    }

    /// The file that another one lists.
    fn listed(&self, role: &Role, meta: Option<&Meta>) -> Result<Option<Document>, Error> {
        let Some(Meta { version, length, sha256 }) = meta else { return Ok(None) };
        let name = metadata_name(role, *version);
        let path = self.place(&name);
        let bytes = self.read(&name)?.ok_or_else(|| damaged(&path, "a published file is missing"))?;
        if summary(&bytes) != (sha256.clone(), *length) {
            return Err(damaged(&path, "the file is not the one that the metadata above it names"));
        }
        let document = Document::parse(bytes, role, &path)?;
        if document.header.version != *version {
            return Err(damaged(&path, "the file has another version than its name"));
        }
        Ok(Some(document))
    }

    /// A published file, whole.
    ///
    /// # Errors
    /// An I/O failure, or a file too large for metadata.
    pub(crate) fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.store.read(name, MAX_FILE)?.map(|stored| stored.bytes))
    }

    /// Where a published file is, for messages.
    pub(crate) fn place(&self, name: &str) -> PathBuf {
        self.store.place(name)
    }

    /// The roles whose metadata wait for signatures, and their requests.
    ///
    /// # Errors
    /// An I/O failure.
    pub fn staged_roles(&self) -> Result<Vec<Role>, Error> {
        let directory = self.staged();
        let failed = |error| Error::io("list", &directory, &error);
        let mut roles = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let stem = name.to_str().and_then(|name| name.strip_suffix(REQUEST));
            let role = stem.and_then(Role::from_file_stem);
            // Requests for roots are the key holders' own business.
            roles.extend(role.filter(|role| matches!(role, Role::Targets | Role::Delegated(_))));
        }
        roles.sort();
        Ok(roles)
    }

    /// The staged request of a role, if there is one that is not published yet.
    ///
    /// # Errors
    /// [`Rejected::StaleRequest`], what is wrong with the request, or an I/O failure.
    pub fn pending(&self, role: &Role, published: Option<&Published>) -> Result<Option<Request>, Error> {
        let path = self.request_path(role);
        if !path.is_file() {
            return Ok(None);
        }
        let request = Request::read(&path)?;
        let asked = &request.header().role;
        if asked != role {
            return Err(Rejected::StrayRequest { path, role: asked.clone() }.into());
        }
        let staged = request.header().version;
        let listed = published.and_then(|published| published.version(role));
        let Some(published_version) = listed.filter(|listed| staged <= *listed) else {
            return Ok(Some(request));
        };
        // A publisher that died after the timestamp leaves the request behind.
        let document = Published::role_of(published, role)?;
        if document
            .is_some_and(|document| document::text_of(request.payload()).as_deref() == Ok(document.signed()))
        {
            return Ok(None);
        }
        Err(Rejected::StaleRequest { path, staged, published: published_version }.into())
    }

    /// The images that wait to be published.
    ///
    /// # Errors
    /// An I/O failure.
    pub(crate) fn staged_images(&self) -> Result<Vec<PathBuf>, Error> {
        let directory = self.staged_image("");
        if !directory.is_dir() {
            return Ok(Vec::new());
        }
        let failed = |error| Error::io("list", &directory, &error);
        let mut images = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed)? {
            images.push(entry.map_err(failed)?.path());
        }
        images.sort();
        Ok(images)
    }

    /// Roots that are not public yet.
    ///
    /// # Errors
    /// As [`Workspace::roots`].
    pub(crate) fn staged_roots(&self) -> Result<Vec<PathBuf>, Error> {
        let roots = self.roots()?;
        Ok((roots.published + 1..=roots.version()).map(|version| self.staged_root(version)).collect())
    }

    /// The staged images that no request of these roles names. Where one cannot be read, it may name any.
    ///
    /// # Errors
    /// An I/O failure.
    pub(crate) fn images_without(&self, roles: &[Role]) -> Result<Vec<PathBuf>, Error> {
        let mut needed = BTreeSet::new();
        for role in roles {
            let sheet = Request::read(&self.request_path(role))
                .map_err(Error::from)
                .and_then(|request| Sheet::of_payload(request.payload()));
            let Ok(sheet) = sheet else { return Ok(Vec::new()) };
            for target in sheet.list() {
                let Ok((_, target)) = target else { return Ok(Vec::new()) };
                needed.insert(target.sha256);
            }
        }
        let named = |image: &PathBuf| {
            let digest = image.file_name().map(|name| name.to_string_lossy().into_owned());
            digest.is_some_and(|digest| needed.contains(&digest))
        };
        Ok(self.staged_images()?.into_iter().filter(|image| !named(image)).collect())
    }

    /// The roles above a delegated one, from the top down; none above a top-level one.
    #[must_use]
    pub fn above(&self, role: &Role) -> Vec<Role> {
        if !matches!(role, Role::Delegated(_)) {
            return Vec::new();
        }
        let delegate = self.config.delegate(role).filter(|delegate| delegate.name != role.name());
        let parent = delegate.map(|delegate| Role::Delegated(delegate.name.clone()));
        [Role::Targets].into_iter().chain(parent).collect()
    }

    pub(crate) fn depth(&self, role: &Role) -> usize {
        self.above(role).len()
    }

    /// The channels that the policy names.
    pub(crate) fn channels(&self) -> Vec<Channel> {
        let mut channels = Vec::new();
        for (product, parts) in &self.config.products {
            for (hardware, name) in parts
                .hardware
                .keys()
                .flat_map(|hardware| parts.channels.iter().map(move |name| (hardware, name)))
            {
                let (product, hardware, name) = (product.clone(), hardware.clone(), name.clone());
                channels.push(Channel { product, hardware, name });
            }
        }
        channels
    }

    /// The bounds of the smallest device: of the root's `devices` and the policy's the smaller.
    #[must_use]
    pub fn limits(&self, roots: &Roots) -> Limits {
        self.config.devices.and(roots.newest().devices.unwrap_or_default()).limits()
    }

    /// The version for new metadata of a role: above what is published, and above every orphan.
    ///
    /// # Errors
    /// [`Rejected::Exhausted`] or an I/O failure.
    pub fn next_version(&self, role: &Role, published: Option<&Published>) -> Result<u32, Error> {
        let mut version = successor(published.and_then(|published| published.version(role)).unwrap_or(0))?;
        while self.store.exists(&metadata_name(role, version))? {
            version = successor(version)?;
        }
        Ok(version)
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
pub fn metadata_name(role: &Role, version: u32) -> String {
    match role {
        Role::Timestamp => "timestamp.json".to_owned(),
        role => format!("{version}.{}.json", role.file_stem()),
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
