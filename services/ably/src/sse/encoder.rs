//! The text of events.

use bytes::Bytes;
use channels::Message;
use serde_json::json;

use super::EventId;
use crate::ErrorInfo;
use crate::session::End;

/// How long a browser waits before it comes back, in ms.
const RETRY_MS: u32 = 1000;

/// How long one that a draining node sends away waits, in ms: all are not sent away at once.
const MOVED_MS: u32 = 100;

/// What a stream is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `text/event-stream`, as an `EventSource` reads it.
    Events,
    /// One JSON object a line.
    Lines,
}

/// Writes one stream's events.
#[derive(Clone, Copy, Debug)]
pub struct Encoder {
    pub(super) form: Form,
    pub(super) enveloped: bool,
    pub(super) heartbeats: bool,
}

impl Encoder {
    /// The stream's `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self.form {
            Form::Events => "text/event-stream",
            Form::Lines => "application/x-ndjson",
        }
    }

    /// What a stream begins with: an `EventSource` that is cut off before the first event goes on from `id`, too.
    pub fn start(self, id: &EventId) -> Bytes {
        match self.form {
            Form::Events => format!("retry: {RETRY_MS}\nid: {id}\n\n").into(),
            Form::Lines => Bytes::new(),
        }
    }

    /// A message on the channel that the reader calls `channel`: `item` is the JSON object of it, `message` what it is
    /// made of.
    pub fn message(self, id: &EventId, channel: &str, item: &str, message: &Message) -> Bytes {
        if self.enveloped {
            return self.event(Some(id), "message", &with_channel(channel, item));
        }
        let payload = String::from_utf8_lossy(&message.data);
        match self.form {
            Form::Events => self.event(Some(id), "message", &payload),
            Form::Lines => self.event(Some(id), "message", &json!(payload).to_string()),
        }
    }

    /// A change of presence; `item` is the JSON object of it.
    pub fn presence(self, id: &EventId, channel: &str, item: &str) -> Bytes {
        self.event(Some(id), "presence", &with_channel(channel, item))
    }

    /// What went wrong.
    pub fn error(self, error: &ErrorInfo) -> Bytes {
        let error = json!({
            "code": error.code, "statusCode": error.status, "message": error.message, "href": error.href(),
        });
        self.event(None, "error", &error.to_string())
    }

    /// The last event of a node that drains: its client comes back soon, which takes it to another node.
    pub fn moved(self) -> Bytes {
        self.going_away(MOVED_MS)
    }

    /// The only event for a client that has come to a node that drains: it is not to come again and again until whoever
    /// sent it there takes notice.
    pub fn elsewhere(self) -> Bytes {
        self.going_away(RETRY_MS)
    }

    fn going_away(self, retry_ms: u32) -> Bytes {
        let error = self.error(&End::Draining.error());
        match self.form {
            Form::Events => [format!("retry: {retry_ms}\n").as_bytes(), &*error].concat().into(),
            Form::Lines => error,
        }
    }

    /// What shows that the stream is alive while nothing happens.
    pub fn keep_alive(self) -> Bytes {
        match (self.heartbeats, self.form) {
            (true, _) => self.event(None, "heartbeat", "{}"),
            (false, Form::Events) => Bytes::from_static(b":keepalive\n\n"),
            (false, Form::Lines) => Bytes::from_static(b"\n"),
        }
    }

    fn event(self, id: Option<&EventId>, event: &str, data: &str) -> Bytes {
        let id = id.map(EventId::to_string);
        match self.form {
            Form::Events => {
                let mut text = String::with_capacity(data.len() + id.as_ref().map_or(0, String::len) + 32);
                if let Some(id) = id {
                    text.extend(["id: ", &id, "\n"]);
                }
                text.extend(["event: ", event, "\n"]);
                for line in lines(data) {
                    text.extend(["data: ", line, "\n"]);
                }
                text.push('\n');
                text.into()
            }
            Form::Lines => {
                let id = id.map_or_else(String::new, |id| format!("\"id\":\"{id}\","));
                // Outside of strings, where JSON has no raw line breaks, they are mere white space.
                format!("{{{id}\"event\":\"{event}\",\"data\":{}}}\n", data.replace(['\n', '\r'], " ")).into()
            }
        }
    }
}

/// The lines of `data` as an `EventSource` counts them: after CR, LF or both.
fn lines(data: &str) -> impl Iterator<Item = &str> {
    data.split('\n').flat_map(|line| line.strip_suffix('\r').unwrap_or(line).split('\r'))
}

/// `item`, a JSON object, with the channel in front.
fn with_channel(channel: &str, item: &str) -> String {
    let channel = json!(channel).to_string();
    match item.strip_prefix('{') {
        Some(rest) if rest.trim_start().starts_with('}') => format!("{{\"channel\":{channel}{rest}"),
        Some(rest) => format!("{{\"channel\":{channel},{rest}"),
        None => item.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::Code;
    use crate::sse::Positions;

    fn encoder(form: Form) -> Encoder {
        Encoder { form, enveloped: true, heartbeats: false }
    }

    fn id() -> EventId {
        EventId { connection: "c".to_owned(), positions: Positions::default() }
    }

    fn text(bytes: Bytes) -> String {
        String::from_utf8(bytes.to_vec()).unwrap()
    }

    #[test]
    fn events() {
        let encoder = encoder(Form::Events);
        let message = Message::text("n", "d");
        assert_eq!(
            text(encoder.message(&id(), "a\"b", r#"{"name":"n","data":"d"}"#, &message)),
            "id: c@AQA\nevent: message\ndata: {\"channel\":\"a\\\"b\",\"name\":\"n\",\"data\":\"d\"}\n\n"
        );
        assert_eq!(
            text(encoder.presence(&id(), "c", "{}")),
            "id: c@AQA\nevent: presence\ndata: {\"channel\":\"c\"}\n\n"
        );
        assert_eq!(text(encoder.start(&id())), "retry: 1000\nid: c@AQA\n\n");
        assert_eq!(text(encoder.keep_alive()), ":keepalive\n\n");
        let asked = Encoder { heartbeats: true, ..encoder };
        assert_eq!(text(asked.keep_alive()), "event: heartbeat\ndata: {}\n\n");
        let error = text(encoder.error(&Code::TokenExpired.info()));
        assert!(error.starts_with("event: error\ndata: {\"code\":40142,"), "{error}");
    }

    /// A stream says anew how long to wait when it begins.
    #[test]
    fn whoever_is_moved_comes_back_soon() {
        let encoder = encoder(Form::Events);
        let moved = text(encoder.moved());
        assert!(moved.starts_with("retry: 100\nevent: error\ndata: {\"code\":50320,"), "{moved}");
        let elsewhere = text(encoder.elsewhere());
        assert_eq!(elsewhere, moved.replace("retry: 100\n", "retry: 1000\n"));
    }

    /// A line break within data would end the event.
    #[test]
    fn bare_payloads_of_several_lines() {
        let encoder = Encoder { enveloped: false, ..encoder(Form::Events) };
        let shown = |data: &'static str| text(encoder.message(&id(), "c", "{}", &Message::text("n", data)));
        let lines = ["a", "", "b", "c", "event: x", ""].map(|line| format!("data: {line}\n")).concat();
        assert_eq!(shown("a\n\nb\rc\r\nevent: x\n"), format!("id: c@AQA\nevent: message\n{lines}\n"));
        assert_eq!(shown(""), "id: c@AQA\nevent: message\ndata: \n\n");
    }

    #[test]
    fn json_lines() {
        let encoder = encoder(Form::Lines);
        let parsed = |bytes: Bytes| {
            let text = text(bytes);
            assert_eq!(text.matches('\n').count(), 1);
            serde_json::from_str::<Value>(text.trim_end()).unwrap()
        };
        let item = "{\"name\":\"n\",\n\"extras\":{\r\n}}";
        assert_eq!(
            parsed(encoder.message(&id(), "c", item, &Message::text("n", "d"))),
            json!({ "id": "c@AQA", "event": "message", "data": { "channel": "c", "name": "n", "extras": {} } })
        );
        let bare = Encoder { enveloped: false, ..encoder };
        assert_eq!(
            parsed(bare.message(&id(), "c", "{}", &Message::text("n", "a\nb"))),
            json!({ "id": "c@AQA", "event": "message", "data": "a\nb" })
        );
        assert_eq!(parsed(encoder.error(&Code::TokenExpired.info()))["data"]["code"], json!(40142));
        assert_eq!(text(encoder.keep_alive()), "\n");
        assert_eq!(encoder.start(&id()), "");
        assert_eq!(parsed(encoder.moved())["data"]["code"], json!(50320));
    }
}
