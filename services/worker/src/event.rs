//! A webhook event as it comes out of the queue, and as receivers see it.

use backbone::WEBHOOK_EVENT_FORMAT;
use bytes::Bytes;
use channels::{AppId, WebhookEvent};
use prost::Message as _;
use serde::Serialize;

/// Why an event cannot be delivered to anybody.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it is not an event")]
    Malformed(#[from] prost::DecodeError),
    #[error("it has version {0}")]
    Version(u32),
    #[error("it tells of {0:?}")]
    Unknown(String),
    #[error("it has no sound app id")]
    App(#[from] channels::InvalidAppId),
}

/// An event on its way to receivers.
#[derive(Debug)]
pub(crate) struct Event {
    pub(crate) app: AppId,
    pub(crate) kind: WebhookEvent,
    pub(crate) channel: Box<str>,
    /// When it happened, milliseconds since the Unix epoch.
    pub(crate) time_ms: u64,
    /// The one webhook to tell; empty for all that want it.
    pub(crate) webhook_id: String,
    /// As it stands in a request's list of events.
    pub(crate) json: Bytes,
    /// As it was in the queue.
    payload: Bytes,
}

/// The members of an event, in the order of the protocol's table.
#[derive(Serialize)]
struct Members<'a> {
    name: &'a str,
    channel: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    event: Option<&'a str>,
    /// Always a string, whatever was sent: typed libraries decode it into one.
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    socket_id: Option<&'a str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subscription_count: Option<u64>,
}

impl Event {
    /// Reads what was pushed.
    pub(crate) fn decode(payload: Bytes) -> Result<Self, Unreadable> {
        let wire = proto::backbone::WebhookEvent::decode(payload.clone())?;
        if wire.version != WEBHOOK_EVENT_FORMAT {
            return Err(Unreadable::Version(wire.version));
        }
        let kind = WebhookEvent::parse(&wire.name).ok_or_else(|| Unreadable::Unknown(wire.name.clone()))?;
        let client_event = kind == WebhookEvent::ClientEvent;
        let data = String::from_utf8_lossy(&wire.data);
        let members = Members {
            name: kind.name(),
            channel: &wire.channel,
            event: client_event.then_some(&wire.event),
            data: client_event.then_some(&data),
            socket_id: client_event.then_some(&wire.socket_id),
            user_id: &wire.user_id,
            subscription_count: (kind == WebhookEvent::SubscriptionCount).then_some(wire.subscription_count),
        };
        let json = serde_json::to_vec(&members).expect("strings and numbers are always JSON").into();
        Ok(Self {
            app: AppId::new(&wire.app_id)?,
            kind,
            channel: wire.channel.into(),
            time_ms: wire.time_ms,
            webhook_id: wire.webhook_id,
            json,
            payload,
        })
    }

    /// As it was in the queue, for a dead letter.
    pub(crate) fn wire(&self) -> Option<proto::backbone::WebhookEvent> {
        proto::backbone::WebhookEvent::decode(self.payload.clone()).ok()
    }

    /// What it takes in memory, about.
    pub(crate) fn size(&self) -> usize {
        self.json.len() + self.payload.len() + self.channel.len() + 128
    }
}

/// The body of a request that tells `events`, of which there is at least one. Its time is that of the oldest: receivers
/// that check it must not see an event become younger by being retried.
pub(crate) fn body<'a>(events: impl Iterator<Item = &'a Event> + Clone) -> Bytes {
    let time_ms = events.clone().map(|event| event.time_ms).min().unwrap_or_default();
    let mut body = format!(r#"{{"time_ms":{time_ms},"events":["#).into_bytes();
    for (index, event) in events.enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&event.json);
    }
    body.extend_from_slice(b"]}");
    body.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(wire: proto::backbone::WebhookEvent) -> Event {
        let wire = proto::backbone::WebhookEvent { version: WEBHOOK_EVENT_FORMAT, app_id: "3301".to_owned(), ..wire };
        Event::decode(wire.encode_to_vec().into()).unwrap()
    }

    fn named(name: &str, channel: &str) -> proto::backbone::WebhookEvent {
        let time_ms = 1_730_000_000_123;
        proto::backbone::WebhookEvent {
            name: name.to_owned(),
            channel: channel.to_owned(),
            time_ms,
            ..Default::default()
        }
    }

    fn json(wire: proto::backbone::WebhookEvent) -> String {
        String::from_utf8(event(wire).json.to_vec()).unwrap()
    }

    #[test]
    fn members_of_each_event() {
        for (name, channel) in [("channel_occupied", "a"), ("channel_vacated", "a\"b"), ("cache_miss", "cache-ü")] {
            let channel_json = serde_json::to_string(channel).unwrap();
            assert_eq!(json(named(name, channel)), format!(r#"{{"name":"{name}","channel":{channel_json}}}"#));
        }
        for name in ["member_added", "member_removed"] {
            let wire = proto::backbone::WebhookEvent { user_id: "10".to_owned(), ..named(name, "presence-a") };
            assert_eq!(json(wire), format!(r#"{{"name":"{name}","channel":"presence-a","user_id":"10"}}"#));
        }
        let counted = proto::backbone::WebhookEvent { subscription_count: 0, ..named("subscription_count", "a") };
        assert_eq!(json(counted), r#"{"name":"subscription_count","channel":"a","subscription_count":0}"#);
        let sent = proto::backbone::WebhookEvent {
            event: "client-x".to_owned(),
            data: br#"{"a":1}"#.to_vec().into(),
            socket_id: "1.2".to_owned(),
            ..named("client_event", "private-a")
        };
        assert_eq!(
            json(sent.clone()),
            r#"{"name":"client_event","channel":"private-a","event":"client-x","data":"{\"a\":1}","socket_id":"1.2"}"#
        );
        let by_member = proto::backbone::WebhookEvent { user_id: "u".to_owned(), ..sent };
        assert!(json(by_member).ends_with(r#""socket_id":"1.2","user_id":"u"}"#));
    }

    #[test]
    fn the_body_of_vector_14() {
        let body = body([event(named("channel_occupied", "ticker.acme"))].iter());
        assert_eq!(body, r#"{"time_ms":1730000000123,"events":[{"name":"channel_occupied","channel":"ticker.acme"}]}"#);
    }

    #[test]
    fn a_body_of_several_has_the_time_of_the_oldest() {
        let later = proto::backbone::WebhookEvent { time_ms: 1_730_000_000_999, ..named("channel_occupied", "a") };
        let body = body([event(later), event(named("channel_vacated", "b"))].iter());
        assert_eq!(
            body,
            r#"{"time_ms":1730000000123,"events":[{"name":"channel_occupied","channel":"a"},{"name":"channel_vacated","channel":"b"}]}"#
        );
    }

    #[test]
    fn what_is_no_event() {
        let encoded = |wire: proto::backbone::WebhookEvent| Bytes::from(wire.encode_to_vec());
        let sound = proto::backbone::WebhookEvent { version: 1, app_id: "1".to_owned(), ..named("cache_miss", "a") };
        assert!(Event::decode(encoded(sound.clone())).is_ok());
        assert!(matches!(Event::decode(Bytes::from_static(b"\xff\xff")), Err(Unreadable::Malformed(_))));
        let newer = proto::backbone::WebhookEvent { version: 2, ..sound.clone() };
        assert!(matches!(Event::decode(encoded(newer)), Err(Unreadable::Version(2))));
        let other = proto::backbone::WebhookEvent { name: "rain".to_owned(), ..sound.clone() };
        assert!(matches!(Event::decode(encoded(other)), Err(Unreadable::Unknown(_))));
        let nobody = proto::backbone::WebhookEvent { app_id: String::new(), ..sound };
        assert!(matches!(Event::decode(encoded(nobody)), Err(Unreadable::App(_))));
    }
}
