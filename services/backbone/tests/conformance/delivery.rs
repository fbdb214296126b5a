//! Attach and live delivery.

use std::cell::Cell;
use std::time::Duration;

use backbone::{Backbone, Delivery, Publisher};
use channels::{Message, Tier};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use crate::support::*;

/// Longer than an attachment waits before it looks at its channel's head again.
const SECOND_LOOK: Duration = Duration::from_millis(1_500);

pub async fn cases(nodes: &Nodes) {
    every_subscriber_gets_everything_once_in_order(nodes).await;
    nothing_after_an_attach_is_missed(nodes).await;
    apps_and_odd_names_are_apart(nodes).await;
    ephemeral_passes_by(nodes).await;
    client_events_travel_with_stored_records(nodes).await;
    a_record_is_whole(nodes).await;
    who_falls_behind_catches_up(nodes).await;
    who_falls_behind_too_far_is_told(nodes).await;
    a_change_of_tier_is_told(nodes).await;
    the_end_of_an_attachment_ends_its_delivery(nodes).await;
    others_in_the_shard_do_not_trouble_an_empty_channel(nodes).await;
    eviction_during_a_repair_is_told(nodes).await;
}

/// A channel without messages takes its place from its shard, where others go on.
async fn others_in_the_shard_do_not_trouble_an_empty_channel(nodes: &Nodes) {
    let app = app();
    let mut attachments = Vec::new();
    for number in 0..8 {
        attachments.push(attach(&nodes.b, &app, &format!("quiet-{number}")).await);
    }
    for number in 0..32 {
        send(&nodes.a, &app, &format!("noise-{number}"), "noise").await;
    }
    // Longer than the second look that each attach takes.
    let silence = attachments.iter_mut().map(|attachment| tokio::time::timeout(SECOND_LOOK, attachment.next()));
    for heard in futures_util::future::join_all(silence).await {
        assert!(heard.is_err(), "an empty channel heard {heard:?}");
    }
    send(&nodes.a, &app, "quiet-3", "first").await;
    assert_eq!(next_record(&mut attachments[3]).await.1, "first");
}

/// A slow reader repairs itself while the publisher goes on, so that messages leave the log under its hands.
async fn eviction_during_a_repair_is_told(nodes: &Nodes) {
    let app = app();
    let mut attachment = attach(&nodes.b, &app, "busy").await;
    let publishing = async {
        let publish = |number: usize| send(&nodes.a, &app, "busy", Box::leak(number.to_string().into_boxed_str()));
        for first in (0..1_200).step_by(40) {
            futures_util::future::join_all((first..first + 40).map(publish)).await;
            tokio::task::yield_now().await;
        }
        send(&nodes.a, &app, "busy", "end").await;
    };
    let reading = async {
        let (mut previous, mut untold, mut gap) = (attachment.head().sequence, 0, false);
        loop {
            match next(&mut attachment).await {
                Delivery::Gap(_) => gap = true,
                Delivery::Record(position, record) => {
                    let sequence = position.unwrap().sequence;
                    assert!(sequence > previous, "order");
                    // Nobody else publishes to this shard now, so the channel's sequences have no holes of their own.
                    if sequence != previous + 1 && !gap {
                        untold += 1;
                    }
                    (previous, gap) = (sequence, false);
                    if text(&record) == "end" {
                        return untold;
                    }
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
        }
    };
    let ((), untold) = tokio::join!(publishing, reading);
    assert_eq!(untold, 0, "holes that no gap told of");
}

async fn every_subscriber_gets_everything_once_in_order(nodes: &Nodes) {
    let app = app();
    let mut on_a = attach(&nodes.a, &app, "room").await;
    let mut on_b = attach(&nodes.b, &app, "room").await;
    let publisher = Publisher::new(nodes.b.clone());
    let publishing = async {
        let mut waiting = FuturesUnordered::new();
        // No more than the history keeps, since nothing slows this publisher down.
        for number in 0..90 {
            waiting.push(publisher.publish(publish(&app, "room", Tier::Recoverable, &number.to_string())));
        }
        while let Some(published) = waiting.next().await {
            published.unwrap();
        }
    };
    let ((), a, b) = tokio::join!(publishing, next_texts(&mut on_a, 90), next_texts(&mut on_b, 90));
    assert_eq!(a, numbers(0..90));
    assert_eq!(b, a);
    assert!(is_silent(&mut on_a).await && is_silent(&mut on_b).await);
}

/// Attaches again and again while somebody publishes: what was published after an attach returned must arrive.
async fn nothing_after_an_attach_is_missed(nodes: &Nodes) {
    let app = app();
    // How many may come in this round. No more than the history keeps: the marker may wait for an election.
    let room = Cell::new(0);
    let publishing = async {
        for number in 0_u64.. {
            while room.get() == 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            room.update(|room| room - 1);
            send(&nodes.a, &app, "busy", &number.to_string()).await;
            // In process a publish never waits.
            tokio::task::yield_now().await;
        }
    };
    let attaching = async {
        for round in 0..25 {
            room.set(90);
            let mut attachment = attach(&nodes.b, &app, "busy").await;
            let marker = format!("marker {round}");
            let head = attachment.head().sequence;
            let marked = send(&nodes.b, &app, "busy", &marker).await;
            let mut previous = head;
            loop {
                let (position, text) = next_record(&mut attachment).await;
                let sequence = position.unwrap().sequence;
                assert!(sequence > previous, "in order, and nothing from before the head");
                previous = sequence;
                if text == marker {
                    assert_eq!(position, Some(marked));
                    break;
                }
            }
        }
    };
    tokio::select! {
        () = publishing => unreachable!("publishes without end"),
        () = attaching => {}
    }
}

async fn apps_and_odd_names_are_apart(nodes: &Nodes) {
    let (one, other) = (app(), app());
    let names = ["a", "*", ">", "a.b", "a b", "ü", "=2A", &"long.".repeat(100)];
    let mut attachments = Vec::new();
    for name in names {
        attachments.push((name, attach(&nodes.b, &one, name).await));
    }
    for name in names {
        send(&nodes.a, &other, name, "not for you").await;
        send(&nodes.a, &one, name, name).await;
    }
    for (name, mut attachment) in attachments {
        assert_eq!(next_record(&mut attachment).await.1, name);
        assert!(is_silent(&mut attachment).await, "{name} got somebody else's message");
    }
}

async fn ephemeral_passes_by(nodes: &Nodes) {
    let app = app();
    let mut attachment = attach_to(&nodes.b, &app, "cursor", Tier::Ephemeral).await;
    for number in 0..20 {
        let published = nodes.a.publish(publish(&app, "cursor", Tier::Ephemeral, &number.to_string())).await.unwrap();
        assert_eq!(published.position, None);
    }
    for number in 0..20 {
        assert_eq!(next_record(&mut attachment).await, (None, number.to_string()));
    }
}

async fn client_events_travel_with_stored_records(nodes: &Nodes) {
    let app = app();
    let mut attachment = attach(&nodes.b, &app, "room").await;
    nodes.a.publish(publish(&app, "room", Tier::Ephemeral, "typing")).await.unwrap();
    assert_eq!(next_record(&mut attachment).await, (None, "typing".to_owned()));
    let position = send(&nodes.a, &app, "room", "stored").await;
    assert_eq!(next_record(&mut attachment).await, (Some(position), "stored".to_owned()));
}

async fn a_record_is_whole(nodes: &Nodes) {
    let app = app();
    let mut attachment = attach(&nodes.b, &app, "room").await;
    let mut whole = publish(&app, "room", Tier::Recoverable, "");
    whole.record.messages = (0..5).map(|i| Message::text("e", vec![i; 1000])).collect();
    nodes.a.publish(whole.clone()).await.unwrap();
    match next(&mut attachment).await {
        Delivery::Record(Some(_), record) => assert_eq!(*record, whole.record),
        other => panic!("unexpected {other:?}"),
    }
}

/// Publishes far more than the attachment's buffer while nobody reads it, but no more than the history keeps.
async fn who_falls_behind_catches_up(nodes: &Nodes) {
    let app = app();
    let mut attachment = attach(&nodes.b, &app, "slow").await;
    for number in 0..90 {
        send(&nodes.a, &app, "slow", &number.to_string()).await;
    }
    assert_eq!(next_texts(&mut attachment, 90).await, numbers(0..90));
    assert!(is_silent(&mut attachment).await);
}

async fn who_falls_behind_too_far_is_told(nodes: &Nodes) {
    let app = app();
    let mut attachment = attach(&nodes.b, &app, "slow").await;
    fill(&nodes.a, &app, "slow", 400).await;
    let (mut seen, mut gaps) = (Vec::<usize>::new(), 0);
    while seen.last() != Some(&399) {
        match next(&mut attachment).await {
            Delivery::Record(_, record) => seen.push(text(&record).parse().unwrap()),
            Delivery::Gap(gap) => {
                assert!(gap.resumes.sequence > gap.after.sequence);
                gaps += 1;
                seen.push(usize::MAX);
            }
        }
    }
    assert!(gaps >= 1, "{} of 400 arrived, and nothing said so", seen.len());
    let mut previous = None;
    for number in seen {
        if number == usize::MAX {
            previous = None;
            continue;
        }
        assert!(previous.is_none_or(|previous| number == previous + 1), "a hole without a gap before {number}");
        previous = Some(number);
    }
}

async fn fill(backbone: &Backbone, app: &channels::AppId, name: &str, count: usize) {
    for number in 0..count {
        send(backbone, app, name, &number.to_string()).await;
    }
}

async fn a_change_of_tier_is_told(nodes: &Nodes) {
    let app = app();
    let mut attachment = attach(&nodes.b, &app, "room").await;
    send(&nodes.a, &app, "room", "short").await;
    assert_eq!(next_record(&mut attachment).await.1, "short");
    if matches!(nodes.a, Backbone::Memory(_)) {
        // One log serves all tiers there, so nothing breaks.
        return;
    }
    let persistent = Tier::Persistent { retention: Duration::from_secs(3600) };
    let published = nodes.a.publish(publish(&app, "room", persistent, "long")).await.unwrap();
    assert!(matches!(next(&mut attachment).await, Delivery::Gap(gap) if gap.resumes.epoch != gap.after.epoch));
    assert_eq!(next_record(&mut attachment).await, (published.position, "long".to_owned()));
}

async fn the_end_of_an_attachment_ends_its_delivery(nodes: &Nodes) {
    let app = app();
    drop(attach(&nodes.b, &app, "room").await);
    let missed = send(&nodes.a, &app, "room", "nobody is here").await;
    let mut attachment = attach(&nodes.b, &app, "room").await;
    assert_eq!(attachment.head(), missed);
    send(&nodes.a, &app, "room", "somebody is here").await;
    assert_eq!(next_record(&mut attachment).await.1, "somebody is here");
}
