//! The few frames and bodies that the generator sends and understands.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// First event on a connection.
pub(crate) const ESTABLISHED: &str = "pusher:connection_established";
/// Confirms a subscription.
pub(crate) const SUBSCRIBED: &str = "pusher_internal:subscription_succeeded";
/// The event that is published.
pub(crate) const EVENT: &str = "load";

/// A frame from the server, as far as it matters here.
#[derive(Debug, Deserialize)]
pub(crate) struct Frame<'a> {
    /// Name of the event.
    #[serde(borrow)]
    pub(crate) event: Cow<'a, str>,
    /// Data as it stands in the frame: a string with its quotes, for what was published.
    #[serde(borrow)]
    pub(crate) data: Option<&'a RawValue>,
}

/// Body of a publish, and what the floor server makes a frame of.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Publication<'a> {
    /// Name of the event.
    #[serde(rename(serialize = "event", deserialize = "name"))]
    pub(crate) name: Cow<'a, str>,
    /// Where to.
    pub(crate) channel: Cow<'a, str>,
    /// What.
    pub(crate) data: Cow<'a, str>,
}

/// The request to subscribe to a public channel.
pub(crate) fn subscribe(channel: &str) -> String {
    serde_json::json!({"event": "pusher:subscribe", "data": {"channel": channel, "auth": ""}}).to_string()
}

/// The body that publishes message `number` with `bytes` of data.
pub(crate) fn publish(channel: &str, number: u64, bytes: usize) -> Vec<u8> {
    let data = format!("{:x<bytes$}", format!("{number}."));
    serde_json::json!({"name": EVENT, "channel": channel, "data": data}).to_string().into_bytes()
}

/// The number of a message of ours that arrived in `frame` with all its bytes.
pub(crate) fn number(frame: &str, bytes: usize) -> Option<u64> {
    let frame: Frame<'_> = serde_json::from_str(frame).ok().filter(|frame: &Frame<'_>| frame.event == EVENT)?;
    let data = frame.data?.get().strip_prefix('"')?.strip_suffix('"')?;
    let (number, _) = data.split_once('.').filter(|_| data.len() == bytes)?;
    number.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_survive_the_way() {
        for (sent, bytes) in [(0, 21), (u64::MAX, 21), (7, 10_000)] {
            let body = publish("a\"b", sent, bytes);
            let publication: Publication<'_> = serde_json::from_slice(&body).unwrap();
            assert_eq!((publication.data.len(), &*publication.channel), (bytes, "a\"b"));
            assert_eq!(number(&serde_json::to_string(&publication).unwrap(), bytes), Some(sent));
        }
    }

    #[test]
    fn what_is_not_ours_has_no_number() {
        for frame in [
            r#"{"event":"load","data":"1.x"}"#,
            r#"{"event":"other","data":"1.xx"}"#,
            r#"{"event":"load","data":"x.xx"}"#,
            r#"{"event":"load","data":{"a":1}}"#,
            r#"{"event":"load"}"#,
            "load",
        ] {
            assert_eq!(number(frame, 4), None, "{frame}");
        }
        assert_eq!(number(r#"{"event":"load","channel":"c","data":"1.xx"}"#, 4), Some(1));
    }
}
