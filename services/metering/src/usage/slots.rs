//! A row of usage: an hour of minutes, a day of hours or a month of days.

use std::collections::BTreeMap;

use super::Counts;

/// The parts of a period with their counts. A part is set as a whole and never added to, so that working out the same
/// part twice, or by two, leaves one result.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots(BTreeMap<u8, Counts>);

impl Slots {
    /// Sets part `slot`, as [`super::Period::slot`] numbers it. Returns whether that changed anything.
    pub fn set(&mut self, slot: u8, counts: Counts) -> bool {
        if counts.is_empty() {
            return self.0.remove(&slot).is_some();
        }
        match self.0.get(&slot) {
            Some(before) if *before == counts => false,
            Some(_) | None => {
                self.0.insert(slot, counts);
                true
            }
        }
    }

    /// Part `slot`, if anything happened in it.
    pub fn get(&self, slot: u8) -> Option<&Counts> {
        self.0.get(&slot)
    }

    /// The parts in which anything happened, in order.
    pub fn iter(&self) -> impl Iterator<Item = (u8, &Counts)> {
        self.0.iter().map(|(slot, counts)| (*slot, counts))
    }

    /// Whether nothing happened.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All parts together.
    pub fn total(&self) -> Counts {
        let mut total = Counts::default();
        self.0.values().for_each(|counts| total.add(counts));
        total
    }
}

impl FromIterator<(u8, Counts)> for Slots {
    fn from_iter<I: IntoIterator<Item = (u8, Counts)>>(parts: I) -> Self {
        let mut slots = Self::default();
        for (slot, counts) in parts {
            slots.set(slot, counts);
        }
        slots
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_set_twice_counts_once() {
        let part = |messages_in| Counts { messages_in, peak_connections: messages_in, ..Counts::default() };
        let mut slots = Slots::default();
        assert!(slots.set(3, part(10)));
        assert!(!slots.set(3, part(10)));
        assert!(slots.set(3, part(12)));
        assert!(slots.set(59, part(5)));
        let total = slots.total();
        assert_eq!((total.messages_in, total.peak_connections), (17, 12));
        assert!(slots.set(3, Counts::default()));
        assert_eq!(slots.iter().map(|(slot, _)| slot).collect::<Vec<_>>(), [59]);
    }
}
