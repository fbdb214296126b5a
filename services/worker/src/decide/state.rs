//! What is, what was told, and what therefore is to be told next. Pure: the time is an argument.
//!
//! For each channel and each of its users the facts are compared with what is announced to webhooks. A difference is a
//! [`Step`]; one at a time for each channel, so that a channel's events keep their order. What has gone is told after the
//! grace only, by which time it may be back, and then there is no difference.
//!
//! An announcement is written first and told second. One that may not have been told, since the worker that wrote it died
//! or the queue did not take it, is told before anything else about its channel, whatever the facts are by then.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::time::Duration;

use channels::{AppId, ChannelName, ClientId, EdgeId, WebhookEvent, WebhookEvents};
use tokio::time::Instant;

use super::interest::Interest;

/// Above this many subscribers their number is told at most every [`COUNT_INTERVAL`], as at Pusher.
const LARGE_COUNT: u64 = 100;
const COUNT_INTERVAL: Duration = Duration::from_secs(5);

/// Pause after a step that the backbone did not take.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A channel of an app, by its token: where facts about it stand.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct Place {
    pub(super) app: AppId,
    pub(super) token: Box<str>,
}

/// What is to be done next about a channel, or about a user in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) place: Place,
    pub(super) channel: ChannelName,
    /// `None` for the channel itself.
    pub(super) user: Option<ClientId>,
    pub(super) action: Action,
}

/// What is to be done about an announcement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Write it over `revision` (0 for none), and tell it if it is `wanted`.
    Announce { note: Note, wanted: bool, revision: u64 },
    /// Tell it: it is written, and whether it was told is not known.
    Tell { note: Note, revision: u64 },
    /// Remove it: there is nothing more to know.
    Forget { revision: u64 },
    /// Read it: what is written is not known, but at revision `told` (0 for none) it would be known to be told. It must not
    /// be told again: the queue may have forgotten it.
    Read { told: u64 },
}

/// What an announcement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Note {
    /// The event that is told.
    pub(super) event: WebhookEvent,
    /// The number of subscribers that is told, or was told last.
    pub(super) count: u64,
}

impl Note {
    /// Whether the channel is occupied, the user present, after this.
    fn is_here(self) -> bool {
        match self.event {
            WebhookEvent::ChannelVacated | WebhookEvent::MemberRemoved => false,
            WebhookEvent::ChannelOccupied
            | WebhookEvent::MemberAdded
            | WebhookEvent::SubscriptionCount
            | WebhookEvent::ClientEvent
            | WebhookEvent::CacheMiss => true,
        }
    }
}

/// How a step went: what is known of the announcement now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is written, at this revision, and told.
    Told(Note, u64),
    /// It is written, at this revision. Whether it was told is not known; it will be told again under the same id.
    Written(Note, u64),
    /// There is none.
    Nothing,
    /// The backbone did not say.
    Unknown,
}

/// What is known of an announcement.
#[derive(Clone, Copy, Debug, Default)]
struct Announcement {
    /// With its revision.
    written: Option<(Note, u64)>,
    /// Whether it may not have been told.
    is_owed: bool,
    /// Whether it may be another than `written`.
    is_unknown: bool,
}

impl Announcement {
    fn take(&mut self, outcome: Outcome) {
        *self = match outcome {
            Outcome::Told(note, revision) => Self { written: Some((note, revision)), ..Self::default() },
            Outcome::Written(note, revision) => {
                Self { written: Some((note, revision)), is_owed: true, ..Self::default() }
            }
            Outcome::Nothing => Self::default(),
            Outcome::Unknown => Self { is_unknown: true, ..*self },
        };
    }

    fn is_here(&self) -> bool {
        self.written.is_some_and(|(note, _)| note.is_here())
    }

    fn revision(&self) -> u64 {
        self.written.map_or(0, |(_, revision)| revision)
    }

    fn count(&self) -> u64 {
        self.written.map_or(0, |(note, _)| note.count)
    }

    fn is_nothing(&self) -> bool {
        self.written.is_none() && !self.is_unknown
    }

    /// What must be done about it before anything new, with the place that it has among others of its kind.
    fn duty(&self) -> Option<(u64, Action)> {
        match self.written {
            _ if self.is_unknown => Some((0, Action::Read { told: if self.is_owed { 0 } else { self.revision() } })),
            Some((note, revision)) if self.is_owed => Some((revision, Action::Tell { note, revision })),
            Some(_) | None => None,
        }
    }

    /// To announce `event`, with `count` subscribers.
    fn announce(&self, wants: WebhookEvents, event: WebhookEvent, count: u64) -> Action {
        let wanted = wants.contains(event);
        Action::Announce { note: Note { event, count }, wanted, revision: self.revision() }
    }

    fn forget(&self) -> Action {
        Action::Forget { revision: self.revision() }
    }
}

#[derive(Debug)]
struct User {
    /// Connections by the edge that holds them.
    connections: HashMap<EdgeId, usize>,
    announced: Announcement,
    /// Since when it is gone without its having been told.
    left: Option<Instant>,
    /// When it last came or went, among those of its channel.
    turn: u64,
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
    /// Turns that users have been given.
    turns: u64,
    announced: Announcement,
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
    Step(Option<ClientId>, Action),
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

    /// What edges say is about to be told anew, all of it; nothing may be decided until that is done. What was announced
    /// stays known, and graces go on.
    pub(super) fn forget_facts(&mut self) {
        self.alive.clear();
        for channel in self.channels.values_mut() {
            channel.counts.clear();
            channel.members.clear();
            channel.users.values_mut().for_each(|user| user.connections.clear());
        }
        let places: Vec<_> = self.channels.keys().cloned().collect();
        places.iter().for_each(|place| self.enqueue(place));
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
        let turn = known.turn();
        let user = known.user(user);
        if user.connections.is_empty() {
            user.turn = turn;
        }
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
        let turn = known.turn();
        let user = known.user(user);
        if let Some(count) = user.connections.get_mut(&edge) {
            *count -= 1;
            if *count == 0 {
                user.connections.remove(&edge);
            }
        }
        if user.connections.is_empty() {
            user.turn = turn;
        }
        self.enqueue(place);
    }

    /// What was announced of a channel, or of a user in it, before this began.
    pub(super) fn announced(&mut self, place: &Place, channel: &ChannelName, user: Option<ClientId>, known: Outcome) {
        let wants = self.interest.wants(&place.app, channel);
        let channel = self.channels.entry(place.clone()).or_insert_with(|| Channel::new(channel.clone(), wants));
        channel.announcement(user).take(known);
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
                Look::Step(user, action) => {
                    channel.busy = true;
                    let name = channel.name.clone();
                    return Some(Step { place, channel: name, user, action });
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
        channel.announcement(step.user.clone()).take(outcome);
        match outcome {
            Outcome::Told(note, _) => {
                if note.event == WebhookEvent::SubscriptionCount {
                    channel.counted = Some(now);
                }
                self.enqueue(&step.place);
            }
            Outcome::Nothing => self.enqueue(&step.place),
            // The backbone has its troubles, or another worker is in the way.
            Outcome::Written(..) | Outcome::Unknown => {
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
            turns: 0,
            announced: Announcement::default(),
            counted: None,
            left: None,
            busy: false,
            queued: false,
            wake: None,
        }
    }

    fn user(&mut self, id: ClientId) -> &mut User {
        let new = || User { connections: HashMap::new(), announced: Announcement::default(), left: None, turn: 0 };
        self.users.entry(id).or_insert_with(new)
    }

    /// The next turn of a user.
    fn turn(&mut self) -> u64 {
        self.turns += 1;
        self.turns
    }

    fn announcement(&mut self, user: Option<ClientId>) -> &mut Announcement {
        match user {
            Some(user) => &mut self.user(user).announced,
            None => &mut self.announced,
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
        !self.busy && self.counts.is_empty() && self.users.is_empty() && self.announced.is_nothing()
    }

    fn wants_any(&self, events: &[WebhookEvent]) -> bool {
        events.iter().any(|event| self.wants.contains(*event))
    }

    /// What is to be done now, or when to look again. The order of the questions is the order of the events: a channel is
    /// occupied before it has members, and loses them before it is vacated.
    fn look(&mut self, alive: &HashSet<EdgeId>, grace: Duration, now: Instant) -> Look {
        use WebhookEvent::{ChannelOccupied, ChannelVacated, MemberAdded, MemberRemoved, SubscriptionCount};
        if let Some((user, action)) = self.duty() {
            return Look::Step(user, action);
        }
        let wants = self.wants;
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
            if !self.announced.is_here() {
                return Look::Step(None, self.announced.announce(wants, ChannelOccupied, 0));
            }
        }
        let mut all_gone = true;
        // Of several that came and went while something else was told, the one whose turn was first.
        let mut first: Option<(u64, &ClientId, Action)> = None;
        for (id, user) in &mut self.users {
            let action = if follows_users && user.is_here(alive) {
                all_gone = false;
                user.left = None;
                if user.announced.is_here() {
                    continue;
                }
                user.announced.announce(wants, MemberAdded, 0)
            } else if !follows_users || !user.announced.is_here() {
                user.left = None;
                if user.announced.written.is_none() {
                    continue;
                }
                user.announced.forget()
            } else {
                all_gone = false;
                let due = *user.left.get_or_insert(now) + grace;
                if due > now {
                    wake_at(due);
                    continue;
                }
                user.announced.announce(wants, MemberRemoved, 0)
            };
            if first.is_none_or(|(turn, ..)| user.turn < turn) {
                first = Some((user.turn, id, action));
            }
        }
        if let Some((_, id, action)) = first {
            return Look::Step(Some(id.clone()), action);
        }
        self.users.retain(|_, user| !user.connections.is_empty() || !user.announced.is_nothing());
        if !follows_channel || !self.announced.is_here() {
            return match self.announced.written {
                Some(_) => Look::Step(None, self.announced.forget()),
                None => Look::Wait(wake),
            };
        }
        if wants.contains(SubscriptionCount) && total != self.announced.count() {
            let due = self.counted.map_or(now, |counted| counted + COUNT_INTERVAL);
            if total <= LARGE_COUNT || due <= now {
                return Look::Step(None, self.announced.announce(wants, SubscriptionCount, total));
            }
            wake_at(due);
        }
        if !occupied {
            let due = *self.left.get_or_insert(now) + grace;
            if due > now {
                wake_at(due);
            } else if all_gone {
                self.left = None;
                return Look::Step(None, self.announced.announce(wants, ChannelVacated, 0));
            }
        }
        Look::Wait(wake)
    }

    /// What is owed to announcements as they are, in the order in which they were written.
    fn duty(&self) -> Option<(Option<ClientId>, Action)> {
        let of_users = self.users.iter().map(|(id, user)| (Some(id), &user.announced));
        let all = of_users.chain([(None, &self.announced)]);
        let duties = all.filter_map(|(user, announced)| Some((user, announced.duty()?)));
        let first = duties.min_by_key(|(_, (revision, _))| *revision);
        first.map(|(user, (_, action))| (user.cloned(), action))
    }
}
