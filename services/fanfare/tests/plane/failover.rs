//! The data plane does not notice when the control plane is ill, and quotas hold.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use proto::control::{App, CreateAppRequest, Namespace, Quota, Tier, UpdateAppRequest};
use testkit::eventually;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tonic::Code;

use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::publisher::{Credentials, Publisher};
use crate::subscriber::Subscriber;

/// Messages per second that the limited app may publish.
pub(crate) const LIMIT: u64 = 60;
/// How long a share counts, and the time until an edge notices.
const SHARES_LAST: Duration = Duration::from_secs(12);

#[tokio::test(flavor = "multi_thread")]
async fn publishers_notice_nothing() {
    let mut cluster = Cluster::start().await;
    let free = cluster.create_app(0, CreateAppRequest::default()).await;
    let limited = cluster.create_app(1, limited()).await;

    let stop = Arc::new(AtomicBool::new(false));
    let lanes = [0, 1, 2].map(|edge| must_succeed(cluster.publisher(edge, &free), &stop));
    let changes = change_again_and_again([0, 1, 2].map(|replica| cluster.admin(replica)), free.app.clone(), &stop);

    a_leader_is_lost(&mut cluster, &limited).await;
    replicas_restart_in_turn(&mut cluster).await;
    two_believe_they_lead(&mut cluster, &limited).await;

    stop.store(true, Ordering::SeqCst);
    let changed = changes.await.unwrap();
    let mut published = 0;
    for lane in lanes {
        published += lane.await.unwrap();
    }
    println!("{published} published, {changed} changes");
    assert!(published > 100 && changed > 10, "{published} published, {changed} changes");

    nobody_leads(&mut cluster, &free, &limited).await;
    cluster.finish();
}

pub(crate) fn limited() -> CreateAppRequest {
    let quota = Quota { messages_in_per_second: Some(LIMIT), connections: Some(9), ..Quota::default() };
    // Not stored, so that a slow machine comes up to the limit, too.
    let rule = Namespace { prefix: "t-".to_owned(), tier: Tier::Ephemeral.into(), ..Namespace::default() };
    CreateAppRequest { quota: Some(quota), namespaces: vec![rule], ..CreateAppRequest::default() }
}

/// The next leader's shares reach an edge with all of the load, which has a third of the limit without them.
async fn a_leader_is_lost(cluster: &mut Cluster, limited: &Credentials) {
    has_all_of_the_limit(cluster, limited, 0).await;
    let leader = cluster.leader(&[0, 1, 2]).await;
    cluster.control[leader].kill().await;
    cluster.leader(&[(leader + 1) % 3, (leader + 2) % 3]).await;
    has_all_of_the_limit(cluster, limited, 1).await;
    cluster.control[leader].start();
    cluster.ready().await;
}

async fn replicas_restart_in_turn(cluster: &mut Cluster) {
    for replica in 0..3 {
        cluster.control[replica].stop().await;
        cluster.control[replica].start();
        cluster.control[replica].ready().await;
    }
    cluster.ready().await;
}

/// A leader that sleeps beyond its lease wakes up beside another.
async fn two_believe_they_lead(cluster: &mut Cluster, limited: &Credentials) {
    has_all_of_the_limit(cluster, limited, 2).await;
    let old = cluster.leader(&[0, 1, 2]).await;
    cluster.control[old].signal("STOP");
    let others = [(old + 1) % 3, (old + 2) % 3];
    let new = eventually("another leader", || async {
        let leader = cluster.leader(&others).await;
        (leader != old).then_some(leader)
    })
    .await;
    // What buckets kept is spent here, before anybody counts.
    has_all_of_the_limit(cluster, limited, 2).await;
    let counting =
        tokio::spawn(accepted_over([0, 1, 2].map(|edge| cluster.publisher(edge, limited)), Duration::from_secs(10)));
    cluster.control[old].signal("CONT");
    let accepted = counting.await.unwrap();
    println!("{accepted:?} in 10 s of {LIMIT} a second, with two leaders");
    // A second of each share may be left in the buckets.
    accepted.is_in(LIMIT * 7..=LIMIT * 11 + 15);
    assert_eq!(cluster.leader(&[0, 1, 2]).await, new, "who woke up knows that it leads no more");
}

/// All replicas are gone: everything goes on, and nobody has more than a part of the limit.
async fn nobody_leads(cluster: &mut Cluster, free: &Credentials, limited: &Credentials) {
    let mut client = Subscriber::on(cluster.edges[0].address(), &free.key, "c").await;
    for replica in 0..3 {
        cluster.control[replica].kill().await;
    }
    // An edge that has never seen a control plane.
    cluster.edges[1].kill().await;
    cluster.edges[1].start();
    cluster.edges[1].ready().await;
    cluster.serves(&cluster.edges[1], free).await;
    assert_eq!(cluster.publisher(1, free).publish("c", "hello").await.unwrap().status, 200);
    client.event("e").await;

    sleep(SHARES_LAST).await;
    let third = LIMIT / 3;
    for edge in 0..3 {
        let accepted = accepted_over([cluster.publisher(edge, limited)], Duration::from_secs(4)).await;
        println!("edge {edge}: {accepted:?} in 4 s of {LIMIT} a second, without a control plane");
        accepted.is_in(third * 3..=third * 5 + 5);
    }
    let mut open = Vec::new();
    let refused = loop {
        match Subscriber::connect(cluster.edges[2].address(), &limited.key).await {
            Ok(client) => open.push(client),
            Err(refused) => break refused,
        }
    };
    assert_eq!((open.len(), refused.code), (3, 4100), "a third of nine: {refused:?}");
    assert!(refused.reason.contains("quota connections"), "{refused:?}");

    for replica in 0..3 {
        cluster.control[replica].start();
    }
    cluster.ready().await;
    has_all_of_the_limit(cluster, limited, 2).await;
}

/// Waits until `edge` alone gets nearly the whole limit, which only a leader's shares can give it.
pub(crate) async fn has_all_of_the_limit(cluster: &Cluster, limited: &Credentials, edge: usize) {
    eventually("an edge to have the limit for itself", || async {
        let accepted = accepted_over([cluster.publisher(edge, limited)], Duration::from_secs(2)).await;
        (accepted.count > LIMIT * 2 * 4 / 5).then_some(())
    })
    .await;
}

/// How many messages were accepted of publishers that try as hard as they can.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Accepted {
    count: u64,
    /// Longest that some publisher was not refused.
    unrefused: Duration,
}

impl Accepted {
    pub(crate) fn is_in(self, range: RangeInclusive<u64>) {
        assert!(self.count <= *range.end(), "{self:?}, and not in {range:?}");
        // Buckets keep what a second gives. More of it is lost where the machine stands still for longer.
        assert!(
            self.count >= *range.start() || self.unrefused > Duration::from_secs(1),
            "{self:?}, and not in {range:?}"
        );
    }
}

/// How many messages all publishers together get accepted, each trying as hard as it can.
pub(crate) async fn accepted_over<const N: usize>(publishers: [Publisher; N], time: Duration) -> Accepted {
    let begin = Instant::now();
    let until = begin + time;
    let lanes = publishers.map(|mut publisher| {
        tokio::spawn(async move {
            let (mut accepted, mut refused_at) = (Accepted { count: 0, unrefused: Duration::ZERO }, begin);
            while Instant::now() < until {
                let answer = publisher.publish("t-c", "x").await.unwrap();
                match answer.status {
                    200 => accepted.count += 1,
                    429 => {
                        assert_eq!(answer.body["quota"], "messages_in", "{answer:?}");
                        accepted.unrefused = accepted.unrefused.max(refused_at.elapsed());
                        refused_at = Instant::now();
                        sleep(Duration::from_millis(10)).await;
                    }
                    _ => panic!("{answer:?}"),
                }
            }
            Accepted { unrefused: accepted.unrefused.max(refused_at.elapsed()), ..accepted }
        })
    });
    let mut all = Accepted { count: 0, unrefused: Duration::ZERO };
    for lane in lanes {
        let lane = lane.await.unwrap();
        all = Accepted { count: all.count + lane.count, unrefused: all.unrefused.max(lane.unrefused) };
    }
    all
}

/// Publishes one message after the other until told to stop; answers how many. Each has to be accepted.
fn must_succeed(mut publisher: Publisher, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut published = 0;
        while !stop.load(Ordering::SeqCst) {
            let answer = publisher.publish("c", "x").await.unwrap();
            assert_eq!(answer.status, 200, "{answer:?}");
            published += 1;
            sleep(Duration::from_millis(50)).await;
        }
        published
    })
}

/// Changes an app's name through one replica after the other until told to stop; answers how often. A replica that is not
/// there is passed over, so that each change is made at last.
fn change_again_and_again(replicas: [Admin; 3], app: String, stop: &Arc<AtomicBool>) -> JoinHandle<u64> {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut changed = 0;
        while !stop.load(Ordering::SeqCst) {
            let name = format!("change {changed}");
            let tried = eventually("a change to be made", || async {
                for admin in &replicas {
                    let app = App { id: app.clone(), name: name.clone(), ..App::default() };
                    let request = UpdateAppRequest { app: Some(app), ..UpdateAppRequest::default() };
                    match timeout(Duration::from_secs(2), admin.apps().update_app(request)).await {
                        Ok(Ok(answer)) => return Some(answer.into_inner()),
                        // Killed in the middle of a call, or not there.
                        Ok(Err(status)) => assert!(
                            matches!(
                                status.code(),
                                Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal
                            ),
                            "{status:?}"
                        ),
                        // Stopped.
                        Err(_) => {}
                    }
                }
                None
            });
            assert_eq!(tried.await.name, name);
            changed += 1;
            sleep(Duration::from_millis(100)).await;
        }
        changed
    })
}
