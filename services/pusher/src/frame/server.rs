//! What the server sends. `data` is a string holding JSON wherever the protocol says so ("double encoding"); errors are
//! the exception, their `data` is an object.

use crate::json::{push_string, string};

const SUBSCRIPTION_SUCCEEDED: &str = "pusher_internal:subscription_succeeded";

/// The greeting: always the first frame. pusher-js refuses an activity timeout of 0.
pub(crate) fn connection_established(socket_id: &str, activity_timeout_seconds: u64) -> String {
    let data = format!(r#"{{"socket_id":"{socket_id}","activity_timeout":{}}}"#, activity_timeout_seconds.max(1));
    format!(r#"{{"event":"pusher:connection_established","data":{}}}"#, string(&data))
}

/// The answer to a ping. It has `data` although it says nothing: the Java client reads it.
pub(crate) fn pong() -> String {
    r#"{"event":"pusher:pong","data":"{}"}"#.to_owned()
}

/// The promise that everything published from now on will come. It has `data` even where there is nothing to say, which
/// the Java client needs.
pub(crate) fn subscription_succeeded(channel: &str) -> String {
    event_with_json(SUBSCRIPTION_SUCCEEDED, channel, r#""{}""#)
}

/// An error that concerns no channel. The code is a number or null, never a string.
pub(crate) fn error(code: Option<u16>, message: &str) -> String {
    let code = code.map_or("null".to_owned(), |code| code.to_string());
    format!(r#"{{"event":"pusher:error","data":{{"code":{code},"message":{}}}}}"#, string(message))
}

/// A refused subscription, which clients hand to the channel object it is about.
pub(crate) fn subscription_error(channel: &str, kind: &str, message: &str, status: u16) -> String {
    let data = format!(r#"{{"type":"{kind}","error":{},"status":{status}}}"#, string(message));
    event_with_json("pusher:subscription_error", channel, &data)
}

/// An event whose `data` is a string.
pub(crate) fn event_with_string(event: &str, channel: &str, data: &str) -> String {
    let mut frame = event_head(event, channel, data.len() + data.len() / 8);
    push_string(&mut frame, data);
    frame.push('}');
    frame
}

/// An event whose `data` is the JSON text `data`, as it stands.
pub(crate) fn event_with_json(event: &str, channel: &str, data: &str) -> String {
    let mut frame = event_head(event, channel, data.len());
    frame.push_str(data);
    frame.push('}');
    frame
}

fn event_head(event: &str, channel: &str, data_len: usize) -> String {
    // Members, quotes and a few escapes: enough that most frames are written without growing.
    const AROUND: usize = 48;
    let mut frame = String::with_capacity(event.len() + channel.len() + data_len + AROUND);
    frame.push_str(r#"{"event":"#);
    push_string(&mut frame, event);
    frame.push_str(r#","channel":"#);
    push_string(&mut frame, channel);
    frame.push_str(r#","data":"#);
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spec §18, 7 (a code is a number or null) and 8 (success has `data`).
    #[test]
    fn frames_as_documented() {
        for (frame, expected) in [
            (
                connection_established("418372.90513377", 120),
                r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"418372.90513377\",\"activity_timeout\":120}"}"#,
            ),
            (
                connection_established("1.2", 0),
                r#"{"event":"pusher:connection_established","data":"{\"socket_id\":\"1.2\",\"activity_timeout\":1}"}"#,
            ),
            (pong(), r#"{"event":"pusher:pong","data":"{}"}"#),
            (
                subscription_succeeded("c"),
                r#"{"event":"pusher_internal:subscription_succeeded","channel":"c","data":"{}"}"#,
            ),
            (error(None, "a \"b\""), r#"{"event":"pusher:error","data":{"code":null,"message":"a \"b\""}}"#),
            (error(Some(4301), "x"), r#"{"event":"pusher:error","data":{"code":4301,"message":"x"}}"#),
            (
                subscription_error("private-x", "AuthError", "no", 401),
                r#"{"event":"pusher:subscription_error","channel":"private-x","data":{"type":"AuthError","error":"no","status":401}}"#,
            ),
            (
                event_with_string(r"App\Events\X", "c", "{\"a\": 1e400}\n"),
                r#"{"event":"App\\Events\\X","channel":"c","data":"{\"a\": 1e400}\n"}"#,
            ),
            (event_with_json("e", "c", "{ }"), r#"{"event":"e","channel":"c","data":{ }}"#),
        ] {
            assert_eq!(frame, expected);
        }
    }
}
