//! The keeper of a channel's members: the task that has them written into the cluster's roster as they are wanted.
//!
//! For each member of this node it compares what is wanted with what is written, so that however fast somebody comes and
//! goes, each step waits for the one before.

use std::sync::Arc;
use std::time::Duration;

use channels::{ClientId, EdgeId, Member, MemberData, PresenceAction};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::channel::{Phase, State};
use super::presence::{Place, Presence};
use super::{Channel, Hub};
use crate::queue::Ending;

/// Members of one channel that are entering, and that are leaving, at one time.
const CONCURRENT_WRITES: usize = 32;

/// A member of this node.
#[derive(Debug)]
pub(super) struct Own {
    pub(super) user: ClientId,
    pub(super) data: MemberData,
    /// Its place among the subscribers, while it is subscribed.
    pub(super) subscriber: Option<usize>,
    /// When it came; whoever waits for too long is sent elsewhere.
    pub(super) since: Instant,
    pub(super) wanted: Wanted,
    /// Where it stands in the roster, as far as is known.
    pub(super) written: Option<Written>,
    /// What is being written.
    pub(super) busy: Option<PresenceAction>,
    /// The revision at which it last left: what is older says nothing of where it is now.
    pub(super) left: u64,
    /// Another user of the same connection, who comes when this one has left: what it says, and its place.
    pub(super) next: Option<Box<(ClientId, MemberData, usize)>>,
    /// Its place among the members of its app.
    pub(super) place: Option<Place>,
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

/// What is to be done for a member.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// It is to be written.
    Enter,
    /// It is to be removed.
    Leave,
    /// It is not in the roster, and is not to be.
    Over,
    /// It has waited for too long.
    TooLate,
    /// Nothing before that time, unless something changes.
    Nothing(Option<Instant>),
}

/// One step of the keeper.
pub(super) struct Step {
    pub(super) member: Member,
    pub(super) change: Change,
}

pub(super) enum Change {
    /// Into the roster, under this id.
    Enter { edge: EdgeId, data: MemberData },
    /// Out of it.
    Leave(Written),
}

/// What the keeper does next.
enum Next {
    /// These steps; then nothing before that time, unless something changes.
    Steps(Vec<Step>, Option<Instant>),
    /// Nothing any more.
    Done,
}

/// What the keeper knows when it looks at a channel's members.
struct Look {
    now: Instant,
    /// This edge's life; `None` before it has a lease, when its word counts for nothing.
    me: Option<EdgeId>,
    /// Whether the channel is being followed: otherwise nobody can be confirmed.
    live: bool,
    /// Whether the channel is over.
    ended: bool,
    /// How long somebody may wait.
    patience: Duration,
}

impl Own {
    pub(super) fn new(user: ClientId, data: MemberData, place: Option<Place>, subscriber: usize) -> Self {
        let (since, wanted, subscriber) = (Instant::now(), Wanted::Present, Some(subscriber));
        Self { user, data, subscriber, since, wanted, written: None, busy: None, left: 0, next: None, place }
    }

    fn due(&self, look: &Look) -> Due {
        let leaves = match self.wanted {
            Wanted::Present => look.ended,
            Wanted::Until(at) if at <= look.now => true,
            Wanted::Until(at) => return Due::Nothing(Some(at)),
        };
        match &self.written {
            None if leaves => Due::Over,
            Some(_) if leaves => Due::Leave,
            // In another life of this edge; now it is to be written anew.
            Some(written) if look.me.as_ref().is_some_and(|me| *me != written.edge) && look.live => Due::Enter,
            Some(_) => Due::Nothing(None),
            None if look.live && look.me.is_some() => Due::Enter,
            None if self.since + look.patience <= look.now => Due::TooLate,
            None => Due::Nothing(Some(self.since + look.patience)),
        }
    }
}

impl Channel {
    /// What the keeper is to do.
    fn next_steps(&self, hub: &Hub) -> Next {
        let limit = hub.apps.get(&self.app).map_or(usize::MAX, |app| app.presence_members(&self.name));
        let mut state = self.state();
        let look = Look {
            now: Instant::now(),
            me: hub.membership.life(),
            live: state.phase == Phase::Live,
            ended: state.phase == Phase::Ended,
            patience: hub.settings.attach_timeout,
        };
        let State { presence: Some(presence), subscribers, .. } = &mut *state else { return Next::Done };
        let mut excess = presence.expected().saturating_sub(limit);
        let busy = |action| presence.own.values().filter(|own| own.busy == Some(action)).count();
        // Those who come are not to wait for those who go.
        let (mut entering, mut leaving) = (busy(PresenceAction::Enter), busy(PresenceAction::Leave));
        let Presence { roster, own, .. } = &mut **presence;
        let (mut steps, mut over, mut wake) = (Vec::new(), Vec::new(), None::<Instant>);
        for (connection, own) in own.iter_mut().filter(|(_, own)| own.busy.is_none()) {
            let change = match own.due(&look) {
                Due::Nothing(None) => continue,
                Due::Nothing(Some(at)) => {
                    wake = Some(wake.map_or(at, |wake| wake.min(at)));
                    continue;
                }
                Due::Over => {
                    // Until its departure has come back, or whoever comes next would be taken for it.
                    let member = Member { connection: connection.clone(), user: own.user.clone() };
                    if !look.live || roster.as_ref().is_none_or(|roster| roster.sequence(&member).is_none()) {
                        over.push(connection.clone());
                    }
                    continue;
                }
                Due::TooLate => {
                    if let Some(subscriber) = own.subscriber.and_then(|key| subscribers.get(key)) {
                        subscriber.peer.queue.end(Ending::Unavailable);
                        hub.metrics.subscribe_unavailable.increment(1);
                    }
                    over.push(connection.clone());
                    continue;
                }
                Due::Enter => {
                    let present = roster.as_ref().and_then(|roster| roster.user(&own.user));
                    if present.is_none() && excess > 0 {
                        excess -= 1;
                        if let Some(subscriber) = own.subscriber.and_then(|key| subscribers.get_mut(key)) {
                            subscriber.refuse(&self.name, own.subscriber);
                        }
                        over.push(connection.clone());
                        continue;
                    }
                    let (Some(edge), true) = (look.me.clone(), entering < CONCURRENT_WRITES) else { continue };
                    entering += 1;
                    own.busy = Some(PresenceAction::Enter);
                    // What is known of a user is what its first connection said.
                    Change::Enter { edge, data: MemberData { id: own.data.id.clone(), ..present.unwrap_or(&own.data).clone() } }
                }
                Due::Leave => {
                    let (Some(written), true) = (own.written.clone(), leaving < CONCURRENT_WRITES) else { continue };
                    leaving += 1;
                    own.busy = Some(PresenceAction::Leave);
                    Change::Leave(written)
                }
            };
            let member = Member { connection: connection.clone(), user: own.user.clone() };
            steps.push(Step { member, change });
        }
        // Who was waiting behind one that is over has its turn now.
        let wake = if over.is_empty() { wake } else { Some(look.now) };
        over.iter().for_each(|connection| presence.over(hub, connection));
        presence.kept = !presence.own.is_empty();
        if presence.kept { Next::Steps(steps, wake) } else { Next::Done }
    }

    /// Notes how a step ended: with the revision of the change, or not at all.
    fn step_done(&self, hub: &Hub, step: Step, revision: Option<u64>) {
        let mut state = self.state();
        let State { presence: Some(presence), subscribers, .. } = &mut *state else { return };
        let Some(own) = presence.own.get_mut(&step.member.connection) else { return };
        own.busy = None;
        match step.change {
            Change::Enter { edge, .. } => {
                // Also if it failed: the entry may have been written.
                own.written = Some(Written { edge, revision });
                if revision.is_none() {
                    own.wanted = Wanted::Until(Instant::now());
                    if let Some(subscriber) = own.subscriber.and_then(|key| subscribers.get(key)) {
                        subscriber.peer.queue.end(Ending::Unavailable);
                        hub.metrics.subscribe_unavailable.increment(1);
                    }
                }
            }
            Change::Leave(_) => {
                own.written = None;
                own.left = revision.unwrap_or(own.left);
            }
        }
    }
}

impl Hub {
    /// Has the channel's members written as they are wanted.
    pub(super) fn keep_members(self: &Arc<Self>, channel: &Arc<Channel>) {
        channel.members_changed.notify_one();
        let mut state = channel.state();
        let Some(presence) = &mut state.presence else { return };
        if !presence.own.is_empty() && !std::mem::replace(&mut presence.kept, true) {
            drop(state);
            self.tasks.spawn(keep(Arc::clone(self), Arc::clone(channel)));
        }
    }
}

/// The keeper of a channel's members.
async fn keep(hub: Arc<Hub>, channel: Arc<Channel>) {
    let stop = hub.stop.clone();
    tokio::select! {
        () = stop.cancelled() => {}
        () = keep_all(&hub, &channel) => {}
    }
}

async fn keep_all(hub: &Arc<Hub>, channel: &Arc<Channel>) {
    let mut lives = hub.membership.lives();
    let mut under_way = FuturesUnordered::new();
    loop {
        let (steps, wake) = match channel.next_steps(hub) {
            Next::Steps(steps, wake) => (steps, wake),
            Next::Done => return,
        };
        for step in steps {
            under_way.push(async move {
                let revision = hub.take_step(channel, &step).await;
                (step, revision)
            });
        }
        let wake = async {
            match wake {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            Some((step, revision)) = under_way.next() => {
                channel.step_done(hub, step, revision);
                // Others may have ended as well: one look at all members serves them all.
                while let Some(Some((step, revision))) = under_way.next().now_or_never() {
                    channel.step_done(hub, step, revision);
                }
            }
            () = channel.members_changed.notified() => {}
            () = wake => {}
            // As another edge, all has to be written anew.
            _ = lives.changed() => {}
        }
    }
}
