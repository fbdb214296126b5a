//! The keeper of a channel's members: the task that has them written into the cluster's roster as they are wanted.
//!
//! For each member of this node it compares what is wanted with what is written, so that however fast somebody comes and
//! goes, each step waits for the one before.

use std::sync::Arc;
use std::time::Duration;

use channels::{EdgeId, Member, MemberData, PresenceAction, Roster};
use clock::sleep_until;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::time::Instant;

use super::channel::{Phase, State};
use super::own::{Asked, Own, PresenceRefused, Wanted, Written};
use super::presence::Presence;
use super::{Channel, Hub};
use crate::queue::Ending;

/// Members of one channel that are entering, and that are leaving, at one time.
const CONCURRENT_WRITES: usize = 32;

/// What is to be done for a member.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    /// It is to be written.
    Enter,
    /// What its client asks next is to be written.
    Asked,
    /// What its client asks next is so already.
    Done,
    /// What was written will not be seen coming back any more.
    Told,
    /// It is to be removed.
    Leave,
    /// It is not in the roster, and is not to be.
    Over,
    /// It, or what its client asks next, has waited for too long.
    TooLate,
    /// Nothing before that time, unless something changes.
    Nothing(Option<Instant>),
}

/// One step of the keeper.
pub(super) struct Step {
    pub(super) member: Member,
    pub(super) change: Change,
    /// Whether it is what the member's client asked for next.
    asked: bool,
}

pub(super) enum Change {
    /// Into the roster, under this id, over the entry of the revision that is known.
    Put { edge: EdgeId, action: PresenceAction, data: MemberData, quiet: bool, known: Option<u64> },
    /// Out of it.
    Leave { written: Written, data: MemberData, quiet: bool },
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
    /// Whether it is known who is there.
    known: bool,
    /// Whether the channel is over.
    ended: bool,
    /// How long somebody may wait.
    patience: Duration,
}

impl Look {
    /// Whether anything can be written, and be seen when it comes back.
    fn writes(&self) -> bool {
        self.live && self.known && self.me.is_some()
    }
}

impl Own {
    fn due(&self, look: &Look, moved_on: bool) -> Due {
        if let Some((_, asked)) = &self.told {
            let until = asked.since + look.patience;
            // In another life it is written once more, and nobody will see it come back as it was.
            let lives =
                self.written.as_ref().is_some_and(|written| look.me.as_ref().is_none_or(|me| *me == written.edge));
            return if lives && until > look.now { Due::Nothing(Some(until)) } else { Due::Told };
        }
        if let Some(asked) = self.next_asked() {
            let until = asked.since + look.patience;
            return match asked.action {
                _ if look.ended => Due::TooLate,
                PresenceAction::Leave if self.written.is_none() => Due::Done,
                PresenceAction::Enter | PresenceAction::Update | PresenceAction::Leave if look.writes() => Due::Asked,
                PresenceAction::Enter | PresenceAction::Update | PresenceAction::Leave if until <= look.now => {
                    Due::TooLate
                }
                PresenceAction::Enter | PresenceAction::Update | PresenceAction::Leave => Due::Nothing(Some(until)),
            };
        }
        let leaves = match self.wanted {
            Wanted::Present => look.ended,
            // Its connection has been on another edge since, which holds it as well.
            Wanted::Until(at) if at <= look.now || moved_on => true,
            Wanted::Until(at) => return Due::Nothing(Some(at)),
        };
        match &self.written {
            None if leaves => Due::Over,
            Some(_) if leaves => Due::Leave,
            // In another life of this edge; now it is to be written anew.
            Some(written) if look.me.as_ref().is_some_and(|me| *me != written.edge) && look.live => Due::Enter,
            Some(_) => Due::Nothing(None),
            // Its client says when it comes.
            None if self.asked.is_some() => Due::Over,
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
            known: state.roster().is_some(),
            ended: state.phase == Phase::Ended,
            patience: hub.settings.attach_timeout,
        };
        let State { presence: Some(presence), subscribers, .. } = &mut *state else { return Next::Done };
        let mut excess = presence.expected().saturating_sub(limit);
        let busy = |action| presence.own.iter().filter(|(_, own)| own.busy == Some(action)).count();
        // Those who come are not to wait for those who go.
        let mut entering = busy(PresenceAction::Enter) + busy(PresenceAction::Update);
        let mut leaving = busy(PresenceAction::Leave);
        let Presence { roster, own, .. } = &mut **presence;
        let (mut steps, mut over, mut wake) = (Vec::new(), Vec::new(), None::<Instant>);
        for (connection, own) in own.iter_mut().filter(|(_, own)| own.busy.is_none()) {
            let member = Member { connection: connection.clone(), user: own.user.clone() };
            // Of several edges that its connection has left, the last one waits for it: the others need not.
            let moved_on = || {
                let (written, roster) = own.written.as_ref().zip(roster.as_ref())?;
                Some(roster.is_held_later(&written.edge, &member, written.revision?))
            };
            let moved_on = matches!(own.wanted, Wanted::Until(_)) && moved_on() == Some(true);
            let change = loop {
                match own.due(&look, moved_on) {
                    Due::Nothing(None) => break None,
                    Due::Nothing(Some(at)) => {
                        wake = Some(wake.map_or(at, |wake| wake.min(at)));
                        break None;
                    }
                    Due::Over => {
                        // Until its departure has come back, or whoever comes next would be taken for it. It may still be
                        // there on another edge.
                        let is_there = |roster: &Roster| match &own.asked {
                            Some(_) => look.me.as_ref().is_some_and(|me| roster.is_held_by(me, &member)),
                            None => roster.sequence(&member).is_some(),
                        };
                        if !look.live || !roster.as_ref().is_some_and(is_there) {
                            over.push(member.clone());
                        }
                        break None;
                    }
                    Due::Told => own.told.take().into_iter().for_each(|(_, asked)| asked.answer(Ok(()))),
                    Due::Done => own.take_asked().into_iter().for_each(|asked| asked.answer(Ok(()))),
                    Due::TooLate => match own.take_asked() {
                        Some(asked) => asked.answer(Err(PresenceRefused::Unavailable)),
                        None => {
                            if let Some(subscriber) = own.carrier.and_then(|key| subscribers.get(key)) {
                                subscriber.peer.queue.end(Ending::Unavailable);
                                hub.metrics.subscribe_unavailable.increment(1);
                            }
                            over.push(member.clone());
                            break None;
                        }
                    },
                    Due::Enter => {
                        let present = roster.as_ref().and_then(|roster| roster.user(&own.user));
                        if present.is_none() && excess > 0 && own.asked.is_none() {
                            excess -= 1;
                            if let Some(subscriber) = own.carrier.and_then(|key| subscribers.get_mut(key)) {
                                subscriber.refuse(&self.name, own.carrier);
                            }
                            over.push(member.clone());
                            break None;
                        }
                        let Some(edge) = look.me.clone() else { break None };
                        let data = match present {
                            // What is known of a Pusher user is what its first connection said.
                            Some(first) if own.asked.is_none() => {
                                let MemberData { id, timestamp_ms, .. } = own.data.clone();
                                MemberData { id, timestamp_ms, ..first.clone() }
                            }
                            Some(_) | None => own.data.clone(),
                        };
                        let quiet = own.written.is_some();
                        break Some(Change::Put { edge, action: PresenceAction::Enter, data, quiet, known: None });
                    }
                    Due::Asked => {
                        if let Some(change) = own.next_change(&look, roster.as_ref(), &member, &mut excess) {
                            break Some(change);
                        }
                    }
                    Due::Leave => {
                        break own.written.clone().map(|written| own.leave_change(written, roster.as_ref(), &member));
                    }
                }
            };
            let Some(change) = change else { continue };
            let (under_way, action) = match &change {
                Change::Put { action, .. } => (&mut entering, *action),
                Change::Leave { .. } => (&mut leaving, PresenceAction::Leave),
            };
            if *under_way < CONCURRENT_WRITES {
                *under_way += 1;
                own.busy = Some(action);
                let asked = own.next_asked().is_some();
                steps.push(Step { member, change, asked });
            }
        }
        // Who was waiting behind one that is over has its turn now.
        let wake = if over.is_empty() { wake } else { Some(look.now) };
        over.iter().for_each(|member| presence.over(hub, member));
        presence.kept = !presence.own.is_empty();
        if presence.kept { Next::Steps(steps, wake) } else { Next::Done }
    }

    /// Notes how a step ended: with the revision of the change, or not at all.
    fn step_done(&self, hub: &Hub, step: Step, revision: Option<u64>) {
        let mut state = self.state();
        let State { presence: Some(presence), subscribers, .. } = &mut *state else { return };
        let Some(own) = presence.own.get_mut(&step.member) else { return };
        own.busy = None;
        let asked = if step.asked { own.take_asked() } else { None };
        match (step.change, revision) {
            (Change::Put { edge, action, data, quiet, .. }, Some(revision)) => {
                own.written = Some(Written { edge, revision: Some(revision) });
                own.data = data;
                let Some(asked) = asked else { return };
                if action == PresenceAction::Enter && !quiet {
                    own.told = Some((revision, asked));
                    self.confirm_member(hub, &mut state, &step.member);
                } else {
                    asked.answer(Ok(()));
                }
            }
            (Change::Put { edge, .. }, None) => {
                let was_there = own.written.is_some();
                // The entry may have been written.
                own.written = Some(Written { edge, revision: None });
                match asked {
                    Some(asked) => {
                        if !was_there {
                            own.ask_first(Asked::departure());
                        }
                        asked.answer(Err(PresenceRefused::Unavailable));
                    }
                    None if own.asked.is_some() => {}
                    None => {
                        own.wanted = Wanted::Until(Instant::now());
                        if let Some(subscriber) = own.carrier.and_then(|key| subscribers.get(key)) {
                            subscriber.peer.queue.end(Ending::Unavailable);
                            hub.metrics.subscribe_unavailable.increment(1);
                        }
                    }
                }
            }
            (Change::Leave { .. }, revision) => {
                own.written = None;
                own.left = revision.unwrap_or(own.left);
                asked.into_iter().for_each(|asked| asked.answer(Ok(())));
            }
        }
    }
}

impl Own {
    /// What is to be written for what its client asks next; nothing, if that is answered already.
    fn next_change(
        &mut self,
        look: &Look,
        roster: Option<&Roster>,
        member: &Member,
        excess: &mut usize,
    ) -> Option<Change> {
        let asked = self.next_asked()?;
        if asked.action == PresenceAction::Leave {
            let (written, said) = (self.written.clone()?, asked.said.clone());
            let data = self.parting(&written.edge, Some(&said));
            return Some(Change::Leave { written, data, quiet: false });
        }
        let edge = look.me.clone()?;
        let here = self.written.as_ref().filter(|written| written.edge == edge);
        let present = roster.and_then(|roster| roster.member(member));
        let repeated = |said: &MemberData| !said.id.is_empty() && said.id == asked.said.id;
        if here.is_some() && repeated(&self.data) {
            self.take_asked().into_iter().for_each(|asked| asked.answer(Ok(())));
            return None;
        }
        let is_new = !asked.quiet && roster.is_some_and(|roster| roster.user(&member.user).is_none());
        if is_new && *excess > 0 {
            *excess -= 1;
            self.take_asked().into_iter().for_each(|asked| asked.answer(Err(PresenceRefused::Full)));
            return None;
        }
        let quiet = asked.quiet || present.is_some_and(repeated);
        let action = if present.is_none() { PresenceAction::Enter } else { asked.action };
        let known = here.and_then(|written| written.revision);
        Some(Change::Put { edge, action, data: asked.said.clone(), quiet, known })
    }

    /// What is to be written when it goes without a word.
    fn leave_change(&self, written: Written, roster: Option<&Roster>, member: &Member) -> Change {
        let quiet = roster.is_some_and(|roster| roster.is_held_beside(&written.edge, member));
        let data = self.parting(&written.edge, None);
        Change::Leave { written, data, quiet }
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
        tokio::select! {
            Some((step, revision)) = under_way.next() => {
                channel.step_done(hub, step, revision);
                // Others may have ended as well: one look at all members serves them all.
                while let Some(Some((step, revision))) = under_way.next().now_or_never() {
                    channel.step_done(hub, step, revision);
                }
            }
            () = channel.members_changed.notified() => {}
            () = sleep_until(wake) => {}
            // As another edge, all has to be written anew.
            _ = lives.changed() => {}
        }
    }
}
