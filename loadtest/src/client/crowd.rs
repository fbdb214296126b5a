//! Many subscribers, read by one thread.
//!
//! Owns how a client gets from nothing to being subscribed, and what it needs to go on after its connection is lost.
//! Deliberately knows nothing of what messages mean for a profile, which hears of all that happens.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mio::{Events, Poll, Token};
use rustls::ClientConfig;

use super::PATIENCE;
use super::link::Link;
use super::message::{Stamp, stamps};
use super::protocol::{Dialect, Kind, Protocol, Word};
use super::transport::Transport;
use super::wire::Piece;
use crate::error::Error;
use crate::target::Target;

/// How many connections are in the making at a time when nobody measures it: enough to keep the server busy, fewer than
/// any listen queue.
const CONNECTING: usize = 16;

/// What happens at a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum News<'a> {
    /// It is connected, but not subscribed to anything; what signatures or a resume need to know of the connection.
    Greeted(Option<&'a str>),
    /// It is subscribed to all its channels; also each time that it subscribes to one again after that.
    Subscribed,
    /// A message, and where the client stands behind it.
    Message(Stamp, Option<&'a str>),
    /// A member that came or went.
    Presence(Stamp, &'a [u8]),
    /// Something that no client can expect, or a message that is damaged or of another channel.
    Unexpected(&'a [u8]),
    /// The connection was refused, or is lost.
    Closed,
}

/// The clients, each by its number.
#[derive(Debug)]
pub(crate) struct Crowd {
    dialect: Dialect,
    tls: Option<Arc<ClientConfig>>,
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    scratch: Vec<u8>,
    /// Whether clients subscribe as soon as they are greeted.
    pub(crate) subscribing: bool,
    /// Whether clients note where they stand, and go on from there when they come back.
    pub(crate) resuming: bool,
}

/// One client.
#[derive(Debug)]
struct Client {
    /// Those that it subscribes to.
    channels: Vec<u32>,
    link: Option<Link>,
    /// How many of the channels are confirmed.
    confirmed: usize,
    /// By channel of the list above, or one for all of a stream.
    positions: Vec<String>,
    /// What resumes the connection.
    resume: Option<String>,
}

impl Crowd {
    /// One client for each of `subscriptions`, which are indexes into `channels`. None is connected.
    pub(crate) fn new(
        target: &Target,
        protocol: Protocol,
        channels: &[String],
        subscriptions: &[Vec<u32>],
    ) -> Result<Self, Error> {
        let client = |channels: &Vec<u32>| Client {
            channels: channels.clone(),
            link: None,
            confirmed: 0,
            positions: Vec::new(),
            resume: None,
        };
        Ok(Self {
            dialect: Dialect::new(target, protocol, channels)?,
            tls: target.tls.clone(),
            poll: Poll::new().map_err(Error::system("making a poll"))?,
            events: Events::with_capacity(1024),
            clients: subscriptions.iter().map(client).collect(),
            scratch: Vec::new(),
            subscribing: true,
            resuming: false,
        })
    }

    /// How many clients there are.
    pub(crate) fn len(&self) -> usize {
        self.clients.len()
    }

    /// Begins to connect `client`; whether it could, which the news would tell otherwise.
    pub(crate) fn open(&mut self, client: usize, address: SocketAddr) -> Result<(), Error> {
        let system = || Error::system(format!("connecting a client to {address}"));
        let it = &mut self.clients[client];
        let resume = match self.dialect.protocol {
            _ if !self.resuming => None,
            Protocol::Pusher => None,
            Protocol::AblyJson | Protocol::AblyMsgpack => it.resume.as_deref(),
            Protocol::Sse => it.positions.first().map(String::as_str),
        };
        let request = self.dialect.request(address, &it.channels, resume);
        let mut link = Link::connect(address, self.tls.as_ref(), self.dialect.form(), &request).map_err(system())?;
        link.transport.register(self.poll.registry(), Token(client)).map_err(system())?;
        it.confirmed = 0;
        it.link = Some(link);
        Ok(())
    }

    /// Closes the connection of `client` without a word.
    pub(crate) fn close(&mut self, client: usize) {
        self.clients[client].link = None;
    }

    /// Subscribes `client` to all its channels.
    pub(crate) fn subscribe(&mut self, client: usize) -> Result<(), Error> {
        let it = &mut self.clients[client];
        let Some(link) = &mut it.link else { return Ok(()) };
        let frames = subscriptions(&self.dialect, &it.channels, &it.positions, self.resuming);
        link.transport.send(&frames).map_err(Error::system("subscribing"))
    }

    /// Sends a frame of `client`'s protocol; nothing if it has no connection.
    pub(crate) fn send(&mut self, client: usize, frame: &[u8]) -> Result<(), Error> {
        let Some(link) = &mut self.clients[client].link else { return Ok(()) };
        link.transport.send(frame).map_err(Error::system("sending a frame"))
    }

    /// Waits until something comes, but no longer than `longest`, and tells `hear` of all there is.
    pub(crate) fn turn(
        &mut self,
        longest: Duration,
        mut hear: impl FnMut(usize, News<'_>, Instant),
    ) -> Result<(), Error> {
        match self.poll.poll(&mut self.events, Some(longest)) {
            Err(error) if error.kind() != ErrorKind::Interrupted => {
                return Err(Error::system("waiting for many connections")(error));
            }
            _ => {}
        }
        for event in &self.events {
            let Token(index) = event.token();
            let Client { channels, link, confirmed, positions, resume } = &mut self.clients[index];
            let Some(there) = link else { continue };
            let mut open = !event.is_writable() || there.transport.flush().is_ok();
            if event.is_readable() || event.is_error() || event.is_read_closed() {
                let mut state = State { channels, confirmed, positions, resume };
                open &= there.pump(&mut self.scratch, |transport, piece| {
                    let settings = (self.subscribing, self.resuming);
                    state.take(&self.dialect, settings, transport, &piece, |news| hear(index, news, Instant::now()));
                });
            }
            if !open {
                *link = None;
                hear(index, News::Closed, Instant::now());
            }
        }
        Ok(())
    }

    /// Connects all clients, spread evenly over `addresses`, a few at a time, until all are subscribed (or greeted, if
    /// they do not subscribe). Answers how long it took.
    pub(crate) fn open_all(&mut self, addresses: &[SocketAddr]) -> Result<Duration, Error> {
        let (start, count) = (Instant::now(), self.len());
        let (mut begun, mut done, mut failure) = (0, 0, None);
        let subscribing = self.subscribing;
        let mut progress = Instant::now();
        while done < count {
            while begun < count && begun - done < CONNECTING {
                self.open(begun, addresses[begun % addresses.len()])?;
                begun += 1;
            }
            self.turn(Duration::from_millis(100), |_, news, now| match news {
                News::Subscribed => (done, progress) = (done + 1, now),
                News::Greeted(_) if !subscribing => (done, progress) = (done + 1, now),
                // A message: others may be publishing already.
                News::Greeted(_) | News::Message(..) | News::Presence(..) => {}
                News::Unexpected(frame) => {
                    failure.get_or_insert_with(|| String::from_utf8_lossy(frame).into_owned());
                }
                News::Closed => {
                    failure.get_or_insert_with(|| "the end of the connection".to_owned());
                }
            })?;
            if progress.elapsed() > PATIENCE {
                failure.get_or_insert_with(|| "nothing in time".to_owned());
            }
            if let Some(received) = failure {
                return Err(Error::Unwelcome { awaited: "a subscription", received });
            }
        }
        Ok(start.elapsed())
    }
}

/// What changes of a client while it reads.
struct State<'a> {
    channels: &'a [u32],
    confirmed: &'a mut usize,
    positions: &'a mut Vec<String>,
    resume: &'a mut Option<String>,
}

impl State<'_> {
    fn take(
        &mut self,
        dialect: &Dialect,
        (subscribing, resuming): (bool, bool),
        transport: &mut Transport,
        piece: &Piece<'_>,
        mut hear: impl FnMut(News<'_>),
    ) {
        let frame = match piece {
            Piece::Message(frame) | Piece::Event(frame) => *frame,
            Piece::Head(_) | Piece::Ping(_) => return,
            // The end follows by itself. A code is worth telling; a stream that ends has none.
            Piece::Close(b"") => return,
            Piece::Close(reason) => return hear(News::Unexpected(reason)),
            Piece::Answer(_, body) => return hear(News::Unexpected(body)),
            Piece::Foreign(what) => return hear(News::Unexpected(what.as_bytes())),
        };
        match dialect.kind(frame) {
            kind @ (Kind::Message | Kind::Presence) => {
                let position = if resuming { dialect.position(frame) } else { None };
                let mut any = false;
                let channels = u32::try_from(dialect.channels.len()).unwrap_or(u32::MAX);
                for stamp in stamps(frame) {
                    any = true;
                    match stamp {
                        Some(stamp) if !dialect.is_of(frame, stamp.source % channels) => hear(News::Unexpected(frame)),
                        Some(stamp) if kind == Kind::Message => {
                            self.note(dialect, stamp.source % channels, position);
                            hear(News::Message(stamp, position));
                        }
                        Some(stamp) => hear(News::Presence(stamp, frame)),
                        None => hear(News::Unexpected(frame)),
                    }
                }
                if !any {
                    hear(News::Unexpected(frame));
                }
            }
            Kind::Control => match dialect.word(frame) {
                Word::Greeting { resume } => {
                    hear(News::Greeted(resume.as_deref()));
                    *self.resume = resume;
                    let frames = subscriptions(dialect, self.channels, self.positions, resuming);
                    if subscribing && transport.send(&frames).is_err() {
                        hear(News::Unexpected(b"no subscription could be sent"));
                    }
                }
                Word::Confirmed { channel, resumed, position } => {
                    let again = resuming && self.positions.len() == self.channels.len();
                    if again && !resumed {
                        hear(News::Unexpected(frame));
                    }
                    if let (true, Some(position)) = (resuming, position) {
                        let named = channel.and_then(|name| dialect.channels.iter().position(|each| each.name == name));
                        let named = named.and_then(|index| u32::try_from(index).ok());
                        if !again {
                            self.note(dialect, named.unwrap_or(0), Some(&position));
                        }
                    }
                    *self.confirmed += if dialect.protocol == Protocol::Sse { self.channels.len() } else { 1 };
                    if *self.confirmed >= self.channels.len() {
                        hear(News::Subscribed);
                    }
                }
                Word::Aside => {}
                Word::Foreign => hear(News::Unexpected(frame)),
            },
        }
    }

    /// Notes where the client stands on `channel`, or a stream in all its channels.
    fn note(&mut self, dialect: &Dialect, channel: u32, position: Option<&str>) {
        let Some(position) = position else { return };
        self.positions.resize(self.channels.len(), String::new());
        let slot = match dialect.protocol {
            Protocol::Sse => Some(0),
            Protocol::Pusher | Protocol::AblyJson | Protocol::AblyMsgpack => {
                self.channels.iter().position(|each| *each == channel)
            }
        };
        if let Some(slot) = slot {
            self.positions[slot].clear();
            self.positions[slot].push_str(position);
        }
    }
}

/// The frames that subscribe to `channels`, one behind the other.
fn subscriptions(dialect: &Dialect, channels: &[u32], positions: &[String], resuming: bool) -> Vec<u8> {
    let position = |slot: usize| positions.get(slot).filter(|text| resuming && !text.is_empty()).map(String::as_str);
    let frames = channels.iter().enumerate().map(|(slot, channel)| dialect.subscribe(*channel, position(slot)));
    frames.flatten().collect()
}
