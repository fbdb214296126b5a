//! Who divides the quotas, and what nodes get.

use std::time::Duration;

use backbone::{Backbone, Bucket, NatsConfig, StartError};
use channels::Quota;
use testkit::{Nats, PATIENCE, Proxy, eventually};
use tokio::time::Instant;

use super::support::{LEASE_TTL, Node, Replica, memory, messages_in, register};

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_more_gets_what_others_leave() {
    let backbone = memory();
    let replica = Replica::start(&backbone).await;
    replica.leads().await;
    let app = register(&backbone, "1", messages_in(100)).await;
    let (x, y) = (Node::start(&backbone).await, Node::start(&backbone).await);
    replica.sees(2).await;
    let at_x = x.press(&app);
    at_x.reaches(90.0).await;
    let at_y = y.press(&app);
    at_y.reaches(40.0).await;
    eventually("half for each, and all of it for both", || async {
        let (rate_x, rate_y) = tokio::join!(at_x.rate(), at_y.rate());
        ((90.0..=110.0).contains(&(rate_x + rate_y)) && (40.0..=60.0).contains(&rate_x)).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_connections_move_the_share() {
    let backbone = memory();
    let replica = Replica::start(&backbone).await;
    replica.leads().await;
    let app = register(&backbone, "1", Quota { connections: Some(100), ..Quota::default() }).await;
    let (x, _y) = (Node::start(&backbone).await, Node::start(&backbone).await);
    replica.sees(2).await;
    let meter = x.meters.meter(&app);
    let begun = Instant::now();
    eventually("most of the connections on one node", || async {
        while meter.connect().is_ok() {}
        (meter.connections() >= 90).then_some(())
    })
    .await;
    println!("90 of 100 connections on one of two nodes after {:?}", begun.elapsed());
    assert!(meter.connections() <= 100);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_replica_takes_over_from_one_that_is_killed() {
    let backbone = memory();
    let first = Replica::start(&backbone).await;
    first.leads().await;
    let second = Replica::start(&backbone).await;
    let app = register(&backbone, "1", messages_in(100)).await;
    let (x, y) = (Node::start(&backbone).await, Node::start(&backbone).await);
    first.sees(2).await;
    second.sees(2).await;
    let at_x = x.press(&app);
    at_x.reaches(90.0).await;
    let before = first.link.term().unwrap();

    let killed = Instant::now();
    drop(first);
    drop(at_x);
    // Only shares of a new leader let it have more than half.
    let at_y = y.press(&app);
    second.leads().await;
    let elected = killed.elapsed();
    assert!(second.link.term().unwrap() > before);
    at_y.reaches(90.0).await;
    let flowing = killed.elapsed();
    assert!(elected < LEASE_TTL * 5, "elected after {elected:?}, shares after {flowing:?}");
    println!("another leader after {elected:?}, shares by demand seen after {flowing:?} (lease {LEASE_TTL:?})");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_in_order_is_followed_at_once() {
    let backbone = memory();
    // Longer than anybody here waits, even a fraction of it.
    let long = Duration::from_secs(600);
    let first = Replica::start_with(&backbone, long).await;
    first.leads().await;
    let second = Replica::start_with(&backbone, long).await;
    let node = Node::start(&backbone).await;
    first.sees(1).await;
    second.sees(1).await;
    first.stop().await;
    second.leads().await;
    second.sees(1).await;
    assert!(!node.drain.is_cancelled());
}

/// Without any replica: what a node may do is the limit divided by the live edges; never nothing, never everything.
#[tokio::test(flavor = "multi_thread")]
async fn without_a_control_plane_nodes_keep_to_their_part() {
    let backbone = memory();
    let app = register(&backbone, "1", messages_in(100)).await;
    let (x, _y) = (Node::start(&backbone).await, Node::start(&backbone).await);
    let at_x = x.press(&app);
    eventually("its part", || async { (45.0..=55.0).contains(&at_x.rate().await).then_some(()) }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_knows_what_is_stored() {
    let backbone = memory();
    let first = Replica::start(&backbone).await;
    first.leads().await;
    let app = register(&backbone, "1", Quota { history_bytes: Some(10_000), ..Quota::default() }).await;
    let node = Node::start(&backbone).await;
    first.sees(1).await;
    let hour = Some(Duration::from_secs(60 * 60));
    node.meters.meter(&app).publish(1, 1234, hour, std::time::Instant::now()).unwrap();
    let kv = backbone.kv(Bucket::Cluster);
    eventually("it to be written", || async { kv.get("history.1").await.unwrap() }).await;
    // Nobody else has heard of it.
    drop(node);
    let second = Replica::start(&backbone).await;
    assert_eq!(second.link.live_usage(&app.id).history_bytes, 0);
    drop(first);
    second.leads().await;
    assert_eq!(second.link.live_usage(&app.id).history_bytes, 1234);
}

async fn connect(url: String) -> Backbone {
    let config = backbone::Config {
        shards: 4,
        replicas: 1,
        webhook_queue_bytes: 128 << 10,
        ignore_discovered_servers: true,
        ..backbone::Config::default()
    };
    let nats = NatsConfig { urls: vec![url], ..NatsConfig::default() };
    eventually("the backbone to start", || async {
        match Backbone::connect(&config, &nats).await {
            Ok(backbone) => Some(backbone),
            Err(StartError::Unreachable(_)) => None,
            Err(StartError::Refused(sentence)) => panic!("refused: {sentence}"),
        }
    })
    .await
}

/// The leader is cut off from NATS and does not hear that it is replaced; the nodes still hear both.
#[tokio::test(flavor = "multi_thread")]
async fn two_replicas_never_lead_at_one_time() {
    let nats = Nats::start().await;
    let proxy = Proxy::start(nats.client_port()).await;
    let (behind, direct) = (connect(proxy.nats_url()).await, connect(nats.url()).await);
    let cut_off = Replica::start(&behind).await;
    cut_off.leads().await;
    let other = Replica::start(&direct).await;
    let app = register(&direct, "1", messages_in(100)).await;
    let (x, y) = (Node::start(&direct).await, Node::start(&direct).await);
    cut_off.sees(2).await;
    other.sees(2).await;
    let at_x = x.press(&app);
    at_x.reaches(90.0).await;
    let before = cut_off.link.term().unwrap();

    proxy.cut();
    let cut = Instant::now();
    let mut led = Duration::ZERO;
    let elected = loop {
        // Before the look, which a machine that stalls may make late.
        let looked = cut.elapsed();
        // In this order: whoever reads the other one first may see the end of one term and the beginning of the next.
        let (new, old) = (other.link.term(), cut_off.link.term());
        assert!(new.is_none() || old.is_none(), "both lead");
        if old.is_some() {
            led = looked;
        }
        if new.is_some() {
            break cut.elapsed();
        }
        assert!(cut.elapsed() < PATIENCE, "nobody takes over");
        tokio::time::sleep(Duration::from_millis(2)).await;
    };
    assert!(led < LEASE_TTL, "it stops before its lease ends, by its own clock: {led:?}");
    assert!(other.link.term().unwrap() > before);
    println!("cut off: leads for {led:?}, the other leads after {elected:?} (lease {LEASE_TTL:?})");

    // The nodes are still attached to both, and heed the new one.
    cut_off.sees(2).await;
    drop(at_x);
    y.press(&app).reaches(90.0).await;

    proxy.mend();
    eventually("the replica that was cut off to be back", || async {
        let members = cut_off.link.members();
        (members.leader.is_some_and(|leader| leader.node == other.link.id()) && members.replicas.len() == 2)
            .then_some(())
    })
    .await;
    assert!(!cut_off.link.is_leader());
}
