use std::time::Duration;

use channels::{AppId, ChannelName, ClientId, EdgeId, Namespace, Namespaces, Tier, WebhookEvent};
use tokio::time::Instant;

use super::interest::Interest;
use super::state::{Action, Note, Outcome, Place, State, Step};

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

    fn announced(&mut self, channel: &str, id: Option<&str>, known: Outcome) {
        let (place, channel) = Self::place(channel);
        self.state.announced(&place, &channel, id.map(user), known);
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
        let outcome = match step.action {
            Action::Announce { note, .. } => {
                self.revision += 1;
                Outcome::Told(note, self.revision)
            }
            Action::Tell { note, revision } => Outcome::Told(note, revision),
            Action::Forget { .. } | Action::Read { .. } => Outcome::Nothing,
        };
        self.state.done(step, outcome, self.now);
    }

    fn told_after(&mut self, pause: Duration) -> Vec<String> {
        self.now += pause;
        self.told()
    }
}

fn text(step: &Step) -> Option<String> {
    let (Action::Announce { note, wanted: true, .. } | Action::Tell { note, .. }) = step.action else { return None };
    let mut text = format!("{} {}", note.event.name(), step.channel);
    if let Some(user) = &step.user {
        text.push_str(&format!(" {user}"));
    }
    if note.event == WebhookEvent::SubscriptionCount {
        text.push_str(&format!(" {}", note.count));
    }
    Some(text)
}

fn note(event: WebhookEvent, count: u64) -> Note {
    Note { event, count }
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
fn members_are_told_of_in_the_order_in_which_they_came_and_went() {
    let mut script = Script::everything();
    let ids = ["bob", "ann", "eve", "dan"];
    for id in ids {
        script.enter("presence-a", 1, "c1", id);
        script.enter("presence-a", 2, "c2", id);
    }
    let told = |event: &str, ids: &[&str]| ids.iter().map(|id| format!("{event} presence-a {id}")).collect::<Vec<_>>();
    assert_eq!(script.told()[1..], told("member_added", &ids));
    for id in ids {
        script.leave("presence-a", 2, "c2", id);
    }
    for id in ["eve", "bob"] {
        script.leave("presence-a", 1, "c1", id);
    }
    script.enter("presence-a", 1, "c1", "abe");
    script.told();
    for id in ["dan", "abe", "ann"] {
        script.leave("presence-a", 1, "c1", id);
    }
    script.told();
    let gone = ["eve", "bob", "dan", "abe", "ann"];
    assert_eq!(script.told_after(GRACE)[..gone.len()], told("member_removed", &gone));
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
fn namespaces_keep_events_back() {
    let rule = |prefix: &str, events: &[WebhookEvent]| Namespace {
        webhook_events: Some(events.iter().copied().collect()),
        ..Namespace::new(prefix, Tier::default())
    };
    let rules = vec![rule("", &[WebhookEvent::ChannelVacated]), rule("presence-", &[WebhookEvent::MemberAdded])];
    let mut script = Script::new(Interest::in_all_under(&app(), Namespaces::new(rules).unwrap()));
    for channel in ["a", "presence-a"] {
        script.count(channel, 1, 1);
    }
    script.enter("presence-a", 1, "c1", "ann");
    assert_eq!(script.told(), ["member_added presence-a ann"]);
    for channel in ["a", "presence-a"] {
        script.count(channel, 1, 0);
    }
    script.leave("presence-a", 1, "c1", "ann");
    script.told();
    assert_eq!(script.told_after(GRACE), ["channel_vacated a"]);
}

#[test]
fn a_new_worker_tells_the_difference() {
    let mut script = Script::everything();
    let occupied = |revision| Outcome::Told(note(WebhookEvent::ChannelOccupied, 0), revision);
    let added = |revision| Outcome::Told(note(WebhookEvent::MemberAdded, 0), revision);
    script.announced("presence-a", None, occupied(4));
    script.announced("presence-a", Some("ann"), added(5));
    script.announced("presence-a", Some("bob"), added(6));
    script.announced("b", None, Outcome::Told(note(WebhookEvent::SubscriptionCount, 2), 7));
    script.announced("c", None, Outcome::Told(note(WebhookEvent::ChannelVacated, 0), 8));
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

/// A worker that died may have told what it announced, and may not; the facts may have changed since.
#[test]
fn what_may_not_have_been_told_is_told_first_and_in_its_order() {
    let mut script = Script::everything();
    let written = |event, count, revision| Outcome::Written(note(event, count), revision);
    script.announced("a", None, written(WebhookEvent::ChannelOccupied, 0, 5));
    script.announced("presence-b", None, Outcome::Told(note(WebhookEvent::ChannelOccupied, 0), 2));
    script.announced("presence-b", Some("bob"), written(WebhookEvent::MemberAdded, 0, 8));
    script.announced("presence-b", Some("ann"), written(WebhookEvent::MemberRemoved, 0, 9));
    script.announced("c", None, written(WebhookEvent::SubscriptionCount, 7, 10));
    script.announced("d", None, written(WebhookEvent::ChannelVacated, 0, 11));
    script.enter("presence-b", 1, "c1", "ann");
    script.count("c", 1, 7);
    let told = script.told();
    for (channel, expected) in [
        ("a", vec!["channel_occupied a"]),
        (
            "presence-b",
            vec!["member_added presence-b bob", "member_removed presence-b ann", "member_added presence-b ann"],
        ),
        ("c", vec!["subscription_count c 7"]),
        ("d", vec!["channel_vacated d"]),
    ] {
        let of: Vec<_> = told.iter().filter(|text| text.split(' ').nth(1) == Some(channel)).collect();
        assert_eq!(of, expected);
    }
    let mut later = script.told_after(GRACE);
    later.sort();
    assert_eq!(later, ["channel_vacated a", "member_removed presence-b bob"]);
}

#[test]
fn one_step_of_a_channel_at_a_time_each_over_the_one_before() {
    let mut script = Script::everything();
    script.revision = 10;
    let announce = |step: &Step| match step.action {
        Action::Announce { note, revision, .. } => Some((note.event, revision)),
        Action::Tell { .. } | Action::Forget { .. } | Action::Read { .. } => None,
    };
    script.count("a", 1, 1);
    let first = script.state.next(script.now).unwrap();
    assert_eq!(announce(&first), Some((WebhookEvent::ChannelOccupied, 0)));
    assert_eq!(script.state.next(script.now), None);
    script.count("a", 1, 2);
    assert_eq!(script.state.next(script.now), None);
    script.finish(&first);
    let second = script.state.next(script.now).unwrap();
    assert_eq!(announce(&second), Some((WebhookEvent::SubscriptionCount, 11)));
    script.finish(&second);
    script.count("a", 1, 0);
    script.told();
    script.now += GRACE;
    let vacated = script.state.next(script.now).unwrap();
    assert_eq!(announce(&vacated), Some((WebhookEvent::ChannelVacated, 13)));
    script.count("a", 1, 1);
    script.finish(&vacated);
    assert_eq!(announce(&script.state.next(script.now).unwrap()), Some((WebhookEvent::ChannelOccupied, 14)));
}

#[test]
fn what_the_queue_did_not_take_is_told_before_anything_else() {
    let mut script = Script::everything();
    script.count("a", 1, 1);
    let step = script.state.next(script.now).unwrap();
    let occupied = note(WebhookEvent::ChannelOccupied, 0);
    script.state.done(&step, Outcome::Written(occupied, 5), script.now);
    assert_eq!(script.state.next(script.now), None);
    script.now += SECOND;
    let again = script.state.next(script.now).unwrap();
    assert_eq!(again.action, Action::Tell { note: occupied, revision: 5 });
    script.state.done(&again, Outcome::Written(occupied, 5), script.now);
    script.count("a", 1, 0);
    script.now += GRACE;
    assert_eq!(script.told(), ["channel_occupied a"], "although it is vacated by now");
    assert_eq!(script.told_after(GRACE), ["channel_vacated a"]);
}

#[test]
fn what_is_not_known_is_read() {
    let mut script = Script::everything();
    script.count("a", 1, 1);
    let step = script.state.next(script.now).unwrap();
    script.state.done(&step, Outcome::Unknown, script.now);
    // Nothing differs any more, but what was announced may be there.
    script.count("a", 1, 0);
    let read = script.state.next(script.now).unwrap();
    assert_eq!(read.action, Action::Read { told: 0 });
    script.state.done(&read, Outcome::Written(note(WebhookEvent::ChannelOccupied, 0), 7), script.now);
    assert_eq!(script.told_after(SECOND), ["channel_occupied a"]);
    assert_eq!(script.told_after(GRACE), ["channel_vacated a"]);
}

#[test]
fn what_was_told_before_something_unknown_stays_told() {
    let mut script = Script::everything();
    let occupied = note(WebhookEvent::ChannelOccupied, 0);
    script.announced("a", None, Outcome::Told(occupied, 5));
    assert_eq!(script.told(), NOTHING);
    let vacated = script.state.next(script.now + GRACE).unwrap();
    script.state.done(&vacated, Outcome::Unknown, script.now);
    script.now += SECOND;
    let read = script.state.next(script.now).unwrap();
    assert_eq!(read.action, Action::Read { told: 5 });
    // One that is not known to be told is not spared by being read twice.
    script.state.done(&read, Outcome::Written(note(WebhookEvent::ChannelVacated, 0), 6), script.now);
    script.now += SECOND;
    let tell = script.state.next(script.now).unwrap();
    script.state.done(&tell, Outcome::Unknown, script.now);
    script.now += SECOND;
    assert_eq!(script.state.next(script.now).unwrap().action, Action::Read { told: 0 });
}

#[test]
fn facts_that_are_read_anew_take_the_place_of_all_that_was_known() {
    let mut script = Script::everything();
    for channel in ["presence-a", "presence-b"] {
        script.count(channel, 1, 1);
        script.enter(channel, 1, "c1", "ann");
        script.enter(channel, 2, "c2", "bob");
    }
    script.told();
    script.state.forget_facts();
    script.state.edge(edge(1), true);
    script.count("presence-a", 1, 1);
    script.enter("presence-a", 1, "c1", "ann");
    script.enter("presence-b", 2, "c2", "bob");
    assert_eq!(script.told(), NOTHING, "what was announced is known");
    let mut later = script.told_after(GRACE);
    later.sort();
    let expected = [
        "channel_vacated presence-b",
        "member_removed presence-a bob",
        "member_removed presence-b ann",
        "member_removed presence-b bob",
    ];
    assert_eq!(later, expected);
}

#[test]
fn what_is_gone_and_told_is_forgotten() {
    let mut script = Script::everything();
    script.count("presence-a", 1, 1);
    script.enter("presence-a", 1, "c1", "ann");
    script.told();
    script.count("presence-a", 1, 0);
    script.leave("presence-a", 1, "c1", "ann");
    script.told();
    script.now += GRACE;
    let steps = std::iter::from_fn(|| {
        let step = script.state.next(script.now)?;
        script.finish(&step);
        Some(text(&step).unwrap_or_else(|| format!("{:?}", step.action)))
    });
    let expected = [
        "member_removed presence-a ann",
        "Forget { revision: 3 }",
        "channel_vacated presence-a",
        "Forget { revision: 4 }",
    ];
    assert_eq!(steps.collect::<Vec<_>>(), expected);
    assert_eq!(script.state.wake(), None);
    assert_eq!(format!("{:?}", script.state).matches("presence-a").count(), 0, "nothing is left in memory");
}

#[test]
fn what_nobody_wants_any_more_is_withdrawn_silently() {
    let mut script = Script::new(Interest::default());
    script.announced("presence-a", None, Outcome::Told(note(WebhookEvent::ChannelOccupied, 0), 4));
    script.announced("presence-a", Some("ann"), Outcome::Told(note(WebhookEvent::MemberAdded, 0), 5));
    script.count("presence-a", 1, 1);
    script.enter("presence-a", 1, "c1", "ann");
    let mut actions = Vec::new();
    while let Some(step) = script.state.next(script.now) {
        actions.push(step.action);
        script.finish(&step);
    }
    assert_eq!(actions, [Action::Forget { revision: 5 }, Action::Forget { revision: 4 }]);
    script.count("presence-a", 1, 0);
    script.leave("presence-a", 1, "c1", "ann");
    assert_eq!(script.told(), NOTHING);
    assert!(script.state.is_idle());
}
