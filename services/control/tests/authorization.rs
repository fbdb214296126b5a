//! Who may call what: every method with every kind of caller.

#![allow(clippy::unwrap_used, reason = "tests state their expectations with it, in helpers too")]

mod support;

use std::collections::BTreeSet;

use backbone::access::{NewToken, Role, Scope};
use control::Config;
use proto::control as wire;
use support::raw::call;
use support::tls::Authority;
use support::{Client, Plane, TOKEN, cluster_keys, config, kept_out, let_in, memory, plain, refused};
use tonic::Code;
use tonic::transport::Channel;

use Level::{Node, Read, Write};
use Of::{App, Cluster, Either};

/// What a method needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Read,
    Write,
    Node,
}

/// For what its caller has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    Cluster,
    /// App `1`, or the cluster.
    App,
    Either,
}

/// Every method, what it needs, and a request (about app `1`) that does no harm to the others.
#[rustfmt::skip]
const METHODS: [(&str, &str, Level, Of, &str); 38] = [
    ("AppService", "CreateApp", Write, Cluster, "{}"),
    ("AppService", "GetApp", Read, App, r#"{"id":"1"}"#),
    ("AppService", "ListApps", Read, Either, "{}"),
    ("AppService", "UpdateApp", Write, App, r#"{"app":{"id":"1","name":"new"}}"#),
    ("AppService", "DisableApp", Write, Cluster, r#"{"id":"1"}"#),
    ("AppService", "EnableApp", Write, Cluster, r#"{"id":"1"}"#),
    ("AppService", "DeleteApp", Write, Cluster, r#"{"id":"gone"}"#),
    ("KeyService", "CreateKey", Write, App, r#"{"app_id":"1"}"#),
    ("KeyService", "ListKeys", Read, App, r#"{"app_id":"1"}"#),
    ("KeyService", "RotateKey", Write, App, r#"{"app_id":"1","name":"1-key"}"#),
    ("KeyService", "RevokeKey", Write, App, r#"{"app_id":"1","name":"gone"}"#),
    ("NamespaceService", "ListNamespaces", Read, App, r#"{"app_id":"1"}"#),
    ("NamespaceService", "SetNamespace", Write, App, r#"{"app_id":"1","namespace":{"prefix":"a"}}"#),
    ("NamespaceService", "DeleteNamespace", Write, App, r#"{"app_id":"1","prefix":"gone"}"#),
    ("WebhookService", "ListDeadLetters", Read, App, r#"{"app_id":"1"}"#),
    ("WebhookService", "ReplayDeadLetters", Write, App, r#"{"app_id":"1","all":true}"#),
    ("WebhookService", "DeleteDeadLetters", Write, App, r#"{"app_id":"1","all":true}"#),
    ("UsageService", "QueryUsage", Read, App, r#"{"app_id":"1"}"#),
    ("UsageService", "WatchUsage", Read, App, r#"{"app_id":"1"}"#),
    ("NodeService", "ListNodes", Read, Cluster, "{}"),
    ("NodeService", "DrainNode", Write, Cluster, r#"{"id":"gone"}"#),
    ("NodeService", "GetCluster", Read, Cluster, "{}"),
    ("ConnectionService", "ListConnections", Read, App, r#"{"app_id":"1"}"#),
    ("ConnectionService", "GetConnection", Read, App, r#"{"app_id":"1","id":"1.1"}"#),
    ("ConnectionService", "CloseConnection", Write, App, r#"{"app_id":"1","id":"1.1"}"#),
    ("ChannelService", "ListChannels", Read, App, r#"{"app_id":"1"}"#),
    ("ChannelService", "GetChannel", Read, App, r#"{"app_id":"1","name":"room"}"#),
    ("ChannelService", "ReadHistory", Read, App, r#"{"app_id":"1","name":"room"}"#),
    ("TailService", "Tail", Read, App, r#"{"app_id":"1"}"#),
    ("AccessService", "CreateToken", Write, App, r#"{"name":"t","scope":{"role":"ROLE_READER","app_id":"1"}}"#),
    ("AccessService", "ListTokens", Read, Either, "{}"),
    ("AccessService", "RotateToken", Write, Either, r#"{"id":"000000000000"}"#),
    ("AccessService", "RevokeToken", Write, Either, r#"{"id":"000000000000"}"#),
    ("AuditService", "ListAudit", Read, Either, "{}"),
    ("RegistryService", "Backup", Write, Cluster, "{}"),
    ("RegistryService", "Restore", Write, Cluster, "{}"),
    ("RegistryService", "Reseal", Write, Cluster, "{}"),
    ("LinkService", "Attach", Node, Cluster, "{}"),
];

/// What a caller is.
#[derive(Clone, Copy, Debug)]
enum Is {
    Nobody,
    Node,
    Admin,
    Reader,
    AdminOf(&'static str),
    ReaderOf(&'static str),
}

impl Is {
    /// How a call must be refused, if it must.
    fn refusal(self, level: Level, of: Of) -> Option<Code> {
        let (writes, app) = match self {
            Self::Nobody => return Some(Code::Unauthenticated),
            Self::Node => return (level != Node).then_some(Code::PermissionDenied),
            Self::Admin => (true, None),
            Self::Reader => (false, None),
            Self::AdminOf(app) => (true, Some(app)),
            Self::ReaderOf(app) => (false, Some(app)),
        };
        let may = match level {
            Read => true,
            Write => writes,
            Node => false,
        };
        let of_it = match of {
            Cluster => app.is_none(),
            App => app.is_none_or(|app| app == "1"),
            Either => true,
        };
        (!(may && of_it)).then_some(Code::PermissionDenied)
    }
}

/// Somebody who calls.
struct Somebody {
    name: &'static str,
    is: Is,
    channel: Channel,
    token: Option<String>,
}

struct World {
    authority: Authority,
    plane: Plane,
    backbone: backbone::Backbone,
    /// Without a certificate.
    channel: Channel,
    admin: Client,
}

impl World {
    async fn start() -> Self {
        let authority = Authority::new();
        let backbone = memory();
        let plane = Plane::start_with(Config { tls: Some(authority.server()), ..config() }, &backbone).await;
        let channel = authority.connect(plane.address, None).await.unwrap();
        let mut admin = Client::over(channel.clone(), Some(TOKEN));
        admin.create_plain("1").await;
        admin.create_plain("2").await;
        Self { authority, plane, backbone, channel, admin }
    }

    fn bearer(&self, name: &'static str, is: Is, token: impl Into<String>) -> Somebody {
        Somebody { name, is, channel: self.channel.clone(), token: Some(token.into()) }
    }

    async fn bearer_of_new(&mut self, name: &'static str, is: Is, role: wire::Role, app: &str) -> Somebody {
        let text = self.admin.token(role, app).await.text;
        let_in(&self.channel, &text).await;
        self.bearer(name, is, text)
    }

    async fn with_certificate(&self, name: &'static str, is: Is, uris: &[&str]) -> Somebody {
        let identity = self.authority.client(name, uris);
        let channel = self.authority.connect(self.plane.address, Some(identity)).await.unwrap();
        Somebody { name, is, channel, token: None }
    }

    /// The text before the last rotation of a cluster admin's token, after it has been let in.
    async fn rotated(&mut self, overlap_seconds: u64) -> String {
        let made = self.admin.token(wire::Role::Admin, "").await;
        let_in(&self.channel, &made.text).await;
        let request = wire::RotateTokenRequest { id: made.token.unwrap().id, overlap_seconds };
        let rotated = self.admin.access.rotate_token(request).await.unwrap().into_inner();
        let_in(&self.channel, &rotated.text).await;
        made.text
    }

    async fn everybody(&mut self) -> Vec<Somebody> {
        use wire::Role::{Admin, Reader};
        let scope = Scope { role: Role::Admin, app: None };
        let new = NewToken { name: "old".to_owned(), scope, created_by: "test".to_owned(), expires_ms: Some(1) };
        let (_, expired) = self.backbone.access().create(new, 0).await.unwrap();
        let revoked = self.admin.token(Admin, "").await;
        let_in(&self.channel, &revoked.text).await;
        let id = revoked.token.unwrap().id;
        self.admin.access.revoke_token(wire::RevokeTokenRequest { id }).await.unwrap();
        kept_out(&self.channel, &revoked.text).await;
        let (overlapping, over) = (self.rotated(3_600).await, self.rotated(0).await);
        let mut somebody_else = TOKEN.to_owned();
        somebody_else.replace_range(31.., "0");
        vec![
            Somebody { name: "none", is: Is::Nobody, channel: self.channel.clone(), token: None },
            self.bearer("wrong", Is::Nobody, somebody_else),
            self.bearer("expired", Is::Nobody, expired.expose()),
            self.bearer("revoked", Is::Nobody, revoked.text),
            self.bearer("rotated", Is::Nobody, over),
            self.bearer("overlapping", Is::Admin, overlapping),
            self.bearer("wrong node", Is::Nobody, "node_0123456789"),
            self.bearer("node", Is::Node, cluster_keys().node_token()),
            self.bearer("bootstrap", Is::Admin, TOKEN),
            self.bearer_of_new("admin", Is::Admin, Admin, "").await,
            self.bearer_of_new("reader", Is::Reader, Reader, "").await,
            self.bearer_of_new("admin of 1", Is::AdminOf("1"), Admin, "1").await,
            self.bearer_of_new("reader of 1", Is::ReaderOf("1"), Reader, "1").await,
            self.bearer_of_new("admin of 2", Is::AdminOf("2"), Admin, "2").await,
            self.bearer_of_new("reader of 2", Is::ReaderOf("2"), Reader, "2").await,
            self.with_certificate("certificate: admin", Is::Admin, &["fanfare://admin"]).await,
            self.with_certificate("certificate: reader", Is::Reader, &["fanfare://reader"]).await,
            self.with_certificate("certificate: admin of 1", Is::AdminOf("1"), &["fanfare://app/1/admin"]).await,
            self.with_certificate("certificate: reader of 1", Is::ReaderOf("1"), &["fanfare://app/1/reader"]).await,
            self.with_certificate("certificate: admin of 2", Is::AdminOf("2"), &["fanfare://app/2/admin"]).await,
            self.with_certificate("certificate: reader of 2", Is::ReaderOf("2"), &["fanfare://app/2/reader"]).await,
            self.with_certificate("certificate: node", Is::Node, &["fanfare://node"]).await,
            self.with_certificate("certificate: other", Is::Nobody, &["https://example.com/"]).await,
            self.with_certificate("certificate: odd", Is::Nobody, &["fanfare://owner"]).await,
            self.with_certificate("certificate: two", Is::Nobody, &["fanfare://admin", "fanfare://reader"]).await,
        ]
    }
}

#[test]
fn the_table_has_every_method() {
    let listed: BTreeSet<String> =
        METHODS.iter().map(|(service, method, ..)| format!("fanfare.control.v1.{service}.{method}")).collect();
    let services = proto::json::descriptors().services();
    let methods: BTreeSet<String> = services
        .flat_map(|service| service.methods().map(|method| method.full_name().to_owned()).collect::<Vec<_>>())
        .collect();
    assert_eq!(listed, methods);
}

/// The request of a method, from its JSON.
fn request(service: &str, method: &str, json: &str) -> Vec<u8> {
    use prost::Message as _;
    let service = proto::json::descriptors().get_service_by_name(&format!("fanfare.control.v1.{service}")).unwrap();
    let method = service.methods().find(|of| of.name() == method).unwrap();
    proto::json::read(method.input(), json).unwrap().encode_to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_method_with_every_caller() {
    let mut world = World::start().await;
    let mut wrong = Vec::new();
    for Somebody { name, is, channel, token } in world.everybody().await {
        for (service, method, level, of, json) in METHODS {
            let path = format!("/fanfare.control.v1.{service}/{method}");
            let answer = call(&channel, &path, token.as_deref(), request(service, method, json));
            let answer = testkit::within(&format!("{name} calling {method}"), answer).await;
            let refusal = answer.err().map(|status| status.code());
            let closed_to = refusal.filter(|code| matches!(code, Code::Unauthenticated | Code::PermissionDenied));
            if closed_to != is.refusal(level, of) || refusal == Some(Code::Internal) {
                wrong.push(format!("{name} calls {method}: {refusal:?}, not {:?}", is.refusal(level, of)));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A token that is given decides, also beside a certificate that would be let in.
#[tokio::test]
async fn a_wrong_token_is_not_made_good_by_a_certificate() {
    let world = World::start().await;
    let admin = world.with_certificate("ops", Is::Admin, &["fanfare://admin"]).await;
    refused(
        Client::over(admin.channel.clone(), Some("wrong")).get("1").await,
        Code::Unauthenticated,
        "wrong admin token",
    );
    Client::over(admin.channel, None).get("1").await.unwrap();
    let entries = world.admin.clone().audit("1").await;
    assert_eq!(entries[0].actor, "bootstrap");
    let other = Authority::new();
    let stranger = other.client("ops", &["fanfare://admin"]);
    if let Ok(channel) = world.authority.connect(world.plane.address, Some(stranger)).await {
        assert!(Client::over(channel, None).get("1").await.is_err(), "of an authority that is not ours");
    }
    assert!(other.dir().exists());
}

/// What an app's own admin may not do with it, and what lists show.
#[tokio::test]
async fn an_apps_admin_sees_and_changes_only_what_is_its_own() {
    let mut world = World::start().await;
    let all = world.admin.token(wire::Role::Reader, "").await.token.unwrap();
    let other = world.admin.token(wire::Role::Reader, "2").await.token.unwrap();
    let text = world.admin.token(wire::Role::Admin, "1").await.text;
    let mut own = let_in(&world.channel, &text).await;

    let listed = own.list(0, "").await.unwrap();
    assert_eq!(listed.apps.iter().map(|app| app.id.as_str()).collect::<Vec<_>>(), ["1"]);
    assert_eq!(own.list(0, "1").await.unwrap().apps, [], "there is no second page");
    let tokens = own.access.list_tokens(wire::ListTokensRequest::default()).await.unwrap().into_inner().tokens;
    assert_eq!(tokens.iter().map(|token| token.scope.as_ref().unwrap().app_id.as_str()).collect::<Vec<_>>(), ["1"]);
    assert!(own.audit("").await.iter().all(|entry| entry.app_id == "1"));
    assert!(own.audit("1").await.len() >= 2);
    let of_other = wire::ListAuditRequest { app_id: "2".to_owned(), ..Default::default() };
    refused(own.audit.list_audit(of_other).await, Code::PermissionDenied, "not for app 2");

    for token in [&all, &other] {
        let rotate = wire::RotateTokenRequest { id: token.id.clone(), overlap_seconds: 0 };
        refused(own.access.rotate_token(rotate).await, Code::PermissionDenied, "not for");
        let revoke = wire::RevokeTokenRequest { id: token.id.clone() };
        refused(own.access.revoke_token(revoke).await, Code::PermissionDenied, "not for");
    }
    for app_id in ["", "2"] {
        let scope = Some(wire::Scope { role: wire::Role::Reader.into(), app_id: app_id.to_owned() });
        let request = wire::CreateTokenRequest { name: "more".to_owned(), scope, ..Default::default() };
        refused(own.access.create_token(request).await, Code::PermissionDenied, "not for");
    }

    let update = |app: wire::App| wire::UpdateAppRequest {
        app: Some(wire::App { id: "1".to_owned(), ..app }),
        ..Default::default()
    };
    own.update(update(wire::App { name: "ours".to_owned(), ..Default::default() })).await.unwrap();
    let quota = Some(wire::Quota { connections: Some(1_000_000), ..Default::default() });
    let raised = own.update(update(wire::App { quota, ..Default::default() })).await;
    refused(raised, Code::PermissionDenied, "not for the whole cluster");
    let limits = Some(wire::Limits { event_data_bytes: Some(500_000), ..Default::default() });
    let raised = own.update(update(wire::App { limits, ..Default::default() })).await;
    refused(raised, Code::PermissionDenied, "not for the whole cluster");

    let mut taken = support::new_key("2-key");
    taken.secret = "long-enough".to_owned();
    let status = own.create_key("1", taken).await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::AlreadyExists, "the key name is taken"));
}

/// Tokens of an app go with it: another app of its id is not theirs.
#[tokio::test]
async fn tokens_of_an_app_go_with_it() {
    let mut world = World::start().await;
    let text = world.admin.token(wire::Role::Admin, "1").await.text;
    let_in(&world.channel, &text).await;
    world.admin.delete("1").await.unwrap();
    world.admin.create(plain("1")).await.unwrap();
    kept_out(&world.channel, &text).await;
}

/// Without a bootstrap token, tokens that are there let in, and nothing else does.
#[tokio::test]
async fn without_a_bootstrap_token() {
    let backbone = memory();
    let scope = Scope { role: Role::Admin, app: None };
    let new = NewToken { name: "ops".to_owned(), scope, created_by: "test".to_owned(), expires_ms: None };
    let (_, text) = backbone.access().create(new, 0).await.unwrap();
    let plane = Plane::start_with(Config { token: None, ..config() }, &backbone).await;
    let channel = plane.channel().await;
    let mut ops = let_in(&channel, text.expose()).await;
    ops.create_plain("1").await;
    refused(Client::over(channel.clone(), Some(TOKEN)).get("1").await, Code::Unauthenticated, "wrong admin token");
    refused(Client::over(channel, None).get("1").await, Code::Unauthenticated, "no admin token");
}
