//! Creates that are asked for more than once.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod support;

use std::collections::BTreeSet;

use backbone::{Backbone, NatsConfig};
use proto::control as wire;
use support::{Client, Plane, config, let_in, new_key, refused};
use testkit::Nats;
use tonic::Code;

/// Two replicas on one NATS server, and a client of each.
struct Replicas {
    a: Client,
    b: Client,
    first: Plane,
    _second: Plane,
    _nats: Nats,
}

impl Replicas {
    async fn start() -> Self {
        let nats = Nats::start().await;
        let settings = backbone::Config { shards: 1, replicas: 1, ..backbone::Config::default() };
        let connection = NatsConfig { urls: vec![nats.url()], ..NatsConfig::default() };
        let first = Plane::start_with(config(), &Backbone::connect(&settings, &connection).await.unwrap()).await;
        let second = Plane::start_with(config(), &Backbone::connect(&settings, &connection).await.unwrap()).await;
        Self { a: first.client().await, b: second.client().await, first, _second: second, _nats: nats }
    }
}

fn app(key: &str, name: &str) -> wire::CreateAppRequest {
    let capability = ["a*", "b*", "c*", "d*", "e*"].map(|resource| {
        let operations = vec!["publish".to_owned()];
        (resource.to_owned(), wire::capability::Operations { operations })
    });
    let capability = Some(wire::Capability { resources: capability.into() });
    let new_key = wire::NewKey { capability, ..Default::default() };
    wire::CreateAppRequest {
        name: name.to_owned(),
        idempotency_key: key.to_owned(),
        key: Some(new_key),
        ..Default::default()
    }
}

fn key(id: &str, app: &str, key: wire::NewKey) -> wire::CreateKeyRequest {
    wire::CreateKeyRequest { app_id: app.to_owned(), key: Some(key), idempotency_key: id.to_owned() }
}

fn token(id: &str, name: &str) -> wire::CreateTokenRequest {
    wire::CreateTokenRequest {
        name: name.to_owned(),
        scope: Some(wire::Scope { role: wire::Role::Reader.into(), app_id: String::new() }),
        idempotency_key: id.to_owned(),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_same_request_gets_the_same_answer() {
    let Replicas { mut a, mut b, first, _second, _nats } = Replicas::start().await;
    let made = a.create(app("x", "one")).await.unwrap();
    let id = made.app.as_ref().unwrap().id.clone();
    assert_eq!(b.create(app("x", "one")).await.unwrap(), made, "another replica knows it, secret and all");
    let other = b.create(app("y", "one")).await.unwrap();
    assert_ne!(other.app.unwrap().id, id);
    assert_eq!(a.list(0, "").await.unwrap().apps.len(), 2);
    for client in [&mut a, &mut b] {
        refused(
            client.create(app("x", "two")).await,
            Code::InvalidArgument,
            "idempotency_key: the idempotency key was",
        );
    }

    let made = a.keys.create_key(key("x", &id, wire::NewKey::default())).await.unwrap().into_inner();
    let again = b.keys.create_key(key("x", &id, wire::NewKey::default())).await.unwrap().into_inner();
    assert_eq!(again, made, "the same key of another method is another");
    refused(b.keys.create_key(key("x", &id, new_key("k"))).await, Code::InvalidArgument, "idempotency_key: ");
    assert_eq!(a.get(&id).await.unwrap().keys.len(), 2);

    let made = a.access.create_token(token("x", "t")).await.unwrap().into_inner();
    let again = b.access.create_token(token("x", "t")).await.unwrap().into_inner();
    assert_eq!(again, made);
    refused(b.access.create_token(token("x", "u")).await, Code::InvalidArgument, "idempotency_key: ");
    let listed = a.access.list_tokens(wire::ListTokensRequest::default()).await.unwrap().into_inner().tokens;
    assert_eq!(listed, [made.token.clone().unwrap()]);
    let revoke = wire::RevokeTokenRequest { id: made.token.unwrap().id };
    b.access.revoke_token(revoke).await.unwrap();
    refused(a.access.create_token(token("x", "t")).await, Code::NotFound, "no token");

    let created: Vec<_> = a.audit("").await.into_iter().filter(|entry| entry.method.contains("Create")).collect();
    let methods: Vec<_> = created.iter().rev().map(|entry| entry.method.as_str()).collect();
    let expected =
        ["AppService.CreateApp", "AppService.CreateApp", "KeyService.CreateKey", "AccessService.CreateToken"];
    let (done, refused): (Vec<_>, Vec<_>) =
        created.iter().partition(|entry| entry.outcome() == wire::AuditOutcome::Done);
    assert_eq!(
        (done.len(), refused.len(), methods),
        (4, 0, expected.to_vec()),
        "what was there is not made: {created:#?}"
    );
    assert!(created.iter().all(|entry| entry.app_id.is_empty() || !entry.target.is_empty()));
    drop(first);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_at_once_all_get_the_same_answer() {
    let Replicas { a, b, first, _second, _nats } = Replicas::start().await;
    for round in 0..5 {
        let tasks = (0..8).map(|n| {
            let mut client = if n % 2 == 0 { a.clone() } else { b.clone() };
            tokio::spawn(async move { client.create(app(&format!("round {round}"), "one")).await.unwrap() })
        });
        let mut answers = BTreeSet::new();
        for task in tasks.collect::<Vec<_>>() {
            let answer = task.await.unwrap();
            answers.insert((answer.app.unwrap().id, answer.key.unwrap().secret));
        }
        assert_eq!(answers.len(), 1);
        let tasks = (0..8).map(|n| {
            let mut client = if n % 2 == 0 { a.clone() } else { b.clone() };
            let request = token(&format!("round {round}"), "one");
            tokio::spawn(async move { client.access.create_token(request).await.unwrap().into_inner().text })
        });
        let mut texts = BTreeSet::new();
        for task in tasks.collect::<Vec<_>>() {
            texts.insert(task.await.unwrap());
        }
        assert_eq!(texts.len(), 1);
    }
    assert_eq!(a.clone().list(0, "").await.unwrap().apps.len(), 5);
    let listed = a.clone().access.list_tokens(wire::ListTokensRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.tokens.len(), 5);
    drop(first);
}

#[tokio::test]
async fn a_key_belongs_to_its_caller() {
    let plane = Plane::start().await;
    let mut bootstrap = plane.client().await;
    let text = bootstrap.token(wire::Role::Admin, "").await.text;
    let mut other = let_in(&plane.channel().await, &text).await;
    let first = bootstrap.create(app("x", "one")).await.unwrap();
    let second = other.create(app("x", "one")).await.unwrap();
    assert_ne!(first.app.unwrap().id, second.app.unwrap().id);
    for bad in ["é".to_owned(), "a\n".to_owned(), "x".repeat(65)] {
        refused(bootstrap.create(app(&bad, "one")).await, Code::InvalidArgument, "idempotency_key: must be 1 to 64");
    }
    bootstrap.create(app(&" ~".repeat(32), "one")).await.unwrap();
}

/// A create that was refused is forgotten: what was in its way may be gone the next time.
#[tokio::test]
async fn a_refused_create_can_be_asked_for_again() {
    let plane = Plane::start().await;
    let mut client = plane.client().await;
    client.create_plain("1").await;
    let request = wire::CreateAppRequest { id: "1".to_owned(), ..app("x", "one") };
    refused(client.create(request.clone()).await, Code::AlreadyExists, "app 1 exists");
    client.delete("1").await.unwrap();
    let made = client.create(request.clone()).await.unwrap();
    assert_eq!(client.create(request).await.unwrap(), made);
}
