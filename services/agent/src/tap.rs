//! A tail on one node: what is told of, how much of it, and what becomes of the rest.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clock::unix_ms;
use parking_lot::Mutex;
use proto::control::{TailEvent, TailRequest};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Events that wait to be sent. What comes while so many do is left out, and counted.
const WAITING: usize = 1000;

/// What a tail is told of in a second unless it asks for another number, and the most that it may ask for.
const DEFAULT_RATE: u32 = 100;
const MAX_RATE: u32 = 1000;

/// The end of a tail that is told what happens. Dropping it ends the tail on this node.
#[derive(Debug)]
pub struct Tap {
    request: TailRequest,
    events: mpsc::Sender<TailEvent>,
    rate: u32,
    second: Mutex<Second>,
    /// Left out since the last event that was not.
    omitted: AtomicU64,
}

/// The end of a tail that is read. Dropping it ends the tail.
#[derive(Debug)]
pub struct TapEvents(mpsc::Receiver<TailEvent>);

/// How much was told in the current second.
#[derive(Debug)]
struct Second {
    begun: Instant,
    told: u32,
}

/// The two ends of a tail for `request`.
pub fn tap(request: TailRequest) -> (Tap, TapEvents) {
    let (events, receiver) = mpsc::channel(WAITING);
    let rate = if request.events_per_second == 0 { DEFAULT_RATE } else { request.events_per_second.min(MAX_RATE) };
    let second = Mutex::new(Second { begun: Instant::now(), told: 0 });
    (Tap { request, events, rate, second, omitted: AtomicU64::new(0) }, TapEvents(receiver))
}

impl Tap {
    /// The app that is tailed.
    pub fn app(&self) -> &str {
        &self.request.app_id
    }

    /// Whether it is told of what concerns this connection and channel; empty for what concerns none.
    pub fn wants(&self, connection: &str, channel: &str) -> bool {
        let fits = |wanted: &str, is: &str| wanted.is_empty() || wanted == is;
        fits(&self.request.connection, connection) && fits(&self.request.channel, channel)
    }

    /// Tells it of the event that `make` makes, unless that is too much for this second or for who reads; then it is
    /// counted. Never waits. `time_ms`, `node` and `omitted` are filled in here and by the agent.
    pub fn tell(&self, make: impl FnOnce() -> TailEvent) {
        let Some(permit) = self.has_room().then(|| self.events.try_reserve().ok()).flatten() else {
            self.omitted.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let omitted = self.omitted.swap(0, Ordering::Relaxed);
        permit.send(TailEvent { time_ms: unix_ms(), omitted, ..make() });
    }

    /// Whether nobody reads it any more.
    pub fn is_over(&self) -> bool {
        self.events.is_closed()
    }

    /// Waits until nobody reads it any more.
    pub async fn over(&self) {
        self.events.closed().await;
    }

    /// Whether there is room in this second for one more, which is then taken.
    fn has_room(&self) -> bool {
        let mut second = self.second.lock();
        if second.begun.elapsed() >= Duration::from_secs(1) {
            *second = Second { begun: Instant::now(), told: 0 };
        }
        let has_room = second.told < self.rate;
        second.told += u32::from(has_room);
        has_room
    }
}

impl TapEvents {
    /// The next event; `None` when the tail is over.
    pub async fn next(&mut self) -> Option<TailEvent> {
        self.0.recv().await
    }

    /// Waits for an event, and takes up to `most` that come within `window` of it. Empty when the tail is over.
    pub async fn batch(&mut self, window: Duration, most: usize) -> Vec<TailEvent> {
        let mut events = Vec::new();
        self.0.recv_many(&mut events, most).await;
        let end = Instant::now() + window;
        while !events.is_empty() && events.len() < most {
            let room = most - events.len();
            match timeout_at(end, self.0.recv_many(&mut events, room)).await {
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(channel: &str, connection: &str, events_per_second: u32) -> TailRequest {
        let (channel, connection) = (channel.to_owned(), connection.to_owned());
        TailRequest { app_id: "a".to_owned(), channel, connection, events_per_second }
    }

    #[test]
    fn filters() {
        let cases = [("", "", true), ("c", "", true), ("", "1.1", true), ("d", "", false), ("", "2.2", false)];
        for (channel, connection, wanted) in cases {
            let (tap, _events) = tap(request(channel, connection, 0));
            assert_eq!(tap.wants("1.1", "c"), wanted, "{channel:?} {connection:?}");
        }
        let (tap, _events) = tap(request("c", "", 0));
        assert!(!tap.wants("1.1", ""), "what concerns no channel does not concern this one");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_much_is_counted_in_front_of_the_next() {
        let (tap, mut events) = tap(request("", "", 2));
        (0..5).for_each(|_| tap.tell(TailEvent::default));
        tokio::time::advance(Duration::from_secs(1)).await;
        tap.tell(TailEvent::default);
        let omitted: Vec<_> = events.batch(Duration::ZERO, 10).await.iter().map(|event| event.omitted).collect();
        assert_eq!(omitted, [0, 0, 3]);
        drop(events);
        assert!(tap.is_over());
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_is_waited_for_who_does_not_read() {
        let (tap, mut events) = tap(request("", "", 5000));
        for _ in 0..3 {
            (0..WAITING).for_each(|_| tap.tell(TailEvent::default));
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(events.batch(Duration::ZERO, WAITING * 5).await.len(), WAITING);
        tap.tell(TailEvent::default);
        assert_eq!(events.next().await.map(|event| event.omitted), Some(2 * WAITING as u64));
    }
}
