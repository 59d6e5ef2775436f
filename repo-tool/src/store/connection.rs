//! How a server is reached: by which address, with which credentials, and never in the clear by mistake.

use core::time::Duration;

use hyper::Uri;
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey, S3ConditionalPut};
use object_store::client::{HttpClient, HttpConnector};
use object_store::{BackoffConfig, ClientConfigKey, ClientOptions, RetryConfig};

use crate::{Error, Misuse};

use super::failure::one_line;
use super::{Settings, check_prefix};

/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(10);

/// How often a request is repeated that was not answered, or by a failure of the server.
const RETRIES: usize = 3;

/// How long after the first try a request is repeated at all.
const RETRY: Duration = Duration::from_secs(20);

/// A repository's address, and the way there.
pub(super) struct Connection {
    pub(super) s3: AmazonS3,
    /// Of all keys; empty, or with a slash at the end.
    pub(super) prefix: String,
    /// For messages.
    pub(super) endpoint: String,
}

impl Connection {
    /// The way to a `s3://` address. Nothing is sent.
    pub(super) fn new(url: &str, settings: &Settings) -> Result<Connection, Error> {
        let misuse = |why: String| Misuse::Address { url: url.to_owned(), why };
        let address = url.trim_end_matches('/').strip_prefix("s3://").unwrap_or_default();
        let (bucket, prefix) = address.split_once('/').unwrap_or((address, ""));
        let is_bucket = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '-' | '_');
        let named = bucket.chars().all(is_bucket) && (3..=255).contains(&bucket.len());
        if !named || check_prefix(prefix).is_err() {
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
        let retry = RetryConfig { backoff, max_retries: RETRIES, retry_timeout: RETRY };
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
        Ok(Connection { s3, prefix, endpoint })
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
