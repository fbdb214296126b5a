//! Publishing over HTTP: checked whole, then sent; 200 only when the backbone has acknowledged everything.

use std::time::Instant;

use backbone::{Publish, PublishError, Publisher};
use channels::{ChannelName, ConnectionId, Message, Record, RecordKind};
use futures_util::future::join_all;
use hyper::StatusCode;
use pusher::api::{self, ApiError, Authenticated, Event};

use super::api::counts;
use super::{Reply, reply};
use crate::clock;
use crate::metrics::PublishResult;
use crate::server::Shared;

/// `POST /events`.
pub(super) async fn event(
    shared: &Shared,
    signed: &Authenticated<'_>,
    body: &[u8],
    begun: Instant,
) -> Result<Reply, ApiError> {
    let event = api::parse_event(body, signed.app, signed.key)?;
    let records = records(std::slice::from_ref(&event), clock::unix_ms());
    Ok(match publish(shared, signed, records, begun).await {
        Ok(()) => reply::ok(api::event_answer(&event, |channel| cluster_counts(shared, signed, channel))),
        Err(error) => failure(&error),
    })
}

/// `POST /batch_events`.
pub(super) async fn batch(
    shared: &Shared,
    signed: &Authenticated<'_>,
    body: &[u8],
    begun: Instant,
) -> Result<Reply, ApiError> {
    let events = api::parse_batch(body, signed.app, signed.key)?;
    let records = records(&events, clock::unix_ms());
    Ok(match publish(shared, signed, records, begun).await {
        Ok(()) => reply::ok(api::batch_answer(&events, |channel| cluster_counts(shared, signed, channel))),
        Err(error) => failure(&error),
    })
}

fn cluster_counts(shared: &Shared, signed: &Authenticated<'_>, channel: &ChannelName) -> api::Counts {
    counts(shared.occupancy.subscriptions(&signed.app.id, channel))
}

/// The records of a request, in order for each channel. Events that follow each other on one channel and leave out the
/// same connection are one record, which is stored and delivered as one.
fn records(events: &[Event], timestamp_ms: u64) -> Vec<(ChannelName, Record)> {
    let mut records: Vec<(ChannelName, Record)> = Vec::new();
    for event in events {
        for channel in &event.channels {
            let newest = records.iter_mut().rev().find(|(name, _)| name == channel);
            match newest.filter(|(_, record)| record.connection == event.exclude) {
                Some((_, record)) => record.messages.push(event.message.clone()),
                None => records.push((channel.clone(), record(&event.message, event.exclude.clone(), timestamp_ms))),
            }
        }
    }
    records
}

fn record(message: &Message, exclude: Option<ConnectionId>, timestamp_ms: u64) -> Record {
    let messages = vec![message.clone()];
    Record { kind: RecordKind::Messages, connection: exclude, client: None, timestamp_ms, messages }
}

/// Publishes all, each channel's in order. If some fail the answer is the most uncertain failure.
async fn publish(
    shared: &Shared,
    signed: &Authenticated<'_>,
    records: Vec<(ChannelName, Record)>,
    begun: Instant,
) -> Result<(), PublishError> {
    let publisher = Publisher::new(shared.backbone.clone());
    let publishes = records.into_iter().map(|(channel, record)| {
        let tier = signed.app.namespaces.tier(channel.as_str());
        let app = signed.app.id.clone();
        publisher.publish(Publish { app, channel, tier, record, idempotency: None })
    });
    // Every place in line is taken here, in order; the futures then run side by side.
    let publishes: Vec<_> = publishes.collect();
    let metrics = &shared.metrics.http;
    let mut failed = None;
    for result in join_all(publishes).await {
        metrics.result(PublishResult::of(&result)).increment(1);
        if let Err(error) = result {
            failed = Some(match (failed, error) {
                (Some(PublishError::UnknownOutcome), _) => PublishError::UnknownOutcome,
                (_, error) => error,
            });
        }
    }
    metrics.seconds.record(begun.elapsed().as_secs_f64());
    failed.map_or(Ok(()), Err)
}

fn failure(error: &PublishError) -> Reply {
    match error {
        PublishError::TooLarge => reply::error(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string()),
        PublishError::Unavailable => reply::unavailable(&error.to_string()),
        PublishError::UnknownOutcome => reply::refusal(&ApiError::OutcomeUnknown),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(name: &str, channels: &[&str], exclude: Option<&str>) -> Event {
        Event {
            message: Message::text(name, ""),
            channels: channels.iter().map(|name| ChannelName::new(name).unwrap()).collect(),
            exclude: exclude.map(|id| ConnectionId::new(id).unwrap()),
            info: None,
        }
    }

    #[test]
    fn one_record_for_what_belongs_together_and_order_kept() {
        let events = [
            event("1", &["a", "b"], None),
            event("2", &["b"], None),
            event("3", &["a"], Some("1.1")),
            event("4", &["a"], Some("1.1")),
            event("5", &["a"], None),
        ];
        let shown: Vec<_> = records(&events, 7)
            .into_iter()
            .map(|(channel, record)| {
                let names: String = record.messages.iter().filter_map(|message| message.name.clone()).collect();
                format!("{channel}:{names}")
            })
            .collect();
        assert_eq!(shown, ["a:1", "b:12", "a:34", "a:5"]);
    }
}
