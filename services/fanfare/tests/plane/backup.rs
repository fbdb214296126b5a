//! A registry survives its cluster, and its secrets a change of the cluster key.

use backbone::sealing::ClusterKeys;
use proto::control::{
    BackupRequest, CreateAppRequest, GetClusterRequest, ListAppsRequest, ResealRequest, RestoreChunk, RotateKeyRequest,
    Webhook,
};
use testkit::Nats;
use tonic::{Code, Status};

use crate::admin::Admin;
use crate::cluster::alone;
use crate::publisher::Publisher;
use crate::single::Single;

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_cluster_takes_a_backup() {
    let _alone = alone().await;
    let key = ClusterKeys::generate_text();
    let (first_nats, second_nats, third_nats) = tokio::join!(Nats::start(), Nats::start(), Nats::start());
    let mut first = Single::over_nats(&first_nats.url(), &key);
    first.start().await;
    let value = "a value of a webhook's header";
    first.keep_secret(value);
    let webhook = Webhook {
        url: "http://127.0.0.1:9/".to_owned(),
        headers: [("x-secret".to_owned(), value.to_owned())].into(),
        ..Webhook::default()
    };
    let app = first.create_app(CreateAppRequest { webhooks: vec![webhook], ..Default::default() }).await;
    let request = RotateKeyRequest {
        app_id: app.app.clone(),
        name: app.key.clone(),
        overlap_seconds: 600,
        ..RotateKeyRequest::default()
    };
    let rotated = first.admin().keys().rotate_key(request).await.unwrap().into_inner();
    first.keep_secret(&rotated.secret);
    let rotated = crate::publisher::Credentials { secret: rotated.secret, ..app.clone() };
    first.serves(&rotated).await;
    let file = backup(&first.admin(), false).await;
    let text = String::from_utf8(file.clone()).unwrap();
    for secret in [&app.secret, &rotated.secret, value, &key] {
        assert!(!text.contains(secret), "secrets in a backup are sealed");
    }

    let mut stranger = Single::over_nats(&third_nats.url(), &ClusterKeys::generate_text());
    stranger.start().await;
    let refused = restore(&stranger.admin(), &file, false).await.unwrap_err();
    println!("with another cluster key: {refused:?}");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains("key"), "{refused:?}");
    let apps = stranger.admin().apps().list_apps(ListAppsRequest::default()).await.unwrap().into_inner().apps;
    assert!(apps.is_empty(), "nothing was restored");

    let mut second = Single::over_nats(&second_nats.url(), &key);
    second.start().await;
    let restored = restore(&second.admin(), &file, false).await.unwrap();
    assert_eq!(restored, 1);
    second.serves(&app).await;
    second.serves(&rotated).await;
    let refused = restore(&second.admin(), &file, false).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition, "a registry that is not empty is kept: {refused:?}");
    assert_eq!(restore(&second.admin(), &file, true).await.unwrap(), 1);

    the_key_is_replaced(&mut second, &key, &[&app, &rotated]).await;
    first.finish();
    second.finish();
    stranger.finish();
}

/// As the reference of settings tells it.
async fn the_key_is_replaced(single: &mut Single, old: &str, credentials: &[&crate::publisher::Credentials]) {
    let new = ClusterKeys::generate_text();
    let id = |key: &str| key.parse::<ClusterKeys>().unwrap().ids().next().unwrap().to_string();
    for (keys, reseals) in [(format!("{old},{new}"), false), (format!("{new},{old}"), true), (new.clone(), false)] {
        single.node.stop().await;
        single.set_keys(&keys);
        single.start().await;
        for credentials in credentials {
            single.serves(credentials).await;
        }
        if reseals {
            let done = single.admin().registry().reseal(ResealRequest {}).await.unwrap().into_inner();
            assert!(done.resealed > 0, "{done:?}");
            let again = single.admin().registry().reseal(ResealRequest {}).await.unwrap().into_inner();
            assert_eq!(again.resealed, 0, "{again:?}");
        }
    }
    let cluster = single.admin().nodes().get_cluster(GetClusterRequest {}).await.unwrap().into_inner();
    assert_eq!((cluster.key_ids.as_slice(), cluster.unreadable.as_slice()), (&[id(&new)][..], &[][..]));
    assert_eq!(cluster.sealed_by.keys().collect::<Vec<_>>(), [&id(&new)]);
    for credentials in credentials {
        let answer = Publisher::new(single.node.address(), credentials).publish("c", "x").await.unwrap();
        assert_eq!(answer.status, 200);
    }
}

async fn backup(admin: &Admin, everything: bool) -> Vec<u8> {
    let mut chunks = admin.registry().backup(BackupRequest { everything }).await.unwrap().into_inner();
    let mut file = Vec::new();
    while let Some(chunk) = chunks.message().await.unwrap() {
        file.extend(chunk.data);
    }
    file
}

/// How many apps were restored.
async fn restore(admin: &Admin, file: &[u8], overwrite: bool) -> Result<u64, Status> {
    let mut chunks: Vec<_> =
        file.chunks(1_000).map(|data| RestoreChunk { overwrite: false, data: data.to_vec() }).collect();
    chunks[0].overwrite = overwrite;
    let restored = admin.registry().restore(futures_util::stream::iter(chunks)).await?;
    Ok(restored.into_inner().apps)
}
