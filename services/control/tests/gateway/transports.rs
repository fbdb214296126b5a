//! HTTP/1.1 and HTTP/2, in clear text and over TLS, beside gRPC on the same port.

use std::sync::Arc;

use control::Config;
use http_body_util::{BodyExt as _, Empty};
use hyper::body::Bytes;
use hyper::client::conn::{http1, http2};
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde_json::{Value, json};
use testkit::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};

use crate::support::{Client, Plane, TOKEN, config, memory};

/// Sends exactly this, and reads until the server closes.
async fn exchange(plane: &Plane, text: &str) -> String {
    let mut socket = TcpStream::connect(plane.address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    within("the server to close", socket.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8(answer).unwrap()
}

#[tokio::test]
async fn as_typed_by_hand() {
    let plane = Plane::start().await;
    let head = format!("host: x\r\nauthorization: bearer {TOKEN}\r\nconnection: close\r\n");
    let listed = exchange(&plane, &format!("GET /v1/apps HTTP/1.1\r\n{head}\r\n")).await;
    let (answered, body) = listed.split_once("\r\n\r\n").unwrap();
    assert!(answered.starts_with("HTTP/1.1 200 OK\r\n"), "{answered}");
    assert!(!answered.contains("grpc"), "{answered}");
    assert_eq!(body, r#"{"apps":[],"next_page_token":""}"#);
    let json = "content-type: application/json\r\ntransfer-encoding: chunked\r\n";
    let made = exchange(
        &plane,
        &format!("POST /v1/apps HTTP/1.1\r\n{head}{json}\r\n8\r\n{{\"id\":\"1\r\n2\r\n\"}}\r\n0\r\n\r\n"),
    )
    .await;
    assert!(made.starts_with("HTTP/1.1 200 OK\r\n"), "{made}");
    // Two on one connection, the second with the end.
    let keep = format!("host: x\r\nauthorization: Bearer {TOKEN}\r\n");
    let two = format!("GET /v1/apps/1 HTTP/1.1\r\n{keep}\r\nGET /v1/apps/2 HTTP/1.1\r\n{head}\r\n");
    let two = exchange(&plane, &two).await;
    assert_eq!(
        (two.matches("HTTP/1.1 200 OK").count(), two.matches("HTTP/1.1 404 Not Found").count()),
        (1, 1),
        "{two}"
    );
}

#[tokio::test]
async fn http_2_without_tls_is_for_both() {
    let plane = Plane::start().await;
    plane.client().await.create_plain("1").await;
    let stream = TcpStream::connect(plane.address).await.unwrap();
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let _connection = AbortOnDropHandle::new(tokio::spawn(async move { connection.await.unwrap_or_default() }));
    let answer = sender.send_request(get("http://control/v1/apps/1", Some(TOKEN))).await.unwrap();
    assert_eq!(read(answer).await.1["id"], "1");
}

fn get(uri: &str, token: Option<&str>) -> Request<Empty<Bytes>> {
    let mut request = Request::get(uri).header("host", "localhost");
    if let Some(token) = token {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    request.body(Empty::new()).unwrap()
}

async fn read(answer: Response<hyper::body::Incoming>) -> (u16, Value) {
    let status = answer.status().as_u16();
    (status, serde_json::from_slice(&answer.into_body().collect().await.unwrap().to_bytes()).unwrap())
}

/// An authority, and a server that it vouches for.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    dir: tempfile::TempDir,
}

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        for (name, text) in [("cert.pem", server.pem()), ("key.pem", key.serialize_pem()), ("ca.pem", issuer.pem())] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Self { issuer, dir }
    }

    async fn plane(&self) -> Plane {
        let file = |name| self.dir.path().join(name);
        let tls = certificate::Files {
            cert_file: file("cert.pem"),
            key_file: file("key.pem"),
            client_ca_file: Some(file("ca.pem")),
        };
        Plane::start_with(Config { tls: Some(tls), ..config() }, &memory()).await
    }

    /// A client that speaks these protocols, and shows a certificate with this URI.
    fn client(&self, protocols: &[&[u8]], uri: Option<&str>) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.issuer.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let client = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let client = client.with_root_certificates(roots);
        let mut client = match uri {
            Some(uri) => {
                let mut params = CertificateParams::new(Vec::new()).unwrap();
                params.subject_alt_names.push(SanType::URI(uri.try_into().unwrap()));
                let key = KeyPair::generate().unwrap();
                let certificate = params.signed_by(&key, &self.issuer).unwrap();
                let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
                client.with_client_auth_cert(vec![certificate.der().clone()], key).unwrap()
            }
            None => client.with_no_client_auth(),
        };
        client.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsConnector::from(Arc::new(client))
    }
}

/// The answer to a get over HTTP/1.1, and what was agreed on in the handshake.
async fn over_tls(
    plane: &Plane,
    client: TlsConnector,
    path: &str,
    token: Option<&str>,
) -> (Option<Vec<u8>>, u16, Value) {
    let stream = TcpStream::connect(plane.address).await.unwrap();
    let stream = client.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    let agreed = stream.get_ref().1.alpn_protocol().map(<[u8]>::to_vec);
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let _connection = AbortOnDropHandle::new(tokio::spawn(async move { connection.await.unwrap_or_default() }));
    let (status, body) = read(sender.send_request(get(path, token)).await.unwrap()).await;
    (agreed, status, body)
}

#[tokio::test]
async fn tls_offers_both() {
    let authority = Authority::new();
    let plane = authority.plane().await;
    let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(authority.issuer.pem()));
    let endpoint = Endpoint::new(format!("https://{}", plane.address)).unwrap();
    let channel = endpoint.tls_config(trust.domain_name("localhost")).unwrap().connect().await.unwrap();
    Client::over(channel, Some(TOKEN)).create_plain("1").await;
    // Clients that ask for HTTP/1.1 alone, and such as ask for nothing.
    for protocols in [&[&b"http/1.1"[..]][..], &[]] {
        let (agreed, status, app) =
            over_tls(&plane, authority.client(protocols, None), "/v1/apps/1", Some(TOKEN)).await;
        assert_eq!((agreed.as_deref(), status, &app["id"]), (protocols.first().copied(), 200, &json!("1")));
    }
    let stream = TcpStream::connect(plane.address).await.unwrap();
    let both = authority.client(&[b"http/1.1", b"h2"], None);
    let stream = both.connect(ServerName::try_from("localhost").unwrap(), stream).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]), "the server's choice");
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let _connection = AbortOnDropHandle::new(tokio::spawn(async move { connection.await.unwrap_or_default() }));
    let answer = sender.send_request(get("https://localhost/v1/apps/1", Some(TOKEN))).await.unwrap();
    assert_eq!(read(answer).await.1["id"], "1");
}

#[tokio::test]
async fn client_certificates_let_in() {
    let authority = Authority::new();
    let plane = authority.plane().await;
    let call = |uri, path: &'static str| {
        let client = authority.client(&[b"http/1.1"], uri);
        let plane = &plane;
        async move {
            let (_, status, body) = over_tls(plane, client, path, None).await;
            (status, body["error"]["details"][0]["reason"].as_str().unwrap_or_default().to_owned())
        }
    };
    assert_eq!(call(Some("fanfare://reader"), "/v1/apps").await, (200, String::new()));
    assert_eq!(call(Some("fanfare://reader"), "/v1/apps/1").await, (404, "NO_SUCH_APP".to_owned()));
    assert_eq!(call(Some("fanfare://app/2/reader"), "/v1/apps/1").await, (403, "SCOPE".to_owned()));
    assert_eq!(call(Some("https://example.com/"), "/v1/apps").await, (401, "WRONG_CERTIFICATE".to_owned()));
    assert_eq!(call(None, "/v1/apps").await, (401, "NO_TOKEN".to_owned()));
}
