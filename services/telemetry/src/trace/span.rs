//! One span: what was done, from when to when, under which other span.

use std::fmt;
use std::time::{Instant, SystemTime};

use super::context::Context;
use super::queue::Queue;

/// Most events of a span. A publish that is retried until its deadline has more.
const MAX_EVENTS: usize = 32;

/// What a span is to its neighbours in the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It answers a request from outside.
    Server,
    /// It asks somebody outside, and waits for the answer.
    Client,
    /// It hands on what is taken elsewhere, and later.
    Producer,
    /// It takes what was handed on.
    Consumer,
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A text. Never a secret, a payload, or the name of a channel or a user.
    Text(String),
    /// A number.
    Number(u64),
    /// Yes or no.
    Switch(bool),
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        Self::Number(number)
    }
}

impl From<bool> for Value {
    fn from(switch: bool) -> Self {
        Self::Switch(switch)
    }
}

/// Something being done that is traced. It ends when it is dropped.
pub struct Span {
    /// Until then.
    recorded: Option<Box<Recorded>>,
    queue: Queue,
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Span({:?})", self.recorded)
    }
}

/// What is exported of a span.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) context: Context,
    pub(super) parent: Option<u64>,
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    pub(super) begun: Instant,
    pub(super) ended: Instant,
    /// `ended` on the clock of the world.
    pub(super) ended_at: SystemTime,
    pub(super) attributes: Vec<(&'static str, Value)>,
    pub(super) events: Vec<Event>,
    pub(super) left_out_events: u32,
    /// Why what was done failed.
    pub(super) failure: Option<String>,
}

/// Something that happened in a span.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) at: Instant,
    pub(super) name: &'static str,
    pub(super) attributes: Vec<(&'static str, Value)>,
}

impl Span {
    pub(super) fn begin(
        queue: Queue,
        (name, kind): (&'static str, Kind),
        trace: u128,
        parent: Option<u64>,
        begun: Instant,
    ) -> Self {
        let recorded = Recorded {
            context: Context { trace, span: rand::random::<u64>().max(1), is_sampled: true },
            parent,
            name,
            kind,
            begun,
            ended: begun,
            ended_at: SystemTime::UNIX_EPOCH,
            attributes: Vec::new(),
            events: Vec::new(),
            left_out_events: 0,
            failure: None,
        };
        Self { recorded: Some(Box::new(recorded)), queue }
    }

    /// Says something about it, once. Names are dotted and in lower case.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.unset(name);
        if let Some(recorded) = &mut self.recorded {
            recorded.attributes.push((name, value.into()));
        }
    }

    /// Adds to a number that was said about it, and gives the sum.
    pub fn add(&mut self, name: &'static str, number: u64) -> u64 {
        let said = self.recorded.iter().flat_map(|recorded| &recorded.attributes).find(|(each, _)| *each == name);
        let sum = number + if let Some((_, Value::Number(before))) = said { *before } else { 0 };
        self.set(name, sum);
        sum
    }

    /// Takes back what was said about it.
    pub fn unset(&mut self, name: &'static str) {
        if let Some(recorded) = &mut self.recorded {
            recorded.attributes.retain(|(each, _)| *each != name);
        }
    }

    /// Says that something happened in it now.
    pub fn event(&mut self, name: &'static str, attributes: Vec<(&'static str, Value)>) {
        let Some(recorded) = &mut self.recorded else { return };
        if recorded.events.len() < MAX_EVENTS {
            recorded.events.push(Event { at: Instant::now(), name, attributes });
        } else {
            recorded.left_out_events += 1;
        }
    }

    /// Says that what was done failed, and why.
    pub fn fail(&mut self, why: impl Into<String>) {
        if let Some(recorded) = &mut self.recorded {
            recorded.failure = Some(why.into());
        }
    }

    /// Which trace it belongs to, as logs say it.
    pub fn trace_id(&self) -> String {
        self.recorded.as_ref().map(|recorded| format!("{:032x}", recorded.context.trace)).unwrap_or_default()
    }

    /// What others hang their spans on: a W3C `traceparent`.
    pub fn traceparent(&self) -> Box<str> {
        self.recorded.as_ref().map(|recorded| recorded.context.to_string()).unwrap_or_default().into()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        if let Some(mut recorded) = self.recorded.take() {
            (recorded.ended, recorded.ended_at) = (Instant::now(), SystemTime::now());
            self.queue.put(recorded);
        }
    }
}
