//! Pauses between attempts.

use std::time::Duration;

/// Pauses that double up to a longest one, each drawn between half and all of its length, so that the nodes of a cluster
/// do not all come back in one moment.
///
/// Made as a constant beside what is attempted; each series of attempts counts on in a copy of it.
#[derive(Clone, Debug)]
pub struct Backoff {
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// From `first` to `longest`.
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { next: first, longest }
    }

    /// How long to wait before the next attempt.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause.mul_f64(rand::random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let (first, longest) = (Duration::from_millis(200), Duration::from_secs(5));
        let mut backoff = Backoff::new(first, longest);
        let mut most = first;
        for _ in 0..10 {
            let pause = backoff.pause();
            assert!(pause >= most / 2 && pause <= most, "{pause:?}");
            most = (most * 2).min(longest);
        }
        assert_eq!(most, longest);
    }
}
