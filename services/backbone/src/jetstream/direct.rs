//! Reading stored messages: batched Direct Get, and the leader's slower but never stale answer.
//!
//! Direct Get is answered by any replica, which may lag behind an acknowledged publish or be frozen; callers that know
//! what they look for retry, and then ask the leader.

use std::time::Duration;

use async_nats::{Client, HeaderMap, Message, Subscriber};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::StreamExt as _;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// How long a replica may be silent before another is tried. A frozen one keeps getting its share of requests.
const REPLICA_TIMEOUT: Duration = Duration::from_millis(500);

/// How long the leader may take.
const LEADER_TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes of one answer: there is no flow control, and the server's own bound is 64 MB.
const MAX_BYTES: usize = 4 << 20;

/// Most subjects of one head comparison. The server's limit is 1,024.
pub(super) const MAX_SUBJECTS: usize = 512;

/// Most messages in one answer, its end included: what a subscription on the reads' connection must be able to hold.
pub(super) const MAX_ANSWERS: usize = 2 * MAX_SUBJECTS;

/// The server's code for "there is no such message", as opposed to "there is no such stream".
const NO_MESSAGE_FOUND: u32 = 10037;

/// Headers of messages that mark a removal or a lapse; values of key-value subjects have neither.
const REMOVALS: [&str; 2] = ["KV-Operation", "Nats-Marker-Reason"];

/// A message as stored.
#[derive(Clone, Debug)]
pub(super) struct Stored {
    pub(super) subject: String,
    pub(super) sequence: u64,
    pub(super) stored_ns: i64,
    pub(super) payload: Bytes,
    /// Of key-value subjects: whether it marks the removal or lapse of the value.
    pub(super) removed: bool,
}

/// A batch of one subject's messages.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) messages: Vec<Stored>,
    /// How many more of the subject follow the last one.
    pub(super) pending: u64,
}

/// The newest messages of several subjects, as some replica has them.
#[derive(Debug)]
pub(super) enum Newest {
    /// These.
    Found {
        /// The replica had everything up to here.
        as_of: u64,
        entries: Vec<Stored>,
    },
    /// No subject has one.
    None,
    /// More than the server gives at once.
    TooMany,
}

/// Why a read failed. A missing message is not a failure.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    #[error("no answer in time")]
    TimedOut,
    #[error("nobody serves the stream now")]
    NoResponders,
    #[error("the connection is closed")]
    Closed,
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

/// Where a batch begins.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    /// At this sequence or the first after it.
    Sequence(u64),
    /// At the first message stored at or after this time, nanoseconds since the Unix epoch.
    Time(i64),
}

#[derive(Serialize)]
struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    seq: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_by_subj: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_by_subj: Option<&'a str>,
    #[serde(skip_serializing_if = "<[&str]>::is_empty")]
    multi_last: &'a [&'a str],
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_bytes: Option<usize>,
}

impl Request<'_> {
    const EMPTY: Self = Self {
        seq: None,
        start_time: None,
        next_by_subj: None,
        last_by_subj: None,
        multi_last: &[],
        batch: None,
        max_bytes: None,
    };

    fn body(&self) -> Bytes {
        serde_json::to_vec(self).expect("strings and numbers are always JSON").into()
    }
}

/// Reads over one connection.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    client: Client,
}

impl Reader {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Up to `count` messages of `subject`, oldest first, as some replica has them.
    pub(super) async fn batch(
        &self,
        stream: &str,
        subject: &str,
        from: From,
        count: usize,
    ) -> Result<Batch, ReadError> {
        let request = Request { batch: Some(count), max_bytes: Some(MAX_BYTES), ..from.request(subject) };
        self.direct(stream, &request).await
    }

    /// The newest message of each subject that has one, as some replica has them; at most [`MAX_SUBJECTS`] subjects.
    /// If some are `pending`, the answer had no room for them: ask again for those that are not in it.
    pub(super) async fn heads(&self, stream: &str, subjects: &[&str]) -> Result<Batch, ReadError> {
        self.direct(stream, &Request { multi_last: subjects, max_bytes: Some(MAX_BYTES), ..Request::EMPTY }).await
    }

    /// The newest message of each subject that `filter`, which may hold wildcards, matches.
    pub(super) async fn newest_of(&self, stream: &str, filter: &str) -> Result<Newest, ReadError> {
        let request = Request { multi_last: &[filter], max_bytes: Some(MAX_BYTES), ..Request::EMPTY };
        let mut answers = self.ask(stream, &request).await?;
        let mut entries = Vec::new();
        loop {
            let answer = tokio::time::timeout(REPLICA_TIMEOUT, answers.next()).await;
            let answer = answer.map_err(|_| ReadError::TimedOut)?.ok_or(ReadError::Closed)?;
            let header = |name: &str| answer.headers.as_ref().and_then(|headers| number(headers, name));
            match answer.status.map(|status| status.as_u16()) {
                None => entries.push(stored(answer)?),
                // The answer had no room for the rest.
                Some(204) if header("Nats-Num-Pending").unwrap_or(0) > 0 => return Ok(Newest::TooMany),
                Some(204) => {
                    let as_of = header("Nats-UpTo-Sequence");
                    let as_of = as_of.ok_or_else(|| ReadError::Unexpected("no Nats-UpTo-Sequence".to_owned()))?;
                    return Ok(Newest::Found { as_of, entries });
                }
                Some(404) => return Ok(Newest::None),
                Some(413) => return Ok(Newest::TooMany),
                Some(503) => return Err(ReadError::NoResponders),
                Some(status) => return Err(unexpected(status, answer.description.as_deref())),
            }
        }
    }

    /// The newest message of `subject`, as the leader has it.
    pub(super) async fn leader_head(&self, stream: &str, subject: &str) -> Result<Option<Stored>, ReadError> {
        self.leader(stream, &Request { last_by_subj: Some(subject), ..Request::EMPTY }).await
    }

    /// The first message of `subject` at or after `from`, as the leader has it.
    pub(super) async fn leader_next(
        &self,
        stream: &str,
        subject: &str,
        from: From,
    ) -> Result<Option<Stored>, ReadError> {
        self.leader(stream, &from.request(subject)).await
    }

    /// The newest revision of a key-value subject, as the leader has it, with its value unless that was a removal.
    pub(super) async fn leader_entry(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<(u64, Option<Bytes>)>, ReadError> {
        let request = Request { last_by_subj: Some(subject), ..Request::EMPTY };
        let newest = self.leader(stream, &request).await?;
        Ok(newest.map(|stored| (stored.sequence, (!stored.removed).then_some(stored.payload))))
    }

    async fn ask(&self, stream: &str, request: &Request<'_>) -> Result<Subscriber, ReadError> {
        let inbox = self.client.new_inbox();
        let answers = self.client.subscribe(inbox.clone()).await.map_err(|_| ReadError::Closed)?;
        let subject = format!("$JS.API.DIRECT.GET.{stream}");
        self.client.publish_with_reply(subject, inbox, request.body()).await.map_err(|_| ReadError::Closed)?;
        Ok(answers)
    }

    async fn direct(&self, stream: &str, request: &Request<'_>) -> Result<Batch, ReadError> {
        let mut answers = self.ask(stream, request).await?;
        let mut batch = Batch::default();
        loop {
            let answer = tokio::time::timeout(REPLICA_TIMEOUT, answers.next()).await;
            let answer = answer.map_err(|_| ReadError::TimedOut)?.ok_or(ReadError::Closed)?;
            match answer.status.map(|status| status.as_u16()) {
                None => batch.messages.push(stored(answer)?),
                // End of batch.
                Some(204) => {
                    batch.pending = answer.headers.as_ref().and_then(|h| number(h, "Nats-Num-Pending")).unwrap_or(0);
                    return Ok(batch);
                }
                Some(404) => return Ok(batch),
                Some(503) => return Err(ReadError::NoResponders),
                Some(status) => return Err(unexpected(status, answer.description.as_deref())),
            }
        }
    }

    async fn leader(&self, stream: &str, request: &Request<'_>) -> Result<Option<Stored>, ReadError> {
        self.leader_message(stream, request).await?.map(LeaderMessage::stored).transpose()
    }

    async fn leader_message(&self, stream: &str, request: &Request<'_>) -> Result<Option<LeaderMessage>, ReadError> {
        let subject = format!("$JS.API.STREAM.MSG.GET.{stream}");
        let send = self.client.request(subject, request.body());
        let answer = tokio::time::timeout(LEADER_TIMEOUT, send).await.map_err(|_| ReadError::TimedOut)?;
        let answer = answer.map_err(|error| match error.kind() {
            async_nats::RequestErrorKind::NoResponders => ReadError::NoResponders,
            async_nats::RequestErrorKind::TimedOut => ReadError::TimedOut,
            _ => ReadError::Closed,
        })?;
        let answer: LeaderAnswer =
            serde_json::from_slice(&answer.payload).map_err(|error| ReadError::Unexpected(error.to_string()))?;
        match answer {
            LeaderAnswer { message: Some(message), .. } => Ok(Some(message)),
            LeaderAnswer { error: Some(error), .. } if error.err_code == NO_MESSAGE_FOUND => Ok(None),
            // Also a stream that is gone for the moment: it will be made anew.
            LeaderAnswer { error: Some(error), .. } if matches!(error.code, 404 | 503) => Err(ReadError::NoResponders),
            LeaderAnswer { error, .. } => {
                let (code, description) = error.map(|error| (error.code, error.description)).unwrap_or_default();
                Err(unexpected(code, Some(&description)))
            }
        }
    }
}

impl From {
    fn request(self, subject: &str) -> Request<'_> {
        let (seq, start_time) = match self {
            Self::Sequence(sequence) => (Some(sequence), None),
            Self::Time(ns) => (None, rfc3339(ns)),
        };
        Request { seq, start_time, next_by_subj: Some(subject), ..Request::EMPTY }
    }
}

#[derive(Deserialize)]
struct LeaderAnswer {
    message: Option<LeaderMessage>,
    error: Option<LeaderError>,
}

#[derive(Deserialize)]
struct LeaderMessage {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    time: String,
}

#[derive(Deserialize, Default)]
struct LeaderError {
    code: u16,
    #[serde(default)]
    err_code: u32,
    #[serde(default)]
    description: String,
}

impl LeaderMessage {
    fn stored(self) -> Result<Stored, ReadError> {
        let payload = STANDARD.decode(&self.data).map_err(|error| ReadError::Unexpected(error.to_string()))?;
        let stored_ns = parse_time(&self.time)?;
        let headers = STANDARD.decode(&self.hdrs).map_err(|error| ReadError::Unexpected(error.to_string()))?;
        let headers = String::from_utf8_lossy(&headers);
        let removed = REMOVALS.iter().any(|name| headers.contains(&format!("{name}:")));
        Ok(Stored { subject: self.subject, sequence: self.seq, stored_ns, payload: payload.into(), removed })
    }
}

fn unexpected(status: u16, description: Option<&str>) -> ReadError {
    ReadError::Unexpected(format!("{status} {}", description.unwrap_or_default()))
}

fn stored(message: Message) -> Result<Stored, ReadError> {
    let headers = message.headers.ok_or_else(|| ReadError::Unexpected("a message without headers".to_owned()))?;
    let header = |name: &str| headers.get(name).map(|value| value.as_str());
    let missing = |name: &str| ReadError::Unexpected(format!("a message without {name}"));
    let subject = header("Nats-Subject").ok_or_else(|| missing("Nats-Subject"))?.to_owned();
    let sequence = number(&headers, "Nats-Sequence").ok_or_else(|| missing("Nats-Sequence"))?;
    let stored_ns = parse_time(header("Nats-Time-Stamp").ok_or_else(|| missing("Nats-Time-Stamp"))?)?;
    let removed = REMOVALS.iter().any(|name| headers.get(*name).is_some());
    Ok(Stored { subject, sequence, stored_ns, payload: message.payload, removed })
}

/// A header that holds a number.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    headers.get(name)?.as_str().parse().ok()
}

/// A NATS time stamp as nanoseconds since the Unix epoch.
pub(super) fn parse_time(text: &str) -> Result<i64, ReadError> {
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|error| ReadError::Unexpected(error.to_string()))?;
    i64::try_from(time.unix_timestamp_nanos()).map_err(|error| ReadError::Unexpected(error.to_string()))
}

fn rfc3339(ns: i64) -> Option<String> {
    OffsetDateTime::from_unix_timestamp_nanos(i128::from(ns)).ok()?.format(&Rfc3339).ok()
}
