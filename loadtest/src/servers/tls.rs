//! A certificate for loopback, and clients that trust nothing else.

use std::path::PathBuf;
use std::sync::Arc;

use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};

use super::process::Directory;
use crate::error::Error;

/// What a server and its clients need.
#[derive(Debug)]
pub(crate) struct Tls {
    /// The certificate, as PEM.
    pub(crate) cert_file: PathBuf,
    /// Its key, as PEM.
    pub(crate) key_file: PathBuf,
    /// For clients.
    pub(crate) client: Arc<ClientConfig>,
}

impl Tls {
    /// Makes a certificate and its key in `directory`.
    pub(super) fn make(directory: &Directory) -> Result<Self, Error> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()])?;
        let mut roots = RootCertStore::empty();
        roots.add(made.cert.der().clone())?;
        let mut client = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        // Thousands of clients on as many machines know of no session of each other.
        client.resumption = Resumption::disabled();
        Ok(Self {
            cert_file: directory.write("cert.pem", made.cert.pem())?,
            key_file: directory.write("key.pem", made.signing_key.serialize_pem())?,
            client: Arc::new(client),
        })
    }
}
