//! Servers that crash or stop and connections that break, under load.

use std::time::Duration;

use testkit::{NatsCluster, Proxy, Signal};

use crate::checker::*;

/// Enough publishes in flight that a crash catches some half-way.
const CHANNELS: usize = 128;

#[derive(Clone, Copy, PartialEq)]
enum Victim {
    Leader,
    Follower,
}

/// Runs load through all three servers while one of them ends and comes back.
async fn server_ends(victim: Victim, signal: Signal) {
    let mut cluster = NatsCluster::start().await;
    let handles = connect_each(&config(), &cluster).await;
    let mut subscribers = Vec::new();
    for handle in &handles {
        subscribers.push(Subscribers::start(attach_all(handle, CHANNELS).await));
    }
    let load = Load::start(&handles, CHANNELS);
    load.accept(3_000).await;
    let ended = match victim {
        Victim::Leader => cluster.stop_leader(STREAM, signal).await,
        Victim::Follower => cluster.stop_follower(STREAM, signal).await,
    };
    // Publishing goes on as soon as there is a leader, with one server missing.
    load.accept(2_000).await;
    cluster.node(ended).restart().await;
    load.accept(1_000).await;
    let accepted = load.stop().await;

    let histories = check_history(&handles[0], &accepted).await;
    let total: usize = accepted.values().map(Vec::len).sum();
    let mut gaps = 0;
    for subscribers in subscribers {
        let seen = subscribers.finish(&ends(&accepted), "every subscriber to have everything").await;
        gaps += check_seen(&seen, &histories);
    }
    println!("{total} accepted, all in history; 3 subscribers of {CHANNELS} channels have them all; {gaps} gaps told");
    assert_eq!(gaps, 0, "the history is long enough to fill every hole");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed() {
    server_ends(Victim::Leader, Signal::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_is_killed() {
    server_ends(Victim::Follower, Signal::Kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_stops_orderly() {
    server_ends(Victim::Leader, Signal::Terminate).await;
}

/// The leader dies and nobody publishes anything afterwards that would show a hole.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_is_killed_and_all_fall_silent() {
    let mut cluster = NatsCluster::start().await;
    let handles = connect_each(&config(), &cluster).await;
    let mut subscribers = Vec::new();
    for handle in &handles {
        subscribers.push(Subscribers::start(attach_all(handle, CHANNELS).await));
    }
    let load = Load::start(&handles, CHANNELS);
    load.accept(3_000).await;
    cluster.stop_leader(STREAM, Signal::Kill).await;
    // What is under way is retried until it is accepted; then each channel is silent.
    let accepted = load.stop().await;
    let histories = check_history(&handles[0], &accepted).await;
    for subscribers in subscribers {
        let seen =
            subscribers.finish(&ends(&accepted), "every subscriber of a silent channel to have everything").await;
        assert_eq!(check_seen(&seen, &histories), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edge_is_cut_off_for_some_seconds() {
    let cluster = NatsCluster::start().await;
    let publishing = connect_each(&config(), &cluster).await;
    let proxy = Proxy::start(cluster.nodes()[0].client_port()).await;
    let config = backbone::Config { ignore_discovered_servers: true, ..config() };
    let cut_off = connect(&config, vec![proxy.nats_url()]).await;
    let subscribers = Subscribers::start(attach_all(&cut_off, CHANNELS).await);
    let load = Load::start(&publishing, CHANNELS);
    load.accept(1_000).await;
    proxy.cut();
    testkit::eventually("the edge to notice", || async { (!cut_off.is_up()).then_some(()) }).await;
    // Longer than a blink: it must try again several times.
    let some_seconds = tokio::time::Instant::now() + Duration::from_secs(3);
    load.accept(2_000).await;
    tokio::time::sleep_until(some_seconds).await;
    let accepted = load.stop().await;
    // All that was published meanwhile was missed, and nothing follows.
    proxy.mend();
    let histories = check_history(&publishing[0], &accepted).await;
    let seen = subscribers.finish(&ends(&accepted), "the edge to catch up").await;
    assert_eq!(check_seen(&seen, &histories), 0);
}

/// What could not be published while cut off must not turn up when the connection comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_published_after_it_was_given_up() {
    let cluster = NatsCluster::start().await;
    let proxy = Proxy::start(cluster.nodes()[0].client_port()).await;
    let short = Duration::from_secs(15);
    let config = backbone::Config { ignore_discovered_servers: true, publish_deadline: short, ..config() };
    let cut_off = connect(&config, vec![proxy.nats_url()]).await;
    cut_off.publish(publish(&channel(0), "0".to_owned())).await.unwrap();
    proxy.cut();
    testkit::eventually("the edge to notice", || async { (!cut_off.is_up()).then_some(()) }).await;
    let given_up = cut_off.publish(publish(&channel(0), "late".to_owned())).await;
    assert!(matches!(given_up, Err(backbone::PublishError::Unavailable)), "{given_up:?}");
    proxy.mend();
    testkit::eventually("the edge to be back", || async { cut_off.is_up().then_some(()) }).await;
    let last = cut_off.publish(publish(&channel(0), "1".to_owned())).await.unwrap().position.unwrap();
    let accepted = std::collections::HashMap::from([(0, vec![first_position(&cut_off).await, last])]);
    check_history(&cut_off, &accepted).await;
}

async fn first_position(backbone: &backbone::Backbone) -> channels::Position {
    let query = backbone::HistoryQuery::all(app(), channel(0), channels::Tier::Recoverable);
    backbone.history(query).await.unwrap().records[0].position
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_subscriber_falls_behind() {
    let cluster = NatsCluster::start().await;
    let handles = connect_each(&config(), &cluster).await;
    let slow = connect(&backbone::Config { attach_buffer: 16, ..config() }, vec![cluster.nodes()[0].url()]).await;
    let attachments = attach_all(&slow, 8).await;
    let load = Load::start(&handles, 8);
    // Nobody reads: buffers overflow many times.
    load.accept(3_000).await;
    let subscribers = Subscribers::start(attachments);
    load.accept(500).await;
    let accepted = load.stop().await;
    let histories = check_history(&handles[0], &accepted).await;
    let seen = subscribers.finish(&ends(&accepted), "the slow subscriber to catch up").await;
    assert_eq!(check_seen(&seen, &histories), 0);
}
