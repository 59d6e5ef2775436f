//! A small S3 server in memory, which keeps its word or breaks it in one way.

use core::convert::Infallible;
use core::net::Ipv4Addr;
use std::collections::BTreeMap;
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{ETAG, HeaderMap, IF_MATCH, IF_NONE_MATCH, LAST_MODIFIED};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use sha2::{Digest as _, Sha256};
use tokio::runtime;
use tokio::sync::oneshot;

/// In which way the server breaks its word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    IgnoresIfNoneMatch,
    IgnoresIfMatch,
    RefusesIfMatch,
    GivesNoETag,
    GivesOneETag,
    ListsNothing,
    ForgetsWrites,
    KeepsWhatIsDeleted,
    /// A write is done, and the connection cut before the answer, this often.
    LosesAnswers(u32),
    /// A write is done, then another publisher's over it, and the answer is lost.
    LosesAnswerAndIsOutrun,
    /// A write is refused because of another one that is under way, this often.
    IsBusy(u32),
    /// Every write is sent elsewhere, without saying where.
    Redirects,
    /// Every write fails with a page of text.
    Complains,
    /// Every write ends in status 500, done or not.
    Fails {
        done: bool,
    },
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) fault: Option<Fault>,
    pub(crate) objects: BTreeMap<String, Vec<u8>>,
    /// Method and key of each request.
    pub(crate) requests: Vec<(Method, String)>,
}

pub(crate) struct Careless {
    pub(crate) endpoint: String,
    state: Arc<Mutex<State>>,
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

impl Careless {
    pub(crate) fn serve(fault: Option<Fault>) -> Careless {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let state = Arc::new(Mutex::new(State { fault, ..State::default() }));
        let (stop, stopped) = oneshot::channel::<Infallible>();
        let shared = Arc::clone(&state);
        let thread = thread::spawn(move || {
            let runtime = runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.spawn(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                while let Ok((stream, _)) = listener.accept().await {
                    let state = Arc::clone(&shared);
                    let service = service_fn(move |request| answer(Arc::clone(&state), request));
                    tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
                }
            });
            let Err(_) = runtime.block_on(stopped);
        });
        Careless { endpoint, state, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl Drop for Careless {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().unwrap().join().unwrap();
    }
}

/// What cuts a connection.
#[derive(Debug)]
struct Cut;

impl core::fmt::Display for Cut {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("cut")
    }
}

impl core::error::Error for Cut {}

async fn answer(state: Arc<Mutex<State>>, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Cut> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
    let key = parts.uri.path().trim_start_matches("/releases").trim_start_matches('/').to_owned();
    let mut state = state.lock().unwrap();
    state.requests.push((parts.method.clone(), key.clone()));
    match parts.method {
        Method::PUT => state.put(key, &parts.headers, body.to_vec()),
        Method::DELETE => {
            if state.fault != Some(Fault::KeepsWhatIsDeleted) {
                state.objects.remove(&key);
            }
            Ok(status(StatusCode::NO_CONTENT))
        }
        _ if key.is_empty() => Ok(state.list(parts.uri.query().unwrap_or_default())),
        _ => Ok(state.get(&key)),
    }
}

impl State {
    fn put(&mut self, key: String, headers: &HeaderMap, body: Vec<u8>) -> Result<Response<Full<Bytes>>, Cut> {
        let fault = self.fault;
        let there = self.objects.get(&key);
        if headers.contains_key(IF_NONE_MATCH) && there.is_some() && fault != Some(Fault::IgnoresIfNoneMatch)
        {
            return Ok(status(StatusCode::PRECONDITION_FAILED));
        }
        if let Some(tag) = headers.get(IF_MATCH) {
            let same = there.is_some_and(|there| self.e_tag(there) == tag.to_str().unwrap());
            let refused = fault == Some(Fault::RefusesIfMatch);
            if refused || (!same && fault != Some(Fault::IgnoresIfMatch)) {
                return Ok(status(StatusCode::PRECONDITION_FAILED));
            }
        }
        let e_tag = self.e_tag(&body);
        match fault {
            Some(Fault::IsBusy(times)) if times > 0 => {
                self.fault = Some(Fault::IsBusy(times - 1));
                return Ok(status(StatusCode::CONFLICT));
            }
            Some(Fault::Redirects) => return Ok(status(StatusCode::MOVED_PERMANENTLY)),
            Some(Fault::Complains) => {
                let mut response = status(StatusCode::BAD_REQUEST);
                *response.body_mut() = Full::from("a page;\n".repeat(1000));
                return Ok(response);
            }
            Some(Fault::Fails { done: false }) => return Ok(status(StatusCode::INTERNAL_SERVER_ERROR)),
            Some(Fault::ForgetsWrites) => {}
            _ => _ = self.objects.insert(key.clone(), body),
        }
        match fault {
            Some(Fault::Fails { .. }) => return Ok(status(StatusCode::INTERNAL_SERVER_ERROR)),
            Some(Fault::LosesAnswers(times)) if times > 0 => {
                self.fault = Some(Fault::LosesAnswers(times - 1));
                return Err(Cut);
            }
            Some(Fault::LosesAnswerAndIsOutrun) => {
                self.fault = None;
                self.objects.insert(key, b"another publisher's".to_vec());
                return Err(Cut);
            }
            _ => {}
        }
        let mut response = status(StatusCode::OK);
        if fault != Some(Fault::GivesNoETag) {
            response.headers_mut().insert(ETAG, e_tag.parse().unwrap());
        }
        Ok(response)
    }

    fn get(&self, key: &str) -> Response<Full<Bytes>> {
        let Some(bytes) = self.objects.get(key) else { return status(StatusCode::NOT_FOUND) };
        let mut response = Response::new(Full::from(bytes.clone()));
        response.headers_mut().insert(LAST_MODIFIED, "Sun, 22 Nov 2026 12:00:00 GMT".parse().unwrap());
        if self.fault != Some(Fault::GivesNoETag) {
            response.headers_mut().insert(ETAG, self.e_tag(bytes).parse().unwrap());
        }
        response
    }

    /// Without pages: a test has few objects.
    fn list(&self, query: &str) -> Response<Full<Bytes>> {
        let prefix = query.split('&').find_map(|part| part.strip_prefix("prefix="));
        let prefix = prefix.unwrap_or_default().replace("%2F", "/");
        let mut text = "<ListBucketResult><IsTruncated>false</IsTruncated>".to_owned();
        if self.fault != Some(Fault::ListsNothing) {
            for (key, bytes) in self.objects.iter().filter(|(key, _)| key.starts_with(&prefix)) {
                text.push_str(&format!(
                    "<Contents><Key>{key}</Key><Size>{}</Size><ETag>{}</ETag>\
                     <LastModified>2026-11-22T12:00:00.000Z</LastModified></Contents>",
                    bytes.len(),
                    self.e_tag(bytes)
                ));
            }
        }
        text.push_str("</ListBucketResult>");
        Response::new(Full::from(text))
    }

    fn e_tag(&self, bytes: &[u8]) -> String {
        match self.fault {
            Some(Fault::GivesOneETag) => "\"one\"".to_owned(),
            _ => format!("\"{:x?}\"", &Sha256::digest(bytes)[..8]),
        }
    }
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}
