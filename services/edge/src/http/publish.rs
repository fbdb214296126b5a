//! Publishing over HTTP: checked whole, counted against the app's quotas whole, then sent; 200 only when the backbone has
//! acknowledged everything.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use backbone::{Backbone, Publish, PublishError, Published, Publisher};
use channels::{ChannelName, ConnectionId, Message, Record, RecordKind, Tier};
use futures_util::future::join_all;
use hyper::StatusCode;
use metering::AppMeter;
use pusher::api::{self, ApiError, Authenticated, Event};
use telemetry::trace::Span;

use super::{Reply, reply};
use crate::connection::data_bytes;
use crate::metrics::PublishResult;
use crate::server::Shared;
use crate::tail::Told;
use crate::trace;

/// Data that several events of a batch have together at most to be stored as one record: a quarter of what the
/// backbone takes by default, and more than a batch holds by default.
const JOINED_BYTES: usize = 256 * 1024;

/// `POST /events`.
pub(super) async fn event(
    shared: &Shared,
    signed: &Authenticated<'_>,
    body: &[u8],
    begun: Instant,
    span: Option<&mut Span>,
) -> Result<Reply, ApiError> {
    let event = api::parse_event(body, signed)?;
    let admitted = admit(shared, signed, std::slice::from_ref(&event))?;
    let counts = |channel: &ChannelName| shared.occupancy.counts(&signed.app.id, channel);
    Ok(match publish(shared, admitted, begun, span).await {
        Ok(()) => reply::ok(api::event_answer(&event, counts)),
        Err(error) => reply::refusal(&error),
    })
}

/// `POST /batch_events`.
pub(super) async fn batch(
    shared: &Shared,
    signed: &Authenticated<'_>,
    body: &[u8],
    begun: Instant,
    span: Option<&mut Span>,
) -> Result<Reply, ApiError> {
    let events = api::parse_batch(body, signed)?;
    let admitted = admit(shared, signed, &events)?;
    let counts = |channel: &ChannelName| shared.occupancy.counts(&signed.app.id, channel);
    Ok(match publish(shared, admitted, begun, span).await {
        Ok(()) => reply::ok(api::batch_answer(&events, counts)),
        Err(error) => reply::refusal(&error),
    })
}

/// `POST /channels/{channel}/events`, as old libraries publish; they wait for 202.
pub(super) async fn channel_event(
    shared: &Shared,
    signed: &Authenticated<'_>,
    channel: &str,
    body: &[u8],
    begun: Instant,
    span: Option<&mut Span>,
) -> Result<Reply, ApiError> {
    let event = api::parse_channel_event(channel, body, signed)?;
    let admitted = admit(shared, signed, std::slice::from_ref(&event))?;
    Ok(match publish(shared, admitted, begun, span).await {
        Ok(()) => reply::json(StatusCode::ACCEPTED, api::EMPTY_ANSWER),
        Err(error) => reply::refusal(&error),
    })
}

/// The records of a request, in order for each channel. Events that follow each other on one channel and leave out the
/// same connection are one record, which is stored and delivered as one, up to the size that is safe to store.
fn records(events: &[Event], timestamp_ms: u64) -> Vec<(ChannelName, Record)> {
    if let [event] = events
        && let [channel] = event.channels.as_slice()
    {
        return vec![(channel.clone(), record(&event.message, event.exclude.clone(), timestamp_ms))];
    }
    let mut records: Vec<(ChannelName, Record)> = Vec::new();
    let mut newest_of: HashMap<&ChannelName, usize> = HashMap::new();
    for event in events {
        for channel in &event.channels {
            let newest = newest_of.get(channel).and_then(|index| records.get_mut(*index));
            let joins = |record: &Record| {
                let bytes: usize = record.messages.iter().map(|message| message.data.len()).sum();
                record.connection == event.exclude && bytes + event.message.data.len() <= JOINED_BYTES
            };
            match newest.filter(|(_, record)| joins(record)) {
                Some((_, record)) => record.messages.push(event.message.clone()),
                None => {
                    newest_of.insert(channel, records.len());
                    records.push((channel.clone(), record(&event.message, event.exclude.clone(), timestamp_ms)));
                }
            }
        }
    }
    records
}

fn record(message: &Message, exclude: Option<ConnectionId>, timestamp_ms: u64) -> Record {
    let messages = vec![message.clone()];
    Record {
        id: None,
        kind: RecordKind::Messages,
        connection: exclude,
        client: None,
        timestamp_ms,
        messages,
        traceparent: None,
    }
}

/// Records that the app's quotas allow.
struct Admitted {
    meter: Arc<AppMeter>,
    records: Vec<(Publish, Cost)>,
}

/// Counts what `events` are against the app's quotas: all of them, or if there is no room for all, none.
fn admit(shared: &Shared, signed: &Authenticated<'_>, events: &[Event]) -> Result<Admitted, ApiError> {
    let records = records(events, clock::unix_ms()).into_iter().map(|(channel, record)| {
        let tier = signed.app.tier(&channel);
        let cost = Cost::of(&record, tier);
        (Publish { app: signed.app.id.clone(), channel, tier, record, idempotency: None }, cost)
    });
    let records: Vec<_> = records.collect();
    let meter = shared.meter(signed.app);
    let Cost { messages, bytes, kept } = Cost::sum(records.iter().map(|(_, cost)| cost));
    meter.publish_all(messages, bytes, &kept, Instant::now()).map_err(over_quota)?;
    Ok(Admitted { meter, records })
}

/// Publishes all, each channel's in order. If only some fail, what is true of all is that the outcome is unknown.
async fn publish(shared: &Shared, admitted: Admitted, begun: Instant, span: Option<&mut Span>) -> Result<(), ApiError> {
    let Admitted { meter, records } = admitted;
    let tailed: Vec<Publish> =
        if shared.tails.any() { records.iter().map(|(publish, _)| publish.clone()).collect() } else { Vec::new() };
    let (mut publishes, costs): (Vec<_>, Vec<_>) = records.into_iter().unzip();
    if let Some(span) = span {
        trace::hand_on(span, publishes.iter_mut());
    }
    let metrics = &shared.metrics.http;
    let results = match <[Publish; 1]>::try_from(publishes) {
        // Most requests are one record, which needs no line to stand in.
        Ok([only]) => vec![shared.backbone.publish(only).await],
        Err(several) => Box::pin(in_order(&shared.backbone, several)).await,
    };
    for (result, Cost { messages, bytes, kept }) in results.iter().zip(costs) {
        metrics.result(PublishResult::of(result)).increment(1);
        if let Err(PublishError::TooLarge | PublishError::Unavailable) = result {
            meter.unpublished(messages, bytes, &kept);
        }
    }
    for (Publish { app, channel, record, .. }, result) in tailed.iter().zip(&results) {
        for message in &record.messages {
            let event = message.name.as_deref().unwrap_or_default();
            shared.tell_published(app, channel, Told { event, ..Told::default() }, result);
        }
    }
    metrics.seconds.record(begun.elapsed().as_secs_f64());
    outcome(results.into_iter().map(|result| result.map(drop)))
}

/// Publishes all, each channel's in order.
async fn in_order(backbone: &Backbone, publishes: Vec<Publish>) -> Vec<Result<Published, PublishError>> {
    let publisher = Publisher::new(backbone.clone());
    // Every place in line is taken here, in order; the futures then run side by side.
    let publishes: Vec<_> = publishes.into_iter().map(|publish| publisher.publish(publish)).collect();
    join_all(publishes).await
}

/// What is counted of records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Cost {
    /// A message to several channels counts for each.
    pub(super) messages: u64,
    /// Of data.
    pub(super) bytes: u64,
    /// For how long persistent channels keep how many of the bytes; each time once.
    pub(super) kept: Vec<(Duration, u64)>,
}

impl Cost {
    pub(super) fn of(record: &Record, tier: Tier) -> Self {
        let bytes = data_bytes(record);
        let kept = match tier {
            Tier::Ephemeral | Tier::Recoverable => Vec::new(),
            Tier::Persistent { retention } => vec![(retention, bytes)],
        };
        Self { messages: record.messages.len() as u64, bytes, kept }
    }

    fn sum<'a>(costs: impl Iterator<Item = &'a Self>) -> Self {
        let mut sum = Self::default();
        for cost in costs {
            sum.messages += cost.messages;
            sum.bytes += cost.bytes;
            for (time, bytes) in &cost.kept {
                match sum.kept.iter_mut().find(|(each, _)| each == time) {
                    Some((_, kept)) => *kept += bytes,
                    None => sum.kept.push((*time, *bytes)),
                }
            }
        }
        sum
    }
}

/// How a quota in the way is told.
pub(super) fn over_quota(refused: metering::Refused) -> ApiError {
    let text = refused.to_string();
    ApiError::OverQuota { text, quota: refused.quota, retry_after: refused.retry_after }
}

/// The one outcome of several publishes.
fn outcome(results: impl Iterator<Item = Result<(), PublishError>>) -> Result<(), ApiError> {
    let one = |result| match result {
        Ok(()) => Ok(()),
        Err(PublishError::TooLarge) => Err(ApiError::RecordTooLarge),
        Err(PublishError::Unavailable) => Err(ApiError::Unavailable),
        Err(PublishError::UnknownOutcome) => Err(ApiError::OutcomeUnknown),
    };
    let same = |a, b| if a == b { a } else { Err(ApiError::OutcomeUnknown) };
    results.map(one).reduce(same).unwrap_or(Ok(()))
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

    #[test]
    fn a_record_does_not_grow_beyond_what_can_be_stored() {
        let mut large = event("1", &["a"], None);
        large.message.data = vec![b'x'; JOINED_BYTES / 2].into();
        let events = [large.clone(), large.clone(), large.clone()];
        let sizes: Vec<_> = records(&events, 7).iter().map(|(_, record)| record.messages.len()).collect();
        assert_eq!(sizes, [2, 1]);
    }

    #[test]
    fn messages_count_for_each_channel_and_bytes_for_as_long_as_they_are_kept() {
        let mut event = event("1", &["a", "b", "c"], None);
        event.message.data = "12345".into();
        let events = [event.clone(), event];
        let hour = Duration::from_secs(3600);
        let tiers =
            HashMap::from([("b", Tier::Persistent { retention: hour }), ("c", Tier::Persistent { retention: hour })]);
        let tier = |channel: &ChannelName| tiers.get(channel.as_str()).copied().unwrap_or_default();
        let costs: Vec<_> =
            records(&events, 7).iter().map(|(channel, record)| Cost::of(record, tier(channel))).collect();
        assert_eq!(costs[1], Cost { messages: 2, bytes: 10, kept: vec![(hour, 10)] });
        assert_eq!(Cost::sum(costs.iter()), Cost { messages: 6, bytes: 30, kept: vec![(hour, 20)] });
    }

    #[test]
    fn a_request_that_failed_in_part_is_not_called_a_failure() {
        use PublishError::{TooLarge, Unavailable, UnknownOutcome};
        for (results, expected) in [
            (vec![], Ok(())),
            (vec![Ok(()), Ok(())], Ok(())),
            (vec![Err(Unavailable), Err(Unavailable)], Err(ApiError::Unavailable)),
            (vec![Err(TooLarge)], Err(ApiError::RecordTooLarge)),
            (vec![Ok(()), Err(Unavailable)], Err(ApiError::OutcomeUnknown)),
            (vec![Err(TooLarge), Ok(())], Err(ApiError::OutcomeUnknown)),
            (vec![Err(UnknownOutcome), Err(Unavailable)], Err(ApiError::OutcomeUnknown)),
        ] {
            assert_eq!(outcome(results.into_iter()), expected);
        }
    }
}
