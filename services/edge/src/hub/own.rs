//! The members of one channel whose connections this node has: what is wanted of each, and what is written.

use std::collections::{HashMap, VecDeque};

use ably::ErrorInfo;
use channels::{ClientId, ConnectionId, EdgeId, Member, MemberData, PresenceAction};
use metering::Refused;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::presence::Place;

/// Requests of its client that may wait for one member.
pub(super) const MOST_ASKED: usize = 64;

/// A member of this node.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) user: ClientId,
    pub(super) data: MemberData,
    /// The subscription that it came by, while that is there.
    pub(super) carrier: Option<usize>,
    /// When it came; whoever waits for too long is sent elsewhere.
    pub(super) since: Instant,
    pub(super) wanted: Wanted,
    /// Where it stands in the roster, as far as is known.
    pub(super) written: Option<Written>,
    /// What is being written.
    pub(super) busy: Option<PresenceAction>,
    /// The revision at which it last left: what is older says nothing of where it is now.
    pub(super) left: u64,
    /// Its place among the members of its app.
    pub(super) place: Option<Place>,
    /// Of one whose client says itself when it comes, changes and goes: what is still to be done of that, in order. `None`
    /// of one that is a member for as long as it is subscribed.
    pub(super) asked: Option<VecDeque<Asked>>,
    /// What has been written and told, and is yet to be seen where it came to stand among others.
    pub(super) told: Option<(u64, Asked)>,
}

/// Something that a member's client wants.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) action: PresenceAction,
    pub(super) said: MemberData,
    /// Whether it only takes over a member that another edge holds.
    pub(super) quiet: bool,
    pub(super) since: Instant,
    pub(super) done: Option<oneshot::Sender<Result<(), PresenceRefused>>>,
}

/// Why a client's wish was not fulfilled.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum PresenceRefused {
    /// The channel has as many users as it may have.
    #[error("the channel has as many members as it may have")]
    Full,
    /// The app has as many members as it may have.
    #[error(transparent)]
    OverQuota(Refused),
    /// Too much waits for this member.
    #[error("too many presence requests at one time")]
    Busy,
    /// It could not be written, or told, in time.
    #[error("presence is temporarily unavailable")]
    Unavailable,
}

impl From<&PresenceRefused> for ErrorInfo {
    fn from(refused: &PresenceRefused) -> Self {
        match refused {
            PresenceRefused::Full => ably::Code::TooManyMembers.info(),
            PresenceRefused::OverQuota(refused) => ably::Code::TooManyMembers.says(refused.to_string()),
            PresenceRefused::Busy => ably::Code::ConnectionRate.says(refused.to_string()),
            PresenceRefused::Unavailable => ably::Code::Timeout.info(),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Present,
    /// Its subscription is over; it is to leave then.
    Until(Instant),
}

/// An entry of the roster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Written {
    /// The life of this edge under which it stands.
    pub(super) edge: EdgeId,
    /// Its revision; `None` if the answer to its writing was lost.
    pub(super) revision: Option<u64>,
}

impl Asked {
    pub(super) fn new(action: PresenceAction, said: MemberData, quiet: bool) -> Self {
        Self { action, said, quiet, since: Instant::now(), done: None }
    }

    /// Gone, as far as this node knows: nobody has said so.
    pub(super) fn departure() -> Self {
        let encoding = ably::data::ABSENT.to_owned();
        Self::new(PresenceAction::Leave, MemberData { encoding, ..MemberData::default() }, false)
    }

    pub(super) fn answer(self, result: Result<(), PresenceRefused>) {
        // Who has asked may have gone.
        self.done.map(|done| done.send(result).ok());
    }
}

impl Own {
    /// A member for as long as the subscription `carrier` is there.
    pub(super) fn new(user: ClientId, data: MemberData, place: Option<Place>, carrier: usize) -> Self {
        Self { data, place, ..Self::asking(user, carrier, None) }
    }

    /// One whose client asks.
    pub(super) fn client_led(user: ClientId, carrier: usize) -> Self {
        Self::asking(user, carrier, Some(VecDeque::new()))
    }

    fn asking(user: ClientId, carrier: usize, asked: Option<VecDeque<Asked>>) -> Self {
        Self {
            user,
            data: MemberData::default(),
            carrier: Some(carrier),
            since: Instant::now(),
            wanted: Wanted::Present,
            written: None,
            busy: None,
            left: 0,
            place: None,
            asked,
            told: None,
        }
    }

    /// What its client wants next.
    pub(super) fn next_asked(&self) -> Option<&Asked> {
        self.asked.as_ref()?.front()
    }

    pub(super) fn take_asked(&mut self) -> Option<Asked> {
        self.asked.as_mut()?.pop_front()
    }

    pub(super) fn ask_first(&mut self, asked: Asked) {
        if let Some(queue) = &mut self.asked {
            queue.push_front(asked);
        }
    }

    /// Whether it is about to be in the roster, if it is not yet.
    pub(super) fn is_coming(&self) -> bool {
        let asks = |asked: &Asked| asked.action != PresenceAction::Leave;
        match &self.asked {
            None => self.carrier.is_some(),
            Some(asked) => self.told.is_some() || asked.iter().any(asks),
        }
    }

    /// Its subscription is over.
    pub(super) fn leave(&mut self, stay: std::time::Duration) {
        self.carrier = None;
        match &mut self.asked {
            Some(asked) if stay.is_zero() => asked.push_back(Asked::departure()),
            Some(_) | None => self.wanted = Wanted::Until(Instant::now() + stay),
        }
    }

    /// What is said when it leaves: `said`, or what it said last if that is nothing, under an id that nobody can take for
    /// one of its connection's.
    pub(super) fn parting(&self, edge: &EdgeId, said: Option<&MemberData>) -> MemberData {
        let said = said.cloned().unwrap_or_else(|| Asked::departure().said);
        let mut parting = said;
        if ably::data::is_absent(&parting.data, &parting.encoding) {
            parting.data = self.data.data.clone();
            parting.encoding.clone_from(&self.data.encoding);
            if parting.extras.is_empty() {
                parting.extras = self.data.extras.clone();
            }
        }
        if parting.id.is_empty() {
            parting.id = unspoken_id(edge);
        }
        // Clocks of nodes differ, and clients go by the times.
        parting.timestamp_ms = parting.timestamp_ms.max(clock::unix_ms()).max(self.data.timestamp_ms);
        parting
    }
}

/// A new id for what a node says of a member by itself.
pub(super) fn unspoken_id(edge: &EdgeId) -> String {
    format!("{edge}:{}:0", rand::random::<u32>())
}

/// This node's members of one channel, by connection, of which a client may have several.
#[derive(Debug, Default)]
pub(super) struct Owns {
    by_connection: HashMap<ConnectionId, Vec<Own>>,
    len: usize,
}

impl Owns {
    pub(super) fn get(&self, member: &Member) -> Option<&Own> {
        self.by_connection.get(&member.connection)?.iter().find(|own| own.user == member.user)
    }

    pub(super) fn get_mut(&mut self, member: &Member) -> Option<&mut Own> {
        self.by_connection.get_mut(&member.connection)?.iter_mut().find(|own| own.user == member.user)
    }

    /// Adds one that is not there.
    pub(super) fn insert(&mut self, connection: &ConnectionId, own: Own) -> &mut Own {
        self.len += 1;
        let of_connection = self.by_connection.entry(connection.clone()).or_insert_with(|| Vec::with_capacity(1));
        of_connection.push(own);
        let last = of_connection.len() - 1;
        &mut of_connection[last]
    }

    pub(super) fn remove(&mut self, member: &Member) -> Option<Own> {
        let of_connection = self.by_connection.get_mut(&member.connection)?;
        let at = of_connection.iter().position(|own| own.user == member.user)?;
        let own = of_connection.swap_remove(at);
        if of_connection.is_empty() {
            self.by_connection.remove(&member.connection);
        }
        self.len -= 1;
        Some(own)
    }

    /// Those of one connection.
    pub(super) fn of_mut(&mut self, connection: &ConnectionId) -> impl Iterator<Item = &mut Own> {
        self.by_connection.get_mut(connection).into_iter().flatten()
    }

    /// Those of one connection.
    pub(super) fn of(&self, connection: &ConnectionId) -> impl Iterator<Item = &Own> {
        self.by_connection.get(connection).into_iter().flatten()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&ConnectionId, &Own)> {
        self.by_connection.iter().flat_map(|(connection, owns)| owns.iter().map(move |own| (connection, own)))
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&ConnectionId, &mut Own)> {
        self.by_connection.iter_mut().flat_map(|(connection, owns)| owns.iter_mut().map(move |own| (connection, own)))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many connections they are of.
    pub(super) fn connections(&self) -> usize {
        self.by_connection.len()
    }
}
