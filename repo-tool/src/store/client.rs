//! Requests to a server, each until it is known what became of it.

use core::time::Duration;
use std::path::PathBuf;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, GetOptions, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload,
    UpdateVersion,
};
use sha2::{Digest as _, Sha256};
use tokio::time::{sleep, timeout};

use crate::source::Fetched;
use crate::{Environment, Error, Rejected};

use super::connection::Connection;
use super::failure::Failure;
use super::{Listed, Mark, Settings, Stored, Tag, too_long};

/// Bytes from which on it is cheaper to ask first whether the object is there.
const LARGE: u64 = 8 << 20;

/// How often a write is sent whose answer was lost, or that met another one.
const ATTEMPTS: u32 = 3;

/// How long an answer may take.
const ANSWER: Duration = Duration::from_secs(60);

/// The slowest upload that is waited for, in bytes a second.
const SLOWEST: u64 = 16 << 10;

/// What asks the server.
pub(super) struct Client {
    connection: Connection,
    /// Without a slash at the end.
    url: String,
}

impl Client {
    pub(super) fn new(url: &str, settings: &Settings) -> Result<Client, Error> {
        let connection = Connection::new(url, settings)?;
        Ok(Client { connection, url: url.trim_end_matches('/').to_owned() })
    }

    /// Of a name that was checked.
    fn key(&self, name: &str) -> Result<Path, Error> {
        let refused = |_| Rejected::TargetPath { path: name.to_owned() }.into();
        Path::parse(format!("{}{name}", self.connection.prefix)).map_err(refused)
    }

    pub(super) fn place(&self, name: &str) -> PathBuf {
        if name.is_empty() { self.url.clone().into() } else { format!("{}/{name}", self.url).into() }
    }

    /// Sends an object once. Gives its ETag.
    pub(super) async fn put(
        &self,
        name: &str,
        bytes: &PutPayload,
        mode: PutMode,
        cache: Cache,
    ) -> Result<Result<Option<String>, Failure>, Error> {
        let key = self.key(name)?;
        let kind = if name.ends_with(".json") { "application/json" } else { "application/octet-stream" };
        let attributes = Attributes::from_iter([
            (Attribute::CacheControl, cache.control()),
            (Attribute::ContentType, kind),
        ]);
        let options = PutOptions { mode, attributes, ..PutOptions::default() };
        let patience = ANSWER + Duration::from_secs(bytes.content_length() as u64 / SLOWEST);
        let put = within(patience, self.connection.s3.put_opts(&key, bytes.clone(), options)).await;
        Ok(put.map(|done| done.e_tag))
    }

    /// Hands over an object, never more than `limit` bytes of it, and gives its ETag.
    pub(super) async fn fetch(
        &self,
        name: &str,
        limit: u64,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(Fetched, Option<String>), Error> {
        let key = self.key(name)?;
        let failed = |failure: Failure| self.failed("read", name, &failure);
        let found = match within(ANSWER, self.connection.s3.get_opts(&key, GetOptions::default())).await {
            Err(failure) if failure.is_missing() => return Ok((Fetched::Missing, None)),
            found => found.map_err(failed)?,
        };
        let e_tag = found.meta.e_tag.clone();
        if found.meta.size > limit {
            return Ok((Fetched::TooLong, e_tag));
        }
        let mut left = limit;
        let mut chunks = found.into_stream();
        while let Some(chunk) =
            within(ANSWER, async { chunks.next().await.transpose() }).await.map_err(failed)?
        {
            let Some(rest) = left.checked_sub(chunk.len() as u64) else {
                return Ok((Fetched::TooLong, e_tag));
            };
            left = rest;
            sink(&chunk);
        }
        Ok((Fetched::Whole, e_tag))
    }

    pub(super) async fn read(&self, name: &str, limit: u64) -> Result<Option<Stored>, Error> {
        let mut bytes = Vec::new();
        let (fetched, e_tag) = self.fetch(name, limit, |chunk| bytes.extend_from_slice(chunk)).await?;
        match fetched {
            Fetched::Missing => Ok(None),
            Fetched::Whole => Ok(Some(Stored { bytes, tag: Tag(Mark::Version(e_tag)) })),
            Fetched::TooLong => Err(too_long(&self.place(name), limit)),
        }
    }

    /// SHA-256 of an object. What a server keeps beside it proves nothing: an ETag is no digest that it vouches for.
    async fn digest(&self, name: &str) -> Result<Option<[u8; 32]>, Error> {
        let mut hash = Sha256::new();
        match self.fetch(name, u64::MAX, |chunk| hash.update(chunk)).await?.0 {
            Fetched::Missing => Ok(None),
            Fetched::Whole | Fetched::TooLong => Ok(Some(hash.finalize().into())),
        }
    }

    pub(super) async fn exists(&self, name: &str) -> Result<bool, Error> {
        let key = self.key(name)?;
        match within(ANSWER, self.connection.s3.head(&key)).await {
            Ok(_) => Ok(true),
            // Without a body nothing says whether it is the bucket that is missing.
            Err(failure) if failure.is_missing() => {
                let missing = self.fetch(name, 0, |_| {}).await?.0 == Fetched::Missing;
                Ok(!missing)
            }
            Err(failure) => Err(self.failed("find", name, &failure)),
        }
    }

    pub(super) async fn create(&self, name: &str, bytes: PutPayload, digest: [u8; 32]) -> Result<(), Error> {
        let differs = || Error::from(Rejected::ImmutableDiffers { path: self.place(name) });
        if bytes.content_length() as u64 >= LARGE {
            match self.digest(name).await? {
                Some(there) if there == digest => return Ok(()),
                Some(_) => return Err(differs()),
                None => {}
            }
        }
        let mut attempt = 1;
        loop {
            let failure = match self.put(name, &bytes, PutMode::Create, Cache::Forever).await? {
                Ok(_) => return Ok(()),
                Err(failure) => failure,
            };
            // Another publisher made it, or we did and the answer was lost, or one of the two is at it.
            let there = if failure.is_final() { None } else { self.digest(name).await.ok().flatten() };
            match there {
                Some(there) if there == digest => return Ok(()),
                Some(_) => return Err(differs()),
                None if failure.is_final() || attempt == ATTEMPTS => {
                    return Err(self.failed("create", name, &failure));
                }
                None => pause(&mut attempt).await,
            }
        }
    }

    pub(super) async fn swap(&self, name: &str, before: Option<&Tag>, bytes: &[u8]) -> Result<Tag, Error> {
        let outrun = || Error::from(Environment::Outrun { path: self.place(name) });
        let mode = match before {
            None => PutMode::Create,
            Some(Tag(Mark::Version(Some(e_tag)))) => {
                PutMode::Update(UpdateVersion { e_tag: Some(e_tag.clone()), version: None })
            }
            // It was read somewhere else.
            Some(_) => return Err(outrun()),
        };
        let payload = PutPayload::from(bytes.to_vec());
        let mut attempt = 1;
        loop {
            let failure = match self.put(name, &payload, mode.clone(), Cache::Never).await? {
                Ok(Some(e_tag)) => return Ok(Tag(Mark::Version(Some(e_tag)))),
                Ok(None) => return self.read_tag(name, bytes).await?.ok_or_else(outrun),
                Err(failure) => failure,
            };
            let failed = || self.failed("replace", name, &failure);
            if failure.is_final() {
                return Err(failed());
            }
            // What is there by now says who was faster, and whether it was us.
            let there = self.read(name, bytes.len() as u64 + LARGE).await.map_err(|_| failed())?;
            match there {
                Some(there) if there.bytes == bytes => return Ok(there.tag),
                there if there.as_ref().map(|there| &there.tag) != before => return Err(outrun()),
                _ if attempt == ATTEMPTS => return Err(failed()),
                _ => pause(&mut attempt).await,
            }
        }
    }

    /// The tag of an object that has these bytes.
    async fn read_tag(&self, name: &str, bytes: &[u8]) -> Result<Option<Tag>, Error> {
        let there = self.read(name, bytes.len() as u64 + LARGE).await?;
        Ok(there.filter(|there| there.bytes == bytes).map(|there| there.tag))
    }

    pub(super) async fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        let below = format!("{}{prefix}", self.connection.prefix);
        let below = Path::parse(&below).map_err(|_| Rejected::TargetPath { path: prefix.to_owned() })?;
        let mut listed = Vec::new();
        let mut objects = self.connection.s3.list(Some(&below));
        let next = async |objects: &mut BoxStream<'static, _>| {
            within(ANSWER, async { objects.next().await.transpose() }).await
        };
        while let Some(object) = next(&mut objects).await.map_err(|why| self.failed("list", prefix, &why))? {
            let key = object.location.as_ref();
            // An object beside the prefix is somebody else's.
            let Some(name) = key.strip_prefix(&self.connection.prefix) else { continue };
            let modified = object.last_modified.timestamp().try_into().unwrap_or(0);
            listed.push(Listed { name: name.to_owned(), length: object.size, modified });
        }
        listed.sort();
        Ok(listed)
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), Error> {
        let key = self.key(name)?;
        match within(ANSWER, self.connection.s3.delete(&key)).await {
            Err(failure) if failure.is_missing() => Ok(()),
            done => done.map_err(|failure| self.failed("delete", name, &failure)),
        }
    }

    /// One line of what, where, why, and what to do next.
    pub(super) fn failed(&self, what: &'static str, name: &str, failure: &Failure) -> Error {
        let why = failure.why(&self.connection.endpoint);
        Environment::Server { what, place: self.place(name), why }.into()
    }
}

/// How long others may keep a copy.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cache {
    /// It never changes.
    Forever,
    /// It may change at any time.
    Never,
}

impl Cache {
    fn control(self) -> &'static str {
        match self {
            Cache::Forever => "public, max-age=31536000, immutable",
            Cache::Never => "no-cache",
        }
    }
}

async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = object_store::Result<T>>,
) -> Result<T, Failure> {
    match timeout(patience, answer).await {
        Ok(answer) => answer.map_err(Failure::Server),
        Err(_) => Err(Failure::Silent(patience)),
    }
}

/// Gives whoever was faster time to finish.
async fn pause(attempt: &mut u32) {
    sleep(Duration::from_millis(100) * *attempt).await;
    *attempt += 1;
}
