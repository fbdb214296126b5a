//! Receivers that fail, hang, are slow or dead.

use std::time::Duration;

use crate::on_both;
use crate::support::*;

on_both!(
    a_failing_receiver_gets_everything_in_order,
    a_hanging_receiver_is_asked_again,
    a_dead_receiver_loses_nothing,
    a_slow_receiver_is_asked_for_many_channels_at_once,
    one_receiver_does_not_delay_another,
    a_poisoned_channel_does_not_delay_others,
);

fn numbered(channel: &str, count: usize) -> Vec<String> {
    (0..count).map(|number| format!("client_event {channel} client-x {number}")).collect()
}

async fn a_failing_receiver_gets_everything_in_order(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    hook.first([500, 503, 404, 301, 500, 418, 500].map(Manner::Answer));
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let _worker = site.work(config());
    for number in 0..10 {
        site.client_event("private-a", &number.to_string()).await;
        site.client_event("private-b", &number.to_string()).await;
    }
    let told = hook.wait_for(20).await;
    for channel in ["private-a", "private-b"] {
        assert_eq!(of_channel(&told, channel), numbered(channel, 10));
    }
    assert_eq!(hook.received().len(), 27, "each failure is one retry, and nothing is sent twice");
    assert!(site.backbone.dead_letters().list(&site.app, None, 1).await.unwrap().letters.is_empty());
}

async fn a_hanging_receiver_is_asked_again(variant: Variant) {
    let hook = Hook::start(Manner::Answer(200)).await;
    hook.first([Manner::Hang, Manner::Hang]);
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    // Longer than a good answer takes when the machine stalls: what is given up is sent again.
    let _worker = site.work(worker::Config { request_timeout: Duration::from_secs(3), ..config() });
    for number in 0..5 {
        site.client_event("private-a", &number.to_string()).await;
    }
    assert_eq!(hook.wait_for(5).await, numbered("private-a", 5));
    assert_eq!(hook.received().len(), 7);
}

async fn a_dead_receiver_loses_nothing(variant: Variant) {
    let mut hook = Hook::start(Manner::Answer(200)).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    let _worker = site.work(config());
    site.client_event("private-a", "0").await;
    hook.wait_for(1).await;
    hook.die().await;
    for number in 1..50 {
        site.client_event("private-a", &number.to_string()).await;
    }
    let edge = site.edge().await;
    edge.count("b", 1).await;
    // Long enough for many attempts.
    tokio::time::sleep(Duration::from_secs(2)).await;
    hook.revive().await;
    let told = hook.wait_for(52).await;
    assert_eq!(of_channel(&told, "private-a"), numbered("private-a", 50));
    assert_eq!(of_channel(&told, "b"), ["channel_occupied b", "subscription_count b 1"]);
}

async fn a_slow_receiver_is_asked_for_many_channels_at_once(variant: Variant) {
    // Asked for one channel after the other, it would never answer.
    let hook = Hook::start(Manner::Slow { together: 16, pause: Duration::from_millis(100) }).await;
    let site = Site::start(variant, vec![webhook(&hook)]).await;
    for number in 0..3 {
        for channel in 0..40 {
            site.client_event(&format!("private-{channel}"), &number.to_string()).await;
        }
    }
    let _worker = site.work(worker::Config { request_timeout: Duration::from_secs(600), ..config() });
    let told = hook.wait_for(120).await;
    assert_eq!(hook.most_under_way(), 16);
    for channel in 0..40 {
        let channel = format!("private-{channel}");
        assert_eq!(of_channel(&told, &channel), numbered(&channel, 3));
    }
}

async fn one_receiver_does_not_delay_another(variant: Variant) {
    let good = Hook::start(Manner::Answer(200)).await;
    let hanging = Hook::start(Manner::Hang).await;
    let mut dead = Hook::start(Manner::Answer(200)).await;
    let webhooks = vec![webhook(&hanging), webhook(&dead), webhook(&good)];
    dead.die().await;
    let site = Site::start(variant, webhooks).await;
    // Longer than anybody here waits.
    let _worker = site.work(worker::Config { request_timeout: Duration::from_secs(600), ..config() });
    // More channels than may be asked for at once, so that the hanging one has nothing free.
    for number in 0..10 {
        for channel in 0..20 {
            site.client_event(&format!("private-{channel}"), &number.to_string()).await;
        }
    }
    let told = good.wait_for(200).await;
    for channel in 0..20 {
        let channel = format!("private-{channel}");
        assert_eq!(of_channel(&told, &channel), numbered(&channel, 10));
    }
    assert!(hanging.events().is_empty());
}

async fn a_poisoned_channel_does_not_delay_others(variant: Variant) {
    // A receiver that takes everything but one channel's events.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut serving = tokio::task::JoinSet::new();
    let (taken, mut events) = tokio::sync::mpsc::unbounded_channel();
    serving.spawn(async move {
        let mut connections = tokio::task::JoinSet::new();
        while let Ok((socket, _)) = listener.accept().await {
            let taken = taken.clone();
            let service = hyper::service::service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
                let taken = taken.clone();
                async move {
                    let body = http_body_util::BodyExt::collect(request.into_body()).await?.to_bytes();
                    let text = String::from_utf8(body.to_vec()).unwrap();
                    let mut response = hyper::Response::new(http_body_util::Full::new(bytes::Bytes::new()));
                    if text.contains("private-poison") {
                        *response.status_mut() = hyper::StatusCode::INTERNAL_SERVER_ERROR;
                    } else {
                        taken.send(text).ok();
                    }
                    Ok::<_, hyper::Error>(response)
                }
            });
            connections.spawn(async move {
                let io = hyper_util::rt::TokioIo::new(socket);
                hyper::server::conn::http1::Builder::new().serve_connection(io, service).await.ok();
            });
        }
    });
    let site = Site::start(variant, vec![webhook_to(&url)]).await;
    let _worker = site.work(config());
    for _ in 0..5 {
        site.client_event("private-poison", "x").await;
    }
    for number in 0..5 {
        site.client_event("private-good", &number.to_string()).await;
    }
    for number in 0..5 {
        let text = testkit::within("an event of the good channel", events.recv()).await.unwrap();
        assert!(text.contains(&format!(r#""data":"{number}""#)), "{text}");
    }
}
