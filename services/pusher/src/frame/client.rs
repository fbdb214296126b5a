//! What clients send.
//!
//! `data` of the `pusher:` events is an object, or (from clients that encode everything twice) a string holding one.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::json::{self, Signed, Text, Unreadable};

/// Most characters of a client's own text that an error gives back to it.
const ECHO_CHARS: usize = 100;

/// A frame with a meaning.
#[derive(Debug)]
pub(crate) enum ClientFrame<'a> {
    Ping,
    Pong,
    Subscribe(Subscribe<'a>),
    Unsubscribe { channel: Cow<'a, str> },
    SignIn(SignIn<'a>),
    Event(ClientEvent<'a>),
}

impl ClientFrame<'_> {
    /// The channel it is about, as the client wrote it.
    pub(crate) fn channel(&self) -> Option<&str> {
        match self {
            Self::Subscribe(Subscribe { channel, .. })
            | Self::Unsubscribe { channel }
            | Self::Event(ClientEvent { channel, .. }) => Some(channel),
            Self::Ping | Self::Pong | Self::SignIn(_) => None,
        }
    }
}

/// `pusher:subscribe`.
#[derive(Debug)]
pub(crate) struct Subscribe<'a> {
    pub(crate) channel: Cow<'a, str>,
    /// Empty if absent: pusher-js sends it empty for public channels.
    pub(crate) auth: Cow<'a, str>,
    /// The characters that describe a presence member; `None` if absent or null.
    pub(crate) channel_data: Option<Cow<'a, str>>,
}

/// `pusher:signin`.
#[derive(Debug)]
pub(crate) struct SignIn<'a> {
    /// Empty if absent.
    pub(crate) auth: Cow<'a, str>,
    /// The characters that describe the user.
    pub(crate) user_data: Cow<'a, str>,
}

/// An event for the other subscribers.
#[derive(Debug)]
pub(crate) struct ClientEvent<'a> {
    pub(crate) name: Cow<'a, str>,
    pub(crate) channel: Cow<'a, str>,
    /// As sent; `None` if absent or null.
    pub(crate) data: Option<&'a RawValue>,
}

/// Why a frame has no meaning.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unusable {
    #[error("Frame is not JSON")]
    NotJson,
    #[error("Frame must be a JSON object with a string member \"event\"")]
    NotAnEvent,
    #[error("{event} needs the string member \"{member}\"")]
    MissingMember { event: &'static str, member: &'static str },
    #[error("Unsupported event received on socket: {0}")]
    UnknownEvent(String),
}

#[derive(Deserialize)]
struct RawFrame<'a> {
    #[serde(borrow)]
    event: Text<'a>,
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// What `data` of the `pusher:` events may hold.
#[derive(Default, Deserialize)]
struct Members<'a> {
    #[serde(borrow)]
    channel: Option<Text<'a>>,
    #[serde(borrow)]
    auth: Option<Text<'a>>,
    #[serde(borrow)]
    channel_data: Option<Signed<'a>>,
    #[serde(borrow)]
    user_data: Option<Signed<'a>>,
}

impl<'a> ClientFrame<'a> {
    /// Reads a text frame.
    pub(crate) fn parse(text: &'a str) -> Result<Self, Unusable> {
        let frame: RawFrame<'a> = json::object(text).map_err(|unreadable| match unreadable {
            Unreadable::Syntax => Unusable::NotJson,
            Unreadable::Shape => Unusable::NotAnEvent,
        })?;
        match frame.event.0.as_ref() {
            "pusher:ping" => Ok(Self::Ping),
            "pusher:pong" => Ok(Self::Pong),
            "pusher:subscribe" => {
                let data = Members::read(frame.data);
                let missing = Unusable::MissingMember { event: "pusher:subscribe", member: "data.channel" };
                Ok(Self::Subscribe(Subscribe {
                    channel: data.channel.ok_or(missing)?.0,
                    auth: data.auth.map_or(Cow::Borrowed(""), |auth| auth.0),
                    channel_data: data.channel_data.map(|data| data.0),
                }))
            }
            "pusher:unsubscribe" => {
                let missing = Unusable::MissingMember { event: "pusher:unsubscribe", member: "data.channel" };
                Ok(Self::Unsubscribe { channel: Members::read(frame.data).channel.ok_or(missing)?.0 })
            }
            "pusher:signin" => {
                let data = Members::read(frame.data);
                let missing = Unusable::MissingMember { event: "pusher:signin", member: "data.user_data" };
                Ok(Self::SignIn(SignIn {
                    auth: data.auth.map_or(Cow::Borrowed(""), |auth| auth.0),
                    user_data: data.user_data.ok_or(missing)?.0,
                }))
            }
            name if name.starts_with("client-") => match frame.channel {
                Some(channel) => {
                    Ok(Self::Event(ClientEvent { name: frame.event.0, channel: channel.0, data: frame.data }))
                }
                None => Err(Unusable::MissingMember { event: "a client event", member: "channel" }),
            },
            name => Err(Unusable::UnknownEvent(name.chars().take(ECHO_CHARS).collect())),
        }
    }
}

impl<'a> Members<'a> {
    /// Reads `data`; nothing is in it if it is neither an object nor a string holding one, or holds what cannot be
    /// meant.
    fn read(data: Option<&'a RawValue>) -> Self {
        let data = data.map_or("", RawValue::get);
        if !data.starts_with('"') {
            return json::object(data).unwrap_or_default();
        }
        let Ok(inner) = serde_json::from_str::<String>(data) else { return Self::default() };
        json::object::<Members<'_>>(&inner).map(Members::into_owned).unwrap_or_default()
    }

    fn into_owned<'b>(self) -> Members<'b> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        Members {
            channel: self.channel.map(|text| Text(owned(text.0))),
            auth: self.auth.map(|text| Text(owned(text.0))),
            channel_data: self.channel_data.map(|text| Signed(owned(text.0))),
            user_data: self.user_data.map(|text| Signed(owned(text.0))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &str) -> String {
        match ClientFrame::parse(text) {
            Ok(ClientFrame::Ping) => "ping".to_owned(),
            Ok(ClientFrame::Pong) => "pong".to_owned(),
            Ok(ClientFrame::SignIn(s)) => format!("signin {:?} {}", s.auth, s.user_data),
            Ok(ClientFrame::Subscribe(s)) => {
                let data = s.channel_data.map(|data| format!(" {data}")).unwrap_or_default();
                format!("subscribe {} {:?}{data}", s.channel, s.auth)
            }
            Ok(ClientFrame::Unsubscribe { channel }) => format!("unsubscribe {channel}"),
            Ok(ClientFrame::Event(e)) => {
                format!("event {} {} {}", e.name, e.channel, e.data.map_or("nothing", RawValue::get))
            }
            Err(unusable) => unusable.to_string(),
        }
    }

    #[test]
    fn as_real_clients_write_them() {
        for (text, expected) in [
            (r#"{"event":"pusher:ping","data":{}}"#, "ping"),
            (r#"{"event": "pusher:ping"}"#, "ping"),
            (r#"{"event":"pusher:pong","data":{}}"#, "pong"),
            (r#"{"event":"pusher:subscribe","data":{"auth":"","channel":"a"}}"#, r#"subscribe a """#),
            (r#"{"event":"pusher:subscribe","data":{"channel":"a"}}"#, r#"subscribe a """#),
            (r#"{"event":"pusher:subscribe","data":{"channel":"a","auth":null}}"#, r#"subscribe a """#),
            (r#"{"event":"pusher:subscribe","data":"{\"channel\":\"a\",\"auth\":\"k:f\"}"}"#, r#"subscribe a "k:f""#),
            (r#"{"event":"pusher:subscribe","data":{"channel":"a","channel_data":null}}"#, r#"subscribe a """#),
            (
                r#"{"event":"pusher:subscribe","data":{"auth":"k:f","channel":"a","channel_data":"{ \"user_id\":\"\u00e9\"}"}}"#,
                r#"subscribe a "k:f" { "user_id":"é"}"#,
            ),
            (
                r#"{"event":"pusher:subscribe","data":{"channel":"a","channel_data":{ "user_id":"\u00e9"}}}"#,
                r#"subscribe a "" { "user_id":"\u00e9"}"#,
            ),
            (
                r#"{"event":"pusher:subscribe","data":"{\"channel\":\"a\",\"channel_data\":\"{\\\"user_id\\\":1}\"}"}"#,
                r#"subscribe a "" {"user_id":1}"#,
            ),
            (r#"{"event":"pusher:unsubscribe","data":{"channel":"a"}}"#, "unsubscribe a"),
            (
                r#"{"event":"pusher:signin","data":{"auth":"k:f","user_data":"{\"id\":\"u\"}"}}"#,
                r#"signin "k:f" {"id":"u"}"#,
            ),
            (r#"{"event":"pusher:signin","data":{"user_data":""}}"#, r#"signin "" "#),
            (r#"{"event":"client-x","channel":"a","data":{ "n" : 1e400 }}"#, r#"event client-x a { "n" : 1e400 }"#),
            (r#"{"event":"client-x","channel":"a","data":"\u00e9"}"#, r#"event client-x a "\u00e9""#),
            (r#"{"event":"client-x","channel":"a"}"#, "event client-x a nothing"),
            (r#"{"data":{},"event":"\u0070usher:ping","more":[1,{"deep":true}]}"#, "ping"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn what_has_no_meaning() {
        let not_an_event = Unusable::NotAnEvent.to_string();
        let needs_channel = |event| Unusable::MissingMember { event, member: "data.channel" }.to_string();
        let subscribe = needs_channel("pusher:subscribe");
        for (text, expected) in [
            ("", "Frame is not JSON"),
            ("hello", "Frame is not JSON"),
            ("{\"event\":\"pusher:ping\"", "Frame is not JSON"),
            ("[\"pusher:ping\",null,null]", &not_an_event),
            ("{}", &not_an_event),
            (r#"{"event":7}"#, &not_an_event),
            (r#"{"event":"pusher:ping","channel":7}"#, &not_an_event),
            (r#"{"event":"pusher:subscribe"}"#, &subscribe),
            (r#"{"event":"pusher:subscribe","data":null}"#, &subscribe),
            (r#"{"event":"pusher:subscribe","data":["a"]}"#, &subscribe),
            (r#"{"event":"pusher:subscribe","data":"a"}"#, &subscribe),
            (r#"{"event":"pusher:subscribe","data":"\ud800"}"#, &subscribe),
            (r#"{"event":"pusher:subscribe","data":{"channel":1}}"#, &subscribe),
            (r#"{"event":"pusher:subscribe","data":{"channel":"a","channel_data":"\ud800"}}"#, &subscribe),
            (r#"{"event":"pusher:unsubscribe","data":{}}"#, &needs_channel("pusher:unsubscribe")),
            (r#"{"event":"pusher:signin"}"#, r#"pusher:signin needs the string member "data.user_data""#),
            (
                r#"{"event":"pusher:signin","data":{"auth":"k:f"}}"#,
                r#"pusher:signin needs the string member "data.user_data""#,
            ),
            (r#"{"event":"client-x","data":1}"#, r#"a client event needs the string member "channel""#),
            (r#"{"event":"pusher:nonsense"}"#, "Unsupported event received on socket: pusher:nonsense"),
            (r#"{"event":"Client-x","channel":"a"}"#, "Unsupported event received on socket: Client-x"),
        ] {
            assert_eq!(shown(text), expected, "{text}");
        }
    }

    #[test]
    fn an_error_gives_back_a_bounded_text() {
        let long = format!(r#"{{"event":"{}"}}"#, "é".repeat(10_000));
        assert_eq!(shown(&long).chars().filter(|&c| c == 'é').count(), ECHO_CHARS);
    }

    proptest! {
        #[test]
        fn any_text_is_answered(text in prop_oneof![
            "\\PC*",
            "[{}\\[\\]\",:\\\\ a-e0-9]{0,40}",
            r#"\{"event":"(pusher:(subscribe|ping)|client-a)",("channel":"a",)?"data":[{}\[\]",:\\ a-e0-9]{0,20}\}"#,
        ]) {
            prop_assert!(!shown(&text).is_empty());
        }

        #[test]
        fn depth_does_not_matter(depth in 0_usize..20_000) {
            let text = format!(r#"{{"event":"client-a","channel":"a","data":{}{}}}"#, "[".repeat(depth), "]".repeat(depth));
            prop_assert!(!shown(&text).is_empty());
        }
    }
}
