//! Tails: what happens to an app's clients, told to operators who want to see it as it happens.
//!
//! Owns the taps of this node. Payloads and secrets are never told; how much is told, and what becomes of the rest, is
//! the [`Tap`]'s business. While nobody tails, telling costs one relaxed load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use agent::Tap;
use channels::AppId;
use parking_lot::RwLock;
use proto::control::{TailEvent, TailKind};

/// Most bytes of a text in an event. Clients write some of them.
const MAX_TEXT: usize = 256;

/// The taps of this node.
#[derive(Debug, Default)]
pub(crate) struct Tails {
    /// Whether there is one, for everybody who has something to tell.
    any: AtomicBool,
    taps: RwLock<Vec<Arc<Tap>>>,
}

/// Something that happened. What does not apply is empty, or 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told<'a> {
    pub(crate) kind: TailKind,
    pub(crate) connection: &'a str,
    pub(crate) channel: &'a str,
    /// Name of the event published or delivered.
    pub(crate) event: &'a str,
    pub(crate) reason: &'a str,
    /// Close code, HTTP status, or code of the protocol.
    pub(crate) code: u32,
    /// Subscribers that were reached, or messages that were dropped.
    pub(crate) count: u64,
    pub(crate) user: &'a str,
}

impl Tails {
    /// Tells `tap` what happens from now on.
    pub(crate) fn add(&self, tap: Tap) {
        let mut taps = self.taps.write();
        taps.push(Arc::new(tap));
        self.any.store(true, Ordering::Relaxed);
    }

    /// Forgets the taps that are over.
    pub(crate) fn sweep(&self) {
        if self.any() {
            let mut taps = self.taps.write();
            taps.retain(|tap| !tap.is_over());
            self.any.store(!taps.is_empty(), Ordering::Relaxed);
        }
    }

    /// Whether anybody tails any app.
    pub(crate) fn any(&self) -> bool {
        self.any.load(Ordering::Relaxed)
    }

    /// Those who tail `app`.
    pub(crate) fn of(&self, app: &AppId) -> Vec<Arc<Tap>> {
        if !self.any() {
            return Vec::new();
        }
        self.taps.read().iter().filter(|tap| tap.app() == app.as_str()).cloned().collect()
    }

    /// Tells those who tail `app`.
    pub(crate) fn tell(&self, app: &AppId, told: Told<'_>) {
        if self.any() {
            self.of(app).iter().for_each(|tap| tell(tap, told));
        }
    }
}

/// Tells `tap`, if it wants to know.
pub(crate) fn tell(tap: &Tap, told: Told<'_>) {
    if tap.wants(told.connection, told.channel) {
        tap.tell(|| told.event());
    }
}

/// Tells `tap` of what happened to one connection among many, if that is the one that it looks at.
pub(crate) fn tell_of_one(tap: &Tap, told: Told<'_>) {
    if !tap.wants("", told.channel) {
        tell(tap, told);
    }
}

impl Told<'_> {
    fn event(self) -> TailEvent {
        TailEvent {
            kind: self.kind.into(),
            connection: cut(self.connection),
            channel: cut(self.channel),
            event: cut(self.event),
            reason: cut(self.reason),
            code: self.code,
            count: self.count,
            user_id: cut(self.user),
            ..TailEvent::default()
        }
    }
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT)].to_owned()
}

#[cfg(test)]
mod tests {
    use proto::control::TailRequest;

    use super::*;

    #[tokio::test]
    async fn an_app_is_told_of_itself_and_a_connection_of_itself() {
        let tails = Tails::default();
        let app = AppId::new("1").unwrap();
        let told = Told { kind: TailKind::Dropped, connection: "1.1", channel: "c", count: 2, ..Told::default() };
        tails.tell(&app, told);
        let open = |app: &str, connection: &str| {
            let (app_id, connection) = (app.to_owned(), connection.to_owned());
            let (tap, events) = agent::tap(TailRequest { app_id, connection, ..TailRequest::default() });
            tails.add(tap);
            events
        };
        let (mut all, mut one, mut other, mut another) =
            (open("1", ""), open("1", "1.1"), open("1", "2.2"), open("2", ""));
        tails.tell(&app, told);
        for tap in tails.of(&app) {
            tell(&tap, Told { connection: "", count: 3, ..told });
            tell_of_one(&tap, Told { count: 4, ..told });
        }
        drop(tails.taps.write().drain(..));
        let mut counts = Vec::new();
        for events in [&mut all, &mut one, &mut other, &mut another] {
            let mut of_one = Vec::new();
            while let Some(event) = events.next().await {
                of_one.push(event.count);
            }
            counts.push(of_one);
        }
        assert_eq!(counts, [vec![2, 3], vec![2, 4], vec![], vec![]]);
    }

    #[test]
    fn a_tap_that_is_over_is_forgotten() {
        let tails = Tails::default();
        let (tap, events) = agent::tap(TailRequest::default());
        tails.add(tap);
        tails.sweep();
        assert!(tails.any());
        drop(events);
        tails.sweep();
        assert!(!tails.any() && tails.taps.read().is_empty());
    }

    #[test]
    fn texts_are_bounded() {
        let long = "é".repeat(MAX_TEXT);
        let event = Told { reason: &long, ..Told::default() }.event();
        assert_eq!(event.reason.len(), MAX_TEXT);
    }
}
