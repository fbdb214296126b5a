//! The queue of webhook events. There is one for all cases, so each begins by emptying it.

use std::time::{Duration, Instant};

use backbone::{Consumer, IdempotencyId, Item, Queue, QueueError};
use bytes::Bytes;
use testkit::within;

use crate::support::*;

pub async fn cases(nodes: &Nodes) {
    events_come_out_in_order_until_acknowledged(nodes).await;
    an_id_counts_once_within_an_app(nodes).await;
    a_taker_gets_everything_that_is_not_acknowledged(nodes).await;
    takers_come_and_go_while_events_do(nodes).await;
    a_full_queue_refuses_what_comes(nodes).await;
    the_oldest_is_the_first_that_is_not_acknowledged(nodes).await;
}

fn id(text: &str) -> IdempotencyId {
    IdempotencyId::new(text).unwrap()
}

async fn push(queue: &Queue, text: &str) {
    let payload = Bytes::from(text.to_owned());
    queue.push(&app(), &id(text), payload).await.unwrap();
}

async fn next(consumer: &mut Consumer) -> Item {
    within("an event", consumer.next()).await.unwrap()
}

async fn next_text(consumer: &mut Consumer) -> String {
    String::from_utf8(next(consumer).await.payload().to_vec()).unwrap()
}

/// Whether nothing comes. The only way to see that nothing happens is to look for a while.
async fn is_silent(consumer: &mut Consumer) -> bool {
    tokio::time::timeout(Duration::from_millis(300), consumer.next()).await.is_err()
}

/// A consumer of an empty queue.
async fn emptied(queue: &Queue) -> Consumer {
    let mut consumer = queue.consume().await.unwrap();
    let empty = async {
        while !matches!(queue.oldest().await, Ok(None)) {
            // What was acknowledged is removed a little later.
            while let Ok(item) = tokio::time::timeout(Duration::from_millis(100), consumer.next()).await {
                item.unwrap().ack().await.unwrap();
            }
        }
    };
    within("an empty queue", empty).await;
    consumer
}

async fn events_come_out_in_order_until_acknowledged(nodes: &Nodes) {
    let (a, b) = (nodes.a.webhook_queue(), nodes.b.webhook_queue());
    let mut consumer = emptied(&a).await;
    // More than are asked for at a time.
    for text in numbers(0..100) {
        push(&b, &format!("order-{text}")).await;
    }
    let mut items = Vec::new();
    for text in numbers(0..100) {
        let item = next(&mut consumer).await;
        assert_eq!(item.payload(), &format!("order-{text}"));
        items.push(item);
    }
    assert!(is_silent(&mut consumer).await, "what is in hand does not come again");
    // In any order.
    items.reverse();
    for item in items {
        item.ack().await.unwrap();
    }
    let mut next_one = b.consume().await.unwrap();
    assert!(is_silent(&mut next_one).await, "all of it was acknowledged");
}

async fn an_id_counts_once_within_an_app(nodes: &Nodes) {
    let (a, b) = (nodes.a.webhook_queue(), nodes.b.webhook_queue());
    let mut consumer = emptied(&a).await;
    let (one, two) = (app(), app());
    a.push(&one, &id("same"), Bytes::from_static(b"first")).await.unwrap();
    b.push(&one, &id("same"), Bytes::from_static(b"again")).await.unwrap();
    b.push(&two, &id("same"), Bytes::from_static(b"other app")).await.unwrap();
    b.push(&one, &id("next"), Bytes::from_static(b"other id")).await.unwrap();
    for expected in ["first", "other app", "other id"] {
        let item = next(&mut consumer).await;
        assert_eq!(item.payload(), expected);
        item.ack().await.unwrap();
    }
    a.push(&one, &id("same"), Bytes::from_static(b"acknowledged meanwhile")).await.unwrap();
    assert!(is_silent(&mut consumer).await);
}

async fn a_taker_gets_everything_that_is_not_acknowledged(nodes: &Nodes) {
    let (a, b) = (nodes.a.webhook_queue(), nodes.b.webhook_queue());
    let mut before = emptied(&a).await;
    for text in ["t1", "t2", "t3", "t4", "t5"] {
        push(&a, text).await;
    }
    let (first, second, third) = (next(&mut before).await, next(&mut before).await, next(&mut before).await);
    second.ack().await.unwrap();
    drop(first);
    let mut after = b.consume().await.unwrap();
    for expected in ["t1", "t3", "t4", "t5"] {
        assert_eq!(next_text(&mut after).await, expected);
    }
    // What had been on its way to the former taker may still come out there, but then it ends.
    let end = async { while before.next().await.is_some() {} };
    within("the former consumer to end", end).await;
    assert!(is_silent(&mut after).await, "the new consumer is not disturbed");
    // An acknowledgement by the former taker comes too late, or counts.
    third.ack().await.ok();
    push(&b, "t6").await;
    assert_eq!(next_text(&mut after).await, "t6");
}

async fn takers_come_and_go_while_events_do(nodes: &Nodes) {
    let (a, b) = (nodes.a.webhook_queue(), nodes.b.webhook_queue());
    drop(emptied(&a).await);
    let pushing = async {
        for text in numbers(0..200) {
            push(&a, &format!("turn-{text}")).await;
        }
    };
    let taking = async {
        let mut seen = Vec::new();
        let mut turn = 0;
        while seen.len() < 200 {
            turn += 1;
            let queue = if turn % 2 == 0 { &a } else { &b };
            let mut consumer = queue.consume().await.unwrap();
            for _ in 0..40.min(200 - seen.len()) {
                let item = next(&mut consumer).await;
                seen.push(String::from_utf8(item.payload().to_vec()).unwrap());
                item.ack().await.unwrap();
            }
        }
        seen
    };
    let ((), seen) = tokio::join!(pushing, taking);
    let expected: Vec<_> = numbers(0..200).into_iter().map(|text| format!("turn-{text}")).collect();
    assert_eq!(seen, expected, "in order, none twice, none missing");
}

async fn a_full_queue_refuses_what_comes(nodes: &Nodes) {
    let queue = nodes.a.webhook_queue();
    let mut consumer = emptied(&queue).await;
    let app = app();
    let payload = Bytes::from(vec![b'x'; 8 << 10]);
    let mut accepted = 0_usize;
    let refused = loop {
        match queue.push(&app, &id(&format!("full-{accepted}")), payload.clone()).await {
            Ok(()) => accepted += 1,
            Err(error) => break error,
        }
        assert!(accepted < 100, "the bound is 128 KiB");
    };
    assert!(matches!(refused, QueueError::Full), "{refused:?}");
    assert!(accepted >= 8, "{accepted}");
    next(&mut consumer).await.ack().await.unwrap();
    let again = testkit::eventually("room for one more", || async {
        queue.push(&app, &id("full-again"), payload.clone()).await.ok()
    });
    again.await;
    for _ in 0..accepted {
        next(&mut consumer).await.ack().await.unwrap();
    }
    let huge = Bytes::from(vec![b'x'; 2 << 20]);
    assert!(matches!(queue.push(&app, &id("huge"), huge).await, Err(QueueError::TooLarge)));
}

async fn the_oldest_is_the_first_that_is_not_acknowledged(nodes: &Nodes) {
    let (a, b) = (nodes.a.webhook_queue(), nodes.b.webhook_queue());
    let mut consumer = emptied(&a).await;
    testkit::eventually("an empty queue", || async { b.oldest().await.ok()?.is_none().then_some(()) }).await;
    let begun = Instant::now();
    push(&a, "old").await;
    let pushed = Instant::now();
    let first = next(&mut consumer).await;
    testkit::eventually("time to pass", || async { (pushed.elapsed() > Duration::from_millis(300)).then_some(()) })
        .await;
    push(&a, "young").await;
    let age = b.oldest().await.unwrap().expect("one was taken out, and none acknowledged");
    assert!(age >= Duration::from_millis(300) && age <= begun.elapsed(), "{age:?}");
    first.ack().await.unwrap();
    // What was acknowledged is removed a little later.
    testkit::eventually("the young one to be the oldest", || async {
        b.oldest().await.ok().flatten().filter(|age| *age < pushed.elapsed() - Duration::from_millis(250))
    })
    .await;
    next(&mut consumer).await.ack().await.unwrap();
    testkit::eventually("an empty queue", || async { b.oldest().await.ok()?.is_none().then_some(()) }).await;
}
