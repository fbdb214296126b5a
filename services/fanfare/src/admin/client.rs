//! The way to the control plane: address, TLS, token.

use std::time::Duration;

use control::AdminToken;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Request, Status};

use super::{Failure, Server, TOKEN_VARIABLE};
use crate::with_causes;

/// How long a server may take to take the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long an answer may take: longer than the server waits for its registry, so that its word for it arrives.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(45);

/// A connection that carries the token.
pub(super) type Connection = InterceptedService<Channel, Bearer>;

/// Adds the token to every call.
#[derive(Clone, Debug)]
pub(super) struct Bearer(MetadataValue<Ascii>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        request.metadata_mut().insert("authorization", self.0.clone());
        Ok(request)
    }
}

pub(super) fn token(server: &Server, environment_token: Option<String>) -> Result<Bearer, Failure> {
    let (source, text) = match &server.token_file {
        Some(file) => {
            let source = file.display().to_string();
            let text = std::fs::read_to_string(file);
            let text = text.map_err(|error| Failure::Usage(format!("cannot read the token file {source}: {error}")))?;
            (source, text)
        }
        None => {
            let text = environment_token.ok_or_else(|| {
                Failure::Usage(format!("there is no admin token: set {TOKEN_VARIABLE} or give --token-file"))
            })?;
            (TOKEN_VARIABLE.to_owned(), text)
        }
    };
    let token = AdminToken::new(&text).map_err(|error| Failure::Usage(format!("{source}: {error}")))?;
    let mut header: MetadataValue<Ascii> =
        format!("Bearer {}", token.expose()).parse().map_err(|_| Failure::Usage(format!("{source}: invalid token")))?;
    header.set_sensitive(true);
    Ok(Bearer(header))
}

pub(super) fn endpoint(server: &Server) -> Result<Endpoint, Failure> {
    let address = &server.address;
    let endpoint = Endpoint::from_shared(address.clone())
        .map_err(|_| Failure::Usage(format!("{address:?} is no URL; write http://HOST:PORT")))?
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(ANSWER_TIMEOUT);
    match (endpoint.uri().scheme_str(), &server.ca_file) {
        (Some("http"), None) => Ok(endpoint),
        (Some("http"), Some(_)) => Err(Failure::Usage("--ca-file is for https addresses".to_owned())),
        (Some("https"), Some(file)) => {
            let pem = std::fs::read(file)
                .map_err(|error| Failure::Usage(format!("cannot read the CA file {}: {error}", file.display())))?;
            let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(pem));
            endpoint.tls_config(tls).map_err(|error| {
                Failure::Usage(format!("cannot use the CA file {}: {}", file.display(), with_causes(&error)))
            })
        }
        // The system's roots are not built in: control planes have certificates of their own.
        (Some("https"), None) => Err(Failure::Usage("an https address needs --ca-file".to_owned())),
        _ => Err(Failure::Usage(format!("{address:?} must begin with http:// or https://"))),
    }
}

pub(super) async fn connect(server: &Server, endpoint: Endpoint, token: Bearer) -> Result<Connection, Failure> {
    match endpoint.connect().await {
        Ok(channel) => Ok(InterceptedService::new(channel, token)),
        Err(error) => Err(Failure::Unreachable(format!("cannot reach {}: {}", server.address, with_causes(&error)))),
    }
}
