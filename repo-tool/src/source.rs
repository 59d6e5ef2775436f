//! Where the files of a repository come from, for whoever looks at them: a directory, a store, or a web server.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tuffet_agent::http::{HttpOptions, HttpTransport};
use tuffet_agent::{self as agent, Request, Transport as _, TransportFault};

use crate::repository::Workspace;
use crate::store::{self, Access, Settings, Store};
use crate::{Environment, Error, Misuse, config};

/// Bytes that are read at a time.
const CHUNK: usize = 64 * 1024;

/// Opens the repository at a place: the directory that is served or that of its workspace, `s3://BUCKET/PREFIX`, or the
/// address of a web server.
///
/// # Errors
/// [`Misuse::Address`], what is wrong with a workspace, or an I/O failure for a directory that is not there.
pub fn open(place: &str, http: HttpOptions) -> Result<Box<dyn Source>, Error> {
    match place.split_once("://") {
        Some(("s3", _)) => {
            let danger_plain_http = http.danger_allow_plain_http;
            let settings = Settings { danger_plain_http, ..Settings::from_env() };
            Ok(Box::new(Arc::<dyn Store>::from(store::open(place, Access::Read, &settings)?)))
        }
        Some(_) => Ok(Box::new(Server::new(place, http)?)),
        None => {
            let path = Path::new(place);
            fs::metadata(path).map_err(|error| Error::io("read", path, &error))?;
            if path.join(config::FILE).is_file() {
                return Ok(Box::new(Arc::clone(Workspace::open(path)?.store())));
            }
            Ok(Box::new(Directory(path.to_owned())))
        }
    }
}

/// The files of a repository.
pub trait Source {
    /// Fetches a file by its name below the repository's top, and hands its bytes to `sink`, never more than
    /// `limit`.
    ///
    /// # Errors
    /// Whatever keeps it from being read.
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error>;

    /// Where a file is, for messages.
    fn place(&self, name: &str) -> PathBuf;

    /// A file that is in memory anyway, whatever its length.
    fn shared(&self, name: &str) -> Option<Bytes> {
        let _ = name;
        None
    }
}

/// What became of a fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fetched {
    /// The whole file was handed over.
    Whole,
    /// There is no such file.
    Missing,
    /// The file goes on after the limit.
    TooLong,
}

/// A repository in a directory.
#[derive(Clone, Debug)]
pub struct Directory(pub PathBuf);

impl Source for Directory {
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        let path = self.place(name);
        let failed = |error| Error::io("read", &path, &error);
        let kind = match fs::metadata(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Fetched::Missing),
            kind => kind.map_err(failed)?,
        };
        // Whoever brought the directory may have put a pipe there, which nobody ever writes into.
        if !kind.is_file() {
            return Err(failed(io::Error::other("it is no regular file")));
        }
        let file = File::open(&path).map_err(failed)?;
        if file.metadata().map_err(failed)?.len() > limit.into() {
            return Ok(Fetched::TooLong);
        }
        // A file that grows meanwhile is cut off, and refused for its digest.
        let mut reader = file.take(limit.into());
        let mut chunk = vec![0; CHUNK];
        loop {
            match reader.read(&mut chunk).map_err(failed)? {
                0 => return Ok(Fetched::Whole),
                count => sink(&chunk[..count]),
            }
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

/// A repository in a store.
impl Source for Arc<dyn Store> {
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        Store::fetch(&**self, name, limit, sink)
    }

    fn place(&self, name: &str) -> PathBuf {
        Store::place(&**self, name)
    }
}

/// A repository on a web server, fetched by the transport of devices.
#[derive(Debug)]
pub struct Server {
    url: String,
    transport: HttpTransport,
}

impl Server {
    /// The repository whose top is at `url`.
    ///
    /// # Errors
    /// [`Misuse::Address`]. Nothing is sent.
    pub fn new(url: &str, options: HttpOptions) -> Result<Server, Error> {
        let transport = HttpTransport::new(url, options)
            .map_err(|why| Misuse::Address { url: url.to_owned(), why: why.to_string() })?;
        Ok(Server { url: url.trim_end_matches('/').to_owned(), transport })
    }
}

impl Source for Server {
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        let request = Request::whole(name, limit).map_err(agent::Error::from);
        let fetched = request.and_then(|request| {
            self.transport.fetch(&request, &mut |input| {
                sink(input.bytes());
                Ok(())
            })
        });
        match fetched {
            Ok(()) => Ok(Fetched::Whole),
            Err(agent::Error::Environment(agent::Environment::Transport(fault))) => match fault {
                TransportFault::NotFound => Ok(Fetched::Missing),
                TransportFault::TooLong { .. } => Ok(Fetched::TooLong),
                fault => {
                    let url = self.place(name).display().to_string();
                    Err(Environment::Fetch { url, fault }.into())
                }
            },
            Err(error) => Err(error.into()),
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        format!("{}/{name}", self.url).into()
    }
}

/// A source with some files that are not in it yet.
#[derive(Clone, Debug)]
pub struct Overlay<S> {
    /// What is below.
    pub below: S,
    /// What is to come, by name.
    pub files: BTreeMap<String, Bytes>,
}

impl<S: Source> Source for Overlay<S> {
    fn fetch(&mut self, name: &str, limit: u32, sink: &mut dyn FnMut(&[u8])) -> Result<Fetched, Error> {
        match self.files.get(name) {
            None => self.below.fetch(name, limit, sink),
            Some(bytes) if bytes.len() as u64 > limit.into() => Ok(Fetched::TooLong),
            Some(bytes) => {
                sink(bytes);
                Ok(Fetched::Whole)
            }
        }
    }

    fn place(&self, name: &str) -> PathBuf {
        self.below.place(name)
    }

    fn shared(&self, name: &str) -> Option<Bytes> {
        self.files.get(name).cloned()
    }
}
