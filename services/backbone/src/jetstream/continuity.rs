//! The gap check: has this channel's subscriber seen everything up to here? Pure, so that every case is a unit test.
//!
//! Republishing is at most once. Each republished message carries its own sequence and that of the message stored
//! before it on the same subject; a hole between the latter and what is known is a message that must be read from the
//! stream. A hole at the tail of a channel that falls silent shows only by comparing heads.

use std::time::Duration;

use tokio::time::Instant;

/// Doubt about clocks and lagging replicas when deciding whether something can have expired.
const SLACK: Duration = Duration::from_secs(5);

/// What to do about something that was heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Known already.
    Duplicate,
    /// Directly follows what is known.
    InOrder,
    /// Records up to this sequence were missed: read them from the stream.
    Missing { up_to: u64 },
    /// The predecessor is gone and so much time has passed that others may have come and expired unseen.
    Unknown,
    /// An old sequence with a new time: the stream may have been made anew.
    Suspect,
}

/// What one subscriber knows of one channel's log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Continuity {
    /// The newest sequence that was delivered or told as missing.
    known: u64,
    /// When the stream stored it, nanoseconds since the Unix epoch; 0 if never heard.
    known_stored_ns: i64,
    /// When `known` was last seen to be the newest.
    verified: Instant,
    /// Whether a head seen after `known` was delivered said so, rather than only its delivery.
    seen_as_head: bool,
    /// Since when `known` has stayed the newest although a head is beyond it and what lies between cannot all be read.
    doubted: Option<Instant>,
    /// How long the stream keeps messages.
    window: Duration,
}

impl Continuity {
    /// Begins at `head`, just read.
    pub(super) fn new(head: u64, head_stored_ns: i64, window: Duration, now: Instant) -> Self {
        Self { known: head, known_stored_ns: head_stored_ns, verified: now, seen_as_head: true, doubted: None, window }
    }

    pub(super) fn known(&self) -> u64 {
        self.known
    }

    /// A record arrived live; `previous` is the newest record of the channel when it was stored.
    pub(super) fn on_record(&self, sequence: u64, previous: u64, stored_ns: i64, now: Instant) -> Verdict {
        if sequence <= self.known {
            let newer = self.known_stored_ns != 0 && stored_ns > self.known_stored_ns;
            return if newer { Verdict::Suspect } else { Verdict::Duplicate };
        }
        if previous > self.known {
            return Verdict::Missing { up_to: previous };
        }
        // Below what is known, the predecessor was deleted or has expired.
        let certain = previous == self.known && self.known != 0;
        if certain || (self.nothing_can_have_expired(now) && !self.is_far_behind(stored_ns)) {
            Verdict::InOrder
        } else {
            Verdict::Unknown
        }
    }

    /// Somebody read, or was told, that the channel's newest sequence is `head`. Lower than known is a lagging
    /// replica's answer or an expired log, and no news.
    pub(super) fn on_head(&mut self, head: u64, now: Instant) -> Verdict {
        if head > self.known {
            return Verdict::Missing { up_to: head };
        }
        // An empty log proves that nothing new came only while whatever came would still be there.
        if head == self.known || (head == 0 && self.nothing_can_have_expired(now)) {
            self.verified = now;
            self.seen_as_head = true;
        }
        Verdict::InOrder
    }

    /// `sequence` has been delivered, or told as missing.
    pub(super) fn advance(&mut self, sequence: u64, stored_ns: i64, now: Instant) {
        self.known = sequence;
        self.known_stored_ns = stored_ns;
        self.verified = now;
        self.seen_as_head = false;
        self.doubted = None;
    }

    /// What lies between `known` and a head cannot all be read. Since when that is so, and nothing has come.
    pub(super) fn doubted_since(&mut self, now: Instant) -> Instant {
        *self.doubted.get_or_insert(now)
    }

    /// Whether a record was stored so long after `known` that others between them may have expired. Looks at the
    /// stream's clock, since a record may have waited in a buffer for long before it is looked at.
    fn is_far_behind(&self, stored_ns: i64) -> bool {
        let apart = u64::try_from(stored_ns.saturating_sub(self.known_stored_ns)).unwrap_or(0);
        !self.seen_as_head && self.known_stored_ns != 0 && Duration::from_nanos(apart) + SLACK >= self.window
    }

    /// Whether a record stored since `known` was last seen to be the newest must still be in the stream.
    pub(super) fn nothing_can_have_expired(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.verified) + SLACK < self.window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: Duration = Duration::from_secs(300);

    fn at(head: u64) -> (Continuity, Instant) {
        let now = Instant::now();
        (Continuity::new(head, 0, WINDOW, now), now)
    }

    #[test]
    fn in_order_and_duplicates() {
        let (mut check, now) = at(7);
        assert_eq!(check.on_record(9, 7, 90, now), Verdict::InOrder);
        check.advance(9, 90, now);
        assert_eq!(check.on_record(9, 7, 90, now), Verdict::Duplicate);
        assert_eq!(check.on_record(8, 0, 80, now), Verdict::Duplicate);
    }

    #[test]
    fn a_hole_is_missing() {
        let (check, now) = at(7);
        assert_eq!(check.on_record(12, 10, 1, now), Verdict::Missing { up_to: 10 });
    }

    #[test]
    fn a_silent_tail_shows_in_the_head_only() {
        let (mut check, now) = at(7);
        assert_eq!(check.on_head(7, now), Verdict::InOrder);
        assert_eq!(check.on_head(9, now), Verdict::Missing { up_to: 9 });
        assert_eq!(check.on_head(3, now), Verdict::InOrder, "a lagging replica is no news");
    }

    #[test]
    fn a_doubt_lasts_until_something_comes() {
        let (mut check, now) = at(7);
        let later = now + Duration::from_secs(1);
        assert_eq!(check.doubted_since(now), now);
        assert_eq!(check.doubted_since(later), now);
        check.advance(8, 80, later);
        assert_eq!(check.doubted_since(later), later);
    }

    #[test]
    fn an_expired_predecessor_is_fine_while_the_head_was_verified_lately() {
        let (mut check, now) = at(7);
        assert_eq!(check.on_record(12, 0, 1, now + Duration::from_secs(60)), Verdict::InOrder);
        let late = now + WINDOW;
        assert_eq!(check.on_record(12, 0, 1, late), Verdict::Unknown);
        assert_eq!(check.on_record(12, 3, 1, late), Verdict::Unknown);
        assert_eq!(check.on_record(12, 7, 1, late), Verdict::InOrder, "the predecessor itself is exact");
        assert_eq!(check.on_head(0, now + Duration::from_secs(200)), Verdict::InOrder);
        assert_eq!(check.on_record(12, 0, 1, late), Verdict::InOrder, "the log was seen to be empty meanwhile");
    }

    #[test]
    fn an_empty_log_after_long_ignorance_proves_nothing() {
        let (mut check, now) = at(7);
        let late = now + WINDOW;
        assert_eq!(check.on_head(0, late), Verdict::InOrder);
        assert_eq!(check.on_record(12, 0, 1, late), Verdict::Unknown, "8 to 11 may have come and expired");
    }

    #[test]
    fn a_record_that_waited_long_in_a_buffer_verifies_nothing() {
        let (mut check, now) = at(0);
        let window_ns = i64::try_from(WINDOW.as_nanos()).unwrap();
        check.advance(7, 1_000, now);
        assert_eq!(check.on_record(12, 0, 1_000 + window_ns, now), Verdict::Unknown);
        check.on_head(7, now);
        assert_eq!(check.on_record(12, 0, 1_000 + window_ns, now), Verdict::InOrder, "a head said that it was quiet");
    }

    #[test]
    fn the_first_record_after_long_ignorance_is_unknown() {
        let (check, now) = at(0);
        assert_eq!(check.on_record(1, 0, 1, now), Verdict::InOrder);
        assert_eq!(check.on_record(1, 0, 1, now + WINDOW), Verdict::Unknown);
    }

    #[test]
    fn an_old_sequence_with_a_new_time_is_suspect() {
        let (mut check, now) = at(0);
        check.advance(40, 1_000, now);
        assert_eq!(check.on_record(1, 0, 2_000, now), Verdict::Suspect);
        assert_eq!(check.on_record(39, 0, 900, now), Verdict::Duplicate);
    }
}
