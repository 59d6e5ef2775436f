//! A static file server on a loopback port, and the faults with which an attacker who owns it answers.
//!
//! It answers `Range: bytes=N-` and `bytes=N-M` as RFC 9110 says, which is what a device asks for that goes on with a download.
//!
//! It is what the demo and the tests put between a repository directory and a device: real HTTP/1.1 over real
//! sockets, so that the device's own transport is what meets a hang, a cut connection or an endless body.

use core::{
    convert::Infallible,
    future,
    net::{Ipv4Addr, SocketAddr},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};
use std::{
    collections::BTreeMap,
    io,
    net::TcpListener,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use http_body_util::{Either, Full};
use hyper::{
    Method, Response, StatusCode,
    body::{Body, Bytes, Frame, SizeHint},
    header,
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{
    fs::File,
    io::{AsyncRead, AsyncSeekExt as _, ReadBuf},
    runtime,
    sync::oneshot,
    time::{Sleep, sleep},
};

/// Bytes of a file, or of padding, that are read and sent at a time: a few pages, so that a client sees a body
/// arrive in pieces.
const CHUNK: usize = 16 * 1024;

/// How long a cut connection stays open after its last byte was handed to the socket, so that the client gets
/// every byte that was promised before the cut.
const LINGER: Duration = Duration::from_millis(50);

/// How long to wait after `accept` failed, which it does when the process is out of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(50);

/// Serves the files below one directory, on a loopback port of its own, until it is dropped.
///
/// Every file is opened when it is asked for, so the directory may change meanwhile.
#[derive(Debug)]
pub struct Mirror {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Dropping it is the signal to stop.
    stop: Option<oneshot::Sender<Infallible>>,
    thread: Option<JoinHandle<()>>,
}

/// What a request for one path gets instead of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// These bytes, as if they were the file.
    Replace(Vec<u8>),
    /// This status (100 to 999; anything else is sent as 500) and an empty body.
    Status(u16),
    /// Status 503, a `Retry-After` of so many seconds, and an empty body.
    Busy(u32),
    /// The file, if there is one, then white space without end. No length is announced.
    Endless,
    /// The request is read and never answered.
    Hang,
    /// The file's true length is announced, and the connection ends after this many bytes of it.
    ///
    /// A file that is no longer than that arrives whole.
    DropAfter(u64),
    /// Status 302 to this URL.
    Redirect(String),
}

/// One request as it arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// `GET`, `HEAD` and so on.
    pub method: String,
    /// The path, with its leading slash, still percent-encoded, without the query.
    pub path: String,
    /// The first byte that is asked for, if not the whole file is.
    pub from: Option<u64>,
}

impl Mirror {
    /// Starts to serve `directory` on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// `directory` is none or cannot be read, or the system has no port or thread left.
    pub fn serve(directory: &Path) -> io::Result<Self> {
        let root = directory.canonicalize()?;
        if !root.is_dir() {
            return Err(io::Error::new(io::ErrorKind::NotADirectory, "only a directory can be served"));
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;

        let shared = Arc::new(Shared { root, state: Mutex::default() });
        let (stop, stopped) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = {
            let _inside = runtime.enter();
            tokio::net::TcpListener::from_std(listener)?
        };
        let thread = thread::Builder::new().name("mirror".into()).spawn({
            let shared = Arc::clone(&shared);
            move || {
                runtime.spawn(accept(listener, shared));
                // Returns when the sender is dropped; the runtime goes with it, and every connection with that.
                let Err(_) = runtime.block_on(stopped);
            }
        })?;
        Ok(Self { address, shared, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:PORT`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on answers every request for `path` (as in [`Request::path`]) with `fault`.
    pub fn set_fault(&self, path: &str, fault: Fault) {
        self.shared.state().faults.insert(path.into(), (fault, false));
    }

    /// Answers the next request for `path` with `fault`, and then honestly.
    pub fn set_fault_once(&self, path: &str, fault: Fault) {
        self.shared.state().faults.insert(path.into(), (fault, true));
    }

    /// Is an honest mirror again.
    pub fn clear_faults(&self) {
        self.shared.state().faults.clear();
    }

    /// The requests since the start or the last [`clear_requests`](Self::clear_requests), in order of arrival.
    #[must_use]
    pub fn requests(&self) -> Vec<Request> {
        self.shared.state().requests.clone()
    }

    /// Forgets the requests so far.
    pub fn clear_requests(&self) {
        self.shared.state().requests.clear();
    }
}

impl Drop for Mirror {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It can only fail by a panic in the server, which has been reported on stderr by then.
            let _ = thread.join();
        }
    }
}

#[derive(Debug)]
struct Shared {
    /// Canonical, so that a path can be compared with it.
    root: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By path, and whether one request ends it.
    faults: BTreeMap<String, (Fault, bool)>,
    requests: Vec<Request>,
}

impl Shared {
    /// No lock is held while anything can panic, so a poisoned one is as good as any.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the request down and says what is wrong with its answer, in one step: a fault that is set while a
    /// request is logged applies either to it or to the next, never to neither.
    fn arrive(&self, method: &Method, path: &str, from: Option<u64>) -> Option<Fault> {
        let mut state = self.state();
        state.requests.push(Request { method: method.to_string(), path: path.into(), from });
        match state.faults.get(path) {
            Some((_, true)) => state.faults.remove(path).map(|(fault, _)| fault),
            fault => fault.map(|(fault, _)| fault.clone()),
        }
    }

    /// Opens the regular file that `path` names below the root.
    async fn open(&self, path: &str) -> Option<(File, u64)> {
        let named = tokio::fs::canonicalize(self.root.join(relative(path)?)).await.ok()?;
        // Only a symbolic link can lead outside by now.
        if !named.starts_with(&self.root) || !tokio::fs::metadata(&named).await.ok()?.is_file() {
            return None;
        }
        let file = File::open(named).await.ok()?;
        let length = file.metadata().await.ok()?.len();
        Some((file, length))
    }
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let service = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let shared = Arc::clone(&shared);
                async move { Ok::<_, Infallible>(answer(&shared, &request).await) }
            });
            // An error here is the client's leaving or a fault's doing; both are the other side's to report.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer<B>(shared: &Shared, request: &hyper::Request<B>) -> Response<Either<Full<Bytes>, Streamed>> {
    let (method, path, range) = (request.method(), request.uri().path(), range(request.headers()));
    match shared.arrive(method, path, range.map(|(from, _)| from)) {
        None if method != Method::GET && method != Method::HEAD => {
            let mut answer = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
            answer.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
            answer
        }
        None => match shared.open(path).await {
            Some((file, length)) => match range {
                Some((from, end)) => part(file, from, end, length).await,
                None => streamed(Streamed::whole(file, length)),
            },
            None => plain(StatusCode::NOT_FOUND, "no such file\n"),
        },
        Some(Fault::Replace(bytes)) => plain(StatusCode::OK, bytes),
        Some(Fault::Status(code)) => {
            plain(StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), "")
        }
        Some(Fault::Busy(seconds)) => {
            let mut answer = plain(StatusCode::SERVICE_UNAVAILABLE, "");
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            answer
        }
        Some(Fault::Endless) => streamed(Streamed::endless(shared.open(path).await)),
        Some(Fault::Hang) => future::pending().await,
        Some(Fault::DropAfter(limit)) => match shared.open(path).await {
            Some((file, length)) => streamed(Streamed::cut(file, length, limit)),
            None => plain(StatusCode::NOT_FOUND, "no such file\n"),
        },
        Some(Fault::Redirect(url)) => match header::HeaderValue::try_from(url) {
            Ok(url) => {
                let mut answer = plain(StatusCode::FOUND, "");
                answer.headers_mut().insert(header::LOCATION, url);
                answer
            }
            Err(_) => plain(StatusCode::INTERNAL_SERVER_ERROR, "the fault's URL is no header value\n"),
        },
    }
}

/// The first byte that is asked for, and the one behind the last. A range of another form is none that is answered, which RFC
/// 9110 allows.
fn range(headers: &header::HeaderMap) -> Option<(u64, u64)> {
    let (from, last) = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?.split_once('-')?;
    let from = from.parse().ok()?;
    let last = if last.is_empty() { u64::MAX } else { last.parse().ok()? };
    (from <= last).then_some((from, last.saturating_add(1)))
}

/// A part of a file.
async fn part(mut file: File, from: u64, end: u64, length: u64) -> Response<Either<Full<Bytes>, Streamed>> {
    let (mut answer, range) = match end.min(length).checked_sub(from) {
        None | Some(0) => (
            plain(StatusCode::RANGE_NOT_SATISFIABLE, "the file ends before that\n"),
            format!("bytes */{length}"),
        ),
        Some(rest) => match file.seek(io::SeekFrom::Start(from)).await {
            Ok(_) => {
                let mut answer = streamed(Streamed::whole(file, rest));
                *answer.status_mut() = StatusCode::PARTIAL_CONTENT;
                (answer, format!("bytes {from}-{}/{length}", end.min(length).saturating_sub(1)))
            }
            Err(_) => return plain(StatusCode::INTERNAL_SERVER_ERROR, "the file cannot be read\n"),
        },
    };
    if let Ok(range) = header::HeaderValue::try_from(range) {
        answer.headers_mut().insert(header::CONTENT_RANGE, range);
    }
    answer
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Either<Full<Bytes>, Streamed>> {
    let mut answer = Response::new(Either::Left(Full::new(body.into())));
    *answer.status_mut() = status;
    answer
}

fn streamed(body: Streamed) -> Response<Either<Full<Bytes>, Streamed>> {
    Response::new(Either::Right(body))
}

/// The path below the root that a request's path names, or none: it has no other form than `/a/b`, and after
/// percent-decoding no segment may be empty, special to the file system, or hold a separator.
fn relative(path: &str) -> Option<PathBuf> {
    path.strip_prefix('/')?
        .split('/')
        .map(|segment| {
            let name = percent_decoded(segment)?;
            let plain = !matches!(name.as_str(), "" | "." | "..") && !name.contains(['/', '\\', '\0']);
            plain.then_some(name)
        })
        .collect()
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut decoded = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(match byte {
            b'%' => {
                let mut digit = || char::from(bytes.next()?).to_digit(16);
                u8::try_from(digit()? * 16 + digit()?).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(decoded).ok()
}

/// A body that is read from a file while it is sent.
struct Streamed {
    file: Option<File>,
    /// Bytes of the file still to be sent.
    rest: u64,
    end: End,
}

/// What follows the bytes from the file.
enum End {
    /// Nothing: the body is complete.
    Whole,
    /// White space for ever.
    Padding,
    /// `missing` bytes that were announced and never come; the connection breaks.
    Cut { missing: u64, linger: Option<Pin<Box<Sleep>>> },
}

impl Streamed {
    fn whole(file: File, length: u64) -> Self {
        Self { file: Some(file), rest: length, end: End::Whole }
    }

    fn endless(start: Option<(File, u64)>) -> Self {
        let (file, rest) = start.map_or((None, 0), |(file, length)| (Some(file), length));
        Self { file, rest, end: End::Padding }
    }

    fn cut(file: File, length: u64, limit: u64) -> Self {
        match length.checked_sub(limit) {
            None | Some(0) => Self::whole(file, length),
            Some(missing) => Self { file: Some(file), rest: limit, end: End::Cut { missing, linger: None } },
        }
    }
}

impl Body for Streamed {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let this = &mut *self;
        if let Some(file) = this.file.as_mut().filter(|_| this.rest > 0) {
            let want = usize::try_from(this.rest).map_or(CHUNK, |rest| rest.min(CHUNK));
            let mut chunk = vec![0; want];
            let mut buffer = ReadBuf::new(&mut chunk);
            ready!(Pin::new(file).poll_read(context, &mut buffer))?;
            let read = buffer.filled().len();
            if read == 0 {
                return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into())));
            }
            chunk.truncate(read);
            this.rest -= read as u64;
            return Poll::Ready(Some(Ok(Frame::data(chunk.into()))));
        }
        match &mut this.end {
            End::Whole => Poll::Ready(None),
            End::Padding => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[b' '; CHUNK]))))),
            End::Cut { linger, .. } => {
                // An error makes hyper close the connection at once, with whatever it has not written yet.
                ready!(linger.get_or_insert_with(|| Box::pin(sleep(LINGER))).as_mut().poll(context));
                Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.rest == 0 && matches!(self.end, End::Whole)
    }

    /// Hyper announces an exact size as `Content-Length`, and chunks a body that has none.
    fn size_hint(&self) -> SizeHint {
        match &self.end {
            End::Whole => SizeHint::with_exact(self.rest),
            End::Padding => SizeHint::default(),
            End::Cut { missing, .. } => SizeHint::with_exact(self.rest.saturating_add(*missing)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        io::{BufRead, BufReader, Read, Write},
        net::TcpStream,
    };

    use tempfile::TempDir;

    use super::*;

    /// Generous: it is only ever waited for when a test fails.
    const PATIENCE: Duration = Duration::from_secs(20);

    struct Reply {
        status: u16,
        headers: String,
        body: Vec<u8>,
    }

    impl Reply {
        fn header(&self, name: &str) -> Option<&str> {
            self.headers.lines().find_map(|line| {
                let (key, value) = line.split_once(": ")?;
                key.eq_ignore_ascii_case(name).then_some(value)
            })
        }
    }

    fn connect(mirror: &Mirror) -> TcpStream {
        let stream = TcpStream::connect(mirror.address()).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn ask(stream: &mut TcpStream, method: &str, target: &str) {
        write!(stream, "{method} {target} HTTP/1.1\r\nHost: mirror\r\n\r\n").unwrap();
    }

    fn read_head(reader: &mut impl BufRead) -> Reply {
        let mut headers = String::new();
        while !headers.ends_with("\r\n\r\n") {
            assert_ne!(
                reader.read_line(&mut headers).unwrap(),
                0,
                "the answer's head is cut short: {headers:?}"
            );
        }
        let status = headers.split(' ').nth(1).unwrap().parse().unwrap();
        Reply { status, headers, body: Vec::new() }
    }

    /// Reads one answer and takes its length from `Content-Length`.
    fn read_reply(stream: &TcpStream) -> Reply {
        let mut reader = BufReader::new(stream);
        let mut reply = read_head(&mut reader);
        let length = reply.header("Content-Length").expect("a length is announced").parse().unwrap();
        reply.body = vec![0; length];
        reader.read_exact(&mut reply.body).unwrap();
        reply
    }

    fn fetch(mirror: &Mirror, target: &str) -> Reply {
        let mut stream = connect(mirror);
        ask(&mut stream, "GET", target);
        read_reply(&stream)
    }

    /// A directory `site` to be served, beside a `secret` that is not.
    fn site() -> (TempDir, Mirror) {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("site");
        fs::create_dir_all(root.join("targets/a b")).unwrap();
        fs::write(root.join("timestamp.json"), b"{}").unwrap();
        fs::write(root.join("empty"), b"").unwrap();
        fs::write(root.join("targets/a b/50%"), b"half").unwrap();
        fs::write(root.join("targets/image.bin"), image()).unwrap();
        fs::write(directory.path().join("secret"), b"secret").unwrap();
        let mirror = Mirror::serve(&root).unwrap();
        (directory, mirror)
    }

    /// Many chunks and a part of one, no two chunks alike.
    fn image() -> Vec<u8> {
        (0..20 * CHUNK as u32 + 1234).map(|at| (at ^ (at >> 8) ^ (at >> 15)) as u8).collect()
    }

    #[test]
    fn file_that_exists_arrives_whole_with_its_length() {
        let (_directory, mirror) = site();
        for (target, content) in [
            ("/timestamp.json", b"{}".to_vec()),
            ("/timestamp.json?again=1", b"{}".to_vec()),
            ("/empty", Vec::new()),
            ("/targets/image.bin", image()),
            ("/targets/a%20b/50%25", b"half".to_vec()),
            ("/%74imestamp.json", b"{}".to_vec()),
        ] {
            let reply = fetch(&mirror, target);
            assert_eq!((reply.status, reply.body == content), (200, true), "{target}");
        }
    }

    #[test]
    fn rest_of_a_file_is_answered_206_and_416_behind_its_end() {
        let (_directory, mirror) = site();
        let ask_from = |range: &str| {
            let mut stream = connect(&mirror);
            write!(stream, "GET /targets/image.bin HTTP/1.1\r\nHost: mirror\r\nRange: {range}\r\n\r\n")
                .unwrap();
            read_reply(&stream)
        };
        for (range, part, said) in [
            ("0-", 0..328_914, "bytes 0-328913/328914"),
            ("20000-", 20_000..328_914, "bytes 20000-328913/328914"),
            ("20000-20001", 20_000..20_002, "bytes 20000-20001/328914"),
            ("328913-999999", 328_913..328_914, "bytes 328913-328913/328914"),
        ] {
            let reply = ask_from(&format!("bytes={range}"));
            assert_eq!((reply.status, reply.header("Content-Range")), (206, Some(said)));
            assert!(reply.body == image()[part], "{range}");
        }
        for from in [328_914_u64, u64::MAX] {
            let reply = ask_from(&format!("bytes={from}-"));
            assert_eq!((reply.status, reply.header("Content-Range")), (416, Some("bytes */328914")));
        }
        for other in ["bytes=2-1", "bytes=-5", "lines=1-", "bytes=1-2,4-"] {
            let reply = ask_from(other);
            assert!(reply.status == 200 && reply.body == image(), "{other}");
        }
    }

    #[test]
    fn file_that_changes_between_requests_arrives_new() {
        let (directory, mirror) = site();
        assert_eq!(fetch(&mirror, "/timestamp.json").body, b"{}");
        fs::write(directory.path().join("site/timestamp.json"), b"{\"new\":1}").unwrap();
        assert_eq!(fetch(&mirror, "/timestamp.json").body, b"{\"new\":1}");
    }

    #[test]
    fn name_of_no_file_is_answered_404() {
        let (_directory, mirror) = site();
        for target in ["/", "/targets", "/targets/", "/2.root.json", "/timestamp.json/", "/timestamp.json/x"]
        {
            assert_eq!(fetch(&mirror, target).status, 404, "{target}");
        }
    }

    #[test]
    fn path_that_leads_outside_is_answered_404() {
        let (directory, mirror) = site();
        std::os::unix::fs::symlink(directory.path().join("secret"), directory.path().join("site/link"))
            .unwrap();
        let absolute = format!("/{}", directory.path().join("secret").display());
        let encoded = absolute.replacen('/', "%2f", 2).replacen("%2f", "/", 1);
        for target in [
            "/../secret",
            "/%2e%2e/secret",
            "/%2E./secret",
            "/targets/../../secret",
            "/..%2fsecret",
            "/targets/..%2f..%2fsecret",
            "/..%5csecret",
            "/./timestamp.json",
            "/targets/../timestamp.json",
            "//timestamp.json",
            "/timestamp.json%00",
            "/%zz",
            "/%2",
            "/%ff",
            "/link",
            &absolute,
            &encoded,
        ] {
            let reply = fetch(&mirror, target);
            assert_eq!((reply.status, reply.body.as_slice()), (404, &b"no such file\n"[..]), "{target}");
        }
    }

    #[test]
    fn head_request_is_answered_without_a_body() {
        let (_directory, mirror) = site();
        let mut stream = connect(&mirror);
        ask(&mut stream, "HEAD", "/targets/image.bin");
        let reply = read_head(&mut BufReader::new(&stream));
        assert_eq!((reply.status, reply.header("Content-Length")), (200, Some("328914")));
        assert_eq!(image().len(), 328_914);

        ask(&mut stream, "GET", "/timestamp.json");
        assert_eq!(read_reply(&stream).body, b"{}", "the next answer follows directly");
    }

    #[test]
    fn method_that_writes_is_answered_405() {
        let (_directory, mirror) = site();
        for method in ["PUT", "POST", "DELETE"] {
            let mut stream = connect(&mirror);
            ask(&mut stream, method, "/timestamp.json");
            assert_eq!(read_reply(&stream).status, 405, "{method}");
        }
        assert_eq!(fetch(&mirror, "/timestamp.json").body, b"{}");
    }

    #[test]
    fn fault_for_one_request_is_over_with_it() {
        let (_directory, mirror) = site();
        mirror.set_fault_once("/timestamp.json", Fault::Status(503));
        let statuses =
            ["/empty", "/timestamp.json", "/timestamp.json"].map(|path| fetch(&mirror, path).status);
        assert_eq!(statuses, [200, 503, 200]);
    }

    #[test]
    fn requests_are_logged_in_order_until_cleared() {
        let (_directory, mirror) = site();
        mirror.set_fault("/gone", Fault::Status(410));
        let mut stream = connect(&mirror);
        for (method, target) in [("GET", "/1.root.json"), ("GET", "/targets/a%20b/50%25?x"), ("GET", "/gone")]
        {
            ask(&mut stream, method, target);
            read_reply(&stream);
        }
        let paths: Vec<_> = mirror.requests().into_iter().map(|request| request.path).collect();
        assert_eq!(paths, ["/1.root.json", "/targets/a%20b/50%25", "/gone"]);
        assert!(mirror.requests().iter().all(|request| request.method == "GET"));

        mirror.clear_requests();
        ask(&mut stream, "GET", "/empty");
        read_reply(&stream);
        assert_eq!(mirror.requests(), [Request { method: "GET".into(), path: "/empty".into(), from: None }]);
    }

    #[test]
    fn fault_that_is_cleared_leaves_the_file() {
        let (_directory, mirror) = site();
        mirror.set_fault("/timestamp.json", Fault::Replace(b"[]".to_vec()));
        assert_eq!(fetch(&mirror, "/timestamp.json").body, b"[]");
        assert_eq!(fetch(&mirror, "/empty").body, b"", "another path is not touched");

        mirror.set_fault("/timestamp.json", Fault::Status(503));
        let reply = fetch(&mirror, "/timestamp.json");
        assert_eq!((reply.status, reply.body.len()), (503, 0));

        mirror.set_fault("/timestamp.json", Fault::Redirect("http://127.0.0.1:1/x".into()));
        let reply = fetch(&mirror, "/timestamp.json");
        assert_eq!((reply.status, reply.header("Location")), (302, Some("http://127.0.0.1:1/x")));

        mirror.clear_faults();
        let reply = fetch(&mirror, "/timestamp.json");
        assert_eq!((reply.status, reply.body.as_slice()), (200, &b"{}"[..]));
    }

    #[test]
    fn endless_file_goes_on_after_its_last_byte() {
        let (_directory, mirror) = site();
        mirror.set_fault("/timestamp.json", Fault::Endless);
        mirror.set_fault("/made-up.json", Fault::Endless);
        for (target, start) in [("/timestamp.json", &b"{}"[..]), ("/made-up.json", b"")] {
            let mut stream = connect(&mirror);
            ask(&mut stream, "GET", target);
            let mut reader = BufReader::new(&stream);
            let reply = read_head(&mut reader);
            assert_eq!((reply.status, reply.header("Content-Length")), (200, None), "{target}");
            assert_eq!(reply.header("Transfer-Encoding"), Some("chunked"), "{target}");

            let mut body = Vec::new();
            while body.len() < 8 << 20 {
                let mut size = String::new();
                reader.read_line(&mut size).unwrap();
                let size = usize::from_str_radix(size.trim_end(), 16).unwrap();
                assert_ne!(size, 0, "{target} ended");
                let from = body.len();
                body.resize(from + size + 2, 0);
                reader.read_exact(&mut body[from..]).unwrap();
                body.truncate(from + size);
            }
            assert!(body.starts_with(start), "{target}");
            assert!(body[start.len()..].iter().all(|&byte| byte == b' '), "{target}");
        }
        assert_eq!(fetch(&mirror, "/empty").status, 200, "clients that left are no burden");
    }

    #[test]
    fn hanging_answer_stays_away_while_others_arrive() {
        let (_directory, mirror) = site();
        mirror.set_fault("/timestamp.json", Fault::Hang);
        let mut hanging = connect(&mirror);
        ask(&mut hanging, "GET", "/timestamp.json");
        assert_eq!(fetch(&mirror, "/targets/image.bin").status, 200);

        hanging.set_read_timeout(Some(Duration::from_millis(300))).unwrap();
        let error = hanging.read(&mut [0; 1]).unwrap_err();
        assert!(matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut), "{error}");
        assert_eq!(mirror.requests().len(), 2, "the request was read, not just queued");
    }

    #[test]
    fn dropped_connection_ends_after_exactly_so_many_bytes() {
        let (_directory, mirror) = site();
        for limit in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, image().len() - 1] {
            mirror.set_fault("/targets/image.bin", Fault::DropAfter(limit as u64));
            let mut stream = connect(&mirror);
            ask(&mut stream, "GET", "/targets/image.bin");
            let mut reader = BufReader::new(&stream);
            let reply = read_head(&mut reader);
            assert_eq!((reply.status, reply.header("Content-Length")), (200, Some("328914")));
            let mut body = Vec::new();
            reader.read_to_end(&mut body).unwrap();
            assert_eq!((body.len(), image().starts_with(&body)), (limit, true));
        }
    }

    #[test]
    fn dropped_connection_beyond_the_file_leaves_it_whole() {
        let (_directory, mirror) = site();
        for limit in [image().len() as u64, u64::MAX] {
            mirror.set_fault("/targets/image.bin", Fault::DropAfter(limit));
            assert!(fetch(&mirror, "/targets/image.bin").body == image());
        }
        mirror.set_fault("/no-file", Fault::DropAfter(1));
        assert_eq!(fetch(&mirror, "/no-file").status, 404);
    }

    #[test]
    fn dropped_mirror_closes_its_port_and_its_connections() {
        let (_directory, mirror) = site();
        mirror.set_fault("/timestamp.json", Fault::Hang);
        mirror.set_fault("/empty", Fault::Endless);
        let address = mirror.address();
        let mut hanging = connect(&mirror);
        ask(&mut hanging, "GET", "/timestamp.json");
        let mut endless = connect(&mirror);
        ask(&mut endless, "GET", "/empty");
        endless.read_exact(&mut [0; 1]).unwrap();
        drop(mirror);

        match hanging.read(&mut [0; 1]) {
            Ok(read) => assert_eq!(read, 0),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
        let mut rest = Vec::new();
        let _ = endless.read_to_end(&mut rest);
        assert_eq!(TcpStream::connect(address).unwrap_err().kind(), io::ErrorKind::ConnectionRefused);
    }

    #[test]
    fn path_that_is_no_directory_cannot_be_served() {
        let (directory, _mirror) = site();
        let error = Mirror::serve(&directory.path().join("secret")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotADirectory);
        let error = Mirror::serve(&directory.path().join("nowhere")).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
