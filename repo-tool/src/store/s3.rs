//! A repository in a bucket of a server that speaks S3.
//!
//! What is created is created with `If-None-Match: *`, and what is swapped with `If-Match`. Some servers ignore
//! these, and would let two publishers overwrite each other: [`probe`](super::probe) finds them out before the
//! first write. An answer can be lost on its way; whatever was not answered is read back, and counts as done if
//! the bytes are there.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::runtime::{self, Runtime};
use tokio::task::JoinSet;

use crate::source::Fetched;
use crate::storage::{Content, Step, Witness};
use crate::{Environment, Error, Rejected};

use super::client::Client;
use super::{
    Access, Listed, Lock, Settings, Store, Stored, Tag, check_name, check_new_name, check_prefix, probe,
};

/// Requests that are under way at a time: enough to hide a server's latency, few enough to be no flood.
const LANES: usize = 16;

/// Bytes of all uploads that are under way, but for the one that is larger than that by itself.
const IN_FLIGHT: u64 = 64 << 20;

/// A repository in a bucket.
pub(super) struct Bucket {
    runtime: Runtime,
    client: Arc<Client>,
    /// Set once the server has shown that it honours conditions.
    probed: OnceLock<()>,
}

impl Bucket {
    /// The bucket and prefix of a `s3://` address.
    pub(super) fn open(url: &str, access: Access, settings: &Settings) -> Result<Bucket, Error> {
        let client = Arc::new(Client::new(url, settings)?);
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| Error::io("start", Path::new(url), &error))?;
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

/// The bytes to send, all of them in memory: a request is signed over its whole body.
fn content_bytes(content: &Content) -> Result<Bytes, Error> {
    match content {
        Content::Bytes(bytes) => Ok(bytes.clone()),
        Content::File { path, sha256, .. } => {
            let bytes = fs::read(path).map_err(|error| Error::io("read", path, &error))?;
            if <[u8; 32]>::from(Sha256::digest(&bytes)) != *sha256 {
                let why = "the file does not have the SHA-256 that it was stored under".to_owned();
                return Err(Rejected::Damaged { path: path.clone(), why }.into());
            }
            Ok(bytes.into())
        }
    }
}
