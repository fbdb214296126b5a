//! Which authorities vouch for receivers.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// Why the worker cannot be put together.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// The file of authorities cannot be used.
    #[error("cannot read webhook authorities {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// The file holds no authority.
    #[error("no webhook authority in {}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// An authority, or the TLS library's own settings, cannot be used.
    #[error("TLS towards webhooks cannot be used")]
    Tls(#[from] rustls::Error),
}

/// TLS that trusts the system's authorities, and those in `ca_file`. A system without any is no error: it may have no
/// receivers outside.
pub(crate) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, TrustError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "some of the system's authorities cannot be read");
    }
    roots.add_parsable_certificates(native.certs);
    if let Some(path) = ca_file {
        let unreadable = |source| TrustError::File { path: path.to_owned(), source };
        let mut found = false;
        for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
            roots.add(certificate.map_err(unreadable)?)?;
            found = true;
        }
        if !found {
            return Err(TrustError::Empty { path: path.to_owned() });
        }
    }
    if roots.is_empty() {
        tracing::warn!("no authority is trusted: webhooks over https will fail");
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(TlsConnector::from(Arc::new(config.with_root_certificates(roots).with_no_client_auth())))
}
