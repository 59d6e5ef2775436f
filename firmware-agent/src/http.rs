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

use crate::error::Error;
use crate::transport::{Transport, TransportFault};

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

    fn request(&self, path: &str, limit: u32) -> Result<Response<Body>, ureq::Error> {
        let seconds = limit.checked_div(self.slowest).unwrap_or(limit);
        let deadline = self.patience.saturating_add(Duration::from_secs(seconds.into()));
        let mut url = self.base.clone();
        url.push_str(path);
        self.agent.get(url).config().timeout_global(Some(deadline)).build().call()
    }
}

impl Transport for HttpTransport {
    fn fetch(
        &mut self,
        path: &str,
        limit: u32,
        sink: &mut dyn FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut response = self.request(path, limit).map_err(fault)?;
        match response.status().as_u16() {
            200 => {}
            404 => return Err(TransportFault::NotFound.into()),
            code => return Err(TransportFault::Status { code }.into()),
        }
        let too_long = TransportFault::TooLong { limit };
        if response.body().content_length().is_some_and(|length| length > limit.into()) {
            return Err(too_long.into());
        }
        let mut body = response.body_mut().as_reader();
        let mut chunk = std::vec![0; CHUNK];
        let mut left = usize::try_from(limit).unwrap_or(usize::MAX);
        loop {
            // One byte more than is of use, to see whether the file goes on.
            let wanted = left.saturating_add(1).min(CHUNK);
            let place = chunk.get_mut(..wanted).unwrap_or_default();
            let read = match body.read(place) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(fault(error.into()).into()),
            };
            left = left.checked_sub(read).ok_or(too_long)?;
            sink(place.get(..read).unwrap_or_default())?;
        }
    }
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
