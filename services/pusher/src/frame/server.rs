//! What the server sends. `data` is a string holding JSON wherever the protocol says so ("double encoding"); errors are
//! the exception, their `data` is an object.

use std::fmt::Write as _;

use channels::{ChannelName, ClientId, EventPosition};

use crate::json::{push_string, string};

pub(super) const SUBSCRIPTION_SUCCEEDED: &str = "pusher_internal:subscription_succeeded";

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
    Event::new(SUBSCRIPTION_SUCCEEDED, channel, 4).json(r#""{}""#)
}

/// How many connections are subscribed to `channel`.
pub fn subscription_count(channel: &ChannelName, count: u64) -> String {
    let data = format!(r#"{{"subscription_count":{count}}}"#);
    Event::new("pusher_internal:subscription_count", channel.as_str(), data.len() * 2).string(&data)
}

/// So many events of `channel` were dropped in front of the next one, which keeps only the newest for clients that do
/// not read fast enough. Ours: stock clients ignore it unless they bind to it.
pub fn gap(channel: &ChannelName, dropped: u32) -> String {
    let data = format!(r#"{{"dropped":{dropped}}}"#);
    Event::new("fanfare:gap", channel.as_str(), data.len() * 2).string(&data)
}

/// The cache channel holds no event to begin with.
pub fn cache_miss(channel: &ChannelName) -> String {
    Event::new("pusher:cache_miss", channel.as_str(), 4).json(r#""{}""#)
}

/// Which watched users are, or have come, online and offline. Concerns no channel.
pub fn watchlist_events(online: &[ClientId], offline: &[ClientId]) -> String {
    let mut data = String::from(r#"{"events":["#);
    for (name, users) in [("online", online), ("offline", offline)] {
        let [first, rest @ ..] = users else { continue };
        if data.ends_with('}') {
            data.push(',');
        }
        data.push_str(r#"{"name":""#);
        data.push_str(name);
        data.push_str(r#"","user_ids":["#);
        push_string(&mut data, first.as_str());
        for user in rest {
            data.push(',');
            push_string(&mut data, user.as_str());
        }
        data.push_str("]}");
    }
    data.push_str("]}");
    format!(r#"{{"event":"pusher_internal:watchlist_events","data":{}}}"#, string(&data))
}

/// The connection belongs to a user from now on. Its `data` is an object, as documented; `user_data` are the characters
/// that were signed.
pub(crate) fn signin_success(user_data: &str) -> String {
    format!(r#"{{"event":"pusher:signin_success","data":{{"user_data":{}}}}}"#, string(user_data))
}

/// An error that concerns no channel. The code is a number or null, never a string.
pub(crate) fn error(code: Option<u16>, message: &str) -> String {
    let code = code.map_or("null".to_owned(), |code| code.to_string());
    format!(r#"{{"event":"pusher:error","data":{{"code":{code},"message":{}}}}}"#, string(message))
}

/// A refused subscription, which clients hand to the channel object it is about.
pub(crate) fn subscription_error(channel: &str, kind: &str, message: &str, status: u16) -> String {
    let data = format!(r#"{{"type":"{kind}","error":{},"status":{status}}}"#, string(message));
    Event::new("pusher:subscription_error", channel, data.len()).json(&data)
}

/// An event on a channel, begun: it gets its `data` and then, maybe, more members.
pub(crate) struct Event(String);

/// An event that has its `data`.
pub(crate) struct Whole(String);

impl Event {
    /// Begins one whose data, with what follows it, takes about `room` bytes.
    pub(crate) fn new(event: &str, channel: &str, room: usize) -> Self {
        // Members, quotes and a few escapes: enough that most frames are written without growing.
        const AROUND: usize = 48;
        let mut frame = String::with_capacity(event.len() + channel.len() + room + AROUND);
        frame.push_str(r#"{"event":"#);
        push_string(&mut frame, event);
        frame.push_str(r#","channel":"#);
        push_string(&mut frame, channel);
        frame.push_str(r#","data":"#);
        Self(frame)
    }

    /// Ends it with the string `data`.
    pub(crate) fn string(self, data: &str) -> String {
        self.with_string(data).end()
    }

    /// Ends it with the JSON text `data`, as it stands.
    pub(crate) fn json(self, data: &str) -> String {
        self.with_json(data).end()
    }

    /// Its data is the string `data`.
    pub(crate) fn with_string(mut self, data: &str) -> Whole {
        push_string(&mut self.0, data);
        Whole(self.0)
    }

    /// Its data is the JSON text `data`, as it stands.
    pub(crate) fn with_json(mut self, data: &str) -> Whole {
        self.0.push_str(data);
        Whole(self.0)
    }
}

impl Whole {
    /// Says which member of a presence channel it comes from.
    pub(crate) fn with_user(mut self, user: &ClientId) -> Self {
        self.0.push_str(r#","user_id":"#);
        push_string(&mut self.0, user.as_str());
        self
    }

    /// Says where in the channel's order it stands, in a member that stock clients ignore.
    pub(crate) fn at(mut self, position: EventPosition) -> Self {
        write!(self.0, r#","position":"{position}""#).expect("a String takes any text");
        self
    }

    /// Ends it.
    pub(crate) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
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
                Event::new(r"App\Events\X", "c", 0).string("{\"a\": 1e400}\n"),
                r#"{"event":"App\\Events\\X","channel":"c","data":"{\"a\": 1e400}\n"}"#,
            ),
            (Event::new("e", "c", 0).json("{ }"), r#"{"event":"e","channel":"c","data":{ }}"#),
            (
                signin_success("{\"id\": \"u\"}"),
                r#"{"event":"pusher:signin_success","data":{"user_data":"{\"id\": \"u\"}"}}"#,
            ),
        ] {
            assert_eq!(frame, expected);
        }
    }

    fn users(ids: &[&str]) -> Vec<ClientId> {
        ids.iter().map(|id| ClientId::new(id).unwrap()).collect()
    }

    /// Spec §18, 11 (a cache miss has `data`) and 46 (watchlist events are one internal event).
    #[test]
    fn what_the_edge_tells() {
        let channel = ChannelName::new("cache-c").unwrap();
        for (frame, expected) in [
            (cache_miss(&channel), r#"{"event":"pusher:cache_miss","channel":"cache-c","data":"{}"}"#),
            (
                subscription_count(&channel, 2),
                r#"{"event":"pusher_internal:subscription_count","channel":"cache-c","data":"{\"subscription_count\":2}"}"#,
            ),
            (
                watchlist_events(&users(&["a"]), &users(&["b", "\"c"])),
                r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"a\"]},{\"name\":\"offline\",\"user_ids\":[\"b\",\"\\\"c\"]}]}"}"#,
            ),
            (
                watchlist_events(&[], &users(&["b"])),
                r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"offline\",\"user_ids\":[\"b\"]}]}"}"#,
            ),
            (
                watchlist_events(&users(&["a", "b"]), &[]),
                r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[{\"name\":\"online\",\"user_ids\":[\"a\",\"b\"]}]}"}"#,
            ),
            (watchlist_events(&[], &[]), r#"{"event":"pusher_internal:watchlist_events","data":"{\"events\":[]}"}"#),
        ] {
            assert_eq!(frame, expected);
        }
    }
}
