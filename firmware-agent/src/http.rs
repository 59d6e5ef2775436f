//! Files over HTTPS, for hosts.
//!
//! Plain HTTP goes to a loopback address only, unless [`HttpOptions::danger_allow_plain_http`] says otherwise.
//! It would not be unsafe, for every byte is verified, but it shows everybody on the way what the device runs.

use core::fmt;
use core::net::IpAddr;
use core::time::Duration;
use std::borrow::ToOwned;
use std::io::{ErrorKind, Read};

use std::string::String;
use std::vec::Vec;

use ureq::Body;
use ureq::http::{Response, Uri};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};

use crate::engine::Input;
use crate::error::Error;
use crate::transport::{Request, Transport, TransportFault};

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;

/// How patient to be, and whom to trust as a server.
#[derive(Clone, Debug)]
pub struct HttpOptions {
    /// Until there is a connection, TLS included.
    pub connect: Duration,
    /// Between two reads: a server that says nothing for so long has hung.
    pub silence: Duration,
    /// For a whole fetch, on top of what [`HttpOptions::slowest`] gives.
    pub patience: Duration,
    /// Bytes a second; a fetch has time for its limit at this rate. A server that sends a byte a minute never
    /// falls silent, and still comes to an end.
    pub slowest: u32,
    /// Certificates in PEM that servers must chain up to; `None` for those that browsers trust.
    pub root_certificates: Option<Vec<u8>>,
    /// Allow `http://` to any address.
    pub danger_allow_plain_http: bool,
}

impl Default for HttpOptions {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(15),
            silence: Duration::from_secs(30),
            patience: Duration::from_secs(60),
            slowest: 1024,
            root_certificates: None,
            danger_allow_plain_http: false,
        }
    }
}

/// A repository on a web server.
#[derive(Debug)]
pub struct HttpTransport {
    agent: ureq::Agent,
    /// Ends in a slash.
    base: String,
    patience: Duration,
    slowest: u32,
}

impl HttpTransport {
    /// A transport to the repository whose top is at `url`.
    ///
    /// # Errors
    ///
    /// [`AddressError`]. Nothing is sent.
    pub fn new(url: &str, options: HttpOptions) -> Result<Self, AddressError> {
        let uri: Uri = url.parse().map_err(|_| AddressError::NotAnAddress)?;
        let host = uri.host().filter(|host| !host.is_empty()).ok_or(AddressError::NotAnAddress)?;
        if uri.query().is_some() || url.contains('#') {
            return Err(AddressError::Query);
        }
        let plain = match uri.scheme_str() {
            Some("https") => false,
            Some("http") if is_loopback(host) || options.danger_allow_plain_http => true,
            Some("http") => return Err(AddressError::PlainHttp),
            _ => return Err(AddressError::Scheme),
        };
        let certificates = match &options.root_certificates {
            None => RootCerts::WebPki,
            Some(pem) => root_certificates(pem)?,
        };
        let mut config = ureq::Agent::config_builder()
            .https_only(!plain)
            // Whoever follows a redirect lets the server choose the next server.
            .max_redirects(0)
            .http_status_as_error(false)
            .timeout_resolve(Some(options.connect))
            .timeout_connect(Some(options.connect))
            .timeout_per_read(Some(options.silence))
            .timeout_per_write(Some(options.silence))
            .timeout_recv_response(Some(options.silence))
            .user_agent(concat!("tuffet-agent/", env!("CARGO_PKG_VERSION")))
            .tls_config(TlsConfig::builder().root_certs(certificates).build());
        if plain {
            // A proxy from the environment would carry off what was meant for this machine.
            config = config.proxy(None);
        }
        let mut base = url.to_owned();
        if !base.ends_with('/') {
            base.push('/');
        }
        let HttpOptions { patience, slowest, .. } = options;
        Ok(Self { agent: config.build().new_agent(), base, patience, slowest })
    }

    fn request(&self, request: &Request) -> Result<Response<Body>, ureq::Error> {
        let Request { path, from, limit, .. } = request;
        let seconds = limit.checked_div(self.slowest).unwrap_or(*limit);
        let deadline = self.patience.saturating_add(Duration::from_secs(seconds.into()));
        let mut url = self.base.clone();
        url.push_str(path);
        let mut get = self.agent.get(url);
        if is_range(request) {
            get = get.header("Range", std::format!("bytes={from}-{}", limit.saturating_sub(1)));
        }
        get.config().timeout_global(Some(deadline)).build().call()
    }
}

impl Transport for HttpTransport {
    fn fetch(
        &mut self,
        request: &Request,
        sink: &mut dyn FnMut(Input<'_>) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Request { from, limit, part, .. } = *request;
        let mut response = self.request(request).map_err(fault)?;
        // How many bytes come before the first one that is wanted.
        let mut before = match response.status().as_u16() {
            // A server need not know ranges.
            200 => from,
            206 if is_range(request) && range_from(&response) == Some(from) => 0,
            206 | 416 if is_range(request) => return Err(TransportFault::Range { from }.into()),
            404 => return Err(TransportFault::NotFound.into()),
            code => return Err(refusal(code, &response).into()),
        };
        let too_long = TransportFault::TooLong { limit };
        let length = response.body().content_length();
        let end = u64::from(limit.saturating_sub(from)).saturating_add(before.into());
        if !part && length.is_some_and(|length| length > end) {
            return Err(too_long.into());
        }
        let mut body = response.body_mut().as_reader();
        let mut chunk = std::vec![0; CHUNK];
        let mut left = limit.saturating_sub(from);
        loop {
            // One byte more than is of use, to see whether the file goes on.
            let wanted = before.saturating_add(left).saturating_add(u32::from(!part));
            if wanted == 0 {
                return Ok(());
            }
            let place =
                chunk.get_mut(..usize::try_from(wanted).unwrap_or(CHUNK).min(CHUNK)).unwrap_or_default();
            let read = match body.read(place) {
                // The file ends before what is wanted begins.
                Ok(0) if before > 0 => return Err(TransportFault::Range { from }.into()),
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(fault(error.into()).into()),
            };
            let bytes = place.get(..read).unwrap_or_default();
            let passed = usize::try_from(before).unwrap_or(usize::MAX).min(read);
            before = before.saturating_sub(u32::try_from(passed).unwrap_or(u32::MAX));
            let bytes = bytes.get(passed..).unwrap_or_default();
            left = left.checked_sub(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).ok_or(too_long)?;
            if passed > 0 {
                sink(Input::Passed(u32::try_from(passed).unwrap_or(u32::MAX)))?;
            }
            if !bytes.is_empty() {
                sink(Input::Chunk(bytes))?;
            }
        }
    }
}

/// Whether a request is for less than the file.
fn is_range(request: &Request) -> bool {
    request.part || request.from > 0
}

/// The first byte that a partial answer has: RFC 9110, 14.4.
fn range_from(response: &Response<Body>) -> Option<u32> {
    let range = response.headers().get("Content-Range")?.to_str().ok()?;
    let (from, _) = range.strip_prefix("bytes ")?.split_once('-')?;
    from.trim().parse().ok()
}

/// What a status says that is no file.
fn refusal(code: u16, response: &Response<Body>) -> TransportFault {
    match retry_after(response) {
        Some(after) if matches!(code, 429 | 503) => TransportFault::Busy { code, after },
        _ => TransportFault::Status { code },
    }
}

/// Seconds: RFC 9110, 10.2.3. Where a server names a moment, it is held against that server's own clock.
fn retry_after(response: &Response<Body>) -> Option<u32> {
    let header = |name: &str| response.headers().get(name)?.to_str().ok().map(str::trim);
    let after = header("Retry-After")?;
    if let Ok(seconds) = after.parse::<u64>() {
        return Some(u32::try_from(seconds).unwrap_or(u32::MAX));
    }
    let [then, now] = [after, header("Date")?].map(|date| httpdate::parse_http_date(date).ok());
    let wait = then?.duration_since(now?).ok()?;
    Some(u32::try_from(wait.as_secs()).unwrap_or(u32::MAX))
}

fn fault(error: ureq::Error) -> TransportFault {
    match error {
        ureq::Error::Timeout(_) => TransportFault::Timeout,
        ureq::Error::Io(error) if error.kind() == ErrorKind::TimedOut => TransportFault::Timeout,
        // What `rustls` says of a certificate, or of a server that speaks no TLS.
        ureq::Error::Io(error) if error.kind() == ErrorKind::InvalidData => TransportFault::Tls,
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) | ureq::Error::Pem(_) => TransportFault::Tls,
        _ => TransportFault::Connection,
    }
}

fn root_certificates(pem: &[u8]) -> Result<RootCerts, AddressError> {
    let certificates: Result<Vec<Certificate<'static>>, ureq::Error> = parse_pem(pem)
        .filter_map(|item| match item {
            Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
            Ok(_) => None,
            Err(error) => Some(Err(error)),
        })
        .collect();
    match certificates {
        Ok(certificates) if !certificates.is_empty() => Ok(RootCerts::from(certificates)),
        _ => Err(AddressError::Certificates),
    }
}

/// RFC 6761 reserves the name `localhost` for this machine.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

/// Why there is no transport to such a repository.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AddressError {
    /// Not an absolute URL.
    NotAnAddress,
    /// A URL of another scheme than `https` and `http`.
    Scheme,
    /// A URL with a query or a fragment, behind which no file can be named.
    Query,
    /// `http://` to another machine.
    PlainHttp,
    /// The root certificates are no PEM, or there is none among them.
    Certificates,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NotAnAddress => "is no address; write one like https://updates.example.com/repository/",
            Self::Scheme => "must start with https://",
            Self::Query => "must end in a folder, without ? and #",
            Self::PlainHttp => "is plain HTTP to another machine; use https://",
            Self::Certificates => "the root certificates are no certificates in PEM",
        })
    }
}

impl core::error::Error for AddressError {}
