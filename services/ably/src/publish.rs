//! What a publish has to be, over a connection or by REST, and the messages that come of it (spec §6.1, 9.2).

use bytes::Bytes;
use channels::{ClientId, ConnectionId, Message};
use serde_json::{Map, Value};

use crate::data::Payload;
use crate::wire::{ClientMessage, Field, Items, Json, Text};
use crate::{Code, ErrorInfo, Identity};

/// Longest id that a client may give, in bytes: it is part of what the backbone knows a publish by.
const MAX_ID_BYTES: usize = 200;

/// Who publishes, and how much at once.
#[derive(Clone, Copy, Debug)]
pub struct Publisher<'a> {
    /// Whose names its messages may bear.
    pub identity: &'a Identity,
    /// Its connection, or the one it publishes for.
    pub connection: Option<&'a ConnectionId>,
    /// Most bytes of all messages together.
    pub message_bytes: usize,
    /// Most messages.
    pub messages: usize,
}

/// A publish that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Composed {
    /// What a record takes; none if none were sent.
    pub messages: Vec<Message>,
    /// What the client calls the whole; without an index behind it, if its messages are called so.
    pub id: Option<String>,
    /// Who all of it is from. If its messages are from several, each of them says so.
    pub client: Option<ClientId>,
    /// Whether it is delivered and not stored.
    pub ephemeral: bool,
    /// How large it counts as.
    pub bytes: usize,
}

/// Checks what a client wants published. It is taken whole or not at all. A `connectionKey` is not looked at here.
pub fn compose(items: &Items<ClientMessage<'_>>, publisher: &Publisher<'_>) -> Result<Composed, ErrorInfo> {
    if items.total > publisher.messages.min(items.items.len()) {
        return Err(Code::TooManyMessages.says(format!("more than {} messages in one publish", publisher.messages)));
    }
    let mut composed =
        Composed { messages: Vec::new(), id: base_id(&items.items)?, client: None, ephemeral: false, bytes: 0 };
    for (index, item) in items.items.iter().enumerate() {
        let Checked { message, ephemeral, bytes } = check(item, publisher)?;
        // A record goes one way.
        if index > 0 && composed.ephemeral != ephemeral {
            return Err(Code::InvalidPublish.says("either all messages of a publish are ephemeral, or none"));
        }
        composed.bytes += bytes;
        if composed.bytes > publisher.message_bytes {
            let limit = publisher.message_bytes;
            return Err(Code::TooLarge.says(format!("the publish is larger than maxMessageSize, {limit} bytes")));
        }
        composed.ephemeral = ephemeral;
        composed.messages.push(message);
    }
    composed.client = common_client(&mut composed.messages);
    if let ([message], Some(base)) = (composed.messages.as_mut_slice(), &composed.id) {
        // An id of its own making: it is the message's as it stands.
        let given = items.items.first().and_then(|item| item.id.given());
        message.id = given.filter(|given| *given == base).map(|given| given.to_string());
    }
    Ok(composed)
}

/// Whom all messages are from, who then need not say it.
fn common_client(messages: &mut [Message]) -> Option<ClientId> {
    let client = messages.first()?.client.clone();
    let common = messages.iter().all(|message| message.client == client);
    let client = client.filter(|_| common)?;
    messages.iter_mut().for_each(|message| message.client = None);
    Some(client)
}

struct Checked {
    /// With whom it is from.
    message: Message,
    ephemeral: bool,
    bytes: usize,
}

fn check(item: &ClientMessage<'_>, publisher: &Publisher<'_>) -> Result<Checked, ErrorInfo> {
    match item.action {
        Field::Absent | Field::Given(0) => {}
        // Update, delete, append.
        Field::Given(1 | 2 | 5) => return Err(Code::NotMutable.into()),
        Field::Given(_) | Field::Wrong => return Err(Code::InvalidPublish.says("unknown message action")),
    }
    let name = item.name.checked(|| Code::InvalidPublish.says("name must be a string"))?;
    let claimed = item.client_id.checked(|| Code::ClientId.says("clientId must be a string"))?;
    let client = publisher.identity.acting_as(claimed.map(AsRef::as_ref))?;
    check_connection(&item.connection_id, publisher.connection)?;
    let payload = Payload::new(&item.data, &item.encoding)?;
    let extras = Extras::read(&item.extras)?;
    let size_of = |text: Option<&str>| text.map_or(0, str::len);
    let bytes = size_of(name.map(AsRef::as_ref))
        + payload.size
        + size_of(client.as_ref().map(|client| client.as_str()))
        + extras.json.len();
    let message = Message {
        id: None,
        client,
        name: name.map(|name| name.to_string()),
        data: payload.data,
        encoding: payload.encoding,
        extras: extras.json,
    };
    Ok(Checked { message, ephemeral: extras.ephemeral, bytes })
}

/// A connectionId is only ever one's own.
pub(crate) fn check_connection(claimed: &Field<Text<'_>>, own: Option<&ConnectionId>) -> Result<(), ErrorInfo> {
    match claimed {
        Field::Absent => Ok(()),
        Field::Given(claimed) if own.is_some_and(|own| own.as_str() == claimed) => Ok(()),
        Field::Given(_) | Field::Wrong => Err(Code::ForeignConnection.into()),
    }
}

/// `extras` as they are stored.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// JSON text of an object; empty if there are none.
    pub(crate) json: Bytes,
    ephemeral: bool,
}

impl Extras {
    /// 40032 if they are no object, or one that cannot be told to clients of either format.
    pub(crate) fn read(extras: &Json<'_>) -> Result<Self, ErrorInfo> {
        let invalid = || Code::Extras.says("extras must be an object");
        let Some(json) = extras.0.checked(invalid)? else { return Ok(Self::default()) };
        // Its depth and numbers are bounded by this, too.
        let mut members: Map<String, Value> = serde_json::from_str(json).map_err(|_| invalid())?;
        let ephemeral = members.get("ephemeral").and_then(Value::as_bool).unwrap_or_default();
        // Only the server says of what a message is a delta: receivers would look for that message, over and over.
        let json = match members.remove("delta") {
            None => Bytes::copy_from_slice(json.as_bytes()),
            Some(_) => Value::Object(members).to_string().into(),
        };
        Ok(Self { json, ephemeral })
    }
}

/// What the client calls the whole publish: `base` of `base:0` to `base:n-1`, or any id of a single message. 40031 if its
/// ids do not go together.
fn base_id(items: &[ClientMessage<'_>]) -> Result<Option<String>, ErrorInfo> {
    let invalid = || Code::MessageId.says("ids of one publish must be base:0, base:1 and so on, with one base");
    let ids = items.iter().map(|item| item.id.checked(|| Code::MessageId.says("id must be a string")));
    let ids: Vec<Option<&Text<'_>>> = ids.collect::<Result<_, _>>()?;
    let Some(first) = ids.first().copied().flatten() else {
        return if ids.iter().all(Option::is_none) { Ok(None) } else { Err(invalid()) };
    };
    let base = first.strip_suffix(":0").unwrap_or(first);
    if base.is_empty() || first.len() > MAX_ID_BYTES || first.chars().any(char::is_control) {
        return Err(Code::MessageId.says(format!("an id has 1 to {MAX_ID_BYTES} bytes without control characters")));
    }
    let belongs = |(index, id): (usize, &Option<&Text<'_>>)| {
        id.and_then(|id| id.strip_prefix(base)?.strip_prefix(':')).is_some_and(|rest| rest == index.to_string())
    };
    if ids.len() > 1 && !ids.iter().enumerate().all(belongs) {
        return Err(invalid());
    }
    Ok(Some(base.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{self, Format};

    fn composed_as(identity: &Identity, json: &str) -> Result<Composed, ErrorInfo> {
        let connection = ConnectionId::new("c0nnA").unwrap();
        let publisher = Publisher { identity, connection: Some(&connection), message_bytes: 100, messages: 3 };
        compose(&wire::items(Format::Json, json.as_bytes()).unwrap(), &publisher)
    }

    fn composed(json: &str) -> Result<Composed, u32> {
        composed_as(&Identity::Any, json).map_err(|error| error.code)
    }

    #[test]
    fn ids_go_together() {
        let ids = |json: &str| {
            let composed = composed(json)?;
            let ids: Vec<_> = composed.messages.into_iter().map(|message| message.id).collect();
            Ok::<_, u32>((composed.id, ids))
        };
        let base = Some("b".to_owned());
        assert_eq!(ids(r#"{"name":"n"}"#), Ok((None, vec![None])));
        assert_eq!(ids(r#"{"id":"b:0"}"#), Ok((base.clone(), vec![None])));
        assert_eq!(ids(r#"{"id":"b"}"#), Ok((base.clone(), vec![base.clone()])));
        assert_eq!(ids(r#"[{"id":"b:0"},{"id":"b:1"}]"#), Ok((base, vec![None, None])));
        for wrong in [
            r#"[{"id":"b:0"},{"id":"b:2"}]"#,
            r#"[{"id":"b:0"},{"id":"c:1"}]"#,
            r#"[{"id":"b:0"},{}]"#,
            r#"[{},{"id":"b:1"}]"#,
            r#"[{"id":"b"},{"id":"b"}]"#,
            r#"{"id":""}"#,
            r#"{"id":":0"}"#,
            r#"{"id":7}"#,
            r#"{"id":"a\nb"}"#,
        ] {
            assert_eq!(ids(wrong), Err(40031), "{wrong}");
        }
    }

    #[test]
    fn size_is_names_data_clients_and_extras() {
        let sized = |json: &str| composed(json).map(|composed| composed.bytes);
        assert_eq!(sized(r#"{"name":"ab","data":"cde","clientId":"f","extras":{"a":1}}"#), Ok(2 + 3 + 1 + 7));
        assert_eq!(sized(r#"{"data":"AQIDBA==","encoding":"base64"}"#), Ok(4));
        assert_eq!(sized(&format!(r#"{{"data":"{}"}}"#, "x".repeat(100))), Ok(100));
        assert_eq!(sized(&format!(r#"{{"data":"{}"}}"#, "x".repeat(101))), Err(40009));
        assert_eq!(sized(&format!(r#"[{{"data":"{0}"}},{{"data":"{0}"}}]"#, "x".repeat(51))), Err(40009));
        assert_eq!(sized("[{},{},{},{}]"), Err(40034));
        assert_eq!(sized("[]"), Ok(0));
    }

    #[test]
    fn what_is_no_message() {
        for (json, code) in [
            (r#"{"data":5}"#, 40013),
            (r#"{"data":true}"#, 40013),
            (r#"{"data":"\ud83d"}"#, 40013),
            (r#"{"data":"a","encoding":1}"#, 40013),
            (r#"{"name":1}"#, 40030),
            (r#"{"extras":"a"}"#, 40032),
            (r#"{"extras":[]}"#, 40032),
            (r#"{"extras":{"a":1e999}}"#, 40032),
            (r#"{"clientId":"*"}"#, 40012),
            (r#"{"clientId":1}"#, 40012),
            (r#"{"connectionId":"other"}"#, 40006),
            (r#"{"action":1,"serial":"s"}"#, 93002),
            (r#"{"action":5,"serial":"s"}"#, 93002),
            (r#"{"action":3}"#, 40030),
            (r#"[{"extras":{"ephemeral":true}},{}]"#, 40030),
        ] {
            assert_eq!(composed(json), Err(code), "{json}");
        }
        let nested = format!(r#"{{"extras":{{"a":{}{}}}}}"#, "[".repeat(200), "]".repeat(200));
        assert_eq!(composed(&nested), Err(40032));
    }

    #[test]
    fn clients_are_said_once_where_they_are_one() {
        let clients = |json: &str| {
            let composed = composed(json).unwrap();
            let text = |client: Option<ClientId>| client.map(|client| client.as_str().to_owned()).unwrap_or_default();
            let each = composed.messages.into_iter().map(|message| text(message.client)).collect::<Vec<_>>();
            (text(composed.client), each.join(","))
        };
        let said = |common: &str, each: &str| (common.to_owned(), each.to_owned());
        assert_eq!(clients(r#"[{"clientId":"a"},{"clientId":"a"}]"#), said("a", ","));
        assert_eq!(clients(r#"[{"clientId":"a"},{"clientId":"b"}]"#), said("", "a,b"));
        assert_eq!(clients(r#"[{"clientId":"a"},{}]"#), said("", "a,"));
        assert_eq!(clients("[{},{}]"), said("", ","));
    }

    #[test]
    fn what_is_one() {
        let whole = composed(
            r#"{"name":"n","data":{"a": 1},"clientId":"bob","connectionId":"c0nnA","action":0,
               "extras":{"ephemeral":true,"x":null},"timestamp":5,"serial":"mine","version":{},"unknown":[{}]}"#,
        );
        let whole = whole.unwrap();
        assert!(whole.ephemeral);
        assert_eq!(whole.client.unwrap().as_str(), "bob");
        let [message] = whole.messages.as_slice() else { panic!("one message") };
        assert_eq!((message.name.as_deref(), message.encoding.as_str()), (Some("n"), "json"));
        assert_eq!(message.data, r#"{"a": 1}"#);
        assert_eq!(message.extras, r#"{"ephemeral":true,"x":null}"#);
        let delta = composed(r#"{"extras":{"delta":{"from":"x"},"a":1}}"#).unwrap();
        assert_eq!(delta.messages[0].extras, r#"{"a":1}"#);
        let own = Identity::Is(ClientId::new("bob").unwrap());
        assert_eq!(composed_as(&own, "{}").unwrap().client.unwrap().as_str(), "bob");
        assert_eq!(composed_as(&own, r#"{"clientId":"eve"}"#).unwrap_err().code, 40012);
    }
}
