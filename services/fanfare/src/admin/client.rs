//! The way to the control plane: address, TLS, token.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use control::AdminToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};
use tonic::{Request, Status};

use super::Failure;
use crate::with_causes;

/// The variable that holds the admin token.
pub(super) const TOKEN_VARIABLE: &str = "FANFARE_ADMIN_TOKEN";

/// How long a server may take to take the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take: longer than the server waits for its registry, so that its word for it arrives.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);

/// The same for backup, restore and sealing anew, which go through everything there is.
const LONG_ANSWER_TIMEOUT: Duration = Duration::from_secs(60 * 60);

/// Largest answer: a page of a thousand apps with all their settings is a part of it.
pub(super) const MAX_ANSWER_BYTES: usize = 64 << 20;

/// A connection that carries the token.
pub(super) type Connection = InterceptedService<Channel, Bearer>;

/// Where the control plane is and how to be let in.
#[derive(Args, Debug)]
pub(super) struct Server {
    /// The control plane's URL, http or https
    #[arg(
        long,
        global = true,
        env = "FANFARE_CONTROL_ADDRESS",
        default_value = "http://127.0.0.1:6002",
        value_name = "URL"
    )]
    address: String,
    /// File with the admin token; wins over FANFARE_ADMIN_TOKEN
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// PEM file with the certificates to trust, for https
    #[arg(long, global = true, value_name = "FILE")]
    pub(super) ca_file: Option<PathBuf>,
    /// PEM file with a certificate that lets in, for https, instead of a token or beside one
    #[arg(long, global = true, value_name = "FILE", requires = "key_file")]
    cert_file: Option<PathBuf>,
    /// PEM file with the key of --cert-file
    #[arg(long, global = true, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
    /// Name in the server's certificate, if it is not the one in the address
    #[arg(long, global = true, value_name = "NAME")]
    pub(super) server_name: Option<String>,
}

/// Adds the token, if there is one, to every call.
#[derive(Clone, Debug)]
pub(super) struct Bearer(Option<MetadataValue<Ascii>>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(token) = &self.0 {
            request.metadata_mut().insert("authorization", token.clone());
        }
        Ok(request)
    }
}

/// A way to a control plane that is not taken yet.
#[derive(Clone, Debug)]
pub(super) struct Way {
    pub(super) address: String,
    endpoint: Endpoint,
    token: Bearer,
    has_certificate: bool,
}

impl Way {
    /// Finds out what can be wrong without opening a connection. `environment_token` is what [`TOKEN_VARIABLE`] holds.
    pub(super) fn new(server: &Server, environment_token: Option<String>) -> Result<Self, Failure> {
        Ok(Self {
            address: server.address.clone(),
            endpoint: endpoint(server)?,
            token: Bearer(token(server, environment_token)?),
            has_certificate: server.cert_file.is_some(),
        })
    }

    /// A connection with a token or certificate.
    pub(super) async fn open(&self) -> Result<Connection, Failure> {
        if self.token.0.is_none() && !self.has_certificate {
            let sentence = format!("there is no admin token: set {TOKEN_VARIABLE} or give --token-file");
            return Err(Failure::Usage(sentence));
        }
        self.open_to_anybody().await
    }

    /// The same for calls that go through everything there is.
    pub(super) async fn open_for_long(&self) -> Result<Connection, Failure> {
        let patient = Self { endpoint: self.endpoint.clone().timeout(LONG_ANSWER_TIMEOUT), ..self.clone() };
        patient.open().await
    }

    /// A connection for what is open to those without a token.
    pub(super) async fn open_to_anybody(&self) -> Result<Connection, Failure> {
        match self.endpoint.connect().await {
            Ok(channel) => Ok(InterceptedService::new(channel, self.token.clone())),
            Err(error) => Err(Failure::Unreachable(format!("cannot reach {}: {}", self.address, with_causes(&error)))),
        }
    }

    /// Whether what is said can be read on the way.
    pub(super) fn is_plain(&self) -> bool {
        self.endpoint.uri().scheme_str() == Some("http")
    }

    /// Whether the server is on this machine.
    pub(super) fn is_local(&self) -> bool {
        let host = self.endpoint.uri().host().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }
}

fn token(server: &Server, environment_token: Option<String>) -> Result<Option<MetadataValue<Ascii>>, Failure> {
    let (source, text) = match (&server.token_file, environment_token) {
        (Some(file), _) => {
            let source = file.display().to_string();
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| Failure::Usage(format!("cannot read the token file {source}: {error}")))?;
            (source, text)
        }
        (None, Some(text)) => (TOKEN_VARIABLE.to_owned(), text),
        (None, None) => return Ok(None),
    };
    let token = AdminToken::new(&text).map_err(|error| Failure::Usage(format!("{source}: {error}")))?;
    let mut header: MetadataValue<Ascii> =
        format!("Bearer {}", token.expose()).parse().map_err(|_| Failure::Usage(format!("{source}: invalid token")))?;
    header.set_sensitive(true);
    Ok(Some(header))
}

fn endpoint(server: &Server) -> Result<Endpoint, Failure> {
    let address = &server.address;
    let endpoint = Endpoint::from_shared(address.clone())
        .map_err(|_| Failure::Usage(format!("{address:?} is no URL; write http://HOST:PORT")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT);
    let is_tls_given = server.ca_file.is_some() || server.cert_file.is_some() || server.server_name.is_some();
    match (endpoint.uri().scheme_str(), &server.ca_file) {
        (Some("http"), _) if !is_tls_given => Ok(endpoint),
        (Some("http"), _) => {
            Err(Failure::Usage("--ca-file, --cert-file and --server-name are for https addresses".to_owned()))
        }
        (Some("https"), Some(ca_file)) => {
            let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca_file)?));
            if let Some((cert_file, key_file)) = server.cert_file.as_ref().zip(server.key_file.as_ref()) {
                tls = tls.identity(Identity::from_pem(read(cert_file)?, read(key_file)?));
            }
            if let Some(name) = &server.server_name {
                tls = tls.domain_name(name);
            }
            endpoint
                .tls_config(tls)
                .map_err(|error| Failure::Usage(format!("cannot use the TLS files: {}", with_causes(&error))))
        }
        // The system's roots are not built in: control planes have certificates of their own.
        (Some("https"), None) => Err(Failure::Usage("an https address needs --ca-file".to_owned())),
        _ => Err(Failure::Usage(format!("{address:?} must begin with http:// or https://"))),
    }
}

fn read(file: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(file).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", file.display())))
}
