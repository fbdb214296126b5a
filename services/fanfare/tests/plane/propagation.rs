//! How soon every edge does what the control plane said.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use proto::FieldMask;
use proto::control::{
    App, CreateAppRequest, CreateKeyRequest, DeleteAppRequest, DisableAppRequest, EnableAppRequest, Limits, NewKey,
    RevokeKeyRequest, RotateKeyRequest, UpdateAppRequest,
};
use testkit::PATIENCE;
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::figures::{HEAD, Times};
use crate::publisher::{Credentials, Publisher};
use crate::subscriber::Subscriber;

/// Far more than is promised, which the figures are held against: a machine that is busy with other tests is slow.
const BOUND: Duration = PATIENCE;

#[tokio::test(flavor = "multi_thread")]
async fn every_edge_obeys_at_once() {
    measure(8).await;
}

/// For the figures: `cargo test -p fanfare --test plane -- --ignored --nocapture propagation`, with nothing else running.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement"]
async fn propagation_in_figures() {
    measure(100).await;
}

async fn measure(rounds: usize) {
    let mut cluster = Cluster::start().await;
    let mut seen = Measured::default();
    for round in 0..rounds {
        seen.life_of_an_app(&mut cluster, round).await;
    }
    let worst = seen.0.iter().map(|(_, times)| times.at(1.0)).max().unwrap();
    println!("{HEAD}");
    for (change, times) in &seen.0 {
        println!("{}", times.row(change));
    }
    assert!(worst < BOUND, "{worst:?}");
    cluster.finish();
}

/// Times by change, in the order of an app's life.
#[derive(Default)]
struct Measured(Vec<(&'static str, Times)>);

impl Measured {
    fn add(&mut self, change: &'static str, times: impl IntoIterator<Item = Duration>) {
        let index = self.0.iter().position(|(name, _)| *name == change).unwrap_or_else(|| {
            self.0.push((change, Times::default()));
            self.0.len() - 1
        });
        times.into_iter().for_each(|time| self.0[index].1.add(time));
    }

    /// Each change is made by another replica, and all edges are looked at.
    async fn life_of_an_app(&mut self, cluster: &mut Cluster, round: usize) {
        let replicas = [0, 1, 2].map(|replica| cluster.admin((round + replica) % 3));
        let [admin, other, third] = &replicas;

        let request = CreateAppRequest { name: format!("round {round}"), ..CreateAppRequest::default() };
        let made = admin.apps().create_app(request).await.unwrap().into_inner();
        let answered = Instant::now();
        let (app, first) = (made.app.unwrap().id, made.key.unwrap());
        cluster.keep_secret(&first.secret);
        let first = Credentials { app: app.clone(), key: first.key.unwrap().name, secret: first.secret };
        self.add("create app", all_answer(cluster, answered, &first, "c", 200).await);

        let limits = Limits { channel_name_chars: Some(4), ..Limits::default() };
        let changed = App { id: app.clone(), limits: Some(limits), ..App::default() };
        let mask = FieldMask { paths: vec!["limits.channel_name_chars".to_owned()] };
        let request = UpdateAppRequest { app: Some(changed), update_mask: Some(mask), revision: 0 };
        other.apps().update_app(request).await.unwrap();
        self.add("change limit", all_answer(cluster, Instant::now(), &first, "longer", 400).await);

        let key = NewKey { name: format!("{app}.second"), ..NewKey::default() };
        let request = CreateKeyRequest { app_id: app.clone(), key: Some(key), ..CreateKeyRequest::default() };
        let second = third.keys().create_key(request).await.unwrap().into_inner();
        let answered = Instant::now();
        cluster.keep_secret(&second.secret);
        let second = Credentials { key: second.key.unwrap().name, secret: second.secret, ..first.clone() };
        self.add("create key", all_answer(cluster, answered, &second, "c", 200).await);

        let request = RotateKeyRequest {
            app_id: app.clone(),
            name: second.key.clone(),
            overlap_seconds: 60,
            ..Default::default()
        };
        let rotated = admin.keys().rotate_key(request).await.unwrap().into_inner();
        let answered = Instant::now();
        let rotated = cluster.rotated(&second, rotated);
        self.add("rotate key", all_answer(cluster, answered, &rotated, "c", 200).await);
        for edge in 0..cluster.edges.len() {
            let answer = cluster.publisher(edge, &second).publish("c", "x").await.unwrap();
            assert_eq!(answer.status, 200, "the old secret is good during the overlap: {answer:?}");
        }

        let mut open = connect(cluster, &second).await;
        let request = RevokeKeyRequest { app_id: app.clone(), name: second.key.clone() };
        other.keys().revoke_key(request).await.unwrap();
        let answered = Instant::now();
        let (refused, closed) =
            tokio::join!(all_answer(cluster, answered, &rotated, "c", 401), all_closed(&mut open, answered, 4009));
        self.add("revoke key", refused);
        self.add("revoke key: 4009", closed);
        let old = cluster.publisher(round % 3, &second).publish("c", "x").await.unwrap();
        assert_eq!(old.status, 401, "the overlap ends with the key");

        let mut open = connect(cluster, &first).await;
        third.apps().disable_app(DisableAppRequest { id: app.clone() }).await.unwrap();
        let answered = Instant::now();
        let (refused, closed) =
            tokio::join!(all_answer(cluster, answered, &first, "c", 403), all_closed(&mut open, answered, 4003));
        self.add("disable app", refused);
        self.add("disable app: 4003", closed);

        admin.apps().enable_app(EnableAppRequest { id: app.clone() }).await.unwrap();
        self.add("enable app", all_answer(cluster, Instant::now(), &first, "c", 200).await);

        let mut open = connect(cluster, &first).await;
        other.apps().delete_app(DeleteAppRequest { id: app.clone() }).await.unwrap();
        let answered = Instant::now();
        let (refused, closed) =
            tokio::join!(all_answer(cluster, answered, &first, "c", 404), all_closed(&mut open, answered, 4001));
        self.add("delete app", refused);
        self.add("delete app: 4001", closed);
    }
}

/// How long after `since` each edge answers a publish to `channel` with `status`.
async fn all_answer(
    cluster: &Cluster,
    since: Instant,
    credentials: &Credentials,
    channel: &str,
    status: u16,
) -> Vec<Duration> {
    join_all(cluster.edges.iter().map(|edge| async {
        let mut publisher = Publisher::new(edge.address(), credentials);
        let mut last = None;
        while since.elapsed() < BOUND {
            let answer = publisher.publish(channel, "x").await.unwrap();
            if answer.status == status {
                return since.elapsed();
            }
            last = Some(answer);
            sleep(Duration::from_millis(2)).await;
        }
        panic!("{} does not answer {status}: {last:?}", edge.name());
    }))
    .await
}

async fn connect(cluster: &Cluster, credentials: &Credentials) -> Vec<Subscriber> {
    join_all(cluster.edges.iter().map(|edge| Subscriber::on(edge.address(), &credentials.key, "c"))).await
}

/// How long after `since` each was closed, with the right code.
async fn all_closed(open: &mut [Subscriber], since: Instant, code: u16) -> Vec<Duration> {
    join_all(open.iter_mut().map(|subscriber| async {
        let closed = subscriber.closed().await;
        assert_eq!(closed.code, code, "{}", closed.reason);
        closed.at.saturating_duration_since(since)
    }))
    .await
}
