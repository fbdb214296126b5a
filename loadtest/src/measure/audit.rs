//! What became of each message at each subscriber.
//!
//! Message `k` of a schedule is number `k / sources` of source `k % sources`. Order is promised, and checked, among the
//! messages of one source; that all subscribers of a channel see its sources in one order is checked by a digest.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::time::Instant;

use super::latency::Latencies;
use super::schedule::Schedule;
use super::sequence::{Arrival, Sequence};
use super::verdict::Verdict;
use crate::client::message::Stamp;

/// What all subscribers received.
#[derive(Debug)]
pub(crate) struct Audit {
    schedule: Schedule,
    /// How many sources take turns, over how many channels: source `s` publishes to channel `s % channels`.
    sources: u32,
    channels: u32,
    subscribers: Vec<Subscriber>,
    /// From due to received, of what came for the first time.
    pub(crate) latencies: Latencies,
    /// What is wrong so far, but for losses, which are known at the end.
    pub(crate) verdict: Verdict,
    /// Messages that came for the first time.
    pub(crate) deliveries: u64,
}

/// What one subscriber received.
#[derive(Debug)]
struct Subscriber {
    channels: Vec<u32>,
    /// By channel of the list above, and of it by source.
    sequences: Vec<Sequence>,
    /// By channel: the order in which messages came, all sources together.
    digests: Vec<DefaultHasher>,
}

impl Audit {
    /// For subscribers of these channels each. `sources` is a multiple of `channels`.
    pub(crate) fn new(schedule: Schedule, sources: u32, channels: u32, subscribers: &[Vec<u32>]) -> Self {
        let each = (sources / channels) as usize;
        let subscriber = |channels: &Vec<u32>| Subscriber {
            sequences: (0..channels.len() * each).map(|_| Sequence::default()).collect(),
            digests: vec![DefaultHasher::new(); channels.len()],
            channels: channels.clone(),
        };
        Self {
            schedule,
            sources,
            channels,
            subscribers: subscribers.iter().map(subscriber).collect(),
            latencies: Latencies::new(),
            verdict: Verdict::default(),
            deliveries: 0,
        }
    }

    /// Notes that `subscriber` got a message; whether it is one of the run that came for the first time.
    pub(crate) fn arrived(&mut self, subscriber: usize, stamp: Stamp, now: Instant) -> bool {
        let number = stamp.number.saturating_mul(self.sources.into()).saturating_add(stamp.source.into());
        let Some(slot) = self.slot(subscriber, stamp.source).filter(|_| number < self.schedule.total()) else {
            self.verdict.unexpected += 1;
            return false;
        };
        let each = (self.sources / self.channels) as usize;
        let receiver = &mut self.subscribers[subscriber];
        match receiver.sequences[slot].arrived(stamp.number) {
            Arrival::InOrder => {}
            Arrival::Reordered => self.verdict.reordered += 1,
            Arrival::Duplicate => {
                self.verdict.duplicate += 1;
                return false;
            }
        }
        if each > 1 {
            stamp.hash(&mut receiver.digests[slot / each]);
        }
        self.deliveries += 1;
        self.latencies.record(now.saturating_duration_since(self.schedule.due(number)));
        true
    }

    /// Whether `subscriber` has all of the first `count` messages of the schedule that go to its channels, but for
    /// those that were `refused`.
    pub(crate) fn has_all(&self, subscriber: usize, count: u64) -> bool {
        let sources = u64::from(self.sources);
        let of = |source: u32| (count + sources - 1).saturating_sub(u64::from(source)) / sources;
        self.sources_of(subscriber).all(|(source, sequence)| sequence.missing(of(source)).next().is_none())
    }

    /// The verdict at the end: what is missing is lost, unless it was `refused`.
    pub(crate) fn finish(&self, refused: &BTreeSet<u64>) -> Verdict {
        let (sources, total) = (u64::from(self.sources), self.schedule.total());
        let lost = |subscriber| {
            let missing = self.sources_of(subscriber).flat_map(|(source, sequence)| {
                let count = (total + sources - 1).saturating_sub(source.into()) / sources;
                sequence.missing(count).map(move |number| number * sources + u64::from(source))
            });
            missing.filter(|number| !refused.contains(number)).count() as u64
        };
        let mut verdict = self.verdict;
        verdict.lost = (0..self.subscribers.len()).map(lost).sum();
        if verdict.is_clean() {
            verdict.reordered = self.disagreeing();
        }
        verdict
    }

    /// How many times a subscriber saw a channel's messages in another order than the first subscriber of it.
    fn disagreeing(&self) -> u64 {
        let mut first = HashMap::new();
        let mut count = 0;
        for subscriber in &self.subscribers {
            for (channel, digest) in subscriber.channels.iter().zip(&subscriber.digests) {
                count += u64::from(*first.entry(channel).or_insert(digest.finish()) != digest.finish());
            }
        }
        count
    }

    fn sources_of(&self, subscriber: usize) -> impl Iterator<Item = (u32, &Sequence)> {
        let each = (self.sources / self.channels) as usize;
        let Subscriber { channels, sequences, .. } = &self.subscribers[subscriber];
        let sources = channels.iter().flat_map(move |channel| (*channel..self.sources).step_by(self.channels as usize));
        debug_assert_eq!(sequences.len(), channels.len() * each);
        sources.zip(sequences)
    }

    fn slot(&self, subscriber: usize, source: u32) -> Option<usize> {
        let channel = (source < self.sources).then_some(source % self.channels)?;
        let place = self.subscribers[subscriber].channels.iter().position(|each| *each == channel)?;
        Some(place * (self.sources / self.channels) as usize + (source / self.channels) as usize)
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    /// Three channels, two sources each, one second of ten messages: sources 0 to 3 have two, 4 and 5 one.
    fn audit(subscribers: &[Vec<u32>]) -> Audit {
        let schedule = Schedule::new(Instant::now(), NonZeroU32::new(10).unwrap(), NonZeroU32::MIN);
        Audit::new(schedule, 6, 3, subscribers)
    }

    fn feed(audit: &mut Audit, subscriber: usize, stamps: &[(u32, u64)]) {
        for &(source, number) in stamps {
            audit.arrived(subscriber, Stamp { source, number }, Instant::now());
        }
    }

    #[test]
    fn a_run_without_faults_is_clean() {
        let mut audit = audit(&[vec![0], vec![2, 0]]);
        feed(&mut audit, 0, &[(0, 0), (3, 0), (0, 1), (3, 1)]);
        assert!(audit.has_all(0, 10) && audit.has_all(1, 0) && !audit.has_all(1, 1));
        assert_eq!(audit.finish(&BTreeSet::new()).lost, 4 + 3, "sources 0, 3 and 2, 5 of the second one");
        feed(&mut audit, 1, &[(0, 0), (2, 0), (5, 0), (3, 0), (0, 1), (3, 1)]);
        assert_eq!(audit.finish(&BTreeSet::new()), Verdict { lost: 1, ..Verdict::default() }, "2.1");
        assert!(audit.has_all(1, 8) && !audit.has_all(1, 9));
        assert!(audit.finish(&[8].into()).is_clean(), "8 is the second one of source 2");
        assert_eq!(audit.deliveries, 10);
    }

    #[test]
    fn each_fault_has_its_count() {
        let mut audit = audit(&[vec![1]]);
        feed(&mut audit, 0, &[(1, 1), (1, 0), (1, 0), (0, 0), (6, 0), (1, 2), (4, 0)]);
        let expected = Verdict { reordered: 1, duplicate: 1, unexpected: 3, ..Verdict::default() };
        assert_eq!(audit.finish(&BTreeSet::new()), expected);
    }

    #[test]
    fn subscribers_have_to_agree_on_the_order_of_publishers() {
        let mut audit = audit(&[vec![0], vec![0], vec![0]]);
        feed(&mut audit, 0, &[(0, 0), (3, 0), (0, 1), (3, 1)]);
        feed(&mut audit, 1, &[(0, 0), (3, 0), (0, 1), (3, 1)]);
        feed(&mut audit, 2, &[(0, 0), (0, 1), (3, 0), (3, 1)]);
        assert_eq!(audit.finish(&BTreeSet::new()), Verdict { reordered: 1, ..Verdict::default() });
    }
}
