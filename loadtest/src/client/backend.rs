//! An application's backend, as `docs/recovery.md` has it: it asks the history of a channel for clients of the Pusher
//! protocol that come back.
//!
//! Those that ask the same question share a request, but only one that is sent after they asked: what was published
//! between an older answer and a client's subscription would reach that client neither way.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use mio::{Events, Poll, Token};
use serde::Deserialize;

use super::http::{Broken, signed};
use super::link::Link;
use super::message::{Stamp, stamps};
use super::wire::{Form, Piece};
use crate::error::Error;
use crate::target::Target;

/// Most events of an answer: all that the API gives.
const LIMIT: &str = "1000";

/// What is asked: for the history of a channel behind a position, which is empty for all of it.
type Question = (String, String);

/// The backend's connection, and who waits for what.
#[derive(Debug)]
pub(crate) struct Backend {
    target: Target,
    address: SocketAddr,
    poll: Poll,
    events: Events,
    scratch: Vec<u8>,
    link: Link,
    /// Questions under way, in the order in which they were sent.
    sent: VecDeque<Question>,
    /// Who asked, before and after the request that is under way was sent.
    waiting: HashMap<Question, (Vec<usize>, Vec<usize>)>,
    /// How many requests there were.
    pub(crate) requests: u64,
}

/// The history of a channel behind a position.
#[derive(Debug, Default)]
pub(crate) struct Missed {
    /// Messages and their positions, oldest first; none in the place of one that is not ours.
    pub(crate) events: Vec<(Option<Stamp>, String)>,
    /// Whether nothing is missing.
    pub(crate) complete: bool,
    /// Whether there is more behind `next`.
    pub(crate) more: bool,
    /// Where to go on.
    pub(crate) next: String,
}

impl Backend {
    /// Begins to connect.
    pub(crate) fn connect(target: &Target, address: SocketAddr) -> Result<Self, Error> {
        let system = || Error::system(format!("connecting a backend to {address}"));
        let poll = Poll::new().map_err(system())?;
        let mut link = Link::connect(address, target.tls.as_ref(), Form::Answers, b"").map_err(system())?;
        link.transport.register(poll.registry(), Token(0)).map_err(system())?;
        Ok(Self {
            target: target.clone(),
            address,
            poll,
            events: Events::with_capacity(8),
            scratch: Vec::new(),
            link,
            sent: VecDeque::new(),
            waiting: HashMap::new(),
            requests: 0,
        })
    }

    /// Asks for `client` what came on `channel` behind `after`.
    pub(crate) fn ask(&mut self, client: usize, channel: &str, after: &str) -> Result<(), Error> {
        let question = (channel.to_owned(), after.to_owned());
        match self.waiting.get_mut(&question) {
            Some((_, later)) => later.push(client),
            None => {
                self.waiting.insert(question.clone(), (vec![client], Vec::new()));
                self.send(question)?;
            }
        }
        Ok(())
    }

    /// Hands the answers that are there to those who asked. Does not wait.
    pub(crate) fn turn(&mut self, mut answered: impl FnMut(usize, &Rc<Missed>)) -> Result<(), Error> {
        self.poll.poll(&mut self.events, Some(Duration::ZERO)).map_err(Error::system("waiting for a history"))?;
        if self.events.is_empty() {
            return Ok(());
        }
        self.link.transport.flush().map_err(Broken::from)?;
        let mut answers = Vec::new();
        let open = self.link.pump(&mut self.scratch, |_, piece| match piece {
            Piece::Answer(200, body) => answers.push(Missed::parse(body)),
            _ => answers.push(None),
        });
        for answer in answers {
            let unreadable = || Broken::Unsupported("no history");
            let (answer, question) = (Rc::new(answer.ok_or_else(unreadable)?), self.sent.pop_front());
            let question = question.ok_or_else(unreadable)?;
            let (now, later) = self.waiting.remove(&question).unwrap_or_default();
            now.iter().for_each(|client| answered(*client, &answer));
            if !later.is_empty() {
                self.waiting.insert(question.clone(), (later, Vec::new()));
                self.send(question)?;
            }
        }
        if open { Ok(()) } else { Err(Broken::Closed.into()) }
    }

    fn send(&mut self, question: Question) -> Result<(), Error> {
        let (channel, after) = &question;
        let parameters = [("limit", LIMIT), ("after", after)];
        let parameters = if after.is_empty() { &parameters[..1] } else { &parameters[..] };
        let path = format!("/channels/{channel}/events");
        let request = signed(&self.target, self.address, "GET", &path, parameters, b"");
        self.link.transport.send(&request).map_err(Broken::from)?;
        self.requests += 1;
        self.sent.push_back(question);
        Ok(())
    }
}

impl Missed {
    fn parse(body: &[u8]) -> Option<Self> {
        #[derive(Deserialize)]
        struct Event {
            data: String,
            position: String,
        }
        #[derive(Deserialize)]
        struct History {
            events: Vec<Event>,
            complete: bool,
            more: bool,
            next: String,
        }
        let History { events, complete, more, next } = serde_json::from_slice(body).ok()?;
        let event = |Event { data, position }| (stamps(data.as_bytes()).next().flatten(), position);
        Some(Self { events: events.into_iter().map(event).collect(), complete, more, next })
    }
}

/// Whether position `one` is behind `other`: of the same epoch by its numbers, and of another one always.
pub(crate) fn is_after(one: &str, other: &str) -> bool {
    let parts = |position: &str| {
        let (epoch, rest) = position.split_once('-')?;
        let (sequence, part) = rest.split_once('.').unwrap_or((rest, "0"));
        Some((epoch.to_owned(), sequence.parse::<u64>().ok()?, part.parse::<u64>().ok()?))
    };
    match (parts(one), parts(other)) {
        (Some((epoch, sequence, part)), Some(other)) => epoch != other.0 || (sequence, part) > (other.1, other.2),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_are_ordered_within_an_epoch() {
        for (one, other) in
            [("0a-10", "0a-9"), ("0a-9.1", "0a-9"), ("0a-9.10", "0a-9.9"), ("0b-1", "0a-9"), ("0a-1", "")]
        {
            assert!(is_after(one, other), "{one} {other}");
        }
        for (one, other) in [("0a-9", "0a-10"), ("0a-9", "0a-9"), ("0a-9", "0a-9.1")] {
            assert!(!is_after(one, other), "{one} {other}");
        }
    }

    #[test]
    fn reads_a_history() {
        let stamp = Stamp { source: 1, number: 2 };
        let body = serde_json::json!({
            "events": [{"name": "load", "data": stamp.data(64), "position": "0a-1"}, {"name": "x", "data": "y", "position": "0a-2"}],
            "complete": true, "more": false, "next": "0a-3", "head": "0a-3",
        });
        let missed = Missed::parse(body.to_string().as_bytes()).unwrap();
        assert_eq!(missed.events, [(Some(stamp), "0a-1".to_owned()), (None, "0a-2".to_owned())]);
        assert_eq!((missed.complete, missed.more, missed.next.as_str()), (true, false, "0a-3"));
        assert!(Missed::parse(b"{}").is_none());
    }
}
