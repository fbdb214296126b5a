//! TLS on the listener, with certificates that are read again when their files change.
//!
//! New handshakes use the new certificate; connections that are open keep theirs. A pair of files that cannot be used
//! (half written, key of another certificate) leaves the old one in place and is logged.

use std::path::PathBuf;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::pki_types::pem::{Error as PemError, PemObject as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::config::TlsConfig;

/// Why a certificate and key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not PEM, or has nothing of what it should hold.
    #[error("{} is not the PEM file it should be", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// Why.
        source: PemError,
    },
    /// The two do not fit each other, or are of a kind that is not supported.
    #[error("the certificate and key cannot be used")]
    Unusable(#[from] rustls::Error),
}

/// The content of both files, to see whether they changed.
#[derive(Debug, PartialEq, Eq)]
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
}

/// The listener's certificate.
#[derive(Debug)]
pub(crate) struct Tls {
    config: TlsConfig,
    current: ArcSwap<ServerConfig>,
    first: Files,
}

impl Tls {
    /// Reads the files for the first time.
    pub(crate) fn load(config: TlsConfig) -> Result<Self, TlsError> {
        let files = read(&config)?;
        let current = ArcSwap::from(parse(&config, &files)?);
        Ok(Self { config, current, first: files })
    }

    /// Accepts with the certificate as it is now.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again and again until `stop`.
    pub(crate) async fn reload(&self, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.config.reload_interval);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = ticks.tick() => self.look(&mut seen),
            }
        }
    }

    /// Reads the files once. `seen` is what was last looked at, good or bad: one bad pair is one line in the log.
    fn look(&self, seen: &mut Option<Files>) {
        let files = match read(&self.config) {
            Ok(files) if seen.as_ref().unwrap_or(&self.first) == &files => return,
            Ok(files) => files,
            Err(error) => {
                return tracing::warn!(error = &error as &dyn std::error::Error, "keeping the old certificate");
            }
        };
        match parse(&self.config, &files) {
            Ok(config) => {
                self.current.store(config);
                tracing::info!(file = %self.config.cert_file.display(), "new certificate in use");
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "keeping the old certificate");
            }
        }
        *seen = Some(files);
    }
}

fn read(config: &TlsConfig) -> Result<Files, TlsError> {
    let read = |path: &PathBuf| std::fs::read(path).map_err(|source| TlsError::Read { path: path.clone(), source });
    Ok(Files { cert: read(&config.cert_file)?, key: read(&config.key_file)? })
}

fn parse(config: &TlsConfig, files: &Files) -> Result<Arc<ServerConfig>, TlsError> {
    let bad = |path: &PathBuf| {
        let path = path.clone();
        move |source| TlsError::Pem { path, source }
    };
    let chain: Vec<_> =
        CertificateDer::pem_slice_iter(&files.cert).collect::<Result<_, _>>().map_err(bad(&config.cert_file))?;
    if chain.is_empty() {
        return Err(bad(&config.cert_file)(PemError::NoItemsFound));
    }
    let key = PrivateKeyDer::from_pem_slice(&files.key).map_err(bad(&config.key_file))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    server.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_pair_that_fits_takes_the_place_of_the_old_one() {
        let dir = tempfile::tempdir().unwrap();
        let (cert, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
        let made = || rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let (old, new) = (made(), made());
        std::fs::write(&cert, old.cert.pem()).unwrap();
        std::fs::write(&key, old.signing_key.serialize_pem()).unwrap();
        let tls = Tls::load(TlsConfig::new(&cert, &key)).unwrap();
        let mut seen = None;
        let mut changed = || {
            let before = tls.current.load_full();
            tls.look(&mut seen);
            !Arc::ptr_eq(&before, &tls.current.load_full())
        };
        assert!(!changed(), "nothing is new");
        std::fs::write(&cert, "broken").unwrap();
        assert!(!changed());
        std::fs::remove_file(&cert).unwrap();
        assert!(!changed());
        std::fs::write(&cert, new.cert.pem()).unwrap();
        assert!(!changed(), "the key is still the old one");
        std::fs::write(&key, new.signing_key.serialize_pem()).unwrap();
        assert!(changed());
        assert!(!changed());
    }
}
