//! Which apps are told of by name where there may be only so many names, and what all the others do together.
//!
//! For monitoring, where every name costs memory for as long as anybody remembers it. An app that has a name keeps it
//! until it is removed, and no count of a name, that of the others included, ever goes back: what is counted is what came
//! on top since the look before, wherever the app stands at that moment.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use channels::AppId;

use crate::usage::Counts;

/// What the others are called together. An app of this name is one of them.
const OTHER: &str = "other";

/// How long nobody gets a name where there are more apps than names: by then clients have come back after a restart, and
/// the busiest are known.
const SETTLING: Duration = Duration::from_secs(60);

/// What an app does in this process, and what it did since its meter was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppTotals {
    /// Which.
    pub app: AppId,
    /// When its meter was made: a later one counts from zero again.
    pub made: Instant,
    /// How many of what there are now.
    pub levels: Levels,
    /// What happened. The peaks are those of the current minute.
    pub counts: Counts,
}

/// How many there are at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Levels {
    /// Open connections.
    pub connections: u64,
    /// Presence members of these connections.
    pub presence_members: u64,
    /// Occupied channels, distinct in the cluster as this process sees it.
    pub channels: u64,
}

/// What is told under a name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// How many of what there are now.
    pub levels: Levels,
    /// What happened since the name was given. The peaks are those of the current minute.
    pub counts: Counts,
}

impl Told {
    /// Takes in how things stand with one app.
    fn add_levels(&mut self, totals: &AppTotals) {
        self.levels.connections += totals.levels.connections;
        self.levels.presence_members += totals.levels.presence_members;
        self.levels.channels += totals.levels.channels;
        self.counts.peak_connections += totals.counts.peak_connections;
        self.counts.peak_channels += totals.counts.peak_channels;
    }

    fn clear_levels(&mut self) {
        self.levels = Levels::default();
        (self.counts.peak_connections, self.counts.peak_channels) = (0, 0);
    }
}

/// The apps that have a name.
#[derive(Debug)]
pub struct NamedApps {
    /// Most names.
    most: usize,
    /// When settling began.
    begun: Instant,
    named: BTreeMap<AppId, Told>,
    other: Told,
    /// How many apps the others are.
    others: usize,
    /// Each meter's counts at the last look.
    seen: HashMap<AppId, (Instant, Counts)>,
}

impl NamedApps {
    /// Nobody has a name yet, and at most `most` apps ever have one at a time.
    pub fn new(most: usize, now: Instant) -> Self {
        let (named, other, seen) = (BTreeMap::new(), Told::default(), HashMap::new());
        Self { most, begun: now, named, other, others: 0, seen }
    }

    /// Takes in the totals of every app that has a meter. To be called at least every few minutes: a meter that is
    /// forgotten in between takes what was not seen of it along. There are `all` apps, and `exists` tells which.
    pub fn look(&mut self, totals: &[AppTotals], all: usize, exists: impl Fn(&AppId) -> bool, now: Instant) {
        self.named.retain(|app, _| exists(app));
        self.name(totals, all, exists, now);
        self.named.values_mut().chain([&mut self.other]).for_each(Told::clear_levels);
        self.others = 0;
        let mut seen = HashMap::with_capacity(totals.len());
        for totals in totals {
            let mut counts = match self.seen.remove(&totals.app) {
                Some((made, counts)) if made == totals.made => counts,
                Some(_) | None => Counts::default(),
            };
            let since = totals.counts.since(&counts);
            counts.add(&since);
            seen.insert(totals.app.clone(), (totals.made, counts));
            let told = self.named.get_mut(&totals.app);
            self.others += usize::from(told.is_none());
            let told = told.unwrap_or(&mut self.other);
            told.counts.add(&Counts { peak_connections: 0, peak_channels: 0, ..since });
            told.add_levels(totals);
        }
        self.seen = seen;
    }

    /// What is told under each name, the others last.
    pub fn told(&self) -> impl Iterator<Item = (&str, &Told)> {
        self.named.iter().map(|(app, told)| (app.as_str(), told)).chain([(OTHER, &self.other)])
    }

    /// How many apps were told of without a name at the last look.
    pub fn others(&self) -> usize {
        self.others
    }

    /// Gives what names are left to the busiest.
    fn name(&mut self, totals: &[AppTotals], all: usize, exists: impl Fn(&AppId) -> bool, now: Instant) {
        let is_settled = all <= self.most || now.saturating_duration_since(self.begun) >= SETTLING;
        let left = self.most - self.named.len();
        if !is_settled || left == 0 {
            return;
        }
        let may_have_one = |app: &AppId| app.as_str() != OTHER && exists(app) && !self.named.contains_key(app);
        let mut wanting: Vec<_> = totals.iter().filter(|totals| may_have_one(&totals.app)).collect();
        wanting.sort_by_key(|totals| std::cmp::Reverse(busyness(totals)));
        let busiest: Vec<AppId> = wanting.into_iter().take(left).map(|totals| totals.app.clone()).collect();
        self.named.extend(busiest.into_iter().map(|app| (app, Told::default())));
    }
}

/// What makes an app busier than another: its messages since its meter was made; where there are hardly any, its
/// connections.
fn busyness(totals: &AppTotals) -> u64 {
    totals.counts.messages_in.saturating_add(totals.counts.messages_out).saturating_add(totals.levels.connections)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: fn(&AppId) -> bool = |_| true;

    fn totals(app: &str, made: Instant, messages: u64, connections: u64) -> AppTotals {
        let counts = Counts { messages_in: messages, peak_connections: connections + 1, ..Counts::default() };
        let levels = Levels { connections, ..Levels::default() };
        AppTotals { app: AppId::new(app).unwrap(), made, levels, counts }
    }

    fn messages(named: &NamedApps) -> Vec<(&str, u64)> {
        named.told().map(|(name, told)| (name, told.counts.messages_in)).collect()
    }

    #[test]
    fn the_busiest_get_the_names_and_keep_them() {
        let start = Instant::now();
        let mut named = NamedApps::new(2, start);
        let first =
            [totals("a", start, 5, 0), totals("b", start, 9, 0), totals("c", start, 1, 7), totals("d", start, 2, 0)];
        named.look(&first, 4, ALL, start);
        assert_eq!((messages(&named), named.others()), (vec![("other", 17)], 4), "the busiest are not known yet");
        named.look(&first, 4, ALL, start + SETTLING);
        assert_eq!((messages(&named), named.others()), (vec![("b", 0), ("c", 0), ("other", 17)], 2));
        let later =
            [totals("a", start, 50, 0), totals("b", start, 10, 0), totals("c", start, 1, 3), totals("d", start, 2, 1)];
        named.look(&later, 4, ALL, start + SETTLING * 2);
        assert_eq!(messages(&named), [("b", 1), ("c", 0), ("other", 62)], "busier by now, and too late");
        let connections: Vec<_> = named.told().map(|(_, told)| told.levels.connections).collect();
        let peaks: Vec<_> = named.told().map(|(_, told)| told.counts.peak_connections).collect();
        assert_eq!((connections, peaks), (vec![0, 3, 1], vec![1, 4, 3]));
    }

    #[test]
    fn where_there_are_names_for_all_nobody_waits() {
        let start = Instant::now();
        let mut named = NamedApps::new(2, start);
        named.look(&[totals("b", start, 5, 0)], 2, ALL, start);
        assert_eq!(messages(&named), [("b", 5), ("other", 0)]);
        named.look(&[totals("a", start, 3, 0), totals("b", start, 6, 0)], 2, ALL, start);
        assert_eq!(messages(&named), [("a", 3), ("b", 6), ("other", 0)]);
    }

    #[test]
    fn a_removed_app_gives_its_name_to_the_next() {
        let start = Instant::now();
        let mut named = NamedApps::new(1, start);
        let both = [totals("a", start, 9, 0), totals("b", start, 1, 0)];
        named.look(&both, 2, ALL, start + SETTLING);
        assert_eq!(messages(&named), [("a", 9), ("other", 1)]);
        named.look(&both, 1, |app| app.as_str() != "a", start + SETTLING);
        assert_eq!(messages(&named), [("b", 0), ("other", 1)], "what was counted before stays where it was");
        named.look(
            &[totals("a", start, 10, 0), totals("b", start, 3, 0)],
            1,
            |app| app.as_str() != "a",
            start + SETTLING,
        );
        assert_eq!(messages(&named), [("b", 2), ("other", 2)], "what still comes of the removed one is of the others");
    }

    #[test]
    fn no_count_goes_back() {
        let start = Instant::now();
        let (later, mut named) = (start + SETTLING, NamedApps::new(1, start));
        named.look(&[totals("a", start, 9, 4)], 1, ALL, start);
        named.look(&[totals("a", start, 8, 4)], 1, ALL, start);
        assert_eq!(messages(&named)[0], ("a", 9), "a publish was taken back");
        named.look(&[totals("a", start, 10, 4)], 1, ALL, start);
        assert_eq!(messages(&named)[0], ("a", 10));
        named.look(&[], 1, ALL, later);
        let (_, told) = named.told().next().unwrap();
        assert_eq!((told.counts.messages_in, told.levels.connections), (10, 0), "its meter was forgotten");
        named.look(&[totals("a", later, 3, 0)], 1, ALL, later);
        assert_eq!(messages(&named)[0], ("a", 13), "and made anew");
    }

    #[test]
    fn an_app_called_other_is_one_of_the_others() {
        let start = Instant::now();
        let mut named = NamedApps::new(5, start);
        named.look(&[totals("other", start, 9, 0), totals("b", start, 1, 0)], 2, ALL, start);
        assert_eq!(messages(&named), [("b", 1), ("other", 9)]);
    }
}
