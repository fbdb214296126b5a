//! Whether a run went as it has to. Anything else makes the process fail, whatever the figures are.

use serde_json::json;

use crate::report::Figures;

/// What must not happen, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Messages that a subscriber never got.
    pub(crate) lost: u64,
    /// Messages that a subscriber got again.
    pub(crate) duplicate: u64,
    /// Messages that a subscriber got after a later one of the same publisher.
    pub(crate) reordered: u64,
    /// What a server sent and no client could expect, damaged messages and those of other channels among it.
    pub(crate) unexpected: u64,
    /// Connections that the server closed.
    pub(crate) closed: u64,
    /// Requests that the server did not grant.
    pub(crate) refused: u64,
}

impl Verdict {
    /// Takes in what `other` counted.
    pub(crate) fn add(&mut self, other: &Self) {
        let Self { lost, duplicate, reordered, unexpected, closed, refused } = other;
        self.lost += lost;
        self.duplicate += duplicate;
        self.reordered += reordered;
        self.unexpected += unexpected;
        self.closed += closed;
        self.refused += refused;
    }

    /// Whether nothing of all that happened.
    pub(crate) fn is_clean(&self) -> bool {
        *self == Self::default()
    }

    /// For the report.
    pub(crate) fn figures(&self) -> Figures {
        vec![
            ("lost", json!(self.lost)),
            ("duplicate", json!(self.duplicate)),
            ("reordered", json!(self.reordered)),
            ("unexpected", json!(self.unexpected)),
            ("closed_by_server", json!(self.closed)),
            ("refused", json!(self.refused)),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn anything_counted_is_a_failure() {
        let clean = Verdict::default();
        assert!(clean.is_clean());
        let each: [fn(&mut Verdict); 6] = [
            |verdict| verdict.lost = 1,
            |verdict| verdict.duplicate = 1,
            |verdict| verdict.reordered = 1,
            |verdict| verdict.unexpected = 1,
            |verdict| verdict.closed = 1,
            |verdict| verdict.refused = 1,
        ];
        let mut sum = Verdict::default();
        for set in each {
            let mut verdict = clean;
            set(&mut verdict);
            assert!(!verdict.is_clean(), "{verdict:?}");
            sum.add(&verdict);
        }
        assert!(sum.figures().iter().all(|(_, count)| *count == json!(1)), "{sum:?}");
    }
}
