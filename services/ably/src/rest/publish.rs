//! `POST /channels/{channel}/messages`: bodies of every form, and the answer.
//!
//! What a publish has to be, however it comes, is [`crate::publish::compose`]'s business.

use std::borrow::Cow;

use channels::Position;
use serde::Serialize;

use super::Headers;
use crate::query::Query;
use crate::serial::Serial;
use crate::wire::{ClientMessage, Data, Field, Format, Items, Json, Text, from_slice, items};
use crate::{Code, ErrorInfo};

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Published {
    /// The channel, as the publisher wrote it.
    pub channel: String,
    /// What the publish is called; its messages are, too, with `:0` and so on behind it.
    pub message_id: String,
    /// The messages' serials; null for one that was not stored and has none.
    pub serials: Vec<Option<String>>,
}

impl Published {
    /// The answer to a publish of `count` messages on `channel` that was called `base` and stored at `at`.
    pub fn new(channel: &str, base: &str, at: Option<Position>, timestamp_ms: u64, count: usize) -> Self {
        let serial = |index| Serial::new(at, Some(base), timestamp_ms, index).map(|serial| serial.to_string());
        Self { channel: channel.to_owned(), message_id: base.to_owned(), serials: (0..count).map(serial).collect() }
    }
}

/// Reads the body of a publish (40001).
///
/// JSON or MessagePack of one message or a list, or a form of one; with `enveloped=false` in the query, the payload itself,
/// and what else there is to say in headers or in parameters called like them.
pub fn parse_publish<'a>(
    body: &'a [u8],
    query: &Query<'_>,
    headers: &Headers<'_>,
) -> Result<Items<ClientMessage<'a>>, ErrorInfo> {
    if query.get("enveloped") == Some("false") {
        return bare(body, query, headers).map(one);
    }
    match headers.media_type().as_str() {
        "application/x-www-form-urlencoded" => form(body).map(one),
        media_type => {
            let malformed = |error: crate::wire::Malformed| Code::Unparsable.says(error.to_string());
            items(format_of(media_type), body).map_err(malformed)
        }
    }
}

/// The format of a body that is not a form: what is not said to be MessagePack has to be JSON.
pub(super) fn format_of(media_type: &str) -> Format {
    if media_type == Format::MsgPack.content_type() { Format::MsgPack } else { Format::Json }
}

/// The connection that the messages are to be published for, by its key: the same for all of them (40006).
pub fn connection_key<'i>(items: &'i Items<ClientMessage<'_>>) -> Result<Option<&'i str>, ErrorInfo> {
    let mut keys = items.items.iter().map(|item| item.connection_key.checked(|| Code::ForeignConnection.info()));
    let Some(first) = keys.next().transpose()? else { return Ok(None) };
    for key in keys {
        if key? != first {
            return Err(Code::ForeignConnection.says("the messages of one publish must be for one connection"));
        }
    }
    Ok(first.map(AsRef::as_ref))
}

/// The refusal that a client asked for, to see what it does with one (40099).
pub fn forced_refusal(query: &Query<'_>) -> Result<(), ErrorInfo> {
    if query.flag("_forceNack") { Err(Code::Forced.info()) } else { Ok(()) }
}

fn one(message: ClientMessage<'_>) -> Items<ClientMessage<'_>> {
    Items { items: vec![message], total: 1 }
}

fn given(text: Option<&str>) -> Field<Text<'static>> {
    text.map_or(Field::Absent, |text| Field::Given(Cow::Owned(text.to_owned())))
}

fn form(body: &[u8]) -> Result<ClientMessage<'static>, ErrorInfo> {
    let text = std::str::from_utf8(body).map_err(|_| Code::Unparsable.says("the form is not UTF-8"))?;
    let form = Query::parse(text).map_err(|error| Code::Unparsable.says(error.message))?;
    Ok(ClientMessage {
        id: given(form.get("id")),
        name: given(form.get("name")),
        data: form.get("data").map_or(Data::Absent, |data| Data::Text(Cow::Owned(data.to_owned()))),
        encoding: given(form.get("encoding")),
        client_id: given(form.get("clientId")),
        connection_id: given(form.get("connectionId")),
        connection_key: given(form.get("connectionKey")),
        extras: Json(given(form.get("extras"))),
        action: Field::Absent,
    })
}

/// A message whose payload is the whole body.
fn bare<'a>(body: &'a [u8], query: &Query<'_>, headers: &Headers<'_>) -> Result<ClientMessage<'a>, ErrorInfo> {
    let media_type = headers.media_type();
    let client_id = headers.client_id()?;
    let either = |header: Option<&str>, names: &[&str]| given(header.or_else(|| query.any(names)));
    let malformed = |error: crate::wire::Malformed| Code::Unparsable.says(error.to_string());
    let data = match media_type.as_str() {
        _ if body.is_empty() => Data::Absent,
        "application/json" => from_slice(Format::Json, body).map_err(malformed)?,
        "application/x-msgpack" => from_slice(Format::MsgPack, body).map_err(malformed)?,
        // Bytes unless it is text by name, or by nature where nothing is said.
        kind if kind.starts_with("text/") || kind.is_empty() || kind == "application/x-www-form-urlencoded" => {
            std::str::from_utf8(body).map_or_else(|_| Data::Bytes(body.into()), |text| Data::Text(text.into()))
        }
        _ => Data::Bytes(body.into()),
    };
    Ok(ClientMessage {
        id: either(headers.x_ably_message_id, &["messageId", "id"]),
        name: either(headers.x_ably_name, &["name"]),
        data,
        encoding: either(headers.x_ably_encoding, &["encoding"]),
        client_id: either(client_id.as_deref(), &["clientId"]),
        connection_id: Field::Absent,
        connection_key: either(headers.x_ably_connection_key, &["connectionKey"]),
        extras: Json(Field::Absent),
        action: Field::Absent,
    })
}

#[cfg(test)]
mod tests {
    use channels::Epoch;
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;
    use crate::Identity;
    use crate::publish::{Composed, Publisher, compose};
    use crate::wire::to_vec;

    fn composed(media_type: &str, query: &str, headers: Headers<'_>, body: &[u8]) -> Result<Composed, u32> {
        let headers = Headers { content_type: (!media_type.is_empty()).then_some(media_type), ..headers };
        let query = Query::parse(query).unwrap();
        let items = parse_publish(body, &query, &headers).map_err(|error| error.code)?;
        let publisher = Publisher { identity: &Identity::Any, connection: None, message_bytes: 65_536, messages: 1000 };
        compose(&items, &publisher).map_err(|error| error.code)
    }

    /// An id, and each message's name, data and encoding.
    type Shown = (Option<String>, Vec<(Option<String>, String, String)>);

    fn shown(composed: Composed) -> Shown {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let message = |message: channels::Message| (message.name, text(&message.data), message.encoding);
        (composed.id, composed.messages.into_iter().map(message).collect())
    }

    #[test]
    fn the_forms_of_a_body() {
        let no = Headers::default();
        let single = (None, vec![(Some("n".to_owned()), "d".to_owned(), String::new())]);
        let message = json!({"name": "n", "data": "d"});
        for (media_type, body) in [
            ("application/json", to_vec(Format::Json, &message)),
            ("application/json; charset=utf-8", to_vec(Format::Json, &message)),
            ("", to_vec(Format::Json, &message)),
            ("text/plain", to_vec(Format::Json, &message)),
            ("application/json", to_vec(Format::Json, &json!([message]))),
            ("application/x-msgpack", to_vec(Format::MsgPack, &message)),
            ("application/x-msgpack", to_vec(Format::MsgPack, &json!([message]))),
            ("application/x-www-form-urlencoded", b"name=n&data=d".to_vec()),
        ] {
            assert_eq!(composed(media_type, "", no, &body).map(shown), Ok(single.clone()), "{media_type}");
        }
        let form =
            b"name=a+b&data=%7B%22x%22%3A1%7D&encoding=json&id=i%3A0&clientId=bob&extras=%7B%22headers%22%3A%7B%7D%7D";
        let composed_form = composed("application/x-www-form-urlencoded", "", no, form).unwrap();
        assert_eq!(composed_form.client.as_ref().unwrap().as_str(), "bob");
        assert_eq!(composed_form.messages[0].extras, r#"{"headers":{}}"#);
        let expected =
            (Some("i".to_owned()), vec![(Some("a b".to_owned()), r#"{"x":1}"#.to_owned(), "json".to_owned())]);
        assert_eq!(shown(composed_form), expected);
        for (media_type, body, code) in [
            ("application/json", "", 40001),
            ("application/json", "{", 40001),
            ("application/json", "7", 40001),
            ("application/x-msgpack", "\u{1}", 40001),
            ("application/json", r#"{"data":7}"#, 40013),
            ("application/x-www-form-urlencoded", "data=%ff", 40001),
            ("application/x-www-form-urlencoded", "data=d&extras=7", 40032),
        ] {
            assert_eq!(composed(media_type, "", no, body.as_bytes()).map(shown), Err(code), "{media_type} {body}");
        }
    }

    #[test]
    fn a_bare_payload() {
        let headers = Headers {
            x_ably_name: Some("n"),
            x_ably_message_id: Some("m"),
            x_ably_client_id: Some("Ym9i"),
            ..Headers::default()
        };
        let one = |data: &str, encoding: &str| {
            Ok((Some("m".to_owned()), vec![(Some("n".to_owned()), data.to_owned(), encoding.to_owned())]))
        };
        let bare = |media_type: &str, headers: Headers<'_>, body: &[u8]| {
            composed(media_type, "enveloped=false", headers, body).map(shown)
        };
        assert_eq!(bare("text/plain", headers, b"a \xc3\xa9"), one("a é", ""));
        assert_eq!(bare("", headers, b"{\"a\": 1}"), one("{\"a\": 1}", ""));
        assert_eq!(bare("application/json", headers, b"{\"a\": 1}"), one("{\"a\": 1}", "json"));
        assert_eq!(bare("application/json", headers, b"\"text\""), one("text", ""));
        assert_eq!(bare("application/octet-stream", headers, b"\x01\x02\xff"), one("AQL/", "base64"));
        let encrypted = Headers { x_ably_encoding: Some("cipher+aes-128-cbc/base64"), ..headers };
        assert_eq!(bare("text/plain", encrypted, b"AQL/"), one("AQL/", "cipher+aes-128-cbc/base64"));
        let by_query = "enveloped=false&name=n&messageId=m&clientId=bob";
        let whole = composed("text/plain", by_query, Headers::default(), b"d").unwrap();
        assert_eq!(whole.client.as_ref().unwrap().as_str(), "bob");
        assert_eq!(Ok(shown(whole)), one("d", ""));
        assert_eq!(bare("application/json", headers, b"7"), Err(40013));
        assert_eq!(bare("application/json", headers, b"{"), Err(40001));
    }

    #[test]
    fn all_messages_are_for_one_connection() {
        let key = |body: &str| {
            let items = parse_publish(body.as_bytes(), &Query::default(), &Headers::default()).unwrap();
            connection_key(&items).map(|key| key.map(str::to_owned)).map_err(|error| error.code)
        };
        assert_eq!(key(r#"[{"connectionKey":"k"},{"connectionKey":"k"}]"#), Ok(Some("k".to_owned())));
        assert_eq!(key(r#"{"name":"n"}"#), Ok(None));
        assert_eq!(key("[]"), Ok(None));
        for body in [r#"[{"connectionKey":"k"},{}]"#, r#"[{},{"connectionKey":"k"}]"#, r#"{"connectionKey":7}"#] {
            assert_eq!(key(body), Err(40006), "{body}");
        }
    }

    #[test]
    fn a_refusal_on_demand() {
        let forced = |query: &str| forced_refusal(&Query::parse(query).unwrap()).map_err(|error| error.code);
        assert_eq!(forced("_forceNack=true"), Err(40099));
        assert_eq!((forced("_forceNack=false"), forced("")), (Ok(()), Ok(())));
    }

    #[test]
    fn the_answer() {
        let at = Position { epoch: Epoch::new(0xe1), sequence: 42 };
        let published = serde_json::to_value(Published::new("a b", "base", Some(at), 5, 2)).unwrap();
        let serials = ["00000000000000e1-00000000000042:000", "00000000000000e1-00000000000042:001"];
        assert_eq!(published, json!({"channel": "a b", "messageId": "base", "serials": serials}));
    }

    proptest! {
        #[test]
        fn any_body_is_answered(
            media_type in "application/(json|x-msgpack|x-www-form-urlencoded|octet-stream)|text/plain|",
            enveloped in prop_oneof![Just(""), Just("enveloped=false")],
            body in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..60),
                r#"\[?\{"(name|data|id|extras|connectionKey)":("a:0"|1|\{\}|null)\}\]?"#.prop_map(String::into_bytes),
            ],
        ) {
            if let Err(code) = composed(&media_type, enveloped, Headers::default(), &body) {
                prop_assert!((40000..41000).contains(&code) || code == 93002);
            }
        }
    }
}
