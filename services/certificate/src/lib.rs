//! The certificate that a listener shows, read again when its files change.
//!
//! New handshakes use the new certificate; connections that are open keep theirs. Files that cannot be used (half
//! written, the key of another certificate) leave the old one in place and are logged. Knows nothing of what is spoken
//! behind the handshake, nor of the certificates that clients trust.

mod server;

use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::pki_types::pem::Error as PemError;
use telemetry::CertificateExpiry;
use tokio_rustls::TlsAcceptor;

/// Where a listener's certificate is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// PEM file with the certificate chain, the server's own first.
    pub cert_file: PathBuf,
    /// PEM file with the private key.
    pub key_file: PathBuf,
    /// PEM file with the certificates that client certificates must be signed by; `None`: none is asked for.
    pub client_ca_file: Option<PathBuf>,
}

/// Why files cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CertificateError {
    /// One cannot be read.
    #[error("cannot read {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// One is not PEM, or has nothing of what it should hold.
    #[error("{} is not the PEM file it should be", file.display())]
    Pem {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: PemError,
    },
    /// Certificate and key do not fit each other, or are of a kind that is not supported.
    #[error("certificate {} and key {} cannot be used", cert_file.display(), key_file.display())]
    Unusable {
        /// Where the certificate is.
        cert_file: PathBuf,
        /// Where the key is.
        key_file: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
    /// Client certificates cannot be held against what is in the file for that.
    #[error("client certificates cannot be checked with {}", file.display())]
    ClientCa {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: rustls::Error,
    },
}

/// What was in the files, to see whether they changed.
#[derive(Debug, PartialEq, Eq)]
struct Contents {
    cert: Vec<u8>,
    key: Vec<u8>,
    client_ca: Option<Vec<u8>>,
}

/// What a listener shows, and asks for, in TLS handshakes.
#[derive(Debug)]
pub struct Certificate {
    listener: &'static str,
    files: Files,
    protocols: &'static [&'static [u8]],
    current: ArcSwap<ServerConfig>,
    expiry: CertificateExpiry,
    /// What was last looked at, good or bad: contents that cannot be used are one line in the log.
    seen: Mutex<Contents>,
}

impl Certificate {
    /// Reads the files for the first time. `listener` is one of those in the metric catalogue; the `protocols` may be
    /// spoken behind the handshake, the best first.
    pub fn load(
        listener: &'static str,
        files: &Files,
        protocols: &'static [&'static [u8]],
    ) -> Result<Self, CertificateError> {
        let contents = read(files)?;
        let (server, own) = server::config(files, &contents, protocols)?;
        let expiry = CertificateExpiry::of(listener);
        expiry.shows(&own);
        let current = ArcSwap::from_pointee(server);
        Ok(Self { listener, files: files.clone(), protocols, current, expiry, seen: Mutex::new(contents) })
    }

    /// Accepts with the certificate as it is now.
    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again `every` so often. Read, not watched: that also works through the symbolic links that
    /// orchestrators swap.
    pub async fn follow(&self, every: Duration) -> Infallible {
        loop {
            tokio::time::sleep(every).await;
            self.look();
        }
    }

    /// Reads the files once.
    fn look(&self) {
        let contents = match read(&self.files) {
            Ok(contents) => contents,
            Err(error) => return self.keep_old(&error),
        };
        let mut seen = self.seen.lock();
        if *seen == contents {
            return;
        }
        match server::config(&self.files, &contents, self.protocols) {
            Ok((server, own)) => {
                self.current.store(Arc::new(server));
                self.expiry.shows(&own);
                let file = self.files.cert_file.display();
                tracing::info!(listener = self.listener, %file, "new certificate in use");
            }
            Err(error) => self.keep_old(&error),
        }
        *seen = contents;
    }

    fn keep_old(&self, error: &CertificateError) {
        let error = error as &dyn std::error::Error;
        tracing::error!(listener = self.listener, error, "keeping the old certificate");
    }
}

fn read(files: &Files) -> Result<Contents, CertificateError> {
    let read =
        |file: &PathBuf| std::fs::read(file).map_err(|source| CertificateError::Read { file: file.clone(), source });
    let client_ca = files.client_ca_file.as_ref().map(read).transpose()?;
    Ok(Contents { cert: read(&files.cert_file)?, key: read(&files.key_file)?, client_ca })
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    #[test]
    fn only_files_that_fit_take_the_place_of_the_old_ones() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str| dir.path().join(name);
        let files =
            Files { cert_file: file("cert.pem"), key_file: file("key.pem"), client_ca_file: Some(file("ca.pem")) };
        let made = |year| {
            let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
            params.not_after = date_time_ymd(year, 1, 1);
            let key = KeyPair::generate().unwrap();
            (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
        };
        let (old, new) = (made(2031), made(2055));
        let write = |file: &PathBuf, text: &str| std::fs::write(file, text).unwrap();
        write(&files.cert_file, &old.0);
        write(&files.key_file, &old.1);
        write(&file("ca.pem"), &old.0);
        let (recorder, exporter) = telemetry::Exporter::build().unwrap();
        let load = || Certificate::load("control", &files, &[b"h2", b"http/1.1"]);
        let certificate = metrics::with_local_recorder(&recorder, load).unwrap();
        let looks = |changes: bool, expiry: &str, why: &str| {
            let before = certificate.current.load_full();
            certificate.look();
            assert_eq!(!Arc::ptr_eq(&before, &certificate.current.load_full()), changes, "{why}");
            let series = "fanfare_tls_certificate_expiry_timestamp_seconds{listener=\"control\"}";
            assert!(exporter.render().contains(&format!("{series} {expiry}\n")), "{why}: {}", exporter.render());
        };
        let (until_old, until_new) = ("1924992000", "2682374400");
        looks(false, until_old, "nothing is new");
        write(&files.cert_file, "broken");
        looks(false, until_old, "broken");
        std::fs::remove_file(&files.cert_file).unwrap();
        looks(false, until_old, "not there");
        write(&files.cert_file, &new.0);
        looks(false, until_old, "the key is still the old one");
        write(&files.key_file, &new.1);
        looks(true, until_new, "a pair");
        write(&file("ca.pem"), "broken");
        looks(false, until_new, "no authority");
        write(&file("ca.pem"), &new.0);
        looks(true, until_new, "another authority");
        looks(false, until_new, "nothing is new again");
    }
}
