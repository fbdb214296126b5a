//! What a reader asks for.

use channels::EventPosition;

use super::{Encoder, EventId, Form, MOST_CHANNELS, Positions, Unreadable};
use crate::query::Query;
use crate::{ChannelParams, Code, ErrorInfo, Name};

/// Where it asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// `/sse`: always events.
    Sse,
    /// `/event-stream`: events if it accepts them, lines of JSON otherwise.
    EventStream,
}

/// One channel of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamChannel {
    /// As the reader calls it.
    pub name: Name,
    /// From its qualifier and the query.
    pub params: ChannelParams,
    /// Where the reader goes on. There is no rewind then.
    pub from: Option<EventPosition>,
}

/// A checked request. Credentials are read elsewhere.
#[derive(Clone, Debug)]
pub struct StreamRequest {
    /// At least one, each once.
    pub channels: Vec<StreamChannel>,
    /// Writes what is sent.
    pub encoder: Encoder,
    /// The reader wants to go on from an event whose id cannot be read: it is told so (80018), and gets what is live.
    pub unreadable: bool,
    /// Who it says it is.
    pub client_id: Option<String>,
}

impl StreamRequest {
    /// Reads a request for `path` with `query` and the headers `Accept` and `Last-Event-ID`, of which the latter counts
    /// more than `lastEvent`: a browser comes back with the query it had from the start.
    pub fn parse(
        path: Path,
        query: &str,
        accept: Option<&str>,
        last_event_id: Option<&str>,
    ) -> Result<Self, ErrorInfo> {
        let query = Query::parse(query)?;
        let version = query.get("v").ok_or_else(|| Code::ProtocolVersion.says("the v param is required"))?;
        let plain = !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        if !plain || version.len() > 8 {
            return Err(Code::ProtocolVersion.info());
        }
        let last = last_event_id.or_else(|| query.get("lastEvent")).filter(|id| !id.is_empty());
        let last = last.map(str::parse::<EventId>).transpose();
        let unreadable = last == Err(Unreadable);
        let positions = last.ok().flatten().map_or_else(Positions::default, |id| id.positions);
        Ok(Self {
            channels: channels(&query, &positions)?,
            encoder: Encoder {
                form: form(path, accept),
                enveloped: flag(&query, "enveloped", true)?,
                heartbeats: flag(&query, "heartbeats", false)?,
            },
            unreadable,
            client_id: query.get("clientId").map(str::to_owned),
        })
    }
}

fn form(path: Path, accept: Option<&str>) -> Form {
    let events = accept.is_some_and(|accept| accept.to_ascii_lowercase().contains("text/event-stream"));
    match path {
        Path::EventStream if !events => Form::Lines,
        Path::Sse | Path::EventStream => Form::Events,
    }
}

fn channels(query: &Query<'_>, positions: &Positions) -> Result<Vec<StreamChannel>, ErrorInfo> {
    let missing = || Code::BadParam.says("the channels param is required");
    let list = query.any(&["channels", "channel"]).filter(|list| !list.is_empty());
    let list = list.ok_or_else(missing)?;
    let separator = query.get("separator").filter(|separator| !separator.is_empty()).unwrap_or(",");
    let mut channels: Vec<StreamChannel> = Vec::new();
    for written in list.split(separator) {
        let name = Name::parse(written)?;
        if channels.iter().any(|channel| channel.name == name) {
            continue;
        }
        if channels.len() == MOST_CHANNELS {
            return Err(Code::TooManyChannels.info());
        }
        // The others are about publishing and presence.
        let of_all = query.iter().filter(|(key, _)| matches!(*key, "rewind" | "rewindLimit" | "delta" | "occupancy"));
        let params = ChannelParams::parse(of_all, name.params())?;
        let from = positions.get(written);
        channels.push(StreamChannel { name, params, from });
    }
    Ok(channels)
}

fn flag(query: &Query<'_>, name: &str, default: bool) -> Result<bool, ErrorInfo> {
    let bad = |_| Code::BadParam.says(format!("the {name} param is true or false"));
    query.get(name).map_or(Ok(default), |value| value.parse().map_err(bad))
}

#[cfg(test)]
mod tests {
    use channels::{Epoch, Position};

    use super::*;
    use crate::params::Back;

    fn parsed(query: &str, last_event_id: Option<&str>) -> StreamRequest {
        StreamRequest::parse(Path::Sse, query, None, last_event_id).unwrap()
    }

    fn names(request: &StreamRequest) -> Vec<&str> {
        request.channels.iter().map(|channel| &**channel.name.written()).collect()
    }

    #[test]
    fn channels_are_a_list() {
        assert_eq!(names(&parsed("v=1.2&channels=a,b%3Ac,a", None)), ["a", "b:c"]);
        assert_eq!(names(&parsed("v=1.2&channel=x+y%2Bz", None)), ["x y+z"]);
        assert_eq!(names(&parsed("v=6&channels=a,b|c&separator=|", None)), ["a,b", "c"]);
    }

    #[test]
    fn a_qualifier_counts_more_than_the_query() {
        let request = parsed("v=2&channels=%5B%3Frewind%3D1%5Da,b&rewind=2&modes=nonsense", None);
        let back = |index: usize| request.channels[index].params.rewind().map(|rewind| rewind.back);
        assert_eq!((back(0), back(1)), (Some(Back::Messages(1)), Some(Back::Messages(2))));
        assert_eq!(request.channels[0].name.base().as_str(), "a");
    }

    #[test]
    fn going_on_from_an_event() {
        let at = EventPosition { position: Position { epoch: Epoch::new(1), sequence: 5 }, skip: 2 };
        let mut positions = Positions::default();
        positions.set("a", at);
        let id = EventId { connection: "c".to_owned(), positions }.to_string();
        let from = |request: StreamRequest| {
            assert!(!request.unreadable);
            request.channels.into_iter().map(|channel| channel.from).collect::<Vec<_>>()
        };
        assert_eq!(from(parsed("v=2&channels=a,b", Some(&id))), [Some(at), None]);
        assert_eq!(from(parsed(&format!("v=2&channels=a&lastEvent={id}"), None)), [Some(at)]);
        assert_eq!(from(parsed("v=2&channels=a&lastEvent=nonsense", Some(&id))), [Some(at)]);
        assert_eq!(from(parsed("v=2&channels=a&lastEvent=", Some(""))), [None]);
        assert!(parsed("v=2&channels=a", Some("nonsense")).unreadable);
    }

    #[test]
    fn events_or_lines() {
        let form = |path, accept| StreamRequest::parse(path, "v=2&channels=a", accept, None).unwrap().encoder.form;
        assert_eq!(form(Path::Sse, None), Form::Events);
        assert_eq!(form(Path::Sse, Some("application/json")), Form::Events);
        assert_eq!(form(Path::EventStream, None), Form::Lines);
        assert_eq!(form(Path::EventStream, Some("text/event-stream, */*")), Form::Events);
    }

    #[test]
    fn what_is_refused() {
        let many: Vec<_> = (0..=MOST_CHANNELS).map(|channel| channel.to_string()).collect();
        for (query, code) in [
            ("channels=a", 40017),
            ("v=x&channels=a", 40017),
            ("v=2", 40003),
            ("v=2&channels=", 40003),
            ("v=2&channels=a,,b", 40010),
            ("v=2&channels=a&rewind=x", 40000),
            ("v=2&channels=a&enveloped=maybe", 40003),
            (&format!("v=2&channels={}", many.join(",")), 90010),
        ] {
            assert_eq!(StreamRequest::parse(Path::Sse, query, None, None).unwrap_err().code, code, "{query}");
        }
    }
}
