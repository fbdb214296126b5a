//! What a record, or a change of presence, is to those who follow a channel by the Ably protocol: bytes made once for
//! each medium in use, and for whoever called the channel by a name of its own, once more.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use ably::delta::{Chain, Delta};
use ably::encode::{self, Item, MessageAt, PresenceItem};
use ably::{Format, Subject, serial};
use bytes::Bytes;
use channels::{MemberEvent, Position, Record};

use super::event::{Event, EventKind};
use super::follower::Medium;
use crate::queue::{Frame, Tag};
use crate::websocket::frame;

/// One thing for each medium, made when it is first asked for.
#[derive(Debug)]
struct PerMedium<T>([OnceCell<T>; Medium::COUNT]);

impl<T> Default for PerMedium<T> {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceCell::new()))
    }
}

impl<T> PerMedium<T> {
    fn get(&self, medium: Medium, make: impl FnOnce() -> T) -> &T {
        self.0[medium.index()].get_or_init(make)
    }
}

/// A frame for a stream of events, which costs as much as what it holds.
pub(super) fn event(channel: &Arc<str>, kind: EventKind) -> Frame {
    // Nothing but its length is ever looked at, but frames hold bytes.
    let (bytes, messages) = match &kind {
        EventKind::Attached { .. } | EventKind::Failed(_) => (Bytes::new(), 0),
        EventKind::Presence { item, .. } => (item.clone(), 0),
        EventKind::Messages { items, .. } => match items.as_slice() {
            [(_, item)] => (item.clone(), 1),
            items => (items.iter().flat_map(|(_, item)| item).copied().collect(), items.len()),
        },
    };
    let event = Some(Arc::new(Event { channel: Arc::clone(channel), kind }));
    let tag = Some(Arc::new(Tag { event, ..Tag::default() }));
    Frame { bytes, tag, messages: u32::try_from(messages).unwrap_or(u32::MAX), ..Frame::default() }
}

/// A record of messages, for all who follow the channel.
#[derive(Debug)]
pub(super) struct Messages<'a> {
    pub(super) record: &'a Arc<Record>,
    pub(super) at: Option<Position>,
    /// The channel's own name.
    name: &'a Arc<str>,
    whole: PerMedium<Frame>,
    items: OnceCell<Vec<Bytes>>,
    subjects: OnceCell<Vec<Subject>>,
    /// What those got who had the same message before: most of those who follow with deltas.
    deltas: RefCell<Vec<Shared>>,
}

/// A frame of deltas, for one medium and one message before, and what the chain is behind it.
#[derive(Debug)]
struct Shared {
    medium: Medium,
    base: Option<String>,
    frame: Frame,
    chain: Chain,
}

/// Which messages of a record somebody gets, and how.
pub(super) struct Selected<'a> {
    pub(super) medium: Medium,
    /// What the channel is called, if not by its own name.
    pub(super) called: Option<&'a Arc<str>>,
    /// Their places; `None` for all.
    pub(super) places: Option<Vec<usize>>,
    pub(super) chain: Option<&'a mut Chain>,
}

impl<'a> Messages<'a> {
    pub(super) fn new(name: &'a Arc<str>, at: Option<Position>, record: &'a Arc<Record>) -> Self {
        Self {
            record,
            at,
            name,
            whole: PerMedium::default(),
            items: OnceCell::new(),
            subjects: OnceCell::new(),
            deltas: RefCell::default(),
        }
    }

    /// The record as it is, for those who call the channel by its name.
    pub(super) fn whole(&self, medium: Medium) -> &Frame {
        self.whole.get(medium, || self.make(medium, self.name, None, &[]))
    }

    /// What filters see of each message.
    pub(super) fn subjects(&self) -> &[Subject] {
        let subject = |message| Subject::of(self.record, message);
        self.subjects.get_or_init(|| self.record.messages.iter().map(subject).collect())
    }

    /// The frame for `selected`; none if nothing is.
    pub(super) fn frame(&self, selected: Selected<'_>) -> Option<Frame> {
        let Selected { medium, called, places, chain } = selected;
        if places.as_ref().is_some_and(Vec::is_empty) {
            return None;
        }
        let Some(chain) = chain else {
            return Some(match (called, &places) {
                (None, None) => self.whole(medium).clone(),
                (called, places) => self.make(medium, called.unwrap_or(self.name), places.as_deref(), &[]),
            });
        };
        // Those who stand at the same message, and get all of the record, get the same.
        let shares = called.is_none() && places.is_none();
        let base = chain.base().map(str::to_owned);
        if shares {
            let deltas = self.deltas.borrow();
            if let Some(shared) = deltas.iter().find(|shared| shared.medium == medium && shared.base == base) {
                chain.clone_from(&shared.chain);
                return Some(shared.frame.clone());
            }
        }
        let all: Vec<usize> = places.unwrap_or_else(|| (0..self.record.messages.len()).collect());
        let id = |index| serial::message_id(self.record, self.at, index);
        let deltas: Vec<Option<Delta>> =
            all.iter().map(|index| chain.next(id(*index).as_deref(), &self.record.messages[*index])).collect();
        let frame = if deltas.iter().all(Option::is_none) && shares {
            self.whole(medium).clone()
        } else {
            self.make(medium, called.unwrap_or(self.name), Some(&all), &deltas)
        };
        if shares {
            let chain = chain.clone();
            self.deltas.borrow_mut().push(Shared { medium, base, frame: frame.clone(), chain });
        }
        Some(frame)
    }

    fn make(&self, medium: Medium, called: &Arc<str>, places: Option<&[usize]>, deltas: &[Option<Delta>]) -> Frame {
        let Self { record, at, .. } = *self;
        let count = places.map_or(record.messages.len(), <[usize]>::len);
        match medium {
            Medium::WebSocket(format) => {
                let payload = match places {
                    None => encode::messages(format, called, record, at),
                    Some(places) => {
                        let delta = |place: usize| deltas.get(place).and_then(Option::as_ref);
                        let items = places.iter().enumerate();
                        let items: Vec<_> =
                            items.map(|(place, index)| Item { index: *index, delta: delta(place) }).collect();
                        encode::messages_with(format, called, record, at, &items)
                    }
                };
                let messages = u32::try_from(count).unwrap_or(u32::MAX);
                Frame { messages, ..frame::ably(format, &payload) }
            }
            Medium::Events => {
                let item = |index| encode::message_item(Format::Json, MessageAt { record, at, index }, None);
                let all = self.items.get_or_init(|| (0..record.messages.len()).map(item).collect());
                let items = all.iter().cloned().enumerate();
                let items = items.filter(|(index, _)| places.is_none_or(|places| places.contains(index))).collect();
                event(called, EventKind::Messages { record: Arc::clone(record), at, items })
            }
        }
    }
}

/// What a member did, for all who follow the channel.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) event: &'a MemberEvent,
    pub(super) at: Option<Position>,
    name: &'a Arc<str>,
    whole: PerMedium<Frame>,
}

impl<'a> Change<'a> {
    pub(super) fn new(name: &'a Arc<str>, at: Option<Position>, event: &'a MemberEvent) -> Self {
        Self { event, at, name, whole: PerMedium::default() }
    }

    /// The frame for somebody on `medium`, who calls the channel so if not by its name.
    pub(super) fn frame(&self, medium: Medium, called: Option<&Arc<str>>) -> Frame {
        match called {
            None => self.whole.get(medium, || self.make(medium, self.name)).clone(),
            Some(called) => self.make(medium, called),
        }
    }

    fn make(&self, medium: Medium, called: &Arc<str>) -> Frame {
        let MemberEvent { member, action, data } = self.event;
        let item = PresenceItem { action: (*action).into(), member, data };
        match medium {
            Medium::WebSocket(format) => {
                let payload = encode::presence(format, called, self.at, None, &[item]);
                frame::ably(format, &payload)
            }
            Medium::Events => {
                let item = encode::presence_item(Format::Json, &item, None);
                event(called, EventKind::Presence { at: self.at, item })
            }
        }
    }
}
