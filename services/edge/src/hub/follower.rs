//! One who follows a channel by the Ably protocol, over a connection or as a stream of events: what it is to get of what
//! happens, and how far it has got.

use std::sync::Arc;

use ably::delta::Chain;
use ably::encode::{self, Attached, MessageAt};
use ably::occupancy::{Metrics, Selection};
use ably::{ChannelParams, Code, ErrorInfo, Flags, Format, Modes, Name};
use channels::{
    ConnectionId, EventPosition, Member, MemberData, MemberEvent, Message, Position, Record, RecordKind, Roster,
};

use super::catching_up::CatchUp;
use super::encoded::{Change, Messages, Selected, event};
use super::event::EventKind;
use crate::queue::Frame;
use crate::websocket::frame;

/// Members in one frame of a SYNC.
const SYNC_MEMBERS: usize = 100;

/// What carries frames to a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Medium {
    /// An attached connection, in its format.
    WebSocket(Format),
    /// A stream of events.
    Events,
}

impl Medium {
    /// How many there are.
    pub(super) const COUNT: usize = 3;

    /// Its number among them.
    pub(super) fn index(self) -> usize {
        match self {
            Self::WebSocket(Format::Json) => 0,
            Self::WebSocket(Format::MsgPack) => 1,
            Self::Events => 2,
        }
    }

    /// Every one.
    pub(super) const ALL: [Self; Self::COUNT] =
        [Self::WebSocket(Format::Json), Self::WebSocket(Format::MsgPack), Self::Events];
}

/// Where delivery is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// Here; further back if the params say so.
    Now,
    /// Here, whatever the params say.
    NowWithoutRewind,
    /// Behind that place.
    After(EventPosition),
    /// Behind a place that cannot be read, so here.
    Unreadable,
}

/// What a client asks for that attaches a channel.
#[derive(Clone, Debug)]
pub(crate) struct Attach {
    /// The channel, as the client called it.
    pub(crate) name: Name,
    pub(crate) medium: Medium,
    /// What it is granted.
    pub(crate) modes: Modes,
    /// What it asks for beside that. Whether it wants an echo is settled by `echo`.
    pub(crate) params: ChannelParams,
    /// Whether it gets what its own connection publishes.
    pub(crate) echo: bool,
    pub(crate) from: From,
    /// Whether the connection was on another node before, which may hold members of its.
    pub(crate) resumed: bool,
}

/// Where a follower stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// The channel, or its members, are not there yet; it begins from there.
    Waiting(Start),
    /// A replay brings it what it has missed.
    Replaying,
    /// It gets everything, but nothing up to there: that it has had from elsewhere.
    Live { beyond: Option<EventPosition> },
    /// The server has detached it.
    Detached,
}

/// Where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// Here.
    Now,
    /// Here, after what its params have it rewind.
    Rewind,
    /// Behind that place.
    After(EventPosition),
    /// Here, and it has missed nothing.
    Unbroken,
    /// Here, and continuity is lost.
    Lost(Code),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Follower {
    /// What its client calls the channel, which stands in every frame.
    pub(super) name: Name,
    pub(super) medium: Medium,
    pub(super) modes: Modes,
    pub(super) echo: bool,
    params: ChannelParams,
    /// Of one that takes deltas.
    pub(super) chain: Option<Chain>,
    pub(super) stage: Stage,
    /// While its client, which has come back, is being brought what it missed.
    pub(super) catching_up: Option<CatchUp>,
    /// Counts what it began with: a replay of an earlier one is over.
    pub(super) turn: u64,
    pub(super) resumed: bool,
    /// Whether it has ever been attached.
    pub(super) greeted: bool,
    /// Whether it was told that somebody is there, and is still to be told who.
    pub(super) owes_members: bool,
    /// How far it has been told who is there, while that is under way.
    sync: Option<Sync>,
    /// The counts that it was told last, if it wants any.
    told: Option<Metrics>,
}

/// Telling who is there, page by page, in the order of their names: who comes or goes meanwhile is told by itself.
#[derive(Debug)]
struct Sync {
    id: String,
    after: Option<Member>,
    pages: u32,
}

/// Some of those who are there.
pub(super) struct Members {
    pub(super) frames: Vec<Frame>,
    /// The last of them, if there are more.
    pub(super) last: Option<Member>,
}

impl From {
    pub(super) fn start(self, params: &ChannelParams) -> Start {
        match self {
            Self::Now if params.rewind().is_some() => Start::Rewind,
            Self::Now | Self::NowWithoutRewind => Start::Now,
            Self::After(place) => Start::After(place),
            Self::Unreadable => Start::Lost(Code::ForeignSerial),
        }
    }
}

impl Follower {
    pub(super) fn new(attach: Attach) -> Self {
        let start = attach.from.start(&attach.params);
        Self::from(attach, start)
    }

    fn from(attach: Attach, start: Start) -> Self {
        let Attach { name, medium, modes, params, echo, from: _, resumed } = attach;
        let mut new = Self {
            name,
            medium,
            modes,
            echo,
            params,
            chain: None,
            stage: Stage::Waiting(start),
            catching_up: None,
            turn: 0,
            resumed,
            greeted: false,
            owes_members: false,
            sync: None,
            told: None,
        };
        new.forget_base();
        new
    }

    /// Attaches once more, from `start`.
    pub(super) fn again(&mut self, attach: Attach, start: Start) {
        let Self { turn, resumed, greeted, catching_up, .. } = *self;
        *self = Self { catching_up, ..Self::from(attach, start) };
        (self.turn, self.resumed, self.greeted) = (turn + 1, resumed || self.resumed, greeted);
    }

    /// Begins anew from `start`, when the channel is there again.
    pub(super) fn wait(&mut self, start: Start) {
        self.stage = Stage::Waiting(start);
        self.turn += 1;
        self.forget_base();
    }

    /// The next message goes whole.
    pub(super) fn forget_base(&mut self) {
        let takes_deltas = self.params.delta() && matches!(self.medium, Medium::WebSocket(_));
        self.chain = takes_deltas.then(Chain::default);
    }

    pub(super) fn rewind(&self) -> Option<ably::Rewind> {
        self.params.rewind()
    }

    pub(super) fn takes_deltas(&self) -> bool {
        self.chain.is_some()
    }

    /// Whether it wants to know the channel's counts.
    pub(super) fn is_counting(&self) -> bool {
        self.params.occupancy().is_some()
    }

    /// Whether it is told of members.
    pub(super) fn follows_members(&self) -> bool {
        self.modes.contains(Modes::PRESENCE_SUBSCRIBE)
    }

    /// Whether the channel's members have to be known before it begins.
    pub(super) fn needs_roster(&self) -> bool {
        self.follows_members() || (self.resumed && self.modes.contains(Modes::PRESENCE))
    }

    /// Whether a record at `at` is news to it.
    pub(super) fn is_due(&self, at: Option<Position>) -> bool {
        match (self.stage, at) {
            (Stage::Live { beyond: Some(EventPosition { position: beyond, .. }) }, Some(at)) => {
                at.epoch != beyond.epoch || at.sequence > beyond.sequence
            }
            (Stage::Live { .. }, _) => true,
            (Stage::Waiting(_) | Stage::Replaying | Stage::Detached, _) => false,
        }
    }

    /// Messages that it has had of the record at `at`, which is due.
    pub(super) fn take_skip(&mut self, at: Option<Position>) -> usize {
        match &mut self.stage {
            Stage::Live { beyond } if at.is_some() => beyond.take().map_or(0, |beyond| beyond.skip as usize),
            Stage::Live { .. } | Stage::Waiting(_) | Stage::Replaying | Stage::Detached => 0,
        }
    }

    /// What it calls the channel, if not by the channel's own name.
    fn called(&self) -> Option<&Arc<str>> {
        let written = self.name.written();
        (**written != *self.name.base().as_str()).then_some(written)
    }

    /// What it gets of a record of messages, without the first `skip`.
    pub(super) fn messages(&mut self, me: &ConnectionId, messages: &Messages<'_>, skip: usize) -> Option<Frame> {
        let own = || messages.record.connection.as_ref() == Some(me);
        if !self.modes.contains(Modes::SUBSCRIBE) || (!self.echo && own()) {
            return None;
        }
        let places = match (self.name.filter(), skip) {
            (None, 0) => None,
            (None, skip) => Some((skip..messages.record.messages.len()).collect()),
            (Some(filter), skip) => {
                let subjects = messages.subjects().iter().enumerate().skip(skip);
                Some(subjects.filter(|(_, subject)| filter.matches(subject)).map(|(index, _)| index).collect())
            }
        };
        // Not by `Self::called`, which borrows all of it.
        let written = self.name.written();
        let called = (**written != *self.name.base().as_str()).then_some(written);
        messages.frame(Selected { medium: self.medium, called, places, chain: self.chain.as_mut() })
    }

    /// What it gets of a change of presence.
    pub(super) fn presence(&self, me: &ConnectionId, change: &Change<'_>) -> Option<Frame> {
        let gets = self.follows_members() || change.event.member.connection == *me;
        gets.then(|| change.frame(self.medium, self.called()))
    }

    /// What it gets of a record when that is replayed. What only told who holds a member is none of its matter.
    pub(super) fn replayed(
        &mut self,
        me: &ConnectionId,
        messages: &Messages<'_>,
        skip: usize,
        with_presence: bool,
    ) -> Option<Frame> {
        let record = messages.record;
        match &record.kind {
            RecordKind::Messages | RecordKind::ClientEvent => self.messages(me, messages, skip),
            RecordKind::Presence(change) if change.quiet || !with_presence => None,
            RecordKind::Presence(change) => {
                let (Some(connection), Some(user)) = (&record.connection, &record.client) else { return None };
                let said = record.messages.first();
                let data = said.map(|said| MemberData::of_message(said, record.timestamp_ms)).unwrap_or_default();
                let member = Member { connection: connection.clone(), user: user.clone() };
                let event = MemberEvent { member, action: change.action, data };
                self.presence(me, &Change::new(self.name.written(), messages.at, &event))
            }
        }
    }

    /// ATTACHED, or what stands for it.
    pub(super) fn attached(&self, at: Option<Position>, flags: Flags, error: Option<ErrorInfo>) -> Frame {
        let channel = self.name.written();
        match self.medium {
            Medium::Events => event(channel, EventKind::Attached { at, error }),
            Medium::WebSocket(format) => {
                let params: Vec<_> = self.params.echoed().collect();
                let attached = Attached { at, flags, modes: self.modes, params: &params, error: error.as_ref() };
                frame::ably(format, &encode::attached(format, channel, &attached))
            }
        }
    }

    /// Tells that the server detaches it.
    pub(super) fn detached(&self, error: ErrorInfo) -> Frame {
        let channel = self.name.written();
        match self.medium {
            Medium::Events => event(channel, EventKind::Failed(error)),
            Medium::WebSocket(format) => frame::ably(format, &encode::detached(format, channel, Some(&error))),
        }
    }

    /// Has it told who is there, from the beginning.
    pub(super) fn owe_members(&mut self) {
        self.sync = Some(Sync { id: format!("{:08x}", rand::random::<u32>()), after: None, pages: 0 });
    }

    /// The next of those who are there, and how many bytes that is about; nothing, if it knows all.
    pub(super) fn next_members(&self, roster: Option<&Roster>) -> Option<Members> {
        let Sync { id, after, pages } = self.sync.as_ref()?;
        let known = roster.into_iter().flat_map(Roster::members);
        let mut page: Vec<_> = known.filter(|(member, _)| after.as_ref().is_none_or(|after| *member > after)).collect();
        let more = page.len() > SYNC_MEMBERS;
        if more {
            page.select_nth_unstable_by(SYNC_MEMBERS, |(one, _), (other, _)| one.cmp(other));
            page.truncate(SYNC_MEMBERS);
        }
        page.sort_unstable_by_key(|&(member, _)| member);
        let last = page.last().filter(|_| more).map(|(member, _)| Member::clone(member));
        let channel = self.name.written();
        let frames = match self.medium {
            Medium::WebSocket(format) => {
                let cursor = if more { (pages + 1).to_string() } else { String::new() };
                vec![frame::ably(format, &encode::sync(format, channel, id, &cursor, page.into_iter()))]
            }
            Medium::Events => {
                let present = |(member, data): (&Member, &MemberData)| {
                    let action = ably::wire::PresenceAction::Present;
                    let item = encode::PresenceItem { action, member, data };
                    let item = encode::presence_item(Format::Json, &item, None);
                    event(channel, EventKind::Presence { at: None, item })
                };
                page.into_iter().map(present).collect()
            }
        };
        Some(Members { frames, last })
    }

    /// Notes that it has been told of `last` and all before, or of everybody.
    pub(super) fn knows_members(&mut self, last: Option<Member>) {
        match (&mut self.sync, last) {
            (Some(sync), Some(last)) => {
                sync.after = Some(last);
                sync.pages += 1;
            }
            (sync, _) => *sync = None,
        }
    }

    /// Whether it has been told of the channel's counts.
    pub(super) fn knows_counts(&self) -> bool {
        self.told.is_some()
    }

    /// Whether it wants to know the channel's counts, and does not.
    pub(super) fn lacks_counts(&self, metrics: &Metrics) -> bool {
        let news = |selection: Selection| self.told.as_ref().is_none_or(|told| selection.differ(told, metrics));
        self.params.occupancy().is_some_and(news)
    }

    /// The message that tells it of them, if it wants to know.
    pub(super) fn counted(&mut self, id: &str, now_ms: u64, metrics: &Metrics) -> Option<Frame> {
        let text = self.params.occupancy()?.data(metrics);
        self.told = Some(*metrics);
        // To its client that is the last message there was.
        self.forget_base();
        let channel = self.name.written();
        Some(match self.medium {
            Medium::WebSocket(format) => frame::ably(format, &encode::occupancy(format, channel, id, now_ms, &text)),
            Medium::Events => {
                let message = Message { encoding: "json".to_owned(), ..Message::text(ably::occupancy::EVENT, text) };
                let record = Arc::new(Record {
                    id: Some(id.to_owned()),
                    kind: RecordKind::Messages,
                    connection: None,
                    client: None,
                    timestamp_ms: now_ms,
                    messages: vec![message],
                    traceparent: None,
                });
                let at = MessageAt { record: &record, at: None, index: 0 };
                let items = vec![(0, encode::message_item(Format::Json, at, None))];
                event(channel, EventKind::Messages { record, at: None, items })
            }
        })
    }
}
