//! The queue of webhook events while connections break and servers crash: what was pushed comes out, in order.

use std::time::Duration;

use backbone::{Backbone, Config, Consumer, IdempotencyId, Item};
use bytes::Bytes;
use testkit::{NatsCluster, Proxy, Signal, eventually, within};

use crate::checker::{app, config, connect};

const STREAM: &str = "fanfare-webhooks";

/// Pushes an event, again if an election takes longer than a push waits: with the same id it is in the queue once.
async fn push(backbone: &Backbone, number: usize) {
    let id = IdempotencyId::new(&format!("event-{number}")).unwrap();
    eventually("the queue to take the event", || async {
        backbone.webhook_queue().push(&app(), &id, Bytes::from(number.to_string())).await.ok()
    })
    .await
}

async fn next(consumer: &mut Consumer) -> (usize, Item) {
    let item = within("an event", consumer.next()).await.unwrap();
    (std::str::from_utf8(item.payload()).unwrap().parse().unwrap(), item)
}

/// Takes events until number `last` has come. Acknowledges with some delay, so that there is always something in hand.
async fn take_until(consumer: &mut Consumer, last: usize) -> Vec<usize> {
    let (mut seen, mut in_hand) = (Vec::new(), std::collections::VecDeque::new());
    while seen.last() != Some(&last) {
        let (number, item) = next(consumer).await;
        seen.push(number);
        in_hand.push_back(item);
        if in_hand.len() > 20 {
            in_hand.pop_front().unwrap().ack().await.unwrap();
        }
    }
    for item in in_hand {
        item.ack().await.unwrap();
    }
    seen
}

async fn is_empty(backbone: &Backbone) -> bool {
    let mut consumer = backbone.webhook_queue().consume().await.unwrap();
    tokio::time::timeout(Duration::from_secs(1), consumer.next()).await.is_err()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_cut_off_again_and_again() {
    let cluster = NatsCluster::start().await;
    let pushing = connect(&config(), vec![cluster.nodes()[1].url()]).await;
    let proxy = Proxy::start(cluster.nodes()[0].client_port()).await;
    let behind = Config { ignore_discovered_servers: true, ..config() };
    let cut_off = connect(&behind, vec![proxy.nats_url()]).await;
    let mut consumer = cut_off.webhook_queue().consume().await.unwrap();
    let load = async {
        for number in 0..600 {
            if number % 150 == 100 {
                proxy.cut();
                eventually("the consumer to notice", || async { (!cut_off.is_up()).then_some(()) }).await;
            }
            if number % 150 == 130 {
                proxy.mend();
                eventually("the consumer to be back", || async { cut_off.is_up().then_some(()) }).await;
            }
            push(&pushing, number).await;
        }
        // A cut with nothing behind it that would show a hole.
        proxy.cut();
        push(&pushing, 600).await;
        proxy.mend();
    };
    let ((), seen) = tokio::join!(load, take_until(&mut consumer, 600));
    assert_eq!(seen, (0..=600).collect::<Vec<_>>(), "in order, none twice, none missing");
    drop(consumer);
    assert!(is_empty(&pushing).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_queues_leader_is_killed() {
    let mut cluster = NatsCluster::start().await;
    let pushing = connect(&config(), cluster.urls_from(0)).await;
    let taking = connect(&config(), cluster.urls_from(1)).await;
    let mut consumer = taking.webhook_queue().consume().await.unwrap();
    let load = async {
        for number in 0..100 {
            push(&pushing, number).await;
        }
        let killed = cluster.stop_leader(STREAM, Signal::Kill).await;
        for number in 100..300 {
            push(&pushing, number).await;
        }
        cluster.node(killed).restart().await;
        for number in 300..400 {
            push(&pushing, number).await;
        }
    };
    let ((), seen) = tokio::join!(load, take_until(&mut consumer, 399));
    let mut once = Vec::new();
    for number in &seen {
        if !once.contains(number) {
            once.push(*number);
        }
    }
    println!("{} events came twice", seen.len() - once.len());
    assert_eq!(once, (0..400).collect::<Vec<_>>(), "in order, none missing");
    drop(consumer);
    assert!(is_empty(&pushing).await);
}
