//! Starting against NATS servers of all kinds.

use backbone::{Backbone, Config, NatsConfig, NatsTls, StartError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use channels::{Secret, Tier};
use nkeys::KeyPair;
use testkit::{Nats, NatsOptions, eventually, free_port};

use crate::checker::*;

fn single() -> Config {
    Config { replicas: 1, shards: 4, ..config() }
}

fn at(nats: &Nats) -> NatsConfig {
    NatsConfig { urls: vec![nats.url()], ..NatsConfig::default() }
}

async fn refusal(config: &Config, nats: &NatsConfig) -> String {
    eventually("a refusal", || async {
        match Backbone::connect(config, nats).await {
            Err(StartError::Refused(sentence)) => Some(sentence),
            Err(StartError::Unreachable(_)) => None,
            Ok(_) => panic!("expected a refusal"),
        }
    })
    .await
}

/// Starts, if need be at the second attempt: a server may take long to answer.
async fn start(config: &Config, nats: &NatsConfig) -> Backbone {
    eventually("the backbone to start", || async {
        match Backbone::connect(config, nats).await {
            Ok(backbone) => Some(backbone),
            Err(StartError::Unreachable(_)) => None,
            Err(StartError::Refused(sentence)) => panic!("refused: {sentence}"),
        }
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_shard_count_is_refused_with_a_sentence() {
    let nats = Nats::start().await;
    drop(start(&single(), &at(&nats)).await);
    // Starting again is fine.
    drop(start(&single(), &at(&nats)).await);
    let sentence = refusal(&Config { shards: 8, ..single() }, &at(&nats)).await;
    assert!(sentence.contains("made with 4 shards, but 8 are configured"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_of_another_format_is_refused_with_a_sentence() {
    let nats = Nats::start().await;
    let backbone = start(&single(), &at(&nats)).await;
    let meta = backbone.kv(backbone::Bucket::Meta);
    for (format, word) in [(0, "older"), (2, "newer")] {
        let stored = proto::backbone::ClusterMeta { format, shards: 4 };
        meta.put("cluster", prost::Message::encode_to_vec(&stored).into()).await.unwrap();
        let sentence = refusal(&single(), &at(&nats)).await;
        assert!(sentence.contains(word) && sentence.contains("format"), "{sentence}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_settings_are_told_together() {
    let config = Config { replicas: 2, shards: 0, ..single() };
    let sentence = refusal(&config, &NatsConfig::default()).await;
    assert!(sentence.contains("shards") && sentence.contains("replicas"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_are_upgraded_in_place() {
    let nats = Nats::start().await;
    drop(start(&single(), &at(&nats)).await);
    let more = Config { recoverable_messages: 200, ..single() };
    drop(start(&more, &at(&nats)).await);
    let context = async_nats::jetstream::new(async_nats::connect(nats.url()).await.unwrap());
    let stream = context.get_stream(STREAM).await.unwrap();
    assert_eq!(stream.cached_info().config.max_messages_per_subject, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_can_be_added_but_not_taken_away() {
    let cluster = testkit::NatsCluster::start().await;
    let at = NatsConfig { urls: cluster.urls_from(0), ..NatsConfig::default() };
    let one = connect(&single(), cluster.urls_from(0)).await;
    one.publish(publish(&channel(0), "0".to_owned())).await.unwrap();
    drop(one);
    let three = Config { replicas: 3, ..single() };
    works(&connect(&three, cluster.urls_from(0)).await).await;
    let context = async_nats::jetstream::new(async_nats::connect(cluster.urls_from(0)).await.unwrap());
    let stream = context.get_stream(STREAM).await.unwrap();
    assert_eq!(stream.cached_info().config.num_replicas, 3);
    let sentence = refusal(&single(), &at).await;
    assert!(sentence.contains("keeps 3 copies") && sentence.contains("1 are configured"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_processes_may_start_at_once() {
    let cluster = testkit::NatsCluster::start().await;
    let config = config();
    let starting = (0..4).map(|node| connect(&config, cluster.urls_from(node % 3)));
    for backbone in futures_util::future::join_all(starting).await {
        works(&backbone).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_absent_server_is_unreachable_for_now() {
    let nats = NatsConfig { urls: vec![format!("nats://127.0.0.1:{}", free_port())], ..NatsConfig::default() };
    assert!(matches!(Backbone::connect(&single(), &nats).await, Err(StartError::Unreachable(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_and_password() {
    let extra = "authorization { user: fanfare, password: \"s3cret\" }".to_owned();
    let nats = Nats::start_with(NatsOptions { extra }).await;
    assert!(Backbone::connect(&single(), &at(&nats)).await.is_err());
    let with = |password| NatsConfig {
        user: Some("fanfare".to_owned()),
        password: Secret::new(password),
        // The first address is dead: any of several will do.
        urls: vec![format!("nats://127.0.0.1:{}", free_port()), nats.url()],
        ..NatsConfig::default()
    };
    assert!(Backbone::connect(&single(), &with("wrong")).await.is_err());
    works(&start(&single(), &with("s3cret")).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutual_tls() {
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str| directory.path().join(name);
    let write = |name: &str, pem: String| std::fs::write(file(name), pem).unwrap();
    let mut ca = rcgen::CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let ca_key = rcgen::KeyPair::generate().unwrap();
    write("ca.pem", ca.self_signed(&ca_key).unwrap().pem());
    let issuer = rcgen::Issuer::new(ca, ca_key);
    for name in ["server", "client"] {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = rcgen::CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
        write(&format!("{name}.pem"), certificate.pem());
        write(&format!("{name}.key"), key.serialize_pem());
    }
    let extra = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        file("server.pem"),
        file("server.key"),
        file("ca.pem")
    );
    let nats = Nats::start_with(NatsOptions { extra }).await;
    let tls = NatsTls {
        required: true,
        ca_file: Some(file("ca.pem")),
        cert_file: Some(file("client.pem")),
        key_file: Some(file("client.key")),
    };
    let without_client = NatsTls { cert_file: None, key_file: None, ..tls.clone() };
    assert!(Backbone::connect(&single(), &NatsConfig { tls: without_client, ..at(&nats) }).await.is_err());
    works(&start(&single(), &NatsConfig { tls, ..at(&nats) }).await).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_credentials_file() {
    let directory = tempfile::tempdir().unwrap();
    let (operator, user) = (KeyPair::new_operator(), KeyPair::new_user());
    let (account, system) = (KeyPair::new_account(), KeyPair::new_account());
    let limits = |storage| {
        format!(
            r#""limits":{{"subs":-1,"data":-1,"payload":-1,"imports":-1,"exports":-1,"wildcards":true,"conn":-1,"leaf":-1,
            "mem_storage":{storage},"disk_storage":{storage},"streams":-1,"consumer":-1}},"type":"account","version":2"#
        )
    };
    let operator_jwt = jwt(&operator, &operator, r#""type":"operator","version":2"#);
    let user_jwt =
        jwt(&account, &user, r#""pub":{},"sub":{},"subs":-1,"data":-1,"payload":-1,"type":"user","version":2"#);
    let credentials = directory.path().join("fanfare.creds");
    let text = format!(
        "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
         -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
        user.seed().unwrap()
    );
    std::fs::write(&credentials, text).unwrap();
    let accounts = [(&account, -1), (&system, 0)]
        .map(|(account, storage)| format!("{}: {}", account.public_key(), jwt(&operator, account, &limits(storage))));
    let extra = format!(
        "operator: {operator_jwt}\nsystem_account: {}\nresolver: MEMORY\nresolver_preload: {{\n{}\n}}",
        system.public_key(),
        accounts.join("\n")
    );
    let nats = Nats::start_with(NatsOptions { extra }).await;
    assert!(Backbone::connect(&single(), &at(&nats)).await.is_err());
    let with = NatsConfig { credentials_file: Some(credentials), ..at(&nats) };
    works(&start(&single(), &with).await).await;
}

/// A NATS JWT about `subject`, signed by `issuer`.
fn jwt(issuer: &KeyPair, subject: &KeyPair, nats: &str) -> String {
    let (issuer_id, subject_id) = (issuer.public_key(), subject.public_key());
    let claims = format!(
        r#"{{"jti":"test","iat":1700000000,"iss":"{issuer_id}","sub":"{subject_id}","name":"test","nats":{{{nats}}}}}"#
    );
    let encode = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let signed = format!("{}.{}", encode(br#"{"typ":"JWT","alg":"ed25519-nkey"}"#), encode(claims.as_bytes()));
    let signature = issuer.sign(signed.as_bytes()).unwrap();
    format!("{signed}.{}", encode(&signature))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_credentials_file_is_named() {
    let nats = NatsConfig {
        urls: vec!["nats://127.0.0.1:1".to_owned()],
        credentials_file: Some("/nowhere/fanfare.creds".into()),
        ..NatsConfig::default()
    };
    let sentence = refusal(&single(), &nats).await;
    assert!(sentence.contains("/nowhere/fanfare.creds"), "{sentence}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_can_never_work_is_refused() {
    let bad_url = NatsConfig { urls: vec!["nats://127.0.0.1:99999".to_owned()], ..NatsConfig::default() };
    let sentence = refusal(&single(), &bad_url).await;
    assert!(sentence.contains("NATS URL number 1"), "{sentence}");
    let tls = NatsTls { ca_file: Some("/nowhere/ca.pem".into()), ..NatsTls::default() };
    let sentence = refusal(&single(), &NatsConfig { tls, ..bad_url }).await;
    assert!(sentence.contains("/nowhere/ca.pem"), "{sentence}");
}

async fn works(backbone: &Backbone) {
    let attach = || async { backbone.attach(&app(), &channel(0), Tier::Recoverable).await.ok() };
    let mut attachment = eventually("an attach", attach).await;
    backbone.publish(publish(&channel(0), "0".to_owned())).await.unwrap();
    testkit::within("a delivery", attachment.next()).await;
}
