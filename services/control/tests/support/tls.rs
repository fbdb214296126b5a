//! An authority, what it signs, and connections with that.

use std::net::SocketAddr;
use std::path::Path;

use certificate::Files;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    SanType,
};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

/// Signs the server's certificate and those of its clients.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
    dir: tempfile::TempDir,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        params.distinguished_name.push(DnType::CommonName, "test authority");
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem, dir: tempfile::tempdir().unwrap() }
    }

    /// Files for a server that takes client certificates of this authority.
    pub(crate) fn server(&self) -> Files {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let file = |name: &str, text: &str| {
            let file = self.dir.path().join(name);
            std::fs::write(&file, text).unwrap();
            file
        };
        Files {
            cert_file: file("cert.pem", &params.signed_by(&key, &self.issuer).unwrap().pem()),
            key_file: file("key.pem", &key.serialize_pem()),
            client_ca_file: Some(file("ca.pem", &self.pem)),
        }
    }

    /// A client's certificate with these URIs.
    pub(crate) fn client(&self, name: &str, uris: &[&str]) -> Identity {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.subject_alt_names.extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        let key = KeyPair::generate().unwrap();
        Identity::from_pem(params.signed_by(&key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }

    /// A connection to a server of this authority, maybe with a client's certificate.
    pub(crate) async fn connect(
        &self,
        address: SocketAddr,
        identity: Option<Identity>,
    ) -> Result<Channel, tonic::transport::Error> {
        let mut tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.pem)).domain_name("localhost");
        if let Some(identity) = identity {
            tls = tls.identity(identity);
        }
        Endpoint::new(format!("https://{address}")).unwrap().tls_config(tls).unwrap().connect().await
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }
}
