//! `POST /events` and `POST /batch_events`, and the old way to publish.
//!
//! A request is checked whole before anything of it is handed on, so that a refused one has sent nothing.

use std::collections::BTreeSet;

use channels::{ChannelKind, ChannelName, ConnectionId, Limits, Message, Operation, Record, RecordKind};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{ApiError, Authenticated, Counts, EMPTY_ANSWER, Info};
use crate::SocketId;
use crate::encode::is_reserved;
use crate::json::{self, Text, Unreadable};

/// A checked event: the signing key may publish it on all its channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// What to publish.
    pub message: Message,
    /// Where: at least one, each once, in the order given.
    pub channels: Vec<ChannelName>,
    /// A connection that is not to get it.
    pub exclude: Option<ConnectionId>,
    /// The counts to answer with; `None` if it asked for none.
    pub info: Option<Info>,
}

impl Event {
    /// The record for each of its channels, accepted at `timestamp_ms`.
    pub fn record(&self, timestamp_ms: u64) -> Record {
        Record {
            id: None,
            kind: RecordKind::Messages,
            connection: self.exclude.clone(),
            client: None,
            timestamp_ms,
            messages: vec![self.message.clone()],
            traceparent: None,
        }
    }
}

/// An event as the libraries send it: PHP writes `channel` for one channel, the others always `channels`.
#[derive(Deserialize)]
struct RawEvent<'a> {
    #[serde(borrow)]
    name: Text<'a>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(borrow)]
    channels: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    socket_id: Option<Text<'a>>,
    #[serde(borrow)]
    info: Option<Text<'a>>,
}

#[derive(Deserialize)]
struct RawBatch<'a> {
    #[serde(borrow)]
    batch: Vec<&'a RawValue>,
}

/// Reads the body of `POST /events`.
pub fn parse_event(body: &[u8], signed: &Authenticated<'_>) -> Result<Event, ApiError> {
    event(text(body)?, signed)
}

/// Reads the body of `POST /batch_events`. Each event has one channel in practice; more are fine.
pub fn parse_batch(body: &[u8], signed: &Authenticated<'_>) -> Result<Vec<Event>, ApiError> {
    const SHAPE: &str = r#"body must be an object with "batch": an array of events"#;
    let RawBatch { batch } = object(text(body)?, SHAPE)?;
    let limit = signed.app.limits.events_per_batch;
    if batch.len() > limit {
        return Err(ApiError::TooManyEvents { limit });
    }
    let events = batch.iter().enumerate().map(|(index, raw)| {
        event(raw.get(), signed).map_err(|source| ApiError::InBatch { index, source: Box::new(source) })
    });
    events.collect()
}

/// Reads `POST /channels/{channel}/events`, which old libraries call: name and excluded connection are in the query, the
/// body is the data.
pub fn parse_channel_event(channel: &str, body: &[u8], signed: &Authenticated<'_>) -> Result<Event, ApiError> {
    const NAME: &str = "name must be the event's name";
    let name = signed.query.get("name").ok_or(ApiError::Parameter(NAME))?;
    let data = std::str::from_utf8(body).map_err(|_| ApiError::Shape("event data must be UTF-8"))?;
    let (channel, _) = signed.channel(channel, Operation::Publish)?;
    let message = message(name, data.to_owned(), "", &signed.app.limits)?;
    let exclude = signed.query.get("socket_id").map(SocketId::parse).transpose()?;
    Ok(Event { message, channels: vec![channel], exclude: exclude.map(ConnectionId::from), info: None })
}

fn text(body: &[u8]) -> Result<&str, ApiError> {
    std::str::from_utf8(body).map_err(|_| ApiError::NotJson)
}

fn object<'a, T: Deserialize<'a>>(text: &'a str, shape: &'static str) -> Result<T, ApiError> {
    json::object(text).map_err(|unreadable| match unreadable {
        Unreadable::Syntax => ApiError::NotJson,
        Unreadable::Shape => ApiError::Shape(shape),
    })
}

fn event(text: &str, signed: &Authenticated<'_>) -> Result<Event, ApiError> {
    const SHAPE: &str = r#"an event must be an object with the string "name", "data", and "channels" (an array of strings) or "channel" (a string); "socket_id" and "info" may be strings"#;
    let raw: RawEvent<'_> = object(text, SHAPE)?;
    let (data, encoding) = data(raw.data.ok_or(ApiError::Shape(r#"event has no "data""#))?.get())?;
    let message = message(&raw.name.0, data, encoding, &signed.app.limits)?;
    let channels = destinations(&raw, signed)?;
    let exclude = raw.socket_id.as_ref().map(|id| SocketId::parse(&id.0)).transpose()?.map(ConnectionId::from);
    let info = raw.info.as_ref().map(|list| Info::parse(&list.0));
    Ok(Event { message, channels, exclude, info })
}

/// Data and how it is encoded. As documented it is a string. Hand-made clients post other JSON, which then travels as
/// JSON text, without white space but otherwise as written, and reaches Pusher subscribers as a string of it.
fn data(json: &str) -> Result<(String, &'static str), ApiError> {
    if json.starts_with('"') {
        // The syntax was checked with the body; half a surrogate pair is all that can still be wrong.
        let text = serde_json::from_str(json).map_err(|_| ApiError::Shape(r#""data" is not Unicode"#))?;
        Ok((text, ""))
    } else {
        Ok((json::compact(json), "json"))
    }
}

fn message(name: &str, data: String, encoding: &str, limits: &Limits) -> Result<Message, ApiError> {
    let limit = limits.event_name_chars;
    if name.is_empty() || name.chars().count() > limit {
        return Err(ApiError::EventName { limit });
    }
    if is_reserved(name) {
        return Err(ApiError::ReservedEventName);
    }
    let limit = limits.event_data_bytes;
    if data.len() > limit {
        return Err(ApiError::DataTooLarge { limit });
    }
    Ok(Message { encoding: encoding.to_owned(), ..Message::text(name, data) })
}

fn destinations(raw: &RawEvent<'_>, signed: &Authenticated<'_>) -> Result<Vec<ChannelName>, ApiError> {
    let names: Vec<&str> = raw.channels.iter().flatten().chain(&raw.channel).map(|text| text.0.as_ref()).collect();
    let limit = signed.app.limits.channels_per_publish;
    if names.is_empty() {
        return Err(ApiError::NoChannels);
    }
    if names.len() > limit {
        return Err(ApiError::TooManyChannels { limit });
    }
    let mut channels = Vec::with_capacity(names.len());
    let mut seen = BTreeSet::new();
    for name in names {
        let (channel, _) = signed.channel(name, Operation::Publish)?;
        if seen.insert(name) {
            channels.push(channel);
        }
    }
    Ok(channels)
}

/// The answer to an accepted event: `{}`, or with `info` the counts of its channels.
pub fn event_answer(event: &Event, mut counts: impl FnMut(&ChannelName) -> Counts) -> String {
    let Some(info) = event.info else { return EMPTY_ANSWER.to_owned() };
    let mut out = String::from(r#"{"channels":{"#);
    for (index, channel) in event.channels.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        json::push_string(&mut out, channel.as_str());
        out.push(':');
        info.push_object(&mut out, ChannelKind::of(channel.as_str()), counts(channel));
    }
    out.push_str("}}");
    out
}

/// The answer to an accepted batch: `{}`, or if any event has `info`, the counts of each event's (first) channel, by
/// index.
pub fn batch_answer(events: &[Event], mut counts: impl FnMut(&ChannelName) -> Counts) -> String {
    if events.iter().all(|event| event.info.is_none()) {
        return EMPTY_ANSWER.to_owned();
    }
    let mut out = String::from(r#"{"batch":["#);
    for (index, event) in events.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        match (event.info, event.channels.first()) {
            (Some(info), Some(channel)) => {
                info.push_object(&mut out, ChannelKind::of(channel.as_str()), counts(channel));
            }
            (None, _) | (_, None) => out.push_str(EMPTY_ANSWER),
        }
    }
    out.push_str("]}");
    out
}

#[cfg(test)]
mod tests;
