//! Where the canary goes and as whom: the public address, whom to trust there, the app's key, the channel.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use ably::credentials::{JwtClaims, Seconds};
use auth::Signer;
use channels::{AppId, KeyName, Secret};
use hyper::Uri;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

use crate::admin::Failure;

/// How long the token is good that stands in for the key on connections of the Ably protocol. Connections are replaced
/// when half of it has passed.
pub(super) const TOKEN_LIFE: Duration = Duration::from_secs(60 * 60);

/// The public address, and what is needed to be let in.
pub(super) struct Target {
    /// As given.
    pub(super) url: String,
    pub(super) host: String,
    pub(super) port: u16,
    /// For the `Host` header.
    pub(super) authority: String,
    /// In front of every path, for proxies that serve other things as well; mostly empty.
    prefix: String,
    /// TLS, and the name to be proven.
    pub(super) tls: Option<(TlsConnector, ServerName<'static>)>,
    app: AppId,
    key: KeyName,
    secret: Secret,
    /// Where to publish and subscribe.
    pub(super) channel: String,
}

/// What goes with the address, as it stands on the command line.
pub(super) struct Given<'a> {
    pub(super) app: &'a str,
    pub(super) key: &'a str,
    pub(super) secret: String,
    pub(super) channel: &'a str,
    pub(super) ca_file: Option<&'a Path>,
    pub(super) server_name: Option<&'a str>,
}

impl Target {
    /// Finds out what can be wrong without opening a connection.
    pub(super) fn new(url: &str, given: Given<'_>) -> Result<Self, Failure> {
        let usage = |text: String| Failure::Usage(text);
        let wrong = || usage(format!("{url:?} is no public address: write https://HOST, or http://HOST:PORT"));
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let is_secure = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(wrong()),
        };
        let authority = uri.authority().ok_or_else(wrong)?;
        if authority.as_str().contains('@') || uri.query().is_some() {
            return Err(wrong());
        }
        let host = authority.host().trim_matches(['[', ']']).to_owned();
        let (ca_file, server_name) = (given.ca_file, given.server_name);
        let tls = match is_secure {
            true => Some((connector(ca_file)?, name(server_name.unwrap_or(&host))?)),
            false if ca_file.is_none() && server_name.is_none() => None,
            false => return Err(usage("--ca-file and --server-name are for https addresses".to_owned())),
        };
        check_channel(given.channel)?;
        Ok(Self {
            url: url.to_owned(),
            port: authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
            authority: authority.to_string(),
            prefix: uri.path().trim_end_matches('/').to_owned(),
            host,
            tls,
            app: AppId::new(given.app).map_err(|error| usage(error.to_string()))?,
            key: KeyName::new(given.key).map_err(|error| usage(error.to_string()))?,
            secret: Secret::new(&given.secret).ok_or_else(|| {
                usage("there is no secret: give --key-secret-file or set FANFARE_KEY_SECRET".to_owned())
            })?,
            channel: given.channel.to_owned(),
        })
    }

    /// Path and query of a signed request to publish `body`.
    pub(super) fn publish_path(&self, body: &[u8]) -> String {
        let path = format!("{}/apps/{}/events", self.prefix, self.app);
        let query = self.signer().request("POST", &path, &[], body, clock::unix_seconds());
        format!("{path}?{query}")
    }

    /// The URL of a WebSocket of the Pusher protocol.
    pub(super) fn pusher_url(&self) -> String {
        let key = utf8_percent_encode(self.key.as_str(), NON_ALPHANUMERIC);
        let version = env!("CARGO_PKG_VERSION");
        self.socket_url(&format!("/app/{key}?protocol=7&client=fanfare-canary&version={version}"))
    }

    /// The URL of a WebSocket of the Ably protocol.
    pub(super) fn ably_url(&self) -> String {
        self.socket_url("/?v=6&format=json&heartbeats=false&echo=true&agent=fanfare-canary")
    }

    /// Path and query of an event stream.
    pub(super) fn events_path(&self) -> String {
        format!("{}/sse?v=1.2&channels={}", self.prefix, self.channel)
    }

    /// The signature of a subscription over the Pusher protocol, if the channel wants one.
    pub(super) fn subscription(&self, socket_id: &str) -> Option<String> {
        let is_private = self.channel.starts_with("private-");
        is_private.then(|| self.signer().channel(socket_id, &self.channel, None))
    }

    /// The `Authorization` of the Ably protocol: a token for this channel. In a header, since proxies log queries.
    pub(super) fn bearer(&self) -> String {
        let now = clock::unix_seconds();
        let capability = serde_json::json!({ &self.channel: ["subscribe"] }).to_string();
        let claims = JwtClaims {
            issued: Seconds::Whole(now),
            expires: Seconds::Whole(now + TOKEN_LIFE.as_secs()),
            capability: Some(capability),
            client_id: None,
            revocation_key: None,
        };
        format!("Bearer {}", claims.sign(&self.key, &self.secret))
    }

    fn signer(&self) -> Signer {
        Signer::new(self.key.clone(), self.secret.clone())
    }

    fn socket_url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "wss" } else { "ws" };
        format!("{scheme}://{}{}{path}", self.authority, self.prefix)
    }
}

/// Channels whose names need no escapes anywhere, and to which no more than a signature lets in.
fn check_channel(channel: &str) -> Result<(), Failure> {
    let plain = channel.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'));
    let kind = channels::ChannelKind::of(channel);
    if channel.is_empty() || !plain || kind.is_presence() || channel.starts_with("private-encrypted-") {
        let sentence = "--channel is a public or private channel, of letters, digits, '-', '_' and '.'";
        return Err(Failure::Usage(sentence.to_owned()));
    }
    Ok(())
}

fn name(text: &str) -> Result<ServerName<'static>, Failure> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(ServerName::from(address));
    }
    ServerName::try_from(text.to_owned()).map_err(|_| Failure::Usage(format!("{text:?} is no name of a server")))
}

/// TLS that trusts those in `ca_file`, or else the system's authorities: what clients of the public address do.
fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, Failure> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(path) => {
            let unusable =
                |why: String| Failure::Usage(format!("cannot use the authorities in {}: {why}", path.display()));
            for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))? {
                let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
                roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
            }
            if roots.is_empty() {
                return Err(unusable("there are none".to_owned()));
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                let sentence = "this system trusts no authority: give --ca-file";
                return Err(Failure::Usage(sentence.to_owned()));
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}
