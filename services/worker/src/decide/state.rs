//! What is, what was told, and what therefore is to be told next. Pure: the time is an argument.
//!
//! For each channel and each of its users the facts are compared with what webhooks were told last. A difference is a
//! [`Step`]; one at a time for each channel, so that a channel's events keep their order. What has gone is told after the
//! grace only, by which time it may be back, and then there is no difference.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use channels::{AppId, ChannelName, ClientId, EdgeId, WebhookEvent, WebhookEvents};
use tokio::time::Instant;

use super::interest::Interest;

/// Above this many subscribers their number is told at most every [`COUNT_INTERVAL`], as at Pusher.
const LARGE_COUNT: u64 = 100;
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// How long it stays known that something was told to be gone: longer than the queue remembers ids, since the ids of what
/// is told next derive from it.
const GONE_KEPT_FOR: Duration = Duration::from_secs(10 * 60);

/// Pause after a step that the backbone did not take.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A channel of an app, by its token: where facts about it stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) app: AppId,
    pub(super) token: Box<str>,
}

/// What is to be done next about a channel, or about a user in it: first tell, then note that it was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) place: Place,
    pub(super) channel: ChannelName,
    /// `None` for the channel itself.
    pub(super) user: Option<ClientId>,
    /// What to tell; `None` if nobody wants to know.
    pub(super) tell: Option<WebhookEvent>,
    /// The revision of the announcement now; 0 if there is none.
    pub(super) revision: u64,
    /// What to note.
    pub(super) note: Note,
}

/// What is noted of a channel or user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Note {
    /// It was told to be there, with this many subscribers told last.
    Here { count: u64 },
    /// It was told to be gone.
    Gone,
    /// Nothing any more.
    Nothing,
}

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// This is noted now, at this revision (0 for nothing).
    Noted(Note, u64),
    /// The backbone did not take it. Whether it was told is unknown; it will be told again under the same id.
    Failed,
}

/// What was told last.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    here: bool,
    revision: u64,
    /// The number of subscribers told last.
    count: u64,
    /// When it can be forgotten that it is gone.
    forget_at: Option<Instant>,
}

impl Told {
    fn of(note: Note, revision: u64, now: Instant) -> Self {
        match note {
            Note::Here { count } => Self { here: true, revision, count, forget_at: None },
            Note::Gone => Self { here: false, revision, count: 0, forget_at: Some(now + GONE_KEPT_FOR) },
            Note::Nothing => Self::default(),
        }
    }

    fn is_nothing(&self) -> bool {
        self.revision == 0
    }
}

#[derive(Debug)]
struct User {
    /// Connections by the edge that holds them.
    connections: HashMap<EdgeId, usize>,
    told: Told,
    /// Since when it is gone without its having been told.
    left: Option<Instant>,
}

impl User {
    fn is_here(&self, alive: &HashSet<EdgeId>) -> bool {
        self.connections.keys().any(|edge| alive.contains(edge))
    }
}

#[derive(Debug)]
struct Channel {
    name: ChannelName,
    wants: WebhookEvents,
    /// Subscriptions by edge.
    counts: HashMap<EdgeId, u64>,
    /// Members by their keys.
    members: HashMap<Box<str>, (EdgeId, ClientId)>,
    users: BTreeMap<ClientId, User>,
    told: Told,
    /// When the number of subscribers was told.
    counted: Option<Instant>,
    /// Since when nobody is there without its having been told.
    left: Option<Instant>,
    /// A step of it is under way.
    busy: bool,
    /// It stands in the queue of what is to be looked at.
    queued: bool,
    /// When it is to be looked at without being asked.
    wake: Option<Instant>,
}

/// What one look at a channel says.
enum Look {
    Step(Option<ClientId>, Option<WebhookEvent>, u64, Note),
    Wait(Option<Instant>),
}

/// Everything that the decisions are made from.
#[derive(Debug)]
pub(super) struct State {
    interest: Interest,
    grace: Duration,
    alive: HashSet<EdgeId>,
    channels: HashMap<Place, Channel>,
    queue: VecDeque<Place>,
    wakes: BTreeSet<(Instant, Place)>,
}

impl State {
    /// Knows nothing yet.
    pub(super) fn new(interest: Interest, grace: Duration) -> Self {
        Self {
            interest,
            grace,
            alive: HashSet::new(),
            channels: HashMap::new(),
            queue: VecDeque::new(),
            wakes: BTreeSet::new(),
        }
    }

    /// Whether there is nothing to look after.
    pub(super) fn is_idle(&self) -> bool {
        self.interest.is_empty() && self.channels.is_empty()
    }

    /// An edge's lease has come or gone. Only what living edges say counts.
    pub(super) fn edge(&mut self, edge: EdgeId, alive: bool) {
        let changed = if alive { self.alive.insert(edge.clone()) } else { self.alive.remove(&edge) };
        if changed {
            let alive = &self.alive;
            let concerned = |channel: &Channel| {
                channel.counts.contains_key(&edge)
                    || channel.users.values().any(|user| user.connections.contains_key(&edge))
            };
            let mut places = Vec::new();
            for (place, channel) in self.channels.iter_mut().filter(|(_, channel)| concerned(channel)) {
                channel.note_returns(alive);
                places.push(place.clone());
            }
            for place in places {
                self.enqueue(&place);
            }
        }
    }

    /// An edge's count of a channel; 0 if it has none any more.
    pub(super) fn count(&mut self, place: &Place, channel: Option<&ChannelName>, edge: EdgeId, subscriptions: u64) {
        let alive = self.alive.contains(&edge);
        let Some(known) = self.channel(place, channel) else { return };
        if subscriptions > 0 {
            known.counts.insert(edge, subscriptions);
            if alive {
                known.left = None;
            }
        } else {
            known.counts.remove(&edge);
        }
        self.enqueue(place);
    }

    /// A member has come.
    pub(super) fn enter(&mut self, place: &Place, channel: &ChannelName, member: &str, edge: EdgeId, user: ClientId) {
        let alive = self.alive.contains(&edge);
        let Some(known) = self.channel(place, Some(channel)) else { return };
        if known.members.insert(member.into(), (edge.clone(), user.clone())).is_some() {
            return;
        }
        let user = known.user(user);
        *user.connections.entry(edge).or_default() += 1;
        if alive {
            // At once, and not when the channel is looked at: by then it may have left again, for which a new grace begins.
            user.left = None;
            known.left = None;
        }
        self.enqueue(place);
    }

    /// A member has gone.
    pub(super) fn leave(&mut self, place: &Place, member: &str) {
        let Some(known) = self.channels.get_mut(place) else { return };
        let Some((edge, user)) = known.members.remove(member) else { return };
        let connections = &mut known.user(user).connections;
        if let Some(count) = connections.get_mut(&edge) {
            *count -= 1;
            if *count == 0 {
                connections.remove(&edge);
            }
        }
        self.enqueue(place);
    }

    /// What was told of a channel, or of a user in it, before this began.
    pub(super) fn announced(
        &mut self,
        place: &Place,
        channel: &ChannelName,
        user: Option<ClientId>,
        (note, revision): (Note, u64),
        now: Instant,
    ) {
        let wants = self.interest.wants(&place.app, channel);
        let known = self.channels.entry(place.clone()).or_insert_with(|| Channel::new(channel.clone(), wants));
        known.set_told(user, Told::of(note, revision, now));
        self.enqueue(place);
    }

    /// The next thing to do, if there is one now. Its channel then waits for [`Self::done`].
    pub(super) fn next(&mut self, now: Instant) -> Option<Step> {
        while let Some((_, place)) = self.wakes.pop_first_if_due(now) {
            if let Some(channel) = self.channels.get_mut(&place) {
                channel.wake = None;
            }
            self.enqueue(&place);
        }
        while let Some(place) = self.queue.pop_front() {
            let Some(channel) = self.channels.get_mut(&place) else { continue };
            channel.queued = false;
            if channel.busy {
                continue;
            }
            if let Some(wake) = channel.wake.take() {
                self.wakes.remove(&(wake, place.clone()));
            }
            match channel.look(&self.alive, self.grace, now) {
                Look::Step(user, tell, revision, note) => {
                    channel.busy = true;
                    let name = channel.name.clone();
                    return Some(Step { place, channel: name, user, tell, revision, note });
                }
                Look::Wait(Some(at)) => {
                    channel.wake = Some(at);
                    self.wakes.insert((at, place));
                }
                Look::Wait(None) => {
                    if channel.is_empty() {
                        self.channels.remove(&place);
                    }
                }
            }
        }
        None
    }

    /// When [`Self::next`] has something without anything having happened.
    pub(super) fn wake(&self) -> Option<Instant> {
        self.wakes.first().map(|(at, _)| *at)
    }

    /// A step is done.
    pub(super) fn done(&mut self, step: &Step, outcome: Outcome, now: Instant) {
        let Some(channel) = self.channels.get_mut(&step.place) else { return };
        channel.busy = false;
        match outcome {
            Outcome::Noted(note, revision) => {
                channel.set_told(step.user.clone(), Told::of(note, revision, now));
                if step.tell == Some(WebhookEvent::SubscriptionCount) {
                    channel.counted = Some(now);
                }
                self.enqueue(&step.place);
            }
            Outcome::Failed => {
                let at = now + RETRY_PAUSE;
                channel.wake = Some(at);
                self.wakes.insert((at, step.place.clone()));
            }
        }
    }

    /// The channel at `place`, if anything is wanted of it. One that is not known yet needs a name.
    fn channel(&mut self, place: &Place, name: Option<&ChannelName>) -> Option<&mut Channel> {
        if !self.channels.contains_key(place) {
            let name = name?;
            let wants = self.interest.wants(&place.app, name);
            wants.iter().next()?;
            self.channels.insert(place.clone(), Channel::new(name.clone(), wants));
        }
        self.channels.get_mut(place)
    }

    fn enqueue(&mut self, place: &Place) {
        if let Some(channel) = self.channels.get_mut(place)
            && !std::mem::replace(&mut channel.queued, true)
        {
            self.queue.push_back(place.clone());
        }
    }
}

/// Takes out the first entry if it is due.
trait PopDue {
    fn pop_first_if_due(&mut self, now: Instant) -> Option<(Instant, Place)>;
}

impl PopDue for BTreeSet<(Instant, Place)> {
    fn pop_first_if_due(&mut self, now: Instant) -> Option<(Instant, Place)> {
        if self.first()?.0 <= now { self.pop_first() } else { None }
    }
}

impl Channel {
    fn new(name: ChannelName, wants: WebhookEvents) -> Self {
        Self {
            name,
            wants,
            counts: HashMap::new(),
            members: HashMap::new(),
            users: BTreeMap::new(),
            told: Told::default(),
            counted: None,
            left: None,
            busy: false,
            queued: false,
            wake: None,
        }
    }

    fn user(&mut self, id: ClientId) -> &mut User {
        let new = || User { connections: HashMap::new(), told: Told::default(), left: None };
        self.users.entry(id).or_insert_with(new)
    }

    fn set_told(&mut self, user: Option<ClientId>, told: Told) {
        match user {
            Some(user) => self.user(user).told = told,
            None => self.told = told,
        }
    }

    /// Ends the grace of whoever is there on a living edge.
    fn note_returns(&mut self, alive: &HashSet<EdgeId>) {
        for user in self.users.values_mut().filter(|user| user.is_here(alive)) {
            user.left = None;
            self.left = None;
        }
        if self.counts.keys().any(|edge| alive.contains(edge)) {
            self.left = None;
        }
    }

    fn is_empty(&self) -> bool {
        !self.busy && self.counts.is_empty() && self.users.is_empty() && self.told.is_nothing()
    }

    /// `event`, if somebody wants it.
    fn wanted(&self, event: WebhookEvent) -> Option<WebhookEvent> {
        Some(event).filter(|event| self.wants.contains(*event))
    }

    fn wants_any(&self, events: &[WebhookEvent]) -> bool {
        events.iter().any(|event| self.wants.contains(*event))
    }

    /// What is to be done now, or when to look again. The order of the questions is the order of the events: a channel is
    /// occupied before it has members, and loses them before it is vacated.
    fn look(&mut self, alive: &HashSet<EdgeId>, grace: Duration, now: Instant) -> Look {
        use WebhookEvent::{ChannelOccupied, ChannelVacated, MemberAdded, MemberRemoved, SubscriptionCount};
        let living = self.counts.iter().filter(|(edge, _)| alive.contains(*edge));
        let total: u64 = living.map(|(_, count)| count).sum();
        let follows_channel = self.wants_any(&[ChannelOccupied, ChannelVacated, SubscriptionCount]);
        let follows_users = self.wants_any(&[MemberAdded, MemberRemoved]);
        // Members may be known before their connections are counted, and after.
        let occupied = follows_channel && (total > 0 || self.users.values().any(|user| user.is_here(alive)));
        let mut wake: Option<Instant> = None;
        let mut wake_at = |at: Instant| wake = Some(wake.map_or(at, |wake| wake.min(at)));

        if occupied {
            self.left = None;
            if !self.told.here {
                return Look::Step(None, self.wanted(ChannelOccupied), self.told.revision, Note::Here { count: 0 });
            }
        }
        let (wanted_added, wanted_removed) = (self.wanted(MemberAdded), self.wanted(MemberRemoved));
        let mut all_gone = true;
        let mut forgotten = Vec::new();
        for (id, user) in &mut self.users {
            let revision = user.told.revision;
            if follows_users && user.is_here(alive) {
                all_gone = false;
                user.left = None;
                if !user.told.here {
                    return Look::Step(Some(id.clone()), wanted_added, revision, Note::Here { count: 0 });
                }
            } else if user.told.here {
                all_gone = false;
                if !follows_users {
                    return Look::Step(Some(id.clone()), None, revision, Note::Gone);
                }
                let due = *user.left.get_or_insert(now) + grace;
                if due <= now {
                    user.left = None;
                    return Look::Step(Some(id.clone()), wanted_removed, revision, Note::Gone);
                }
                wake_at(due);
            } else if let Some(at) = user.told.forget_at {
                if at <= now {
                    return Look::Step(Some(id.clone()), None, revision, Note::Nothing);
                }
                wake_at(at);
            } else if user.connections.is_empty() {
                forgotten.push(id.clone());
            }
        }
        for id in forgotten {
            self.users.remove(&id);
        }
        if self.told.here && !follows_channel {
            return Look::Step(None, None, self.told.revision, Note::Gone);
        }
        if self.told.here && self.wants.contains(SubscriptionCount) && total != self.told.count {
            let due = self.counted.map_or(now, |counted| counted + COUNT_INTERVAL);
            if total <= LARGE_COUNT || due <= now {
                return Look::Step(None, Some(SubscriptionCount), self.told.revision, Note::Here { count: total });
            }
            wake_at(due);
        }
        if self.told.here && !occupied {
            let due = *self.left.get_or_insert(now) + grace;
            if due > now {
                wake_at(due);
            } else if all_gone {
                self.left = None;
                return Look::Step(None, self.wanted(ChannelVacated), self.told.revision, Note::Gone);
            }
        }
        if let Some(at) = self.told.forget_at {
            if at <= now {
                return Look::Step(None, None, self.told.revision, Note::Nothing);
            }
            wake_at(at);
        }
        Look::Wait(wake)
    }
}
