//! Batches: `POST /messages` and `GET /presence`, each over many channels, of which each succeeds or fails by itself.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::{self, Deserialize, Deserializer, SeqAccess};

use super::publish::format_of;
use super::{Answer, Exchange, Headers, Published};
use crate::encode::{error_item, writer::Writer};
use crate::query::Query;
use crate::version::Version;
use crate::wire::{ClientMessage, Format, Items, items, to_vec};
use crate::{Code, ErrorInfo};

/// Most channels of one specification, and of one request for members.
const MAX_CHANNELS: usize = 100;

/// Most publishes that one request makes: specifications times their channels.
const MAX_PUBLISHES: usize = 1_000;

/// Messages of a batch and where they go.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(default)]
pub struct BatchSpec<'a> {
    #[serde(borrow)]
    channels: Channels<'a>,
    /// What is published on each channel.
    #[serde(borrow)]
    pub messages: Items<ClientMessage<'a>>,
}

impl BatchSpec<'_> {
    /// The channels, as their names were written.
    pub fn channels(&self) -> impl Iterator<Item = &str> {
        self.channels.0.iter().map(AsRef::as_ref)
    }
}

/// One name or a list of names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Channels<'a>(Vec<Cow<'a, str>>);

/// The body of `POST /messages`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchSpecs<'a> {
    /// The specifications.
    pub specs: Vec<BatchSpec<'a>>,
    /// Whether they came as a list, and are answered so.
    listed: bool,
}

impl<'a> BatchSpecs<'a> {
    /// Reads a body: one specification or a list of them (40001, 40000, 40034).
    pub fn parse(body: &'a [u8], headers: &Headers<'_>) -> Result<Self, ErrorInfo> {
        let format = format_of(&headers.media_type());
        let read = items::<BatchSpec<'_>>(format, body).map_err(|error| Code::Unparsable.says(error.to_string()))?;
        let publishes: usize = read.items.iter().map(|spec| spec.channels.0.len()).sum();
        if read.total > read.items.len() || publishes > MAX_PUBLISHES {
            return Err(Code::TooManyMessages.says(format!("a batch makes more than {MAX_PUBLISHES} publishes")));
        }
        for spec in &read.items {
            if spec.channels.0.is_empty() || spec.channels.0.len() > MAX_CHANNELS {
                return Err(Code::BadRequest.says(format!("a batch names 1 to {MAX_CHANNELS} channels")));
            }
            if spec.messages.total == 0 {
                return Err(Code::BadRequest.says("a batch holds no messages"));
            }
        }
        Ok(Self { specs: read.items, listed: is_list(format, body) })
    }

    /// The answer: for each specification the results of its channels, in their order.
    pub fn answer(&self, exchange: &Exchange, results: &[Vec<BatchResult>]) -> Answer {
        let format = exchange.format;
        let written: Vec<Vec<Written>> = results
            .iter()
            .map(|results| results.iter().map(|result| Written::publish(format, result)).collect())
            .collect();
        if exchange.version < Version::COUNTED_BATCHES {
            return flat(exchange, 201, written.into_iter().flatten().collect());
        }
        let counted: Vec<Bytes> = written.iter().map(|results| counted(format, results)).collect();
        match counted.as_slice() {
            [single] if !self.listed => exchange.with_body(201, single.clone()),
            several => exchange.with_body(201, list(format, several.iter().map(Bytes::as_ref))),
        }
    }
}

/// What became of a batch on one channel: its name as it was written, and what was published or why not.
pub type BatchResult = (String, Result<Published, ErrorInfo>);

/// What became of a request for a channel's members: its name as it was written, and a list of them (see
/// [`crate::encode::member_list`]) or why there is none.
pub type MembersResult = (String, Result<Bytes, ErrorInfo>);

/// A request for the members of several channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchPresence {
    /// The channels, as their names were written.
    pub channels: Vec<String>,
}

impl BatchPresence {
    /// Reads `channels`, between which there is a comma or what `separator` says (40000).
    pub fn parse(query: &Query<'_>) -> Result<Self, ErrorInfo> {
        let separator = query.get("separator").filter(|separator| !separator.is_empty()).unwrap_or(",");
        let names = query.get("channels").ok_or_else(|| Code::BadRequest.says("the parameter channels is missing"))?;
        let channels: Vec<String> = names.split(separator).map(str::to_owned).collect();
        if channels.len() > MAX_CHANNELS {
            return Err(Code::BadRequest.says(format!("channels names more than {MAX_CHANNELS} channels")));
        }
        Ok(Self { channels })
    }

    /// The answer, in the channels' order.
    pub fn answer(exchange: &Exchange, results: &[MembersResult]) -> Answer {
        let written: Vec<_> = results.iter().map(|result| Written::members(exchange.format, result)).collect();
        if exchange.version < Version::COUNTED_BATCHES {
            return flat(exchange, 200, written);
        }
        exchange.with_body(200, counted(exchange.format, &written))
    }
}

/// An entry of `results`, and whether it tells of a success.
pub(super) struct Written {
    body: Bytes,
    succeeded: bool,
}

impl Written {
    /// A success.
    pub(super) fn success(format: Format, value: &impl Serialize) -> Self {
        Self { body: to_vec(format, value).into(), succeeded: true }
    }

    fn publish(format: Format, (channel, result): &BatchResult) -> Self {
        match result {
            Ok(published) => Self::success(format, published),
            Err(error) => Self::error(format, "channel", channel, error),
        }
    }

    fn members(format: Format, (channel, result): &MembersResult) -> Self {
        match result {
            Ok(members) => {
                let mut writer = Writer::new(format, 64 + channel.len() + members.len());
                let mut map = writer.map();
                map.text("channel", channel);
                map.key("presence").raw(members);
                map.end();
                Self { body: writer.into_bytes(), succeeded: true }
            }
            Err(error) => Self::error(format, "channel", channel, error),
        }
    }

    /// `{channel, error}` or the like.
    pub(super) fn error(format: Format, key: &str, value: &str, error: &ErrorInfo) -> Self {
        let mut writer = Writer::new(format, 256 + value.len());
        let mut map = writer.map();
        map.text(key, value);
        map.key("error").raw(&error_item(format, error));
        map.end();
        Self { body: writer.into_bytes(), succeeded: false }
    }
}

/// `{successCount, failureCount, results}`.
pub(super) fn counted(format: Format, results: &[Written]) -> Bytes {
    let successes = results.iter().filter(|result| result.succeeded).count();
    let mut writer = Writer::new(format, 64 + results.iter().map(|result| result.body.len() + 1).sum::<usize>());
    let mut map = writer.map();
    map.number("successCount", successes as u64);
    map.number("failureCount", (results.len() - successes) as u64);
    push_list(map.key("results"), results.iter().map(|result| result.body.as_ref()));
    map.end();
    writer.into_bytes()
}

/// As versions before the third have it: a list, which a failure turns into a part of an error.
fn flat(exchange: &Exchange, status: u16, results: Vec<Written>) -> Answer {
    let bodies = results.iter().map(|result| result.body.as_ref());
    let format = exchange.format;
    if results.iter().all(|result| result.succeeded) {
        return exchange.with_body(status, list(format, bodies));
    }
    let error = Code::BatchFailures.info();
    let mut writer = Writer::new(format, 256);
    let mut map = writer.map();
    map.key("error").raw(&error_item(format, &error));
    push_list(map.key("batchResponse"), bodies);
    map.end();
    exchange.error_with(&error, writer.into_bytes())
}

fn list<'b>(format: Format, items: impl ExactSizeIterator<Item = &'b [u8]>) -> Bytes {
    let mut writer = Writer::new(format, 64);
    push_list(&mut writer, items);
    writer.into_bytes()
}

fn push_list<'b>(writer: &mut Writer, items: impl ExactSizeIterator<Item = &'b [u8]>) {
    let mut list = writer.list(items.len());
    for item in items {
        list.item().raw(item);
    }
    list.end();
}

/// Whether a body that could be read is a list.
fn is_list(format: Format, body: &[u8]) -> bool {
    match format {
        Format::Json => body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'['),
        Format::MsgPack => matches!(body.first(), Some(0x90..=0x9f | 0xdc | 0xdd)),
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Channels<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Channels<'de>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a channel's name or a list of names")
            }
            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Channels(vec![Cow::Borrowed(name)]))
            }
            fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Channels(vec![Cow::Owned(name.to_owned())]))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
                let mut names = Vec::new();
                // One more than is allowed is enough to refuse it.
                while let Some(name) = list.next_element::<String>()? {
                    if names.len() <= MAX_CHANNELS {
                        names.push(Cow::Owned(name));
                    }
                }
                Ok(Channels(names))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    fn exchange(format: Format, version: &str) -> Exchange {
        Exchange { format, version: Version::parse(version).unwrap(), ..Exchange::default() }
    }

    fn headers(format: Format) -> Headers<'static> {
        Headers { content_type: Some(format.content_type()), ..Headers::default() }
    }

    fn results(fails: bool) -> Vec<BatchResult> {
        let published =
            Published { channel: "a".to_owned(), message_id: "m".to_owned(), serials: vec![Some("s".to_owned())] };
        let refused = fails.then(|| ("".to_owned(), Err(Code::ChannelName.info())));
        [("a".to_owned(), Ok(published))].into_iter().chain(refused).collect()
    }

    fn answered(body: Value, format: Format, version: &str, fails: bool) -> (u16, Value) {
        let body = to_vec(format, &body);
        let specs = BatchSpecs::parse(&body, &headers(format)).unwrap();
        let results: Vec<_> = specs.specs.iter().map(|_| results(fails)).collect();
        let answer = specs.answer(&exchange(format, version), &results);
        assert_eq!(answer.content_type, format.content_type());
        (answer.status, crate::wire::from_slice(format, &answer.body).unwrap())
    }

    #[test]
    fn batches_are_answered_as_they_came() {
        let spec = json!({"channels": ["a", ""], "messages": {"name": "n"}});
        let success = json!({"channel": "a", "messageId": "m", "serials": ["s"]});
        let href = "https://help.ably.io/error/40010";
        let error = json!({"code": 40010, "statusCode": 400, "message": "invalid channel name", "href": href});
        let failure = json!({"channel": "", "error": error});
        let counted = json!({"successCount": 1, "failureCount": 1, "results": [success, failure]});
        for format in Format::ALL {
            assert_eq!(answered(spec.clone(), format, "6", true), (201, counted.clone()));
            assert_eq!(answered(json!([spec]), format, "3", true), (201, json!([counted])));
            assert_eq!(answered(json!([spec, spec]), format, "6", true), (201, json!([counted, counted])));
            assert_eq!(answered(spec.clone(), format, "2", false), (201, json!([success])));
            let (status, body) = answered(json!([spec]), format, "1.2", true);
            assert_eq!((status, &body["error"]["code"]), (400, &json!(40020)));
            assert_eq!(body["batchResponse"], json!([success, failure]));
        }
    }

    #[test]
    fn specifications() {
        let parse = |json: Value| {
            let body = json.to_string();
            let specs = BatchSpecs::parse(body.as_bytes(), &headers(Format::Json)).map_err(|error| error.code)?;
            let shape =
                |spec: &BatchSpec<'_>| (spec.channels().map(str::to_owned).collect::<Vec<_>>(), spec.messages.total);
            Ok::<_, u32>(specs.specs.iter().map(shape).collect::<Vec<_>>())
        };
        let one = |channels: &[&str], messages| {
            Ok(vec![(channels.iter().map(|name| (*name).to_owned()).collect(), messages)])
        };
        assert_eq!(parse(json!({"channels": "a,b", "messages": {}})), one(&["a,b"], 1));
        assert_eq!(parse(json!([{"channels": ["a", "b"], "messages": [{}, {}], "more": 1}])), one(&["a", "b"], 2));
        assert_eq!(parse(json!([])), Ok(Vec::new()));
        let many: Vec<String> = (0..101).map(|n| n.to_string()).collect();
        for (spec, code) in [
            (json!({"channels": [], "messages": {}}), 40000),
            (json!({"messages": {}}), 40000),
            (json!({"channels": "a"}), 40000),
            (json!({"channels": "a", "messages": []}), 40000),
            (json!({"channels": many, "messages": {}}), 40000),
            (json!({"channels": 7, "messages": {}}), 40001),
            (json!({"channels": [7], "messages": {}}), 40001),
            (json!("a"), 40001),
            (json!(vec![json!({"channels": &many[..100], "messages": {}}); 11]), 40034),
        ] {
            assert_eq!(parse(spec.clone()), Err(code), "{spec}");
        }
    }

    proptest! {
        #[test]
        fn any_body_is_answered(bytes in proptest::collection::vec(any::<u8>(), 0..60), text in "\\[?\\{\"(channels|messages)\":(\"a\"|\\[\"a\"\\]|\\{\\}|7)\\}\\]?") {
            for (format, body) in [(Format::MsgPack, bytes.as_slice()), (Format::Json, &bytes), (Format::Json, text.as_bytes())] {
                if let Err(error) = BatchSpecs::parse(body, &headers(format)) {
                    prop_assert!((40000..41000).contains(&error.code));
                }
            }
        }
    }

    #[test]
    fn members_of_many() {
        let parse = |query: &str| BatchPresence::parse(&Query::parse(query).unwrap()).map(|batch| batch.channels);
        assert_eq!(parse("channels=a,b").unwrap(), ["a", "b"]);
        assert_eq!(parse("channels=a,b;c&separator=;").unwrap(), ["a,b", "c"]);
        assert_eq!(parse("").map_err(|error| error.code), Err(40000));
        let results = |fails: bool| {
            let list = |format| Bytes::from(to_vec(format, &json!([{"action": 1}])));
            move |format| -> Vec<MembersResult> {
                let refused = fails.then(|| ("b".to_owned(), Err(Code::Capability.info())));
                [("a".to_owned(), Ok(list(format)))].into_iter().chain(refused).collect()
            }
        };
        for format in Format::ALL {
            let body = |version: &str, fails: bool| {
                let answer = BatchPresence::answer(&exchange(format, version), &results(fails)(format));
                (answer.status, crate::wire::from_slice::<Value>(format, &answer.body).unwrap())
            };
            let success = json!({"channel": "a", "presence": [{"action": 1}]});
            let (status, counted) = body("6", true);
            assert_eq!((status, &counted["successCount"], &counted["failureCount"]), (200, &json!(1), &json!(1)));
            assert_eq!((&counted["results"][0], &counted["results"][1]["error"]["code"]), (&success, &json!(40160)));
            assert_eq!(body("2", false), (200, json!([success])));
            assert_eq!(body("2", true).0, 400);
        }
    }
}
