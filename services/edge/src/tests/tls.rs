//! TLS: certificates that change under open connections.

use std::path::Path;

use rcgen::{CertifiedKey, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::*;
use crate::TlsConfig;

type Secure = WebSocket<StreamOwned<ClientConnection, TcpStream>>;

fn certificate() -> CertifiedKey<KeyPair> {
    rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap()
}

fn write(dir: &Path, made: &CertifiedKey<KeyPair>) {
    std::fs::write(dir.join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    std::fs::write(dir.join("cert.pem"), made.cert.pem()).unwrap();
}

fn connect(node: &Node, trusted: &CertificateDer<'static>) -> Result<Secure, String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = config.with_root_certificates(roots).with_no_client_auth();
    let name = ServerName::try_from("localhost").unwrap();
    let session = ClientConnection::new(Arc::new(config), name).unwrap();
    let stream = StreamOwned::new(session, node.tcp());
    let (mut socket, _) =
        tungstenite::client::client("ws://localhost/app/app-key", stream).map_err(|error| error.to_string())?;
    assert!(socket.read().unwrap().to_text().unwrap().contains("connection_established"));
    Ok(socket)
}

fn check(socket: &mut Secure) {
    socket.send(Message::text(r#"{"event":"pusher:ping"}"#)).unwrap();
    assert!(socket.read().unwrap().to_text().unwrap().contains("pusher:pong"));
}

#[test]
fn a_new_certificate_is_used() {
    let dir = tempfile::tempdir().unwrap();
    let (old, new) = (certificate(), certificate());
    write(dir.path(), &old);
    let mut tls = TlsConfig::new(dir.path().join("cert.pem"), dir.path().join("key.pem"));
    tls.reload_interval = Duration::from_millis(20);
    let node = Node::start(Config { tls: Some(tls), ..quick() });
    let mut open = connect(&node, old.cert.der()).unwrap();
    check(&mut open);

    write(dir.path(), &new);
    eventually(|| connect(&node, new.cert.der()).is_ok(), || "the new certificate is not used".to_owned());
    assert!(connect(&node, old.cert.der()).is_err());
    check(&mut open);
    let refused = || node.metric(r#"fanfare_connections_refused_total{reason="tls"}"#);
    eventually(|| refused() >= 1.0, || "not counted".to_owned());

    // Plain text on a TLS port harms nobody.
    let mut plain = node.tcp();
    plain.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    plain.read_to_end(&mut Vec::new()).ok();
    check(&mut open);
}

#[test]
fn an_unusable_certificate_stops_the_start() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &certificate());
    let runtime = Runtime::new().unwrap();
    let start = |cert: &str, key: &str| {
        let world = runtime.block_on(World::with(fixtures::app()));
        let tls = Some(TlsConfig::new(dir.path().join(cert), dir.path().join(key)));
        let _context = runtime.enter();
        let meters = Arc::new(Meters::new(Instant::now()));
        let (backbone, apps) = (world.backbone.clone(), world.apps.clone());
        let edge =
            Edge::new(Config { tls, ..quick() }, backbone, apps, Readiness::new(), meters, Arc::clone(&world.keys));
        edge.map(drop).map_err(|error| error.to_string())
    };
    assert!(start("none.pem", "key.pem").unwrap_err().starts_with("cannot read"));
    assert!(start("key.pem", "key.pem").unwrap_err().contains("not the PEM file"));
    assert!(start("cert.pem", "cert.pem").unwrap_err().contains("not the PEM file"));
    let other = certificate();
    std::fs::write(dir.path().join("other.pem"), other.signing_key.serialize_pem()).unwrap();
    assert!(start("cert.pem", "other.pem").unwrap_err().contains("cannot be used"));
    assert_eq!(start("cert.pem", "key.pem"), Ok(()));
}
