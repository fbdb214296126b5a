//! What is counted.

use channels::QuotaKind;

/// What an app did in some time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Messages published, by whatever way; a message to several channels counts for each.
    pub messages_in: u64,
    /// Their bytes.
    pub bytes_in: u64,
    /// Messages delivered to subscribers.
    pub messages_out: u64,
    /// Their bytes.
    pub bytes_out: u64,
    /// Connections that were opened.
    pub connections_opened: u64,
    /// Most connections at one time.
    pub peak_connections: u64,
    /// Most occupied channels at one time.
    pub peak_channels: u64,
    /// Webhook requests that were answered with success.
    pub webhooks_delivered: u64,
    /// Webhook requests that were not, each attempt.
    pub webhooks_failed: u64,
    /// Requests that a quota refused.
    pub refused: Refusals,
}

impl Counts {
    /// Takes in what happened at another time or place. Peaks are the greater of both, which is right for another time
    /// only; for other nodes at the same time see [`super::fold`].
    pub fn add(&mut self, other: &Self) {
        self.flows(other, u64::saturating_add);
        self.peak_connections = self.peak_connections.max(other.peak_connections);
        self.peak_channels = self.peak_channels.max(other.peak_channels);
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// What came on top of `earlier`. Peaks stay.
    pub(crate) fn since(&self, earlier: &Self) -> Self {
        let mut since = self.clone();
        since.flows(earlier, u64::saturating_sub);
        since
    }

    /// Combines everything but peaks, field by field.
    fn flows(&mut self, other: &Self, combine: impl Fn(u64, u64) -> u64) {
        for (mine, other) in [
            (&mut self.messages_in, other.messages_in),
            (&mut self.bytes_in, other.bytes_in),
            (&mut self.messages_out, other.messages_out),
            (&mut self.bytes_out, other.bytes_out),
            (&mut self.connections_opened, other.connections_opened),
            (&mut self.webhooks_delivered, other.webhooks_delivered),
            (&mut self.webhooks_failed, other.webhooks_failed),
        ] {
            *mine = combine(*mine, other);
        }
        for (mine, other) in self.refused.0.iter_mut().zip(other.refused.0) {
            *mine = combine(*mine, other);
        }
    }
}

/// Refused requests by quota.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusals([u64; QuotaKind::ALL.len()]);

impl Refusals {
    /// How many were refused for `kind`.
    pub fn get(&self, kind: QuotaKind) -> u64 {
        self.0[kind as usize]
    }

    /// Counts `more` for `kind`.
    pub fn add(&mut self, kind: QuotaKind, more: u64) {
        self.0[kind as usize] += more;
    }

    /// Those that are not zero.
    pub fn iter(&self) -> impl Iterator<Item = (QuotaKind, u64)> {
        QuotaKind::ALL.into_iter().zip(self.0).filter(|(_, count)| *count > 0)
    }
}

impl FromIterator<(QuotaKind, u64)> for Refusals {
    fn from_iter<I: IntoIterator<Item = (QuotaKind, u64)>>(counts: I) -> Self {
        let mut refusals = Self::default();
        counts.into_iter().for_each(|(kind, count)| refusals.add(kind, count));
        refusals
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flows_add_up_and_peaks_do_not() {
        let one = Counts { messages_in: 2, peak_connections: 7, peak_channels: 1, ..Counts::default() };
        let mut both = Counts { messages_in: 3, peak_connections: 5, peak_channels: 4, ..Counts::default() };
        both.add(&one);
        assert_eq!(both, Counts { messages_in: 5, peak_connections: 7, peak_channels: 4, ..Counts::default() });
    }

    #[test]
    fn refusals_are_kept_by_quota() {
        for (index, kind) in QuotaKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, index, "the index of {kind:?}");
            let refusals: Refusals = [(kind, 2)].into_iter().collect();
            assert_eq!(refusals.iter().collect::<Vec<_>>(), [(kind, 2)]);
        }
    }
}
