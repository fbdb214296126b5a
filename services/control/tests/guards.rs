//! What stands between the network and the calls: token, limits, TLS, shutdown.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod support;

use std::time::Duration;

use certificate::{CertificateError, Files};
use control::{Config, Parts, Server, StartError};
use futures_util::stream;
use proto::control as wire;
use support::{Client, Plane, TOKEN, cluster_keys, config, memory, new_key, plain, refused};
use testkit::within;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;

/// The services that need the token.
const OURS: [&str; 3] =
    ["fanfare.control.v1.AppService", "fanfare.control.v1.KeyService", "fanfare.control.v1.WebhookService"];

/// Waits until the server closes this connection.
async fn closed(mut socket: TcpStream) {
    let mut rest = Vec::new();
    // A reset is a close too.
    within("the server to close", socket.read_to_end(&mut rest)).await.ok();
}

/// A call whose message never comes.
async fn endless_call(plane: &Plane) -> Result<(), tonic::Status> {
    let mut grpc = tonic::client::Grpc::new(plane.channel().await);
    grpc.ready().await.unwrap();
    let mut request = Request::new(stream::pending::<wire::GetAppRequest>());
    request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
    let path = "/fanfare.control.v1.AppService/GetApp".parse().unwrap();
    let codec = tonic_prost::ProstCodec::<wire::GetAppRequest, wire::App>::default();
    grpc.client_streaming(request, path, codec).await.map(|_: tonic::Response<wire::App>| ())
}

fn services() -> ServerReflectionRequest {
    let message_request = Some(MessageRequest::ListServices(String::new()));
    ServerReflectionRequest { host: String::new(), message_request }
}

#[tokio::test]
async fn every_call_needs_the_token() {
    let plane = Plane::start().await;
    plane.client().await.create_plain("1").await;
    for token in [None, Some("0123456789abcdef0123456789abcdeg"), Some("x")] {
        let mut client = Client::over(plane.channel().await, token);
        let words = if token.is_none() { "no admin token" } else { "wrong admin token" };
        refused(client.create(plain("2")).await, Code::Unauthenticated, words);
        refused(client.get("1").await, Code::Unauthenticated, words);
        refused(client.list(0, "").await, Code::Unauthenticated, words);
        let update = wire::UpdateAppRequest::default();
        refused(client.update(update).await, Code::Unauthenticated, words);
        refused(client.disable("1").await, Code::Unauthenticated, words);
        refused(client.enable("1").await, Code::Unauthenticated, words);
        refused(client.delete("1").await, Code::Unauthenticated, words);
        refused(client.create_key("1", new_key("k")).await, Code::Unauthenticated, words);
        refused(client.revoke("1", "1-key").await, Code::Unauthenticated, words);
        refused(client.dead_letters("1", 0, "").await, Code::Unauthenticated, words);
        refused(client.replay("1", &[], true).await, Code::Unauthenticated, words);
        refused(client.forget("1", &[], true).await, Code::Unauthenticated, words);
        // The token is checked before the message.
        refused(client.get("not an id").await, Code::Unauthenticated, words);
    }
    let app = plane.client().await.get("1").await.unwrap();
    assert!(app.enabled && app.keys.len() == 1, "none of it did anything");
}

#[tokio::test]
async fn reflection_needs_the_token() {
    let plane = Plane::start().await;
    let mut anybody = ServerReflectionClient::new(plane.channel().await);
    let refusal = anybody.server_reflection_info(stream::iter([services()])).await;
    assert_eq!(refusal.unwrap_err().code(), Code::Unauthenticated);
    let mut admin = ServerReflectionClient::with_interceptor(plane.channel().await, |mut request: Request<()>| {
        request.metadata_mut().insert("authorization", format!("Bearer {TOKEN}").parse().unwrap());
        Ok(request)
    });
    let mut answers = admin.server_reflection_info(stream::iter([services()])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let MessageResponse::ListServicesResponse(list) = answer else { panic!("{answer:?}") };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    for expected in [&OURS[..], &["grpc.health.v1.Health"]].concat() {
        assert!(names.contains(&expected), "{names:?}");
    }
}

#[tokio::test]
async fn health_is_open_and_tells_of_the_end() {
    let plane = Plane::start().await;
    let mut health = HealthClient::new(plane.channel().await);
    for service in [&[""], &OURS[..]].concat() {
        let request = HealthCheckRequest { service: service.to_owned() };
        let status = health.check(request).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving, "{service}");
    }
    let unknown = health.check(HealthCheckRequest { service: "other".to_owned() }).await;
    assert_eq!(unknown.unwrap_err().code(), Code::NotFound);
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::Serving);
    within("the server to stop", plane.stop()).await;
    assert_eq!(watch.message().await.unwrap().unwrap().status(), ServingStatus::NotServing);
    assert_eq!(watch.message().await.unwrap(), None);
}

#[tokio::test]
async fn a_large_message_is_refused() {
    let plane = Plane::start_with(Config { max_request_bytes: 1_000, ..config() }, &memory()).await;
    let mut client = plane.client().await;
    let large = wire::CreateAppRequest { name: "n".repeat(2_000), ..plain("1") };
    refused(client.create(large).await, Code::OutOfRange, "");
    refused(client.create_key("1", new_key(&"k".repeat(2_000))).await, Code::OutOfRange, "");
    client.create_plain("1").await;
}

#[tokio::test]
async fn rubbish_on_the_socket_harms_nobody() {
    let plane = Plane::start().await;
    let mut client = plane.client().await;
    for rubbish in [&b"GET / HTTP/1.1\r\n\r\n"[..], b"\0\0\0\0", b"\x16\x03\x01\x02\x00", b"PRI * HTTP/2.0\r\n\r\nxx"] {
        let mut socket = TcpStream::connect(plane.address).await.unwrap();
        socket.write_all(&rubbish.repeat(100)).await.unwrap();
        socket.shutdown().await.unwrap();
        closed(socket).await;
    }
    client.create_plain("1").await;
}

#[tokio::test]
async fn one_connection_too_many_is_closed_at_once() {
    let plane = Plane::start_with(Config { max_connections: 2, ..config() }, &memory()).await;
    let mut client = plane.client().await;
    client.create_plain("1").await;
    let idle = TcpStream::connect(plane.address).await.unwrap();
    // The listener takes connections in order, so this is the third.
    closed(TcpStream::connect(plane.address).await.unwrap()).await;
    client.get("1").await.unwrap();
    drop(idle);
    let again = async {
        loop {
            let channel = Endpoint::new(format!("http://{}", plane.address)).unwrap().connect().await;
            if let Ok(channel) = channel
                && Client::over(channel, Some(TOKEN)).get("1").await.is_ok()
            {
                break;
            }
            tokio::task::yield_now().await;
        }
    };
    within("the slot to be free again", again).await;
}

#[tokio::test]
async fn calls_on_one_connection_are_limited() {
    let plane = Plane::start_with(Config { max_streams_per_connection: 1, ..config() }, &memory()).await;
    let channel = plane.channel().await;
    let mut health = HealthClient::new(channel.clone());
    let mut watch = health.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    let mut second = Client::over(channel, Some(TOKEN));
    let waits = tokio::time::timeout(Duration::from_millis(300), second.list(0, "")).await;
    assert!(waits.is_err(), "{waits:?}");
    drop(watch);
    within("its turn", second.list(0, "")).await.unwrap();
}

#[tokio::test]
async fn an_endless_call_is_given_up() {
    let timeout = Duration::from_millis(100);
    let plane = Plane::start_with(Config { request_timeout: timeout, ..config() }, &memory()).await;
    let status = within("the server to give up", endless_call(&plane)).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{status:?}");
}

#[tokio::test]
async fn a_silent_connection_is_cut_and_an_idle_client_is_not() {
    // Half of it is what a busy machine may take to answer a ping.
    let config = Config { silence_timeout: Duration::from_secs(8), ..config() };
    let plane = Plane::start_with(config, &memory()).await;
    let mut idle = HealthClient::new(plane.channel().await);
    let mut watch = idle.watch(HealthCheckRequest::default()).await.unwrap().into_inner();
    watch.message().await.unwrap();
    closed(TcpStream::connect(plane.address).await.unwrap()).await;
    let mut half = TcpStream::connect(plane.address).await.unwrap();
    half.write_all(b"PRI * HTTP/2.0").await.unwrap();
    closed(half).await;
    // Two silences later the watch on the first connection, which only answered pings, still stands.
    let told = tokio::time::timeout(Duration::ZERO, watch.message()).await;
    assert!(told.is_err(), "{told:?}");
}

#[tokio::test]
async fn stopping_does_not_wait_for_ever() {
    let config = Config { drain_timeout: Duration::from_millis(100), ..config() };
    let plane = Plane::start_with(config, &memory()).await;
    let address = plane.address;
    let silent = TcpStream::connect(address).await.unwrap();
    let mut call = Box::pin(endless_call(&plane));
    let running = tokio::time::timeout(Duration::from_millis(300), &mut call).await;
    assert!(running.is_err(), "{running:?}");
    drop(call);
    within("the server to stop", plane.stop()).await;
    closed(silent).await;
    assert!(TcpStream::connect(address).await.is_err(), "the port is free");
}

struct Certificates {
    dir: tempfile::TempDir,
    pem: String,
}

impl Certificates {
    fn new() -> Self {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
        Self { dir, pem: made.cert.pem() }
    }

    fn tls(&self, cert: &str, key: &str) -> Option<Files> {
        let file = |name| self.dir.path().join(name);
        Some(Files { cert_file: file(cert), key_file: file(key), client_ca_file: None })
    }
}

#[tokio::test]
async fn tls() {
    let certificates = Certificates::new();
    let config = Config {
        tls: certificates.tls("cert.pem", "key.pem"),
        // Also what a handshake may take.
        silence_timeout: Duration::from_secs(4),
        ..config()
    };
    let plane = Plane::start_with(config, &memory()).await;
    // Says nothing, and is given up.
    closed(TcpStream::connect(plane.address).await.unwrap()).await;
    let trust = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&certificates.pem));
    let endpoint = Endpoint::new(format!("https://{}", plane.address)).unwrap();
    let channel = endpoint.clone().tls_config(trust.domain_name("localhost")).unwrap().connect().await.unwrap();
    Client::over(channel, Some(TOKEN)).create_plain("1").await;
    let stranger = endpoint.tls_config(ClientTlsConfig::new().domain_name("localhost")).unwrap().connect().await;
    assert!(stranger.is_err(), "a client that does not know the certificate does not send its token");
    let clear = Endpoint::new(format!("http://{}", plane.address)).unwrap().connect().await;
    if let Ok(channel) = clear {
        assert!(Client::over(channel, Some(TOKEN)).get("1").await.is_err());
    }
}

#[test]
fn bad_tls_files_are_found_before_anything_runs() {
    let certificates = Certificates::new();
    std::fs::write(certificates.dir.path().join("rubbish.pem"), "rubbish").unwrap();
    let start = |cert, key| {
        let config = Config { tls: certificates.tls(cert, key), ..config() };
        Server::new(&config, Parts::new(&memory(), cluster_keys())).map(|_| ()).unwrap_err()
    };
    assert!(matches!(start("none.pem", "key.pem"), StartError::Certificate(CertificateError::Read { .. })));
    assert!(matches!(start("cert.pem", "none.pem"), StartError::Certificate(CertificateError::Read { .. })));
    assert!(matches!(start("cert.pem", "rubbish.pem"), StartError::Certificate(CertificateError::Pem { .. })));
    assert!(matches!(start("rubbish.pem", "key.pem"), StartError::Certificate(CertificateError::Pem { .. })));
}
