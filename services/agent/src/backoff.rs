//! Pauses between attempts.

use std::time::Duration;

/// First and longest pause. The longest bounds how much later than a replica its nodes are back.
const FIRST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(5);

/// Pauses that grow, each drawn between half and all of its length, so that the nodes of a cluster do not all come back
/// in one moment.
#[derive(Debug)]
pub(crate) struct Backoff(Duration);

impl Backoff {
    pub(crate) fn new() -> Self {
        Self(FIRST)
    }

    /// The next pause.
    pub(crate) fn next(&mut self) -> Duration {
        let pause = self.0;
        self.0 = (pause * 2).min(LONGEST);
        pause.mul_f64(rand::random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut backoff = Backoff::new();
        let mut most = FIRST;
        for _ in 0..10 {
            let pause = backoff.next();
            assert!(pause >= most / 2 && pause <= most, "{pause:?}");
            most = (most * 2).min(LONGEST);
        }
        assert_eq!(most, LONGEST);
    }
}
