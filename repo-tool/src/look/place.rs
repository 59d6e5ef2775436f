//! What lies at a path or an address. Signatures are not verified here.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};

use serde_json::Value;
use tuffet_agent::http::HttpOptions;
use tuffet_agent::mcuboot;
use tuffet_keys::canonical;
use tuffet_keys::file::MAX_FILE;
use tuffet_keys::request::Request;
use tuffet_keys::text::plain;
use tuffet_keys::{Role, date};

use crate::image::{self, Image};
use crate::repository::metadata_name;
use crate::source::{self, Fetched, Server, Source};
use crate::{Environment, Error, Misuse, Rejected};

/// Bytes of a file on a server that is no metadata, at the most: images of devices are smaller, and a server may send
/// without end.
const LARGEST: u32 = 256 << 20;

/// Roots that are walked, at the most: a server may have an answer to every number.
const ROOTS: u32 = 1024;

/// The `_type` of a signing request.
const REQUEST: &str = "tuffet-signing-request";

/// Something to look at.
pub struct Place {
    /// As it was named; foreign text.
    pub name: String,
    /// What is there.
    pub content: Content,
}

/// What is at a place.
pub enum Content {
    /// A published repository.
    Repository(Repository),
    /// A metadata file.
    Metadata(Box<File>),
    /// A signing request. What it holds of signatures was verified.
    Request(Box<Request>),
    /// An image file.
    Image(Image),
}

impl Place {
    /// Opens a directory, a file, or a URL. Of a workspace it is what is published. A URL is that of a repository if it
    /// has a `timestamp.json` below it, else that of a file.
    ///
    /// # Errors
    /// [`Rejected::Unreadable`] for JSON that is of no kind that is known, what is wrong with a request or an image,
    /// [`Misuse::Address`], or whatever keeps it from being read.
    pub fn open(name: &str, options: HttpOptions) -> Result<Place, Error> {
        let content = match name.contains("://") {
            true if name.starts_with("s3://") => {
                Content::Repository(Repository::new(source::open(name, options)?))
            }
            true => at_url(name, options)?,
            false => at_path(Path::new(name))?,
        };
        Ok(Place { name: name.to_owned(), content })
    }
}

fn at_path(path: &Path) -> Result<Content, Error> {
    let failed = |error| Error::io("read", path, &error);
    let kind = fs::metadata(path).map_err(failed)?;
    if kind.is_dir() {
        let mut source = source::open(&path.display().to_string(), HttpOptions::default())?;
        let room = u32::try_from(MAX_FILE).unwrap_or(u32::MAX);
        let mut is_there = |name| Ok::<_, Error>(source.fetch(name, room, &mut |_| {})? != Fetched::Missing);
        if !is_there("timestamp.json")? && !is_there("1.root.json")? {
            let why =
                "has no timestamp.json and no 1.root.json; name the directory of a repository, or a file";
            return Err(
                Misuse::Address { url: plain(&path.display().to_string()), why: why.to_owned() }.into()
            );
        }
        return Ok(Content::Repository(Repository::new(source)));
    }
    let mut start = Vec::new();
    if kind.is_file() {
        fs::File::open(path).and_then(|file| file.take(64).read_to_end(&mut start)).map_err(failed)?;
        if !is_json(path, &start) {
            return Ok(Content::Image(image::read(path)?));
        }
    }
    Content::of(tuffet_keys::file::read(path)?, path)
}

fn at_url(url: &str, options: HttpOptions) -> Result<Content, Error> {
    let is_file = url.ends_with(".json");
    if !is_file {
        let mut server = Server::new(url, options.clone())?;
        let room = u32::try_from(MAX_FILE).unwrap_or(u32::MAX);
        if server.fetch("timestamp.json", room, &mut |_| {})? != Fetched::Missing {
            return Ok(Content::Repository(Repository::new(Box::new(server))));
        }
    }
    let fault = tuffet_agent::TransportFault::NotFound;
    let missing = || Error::from(Environment::Fetch { url: url.to_owned(), fault });
    let (top, file) = url
        .rsplit_once('/')
        .filter(|(top, file)| !top.ends_with('/') && !file.is_empty())
        .ok_or_else(missing)?;
    let mut server = Server::new(top, options)?;
    let path = PathBuf::from(url);
    if is_file {
        return match fetch(&mut server, file)? {
            Some(bytes) => Content::of(bytes, &path),
            None => Err(missing()),
        };
    }
    // Read twice: to see what it is, and to see it whole.
    let failed = |error| Error::io("write", Path::new("a temporary file"), &error);
    let mut copy = tempfile::NamedTempFile::new().map_err(failed)?;
    let mut written = Ok(());
    let fetched = server.fetch(file, LARGEST, &mut |chunk| {
        if written.is_ok() {
            written = copy.write_all(chunk);
        }
    })?;
    written.and_then(|()| copy.flush()).map_err(failed)?;
    match fetched {
        Fetched::Whole => {}
        Fetched::Missing => return Err(missing()),
        Fetched::TooLong => {
            let why = tuffet_keys::Rejected::TooLarge { limit: LARGEST.into() };
            return Err(tuffet_keys::Error::from(why).in_file(&path).into());
        }
    }
    let in_place = |error| match error {
        Error::Rejected(Rejected::ImageDamaged { fault, .. }) => {
            Rejected::ImageDamaged { image: path.clone(), fault }.into()
        }
        Error::Rejected(Rejected::ImageEmpty { .. }) => Rejected::ImageEmpty { image: path.clone() }.into(),
        error => error,
    };
    Ok(Content::Image(image::read(copy.path()).map_err(in_place)?))
}

/// Whether a file that begins so is to be read as JSON.
fn is_json(path: &Path, start: &[u8]) -> bool {
    let named = path.extension().is_some_and(|extension| extension == "json");
    let first = start.iter().find(|byte| !byte.is_ascii_whitespace());
    !mcuboot::is_image(start) && (named || first == Some(&b'{'))
}

impl Content {
    fn of(bytes: Vec<u8>, path: &Path) -> Result<Content, Error> {
        let value = canonical::parse(&bytes).map_err(|error| error.in_file(path))?;
        if value.get("_type").is_some_and(|kind| kind == REQUEST) {
            let request = Request::from_bytes(&bytes).map_err(|error| error.in_file(path))?;
            return Ok(Content::Request(Box::new(request)));
        }
        Ok(Content::Metadata(Box::new(File::of(value, bytes.len() as u64, path)?)))
    }
}

/// A metadata file, whoever wrote it, as far as it is one.
#[derive(Clone, Debug)]
pub struct File {
    /// Whose it is: by its `_type`, and of a delegated role by the file's name.
    pub role: Role,
    /// Its version, if it is a number that one can be.
    pub version: Option<u32>,
    /// When it was issued and when it expires, in seconds since 1970, where it says so.
    pub dates: [Option<u64>; 2],
    /// The `signed` member.
    pub signed: Value,
    /// The `signatures` member, whatever it is.
    pub signatures: Value,
    /// Bytes of the file.
    pub length: u64,
}

impl File {
    fn of(mut value: Value, length: u64, path: &Path) -> Result<File, Error> {
        let unreadable = || Error::from(Rejected::Unreadable { path: path.to_owned() });
        let signed =
            value.get_mut("signed").map(Value::take).filter(Value::is_object).ok_or_else(unreadable)?;
        let role = Role::of_file(path, &signed).ok_or_else(unreadable)?;
        let signatures = value.get_mut("signatures").map(Value::take).unwrap_or_default();
        Ok(File { signatures, length, ..File::unsigned(role, signed) })
    }

    /// Metadata that are not a file yet.
    pub(crate) fn unsigned(role: Role, signed: Value) -> File {
        let date = |name: &str| date::parse(signed.get(name)?.as_str()?);
        let version =
            signed.get("version").and_then(Value::as_u64).and_then(|version| version.try_into().ok());
        File {
            role,
            version,
            dates: [date("issued"), date("expires")],
            signed,
            signatures: Value::Null,
            length: 0,
        }
    }

    /// The keyids of its signatures.
    pub fn keyids(&self) -> impl Iterator<Item = &str> {
        let signatures = self.signatures.as_array().into_iter().flatten();
        signatures.filter_map(|signature| signature.get("keyid")?.as_str())
    }

    /// The targets of a targets file, by their paths.
    pub fn targets(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.signed.get("targets").and_then(Value::as_object).into_iter().flatten()
    }

    /// What a snapshot or timestamp says of the role of that name.
    fn listed(&self) -> BTreeMap<Role, Value> {
        let meta = self.signed.get("meta").and_then(Value::as_object).into_iter().flatten();
        meta.filter_map(|(name, said)| Some((Role::named(name.strip_suffix(".json")?)?, said.clone())))
            .collect()
    }

    /// The images that a timestamp halts.
    pub fn halts(&self) -> Vec<String> {
        let halts = self.signed.get("halt").and_then(Value::as_array).into_iter().flatten();
        halts.filter_map(|digest| digest.as_str().map(plain)).collect()
    }
}

/// A published repository, its files read when they are asked for.
pub struct Repository {
    source: Box<dyn Source>,
    known: BTreeMap<Role, Option<File>>,
    listed: Option<BTreeMap<Role, Value>>,
}

impl Repository {
    /// The repository of this source.
    pub fn new(source: Box<dyn Source>) -> Repository {
        Repository { source, known: BTreeMap::new(), listed: None }
    }

    /// The file of a role, found as a device finds it: the newest root, the timestamp, and what those name that are above
    /// it. None if it is not there.
    ///
    /// # Errors
    /// What is wrong with a file on the way, or whatever keeps one from being read.
    pub fn file(&mut self, role: &Role) -> Result<Option<&File>, Error> {
        if !self.known.contains_key(role) {
            let file = self.find(role)?;
            self.known.insert(role.clone(), file);
        }
        Ok(self.known.get(role).and_then(Option::as_ref))
    }

    fn find(&mut self, role: &Role) -> Result<Option<File>, Error> {
        let version =
            |said: &Value| said.get("version").and_then(Value::as_u64).and_then(|it| u32::try_from(it).ok());
        let version = match role {
            Role::Root => return self.newest_root(),
            Role::Timestamp => Some(0),
            Role::Snapshot => {
                let listed = self.file(&Role::Timestamp)?.map(File::listed).unwrap_or_default();
                listed.get(role).and_then(version)
            }
            role => self.listed()?.get(role).and_then(version),
        };
        let Some(version) = version else { return Ok(None) };
        let found = self.read(role, version)?;
        if found.is_none() && *role != Role::Timestamp {
            let path = self.source.place(&metadata_name(role, version));
            let why = "a file that the metadata above it name is missing".to_owned();
            return Err(Rejected::Damaged { path, why }.into());
        }
        Ok(found)
    }

    fn newest_root(&mut self) -> Result<Option<File>, Error> {
        let mut newest = None;
        for version in 1..=ROOTS {
            match self.read(&Role::Root, version)? {
                Some(root) => newest = Some(root),
                None => break,
            }
        }
        Ok(newest)
    }

    /// What the snapshot says of each role.
    ///
    /// # Errors
    /// As [`Repository::file`].
    pub fn listed(&mut self) -> Result<&BTreeMap<Role, Value>, Error> {
        if self.listed.is_none() {
            self.listed = Some(self.file(&Role::Snapshot)?.map(File::listed).unwrap_or_default());
        }
        Ok(self.listed.get_or_insert_default())
    }

    fn read(&mut self, role: &Role, version: u32) -> Result<Option<File>, Error> {
        let name = metadata_name(role, version);
        let place = self.source.place(&name);
        let Some(bytes) = fetch(self.source.as_mut(), &name)? else { return Ok(None) };
        let value = canonical::parse(&bytes).map_err(|error| error.in_file(&place))?;
        let file = File::of(value, bytes.len() as u64, &place)?;
        Ok(Some(File { role: role.clone(), ..file }))
    }
}

/// A metadata file, whole; none if it is not there.
fn fetch(source: &mut dyn Source, name: &str) -> Result<Option<Vec<u8>>, Error> {
    let mut bytes = Vec::new();
    let room = u32::try_from(MAX_FILE).unwrap_or(u32::MAX);
    match source.fetch(name, room, &mut |chunk| bytes.extend_from_slice(chunk))? {
        Fetched::Whole => Ok(Some(bytes)),
        Fetched::Missing => Ok(None),
        Fetched::TooLong => {
            let why = tuffet_keys::Rejected::TooLarge { limit: MAX_FILE };
            Err(tuffet_keys::Error::from(why).in_file(&source.place(name)).into())
        }
    }
}
