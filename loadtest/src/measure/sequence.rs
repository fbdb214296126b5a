//! What became of numbered messages at one subscriber.

use std::collections::BTreeSet;

/// The numbers 0, 1, 2, … of one publisher as one subscriber received them. Keeps only what is missing, so that a long
/// run over many subscribers costs little as long as it goes well.
#[derive(Debug, Default)]
pub(super) struct Sequence {
    /// One more than the highest number received.
    next: u64,
    /// Below `next` and not received.
    missing: BTreeSet<u64>,
}

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// After all that came before it and no later one.
    InOrder,
    /// For the first time, and after a later one.
    Reordered,
    /// Not for the first time.
    Duplicate,
}

impl Sequence {
    /// Notes that `number` came. The caller checks that it exists: numbers passed over are kept.
    pub(super) fn arrived(&mut self, number: u64) -> Arrival {
        if number >= self.next {
            self.missing.extend(self.next..number);
            self.next = number + 1;
            Arrival::InOrder
        } else if self.missing.remove(&number) {
            Arrival::Reordered
        } else {
            Arrival::Duplicate
        }
    }

    /// Which of the numbers below `total` have not come.
    pub(super) fn missing(&self, total: u64) -> impl Iterator<Item = u64> + '_ {
        self.missing.iter().copied().chain(self.next..total)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arrivals: &[u64], expected: &[Arrival], missing: &[u64]) {
        let mut sequence = Sequence::default();
        let found: Vec<_> = arrivals.iter().map(|n| sequence.arrived(*n)).collect();
        assert_eq!(found, expected, "{arrivals:?}");
        assert_eq!(sequence.missing(5).collect::<Vec<_>>(), missing, "{arrivals:?}");
    }

    #[test]
    fn tells_order_loss_and_repetition() {
        use Arrival::{Duplicate, InOrder, Reordered};
        check(&[0, 1, 2, 3, 4], &[InOrder; 5], &[]);
        check(&[], &[], &[0, 1, 2, 3, 4]);
        check(&[0, 2, 4], &[InOrder; 3], &[1, 3]);
        check(&[1, 0, 0, 1, 3], &[InOrder, Reordered, Duplicate, Duplicate, InOrder], &[2, 4]);
        check(&[4, 3, 2, 1, 0], &[InOrder, Reordered, Reordered, Reordered, Reordered], &[]);
    }
}
