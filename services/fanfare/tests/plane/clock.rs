//! One edge and one control replica are a minute ahead of the others.
//!
//! What is measured by a clock of each process alone (leases, shares, buckets) does not notice. What is agreed on as a
//! moment (until when an old secret is good, which minute a message is counted in) is off by as much as the clocks are.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use proto::control::{CreateAppRequest, ListNodesRequest, RotateKeyRequest};
use testkit::{PATIENCE, eventually};
use tokio::time::sleep;

use crate::cluster::Cluster;
use crate::failover::{LIMIT, accepted_over, has_all_of_the_limit, limited};
use crate::node::Node;
use crate::publisher::Credentials;
use crate::usage::total_by_hour;

/// Debian's package libfaketime, by architecture.
const LIBRARIES: [&str; 2] =
    ["/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1", "/usr/lib/aarch64-linux-gnu/faketime/libfaketime.so.1"];
/// By how much the two are ahead.
const SKEW: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn a_minute_is_survived() {
    let mut cluster = Cluster::prepare().await;
    set_ahead(&mut cluster.edges[1]);
    set_ahead(&mut cluster.control[0]);
    // Leads as long as it lives, since it is there first.
    cluster.control[0].start();
    cluster.control[0].ready().await;
    cluster.leader(&[0]).await;
    cluster.start_all();
    cluster.ready().await;
    clocks_differ(&cluster).await;

    let limited = cluster.create_app(1, limited()).await;
    quotas_hold(&mut cluster, &limited).await;
    usage_is_exact(&mut cluster).await;
    overlaps_are_off_by_the_skew(&mut cluster).await;
    cluster.control[0].kill().await;
    quotas_hold(&mut cluster, &limited).await;
    cluster.finish();
}

fn set_ahead(node: &mut Node) {
    let library = LIBRARIES.into_iter().find(|library| Path::new(library).exists());
    node.set("LD_PRELOAD", library.expect("libfaketime; apt-get install libfaketime"));
    node.set("FAKETIME", &format!("+{}s", SKEW.as_secs()));
    node.set("FAKETIME_DONT_FAKE_MONOTONIC", "1");
}

/// The library does what it should, nobody takes anybody for dead, and the doctor tells.
async fn clocks_differ(cluster: &Cluster) {
    // A node says what its clock shows in its reports, the first of which comes a moment after it has said who it is. On
    // a machine that stands still now and then, some of them come late.
    eventually("reports of clocks that differ", || async {
        let nodes = cluster.admin(1).nodes().list_nodes(ListNodesRequest {}).await.unwrap().into_inner().nodes;
        let have_said = nodes.iter().all(|node| node.load.is_some_and(|load| load.time_ms > 0));
        let clock = |name: &str| {
            let node = nodes.iter().find(|node| node.name == name)?;
            Some(node.load?.time_ms + node.age_ms)
        };
        let ahead = Duration::from_millis(clock("edge-1")?.saturating_sub(clock("edge-0")?));
        (have_said && ahead.abs_diff(SKEW) < Duration::from_secs(5)).then_some(())
    })
    .await;
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_fanfare"));
    doctor.args(["admin", "doctor", "--address", &cluster.control[1].control_url()]);
    let output = doctor.env("FANFARE_ADMIN_TOKEN", &cluster.token).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    // A minute is where a warning becomes a failure, and milliseconds decide.
    for node in ["edge-1", "control-0"] {
        assert!(text.contains(&format!("  clocks: the clock of {node}")), "{text}");
    }
}

/// The edge that is ahead gets its share like the others, and all together get no more than the limit.
async fn quotas_hold(cluster: &mut Cluster, limited: &Credentials) {
    // A lease ends while the machine stands still for seconds, but not again and again.
    for attempt in 1.. {
        let leader = cluster.leader(&[1, 2]).await;
        has_all_of_the_limit(cluster, limited, 0).await;
        has_all_of_the_limit(cluster, limited, 1).await;
        let publishers = [0, 1, 2].map(|edge| cluster.publisher(edge, limited));
        let accepted = accepted_over(publishers, Duration::from_secs(10)).await;
        println!("{accepted:?} in 10 s of {LIMIT} a second, replica {leader} leads");
        if cluster.leader(&[1, 2]).await == leader {
            accepted.is_in(LIMIT * 8..=LIMIT * 11 + 15);
            return;
        }
        assert!(attempt < 4, "leases end");
    }
}

/// Whatever the minute, nothing is lost and nothing is counted twice.
async fn usage_is_exact(cluster: &mut Cluster) {
    let app = cluster.create_app(0, CreateAppRequest::default()).await;
    for _ in 0..20 {
        for edge in 0..3 {
            assert_eq!(cluster.publisher(edge, &app).publish("c", "x").await.unwrap().status, 200);
        }
    }
    // What the edge that is ahead counts in the last minute of an hour is the next one's, which begins for others later.
    let deadline = Instant::now() + SKEW + PATIENCE;
    for replica in 0..3 {
        let admin = cluster.admin(replica);
        loop {
            let counted = total_by_hour(&admin, &app.app).await;
            assert!(counted.is_none_or(|counted| counted <= 63), "{counted:?}");
            if counted == Some(63) {
                break;
            }
            assert!(Instant::now() < deadline, "replica {replica} has counted {counted:?}");
            sleep(Duration::from_millis(100)).await;
        }
    }
}

async fn overlaps_are_off_by_the_skew(cluster: &mut Cluster) {
    let app = cluster.create_app(2, CreateAppRequest::default()).await;
    let long = rotate(cluster, &app, 2 * SKEW).await;
    for edge in 0..3 {
        assert_eq!(status(cluster, edge, &app).await, 200, "edge {edge}: the overlap is longer than the skew");
    }
    // Ended a while ago for the edge that is ahead, and ends in time for the others, but not before they are asked.
    let overlap = Duration::from_secs(20);
    let (begun, short) = (Instant::now(), rotate(cluster, &long, overlap).await);
    assert_eq!(status(cluster, 1, &long).await, 401);
    assert_eq!(status(cluster, 0, &long).await, 200);
    sleep((overlap + Duration::from_secs(1)).saturating_sub(begun.elapsed())).await;
    for edge in 0..3 {
        assert_eq!((status(cluster, edge, &long).await, status(cluster, edge, &short).await), (401, 200));
    }
}

/// By a replica whose clock is right.
async fn rotate(cluster: &mut Cluster, app: &Credentials, overlap: Duration) -> Credentials {
    let request = RotateKeyRequest {
        app_id: app.app.clone(),
        name: app.key.clone(),
        overlap_seconds: overlap.as_secs(),
        ..RotateKeyRequest::default()
    };
    let rotated = cluster.admin(2).keys().rotate_key(request).await.unwrap().into_inner();
    let rotated = cluster.rotated(app, rotated);
    for edge in &cluster.edges {
        cluster.serves(edge, &rotated).await;
    }
    rotated
}

async fn status(cluster: &Cluster, edge: usize, credentials: &Credentials) -> u16 {
    cluster.publisher(edge, credentials).publish("c", "x").await.unwrap().status
}
