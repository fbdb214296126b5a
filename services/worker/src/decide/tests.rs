use std::time::Duration;

use channels::{AppId, ChannelName, ClientId, EdgeId, WebhookEvent};
use tokio::time::Instant;

use super::interest::Interest;
use super::state::{Note, Outcome, Place, State, Step};

const GRACE: Duration = Duration::from_secs(3);
const SECOND: Duration = Duration::from_secs(1);

fn app() -> AppId {
    AppId::new("1001").unwrap()
}

fn edge(number: u64) -> EdgeId {
    EdgeId::from_random(number)
}

fn user(id: &str) -> ClientId {
    ClientId::new(id).unwrap()
}

/// Facts in, events out.
struct Script {
    state: State,
    now: Instant,
    revision: u64,
}

impl Script {
    fn new(interest: Interest) -> Self {
        let mut state = State::new(interest, GRACE);
        state.edge(edge(1), true);
        state.edge(edge(2), true);
        Self { state, now: Instant::now(), revision: 0 }
    }

    fn everything() -> Self {
        Self::new(Interest::in_all_of(&app()))
    }

    fn place(channel: &str) -> (Place, ChannelName) {
        let channel = ChannelName::new(channel).unwrap();
        (Place { app: app(), token: channel.token().as_str().into() }, channel)
    }

    fn count(&mut self, channel: &str, on: u64, subscriptions: u64) {
        let (place, channel) = Self::place(channel);
        self.state.count(&place, Some(&channel), edge(on), subscriptions);
    }

    fn enter(&mut self, channel: &str, on: u64, connection: &str, id: &str) {
        let (place, channel) = Self::place(channel);
        self.state.enter(&place, &channel, &format!("{on}.{connection}.{id}"), edge(on), user(id));
    }

    fn leave(&mut self, channel: &str, on: u64, connection: &str, id: &str) {
        let (place, _) = Self::place(channel);
        self.state.leave(&place, &format!("{on}.{connection}.{id}"));
    }

    fn announced(&mut self, channel: &str, id: Option<&str>, note: Note, revision: u64) {
        let (place, channel) = Self::place(channel);
        self.state.announced(&place, &channel, id.map(user), (note, revision), self.now);
    }

    /// Does everything that is to be done now; what is told.
    fn told(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        while let Some(step) = self.state.next(self.now) {
            told.extend(text(&step));
            self.finish(&step);
        }
        told
    }

    fn finish(&mut self, step: &Step) {
        self.revision += 1;
        let revision = if step.note == Note::Nothing { 0 } else { self.revision };
        self.state.done(step, Outcome::Noted(step.note, revision), self.now);
    }

    fn told_after(&mut self, pause: Duration) -> Vec<String> {
        self.now += pause;
        self.told()
    }
}

fn text(step: &Step) -> Option<String> {
    let event = step.tell?;
    let mut text = format!("{} {}", event.name(), step.channel);
    if let Some(user) = &step.user {
        text.push_str(&format!(" {user}"));
    }
    if let (WebhookEvent::SubscriptionCount, Note::Here { count }) = (event, step.note) {
        text.push_str(&format!(" {count}"));
    }
    Some(text)
}

const NOTHING: [&str; 0] = [];

#[test]
fn occupied_by_the_first_subscriber_of_the_cluster_and_vacated_by_the_last() {
    let mut script =
        Script::new(Interest::in_some_of(&app(), &[WebhookEvent::ChannelOccupied, WebhookEvent::ChannelVacated], ""));
    script.count("a", 1, 1);
    assert_eq!(script.told(), ["channel_occupied a"]);
    script.count("a", 2, 5);
    script.count("a", 1, 0);
    assert_eq!(script.told_after(10 * SECOND), NOTHING);
    script.count("a", 2, 0);
    assert_eq!(script.told(), NOTHING);
    assert_eq!(script.state.wake(), Some(script.now + GRACE));
    assert_eq!(script.told_after(GRACE), ["channel_vacated a"]);
    script.count("a", 1, 1);
    assert_eq!(script.told(), ["channel_occupied a"]);
}

#[test]
fn a_return_within_the_grace_tells_neither() {
    let mut script = Script::everything();
    script.count("presence-a", 1, 1);
    script.enter("presence-a", 1, "c1", "ann");
    assert_eq!(script.told(), ["channel_occupied presence-a", "member_added presence-a ann"]);
    script.count("presence-a", 1, 0);
    script.leave("presence-a", 1, "c1", "ann");
    assert_eq!(script.told_after(Duration::ZERO), NOTHING);
    assert_eq!(script.told_after(GRACE - SECOND), NOTHING);
    script.count("presence-a", 2, 1);
    script.enter("presence-a", 2, "c2", "ann");
    assert_eq!(script.told_after(10 * SECOND), NOTHING);
}

#[test]
fn a_return_counts_even_if_it_ends_before_anybody_looks() {
    let mut script = Script::everything();
    script.count("presence-a", 1, 1);
    script.enter("presence-a", 1, "c1", "ann");
    script.told();
    script.count("presence-a", 1, 0);
    script.leave("presence-a", 1, "c1", "ann");
    assert_eq!(script.told(), NOTHING);
    script.now += 2 * SECOND;
    script.count("presence-a", 1, 1);
    script.enter("presence-a", 1, "c2", "ann");
    script.count("presence-a", 1, 0);
    script.leave("presence-a", 1, "c2", "ann");
    assert_eq!(script.told(), NOTHING);
    assert_eq!(script.told_after(2 * SECOND), NOTHING, "the second absence has not lasted");
    assert_eq!(script.told_after(SECOND), ["member_removed presence-a ann", "channel_vacated presence-a"]);
}

#[test]
fn a_users_tabs_and_nodes_are_one_member() {
    let mut script = Script::everything();
    script.enter("presence-a", 1, "c1", "ann");
    script.enter("presence-a", 1, "c2", "ann");
    script.enter("presence-a", 2, "c3", "ann");
    script.enter("presence-a", 2, "c3", "ann");
    assert_eq!(script.told(), ["channel_occupied presence-a", "member_added presence-a ann"]);
    script.leave("presence-a", 1, "c1", "ann");
    script.leave("presence-a", 2, "c3", "ann");
    assert_eq!(script.told_after(10 * SECOND), NOTHING);
    script.leave("presence-a", 1, "c2", "ann");
    script.told();
    assert_eq!(script.told_after(GRACE), ["member_removed presence-a ann", "channel_vacated presence-a"]);
}

#[test]
fn what_a_dead_edge_said_does_not_count() {
    let mut script = Script::everything();
    script.count("presence-a", 1, 1);
    script.enter("presence-a", 1, "c1", "ann");
    script.count("presence-a", 2, 1);
    script.enter("presence-a", 2, "c2", "bob");
    script.told();
    script.state.edge(edge(1), false);
    script.told();
    assert_eq!(script.told_after(GRACE), ["member_removed presence-a ann"]);
    // Its entries are removed afterwards.
    script.count("presence-a", 1, 0);
    script.leave("presence-a", 1, "c1", "ann");
    assert_eq!(script.told_after(GRACE), NOTHING);
    // An edge whose lease is not known yet is believed once it is.
    script.count("b", 3, 1);
    assert_eq!(script.told(), NOTHING);
    script.state.edge(edge(3), true);
    assert_eq!(script.told(), ["channel_occupied b", "subscription_count b 1"]);
}

#[test]
fn counts_are_told_with_each_change_and_of_large_channels_seldom() {
    let mut script = Script::new(Interest::in_some_of(&app(), &[WebhookEvent::SubscriptionCount], ""));
    for count in [1, 2, 100] {
        script.count("a", 1, count);
        assert_eq!(script.told(), [format!("subscription_count a {count}")]);
    }
    script.count("a", 1, 101);
    assert_eq!(script.told(), NOTHING);
    script.count("a", 2, 10);
    assert_eq!(script.told_after(4 * SECOND), NOTHING);
    assert_eq!(script.told_after(SECOND), ["subscription_count a 111"]);
    script.count("a", 2, 0);
    assert_eq!(script.told(), NOTHING);
    script.count("a", 1, 99);
    assert_eq!(script.told(), ["subscription_count a 99"], "no longer large");
    script.count("a", 1, 0);
    assert_eq!(script.told(), ["subscription_count a 0"]);
    assert_eq!(script.told_after(GRACE), NOTHING, "nobody wants to know that it is vacated");
    script.count("presence-a", 1, 3);
    script.count("#server-to-user-1", 1, 3);
    assert_eq!(script.told(), NOTHING);
}

#[test]
fn only_what_is_wanted_is_told() {
    let mut script = Script::new(Interest::in_some_of(&app(), &[WebhookEvent::MemberAdded], "presence-x"));
    for channel in ["a", "presence-a", "presence-x1"] {
        script.count(channel, 1, 1);
        script.enter(channel, 1, "c1", "ann");
    }
    assert_eq!(script.told(), ["member_added presence-x1 ann"]);
    script.leave("presence-x1", 1, "c1", "ann");
    script.told();
    assert_eq!(script.told_after(GRACE), NOTHING, "nobody wants to know, but it is noted");
    script.enter("presence-x1", 1, "c1", "ann");
    assert_eq!(script.told(), ["member_added presence-x1 ann"]);
    let mut script = Script::everything();
    script.count("#server-to-user-1", 1, 1);
    assert_eq!(script.told(), NOTHING);
}

#[test]
fn a_new_worker_tells_the_difference() {
    let mut script = Script::everything();
    script.announced("presence-a", None, Note::Here { count: 0 }, 4);
    script.announced("presence-a", Some("ann"), Note::Here { count: 0 }, 5);
    script.announced("presence-a", Some("bob"), Note::Here { count: 0 }, 6);
    script.announced("b", None, Note::Here { count: 2 }, 7);
    script.announced("c", None, Note::Gone, 8);
    script.count("presence-a", 1, 2);
    script.enter("presence-a", 1, "c1", "bob");
    script.enter("presence-a", 1, "c2", "cid");
    script.count("b", 1, 2);
    script.count("c", 1, 1);
    let mut told = script.told();
    told.sort();
    assert_eq!(told, ["channel_occupied c", "member_added presence-a cid", "subscription_count c 1"]);
    assert_eq!(script.told_after(GRACE), ["member_removed presence-a ann"]);
}

#[test]
fn ids_derive_from_what_was_told_before() {
    let mut script = Script::everything();
    script.revision = 10;
    script.count("a", 1, 1);
    let first = script.state.next(script.now).unwrap();
    assert_eq!((first.tell, first.revision), (Some(WebhookEvent::ChannelOccupied), 0));
    assert_eq!(script.state.next(script.now), None, "one step of a channel at a time");
    script.count("a", 1, 2);
    assert_eq!(script.state.next(script.now), None);
    script.finish(&first);
    let second = script.state.next(script.now).unwrap();
    assert_eq!((second.tell, second.revision), (Some(WebhookEvent::SubscriptionCount), 11));
    script.finish(&second);
    script.count("a", 1, 0);
    script.told();
    script.now += GRACE;
    let vacated = script.state.next(script.now).unwrap();
    assert_eq!((vacated.tell, vacated.revision, vacated.note), (Some(WebhookEvent::ChannelVacated), 13, Note::Gone));
    script.finish(&vacated);
    script.count("a", 1, 1);
    assert_eq!(script.state.next(script.now).unwrap().revision, 14);
}

#[test]
fn a_step_that_failed_comes_again_under_the_same_id() {
    let mut script = Script::everything();
    script.count("a", 1, 1);
    let step = script.state.next(script.now).unwrap();
    script.state.done(&step, Outcome::Failed, script.now);
    assert_eq!(script.state.next(script.now), None);
    script.now += SECOND;
    assert_eq!(script.state.next(script.now), Some(step));
}

#[test]
fn what_another_worker_has_noted_meanwhile_is_gone_on_from() {
    let mut script = Script::everything();
    script.count("a", 1, 1);
    let step = script.state.next(script.now).unwrap();
    script.state.done(&step, Outcome::Noted(Note::Here { count: 1 }, 77), script.now);
    assert_eq!(script.told(), NOTHING);
}

#[test]
fn what_is_gone_is_forgotten_in_the_end() {
    let mut script = Script::everything();
    script.count("presence-a", 1, 1);
    script.enter("presence-a", 1, "c1", "ann");
    script.told();
    script.count("presence-a", 1, 0);
    script.leave("presence-a", 1, "c1", "ann");
    script.told();
    assert_eq!(script.told_after(GRACE).len(), 2);
    script.now += Duration::from_secs(601);
    let notes: Vec<_> = std::iter::from_fn(|| {
        let step = script.state.next(script.now)?;
        script.finish(&step);
        Some((step.tell, step.note))
    })
    .collect();
    assert_eq!(notes, [(None, Note::Nothing), (None, Note::Nothing)]);
    assert_eq!(script.state.wake(), None);
    assert_eq!(format!("{:?}", script.state).matches("presence-a").count(), 0, "nothing is left in memory");
}

#[test]
fn what_nobody_wants_any_more_is_withdrawn_silently() {
    let mut script = Script::new(Interest::default());
    script.announced("presence-a", None, Note::Here { count: 0 }, 4);
    script.announced("presence-a", Some("ann"), Note::Here { count: 0 }, 5);
    script.count("presence-a", 1, 1);
    script.enter("presence-a", 1, "c1", "ann");
    let mut notes = Vec::new();
    while let Some(step) = script.state.next(script.now) {
        notes.push((step.tell, step.note));
        script.finish(&step);
    }
    assert_eq!(notes, [(None, Note::Gone), (None, Note::Gone)]);
    assert!(!script.state.is_idle());
    script.count("presence-a", 1, 0);
    script.leave("presence-a", 1, "c1", "ann");
    assert_eq!(script.told_after(Duration::from_secs(601)), NOTHING);
    assert!(script.state.is_idle());
}
