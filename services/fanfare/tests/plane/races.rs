//! The same app through three replicas at once.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use proto::control::{
    App, CreateAppRequest, CreateKeyRequest, GetAppRequest, ListAppsRequest, NewKey, Quota, UpdateAppRequest,
};
use tonic::Code;

use crate::admin::Admin;
use crate::cluster::Cluster;

/// How many changes each of three callers makes.
const CHANGES: u64 = 10;

#[tokio::test(flavor = "multi_thread")]
async fn replicas_agree() {
    let mut cluster = Cluster::start().await;
    let app = cluster.create_app(0, CreateAppRequest::default()).await.app;
    let replicas = [0, 1, 2].map(|replica| cluster.admin(replica));
    no_update_is_lost(&replicas, &app).await;
    a_key_makes_a_call_once(&mut cluster, &replicas, &app).await;
    cluster.finish();
}

/// Read, add one, write with the revision that was read: what was read in vain is told, and read again.
async fn no_update_is_lost(replicas: &[Admin; 3], app: &str) {
    let first = replicas[0].apps().get_app(GetAppRequest { id: app.to_owned() }).await.unwrap().into_inner();
    let callers = replicas.iter().map(|admin| async {
        let (mut done, mut conflicts) = (0, 0);
        // All begin with the same, so that they do meet however slow one of them is.
        let mut begin = Some(first.clone());
        while done < CHANGES {
            let read = match begin.take() {
                Some(first) => first,
                None => admin.apps().get_app(GetAppRequest { id: app.to_owned() }).await.unwrap().into_inner(),
            };
            let count = read.quota.and_then(|quota| quota.connections).unwrap_or(0) + 1;
            let quota = Quota { connections: Some(count), ..Quota::default() };
            let changed = App { id: app.to_owned(), quota: Some(quota), ..App::default() };
            let request = UpdateAppRequest { app: Some(changed), update_mask: None, revision: read.revision };
            match admin.apps().update_app(request).await {
                Ok(_) => done += 1,
                Err(status) => {
                    assert_eq!(status.code(), Code::Aborted, "{status:?}");
                    conflicts += 1;
                }
            }
        }
        conflicts
    });
    let conflicts: u64 = join_all(callers).await.into_iter().sum();
    let read = replicas[0].apps().get_app(GetAppRequest { id: app.to_owned() }).await.unwrap().into_inner();
    assert_eq!(read.quota.unwrap().connections, Some(3 * CHANGES), "after {conflicts} conflicts");
    assert!(conflicts >= 2, "one of the first three was made, and {conflicts} were told of a conflict");
}

/// The same create through every replica at once, and again later, makes one thing and answers the same.
async fn a_key_makes_a_call_once(cluster: &mut Cluster, replicas: &[Admin; 3], app: &str) {
    let create = CreateAppRequest {
        name: "once".to_owned(),
        idempotency_key: "create-once".to_owned(),
        ..CreateAppRequest::default()
    };
    let calls = || join_all(replicas.iter().map(|admin| async { admin.apps().create_app(create.clone()).await }));
    let mut secrets = BTreeSet::new();
    let mut made = BTreeSet::new();
    for answer in calls().await.into_iter().chain(calls().await) {
        let answer = answer.unwrap().into_inner();
        secrets.insert(answer.key.unwrap().secret);
        made.insert(answer.app.unwrap().id);
    }
    assert_eq!((made.len(), secrets.len()), (1, 1), "{made:?}");
    let listed = replicas[1].apps().list_apps(ListAppsRequest::default()).await.unwrap().into_inner().apps;
    assert_eq!(listed.iter().filter(|app| app.name == "once").count(), 1);
    for secret in secrets {
        cluster.keep_secret(&secret);
    }
    let other = CreateAppRequest { name: "another".to_owned(), ..create.clone() };
    let refused = replicas[2].apps().create_app(other).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument, "{refused:?}");

    let create = CreateKeyRequest {
        app_id: app.to_owned(),
        key: Some(NewKey::default()),
        idempotency_key: "key-once".to_owned(),
    };
    let calls = join_all(replicas.iter().map(|admin| async { admin.keys().create_key(create.clone()).await })).await;
    let answers: Vec<_> = calls.into_iter().map(|answer| answer.unwrap().into_inner()).collect();
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "the same key and secret");
    cluster.keep_secret(&answers[0].secret);
}
