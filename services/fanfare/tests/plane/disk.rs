//! A single process with a data directory loses nothing that its users created.

use proto::control::{
    App, AuditEntry, CreateAppRequest, CreateTokenRequest, GetAppRequest, GetChannelRequest, Interval,
    ListAuditRequest, ListDeadLettersRequest, ListTokensRequest, QueryUsageRequest, Role, Scope, Token, Webhook,
};
use testkit::eventually;

use crate::admin::Admin;
use crate::cluster::alone;
use crate::publisher::Credentials;
use crate::single::Single;
use crate::subscriber::Subscriber;

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_leaves_everything() {
    let _alone = alone().await;
    let mut single = Single::over_disk();
    single.start().await;
    let key = std::fs::read_to_string(single.directory().join("data/cluster.key")).unwrap();
    single.keep_secret(key.trim());
    // Nobody listens there, so that events become dead letters.
    let webhook = Webhook { url: "http://127.0.0.1:9/".to_owned(), ..Webhook::default() };
    let app = single.create_app(CreateAppRequest { webhooks: vec![webhook], ..Default::default() }).await;
    let scope = Scope { role: Role::Reader.into(), app_id: app.app.clone() };
    let request = CreateTokenRequest { name: "reader".to_owned(), scope: Some(scope), ..Default::default() };
    let reader = single.admin().access().create_token(request).await.unwrap().into_inner().text;
    single.keep_secret(&reader);
    // Tells the webhook that a channel is occupied.
    let client = Subscriber::on(single.node.address(), &app.key, "c").await;
    let dead = eventually("a dead letter", || dead_letters(single.admin(), &app.app)).await;
    let used = eventually("usage to be written", || usage(single.admin(), &app.app)).await;
    let (created, epoch) = (created(&single.admin(), &app.app).await, epoch(&single, &app).await);
    assert!(created.2.len() >= 2, "the audit log tells of the app and the token: {:?}", created.2);

    single.node.kill().await;
    drop(client);
    single.start().await;
    assert_eq!(created, self::created(&single.admin(), &app.app).await);
    // More of each may have come since.
    assert!(dead_letters(single.admin(), &app.app).await.unwrap() >= dead);
    assert!(usage(single.admin(), &app.app).await.unwrap() >= used);
    single.serves(&app).await;
    assert_ne!(epoch, self::epoch(&single, &app).await, "messages were in memory");
    let reader = Admin::new(&single.node.control_url(), &reader);
    reader.apps().get_app(GetAppRequest { id: app.app.clone() }).await.unwrap();
    single.finish();
}

/// What somebody created, and what tells of it.
async fn created(admin: &Admin, app: &str) -> (App, Vec<Token>, Vec<AuditEntry>) {
    let app = admin.apps().get_app(GetAppRequest { id: app.to_owned() }).await.unwrap().into_inner();
    let tokens = admin.access().list_tokens(ListTokensRequest::default()).await.unwrap().into_inner().tokens;
    let audit = admin.audit().list_audit(ListAuditRequest::default()).await.unwrap().into_inner().entries;
    (app, tokens, audit)
}

async fn dead_letters(admin: Admin, app: &str) -> Option<usize> {
    let request = ListDeadLettersRequest { app_id: app.to_owned(), ..ListDeadLettersRequest::default() };
    let letters = admin.webhooks().list_dead_letters(request).await.unwrap().into_inner().dead_letters;
    (!letters.is_empty()).then_some(letters.len())
}

async fn usage(admin: Admin, app: &str) -> Option<u64> {
    let app_id = app.to_owned();
    let request = QueryUsageRequest { app_id, interval: Interval::Month.into(), ..QueryUsageRequest::default() };
    let usage = admin.usage().query_usage(request).await.unwrap().into_inner().usage;
    usage.first().map(|month| month.messages_in).filter(|messages| *messages > 0)
}

/// The epoch of a channel that was published to.
async fn epoch(single: &Single, app: &Credentials) -> String {
    let request = GetChannelRequest { app_id: app.app.clone(), name: "hello".to_owned() };
    // A replica that has just started has not heard of every node yet, and says so.
    let answer =
        eventually("a channel", || async { single.admin().channels().get_channel(request.clone()).await.ok() });
    answer.await.into_inner().position.split_once('-').unwrap().0.to_owned()
}
