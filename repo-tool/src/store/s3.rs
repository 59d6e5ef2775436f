//! A repository in a bucket of a server that speaks S3.
//!
//! What is created is created with `If-None-Match: *`, and what is swapped with `If-Match`. Some servers ignore
//! these, and would let two publishers overwrite each other: [`probe`](super::probe) finds them out before the
//! first write. An answer can be lost on its way; whatever was not answered is read back, and counts as done if
//! the bytes are there.

use core::fmt;
use core::time::Duration;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use futures_util::StreamExt;
use hyper::Uri;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector};
use object_store::path::Path;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientConfigKey, ClientOptions, GetOptions, ObjectStore,
    ObjectStoreExt, PutMode, PutOptions, PutPayload, RetryConfig, UpdateVersion,
};
use sha2::{Digest as _, Sha256};
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::storage::{Content, Step, Witness};
use crate::verify::Fetched;
use crate::{Environment, Error, Misuse, Rejected};

use super::{
    Access, Listed, Lock, Mark, Settings, Store, Stored, Tag, check_name, check_new_name, check_prefix,
    probe, too_long,
};

/// Requests that are under way at a time: enough to hide a server's latency, few enough to be no flood.
const LANES: usize = 16;

/// Bytes of all uploads that are under way, but for the one that is larger than that by itself.
const IN_FLIGHT: u64 = 64 << 20;

/// Bytes from which on it is cheaper to ask first whether the object is there.
const LARGE: u64 = 8 << 20;

/// How often a write is sent whose answer was lost, or that met another one.
const ATTEMPTS: u32 = 3;

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How long an answer may take, and in seconds for the message.
const ANSWER: Duration = Duration::from_secs(60);

/// The slowest upload that is waited for, in bytes a second.
const SLOWEST: u64 = 16 << 10;

/// A repository in a bucket.
pub(super) struct Bucket {
    runtime: Runtime,
    client: Arc<Client>,
    /// Set once the server has shown that it honours conditions.
    probed: OnceLock<()>,
}

/// What asks the server.
pub(super) struct Client {
    s3: AmazonS3,
    /// Without a slash at the end.
    url: String,
    /// Of all keys; empty, or with a slash at the end.
    prefix: String,
    endpoint: String,
}

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Failure {
    /// What the server said, or what kept it from saying anything.
    Server(object_store::Error),
    /// It said nothing for so long.
    Silent(Duration),
}

impl Bucket {
    /// The bucket and prefix of a `s3://` address.
    pub(super) fn open(url: &str, access: Access, settings: &Settings) -> Result<Bucket, Error> {
        let client = Arc::new(Client::new(url, settings)?);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("start", std::path::Path::new(url), &error))?;
        let bucket = Bucket { runtime, client, probed: OnceLock::new() };
        if access == Access::Write {
            bucket.probe()?;
        }
        Ok(bucket)
    }

    /// Nothing is written to a server that was not probed.
    fn probe(&self) -> Result<(), Error> {
        if self.probed.get().is_none() {
            self.runtime.block_on(probe::probe(&self.client))?;
            let _ = self.probed.set(());
        }
        Ok(())
    }

    async fn create_all(&self, files: &[(String, Content)], witness: &mut dyn Witness) -> Result<(), Error> {
        let mut seen: HashMap<&str, &Content> = HashMap::with_capacity(files.len());
        let mut flight = Flight::default();
        for (name, content) in files {
            let place = self.place(name);
            if let Some(before) = seen.insert(name, content) {
                if before.digest() != content.digest() {
                    flight.fail(Rejected::ImmutableDiffers { path: place }.into());
                    break;
                }
                continue;
            }
            let length = match content {
                Content::Bytes(bytes) => bytes.len() as u64,
                Content::File { path, .. } => path.metadata().map_or(0, |metadata| metadata.len()),
            };
            flight.clear_for(length).await;
            let upload = flight.failure.is_none().then(|| {
                witness
                    .before(Step::Put(&place, length))
                    .map_err(|error| Error::io("create", &place, &error))
                    .and_then(|()| content_bytes(content))
            });
            match upload {
                None => break,
                Some(Err(error)) => {
                    flight.fail(error);
                    break;
                }
                Some(Ok(bytes)) => {
                    let (client, name, digest) = (Arc::clone(&self.client), name.clone(), content.digest());
                    flight.launch(length, async move { client.create(&name, bytes.into(), digest).await });
                }
            }
        }
        flight.land().await
    }

    async fn remove_all(&self, names: &[String], witness: &mut dyn Witness) -> Result<(), Error> {
        let mut flight = Flight::default();
        for name in names {
            flight.clear_for(0).await;
            if flight.failure.is_some() {
                break;
            }
            let place = self.place(name);
            if let Err(error) = witness.before(Step::Delete(&place)) {
                flight.fail(Error::io("delete", &place, &error));
                break;
            }
            let (client, name) = (Arc::clone(&self.client), name.clone());
            flight.launch(0, async move { client.delete(&name).await });
        }
        flight.land().await
    }
}

impl Store for Bucket {
    fn read(&self, name: &str, limit: u64) -> Result<Option<Stored>, Error> {
        check_name(name)?;
        self.runtime.block_on(self.client.read(name, limit))
    }

    fn fetch(&self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        check_name(name)?;
        self.runtime.block_on(self.client.fetch(name, limit.into(), sink)).map(|(fetched, _)| fetched)
    }

    fn exists(&self, name: &str) -> Result<bool, Error> {
        check_name(name)?;
        self.runtime.block_on(self.client.exists(name))
    }

    fn create(&self, files: &[(String, Content)], witness: &mut dyn Witness) -> Result<(), Error> {
        for (name, _) in files {
            check_new_name(name)?;
        }
        self.probe()?;
        self.runtime.block_on(self.create_all(files, witness))
    }

    fn swap(
        &self,
        name: &str,
        before: Option<&Tag>,
        bytes: &[u8],
        witness: &mut dyn Witness,
    ) -> Result<Tag, Error> {
        check_new_name(name)?;
        self.probe()?;
        let place = self.place(name);
        witness.before(Step::Swap(&place)).map_err(|error| Error::io("replace", &place, &error))?;
        self.runtime.block_on(self.client.swap(name, before, bytes))
    }

    fn list(&self, prefix: &str) -> Result<Vec<Listed>, Error> {
        check_prefix(prefix)?;
        self.runtime.block_on(self.client.list(prefix))
    }

    fn remove(&self, names: &[String], witness: &mut dyn Witness) -> Result<(), Error> {
        for name in names {
            check_name(name)?;
        }
        self.probe()?;
        self.runtime.block_on(self.remove_all(names, witness))
    }

    fn lock(&self) -> Result<Lock, Error> {
        Ok(Lock { _held: None })
    }

    fn place(&self, name: &str) -> PathBuf {
        self.client.place(name)
    }
}

impl Client {
    fn new(url: &str, settings: &Settings) -> Result<Client, Error> {
        let misuse = |why: String| Misuse::Address { url: url.to_owned(), why };
        let url = url.trim_end_matches('/');
        let address = url.strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
        let is_bucket = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
        let named = bucket.chars().all(is_bucket) && (3..=255).contains(&bucket.len());
        if !named || (check_prefix(prefix).is_err()) {
            return Err(misuse("is not an address; give s3://BUCKET or s3://BUCKET/PREFIX".to_owned()).into());
        }

        let mut builder = AmazonS3Builder::new();
        for (name, value) in &settings.environment {
            match name.to_ascii_lowercase().parse() {
                // How the connection is made is settled below: no variable turns the check of certificates off.
                Ok(AmazonS3ConfigKey::Client(_)) | Err(_) => {}
                Ok(key) => builder = builder.with_config(key, value),
            }
        }
        let keys = [AmazonS3ConfigKey::S3Endpoint, AmazonS3ConfigKey::Endpoint];
        let endpoint =
            keys.iter().find_map(|key| builder.get_config_value(key)).filter(|text| !text.is_empty());
        let at = endpoint.as_deref().map(Endpoint::parse).transpose().map_err(misuse)?;
        let plain = at.is_some_and(|at| at.plain);
        let loopback = at.is_some_and(|at| at.loopback);
        if plain && !loopback && !settings.danger_plain_http {
            let why = format!(
                "would be written over plain http at {}, and anybody on the way could change it; give an \
                 AWS_ENDPOINT_URL with https",
                endpoint.as_deref().unwrap_or_default()
            );
            return Err(misuse(why).into());
        }

        // One that was installed before is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let backoff = BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(2),
            ..BackoffConfig::default()
        };
        let retry =
            RetryConfig { backoff, max_retries: ATTEMPTS as usize, retry_timeout: Duration::from_secs(20) };
        let s3 = builder
            .with_bucket_name(bucket)
            .with_conditional_put(S3ConditionalPut::ETagMatch)
            .with_disable_bulk_delete(true)
            .with_retry(retry)
            .with_client_options(ClientOptions::new().with_allow_http(plain).with_connect_timeout(CONNECT))
            .with_http_connector(Connector { direct: loopback })
            .build();
        let s3 = s3.map_err(|error| {
            misuse(format!("cannot be used: {}; correct the AWS_* variables", one_line(&error)))
        })?;
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        let endpoint = endpoint.unwrap_or_else(|| "Amazon".to_owned());
        Ok(Client { s3, url: url.to_owned(), prefix, endpoint })
    }

    /// Of a name that was checked.
    fn key(&self, name: &str) -> Result<Path, Error> {
        let refused = |_| Rejected::TargetPath { path: name.to_owned() }.into();
        Path::parse(format!("{}{name}", self.prefix)).map_err(refused)
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
        let put = within(patience, self.s3.put_opts(&key, bytes.clone(), options)).await;
        Ok(put.map(|done| done.e_tag))
    }

    /// Hands over an object, never more than `limit` bytes of it, and gives its ETag.
    async fn fetch(
        &self,
        name: &str,
        limit: u64,
        mut sink: impl FnMut(&[u8]),
    ) -> Result<(Fetched, Option<String>), Error> {
        let key = self.key(name)?;
        let failed = |failure: Failure| self.failed("read", name, &failure);
        let found = match within(ANSWER, self.s3.get_opts(&key, GetOptions::default())).await {
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

    async fn exists(&self, name: &str) -> Result<bool, Error> {
        let key = self.key(name)?;
        match within(ANSWER, self.s3.head(&key)).await {
            Ok(_) => Ok(true),
            // Without a body nothing says whether it is the bucket that is missing.
            Err(failure) if failure.is_missing() => {
                let missing = self.fetch(name, 0, |_| {}).await?.0 == Fetched::Missing;
                Ok(!missing)
            }
            Err(failure) => Err(self.failed("find", name, &failure)),
        }
    }

    async fn create(&self, name: &str, bytes: PutPayload, digest: [u8; 32]) -> Result<(), Error> {
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

    async fn swap(&self, name: &str, before: Option<&Tag>, bytes: &[u8]) -> Result<Tag, Error> {
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
        let below = format!("{}{prefix}", self.prefix);
        let below = Path::parse(&below).map_err(|_| Rejected::TargetPath { path: prefix.to_owned() })?;
        let mut listed = Vec::new();
        let mut objects = self.s3.list(Some(&below));
        let next = async |objects: &mut futures_util::stream::BoxStream<'static, _>| {
            within(ANSWER, async { objects.next().await.transpose() }).await
        };
        while let Some(object) = next(&mut objects).await.map_err(|why| self.failed("list", prefix, &why))? {
            let key = object.location.as_ref();
            // An object beside the prefix is somebody else's.
            let Some(name) = key.strip_prefix(&self.prefix) else { continue };
            let modified = object.last_modified.timestamp().try_into().unwrap_or(0);
            listed.push(Listed { name: name.to_owned(), length: object.size, modified });
        }
        listed.sort();
        Ok(listed)
    }

    pub(super) async fn delete(&self, name: &str) -> Result<(), Error> {
        let key = self.key(name)?;
        match within(ANSWER, self.s3.delete(&key)).await {
            Err(failure) if failure.is_missing() => Ok(()),
            done => done.map_err(|failure| self.failed("delete", name, &failure)),
        }
    }

    /// One line of what, where, why, and what to do next.
    pub(super) fn failed(&self, what: &'static str, name: &str, failure: &Failure) -> Error {
        let why = match failure {
            Failure::Silent(patience) => {
                format!("no answer from {} within {} s; run again", self.endpoint, patience.as_secs())
            }
            Failure::Server(error) => self.explain(error),
        };
        Environment::Server { what, place: self.place(name), why }.into()
    }

    fn explain(&self, error: &object_store::Error) -> String {
        let said = whole(error);
        let code = between(&said, "<Code>", "</Code>");
        let answered = code.unwrap_or("no reason given");
        if code == Some("NoSuchBucket") {
            return "there is no such bucket; make it, or correct the address".to_owned();
        }
        if said.contains("redirect")
            || matches!(code, Some("PermanentRedirect" | "AuthorizationHeaderMalformed"))
        {
            return format!("the server wants another region or address ({answered}); correct AWS_REGION");
        }
        match error {
            object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
                format!(
                    "the server refuses the credentials ({answered}); check AWS_ACCESS_KEY_ID, \
                 AWS_SECRET_ACCESS_KEY and what they may do"
                )
            }
            _ if code.is_some() => {
                let message = between(&said, "<Message>", "</Message>").unwrap_or_default();
                format!("the server answers {answered}: {}; look into its log", message.trim_end_matches('.'))
            }
            // Where a machine in Amazon's cloud asks for its own.
            _ if ["/latest/api/token", "/latest/meta-data/"].iter().any(|path| said.contains(path)) => {
                "there are no credentials; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY".to_owned()
            }
            error => format!(
                "{} (server: {}); check AWS_ENDPOINT_URL, the network and the server",
                one_line(error),
                self.endpoint
            ),
        }
    }
}

impl Failure {
    /// Whether the server says that there is no such object. A missing bucket is another matter.
    fn is_missing(&self) -> bool {
        match self {
            Failure::Server(error @ object_store::Error::NotFound { .. }) => {
                !whole(error).contains("NoSuchBucket")
            }
            _ => false,
        }
    }

    /// Whether the server took the object, and gave no ETag for it.
    pub(super) fn lacks_e_tag(&self) -> bool {
        matches!(self, Failure::Server(error) if whole(error).contains("ETag Header missing"))
    }

    /// Whether a condition did not hold.
    pub(super) fn is_condition(&self) -> bool {
        use object_store::Error::{AlreadyExists, Precondition};
        matches!(self, Failure::Server(AlreadyExists { .. } | Precondition { .. }))
    }

    /// Whether it was certainly not done, and would not be the next time.
    fn is_final(&self) -> bool {
        use object_store::Error::{
            NotFound, NotImplemented, NotSupported, PermissionDenied, Unauthenticated,
        };
        match self {
            Failure::Server(
                PermissionDenied { .. }
                | Unauthenticated { .. }
                | NotImplemented { .. }
                | NotSupported { .. }
                | NotFound { .. },
            ) => true,
            Failure::Server(_) | Failure::Silent(_) => false,
        }
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

/// Requests that are under way, as long as none has failed.
#[derive(Default)]
struct Flight {
    tasks: JoinSet<(u64, Result<(), Error>)>,
    bytes: u64,
    failure: Option<Error>,
}

impl Flight {
    /// Waits until there is room for one more of so many bytes.
    async fn clear_for(&mut self, bytes: u64) {
        while self.tasks.len() >= LANES || (self.bytes > 0 && self.bytes.saturating_add(bytes) > IN_FLIGHT) {
            self.wait().await;
        }
    }

    fn launch(&mut self, bytes: u64, task: impl Future<Output = Result<(), Error>> + Send + 'static) {
        self.bytes += bytes;
        self.tasks.spawn(async move { (bytes, task.await) });
    }

    async fn wait(&mut self) -> bool {
        match self.tasks.join_next().await {
            None => return false,
            Some(Ok((bytes, done))) => {
                self.bytes -= bytes;
                if let Err(error) = done {
                    self.fail(error);
                }
            }
            // Nothing aborts a task: it has panicked, and said so.
            Some(Err(broken)) => {
                let why = format!("a request broke off ({broken}); run again");
                self.fail(Environment::Server { what: "write", place: PathBuf::new(), why }.into());
            }
        }
        true
    }

    /// The first failure is the one that is told.
    fn fail(&mut self, error: Error) {
        self.failure.get_or_insert(error);
    }

    /// Waits for all that were launched.
    async fn land(mut self) -> Result<(), Error> {
        while self.wait().await {}
        self.failure.map_or(Ok(()), Err)
    }
}

/// Where the server is.
#[derive(Clone, Copy, Debug)]
struct Endpoint {
    plain: bool,
    loopback: bool,
}

impl Endpoint {
    fn parse(text: &str) -> Result<Endpoint, String> {
        let address: Option<Uri> = text.parse().ok();
        let scheme = address.as_ref().and_then(Uri::scheme_str);
        let host = address.as_ref().and_then(Uri::host);
        match (scheme, host) {
            (Some(scheme @ ("http" | "https")), Some(host)) => {
                let ip = host.trim_start_matches('[').trim_end_matches(']').parse::<core::net::IpAddr>();
                let loopback = host == "localhost" || ip.is_ok_and(|ip| ip.is_loopback());
                Ok(Endpoint { plain: scheme == "http", loopback })
            }
            _ => Err(format!("has no server: `{text}` is no address; correct AWS_ENDPOINT_URL")),
        }
    }
}

/// Makes connections as they must be made, whatever the environment says.
#[derive(Debug)]
struct Connector {
    /// To this machine itself, where no proxy is of use.
    direct: bool,
}

impl HttpConnector for Connector {
    fn connect(&self, options: &ClientOptions) -> object_store::Result<HttpClient> {
        let plain = options.get_config_value(&ClientConfigKey::AllowHttp).as_deref() == Some("true");
        // Less for what may well not be there, such as a cloud's own address.
        let patience = options.get_config_value(&ClientConfigKey::ConnectTimeout);
        let patience = patience.and_then(|text| text.strip_suffix('s')?.parse().ok());
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("tuffet/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(patience.map_or(CONNECT, Duration::from_secs))
            .redirect(reqwest::redirect::Policy::none())
            .http1_only()
            .https_only(!plain);
        if self.direct {
            builder = builder.no_proxy();
        }
        let client = builder
            .build()
            .map_err(|error| object_store::Error::Generic { store: "S3", source: Box::new(error) })?;
        Ok(HttpClient::new(client))
    }
}

/// The bytes to send, all of them in memory: a request is signed over its whole body.
fn content_bytes(content: &Content) -> Result<Vec<u8>, Error> {
    match content {
        Content::Bytes(bytes) => Ok(bytes.clone()),
        Content::File { path, sha256 } => {
            let bytes = std::fs::read(path).map_err(|error| Error::io("read", path, &error))?;
            if <[u8; 32]>::from(Sha256::digest(&bytes)) != *sha256 {
                let why = "the file does not have the SHA-256 that it was stored under".to_owned();
                return Err(Rejected::Damaged { path: path.clone(), why }.into());
            }
            Ok(bytes)
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

/// All that is known about an error, the innermost last.
fn whole(error: &object_store::Error) -> String {
    let mut said = error.to_string();
    let mut source = core::error::Error::source(error);
    while let Some(error) = source {
        said.push_str(": ");
        said.push_str(&error.to_string());
        source = error.source();
    }
    said
}

/// The innermost cause of an error.
fn one_line(error: &object_store::Error) -> String {
    let mut innermost: &dyn core::error::Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

fn between<'t>(text: &'t str, start: &str, end: &str) -> Option<&'t str> {
    let (_, rest) = text.split_once(start)?;
    Some(rest.split_once(end)?.0)
}

impl fmt::Debug for Bucket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Bucket({} at {})", self.client.url, self.client.endpoint)
    }
}
