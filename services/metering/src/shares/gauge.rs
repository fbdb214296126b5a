//! Shares of what is used and given back: connections, members.
//!
//! A share that shrinks does so on a node a moment after it was sent, and until then the node may fill the old one. So
//! a share grows only into room that is certain: the limit is not exceeded while shares move, they only move slower.

use std::time::{Duration, Instant};

use super::fair::max_min;

/// A node that reported this long after a share was sent has it: its orders and reports travel in order, each once a
/// second, and not nearly this long.
const ARRIVED: Duration = Duration::from_millis(500);

/// How long a node that was refused something is expected to ask again.
const WANTED_FOR: Duration = Duration::from_secs(5);

/// What one node has of one gauge.
#[derive(Clone, Debug)]
pub(super) struct Granted {
    /// What it was told last.
    share: u64,
    /// What it may still go by until that has arrived.
    before: u64,
    /// When it was told.
    at: Instant,
    /// How many more it is expected to ask for.
    want: u64,
    want_until: Instant,
    /// What it used at the report before.
    used: u64,
}

/// What a node said of a gauge.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Use {
    pub(super) used: u64,
    /// Since the report before.
    pub(super) refused: u64,
}

impl Granted {
    /// A node that was told nothing yet and keeps to `own`.
    pub(super) fn new(own: u64, now: Instant) -> Self {
        Self { share: own, before: own, at: now, want: 0, want_until: now, used: 0 }
    }

    /// Takes what the node said.
    pub(super) fn observe(&mut self, said: Use, now: Instant) {
        let wants = said.refused.saturating_add(said.used.saturating_sub(self.used));
        if wants >= self.want || now >= self.want_until {
            self.want = wants;
            self.want_until = now + WANTED_FOR;
        }
        self.used = said.used;
    }

    /// The most the node may be using by now, or will before it hears anything else.
    fn outstanding(&self, reported: Instant) -> u64 {
        let arrived = reported.saturating_duration_since(self.at) >= ARRIVED;
        let share = if arrived { self.share } else { self.share.max(self.before) };
        share.max(self.used)
    }

    fn tell(&mut self, share: u64, reported: Instant, now: Instant) {
        if share != self.share {
            *self = Self { before: self.outstanding(reported), share, at: now, ..*self };
        }
    }
}

/// Divides `total` among nodes, each with the time of its last report. First everybody has what they use, then those who
/// want more get it fairly, and what is then free is divided evenly.
pub(super) fn divide(total: u64, nodes: &mut [(&mut Granted, Instant)], now: Instant) -> Vec<u64> {
    let used: u64 = nodes.iter().map(|(node, _)| node.used).sum();
    let free = total.saturating_sub(used);
    let wants: Vec<u64> = nodes.iter().map(|(node, _)| node.want).collect();
    let mut parts = max_min(free, &wants);
    let rest = free - parts.iter().sum::<u64>();

    let (each, odd) = (rest / nodes.len().max(1) as u64, rest % nodes.len().max(1) as u64);
    // What cannot be divided stays where it is, so that it does not wander about.
    let mut by_surplus: Vec<usize> = (0..nodes.len()).collect();
    by_surplus.sort_by_key(|index| {
        let node = &nodes[*index].0;
        std::cmp::Reverse(node.share.saturating_sub(node.used + parts[*index]))
    });
    for (index, place) in by_surplus.into_iter().zip(0..) {
        parts[index] += each + u64::from(place < odd);
    }

    let targets: Vec<u64> = nodes.iter().zip(&parts).map(|((node, _), part)| node.used + part).collect();
    let outstanding: Vec<u64> = nodes.iter().map(|(node, reported)| node.outstanding(*reported)).collect();
    let room = total.saturating_sub(outstanding.iter().sum());
    let missing: Vec<u64> = targets.iter().zip(&outstanding).map(|(target, has)| target.saturating_sub(*has)).collect();
    let granted = max_min(room, &missing);
    for (index, (node, reported)) in nodes.iter_mut().enumerate() {
        node.tell(targets[index].min(outstanding[index] + granted[index]), *reported, now);
    }
    nodes.iter().map(|(node, _)| node.share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two nodes, ten of something, all of it granted to the first of them.
    #[test]
    fn a_share_grows_when_another_is_known_to_have_shrunk() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut one = Granted::new(10, start);
        let mut other = Granted::new(0, start);
        other.observe(Use { used: 0, refused: 10 }, start);
        let mut round = |reported: u64, now: u64| {
            divide(10, &mut [(&mut one, after(reported)), (&mut other, after(reported))], after(now))
        };
        assert_eq!(round(900, 1_000), [0, 0], "taken, but not known to have arrived");
        assert_eq!(round(1_100, 1_200), [0, 0], "a report that may have been on its way");
        assert_eq!(round(1_900, 2_000), [0, 10]);
    }

    #[test]
    fn who_uses_more_than_the_limit_keeps_it_and_nobody_gets_more() {
        let start = Instant::now();
        let mut one = Granted::new(50, start);
        let mut other = Granted::new(0, start);
        one.observe(Use { used: 50, refused: 5 }, start);
        other.observe(Use { used: 1, refused: 5 }, start);
        assert_eq!(divide(10, &mut [(&mut one, start), (&mut other, start)], start), [50, 1]);
    }

    #[test]
    fn a_want_lasts_until_the_client_is_back() {
        let start = Instant::now();
        let mut node = Granted::new(0, start);
        node.observe(Use { used: 0, refused: 3 }, start);
        node.observe(Use::default(), start + WANTED_FOR / 2);
        assert_eq!(node.want, 3);
        node.observe(Use::default(), start + WANTED_FOR);
        assert_eq!(node.want, 0);
    }
}
