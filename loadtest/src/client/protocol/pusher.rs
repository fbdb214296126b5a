//! The Pusher protocol, version 7.

use serde::Deserialize;
use serde_json::json;

use super::Word;
use crate::client::message::{ESTABLISHED, SUBSCRIBED};

/// Where a client connects.
pub(super) fn path(key: &str) -> String {
    format!("/app/{key}?protocol=7&client=loadtest&version={}", env!("CARGO_PKG_VERSION"))
}

/// Subscribes to a channel; `auth` are signature and `channel_data` for channels that need them.
pub(crate) fn subscribe(channel: &str, auth: Option<(&str, &str)>) -> String {
    let (auth, member) = auth.unwrap_or_default();
    let mut data = json!({"channel": channel, "auth": auth});
    if !member.is_empty() {
        data["channel_data"] = json!(member);
    }
    json!({"event": "pusher:subscribe", "data": data}).to_string()
}

/// Leaves a channel.
pub(crate) fn unsubscribe(channel: &str) -> String {
    json!({"event": "pusher:unsubscribe", "data": {"channel": channel}}).to_string()
}

/// What a frame says that is not about messages. The socket id stands in for what resumes: signatures need it.
pub(super) fn word(frame: &[u8]) -> Word {
    #[derive(Deserialize)]
    struct Frame {
        event: String,
        channel: Option<String>,
        data: Option<serde_json::Value>,
    }
    let Ok(Frame { event, channel, data }) = serde_json::from_slice(frame) else { return Word::Foreign };
    match event.as_str() {
        ESTABLISHED => {
            let data = data.as_ref().and_then(|data| serde_json::from_str::<serde_json::Value>(data.as_str()?).ok());
            Word::Greeting { resume: data.and_then(|data| Some(data.get("socket_id")?.as_str()?.to_owned())) }
        }
        SUBSCRIBED => Word::Confirmed { channel, resumed: true, position: None },
        "pusher:ping" | "pusher:pong" | "pusher_internal:subscription_count" => Word::Aside,
        _ => Word::Foreign,
    }
}
