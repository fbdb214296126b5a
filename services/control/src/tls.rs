//! TLS on the listener: for gRPC, and for HTTP/1.1 beside it.
//!
//! tonic's own TLS offers HTTP/2 alone, and clients that ask for HTTP/1.1 alone are refused in the handshake.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::{Error as PemError, PemObject as _};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::{StartError, Tls};

/// What may be spoken behind the handshake, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// Why a certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not PEM, or has nothing of what it should hold.
    #[error("not the PEM file it should be")]
    Pem(#[from] PemError),
    /// The two do not fit each other, or are of a kind that is not supported.
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
    /// Client certificates cannot be held against what is in the file for that.
    #[error(transparent)]
    ClientCa(#[from] VerifierBuilderError),
}

/// Reads the files.
pub(crate) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, StartError> {
    let read =
        |file: &PathBuf| std::fs::read(file).map_err(|source| StartError::TlsFile { file: file.clone(), source });
    let client_ca = tls.client_ca_file.as_ref().map(read).transpose()?;
    let config = parse(&read(&tls.cert_file)?, &read(&tls.key_file)?, client_ca.as_deref());
    let config = config.map_err(|source| StartError::Tls { tls: tls.clone(), source: Box::new(source) })?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn parse(cert: &[u8], key: &[u8], client_ca: Option<&[u8]>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let server = match client_ca {
        Some(pem) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(pem)? {
                roots.add(certificate)?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
            // Not everybody has one: a token does as well.
            server.with_client_cert_verifier(verifier.allow_unauthenticated().build()?)
        }
        None => server.with_no_client_auth(),
    };
    let mut server = server.with_single_cert(certificates(cert)?, PrivateKeyDer::from_pem_slice(key)?)?;
    server.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(server)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>()?;
    if chain.is_empty() {
        return Err(PemError::NoItemsFound.into());
    }
    Ok(chain)
}
