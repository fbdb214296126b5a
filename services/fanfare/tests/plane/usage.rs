//! Usage is exact: what was accepted is counted once, whatever ends and starts meanwhile.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use proto::control::{CreateAppRequest, Interval, QueryUsageRequest, Usage};
use testkit::eventually;
use tokio::task::JoinHandle;
use tokio::time::sleep;

use crate::admin::Admin;
use crate::cluster::Cluster;
use crate::publisher::Publisher;
use crate::subscriber::Subscriber;

/// Data of each message.
const DATA: &str = "0123456789";

#[tokio::test(flavor = "multi_thread")]
async fn restarts_leave_sums_exact() {
    let mut cluster = Cluster::start().await;
    let app = cluster.create_app(0, CreateAppRequest::default()).await;
    let before = published_so_far(&cluster, &app.app).await;
    // Nothing happens to the third edge.
    let mut subscriber = Subscriber::on(cluster.edges[2].address(), &app.key, "c").await;

    let stop = Arc::new(AtomicBool::new(false));
    let lanes = [0, 1, 2].map(|edge| publish(cluster.publisher(edge, &app), &stop));
    let leader = cluster.leader(&[0, 1, 2]).await;
    cluster.edges[0].stop().await;
    cluster.control[leader].kill().await;
    cluster.edges[0].start();
    cluster.edges[0].ready().await;
    let others = [(leader + 1) % 3, (leader + 2) % 3];
    let second = cluster.leader(&others).await;
    cluster.edges[1].stop().await;
    cluster.control[leader].start();
    cluster.control[second].kill().await;
    cluster.edges[1].start();
    cluster.edges[1].ready().await;
    cluster.control[second].start();
    cluster.ready().await;
    stop.store(true, Ordering::SeqCst);
    let (mut accepted, mut unknown) = (0, 0);
    for lane in lanes {
        let sent = lane.await.unwrap();
        accepted += sent.accepted;
        unknown += sent.unknown;
    }
    println!("{accepted} accepted, {unknown} without an answer");
    assert!(accepted > 100 && unknown < accepted / 10, "{accepted} accepted, {unknown} without an answer");

    for replica in 0..3 {
        let admin = cluster.admin(replica);
        let counted = eventually("usage to be complete", || async {
            let counted = total(&admin, &app.app, Interval::Minute).await?;
            (counted.messages_in >= before + accepted).then_some(counted)
        })
        .await;
        assert!(counted.messages_in <= before + accepted + unknown, "{before} + {accepted} + {unknown}: {counted:?}");
        assert_eq!(counted.bytes_in, (counted.messages_in - before) * DATA.len() as u64 + before);
        for interval in [Interval::Hour, Interval::Day, Interval::Month] {
            let same = total(&admin, &app.app, interval).await.unwrap();
            assert_eq!((same.messages_in, same.bytes_in), (counted.messages_in, counted.bytes_in), "{interval:?}");
        }
    }
    // The last ones may come, and be counted, after what was published is.
    let (mut delivered, admin) = (0, cluster.admin(0));
    let (delivered, counted) = eventually("deliveries to be counted", || {
        delivered += subscriber.count("e");
        let (delivered, admin, app) = (delivered, &admin, &app.app);
        async move {
            let counted = total(admin, app, Interval::Hour).await?;
            (delivered >= accepted && counted.messages_out == delivered).then_some((delivered, counted))
        }
    })
    .await;
    assert_eq!(counted.bytes_out, delivered * DATA.len() as u64);
    assert!(delivered <= accepted + unknown, "{delivered} of {accepted}");

    a_crash_loses_seconds(&mut cluster).await;
    cluster.finish();
}

/// What was written before a crash is there, what came in the seconds before may be, and nothing is there twice.
async fn a_crash_loses_seconds(cluster: &mut Cluster) {
    let app = cluster.create_app(1, CreateAppRequest::default()).await;
    let before = published_so_far(cluster, &app.app).await;
    let admin = cluster.admin(2);
    let counted = || async { Some(total(&admin, &app.app, Interval::Minute).await?.messages_in - before) };
    let stop = Arc::new(AtomicBool::new(false));
    let lane = publish(cluster.publisher(1, &app), &stop);
    eventually("the first of it to be written", || async { counted().await.filter(|counted| *counted > 0) }).await;
    stop.store(true, Ordering::SeqCst);
    let sent = lane.await.unwrap();
    let certain = sent.accepted;
    // A process writes every ten seconds.
    eventually("all of it to be written", || async { counted().await.filter(|counted| *counted >= certain) }).await;

    stop.store(false, Ordering::SeqCst);
    let lane = publish(cluster.publisher(1, &app), &stop);
    sleep(Duration::from_secs(2)).await;
    cluster.edges[1].kill().await;
    stop.store(true, Ordering::SeqCst);
    let last = lane.await.unwrap();
    cluster.edges[1].start();
    cluster.edges[1].ready().await;
    let most = certain + sent.unknown + last.accepted + last.unknown;
    let counted = eventually("a replica to answer", counted).await;
    println!("{certain} certain, {counted} counted, {most} sent before a crash");
    assert!((certain..=most).contains(&counted), "{certain} <= {counted} <= {most}");
}

/// What one lane did.
struct Sent {
    accepted: u64,
    /// How many requests had no answer, or one that leaves it open what became of them.
    unknown: u64,
}

/// Publishes one message after the other until told to stop.
fn publish(mut publisher: Publisher, stop: &Arc<AtomicBool>) -> JoinHandle<Sent> {
    let stop = Arc::clone(stop);
    tokio::spawn(async move {
        let mut sent = Sent { accepted: 0, unknown: 0 };
        while !stop.load(Ordering::SeqCst) {
            match publisher.publish("c", DATA).await {
                Ok(answer) if answer.status == 200 => sent.accepted += 1,
                Ok(answer) if answer.status == 503 => sent.unknown += 1,
                Ok(answer) => panic!("{answer:?}"),
                // Nobody was there.
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionRefused => {}
                Err(_) => sent.unknown += 1,
            }
            sleep(Duration::from_millis(10)).await;
        }
        sent
    })
}

/// What was counted before a test begins to count: `create_app` publishes a byte until each edge takes one.
async fn published_so_far(cluster: &Cluster, app: &str) -> u64 {
    let edges = cluster.edges.len() as u64;
    let admin = cluster.admin(0);
    eventually("the first usage", || async {
        let counted = total(&admin, app, Interval::Minute).await?.messages_in;
        (counted == edges).then_some(counted)
    })
    .await
}

/// How many messages were published. `None` if the replica does not answer.
pub(crate) async fn total_by_hour(admin: &Admin, app: &str) -> Option<u64> {
    Some(total(admin, app, Interval::Hour).await?.messages_in)
}

/// The sum over all intervals. `None` if the replica does not answer.
async fn total(admin: &Admin, app: &str, interval: Interval) -> Option<Usage> {
    let request = QueryUsageRequest {
        app_id: app.to_owned(),
        interval: interval.into(),
        page_size: 1_000,
        ..QueryUsageRequest::default()
    };
    let answer = admin.usage().query_usage(request).await.ok()?.into_inner();
    assert!(answer.next_page_token.is_empty());
    let mut total = Usage::default();
    for usage in answer.usage {
        total.messages_in += usage.messages_in;
        total.messages_out += usage.messages_out;
        total.bytes_in += usage.bytes_in;
        total.bytes_out += usage.bytes_out;
    }
    Some(total)
}
