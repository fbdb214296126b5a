//! Where webhooks may go.

use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;
use worker::{Config, StartError, TrustError, Worker};

use crate::support::*;

/// Settings of a node that is open to the network.
fn public() -> Config {
    Config { allow_loopback: false, ..config() }
}

/// Gives up soon, though not before its first attempt.
fn impatient() -> Config {
    Config { give_up_after: Duration::from_secs(5), ..config() }
}

#[tokio::test]
async fn this_machine_and_its_neighbours_are_refused_without_being_asked() {
    let hook = Hook::start(Manner::Answer(200)).await;
    let port = hook.port();
    let hosts =
        ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "0.0.0.0", "169.254.169.254", "10.0.0.1"];
    let webhooks: Vec<_> = hosts.iter().map(|host| webhook_to(&format!("http://{host}:{port}/"))).collect();
    let site = Site::start(Variant::Memory, webhooks).await;
    let _worker = site.work(public());
    site.client_event("private-a", "x").await;
    let letters = site.dead_letters(hosts.len()).await;
    for (_, reason, attempts) in &letters {
        assert!(reason.contains("where webhooks may not go"), "{reason}");
        assert_eq!(*attempts, 1, "trying again is of no use");
    }
    for host in ["localhost is at ", "127.0.0.1 is at 127.0.0.1", "169.254.169.254 is at 169.254.169.254"] {
        assert!(letters.iter().any(|(_, reason, _)| reason.starts_with(host)), "{host}: {letters:?}");
    }
    assert_eq!(hook.connections(), 0);
}

#[tokio::test]
async fn what_is_allowed_is_asked() {
    let hook = Hook::start(Manner::Answer(200)).await;
    let by_name = webhook_to(&format!("http://localhost:{}/", hook.port()));
    let site = Site::start(Variant::Memory, vec![webhook(&hook), by_name]).await;
    let _worker = site.work(Config { allow: vec!["127.0.0.0/8".parse().unwrap()], ..public() });
    site.client_event("private-a", "x").await;
    hook.wait_for(2).await;
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let inside = Hook::start(Manner::Answer(200)).await;
    let hook = Hook::start(Manner::Redirect(inside.url())).await;
    let site = Site::start(Variant::Memory, vec![webhook(&hook)]).await;
    let _worker = site.work(impatient());
    site.client_event("private-a", "x").await;
    let letters = site.dead_letters(1).await;
    assert_eq!(letters[0].1, "answered 302 Found; redirects are not followed");
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn receivers_must_prove_who_they_are() {
    let issued = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned(), "localhost".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(issued.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![issued.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(server));
    let directory = tempfile::tempdir().unwrap();
    let ca_file = directory.path().join("ca.pem");
    std::fs::write(&ca_file, issued.cert.pem()).unwrap();

    let hook = Hook::start_tls(acceptor.clone()).await;
    let url = format!("https://localhost:{}/", hook.port());
    let site = Site::start(Variant::Memory, vec![webhook_to(&url)]).await;
    let worker = site.work(Config { ca_file: Some(ca_file.clone()), ..config() });
    site.client_event("private-a", "x").await;
    hook.wait_for(1).await;
    worker.stop().await;

    let _worker = site.work(impatient());
    site.client_event("private-a", "y").await;
    let letters = site.dead_letters(1).await;
    assert!(letters[0].1.starts_with("no TLS with localhost"), "{letters:?}");
    assert_eq!(hook.told().len(), 1);

    std::fs::write(&ca_file, "").unwrap();
    let (backbone, apps, meters) = (site.backbone.clone(), site.apps.clone(), Arc::clone(&site.meters));
    let refused = Worker::new(Config { ca_file: Some(ca_file), ..config() }, backbone, apps, meters);
    assert!(matches!(refused, Err(StartError::Trust(TrustError::Empty { .. }))));
}
