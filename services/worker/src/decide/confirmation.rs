//! How far announcements are certain to be in the queue.

use std::collections::HashMap;

use channels::ClientId;

use super::announced::Stored;
use super::state::{Action, Outcome, Place, Step};

/// Follows which announcements are in the queue. Revisions only grow, so an announcement that is under way will have a
/// greater one than any that was seen before it began.
#[derive(Debug)]
pub(super) struct Confirmation {
    /// The greatest revision seen.
    last: u64,
    /// What may not be in the queue, with a revision that is below its own.
    open: HashMap<(Place, Option<ClientId>), u64>,
    /// What is noted.
    noted: u64,
}

impl Confirmation {
    /// Everything up to `noted` is in the queue.
    pub(super) fn new(noted: u64) -> Self {
        Self { last: noted, open: HashMap::new(), noted }
    }

    /// What is known of an announcement that the worker before has left.
    pub(super) fn found(&mut self, stored: &Stored) -> Outcome {
        self.last = self.last.max(stored.revision);
        if stored.revision <= self.noted {
            return Outcome::Told(stored.note, stored.revision);
        }
        self.open.insert((stored.place.clone(), stored.user.clone()), self.noted);
        Outcome::Written(stored.note, stored.revision)
    }

    /// A step begins.
    pub(super) fn begin(&mut self, step: &Step) {
        match step.action {
            Action::Announce { .. } => {
                self.open.entry(key(step)).or_insert(self.last);
            }
            Action::Tell { .. } | Action::Forget { .. } | Action::Read { .. } => {}
        }
    }

    /// A step has ended.
    pub(super) fn end(&mut self, step: &Step, outcome: Outcome) {
        match outcome {
            Outcome::Told(_, revision) => {
                self.last = self.last.max(revision);
                self.open.remove(&key(step));
            }
            Outcome::Nothing => {
                self.open.remove(&key(step));
            }
            Outcome::Written(_, revision) => {
                let below = self.open.entry(key(step)).or_insert(self.last);
                *below = (*below).min(revision.saturating_sub(1));
                self.last = self.last.max(revision);
            }
            Outcome::Unknown => {
                self.open.entry(key(step)).or_insert(self.last);
            }
        }
    }

    /// Up to where everything is in the queue, if that is more than is noted.
    pub(super) fn news(&self) -> Option<u64> {
        let confirmed = self.open.values().min().copied().unwrap_or(self.last);
        (confirmed > self.noted).then_some(confirmed)
    }

    /// It is noted.
    pub(super) fn noted(&mut self, revision: u64) {
        self.noted = revision;
    }
}

fn key(step: &Step) -> (Place, Option<ClientId>) {
    (step.place.clone(), step.user.clone())
}

#[cfg(test)]
mod tests {
    use channels::{AppId, ChannelName, WebhookEvent};

    use super::*;
    use crate::decide::state::Note;

    const NOTE: Note = Note { event: WebhookEvent::ChannelOccupied, count: 0 };

    fn step(channel: &str, action: Action) -> Step {
        let channel = ChannelName::new(channel).unwrap();
        let place = Place { app: AppId::new("1").unwrap(), token: channel.token().as_str().into() };
        Step { place, channel, user: None, action }
    }

    fn announce(channel: &str) -> Step {
        step(channel, Action::Announce { note: NOTE, wanted: true, revision: 0 })
    }

    #[test]
    fn nothing_is_confirmed_past_what_is_under_way() {
        let mut confirmation = Confirmation::new(10);
        let (a, b, c) = (announce("a"), announce("b"), announce("c"));
        confirmation.begin(&a);
        confirmation.end(&a, Outcome::Told(NOTE, 11));
        assert_eq!(confirmation.news(), Some(11));
        confirmation.noted(11);
        assert_eq!(confirmation.news(), None);
        confirmation.begin(&b);
        confirmation.begin(&c);
        confirmation.end(&c, Outcome::Told(NOTE, 13));
        assert_eq!(confirmation.news(), None, "b may have 12");
        confirmation.end(&b, Outcome::Written(NOTE, 12));
        assert_eq!(confirmation.news(), None, "it is not in the queue");
        confirmation.end(&step("b", Action::Tell { note: NOTE, revision: 12 }), Outcome::Told(NOTE, 12));
        assert_eq!(confirmation.news(), Some(13));
    }

    #[test]
    fn what_is_not_known_holds_up() {
        let mut confirmation = Confirmation::new(10);
        let (a, b) = (announce("a"), announce("b"));
        confirmation.begin(&a);
        confirmation.end(&a, Outcome::Unknown);
        confirmation.begin(&b);
        confirmation.end(&b, Outcome::Told(NOTE, 12));
        assert_eq!(confirmation.news(), None);
        confirmation.end(&step("a", Action::Read { told: 0 }), Outcome::Nothing);
        assert_eq!(confirmation.news(), Some(12));
    }

    #[test]
    fn what_was_left_unconfirmed_is_owed() {
        let mut confirmation = Confirmation::new(10);
        let stored = |name: &str, revision| {
            let Step { place, channel, .. } = announce(name);
            Stored { place, channel, user: None, note: NOTE, revision }
        };
        assert_eq!(confirmation.found(&stored("a", 10)), Outcome::Told(NOTE, 10));
        assert_eq!(confirmation.found(&stored("b", 12)), Outcome::Written(NOTE, 12));
        assert_eq!(confirmation.news(), None);
        confirmation.end(&step("b", Action::Tell { note: NOTE, revision: 12 }), Outcome::Told(NOTE, 12));
        assert_eq!(confirmation.news(), Some(12));
    }
}
