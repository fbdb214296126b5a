//! What a node counted in a minute, and what the nodes of a cluster counted together.

use channels::AppId;

use super::Counts;

/// Seconds between samples of connections.
pub const SAMPLE_SECONDS: u64 = 5;

/// Samples in a minute.
pub const SAMPLES: usize = 12;

/// What one node counted of one app in one minute.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AppMinute {
    /// Counts; the peaks are those of this node.
    pub counts: Counts,
    /// Connections there were at second 0, 5, 10 and so on of the minute by the node's clock. What is missing at the
    /// end is zero.
    pub connections: Vec<u64>,
}

impl AppMinute {
    /// Whether there is nothing to write down.
    pub fn is_empty(&self) -> bool {
        self.counts.is_empty() && self.connections.iter().all(|count| *count == 0)
    }
}

/// What one node counted in one minute, of every app that did anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minute {
    /// Minutes since the Unix epoch.
    pub minute: u64,
    /// Whether it is over. Until then the counts grow.
    pub closed: bool,
    /// The apps, in order.
    pub apps: Vec<(AppId, AppMinute)>,
}

/// What the nodes of a cluster counted of one app in one minute together. One node at its peak had as many connections,
/// and so had all together whenever they looked; their peaks are not added, since a connection that moves from one node
/// to another in that minute would count twice.
pub fn fold<'a>(nodes: impl IntoIterator<Item = &'a AppMinute>) -> Counts {
    let mut counts = Counts::default();
    let mut together = [0u64; SAMPLES];
    for node in nodes {
        counts.add(&node.counts);
        for (sum, connections) in together.iter_mut().zip(&node.connections) {
            *sum = sum.saturating_add(*connections);
        }
    }
    counts.peak_connections = together.into_iter().fold(counts.peak_connections, u64::max);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(peak: u64, connections: &[u64]) -> AppMinute {
        let counts = Counts { messages_out: 10, peak_connections: peak, peak_channels: peak, ..Counts::default() };
        AppMinute { counts, connections: connections.to_vec() }
    }

    #[test]
    fn nodes_add_up_and_peak_when_they_are_many_together() {
        let folded = fold(&[node(5, &[5, 0, 2]), node(4, &[0, 4, 4]), node(0, &[])]);
        assert_eq!((folded.messages_out, folded.peak_connections, folded.peak_channels), (30, 6, 5));
    }

    #[test]
    fn connections_that_move_do_not_count_twice() {
        let folded = fold(&[node(100, &[100, 0]), node(100, &[0, 100])]);
        assert_eq!(folded.peak_connections, 100);
    }

    #[test]
    fn a_peak_between_samples_is_seen_on_its_node() {
        assert_eq!(fold(&[node(50, &[1, 1])]).peak_connections, 50);
    }
}
