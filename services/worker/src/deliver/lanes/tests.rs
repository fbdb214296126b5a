use backbone::WEBHOOK_EVENT_FORMAT;
use bytes::Bytes;
use proptest::prelude::*;
use prost::Message as _;
use tokio::sync::mpsc;

use super::*;

const FIRST: Duration = Duration::from_millis(500);
const LONGEST: Duration = Duration::from_secs(60);
const LIFE: Duration = Duration::from_secs(290);

fn event(channel: &str, number: u64, bytes: usize) -> Arc<Event> {
    let wire = proto::backbone::WebhookEvent {
        version: WEBHOOK_EVENT_FORMAT,
        app_id: "1".to_owned(),
        name: "client_event".to_owned(),
        channel: channel.to_owned(),
        time_ms: number,
        data: Bytes::from("x".repeat(bytes)),
        ..Default::default()
    };
    Arc::new(Event::decode(wire.encode_to_vec().into()).unwrap())
}

fn waiting(channel: &str, number: u64, expires: Instant) -> Waiting {
    sized(channel, number, expires, 0)
}

fn sized(channel: &str, number: u64, expires: Instant, bytes: usize) -> Waiting {
    let (done, _) = mpsc::unbounded_channel();
    let ticket = Ticket::for_webhooks(1, None, &done).pop().unwrap();
    Waiting { event: event(channel, number, bytes), ticket, expires, attempts: 0, failure: None }
}

struct Fixture {
    lanes: Lanes,
    now: Instant,
    expired: Vec<Waiting>,
}

impl Fixture {
    fn new() -> Self {
        let lanes = Lanes::new(Pauses { first: FIRST, longest: LONGEST });
        Self { lanes, now: Instant::now(), expired: Vec::new() }
    }

    fn push(&mut self, channel: &str, number: u64) {
        self.lanes.push(waiting(channel, number, self.now + LIFE));
    }

    fn take(&mut self, many: bool) -> Option<Batch> {
        self.lanes.take(many, self.now, &mut self.expired)
    }

    fn fail(&mut self, batch: Batch) -> usize {
        self.lanes.failed(batch, &"no".into(), self.now, 1.0).len()
    }
}

fn names(batch: &Batch) -> Vec<String> {
    batch.events().map(|event| format!("{}{}", event.channel, event.time_ms)).collect()
}

fn taken(batch: Option<Batch>) -> Vec<String> {
    batch.as_ref().map(names).unwrap_or_default()
}

#[test]
fn one_request_for_a_channel_at_a_time() {
    let mut fixture = Fixture::new();
    for number in 1..=2 {
        fixture.push("a", number);
        fixture.push("b", number);
    }
    let first = fixture.take(false).unwrap();
    assert_eq!(names(&first), ["a1"]);
    assert_eq!(taken(fixture.take(false)), ["b1"]);
    assert_eq!(taken(fixture.take(false)), [""; 0]);
    assert_eq!(fixture.lanes.succeeded(first).len(), 1);
    assert_eq!(taken(fixture.take(false)), ["a2"]);
}

#[test]
fn a_failed_lane_rests_longer_each_time_and_holds_nobody_up() {
    let mut fixture = Fixture::new();
    fixture.push("a", 1);
    fixture.push("a", 2);
    for pause in [FIRST, 2 * FIRST, 4 * FIRST, 8 * FIRST] {
        let batch = fixture.take(false).unwrap();
        assert_eq!(names(&batch), ["a1"]);
        assert_eq!(fixture.fail(batch), 0);
        assert_eq!(fixture.lanes.wake(), Some(fixture.now + pause));
        fixture.push("b", 1);
        let other = fixture.take(false).unwrap();
        assert_eq!(names(&other), ["b1"]);
        fixture.lanes.succeeded(other);
        fixture.now += pause - Duration::from_millis(1);
        assert!(!fixture.lanes.is_ready(fixture.now));
        fixture.now += Duration::from_millis(1);
        assert!(fixture.lanes.is_ready(fixture.now));
    }
    let batch = fixture.take(false).unwrap();
    assert!(batch.is_retry());
    fixture.lanes.succeeded(batch);
    let next = fixture.take(false).unwrap();
    assert_eq!(names(&next), ["a2"]);
    fixture.fail(next);
    assert_eq!(fixture.lanes.wake(), Some(fixture.now + FIRST), "a success ends what went before");
}

#[test]
fn pauses_have_bounds_and_jitter() {
    let pauses = Pauses { first: FIRST, longest: LONGEST };
    assert_eq!(pauses.after(1, 0.0), FIRST / 2);
    assert_eq!(pauses.after(1, 1.0), FIRST);
    assert_eq!(pauses.after(8, 1.0), LONGEST);
    assert_eq!(pauses.after(u32::MAX, 1.0), LONGEST);
}

#[test]
fn gives_up_in_time_with_a_last_try_near_the_end() {
    let mut fixture = Fixture::new();
    let begun = fixture.now;
    fixture.push("a", 1);
    fixture.push("a", 2);
    let mut tries = Vec::new();
    loop {
        let batch = fixture.take(false).unwrap();
        assert_eq!(names(&batch), ["a1"]);
        tries.push(fixture.now - begun);
        if fixture.fail(batch) == 1 {
            break;
        }
        fixture.now = fixture.lanes.wake().unwrap();
    }
    assert_eq!(tries.last(), Some(&(LIFE - FIRST / 2)));
    assert!(tries.len() > 8, "{tries:?}");
    assert!(tries.windows(2).all(|pair| pair[1] - pair[0] <= LONGEST));
    assert_eq!(taken(fixture.take(false)), ["a2"], "the next event has its turn");
}

#[test]
fn what_waited_too_long_is_not_sent() {
    let mut fixture = Fixture::new();
    fixture.push("a", 1);
    fixture.now += Duration::from_secs(100);
    fixture.push("a", 2);
    fixture.push("b", 1);
    fixture.now += LIFE - Duration::from_secs(50);
    assert_eq!(taken(fixture.take(false)), ["a2"]);
    assert_eq!(fixture.expired.len(), 1);
    fixture.now += LIFE;
    assert_eq!(taken(fixture.take(false)), [""; 0]);
    assert_eq!(fixture.expired.len(), 2);
    assert!(fixture.expired.iter().all(|waiting| (waiting.attempts, &waiting.failure) == (0, &None)));
}

#[test]
fn a_batch_takes_what_fits_in_order() {
    let mut fixture = Fixture::new();
    for number in 1..=60 {
        fixture.push("a", number);
        fixture.push("b", number);
    }
    let batch = fixture.take(true).unwrap();
    assert_eq!(batch.events().count(), MAX_BATCH_EVENTS);
    let of = |batch: &Batch, channel: &str| -> Vec<u64> {
        batch.events().filter(|event| &*event.channel == channel).map(|event| event.time_ms).collect()
    };
    assert_eq!(of(&batch, "a"), (1..=60).collect::<Vec<_>>());
    assert_eq!(of(&batch, "b"), (1..=40).collect::<Vec<_>>());
    assert_eq!(taken(fixture.take(true)), [""; 0], "both channels are under way");
    fixture.fail(batch);
    fixture.now += FIRST;
    let again = fixture.take(true).unwrap();
    assert_eq!(of(&again, "a"), (1..=60).collect::<Vec<_>>());
    fixture.lanes.succeeded(again);
    let rest = fixture.take(true).unwrap();
    assert_eq!(of(&rest, "b"), (41..=60).collect::<Vec<_>>());
}

#[test]
fn a_batch_is_bounded_in_bytes_but_has_one_event() {
    let mut fixture = Fixture::new();
    let expires = fixture.now + LIFE;
    for number in 1..=3 {
        fixture.lanes.push(sized("a", number, expires, MAX_BATCH_BYTES / 2));
    }
    fixture.lanes.push(sized("b", 1, expires, 2 * MAX_BATCH_BYTES));
    let first = fixture.take(true).unwrap();
    assert_eq!(names(&first), ["a1"]);
    assert_eq!(taken(fixture.take(true)), ["b1"]);
    fixture.lanes.succeeded(first);
    assert_eq!(taken(fixture.take(true)), ["a2"]);
}

#[test]
fn clearing_leaves_what_is_under_way() {
    let mut fixture = Fixture::new();
    for channel in ["a", "b", "c"] {
        fixture.push(channel, 1);
        fixture.push(channel, 2);
    }
    let (busy, failed) = (fixture.take(false).unwrap(), fixture.take(false).unwrap());
    fixture.fail(failed);
    assert_eq!(fixture.lanes.clear().len(), 5);
    assert_eq!((fixture.lanes.wake(), fixture.lanes.is_ready(fixture.now)), (None, false));
    assert_eq!(fixture.lanes.succeeded(busy).len(), 1);
    fixture.push("a", 3);
    assert_eq!(taken(fixture.take(false)), ["a3"]);
}

proptest! {
    /// Whatever fails: each channel's events end in order, once, and none is lost.
    #[test]
    fn order_and_completeness(
        pushes in prop::collection::vec(0..4_usize, 1..80),
        outcomes in prop::collection::vec((any::<bool>(), any::<prop::sample::Index>()), 0..200),
        many in any::<bool>(),
    ) {
        let mut fixture = Fixture::new();
        let channels = ["a", "b", "c", "d"];
        for (number, channel) in pushes.iter().enumerate() {
            fixture.push(channels[*channel], number as u64);
        }
        let mut under_way: Vec<Batch> = Vec::new();
        let mut ended: Vec<(String, u64)> = Vec::new();
        let mut outcomes = outcomes.into_iter();
        for _ in 0..10_000 {
            while under_way.len() < 3 && let Some(batch) = fixture.take(many) {
                for event in batch.events() {
                    let busy = under_way.iter().any(|other| other.events().any(|o| o.channel == event.channel));
                    prop_assert!(!busy, "two requests of one channel");
                }
                under_way.push(batch);
            }
            if under_way.is_empty() {
                let Some(wake) = fixture.lanes.wake() else { break };
                fixture.now = fixture.now.max(wake);
                continue;
            }
            let (well, index) = outcomes.next().map_or((true, 0), |(well, index)| (well, index.index(under_way.len())));
            let batch = under_way.remove(index);
            let over = if well { fixture.lanes.succeeded(batch) } else { fixture.lanes.failed(batch, &"no".into(), fixture.now, 0.5) };
            ended.extend(over.iter().map(|waiting| (waiting.event.channel.to_string(), waiting.event.time_ms)));
        }
        ended.extend(fixture.expired.iter().map(|waiting| (waiting.event.channel.to_string(), waiting.event.time_ms)));
        prop_assert_eq!(ended.len(), pushes.len());
        for channel in channels {
            let of: Vec<u64> = ended.iter().filter(|(name, _)| name == channel).map(|(_, number)| *number).collect();
            prop_assert!(of.windows(2).all(|pair| pair[0] < pair[1]), "{channel}: {of:?}");
        }
    }
}
