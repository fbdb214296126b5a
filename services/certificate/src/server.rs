//! What the files of a listener make.

use std::path::Path;
use std::sync::Arc;

use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{OtherError, RootCertStore, ServerConfig};

use super::{CertificateError, Contents, Files};

/// The settings of a TLS server, and its own certificate.
pub(crate) fn config(
    files: &Files,
    contents: &Contents,
    protocols: &[&[u8]],
) -> Result<(ServerConfig, CertificateDer<'static>), CertificateError> {
    let chain = certificates(&files.cert_file, &contents.cert)?;
    let own = chain[0].clone();
    let key = PrivateKeyDer::from_pem_slice(&contents.key).map_err(not_pem(&files.key_file))?;
    let verifier = match files.client_ca_file.as_deref().zip(contents.client_ca.as_deref()) {
        Some((file, pem)) => verifier(certificates(file, pem)?)
            .map_err(|source| CertificateError::ClientCa { file: file.to_owned(), source })?,
        None => WebPkiClientVerifier::no_client_auth(),
    };
    let mut server = server(chain, key, verifier).map_err(|source| CertificateError::Unusable {
        cert_file: files.cert_file.clone(),
        key_file: files.key_file.clone(),
        source,
    })?;
    server.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok((server, own))
}

fn server(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, rustls::Error> {
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
}

/// Checks the certificates of those clients that show one: there are other ways in.
fn verifier(authorities: Vec<CertificateDer<'static>>) -> Result<Arc<dyn ClientCertVerifier>, rustls::Error> {
    let mut roots = RootCertStore::empty();
    for authority in authorities {
        roots.add(authority)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider);
    verifier.allow_unauthenticated().build().map_err(|error| OtherError(Arc::new(error)).into())
}

/// At least one.
fn certificates(file: &Path, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem).collect::<Result<_, _>>().map_err(not_pem(file))?;
    if chain.is_empty() {
        return Err(not_pem(file)(PemError::NoItemsFound));
    }
    Ok(chain)
}

fn not_pem(file: &Path) -> impl FnOnce(PemError) -> CertificateError {
    move |source| CertificateError::Pem { file: file.to_owned(), source }
}
