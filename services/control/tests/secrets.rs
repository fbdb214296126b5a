//! Secrets are in the one answer that is for them, and nowhere else: not in other answers, refusals, the audit log, the
//! log, or as they are in the backbone.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod support;

use std::io::Write;
use std::sync::{Arc, Mutex};

use backbone::{Backbone, Bucket, NatsConfig};
use proto::control as wire;
use support::{Client, Plane, TOKEN, cluster_keys, config, let_in, new_key, plain};
use testkit::Nats;
use tracing_subscriber::fmt::MakeWriter;

/// The cluster's key, as in `support`.
const CLUSTER_KEY: &str = "abababababababab";

/// Everything that was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What was said, and what must not have been.
#[derive(Default)]
struct Told {
    texts: Vec<(String, Vec<u8>)>,
    secrets: Vec<String>,
}

impl Told {
    fn note(&mut self, what: &str, answer: &impl std::fmt::Debug) {
        self.texts.push((what.to_owned(), format!("{answer:?}").into_bytes()));
    }

    fn secret(&mut self, secret: &str) -> String {
        self.secrets.push(secret.to_owned());
        secret.to_owned()
    }

    /// Where which secret was told.
    fn leaks(&self) -> Vec<String> {
        let mut leaks = Vec::new();
        for secret in &self.secrets {
            assert!(secret.len() >= 8, "too short to be looked for");
            for (what, text) in &self.texts {
                if text.windows(secret.len()).any(|part| part == secret.as_bytes()) {
                    leaks.push(format!("{secret} in {what}"));
                }
            }
        }
        leaks
    }
}

fn hook(value: &str) -> wire::Webhook {
    wire::Webhook {
        id: "w".to_owned(),
        url: "http://a/".to_owned(),
        headers: [("X-Token".to_owned(), value.to_owned())].into(),
        ..Default::default()
    }
}

/// Everything that a tenant's life has, with secrets that are known.
async fn live(told: &mut Told, plane: &Plane, mut client: Client) {
    let chosen = told.secret("chosen-key-secret");
    let header = told.secret("value-of-a-header");
    let key = wire::NewKey { secret: chosen, ..new_key("first") };
    let create = wire::CreateAppRequest { key: Some(key), webhooks: vec![hook(&header)], ..plain("1") };
    let created = client.create(create.clone()).await.unwrap();
    told.note("the created app", &created.app);
    told.note("a refused create", &client.create(create).await.unwrap_err());
    let once = wire::CreateAppRequest { idempotency_key: "once".to_owned(), ..plain("2") };
    let made_up = client.create(once).await.unwrap().key.unwrap();
    told.secret(&made_up.secret);
    told.note("the key of a created app", &made_up.key);

    let other = told.secret("value-of-another-header");
    let update = |webhook, id: &str| {
        let app = wire::App { id: id.to_owned(), webhooks: vec![webhook], ..Default::default() };
        wire::UpdateAppRequest { app: Some(app), ..Default::default() }
    };
    told.note("an update", &client.update(update(hook(&other), "1")).await.unwrap());
    let invalid = wire::Webhook { url: "ftp://a/".to_owned(), ..hook(&other) };
    told.note("a refused update", &client.update(update(invalid, "1")).await.unwrap_err());
    told.note("an update of nothing", &client.update(update(hook(&other), "3")).await.unwrap_err());
    let unsendable = format!("\u{7}{}", told.secret("behind-a-bell"));
    told.note("a refused header", &client.update(update(hook(&unsendable), "1")).await.unwrap_err());

    let added = client.create_key("1", new_key("second")).await.unwrap();
    told.secret(&added.secret);
    told.note("an added key", &added.key);
    let short = told.secret("shorty-7"); // Eight characters are enough; with a line feed they are refused.
    let bad = wire::NewKey { secret: format!("{short}\n"), ..new_key("third") };
    told.note("a refused key", &client.create_key("1", bad).await.unwrap_err());
    let rotate = |secret: &str| wire::RotateKeyRequest {
        app_id: "1".to_owned(),
        name: "second".to_owned(),
        overlap_seconds: 60,
        secret: secret.to_owned(),
    };
    let rotated = told.secret("chosen-when-rotated");
    told.note("a rotated key", &client.keys.rotate_key(rotate(&rotated)).await.unwrap().into_inner().key);
    let made_up = client.keys.rotate_key(rotate("")).await.unwrap().into_inner();
    told.secret(&made_up.secret);
    let bad = told.secret("bad-when-rotated");
    told.note("a refused rotation", &client.keys.rotate_key(rotate(&format!("{bad}\n"))).await.unwrap_err());
    told.note("keys", &client.keys.list_keys(wire::ListKeysRequest { app_id: "1".to_owned() }).await.unwrap());
    told.note("a revoked key", &client.revoke("1", "first").await.unwrap());

    let token = wire::CreateTokenRequest {
        name: "t".to_owned(),
        scope: Some(wire::Scope { role: wire::Role::Admin.into(), app_id: String::new() }),
        idempotency_key: "once".to_owned(),
        ..Default::default()
    };
    let made = client.access.create_token(token).await.unwrap().into_inner();
    told.secret(&made.text);
    told.secret(made.text.rsplit('_').next().unwrap());
    told.note("a made token", &made.token);
    let mut by_token = let_in(&plane.channel().await, &made.text).await;
    told.note("what the token may see", &by_token.get("1").await.unwrap());
    let request = wire::RotateTokenRequest { id: made.token.unwrap().id, overlap_seconds: 60 };
    let rotated = client.access.rotate_token(request).await.unwrap().into_inner();
    told.secret(&rotated.text);
    told.secret(rotated.text.rsplit('_').next().unwrap());
    told.note("a rotated token", &rotated.token);
    told.note("tokens", &client.access.list_tokens(wire::ListTokensRequest::default()).await.unwrap());
    let wrong = told.secret("fat_000000000000_abcdefghijklmnopqrstuvwxyz0123456789");
    let mut stranger = Client::over(plane.channel().await, Some(&wrong));
    told.note("a stranger's refusal", &stranger.get("1").await.unwrap_err());

    told.note("apps", &client.list(0, "").await.unwrap());
    told.note(
        "namespaces",
        &client.namespaces.list_namespaces(wire::ListNamespacesRequest { app_id: "1".to_owned() }).await,
    );
    told.note("the audit log", &client.audit("").await);
    let mut chunks = client.whole.backup(wire::BackupRequest { everything: true }).await.unwrap().into_inner();
    while let Some(chunk) = chunks.message().await.unwrap() {
        told.texts.push(("a backup".to_owned(), chunk.data));
    }
    told.note("a reseal", &client.whole.reseal(wire::ResealRequest {}).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_secret_is_told_twice() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(log.clone()).finish();
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let nats = Nats::start().await;
    let settings = backbone::Config { shards: 1, replicas: 1, ..backbone::Config::default() };
    let connection = NatsConfig { urls: vec![nats.url()], ..NatsConfig::default() };
    let backbone = Backbone::connect(&settings, &connection).await.unwrap();
    let plane = Plane::start_with(config(), &backbone).await;
    let mut told = Told::default();
    told.secret(TOKEN);
    told.secret(CLUSTER_KEY);
    let keys = cluster_keys();
    told.secret(keys.node_token());
    let channel = plane.channel().await;
    let path = "/fanfare.control.v1.AppService/ListApps";
    let node = support::raw::call(&channel, path, Some(keys.node_token()), Vec::new());
    told.note("a node's refusal", &node.await.unwrap_err());
    live(&mut told, &plane, plane.client().await).await;
    let mut kinds = 0;
    for bucket in Bucket::ALL {
        for entry in backbone.kv(bucket).entries().await.unwrap() {
            kinds += usize::from(matches!(bucket, Bucket::Apps | Bucket::Access | Bucket::Audit | Bucket::Cluster));
            told.texts.push((format!("{bucket:?}, {}", entry.key), [entry.key.as_bytes(), &entry.value].concat()));
        }
    }
    assert!(kinds > 10, "there is something to look at");
    plane.stop().await;
    told.texts.push(("the log".to_owned(), log.0.lock().unwrap().clone()));
    let logged = String::from_utf8_lossy(&told.texts.last().unwrap().1).into_owned();
    assert!(logged.contains("AppService.CreateApp") && logged.contains("key second"), "changes are logged");
    assert!(told.secrets.len() > 15);
    let leaks = told.leaks();
    assert!(leaks.is_empty(), "{leaks:#?}");
}
