//! Publishers: requests on connections that stay open, each sent when it is due.
//!
//! One thread sends and one reads the answers, for all connections. A request that is due is sent even if earlier ones
//! have no answer yet (HTTP pipelining, or frames), so that a slow server does not slow the load down, and order stays
//! defined. All latencies count from the moment a request was **due**. Requests are made before the first is sent.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};

use super::PATIENCE;
use super::http::Broken;
use super::link::Link;
use super::protocol::{Dialect, Protocol, Word, ably_acknowledgement};
use super::wire::{Form, Piece};
use crate::error::Error;
use crate::measure::latency::Latencies;
use crate::measure::schedule::Schedule;
use crate::target::Target;

/// How long a wait for answers takes at most before it looks up.
const LOOK_UP: Duration = Duration::from_millis(100);

/// How requests are made and answered.
#[derive(Debug)]
enum Voice {
    /// Over HTTP.
    Http,
    /// Over an Ably connection, in MessagePack or JSON.
    Ably { packed: bool },
}

/// Connections of publishers.
#[derive(Debug)]
pub(crate) struct Publishers {
    voice: Voice,
    lines: Vec<Mutex<Line>>,
    poll: Poll,
}

/// One connection, shared by who sends and who reads.
#[derive(Debug)]
struct Line {
    link: Link,
    /// Numbers of the requests that have no answer yet.
    asked: VecDeque<u64>,
    /// How many frames were answered, over Ably.
    answered: u64,
    greeted: bool,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Published {
    /// From due to sent: by how much the generator itself was late.
    pub(crate) lateness: Latencies,
    /// From due to answered with a success.
    pub(crate) acknowledged: Latencies,
    /// Numbers of the requests that were refused.
    pub(crate) refused: BTreeSet<u64>,
    /// The first such answer.
    pub(crate) refusal: Option<String>,
    /// Answers that were to nothing, or out of turn.
    pub(crate) unexpected: u64,
    /// When the last answer came.
    pub(crate) last: Instant,
}

impl Published {
    fn new(start: Instant) -> Self {
        Self {
            lateness: Latencies::new(),
            acknowledged: Latencies::new(),
            refused: BTreeSet::new(),
            refusal: None,
            unexpected: 0,
            last: start,
        }
    }
}

/// What an answer says of itself: its status (200 for what has none) and body. An error is why it is not taken for one.
pub(crate) type Check<'a> = &'a mut dyn FnMut(u64, u16, &[u8]) -> Result<(), String>;

/// Takes every success.
pub(crate) fn success(_: u64, status: u16, body: &[u8]) -> Result<(), String> {
    if status / 100 == 2 { Ok(()) } else { Err(format!("{status} {}", String::from_utf8_lossy(body))) }
}

impl Publishers {
    /// Opens `count` connections, spread over `addresses`: for HTTP requests, or over an Ably `protocol`.
    pub(crate) fn open(
        target: &Target,
        addresses: &[SocketAddr],
        count: usize,
        protocol: Option<Protocol>,
    ) -> Result<Self, Error> {
        let poll = Poll::new().map_err(Error::system("making a poll"))?;
        let dialect = protocol.map(|protocol| Dialect::new(target, protocol, &[])).transpose()?;
        let mut lines = Vec::with_capacity(count);
        for index in 0..count {
            let address = addresses[index % addresses.len()];
            let system = || Error::system(format!("connecting a publisher to {address}"));
            let form = if dialect.is_some() { Form::WebSocket } else { Form::Answers };
            let request = dialect.as_ref().map(|dialect| dialect.request(address, &[], None)).unwrap_or_default();
            let mut link = Link::connect(address, target.tls.as_ref(), form, &request).map_err(system())?;
            link.transport.register(poll.registry(), Token(index)).map_err(system())?;
            lines.push(Mutex::new(Line { link, asked: VecDeque::new(), answered: 0, greeted: dialect.is_none() }));
        }
        let voice = match protocol {
            None => Voice::Http,
            Some(protocol) => Voice::Ably { packed: protocol == Protocol::AblyMsgpack },
        };
        let mut publishers = Self { voice, lines, poll };
        if let Some(dialect) = &dialect {
            publishers.await_greetings(dialect)?;
        }
        Ok(publishers)
    }

    fn await_greetings(&mut self, dialect: &Dialect) -> Result<(), Error> {
        let (mut events, mut scratch) = (Events::with_capacity(256), Vec::new());
        let deadline = Instant::now() + PATIENCE;
        while self.lines.iter().any(|line| !lock(line).greeted) {
            wait(&mut self.poll, &mut events)?;
            for event in &events {
                let Line { link, greeted, .. } = &mut *lock(&self.lines[event.token().0]);
                let mut foreign = None;
                let open = link.transport.flush().is_ok()
                    && link.pump(&mut scratch, |_, piece| match piece {
                        Piece::Message(frame) if matches!(dialect.word(frame), Word::Greeting { .. }) => {
                            *greeted = true
                        }
                        Piece::Message(frame) => foreign = Some(String::from_utf8_lossy(frame).into_owned()),
                        _ => {}
                    });
                if !open || foreign.is_some() {
                    let received = foreign.unwrap_or_else(|| "the end of the connection".to_owned());
                    return Err(Error::Unwelcome { awaited: "CONNECTED", received });
                }
            }
            if Instant::now() > deadline {
                return Err(Error::Unwelcome { awaited: "CONNECTED", received: "nothing in time".to_owned() });
            }
        }
        Ok(())
    }

    /// Sends `requests`, one for each of the schedule's, the `k`th over connection `line(k)`; returns when all are
    /// answered. `done` counts the answers.
    pub(crate) fn run(
        &mut self,
        schedule: Schedule,
        requests: &[Vec<u8>],
        line: impl Fn(u64) -> usize + Send,
        check: Check<'_>,
        done: &AtomicU64,
    ) -> Result<Published, Error> {
        let Self { voice, lines, poll } = self;
        let lines = &*lines;
        thread::scope(|scope| {
            let sender = scope.spawn(|| send(lines, schedule, requests, line));
            let mut answers = Answers { voice, lines, published: Published::new(schedule.due(0)), check, done };
            let answered = answers.read_all(poll, schedule, requests.len() as u64);
            if answered.is_err() {
                // A sender that goes on has nobody to answer it; it ends with its schedule.
                return answered.map(|()| answers.published);
            }
            let lateness = sender.join().expect("the sender does not panic").map_err(Broken::from)?;
            Ok(Published { lateness, ..answers.published })
        })
    }

    /// Sends `requests`, one after the other and over again, over all connections, each the next one as soon as it has an
    /// answer, for `time`. Answers what came of it, and how many were answered.
    pub(crate) fn saturate(
        &mut self,
        requests: &[Vec<u8>],
        time: Duration,
        check: Check<'_>,
    ) -> Result<(Published, u64), Error> {
        let start = Instant::now();
        let (mut events, mut scratch) = (Events::with_capacity(256), Vec::new());
        let mut published = Published::new(start);
        let mut begun = vec![start; self.lines.len()];
        let (mut next, mut answered) = (0_u64, 0_u64);
        let mut ask = |line: &mut Line, begun: &mut Instant| {
            *begun = Instant::now();
            line.asked.push_back(next);
            next += 1;
            let index = usize::try_from(next - 1).unwrap_or(0) % requests.len();
            line.link.transport.send(&requests[index]).map_err(Broken::from)
        };
        for (line, begun) in self.lines.iter().zip(&mut begun) {
            ask(&mut lock(line), begun)?;
        }
        let mut under_way = self.lines.len();
        while under_way > 0 {
            wait(&mut self.poll, &mut events)?;
            for event in &events {
                let Token(index) = event.token();
                let mut line = lock(&self.lines[index]);
                line.link.transport.flush().map_err(Broken::from)?;
                let mut answers = Vec::new();
                let open = line.link.pump(&mut scratch, |_, piece| match piece {
                    Piece::Answer(status, body) => answers.push(check(0, status, body)),
                    other => answers.push(Err(format!("{other:?}"))),
                });
                if !open {
                    return Err(Broken::Closed.into());
                }
                for answer in answers {
                    published.last = Instant::now();
                    answered += 1;
                    under_way -= 1;
                    let number = line.asked.pop_front().ok_or(Broken::Unsupported("an answer to nothing"))?;
                    match answer {
                        Ok(()) => published.acknowledged.record(published.last - begun[index]),
                        Err(why) => {
                            published.refusal.get_or_insert(why);
                            published.refused.insert(number);
                        }
                    }
                    if start.elapsed() < time {
                        ask(&mut line, &mut begun[index])?;
                        under_way += 1;
                    }
                }
            }
            if published.last.elapsed() > PATIENCE {
                return Err(silence());
            }
        }
        Ok((published, answered))
    }
}

fn silence() -> Error {
    Broken::Io(io::Error::new(ErrorKind::TimedOut, "no answer in time")).into()
}

fn lock(line: &Mutex<Line>) -> MutexGuard<'_, Line> {
    line.lock().expect("nobody panics with the lock")
}

fn wait(poll: &mut Poll, events: &mut Events) -> Result<(), Error> {
    match poll.poll(events, Some(LOOK_UP)) {
        Err(error) if error.kind() != ErrorKind::Interrupted => Err(Error::system("waiting for answers")(error)),
        _ => Ok(()),
    }
}

fn send(
    lines: &[Mutex<Line>],
    schedule: Schedule,
    requests: &[Vec<u8>],
    line: impl Fn(u64) -> usize,
) -> io::Result<Latencies> {
    let mut lateness = Latencies::new();
    for (number, request) in (0..).zip(requests) {
        let due = schedule.due(number);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let mut line = lock(&lines[line(number)]);
        lateness.record(due.elapsed());
        line.asked.push_back(number);
        line.link.transport.send(request)?;
    }
    Ok(lateness)
}

/// Who reads the answers.
struct Answers<'a> {
    voice: &'a Voice,
    lines: &'a [Mutex<Line>],
    published: Published,
    check: Check<'a>,
    done: &'a AtomicU64,
}

impl Answers<'_> {
    fn read_all(&mut self, poll: &mut Poll, schedule: Schedule, count: u64) -> Result<(), Error> {
        let (mut events, mut scratch) = (Events::with_capacity(256), Vec::new());
        let mut answered = 0;
        while answered < count {
            wait(poll, &mut events)?;
            for event in &events {
                let line = &mut *lock(&self.lines[event.token().0]);
                let Line { link, asked, answered: frames, .. } = line;
                let mut open = link.transport.flush().is_ok();
                open &= link.pump(&mut scratch, |_, piece| {
                    answered += match self.voice {
                        Voice::Http => self.answer(asked, schedule, &piece),
                        Voice::Ably { packed } => self.acknowledgement(asked, frames, schedule, *packed, &piece),
                    };
                });
                if !open {
                    return Err(Broken::Closed.into());
                }
            }
            let since = self.published.last.max(schedule.due(answered.min(count - 1)));
            if Instant::now().saturating_duration_since(since) > PATIENCE {
                return Err(silence());
            }
        }
        Ok(())
    }

    fn answer(&mut self, asked: &mut VecDeque<u64>, schedule: Schedule, piece: &Piece<'_>) -> u64 {
        let Piece::Answer(status, body) = piece else {
            self.published.unexpected += 1;
            return 0;
        };
        let Some(number) = asked.pop_front() else {
            self.published.unexpected += 1;
            return 0;
        };
        let result = (self.check)(number, *status, body);
        self.settle(number, schedule, result);
        1
    }

    fn acknowledgement(
        &mut self,
        asked: &mut VecDeque<u64>,
        frames: &mut u64,
        schedule: Schedule,
        packed: bool,
        piece: &Piece<'_>,
    ) -> u64 {
        let frame = match piece {
            Piece::Message(frame) => frame,
            Piece::Ping(_) => return 0,
            Piece::Head(_) | Piece::Answer(..) | Piece::Event(_) | Piece::Close(_) | Piece::Foreign(_) => {
                self.published.unexpected += 1;
                return 0;
            }
        };
        let Some((first, count, why)) = ably_acknowledgement(packed, frame) else { return 0 };
        if first != *frames || count > asked.len() as u64 {
            self.published.unexpected += 1;
        }
        let mut settled = 0;
        for _ in 0..count {
            let Some(number) = asked.pop_front() else { break };
            *frames += 1;
            settled += 1;
            self.settle(number, schedule, why.clone().map_or(Ok(()), Err));
        }
        settled
    }

    fn settle(&mut self, number: u64, schedule: Schedule, result: Result<(), String>) {
        let published = &mut self.published;
        published.last = Instant::now();
        match result {
            Ok(()) => {
                published.acknowledged.record(published.last.saturating_duration_since(schedule.due(number)));
            }
            Err(why) => {
                published.refusal.get_or_insert(why);
                published.refused.insert(number);
            }
        }
        self.done.fetch_add(1, Relaxed);
    }
}
