//! The way to a control replica.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use proto::control::ControlReplica;
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::Trust;

/// How long a replica may take to accept the connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How often a replica is asked for a sign of life, and how long it may take to give it. Together less than a share
/// counts.
const ALIVE_EVERY: Duration = Duration::from_secs(4);
const ALIVE_WITHIN: Duration = Duration::from_secs(4);

/// Why there is no way to a replica.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DialError {
    /// It serves TLS, and nobody is trusted to say who it is.
    #[error("it serves TLS, and there is no CA file to know it by")]
    NoTrust,
    /// A file of [`Trust`] cannot be read.
    #[error("cannot read {}", file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Its address is none, the files hold no certificates, or it does not take the connection.
    #[error("cannot connect")]
    Transport(#[from] tonic::transport::Error),
}

/// Connects. Reads the files of `trust` now.
pub(crate) async fn connect(replica: &ControlReplica, trust: &Trust) -> Result<Channel, DialError> {
    let scheme = if replica.tls { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{}", replica.address))?
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(ALIVE_EVERY)
        .keep_alive_timeout(ALIVE_WITHIN);
    if replica.tls {
        endpoint = endpoint.tls_config(tls(trust).await?)?;
    }
    Ok(endpoint.connect().await?)
}

async fn tls(trust: &Trust) -> Result<ClientTlsConfig, DialError> {
    let ca_file = trust.ca_file.as_deref().ok_or(DialError::NoTrust)?;
    let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(ca_file).await?));
    if let Some(name) = &trust.server_name {
        tls = tls.domain_name(name);
    }
    if let Some(identity) = &trust.identity {
        tls = tls.identity(Identity::from_pem(read(&identity.cert_file).await?, read(&identity.key_file).await?));
    }
    Ok(tls)
}

async fn read(file: &Path) -> Result<Vec<u8>, DialError> {
    let read = {
        let file = file.to_owned();
        tokio::task::spawn_blocking(move || std::fs::read(file)).await
    };
    let contents = read.unwrap_or_else(|ended| Err(io::Error::other(ended)));
    contents.map_err(|source| DialError::File { file: file.to_owned(), source })
}
